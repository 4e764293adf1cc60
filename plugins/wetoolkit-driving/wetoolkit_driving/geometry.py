"""Plane geometry of boxes, rings and polylines: numpy for arrays, numba kernels (at the end) for inner loops.

Metres and radians, float64, x to the right, y up, angles counter-clockwise. Box corners run front left, rear left, rear right,
front right. Rings are [n, 2] vertices in either sense; whether the first is repeated at the end does not matter.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wetoolkit_driving.jit import kernel
from wetoolkit_driving.types import Vehicle

Double = NDArray[np.float64]
Bool = NDArray[np.bool_]


def wrap_angle(angle: ArrayLike) -> Any:
    """The same directions in [-pi, pi); arrays keep their shape."""
    return (np.asarray(angle, np.float64) + np.pi) % (2 * np.pi) - np.pi


def compose(frame: Double, local: Double) -> Double:
    """SE(2): ``local`` poses [..., 3], given in ``frame`` [..., 3], seen from where the frame is given. Leading axes broadcast."""
    cos, sin = np.cos(frame[..., 2]), np.sin(frame[..., 2])
    x = frame[..., 0] + cos * local[..., 0] - sin * local[..., 1]
    y = frame[..., 1] + sin * local[..., 0] + cos * local[..., 1]
    return np.stack([x, y, wrap_angle(frame[..., 2] + local[..., 2])], -1)  # [..., 3]


def relative(frame: Double, pose: Double) -> Double:
    """SE(2): ``pose`` [..., 3] as seen in ``frame`` [..., 3]; the inverse of ``compose``."""
    cos, sin = np.cos(frame[..., 2]), np.sin(frame[..., 2])
    dx, dy = pose[..., 0] - frame[..., 0], pose[..., 1] - frame[..., 1]
    return np.stack([cos * dx + sin * dy, cos * dy - sin * dx, wrap_angle(pose[..., 2] - frame[..., 2])], -1)


def box_corners(pose: Double, length: ArrayLike, width: ArrayLike) -> Double:
    """Corners [..., 4, 2] (FL, RL, RR, FR) of boxes with centre poses [..., 3]; length and width broadcast over [...]."""
    half_length, half_width = np.asarray(length, np.float64) / 2, np.asarray(width, np.float64) / 2
    cos, sin = np.cos(pose[..., 2]), np.sin(pose[..., 2])
    forward = np.stack([cos * half_length, sin * half_length], -1)  # [..., 2]
    left = np.stack([-sin * half_width, cos * half_width], -1)  # [..., 2]
    centre = pose[..., :2]
    return np.stack([centre + forward + left, centre - forward + left, centre - forward - left, centre + forward - left], -2)


def ego_center(states: Double, vehicle: Vehicle) -> Double:
    """Box centre poses [..., 3] of rear axle states [..., >= 3]."""
    heading = states[..., 2]
    shift = vehicle.rear_to_center
    return np.stack([states[..., 0] + shift * np.cos(heading), states[..., 1] + shift * np.sin(heading), heading], -1)


def ego_corners(states: Double, vehicle: Vehicle) -> Double:
    """Corners [..., 4, 2] of the ego with rear axle states [..., >= 3]."""
    return box_corners(ego_center(states, vehicle), vehicle.length, vehicle.width)


def boxes_touch(a: Double, b: Double) -> Bool:
    """Whether convex quads a and b [..., 4, 2] share a point (touching counts); leading axes broadcast.

    Convex shapes are apart exactly where an edge of one has the whole other strictly on its outer side (separating axes).
    """
    return ~(_outside_an_edge(a, b) | _outside_an_edge(b, a))


def _outside_an_edge(quad: Double, points: Double) -> Bool:
    """Whether some edge of ``quad`` [..., 4, 2] has all ``points`` [..., m, 2] strictly outside."""
    edge = np.roll(quad, -1, -2) - quad  # [..., 4, 2]
    offset = points[..., None, :, :] - quad[..., :, None, :]  # [..., 4, m, 2]
    side = edge[..., :, None, 0] * offset[..., 1] - edge[..., :, None, 1] * offset[..., 0]  # [..., 4, m]
    area = edge[..., 0, 0] * edge[..., 1, 1] - edge[..., 0, 1] * edge[..., 1, 0]
    sense = np.where(area < 0, -1.0, 1.0)[..., None, None]  # clockwise quads are read backwards
    return np.asarray((side * sense < 0).all(-1).any(-1))


def inside(ring: Double, points: Double) -> Bool:
    """Whether points [..., 2] are strictly inside the ring [n, 2]; points on its edge are not."""
    flat = np.ascontiguousarray(points, np.float64).reshape(-1, 2)
    found = _inside_many(np.ascontiguousarray(ring, np.float64), flat)
    return found.reshape(points.shape[:-1])


def arc_lengths(line: Double) -> Double:
    """Distance [n] from the start to each point of a polyline [n, 2], metres."""
    return np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line[:, :2], axis=0).T))])


def project(line: Double, points: Double) -> tuple[Double, Double]:
    """(arc length, signed offset) [...] of the nearest place on a polyline [n, 2] to points [..., 2]; left is positive.

    Before the start and after the end the place is the end point, as shapely's ``LineString.project``; of equally near places the
    first counts.
    """
    line = np.ascontiguousarray(line[:, :2], np.float64)
    flat = np.ascontiguousarray(points, np.float64).reshape(-1, 2)
    place, offset = _project_many(line, arc_lengths(line), flat)
    return place.reshape(points.shape[:-1]), offset.reshape(points.shape[:-1])


def along(line: Double, distance: ArrayLike) -> Double:
    """Poses [..., 3] on a polyline [n, 2] at arc lengths [...]; goes straight on before its start and beyond its end."""
    line = drop_repeats(line)
    lengths = arc_lengths(line)
    where = np.asarray(distance, np.float64)
    step = np.diff(line, axis=0)  # [n - 1, 2]
    index = np.clip(np.searchsorted(lengths, where, side="right") - 1, 0, len(step) - 1)
    unit = step / np.diff(lengths)[:, None]
    point = line[index] + (where - lengths[index])[..., None] * unit[index]
    return np.concatenate([point, np.arctan2(unit[index][..., 1:], unit[index][..., :1])], -1)


def resample(line: Double, spacing: float) -> Double:
    """Poses [m, 3] every ``spacing`` metres or slightly less, ends included."""
    total = float(arc_lengths(line)[-1])
    return along(line, np.linspace(0.0, total, max(2, int(np.ceil(total / spacing)) + 1)))


def drop_repeats(line: Double, least: float = 1e-9) -> Double:
    """The polyline [n, 2] without points that (nearly) repeat the one before; a line of one place is an error."""
    line = np.asarray(line, np.float64)[:, :2]
    keep = np.concatenate([[True], np.hypot(*np.diff(line, axis=0).T) > least])
    if keep.sum() < 2:
        raise ValueError(f"a polyline of {len(line)} points has no length: give two different points")
    return np.ascontiguousarray(line[keep])


# Kernels: scalars and small contiguous float64 arrays in, no allocation.


@kernel
def quads_touch(a: Double, b: Double) -> bool:
    """``boxes_touch`` for two quads [4, 2] in counter-clockwise order (as box corners are)."""
    return not (_edge_parts(a, b) or _edge_parts(b, a))


@kernel
def _edge_parts(quad: Double, other: Double) -> bool:
    """Whether some edge of ``quad`` has all of ``other`` strictly on its outer side."""
    for i in range(4):
        j = (i + 1) % 4
        ex, ey = quad[j, 0] - quad[i, 0], quad[j, 1] - quad[i, 1]
        apart = True
        for k in range(4):
            if ex * (other[k, 1] - quad[i, 1]) - ey * (other[k, 0] - quad[i, 0]) >= 0:
                apart = False
                break
        if apart:
            return True
    return False


@kernel
def segment_touches_quad(x0: float, y0: float, x1: float, y1: float, quad: Double) -> bool:
    """Whether the segment shares a point with the counter-clockwise quad [4, 2]; touching counts."""
    for i in range(4):
        j = (i + 1) % 4
        ex, ey = quad[j, 0] - quad[i, 0], quad[j, 1] - quad[i, 1]
        if ex * (y0 - quad[i, 1]) - ey * (x0 - quad[i, 0]) < 0 and ex * (y1 - quad[i, 1]) - ey * (x1 - quad[i, 0]) < 0:
            return False
    ex, ey = x1 - x0, y1 - y0
    left, right = True, True
    for k in range(4):
        side = ex * (quad[k, 1] - y0) - ey * (quad[k, 0] - x0)
        left = left and side > 0
        right = right and side < 0
    return not (left or right)


@kernel
def inside_ring(ring: Double, x: float, y: float) -> bool:
    """Whether (x, y) is strictly inside the ring [n, 2] (crossing number; a point on an edge is not inside)."""
    odd = False
    n = ring.shape[0]
    j = n - 1
    for i in range(n):
        xi, yi, xj, yj = ring[j, 0], ring[j, 1], ring[i, 0], ring[i, 1]  # the edge from i to j, as the ring runs
        side = (xj - xi) * (y - yi) - (yj - yi) * (x - xi)
        if side == 0 and min(xi, xj) <= x <= max(xi, xj) and min(yi, yj) <= y <= max(yi, yj):
            return False
        if (yi > y) != (yj > y) and (side > 0) == (yj > yi):
            odd = not odd
        j = i
    return odd


@kernel
def project_point(line: Double, lengths: Double, x: float, y: float) -> tuple[float, float]:
    """(arc length, signed offset, left positive) of the nearest place on a polyline [n, 2] with its ``arc_lengths`` [n]."""
    best, place, offset = np.inf, 0.0, 0.0
    for i in range(line.shape[0] - 1):
        ex, ey = line[i + 1, 0] - line[i, 0], line[i + 1, 1] - line[i, 1]
        px, py = x - line[i, 0], y - line[i, 1]
        square = ex * ex + ey * ey
        part = 0.0 if square == 0 else min(1.0, max(0.0, (px * ex + py * ey) / square))
        dx, dy = px - part * ex, py - part * ey
        distance = dx * dx + dy * dy
        if distance < best:
            best, place = distance, lengths[i] + part * np.sqrt(square)
            offset = np.sqrt(distance) if ex * py - ey * px >= 0 else -np.sqrt(distance)
    return place, offset


@kernel
def _inside_many(ring: Double, points: Double) -> Bool:
    found = np.empty(points.shape[0], np.bool_)
    for i in range(points.shape[0]):
        found[i] = inside_ring(ring, points[i, 0], points[i, 1])
    return found


@kernel
def _project_many(line: Double, lengths: Double, points: Double) -> tuple[Double, Double]:
    place, offset = np.empty(points.shape[0]), np.empty(points.shape[0])
    for i in range(points.shape[0]):
        place[i], offset[i] = project_point(line, lengths, points[i, 0], points[i, 1])
    return place, offset
