"""What was asked beside what was found: shares and rates whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
from wetoolkit_diffusion.realism import Tally
from wetoolkit_diffusion.verdict import share, verdicts

from wetoolkit.errors import ValidationError
from wetoolkit.statistics import t_quantile

KEY = ("vehicle", "minADE")


def tally(errors: np.ndarray, rates: np.ndarray, logs: int = 30) -> Tally:
    found = Tally()
    for log, (some, others) in enumerate(zip(np.array_split(errors, logs), np.array_split(rates, logs), strict=True)):
        found.add("vehicle", "minADE", some.tolist(), f"log{log}")
        found.add("vehicle", "collision", others.tolist(), f"log{log}")
    return found


def test_a_share_is_the_ratio_of_the_means_and_its_interval_holds_it() -> None:
    rng, inside = np.random.default_rng(0), 0
    for seed in range(40):  # errors of 0.5 of the baseline's on the mean, more in some logs than in others
        base = rng.gamma(2.0, 1.0, 300)
        own = base * np.repeat(rng.uniform(0.2, 0.8, 30), 10)
        found = share(tally(own, 0 * own), tally(base, 0 * base), KEY, seed)
        assert found.estimate == pytest.approx(own.mean() / base.mean())
        inside += found.low <= 0.5 <= found.high
    assert inside >= 34  # of 40, at 95 %
    steady = share(tally(0.3 * base, 0 * base, 9), tally(base, 0 * base, 9), KEY, 0)
    assert (steady.low, steady.high) == (pytest.approx(0.3), pytest.approx(0.3))
    assert share(tally(own, 0 * own, 1), tally(base, 0 * base, 1), KEY, 0).high == np.inf


@pytest.mark.parametrize(("own", "log", "holds"), [(0.0, 0.0, "yes"), (0.3, 0.25, "yes"), (0.5, 0.1, "no"), (0.01, 0.0, "no")])
def test_rates_are_held_against_half_as_much_again(own: float, log: float, holds: str) -> None:
    rng, ones = np.random.default_rng(1), np.ones(600)
    draw = lambda rate: (np.arange(600) < 600 * rate).astype(float)[rng.permutation(600)]  # noqa: E731
    tables = {"diffusion": tally(0.5 * ones, draw(own)), "constant velocity": tally(ones, ones), "log": tally(0 * ones, draw(log))}
    error, rate = verdicts(tables)
    assert (error["holds"], error["found"]) == ("yes", pytest.approx(0.5))
    assert str(rate["holds"]).startswith(holds)
    assert rate["found"] == pytest.approx(own - 1.5 * log, abs=2e-3)


def test_a_rate_that_may_be_either_side_is_not_sure() -> None:
    ones, few = np.ones(60), (np.arange(60) == 7).astype(float)
    tables = {"diffusion": tally(0.5 * ones, few), "constant velocity": tally(ones, ones), "log": tally(0 * ones, 0 * ones)}
    rare = verdicts(tables)[1]
    assert rare["holds"] == "no, not surely"
    error = np.sqrt(1 / 60)  # of one agent of sixty, each two of a log: the mean is 1/60, its error about the same
    assert rare["low"] == pytest.approx(1 / 60 - t_quantile(0.95, 29) / 60, abs=0.01 * error)
    assert rare["high"] == pytest.approx(1 / 60 + t_quantile(0.95, 29) / 60, abs=0.01 * error)
    never = verdicts({**tables, "diffusion": tally(0.5 * ones, 0 * ones)})[1]
    assert (never["found"], never["low"], never["holds"]) == (0.0, 0.0, "yes, not surely")
    assert 0.0 < float(str(never["high"])) < 0.2  # Wilson over thirty logs


def test_other_agents_are_not_compared() -> None:
    ones = np.ones(60)
    with pytest.raises(ValidationError, match="same scenes"):
        share(tally(ones, ones), tally(ones[:30], ones[:30]), KEY, 0)
