"""The policy ``vocabulary-camera``: what cameras show, the acting body's state and where it is to go -> a distribution over a
vocabulary of trajectories.

It is ``vocabulary-vector`` with pictures in place of everything that a machine would have to perceive: no other body, lane,
crossing or signal reaches it but as pixels. Its vector fields are the body's own state and the route (see ``fields``).
Pictures arrive compressed and are decoded here, once while there is room (``memory``).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from wetoolkit.errors import UnknownName, ValidationError
from wetoolkit.types import Array, Observation, Picture
from wetoolkit_learning.eyes import GROUP, CameraNetwork, Eye
from wetoolkit_learning.network import Inputs, Shape
from wetoolkit_learning.policy import VocabularyVector, VocabularyVectorConfig


class VocabularyCameraConfig(VocabularyVectorConfig):
    """What it sees, how large it is, and how it chooses."""

    fields: tuple[str, ...] = Field(
        default=("ego", "route"),
        description="observed arrays, the acting body first; each [B, (rows,) points, channels]. What is named here need not be "
        "seen in the pictures: its own state and the way it is to go",
    )
    timed: tuple[str, ...] = Field(default=("ego",), description="fields whose points are the steps of the history")
    limits: Mapping[str, int] = Field(default={}, description="at most so many rows of a field, the nearest first")
    cameras: tuple[str, ...] = Field(
        default=("CAM_L0", "CAM_F0", "CAM_R0"), description="whose pictures it sees, as the data set names them", min_length=1
    )
    resolution: tuple[int, int] = Field(default=(160, 90), description="width and height of the pictures [pixels]")
    picture_age: float = Field(
        default=0.1, description="a recorded picture may be so much older than the present; 0: taken at the very step [s]", ge=0
    )
    channels: tuple[int, ...] = Field(
        default=(16, 32, 64, 64, 96),
        description=f"of the convolutions, each of stride 2; above {GROUP} multiples of it. Cells that remain are tokens [1]",
        min_length=1,
    )
    jitter: float = Field(default=0.1, description="in training: deviation of each picture's gain (log) and lift [1]", ge=0)
    memory: int = Field(default=512, description="of decoded pictures that are kept [MiB]", ge=0)

    @model_validator(mode="after")
    def _sees(self) -> Self:
        if min(self.resolution) < 2 ** len(self.channels):
            least = 2 ** len(self.channels)
            raise ValueError(f"resolution {self.resolution}: so many channels need pictures of at least {least} pixels each way")
        odd = [count for count in self.channels if count < 1 or (count > GROUP and count % GROUP)]
        if odd:
            raise ValueError(f"channels {odd} are no multiples of {GROUP}")
        if len(set(self.cameras)) < len(self.cameras) or set(self.cameras) & set(self.fields):
            raise ValueError(f"cameras {self.cameras} must be named once each, and unlike fields {self.fields}")
        return self


class VocabularyCamera(VocabularyVector):
    """A policy over K anchors that sees by cameras. Fresh ones must be prepared or given their numbers first."""

    config: VocabularyCameraConfig
    _called = "vocabulary-camera"

    def __init__(self, config: VocabularyCameraConfig) -> None:
        super().__init__(config)
        self.spec = replace(self.spec, cameras=config.cameras, resolution=config.resolution, picture_age=config.picture_age)
        self._decoded = Decoded(config.memory * 2**20)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._decoded = Decoded(self.config.memory * 2**20)

    def inputs(self, observation: Observation[Any]) -> Inputs:
        """The fields and, for each camera, pixels [B, 3, H, W] uint8 with [B, 1] true."""
        return {**self.vectors(observation), **{name: self._pictures(observation, name) for name in self.config.cameras}}

    def _pictures(self, observation: Observation[Any], camera: str) -> tuple[Tensor, Tensor]:
        if camera not in observation.images:
            raise UnknownName(
                "camera in what is observed", camera, observation.images,
                way_out="set the policy's `cameras` to those that the data set records and the reconstructor renders",
            )  # fmt: skip
        width, height = self.config.resolution
        pixels = np.empty((observation.size, height, width, 3), np.uint8)
        for row, picture in enumerate(observation.images[camera]):
            seen = self._decoded.pixels(picture)
            if seen.shape != pixels.shape[1:]:
                raise ValidationError(
                    f"a picture of {seen.shape[1]}x{seen.shape[0]} pixels where {width}x{height} are asked for",
                    field=f"images.{camera}", way_out="give pictures at the resolution of the policy's spec",
                )  # fmt: skip
            pixels[row] = seen
        return torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.ones(observation.size, 1, dtype=torch.bool)

    def _build(self, shape: Shape) -> CameraNetwork:
        c = self.config
        eye = partial(Eye, c.resolution, c.channels, c.width, c.jitter)
        return CameraNetwork(shape, c.width, c.layers, c.heads, c.dropout, c.vocabulary.stride, c.cameras, eye)


class Decoded:
    """Pixels of the pictures that were asked for last, within an amount of memory."""

    def __init__(self, memory: int) -> None:
        self.memory, self.held = memory, 0  # bytes
        self._kept: OrderedDict[Picture, Array] = OrderedDict()

    def pixels(self, picture: Picture) -> Array:
        """[H, W, 3] uint8; not to be written to."""
        if picture in self._kept:
            self._kept.move_to_end(picture)
            return self._kept[picture]
        made = picture.decode()
        made.flags.writeable = False
        self._kept[picture] = made
        self.held += made.nbytes + len(picture.data)
        while self.held > self.memory and self._kept:
            old, pixels = self._kept.popitem(last=False)
            self.held -= pixels.nbytes + len(old.data)
        return made


__all__ = ["Decoded", "VocabularyCamera", "VocabularyCameraConfig"]
