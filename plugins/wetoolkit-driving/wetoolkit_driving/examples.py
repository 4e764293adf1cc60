"""Tiny drives to try parts on: a road with all classes of agents, a crossing, a pedestrian, and a car that stands in the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from wetoolkit.testing import Examples
from wetoolkit.types import ObservationSpec, Scenario, Situation
from wetoolkit_driving.domain import Driving
from wetoolkit_driving.observe import FIELDS
from wetoolkit_driving.pdm.reward import PdmReward, PdmRewardConfig
from wetoolkit_driving.policies import ConstantVelocity, ConstantVelocityConfig
from wetoolkit_driving.testing import actor, crossing_world, ego_states, pedestrian_world, scenario, straight_world
from wetoolkit_driving.types import AgentClass, Signal, World


class DrivingExamples(Examples[World]):
    """Four scenarios of 10 s; going straight on at constant speed hits somebody in two of them."""

    def domain(self) -> Driving:
        return Driving()

    def scenarios(self) -> list[Scenario[World]]:
        mixed = [actor(15.0 + 9 * i, 3.5 * (i % 2), 0.1 * i, 2.0 + i, AgentClass(i % 7)) for i in range(7)]
        late = actor(30, 0, 0, 3.0, seen=(40, 100))
        worlds = {
            "crossing": crossing_world([actor(40, -30, np.pi / 2, 8.0)]),
            "mixed": straight_world([*mixed, late], signal=Signal.RED),
            "pedestrian": pedestrian_world(),
            "queue": straight_world([actor(25, 0)]),
        }
        return [scenario(world, name=f"examples/{name}", log=f"log-{name}") for name, world in worlds.items()]

    def spec(self) -> ObservationSpec:
        return ObservationSpec(history=10, fields=tuple(FIELDS), limits={"agents": 4, "lanes": 9}, world=True)

    def members(self, world: World) -> Sequence[str]:
        return world.agents.ids

    def another_future(self, world: World, step: int) -> World:
        after = slice(step + 1, None)
        states, known, agents = world.ego.states.copy(), world.ego.valid.copy(), world.agents
        states[after], known[after] = 9.0, False
        pose, velocity, valid, signals = agents.pose.copy(), agents.velocity.copy(), agents.valid.copy(), world.signals.copy()
        pose[:, after], velocity[:, after], signals[:, after] = 1.0, 2.0, Signal.UNKNOWN
        # Who appears only later has no place in any observation and stays as recorded.
        seen = agents.valid[:, : step + 1].any(1)
        valid[seen, after] = ~valid[seen, after]
        others = replace(agents, pose=pose, velocity=velocity, valid=valid)
        return replace(world, ego=replace(world.ego, states=states, valid=known), agents=others, signals=signals)

    def another_drive(self, world: World, step: int) -> World:
        states = world.ego.states.copy()
        states[step + 1 :, :2] += 4.0
        return replace(world, ego=replace(world.ego, states=states))

    def demonstrated(self) -> list[Situation[World]]:
        """Two hundred drives on an empty road, each with a speed and an acceleration of its own: enough for a vocabulary."""
        base, drives = straight_world(), []
        for index in range(200):
            speed, push = 0.5 + 0.07 * index, (-1.5, -0.5, 0.0, 0.8)[index % 4]  # m/s, m/s^2
            speeds = np.maximum(speed + push * 0.1 * (np.arange(base.steps) - 20), 0.0)
            world = replace(base, ego=replace(base.ego, states=ego_states(speeds, base.steps)))
            drives.append(Situation(f"drive-{index}", f"log-{index % 8}", world, 20))
        return drives

    def policy(self) -> ConstantVelocity:
        return ConstantVelocity(ConstantVelocityConfig())

    def reward(self) -> PdmReward:
        return PdmReward(PdmRewardConfig())
