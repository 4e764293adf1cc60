"""Traffic reads as traffic: no collisions, lights and limits kept, nobody jumps, the expert drives as a bicycle can."""

import numpy as np
import pytest
import shapely
from wetoolkit_driving.geometry import box_corners
from wetoolkit_driving.types import AX, HEADING, STEERING, VX, YAW_RATE, AgentClass, Vehicle
from wetoolkit_minitown.cast import Density, draw_cast
from wetoolkit_minitown.events import EVENTS
from wetoolkit_minitown.log import Log, collides, record, touching
from wetoolkit_minitown.place import Place
from wetoolkit_minitown.town import signal_table
from wetoolkit_minitown.traffic import idm, run

DENSITY = Density(55, 12, 30)


@pytest.fixture(scope="module")
def places() -> list[Place]:
    return [Place.build(f"town{n}", (1, n)) for n in range(3)]


@pytest.fixture(scope="module")
def logs(places: list[Place]) -> list[Log]:
    return [record(place, (1, n), DENSITY, "", 30.0) for place in places for n in range(3)]


@pytest.fixture(scope="module")
def staged(places: list[Place]) -> dict[str, list[Log]]:
    return {event: [record(place, (2, n), DENSITY, event, 30.0) for n, place in enumerate(places)] for event in EVENTS}


def test_idm_rests_at_its_equilibrium_gap() -> None:
    # At equal constant speeds the model's gap is (still + v T) / sqrt(1 - (v / want)^4) (Treiber et al. 2000, eq. 12).
    v, want, headway, still = 8.0, 12.0, 1.4, 2.0
    gap = (still + v * headway) / np.sqrt(1 - (v / want) ** 4)
    assert idm(v, want, gap, v, 0.0, headway, 1.5, 2.0, still) == pytest.approx(0.0, abs=1e-9)
    assert idm(v, want, gap * 0.9, v, 0.0, headway, 1.5, 2.0, still) < 0 < idm(v, want, gap * 1.1, v, 0.0, headway, 1.5, 2.0, still)
    assert idm(0.0, want, 1e9, 0.0, 0.0, headway, 1.5, 2.0, still) == pytest.approx(1.5)


def test_nobody_collides_in_ordinary_traffic_as_first_drawn(places: list[Place]) -> None:
    """The whole town, every pair with wheels, without the redrawing that ``record`` does; by shapely where boxes come near."""
    for n in range(3):
        place, rng = places[n], np.random.default_rng((9, n))
        cast = draw_cast(place, rng, DENSITY, "")
        drivers, walkers, _, _, _ = run(
            place.net, place.paths, cast.drivers, cast.walkers, cast.standers, cast.plan.stage,
            signal_table(place.town, 400, 0.1, 0.0), 400, 87,
        )  # fmt: skip
        shift = (cast.drivers.body[:, 1, None] - cast.drivers.body[:, 2, None]) / 2
        boxes = drivers.copy()
        boxes[..., 0] += shift * np.cos(boxes[..., 2])
        boxes[..., 1] += shift * np.sin(boxes[..., 2])
        pose = np.concatenate([boxes, walkers])[..., :3]
        size = cast.size[: len(pose), :2].astype(np.float64)
        wheels = np.arange(len(pose)) < len(boxes)
        assert touching(np.ascontiguousarray(pose[:, ::2]), size, wheels) == 0
        assert np.hypot(*np.moveaxis(drivers[:, -1, :2] - drivers[:, 0, :2], -1, 0)).mean() > 60.0  # it flows


def test_touching_agrees_with_shapely() -> None:
    rng = np.random.default_rng(0)
    pose = np.concatenate([rng.uniform(-4, 4, (40, 5, 2)), rng.uniform(-3, 3, (40, 5, 1))], -1)
    size = rng.uniform(0.5, 4.0, (40, 2))
    shapes = [[shapely.Polygon(box_corners(at, a, b)) for at in track] for (a, b), track in zip(size, pose, strict=True)]
    expected = sum(shapes[i][t].intersects(shapes[j][t]) for i in range(40) for j in range(i) for t in range(5))
    assert touching(pose, size, np.ones(40, bool)) == expected


def test_a_collision_would_be_seen(logs: list[Log]) -> None:
    log = logs[0]
    wheels = (log.kind != AgentClass.PEDESTRIAN) & ~log.still
    assert not collides(log.ego, log.pose, log.size, wheels)
    crashed = log.pose.copy()
    crashed[0] = log.ego[:, :3]
    assert collides(log.ego, crashed, log.size, wheels)


def test_nobody_jumps_or_turns_on_the_spot(logs: list[Log], staged: dict[str, list[Log]]) -> None:
    for log in [*logs, *(log for some in staged.values() for log in some)]:
        step = np.hypot(*np.moveaxis(np.diff(log.pose[..., :2].astype(np.float64), axis=1), -1, 0))
        top = np.where(log.kind == AgentClass.VEHICLE, 18.0, np.where(log.kind == AgentClass.BICYCLE, 8.0, 4.0))
        assert (step.max(1) / 0.1 < top).all()
        acceleration = np.diff(step, axis=1) / 0.01
        assert acceleration[log.kind == AgentClass.VEHICLE].min() > -11.0
        turn = np.abs(np.angle(np.exp(1j * np.diff(log.pose[log.kind == AgentClass.VEHICLE][..., 2].astype(np.float64), axis=1))))
        assert turn.max() < 0.18


def test_the_expert_is_a_kinematic_bicycle(logs: list[Log]) -> None:
    for log in logs:
        x, y, h, v = log.ego[:, 0], log.ego[:, 1], np.unwrap(log.ego[:, HEADING]), log.ego[:, VX]
        assert np.allclose(np.hypot(np.diff(x), np.diff(y)) / 0.1, (v[1:] + v[:-1]) / 2, atol=0.06)
        assert np.allclose(np.diff(h) / 0.1, (log.ego[1:, YAW_RATE] + log.ego[:-1, YAW_RATE]) / 2, atol=0.03)
        assert np.allclose(log.ego[:, YAW_RATE], v * np.tan(log.ego[:, STEERING]) / Vehicle().wheel_base, atol=1e-9)
        assert np.abs(log.ego[:, AX]).max() < 5.6
        assert np.abs(log.ego[:, STEERING]).max() < 0.6


def test_nobody_enters_on_red(places: list[Place]) -> None:
    place = places[0]
    cast = draw_cast(place, np.random.default_rng(4), DENSITY, "")
    lights = signal_table(place.town, 500, 0.1, 0.0)
    drivers, *_ = run(place.net, place.paths, cast.drivers, cast.walkers, cast.standers, cast.plan.stage, lights, 500, 87)
    net, seen = place.net, 0
    for link in np.flatnonzero((net.signal >= 0) & (net.origin >= 0)):
        line = place.town.tracks[net.origin[link]].xy[-1]
        direction = net.pose[net.offset[link], 2]
        front = drivers[..., :2] + cast.drivers.body[:, 1, None, None] * np.stack(
            [np.cos(drivers[..., 2]), np.sin(drivers[..., 2])], -1
        )
        along = (front - line) @ np.array([np.cos(direction), np.sin(direction)])
        beside = np.abs((front - line) @ np.array([-np.sin(direction), np.cos(direction)]))
        crossed = (along[:, :-1] < 0) & (along[:, 1:] >= 0) & (beside[:, 1:] < 0.8) & (along[:, 1:] < 2.0)
        for who, t in zip(*np.nonzero(crossed), strict=True):
            if abs(np.angle(np.exp(1j * (drivers[who, t, 2] - direction)))) < 0.3:
                seen += 1
                red_for = lights[net.signal[link], max(0, t - 12) : t + 1] == 3
                assert not red_for.all(), f"driver {who} crossed the line of link {link} at step {t}"
    assert seen > 5


def test_equal_seeds_give_equal_drives(places: list[Place]) -> None:
    one, two = (record(places[1], (3,), DENSITY, "cut-in", 30.0) for _ in range(2))
    assert np.array_equal(one.ego, two.ego)
    assert np.array_equal(one.pose, two.pose)
    other = record(places[1], (4,), DENSITY, "cut-in", 30.0)
    assert one.ego.shape != other.ego.shape or not np.array_equal(one.ego, other.ego)
