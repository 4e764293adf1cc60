"""What a viewer shows: a file of gaussians, a fitted scene on its tracks, or one with everybody where a drive has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from wetoolkit_driving.canvas import EGO, KINDS
from wetoolkit_driving.geometry import ego_center
from wetoolkit_driving.types import HEADING, AgentClass, World

from wetoolkit_splat import coverage as coverages
from wetoolkit_splat.around import SCENE_UP, load, times_of
from wetoolkit_splat.coverage import Coverage
from wetoolkit_splat.driving import body_name, box_poses
from wetoolkit_splat.graph import SplatScene
from wetoolkit_splat.render import Settings
from wetoolkit_splat.trust import of_gaussians, trust
from wetoolkit_splat.types import Cameras

Double = NDArray[np.float64]
Colour = tuple[int, int, int]
Poses = Mapping[str, Tensor]  # [4, 4] to the world, of the bodies that are there
COLOURS: dict[str, Colour] = {kind.name.lower(): colour for kind, colour in KINDS.items()}
OTHER: Colour = (120, 120, 90)
EGO_NAME = "ego"


@dataclass(frozen=True)
class Eye:
    """A picture that a scene was made from."""

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
    times, coverage = tuple(times_of(scene)), coverages.read(path) if path.is_dir() else None
    boxes = {n: Box(node.size, COLOURS.get(node.category, OTHER)) for n, node in scene.nodes.items() if node.size is not None}
    known = {} if coverage is None else of_gaussians(coverage)
    return Tour(scene, times, lambda number: on_tracks(scene, times[number]), boxes, up, eyes_of(scene, coverage), known)


def on_tracks(scene: SplatScene, time: float) -> Poses:
    """Where the tracks have their bodies at a time."""
    moving = {name: node.track for name, node in scene.nodes.items() if node.track is not None}
    return {name: track.at(time).float() for name, track in moving.items() if track.present(time)}


def of_world(scene: SplatScene, coverage: Coverage | None, world: World) -> Tour:
    """A fitted scene with everybody where a world has them."""
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
    known = {} if coverage is None else of_gaussians(coverage)
    return Tour(scene, times, poses, boxes, SCENE_UP, eyes_of(scene, coverage), known)


def _ego_poses(world: World) -> Double:
    """[T, 4, 4] centre of the ego's box to the window's frame."""
    centres = ego_center(world.ego.states, world.ego.vehicle)
    poses = np.tile(np.eye(4), (len(centres), 1, 1))
    cos, sin = np.cos(centres[:, HEADING]), np.sin(centres[:, HEADING])
    poses[:, 0, 0], poses[:, 0, 1], poses[:, 1, 0], poses[:, 1, 1] = cos, -sin, sin, cos
    poses[:, :2, 3], poses[:, 2, 3] = centres[:, :2], world.ego.vehicle.height / 2
    return poses


def eyes_of(scene: SplatScene, coverage: Coverage | None) -> tuple[Eye, ...]:
    """The pictures that a scene was fitted to, each with the trust of its own view; none where nothing is known of them."""
    if coverage is None:
        return ()
    (height, width), settings, found = coverage.depth.shape[1:], Settings("auto"), []
    for time, view, (fx, fy, cx, cy) in zip(coverage.times.tolist(), coverage.views, coverage.lenses.tolist(), strict=True):
        k = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
        cameras = Cameras(torch.from_numpy(view)[None], k[None], width, height)
        poses = on_tracks(scene, time)
        with torch.no_grad():
            seen = scene.render(cameras, time, poses=poses, settings=settings)
            frame = trust(scene, coverage, cameras, time, poses, seen, settings).frame
        angle = 2 * float(np.arctan(height / 2 / fy))
        found.append(Eye(f"{time:.1f} s", np.linalg.inv(view.astype(np.float64)), angle, width / height, frame))
    return tuple(found)


__all__ = ["Box", "Eye", "Poses", "Tour", "eyes_of", "of_file", "of_world", "on_tracks"]
