"""Pedestrians by properties: the force's gradient, momentum, the log repeated, no overlap, bounds, goals, gaps at the kerb."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from wetoolkit_driving.geometry import box_corners
from wetoolkit_driving.testing import Actor, actor, straight_world
from wetoolkit_driving.traffic import social
from wetoolkit_driving.traffic.crowd import join, walkers_of
from wetoolkit_driving.traffic.layout import Now, Scene, look
from wetoolkit_driving.traffic.manners import TrafficConfig, parameters
from wetoolkit_driving.types import AgentClass, World

NOW = 20
PERSON = AgentClass.PEDESTRIAN


def person(x: float, y: float, heading: float, speed: float, steps: int = 101) -> Actor:
    return actor(x, y, heading, speed, PERSON, steps=steps)


def quiet(actors: Sequence[Actor], steps: int = 101) -> World:
    """The ego stands 140 m behind everything."""
    world = straight_world(actors, speed=0.0, steps=steps)
    states = world.ego.states.copy()
    states[:, 0] = -140.0
    return replace(world, ego=replace(world.ego, states=states))


def known(world: World, headway: float | None = None) -> social.Walkers:
    """The walkers of a world, whose log it is."""
    if headway is not None:
        manners = np.tile(np.array([1.0, 0.5, headway, 1.5, 2.0], np.float32), (len(world.agents), 1))
        world = replace(world, agents=replace(world.agents, manners=manners))
    table = parameters(world.agents, TrafficConfig())
    return walkers_of(world, NOW, np.flatnonzero(world.agents.kind == PERSON), table)


def walked(world: World, walkers: social.Walkers) -> World:
    """All pedestrians of a world moved by ``walk`` from NOW to the end."""
    a, vehicle, count = world.agents, world.ego.vehicle, len(world.agents)
    pose, velocity, valid = a.pose.copy(), a.velocity.copy(), a.valid.copy()
    valid[a.kind == PERSON, NOW + 1 :] = False
    mode = np.where(a.kind == PERSON, social.MODE, 0).astype(np.uint8)
    ignore = np.zeros((count, count + 1), bool)
    scene = Scene(0, mode, pose, velocity, valid, world.ego.states, vehicle.rear_to_center, ignore, world.signals, world.dt)
    size = np.concatenate([a.size[:, :2], [[vehicle.length, vehicle.width]]]).astype(float)
    m, kinds = count + 1, np.append(a.kind, 0).astype(np.uint8)
    now = Now(np.zeros((m, 3)), np.zeros((m, 2)), np.zeros(m, bool), np.zeros((m, 4, 2)), size, kinds)
    for t in range(NOW, world.steps - 1):
        look(t, scene, now)
        social.walk(t, 0, scene, now, walkers)
    return replace(world, agents=replace(a, pose=pose, velocity=velocity, valid=valid))


def strangers(world: World) -> social.Walkers:
    """Walkers each of whom knows a log in which nobody else is: they meet for the first time."""
    g, count = world.agents, len(world.agents)
    parts = []
    for a in range(count):
        row = slice(a, a + 1)
        one = replace(
            g, ids=g.ids[row], kind=g.kind[row], size=g.size[row], pose=g.pose[row], velocity=g.velocity[row], valid=g.valid[row],
            control=g.control[row],
        )  # fmt: skip
        parts.append(known(replace(world, agents=one)))
    room = np.full(count * (count + 1), float(g.size[0, :2].max()))
    offsets = np.arange(count + 1) * (count + 1)
    return join(parts)._replace(first=np.array([0, count]), agent=np.arange(count), room_offset=offsets, room=room)


def centre_gaps(world: World) -> np.ndarray:
    """[T - NOW] least distance between two people's centres."""
    xy = world.agents.pose[world.agents.kind == PERSON, NOW:, :2].astype(float)
    apart = np.hypot(*(xy[:, None] - xy[None]).transpose(3, 0, 1, 2)) + 1e9 * np.eye(len(xy))[..., None]
    return apart.min((0, 1))


# The force


def potential(d: np.ndarray, u: np.ndarray) -> float:
    """Readable twin: V0 exp(-b / sigma) of Helbing & Molnar (1995), the ellipse along the relative velocity."""
    y = social.STRETCH * u
    b = 0.5 * np.sqrt((np.linalg.norm(d) + np.linalg.norm(d - y)) ** 2 - y @ y)
    return float(social.V0 * np.exp(-b / social.SIGMA))


@given(st.floats(0.6, 3), st.floats(-3, 3), st.floats(-1.5, 1.5), st.floats(-1.5, 1.5))
@settings(max_examples=200, deadline=None)
def test_the_push_is_the_gradient_of_the_potential(r: float, angle: float, ux: float, uy: float) -> None:
    d, u, h = r * np.array([np.cos(angle), np.sin(angle)]), np.array([ux, uy]), 1e-6
    y = social.STRETCH * u
    if (np.linalg.norm(d) + np.linalg.norm(d - y)) ** 2 - y @ y < 0.05:
        return  # between the foci the ellipse has no width and the potential a crease
    slope = np.array([(potential(d + step, u) - potential(d - step, u)) / (2 * h) for step in (np.array([h, 0]), np.array([0, h]))])
    c, s = np.cos(social.SIDE), np.sin(social.SIDE)
    due = np.array([[c, -s], [s, c]]) @ -slope
    due *= min(1.0, social.STRONGEST / max(float(np.linalg.norm(due)), 1e-9))
    np.testing.assert_allclose(social.repulsion(*d, *u, social.V0, social.SIGMA), due, rtol=1e-4, atol=1e-6)


@given(*[st.floats(-3, 3)] * 4)
@settings(deadline=None)
def test_two_people_push_each_other_equally_hard(dx: float, dy: float, ux: float, uy: float) -> None:
    one = social.repulsion(dx, dy, ux, uy, social.V0, social.SIGMA)
    other = social.repulsion(-dx, -dy, -ux, -uy, social.V0, social.SIGMA)
    np.testing.assert_array_equal(np.add(one, other), 0.0)
    assert np.hypot(*one) <= social.STRONGEST + 1e-9


@given(st.floats(-6, 6), st.floats(-6, 6), st.floats(-3, 3))
@settings(deadline=None)
def test_the_way_off_a_box_ends_on_its_edge(x: float, y: float, heading: float) -> None:
    box = np.array([0.5, -0.3, heading])
    d = np.array(social.off_box(x, y, box, 4.0, 2.0))
    shape, point = shapely.Polygon(box_corners(box, 4.0, 2.0)), shapely.Point(x, y)
    assert np.hypot(*d) == pytest.approx(shape.exterior.distance(point), abs=1e-9)
    assert shape.exterior.distance(shapely.Point(x - d[0], y - d[1])) < 1e-9
    outwards = (x - box[0]) * d[0] + (y - box[1]) * d[1] >= 0
    assert outwards or shape.contains(point)


# What the log did


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_a_crowd_near_which_nothing_changes_repeats_its_log(seed: int) -> None:
    rng = np.random.default_rng(seed)
    people = [person(*rng.uniform(-10, 10, 2), rng.uniform(-3, 3), rng.uniform(0, 1.8)) for _ in range(8)]
    others = [actor(-30, 0, 0, 8.0), actor(5, 3.5), actor(0, -3, kind=AgentClass.TRAFFIC_CONE)]
    world = quiet([*people, *others])
    after = walked(world, known(world))
    assert after.agents.valid.all()
    np.testing.assert_allclose(after.agents.pose, world.agents.pose, atol=2e-3)


def test_who_appears_later_appears_as_recorded_and_is_there_when_the_log_shows_it() -> None:
    late = actor(0, -4, 0, 1.3, PERSON, seen=(40, 70))
    late.valid[50:53] = False
    world = quiet([late])
    after = walked(world, known(world))
    np.testing.assert_array_equal(after.agents.valid[0], late.valid)
    seen = late.valid
    np.testing.assert_allclose(after.agents.pose[0, seen], late.pose[seen], atol=2e-3)


def test_who_is_on_another_way_when_its_record_ends_walks_on() -> None:
    walker = actor(0, -5.0, np.pi / 2, 1.4, PERSON, steps=201, seen=(0, 60))
    log = quiet([walker, actor(-140, 30, steps=201)], steps=201)
    world = quiet([walker, actor(-30, 0, 0, 10.0, steps=201)], steps=201)  # it waits for this one
    after = walked(world, known(log))
    assert after.agents.valid[0, NOW:].all()
    assert after.agents.pose[0, 60, 1] < 0.0  # its log is at 0.6 m by then
    assert after.agents.pose[0, -1, 1] > 5.3


# What the log did not do


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_an_ordinary_crowd_does_not_overlap_and_keeps_its_bounds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    people = []
    for i in range(10):
        sense = 1 if i % 2 else -1
        x, way = -sense * (4 + 1.5 * (i // 2)), 0.0 if sense > 0 else np.pi
        people.append(person(x, -6 + rng.uniform(-1.5, 1.5), way, rng.uniform(1, 1.5), 201))
    world = quiet(people, steps=201)
    walkers = strangers(world)
    after = walked(world, walkers)
    radius = world.agents.size[0, :2].max() / 2
    assert centre_gaps(after).min() > 2 * radius - 0.05
    speed = np.hypot(*after.agents.velocity[:, NOW + 1 :].astype(float).transpose(2, 0, 1))
    assert (speed <= walkers.fastest[:, None] + 1e-4).all()
    moved = np.hypot(*np.diff(after.agents.pose[:, NOW:, :2].astype(float), axis=1).transpose(2, 0, 1))
    assert (moved <= 0.1 * walkers.fastest[:, None] + 2 * radius).all()
    # each reaches its goal: it is on its way again, where its log would be, at most some seconds late
    late = np.abs(after.agents.pose[:, -1, :2] - world.agents.pose[:, -1, :2]).astype(float)
    assert late[:, 1].max() < 1.0
    assert late[:, 0].max() < 6.0  # of the 24 m that it walks


def test_two_who_meet_head_on_pass_and_walk_on() -> None:
    world = quiet([person(-5, -6, 0, 1.3), person(5, -6, np.pi, 1.3)])
    after = walked(world, strangers(world))
    assert centre_gaps(after).min() > 0.55
    assert after.agents.pose[0, -1, 0] > 4.0
    assert after.agents.pose[1, -1, 0] < -4.0
    middle = after.agents.pose[:, NOW + 38]
    assert middle[0, 1] < middle[1, 1]  # each on its right
    np.testing.assert_allclose(after.agents.pose[:, NOW:, :2].sum(0)[:, 0], 0.0, atol=1e-3)  # a symmetric meeting stays symmetric


def crossing_car(distance: float, speed: float) -> tuple[World, World]:
    """Somebody who crosses the road at x = 0 from y = -4 (the log: no car) and a car that comes; with and without the car."""
    walker = person(0, -5.0, np.pi / 2, 1.4, steps=201)
    far, near = actor(-140, 30, 0, 0.0, steps=201), actor(-distance, 0, 0, speed, steps=201)
    return quiet([walker, near], steps=201), quiet([walker, far], steps=201)


def test_a_walker_waits_at_the_kerb_for_a_car_and_then_crosses() -> None:
    world, log = crossing_car(30.0, 10.0)
    after = walked(world, known(log))
    car, size = world.agents.pose[1].astype(float), world.agents.size[1, :2].astype(float)
    xy = after.agents.pose[0, :, :2].astype(float)
    assert min(np.hypot(*social.off_box(*xy[t], car[t], *size)) for t in range(NOW, 201)) > 0.5
    assert xy[NOW + 26, 1] < -1.75  # the road's edge, which its log passes after 2.4 s
    assert xy[-1, 1] > 5.3  # across both lanes
    free = walked(log, known(log))
    np.testing.assert_allclose(free.agents.pose[0], log.agents.pose[0], atol=2e-3)


def test_a_far_car_is_no_reason_to_wait_and_a_reckless_walker_never_waits() -> None:
    world, log = crossing_car(100.0, 8.0)
    after = walked(world, known(log))
    np.testing.assert_allclose(after.agents.pose[0, :, 1], log.agents.pose[0, :, 1], atol=0.05)
    world, log = crossing_car(30.0, 10.0)
    after = walked(world, known(log, headway=-1.0))
    assert after.agents.pose[0, NOW + 30, 1] > -1.75


def test_more_spare_time_asked_is_a_later_crossing() -> None:
    entered = []
    for headway in (0.5, 3.0, 8.0):
        world, log = crossing_car(60.0, 8.0)
        after = walked(world, known(log, headway=headway))
        entered.append(int(np.argmax(after.agents.pose[0, NOW:, 1] > -1.75)))
    assert entered[0] < entered[2]
    assert entered == sorted(entered)


def test_the_gap_is_the_closed_form() -> None:
    # A car 2 m wide whose front is 20 m away at 5 m/s; the walker, 2 m from p, crosses 7 m at 1.4 m/s; the strip is 2.8 m wide.
    pose, speed, size = np.array([[-22.0, 0.0, 0.0]]), np.array([[5.0, 0.0]]), np.array([[4.0, 2.0]])
    now = Now(pose, speed, np.array([True]), np.zeros((1, 4, 2)), size, np.zeros(1, np.uint8))
    found = social.spare(0.0, -5.5, 0.0, -3.5, 0.0, 3.5, 1.4, now)
    assert found == pytest.approx(20.0 / 5.0 - (2.0 + 3.5 + 1.4) / 1.4)
    soon = now._replace(speed=np.array([[10.0, 0.0]]))  # past after 2.4 s, and the walker is there after 2.9 s
    assert social.spare(0.0, -5.5, 0.0, -3.5, 0.0, 3.5, 1.4, soon) == np.inf
    gone = now._replace(pose=np.array([[10.0, 0.0, 0.0]]))
    assert social.spare(0.0, -5.5, 0.0, -3.5, 0.0, 3.5, 1.4, gone) == np.inf


def test_nobody_walks_into_a_standing_car() -> None:
    log = quiet([person(-6, -6, 0, 1.3, steps=201), actor(100, 30, steps=201)], steps=201)
    world = quiet([person(-6, -6, 0, 1.3, steps=201), actor(0, -6.2, np.pi / 2, steps=201)], steps=201)
    after = walked(world, known(log))
    d = np.array(
        [
            social.off_box(*xy, world.agents.pose[1, 0].astype(float), *world.agents.size[1, :2].astype(float))
            for xy in after.agents.pose[0, NOW:, :2].astype(float)
        ]
    )
    outside = ((after.agents.pose[0, NOW:, :2] - world.agents.pose[1, 0, :2]) * d).sum(1) >= 0
    assert outside.all()
    assert np.hypot(*d.T).min() > 0.2


def test_scenes_joined_are_scenes_apart() -> None:
    worlds = [quiet([person(-3.0 * i, -6, 0, 1.2), actor(10, 0, 0, 3.0), person(2, -5, 1, 1.0)]) for i in range(2)]
    parts = [walkers_of(w, NOW, np.array([0, 2]), parameters(w.agents, TrafficConfig())) for w in worlds]
    both = join(parts)
    assert both.first.tolist() == [0, 2, 4]
    for i in range(2):
        np.testing.assert_array_equal(both.track[both.offset[2 * i] : both.offset[2 * i + 2]], parts[i].track)
        np.testing.assert_array_equal(both.room[both.room_offset[2 * i] : both.room_offset[2 * i + 2]], parts[i].room)
