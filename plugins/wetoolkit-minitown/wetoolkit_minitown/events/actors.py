"""Scripts: what a car does that reckons with nobody, timed to be at a spot when the ego is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from wetoolkit_minitown.curves import joined
from wetoolkit_minitown.events.base import Rehearsal
from wetoolkit_minitown.place import Place
from wetoolkit_minitown.traffic import DT

Double = NDArray[np.float64]

CAR_SIZE = (4.5, 1.85, 1.5)  # length, width, height, metres
GENTLE = 1.4  # m/s^2: an actor that has too short a run-up sets out more slowly


class Pace(NamedTuple):
    """Speeds of an actor around the moment at which it is to be at its spot."""

    there: float  # m/s at the spot
    hold: float  # seconds before it at the same speed
    slope: float  # m/s^2 by which it was faster before that
    top: float  # m/s
    after: float  # m/s^2 from the spot on


def path(place: Place, tracks: list[int]) -> tuple[Double, Double]:
    """([n, 2] the joined and rounded line of some tracks, [K + 1] metres at which each begins)."""
    line = joined([place.town.tracks[k].xy for k in tracks])
    starts = np.concatenate([[0.0], np.cumsum([place.net.length[k] for k in tracks])])
    return gaussian_filter1d(line, 4.0, axis=0, mode="nearest"), starts


def drive(line: Double, at: float, when: float, pace: Pace, steps: int) -> Double | None:
    """[steps, 4] poses and speeds along a line, ``at`` metres of it at ``when`` seconds; None where it is too short for that."""
    along, speed = _advance(at, when, pace, steps)
    knots = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    if along is None or along[-1] > knots[-1] - 1.0:
        return None
    h = np.unwrap(np.arctan2(*np.gradient(line, axis=0).T[::-1]))
    return np.column_stack(
        [np.interp(along, knots, line[:, 0]), np.interp(along, knots, line[:, 1]), np.interp(along, knots, h), speed]
    )


def _advance(at: float, when: float, pace: Pace, steps: int) -> tuple[Double | None, Double]:
    """Metres [steps] along the line, the speed before the spot lowered until the run-up fits; None where it does not."""
    t = np.arange(steps) * DT - when
    early = np.minimum(pace.there + pace.slope * np.maximum(-t - pace.hold, 0.0), pace.top)
    late = np.clip(pace.there + pace.after * t, 0.0, max(pace.top, pace.there))
    for run_up in np.arange(when, 0.0, -0.25):
        before = np.minimum(early, np.maximum(early[np.argmin(np.abs(t + run_up))] - GENTLE * (-t - run_up), 0.0))
        speed = np.where(t < 0.0, before, late)
        metres = np.concatenate([[0.0], np.cumsum((speed[1:] + speed[:-1]) / 2 * DT)])
        metres += at - np.interp(0.0, t, metres)
        if metres[0] > 3.0:
            return metres, speed
    return None, t


def shifted(script: Double, left: Double) -> Double:
    """A script moved to its left by ``left`` [steps] metres, turned as that takes."""
    h, v = script[:, 2], np.maximum(script[:, 3], 1.0)
    moved = script.copy()
    moved[:, 0] -= left * np.sin(h)
    moved[:, 1] += left * np.cos(h)
    moved[:, 2] += np.arctan2(np.gradient(left, DT), v)
    return moved


def arrival(rehearsal: Rehearsal, index: int, s: float) -> float | None:
    """When the ego's rear axle passes ``s`` metres of the track at ``index`` in its way, seconds; None where it does not."""
    where = rehearsal.where
    passed = np.flatnonzero((where[:, 0] > index) | ((where[:, 0] == index) & (where[:, 1] >= s)))
    return float(passed[0] * DT) if len(passed) and passed[0] > 0 else None


def meeting(a: Double, b: Double) -> tuple[int, int]:
    """Indices of the points of two polylines that are nearest to each other."""
    away = np.hypot(a[:, None, 0] - b[None, :, 0], a[:, None, 1] - b[None, :, 1])
    i, j = np.unravel_index(int(away.argmin()), away.shape)
    return int(i), int(j)
