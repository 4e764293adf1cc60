"""Blending by plain loops over pixels: what runs where vectors do not, and what they are compared with.

Planes are [5, rows, columns] float32, padded to whole tiles: red, green, blue, depth, alpha. A tile keeps a table of rows of
pixels, [16, k, 16], first the transmittance, whose sign says whether the pixel goes on. Backward runs front to back too: of a pixel
it needs only what is left, the sum over all that is still behind of weight times gradient, as dL/dalpha_i = T_i g_i - left_i /
(1 - alpha_i).

The loop over the sixteen columns has no branch and no sum across columns, so that LLVM makes vectors of it by itself: three times
as fast as loops that skip what a gaussian does not reach.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from wetoolkit_splat.cpu_bin import TILE
from wetoolkit_splat.cpu_project import (
    BLUE,
    DEPTH,
    G_BLUE,
    G_DEPTH,
    G_GREEN,
    G_RED,
    GREEN,
    H_X,
    H_XX,
    H_XY,
    H_Y,
    H_YY,
    HALF_Y,
    LOG_OPACITY,
    RED,
    A,
    B,
    C,
    H,
    X,
    Y,
)  # fmt: skip
from wetoolkit_splat.jit import inner, kernel
from wetoolkit_splat.twin import FINISHED, LEAST_ALPHA, MOST_ALPHA

MOST, STOP = np.float32(MOST_ALPHA), np.float32(FINISHED)
FINEST = np.float32(math.log2(LEAST_ALPHA))  # the exponent at which alpha is 1/255
ONE, ZERO, HALF = np.float32(1), np.float32(0), np.float32(0.5)
# 2^f on [-0.5, 0.5] to 7.5e-8 of its value (2.3e-7 in float32): minimax, by Lawson's reweighted least squares.
EXP2 = (1.0000000716727295, 0.6931469670267859, 0.2402211963275914, 0.05550713289628413, 0.009675546330111029, 0.001327648172076733)
E0, E1, E2, E3, E4, E5 = (np.float32(factor) for factor in EXP2)
ROUND = 1.5 * 2**23  # added to a float it leaves the nearest integer in the low bits
NEAREST = np.float32(ROUND)
Array = Any
Scalars = tuple[Any, ...]


@inner
def exp2(x: Any) -> Any:
    """2^x for x in [-100, 100]; anything at all outside."""
    shifted = x + NEAREST
    rest = x - (shifted - NEAREST)
    value = np.float32(((((E5 * rest + E4) * rest + E3) * rest + E2) * rest + E1) * rest + E0)
    return np.int32(value.view(np.int32) + (np.float32(shifted).view(np.int32) << np.int32(23))).view(np.float32)


@inner
def of_tile(record: Array, top: int, left: int) -> Scalars:
    """Centre (2) from the tile's first pixel, the exponent's coefficients (4), first and last + 1 row that the box meets."""
    x, y = record[X] - np.float32(left) - HALF, record[Y] - np.float32(top) - HALF
    first, last = max(0, math.ceil(y - record[HALF_Y])), min(TILE, math.floor(y + record[HALF_Y]) + 1)
    return x, y, record[A], record[B], record[C], record[LOG_OPACITY], first, last


@inner
def passed(power: Any, before: Any) -> Scalars:
    """Alpha, weight, the transmittance behind, and whether the gaussian counts, for log2 of alpha before it is cut off."""
    alpha = min(MOST, exp2(power))
    after = before - alpha * before
    touched, goes_on = (power >= FINEST) & (before > ZERO), after > STOP
    counts = touched & goes_on
    behind = (after if goes_on else -before) if touched else before
    return alpha, alpha * before if counts else ZERO, behind, counts


@kernel
def blend(records: Array, pairs: Array, starts: Array, across: int, begin: int, end: int, background: Array, planes: Array) -> None:
    """Tiles ``begin`` to ``end`` of the image."""
    state = np.empty((TILE, 5, TILE), np.float32)  # transmittance, red, green, blue, depth
    for tile in range(begin, end):
        top, left = tile // across * TILE, tile % across * TILE
        state[:] = ZERO
        state[:, 0] = ONE
        for pair in range(starts[tile], starts[tile + 1]):
            record = records[pairs[pair]]
            x, y, a, b, c, log_opacity, first, last = of_tile(record, top, left)
            red, green, blue, depth = record[RED], record[GREEN], record[BLUE], record[DEPTH]
            for row in range(first, last):
                dy = np.float32(row) - y
                slant, bow = b * dy, c * dy * dy + log_opacity
                for column in range(TILE):
                    dx = np.float32(column) - x
                    _, weight, state[row, 0, column], _ = passed((a * dx + slant) * dx + bow, state[row, 0, column])
                    state[row, 1, column] += weight * red
                    state[row, 2, column] += weight * green
                    state[row, 3, column] += weight * blue
                    state[row, 4, column] += weight * depth
        for row in range(TILE):
            for column in range(TILE):
                rest = abs(state[row, 0, column])
                for k in range(3):
                    planes[k, top + row, left + column] = state[row, k + 1, column] + rest * background[k]
                planes[3, top + row, left + column] = state[row, 4, column]
                planes[4, top + row, left + column] = ONE - rest


@inner
def begin_tile(state: Array, planes: Array, gradients: Array, top: int, left: int) -> None:
    """Rows of a tile as backward needs them: transmittance 1, the sum of gradient times value, five gradients."""
    for row in range(TILE):
        for column in range(TILE):
            left_over = ZERO
            for k in range(5):
                gradient = gradients[k, top + row, left + column]
                left_over += gradient * planes[k, top + row, left + column]
                state[row, 2 + k, column] = gradient
            state[row, 0, column], state[row, 1, column] = ONE, left_over


@inner
def moments(total: Array, x: Any, sums: Array) -> None:
    """Write the sums over the columns of ``total`` [7, 16], and their moments by dx."""
    h, h_x, h_y, h_xx, h_xy, h_yy = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
    red, green, blue, depth = ZERO, ZERO, ZERO, ZERO
    for column in range(TILE):
        dx = np.float32(column) - x
        h += total[0, column]
        h_x += total[0, column] * dx
        h_xx += total[0, column] * dx * dx
        h_y += total[1, column]
        h_xy += total[1, column] * dx
        h_yy += total[2, column]
        red += total[3, column]
        green += total[4, column]
        blue += total[5, column]
        depth += total[6, column]
    sums[:] = ZERO
    sums[H], sums[H_X], sums[H_Y], sums[H_XX], sums[H_XY], sums[H_YY] = h, h_x, h_y, h_xx, h_xy, h_yy
    sums[G_RED], sums[G_GREEN], sums[G_BLUE], sums[G_DEPTH] = red, green, blue, depth


@kernel
def blend_back(
    records: Array, pairs: Array, slots: Array, starts: Array, across: int, begin: int, end: int, planes: Array, gradients: Array,
    partial: Array,
) -> None:  # fmt: skip
    """Gradients [pairs, 16] of tiles ``begin`` to ``end``, at each pair's slot: h = dL/d log alpha, its moments, colours, depth."""
    state, total = np.empty((TILE, 7, TILE), np.float32), np.empty((7, TILE), np.float32)
    for tile in range(begin, end):
        top, left = tile // across * TILE, tile % across * TILE
        begin_tile(state, planes, gradients, top, left)
        for pair in range(starts[tile], starts[tile + 1]):
            record = records[pairs[pair]]
            x, y, a, b, c, log_opacity, first, last = of_tile(record, top, left)
            red, green, blue, depth = record[RED], record[GREEN], record[BLUE], record[DEPTH]
            total[:] = ZERO
            for row in range(first, last):
                dy = np.float32(row) - y
                slant, bow = b * dy, c * dy * dy + log_opacity
                for column in range(TILE):
                    dx = np.float32(column) - x
                    alpha, weight, state[row, 0, column], counts = passed((a * dx + slant) * dx + bow, state[row, 0, column])
                    by_red, by_green, by_blue = state[row, 2, column], state[row, 3, column], state[row, 4, column]
                    by_depth = state[row, 5, column]
                    worth = by_red * red + by_green * green + by_blue * blue + by_depth * depth + state[row, 6, column]
                    gain = weight * worth
                    rest = state[row, 1, column] - gain
                    state[row, 1, column] = rest
                    share = gain - alpha / (ONE - alpha) * rest if counts & (alpha < MOST) else ZERO
                    tall = share * dy
                    total[0, column] += share
                    total[1, column] += tall
                    total[2, column] += tall * dy
                    total[3, column] += weight * by_red
                    total[4, column] += weight * by_green
                    total[5, column] += weight * by_blue
                    total[6, column] += weight * by_depth
            moments(total, x, partial[slots[pair]])
