"""Routes on small lane graphs where the right answer is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from wetoolkit_logs import route
from wetoolkit_logs.roads import build

Make = Callable[..., dict[str, Any]]


def lanes_of(make: Make) -> Any:
    from collections import Counter

    return build(make()["map_features"], True, 1.75, 0.5, Counter()).lanes


def poses(xy: Any) -> Any:
    xy = np.asarray(xy, float)
    step = np.gradient(xy, axis=0)
    return np.concatenate([xy, np.arctan2(step[:, 1], step[:, 0])[:, None]], 1)


def names(sequence: Any, lanes: Any) -> list[str]:
    return [lanes[i].id for i in sequence]


def test_a_straight_drive(make: Make) -> None:
    lanes = lanes_of(make)
    x = np.arange(0, 200, 0.8)
    noise = np.random.default_rng(0).normal(0, 0.3, len(x))
    driven = route.match(np.stack([x, noise, noise / 10], 1), lanes)
    assert names(driven, lanes) == ["r1", "r2", "r3"]
    assert names(route.joined(driven, lanes), lanes) == ["r1", "r2", "r3"]


def test_a_lane_change_leads_to_the_lane_one_ends_on(make: Make) -> None:
    lanes = lanes_of(make)
    x = np.arange(0, 200, 0.8)
    y = 3.5 / (1 + np.exp(-(x - 50) / 5))
    driven = route.match(poses(np.stack([x, y], 1)), lanes)
    assert names(driven, lanes) == ["r1", "l1", "l2", "l3"]
    assert names(route.joined(driven, lanes), lanes) == ["l1", "l2", "l3"]


def test_a_late_lane_change_moves_the_lanes_before_it(make: Make) -> None:
    lanes = lanes_of(make)
    x = np.arange(0, 250, 0.8)
    y = 3.5 / (1 + np.exp(-(x - 170) / 5))
    driven = route.match(poses(np.stack([x, y], 1)), lanes)
    assert names(driven, lanes) == ["r1", "r2", "r3", "l3"]
    assert names(route.joined(driven, lanes), lanes) == ["l1", "l2", "l3"]


def test_standing_still_off_the_road_and_against_the_lane(make: Make) -> None:
    lanes = lanes_of(make)
    assert names(route.match(np.zeros((50, 3)), lanes), lanes) == ["r1"]
    assert route.match(np.full((5, 3), 500.0), lanes) == []
    assert route.match(poses(np.stack([np.arange(80, 0, -0.8), np.zeros(100)], 1)), lanes) == []
    assert route.match(np.zeros((5, 3)), []) == []


def test_routes_go_on_and_end_with_the_graph(make: Make) -> None:
    lanes = lanes_of(make)
    start = [lane.id for lane in lanes].index("r1")
    assert names(route.extended([start], lanes, 150.0), lanes) == ["r1", "r2", "r3"]
    assert names(route.extended([start], lanes, 10.0), lanes) == ["r1", "r2"]
    assert route.extended([], lanes) == []


def test_the_extension_goes_straight_where_it_can(make: Make) -> None:
    from collections import Counter

    features = make()["map_features"]
    angle = np.linspace(0, np.pi / 2, 20)
    features["a-turn"] = {
        "type": "LANE_SURFACE_STREET",
        "polyline": np.stack([100 + 15 * np.sin(angle), 15 * np.cos(angle) - 15], 1),
    }
    lanes = build(features, True, 1.75, 0.5, Counter()).lanes
    start = [lane.id for lane in lanes].index("r1")
    assert {lanes[j].id for j in lanes[start].next} == {"r2", "a-turn"}
    assert names(route.extended([start], lanes, 10.0), lanes) == ["r1", "r2"]
