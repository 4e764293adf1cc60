"""The behaviour ``mixed``: what moves each class of road user, which share of it, and with which manners."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from wetoolkit.config import Config
from wetoolkit.types import Scene
from wetoolkit_driving.traffic.behaviours import generator, movers
from wetoolkit_driving.traffic.manners import TrafficConfig, parameters
from wetoolkit_driving.types import AgentClass, Bool, Byte, Control, Double, Float, World

WILDEST = 2.0  # a drawn value is at most this many times the class's, at least its inverse
CONTROLS = {
    "replay": Control.REPLAY,
    "reactive": Control.REACTIVE,
    "idm": Control.IDM,
    "path": Control.PATH,
    "social": Control.SOCIAL,
}


class MixedTrafficConfig(Config):
    """Settings of ``mixed``. Spreads are standard deviations of the logarithm; each agent draws its own."""

    vehicle: Literal["reactive", "idm", "replay"] = Field(
        default="reactive",
        description="what moves vehicles; reactive: they repeat their log until something they meet is not as it was, then as idm",
    )
    bicycle: Literal["path", "reactive", "idm", "replay"] = Field(
        default="path",
        description="what moves cyclists; path: as reactive, but they keep to their side of the lane and to their own pace",
    )
    pedestrian: Literal["social", "reactive", "idm", "replay"] = Field(
        default="social", description="what moves pedestrians; social: by social forces around their log, looking before they cross"
    )
    fraction: float = Field(
        default=1.0, description="share of the moving road users that react; the rest repeat their log [1]", ge=0.0, le=1.0
    )
    hesitating: float = Field(default=0.0, description="share of the pedestrians who wait for long gaps [1]", ge=0.0, le=1.0)
    reckless: float = Field(
        default=0.0, description="share of the pedestrians who do not look before they cross [1]", ge=0.0, le=1.0
    )
    patience: float = Field(
        default=4.0,
        description="spare time that hesitating pedestrians ask of every vehicle before they cross [s]",
        ge=0.0,
        le=20.0,
    )
    speed_spread: float = Field(default=0.0, description="spread of the desired speed of drivers and cyclists [1]", ge=0.0, le=1.0)
    headway_spread: float = Field(default=0.0, description="spread of the time gap of drivers and cyclists [1]", ge=0.0, le=1.0)
    traffic: TrafficConfig = Field(default=TrafficConfig(), description="the manners that are spread, by class")

    @model_validator(mode="after")
    def _shares(self) -> MixedTrafficConfig:
        if self.hesitating + self.reckless > 1.0:
            raise ValueError(f"hesitating + reckless is {self.hesitating + self.reckless:g}: at most 1")
        return self


class MixedTraffic:
    """Each class by a model of its own; nobody whom a change does not touch does anything but what its log shows."""

    def __init__(self, config: MixedTrafficConfig) -> None:
        self.config = config

    def vary(self, scene: Scene[World], count: int, seed: int) -> Sequence[Scene[World]]:
        """``count`` scenes that differ in who reacts and how; every agent is kept, standing ones and things repeat their log."""
        return [self._one(scene, seed, index) for index in range(count)]

    def _one(self, scene: Scene[World], seed: int, index: int) -> Scene[World]:
        agents, rng = scene.world.agents, generator(scene, seed, index)
        # One draw for every agent, used or not: the manners of one do not depend on what the others are.
        share, kind, drawn = rng.random(len(agents)), rng.random(len(agents)), rng.normal(size=(len(agents), 2))
        reacts = (share < self.config.fraction) & movers(agents, scene.clock.now)
        control = np.where(reacts, self._controls(agents.kind), Control.REPLAY).astype(np.uint8)
        table = parameters(replace(agents, manners=None), self.config.traffic)[:, :5]
        manners = self._drivers(table, drawn, control)
        walks = control == Control.SOCIAL
        manners[walks] = self._walkers(table[walks], kind[walks])
        world = replace(scene.world, agents=replace(agents, control=control, manners=manners))
        words = f"mixed {index}, {int((control != Control.REPLAY).sum())} react"
        return replace(scene, id=f"{scene.id}~mixed.{seed}.{index}", world=world, variant=words)

    def _controls(self, kind: Byte) -> Byte:
        """Control [A] of agents that react."""
        c, table = self.config, np.full(len(AgentClass), Control.REPLAY, np.uint8)
        for which, name in (
            (AgentClass.VEHICLE, c.vehicle),
            (AgentClass.BICYCLE, c.bicycle),
            (AgentClass.PEDESTRIAN, c.pedestrian),
        ):
            table[which] = CONTROLS[name]
        return table[kind]

    def _drivers(self, table: Double, drawn: Double, control: Byte) -> Float:
        """Manners [A, 5]; zero rows (those of the class) where nothing is spread, or no model drives."""
        c, manners = self.config, np.zeros(table.shape, np.float32)
        drives = np.isin(control, (Control.IDM, Control.PATH, Control.REACTIVE))
        if c.speed_spread or c.headway_spread:
            factor = np.exp(np.clip(drawn * (c.speed_spread, c.headway_spread), -np.log(WILDEST), np.log(WILDEST)))
            manners[drives] = table[drives]
            manners[drives, 0] *= factor[drives, 0]
            manners[drives, 2] *= factor[drives, 1]
        return manners

    def _walkers(self, table: Double, drawn: Double) -> Float:
        """Manners [W, 5]: zero rows for ordinary pedestrians, who cross where their log shows it, or a good gap."""
        c, manners = self.config, np.zeros(table.shape, np.float32)
        reckless, hesitating = drawn < c.reckless, _between(drawn, c.reckless, c.reckless + c.hesitating)
        for who, headway in ((reckless, -1.0), (hesitating, c.patience)):
            manners[who] = table[who]
            manners[who, 2] = headway
        return manners


def _between(drawn: Double, low: float, high: float) -> Bool:
    return (drawn >= low) & (drawn < high)


__all__ = ["MixedTraffic", "MixedTrafficConfig"]
