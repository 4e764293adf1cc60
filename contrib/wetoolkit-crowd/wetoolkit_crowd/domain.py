"""The crowd domain: what a plan is, what policies see and what the recorded body did.

Everything seen is in the robot's frame now: x forward, y left, metres and m/s; nothing after the step counts.

=========  ===============  =====================================================================================
field      shape            channels
=========  ===============  =====================================================================================
robot      [B, H, 8]        x, y, cos, sin, vx, vy, goal x, goal y; the last of H steps is now. The goal is cut to
                            ``GOAL_REACH`` along its direction
people     [B, A, H, 5]     x, y, vx, vy, radius; those that are there now, the nearest first, then those last seen
walls      [B, S, 2, 2]     the two ends of each wall within ``RADIUS``, the nearest first
=========  ===============  =====================================================================================

Masks ``name.valid``: [B, H], [B, A, H], [B, S, 2]; what they mask is zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wetoolkit.errors import UnknownName, ValidationError
from wetoolkit.sight import seen as pictures
from wetoolkit.types import Array, Bool, Float, Observation, ObservationSpec, PlanSpec, Situation
from wetoolkit_crowd.bodies import to_robot
from wetoolkit_crowd.forces import nearest_points
from wetoolkit_crowd.types import DT, HEADING, VX, VY, Double, World

PLAN = PlanSpec(16, DT, ("x [m]", "y [m]", "heading [rad]"))
LIMITS = {"people": 16, "walls": 8}
RADIUS = 10.0  # metres: people and walls are seen this far
GOAL_REACH = 6.0  # metres

Single = NDArray[np.float32]
Seen = tuple[Single, Bool]


class Crowd:
    """Implements ``wetoolkit.kinds.Domain``: plans are 16 poses in the robot's frame now, the first 0.2 s ahead."""

    name = "crowd"
    plan = PLAN
    world = World

    def observe(self, situations: Sequence[Situation[World]], spec: ObservationSpec) -> Observation[World]:
        """See the module; ``spec.history`` counts steps, now included. ``UnknownName`` for a field there is not."""
        arrays: dict[str, Array] = {}
        for name in spec.fields:
            if name not in FIELDS:
                raise UnknownName("field of a crowd observation", name, FIELDS, field="ObservationSpec.fields")
            limit = spec.limits.get(name, LIMITS.get(name, 1))
            arrays[name], arrays[f"{name}.valid"] = FIELDS[name](situations, spec.history, limit)
        worlds = tuple(s.world.until(s.step) for s in situations) if spec.world else ()
        return Observation("crowd", len(situations), arrays, worlds, **pictures(situations, spec))

    def demonstrate(self, situations: Sequence[Situation[World]]) -> tuple[Float, Bool]:
        """Plans [B, 16, 3] that the body of each record followed (zeros where not all 16 steps are known), and that mask [B]."""
        plans, known = np.zeros((len(situations), *PLAN.shape)), np.zeros(len(situations), np.bool_)
        for b, situation in enumerate(situations):
            robot, now = situation.world.robot, situation.step
            if abs(situation.world.dt - DT) > 1e-6:
                way_out = f"resample the recording to {DT} s when it is read"
                raise ValidationError(f"dt is {situation.world.dt} s", field="world.dt", situation=situation.id, way_out=way_out)
            span = slice(now, now + 1 + PLAN.steps)
            if now + PLAN.steps < situation.world.steps and robot.valid[span].all():
                poses = robot.states[span, : HEADING + 1]
                plans[b], known[b] = to_robot(poses[0], poses[1:]), True
        return plans, known


def see_robot(situations: Sequence[Situation[World]], history: int, limit: int) -> Seen:
    """[B, H, 8] and its mask; ``limit`` is not used."""
    out, valid = np.zeros((len(situations), history, 8), np.float32), np.zeros((len(situations), history), np.bool_)
    for b, situation in enumerate(situations):
        robot, now = situation.world.robot, situation.step
        pose, past = robot.states[now], slice(max(0, now + 1 - history), now + 1)
        states, there = robot.states[past], robot.valid[past]
        local = to_robot(pose, states[:, : HEADING + 1])
        goal = _turned(robot.goal - pose[:2], pose[HEADING])
        goal = goal * min(1.0, GOAL_REACH / max(float(np.hypot(*goal)), 1e-9))
        seen = np.concatenate([
            local[:, :2], np.cos(local[:, 2:]), np.sin(local[:, 2:]), _turned(states[:, VX : VY + 1], pose[HEADING]),
            np.repeat(goal[None], len(states), 0),
        ], 1)  # fmt: skip
        out[b, history - len(states) :] = np.where(there[:, None], seen, 0.0)
        valid[b, history - len(states) :] = there
    return out, valid


def see_people(situations: Sequence[Situation[World]], history: int, limit: int) -> Seen:
    """[B, A, H, 5] and its mask."""
    out = np.zeros((len(situations), limit, history, 5), np.float32)
    valid = np.zeros((len(situations), limit, history), np.bool_)
    for b, situation in enumerate(situations):
        world, now = situation.world, situation.step
        pose, past = world.robot.states[now], slice(max(0, now + 1 - history), now + 1)
        rows = _nearest_people(world, now, past, limit)
        there = world.people.valid[rows, past]  # [n, h]
        position = _turned(world.people.position[rows, past] - pose[:2], pose[HEADING])
        velocity = _turned(world.people.velocity[rows, past], pose[HEADING])
        radius = np.broadcast_to(world.people.radius[rows, None, None], (*there.shape, 1))
        seen = np.concatenate([position, velocity, radius], -1)
        out[b, : len(rows), history - there.shape[1] :] = np.where(there[..., None], seen, 0.0)
        valid[b, : len(rows), history - there.shape[1] :] = there
    return out, valid


def _nearest_people(world: World, now: int, past: slice, limit: int) -> NDArray[np.int64]:
    """Rows of the people within ``RADIUS`` now or when last seen in the history; those that are there now come first."""
    there = world.people.valid[:, past]
    if not there.size:
        return np.zeros(0, np.int64)
    last = past.start + there.shape[1] - 1 - there[:, ::-1].argmax(1)  # the last step at which each was seen
    away = world.people.position[np.arange(len(there)), last] - world.robot.states[now, :2]
    distance = np.hypot(away[:, 0], away[:, 1])
    rank = np.where(there.any(1) & (distance < RADIUS), distance + 1e3 * (last < now), np.inf)
    order = np.argsort(rank, kind="stable")[:limit]
    return np.asarray(order[np.isfinite(rank[order])])


def see_walls(situations: Sequence[Situation[World]], history: int, limit: int) -> Seen:
    """[B, S, 2, 2] and its mask; ``history`` is not used."""
    out, valid = np.zeros((len(situations), limit, 2, 2), np.float32), np.zeros((len(situations), limit, 2), np.bool_)
    for b, situation in enumerate(situations):
        walls, pose = situation.world.walls, situation.world.robot.states[situation.step]
        away = nearest_points(pose[:2], walls) - pose[:2]
        distance = np.hypot(away[:, 0], away[:, 1])
        rows = np.argsort(distance, kind="stable")[:limit]
        rows = rows[distance[rows] < RADIUS]
        out[b, : len(rows)], valid[b, : len(rows)] = _turned(walls[rows] - pose[:2], pose[HEADING]), True
    return out, valid


def _turned(vectors: Double, heading: float) -> Double:
    """Vectors [..., 2] of the world in a frame that is turned by ``heading``."""
    c, s = np.cos(heading), np.sin(heading)
    x, y = vectors[..., 0], vectors[..., 1]
    return np.stack([c * x + s * y, c * y - s * x], -1)


FIELDS = {"robot": see_robot, "people": see_people, "walls": see_walls}
__all__ = ["FIELDS", "GOAL_REACH", "LIMITS", "PLAN", "RADIUS", "Crowd"]
