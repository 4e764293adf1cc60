"""Fit the models of trust to evidence whose truth is known, and measure them: what makes ``calibration.json``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from wetoolkit.types import require
from wetoolkit_splat.reprojection import FAR
from wetoolkit_splat.trust import Logistic

Double = NDArray[np.float64]
Bool = NDArray[np.bool_]

ERROR = 0.1  # of the depth: what a pixel may be wrong
SHARE = 0.05  # of pixels: what a frame may be wrong
DROP = 6.0  # dB below the frames on the path
RIDGE = 1e-3  # on slopes


def depth_errors(rendered: NDArray[np.floating], truth: NDArray[np.floating]) -> Double:
    """[H, W] relative errors of depths [m], 0 or infinity being the sky; what is farther than ``FAR`` counts as at ``FAR``."""

    def capped(depth: NDArray[np.floating]) -> Double:
        return np.where((depth <= 0) | ~np.isfinite(depth), FAR, np.minimum(depth, FAR)).astype(np.float64)

    return np.abs(capped(rendered) - capped(truth)) / capped(truth)


def logistic(values: NDArray[np.floating], good: Bool, weights: Double, columns: tuple[str, ...]) -> Logistic:
    """The monotone model of evidence [n, columns] by greatest likelihood, a little ridge on the slopes; slopes are at least 0."""
    require(values.shape == (len(good), len(columns)), f"shape {values.shape}", "values", f"give ({len(good)}, {len(columns)})")
    require(bool(np.isfinite(values).all()), "NaN or infinity", "values", "leave those rows out")
    require(0 < good.mean() < 1, "all outcomes are alike", "good", "give views on the path and far off it")
    bends = np.median(values, axis=0)
    x = np.concatenate([np.minimum(values, bends), np.maximum(values - bends, 0)], 1).astype(np.float64)
    scale = np.where(x.std(0) > 1e-6, x.std(0), np.inf)  # a piece that never varies has no slope
    x, y, w = x / scale, good.astype(np.float64), weights / weights.sum()

    def loss(p: Double) -> tuple[float, Double]:
        odds = p[0] - x @ p[1:]
        miss = w * (1 / (1 + np.exp(-odds)) - y)
        value = float(w @ (np.logaddexp(0, odds) - y * odds)) + RIDGE * float(p[1:] @ p[1:])
        return value, np.concatenate([[miss.sum()], -x.T @ miss + 2 * RIDGE * p[1:]])

    start = np.concatenate([[np.log(good.mean() / (1 - good.mean()))], np.full(x.shape[1], 0.05)])
    bounds = [(None, None)] + [(0, None)] * x.shape[1]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500})
    slopes = [round(float(s), 5) for s in found.x[1:] / scale]
    half = len(columns)
    return Logistic(
        columns=columns, bias=round(float(found.x[0]), 5), bends=tuple(round(float(b), 5) for b in bends),
        below=tuple(slopes[:half]), above=tuple(slopes[half:]),
    )  # fmt: skip


def auroc(scores: NDArray[np.floating], positive: Bool) -> float:
    """Share of (positive, negative) pairs in which the positive has the higher score; ties count half. NaN without both."""
    count = int(positive.sum())
    if count in (0, len(positive)):
        return float("nan")
    _, place, size = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(size) - (size - 1) / 2)[place]  # tied scores share their mean rank
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (len(positive) - count)))


def reliability(predicted: Double, good: Bool, bins: int = 10) -> tuple[list[dict[str, float]], float]:
    """(rows: share of the data, mean prediction, observed frequency; expected calibration error) over equal bins of [0, 1]."""
    index = np.minimum((predicted * bins).astype(int), bins - 1)
    rows = [
        {
            "share": float((index == b).mean()),
            "predicted": float(predicted[index == b].mean()),
            "observed": float(good[index == b].mean()),
        }
        for b in range(bins)
        if (index == b).any()
    ]
    return rows, sum(row["share"] * abs(row["predicted"] - row["observed"]) for row in rows)
