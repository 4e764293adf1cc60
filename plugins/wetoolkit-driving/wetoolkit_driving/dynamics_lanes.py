"""The tracker and the bicycle for LANES cars side by side, so that one instruction of the processor serves several of them.

The text to read is ``dynamics``; tests hold the two equal. Numbers lie in a slab, a flat array of rows of CHANNELS x LANES: row t
holds what is known of time t, channel by channel, each channel's lanes next to one another. Row length and places are constants
on purpose: the compiler then sees that the loops over lanes, innermost everywhere, never write what they read, and makes vector
code of them. For the same reason sine and cosine are written out here.

Lanes know nothing of each other, and no operation is reordered: a car has the same bits in every lane and beside any others.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wetoolkit_driving.jit import inlined, kernel

Double = NDArray[np.float64]

LANES = 16
# where the channels of a row begin: the car's state,
X, Y, HEADING, SPEED, ACCELERATION, STEERING, STEERING_RATE, YAW_RATE, YAW_ACCELERATION = (LANES * c for c in range(9))
COS, SIN, SLOPE = (LANES * c for c in range(9, 12))  # of the heading; tangent of the steering angle
# the plan's pose and what fits it,
PLAN_X, PLAN_Y, PLAN_HEADING, PLAN_COS, PLAN_SIN, PLAN_SPEED, PLAN_CURVATURE = (LANES * c for c in range(12, 19))
TURN, DIAGONAL, RIGHT = (LANES * c for c in range(19, 22))  # scratch of the fits,
SIDEWAYS, ACROSS = LANES * 22, LANES * 23  # and the state's speed and acceleration to the left, 0 for the bicycle from row 1 on
ROW = LANES * 24
AHEAD = 10  # rows that go on behind the plan's end

HALF_PI = (float.fromhex("0x1.921fb544p0"), float.fromhex("0x1.0b4611a6p-34"), float.fromhex("0x1.3198a2e037073p-69"))
_FULL_TURN = 2 * math.pi
_SINE = tuple((-1.0) ** n / math.factorial(2 * n + 1) for n in range(1, 8))
_COSINE = tuple((-1.0) ** n / math.factorial(2 * n) for n in range(2, 9))


@kernel
def new_slab(steps: int) -> Double:
    """Scratch for plans of ``steps`` steps."""
    return np.zeros((steps + 1 + AHEAD) * ROW)


@inlined
def cos_sin(angle: float) -> tuple[float, float]:
    """Cosine and sine to about an ulp for angles up to 1e6: Taylor's series within an eighth of a turn of the axes.

    Multiples of half of pi are taken away in three parts, the first two short enough for their products to be exact.
    """
    quarter = np.rint(angle * (2 / math.pi))
    r = ((angle - quarter * HALF_PI[0]) - quarter * HALF_PI[1]) - quarter * HALF_PI[2]
    z = r * r
    s = _SINE[3] + z * (_SINE[4] + z * (_SINE[5] + z * _SINE[6]))
    s = r + r * z * (_SINE[0] + z * (_SINE[1] + z * (_SINE[2] + z * s)))
    c = _COSINE[3] + z * (_COSINE[4] + z * (_COSINE[5] + z * _COSINE[6]))
    c = (1.0 - 0.5 * z) + z * z * (_COSINE[0] + z * (_COSINE[1] + z * (_COSINE[2] + z * c)))
    side = quarter - 4.0 * np.floor(0.25 * quarter)  # 0, 1, 2, 3
    odd = abs(side - 2.0) == 1.0
    sine, cosine = (c if odd else s), (s if odd else c)
    return (-cosine if abs(side - 1.5) < 1.0 else cosine), (-sine if side > 1.5 else sine)


@inlined
def wrapped(angle: float) -> float:
    """The angle in [-pi, pi]; one that lies there already keeps its bits."""
    return angle - _FULL_TURN * np.rint(angle / _FULL_TURN)


@kernel
def _load(initial: Double, poses: Double, first: int, slab: Double) -> None:
    """States [N or 1, 11] and world poses [N, T + 1, 3] of the plans from ``first`` on; lanes too many repeat the last plan."""
    for lane in range(LANES):
        n = min(first + lane, poses.shape[0] - 1)
        for t in range(poses.shape[1]):
            for c in range(3):
                slab[t * ROW + PLAN_X + c * LANES + lane] = poses[n, t, c]
        m = min(n, initial.shape[0] - 1)
        slab[X + lane], slab[Y + lane], slab[HEADING + lane] = initial[m, 0], initial[m, 1], initial[m, 2]
        slab[SPEED + lane], slab[ACCELERATION + lane], slab[STEERING + lane] = initial[m, 3], initial[m, 5], initial[m, 7]
        slab[STEERING_RATE + lane], slab[SLOPE + lane] = initial[m, 8], math.tan(initial[m, 7])
        slab[YAW_RATE + lane], slab[YAW_ACCELERATION + lane] = initial[m, 9], initial[m, 10]
        slab[SIDEWAYS + lane], slab[ACROSS + lane] = initial[m, 4], initial[m, 6]


@kernel
def _fit_speeds(slab: Double, factors: Double) -> None:
    """Turns and fitted speeds, by forward and back substitution with ``dynamics.speed_factors(T)`` [T, 3]."""
    steps = factors.shape[0]
    for t in range(steps):
        row = slab[t * ROW : (t + 2) * ROW]
        for b in range(LANES):
            cos, sin = cos_sin(row[PLAN_HEADING + b])
            row[PLAN_COS + b], row[PLAN_SIN + b] = cos, sin
            dx, dy = row[ROW + PLAN_X + b] - row[PLAN_X + b], row[ROW + PLAN_Y + b] - row[PLAN_Y + b]
            row[RIGHT + b] = 0.1 * (dx * cos + dy * sin)
            row[TURN + b] = wrapped(row[ROW + PLAN_HEADING + b] - row[PLAN_HEADING + b])
    for t in range(steps):
        row, next_, after = slab[t * ROW : (t + 3) * ROW], factors[t, 0], factors[t, 1]
        for b in range(LANES):
            row[ROW + RIGHT + b] -= next_ * row[RIGHT + b]
            row[2 * ROW + RIGHT + b] -= after * row[RIGHT + b]
    for t in range(steps, steps + 2):
        for b in range(LANES):
            slab[t * ROW + PLAN_SPEED + b] = 0.0
    for t in range(steps - 1, -1, -1):
        row, next_, after, scale = slab[t * ROW : (t + 3) * ROW], factors[t, 0], factors[t, 1], factors[t, 2]
        for b in range(LANES):
            later = next_ * row[ROW + PLAN_SPEED + b] + after * row[2 * ROW + PLAN_SPEED + b]
            row[PLAN_SPEED + b] = row[RIGHT + b] * scale - later


@kernel
def _fit_curvatures(slab: Double, steps: int) -> None:
    """Curvatures k that explain the turns: in the unknowns k_t themselves the normal matrix is tridiagonal.

    It has (dt v_t)^2 on the diagonal, 1e-10 on the first place and 1e-2 (k_{t+1} - k_t)^2 / dt^2. It is solved by LDL^T of the
    excess over ``smooth``, which is known exactly: nothing is subtracted, so that k_0 keeps its digits at standstill. Behind the
    plan's end, speed and curvature stay what they were there.
    """
    dt, smooth = 0.1, 1e-2 / 0.1**2
    for b in range(LANES):
        way = dt * slab[PLAN_SPEED + b]
        slab[DIAGONAL + b], slab[RIGHT + b] = way * way + 1e-10, way * slab[TURN + b]
    for t in range(steps - 1):
        row = slab[t * ROW : (t + 2) * ROW]
        for b in range(LANES):
            way, share = dt * row[ROW + PLAN_SPEED + b], smooth / (smooth + row[DIAGONAL + b])
            row[ROW + DIAGONAL + b] = row[DIAGONAL + b] * share + way * way
            row[ROW + RIGHT + b] = way * row[ROW + TURN + b] + share * row[RIGHT + b]
    last = slab[(steps - 1) * ROW : steps * ROW]
    for b in range(LANES):
        last[PLAN_CURVATURE + b] = last[RIGHT + b] / last[DIAGONAL + b]
    for t in range(steps - 2, -1, -1):
        row = slab[t * ROW : (t + 2) * ROW]
        for b in range(LANES):
            row[PLAN_CURVATURE + b] = (row[RIGHT + b] + smooth * row[ROW + PLAN_CURVATURE + b]) / (smooth + row[DIAGONAL + b])
    for t in range(steps, steps + AHEAD):
        for b in range(LANES):
            slab[t * ROW + PLAN_SPEED + b] = last[PLAN_SPEED + b]
            slab[t * ROW + PLAN_CURVATURE + b] = last[PLAN_CURVATURE + b]


@kernel
def _turn_wheel(row: Double, wheel_base: float) -> None:
    """Commands of the tracker and what they make of acceleration and steering: ``row`` begins at the present step's."""
    dt, share = 0.1, 1.0 / wheel_base
    for b in range(LANES):
        now, target = row[SPEED + b], row[AHEAD * ROW + PLAN_SPEED + b]
        command = -10.0 / 11.0 * (now - target)
        ex, ey = row[X + b] - row[PLAN_X + b], row[Y + b] - row[PLAN_Y + b]
        lateral = -ex * row[PLAN_SIN + b] + ey * row[PLAN_COS + b]
        head = wrapped(row[HEADING + b] - row[PLAN_HEADING + b])
        by_lateral, by_head, by_steering = 0.0, 0.0, 0.0
        bend = row[STEERING + b] / wheel_base  # 1/m
        for j in range(10):
            way = (now + j * dt * command) * dt
            lateral += way * head
            by_lateral += way * by_head
            head += way * (bend - row[j * ROW + PLAN_CURVATURE + b])
            by_head += way * by_steering * share
            by_steering += dt
        head = wrapped(head)
        wheel = -(by_lateral * lateral + 10.0 * by_head * head) / (by_lateral**2 + 10.0 * by_head**2 + 1.0)
        stops = max(now, target) <= 0.2
        command, wheel = (-0.5 * (now - target) if stops else command), (0.0 if stops else wheel)
        steering = row[STEERING + b]
        rate = (steering + dt / (dt + 0.05) * (dt * wheel) - steering) / dt
        row[ROW + ACCELERATION + b] = row[ACCELERATION + b] + dt / (dt + 0.2) * (command - row[ACCELERATION + b])
        row[ROW + STEERING_RATE + b] = rate
        row[ROW + STEERING + b] = min(max(steering + rate * dt, -math.pi / 3), math.pi / 3)


@kernel
def _roll(row: Double, wheel_base: float) -> None:
    """The bicycle's step, after ``_turn_wheel``; headings come out a turn too far at times."""
    dt = 0.1
    for b in range(LANES):
        v, after = row[SPEED + b], row[SPEED + b] + row[ROW + ACCELERATION + b] * dt
        cos, sin = cos_sin(row[ROW + STEERING + b])
        slope = sin / cos
        row[ROW + SLOPE + b], row[ROW + SPEED + b] = slope, after
        row[ROW + X + b] = row[X + b] + v * row[COS + b] * dt
        row[ROW + Y + b] = row[Y + b] + v * row[SIN + b] * dt
        row[ROW + HEADING + b] = row[HEADING + b] + v * row[SLOPE + b] / wheel_base * dt + math.pi
        row[ROW + YAW_RATE + b] = after * slope / wheel_base
        row[ROW + YAW_ACCELERATION + b] = (row[ROW + YAW_RATE + b] - row[YAW_RATE + b]) / dt


@kernel
def _face(row: Double, turned: bool) -> None:
    """Cosine and sine of the row's headings; those that ``_roll`` has ``turned`` are brought into [-pi, pi) first."""
    if turned:
        for b in range(LANES):
            above = row[HEADING + b]
            if not 0.0 <= above < 2 * math.pi:
                row[HEADING + b] = above % (2 * math.pi)
        for b in range(LANES):
            row[HEADING + b] -= math.pi
    for b in range(LANES):
        row[COS + b], row[SIN + b] = cos_sin(row[HEADING + b])


@kernel
def drive_lanes(initial: Double, poses: Double, first: int, factors: Double, wheel_base: float, steps: int, slab: Double) -> None:
    """Fill rows 0 to ``steps`` of the slab with the plans from ``first`` on: states [N or 1, 11], world poses [N, T + 1, 3]."""
    _load(initial, poses, first, slab)
    _fit_speeds(slab, factors)
    _fit_curvatures(slab, factors.shape[0])
    _face(slab[:ROW], False)
    for t in range(steps):
        row = slab[t * ROW : (t + AHEAD + 1) * ROW]
        _turn_wheel(row, wheel_base)
        _roll(row, wheel_base)
        _face(row[ROW : 2 * ROW], True)


@kernel
def load_states(states: Double, first: int, slab: Double) -> None:
    """Fill the slab with what the score asks of states [N, T, 11], from trajectory ``first`` on; lanes too many repeat the last."""
    for lane in range(LANES):
        n = min(first + lane, states.shape[0] - 1)
        for t in range(states.shape[1]):
            at = t * ROW + lane
            slab[at + X], slab[at + Y], slab[at + HEADING] = states[n, t, 0], states[n, t, 1], states[n, t, 2]
            slab[at + SPEED], slab[at + SIDEWAYS] = states[n, t, 3], states[n, t, 4]
            slab[at + ACCELERATION], slab[at + ACROSS] = states[n, t, 5], states[n, t, 6]
            slab[at + YAW_RATE], slab[at + YAW_ACCELERATION] = states[n, t, 9], states[n, t, 10]
    for t in range(states.shape[1]):
        _face(slab[t * ROW : (t + 1) * ROW], False)


@kernel
def profiles(poses: Double, factors: Double) -> tuple[Double, Double]:
    """Speeds and curvatures [T] that fit world poses [T + 1, 3]; ``factors`` are ``dynamics.speed_factors(T)``."""
    steps = factors.shape[0]
    slab, speed, curvature = new_slab(steps), np.empty(steps), np.empty(steps)
    _load(np.zeros((1, 11)), poses.reshape(1, poses.shape[0], 3), 0, slab)
    _fit_speeds(slab, factors)
    _fit_curvatures(slab, steps)
    for t in range(steps):
        speed[t], curvature[t] = slab[t * ROW + PLAN_SPEED], slab[t * ROW + PLAN_CURVATURE]
    return speed, curvature


@kernel
def states_of(slab: Double, lane: int, initial: Double, states: Double) -> None:
    """Write the states [S + 1, 11] of one lane; the first is the initial one [11] itself."""
    states[0] = initial
    for t in range(1, states.shape[0]):
        at = t * ROW + lane
        states[t, 0], states[t, 1], states[t, 2] = slab[at + X], slab[at + Y], slab[at + HEADING]
        states[t, 3], states[t, 4] = slab[at + SPEED], slab[at + SIDEWAYS]
        states[t, 5], states[t, 6] = slab[at + ACCELERATION], slab[at + ACROSS]
        states[t, 7], states[t, 8] = slab[at + STEERING], slab[at + STEERING_RATE]
        states[t, 9], states[t, 10] = slab[at + YAW_RATE], slab[at + YAW_ACCELERATION]


@kernel
def simulate(initial: Double, poses: Double, factors: Double, wheel_base: float, steps: int) -> Double:
    """States [N, steps + 1, 11] of N cars from ``initial`` [N, 11] along world poses [N, T + 1, 3]."""
    count = initial.shape[0]
    states, slab = np.empty((count, steps + 1, 11)), new_slab(factors.shape[0])
    for first in range(0, count, LANES):
        drive_lanes(initial, poses, first, factors, wheel_base, steps, slab)
        for n in range(first, min(first + LANES, count)):
            states_of(slab, n - first, initial[n], states[n])
    return states
