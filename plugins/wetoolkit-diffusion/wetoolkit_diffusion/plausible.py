"""Which generated futures are plausible: every one that is not has its reasons, and they are counted.

A future that the ego cannot live through teaches nothing: it is *solvable* only where some plan of the ego - ``pdm-closed``'s, or
one of a fan of steady accelerations and steering angles - has a PDM score above a bound against the others as they will move.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field
from wetoolkit_driving.domain import Driving
from wetoolkit_driving.geometry import compose
from wetoolkit_driving.pdm.closed import PdmClosed, PdmClosedConfig
from wetoolkit_driving.pdm.reward import PdmReward, PdmRewardConfig
from wetoolkit_driving.types import AgentClass, Bool, Double, World

from wetoolkit.config import Config
from wetoolkit.types import Situation
from wetoolkit_diffusion.kinematics import violations
from wetoolkit_diffusion.realism import collisions, off_road, recorded, road
from wetoolkit_diffusion.rules import ran_red
from wetoolkit_diffusion.tokens import Tokens

REASONS = ("kinematics", "collision", "off_road", "unlikely", "unsolvable")  # besides "red_light", and "alike", which takes two
PUSHES, ANGLES = (-6.0, -4.0, -2.5, -1.0, 0.0, 1.0, 2.0), (-0.12, -0.04, 0.0, 0.04, 0.12)  # m/s^2, rad


class PlausibilityConfig(Config):
    """What a variant must hold to be kept."""

    kinematics: bool = Field(default=True, description="nobody exceeds the limits of its class")
    collision: bool = Field(default=True, description="nobody but the ego is run into")
    off_road: bool = Field(
        default=True, description="no vehicle leaves the road, where the map is known, that stays on it in the record"
    )
    rules: bool = Field(
        default=True,
        description="nobody on wheels enters a junction on red who does not in the record; who was told where to be may",
    )
    solvable: float = Field(
        default=0.8, description="some plan of the ego has a PDM score above this; 0: not asked [1]", ge=0.0, lt=1.0
    )
    unlikely: float = Field(
        default=0.0,
        description="how much more surprising to the model than recorded futures somebody may be; 0: any [nat]",
        ge=0.0,
    )
    apart: float = Field(
        default=0.25,
        description="least distance between two variants of a scene: mean over time and over who goes anywhere; 0: any [m]",
        ge=0.0,
    )
    tries: int = Field(default=4, description="how often a variant is made before it is given up [1]", ge=1, le=64)


@dataclass(frozen=True)
class Verdict:
    """What is wrong with a future (nothing: it is kept), the best score that the ego can have in it, and how unlikely it is
    (``likely``; both NaN: not asked)."""

    reasons: tuple[str, ...]
    score: float = float("nan")
    excess: float = float("nan")


def judge(
    tokens: Tokens, world: World, motion: Double, made: Bool, config: PlausibilityConfig, logged: Bool
) -> list[tuple[str, ...]]:
    """Reasons for each of n futures, local poses [n, A, T, 3]; ``made`` [A]: rows that were generated, ``logged`` [A]: who leaves
    the road in the record. The ego's row is looked at by nobody: it will act by itself."""
    others = made & (tokens.rows >= 0)
    full = compose(tokens.frame[:, None], motion)
    n = len(motion)
    found = {name: np.zeros(n, bool) for name in REASONS}
    if config.kinematics:
        velocity = tokens.velocity[others].astype(np.float64)
        found["kinematics"] = np.array([violations(one[others], tokens.kind[others], velocity).any() for one in motion], bool)
    if config.collision:
        met = collisions(full[:, 1:], tokens.frame[1:], tokens.size[1:])  # [n, A - 1]
        found["collision"] = met[:, others[1:]].any(1)
    if config.off_road and world.map.lanes:
        drives = others & (tokens.kind == AgentClass.VEHICLE) & ~logged
        found["off_road"] = off_road(road(world.map), full, tokens.frame, tokens.frame[0, :2])[:, drives].any(1)
    return [tuple(name for name in REASONS if found[name][i]) for i in range(n)]


def breaks_rules(tokens: Tokens, world: World, now: int, motion: Double, free: Bool) -> Bool:
    """[n] futures, local poses [n, A, T, 3], in which somebody on wheels enters a junction on red that does not in the record.

    ``free`` [n, A]: rows that no rule binds. The ego's row is looked at by nobody.
    """
    truth = recorded(tokens, world, now, motion.shape[2])[0]
    ran = ran_red(world, now, compose(tokens.frame[:, None], np.concatenate([truth[None], motion])), tokens.frame)  # [1 + n, A]
    bound = (tokens.rows >= 0) & (tokens.kind != AgentClass.PEDESTRIAN) & ~ran[0]
    return np.asarray((ran[1:] & bound & ~free).any(1))


def best_scores(situations: Sequence[Situation[World]]) -> list[float]:
    """The best PDM score of any plan tried in each situation."""
    if not situations:
        return []
    driving, planner, reward = Driving(), PdmClosed(PdmClosedConfig()), PdmReward(PdmRewardConfig())
    planned = planner.act(driving.observe(situations, planner.spec), 0).trajectories  # [B, 40, 3]
    fan = np.array([(push, angle) for push in PUSHES for angle in ANGLES], np.float32)
    plans = np.stack([driving.steered([s] * len(fan), fan) for s in situations])  # [B, N, 40, 3]
    scores = reward.score(situations, np.concatenate([planned[:, None], plans], 1).astype(np.float32))
    return [float(row.max()) for row in scores.total]


__all__ = ["REASONS", "PlausibilityConfig", "Verdict", "best_scores", "breaks_rules", "judge"]
