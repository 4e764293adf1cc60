"""Images and sweeps of nuPlan logs: which there were, where their files are, how the sensors were mounted. No file is opened."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from wetoolkit_driving.sensors import Camera, Image, Sensors, Sweep

from wetoolkit.errors import DataError
from wetoolkit_logs import unpickle
from wetoolkit_logs.nuplan.db import columns_of, opened
from wetoolkit_logs.nuplan.sensorfiles import BLOBS

Double = NDArray[np.float64]
_POSE = "e.x, e.y, e.z, e.qw, e.qx, e.qy, e.qz"
_IMAGES = f"""SELECT c.channel, i.timestamp, i.filename_jpg, i.token, {_POSE} FROM image i
 LEFT JOIN camera c ON c.token = i.camera_token LEFT JOIN ego_pose e ON e.token = i.ego_pose_token
 WHERE i.timestamp BETWEEN ? AND ? ORDER BY i.timestamp, c.channel"""
_SWEEPS = f"""SELECT p.timestamp, p.filename, p.lidar_token, p.token, {_POSE} FROM lidar_pc p
 LEFT JOIN ego_pose e ON e.token = p.ego_pose_token WHERE p.timestamp BETWEEN ? AND ? ORDER BY p.timestamp"""
_SIZES = {"F": {4: "<f4", 8: "<f8"}, "U": {1: "u1", 2: "<u2", 4: "<u4"}, "I": {1: "i1", 2: "<i2", 4: "<i4"}}


def folder_of(told: str, logs: Path) -> Path:
    """Where sensor files are: as told, else ``sensor_blobs`` in, beside or above the logs' folder, else $NUPLAN_SENSOR_ROOT."""
    if told:
        return Path(os.path.expandvars(told)).expanduser()
    beside = [place / BLOBS for place in (logs, *list(logs.resolve().parents)[:4])]
    found = next((place for place in beside if place.is_dir()), None)
    return found or Path(os.environ.get("NUPLAN_SENSOR_ROOT") or logs / BLOBS)


def read(log: Path, blobs: Path, span: tuple[int, int], place: Double, cameras: Sequence[str] | None) -> Sensors:
    """Everything recorded in a span of time [microseconds], in a frame whose origin is ``place`` [3] on the map.

    Sweeps without a file are left out (logs name one at every frame). Errors: ``DataError`` where an image is missing, a
    calibration cannot be read, or there is no such camera.
    """
    with opened(log) as base:
        columns = columns_of(base)
        rig = tuple(rigged(log, base)) if "camera" in columns else ()
        strange = [name for name in cameras or () if name not in {camera.name for camera in rig}]
        if strange:
            raise DataError(f"no camera {strange[0]!r}", file=str(log), table="camera", there=", ".join(c.name for c in rig),
                            way_out="ask for one of these")  # fmt: skip
        kept = tuple(camera for camera in rig if cameras is None or camera.name in cameras)
        rows = base.execute(_IMAGES, span).fetchall() if "image" in columns and kept else []
        sweeps = base.execute(_SWEEPS, span).fetchall()
        mounts = {token: _mount(log, "lidar", token, *pickles)
                  for token, *pickles in base.execute("SELECT token, translation, rotation FROM lidar")}  # fmt: skip
    images = tuple(_images(log, blobs, rows, {camera.name for camera in kept}, span[0], place))
    found = [_sweep(blobs, row, mounts, span[0], place) for row in sweeps]
    seen = Sensors(kept, images, tuple(sweep for sweep in found if sweep is not None))
    seen.validate()
    return seen


def rigged(log: Path, base: sqlite3.Connection) -> Iterable[Camera]:
    """The cameras of a log. Errors: ``DataError`` naming table and row where a calibration is damaged or no list of numbers."""
    query = "SELECT token, channel, translation, rotation, intrinsic, distortion, width, height FROM camera ORDER BY channel"
    for token, channel, translation, rotation, intrinsic, distortion, width, height in base.execute(query):
        matrix = numbers(log, "camera", token, "intrinsic", intrinsic, 9).reshape(3, 3)
        bent = numbers(log, "camera", token, "distortion", distortion)
        camera = Camera(channel, (width, height), matrix, _mount(log, "camera", token, translation, rotation), bent)
        camera.validate()
        yield camera


def numbers(log: Path, table: str, token: bytes, column: str, data: Any, count: int = 0) -> Double:
    """The numbers that a pickle in a row holds. Errors: ``DataError`` naming file, table, row and column."""
    row = f"token {bytes(token).hex()}"
    try:
        if not isinstance(data, bytes):
            raise DataError("nothing is told")
        found: Double = np.asarray(unpickle.loads(data, column), np.float64).reshape(-1)
        if (count and len(found) != count) or not np.isfinite(found).all():
            raise DataError(f"{len(found)} numbers where {count or 'finite ones'} are due")
        return found
    except (DataError, ValueError, TypeError) as error:
        what = error.what if isinstance(error, DataError) else f"no list of numbers ({error!s:.80})"
        raise DataError(
            f"calibration: {what}", file=str(log), table=table, row=row, column=column, way_out="fetch or convert the log again"
        ) from error


def _mount(log: Path, table: str, token: bytes, translation: Any, rotation: Any) -> Double:
    """[4, 4] sensor to ego."""
    turn = numbers(log, table, token, "rotation", rotation, 4)
    return transform(numbers(log, table, token, "translation", translation, 3), turn)


def transform(place: Double, turn: Double) -> Double:
    """[4, 4] of a place [3] and a quaternion [4] w, x, y, z of any length above 0."""
    w, x, y, z = turn / max(float(np.linalg.norm(turn)), 1e-12)
    found = np.eye(4)
    found[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    found[:3, 3] = place
    return found


def _images(log: Path, blobs: Path, rows: Sequence[Any], wanted: set[str], start: int, place: Double) -> Iterable[Image]:
    for channel, time, name, token, *pose in rows:
        if channel not in wanted:
            continue
        path = blobs / str(name)
        if not path.is_file():
            raise DataError("the image is missing", file=str(path), table="image", row=f"token {bytes(token).hex()}",
                            way_out="fetch the sensor files, or set `sensor_folder`")  # fmt: skip
        yield Image(channel, (time - start) / 1e6, _pose(log, "image", token, pose, place), path)


def _pose(log: Path, table: str, token: bytes, pose: Sequence[Any], place: Double) -> Double:
    if any(value is None for value in pose):
        raise DataError("no pose", file=str(log), table=table, row=f"token {bytes(token).hex()}", way_out="fetch the log again")
    return transform(np.array(pose[:3]) - place, np.array(pose[3:]))


def _sweep(blobs: Path, row: Sequence[Any], mounts: dict[bytes, Double], start: int, place: Double) -> Sweep | None:
    time, name, lidar, _, *pose = row
    path = blobs / str(name)
    if not path.is_file() or any(value is None for value in pose):
        return None
    where = transform(np.array(pose[:3]) - place, np.array(pose[3:]))
    return Sweep((time - start) / 1e6, where, path, partial(read_cloud, mount=mounts.get(lidar, np.eye(4))))


def read_cloud(path: Path, mount: Double | None = None) -> NDArray[np.float32]:
    """[N, 4] x, y, z in the ego's frame and intensity in [0, 1] of a binary PCD file. Errors: ``DataError`` naming the file."""
    try:
        head, mark, data = path.read_bytes().partition(b"DATA binary\n")
        said = {line.split()[0]: line.split()[1:] for line in head.decode("ascii").splitlines() if line and line[0] != "#"}
        kind = np.dtype([(name, _SIZES[code][int(size)]) for name, size, code in
                         zip(said["FIELDS"], said["SIZE"], said["TYPE"], strict=True)])  # fmt: skip
        rows = np.frombuffer(data, kind, int(said["POINTS"][0]))
        xyz = np.stack([rows[axis] for axis in "xyz"], 1).astype(np.float64)
        bright = rows["intensity"].astype(np.float64) / (
            255 if kind["intensity"].kind in "ui" or rows["intensity"].max(initial=0) > 1 else 1
        )
    except (OSError, KeyError, ValueError, IndexError, UnicodeDecodeError) as error:
        raise DataError(f"no sweep that can be read ({error!s:.80})", file=str(path), way_out="fetch the file again") from error
    if not mark:
        raise DataError("no binary PCD file", file=str(path), way_out="fetch the file again")
    if mount is not None:
        xyz = xyz @ mount[:3, :3].T + mount[:3, 3]
    return np.concatenate([xyz, np.clip(bright, 0, 1)[:, None]], 1).astype(np.float32)
