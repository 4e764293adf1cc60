"""The kernel of comfort (section 9). Its text to read is ``comfort``.

A Savitzky-Golay filter is linear, so that for L states each is a banded [L, L] matrix; they are made from scipy's own filter, which
the readable version uses directly. Results are rounded to 8 decimals before they are filtered again or compared, as nuPlan does.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.signal import savgol_filter

from wetoolkit_driving.jit import kernel
from wetoolkit_driving.pdm.comfort import HIGH, LOW, SHORT, YAW

Double = NDArray[np.float64]
Bool = NDArray[np.bool_]
Int = NDArray[np.int64]

VALUE, BRIEF, RATE, YAW_ACCELERATION, YAW_RATE = range(5)


class Filters(NamedTuple):
    """Filters over L states and the bounds of what they give; see ``make_filters``."""

    matrix: Double  # [5, L, L] value, short value, derivative, yaw acceleration, yaw rate; row j is the response to an impulse at j
    band: Int  # [5, L, 2] first response that is not 0, and one after the last
    low: Double  # [6]
    high: Double  # [6]


@lru_cache(maxsize=64)
def make_filters(states: int, dt: float, value_window: int, rate_window: int) -> Filters:
    """Filters for ``states`` states of ``dt`` seconds; windows are cut to the number of states."""
    unit = np.eye(states)
    kinds = ((value_window, 2, 0), (SHORT, 2, 0), (rate_window, 2, 1), (YAW, 3, 2), (YAW, 2, 1))
    made = [savgol_filter(unit, min(window, states), order, deriv=d, delta=dt, axis=-1) for window, order, d in kinds]
    matrix = np.ascontiguousarray(np.stack(made))
    some = matrix != 0.0
    band = np.stack([some.argmax(-1), states - some[..., ::-1].argmax(-1)], -1)
    band[~some.any(-1)] = 0
    return Filters(matrix, band.astype(np.int64), LOW.copy(), HIGH.copy())


@kernel
def _apply(matrix: Double, band: Int, kind: int, values: Double, out: Double) -> None:
    """out = values filtered."""
    out[:] = 0.0
    for j in range(values.shape[0]):
        value = values[j]
        if value != 0.0:
            for i in range(band[kind, j, 0], band[kind, j, 1]):
                out[i] += matrix[kind, j, i] * value


@kernel
def _round(values: Double) -> None:
    for i in range(values.shape[0]):
        values[i] = np.rint(values[i] * 1e8) / 1e8


@kernel
def _within(values: Double, low: float, high: float) -> bool:
    """Whether all values, rounded, lie strictly between the bounds; far from both, rounding cannot matter."""
    for value in values:
        if not low + 1e-7 < value < high - 1e-7:
            value = np.rint(value * 1e8) / 1e8
            if not low < value < high:
                return False
    return True


@kernel
def _accelerations(states: Double, shift: float, along: Double, size: Double, across: Double) -> None:
    """Accelerations of states [T, 11]: along the car where ``shift`` says, their size at the rear axle, across the car."""
    for t in range(states.shape[0]):
        ax, ay = states[t, 5], states[t, 6]
        along[t], across[t] = ax, ay
        size[t] = abs(ax) if ay == 0.0 else math.hypot(ax, ay)
        if shift != 0.0:  # NAVSIM v2.2 adds both terms of the yaw to the first axis
            along[t] = ax + shift * states[t, 9] ** 2 + shift * states[t, 10]


@kernel
def _unwrap(states: Double, last: float, sum_before: float, out: Double) -> tuple[float, float]:
    """Headings of states [T, 11] added up from the heading ``last``, which counts as ``sum_before``; both as they are after."""
    for t in range(states.shape[0]):
        turn = states[t, 2] - last
        if not -math.pi <= turn < math.pi:
            turn = (turn + math.pi) % (2 * math.pi) - math.pi
        last, sum_before = states[t, 2], sum_before + turn
        out[t] = sum_before
    return last, sum_before


@kernel
def comfortable(path: Double, past: Double, shift: float, filters: Filters, work: Double, good: Bool) -> None:
    """Write which of the six quantities of states [T, 11] stay within bounds into ``good`` [6].

    ``past`` [H, 11] goes before the states (H = 0: nothing); ``shift`` is how far ahead of the rear axle accelerations are taken, in
    metres (0: there); ``work`` is [5, H + T] of scratch.
    """
    along, raw, across, first, second = work[0], work[1], work[2], work[3], work[4]
    matrix, band, low, high, before = filters.matrix, filters.band, filters.low, filters.high, past.shape[0]
    _accelerations(past, shift, along[:before], raw[:before], across[:before])
    _accelerations(path, shift, along[before:], raw[before:], across[before:])
    _apply(matrix, band, BRIEF, raw, first)
    _round(first)
    _apply(matrix, band, RATE, first, second)
    good[2] = _within(second, low[2], high[2])
    _apply(matrix, band, VALUE, along, first)
    good[0] = _within(first, low[0], high[0])
    _apply(matrix, band, VALUE, across, first)
    good[1] = _within(first, low[1], high[1])
    _apply(matrix, band, BRIEF, along, first)
    _round(first)
    _apply(matrix, band, RATE, first, second)
    good[3] = _within(second, low[3], high[3])
    start = past[0, 2] if before else path[0, 2]  # derivatives do not see the offset
    last, total = _unwrap(past, start, 0.0, raw[:before])
    _unwrap(path, last, total, raw[before:])
    _apply(matrix, band, YAW_ACCELERATION, raw, first)
    _apply(matrix, band, YAW_RATE, raw, second)
    good[4] = _within(first, low[4], high[4])
    good[5] = _within(second, low[5], high[5])
