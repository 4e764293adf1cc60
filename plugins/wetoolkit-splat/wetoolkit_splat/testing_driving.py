"""A driving window with made-up sensors, to test with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from wetoolkit_driving.sensors import Camera, Image, Sensors, Sweep
from wetoolkit_driving.testing import actor, straight_world
from wetoolkit_driving.types import AgentClass, World

from wetoolkit_splat.driving import box_poses

MOUNT = np.array(
    [[0.0, 0, 1, 1], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]]
)  # camera to ego: looks ahead from 1.5 m above the ground
K = np.array([[100.0, 0, 80], [0, 100, 45], [0, 0, 1]])


def world() -> World:
    """The ego stands; a car drives 14 m ahead, a pedestrian is 10 m ahead to the left, a cyclist behind whom no lidar sees."""
    people = (AgentClass.PEDESTRIAN, AgentClass.BICYCLE)
    others = [actor(14, 0, 0.0, 1.0), actor(10, 3, 1.0, 1.0, people[0]), actor(-20, 0, 0.0, 3.0, people[1])]
    return straight_world(others, speed=0.0)


def sensors(folder: Path, given: World, times: tuple[float, ...] = (0.0, 0.5, 1.0)) -> Sensors:
    """A red left half and a blue right half; sweeps of points on the ground and on the two boxes ahead."""
    from PIL import Image as Picture

    pixels = np.zeros((90, 160, 3), np.uint8)
    pixels[:, :80, 0], pixels[:, 80:, 2] = 255, 255
    images, sweeps = [], []
    for time in times:
        path = folder / f"{time}.png"
        Picture.fromarray(pixels).save(path)
        images.append(Image("CAM_F0", time, np.eye(4), path))

        def read(_: Path, time: float = time) -> Any:
            rng = np.random.default_rng(0)
            step = round(time / given.dt)
            ground = np.concatenate([rng.uniform([4, -4], [9, 4], (200, 2)), np.zeros((200, 1))], 1)
            boxes = [rng.uniform(-0.5, 0.5, (200, 3)) * given.agents.size[a] for a in (0, 1)]
            placed = [p @ box_poses(given, a)[step, :3, :3].T + box_poses(given, a)[step, :3, 3] for a, p in enumerate(boxes)]
            placed = [points[points[:, 2] > 0.2] for points in placed]
            points = np.concatenate([ground, *placed])
            return np.concatenate([points, np.ones((len(points), 1))], 1).astype(np.float32)

        sweeps.append(Sweep(time, np.eye(4), path, read))
    return Sensors((Camera("CAM_F0", (160, 90), K, MOUNT),), tuple(images), tuple(sweeps))
