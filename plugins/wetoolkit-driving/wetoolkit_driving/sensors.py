"""What cameras and lidars recorded beside a window: where the files are and where the sensors were. Nothing is read until it is
asked for. What ``wetoolkit.kinds.SupportsSensors`` returns in the driving domain.

Camera frames are OpenCV's (x right, y down, z forward), the ego's is x forward, y left, z up at the rear axle, on the ground. Poses
are 4x4 matrices in the scenario's local frame (its ``origin`` added gives the log's), metres.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wetoolkit.errors import DataError
from wetoolkit.types import Picture, require, require_finite

Double = NDArray[np.float64]
Float = NDArray[np.float32]
Byte = NDArray[np.uint8]


@dataclass(frozen=True)
class Camera:
    """A pinhole camera of the rig, its distortion in OpenCV's order."""

    name: str  # nuPlan's channels: CAM_F0, CAM_L0, CAM_R0, ...
    size: tuple[int, int]  # width, height in pixels
    intrinsics: Double  # [3, 3] pixels
    mount: Double  # [4, 4] camera to ego
    distortion: Double = field(default_factory=lambda: np.zeros(5))  # k1, k2, p1, p2, k3 [1]

    def validate(self) -> None:
        require(self.intrinsics.shape == (3, 3), f"shape {self.intrinsics.shape}", f"{self.name}.intrinsics", "give [3, 3] pixels")
        require(self.mount.shape == (4, 4), f"shape {self.mount.shape}", f"{self.name}.mount", "give [4, 4]: camera to ego")
        for name in ("intrinsics", "mount", "distortion"):
            require_finite(getattr(self, name), f"{self.name}.{name}")
        require(min(self.size) > 0, f"size {self.size}", f"{self.name}.size", "give width and height in pixels")
        require(
            min(self.intrinsics[0, 0], self.intrinsics[1, 1]) > 0, "no focal length", f"{self.name}.intrinsics", "above 0 pixels"
        )


@dataclass(frozen=True)
class Image:
    """One exposure of a camera."""

    camera: str
    time: float  # seconds after the window's step 0
    ego_to_world: Double  # [4, 4] at the exposure
    path: Path  # the compressed file


@dataclass(frozen=True)
class Sweep:
    """One turn of the lidar."""

    time: float  # seconds after the window's step 0
    ego_to_world: Double  # [4, 4]
    path: Path
    read: Callable[[Path], Float]  # file -> [N, 4] x, y, z in the ego's frame at ``time`` [m], intensity [0, 1]

    def points(self) -> Float:
        """[N, 4]: x, y, z in the ego's frame [m], intensity in [0, 1]. ``DataError`` where the file is missing or damaged."""
        return self.read(self.path)


@dataclass(frozen=True)
class Sensors:
    """All that was recorded during one window, in order of time."""

    cameras: tuple[Camera, ...]
    images: tuple[Image, ...]
    sweeps: tuple[Sweep, ...]

    def camera(self, name: str) -> Camera:
        """The camera of this name."""
        found = [camera for camera in self.cameras if camera.name == name]
        names = ", ".join(camera.name for camera in self.cameras) or "none"
        require(bool(found), f"no camera {name!r}; there are: {names}", "sensors.cameras", "ask for one of these")
        return found[0]

    def during(self, steps: Sequence[int] | None, dt: float = 0.1) -> Sensors:
        """Only what was recorded at these steps of ``dt`` seconds, a time between two counted to the later; None: all."""
        if steps is None:
            return self
        asked = set(steps)
        images = tuple(image for image in self.images if math.ceil(image.time / dt - 1e-6) in asked)
        return replace(self, images=images, sweeps=tuple(s for s in self.sweeps if math.ceil(s.time / dt - 1e-6) in asked))

    def picture(self, camera: str, seconds: float, oldest: float) -> Picture | None:
        """A camera's last exposure up to ``seconds`` after step 0, at most ``oldest`` seconds old, as it is compressed; None where
        there is none. ``DataError`` names a file that cannot be read."""
        name, slack = self.camera(camera).name, 1e-6
        found = [i for i in self.images if i.camera == name and seconds - oldest - slack <= i.time <= seconds + slack]
        if not found:
            return None
        try:
            return Picture(found[-1].path.read_bytes())
        except OSError as error:
            raise DataError(f"cannot be read: {error}", file=found[-1].path, way_out="make or fetch the picture again") from error

    def world_to_camera(self, image: Image) -> Double:
        """[4, 4] of one exposure."""
        return np.linalg.inv(image.ego_to_world @ self.camera(image.camera).mount)

    def validate(self) -> None:
        for camera in self.cameras:
            camera.validate()
        for image in self.images:
            self.camera(image.camera)
        for name in ("images", "sweeps"):
            times = [item.time for item in getattr(self, name)]
            require(times == sorted(times), "times do not rise", f"sensors.{name}", "order them by time")
