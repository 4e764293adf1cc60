"""Albedo of surfaces, for kernels: the ground by its code, facades, roofs, leaves. Linear colours; lengths in metres."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from wetoolkit_driving.jit import inner

from wetoolkit_minitown.sensors.codes import LEVELS, MIXED, Category, Surface
from wetoolkit_minitown.sensors.noise import grain, noise, noise3

ALBEDO = np.array([
    (0.060, 0.100, 0.026), (0.21, 0.19, 0.16), (0.150, 0.085, 0.068), (0.088, 0.088, 0.090), (0.12, 0.12, 0.12),
    (0.33, 0.32, 0.30), (0.74, 0.74, 0.72), (0.66, 0.45, 0.05), (0.062, 0.062, 0.062), (0.46, 0.45, 0.43),
])  # fmt: skip
CATEGORY = np.array([
    Category.TERRAIN, Category.TERRAIN, Category.ROAD, Category.ROAD, Category.ROAD, Category.PAVEMENT, Category.MARKING,
    Category.MARKING, Category.ROAD, Category.PAVEMENT,
], np.uint8)  # fmt: skip


def _of_codes() -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Of each code of the raster: the Surface that makes up most of it [48], its albedo [48, 3]."""
    surface, albedo = np.zeros(MIXED + 2 * LEVELS, np.uint8), np.zeros((MIXED + 2 * LEVELS, 3))
    surface[: len(ALBEDO)], albedo[: len(ALBEDO)] = np.arange(len(ALBEDO)), ALBEDO
    for k, paint in enumerate((Surface.WHITE, Surface.YELLOW)):
        share = (np.arange(LEVELS) + 1)[:, None] / LEVELS
        codes = slice(MIXED + k * LEVELS, MIXED + (k + 1) * LEVELS)
        albedo[codes] = share * ALBEDO[paint] + (1 - share) * ALBEDO[Surface.ASPHALT]
        surface[codes] = np.where(share[:, 0] >= 0.5, paint, Surface.ASPHALT)
    return surface, albedo


SURFACE, GROUND = _of_codes()
SHOWN = CATEGORY[SURFACE]

GRASS, PAVEMENT = int(Surface.GRASS), int(Surface.PAVEMENT)
YARD, KERB = int(Surface.YARD), int(Surface.KERB)
CLEAR, FRAME, WALL = 0, 1, 2  # what a place of a facade is


@inner
def ground(code, x, y, span):  # type: ignore[no-untyped-def]
    """Factors (r, g, b) on a surface's albedo at a place: its texture, without what is finer than ``span`` metres."""
    fine = span < 0.35
    if code == GRASS:
        f = 0.55 + 0.5 * noise(x * 0.6, y * 0.6, 1) + 0.4 * (noise(x * 5.0, y * 5.0, 2) if fine else 0.5)
        dry = 0.25 * noise(x * 0.11, y * 0.11, 3)
        return f * (1 + 1.5 * dry), f * (1 + 0.3 * dry), f
    if code == PAVEMENT:
        f = 0.82 + 0.2 * noise(x * 0.9, y * 0.9, 4) + 0.12 * (grain(np.floor(x * 2.0), np.floor(y * 2.0), 5) if fine else 0.5)
        if fine and (x * 2.0 - np.floor(x * 2.0) < 0.06 or y * 2.0 - np.floor(y * 2.0) < 0.06):
            f *= 0.72  # joints between slabs
        return f, f, f
    f = 0.80 + 0.24 * noise(x * 0.35, y * 0.35, 6) + 0.22 * (noise(x * 9.0, y * 9.0, 7) if fine else 0.5)
    if code >= MIXED:
        f *= 1 - 0.5 * max(0.0, noise(x * 1.7, y * 1.7, 8) - 0.45)  # worn
    elif code not in (YARD, KERB) and noise(x * 0.09 + 3.1, y * 0.09, 9) > 0.66:
        f *= 0.84  # where the road was mended
    return f, f, f


@inner
def pane(u, v, bay, style, number):  # type: ignore[no-untyped-def]
    """(CLEAR, FRAME or WALL, column, floor) of a place on a facade: ``u`` along the wall, ``v`` above the ground."""
    column, floor = np.floor(u / bay), np.floor((v - 0.5) / 3.0)
    across, up = (u / bay - column - 0.5) * bay, (v - 0.5) - 3.0 * floor
    half, low, high = 0.52, 0.85, 2.35
    if style == 1:
        half, low, high = 0.72, 0.95, 2.3
    elif style == 2:
        half, low, high = 0.46, 0.35, 2.45
    elif style == 3:
        half, low, high = 0.42 * bay, 0.9, 2.4
    elif style == 4:
        half, low, high = 0.66, 0.7, 2.35
    elif style == 5 and floor == 0:
        half, low, high = 0.44 * bay, 0.1, 2.3
    if floor == 0 and column == np.floor(4 * grain(number, 3, 21)) and style != 5:
        half, low, high = 0.5, -0.5, 2.1  # a door
    if floor < 0 and low >= 0:
        return WALL, column, floor
    inside = min(half - abs(across), min(up - low, high - up))
    if inside > 0.09 and not (style == 1 and abs(across) < 0.04):
        return CLEAR, column, floor
    return (FRAME if inside > 0 or (abs(across) < half + 0.1 and -0.12 < up - low < 0) else WALL), column, floor


@inner
def wall(r, g, b, u, v, number):  # type: ignore[no-untyped-def]
    """(r, g, b) of a wall: plaster or brick with stains, darker at its foot."""
    f = 0.84 + 0.14 * noise(u * 0.5, v * 0.5, number) + 0.14 * noise(u * 4.0, v * 11.0, number + 1)
    f *= 0.72 if v < 0.5 else 0.92 + 0.08 * min(1.0, (v - 0.5) / 2.5)
    return r * f, g * f, b * f


@inner
def leaves(x, y, z, far):  # type: ignore[no-untyped-def]
    """Factor on a crown's colour: clumps of leaves and dark gaps between them, finer the nearer they are."""
    f = 0.30 + 0.75 * noise3(x * 1.5, y * 1.5, z * 1.5, 31)
    f += 0.60 * (noise3(x * 5.0, y * 5.0, z * 5.0, 32) if far < 50.0 else 0.5)
    if far < 22.0:
        f += 0.75 * (noise3(x * 14.0, y * 14.0, z * 14.0, 33) - 0.5)
    return max(f, 0.12)
