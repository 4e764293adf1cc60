"""Bodies of pedestrians and cyclists, within their boxes; their limbs swing (``Mesh.posed``)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from wetoolkit_minitown.sensors.codes import Category, Material
from wetoolkit_minitown.sensors.mesh import Colour, Look, Mesh, Point, blob, box, cylinder, join, quads
from wetoolkit_minitown.sensors.vehicles import PAINTS

CLOTHES: tuple[Colour, ...] = (
    (0.45, 0.05, 0.05), (0.05, 0.12, 0.35), (0.55, 0.52, 0.48), (0.03, 0.03, 0.035), (0.08, 0.25, 0.12), (0.55, 0.35, 0.05),
    (0.30, 0.10, 0.28), (0.10, 0.35, 0.42),
)  # fmt: skip
TROUSERS: tuple[Colour, ...] = ((0.03, 0.04, 0.09), (0.025, 0.025, 0.03), (0.20, 0.16, 0.11), (0.10, 0.10, 0.11))
SKINS: tuple[Colour, ...] = ((0.62, 0.40, 0.28), (0.45, 0.26, 0.16), (0.22, 0.11, 0.06), (0.70, 0.48, 0.36))
HAIR, DARK, RIM = (0.05, 0.03, 0.02), (0.015, 0.015, 0.017), (0.38, 0.38, 0.40)


def _dress(rng: np.random.Generator, who: Category) -> tuple[Look, Look, Look]:
    """Coat, trousers, skin."""
    coat, legs, skin = (
        Look(options[int(rng.integers(len(options)))], Material.PLAIN, who) for options in (CLOTHES, TROUSERS, SKINS)
    )
    return coat, legs, skin


def _off(point: ArrayLike, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Point:
    """A point moved by so many metres."""
    a, b, c = np.asarray(point, float).tolist()
    return a + x, b + y, c + z


def pedestrian(length: float, width: float, height: float, rng: np.random.Generator) -> Mesh:
    """Head, trunk, two legs and two arms; limbs swing as far as the box lets them."""
    who = Category.PEDESTRIAN
    coat, legs, skin = _dress(rng, who)
    hair, shoes = Look(HAIR, Material.PLAIN, who), Look(DARK, Material.PLAIN, who)
    hip, shoulder, head = 0.50 * height, 0.82 * height, 0.065 * height
    deep, broad = min(0.24, 0.5 * length), min(0.40, 0.66 * width)
    stride = float(np.arcsin(np.clip((length / 2 - deep / 2 + 0.02) / hip, 0.0, 0.5)))
    parts = [
        blob((head, head * 0.92, head * 1.22), (0.01, 0, height - head * 1.22), skin, rng),
        blob((head * 1.04, head * 1.04, head * 0.8), (-0.02, 0, height - head * 0.82), hair, rng),
        cylinder(0.66 * head, ((0, 0, shoulder), (0, 0, height - 1.7 * head)), skin),
        _torso(deep, broad, hip, shoulder, coat),
    ]
    for side, phase in ((1.0, 0.0), (-1.0, np.pi)):
        y, wrist = side * broad * 0.24, (0.0, side * broad * 0.58, hip - 0.05)
        leg = cylinder(0.055, ((0, y, 0.06), (0, y, hip + 0.02)), legs, 7, 0.085)
        shoe = box((min(0.26, deep + 0.04), 0.1, 0.08), (0.02, y, 0.04), shoes)
        arm = cylinder(0.04, (wrist, (0, side * broad * 0.52, shoulder - 0.02)), coat, 6, 0.055)
        hand = blob((0.045, 0.04, 0.06), _off(wrist, z=-0.05), skin, rng, finer=0)
        parts.append(join([leg, shoe]).hinged(stride, phase, 0, hip))
        parts.append(join([arm, hand]).hinged(stride * 0.8, phase + np.pi, 0, shoulder))
    return join(parts)


def _torso(deep: float, broad: float, low: float, high: float, look: Look) -> Mesh:
    """An eight-sided trunk, broader at the shoulders."""
    angle = (np.arange(8) + 0.5) * np.pi / 4
    ring = np.column_stack([np.cos(angle) * deep / 2, np.sin(angle) * broad / 2])
    levels = ((low - 0.06, 0.84), (low + 0.1, 0.86), (high - 0.08, 1.06), (high + 0.02, 0.62))
    rows = np.array([np.column_stack([ring * scale, np.full(8, z)]) for z, scale in levels])
    after = np.roll(np.arange(8), -1)
    walls = [np.stack([rows[i], rows[i][after], rows[i + 1][after], rows[i + 1]], 1) for i in range(3)]
    lids = [np.stack([row[:4], row[[7, 6, 5, 4]]]) for row in (rows[0], rows[-1])]
    caps = np.array([[lid[0, i], lid[0, i + 1], lid[1, i + 1], lid[1, i]] for lid in lids for i in range(3)])
    return quads(np.concatenate([*walls, caps]), look)


def cyclist(length: float, width: float, height: float, rng: np.random.Generator) -> Mesh:
    """A bicycle with a rider who bends forward and pedals."""
    who, r, grip = Category.BICYCLE, min(0.34, 0.19 * length), 0.42 * width
    coat, legs, skin = _dress(rng, who)
    frame, dark = Look(PAINTS[int(rng.integers(len(PAINTS)))], Material.PAINT, who), Look(DARK, Material.PLAIN, who)
    helmet = Look(CLOTHES[int(rng.integers(len(CLOTHES)))], Material.PLAIN, who)
    back, front = (r - length / 2, 0.0, r), (length / 2 - r, 0.0, r)
    crank, seat, bar = (-0.05 * length, 0.0, r * 0.85), (-0.16 * length, 0.0, 0.53 * height), (0.23 * length, 0.0, 0.58 * height)
    shoulder, head = (0.10 * length, 0.0, 0.80 * height), min(0.115, 0.07 * height)
    tubes = ((back, crank), (back, seat), (crank, seat), (crank, bar), (seat, bar), (bar, front))
    parts = [
        *(cylinder(0.022, tube, frame, 5) for tube in tubes),
        *(_tyre(r, np.array(hub), who) for hub in (back, front)),
        cylinder(0.018, (_off(bar, y=-grip), _off(bar, y=grip)), dark, 5),
        cylinder(0.15, (_off(seat, z=0.03), shoulder), coat, 8, 0.17),
        blob((head, head * 0.85, head * 1.2), (0.17 * length, 0, height - 1.2 * head), skin, rng),
        blob((head * 1.15, head, head * 0.8), (0.16 * length, 0, height - 0.8 * head), helmet, rng),
    ]
    for side, phase in ((1.0, 0.0), (-1.0, np.pi)):
        parts.append(
            cylinder(0.04, (_off(bar, y=side * grip * 0.9, z=0.02), _off(shoulder, y=side * 0.17, z=-0.05)), coat, 6, 0.055)
        )
        foot, knee = _off(crank, 0.05, side * 0.11, -0.02), (0.10 * length, side * 0.10, 0.50 * height)
        shin, thigh = cylinder(0.055, (foot, knee), legs), cylinder(0.065, (knee, _off(seat, y=side * 0.09)), legs)
        parts.append(
            join([shin, thigh, box((0.24, 0.09, 0.07), _off(foot, 0.04, z=-0.03), dark)]).hinged(0.22, phase, seat[0], seat[2])
        )
    return join(parts)


def _tyre(radius: float, hub: ArrayLike, who: Category) -> Mesh:
    """A ring of 16 flat pieces and four spokes."""
    centre = np.asarray(hub, float)
    angle = np.arange(17) * np.pi / 8
    ring = np.column_stack([np.cos(angle), np.zeros(17), np.sin(angle)])
    outer, inner = centre + radius * ring, centre + 0.86 * radius * ring
    wide = np.array([0, 0.018, 0])
    rows = [outer - wide, outer + wide, inner + wide, inner - wide]
    faces = [np.stack([a[:-1], a[1:], b[1:], b[:-1]], 1) for a, b in zip(rows, rows[1:] + rows[:1], strict=True)]
    metal = Look(RIM, Material.PLAIN, who)
    spokes = [cylinder(0.008, (inner[i], inner[i + 8]), metal, 3) for i in (0, 2, 4, 6)]
    return join([quads(np.concatenate(faces), Look(DARK, Material.PLAIN, who)), *spokes])
