"""Variants of the PDM score: against the peers' own numbers, their switches, their EP and their metrics."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from wetoolkit_driving.dynamics import reference_poses, simulate_readable, speed_regulariser
from wetoolkit_driving.pdm.conformance import compare
from wetoolkit_driving.pdm.conformance_cases import read_cases
from wetoolkit_driving.pdm.conformance_scorer import fast, readable
from wetoolkit_driving.pdm.result import ego_progress, total
from wetoolkit_driving.pdm.reward import EpdmsRewardConfig, PdmReward, PdmRewardConfig
from wetoolkit_driving.pdm.scene import from_world
from wetoolkit_driving.pdm.score import score_readable
from wetoolkit_driving.pdm.variants import (
    EPDMS_2_2,
    MENDS,
    NAVSIM_1_1,
    RAW,
    VARIANTS,
    WORLD_ENGINE,
    corrected,
    find_variant,
)
from wetoolkit_driving.testing import crossing_world, straight_world

from wetoolkit.errors import ConfigError, MetricMismatch, UnknownName
from wetoolkit.statistics import same_metric
from wetoolkit.types import Situation

CASES = Path(__file__).with_name("cases")
PEERS = ("navsim-1.1", "epdms-2.2", "world-engine")


def straight_states(speed: float, steps: int = 41, y: float = 0.0) -> np.ndarray:
    states = np.zeros((1, steps, 11))
    states[0, :, 0], states[0, :, 1], states[0, :, 3] = speed * 0.1 * np.arange(steps), y, speed
    return states


@pytest.mark.parametrize("scorer", [readable, fast], ids=["readable", "fast"])
@pytest.mark.parametrize("name", PEERS)
def test_each_variant_finds_what_its_origin_finds(name, scorer):
    cases = list(read_cases(CASES, name))
    assert len(cases) == 5
    score = scorer(VARIANTS[name])
    for row in compare(name, cases, [score(case) for case in cases], 0.0):
        assert row.passed, f"{row.check}: {row.mismatches} of {row.cases}, {row.note}"


@pytest.mark.parametrize("name", PEERS)
def test_the_cases_meet_every_outcome(name):
    """Otherwise the agreement above would say little."""
    seen: dict[str, set[float]] = {}
    for case in read_cases(CASES, name):
        for key in ("nc", "dac", "ttc", "ddc", "tlc", "lk", "comfort"):
            seen.setdefault(key, set()).update(case.expected[key].tolist() if key in case.expected else ())
    for key, values in seen.items():
        assert not values or {0.0, 1.0} <= values, key
    assert 0.5 in seen["nc"] | seen["ddc"]


def test_names_are_looked_up_and_near_ones_shown():
    assert find_variant("epdms-2.2") is EPDMS_2_2
    with pytest.raises(UnknownName, match=r"epdms-2\.2"):
        find_variant("epdms-2.1")
    with pytest.raises(UnknownName, match="jerk"):
        corrected(("jerks",))  # type: ignore[arg-type]


def test_each_mend_is_one_switch_and_all_are_the_default():
    for name, settings in MENDS.items():
        one = corrected((name,))
        assert one.mends == (name,)
        assert set(one.differences(NAVSIM_1_1)) == set(settings)
    assert find_variant("corrected").mends == tuple(MENDS)
    assert find_variant("corrected", ()).differences(NAVSIM_1_1) == {}


def test_kernels_get_plain_numbers():
    for variant in VARIANTS.values():
        assert all(isinstance(value, (bool, int, float)) for value in variant.switches)
        assert variant.sample_beyond >= variant.look


# The tracker


def test_the_mended_matrix_penalises_jerk_and_navsims_accelerations():
    steady = np.concatenate([[3.0], np.full(38, 1.7), [1.7]])  # v0 and a constant acceleration
    assert np.allclose(speed_regulariser(40, true_jerk=True) @ steady, 0)
    assert np.allclose(speed_regulariser(40) @ steady, np.concatenate([np.full(37, -1.7), [0.0]]))


def test_the_mend_moves_the_car():
    plan = np.zeros((1, 40, 3))
    plan[0, :, 0] = np.cumsum(np.linspace(5, 9, 40)) * 0.1 + 0.1 * np.sin(np.arange(40))
    ego = np.zeros((1, 11))
    ego[0, 3] = 5.0
    poses = reference_poses(ego, plan)
    apart = simulate_readable(ego, poses) - simulate_readable(ego, poses, true_jerk=True)
    assert 1e-4 < np.abs(apart[..., 0]).max() < 1.0


# Progress and the score


def marks_with(variant, progress, nc=(1.0, 1.0), dac=(1.0, 1.0)):
    scene = from_world(straight_world(), 20)
    marks = score_readable(scene, np.repeat(straight_states(5.0), len(progress), 0), variant)
    return replace(marks, progress=np.array(progress), nc=np.array(nc), dac=np.array(dac))


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        (NAVSIM_1_1, [10 * 0.5 / 20, 1.0]),  # a half counts in EP again
        (corrected(("half",)), [10 / 20, 1.0]),
        (EPDMS_2_2, [10 / 20, 1.0]),
        (WORLD_ENGINE, [10 / 20 * 0.5, 1.0]),
    ],
)
def test_half_a_gate_and_progress(variant, expected):
    marks = marks_with(variant, (10.0, 20.0), nc=(0.5, 1.0))
    assert ego_progress(marks, marks.masked_progress.max()).tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("variant", "best", "expected"),
    [
        (NAVSIM_1_1, 4.0, [0.0, 1.0]),
        (EPDMS_2_2, 4.0, [1.0, 1.0]),  # the numerator is not masked, nor is the one
        (WORLD_ENGINE, 8.0, [0.0, 0.5]),  # who left the road sets the mark all the same
    ],
)
def test_closed_gates_and_short_ways(variant, best, expected):
    marks = marks_with(variant, (8.0, 4.0), dac=(0.0, 1.0))
    assert marks.masked_progress.max() == best
    assert ego_progress(marks, best).tolist() == pytest.approx(expected)
    assert (variant.ep == RAW) == (variant is WORLD_ENGINE)


def test_the_extended_score_is_its_formula():
    marks = replace(
        marks_with(EPDMS_2_2, (10.0, 20.0), nc=(0.5, 1.0)),
        ttc=np.array([1.0, 0.0]), lk=np.array([0.0, 1.0]), ddc=np.array([0.5, 1.0]), comfort=np.array([1.0, 0.0]),
    )  # fmt: skip
    ep = np.array([0.4, 0.8])
    assert total(marks, ep).tolist() == pytest.approx([0.5 * 0.5 * (5 * 0.4 + 5 + 2) / 14, (5 * 0.8 + 2) / 14])


# Rewards of two variants are two metrics


def score(**settings):
    plans = np.zeros((2, 40, 3))
    plans[..., 0] = np.array([[9.0], [4.0]]) * 0.1 * np.arange(1, 41)
    return PdmReward(PdmRewardConfig(**settings)).score([Situation("s", "log", crossing_world(), 20)], plans)


def test_variants_are_not_compared():
    metrics = [score(variant=name).metric for name in VARIANTS] + [score(variant="corrected", mends=("jerk",)).metric]
    assert len({str(metric) for metric in metrics}) == 5
    for i, one in enumerate(metrics):
        assert same_metric([one, one]) == str(one)
        for other in metrics[:i]:
            with pytest.raises(MetricMismatch):
                same_metric([one, other])


def test_epdms_is_pdms_with_another_variant_to_begin_with():
    assert PdmReward(EpdmsRewardConfig()).metric == PdmReward(PdmRewardConfig(variant="epdms-2.2")).metric
    scores = score(variant="epdms-2.2")
    roles = {name: term.role.value for name, term in scores.terms.items()}
    assert roles == dict.fromkeys(("nc", "dac", "ddc", "tlc"), "gate") | dict.fromkeys(("ep", "ttc", "lk", "comfort"), "weighted")


def test_mends_belong_to_corrected():
    with pytest.raises(ConfigError, match="corrected"):
        PdmReward(PdmRewardConfig(mends=("jerk",)))
    assert dict(score(variant="corrected", mends=("half", "jerk")).metric.settings)["mends"] == "jerk+half"


def test_a_start_without_a_past_is_said():
    plans = np.zeros((1, 40, 3))
    plans[..., 0] = np.arange(1, 41)
    reward = PdmReward(EpdmsRewardConfig())
    early, late = (reward.score([Situation("s", "log", straight_world(), step)], plans) for step in (2, 20))
    assert not early.terms["comfort"].available and late.terms["comfort"].available
