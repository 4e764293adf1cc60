"""Who is where at the beginning of a synthetic recording, and where they are bound.

Ordinary recordings are an open place (or a wide passage) with a few people who heed the robot, which runs errands: legs in changing
directions, some of them halts. Rare ones hold one leg and one event, which meets the robot after about ``meet`` seconds:

- ``dash``: somebody who stood among others runs across, without a look.
- ``group``: two to four people abreast come towards the robot and make no way.
- ``counterflow``: a passage full of people who come the other way.
- ``bottleneck``: people come through the gap in a wall that the robot is bound for.

Everything is staged with the robot at the origin bound along x; ``turned`` then turns it any way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from wetoolkit_crowd.types import DT, NO_WALLS, Double, Int

PACE = 1.2  # m/s: the robot's in recordings
WAY = 24.0  # metres to its goal in recordings with an event
LEG = 24  # steps of a leg of an ordinary recording
BEGINS: Int = np.array([0, 8, 8 + LEG, 8 + 2 * LEG])  # steps at which its legs begin
ONE: Int = np.zeros(1, np.int64)
Draw = np.random.Generator


@dataclass(frozen=True)
class Cast:
    """The people at step 0, [A, ...], and the walls."""

    start: Double  # [A, 2] metres
    goal: Double  # [A, 2] metres
    speed: Double  # [A] m/s wanted; 0 for those who stand
    heed: Double  # [A]
    wait: Int  # [A] steps
    walls: Double  # [S, 2, 2]
    legs: Double  # [L, 2] metres, the robot's goals one after the other
    begins: Int  # [L] steps at which it turns to each, the first 0


def ordinary(rng: Draw, meet: float) -> Cast:
    """A place with five to twelve passers-by and up to three who stand; ``meet`` is not used."""
    passing, standing = int(rng.integers(5, 13)), int(rng.integers(0, 4))
    passage = rng.random() < 0.3
    wide = float(rng.uniform(6.0, 9.0)) / 2 if passage else 9.0
    start = np.stack([rng.uniform(2.0, 22.0, passing), rng.uniform(-wide + 0.7, wide - 0.7, passing)], 1)
    angle = rng.choice([0.0, np.pi], passing) if passage else rng.uniform(-np.pi, np.pi, passing)
    angle = angle + 0.1 * rng.standard_normal(passing)
    goal = start + 30.0 * np.stack([np.cos(angle), np.sin(angle) * (0.0 if passage else 1.0)], 1)
    still = np.stack(
        [rng.uniform(3.0, 20.0, standing), rng.choice([-1.0, 1.0], standing) * rng.uniform(1.0, wide - 0.7, standing)], 1
    )
    speed = np.concatenate([np.clip(1.2 + 0.2 * rng.standard_normal(passing), 0.6, 1.8), np.zeros(standing)])
    heed = rng.uniform(0.7, 1.0, passing + standing)
    wait = np.zeros(passing + standing, np.int64)
    walls = passages(wide) if passage else NO_WALLS
    legs = errands(rng, 0.3 if passage else 1.6)
    return Cast(np.concatenate([start, still]), np.concatenate([goal, still]), speed, heed, wait, walls, legs, BEGINS)


def errands(rng: Draw, widest: float) -> Double:
    """Goals [L, 2] of an ordinary recording: each some metres on, turned by at most ``widest`` radians, or a halt close by."""
    at, direction, legs = np.zeros(2), 0.0, []
    for begin in BEGINS:
        halt = begin > 0 and rng.random() < 0.2
        direction += float(rng.uniform(-widest, widest)) * (begin > 0)
        ahead = np.array([np.cos(direction), np.sin(direction)])
        legs.append(at + ahead * (1.0 if halt else rng.uniform(8.0, 12.0)))
        at = legs[-1] if halt else at + ahead * PACE * LEG * DT
    return np.array(legs)


def dash(rng: Draw, meet: float) -> Cast:
    """Two to four stand beside the robot's way; one of them runs across so as to be in it when the robot is."""
    place, side = PACE * meet, rng.choice([-1.0, 1.0])
    count, far = int(rng.integers(2, 5)), float(rng.uniform(2.2, 3.6))
    x = place + rng.uniform(-0.3, 0.3) + 0.8 * (np.arange(count) - rng.integers(count))
    start = np.stack([x, side * (far + 0.4 * rng.random(count))], 1)
    runner, fast = int(np.abs(x - place).argmin()), float(rng.uniform(2.0, 3.0))
    goal, speed, wait = start.copy(), np.zeros(count), np.zeros(count, np.int64)
    goal[runner] = [place + rng.uniform(-0.3, 0.3), -side * 9.0]
    speed[runner] = fast
    wait[runner] = round((meet - far / fast - 0.4 + rng.uniform(-0.2, 0.2)) / DT)
    return _beside(Cast(start, goal, speed, np.zeros(count), wait, NO_WALLS, _way(rng), ONE), rng)


def group(rng: Draw, meet: float) -> Cast:
    """Two to four abreast, at one pace, across the robot's way."""
    count, pace = int(rng.integers(2, 5)), float(rng.uniform(0.8, 1.3))
    x = PACE * meet + pace * meet + rng.uniform(-0.2, 0.2, count)
    y = 0.75 * (np.arange(count) - (count - 1) / 2) + rng.uniform(-0.5, 0.5)
    start = np.stack([x, y], 1)
    goal = start - [60.0, 0.0]
    return _beside(
        Cast(start, goal, np.full(count, pace), np.zeros(count), np.zeros(count, np.int64), NO_WALLS, _way(rng), ONE), rng
    )


def counterflow(rng: Draw, meet: float) -> Cast:
    """Five to nine in a passage of 5 to 7 m; the first of them is met at ``meet``."""
    count, wide = int(rng.integers(5, 10)), float(rng.uniform(5.0, 7.0)) / 2
    rows = np.arange(count) // 3
    x = (PACE + 1.2) * meet + 1.8 * rows + rng.uniform(-0.4, 0.4, count)
    y = (wide - 0.6) * ((np.arange(count) % 3) - 1) + rng.uniform(-0.25, 0.25, count)
    start = np.stack([x, y], 1)
    goal = np.stack([x - 60.0, y + rng.uniform(-0.3, 0.3, count)], 1)
    speed = np.clip(1.2 + 0.15 * rng.standard_normal(count), 0.8, 1.6)
    return Cast(start, goal, speed, rng.uniform(0.0, 0.6, count), np.zeros(count, np.int64), passages(wide), _way(rng), ONE)


def bottleneck(rng: Draw, meet: float) -> Cast:
    """A gap of 1.8 to 2.4 m, out of which two to four people come in file."""
    count, gap = int(rng.integers(2, 5)), float(rng.uniform(1.8, 2.4)) / 2
    place = PACE * meet
    x = place + 1.1 * meet + 1.1 * np.arange(count) + rng.uniform(-0.2, 0.2, count)
    start = np.stack([x, rng.uniform(-0.3, 0.3, count)], 1)
    goal = np.stack([x - 60.0, rng.uniform(-12.0, 12.0, count)], 1)
    speed = np.clip(1.1 + 0.1 * rng.standard_normal(count), 0.8, 1.4)
    walls = np.array([[[place, gap], [place, 12.0]], [[place, -12.0], [place, -gap]]])
    return Cast(start, goal, speed, rng.uniform(0.0, 0.5, count), np.zeros(count, np.int64), walls, np.array([[WAY, 0.0]]), ONE)


EVENTS: dict[str, Callable[[Draw, float], Cast]] = {
    "dash": dash, "group": group, "counterflow": counterflow, "bottleneck": bottleneck,
}  # fmt: skip


def passages(half: float) -> Double:
    """Two walls [2, 2, 2] along the robot's way."""
    return np.array([[[-6.0, half], [60.0, half]], [[-6.0, -half], [60.0, -half]]])


def turned(cast: Cast, angle: float) -> Cast:
    """Everything turned about the origin by an angle in radians."""
    c, s = np.cos(angle), np.sin(angle)
    matrix = np.array([[c, s], [-s, c]])
    return Cast(
        cast.start @ matrix,
        cast.goal @ matrix,
        cast.speed,
        cast.heed,
        cast.wait,
        cast.walls @ matrix,
        cast.legs @ matrix,
        cast.begins,
    )


def _way(rng: Draw) -> Double:
    return np.array([[WAY, rng.uniform(-0.5, 0.5)]])


def _beside(cast: Cast, rng: Draw) -> Cast:
    """With two or three who pass at some distance, as in ordinary recordings."""
    count = int(rng.integers(2, 4))
    start = np.stack([rng.uniform(2.0, 22.0, count), rng.choice([-1.0, 1.0], count) * rng.uniform(4.0, 8.0, count)], 1)
    goal = start + np.stack([rng.choice([-40.0, 40.0], count), np.zeros(count)], 1)
    return Cast(
        np.concatenate([cast.start, start]), np.concatenate([cast.goal, goal]),
        np.concatenate([cast.speed, rng.uniform(0.9, 1.4, count)]), np.concatenate([cast.heed, np.ones(count)]),
        np.concatenate([cast.wait, np.zeros(count, np.int64)]), cast.walls, cast.legs, cast.begins,
    )  # fmt: skip
