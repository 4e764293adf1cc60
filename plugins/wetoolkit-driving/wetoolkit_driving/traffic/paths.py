"""The path of an agent that no longer follows its log in time: where it went as geometry, and on along the lane graph.

A path is sampled every ``SPACING`` metres and starts exactly at the logged pose of the step at which the model takes over, so
that nothing jumps. With it come the speed its driver wants at every sample and the stop lines of the signals it passes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wetoolkit_driving.geometry import arc_lengths
from wetoolkit_driving.jit import kernel
from wetoolkit_driving.roads import ahead, nearest_lane
from wetoolkit_driving.traffic.manners import DECELERATION, FACTOR, LATERAL
from wetoolkit_driving.types import AgentClass, Bool, Double, RoadMap, World

SPACING = 0.5  # metres between samples
JITTER = 0.3  # metres: recorded poses nearer than this to the one before are measurement noise, not motion
BLEND = 8.0  # metres over which a path swings from its recorded end onto a lane
CHORD = 6  # samples on each side over which a path's direction is measured, so that noise makes no curves
SPARE = 40.0  # metres a path is longer than anybody can go
SLOWEST = 2.0  # m/s: no curve is taken slower for its curvature alone


@dataclass(frozen=True)
class Path:
    """One agent's way on from the step at which it is handed over."""

    poses: Double  # [K, 3] box centre and heading every SPACING metres
    speed: Double  # [K] m/s the driver wants there, its comfortable braking for what comes included
    stops: Double  # [S, 2] arc length of a stop line [m], row in World.signals


def path_of(world: World, agent: int, start: int, parameters: Double) -> Path:
    """The path of an agent from its logged pose at ``start`` on, long enough for the world's time; parameters: its row."""
    agents, kind = world.agents, AgentClass(int(world.agents.kind[agent]))
    there = agents.valid[agent, start:]
    track = np.ascontiguousarray(agents.pose[agent, start:][there], np.float64)  # [n, 3]
    pace = np.hypot(*agents.velocity[agent, start:][there].T.astype(np.float64))  # [n] m/s
    kept = track[_moving(track, JITTER)]
    drives = kind in (AgentClass.VEHICLE, AgentClass.BICYCLE)
    limit = 0.0
    if kind == AgentClass.VEHICLE:
        lane, _, _ = nearest_lane(world.map, track[0])
        limit = float(world.map.lane_speed_limit[lane]) if lane >= 0 else 0.0
    fastest = float(np.hypot(*agents.velocity[agent][agents.valid[agent]].T.astype(np.float64)).max())
    wanted = parameters[FACTOR] * max(fastest, limit)
    reach = max(wanted, float(pace[0])) * (world.steps - start) * world.dt + SPARE
    points, recorded = _extend(world.map if drives else None, kept, reach)
    poses = _sample(points)
    logged = _logged_pace(poses, track, pace, recorded)
    speed = _profile(poses, wanted, logged, float(parameters[LATERAL]), float(parameters[DECELERATION]))
    return Path(poses, speed, stop_lines(world.map, poses) if drives else np.zeros((0, 2)))


@kernel
def _moving(track: Double, least: float) -> Bool:
    """Which poses [n] are at least ``least`` from the last one kept."""
    keep = np.zeros(len(track), np.bool_)
    keep[0], last = True, 0
    for i in range(1, len(track)):
        if np.hypot(track[i, 0] - track[last, 0], track[i, 1] - track[last, 1]) >= least:
            keep[i], last = True, i
    return keep


def _extend(road: RoadMap | None, kept: Double, reach: float) -> tuple[Double, float]:
    """Poses [m, 3] of a path that goes on for ``reach`` metres (along a lane where one runs its way), and its recorded length."""
    end = kept[-1]
    recorded = float(arc_lengths(kept)[-1]) if len(kept) > 1 else 0.0
    course = end[2]
    if len(kept) > 1:  # the way it moved at last, which is not where its box points when it goes backwards or sideways
        back = max(0, len(kept) - 4)
        course = np.arctan2(end[1] - kept[back, 1], end[0] - kept[back, 0])
    tail = np.zeros((0, 3))
    if road is not None and np.cos(course - end[2]) > 0.5:
        tail = _lane_tail(road, end, reach)
    last, turn = (tail[-1], tail[-1, 2]) if len(tail) else (end, course)
    rest = max(reach - (float(arc_lengths(tail)[-1]) if len(tail) > 1 else 0.0), SPACING)
    away = np.array([[last[0] + rest * np.cos(turn), last[1] + rest * np.sin(turn), last[2]]])
    poses = np.concatenate([kept, tail, away])
    poses[:, 2] = np.unwrap(poses[:, 2])
    return poses, recorded


def _lane_tail(road: RoadMap, end: Double, reach: float) -> Double:
    """Poses [m, 3] along the lane that runs the way of ``end``, from ``BLEND`` metres ahead of it on; none without such a lane."""
    lane, s, distance = nearest_lane(road, end, np.pi / 4, 2.5)
    if lane < 0:
        return np.zeros((0, 3))
    lines = [road.centre_line(i) for i in ahead(road, lane, s + reach)]
    line = np.concatenate(lines)
    step = np.hypot(*np.diff(line, axis=0).T)
    line = line[np.concatenate([[True], step > 1e-3])]
    lengths = arc_lengths(line)
    line = line[lengths > s + max(BLEND, 4.0 * distance)]
    if len(line) < 2:
        return np.zeros((0, 3))
    course = np.arctan2(*np.diff(line, axis=0).T[::-1])
    return np.column_stack([line, np.append(course, course[-1])])


def _sample(points: Double) -> Double:
    """Poses every SPACING metres along points [m, 3]; the first is the first point itself."""
    s = arc_lengths(points)
    keep = np.concatenate([[True], np.diff(s) > 1e-9])
    s, points = s[keep], points[keep]
    at = np.arange(0.0, s[-1], SPACING)
    return np.column_stack([np.interp(at, s, points[:, i]) for i in range(3)])


def _logged_pace(poses: Double, track: Double, pace: Double, recorded: float) -> Double:
    """The speed [K] at which the log passed each sample, 0 beyond it."""
    s = arc_lengths(track) if len(track) > 1 else np.zeros(1)
    # The track's own length holds jitter; scaled to the path's, the two agree at both ends.
    s = s * (recorded / s[-1]) if s[-1] > 0 else s
    at = SPACING * np.arange(len(poses))
    return np.where(at <= recorded, np.interp(at, s, pace), 0.0)


@kernel
def _profile(poses: Double, wanted: float, logged: Double, lateral: float, braking: float) -> Double:
    """Speeds [K]: at most ``wanted``, and in curves what ``lateral`` allows (or what the log drove there, if more), with
    ``braking`` before them."""
    count = len(poses)
    speed = np.full(count, wanted)
    for i in range(count):
        a, b, c = max(0, i - 2 * CHORD), i, min(count - 1, i + 2 * CHORD)
        first = np.arctan2(poses[b, 1] - poses[a, 1], poses[b, 0] - poses[a, 0])
        second = np.arctan2(poses[c, 1] - poses[b, 1], poses[c, 0] - poses[b, 0])
        if a < b < c:
            turn = abs(np.arctan2(np.sin(second - first), np.cos(second - first)))
            curvature = turn / (0.5 * (c - a) * SPACING)
            if curvature > 1e-4:
                speed[i] = min(wanted, max(np.sqrt(lateral / curvature), logged[i], SLOWEST))
    for i in range(count - 2, -1, -1):
        speed[i] = min(speed[i], np.sqrt(speed[i + 1] ** 2 + 2.0 * braking * SPACING))
    return speed


def stop_lines(road: RoadMap, poses: Double, aside: float = 2.0) -> Double:
    """[S, 2] (arc length, signal row) of the signalled lanes that a path enters and follows: it passes within ``aside`` metres of
    their start, middle and end, in that order and in their direction."""
    found = []
    for lane in np.flatnonzero(road.lane_signal >= 0):
        at = _enters(road.lane_xy[road.lane_offset[lane] : road.lane_offset[lane + 1]], poses, aside)
        if at >= 0:
            found.append((SPACING * at, float(road.lane_signal[lane])))
    return np.array(sorted(set(found)), np.float64).reshape(-1, 2)


@kernel
def _enters(line: Double, poses: Double, aside: float) -> int:
    """The sample at which a path enters a lane that it then follows; -1 where it does not, or begins behind the lane's start."""
    course = np.arctan2(line[1, 1] - line[0, 1], line[1, 0] - line[0, 0])
    if (poses[0, 0] - line[0, 0]) * np.cos(course) + (poses[0, 1] - line[0, 1]) * np.sin(course) > 0:
        return -1
    before, entered = 0, -1
    for mark in range(3):
        a, b = (0, 0) if mark == 0 else ((len(line) - 1) // 2, len(line) // 2) if mark == 1 else (len(line) - 1, len(line) - 1)
        x, y = 0.5 * (line[a, 0] + line[b, 0]), 0.5 * (line[a, 1] + line[b, 1])
        best, nearest = np.inf, 0
        for k in range(len(poses)):
            distance = (poses[k, 0] - x) ** 2 + (poses[k, 1] - y) ** 2
            if distance < best:
                best, nearest = distance, k
        if best > aside * aside or nearest < before:
            return -1
        if mark == 0:
            turn = poses[nearest, 2] - course
            if abs(np.arctan2(np.sin(turn), np.cos(turn))) > np.pi / 3:
                return -1
            entered = nearest
        before = nearest
    return entered


__all__ = ["SPACING", "Path", "path_of", "stop_lines"]
