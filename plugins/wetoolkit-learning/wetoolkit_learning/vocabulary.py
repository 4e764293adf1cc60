"""A vocabulary of K trajectories: what a policy may choose from.

World Engine (arXiv 2606.19836, pre-training) takes 8,192 k-means centres of recorded futures and labels each frame with the centre
nearest by the sum of L2 distances at 2 Hz. So does this, with two differences that are ours:

- An anchor is the recorded future nearest to its cluster's mean, so every one was driven (a mean of two turns is neither).
- k-means follows density, and recordings are mostly steady motion. ``spread`` of the anchors are therefore chosen for coverage
  (each the future farthest from all chosen before, Gonzalez 1985), and ``brake`` of them are braking copies: a recorded path
  travelled with a constant deceleration. Without them a policy that must stop has nothing to say it with.

Channels 0 and 1 of a plan are positions in metres in the acting body's frame, the body now at the origin; ``angles`` are radians.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from wetoolkit.config import Config
from wetoolkit.errors import ConfigError
from wetoolkit.types import Float, require, require_finite

Single = NDArray[np.float32]
Double = NDArray[np.float64]
Index = NDArray[np.int64]
_BLOCK = 2**23  # distances held at a time: 32 MB of float32


class VocabularyConfig(Config):
    """How the anchors are chosen."""

    size: int = Field(default=256, description="K, the number of anchors; at most the distinct futures in the data", ge=2)
    spread: float = Field(default=0.15, description="share of K chosen for coverage instead of density", ge=0.0, le=1.0)
    brake: float = Field(default=0.25, description="share of K that are braking copies of recorded futures", ge=0.0, le=0.9)
    decelerations: tuple[float, ...] = Field(default=(1.5, 3.0, 4.5, 7.0), description="of the braking copies [m/s^2]")
    dt: float = Field(default=0.1, description="time between two poses of a plan [s]", gt=0.0)
    stride: int = Field(default=5, description="distances are taken at every so many poses [steps]; 5 is 2 Hz at 0.1 s", ge=1)
    angles: tuple[int, ...] = Field(
        default=(2,), description="channels that are angles in radians (unwrapped before interpolation)"
    )
    iterations: int = Field(default=25, description="at most so many k-means rounds", ge=1)
    sample: int = Field(default=100_000, description="at most so many futures are clustered, drawn by the seed", ge=2)


def fit(futures: Float, config: VocabularyConfig, seed: int) -> Single:
    """K anchors [K, T, D] from recorded futures [M, T, D]; equal seeds give equal anchors.

    Raises ``ConfigError`` where the data hold fewer distinct futures than the vocabulary needs.
    """
    require(futures.ndim == 3 and futures.shape[2] >= 2, f"shape {futures.shape}", "futures", "give [M, T, D] with D >= 2")
    require_finite(futures, "futures")
    rng = np.random.default_rng(seed)
    pool = _distinct(np.asarray(futures, np.float32), config.stride)
    if len(pool) > config.sample:
        pool = pool[np.sort(rng.choice(len(pool), config.sample, replace=False))]
    braking = round(config.size * config.brake) if config.decelerations else 0
    covering = min(round(config.size * config.spread), config.size - braking - 1)
    _check_size("recorded futures", config.size - braking, len(pool))
    anchors = [medoids(pool, config.size - braking - covering, config, rng)]
    if covering:
        anchors.append(farthest(pool, anchors[0], covering, config.stride))
    for slowing, share in zip(config.decelerations, _shares(braking, len(config.decelerations)), strict=True):
        if share:  # an equal share each: together, k-means would merge hard braking into gentler
            copies = _distinct(braking_copies(pool, slowing, config), config.stride)
            _check_size(f"copies braking at {slowing:g} m/s^2", share, len(copies))
            anchors.append(medoids(copies, share, config, rng))
    return np.concatenate(anchors)


def _shares(total: int, parts: int) -> list[int]:
    return [total * (i + 1) // parts - total * i // parts for i in range(parts)]


def _check_size(what: str, asked: int, have: int) -> None:
    if asked > have:
        raise ConfigError(
            f"a vocabulary larger than the data: it asks for {asked} distinct {what}, the data give {have}",
            field="vocabulary.size",
            way_out="lower vocabulary.size, or give more windows to pre-train on",
        )


def points(plans: Float, stride: int) -> Single:
    """Positions [..., P, 2] at every ``stride``-th pose, the last of each stride: what distances are taken between [m]."""
    return np.asarray(plans[..., stride - 1 :: stride, :2] if plans.shape[-2] >= stride else plans[..., -1:, :2], np.float32)


def distances(plans: Float, anchors: Float, stride: int) -> Single:
    """Sum of L2 distances [B, K] in metres at every ``stride``-th pose (World Engine's label distance)."""
    ours, theirs = points(plans, stride), points(anchors, stride)  # [B, P, 2], [K, P, 2] metres
    total = np.zeros((len(ours), len(theirs)), np.float32)
    for step in range(ours.shape[1]):  # one step at a time: [B, K], never [B, K, P]
        gap = ours[:, None, step] - theirs[None, :, step]
        total += np.hypot(gap[..., 0], gap[..., 1])
    return total


def nearest(plans: Float, anchors: Float, stride: int) -> Index:
    """Index [B] of the anchor nearest to each plan; the lowest index where two are as near."""
    rows = max(1, _BLOCK // len(anchors))
    found = [distances(plans[i : i + rows], anchors, stride).argmin(1) for i in range(0, len(plans), rows)]
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def medoids(pool: Single, count: int, config: VocabularyConfig, rng: np.random.Generator) -> Single:
    """``count`` of the futures [M, T, D], each the one nearest to the mean of its k-means cluster; no two are equal."""
    features = _features(pool, config.stride)
    centres, label = kmeans(features, seeds(features, count, rng), config.iterations)
    gap = np.square(features - centres[label]).sum(1)
    order = np.lexsort((gap, label))  # by cluster, the nearest first
    return pool[order[np.searchsorted(label[order], np.arange(count))]]


def kmeans(features: Double, centres: Double, iterations: int) -> tuple[Double, Index]:
    """Lloyd's rounds on [M, F] from ``centres`` [K, F]: (centres, the cluster of each row), M >= K; no cluster is empty."""
    label = _refill(features, centres, _assign(features, centres))
    for _ in range(iterations):
        centres = _means(features, label, len(centres))
        moved = _refill(features, centres, _assign(features, centres))
        if np.array_equal(moved, label):
            break
        label = moved
    return _means(features, label, len(centres)), label


def seeds(features: Double, count: int, rng: np.random.Generator) -> Double:
    """k-means++ (Arthur & Vassilvitskii 2007): rows drawn with probability in proportion to the squared distance to those drawn."""
    norms = np.square(features).sum(1)
    chosen = [int(rng.integers(len(features)))]
    gap = _gap(features, norms, chosen[0])
    for _ in range(count - 1):
        heap = np.cumsum(gap, dtype=np.float64)
        pick = int(np.searchsorted(heap, rng.random() * heap[-1], side="right"))
        chosen.append(min(pick, len(features) - 1))
        gap = np.minimum(gap, _gap(features, norms, chosen[-1]))
    return features[chosen]


def farthest(pool: Single, chosen: Single, count: int, stride: int) -> Single:
    """``count`` futures, each the farthest (in squared L2 of its points) from ``chosen`` and from those picked before it."""
    features, norms = _features(pool, stride), np.square(_features(pool, stride)).sum(1)
    gap = np.full(len(pool), np.inf)
    for start in _features(chosen, stride):
        gap = np.minimum(gap, np.maximum(norms - 2 * features @ start + start @ start, 0))
    picked: list[int] = []
    for _ in range(count):
        gap[picked] = -1.0  # rounding must not bring one back
        picked.append(int(gap.argmax()))
        gap = np.minimum(gap, _gap(features, norms, picked[-1]))
    return pool[picked]


def braking_copies(futures: Single, slowing: float, config: VocabularyConfig) -> Single:
    """Each future [M, T, D] travelled with a constant deceleration [m/s^2]: same path, s(t) = v0 t - a t^2 / 2 until it stands.

    ``v0`` is the speed of the future's first step. Copies that would pass the recorded end (it brakes harder) are left out.
    """
    now = np.zeros_like(futures[:, :1])
    path = np.concatenate([now, futures], 1)  # [M, T + 1, D]: the body now stands at the origin of its own frame
    for channel in config.angles:
        if channel < path.shape[2]:
            path[..., channel] = np.unwrap(path[..., channel], axis=1)
    length = np.hypot(*np.moveaxis(np.diff(path[..., :2], axis=1), -1, 0)).cumsum(1)  # [M, T] metres
    length = np.concatenate([np.zeros_like(length[:, :1]), length], 1)
    speed = length[:, 1:2] / config.dt  # [M, 1] m/s
    time = np.minimum(config.dt * np.arange(1, futures.shape[1] + 1), speed / slowing)  # [M, T] seconds, until it stands
    want = speed * time - slowing * time**2 / 2  # [M, T] metres
    fits = (speed[:, 0] > 0.5) & (want[:, -1] <= length[:, -1])
    out = [_along(*row, config.angles) for row in zip(path[fits], length[fits], want[fits], strict=True)]
    return np.asarray(out, np.float32).reshape(-1, *futures.shape[1:])


def _along(path: Single, travelled: Single, want: Float, angles: tuple[int, ...]) -> Float:
    moving = np.concatenate([[True], np.diff(travelled) > 1e-6])  # standing still would give two poses one arc length
    columns = [np.interp(want, travelled[moving], path[moving, channel]) for channel in range(path.shape[1])]
    for channel in angles:
        if channel < len(columns):
            columns[channel] = (columns[channel] + np.pi) % (2 * np.pi) - np.pi
    return np.stack(columns, 1)


def _distinct(futures: Single, stride: int) -> Single:
    """The futures without those that equal an earlier one to the centimetre at the compared points."""
    if not len(futures):
        return futures
    cells = np.rint(_features(futures, stride) * 100).astype(np.int64)
    return futures[np.sort(np.unique(cells, axis=0, return_index=True)[1])]


def _features(plans: Single, stride: int) -> Double:
    return points(plans, stride).reshape(len(plans), -1).astype(np.float64)  # float32 would round |x|^2 to centimetres


def _gap(features: Double, norms: Double, row: int) -> Double:
    gap = np.maximum(norms - 2 * (features @ features[row]) + norms[row], 0)
    gap[row] = 0.0
    return np.asarray(gap)


def _assign(features: Double, centres: Double) -> Index:
    half = np.square(centres).sum(1) / 2
    rows = max(1, _BLOCK // len(centres))
    return np.concatenate([(half - features[i : i + rows] @ centres.T).argmin(1) for i in range(0, len(features), rows)])


def _refill(features: Double, centres: Double, label: Index) -> Index:
    """Give each empty cluster the row that is served worst, from a cluster that has others."""
    size = np.bincount(label, minlength=len(centres))
    for cluster in np.flatnonzero(size == 0):
        gap = np.where(size[label] > 1, np.square(features - centres[label]).sum(1), -1.0)
        row = int(gap.argmax())
        size[[label[row], cluster]] += (-1, 1)
        label[row] = cluster
    return label


def _means(features: Double, label: Index, count: int) -> Double:
    total = np.stack([np.bincount(label, column, count) for column in features.T], 1)
    return np.asarray(total / np.bincount(label, minlength=count)[:, None])
