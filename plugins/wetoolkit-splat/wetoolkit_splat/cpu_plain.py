"""Blending by plain loops over pixels: what runs where vectors do not, and what they are compared with.

Planes are [5, rows, columns] float32, padded to whole tiles: red, green, blue, depth, alpha. A tile keeps its state in ``through``,
the transmittance; its sign says whether the pixel goes on. Backward runs front to back too: of a pixel it needs only ``left``, the
sum over all that is still behind of weight times gradient, since dL/dalpha_i = T_i g_i - left_i / (1 - alpha_i).
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
LEAST_LOG = np.float32(math.log2(LEAST_ALPHA) - 1e-4)  # a little below: the pixel's own alpha decides
FINEST = np.float32(math.log2(LEAST_ALPHA))  # the exponent at which alpha is 1/255
ONE, ZERO, HALF, FOUR = np.float32(1), np.float32(0), np.float32(0.5), np.float32(4)
Array = Any


@inner
def rows_of(record: Array, top: int) -> tuple[int, int]:
    """First and last + 1 row of the tile that the gaussian's box meets, from the tile's top."""
    middle = record[Y] - np.float32(top) - HALF
    return max(0, math.ceil(middle - record[HALF_Y])), min(TILE, math.floor(middle + record[HALF_Y]) + 1)


@inner
def span_of(record: Array, dy: float, left: int) -> tuple[int, int]:
    """First and last + 1 column of the tile where alpha may reach 1/255 in this row."""
    slant, bow = record[B] * dy, record[C] * dy * dy + record[LOG_OPACITY] - LEAST_LOG
    inside = slant * slant - FOUR * record[A] * bow
    if inside < ZERO:
        return 0, 0
    root, scale = math.sqrt(inside), -HALF / record[A]
    middle = record[X] - np.float32(left) - HALF
    low, high = middle + (slant - root) * scale, middle + (slant + root) * scale
    return max(0, math.ceil(max(low, np.float32(-1)))), min(TILE, math.floor(min(high, np.float32(TILE))) + 1)


@inner
def power_of(record: Array, dx: float, dy: float) -> Any:
    """log2 of alpha, before it is cut off."""
    return np.float32(record[LOG_OPACITY] + record[A] * dx * dx + (record[B] * dx + record[C] * dy) * dy)


@kernel
def blend(records: Array, pairs: Array, starts: Array, across: int, begin: int, end: int, background: Array, planes: Array) -> None:
    """Tiles ``begin`` to ``end`` of the image."""
    through = np.empty((TILE, TILE), np.float32)
    for tile in range(begin, end):
        top, left = tile // across * TILE, tile % across * TILE
        out = planes[:, top : top + TILE, left : left + TILE]
        out[:] = ZERO
        through[:] = ONE
        for pair in range(starts[tile], starts[tile + 1]):
            record = records[pairs[pair]]
            first, last = rows_of(record, top)
            for row in range(first, last):
                dy = np.float32(top + row) + HALF - record[Y]
                low, high = span_of(record, dy, left)
                for column in range(low, high):
                    before = through[row, column]
                    if before < ZERO:
                        continue
                    power = power_of(record, np.float32(left + column) + HALF - record[X], dy)
                    if power < FINEST:
                        continue
                    alpha = min(MOST, np.exp2(power))
                    after = before * (ONE - alpha)
                    if after <= STOP:
                        through[row, column] = -before
                        continue
                    weight = alpha * before
                    through[row, column] = after
                    for k in range(3):
                        out[k, row, column] += weight * record[RED + k]
                    out[3, row, column] += weight * record[DEPTH]
        for row in range(TILE):
            for column in range(TILE):
                rest = abs(through[row, column])
                out[4, row, column] = ONE - rest
                for k in range(3):
                    out[k, row, column] += rest * background[k]


@inner
def left_of(planes: Array, gradients: Array, left: Array) -> None:
    """What the whole pixel is worth: gradient times value, over the five planes of a tile."""
    for row in range(TILE):
        for column in range(TILE):
            value = ZERO
            for k in range(5):
                value += planes[k, row, column] * gradients[k, row, column]
            left[row, column] = value


@kernel
def blend_back(
    records: Array, pairs: Array, starts: Array, across: int, begin: int, end: int, planes: Array, gradients: Array, partial: Array
) -> None:
    """Gradients [pairs, 16] of tiles ``begin`` to ``end``: h = dL/d log alpha and its moments, colours, depth."""
    through, left_over = np.empty((TILE, TILE), np.float32), np.empty((TILE, TILE), np.float32)
    for tile in range(begin, end):
        top, left = tile // across * TILE, tile % across * TILE
        g = gradients[:, top : top + TILE, left : left + TILE]
        left_of(planes[:, top : top + TILE, left : left + TILE], g, left_over)
        through[:] = ONE
        for pair in range(starts[tile], starts[tile + 1]):
            record = records[pairs[pair]]
            sums = partial[pair]
            sums[:] = ZERO
            first, last = rows_of(record, top)
            for row in range(first, last):
                dy = np.float32(top + row) + HALF - record[Y]
                low, high = span_of(record, dy, left)
                for column in range(low, high):
                    before = through[row, column]
                    if before < ZERO:
                        continue
                    dx = np.float32(left + column) + HALF - record[X]
                    power = power_of(record, dx, dy)
                    if power < FINEST:
                        continue
                    alpha = min(MOST, np.exp2(power))
                    after = before * (ONE - alpha)
                    if after <= STOP:
                        through[row, column] = -before
                        continue
                    weight = alpha * before
                    through[row, column] = after
                    worth = g[0, row, column] * record[RED] + g[1, row, column] * record[GREEN] + g[2, row, column] * record[BLUE]
                    worth += g[3, row, column] * record[DEPTH] + g[4, row, column]
                    left_over[row, column] -= weight * worth
                    sums[G_RED] += weight * g[0, row, column]
                    sums[G_GREEN] += weight * g[1, row, column]
                    sums[G_BLUE] += weight * g[2, row, column]
                    sums[G_DEPTH] += weight * g[3, row, column]
                    if alpha < MOST:
                        h = weight * worth - alpha / (ONE - alpha) * left_over[row, column]
                        sums[H] += h
                        sums[H_X] += h * dx
                        sums[H_Y] += h * dy
                        sums[H_XX] += h * dx * dx
                        sums[H_XY] += h * dx * dy
                        sums[H_YY] += h * dy * dy
