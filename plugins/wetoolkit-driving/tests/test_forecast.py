"""The forecast: the record where the plan was driven, a reaction where it was not; and the reward that is scored among it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from wetoolkit_driving.policies import ConstantVelocity, ConstantVelocityConfig
from wetoolkit_driving.simulator import ClosedLoop, ClosedLoopConfig, straight_on
from wetoolkit_driving.testing import actor, scene, straight_world
from wetoolkit_driving.traffic.forecast import BEYOND, forecast, reacts
from wetoolkit_driving.traffic.manners import TrafficConfig
from wetoolkit_driving.types import Action, AgentClass, Control, Script, World

from wetoolkit.types import Rollout

CONFIG, NOW = TrafficConfig(), 20


def busy(speed: float = 8.0) -> World:
    return straight_world(
        [
            actor(-15, 0, 0, 8.0, control=Control.IDM),
            actor(-20, 3.5, 0, 7.0, control=Control.REACTIVE),
            actor(25, -1.3, 0, 4.0, AgentClass.BICYCLE, control=Control.PATH),
            actor(45, -4, np.pi / 2, 1.3, AgentClass.PEDESTRIAN, control=Control.SOCIAL),
            actor(60, 3.5, 0, 6.0),
        ],
        speed=speed,
    )


def driven(world: World) -> Rollout[World]:
    """A record in which one plan is driven for 4 s."""
    (rollout,) = ClosedLoop(ClosedLoopConfig(replan=4.0)).rollout([scene(world)], ConstantVelocity(ConstantVelocityConfig()), [0])
    return rollout


def braking(speed: float, rate: float) -> np.ndarray:
    t = 0.1 * np.arange(1, 41)
    x = np.where(t < speed / rate, speed * t - 0.5 * rate * t * t, 0.5 * speed**2 / rate)
    return np.column_stack([x, np.zeros((40, 2))])


def test_the_forecast_for_the_plan_that_was_driven_is_the_record() -> None:
    rollout = driven(busy())
    seen = forecast(rollout.world, NOW, rollout.plans[0], CONFIG)
    steps = seen.steps
    assert steps == min(NOW + 40 + BEYOND + 1, rollout.world.steps)
    np.testing.assert_allclose(seen.ego.states[:61], rollout.world.ego.states[:61], atol=1e-9)
    for name in ("pose", "velocity", "valid"):
        was = getattr(rollout.world.agents, name)[:, :steps]
        np.testing.assert_allclose(getattr(seen.agents, name), was, atol=2e-3, err_msg=name)
    later = forecast(rollout.world, NOW + 10, straight_on(rollout.world.ego.states[NOW + 10]), CONFIG)
    np.testing.assert_allclose(later.agents.pose, rollout.world.agents.pose[:, : later.steps], atol=0.02)


def test_who_follows_brakes_if_the_plan_does_and_the_past_stays() -> None:
    rollout = driven(busy())
    seen = forecast(rollout.world, NOW, braking(8.0, 3.0), CONFIG)
    was = rollout.world.agents
    np.testing.assert_array_equal(seen.agents.pose[:, : NOW + 1], was.pose[:, : NOW + 1])
    assert seen.agents.pose[0, 60, 0] < was.pose[0, 60, 0] - 5.0
    front = seen.agents.pose[0, NOW:, 0] + seen.agents.size[0, 0] / 2
    assert (front < seen.ego.states[NOW:, 0] - seen.ego.vehicle.rear).all()  # it is not hit from behind
    np.testing.assert_array_equal(seen.agents.pose[4], was.pose[4, : seen.steps])  # replayed
    np.testing.assert_array_equal(seen.agents.control, was.control)
    seen.validate()


def test_equal_arguments_give_equal_forecasts_and_nothing_is_changed() -> None:
    record = driven(busy()).world
    before = record.agents.pose.copy()
    one, two = (forecast(record, NOW + 3, braking(8.0, 2.0), CONFIG) for _ in range(2))
    np.testing.assert_array_equal(one.agents.pose, two.agents.pose)
    np.testing.assert_array_equal(record.agents.pose, before)
    eight = forecast(record, NOW + 3, braking(8.0, 2.0)[4::5], CONFIG, 0.5)  # the same plan at 2 Hz
    np.testing.assert_allclose(eight.agents.pose, one.agents.pose, atol=0.3)


def test_a_world_without_reaction_is_its_own_forecast() -> None:
    world = busy()
    still = replace(world, agents=replace(world.agents, control=np.zeros(5, np.uint8)))
    assert forecast(still, NOW, braking(8.0, 3.0), CONFIG) is still
    external = replace(world, agents=replace(world.agents, control=np.full(5, Control.EXTERNAL, np.uint8)))
    assert not reacts(external).any()
    scripted = replace(world, scripts=(Script("a0", Action.BRAKE, at=3.0, value=2.0),))
    assert reacts(scripted).tolist() == [False, True, True, True, False]


def test_what_a_script_did_is_done_again_in_the_forecast() -> None:
    world = replace(busy(), scripts=(Script("a4", Action.BRAKE, at=2.5, value=3.0),))
    rollout = driven(world)
    assert rollout.settings["scripts_fired"] == "1"
    seen = forecast(rollout.world, NOW + 10, braking(8.0, 3.0), CONFIG)
    np.testing.assert_array_equal(seen.agents.pose[4], rollout.world.agents.pose[4, : seen.steps])
    assert seen.agents.pose[4, -1, 0] < world.agents.pose[4, 60, 0] - 5.0


@pytest.mark.parametrize("step", [98, 99])
def test_at_the_end_of_the_record_there_is_little_to_forecast(step: int) -> None:
    seen = forecast(busy(), step, braking(8.0, 3.0), CONFIG)
    assert seen.steps == 101
    seen.validate()
