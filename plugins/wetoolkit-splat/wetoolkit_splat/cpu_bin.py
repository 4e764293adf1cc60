"""Kernels that order gaussians by depth and hand them to tiles of 16 x 16 pixels: two counting sorts, none of them per tile."""

from __future__ import annotations

from typing import Any

import numpy as np

from wetoolkit_splat.cpu_project import HALF_X, HALF_Y, RECORD, X, Y
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
def gather(records: Array, order: Array, across: int, down: int, ordered: Array, boxes: Array, first: Array, rank: Array) -> None:
    """Records in order; the tiles each meets as [M, 4] (left, top, right, bottom; ends excluded); where its pairs begin [M + 1]."""
    first[0] = 0
    for m in range(len(order)):
        i = order[m]
        rank[i] = m
        for k in range(RECORD):
            ordered[m, k] = records[i, k]
        x, y, half_x, half_y = records[i, X], records[i, Y], records[i, HALF_X], records[i, HALF_Y]
        # A pixel's centre is at 0.5, hence the halves.
        left, top = max(0, int(np.floor((x - half_x - 0.5) / TILE))), max(0, int(np.floor((y - half_y - 0.5) / TILE)))
        right, bottom = (
            min(across, int(np.floor((x + half_x - 0.5) / TILE)) + 1),
            min(down, int(np.floor((y + half_y - 0.5) / TILE)) + 1),
        )
        boxes[m, 0], boxes[m, 1], boxes[m, 2], boxes[m, 3] = left, top, right, bottom
        first[m + 1] = first[m] + max(0, right - left) * max(0, bottom - top)


@kernel
def count(boxes: Array, across: int, top: int, bottom: int, counts: Array) -> None:
    """Add how many gaussians meet each tile of the rows ``top`` to ``bottom`` of tiles."""
    for m in range(len(boxes)):
        for row in range(max(top, boxes[m, 1]), min(bottom, boxes[m, 3])):
            for tile in range(row * across + boxes[m, 0], row * across + boxes[m, 2]):
                counts[tile] += 1


@kernel
def fill(boxes: Array, first: Array, across: int, top: int, bottom: int, free: Array, pairs: Array, slots: Array) -> None:
    """Write gaussians into their tiles' lists, nearest first, and into ``slots`` where each gaussian's pairs went.

    ``free`` [tiles]: the next free place of each list.
    """
    for m in range(len(boxes)):
        left, right = boxes[m, 0], boxes[m, 2]
        for row in range(max(top, boxes[m, 1]), min(bottom, boxes[m, 3])):
            slot = first[m] + (row - boxes[m, 1]) * (right - left)
            for tile in range(row * across + left, row * across + right):
                place = free[tile]
                free[tile] = place + 1
                pairs[place] = m
                slots[slot] = place
                slot += 1


@kernel
def collect(partial: Array, first: Array, slots: Array, begin: int, end: int, sums: Array) -> None:
    """Sums of gaussians ``begin`` to ``end`` over their pairs, always in the same order."""
    for m in range(begin, end):
        for slot in range(first[m], first[m + 1]):
            for k in range(RECORD):
                sums[m, k] += partial[slots[slot], k]
