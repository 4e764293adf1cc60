"""Blending by rows of sixteen pixels: one vector is one row of a tile. The arithmetic of ``cpu_plain``.

A row's state lies side by side: transmittance (its sign says whether the pixel goes on), red, green, blue, depth; backward, what is
left and five gradients instead. Rows in which every pixel is finished are cut off at the top and the bottom now and then.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from wetoolkit_splat.cpu_bin import TILE
from wetoolkit_splat.cpu_plain import FINEST, HALF, MOST, ONE, STOP, ZERO
from wetoolkit_splat.cpu_project import BLUE, DEPTH, GREEN, HALF_Y, LOG_OPACITY, RECORD, RED, A, B, C, X, Y
from wetoolkit_splat.jit import inner, kernel
from wetoolkit_splat.simd import any_of, exp2, fma, least, load, prefetch, quotient, ramp, select, splat, store, sums

ROW = 5 * TILE  # floats of a row's state, forward
ROW_BACK = 7 * TILE  # backward
TRIM = 16  # gaussians between two looks for finished rows
AHEAD = 6  # gaussians fetched before they are needed
Array = Any


@inner
def scratch(size: int) -> Any:
    """Zeros that begin on a line of cache."""
    raw = np.zeros(size + TILE, np.float32)
    skip = (-raw.ctypes.data % 64) // 4
    return raw[skip : skip + size]


@inner
def alive(state: Array, size: int, first: int, last: int) -> Any:
    """The rows ``first`` to ``last`` without those at both ends in which every pixel is finished."""
    none = splat(ZERO)
    while first < last and not any_of(load(state, first * size) > none):
        first += 1
    while first < last and not any_of(load(state, (last - 1) * size) > none):
        last -= 1
    return first, last


@inner
def of_tile(records: Array, m: int, columns: Any, middle: Any, ceiling: int, floor: int) -> Any:
    """First and last + 1 row that a gaussian's box meets, its centre's row, dx and the parts of the exponent that a row needs."""
    y, half_y = records[m, Y] - middle, records[m, HALF_Y]
    first, last = max(ceiling, math.ceil(y - half_y)), min(floor, math.floor(y + half_y) + 1)
    dx = columns - splat(records[m, X])
    bend, slant = fma(splat(records[m, A]) * dx, dx, splat(records[m, LOG_OPACITY])), splat(records[m, B]) * dx
    return first, last, y, dx, bend, slant, records[m, C]


@inner
def colours(records: Array, m: int) -> Any:
    """Red, green, blue and depth."""
    return splat(records[m, RED]), splat(records[m, GREEN]), splat(records[m, BLUE]), splat(records[m, DEPTH])


@inner
def passed(power: Any, before: Any) -> Any:
    """As ``cpu_plain.passed``."""
    none = splat(ZERO)
    alpha = least(exp2(power), splat(MOST))
    after = before - alpha * before
    touched, goes_on = (power >= splat(FINEST)) & (before > none), after > splat(STOP)
    counts = touched & goes_on
    return alpha, select(counts, alpha * before, none), select(touched, select(goes_on, after, none - before), before), counts


@kernel
def blend(records: Array, pairs: Array, starts: Array, across: int, begin: int, end: int, background: Array, planes: Array) -> None:
    """As ``cpu_plain.blend``."""
    state, stride = scratch(TILE * ROW), planes.shape[2]
    none, one = splat(ZERO), splat(ONE)
    for tile in range(begin, end):
        top, left = tile // across * TILE, tile % across * TILE
        columns, middle = ramp() + splat(np.float32(left) + HALF), np.float32(top) + HALF
        for row in range(TILE):
            store(state, row * ROW, one)
            for k in range(1, 5):
                store(state, row * ROW + k * TILE, none)
        ceiling, floor = 0, TILE
        stop_at = starts[tile + 1]
        for pair in range(starts[tile], stop_at):
            if (pair - starts[tile]) % TRIM == TRIM - 1:
                ceiling, floor = alive(state, ROW, ceiling, floor)
                if ceiling == floor:
                    break
            m = pairs[pair]
            prefetch(records, np.intp(pairs[min(pair + AHEAD, stop_at - 1)]) * RECORD)
            first, last, y, _, bend, slant, bow = of_tile(records, m, columns, middle, ceiling, floor)
            red, green, blue, depth = colours(records, m)
            for row in range(first, last):
                at, dy = row * ROW, np.float32(row) - y
                _, weight, behind, _ = passed(fma(splat(dy), slant, bend) + splat(bow * dy * dy), load(state, at))
                store(state, at, behind)
                store(state, at + TILE, fma(weight, red, load(state, at + TILE)))
                store(state, at + 2 * TILE, fma(weight, green, load(state, at + 2 * TILE)))
                store(state, at + 3 * TILE, fma(weight, blue, load(state, at + 3 * TILE)))
                store(state, at + 4 * TILE, fma(weight, depth, load(state, at + 4 * TILE)))
        for row in range(TILE):
            through = load(state, row * ROW)
            rest = select(through > none, through, none - through)
            at = (top + row) * stride + left
            for k in range(3):
                store(
                    planes,
                    k * planes.shape[1] * stride + at,
                    fma(rest, splat(background[k]), load(state, row * ROW + (k + 1) * TILE)),
                )
            store(planes, 3 * planes.shape[1] * stride + at, load(state, row * ROW + 4 * TILE))
            store(planes, 4 * planes.shape[1] * stride + at, one - rest)


@inner
def begin_tile(state: Array, planes: Array, gradients: Array, top: int, left: int) -> None:
    """Rows of a tile as backward needs them: transmittance 1, the sum of gradient times value, five gradients."""
    stride = planes.shape[2]
    for row in range(TILE):
        at, worth = (top + row) * stride + left, splat(ZERO)
        for k in range(5):
            here = k * planes.shape[1] * stride + at
            gradient = load(gradients, here)
            worth = fma(gradient, load(planes, here), worth)
            store(state, row * ROW_BACK + (2 + k) * TILE, gradient)
        store(state, row * ROW_BACK, splat(ONE))
        store(state, row * ROW_BACK + TILE, worth)


@kernel
def blend_back(
    records: Array, pairs: Array, slots: Array, starts: Array, across: int, begin: int, end: int, planes: Array, gradients: Array,
    partial: Array,
) -> None:  # fmt: skip
    """As ``cpu_plain.blend_back``."""
    state = scratch(TILE * ROW_BACK)
    none, one = splat(ZERO), splat(ONE)
    for tile in range(begin, end):
        top, left = tile // across * TILE, tile % across * TILE
        columns, middle = ramp() + splat(np.float32(left) + HALF), np.float32(top) + HALF
        begin_tile(state, planes, gradients, top, left)
        ceiling, floor = 0, TILE
        stop_at = starts[tile + 1]
        for pair in range(starts[tile], stop_at):
            if (pair - starts[tile]) % TRIM == TRIM - 1:
                ceiling, floor = alive(state, ROW_BACK, ceiling, floor)
            m = pairs[pair]
            prefetch(records, np.intp(pairs[min(pair + AHEAD, stop_at - 1)]) * RECORD)
            first, last, y, dx, bend, slant, bow = of_tile(records, m, columns, middle, ceiling, floor)
            red, green, blue, depth = colours(records, m)
            h, h_y, h_yy, g_red, g_green, g_blue, g_depth = none, none, none, none, none, none, none
            for row in range(first, last):
                at, dy = row * ROW_BACK, np.float32(row) - y
                alpha, weight, behind, counts = passed(fma(splat(dy), slant, bend) + splat(bow * dy * dy), load(state, at))
                store(state, at, behind)
                by_red, by_green, by_blue = load(state, at + 2 * TILE), load(state, at + 3 * TILE), load(state, at + 4 * TILE)
                by_depth = load(state, at + 5 * TILE)
                worth = fma(by_red, red, fma(by_green, green, fma(by_blue, blue, fma(by_depth, depth, load(state, at + 6 * TILE)))))
                gain = weight * worth
                rest = load(state, at + TILE) - gain
                store(state, at + TILE, rest)
                share = select(counts & (alpha < splat(MOST)), gain - quotient(alpha, one - alpha) * rest, none)
                tall = share * splat(dy)
                h, h_y, h_yy = h + share, h_y + tall, fma(tall, splat(dy), h_yy)
                g_red, g_green = fma(weight, by_red, g_red), fma(weight, by_green, g_green)
                g_blue, g_depth = fma(weight, by_blue, g_blue), fma(weight, by_depth, g_depth)
            h_x = h * dx
            row_of = np.intp(slots[pair]) * RECORD
            store(partial, row_of, sums(h, h_x, h_y, h_x * dx, h_y * dx, h_yy, g_red, g_green, g_blue, g_depth))
