"""Bodies of agents, each within its own box: x in +-length/2, y in +-width/2, z in 0..height.

What a vehicle is follows from its size (car, van, bus, truck), its variant and colour from its id and the seed.
"""

from __future__ import annotations

import zlib

import numpy as np
from wetoolkit_driving.types import AgentClass

from wetoolkit_minitown.sensors.codes import Category, Material
from wetoolkit_minitown.sensors.mesh import Look, Mesh, box, cylinder, join
from wetoolkit_minitown.sensors.people import cyclist, pedestrian
from wetoolkit_minitown.sensors.vehicles import vehicle

DARK, METAL = (0.015, 0.015, 0.017), (0.45, 0.45, 0.45)


def body(kind: int, size: tuple[float, float, float], name: str, seed: int) -> Mesh:
    """The mesh of an agent of this class, size [m] and id."""
    rng = np.random.default_rng((seed, zlib.crc32(name.encode())))
    makers = {
        AgentClass.VEHICLE: vehicle, AgentClass.PEDESTRIAN: pedestrian, AgentClass.BICYCLE: cyclist,
        AgentClass.TRAFFIC_CONE: _cone, AgentClass.BARRIER: _barrier, AgentClass.CZONE_SIGN: _sign,
    }  # fmt: skip
    length, width, height = (float(metres) for metres in size)
    return makers.get(AgentClass(kind), _crate)(length, width, height, rng)


def _cone(length: float, width: float, height: float, rng: np.random.Generator) -> Mesh:
    who, wide = Category.TRAFFIC_CONE, min(length, width)
    bands = Look((0.75, 0.16, 0.02), Material.STRIPES, who, (height / 4, 0.0))
    foot = box((length, width, 0.04), (0, 0, 0.02), Look(DARK, Material.PLAIN, who))
    return join([foot, cylinder(0.36 * wide, ((0, 0, 0.04), (0, 0, height)), bands, 12, 0.06 * wide)])


def _barrier(length: float, width: float, height: float, rng: np.random.Generator) -> Mesh:
    """Two striped boards on feet, along the longer side."""
    who, along = Category.BARRIER, width >= length
    dark, metal = Look(DARK, Material.PLAIN, who), Look(METAL, Material.PLAIN, who)
    bands = Look((0.72, 0.05, 0.04), Material.STRIPES, who, (0.25, 1.0))
    span, deep = (width, length) if along else (length, width)
    parts = [box((0.05, span, 0.26 * height), (0, 0, z * height), bands) for z in (0.45, 0.85)]
    for y in (-0.42 * span, 0.42 * span):
        parts.append(box((deep, 0.12, 0.08), (0, y, 0.04), dark))
        parts.append(box((0.06, 0.06, height), (0, y, height / 2), metal))
    return join(parts) if along else join(parts).moved(heading=np.pi / 2)


def _sign(length: float, width: float, height: float, rng: np.random.Generator) -> Mesh:
    """A striped board on a post, facing both ways."""
    who = Category.CZONE_SIGN
    bands = Look((0.75, 0.22, 0.02), Material.STRIPES, who, (0.16, 1.0))
    return join([
        box((length, width, 0.06), (0, 0, 0.03), Look(DARK, Material.PLAIN, who)),
        cylinder(0.03, ((0, 0, 0), (0, 0, height)), Look(METAL, Material.PLAIN, who)),
        box((0.04, min(width, 0.9), 0.5 * height), (0, 0, 0.74 * height), bands),
    ])  # fmt: skip


def _crate(length: float, width: float, height: float, rng: np.random.Generator) -> Mesh:
    """Whatever it is: a box."""
    colour = (0.30, 0.19, 0.10) if rng.random() < 0.5 else (0.10, 0.18, 0.12)
    return box((length, width, height), (0, 0, height / 2), Look(colour, Material.PLAIN, Category.GENERIC_OBJECT))
