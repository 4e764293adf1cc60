"""Fine-tuning: training that begins from a model, and what a model tells of the logs it has seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from wetoolkit_diffusion.behaviour import Diffusion, DiffusionConfig
from wetoolkit_diffusion.checkpoint import load, save
from wetoolkit_diffusion.testing import SIZE, SPEC, busy, model
from wetoolkit_diffusion.training import TrainingConfig, fit, windows
from wetoolkit_driving.testing import actor, scenario, straight_world
from wetoolkit_driving.types import World

from wetoolkit.errors import ConfigError, StoreError
from wetoolkit.types import Scenario


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("first") / "first.safetensors"
    save(file, model(3), {"seed": 3, "logs": ["log-a"]})
    return file


def tuned(file: Path, out: Path, steps: int = 1, rate: float = 1e-3, **settings: Any) -> dict[str, Any]:
    training = {"init": str(file), "steps": steps, "batch": 2, "rate": rate}
    part = Diffusion(DiffusionConfig.model_validate({"training": training, **settings}))
    return dict(part.fit(some(), out, 1))


def some() -> list[Scenario[World]]:
    worlds = [busy(), straight_world([actor(15, 3.5, 0, 6.0)])]
    return [replace(scenario(world, name=f"s{i}"), log=f"log-{i}") for i, world in enumerate(worlds)]


def test_fine_tuning_begins_from_the_weights_units_and_tokens_of_a_model(first: Path, tmp_path: Path) -> None:
    facts = tuned(first, tmp_path / "still.safetensors", rate=1e-30)
    before, after = load(first), load(tmp_path / "still.safetensors")
    assert facts["init"] == before.digest
    assert (after.spec, after.size) == (SPEC, SIZE)
    for name, tensor in before.network.state_dict().items():
        torch.testing.assert_close(after.network.state_dict()[name], tensor, msg=name)
    tuned(first, tmp_path / "moved.safetensors", steps=5)
    moved = load(tmp_path / "moved.safetensors").network
    assert any(not torch.equal(tensor, moved.state_dict()[name]) for name, tensor in before.network.state_dict().items())
    np.testing.assert_array_equal(moved.scale.numpy(), before.network.scale.numpy())


def test_a_model_tells_all_logs_it_has_seen_those_before_its_tuning_included(first: Path, tmp_path: Path) -> None:
    tuned(first, tmp_path / "tuned.safetensors")
    assert (load(tmp_path / "tuned.safetensors").about or {})["logs"] == ["log-0", "log-1", "log-a"]
    save(tmp_path / "silent.safetensors", model(3), {"seed": 3})  # of before logs were told
    tuned(tmp_path / "silent.safetensors", tmp_path / "unknown.safetensors")
    assert "logs" not in (load(tmp_path / "unknown.safetensors").about or {})


def test_other_tokens_or_another_size_than_the_model_has_are_refused(first: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tokens are not those"):
        tuned(first, tmp_path / "x.safetensors", tokens={"lines": 8})
    with pytest.raises(ConfigError, match="network are not those"):
        tuned(first, tmp_path / "x.safetensors", network={"width": 16})
    tuned(first, tmp_path / "same.safetensors", tokens=SPEC.model_dump(), network=SIZE.model_dump())


def test_a_training_cut_short_does_not_go_on_from_another_beginning(first: Path, tmp_path: Path) -> None:
    kept, settings = tmp_path / ".cut.training.safetensors", {"init": str(first), "steps": 3, "batch": 2}
    brief = TrainingConfig.model_validate({**settings, "minutes": 1e-4})
    fit(windows(some(), SPEC), SPEC, SIZE, brief, 1, kept, init=load(first))
    other = tmp_path / "other.safetensors"
    save(other, model(4), {"seed": 4, "logs": []})
    part = Diffusion(DiffusionConfig.model_validate({"training": {**settings, "init": str(other)}}))
    with pytest.raises(StoreError, match="beginning"):
        part.fit(some(), tmp_path / "cut.safetensors", 1)
