"""What a scene is fitted to: pictures with poses, bodies with tracks, points on their surfaces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from wetoolkit.types import require
from wetoolkit_splat.graph import Track
from wetoolkit_splat.types import Cameras


@dataclass(frozen=True)
class Frame:
    """One picture."""

    camera: str
    time: float  # seconds
    image: Tensor  # [H, W, 3] in [0, 1]
    world_to_camera: Tensor  # [4, 4]
    intrinsics: Tensor  # [3, 3] pixels
    depth: Tensor | None = None  # [H, W] metres along the axis where a lidar saw something, else 0
    sky: Tensor | None = None  # [H, W] in [0, 1] how much may be sky: there alpha is asked to be 0

    def cameras(self) -> Cameras:
        """This picture's camera alone."""
        height, width = self.image.shape[:2]
        return Cameras(self.world_to_camera[None], self.intrinsics[None], int(width), int(height))

    def validate(self) -> None:
        """Shapes, numbers, the camera."""
        require(self.image.ndim == 3 and self.image.shape[2] == 3, f"shape {tuple(self.image.shape)}", "frame.image", "[H, W, 3]")
        require(bool(torch.isfinite(self.image).all()), "NaN or infinity", "frame.image", "give colours in [0, 1]")
        for name, plane in (("depth", self.depth), ("sky", self.sky)):
            if plane is not None:
                require(plane.shape == self.image.shape[:2], f"shape {tuple(plane.shape)}", f"frame.{name}", "the image's size")
        self.cameras().validate()


@dataclass(frozen=True)
class Body:
    """What is known of a thing beforehand."""

    points: Tensor  # [N, 3] metres, in its own frame
    colours: Tensor  # [N, 3] in [0, 1]
    track: Track | None = None  # None: it stands in the world's frame
    category: str = ""
    size: tuple[float, float, float] | None = None  # length, width, height in metres
    sways: bool = False  # its limbs move by themselves
    period: float = 1.0  # seconds of a step or a turn, where it sways


@dataclass(frozen=True)
class Clip:
    """Everything, and what was left out on the way here."""

    frames: tuple[Frame, ...]
    bodies: Mapping[str, Body]
    repairs: Mapping[str, int] = field(default_factory=dict)  # what -> how often

    def validate(self) -> None:
        """One size of pictures; bodies with points."""
        require(bool(self.frames), "no pictures", "clip.frames", "give at least one")
        require(bool(self.bodies), "no bodies", "clip.bodies", "give at least the background")
        sizes = {tuple(frame.image.shape) for frame in self.frames}
        require(len(sizes) == 1, f"pictures of {len(sizes)} sizes", "clip.frames", "resize them, and their intrinsics")
        for frame in self.frames:
            frame.validate()
        for name, body in self.bodies.items():
            good = body.points.ndim == 2 and body.points.shape == body.colours.shape and body.points.shape[1] == 3
            require(good and len(body.points) > 0, f"{tuple(body.points.shape)} points", f"bodies.{name}", "give [N, 3], N above 0")
            if body.track is not None:
                body.track.validate()

    def split(self, every: int) -> tuple[tuple[Frame, ...], tuple[Frame, ...]]:
        """(to fit, held out): every so-many-th time is held out, with all its cameras, from the middle of the first stretch on."""
        times = sorted({frame.time for frame in self.frames})
        held = {time for number, time in enumerate(times) if every > 0 and number % every == every // 2}
        return tuple(f for f in self.frames if f.time not in held), tuple(f for f in self.frames if f.time in held)
