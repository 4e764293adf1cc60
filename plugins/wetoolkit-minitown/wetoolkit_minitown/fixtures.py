"""What stands in a town for good: parked cars, bus stops in the parking strips, construction zones along lanes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wetoolkit_minitown.curves import DS, beside, heading

Double = NDArray[np.float64]

STOPS, ZONES = 4, 3  # in a town, at most
BAY = 9.0  # metres before and behind a bus stop without parked cars


class Side(NamedTuple):
    """One side of a road, in the direction of its traffic."""

    track: int  # its outermost lane
    line: Double  # [n, 2] that lane's middle, every DS metres
    strip: float  # metres from there to the middle of the parking strip; 0 where there is none


class Zone(NamedTuple):
    """A construction zone along the right edge of a lane."""

    track: int
    s: float  # metres along it
    length: float  # metres
    spacing: float  # metres from cone to cone


def bus_stops(rng: np.random.Generator, sides: list[Side]) -> Double:
    """[B, 3] middles x, y, heading of the bays."""
    rows = []
    for i in rng.permutation([n for n, side in enumerate(sides) if side.strip > 0])[:STOPS].tolist():
        lane = beside(sides[i].line, sides[i].strip)
        k = int(rng.uniform(0.35, 0.65) * len(lane))
        rows.append((*lane[k], _wrap(heading(lane)[k])))
    return np.array(rows, np.float64).reshape(-1, 3)


def zones(rng: np.random.Generator, sides: list[Side]) -> tuple[Zone, ...]:
    """Zones on sides without parking that are long enough."""
    fits = [side for side in sides if not side.strip and len(side.line) * DS > 80.0]
    picked = [fits[i] for i in rng.permutation(len(fits))[:ZONES].tolist()]
    return tuple(
        Zone(
            side.track,
            float(rng.uniform(0.3, 0.55) * len(side.line) * DS),
            float(rng.uniform(14, 24)),
            float(rng.uniform(3.0, 4.5)),
        )
        for side in picked
    )


def parked_cars(rng: np.random.Generator, sides: list[Side], stops: Double) -> Double:
    """[Q, 3] cars in the parking strips, well away from junctions and bus stops: some strips are nearly full, some nearly empty."""
    rows = []
    for side in sides:
        if side.strip:
            strip, full = beside(side.line, side.strip), rng.uniform(0.15, 0.6)
            h = heading(strip)
            at = np.arange(14.0, (len(strip) - 1) * DS - 14.0, 6.3)
            rows += [(*strip[int(s / DS)], _wrap(h[int(s / DS)])) for s in at[rng.random(len(at)) < full]]
    cars = np.array(rows, np.float64).reshape(-1, 3)
    away = np.hypot(cars[:, None, 0] - stops[None, :, 0], cars[:, None, 1] - stops[None, :, 1])
    return cars[(away > BAY).all(1)]


def _wrap(angle: float) -> float:
    return float((angle + np.pi) % (2 * np.pi) - np.pi)
