"""Miner ``pdms``: the frames at which a policy's own plan fails by the PDM score, as World Engine mines its failures.

Three kinds, each frame at most once, in this order of precedence:

- ``collision``: the plan causes an at-fault collision with somebody (NC = 0; with a thing, NC = 0.5, too unless ``things`` is off).
- ``off_road``: the plan leaves the drivable area (DAC = 0).
- ``low_progress``: gates open, progress above 0, but below the ``percentile`` of such frames. Known only when all chunks are
  together: ``mine`` returns every frame with open gates and progress above 0 under this kind, ``settle`` keeps the lowest.

Severity falls with the time to the event: 1 - t / 8 s for a collision with somebody and half of it with a thing, (1 - t / 8 s) / 2
for leaving the road, (1 - EP) / 4 for low progress; so any collision with somebody within the 4 s of a plan weighs more than any
other failure, and the sooner the more.

Frames that are lost before the plan begins (step 0 already collides or is off the road) are not the policy's doing: they are left
out unless ``exclude_initial`` is off. ``mine`` returns them as ``initial`` so that they can be counted; ``settle`` drops them.
So it is with frames whose pictures are believed less than ``least_trust``: they are ``untrusted``. Frames without pictures, and
with pictures of which nobody knows, count as fully trusted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from pydantic import Field

from wetoolkit.config import Config
from wetoolkit.errors import PluginError
from wetoolkit.kinds import Policy, Reward
from wetoolkit.types import Failure, Ref, Scenario, Scores
from wetoolkit_driving.domain import Driving
from wetoolkit_driving.dynamics import reference_poses
from wetoolkit_driving.pdm.result import NEVER, Marks
from wetoolkit_driving.pdm.reward import drive
from wetoolkit_driving.pdm.scene import PdmScene, from_world
from wetoolkit_driving.types import AgentClass, World

HORIZON = 8.0  # seconds over which severity falls to 0; twice a plan
CANDIDATE, INITIAL, UNTRUSTED = "low_progress", "initial", "untrusted"


class PdmsMinerConfig(Config):
    """Settings of the miner ``pdms``."""

    things: bool = Field(True, description="also collisions with things (cones, barriers, ...: NC = 0.5)")
    percentile: float = Field(
        1.0, description="frames whose progress is below this percentile of all good frames are failures; 0: none [%]", ge=0, le=100
    )
    exclude_initial: bool = Field(True, description="leave out frames that already collide or are off the road at step 0")
    least_trust: float = Field(
        0.0, description="leave out frames whose pictures can be believed less, where the policy sees pictures [1]", ge=0, le=1
    )
    trust_weighted: bool = Field(False, description="severity times how far the frame's pictures can be believed")


class PdmsMiner:
    """Implements ``wetoolkit.kinds.Miner`` and ``SupportsSettle``. Judges the policy's plan at each scenario's present step."""

    def __init__(self, config: PdmsMinerConfig) -> None:
        self.config = config

    def mine(
        self, scenarios: Sequence[Scenario[World]], policy: Policy[World], reward: Reward[World], seed: int
    ) -> Sequence[Failure]:
        """Failures, and the candidates and counted frames that only ``settle`` decides on, in scenario order."""
        if not scenarios:
            return []
        situations = [s.situation() for s in scenarios]
        observation = Driving().observe(situations, policy.spec)
        trust = np.ones(len(situations)) if observation.trust is None else observation.trust  # [B], 1 where not known
        plans = policy.act(observation, seed).trajectories  # [B, 40, 3]
        scores = reward.score(situations, plans[:, None])
        _require_terms(scores)
        found = (self._judge(s, np.asarray(plans[b], np.float64), _row(scores, b)) for b, s in enumerate(scenarios))
        return [self._believed(failure, float(trust[b])) for b, failure in enumerate(found) if failure is not None]

    def _believed(self, failure: Failure, trust: float) -> Failure:
        """What is left of a failure in pictures that can be believed so far."""
        if trust < self.config.least_trust:
            return replace(failure, kind=UNTRUSTED, evidence={**failure.evidence, "trust": trust})
        if trust == 1.0 or not self.config.trust_weighted:
            return failure
        return replace(failure, severity=trust * failure.severity, evidence={**failure.evidence, "trust": trust})

    def settle(self, failures: Sequence[Failure]) -> Sequence[Failure]:
        """Keep what failed, of the candidates those below the percentile, and drop the rest."""
        progress = [float(f.evidence["ep"]) for f in failures if f.kind == CANDIDATE]
        limit = float(np.percentile(progress, self.config.percentile)) if progress and self.config.percentile > 0 else -np.inf
        kept = []
        for failure in failures:
            if failure.kind == CANDIDATE and float(failure.evidence["ep"]) < limit:
                kept.append(replace(failure, evidence={**failure.evidence, "limit": limit}))
            elif failure.kind not in (CANDIDATE, INITIAL, UNTRUSTED):
                kept.append(failure)
        return kept

    def _judge(self, scenario: Scenario[World], plan: np.ndarray, values: Mapping[str, float]) -> Failure | None:
        """What became of one plan; None where neither a failure nor a candidate."""
        ref, step = Ref(scenario.id, scenario.split, scenario.log), scenario.clock.now
        if values["nc"] == 1 and values["dac"] == 1:
            severity = min(max((1 - values["ep"]) / 4, 0.0), 1.0)
            return Failure(ref, CANDIDATE, step, severity, values) if values["ep"] > 0 else None
        scene = from_world(scenario.world, step)
        marks = drive(scene, reference_poses(scene.ego[None], plan[None]))
        struck = values["nc"] == 0 or (values["nc"] < 1 and self.config.things)
        if not struck and values["dac"] == 1:
            return None
        kind, event = ("collision", int(marks.collision_step[0])) if struck else ("off_road", int(marks.off_road_step[0]))
        begun = self.config.exclude_initial and 0 in (int(marks.collision_step[0]), int(marks.off_road_step[0]))
        time = max(event, 0) * 0.1
        weight = 1.0 if kind == "collision" and values["nc"] == 0 else 0.5
        severity = weight * (1 - time / HORIZON)
        return Failure(ref, INITIAL if begun else kind, step, severity, {**values, "time": time, **_who(scene, marks, kind)})


def _row(scores: Scores, b: int) -> dict[str, float]:
    """Every term of one situation's only proposal, and the total."""
    return {name: float(term.values[b, 0]) for name, term in scores.terms.items()} | {"total": float(scores.total[b, 0])}


def _require_terms(scores: Scores) -> None:
    missing = [name for name in ("nc", "dac", "ep") if name not in scores.terms]
    if missing:
        way_out = 'set [reward] use = "pdms", or another reward with these terms'
        raise PluginError(
            "miner pdms needs the terms nc, dac and ep", metric=str(scores.metric), missing=", ".join(missing), way_out=way_out
        )


def _who(scene: PdmScene, marks: Marks, kind: str) -> dict[str, float | str]:
    """The object of a collision, its class and speed, and when time to collision first ran out."""
    found: dict[str, float | str] = {}
    track = int(marks.collision_track[0])
    if kind == "collision" and track != NEVER:
        found |= {"object": scene.ids[track], "class": AgentClass(int(scene.kind[track])).name.lower()}
        found["object speed"] = float(scene.first_speed[track])
    if marks.ttc_step[0] != NEVER:
        found["ttc time"] = float(marks.ttc_step[0]) * 0.1
    return found


__all__ = ["PdmsMiner", "PdmsMinerConfig"]
