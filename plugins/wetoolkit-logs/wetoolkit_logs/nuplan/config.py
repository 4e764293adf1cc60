"""Settings of the dataset `nuplan`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from wetoolkit.config import Config

DIRECT = 5.0  # Hz: up to here boxes are asked frame by frame, above it is faster to keep all of a log as arrays


class NuPlanConfig(Config):
    """Where logs, maps and sensor files are, how logs are split and cut."""

    folder: str = Field(description="folder of the logs (*.db, subfolders included), or one log; ~ and $VARIABLES are filled in")
    maps: str = Field(
        "", description="folder with nuplan-maps-v1.0.json; empty: `maps` in, beside or above `folder`, else $NUPLAN_MAPS_ROOT"
    )
    sensor_folder: str = Field(
        "", description="folder of images and sweeps; empty: `sensor_blobs` in, beside or above `folder`, else $NUPLAN_SENSOR_ROOT"
    )
    splits: dict[str, list[str] | float | str] = Field(
        default={"train": 0.7, "val": 0.1, "test": 0.2},
        min_length=1,
        description="split -> names of logs (or wildcards), a filter file (*.yaml), or the fraction of the logs that no list names",
    )
    seed: int = Field(0, ge=0, description="seed by which logs fall into splits given as fractions [1]")
    history: float = Field(2.0, ge=0, le=60, description="recorded time before now in a window [s]")
    future: float = Field(8.0, gt=0, le=600, description="recorded time after now in a window [s]")
    rate: float = Field(10.0, ge=2, le=20, description="steps a second; the rate of the log must be a multiple [Hz]")
    stride: float = Field(0.5, ge=0.05, le=600, description="time between the windows of a log [s]")
    radius: float = Field(120.0, ge=30, le=10_000, description="the map reaches so far around the ego's present place [m]")
    tags: list[str] = Field([], description="only windows whose present frame has one of these scenario tags; empty: all")
    boxes: Literal["auto", "ask", "arrays", "memory"] = Field(
        "auto",
        description="ask: boxes are asked frame by frame; arrays: all of a log at once, kept in the user's cache folder; "
        "memory: not kept (for short logs); auto: arrays above 5 Hz",
    )
    bad_files: Literal["count", "error"] = Field("count", description="logs that cannot be read are counted by name, or an error")
    keep: int = Field(8, ge=1, description="so many logs stay open [1]")
    cache: bool = Field(True, description="keep indexes of logs and maps in the user's cache folder")

    @property
    def arrays(self) -> bool:
        """Whether boxes are read from arrays."""
        return self.boxes in ("arrays", "memory") or (self.boxes == "auto" and self.rate > DIRECT)
