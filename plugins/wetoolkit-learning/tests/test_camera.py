"""The policy vocabulary-camera: it learns from pixels, sees what it is told to see and nothing else, and decodes once."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from wetoolkit_learning.camera import Decoded, VocabularyCamera, VocabularyCameraConfig
from wetoolkit_learning.eyes import Eye, cells
from wetoolkit_learning.imitation import Imitation, ImitationConfig
from wetoolkit_learning.testing import CAMERA, Memory, decisions, pictured
from wetoolkit_learning.trainable import Trainable

from wetoolkit.errors import DataError, UnknownName, ValidationError
from wetoolkit.types import Decisions, Picture


@pytest.fixture(scope="module")
def frames() -> Decisions[Any]:
    return pictured(decisions(400, 0, obstacle=0.5))


@pytest.fixture(scope="module")
def prepared(frames: Decisions[Any]) -> VocabularyCamera:
    return VocabularyCamera(CAMERA).prepare(Memory(frames), 0)


def test_it_learns_to_brake_for_what_only_the_pictures_show(prepared: VocabularyCamera, frames: Decisions[Any]) -> None:
    assert isinstance(prepared, Trainable)
    config = ImitationConfig(steps=150, batch=32, learning_rate=6e-3, validation=0.0, look_every=150)
    trained = Imitation(config).train(prepared, None, Memory(frames), 0).policy
    fresh = decisions(120, 5, obstacle=0.5)
    seen = pictured(fresh).observation
    brakes = fresh.observation.arrays["agents.valid"][:, 0, -1]
    way = trained.act(seen, 0).trajectories[:, -1, 0] / (4 * fresh.observation.arrays["ego"][:, -1, 3])
    assert way[brakes].mean() < 0.5 and way[~brakes].mean() > 0.7
    swapped = replace(seen, images={"left": seen.images["right"], "right": seen.images["left"]})  # the band where it never was
    assert np.abs(trained.log_prob(swapped) - trained.log_prob(seen))[brakes].max() > 0.1


def test_it_asks_for_pictures_and_for_nothing_that_perception_would_have_to_find() -> None:
    spec = VocabularyCamera(VocabularyCameraConfig()).spec
    assert spec.fields == ("ego", "route") and not spec.world
    assert spec.cameras == ("CAM_L0", "CAM_F0", "CAM_R0") and spec.resolution == (160, 90)


def test_every_camera_is_seen_and_exposure_is_not(prepared: VocabularyCamera, frames: Decisions[Any]) -> None:
    seen = frames.observation.rows(slice(0, 8))
    before = prepared.log_prob(seen)
    for camera in CAMERA.cameras:
        images = {**seen.images, camera: np.roll(seen.images[camera], 1)}
        assert (np.abs(prepared.log_prob(replace(seen, images=images)) - before).max(1) > 1e-4).all()
    brighter = np.empty(8, object)
    brighter[:] = [Picture.of((picture.decode() // 2 + 60).astype(np.uint8), lossless=True) for picture in seen.images["left"]]
    change = np.abs(prepared.log_prob(replace(seen, images={**seen.images, "left": brighter})) - before).max()
    assert (
        change < 0.3 * np.abs(prepared.log_prob(replace(seen, images={**seen.images, "left": seen.images["right"]})) - before).max()
    )


def test_pickle_and_state_round_trip(prepared: VocabularyCamera, frames: Decisions[Any]) -> None:
    seen = frames.observation.rows(slice(0, 8))
    for again in (pickle.loads(pickle.dumps(prepared)), VocabularyCamera(CAMERA).with_state(prepared.state())):
        np.testing.assert_array_equal(again.log_prob(seen), prepared.log_prob(seen))


def test_training_jitters_and_acting_does_not(prepared: VocabularyCamera, frames: Decisions[Any]) -> None:
    inputs = prepared.inputs(frames.observation.rows(slice(0, 4)))
    network = prepared.module()
    with torch.no_grad():
        assert not torch.equal(network.train()(inputs), network(inputs))
        assert torch.equal(network.eval()(inputs), network(inputs))


def test_a_missing_camera_and_a_wrong_size_are_named(prepared: VocabularyCamera, frames: Decisions[Any]) -> None:
    seen = frames.observation.rows(slice(0, 2))
    with pytest.raises(UnknownName, match="'left' is not known"):
        prepared.act(replace(seen, images={"right": seen.images["right"]}), 0)
    other = VocabularyCamera(CAMERA.model_copy(update={"resolution": (30, 24)})).prepare(Memory(frames), 0)
    with pytest.raises(ValidationError, match="32x24 pixels where 30x24"):
        other.act(seen, 0)
    broken = np.empty(2, object)
    broken[:] = [Picture(b"no picture")] * 2
    with pytest.raises(DataError):
        prepared.act(replace(seen, images={**seen.images, "left": broken}), 0)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"resolution": (31, 90)}, "pictures of at least 32 pixels each way"),
        ({"channels": (8, 12)}, "no multiples of 8"),
        ({"cameras": ("CAM_F0", "CAM_F0")}, "once each"),
        ({"cameras": ("ego",)}, "unlike fields"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        VocabularyCameraConfig(**settings)


def test_tokens_are_counted_for_any_size() -> None:
    for resolution, channels in (((160, 90), (16, 32, 64)), ((33, 47), (8, 8)), ((32, 32), (4, 8, 8, 8, 8))):
        eye = Eye(resolution, channels, 16, 0.0)
        tokens = eye(torch.zeros(2, 3, resolution[1], resolution[0], dtype=torch.uint8))
        assert tokens.shape == (2, cells(resolution, len(channels)), 16)
        assert torch.isfinite(tokens).all()


def test_pictures_are_decoded_once_within_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Picture] = []
    decode = Picture.decode
    monkeypatch.setattr(Picture, "decode", lambda self: calls.append(self) or decode(self))
    pictures = [Picture.of(np.full((8, 8, 3), k, np.uint8), lossless=True) for k in range(6)]
    one = 8 * 8 * 3 + len(pictures[0].data)
    kept = Decoded(3 * one + 20)
    for _ in range(2):
        for picture in pictures[:3]:
            assert (kept.pixels(Picture(bytes(picture.data))) == picture.decode()).all()
    assert len(calls) - 6 == 3
    for picture in pictures:
        kept.pixels(picture)
        assert kept.held <= kept.memory
    assert Decoded(0).pixels(pictures[0]).shape == (8, 8, 3)
