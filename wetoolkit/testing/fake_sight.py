"""The toy with a camera: a data set that filmed its walks, a reconstructor that draws scenes, a policy that sees only pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from wetoolkit.errors import DataError
from wetoolkit.testing.fake_learning import ToyPolicy, ToyPolicyConfig
from wetoolkit.testing.fake_world import DT, ToyFilm, ToyWorld
from wetoolkit.testing.fakes import ToyDataset, ToyDatasetConfig, ToyReconstructor, ToyReconstructorConfig
from wetoolkit.types import Array, Float, Observation, ObservationSpec, Picture, Ref, Scene

CAMERA, SIZE = "front", (48, 32)  # pixels: 6 m ahead and 2 m to either side
__all__ = ["ToyEyes", "ToyEyesConfig", "ToyFilmed", "ToyFilmedConfig", "ToyStudio", "ToyStudioConfig", "draw"]


def draw(world: ToyWorld, step: int, resolution: tuple[int, int] = SIZE, tint: int = 0) -> Array:
    """[H, W, 3]: what is ahead of the body from above, forward to the right; whoever is there is a bright spot of a metre."""
    width, height = resolution
    x, y = np.meshgrid((np.arange(width) + 0.5) * 6 / width, 2 - (np.arange(height) + 0.5) * 4 / height)  # [H, W] metres
    picture = np.full((height, width, 3), tint, np.uint8)
    for other in world.others[world.valid[:, step], step] - world.body[step]:
        picture[np.hypot(x - other[0], y - other[1]) < 0.5] = 255
    return picture


class ToyFilmedConfig(ToyDatasetConfig):
    """How much there is of the toy, and how often it was filmed."""

    every: int = Field(1, ge=1, description="steps between two pictures [1]")


class ToyFilmed(ToyDataset):
    """The toy with what its camera recorded."""

    def __init__(self, config: ToyFilmedConfig) -> None:
        super().__init__(config)
        self.every = config.every

    def sensors(self, ref: Ref, cameras: Sequence[str] | None = None, steps: Sequence[int] | None = None) -> ToyFilm:
        lost = [name for name in cameras or () if name != CAMERA]
        if lost:
            raise DataError(f"the toy has no camera {lost[0]!r}", known=CAMERA, way_out="use that one")
        world = self.load(ref).world
        filmed = [step for step in (range(len(world.body)) if steps is None else steps) if step % self.every == 0]
        return {CAMERA: [(step * DT, Picture.of(draw(world, step), lossless=True)) for step in filmed]}


class ToyStudioConfig(ToyReconstructorConfig):
    """How the pictures come out."""

    tint: int = Field(0, ge=0, le=255, description="grey of what is empty, 0 in recorded pictures [1]")
    tells: bool = Field(True, description="say how far a picture can be believed")


class ToyStudio(ToyReconstructor):
    """Scenes that can be looked at. A picture is believed the less the farther the body is from where it was recorded."""

    def __init__(self, config: ToyStudioConfig) -> None:
        super().__init__(config)
        self.look = config

    def cameras(self, scene: Scene[Any]) -> Mapping[str, tuple[int, int]]:
        return {CAMERA: SIZE}

    def render(
        self, scene: Scene[Any], world: ToyWorld, step: int, camera: str, resolution: tuple[int, int]
    ) -> Mapping[str, Array]:
        if camera != CAMERA:
            raise DataError(f"no camera {camera!r}", scene=scene.id, known=CAMERA, way_out="ask for that one")
        found: dict[str, Array] = {"rgb": draw(world, step, resolution, self.look.tint)}
        if self.look.tells:
            away = np.hypot(*(world.body[step] - scene.world.body[step]))  # metres off the recorded path
            found["frame_trust"] = np.array(np.exp(-away))
        return found


class ToyEyesConfig(ToyPolicyConfig):
    """A linear softmax."""


class ToyEyes(ToyPolicy):
    """Log-probabilities over the twelve walks, linear in how bright five places of the picture are."""

    spec = ObservationSpec(cameras=(CAMERA,), resolution=(24, 16))

    def features(self, observation: Observation[Any]) -> Float:
        """[B, 6]: one, then the brightness near on the left and right, straight ahead, far on the left and right."""
        shots = [picture.decode()[..., 0] / 255.0 for picture in observation.images[CAMERA]]
        views = np.array(shots).reshape(-1, 16, 24)
        places = [views[:, :8, :10], views[:, 8:, :10], views[:, 6:10, 4:14], views[:, :8, 10:], views[:, 8:, 10:]]
        return np.stack([np.ones(len(views)), *(8 * place.mean((1, 2)) for place in places)], -1)
