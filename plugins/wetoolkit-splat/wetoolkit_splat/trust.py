"""How far a render can be believed: calibrated probabilities from the evidence of each pixel, and for the frame.

The model is a monotone logistic one: the log-odds of a pixel's depth being right (within 10 %) fall along each column of the
evidence (``features.PIXEL``), in two straight pieces with a bend at the column's median; those of a frame along what its pixels
sum up to (``features.FRAME``). Slopes are never negative, so more evidence against a pixel cannot raise its trust. They are fitted
where the truth is known (``calibrate``) and shipped as ``calibration.json``. Boxes that no picture ever showed are not trusted at
all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from pydantic import ValidationError as BadJson
from torch import Tensor

from wetoolkit.errors import DataError
from wetoolkit.store import write_atomic
from wetoolkit_splat.coverage import Coverage
from wetoolkit_splat.features import FRAME, PIXEL, Evidence, evidence
from wetoolkit_splat.graph import SplatScene
from wetoolkit_splat.render import Settings
from wetoolkit_splat.types import Cameras, Render

Float = NDArray[np.float32]
SHIPPED = "calibration.json"


class Logistic(BaseModel):
    """log-odds = ``bias`` - sum of ``below`` * min(x, bend) + ``above`` * max(x - bend, 0) over the columns."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    columns: tuple[str, ...] = Field(description="names, in the order of the numbers")
    bias: float = Field(description="log-odds without any evidence against it [1]")
    bends: tuple[float, ...] = Field(description="where each column's slope changes [1]")
    below: tuple[float, ...] = Field(description="slopes up to the bend, at least 0 [1]")
    above: tuple[float, ...] = Field(description="slopes beyond, at least 0 [1]")

    def __call__(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Probabilities [...] of evidence [..., columns]."""
        bends = np.asarray(self.bends)
        odds = (
            self.bias - np.minimum(values, bends) @ np.asarray(self.below) - np.maximum(values - bends, 0) @ np.asarray(self.above)
        )
        return np.asarray(1 / (1 + np.exp(-np.clip(odds, -50, 50))))


class Calibration(BaseModel):
    """Both models and where they come from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: str = Field(default="wetoolkit-trust-1", pattern="^wetoolkit-trust-1$")
    pixel: Logistic = Field(description="of features.PIXEL: P(depth error at most 10 %)")
    frame: Logistic = Field(description="of features.FRAME: P(the frame is good)")
    provenance: dict[str, str | float] = Field(description="how it was made")


@dataclass(frozen=True)
class Trust:
    """Of one view."""

    pixels: Float  # [H, W] in [0, 1]: P(depth within 10 %)
    frame: float  # in [0, 1]: P(the frame is good)


def read(path: Path) -> Calibration:
    """A calibration file. ``DataError`` names what is wrong in it."""
    try:
        found = Calibration.model_validate_json(path.read_bytes())
        _check(found.pixel, PIXEL)
        _check(found.frame, FRAME)
    except (OSError, BadJson, ValueError) as error:
        raise DataError(
            f"is no calibration of trust: {error}", file=path, way_out="make it by `make calibrate-trust`, or use the shipped one"
        ) from error
    return found


def _check(model: Logistic, columns: tuple[str, ...]) -> None:
    if model.columns != columns:
        raise ValueError(f"columns {', '.join(model.columns)} instead of {', '.join(columns)}")
    for name in ("bends", "below", "above"):
        numbers = getattr(model, name)
        if len(numbers) != len(columns) or (name != "bends" and min(numbers) < 0):
            raise ValueError(f"{name}: {len(columns)} numbers are needed, slopes of 0 or more")


def write(path: Path, calibration: Calibration) -> None:
    """A calibration file, readable by people."""
    write_atomic(path, (calibration.model_dump_json(indent=1) + "\n").encode())


@cache
def shipped() -> Calibration:
    """The one of this distribution."""
    with resources.as_file(resources.files("wetoolkit_splat") / SHIPPED) as path:
        return read(path)


def summary(seen: Evidence, pixels: NDArray[np.floating]) -> NDArray[np.float64]:
    """[len(FRAME)] of one view and the trust [h, w] of its pixels."""
    lost = float((pixels < 0.5).mean())
    blurred = float(seen.values[..., PIXEL.index("residual")].mean())
    return np.array([1 - float(pixels.mean()), lost, min(seen.away / 8, 1), min(seen.turned / np.radians(30), 1), blurred])


def judged(seen: Evidence, calibration: Calibration) -> Trust:
    """Trust of a view, at the size of its evidence."""
    pixels = np.where(seen.foreign, 0.0, calibration.pixel(seen.values))
    return Trust(pixels.astype(np.float32), float(calibration.frame(summary(seen, pixels))))


def trust(
    scene: SplatScene, coverage: Coverage, cameras: Cameras, time: float, poses: Mapping[str, Tensor], seen: Render,
    settings: Settings, calibration: Calibration | None = None,
) -> Trust:  # fmt: skip
    """Of one camera's view of a scene at a time, ``poses`` [4, 4] placing its bodies and ``seen`` being its render; at its size."""
    found = judged(evidence(scene, coverage, cameras, time, poses, seen, settings), calibration or shipped())
    small, size = torch.from_numpy(found.pixels)[None, None], (cameras.height, cameras.width)
    large = torch.nn.functional.interpolate(small, size=size, mode="bilinear", align_corners=False)[0, 0]
    return Trust(large.clamp(0, 1).numpy(), found.frame)


def of_gaussians(coverage: Coverage) -> dict[str, Float]:
    """Node -> [N] in [0, 1]: 1 where pictures hold a gaussian's place to a few centimetres, 0 where they leave a metre each way."""
    return {
        name: np.clip(-np.log10(np.maximum(np.sqrt(v[:, [0, 3, 5]].max(1)), 1e-9)) / 1.5, 0, 1).astype(np.float32)
        for name, v in coverage.variance.items()
    }
