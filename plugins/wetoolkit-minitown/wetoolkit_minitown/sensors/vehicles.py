"""Bodies of motor vehicles, lofted over cross-sections within their boxes; what one is follows from its size."""

from __future__ import annotations

import numpy as np

from wetoolkit_minitown.sensors.codes import Category, Material
from wetoolkit_minitown.sensors.mesh import Colour, Double, Look, Mesh, box, cylinder, disc, join, quads

PAINTS: tuple[Colour, ...] = (
    (0.72, 0.72, 0.70), (0.72, 0.72, 0.70), (0.42, 0.43, 0.45), (0.42, 0.43, 0.45), (0.12, 0.125, 0.135), (0.02, 0.02, 0.024),
    (0.02, 0.02, 0.024), (0.03, 0.09, 0.30), (0.10, 0.22, 0.42), (0.42, 0.025, 0.025), (0.04, 0.13, 0.09), (0.42, 0.33, 0.22),
    (0.55, 0.26, 0.02),
)  # fmt: skip
CAR = Category.VEHICLE
DARK = Look((0.015, 0.015, 0.017), Material.PLAIN, CAR)
RIM = Look((0.38, 0.38, 0.40), Material.PLAIN, CAR)
GLASS = Look((0.015, 0.015, 0.017), Material.GLASS, CAR)
LENS = Look((0.75, 0.78, 0.8), Material.GLASS, CAR)
HEADLAMP = Look((1.1, 1.08, 1.0), Material.LAMP, CAR)
TAIL_LAMP = Look((0.62, 0.012, 0.012), Material.LAMP, CAR)
WHITE_PLATE, YELLOW_PLATE = Look((0.7, 0.7, 0.66), Material.PLAIN, CAR), Look((0.7, 0.62, 0.2), Material.PLAIN, CAR)
CARGO = Look((0.66, 0.66, 0.64), Material.PLAIN, CAR)
SILL = 0.12  # metres above the ground below which only wheels reach

# Stations of a hull from the rear to the front: x [lengths], top [heights], and whether glass lies on top and at the sides
# between a station and the next.
HULLS: dict[str, tuple[tuple[float, float, bool, bool], ...]] = {
    "sedan": ((-0.5, 0.46, 0, 0), (-0.485, 0.60, 0, 0), (-0.36, 0.655, 1, 0), (-0.22, 0.955, 0, 1), (-0.04, 1.0, 0, 0),
              (-0.02, 1.0, 0, 1), (0.09, 0.965, 1, 0), (0.235, 0.645, 0, 0), (0.43, 0.54, 0, 0), (0.485, 0.47, 0, 0),
              (0.5, 0.36, 0, 0)),
    "hatch": ((-0.5, 0.44, 0, 0), (-0.485, 0.62, 1, 0), (-0.40, 0.93, 0, 1), (-0.24, 0.99, 0, 0), (-0.22, 0.99, 0, 1),
              (-0.04, 1.0, 0, 0), (-0.02, 1.0, 0, 1), (0.10, 0.96, 1, 0), (0.25, 0.64, 0, 0), (0.44, 0.55, 0, 0),
              (0.485, 0.48, 0, 0), (0.5, 0.36, 0, 0)),
    "suv": ((-0.5, 0.44, 0, 0), (-0.49, 0.62, 1, 0), (-0.44, 0.94, 0, 1), (-0.27, 1.0, 0, 0), (-0.25, 1.0, 0, 1),
            (-0.05, 1.0, 0, 0), (-0.03, 1.0, 0, 1), (0.12, 0.96, 1, 0), (0.24, 0.66, 0, 0), (0.44, 0.60, 0, 0),
            (0.49, 0.52, 0, 0), (0.5, 0.38, 0, 0)),
    "van": ((-0.5, 0.97, 0, 0), (-0.49, 1.0, 0, 0), (0.12, 1.0, 0, 0), (0.16, 1.0, 0, 1), (0.27, 0.97, 1, 0), (0.40, 0.56, 0, 0),
            (0.47, 0.47, 0, 0), (0.5, 0.32, 0, 0)),
    "bus": ((-0.5, 0.97, 0, 0), (-0.495, 1.0, 0, 1), (-0.34, 1.0, 0, 0), (-0.33, 1.0, 0, 1), (-0.17, 1.0, 0, 0), (-0.16, 1.0, 0, 1),
            (0.0, 1.0, 0, 0), (0.01, 1.0, 0, 1), (0.17, 1.0, 0, 0), (0.18, 1.0, 0, 1), (0.34, 1.0, 0, 0), (0.35, 1.0, 0, 1),
            (0.485, 1.0, 0, 0), (0.495, 0.93, 1, 0), (0.5, 0.40, 0, 0)),
}  # fmt: skip
BELT = {"sedan": 0.61, "hatch": 0.60, "suv": 0.62, "van": 0.54, "bus": 0.45}  # lower edge of the side windows, heights
TUCK = {"sedan": 0.80, "hatch": 0.82, "suv": 0.87, "van": 0.94, "bus": 0.97}  # width of the roof, widths


def vehicle(length: float, width: float, height: float, rng: np.random.Generator) -> Mesh:
    """A car, van, bus or truck of this size [m]."""
    paint = PAINTS[int(rng.integers(len(PAINTS)))]
    draw = rng.random()
    if length > 7.0 or height > 2.9:
        return _truck(length, width, height, paint) if draw < 0.35 else _hull("bus", length, width, height, paint, 0.5)
    if height > 1.95:
        return _hull("van", length, width, height, PAINTS[0] if draw < 0.6 else paint, 0.36)
    style = "suv" if height > 1.62 or draw < 0.25 else ("sedan" if length > 4.3 and draw < 0.7 else "hatch")
    return _hull(style, length, width, height, paint, 0.33)


def _hull(style: str, length: float, width: float, height: float, paint: Colour, wheel: float) -> Mesh:
    """A body lofted over cross-sections: a sill, a waist, a belt and a narrower roof; wheels, lamps, plates."""
    points = _sections(style, length, width, height)
    lacquer = Look(paint, Material.PAINT, CAR)
    left, right = points, points * (1, -1, 1)
    parts = []
    for i, (_, _, top_glass, side_glass) in enumerate(HULLS[style][:-1]):
        for p in (left, right):
            for j in range(4):
                glass = (side_glass and j == 2) or (top_glass and j in (2, 3))
                parts.append(quads([p[i, j], p[i + 1, j], p[i + 1, j + 1], p[i, j + 1]], GLASS if glass else lacquer))
        parts.append(quads([left[i, 4], left[i + 1, 4], right[i + 1, 4], right[i, 4]], GLASS if top_glass else lacquer))
        parts.append(quads([left[i, 0], right[i, 0], right[i + 1, 0], left[i + 1, 0]], DARK))
    for i in (0, -1):
        parts.extend(quads([left[i, j], left[i, j + 1], right[i, j + 1], right[i, j]], lacquer) for j in range(4))
    return join([*parts, *_wheels(length, width, wheel), *_lamps(style, length, width, height)])


def _sections(style: str, length: float, width: float, height: float) -> Double:
    """[S, 5, 3] of the left side: sill, waist, belt, edge of the roof, roof at each station."""
    stations = np.array([row[:2] for row in HULLS[style]]) * (length, height)
    half, belt, low = width / 2 - 0.025, BELT[style] * height, min(0.17 * height, 0.34)
    narrow = 1 - 0.13 * np.clip((np.abs(stations[:, 0]) / length - 0.40) / 0.1, 0, 1) ** 2  # corners rounded, seen from above
    rows = []
    for (x, top), end in zip(stations, narrow, strict=True):
        roof, waist = 1 - (1 - TUCK[style]) * np.clip((top - belt) / (height - belt), 0, 1), min(belt, top)
        wide = ((0.93, low), (1.0, 0.5 * (low + waist)), (0.985, waist), (roof * 0.985, top - 0.012), (roof * 0.9, top))
        rows.append([(x, half * end * k, z) for k, z in wide])
    return np.array(rows)


def _wheels(length: float, width: float, radius: float) -> list[Mesh]:
    parts = []
    for x in (-0.29 * length, 0.315 * length):
        for side in (1.0, -1.0):
            y = side * (width / 2 - 0.012)
            parts.append(disc(radius * 1.17, (x, side * (width / 2 - 0.022), radius * 1.02), DARK).above(SILL))  # the arch
            parts.append(cylinder(radius, ((x, y - side * 0.2, radius), (x, y, radius)), DARK, 14))
            parts.append(disc(radius * 0.62, (x, y + side * 0.008, radius), RIM))
    return parts


def _lamps(style: str, length: float, width: float, height: float) -> list[Mesh]:
    front, rear = (0.40, 0.52) if style not in ("van", "bus") else (0.26, 0.36)
    wide, nose = 0.36 * width, length / 2
    tall = 0.10 if style == "bus" else 0.13 if style != "van" else 0.3
    parts = []
    for side in (1.0, -1.0):
        parts.append(box((0.16, 0.34, 0.12), (nose - 0.10, side * wide * 0.98, front * height), LENS))
        parts.append(box((0.03, 0.18, 0.07), (nose - 0.02, side * wide * 0.92, front * height), HEADLAMP))
        parts.append(box((0.14, 0.26, tall), (0.075 - nose, side * wide, rear * height), TAIL_LAMP))
    parts.append(box((0.02, 0.5 * width, 0.11), (nose - 0.012, 0, 0.29 * height), DARK))
    parts.append(box((0.02, 0.48, 0.11), (nose - 0.011, 0, 0.21 * height), WHITE_PLATE))
    parts.append(box((0.02, 0.48, 0.11), (0.011 - nose, 0, 0.36 * height), YELLOW_PLATE))
    parts.append(box((0.02, 0.8 * width, 0.16), (0.012 - nose, 0, 0.20 * height), DARK))
    return parts


def _truck(length: float, width: float, height: float, paint: Colour) -> Mesh:
    """A cab and a cargo box behind it."""
    cab, roof, front, lacquer = min(2.2, 0.35 * length), 0.86 * height, length / 2, Look(paint, Material.PAINT, CAR)
    window = 1.55 + 0.3 * (roof - 1.4)
    parts = [
        box((length - cab - 0.35, width - 0.04, height - 1.05), ((-cab - 0.35) / 2, 0, (height + 1.05) / 2), CARGO),
        box((length - 0.4, 0.8 * width, 0.35), (-0.2, 0, 0.85), DARK),
        box((cab, width - 0.06, 1.05), (front - cab / 2, 0, 1.0), lacquer),
        box((cab - 0.12, width - 0.12, roof - 1.5), (front - cab / 2 - 0.06, 0, (roof + 1.5) / 2), lacquer),
        box((0.03, width - 0.3, 0.42 * (roof - 1.4)), (front - 0.10, 0, window), GLASS),
        box((0.5 * cab, width - 0.09, 0.36 * (roof - 1.4)), (front - 0.45 * cab, 0, window), GLASS),
    ]
    return join([*parts, *_wheels(length, width, 0.48), *_lamps("van", length, width, height * 0.8)])
