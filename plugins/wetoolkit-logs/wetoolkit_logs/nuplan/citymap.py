"""The map of a city, and the part of it around a place: plain slices of arrays that lie mapped in memory."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from wetoolkit_driving.types import RoadMap

from wetoolkit.errors import DataError
from wetoolkit_logs.nuplan.arrays import Arrays, identity, kept
from wetoolkit_logs.nuplan.mapindex import read_map
from wetoolkit_logs.nuplan.schema import MAP_INDEX

Double = NDArray[np.float64]
Int = NDArray[np.int64]
Row = NDArray[np.int32]


@dataclass(frozen=True)
class Part:
    """What lies around a place, and which rows of the city's map it is."""

    map: RoadMap  # coordinates relative to ``origin``; no lane has a signal yet
    lanes: Int  # [L]
    areas: Int  # [P]


class CityMap:
    """A map by its file, or by arrays that were made of something else."""

    def __init__(self, path: Path, cache: bool = True, arrays: Arrays | None = None) -> None:
        if arrays is None and not path.is_file():
            raise DataError("no such map", file=str(path), way_out="name the folder of the maps (`maps`, or $NUPLAN_MAPS_ROOT)")
        self.path = path
        self.arrays: Arrays = kept([path], "map", lambda: read_map(path), cache) if arrays is None else arrays
        self.counts: Mapping[str, int] = self.arrays.facts["counts"]

    @cached_property
    def lane_names(self) -> NDArray[np.object_]:
        """[L]"""
        return np.array(self.arrays.facts["lanes"], object)

    @cached_property
    def area_names(self) -> NDArray[np.object_]:
        """[P]"""
        return np.array(self.arrays.facts["areas"], object)

    @cached_property
    def lane_of(self) -> Mapping[int, int]:
        """Lane fid -> row."""
        return {fid: k for k, fid in enumerate(self.arrays["lane_fid"].tolist())}

    @cached_property
    def block(self) -> Int:
        """[L] number of each lane's roadblock (connector), from 0."""
        return np.unique(self.arrays["lane_block_fid"], return_inverse=True)[1].reshape(-1)

    @cached_property
    def lanes_of_block(self) -> Mapping[int, list[int]]:
        """Fid of a roadblock (connector) -> rows of its lanes."""
        found: dict[int, list[int]] = {}
        for k, fid in enumerate(self.arrays["lane_block_fid"].tolist()):
            found.setdefault(fid, []).append(k)
        return found

    @cached_property
    def following(self) -> tuple[Int, Row]:
        """Successors of lane k: ``rows[first[k]:first[k + 1]]`` of the table of pairs, which is sorted by its first column."""
        pairs = self.arrays["successors"]
        return np.searchsorted(pairs[:, 0], np.arange(len(self.arrays["lane_fid"]) + 1)), np.ascontiguousarray(pairs[:, 1])

    def line(self, lane: int) -> Double:
        """[n, 2] a centre line, on the map."""
        offset = self.arrays["lane_offset"]
        return self.arrays["lane_xy"][offset[lane] : offset[lane + 1]]

    def near(self, name: str, place: Double, radius: float) -> NDArray[np.bool_]:
        """[n] whose box (``lane_box`` or ``area_box``) is within ``radius`` metres of a place [2]."""
        return _near(self.arrays[name], place, place, radius)

    def distance(self, place: Double) -> float:
        """Metres to the nearest box around anything on the map."""
        boxes = np.concatenate([self.arrays["lane_box"], self.arrays["area_box"]], 1)
        return float(np.hypot(*_away(boxes, place, place)).min())

    def _lines_near(self, lanes: Int, place: Double, radius: float) -> NDArray[np.bool_]:
        """Which lanes' centre lines come within ``radius`` metres of a place, not only the boxes around them."""
        points, offset = _take(self.arrays["lane_xy"], self.arrays["lane_offset"], lanes)
        if not len(lanes):
            return np.zeros(0, bool)
        step = np.diff(points, axis=0, append=points[-1:])
        step[offset[1:] - 1] = 0.0  # no segment leads from one line to the next
        aside = place - points
        part = np.clip((aside * step).sum(1) / np.maximum((step**2).sum(1), 1e-12), 0, 1)
        away = np.hypot(*(aside - part[:, None] * step).T)
        near: NDArray[np.bool_] = np.minimum.reduceat(away, offset[:-1]) <= radius
        return near

    def cut(self, low: Double, high: Double, radius: float, keep: NDArray[np.int32], origin: Double) -> Part:
        """What lies within ``radius`` metres of the box from ``low`` to ``high`` [2] each, and the lanes ``keep`` in any case."""
        a = self.arrays
        lane_near, area_near = (_near(a[name], low, high, radius) for name in ("lane_box", "area_box"))
        if (low == high).all():
            lane_near[lane_near] = self._lines_near(np.flatnonzero(lane_near), low, radius)
        lane_near[keep] = True
        lanes = np.flatnonzero(lane_near)
        body, block = a["lane_area"][lanes], a["lane_roadblock"][lanes]
        area_near[body[body >= 0]] = True
        area_near[block[block >= 0]] = True
        areas = np.flatnonzero(area_near)
        lane_row, area_row = _rows(lane_near), _rows(area_near)
        lane_xy, lane_offset = _take(a["lane_xy"], a["lane_offset"], lanes)
        area_xy, area_offset = _take(a["area_xy"], a["area_offset"], areas)
        first, rows = self.following
        after, bounds = _take(rows, first, lanes)
        pairs = np.stack([np.repeat(np.arange(len(lanes), dtype=np.int32), np.diff(bounds)), lane_row[after]], 1)
        part = RoadMap(
            tuple(self.area_names[areas]), a["area_kind"][areas], area_xy - origin, area_offset,
            tuple(self.lane_names[lanes]), lane_xy - origin, lane_offset, area_row[body], area_row[block],
            lane_row[a["lane_left"][lanes]], lane_row[a["lane_right"][lanes]], a["lane_speed_limit"][lanes],
            np.full(len(lanes), -1, np.int32), pairs[pairs[:, 1] >= 0],
        )  # fmt: skip
        return Part(part, lanes, areas)


def _away(boxes: Double, low: Double, high: Double) -> tuple[Double, Double]:
    """([n], [n]) metres in x and in y between a box and others, 0 where they overlap."""
    x = np.maximum(np.maximum(boxes[0] - high[0], low[0] - boxes[2]), 0.0)
    return x, np.maximum(np.maximum(boxes[1] - high[1], low[1] - boxes[3]), 0.0)


def _near(boxes: Double, low: Double, high: Double, radius: float) -> NDArray[np.bool_]:
    near: NDArray[np.bool_] = boxes[0] <= high[0] + radius
    near &= boxes[2] >= low[0] - radius
    near &= boxes[1] <= high[1] + radius
    near &= boxes[3] >= low[1] - radius
    at = np.flatnonzero(near)
    near[at] = np.hypot(*_away(boxes[:, at], low, high)) <= radius
    return near


def _rows(kept: NDArray[np.bool_]) -> Row:
    """[n + 1] new row of each kept item, -1 for the others and (the last) for -1."""
    return np.append(np.where(kept, np.cumsum(kept) - 1, -1), -1).astype(np.int32)


def _take(values: NDArray[np.generic], offset: Int, items: Int) -> tuple[NDArray[np.generic], Row]:
    """The parts of some items of a ragged array, and their offsets."""
    begin = offset[items]
    count = offset[items + 1] - begin
    ends = np.cumsum(count)
    at = np.arange(ends[-1] if len(ends) else 0) + np.repeat(begin - ends + count, count)
    return values[at], np.concatenate([[0], ends]).astype(np.int32)


@lru_cache(maxsize=4)
def _city(path: Path, name: str, cache: bool) -> CityMap:
    return CityMap(path, cache)


def city_of(path: Path, cache: bool = True) -> CityMap:
    """The map in a file as it is now; data sets of one process share it."""
    return _city(path, identity(path) if path.is_file() else "", cache)


def map_file(maps: Path, name: str) -> Path:
    """``<maps>/<name>/<version>/map.gpkg``, the version as the list of maps says or the only one there is.

    Errors: ``DataError`` where it cannot be told.
    """
    try:
        version = str(json.loads((maps / MAP_INDEX).read_text())[name]["version"])
        path = maps / name / version / "map.gpkg"
    except (OSError, ValueError, KeyError, TypeError):
        path = maps / name / "map.gpkg"
    found = [path] if path.is_file() else sorted((maps / name).glob("*/map.gpkg"))
    if len(found) != 1:
        what = f"{len(found)} versions of the map {name!r}" if found else f"no map {name!r}"
        raise DataError(what, file=str(maps), field=MAP_INDEX,
                        way_out="set `maps` (or $NUPLAN_MAPS_ROOT) to the folder with nuplan-maps-v1.0.json")  # fmt: skip
    return found[0]


def maps_folder(told: str, folder: Path) -> Path:
    """Where the maps are: as told, else ``maps`` in or beside the logs' folder or those above it, else $NUPLAN_MAPS_ROOT."""
    if told:
        return Path(os.path.expandvars(told)).expanduser()
    beside = [place / "maps" for place in (folder, *list(folder.resolve().parents)[:4])]
    found = next((place for place in beside if (place / MAP_INDEX).is_file()), None)
    return found or Path(os.environ.get("NUPLAN_MAPS_ROOT") or folder / "maps")
