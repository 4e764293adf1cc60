"""Which lanes the ego drove: its recorded path matched to the lane graph, as a sequence of lanes that join up.

Matching is the most likely path (Viterbi) through the lanes near each recorded pose, as in Newson and Krumm, "Hidden Markov map
matching through noise and sparseness" (ACM GIS 2009), with the heading as second evidence. Lane changes are then taken out of the
sequence: within a roadblock the route is the lane from which the drive went on, so that centre lines join end to start.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from wetoolkit_driving.geometry import along, arc_lengths, project, wrap_angle

from wetoolkit_logs.roads import Lane

Double = NDArray[np.float64]

NEAR = 4.0  # metres beside a lane's centre line at which it is still a candidate
TURNED = np.deg2rad(75)  # at most so much against a lane's direction
SIDE, HEADING = 1.0, 0.3  # standard deviations: metres beside, radians against
STEP = 1.0  # metres between matched places
AHEAD = 150.0  # metres by which a route goes on beyond the recorded end
ON, ASIDE, ELSEWHERE = 0.5, 4.0, 25.0  # costs: to the next lane, to a neighbour, to anywhere


def match(poses: Double, lanes: Sequence[Lane]) -> list[int]:
    """Lane indices in the order they were driven, none twice in a row; empty where no lane is near. ``poses`` [n, 3]."""
    places = _spaced(poses)
    if not lanes:
        return []
    cost = np.stack([_evidence(lane, places) for lane in lanes], axis=1)  # [n, L], inf for lanes that are not near
    kept = np.flatnonzero(np.isfinite(cost).any(1))
    if not len(kept):
        return []
    nearby = np.flatnonzero(np.isfinite(cost).any(0))  # [m]
    best = _viterbi(cost[np.ix_(kept, nearby)], _moves(nearby, lanes))
    return [key for key, _ in groupby(int(nearby[k]) for k in best)]


def _spaced(poses: Double) -> Double:
    """The first pose and those at least STEP metres after the one kept before; standing still adds no evidence."""
    kept = [0]
    for i in range(1, len(poses)):
        if np.hypot(*(poses[i, :2] - poses[kept[-1], :2])) >= STEP:
            kept.append(i)
    return poses[kept]


def _evidence(lane: Lane, places: Double) -> Double:
    """Cost [n] of being on a lane; inf where it is too far or runs otherwise."""
    low, high = lane.line.min(0) - NEAR, lane.line.max(0) + NEAR
    cost = np.full(len(places), np.inf)
    near = ((places[:, :2] >= low) & (places[:, :2] <= high)).all(1)
    if near.any():
        at, _ = project(lane.line, places[near, :2])
        foot = along(lane.line, at)  # [k, 3]
        aside = np.hypot(*(places[near, :2] - foot[:, :2]).T)
        against = np.abs(wrap_angle(places[near, 2] - foot[:, 2]))
        fits = (aside <= NEAR) & (against <= TURNED)
        cost[near] = np.where(fits, (aside / SIDE) ** 2 + (against / HEADING) ** 2, np.inf)
    return cost


def _moves(nearby: NDArray[np.intp], lanes: Sequence[Lane]) -> Double:
    """Cost [m, m] from each lane to each; short lanes may be passed between two places."""
    row = {int(lane): k for k, lane in enumerate(nearby)}
    moves = np.full((len(nearby), len(nearby)), ELSEWHERE)
    for lane, k in row.items():
        for j in (lanes[lane].left, lanes[lane].right):
            if j in row:
                moves[k, row[j]] = ASIDE
        for j in lanes[lane].next:
            for onward in (i for i in lanes[j].next if i in row):
                moves[k, row[onward]] = min(moves[k, row[onward]], 3 * ON)
    for lane, k in row.items():
        for j in (i for i in lanes[lane].next if i in row):
            moves[k, row[j]] = ON
        moves[k, k] = 0
    return moves


def _viterbi(cost: Double, moves: Double) -> list[int]:
    """The cheapest sequence of states [n] for costs [n, m] and moves [m, m]; equal costs go to the lower index."""
    total, came = cost[0], []
    for row in cost[1:]:
        through = total[:, None] + moves
        came.append(through.argmin(0))
        total = through.min(0) + row
    path = [int(total.argmin())]
    for previous in reversed(came):
        path.append(int(previous[path[-1]]))
    return path[::-1]


def joined(driven: Sequence[int], lanes: Sequence[Lane]) -> list[int]:
    """The driven lanes as a route: a lane left by a lane change gives way to the neighbour, those before it lead to that one."""
    route: list[int] = []
    for lane in reversed(driven):  # built from the end, since where one goes decides on which lane one should have been
        if not route or route[-1] in lanes[lane].next:
            route.append(lane)
            continue
        after = route[-1]
        if lanes[lane].block == lanes[after].block:
            continue  # a lane change: the later lane stands for both
        leading = [i for i, other in enumerate(lanes) if after in other.next and other.block == lanes[lane].block]
        between = [i for i in lanes[lane].next if after in lanes[i].next]
        if leading:
            route.append(leading[0])
        else:
            route.extend([*between[:1], lane])
    return route[::-1]


def extended(route: Sequence[int], lanes: Sequence[Lane], distance: float = AHEAD) -> list[int]:
    """The route and the straightest way on for at least ``distance`` metres, without repeating a lane."""
    onward = list(route)
    while onward and distance > 0:
        last = lanes[onward[-1]]
        ways = [j for j in last.next if j not in onward]
        if not ways:
            break
        onward.append(min(ways, key=lambda j: (_bend(lanes[j]), lanes[j].id)))
        distance -= float(arc_lengths(lanes[onward[-1]].line)[-1])
    return onward


def _bend(lane: Lane) -> float:
    """How much a lane turns along its way, left and right alike, radians."""
    direction = np.unwrap(np.arctan2(*np.diff(lane.line, axis=0).T[::-1]))
    return float(np.abs(np.diff(direction)).sum())
