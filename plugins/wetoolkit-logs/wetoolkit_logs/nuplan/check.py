"""What a folder of nuPlan logs holds, and everything wrong in it: files, tables, rows, maps, calibrations, images, sums."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from wetoolkit_driving.types import AgentClass

from wetoolkit.errors import DataError, ValidationError
from wetoolkit.types import Defect
from wetoolkit_logs.nuplan import sensors
from wetoolkit_logs.nuplan.citymap import CityMap, map_file
from wetoolkit_logs.nuplan.db import columns_of, indexed_columns, opened
from wetoolkit_logs.nuplan.logfile import Log
from wetoolkit_logs.nuplan.schema import NEEDED_INDEXES

if TYPE_CHECKING:
    from wetoolkit_logs.nuplan.dataset import NuPlan

SUMS = {"*.sha256": "sha256", "SHA256SUMS*": "sha256", "*.md5": "md5", "MD5SUMS*": "md5"}  # as sha256sum and md5sum write them
MOST = 20  # rows of one kind that are named; the rest is counted
_ROWS: tuple[tuple[str, str, str, str], ...] = (  # (table, what, handling, SELECT of tokens)
    ("lidar_pc", "no pose", "skipped",
     "SELECT p.token FROM lidar_pc p LEFT JOIN ego_pose e ON e.token = p.ego_pose_token WHERE e.token IS NULL"),
    ("lidar_pc", "no later than the frame before it in the chain", "skipped",
     "SELECT b.token FROM lidar_pc a JOIN lidar_pc b ON b.token = a.next_token WHERE b.timestamp <= a.timestamp"),
    ("lidar_pc", "the time of another frame", "skipped",
     "SELECT max(token) FROM lidar_pc GROUP BY timestamp HAVING count(*) > 1"),
    ("track", "an unknown category: taken for a generic object", "repaired",
     "SELECT t.token FROM track t LEFT JOIN category c ON c.token = t.category_token WHERE c.name IS NULL"),
    ("track", "no extent: gets its class's usual size", "repaired",
     "SELECT token FROM track WHERE NOT min(coalesce(width, 0), coalesce(length, 0), coalesce(height, 0)) > 0"),
    ("track", "one box only", "repaired", "SELECT track_token FROM lidar_box GROUP BY track_token HAVING count(*) = 1"),
    ("lidar_box", "no frame", "skipped",
     "SELECT b.token FROM lidar_box b LEFT JOIN lidar_pc p ON p.token = b.lidar_pc_token WHERE p.token IS NULL"),
    ("lidar_box", "no track", "skipped",
     "SELECT b.token FROM lidar_box b LEFT JOIN track t ON t.token = b.track_token WHERE t.token IS NULL"),
    ("lidar_box", "no place, heading or speed", "skipped",
     "SELECT token FROM lidar_box WHERE x IS NULL OR y IS NULL OR yaw IS NULL OR vx IS NULL OR vy IS NULL "
     "OR abs(x) > 1e9 OR abs(y) > 1e9 OR abs(yaw) > 1e9 OR abs(vx) > 1e9 OR abs(vy) > 1e9"),
    ("traffic_light_status", "no frame", "skipped",
     "SELECT s.token FROM traffic_light_status s LEFT JOIN lidar_pc p ON p.token = s.lidar_pc_token WHERE p.token IS NULL"),
    ("traffic_light_status", "a status that is none of green, red, unknown", "skipped",
     "SELECT token FROM traffic_light_status WHERE status NOT IN ('green', 'red', 'unknown')"),
)  # fmt: skip


def facts(dataset: NuPlan, logs: Sequence[Log], left_out: Sequence[str]) -> Mapping[str, str]:
    """Facts by name, of all logs."""
    kinds: Counter[int] = Counter()
    for log in logs:
        kinds.update(log.index["kind"].tolist())
    tags = Counter(tag for log in logs for tag in log.facts["tags"])
    seconds = sum((log.time[last] - log.time[first]) / 1e6 for log in logs for first, last in log.runs)
    span = dataset.config.history, dataset.config.future
    frames = sum(high - low + 1 for log in logs for low, high in log.presents(*span))
    images = sum(log.facts["images"] for log in logs)
    rates = sorted({f"{1 / log.dt:.0f} Hz" for log in logs})
    return {
        "format": dataset.format,
        "logs": f"{len(logs)} readable, {len(left_out)} not",
        "recorded": f"{seconds:.1f} s at {', '.join(rates)}",
        "windows": f"{frames} frames that can be a present of {span[0]:g} + {span[1]:g} s",
        "classes": ", ".join(f"{AgentClass(kind).name.lower()} {count}" for kind, count in kinds.most_common()) or "none",
        "map": ", ".join(sorted({str(log.facts["map"] or log.facts["location"]) for log in logs})),
        "signals": f"{sum(len(log.index['light']) for log in logs)} lanes with lights",
        "routes": f"{sum(bool(route) for log in logs for route in log.facts['routes'])} routes of roadblocks",
        "scenario tags": ", ".join(f"{tag} {count}" for tag, count in tags.most_common(12)) or "none",
        "sensors": f"{images} images" if images else "none",
        "licence": dataset.licence,
    }


def defects(paths: Sequence[Path], maps: Path, blobs: Path, folder: Path) -> Iterator[Defect]:
    """Everything wrong: sums first, then logs by path, each map once."""
    yield from _sums(folder if folder.is_dir() else folder.parent)
    cities: dict[Path, CityMap | None] = {}
    for path in paths:
        try:
            log = Log(path, cache=False)
        except DataError as error:
            yield _refused(error, path)
            continue
        with opened(path) as base:
            yield from _rows(path, base)
            yield from _calibrations(path, base)
            yield from _images(path, base, blobs)
        try:
            file = map_file(maps, log.facts["map"] or log.facts["location"]).resolve()
            if file not in cities:
                cities[file] = None
                cities[file] = CityMap(file, cache=False)
                yield from _map(cities[file])
            city = cities[file]
            if city is not None:
                log.attach(city)
                yield from _lights(log, city)
        except DataError as error:
            yield _refused(error, path)


def _refused(error: DataError, path: Path) -> Defect:
    place = " ".join(f"{key} {value}" for key, value in error.context.items() if key != "file")
    return Defect(str(error.context.get("file", path)), place, error.what, "refused")


def _listed(file: Path, table: str, what: str, handling: str, names: Sequence[str]) -> Iterator[Defect]:
    yield from (Defect(str(file), f"{table} {name}", what, handling) for name in names[:MOST])
    if len(names) > MOST:
        yield Defect(str(file), table, f"{what}: {len(names) - MOST} rows more", handling)


def _rows(path: Path, base: sqlite3.Connection) -> Iterator[Defect]:
    try:
        said = [str(row[0]) for row in base.execute("PRAGMA quick_check(20)")]
    except sqlite3.Error as error:
        said = [str(error)]
    for word in said if said != ["ok"] else ():
        yield Defect(str(path), "", f"the database is damaged: {word[:160]}", "refused")
    for table, column in sorted(set(NEEDED_INDEXES) - indexed_columns(base)):
        how = "all boxes are read at once" if table == "lidar_box" else "it is read in one go"
        yield Defect(str(path), f"{table}.{column}", f"no index: {how}", "repaired")
    try:
        for table, what, handling, query in _ROWS:
            tokens = [bytes(token or b"").hex() for (token,) in base.execute(query)]
            yield from _listed(path, table, what, handling, [f"token {token}" for token in tokens])
    except sqlite3.Error as error:
        yield Defect(str(path), table, f"cannot be read ({error})", "refused")


def _calibrations(path: Path, base: sqlite3.Connection) -> Iterator[Defect]:
    """Every pickle through the restricted reader."""
    there = columns_of(base)
    for table, columns in (("lidar", {"translation": 3, "rotation": 4}),
                           ("camera", {"translation": 3, "rotation": 4, "intrinsic": 9, "distortion": 0})):  # fmt: skip
        if table not in there:
            continue
        for token, *pickles in base.execute(f"SELECT token, {', '.join(columns)} FROM {table}").fetchall():
            for (column, count), data in zip(columns.items(), pickles, strict=True):
                try:
                    sensors.numbers(path, table, token, column, data, count)
                except (DataError, ValidationError) as error:
                    yield Defect(str(path), f"{table} token {bytes(token).hex()} {column}", error.what, "refused")


def _images(path: Path, base: sqlite3.Connection, blobs: Path) -> Iterator[Defect]:
    if "image" not in columns_of(base):
        return
    rows = base.execute("SELECT filename_jpg, token FROM image")
    lost = [f"token {bytes(token).hex()} ({name})" for name, token in rows if not (blobs / str(name)).is_file()]
    yield from _listed(path, "image", f"the file is not in {blobs}", "refused", lost)


def _map(city: CityMap | None) -> Iterator[Defect]:
    if city is None:
        return
    for name, count in sorted(city.counts.items()):
        yield Defect(str(city.path), name, f"{count} left out", "skipped")
    joined = np.unique(city.arrays["successors"])
    alone = np.setdiff1d(np.arange(len(city.arrays["lane_fid"])), joined)
    fids = [f"fid {fid}" for fid in city.arrays["lane_fid"][alone].tolist()]
    yield from _listed(city.path, "lane", "joins no other lane", "repaired", fids)


def _lights(log: Log, city: CityMap) -> Iterator[Defect]:
    strange = [f"lane_connector_id {fid}" for fid in log.index["light"].tolist() if fid not in city.lane_of]
    yield from _listed(log.path, "traffic_light_status", f"no such lane in {city.path}", "skipped", strange)
    counts: Mapping[str, Any] = log.facts["counts"]
    for name in ("frames_out_of_order", "frames_after_a_gap", "poses_without_a_heading", "poses_of_another_time", "ego_jumps"):
        if name in counts:
            yield Defect(str(log.path), "lidar_pc", f"{name}: {counts[name]}", "skipped")


def _sums(folder: Path) -> Iterator[Defect]:
    """Files that are not as a file of sums beside or below says."""
    for pattern, kind in SUMS.items():
        for listing in sorted(folder.rglob(pattern)):
            for line in listing.read_text(errors="replace").splitlines():
                digest, _, name = line.strip().partition(" ")
                file = listing.parent / name.strip().lstrip("*")
                if not name.strip():
                    continue
                if not file.is_file():
                    yield Defect(str(file), str(listing.name), "the file is missing", "refused")
                    continue
                with file.open("rb") as data:
                    if hashlib.file_digest(data, kind).hexdigest() != digest.lower():
                        yield Defect(str(file), str(listing.name), f"the {kind} is not as told", "refused")
