"""Kernels between casting and shading: what each ray met first of the ground, still and moving things; rays towards the sun."""

from __future__ import annotations

import numpy as np
from wetoolkit_driving.jit import kernel

from wetoolkit_minitown.sensors.shading import CELL, CELLS, FLOOR, MOVING, NOTHING, STILL, marked

OFF = 0.02  # metres that rays towards the sun start off the surface


@kernel
def meet(origin, rays, still, moving, rows):  # type: ignore[no-untyped-def]
    """(met [P], along [P], triangle [P], u [P], v [P], normal [P, 3]): the nearest of the ground z = 0, the still hits [P]
    and the moving hits of the rays ``rows`` [R]."""
    count = len(rays)
    met = np.zeros(count, np.uint8)
    along, u, v = still.along.copy(), still.u.copy(), still.v.copy()
    triangle, normal = still.triangle.copy(), still.normal.copy()
    for p in range(count):
        if along[p] < np.inf:
            met[p] = STILL
        if rays[p, 2] < 0 and origin[p, 2] > 0:
            down = -origin[p, 2] / rays[p, 2]
            if down < along[p]:
                along[p], met[p] = down, FLOOR
                normal[p, 0], normal[p, 1], normal[p, 2] = 0, 0, 1
    for k in range(len(rows)):
        p = rows[k]
        if moving.along[k] < along[p]:
            along[p], u[p], v[p], triangle[p], met[p] = moving.along[k], moving.u[k], moving.v[k], moving.triangle[k], MOVING
            for i in range(3):
                normal[p, i] = moving.normal[k, i]
    return met, along, triangle, u, v, normal


@kernel
def sunward(origin, rays, met, along, normal, sun, soft):  # type: ignore[no-untyped-def]
    """(rows [S], starts [S, 3]): the places that face the sun (or are ``soft`` and let it through) and a start off each."""
    count = len(rays)
    rows, starts = np.empty(count, np.int64), np.empty((count, 3), np.float32)
    found = 0
    for p in range(count):
        if met[p] == NOTHING:
            continue
        size = np.sqrt(normal[p, 0] ** 2 + normal[p, 1] ** 2 + normal[p, 2] ** 2) + 1e-30
        back = 1.0 if normal[p, 0] * rays[p, 0] + normal[p, 1] * rays[p, 1] + normal[p, 2] * rays[p, 2] > 0 else -1.0
        facing = -back * (normal[p, 0] * sun[0] + normal[p, 1] * sun[1] + normal[p, 2] * sun[2]) / size
        if facing <= 0 and not soft[p]:
            continue
        off = OFF + 2e-4 * along[p]
        for i in range(3):
            starts[found, i] = origin[p, i] + along[p] * rays[p, i] - back * off * normal[p, i] / size
        rows[found] = p
        found += 1
    return rows[:found].copy(), starts[:found].copy()


@kernel
def shadowed(boxes, sun, corner):  # type: ignore[no-untyped-def]
    """[CELLS, CELLS] whether somebody may darken a cell, by standing on it or beside it or by a shadow; ``boxes`` [A, 6] as Actors
    gives them, ``corner`` [2] of the cells."""
    cells = np.zeros((CELLS, CELLS), np.bool_)
    flat = np.hypot(sun[0], sun[1])
    for a in range(len(boxes)):
        long = boxes[a, 5] * flat / sun[2]
        dx, dy = -sun[0] / flat * long, -sun[1] / flat * long
        reach = np.hypot(boxes[a, 3], boxes[a, 4]) + 0.75 * CELL
        x, y = boxes[a, 0] - corner[0], boxes[a, 1] - corner[1]
        first = int(np.floor((min(y, y + dy) - reach) / CELL)), int(np.floor((min(x, x + dx) - reach) / CELL))
        last = int(np.floor((max(y, y + dy) + reach) / CELL)), int(np.floor((max(x, x + dx) + reach) / CELL))
        for row in range(max(first[0], 0), min(last[0], CELLS - 1) + 1):
            for column in range(max(first[1], 0), min(last[1], CELLS - 1) + 1):
                u, v = (column + 0.5) * CELL - x, (row + 0.5) * CELL - y
                s = min(1.0, max(0.0, (u * dx + v * dy) / (long * long + 1e-9)))
                if (u - s * dx) ** 2 + (v - s * dy) ** 2 < reach * reach:
                    cells[row, column] = True
    return cells


@kernel
def inside(starts, cells, corner):  # type: ignore[no-untyped-def]
    """Rows of starts [S, 3] that lie on a marked cell."""
    rows = np.empty(len(starts), np.int64)
    found = 0
    for k in range(len(starts)):
        if marked(starts[k, 0], starts[k, 1], cells, corner):
            rows[found] = k
            found += 1
    return rows[:found].copy()
