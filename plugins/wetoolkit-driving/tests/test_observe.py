"""What policies see: frames, order, masks, and that nothing after the step counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from wetoolkit_driving.domain import PLAN, Driving
from wetoolkit_driving.geometry import compose
from wetoolkit_driving.observe import RADIUS
from wetoolkit_driving.testing import actor, crossing_world, straight_world
from wetoolkit_driving.types import AgentClass, Signal, World

from wetoolkit.errors import UnknownName, ValidationError
from wetoolkit.types import Observation, ObservationSpec, Situation

FIELDS = ("ego", "agents", "lanes", "route", "crossings")
SPEC = ObservationSpec(history=5, fields=FIELDS, limits={"agents": 4})


def look(world: World, step: int = 20, spec: ObservationSpec = SPEC) -> Observation[World]:
    seen = Driving().observe([Situation("s", "log", world, step)], spec)
    seen.validate()
    return seen


def busy() -> World:
    others = [actor(12.0 + 7 * i, 3.5 * (i % 2), 0.1 * i, 3.0 + i, AgentClass(i % 7)) for i in range(6)]
    return straight_world(others, speed=np.linspace(4, 12, 101), crosswalk=30.0)


def moved(world: World, pose: np.ndarray) -> World:
    """The same world seen from elsewhere: every coordinate composed with an SE(2) pose."""

    def at(xy: np.ndarray) -> np.ndarray:
        return compose(pose, np.concatenate([xy, np.zeros((*xy.shape[:-1], 1))], -1))[..., :2]

    c, s = np.cos(pose[2]), np.sin(pose[2])
    states, agents, road = world.ego.states.copy(), world.agents, world.map
    states[:, :3] = compose(pose, states[:, :3])
    velocity = (agents.velocity @ np.array([[c, s], [-s, c]])).astype(np.float32)
    agents = replace(agents, pose=compose(pose, agents.pose.astype(float)).astype(np.float32), velocity=velocity)
    road = replace(road, area_xy=at(road.area_xy), lane_xy=at(road.lane_xy))
    return replace(world, ego=replace(world.ego, states=states), agents=agents, map=road)


@given(x=st.floats(-50, 50), y=st.floats(-50, 50), heading=st.floats(-3, 3))
@settings(max_examples=20, deadline=None)
def test_the_view_does_not_depend_on_where_the_world_lies(x: float, y: float, heading: float) -> None:
    # at step 23 no two lanes are equally near, so that rounding cannot swap them
    here, there = look(busy(), 23), look(moved(busy(), np.array([x, y, heading])), 23)
    for name, array in here.arrays.items():
        if name.startswith("crossings"):  # a rectangle may begin at another corner
            continue
        np.testing.assert_allclose(there.arrays[name], array, atol=2e-4, err_msg=name)


def test_nothing_after_the_step_counts() -> None:
    world, step = busy(), 20
    states, agents = world.ego.states.copy(), world.agents
    states[step + 1 :] = 77.0
    pose, velocity, valid = agents.pose.copy(), agents.velocity.copy(), agents.valid.copy()
    pose[:, step + 1 :], velocity[:, step + 1 :], valid[:, step + 1 :] = 5.0, 9.0, False
    other = replace(
        world, ego=replace(world.ego, states=states), agents=replace(agents, pose=pose, velocity=velocity, valid=valid)
    )  # fmt: skip
    for name, array in look(world).arrays.items():
        np.testing.assert_array_equal(array, look(other).arrays[name], err_msg=name)


def test_worlds_are_cut_at_the_step() -> None:
    late = actor(30, 0, seen=(40, 100))
    seen = look(straight_world([actor(20, 0), late]), spec=ObservationSpec(world=True))
    assert seen.worlds[0].steps == 21
    assert seen.worlds[0].agents.ids == ("a0",)


def test_the_nearest_agents_come_first_and_those_not_there_now_last() -> None:
    gone = actor(5, 3.5, seen=(0, 18))
    seen = look(straight_world([actor(50, 0), actor(12, 0), gone, actor(30, 3.5)]))
    x, valid = seen.arrays["agents"][0, :, :, 0], seen.arrays["agents.valid"][0]
    np.testing.assert_allclose(x[:3, -1], [12, 30, 50], atol=1e-5)
    assert valid[3].tolist() == [True, True, True, False, False]  # steps 16, 17, 18 of 16..20
    assert x[3, -1] == 0


def test_more_agents_than_asked_leaves_the_farthest_out() -> None:
    seen = look(straight_world([actor(10.0 * i, 3.5) for i in range(1, 8)]))
    np.testing.assert_allclose(seen.arrays["agents"][0, :, -1, 0], [10, 20, 30, 40], atol=1e-5)


def test_agent_channels() -> None:
    seen = look(straight_world([actor(20, 3.5, np.pi / 2, 2.0, AgentClass.BICYCLE)]))
    row = seen.arrays["agents"][0, 0, -1]
    np.testing.assert_allclose(row[:8], [20, 3.5, 0, 1, 0, 2, 1.8, 0.7], atol=1e-5)
    np.testing.assert_array_equal(row[8:], np.eye(7)[AgentClass.BICYCLE])


def test_a_history_that_reaches_before_the_record_is_masked() -> None:
    seen = look(busy(), step=2)
    assert seen.arrays["ego.valid"][0].tolist() == [False, False, True, True, True]
    assert not seen.arrays["ego"][0, :2].any()
    assert not seen.arrays["agents.valid"][0, :, :2].any()


def test_ego_channels() -> None:
    world = busy()
    row = look(world).arrays["ego"][0, -1]
    np.testing.assert_allclose(row[:4], [0, 0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(row[4:], world.ego.states[20, [3, 5, 9, 7]], atol=1e-5)


def test_lanes_are_cut_at_the_radius_as_shapely_cuts_them() -> None:
    world = crossing_world()
    seen = look(world)
    circle = shapely.Point(0, 0).buffer(RADIUS, quad_segs=512)
    lines = [shapely.LineString(world.map.centre_line(i)) for i in range(world.map.lanes)]
    near = sorted((line.distance(shapely.Point(0, 0)), i) for i, line in enumerate(lines) if line.intersection(circle).length > 0.2)
    rows = seen.arrays["lanes.valid"][0].all(1)
    assert rows.sum() == len(near)
    for row, (_, lane) in enumerate(near[:3]):
        part = lines[lane].intersection(circle)
        expected = np.array([part.interpolate(f, normalized=True).coords[0] for f in np.linspace(0, 1, 10)])
        np.testing.assert_allclose(seen.arrays["lanes"][0, row, :, :2], expected, atol=0.01)


def test_lanes_tell_limit_route_and_signal() -> None:
    signal = np.full(101, Signal.GREEN)
    signal[20], signal[21:] = Signal.YELLOW, Signal.RED
    seen = look(straight_world(signal=signal, limit=7.5)).arrays["lanes"][0]
    governed = seen[(seen[:, 0, 0] > 49) & (seen[:, 0, 0] < 51)]
    assert len(governed) == 2
    np.testing.assert_array_equal(governed[:, 0, 6:], np.eye(4)[[Signal.YELLOW] * 2])
    np.testing.assert_allclose(governed[:, 0, 4], 0.5)
    ungoverned = seen[(seen[:, 0, 0] < 0) & (seen[:, 0, 2] > 0)]
    assert not ungoverned[:, :, 6:].any()


def test_the_route_lies_ahead_every_three_metres() -> None:
    seen = look(straight_world())
    np.testing.assert_allclose(seen.arrays["route"][0, 0, :, 0], 3.0 * np.arange(20), atol=1e-4)
    assert seen.arrays["route.valid"].all()
    empty = replace(straight_world(), route=np.zeros(0, np.int32))
    assert not look(empty).arrays["route.valid"].any()


def test_crosswalk_corners() -> None:
    seen = look(straight_world(crosswalk=25.0))
    corners = {tuple(np.round(p, 3)) for p in seen.arrays["crossings"][0, 0].astype(float)}
    assert corners == {(23.0, -1.75), (27.0, -1.75), (27.0, 5.25), (23.0, 5.25)}
    assert seen.arrays["crossings.valid"][0, :, 0].tolist() == [True] + [False] * 7


def test_a_batch_equals_its_singles() -> None:
    situations = [Situation(str(t), "log", busy(), t) for t in (3, 20, 50)]
    batch = Driving().observe(situations, SPEC)
    for b, situation in enumerate(situations):
        for name, array in Driving().observe([situation], SPEC).arrays.items():
            np.testing.assert_array_equal(batch.arrays[name][b], array[0])


def test_an_unknown_field_is_named_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="agents"):
        look(busy(), spec=ObservationSpec(fields=("agent",)))


def test_demonstrations_are_what_was_driven() -> None:
    world = moved(busy(), np.array([3.0, 4.0, 1.0]))
    plans, known = Driving().demonstrate([Situation("a", "log", world, 20), Situation("b", "log", world, 61)])
    assert known.tolist() == [True, False]
    assert plans.shape == (2, *PLAN.shape)
    np.testing.assert_allclose(compose(world.ego.states[20, :3], plans[0]), world.ego.states[21:61, :3], atol=1e-9)
    assert not plans[1].any()


def test_demonstrations_need_ten_hertz() -> None:
    with pytest.raises(ValidationError, match=r"0\.2"):
        Driving().demonstrate([Situation("a", "log", replace(straight_world(), dt=0.2), 20)])
