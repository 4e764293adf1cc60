"""Kernels of the two sub-metrics that look at the others: collisions (section 6) and time to collision (section 8).

Bounding boxes are compared first: a trajectory's with a track's over all frames, then a state's with a track's over the frames it
is tested against, then box with box; then rectangle with rectangle along their axes. The exact test of two quadrilaterals comes
last, for those that all but touch. The filters are a hair too wide, never too narrow.
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
    shape: Double  # [F, K, 6] centre, direction of the length, half length and half width; NaN where a box is no rectangle
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
def shapes_of(quads: Double) -> Double:
    """[M, 6] as ``Traffic.shape`` of quads [M, 4, 2] (FL, RL, RR, FR)."""
    shape = np.empty((quads.shape[0], 6))
    for m in range(quads.shape[0]):
        x, y = quads[m, :, 0].mean(), quads[m, :, 1].mean()
        fx, fy = (quads[m, 0, 0] - quads[m, 1, 0]) / 2, (quads[m, 0, 1] - quads[m, 1, 1]) / 2
        lx, ly = (quads[m, 0, 0] - quads[m, 3, 0]) / 2, (quads[m, 0, 1] - quads[m, 3, 1]) / 2
        length, width = math.hypot(fx, fy), math.hypot(lx, ly)
        straight = abs(fx * lx + fy * ly) <= 1e-8 * length * width and fx * ly - fy * lx > 0
        corner = abs(x + fx + lx - quads[m, 0, 0]) + abs(y + fy + ly - quads[m, 0, 1])  # a parallelogram's is where it should be
        corner += abs(x - fx - lx - quads[m, 2, 0]) + abs(y - fy - ly - quads[m, 2, 1])
        shape[m, 0], shape[m, 1], shape[m, 4], shape[m, 5] = x, y, length, width
        shape[m, 2], shape[m, 3] = (fx / length, fy / length) if length > 0 else (1.0, 0.0)
        if not (straight and corner < SLACK / 10 and length < 1e3):
            shape[m, 4], shape[m, 5] = np.nan, np.nan
    return shape


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
    shape = shapes_of(boxes.reshape(-1, 4, 2)).reshape(boxes.shape[0], count, 6)
    return Traffic(boxes, valid, kind, speed, shape, outlines, windows, extent)


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
def angle_to(state: Double, box: Double, clip: bool) -> float:
    """Angle between the heading and the way from the rear axle to a box's centroid; NaN where rounding goes above 1 unclipped."""
    dx = (box[0, 0] + box[1, 0] + box[2, 0] + box[3, 0]) / 4 - state[0]
    dy = (box[0, 1] + box[1, 1] + box[2, 1] + box[3, 1]) / 4 - state[1]
    norm = math.sqrt(dx * dx + dy * dy)
    dot = math.cos(state[2]) * (dx / norm) + math.sin(state[2]) * (dy / norm)  # the last bit decides: not ``cos_sin``
    if clip:
        dot = min(max(dot, -1.0), 1.0)
    return math.acos(dot) if -1.0 <= dot <= 1.0 else np.nan


@inlined
def at_fault(state: Double, corners: Double, box: Double, kind: int, first_speed: float, clip: bool) -> int:
    """Whose fault a touch is: 0 not the ego's, 1 the ego's, 2 the ego's where it is in several lanes or off the road."""
    if _speed(state[3], state[4]) <= 0.05:
        return 0
    if kind > 2 or first_speed <= 0.05:
        return 1
    if angle_to(state, box, clip) > math.radians(150):
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
def gap_between(x: float, y: float, cos: float, sin: float, half: Double, shape: Double, f: int, k: int) -> float:
    """How far two rectangles are apart along that one of their four axes where it is most, below 0 where they overlap; NaN unknown.

    The first has its centre at (x, y) and half its length and width in ``half``, the second is shape[f, k].
    """
    dx, dy = shape[f, k, 0] - x, shape[f, k, 1] - y
    ux, uy, length, width = shape[f, k, 2], shape[f, k, 3], shape[f, k, 4], shape[f, k, 5]
    same, cross = abs(cos * ux + sin * uy), abs(cos * uy - sin * ux)
    ahead = abs(dx * cos + dy * sin) - half[0] - length * same - width * cross
    aside = abs(dy * cos - dx * sin) - half[1] - length * cross - width * same
    its_ahead = abs(dx * ux + dy * uy) - length - half[0] * same - half[1] * cross
    its_aside = abs(dy * ux - dx * uy) - width - half[0] * cross - half[1] * same
    return max(max(ahead, aside), max(its_ahead, its_aside))


@inlined
def first_meetings(
    path: Double, trig: Double, corners: Double, centre: Double, outline: Double, sweep: Double, shifted: Double, half: Double,
    boxes: Double, shape: Double, valid: Bool, outlines: Double, windows: Double, k: int, every: int, frames: int, spare: int,
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
            gap = gap_between(centre[t, 0] + dx, centre[t, 1] + dy, trig[t, 0], trig[t, 1], half, shape, t + f, k)
            meets = gap < -SLACK
            if not meets and not gap > SLACK:  # too near to tell, or no rectangle
                for c in range(4):
                    shifted[c, 0], shifted[c, 1] = corners[t, c, 0] + dx, corners[t, c, 1] + dy
                meets = not _beyond_an_edge(shifted, boxes, t + f, k) and not _beyond_its_edge(shifted, boxes, t + f, k)
            if meets:
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
