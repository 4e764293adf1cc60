"""Settings of minitown's sensors."""

from __future__ import annotations

from pydantic import Field

from wetoolkit.config import Config
from wetoolkit_minitown.sensors.rig import DEFAULT, MOUNTS


class SensorConfig(Config):
    """Cameras and lidar, made by ray casting when they are asked for (needs the extra ``sensors``)."""

    cameras: tuple[str, ...] = Field(DEFAULT, description=f"channels, among {', '.join(MOUNTS)}", min_length=1)
    width: int = Field(320, description="of an image [pixels]", ge=16, le=4096)
    height: int = Field(180, description="of an image [pixels]", ge=16, le=4096)
    camera_rate: float = Field(2.0, description="images a second of each camera: 10 divided by a whole number [Hz]", gt=0, le=10)
    lidar_rate: float = Field(2.0, description="sweeps a second, likewise; 0: no lidar [Hz]", ge=0, le=10)
    beams: int = Field(32, description="beams of the lidar [count]", ge=1, le=256)
    columns: int = Field(900, description="directions a turn of each beam [count]", ge=1, le=4000)
    noise: float = Field(0.02, description="standard deviation of the lidar's ranges [m]", ge=0)
    quality: int = Field(92, description="of the JPEG files [1]", ge=1, le=100)
    truth: bool = Field(True, description="depth and class of every pixel beside the images, for evaluation")
    folder: str = Field("", description="where files go; empty: the folder `sensors` in the drives' cache")
