"""The rewards ``pdms`` and ``epdms``: the PDM score over proposals in any variant, and the same sub-metrics over what was driven.

``variant`` says which score (``variants``, docs/pdm.md): it is the version in the metric's stamp, and scores of two variants are
never compared. Each proposal is followed by the LQR tracker and the bicycle for 4 s among the others as recorded (after the end of
the record at constant velocity), or as they would react (``others``, see ``pdm.others``), and judged on 41 states.

Progress (EP) is normalised as ``normaliser`` says; it is part of the stamp:

- ``pair``: each proposal with the PDM-Closed reference by itself, as NAVSIM's ``pdm_score``. Independent of the other proposals.
- ``batch``: the greatest of all N proposals and the reference. Depends on who is judged together.
- ``scene``: the greatest of the reference and the 15 proposals it was chosen from; EP is cut at 1. Depends on the scene alone.

How progress, gates and a short way make EP is the variant's (``result.ego_progress``). A situation without a route has no progress
to measure: EP is 1 behind open gates and the term is stamped unavailable.

``judge`` looks at the executed states themselves, from the first decision to the end of the horizon, whatever its length, and at
the others as the record has them, at its own rate. Progress is normalised by the greatest of its own and that of 15 IDM drives on
the route through the same others (stamped ``judged=idm-hindsight``; the same for all policies where the others do not react).
``collision_any`` reports any touch, whoever is at fault. Horizons above or below 4 s change the windows of no sub-metric, except
that comfort's filters are shortened where there are fewer states than they span.

Success is NC = DAC = 1 in every variant. Extended comfort, human filter and the two stages need more than one plan: ``aggregate``.
Terms that need what the data lack (``World.unavailable``) are computed as far as they are defined and stamped unavailable: see
``NEEDS``. One such situation in a batch stamps the term for the batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from wetoolkit.errors import ConfigError, ValidationError
from wetoolkit.events import Event
from wetoolkit.types import Check, Float, Metric, Role, Rollout, Scores, Situation, Term
from wetoolkit_driving.dynamics import DT, check_plans, reference_poses
from wetoolkit_driving.events import events_of, steps_of
from wetoolkit_driving.pdm import kernels
from wetoolkit_driving.pdm.areas import Areas
from wetoolkit_driving.pdm.closed import STEPS, WORLD_ENGINE_CLOSED, PdmClosedConfig, find_path, plan_closed, propose, propose_now
from wetoolkit_driving.pdm.comfort import LEAST_STATES
from wetoolkit_driving.pdm.kept import Kept
from wetoolkit_driving.pdm.observation import driven_past
from wetoolkit_driving.pdm.others import OthersConfig, among
from wetoolkit_driving.pdm.result import NEVER, Marks, ego_progress, total
from wetoolkit_driving.pdm.scene import PdmScene, from_world, index_map
from wetoolkit_driving.pdm.variants import NAVSIM_1_1, Variant, find_variant
from wetoolkit_driving.types import World

Double = NDArray[np.float64]

INTERVALS = {40: 0.1, 8: 0.5}  # poses of a plan of 4 s -> seconds between them
NEEDS = {  # what the data may lack -> terms that are not fully defined without it
    "intersections": ("ttc",),  # a box from the side counts inside an intersection
    "signals": ("ep", "tlc"),  # the reference stops at red lights
    "lane_areas": ("nc", "ttc", "ddc", "tlc"),
    "drivable_areas": ("nc", "dac", "ttc"),
    "route": ("ep", "ddc", "lk", "tlc"),
    "past": ("comfort",),  # with ``Variant.history``
}
TERMS = ("nc", "dac", "ep", "ttc", "comfort", "ddc")  # of every variant
KEPT = 64  # situations whose reference plan a reward keeps
KEPT_MAPS = 16  # maps whose index it keeps


class PdmRewardConfig(OthersConfig):
    """Settings of ``pdms``."""

    variant: Literal["navsim-1.1", "epdms-2.2", "world-engine", "corrected"] = Field(
        default="navsim-1.1", description="which definition of the score (docs/pdm.md)"
    )
    mends: tuple[Literal["jerk", "arccos", "single", "rate", "half"], ...] | None = Field(
        default=None, description="the mends of the variant corrected; none given: all"
    )
    normaliser: Literal["pair", "batch", "scene"] = Field(
        default="pair", description="what progress is measured against (see the reward's page)"
    )
    reference: PdmClosedConfig | None = Field(
        default=None, description="settings of the PDM-Closed reference; none given: those of the variant's origin"
    )


class EpdmsRewardConfig(PdmRewardConfig):
    """Settings of ``epdms``: those of ``pdms`` with another variant to begin with."""

    variant: Literal["navsim-1.1", "epdms-2.2", "world-engine", "corrected"] = Field(
        default="epdms-2.2", description="which definition of the score (docs/pdm.md)"
    )


class PdmReward:
    """Implements ``wetoolkit.kinds.Reward``."""

    def __init__(self, config: PdmRewardConfig) -> None:
        if config.mends is not None and config.variant != "corrected":
            way_out = 'take variant = "corrected", or leave mends out'
            raise ConfigError(f"the variant {config.variant} is not to be mended", field="mends", way_out=way_out)
        self.config, self.variant = config, find_variant(config.variant, config.mends)
        origin = WORLD_ENGINE_CLOSED if config.variant == "world-engine" else PdmClosedConfig()
        self.reference = config.reference or origin
        self._references: Kept[Double] = Kept(KEPT)
        self._maps: Kept[Areas] = Kept(KEPT_MAPS)
        settings = {"normaliser": config.normaliser, "tail": "constant-velocity", "judged": "idm-hindsight"}
        if self.reference != origin:
            settings["reference"] = self.reference.model_dump_json(exclude_defaults=True)
        if self.variant.mends:
            settings["mends"] = "+".join(self.variant.mends)
        settings |= config.stamp()
        self.metric = Metric("pdms", self.variant.name, settings)

    def score(self, situations: Sequence[Situation[World]], proposals: Float) -> Scores:
        """Scores [B, N] of proposals [N, T, 3] or [B, N, T, 3]: T = 40 poses of 0.1 s, or 8 of 0.5 s (interpolated)."""
        plans = np.asarray(proposals, np.float64)
        shared = plans.ndim == 3
        _check_proposals(plans, len(situations))
        rows = []
        for b, situation in enumerate(situations):
            try:
                own = plans if shared else plans[b]
                rows.append(among(self.config, situation, own, self._score_one))
            except ValidationError as error:  # which one of the batch
                raise ValidationError(error.what, way_out=error.way_out, **{**error.context, "situation": situation.id}) from error
        count = plans.shape[-3]
        lacking = (self._lacks(s.world, s.step) for s in situations)
        return self._scores([r[0] for r in rows], [r[1] for r in rows], lacking, (len(rows), count), False)

    def judge(self, rollouts: Sequence[Rollout[World]]) -> Scores:
        """Scores [B] of the executed states from ``clock.now`` to before ``end``."""
        rows = [self._judge_one(rollout) for rollout in rollouts]
        lacking = (self._lacks(r.world, r.clock.now) for r in rollouts)
        return self._scores([r[0] for r in rows], [r[1] for r in rows], lacking, (len(rows),), True)

    def _lacks(self, world: World, step: int) -> tuple[str, ...]:
        """What is not known where this variant is scored at ``step``."""
        past = self.variant.history and not len(driven_past(world, step, self.variant))
        return (*lacks(world), "past") if past else lacks(world)

    def conform(self, cases: Path | None, against: ModuleType | None) -> Iterator[Check]:
        """The rows of `wetool conformance`; see ``wetoolkit_driving.pdm.conformance``."""
        from wetoolkit_driving.pdm.conformance import conform

        return conform(self.variant, cases, against)

    def _score_one(self, situation: Situation[World], plans: Double) -> tuple[Marks, Double]:
        """Marks and EP [N] of plans [N, T, 3]."""
        world, step, variant = situation.world, situation.step, self.variant
        areas = self._areas_of(world)
        scene = from_world(world, step, STEPS + 1, areas, variant)
        planned = self._references.get((world,), step, lambda: plan_closed(world, step, self.reference, areas, variant))
        reference = planned[None]
        poses = reference_poses(np.repeat(scene.ego[None], len(plans), 0), plans, INTERVALS[plans.shape[1]])
        marks = drive(scene, poses, variant)
        best = drive(scene, reference, variant).masked_progress.max()
        if self.config.normaliser == "scene":
            others, _ = propose_now(world, step, self.reference, areas, variant)
            best = max(best, drive(scene, others, variant).masked_progress.max())
        return marks, self._progress(scene, marks, best)

    def _progress(self, scene: PdmScene, marks: Marks, best: float) -> Double:
        if not len(scene.centerline):
            return np.where(marks.gate > 0, 1.0, 0.0)
        if self.config.normaliser == "pair":
            return ego_progress(marks, np.maximum(best, marks.masked_progress))
        if self.config.normaliser == "batch":
            return ego_progress(marks, max(best, marks.masked_progress.max(initial=0.0)))
        return ego_progress(marks, best)

    def _judge_one(self, rollout: Rollout[World]) -> tuple[Marks, Double]:
        """Marks and EP [1] of what one rollout did."""
        world, now = rollout.world, rollout.clock.now
        scene, marks = self._driven(rollout)
        if not len(scene.centerline):
            return marks, np.where(marks.gate > 0, 1.0, 0.0)
        path = find_path(world, now, self.reference.fallback_speed)
        others = propose(path, scene, self.reference, rollout.end - 1 - now)
        best = drive(scene, others, self.variant).masked_progress.max()
        return marks, ego_progress(marks, np.maximum(best, marks.masked_progress))

    def _areas_of(self, world: World) -> Areas:
        return self._maps.get((world.map, world.on_route), None, lambda: index_map(world))

    def _driven(self, rollout: Rollout[World]) -> tuple[PdmScene, Marks]:
        """The scene of one rollout and the marks [1] of what was driven in it."""
        world, now = rollout.world, rollout.clock.now
        states = np.asarray(world.ego.states[now : rollout.end], np.float64)[None]  # [1, T, 11]
        if states.shape[1] < LEAST_STATES:
            what = f"{states.shape[1]} states to judge where {LEAST_STATES} are due"
            raise ValidationError(what, field="rollout.end", rollout=rollout.id, way_out="roll out for 0.8 s or more")
        scene = from_world(world, now, states.shape[1], self._areas_of(world), self.variant.driven)
        return scene, kernels.score(scene, states, variant=self.variant)

    def events(self, rollouts: Sequence[Rollout[World]]) -> Sequence[Sequence[Event]]:
        """What happened in each rollout, in order of time: see ``wetoolkit_driving.events``; under 0.8 s nothing yet."""

        def one(rollout: Rollout[World]) -> Sequence[Event]:
            if rollout.end - rollout.clock.now < LEAST_STATES:
                return ()
            scene, marks = self._driven(rollout)
            states = np.asarray(rollout.world.ego.states[rollout.clock.now : rollout.end], np.float64)[None]
            return events_of(rollout, scene, marks, lambda part: kernels.score(part, states, variant=self.variant))

        return [one(rollout) for rollout in rollouts]

    def steps(self, rollouts: Sequence[Rollout[World]]) -> Sequence[Mapping[str, Float]]:
        """Numbers of every step of each rollout: see ``wetoolkit_driving.events``."""
        return [steps_of(rollout, *self._driven(rollout)) for rollout in rollouts]

    def _scores(
        self, marks: list[Marks], ep: list[Double], lacking: Iterable[tuple[str, ...]], shape: tuple[int, ...], driven: bool
    ) -> Scores:
        def stack(rows: list[Double]) -> Double:
            return np.array(rows, np.float64).reshape(shape)

        missing = {term for situation in lacking for lack in situation for term in NEEDS.get(lack, ())}
        names = (*TERMS, *(("tlc",) if self.variant.tlc else ()), *(("lk",) if self.variant.lk else ()))
        values = {name: stack(ep if name == "ep" else [getattr(m, name) for m in marks]) for name in names}
        weights = self.variant.weights
        roles = dict.fromkeys(weights, Role.WEIGHTED) | dict.fromkeys(self.variant.gates, Role.GATE)
        terms = {
            name: Term(values[name], roles.get(name, Role.REPORTED), weights.get(name, 0.0), name not in missing) for name in names
        }
        if driven:
            terms["collision_any"] = Term(stack([(m.touch_step != NEVER).astype(np.float64) for m in marks]), Role.REPORTED)
        whole = stack([total(m, e) for m, e in zip(marks, ep, strict=True)])
        return Scores(self.metric, whole, (values["nc"] == 1) & (values["dac"] == 1), terms)


def drive(scene: PdmScene, poses: Double, variant: Variant = NAVSIM_1_1) -> Marks:
    """Marks of cars that track world poses [N, T + 1, 3] in the scene."""
    return kernels.drive(scene, poses, variant)


def lacks(world: World) -> tuple[str, ...]:
    """What a world cannot tell, an empty route included."""
    return (*world.unavailable, *(() if len(world.route) else ("route",)))


def _check_proposals(proposals: Double, situations: int) -> None:
    """Raise ``ValidationError`` unless proposals are finite [N, T, 3] or [B, N, T, 3] with T = 40 or 8."""
    check_plans(proposals)
    if proposals.shape[-2] not in INTERVALS:
        way_out = "give 40 poses of 0.1 s or 8 of 0.5 s: 4 s in all"
        raise ValidationError(f"{proposals.shape[-2]} poses in a plan", field="proposals", way_out=way_out)
    if proposals.ndim not in (3, 4) or (proposals.ndim == 4 and len(proposals) != situations):
        what = f"shape {proposals.shape} for {situations} situations"
        raise ValidationError(what, field="proposals", way_out="give [N, T, 3] for all, or [B, N, T, 3]")


__all__ = ["DT", "NEEDS", "EpdmsRewardConfig", "PdmReward", "PdmRewardConfig", "drive", "lacks"]
