"""EPDMS beyond one plan (NAVSIM v2.2): the human filter, extended comfort between two plans, and the two-stage aggregation.

A plan alone is scored without extended comfort (EC). A *frame* is a plan in its scene, with the terms of that plan, the states it
leads to and where it starts and ends; EC needs the frame 0.5 s before. The second stage scores scenes that start near where a first
stage's plan ends; they count by their nearness.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wetoolkit.types import require
from wetoolkit_driving.pdm.comfort import SHORT, YAW, smooth
from wetoolkit_driving.pdm.result import Marks, mean_of
from wetoolkit_driving.pdm.variants import EPDMS_2_2, Variant

Double = NDArray[np.float64]
Terms = Mapping[str, float]

DT = 0.1  # seconds
APART = 0.5  # seconds between the two plans of extended comfort
EC_LIMITS = (0.7, 0.5, 0.1, 0.1)  # m/s^2, m/s^3, rad/s, rad/s^2
VARIANCE = 0.1  # m^2 of the kernel that weights second-stage scenes


def terms_of(marks: Marks, ep: Double) -> list[dict[str, float]]:
    """The terms of each of N plans by name; EC is not among them."""
    columns = {name: getattr(marks, name) for name in ("nc", "dac", "ddc", "tlc", "ttc", "lk", "comfort")} | {"ep": ep}
    return [{name: float(values[n]) for name, values in columns.items()} for n in range(len(marks))]


def human_filter(terms: Terms, human: Terms) -> dict[str, float]:
    """Terms in which everything that the human's own drive scores 0 in is forgiven: 1. For scenes from logs only.

    EP of the human alone is 1 by its definition, and NAVSIM scores the human without the past, so that neither EP nor comfort is
    ever forgiven; a partial failure of the human (0.5) forgives nothing. EP keeps the normaliser it was made with.
    """
    kept = ("ep", "comfort")
    return {name: 1.0 if name not in kept and human[name] == 0.0 else value for name, value in terms.items()}


def score_of(terms: Terms, variant: Variant = EPDMS_2_2) -> float:
    """Product of the gates times the weighted mean; EC counts where it is among the terms."""
    gate = float(np.prod([terms[name] for name in variant.gates]))
    return gate * float(mean_of(variant, {name: np.array(value) for name, value in terms.items()}))


def extended_comfort(now: Double, before: Double, apart: float = APART) -> NDArray[np.bool_]:
    """EC [N]: whether plans driven as states [N, T, 11] are like those made ``apart`` seconds before [N, T, 11] where both hold.

    Root mean squares of the differences in acceleration (magnitude, rear axle), its derivative, yaw rate and yaw acceleration,
    smoothed over the part that overlaps; each at most its limit. The yaw acceleration is of order 2 here, and 3 in comfort.
    """
    require(now.shape == before.shape, f"shapes {now.shape} and {before.shape}", "states", "give plans of one horizon")
    shift = round(apart / DT)
    require(0 < shift < now.shape[1] - SHORT, f"{apart} s apart", "apart", "give plans that overlap by 0.9 s or more")
    pairs = zip(_features(now[:, :-shift]), _features(before[:, shift:]), EC_LIMITS, strict=True)
    return np.asarray(np.all([np.sqrt(np.mean((a - b) ** 2, axis=-1)) <= limit for a, b, limit in pairs], axis=0))


def _features(states: Double) -> tuple[Double, Double, Double, Double]:
    """Smoothed acceleration, jerk, yaw rate, yaw acceleration [N, T] of states [N, T, 11]."""
    acceleration = smooth(np.hypot(states[..., 5], states[..., 6]), SHORT, 2, DT)
    heading = np.unwrap(states[..., 2], axis=-1)
    jerk = smooth(acceleration, EPDMS_2_2.jerk_window, 2, DT, 1)
    return acceleration, jerk, smooth(heading, YAW, 2, DT, 1), smooth(heading, YAW, 2, DT, 2)


@dataclass(frozen=True)
class Frame:
    """One plan in its scene."""

    terms: Terms  # of the plan, human filter applied, without EC
    states: Double  # [T, 11] what driving it came to
    start: Double  # [2] metres: the rear axle when the plan was made
    end: Double  # [2] metres: the plan's last pose (as planned, not as driven)


@dataclass(frozen=True)
class Pair:
    """A frame and the one 0.5 s before it in the same scene."""

    now: Frame
    before: Frame


@dataclass(frozen=True)
class Group:
    """A scene of the log and the second-stage scenes that go on from it."""

    first: Pair
    second: Sequence[Pair]


@dataclass(frozen=True)
class TwoStage:
    """Means over groups: the score, and each stage's own."""

    score: float
    first: float
    second: float


def start_weights(end: Double, starts: Double, variance: float = VARIANCE) -> Double:
    """Weights [M], summing to 1, of scenes that start at [M, 2] after a plan that ends at [2]: exp(-d^2 / (2 variance)).

    Where all are so far that their sum vanishes (numpy's isclose to 0), each counts alike.
    """
    raw = np.exp(-((starts - end) ** 2).sum(-1) / (2 * variance))
    if np.isclose(raw.sum(), 0.0):
        return np.full(len(starts), 1.0 / len(starts))
    return np.asarray(raw / raw.sum())


def frame_scores(pair: Pair, variant: Variant = EPDMS_2_2) -> tuple[float, float]:
    """(now, before): scores of both frames with the EC they share."""
    ec = float(extended_comfort(pair.now.states[None], pair.before.states[None])[0])
    return score_of({**pair.now.terms, "ec": ec}, variant), score_of({**pair.before.terms, "ec": ec}, variant)


def two_stage(groups: Sequence[Group], variant: Variant = EPDMS_2_2) -> TwoStage:
    """NAVSIM v2.2's pseudo-closed-loop score: over groups, the mean of both frames' first stage times weighted second stage."""
    require(bool(groups), "no group", "groups", "give one or more")
    rows = []
    for group in groups:
        require(bool(group.second), "no second-stage scene", "group.second", "score the first stage by itself with frame_scores")
        firsts = frame_scores(group.first, variant)
        seconds = np.array([frame_scores(pair, variant) for pair in group.second])  # [M, 2] now, before
        for column, (frame, name) in enumerate(((group.first.now, "now"), (group.first.before, "before"))):
            starts = np.array([getattr(pair, name).start for pair in group.second])  # [M, 2] metres
            rows.append((firsts[column], float(start_weights(frame.end, starts) @ seconds[:, column])))
    one, two = np.array(rows).T  # [2 groups] each
    return TwoStage(float(np.mean(one * two)), float(np.mean(one)), float(np.mean(two)))
