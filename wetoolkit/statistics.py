"""Intervals, paired tests and power for outcomes that come in clusters (several scenes cut from one log are not independent).

Which method serves when, and why, stands in docs/statistics.md. Every random number comes from a seed argument.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special  # scipy.stats takes a second to import; what is needed of it stands in special

from wetoolkit.errors import MetricMismatch, ValidationError
from wetoolkit.types import Float, Metric, Scores, require, require_finite

FEW_LOGS = 20  # below it a bootstrap over logs is not to be trusted: a t-interval is used, and said
ENUMERATE = 16  # up to 2^16 sign patterns are enumerated, more are drawn
_BLOCK = 4_000_000  # signs drawn at once

Bounds = tuple[float, float]


@dataclass(frozen=True)
class Interval:
    """A confidence interval, with how it was made."""

    estimate: float
    low: float
    high: float
    level: float  # 0.95: covers the truth in 95 of 100 repetitions
    method: str
    n: int  # outcomes
    clusters: int  # logs


@dataclass(frozen=True)
class Comparison:
    """Whether ``a`` differs from ``b``: ``difference`` is a - b."""

    a: str
    b: str
    difference: Interval
    p: float  # two-sided
    method: str  # of the test
    n: int  # pairs (the smaller sample where unpaired)
    discordant: int  # pairs that differ; 0 where unpaired


def _z(level: float) -> float:
    """Two-sided quantile of the normal distribution."""
    return float(special.ndtri((1 + level) / 2))


def t_quantile(level: float, freedom: int) -> float:
    """Two-sided quantile of Student's distribution."""
    return float(special.stdtrit(freedom, (1 + level) / 2))


def wilson(successes: float, n: float, level: float = 0.95, *, clusters: int | None = None) -> Interval:
    """Interval of a proportion of independent outcomes (Wilson 1927, the score interval); holds at 0 and at n as well."""
    require(n > 0 and 0 <= successes <= n, f"{successes} of {n}", "successes", "0 <= successes <= n, n above 0")
    p, z = successes / n, _z(level)
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = min(max(0.0, centre - half), p), max(min(1.0, centre + half), p)
    return Interval(p, low, high, level, "Wilson", round(n), round(n) if clusters is None else clusters)


def cluster_sums(values: ArrayLike, clusters: Sequence[Any]) -> tuple[Float, Float]:
    """Sum and number of outcomes of each cluster, both [C], in sorted order of the clusters' names."""
    array = np.asarray(values, np.float64)
    require(array.ndim == 1 and len(array) > 0, f"shape {array.shape}", "values", "give at least one outcome, in one axis")
    require(len(clusters) == len(array), f"{len(clusters)} clusters for {len(array)} outcomes", "clusters", "one each")
    require_finite(array, "values")
    names, index = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    return np.bincount(index, array, len(names)).astype(np.float64), np.bincount(index, minlength=len(names)).astype(np.float64)


def mean_interval(
    values: ArrayLike,
    clusters: Sequence[Any],
    *,
    seed: int,
    level: float = 0.95,
    resamples: int = 1999,
    bounds: Bounds | None = (0.0, 1.0),
) -> Interval:
    """Interval of the mean of ``values`` [n], whose ``clusters`` [n] (logs) are the independent units.

    The choice, in this order: one log: no interval can be had, the whole range is given; no spread at all: Wilson's interval over
    logs; 0/1 outcomes, one a log, from 20 logs: Wilson; fewer than 20 logs: t-interval on the log means; else the studentised
    bootstrap over logs. ``bounds`` is the range the values are known to lie in (None: not known; then the scale is not changed).
    """
    sums, sizes = cluster_sums(values, clusters)
    array = np.asarray(values, np.float64)
    if bounds is not None:
        inside = bool(((array >= bounds[0] - 1e-9) & (array <= bounds[1] + 1e-9)).all())
        require(inside, f"values outside {bounds}", "values", "give the bounds they have, or None")
    mean, count = float(sums.sum() / sizes.sum()), len(sums)
    if count == 1:
        low, high = bounds or (-math.inf, math.inf)
        return Interval(mean, low, high, level, "one log: no interval", len(array), 1)
    if np.ptp(array) <= 1e-9:
        return _no_spread(mean, len(array), count, level, bounds)
    if count >= FEW_LOGS and sizes.max() == 1 and bounds == (0.0, 1.0) and bool(np.isin(array, (0.0, 1.0)).all()):
        return wilson(array.sum(), len(array), level)
    if count < FEW_LOGS:
        return t_interval(array, clusters, level, bounds)
    low_, high_ = studentised(sums[:, None], sizes[:, None], seed, level, resamples, bounds)
    return Interval(mean, float(low_[0]), float(high_[0]), level, "studentised bootstrap over logs", len(array), count)


def _no_spread(mean: float, n: int, count: int, level: float, bounds: Bounds | None) -> Interval:
    """All outcomes are equal, so resampling shows nothing; the logs still bound how often another outcome may come."""
    if bounds is None:
        return Interval(mean, -math.inf, math.inf, level, "no spread: no interval", n, count)
    if bounds == (-1.0, 1.0) and mean == 0.0:
        # No pair differs: the score interval of a paired difference (Tango 1998) has a closed form.
        z2 = _z(level) ** 2
        return Interval(0.0, -z2 / (count + z2), z2 / (count + z2), level, "no pair differs: score interval over logs", n, count)
    low, high = bounds
    unit = wilson((mean - low) / (high - low) * count, count, level)
    low, high = low + unit.low * (high - low), low + unit.high * (high - low)
    return Interval(mean, low, high, level, "no spread: Wilson over logs", n, count)


def _moments(sums: Float, sizes: Float, weights: Float | None = None) -> tuple[Float, Float, Float]:
    """Mean, its standard error and the number of outcomes of S samples of C clusters ([C, S]); [R, S] under R ``weights`` [R, C].

    The mean is the ratio of sums; its error is the usual linearisation, clusters being independent.
    """
    w = np.ones((1, len(sums))) if weights is None else weights
    total = w @ sizes
    mean = (w @ sums) / total
    squares = w @ sums**2 - 2 * mean * (w @ (sums * sizes)) + mean**2 * (w @ sizes**2)  # sum of (y_c - mean n_c)^2
    return mean, np.sqrt(np.maximum(squares, 0) * len(sums) / (len(sums) - 1)) / total, total


def t_interval(values: ArrayLike, clusters: Sequence[Any], level: float = 0.95, bounds: Bounds | None = None) -> Interval:
    """Student's t on the log means of values [n], a log counting by its number of outcomes (equal sizes: the plain one-sample
    interval). ``mean_interval`` takes it for few logs; it serves as well where outcomes other than one are too rare to resample.

    Few logs may agree by chance; the error is never taken below that of independent outcomes, and it is said where that holds.
    ``ValidationError`` where there are fewer than two logs.
    """
    sums, sizes = cluster_sums(values, clusters)
    require(len(sums) > 1, f"{len(sums)} logs", "clusters", "give two or more")
    array = np.asarray(values, np.float64)
    mean, error, _ = (float(x[0, 0]) for x in _moments(sums[:, None], sizes[:, None]))
    independent = float(array.std(ddof=1)) / math.sqrt(len(array))
    half = t_quantile(level, len(sums) - 1) * max(error, independent)
    low, high = bounds or (-math.inf, math.inf)
    method = f"t on {len(sums)} log means" + (", error of independent outcomes" if independent > error else "")
    return Interval(mean, max(low, mean - half), min(high, mean + half), level, method, len(array), len(sums))


def ratio_interval(
    a: ArrayLike, a_clusters: Sequence[Any], b: ArrayLike, b_clusters: Sequence[Any], *, seed: int, level: float = 0.95
) -> Interval:
    """Interval of mean(a) / mean(b), two rates in [0, 1] of outcomes [n] and [m] whose clusters (logs) they may share.

    The logarithm of the ratio is linearised over the clusters and has Student's quantile; with one outcome a cluster, not shared,
    its error is that of Katz and others (1978) times sqrt(C / (C - 1)). Where a rate is 0, the ends are quotients of those of both
    rates' own intervals: no narrower than they should be.
    """
    rates = [mean_interval(values, clusters, seed=seed, level=level) for values, clusters in ((a, a_clusters), (b, b_clusters))]
    (top, below), count = rates, len({*map(str, a_clusters), *map(str, b_clusters)})
    n = top.n + below.n
    if min(top.estimate, below.estimate) <= 0.0 or min(top.clusters, below.clusters) == 1:
        ratio, high = (one / other if other else math.inf for one, other in ((top.estimate, below.estimate), (top.high, below.low)))
        return Interval(ratio, top.low / below.high, high, level, "quotients of both intervals", n, count)
    pulls: dict[str, float] = {}
    for sign, rate, values, clusters in ((1.0, top, a, a_clusters), (-1.0, below, b, b_clusters)):
        off = (np.asarray(values, np.float64) / rate.estimate - 1.0) / rate.n  # [n] what each outcome moves the logarithm
        for name, pull in zip(map(str, clusters), off, strict=True):
            pulls[name] = pulls.get(name, 0.0) + sign * float(pull)
    error = math.sqrt(sum(pull**2 for pull in pulls.values()) * count / (count - 1))
    ratio, factor = top.estimate / below.estimate, math.exp(t_quantile(level, count - 1) * error)
    return Interval(ratio, ratio / factor, ratio * factor, level, "log ratio, linearised over logs", n, count)


def studentised(
    sums: Float, sizes: Float, seed: int, level: float, resamples: int, bounds: Bounds | None = (0.0, 1.0)
) -> tuple[Float, Float]:
    """Low and high [S] of the symmetric studentised bootstrap over clusters, for S samples at once ([C, S]).

    Clusters are drawn with replacement; |mean* - mean| / error* is taken on the logit scale of ``bounds``, where means near an end
    are closer to symmetric, and its quantile is never taken below Student's (Davison & Hinkley 1997, 5.2; docs/statistics.md says
    what the plain percentile bootstrap covers in its place). A resample without spread tells nothing and counts as 0.
    """
    count = len(sums)
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples).astype(np.float64)
    if bounds is not None:
        sums = (sums - bounds[0] * sizes) / (bounds[1] - bounds[0])
    mean, error, _ = _moments(sums, sizes)
    drawn, drawn_error, _ = _moments(sums, sizes, weights)
    centre, scale = (mean, error) if bounds is None else _logit(mean, error)
    drawn, drawn_scale = (drawn, drawn_error) if bounds is None else _logit(drawn, drawn_error)
    alive = drawn_scale > 1e-12
    t = np.where(alive, np.abs(drawn - centre) / np.where(alive, drawn_scale, 1.0), 0.0)  # [R, S]
    half = np.maximum(np.quantile(t, level, axis=0), t_quantile(level, count - 1)) * scale[0]
    low, high = centre[0] - half, centre[0] + half
    if bounds is not None:
        low, high = (bounds[0] + (bounds[1] - bounds[0]) * special.expit(x) for x in (low, high))
    return low, high


def _logit(mean: Float, error: Float) -> tuple[Float, Float]:
    """Mean in [0, 1] and its error on the logit scale; at an end (there is no spread then) the error is 0."""
    inside = (mean > 0) & (mean < 1)
    inner = np.where(inside, mean, 0.5)
    return special.logit(inner), np.where(inside, error / (inner * (1 - inner)), 0.0)


def mcnemar(a: ArrayLike, b: ArrayLike, method: Literal["exact", "mid-p"] = "exact") -> float:
    """Two-sided p that paired 0/1 outcomes [n] succeed equally often (McNemar 1947, exact; mid-p: Fagerland et al. 2013)."""
    first, second = (np.asarray(x, np.float64) for x in (a, b))
    require(first.shape == second.shape and first.ndim == 1, f"{first.shape}, {second.shape}", "pairs", "give equally many")
    both = np.concatenate([first, second])
    require(bool(np.isin(both, (0, 1)).all()), "outcomes other than 0 and 1", "pairs", "use sign_flip for scores")
    wins, losses = int((first > second).sum()), int((first < second).sum())
    fewer, of = min(wins, losses), wins + losses
    tail = float(special.bdtr(fewer, of, 0.5))
    point = tail - (float(special.bdtr(fewer - 1, of, 0.5)) if fewer else 0.0)
    if method == "exact":
        return min(1.0, 2 * tail)
    return 1 - point / 2 if wins == losses else 2 * tail - point


def sign_flip(
    differences: ArrayLike, clusters: Sequence[Any] | None = None, *, seed: int, resamples: int = 9999
) -> tuple[float, str]:
    """Two-sided p of the paired permutation test on ``differences`` [n] (a - b), and how it was had.

    Under the null hypothesis a and b may be exchanged within a pair, so each difference may as well have the other sign. With
    ``clusters`` [n] (logs) all differences of one log change sign together. Up to 16 units that differ: exact, by enumeration;
    else drawn, p = (1 + as extreme) / (1 + resamples) (Phipson & Smyth 2010), never 0.
    """
    units, _ = cluster_sums(differences, clusters if clusters is not None else range(np.size(differences)))
    units = units[units != 0]
    unit_name = "logs" if clusters is not None else "scenes"
    observed = abs(units.sum()) * (1 - 1e-12) - 1e-12  # equal sums must count as extreme whatever their rounding
    if len(units) <= ENUMERATE:
        return float((np.abs(_all_signed_sums(units)) >= observed).mean()), f"sign flips of {unit_name}, all {2 ** len(units)}"
    rng, extreme, block = np.random.default_rng(seed), 0, max(1, _BLOCK // len(units))
    for start in range(0, resamples, block):
        signs = rng.integers(0, 2, size=(min(block, resamples - start), len(units)), dtype=np.int8) * 2 - 1
        extreme += int((np.abs(signs @ units) >= observed).sum())
    return (1 + extreme) / (1 + resamples), f"sign flips of {unit_name}, {resamples} drawn"


def _all_signed_sums(units: Float) -> Float:
    """The 2^k sums of ``units`` [k] under every pattern of signs."""
    sums = np.zeros(1)
    for unit in units:
        sums = np.concatenate([sums + unit, sums - unit])
    return sums


def paired(
    a: ArrayLike,
    b: ArrayLike,
    logs: Sequence[Any],
    *,
    seed: int,
    names: tuple[str, str] = ("a", "b"),
    level: float = 0.95,
    bounds: Bounds | None = (-1.0, 1.0),
) -> Comparison:
    """Compare outcomes ``a`` and ``b`` [n] of the same scenes; interval and test take ``logs`` [n] as the independent units."""
    differences = np.asarray(a, np.float64) - np.asarray(b, np.float64)  # [n]
    interval = mean_interval(differences, logs, seed=seed, level=level, bounds=bounds)
    p, method = sign_flip(differences, logs, seed=seed)
    return Comparison(*names, interval, p, method, len(differences), int((differences != 0).sum()))


def unpaired(
    a: tuple[int, int],
    b: tuple[int, int],
    *,
    test: Literal["z", "fisher"] = "z",
    names: tuple[str, str] = ("a", "b"),
    level: float = 0.95,
) -> Comparison:
    """Compare (successes, n) of independent scenes: pooled z test or Fisher's exact test, Newcombe's interval (1998, method 10)."""
    (x, n), (y, m) = a, b
    first, second = wilson(x, n, level), wilson(y, m, level)
    gap = first.estimate - second.estimate
    low = gap - math.hypot(first.estimate - first.low, second.high - second.estimate)
    high = gap + math.hypot(first.high - first.estimate, second.estimate - second.low)
    if test == "fisher":
        from scipy.stats import fisher_exact

        p = float(fisher_exact([[x, n - x], [y, m - y]]).pvalue)
    else:
        pooled = (x + y) / (n + m)
        error = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
        p = float(2 * special.ndtr(-abs(gap) / error)) if error > 0 else 1.0
    method = "Fisher exact" if test == "fisher" else "z, pooled"
    return Comparison(*names, Interval(gap, low, high, level, "Newcombe", n + m, n + m), p, method, min(n, m), 0)


def holm(p: ArrayLike) -> Float:
    """Holm's adjusted p-values [k] (1979): the family-wise error stays at the level, whatever the dependence."""
    values = np.asarray(p, np.float64)
    inside = bool(((values >= 0) & (values <= 1)).all())  # NaN fails as well
    require(inside, "p-values outside [0, 1]", "p", "leave out comparisons without a test")
    order = np.argsort(values, kind="stable")
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)), 1.0)
    return adjusted


def paired_power(difference: float, discordant: float, n: float, level: float = 0.95) -> float:
    """Chance that McNemar's test finds ``difference`` in success rates, given the share of ``discordant`` pairs (Connor 1987)."""
    require(abs(difference) <= discordant <= 1, f"{difference} of {discordant}", "discordant", "|difference| <= discordant <= 1")
    spread = math.sqrt(discordant - difference**2)
    reach = abs(difference) * math.sqrt(n) - _z(level) * math.sqrt(discordant)
    return float(special.ndtr(reach / spread)) if spread > 0 else float(reach > 0)


def detectable(n: float, discordant: float, power: float = 0.8, level: float = 0.95) -> float:
    """The smallest difference in success rates that ``n`` pairs show with ``power`` (``paired_power`` inverted); NaN: none."""
    if paired_power(discordant, discordant, n, level) < power:
        return math.nan
    z, b = _z(level), float(special.ndtri(power))
    spread = discordant * (n + b * b) - z * z * discordant  # of sqrt(n) d - z sqrt(discordant) = b sqrt(discordant - d^2), for d
    return (z * math.sqrt(n * discordant) + b * math.sqrt(spread)) / (n + b * b)


def design_effect(values: ArrayLike, clusters: Sequence[Any]) -> float:
    """How many clustered outcomes are worth one independent one: variance of the mean over that of a simple sample (Kish 1965)."""
    array = np.asarray(values, np.float64)
    sums, sizes = cluster_sums(array, clusters)
    if len(sums) < 2 or np.ptp(array) == 0:
        return math.nan
    _, error, _ = _moments(sums[:, None], sizes[:, None])
    return float(error[0, 0] ** 2 / (array.var(ddof=1) / len(array)))


def same_metric(metrics: Iterable[Metric | str], where: str = "") -> str:
    """The one stamp all ``metrics`` share; ``MetricMismatch`` names them where there are several."""
    stamps = sorted({str(metric) for metric in metrics})
    if not stamps:
        raise ValidationError("no metric is given", field="metric", way_out="stamp every score with its metric")
    if len(stamps) > 1:
        raise MetricMismatch(
            f"scores of {len(stamps)} metrics cannot be compared or averaged",
            where=where,
            metrics=", ".join(stamps),
            way_out="score all with one reward: name, version and settings must be equal",
        )
    return stamps[0]


def compare_scores(
    a: Scores, b: Scores, logs: Sequence[str], *, seed: int, names: tuple[str, str] = ("a", "b"), level: float = 0.95
) -> Comparison:
    """Compare the totals [B] of the same scenes under one metric; ``MetricMismatch`` where the metrics differ."""
    same_metric((a.metric, b.metric), where=" and ".join(names))
    first: NDArray[Any] = a.total
    require(first.ndim == 1 and first.shape == b.total.shape, f"{first.shape}, {b.total.shape}", "scores.total", "[B] each")
    return paired(first, b.total, logs, seed=seed, names=names, level=level)
