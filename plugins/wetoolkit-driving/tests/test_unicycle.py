"""The unicycle against closed forms, its tracker's promise to converge, and its limits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wetoolkit_driving.geometry import compose
from wetoolkit_driving.unicycle import UnicycleConfig, drive_unicycle, move

from wetoolkit.errors import ValidationError


def state(x: float = 0.0, y: float = 0.0, heading: float = 0.0, speed: float = 0.0, yaw_rate: float = 0.0) -> np.ndarray:
    found = np.zeros(11)
    found[[0, 1, 2, 3, 9]] = x, y, heading, speed, yaw_rate
    return found


def arc(speed: float, yaw_rate: float, count: int = 40) -> np.ndarray:
    """Poses of a body that moves at constant rates: on a circle of radius speed / yaw_rate."""
    t = 0.1 * np.arange(1, count + 1)
    if not yaw_rate:
        return np.column_stack([speed * t, 0 * t, 0 * t])
    r = speed / yaw_rate
    return np.column_stack([r * np.sin(yaw_rate * t), r * (1 - np.cos(yaw_rate * t)), yaw_rate * t])


@pytest.mark.parametrize(("speed", "yaw_rate"), [(5.0, 0.0), (5.0, 0.4), (3.0, -0.9), (0.0, 0.8)])
def test_constant_rates_move_on_the_circle_exactly(speed: float, yaw_rate: float) -> None:
    now = state(speed=speed, yaw_rate=yaw_rate)
    for due in arc(speed, yaw_rate, 20):
        after = np.empty(11)
        move(now, speed, yaw_rate, after)
        np.testing.assert_allclose(after[:3], due, atol=1e-12)
        assert after[5] == after[10] == 0.0
        now = after


@pytest.mark.parametrize(("speed", "yaw_rate"), [(5.0, 0.0), (8.0, 0.4), (0.0, 0.0)])
def test_a_plan_it_can_follow_is_followed(speed: float, yaw_rate: float) -> None:
    """Exactly at constant rates on a straight line; on a circle to the chord's share of the arc."""
    plan = arc(speed, yaw_rate)
    driven = drive_unicycle(state(3.0, -2.0, 0.7, speed, yaw_rate)[None], plan[None], 40)[0]
    np.testing.assert_allclose(driven[:, :2], compose(np.array([3.0, -2.0, 0.7]), plan)[:, :2], atol=1e-9 if not yaw_rate else 0.01)


@settings(deadline=None, max_examples=40)
@given(st.floats(-1, 1), st.floats(-1, 1), st.floats(-0.5, 0.5), st.floats(2, 10))
def test_errors_at_the_start_die_out(ahead: float, side: float, turned: float, speed: float) -> None:
    """The plan starts where the body is; its second half is driven after a sudden push, as the tracker's proof has it."""
    plan = arc(speed, 0.0, 200)
    pushed = plan + np.array([ahead, side, 0.0])  # what is to be followed lies beside where the body is
    driven = drive_unicycle(state(heading=turned, speed=speed)[None], rotated(pushed, -turned)[None], 200)[0]
    error = np.hypot(*(driven[:, :2] - pushed[:, :2]).T)
    assert error[-1] < 0.05
    assert abs(driven[-1, 2]) < 0.02


def rotated(plan: np.ndarray, angle: float) -> np.ndarray:
    return compose(np.array([0.0, 0.0, angle]), plan)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**31))
def test_no_plan_breaks_the_limits(seed: int) -> None:
    rng, c = np.random.default_rng(seed), UnicycleConfig()
    plan = np.cumsum(rng.normal(0, [1.5, 1.5, 0.5], (40, 3)), 0)
    start = state(speed=rng.uniform(0, 4), yaw_rate=rng.uniform(-0.5, 0.5))
    driven = np.concatenate([start[None], drive_unicycle(start[None], plan[None], 40)[0]])
    change, turn = np.diff(driven[:, 3]) / 0.1, np.diff(driven[:, 9]) / 0.1
    assert change.max() <= c.acceleration + 1e-9 and change.min() >= -c.deceleration - 1e-9
    assert np.abs(driven[1:, 9]).max() <= c.yaw_rate + 1e-9
    assert np.abs(driven[1:, 3] * driven[1:, 9]).max() <= c.lateral_acceleration + 1e-9
    within = np.abs(driven[1:, 3] * (driven[:-1, 9])) <= c.lateral_acceleration  # elsewhere the side force limit goes first
    assert np.abs(turn[within]).max(initial=0.0) <= c.yaw_acceleration + 1e-9
    np.testing.assert_allclose(driven[1:, 5], change)


def test_a_batch_equals_its_singles_and_a_part_its_whole() -> None:
    plans = np.stack([arc(5.0, 0.3), arc(2.0, -0.5)])
    starts = np.stack([state(speed=4.0), state(1.0, 2.0, 3.0, 2.0)])
    whole = drive_unicycle(starts, plans, 40)
    for n in range(2):
        np.testing.assert_array_equal(whole[n], drive_unicycle(starts[n : n + 1], plans[n : n + 1], 40)[0])
    np.testing.assert_array_equal(whole[:, :7], drive_unicycle(starts, plans, 7))


def test_plans_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValidationError):
        drive_unicycle(state()[None], np.full((1, 40, 3), np.nan), 40)
