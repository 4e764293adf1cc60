"""Numba twins of ``dynamics``, one car at a time. The text to read is ``dynamics``; tests hold the two equal."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wetoolkit_driving.jit import kernel

Double = NDArray[np.float64]


@kernel
def fit_curvature(speed: Double, turn: Double, work: Double) -> Double:
    """Curvatures [T] that explain heading changes [T] at speeds [T]; ``work`` is [3, T] of scratch.

    In the unknowns k_i themselves the normal matrix is tridiagonal: (dt v_i)^2 on the diagonal plus 1e-2 (k_{i+1} - k_i)^2 / dt^2
    and 1e-10 k_0^2, solved by elimination without pivoting (it is positive definite).
    """
    steps = speed.shape[0]
    dt, smooth = 0.1, 1e-2 / 0.1**2
    diagonal, upper, right = work[0], work[1], work[2]
    for i in range(steps):
        ends = (1.0 if i > 0 else 0.0) + (1.0 if i < steps - 1 else 0.0)
        diagonal[i] = (dt * speed[i]) ** 2 + smooth * ends + (1e-10 if i == 0 else 0.0)
        right[i] = dt * speed[i] * turn[i]
    # LDL^T by the excess over `smooth`, which is known exactly: nothing is subtracted, so that k_0 keeps its digits at standstill
    excess = (dt * speed[0]) ** 2 + 1e-10
    for i in range(steps):
        upper[i] = excess
        if i < steps - 1:
            share = smooth / (smooth + excess)
            right[i + 1] += share * right[i]
            excess = excess * share + (dt * speed[i + 1]) ** 2
    curvature = np.empty(steps)
    curvature[steps - 1] = right[steps - 1] / upper[steps - 1]
    for i in range(steps - 2, -1, -1):
        curvature[i] = (right[i] + smooth * curvature[i + 1]) / (smooth + upper[i])
    return curvature


@kernel
def _wrapped(angle: float) -> float:
    return math.atan2(math.sin(angle), math.cos(angle))


@kernel
def command(state: Double, poses: Double, speed: Double, curvature: Double, index: int, wheel_base: float) -> tuple[float, float]:
    """(acceleration, steering rate) of the tracker at step ``index``."""
    dt, last = 0.1, min(index + 10, speed.shape[0] - 1)
    target, now = speed[last], state[3]
    if target <= 0.2 and now <= 0.2:
        return -0.5 * (now - target), 0.0
    acceleration = -10.0 / 11.0 * (now - target)
    turned = poses[index, 2]
    ex, ey = state[0] - poses[index, 0], state[1] - poses[index, 1]
    lateral = -ex * math.sin(turned) + ey * math.cos(turned)
    head = _wrapped(state[2] - turned)
    by_lateral, by_head, by_steering = 0.0, 0.0, 0.0
    bend = state[7] / wheel_base  # 1/m
    for j in range(10):
        way = (now + j * dt * acceleration) * dt
        lateral += way * head
        by_lateral += way * by_head
        head += way * (bend - curvature[min(index + j, last)])
        by_head += way * by_steering / wheel_base
        by_steering += dt
    head = _wrapped(head)
    rate = -(by_lateral * lateral + 10.0 * by_head * head) / (by_lateral**2 + 10.0 * by_head**2 + 1.0)
    return acceleration, rate


@kernel
def advance(state: Double, poses: Double, speed: Double, curvature: Double, index: int, wheel_base: float, after: Double) -> None:
    """Write into ``after`` [11] the state one step later than ``state`` [11]."""
    dt = 0.1
    acceleration, steering_rate = command(state, poses, speed, curvature, index, wheel_base)
    heading, v, steering = state[2], state[3], state[7]
    lagged = state[5] + dt / (dt + 0.2) * (acceleration - state[5])
    rate = (steering + dt / (dt + 0.05) * (dt * steering_rate) - steering) / dt
    after[0] = state[0] + v * math.cos(heading) * dt
    after[1] = state[1] + v * math.sin(heading) * dt
    after[2] = (heading + v * math.tan(steering) / wheel_base * dt + math.pi) % (2 * math.pi) - math.pi
    after[3], after[4], after[5], after[6] = v + lagged * dt, 0.0, lagged, 0.0
    after[7] = min(max(steering + rate * dt, -math.pi / 3), math.pi / 3)
    after[8] = rate
    after[9] = after[3] * math.tan(after[7]) / wheel_base
    after[10] = (after[9] - state[9]) / dt


@kernel
def profiles(poses: Double, fit: Double) -> tuple[Double, Double]:
    """Fitted speeds and curvatures [T] of world poses [T + 1, 3]; ``fit`` is ``dynamics.speed_fit(T)``."""
    steps = fit.shape[0]
    speed, turn = np.zeros(steps), np.empty(steps)
    for j in range(steps):
        heading = poses[j, 2]
        dx, dy = poses[j + 1, 0] - poses[j, 0], poses[j + 1, 1] - poses[j, 1]
        along = dx * math.cos(heading) + dy * math.sin(heading)
        turn[j] = _wrapped(poses[j + 1, 2] - heading)
        for i in range(steps):
            speed[i] += fit[i, j] * along
    return speed, fit_curvature(speed, turn, np.empty((3, steps)))


@kernel
def simulate(initial: Double, poses: Double, fit: Double, wheel_base: float, steps: int) -> Double:
    """States [N, steps + 1, 11] of N cars from ``initial`` [N, 11] along world poses [N, T + 1, 3]."""
    count = initial.shape[0]
    states = np.empty((count, steps + 1, 11))
    for n in range(count):
        states[n, 0] = initial[n]
        speed, curvature = profiles(poses[n], fit)
        for i in range(steps):
            advance(states[n, i], poses[n], speed, curvature, i, wheel_base, states[n, i + 1])
    return states
