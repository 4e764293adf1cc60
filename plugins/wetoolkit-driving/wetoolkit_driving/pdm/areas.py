"""Map polygons indexed so that "is this point strictly inside?" looks at one byte, or at a few edges.

Two indexes: a raster of the map (``grid``) says for most places which polygons hold them; where an edge is near, the polygon's own
slabs lead to the edges that count: each ring's height is cut into as many slabs as it has edges, and a point meets the edges of
its own slab. The answer is exactly that of ``geometry.inside_ring`` over the whole ring (tested): the other edges cannot cross the
point's horizontal line.

Rings have no holes (``RoadMap`` has none; readers split or fill them and say so). A ring that crosses itself has the inside of the
even-odd rule; a degenerate one (all points on a line) has none.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wetoolkit.types import require, require_finite
from wetoolkit_driving.jit import inlined, kernel
from wetoolkit_driving.pdm import grid as raster
from wetoolkit_driving.pdm.grid import Grid
from wetoolkit_driving.types import AreaKind

Double = NDArray[np.float64]
Int = NDArray[np.int64]
Byte = NDArray[np.uint8]
Bool = NDArray[np.bool_]

LANES = (AreaKind.LANE, AreaKind.LANE_CONNECTOR)
GROUND = (AreaKind.ROADBLOCK, AreaKind.INTERSECTION, AreaKind.CARPARK)  # what is drivable


class Areas(NamedTuple):
    """P rings and their indexes; made by ``index_areas``."""

    xy: Double  # [V, 2] metres
    offset: Int  # [P + 1]
    kind: Byte  # [P] types.AreaKind
    on_route: Bool  # [P]
    bounds: Double  # [P, 4] x min, y min, x max, y max
    scale: Double  # [P] slabs a metre of height, 0 for a flat ring
    edge_offset: Int  # [S + 1] first entry of each slab
    edges: Int  # [E] index of an edge's first vertex in xy
    roles: Byte  # [2, P] what each polygon counts as: by its kind, and where kinds do not count (grid.LANE, ...)
    grid: Grid
    known: Byte  # [2, C] what each cell surely is or is not, for both rows of roles (grid.settle)


def index_areas(xy: Double, offset: NDArray[np.integer[Any]], kind: Byte, on_route: Bool) -> Areas:
    """Areas from ragged rings; a repeated first vertex at a ring's end is harmless.

    Raises ``ValidationError`` for vertices that are not finite and for rings of less than three.
    """
    # copies, so that every map has the same memory layout and the kernels are compiled once
    xy, starts = np.array(xy, np.float64, order="C").reshape(-1, 2), np.array(offset, np.int64)
    require_finite(xy, "areas.xy")
    short = np.flatnonzero(np.diff(starts) < 3)
    require(not len(short), f"ring {short[:1]} has less than three points", "areas.offset", "leave it out")
    kinds, routed = np.array(kind, np.uint8), np.array(on_route, np.bool_)
    bounds, scale, edge_offset, edges = _slabs(xy, starts)
    nothing = Grid(0.0, 0.0, 1.0, 0, 0, np.zeros(1, np.int32), np.zeros(0, np.int32))
    roles = np.stack([_roles(kinds, routed, True), _roles(kinds, routed, False)])
    plain = Areas(xy, starts, kinds, routed, bounds, scale, edge_offset, edges, roles, nothing, np.zeros((2, 0), np.uint8))
    grid = _rasterise(plain, *raster.lay_out(bounds))
    return plain._replace(grid=grid, known=np.stack([raster.settle(grid, row) for row in roles]))


def _roles(kind: Byte, on_route: Bool, typed: bool) -> Byte:
    """[P] what polygons count as; without ``typed``, each of them is lane and ground alike (World Engine's copy)."""
    lane, ground = np.isin(kind, LANES), np.isin(kind, GROUND)
    route, crossing = lane & on_route, kind == AreaKind.INTERSECTION
    if not typed:
        lane = ground = lane | ground
    bits = lane * raster.LANE + ground * raster.DRIVABLE + route * raster.ROUTE + crossing * raster.CROSSING
    return np.asarray(bits, np.uint8)


@kernel
def _rasterise(areas: Areas, x: float, y: float, scale: float, nx: int, ny: int) -> Grid:
    """The grid of all polygons that count as anything."""
    rings = areas.kind.shape[0]
    begin = np.zeros(rings + 1, np.int64)
    for p in range(rings):
        _, _, w, h = raster.place_of(areas.bounds[p], x, y, scale)
        begin[p + 1] = begin[p] + (w * h if areas.roles[0, p] | areas.roles[1, p] else 0)
    stamps = np.zeros(begin[rings], np.uint8)
    bounds = areas.bounds.copy()
    for p in range(rings):
        column, row, w, h = raster.place_of(areas.bounds[p], x, y, scale)
        if begin[p + 1] == begin[p]:
            bounds[p, 2:] = bounds[p, :2] - 2 / scale  # no cells
            continue
        stamp = stamps[begin[p] : begin[p + 1]].reshape(h, w)
        raster.draw(areas.xy[areas.offset[p] : areas.offset[p + 1]], x + column / scale, y + row / scale, scale, stamp)
        for i in range(h):
            inside = False
            for j in range(w):
                if stamp[i, j] == 0:  # no edge between it and a neighbour that has none either
                    if j == 0 or stamp[i, j - 1] == 1:
                        inside = inside_area(areas, p, x + (column + j + 0.5) / scale, y + (row + i + 0.5) / scale)
                    stamp[i, j] = 2 if inside else 0
    start, entry = raster.gather(bounds, stamps, begin, x, y, scale, nx, ny)
    return Grid(x, y, scale, nx, ny, start, entry)


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


@inlined
def search(areas: Areas, kinds: int, role: int, cell: int, x: float, y: float) -> bool:
    """``within`` for a place in a cell of which it is not known."""
    found = False
    for e in range(areas.grid.start[cell], areas.grid.start[cell + 1]):
        entry = areas.grid.entry[e]  # those that hold the cell whole are not of this role, or it would be known
        if entry & 1 and areas.roles[kinds, entry >> 1] & role and not found:
            found = inside_area(areas, entry >> 1, x, y)
    return found


@kernel
def within(areas: Areas, kinds: int, role: int, x: float, y: float) -> bool:
    """Whether some polygon that counts as ``role`` holds (x, y) strictly; ``kinds`` is the row of ``Areas.roles`` that counts."""
    cell = raster.cell_of(areas.grid, x, y)
    if cell < 0 or areas.known[kinds, cell] & (role << 4):
        return False
    return bool(areas.known[kinds, cell] & role) or search(areas, kinds, role, cell, x, y)


@inlined
def in_several_lanes(areas: Areas, kinds: int, corners: Double, touched: Int) -> bool:
    """Whether more than one lane holds a corner [4, 2] and none holds all four; ``touched`` [2, P] is scratch."""
    met = 0
    for c in range(4):
        x, y = corners[c, 0], corners[c, 1]
        cell = raster.cell_at(areas.grid.x, areas.grid.y, areas.grid.scale, areas.grid.nx, areas.grid.ny, x, y)
        first, last = (areas.grid.start[cell], areas.grid.start[cell + 1]) if cell >= 0 else (0, 0)
        for e in range(first, last):
            entry = areas.grid.entry[e]
            p = entry >> 1
            if areas.roles[kinds, p] & 1 and (not entry & 1 or inside_area(areas, p, x, y)):
                found = 0
                while found < met and touched[0, found] != p:
                    found += 1
                if found == met:
                    touched[0, met], touched[1, met] = p, 0
                    met += 1
                touched[1, found] += 1
    several = met > 1
    for i in range(met):
        several = several and touched[1, i] < 4
    return several
