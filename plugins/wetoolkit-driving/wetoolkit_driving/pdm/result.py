"""What the PDM scorer finds for each trajectory, before progress is normalised and the terms are combined."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Double = NDArray[np.float64]
Bool = NDArray[np.bool_]
Int = NDArray[np.int64]

NEVER = -1  # a step or a track that does not exist

COMFORT_NAMES = ("lon acceleration", "lat acceleration", "jerk", "lon jerk", "yaw acceleration", "yaw rate")


@dataclass(frozen=True)
class Marks:
    """Sub-metrics and evidence of N trajectories of T states (NAVSIM v1.1)."""

    nc: Double  # [N] no at-fault collision: 1, 0.5 (with a thing) or 0 (with somebody)
    dac: Double  # [N] drivable area compliance: 1 or 0
    ttc: Double  # [N] time to collision within bounds: 1 or 0
    ddc: Double  # [N] driving direction compliance: 1, 0.5 or 0
    comfort: Double  # [N] 1 or 0
    progress: Double  # [N] metres along the route, 0 where there is none
    comfort6: Bool  # [N, 6] in the order of COMFORT_NAMES
    areas: Bool  # [N, T, 3] multi-lane, non-drivable, oncoming
    collision_step: Int  # [N] first state of an at-fault collision, NEVER
    collision_track: Int  # [N] index of that track, NEVER
    ttc_step: Int  # [N] first state at which time to collision is violated, NEVER
    ttc_track: Int  # [N]
    off_road_step: Int  # [N] first state with a corner off the drivable area, NEVER
    touch_step: Int  # [N] first state that touches any track, whoever is at fault, NEVER

    def __len__(self) -> int:
        return len(self.nc)

    @property
    def gate(self) -> Double:
        """[N] NC times DAC."""
        return self.nc * self.dac

    @property
    def masked_progress(self) -> Double:
        """[N] metres, 0 where a gate is closed."""
        return self.progress * self.gate


EP_LEAST = 5.0  # metres: where nobody gets further, progress is no measure
WEIGHTS = {"ep": 5.0, "ttc": 5.0, "comfort": 2.0}


def ego_progress(marks: Marks, best: Double | float) -> Double:
    """EP [N]: masked progress over ``best`` [N] or scalar metres, at most 1; where best <= 5 m, 1 behind open gates and 0 else."""
    best = np.broadcast_to(np.asarray(best, np.float64), (len(marks),))
    ratio = np.minimum(marks.masked_progress / np.where(best > EP_LEAST, best, 1.0), 1.0)
    return np.where(best > EP_LEAST, ratio, np.where(marks.gate > 0, 1.0, 0.0))


def total(marks: Marks, ep: Double) -> Double:
    """Score [N] = NC DAC (5 EP + 5 TTC + 2 comfort) / 12."""
    mean = (WEIGHTS["ep"] * ep + WEIGHTS["ttc"] * marks.ttc + WEIGHTS["comfort"] * marks.comfort) / sum(WEIGHTS.values())
    return np.asarray(marks.gate * mean)
