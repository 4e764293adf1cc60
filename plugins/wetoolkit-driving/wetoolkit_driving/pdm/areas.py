"""Map polygons indexed so that "is this point strictly inside?" looks at a few edges only.

Each ring's height is cut into as many slabs as it has edges; a point meets the edges of its own slab. The answer is exactly that of
``geometry.inside_ring`` over the whole ring (tested): the other edges cannot cross the point's horizontal line.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wetoolkit_driving.jit import kernel

Double = NDArray[np.float64]
Int = NDArray[np.int64]
Byte = NDArray[np.uint8]
Bool = NDArray[np.bool_]


class Areas(NamedTuple):
    """P rings and their slabs; made by ``index_areas``."""

    xy: Double  # [V, 2] metres
    offset: Int  # [P + 1]
    kind: Byte  # [P] types.AreaKind
    on_route: Bool  # [P]
    bounds: Double  # [P, 4] x min, y min, x max, y max
    scale: Double  # [P] slabs a metre of height, 0 for a flat ring
    edge_offset: Int  # [S + 1] first entry of each slab
    edges: Int  # [E] index of an edge's first vertex in xy


def index_areas(xy: Double, offset: NDArray[np.integer[Any]], kind: Byte, on_route: Bool) -> Areas:
    """Areas from ragged rings; a repeated first vertex at a ring's end is harmless."""
    # copies, so that every map has the same memory layout and the kernels are compiled once
    xy, starts = np.array(xy, np.float64, order="C"), np.array(offset, np.int64)
    bounds, scale, edge_offset, edges = _slabs(xy, starts)
    return Areas(
        xy,
        starts,
        np.array(kind, np.uint8),
        np.array(on_route, np.bool_),
        bounds,
        scale,
        edge_offset,
        edges,
    )


@kernel
def _slab(y: float, low: float, scale: float, count: int) -> int:
    """Slab of a height (a ring has as many slabs as edges); monotone in y, so that an edge's slabs hold those of all its points."""
    return min(max(int((y - low) * scale), 0), count - 1)


@kernel
def _slabs(xy: Double, offset: Int) -> tuple[Double, Double, Int, Int]:
    rings = offset.shape[0] - 1
    bounds = np.empty((rings, 4))
    for p in range(rings):
        ring = xy[offset[p] : offset[p + 1]]
        bounds[p, 0], bounds[p, 1] = ring[:, 0].min(), ring[:, 1].min()
        bounds[p, 2], bounds[p, 3] = ring[:, 0].max(), ring[:, 1].max()
    scale = np.zeros(rings)
    for p in range(rings):
        if bounds[p, 3] > bounds[p, 1]:
            scale[p] = (offset[p + 1] - offset[p]) / (bounds[p, 3] - bounds[p, 1])
    total = offset[rings]
    edge_offset = np.zeros(total + 1, np.int64)  # one slab an edge
    edges = np.empty(0, np.int64)
    for turn in range(2):  # count, then fill
        if turn == 1:
            for s in range(total, 0, -1):
                edge_offset[s] = edge_offset[s - 1]
            edge_offset[0] = 0
            for s in range(total):
                edge_offset[s + 1] += edge_offset[s]
            edges = np.empty(edge_offset[total], np.int64)
            fill = edge_offset[:-1].copy()
        for p in range(rings):
            start, count = offset[p], offset[p + 1] - offset[p]
            low = bounds[p, 1]
            for i in range(count):
                a, b = xy[start + i, 1], xy[start + (i + 1) % count, 1]
                first, last = _slab(min(a, b), low, scale[p], count), _slab(max(a, b), low, scale[p], count)
                for s in range(start + first, start + last + 1):
                    if turn == 0:
                        edge_offset[s] += 1
                    else:
                        edges[fill[s]] = start + i
                        fill[s] += 1
    return bounds, scale, edge_offset, edges


@kernel
def inside_area(areas: Areas, p: int, x: float, y: float) -> bool:
    """Whether (x, y) is strictly inside ring ``p``."""
    low, high = areas.bounds[p, 1], areas.bounds[p, 3]
    if x <= areas.bounds[p, 0] or x >= areas.bounds[p, 2] or y <= low or y >= high:
        return False
    start, end = areas.offset[p], areas.offset[p + 1]
    slab = start + _slab(y, low, areas.scale[p], end - start)  # a ring's slabs lie where its vertices do
    odd = False
    for e in range(areas.edge_offset[slab], areas.edge_offset[slab + 1]):
        i = areas.edges[e]
        j = i + 1 if i + 1 < end else start
        xi, yi, xj, yj = areas.xy[i, 0], areas.xy[i, 1], areas.xy[j, 0], areas.xy[j, 1]
        side = (xj - xi) * (y - yi) - (yj - yi) * (x - xi)
        if side == 0 and min(xi, xj) <= x <= max(xi, xj) and min(yi, yj) <= y <= max(yi, yj):
            return False
        if (yi > y) != (yj > y) and (side > 0) == (yj > yi):
            odd = not odd
    return odd
