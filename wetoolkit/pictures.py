"""Pictures that policies see: compressed bytes until somebody wants the pixels, and where they come from.

Pixels are compressed as JPEG of quality 95 without colour subsampling. Of minitown's images at 160x90 that makes 8.3 kB a picture
(lossless PNG: 21.5), 41.8 dB from the original, 0.13 ms to compress and 0.17 ms to decode (PNG: 0.90 and 0.42); at 320x180 24.3 kB
(73.2), 47.4 dB, 0.33 and 0.51 ms (3.2 and 1.5). Bytes that a data set recorded are kept as they are where their size is right.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wetoolkit.base import require
from wetoolkit.errors import DataError, PluginError

QUALITY = 95  # of JPEG
_SIGNS = {b"\xff\xd8\xff": "jpeg", b"\x89PNG": "png", b"RIFF": "webp"}


@dataclass(frozen=True)
class Picture:
    """One image, compressed. Equal bytes are equal pictures."""

    data: bytes

    @property
    def format(self) -> str:
        """ "jpeg", "png" or "webp", by the first bytes; "" for anything else."""
        return next((name for sign, name in _SIGNS.items() if self.data.startswith(sign)), "")

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels, without decoding them."""
        width, height = self._open().size
        return int(width), int(height)

    def decode(self) -> NDArray[np.uint8]:
        """Pixels [H, W, 3]. ``DataError`` where the bytes are no whole image."""
        try:
            return np.array(self._open().convert("RGB"), np.uint8)
        except (OSError, SyntaxError) as error:
            raise DataError(f"the picture cannot be decoded: {error}", way_out="make or fetch it again") from error

    @classmethod
    def of(cls, pixels: NDArray[np.uint8], lossless: bool = False) -> Picture:
        """Pixels [H, W, 3] as a JPEG, or as a PNG that gives them back bit for bit."""
        right = pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.size > 0
        require(right, f"{pixels.dtype} {pixels.shape}", "picture", "[H, W, 3] uint8")
        out = io.BytesIO()
        options = {"compress_level": 1} if lossless else {"quality": QUALITY, "subsampling": 0}
        _pillow().fromarray(np.ascontiguousarray(pixels)).save(out, "PNG" if lossless else "JPEG", **options)
        return cls(out.getvalue())

    def fitted(self, resolution: tuple[int, int]) -> Picture:
        """The picture at (width, height), each new pixel the mean of those it covers; itself where it has that size."""
        image = self._open()
        if image.size == tuple(resolution):
            return self
        try:
            scaled = image.convert("RGB").resize(resolution, _pillow().Resampling.BOX)
        except (OSError, SyntaxError) as error:
            raise DataError(f"the picture cannot be decoded: {error}", way_out="make or fetch it again") from error
        return type(self).of(np.array(scaled, np.uint8))

    def _open(self) -> Any:
        try:
            return _pillow().open(io.BytesIO(self.data))
        except (OSError, SyntaxError) as error:
            raise DataError(f"{len(self.data)} bytes are no picture: {error}", way_out="make or fetch it again") from error


def _pillow() -> Any:
    try:
        return importlib.import_module("PIL.Image")
    except ImportError as error:
        raise PluginError(f"pictures need the package pillow: {error}", way_out="pip install pillow") from error


@dataclass(frozen=True)
class Glimpse:
    """What a camera shows, and the calibrated probability that it can be believed."""

    picture: Picture
    trust: float | None = None  # in [0, 1]; None: nobody knows

    def validate(self) -> None:
        require(self.trust is None or 0.0 <= self.trust <= 1.0, f"trust is {self.trust}", "glimpse.trust", "a probability, or None")


class Sight(Protocol):
    """Whoever can show what a camera sees: a data set its recorded pictures, a renderer its scene, a rollout what was shown."""

    def __call__(self, world: Any, step: int, spec: Any) -> Mapping[str, Glimpse]:
        """A picture for each of the cameras that an ``ObservationSpec`` names, at its resolution, at a step of a world; errors name
        the camera and the way out.
        """


__all__ = ["QUALITY", "Glimpse", "Picture", "Sight"]
