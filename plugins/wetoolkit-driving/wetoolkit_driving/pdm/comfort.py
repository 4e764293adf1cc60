"""Comfort: six quantities, smoothed by Savitzky-Golay filters (mode "interp"), rounded to 8 decimals, strictly within bounds.

NAVSIM v1.1 and World Engine smooth over the whole horizon (41 states); v2.2 over 8 and 15 states, of accelerations moved to the
box centre, with the driven past before the plan (``Variant``). Trajectories shorter than a window use the longest that fits.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.signal import savgol_filter

from wetoolkit_driving.jit import kernel
from wetoolkit_driving.pdm.variants import NAVSIM_1_1, Variant
from wetoolkit_driving.types import Vehicle

Double = NDArray[np.float64]
Bool = NDArray[np.bool_]

LEAST_STATES = 9  # the widest polynomial and the even window of 8 need as many
SHORT, YAW = 8, 5  # windows in states
# bounds (strict) in the order of result.COMFORT_NAMES; nuPlan's
LOW = np.array([-4.05, -4.89, -8.37, -4.13, -1.93, -0.95])
HIGH = np.array([2.40, 4.89, 8.37, 4.13, 1.93, 0.95])


def smooth(values: Double, window: int, order: int, dt: float, derivative: int = 0) -> Double:
    """Savitzky-Golay over the last axis [..., T], rounded to 8 decimals as nuPlan does."""
    window = min(window, values.shape[-1])
    return np.asarray(np.round(savgol_filter(values, window, order, deriv=derivative, delta=dt, axis=-1), 8))


def accelerations(states: Double, variant: Variant, vehicle: Vehicle) -> tuple[Double, Double]:
    """(longitudinal, lateral) [N, T] m/s^2 of states [N, T, 11], at the rear axle or at the centre of the box.

    For the centre, r ahead of the axle, NAVSIM v2.2 adds r w^2 + r w' along and nothing across (w: yaw rate): nuPlan's rule, which
    multiplies both terms by the displacement. A rigid body has -r w^2 along and r w' across; the quirk is kept as it is.
    """
    ax, ay = states[..., 5], states[..., 6]
    if not variant.centre_acceleration:
        return ax, ay
    rate, change, arm = states[..., 9], states[..., 10], vehicle.rear_to_center
    return ax + arm * rate**2 + arm * change, ay


def quantities(states: Double, variant: Variant = NAVSIM_1_1, vehicle: Vehicle | None = None, dt: float = 0.1) -> list[Double]:
    """The six smoothed quantities, each [N, T], in the order of ``result.COMFORT_NAMES``."""
    lon, lat = accelerations(states, variant, vehicle or Vehicle())
    heading = np.unwrap(states[..., 2], axis=-1)
    wide, jerk = variant.acceleration_window, variant.jerk_window
    return [
        smooth(lon, wide, 2, dt),  # m/s^2
        smooth(lat, wide, 2, dt),
        smooth(smooth(np.hypot(states[..., 5], states[..., 6]), SHORT, 2, dt), jerk, 2, dt, 1),  # m/s^3, of the rear axle always
        smooth(smooth(lon, SHORT, 2, dt), jerk, 2, dt, 1),
        smooth(heading, YAW, 3, dt, 2),  # rad/s^2
        smooth(heading, YAW, 2, dt, 1),  # rad/s
    ]


def comfort_readable(
    states: Double, dt: float = 0.1, variant: Variant = NAVSIM_1_1, past: Double | None = None, vehicle: Vehicle | None = None
) -> Bool:
    """[N, 6] which of the six quantities of states [N, T, 11] stay within bounds, ``past`` [H, 11] before them if it is asked for.

    With ``Variant.history`` and no past, everything is comfortable (as in NAVSIM v2.2, where a cache may lack it).
    """
    if variant.history:
        if past is None or not len(past):
            return np.ones((len(states), 6), bool)
        states = np.concatenate([np.broadcast_to(past, (len(states), *past.shape)), states], 1)
    found = quantities(states, variant, vehicle, dt)
    return np.stack([((q > low) & (q < high)).all(-1) for q, low, high in zip(found, LOW, HIGH, strict=True)], -1)


@lru_cache(maxsize=64)
def filters(states: int, dt: float = 0.1) -> Double:
    """[5, T, T] (value, short value, wide derivative, yaw acceleration, yaw rate); row j is the response to an impulse at j."""
    unit = np.eye(states)
    kinds = ((41, 2, 0), (SHORT, 2, 0), (41, 2, 1), (YAW, 3, 2), (YAW, 2, 1))
    made = np.stack([savgol_filter(unit, min(w, states), order, deriv=d, delta=dt, axis=-1) for w, order, d in kinds])
    made.setflags(write=False)
    return made


def comfort(states: Double, dt: float = 0.1) -> Bool:
    """``comfort_readable`` by a kernel: [N, 6] of states [N, T, 11], each trajectory by itself."""
    return _comfort(states, filters(states.shape[1], dt), LOW, HIGH)


@kernel
def _apply(matrix: Double, values: Double, out: Double) -> None:
    """out = round(values filtered, 8); rows of zeros in banded matrices are skipped where values are 0."""
    out[:] = 0.0
    for j in range(values.shape[0]):
        if values[j] != 0.0:
            for i in range(out.shape[0]):
                out[i] += matrix[j, i] * values[j]
    for i in range(out.shape[0]):
        out[i] = np.rint(out[i] * 1e8) / 1e8


@kernel
def _within(values: Double, low: float, high: float) -> bool:
    good = True
    for value in values:
        good = good and low < value < high
    return good


@kernel
def _comfort(states: Double, filters: Double, low: Double, high: Double) -> Bool:
    count, steps = states.shape[0], states.shape[1]
    good = np.empty((count, 6), np.bool_)
    raw, first, second = np.empty(steps), np.empty(steps), np.empty(steps)
    for n in range(count):
        for axis in range(2):
            raw[:] = states[n, :, 5 + axis]
            _apply(filters[0], raw, first)
            good[n, axis] = _within(first, low[axis], high[axis])
        for quantity in range(2, 4):
            for t in range(steps):
                raw[t] = np.hypot(states[n, t, 5], states[n, t, 6]) if quantity == 2 else states[n, t, 5]
            _apply(filters[1], raw, first)
            _apply(filters[2], first, second)
            good[n, quantity] = _within(second, low[quantity], high[quantity])
        raw[0] = 0.0  # heading from the first on, unwrapped: derivatives do not see the offset
        for t in range(1, steps):
            turn = states[n, t, 2] - states[n, t - 1, 2]
            raw[t] = raw[t - 1] + (turn + np.pi) % (2 * np.pi) - np.pi
        _apply(filters[3], raw, first)
        _apply(filters[4], raw, second)
        good[n, 4] = _within(first, low[4], high[4])
        good[n, 5] = _within(second, low[5], high[5])
    return good
