"""How the motion of generated traffic is distributed, against that of the log: by class, as Wasserstein distances.

Speed [m/s], acceleration [m/s^2], yaw rate [rad/s] and nearest distance between box centres [m], each at every half second; and
time to collision [s] with the road user that would be met soonest at constant velocity (discs as wide as the boxes; at most
``FAR``). Intervals of distances leave out a tenth of the logs at a time (the grouped jackknife), or one where there are no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import wasserstein_distance
from wetoolkit_driving.geometry import compose
from wetoolkit_driving.types import Bool, Double

from wetoolkit.statistics import Interval, t_quantile
from wetoolkit_diffusion.kinematics import DT
from wetoolkit_diffusion.spec import KINDS
from wetoolkit_diffusion.tokens import Tokens

QUANTITIES = ("speed", "acceleration", "yaw rate", "nearest", "ttc")
EVERY = 5  # steps of 0.1 s
FAR = 10.0  # seconds
GROUPS = 10  # of logs, of which one is left out at a time
SELF = 1e6  # metres: as far as nobody else is


@dataclass
class Samples:
    """Values by class and quantity."""

    values: dict[tuple[str, str], list[Double]] = field(default_factory=dict)

    def add(self, tokens: Tokens, motion: Double, rows: Bool) -> None:
        """Take in motions [n, A, T, 3] (local poses at 10 Hz) of some rows [A]."""
        for name, found in quantities(tokens, motion).items():
            for which in KINDS:
                some = found[:, rows & (tokens.kind == which)].ravel()
                self.values.setdefault((which.name.lower(), name), []).append(some)

    def distances(self, log: Samples) -> dict[tuple[str, str], float]:
        """Wasserstein distance of each quantity to the log's, in its unit; none where either has no values."""
        out = {}
        for key, values in self.values.items():
            own, other = np.concatenate(values), np.concatenate(log.values.get(key, [np.zeros(0)]))
            if len(own) and len(other):
                out[key] = float(wasserstein_distance(own, other))
        return out


def pooled(parts: Mapping[str, Samples], names: Sequence[str]) -> Samples:
    """The samples of some logs together."""
    found = Samples()
    for name in names:
        for key, values in parts[name].values.items():
            found.values.setdefault(key, []).extend(values)
    return found


def jackknifed(found: Mapping[str, Samples], reference: Mapping[str, Samples]) -> dict[tuple[str, str], Interval]:
    """The distance of each quantity to that of the same logs of the reference; of one log the interval is the half-line."""
    names = sorted(found)
    left = [[name for i, name in enumerate(names) if i % GROUPS != group] for group in range(min(GROUPS, len(names)))]
    whole = pooled(found, names).distances(pooled(reference, names))
    parts = [pooled(found, some).distances(pooled(reference, some)) for some in left]
    out = {}
    for key, estimate in whole.items():
        some = np.array([part[key] for part in parts if key in part])
        n = len(some)
        half = t_quantile(0.95, n - 1) * float(np.sqrt((n - 1) / n * ((some - some.mean()) ** 2).sum())) if n > 1 else np.inf
        size = sum(map(len, pooled(found, names).values[key]))
        out[key] = Interval(
            estimate, max(estimate - half, 0.0), estimate + half, 0.95, f"jackknife, {n} groups of logs", size, len(names)
        )
    return out


def quantities(tokens: Tokens, motion: Double) -> dict[str, Double]:
    """Each quantity [n, A, S] of motions [n, A, T, 3]."""
    full = np.concatenate([np.zeros_like(motion[:, :, :1]), motion], 2)[:, :, ::EVERY]  # [n, A, S + 1, 3]
    seconds = EVERY * DT
    step = np.diff(full[..., :2], axis=2) / seconds
    speed = np.hypot(step[..., 0], step[..., 1])
    before = np.hypot(*tokens.velocity.astype(np.float64).T)[None, :, None]
    speeds = np.concatenate([np.broadcast_to(before, (len(motion), len(tokens), 1)), speed], 2)
    world = compose(tokens.frame[:, None], full[:, :, 1:])
    near, soon = _others(world[..., :2], np.diff(compose(tokens.frame[:, None], full)[..., :2], axis=2) / seconds, tokens)
    return {
        "speed": speed, "acceleration": np.diff(speeds, axis=2) / seconds,
        "yaw rate": np.diff(np.unwrap(full[..., 2], axis=2), axis=2) / seconds, "nearest": near, "ttc": soon,
    }  # fmt: skip


def _others(place: Double, velocity: Double, tokens: Tokens) -> tuple[Double, Double]:
    """Distance to the nearest other and time to the soonest contact [n, A, S] of places and velocities [n, A, S, 2]."""
    n, count, steps, _ = place.shape
    near, soon = np.full((n, count, steps), 100.0), np.full((n, count, steps), FAR)
    radius = tokens.size[:, 1].astype(np.float64) / 2
    for a in range(count):
        offset, closing = place - place[:, a : a + 1], velocity - velocity[:, a : a + 1]
        away = np.hypot(offset[..., 0], offset[..., 1])
        away[:, a] = SELF
        near[:, a] = np.minimum(near[:, a], away.min(1))
        # |offset + closing t| = sum of the radii: the smaller root, where they approach and meet.
        square, along = (closing**2).sum(-1), (offset * closing).sum(-1)
        inner = along**2 - square * (away**2 - (radius + radius[a])[None, :, None] ** 2)
        meets = (along < 0) & (inner > 0) & (away < SELF) & (square > 1e-6)
        time = np.where(meets, (-along - np.sqrt(np.maximum(inner, 0.0))) / np.maximum(square, 1e-6), FAR)
        soon[:, a] = np.clip(np.where(meets, time, FAR).min(1), 0.0, FAR)
    return near, soon


__all__ = ["QUANTITIES", "Samples", "jackknifed", "pooled", "quantities"]
