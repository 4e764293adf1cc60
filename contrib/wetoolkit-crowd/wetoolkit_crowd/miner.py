"""The miner ``crowd``: the steps at which a policy's own plan runs into somebody, crowds somebody, or gets nowhere.

Thresholds are on the terms of the reward ``crowd``. A situation is one failure at most, in this order:

- ``collision``: the collision gate is closed; severity 1 - t / 6.4 s with t the time to the first touch.
- ``intrusion``: ``space`` below ``least_space``; severity (1 - space) / 2.
- ``stranded``: ``progress`` below ``least_progress``; severity (1 - progress) / 4.

A robot that already touches somebody at the step itself is left out: that is not the plan's doing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from wetoolkit.config import Config
from wetoolkit.errors import PluginError
from wetoolkit.kinds import Policy, Reward
from wetoolkit.types import Failure, Ref, Scenario, Scores
from wetoolkit_crowd.bodies import follow, to_world
from wetoolkit_crowd.domain import PLAN, Crowd
from wetoolkit_crowd.reward import clearances
from wetoolkit_crowd.types import DT, HEADING, Double, World

NEEDED = ("collision", "space", "progress")


class CrowdMinerConfig(Config):
    """Settings of the miner ``crowd``."""

    least_space: float = Field(default=0.25, description="space below this is a failure; 0: none [1]", ge=0.0, le=1.0)
    least_progress: float = Field(default=0.25, description="progress below this is a failure; 0: none [1]", ge=0.0, le=1.0)


class CrowdMiner:
    """Implements ``wetoolkit.kinds.Miner``. Judges the policy's plan at each scenario's present step."""

    def __init__(self, config: CrowdMinerConfig) -> None:
        self.config = config

    def mine(
        self, scenarios: Sequence[Scenario[World]], policy: Policy[World], reward: Reward[World], seed: int
    ) -> Sequence[Failure]:
        """At most one failure a scenario, in order. ``PluginError`` where the reward lacks a term."""
        if not scenarios:
            return []
        situations = [s.situation() for s in scenarios]
        plans = np.asarray(policy.act(Crowd().observe(situations, policy.spec), seed).trajectories, np.float64)  # [B, 16, 3]
        scores = reward.score(situations, plans[:, None])
        missing = [name for name in NEEDED if name not in scores.terms]
        if missing:
            raise PluginError(
                "miner crowd needs the terms collision, space and progress", metric=str(scores.metric),
                missing=", ".join(missing), way_out='set [reward] use = "crowd", or another reward with these terms',
            )  # fmt: skip
        found = [self._judge(s, plans[b], scores, b) for b, s in enumerate(scenarios)]
        return [failure for failure in found if failure is not None]

    def _judge(self, scenario: Scenario[World], plan: Double, scores: Scores, row: int) -> Failure | None:
        values = {name: float(term.values[row, 0]) for name, term in scores.terms.items()}
        ref, now = Ref(scenario.id, scenario.split, scenario.log), scenario.clock.now
        if touches(scenario.world, now):
            return None
        if values["collision"] == 0:
            time, who = first_touch(scenario.world, now, plan)
            severity = 1 - time / (2 * PLAN.steps * DT)
            return Failure(ref, "collision", now, severity, {**values, "time": time, "with": who})
        if values["space"] < self.config.least_space:
            return Failure(ref, "intrusion", now, (1 - values["space"]) / 2, values)
        if values["progress"] < self.config.least_progress:
            return Failure(ref, "stranded", now, (1 - values["progress"]) / 4, values)
        return None


def touches(world: World, step: int) -> bool:
    """Whether the robot touches somebody or a wall at a step."""
    people, walls = clearances(world, step - 1, world.robot.states[None, step : step + 1])
    return bool(min(people[0, 0], walls[0, 0]) < 0)


def first_touch(world: World, now: int, plan: Double) -> tuple[float, str]:
    """When a plan [16, 3] first leads to a touch [s], and with what; (0, "nothing") where it never does."""
    start = world.robot.states[now]
    left = min(PLAN.steps, world.steps - 1 - now)
    states = follow(world.robot.body, start, to_world(start[: HEADING + 1], plan[None, :left]))
    people, walls = clearances(world, now, states)
    touched = np.minimum(people[0], walls[0]) < 0
    if not touched.any():
        return 0.0, "nothing"
    first = int(touched.argmax())
    return (first + 1) * DT, "person" if people[0, first] < 0 else "wall"


__all__ = ["CrowdMiner", "CrowdMinerConfig", "first_touch", "touches"]
