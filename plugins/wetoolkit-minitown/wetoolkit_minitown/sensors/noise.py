"""Value noise for kernels: smooth, in [0, 1], a function of the place alone, so equal places look equal from every camera."""

from __future__ import annotations

import numpy as np
from wetoolkit_driving.jit import inner


@inner
def grain(x, y, seed):  # type: ignore[no-untyped-def]
    """A number in [0, 1) for a cell of the integer lattice (mixing of 32 bits by multiplication and shifts)."""
    h = (np.int64(x) * 73856093) ^ (np.int64(y) * 19349663) ^ (seed * 83492791)
    h = ((h ^ (h >> 15)) * 0x2C1B3C6D) & 0xFFFFFFFF
    h = ((h ^ (h >> 12)) * 0x297A2D39) & 0xFFFFFFFF
    return (h ^ (h >> 15)) * (1.0 / 4294967296.0)


@inner
def noise(x, y, seed):  # type: ignore[no-untyped-def]
    """Smooth between the lattice's numbers."""
    fx, fy = np.floor(x), np.floor(y)
    u, v = x - fx, y - fy
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    low = grain(fx, fy, seed) * (1 - u) + grain(fx + 1, fy, seed) * u
    high = grain(fx, fy + 1, seed) * (1 - u) + grain(fx + 1, fy + 1, seed) * u
    return low * (1 - v) + high * v


@inner
def noise3(x, y, z, seed):  # type: ignore[no-untyped-def]
    """The same in space."""
    low = np.floor(z)
    w = z - low
    w = w * w * (3 - 2 * w)
    level = seed + 977 * np.int64(low)
    return noise(x, y, level) * (1 - w) + noise(x, y, level + 977) * w
