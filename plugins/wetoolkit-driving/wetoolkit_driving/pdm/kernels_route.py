"""Kernels of what is measured along the route: progress, lane keeping, driving direction (sections 10 and 11)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wetoolkit_driving.jit import kernel

Double = NDArray[np.float64]
Byte = NDArray[np.uint8]
Int = NDArray[np.int64]

CHUNK = 16  # segments that share a bounding box
FEW = 4  # segments that are tried before a search
LK_AWAY, LK_STATES = 0.5, 20  # metres from the centre line, states on end, as in ``score``


class Route(NamedTuple):
    """A polyline of C points whose far parts are skipped by their bounds."""

    line: Double  # [C, 2]
    lengths: Double  # [C] metres from the start
    bounds: Double  # [ceil((C - 1) / CHUNK), 4]


def index_line(line: Double, lengths: Double) -> Route:
    """A Route of a centre line [C, 2] with its arc lengths [C]; C = 0 for none."""
    parts = [line[i : i + CHUNK + 1] for i in range(0, len(line) - 1, CHUNK)]
    bounds = [np.concatenate([part.min(0), part.max(0)]) for part in parts]
    return Route(np.ascontiguousarray(line), lengths, np.array(bounds, np.float64).reshape(-1, 4))


@kernel
def _to_segment(line: Double, i: int, x: float, y: float) -> tuple[float, float]:
    """(squared distance, part of the segment) from the point to segment i."""
    ex, ey = line[i + 1, 0] - line[i, 0], line[i + 1, 1] - line[i, 1]
    px, py = x - line[i, 0], y - line[i, 1]
    square = ex * ex + ey * ey
    part = 0.0 if square == 0 else min(1.0, max(0.0, (px * ex + py * ey) / square))
    dx, dy = px - part * ex, py - part * ey
    return dx * dx + dy * dy, part


@kernel
def nearest(route: Route, x: float, y: float, hint: int) -> tuple[float, float, int]:
    """(arc length, distance, segment) of the nearest place on the route; of equally near segments the first counts.

    The distance to segment ``hint`` bounds the search; it changes how long that takes, not what it finds.
    """
    bound, _ = _to_segment(route.line, hint, x, y)
    best, place, segment = np.inf, 0.0, 0
    last = route.line.shape[0] - 1
    for b in range(route.bounds.shape[0]):
        dx = max(max(route.bounds[b, 0] - x, x - route.bounds[b, 2]), 0.0)
        dy = max(max(route.bounds[b, 1] - y, y - route.bounds[b, 3]), 0.0)
        if dx * dx + dy * dy > bound * (1 + 1e-9) + 1e-9:
            continue
        for i in range(b * CHUNK, min((b + 1) * CHUNK, last)):
            distance, part = _to_segment(route.line, i, x, y)
            if distance < best:
                best, segment = distance, i
                place = route.lengths[i] + part * (route.lengths[i + 1] - route.lengths[i])
        bound = min(bound, best)
    return place, math.sqrt(best), segment


@kernel
def locate(route: Route, x: float, y: float, hint: int) -> tuple[float, float, int]:
    """(arc length, offset, segment) of the nearest place; left of the line is positive, as in ``geometry.project``."""
    place, distance, i = nearest(route, x, y, hint)
    line = route.line
    left = (line[i + 1, 0] - line[i, 0]) * (y - line[i, 1]) - (line[i + 1, 1] - line[i, 1]) * (x - line[i, 0]) >= 0
    return place, distance if left else -distance, i


@kernel
def advanced(route: Route, centre: Double, hints: Int) -> float:
    """Metres gained along the route from the first to the last centre, at least 0.

    ``hints`` [2]: segments to begin the search with; those found take their place.
    """
    last = centre.shape[0] - 1
    first, _, hints[0] = nearest(route, centre[0, 0], centre[0, 1], hints[0])
    final, _, hints[1] = nearest(route, centre[last, 0], centre[last, 1], hints[1])
    return max(0.0, final - first)


@kernel
def leaves_line(route: Route, centre: Double, flags: Byte, exempt: int) -> int:
    """State that ends the first run of 20 more than 0.5 m off the line, -1 for none; states flagged ``exempt`` are skipped.

    Whoever was found far off the line is still off it after less than that way; whoever is near a segment known to be about the
    nearest is not off it. Only else is the nearest place looked for, and only while a run of 20 is still possible.
    """
    run, hint, x, y, spare, count = 0, 0, 0.0, 0.0, 0.0, centre.shape[0]
    for t in range(count):
        if run + count - t < LK_STATES:
            break
        if flags[t] & exempt:
            continue
        away = spare > 1e-6 and math.hypot(centre[t, 0] - x, centre[t, 1] - y) < spare - 1e-6
        if not away:
            segment = _segment_within(route.line, hint, centre[t, 0], centre[t, 1])
            if segment >= 0:
                hint, spare = segment, 0.0
            else:
                x, y = centre[t, 0], centre[t, 1]
                _, distance, hint = nearest(route, x, y, hint)
                away, spare = distance > LK_AWAY, distance - LK_AWAY
        run = run + 1 if away else 0
        if run >= LK_STATES:
            return t
    return -1


@kernel
def _segment_within(line: Double, hint: int, x: float, y: float) -> int:
    """One of the next few segments from ``hint`` on that is at most 0.5 m from the point, -1 for none of them."""
    for i in range(hint, min(hint + FEW, line.shape[0] - 1)):
        square, _ = _to_segment(line, i, x, y)
        if math.sqrt(square) <= LK_AWAY:
            return i
    return -1


@kernel
def direction(centre: Double, flags: Byte, oncoming: int, exempt: int, window: int, wrong: Double) -> float:
    """DDC of one trajectory: 1, 0.5 or 0 by the longest way against traffic.

    Ways that end in a state with the flag ``oncoming``, and none of ``exempt``, count: over the last ``window`` states and this
    one, or, with window 0, over unbroken stretches of the flag. ``wrong`` [T] is scratch.
    """
    worst, stretch, any_wrong = 0.0, 0.0, False
    wrong[0] = 0.0
    for t in range(1, centre.shape[0]):
        counts = bool(flags[t] & oncoming) and not flags[t] & exempt
        wrong[t] = math.hypot(centre[t, 0] - centre[t - 1, 0], centre[t, 1] - centre[t - 1, 1]) if counts else 0.0
        stretch = stretch + wrong[t] if counts else 0.0
        any_wrong = any_wrong or counts
        if window == 0:
            worst = max(worst, stretch)
    if any_wrong and window > 0:
        for t in range(1, centre.shape[0]):
            way = 0.0
            for j in range(max(1, t - window), t + 1):
                way += wrong[j]
            worst = max(worst, way)
    return 1.0 if worst < 2.0 else (0.5 if worst < 6.0 else 0.0)
