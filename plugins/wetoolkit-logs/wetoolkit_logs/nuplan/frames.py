"""What is known of a log without its boxes: frames, the ego at each, tracks by name, lights, scenes and tags. Made once, then kept.

Frames are the rows of ``lidar_pc``, by time. What cannot be trusted breaks the log there: a window never spans a frame without a
pose, a gap, a repeated time, a jump, or a place where the chain of frames runs another way than time.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from wetoolkit_driving.types import AgentClass, Signal, Vehicle

from wetoolkit.errors import DataError
from wetoolkit_logs.motion import SLOWEST, STEERING_LIMIT
from wetoolkit_logs.nuplan.arrays import Arrays
from wetoolkit_logs.nuplan.db import columns_of, indexed_columns, opened, require_tables
from wetoolkit_logs.nuplan.schema import CATEGORIES, STATUS

Double = NDArray[np.float64]
Int = NDArray[np.int64]
ROWS = 1 << 16  # fetched at once
LATE = 50_000  # microseconds between a frame and its pose, at most
FASTEST = 70.0  # m/s: an ego that moves faster between two frames jumped
UNSAID = 255  # no row on a light at a frame
_FRAMES = """SELECT p.token, p.next_token, p.scene_token, p.timestamp, e.timestamp,
 e.x, e.y, e.z, e.qw, e.qx, e.qy, e.qz, e.vx, e.vy, e.acceleration_x, e.acceleration_y, e.angular_rate_z
 FROM lidar_pc p LEFT JOIN ego_pose e ON e.token = p.ego_pose_token ORDER BY p.timestamp, p.rowid"""


def read_frames(path: Path) -> Arrays:
    """The index of a log. Errors: ``DataError`` naming file, table and column."""
    with opened(path) as base:
        require_tables(path, base)
        counts: Counter[str] = Counter()
        columns = columns_of(base)
        own = _own(base, columns)
        frames = _frames(base, path, own, columns, counts)
        row = {token: k for k, token in enumerate(frames.pop("raw"))}
        tracks, names = _tracks(base, columns, counts)
        scene_rows = base.execute("SELECT token, roadblock_ids FROM scene ORDER BY rowid").fetchall()
        scene, routes = _scenes(frames.pop("scenes"), scene_rows)
        (log,) = base.execute("SELECT logfile, location, map_version, vehicle_name, date FROM log").fetchmany(1) or [("",) * 5]
        indexed = indexed_columns(base)
        tags = _tags(base, row) if "scenario_tag" in columns else {"tag_frame": np.zeros(0, np.int32), "tag": []}
        facts = {
            "log": log[0], "location": log[1], "map": log[2], "vehicle": log[3], "date": log[4], "own": own, "routes": routes,
            "names": names, "tags": tags.pop("tag"), "indexed": ("lidar_box", "lidar_pc_token") in indexed,
            "images": _count(base, columns, "image"), "sweeps": len(row),
        }  # fmt: skip
        found = frames | tracks | tags | {"scene": scene} | _lights(base, columns, row, counts)
    facts["counts"] = {name: n for name, n in counts.items() if n}
    return Arrays(found, facts)


def numbers(tokens: list[bytes]) -> NDArray[np.uint64]:
    """[n] tokens as numbers; those that are no 8 bytes are cut or filled up with zeros."""
    return np.frombuffer(b"".join(bytes(token or b"")[:8].ljust(8, b"\0") for token in tokens), ">u8").astype(np.uint64)


def vehicle_of(own: Mapping[str, Any]) -> Vehicle:
    """The car of a written log; nuPlan's own elsewhere."""
    return Vehicle(**own["vehicle"]) if "vehicle" in own else Vehicle()


def _count(base: sqlite3.Connection, columns: Mapping[str, Any], table: str) -> int:
    return int(base.execute(f"SELECT count(*) FROM {table}").fetchone()[0]) if table in columns else 0


def _own(base: sqlite3.Connection, columns: Mapping[str, Any]) -> dict[str, Any]:
    """What our writer adds; nothing in logs of others."""
    if "wetoolkit" not in columns:
        return {}
    return {key: json.loads(value) for key, value in base.execute("SELECT key, value FROM wetoolkit")}


def _frames(
    base: sqlite3.Connection, path: Path, own: Mapping[str, Any], columns: Mapping[str, Any], counts: Counter[str]
) -> dict[str, Any]:
    rows = base.execute(_FRAMES).fetchall()
    if len(rows) < 2:
        raise DataError(f"{len(rows)} frames", file=str(path), table="lidar_pc", way_out="fetch or convert the log again")
    raw, following, scenes, *told = zip(*rows, strict=True)
    if not all(isinstance(time, int) for time in told[0]):
        at = next(k for k, time in enumerate(told[0]) if not isinstance(time, int))
        raise DataError(f"a time stamp that is no integer ({told[0][at]!r})", file=str(path), table="lidar_pc",
                        row=f"token {bytes(raw[at]).hex()}", way_out="fetch or convert the log again")  # fmt: skip
    time = np.array(told[0], np.int64)
    known = np.array([[np.nan if value is None else value for value in column] for column in told[1:]], np.float64)
    states, good = _states(known, time, vehicle_of(own), counts)
    joined = _joined(time, states, good, raw, following, counts)
    if "wetoolkit_ego" in columns:
        extra = "SELECT w.steering, w.steering_rate, w.yaw_acceleration FROM lidar_pc p LEFT JOIN wetoolkit_ego w "
        told_extra = base.execute(extra + "ON w.token = p.ego_pose_token ORDER BY p.timestamp, p.rowid").fetchall()
        states[:, [7, 8, 10]] = np.nan_to_num(np.array(told_extra, np.float64))
    return {
        "raw": raw, "scenes": scenes, "time": time, "token": numbers(list(raw)), "states": states, "z": np.nan_to_num(known[3]),
        "quaternion": np.nan_to_num(known[4:8]).T, "good": good, "joined": joined,
    }  # fmt: skip


def _states(known: Double, time: Int, vehicle: Vehicle, counts: Counter[str]) -> tuple[Double, NDArray[np.bool_]]:
    """Ego states [F, 11], and which frames [F] have a pose that can be true."""
    stamp, x, y, _, w, i, j, k, vx, vy, ax, ay, rate = known
    whole = np.isfinite(known).all(0)
    turned = np.abs(w * w + i * i + j * j + k * k - 1) < 0.01
    near = np.abs(stamp - time) <= LATE
    for name, fine in (("frames_without_a_pose", whole), ("poses_without_a_heading", ~whole | turned), ("poses_of_another_time",
                                                                                                      ~whole | near)):  # fmt: skip
        counts[name] += int((~fine).sum())
    heading = np.arctan2(2 * (w * k + i * j), 1 - 2 * (j * j + k * k))
    heading = np.where(heading >= np.pi, -np.pi, heading)
    rolling = np.abs(np.nan_to_num(vx)) > SLOWEST
    ratio = np.divide(vehicle.wheel_base * rate, vx, out=np.zeros_like(vx), where=rolling & whole)
    steering = np.clip(np.arctan(ratio), -STEERING_LIMIT, STEERING_LIMIT)
    seconds = np.maximum.accumulate((time - time[0]) / 1e6) + 1e-6 * np.arange(len(time))  # rising whatever the file says
    rates = [np.gradient(np.nan_to_num(values), seconds) for values in (steering, rate)]
    states = np.stack([x, y, heading, vx, vy, ax, ay, steering, rates[0], rate, rates[1]], 1)
    return np.where(whole[:, None], states, 0.0), whole & turned & near


def _joined(
    time: Int, states: Double, good: NDArray[np.bool_], raw: Any, following: Any, counts: Counter[str]
) -> NDArray[np.bool_]:
    """[F] whether a frame goes on to the next one without a gap; never from or to a bad one."""
    step = np.diff(time)
    usual = np.median(step)
    row = {token: k for k, token in enumerate(raw)}
    after = np.array([row.get(token, -2) if token else -1 for token in following[:-1]])
    ordered = (after == -1) | (after == np.arange(1, len(time)))
    steady = (step > 0) & (step <= 1.5 * usual)
    moved = np.hypot(*np.diff(states[:, :2], axis=0).T) <= FASTEST * np.maximum(step, 0) / 1e6 + 1.0
    moved |= ~(good[:-1] & good[1:])
    counts["frames_out_of_order"] += int((~ordered & (after != -2)).sum())
    counts["frames_after_a_gap"] += int((step > 1.5 * usual).sum())
    counts["frames_of_one_time"] += int((step <= 0).sum())
    counts["ego_jumps"] += int((~moved).sum())
    return np.append(ordered & steady & moved & good[:-1] & good[1:], False)


def _tracks(base: sqlite3.Connection, columns: Mapping[str, Any], counts: Counter[str]) -> tuple[dict[str, Any], list[str]]:
    rows = base.execute("SELECT t.token, c.name, t.length, t.width, t.height FROM track t LEFT JOIN category c "
                        "ON c.token = t.category_token ORDER BY t.token").fetchall()  # fmt: skip
    kind = [CATEGORIES.get(str(row[1]), AgentClass.GENERIC_OBJECT) for row in rows]
    counts["tracks_of_unknown_class"] += sum(str(row[1]) not in CATEGORIES for row in rows)
    size = np.array([row[2:] for row in rows], np.float64).reshape(-1, 3)
    size = np.where(np.isfinite(size) & (size > 0), size, 0.0)
    counts["tracks_without_extent"] += int((size.min(1, initial=np.inf) <= 0).sum())
    called = {}
    if "wetoolkit_track" in columns:
        called = dict(base.execute("SELECT token, name FROM wetoolkit_track").fetchall())
    names = [called.get(row[0]) or bytes(row[0]).hex() for row in rows]
    arrays = {"track": numbers([row[0] for row in rows]), "kind": np.array(kind, np.uint8), "size": size.astype(np.float32)}
    return arrays, names


def _scenes(of_frame: list[bytes], rows: list[tuple[bytes, str]]) -> tuple[NDArray[np.int32], list[list[int]]]:
    """([F] number of the route of each frame, -1 for none; roadblock fids of each route). Scenes of one route share a number."""
    routes: dict[str, int] = {}
    number = {token: routes.setdefault((words or "").strip(), len(routes)) for token, words in rows}
    lists = [[int(word) for word in words.split() if word.lstrip("-").isdigit()] for words in routes]
    return np.array([number.get(token, -1) for token in of_frame], np.int32), lists


def _tags(base: sqlite3.Connection, row: Mapping[bytes, int]) -> dict[str, Any]:
    found = [(row[frame], kind) for frame, kind in base.execute("SELECT lidar_pc_token, type FROM scenario_tag ORDER BY rowid")
             if frame in row]  # fmt: skip
    return {"tag_frame": np.array([frame for frame, _ in found], np.int32), "tag": [kind for _, kind in found]}


def _lights(base: sqlite3.Connection, columns: Mapping[str, Any], row: Mapping[bytes, int], counts: Counter[str]) -> dict[str, Any]:
    """Connector (or lane) fids [S] with lights, and their states [S, F], 255 where nothing is said."""
    fids: dict[int, int] = {}
    parts: list[tuple[Any, Any, Any]] = []
    for rows in _chunks(base.execute("SELECT lidar_pc_token, lane_connector_id, status FROM traffic_light_status")):
        frames, lanes, words = zip(*rows, strict=True)
        parts.append(([row.get(frame, -1) for frame in frames], lanes, [STATUS.get(word, UNSAID) for word in words]))
    if "wetoolkit_signal" in columns:
        parts += [tuple(zip(*[(row.get(frame, -1), fid, state) for frame, fid, state in rows], strict=True))
                  for rows in _chunks(base.execute("SELECT lidar_pc_token, lane_fid, state FROM wetoolkit_signal"))]  # fmt: skip
    for _, lanes, _ in parts:
        for fid in set(lanes):
            fids.setdefault(int(fid), len(fids))
    states = np.full((len(fids), len(row)), UNSAID, np.uint8)
    for frames, lanes, said in parts:
        at, code = np.array(frames), np.array(said, np.int64)
        counts["lights_of_no_frame"] += int((at < 0).sum())
        counts["lights_of_unknown_state"] += int((code > max(Signal)).sum())
        kept = (at >= 0) & (code <= max(Signal))
        states[np.array([fids[int(fid)] for fid in lanes])[kept], at[kept]] = code[kept]
    return {"light": np.array(list(fids), np.int64), "lights": states}


def _chunks(rows: sqlite3.Cursor) -> Iterator[list[Any]]:
    while part := rows.fetchmany(ROWS):
        yield part
