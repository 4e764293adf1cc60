"""The map as short pieces of polyline, and those that matter to an agent, in its own frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from wetoolkit_driving.geometry import along, arc_lengths, drop_repeats
from wetoolkit_driving.types import AreaKind, Bool, Byte, Double, Float, RoadMap

from wetoolkit_diffusion.spec import TokenSpec

LANE, CONNECTOR, CROSSING, WALK = range(4)
FACTS = 4 + 4 + 1  # kind, signal (one-hot both), speed limit [10 m/s]
EDGE = 6.0  # metres: pieces of the edges of walkways, which only walkers see
ENTRY = 15.0  # metres from a crossing to where a lane enters the junction
UNSEEN = 1e6  # metres
PREFERS, AVOIDS = 6.0, 12.0  # metres by which a crossing is nearer to a walker, a lane farther
AGAINST = 15.0  # metres added to the distance of a piece that leads the other way
BEHIND, AHEAD = 1.5, 0.5  # a metre behind counts as so many, a metre ahead as so few


@dataclass(frozen=True)
class Pieces:
    """M pieces of lanes and crossings, in the world's frame."""

    points: Double  # [M, P, 2]
    facts: Float  # [M, FACTS]


def pieces(road: RoadMap, signals: Byte, spec: TokenSpec) -> Pieces:
    """Every lane, crossing and edge of a walkway cut into pieces; ``signals`` [S] are those of the present."""
    lines = [(road.centre_line(i), _lane_facts(road, signals, i), spec.piece) for i in range(road.lanes)]
    crossings = [road.area(int(i)) for i in np.flatnonzero(road.area_kind == AreaKind.CROSSWALK)]
    lines += [(_long_axis(ring), _facts(CROSSING, traffic_on(road, signals, ring), 0.0), spec.piece) for ring in crossings]
    walks = [road.area(int(i)) for i in np.flatnonzero(road.area_kind == AreaKind.WALKWAY)]
    lines += [(np.vstack([ring, ring[:1]]), _facts(WALK, 0, 0.0), EDGE) for ring in walks]
    points, facts = [], []
    for line, known, longest in lines:
        cut = _cut(line, spec.points, longest)
        points.append(cut)
        facts.append(np.repeat(known[None], len(cut), 0))
    if not points:
        return Pieces(np.zeros((0, spec.points, 2)), np.zeros((0, FACTS), np.float32))
    return Pieces(np.concatenate(points), np.concatenate(facts))


def _lane_facts(road: RoadMap, signals: Byte, lane: int) -> Float:
    kind = CONNECTOR if road.area_kind[road.lane_area[lane]] == AreaKind.LANE_CONNECTOR else LANE
    row = int(road.lane_signal[lane])
    return _facts(kind, int(signals[row]) if row >= 0 else 0, float(road.lane_speed_limit[lane]))


def _facts(kind: int, signal: int, limit: float) -> Float:
    known = np.zeros(FACTS, np.float32)
    known[kind], known[4 + signal], known[8] = 1.0, 1.0, limit / 10.0
    return known


def traffic_on(road: RoadMap, signals: Byte, ring: Double) -> int:
    """The signal of the lanes that cross a crossing just after the place where they are stopped: where it is red one may walk."""
    area = shapely.Polygon(ring)
    if not area.is_valid:
        return 0
    seen = []
    for lane in np.flatnonzero(road.lane_signal >= 0):
        line = road.centre_line(int(lane))
        if np.hypot(*(line[0] - ring.mean(0))) < ENTRY and shapely.LineString(line[: max(2, len(line) // 2)]).intersects(area):
            seen.append(int(signals[road.lane_signal[lane]]))
    return min(seen, default=0)  # of several the one that lets most go: green before red


def _long_axis(ring: Double) -> Double:
    """The middle line [2, 2] of an oblong ring [n, 2] along its longer side."""
    centre = ring.mean(0)
    _, _, axes = np.linalg.svd(ring - centre, full_matrices=False)
    reach = np.abs((ring - centre) @ axes[0]).max()
    return np.stack([centre - reach * axes[0], centre + reach * axes[0]])


def _cut(line: Double, points: int, longest: float) -> Double:
    """A polyline [n, 2] as pieces [m, ``points``, 2] of equal length, at most ``longest``; none of a line without length."""
    if np.hypot(*np.diff(line[:, :2], axis=0).T).max() < 1e-6:
        return np.zeros((0, points, 2))
    line = drop_repeats(line)
    count = max(1, int(np.ceil(arc_lengths(line)[-1] / longest)))
    ends = np.linspace(0.0, arc_lengths(line)[-1], count + 1)
    where = ends[:-1, None] + np.linspace(0.0, 1.0, points) * np.diff(ends)[:, None]  # [m, P]
    return along(line, where)[..., :2]


def near(found: Pieces, frames: Double, walks: Bool, spec: TokenSpec) -> tuple[Float, Float, Bool]:
    """Points [A, L, P, 2] in the frames [A, 3], facts [A, L, FACTS] and whether there are so many [A, L], nearest first.

    Nearness is that of the piece's middle, what lies ahead being nearer. Who ``walks`` [A] looks round about evenly, at crossings
    and the edges of walkways first; nobody else sees those edges.
    """
    count, some = len(frames), min(spec.lines, len(found.points))
    points = np.zeros((count, spec.lines, spec.points, 2), np.float32)
    facts = np.zeros((count, spec.lines, FACTS), np.float32)
    there = np.zeros((count, spec.lines), bool)
    if not some or not count:
        return points, facts, there
    cos, sin = np.cos(frames[:, 2])[:, None, None], np.sin(frames[:, 2])[:, None, None]
    offset = found.points[None] - frames[:, None, None, :2]  # [A, M, P, 2]
    x, y = cos * offset[..., 0] + sin * offset[..., 1], cos * offset[..., 1] - sin * offset[..., 0]  # [A, M, P]
    middle_x, middle_y = x.mean(2), y.mean(2)
    skewed = np.where(middle_x > 0, AHEAD, BEHIND) * middle_x
    against = AGAINST * ((x[..., -1] < x[..., 0]) & (found.facts[:, CROSSING] == 0))
    lane, crossing, walk = (found.facts[:, which].sum(1) > 0 for which in ([LANE, CONNECTOR], [CROSSING], [WALK]))
    on_foot = np.hypot(middle_x, middle_y) + AVOIDS * lane - PREFERS * crossing
    away = np.where(walks[:, None], on_foot, np.hypot(skewed, middle_y) + against + np.where(walk, UNSEEN, 0.0))  # [A, M]
    order = np.argsort(np.round(away, 3), axis=1, kind="stable")[:, :some]
    points[:, :some] = np.take_along_axis(np.stack([x, y], -1), order[..., None, None], 1)
    facts[:, :some], there[:, :some] = found.facts[order], np.take_along_axis(away, order, 1) < UNSEEN
    return points, facts, there


__all__ = ["FACTS", "Pieces", "near", "pieces", "traffic_on"]
