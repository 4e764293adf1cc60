"""Pictures of nothing real, to try policies with cameras on where a domain's examples have none of their own."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from wetoolkit.types import Array, Glimpse, Picture


@dataclass(frozen=True)
class Imagined:
    """A ``Sight`` of nothing real: for each camera and step of a situation noise of its own, to try policies with cameras on."""

    name: str

    def __call__(self, world: Any, step: int, spec: Any) -> Mapping[str, Glimpse]:
        """Noise, fully trusted."""
        return {
            camera: Glimpse(Picture.of(self._noise(step, camera, *spec.resolution), lossless=True), 1.0) for camera in spec.cameras
        }

    def _noise(self, step: int, camera: str, width: int, height: int) -> Array:
        rng = np.random.default_rng(zlib.crc32(f"{self.name} {step} {camera}".encode()))
        return rng.integers(0, 256, (height, width, 3)).astype(np.uint8)


__all__ = ["Imagined"]
