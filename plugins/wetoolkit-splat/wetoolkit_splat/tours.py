"""What a viewer shows: a file of gaussians, a fitted scene on its tracks, or one with everybody where a drive has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from wetoolkit_driving.canvas import EGO, KINDS
from wetoolkit_driving.geometry import ego_center
from wetoolkit_driving.sensors import Camera
from wetoolkit_driving.types import HEADING, AgentClass, World

from wetoolkit_splat.around import SCENE_UP, load, times_of
from wetoolkit_splat.driving import body_name, box_poses
from wetoolkit_splat.graph import SplatScene
from wetoolkit_splat.reconstruct import camera_at

Double = NDArray[np.float64]
Colour = tuple[int, int, int]
Poses = Mapping[str, Tensor]  # [4, 4] to the world, of the bodies that are there
COLOURS: dict[str, Colour] = {kind.name.lower(): colour for kind, colour in KINDS.items()}
OTHER: Colour = (120, 120, 90)
EGO_NAME = "ego"
EVERY = 5  # steps between two cameras of the recorded drive that are shown


@dataclass(frozen=True)
class Eye:
    """A camera that a scene was made from."""

    name: str
    pose: Double  # [4, 4] camera to world
    angle: float  # vertical [rad]
    aspect: float  # width over height
    trust: float | None = None  # of what it sees, in [0, 1]


@dataclass(frozen=True)
class Box:
    """What stands around a body."""

    size: tuple[float, float, float]  # length, width, height [m]
    colour: Colour


@dataclass(frozen=True)
class Tour:
    """A scene with its times."""

    scene: SplatScene
    times: tuple[float, ...]  # seconds
    poses: Callable[[int], Poses]  # number of a time -> bodies and boxes that are there then
    boxes: Mapping[str, Box]
    up: tuple[float, float, float]
    eyes: tuple[Eye, ...] = ()
    trust: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)  # node -> [N] in [0, 1]


def of_file(path: Path) -> Tour:
    """A scene's folder, bodies on their tracks, or a file of gaussians."""
    scene, up = load(path)
    times = tuple(times_of(scene))
    boxes = {n: Box(node.size, COLOURS.get(node.category, OTHER)) for n, node in scene.nodes.items() if node.size is not None}
    return Tour(scene, times, lambda number: on_tracks(scene, times[number]), boxes, up)


def on_tracks(scene: SplatScene, time: float) -> Poses:
    """Where the tracks have their bodies at a time."""
    moving = {name: node.track for name, node in scene.nodes.items() if node.track is not None}
    return {name: track.at(time).float() for name, track in moving.items() if track.present(time)}


def of_world(scene: SplatScene, rig: Mapping[str, Camera], logged: World, world: World) -> Tour:
    """A fitted scene with everybody where a world has them; the cameras are those of the log's drive, half a second apart."""
    ego = _ego_poses(world)
    agents = {body_name(world, agent): agent for agent in range(len(world.agents))}
    tracks = {name: torch.from_numpy(box_poses(world, agent)).float() for name, agent in agents.items()}

    def poses(step: int) -> Poses:
        there = {name: tracks[name][step] for name, agent in agents.items() if world.agents.valid[agent, step]}
        return {**there, EGO_NAME: torch.from_numpy(ego[step]).float()}

    sizes, vehicle = world.agents.size.astype(float).tolist(), world.ego.vehicle
    boxes = {n: Box((*sizes[a],), KINDS[AgentClass(int(world.agents.kind[a]))]) for n, a in agents.items()}
    boxes[EGO_NAME] = Box((vehicle.length, vehicle.width, vehicle.height), EGO)
    times = tuple(step * world.dt for step in range(world.steps))
    return Tour(scene, times, poses, boxes, SCENE_UP, tuple(_eyes(rig, logged)))


def _ego_poses(world: World) -> Double:
    """[T, 4, 4] centre of the ego's box to the window's frame."""
    centres = ego_center(world.ego.states, world.ego.vehicle)
    poses = np.tile(np.eye(4), (len(centres), 1, 1))
    cos, sin = np.cos(centres[:, HEADING]), np.sin(centres[:, HEADING])
    poses[:, 0, 0], poses[:, 0, 1], poses[:, 1, 0], poses[:, 1, 1] = cos, -sin, sin, cos
    poses[:, :2, 3], poses[:, 2, 3] = centres[:, :2], world.ego.vehicle.height / 2
    return poses


def _eyes(rig: Mapping[str, Camera], logged: World) -> Iterator[Eye]:
    for step in range(0, logged.steps, EVERY):
        for camera in rig.values():
            view = camera_at(logged, step, camera, camera.size).world_to_camera[0].double().numpy()
            width, height = camera.size
            angle = 2 * float(np.arctan(height / 2 / camera.intrinsics[1, 1]))
            yield Eye(f"{camera.name}-{step}", np.linalg.inv(view), angle, width / height)


__all__ = ["Box", "Eye", "Poses", "Tour", "of_file", "of_world", "on_tracks"]
