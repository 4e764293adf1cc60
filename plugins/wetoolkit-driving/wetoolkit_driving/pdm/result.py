"""What the PDM scorer finds for each trajectory, how progress becomes EP, and how the terms make a score."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wetoolkit_driving.pdm.variants import CLIPPED, GATED, MASKED, NAVSIM_1_1, RAW, Variant

Double = NDArray[np.float64]
Bool = NDArray[np.bool_]
Int = NDArray[np.int64]

NEVER = -1  # a step or a track that does not exist

COMFORT_NAMES = ("lon acceleration", "lat acceleration", "jerk", "lon jerk", "yaw acceleration", "yaw rate")


@dataclass(frozen=True)
class Marks:
    """Sub-metrics and evidence of N trajectories of T states, as ``variant`` defines them."""

    nc: Double  # [N] no at-fault collision: 1, 0.5 (with a thing) or 0 (with somebody)
    dac: Double  # [N] drivable area compliance: 1 or 0
    ttc: Double  # [N] time to collision within bounds: 1 or 0
    ddc: Double  # [N] driving direction compliance: 1, 0.5 or 0
    comfort: Double  # [N] 1 or 0; with the driven past where the variant says so
    progress: Double  # [N] metres along the route, 0 where there is none
    comfort6: Bool  # [N, 6] in the order of COMFORT_NAMES
    areas: Bool  # [N, T, 3] multi-lane, non-drivable, oncoming
    collision_step: Int  # [N] first state of an at-fault collision, NEVER
    collision_track: Int  # [N] index of that track, NEVER
    ttc_step: Int  # [N] first state at which time to collision is violated, NEVER
    ttc_track: Int  # [N]
    off_road_step: Int  # [N] first state with a corner off the drivable area, NEVER
    touch_step: Int  # [N] first state that touches any track, whoever is at fault, NEVER
    variant: Variant = NAVSIM_1_1
    tlc: Double = field(default_factory=lambda: np.zeros(0))  # [N] traffic light compliance: 1 or 0; 1 where not asked for
    lk: Double = field(default_factory=lambda: np.zeros(0))  # [N] lane keeping: 1 or 0; 1 where not asked for
    tlc_step: Int = field(default_factory=lambda: np.zeros(0, np.int64))  # [N] first state that touches a red light's area, NEVER
    lk_step: Int = field(default_factory=lambda: np.zeros(0, np.int64))  # [N] state that ends a run off the centre line, NEVER

    def __post_init__(self) -> None:
        for name, value in (("tlc", 1.0), ("lk", 1.0), ("tlc_step", NEVER), ("lk_step", NEVER)):
            if len(getattr(self, name)) != len(self.nc):
                object.__setattr__(self, name, np.full(len(self.nc), value))

    def __len__(self) -> int:
        return len(self.nc)

    @property
    def gate(self) -> Double:
        """[N] product of the variant's factors: NC DAC, and DDC TLC in ``epdms-2.2``."""
        gates = [getattr(self, name) for name in self.variant.gates]
        return np.asarray(np.prod(gates, axis=0))

    @property
    def masked_progress(self) -> Double:
        """[N] metres that count when the best is looked for: times the gate; as it is where EP is RAW; 0 or all where GATED."""
        if self.variant.ep == RAW:
            return self.progress
        return self.progress * ((self.gate > 0) if self.variant.ep == GATED else self.gate)


WEIGHTS = NAVSIM_1_1.weights


def ego_progress(marks: Marks, best: Double | float) -> Double:
    """EP [N] from the greatest progress ``best`` [N] or scalar metres, by the variant's formula.

    - MASKED (NAVSIM v1.1): progress times gate over best, so that an NC of 0.5 halves EP too; where best is at most ``ep_least``, 1
      behind open gates and 0 else.
    - CLIPPED (v2.2): progress itself over best, cut to [0, 1]; where best is at most ``ep_least``, 1 for all.
    - GATED (corrected): as MASKED, but an open gate counts whole.
    - RAW (World Engine): progress over the best progress whatever the gates, 1 where that is at most ``ep_least``; then times gate.
    """
    best = np.broadcast_to(np.asarray(best, np.float64), (len(marks),))
    variant, far = marks.variant, best > marks.variant.ep_least
    over = np.where(far, best, 1.0)
    if variant.ep in (MASKED, GATED):
        return np.where(far, np.minimum(marks.masked_progress / over, 1.0), np.where(marks.gate > 0, 1.0, 0.0))
    share = np.where(far, np.clip(marks.progress / over, 0.0, 1.0), 1.0)
    return share if variant.ep == CLIPPED else share * marks.gate


def mean_of(variant: Variant, terms: dict[str, Double]) -> Double:
    """[N] weighted mean of the variant's weighted terms; extended comfort counts where it is among ``terms`` as "ec"."""
    weights = variant.weights | ({"ec": variant.w_ec} if "ec" in terms else {})
    return np.asarray(sum(weight * terms[name] for name, weight in weights.items()) / sum(weights.values()))


def total(marks: Marks, ep: Double) -> Double:
    """Score [N]: the gates' product times the weighted mean; NC DAC (5 EP + 5 TTC + 2 comfort) / 12 in NAVSIM v1.1."""
    return np.asarray(marks.gate * mean_of(marks.variant, {"ep": ep, "ttc": marks.ttc, "comfort": marks.comfort, "lk": marks.lk}))
