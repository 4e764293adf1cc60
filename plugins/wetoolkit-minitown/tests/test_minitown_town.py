"""Towns: connected, drivable, and the same for the same seed."""

import numpy as np
import pytest
import shapely
from shapely import LineString
from wetoolkit_driving.types import AreaKind
from wetoolkit_minitown.curves import bend, heading
from wetoolkit_minitown.network import build_net
from wetoolkit_minitown.place import Place
from wetoolkit_minitown.roadmap import build_map, cut_map
from wetoolkit_minitown.town import BIKE_LINK, CAR, CAR_LINK, YELLOW, build_town, signal_table

SEEDS = range(6)


@pytest.fixture(scope="module", params=SEEDS)
def place(request: pytest.FixtureRequest) -> Place:
    return Place.build("town", (7, request.param))


def test_an_arc_is_met_where_one_fits() -> None:
    # A quarter circle of 10 m about (0, 10): a cubic Bezier with the usual handle is off by less than 3e-4 of the radius.
    curve = bend(np.zeros(2), 0.0, np.array([10.0, 10.0]), np.pi / 2)
    assert np.abs(np.hypot(curve[:, 0], curve[:, 1] - 10.0) - 10.0).max() < 0.01


def test_equal_seeds_build_equal_towns() -> None:
    one, two, other = (build_town(np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert all(np.array_equal(a.xy, b.xy) for a, b in zip(one.tracks, two.tracks, strict=True))
    assert np.array_equal(one.parked, two.parked)
    assert not np.array_equal(one.nodes, other.nodes)


def test_every_track_leads_on_and_joins_smoothly(place: Place) -> None:
    net, tracks = place.net, place.town.tracks
    assert (np.diff(net.follow_offset) >= 1).all()
    for k, track in enumerate(tracks):
        for n in net.follow[net.follow_offset[k] : net.follow_offset[k + 1]]:
            assert np.allclose(track.xy[-1], tracks[n].xy[0], atol=1e-6)
            turn = heading(tracks[n].xy)[0] - heading(track.xy)[-1]
            assert abs((turn + np.pi) % (2 * np.pi) - np.pi) < 0.12


def test_conflicts_are_mutual_and_of_one_junction(place: Place) -> None:
    net, tracks = place.net, place.town.tracks
    pairs = {(k, int(n)) for k in range(len(tracks)) for n in net.conflict[net.conflict_offset[k] : net.conflict_offset[k + 1]]}
    assert pairs
    assert pairs == {(b, a) for a, b in pairs}
    assert all(tracks[a].node == tracks[b].node and tracks[a].origin != tracks[b].origin for a, b in pairs)


def test_crossing_ways_conflict(place: Place) -> None:
    """Any two ways across a junction whose lines cross, by shapely, are never lent out at once."""
    net, tracks = place.net, place.town.tracks
    links = [k for k, t in enumerate(tracks) if t.kind in (CAR_LINK, BIKE_LINK)]
    for a in links:
        mine = set(net.conflict[net.conflict_offset[a] : net.conflict_offset[a + 1]].tolist())
        for b in links:
            if tracks[a].node == tracks[b].node and tracks[a].origin != tracks[b].origin:
                crosses = shapely.LineString(tracks[a].xy).crosses(shapely.LineString(tracks[b].xy))
                assert not crosses or b in mine


def test_signals_of_one_junction_exclude_each_other(place: Place) -> None:
    table = signal_table(place.town, 2000, 0.1, 12.3)
    assert ((table[::2] == 3) | (table[1::2] == 3)).all()
    assert (table == 1).any(1).all()
    yellow = np.diff(np.flatnonzero(np.diff((table == 2).astype(int), axis=1).any(0)))
    assert len(table) == 0 or YELLOW > 0 < len(yellow)


def test_lanes_lie_in_their_areas_and_on_drivable_ground(place: Place) -> None:
    road = place.map.map
    drivable = [i for i, kind in enumerate(road.area_kind) if kind in (AreaKind.ROADBLOCK, AreaKind.INTERSECTION)]
    ground = shapely.union_all([shapely.Polygon(road.area(i)).buffer(1e-6) for i in drivable])
    for lane in range(road.lanes):
        line = shapely.LineString(road.centre_line(lane))
        assert line.buffer(1.5, cap_style="flat").difference(ground).area < 0.01  # m^2: a lane's first edge need not be square
        assert shapely.Polygon(road.area(int(road.lane_area[lane]))).is_valid
        assert shapely.Polygon(road.area(int(road.lane_area[lane]))).buffer(0.1).covers(line)


def test_neighbours_mirror_each_other(place: Place) -> None:
    road = place.map.map
    for lane in np.flatnonzero(road.lane_left >= 0):
        assert road.lane_right[road.lane_left[lane]] == lane
    assert (road.lane_left >= 0).any()


def test_towns_have_all_that_was_promised() -> None:
    towns = [build_town(np.random.default_rng((7, seed))) for seed in SEEDS]
    assert {len(arms) for town in towns for arms in town.arms} == {2, 3, 4}
    assert {road.lanes for town in towns for road in town.roads} == {1, 2}
    assert any(len(town.signals) for town in towns)
    assert {t.priority for town in towns for t in town.tracks if t.kind == CAR_LINK} == {0, 1, 2}
    assert all(len(town.parked) and any(w.node >= 0 for w in town.walks) for town in towns)


def test_every_town_can_stage_a_cut_in() -> None:
    for seed in range(12):
        town = build_town(np.random.default_rng((11, seed)))
        assert any(t.kind == CAR and town.roads[t.road].lanes > 1 and LineString(t.xy).length > 100 for t in town.tracks)


def test_a_cut_map_keeps_what_it_refers_to() -> None:
    town = build_town(np.random.default_rng(5))
    whole = build_map(town)
    cut = cut_map(whole, town.nodes[5], 100.0, np.array([0]), town.nodes[5])
    cut.map.validate()
    assert "road0.a.lane0" in cut.map.lane_ids  # kept although it may be far away
    for row, lane in enumerate(cut.lanes):
        assert cut.map.lane_ids[row] == whole.map.lane_ids[lane]
        assert np.allclose(cut.map.centre_line(row) + town.nodes[5], whole.map.centre_line(int(lane)))
        assert cut.map.area_ids[cut.map.lane_area[row]] == whole.map.area_ids[whole.map.lane_area[lane]]
        signal = whole.map.lane_signal[lane]
        assert (cut.map.lane_signal[row] == -1) if signal < 0 else (cut.signals[cut.map.lane_signal[row]] == signal)


def test_speed_caps_keep_lateral_acceleration_comfortable() -> None:
    town = build_town(np.random.default_rng(2))
    net = build_net(town)
    for k, track in enumerate(town.tracks):
        if track.kind in (CAR, CAR_LINK):
            curvature = np.abs(np.gradient(heading(track.xy), 0.5))
            assert net.cap[k] ** 2 * np.median(curvature) < 3.0
