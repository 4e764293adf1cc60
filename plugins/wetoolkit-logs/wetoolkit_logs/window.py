"""Cuts worlds out of a scene: the tracks of one stretch of time and the map around the ego's path in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry
from wetoolkit_driving.geometry import project
from wetoolkit_driving.types import AreaKind, Ego, RoadMap, World

from wetoolkit_logs.motion import agents_of
from wetoolkit_logs.recording import DT, Track
from wetoolkit_logs.roads import Lane, Roads

Double = NDArray[np.float64]
SEAM = 0.01  # metres by which the two halves of a cut polygon overlap
SMALLEST = 0.01  # m^2: smaller pieces and holes are left out


@dataclass(frozen=True)
class SceneData:
    """A whole scene, repaired, in the file's frame: what windows are cut from."""

    scene: str
    dataset: str
    ego: Ego
    others: tuple[Track, ...]
    lights: Mapping[str, NDArray[np.uint8]]  # lane id -> [T] Signal
    roads: Roads
    route: tuple[int, ...]  # lanes, in order
    counts: Mapping[str, int]  # what was repaired
    begin: int = 0  # nanoseconds of the first step on the recording's own clock
    height: Double | None = None  # [T] of the ground under the ego, metres, where known


@dataclass(frozen=True)
class _Area:
    name: str
    kind: AreaKind
    polygon: shapely.Polygon
    on_route: bool = False


def cut(data: SceneData, now: int, history: int, future: int, radius: float) -> tuple[World, tuple[float, float, float]]:
    """The world of steps [now - history, now + future], map within ``radius`` metres of the ego's path, and its origin."""
    start, stop = now - history, now + future + 1
    states = data.ego.states[start:stop].copy()
    origin = states[history, :2].copy()  # the ego's place now, [2] metres in the file's frame
    path = states[:, :2].copy()
    frame = shapely.box(*(path.min(0) - radius), *(path.max(0) + radius))
    states[:, :2] -= origin
    inside = [i for i, lane in enumerate(data.roads.lanes) if lane.area.intersects(frame)]
    areas = _areas(data, inside, frame)
    route = _route(data, inside, path[0])
    missing = [*data.roads.unavailable, *([] if data.lights else ["signals"]), *([] if route else ["route"])]
    world = World(
        ego=Ego(states, data.ego.valid[start:stop].copy(), data.ego.vehicle),
        agents=agents_of(data.others, start, stop, origin),
        map=_road_map(data, inside, areas, origin),
        signals=np.array([codes[start:stop] for codes in data.lights.values()], np.uint8).reshape(len(data.lights), stop - start),
        route=np.array(route, np.int32),
        on_route=np.array([area.on_route for area in areas], bool),
        dt=DT,
        unavailable=tuple(dict.fromkeys(missing)),
    )
    height = 0.0 if data.height is None else float(data.height[now])
    return world, (float(origin[0]), float(origin[1]), height)


def _areas(data: SceneData, inside: Sequence[int], frame: BaseGeometry) -> list[_Area]:
    """Areas of the lanes (in their order), then their roadblocks, the surface and the rest."""
    roads = data.roads
    routed = {roads.lanes[i].block for i in data.route} - {-1}
    lanes = [roads.lanes[i] for i in inside]
    surface = pieces(roads.surface.intersection(frame))
    return [
        *(_Area(lane.id, lane.kind, lane.area, lane.block in routed) for lane in lanes),
        *(_Area(f"block/{b}", *roads.blocks[b], b in routed) for b in sorted({lane.block for lane in lanes} - {-1})),
        *(_Area(f"surface/{k}", AreaKind.ROADBLOCK, piece) for k, piece in enumerate(surface)),
        *(_Area(*other) for other in roads.others if other[2].intersects(frame)),
    ]


def _route(data: SceneData, inside: Sequence[int], begin: Double) -> list[int]:
    """The unbroken part of the route from the lane nearest to where the window begins, as indices into ``inside``."""
    row = {lane: k for k, lane in enumerate(inside)}
    if not data.route:
        return []
    aside = [_distance(data.roads.lanes[i], begin) if i in row else np.inf for i in data.route]
    route: list[int] = []
    for i in data.route[int(np.argmin(aside)) :]:
        if i not in row:
            break
        route.append(row[i])
    return route


def _distance(lane: Lane, place: Double) -> float:
    at, aside = project(lane.line, place)
    beyond = float(at) <= 0  # before its start: the lane before it is the nearer one
    return float(abs(aside)) + beyond


def _road_map(data: SceneData, inside: Sequence[int], areas: Sequence[_Area], origin: Double) -> RoadMap:
    lanes = [data.roads.lanes[i] for i in inside]
    row = {lane: k for k, lane in enumerate(inside)}
    at = {area.name: k for k, area in enumerate(areas) if area.name.startswith("block/")}
    signal = {name: k for k, name in enumerate(data.lights)}
    pairs = [(k, row[j]) for k, lane in enumerate(lanes) for j in lane.next if j in row]
    rings = [shapely.get_coordinates(area.polygon.exterior)[:-1] - origin for area in areas]
    lines = [lane.line - origin for lane in lanes]
    return RoadMap(
        area_ids=tuple(area.name for area in areas),
        area_kind=np.array([area.kind for area in areas], np.uint8),
        area_xy=_stacked(rings),
        area_offset=_offsets(rings),
        lane_ids=tuple(lane.id for lane in lanes),
        lane_xy=_stacked(lines),
        lane_offset=_offsets(lines),
        lane_area=np.arange(len(lanes), dtype=np.int32),
        lane_roadblock=np.array([at.get(f"block/{lane.block}", -1) for lane in lanes], np.int32),
        lane_left=np.array([row.get(lane.left, -1) for lane in lanes], np.int32),
        lane_right=np.array([row.get(lane.right, -1) for lane in lanes], np.int32),
        lane_speed_limit=np.array([lane.speed_limit for lane in lanes], np.float32),
        lane_signal=np.array([signal.get(lane.id, -1) for lane in lanes], np.int32),
        successors=np.array(pairs, np.int32).reshape(-1, 2),
    )


def _stacked(parts: Sequence[Double]) -> Double:
    return np.concatenate([np.empty((0, 2)), *parts])


def _offsets(parts: Sequence[Double]) -> NDArray[np.int32]:
    return np.cumsum([0, *map(len, parts)], dtype=np.int32)


def pieces(shape: BaseGeometry) -> list[shapely.Polygon]:
    """A shape as polygons without holes: those with holes are cut through them, the halves overlapping by 2 cm."""
    return [piece for part in shapely.get_parts(shape) if part.geom_type == "Polygon" for piece in _without_holes(part)]


def _without_holes(polygon: shapely.Polygon) -> Iterator[shapely.Polygon]:
    if polygon.area < SMALLEST:
        return
    holes = [hole for hole in polygon.interiors if shapely.Polygon(hole).area >= SMALLEST]
    if not holes:
        yield shapely.Polygon(polygon.exterior)
        return
    left, bottom, right, top = polygon.bounds
    low, _, high, _ = max(holes, key=lambda hole: shapely.Polygon(hole).area).bounds
    middle = (low + high) / 2
    for side in (shapely.box(left, bottom, middle + SEAM, top), shapely.box(middle - SEAM, bottom, right, top)):
        for part in shapely.get_parts(polygon.intersection(side)):
            if part.geom_type == "Polygon":
                yield from _without_holes(part)
