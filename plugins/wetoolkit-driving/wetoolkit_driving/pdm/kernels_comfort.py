"""The kernel of comfort (section 9). Its text to read is ``comfort``.

A Savitzky-Golay filter with mode "interp" is a fixed set of taps in the middle, and at each end the polynomial that fits the last
window best; so it is done here. The taps are scipy's. Results are rounded to 8 decimals before they are filtered again or compared,
as nuPlan does.
"""

from __future__ import annotations

import math
from functools import lru_cache
from math import perm
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.signal import savgol_coeffs

from wetoolkit_driving.jit import kernel
from wetoolkit_driving.pdm.comfort import HIGH, LOW, SHORT, YAW

Double = NDArray[np.float64]
Bool = NDArray[np.bool_]
Int = NDArray[np.int64]
Kind = np.signedinteger[Any]

# numpy's integers: of Python's, numba compiles a kernel anew for each value
VALUE, BRIEF, RATE, YAW_ACCELERATION, YAW_RATE = np.arange(5)


class Filters(NamedTuple):
    """Five filters over L states and the bounds of what they give; see ``make_filters``."""

    window: Int  # [5] W
    taps: Double  # [5, W] of the middle
    moments: Double  # [5, 4, W] the coefficients of a window's polynomial from its values
    powers: Double  # [5, 4, W] what each coefficient adds at each place of the window, derived as often as the filter is
    low: Double  # [6]
    high: Double  # [6]


@lru_cache(maxsize=64)
def make_filters(states: int, dt: float, value_window: int, rate_window: int) -> Filters:
    """Filters for ``states`` states of ``dt`` seconds; windows are cut to the number of states."""
    kinds = ((value_window, 2, 0), (SHORT, 2, 0), (rate_window, 2, 1), (YAW, 3, 2), (YAW, 2, 1))
    window = np.array([min(kind[0], states) for kind in kinds])
    widest = int(window.max())
    taps, moments, powers = np.zeros((5, widest)), np.zeros((5, 4, widest)), np.zeros((5, 4, widest))
    for i, (w, (_, order, derivative)) in enumerate(zip(window.tolist(), kinds, strict=True)):
        taps[i, :w] = savgol_coeffs(w, order, deriv=derivative, delta=dt, use="dot")
        at = np.arange(w) - (w - 1) / 2  # steps from the window's middle
        moments[i, : order + 1, :w] = np.linalg.pinv(np.vander(at, order + 1, increasing=True))
        for power in range(derivative, order + 1):
            powers[i, power, :w] = perm(power, derivative) * at ** (power - derivative) / dt**derivative
    return Filters(window, taps, moments, powers, LOW.copy(), HIGH.copy())


@kernel
def _apply(filters: Filters, kind: Kind, values: Double, out: Double) -> None:
    """out [L] = values [L] filtered."""
    window, taps, count = filters.window[kind], filters.taps, values.shape[0]
    half = window // 2
    lag = half - (window - 1) // 2  # an even window reaches one place further ahead than back
    out[:] = 0.0
    for j in range(window):
        tap = taps[kind, j]
        for i in range(count - 2 * half):
            out[half + i] += tap * values[lag + i + j]
    for end in range(2):
        start, first = end * (count - window), end * (window - half)
        _fit_end(filters.moments, filters.powers, kind, window, values, start, out, first, half)


@kernel
def _fit_end(
    moments: Double, powers: Double, kind: Kind, window: int, values: Double, start: int, out: Double, first: int, length: int
) -> None:
    """Write ``length`` places from the ``first`` one on of the polynomial that fits the window that begins at ``start``."""
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    for j in range(window):
        value = values[start + j]
        a += moments[kind, 0, j] * value
        b += moments[kind, 1, j] * value
        c += moments[kind, 2, j] * value
        d += moments[kind, 3, j] * value
    for i in range(first, first + length):
        out[start + i] = a * powers[kind, 0, i] + b * powers[kind, 1, i] + c * powers[kind, 2, i] + d * powers[kind, 3, i]


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

    ``past`` [H, 11] goes before the states (H = 0: nothing); ``shift`` is how far ahead of the rear axle accelerations are taken,
    in metres (0: there); ``work`` is [5, H + T] of scratch.
    """
    along, raw, across, first, second = work[0], work[1], work[2], work[3], work[4]
    low, high, before = filters.low, filters.high, past.shape[0]
    _accelerations(past, shift, along[:before], raw[:before], across[:before])
    _accelerations(path, shift, along[before:], raw[before:], across[before:])
    _apply(filters, BRIEF, raw, first)
    _round(first)
    _apply(filters, RATE, first, second)
    good[2] = _within(second, low[2], high[2])
    _apply(filters, VALUE, along, first)
    good[0] = _within(first, low[0], high[0])
    _apply(filters, VALUE, across, first)
    good[1] = _within(first, low[1], high[1])
    _apply(filters, BRIEF, along, first)
    _round(first)
    _apply(filters, RATE, first, second)
    good[3] = _within(second, low[3], high[3])
    start = past[0, 2] if before else path[0, 2]  # derivatives do not see the offset
    last, total = _unwrap(past, start, 0.0, raw[:before])
    _unwrap(path, last, total, raw[before:])
    _apply(filters, YAW_ACCELERATION, raw, first)
    _apply(filters, YAW_RATE, raw, second)
    good[4] = _within(first, low[4], high[4])
    good[5] = _within(second, low[5], high[5])
