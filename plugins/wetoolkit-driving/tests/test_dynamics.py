"""Tracker and bicycle: readable against kernel, against closed forms, against the PDM parity cases."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wetoolkit_driving import dynamics as d
from wetoolkit_driving.types import Vehicle

from wetoolkit.errors import ValidationError

DATA = Path(os.environ.get("WETOOL_DATA", Path(__file__).parents[4] / "shared" / "data")) / "pdm_parity"
SCENES = sorted(DATA.glob("scene_*.npz")) or [DATA]


def random_plans(rng: np.random.Generator, count: int, steps: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """States and wild plans that go on from them."""
    state = np.zeros((count, 11))
    state[:, :3] = rng.normal(0, [100, 100, 2], (count, 3))
    state[:, 3], state[:, 5], state[:, 7] = rng.uniform(0, 15, count), rng.normal(0, 1, count), rng.normal(0, 0.1, count)
    speed = np.maximum(state[:, 3:4] + np.cumsum(rng.normal(0, 0.3, (count, steps)), 1), 0)
    heading = np.cumsum(speed * rng.normal(0, 0.02, (count, steps)), 1) * 0.1
    xy = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], -1) * speed[..., None] * 0.1, 1)
    return state, np.concatenate([xy, heading[..., None]], -1)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31), st.sampled_from([3, 12, 40, 55]))
def test_kernel_equals_the_readable_text(seed, steps):
    state, plans = random_plans(np.random.default_rng(seed), 8, steps)
    poses = d.to_world(state, plans)
    assert d.simulate(state, poses) == pytest.approx(d.simulate_readable(state, poses), abs=1e-8)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31), st.sampled_from([3, 12, 40]), st.booleans())
def test_banded_fits_solve_the_dense_problems(seed, steps, true_jerk):
    state, plans = random_plans(np.random.default_rng(seed), 1, steps)
    poses = d.to_world(state, plans)
    _, turn, speed = d.profiles(poses, true_jerk=true_jerk)
    found = d.lanes.profiles(poses[0], d.speed_factors(steps, true_jerk=true_jerk))
    assert found[0] == pytest.approx(speed[0], rel=1e-9, abs=1e-9)
    assert found[1] == pytest.approx(d.fit_curvature(speed, turn)[0], rel=1e-6, abs=1e-8)


def test_a_plan_that_stands_and_turns_keeps_its_first_curvature():
    """Where nothing moves, only 1e-10 k_0^2 holds the curvature: a difference of large numbers would lose it."""
    lanes, slab, speed, turn = d.lanes, d.lanes.new_slab(40), np.full((1, 40), 1e-6), np.full((1, 40), 1e-3)
    rows = slab[: 40 * lanes.ROW].reshape(40, lanes.ROW)
    rows[:, lanes.PLAN_SPEED], rows[:, lanes.TURN] = speed[0], turn[0]
    lanes._fit_curvatures(slab, 40)
    assert rows[:, lanes.PLAN_CURVATURE] == pytest.approx(d.fit_curvature(speed, turn)[0], rel=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.floats(-1e6, 1e6))
def test_cosine_and_sine_are_the_librarys(angle):
    found = np.array(d.lanes.cos_sin(angle))
    assert np.abs(found - [np.cos(angle), np.sin(angle)]).max() <= 2.3e-16


def test_a_car_has_the_same_bits_in_every_lane():
    state, plans = random_plans(np.random.default_rng(2), 37)
    whole = d.track_and_simulate(state, plans)
    turned = np.roll(np.arange(37), 5)
    assert (d.track_and_simulate(state[turned], plans[turned]) == whole[turned]).all()
    assert (d.track_and_simulate(state[3:9], plans[3:9]) == whole[3:9]).all()


def test_curvature_fit_is_the_least_squares_minimum():
    rng = np.random.default_rng(0)
    speed, turn = rng.uniform(2, 15, (1, 40)), rng.normal(0, 0.05, (1, 40))
    rows = np.concatenate([0.1 * speed[0][:, None] * d.integrator(40), np.diag([1e-5, *[0.1] * 39])])
    solution = np.linalg.lstsq(rows, np.concatenate([turn[0], np.zeros(40)]), rcond=None)[0]
    assert d.fit_curvature(speed, turn)[0] == pytest.approx(d.integrator(40) @ solution, abs=1e-9)


def test_the_regulariser_keeps_the_navsim_bug():
    matrix = d.speed_regulariser(40)
    assert matrix.shape == (38, 40)
    assert (matrix[np.arange(38), np.arange(1, 39)] == -1).all() and matrix[37, 39] == 1
    assert np.count_nonzero(matrix) == 39


def test_a_car_that_drives_straight_at_constant_speed_goes_on_so():
    plan = np.zeros((1, 40, 3))
    plan[0, :, 0] = 8.0 * d.DT * np.arange(1, 41)
    start = np.zeros(11)
    start[3] = 8.0
    states = d.track_and_simulate(start, plan)[0]
    assert states[:, 0] == pytest.approx(0.8 * np.arange(41), abs=5e-3)
    assert np.abs(states[:, [1, 2, 7]]).max() == 0


def test_a_car_told_to_stand_stays_where_it_is():
    assert d.track_and_simulate(np.zeros(11), np.zeros((2, 40, 3))) == pytest.approx(np.zeros((2, 41, 11)))


def test_constant_turn_matches_the_circle():
    speed, radius = 5.0, 30.0
    angle = speed * d.DT * np.arange(1, 41) / radius
    plan = np.stack([radius * np.sin(angle), radius * (1 - np.cos(angle)), angle], -1)[None]
    start = np.zeros(11)
    start[3], start[7] = speed, np.arctan(Vehicle().wheel_base / radius)
    end = d.track_and_simulate(start, plan)[0, -1]
    assert end[:2] == pytest.approx(plan[0, -1, :2], abs=0.25)
    assert end[9] == pytest.approx(speed / radius, rel=0.05)


def test_motion_does_not_depend_on_where_the_world_has_its_origin():
    state, plans = random_plans(np.random.default_rng(3), 4)
    base = d.track_and_simulate(state, plans)
    moved = state.copy()
    moved[:, 0] += 50.0
    shifted = d.track_and_simulate(moved, plans)
    assert shifted[..., 0] - 50.0 == pytest.approx(base[..., 0], abs=1e-9)
    assert shifted[..., 1:] == pytest.approx(base[..., 1:], abs=1e-9)


def test_batch_equals_singles_and_steps_equal_the_whole():
    state, plans = random_plans(np.random.default_rng(5), 6)
    batch = d.track_and_simulate(state, plans)
    for i in range(6):
        assert (d.track_and_simulate(state[i], plans[i : i + 1])[0] == batch[i]).all()
        now, reference = state[i], d.plan_reference(state[i], plans[i])
        for index in range(5):
            now = d.step(now, reference, index)
        assert now == pytest.approx(batch[i, 5], abs=1e-12)
    assert (d.track_and_simulate(state, plans, steps=5) == batch[:, :6]).all()


def test_two_hertz_plans_are_interpolated_from_the_car_on():
    plan = np.stack([np.arange(1, 9) * 2.0, np.zeros(8), np.zeros(8)], -1)[None]
    start = np.array([[5.0, 1.0, np.pi / 2, *[0.0] * 8]])
    poses = d.reference_poses(start, plan, 0.5)[0]
    assert poses[:, 1] == pytest.approx(1.0 + 0.4 * np.arange(41))
    assert poses[:, 0] == pytest.approx(5.0) and poses[:, 2] == pytest.approx(np.pi / 2)


def test_headings_are_interpolated_the_short_way():
    plan = np.zeros((1, 8, 3))
    plan[..., 2] = np.where(np.arange(8) % 2, -3.1, 3.1)
    assert np.abs(np.sin(d.reference_poses(np.zeros((1, 11)), plan, 0.5)[0, 10:, 2])).max() < 0.05


@pytest.mark.parametrize(("poses", "interval", "time_us"), [(40, 0.1, None), (8, 0.5, None), (8, 0.5, 1_234_567_891)])
def test_the_sampled_plan_is_the_interpolated_one(poses, interval, time_us):
    rng = np.random.default_rng(8)
    initial = rng.normal(0, [50, 50, 2, *[1] * 8], (20, 11))
    plans = rng.normal(0, [20, 20, 2], (20, poses, 3))
    known = d.to_world(initial, plans)
    known[..., 2] = np.unwrap(known[..., 2], axis=1)
    expected = d.interpolate(known, np.arange(poses + 1) * interval, np.arange(41) * 0.1)
    found = d.reference_poses(initial, plans, interval, time_us=time_us)
    slack = 1e-9 if time_us is None else 1e-3  # a sample moves by up to a microsecond
    assert np.abs(found[..., :2] - expected[..., :2]).max() < slack
    assert np.abs(np.sin((found[..., 2] - expected[..., 2]) / 2)).max() < slack


def test_of_two_short_ways_the_heading_takes_numpys():
    plan = np.zeros((1, 8, 3))
    plan[0, 1:, 2] = -np.pi
    assert (d.reference_poses(np.zeros((1, 11)), plan, 0.5)[0, 6:10, 2] < 0).all()
    plan[0, 1:, 2] = np.pi  # as to_world has it, -pi
    assert (d.reference_poses(np.zeros((1, 11)), plan, 0.5)[0, 6:10, 2] < 0).all()
    plan[0, 0, 2], plan[0, 1:, 2] = -np.pi, 0.0
    assert (d.reference_poses(np.zeros((1, 11)), plan, 0.5)[0, 6:10, 2] < 0).all()


@pytest.mark.parametrize("plans", [np.full((1, 40, 3), np.nan), np.zeros((1, 40, 2)), np.zeros((1, 2, 3))])
def test_bad_plans_are_refused(plans):
    with pytest.raises(ValidationError):
        d.track_and_simulate(np.zeros(11), plans)


def test_plans_that_end_too_early_are_refused():
    with pytest.raises(ValidationError, match="8 poses or more"):
        d.reference_poses(np.zeros((1, 11)), np.zeros((1, 7, 3)), 0.5)


@pytest.mark.realdata
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no parity cases in {DATA}")
@pytest.mark.parametrize("path", SCENES, ids=lambda path: path.stem)
def test_states_equal_navsim(path):
    case = np.load(path)
    batch = case["batch_simulated_states"]
    initial = np.broadcast_to(case["ego_state"], (len(batch), 11))
    reference = np.ascontiguousarray(case["batch_reference_states"][..., :3])
    assert np.abs(d.to_world(initial[1:], case["proposals_10hz"]) - reference[1:]).max() < 1e-6
    assert np.abs(d.simulate_readable(initial, reference) - batch).max() < 1e-6
    assert np.abs(d.track_and_simulate(case["ego_state"], case["proposals_10hz"]) - batch[1:]).max() < 1e-6
    slow = d.track_and_simulate(case["ego_state"], case["proposals_10hz"][:, 4::5], interval=0.5, time_us=int(case["ego_time_us"]))
    assert np.abs(slow - case["pair2_simulated_states"]).max() < 1e-6
