"""Where lanes meet, their roads get one direction and one width, so that borders go on without a step.

Recorded centre lines and polygons meet at slightly different angles and widths. Directions change by what a curve within 5 cm
allows; widths become those of the lanes that meet there (connectors, whose width is often made up, follow), unless they differ by
more than ``UNLIKE``: then one lane splits into several, and the step is real.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from wetoolkit_driving.types import AreaKind, RoadMap

from wetoolkit_logs.openscenario.lines import Piece, Width, chords, pieces, plain, tangents, width
from wetoolkit_logs.openscenario.network import places

UNLIKE = 0.5  # metres


def shaped(road: RoadMap) -> tuple[list[list[Piece]], list[Width]]:
    """The reference line and the width of each of L roads."""
    meeting = _meeting(road)
    begin, end = _directions(road, meeting)
    parts = [pieces(road.centre_line(lane), begin.get(lane), end.get(lane)) for lane in range(road.lanes)]
    bodies = [
        width(road.centre_line(lane), parts[lane], road.area(int(road.lane_area[lane]))) for lane in range(road.lanes)
    ]  # fmt: skip
    return parts, _fitted(road, meeting, bodies)


def _meeting(road: RoadMap) -> list[list[tuple[int, bool]]]:
    """For each place where several lanes meet: (lane, whether it begins there)."""
    found: dict[int, list[tuple[int, bool]]] = defaultdict(list)
    for port, place in enumerate(places(road)):
        found[place].append((port % road.lanes, port >= road.lanes))
    return [members for members in found.values() if len(members) > 1]


def _directions(road: RoadMap, meeting: Sequence[Sequence[tuple[int, bool]]]) -> tuple[dict[int, float], dict[int, float]]:
    """The mean direction at the places where each lane begins and ends."""
    own = [tangents(*chords(plain(road.centre_line(lane)))) for lane in range(road.lanes)]
    begin: dict[int, float] = {}
    end: dict[int, float] = {}
    for members in meeting:
        angles = np.array([own[lane][0][0] if begins else own[lane][1][-1] for lane, begins in members])
        mean = float(np.arctan2(np.sin(angles).sum(), np.cos(angles).sum()))
        for lane, begins in members:
            (begin if begins else end)[lane] = mean
    return begin, end


def _fitted(road: RoadMap, meeting: Sequence[Sequence[tuple[int, bool]]], bodies: list[Width]) -> list[Width]:
    kind = road.area_kind[road.lane_area]
    found = [replace(body, left=body.left.copy(), right=body.right.copy()) for body in bodies]
    for members in meeting:
        lanes = [member for member in members if kind[member[0]] == AreaKind.LANE] or members
        for side in ("left", "right"):
            told = [getattr(bodies[lane], side)[0 if begins else -1] for lane, begins in lanes]
            if np.ptp(told) > UNLIKE:
                continue
            for lane, begins in members:
                getattr(found[lane], side)[0 if begins else -1] = np.mean(told)
    return found
