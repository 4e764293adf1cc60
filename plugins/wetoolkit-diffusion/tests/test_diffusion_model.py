"""The network, its sampler and its training, on small worlds made in code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from wetoolkit_diffusion.batch import collate
from wetoolkit_diffusion.checkpoint import Model, load, save
from wetoolkit_diffusion.generate import Request, generate, past
from wetoolkit_diffusion.likely import excess, surprise
from wetoolkit_diffusion.noise import SamplerConfig, draw
from wetoolkit_diffusion.spec import TokenSpec
from wetoolkit_diffusion.testing import NOW, SIZE, SPEC, busy, carried, drives, model
from wetoolkit_diffusion.tokens import Tokens, encode
from wetoolkit_diffusion.training import TrainingConfig, fit, loss, oftener
from wetoolkit_driving.testing import actor, straight_world
from wetoolkit_driving.types import AgentClass

from wetoolkit.errors import StoreError
from wetoolkit.store import read_state, write_state


def request(tokens: Tokens, seeds: tuple[int, ...], held: tuple[int, int] | None = None) -> Request:
    given = past(tokens, SPEC.now)
    state = tokens.state.copy()
    if held is not None:
        given[held] = True
        state[held] += 0.3
    return Request(tokens, given, state, seeds)


def test_given_tokens_are_kept_exactly() -> None:
    asked = request(encode(busy(), NOW, SPEC), (1, 2, 3), (2, 18))
    (found,) = generate(model(), [asked], SamplerConfig(steps=4))
    assert found.shape == (3, 8, 19, 5)
    for one in found:
        np.testing.assert_array_equal(one[asked.given], asked.held[asked.given])
    assert np.abs(found[0] - found[1])[~asked.given].max() > 1e-3


def test_a_batch_equals_its_singles_and_a_variant_its_seed() -> None:
    scenes = [request(encode(busy(), NOW, SPEC), (1, 2)), request(drives(1)[0], (5,), (1, 12))]
    together = generate(model(), scenes, SamplerConfig(steps=3))
    for asked, found in zip(scenes, together, strict=True):
        (alone,) = generate(model(), [asked], SamplerConfig(steps=3))
        np.testing.assert_allclose(found, alone, atol=1e-4)
    (second,) = generate(model(), [request(scenes[0].tokens, (2,))], SamplerConfig(steps=3))
    np.testing.assert_allclose(second[0], together[0][1], atol=1e-4)


def test_what_is_generated_does_not_depend_on_where_the_scene_lies() -> None:
    spec = TokenSpec(lines=160)  # all there are: of equally near pieces, rounding decides which are seen
    here = request(encode(busy(), NOW, spec), (7,))
    there = request(encode(carried(busy(), (400.0, 90.0, -1.3)), NOW, spec), (7,))
    (a,), (b,) = (generate(model(spec=spec), [asked], SamplerConfig(steps=3)) for asked in (here, there))
    np.testing.assert_allclose(a, b, atol=5e-3)


def test_levels_fall_and_a_warm_start_begins_lower() -> None:
    sampler = SamplerConfig()
    levels = sampler.levels()
    assert len(levels) == sampler.steps
    assert levels[0] == pytest.approx(sampler.highest)
    assert levels[-1] == pytest.approx(sampler.lowest)
    assert levels == sorted(levels, reverse=True)
    assert sampler.levels(1.0)[0] == pytest.approx(1.0)


def test_training_levels_hold_the_present_and_sometimes_whole_agents() -> None:
    present = torch.ones(400, 5, dtype=torch.bool)
    sigma = draw(torch.Size((400, 5, 19)), 2, present, torch.Generator().manual_seed(0))
    given = sigma == 0
    assert given[..., 2].all()
    assert 0.2 < given[:, 0].all(-1).float().mean() < 0.5  # the ego
    assert 0.01 < given[:, 1:].all(-1).float().mean() < 0.2
    assert given[..., 18].float().mean() > given[..., 10].float().mean() > 0
    free = sigma[:, 1:, 3:][~given[:, 1:, 3:]]
    assert free.min() >= 0.02
    assert free.max() <= 10.0


def test_training_learns_resumes_and_is_seeded(tmp_path: Path) -> None:
    scenes = drives()
    brief = TrainingConfig(steps=12, batch=4)
    whole, about = fit(scenes, SPEC, SIZE, brief, 3)
    kept = tmp_path / "training.safetensors"
    stopped = iter(range(100))

    def stop(done: int, _of: int, _message: str) -> None:
        if next(stopped) >= 0 and done > 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(scenes, SPEC, SIZE, brief.model_copy(update={"save_every": 1e-9}), 3, kept, stop)
    assert not kept.exists()  # it was stopped before it was first saved
    fit(scenes, SPEC, SIZE, brief.model_copy(update={"minutes": 1e-3}), 3, kept)
    step = read_state(kept)[1]["step"]
    assert 0 < step < 12
    state, facts = read_state(kept)
    write_state(kept, state, {**facts, "spent": 0.0})
    resumed, _ = fit(scenes, SPEC, SIZE, brief, 3, kept)
    assert about["steps"] == 12
    assert whole.network.scale.min() > 0
    assert set(resumed.network.state_dict()) == set(whole.network.state_dict())
    with pytest.raises(StoreError, match="seed"):
        fit(scenes, SPEC, SIZE, brief, 4, kept)


def test_a_trained_model_is_nearer_than_going_on() -> None:
    scenes = drives(32)
    trained, about = fit(scenes, SPEC, SIZE, TrainingConfig(steps=300, batch=6, rate=5e-3, average=0.9), 1)
    assert about["steps"] == 300
    found = generate(trained, [request(scene, (0, 1, 2, 3)) for scene in scenes[:8]], SamplerConfig(steps=6))
    best, straight = [], []
    for scene, states in zip(scenes[:8], found, strict=True):
        truth = scene.state[:, 3:, :2]
        on = scene.velocity[:, None] * 0.5 * np.arange(1, 17)[:, None]
        best.append(np.hypot(*np.moveaxis(states[:, :, 3:, :2] - truth, -1, 0)).mean(2).min(0))
        straight.append(np.hypot(*np.moveaxis(on - truth, -1, 0)).mean(1))
    assert np.concatenate(best).mean() < 0.4 * np.concatenate(straight).mean()
    _unlikely_futures_are_surprising(trained, scenes[:8])


def _unlikely_futures_are_surprising(trained: Model, scenes: list[Tokens]) -> None:
    for scene in scenes:
        swerved = scene.state.copy()
        swerved[1, 3:, 1] += 0.25 * np.arange(1, 17)  # the first of the others goes 4 m aside
        both = np.stack([scene.state, swerved])
        found = surprise(trained, scene, both)
        assert found.shape == (2, len(scene))
        assert found[1, 1] > 3 * found[0, 1]
        np.testing.assert_array_equal(found, surprise(trained, scene, both))
        rows = np.arange(len(scene)) == 1
        assert excess(trained, scene, both, rows)[1] > excess(trained, scene, both, rows)[0]


def test_a_checkpoint_comes_back_and_another_schema_is_refused(tmp_path: Path) -> None:
    file, made = tmp_path / "model.safetensors", model()
    save(file, made, {"seed": 1})
    back = load(file)
    assert back.spec == SPEC
    assert back.size == SIZE
    assert back.about == {"seed": 1}
    for name, tensor in made.network.state_dict().items():
        assert torch.equal(tensor, back.network.state_dict()[name])
    state, facts = read_state(file)
    write_state(file, state, {**facts, "schema": "wetoolkit-diffusion-0"})
    with pytest.raises(StoreError, match="another schema"):
        load(file)
    write_state(file, {"x": np.zeros(3)}, facts)
    with pytest.raises(StoreError, match="not a model"):
        load(file)


def test_a_walkers_error_counts_as_often_as_asked() -> None:
    scene, network = collate([encode(busy(), NOW, SPEC)]), model().network
    value = lambda walkers: float(loss(network, scene, SPEC, 0.0, torch.Generator().manual_seed(4), walkers))  # noqa: E731
    walkers, others, mean = value(1e9), value(1e-9), value(1.0)
    share = (mean - others) / (walkers - mean)  # how many tokens of walkers there are for one of the others
    assert value(4.0) == pytest.approx((others + 4.0 * share * walkers) / (1.0 + 4.0 * share), rel=1e-4)


def test_windows_in_which_walkers_change_are_drawn_oftener() -> None:
    def window(speed: float | list[float], kind: AgentClass = AgentClass.PEDESTRIAN) -> Tokens:
        return encode(straight_world([actor(10, -6, 0, speed, kind)]), NOW, SPEC)

    stops = [1.4] * (NOW + 20) + [0.0] * (81 - 20)
    odds = oftener([window(1.4), window(stops), window(0.0), window(stops, AgentClass.BICYCLE)], SPEC, 1.0)
    assert odds.tolist() == pytest.approx([0.2, 0.4, 0.2, 0.2])
