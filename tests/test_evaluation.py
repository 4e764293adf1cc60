"""The tables of an evaluation: what is averaged, what is paired, what is counted, and what is refused."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from wetoolkit import evaluation, statistics
from wetoolkit.errors import MetricMismatch, UnknownName, ValidationError

METRIC = "toy-1[normaliser=pair]"


def outcomes(
    policies: dict[str, float], split: str = "rare", mode: str = "closed", scenes: int = 90, logs: int = 45
) -> pl.DataFrame:
    """Each policy succeeds in the first share of the same scenes, which go round the logs."""
    rows = [
        {
            "policy": policy, "split": split, "mode": mode, "id": f"s{k}", "log": f"log{k % logs}", "seed": 0, "metric": METRIC,
            "total": 0.9 if k < rate * scenes else 0.1, "success": k < rate * scenes, "term.speed": k / scenes, "error": "",
        }
        for policy, rate in policies.items()
        for k in range(scenes)
    ]  # fmt: skip
    return pl.DataFrame(rows)


def row(table: pl.DataFrame, **keys: str) -> dict[str, object]:
    found = table.filter(*(pl.col(name) == value for name, value in keys.items()))
    assert len(found) == 1, f"{len(found)} rows of {keys}"
    return found.row(0, named=True)


def fail(table: pl.DataFrame, policy: str, ids: list[str]) -> pl.DataFrame:
    """The table with these items of a policy failed."""
    hit = (pl.col("policy") == policy) & pl.col("id").is_in(ids)
    empty = [pl.when(hit).then(None).otherwise(pl.col(name)).alias(name) for name in ("total", "success", "term.speed", "metric")]
    return table.with_columns(*empty, error=pl.when(hit).then(pl.lit("the scene broke")).otherwise(pl.col("error")))


def test_every_policy_and_measure_has_its_interval() -> None:
    table = evaluation.summarise(outcomes({"base": 0.5, "new": 0.8}), seed=3)
    assert table.select("policy", "measure").rows() == [
        (policy, measure) for measure in ("success", "score", "speed") for policy in ("base", "new")
    ]
    found = row(table, policy="new", measure="success")
    values = np.arange(90) < 72
    due = statistics.mean_interval(values, [f"log{k % 45}" for k in range(90)], seed=3)
    assert (found["estimate"], found["low"], found["high"]) == (due.estimate, due.low, due.high)
    assert (found["n"], found["asked"], found["failed"], found["logs"], found["metric"]) == (90, 90, 0, 45, METRIC)
    assert found["method"] == "studentised bootstrap over logs"


def test_failed_items_are_counted_and_never_scored() -> None:
    table = fail(outcomes({"base": 1.0}), "base", ["s1", "s2", "s3"])
    found = row(evaluation.summarise(table, seed=0), measure="success")
    assert (found["estimate"], found["n"], found["asked"], found["failed"]) == (1.0, 87, 90, 3)


def test_a_policy_that_failed_everywhere_has_a_row_and_a_reason() -> None:
    table = fail(outcomes({"base": 1.0, "new": 1.0}), "new", [f"s{k}" for k in range(90)])
    found = row(evaluation.summarise(table, seed=0), measure="success", policy="new")
    assert (found["estimate"], found["method"], found["failed"]) == (None, "all items failed", 90)
    assert len(evaluation.compare(table, "base", seed=0)) == 0


def test_a_term_the_data_cannot_tell_has_a_row_and_a_reason() -> None:
    table = outcomes({"base": 1.0}).with_columns(pl.lit(None, pl.Float64).alias("term.speed"))
    found = row(evaluation.summarise(table, seed=0), measure="speed")
    assert (found["estimate"], found["n"], found["method"]) == (None, 0, "unavailable in this data")


def test_a_comparison_is_paired_over_what_both_were_scored_on() -> None:
    table = fail(outcomes({"base": 0.5, "new": 0.8}), "new", ["s0", "s60"])
    found = row(evaluation.compare(table, "base", seed=1), measure="success")
    assert (found["a"], found["b"], found["n"], found["asked"]) == ("new", "base", 88, 90)
    assert found["difference"] == pytest.approx((70 - 44) / 88)
    assert found["verdict"] == "better"
    assert found["low"] > 0
    assert found["p_mcnemar"] == pytest.approx(2 * 0.5**26 - 0.5**26)


def test_a_row_is_found_by_item_and_seed_whatever_the_order() -> None:
    base, new = (outcomes({name: rate}) for name, rate in (("base", 0.5), ("new", 0.8)))
    straight = evaluation.compare(pl.concat([base, new]), "base", seed=0)
    shuffled = evaluation.compare(pl.concat([base, new.sample(fraction=1, shuffle=True, seed=1)]), "base", seed=0)
    for name in ("difference", "low", "high", "p"):
        assert straight[name].to_list() == pytest.approx(shuffled[name].to_list())


def test_holm_runs_over_the_comparisons_of_one_measure() -> None:
    table = outcomes({"base": 0.5, "new": 0.8, "shuffled": 0.5, "longer": 0.55})
    found = evaluation.compare(table, "base", [("new", "shuffled"), ("new", "longer")], seed=1)
    success = found.filter(pl.col("measure") == "success")
    assert success.select("a", "b").rows() == [
        ("new", "base"), ("shuffled", "base"), ("longer", "base"), ("new", "shuffled"), ("new", "longer")
    ]  # fmt: skip
    assert success["p_holm"].to_list() == pytest.approx(list(statistics.holm(success["p"].to_numpy())))
    assert row(success, a="shuffled", b="base")["verdict"] == "not significant"
    assert row(success, a="shuffled", b="base")["method"] == "no pair differs: score interval over logs"
    assert row(success, a="new", b="longer")["verdict"] == "better"
    assert row(found.filter(pl.col("measure") == "score"), a="new", b="base")["p_mcnemar"] is None


def test_worse_is_said_and_terms_are_only_higher_or_lower() -> None:
    table = outcomes({"base": 0.8, "new": 0.3})
    moved = table.with_columns(
        pl.when(pl.col("policy") == "new").then(pl.col("term.speed") / 2).otherwise(pl.col("term.speed")).alias("term.speed")
    )
    found = evaluation.compare(moved, "base", seed=0)
    assert row(found, measure="success")["verdict"] == "worse"
    assert row(found, measure="speed")["verdict"] == "lower"


def test_terms_on_a_scale_of_their_own_get_intervals_too() -> None:
    table = outcomes({"base": 0.5}).with_columns((pl.col("term.speed") * 30).alias("term.speed"))
    found = row(evaluation.summarise(table, seed=0), measure="speed")
    assert found["low"] < found["estimate"] < found["high"]


def test_two_splits_and_modes_stay_apart() -> None:
    table = pl.concat([outcomes({"base": 0.5}), outcomes({"base": 0.9}, "common", "open")])
    found = evaluation.summarise(table, seed=0)
    assert row(found, split="common", mode="open", measure="success")["estimate"] == pytest.approx(0.9)
    assert row(found, split="rare", mode="closed", measure="success")["estimate"] == pytest.approx(0.5)


def test_rows_of_two_metrics_are_refused() -> None:
    table = pl.concat([outcomes({"base": 0.5}), outcomes({"new": 0.5}).with_columns(metric=pl.lit("toy-2"))])
    for work in (lambda: evaluation.summarise(table, seed=0), lambda: evaluation.compare(table, "base", seed=0)):
        with pytest.raises(MetricMismatch, match="toy-2"):
            work()


def test_an_unknown_policy_is_named_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'base'"):
        evaluation.compare(outcomes({"base": 0.5, "new": 0.6}), "bas", seed=0)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: t.drop("log"), "log"),
        (lambda t: pl.concat([t, t.head(2)]), "doubled"),
        (lambda t: t.with_columns(pl.when(pl.col("id") == "s7").then(None).otherwise(pl.col("total")).alias("total")), "'s7'"),
        (lambda t: t.with_columns(pl.when(pl.col("id") == "s7").then(np.nan).otherwise(pl.col("total")).alias("total")), "'s7'"),
    ],
)
def test_a_broken_table_is_refused(change: object, match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        evaluation.summarise(change(outcomes({"base": 0.5})), seed=0)


def test_few_logs_and_no_items_are_said() -> None:
    found = row(evaluation.summarise(outcomes({"base": 0.5}, logs=2), seed=0), measure="success")
    assert found["method"] == "t on 2 log means, error of independent outcomes"
    assert found["high"] - found["low"] == pytest.approx(1.0)  # one degree of freedom: nothing is known
    assert len(evaluation.summarise(outcomes({"base": 0.5}).clear(), seed=0)) == 0
