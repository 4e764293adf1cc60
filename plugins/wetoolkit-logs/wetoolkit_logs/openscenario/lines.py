"""A centre line as OpenDRIVE's reference line: one straight or cubic piece a segment, through every point of the line.

Where the line bends so gently that a smooth curve stays within ``OFF`` of it, pieces share their tangent, the one of a circle
through the neighbours; at sharper bends the corner is kept, since it is what the recording says. ASAM OpenDRIVE 1.7, sections
7.4 and 7.7.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from wetoolkit_driving.geometry import arc_lengths, drop_repeats, project, wrap_angle

Double = NDArray[np.float64]
OFF = 0.025  # metres that the bend at one end may take a curve off the segment that it replaces: 5 cm with both
STRAIGHT = 1e-6  # radians: less is a straight line
SHORTEST = 1e-3  # metres: nearer points are one, and points so near to the line through their neighbours are left out
LEAD = 3.0  # metres at a lane's end that turn into the direction of what it meets
BULGE = 4 / 27  # of its length, by which a cubic leaves its chord for each radian at one end
REACH, USUAL = 10.0, 1.75  # metres to each side in which a border is looked for; taken where there is none
INSET = 1.0  # metres from a lane's ends, which may be askew, at which its first and last width are taken
_PLACES, _WEIGHTS = (np.asarray(found) for found in np.polynomial.legendre.leggauss(8))


@dataclass(frozen=True)
class Piece:
    """One piece: in the frame of its start, ``u`` and ``v`` are cubics over p in [0, 1]."""

    s: float  # metres from the road's start
    x: float
    y: float
    heading: float
    length: float
    u: tuple[float, float, float, float]
    v: tuple[float, float, float, float]

    @property
    def straight(self) -> bool:
        """Whether a line says the same."""
        return max(map(abs, self.v)) == 0.0


def plain(line: Double) -> Double:
    """The polyline [n, 2] without points that say nothing."""
    shape = shapely.LineString(drop_repeats(line, SHORTEST)).simplify(SHORTEST)
    return np.asarray(shapely.get_coordinates(shape), np.float64)


def chords(points: Double) -> tuple[Double, Double]:
    """Length and direction of each segment."""
    step = np.diff(points, axis=0)
    return np.hypot(*step.T), np.arctan2(step[:, 1], step[:, 0])


def _with_leads(points: Double, begin: float | None, end: float | None) -> Double:
    """With a point ``LEAD`` metres from an end that shall turn, if its segment is long: the shorter it is, the more it can turn."""
    length, chord = chords(points)
    for asked, segment, insert in ((end, -1, len(points) - 1), (begin, 0, 1)):
        turn = 0.0 if asked is None else abs(float(wrap_angle(asked - chord[segment])))
        if length[segment] < 2 * LEAD or not STRAIGHT < turn <= OFF / BULGE / LEAD:
            continue
        way = np.array([np.cos(chord[segment]), np.sin(chord[segment])])
        place = points[-1] - LEAD * way if segment else points[0] + LEAD * way
        points = np.insert(points, insert, place, axis=0)
    return points


def pieces(line: Double, begin: float | None = None, end: float | None = None) -> list[Piece]:
    """The pieces along a polyline [n, 2], in the directions asked for at its ends where a curve within ``OFF`` can."""
    points = _with_leads(plain(line), begin, end)
    length, chord = chords(points)
    leave, arrive = tangents(length, chord)
    if begin is not None and abs(wrap_angle(begin - chord[0])) * length[0] * BULGE <= OFF:
        leave[0] = begin
    if end is not None and abs(wrap_angle(end - chord[-1])) * length[-1] * BULGE <= OFF:
        arrive[-1] = end
    found, s = [], 0.0
    for k in range(len(chord)):
        piece = _piece(s, points[k], float(length[k]), float(chord[k]), float(leave[k]), float(arrive[k]))
        found.append(piece)
        s += piece.length
    return found


def tangents(length: Double, chord: Double) -> tuple[Double, Double]:
    """Direction in which each of n segments is left and arrived at [n], of segments of such lengths and directions."""
    leave, arrive = chord.copy(), chord.copy()
    if len(chord) < 2:
        return leave, arrive
    turn = wrap_angle(np.diff(chord))
    gentle = np.abs(turn) * np.maximum(length[:-1], length[1:]) / 8 <= OFF  # a circle's sagitta over the longer segment
    between = chord[:-1] + turn * length[:-1] / (length[:-1] + length[1:])
    arrive[:-1] = np.where(gentle, between, chord[:-1])
    leave[1:] = np.where(gentle, between, chord[1:])
    leave[0], arrive[-1] = 2 * chord[0] - arrive[0], 2 * chord[-1] - leave[-1]  # the circle goes on to both ends
    return leave, arrive


def _piece(s: float, start: Double, length: float, chord: float, leave: float, arrive: float) -> Piece:
    first, last = float(wrap_angle(chord - leave)), float(wrap_angle(arrive - leave))
    x, y = start.tolist()
    if abs(first) < STRAIGHT and abs(last) < STRAIGHT:
        return Piece(s, x, y, float(wrap_angle(chord)), length, (0.0, length, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0))
    end = length * np.array([np.cos(first), np.sin(first)])
    slope = length * np.array([np.cos(last), np.sin(last)])
    begin = np.array([length, 0.0])
    square, cube = 3 * end - 2 * begin - slope, begin + slope - 2 * end
    u, v = (tuple(map(float, (0.0, begin[k], square[k], cube[k]))) for k in (0, 1))
    at = (_PLACES + 1) / 2
    speed = begin[:, None] + 2 * square[:, None] * at + 3 * cube[:, None] * at**2
    run = float((np.hypot(*speed) * _WEIGHTS).sum() / 2)
    return Piece(s, x, y, float(wrap_angle(leave)), run, u, v)  # type: ignore[arg-type]


def _nodes(parts: list[Piece], line: Double) -> Double:
    """The points [n, 2] between which the pieces of a line run."""
    return np.array([*((piece.x, piece.y) for piece in parts), line[-1, :2]])


@dataclass(frozen=True)
class Width:
    """How far a lane reaches to both sides of its centre line, at stations along it."""

    s: Double  # [m] metres along the reference line
    left: Double  # [m] metres
    right: Double  # [m]


def width(line: Double, parts: list[Piece], area: Double, spacing: float = 4.0) -> Width:
    """The width of a lane with centre line [n, 2], its pieces, and its polygon [k, 2]; stations at least every ``spacing``."""
    points = _nodes(parts, line)
    lengths = arc_lengths(points)
    own = np.array([*(piece.s for piece in parts), parts[-1].s + parts[-1].length])
    shares = [np.linspace(a, b, int(np.ceil((b - a) / spacing)) + 1)[:-1] for a, b in itertools.pairwise(lengths)]
    at = np.append(np.concatenate(shares), lengths[-1])  # [m] along the polyline
    inset = np.clip(at, min(INSET, lengths[-1] / 4), lengths[-1] - min(INSET, lengths[-1] / 4))
    place = np.stack([np.interp(inset, lengths, points[:, k]) for k in (0, 1)], 1)
    segment = np.clip(np.searchsorted(lengths, inset, side="right") - 1, 0, len(points) - 2)
    step = np.diff(points, axis=0)[segment]
    normal = np.stack([-step[:, 1], step[:, 0]], 1) / np.hypot(*step.T)[:, None]
    left, right = _reach(place, normal, area)
    return Width(np.interp(at, lengths, own), left, right)


def _reach(place: Double, normal: Double, area: Double) -> tuple[Double, Double]:
    """Metres [m] from each place to the polygon's border along its normal and against it."""
    polygon = shapely.make_valid(shapely.Polygon(area))
    across = shapely.linestrings(np.stack([place - REACH * normal, place + REACH * normal], 1))
    left, right = np.full(len(place), USUAL), np.full(len(place), USUAL)
    for k, cut in enumerate(shapely.intersection(across, polygon)):
        for part in shapely.get_parts(cut):
            along = (shapely.get_coordinates(part) - place[k]) @ normal[k]
            if len(along) > 1 and along.min() <= 0 <= along.max():
                left[k], right[k] = along.max(), -along.min()
    return left, right


def evaluate(parts: list[Piece], s: float) -> tuple[float, float, float]:
    """x, y and direction of the reference line at ``s`` metres from its start."""
    piece = next((one for one in reversed(parts) if one.s <= s), parts[0])
    p = (s - piece.s) / piece.length
    u, v = float(np.dot(piece.u, [1, p, p**2, p**3])), float(np.dot(piece.v, [1, p, p**2, p**3]))
    slope = np.array([0, 1, 2 * p, 3 * p**2])
    cosine, sine = np.cos(piece.heading), np.sin(piece.heading)
    turn = np.arctan2(np.dot(piece.v, slope), np.dot(piece.u, slope))
    return piece.x + cosine * u - sine * v, piece.y + sine * u + cosine * v, float(wrap_angle(piece.heading + turn))


def beside(parts: list[Piece], line: Double, place: Double) -> tuple[float, float, tuple[float, float, float]]:
    """s and t of about where a place is beside a line [n, 2], and the pose that they mean, exactly."""
    points = _nodes(parts, line)
    at, _ = project(points, place)
    lengths = arc_lengths(points)
    ends = np.array([*(piece.s for piece in parts), parts[-1].s + parts[-1].length])
    s = float(np.interp(at, lengths, ends))
    x, y, heading = evaluate(parts, s)
    cosine, sine = np.cos(heading), np.sin(heading)
    t = float(-sine * (place[0] - x) + cosine * (place[1] - y))
    return s, t, (x - sine * t, y + cosine * t, heading)
