"""Images and sweeps of a written log, opened by nuplan-devkit."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import nuplan_devkit as devkit
from nuplan.planning.simulation.observation.observation_type import CameraChannel, LidarChannel
from nuplan_bridge import Found
from wetoolkit_driving.types import AgentClass, World
from wetoolkit_logs.nuplan.writer import write

from wetoolkit.registry import load_registry

NEAR, GROUND, LEAST = 25.0, 0.3, 5  # metres: boxes that must be hit, points that are of the road; points in a box
CAMERA = CameraChannel.CAM_F0


def sensors(folder: Path) -> Iterator[Found]:
    """Every sweep and image of a log: opened, of a sound size, and with points where the boxes are."""
    if not list(folder.glob("*.db")):
        _write(folder)
    with sqlite3.connect(next(folder.glob("*.db"))) as base:
        named = {bytes(token).hex(): name for token, name in base.execute("SELECT token, filename FROM lidar_pc")}
    there = [one for one in devkit.scenarios(folder) if (folder / "sensor_blobs" / named[one.token]).exists()]
    sweeps, images, hits = [], [], []
    for scenario in there:
        seen = scenario.get_sensors_at_iteration(0, [LidarChannel.MERGED_PC, CAMERA])
        points = seen.pointcloud[LidarChannel.MERGED_PC].points[:3].T.astype(np.float64)
        sweeps.append(len(points) > 1000 and bool(np.isfinite(points).all()))
        images += [image.as_numpy.shape[2] == 3 and image.as_numpy.std() > 5 for image in (seen.images or {}).values()]
        hits += list(_hit(scenario, points))
    yield Found("sweeps", len(sweeps), sweeps.count(False) or int(not sweeps))
    yield Found("images", len(images), images.count(False) or int(not images), note=CAMERA.value)
    note = f"vehicles within {NEAR:.0f} m; the share without {LEAST} points in their box may be 0.3, behind others"
    missed = 1 - sum(hits) / max(len(hits), 1)
    yield Found("boxes hit by sweeps", len(hits), int(missed > 0.3), missed, note)


def _write(folder: Path) -> None:
    few = {"cameras": [CAMERA.value], "camera_rate": 0.5, "lidar_rate": 0.5, "width": 160, "height": 90}
    town = load_registry().build("dataset", "minitown", {"sensors": few})
    ref = max(town.recordings("val")[:4], key=lambda ref: _company(town.recording(ref).world))
    write([town.recording(ref)], folder, lambda _: town.sensors(ref))


def _company(world: World) -> int:
    """How often vehicles are near the ego."""
    away = np.hypot(*(world.agents.pose[..., :2] - world.ego.states[None, :, :2]).transpose(2, 0, 1))
    return int(((away < NEAR) & world.agents.valid & (world.agents.kind == AgentClass.VEHICLE)[:, None]).sum())


def _hit(scenario: Any, points: np.ndarray) -> Iterator[bool]:
    """For each vehicle near the ego whether a sweep [n, 3], in the frame of the rear axle, has points inside of its box."""
    pose = scenario.initial_ego_state.rear_axle
    for item in scenario.get_tracked_objects_at_iteration(0).tracked_objects.tracked_objects:
        away = np.array([item.center.x - pose.x, item.center.y - pose.y])
        if item.tracked_object_type.name != "VEHICLE" or np.hypot(*away) > NEAR:
            continue
        local = points[:, :2] - _turned(away, -pose.heading)
        aside = np.abs(_turned(local, pose.heading - item.center.heading))
        inside = (aside <= np.array([item.box.length, item.box.width]) / 2 + 0.1).all(1) & (points[:, 2] > GROUND)
        yield bool(inside.sum() >= LEAST)


def _turned(places: np.ndarray, angle: float) -> np.ndarray:
    cosine, sine = np.cos(angle), np.sin(angle)
    return places @ np.array([[cosine, sine], [-sine, cosine]])
