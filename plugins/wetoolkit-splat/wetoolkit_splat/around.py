"""A scene or a file of gaussians from around: a turn of cameras that look at its middle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wetoolkit_splat.files import READERS, read
from wetoolkit_splat.files import scene as scenes
from wetoolkit_splat.graph import Node, SplatScene
from wetoolkit_splat.render import Backend, Settings
from wetoolkit_splat.types import C0, Cameras, Gaussians

FIELD = 50.0  # degrees: how much a camera sees, up and down
RISE = 25.0  # degrees: how far a camera looks down
FILE_UP = (0.0, -1.0, 0.0)  # files of other programs keep the axes of COLMAP: y down
SCENE_UP = (0.0, 0.0, 1.0)
STREET = 25.0  # metres: as much of a scene of things that move is shown, not all up to the horizon


def recognised(path: Path) -> bool:
    """Whether a path is a scene's folder or a file of gaussians, by names alone."""
    return (path / scenes.JSON).is_file() or (path.is_file() and path.name.lower().endswith(tuple(READERS)))


def load(path: Path) -> tuple[SplatScene, tuple[float, float, float]]:
    """A scene and where up is. A file becomes a scene of one node on light grey, its broken rows left out."""
    if path.is_dir():
        return scenes.read(path), SCENE_UP
    return SplatScene({path.name: Node(read(path, drop_broken=True)[0])}, torch.full((1, 3), 0.3 / C0)), FILE_UP


def times_of(scene: SplatScene, dt: float = 0.1) -> list[float]:
    """Seconds at which something moves, ``dt`` apart; 0 alone where nothing does."""
    tracks = [node.track for node in scene.nodes.values() if node.track is not None and float(node.track.times[0]) > -1e8]
    if not tracks:
        return [0.0]
    first, last = min(float(track.times[0]) for track in tracks), max(float(track.times[-1]) for track in tracks)
    return [first + k * dt for k in range(round((last - first) / dt) + 1)]


def extent(gaussians: Gaussians) -> tuple[Tensor, float]:
    """The middle [3] of what is solid, and how far it reaches from there; a hundredth at each end of each axis is left out."""
    solid = torch.sigmoid(gaussians.opacity_logits) > 0.5
    means = gaussians.means[solid] if int(solid.sum()) > 1 else gaussians.means
    low, high = means.quantile(0.01, dim=0), means.quantile(0.99, dim=0)
    return (low + high) / 2, max(float((high - low).norm()) / 2, 1e-3)


def span(scene: SplatScene, time: float) -> tuple[Tensor, float]:
    """Middle and reach of a scene; of one with things that move, of where they are, and no farther than a street is wide."""
    there = {name: node for name, node in scene.nodes.items() if node.track is not None and node.track.present(time)}
    if not there:
        return extent(scene.at(time)[0])
    places = torch.stack([node.track.at(time)[:3, 3].float() for node in there.values() if node.track is not None])
    middle = places.median(0).values
    return middle, min(max(float((places - middle).norm(dim=-1).median()), 5.0), STREET)


def facing(eye: Tensor, target: Tensor, up: Tensor) -> Tensor:
    """[4, 4] world to camera of one that stands at ``eye``, looks at ``target`` and holds ``up`` upwards."""
    forward = torch.nn.functional.normalize(target - eye, dim=0)
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, up), dim=0)
    turn = torch.stack([right, torch.linalg.cross(forward, right), forward])
    return torch.cat([torch.cat([turn, (-turn @ eye)[:, None]], 1), torch.tensor([[0.0, 0, 0, 1]])])


def turn_of(middle: Tensor, reach: float, up: Tensor, count: int, resolution: tuple[int, int]) -> Iterator[Cameras]:
    """``count`` cameras around a ball of radius ``reach``, each by itself."""
    width, height = resolution
    focal = height / 2 / np.tan(np.radians(FIELD) / 2)
    k = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], dtype=torch.float32)
    away = reach / np.sin(np.radians(FIELD) / 2)
    side = torch.linalg.cross(up, torch.eye(3)[int(up.abs().argmin())])
    side = side / side.norm()
    for angle in np.arange(count) * 2 * np.pi / count:
        round_ = np.cos(angle) * side + np.sin(angle) * torch.linalg.cross(up, side)
        eye = middle + away * (np.cos(np.radians(RISE)) * round_ + np.sin(np.radians(RISE)) * up)
        yield Cameras(facing(eye.float(), middle, up)[None], k[None], width, height)


def orbit(path: Path, count: int, resolution: tuple[int, int], backend: Backend) -> Iterator[Mapping[str, NDArray[np.generic]]]:
    """``count`` pictures around a file or a scene, whose time goes by meanwhile: ``rgb`` [H, W, 3] and ``depth`` [H, W]."""
    scene, up = load(path)
    times = times_of(scene)
    middle, reach = span(scene, times[len(times) // 2])
    for number, cameras in enumerate(turn_of(middle, reach, torch.tensor(up), count, resolution)):
        with torch.no_grad():
            seen = scene.render(cameras, times[number * len(times) // count], settings=Settings(backend))
        rgb = (seen.colour[0].clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
        depth = torch.where(seen.alpha > 0.5, seen.expected_depth(), 0.0)  # what is hardly there would look solid
        yield {"rgb": rgb, "depth": depth[0].cpu().numpy()}
