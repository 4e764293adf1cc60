"""A town as the layers of a nuPlan map: lanes, connectors, their boundaries and baselines, roadblocks, intersections, areas."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from wetoolkit_driving.types import AreaKind

from wetoolkit_logs.nuplan.schema import AREA_LAYERS, OWN_AREAS
from wetoolkit_logs.nuplan.towns import Town

Int = NDArray[np.int64]
Shapes = NDArray[Any]  # of shapely geometries
Columns = dict[str, NDArray[Any]]  # column -> [n]; "geometry" holds Shapes
HALF_WIDTH = 1.75  # metres: of lanes that have no polygon
STOP = 0.4  # metres along the lane, of stop lines that are made
LIGHT, UNKNOWN = 2, 5  # the devkit's types of stop lines: TRAFFIC_LIGHT, UNKNOWN
ON_STOP_LINE = 3.0  # metres from a stop line to the beginning of the connector that it holds up


def layers_of(town: Town) -> dict[str, Columns]:
    """Layer -> columns of one town."""
    road, connector = town.road, town.connector
    lines = np.array([shapely.LineString(road.centre_line(k)) for k in range(road.lanes)], object)
    rings = np.array([shapely.Polygon(road.area(k)) for k in range(len(road.area_ids))], object)
    bare = shapely.buffer(lines, HALF_WIDTH, cap_style="flat")
    bodies = np.where(road.lane_area < 0, bare, np.append(rings, None)[road.lane_area])
    crossing, made = _intersections(town, lines, rings)
    columns = _lanes(town, lines, rings, crossing)
    flat, over = np.flatnonzero(~connector), np.flatnonzero(connector)
    lane_names = ("lane_fid", "lane_group_fid", "lane_index", "left_boundary_fid", "right_boundary_fid")
    link_names = (
        "exit_lane_fid", "entry_lane_fid", "lane_group_connector_fid", "intersection_fid", "traffic_light_stop_line_fids",
        "exit_lane_group_fid", "entry_lane_group_fid",
    )  # fmt: skip
    said = ("fid", "speed_limit_mps", "name", "area_name")
    layers: dict[str, Columns] = {
        "lanes_polygons": {name: columns[name][flat] for name in (*said, *lane_names)} | {"geometry": bodies[flat]},
        "lane_connectors": {name: columns[name][over] for name in (*said, *link_names)} | {"geometry": lines[over]},
        "gen_lane_connectors_scaled_width_polygons": {
            "fid": town.extra_fid(6, over), "lane_connector_fid": columns["fid"][over],
            "left_boundary_fid": columns["left_boundary_fid"][over], "right_boundary_fid": columns["right_boundary_fid"][over],
            "geometry": bodies[over],
        },
        "baseline_paths": _baselines(town, lines),
        "boundaries": _boundaries(town, lines, bodies),
        "road_segments": _segments(town, rings, bodies),
    }  # fmt: skip
    layers |= _areas(town, rings, bodies, made)
    _add_stops(layers, town, lines, bodies)
    _complete(layers)
    return layers


def _lanes(town: Town, lines: Shapes, rings: Shapes, crossing: Int) -> Columns:
    """[L] of every column that lanes or connectors have."""
    road, block, lanes = town.road, town.block_fid, np.arange(town.road.lanes)
    exits, entries = through(town)
    left, right = _boundary_fids(town)
    return {
        "fid": town.lane_fid(lanes),
        "lane_fid": town.lane_fid(lanes),
        "lane_group_fid": block,
        "lane_group_connector_fid": block,
        "lane_index": _lane_index(town),
        "left_boundary_fid": left,
        "right_boundary_fid": right,
        "speed_limit_mps": np.where(road.lane_speed_limit > 0, road.lane_speed_limit, np.nan).astype(np.float64),
        "exit_lane_fid": np.where(exits >= 0, town.lane_fid(exits), -1),
        "entry_lane_fid": np.where(entries >= 0, town.lane_fid(entries), -1),
        "exit_lane_group_fid": np.where(exits >= 0, block[exits], -1),
        "entry_lane_group_fid": np.where(entries >= 0, block[entries], -1),
        "intersection_fid": crossing,
        "traffic_light_stop_line_fids": _stop_lines(town, lines, rings),
        "name": np.array(road.lane_ids, object),
        "area_name": np.append(np.array(road.area_ids, object), "")[road.lane_area],
    }


def through(town: Town) -> tuple[Int, Int]:
    """([L], [L]) for each connector the lane it leaves and the one it enters, -1 where there is none."""
    connector = town.connector
    exits, entries = np.full((2, town.road.lanes), -1, np.int64)
    for a, b in town.road.successors.tolist():
        if connector[b] and not connector[a]:
            exits[b] = a
        if connector[a] and not connector[b]:
            entries[a] = b
    return exits, entries


def unsaid_links(town: Town) -> Int:
    """[n, 2] lane fids of successions that nuPlan cannot say: it has lane, connector, lane only, one way through a connector."""
    connector = town.connector
    exits, entries = through(town)
    a, b = town.road.successors.astype(np.int64).reshape(-1, 2).T
    said = np.where(connector[b], (exits[b] == a) & ~connector[a], connector[a] & (entries[a] == b))
    return town.lane_fid(np.stack([a, b], 1)[~said])


def _baselines(town: Town, lines: Shapes) -> Columns:
    lanes = np.arange(town.road.lanes)
    fid = town.lane_fid(lanes)
    return {
        "fid": town.extra_fid(1, lanes),
        "lane_fid": np.where(town.connector, np.nan, fid),
        "lane_connector_fid": np.where(town.connector, fid, np.nan),
        "geometry": lines,
    }


def _lane_index(town: Town) -> NDArray[np.int32]:
    """[L] how many lanes of its direction are left of each."""
    road = town.road
    index = np.zeros(road.lanes, np.int32)
    for lane in range(road.lanes):
        seen, at = {lane}, int(road.lane_left[lane])
        while at >= 0 and at not in seen:
            seen.add(at)
            at = int(road.lane_left[at])
        index[lane] = len(seen) - 1
    return index


def _boundary_fids(town: Town) -> tuple[Int, Int]:
    """([L], [L]) left and right; neighbours share the one between them."""
    lanes, beside = np.arange(town.road.lanes), town.road.lane_left
    right = town.extra_fid(3, lanes)
    return np.where(beside >= 0, right[beside], town.extra_fid(2, lanes)), right


def _boundaries(town: Town, lines: Shapes, bodies: Shapes) -> Columns:
    """Centre lines moved to both sides by half of the lane's mean width."""
    lanes = np.arange(town.road.lanes)
    half = _half_width(lines, bodies)
    sides = [np.array([_beside(town.road.centre_line(k), sign * half[k]) for k in lanes], object) for sign in (1, -1)]
    free = np.flatnonzero(town.road.lane_left < 0)
    fids = np.concatenate([town.extra_fid(2, free), town.extra_fid(3, lanes)])
    shapes = np.concatenate([sides[0][free], sides[1]])
    return {"fid": fids, "boundary_type_fid": np.zeros(len(fids), np.int32), "geometry": shapes}


def _half_width(lines: Shapes, bodies: Shapes) -> NDArray[np.float64]:
    """[L] metres, of the lanes' mean widths."""
    return np.clip(shapely.area(bodies) / np.maximum(shapely.length(lines), 0.1) / 2, 0.5, 5.0)


def _beside(line: NDArray[np.float64], distance: float) -> shapely.LineString:
    along = np.gradient(line, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], 1) / np.maximum(np.hypot(*along.T), 1e-9)[:, None]
    return shapely.LineString(line + distance * normal)


def _intersections(town: Town, lines: Shapes, rings: Shapes) -> tuple[Int, NDArray[np.intp]]:
    """([L] fid of the intersection that each lane's middle is in, connectors for which one must be made)."""
    areas = np.flatnonzero(town.road.area_kind == AreaKind.INTERSECTION)
    found, made = town.extra_fid(4, np.arange(len(lines))), town.connector.copy()
    if len(areas):
        middle = shapely.line_interpolate_point(lines, 0.5, normalized=True)
        lane, area = shapely.STRtree(rings[areas]).query_nearest(middle, max_distance=1.0, all_matches=False)
        found[lane] = town.area_fid(areas[area])
        made[lane] = False
    return found, np.flatnonzero(made)


def _stop_lines(town: Town, lines: Shapes, rings: Shapes) -> Shapes:
    """[L] fids of the stop lines before each lane with a signal, as text."""
    areas = np.flatnonzero(town.road.area_kind == AreaKind.STOP_LINE)
    words: list[list[str]] = [[] for _ in lines]
    if len(areas):
        start = shapely.get_point(lines, 0)
        lane, area = shapely.STRtree(rings[areas]).query(start, predicate="dwithin", distance=ON_STOP_LINE)
        for k, fid in zip(lane.tolist(), town.area_fid(areas[area]).tolist(), strict=True):
            if town.road.lane_signal[k] >= 0:
                words[k].append(str(fid))
    return np.array([",".join(sorted(fids)) for fids in words], object)


def _areas(town: Town, rings: Shapes, bodies: Shapes, made: NDArray[np.intp]) -> dict[str, Columns]:
    """The area layers: the town's own, and those that a nuPlan map must have besides (``derived``)."""
    road, connector = town.road, town.connector
    alone = np.flatnonzero(road.lane_roadblock < 0)
    more = {
        AreaKind.ROADBLOCK: (5, alone[~connector[alone]]),
        AreaKind.ROADBLOCK_CONNECTOR: (5, alone[connector[alone]]),
        AreaKind.INTERSECTION: (4, made),
    }
    layers: dict[str, Columns] = {}
    for kind, layer in AREA_LAYERS.items():
        at = np.flatnonzero(road.area_kind == kind)
        block, lanes = more.get(kind, (0, np.zeros(0, np.intp)))
        layers[layer] = {
            "fid": np.concatenate([town.area_fid(at), town.extra_fid(block, lanes)]),
            "name": np.array([*(road.area_ids[k] for k in at), *("" for _ in lanes)], object),
            "derived": np.repeat(np.array([0, 1], np.int32), [len(at), len(lanes)]),
            "geometry": np.concatenate([rings[at], bodies[lanes]]),
        }
    kinds = np.isin(road.area_kind, (AreaKind.LANE, AreaKind.LANE_CONNECTOR))
    at = np.flatnonzero(kinds & ~np.isin(np.arange(len(rings)), road.lane_area))  # lane polygons of no lane
    layers[OWN_AREAS] = {
        "fid": town.area_fid(at), "kind": road.area_kind[at].astype(np.int32),
        "name": np.array([road.area_ids[k] for k in at], object), "geometry": rings[at],
    }  # fmt: skip
    return layers


def _add_stops(layers: dict[str, Columns], town: Town, lines: Shapes, bodies: Shapes) -> None:
    """A stop line for each connector with a signal that has none: the devkit's agents pass at red where there is no stop line."""
    words, stops = layers["lane_connectors"]["traffic_light_stop_line_fids"], layers["stop_polygons"]
    over = np.flatnonzero(town.connector)
    bare = np.flatnonzero((town.road.lane_signal[over] >= 0) & (words == ""))
    lanes = over[bare]
    fids = town.stop_fid(lanes)
    words[bare] = fids.astype(str)
    half = _half_width(lines[lanes], bodies[lanes])
    shapes = np.array([_across(town.road.centre_line(k), width) for k, width in zip(lanes, half, strict=True)], object)
    more = {"fid": fids, "name": np.full(len(lanes), "", object), "derived": np.ones(len(lanes), np.int32), "geometry": shapes}
    for name, column in more.items():
        stops[name] = np.concatenate([stops[name], column])


def _across(line: NDArray[np.float64], half: float) -> shapely.Polygon:
    """``STOP`` metres before the beginning of a centre line, ``half`` a width to both sides."""
    ahead = line[np.argmax((line != line[0]).any(1))] - line[0]
    ahead = ahead / max(np.hypot(*ahead), 1e-9)
    aside = half * np.array([-ahead[1], ahead[0]])
    back = line[0] - STOP * ahead
    return shapely.Polygon([line[0] + aside, back + aside, back - aside, line[0] - aside])


def _segments(town: Town, rings: Shapes, bodies: Shapes) -> Columns:
    """Roads once more: what the devkit calls drivable are these, intersections, car parks and generic drivable areas."""
    road = town.road
    alone = (road.lane_roadblock < 0) & ~town.connector
    shapes = np.concatenate([rings[road.area_kind == AreaKind.ROADBLOCK], bodies[alone]])
    return {"fid": town.extra_fid(7, np.arange(len(shapes))), "geometry": shapes}


def _complete(layers: dict[str, Columns]) -> None:
    """The columns that only some kinds of area have."""
    links, joints = layers["lane_connectors"], layers["lane_group_connectors"]
    row = {int(fid): k for k, fid in enumerate(links["lane_group_connector_fid"])}
    at = np.array([row.get(int(fid), -1) for fid in joints["fid"]], np.int64)
    for name, source in (
        ("from_lane_group_fid", "exit_lane_group_fid"), ("to_lane_group_fid", "entry_lane_group_fid"),
        ("intersection_fid", "intersection_fid"),
    ):  # fmt: skip
        joints[name] = np.append(links[source], -1)[at].astype(np.int64)
    for name in ("intersection_type_fid", "is_mini"):
        layers["intersections"][name] = np.zeros(len(layers["intersections"]["fid"]), np.int32)
    lit = [int(fid) for words in links["traffic_light_stop_line_fids"] for fid in words.split(",") if fid]
    stops = layers["stop_polygons"]
    stops["stop_polygon_type_fid"] = np.where(np.isin(stops["fid"], lit), LIGHT, UNKNOWN).astype(np.int32)
