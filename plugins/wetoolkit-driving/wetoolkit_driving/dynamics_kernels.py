"""Numba twins of ``dynamics`` for one car and one step, and of the way from plans to world poses; for many cars that drive whole
plans see ``dynamics_lanes``. The text to read is ``dynamics``; tests hold the two equal."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wetoolkit_driving.jit import kernel

Double = NDArray[np.float64]
Int = NDArray[np.int64]


@kernel
def _wrapped(angle: float) -> float:
    """The angle in [-pi, pi]."""
    if -math.pi <= angle <= math.pi:
        return angle
    return math.atan2(math.sin(angle), math.cos(angle))


@kernel
def principal(angle: float) -> float:
    """(angle + pi) % (2 pi) - pi to the last bit, without a division where none is needed."""
    above = angle + math.pi
    if not 0.0 <= above < 2 * math.pi:
        above %= 2 * math.pi
    return above - math.pi


@kernel
def sample_plans(initial: Double, plans: Double, right: Int, part: Double) -> Double:
    """World poses [N, S, 3] of plans [N, P, 3] in the frames of states [N, >= 3], whose own pose goes before the plan's.

    Sample s lies ``part[s]`` of the way from pose ``right[s] - 1`` to pose ``right[s]``; headings go the short way.
    """
    poses, known = np.empty((plans.shape[0], right.shape[0], 3)), np.empty((plans.shape[1] + 1, 3))
    for n in range(plans.shape[0]):
        x, y, heading = initial[n, 0], initial[n, 1], initial[n, 2]
        cos, sin = math.cos(heading), math.sin(heading)
        known[0, 0], known[0, 1], known[0, 2] = x, y, heading
        for i in range(plans.shape[1]):
            known[i + 1, 0] = x + cos * plans[n, i, 0] - sin * plans[n, i, 1]
            known[i + 1, 1] = y + sin * plans[n, i, 0] + cos * plans[n, i, 1]
            known[i + 1, 2] = principal(heading + plans[n, i, 2])
        for s in range(right.shape[0]):
            a, b, share = right[s] - 1, right[s], part[s]
            if share == 1.0:  # as it is, to the last bit
                poses[n, s, 0], poses[n, s, 1], poses[n, s, 2] = known[b, 0], known[b, 1], known[b, 2]
                continue
            poses[n, s, 0] = known[a, 0] + share * (known[b, 0] - known[a, 0])
            poses[n, s, 1] = known[a, 1] + share * (known[b, 1] - known[a, 1])
            turn = principal(known[b, 2] - known[a, 2])
            if turn == -math.pi and known[b, 2] > known[a, 2]:
                turn = math.pi  # of two short ways, numpy.unwrap's
            poses[n, s, 2] = known[a, 2] if share == 0.0 else principal(known[a, 2] + share * turn)
    return poses


@kernel
def _command(
    states: Double, row: int, poses: Double, cos: float, sin: float, speed: Double, curvature: Double, index: int, wheel_base: float
) -> tuple[float, float]:
    """(acceleration, steering rate) of the tracker for states[row] at step ``index``; cos and sin are its heading's there."""
    dt, last = 0.1, min(index + 10, speed.shape[0] - 1)
    target, now = speed[last], states[row, 3]
    if target <= 0.2 and now <= 0.2:
        return -0.5 * (now - target), 0.0
    acceleration = -10.0 / 11.0 * (now - target)
    lateral = -(states[row, 0] - poses[index, 0]) * sin + (states[row, 1] - poses[index, 1]) * cos
    head = _wrapped(states[row, 2] - poses[index, 2])
    by_lateral, by_head, by_steering = 0.0, 0.0, 0.0
    bend = states[row, 7] / wheel_base  # 1/m
    share = 1.0 / wheel_base
    for j in range(10):
        way = (now + j * dt * acceleration) * dt
        lateral += way * head
        by_lateral += way * by_head
        head += way * (bend - curvature[min(index + j, last)])
        by_head += way * by_steering * share
        by_steering += dt
    head = _wrapped(head)
    rate = -(by_lateral * lateral + 10.0 * by_head * head) / (by_lateral**2 + 10.0 * by_head**2 + 1.0)
    return acceleration, rate


@kernel
def _move(
    states: Double, row: int, cos: float, sin: float, slope: float, acceleration: float, steering_rate: float, wheel_base: float
) -> float:
    """Write the state after states[row] into the next row; cos and sin are of its heading, ``slope`` is the tangent of its steering
    angle. Returns the new tangent."""
    dt, after = 0.1, row + 1
    v, steering = states[row, 3], states[row, 7]
    lagged = states[row, 5] + dt / (dt + 0.2) * (acceleration - states[row, 5])
    rate = (steering + dt / (dt + 0.05) * (dt * steering_rate) - steering) / dt
    steered = min(max(steering + rate * dt, -math.pi / 3), math.pi / 3)
    tangent = math.tan(steered)
    states[after, 0] = states[row, 0] + v * cos * dt
    states[after, 1] = states[row, 1] + v * sin * dt
    states[after, 2] = principal(states[row, 2] + v * slope / wheel_base * dt)
    states[after, 3], states[after, 4], states[after, 5], states[after, 6] = v + lagged * dt, 0.0, lagged, 0.0
    states[after, 7], states[after, 8] = steered, rate
    states[after, 9] = states[after, 3] * tangent / wheel_base
    states[after, 10] = (states[after, 9] - states[row, 9]) / dt
    return tangent


@kernel
def advance(state: Double, poses: Double, speed: Double, curvature: Double, index: int, wheel_base: float, after: Double) -> None:
    """Write into ``after`` [11] the state one step later than ``state`` [11], ``index`` steps after the plan was made."""
    turned, rows = poses[index, 2], np.empty((2, 11))
    rows[0] = state
    acceleration, rate = _command(rows, 0, poses, math.cos(turned), math.sin(turned), speed, curvature, index, wheel_base)
    _move(rows, 0, math.cos(state[2]), math.sin(state[2]), math.tan(state[7]), acceleration, rate, wheel_base)
    after[:] = rows[1]
