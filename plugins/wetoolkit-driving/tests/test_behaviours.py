"""Variants: seeded, complete, and different from one another only where they say so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from wetoolkit_driving.testing import actor, scene, straight_world
from wetoolkit_driving.traffic.behaviours import IdmTraffic, IdmTrafficConfig, ReplayTraffic, ReplayTrafficConfig
from wetoolkit_driving.types import AgentClass, Control

KINDS = (AgentClass.VEHICLE, AgentClass.BICYCLE, AgentClass.PEDESTRIAN)


def busy(count: int = 9):  # type: ignore[no-untyped-def]
    actors = [actor(10.0 * i, 3.5 * (i % 2), 0, 2.0 + i, KINDS[i % 3]) for i in range(count)]
    still = [actor(100, 3.5), actor(50, -3, kind=AgentClass.TRAFFIC_CONE), actor(20, 0, 0, 5.0, seen=(0, 15))]
    return scene(straight_world([*actors, *still]))


def test_all_that_moves_reacts_and_the_rest_repeats_its_log() -> None:
    (varied,) = IdmTraffic(IdmTrafficConfig()).vary(busy(), 1, 0)
    agents = varied.world.agents
    assert agents.control.tolist() == [Control.IDM] * 9 + [Control.REPLAY] * 3
    assert agents.manners is not None
    assert agents.manners[:9].all()
    assert not agents.manners[9:].any()
    np.testing.assert_array_equal(agents.pose, busy().world.agents.pose)


def test_a_variant_does_not_depend_on_how_many_are_asked() -> None:
    idm = IdmTraffic(IdmTrafficConfig(fraction=0.5))
    few, many = idm.vary(busy(), 2, 5), idm.vary(busy(), 4, 5)
    for a, b in zip(few, many, strict=False):
        assert (a.id, a.variant) == (b.id, b.variant)
        np.testing.assert_array_equal(a.world.agents.manners, b.world.agents.manners)
    assert not np.array_equal(many[0].world.agents.manners, many[1].world.agents.manners)
    assert not np.array_equal(many[0].world.agents.manners, idm.vary(busy(), 1, 6)[0].world.agents.manners)
    other = idm.vary(replace(busy(), id="another"), 1, 5)[0]
    assert not np.array_equal(many[0].world.agents.manners, other.world.agents.manners)


def test_the_share_that_reacts_is_the_one_asked() -> None:
    shares = [
        (scene_.world.agents.control == Control.IDM).sum() / 90
        for scene_ in IdmTraffic(IdmTrafficConfig(fraction=0.3)).vary(busy(90), 20, 1)
    ]
    assert abs(float(np.mean(shares)) - 0.3) < 4 * np.sqrt(0.3 * 0.7 / (20 * 90))
    (none,) = IdmTraffic(IdmTrafficConfig(fraction=0.0)).vary(busy(), 1, 0)
    assert not (none.world.agents.control == Control.IDM).any()


def test_drawn_manners_have_the_asked_spread_around_their_class() -> None:
    varied = IdmTraffic(IdmTrafficConfig(headway_spread=0.3)).vary(busy(90), 20, 1)
    headways = np.array([s.world.agents.manners[0:90:3, 2] for s in varied])  # vehicles
    logs = np.log(headways / 1.5)
    assert abs(logs.mean()) < 0.03
    assert abs(logs.std() - 0.3) < 0.03
    assert np.abs(logs).max() <= np.log(2) + 1e-6


def test_replay_gives_the_log_once() -> None:
    source = busy()
    varied = ReplayTraffic(ReplayTrafficConfig()).vary(source, 5, 0)
    assert len(varied) == 1
    assert (varied[0].world.agents.control == Control.REPLAY).all()
    np.testing.assert_array_equal(varied[0].world.ego.states, source.world.ego.states)


def test_replay_with_a_spread_starts_at_other_speeds() -> None:
    varied = ReplayTraffic(ReplayTrafficConfig(speed_spread=0.2)).vary(busy(), 4, 0)
    speeds = [s.world.ego.states[20, 3] for s in varied]
    assert len(varied) == len(set(speeds)) == 4
    assert all(5.0 <= speed <= 15.0 for speed in speeds)
    past = np.arange(101) != 20
    np.testing.assert_array_equal(varied[0].world.ego.states[past], busy().world.ego.states[past])
