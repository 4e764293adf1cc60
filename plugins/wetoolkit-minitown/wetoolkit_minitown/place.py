"""A town with all its tables, and ways through it: random ones onward, and ones that lead up to a given spot."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from wetoolkit_minitown.network import Net, Paths, build_net, build_paths
from wetoolkit_minitown.roadmap import TownMap, build_map
from wetoolkit_minitown.town import BIKE, CAR, CAR_LINK, LANE, PARKING, Road, Town, build_town

Double = NDArray[np.float64]
Int = NDArray[np.int64]

WAYS = 16  # tracks of a driver's way
LEFT, RIGHT = 0.03, 0.12  # weights of turns in the ego's route, where going straight has 1


@dataclass(frozen=True)
class Place:
    """A town with its tables, made once and used by all its logs."""

    name: str
    town: Town
    net: Net
    paths: Paths
    map: TownMap

    @classmethod
    def build(cls, name: str, seed: tuple[int, ...]) -> Place:
        """The town of a seed."""
        town = build_town(np.random.default_rng(seed))
        return cls(name, town, build_net(town), build_paths(town), build_map(town))

    @cached_property
    def lanes(self) -> Int:
        """Tracks that are lanes for cars."""
        return np.flatnonzero(np.asarray(self.net.kind == CAR))

    @cached_property
    def bike_lanes(self) -> Int:
        """Tracks that are cycle tracks along roads."""
        return np.flatnonzero(np.asarray(self.net.kind == BIKE))

    @cached_property
    def links(self) -> Int:
        """Ways for cars across junctions."""
        return np.flatnonzero(np.asarray(self.net.kind == CAR_LINK))

    @cached_property
    def onward(self) -> list[list[int]]:
        """For each walk in each direction (2 x index + 1 if backwards) those that lead on from its end."""
        touching: dict[int, list[int]] = {}
        for w, (a, b) in enumerate(self.paths.ends.tolist()):
            touching.setdefault(a, []).append(2 * w)
            touching.setdefault(b, []).append(2 * w + 1)
        ends = [end for a, b in self.paths.ends.tolist() for end in (b, a)]
        return [[c for c in touching[end] if c // 2 != code // 2] for code, end in enumerate(ends)]

    @cached_property
    def broad(self) -> Int:
        """Lanes of roads with two lanes each way that are long enough to be cut in on."""
        wide = [self.road(int(k)).lanes > 1 and self.net.length[k] > 100 for k in self.lanes]
        picked: Int = self.lanes[np.array(wide, bool)]
        return picked

    @cached_property
    def kerbside(self) -> tuple[tuple[int, float], ...]:
        """(outermost lane, metres along it) of every parked car, as in ``town.parked``; lane -1 where there is none."""
        found = [(-1, 0.0)] * len(self.town.parked)
        for k in self.lanes.tolist():
            if self.town.tracks[k].lane == self.road(k).lanes - 1 and len(found):
                away, at = cKDTree(self.town.tracks[k].xy).query(self.town.parked[:, :2])
                for q in np.flatnonzero(np.abs(away - (LANE + PARKING) / 2) < 0.5):
                    found[q] = (k, float(at[q] * self.net.step[k]))
        return tuple(found)

    def road(self, k: int) -> Road:
        """The road of a lane."""
        return self.town.roads[self.town.tracks[k].road]

    def sibling(self, k: int) -> int:
        """The other lane of the same carriageway."""
        t = self.town.tracks[k]
        same = [(u.road, u.direction) == (t.road, t.direction) for u in (self.town.tracks[int(i)] for i in self.lanes)]
        return next(int(i) for i, is_same in zip(self.lanes, same, strict=True) if is_same and i != k)

    def way(self, rng: np.random.Generator, *begin: int) -> Int:
        """[WAYS] tracks: those given, in order, and a random way on."""
        net, way = self.net, list(begin)
        for u in rng.random(max(0, WAYS - len(way))):
            first, last = net.follow_offset[way[-1]], net.follow_offset[way[-1] + 1]
            way.append(int(net.follow[first + int(u * (last - first))]))
        return np.array(way[:WAYS], np.int64)

    def route(self, rng: np.random.Generator, *begin: int) -> Int:
        """[WAYS] tracks for the ego: those given and a way on that mostly goes straight, as real routes do."""
        net, way = self.net, list(begin)
        for u in rng.random(max(0, WAYS - len(way))):
            choices = net.follow[net.follow_offset[way[-1]] : net.follow_offset[way[-1] + 1]].tolist()
            turns = np.array([self.town.tracks[k].turn for k in choices])
            weight = np.cumsum(np.where(turns > 0.6, LEFT, np.where(turns < -0.6, RIGHT, 1.0)))
            way.append(choices[int(np.searchsorted(weight, u * weight[-1], "right"))])
        return np.array(way[:WAYS], np.int64)

    def before(self, rng: np.random.Generator, k: int) -> tuple[int, ...]:
        """A lane and a link by which one may come into lane ``k``; empty where there is none."""
        links = self.links[self.net.target[self.links] == k]
        if not len(links):
            return ()
        link = int(rng.choice(links))
        return int(self.net.origin[link]), link

    def approach(self, rng: np.random.Generator, k: int, s: float, metres: float) -> tuple[list[int], float]:
        """(tracks that lead into lane ``k``, itself the last; metres along the first) of a start about ``metres`` before ``s``."""
        tracks, at = [k], s - metres
        while at < 4.0:
            before = self.before(rng, tracks[0])
            if not before:
                return tracks, 4.0
            tracks, at = [*before, *tracks], at + float(self.net.length[list(before)].sum())
            at = min(at, float(self.net.length[before[0]]) - 12.0)
        return tracks, at
