"""From the outcome of every item to tables: one of estimates with intervals, one of paired comparisons.

An outcome table has one row for every item that was asked for: ``policy``, ``split``, ``mode`` ("open" or "closed"), ``id``,
``log``, ``seed``, ``metric`` (its stamp), ``total``, ``success``, one ``term.NAME`` column a term (null where the data cannot
tell) and ``error`` (the reason where there is no score; such items are counted, never scored).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl

from wetoolkit import statistics
from wetoolkit.errors import UnknownName
from wetoolkit.types import Float, require

TERM = "term."
GROUP = ["mode", "split", "measure"]  # what one question is about; rows of one group are compared, never of two
KEY = ["id", "seed"]  # what makes a pair within a group

_TEXT = ("policy", "split", "mode", "id", "log", "metric", "error")
_SUMMARY = {
    **dict.fromkeys(["mode", "split", "measure", "policy", "metric"], pl.String),
    **dict.fromkeys(["estimate", "low", "high", "level"], pl.Float64),
    **dict.fromkeys(["n", "asked", "failed", "logs"], pl.Int64),
    "method": pl.String,
}
_COMPARISON = {
    **dict.fromkeys(["mode", "split", "measure", "a", "b", "metric"], pl.String),
    **dict.fromkeys(["difference", "low", "high", "level", "p", "p_holm"], pl.Float64),
    "verdict": pl.String,
    **dict.fromkeys(["n", "asked", "discordant", "logs"], pl.Int64),
    **dict.fromkeys(["method", "test"], pl.String),
    "p_mcnemar": pl.Float64,
}


def check(outcomes: pl.DataFrame) -> pl.DataFrame:
    """The outcome table with its types settled; ``ValidationError`` names a missing column, a doubled item, a row without score."""
    missing = [name for name in (*_TEXT, "seed", "total", "success") if name not in outcomes.columns]
    require(not missing, f"columns {', '.join(missing)} are missing", "outcomes", "see wetoolkit.evaluation for the columns")
    terms = [name for name in outcomes.columns if name.startswith(TERM)]
    table = outcomes.with_columns(
        *(pl.col(name).cast(pl.String).fill_null("") for name in _TEXT),
        pl.col("seed").cast(pl.Int64),
        *(pl.col(name).cast(pl.Float64) for name in ("total", "success", *terms)),
    )
    scored = table.filter(pl.col("error") == "")
    for name in ("total", "success"):
        empty = scored.filter(~pl.col(name).fill_null(float("nan")).is_finite())
        first = empty["id"][0] if len(empty) else ""
        require(len(empty) == 0, f"{len(empty)} rows have neither a score nor an error, the first is {first!r}", name, "give one")
    doubled = table.filter(table.select("policy", "split", "mode", *KEY).is_duplicated())
    first = doubled["id"][0] if len(doubled) else ""
    require(len(doubled) == 0, f"{len(doubled)} rows are doubled, the first is {first!r}", "outcomes", "one row an item and seed")
    return table


def _long(table: pl.DataFrame) -> pl.DataFrame:
    """One row an item and measure: "success", "score" and every term, in that order; ``value`` is null for failed items."""
    terms = [name for name in table.columns if name.startswith(TERM)]
    named = table.rename({"total": "score", **{name: name.removeprefix(TERM) for name in terms}})
    measures = ["success", "score", *(name.removeprefix(TERM) for name in terms)]
    keep = ["policy", "split", "mode", *KEY, "log", "metric", "error"]
    long = named.unpivot(on=measures, index=keep, variable_name="measure", value_name="value")
    failed = pl.col("error") != ""
    return long.with_columns(value=pl.when(failed).then(None).otherwise(pl.col("value")))


def _groups(long: pl.DataFrame) -> Iterator[tuple[dict[str, str], pl.DataFrame]]:
    """Every (mode, split, measure) with its rows and its one metric; ``MetricMismatch`` where there are several."""
    for key, rows in long.group_by(GROUP, maintain_order=True):
        names = dict(zip(GROUP, map(str, key), strict=True))
        stamps = rows.filter(pl.col("error") == "")["metric"].unique().to_list()
        names["metric"] = statistics.same_metric(stamps, where=f"{names['mode']} {names['split']}") if stamps else ""
        yield names, rows


def _bounds(values: Float, low: float) -> tuple[float, float] | None:
    """[low, 1] where all values lie in it; None for terms on a scale of their own."""
    return (low, 1.0) if bool(((values >= low - 1e-9) & (values <= 1 + 1e-9)).all()) else None


def summarise(outcomes: pl.DataFrame, seed: int, level: float = 0.95) -> pl.DataFrame:
    """Estimate with interval of every policy and measure; ``n`` items were scored of ``asked``, ``failed`` have an error instead.

    Rows whose items all failed, or whose term the data cannot tell, have no estimate; ``method`` says why.
    """
    rows = [
        {**names, "policy": policy[0], **_estimate(part, seed, level)}
        for names, group in _groups(_long(check(outcomes)))
        for policy, part in group.group_by("policy", maintain_order=True)
    ]
    return pl.DataFrame(rows, schema=_SUMMARY)


def _estimate(part: pl.DataFrame, seed: int, level: float) -> dict[str, Any]:
    """The numbers of one policy in one group."""
    known = part.drop_nulls("value")
    counts = {"n": len(known), "asked": len(part), "failed": int((part["error"] != "").sum()), "logs": known["log"].n_unique()}
    if not len(known):
        return {**counts, "method": "all items failed" if counts["failed"] == counts["asked"] else "unavailable in this data"}
    values = known["value"].to_numpy()
    interval = statistics.mean_interval(values, known["log"].to_list(), seed=seed, level=level, bounds=_bounds(values, 0.0))
    return {**counts, **_numbers(interval, "estimate")}


def _numbers(interval: statistics.Interval, name: str) -> dict[str, Any]:
    """The columns of an interval; an end that is not known is null, not infinite."""
    ends = {key: value if np.isfinite(value) else None for key, value in (("low", interval.low), ("high", interval.high))}
    return {name: interval.estimate, **ends, "level": interval.level, "method": interval.method}


def compare(
    outcomes: pl.DataFrame,
    baseline: str,
    pairs: Iterable[tuple[str, str]] = (),
    *,
    seed: int,
    level: float = 0.95,
    apart: Collection[str] = (),
) -> pl.DataFrame:
    """Every policy but those ``apart`` against ``baseline``, and the ``pairs`` (a, b), over the items and seeds scored for both.

    The p-value is of sign flips at log level; ``p_mcnemar`` (mid-p, scenes taken as independent) stands beside it for successes.
    ``p_holm`` is adjusted over the comparisons of one measure (a family: one question put to several pairs); pairs with one that is
    ``apart`` are a family of their own. The verdict is drawn at ``p_holm`` < 1 - level; for terms, whose good direction the core
    does not know, it is "higher" or "lower".
    """
    table = check(outcomes)
    policies = table["policy"].unique(maintain_order=True).to_list()
    wanted = list(dict.fromkeys([*((name, baseline) for name in policies if name not in (baseline, *apart)), *pairs]))
    for name in (baseline, *(name for pair in wanted for name in pair)):
        if name not in policies:
            raise UnknownName("policy", name, policies, where="the comparisons")
    rows: list[dict[str, Any]] = []
    for names, group in _groups(_long(table)):
        for beside in (False, True):
            family = [pair for pair in wanted if bool(set(pair) & set(apart)) == beside]
            found = [row for pair in family if (row := _difference(group, *pair, seed, level)) is not None]
            rows += [{**names, **row} for row in _judged(found, names["measure"], level)]
    return pl.DataFrame(rows, schema=_COMPARISON)


def _difference(group: pl.DataFrame, a: str, b: str, seed: int, level: float) -> dict[str, Any] | None:
    """One paired comparison; None where no item was scored for both."""
    first, second = (group.filter(pl.col("policy") == name) for name in (a, b))
    asked = pl.concat([first, second]).select(KEY).n_unique()
    both = first.join(second, on=KEY, how="inner").drop_nulls(["value", "value_right"])
    if not len(both):
        return None
    x, y = (both[name].to_numpy() for name in ("value", "value_right"))
    found = statistics.paired(x, y, both["log"].to_list(), seed=seed, names=(a, b), level=level, bounds=_bounds(x - y, -1.0))
    counts = {"n": found.n, "asked": asked, "discordant": found.discordant, "logs": found.difference.clusters}
    mcnemar = statistics.mcnemar(x, y, "mid-p") if group["measure"][0] == "success" else None
    numbers = _numbers(found.difference, "difference")
    return {"a": a, "b": b, **numbers, "p": found.p, **counts, "test": found.method, "p_mcnemar": mcnemar}


def _judged(rows: Sequence[dict[str, Any]], measure: str, level: float) -> list[dict[str, Any]]:
    """The comparisons of one measure with Holm's p-values over them, and what that lets one say."""
    adjusted = statistics.holm([row["p"] for row in rows])
    up, down = ("better", "worse") if measure in ("success", "score") else ("higher", "lower")
    return [
        {**row, "p_holm": float(p), "verdict": "not significant" if p >= 1 - level else up if row["difference"] > 0 else down}
        for row, p in zip(rows, adjusted, strict=True)
    ]
