"""A folder of logs: which there are by name, the few that are open, and the maps that they stand on."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

from wetoolkit.errors import DataError
from wetoolkit_logs.index import Head, unique
from wetoolkit_logs.nuplan.arrays import cache_folder, identity
from wetoolkit_logs.nuplan.citymap import CityMap, city_of, map_file, maps_folder
from wetoolkit_logs.nuplan.config import NuPlanConfig
from wetoolkit_logs.nuplan.logfile import Log
from wetoolkit_logs.nuplan.way import Way

OFF = 0.03  # by which the rate of a log may differ from a multiple of what is asked


class Folder:
    """Opens what is asked for; at most ``keep`` logs stay open."""

    def __init__(self, config: NuPlanConfig) -> None:
        self.config = config
        self.path = Path(os.path.expandvars(config.folder)).expanduser()
        self.left_out: list[str] = []
        self.cities: dict[Path, CityMap] = {}
        self._heads: dict[str, Head] = {}
        self._open: OrderedDict[str, tuple[Log, Way]] = OrderedDict()

    @property
    def maps(self) -> Path:
        """Where the maps are."""
        return maps_folder(self.config.maps, self.path)

    def paths(self) -> list[Path]:
        """The logs. Errors: ``DataError`` where there is none."""
        if self.path.is_file():
            return [self.path]
        found = sorted(path for path in self.path.rglob("*.db") if not path.name.startswith("."))
        if not found:
            raise DataError(
                "no log (*.db) in it", file=str(self.path), field="folder", way_out="set `folder` to where the logs are"
            )
        return found

    def known(self) -> Mapping[str, Head]:
        """The logs that can be read, by name. Errors: ``DataError`` where that is none, or not all and all are due."""
        if not self._heads:
            self._heads, self.left_out = unique([self._head(path) for path in self.paths()])
        if self.left_out and (self.config.bad_files == "error" or not self._heads):
            raise DataError(
                f"{len(self.left_out)} of {len(self.left_out) + len(self._heads)} logs cannot be used",
                file=str(self.path),
                left_out="; ".join(self.left_out),
                way_out="repair or remove them" + (', or set bad_files = "count"' if self._heads else ""),
            )
        return self._heads

    def log(self, name: str) -> Log:
        """A log without its map."""
        if name in self._open:
            return self._open[name][0]
        file = self.known()[name].file
        return self._log(self.path if self.path.is_file() else self.path / file)

    def standing(self, name: str) -> tuple[Log, Way]:
        """A log on its map, from those that are open. Errors: ``DataError`` where it has none, or that of another city."""
        if name not in self._open:
            log = self.log(name)
            path = map_file(self.maps, log.facts["map"] or log.facts["location"]).resolve()
            if path not in self.cities:
                self.cities[path] = city_of(path, self.config.cache)
            log.attach(self.cities[path])
            self._open[name] = log, Way(log, self.cities[path])
        self._open.move_to_end(name)
        while len(self._open) > self.config.keep:
            self._open.popitem(last=False)[1][0].close()
        return self._open[name]

    def indexed(self, path: Path) -> bool:
        """Whether all that windows of a log need is in the cache."""
        kinds = ("frames", "boxes") if self.config.arrays and self.config.boxes != "memory" else ("frames",)
        return all((cache_folder() / f"{identity(path)}.{kind}.safetensors").is_file() for kind in kinds)

    def _log(self, path: Path) -> Log:
        return Log(path, self.config.cache, self.config.boxes != "memory")

    def _head(self, path: Path) -> Head:
        file = path.relative_to(self.path).as_posix() if path != self.path else path.name
        try:
            log = self._log(path)
            self._check_rate(log)
        except DataError as error:
            return Head(file, 0, 0, error=" ".join([error.what, *map(str, error.context.values())]))
        return Head(file, 0, 0, log.name)

    def _check_rate(self, log: Log) -> None:
        times = 1 / log.dt / self.config.rate
        if round(times) < 1 or abs(times / round(times) - 1) > OFF:
            raise DataError(
                f"frames come at {1 / log.dt:.1f} Hz, {self.config.rate:g} Hz were asked",
                file=str(log.path),
                table="lidar_pc",
                way_out="set `rate` to a whole fraction of the log's",
            )
