"""IDM traffic by closed forms and properties: it follows, stops, yields, never jumps, and loses nobody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wetoolkit_driving.geometry import box_corners, boxes_touch, wrap_angle
from wetoolkit_driving.testing import Actor, actor, crossing_world, straight_world, with_control
from wetoolkit_driving.traffic import idm
from wetoolkit_driving.traffic.engine import Traffic, rests, start
from wetoolkit_driving.traffic.manners import VEHICLE, TrafficConfig, parameters
from wetoolkit_driving.traffic.paths import stop_lines
from wetoolkit_driving.types import AgentClass, Agents, Control, Signal, World

from wetoolkit.errors import ValidationError

NOW, CONFIG = 20, TrafficConfig()


def driven(world: World, control: Control = Control.IDM, config: TrafficConfig = CONFIG) -> tuple[Agents, Traffic]:
    """The world's agents after the model has moved them from NOW to the record's end; the ego repeats its log."""
    world = with_control(world, control)
    traffic = start(world, NOW, config)
    traffic.run(NOW, world.steps - 1, world.ego.states)
    return traffic.agents, traffic


def far_ego(actors: Sequence[Actor], **options: object) -> World:
    """A straight road whose ego stands 140 m behind everything."""
    world = straight_world(actors, speed=0.0, **options)  # type: ignore[arg-type]
    states = world.ego.states.copy()
    states[:, 0] = -140.0
    return replace(world, ego=replace(world.ego, states=states))


def gaps(agents: Agents, behind: int, front: int) -> np.ndarray:
    """Bumper to bumper along x from NOW on."""
    half = (agents.size[behind, 0] + agents.size[front, 0]) / 2
    return agents.pose[front, NOW:, 0] - agents.pose[behind, NOW:, 0] - half


def touching(agents: Agents, t: int) -> set[tuple[int, int]]:
    boxes = box_corners(agents.pose[:, t].astype(float), agents.size[:, 0].astype(float), agents.size[:, 1].astype(float))
    there = np.flatnonzero(agents.valid[:, t])
    return {(int(i), int(j)) for i in there for j in there if i < j and boxes_touch(boxes[i], boxes[j])}


def test_following_settles_at_the_equilibrium_gap() -> None:
    # Treiber et al. (2000), equation 6: gap_e(v) = (gap0 + v T) / sqrt(1 - (v / v0)^4).
    v, limit = 8.0, 13.9
    actors = [actor(0, 0, 0, v, steps=601), actor(30, 0, 0, v, steps=601)]
    world = with_control(far_ego(actors, steps=601, limit=limit), Control.REPLAY)
    control = np.array([Control.IDM, Control.REPLAY], np.uint8)
    world = replace(world, agents=replace(world.agents, control=control))
    traffic = start(world, NOW, CONFIG)
    traffic.run(NOW, world.steps - 1, world.ego.states)
    expected = (VEHICLE.gap + v * VEHICLE.headway) / np.sqrt(1 - (v / limit) ** 4)
    assert gaps(traffic.agents, 0, 1)[-1] == pytest.approx(expected, abs=0.6)  # the path is sampled every 0.5 m
    assert np.hypot(*traffic.agents.velocity[0, -1]) == pytest.approx(v, abs=0.1)


def test_a_free_driver_reaches_the_speed_limit_and_never_more() -> None:
    agents, _ = driven(far_ego([actor(-100, 0, 0, 5.0, steps=401)], steps=401, limit=10.0))
    speed = np.hypot(*agents.velocity[0].T)
    assert speed[-1] == pytest.approx(10.0, abs=0.05)
    assert speed.max() <= 10.0 + 1e-6


@given(st.lists(st.tuples(st.floats(9, 40), st.floats(1, 13)), min_size=2, max_size=6), st.integers(30, 80))
@settings(max_examples=40, deadline=None)
def test_ordinary_following_never_collides(chain: list[tuple[float, float]], stop: int) -> None:
    # The first of a chain brakes at 3 m/s^2 to a standstill; gaps at the start allow a stop at emergency deceleration.
    x, actors, speeds = 60.0, [], [speed for _, speed in chain]
    first = np.maximum(speeds[0] - 0.3 * np.maximum(np.arange(201) - stop, 0), 0.0)
    for i, (gap, speed) in enumerate(chain):
        if i:
            closing = max(speed - speeds[i - 1], 0.0)
            x -= gap + closing**2 / (2 * 4.0) + 4.6
        actors.append(actor(x, 0, 0, first if i == 0 else speed, steps=201))
    world = far_ego(actors, steps=201)
    control = np.full(len(actors), Control.IDM, np.uint8)
    control[0] = Control.REPLAY
    world = replace(world, agents=replace(world.agents, control=control))
    traffic = start(world, NOW, CONFIG)
    traffic.run(NOW, 200, world.ego.states)
    for i in range(1, len(actors)):
        assert gaps(traffic.agents, i, i - 1).min() > 0.0


@pytest.mark.parametrize("kind", [AgentClass.VEHICLE, AgentClass.BICYCLE])
@pytest.mark.parametrize("x", [-20.0, 0.0, 20.0])
def test_a_red_signal_stops_at_the_line(kind: AgentClass, x: float) -> None:
    agents, traffic = driven(far_ego([actor(x, 0, 0, 8.0, kind, steps=201)], steps=201, signal=Signal.RED))
    fronts = agents.pose[0, NOW:, 0] + agents.size[0, 0] / 2
    assert fronts.max() < 50.0  # the stop line of straight_map
    assert fronts[-1] > 45.0
    assert np.hypot(*agents.velocity[0, -1]) < 0.1
    np.testing.assert_allclose(traffic.drivers.stops, [[50.0 - x, 0]], atol=0.5)


def test_green_lets_pass_and_red_too_late_does_too() -> None:
    signal = np.full(101, Signal.GREEN)
    agents, _ = driven(far_ego([actor(20, 0, 0, 10.0)], signal=signal))
    assert agents.pose[0, -1, 0] > 80.0
    signal[21 + 29 :] = Signal.RED  # when its front is past the line
    agents, _ = driven(far_ego([actor(20, 0, 0, 10.0)], signal=signal))
    assert agents.pose[0, -1, 0] > 80.0


def test_only_the_signals_of_the_way_taken_count() -> None:
    world = crossing_world()
    lanes = {name: i for i, name in enumerate(world.map.lane_ids)}
    straight = np.column_stack([np.arange(0, 80, 0.5), np.zeros(160), np.zeros(160)])
    assert stop_lines(world.map, straight).shape == (1, 2)
    line = world.map.centre_line(lanes["straight1"])
    northbound = np.column_stack([np.full(160, line[0, 0]), np.arange(-40, 40, 0.5), np.full(160, np.pi / 2)])
    assert stop_lines(world.map, northbound)[:, 1].tolist() == [1.0]
    after = straight[straight[:, 0] > 40]
    assert len(stop_lines(world.map, after)) == 0


def test_a_parked_car_beside_the_strip_is_no_leader() -> None:
    beside = actor(40, 2.1)  # 2.1 m aside: boxes 1.9 m wide pass with 0.2 m
    agents, _ = driven(far_ego([actor(0, 0, 0, 8.0), beside]))
    assert np.hypot(*agents.velocity[0, -1]) > 8.0
    into = actor(40, 1.7)
    # its log went through that car, which a box cannot: such a pair is noise and ignored, and it is counted
    _, traffic = driven(far_ego([actor(0, 0, 0, 8.0), into]))
    assert traffic.counts()["idm_overlapping_pairs"] == 1


def test_a_standing_car_in_the_way_is_never_hit() -> None:
    # In the log the mover stops before it; the model does so as well.
    speed = np.maximum(8.0 - 0.2 * np.maximum(np.arange(201) - 30, 0), 0.0)
    agents, _ = driven(far_ego([actor(0, 0, 0, speed, steps=201), actor(50, 0, steps=201)], steps=201))
    assert 0.5 < gaps(agents, 0, 1).min() < 4.0


def test_a_driver_stops_for_a_pedestrian_on_its_path_and_for_one_about_to_step_on_it() -> None:
    standing = actor(40, 0.5, np.pi / 2, 0.0, AgentClass.PEDESTRIAN)
    walking = actor(30, -4.0, np.pi / 2, 1.4, AgentClass.PEDESTRIAN)
    for other in (standing, walking):
        world = far_ego([actor(0, -0.5, 0, 8.0), other])
        world = replace(world, agents=replace(world.agents, control=np.array([Control.IDM, Control.REPLAY], np.uint8)))
        valid = world.agents.valid.copy()
        valid[0, NOW + 25 :] = False  # its log ends before they would meet
        world = replace(world, agents=replace(world.agents, valid=valid))
        traffic = start(world, NOW, CONFIG)
        traffic.run(NOW, 100, world.ego.states)
        assert not any(touching(traffic.agents, t) for t in range(NOW, 101))
        assert np.hypot(*traffic.agents.velocity[0, NOW:].T).min() < 4.0


def test_the_ego_is_a_leader_too() -> None:
    world = straight_world([actor(-20, 0, 0, 10.0, steps=201)], speed=2.0, steps=201)
    agents, _ = driven(world)
    rear = world.ego.states[NOW:, 0] - world.ego.vehicle.rear
    assert (rear - agents.pose[0, NOW:, 0] - agents.size[0, 0] / 2).min() > 0.5


def test_standing_agents_and_things_repeat_their_log_exactly() -> None:
    world = straight_world([actor(30, 3.5), actor(40, -3, kind=AgentClass.TRAFFIC_CONE), actor(60, -2, kind=AgentClass.BARRIER)])
    agents, traffic = driven(world)
    for name in ("pose", "velocity", "valid"):
        np.testing.assert_array_equal(getattr(agents, name), getattr(world.agents, name))
    assert traffic.counts()["idm_agents"] == 0


def test_replayed_agents_repeat_their_log_exactly_among_reacting_ones() -> None:
    world = straight_world([actor(20, 0, 0, 6.0), actor(50, 3.5, 0, 9.0, seen=(0, 60))])
    control = np.array([Control.IDM, Control.REPLAY], np.uint8)
    world = replace(world, agents=replace(world.agents, control=control))
    traffic = start(world, NOW, CONFIG)
    traffic.run(NOW, 100, world.ego.states)
    for name in ("pose", "velocity", "valid"):
        np.testing.assert_array_equal(getattr(traffic.agents, name)[1], getattr(world.agents, name)[1])


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_the_handover_does_not_jump(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kinds = [AgentClass.VEHICLE, AgentClass.BICYCLE, AgentClass.PEDESTRIAN]
    heads = rng.uniform(-3, 3, 5)
    speeds = rng.uniform(0.5, 10, 5)
    actors = [actor(20.0 * i, 3.5 * (i % 2), heads[i], speeds[i], kinds[i % 3]) for i in range(5)]
    world = straight_world(actors)
    agents, traffic = driven(world)
    np.testing.assert_array_equal(agents.pose[:, : NOW + 1], world.agents.pose[:, : NOW + 1])
    step = np.diff(agents.pose[:, NOW:], axis=1)
    moved, emergency = np.hypot(step[..., 0], step[..., 1]), traffic.drivers.parameters[:, 5]
    first = np.hypot(*world.agents.velocity[:, NOW].T)
    assert (np.abs(moved[:, 0] - 0.1 * first) <= 0.005 * emergency + 1e-3).all()  # at most a / 2 dt^2 from the logged pace
    assert (np.abs(np.diff(moved, axis=1)) <= 0.01 * emergency[:, None] + 0.02).all()
    assert np.abs(wrap_angle(step[..., 2])).max() < 0.35  # turns are those of lanes and paths


def test_a_path_beyond_the_record_keeps_to_its_lane() -> None:
    world = crossing_world(speed=0.0, signals=(Signal.GREEN, Signal.GREEN), distance=60.0)
    lane = world.map.lane_ids.index("in1")
    line = world.map.centre_line(lane)
    begin = actor(line[10, 0], line[10, 1], np.pi / 2, 8.0, seen=(0, 24))
    world = replace(crossing_world([begin], speed=0.0, signals=(Signal.GREEN, Signal.GREEN), distance=60.0, steps=201 - 100))
    agents, _ = driven(world)
    assert agents.valid[0, NOW:].all()
    assert agents.pose[0, -1, 1] > begin.pose[24, 1] + 40.0
    np.testing.assert_allclose(agents.pose[0, NOW:, 0], line[0, 0], atol=0.3)  # straight over the crossing


def test_nobody_is_dropped_when_the_record_ends() -> None:
    walker = actor(40, -6, np.pi / 2, 1.4, AgentClass.PEDESTRIAN, seen=(0, 40))
    rider = actor(60, 0, 0, 5.0, AgentClass.BICYCLE, seen=(10, 35))
    agents, _ = driven(straight_world([walker, rider], speed=0.0))
    assert agents.valid[:, NOW:].all()
    assert agents.pose[0, -1, 1] > 0.0
    assert agents.pose[1, -1, 0] > 80.0


def test_late_agents_appear_as_recorded_or_wait_for_their_place() -> None:
    late = actor(10, 0, 0, 5.0, seen=(50, 100))  # at step 50 its centre is at x = 25
    agents, traffic = driven(straight_world([late], speed=0.0))
    assert not agents.valid[0, :50].any()
    np.testing.assert_allclose(agents.pose[0, 50], [25.0, 0, 0], atol=1e-5)
    assert traffic.drivers.delayed.tolist() == [0]
    # An ego that did not stand there in the log stands there now, until step 70.
    world = with_control(straight_world([late], speed=0.0), Control.IDM)
    traffic = start(world, NOW, CONFIG)
    states = world.ego.states.copy()
    states[:, 0] = np.where(np.arange(101) < 70, 24.0, 60.0)
    traffic.run(NOW, 100, states)
    assert traffic.drivers.delayed.tolist() == [20]
    assert traffic.counts()["idm_delayed"] == 1
    assert traffic.agents.valid[0].tolist() == [False] * 70 + [True] * 31


def test_the_order_of_agents_changes_nothing() -> None:
    actors = [actor(15.0 * i, 3.5 * (i % 2), 0, 5.0 + i) for i in range(6)]
    world = straight_world(actors, speed=3.0)
    order = np.array([3, 0, 5, 1, 4, 2])
    mixed = straight_world([actors[i] for i in order], speed=3.0)
    np.testing.assert_array_equal(driven(world)[0].pose[order], driven(mixed)[0].pose)


def test_manners_of_an_agent_go_before_those_of_its_class() -> None:
    world = straight_world([actor(0, 3.5, 0, 8.0), actor(-50, 3.5, 0, 8.0)])
    manners = np.array([[0.5, 1, 1, 1, 2], [0, 0, 0, 0, 0]], np.float32)
    world = replace(world, agents=replace(world.agents, manners=manners))
    table = parameters(world.agents, CONFIG)
    np.testing.assert_allclose(table[0, :5], manners[0])
    np.testing.assert_allclose(table[1, :5], [1, VEHICLE.gap, VEHICLE.headway, VEHICLE.acceleration, VEHICLE.deceleration])


def test_unmoved_by_the_model_means_rests_within_half_a_metre() -> None:
    agents = straight_world([actor(10, 0, 0, 0.04), actor(20, 0, 0, 0.1)]).agents
    assert [rests(agents, a) for a in range(2)] == [True, False]


def test_social_forces_move_pedestrians_only() -> None:
    with pytest.raises(ValidationError, match="a0 with control SOCIAL is a vehicle"):
        start(with_control(straight_world([actor(10, 0)]), Control.SOCIAL), NOW, CONFIG)


@given(v=st.floats(0, 20), gap=st.floats(0.1, 100), closing=st.floats(-10, 10))
@settings(max_examples=50, deadline=None)
def test_acceleration_is_bounded_and_falls_with_the_closing_speed(v: float, gap: float, closing: float) -> None:
    row = parameters(straight_world([actor(0, 0)]).agents, CONFIG)[0]
    a = idm.acceleration(v, 15.0, gap, closing, row)
    assert -VEHICLE.emergency <= a <= VEHICLE.acceleration
    assert idm.acceleration(v, 15.0, gap, closing + 1.0, row) <= a
    assert idm.acceleration(v, 15.0, gap + 1.0, closing, row) >= a
