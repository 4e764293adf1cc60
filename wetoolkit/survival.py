"""How long a policy acts without a failure: the curve of Kaplan and Meier over drives of any length, clustered by log.

A drive that ends without a failure (its horizon or its log is over) is censored: it says that nothing went wrong so far, and no
more. What is assumed, and how the interval is made, stands in docs/statistics.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from wetoolkit.statistics import same_metric, t_quantile, wilson
from wetoolkit.types import Bool, Float, Int, require, require_finite

TABLE = {
    **dict.fromkeys(["split", "policy", "metric"], pl.String),
    **dict.fromkeys(["time", "survival", "low", "high", "level"], pl.Float64),
    **dict.fromkeys(["at_risk", "failed", "n", "asked", "logs"], pl.Int64),
    "method": pl.String,
}


@dataclass(frozen=True)
class Curve:
    """Share of drives without a failure so far. It falls at ``times`` and is level in between; past ``end`` it is not known, unless
    it is 0 by then."""

    times: Float  # [K] seconds at which somebody fails, rising
    survival: Float  # [K] from that time on
    error: Float  # [K] standard error of the survival, logs being independent; NaN where nobody is left
    at_risk: Int  # [K] drives that reached that time without a failure
    failed: Int  # [K] of them failed there
    reach: Float  # [C] for each log the seconds its longest drive was watched, rising
    end: float  # seconds: nobody was watched for longer
    level: float
    n: int

    def _unknown(self, time: float) -> bool:
        return time > self.end + 1e-9 and not (len(self.survival) and self.survival[-1] == 0.0)

    @property
    def logs(self) -> int:
        """C."""
        return len(self.reach)

    def at(self, time: float) -> tuple[float, float, float]:
        """(share, low, high) after ``time`` seconds; NaN past the end. With one log the interval is the whole range."""
        if self._unknown(time):
            return np.nan, np.nan, np.nan
        k = int(np.searchsorted(self.times, time + 1e-9)) - 1  # the last fall up to then
        share = 1.0 if k < 0 else float(self.survival[k])
        if self.logs == 1:
            return share, 0.0, 1.0
        if share in (0.0, 1.0):  # no spread to be seen: the logs that reached so far bound it
            count = max(int((self.reach >= min(time, self.end) - 1e-9).sum()), 1)
            bound = wilson(share * count, count, self.level)
            return share, bound.low, bound.high
        return share, *self._ends(share, float(self.error[k]))

    def _ends(self, share: float, error: float) -> tuple[float, float]:
        """The interval on the scale of log(-log S), where it cannot leave [0, 1] (Kalbfleisch & Prentice 1980)."""
        reach = t_quantile(self.level, self.logs - 1) * error / (share * abs(np.log(share)))
        return float(share ** np.exp(reach)), float(share ** np.exp(-reach))

    def mean_until(self, time: float) -> float:
        """Restricted mean: seconds without a failure within the first ``time`` seconds, on average; NaN past the end."""
        if self._unknown(time):
            return float("nan")
        falls = self.times < time
        edges = np.concatenate([[0.0], self.times[falls], [time]])
        return float((np.diff(edges) * np.concatenate([[1.0], self.survival[falls]])).sum())


def kaplan_meier(seconds: ArrayLike, failed: ArrayLike, logs: Sequence[Any], level: float = 0.95) -> Curve:
    """The curve of drives that were watched for ``seconds`` [n], at the end of which they ``failed`` [n] or were censored.

    A drive that is censored at the time of another's failure counts as at risk there. The error is the infinitesimal jackknife
    over ``logs`` [n]: dS = -S sum over falls of (d_c - Y_c d / n) / (n - d), squared and summed over the logs c, times C / (C - 1).
    With one drive a log that is Greenwood's formula times n / (n - 1); it is never taken below Greenwood's.
    """
    time, fails = np.asarray(seconds, np.float64), np.asarray(failed, bool)
    require(time.ndim == 1 and len(time) > 0, f"shape {time.shape}", "seconds", "give at least one drive, in one axis")
    require(fails.shape == time.shape and len(logs) == len(time), f"{fails.shape}, {len(logs)} logs", "failed", "one each")
    require_finite(time, "seconds")
    require(bool((time >= 0).all()), f"the least is {time.min()}", "seconds", "count from the first decision")
    _, log = np.unique(np.asarray(logs, dtype=str), return_inverse=True)
    times = np.unique(time[fails])
    died, risk = _by_log(time, fails, log, times)  # [C, K] each
    d, n = died.sum(0), risk.sum(0)
    survival = np.cumprod(1 - d / n)
    reach = np.zeros(len(died))
    np.maximum.at(reach, log, time)
    error = survival * _spread(died, risk, d, n)
    return Curve(
        times, survival, error, n.astype(np.int64), d.astype(np.int64), np.sort(reach), float(time.max()), level, len(time)
    )


def _by_log(time: Float, fails: Bool, log: Int, times: Float) -> tuple[Float, Float]:
    """Failures and drives at risk [C, K] of each log at each of ``times`` [K]."""
    count = int(log.max()) + 1
    died, risk = np.zeros((count, len(times))), np.zeros((count, len(times)))
    np.add.at(died, (log[fails], np.searchsorted(times, time[fails])), 1.0)
    np.add.at(risk, log, (time[:, None] >= times[None]).astype(np.float64))
    return died, risk


def _spread(died: Float, risk: Float, d: Float, n: Float) -> Float:
    """Standard error [K] of log S; NaN from where nobody is left."""
    left = np.where(n > d, n - d, np.nan)
    by_log = np.cumsum((died - risk * (d / n)) / left, axis=1)  # [C, K]
    count = len(died)
    clustered = (by_log**2).sum(0) * count / max(count - 1, 1)
    return np.asarray(np.sqrt(np.maximum(clustered, np.cumsum(d / (n * left)))))


def curves(outcomes: pl.DataFrame, level: float = 0.95) -> pl.DataFrame:
    """The curve of every policy and split that was driven in closed loop: one row a fall, one at 0 s and one at the end.

    ``outcomes`` has, besides the columns of ``wetoolkit.evaluation``, ``seconds`` (how long the drive was watched) and
    ``failed_at`` (seconds, null for a success). Items without a score are counted in ``asked`` and are not in the curve.
    """
    driven = outcomes.filter(pl.col("mode") == "closed")
    rows: list[dict[str, Any]] = []
    for (split,), group in driven.group_by("split", maintain_order=True):
        stamps = group.filter(pl.col("error") == "")["metric"].unique().to_list()
        metric = same_metric(stamps, where=f"closed {split}") if stamps else ""
        for (policy,), part in group.group_by("policy", maintain_order=True):
            scored = part.filter(pl.col("error") == "").drop_nulls("seconds")
            names = {"split": split, "policy": policy, "metric": metric, "asked": len(part)}
            rows += [{**names, **row} for row in (_rows(scored, level) if len(scored) else [])]
    return pl.DataFrame(rows, schema=TABLE)


def _rows(scored: pl.DataFrame, level: float) -> list[dict[str, Any]]:
    """The curve of one policy as rows."""
    failed = scored["failed_at"].is_not_null().to_numpy()
    time = scored.select(pl.coalesce("failed_at", "seconds"))["failed_at"].to_numpy()
    curve = kaplan_meier(time, failed, scored["log"].to_list(), level)
    at = np.unique(np.concatenate([[0.0], curve.times, [curve.end]]))
    method = "Kaplan-Meier, jackknife over logs" if curve.logs > 1 else "Kaplan-Meier, one log: no interval"
    common = {"level": level, "n": curve.n, "logs": curve.logs, "method": method}
    rows = []
    for t in at.tolist():
        share, low, high = curve.at(t)
        died = int((failed & (time == t)).sum())
        rows.append(
            {"time": t, "survival": share, "low": low, "high": high, "at_risk": int((time >= t).sum()), "failed": died, **common}
        )
    return rows


__all__ = ["Curve", "curves", "kaplan_meier"]
