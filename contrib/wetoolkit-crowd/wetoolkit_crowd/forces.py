"""Social forces: how people walk (Helbing & Molnar 1995, Physical Review E 51, 4282).

Each body i is accelerated by

- a drive to its goal, (v0 e - v) / tau, with the wanted speed v0, the direction e to the goal and the relaxation time tau;
- a push away from each other body j, in the elliptical form with relative velocities (Johansson, Helbing & Shukla 2007): with
  d = x_i - x_j, y = (v_j - v_i) dt and 2 b = sqrt((|d| + |d - y|)^2 - |y|^2), it is
  A exp(-b' / B) s (d / |d| + (d - y) / |d - y|) / 2 with s = (|d| + |d - y|) / (2 b), cut at 4, and b' = b - (r_i + r_j) / 2, cut
  at 0, so that it counts from the surfaces; weakened behind one's back by l + (1 - l) (1 + cos phi) / 2;
- a push away from the nearest point of each wall, A_w exp(-gap / B_w);
- contact: k times the overlap, along the line of centres.

The robot is one more body, whose push counts by each person's heed; contact with it is felt by all. The constants are ours, set so
that people in the plaza pass one another without touching; they were not fitted to recordings. A step of ``DT`` is made in
``SUBSTEPS`` of semi-implicit Euler.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

import numba
import numpy as np

from wetoolkit_crowd.types import DT, Double, Int

RELAX = 0.5  # s, tau
PUSH, REACH = 2.4, 0.45  # m/s^2 and m: A and B between bodies
AHEAD = 0.8  # s, dt of the elliptical form
BEHIND = 0.2  # l: what weighs at one's back
WALL_PUSH, WALL_REACH = 3.0, 0.15  # m/s^2 and m: A_w and B_w
CONTACT = 40.0  # 1/s^2, k
HURRY, SHOVED = 1.3, 0.3  # nobody gets faster than HURRY times the speed wanted, or SHOVED m/s where that is more
SUBSTEPS = 2
THERE = 0.3  # metres: nearer to the goal one stands still
TINY = 1e-6

F = TypeVar("F", bound=Callable[..., object])


def kernel(function: F) -> F:
    """numba's njit, cached on disk; typed as what it wraps."""
    return cast(F, numba.njit(cache=True)(function))


@dataclass(frozen=True)
class Walkers:
    """Everybody that moves or is in the way now, the robot last where there is one."""

    position: Double  # [P, 2] metres
    velocity: Double  # [P, 2] m/s
    radius: Double  # [P] metres
    goal: Double  # [P, 2] metres
    speed: Double  # [P] m/s wanted


def step(walkers: Walkers, weight: Double, walls: Double) -> tuple[Double, Double]:
    """Positions and velocities [P, 2] after one step of ``DT``.

    ``weight`` [P, P]: how much each (row) takes notice of each other (column). ``walls`` [S, 2, 2] metres.
    """
    position, velocity = walkers.position.copy(), walkers.velocity.copy()
    _step(position, velocity, walkers.radius, walkers.goal, walkers.speed, weight, np.ascontiguousarray(walls))
    return position, velocity


@kernel
def _step(x: Double, v: Double, radius: Double, goal: Double, speed: Double, weight: Double, walls: Double) -> None:
    h, count = DT / SUBSTEPS, len(x)
    push = np.zeros((count, 2))
    for _ in range(SUBSTEPS):
        for i in range(count):
            _drive(i, x, v, goal, speed, push)
            for j in range(count):
                if j != i:
                    _push(i, j, x, v, radius, weight[i, j], push)
            for wall in range(len(walls)):
                _wall(i, x, radius[i], walls[wall], push)
        for i in range(count):
            v[i, 0] += h * push[i, 0]
            v[i, 1] += h * push[i, 1]
            part = min(1.0, max(HURRY * speed[i], SHOVED) / max(np.sqrt(v[i, 0] ** 2 + v[i, 1] ** 2), TINY))
            v[i, 0] *= part
            v[i, 1] *= part
            x[i, 0] += h * v[i, 0]
            x[i, 1] += h * v[i, 1]


@kernel
def _drive(i: int, x: Double, v: Double, goal: Double, speed: Double, push: Double) -> None:
    away_x, away_y = goal[i, 0] - x[i, 0], goal[i, 1] - x[i, 1]
    distance = np.sqrt(away_x**2 + away_y**2)
    wanted = speed[i] / distance if distance > THERE else 0.0
    push[i, 0], push[i, 1] = (wanted * away_x - v[i, 0]) / RELAX, (wanted * away_y - v[i, 1]) / RELAX


@kernel
def _push(i: int, j: int, x: Double, v: Double, radius: Double, weight: float, push: Double) -> None:
    dx, dy = x[i, 0] - x[j, 0], x[i, 1] - x[j, 1]
    yx, yy = AHEAD * (v[j, 0] - v[i, 0]), AHEAD * (v[j, 1] - v[i, 1])
    far, then = max(np.sqrt(dx**2 + dy**2), TINY), max(np.sqrt((dx - yx) ** 2 + (dy - yy) ** 2), TINY)
    b = max(np.sqrt(max((far + then) ** 2 - yx**2 - yy**2, 0.0)) / 2, TINY)
    touch, speed = radius[i] + radius[j], np.sqrt(v[i, 0] ** 2 + v[i, 1] ** 2)
    sight = 1.0
    if speed > 0.05:  # who stands looks all round
        sight = BEHIND + (1 - BEHIND) * (1 - (dx * v[i, 0] + dy * v[i, 1]) / (speed * far)) / 2
    size = weight * sight * PUSH * np.exp(-max(b - touch / 2, 0.0) / REACH) * min((far + then) / (2 * b), 4.0) / 2
    contact = CONTACT * max(touch - far, 0.0)
    push[i, 0] += size * (dx / far + (dx - yx) / then) + contact * dx / far
    push[i, 1] += size * (dy / far + (dy - yy) / then) + contact * dy / far


@kernel
def _wall(i: int, x: Double, radius: float, wall: Double, push: Double) -> None:
    ax, ay = wall[1, 0] - wall[0, 0], wall[1, 1] - wall[0, 1]
    along = ((x[i, 0] - wall[0, 0]) * ax + (x[i, 1] - wall[0, 1]) * ay) / max(ax**2 + ay**2, TINY)
    part = min(max(along, 0.0), 1.0)
    dx, dy = x[i, 0] - wall[0, 0] - part * ax, x[i, 1] - wall[0, 1] - part * ay
    distance = max(np.sqrt(dx**2 + dy**2), TINY)
    gap = distance - radius
    size = (WALL_PUSH * np.exp(-max(gap, 0.0) / WALL_REACH) + CONTACT * max(-gap, 0.0)) / distance
    push[i, 0] += size * dx
    push[i, 1] += size * dy


def nearest_points(points: Double, walls: Double) -> Double:
    """The point of each wall [S, 2, 2] nearest to each of some points [..., 2]: [..., S, 2]."""
    start, along = walls[:, 0], walls[:, 1] - walls[:, 0]
    length = np.maximum(np.square(along).sum(-1), TINY)
    part = ((points[..., None, :] - start) * along).sum(-1) / length
    return np.asarray(start + np.clip(part, 0.0, 1.0)[..., None] * along)


def notice(count: int, heed: Double) -> Double:
    """The weights of ``step`` for ``count`` people with ``heed`` [1] of the robot, the last body."""
    weight = np.ones((count + 1, count + 1))
    weight[:count, count] = heed
    return weight


def waiting(speed: Double, wait: Int, now: int) -> Double:
    """The speeds wanted at a step: 0 for those who still wait."""
    return np.where(wait > now, 0.0, speed)
