"""A town as the driving domain's RoadMap, and the part of it around a place.

Drivable (what the PDM scorer asks) are the ROADBLOCK of each carriageway, with 0.3 m of gutter, and the INTERSECTION of each
junction (where only two roads meet it is a ROADBLOCK: a bend). The limit of a way across a
junction is the speed advised there. Parking strips, cycle tracks and pavements are not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import shapely
import shapely.ops
from numpy.typing import NDArray
from shapely.geometry import LineString, Polygon
from wetoolkit_driving.types import AreaKind, RoadMap

from wetoolkit_minitown.curves import beside, resample
from wetoolkit_minitown.network import cap
from wetoolkit_minitown.town import CAR, CAR_LINK, CROSSING_HALF, LANE, NEVER, PAVEMENT, Town

Double = NDArray[np.float64]
Int = NDArray[np.int64]

GUTTER = 0.3  # metres of carriageway beyond the outer lane
SWING = 2.9  # metres on both sides of a way across a junction that may be driven on
FINE = 0.02  # metres that a simplified outline may be off


@dataclass(frozen=True)
class TownMap:
    """The whole town's RoadMap and what is needed to cut from it."""

    map: RoadMap
    lane_of: Int  # [K] track -> lane of the map, -1 for cycle tracks
    block_members: Int  # [P] for roadblocks and their lanes: index of the roadblock, else -1


@dataclass(frozen=True)
class _Area:
    name: str
    kind: AreaKind
    ring: Double


def build_map(town: Town) -> TownMap:
    """Polygons and lane graph of a town."""
    areas: list[_Area] = []
    where: dict[str, int] = {}
    for area in (*_carriageways(town), *_junctions(town), *_footways(town)):
        where[area.name] = len(areas)
        areas.append(area)
    cars = [k for k, t in enumerate(town.tracks) if t.kind in (CAR, CAR_LINK)]
    lane_of = np.full(len(town.tracks), NEVER, np.int64)
    lane_of[cars] = np.arange(len(cars))
    lane_area = np.array([where[lane_name(town, k)] for k in cars], np.int32)
    block = np.array([where[block_name(town, k)] for k in cars], np.int32)
    lines = [resample(town.tracks[k].xy, 2.0 if town.tracks[k].kind == CAR else 1.0) for k in cars]
    members = np.full(len(areas), NEVER, np.int64)
    members[lane_area], members[block] = block, block
    rings = [a.ring for a in areas]
    links = [k for k in cars if town.tracks[k].kind == CAR_LINK]
    pairs = [p for k in links for p in ((town.tracks[k].origin, k), (k, town.tracks[k].target))]
    road_map = RoadMap(
        area_ids=tuple(a.name for a in areas),
        area_kind=np.array([a.kind for a in areas], np.uint8),
        area_xy=np.vstack(rings),
        area_offset=_offsets(rings),
        lane_ids=tuple(lane_name(town, k) for k in cars),
        lane_xy=np.vstack(lines),
        lane_offset=_offsets(lines),
        lane_area=lane_area,
        lane_roadblock=block,
        lane_left=_neighbours(town, cars, lane_of, -1),
        lane_right=_neighbours(town, cars, lane_of, 1),
        lane_speed_limit=np.array(
            [cap(town.tracks[k]) if town.tracks[k].kind == CAR_LINK else town.tracks[k].limit for k in cars], np.float32
        ),
        lane_signal=np.array([town.tracks[k].signal for k in cars], np.int32),
        successors=lane_of[np.array(pairs, np.int64)].astype(np.int32),
    )
    road_map.validate()
    return TownMap(road_map, lane_of, members)


def lane_name(town: Town, k: int) -> str:
    """Id of the lane or connector of a track."""
    t = town.tracks[k]
    if t.kind == CAR:
        return f"road{t.road}.{'ab'[t.direction]}.lane{t.lane}"
    return f"junction{t.node}.{t.arms[0]}-{t.arms[1]}.lane{t.lane}"


def block_name(town: Town, k: int) -> str:
    """Id of the roadblock (connector) that a track belongs to."""
    return lane_name(town, k).rsplit(".", 1)[0]


def _offsets(parts: list[Double]) -> NDArray[np.int32]:
    return np.concatenate([[0], np.cumsum([len(p) for p in parts])]).astype(np.int32)


def _neighbours(town: Town, cars: list[int], lane_of: Int, step: int) -> NDArray[np.int32]:
    at = {(t.road, t.direction, t.lane): k for k, t in enumerate(town.tracks) if t.kind == CAR}
    keys = [(t.road, t.direction, t.lane + step) if t.kind == CAR else None for t in (town.tracks[k] for k in cars)]
    return np.array([lane_of[at[key]] if key in at else NEVER for key in keys], np.int32)


def _band(line: Double, left: float, right: float) -> Double:
    """Ring of the strip between two distances to the right of a line."""
    sides = [np.asarray(LineString(beside(line, d)).simplify(FINE).coords) for d in (left, right)]
    return np.vstack([sides[0], sides[1][::-1]])


def _ring(shape: shapely.Geometry) -> Double:
    """Outer ring, not closed, of a polygon (of the largest where there are several)."""
    polygon = max(shape.geoms, key=lambda part: part.area) if hasattr(shape, "geoms") else shape
    return np.asarray(polygon.simplify(FINE).exterior.coords)[:-1]


def _carriageways(town: Town) -> Iterator[_Area]:
    for r, road in enumerate(town.roads):
        for direction, line in enumerate((road.line, road.line[::-1])):
            yield _Area(f"road{r}.{'ab'[direction]}", AreaKind.ROADBLOCK, _band(line, -0.05, road.lanes * LANE + GUTTER))
            for j in range(road.lanes):
                yield _Area(f"road{r}.{'ab'[direction]}.lane{j}", AreaKind.LANE, _band(line, j * LANE, (j + 1) * LANE))


def _junctions(town: Town) -> Iterator[_Area]:
    for n, arms in enumerate(town.arms):
        links = [k for k, t in enumerate(town.tracks) if t.kind == CAR_LINK and t.node == n]
        wide = [LineString(town.tracks[k].xy).buffer(SWING, cap_style="square") for k in links]
        whole = shapely.union_all(wide).buffer(2.0).buffer(-2.0)
        kind = AreaKind.ROADBLOCK if len(arms) == 2 else AreaKind.INTERSECTION
        yield _Area(f"junction{n}", kind, _ring(Polygon(_ring(whole))))
        blocks: dict[str, list[int]] = {}
        for k in links:
            blocks.setdefault(block_name(town, k), []).append(k)
            yield _Area(lane_name(town, k), AreaKind.LANE_CONNECTOR, _band(town.tracks[k].xy, -LANE / 2, LANE / 2))
        for name, members in blocks.items():
            parts = [LineString(town.tracks[k].xy).buffer(LANE / 2 + 0.05, cap_style="flat") for k in members]
            yield _Area(name, AreaKind.ROADBLOCK_CONNECTOR, _ring(shapely.union_all(parts)))


def _footways(town: Town) -> Iterator[_Area]:
    for i, walk in enumerate(town.walks):
        if walk.node == NEVER:
            yield _Area(f"walk{i}", AreaKind.WALKWAY, _ring(LineString(walk.xy).buffer(PAVEMENT / 2, cap_style="flat")))
        else:
            trim = PAVEMENT / 2 + 0.2
            line = LineString(walk.xy)
            inner = shapely.ops.substring(line, trim, line.length - trim)
            yield _Area(f"crossing{i}", AreaKind.CROSSWALK, _ring(inner.buffer(CROSSING_HALF, cap_style="flat")))


@dataclass(frozen=True)
class Cut:
    """A part of a town's map, its coordinates moved, and where its rows come from."""

    map: RoadMap
    areas: Int  # [P] areas of the whole map
    lanes: Int  # [L] lanes of the whole map
    signals: Int  # [S] rows of the town's signal table


def cut_map(whole: TownMap, centre: Double, radius: float, keep: Int, origin: Double) -> Cut:
    """What lies within ``radius`` metres of ``centre`` [2], and the lanes ``keep`` in any case, relative to ``origin`` [2]."""
    m = whole.map
    lane_near = np.minimum.reduceat(np.hypot(*(m.lane_xy - centre).T), m.lane_offset[:-1]) <= radius
    lane_near[keep] = True
    area_near = np.minimum.reduceat(np.hypot(*(m.area_xy - centre).T), m.area_offset[:-1]) <= radius
    area_near[m.lane_area[lane_near]] = True
    area_near[m.lane_roadblock[lane_near]] = True
    lanes, areas = np.flatnonzero(lane_near), np.flatnonzero(area_near)
    lane_row, area_row = _rows(lane_near), _rows(area_near)
    signals, signal = np.unique(m.lane_signal[lanes], return_inverse=True)
    unruled = int(len(signals) > 0 and signals[0] < 0)
    lane_xy, lane_offset = _take(m.lane_xy, m.lane_offset, lanes)
    area_xy, area_offset = _take(m.area_xy, m.area_offset, areas)
    linked = m.successors[lane_near[m.successors].all(1)]
    part = RoadMap(
        tuple(m.area_ids[i] for i in areas), m.area_kind[areas], area_xy - origin, area_offset,
        tuple(m.lane_ids[i] for i in lanes), lane_xy - origin, lane_offset,
        area_row[m.lane_area[lanes]], area_row[m.lane_roadblock[lanes]],
        _renamed(lane_row, m.lane_left[lanes]), _renamed(lane_row, m.lane_right[lanes]),
        m.lane_speed_limit[lanes], (signal - unruled).astype(np.int32), lane_row[linked],
    )  # fmt: skip
    return Cut(part, areas, lanes, signals[unruled:].astype(np.int64))


def _rows(kept: NDArray[np.bool_]) -> NDArray[np.int32]:
    """[n] new index of each kept item, -1 for the others."""
    return np.where(kept, np.cumsum(kept) - 1, NEVER).astype(np.int32)


def _renamed(rows: NDArray[np.int32], index: NDArray[np.int32]) -> NDArray[np.int32]:
    return np.where(index >= 0, rows[index], NEVER).astype(np.int32)


def _take(xy: Double, offset: NDArray[np.int32], items: Int) -> tuple[Double, NDArray[np.int32]]:
    """The points of some items of a ragged array."""
    count = np.diff(offset)[items]
    ends = np.cumsum(count)
    at = np.arange(ends[-1] if len(ends) else 0) + np.repeat(offset[items] - ends + count, count)
    return xy[at], np.concatenate([[0], ends]).astype(np.int32)
