"""Where PDM-Closed drives: the route's centre line with headings, lines beside it, the speed limit, the red lights.

A line has the points of the lanes' own centre lines, and at each the direction of the segment after it (at a lane's last point, of
the one before), as nuPlan's maps do; between points, place and heading are interpolated. Joints of lanes stay twice in the line,
once with each lane's heading: the lines beside it then lie where NAVSIM's lie.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wetoolkit_driving.geometry import arc_lengths, drop_repeats, project, wrap_angle
from wetoolkit_driving.roads import ahead, lanes_at, nearest_lane
from wetoolkit_driving.types import Signal, World

Double = NDArray[np.float64]

BEYOND = 150.0  # metres of line made beyond the route's end
SPACING = 2.0  # metres: longer segments are split, since the corridor's ends are points of the line; nuPlan's are shorter


@dataclass(frozen=True)
class Path:
    """What the ego may drive along."""

    poses: Double  # [n, 3] x, y, heading of the centre line
    limit: float  # m/s
    red: tuple[Double, ...] = ()  # rings [m, 2] of the lanes whose light is red

    @property
    def line(self) -> Double:
        """Points [n, 2]."""
        return np.ascontiguousarray(self.poses[:, :2])

    def beside(self, offset: float) -> Double:
        """Poses [n, 3] ``offset`` metres to the left of the line, headings unwrapped."""
        x, y, heading = self.poses.T
        side = heading + np.pi / 2
        return np.column_stack([x + np.cos(side) * offset, y + np.sin(side) * offset, np.unwrap(heading)])


def find_path(world: World, step: int, fallback_speed: float) -> Path:
    """The route's line and what follows it, the speed limit and the red lights at ``step``.

    Without a route the straightest way along the lane graph from the nearest lane serves, without lanes the straight line ahead.
    """
    state, road = world.ego.states[step], world.map
    lanes = [int(lane) for lane in world.route]
    if not lanes and road.lanes:
        start, _, _ = nearest_lane(road, state[:3])
        lanes = [start] if start >= 0 else []
    if not lanes:
        way = np.array([np.cos(state[2]), np.sin(state[2])])
        return Path(with_headings(state[:2] + np.array([[0.0], [BEYOND]]) * way), fallback_speed)
    tail = float(arc_lengths(road.centre_line(lanes[-1]))[-1])
    lanes += ahead(road, lanes[-1], tail + BEYOND)[1:]
    limit = float(road.lane_speed_limit[_lane_of(world, step, lanes)])
    poses = np.concatenate([with_headings(road.centre_line(lane)) for lane in lanes])
    return Path(poses, limit if limit > 0 else fallback_speed, _red_rings(world, step, lanes))


def with_headings(line: Double) -> Double:
    """Poses [m, 3] of a lane's centre line [n, 2]: its points without repeats, long segments split, headings as nuPlan's."""
    line = drop_repeats(line)
    steps = np.diff(line, axis=0)
    parts = np.maximum(1, np.ceil(np.hypot(*steps.T) / SPACING)).astype(np.int64)  # [n - 1]
    index = np.repeat(np.arange(len(steps)), parts)  # [m - 1] the segment of each point but the last
    share = (np.arange(len(index)) - np.repeat(np.cumsum(parts) - parts, parts)) / parts[index]
    points = np.concatenate([line[index] + share[:, None] * steps[index], line[-1:]])
    headings = np.arctan2(steps[:, 1], steps[:, 0])
    return np.column_stack([points, np.append(headings[index], headings[-1])])


def _lane_of(world: World, step: int, lanes: list[int]) -> int:
    """The lane whose limit counts: of the route's lanes that hold the rear axle the one best in line; else by the way covered.

    Source: NAVSIM, abstract_pdm_planner.
    """
    road, pose = world.map, world.ego.states[step, :3]
    held = [lane for lane in lanes_at(road, pose[:2]) if world.on_route[road.lane_area[lane]]]
    if len(held) == 1:
        return held[0]
    if held:
        return min(held, key=lambda lane: _out_of_line(with_headings(road.centre_line(lane)), pose))
    joined = np.concatenate([road.centre_line(lane) for lane in lanes])
    ends = arc_lengths(joined)[np.cumsum([len(road.centre_line(lane)) for lane in lanes]) - 1]  # [L] metres
    here = float(project(joined, pose[:2])[0])
    return lanes[min(int(np.searchsorted(ends, here)), len(lanes) - 1)]


def _out_of_line(poses: Double, pose: Double) -> float:
    """Angle between a pose [3] and the nearest point of a lane's poses [n, 3]."""
    nearest = int(np.hypot(*(poses[:, :2] - pose[:2]).T).argmin())
    return abs(float(wrap_angle(poses[nearest, 2] - pose[2])))


def _red_rings(world: World, step: int, lanes: list[int]) -> tuple[Double, ...]:
    """Rings of the red lanes of the route and of ``lanes``, each once (in nuPlan only connectors have lights)."""
    road, time = world.map, min(step, world.signals.shape[1] - 1)
    lit = np.flatnonzero((road.lane_signal >= 0) & (road.lane_area >= 0))
    lit = lit[world.on_route[road.lane_area[lit]] | np.isin(lit, lanes)]
    red = lit[world.signals[road.lane_signal[lit], time] == Signal.RED]
    return tuple(np.ascontiguousarray(road.area(int(area))) for area in dict.fromkeys(road.lane_area[red].tolist()))
