"""The survival curve against statsmodels, closed forms, a bootstrap over logs and its promised coverage."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.duration.survfunc import SurvfuncRight

from wetoolkit.errors import MetricMismatch, ValidationError
from wetoolkit.survival import curves, kaplan_meier

DRIVES = st.lists(st.tuples(st.integers(1, 40), st.booleans()), min_size=2, max_size=60)


@settings(deadline=None)
@given(DRIVES)
def test_survival_and_error_are_those_of_statsmodels(drives: list[tuple[int, bool]]) -> None:
    """Independent drives: the product-limit estimate and Greenwood's error, but for the factor n / (n - 1)."""
    time, failed = np.array([t for t, _ in drives]) / 10, np.array([f for _, f in drives])
    if not failed.any():
        assert len(kaplan_meier(time, failed, range(len(time))).times) == 0
        return
    ours, theirs = kaplan_meier(time, failed, range(len(time))), SurvfuncRight(time, failed.astype(int))
    np.testing.assert_allclose(ours.times, theirs.surv_times)
    np.testing.assert_allclose(ours.survival, theirs.surv_prob, atol=1e-12)
    np.testing.assert_array_equal(ours.at_risk, theirs.n_risk)
    np.testing.assert_array_equal(ours.failed, theirs.n_events)
    known, n = ours.at_risk > ours.failed, len(time)
    np.testing.assert_allclose(ours.error[known], np.asarray(theirs.surv_prob_se)[known] * np.sqrt(n / (n - 1)), rtol=1e-9)
    assert np.isnan(ours.error[~known]).all()


def test_without_censoring_it_is_the_share_that_is_left() -> None:
    time = np.random.default_rng(0).integers(1, 80, 200) / 10
    curve = kaplan_meier(time, np.ones(200, bool), range(200))
    for t in (0.05, 1.0, 3.3, 7.0):
        assert curve.at(t)[0] == pytest.approx((time > t).mean())
    assert curve.mean_until(5.0) == pytest.approx(np.minimum(time, 5.0).mean())


def test_a_textbook_example() -> None:
    """Freireich et al. 1963, 6-MP arm (Kalbfleisch & Prentice, table 1.1): S(6) = 0.857, S(23) = 0.448 and their errors."""
    failed = [6, 6, 6, 7, 10, 13, 16, 22, 23]
    censored = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
    curve = kaplan_meier(failed + censored, [True] * 9 + [False] * 12, range(21))
    np.testing.assert_allclose(curve.survival, [0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448], atol=6e-4)
    np.testing.assert_allclose(curve.error * np.sqrt(20 / 21), [0.0764, 0.0869, 0.0963, 0.1068, 0.1141, 0.1282, 0.1346], atol=6e-5)


def clustered(rng: np.random.Generator, logs: int, per_log: int, censor: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Exponential times whose rate differs from log to log, censored at 4 s or where the log ends."""
    rate = 0.15 * rng.gamma(2.0, 0.5, logs)  # mean 0.15 /s
    log = np.repeat(np.arange(logs), per_log)
    time = rng.exponential(1 / rate[log])
    end = np.minimum(4.0, rng.uniform(1.0, 8.0, logs))[log] if censor else np.full(len(log), 4.0)
    return np.minimum(time, end), time <= end, log


def test_the_error_over_logs_is_that_of_a_bootstrap_over_logs() -> None:
    rng = np.random.default_rng(1)
    time, failed, log = clustered(rng, 60, 5)
    drawn = []
    for _ in range(400):
        pick = rng.integers(0, 60, 60)
        rows = (pick[:, None] * 5 + np.arange(5)).ravel()
        drawn.append(kaplan_meier(time[rows], failed[rows], np.repeat(np.arange(60), 5)).at(3.0)[0])
    curve = kaplan_meier(time, failed, log)
    error = curve.error[np.searchsorted(curve.times, 3.0) - 1]
    assert error == pytest.approx(np.std(drawn), rel=0.15)
    assert error > 1.15 * kaplan_meier(time, failed, range(300)).error[np.searchsorted(curve.times, 3.0) - 1]


@pytest.mark.parametrize(("logs", "per_log", "least"), [(40, 5, 0.925), (12, 4, 0.92)])
def test_intervals_cover_the_truth(logs: int, per_log: int, least: float) -> None:
    """The truth at 3 s of the mixture: E exp(-3 rate) with a gamma rate is (1 + 0.15 * 3 / 2)^-2."""
    truth, rng, held = (1 + 0.15 * 3 / 2) ** -2.0, np.random.default_rng(2), 0
    for _ in range(400):
        _, low, high = kaplan_meier(*clustered(rng, logs, per_log)).at(3.0)
        held += bool(low <= truth <= high)
    assert held / 400 >= least


def test_the_interval_holds_the_estimate_and_stays_within_bounds() -> None:
    curve = kaplan_meier(*clustered(np.random.default_rng(3), 30, 3))
    for t in np.linspace(0, curve.end, 40):
        share, low, high = curve.at(float(t))
        assert 0 <= low <= share <= high <= 1


def test_ends_of_the_scale_are_bounded_by_the_logs() -> None:
    never = kaplan_meier([4.0] * 30, [False] * 30, range(30))
    assert never.at(4.0) == pytest.approx((1.0, 0.886, 1.0), abs=1e-3)  # Wilson of 30 of 30
    always = kaplan_meier([1.0] * 30, [True] * 30, range(30))
    assert always.at(1.0) == pytest.approx((0.0, 0.0, 0.114), abs=1e-3)
    assert kaplan_meier([1.0, 4.0], [True, False], ["a", "a"]).at(2.0) == (0.5, 0.0, 1.0)
    assert always.at(9.0)[0] == 0.0  # nobody comes back
    assert always.mean_until(9.0) == 1.0
    assert np.isnan(never.at(4.1)).all()
    assert np.isnan(never.mean_until(5.0))


@pytest.mark.parametrize(
    ("seconds", "failed", "logs"),
    [([], [], []), ([1.0, np.nan], [True, False], "ab"), ([-1.0], [True], "a"), ([1.0], [True, False], "a"), ([1.0], [True], "ab")],
)
def test_bad_input_is_a_clear_error(seconds: list[float], failed: list[bool], logs: str) -> None:
    with pytest.raises(ValidationError):
        kaplan_meier(seconds, failed, list(logs))


def outcomes(**columns: object) -> pl.DataFrame:
    base = {"mode": "closed", "split": "rare", "policy": "p", "log": ["a", "b", "c"], "metric": "m-1", "error": ""}
    return pl.DataFrame({**base, "seconds": [4.0, 4.0, 2.0], "failed_at": [1.0, None, None], **columns})


def test_the_table_counts_what_it_rests_on() -> None:
    table = curves(outcomes(error=["", "", "broken"]))
    assert table["time"].to_list() == [0.0, 1.0, 4.0]
    assert table["survival"].to_list() == [1.0, 0.5, 0.5]
    assert table["at_risk"].to_list() == [2, 2, 1]
    assert table["failed"].to_list() == [0, 1, 0]
    assert set(table["n"]) == {2}
    assert set(table["asked"]) == {3}
    assert len(curves(outcomes(mode="open"))) == 0
    assert len(curves(outcomes(error="broken"))) == 0


def test_drives_under_different_conditions_make_no_curve() -> None:
    with pytest.raises(MetricMismatch):
        curves(outcomes(metric=["m[dynamics=unicycle]", "m[dynamics=perfect]", "m[dynamics=perfect]"]))
