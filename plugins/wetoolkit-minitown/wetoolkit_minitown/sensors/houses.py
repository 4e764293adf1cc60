"""Houses: walls whose windows the shader draws, roofs, chimneys, balconies, hedges in front."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from wetoolkit_minitown.sensors.codes import Category, Material
from wetoolkit_minitown.sensors.lots import Lot
from wetoolkit_minitown.sensors.mesh import Colour, Look, Mesh, box, join, quads, soup

FLOOR = 3.0  # metres a storey; the shader of facades counts on it
EAVES = 0.45  # metres that a roof reaches beyond the walls
WALLS: tuple[Colour, ...] = (
    (0.36, 0.15, 0.10), (0.44, 0.22, 0.14), (0.30, 0.13, 0.10), (0.62, 0.52, 0.36), (0.68, 0.64, 0.55), (0.70, 0.68, 0.64),
    (0.52, 0.42, 0.32), (0.46, 0.50, 0.50), (0.62, 0.42, 0.28), (0.55, 0.55, 0.46), (0.64, 0.58, 0.30), (0.48, 0.30, 0.24),
)  # fmt: skip
ROOFS: tuple[Colour, ...] = ((0.26, 0.10, 0.06), (0.32, 0.13, 0.07), (0.10, 0.10, 0.11), (0.15, 0.14, 0.14), (0.20, 0.12, 0.09))
GREY: Colour = (0.30, 0.30, 0.29)
HEDGE: Colour = (0.045, 0.095, 0.025)
HOUSE = Category.BUILDING


def house(lot: Lot, number: int, rng: np.random.Generator) -> Mesh:
    """What stands on a lot."""
    wall, roof = WALLS[int(rng.integers(len(WALLS)))], ROOFS[int(rng.integers(len(ROOFS)))]
    height = FLOOR * lot.floors + 0.5
    style = {"terrace": int(rng.integers(0, 3)), "houses": int(rng.integers(0, 2)), "blocks": 3 + int(rng.integers(0, 2))}[
        lot.style
    ]
    if lot.style == "terrace" and rng.random() < 0.3:
        style = 5  # a shop on the ground floor
    bay = lot.width / max(2, round(lot.width / rng.uniform(2.3, 3.2)))
    parts = [_walls(lot, height, wall, (bay, style + 8.0 * number))]
    flat = lot.style == "blocks"
    parts.append(_flat(lot, height, wall) if flat else _gable(lot, height, wall, roof, rng))
    if flat and rng.random() < 0.6:
        parts.append(_balconies(lot, bay, rng))
    if lot.style == "houses":
        parts.append(_hedge(lot, rng))
    return join(parts).moved(lot.x, lot.y, 0.0, lot.heading)


def _walls(lot: Lot, height: float, colour: Colour, detail: tuple[float, float]) -> Mesh:
    a, b = lot.width / 2, lot.depth / 2
    corners = [(-a, -b), (a, -b), (a, b), (-a, b)]
    sides, uv = [], []
    for i in range(4):
        (x0, y0), (x1, y1) = corners[i], corners[(i + 1) % 4]
        long = float(np.hypot(x1 - x0, y1 - y0))
        sides.append([(x0, y0, 0), (x1, y1, 0), (x1, y1, height), (x0, y0, height)])
        uv.append([(0, 0), (long, 0), (long, height), (0, height)])
    return quads(sides, Look(colour, Material.FACADE, HOUSE, detail), uv)


def _flat(lot: Lot, height: float, colour: Colour) -> Mesh:
    """A parapet and a hut for the lift."""
    trim = Look(GREY, Material.PLAIN, HOUSE)
    return join([
        box((lot.width + 0.2, lot.depth + 0.2, 0.5), (0, 0, height + 0.2), trim),
        box((3.2, 3.0, 2.4), (lot.width * 0.2, -lot.depth * 0.15, height + 1.5), Look(colour, Material.PLAIN, HOUSE)),
    ])  # fmt: skip


def _gable(lot: Lot, height: float, wall: Colour, colour: Colour, rng: np.random.Generator) -> Mesh:
    """A ridge along the street, or across it on some detached houses; gables in the colour of the walls; a chimney."""
    across = lot.style == "houses" and rng.random() < 0.45
    long, half = (lot.depth, lot.width / 2) if across else (lot.width, lot.depth / 2)
    rise = half * float(rng.uniform(0.6, 0.95))
    a, over = long / 2 + (EAVES if lot.style == "houses" else 0.0), EAVES * rise / half
    rim = half + EAVES
    slopes, uv = [], []
    deep = float(np.hypot(rim, rise + over))
    for side in (1, -1):
        slopes.append(
            [(-a, side * rim, height - over), (a, side * rim, height - over), (a, 0, height + rise), (-a, 0, height + rise)]
        )
        uv.append([(0, 0), (2 * a, 0), (2 * a, deep), (0, deep)])
    ends = [[(x, -half, height), (x, half, height), (x, 0, height + rise)] for x in (-long / 2, long / 2)]
    chimney = box((0.7, 0.7, 1.6), (0.28 * long, 0.15 * half, height + rise), Look(WALLS[2], Material.PLAIN, HOUSE))
    whole = join([
        quads(slopes, Look(colour, Material.ROOF, HOUSE), uv), soup(ends, Look(wall, Material.PLAIN, HOUSE)), chimney,
    ])  # fmt: skip
    return whole.moved(heading=np.pi / 2) if across else whole


def _balconies(lot: Lot, bay: float, rng: np.random.Generator) -> Mesh:
    """A slab and a parapet at every other bay of the front."""
    front, every = lot.depth / 2, int(rng.integers(2, 4))
    slab, rail = Look(GREY, Material.PLAIN, HOUSE), Look((0.55, 0.56, 0.55), Material.PLAIN, HOUSE)
    parts = []
    for k in range(1, round(lot.width / bay) - 1, every):
        x = (k + 0.5) * bay - lot.width / 2
        for floor in range(1, lot.floors):
            parts.append(box((bay * 0.92, 1.3, 0.14), (x, front + 0.65, FLOOR * floor + 0.1), slab))
            parts.append(box((bay * 0.92, 0.06, 0.95), (x, front + 1.28, FLOOR * floor + 0.62), rail))
    return join(parts)


def _hedge(lot: Lot, rng: np.random.Generator) -> Mesh:
    """Along the pavement, open where the path to the door is."""
    if rng.random() < 0.25:
        return join([])
    y, gate = lot.depth / 2 + lot.setback - 0.5, float(rng.uniform(-0.3, 0.3)) * lot.width
    tall = float(rng.uniform(0.7, 1.3))
    parts = [_leafy((-lot.width / 2 - 1, gate - 0.8), y, tall), _leafy((gate + 0.8, lot.width / 2 + 1), y, tall)]
    return join(parts)


def _leafy(span: tuple[float, float], y: ArrayLike, tall: float) -> Mesh:
    low, high = span
    return box((max(high - low, 0.3), 0.7, tall), ((low + high) / 2, float(np.asarray(y)), tall / 2),
               Look(HEDGE, Material.FOLIAGE, Category.VEGETATION))  # fmt: skip
