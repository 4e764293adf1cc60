"""Polylines: their directions, sampling, offsets and joints, and smooth bends between two poses."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Double = NDArray[np.float64]

DS = 0.5  # metres between samples of a track


def heading(xy: Double) -> Double:
    """Tangent directions [n] of a polyline [n, 2], unwrapped, radians."""
    step = np.gradient(xy, axis=0)
    return np.unwrap(np.arctan2(step[:, 1], step[:, 0]))


def resample(xy: Double, ds: float = DS) -> Double:
    """The polyline at equal steps of about ``ds`` metres, end points kept."""
    at = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(xy, axis=0).T))])
    want = np.linspace(0.0, at[-1], max(2, round(at[-1] / ds) + 1))
    return np.column_stack([np.interp(want, at, xy[:, k]) for k in (0, 1)])


def beside(xy: Double, right: float) -> Double:
    """The polyline moved to its right by so many metres."""
    h = heading(xy)
    return xy + right * np.column_stack([np.sin(h), -np.cos(h)])


def bend(start: Double, h0: float, end: Double, h1: float) -> Double:
    """A smooth curve between two poses: a cubic Bezier that is nearly an arc where an arc fits."""
    turn = abs((h1 - h0 + np.pi) % (2 * np.pi) - np.pi)
    chord = float(np.hypot(*(end - start)))
    handle = chord / 3 if turn < 1e-3 else chord * (2 / 3) * np.tan(turn / 4) / np.sin(turn / 2)
    points = [start, start + handle * unit(h0), end - handle * unit(h1), end]
    t = np.linspace(0, 1, 81)[:, None]
    weights = [(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3]
    return resample(np.asarray(sum(w * p for w, p in zip(weights, points, strict=True))))


def unit(angle: float) -> Double:
    """The direction of an angle, [2]."""
    return np.array([np.cos(angle), np.sin(angle)])


def joined(lines: Sequence[Double]) -> Double:
    """Polylines that follow each other as one, without doubled points."""
    return np.vstack([lines[0], *(b[1:] if np.allclose(a[-1], b[0], atol=1e-6) else b for a, b in pairwise(lines))])
