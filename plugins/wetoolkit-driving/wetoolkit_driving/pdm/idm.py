"""Kernels of PDM-Closed: the intelligent driver model along a line, behind whoever is nearest in the corridor around it.

IDM: Treiber, Hennecke, Helbing 2000: dv/dt = a (1 - (v / v0)^delta - (s* / s)^2), s* = s0 + v T + v (v - v_lead) / (2 sqrt(a b)).
Everything else is NAVSIM's (pdm_generator, batch_idm_policy), whose quirks are said where they are: its plans are the measure.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wetoolkit_driving.geometry import inside_ring, segment_touches_quad
from wetoolkit_driving.jit import kernel
from wetoolkit_driving.pdm.kernels_route import Route, nearest

Double = NDArray[np.float64]
Int = NDArray[np.int64]

EVERY = 2  # steps between two looks for the leader
STEP = 0.1  # seconds


class Obstacles(NamedTuple):
    """K boxes and L red lights at R times, as seen from one line; M = K + L, boxes first."""

    order: Int  # [R, M] who is in the corridor, -1 after the last; of equally near ones the first leads
    place: Double  # [R, M] metres along the line, of the centre; NaN for who is not in the corridor
    velocity: Double  # [R, K, 2] m/s
    boxes: Double  # [R, K, 4, 2]
    light_xy: Double  # [n, 2] rings of the lights
    light_offset: Int  # [L + 1]


@kernel
def places(route: Route, centres: Double, order: Int) -> Double:
    """Arc lengths [R, M] along the route of the points [R, M, 2] that ``order`` [R, M] names; NaN elsewhere."""
    found = np.full(order.shape, np.nan)
    hint = 0
    for r in range(order.shape[0]):
        for i in range(order.shape[1]):
            m = order[r, i]
            if m < 0:
                break
            found[r, m], _, hint = nearest(route, centres[r, m, 0], centres[r, m, 1], hint)
    return found


@kernel
def pose_at(poses: Double, lengths: Double, distance: float, out: Double) -> None:
    """Write the pose [3] at an arc length into ``out``; before 1e-5 m and after the end it is the one there."""
    distance = min(max(distance, 1e-5), lengths[-1])
    high = min(max(int(np.searchsorted(lengths, distance)), 1), lengths.shape[0] - 1)
    low = high - 1
    for c in range(3):
        slope = (poses[high, c] - poses[low, c]) / (lengths[high] - lengths[low])
        out[c] = slope * (distance - lengths[low]) + poses[low, c]
    out[2] = math.atan2(math.sin(out[2]), math.cos(out[2]))


@kernel
def put_corners(pose: Double, body: Double, out: Double) -> None:
    """Write the corners [4, 2] FL, RL, RR, FR of the ego with a rear axle pose; body = front, rear, half width [m]."""
    cos, sin = math.cos(pose[2]), math.sin(pose[2])
    for c in range(4):
        long = body[0] if c in (0, 3) else -body[1]
        side = body[2] if c < 2 else -body[2]
        out[c, 0], out[c, 1] = pose[0] + long * cos - side * sin, pose[1] + long * sin + side * cos


@kernel
def _to_edge(x: float, y: float, x0: float, y0: float, x1: float, y1: float) -> float:
    """Squared distance from a point to a segment."""
    ex, ey, px, py = x1 - x0, y1 - y0, x - x0, y - y0
    square = ex * ex + ey * ey
    part = 0.0 if square == 0 else min(1.0, max(0.0, (px * ex + py * ey) / square))
    return float((px - part * ex) ** 2 + (py - part * ey) ** 2)


@kernel
def distance_to(quad: Double, ring: Double) -> float:
    """Distance between a counter-clockwise quad [4, 2] and a ring [n, 2], 0 where they share a point."""
    if inside_ring(ring, quad[0, 0], quad[0, 1]):
        return 0.0
    best = np.inf
    n = ring.shape[0]
    for i in range(n):
        x0, y0, x1, y1 = ring[i, 0], ring[i, 1], ring[(i + 1) % n, 0], ring[(i + 1) % n, 1]
        if segment_touches_quad(x0, y0, x1, y1, quad):
            return 0.0
        for c in range(4):
            d = (c + 1) % 4
            best = min(best, _to_edge(quad[c, 0], quad[c, 1], x0, y0, x1, y1))
            best = min(best, _to_edge(x0, y0, quad[c, 0], quad[c, 1], quad[d, 0], quad[d, 1]))
    return math.sqrt(best)


@kernel
def find_leader(
    s: float, pose: Double, body: Double, around: Obstacles, r: int, length: float, quad: Double, leader: Double
) -> None:
    """Write the leader of a car at arc length ``s`` into ``leader`` [3]: arc length, speed [m/s], metres to take off the gap.

    Among the obstacles of row ``r`` in the corridor whose centre is ahead of the rear axle, the one nearest to the ego's box leads,
    at its speed along the ego's heading. NAVSIM does not clear this buffer between the drivers of one line: a red light leaves the
    speed that the last of them found, and so does a free line, whose end leads by half a car's length; that is then taken off the
    later drivers' gaps as well.
    """
    put_corners(pose, body, quad)
    count, first, best = around.boxes.shape[1], -1, np.inf
    for i in range(around.order.shape[1]):
        m = around.order[r, i]
        if m < 0:
            break
        if around.place[r, m] > s:
            if m < count:
                distance = distance_to(quad, around.boxes[r, m])
            else:
                begin, end = around.light_offset[m - count], around.light_offset[m - count + 1]
                distance = distance_to(quad, around.light_xy[begin:end])
            if distance < best:
                first, best = m, distance
    if first < 0:
        leader[0], leader[2] = length, (body[0] + body[1]) / 2
        return
    leader[0] = s + best
    if first < count:
        leader[1] = around.velocity[r, first, 0] * math.cos(pose[2]) + around.velocity[r, first, 1] * math.sin(pose[2])


@kernel
def unroll(
    poses: Double, lengths: Double, start: float, speed: float, wanted: Double, around: Obstacles, body: Double, driver: Double,
    steps: int,
) -> Double:  # fmt: skip
    """Rear axle poses [P, steps + 1, 3], one each 0.1 s, of P drivers along one line, of desired speeds ``wanted`` [P] m/s.

    Args: ``poses`` [n, 3], ``lengths`` [n] of the line; ``start`` [m] and ``speed`` [m/s] now; ``around`` at the steps 2, 4, ..;
    ``body`` of ``put_corners``; ``driver`` = gap [m], headway [s], acceleration, deceleration [m/s^2], exponent, accelerations
    below which there is none [m/s^2].

    In the first step nobody has looked yet, and NAVSIM's leader stands at the line's start: every plan begins by braking. Speeds
    may fall below 0 by what one step brakes.
    """
    gap, headway, most, least, exponent, still = driver[0], driver[1], driver[2], driver[3], driver[4], driver[5]
    count = wanted.shape[0]
    s, v, leaders = np.full(count, start), np.full(count, speed), np.zeros((count, 3))
    ways, quad, seen = np.empty((count, steps + 1, 3)), np.empty((4, 2)), np.zeros(3)
    for p in range(count):
        pose_at(poses, lengths, start, ways[p, 0])
    for t in range(1, steps + 1):
        if t % EVERY == 0:
            seen[:] = 0.0
            for p in range(count):
                find_leader(s[p], ways[p, t - 1], body, around, t // EVERY - 1, lengths[-1], quad, seen)
                leaders[p] = seen
        for p in range(count):
            wish = gap + v[p] * headway + v[p] * (v[p] - leaders[p, 1]) / (2 * math.sqrt(most * least))
            room = max(leaders[p, 0] - s[p] - leaders[p, 2], gap)
            change = most * (1 - abs(v[p] / wanted[p]) ** exponent - (wish / room) ** 2)
            change = 0.0 if abs(change) < still else change
            s[p] += STEP * v[p]
            v[p] += STEP * min(max(change, -least), most)
            pose_at(poses, lengths, s[p], ways[p, t])
    return ways
