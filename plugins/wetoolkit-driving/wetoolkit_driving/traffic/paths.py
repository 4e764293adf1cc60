"""The path of an agent that no longer follows its log in time: where it went as geometry, and on along the lane graph.

A path is sampled every ``SPACING`` metres and starts exactly at the logged pose of the step at which the model takes over, so
that nothing jumps. With it come the speed its driver wants at every sample and the stop lines of the signals it passes. Lanes are
joined along their successors, so that leaders, signals and conflicts beyond a lane's end are seen like those on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wetoolkit_driving.jit import inner, kernel
from wetoolkit_driving.roads import nearest_on_lanes
from wetoolkit_driving.traffic.manners import DECELERATION, FACTOR, LATERAL
from wetoolkit_driving.types import Bool, Double, Float, Int, RoadMap, World

SPACING = 0.5  # metres between samples
JITTER = 0.3  # metres: recorded poses nearer than this to the one before are measurement noise, not motion
BLEND = 8.0  # metres over which a path swings from its recorded end onto a lane
CHORD = 6  # samples on each side over which a path's direction is measured, so that noise makes no curves
SPARE = 40.0  # metres a path is longer than anybody can go
SLOWEST = 2.0  # m/s: no curve is taken slower for its curvature alone
ASIDE = 2.0  # metres a path may be from a lane that it is said to follow
CLASS_VEHICLE, CLASS_BICYCLE = 0, 2


@dataclass(frozen=True)
class Path:
    """One agent's way on from the step at which it is handed over."""

    poses: Double  # [K, 3] box centre and heading every SPACING metres
    speed: Double  # [K] m/s the driver wants there, its comfortable braking for what comes included
    stops: Double  # [S, 2] arc length of a stop line [m], row in World.signals


class Roads(NamedTuple):
    """What paths need of a map's lanes, as kernels take it."""

    xy: Double  # [U, 2] centre lines
    offset: Int  # [L + 1]
    length: Double  # [L] metres
    turn: Double  # [L] radians from start to end, left positive
    limit: Float  # [L] m/s, 0 where not known
    signal: Int  # [L] row in World.signals, -1 for none
    next_offset: NDArray[np.int64]  # [L + 1]
    next: Int  # [E] successors of each lane, in the map's order


def roads_of(road: RoadMap) -> Roads:
    """A map's lanes as kernels take them."""
    order = np.argsort(road.successors[:, 0], kind="stable")
    counts = np.bincount(road.successors[:, 0], minlength=road.lanes)
    length, turn = _measure(road.lane_xy, road.lane_offset)
    onward = np.ascontiguousarray(road.successors[order, 1])
    offset = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Roads(
        road.lane_xy, road.lane_offset, length, turn, road.lane_speed_limit, road.lane_signal, offset, onward
    )  # fmt: skip


@kernel
def _measure(xy: Double, offset: Int) -> tuple[Double, Double]:
    """Length and turn [L] of centre lines."""
    count = len(offset) - 1
    length, turn = np.zeros(count), np.zeros(count)
    for lane in range(count):
        ax = ay = bx = by = 0.0
        for i in range(offset[lane], offset[lane + 1] - 1):
            dx, dy = xy[i + 1, 0] - xy[i, 0], xy[i + 1, 1] - xy[i, 1]
            piece = np.hypot(dx, dy)
            if piece > 1e-9:
                if length[lane] == 0.0:
                    ax, ay = dx, dy
                bx, by = dx, dy
            length[lane] += piece
        turn[lane] = np.arctan2(ax * by - ay * bx, ax * bx + ay * by)
    return length, turn


def path_of(world: World, agent: int, start: int, parameters: Double, roads: Roads | None = None) -> Path:
    """The path of an agent from its logged pose at ``start`` on, long enough for the world's time; parameters: its row."""
    a, seconds = world.agents, (world.steps - start) * world.dt
    kind = int(a.kind[agent])
    roads = roads or roads_of(world.map)
    return Path(*_way(a.pose[agent], a.velocity[agent], a.valid[agent], start, seconds, kind, parameters, roads))


@kernel
def _way(
    pose: Float, velocity: Float, valid: Bool, start: int, seconds: float, kind: int, p: Double, roads: Roads
) -> tuple[Double, Double, Double]:  # fmt: skip
    """(poses, speed, stops) of a ``Path``, read from one agent's log: pose [T, 3], velocity [T, 2], valid [T]."""
    track, pace, fastest = _recorded(pose, velocity, valid, start)
    drives = kind in (CLASS_VEHICLE, CLASS_BICYCLE)
    limit = 0.0
    if kind == CLASS_VEHICLE:
        lane, _, _ = nearest_on_lanes(roads.xy, roads.offset, track[0, 0], track[0, 1], track[0, 2], np.pi / 3, 5.0)
        limit = roads.limit[lane] if lane >= 0 else 0.0
    wanted = p[FACTOR] * max(fastest, limit)
    reach = max(wanted, pace[0]) * seconds + SPARE
    kept = track[_moving(track, JITTER)]
    recorded = _arcs(kept)[-1]
    poses = _sample(_extend(roads, kept, reach, drives))
    logged = _logged_pace(poses, track, pace, recorded)
    speed = _profile(poses, wanted, logged, p[LATERAL], p[DECELERATION])
    return poses, speed, _stop_lines(roads, poses) if drives else np.zeros((0, 2))


@inner
def _recorded(pose: Float, velocity: Float, valid: Bool, start: int) -> tuple[Double, Double, float]:
    """The log from ``start`` on where it is known: poses [n, 3], speeds [n] m/s; and the greatest speed of the whole log."""
    count, fastest = 0, 0.0
    track, pace = np.empty((len(pose) - start, 3)), np.empty(len(pose) - start)
    for t in range(len(pose)):
        if not valid[t]:
            continue
        speed = np.hypot(np.float64(velocity[t, 0]), np.float64(velocity[t, 1]))
        fastest = max(fastest, speed)
        if t >= start:
            track[count, 0], track[count, 1], track[count, 2] = pose[t, 0], pose[t, 1], pose[t, 2]
            pace[count] = speed
            count += 1
    return track[:count], pace[:count], fastest


@inner
def _moving(track: Double, least: float) -> Bool:
    """Which poses [n] are at least ``least`` from the last one kept."""
    keep = np.zeros(len(track), np.bool_)
    keep[0], last = True, 0
    for i in range(1, len(track)):
        if np.hypot(track[i, 0] - track[last, 0], track[i, 1] - track[last, 1]) >= least:
            keep[i], last = True, i
    return keep


@inner
def _arcs(points: Double) -> Double:
    """Distance [n] from the start to each point [n, >= 2]."""
    out = np.zeros(len(points))
    for i in range(1, len(points)):
        out[i] = out[i - 1] + np.hypot(points[i, 0] - points[i - 1, 0], points[i, 1] - points[i - 1, 1])
    return out


@inner
def _extend(roads: Roads, kept: Double, reach: float, drives: bool) -> Double:
    """Poses [m, 3] of a path that goes on for ``reach`` metres after its record, along a lane where one runs its way."""
    end = kept[-1]
    course = end[2]
    if len(kept) > 1:  # the way it moved at last, which is not where its box points when it goes backwards or sideways
        back = max(0, len(kept) - 4)
        course = np.arctan2(end[1] - kept[back, 1], end[0] - kept[back, 0])
    tail = np.zeros((0, 3))
    if drives and np.cos(course - end[2]) > 0.5:
        tail = _lane_tail(roads, end, reach)
    last, turn, covered = end, course, 0.0
    if len(tail):
        last, turn, covered = tail[-1], tail[-1, 2], _arcs(tail)[-1]
    rest = max(reach - covered, SPACING)
    poses = np.empty((len(kept) + len(tail) + 1, 3))
    for c in range(3):  # by elements: what numba writes for slices takes seconds to compile
        for i in range(len(kept)):
            poses[i, c] = kept[i, c]
        for i in range(len(tail)):
            poses[len(kept) + i, c] = tail[i, c]
    poses[-1, 0], poses[-1, 1], poses[-1, 2] = last[0] + rest * np.cos(turn), last[1] + rest * np.sin(turn), last[2]
    for i in range(1, len(poses)):  # headings without jumps of a whole turn
        turned = poses[i, 2] - poses[i - 1, 2]
        poses[i, 2] -= 2 * np.pi * np.round(turned / (2 * np.pi))
    return poses


@inner
def _ahead(roads: Roads, lane: int, length: float) -> NDArray[np.int64]:
    """Lanes from ``lane`` on along the straightest successors, until ``length`` metres are covered or the map ends."""
    taken = np.empty(len(roads.length), np.int64)
    taken[0], count, covered = lane, 1, roads.length[lane]
    while covered < length:
        best = -1
        for i in range(roads.next_offset[taken[count - 1]], roads.next_offset[taken[count - 1] + 1]):
            to = roads.next[i]
            new = not (taken[:count] == to).any()
            if new and (best < 0 or (abs(roads.turn[to]), to) < (abs(roads.turn[best]), best)):
                best = to
        if best < 0:
            break
        taken[count] = best
        count, covered = count + 1, covered + roads.length[best]
    return taken[:count]


@inner
def _lane_tail(roads: Roads, end: Double, reach: float) -> Double:
    """Poses [m, 3] along the lane that runs the way of ``end``, from ``BLEND`` metres ahead of it on; none without such a lane."""
    lane, s, distance = nearest_on_lanes(roads.xy, roads.offset, end[0], end[1], end[2], np.pi / 4, 2.5)
    if lane < 0:
        return np.zeros((0, 3))
    lanes = _ahead(roads, lane, s + reach)
    total = 0
    for one in lanes:
        total += roads.offset[one + 1] - roads.offset[one]
    tail, count, along = np.empty((total, 3)), 0, 0.0
    x, y = roads.xy[roads.offset[lane], 0], roads.xy[roads.offset[lane], 1]
    for one in lanes:
        for i in range(roads.offset[one], roads.offset[one + 1]):
            step = np.hypot(roads.xy[i, 0] - x, roads.xy[i, 1] - y)
            if step <= 1e-3:
                continue
            x, y, along = roads.xy[i, 0], roads.xy[i, 1], along + step
            if along > s + max(BLEND, 4.0 * distance):
                tail[count, 0], tail[count, 1] = x, y
                count += 1
    if count < 2:
        return np.zeros((0, 3))
    for i in range(count):
        k = min(i, count - 2)
        tail[i, 2] = np.arctan2(tail[k + 1, 1] - tail[k, 1], tail[k + 1, 0] - tail[k, 0])
    return tail[:count]


@inner
def _sample(points: Double) -> Double:
    """Poses every SPACING metres along points [m, 3]; the first is the first point itself."""
    arcs = _arcs(points)
    out = np.empty((int(np.ceil(arcs[-1] / SPACING)), 3))
    i = 0
    for k in range(len(out)):
        at = k * SPACING
        while i < len(points) - 2 and arcs[i + 1] <= at:
            i += 1
        part = (at - arcs[i]) / max(arcs[i + 1] - arcs[i], 1e-12)
        for c in range(3):
            out[k, c] = points[i, c] + part * (points[i + 1, c] - points[i, c])
    return out


@inner
def _logged_pace(poses: Double, track: Double, pace: Double, recorded: float) -> Double:
    """The speed [K] at which the log passed each sample, 0 beyond it."""
    arcs = _arcs(track)
    # The track's own length holds jitter; scaled to the path's, the two agree at both ends.
    if arcs[-1] > 0:
        arcs *= recorded / arcs[-1]
    out, i = np.zeros(len(poses)), 0
    for k in range(len(poses)):
        at = k * SPACING
        if at > recorded:
            break
        while i < len(track) - 2 and arcs[i + 1] <= at:
            i += 1
        if len(track) == 1:
            out[k] = pace[0]
        else:
            part = min(max((at - arcs[i]) / max(arcs[i + 1] - arcs[i], 1e-12), 0.0), 1.0)
            out[k] = pace[i] + part * (pace[i + 1] - pace[i])
    return out


@inner
def _profile(poses: Double, wanted: float, logged: Double, lateral: float, braking: float) -> Double:
    """Speeds [K]: at most ``wanted``, and in curves what ``lateral`` allows (or what the log drove there, if more), with
    ``braking`` before them."""
    count = len(poses)
    speed = np.full(count, wanted)
    for i in range(count):
        a, b, c = max(0, i - 2 * CHORD), i, min(count - 1, i + 2 * CHORD)
        if a < b < c:
            fx, fy = poses[b, 0] - poses[a, 0], poses[b, 1] - poses[a, 1]
            gx, gy = poses[c, 0] - poses[b, 0], poses[c, 1] - poses[b, 1]
            turn = abs(np.arctan2(fx * gy - fy * gx, fx * gx + fy * gy))
            curvature = turn / (0.5 * (c - a) * SPACING)
            if curvature > 1e-4:
                speed[i] = min(wanted, max(np.sqrt(lateral / curvature), logged[i], SLOWEST))
    for i in range(count - 2, -1, -1):
        speed[i] = min(speed[i], np.sqrt(speed[i + 1] ** 2 + 2.0 * braking * SPACING))
    return speed


def stop_lines(road: RoadMap, poses: Double) -> Double:
    """[S, 2] (arc length, signal row) of the signalled lanes that a path enters and follows: it passes within ``ASIDE`` metres of
    their start, middle and end, in that order and in their direction."""
    return _stop_lines(roads_of(road), poses)


@kernel
def _stop_lines(roads: Roads, poses: Double) -> Double:
    lanes = np.flatnonzero(roads.signal >= 0)
    found, count = np.empty((len(lanes), 2)), 0
    for lane in lanes:
        at = _enters(roads.xy[roads.offset[lane] : roads.offset[lane + 1]], poses)
        if at < 0:
            continue
        line, row = SPACING * at, float(roads.signal[lane])
        known = False
        for i in range(count):
            known = known or (found[i, 0] == line and found[i, 1] == row)
        if not known:
            i = count  # sorted in, which compiles in a tenth of the time of a sort
            while i > 0 and found[i - 1, 0] > line:
                found[i, 0], found[i, 1] = found[i - 1, 0], found[i - 1, 1]
                i -= 1
            found[i, 0], found[i, 1] = line, row
            count += 1
    return found[:count]


@inner
def _enters(line: Double, poses: Double) -> int:
    """The sample at which a path enters a lane that it then follows; -1 where it does not, or begins behind the lane's start."""
    course = np.arctan2(line[1, 1] - line[0, 1], line[1, 0] - line[0, 0])
    if (poses[0, 0] - line[0, 0]) * np.cos(course) + (poses[0, 1] - line[0, 1]) * np.sin(course) > 0:
        return -1
    before, entered = 0, -1
    for mark in range(3):
        a, b = (0, 0) if mark == 0 else ((len(line) - 1) // 2, len(line) // 2) if mark == 1 else (len(line) - 1, len(line) - 1)
        nearest, square = nearest_sample(poses, 0.5 * (line[a, 0] + line[b, 0]), 0.5 * (line[a, 1] + line[b, 1]))
        if square > ASIDE * ASIDE or nearest < before:
            return -1
        if mark == 0:
            turn = poses[nearest, 2] - course
            if abs(np.arctan2(np.sin(turn), np.cos(turn))) > np.pi / 3:
                return -1
            entered = nearest
        before = nearest
    return entered


@inner
def nearest_sample(poses: Double, x: float, y: float) -> tuple[int, float]:
    """(index, squared distance) of the first nearest sample. Samples are at most SPACING apart: far ones are passed over."""
    best, nearest, k = np.inf, 0, 0
    while k < len(poses):
        square = (poses[k, 0] - x) ** 2 + (poses[k, 1] - y) ** 2
        if square < best:
            best, nearest = square, k
        k += max(1, int((np.sqrt(square) - np.sqrt(best)) / SPACING))
    return nearest, best


__all__ = ["SPACING", "Path", "Roads", "nearest_sample", "path_of", "roads_of", "stop_lines"]
