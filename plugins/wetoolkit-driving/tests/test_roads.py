"""The lane graph against shapely and by hand."""

from __future__ import annotations

import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from wetoolkit_driving.geometry import arc_lengths
from wetoolkit_driving.roads import ahead, join, lanes_at, nearest_lane, route_line, successors_of, turn_of
from wetoolkit_driving.testing import crossing_map, straight_map, straight_world

CROSSING, STRAIGHT = crossing_map(), straight_map()


def lane(name: str) -> int:
    return CROSSING.lane_ids.index(name)


@given(x=st.floats(-60, 120), y=st.floats(-60, 60))
@settings(max_examples=60, deadline=None)
def test_the_nearest_lane_is_shapelys(x: float, y: float) -> None:
    found, s, distance = nearest_lane(CROSSING, np.array([x, y, 0.0]), max_turn=np.pi, reach=1e3)
    lines = [shapely.LineString(CROSSING.centre_line(i)) for i in range(CROSSING.lanes)]
    distances = [line.distance(shapely.Point(x, y)) for line in lines]
    assert abs(distance - min(distances)) < 1e-9
    place = lines[found].interpolate(s)
    assert abs(place.distance(shapely.Point(x, y)) - distance) < 1e-6


def test_the_nearest_lane_runs_the_way_of_the_pose() -> None:
    oncoming = CROSSING.centre_line(lane("out2")).mean(0)
    assert nearest_lane(CROSSING, np.array([*oncoming, np.pi]))[0] == lane("out2")
    assert nearest_lane(CROSSING, np.array([*oncoming, 0.0]))[0] == lane("in0")
    assert nearest_lane(CROSSING, np.array([500.0, 0.0, 0.0]))[0] == -1


def test_lanes_at_a_place() -> None:
    assert lanes_at(STRAIGHT, np.array([0.0, 3.5])) == [STRAIGHT.lane_ids.index("l1.1")]
    assert lanes_at(STRAIGHT, np.array([0.0, 30.0])) == []


def test_ahead_prefers_the_route_then_the_straightest() -> None:
    assert ahead(CROSSING, lane("in0"), 400.0) == [lane("in0"), lane("straight0"), lane("out0")]
    assert ahead(CROSSING, lane("in0"), 400.0, prefer=[lane("left0")]) == [lane("in0"), lane("left0"), lane("out1")]
    assert ahead(CROSSING, lane("in0"), 1.0) == [lane("in0")]
    assert set(successors_of(CROSSING, lane("in0"))) == {lane("straight0"), lane("right0"), lane("left0")}


def test_turns() -> None:
    assert abs(turn_of(CROSSING, lane("straight1"))) < 1e-9
    assert turn_of(CROSSING, lane("left0")) > 1.2
    assert turn_of(CROSSING, lane("right3")) < -1.2


def test_the_route_line_is_joined_and_goes_on() -> None:
    world = straight_world()
    assert abs(arc_lengths(route_line(world))[-1] - 400.0) < 1e-9
    short = straight_world()
    object.__setattr__(short, "route", short.route[:1])
    assert abs(arc_lengths(route_line(short))[-1] - 100.0) < 1e-9
    assert arc_lengths(route_line(short, 60.0))[-1] >= 160.0
    assert join(world.map, []).shape == (0, 2)
