"""Where walkers may go: the middle lines of walkways and crossings, and chains of them from where a walker is.

What ``ways`` is for who drives: pieces of the map round about say what is near, a chain says where one gets - round the corner,
along the next pavement, over the crossing - and which signal is between. A chain goes on where another line passes within ``JOIN``
metres of its end, either way along it. Maps say nothing of this; it follows from the outlines of the areas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from wetoolkit_driving.geometry import along, arc_lengths, drop_repeats, project, wrap_angle
from wetoolkit_driving.types import AreaKind, Byte, Double, RoadMap

from wetoolkit_diffusion.roads import traffic_on

FAR = 20.0  # metres: as far as chains reach
JOIN = 2.5  # metres
BESIDE, TURNED, BACK = 3.0, np.deg2rad(80.0), np.deg2rad(150.0)
STARTS, MOST = 2, 8  # lines that chains may start on, chains from each
SHARP = 0.05  # metres: points of an outline nearer to one another are one


@dataclass(frozen=True)
class Walk:
    """The middle line of a walkway or crossing."""

    line: Double  # [n, 2] metres
    length: float
    row: int  # among the map's areas
    crossing: bool
    signal: int  # of the traffic that is crossed, at the present; 0 on walkways

    def back(self) -> Walk:
        """The same, the other way."""
        return replace(self, line=self.line[::-1])


@dataclass(frozen=True)
class Chain:
    """Where a walker may go from ``place`` metres along the line on; it is ``offset`` metres to its left."""

    line: Double  # [n, 2] metres
    place: float
    offset: float
    length: float  # metres ahead
    crossing: float  # metres to the first crossing ahead, FAR where there is none
    signal: int  # of that crossing


def walks(road: RoadMap, signals: Byte) -> list[Walk]:
    """Every walkway and crossing of a map; ``signals`` [S] are those of the present."""
    found = []
    for i in np.flatnonzero(np.isin(road.area_kind, (AreaKind.WALKWAY, AreaKind.CROSSWALK))):
        ring, crossing = road.area(int(i)), bool(road.area_kind[i] == AreaKind.CROSSWALK)
        line = middle(ring)
        if line is not None:
            signal = traffic_on(road, signals, ring) if crossing else 0
            found.append(Walk(line, float(arc_lengths(line)[-1]), int(i), crossing, signal))
    return found


def middle(ring: Double, spacing: float = 1.0) -> Double | None:
    """The middle line [n, 2] of an oblong outline [m, 2] from end to end: its four sharpest corners part it into four sides, of
    which the two opposite ones that are shorter are its ends. None of an outline with fewer corners."""
    ring = ring[np.hypot(*(ring - np.roll(ring, 1, 0)).T) > SHARP]
    if len(ring) < 4:
        return None
    course = np.arctan2(*(np.roll(ring, -1, 0) - ring).T[::-1])
    turn = np.abs(wrap_angle(course - np.roll(course, 1)))
    corner = np.sort(np.argsort(-np.round(turn, 6), kind="stable")[:4])
    ring = np.roll(ring, -corner[0], 0)
    at = [*(corner - corner[0]), len(ring)]
    sides = [np.concatenate([ring, ring[:1]])[a : b + 1] for a, b in pairwise(at)]
    lengths = [float(arc_lengths(side)[-1]) for side in sides]
    first = int(lengths[0] + lengths[2] < lengths[1] + lengths[3])
    left, right = sides[first], sides[first + 2][::-1]
    part = np.linspace(0.0, 1.0, 2 + int((max(lengths[first], lengths[first + 2]) + SHARP) / spacing))
    line = (along(left, part * arc_lengths(left)[-1]) + along(right, part * arc_lengths(right)[-1]))[:, :2] / 2
    return line if np.hypot(*np.diff(line, axis=0).T).sum() > SHARP else None


def chains(found: Sequence[Walk], frame: Double) -> list[Chain]:
    """The chains of a walker at ``frame`` [3], those along the line that it is on first."""
    starts = []
    for walk in (some for both in found for some in (both, both.back())):
        place, offset = project(walk.line, frame[:2])
        pose = along(walk.line, place)
        turn, away = float(np.abs(wrap_angle(frame[2] - pose[2]))), float(np.hypot(*(frame[:2] - pose[:2])))
        if away < BESIDE and turn < TURNED:
            starts.append((round(away + 1.5 * turn, 2), walk, float(place), float(offset)))
    best = sorted(starts, key=lambda start: start[0])[:STARTS]
    return [chain for _, walk, place, offset in best for chain in _from(found, walk, place, offset)]


def _from(found: Sequence[Walk], walk: Walk, place: float, offset: float) -> list[Chain]:
    """Every chain from a place on, until ``FAR`` metres are ahead or nothing leads on."""
    begun = Chain(walk.line, place, offset, walk.length - place, 0.0 if walk.crossing else FAR, walk.signal)
    done, open_ = [], [(begun, [walk.row])]
    while open_ and len(done) < MOST:
        chain, taken = open_.pop(0)
        onward = _onward(found, chain.line, taken) if chain.length < FAR else []
        if not onward:
            done.append(chain)
        open_ += [(_joined(chain, then, start), [*taken, then.row]) for then, start in onward]
    return done


def _joined(chain: Chain, then: Walk, start: float) -> Chain:
    """A chain that goes on along a line from ``start`` on."""
    rest = along(then.line, np.linspace(start, then.length, 2 + int(then.length - start + SHARP)))[:, :2]
    crossing, signal = chain.crossing, chain.signal
    if then.crossing and crossing == FAR:
        crossing, signal = chain.length, then.signal
    line = drop_repeats(np.concatenate([chain.line, rest]), SHARP)
    return replace(chain, line=line, length=float(arc_lengths(line)[-1]) - chain.place, crossing=crossing, signal=signal)


def _onward(found: Sequence[Walk], line: Double, taken: Sequence[int]) -> list[tuple[Walk, float]]:
    """Lines that lead on from the end of a line, each with the place where one comes upon it; nobody turns back."""
    end, out = along(line, arc_lengths(line)[-1]), []
    for walk in (some for both in found if both.row not in taken for some in (both, both.back())):
        place = float(project(walk.line, end[:2])[0])
        here, ahead = along(walk.line, place), along(walk.line, min(place + 1.0, walk.length))
        if np.hypot(*(here - end)[:2]) < JOIN < walk.length - place and np.abs(wrap_angle(ahead[2] - end[2])) < BACK:
            out.append((walk, place))
    return out


__all__ = ["FAR", "Chain", "Walk", "chains", "middle", "walks"]
