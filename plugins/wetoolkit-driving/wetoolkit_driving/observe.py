"""What a policy sees: padded float32 arrays in the ego's frame at a step, nearest first, with masks; nothing after the step counts.

Frame: rear axle at the origin, x forward, y left; metres, seconds, radians.

=========  ===============  =========================================================================================
field      shape            channels
=========  ===============  =========================================================================================
ego        [B, H, 8]        x, y, cos, sin, speed, acceleration, yaw rate, steering; the last of H steps is now
agents     [B, A, H, 15]    x, y, cos, sin, vx, vy, length, width, one-hot AgentClass (7)
lanes      [B, L, 10, 10]   10 points on the part within ``RADIUS``: x, y, cos, sin, limit / 15, on route, one-hot
                            Signal (4; all zero where no signal governs the lane)
route      [B, 1, 20, 4]    the route's centre line from beside the ego on, every 3 m: x, y, cos, sin
crossings  [B, C, 4, 2]     corners of the smallest rectangle around a crosswalk
=========  ===============  =========================================================================================

Pictures of the cameras that a spec names come with them, not decoded: recorded ones of log frames, rendered ones of scenes.

Masks ``name.valid``: [B, H], [B, A, H], [B, L, 10], [B, 1, 20], [B, C, 4]; what they mask is zero. Agents that are there now
come first, then those last seen elsewhere in the history; each group by its distance now or when last seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely

from wetoolkit.errors import UnknownName
from wetoolkit.sight import seen
from wetoolkit.types import Array, Observation, ObservationSpec, Situation
from wetoolkit_driving.geometry import arc_lengths, project_point
from wetoolkit_driving.jit import kernel
from wetoolkit_driving.roads import route_line
from wetoolkit_driving.types import (
    AX,
    STEERING,
    VX,
    VY,
    YAW_RATE,
    AreaKind,
    Bool,
    Byte,
    Double,
    Float,
    Int,
    RoadMap,
    World,
)

LIMITS = {"agents": 32, "lanes": 48, "crossings": 8}
RADIUS = 60.0  # metres: lanes and crossings are seen this far
POINTS = 10  # of a lane
ROUTE_POINTS, ROUTE_SPACING = 20, 3.0  # metres
LIMIT_SCALE = 15.0  # m/s: speed limits are divided by it


def observe(situations: Sequence[Situation[World]], spec: ObservationSpec) -> Observation[World]:
    """What policies with ``spec`` see (see the module); ``spec.history`` counts steps of the world's clock, now included."""
    arrays: dict[str, Array] = {}
    for name in spec.fields:
        if name not in FIELDS:
            raise UnknownName("field of a driving observation", name, FIELDS, field="ObservationSpec.fields")
        limit = spec.limits.get(name, LIMITS.get(name, 1))
        arrays[name], arrays[f"{name}.valid"] = FIELDS[name](situations, spec.history, limit)
    worlds = tuple(s.world.until(s.step) for s in situations) if spec.world else ()
    return Observation("driving", len(situations), arrays, worlds, **seen(situations, spec))


def ego_frame(situation: Situation[World]) -> Double:
    """Rear-axle pose [3] at the situation's step: the frame of everything seen there."""
    pose: Double = situation.world.ego.states[situation.step, :3]
    return pose


def see_ego(situations: Sequence[Situation[World]], history: int, limit: int) -> tuple[Float, Bool]:
    """[B, H, 8] and its mask; ``limit`` is not used."""
    out = np.zeros((len(situations), history, 8), np.float32)
    valid = np.zeros((len(situations), history), bool)
    for b, situation in enumerate(situations):
        ego = situation.world.ego
        _fill_ego(ego.states, ego.valid, situation.step, out[b], valid[b])
    return out, valid


@kernel
def _fill_ego(states: Double, there: Bool, step: int, out: Float, valid: Bool) -> None:
    history = len(valid)
    c, s = np.cos(states[step, 2]), np.sin(states[step, 2])
    for t in range(max(0, step + 1 - history), step + 1):
        if there[t]:
            h = history - 1 - step + t
            dx, dy, turn = states[t, 0] - states[step, 0], states[t, 1] - states[step, 1], states[t, 2] - states[step, 2]
            out[h, 0], out[h, 1], out[h, 2], out[h, 3] = c * dx + s * dy, c * dy - s * dx, np.cos(turn), np.sin(turn)
            speed = np.hypot(states[t, VX], states[t, VY])
            out[h, 4] = -speed if states[t, VX] < 0 else speed
            out[h, 5], out[h, 6], out[h, 7] = states[t, AX], states[t, YAW_RATE], states[t, STEERING]
            valid[h] = True


def see_agents(situations: Sequence[Situation[World]], history: int, limit: int) -> tuple[Float, Bool]:
    """[B, A, H, 15] and its mask."""
    out = np.zeros((len(situations), limit, history, 15), np.float32)
    valid = np.zeros((len(situations), limit, history), bool)
    for b, situation in enumerate(situations):
        agents = situation.world.agents
        if len(agents):
            _fill_agents(
                agents.pose,
                agents.velocity,
                agents.valid,
                agents.size,
                agents.kind,
                situation.step,
                ego_frame(situation),
                out[b],
                valid[b],
            )
    return out, valid


@kernel
def _fill_agents(
    pose: Float, velocity: Float, there: Bool, size: Float, kind: Byte, step: int, frame: Double, out: Float, valid: Bool
) -> None:
    limit, history = valid.shape
    first = max(0, step + 1 - history)
    c, s = np.cos(frame[2]), np.sin(frame[2])
    rank = np.full(pose.shape[0], np.inf)
    for a in range(pose.shape[0]):
        for t in range(step, first - 1, -1):
            if there[a, t]:
                distance = np.hypot(pose[a, t, 0] - frame[0], pose[a, t, 1] - frame[1])
                rank[a] = distance if t == step else 1e6 + distance
                break
    order = np.argsort(rank, kind="mergesort")
    for row in range(min(limit, len(order))):
        a = order[row]
        if rank[a] == np.inf:
            break
        for t in range(first, step + 1):
            if there[a, t]:
                h = history - 1 - step + t
                dx, dy, turn = pose[a, t, 0] - frame[0], pose[a, t, 1] - frame[1], pose[a, t, 2] - frame[2]
                vx, vy = velocity[a, t, 0], velocity[a, t, 1]
                out[row, h, 0], out[row, h, 1] = c * dx + s * dy, c * dy - s * dx
                out[row, h, 2], out[row, h, 3] = np.cos(turn), np.sin(turn)
                out[row, h, 4], out[row, h, 5] = c * vx + s * vy, c * vy - s * vx
                out[row, h, 6], out[row, h, 7] = size[a, 0], size[a, 1]
                out[row, h, 8 + kind[a]] = 1.0
                valid[row, h] = True


def see_lanes(situations: Sequence[Situation[World]], history: int, limit: int) -> tuple[Float, Bool]:
    """[B, L, 10, 10] and its mask; ``history`` is not used."""
    out = np.zeros((len(situations), limit, POINTS, 10), np.float32)
    valid = np.zeros((len(situations), limit, POINTS), bool)
    for b, situation in enumerate(situations):
        world, road = situation.world, situation.world.map
        if road.lanes:
            on_route = (road.lane_area >= 0) & world.on_route[road.lane_area]
            _fill_lanes(
                road.lane_xy, road.lane_offset, road.lane_speed_limit, on_route, road.lane_signal,
                np.ascontiguousarray(world.signals[:, situation.step]),
                ego_frame(situation), RADIUS, out[b], valid[b],
            )  # fmt: skip
    return out, valid


@kernel
def _within(xy: Double, first: int, last: int, x: float, y: float, radius: float) -> tuple[float, float, float]:
    """(start, end, distance): the stretch of a line's arc length from its first to its last place within ``radius`` of a point."""
    start, end, nearest, s = np.inf, -np.inf, np.inf, 0.0
    for i in range(first, last - 1):
        dx, dy = xy[i + 1, 0] - xy[i, 0], xy[i + 1, 1] - xy[i, 1]
        length = np.hypot(dx, dy)
        if length > 0.0:
            ux, uy = dx / length, dy / length
            along_ = (x - xy[i, 0]) * ux + (y - xy[i, 1]) * uy
            aside = abs((x - xy[i, 0]) * uy - (y - xy[i, 1]) * ux)
            foot = min(max(along_, 0.0), length)
            nearest = min(nearest, np.hypot(aside, along_ - foot))
            if aside < radius:
                half = np.sqrt(radius * radius - aside * aside)
                low, high = max(along_ - half, 0.0), min(along_ + half, length)
                if low < high:
                    start, end = min(start, s + low), max(end, s + high)
        s += length
    return start, end, nearest


@kernel
def _fill_lanes(
    xy: Double,
    offset: Int,
    limits: Float,
    on_route: Bool,
    signal: Int,
    state: Byte,
    frame: Double,
    radius: float,
    out: Float,
    valid: Bool,
) -> None:
    count, points = len(offset) - 1, valid.shape[1]
    rank, span = np.full(count, np.inf), np.zeros((count, 2))
    for lane in range(count):
        start, end, nearest = _within(xy, offset[lane], offset[lane + 1], frame[0], frame[1], radius)
        if end - start > 0.1:
            rank[lane], span[lane, 0], span[lane, 1] = nearest, start, end
    order = np.argsort(rank, kind="mergesort")
    c, sn = np.cos(frame[2]), np.sin(frame[2])
    for row in range(min(valid.shape[0], count)):
        lane = order[row]
        if rank[lane] == np.inf:
            break
        i, s, last = offset[lane], 0.0, offset[lane + 1] - 2
        dx, dy = xy[i + 1, 0] - xy[i, 0], xy[i + 1, 1] - xy[i, 1]
        length = np.hypot(dx, dy)
        for k in range(points):
            want = span[lane, 0] + (span[lane, 1] - span[lane, 0]) * k / (points - 1)
            while i < last and (want > s + length or length == 0.0):
                s += length
                i += 1
                dx, dy = xy[i + 1, 0] - xy[i, 0], xy[i + 1, 1] - xy[i, 1]
                length = np.hypot(dx, dy)
            part = (want - s) / length if length > 0.0 else 0.0
            px, py = xy[i, 0] + part * dx - frame[0], xy[i, 1] + part * dy - frame[1]
            turn = np.arctan2(dy, dx) - frame[2]
            out[row, k, 0], out[row, k, 1] = c * px + sn * py, c * py - sn * px
            out[row, k, 2], out[row, k, 3] = np.cos(turn), np.sin(turn)
            out[row, k, 4] = limits[lane] / LIMIT_SCALE
            out[row, k, 5] = on_route[lane]
            if signal[lane] >= 0:
                out[row, k, 6 + state[signal[lane]]] = 1.0
            valid[row, k] = True


def see_route(situations: Sequence[Situation[World]], history: int, limit: int) -> tuple[Float, Bool]:
    """[B, 1, 20, 4] and its mask: what of the route lies ahead, going on along the lane graph where the route ends."""
    out = np.zeros((len(situations), 1, ROUTE_POINTS, 4), np.float32)
    valid = np.zeros((len(situations), 1, ROUTE_POINTS), bool)
    for b, situation in enumerate(situations):
        line, frame = route_line(situation.world), ego_frame(situation)
        if not len(line):
            continue
        _fill_route(line, arc_lengths(line), frame, ROUTE_SPACING, out[b, 0], valid[b, 0])
        if not valid[b, 0, -1]:
            line = route_line(situation.world, ROUTE_POINTS * ROUTE_SPACING)
            _fill_route(line, arc_lengths(line), frame, ROUTE_SPACING, out[b, 0], valid[b, 0])
    return out, valid


@kernel
def _fill_route(line: Double, lengths: Double, frame: Double, spacing: float, out: Float, valid: Bool) -> None:
    start, _ = project_point(line, lengths, frame[0], frame[1])
    c, s, i = np.cos(frame[2]), np.sin(frame[2]), 0
    for k in range(len(valid)):
        at = start + k * spacing
        if at > lengths[-1] + 1e-9:
            break
        while i < len(line) - 2 and at > lengths[i + 1]:
            i += 1
        dx, dy = line[i + 1, 0] - line[i, 0], line[i + 1, 1] - line[i, 1]
        part = (at - lengths[i]) / (lengths[i + 1] - lengths[i])
        px, py = line[i, 0] + part * dx - frame[0], line[i, 1] + part * dy - frame[1]
        turn = np.arctan2(dy, dx) - frame[2]
        out[k, 0], out[k, 1], out[k, 2], out[k, 3] = c * px + s * py, c * py - s * px, np.cos(turn), np.sin(turn)
        valid[k] = True


def crosswalks(road: RoadMap, near: Double, reach: float) -> Double:
    """Corners [C, 4, 2], counter-clockwise, of the smallest rectangle around each crosswalk within ``reach`` of a point [2],
    by the mean of its vertices; the nearest first."""
    rings = [road.area(int(i)) for i in np.flatnonzero(road.area_kind == AreaKind.CROSSWALK)]
    distance = [float(np.hypot(*(ring.mean(0) - near))) for ring in rings]
    close = [i for i in np.argsort(distance, kind="stable") if distance[i] < reach]
    boxes = [shapely.orient_polygons(shapely.Polygon(rings[i]).minimum_rotated_rectangle) for i in close]
    return np.array([np.asarray(box.exterior.coords)[:4] for box in boxes if box.geom_type == "Polygon"]).reshape(-1, 4, 2)


def see_crossings(situations: Sequence[Situation[World]], history: int, limit: int) -> tuple[Float, Bool]:
    """[B, C, 4, 2] and its mask."""
    out = np.zeros((len(situations), limit, 4, 2), np.float32)
    valid = np.zeros((len(situations), limit, 4), bool)
    for b, situation in enumerate(situations):
        frame = ego_frame(situation)
        boxes = crosswalks(situation.world.map, frame[:2], RADIUS)[:limit]
        c, s = np.cos(frame[2]), np.sin(frame[2])
        out[b, : len(boxes)] = (boxes - frame[:2]) @ np.array([[c, -s], [s, c]])
        valid[b, : len(boxes)] = True
    return out, valid


FIELDS = {"ego": see_ego, "agents": see_agents, "lanes": see_lanes, "route": see_route, "crossings": see_crossings}
__all__ = ["FIELDS", "LIMITS", "RADIUS", "crosswalks", "ego_frame", "observe"]
