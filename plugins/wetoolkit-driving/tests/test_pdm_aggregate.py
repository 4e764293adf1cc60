"""Human filter, extended comfort and the two stages of EPDMS, by hand-made numbers and by NAVSIM's own."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from wetoolkit_driving.pdm import aggregate
from wetoolkit_driving.pdm.result import total
from wetoolkit_driving.pdm.scene import from_world
from wetoolkit_driving.pdm.score import score_readable
from wetoolkit_driving.pdm.variants import (
    EPDMS_2_2,
)
from wetoolkit_driving.testing import straight_world

CASES = Path(__file__).with_name("cases")
PEERS = ("navsim-1.1", "epdms-2.2", "world-engine")


def straight_states(speed: float, steps: int = 41, y: float = 0.0) -> np.ndarray:
    states = np.zeros((1, steps, 11))
    states[0, :, 0], states[0, :, 1], states[0, :, 3] = speed * 0.1 * np.arange(steps), y, speed
    return states


def marks_with(variant, progress, nc=(1.0, 1.0), dac=(1.0, 1.0)):
    scene = from_world(straight_world(), 20)
    marks = score_readable(scene, np.repeat(straight_states(5.0), len(progress), 0), variant)
    return replace(marks, progress=np.array(progress), nc=np.array(nc), dac=np.array(dac))


GOOD = {"nc": 1.0, "dac": 1.0, "ddc": 1.0, "tlc": 1.0, "ttc": 1.0, "lk": 1.0, "comfort": 1.0, "ep": 0.5}


def test_what_the_human_fails_is_forgiven_but_not_what_it_half_fails():
    agent = GOOD | {"dac": 0.0, "ddc": 0.0, "lk": 0.0, "comfort": 0.0, "ep": 0.0}
    human = GOOD | {"dac": 0.0, "ddc": 0.5, "lk": 0.0, "comfort": 0.0, "ep": 0.0}
    assert aggregate.human_filter(agent, human) == agent | {"dac": 1.0, "lk": 1.0}


def test_extended_comfort_counts_where_it_is_known():
    assert aggregate.score_of(GOOD) == pytest.approx((2.5 + 5 + 2 + 2) / 14)
    assert aggregate.score_of(GOOD | {"ec": 0.0}) == pytest.approx((2.5 + 5 + 2 + 2) / 16)
    assert aggregate.score_of(GOOD | {"ec": 1.0, "ddc": 0.5}) == pytest.approx(0.5 * 13.5 / 16)


def test_plans_that_agree_are_comfortable_and_plans_that_do_not_are_not():
    before = straight_states(8.0, 41)
    now = straight_states(8.0, 41)
    assert aggregate.extended_comfort(now, before).tolist() == [True]
    for channel, little, much in ((5, 0.69, 0.71),):
        for amount, kept in ((little, True), (much, False)):
            other = now.copy()
            other[..., channel] = amount  # a constant difference is its own root mean square; jerk does not see it
            assert aggregate.extended_comfort(other, before).tolist() == [kept]
    for rate, kept in ((0.099, True), (0.101, False)):
        turning = now.copy()
        turning[..., 2] = rate * 0.1 * np.arange(41)
        assert aggregate.extended_comfort(turning, before).tolist() == [kept]


def test_second_stages_count_by_their_nearness():
    weights = aggregate.start_weights(np.zeros(2), np.array([[0.0, 0.0], [0.2, 0.0], [3.0, 0.0]]))
    assert weights[1] / weights[0] == pytest.approx(np.exp(-0.04 / 0.2)) and weights.sum() == pytest.approx(1.0)
    assert aggregate.start_weights(np.zeros(2), np.array([[50.0, 0.0], [90.0, 0.0]])).tolist() == [0.5, 0.5]


def frame(ep: float, x: float) -> aggregate.Frame:
    return aggregate.Frame(GOOD | {"ep": ep}, straight_states(8.0)[0], np.array([x, 0.0]), np.array([x + 1.0, 0.0]))


def test_two_stages_multiply_within_a_group_and_average_over_frames_and_groups():
    def value(ep: float) -> float:
        return (5 * ep + 11) / 16

    first = aggregate.Pair(frame(0.8, 0.0), frame(0.6, 0.0))
    near, far = aggregate.Pair(frame(0.2, 1.0), frame(0.4, 1.0)), aggregate.Pair(frame(0.9, 900.0), frame(0.9, 900.0))
    result = aggregate.two_stage([aggregate.Group(first, [near, far])])
    assert result.score == pytest.approx((value(0.8) * value(0.2) + value(0.6) * value(0.4)) / 2)
    assert result.first == pytest.approx((value(0.8) + value(0.6)) / 2)
    assert result.second == pytest.approx((value(0.2) + value(0.4)) / 2)
    other = aggregate.Group(aggregate.Pair(frame(0.0, 0.0), frame(0.0, 0.0)), [far])
    both = aggregate.two_stage([aggregate.Group(first, [near, far]), other])
    assert both.score == pytest.approx((result.score + value(0.0) * value(0.9)) / 2)


def test_terms_carry_their_names_per_plan():
    marks = marks_with(EPDMS_2_2, (10.0, 20.0), nc=(0.5, 1.0))
    rows = aggregate.terms_of(marks, np.array([0.4, 0.8]))
    assert [row["nc"] for row in rows] == [0.5, 1.0] and [row["ep"] for row in rows] == [0.4, 0.8]
    assert [aggregate.score_of(row) for row in rows] == pytest.approx(total(marks, np.array([0.4, 0.8])).tolist())


def test_two_stages_come_to_what_navsim_comes_to():
    names = ("groups", "names", "states", "terms", "start", "end", "expected_ec", "expected_weight", "expected_score")
    with np.load(CASES / "aggregate" / "two_stage.npz", allow_pickle=False) as file:
        groups, terms_names, states, terms, start, end, ec, weight, score = (file[name] for name in names)
        expected = file["expected_two_stage"]
    assert set(ec.tolist()) == {0.0, 1.0}
    frames = [
        aggregate.Frame(dict(zip(terms_names.tolist(), t.tolist(), strict=True)), s, a, b)
        for t, s, a, b in zip(terms, states, start, end, strict=True)
    ]
    made = []
    for rows in groups:
        pairs = [aggregate.Pair(frames[now], frames[before]) for now, before in rows]
        for pair, (now, before) in zip(pairs, rows, strict=True):
            assert aggregate.extended_comfort(pair.now.states[None], pair.before.states[None])[0] == ec[now] == ec[before]
            assert aggregate.frame_scores(pair) == pytest.approx((score[now], score[before]), abs=1e-12)
        assert aggregate.start_weights(end[rows[0, 0]], start[rows[1:, 0]]) == pytest.approx(weight[rows[1:, 0]], abs=1e-12)
        made.append(aggregate.Group(pairs[0], pairs[1:]))
    total_of = aggregate.two_stage(made)
    assert (total_of.score, total_of.first, total_of.second) == pytest.approx(tuple(expected), abs=1e-12)
