"""The behaviour ``constant-velocity``: the others go on as they move now, asked anew at every decision.

A baseline, and the plainest example of a behaviour that moves agents in closed loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from pydantic import Field

from wetoolkit.config import Config
from wetoolkit.types import Clock, Reaction, Scene
from wetoolkit_driving.domain import PLAN
from wetoolkit_driving.traffic.behaviours import generator, movers
from wetoolkit_driving.types import Control, World


class ConstantTrafficConfig(Config):
    """Settings of the behaviour ``constant-velocity``."""

    fraction: float = Field(
        default=1.0, description="share of the moving road users that are moved so; the rest repeat their log [1]", ge=0.0, le=1.0
    )


class ConstantTraffic:
    """Everybody keeps velocity and heading, whoever is in the way."""

    def __init__(self, config: ConstantTrafficConfig) -> None:
        self.config = config

    def vary(self, scene: Scene[World], count: int, seed: int) -> Sequence[Scene[World]]:
        """Scenes that differ in who is moved so; one only where all are."""
        made = count if self.config.fraction < 1.0 else min(count, 1)
        return [self._one(scene, seed, index) for index in range(made)]

    def _one(self, scene: Scene[World], seed: int, index: int) -> Scene[World]:
        agents = scene.world.agents
        moved = (generator(scene, seed, index).random(len(agents)) < self.config.fraction) & movers(agents, scene.clock.now)
        control = np.where(moved, Control.EXTERNAL, Control.REPLAY).astype(np.uint8)
        world = replace(scene.world, agents=replace(agents, control=control, manners=None))
        words = f"constant velocity {index}, {int(moved.sum())} moved"
        return replace(scene, id=f"{scene.id}~constant.{seed}.{index}", world=world, variant=words)

    def react(self, worlds: Sequence[World], clocks: Sequence[Clock], seeds: Sequence[int]) -> Sequence[Reaction]:
        """Box centres and headings [A, 40, 3] in the world's frame."""
        return [_onward(world, clock.now) for world, clock in zip(worlds, clocks, strict=True)]


def _onward(world: World, now: int) -> Reaction:
    agents = world.agents
    there = np.repeat(agents.valid[:, now, None], PLAN.steps, axis=1)  # [A, T]
    ahead = world.dt * np.arange(1, PLAN.steps + 1)[:, None]  # [T, 1] seconds
    states = np.repeat(agents.pose[:, now, None].astype(np.float64), PLAN.steps, axis=1)  # [A, T, 3]
    states[..., :2] += ahead * agents.velocity[:, now, None].astype(np.float64)
    return Reaction(states * there[..., None], there)


__all__ = ["ConstantTraffic", "ConstantTrafficConfig"]
