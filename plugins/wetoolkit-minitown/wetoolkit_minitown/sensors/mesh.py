"""Triangles with what their shaders need, and the solids that everything is put together from.

A ``Mesh`` is a soup: no vertex is shared, so parts are joined by concatenation. Metres, z up, x forward. Which way a triangle winds
does not matter: shading turns normals towards the viewer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wetoolkit_minitown.sensors.codes import Category, Material

Float = NDArray[np.float32]
Double = NDArray[np.float64]
Byte = NDArray[np.uint8]
Colour = tuple[float, float, float]  # linear albedo in [0, 1]
Point = tuple[float, float, float]


@dataclass(frozen=True)
class Look:
    """What a surface is and how it looks."""

    colour: Colour
    material: Material
    category: Category
    detail: tuple[float, float] = (0.0, 0.0)  # the shader's own numbers, see Material


@dataclass(frozen=True)
class Mesh:
    """N triangles."""

    corners: Float  # [N, 3, 3] metres
    uv: Float  # [N, 3, 2] metres on the surface, or what the shader takes
    colour: Float  # [N, 3] linear albedo
    detail: Float  # [N, 2] the shader's own numbers
    material: Byte  # [N] Material
    category: Byte  # [N] Category
    swing: Float  # [N, 4] limbs: amplitude [rad], phase [rad], hinge x and z [m]

    def __len__(self) -> int:
        return len(self.corners)

    def moved(self, x: float = 0.0, y: float = 0.0, z: float = 0.0, heading: float = 0.0) -> Mesh:
        """Turned about z, then shifted."""
        c, s = np.cos(heading), np.sin(heading)
        turn = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
        return replace(self, corners=(self.corners @ turn + (x, y, z)).astype(np.float32))

    def hinged(self, amplitude: float, phase: float, x: float, z: float) -> Mesh:
        """The same as a limb that swings about the lateral axis through (x, z)."""
        return replace(self, swing=np.tile(np.array([amplitude, phase, x, z], np.float32), (len(self), 1)))

    def posed(self, phase: float, amount: float) -> Mesh:
        """Limbs swung to ``phase`` [rad] of a cycle, ``amount`` of their amplitude (1: full stride, 0: at rest)."""
        angle = amount * self.swing[:, 0] * np.sin(phase + self.swing[:, 1])
        c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
        x, z = self.corners[..., 0] - self.swing[:, 2:3], self.corners[..., 2] - self.swing[:, 3:4]
        turned = np.stack([c * x + s * z + self.swing[:, 2:3], self.corners[..., 1], c * z - s * x + self.swing[:, 3:4]], -1)
        return replace(self, corners=np.where(self.swing[:, :1, None] != 0, turned, self.corners).astype(np.float32))

    def above(self, z: float) -> Mesh:
        """What reaches below ``z`` pressed up to it."""
        return replace(self, corners=np.maximum(self.corners, np.array([-np.inf, -np.inf, z], np.float32)))


def join(parts: Sequence[Mesh]) -> Mesh:
    """All parts as one."""
    solid = [part for part in parts if len(part)]
    return Mesh(*(np.concatenate([getattr(part, field.name) for part in solid]) for field in fields(Mesh))) if solid else empty()


def empty() -> Mesh:
    """No triangle."""
    return soup(np.zeros((0, 3, 3)), Look((0.0, 0.0, 0.0), Material.PLAIN, Category.POLE))


def soup(corners: ArrayLike, look: Look, uv: ArrayLike | None = None) -> Mesh:
    """Triangles [N, 3, 3] of one look; without ``uv`` the shader gets (x + y, z), metres in the object's frame."""
    points = np.asarray(corners, np.float32).reshape(-1, 3, 3)
    n = len(points)
    flat = np.stack([points[..., 0] + points[..., 1], points[..., 2]], -1) if uv is None else np.asarray(uv, np.float32)
    return Mesh(
        points,
        flat.reshape(n, 3, 2).astype(np.float32),
        np.tile(np.asarray(look.colour, np.float32), (n, 1)),
        np.tile(np.asarray(look.detail, np.float32), (n, 1)),
        np.full(n, look.material, np.uint8),
        np.full(n, look.category, np.uint8),
        np.zeros((n, 4), np.float32),
    )


def quads(corners: ArrayLike, look: Look, uv: ArrayLike | None = None) -> Mesh:
    """Quadrilaterals [N, 4, 3], their corners in turn; uv [N, 4, 2]."""
    split = [0, 1, 2, 0, 2, 3]
    points = np.asarray(corners, float).reshape(-1, 4, 3)[:, split]
    return soup(points, look, None if uv is None else np.asarray(uv, float).reshape(-1, 4, 2)[:, split])


def box(size: Point, centre: Point, look: Look) -> Mesh:
    """A cuboid."""
    a = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * 0.5
    low, high = np.column_stack([a, np.full(4, -0.5)]), np.column_stack([a, np.full(4, 0.5)])
    sides = [np.array([low[i], low[(i + 1) % 4], high[(i + 1) % 4], high[i]]) for i in range(4)]
    return quads(np.array([*sides, high, low[::-1]]) * size + centre, look)


def cylinder(radius: float, ends: tuple[ArrayLike, ArrayLike], look: Look, sides: int = 6, top: float | None = None) -> Mesh:
    """A closed cylinder between two points, or a cone's frustum where ``top`` is another radius."""
    a, b = (np.asarray(end, float) for end in ends)
    axis = (b - a) / np.linalg.norm(b - a)
    side = np.cross(axis, (0.0, 1.0, 0.0) if abs(axis[1]) < 0.9 else (1.0, 0.0, 0.0))
    side /= np.linalg.norm(side)
    angle = np.arange(sides) * 2 * np.pi / sides
    ring = np.cos(angle)[:, None] * side + np.sin(angle)[:, None] * np.cross(axis, side)
    low, high = a + radius * ring, b + (radius if top is None else top) * ring
    after = np.roll(np.arange(sides), -1)
    lids = [soup(np.stack([rim, rim[after], np.broadcast_to(end, rim.shape)], 1), look) for rim, end in ((high, b), (low, a))]
    return join([quads(np.stack([low, low[after], high[after], high], 1), look), *lids])


def disc(radius: float, centre: ArrayLike, look: Look, sides: int = 12) -> Mesh:
    """A flat round plate in the x-z plane."""
    angle = np.arange(sides) * 2 * np.pi / sides
    ring = np.asarray(centre, float) + radius * np.column_stack([np.cos(angle), np.zeros(sides), np.sin(angle)])
    return soup(np.stack([ring, np.roll(ring, -1, 0), np.broadcast_to(np.asarray(centre, float), ring.shape)], 1), look)


def blob(radii: ArrayLike, centre: ArrayLike, look: Look, rng: np.random.Generator, rough: float = 0.0, finer: int = 1) -> Mesh:
    """An icosphere of 20 x 4^finer triangles, its vertices pushed in and out by up to ``rough`` of the radius."""
    points, faces = icosphere(finer)
    push = 1 + rough * rng.uniform(-1, 1, len(points))[:, None]
    return soup((points * push * np.asarray(radii, float) + np.asarray(centre, float))[faces], look)


def icosphere(finer: int) -> tuple[Double, NDArray[np.int64]]:
    """Vertices [V, 3] of length 1 and faces [20 x 4^finer, 3] of an icosahedron whose faces were split ``finer`` times."""
    g = (1 + 5**0.5) / 2
    points = np.array([(-1, g, 0), (1, g, 0), (-1, -g, 0), (1, -g, 0), (0, -1, g), (0, 1, g), (0, -1, -g), (0, 1, -g),
                       (g, 0, -1), (g, 0, 1), (-g, 0, -1), (-g, 0, 1)], float)  # fmt: skip
    faces = np.array([(0, 11, 5), (0, 5, 1), (0, 1, 7), (0, 7, 10), (0, 10, 11), (1, 5, 9), (5, 11, 4), (11, 10, 2), (10, 7, 6),
                      (7, 1, 8), (3, 9, 4), (3, 4, 2), (3, 2, 6), (3, 6, 8), (3, 8, 9), (4, 9, 5), (2, 4, 11), (6, 2, 10),
                      (8, 6, 7), (9, 8, 1)])  # fmt: skip
    for _ in range(finer):
        edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
        unique, which = np.unique(edges, axis=0, return_inverse=True)
        a, b, c = which.reshape(3, -1) + len(points)
        points = np.concatenate([points, points[unique].mean(1)])
        u, v, w = faces.T
        faces = np.concatenate([np.column_stack(f) for f in ((u, a, c), (v, b, a), (w, c, b), (a, b, c))])
    return points / np.linalg.norm(points, axis=1, keepdims=True), faces
