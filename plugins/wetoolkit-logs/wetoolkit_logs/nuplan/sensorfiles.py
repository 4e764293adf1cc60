"""Images and sweeps of a written log: linked or copied into ``sensor_blobs`` as in nuPlan, and the rows that name them."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from wetoolkit_driving.sensors import Camera, Sensors

from wetoolkit.errors import DataError
from wetoolkit.store import write_atomic
from wetoolkit_logs.nuplan.schema import LIDAR, token, tokens

BLOBS = "sensor_blobs"


def write(folder: Path, log: str, sensors: Sensors) -> tuple[tuple[str, ...], list[Path]]:
    """Puts every image and sweep below ``folder``; ([images then sweeps] names as the rows give them, paths)."""
    names = [f"{log}/{image.camera}/{token(log, image.camera, image.time).hex()}.jpg" for image in sensors.images]
    names += [f"{log}/{LIDAR}/{token(log, 'sweep', sweep.time).hex()}.pcd" for sweep in sensors.sweeps]
    paths = [folder / BLOBS / name for name in names]
    for image, path in zip(sensors.images, paths, strict=False):
        _place(image.path, path)
    for sweep, path in zip(sensors.sweeps, paths[len(sensors.images) :], strict=True):
        write_atomic(path, cloud(sweep.points()))
    return tuple(names), paths


def _place(source: Path, path: Path) -> None:
    """The file itself where the disk allows a second name for it, else a copy."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    part.unlink(missing_ok=True)
    try:
        try:
            os.link(source.resolve(), part)
        except FileNotFoundError:
            raise
        except OSError:
            shutil.copyfile(source, part)
        part.replace(path)
    except FileNotFoundError as error:
        raise DataError("the image is missing", file=str(source), way_out="make the sensors again") from error
    finally:
        part.unlink(missing_ok=True)


def cloud(points: NDArray[np.float32]) -> bytes:
    """[N, 4] x, y, z, intensity in [0, 1] as a binary PCD file with nuPlan's fields (intensity in 255 steps)."""
    kind = np.dtype([(name, "<f4") for name in "xyz"] + [(name, "u1") for name in ("intensity", "ring", "lidar_info")])
    rows = np.zeros(len(points), kind)
    for k, name in enumerate("xyz"):
        rows[name] = points[:, k]
    rows["intensity"] = np.rint(np.clip(points[:, 3], 0, 1) * 255)
    count = len(rows)
    header = (
        "# .PCD v0.7 - Point Cloud Data file format\nVERSION 0.7\nFIELDS x y z intensity ring lidar_info\nSIZE 4 4 4 1 1 1\n"
        f"TYPE F F F U U U\nCOUNT 1 1 1 1 1 1\nWIDTH {count}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {count}\nDATA binary\n"
    )
    return header.encode() + rows.tobytes()


def rows(
    sensors: Sensors, names: Sequence[str], log: str, stamps: Sequence[int], times: NDArray[np.float64], tables: Mapping[str, Any]
) -> dict[str, list[tuple[Any, ...]]]:
    """Rows of camera, image and lidar_pc (its filenames); each image stands at the frame (``times`` [F] seconds) nearest to it."""
    count = len(sensors.images)
    sweeps = [list(row) for row in tables["lidar_pc"]]
    (owner,) = tokens(log, "log", 1)
    nearest = lambda time: int(np.abs(times - time).argmin())  # noqa: E731
    made = dict(zip((camera.name for camera in sensors.cameras), tokens(log, "camera", len(sensors.cameras)), strict=True))
    ids, links = tokens(log, "image", count), [[None, None] for _ in range(count)]
    last: dict[str, int] = {}
    for k, image in enumerate(sensors.images):
        if image.camera in last:
            links[k][1], links[last[image.camera]][0] = ids[last[image.camera]], ids[k]
        last[image.camera] = k
    images = [
        (ids[k], *links[k], sweeps[nearest(image.time)][3], made[image.camera], names[k],
         stamps[0] + round((image.time - float(times[0])) * 1e6))
        for k, image in enumerate(sensors.images)
    ]  # fmt: skip
    for name, sweep in zip(names[count:], sensors.sweeps, strict=True):
        sweeps[nearest(sweep.time)][6] = name
    cameras = [_camera(camera, made[camera.name], owner) for camera in sensors.cameras]
    return {"camera": cameras, "image": images, "lidar_pc": [tuple(row) for row in sweeps]}


def _camera(camera: Camera, name: bytes, log: bytes) -> tuple[Any, ...]:
    mount = camera.mount
    lists = [mount[:3, 3].tolist(), quaternion(mount[:3, :3]), camera.intrinsics.tolist(), camera.distortion.tolist()]
    return (name, log, camera.name, "made", *map(pickle.dumps, lists), *camera.size)


def quaternion(rotation: NDArray[np.float64]) -> list[float]:
    """[w, x, y, z] of a rotation matrix [3, 3], w at least 0: the eigenvector of Bar-Itzhack's matrix (JGCD 2000)."""
    m = rotation
    k = np.array([
        [m[0, 0] + m[1, 1] + m[2, 2], m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]],
        [0, m[0, 0] - m[1, 1] - m[2, 2], m[1, 0] + m[0, 1], m[2, 0] + m[0, 2]],
        [0, 0, m[1, 1] - m[0, 0] - m[2, 2], m[2, 1] + m[1, 2]],
        [0, 0, 0, m[2, 2] - m[0, 0] - m[1, 1]],
    ])  # fmt: skip
    values, vectors = np.linalg.eigh(k, UPLO="U")
    q = vectors[:, int(np.argmax(values))]
    return [float(v) for v in (q if q[0] >= 0 else -q)]
