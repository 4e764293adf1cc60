"""Among whom a proposal is scored: the others as recorded, or as they would react.

- ``log``: as recorded in the world (a log's, or what they did in a rollout).
- ``forecast``: as they react to the plan that the ego had just made (``Situation.plan``), one forecast for all proposals. Where no
  plan is known (a log's frame) the record is the forecast: it shows how they reacted to what the log's driver did.
- ``per-proposal``: all proposals by that forecast; then the ``top_k`` best once more, each in a forecast of its own.

A forecast is repeated from the situation alone: world, step, plan and manners (see ``traffic.forecast``); where no agent reacts it
is the record. All settings are part of the metric's stamp unless they are ``log``'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from wetoolkit.config import Config
from wetoolkit.types import Situation
from wetoolkit_driving.pdm.result import Marks, total
from wetoolkit_driving.traffic.forecast import forecast, reacts
from wetoolkit_driving.traffic.manners import TrafficConfig
from wetoolkit_driving.types import Double, World

Scorer = Callable[[Situation[World], Double], tuple[Marks, Double]]  # situation, plans [N, T, 3] -> marks and EP [N]
DURATION = 4.0  # seconds of a plan


class OthersConfig(Config):
    """Among whom proposals are scored: fields that a reward's config inherits."""

    others: Literal["log", "forecast", "per-proposal"] = Field(
        default="log",
        description="the others as recorded; as they react to the ego's plan at that step; or to each of the best proposals itself",
    )
    top_k: int = Field(default=8, ge=1, description="proposals that are scored in a forecast of their own, with per-proposal [1]")
    traffic: TrafficConfig = Field(
        default=TrafficConfig(), description="how agents move in forecasts: as the simulator's `traffic`"
    )

    @model_validator(mode="after")
    def _independent(self) -> Self:
        if self.others == "per-proposal" and getattr(self, "normaliser", "pair") == "batch":
            raise ValueError("others = per-proposal scores proposals apart: take the normaliser pair or scene, not batch")
        return self

    def stamp(self) -> dict[str, str]:
        """What joins the metric's settings."""
        if self.others == "log":
            return {}
        found = {"others": self.others}
        if self.others == "per-proposal":
            found["top_k"] = str(self.top_k)
        if self.traffic != TrafficConfig():
            found["traffic"] = self.traffic.model_dump_json(exclude_defaults=True)
        return found


def among(config: OthersConfig, situation: Situation[World], plans: Double, score: Scorer) -> tuple[Marks, Double]:
    """``score`` of plans [N, T, 3] among the others that the config asks for."""
    if config.others == "log" or not reacts(situation.world).any():
        return score(situation, plans)
    marks, ep = score(foreseen(situation, situation.plan, config.traffic), plans)
    if config.others == "per-proposal":
        for row in best(total(marks, ep), plans, config.top_k):
            own, own_ep = score(foreseen(situation, plans[row], config.traffic), plans[row : row + 1])
            marks, ep = with_row(marks, row, own), np.concatenate([ep[:row], own_ep, ep[row + 1 :]])
    return marks, ep


def foreseen(situation: Situation[World], plan: Double | None, traffic: TrafficConfig) -> Situation[World]:
    """The situation with the others as they react to ``plan`` [T, 3] of 4 s; itself where there is none."""
    if plan is None:
        return situation
    plan = np.asarray(plan, np.float64)
    return replace(situation, world=forecast(situation.world, situation.step, plan, traffic, DURATION / len(plan)))


def best(totals: Double, plans: Double, count: int) -> Sequence[int]:
    """Rows of the ``count`` greatest totals [N]. Of equal ones the choice is by the plans' own numbers, not by their order."""
    ends = plans.reshape(len(plans), -1)[:, ::-1]  # the last pose first: where plans differ most
    return [int(row) for row in np.lexsort([*ends.T[::-1], -totals])[:count]]


def with_row(marks: Marks, row: int, own: Marks) -> Marks:
    """The marks [N] with those of one proposal, ``own`` [1], in their place."""
    changed = {}
    for item in fields(marks):
        values = getattr(marks, item.name)
        if isinstance(values, np.ndarray):
            changed[item.name] = np.concatenate([values[:row], getattr(own, item.name), values[row + 1 :]])
    return replace(marks, **changed)


__all__ = ["OthersConfig", "among", "best", "foreseen", "with_row"]
