"""States from poses against closed forms, and repairs of the ego's track."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wetoolkit_driving.types import Vehicle
from wetoolkit_logs import motion
from wetoolkit_logs.recording import parse

T = np.arange(0, 10, 0.1)


def circle(speed: float, yaw_rate: float, heading: float) -> np.ndarray[Any, Any]:
    """Rear axle poses [100, 3] on a circle."""
    angle = heading + yaw_rate * T
    radius = speed / yaw_rate
    x, y = radius * (np.sin(angle) - np.sin(heading)), -radius * (np.cos(angle) - np.cos(heading))
    return np.stack([x, y, (angle + np.pi) % (2 * np.pi) - np.pi], 1)


@given(st.floats(2, 15), st.floats(0.03, 0.4), st.floats(-3, 3), st.sampled_from([-1, 1]))
def test_a_circle_gives_its_speed_yaw_rate_and_steering(speed: float, rate: float, heading: float, sign: int) -> None:
    vehicle, rate = Vehicle(), sign * rate
    states = motion.rear_axle_states(circle(speed, rate, heading), vehicle)
    # A quadratic over 1.1 s cannot follow a circle exactly: it errs by the third order of the angle turned in half of that.
    error = (0.5 * rate) ** 2
    np.testing.assert_allclose(states[5:-5, 3], speed, rtol=error)
    np.testing.assert_allclose(states[5:-5, 4], 0, atol=1e-9)
    np.testing.assert_allclose(states[5:-5, 6], speed * rate, rtol=error)
    np.testing.assert_allclose(states[5:-5, 7], np.arctan(vehicle.wheel_base * rate / speed), rtol=error)
    np.testing.assert_allclose(states[:, 3], speed, rtol=2 * error)
    np.testing.assert_allclose(states[:, 9], rate, rtol=1e-6)
    np.testing.assert_allclose(states[:, 10], 0, atol=1e-6)


def test_constant_acceleration_is_found_exactly() -> None:
    poses = np.stack([3 * T + 0.5 * 1.2 * T**2, np.zeros_like(T), np.zeros_like(T)], 1)
    states = motion.rear_axle_states(poses, Vehicle())
    np.testing.assert_allclose(states[:, 3], 3 + 1.2 * T, atol=1e-9)
    np.testing.assert_allclose(states[:, 5], 1.2, atol=1e-9)


@pytest.mark.parametrize("count", range(1, 13))
def test_short_stretches_are_finite(count: int) -> None:
    states = motion.rear_axle_states(circle(5, 0.2, 0)[:count], Vehicle())
    assert states.shape == (count, 11) and np.isfinite(states).all()
    if count > 2:
        np.testing.assert_allclose(states[:, 3], 5, rtol=0.02)


def test_standing_still_has_no_steering() -> None:
    noise = np.random.default_rng(0).normal(0, 1e-4, (100, 3))
    states = motion.rear_axle_states(noise, Vehicle())
    assert (states[:, 7] == 0).all()


@given(st.floats(0.15, 1.0), st.integers(15, 80), st.booleans())
def test_a_jump_is_spread_and_everything_else_stays(size: float, at: int, backwards: bool) -> None:
    clean = np.stack([8 * T, np.zeros_like(T), np.zeros_like(T)], 1)
    jumped = clean.copy()
    jumped[at:, 0] += -size if backwards else size
    counts: Counter[str] = Counter()
    mended = motion.mend_jumps(jumped, counts)
    assert counts["ego_position_jumps_spread"] == 1
    assert np.abs(mended - jumped).max() <= size / 2 + 1e-9
    np.testing.assert_array_equal(mended[: at - 10], jumped[: at - 10])
    np.testing.assert_array_equal(mended[at + 10 :], jumped[at + 10 :])
    assert np.abs(np.diff(mended[:, 0]) / 0.1 - 8).max() <= size / 2 + 1e-6  # was size / 0.1


def test_hard_braking_is_no_jump() -> None:
    speed = np.maximum(15 - 8 * np.clip(T - 3, 0, None), 0)
    poses = np.stack([np.cumsum(speed) * 0.1, np.zeros_like(T), np.zeros_like(T)], 1)
    counts: Counter[str] = Counter()
    np.testing.assert_array_equal(motion.mend_jumps(poses, counts), poses)
    assert not counts


def test_the_centre_becomes_the_rear_axle(make: Callable[..., dict[str, Any]]) -> None:
    recording = parse(make(dataset="waymo"), "a.pkl")
    vehicle, counts = Vehicle(), Counter[str]()
    turned = replace(recording.ego, pose=circle(5, 0.2, 1)[np.minimum(np.arange(131), 99)])
    ego = motion.ego_of(replace(recording, ego=turned), vehicle, False, False, counts)
    back = ego.states[:, :2] + vehicle.rear_to_center * np.stack([np.cos(ego.states[:, 2]), np.sin(ego.states[:, 2])], 1)
    np.testing.assert_allclose(back, turned.pose[:, :2], atol=1e-9)
    assert counts["ego_moved_from_centre_to_rear_axle"] == 1


def test_the_zoe_adds_up() -> None:
    """The estimated overhangs and the wheel base add up to the widely quoted length."""
    assert motion.ZOE.length == pytest.approx(4.084)
    assert motion.ZOE.front - motion.ZOE.wheel_base == pytest.approx(0.839)
    assert motion.ZOE.rear_to_center == pytest.approx(1.385)


def test_swapped_sizes_are_put_right_and_counted(make: Callable[..., dict[str, Any]]) -> None:
    for dataset, zoe in (("nuscenes", True), ("waymo", False)):
        counts: Counter[str] = Counter()
        vehicle = motion.vehicle_of(parse(make(dataset=dataset), "a.pkl"), zoe, True, counts)
        assert vehicle.length == pytest.approx(4.08, abs=0.01) and vehicle.width == pytest.approx(1.73)
        assert counts["ego_length_width_swapped"] == 1


def test_velocities_are_refitted_within_each_stretch(make: Callable[..., dict[str, Any]]) -> None:
    raw = make()
    state = raw["tracks"]["car"]["state"]
    state["velocity"][:] = 0
    state["valid"][50:60] = 0
    state["valid"][61:] = 0
    car = motion.refit_velocity(parse(raw, "a.pkl").others[0])
    np.testing.assert_allclose(car.velocity[:50, 0], 5.0, atol=1e-9)
    assert (car.velocity[50:] == 0).all()  # invalid, and one single step


def test_masks_turn_into_runs() -> None:
    assert motion.runs(np.array([0, 1, 1, 0, 1], bool)) == [(1, 3), (4, 5)]
    assert motion.runs(np.zeros(3, bool)) == []
