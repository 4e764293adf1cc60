"""Each method against scipy, statsmodels, a closed form, an enumeration or its promised coverage."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as sm_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint, proportions_ztest

from wetoolkit import statistics
from wetoolkit.errors import MetricMismatch, ValidationError
from wetoolkit.types import Metric, Scores

RUNS = 2000


@given(st.integers(1, 400), st.floats(0, 1), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_is_that_of_statsmodels(n: int, share: float, level: float) -> None:
    successes = round(share * n)
    ours = statistics.wilson(successes, n, level)
    low, high = proportion_confint(successes, n, alpha=1 - level, method="wilson")
    assert (ours.low, ours.high) == pytest.approx((max(0, low), min(1, high)), abs=1e-9)
    assert ours.low <= ours.estimate <= ours.high


def test_the_papers_gain_is_not_significant_unpaired() -> None:
    """World Engine: 245 of 288 against 256 of 288."""
    ours = statistics.unpaired((256, 288), (245, 288))
    assert ours.p == pytest.approx(0.17, abs=0.005)
    assert ours.p == pytest.approx(proportions_ztest([256, 245], [288, 288])[1], abs=1e-12)
    assert ours.difference.low < 0 < ours.difference.high
    fisher = statistics.unpaired((256, 288), (245, 288), test="fisher")
    assert fisher.p == pytest.approx(stats.fisher_exact([[256, 32], [245, 43]])[1], abs=1e-12)


def test_newcombe_agrees_with_the_example_of_his_paper() -> None:
    """Newcombe 1998, table II (a), method 10: 56/70 - 48/80 -> 0.0524 to 0.3339."""
    interval = statistics.unpaired((56, 70), (48, 80)).difference
    assert (interval.low, interval.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def clustered_outcomes(
    rng: np.random.Generator, logs: int, per_log: float, rate: float, icc: float
) -> tuple[np.ndarray, np.ndarray]:
    """Sums and sizes [C, RUNS] of beta-binomial outcomes: scenes of a log share their log's rate."""
    sizes = 1 + rng.poisson(per_log - 1, size=(logs, RUNS))
    scale = (1 - icc) / icc if icc else np.inf
    rates = rng.beta(rate * scale, (1 - rate) * scale, size=sizes.shape) if icc else np.full(sizes.shape, rate)
    return rng.binomial(sizes, rates).astype(float), sizes.astype(float)


@pytest.mark.parametrize(
    ("logs", "per_log", "rate", "icc"),
    [
        *[(40, 2.5, 0.5, 0.2), (40, 2.5, 0.85, 0.0), (40, 5, 0.7, 0.5), (40, 5, 0.9, 0.2)],
        *[(60, 4, 0.8, 0.3), (100, 2, 0.9, 0.5), (100, 3, 0.6, 0.1), (40, 2.5, 0.95, 0.0)],
    ],
)
def test_intervals_over_logs_cover_93_to_97_percent(logs: int, per_log: float, rate: float, icc: float) -> None:
    rng = np.random.default_rng(7)
    sums, sizes = clustered_outcomes(rng, logs, per_log, rate, icc)
    low, high = statistics.studentised(sums, sizes, seed=1, level=0.95, resamples=599)
    assert 0.93 <= float(((low <= rate) & (rate <= high)).mean()) <= 0.97


def test_percentile_bootstrap_would_not_cover() -> None:
    """Why it is not used: on the same outcomes it falls out of the promise that the studentised one keeps."""
    sums, sizes = clustered_outcomes(np.random.default_rng(7), 40, 5, 0.9, 0.2)
    weights = np.random.default_rng(1).multinomial(40, np.full(40, 1 / 40), size=599).astype(float)
    low, high = np.quantile((weights @ sums) / (weights @ sizes), [0.025, 0.975], axis=0)
    assert float(((low <= 0.9) & (high >= 0.9)).mean()) < 0.93


def test_intervals_of_scores_with_a_heap_at_zero_cover() -> None:
    """Scores such as the PDM score: 0 in a gated share of scenes, spread out above."""
    rng = np.random.default_rng(3)
    passed, sizes = clustered_outcomes(rng, 40, 4, 0.85, 0.2)
    sums = sum(np.where(k < passed, rng.beta(8, 2, size=passed.shape), 0.0) for k in range(int(passed.max())))
    low, high = statistics.studentised(sums, sizes, seed=1, level=0.95, resamples=599)
    assert 0.93 <= float(((low <= 0.85 * 0.8) & (high >= 0.85 * 0.8)).mean()) <= 0.97


def test_intervals_of_scores_with_little_spread_cover() -> None:
    """Close to the upper end, where the logit stretches most, and with small errors."""
    rng = np.random.default_rng(6)
    values = rng.beta(400, 8, size=(40, RUNS, 3))
    low, high = statistics.studentised(values.sum(2), np.full((40, RUNS), 3.0), seed=1, level=0.95, resamples=599)
    assert 0.93 <= float(((low <= 400 / 408) & (high >= 400 / 408)).mean()) <= 0.97


def test_intervals_of_paired_differences_cover() -> None:
    """Differences in {-1, 0, 1}: 20 % won, 8 % lost, correlated within logs."""
    rng = np.random.default_rng(5)
    shares = rng.dirichlet(np.array([0.2, 0.08, 0.72]) * 6, size=(50, RUNS))  # [C, S, 3]
    counts = rng.multinomial(4, shares)
    sums, sizes = (counts[..., 0] - counts[..., 1]).astype(float), np.full((50, RUNS), 4.0)
    low, high = statistics.studentised(sums, sizes, seed=1, level=0.95, resamples=599, bounds=(-1.0, 1.0))
    assert 0.93 <= float(((low <= 0.12) & (high >= 0.12)).mean()) <= 0.97


def test_a_ratio_of_independent_rates_has_the_error_of_katz() -> None:
    a, b = np.repeat([1.0, 0.0], [30, 10]), np.repeat([1.0, 0.0], [12, 48])
    found = statistics.ratio_interval(a, [f"a{i}" for i in range(40)], b, [f"b{i}" for i in range(60)], seed=0)
    error = math.sqrt((1 / 30 - 1 / 40 + 1 / 12 - 1 / 60) * 100 / 99)
    assert found.estimate == pytest.approx(0.75 / 0.2)
    assert math.log(found.high / found.estimate) == pytest.approx(statistics.t_quantile(0.95, 99) * error)
    assert found.high / found.estimate == pytest.approx(found.estimate / found.low)


def test_ratios_of_rates_that_share_logs_cover() -> None:
    """Shares of critical frames in both sorts of scenes of 30 logs, good and bad logs alike in both."""
    rng, hits = np.random.default_rng(4), 0
    logs = np.repeat(np.arange(30), 3)
    for run in range(400):
        level = rng.beta(2.0, 4.0, size=30)[logs]
        a, b = rng.beta(6 * level, 6 * (1 - level)), rng.beta(6 * level, 6 * (1 - level)) / 4
        found = statistics.ratio_interval(a, logs.tolist(), b, logs.tolist(), seed=run)
        hits += found.low <= 4.0 <= found.high
    assert 0.92 <= hits / 400 <= 0.98


def test_a_ratio_to_none_is_infinite_and_keeps_a_lower_end() -> None:
    logs = list(range(30))
    a = np.repeat([0.5, 0.0], 15)
    found = statistics.ratio_interval(a, logs, np.zeros(30), logs, seed=0)
    top, below = (statistics.mean_interval(values, logs, seed=0) for values in (a, np.zeros(30)))
    assert (found.estimate, found.high) == (math.inf, math.inf)
    assert found.low == pytest.approx(top.low / below.high) and "quotients" in found.method
    assert statistics.ratio_interval(np.zeros(30), logs, a, logs, seed=0).low == 0.0


def test_few_logs_get_a_t_interval_on_the_log_means() -> None:
    rng = np.random.default_rng(0)
    means = rng.uniform(0.3, 0.9, size=(RUNS, 12))
    values, logs = np.repeat(means[0], 5), np.repeat(np.arange(12), 5)
    ours = statistics.mean_interval(values, logs, seed=0)
    low, high = stats.t.interval(0.95, 11, means[0].mean(), stats.sem(means[0]))
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=1e-12)
    assert ours.method == "t on 12 log means"
    assert ours.clusters == 12


def test_t_intervals_on_few_logs_cover() -> None:
    rng = np.random.default_rng(2)
    sums, sizes = clustered_outcomes(rng, 12, 10, 0.7, 0.2)
    hits = 0
    for k in range(RUNS):
        values = np.concatenate([np.arange(n) < y for y, n in zip(sums[:, k], sizes[:, k], strict=True)])
        interval = statistics.mean_interval(values, np.repeat(range(12), sizes[:, k].astype(int)), seed=0)
        hits += interval.low <= 0.7 <= interval.high
    assert 0.91 <= hits / RUNS <= 0.97


def test_few_logs_that_agree_by_chance_do_not_give_certainty() -> None:
    values, logs = np.tile([0.0, 1.0], 20), np.repeat(range(4), 10)
    interval = statistics.mean_interval(values, logs, seed=0)
    low, high = stats.t.interval(0.95, 3, 0.5, stats.sem(values))
    assert (interval.low, interval.high) == pytest.approx((low, high))
    assert interval.method == "t on 4 log means, error of independent outcomes"


def test_the_method_follows_the_data_and_is_said() -> None:
    rng = np.random.default_rng(4)
    binary = rng.integers(0, 2, 60).astype(float)
    method = {
        "one a log": statistics.mean_interval(binary, range(60), seed=0).method,
        "several": statistics.mean_interval(binary, np.repeat(range(30), 2), seed=0).method,
        "one log": statistics.mean_interval(binary, ["a"] * 60, seed=0).method,
        "all succeed": statistics.mean_interval(np.ones(60), np.repeat(range(30), 2), seed=0).method,
        "no pair differs": statistics.mean_interval(np.zeros(60), range(60), seed=0, bounds=(-1.0, 1.0)).method,
    }
    assert method == {
        "one a log": "Wilson",
        "several": "studentised bootstrap over logs",
        "one log": "one log: no interval",
        "all succeed": "no spread: Wilson over logs",
        "no pair differs": "no pair differs: score interval over logs",
    }


def test_all_successes_do_not_give_certainty() -> None:
    interval = statistics.mean_interval(np.ones(60), np.repeat(range(30), 2), seed=0)
    assert interval.high == 1.0
    assert interval.low == pytest.approx(proportion_confint(30, 30, method="wilson")[0])


def test_no_discordant_pair_matches_tango() -> None:
    """Tango's score interval at no discordant pair: |d| = z^2 / (n + z^2)."""
    interval = statistics.mean_interval(np.zeros(40), range(40), seed=0, bounds=(-1.0, 1.0))
    d, z2 = interval.high, stats.norm.ppf(0.975) ** 2
    # With b = c = 0 the restricted estimate of P(lost) is 0 and the variance n d (1 - d): (n d)^2 / (n d (1 - d)) = z^2.
    assert (40 * d) ** 2 / (40 * d * (1 - d)) == pytest.approx(z2)
    assert interval.low == -d


def test_equal_seeds_give_equal_intervals_and_order_does_not_matter() -> None:
    rng = np.random.default_rng(8)
    values, logs = rng.uniform(size=200), rng.integers(0, 45, 200)
    first = statistics.mean_interval(values, logs, seed=3)
    shuffled = rng.permutation(200)
    assert first == statistics.mean_interval(values, logs, seed=3)
    again = statistics.mean_interval(values[shuffled], logs[shuffled], seed=3)
    assert (again.low, again.high) == pytest.approx((first.low, first.high), abs=1e-12)


@pytest.mark.parametrize(
    ("values", "logs", "match"),
    [([], [], "at least one"), ([1.0], [1, 2], "one each"), ([1.0, math.nan], [1, 2], "NaN"), ([0.2, 1.7], [1, 2], "bounds")],
)
def test_bad_outcomes_are_refused(values: list[float], logs: list[int], match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        statistics.mean_interval(values, logs, seed=0)


pairs = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=80)


@given(pairs)
def test_mcnemar_is_that_of_statsmodels(outcomes: list[tuple[int, int]]) -> None:
    a, b = np.array(outcomes).T
    table = [[int(((a == i) & (b == j)).sum()) for j in (1, 0)] for i in (1, 0)]
    assert statistics.mcnemar(a, b) == pytest.approx(min(1.0, sm_mcnemar(table, exact=True).pvalue), abs=1e-12)


def test_mid_p_is_exact_less_half_of_what_was_seen() -> None:
    """Fagerland, Lydersen and Laake 2013, table 1 (1 against 7 discordant pairs): exact 0.070, mid-p 0.039."""
    a, b = np.array([1] * 1 + [0] * 7), np.array([0] * 1 + [1] * 7)
    assert statistics.mcnemar(a, b) == pytest.approx(0.0703, abs=5e-5)
    assert statistics.mcnemar(a, b, "mid-p") == pytest.approx(0.0391, abs=5e-5)


def test_mid_p_sums_over_the_binomial() -> None:
    for wins, losses in itertools.product(range(7), repeat=2):
        a, b = [1] * wins + [0] * losses, [0] * wins + [1] * losses
        if not a:
            continue
        point = {k: math.comb(wins + losses, k) / 2 ** (wins + losses) for k in range(wins + losses + 1)}
        seen = point[wins]
        brute = sum(v for v in point.values() if v < seen - 1e-15) + sum(v for v in point.values() if abs(v - seen) <= 1e-15) / 2
        assert statistics.mcnemar(a, b, "mid-p") == pytest.approx(brute, abs=1e-12)


@given(st.lists(st.floats(-1, 1).map(lambda x: round(x, 2)), min_size=1, max_size=9))
def test_sign_flips_match_scipy(differences: list[float]) -> None:
    p, method = statistics.sign_flip(differences, seed=0)
    if len(differences) < 2:
        assert p == 1.0
        return
    both = (np.array(differences), np.zeros(len(differences)))
    theirs = stats.permutation_test(
        both, lambda x, y, axis: (x - y).sum(axis=axis), permutation_type="samples", n_resamples=np.inf, vectorized=True
    )
    assert p == pytest.approx(min(1.0, theirs.pvalue), abs=1e-12)
    assert "all" in method


def test_sign_flips_of_scenes_are_mcnemars_test_on_success() -> None:
    rng = np.random.default_rng(9)
    a, b = rng.integers(0, 2, 14), rng.integers(0, 2, 14)
    assert statistics.sign_flip(a - b, seed=0)[0] == pytest.approx(statistics.mcnemar(a, b), abs=1e-12)


def test_drawn_sign_flips_approach_the_exact_p() -> None:
    rng = np.random.default_rng(10)
    a, b = rng.random(300) < 0.55, rng.random(300) < 0.45
    drawn, method = statistics.sign_flip(a.astype(float) - b, seed=0, resamples=20_000)
    exact = statistics.mcnemar(a, b)
    assert "20000 drawn" in method
    assert drawn == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 20_000) + 1e-4)
    assert statistics.sign_flip(np.ones(40), seed=0)[0] == pytest.approx(1 / 10_000)


def test_log_level_sign_flips_hold_their_level_where_scenes_do_not() -> None:
    """No true difference, but the scenes of a log differ together: scene-level tests find one far too often."""
    rng = np.random.default_rng(11)
    logs = np.repeat(range(30), 8)
    by_log = by_scene = 0
    for _ in range(300):
        differences = np.repeat(rng.normal(size=30), 8) + 0.3 * rng.normal(size=240)
        by_log += statistics.sign_flip(differences, logs, seed=0, resamples=499)[0] < 0.05
        by_scene += statistics.sign_flip(differences, seed=0, resamples=499)[0] < 0.05
    assert by_log / 300 < 0.09
    assert by_scene / 300 > 0.3


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(deadline=None, max_examples=25)  # statsmodels imports on first use, and collects garbage at every call
def test_holm_is_that_of_statsmodels(p: list[float]) -> None:
    assert statistics.holm(p) == pytest.approx(multipletests(p, method="holm")[1], abs=1e-12)


def test_holm_refuses_what_is_no_p_value() -> None:
    with pytest.raises(ValidationError, match="outside"):
        statistics.holm([0.1, math.nan])


@pytest.mark.parametrize(("n", "difference", "discordant"), [(200, 0.10, 0.3), (288, 0.04, 0.12), (100, 0.2, 0.4)])
def test_power_is_what_mcnemars_test_reaches(n: int, difference: float, discordant: float) -> None:
    """Against the unconditional power of the mid-p test, summed over all outcomes of n pairs."""
    total = 0.0
    for k in range(n + 1):  # discordant pairs
        chance = stats.binom.pmf(k, n, discordant)
        if chance < 1e-9:
            continue
        wins = np.arange(k + 1)
        fewer = np.minimum(wins, k - wins)
        p = np.where(2 * wins == k, 1.0, 2 * stats.binom.cdf(fewer, k, 0.5) - stats.binom.pmf(fewer, k, 0.5))
        total += chance * stats.binom.pmf(wins, k, (1 + difference / discordant) / 2)[p < 0.05].sum()
    assert statistics.paired_power(difference, discordant, n) == pytest.approx(total, abs=0.03)


def test_detectable_inverts_power_and_says_when_nothing_is() -> None:
    found = statistics.detectable(200, 0.2)
    assert statistics.paired_power(found, 0.2, 200) == pytest.approx(0.8, abs=1e-6)
    assert statistics.detectable(400, 0.2) < found
    assert math.isnan(statistics.detectable(6, 0.2))


def test_design_effect_of_equal_scenes_is_their_number() -> None:
    rng = np.random.default_rng(12)
    means = rng.normal(size=400)
    assert statistics.design_effect(np.repeat(means, 5), np.repeat(range(400), 5)) == pytest.approx(5, rel=0.01)
    assert statistics.design_effect(rng.normal(size=4000), np.repeat(range(800), 5)) == pytest.approx(1, abs=0.15)


def scores(totals: np.ndarray, version: str = "1", **settings: str) -> Scores:
    return Scores(Metric("toy", version, settings), totals, totals > 0.5)


def test_scores_of_different_metrics_refuse_to_be_compared() -> None:
    totals, logs = np.linspace(0, 1, 30), [str(i) for i in range(30)]
    with pytest.raises(MetricMismatch, match="toy-1, toy-2"):
        statistics.compare_scores(scores(totals), scores(totals, "2"), logs, seed=0)
    with pytest.raises(MetricMismatch, match="normaliser=pair"):
        statistics.compare_scores(scores(totals, normaliser="pair"), scores(totals, normaliser="batch"), logs, seed=0)


def test_a_comparison_of_scores_holds_all_one_needs() -> None:
    rng = np.random.default_rng(13)
    b = rng.uniform(0, 0.5, 120)
    a = b + rng.uniform(0.1, 0.3, 120)
    found = statistics.compare_scores(scores(a), scores(b), np.repeat(range(40), 3).astype(str), seed=0, names=("new", "old"))
    assert (found.a, found.b, found.n, found.discordant) == ("new", "old", 120, 120)
    assert found.difference.estimate == pytest.approx((a - b).mean())
    assert found.p == pytest.approx(1e-4)
    assert found.difference.low <= 0.2 <= found.difference.high
