"""The behaviours ``replay`` and ``idm``: what moves the others in a scene, and with which manners."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from pydantic import Field

from wetoolkit.config import Config
from wetoolkit.types import Scene
from wetoolkit_driving.traffic.engine import rests
from wetoolkit_driving.traffic.manners import MOVERS, TrafficConfig, parameters
from wetoolkit_driving.types import AX, VX, Agents, Bool, Control, World

WILDEST = 2.0  # a drawn value is at most this many times the class's, at least its inverse


def generator(scene: Scene[World], seed: int, index: int) -> np.random.Generator:
    """One stream for each scene, seed and variant: independent of how many variants are asked and of the other scenes."""
    return np.random.default_rng([zlib.crc32(scene.id.encode()), seed % 2**63, index])


def _controlled(agents: Agents, by_model: Bool) -> Agents:
    return replace(agents, control=np.where(by_model, Control.IDM, Control.REPLAY).astype(np.uint8))


class ReplayTrafficConfig(Config):
    """Settings of the behaviour ``replay``."""

    speed_spread: float = Field(
        default=0.0,
        description="deviation of the factor on the ego's speed now; 0: the log's own, one variant only [1]",
        ge=0.0,
        le=0.5,
    )


class ReplayTraffic:
    """The others do what the log says."""

    def __init__(self, config: ReplayTrafficConfig) -> None:
        self.config = config

    def vary(self, scene: Scene[World], count: int, seed: int) -> Sequence[Scene[World]]:
        """One scene that equals the given one but for its control; with a ``speed_spread``, ``count`` that start at others."""
        spread = self.config.speed_spread
        agents = _controlled(scene.world.agents, np.zeros(len(scene.world.agents), bool))
        world = replace(scene.world, agents=replace(agents, manners=None))
        if not spread:
            return [replace(scene, id=f"{scene.id}~replay", world=world, variant="replay")][:count]
        return [self._at_speed(replace(scene, world=world), seed, index) for index in range(count)]

    def _at_speed(self, scene: Scene[World], seed: int, index: int) -> Scene[World]:
        factor = float(np.clip(generator(scene, seed, index).normal(1.0, self.config.speed_spread), 0.5, 1.5))
        states = scene.world.ego.states.copy()
        states[scene.clock.now, [VX, AX]] *= factor
        world = replace(scene.world, ego=replace(scene.world.ego, states=states))
        return replace(scene, id=f"{scene.id}~replay.{seed}.{index}", world=world, variant=f"replay, ego speed x {factor:.2f}")


class IdmTrafficConfig(Config):
    """Settings of the behaviour ``idm``: spreads are standard deviations of the logarithm, each agent draws its own."""

    fraction: float = Field(
        default=1.0, description="share of the moving road users that react; the rest repeat their log [1]", ge=0.0, le=1.0
    )
    speed_spread: float = Field(default=0.1, description="spread of the desired speed [1]", ge=0.0, le=1.0)
    gap_spread: float = Field(default=0.3, description="spread of the standstill gap [1]", ge=0.0, le=1.0)
    headway_spread: float = Field(default=0.3, description="spread of the time gap [1]", ge=0.0, le=1.0)
    acceleration_spread: float = Field(default=0.2, description="spread of the greatest acceleration [1]", ge=0.0, le=1.0)
    deceleration_spread: float = Field(default=0.2, description="spread of the comfortable deceleration [1]", ge=0.0, le=1.0)
    traffic: TrafficConfig = Field(default=TrafficConfig(), description="the manners that are spread, by class")


class IdmTraffic:
    """The others react along their paths by the intelligent driver model, with manners drawn for each agent of each variant."""

    def __init__(self, config: IdmTrafficConfig) -> None:
        self.config = config

    def vary(self, scene: Scene[World], count: int, seed: int) -> Sequence[Scene[World]]:
        """``count`` scenes that differ in who reacts and how; every agent is kept, standing ones and things repeat their log."""
        return [self._one(scene, seed, index) for index in range(count)]

    def _one(self, scene: Scene[World], seed: int, index: int) -> Scene[World]:
        c, agents = self.config, scene.world.agents
        rng = generator(scene, seed, index)
        # One draw for every agent, used or not: the manners of one do not depend on what the others are.
        reacts = (rng.random(len(agents)) < c.fraction) & movers(agents, scene.clock.now)
        spread = np.array([c.speed_spread, c.gap_spread, c.headway_spread, c.acceleration_spread, c.deceleration_spread])
        factor = np.exp(np.clip(rng.normal(size=(len(agents), 5)) * spread, -np.log(WILDEST), np.log(WILDEST)))
        manners = parameters(replace(agents, manners=None), c.traffic)[:, :5] * factor * reacts[:, None]
        varied = replace(_controlled(agents, reacts), manners=manners.astype(np.float32))
        world = replace(scene.world, agents=varied)
        return replace(scene, id=f"{scene.id}~idm.{seed}.{index}", world=world, variant=f"idm {index}, {int(reacts.sum())} react")


def movers(agents: Agents, now: int) -> Bool:
    """[A] road users that move in the record and are there at ``now`` or later."""
    return np.array(
        [kind in MOVERS and agents.valid[a, now:].any() and not rests(agents, a) for a, kind in enumerate(agents.kind)], bool
    )  # fmt: skip


__all__ = ["IdmTraffic", "IdmTrafficConfig", "ReplayTraffic", "ReplayTrafficConfig", "generator", "movers"]
