"""The parts of this distribution keep the promises of their kinds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from wetoolkit_driving.domain import PLAN, Driving
from wetoolkit_driving.miners.criticality import CriticalityMiner, CriticalityMinerConfig
from wetoolkit_driving.policies import ConstantVelocity, ConstantVelocityConfig
from wetoolkit_driving.reconstruct import Replay, ReplayConfig
from wetoolkit_driving.simulator import ClosedLoop, ClosedLoopConfig
from wetoolkit_driving.testing import actor, crossing_world, pedestrian_world, scenario, scene, straight_world, with_control
from wetoolkit_driving.traffic.behaviours import IdmTraffic, IdmTrafficConfig, ReplayTraffic, ReplayTrafficConfig
from wetoolkit_driving.types import AgentClass, Control, Signal, World

from wetoolkit.testing.acting import MinerContract, PolicyContract, SimulatorContract
from wetoolkit.testing.data import BehaviourContract, DomainContract, ReconstructorContract
from wetoolkit.types import Observation, ObservationSpec, PlanSpec, Scenario, Scene, Situation


def worlds() -> list[World]:
    actors = [actor(15.0 + 9 * i, 3.5 * (i % 2), 0.1 * i, 2.0 + i, AgentClass(i % 7)) for i in range(5)]
    late = actor(30, 0, 0, 3.0, seen=(40, 100))
    return [
        straight_world([*actors, late], signal=Signal.RED),
        crossing_world([actor(40, -30, np.pi / 2, 8.0)]),
        pedestrian_world(),
    ]


def with_another_future(world: World, step: int) -> World:
    states, known, agents = world.ego.states.copy(), world.ego.valid.copy(), world.agents
    states[step + 1 :], known[step + 1 :] = 9.0, False
    pose, velocity, valid = agents.pose.copy(), agents.velocity.copy(), agents.valid.copy()
    pose[:, step + 1 :], velocity[:, step + 1 :], valid[:, step + 1 :] = 1.0, 2.0, ~valid[:, step + 1 :]
    signals = world.signals.copy()
    signals[:, step + 1 :] = Signal.UNKNOWN
    # Who appears only later is not known now: those stay away, since they have no place in any observation.
    seen = agents.valid[:, : step + 1].any(1)
    valid[~seen] = agents.valid[~seen]
    others = replace(agents, pose=pose, velocity=velocity, valid=valid)
    return replace(world, ego=replace(world.ego, states=states, valid=known), agents=others, signals=signals)


class TestDriving(DomainContract):
    def make(self) -> Driving:
        return Driving()

    def situations(self) -> Sequence[Situation[World]]:
        return [Situation(f"s{i}", "log", world, 20 + i) for i, world in enumerate(worlds())]

    def spec(self) -> ObservationSpec:
        fields = ("ego", "agents", "lanes", "route", "crossings")
        return ObservationSpec(history=10, fields=fields, limits={"agents": 4, "lanes": 9}, world=True)

    def perturb(self, situation: Situation[World]) -> Situation[World]:
        return replace(situation, world=with_another_future(situation.world, situation.step))


class TestConstantVelocity(PolicyContract):
    def make(self) -> ConstantVelocity:
        return ConstantVelocity(ConstantVelocityConfig())

    def observation(self) -> Observation[Any]:
        return Driving().observe(TestDriving().situations(), ConstantVelocity.spec)

    def plan(self) -> PlanSpec:
        return PLAN


class TestReplay(ReconstructorContract):
    def make(self) -> Replay:
        return Replay(ReplayConfig())

    def scenarios(self) -> Sequence[Scenario[World]]:
        return [scenario(world, name=f"test/{i}") for i, world in enumerate(worlds())]


class TestReplayTraffic(BehaviourContract):
    def make(self) -> ReplayTraffic:
        return ReplayTraffic(ReplayTrafficConfig(speed_spread=0.1))

    def scene(self) -> Scene[World]:
        return scene(worlds()[0])

    def members(self, world: World) -> Sequence[Any]:
        return world.agents.ids


class TestIdmTraffic(TestReplayTraffic):
    def make(self) -> IdmTraffic:  # type: ignore[override]
        return IdmTraffic(IdmTrafficConfig())


class TestClosedLoop(SimulatorContract):
    def make(self) -> ClosedLoop:
        return ClosedLoop(ClosedLoopConfig())

    def scenes(self) -> Sequence[Scene[World]]:
        return [scene(with_control(world, Control.IDM), name=f"test/{i}") for i, world in enumerate(worlds())]

    def policy(self) -> ConstantVelocity:
        return ConstantVelocity(ConstantVelocityConfig())

    def perturb(self, scene: Scene[World]) -> Scene[World]:
        ego, now = scene.world.ego, scene.clock.now
        states = ego.states.copy()
        states[now + 1 :, :2] += 4.0
        return replace(scene, world=replace(scene.world, ego=replace(ego, states=states)))


class TestCriticality(MinerContract):
    def make(self) -> CriticalityMiner:
        return CriticalityMiner(CriticalityMinerConfig())

    def scenarios(self) -> Sequence[Scenario[World]]:
        hit = straight_world([actor(25, 0)])
        return [scenario(world, name=f"test/{i}") for i, world in enumerate([hit, *worlds(), pedestrian_world(x=30.0)])]

    def policy(self) -> ConstantVelocity:
        return ConstantVelocity(ConstantVelocityConfig())

    def reward(self) -> Any:
        return None  # the log is judged, no plan
