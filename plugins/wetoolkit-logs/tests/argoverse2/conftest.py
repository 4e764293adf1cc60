"""A small Argoverse 2 log made here: a straight road, a car ahead, a pedestrian beside, two cameras and a lidar."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from wetoolkit_logs.argoverse2.dataset import Argoverse2, Argoverse2Config

START = 315_966_253_660_000_000  # nanoseconds
STEPS, SPEED = 31, 5.0  # m/s
CITY = (1000.0, 2000.0, 50.0)
STILL = {"qw": 1.0, "qx": 0.0, "qy": 0.0, "qz": 0.0}
OPTICAL = {"qw": 0.5, "qx": -0.5, "qy": 0.5, "qz": -0.5}  # a camera that looks ahead


def stamp(step: float) -> int:
    return START + round(step * 1e8)


def poses() -> pl.DataFrame:
    at = np.arange(0, STEPS - 1 + 1e-6, 0.1)  # 100 Hz
    rows = [
        {"timestamp_ns": stamp(k), **STILL, "tx_m": CITY[0] + SPEED * 0.1 * k, "ty_m": CITY[1], "tz_m": CITY[2]}
        for k in at.tolist()
    ]
    return pl.DataFrame(rows)


def boxes() -> pl.DataFrame:
    def box(name: str, kind: str, step: int, x: float, y: float, size: tuple[float, float, float]) -> dict[str, Any]:
        body = dict(zip(("length_m", "width_m", "height_m"), size, strict=True))
        place = {"tx_m": x, "ty_m": y, "tz_m": 0.5}
        return {"timestamp_ns": stamp(step), "track_uuid": name, "category": kind, **body, **STILL, **place}

    rows = [box("car", "REGULAR_VEHICLE", k, 10.0, 0.0, (4.5, 1.9, 1.6)) for k in range(STEPS)]
    rows += [box("walker", "PEDESTRIAN", k, 20.0 - SPEED * 0.1 * k, 5.0, (0.6, 0.6, 1.7)) for k in range(STEPS)]
    rows += [box("cone", "CONSTRUCTION_CONE", 4, 8.0, 3.0, (0.4, 0.4, 0.9))]
    return pl.DataFrame(rows)


def archive() -> dict[str, Any]:
    def line(start: float, end: float, y: float) -> list[dict[str, float]]:
        return [{"x": CITY[0] + x, "y": CITY[1] + y, "z": 0.0} for x in np.linspace(start, end, 8).tolist()]

    def lane(number: int, start: float, end: float, onto: list[int], into: list[int]) -> dict[str, Any]:
        sides = {"left_lane_boundary": line(start, end, 2.0), "right_lane_boundary": line(start, end, -2.0)}
        return {"id": number, "is_intersection": False, "successors": onto, "predecessors": into, **sides}

    area = line(-30, 130, -6.0) + line(-30, 130, 6.0)[::-1]
    return {
        "lane_segments": {"1": lane(1, -20, 40, [2], []), "2": lane(2, 40, 120, [], [1])},
        "drivable_areas": {"9": {"id": 9, "area_boundary": area}},
        "pedestrian_crossings": {"5": {"id": 5, "edge1": line(30, 34, -6)[::7], "edge2": line(30, 34, 6)[::7]}},
    }


def make_log(folder: Path, name: str = "log-a", sensors: bool = True) -> Path:
    place = folder / name
    (place / "map").mkdir(parents=True)
    poses().write_ipc(place / "city_SE3_egovehicle.feather")
    boxes().write_ipc(place / "annotations.feather")
    (place / "map" / f"log_map_archive_{name}.json").write_text(json.dumps(archive()))
    if sensors:
        _sensors(place)
    return place


def _sensors(place: Path) -> None:
    (place / "calibration").mkdir()
    (place / "sensors" / "lidar").mkdir(parents=True)
    names = ("ring_front_center", "ring_side_left", "up_lidar")
    mounts = [{"sensor_name": name, **OPTICAL, "tx_m": 1.6, "ty_m": 0.0, "tz_m": 1.4} for name in names]
    pl.DataFrame(mounts).write_ipc(place / "calibration" / "egovehicle_SE3_sensor.feather")
    lens = {"fx_px": 100.0, "fy_px": 100.0, "cx_px": 80.0, "cy_px": 45.0, "k1": -0.1, "k2": 0.0, "k3": 0.01}
    size = {"height_px": 90, "width_px": 160}
    lenses = pl.DataFrame([{"sensor_name": name, **lens, **size} for name in names[:2]])
    lenses.write_ipc(place / "calibration" / "intrinsics.feather")
    cloud = pl.DataFrame({"x": [10.0, 12.0], "y": [0.0, 0.5], "z": [0.5, -0.31], "intensity": [255, 51], "laser_number": [1, 2]})
    small = cloud.with_columns(pl.col("x", "y", "z").cast(pl.Float32), pl.col("intensity").cast(pl.UInt8))
    for step in range(0, STEPS, 2):
        small.write_ipc(place / "sensors" / "lidar" / f"{stamp(step)}.feather")
    for name in names[:2]:
        folder = place / "sensors" / "cameras" / name
        folder.mkdir(parents=True)
        for step in range(2 * STEPS - 2):
            (folder / f"{stamp(step / 2) + 1_000_000}.jpg").write_bytes(b"\xff\xd8\xff\xe0jpeg")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The log's folder."""
    return make_log(tmp_path)


@pytest.fixture
def reader() -> Callable[..., Argoverse2]:
    """A reader of short windows."""

    def build(folder: Path, **settings: Any) -> Argoverse2:
        usual = {"splits": {"train": ["*"]}, "cache": False, "history": 0.5, "future": 1.0, "half_width": 1.75}
        return Argoverse2(Argoverse2Config.model_validate({"folder": str(folder), **usual, **settings}))

    return build
