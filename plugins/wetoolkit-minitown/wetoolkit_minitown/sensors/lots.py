"""Where houses may stand: lots along the outer lanes of a map, row by row, clear of everything paved and of each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import shapely
from numpy.typing import NDArray
from wetoolkit_driving.types import AreaKind, RoadMap

from wetoolkit_minitown.curves import beside, heading, resample

Double = NDArray[np.float64]

FAR = 24.0  # metres to the right of a lane within which the paved ground ends
ASIDE = 2.3  # metres from the middle of a lane within which nothing stands
STYLES = ("terrace", "houses", "blocks", "park")
SHARE = (0.36, 0.34, 0.20, 0.10)


@dataclass(frozen=True)
class Verge:
    """The right-hand side of a lane: where the paved ground ends."""

    line: Double  # [n, 2] the lane's centre line, every metre
    heading: Double  # [n]
    edge: Double  # [n] metres from the centre line to the end of the pavement

    def point(self, station: int, beyond: float) -> tuple[float, float]:
        """A place so many metres beyond the pavement's end (negative: on it), but never on the lane."""
        k = min(station, len(self.line) - 1)
        right = np.array([np.sin(self.heading[k]), -np.cos(self.heading[k])])
        x, y = (self.line[k] + max(self.edge[k] + beyond, ASIDE) * right).tolist()
        return x, y


@dataclass(frozen=True)
class Lot:
    """A rectangle for one house; its front looks to +y of its own frame, at the street."""

    style: str
    x: float
    y: float
    heading: float  # of the street
    width: float  # along the street, metres
    depth: float
    setback: float  # from the pavement to the front, metres
    floors: int

    def ring(self, front: float = 0.0, grow: float = 0.0) -> Double:
        """Corners [4, 2], drawn out to the front and grown on all sides by so many metres."""
        a, b = self.width / 2 + grow, self.depth / 2 + grow
        local = np.array([[-a, -b], [a, -b], [a, b + front], [-a, b + front]])
        c, s = np.cos(self.heading), np.sin(self.heading)
        return np.asarray(local @ np.array([[c, s], [-s, c]]) + (self.x, self.y))


@dataclass
class Plan:
    """Grows lot by lot: what is taken, and the verges that trees, lamps and hedges follow."""

    lots: list[Lot] = field(default_factory=list)
    verges: list[tuple[Verge, str]] = field(default_factory=list)


def verges(road: RoadMap, paved: shapely.Geometry) -> Iterator[Verge]:
    """The outer lanes' right-hand sides."""
    shapely.prepare(paved)
    outer = (road.area_kind[road.lane_area] == AreaKind.LANE) & (road.lane_right < 0)
    steps = np.arange(1.0, FAR, 0.25)
    for lane in np.flatnonzero(outer).tolist():
        line = resample(road.centre_line(lane), 1.0)
        if len(line) < 4:
            continue
        points = np.stack([beside(line, float(step)) for step in steps], 1)
        inside = shapely.contains_xy(paved, points[..., 0].ravel(), points[..., 1].ravel()).reshape(points.shape[:2])
        first = np.where(inside.all(1), len(steps) - 1, np.argmin(inside, 1))
        yield Verge(line, heading(line), steps[first])


def plan(road: RoadMap, paved: shapely.Geometry, rng: np.random.Generator) -> Plan:
    """Lots along every outer lane, each lane in one style."""
    made = Plan()
    taken: list[shapely.Geometry] = []
    for verge in verges(road, paved):
        style = STYLES[int(rng.choice(len(STYLES), p=SHARE))]
        made.verges.append((verge, style))
        for lot in _row(verge, style, rng):
            shape = shapely.Polygon(lot.ring(grow=-0.7 if style == "terrace" else -0.05))  # rows follow bends wall by wall
            if shapely.Polygon(lot.ring()).distance(paved) > 0.2 and not (
                taken and shapely.intersects(shape, np.array(taken)).any()
            ):
                made.lots.append(lot)
                taken.append(shape)
    return made


def _row(verge: Verge, style: str, rng: np.random.Generator) -> Iterator[Lot]:
    """Lots one after the other along a verge."""
    if style == "park":
        return
    at, last = float(rng.uniform(0, 3)), len(verge.line) - 1
    back = {"terrace": rng.uniform(0.5, 1.4), "houses": rng.uniform(4, 6.5), "blocks": rng.uniform(3, 5)}[style]
    floors = {"terrace": int(rng.integers(3, 6)), "houses": 2, "blocks": int(rng.integers(4, 7))}[style]
    while True:
        width, depth, gap, storeys = _measures(style, floors, rng)
        if at + width > last:
            return
        middle = round(at + width / 2)
        span = slice(int(at), min(int(at + width) + 2, last + 1))
        beyond = float(verge.edge[span].max() - verge.edge[middle])
        x, y = verge.point(middle, beyond + back + depth / 2)
        yield Lot(style, x, y, float(verge.heading[middle]), width, depth, float(back), storeys)
        at += width + gap


def _measures(style: str, floors: int, rng: np.random.Generator) -> tuple[float, float, float, int]:
    """Width, depth, gap to the next [m], floors."""
    if style == "terrace":
        return float(rng.uniform(6.5, 10)), float(rng.uniform(9, 11)), 0.12, floors + int(rng.integers(-1, 1))
    if style == "houses":
        return float(rng.uniform(8, 12)), float(rng.uniform(8, 10)), float(rng.uniform(3.5, 8)), int(rng.integers(1, 3))
    return float(rng.uniform(17, 28)), float(rng.uniform(11, 14)), float(rng.uniform(5, 11)), floors + int(rng.integers(0, 2))


def clear(points: Double, paved: shapely.Geometry, lots: Sequence[Lot], room: float) -> NDArray[np.bool_]:
    """[N] whether points [N, 2] keep ``room`` metres from what is paved and from the lots."""
    places = shapely.points(points)
    free = shapely.distance(places, paved) > room
    if lots:
        tree = shapely.STRtree([shapely.Polygon(lot.ring()) for lot in lots])
        near, _ = tree.query(places, predicate="dwithin", distance=room)
        free[near] = False
    return np.asarray(free)
