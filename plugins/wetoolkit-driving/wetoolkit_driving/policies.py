"""The simplest policy: straight on at the present speed. A baseline that everything must beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from wetoolkit.config import Config
from wetoolkit.types import Observation, ObservationSpec, Plan
from wetoolkit_driving.domain import PLAN
from wetoolkit_driving.types import World


class ConstantVelocityConfig(Config):
    """Settings of ``constant-velocity``."""

    least_speed: float = Field(default=0.0, description="slower than this it stands still [m/s]", ge=0.0)


class ConstantVelocity:
    """Goes straight on along its heading at its present speed; never backwards."""

    spec = ObservationSpec(history=1, fields=("ego",))

    def __init__(self, config: ConstantVelocityConfig) -> None:
        self.config = config

    def act(self, observation: Observation[World], seed: int) -> Plan:
        """Plans [B, 40, 3]: x = speed * t, y = 0, heading = 0. The seed is not used."""
        speed = np.maximum(observation.arrays["ego"][:, -1, 4].astype(np.float64), 0.0)  # [B] m/s
        speed[speed < self.config.least_speed] = 0.0
        plans = np.zeros((observation.size, *PLAN.shape))
        plans[:, :, 0] = speed[:, None] * PLAN.dt * np.arange(1, PLAN.steps + 1)
        return Plan(plans)

    def act_each(self, observation: Observation[World], seeds: Sequence[int]) -> Plan:
        """``act``: no seed changes it."""
        return self.act(observation, 0)


__all__ = ["ConstantVelocity", "ConstantVelocityConfig"]
