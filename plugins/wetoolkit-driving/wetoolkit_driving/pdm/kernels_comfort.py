"""The kernel of comfort (section 9), for LANES cars side by side. Its text to read is ``comfort``.

A Savitzky-Golay filter with mode "interp" is a fixed set of taps in the middle, and at each end the polynomial that fits the last
window best; so it is done here. Results are rounded to 8 decimals before they are filtered again or compared,
as nuPlan does.
"""

from __future__ import annotations

import math
from functools import lru_cache
from math import factorial, perm
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wetoolkit_driving.dynamics_lanes import ACCELERATION, ACROSS, HEADING, LANES, ROW, YAW_ACCELERATION, YAW_RATE
from wetoolkit_driving.jit import kernel
from wetoolkit_driving.pdm.comfort import HIGH, LOW, SHORT, YAW

Double = NDArray[np.float64]
Bool = NDArray[np.bool_]
Int = NDArray[np.int64]
Kind = np.signedinteger[Any]

# numpy's integers: of Python's, numba compiles a kernel anew for each value
VALUE, BRIEF, RATE, OF_YAW_RATE, OF_YAW = np.arange(5)


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
        at = np.arange(w) - (w - 1) / 2  # steps from the window's middle
        moments[i, : order + 1, :w] = np.linalg.pinv(np.vander(at, order + 1, increasing=True))
        taps[i, :w] = factorial(derivative) * moments[i, derivative, :w] / dt**derivative
        for power in range(derivative, order + 1):
            powers[i, power, :w] = perm(power, derivative) * at ** (power - derivative) / dt**derivative
    return Filters(window, taps, moments, powers, LOW.copy(), HIGH.copy())


@kernel
def _apply(filters: Filters, kind: Kind, values: Double, out: Double, sums: Double) -> None:
    """out [L, M] = values [L, M] filtered; ``sums`` [4, M] is scratch."""
    window, count, width = filters.window[kind], values.shape[0], values.shape[1]
    half = window // 2
    lag = half - (window - 1) // 2  # an even window reaches one place further ahead than back
    for i in range(count - 2 * half):
        into = out[half + i]
        into[:] = 0.0
        for j in range(window):
            tap, row = filters.taps[kind, j], values[lag + i + j]
            for m in range(width):
                into[m] += tap * row[m]
    for end in range(2):
        start, first = end * (count - window), end * (window - half)
        if end == 0 or start > 0:
            _fit_window(filters, kind, values[start : start + window], sums)
        for i in range(first, first + half):
            into, a, b, c, d = out[start + i], sums[0], sums[1], sums[2], sums[3]
            p, q = filters.powers[kind, 0, i], filters.powers[kind, 1, i]
            r, s = filters.powers[kind, 2, i], filters.powers[kind, 3, i]
            for m in range(width):
                into[m] = a[m] * p + b[m] * q + c[m] * r + d[m] * s


@kernel
def _fit_window(filters: Filters, kind: Kind, values: Double, sums: Double) -> None:
    """Write the coefficients [4, M] of the polynomials that fit the values [W, M] of a window."""
    for power in range(4):
        total = sums[power]
        total[:] = 0.0
        for j in range(values.shape[0]):
            part, row = filters.moments[kind, power, j], values[j]
            for m in range(values.shape[1]):
                total[m] += part * row[m]


@kernel
def _round(values: Double) -> None:
    flat = values.reshape(-1)
    for i in range(flat.shape[0]):
        flat[i] = np.rint(flat[i] * 1e8) / 1e8


@kernel
def _within(values: Double, low: float, high: float, good: Bool) -> None:
    """Write whether all values [L, M] of each of N <= M lanes, rounded, lie strictly between the bounds into ``good`` [N]; far from
    both, rounding cannot matter."""
    for m in range(good.shape[0]):
        good[m] = True
    for i in range(values.shape[0]):
        for m in range(good.shape[0]):
            if not low + 1e-7 < values[i, m] < high - 1e-7:
                value = np.rint(values[i, m] * 1e8) / 1e8
                good[m] = good[m] and low < value < high


@kernel
def _arrange(slab: Double, past: Double, shift: float, along: Double, size: Double, across: Double, heading: Double) -> None:
    """Accelerations of the past and the slab's cars, [L, M] each: along the car where ``shift`` says, their size at the rear axle,
    across the car; and headings added up from the first one, since derivatives do not see the offset."""
    before = past.shape[0]
    for i in range(along.shape[0]):
        at = max(i - before, 0) * ROW
        for m in range(LANES):
            if i < before:
                h, ax, ay, rate, change = past[i, 2], past[i, 5], past[i, 6], past[i, 9], past[i, 10]
            else:
                h, ax, ay = slab[at + HEADING + m], slab[at + ACCELERATION + m], slab[at + ACROSS + m]
                rate, change = slab[at + YAW_RATE + m], slab[at + YAW_ACCELERATION + m]
            # NAVSIM v2.2 adds both terms of the yaw to the first axis
            along[i, m], across[i, m] = ax if shift == 0.0 else ax + shift * rate**2 + shift * change, ay
            size[i, m], heading[i, m] = abs(ax) if ay == 0.0 else math.hypot(ax, ay), h
    for m in range(LANES):
        last, total = heading[0, m], 0.0
        for i in range(along.shape[0]):
            turn = heading[i, m] - last
            if not -math.pi <= turn < math.pi:
                turn = (turn + math.pi) % (2 * math.pi) - math.pi
            last, total = heading[i, m], total + turn
            heading[i, m] = total


@kernel
def comfortable(slab: Double, past: Double, shift: float, filters: Filters, work: Double, sums: Double, good: Bool) -> None:
    """Write which of the six quantities of a slab's first N <= LANES cars stay within bounds into ``good`` [6, N].

    ``past`` [H, 11] goes before the T states (H = 0: nothing); ``shift`` is how far ahead of the rear axle accelerations are taken,
    in metres (0: there); ``work`` [6, H + T, LANES] and ``sums`` [4, LANES] are scratch.
    """
    along, size, across, heading, first, second = work[0], work[1], work[2], work[3], work[4], work[5]
    low, high = filters.low, filters.high
    _arrange(slab, past, shift, along, size, across, heading)
    _apply(filters, VALUE, along, first, sums)
    _within(first, low[0], high[0], good[0])
    _apply(filters, VALUE, across, first, sums)
    _within(first, low[1], high[1], good[1])
    for quantity, values in ((2, size), (3, along)):
        _apply(filters, BRIEF, values, first, sums)
        _round(first)
        _apply(filters, RATE, first, second, sums)
        _within(second, low[quantity], high[quantity], good[quantity])
    _apply(filters, OF_YAW_RATE, heading, first, sums)
    _within(first, low[4], high[4], good[4])
    _apply(filters, OF_YAW, heading, first, sums)
    _within(first, low[5], high[5], good[5])
