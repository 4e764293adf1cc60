"""The bridge without nuplan-devkit: fakes of its objects in, numbers against our own reader and closed forms out."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace as Bag
from typing import Any

import numpy as np
import pytest
import shapely
from devkit_fakes import FakeMap, FakeScenario, ego_state, light, planner_input, tracked, tracks
from peers.nuplan_plain import plain
from wetoolkit_driving.policies import ConstantVelocity, ConstantVelocityConfig
from wetoolkit_driving.types import AgentClass, AreaKind, RoadMap, Signal, Vehicle
from wetoolkit_logs.nuplan.bridge import MapView, as_planner, from_scenario
from wetoolkit_logs.nuplan.bridge.maps import MARGIN
from wetoolkit_logs.nuplan.bridge.planner import Driver, Settings
from wetoolkit_logs.nuplan.bridge.scenarios import span_of
from wetoolkit_logs.nuplan.bridge.worlds import Frame, Span, agents_of, ego_states
from wetoolkit_logs.nuplan.dataset import NuPlan, NuPlanConfig
from wetoolkit_logs.nuplan.logfile import Log

from wetoolkit.errors import DataError, PluginError
from wetoolkit.types import ObservationSpec, Plan

layer = str  # the fake map's layers are their names
EGO = np.array([100.0, 50.0, 0.3, 8.0, 0.0, 0.5, 0.0, 0.02, 0.01, 0.05, 0.1])


@pytest.fixture(scope="module")
def folder(drive: Any, written: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two logs without what only our reader would understand."""
    drives = [drive(seed, steps=120, agents=8, log=f"drive{seed}", gaps=seed == 2) for seed in (1, 2)]
    return plain(written(drives), tmp_path_factory.mktemp("bridge") / "plain")


@pytest.fixture(scope="module")
def city(folder: Path) -> FakeMap:
    return FakeMap(folder)


def scenario(folder: Path, city: FakeMap, log: int = 0, frame: int = 60, **lost: int) -> FakeScenario:
    return FakeScenario(Log(sorted(folder.glob("*.db"))[log], cache=False), frame, city, lost)


def view(city: FakeMap) -> MapView:
    return MapView(city, 120.0, layer)


@pytest.mark.parametrize("log", [0, 1])
def test_a_scenario_is_what_our_reader_gives(log: int, folder: Path, city: FakeMap) -> None:
    fake = scenario(folder, city, log)
    made = from_scenario(fake, view=view(city))
    reader = NuPlan(NuPlanConfig(folder=str(folder), splits={"devkit": 1.0}, cache=False))
    ours = reader.load(next(ref for ref in reader.find() if ref.id.endswith(fake.token)))
    assert (made.id, made.log, made.split, made.clock) == (ours.id, ours.log, ours.split, ours.clock)
    assert made.origin[:2] == ours.origin[:2]
    a, b = made.world, ours.world
    assert (a.agents.ids, a.unavailable, a.dt, a.ego.vehicle) == (b.agents.ids, b.unavailable, b.dt, b.ego.vehicle)
    moves = b.agents.kind <= AgentClass.BICYCLE  # the devkit drops velocities of things that stand
    for name in ("kind", "size", "pose", "valid", "control"):
        assert np.array_equal(getattr(a.agents, name), getattr(b.agents, name)), name
    assert np.array_equal(a.agents.velocity[moves], b.agents.velocity[moves]) and not a.agents.velocity[~moves].any()
    assert np.abs(a.ego.states[:, :7] - b.ego.states[:, :7]).max() < 1e-12 and a.ego.valid.all()
    for name in RoadMap.__dataclass_fields__:
        assert np.array_equal(getattr(a.map, name), getattr(b.map, name)), name
    assert len(a.route) and np.array_equal(a.route, b.route) and np.array_equal(a.on_route, b.on_route)
    assert len(a.signals) and np.array_equal(a.signals, b.signals) and len(np.unique(a.signals)) > 1
    assert AreaKind.DRIVABLE_AREA in a.map.area_kind


def test_a_later_iteration_is_the_present_of_its_own_frame(folder: Path, city: FakeMap) -> None:
    later = from_scenario(scenario(folder, city), 20, future=5.0, view=view(city))
    alone = from_scenario(scenario(folder, city, frame=80), future=5.0, view=view(city))
    assert later.id == alone.id and np.array_equal(later.world.ego.states, alone.world.ego.states)
    assert np.array_equal(later.world.signals, alone.world.signals)


@pytest.mark.parametrize(
    "what", ["get_ego_future_trajectory", "get_past_tracked_objects", "get_future_traffic_light_status_history"]
)
def test_less_than_was_asked_is_an_error_that_says_what(what: str, folder: Path, city: FakeMap) -> None:
    with pytest.raises(DataError, match=r"79 .* where 80|19 .* where 20"):
        from_scenario(scenario(folder, city, **{what: 1}), view=view(city))


def test_a_log_that_ends_too_early_is_an_error(folder: Path, city: FakeMap) -> None:
    with pytest.raises(DataError, match="59 timestamps in the future where 80"):
        from_scenario(scenario(folder, city, frame=120), view=view(city))


def test_frames_at_other_times_than_asked_are_an_error(folder: Path, city: FakeMap) -> None:
    fake = scenario(folder, city)
    fake.log.time = fake.log.time.copy()
    fake.log.time[70] += 60_000
    with pytest.raises(DataError, match=r"step 25 is \+0.060 s from where it is due"):
        span_of(fake, 0, 20, 80, 0.1)


def test_the_map_is_asked_again_only_when_one_has_gone_far(city: FakeMap) -> None:
    shown, place = view(city), lane_start(city)
    first = shown.around(place)
    assert shown.around(place + np.array([MARGIN - 1, 0])) is first and shown.asked == 1
    with pytest.raises(DataError, match="no lane within 240 m"):
        shown.around(place + np.array([900.0, 0.0]))
    assert shown.around(place + np.array([0, MARGIN + 1])) is not first and shown.asked == 2


def lane_start(city: FakeMap) -> np.ndarray:
    one = min(city.objects["LANE"].values(), key=lambda lane: int(lane.id))
    return np.array(one.baseline_path.linestring.coords[0])


def test_lanes_of_the_route_are_there_however_far(city: FakeMap) -> None:
    place, shown = lane_start(city), MapView(city, 0.0, layer)
    far = max(city.objects["LANE"].values(), key=lambda lane: np.hypot(*(lane.polygon.centroid.coords[0] - place)))
    assert int(far.id) not in shown.around(place).lane_of
    assert int(far.id) in shown.around(place, [far.block]).lane_of


def test_an_area_with_a_hole_stays_open_there(folder: Path) -> None:
    mapped = FakeMap(folder)
    x, y = lane_start(mapped)
    whole = shapely.box(x - 20, y - 20, x + 20, y + 20).difference(shapely.box(x - 5, y - 5, x + 5, y + 5))
    mapped.objects["CARPARK_AREA"] = {"7": Bag(id="7", polygon=whole)}
    arrays = view(mapped).around(np.array([x, y])).arrays
    mine = np.flatnonzero(arrays["area_fid"] == 7)
    rings = [shapely.Polygon(arrays["area_xy"][arrays["area_offset"][k] : arrays["area_offset"][k + 1]]) for k in mine]
    assert len(rings) > 1 and not any(ring.contains(shapely.Point(x, y)) for ring in rings)
    assert shapely.union_all(rings).symmetric_difference(whole).area < 1e-6


def test_drivable_areas_of_other_maps_are_those_that_no_other_layer_has(folder: Path) -> None:
    class Other(FakeMap):
        _load_vector_map_layer = property()  # type: ignore[assignment]

        def _get_vector_map_layer(self, name: str) -> dict[str, Any]:
            assert name == "DRIVABLE_AREA"
            more = list(self.objects["INTERSECTION"].values())
            shapes = [*self.drivable["geometry"], *(one.polygon for one in more)]
            return {"fid": [*self.drivable["fid"], *(one.id for one in more)], "geometry": shapes}

    mapped = Other(folder)
    place = lane_start(mapped)
    arrays, same = (view(one).around(place).arrays for one in (mapped, FakeMap(folder)))
    assert (arrays["area_kind"] == AreaKind.DRIVABLE_AREA).sum() > 0
    assert np.array_equal(arrays["area_fid"], same["area_fid"]) and np.array_equal(arrays["area_kind"], same["area_kind"])


def circle(steps: int, told: bool) -> tuple[Span, np.ndarray]:
    """5 m/s around a circle of 20 m, and what the states should be."""
    angle = 0.25 * 0.1 * np.arange(steps)
    rows = np.zeros((steps, 11))
    rows[:, :4] = np.stack([20 * np.sin(angle), 20 - 20 * np.cos(angle), angle, np.full(steps, 5.0)], 1)
    rows[:, 7], rows[:, 9] = np.arctan(Vehicle().wheel_base / 20), 0.25
    frames = tuple(Frame(k * 100_000, ego_state(k * 100_000, row, told=told), (), {}) for k, row in enumerate(rows))
    return Span(frames, steps - 1, 0.1), rows


@pytest.mark.parametrize("told", [True, False])
def test_turning_is_told_or_follows_from_the_headings(told: bool) -> None:
    span, due = circle(21, told)
    states, valid = ego_states(span, Vehicle())
    assert valid.all() and np.abs(states - due).max() < (1e-15 if told else 1e-9)


def test_steps_of_which_nothing_is_known_are_not_valid() -> None:
    span, due = circle(9, told=False)
    gaps = Span(tuple(None if k in (0, 4) else frame for k, frame in enumerate(span.frames)), 8, 0.1)
    states, valid = ego_states(gaps, Vehicle())
    assert valid.tolist() == [k not in (0, 4) for k in range(9)] and not states[[0, 4]].any()
    assert np.abs(states[valid] - due[valid]).max() < 1e-9
    with pytest.raises(DataError, match="nothing is known of the present"):
        _ = Span((None,), 0, 0.1).present


def test_everybody_is_there_once_in_the_order_of_tokens() -> None:
    ego = ego_state(0, EGO)
    seen = [
        [tracked("b", "VEHICLE", (1000.0, 2, 4.0), (4, 2, 1), (3, 1)), tracked("a", "TRAFFIC_CONE", (1001, 2, 0), (0, 0.3, 0.8))],
        [tracked("e", "EGO", (1000, 0, 0), (5, 2, 2), (0, 0)), tracked("b", "VEHICLE", (1003, 3, np.nan), (4, 2, 1), (3, 1))],
    ]
    span = Span(tuple(Frame(k, ego, items, {}) for k, items in enumerate(seen)), 1, 0.1)
    agents = agents_of(span, np.array([1000.0, 0.0]))
    assert agents.ids == ("a", "b") and agents.kind.tolist() == [AgentClass.TRAFFIC_CONE, AgentClass.VEHICLE]
    assert agents.valid.tolist() == [[True, False], [True, False]]  # a box without a heading is none
    assert agents.size.tolist() == [[0.5, np.float32(0.3), np.float32(0.8)], [4, 2, 1]]
    assert np.allclose(agents.pose[1, 0], [0, 2, 4.0 - 2 * np.pi]) and agents.velocity[1, 0].tolist() == [3, 1]
    assert not agents.velocity[0].any()


class Watching:
    """A policy that keeps what it saw and stands still."""

    def __init__(self) -> None:
        self.spec = ObservationSpec(history=3, world=True)
        self.worlds: list[Any] = []

    def act(self, observation: Any, seed: int) -> Plan:
        self.worlds.append(observation.worlds[0])
        return Plan(np.zeros((1, 40, 3)))


def start(city: FakeMap, route: list[str] | None = None) -> Any:
    return Bag(map_api=city, route_roadblock_ids=route or [], mission_goal=None)


def told(city: FakeMap, count: int, lights: list[Any] = (), now: int | None = None, rate: float = 10) -> Any:  # type: ignore[assignment]
    """``count`` states on the first lane, standing, the last at 2 s."""
    row = np.append(lane_start(city), np.zeros(9))
    times = [2_000_000 - round(k * 1e6 / rate) for k in range(count)][::-1]
    return planner_input([ego_state(time, row) for time in times], [tracks([])] * count, list(lights), now)


def test_a_plan_of_constant_velocity_goes_straight_on(city: FakeMap) -> None:
    row = EGO.copy()
    row[:2] = lane_start(city)
    given = planner_input([ego_state(1_000_000, row, told=True)], [tracks([])], [])
    driver = Driver(ConstantVelocity(ConstantVelocityConfig()), Settings(), start(city), layer)
    times, states = driver.plan(given)
    assert times.tolist() == [1_000_000 + 100_000 * k for k in range(41)]
    way = np.hypot(8.0, 0.0) * 0.1 * np.arange(41)
    assert np.abs(states[:, :2] - row[:2] - way[:, None] * [np.cos(0.3), np.sin(0.3)]).max() < 1e-9
    assert np.allclose(states[0], row) and np.allclose(states[1:, 2:5], [0.3, 8.0, 0.0])


def test_lights_are_remembered_step_by_step(city: FakeMap) -> None:
    policy, lane = Watching(), min(city.objects["LANE_CONNECTOR"], key=int)
    driver = Driver(policy, Settings(history=0.2), start(city), layer)
    driver.plan(told(city, 3, [light(int(lane), "RED")], rate=10))
    later = told(city, 3, [light(int(lane), "GREEN")], rate=10)
    for ego in later.history.ego_states:
        ego.time_us += 100_000
    later.iteration.time_point.time_us += 100_000
    driver.plan(later)
    first, second = policy.worlds
    row = second.map.lane_signal[second.map.lane_ids.index(lane)]
    assert first.signals[row].tolist() == [Signal.UNKNOWN, Signal.UNKNOWN, Signal.RED]
    assert second.signals[row].tolist() == [Signal.UNKNOWN, Signal.RED, Signal.GREEN]
    assert driver.view.asked == 1


def test_the_history_is_taken_by_time_and_missing_steps_are_said(city: FakeMap) -> None:
    policy = Watching()
    driver = Driver(policy, Settings(history=1.0), start(city), layer)
    driver.plan(told(city, 9, rate=20))  # 0.4 s at 20 Hz: steps of 0.1 s from 0.4 s ago on
    assert policy.worlds[0].ego.valid.tolist() == [False] * 6 + [True] * 5
    assert policy.worlds[0].unavailable == ("signals", "route")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda given: given.iteration.time_point.__setattr__("time_us", 2_200_000), "ends -0.200 s from the present"),
        (lambda given: given.history.observations.pop(), "3 ego states and 2 observations"),
        (lambda given: given.history.observations.__setitem__(2, Bag(pointcloud=1)), "an observation of type SimpleNamespace"),
        (lambda given: given.history.ego_states.reverse(), "its times do not rise"),
    ],
)
def test_a_history_that_is_none_is_an_error(spoil: Any, says: str, city: FakeMap) -> None:
    given = told(city, 3)
    spoil(given)
    with pytest.raises(DataError, match=says):
        Driver(Watching(), Settings(history=0.2), start(city), layer).plan(given)


def test_the_route_goes_on_beyond_the_present(city: FakeMap, folder: Path) -> None:
    fake, policy = scenario(folder, city), Watching()
    driver = Driver(policy, Settings(), start(city, fake.get_route_roadblock_ids()), layer)
    egos = [fake._ego(k) for k in range(20, 61)]
    driver.plan(planner_input(egos, [fake._objects(k) for k in range(20, 61)], fake._lights(60)))
    world = policy.worlds[0]
    places = [city.objects["LANE"].get(name) or city.objects["LANE_CONNECTOR"][name] for name in world.map.lane_ids]
    blocks, named = [places[lane].block for lane in world.route], fake.get_route_roadblock_ids()
    assert len(blocks) > 1 and blocks == named[named.index(blocks[0]) :][: len(blocks)]
    lines = [world.map.centre_line(int(lane)) for lane in world.route]
    ahead = sum(np.hypot(*np.diff(line, axis=0).T).sum() for line in lines)
    assert blocks[-1] == named[-1] or ahead > 150
    assert np.array_equal(world.ego.states[-1, :2], [0, 0]) and world.ego.valid.all()


def test_without_the_devkit_one_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setitem(sys.modules, "nuplan", None)
    monkeypatch.delitem(sys.modules, "wetoolkit_logs.nuplan.bridge.devkit", raising=False)
    with pytest.raises(PluginError, match="pip install -e /path/to/nuplan-devkit"):
        as_planner(ConstantVelocity(ConstantVelocityConfig()))
    with pytest.raises(PluginError, match="nuplan-devkit is not installed"):
        from_scenario(scenario(folder, FakeMap(folder)))


def test_a_policy_that_needs_cameras_is_refused() -> None:
    policy = Watching()
    policy.spec = ObservationSpec(cameras=("CAM_F0",))
    with pytest.raises(PluginError, match="asks for cameras CAM_F0"):
        as_planner(policy)
