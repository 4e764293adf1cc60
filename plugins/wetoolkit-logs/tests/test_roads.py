"""Areas, neighbours, roadblocks and the surface of small maps made in code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from wetoolkit_driving.types import AreaKind
from wetoolkit_logs import roads
from wetoolkit_logs.window import pieces

Make = Callable[..., dict[str, Any]]


def built(features: dict[str, Any], nuscenes: bool = True, gap: float = 0.5) -> tuple[roads.Roads, Counter[str]]:
    counts: Counter[str] = Counter()
    return roads.build(features, nuscenes, 1.75, gap, counts), counts


def by_id(road: roads.Roads) -> dict[str, roads.Lane]:
    return {lane.id: lane for lane in road.lanes}


def test_connectors_are_widened_and_joined_by_their_ends(make: Make) -> None:
    road, counts = built(make()["map_features"])
    lanes = by_id(road)
    assert counts["lanes_widened_to_an_area"] == 2 and counts["speed_limits_made_up"] == 2
    assert lanes["r2"].kind == AreaKind.LANE_CONNECTOR and lanes["r1"].kind == AreaKind.LANE
    assert lanes["r2"].area.equals(shapely.box(100, -1.75, 120, 1.75))
    assert lanes["r2"].speed_limit == 0
    ways = {(lane.id, road.lanes[j].id) for lane in road.lanes for j in lane.next}
    assert ways == {("r1", "r2"), ("r2", "r3"), ("l1", "l2"), ("l2", "l3")}
    assert set(road.unavailable) == {"intersections", "speed_limits"}


def test_lanes_side_by_side_share_a_roadblock(make: Make) -> None:
    road, _ = built(make()["map_features"])
    lanes = by_id(road)
    assert road.lanes[lanes["r1"].left].id == "l1" and road.lanes[lanes["l1"].right].id == "r1"
    assert lanes["r1"].right == -1 and lanes["l1"].left == -1
    assert lanes["r1"].block == lanes["l1"].block != lanes["r3"].block == lanes["l3"].block
    kind, polygon = road.blocks[lanes["r1"].block]
    assert kind == AreaKind.ROADBLOCK
    assert polygon.symmetric_difference(shapely.box(-50, -1.75, 100, 5.25)).area < 1e-6
    assert lanes["r2"].block == lanes["l2"].block  # connectors between the same two roadblocks
    assert road.blocks[lanes["r2"].block][0] == AreaKind.ROADBLOCK_CONNECTOR


def test_oncoming_lanes_are_no_neighbours(make: Make) -> None:
    features = make()["map_features"]
    for name in ("l1", "l2", "l3"):
        features[name]["polyline"] = features[name]["polyline"][::-1]
    road, _ = built(features)
    assert all(lane.left == lane.right == -1 for lane in road.lanes)


def test_the_surface_is_where_an_odd_number_of_rings_surrounds(make: Make) -> None:
    features = make()["map_features"]
    features["boundary_1"] = {"type": "ROAD_LINE_SOLID_SINGLE_WHITE", "polyline": [[0, 6], [10, 6], [10, 9], [0, 9], [0, 6]]}
    features["boundary_2"] = {"type": "ROAD_LINE_SOLID_SINGLE_WHITE", "polyline": [[20, 0], [22, 0], [22, 2], [20, 2], [20, 0]]}
    road, counts = built(features)
    assert counts["surface_from_boundary_rings"] == 1
    inside = shapely.contains_xy(road.surface, [5, 21, 21, 15, 5], [7, 1, 3, 1, 5.5])
    np.testing.assert_array_equal(inside, [True, False, True, True, False])


def test_without_rings_gaps_between_lanes_are_closed_and_counted(make: Make) -> None:
    features = make()["map_features"]
    del features["boundary_0"]
    for name in ("l1", "l3"):
        features[name]["polygon"] = [[x, y + 0.3] for x, y in features[name]["polygon"]]  # a gap of 0.3 m
    road, counts = built(features)
    assert shapely.contains_xy(road.surface, 0, 1.9)
    assert counts["widened_drivable_area_m2"] == pytest.approx(0.3 * 330, abs=12)
    narrow, none = built(features, gap=0.0)
    assert not shapely.contains_xy(narrow.surface, 0, 1.9) and none["widened_drivable_area_m2"] == 0


def test_told_connections_win_over_end_points(make: Make) -> None:
    features = make()["map_features"]
    features["r1"]["exit_lanes"] = ["r2", "gone"]
    features["l3"]["entry_lanes"] = ["l2"]
    road, counts = built(features, nuscenes=False)
    ways = {(lane.id, road.lanes[j].id) for lane in road.lanes for j in lane.next}
    assert ways == {("r1", "r2"), ("l2", "l3")}
    assert counts["connections_from_end_points"] == 0


def waymo_features() -> dict[str, Any]:
    """Waymo's conventions: no polygons, widths per point, ids as numbers, crosswalks, driveways and stop signs."""
    line = np.stack([np.arange(50.0), np.zeros(50), np.zeros(50)], 1).astype(np.float32)
    return {
        "1": {"type": "LANE_SURFACE_STREET", "polyline": line, "interpolating": False, "entry_lanes": [], "exit_lanes": [2],
              "speed_limit_kmh": 36.0, "width": np.full((50, 2), 2.0, np.float32)},
        "2": {"type": "LANE_SURFACE_STREET", "polyline": line + np.array([49, 0, 0]), "interpolating": True, "entry_lanes": [1],
              "exit_lanes": [], "speed_limit_kmh": 36.0, "width": np.zeros((50, 2), np.float32)},
        "3": {"type": "ROAD_EDGE_BOUNDARY", "polyline": line + np.array([0, 3, 0])},
        "4": {"type": "STOP_SIGN", "lane": [2], "position": np.array([49.0, 2, 0])},
        "5": {"type": "CROSSWALK", "polygon": np.array([[60, -3, 0], [64, -3, 0], [64, 3, 0], [60, 3, 0]], np.float32)},
        "6": {"type": "DRIVEWAY", "polygon": np.array([[20, 2, 0], [25, 2, 0], [25, 8, 0], [20, 8, 0]], np.float32)},
        "7": {"type": "LANE_BIKE_LANE", "polyline": line + np.array([0, 5, 0])},
        "8": {"type": "CROSSWALK", "polyline": np.array([[80, -3], [84, -3], [84, 3], [80, 3]])},
        "9": {"type": "SPEED_BUMP", "polygon": np.zeros((4, 3))},
    }  # fmt: skip


def test_waymo_conventions() -> None:
    road, counts = built(waymo_features(), nuscenes=False)
    lanes = by_id(road)
    assert lanes["1"].kind == AreaKind.LANE and lanes["2"].kind == AreaKind.LANE_CONNECTOR
    assert lanes["1"].area.equals(shapely.box(0, -2, 49, 2)) and lanes["2"].area.bounds[1] == -1.75
    assert lanes["1"].speed_limit == pytest.approx(10.0)
    assert [road.lanes[j].id for j in lanes["1"].next] == ["2"]
    assert sorted((name, kind) for name, kind, _ in road.others) == [
        ("5", AreaKind.CROSSWALK), ("6", AreaKind.CARPARK), ("8", AreaKind.CROSSWALK)
    ]  # fmt: skip
    assert {k: n for k, n in counts.items() if k.startswith("map_features_not_used") and n} == {
        "map_features_not_used/road_edge_boundary": 1, "map_features_not_used/stop_sign": 1,
        "map_features_not_used/lane_bike_lane": 1, "map_features_not_used/speed_bump": 1,
    }  # fmt: skip
    assert set(road.unavailable) == {"intersections", "lane_areas"}
    assert shapely.contains_xy(road.surface, 22, 5)  # the driveway


def test_broken_features_are_mended_or_counted(make: Make) -> None:
    features = make()["map_features"]
    features["r1"]["polygon"] = [[-50, -1.75], [100, 1.75], [100, -1.75], [-50, 1.75]]  # a bow tie
    features["l1"]["polygon"] = [[0, 0], [1, 1]]
    features["dot"] = {"type": "LANE_FREEWAY", "polyline": [[1.0, 1.0], [1.0, 1.0]]}
    features["nan"] = {"type": "LANE_FREEWAY", "polyline": [[np.nan, 1.0], [1.0, 1.0]]}
    features["odd"] = "text"
    road, counts = built(features)
    assert counts["polygons_made_valid"] == 1 and counts["polygons_without_extent"] == 1
    assert counts["lanes_without_centre_line"] == 2 and counts["map_features_malformed"] == 1
    assert all(lane.area.is_valid and lane.area.area > 1 for lane in road.lanes)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(5, 90), st.floats(5, 90), st.floats(0.5, 15)), max_size=6))
def test_pieces_cover_a_shape_with_holes_and_not_its_holes(holes: list[tuple[float, float, float]]) -> None:
    shape = shapely.box(0, 0, 100, 100).difference(shapely.union_all([shapely.box(x, y, x + r, y + r) for x, y, r in holes]))
    parts = pieces(shape)
    assert all(part.is_valid and not part.interiors for part in parts)
    united = shapely.union_all(parts)
    assert united.symmetric_difference(shape).area < 0.02 * (len(holes) + 1)
    points = np.random.default_rng(0).uniform(0, 100, (500, 2))
    clear = ~shapely.contains_xy(shape.boundary.buffer(0.02), *points.T)
    strict = np.any([shapely.contains_xy(part, *points.T) for part in parts], axis=0)  # inside one piece, as the score asks
    np.testing.assert_array_equal(strict[clear], shapely.contains_xy(shape, *points.T)[clear])
