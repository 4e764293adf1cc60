"""The behaviours mixed, constant-velocity and perturb: their contracts, their shares, and what they leave alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from wetoolkit_driving.testing import actor, scene, straight_world
from wetoolkit_driving.traffic.constant import ConstantTraffic, ConstantTrafficConfig
from wetoolkit_driving.traffic.mixed import MixedTraffic, MixedTrafficConfig
from wetoolkit_driving.traffic.perturb import Perturb, PerturbConfig, aside, retimed
from wetoolkit_driving.types import Action, AgentClass, Control, World

from wetoolkit.config import checked
from wetoolkit.errors import ConfigError
from wetoolkit.testing import BehaviourContract
from wetoolkit.types import Clock, Scene

KINDS = (AgentClass.VEHICLE, AgentClass.BICYCLE, AgentClass.PEDESTRIAN)
NOW = 20


def busy(count: int = 9) -> Scene[World]:
    actors = [actor(10.0 * i, 3.5 * (i % 2), 0, 2.0 + i % 7, KINDS[i % 3]) for i in range(count)]
    still = [actor(100, 3.5), actor(50, -3, kind=AgentClass.TRAFFIC_CONE), actor(20, 0, 0, 5.0, seen=(0, 15))]
    return scene(straight_world([*actors, *still]))


class Shared(BehaviourContract):
    def scene(self) -> Scene[World]:
        return busy()

    def members(self, world: World) -> tuple[str, ...]:
        return world.agents.ids

    def another_future(self, world: World, step: int) -> World:
        pose, velocity = world.agents.pose.copy(), world.agents.velocity.copy()
        pose[:, step + 1 :] += 5.0
        velocity[:, step + 1 :] *= 0.5
        return replace(world, agents=replace(world.agents, pose=pose, velocity=velocity))


class TestMixedContract(Shared):
    def make(self) -> MixedTraffic:
        return MixedTraffic(MixedTrafficConfig(hesitating=0.3, reckless=0.3, speed_spread=0.1))


class TestConstantContract(Shared):
    def make(self) -> ConstantTraffic:
        return ConstantTraffic(ConstantTrafficConfig(fraction=0.5))


class TestPerturbContract(Shared):
    def make(self) -> Perturb:
        return Perturb(PerturbConfig())


def test_each_class_is_moved_by_its_own_model() -> None:
    (varied,) = MixedTraffic(MixedTrafficConfig()).vary(busy(), 1, 0)
    control = varied.world.agents.control
    assert control[:9].tolist() == [Control.REACTIVE, Control.PATH, Control.SOCIAL] * 3
    assert (control[9:] == Control.REPLAY).all()
    assert not varied.world.agents.manners.any()  # nothing is spread: the manners of the class
    (other,) = MixedTraffic(MixedTrafficConfig(vehicle="replay", bicycle="idm", pedestrian="replay")).vary(busy(), 1, 0)
    assert other.world.agents.control[:9].tolist() == [Control.REPLAY, Control.IDM, Control.REPLAY] * 3


def test_hesitating_and_reckless_are_the_shares_asked() -> None:
    behaviour = MixedTraffic(MixedTrafficConfig(hesitating=0.25, reckless=0.5, patience=6.0))
    headway = np.concatenate([s.world.agents.manners[2:90:3, 2] for s in behaviour.vary(busy(90), 20, 3)])
    for value, share in ((-1.0, 0.5), (6.0, 0.25), (0.0, 0.25)):
        assert abs((headway == value).mean() - share) < 4 * np.sqrt(share * (1 - share) / len(headway))
    with pytest.raises(ConfigError, match="at most 1"):
        checked(MixedTrafficConfig, {"hesitating": 0.7, "reckless": 0.7})


def test_constant_velocity_goes_straight_on() -> None:
    world = busy().world
    (reaction,) = ConstantTraffic(ConstantTrafficConfig()).react([world], [Clock(0.1, NOW, 101)], [0])
    there = world.agents.valid[:, NOW]
    assert reaction.states.shape == (12, 40, 3)
    np.testing.assert_array_equal(reaction.valid, np.repeat(there[:, None], 40, 1))
    # these tracks are straight at one speed: the log itself goes so
    np.testing.assert_allclose(reaction.states[there], world.agents.pose[there, NOW + 1 : NOW + 41], atol=1e-4)


def test_perturbed_tracks_do_not_jump_and_keep_the_past() -> None:
    source = busy()
    behaviour = Perturb(PerturbConfig(rules=("time", "speed", "aside")))
    changed = 0
    for varied in behaviour.vary(source, 30, 1):
        a, log = varied.world.agents, source.world.agents
        np.testing.assert_array_equal(a.pose[:, : NOW + 1], log.pose[:, : NOW + 1])
        np.testing.assert_array_equal(a.valid[:, : NOW + 1], log.valid[:, : NOW + 1])
        both = a.valid[:, 1:] & a.valid[:, :-1]
        moved = np.hypot(*np.diff(a.pose[..., :2].astype(float), axis=1).transpose(2, 0, 1))
        rate = np.hypot(*a.velocity[:, 1:].astype(float).transpose(2, 0, 1))
        assert (np.abs(moved - 0.1 * rate)[both] < 0.06).all()  # speeds are those of the poses
        assert (np.abs(np.diff(moved, axis=1))[both[:, 1:] & both[:, :-1]] < 0.06).all()
        rows = (a.pose != log.pose).any((1, 2))
        changed += int(rows.sum())
        assert 1 <= rows.sum() <= 2
        assert varied.variant.count(",") + 1 >= rows.sum()
    assert changed > 30


def test_rules_are_what_they_say() -> None:
    agents = straight_world([actor(10, 0, 0, 8.0), actor(10, 3.5, 0, 8.0)]).agents
    late = retimed(agents, 0, NOW, 0.1, 0.1 * np.arange(81) * 0.5)
    np.testing.assert_allclose(late.pose[0, NOW:, 0], 10 + 0.4 * np.arange(81), atol=1e-4)
    np.testing.assert_allclose(late.velocity[0, NOW + 1 :, 0], 4.0, atol=1e-4)
    early = retimed(agents, 0, NOW, 0.1, 0.1 * np.arange(81) * 2)
    assert early.valid[0, : NOW + 41].all()
    assert not early.valid[0, NOW + 41 :].any()
    moved = aside(agents, 1, NOW, 0.1, 1.0)
    assert moved.pose[1, -1, 1] == pytest.approx(4.5)
    assert moved.velocity[1, NOW + 1 :, 1].max() < 1.05
    np.testing.assert_array_equal(moved.pose[0], agents.pose[0])


def test_a_cut_in_is_a_script_of_somebody_beside_and_ahead() -> None:
    world = straight_world([actor(15, 3.5, 0, 9.0), actor(-20, 3.5, 0, 9.0), actor(15, -4, np.pi, 9.0)])
    for varied in Perturb(PerturbConfig(rules=("cut-in",))).vary(scene(world), 5, 0):
        (script,) = varied.world.scripts
        assert (script.agent, script.action) == ("a0", Action.CUT_IN)
        assert script.value == pytest.approx(-3.5, abs=1e-4)
        assert 2.0 <= script.at < 3.0
    nobody = straight_world([actor(-20, 3.5, 0, 9.0)])
    (varied,) = Perturb(PerturbConfig(rules=("cut-in",))).vary(scene(nobody), 1, 0)
    assert not varied.world.scripts
    assert Perturb(PerturbConfig()).vary(scene(straight_world([actor(10, 3.5)])), 3, 0) == []
