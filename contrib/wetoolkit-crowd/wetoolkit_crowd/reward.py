"""The reward ``crowd``: was nobody run into, was everybody left room, did the robot get on, and did it move smoothly.

Total = collision x (5 progress + 4 space + 1 smoothness) / 10, each term in [0, 1]:

- ``collision`` (gate): 0 where the robot touches a person or a wall while it moves faster than ``still``. A person who walks into a
  robot that stands is not run into; such a touch is in ``touch`` (reported).
- ``space``: 1 - the deepest intrusion into the personal space of anybody over the whole time, as a share of ``personal``:
  personal space is measured from surface to surface. Hall (1966) puts its nearer end at 0.45 m.
- ``progress``: how much nearer to its goal the robot got, as a share of what ``cruise`` would come to (or of all the way there is,
  where that is less).
- ``smoothness``: 1 - the root mean square of the acceleration as a share of ``rough``, not below 0.

Success: collision is 1 and progress is at least ``stranded``: a robot that freezes has not succeeded. ``score`` lets the world's
own body follow each proposal among the others as recorded; ``judge`` looks at what was done. Settings other than the defaults are
part of the metric's stamp.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import Field

from wetoolkit.config import Config
from wetoolkit.errors import ValidationError
from wetoolkit.types import Float, Metric, Role, Rollout, Scores, Situation, Term
from wetoolkit_crowd.bodies import follow, to_world
from wetoolkit_crowd.domain import PLAN
from wetoolkit_crowd.forces import nearest_points
from wetoolkit_crowd.types import DT, HEADING, VX, VY, Double, World

VERSION = "1.0"
WEIGHTS = {"progress": 5.0, "space": 4.0, "smoothness": 1.0}
ROLES = {"collision": Role.GATE, "touch": Role.REPORTED}
FAR = 1e3  # metres: the clearance in an empty place


class CrowdRewardConfig(Config):
    """Settings of ``crowd``."""

    still: float = Field(default=0.1, description="a robot slower than this runs into nobody [m/s]", ge=0.0)
    personal: float = Field(default=0.45, description="personal space, from surface to surface [m]", gt=0.0)
    cruise: float = Field(default=1.2, description="speed whose progress is 1 [m/s]", gt=0.0)
    rough: float = Field(default=2.0, description="root mean square of the acceleration at which smoothness is 0 [m/s^2]", gt=0.0)
    stranded: float = Field(default=0.2, description="success needs at least this progress [1]", ge=0.0, le=1.0)


class CrowdReward:
    """Implements ``wetoolkit.kinds.Reward``."""

    def __init__(self, config: CrowdRewardConfig) -> None:
        self.config = config
        changed = config.model_dump(exclude_defaults=True)
        self.metric = Metric("crowd", VERSION, {name: f"{value:g}" for name, value in changed.items()})

    def score(self, situations: Sequence[Situation[World]], proposals: Float) -> Scores:
        """Scores [B, N] of proposals [N, 16, 3] (shared) or [B, N, 16, 3]; fewer steps are judged where the record ends before."""
        plans = np.asarray(proposals, np.float64)
        _check(plans, len(situations))
        rows = [self._score_one(situation, plans if plans.ndim == 3 else plans[b]) for b, situation in enumerate(situations)]
        return self._scores(rows, (len(situations), plans.shape[-3]))

    def judge(self, rollouts: Sequence[Rollout[World]]) -> Scores:
        """Scores [B] of the robot's states from the first decision to the end of the horizon."""
        rows = []
        for rollout in rollouts:
            world, now = rollout.world, rollout.clock.now
            rows.append(self._terms(world, now, world.robot.states[now], world.robot.states[None, now + 1 : rollout.end]))
        return self._scores(rows, (len(rollouts),))

    def _score_one(self, situation: Situation[World], plans: Double) -> Mapping[str, Double]:
        world, now = situation.world, situation.step
        left = min(PLAN.steps, world.steps - 1 - now)
        if left < 1:
            raise ValidationError(
                "the record ends now", field="situation.step", situation=situation.id, way_out="take an earlier step"
            )
        start = world.robot.states[now]
        return self._terms(world, now, start, follow(world.robot.body, start, to_world(start[: HEADING + 1], plans[:, :left])))

    def _terms(self, world: World, now: int, start: Double, states: Double) -> Mapping[str, Double]:
        """Every term [N] of states [N, T, 6] that follow ``start`` [6] at step ``now``."""
        config = self.config
        people, walls = clearances(world, now, states)  # [N, T] metres
        touched = np.minimum(people, walls) < 0
        moving = np.hypot(states[..., VX], states[..., VY]) > config.still
        goal, time = world.robot.goal, states.shape[1] * DT
        before = float(np.hypot(*(goal - start[:2])))
        after = np.hypot(*np.moveaxis(goal - states[:, -1, :2], -1, 0))
        reach = max(min(before, config.cruise * time), 1e-6)
        velocity = np.concatenate([np.broadcast_to(start[VX : VY + 1], (len(states), 1, 2)), states[..., VX : VY + 1]], 1)
        square = np.square(np.diff(velocity, axis=1) / DT).sum(-1).mean(1)
        return {
            "collision": 1.0 - (touched & moving).any(1),
            "space": np.clip(people.min(1) / config.personal, 0.0, 1.0),
            "progress": np.clip((before - after) / reach, 0.0, 1.0) if before > 0.3 else np.ones(len(states)),
            "smoothness": np.clip(1.0 - np.sqrt(square) / config.rough, 0.0, 1.0),
            "touch": 1.0 - touched.any(1),
        }

    def _scores(self, rows: Sequence[Mapping[str, Double]], shape: tuple[int, ...]) -> Scores:
        names = ("collision", "space", "progress", "smoothness", "touch")
        values = {name: np.array([row[name] for row in rows], np.float64).reshape(shape) for name in names}
        total = values["collision"] * sum(weight * values[name] for name, weight in WEIGHTS.items()) / sum(WEIGHTS.values())
        success = (values["collision"] == 1) & (values["progress"] >= self.config.stranded)
        terms = {name: Term(values[name], ROLES.get(name, Role.WEIGHTED), WEIGHTS.get(name, 0.0)) for name in names}
        return Scores(self.metric, np.asarray(total), np.asarray(success), terms)


def clearances(world: World, now: int, states: Double) -> tuple[Double, Double]:
    """Metres [N, T] from the robot's surface to the nearest person's and to the nearest wall, below 0 where they overlap.

    ``states`` [N, T, 6] are those of the steps after ``now``; people count at the steps at which they are there.
    """
    span = slice(now + 1, now + 1 + states.shape[1])
    radius, people = world.robot.body.radius, world.people
    near, wall = np.full(states.shape[:2], FAR), np.full(states.shape[:2], FAR)
    if len(people):
        away = states[:, None, :, :2] - people.position[None, :, span]  # [N, A, T, 2]
        gap = np.sqrt(np.square(away).sum(-1)) - people.radius[:, None] - radius
        near = np.minimum(near, np.where(people.valid[:, span], gap, FAR).min(1))
    if len(world.walls):
        away = states[..., None, :2] - nearest_points(states[..., :2], world.walls)  # [N, T, S, 2]
        wall = np.minimum(wall, np.sqrt(np.square(away).sum(-1)).min(-1) - radius)
    return near, wall


def _check(plans: Double, situations: int) -> None:
    if plans.ndim not in (3, 4) or plans.shape[-2:] != PLAN.shape or (plans.ndim == 4 and len(plans) != situations):
        what = f"shape {plans.shape} for {situations} situations"
        raise ValidationError(what, field="proposals", way_out=f"give [N, {PLAN.steps}, 3] for all, or [B, N, {PLAN.steps}, 3]")
    if not np.isfinite(plans).all():
        raise ValidationError("numbers that are not finite", field="proposals", way_out="give finite poses")


__all__ = ["VERSION", "WEIGHTS", "CrowdReward", "CrowdRewardConfig", "clearances"]
