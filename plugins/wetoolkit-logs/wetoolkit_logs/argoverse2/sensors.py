"""What the sensors of a log saw: which images and sweeps there are, when, and from where. Files are named, and read when asked for.

Sweeps are in the ego's frame at their time stamp, already corrected for its movement during the turn. The log's ego frame has its
origin on the rear axle, this toolkit's on the ground below it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp
from wetoolkit_driving.sensors import Camera, Image, Sensors, Sweep

from wetoolkit.errors import DataError, UnknownName
from wetoolkit_logs.argoverse2.tables import PLACE, POSE, QUATERNION, table, transforms

Double = NDArray[np.float64]
AXLE = 0.31  # metres from the ground to the rear axle: the median over the two logs at hand is 0.30 and 0.32
BEFORE = AFTER = 0.05  # seconds before the first and after the last step that belong to a window
INTRINSICS = ("fx_px", "fy_px", "cx_px", "cy_px", "k1", "k2", "k3", "height_px", "width_px")
MOUNTS, LENSES = "calibration/egovehicle_SE3_sensor.feather", "calibration/intrinsics.feather"


@dataclass(frozen=True)
class Span:
    """A stretch of a log and where its scenario's coordinates begin."""

    begin: int  # nanoseconds of its first step
    seconds: float  # to its last
    origin: tuple[float, float, float]  # metres in the city's frame


def names(place: Path) -> tuple[str, ...]:
    """The sensors with files in a log's folder."""
    found = [folder.name for folder in sorted(place.glob("sensors/cameras/*")) if any(folder.glob("*.jpg"))]
    return (*found, *(["lidar"] if any(place.glob("sensors/lidar/*.feather")) else []))


def sensors(place: Path, poses: Path, span: Span, cameras: Sequence[str] | None, limit: int) -> Sensors:
    """Images and sweeps of a stretch.

    Errors: ``DataError`` where calibrations or poses are missing, ``UnknownName`` for a camera without files.
    """
    there = [name for name in names(place) if name != "lidar"]
    wanted = there if cameras is None else list(cameras)
    for name in wanted:
        if name not in there:
            raise UnknownName("camera", name, there, file=str(place / "sensors" / "cameras"))
    known = table(poses, POSE, limit).unique("timestamp_ns", keep="first", maintain_order=True).sort("timestamp_ns")
    track = _Track(known, poses, span)
    images = [
        Image(name, time, pose, path)
        for name in wanted
        for time, pose, path in track.placed(sorted((place / "sensors" / "cameras" / name).glob("*.jpg")))
    ]
    sweeps = [
        Sweep(time, pose, path, read_sweep) for time, pose, path in track.placed(sorted(place.glob("sensors/lidar/*.feather")))
    ]
    rig = _rig(place, wanted, limit) if wanted else ()
    found = Sensors(rig, tuple(sorted(images, key=lambda image: (image.time, image.camera))), tuple(sweeps))
    found.validate()
    return found


class _Track:
    """Where the ego was at any time of its log."""

    def __init__(self, known: pl.DataFrame, path: Path, span: Span) -> None:
        self._span, self._path = span, path
        self._stamps = known["timestamp_ns"].to_numpy()
        transforms(known, path)  # says which row is no rigid motion
        self._place = known.select(PLACE).to_numpy()
        self._turn = Slerp(self._stamps - self._stamps[0], Rotation.from_quat(known.select(QUATERNION).to_numpy()))

    def placed(self, files: Sequence[Path]) -> Iterator[tuple[float, Double, Path]]:
        """(seconds after the span's first step, ego to world [4, 4], file) of those files that fall into the span."""
        for path in files:
            if not path.stem.isdecimal():
                raise DataError("no time stamp in its name", file=str(path), way_out="name it <nanoseconds> as the data set does")
            stamp = int(path.stem)
            time = (stamp - self._span.begin) / 1e9
            if -BEFORE <= time <= self._span.seconds + AFTER:
                yield time, self._pose(stamp, path), path

    def _pose(self, stamp: int, path: Path) -> Double:
        if not self._stamps[0] <= stamp <= self._stamps[-1]:
            raise DataError("no pose at the time of a sensor file", file=str(self._path), field=f"timestamp_ns {stamp}",
                            sensor_file=str(path), way_out="fetch the log again")  # fmt: skip
        found = np.eye(4)
        found[:3, :3] = self._turn(stamp - self._stamps[0]).as_matrix()
        found[:3, 3] = [np.interp(stamp, self._stamps, self._place[:, k]) for k in range(3)]
        found[:3, 3] -= self._span.origin
        return np.asarray(found @ lowered(AXLE), np.float64)


def lowered(height: float) -> Double:
    """From a frame ``height`` metres below to the one above [4, 4]."""
    found = np.eye(4)
    found[2, 3] = -height
    return found


def _rig(place: Path, wanted: Sequence[str], limit: int) -> tuple[Camera, ...]:
    mounts = table(place / MOUNTS, ("sensor_name", *QUATERNION, *PLACE), limit)
    lenses = table(place / LENSES, ("sensor_name", *INTRINSICS), limit)
    matrix = dict(zip(mounts["sensor_name"], transforms(mounts, place / MOUNTS), strict=True))
    lens = {str(row["sensor_name"]): row for row in lenses.iter_rows(named=True)}
    for name in wanted:
        for found, file in ((matrix, MOUNTS), (lens, LENSES)):
            if name not in found:
                raise DataError("a camera without calibration", file=str(place / file), field=f"sensor_name {name}",
                                way_out="fetch the log again")  # fmt: skip
    return tuple(_camera(name, lens[name], matrix[name]) for name in wanted)


def _camera(name: str, lens: dict[str, Any], mount: Double) -> Camera:
    intrinsics = np.array([[lens["fx_px"], 0, lens["cx_px"]], [0, lens["fy_px"], lens["cy_px"]], [0, 0, 1]], np.float64)
    distortion = np.array([lens["k1"], lens["k2"], 0.0, 0.0, lens["k3"]])
    return Camera(name, (int(lens["width_px"]), int(lens["height_px"])), intrinsics, lowered(-AXLE) @ mount, distortion)


def read_sweep(path: Path) -> NDArray[np.float32]:
    """[N, 4] x, y, z in the ego's frame on the ground [m], intensity in [0, 1]. Errors: ``DataError``."""
    frame = table(path, ("x", "y", "z", "intensity"))
    points = frame.select(pl.all().cast(pl.Float32)).to_numpy()
    bad = ~np.isfinite(points).all(1)
    if bad.any():
        raise DataError("a point is not finite", file=str(path), field=f"x..z, row {int(np.flatnonzero(bad)[0])}",
                        way_out="fetch the file again")  # fmt: skip
    return np.asarray(points * [1, 1, 1, 1 / 255] + [0, 0, AXLE, 0], np.float32)
