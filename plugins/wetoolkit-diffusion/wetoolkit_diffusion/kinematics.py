"""From tokens to motion at the world's pace, and what bodies of each class can do.

Between tokens an agent moves as smoothly as they allow: positions minimise the squared distance to the tokens plus the squared
jerk, from the recorded pose and velocity on; tokens that are given count so much that they are met. Who has wheels and turns more
tightly than it can - who drifts sideways as it stops, most of all - rolls along that path instead (``rolled``). What then still
exceeds the limits of its class is smoothed more, and in the end driven after by a unicycle with those limits, as well as such a
body can.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from wetoolkit_driving.geometry import relative, wrap_angle
from wetoolkit_driving.types import HEADING, VX, AgentClass, Bool, Byte, Double
from wetoolkit_driving.unicycle import UnicycleConfig, drive_unicycle

from wetoolkit_diffusion.spec import KINDS

DT = 0.1  # seconds
TRUST = (1.0, 0.05, 1e-3, 1e-5)  # weights of the generated tokens that are tried until the motion is within limits
GIVEN = 1e4  # a given token weighs so much more than a generated one
SPREAD = np.array([0.25, 0.10, 0.20])  # metres: how exact a generated token is taken to be, by class
JERK = np.array([2.0, 2.0, 2.0])  # m/s^3: how much jerk is usual, by class
STILL = 0.5  # metres: who gets no farther than this stands
SLOW = 0.5  # m/s: below, the heading of who steers does not follow the motion
AHEAD = 1.0  # metres: who rolls steers for the first place of its path that is so far away
EASE = 1.15  # the tightest turn of who rolls, in those that it could make at most
MISSED = 0.1  # metres: who would pass a given token at more than this does not roll


@dataclass(frozen=True)
class Limits:
    """What a class can do. Ours, about twice what is seen in daily traffic, so that hard braking and swerving are admitted."""

    speed: float  # m/s
    acceleration: float  # m/s^2
    deceleration: float  # m/s^2
    lateral: float  # m/s^2: speed times yaw rate
    radius: float  # metres: the tightest turn, 0 for who can turn on the spot
    slip: float  # metres a second sideways to the heading


LIMITS = {
    AgentClass.VEHICLE: Limits(45.0, 6.0, 9.0, 7.0, 3.5, 1.0),
    AgentClass.PEDESTRIAN: Limits(6.0, 5.0, 6.0, 99.0, 0.0, 6.0),
    AgentClass.BICYCLE: Limits(16.0, 4.0, 7.0, 6.0, 1.0, 1.0),
}
REASONS = ("speed", "acceleration", "deceleration", "lateral", "radius", "slip")


def decode(state: Double, given: Bool, kind: Byte, velocity: Double, every: int) -> tuple[Double, Bool]:
    """Poses [N, F * every, 3] in the own frames of N agents after the present, and who had to be driven after [N].

    ``state`` [N, F, CHANNELS] future tokens, ``given`` [N, F], ``kind`` [N], ``velocity`` [N, 2] m/s at the present (own frame);
    a token is ``every`` steps of 0.1 s.
    """
    poses, wild = np.zeros((len(state), state.shape[1] * every, 3)), np.ones(len(state), bool)
    for trust in TRUST:
        path = smooth(state[wild], given[wild], kind[wild], velocity[wild], every, trust)
        poses[wild] = np.concatenate([path, headed(path, state[wild], kind[wild], every)[..., None]], -1)
        still = ~given.any(1) & (np.hypot(poses[..., 0], poses[..., 1]).max(1) < STILL)
        poses[still] = 0.0
        wild = violations(poses, kind, velocity).any(-1)
        if trust == TRUST[0]:
            rows = wild & (kind != AgentClass.PEDESTRIAN)
            wild[rows] = ~_roll(poses, rows, state, given, kind, velocity, every)
    for which in np.unique(kind[wild]):
        rows = wild & (kind == which)
        poses[rows] = _driven(poses[rows], velocity[rows], LIMITS[AgentClass(which)])
    return poses, wild


def _roll(poses: Double, rows: Bool, state: Double, given: Bool, kind: Byte, velocity: Double, every: int) -> Bool:
    """Which of the n ``rows`` [N] of ``poses`` roll within limits and by what is given [n]; those are written into it."""
    radius = np.array([LIMITS[AgentClass(which)].radius for which in kind[rows]])
    found = rolled(poses[rows, :, :2], EASE * radius)
    away = np.hypot(*np.moveaxis(found[:, every - 1 :: every, :2] - state[rows, :, :2], -1, 0))
    met = np.where(given[rows], away, 0.0).max(1) < MISSED
    fine = met & ~violations(found, kind[rows], velocity[rows]).any(-1)
    poses[np.flatnonzero(rows)[fine]] = found[fine]
    return np.asarray(fine)


def rolled(path: Double, radius: Double) -> Double:
    """Poses [n, T, 3] (metres, radians) along positions [n, T, 2] (metres), at their pace, of bodies that roll where they are
    headed, from the origin on: no turn is tighter than ``radius`` [n] metres and none is made on the spot (pure pursuit, Coulter
    1992)."""
    rows, pose, bend = np.arange(len(path)), np.zeros((len(path), 3)), np.zeros(len(path))
    places = np.concatenate([path, np.zeros_like(path[..., :1])], -1)
    out = np.empty_like(places)
    for t in range(path.shape[1]):
        seen = relative(pose[:, None], places[:, t:])[..., :2]  # [n, T - t, 2] from where the body is
        far = np.hypot(seen[..., 0], seen[..., 1]) > AHEAD
        aim = seen[rows, far.argmax(1)]
        circle = np.clip(2.0 * aim[:, 1] / np.maximum((aim**2).sum(-1), AHEAD**2), -1.0 / radius, 1.0 / radius)
        bend = np.where(far.any(1), np.where(aim[:, 0] > 0.0, circle, 0.0), bend)  # near its end, it keeps the wheel as it is
        turn = seen[:, 0, 0] * bend
        middle = pose[:, 2] + 0.5 * turn
        pose = pose + np.stack([seen[:, 0, 0] * np.cos(middle), seen[:, 0, 0] * np.sin(middle), turn], -1)
        out[:, t] = pose
    out[..., 2] = wrap_angle(out[..., 2])
    return out


def smooth(state: Double, given: Bool, kind: Byte, velocity: Double, every: int, trust: float = 1.0) -> Double:
    """Positions [N, F * every, 2] that go through given tokens and near the others with little jerk."""
    out = np.empty((len(state), state.shape[1] * every, 2))
    for which in np.unique(kind):
        rows = np.flatnonzero(kind == which)
        table = _plain(state.shape[1], every, int(which), trust)
        past = -DT * velocity[rows, None] * np.array([2.0, 1.0, 0.0])[:, None]  # [n, 3, 2] at -0.2, -0.1 and 0 s
        out[rows] = np.einsum("tk,nkc->ntc", table, np.concatenate([past, state[rows, :, :2]], 1))
        for row in rows[given[rows].any(1)]:
            own = -DT * velocity[row] * np.array([2.0, 1.0, 0.0])[:, None]
            out[row] = _table(given[row], every, int(which), trust) @ np.concatenate([own, state[row, :, :2]])
    return out


@lru_cache(maxsize=32)
def _plain(count: int, every: int, kind: int, trust: float) -> Double:
    return _table(np.zeros(count, bool), every, kind, trust)


def _table(given: Bool, every: int, kind: int, trust: float) -> Double:
    """[F * every, 3 + F]: the positions as a linear map of three of the past and the tokens."""
    count = len(given)
    steps = count * every
    weight = np.where(given, GIVEN, trust) / SPREAD[kind] ** 2  # [F]
    # Third differences of all positions, the three of the past first: [steps, 3 + steps].
    third = np.diff(np.eye(steps + 3), 3, axis=0) / DT**3 / JERK[kind] * np.sqrt(DT)
    known, free = third[:, :3], third[:, 3:]
    at = np.zeros((count, steps))
    at[np.arange(count), every * np.arange(1, count + 1) - 1] = 1.0
    matrix = free.T @ free + at.T @ (weight[:, None] * at)
    return np.asarray(np.linalg.solve(matrix, np.concatenate([-free.T @ known, at.T * weight], 1)))


def headed(path: Double, state: Double, kind: Byte, every: int) -> Double:
    """Headings [N, T] for positions [N, T, 2]: along the motion where there is some, else kept; walkers' as tokens say."""
    before = np.concatenate([np.zeros_like(path[:, :1]), path], 1)
    step = np.diff(before, axis=1)
    course, speed = np.arctan2(step[..., 1], step[..., 0]), np.hypot(step[..., 0], step[..., 1]) / DT
    backward = np.abs(course) > 0.6 * np.pi  # seen from the present: who begins by rolling back keeps its heading
    heading = np.zeros(speed.shape)
    held = np.zeros(len(path))
    for t in range(speed.shape[1]):
        turned = wrap_angle(course[:, t] - held)
        moves = (speed[:, t] > SLOW) & (np.abs(turned) < 0.5 * np.pi) & ~(backward[:, t] & (t < every))
        held = np.where(moves, wrap_angle(held + np.clip(turned, -0.15, 0.15)), held)
        heading[:, t] = held
    walks = kind == AgentClass.PEDESTRIAN
    turned = np.unwrap(np.arctan2(state[walks, :, 3], state[walks, :, 2]), axis=1)
    at = (np.arange(path.shape[1]) + 1.0) / every - 1.0
    for row, track in zip(np.flatnonzero(walks), turned, strict=True):
        heading[row] = wrap_angle(np.interp(at, np.arange(-1, len(track)), np.concatenate([[0.0], track])))
    return heading


def _driven(poses: Double, velocity: Double, limits: Limits) -> Double:
    """The same poses [n, T, 3] as a body with these limits can follow them, from standing in its own frame with ``velocity``."""
    turn = min(1.5, limits.lateral) if limits.radius else 4.0
    config = UnicycleConfig(
        acceleration=0.95 * limits.acceleration, deceleration=0.95 * limits.deceleration, yaw_rate=turn,
        lateral_acceleration=0.95 * limits.lateral,
    )  # fmt: skip
    states = np.zeros((len(poses), 11))
    states[:, VX] = velocity[:, 0]
    driven = drive_unicycle(states, poses, poses.shape[1], config)
    return driven[..., : HEADING + 1]


def violations(poses: Double, kind: Byte, velocity: Double) -> Bool:
    """Whether motions [N, T, 3] at 10 Hz, from the origin on with ``velocity`` [N, 2], exceed each of ``REASONS`` [N, 6].

    Accelerations are those over half a second, so that the rounding of recorded positions does not count as one.
    """
    table = np.array([[getattr(LIMITS[which], reason) for reason in REASONS] for which in KINDS])
    most = table[[KINDS.index(AgentClass(which)) for which in kind]].reshape(-1, len(REASONS))  # [N, 6]
    full = np.concatenate([np.zeros_like(poses[:, :1]), poses], 1)
    step = np.diff(full[..., :2], axis=1) / DT  # [N, T, 2]
    middle = full[:, :-1, 2] + 0.5 * wrap_angle(np.diff(full[..., 2], axis=1))
    along = step[..., 0] * np.cos(middle) + step[..., 1] * np.sin(middle)
    side = np.abs(step[..., 1] * np.cos(middle) - step[..., 0] * np.sin(middle))
    speed = np.hypot(step[..., 0], step[..., 1])
    speeds = np.concatenate([np.hypot(velocity[:, :1], velocity[:, 1:]), speed], 1)
    span = min(5, speed.shape[1])
    change = (speeds[:, span:] - speeds[:, :-span]) / (span * DT)
    turn = np.unwrap(full[..., 2], axis=1)
    rate = np.abs(turn[:, span:] - turn[:, :-span]) / (span * DT)
    pace = np.abs(np.stack([along[:, i : i + rate.shape[1]] for i in range(span)]).mean(0))
    found = np.stack(
        [speed.max(1), change.max(1), -change.min(1), (rate * pace).max(1), np.zeros(len(poses)), side.max(1)], -1
    )  # [N, 6]
    tight = (rate * most[:, 4, None] > pace + 0.5).any(1)  # half a metre a second of leave: headings of who stands are rounded too
    over = found > most + 1e-6
    over[:, 4] = tight & (most[:, 4] > 0)
    return over


__all__ = ["DT", "LIMITS", "REASONS", "Limits", "decode", "rolled", "smooth", "violations"]
