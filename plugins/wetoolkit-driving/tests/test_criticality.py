"""Near-misses against closed forms of bodies on straight lines."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wetoolkit_driving.miners.criticality import NONE, CriticalityMiner, CriticalityMinerConfig, conflicts, turn_rates
from wetoolkit_driving.testing import actor, ego_states, scenario, straight_world
from wetoolkit_driving.types import AgentClass, Vehicle, World

from wetoolkit.types import Failure

NOW, FRONT, REAR = 20, Vehicle().front, Vehicle().rear


def mine(world: World, **settings_: float) -> list[Failure]:
    return list(CriticalityMiner(CriticalityMinerConfig(**settings_)).mine([scenario(world)], None, None, 0))  # type: ignore[arg-type]


def stopping(x: float, speed: float = 10.0, braking: float = 5.0, **options: object) -> World:
    """The ego brakes at a constant rate from now on, before something standing at x."""
    speeds = np.where(np.arange(101) > NOW, np.maximum(speed - braking * 0.1 * (np.arange(101) - NOW), 0.0), speed)
    return straight_world([actor(x, 0, **options)], speed=speeds)  # type: ignore[arg-type]


@given(gap=st.floats(6.0, 30.0), speed=st.floats(5.0, 12.0))
@settings(max_examples=30, deadline=None)
def test_ttc_and_deceleration_of_approaching_a_standing_body(gap: float, speed: float) -> None:
    world = straight_world([actor(FRONT + gap + 2.3, 0)], speed=speed)
    ttc, drac, _ = conflicts(world, NOW, 0.0, 1.5, 0.5)  # judged at now alone
    due = gap / speed
    if due > 4.0:
        assert ttc[0, 0] == NONE
        return
    assert due - 1e-5 <= ttc[0, 0] <= due + 0.1 + 1e-5  # contact is seen on a grid of 0.1 s
    assert drac[0, 0] == pytest.approx(speed / (2 * ttc[0, 0]))
    assert drac[0, 0] <= speed**2 / (2 * gap) + 1e-4


def test_a_leader_that_is_as_fast_is_no_conflict() -> None:
    ttc, drac, pet = conflicts(straight_world([actor(8.0, 0, 0, 10.0)]), NOW, 4.0, 1.5, 0.5)
    assert (ttc[0, 0], drac[0, 0], pet[0, 0]) == (NONE, 0.0, NONE)
    assert mine(straight_world([actor(8.0, 0, 0, 10.0)])) == []


def test_neighbours_and_bodies_from_behind_are_no_near_miss() -> None:
    assert mine(straight_world([actor(3, 3.5, 0, 8.0), actor(20, 3.5)])) == []
    world = straight_world([actor(-12, 0, 0, np.where(np.arange(101) < 28, 14.0, 10.0))])
    assert mine(world) == []


@given(delay=st.integers(1, 25))
@settings(max_examples=25, deadline=None)
def test_pet_of_a_crossing_body_is_its_delay_after_the_ego_has_left(delay: int) -> None:
    # The conflict area is the square in which both sweeps overlap; the ego leaves it when its rear passes the other's near side.
    width, length, speed, pace = 1.9, 4.6, 10.0, 5.0
    leaves = (20.0 + width / 2 + REAR) / speed  # seconds after now at which the ego's rear has passed x = 20 + width / 2
    arrives = leaves + delay * 0.1
    y = -Vehicle().width / 2 - length / 2 - pace * arrives
    world = straight_world([actor(20.0, y, np.pi / 2, pace)], speed=speed)
    _, _, pet = conflicts(world, NOW, 6.0, 3.0, 0.5)
    assert pet[0, 0] == pytest.approx(delay * 0.1, abs=0.2 + 1e-6)  # both ends are seen on a grid of 0.1 s


def test_following_has_no_pet() -> None:
    _, _, pet = conflicts(straight_world([actor(15, 0, 0, 9.0)]), NOW, 4.0, 1.5, 0.5)
    assert pet[0, 0] == NONE


def test_severity_rises_as_it_gets_closer() -> None:
    severities = [found[0].severity if (found := mine(stopping(x))) else 0.0 for x in np.arange(24.0, 16.0, -0.5)]
    assert severities[0] == 0.0
    assert severities[-1] > 0.3
    assert (np.diff(severities) >= -1e-12).all()


@pytest.mark.parametrize("kind", list(AgentClass))
def test_every_class_counts_and_is_named(kind: AgentClass) -> None:
    (found,) = mine(stopping(15.5, kind=kind))
    found.validate()
    assert found.evidence["class"] == kind.name.lower()
    assert found.evidence["agent"] == "a0"
    assert found.kind in ("ttc", "drac")
    assert found.step == NOW


def test_the_worst_of_all_agents_is_the_failure() -> None:
    near, far = stopping(16.0), stopping(17.5)
    (both,) = mine(straight_world([actor(17.5, 0), actor(16.0, 0)], speed=near.ego.states[:, 3]))
    assert both.severity == pytest.approx(mine(near)[0].severity)
    assert both.evidence["agent"] == "a1"
    assert mine(far)[0].severity < both.severity


def test_an_ordinary_stop_is_no_near_miss() -> None:
    # 2 m/s^2 from 10 m/s to 1 m behind a standing car: its TTC falls to v / 4 + 1 / v = 1 s at 2 m/s
    world = stopping(FRONT + 2.3 + 25.5 + 1.0, braking=2.0)
    assert 0.8 < conflicts(world, NOW, 6.0, 1.5, 0.5)[0][0, 0] < 1.2
    assert mine(world, window=6.0) == []


def test_only_the_window_after_now_counts() -> None:
    world = stopping(17.0)
    assert mine(world)
    source = scenario(world, now=60)  # the ego stands by then
    assert CriticalityMiner(CriticalityMinerConfig()).mine([source], None, None, 0) == []  # type: ignore[arg-type]
    assert mine(straight_world([actor(80, 0, seen=(90, 100))])) == []  # beyond four seconds


def test_thresholds_are_settings() -> None:
    world = stopping(21.0, braking=4.0)
    loose, strict = mine(world, ttc=3.0, comfort=0.0), mine(world, ttc=0.2, drac=20.0, brakes=30.0)
    assert loose and not strict


def test_a_turning_ego_does_not_threaten_what_stands_straight_ahead() -> None:
    world = straight_world([actor(22, 0)])
    states = ego_states(8.0)
    t = 0.1 * (np.arange(101) - NOW)
    rate = 0.5
    states[:, 0], states[:, 1], states[:, 2] = 16 * np.sin(rate * t), 16 * (1 - np.cos(rate * t)), rate * t
    states[:, 2] = np.mod(states[:, 2] + np.pi, 2 * np.pi) - np.pi
    states[:, 9] = rate
    turning = replace(world, ego=replace(world.ego, states=states))
    assert conflicts(turning, NOW, 0.0, 1.5, 0.5)[0][0, 0] == NONE
    blind = states.copy()
    blind[:, 9] = 0.0
    assert conflicts(replace(world, ego=replace(world.ego, states=blind)), NOW, 0.0, 1.5, 0.5)[0][0, 0] < 4.0


def test_a_turning_body_is_expected_to_go_on_turning() -> None:
    # At 5 m/s on a circle of 10 m: its yaw rate is v / r, and after half a turn it comes back towards the ego.
    heading = 0.5 * 0.1 * (np.arange(101) - NOW)
    pose = np.column_stack([20 + 10 * np.sin(heading), -8 - 10 * (np.cos(heading) - 1), heading])
    velocity = 5.0 * np.column_stack([np.cos(heading), np.sin(heading)])
    world = straight_world([actor(20, -8, 0, 5.0)], speed=1.0)
    agents = replace(world.agents, pose=pose[None].astype(np.float32), velocity=velocity[None].astype(np.float32))
    turning = replace(world, agents=agents)
    assert turn_rates(turning)[0, NOW] == pytest.approx(0.5, abs=1e-3)
    assert not turn_rates(world).any()
    on_foot = replace(agents, kind=np.array([AgentClass.PEDESTRIAN], np.uint8))
    assert not turn_rates(replace(turning, agents=on_foot)).any()
    # An oncoming car that turns to its right before the ego: straight on it would run into the ego's lane.
    rate, t = -0.5, 0.1 * (np.arange(101) - NOW)
    course = np.pi + 0.35 + rate * t
    pose[:, 0] = 24 + 5 / rate * (np.sin(course) - np.sin(course[NOW]))
    pose[:, 1] = 3.5 - 5 / rate * (np.cos(course) - np.cos(course[NOW]))
    pose[:, 2] = np.mod(course + np.pi, 2 * np.pi) - np.pi
    velocity = 5.0 * np.column_stack([np.cos(course), np.sin(course)])
    agents = replace(world.agents, pose=pose[None].astype(np.float32), velocity=velocity[None].astype(np.float32))
    turns = replace(straight_world(speed=5.0), agents=agents)
    straight = straight_world([actor(24, 3.5, np.pi + 0.35, 5.0)], speed=5.0)
    assert conflicts(turns, NOW, 0.0, 1.5, 0.5)[0][0, 0] == NONE
    assert conflicts(straight, NOW, 0.0, 1.5, 0.5)[0][0, 0] < 4.0


def test_worlds_without_agents_have_none() -> None:
    assert mine(straight_world([])) == []
