"""Where a log's ego means to go: the roadblocks that its scenes name, as lanes in order, and how far along it is at each frame."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from wetoolkit_driving.geometry import arc_lengths

from wetoolkit_logs.nuplan.citymap import CityMap

if TYPE_CHECKING:
    from wetoolkit_logs.nuplan.logfile import Log

Double = NDArray[np.float64]
Int = NDArray[np.int64]
BESIDE, BREAK, UNSEEN = (
    6.0,
    20.0,
    3.0,
)  # metres: within which a pose tells of a lane; costs of lanes that do not join, or not driven
EVERY = 0.1  # seconds between the places that are followed along a route
BACK, AHEAD = 10.0, 80.0  # metres along the route in which the next of them is looked for
ONWARD = 2  # lanes beyond the last driven that are the route in any case


class Way:
    """A log on its map. Routes are matched when a window first needs them."""

    def __init__(self, log: Log, city: CityMap) -> None:
        self.city = city
        self._log = log
        self._routes: dict[int, tuple[NDArray[np.int32], Int, Int, Int]] = {}

    @cached_property
    def lights(self) -> NDArray[np.int32]:
        """[L] the log's row of lights of each lane of the city, -1 for none."""
        found = np.full(len(self.city.arrays["lane_fid"]), -1, np.int32)
        for row, fid in enumerate(self._log.index["light"].tolist()):
            lane = self.city.lane_of.get(fid, -1)
            if lane >= 0:
                found[lane] = row
        return found

    def along(self, frames: Int, now: int, onward: int = ONWARD) -> tuple[NDArray[np.int32], Int]:
        """(the lanes from the one at the first frame to ``onward`` beyond that at the last, the fids of all roadblocks).

        The route is that of the scene of frame ``frames[now]``; empty where it has none.
        """
        number = int(self._log.index["scene"][frames[now]])
        lanes, at, index, blocks = self._route(number)
        if not len(lanes):
            return lanes, blocks
        place = np.clip(np.searchsorted(at, frames[[0, -1]], side="right") - 1, 0, len(at) - 1)
        begin, end = index[place]
        return lanes[begin : end + 1 + onward], blocks

    def whole(self, frames: Int) -> tuple[NDArray[np.int32], Int]:
        """(the lanes of all routes in order, each as far as it was driven and the last to its end; the fids of all roadblocks)."""
        numbers = list(dict.fromkeys(self._log.index["scene"][frames].tolist()))
        lanes: list[int] = []
        blocks = [np.zeros(0, np.int64)]
        for number in numbers:
            here, _, index, there = self._route(number)
            driven = (
                here[index[0] : index[-1] + 1] if len(here) and number != numbers[-1] else here[index[0] if len(index) else 0 :]
            )
            lanes += driven.tolist()
            blocks.append(there)
        return np.array([lane for lane, _ in groupby(lanes)], np.int32), np.unique(np.concatenate(blocks))

    def _route(self, number: int) -> tuple[NDArray[np.int32], Int, Int, Int]:
        if number not in self._routes:
            self._routes[number] = self._followed(number)
        return self._routes[number]

    def _followed(self, number: int) -> tuple[NDArray[np.int32], Int, Int, Int]:
        """(lanes, frames followed, index into the lanes at each of those, fids of the roadblocks) of a route."""
        nothing = np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)
        told = self._log.facts["own"].get("route")
        blocks = np.array(self._log.facts["routes"][number] if number >= 0 else [], np.int64)
        frames = self._frames(number)
        poses = self._log.index["states"][frames, :3]
        lanes = [self.city.lane_of.get(fid, -1) for fid in told] if told is not None else self._chosen(blocks, poses)
        if not lanes or min(lanes) < 0 or not len(frames):
            return nothing
        index = follow([self.city.line(lane) for lane in lanes], poses[:, :2])
        return np.array(lanes, np.int32), frames, index, np.unique(self.city.arrays["lane_block_fid"][lanes])

    def _frames(self, number: int) -> Int:
        """The good frames of a route's scenes, one every tenth of a second."""
        log = self._log
        frames = np.flatnonzero((log.index["scene"] == number) & log.index["good"])
        return frames[:: max(round(EVERY / log.dt), 1)]

    def _chosen(self, blocks: Int, poses: Double) -> list[int]:
        """A lane of each roadblock, so that they join and lie where the ego drove: the cheapest path (Viterbi)."""
        options = [self.city.lanes_of_block.get(int(block), []) for block in blocks]
        options = [lanes for lanes in options if lanes]
        if not options:
            return []
        first, rows = self.city.following
        total, came = [self._cost(lane, poses) for lane in options[0]], []
        for before, lanes in pairwise(options):
            after = [set(rows[first[a] : first[a + 1]].tolist()) for a in before]
            steps = np.array([[total[i] + BREAK * (b not in after[i]) for i in range(len(before))] for b in lanes])
            came.append(steps.argmin(1))
            total = (steps.min(1) + [self._cost(lane, poses) for lane in lanes]).tolist()
        path = [int(np.argmin(total))]
        for back in reversed(came):
            path.append(int(back[path[-1]]))
        return [lanes[k] for lanes, k in zip(options, path[::-1], strict=True)]

    def _cost(self, lane: int, poses: Double) -> float:
        """Mean metres from the poses near a lane to it; ``UNSEEN`` where none is near."""
        line = self.city.line(lane)
        near = ((poses[:, :2] > line.min(0) - BESIDE) & (poses[:, :2] < line.max(0) + BESIDE)).all(1)
        if not near.any():
            return UNSEEN
        away = np.hypot(*(poses[near, None, :2] - line).transpose(2, 0, 1)).min(1)
        return float(away[away < BESIDE].mean()) if (away < BESIDE).any() else UNSEEN


def follow(lines: Sequence[Double], places: Double) -> Int:
    """[n] the line that each place [n, 2] is on, in order of time: never far back, never far ahead of the one before."""
    points = np.concatenate(lines)
    owner = np.repeat(np.arange(len(lines)), [len(line) for line in lines])
    length = arc_lengths(points)
    found = np.zeros(len(places), np.int64)
    low, high = 0.0, np.inf
    for k, place in enumerate(places):
        begin, stop = np.searchsorted(length, (low, high))
        begin, stop = max(int(begin) - 1, 0), min(int(stop) + 1, len(points))
        at, row = _nearest(points[begin:stop], length[begin:stop], place)
        found[k] = owner[min(begin + row, len(points) - 1)]
        low, high = at - BACK, at + AHEAD
    return found


def _nearest(points: Double, length: Double, place: Double) -> tuple[float, int]:
    """(arc length, row of the segment's end) of the place of a polyline that is nearest."""
    if len(points) < 2:
        return float(length[0]), 0
    step = np.diff(points, axis=0)
    square = np.maximum((step**2).sum(1), 1e-12)
    part = np.clip(((place - points[:-1]) * step).sum(1) / square, 0, 1)
    away = np.hypot(*(points[:-1] + part[:, None] * step - place).T)
    best = int(away.argmin())
    return float(length[best] + part[best] * np.sqrt(square[best])), best + 1
