"""The ground seen from above: which surface lies where, painted from a RoadMap of any data set into one raster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import LineString, Polygon
from wetoolkit_driving.jit import kernel
from wetoolkit_driving.types import AreaKind, RoadMap

from wetoolkit_minitown.curves import beside, resample
from wetoolkit_minitown.sensors.codes import LEVELS, MIXED, Surface
from wetoolkit_minitown.sensors.extra import pillow

Double = NDArray[np.float64]
Byte = NDArray[np.uint8]

FINEST, MOST = 0.05, 110e6  # metres a cell, cells a raster: a wide map gets coarser cells
MARGIN = 60.0  # metres of ground painted beyond the map
CLOSING = 3.0  # metres: half of the widest gap between road and pavement, which is a strip for parking and cycling
LINE, STOP = 0.13, 0.45  # widths of markings, metres
DASH, GAP = 3.0, 4.5
BAR = 0.5  # metres: bars of a zebra crossing, and the gaps between them
DRIVEN = (
    AreaKind.LANE, AreaKind.LANE_CONNECTOR, AreaKind.ROADBLOCK, AreaKind.ROADBLOCK_CONNECTOR, AreaKind.INTERSECTION,
    AreaKind.DRIVABLE_AREA,
)  # fmt: skip


@dataclass(frozen=True)
class Ground:
    """A raster of surfaces; cell (row, column) covers ``corner`` + cell x (column..column + 1, row..row + 1)."""

    code: Byte  # [rows, columns] Surface, or mixtures of two (``codes.Surface``)
    corner: Double  # [2] x, y [m]
    cell: float  # metres

    def at(self, xy: Double) -> Byte:
        """Codes [N] at points [N, 2]; GRASS outside."""
        column, row = np.floor((xy - self.corner) / self.cell).astype(np.int64).T
        inside = (row >= 0) & (column >= 0) & (row < self.code.shape[0]) & (column < self.code.shape[1])
        found = self.code[np.where(inside, row, 0), np.where(inside, column, 0)]
        return np.where(inside, found, Surface.GRASS).astype(np.uint8)


class Brush:
    """Paints rings of metres into a raster; what is painted later covers what was."""

    def __init__(self, low: Double, high: Double) -> None:
        self.cell = float(max(FINEST, np.sqrt(np.prod(high - low) / MOST)))
        self.corner = low
        columns, rows = np.ceil((high - low) / self.cell).astype(int).tolist()
        self._image = pillow("Image").new("L", (columns, rows), int(Surface.GRASS))
        self._draw = pillow("ImageDraw").Draw(self._image)
        self._marks: list[Double] = []

    def ring(self, xy: Double, code: Surface) -> None:
        """A polygon [n, 2], its edges in steps of a cell."""
        self._draw.polygon([tuple(point) for point in ((xy - self.corner) / self.cell - 0.5).tolist()], fill=int(code))

    def shape(self, shape: shapely.Geometry, code: Surface) -> None:
        """A polygon or several; holes are filled in turn by what is painted next, so paint from the outside inwards."""
        for polygon in polygons(shape):
            self.ring(np.asarray(polygon.exterior.coords), code)

    def band(self, line: Double, code: Surface, width: float) -> None:
        """A polyline [n, 2] as broad as ``width`` metres."""
        self.ring(np.vstack([beside(line, -width / 2), beside(line, width / 2)[::-1]]), code)

    def mark(self, line: Double, code: Surface, width: float) -> None:
        """A marking of WHITE or YELLOW along a polyline [n, 2], laid over everything else with smooth edges."""
        ends = np.full((len(line) - 1, 2), (width / 2, MIXED + LEVELS * (code == Surface.YELLOW)))
        self._marks.append(np.column_stack([line[:-1], line[1:], ends]))

    def ground(self) -> Ground:
        """What was painted."""
        code = np.array(self._image, np.uint8)
        if self._marks:
            _stain(code, np.concatenate(self._marks), self.corner[0], self.corner[1], self.cell)
        return Ground(code, self.corner, self.cell)


@kernel
def _stain(code, marks, left, low, cell):  # type: ignore[no-untyped-def]
    """Lay marks [M, 6] (start, end, half width [m], first code) over a raster; where two meet, the thicker paint stays."""
    for k in range(len(marks)):
        x, y, half, first = marks[k, 0], marks[k, 1], marks[k, 4], int(marks[k, 5])
        dx, dy = marks[k, 2] - x, marks[k, 3] - y
        length = np.sqrt(dx * dx + dy * dy)
        dx, dy, reach = dx / length, dy / length, half + cell
        top, bottom = max(y, marks[k, 3]) + reach, min(y, marks[k, 3]) - reach
        right, start = max(x, marks[k, 2]) + reach, min(x, marks[k, 2]) - reach
        for row in range(max(0, int((bottom - low) / cell)), min(code.shape[0], int((top - low) / cell) + 1)):
            for column in range(max(0, int((start - left) / cell)), min(code.shape[1], int((right - left) / cell) + 1)):
                u, v = left + (column + 0.5) * cell - x, low + (row + 0.5) * cell - y
                along, aside = u * dx + v * dy, abs(u * dy - v * dx)
                level = int(min(1.0, 0.5 + (half - aside) / cell) * LEVELS) - 1
                if 0 <= along < length and level >= 0 and (code[row, column] < MIXED or code[row, column] < first + level):
                    code[row, column] = first + level


def polygons(shape: shapely.Geometry) -> list[Polygon]:
    """The polygons of a shape that is one or several."""
    return [part for part in getattr(shape, "geoms", [shape]) if isinstance(part, Polygon) and not part.is_empty]


def areas_of(road: RoadMap, kinds: Sequence[AreaKind]) -> list[Polygon]:
    """The polygons of these kinds, mended where a ring crosses itself."""
    found = [Polygon(road.area(int(i))).buffer(0) for i in np.flatnonzero(np.isin(road.area_kind, kinds))]
    return [part for shape in found for part in polygons(shape)]


def driven(road: RoadMap) -> shapely.Geometry:
    """All that is driven on."""
    return shapely.union_all(areas_of(road, DRIVEN))


def paved(road: RoadMap) -> shapely.Geometry:
    """Roads and pavements with the strips between them."""
    walked = areas_of(road, [AreaKind.WALKWAY, AreaKind.CARPARK])
    return shapely.union_all([driven(road), *walked]).buffer(CLOSING).buffer(-CLOSING)


def paint(road: RoadMap, yards: Sequence[Double] = ()) -> Ground:
    """The raster of a map; ``yards``: rings [n, 2] of ground that is no lawn."""
    brush = Brush(road.area_xy.min(0) - MARGIN, road.area_xy.max(0) + MARGIN)
    for ring in yards:
        brush.ring(ring, Surface.YARD)
    whole = paved(road)
    brush.shape(whole, Surface.STRIP)
    for shape in polygons(whole):
        for hole in shape.interiors:
            inside = Polygon(hole)
            brush.shape(inside, Surface.GRASS)
            for ring in yards:
                if inside.contains_properly(shapely.Point(ring.mean(0))):
                    brush.ring(ring, Surface.YARD)
    for kind, code in ((AreaKind.CARPARK, Surface.CARPARK), (AreaKind.WALKWAY, Surface.PAVEMENT)):
        for polygon in areas_of(road, [kind]):
            brush.shape(polygon, code)
            brush.band(np.asarray(polygon.exterior.coords), Surface.KERB, 0.18)
    for polygon in areas_of(road, [AreaKind.WALKWAY]):  # pavements meet: no kerb between them
        brush.shape(polygon.buffer(-0.12), Surface.PAVEMENT)
    for polygon in areas_of(road, DRIVEN):
        brush.shape(polygon.buffer(0.06), Surface.ASPHALT)
    for line in _edges(driven(road)):
        brush.band(line, Surface.GUTTER, 0.25)
    _mark(brush, road)
    return brush.ground()


def _edges(shape: shapely.Geometry) -> Iterator[Double]:
    for polygon in polygons(shape):
        for ring in (polygon.exterior, *polygon.interiors):
            yield np.asarray(ring.coords)


def _mark(brush: Brush, road: RoadMap) -> None:
    """Crossings, lines between and beside lanes, stop lines."""
    for polygon in areas_of(road, [AreaKind.CROSSWALK]):
        _zebra(brush, polygon)
    waits = {int(a) for a, b in road.successors if road.lane_signal[b] >= 0}
    for lane in np.flatnonzero(road.area_kind[road.lane_area] == AreaKind.LANE).tolist():
        line = resample(road.centre_line(lane), 1.0)
        length = float(np.hypot(*np.diff(line, axis=0).T).sum())
        if length < 2.0:
            continue
        half = float(Polygon(road.area(int(road.lane_area[lane]))).area) / length / 2
        several = road.lane_left[lane] >= 0 or road.lane_right[lane] >= 0
        _borders(brush, line, half, several, bool(road.lane_left[lane] < 0), bool(road.lane_right[lane] < 0))
        if lane in waits:
            ahead = (line[-1] - line[-2]) / np.hypot(*(line[-1] - line[-2]))
            aside = (half - 0.15) * np.array([ahead[1], -ahead[0]])
            at = line[-1] - (0.8 + STOP / 2) * ahead
            brush.mark(np.stack([at - aside, at + aside]), Surface.WHITE, STOP)


def _borders(brush: Brush, line: Double, half: float, several: bool, innermost: bool, outermost: bool) -> None:
    if innermost and several:
        brush.mark(beside(line, 0.12 - half), Surface.YELLOW, LINE)
    elif innermost:
        _dashes(brush, beside(line, -half), LINE)
    if outermost:
        brush.mark(beside(line, half - 0.1), Surface.WHITE, LINE)
    else:
        _dashes(brush, beside(line, half), LINE)


def _dashes(brush: Brush, line: Double, width: float) -> None:
    """Symmetric about the middle, so that lanes of both directions draw the same."""
    whole = LineString(line)
    middle = whole.length / 2
    for k in range(-int(middle / (DASH + GAP)), int(middle / (DASH + GAP)) + 1):
        at = middle + k * (DASH + GAP)
        if DASH / 2 <= at <= whole.length - DASH / 2:
            ends = [whole.interpolate(at + shift) for shift in (-DASH / 2, 0, DASH / 2)]
            brush.mark(np.array([(end.x, end.y) for end in ends]), Surface.WHITE, width)


def _zebra(brush: Brush, polygon: Polygon) -> None:
    """Bars across the way of those who walk, which is the longer side."""
    corners = np.asarray(polygon.minimum_rotated_rectangle.exterior.coords)[:4]
    if np.hypot(*(corners[1] - corners[0])) < np.hypot(*(corners[2] - corners[1])):
        corners = np.roll(corners, -1, axis=0)
    start, along, across = corners[0], corners[1] - corners[0], corners[3] - corners[0]
    length = float(np.hypot(*along))
    for at in np.arange(BAR, length - BAR / 2, 2 * BAR) / length:
        brush.mark(np.stack([start + at * along, start + at * along + across]), Surface.WHITE, BAR)
