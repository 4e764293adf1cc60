"""Kernels that order gaussians by depth and hand them to tiles of 16 x 16 pixels: two counting sorts, none of them per tile.

And those that carry images between torch's layout, [H, W, 3], and planes [5, rows, columns], padded to whole tiles.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from wetoolkit_splat.jit import kernel

TILE = 16  # pixels
DIGIT = 11  # bits of a pass of the radix sort
Array = Any


@kernel
def nearest_first(depths: Array, keys: Array) -> Array:
    """Rows [M] with a depth above 0, by depth, equal ones in their order. ``keys`` [N]: the depths' bits as uint32, which
    order positive floats."""
    order = np.nonzero(depths)[0].astype(np.int32)
    other = np.empty_like(order)
    for shift in range(0, 3 * DIGIT, DIGIT):
        starts = np.zeros((1 << DIGIT) + 1, np.int32)
        for i in order:
            starts[((keys[i] >> np.uint32(shift)) & np.uint32((1 << DIGIT) - 1)) + np.uint32(1)] += 1
        starts = np.cumsum(starts)
        for i in order:
            digit = (keys[i] >> np.uint32(shift)) & np.uint32((1 << DIGIT) - 1)
            other[starts[digit]] = i
            starts[digit] += 1
        order, other = other, order
    return order


@kernel
def count(order: Array, boxes: Array, across: int, begin: int, end: int, counts: Array) -> None:
    """Add to ``counts`` [tiles] how many of the gaussians ``begin`` to ``end`` in order meet each tile."""
    for m in range(begin, end):
        i = order[m]
        for row in range(boxes[i, 1], boxes[i, 3]):
            for tile in range(row * across + boxes[i, 0], row * across + boxes[i, 2]):
                counts[tile] += 1


@kernel
def fill(
    order: Array, boxes: Array, first: Array, across: int, begin: int, end: int, free: Array, pairs: Array, slots: Array
) -> None:  # fmt: skip
    """Write gaussians ``begin`` to ``end`` in order into their tiles' lists, and beside each pair its slot among its gaussian's.

    ``free`` [tiles]: the next free place of each list for this range.
    """
    for m in range(begin, end):
        i = order[m]
        slot = first[i]
        for row in range(boxes[i, 1], boxes[i, 3]):
            for tile in range(row * across + boxes[i, 0], row * across + boxes[i, 2]):
                place = free[tile]
                free[tile] = place + 1
                pairs[place] = i
                slots[place] = slot
                slot += 1


@kernel
def publish(planes: Array, top: int, bottom: int, colour: Array, depth: Array, alpha: Array) -> None:
    """Rows ``top`` to ``bottom`` of planes into colour [H, W, 3], depth and alpha [H, W]."""
    for row in range(top, bottom):
        for column in range(colour.shape[1]):
            for k in range(3):
                colour[row, column, k] = planes[k, row, column]
            depth[row, column] = planes[3, row, column]
            alpha[row, column] = planes[4, row, column]


@kernel
def gathered(colour: Array, depth: Array, alpha: Array, through: Array, top: int, bottom: int, planes: Array, sky: Array) -> None:
    """The way back for gradients of rows ``top`` to ``bottom``, zeros beside the image; ``sky`` [3] is the background's.

    ``through`` [5, rows, columns]: the image's planes, whose alpha says how much of the background is seen.
    """
    height, width = alpha.shape
    planes[:, top:bottom] = np.float32(0)
    for row in range(top, min(bottom, height)):
        for column in range(width):
            rest = np.float32(1) - through[4, row, column]
            for k in range(3):
                planes[k, row, column] = colour[row, column, k]
                sky[k] += rest * colour[row, column, k]
            planes[3, row, column] = depth[row, column]
            planes[4, row, column] = alpha[row, column]
