"""What is asked of generated traffic, beside what was found: errors as a share of a baseline's, rates against the log's.

Generators are compared agent by agent, so their tallies must be of the same agents in the same order (``realism.judge`` for one
scene after the other). Intervals are clustered by log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from wetoolkit.statistics import FEW_LOGS, Interval, cluster_sums, mean_interval, studentised, t_interval, t_quantile
from wetoolkit.types import require
from wetoolkit_diffusion.realism import Tally

SHARE, TIMES = 0.6, 1.5  # of the baseline's error; times the log's rate
RATES = ("collision", "off_road")


def verdicts(
    tables: Mapping[str, Tally], generator: str = "diffusion", baseline: str = "constant velocity", log: str = "log", seed: int = 0
) -> list[dict[str, object]]:
    """One row for each class and number. ``found`` is the share of the baseline's minADE, or the rate less ``TIMES`` the log's (it
    may be 0, so that a ratio would say nothing): at most 0 is asked then. Whether it ``holds`` is the mean's to say, and "not
    surely" where the interval reaches to the other side."""
    out: list[dict[str, object]] = []
    for kind in sorted({kind for kind, _ in tables[generator].values}):
        found = share(tables[generator], tables[baseline], (kind, "minADE"), seed)
        base = float(np.mean(tables[baseline].values[kind, "minADE"]))
        words = f"at most {SHARE:g} of {baseline}'s {base:.3f} m"
        out.append({"generator": generator, "class": kind, "number": "minADE", "asked": words, **_row(found, SHARE)})
        for name in RATES:
            if (kind, name) in tables[generator].values:
                own, rate = (float(np.mean(tables[which].values[kind, name])) for which in (generator, log))
                words = f"{own:.4f} at most {TIMES:g} times the log's {rate:.4f}"
                found = excess(tables, generator, log, (kind, name), seed)
                out.append({"generator": generator, "class": kind, "number": name, "asked": words, **_row(found, 0.0)})
    return out


def share(own: Tally, other: Tally, key: tuple[str, str], seed: int) -> Interval:
    """The sum of one generator's numbers over that of another's: a ratio of means, its error linearised over the logs."""
    _same(own, other, key)
    sums, sizes = cluster_sums(own.values[key], own.logs[key])[0], cluster_sums(other.values[key], own.logs[key])[0]
    ratio, count, n = float(sums.sum() / sizes.sum()), len(sums), len(own.values[key])
    if count < 2:
        return Interval(ratio, 0.0, float("inf"), 0.95, "one log: no interval", n, count)
    if count < FEW_LOGS:
        error = np.sqrt(count / (count - 1) * ((sums - ratio * sizes) ** 2).sum()) / sizes.sum()
        half = t_quantile(0.95, count - 1) * float(error)
        return Interval(ratio, max(ratio - half, 0.0), ratio + half, 0.95, f"ratio of sums, t over {count} logs", n, count)
    low, high = (float(end[0]) for end in studentised(sums[:, None], sizes[:, None], seed, 0.95, 1999, None))
    return Interval(ratio, max(low, 0.0), high, 0.95, "ratio of sums, studentised bootstrap over logs", n, count)


def excess(tables: Mapping[str, Tally], generator: str, log: str, key: tuple[str, str], seed: int) -> Interval:
    """The mean of a generator's rate less ``TIMES`` the log's, agent by agent: Student's t over the logs. A bootstrap has nothing
    to go by where the rate is that of one log or two; where nobody differs from 0, the rate's own interval is the bound above."""
    _same(tables[generator], tables[log], key)
    own, logs = np.array(tables[generator].values[key]), tables[log].logs[key]
    difference = own - TIMES * np.array(tables[log].values[key])
    mean, count = float(difference.mean()), len(set(logs))
    if count < 2 or not difference.any():
        return replace(mean_interval(own, logs, seed=seed), estimate=mean, low=-TIMES if count < 2 else mean)
    return t_interval(difference, logs)


def _same(own: Tally, other: Tally, key: tuple[str, str]) -> None:
    require(own.logs[key] == other.logs[key], f"{key[1]} of other agents", "tables", "judge the same scenes in the same order")


def _row(found: Interval, most: float) -> dict[str, object]:
    holds = found.estimate <= most
    surely = found.high <= most if holds else found.low > most
    words = "yes" if holds else "no"
    return {
        "found": found.estimate, "low": found.low, "high": found.high, "holds": words if surely else f"{words}, not surely",
        "agents": found.n, "logs": found.clusters,
    }  # fmt: skip


__all__ = ["SHARE", "TIMES", "excess", "share", "verdicts"]
