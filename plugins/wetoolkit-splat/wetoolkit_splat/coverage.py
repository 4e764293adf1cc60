"""What the pictures that a scene was fitted to say of it: from where each surface was seen, how well the scene explains them there,
and how firmly they hold each gaussian.

The last is FisherRF's measure (Jiang, Lei and Daniilidis 2024): the Fisher information of a gaussian's place, J^T J over all pixels
of all pictures, J being the derivative of the rendered colours by its mean. Its 3 x 3 block is estimated without bias from one
backward pass a picture (Hutchinson): for random signs v, the gradient g of v . colours has E[g g^T] = J^T J. A gaussian that is
seen from one side only has none along that line of sight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from wetoolkit.errors import DataError, StoreError
from wetoolkit.store import read_state, write_state
from wetoolkit.types import require
from wetoolkit_splat.clip import Frame
from wetoolkit_splat.graph import SplatScene, expose, sky_of
from wetoolkit_splat.render import Settings, render
from wetoolkit_splat.types import Cameras

Float = NDArray[np.float32]

FILE = "coverage.safetensors"
SHRINK = 4  # pictures are surveyed at a quarter of their width
MOST = 120  # pictures; of more, every second or third is taken
NOISE = 0.05  # of a colour, in [0, 1]
PRIOR = 1.0  # metres: standard deviation of a gaussian's place that no picture holds
UPPER = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))  # entries of a symmetric matrix


@dataclass(frozen=True)
class Coverage:
    """M pictures, shrunk to h x w."""

    times: NDArray[np.float64]  # [M] seconds
    views: Float  # [M, 4, 4] world to camera
    lenses: Float  # [M, 4] fx, fy, cx, cy in the shrunk picture's pixels
    depth: Float  # [M, h, w] metres as the scene has it, 0: the sky
    residual: Float  # [M, h, w] mean difference of colours from the picture
    placed: Mapping[str, Float]  # body -> [M, 4, 4] where it was at these times; zeros where it was not there
    variance: Mapping[str, Float]  # node -> [N, 6] square metres: upper triangle of the covariance of its gaussians' means

    def validate(self) -> None:
        """Shapes and numbers."""
        count = len(self.times)
        require(count > 0 and self.depth.ndim == 3, f"shape {self.depth.shape}", "coverage.depth", "fit the scene again")
        wanted = {
            "views": (count, 4, 4),
            "lenses": (count, 4),
            "depth": (count, *self.depth.shape[1:]),
            "residual": self.depth.shape,
        }
        for name, shape in wanted.items():
            array = getattr(self, name)
            require(array.shape == shape, f"shape {array.shape} instead of {shape}", f"coverage.{name}", "fit the scene again")
            require(bool(np.isfinite(array).all()), "NaN or infinity", f"coverage.{name}", "fit the scene again")

    def centres(self) -> Float:
        """[M, 3] where the cameras were."""
        return -np.einsum("mij,mi->mj", self.views[:, :3, :3], self.views[:, :3, 3])


def shrunk(cameras: Cameras, by: int = SHRINK) -> Cameras:
    """The same views in so many times fewer pixels a side, at least 8."""
    width, height = max(8, round(cameras.width / by)), max(8, round(cameras.height / by))
    scale = torch.tensor([width / cameras.width, height / cameras.height, 1.0], dtype=cameras.intrinsics.dtype)
    return Cameras(cameras.world_to_camera, scale[:, None] * cameras.intrinsics, width, height)


def survey(scene: SplatScene, frames: Sequence[Frame], settings: Settings, seed: int = 0) -> Coverage:
    """What these pictures say of a scene that was fitted to them."""
    require(bool(frames), "no pictures", "frames", "give those that the scene was fitted to")
    chosen = frames[:: -(-len(frames) // MOST)]
    generator = torch.Generator().manual_seed(seed)
    information = {name: torch.zeros(len(node.gaussians), 3, 3) for name, node in scene.nodes.items()}
    maps = [_look(scene, frame, settings, generator, information) for frame in chosen]
    cameras = [shrunk(frame.cameras()) for frame in chosen]
    k = torch.cat([camera.intrinsics for camera in cameras])
    return Coverage(
        times=np.array([frame.time for frame in chosen], np.float64),
        views=torch.stack([frame.world_to_camera for frame in chosen]).numpy().astype(np.float32),
        lenses=torch.stack([k[:, 0, 0], k[:, 1, 1], k[:, 0, 2], k[:, 1, 2]], 1).numpy().astype(np.float32),
        depth=np.stack([depth for depth, _ in maps]),
        residual=np.stack([residual for _, residual in maps]),
        placed={name: _placed(scene, name, chosen) for name, node in scene.nodes.items() if node.track is not None},
        variance={name: _variance(blocks) for name, blocks in information.items()},
    )


def _look(
    scene: SplatScene, frame: Frame, settings: Settings, generator: torch.Generator, information: dict[str, Tensor]
) -> tuple[Float, Float]:
    """(depth, residual) of one picture; the information in it is added."""
    cameras = shrunk(frame.cameras())
    gaussians, poses = scene.at(frame.time)
    means = gaussians.means.detach().requires_grad_()
    seen = render(gaussians.map(lambda t: means if t is gaussians.means else t), cameras, poses, settings=settings)
    signs = torch.randint(0, 2, seen.colour.shape, generator=generator) * 2.0 - 1.0
    (gradient,) = torch.autograd.grad((seen.colour * signs.to(seen.colour)).sum(), means)
    begin = 0
    for name, node in scene.nodes.items():
        if node.track is None or node.track.present(frame.time):
            own = torch.nan_to_num(gradient[begin : begin + len(node.gaussians)], 0, 0, 0)
            information[name] += own[:, :, None] * own[:, None]
            begin += len(node.gaussians)
    with torch.no_grad():
        colour = seen.colour + (1 - seen.alpha)[..., None] * sky_of(scene.sky, cameras)
        colour = expose(colour, scene.exposures.get(frame.camera))[0]
        image = functional.adaptive_avg_pool2d(frame.image.permute(2, 0, 1), colour.shape[:2]).permute(1, 2, 0)
        depth = torch.where(seen.alpha >= 0.5, seen.expected_depth(), 0.0)[0]
        return depth.numpy(), (colour - image).abs().mean(-1).numpy()


def _placed(scene: SplatScene, name: str, frames: Sequence[Frame]) -> Float:
    track = scene.nodes[name].track
    assert track is not None
    return np.stack([track.at(f.time).numpy() if track.present(f.time) else np.zeros((4, 4)) for f in frames]).astype(np.float32)


def _variance(information: Tensor) -> Float:
    """[N, 6] of the inverse of what is known, the prior included."""
    covariance = torch.linalg.inv(information / NOISE**2 + torch.eye(3) / PRIOR**2)
    return torch.stack([covariance[:, i, j] for i, j in UPPER], 1).numpy()


def write(folder: Path, coverage: Coverage) -> None:
    """``coverage.safetensors`` in a scene's folder, half precision where that is enough."""
    arrays = {"times": coverage.times, "views": coverage.views, "lenses": coverage.lenses}
    half = {"depth": np.minimum(coverage.depth, 6e4), "residual": coverage.residual}
    half |= {f"variance.{name}": array for name, array in coverage.variance.items()}
    placed = {f"placed.{name}": array for name, array in coverage.placed.items()}
    write_state(folder / FILE, {**arrays, **placed, **{name: array.astype(np.float16) for name, array in half.items()}}, {})


def read(folder: Path) -> Coverage | None:
    """What ``write`` wrote; None where a scene has none (it was fitted elsewhere). ``DataError`` for a damaged file."""
    path = folder / FILE
    if not path.exists():
        return None
    way_out = "remove the scene's folder, so that it is fitted again"
    try:
        arrays = read_state(path)[0]
        plain = {name: arrays.pop(name) for name in ("times", "views", "lenses", "depth", "residual")}
    except (StoreError, KeyError) as error:
        raise DataError(f"is no coverage of a scene: {error}", file=path, way_out=way_out) from error
    parts: dict[str, dict[str, Float]] = {"placed": {}, "variance": {}}
    for name, array in arrays.items():
        kind, _, node = name.partition(".")
        parts[kind][node] = array.astype(np.float32)
    times = plain.pop("times").astype(np.float64)
    found = Coverage(times, **{name: array.astype(np.float32) for name, array in plain.items()}, **parts)
    found.validate()
    return found
