"""Many scenes at once, right of way, agents that stay with their log: against a readable twin, closed forms and properties."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wetoolkit_driving.geometry import along, box_corners, boxes_touch, ego_corners
from wetoolkit_driving.policies import ConstantVelocity, ConstantVelocityConfig
from wetoolkit_driving.roads import join
from wetoolkit_driving.simulator import ClosedLoop, ClosedLoopConfig
from wetoolkit_driving.testing import SIZES, Actor, actor, crossing_world, scene, straight_world, with_control
from wetoolkit_driving.traffic import readable
from wetoolkit_driving.traffic.engine import Traffic, start, start_all
from wetoolkit_driving.traffic.junctions import BODY, CLASS, CLEAR, HOLD, IN, MERGE, OUT, find_zones, offsets
from wetoolkit_driving.traffic.manners import TrafficConfig
from wetoolkit_driving.traffic.priority import travel_time
from wetoolkit_driving.types import AgentClass, Agents, Control, Signal, World

from wetoolkit.testing.compare import difference, snapshot
from wetoolkit.types import Observation, ObservationSpec, Plan

NOW, CONFIG = 20, TrafficConfig()
GREEN = (Signal.GREEN, Signal.GREEN)


def touching(agents: Agents, first: int = NOW) -> list[tuple[int, int, int]]:
    """(agent, agent, first step) of the pairs whose boxes ever share a point from ``first`` on."""
    pose, size = agents.pose[:, first:].astype(float), agents.size.astype(float)
    boxes = box_corners(pose, size[:, :1], size[:, 1:2])  # [A, T, 4, 2]
    found = []
    for i in range(len(pose)):
        for j in range(i):
            near = np.hypot(*(pose[i] - pose[j])[:, :2].T) < np.hypot(*size[i, :2]) + np.hypot(*size[j, :2])
            steps = np.flatnonzero(near & agents.valid[i, first:] & agents.valid[j, first:])
            hits = steps[boxes_touch(boxes[i, steps], boxes[j, steps])]
            found += [(j, i, first + int(hits[0]))] if len(hits) else []
    return found


def comes(arm: int, way: str, metres: float, speed: float, steps: int) -> Actor:
    """A car that comes in by ``arm`` and is ``metres`` before the crossing's entry at NOW; it stood there before."""
    road = crossing_world().map
    to = {"straight": arm, "right": (arm - 1) % 4, "left": (arm + 1) % 4}[way]
    line = join(road, [road.lane_ids.index(name) for name in (f"in{arm}", f"{way}{arm}", f"out{to}")])
    pose = along(line, 142.0 - metres + np.maximum(np.arange(steps) - NOW, 0) * 0.1 * speed)
    velocity = speed * np.column_stack([np.cos(pose[:, 2]), np.sin(pose[:, 2])])
    return Actor(AgentClass.VEHICLE, pose, velocity, np.ones(steps, bool), SIZES[AgentClass.VEHICLE], Control.IDM)


def meeting(actors: Sequence[Actor], steps: int, signals: tuple[Signal, Signal] = GREEN) -> World:
    """The crossing among ``actors`` alone: the ego stands far behind and has no route."""
    world = crossing_world(actors, steps=steps, speed=0.0, signals=signals)
    states = world.ego.states.copy()
    states[:, 0] = -140.0
    return replace(world, ego=replace(world.ego, states=states), route=world.route[:0])


def driven(world: World, last: int | None = None) -> tuple[Agents, Traffic]:
    traffic = start(world, NOW, CONFIG)
    traffic.run(NOW, world.steps - 1 if last is None else last, world.ego.states)
    return traffic.agents, traffic


def speeds(agents: Agents) -> np.ndarray:
    return np.hypot(*agents.velocity.transpose(2, 0, 1).astype(float))


def mixed_world(seed: int, count: int, steps: int = 101, control: Control = Control.IDM) -> World:
    rng = np.random.default_rng(seed)
    kinds = [AgentClass.VEHICLE, AgentClass.VEHICLE, AgentClass.BICYCLE, AgentClass.PEDESTRIAN]
    actors = [
        actor(
            rng.uniform(-60, 90), rng.choice([-5.0, 0.0, 3.5]), rng.choice([0.0, np.pi / 2, 0.1]), rng.uniform(0, 10),
            kinds[i % 4], steps=steps, seen=(int(rng.integers(0, 40)), steps - 1),
        )
        for i in range(count)
    ]  # fmt: skip
    signal = np.where(np.arange(steps) < 55, Signal.RED, Signal.GREEN)
    return with_control(straight_world(actors, steps=steps, signal=signal, speed=6.0), control)


# The readable twin.


@pytest.mark.parametrize("seed", range(3))
def test_the_kernels_do_what_the_readable_step_says(seed: int) -> None:
    world = mixed_world(seed, 10)
    traffic = start(world, NOW, CONFIG)
    traffic.junctions.offset[:] = 0  # without right of way, which is not in the twin
    traffic.junctions.walk_offset[:] = 0
    moved = 0.0
    for t in range(NOW, 50):
        s, v = readable.step(world, traffic, t)
        moved += float(s.sum() - traffic.drivers.s.sum())
        traffic.run(t, t + 1, world.ego.states)
        np.testing.assert_allclose(traffic.drivers.s, s, atol=1e-9)
        np.testing.assert_allclose(traffic.drivers.v, v, atol=1e-9)
    assert moved > 50.0


# Many scenes at once.


def test_a_batch_of_traffic_equals_its_singles_in_any_order() -> None:
    worlds = [mixed_world(1, 6), mixed_world(2, 0), mixed_world(3, 11, 131), mixed_world(4, 3, 61, Control.REACTIVE)]
    nows, last = [20, 20, 35, 10], [90, 90, 130, 60]
    alone = []
    for world, now, end in zip(worlds, nows, last, strict=True):
        traffic = start(world, now, CONFIG)
        traffic.run(now, end, world.ego.states)
        alone.append(traffic)
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        together = start_all([worlds[i] for i in order], [nows[i] for i in order], CONFIG)
        for place, i in enumerate(order):
            together.states(place)[:] = worlds[i].ego.states
        middle = [nows[i] + 7 for i in order]  # two calls, the second in another order
        together.run_all(range(4), [nows[i] for i in order], middle)
        together.run_all([2, 0, 3, 1], [middle[i] for i in (2, 0, 3, 1)], [last[order[i]] for i in (2, 0, 3, 1)])
        for place, i in enumerate(order):
            for name in ("pose", "velocity", "valid"):
                np.testing.assert_array_equal(getattr(together.tables[place], name), getattr(alone[i].agents, name))
            assert together.counts(place) == alone[i].counts()


def test_rollouts_of_a_batch_equal_singles_whatever_their_seeds() -> None:
    scenes = [scene(mixed_world(i, 5 + i, 131), name=f"s{i}") for i in range(3)]
    policy, simulator = ConstantVelocity(ConstantVelocityConfig()), ClosedLoop(ClosedLoopConfig())
    together = simulator.rollout(scenes, policy, [5, 9, 5])
    for one, seed, rollout in zip(scenes, [5, 9, 5], together, strict=True):
        assert not difference(snapshot(rollout), snapshot(simulator.rollout([one], policy, [seed])[0]))


class Counting:
    """Counts its calls; its plan's speed is drawn from the seed of each item."""

    spec = ObservationSpec(history=1, fields=("ego",))

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def act(self, observation: Observation[World], seed: int) -> Plan:
        return self.act_each(observation, [seed] * observation.size)

    def act_each(self, observation: Observation[World], seeds: Sequence[int]) -> Plan:
        self.sizes.append(observation.size)
        plans = np.zeros((observation.size, 40, 3))
        for row, seed in enumerate(seeds):
            plans[row, :, 0] = np.random.default_rng(seed).uniform(2, 10) * 0.1 * np.arange(1, 41)
        return Plan(plans)


def test_scenes_of_different_seeds_share_one_call_of_a_policy_that_takes_a_seed_an_item() -> None:
    scenes = [scene(straight_world(), name=f"s{i}") for i in range(4)]
    policy, simulator = Counting(), ClosedLoop(ClosedLoopConfig())
    together = simulator.rollout(scenes, policy, [0, 1, 2, 3])
    assert policy.sizes == [4] * 8
    for one, seed, rollout in zip(scenes, range(4), together, strict=True):
        np.testing.assert_array_equal(rollout.plans, simulator.rollout([one], Counting(), [seed])[0].plans)


# Right of way.


def test_zones_of_ways_that_cross_merge_follow_and_miss() -> None:
    along_x = np.column_stack([np.arange(0, 100, 0.5), np.zeros(200), np.zeros(200)])
    along_y = np.column_stack([np.full(200, 50.0), np.arange(-50, 50, 0.5), np.full(200, np.pi / 2)])
    later = along_x[40:]
    aside = along_x + np.array([0.0, 3.5, 0.0])
    joins = np.concatenate([np.column_stack([np.full(60, 50.0), np.arange(-30, 0, 0.5), np.full(60, np.pi / 2)]), along_x[100:]])

    def zones(*paths: np.ndarray) -> np.ndarray:
        size = np.array([[4.6, 2.0]] * len(paths))
        return find_zones(np.concatenate(paths), offsets(len(path) for path in paths), size, 0.0)

    (crossing,) = zones(along_x, along_y)
    np.testing.assert_allclose(crossing[[BODY, IN, OUT, HOLD, CLEAR, CLASS]], [0, 48, 52, 48, 52, 0], atol=0.5)
    np.testing.assert_allclose(crossing[[6 + IN, 6 + OUT, MERGE]], [48, 52, 0], atol=0.5)
    assert len(zones(along_x, later)) == len(zones(along_x, aside)) == 0
    (merge,) = zones(along_x, joins)
    assert merge[MERGE] == 1
    assert merge[CLASS] == 0  # who stays on its road does not turn
    assert merge[6 + CLASS] == 1


@given(d=st.floats(0.1, 80), v=st.floats(0, 14), wanted=st.floats(1, 14), a=st.floats(0.5, 3))
@settings(max_examples=50, deadline=None)
def test_travel_time_is_that_of_a_small_stepped_drive(d: float, v: float, wanted: float, a: float) -> None:
    t, x, speed, dt = 0.0, 0.0, v, 1e-3
    while x < d:
        faster = max(min(speed + a * dt, max(wanted, v)), speed)
        x, speed, t = x + (speed + faster) / 2 * dt, faster, t + dt
    assert travel_time(d, v, wanted, a) == pytest.approx(t, abs=0.01)


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_four_ways_meet_without_collision_and_nobody_waits_for_ever(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ways = rng.choice(["straight", "right", "left"], 4)
    world = meeting([comes(arm, ways[arm], rng.uniform(20, 60), rng.uniform(4, 10), 301) for arm in range(4)], 301)
    agents, traffic = driven(world)
    assert touching(agents) == []
    pace = speeds(agents)[:, NOW:]
    assert pace[:, -1].min() > 5.0  # all are through
    change = np.diff(pace, axis=1) / 0.1
    assert change.max() <= traffic.drivers.parameters[:, 3].max() + 1e-3
    assert change.min() >= -traffic.drivers.parameters[:, 5].max() - 1e-3


@pytest.mark.parametrize("seed", range(3))
def test_three_cars_an_arm_get_over_the_crossing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    actors = []
    for arm in range(4):
        metres = rng.uniform(15, 35)
        for _ in range(3):
            actors.append(comes(arm, rng.choice(["straight", "right", "left"]), metres, rng.uniform(4, 10), 701))
            metres += rng.uniform(14, 25)
    agents, traffic = driven(meeting(actors, 701))
    assert touching(agents) == []
    assert not traffic.bodies.ignore.any()
    assert speeds(agents)[:, -1].min() > 5.0


def test_who_turns_left_waits_for_who_comes_straight() -> None:
    world = meeting([comes(0, "left", 25, 8, 301), comes(2, "straight", 40, 8, 301)], 301)
    agents, _ = driven(world)
    pace = speeds(agents)[:, NOW:]
    assert pace[0, :80].min() < 2.0
    assert pace[1, 1:80].min() > 7.0  # it goes on as if alone
    alone, _ = driven(meeting([comes(0, "left", 25, 8, 301)], 301))
    assert speeds(alone)[0, NOW:].min() > 2.5
    # far enough away, it is no reason to wait
    free, _ = driven(meeting([comes(0, "left", 25, 8, 301), comes(2, "straight", 110, 8, 301)], 301))
    np.testing.assert_allclose(free.pose[0], alone.pose[0], atol=1e-6)


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_nobody_enters_on_red(seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps = 301
    actors = [
        comes(arm, rng.choice(["straight", "right", "left"]), rng.uniform(25, 60), rng.uniform(3, 9), steps) for arm in range(4)
    ]
    world = meeting(actors, steps)
    signals = np.full((2, steps), Signal.GREEN, np.uint8)
    change = int(rng.integers(40, 120))
    signals[0, change : change + 30], signals[0, change + 30 :] = Signal.YELLOW, Signal.RED
    signals[1, :change] = Signal.RED
    agents, traffic = driven(replace(world, signals=signals))
    assert touching(agents) == []
    for a in range(4):
        (line, row) = traffic.drivers.stops[traffic.drivers.stop_offset[a]]
        travelled = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(agents.pose[a, NOW:, :2], axis=0).T))])
        past = travelled + agents.size[a, 0] / 2 > line + 0.5
        if past.any():
            assert signals[int(row), NOW + int(past.argmax()) - 1] != Signal.RED


def test_drivers_wait_at_a_crosswalk_for_who_crosses_and_not_for_who_stands_beside_it() -> None:
    def pace(walker: Actor) -> np.ndarray:
        car = actor(0, 0, 0, 8.0, control=Control.IDM)
        world = straight_world([car, walker], crosswalk=45.0, speed=0.0)
        states = world.ego.states.copy()
        states[:, 0] = -140.0
        agents, _ = driven(replace(world, ego=replace(world.ego, states=states)))
        assert touching(agents) == []
        return speeds(agents)[0, NOW:]

    crosses = actor(45, 8.0, -np.pi / 2, 1.2, AgentClass.PEDESTRIAN)  # comes from the far side, 8 m from the car's way
    stands = actor(45, 6.0, -np.pi / 2, 0.0, AgentClass.PEDESTRIAN)
    leaves = actor(45, -2.2, -np.pi / 2, 1.2, AgentClass.PEDESTRIAN)
    assert pace(crosses).min() < 3.0
    assert pace(stands).min() > 7.9
    assert pace(leaves).min() > 7.9


def test_agents_wait_for_an_ego_that_goes_straight_over_their_turn() -> None:
    world = crossing_world([comes(2, "left", 20, 8, 201)], steps=201, speed=8.0, signals=GREEN)
    agents, _ = driven(world)
    boxes = box_corners(agents.pose[0, NOW:].astype(float), 4.6, 1.9)
    assert not boxes_touch(boxes, ego_corners(world.ego.states[NOW:], world.ego.vehicle)).any()
    assert speeds(agents)[0, NOW:].min() < 3.0
    without, _ = driven(replace(world, route=world.route[:0]))  # nobody knows where it goes: only its nearness counts
    assert speeds(without)[0, NOW:].argmin() > speeds(agents)[0, NOW:].argmin() or speeds(without)[0, NOW:].min() > 3.0


# Agents that stay with their log until something touches them.


def logged(actors: Sequence[Actor], **options: object) -> World:
    return with_control(straight_world(actors, **options), Control.REACTIVE)  # type: ignore[arg-type]


def test_nobody_leaves_the_log_where_nothing_changed() -> None:
    rng = np.random.default_rng(3)
    tailgater = actor(25, 0, 0, 9.0)  # 3 m behind the next, which no model would do
    actors = [actor(32.6, 0, 0, 9.0), tailgater, *(actor(x, 3.5, 0, rng.uniform(2, 9)) for x in (0.0, 30.0, 70.0))]
    world = logged(actors)
    agents, traffic = driven(world)
    for name in ("pose", "velocity", "valid"):
        np.testing.assert_array_equal(getattr(agents, name), getattr(world.agents, name))
    assert traffic.counts()["untouched_agents"] == 5
    assert traffic.counts()["idm_agents"] == 0


def test_who_is_touched_leaves_its_log_without_a_jump_and_the_others_repeat_theirs() -> None:
    follower, leader_, beside = actor(-15, 0.1, 0.02, 10.0), actor(60, 0, 0, 10.0), actor(10, 3.5, 0, 10.0)
    world = logged([follower, leader_, beside], speed=10.0)
    states = world.ego.states.copy()
    travelled = np.concatenate([[0.0], np.cumsum(np.maximum(10.0 - 0.4 * np.arange(80), 0.0)) * 0.1])
    states[NOW:, 0], states[NOW:, 3] = travelled[:81], np.maximum(10.0 - 0.4 * np.arange(81), 0.0)
    traffic = start(world, NOW, CONFIG)
    traffic.run(NOW, 100, states)
    agents = traffic.agents
    for a in (1, 2):
        np.testing.assert_array_equal(agents.pose[a], world.agents.pose[a])
    assert traffic.log.released[0] > NOW
    assert traffic.log.released[1:].tolist() == [-1, -1]
    rear = states[NOW:, 0] - world.ego.vehicle.rear
    assert (rear - agents.pose[0, NOW:, 0] - agents.size[0, 0] / 2).min() > 0.3
    steps = np.diff(agents.pose[0, NOW:], axis=0)
    assert np.abs(np.diff(np.hypot(steps[:, 0], steps[:, 1]))).max() <= 0.071 + 0.02  # emergency braking at most
    assert np.abs(np.diff(steps[:, 1])).max() < 0.02
    assert np.abs(agents.pose[0, NOW:, 2]).max() < 0.05


def test_a_follower_goes_on_when_the_body_it_stopped_for_is_gone() -> None:
    # In the log the ego stands at x = 0 and the car behind it stands too; now the ego drives off.
    world = logged([actor(-9, 0, 0, np.maximum(4.0 - 0.2 * np.arange(201), 0.0), steps=201)], speed=0.0, steps=201)
    states = world.ego.states.copy()
    states[NOW:, 3] = 8.0
    states[NOW:, 0] = 0.8 * np.arange(181)
    traffic = start(world, NOW, CONFIG)
    traffic.run(NOW, 200, states)
    assert traffic.log.released[0] >= NOW
    assert speeds(traffic.agents)[0, -1] > 6.0


def test_who_would_appear_where_somebody_stands_now_waits() -> None:
    late = actor(10, 0, 0, 5.0, seen=(50, 100))  # at step 50 its centre is at x = 25
    world = logged([late], speed=0.0)
    states = world.ego.states.copy()
    states[NOW:, 0] = np.where(np.arange(NOW, 101) < 70, 24.0, 60.0)
    traffic = start(world, NOW, CONFIG)
    traffic.run(NOW, 100, states)
    assert traffic.log.released[0] == 50
    assert traffic.agents.valid[0].tolist() == [False] * 70 + [True] * 31


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_a_changed_ego_far_from_everybody_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    actors = [actor(20 * i + rng.uniform(0, 5), 3.5 * (i % 2), 0, 6.0 + 0.1 * i) for i in range(6)]
    world = logged(actors, lanes=2, speed=5.0)
    states = world.ego.states.copy()
    states[NOW:, 1] = -60.0 - rng.uniform(0, 20)
    traffic = start(world, NOW, CONFIG)
    traffic.run(NOW, 100, states)
    assert (traffic.log.released < 0).all()
    np.testing.assert_array_equal(traffic.agents.pose, world.agents.pose)
