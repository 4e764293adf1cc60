"""Sensor logs and motion-forecasting scenarios -> Recordings at 10 Hz, repairs counted.

Boxes of sensor logs are in the ego's frame at their time stamp, which is composed with the ego's pose there. The ego's frame is its
rear axle. Rows carry their own times, so their order means nothing: it is not relied on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from wetoolkit_driving.types import AgentClass, Vehicle

from wetoolkit.errors import DataError
from wetoolkit_logs import motion
from wetoolkit_logs.argoverse2.maps import features
from wetoolkit_logs.argoverse2.sensors import AXLE
from wetoolkit_logs.argoverse2.tables import POSE, flat, table, transforms
from wetoolkit_logs.recording import DT, Recording, Track

Double = NDArray[np.float64]
Bool = NDArray[np.bool_]

# Ford Fusion: length, width (with mirrors) and height as in the EGO_VEHICLE rows; the wheel base of 2.85 m is a widely quoted
# figure, the overhangs are estimated so that they add up to the length.
FUSION = Vehicle(width=2.0, front=3.787, rear=1.09, wheel_base=2.85, height=1.473)
BOX = ("track_uuid", "category", "length_m", "width_m", "height_m")
ROW = ("track_id", "object_type", "timestep", "position_x", "position_y", "heading", "velocity_x", "velocity_y")
SCENARIO = ("scenario_id", "num_timestamps")
CYCLES = ("BICYCLE", "BICYCLIST", "MOTORCYCLE", "MOTORCYCLIST", "WHEELED_DEVICE", "WHEELED_RIDER", "CYCLIST", "RIDERLESS_BICYCLE")
WALKERS = ("PEDESTRIAN", "STROLLER", "WHEELCHAIR", "OFFICIAL_SIGNALER")
VEHICLES = (
    "REGULAR_VEHICLE", "LARGE_VEHICLE", "BUS", "BOX_TRUCK", "TRUCK", "TRUCK_CAB", "VEHICULAR_TRAILER", "SCHOOL_BUS",
    "ARTICULATED_BUS", "RAILED_VEHICLE", "MESSAGE_BOARD_TRAILER", "TRAFFIC_LIGHT_TRAILER", "VEHICLE",
)  # fmt: skip
CLASSES: Mapping[str, AgentClass] = {
    **dict.fromkeys(VEHICLES, AgentClass.VEHICLE),
    **dict.fromkeys(CYCLES, AgentClass.BICYCLE),
    **dict.fromkeys(WALKERS, AgentClass.PEDESTRIAN),
    "CONSTRUCTION_CONE": AgentClass.TRAFFIC_CONE,
    "CONSTRUCTION_BARREL": AgentClass.TRAFFIC_CONE,
    "BOLLARD": AgentClass.BARRIER,
    "SIGN": AgentClass.CZONE_SIGN,
    "STOP_SIGN": AgentClass.CZONE_SIGN,
    "MOBILE_PEDESTRIAN_CROSSING_SIGN": AgentClass.CZONE_SIGN,
}  # all others (dogs, animals, static, background, construction, unknown) are generic objects


def log(annotations: Path, poses: Path, archive: Path, limit: int) -> Recording:
    """The recording of a sensor log, one step a time stamp of its annotations."""
    counts: Counter[str] = Counter()
    boxes = table(annotations, (*BOX, *POSE), limit)
    stamps = np.unique(boxes["timestamp_ns"].to_numpy())
    steps = _steps(stamps, annotations)
    ego_to_city = _poses_at(stamps, poses, limit, counts)  # [n, 4, 4]
    ego = _ego(ego_to_city, steps)
    boxes = boxes.filter(pl.col("category") != "EGO_VEHICLE")
    row = np.searchsorted(stamps, boxes["timestamp_ns"].to_numpy())
    placed = flat(ego_to_city[row] @ transforms(boxes, annotations))
    keys = boxes.select(name="track_uuid", kind="category", step=steps[row], row=pl.int_range(pl.len()))
    size = boxes.select("length_m", "width_m", "height_m").to_numpy()
    others = _tracks(keys, placed, None, size, len(ego.pose), counts)
    height = np.interp(np.arange(len(ego.pose)), steps, ego_to_city[:, 2, 3] - AXLE)
    name, seen = annotations.parent.name, {what: count for what, count in counts.items() if count}
    return Recording(name, name, "argoverse2", len(ego.pose), ego, others, {}, features(archive), seen, int(stamps[0]), height)


def _poses_at(stamps: NDArray[np.int64], poses: Path, limit: int, counts: Counter[str]) -> Double:
    """Ego to city [n, 4, 4] at the time stamps. Errors: ``DataError`` where there is no pose at one of them."""
    known = table(poses, POSE, limit)
    counts["poses_of_one_time_left_out"] += len(known) - known["timestamp_ns"].n_unique()
    known = known.unique("timestamp_ns", keep="first", maintain_order=True).sort("timestamp_ns")
    there = np.searchsorted(known["timestamp_ns"].to_numpy(), stamps).clip(max=len(known) - 1)
    missing = known["timestamp_ns"].to_numpy()[there] != stamps
    if missing.any():
        raise DataError(f"no pose at {missing.sum()} of {len(stamps)} annotated times", file=str(poses),
                        field=f"timestamp_ns {stamps[missing][0]}", way_out="fetch the file again")  # fmt: skip
    return np.asarray(transforms(known, poses)[there], np.float64)


def _ego(ego_to_city: Double, steps: NDArray[np.int64]) -> Track:
    """The ego at those steps; its velocity is derived later."""
    pose, velocity = np.zeros((steps[-1] + 1, 3)), np.zeros((steps[-1] + 1, 2))
    pose[steps] = flat(ego_to_city)
    valid = np.isin(np.arange(len(pose)), steps)
    return Track("ego", AgentClass.VEHICLE, pose, velocity, valid, (FUSION.length, FUSION.width, FUSION.height))


def _steps(stamps: NDArray[np.int64], path: Path) -> NDArray[np.int64]:
    """The 0.1 s step of each time stamp [ns]. Errors: ``DataError`` where they are not 10 Hz to within 20 ms."""
    if len(stamps) < 2:
        raise DataError(f"{len(stamps)} annotated times", file=str(path), field="timestamp_ns", way_out="leave the log out")
    steps = np.rint((stamps - stamps[0]) / (DT * 1e9)).astype(np.int64)
    off = np.abs((stamps - stamps[0]) / 1e9 - DT * steps)
    if off.max() > 0.02 or (np.diff(steps) < 1).any() or steps[-1] > 36000:
        raise DataError("annotated times are not 10 Hz", file=str(path), field=f"timestamp_ns {stamps[int(off.argmax())]}",
                        way_out="fetch the file again")  # fmt: skip
    return steps


def scenario(parquet: Path, archive: Path, limit: int) -> Recording:
    """The recording of a motion-forecasting scenario; boxes have no sizes there."""
    counts: Counter[str] = Counter()
    rows = table(parquet, (*ROW, *SCENARIO), limit)
    if not len(rows) or not 2 <= (steps := int(rows["num_timestamps"][0])) <= 36000:
        raise DataError("no scenario of 2 steps at least", file=str(parquet), field="num_timestamps", way_out="fetch it again")
    wrong = (rows["timestep"] < 0) | (rows["timestep"] >= steps)
    if wrong.any():
        raise DataError("a step outside of the scenario", file=str(parquet), field=f"timestep, row {wrong.arg_true()[0]}",
                        way_out="fetch the file again")  # fmt: skip
    keys = rows.select(name="track_id", kind=pl.col("object_type").str.to_uppercase(), step="timestep")
    numbers = rows.select("position_x", "position_y", "heading", "velocity_x", "velocity_y").to_numpy().astype(np.float64)
    numbers[:, 2] = (numbers[:, 2] + np.pi) % (2 * np.pi) - np.pi
    keys = keys.with_columns(row=pl.int_range(pl.len()))
    tracks = _tracks(keys, numbers[:, :3], numbers[:, 3:], np.zeros((len(rows), 3)), steps, counts)
    ego = next((track for track in tracks if track.id == "AV"), None)
    if ego is None:
        raise DataError("no track of the recording car", file=str(parquet), field="track_id AV", way_out="leave the file out")
    ego = replace(ego, size=(FUSION.length, FUSION.width, FUSION.height))
    others = tuple(track for track in tracks if track.id != "AV")
    return Recording(parquet.name, str(rows["scenario_id"][0]), "argoverse2", steps, ego, others, {}, features(archive),
                     {name: n for name, n in counts.items() if n})  # fmt: skip


def _tracks(
    rows: pl.DataFrame, pose: Double, velocity: Double | None, size: Double, steps: int, counts: Counter[str]
) -> tuple[Track, ...]:
    """Tracks in order of their ids, of rows with name, kind, step and row; velocities are fitted where not told."""
    first = rows.unique(["name", "step"], keep="first", maintain_order=True)
    counts["boxes_of_one_time_left_out"] += len(rows) - len(first)
    finite = np.isfinite(pose if velocity is None else np.hstack([pose, velocity])).all(1)
    counts["nan_poses_marked_invalid"] += int((~finite).sum())
    found = []
    for (name,), group in sorted(first.group_by(["name"], maintain_order=True), key=lambda item: str(item[0][0])):
        group = group.filter(finite[group["row"].to_numpy()])
        if not len(group):
            counts["tracks_never_seen"] += 1
            continue
        track = _track(str(name), group, pose, velocity, size, steps)
        counts["boxes_without_extent"] += min(track.size) <= 0
        counts["one_step_tracks"] += len(group) == 1
        found.append(track)
    return tuple(found)


def _track(name: str, group: pl.DataFrame, pose: Double, velocity: Double | None, size: Double, steps: int) -> Track:
    """The track of a group of rows."""
    row, at = group["row"].to_numpy(), group["step"].to_numpy()
    valid, poses, speeds = np.zeros(steps, bool), np.zeros((steps, 3)), np.zeros((steps, 2))
    valid[at], poses[at] = True, pose[row]
    if velocity is not None:
        speeds[at] = velocity[row]
    else:
        for start, stop in motion.runs(valid):
            speeds[start:stop] = motion.derivative(poses[start:stop, :2])
    length, width, height = np.nan_to_num(np.median(size[row], 0)).tolist()
    return Track(name, CLASSES.get(str(group["kind"][0]), AgentClass.GENERIC_OBJECT), poses, speeds, valid, (length, width, height))
