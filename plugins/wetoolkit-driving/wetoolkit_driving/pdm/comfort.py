"""Comfort: six quantities, smoothed by Savitzky-Golay filters (mode "interp"), rounded to 8 decimals, strictly within bounds.

NAVSIM v1.1 and World Engine smooth over the whole horizon (41 states); v2.2 over 8 and 15 states, of accelerations moved to the
box centre, with the driven past before the plan (``Variant``). Trajectories shorter than a window use the longest that fits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

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
    from scipy.signal import savgol_filter  # takes a second to import, and the kernels do without

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
