"""Numba twin of ``score``: one trajectory at a time, exact tests only where bounding boxes meet. The text to read is ``score``."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wetoolkit_driving.geometry import arc_lengths, project_point, quads_touch, segment_touches_quad
from wetoolkit_driving.jit import kernel
from wetoolkit_driving.pdm.areas import Areas, inside_area
from wetoolkit_driving.pdm.comfort import comfort
from wetoolkit_driving.pdm.result import Marks
from wetoolkit_driving.pdm.scene import DT, PdmScene

Double = NDArray[np.float64]
Bool = NDArray[np.bool_]
Byte = NDArray[np.uint8]
Int = NDArray[np.int64]

MULTI_LANE, OFF_ROAD, ONCOMING, CROSSING = 1, 2, 4, 8  # bits of a state's areas


def score(scene: PdmScene, states: Double, dt: float = DT) -> Marks:
    """``score.score_readable`` fast: marks of trajectories [N, T, 11] in a scene of at least T + 9 frames."""
    states = np.ascontiguousarray(states, np.float64)
    half = np.array([scene.vehicle.length / 2, scene.vehicle.width / 2, scene.vehicle.rear_to_center])
    line = np.ascontiguousarray(scene.centerline[:, :2])
    lengths = arc_lengths(line) if len(line) else np.zeros(0)
    boxes, valid = np.ascontiguousarray(scene.boxes, np.float64), np.ascontiguousarray(scene.valid)
    kind, speed = np.ascontiguousarray(scene.kind, np.uint8), np.ascontiguousarray(scene.first_speed, np.float64)
    values, steps, areas = _score(states, half, scene.areas, boxes, valid, kind, speed, line, lengths)
    comfort6 = comfort(states, dt)
    return Marks(
        nc=values[0],
        dac=values[1],
        ttc=values[2],
        ddc=values[3],
        comfort=np.where(comfort6.all(1), 1.0, 0.0),
        progress=values[4],
        comfort6=comfort6,
        areas=np.stack([(areas & bit) != 0 for bit in (MULTI_LANE, OFF_ROAD, ONCOMING)], -1),
        collision_step=steps[0],
        collision_track=steps[1],
        ttc_step=steps[2],
        ttc_track=steps[3],
        off_road_step=steps[4],
        touch_step=steps[5],
    )


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
def _extent(bounds: Double, valid: Bool) -> Double:
    """[K, 4] bounds of each track over all frames in which it is there; ``bounds`` is [F, K, 4]."""
    frames, count = valid.shape
    extent = np.empty((count, 4))
    extent[:, :2], extent[:, 2:] = np.inf, -np.inf
    for f in range(frames):
        for k in range(count):
            if valid[f, k]:
                for axis in range(2):
                    extent[k, axis] = min(extent[k, axis], bounds[f, k, axis])
                    extent[k, 2 + axis] = max(extent[k, 2 + axis], bounds[f, k, 2 + axis])
    return extent


@kernel
def _score(
    states: Double, half: Double, areas: Areas, boxes: Double, valid: Bool, kind: Byte, speed: Double, line: Double, lengths: Double
) -> tuple[Double, Int, Byte]:
    count, steps = states.shape[0], states.shape[1]
    outlines = bounds_of(boxes.reshape(-1, 4, 2)).reshape(boxes.shape[0], boxes.shape[1], 4)
    extent = _extent(outlines, valid)
    windows = _windows(outlines, valid, steps)
    sweep = np.empty((steps, 4))
    values = np.ones((5, count))  # nc, dac, ttc, ddc, progress
    marks = np.full((6, count), -1, np.int64)  # collision state and track, ttc state and track, off-road state, touch state
    flags = np.zeros((count, steps), np.uint8)
    corners, centre = np.empty((steps, 4, 2)), np.empty((steps, 2))
    near = np.empty(max(areas.kind.shape[0], kind.shape[0]), np.int64)
    for n in range(count):
        path = states[n]
        _place(path, half, corners, centre)
        outline = bounds_of(corners)  # [T, 4]
        _find_areas(path, corners, centre, outline, areas, near, flags[n])
        for t in range(steps):
            if flags[n, t] & 2:
                values[1, n], marks[4, n] = 0.0, t
                break
        met = 0
        reach = _reach(path, outline, sweep)
        for k in range(kind.shape[0]):
            if extent[k, 0] <= reach[2] and extent[k, 2] >= reach[0] and extent[k, 1] <= reach[3] and extent[k, 3] >= reach[1]:
                near[met] = k
                met += 1
        for i in range(met):
            k = near[i]
            _collide(path, corners, outline, boxes, outlines, valid, k, kind[k], speed[k], flags[n], n, values, marks)
            _close_in(path, corners, outline, sweep, boxes, outlines, windows, valid, k, flags[n], n, values, marks)
        values[3, n] = _direction(centre, flags[n])
        values[4, n] = 0.0
        if lengths.shape[0] > 0:
            first, _ = project_point(line, lengths, centre[0, 0], centre[0, 1])
            last, _ = project_point(line, lengths, centre[steps - 1, 0], centre[steps - 1, 1])
            values[4, n] = max(0.0, last - first)
    return values, marks, flags


@kernel
def _place(path: Double, half: Double, corners: Double, centre: Double) -> None:
    """Corners FL, RL, RR, FR and centres of states [T, 11]; ``half`` holds half length, half width, rear axle to centre."""
    for t in range(path.shape[0]):
        cos, sin = math.cos(path[t, 2]), math.sin(path[t, 2])
        x, y = path[t, 0] + half[2] * cos, path[t, 1] + half[2] * sin
        fx, fy, lx, ly = cos * half[0], sin * half[0], -sin * half[1], cos * half[1]
        centre[t, 0], centre[t, 1] = x, y
        corners[t, 0, 0], corners[t, 0, 1] = x + fx + lx, y + fy + ly
        corners[t, 1, 0], corners[t, 1, 1] = x - fx + lx, y - fy + ly
        corners[t, 2, 0], corners[t, 2, 1] = x - fx - lx, y - fy - ly
        corners[t, 3, 0], corners[t, 3, 1] = x + fx - lx, y + fy - ly


@kernel
def _windows(outlines: Double, valid: Bool, steps: int) -> Double:
    """[T, K, 4] bounds of each track over its frames among t, t + 3, t + 6, t + 9; inside out where it is in none."""
    windows = np.empty((steps, valid.shape[1], 4))
    windows[:, :, :2], windows[:, :, 2:] = np.inf, -np.inf
    for t in range(steps):
        for f in (0, 3, 6, 9):
            for k in range(valid.shape[1]):
                if valid[t + f, k]:
                    for axis in range(2):
                        windows[t, k, axis] = min(windows[t, k, axis], outlines[t + f, k, axis])
                        windows[t, k, 2 + axis] = max(windows[t, k, 2 + axis], outlines[t + f, k, 2 + axis])
    return windows


@kernel
def _reach(path: Double, outline: Double, sweep: Double) -> tuple[float, float, float, float]:
    """Bounds of all that a trajectory's boxes and their shifts by 0.9 s cover; ``sweep`` [T, 4] is filled with each state's."""
    for t in range(path.shape[0]):
        way, slack = 0.9 * math.hypot(path[t, 3], path[t, 4]), 1e-6  # slack: a filter only, the exact tests follow
        dx, dy = way * math.cos(path[t, 2]), way * math.sin(path[t, 2])
        sweep[t, 0], sweep[t, 1] = outline[t, 0] + min(dx, 0.0) - slack, outline[t, 1] + min(dy, 0.0) - slack
        sweep[t, 2], sweep[t, 3] = outline[t, 2] + max(dx, 0.0) + slack, outline[t, 3] + max(dy, 0.0) + slack
    return sweep[:, 0].min(), sweep[:, 1].min(), sweep[:, 2].max(), sweep[:, 3].max()


@kernel
def _find_areas(path: Double, corners: Double, centre: Double, outline: Double, areas: Areas, near: Int, flags: Byte) -> None:
    """Write the bits of ``flags`` [T]: multi-lane, off road, oncoming, rear axle in an intersection."""
    x0, y0, x1, y1 = outline[:, 0].min(), outline[:, 1].min(), outline[:, 2].max(), outline[:, 3].max()
    met = 0
    for p in range(areas.kind.shape[0]):
        if areas.kind[p] != 3 and areas.kind[p] <= 5:
            bounds = areas.bounds[p]
            if bounds[0] <= x1 and bounds[2] >= x0 and bounds[1] <= y1 and bounds[3] >= y0:
                near[met] = p
                met += 1
    for t in range(path.shape[0]):
        flags[t] = _areas_of_state(path, corners, centre, outline, t, areas, near, met)


@kernel
def _areas_of_state(
    path: Double, corners: Double, centre: Double, outline: Double, t: int, areas: Areas, near: Int, met: int
) -> int:
    """The bits of state t from the ``met`` areas in ``near``."""
    lanes, one_holds_all, on_route, crossing, drivable = 0, False, False, False, 0
    bounds = areas.bounds
    for i in range(met):
        p = near[i]
        kind = areas.kind[p]
        if (
            bounds[p, 0] > outline[t, 2]
            or bounds[p, 2] < outline[t, 0]
            or bounds[p, 1] > outline[t, 3]
            or bounds[p, 3] < outline[t, 1]
        ):
            continue
        if kind > 1 and drivable == 15 and kind != 4:
            continue
        held = 0
        for c in range(4):
            if (kind <= 1 or not drivable & (1 << c)) and inside_area(areas, p, corners[t, c, 0], corners[t, c, 1]):
                held |= 1 << c
        if kind <= 1:
            lanes += held > 0
            one_holds_all = one_holds_all or held == 15
            on_route = on_route or (areas.on_route[p] and inside_area(areas, p, centre[t, 0], centre[t, 1]))
        else:
            drivable |= held
            crossing = crossing or (kind == 4 and inside_area(areas, p, path[t, 0], path[t, 1]))
    bits = 1 if lanes > 1 and not one_holds_all else 0
    bits |= 0 if drivable == 15 else 2
    return bits | (0 if on_route else 4) | (8 if crossing else 0)


@kernel
def _apart(a: Double, t: int, b: Double, f: int, k: int, dx: float, dy: float) -> bool:
    """Whether bounds a[t], shifted by (dx, dy), and bounds b[f, k] are apart. (Slices would cost more than the test.)"""
    return bool(a[t, 0] + dx > b[f, k, 2] or a[t, 2] + dx < b[f, k, 0] or a[t, 1] + dy > b[f, k, 3] or a[t, 3] + dy < b[f, k, 1])


@kernel
def _angle(state: Double, box: Double) -> float:
    """Angle between the heading and the way from the rear axle to a box's centroid; NaN where rounding goes above 1."""
    dx = (box[0, 0] + box[1, 0] + box[2, 0] + box[3, 0]) / 4 - state[0]
    dy = (box[0, 1] + box[1, 1] + box[2, 1] + box[3, 1]) / 4 - state[1]
    norm = math.sqrt(dx * dx + dy * dy)
    dot = math.cos(state[2]) * (dx / norm) + math.sin(state[2]) * (dy / norm)
    return math.acos(dot) if -1.0 <= dot <= 1.0 else np.nan


@kernel
def _collide(
    path: Double,
    corners: Double,
    outline: Double,
    boxes: Double,
    outlines: Double,
    valid: Bool,
    k: int,
    kind: int,
    first_speed: float,
    flags: Byte,
    n: int,
    values: Double,
    marks: Int,
) -> None:
    """NC of one track: its first touch decides."""
    for t in range(path.shape[0]):
        if not valid[t, k] or _apart(outline, t, outlines, t, k, 0.0, 0.0) or not quads_touch(corners[t], boxes[t, k]):
            continue
        if marks[5, n] < 0 or t < marks[5, n]:
            marks[5, n] = t
        if _at_fault(path[t], corners[t], boxes[t, k], kind, first_speed, (flags[t] & 3) != 0):
            values[0, n] = min(values[0, n], 0.0 if kind <= 2 else 0.5)
            if marks[0, n] < 0 or t < marks[0, n]:
                marks[0, n], marks[1, n] = t, k
        return


@kernel
def _at_fault(state: Double, corners: Double, box: Double, kind: int, first_speed: float, risky: bool) -> bool:
    if math.hypot(state[3], state[4]) <= 0.05:
        return False
    if kind > 2 or first_speed <= 0.05:
        return True
    if _angle(state, box) > math.radians(150):
        return False
    return risky or segment_touches_quad(corners[0, 0], corners[0, 1], corners[3, 0], corners[3, 1], box)


@kernel
def _close_in(
    path: Double, corners: Double, outline: Double, sweep: Double, boxes: Double, outlines: Double, windows: Double, valid: Bool,
    k: int, flags: Byte, n: int, values: Double, marks: Int,
) -> None:  # fmt: skip
    """TTC of one track: the first touch of a shifted box decides."""
    shifted = np.empty((4, 2))
    for t in range(path.shape[0]):
        if _apart(sweep, t, windows, t, k, 0.0, 0.0):
            continue
        speed = math.hypot(path[t, 3], path[t, 4])
        if speed < 0.005:
            continue
        cos, sin = math.cos(path[t, 2]), math.sin(path[t, 2])
        for f in (0, 3, 6, 9):
            if not valid[t + f, k]:
                continue
            dx, dy = cos * speed * f * 0.1, sin * speed * f * 0.1
            if _apart(outline, t, outlines, t + f, k, dx, dy):
                continue
            box = boxes[t + f, k]
            for c in range(4):
                shifted[c, 0], shifted[c, 1] = corners[t, c, 0] + dx, corners[t, c, 1] + dy
            if not quads_touch(shifted, box):
                continue
            angle = _angle(path[t], box)
            if angle < math.radians(30) or ((flags[t] & 11) != 0 and not angle > math.radians(150)):
                values[2, n] = 0.0
                if marks[2, n] < 0 or t < marks[2, n]:
                    marks[2, n], marks[3, n] = t, k
            return


@kernel
def _direction(centre: Double, flags: Byte) -> float:
    """DDC of one trajectory."""
    worst = 0.0
    for t in range(centre.shape[0]):
        way = 0.0
        for j in range(max(1, t - 10), t + 1):
            if flags[j] & 4:
                way += math.hypot(centre[j, 0] - centre[j - 1, 0], centre[j, 1] - centre[j - 1, 1])
        worst = max(worst, way)
    return 1.0 if worst < 2.0 else (0.5 if worst < 6.0 else 0.0)
