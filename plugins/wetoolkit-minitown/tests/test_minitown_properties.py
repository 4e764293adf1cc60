"""Promises for any seed: lanes lead on, nobody overlaps at the start, equal seeds give equal logs, boxes move as bodies can."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from wetoolkit_driving.geometry import box_corners, ego_corners
from wetoolkit_driving.types import AgentClass, Vehicle
from wetoolkit_minitown.cast import Density
from wetoolkit_minitown.events import EVENTS
from wetoolkit_minitown.fixtures import BAY
from wetoolkit_minitown.log import Log, attempted
from wetoolkit_minitown.place import Place
from wetoolkit_minitown.town import CAR

DENSITY = Density(40, 10, 20)
FAST = {AgentClass.VEHICLE: 18.0, AgentClass.BICYCLE: 8.0}  # m/s
FEW = settings(max_examples=5, deadline=None, derandomize=True)
SEEDS = st.integers(0, 2**31)


@pytest.fixture(scope="module")
def place() -> Place:
    return Place.build("town", (13, 1))


@FEW
@given(SEEDS)
def test_every_lane_leads_on_and_the_town_is_furnished(seed: int) -> None:
    place = Place.build("town", (seed,))
    road = place.map.map
    leads = set(road.successors[:, 0].tolist())
    assert leads == set(range(road.lanes))
    for k in place.lanes.tolist():
        reached, edge = {k}, [k]
        while edge:
            ways = [n for t in edge for n in place.net.follow[place.net.follow_offset[t] : place.net.follow_offset[t + 1]].tolist()]
            edge = [n for n in dict.fromkeys(ways) if n not in reached]
            reached |= set(edge)
        assert len([t for t in reached if place.net.kind[t] == CAR]) > len(place.lanes) / 2, "no part of a town is a trap"
    stops, parked = place.town.stops, place.town.parked
    away = np.hypot(parked[:, None, 0] - stops[None, :, 0], parked[:, None, 1] - stops[None, :, 1])
    assert away.min(initial=np.inf) > BAY
    assert all(not place.road(zone.track).parking for zone in place.town.zones)


@FEW
@given(SEEDS, st.sampled_from(["", *EVENTS]))
def test_nobody_overlaps_at_the_start(place: Place, seed: int, event: str) -> None:
    log = _any(place, seed, event)
    ego = shapely.Polygon(ego_corners(log.ego[0], Vehicle()))
    boxes = shapely.polygons(box_corners(log.pose[:, 0].astype(np.float64), log.size[:, 0], log.size[:, 1]))
    assert not shapely.intersects(boxes, ego).any()
    wheels = np.flatnonzero(np.isin(log.kind, list(FAST)))
    for n, i in enumerate(wheels):
        assert not shapely.intersects(boxes[wheels[:n]], boxes[i]).any()


@FEW
@given(SEEDS, st.sampled_from(["", *EVENTS]))
def test_equal_seeds_give_equal_logs(place: Place, seed: int, event: str) -> None:
    one, two = _any(place, seed, event), _any(place, seed, event)
    for name, array in vars(one).items():
        assert np.array_equal(array, getattr(two, name)), name


@FEW
@given(SEEDS, st.sampled_from(["", *EVENTS]))
def test_boxes_move_as_bodies_can(place: Place, seed: int, event: str) -> None:
    """Speed, acceleration and rate of turn within what cars and bicycles do, and wheels roll where they point."""
    log = _any(place, seed, event)
    for kind, top in FAST.items():
        rows = (log.kind == kind) & ~log.still
        pose = log.pose[rows].astype(np.float64)
        step = np.diff(pose[..., :2], axis=1)
        speed = np.hypot(step[..., 0], step[..., 1]) / 0.1
        assert speed.max(initial=0.0) < top
        assert np.abs(np.diff(speed, axis=1) / 0.1).max(initial=0.0) < 13.0
        turn = np.angle(np.exp(1j * np.diff(pose[..., 2], axis=1)))
        assert np.abs(turn).max(initial=0.0) < 0.25
        slip = np.angle(np.exp(1j * (np.arctan2(step[..., 1], step[..., 0]) - pose[:, :-1, 2])))
        assert np.abs(slip[speed > 2.0]).max(initial=0.0) < 0.5


def _any(place: Place, seed: int, event: str) -> Log:
    """The first of the seed's draws that comes about."""
    return next(log for n in range(40) if (log := attempted(place, (seed,), DENSITY, event, 24.0, n)) is not None)
