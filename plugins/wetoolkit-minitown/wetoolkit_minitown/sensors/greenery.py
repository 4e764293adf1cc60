"""Trees along streets, in parks and behind houses, and hills at the horizon."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray

from wetoolkit_minitown.sensors.codes import Category, Material
from wetoolkit_minitown.sensors.lots import Plan, clear
from wetoolkit_minitown.sensors.mesh import Colour, Look, Mesh, blob, cylinder, join, quads, soup

Double = NDArray[np.float64]

LEAVES: tuple[Colour, ...] = ((0.060, 0.115, 0.025), (0.075, 0.125, 0.028), (0.045, 0.095, 0.030), (0.095, 0.120, 0.030))
BARK: Colour = (0.085, 0.062, 0.045)
HILL: Colour = (0.075, 0.105, 0.055)
FINE, KINDS = 6, 12  # trees drawn, the fine ones for streets; every tree is one of them, turned and scaled
SPARSE = 800.0  # square metres a tree behind the houses
RIM, FAR = 45.0, 900.0  # metres: width of the belt of trees around the map, radius of the hills


@lru_cache(maxsize=1)
def saplings() -> tuple[Mesh, ...]:
    """The kinds of tree, each 1 m high: a trunk, and crowns of rough balls."""
    return tuple(_tree(np.random.default_rng((7, kind)), kind % 4 == 3, 1 + (kind < FINE)) for kind in range(KINDS))


def _tree(rng: np.random.Generator, slender: bool, finer: int) -> Mesh:
    leaf = Look(LEAVES[int(rng.integers(len(LEAVES)))], Material.FOLIAGE, Category.VEGETATION)
    bark = Look(BARK, Material.PLAIN, Category.VEGETATION)
    bare, wide = float(rng.uniform(0.24, 0.32)), 0.16 if slender else 0.26
    parts = [cylinder(0.020, ((0, 0, 0), (0.01, 0, bare + 0.2)), bark, 7, 0.012)]
    balls = [((wide, wide, (1 - bare) / 2), (0.0, 0.0, (1 + bare) / 2), leaf, 0.12, finer)]
    for _ in range(2 if slender or finer == 1 else 5):
        angle, out = rng.uniform(0, 2 * np.pi), wide * rng.uniform(0.45, 0.8)
        size, z = wide * rng.uniform(0.45, 0.7), rng.uniform(bare + 0.12, 0.82)
        tint = replace(leaf, colour=tuple(float(v) for v in np.asarray(leaf.colour) * rng.uniform(0.85, 1.2)))
        balls.append(((size, size, size * 0.9), (out * np.cos(angle), out * np.sin(angle), z), tint, 0.16, 1))
    for radii, centre, look, rough, split in balls:
        parts.append(blob(np.asarray(radii) * 0.94, centre, look, rng, rough, split))
        parts.append(_sprays(radii, centre, look, rng, 160 if split > 1 else 40 if finer > 1 else 16))
    return join(parts)


def _sprays(radii: ArrayLike, centre: ArrayLike, look: Look, rng: np.random.Generator, count: int) -> Mesh:
    """Loose triangles about a ball's surface, so that its outline is ragged."""
    out = rng.normal(size=(count, 1, 3))
    out /= np.linalg.norm(out, axis=2, keepdims=True)
    size = np.mean(np.asarray(radii)) * rng.uniform(0.06, 0.15, (count, 1, 1))
    corners = out * rng.uniform(0.90, 1.05, (count, 1, 1)) * np.asarray(radii) + size * rng.normal(0, 0.8, (count, 3, 3))
    return soup(corners + np.asarray(centre), look)


def tree(x: float, y: float, height: float, kind: int, turn: float) -> Mesh:
    """A tree of this kind and height [m]."""
    grown = saplings()[kind % KINDS]
    return replace(grown, corners=grown.corners * np.float32(height)).moved(x, y, 0.0, turn)


def trees(plan: Plan, paved: shapely.Geometry, low: Double, high: Double, rng: np.random.Generator) -> Mesh:
    """All trees of a map between two corners [2]."""
    street = list(_street(plan, rng))
    spots = np.array([*street, *_behind(low, high, rng), *_belt(low, high, rng)])
    free = clear(spots[:, :2], paved, plan.lots, 1.0)
    kinds = np.where(np.arange(len(spots)) < len(street), rng.integers(0, FINE, len(spots)), rng.integers(FINE, KINDS, len(spots)))
    turns = rng.uniform(0, 2 * np.pi, len(spots))
    return join([tree(*spots[k].tolist(), int(kinds[k]), float(turns[k])) for k in np.flatnonzero(free)])


def _street(plan: Plan, rng: np.random.Generator) -> Iterator[tuple[float, float, float]]:
    """x, y, height of trees beside the pavement, and of the many in a park."""
    for verge, style in plan.verges:
        if style == "terrace":
            continue
        for station in range(int(rng.integers(2, 8)), len(verge.line), int(rng.integers(9, 15))):
            yield (*verge.point(station, 1.3), float(rng.uniform(5.5, 9.5)))
        if style == "park":
            for station in range(0, len(verge.line), 3):
                yield (*verge.point(station, float(rng.uniform(4, 40))), float(rng.uniform(6, 13)))


def _behind(low: Double, high: Double, rng: np.random.Generator) -> Iterator[tuple[float, float, float]]:
    for x, y in rng.uniform(low, high, (int(np.prod(high - low) / SPARSE), 2)).tolist():
        yield x, y, float(rng.uniform(5, 12))


def _belt(low: Double, high: Double, rng: np.random.Generator) -> Iterator[tuple[float, float, float]]:
    """Around everything, so that the view does not end at a bare edge."""
    count = int(2 * float((high - low).sum()) / 8.0)
    around, out = rng.random((count, 2)), rng.uniform(2, RIM, count)
    sides = rng.integers(0, 4, count)
    for (along, _), far, side in zip(around, out, sides, strict=True):
        x, y = low + along * (high - low)
        yield (
            (float(x), float(low[1] - far)), (float(x), float(high[1] + far)),
            (float(low[0] - far), float(y)), (float(high[0] + far), float(y)),
        )[side] + (float(rng.uniform(7, 14)),)  # fmt: skip


def hills(centre: Double, rng: np.random.Generator) -> Mesh:
    """A ring of slopes far away."""
    angle = np.linspace(0, 2 * np.pi, 121)
    tall = 22 + sum(rng.uniform(4, 9) * np.sin(k * angle + rng.uniform(0, 6.28)) for k in (2, 3, 5, 9))
    foot = np.column_stack([centre[0] + FAR * np.cos(angle), centre[1] + FAR * np.sin(angle), np.full(121, -1.0)])
    top = foot + np.column_stack([0.05 * FAR * np.cos(angle), 0.05 * FAR * np.sin(angle), tall])
    return quads(np.stack([foot[:-1], foot[1:], top[1:], top[:-1]], 1), Look(HILL, Material.PLAIN, Category.TERRAIN))
