"""The towns of a folder of written logs, each with a cell of its own on the one map and a block of fids of its own.

nuplan-devkit knows four places by name, so all towns of a folder share one map (three places are links to it). Each town is kept
in ``maps/.towns`` as it was given, and ``map.gpkg`` is made again from all of them when a new one comes. A town's cell follows
from its content, not from the order of writing: workers that write logs in any order get the same bytes (unless two towns hash to
one cell of 4096; then the later goes to the next).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save
from wetoolkit_driving.types import AreaKind, RoadMap

from wetoolkit.errors import DataError
from wetoolkit.store import write_atomic

Int = NDArray[np.int64]
CELL, ACROSS, CELLS = 8000.0, 60, 4096  # metres, cells in a row, cells
CORNER = np.array([260_000.0, 500_000.0])  # metres UTM of the first cell
FIDS = 500_000  # of a town: those of the last cell still fit 31 bits
ALIKE = 1e-3  # metres by which two givings of one town may differ
_ARRAYS = (
    "area_kind", "area_offset", "lane_offset", "lane_area", "lane_roadblock", "lane_left", "lane_right", "lane_speed_limit",
    "lane_signal", "successors",
)  # fmt: skip


@dataclass(frozen=True)
class Town:
    """A RoadMap in map coordinates and its block of fids."""

    road: RoadMap  # coordinates in UTM metres
    slot: int  # its cell
    offset: tuple[float, float]  # metres that were added to the log's own coordinates

    @property
    def first(self) -> int:
        """The first of its fids; 0 is nobody's."""
        return 1 + self.slot * FIDS

    def area_fid(self, area: NDArray[Any]) -> Int:
        """fids of areas that are no lane's polygon."""
        return self.first + np.asarray(area, np.int64)

    def lane_fid(self, lane: NDArray[Any]) -> Int:
        """fids of lanes and lane connectors."""
        return self.first + len(self.road.area_ids) + np.asarray(lane, np.int64)

    def extra_fid(self, block: int, lane: NDArray[Any]) -> Int:
        """fids of what is made for lanes: 1 baselines, 2 left, 3 right boundaries, 4 intersections, 5 roadblocks, 6 polygons.

        7 is for road segments, of which there may be as many as areas and lanes together; stop lines (``stop_fid``) come last.
        """
        return self.lane_fid(block * self.road.lanes + np.asarray(lane, np.int64))

    def stop_fid(self, lane: NDArray[Any]) -> Int:
        """fids of stop lines that are made for connectors with a signal."""
        return self.extra_fid(8, len(self.road.area_ids) + np.asarray(lane, np.int64))

    @property
    def connector(self) -> NDArray[np.bool_]:
        """[L] lanes that are lane connectors."""
        kinds = np.append(self.road.area_kind, AreaKind.LANE)  # without polygon: a lane
        return np.asarray(kinds[self.road.lane_area] == AreaKind.LANE_CONNECTOR)

    @property
    def block_fid(self) -> Int:
        """[L] fid of each lane's roadblock (connector)."""
        lanes, block = np.arange(self.road.lanes), self.road.lane_roadblock
        return np.where(block >= 0, self.area_fid(block), self.extra_fid(5, lanes))


def register(maps: Path, road: RoadMap, origin: tuple[float, float, float]) -> Town:
    """The town of a recording's map, kept from now on. Errors: ``DataError`` where it does not fit a cell."""
    moved = np.array(origin[:2])
    points = np.concatenate([road.area_xy, road.lane_xy]) + moved
    if not road.lanes:
        raise DataError("a recording without lanes cannot be written", way_out="give recordings whose maps hold lanes", field="map")
    low = np.floor(points.min(0) + ALIKE)
    size, due = np.ptp(points, axis=0).max(), 2 * len(road.area_ids) + 9 * road.lanes
    if size > CELL - 100 or due > FIDS:
        raise DataError(
            f"a map of {size:.0f} m and {due} parts", field="map", way_out=f"at most {CELL - 100:g} m and {FIDS} parts fit"
        )
    arrays = {name: np.ascontiguousarray(getattr(road, name)) for name in _ARRAYS}
    arrays |= {"area_xy": road.area_xy + (moved - low), "lane_xy": road.lane_xy + (moved - low)}
    names = json.dumps([road.area_ids, road.lane_ids, low.tolist()])
    digest = hashlib.sha256(names.encode() + b"".join(arrays[name].tobytes() for name in _ARRAYS)).digest()
    with locked(maps):
        for turn in range(CELLS):
            slot = (int.from_bytes(digest[:8], "big") + turn) % CELLS
            path = maps / ".towns" / f"{slot:04}.safetensors"
            if not path.exists():
                write_atomic(path, save(arrays, metadata={"names": names}))
            elif not _same(path, arrays, names):
                continue
            return read_town(path)
    raise DataError(f"{CELLS} towns are on this map", file=str(maps), way_out="write into another folder")


def _same(kept: Path, arrays: Mapping[str, NDArray[Any]], names: str) -> bool:
    old = load_file(kept)
    return _names(kept) == names and all(
        old[name].shape == array.shape and np.allclose(old[name], array, rtol=0, atol=ALIKE) for name, array in arrays.items()
    )


def _names(kept: Path) -> str:
    with kept.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return str(header["__metadata__"]["names"])


def read_town(kept: Path) -> Town:
    """A town as it stands on the map."""
    slot = int(kept.stem)
    areas, lanes, low = json.loads(_names(kept))
    corner = CORNER + CELL * np.array([slot % ACROSS, slot // ACROSS])
    arrays = load_file(kept)
    for name in ("area_xy", "lane_xy"):
        arrays[name] = arrays[name] + corner
    shift = corner - np.array(low)
    return Town(RoadMap(tuple(areas), lane_ids=tuple(lanes), **arrays), slot, (float(shift[0]), float(shift[1])))


def kept_towns(maps: Path) -> list[Path]:
    """Files of all towns, by cell."""
    return sorted((maps / ".towns").glob("*.safetensors"))


@contextmanager
def locked(maps: Path) -> Iterator[None]:
    """One process at a time works on a folder's towns and map."""
    (maps / ".towns").mkdir(parents=True, exist_ok=True)
    with (maps / ".towns" / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
