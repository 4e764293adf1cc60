"""``closed-loop`` led from outside: some scenes, driven from one decision to the next by whoever holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

from wetoolkit.types import Rollout, Scene, Situation
from wetoolkit_driving.domain import PLAN
from wetoolkit_driving.dynamics import check_plans
from wetoolkit_driving.types import Double, World

if TYPE_CHECKING:
    from wetoolkit_driving.simulator import ClosedLoop


class SteppedDrive:
    """Implements ``wetoolkit.kinds.Drive``: the same calls in the same order as ``ClosedLoop.rollout`` makes them."""

    def __init__(self, loop: ClosedLoop, scenes: Sequence[Scene[World]], seeds: Sequence[int], horizon: float | None) -> None:
        self._loop = loop
        scenes, self._traffic = loop._start(scenes, [horizon] * len(scenes))
        jobs = zip(range(len(scenes)), scenes, seeds, strict=True)
        self._drives = [loop._begin(*job, self._traffic, horizon) for job in jobs]
        self._at = [scene.clock.now for scene in scenes]
        self._every = round(loop.config.replan / PLAN.dt)

    @property
    def over(self) -> Sequence[bool]:
        """For each scene whether its horizon is reached."""
        return [at >= drive.end - 1 for drive, at in zip(self._drives, self._at, strict=True)]

    def situations(self) -> Sequence[Situation[World]]:
        """Each scene at the step that it has reached."""
        return [
            Situation(f"{drive.scene.id}@{at}", drive.scene.log, drive.world, at, sight=self._loop.sight(drive.scene))
            for drive, at in zip(self._drives, self._at, strict=True)
        ]

    def step(self, plans: Double) -> None:
        """Drive plans [B, 40, 3] (ego frame) until the next decision; ``ValidationError`` unless they are finite."""
        rows = [row for row, over in enumerate(self.over) if not over]
        check_plans(np.asarray(plans)[rows])
        starts, ends = [self._at[row] for row in rows], []
        for row in rows:
            drive, at = self._drives[row], self._at[row]
            drive.decisions.append(at)
            drive.plans.append(np.asarray(plans[row], np.float64))
            drive.choices.append(-1)
            drive.log_probs.append(0.0)
            self._at[row] = min(at + self._every, drive.end - 1)
            ends.append(drive.record - 1 if self._at[row] == drive.end - 1 else self._at[row])
        self._loop._go([self._drives[row] for row in rows], starts, ends, self._traffic)

    def rollouts(self, name: str) -> Sequence[Rollout[World]]:
        """What was driven so far; whole records where the horizon is reached."""
        made = []
        for drive, at, over in zip(self._drives, self._at, self.over, strict=True):
            reached = drive if over else replace(drive, end=at + 1, record=at + 1)
            made.append(self._loop._finish(reached, SimpleNamespace(name=name), self._traffic))  # type: ignore[arg-type]
        return made


__all__ = ["SteppedDrive"]
