"""The lane graph: which lanes hold a place, the nearest lane that runs its way, ways along successors, the route's centre line."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wetoolkit_driving.geometry import arc_lengths, drop_repeats, inside
from wetoolkit_driving.jit import kernel
from wetoolkit_driving.types import Double, Int, RoadMap, World


@kernel
def nearest_on_lanes(
    xy: Double, offset: Int, x: float, y: float, heading: float, max_turn: float, reach: float
) -> tuple[int, float, float]:
    """(lane, arc length, distance) of the nearest place of any centre line whose direction is within ``max_turn`` [rad] of
    ``heading`` and which is nearer than ``reach`` [m]; lane -1 where there is none."""
    best, best_lane, best_s = reach * reach, -1, 0.0
    for lane in range(len(offset) - 1):
        s = 0.0
        for i in range(offset[lane], offset[lane + 1] - 1):
            x0, y0 = xy[i, 0], xy[i, 1]
            dx, dy = xy[i + 1, 0] - x0, xy[i + 1, 1] - y0
            length = np.hypot(dx, dy)
            if length > 0.0:
                t = min(max(((x - x0) * dx + (y - y0) * dy) / (length * length), 0.0), 1.0)
                distance = (x0 + t * dx - x) ** 2 + (y0 + t * dy - y) ** 2
                if distance < best:
                    turn = np.arctan2(dy, dx) - heading
                    if abs(np.arctan2(np.sin(turn), np.cos(turn))) <= max_turn:
                        best, best_lane, best_s = distance, lane, s + t * length
            s += length
    return best_lane, best_s, np.sqrt(best)


def nearest_lane(road: RoadMap, pose: Double, max_turn: float = np.pi / 3, reach: float = 5.0) -> tuple[int, float, float]:
    """(lane, arc length, distance) for a pose [3]: the nearest lane that runs its way; lane -1 where none is within ``reach``."""
    return nearest_on_lanes(road.lane_xy, road.lane_offset, float(pose[0]), float(pose[1]), float(pose[2]), max_turn, reach)


def lanes_at(road: RoadMap, point: Double) -> list[int]:
    """Lanes whose polygon holds the point [2] strictly inside, in the map's order."""
    return [lane for lane in range(road.lanes) if road.lane_area[lane] >= 0 and inside(road.area(road.lane_area[lane]), point)]


def successors_of(road: RoadMap, lane: int) -> list[int]:
    """Lanes that begin where this one ends, in the map's order."""
    return [int(to) for to in road.successors[road.successors[:, 0] == lane, 1]]


def turn_of(road: RoadMap, lane: int) -> float:
    """How far a lane turns from its start to its end, radians, left positive."""
    line = drop_repeats(road.centre_line(lane))
    first, last = line[1] - line[0], line[-1] - line[-2]
    return float(np.arctan2(first[0] * last[1] - first[1] * last[0], first @ last))


def ahead(road: RoadMap, lane: int, length: float, prefer: Sequence[int] = ()) -> list[int]:
    """Lanes from ``lane`` on, until ``length`` metres are covered or the map ends: preferred ones first, else the straightest."""
    path, covered, wanted = [lane], float(arc_lengths(road.centre_line(lane))[-1]), {int(i) for i in prefer}
    while covered < length:
        options = [to for to in successors_of(road, path[-1]) if to not in path]
        if not options:
            break
        path.append(min(options, key=lambda to: (to not in wanted, abs(turn_of(road, to)), to)))
        covered += float(arc_lengths(road.centre_line(path[-1]))[-1])
    return path


def join(road: RoadMap, lanes: Sequence[int]) -> Double:
    """The centre lines of consecutive lanes as one polyline [n, 2] without repeated points; empty [0, 2] for no lanes."""
    if not len(lanes):
        return np.zeros((0, 2))
    return drop_repeats(np.concatenate([road.centre_line(int(lane)) for lane in lanes]), 1e-3)


def route_line(world: World, beyond: float = 0.0) -> Double:
    """The route's centre line [n, 2] and ``beyond`` metres more along the lane graph after its last lane; [0, 2] for no route."""
    route = [int(lane) for lane in world.route]
    if route and beyond > 0.0:
        last = float(arc_lengths(world.map.centre_line(route[-1]))[-1])
        route += ahead(world.map, route[-1], last + beyond)[1:]
    return join(world.map, route)
