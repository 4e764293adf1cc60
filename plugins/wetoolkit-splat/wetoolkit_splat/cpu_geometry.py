"""Kernels' small geometry, all float64 scalars in tuples: rotations, projections, harmonics, each with its derivative."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from wetoolkit_splat.harmonics import FACTORS
from wetoolkit_splat.jit import inner

FACTOR = np.array(FACTORS)
Array = Any
Scalars = tuple[Any, ...]


@inner
def rotation(w: float, x: float, y: float, z: float) -> Scalars:
    """Nine numbers, row by row, of a unit quaternion."""
    return (
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    )  # fmt: skip


@inner
def rotation_back(w: float, x: float, y: float, z: float, g: Scalars) -> Scalars:
    """Gradient by the unit quaternion for the gradient by the nine numbers, along the sphere."""
    dw = 2 * (x * (g[7] - g[5]) + y * (g[2] - g[6]) + z * (g[3] - g[1]))
    dx = 2 * (-2 * x * (g[4] + g[8]) + y * (g[1] + g[3]) + z * (g[2] + g[6]) + w * (g[7] - g[5]))
    dy = 2 * (x * (g[1] + g[3]) - 2 * y * (g[0] + g[8]) + z * (g[5] + g[7]) + w * (g[2] - g[6]))
    dz = 2 * (x * (g[2] + g[6]) + y * (g[5] + g[7]) - 2 * z * (g[0] + g[4]) + w * (g[3] - g[1]))
    along = w * dw + x * dx + y * dy + z * dz
    return dw - w * along, dx - x * along, dy - y * along, dz - z * along


@inner
def times(a: Scalars, b: Scalars) -> Scalars:
    """[2, 3] times [3, 3], row by row."""
    return (
        a[0] * b[0] + a[1] * b[3] + a[2] * b[6], a[0] * b[1] + a[1] * b[4] + a[2] * b[7], a[0] * b[2] + a[1] * b[5] + a[2] * b[8],
        a[3] * b[0] + a[4] * b[3] + a[5] * b[6], a[3] * b[1] + a[4] * b[4] + a[5] * b[7], a[3] * b[2] + a[4] * b[5] + a[5] * b[8],
    )  # fmt: skip


@inner
def times_transposed(a: Scalars, b: Scalars) -> Scalars:
    """[2, 3] times the transpose of [3, 3]."""
    return (
        a[0] * b[0] + a[1] * b[1] + a[2] * b[2], a[0] * b[3] + a[1] * b[4] + a[2] * b[5], a[0] * b[6] + a[1] * b[7] + a[2] * b[8],
        a[3] * b[0] + a[4] * b[1] + a[5] * b[2], a[3] * b[3] + a[4] * b[4] + a[5] * b[5], a[3] * b[6] + a[4] * b[7] + a[5] * b[8],
    )  # fmt: skip


@inner
def transposed_times(a: Scalars, b: Scalars) -> Scalars:
    """The transpose of [2, 3] times [2, 3]: nine numbers."""
    return (
        a[0] * b[0] + a[3] * b[3], a[0] * b[1] + a[3] * b[4], a[0] * b[2] + a[3] * b[5],
        a[1] * b[0] + a[4] * b[3], a[1] * b[1] + a[4] * b[4], a[1] * b[2] + a[4] * b[5],
        a[2] * b[0] + a[5] * b[3], a[2] * b[1] + a[5] * b[4], a[2] * b[2] + a[5] * b[5],
    )  # fmt: skip


@inner
def harmonics(x: float, y: float, z: float, terms: int, out: Array) -> None:
    """The first ``terms`` of the basis into ``out``."""
    xx, yy, zz = x * x, y * y, z * z
    out[0] = FACTOR[0]
    if terms > 1:
        out[1], out[2], out[3] = FACTOR[1] * y, FACTOR[2] * z, FACTOR[3] * x
    if terms > 4:
        out[4], out[5], out[6] = FACTOR[4] * x * y, FACTOR[5] * y * z, FACTOR[6] * (2 * zz - xx - yy)
        out[7], out[8] = FACTOR[7] * x * z, FACTOR[8] * (xx - yy)
    if terms > 9:
        out[9], out[10], out[11] = FACTOR[9] * y * (3 * xx - yy), FACTOR[10] * x * y * z, FACTOR[11] * y * (4 * zz - xx - yy)
        out[12], out[13] = FACTOR[12] * z * (2 * zz - 3 * xx - 3 * yy), FACTOR[13] * x * (4 * zz - xx - yy)
        out[14], out[15] = FACTOR[14] * z * (xx - yy), FACTOR[15] * x * (xx - 3 * yy)


@inner
def harmonics_back(x: float, y: float, z: float, terms: int, g: Array) -> Scalars:
    """Gradient by the direction for the gradient ``g`` by each term of the basis, factors included in ``g``."""
    dx, dy, dz = 0.0, 0.0, 0.0
    if terms > 1:
        dx, dy, dz = g[3], g[1], g[2]
    if terms > 4:
        dx += g[4] * y - 2 * g[6] * x + g[7] * z + 2 * g[8] * x
        dy += g[4] * x + g[5] * z - 2 * g[6] * y - 2 * g[8] * y
        dz += g[5] * y + 4 * g[6] * z + g[7] * x
    if terms > 9:
        xx, yy, zz = x * x, y * y, z * z
        dx += 6 * g[9] * x * y + g[10] * y * z - 2 * g[11] * x * y - 6 * g[12] * x * z
        dx += g[13] * (4 * zz - 3 * xx - yy) + 2 * g[14] * x * z + 3 * g[15] * (xx - yy)
        dy += 3 * g[9] * (xx - yy) + g[10] * x * z + g[11] * (4 * zz - xx - 3 * yy) - 6 * g[12] * y * z
        dy += -2 * g[13] * x * y - 2 * g[14] * y * z - 6 * g[15] * x * y
        dz += g[10] * x * y + 8 * g[11] * y * z + g[12] * (6 * zz - 3 * xx - 3 * yy) + 8 * g[13] * x * z + g[14] * (xx - yy)
    return dx, dy, dz


@inner
def unit(x: float, y: float, z: float) -> Scalars:
    """(x, y, z, 1 / length) of the unit vector; of none, z."""
    length = math.sqrt(x * x + y * y + z * z)
    if length == 0.0:
        return 0.0, 0.0, 1.0, 0.0
    return x / length, y / length, z / length, 1 / length
