"""Where a log's ego means to go: the roadblocks that its scenes name, as lanes in order, and how far along it is at each frame."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from wetoolkit_driving.geometry import arc_lengths, project_point

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
ONWARD, FARTHER = 2, 150.0  # lanes beyond the last driven that are the route; metres of them at least where others wrote the log


class Way:
    """A log on its map. Routes are matched when a window first needs them."""

    def __init__(self, log: Log, city: CityMap) -> None:
        self.city = city
        self._log = log
        self._routes: dict[int, tuple[NDArray[np.int32], Int, Int]] = {}

    @cached_property
    def lights(self) -> NDArray[np.int32]:
        """[L] the log's row of lights of each lane of the city, -1 for none."""
        found = np.full(len(self.city.arrays["lane_fid"]), -1, np.int32)
        for row, fid in enumerate(self._log.index["light"].tolist()):
            lane = self.city.lane_of.get(fid, -1)
            if lane >= 0:
                found[lane] = row
        return found

    def along(self, frames: Int, now: int) -> NDArray[np.int32]:
        """The lanes from that at the first frame to some beyond that at the last; none where the scene at ``now`` has no route."""
        lanes, at, index = self._route(int(self._log.index["scene"][frames[now]]))
        if not len(lanes):
            return lanes
        begin, end = index[np.clip(np.searchsorted(at, frames[[0, -1]], side="right") - 1, 0, len(at) - 1)].tolist()
        stop, metres = end + 1 + ONWARD, 0.0 if "route" in self._log.facts["own"] else FARTHER
        beyond = sum(self._length(lane) for lane in lanes[end + 1 : stop])
        while beyond < metres and stop < len(lanes):
            beyond, stop = beyond + self._length(lanes[stop]), stop + 1
        return lanes[begin:stop]

    def _length(self, lane: int) -> float:
        return float(arc_lengths(self.city.line(lane))[-1])

    def whole(self, frames: Int) -> NDArray[np.int32]:
        """The lanes of all routes in order, each as far as it was driven and the last to its end."""
        numbers = list(dict.fromkeys(self._log.index["scene"][frames].tolist()))
        lanes: list[int] = []
        for number in numbers:
            here, _, index = self._route(number)
            if len(index):
                lanes += here[index[0] : index[-1] + 1 if number != numbers[-1] else len(here)].tolist()
        return np.array([lane for lane, _ in groupby(lanes)], np.int32)

    def _route(self, number: int) -> tuple[NDArray[np.int32], Int, Int]:
        if number not in self._routes:
            self._routes[number] = self._followed(number)
        return self._routes[number]

    def _followed(self, number: int) -> tuple[NDArray[np.int32], Int, Int]:
        """(lanes, frames followed, index into the lanes at each of those) of a route."""
        nothing = np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.int64)
        told = self._log.facts["own"].get("route")
        blocks = np.array(self._log.facts["routes"][number] if number >= 0 else [], np.int64)
        frames = self._frames(number)
        poses = self._log.index["states"][frames, :3]
        lanes = [self.city.lane_of.get(fid, -1) for fid in told] if told is not None else self._chosen(blocks, poses)
        if not lanes or min(lanes) < 0 or not len(frames):
            return nothing
        return np.array(lanes, np.int32), frames, follow([self.city.line(lane) for lane in lanes], poses[:, :2])

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
        at = project_point(points[begin:stop], length[begin:stop], place[0], place[1])[0]
        found[k] = owner[min(np.searchsorted(length, at), len(points) - 1)]
        low, high = at - BACK, at + AHEAD
    return found
