"""Variants of the PDM score: against the peers' own numbers, against each other, and their aggregation by hand-made numbers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from wetoolkit_driving.dynamics import reference_poses, simulate_readable, speed_regulariser
from wetoolkit_driving.pdm import aggregate
from wetoolkit_driving.pdm.comfort import accelerations, comfort_readable
from wetoolkit_driving.pdm.conformance import compare
from wetoolkit_driving.pdm.conformance_cases import read_cases
from wetoolkit_driving.pdm.conformance_scorer import fast, readable
from wetoolkit_driving.pdm.observation import driven_past, red_areas
from wetoolkit_driving.pdm.result import NEVER, ego_progress, total
from wetoolkit_driving.pdm.reward import EpdmsRewardConfig, PdmReward, PdmRewardConfig
from wetoolkit_driving.pdm.scene import from_world
from wetoolkit_driving.pdm.score import angle_to, score_readable
from wetoolkit_driving.pdm.variants import (
    EPDMS_2_2,
    MENDS,
    NAVSIM_1_1,
    RAW,
    STRETCHES,
    VARIANTS,
    WORLD_ENGINE,
    corrected,
    find_variant,
)
from wetoolkit_driving.testing import actor, crossing_world, straight_world
from wetoolkit_driving.types import AgentClass, Signal, Vehicle

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


# Observation


def seen_by(variant, who, **road):
    return from_world(straight_world([who], **road), 20, variant=variant)


def test_one_sample_counts_for_all_frames_where_navsim_says_so():
    who = actor(30, 3, seen=(25, 25))  # one frame, which is a sample
    assert seen_by(NAVSIM_1_1, who).valid.all() and seen_by(EPDMS_2_2, who).valid.all()
    assert seen_by(WORLD_ENGINE, who).valid[:, 0].nonzero()[0].tolist() == [5, 6, 7, 8, 9]  # stands still until the next sample
    assert seen_by(corrected(), who).valid[:, 0].nonzero()[0].tolist() == [5]
    assert seen_by(corrected(("single",)), who).valid[:, 0].nonzero()[0].tolist() == [5]


def test_between_samples_nothing_is_seen_at_2_hz():
    who = actor(30, 3, seen=(26, 29))
    assert seen_by(NAVSIM_1_1, who).valid.size == 0
    assert seen_by(corrected(), who).valid[:, 0].nonzero()[0].tolist() == [6, 7, 8, 9]


def test_gaps_are_bridged_or_stood_through():
    world = straight_world([actor(30, 0, 0, 5.0)])
    valid, pose = world.agents.valid.copy(), world.agents.pose.copy()
    valid[0, 23:37] = False  # samples at 25, 30 and 35 are missing
    agents = replace(world.agents, valid=valid, pose=np.where(valid[..., None], pose, 0).astype(np.float32))
    gappy = replace(world, agents=agents)
    bridged = from_world(gappy, 20)
    assert bridged.valid.all()
    assert bridged.boxes[10, 0, :, 0].mean() == pytest.approx(30 + 5.0, abs=1e-4)
    stood = from_world(gappy, 20, variant=WORLD_ENGINE)
    assert stood.valid[:, 0].nonzero()[0].tolist() == [0, 1, 2, 3, 4, *range(20, 41)]
    assert stood.boxes[4, 0, :, 0].mean() == pytest.approx(30.0, abs=1e-4)


def test_headings_turn_the_short_way_between_samples():
    who = actor(30, 0, 3.1)
    who.pose[:, 2] = np.where(np.arange(101) < 25, 3.1, -3.1)
    corners = seen_by(NAVSIM_1_1, who).boxes[:6, 0]
    forward = corners[:, 0] - corners[:, 1]
    heading = np.unwrap(np.arctan2(forward[:, 1], forward[:, 0]))
    assert heading - heading[0] == pytest.approx(np.linspace(0, 2 * np.pi - 6.2, 6), abs=1e-5)


def test_who_touches_the_ego_at_once_is_left_out_by_v22():
    world = straight_world([actor(2, 0), actor(30, 0)])
    assert from_world(world, 20).ids == ("a0", "a1")
    assert from_world(world, 20, variant=EPDMS_2_2).ids == ("a1",)


def test_frames_reach_as_far_as_each_variant_looks():
    world = straight_world([actor(30, 0)])
    assert {name: len(from_world(world, 20, variant=v).valid) for name, v in VARIANTS.items()} == {
        "navsim-1.1": 51, "epdms-2.2": 41, "world-engine": 41, "corrected": 51,
    }  # fmt: skip


def test_the_driven_past_is_fourteen_states_without_yaw_rates():
    world = straight_world(speed=8.0)
    world.ego.states[:, 9] = 0.3
    past = driven_past(world, 20, EPDMS_2_2)
    assert past.shape == (14, 11)
    assert past[:, 0] == pytest.approx(8.0 * np.arange(-1.5, -0.15, 0.1))  # the state 0.1 s before now is missing
    assert (past[:, [8, 9, 10]] == 0).all() and (past[:, 3] == 8.0).all()
    assert driven_past(world, 7, EPDMS_2_2).shape == (4, 11)
    assert driven_past(world, 3, EPDMS_2_2).shape == driven_past(world, 20, NAVSIM_1_1).shape == (0, 11)


def test_red_lights_hold_between_samples_and_only_on_the_route():
    world = crossing_world(signals=(Signal.GREEN, Signal.RED))
    signals = world.signals.copy()
    signals[0, 23:] = Signal.RED
    red = red_areas(replace(world, signals=signals), 20, 41, EPDMS_2_2)
    lit = np.flatnonzero(red.any(0))
    assert {world.map.area_kind[p] for p in lit} == {1} and world.on_route[lit].all()
    assert not red[:5].any() and red[5:, lit].all()
    assert red_areas(world, 20, 41, NAVSIM_1_1).size == 0


# Sub-metrics


def test_a_red_light_is_run_where_the_box_touches_its_connector():
    world = crossing_world(signals=(Signal.RED, Signal.GREEN), distance=20.0)
    scene = from_world(world, 20, variant=EPDMS_2_2)
    begin = min(scene.areas.xy[scene.areas.offset[p] : scene.areas.offset[p + 1], 0].min() for p in np.flatnonzero(scene.red[0]))
    stop, run = straight_states(0.0), straight_states(10.0)
    marks = score_readable(scene, np.concatenate([stop, run]), EPDMS_2_2)
    assert marks.tlc.tolist() == [1.0, 0.0] and marks.gate[1] == 0
    assert marks.tlc_step.tolist() == [NEVER, int(np.ceil(begin - scene.vehicle.front))]
    assert score_readable(scene, run, NAVSIM_1_1).tlc.tolist() == [1.0]


@pytest.mark.parametrize(("away", "steps", "kept"), [(0.49, 41, 1.0), (0.51, 41, 0.0), (0.51, 19, 1.0), (0.51, 20, 0.0)])
def test_lane_keeping_fails_after_two_seconds_beside_the_line(away, steps, kept):
    scene = from_world(straight_world(speed=5.0), 20, variant=WORLD_ENGINE)
    line = scene.centerline[0, 1]
    states = straight_states(5.0, y=line)
    states[:, 5 : 5 + steps, 1] += away
    marks = score_readable(scene, states, WORLD_ENGINE)
    assert marks.lk[0] == kept and marks.lk_step[0] == (NEVER if kept else 24)


def test_an_intersection_neither_counts_nor_breaks_a_run():
    scene = from_world(straight_world(speed=5.0), 20)
    exempt = np.zeros((1, 41), bool)
    exempt[0, 15:30] = True
    states = straight_states(5.0, y=scene.centerline[0, 1] + 0.8)
    from wetoolkit_driving.pdm.score import lane_keeping

    assert lane_keeping(scene, states, exempt, EPDMS_2_2)[1].tolist() == [34]  # 15 before it and the 5th behind it
    assert lane_keeping(scene, states, exempt, WORLD_ENGINE)[1].tolist() == [19]


def test_direction_sums_a_second_a_stretch_or_nothing_in_an_intersection():
    from wetoolkit_driving.pdm.score import driving_direction

    scene, states = from_world(straight_world(), 20), straight_states(1.5)  # 1.65 m in 11 steps, 6 m in all
    oncoming, free = np.ones((1, 41), bool), np.zeros((1, 41), bool)
    assert WORLD_ENGINE.ddc_window == STRETCHES
    assert driving_direction(scene, states, oncoming, free, NAVSIM_1_1).tolist() == [1.0]
    assert driving_direction(scene, states, oncoming, free, WORLD_ENGINE).tolist() == [0.0]
    broken = oncoming.copy()
    broken[0, 20] = False  # two stretches of 3 m
    assert driving_direction(scene, states, broken, free, WORLD_ENGINE).tolist() == [0.5]
    fast_states = straight_states(9.0)
    assert driving_direction(scene, fast_states, oncoming, oncoming, EPDMS_2_2).tolist() == [1.0]
    assert driving_direction(scene, fast_states, oncoming, oncoming, NAVSIM_1_1).tolist() == [0.0]


def test_dead_ahead_is_nan_without_the_clip():
    rng = np.random.default_rng(0)
    states = np.zeros((2000, 11))
    states[:, 2] = rng.uniform(-3, 3, 2000)
    ahead = np.stack([np.cos(states[:, 2]), np.sin(states[:, 2])], -1) * 7.3
    raw = np.array([angle_to(s[None], np.repeat(a[None], 4, 0))[0] for s, a in zip(states, ahead, strict=True)])
    cut = np.array([angle_to(s[None], np.repeat(a[None], 4, 0), clip=True)[0] for s, a in zip(states, ahead, strict=True)])
    assert np.isnan(raw).any() and not np.isnan(cut).any() and (cut < 1e-6).all()


def test_without_kinds_a_roadblock_ends_multi_lane_and_lanes_are_road():
    scene = from_world(straight_world(lanes=2), 20)
    states = straight_states(5.0, y=1.75)  # astride two lanes of one roadblock
    assert score_readable(scene, states, NAVSIM_1_1).areas[..., 0].any()
    assert not score_readable(scene, states, replace(NAVSIM_1_1, typed_areas=False)).areas[..., 0].any()


def test_v22_adds_both_yaw_terms_along_the_car():
    states = np.zeros((1, 3, 11))
    states[..., 5], states[..., 6], states[..., 9], states[..., 10] = 1.0, 0.2, 0.5, 0.3
    lon, lat = accelerations(states, EPDMS_2_2, Vehicle())
    arm = Vehicle().rear_to_center
    assert lon == pytest.approx(np.full((1, 3), 1.0 + arm * 0.25 + arm * 0.3)) and (lat == 0.2).all()


def test_comfort_looks_at_the_past_and_without_one_is_content():
    states = straight_states(8.0)
    past = straight_states(8.0, 14)[0]
    past[:, 0] -= 12.0
    jolt = past.copy()
    jolt[5:, 5] = 6.0
    assert comfort_readable(states, variant=EPDMS_2_2, past=past).all()
    assert not comfort_readable(states, variant=EPDMS_2_2, past=jolt)[0, 0]
    rough = states.copy()
    rough[..., 5] = 6.0
    assert comfort_readable(rough, variant=EPDMS_2_2).all() and not comfort_readable(rough).all()


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


# Aggregation


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


def test_things_are_half_a_collision_in_every_variant():
    scene = from_world(straight_world([actor(20, 0, kind=AgentClass.BARRIER)]), 20)
    for variant in VARIANTS.values():
        assert score_readable(scene, straight_states(10.0), variant).nc.tolist() == [0.5]


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
