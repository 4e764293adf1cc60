"""Kernels of PDM-Closed: who is in the corridor of a path, and the intelligent driver model along it.

IDM: Treiber, Hennecke, Helbing 2000: dv/dt = a (1 - (v / v0)^delta - (s* / s)^2), s* = s0 + v T + v (v - v_lead) / (2 sqrt(a b)).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wetoolkit_driving.jit import kernel
from wetoolkit_driving.pdm.kernels_route import Route, locate

Double = NDArray[np.float64]
Bool = NDArray[np.bool_]


@kernel
def corridor(route: Route, boxes: Double, valid: Bool, reach: float, every: int) -> Double:
    """Where tracks are along a path: [ceil(F / every), K, 5] = least and most arc length, least and most offset, speed along it.

    Tracks that are absent, or whose centre is further than ``reach`` plus their own radius from the path, have NaN. The speed is
    that of the centre from this frame to the next, along the path, never below 0.
    """
    frames, count = valid.shape
    rows = (frames + every - 1) // every
    places = np.full((rows, count, 5), np.nan)
    for k in range(count):
        hint = 0
        for row in range(rows):
            f = row * every
            if not valid[f, k]:
                continue
            x, y = (boxes[f, k, 0, 0] + boxes[f, k, 2, 0]) / 2, (boxes[f, k, 0, 1] + boxes[f, k, 2, 1]) / 2
            radius = math.hypot(boxes[f, k, 0, 0] - x, boxes[f, k, 0, 1] - y)
            s, offset, hint = locate(route, x, y, hint)
            if abs(offset) > reach + radius:
                continue
            low, high, right, left = np.inf, -np.inf, np.inf, -np.inf
            for c in range(4):
                place, side, _ = locate(route, boxes[f, k, c, 0], boxes[f, k, c, 1], hint)
                low, high, right, left = min(low, place), max(high, place), min(right, side), max(left, side)
            speed, nxt = 0.0, min(f + 1, frames - 1)
            if nxt > f and valid[nxt, k]:
                x, y = (boxes[nxt, k, 0, 0] + boxes[nxt, k, 2, 0]) / 2, (boxes[nxt, k, 0, 1] + boxes[nxt, k, 2, 1]) / 2
                after, _, _ = locate(route, x, y, hint)
                speed = max(0.0, (after - s) / 0.1)
            places[row, k, 0], places[row, k, 1], places[row, k, 2] = low, high, right
            places[row, k, 3], places[row, k, 4] = left, speed
    return places


@kernel
def follow(
    start: float,
    speed: float,
    offset: float,
    wanted: float,
    places: Double,
    every: int,
    stop: float,
    front: float,
    half_width: float,
    idm: Double,
    steps: int,
) -> Double:
    """Arc lengths [steps + 1] of a rear axle driven by IDM, at an offset beside the path, one each 0.1 s.

    Args: ``wanted`` desired speed [m/s]; ``places`` of ``corridor``; ``stop`` arc length of a stop line (inf: none); ``idm`` =
    gap [m], headway [s], acceleration, deceleration [m/s^2], exponent. Who overlaps the corridor with its far end ahead of the
    bumper, and its near end ahead of the rear axle, may be the leader; the nearest is.
    """
    gap, headway, acceleration, deceleration, exponent = idm[0], idm[1], idm[2], idm[3], idm[4]
    way = np.empty(steps + 1)
    s, v = start, max(speed, 0.0)
    way[0] = s
    for i in range(steps):
        row = min(i // every, places.shape[0] - 1)
        lead, lead_speed = stop, 0.0
        for k in range(places.shape[1]):
            low, high = places[row, k, 0], places[row, k, 1]
            if (
                places[row, k, 2] <= offset + half_width
                and places[row, k, 3] >= offset - half_width
                and high > s + front
                and s < low < lead
            ):
                lead, lead_speed = low, places[row, k, 4]
        room = max(lead - s - front, 0.1)
        wish = max(0.0, gap + v * headway + v * (v - lead_speed) / (2 * math.sqrt(acceleration * deceleration)))
        change = acceleration * (1 - (v / wanted) ** exponent - (wish / room) ** 2)
        s += 0.1 * v
        v = max(0.0, v + 0.1 * min(max(change, -deceleration), acceleration))
        way[i + 1] = s
    return way
