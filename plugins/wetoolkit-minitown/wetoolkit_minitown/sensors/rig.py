"""Eight cameras around the ego in the manner of nuPlan's rig: its channels, field of view and rough mounts, not its calibration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from wetoolkit_driving.sensors import Camera

from wetoolkit.errors import UnknownName

FOCAL = 0.805  # focal length in image widths: 63.7 degrees from side to side
MOUNTS = {  # x, y, z in the ego's frame [m], yaw [degrees]
    "CAM_F0": (1.65, 0.0, 1.55, 0.0), "CAM_L0": (1.55, 0.35, 1.55, 55.0), "CAM_R0": (1.55, -0.35, 1.55, -55.0),
    "CAM_L1": (1.3, 0.6, 1.55, 105.0), "CAM_R1": (1.3, -0.6, 1.55, -105.0), "CAM_L2": (-0.3, 0.6, 1.55, 145.0),
    "CAM_R2": (-0.3, -0.6, 1.55, -145.0), "CAM_B0": (-0.6, 0.0, 1.55, 180.0),
}  # fmt: skip
DEFAULT = ("CAM_L0", "CAM_F0", "CAM_R0")


def rig(names: Sequence[str] = DEFAULT, size: tuple[int, int] = (320, 180)) -> tuple[Camera, ...]:
    """These cameras with images of ``size`` (width, height) pixels. ``UnknownName`` for a channel that the rig lacks."""
    for name in names:
        if name not in MOUNTS:
            raise UnknownName("camera", name, MOUNTS)
    return tuple(Camera(name, size, _intrinsics(size), _mount(*MOUNTS[name])) for name in names)


def _intrinsics(size: tuple[int, int]) -> NDArray[np.float64]:
    focal = FOCAL * size[0]
    return np.array([[focal, 0, size[0] / 2], [0, focal, size[1] / 2], [0, 0, 1]])


def _mount(x: float, y: float, z: float, yaw: float) -> NDArray[np.float64]:
    """[4, 4] of a level camera: its x is the ego's right, its y down, its z ahead, turned by ``yaw``."""
    c, s = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
    return np.array([[s, 0, c, x], [-c, 0, s, y], [0, -1, 0, z], [0, 0, 0, 1.0]])
