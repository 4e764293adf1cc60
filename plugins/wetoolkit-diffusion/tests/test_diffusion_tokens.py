"""Tokens: where the scene lies does not matter, what is decoded is what was encoded, and bodies keep to their limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from wetoolkit_diffusion.kinematics import LIMITS, decode, rolled, violations
from wetoolkit_diffusion.roads import CROSSING, WALK
from wetoolkit_diffusion.spec import TokenSpec
from wetoolkit_diffusion.testing import NOW, busy, carried, without_lanes
from wetoolkit_diffusion.tokens import encode, poses, states
from wetoolkit_driving.geometry import ego_center
from wetoolkit_driving.testing import actor, crossing_world, straight_world
from wetoolkit_driving.types import AgentClass, AreaKind, Signal, World

from wetoolkit.errors import ValidationError

SPEC = TokenSpec()


def test_who_is_chosen_is_who_is_there_and_near() -> None:
    tokens = encode(busy(), NOW, SPEC)
    assert tokens.rows[0] == -1
    assert sorted(tokens.rows[1:]) == list(range(7))  # neither the late one nor the cone
    few = encode(busy(), NOW, TokenSpec(agents=3))
    assert len(few) == 3
    assert few.left_out == 5
    away = np.hypot(*(tokens.frame[1:, :2] - tokens.frame[0, :2]).T)
    assert (np.diff(away) >= 0).all()


def test_poses_come_back_from_tokens() -> None:
    world = busy()
    tokens = encode(world, NOW, SPEC)
    at = NOW + 5 * np.arange(-2, 17)
    back = poses(tokens.state, tokens.frame)
    np.testing.assert_allclose(back[1:], world.agents.pose[tokens.rows[1:]][:, at], atol=2e-4)
    np.testing.assert_allclose(back[0], ego_center(world.ego.states[at], world.ego.vehicle), atol=2e-4)
    again = states(back, tokens.state[..., 4].astype(float), tokens.frame[:, None])
    np.testing.assert_allclose(again, tokens.state, atol=2e-4)


def test_tokens_do_not_depend_on_where_the_scene_lies() -> None:
    spec = TokenSpec(lines=160)  # all there are: of equally near pieces, rounding decides which comes first
    here, there = encode(busy(), NOW, spec), encode(carried(busy(), (250.0, -130.0, 2.1)), NOW, spec)
    np.testing.assert_array_equal(here.rows, there.rows)
    for name in ("state", "velocity", "valid", "there", "size"):
        np.testing.assert_allclose(getattr(here, name), getattr(there, name), atol=1e-3, err_msg=name)
    for form in (lambda xy: xy[..., 0].max(-1), lambda xy: xy[..., 1].min(-1), lambda xy: np.hypot(xy[..., 0], xy[..., 1]).sum(-1)):
        np.testing.assert_allclose(np.sort(form(here.points)), np.sort(form(there.points)), atol=1e-2)


def test_the_future_is_not_needed() -> None:
    world = busy()
    whole, cut = encode(world, NOW, SPEC), encode(world.until(NOW), NOW, SPEC)
    assert not cut.valid[:, 3:].any()
    for name in ("frame", "velocity", "points", "facts", "kind", "ways", "way_facts"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(cut, name))
    np.testing.assert_array_equal(whole.state[:, :3], cut.state[:, :3])


def test_a_world_without_lanes_has_tokens_and_no_pieces() -> None:
    world = straight_world([actor(20, 0, 0, 3.0)])
    found = encode(without_lanes(world), NOW, SPEC)
    assert not found.there.any()
    assert not found.open.any()


def test_ways_follow_the_lanes_and_know_their_signals() -> None:
    tokens = encode(crossing_world([actor(5, 0, 0, 5.0), actor(20, -9, np.pi / 2, 1.0, AgentClass.PEDESTRIAN)]), NOW, SPEC)
    assert tokens.open[0].sum() == 3  # straight on, to the right, to the left
    assert not tokens.open[tokens.kind == AgentClass.PEDESTRIAN].any()
    assert (tokens.way_facts[0, :3, Signal.GREEN] == 1).all()
    stop = 40.0 - 8.0 - tokens.frame[0, 0]  # the connectors begin 8 m before the centre of the crossing
    np.testing.assert_allclose(tokens.way_facts[0, :3, 4] * 30.0, stop, atol=0.1)
    ends = tokens.ways[0, :3, -1]
    assert {(round(float(np.sign(x - 60))), round(float(y / 50))) for x, y in ends} == {(1, 0), (-1, -1), (-1, 1)}


def test_a_world_of_another_pace_is_refused() -> None:
    with pytest.raises(ValidationError, match="resample"):
        encode(replace(busy(), dt=0.12), NOW, SPEC)


def _arc(kind: AgentClass, speed: float, push: float, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Exact motion [80, 3] at 10 Hz with constant acceleration and yaw rate, and its tokens [16, 5]."""
    fine = np.arange(1, 8001) * 1e-3
    v, h = np.maximum(speed + push * fine, 0.0), rate * fine
    xy = np.cumsum(np.column_stack([v * np.cos(h), v * np.sin(h)]) * 1e-3, 0)
    every = np.arange(99, 8000, 100)
    motion = np.column_stack([xy, h])[every]
    tokens = np.column_stack([motion[:, :2], np.cos(motion[:, 2]), np.sin(motion[:, 2]), v[every]])[4::5]
    return motion, tokens


@pytest.mark.parametrize(
    ("kind", "speed", "push", "rate"),
    [(0, 10.0, 0.0, 0.1), (0, 14.0, -3.0, 0.0), (0, 3.0, 1.5, -0.2), (2, 5.0, 0.3, 0.3), (1, 1.4, 0.0, 0.1)],
)
def test_smooth_motion_comes_back_from_its_tokens(kind: int, speed: float, push: float, rate: float) -> None:
    motion, tokens = _arc(AgentClass(kind), speed, push, rate)
    kinds, velocity = np.array([kind], np.uint8), np.array([[speed, 0.0]])
    found, driven = decode(tokens[None], np.zeros((1, 16), bool), kinds, velocity, 5)
    assert np.hypot(*(found[0] - motion)[:, :2].T).max() < 0.2
    assert np.abs(found[0, :, 2] - motion[:, 2]).max() < 0.12
    assert not driven.any()
    assert not violations(found, kinds, velocity).any()


def test_given_tokens_are_met_and_the_rest_is_near() -> None:
    _, tokens = _arc(AgentClass.VEHICLE, 8.0, 0.0, 0.05)
    given = np.zeros((1, 16), bool)
    given[0, 9] = True
    tokens[9, :2] += (0.6, 0.4)
    found, _ = decode(tokens[None], given, np.zeros(1, np.uint8), np.array([[8.0, 0.0]]), 5)
    np.testing.assert_allclose(found[0, 49, :2], tokens[9, :2], atol=1e-3)
    assert np.hypot(*(found[0, 4::5, :2] - tokens[:, :2])[:5].T).max() < 0.6


def test_who_drifts_sideways_as_it_stops_stops_where_its_tokens_are() -> None:
    """Smoothed until it turned no tighter than it can, it went on for 7.9 m and into whoever waited ahead."""
    along = [4.6, 9.1, 13.4, 17.7, 21.9, 25.8, 29.5, 32.8, 35.8, 38.2, 39.9, 41.2, 42.0, 42.3, 42.3, 42.2]
    aside = [0.0, -0.1, -0.1, -0.3, -0.4, -0.5, -0.6, -0.6, -0.7, -0.8, -0.8, -0.8, -0.7, -0.6, -0.5, -0.3]
    tokens = np.column_stack([along, aside, np.ones(16), np.zeros(16), np.zeros(16)])[None]
    kinds, velocity = np.zeros(1, np.uint8), np.array([[9.2, 0.0]])
    found, driven = decode(tokens, np.zeros((1, 16), bool), kinds, velocity, 5)
    assert not driven.any() and not violations(found, kinds, velocity).any()
    assert np.hypot(*(found[0, 4::5, :2] - tokens[0, :, :2]).T).max() < 0.6


@settings(max_examples=40, deadline=None)
@drawn(seed=st.integers(0, 999), radius=st.floats(1.0, 8.0))
def test_who_rolls_never_slips_and_turns_no_tighter_than_it_can(seed: int, radius: float) -> None:
    """Whatever the path: each step is a piece of a circle of at least that radius, tangent to the heading at both of its ends."""
    path = np.random.default_rng(seed).normal(0.3, 0.7, (5, 80, 2)).cumsum(1)
    found = rolled(path, np.full(5, radius))
    full = np.concatenate([np.zeros((5, 1, 3)), found], 1)
    step = np.diff(full, axis=1)
    turn = (step[..., 2] + np.pi) % (2 * np.pi) - np.pi
    middle = full[:, :-1, 2] + 0.5 * turn
    way = step[..., 0] * np.cos(middle) + step[..., 1] * np.sin(middle)
    np.testing.assert_allclose(step[..., 1] * np.cos(middle) - step[..., 0] * np.sin(middle), 0.0, atol=1e-9)
    assert (np.abs(turn) <= np.abs(way) / radius + 1e-9).all()


def test_who_rolls_keeps_to_a_circle_and_its_pace() -> None:
    angle = 0.5 * 0.1 * np.arange(1, 81)  # 4 m/s on a radius of 8 m
    path = 8.0 * np.column_stack([np.sin(angle), 1.0 - np.cos(angle)])[None]
    found = rolled(path, np.array([4.0]))
    assert np.hypot(*(found[0, :, :2] - path[0]).T).max() < 0.1
    assert np.abs((found[0, :, 2] - angle + np.pi) % (2 * np.pi) - np.pi).max() < 0.1


@pytest.mark.parametrize("kind", [AgentClass.VEHICLE, AgentClass.BICYCLE])
def test_wild_tokens_become_motion_within_limits(kind: AgentClass) -> None:
    rng = np.random.default_rng(3)
    tokens = np.zeros((20, 16, 5))
    tokens[..., 0] = 6.0 * 0.5 * np.arange(1, 17) + rng.normal(0, 3.0, (20, 16))
    tokens[..., 1], tokens[..., 2] = rng.normal(0, 3.0, (20, 16)), 1.0
    kinds, velocity = np.full(20, kind, np.uint8), np.tile([6.0, 0.0], (20, 1))
    given = np.zeros((20, 16), bool)
    given[::2, 3] = True  # of every other one, somewhere it cannot be
    tokens[::2, 3, :2] += rng.choice([-25.0, 25.0], (10, 2))
    found, driven = decode(tokens, given, kinds, velocity, 5)
    np.testing.assert_array_equal(driven, given.any(1))
    step = np.diff(np.concatenate([np.zeros((20, 1, 3)), found], 1), axis=1)
    speed = np.hypot(step[..., 0], step[..., 1]) / 0.1
    limits = LIMITS[kind]
    assert (np.diff(speed, axis=1) / 0.1 < limits.acceleration + 0.5).all()
    assert (np.abs(np.unwrap(found[..., 2], axis=1)[:, 1:] - np.unwrap(found[..., 2], axis=1)[:, :-1]) / 0.1 < 1.6).all()


@pytest.mark.parametrize(
    ("kind", "motion", "reason"),
    [
        (0, lambda t: (50.0 * t, 0 * t, 0 * t), "speed"),
        (0, lambda t: (5.0 * t + 4.5 * t**2, 0 * t, 0 * t), "acceleration"),
        (0, lambda t: (5.0 * t, 2.0 * t, 0 * t), "slip"),
        (0, lambda t: (2.0 * np.sin(t) / 1.0, 2.0 * (1 - np.cos(t)), t), "radius"),
        (1, lambda t: (7.0 * t, 0 * t, 0 * t), "speed"),
        (2, lambda t: (12.0 * np.sin(t), 12.0 * (1 - np.cos(t)), t), "lateral"),
    ],
)
def test_each_limit_is_noticed(kind: int, motion, reason: str) -> None:  # type: ignore[no-untyped-def]
    from wetoolkit_diffusion.kinematics import REASONS

    t = 0.1 * np.arange(1, 31)
    pose = np.column_stack(motion(t))[None]
    found = violations(pose, np.array([kind], np.uint8), pose[:, 0, :2] / 0.1)
    assert found[0, REASONS.index(reason)]


def _junction() -> World:
    """A crossing with a signalled zebra over the arm that the ego comes from, beside it a pavement, and somebody on foot there."""
    world = crossing_world([actor(28, -6, np.pi / 2, 1.2, AgentClass.PEDESTRIAN), actor(20, 0, 0, 5.0)], signals=(Signal.RED,) * 2)
    road, zebra = world.map, np.array([[33.0, -3.0], [36.0, -3.0], [36.0, 3.0], [33.0, 3.0]])
    pavement = np.array([[0.0, -8.0], [34.0, -8.0], [34.0, -5.0], [0.0, -5.0]])
    areas = replace(
        road, area_ids=(*road.area_ids, "zebra", "pavement"), area_xy=np.vstack([road.area_xy, zebra, pavement]),
        area_kind=np.append(road.area_kind, [AreaKind.CROSSWALK, AreaKind.WALKWAY]).astype(np.uint8),
        area_offset=np.append(road.area_offset, len(road.area_xy) + np.array([4, 8])).astype(np.int32),
    )  # fmt: skip
    return replace(world, map=areas, on_route=np.append(world.on_route, [False, False]))


def test_walkers_see_the_edges_of_walkways_and_the_signal_of_the_traffic_that_they_cross() -> None:
    spec = TokenSpec(lines=12)
    tokens = encode(_junction(), NOW, spec)
    walker = int(np.flatnonzero(tokens.kind == AgentClass.PEDESTRIAN)[0])
    kinds = tokens.facts[:, :, :4].argmax(-1)
    assert (kinds[walker][tokens.there[walker]] == WALK).sum() >= 6
    others = np.arange(len(tokens)) != walker
    assert not ((kinds == WALK) & tokens.there)[others].any()
    zebra = tokens.facts[walker][(kinds[walker] == CROSSING) & tokens.there[walker]]
    assert len(zebra)
    assert (zebra[:, 4 + Signal.RED] == 1).all()
    edge = tokens.points[walker][(kinds[walker] == WALK) & tokens.there[walker]]
    assert np.hypot(*np.diff(edge, axis=1).transpose(2, 0, 1)).sum(1).max() <= 6.0 + 1e-3
