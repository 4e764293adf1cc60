"""Blending by rows of sixteen pixels: one vector is one row of a tile. The arithmetic of ``cpu_plain``, without a branch per pixel.

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


@kernel
def blend(records: Array, pairs: Array, starts: Array, across: int, begin: int, end: int, background: Array, planes: Array) -> None:
    """As ``cpu_plain.blend``."""
    state, stride = scratch(TILE * ROW), planes.shape[2]
    none, one, stop, most, finest = splat(ZERO), splat(ONE), splat(STOP), splat(MOST), splat(FINEST)
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
            y, half_y = records[m, Y] - middle, records[m, HALF_Y]
            first, last = max(ceiling, math.ceil(y - half_y)), min(floor, math.floor(y + half_y) + 1)
            dx = columns - splat(records[m, X])
            bend, slant = fma(splat(records[m, A]) * dx, dx, splat(records[m, LOG_OPACITY])), splat(records[m, B]) * dx
            red, green, blue, depth = (
                splat(records[m, RED]),
                splat(records[m, GREEN]),
                splat(records[m, BLUE]),
                splat(records[m, DEPTH]),
            )
            bow = records[m, C]
            for row in range(first, last):
                at, dy = row * ROW, np.float32(row) - y
                power = fma(splat(dy), slant, bend) + splat(bow * dy * dy)
                alpha, before = least(exp2(power), most), load(state, at)
                after = before - alpha * before
                touched, goes_on = (power >= finest) & (before > none), after > stop
                weight = select(touched & goes_on, alpha * before, none)
                store(state, at, select(touched, select(goes_on, after, none - before), before))
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
    records: Array, pairs: Array, starts: Array, across: int, begin: int, end: int, planes: Array, gradients: Array, partial: Array
) -> None:
    """As ``cpu_plain.blend_back``."""
    state = scratch(TILE * ROW_BACK)
    none, one, stop, most, finest = splat(ZERO), splat(ONE), splat(STOP), splat(MOST), splat(FINEST)
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
            y, half_y = records[m, Y] - middle, records[m, HALF_Y]
            first, last = max(ceiling, math.ceil(y - half_y)), min(floor, math.floor(y + half_y) + 1)
            dx = columns - splat(records[m, X])
            bend, slant = fma(splat(records[m, A]) * dx, dx, splat(records[m, LOG_OPACITY])), splat(records[m, B]) * dx
            red, green, blue, depth = (
                splat(records[m, RED]),
                splat(records[m, GREEN]),
                splat(records[m, BLUE]),
                splat(records[m, DEPTH]),
            )
            bow = records[m, C]
            h, h_y, h_yy, g_red, g_green, g_blue, g_depth = none, none, none, none, none, none, none
            for row in range(first, last):
                at, dy = row * ROW_BACK, np.float32(row) - y
                power = fma(splat(dy), slant, bend) + splat(bow * dy * dy)
                alpha, before = least(exp2(power), most), load(state, at)
                after = before - alpha * before
                touched, goes_on = (power >= finest) & (before > none), after > stop
                weight = select(touched & goes_on, alpha * before, none)
                store(state, at, select(touched, select(goes_on, after, none - before), before))
                by_red, by_green, by_blue = load(state, at + 2 * TILE), load(state, at + 3 * TILE), load(state, at + 4 * TILE)
                by_depth = load(state, at + 5 * TILE)
                worth = fma(by_red, red, fma(by_green, green, fma(by_blue, blue, fma(by_depth, depth, load(state, at + 6 * TILE)))))
                gain = weight * worth
                rest = load(state, at + TILE) - gain
                store(state, at + TILE, rest)
                free = touched & goes_on & (alpha < most)
                share = select(free, gain - quotient(alpha, one - alpha) * rest, none)
                tall = share * splat(dy)
                h, h_y, h_yy = h + share, h_y + tall, fma(tall, splat(dy), h_yy)
                g_red, g_green = fma(weight, by_red, g_red), fma(weight, by_green, g_green)
                g_blue, g_depth = fma(weight, by_blue, g_blue), fma(weight, by_depth, g_depth)
            h_x = h * dx
            store(partial, pair * RECORD, sums(h, h_x, h_y, h_x * dx, h_y * dx, h_yy, g_red, g_green, g_blue, g_depth))
