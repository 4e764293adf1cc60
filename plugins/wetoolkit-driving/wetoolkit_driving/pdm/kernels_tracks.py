"""Kernels of the two sub-metrics that look at the others: collisions (section 6) and time to collision (section 8).

Three filters come before the exact test of two quadrilaterals, each a hair too wide, never too narrow: a trajectory's bounds
against a track's over all frames; what a state's box sweeps on its way ahead against what holds the track in the frames it is
tested against, two rectangles along their axes, for all states at once; and rectangle against rectangle. The exact test is left
with those that all but touch. States are looked at only as long as what is found there can change a result.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wetoolkit_driving.dynamics_lanes import LANES
from wetoolkit_driving.geometry import segment_touches_quad
from wetoolkit_driving.jit import inlined, kernel
from wetoolkit_driving.pdm.areas import Areas, inside_area
from wetoolkit_driving.pdm.kernels_watch import (
    AXIS_X,
    AXIS_Y,
    CENTRE_X,
    CENTRE_Y,
    CHUNK,
    GAP,
    HALF_LENGTH,
    HALF_WIDTH,
    SLACK,
    place_of,
)  # fmt: skip

Double = NDArray[np.float64]
Bool = NDArray[np.bool_]

IN_FRONT, BESIDE, BEHIND = 0, 1, 2
COS_30 = math.cos(math.radians(30))


@kernel
def sweep_ahead(
    path: Double, trig: Double, centre: Double, outline: Double, half: Double, seconds: float, spare: int, sweep: Double
) -> tuple[float, float, float, float]:
    """Bounds of all that a trajectory's boxes and their shifts ahead cover; ``sweep`` is filled with each state's rectangle."""
    x0, y0, x1, y1 = np.inf, np.inf, -np.inf, -np.inf
    for t in range(path.shape[0]):
        way = seconds * (abs(path[t, 3]) + abs(path[t, 4])) if t < path.shape[0] - spare else 0.0  # at least the speed
        dx, dy, at = way * trig[t, 0], way * trig[t, 1], place_of(t)
        sweep[at + CENTRE_X], sweep[at + CENTRE_Y] = centre[t, 0] + 0.5 * dx, centre[t, 1] + 0.5 * dy
        sweep[at + AXIS_X], sweep[at + AXIS_Y], sweep[at + HALF_LENGTH] = trig[t, 0], trig[t, 1], half[0] + 0.5 * way
        x0, y0 = min(x0, outline[t, 0] + min(dx, 0.0)), min(y0, outline[t, 1] + min(dy, 0.0))
        x1, y1 = max(x1, outline[t, 2] + max(dx, 0.0)), max(y1, outline[t, 3] + max(dy, 0.0))
    return x0 - SLACK, y0 - SLACK, x1 + SLACK, y1 + SLACK


@inlined
def _speed(vx: float, vy: float) -> float:
    """Speed of the rear axle; what moves straight needs no root."""
    return abs(vx) if vy == 0.0 else math.hypot(vx, vy)


@inlined
def apart(a: Double, t: int, b: Double, f: int, k: int, dx: float, dy: float) -> bool:
    """Whether bounds a[t], shifted by (dx, dy), and bounds b[f, k] are apart. (Slices would cost more than the test.)"""
    return bool(a[t, 0] + dx > b[f, k, 2] or a[t, 2] + dx < b[f, k, 0] or a[t, 1] + dy > b[f, k, 3] or a[t, 3] + dy < b[f, k, 1])


@inlined
def sector_of(state: Double, trig: Double, box: Double, clip: bool) -> int:
    """Where a box's centroid is from the rear axle: IN_FRONT (under 30 degrees from the heading), BEHIND (over 150) or BESIDE.

    Clear cases need no angle. One dead ahead does: unclipped, rounding above 1 makes it NaN, which is neither ahead nor behind.
    """
    dx = (box[0, 0] + box[1, 0] + box[2, 0] + box[3, 0]) / 4 - state[0]
    dy = (box[0, 1] + box[1, 1] + box[2, 1] + box[3, 1]) / 4 - state[1]
    norm = math.sqrt(dx * dx + dy * dy)
    dot = (trig[0] * dx + trig[1] * dy) / norm
    if abs(abs(dot) - COS_30) > 1e-9 and abs(dot) < 1 - 1e-9:
        return IN_FRONT if dot > COS_30 else (BEHIND if dot < -COS_30 else BESIDE)
    dot = math.cos(state[2]) * (dx / norm) + math.sin(state[2]) * (dy / norm)  # the last bit decides: no ``cos_sin`` here
    if clip:
        dot = min(max(dot, -1.0), 1.0)
    angle = math.acos(dot) if -1.0 <= dot <= 1.0 else np.nan
    return IN_FRONT if angle < math.radians(30) else (BEHIND if angle > math.radians(150) else BESIDE)


@inlined
def at_fault(state: Double, trig: Double, corners: Double, box: Double, kind: int, first_speed: float, clip: bool) -> int:
    """Whose fault a touch is: 0 not the ego's, 1 the ego's, 2 the ego's where it is in several lanes or off the road."""
    if _speed(state[3], state[4]) <= 0.05:
        return 0
    if kind > 2 or first_speed <= 0.05:
        return 1
    if sector_of(state, trig, box, clip) == BEHIND:
        return 0
    return 1 if segment_touches_quad(corners[0, 0], corners[0, 1], corners[3, 0], corners[3, 1], box) else 2


@inlined
def _beyond_an_edge(a: Double, b: Double, f: int, k: int) -> bool:
    """Whether some edge of quad a [4, 2] has all of quad b[f, k] strictly on its outer side."""
    parts = False
    for i in range(4):
        j = (i + 1) % 4
        x, y = a[i, 0], a[i, 1]
        ex, ey = a[j, 0] - x, a[j, 1] - y
        out = True
        for c in range(4):
            out = out and ex * (b[f, k, c, 1] - y) - ey * (b[f, k, c, 0] - x) < 0
        parts = parts or out
    return parts


@inlined
def _beyond_its_edge(a: Double, b: Double, f: int, k: int) -> bool:
    """Whether some edge of quad b[f, k] has all of quad a [4, 2] strictly on its outer side."""
    parts = False
    for i in range(4):
        j = (i + 1) % 4
        x, y = b[f, k, i, 0], b[f, k, i, 1]
        ex, ey = b[f, k, j, 0] - x, b[f, k, j, 1] - y
        out = True
        for c in range(4):
            out = out and ex * (a[c, 1] - y) - ey * (a[c, 0] - x) < 0
        parts = parts or out
    return parts


@inlined
def gap_between(
    x: float, y: float, cos: float, sin: float, length: float, width: float,
    its_x: float, its_y: float, ux: float, uy: float, its_length: float, its_width: float,
) -> float:  # fmt: skip
    """How far two rectangles (centre, direction, half length and width) are apart along that one of their four axes where it is
    most, below 0 where they overlap; NaN unknown."""
    dx, dy = its_x - x, its_y - y
    same, cross = abs(cos * ux + sin * uy), abs(cos * uy - sin * ux)
    ahead = abs(dx * cos + dy * sin) - length - its_length * same - its_width * cross
    aside = abs(dy * cos - dx * sin) - width - its_length * cross - its_width * same
    its_ahead = abs(dx * ux + dy * uy) - its_length - length * same - width * cross
    its_aside = abs(dy * ux - dx * uy) - its_width - length * cross - width * same
    return max(max(ahead, aside), max(its_ahead, its_aside))


@kernel
def gaps(sweep: Double, width: float, window: Double) -> None:
    """Write how far each state's sweep, ``width`` half as wide as the car, is from what holds one track."""
    for chunk in range(0, sweep.shape[0], CHUNK):
        own, its = sweep[chunk : chunk + CHUNK], window[chunk : chunk + CHUNK]
        for b in range(LANES):
            own[GAP + b] = gap_between(
                own[CENTRE_X + b], own[CENTRE_Y + b], own[AXIS_X + b], own[AXIS_Y + b], own[HALF_LENGTH + b], width,
                its[CENTRE_X + b], its[CENTRE_Y + b], its[AXIS_X + b], its[AXIS_Y + b], its[HALF_LENGTH + b], its[HALF_WIDTH + b],
            )  # fmt: skip


@inlined
def first_meetings(
    path: Double, trig: Double, corners: Double, centre: Double, outline: Double, sweep: Double, shifted: Double, half: Double,
    boxes: Double, shape: Double, valid: Bool, outlines: Double, k: int, every: int, frames: int, touch_end: int, close_end: int,
) -> tuple[int, int, int]:  # fmt: skip
    """(first state that touches track k, first state whose box, moved on at its speed, touches it, the frame of that); -1: never.

    Looked for before the states ``touch_end`` and ``close_end``. ``sweep`` has had its ``gaps``; ``shifted`` [4, 2] is scratch.
    Arrays come one by one: a tuple of them would be counted anew at each call.
    """
    touch, close, frame = -1, -1, -1
    for t in range(max(touch_end, close_end)):
        if sweep[place_of(t) + GAP] > SLACK:
            continue
        speed = _speed(path[t, 3], path[t, 4])
        looking = close < 0 and t < close_end and speed >= 0.005
        touching = touch < 0 and t < touch_end
        for f in range(0, frames + 1 if looking else (1 if touching else 0), every):
            if (f > 0 and close >= 0) or not valid[t + f, k]:
                continue
            dx, dy = trig[t, 0] * speed * f * 0.1, trig[t, 1] * speed * f * 0.1
            if apart(outline, t, outlines, t + f, k, dx, dy):
                continue
            gap = gap_between(
                centre[t, 0] + dx, centre[t, 1] + dy, trig[t, 0], trig[t, 1], half[0], half[1], shape[t + f, k, 0],
                shape[t + f, k, 1], shape[t + f, k, 2], shape[t + f, k, 3], shape[t + f, k, 4], shape[t + f, k, 5],
            )  # fmt: skip
            meets = gap < -SLACK
            if not meets and not gap > SLACK:  # too near to tell, or no rectangle
                for c in range(4):
                    shifted[c, 0], shifted[c, 1] = corners[t, c, 0] + dx, corners[t, c, 1] + dy
                meets = not _beyond_an_edge(shifted, boxes, t + f, k) and not _beyond_its_edge(shifted, boxes, t + f, k)
            if meets:
                if f == 0 and touching:
                    touch = t
                if looking and close < 0:
                    close, frame = t, t + f
    return touch, close, frame


@kernel
def touches_area(areas: Areas, p: int, corners: Double, outline: Double, t: int) -> bool:
    """Whether the box of state t shares a point with ring p; touching counts."""
    bounds = areas.bounds[p]
    if outline[t, 0] > bounds[2] or outline[t, 2] < bounds[0] or outline[t, 1] > bounds[3] or outline[t, 3] < bounds[1]:
        return False
    start, end = areas.offset[p], areas.offset[p + 1]
    for i in range(start, end):
        j = i + 1 if i + 1 < end else start
        if segment_touches_quad(areas.xy[i, 0], areas.xy[i, 1], areas.xy[j, 0], areas.xy[j, 1], corners[t]):
            return True
    return bool(inside_area(areas, p, corners[t, 0, 0], corners[t, 0, 1]))
