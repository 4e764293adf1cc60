"""The others made ready for many trajectories: their boxes, and the rectangles that hold them for a while."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wetoolkit_driving.dynamics_lanes import LANES
from wetoolkit_driving.jit import inlined, kernel

Double = NDArray[np.float64]
Bool = NDArray[np.bool_]
Byte = NDArray[np.uint8]

SLACK = 1e-6  # metres
# A rectangle for each of LANES states, channel by channel; the sweep's have their gap to another one in place of a width.
CENTRE_X, CENTRE_Y, AXIS_X, AXIS_Y, HALF_LENGTH, HALF_WIDTH = (LANES * c for c in range(6))
GAP = HALF_WIDTH
CHUNK = 6 * LANES


class Traffic(NamedTuple):
    """K tracks over F frames, with their bounds (x min, y min, x max, y max)."""

    boxes: Double  # [F, K, 4, 2]
    valid: Bool  # [F, K]
    kind: Byte  # [K]
    speed: Double  # [K] m/s at first sight
    shape: Double  # [F, K, 6] centre, direction of the length, half length and half width; NaN where a box is no rectangle
    outlines: Double  # [F, K, 4]
    windows: Double  # [K, ceil(T / LANES) CHUNK] what holds the track in the frames that state t is tested against
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
    shape = shapes_of(boxes.reshape(-1, 4, 2)).reshape(boxes.shape[0], count, 6)
    windows, extent = np.zeros((count, chunks(steps) * CHUNK)), np.empty((count, 4))
    extent[:, :2], extent[:, 2:] = np.inf, -np.inf
    for k in range(count):
        for t in range(chunks(steps) * LANES):
            last = t + 1 if t < steps else t  # no frame at all for states that fill a chunk up
            _hold(boxes, valid, shape, k, t, t + frames + 1 if t < steps - spare else last, every, windows[k, place_of(t) :])
            for f in range(t, t + frames + 1 if t < steps - spare else last, every):
                if valid[f, k]:
                    for axis in range(2):
                        extent[k, axis] = min(extent[k, axis], outlines[f, k, axis])
                        extent[k, 2 + axis] = max(extent[k, 2 + axis], outlines[f, k, 2 + axis])
    return Traffic(boxes, valid, kind, speed, shape, outlines, windows, extent)


@inlined
def chunks(steps: int) -> int:
    """How many chunks hold so many states."""
    return (steps + LANES - 1) // LANES


@inlined
def place_of(t: int) -> int:
    """Where the first channel of state t lies."""
    return t // LANES * CHUNK + t % LANES


@kernel
def _hold(boxes: Double, valid: Bool, shape: Double, k: int, start: int, stop: int, every: int, into: Double) -> None:
    """Write the rectangle that holds track k in frames start, start + every, .. < stop, along its first box; infinitely small
    for none."""
    x, y, ux, uy, seen = 0.0, 0.0, 1.0, 0.0, False
    low, high, left, right = np.inf, -np.inf, np.inf, -np.inf
    for f in range(start, stop, every):
        if valid[f, k]:
            if not seen:
                x, y, ux, uy, seen = shape[f, k, 0], shape[f, k, 1], shape[f, k, 2], shape[f, k, 3], True
            for c in range(4):
                dx, dy = boxes[f, k, c, 0] - x, boxes[f, k, c, 1] - y
                along, aside = dx * ux + dy * uy, dy * ux - dx * uy
                low, high, left, right = min(low, along), max(high, along), min(left, aside), max(right, aside)
    into[HALF_LENGTH], into[HALF_WIDTH] = (high - low) / 2, (right - left) / 2
    ahead, aside = ((low + high) / 2, (left + right) / 2) if seen else (0.0, 0.0)
    into[CENTRE_X], into[CENTRE_Y], into[AXIS_X], into[AXIS_Y] = x + ahead * ux - aside * uy, y + ahead * uy + aside * ux, ux, uy
