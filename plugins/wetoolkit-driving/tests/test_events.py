"""Events and steps of drives: who, when, how fast, whose fault; the same verdict as the score's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from wetoolkit_driving.events import NOBODY, box_distance, stretches
from wetoolkit_driving.geometry import box_corners, ego_corners
from wetoolkit_driving.pdm.reward import PdmReward, PdmRewardConfig
from wetoolkit_driving.simulator import ClosedLoop, ClosedLoopConfig
from wetoolkit_driving.testing import actor, crossing_world, scene, straight_world
from wetoolkit_driving.types import AgentClass, Signal, World

from wetoolkit.events import Event
from wetoolkit.record import drives
from wetoolkit.types import Observation, ObservationSpec, Plan, Rollout

NOW = 20
REWARD = PdmReward(PdmRewardConfig())


class Path:
    """Drives the same plan [40, 3] at every decision."""

    spec = ObservationSpec(history=1, fields=("ego",))

    def __init__(self, speed: float, side: float = 0.0) -> None:
        time = 0.1 * np.arange(1, 41)
        self.plan = np.column_stack([speed * time, side * time, np.full(40, np.arctan2(side, speed) if speed else 0.0)])

    def act(self, observation: Observation[World], seed: int) -> Plan:
        return Plan(np.repeat(self.plan[None], observation.size, 0))


def drive(world: World, speed: float = 8.0, side: float = 0.0, horizon: float = 4.0) -> Rollout[World]:
    return ClosedLoop(ClosedLoopConfig(dynamics="perfect")).rollout([scene(world)], Path(speed, side), [0], horizon)[0]


def events(rollout: Rollout[World]) -> list[Event]:
    (found,) = REWARD.events([rollout])
    scores = REWARD.judge([rollout])
    (kept,) = drives(REWARD, [rollout], scores.success)  # checks that events and success agree
    assert np.isnan(kept.failed_at) == bool(scores.success[0])
    return list(found)


def of(found: list[Event], kind: str) -> list[Event]:
    return [event for event in found if event.kind == kind]


def test_nothing_happens_on_an_empty_road() -> None:
    assert events(drive(straight_world(speed=8.0))) == []


def test_driving_into_a_standing_car_is_told_with_time_speeds_and_fault() -> None:
    """The bumper is 4.049 m ahead of the rear axle, the other's rear at 20 - 2.3 m: at 8 m/s they meet after 1.706 s."""
    world = straight_world([actor(20.0, 0.0)], speed=8.0)
    (hit,) = of(events(drive(world)), "collision")
    assert (hit.time, hit.step, hit.who, hit.fault, hit.fails) == (1.8, NOW + 18, "a0", "self", True)
    assert hit.speed == pytest.approx(8.0, abs=1e-6)
    assert hit.other_speed == 0.0
    assert hit.evidence == {"class": "vehicle"}
    (close,) = of(events(drive(world)), "low_ttc")
    assert close.who == "a0"
    assert not close.fails
    assert 0.0 <= hit.time - close.time <= 1.0


def test_being_hit_from_behind_while_standing_is_the_others_fault_and_no_failure() -> None:
    world = straight_world([actor(-15.0, 0.0, 0.0, 6.0)], speed=0.0)
    (hit,) = of(events(drive(world, 0.0)), "collision")
    assert (hit.who, hit.fault, hit.fails) == ("a0", "other", False)
    assert hit.other_speed == pytest.approx(6.0)
    assert hit.speed == 0.0


def test_every_track_that_is_touched_has_an_event_of_its_own() -> None:
    world = straight_world([actor(20.0, 0.0), actor(32.0, 0.0, kind=AgentClass.TRAFFIC_CONE), actor(12.0, 30.0)], speed=8.0)
    hits = of(events(drive(world)), "collision")
    assert [(hit.who, hit.evidence["class"]) for hit in hits] == [("a0", "vehicle"), ("a1", "traffic_cone")]


def test_leaving_the_road_and_coming_back() -> None:
    rollout = drive(straight_world(speed=8.0), 8.0, 3.0)
    (left,) = of(events(rollout), "off_road")
    assert (left.fails, left.fault, left.who) == (True, "self", "")
    off = REWARD.steps([rollout])[0]["off the road"]
    assert left.step == NOW + int(off.argmax())
    assert left.evidence["seconds"] == pytest.approx(0.1 * off.sum())


def test_entering_under_a_red_light_is_told_and_under_green_is_not() -> None:
    for signal in (Signal.RED, Signal.GREEN):
        world = crossing_world()
        world = replace(world, signals=np.full_like(world.signals, signal))
        found = of(events(drive(world, 12.0, horizon=6.0)), "red_light")
        assert len(found) == (1 if signal == Signal.RED else 0)


def test_steps_agree_with_the_executed_states() -> None:
    rollout = drive(straight_world([actor(30.0, 3.5, 0.0, 2.0)], speed=8.0), 8.0)
    (steps,) = REWARD.steps([rollout])
    states = rollout.world.ego.states[NOW : rollout.end]
    np.testing.assert_array_equal(steps["speed [m/s]"], states[:, 3])
    agents, vehicle = rollout.world.agents, rollout.world.ego.vehicle
    for k in range(0, len(states), 5):
        other = shapely.Polygon(box_corners(agents.pose[0, NOW + k].astype(float), *agents.size[0, :2].astype(float)))
        due = shapely.Polygon(ego_corners(states[k], vehicle)).distance(other)
        assert steps["gap [m]"][k] == pytest.approx(due, abs=1e-9)
    assert set(REWARD.steps([drive(straight_world())])[0]["gap [m]"]) == {NOBODY}


@settings(deadline=None)
@given(st.lists(st.floats(-6, 6), min_size=6, max_size=6), st.floats(0.2, 5), st.floats(0.2, 5))
def test_box_distance_is_shapelys(pose: list[float], length: float, width: float) -> None:
    a = box_corners(np.array(pose[:3]), length, width)[None]
    b = box_corners(np.array(pose[3:]), width, length)[None]
    assert box_distance(a, b)[0] == pytest.approx(shapely.Polygon(a[0]).distance(shapely.Polygon(b[0])), abs=1e-7)


@given(st.lists(st.booleans(), max_size=30))
def test_stretches_cover_the_mask_and_nothing_else(mask: list[bool]) -> None:
    runs = stretches(np.array(mask, bool))
    covered = [any(first <= i <= last for first, last in runs) for i in range(len(mask))]
    assert covered == mask
    assert all(runs[i][1] + 1 < runs[i + 1][0] for i in range(len(runs) - 1))


def test_a_batch_equals_its_singles() -> None:
    rollouts = [drive(straight_world([actor(20.0, 0.0)], speed=8.0)), drive(crossing_world(), 9.0)]
    assert REWARD.events(rollouts) == [REWARD.events([rollout])[0] for rollout in rollouts]
    assert REWARD.events([]) == []
