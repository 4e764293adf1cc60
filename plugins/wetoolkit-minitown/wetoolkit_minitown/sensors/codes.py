"""What a pixel shows, and how a surface looks."""

from __future__ import annotations

from enum import IntEnum


class Category(IntEnum):
    """What stands in a category image. The first seven are ``AgentClass``."""

    VEHICLE = 0
    PEDESTRIAN = 1
    BICYCLE = 2
    TRAFFIC_CONE = 3
    BARRIER = 4
    CZONE_SIGN = 5
    GENERIC_OBJECT = 6
    ROAD = 10
    MARKING = 11
    PAVEMENT = 12
    TERRAIN = 13  # grass, front gardens, yards
    BUILDING = 14
    VEGETATION = 15
    POLE = 16  # poles, traffic lights, signs
    SKY = 20


class Material(IntEnum):
    """Which shader a triangle has (``shading.surfaces``). ``detail`` are two numbers of the shader's own."""

    GROUND = 0  # the plane z = 0: colour from the raster
    PLAIN = 1  # mild noise
    PAINT = 2  # lacquer that mirrors the sky
    GLASS = 3
    LAMP = 4  # shines by itself: colour above 1
    FACADE = 5  # windows and doors; detail: metres a bay, style + 8 x house number
    ROOF = 6
    FOLIAGE = 7
    STRIPES = 8  # red and white bands over v; detail: metres a band, slant
    SIGNAL = 9  # a traffic light's lamp; detail: row of World.signals, the Signal that it shows
    SIGN = 10  # a round sign with a red rim over u, v in [-1, 1]


class Surface(IntEnum):
    """Surfaces of the ground. The raster's cells hold these, or a mixture: ``MIXED`` + 16 k + n is n + 1 sixteenths of white
    (k = 0) or yellow paint (k = 1) on asphalt, so that markings have smooth edges."""

    GRASS = 0
    YARD = 1
    STRIP = 2  # parking strips and cycle tracks between road and pavement
    ASPHALT = 3
    CARPARK = 4
    PAVEMENT = 5
    WHITE = 6
    YELLOW = 7
    GUTTER = 8
    KERB = 9


MIXED, LEVELS = 16, 16
