"""Which lanes follow each other directly and which through junctions, by OpenDRIVE's rules.

A road has one successor: a road or a junction. Lane connectors that lead from one lane to one lane become connecting roads; those
that start or end together, or cross, share a junction. Every other place where lanes split or merge is a *direct* junction, which
OpenDRIVE 1.7 brought.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import shapely
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from wetoolkit_driving.types import AreaKind, RoadMap

Link = tuple[Literal["road", "junction"], int]
Lists = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Network:
    """Links of L roads, a lane each, and the junctions between them, which are numbered from L on."""

    junction: tuple[int, ...]  # [L] the junction that a connecting road belongs to, -1 for the others
    before: tuple[Link | None, ...]  # [L]
    after: tuple[Link | None, ...]  # [L]
    crossings: Mapping[int, tuple[tuple[int, int], ...]]  # junction -> (incoming, connecting road)
    direct: Mapping[int, tuple[tuple[int, int], ...]]  # direct junction -> (incoming, linked road)


def network(road: RoadMap) -> Network:
    """The network of a map."""
    count = road.lanes
    onto: list[list[int]] = [[] for _ in range(count)]
    into: list[list[int]] = [[] for _ in range(count)]
    for start, end in sorted(set(map(tuple, road.successors.tolist()))):
        onto[start].append(end)
        into[end].append(start)
    connecting = _connecting(road, onto, into)
    group = _groups(road, connecting, onto, into)
    junction = tuple(group.get(lane, -1) for lane in range(count))
    crossings: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for lane, number in group.items():
        crossings[number].append((into[lane][0], lane))
    direct = _direct(count + len(crossings), onto, into, connecting)
    at = {edge: number for number, edges in direct.items() for edge in edges}
    before = tuple(_link([(j, i) for j in into[i]], 0, i, junction, at) for i in range(count))
    after = tuple(_link([(i, j) for j in onto[i]], 1, i, junction, at) for i in range(count))
    return Network(junction, before, after, {n: tuple(edges) for n, edges in crossings.items()}, direct)


def _connecting(road: RoadMap, onto: Lists, into: Lists) -> set[int]:
    """Connectors that obey the rules of connecting roads; those that break one are taken out until none does."""
    kind = road.area_kind[road.lane_area]
    found = {i for i in range(road.lanes) if kind[i] == AreaKind.LANE_CONNECTOR and len(onto[i]) == len(into[i]) == 1}
    while True:
        kept = {
            i for i in found
            if into[i][0] not in found and onto[i][0] not in found
            and found.issuperset(onto[into[i][0]]) and found.issuperset(into[onto[i][0]])
        }  # fmt: skip
        if kept == found:
            return found
        found = kept


def _groups(road: RoadMap, connecting: Iterable[int], onto: Lists, into: Lists) -> dict[int, int]:
    """Connecting road -> junction."""
    lanes = sorted(connecting)
    row = {lane: k for k, lane in enumerate(lanes)}
    tree = shapely.STRtree([shapely.LineString(road.centre_line(lane)) for lane in lanes])
    pairs = tree.query(tree.geometries, predicate="intersects").T.tolist() if lanes else []
    for lane in lanes:
        pairs += [(row[lane], row[other]) for other in (*onto[into[lane][0]], *into[onto[lane][0]])]
    return {lane: road.lanes + number for lane, number in zip(lanes, _components(len(lanes), pairs), strict=True)}


def _direct(first: int, onto: Lists, into: Lists, connecting: set[int]) -> dict[int, tuple[tuple[int, int], ...]]:
    """Junctions where lanes split or merge without connecting roads."""
    edges = [(i, j) for i, ways in enumerate(onto) for j in ways if i not in connecting and j not in connecting]
    row = {edge: k for k, edge in enumerate(edges)}
    pairs = [(row[i, j], row[i, k]) for i, j in edges for k in onto[i] if (i, k) in row]
    pairs += [(row[i, j], row[k, j]) for i, j in edges for k in into[j] if (k, j) in row]
    members: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for edge, number in zip(edges, _components(len(edges), pairs), strict=True):
        members[number].append(edge)
    shared = [tuple(found) for found in members.values() if len(found) > 1]
    return {first + number: found for number, found in enumerate(shared)}


def places(road: RoadMap) -> list[int]:
    """[2 L] the place where each lane ends, then where each begins: equal numbers for what meets."""
    return _components(2 * road.lanes, [(start, road.lanes + end) for start, end in road.successors.tolist()])


def _components(count: int, pairs: Sequence[Sequence[int]]) -> list[int]:
    if not count:
        return []
    rows, columns = np.array(pairs, np.intp).reshape(-1, 2).T
    _, found = connected_components(coo_array((np.ones(len(rows)), (rows, columns)), (count, count)), directed=False)
    return [int(number) for number in found]


def _link(
    edges: Sequence[tuple[int, int]], side: int, lane: int, junction: Sequence[int], direct: Mapping[tuple[int, int], int]
) -> Link | None:
    """The link at one end of a lane; ``edges`` lead there, their other lane is at ``side``."""
    if not edges:
        return None
    other = edges[0][side]
    if junction[lane] >= 0:
        return "road", other
    if junction[other] >= 0:
        return "junction", junction[other]
    return ("junction", direct[edges[0]]) if edges[0] in direct else ("road", other)
