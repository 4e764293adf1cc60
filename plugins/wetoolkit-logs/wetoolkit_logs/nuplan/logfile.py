"""One log: its frames in memory, its boxes on demand, and windows cut out of both and the map."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from wetoolkit_driving.types import AgentClass, Agents, Control, Ego, Signal, Vehicle, World

from wetoolkit.errors import DataError
from wetoolkit_logs.motion import runs
from wetoolkit_logs.nuplan.arrays import Arrays, kept
from wetoolkit_logs.nuplan.boxes import Boxes, ask, of_frames, read_boxes
from wetoolkit_logs.nuplan.citymap import CityMap, Part
from wetoolkit_logs.nuplan.db import blamed, connect
from wetoolkit_logs.nuplan.frames import UNSAID, read_frames, vehicle_of
from wetoolkit_logs.nuplan.way import Way
from wetoolkit_logs.recording import SIZES

Double = NDArray[np.float64]
Int = NDArray[np.int64]
ELSEWHERE = 300.0  # metres: a log whose ego is farther from everything on the map half of the time belongs to another one


class Log:
    """A log by its file. Heavy parts are made when they are first asked for, and kept on disk."""

    def __init__(self, path: Path, cache: bool = True, cache_boxes: bool = True) -> None:
        self.path = path
        self._presents: dict[tuple[float, float], list[tuple[int, int]]] = {}
        self._cache_boxes = cache and cache_boxes
        if not path.is_file():
            raise DataError("no such log", file=str(path), way_out="check the folder, or make the index again")
        self.index: Arrays = kept([path], "frames", lambda: read_frames(path), cache)
        self.facts: Mapping[str, Any] = self.index.facts
        self.time: Int = self.index["time"]  # [F] microseconds
        own = self.facts["own"]
        self.vehicle: Vehicle = vehicle_of(own)
        self.offset = np.array(own.get("offset", (0.0, 0.0)))  # [2] metres that the writer added to the log's own coordinates

    @property
    def name(self) -> str:
        """As the recording was called, or the file's stem."""
        return str(self.facts["own"].get("log") or self.path.stem)

    @property
    def dt(self) -> float:
        """Seconds between its frames, mostly."""
        return float(np.median(np.diff(self.time))) / 1e6

    @cached_property
    def runs(self) -> list[tuple[int, int]]:
        """Stretches [first, last] of frames that windows may span."""
        return [(start, stop) for start, stop in runs(self.index["joined"])]

    @cached_property
    def frame_of(self) -> Mapping[int, int]:
        """Token as a number -> frame."""
        return {token: k for k, token in enumerate(self.index["token"].tolist())}

    @cached_property
    def _names(self) -> NDArray[np.object_]:
        return np.array([*self.facts["names"], ""], object)[:-1]

    @cached_property
    def _tracks(self) -> Mapping[bytes, int]:
        return {token: k for k, token in enumerate(self.index["track"].astype(">u8").view("V8").tolist())}

    @cached_property
    def _sizes(self) -> NDArray[np.float32]:
        """[A, 3], with a class's usual size where the log has none."""
        size = self.index["size"].copy()
        usual = np.array([SIZES.get(AgentClass(kind), (0.5, 0.5, 1.0)) for kind in range(len(AgentClass))], np.float32)
        return np.where(size > 0, size, usual[self.index["kind"]])

    @cached_property
    def boxes(self) -> Arrays:
        """All boxes, by frame; the first call of all reads the whole log."""
        return kept(
            [self.path], "boxes", lambda: read_boxes(self.path, self.index["token"], self.index["track"]), self._cache_boxes
        )

    @cached_property
    def _base(self) -> sqlite3.Connection:
        return connect(self.path)

    def close(self) -> None:
        """Let go of the file."""
        if "_base" in self.__dict__:
            self.__dict__.pop("_base").close()

    def nearest(self, due: Int) -> Int:
        """[n] the frames nearest to some times [n, microseconds]."""
        right = np.clip(np.searchsorted(self.time, due), 1, len(self.time) - 1)
        return np.where(due - self.time[right - 1] <= self.time[right] - due, right - 1, right)

    def frames_at(self, now: int, before: int, after: int, dt: float) -> Int:
        """[before + 1 + after] the frames nearest to ``now`` and every ``dt`` seconds around it."""
        return self.nearest(self.time[now] + np.rint(np.arange(-before, after + 1) * dt * 1e6).astype(np.int64))

    def presents(self, before: float, after: float) -> list[tuple[int, int]]:
        """Stretches [first, last] of frames that have ``before`` and ``after`` seconds of the log around them, without a gap."""
        if (before, after) not in self._presents:
            self._presents[before, after] = self._around(before, after)
        return self._presents[before, after]

    def _around(self, before: float, after: float) -> list[tuple[int, int]]:
        slack = self.dt * 1e6 / 2
        found = []
        for first, last in self.runs:
            low = int(np.searchsorted(self.time, self.time[first] + before * 1e6 - slack))
            high = int(np.searchsorted(self.time, self.time[last] - after * 1e6 + slack, side="right")) - 1
            if first <= low <= high <= last:
                found.append((low, high))
        return found

    def attach(self, city: CityMap) -> None:
        """Make sure that a map is this log's. Errors: ``DataError`` where the ego is nowhere on it."""
        good = np.flatnonzero(self.index["good"])
        places = self.index["states"][good[:: max(len(good) // 20, 1)], :2]
        if len(places) and np.median([city.distance(place) for place in places]) > ELSEWHERE:
            raise DataError("the ego is nowhere near this map: it is that of another city", file=str(self.path), table="log",
                            map=str(city.path), way_out="set `maps` to the maps of these logs")  # fmt: skip

    def scene(
        self, way: Way, frames: Int, now: int, dt: float, radius: float, whole: bool, cached: bool
    ) -> tuple[World, tuple[float, float, float]]:
        """The world of some frames, present at index ``now`` of them, and its origin.

        The map reaches ``radius`` metres around the ego's place then, around all of its path where it is a ``whole`` recording.
        """
        states = self.index["states"][frames]
        centre = states[now, :2].copy()
        path = states[:, :2] if whole else states[now : now + 1, :2]
        route = way.whole(frames) if whole else way.along(frames, now)
        part = way.city.cut(path.min(0), path.max(0), radius, route, centre)
        states[:, :2] -= centre
        with blamed(self.path):
            boxes = self._found(frames, cached)
        lit, signals = self._signals(way, part.lanes, frames)
        world = World(
            ego=Ego(states, np.ones(len(frames), bool), self.vehicle),
            agents=self._agents(boxes, len(frames), centre),
            map=replace(part.map, lane_signal=lit),
            signals=signals,
            route=np.searchsorted(part.lanes, route).astype(np.int32),
            on_route=on_route(part, way.city.block, route),
            dt=dt,
            unavailable=self._unavailable(bool(len(route))),
        )
        origin = centre - self.offset
        return world, (float(origin[0]), float(origin[1]), float(self.index["z"][frames[now]]))

    def _unavailable(self, routed: bool) -> tuple[str, ...]:
        own = self.facts[
            "own"
        ]  # our writer says what its source could not tell: a drive that passes no light has none all the same
        said = dict.fromkeys(own.get("unavailable", ()))
        missing = {"signals": not len(self.index["light"]) and not own, "route": not routed}
        return tuple(said | dict.fromkeys(name for name, is_so in missing.items() if is_so))

    def _found(self, frames: Int, cached: bool) -> Boxes:
        if cached or not self.facts["indexed"]:
            return of_frames(self.boxes, frames)
        return ask(self._base, self.index["token"][frames].astype(">u8").view("V8").tolist(), self._tracks)

    def _agents(self, boxes: Boxes, steps: int, centre: Double) -> Agents:
        there = np.zeros(len(self.index["kind"]), bool)
        there[boxes.track] = True
        seen = np.flatnonzero(there)
        at, numbers = ((np.cumsum(there) - 1)[boxes.track], boxes.step), boxes.numbers
        pose = np.zeros((len(seen), steps, 3), np.float32)
        velocity = np.zeros((len(seen), steps, 2), np.float32)
        valid = np.zeros((len(seen), steps), bool)
        numbers[:, :2] -= centre
        numbers[:, 2] = (numbers[:, 2] + np.pi) % (2 * np.pi) - np.pi
        pose[at], velocity[at], valid[at] = numbers[:, :3], numbers[:, 3:], True
        return Agents(
            tuple(self._names[seen]), self.index["kind"][seen], self._sizes[seen], pose, velocity, valid,
            np.full(len(seen), Control.REPLAY, np.uint8),
        )  # fmt: skip

    def _signals(self, way: Way, lanes: Int, frames: Int) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        """Row of each lane's signal [L], -1 for none, and their states [S, T]."""
        row = way.lights[lanes]
        lit = np.flatnonzero(row >= 0)
        states = self.index["lights"][np.ix_(row[lit], frames)]
        signal = np.full(len(lanes), -1, np.int32)
        signal[lit] = np.arange(len(lit))
        return signal, np.where(states == UNSAID, np.uint8(Signal.UNKNOWN), states)


def on_route(part: Part, block_of: Int, route: NDArray[np.int32]) -> NDArray[np.bool_]:
    """[P] the roadblocks of the route's lanes, and the polygons of all lanes in those."""
    found = np.zeros(len(part.areas), bool)
    blocks = np.zeros(int(block_of.max(initial=-1)) + 1, bool)
    blocks[block_of[route]] = True
    of_route = blocks[block_of[part.lanes]]
    for of in (part.map.lane_area, part.map.lane_roadblock):
        found[of[of_route & (of >= 0)]] = True
    return found
