"""A raster over a map's polygons: which of them hold a whole cell and which have an edge in it.

Most points of a drive lie in cells that one polygon holds whole, so that one byte answers "is this drivable?". Only in cells where
that is open does the exact test of ``areas`` run; the answers are those of the exact test for every point (tested). A cell is
called whole only if no edge comes near it: edges are drawn with a margin far above the rounding of the coordinates.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wetoolkit_driving.jit import kernel

Double = NDArray[np.float64]
Int = NDArray[np.int64]
Index = NDArray[np.int32]
Byte = NDArray[np.uint8]

CELL = 0.5  # metres, doubled until the limits hold
MOST_CELLS, MOST_STAMPS = 1 << 20, 1 << 22  # cells of the map; cells of all polygons' bounds together
MARGIN = 1e-3  # cells
LANE, DRIVABLE, ROUTE, CROSSING = 1, 2, 4, 8  # what a polygon counts as; a cell's low bits: surely so, its high bits: surely not


class Grid(NamedTuple):
    """C = nx * ny cells, row by row."""

    x: float  # of the first cell's corner, metres
    y: float
    scale: float  # cells a metre
    nx: int
    ny: int
    start: Index  # [C + 1] first entry of each cell
    entry: Index  # [E] 2 p for polygons that hold the cell whole, 2 p + 1 for those with an edge near it


def lay_out(bounds: Double) -> tuple[float, float, float, int, int]:
    """x, y, scale, nx and ny of a grid over rings with these bounds [P, 4]; cells of CELL where the limits allow it."""
    if not len(bounds):
        return 0.0, 0.0, 1.0, 0, 0
    low, high = bounds[:, :2].min(0), bounds[:, 2:].max(0)
    cell = CELL
    while True:
        whole = np.floor((high - low) / cell) + 3
        each = np.floor((bounds[:, 2:] - bounds[:, :2]) / cell) + 3
        if whole.prod() <= MOST_CELLS and each.prod(1).sum() <= max(MOST_STAMPS, 9 * len(bounds)):
            return float(low[0] - cell), float(low[1] - cell), 1.0 / cell, int(whole[0]), int(whole[1])
        cell *= 2


@kernel
def draw(ring: Double, x: float, y: float, scale: float, stamp: Byte) -> None:
    """Set 1 in ``stamp`` [h, w] wherever an edge of the ring passes within ``MARGIN`` of a cell; (x, y) is the stamp's corner."""
    h, w = stamp.shape
    count = ring.shape[0]
    for i in range(count):
        j = i + 1 if i + 1 < count else 0
        ax, ay, bx, by = (ring[i, 0] - x) * scale, (ring[i, 1] - y) * scale, (ring[j, 0] - x) * scale, (ring[j, 1] - y) * scale
        first, last = math.floor(min(ay, by) - MARGIN), math.floor(max(ay, by) + MARGIN)
        for row in range(max(first, 0), min(last, h - 1) + 1):
            s, t = 0.0, 1.0
            if abs(by - ay) > 1e-12:  # the part of the edge in this row
                s = min(max((row - MARGIN - ay) / (by - ay), 0.0), 1.0)
                t = min(max((row + 1 + MARGIN - ay) / (by - ay), 0.0), 1.0)
            left, right = ax + s * (bx - ax), ax + t * (bx - ax)
            for column in range(
                max(math.floor(min(left, right) - MARGIN), 0), min(math.floor(max(left, right) + MARGIN), w - 1) + 1
            ):
                stamp[row, column] = 1


@kernel
def gather(
    bounds: Double, stamps: Byte, stamp_start: Int, x: float, y: float, scale: float, nx: int, ny: int
) -> tuple[Index, Index]:
    """Entries of each cell from the polygons' stamps (0 outside, 1 near an edge, 2 inside): (start [C + 1], entry [E])."""
    start = np.zeros(nx * ny + 1, np.int32)
    entry = np.empty(0, np.int32)
    for turn in range(2):  # count, then fill
        if turn == 1:
            total = 0
            for c in range(nx * ny + 1):
                total, start[c] = total + start[c], total
            entry = np.empty(total, np.int32)
            fill = start.copy()
        for p in range(bounds.shape[0]):
            column, row, w, h = place_of(bounds[p], x, y, scale)
            for i in range(h * w):
                mark = stamps[stamp_start[p] + i]
                if mark:
                    cell = (row + i // w) * nx + column + i % w
                    if turn == 0:
                        start[cell] += 1
                    else:
                        entry[fill[cell]] = 2 * p + (1 if mark == 1 else 0)
                        fill[cell] += 1
    return start, entry


@kernel
def place_of(bounds: Double, x: float, y: float, scale: float) -> tuple[int, int, int, int]:
    """First column and row of a polygon's cells and how many there are across and up; all inside the grid, which has a rim."""
    column, row = math.floor((bounds[0] - x) * scale - MARGIN), math.floor((bounds[1] - y) * scale - MARGIN)
    w = math.floor((bounds[2] - x) * scale + MARGIN) - column + 1
    h = math.floor((bounds[3] - y) * scale + MARGIN) - row + 1
    return column, row, w, h


@kernel
def settle(grid: Grid, roles: Byte) -> Byte:
    """[C] what each cell surely is (low four bits) and surely is not (high four), for polygons of ``roles`` [P]."""
    known = np.empty(grid.nx * grid.ny, np.uint8)
    for c in range(known.shape[0]):
        sure, possible = 0, 0
        for e in range(grid.start[c], grid.start[c + 1]):
            role = roles[grid.entry[e] >> 1]
            possible |= role
            if not grid.entry[e] & 1:
                sure |= role
        known[c] = sure | ((~possible & 15) << 4)
    return known


@kernel
def cell_at(x0: float, y0: float, scale: float, nx: int, ny: int, x: float, y: float) -> int:
    """The cell of a grid (its numbers come first) that holds (x, y), -1 outside it (also for NaN)."""
    column, row = (x - x0) * scale, (y - y0) * scale
    if not (0.0 <= column < nx and 0.0 <= row < ny):
        return -1
    return int(row) * nx + int(column)


@kernel
def cell_of(grid: Grid, x: float, y: float) -> int:
    """The cell that holds (x, y), -1 outside the grid."""
    return cell_at(grid.x, grid.y, grid.scale, grid.nx, grid.ny, x, y)
