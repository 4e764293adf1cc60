"""The policy ``crowd-straight``: walks straight towards the goal at a constant speed, whoever is there. A baseline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from wetoolkit.config import Config
from wetoolkit.types import Observation, ObservationSpec, Plan
from wetoolkit_crowd.domain import PLAN
from wetoolkit_crowd.types import World

GOAL = slice(6, 8)  # channels of the observation field "robot"


class CrowdStraightConfig(Config):
    """Settings of ``crowd-straight``."""

    speed: float = Field(default=1.2, description="at which it walks [m/s]", ge=0.0)


class CrowdStraight:
    """Straight to the goal, facing it; stands when it is there."""

    spec = ObservationSpec(history=1, fields=("robot",))

    def __init__(self, config: CrowdStraightConfig) -> None:
        self.config = config

    def act(self, observation: Observation[World], seed: int) -> Plan:
        """Plans [B, 16, 3]. The seed is not used."""
        return self.act_each(observation, [seed] * observation.size)

    def act_each(self, observation: Observation[World], seeds: Sequence[int]) -> Plan:
        """The same for any seeds."""
        goal = observation.arrays["robot"][:, -1, GOAL].astype(np.float64)  # [B, 2] metres
        far = np.sqrt(np.square(goal).sum(1))
        way = np.minimum(self.config.speed * PLAN.dt * np.arange(1, PLAN.steps + 1), far[:, None])  # [B, T] metres
        plans = np.zeros((observation.size, *PLAN.shape))
        plans[..., :2] = way[..., None] * (goal / np.maximum(far, 1e-9)[:, None])[:, None]
        plans[..., 2] = np.where(far > 0.05, np.arctan2(goal[:, 1], goal[:, 0]), 0.0)[:, None]
        return Plan(plans)


__all__ = ["CrowdStraight", "CrowdStraightConfig"]
