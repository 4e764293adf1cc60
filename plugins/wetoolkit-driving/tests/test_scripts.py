"""Scripted events: they fire when it is time or when the ego is near, do what they say without a jump, and can be stored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wetoolkit_driving.policies import ConstantVelocity, ConstantVelocityConfig
from wetoolkit_driving.simulator import ClosedLoop, ClosedLoopConfig
from wetoolkit_driving.testing import actor, scene, straight_world
from wetoolkit_driving.traffic.engine import Traffic, start, start_all
from wetoolkit_driving.traffic.manners import TrafficConfig
from wetoolkit_driving.types import Action, AgentClass, Control, Script, World

from wetoolkit.codec import dump_block, load_block
from wetoolkit.errors import ValidationError
from wetoolkit.types import Scene

NOW, CONFIG = 20, TrafficConfig()
CONTROLS = [Control.REPLAY, Control.IDM, Control.REACTIVE]


def driven(world: World) -> Traffic:
    world.validate()
    traffic = start(world, NOW, CONFIG)
    traffic.run(NOW, world.steps - 1, world.ego.states)
    return traffic


def speeds(traffic: Traffic, a: int) -> np.ndarray:
    return np.hypot(*np.diff(traffic.agents.pose[a, :, :2].astype(float), axis=0).T) / 0.1


@pytest.mark.parametrize("control", CONTROLS)
def test_a_brake_is_the_closed_form(control: Control) -> None:
    world = straight_world([actor(40, 3.5, 0, 8.0, control=control)], speed=5.0, limit=8.0)
    traffic = driven(replace(world, scripts=(Script("a0", Action.BRAKE, at=3.0, value=4.0),)))
    # Fires at step 30, 1 s after now: 8 m on; then v^2 / 2a = 8 m more, and it stays.
    x = traffic.agents.pose[0, :, 0]
    assert x[30] == pytest.approx(48.0, abs=0.02)
    np.testing.assert_allclose(x[50:], 56.0, atol=0.05)
    t = 0.1 * np.arange(21)
    np.testing.assert_allclose(x[30:51], x[30] + 8 * t - 2 * t * t, atol=0.02)


def test_a_short_brake_hands_over_to_the_model_and_the_driver_goes_on() -> None:
    world = straight_world([actor(40, 3.5, 0, 8.0)], speed=5.0)
    traffic = driven(replace(world, scripts=(Script("a0", Action.BRAKE, at=3.0, value=3.0, seconds=1.0),)))
    v = speeds(traffic, 0)
    assert v[40] == pytest.approx(5.0, abs=0.3)
    assert v[-1] > 7.0


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("aside", [-3.5, 2.0])
def test_a_cut_in_goes_over_in_its_time(control: Control, aside: float) -> None:
    world = straight_world([actor(30, 3.5, 0, 8.0, control=control)], speed=2.0, limit=8.0)
    traffic = driven(replace(world, scripts=(Script("a0", Action.CUT_IN, at=2.0, value=aside, seconds=2.5),)))
    y = traffic.agents.pose[0, :, 1]
    assert y[NOW] == pytest.approx(3.5)
    np.testing.assert_allclose(y[NOW + 26 :], 3.5 + aside, atol=0.02)
    assert (np.diff(y) * np.sign(aside) > -1e-4).all()
    heading = traffic.agents.pose[0, :, 2]
    moved = np.diff(traffic.agents.pose[0, NOW : NOW + 26, :2].astype(float), axis=0)
    np.testing.assert_allclose(np.arctan2(moved[:, 1], moved[:, 0]), heading[NOW : NOW + 25], atol=0.08)


def test_somebody_starts_to_cross_when_the_ego_is_near() -> None:
    for control in (Control.REPLAY, Control.SOCIAL):
        world = straight_world([actor(60, -4, 0, 0.0, AgentClass.PEDESTRIAN, control=control)], speed=8.0)
        script = Script("a0", Action.CROSS, within=30.0, value=1.5, x=60.0, y=7.0)
        traffic = driven(replace(world, scripts=(script,)))
        y = traffic.agents.pose[0, :, 1]
        away = np.hypot(60 - world.ego.states[:, 0] - world.ego.vehicle.rear_to_center, 4.0)
        fired = int(np.argmax(away <= 30.0))
        assert int(traffic.events.fired[0]) == fired
        np.testing.assert_allclose(y[: fired + 1], -4.0, atol=1e-3)
        np.testing.assert_allclose(np.diff(y[fired : fired + 70]), 0.15, atol=1e-3)
        np.testing.assert_allclose(y[fired + 76 :], 7.0, atol=0.16)


def test_a_door_opens_and_is_there_for_everybody() -> None:
    car = actor(60, 2.2)
    door = actor(60, 0.9, kind=AgentClass.GENERIC_OBJECT, size=(1.1, 0.9, 1.2), seen=(NOW + 1, 100))
    world = straight_world([car, door, actor(30, 0.0, 0, 6.0, control=Control.IDM)], speed=3.0)
    traffic = driven(replace(world, scripts=(Script("a1", Action.APPEAR, at=3.5),)))
    there = traffic.agents.valid[1]
    assert not there[: 35 + 1].any()
    assert there[36:].all()
    front = traffic.agents.pose[2, :, 0] + traffic.agents.size[2, 0] / 2
    assert front.max() < 60 - 0.55  # it stops before the door
    never = driven(replace(world, scripts=(Script("a1", Action.APPEAR, within=1.0),)))
    assert not never.agents.valid[1, NOW + 1 :].any()
    assert never.agents.pose[2, -1, 0] > 65.0
    assert never.counts()["scripts_fired"] == 0


@given(
    st.sampled_from(CONTROLS), st.sampled_from([Action.BRAKE, Action.CUT_IN]), st.floats(0.5, 12), st.floats(1, 4), st.floats(2, 5)
)
@settings(max_examples=25, deadline=None)
def test_nobody_jumps(control: Control, action: Action, speed: float, value: float, at: float) -> None:
    world = straight_world([actor(20, 3.5, 0, speed, control=control), actor(75, 3.5, 0, speed)], speed=4.0)
    traffic = driven(replace(world, scripts=(Script("a0", action, at=at, value=value, seconds=2.0),)))
    v = speeds(traffic, 0)
    assert np.abs(np.diff(v[NOW:])).max() < 1.3  # m/s a step, at emergency braking 0.7
    assert traffic.agents.valid[0].all()


def test_scripts_of_many_scenes_are_those_of_each() -> None:
    worlds = []
    for i in range(3):
        world = straight_world([actor(40, 3.5, 0, 8.0), actor(20, 0, 0, 4.0, control=Control.IDM)], speed=5.0)
        scripts = (
            Script("a0", Action.BRAKE, at=3.0 + i, value=4.0),
            Script("a1", Action.CUT_IN, within=15.0, value=3.5, seconds=2.0),
        )
        worlds.append(replace(world, scripts=scripts[i % 2 :]))
    together = start_all(worlds, [NOW] * 3, CONFIG)
    for b, world in enumerate(worlds):
        together.states(b)[:] = world.ego.states
    together.run_all([0, 1, 2], [NOW] * 3, [100] * 3)
    for b, world in enumerate(worlds):
        np.testing.assert_array_equal(together.tables[b].pose, driven(world).agents.pose)


def test_a_scene_with_scripts_can_be_stored_and_the_policy_does_not_see_them() -> None:
    world = replace(straight_world([actor(40, 3.5, 0, 8.0)]), scripts=(Script("a0", Action.BRAKE, at=3.0, within=45.0, value=4.0),))
    (again,), _ = load_block(dump_block([scene(world)]), Scene, World)
    assert again.world.scripts == world.scripts
    assert world.until(50).scripts == ()
    (rollout,) = ClosedLoop(ClosedLoopConfig()).rollout([again], ConstantVelocity(ConstantVelocityConfig()), [0])
    assert rollout.settings["scripts_fired"] == "1"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (Script("nobody", Action.BRAKE), "no agent 'nobody'"),
        (Script("a0", Action.BRAKE, at=float("nan")), "NaN"),
        (Script("a0", Action.BRAKE, value=-2.0), "value is -2.0"),
        (Script("a0", Action.CUT_IN, value=-2.0), "takes no time"),
        (Script("a0", Action.CROSS), "at no speed"),
        (Script("a0", Action.BRAKE, within=-1.0), "negative"),
    ],
)
def test_a_wrong_script_is_a_clear_error(script: Script, said: str) -> None:
    world = straight_world([actor(40, 3.5, 0, 8.0)])
    with pytest.raises(ValidationError, match=said) as caught:
        replace(world, scripts=(script,)).validate()
    assert "world.scripts" in str(caught.value)
    fine = Script("a0", Action.BRAKE, value=1.0)
    with pytest.raises(ValidationError, match="two scripts"):
        replace(world, scripts=(fine, fine)).validate()


def test_a_script_of_somebody_who_is_gone_never_fires() -> None:
    world = straight_world([actor(40, 3.5, 0, 8.0, seen=(0, 15))])
    traffic = driven(replace(world, scripts=(Script("a0", Action.BRAKE, value=4.0),)))
    assert traffic.counts()["scripts_fired"] == 0
