"""Cyclists on their side of the road, and everybody together in the engine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from wetoolkit_driving.geometry import project
from wetoolkit_driving.roads import join as join_lanes
from wetoolkit_driving.testing import actor, crossing_world, straight_world
from wetoolkit_driving.traffic.cyclists import CRUISE, cyclist_path
from wetoolkit_driving.traffic.engine import start, start_all
from wetoolkit_driving.traffic.manners import TrafficConfig, parameters
from wetoolkit_driving.traffic.paths import roads_of
from wetoolkit_driving.types import AgentClass, Agents, Control, Signal, World

NOW, CONFIG = 20, TrafficConfig()
RIDER = AgentClass.BICYCLE


def driven(world: World) -> Agents:
    traffic = start(world, NOW, CONFIG)
    traffic.run(NOW, world.steps - 1, world.ego.states)
    return traffic.agents


@pytest.mark.parametrize("offset", [-1.4, 0.0, 1.2])
def test_a_path_beyond_the_record_keeps_its_offset_round_a_corner(offset: float) -> None:
    source = crossing_world(speed=0.0, signals=(Signal.GREEN, Signal.GREEN), distance=60.0)
    line = source.map.centre_line(source.map.lane_ids.index("in0"))
    world = crossing_world(
        [actor(float(line[-1, 0]) - 12, float(line[-1, 1]) + offset, 0, 5.0, RIDER, seen=(0, 24))], speed=0.0, distance=60.0
    )
    table = parameters(world.agents, CONFIG)
    path = cyclist_path(world, 0, NOW, table[0], roads_of(world.map))
    lanes = [world.map.lane_ids.index(name) for name in ("in0", "straight0", "out0")]
    place, found = project(join_lanes(world.map, lanes), path.poses[:, :2])
    inside = np.arange(len(place)) < (5.0 * 8.1 + 20.0) / 0.5  # farther than it can come in the record's time
    np.testing.assert_allclose(found[inside], offset, atol=0.05)
    assert np.hypot(*np.diff(path.poses[:, :2], axis=0).T).max() <= 0.5 + 1e-6
    assert path.speed.max() == pytest.approx(5.0, abs=1e-3)  # its own pace, not the lane's limit


def test_somebody_recorded_slower_means_to_ride_at_a_cyclists_pace() -> None:
    world = straight_world([actor(10, -1.2, 0, 1.0, RIDER)])
    path = cyclist_path(world, 0, NOW, parameters(world.agents, CONFIG)[0], roads_of(world.map))
    assert path.speed.max() == pytest.approx(CRUISE)


def test_off_the_road_a_cyclist_goes_straight_on() -> None:
    world = straight_world([actor(10, -20, 0.3, 4.0, RIDER, seen=(0, 40))])
    path = cyclist_path(world, 0, NOW, parameters(world.agents, CONFIG)[0], roads_of(world.map))
    np.testing.assert_allclose(np.arctan2(path.poses[5:120, 1] + 20, path.poses[5:120, 0] - 10), 0.3, atol=1e-3)


def crowd(shift: float, seed: int) -> World:
    rng = np.random.default_rng(seed)
    actors = [
        actor(30 + shift, 0, 0, 7.0, control=Control.REACTIVE),
        actor(5 + shift, 3.5, 0, 9.0, control=Control.IDM),
        actor(20 + shift, -1.4, 0, 4.0, RIDER, control=Control.PATH),
    ]
    for _ in range(5):
        x, heading = rng.uniform(20, 70), rng.choice([np.pi / 2, 0.0, -3.0])
        actors.append(
            actor(x, -5 - rng.uniform(0, 3), heading, rng.uniform(0.8, 1.5), AgentClass.PEDESTRIAN, control=Control.SOCIAL)
        )
    return straight_world(actors, speed=8.0)


def test_a_batch_equals_its_singles_bit_for_bit() -> None:
    worlds = [crowd(5.0 * i, i) for i in range(4)]
    egos = []
    for i, world in enumerate(worlds):  # every ego drives otherwise than its log
        states = world.ego.states.copy()
        states[NOW + 1 :, 0] = states[NOW, 0] + 0.1 * (3.0 + i) * np.arange(1, 81)
        states[NOW + 1 :, 3] = 3.0 + i
        egos.append(states)
    together = start_all(worlds, [NOW] * 4, CONFIG)
    for b, states in enumerate(egos):
        together.states(b)[:] = states
    together.run_all([3, 1, 0, 2], [NOW] * 4, [60] * 4)
    together.run_all([0, 1, 2, 3], [60] * 4, [100] * 4)
    for b, world in enumerate(worlds):
        alone = start(world, NOW, CONFIG)
        alone.run(NOW, 100, egos[b])
        for name in ("pose", "velocity", "valid"):
            np.testing.assert_array_equal(getattr(together.tables[b], name), getattr(alone.agents, name))


@pytest.mark.parametrize("seed", range(4))
def test_who_is_not_touched_by_a_change_repeats_the_log_to_centimetres(seed: int) -> None:
    world = crowd(0.0, seed)
    world = replace(
        world,
        agents=replace(
            world.agents, control=np.where(world.agents.control == Control.IDM, 0, world.agents.control).astype(np.uint8)
        ),
    )
    agents = driven(world)  # the ego does what it did in the log
    np.testing.assert_array_equal(agents.valid, world.agents.valid)
    np.testing.assert_allclose(agents.pose, world.agents.pose, atol=0.01)
