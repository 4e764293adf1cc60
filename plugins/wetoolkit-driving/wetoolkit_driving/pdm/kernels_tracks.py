"""Kernels of the two sub-metrics that look at the others: collisions (section 6) and time to collision (section 8).

Bounding boxes are compared first: a trajectory's with a track's over all frames, then a state's with a track's over the frames it
is tested against, then box with box; the exact test of two quadrilaterals comes last. The filters are a hair too wide, never too
narrow.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wetoolkit_driving.geometry import segment_touches_quad
from wetoolkit_driving.jit import inlined, kernel
from wetoolkit_driving.pdm.areas import Areas, inside_area

Double = NDArray[np.float64]
Bool = NDArray[np.bool_]
Byte = NDArray[np.uint8]

SLACK = 1e-6  # metres


class Traffic(NamedTuple):
    """K tracks over F frames, with their bounds (x min, y min, x max, y max)."""

    boxes: Double  # [F, K, 4, 2]
    valid: Bool  # [F, K]
    kind: Byte  # [K]
    speed: Double  # [K] m/s at first sight
    outlines: Double  # [F, K, 4]
    windows: Double  # [T, K, 4] over the frames that state t is tested against; inside out where there is none
    extent: Double  # [K, 4] over all frames


@kernel
def bounds_of(quads: Double) -> Double:
    """[M, 4] x min, y min, x max, y max of quads [M, 4, 2]."""
    bounds = np.empty((quads.shape[0], 4))
    for m in range(quads.shape[0]):
        for axis in range(2):
            a, b, c, d = quads[m, 0, axis], quads[m, 1, axis], quads[m, 2, axis], quads[m, 3, axis]
            bounds[m, axis] = min(min(a, b), min(c, d))
            bounds[m, 2 + axis] = max(max(a, b), max(c, d))
    return bounds


@kernel
def watch(boxes: Double, valid: Bool, kind: Byte, speed: Double, steps: int, every: int, frames: int, spare: int) -> Traffic:
    """Traffic for trajectories of ``steps`` states that look 0, every, .. frames ahead in all but the last ``spare`` states."""
    count = valid.shape[1]
    outlines = bounds_of(boxes.reshape(-1, 4, 2)).reshape(boxes.shape[0], count, 4)
    windows, extent = np.empty((steps, count, 4)), np.empty((count, 4))
    windows[:, :, :2], windows[:, :, 2:] = np.inf, -np.inf
    extent[:, :2], extent[:, 2:] = np.inf, -np.inf
    for t in range(steps):
        for f in range(0, frames + 1 if t < steps - spare else 1, every):
            for k in range(count):
                if valid[t + f, k]:
                    for axis in range(2):
                        windows[t, k, axis] = min(windows[t, k, axis], outlines[t + f, k, axis])
                        windows[t, k, 2 + axis] = max(windows[t, k, 2 + axis], outlines[t + f, k, 2 + axis])
                        extent[k, axis] = min(extent[k, axis], outlines[t + f, k, axis])
                        extent[k, 2 + axis] = max(extent[k, 2 + axis], outlines[t + f, k, 2 + axis])
    return Traffic(boxes, valid, kind, speed, outlines, windows, extent)


@kernel
def sweep_ahead(path: Double, trig: Double, outline: Double, seconds: float, sweep: Double) -> tuple[float, float, float, float]:
    """Bounds of all that a trajectory's boxes and their shifts ahead cover; ``sweep`` [T, 4] is filled with each state's."""
    x0, y0, x1, y1 = np.inf, np.inf, -np.inf, -np.inf
    for t in range(path.shape[0]):
        way = seconds * (abs(path[t, 3]) + abs(path[t, 4]))  # at least the speed
        dx, dy = way * trig[t, 0], way * trig[t, 1]
        sweep[t, 0], sweep[t, 1] = outline[t, 0] + min(dx, 0.0) - SLACK, outline[t, 1] + min(dy, 0.0) - SLACK
        sweep[t, 2], sweep[t, 3] = outline[t, 2] + max(dx, 0.0) + SLACK, outline[t, 3] + max(dy, 0.0) + SLACK
        x0, y0, x1, y1 = min(x0, sweep[t, 0]), min(y0, sweep[t, 1]), max(x1, sweep[t, 2]), max(y1, sweep[t, 3])
    return x0, y0, x1, y1


@inlined
def _speed(vx: float, vy: float) -> float:
    """Speed of the rear axle; what moves straight needs no root."""
    return abs(vx) if vy == 0.0 else math.hypot(vx, vy)


@inlined
def apart(a: Double, t: int, b: Double, f: int, k: int, dx: float, dy: float) -> bool:
    """Whether bounds a[t], shifted by (dx, dy), and bounds b[f, k] are apart. (Slices would cost more than the test.)"""
    return bool(a[t, 0] + dx > b[f, k, 2] or a[t, 2] + dx < b[f, k, 0] or a[t, 1] + dy > b[f, k, 3] or a[t, 3] + dy < b[f, k, 1])


@inlined
def angle_to(state: Double, trig: Double, box: Double, clip: bool) -> float:
    """Angle between the heading and the way from the rear axle to a box's centroid; NaN where rounding goes above 1 unclipped."""
    dx = (box[0, 0] + box[1, 0] + box[2, 0] + box[3, 0]) / 4 - state[0]
    dy = (box[0, 1] + box[1, 1] + box[2, 1] + box[3, 1]) / 4 - state[1]
    norm = math.sqrt(dx * dx + dy * dy)
    dot = trig[0] * (dx / norm) + trig[1] * (dy / norm)
    if clip:
        dot = min(max(dot, -1.0), 1.0)
    return math.acos(dot) if -1.0 <= dot <= 1.0 else np.nan


@inlined
def at_fault(state: Double, trig: Double, corners: Double, box: Double, kind: int, first_speed: float, clip: bool) -> int:
    """Whose fault a touch is: 0 not the ego's, 1 the ego's, 2 the ego's where it is in several lanes or off the road."""
    if _speed(state[3], state[4]) <= 0.05:
        return 0
    if kind > 2 or first_speed <= 0.05:
        return 1
    if angle_to(state, trig, box, clip) > math.radians(150):
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
def first_meetings(
    path: Double, trig: Double, corners: Double, outline: Double, sweep: Double, shifted: Double, boxes: Double, valid: Bool,
    outlines: Double, windows: Double, k: int, every: int, frames: int, spare: int,
) -> tuple[int, int, int]:  # fmt: skip
    """(first state that touches track k, first state whose box, moved on at its speed, touches it, the frame of that); -1: never.

    ``shifted`` [4, 2] is scratch. Arrays come one by one: a tuple of them would be counted anew at each call.
    """
    touch, close, frame = -1, -1, -1
    steps = path.shape[0]
    for t in range(steps):
        if (
            sweep[t, 0] > windows[t, k, 2] or sweep[t, 2] < windows[t, k, 0]
            or sweep[t, 1] > windows[t, k, 3] or sweep[t, 3] < windows[t, k, 1]
        ):  # fmt: skip
            continue
        speed = _speed(path[t, 3], path[t, 4])
        looking = close < 0 and t < steps - spare and speed >= 0.005
        for f in range(0, frames + 1 if looking else 1, every):
            if (f > 0 and close >= 0) or not valid[t + f, k]:
                continue
            dx, dy = trig[t, 0] * speed * f * 0.1, trig[t, 1] * speed * f * 0.1
            if apart(outline, t, outlines, t + f, k, dx, dy):
                continue
            for c in range(4):
                shifted[c, 0], shifted[c, 1] = corners[t, c, 0] + dx, corners[t, c, 1] + dy
            if not _beyond_an_edge(shifted, boxes, t + f, k) and not _beyond_its_edge(shifted, boxes, t + f, k):
                if f == 0 and touch < 0:
                    touch = t
                if looking and close < 0:
                    close, frame = t, t + f
        if touch >= 0 and close >= 0:
            break
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
