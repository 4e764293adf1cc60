"""Dataset `nuplan`: windows of nuPlan logs, read with sqlite3 and pyogrio alone. docs/nuplan.md tells what is done.

Ids are ``nuplan/<log>/<token>``, the token that of the present frame. Logs are opened one by one and at most ``keep`` stay open:
what is read grows with the windows asked for, not with the folder.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from wetoolkit_driving.sensors import Sensors
from wetoolkit_driving.types import World

from wetoolkit.errors import DataError, UnknownName
from wetoolkit.registry import config_hash
from wetoolkit.types import Clock, Defect, Lineage, Ref, Scenario, Step
from wetoolkit_logs import __version__
from wetoolkit_logs.index import assign
from wetoolkit_logs.nuplan import check, sensors
from wetoolkit_logs.nuplan.config import NuPlanConfig
from wetoolkit_logs.nuplan.filters import Filter, read_filter
from wetoolkit_logs.nuplan.folder import Folder
from wetoolkit_logs.nuplan.logfile import Log
from wetoolkit_logs.nuplan.selection import logs_of, presents
from wetoolkit_logs.recording import blamed

MAGIC = b"SQLite format 3\0"
DAY = 86_400_000_000  # microseconds


class NuPlan:
    """kinds.Dataset, with SupportsMake, SupportsFiles, SupportsReport, SupportsRecordings, SupportsSensors and SupportsInspect."""

    name = "nuplan"
    format = "nuPlan logs (SQLite) and maps (GeoPackage)"
    licence = "that of the logs (nuPlan: CC BY-NC-SA 4.0 and its terms of use)"

    def __init__(self, config: NuPlanConfig) -> None:
        self.config = config
        self._folder = Folder(config)
        self._filters: dict[str, Filter] = {}
        self._counts: dict[str, Mapping[str, int]] = {}

    def __reduce__(self) -> tuple[object, ...]:
        # Workers get the config and open what they need.
        return type(self), (self.config,)

    @classmethod
    def recognise(cls, path: Path) -> Mapping[str, Any] | None:
        """A log, or a folder that holds one."""
        found = path if path.is_file() else next(iter(sorted(path.rglob("*.db"))), None) if path.is_dir() else None
        if found is None or found.suffix != ".db":
            return None
        with found.open("rb") as file:
            return {"folder": str(path)} if file.read(len(MAGIC)) == MAGIC else None

    def splits(self) -> Sequence[str]:
        """Names as in the config."""
        return tuple(self.config.splits)

    def index(self, split: str) -> Sequence[Ref]:
        """Every window of the split, log by log. Errors: ``UnknownName``; ``DataError`` where the split is empty."""
        logs, chosen = self._split(split), self._filter(split)
        refs = [ref for name in logs for ref in self._refs(name, split, chosen)]
        if not refs:
            raise DataError(
                f"split {split!r} is empty: {len(logs)} of {len(self._folder.known())} logs fall into it, none with a window",
                file=str(self._folder.path),
                left_out="; ".join(self._folder.left_out),
                way_out="name logs, tags or tokens that are there, or shorten `history` and `future`",
            )
        return refs[: chosen.limit] if chosen.limit else refs

    def find(
        self, log: str = "", token: str = "", tag: str = "", between: tuple[int, int] | None = None, split: str = ""
    ) -> Sequence[Ref]:
        """Windows at every frame of a log, with the token or tag, or at a time between two [microseconds, inclusive; from the
        log's first frame where they are less than a day].

        Empty where nothing fits. ``split`` (the first unless given) is what the Refs say; it decides on history and future.
        """
        split = split or self.splits()[0]
        chosen = Filter(tokens=(token,) if token else None, tags=(tag,) if tag else None, stride=0.0)
        names = [log] if log in self._folder.known() else [] if log else list(self._folder.known())
        return [ref for name in names for ref in self._refs(name, split, chosen, between)]

    def load(self, ref: Ref) -> Scenario[World]:
        """One window, validated. Errors: ``DataError`` where its log or map cannot be read or the id is none of this folder's."""
        name, frames, now = self._frames(ref)
        return self._scenario(ref, name, frames, now)

    def recordings(self, split: str) -> Sequence[Ref]:
        """One Ref a log of the split."""
        return [Ref(name, split, name) for name in self._split(split)]

    def recording(self, ref: Ref) -> Scenario[World]:
        """The longest stretch of a log without a gap, its present at the first step; the map around all of the ego's path."""
        name, frames, _ = self._frames(Ref(ref.id, ref.split, ref.id))
        return self._scenario(ref, name, frames, 0)

    def sensors(self, ref: Ref, cameras: Sequence[str] | None = None, steps: Sequence[int] | None = None) -> Sensors:
        """Images and sweeps of a window or recording. Errors: ``DataError`` where an image that the log names is missing."""
        name, frames, now = self._frames(ref)
        log = self._folder.log(name)
        place = np.append(log.index["states"][frames[now], :2], log.index["z"][frames[now]])
        span = int(log.time[frames[0]]), int(log.time[frames[-1]])
        blobs = sensors.folder_of(self.config.sensor_folder, self._folder.path)
        return sensors.read(log.path, blobs, span, place, cameras).during(steps)

    def pending(self, splits: Sequence[str]) -> Sequence[Path]:
        """Logs of the folder that are not indexed; every split needs them all."""
        return [path for path in self._folder.paths() if not self._folder.indexed(path)] if self.config.cache else []

    def make(self, piece: Path) -> None:
        """Index a log, its boxes too where they are read as arrays. What cannot be read ``index`` tells of."""
        try:
            log = Log(piece)
            if self.config.arrays:
                _ = log.boxes
        except DataError:
            return

    def files(self) -> Sequence[Path]:
        """Logs, maps and filter files."""
        filters = [self._filter_file(told) for told in self.config.splits.values() if isinstance(told, str)]
        maps = {path.resolve() for path in self._folder.maps.glob("*/*/map.gpkg")}
        return [*self._folder.paths(), *sorted(maps), *filters]

    def repairs(self) -> Mapping[str, int]:
        """What was left out -> how often, over the logs of the splits indexed so far and their maps."""
        total: Counter[str] = Counter(dict.fromkeys(self._folder.left_out, 1))
        for counts in (*self._counts.values(), *(city.counts for city in self._folder.cities.values())):
            total.update(counts)
        return {name: count for name, count in sorted(total.items()) if count}

    def inspect(self) -> Mapping[str, str]:
        """Facts by name, of all logs."""
        return check.facts(self, [self._folder.log(name) for name in self._folder.known()], self._folder.left_out)

    def defects(self) -> Iterator[Defect]:
        """Everything wrong in logs and maps, row by row."""
        blobs = sensors.folder_of(self.config.sensor_folder, self._folder.path)
        yield from check.defects(self._folder.paths(), self._folder.maps, blobs, self._folder.path)

    @cached_property
    def _step(self) -> Step:
        return Step(f"dataset/{self.name}", f"wetoolkit-logs {__version__}", config_hash(self.config))

    def _scenario(self, ref: Ref, name: str, frames: NDArray[np.int64], now: int) -> Scenario[World]:
        log, way = self._folder.standing(name)
        with blamed(str(log.path)):
            world, origin = log.scene(
                way, frames, now, 1 / self.config.rate, self.config.radius, ref.id == name, self.config.arrays
            )
            clock = Clock(1 / self.config.rate, now, world.steps)
            lineage = Lineage(self.name, name, ref.id, (self._step,))
            scenario = Scenario(ref.id, "driving", ref.split, name, clock, origin, lineage, world)
            scenario.validate()
        return scenario

    def _frames(self, ref: Ref) -> tuple[str, NDArray[np.int64], int]:
        """(log, its frames in a window or recording, index of the present). Errors: ``DataError`` for a Ref of somewhere else."""
        rate = self.config.rate
        if ref.id in self._folder.known():
            log = self._folder.log(ref.id)
            first, last = max(log.runs, key=lambda run: run[1] - run[0], default=(0, 0))
            if first == last:
                raise DataError(
                    "no two frames with a pose follow each other", file=str(log.path), table="lidar_pc", way_out="leave it out"
                )
            steps = int((log.time[last] - log.time[first]) / 1e6 * rate + 0.1)
            return ref.id, log.frames_at(first, 0, steps, 1 / rate), 0
        name, frame = self._address(ref)
        before, after = (round(seconds * rate) for seconds in self._spans(ref.split))
        return name, self._folder.log(name).frames_at(frame, before, after, 1 / rate), before

    def _address(self, ref: Ref) -> tuple[str, int]:
        """Log and present frame of a window."""
        name, _, token = ref.id.removeprefix(f"{self.name}/").rpartition("/")
        if name in self._folder.known() and len(token) == 16 and set(token) <= set("0123456789abcdef"):
            log = self._folder.standing(name)[0]
            frame = log.frame_of.get(int(token, 16), -1)
            if any(low <= frame <= high for low, high in log.presents(*self._spans(ref.split))):
                return name, frame
        raise DataError(f"no window {ref.id!r}", file=str(self._folder.path), way_out="take Refs from index() or find()")

    def _spans(self, split: str) -> tuple[float, float]:
        """Seconds before and after now in the windows of a split."""
        chosen = self._filter(split)
        history = self.config.history if chosen.history is None else chosen.history
        return history, self.config.future if chosen.future is None else chosen.future

    def _refs(self, name: str, split: str, chosen: Filter, between: tuple[int, int] | None = None) -> list[Ref]:
        """The windows of a log."""
        log = self._folder.log(name)
        stride = self.config.stride if chosen.stride is None else chosen.stride
        found = presents(log, chosen, *self._spans(split), stride)
        if between is not None:
            first = int(log.time[0]) if between[1] < DAY else 0
            between = first + between[0], first + between[1]
            found = found[(log.time[found] >= between[0]) & (log.time[found] <= between[1])]
        return [Ref(f"{self.name}/{name}/{token:016x}", split, name) for token in log.index["token"][found].tolist()]

    def _filter_file(self, told: str) -> Path:
        path = Path(os.path.expandvars(told)).expanduser()
        return path if path.is_absolute() or path.is_file() else self._folder.path / path

    def _filter(self, split: str) -> Filter:
        """The filter of a split; that of the config's tags where it has none."""
        told = self.config.splits.get(split)
        if not isinstance(told, str):
            return Filter(tags=tuple(self.config.tags) or None)
        if split not in self._filters:
            self._filters[split] = read_filter(self._filter_file(told))
        return self._filters[split]

    def _split(self, split: str) -> list[str]:
        """The logs of a split, in order; their counts join the report."""
        if split not in self.config.splits:
            raise UnknownName("split", split, self.config.splits, dataset=self.name)
        told = {
            name: logs_of(self._filter(name), self._folder) if isinstance(logs, str) else logs
            for name, logs in self.config.splits.items()
        }
        logs = assign(self._folder.known(), told, self.config.seed)[split]
        self._counts.update({name: self._folder.log(name).facts["counts"] for name in logs if name not in self._counts})
        return logs


__all__ = ["NuPlan", "NuPlanConfig"]
