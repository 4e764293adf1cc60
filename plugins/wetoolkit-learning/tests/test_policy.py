"""The policy vocabulary-vector: what its contract promises, and what masks and state must do."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from wetoolkit_learning.policy import VocabularyVector, VocabularyVectorConfig
from wetoolkit_learning.testing import CONFIG, Memory, decisions
from wetoolkit_learning.trainable import Trainable

from wetoolkit.errors import DataError, PluginError, UnknownName, ValidationError
from wetoolkit.kinds import SupportsLogProb, SupportsPrepare, SupportsState
from wetoolkit.types import Decisions


def test_it_can_do_what_it_says(prepared: VocabularyVector) -> None:
    for ability in (SupportsLogProb, SupportsState, SupportsPrepare, Trainable):
        assert isinstance(prepared, ability)


def test_log_probs_are_normalised_and_a_batch_equals_its_singles(prepared: VocabularyVector, frames: Decisions[Any]) -> None:
    seen = frames.observation.rows(slice(0, 40))
    log_prob = prepared.log_prob(seen)
    assert log_prob.shape == (40, 24)
    np.testing.assert_allclose(np.exp(log_prob).sum(1), 1.0, atol=1e-9)
    singles = np.concatenate([prepared.log_prob(seen.rows(np.array([i]))) for i in range(40)])
    np.testing.assert_allclose(singles, log_prob, atol=1e-5)


def test_the_plan_is_the_likeliest_anchor(prepared: VocabularyVector, frames: Decisions[Any]) -> None:
    plan = prepared.act(frames.observation, 0)
    log_prob = prepared.log_prob(frames.observation)
    assert plan.choice is not None and plan.log_prob is not None
    np.testing.assert_array_equal(plan.choice, log_prob.argmax(1))
    np.testing.assert_array_equal(plan.log_prob, log_prob.max(1))
    np.testing.assert_array_equal(plan.trajectories, prepared.proposals[plan.choice])


def test_what_is_masked_is_not_seen(prepared: VocabularyVector, frames: Decisions[Any]) -> None:
    seen = frames.observation.rows(slice(0, 20))
    arrays = dict(seen.arrays)
    for name in CONFIG.fields:
        noise = np.random.default_rng(0).normal(0, 1e3, arrays[name].shape).astype(np.float32)
        arrays[name] = np.where(arrays[f"{name}.valid"][..., None], arrays[name], noise)
    for name in ("agents", "lanes"):  # and more padding rows
        arrays[name] = np.pad(arrays[name], [(0, 0), (0, 5)] + [(0, 0)] * (arrays[name].ndim - 2), constant_values=7)
        mask = arrays[f"{name}.valid"]
        arrays[f"{name}.valid"] = np.pad(mask, [(0, 0), (0, 5)] + [(0, 0)] * (mask.ndim - 2))
    np.testing.assert_allclose(prepared.log_prob(replace(seen, arrays=arrays)), prepared.log_prob(seen), atol=1e-5)


def test_what_is_not_masked_is_seen(prepared: VocabularyVector, frames: Decisions[Any]) -> None:
    seen = frames.observation.rows(slice(0, 20))
    for name in CONFIG.fields:
        moved = replace(seen, arrays={**seen.arrays, name: seen.arrays[name] + 2.0})
        rows = seen.arrays[f"{name}.valid"].reshape(20, -1).any(1)
        changed = np.abs(prepared.log_prob(moved) - prepared.log_prob(seen)).max(1) > 1e-4
        np.testing.assert_array_equal(changed, rows)


def test_rows_know_the_order_of_their_points(prepared: VocabularyVector, frames: Decisions[Any]) -> None:
    seen = frames.observation.rows(slice(0, 20))
    back = replace(seen, arrays={**seen.arrays, "lanes": seen.arrays["lanes"][:, :, ::-1]})
    assert np.abs(prepared.log_prob(back) - prepared.log_prob(seen)).max() > 1e-4


def test_state_round_trip(prepared: VocabularyVector, frames: Decisions[Any]) -> None:
    state = prepared.state()
    assert all(isinstance(array, np.ndarray) for array in state.values())
    again = VocabularyVector(CONFIG).with_state({name: array.copy() for name, array in state.items()})
    np.testing.assert_array_equal(again.log_prob(frames.observation), prepared.log_prob(frames.observation))
    np.testing.assert_array_equal(again.proposals, prepared.proposals)


def test_pickle_round_trip_for_spawned_workers(prepared: VocabularyVector, frames: Decisions[Any]) -> None:
    prepared.act(frames.observation, 0)  # so that the network exists
    again = pickle.loads(pickle.dumps(prepared))
    np.testing.assert_array_equal(again.log_prob(frames.observation), prepared.log_prob(frames.observation))


@pytest.mark.parametrize("change", ["missing", "extra", "shape", "anchors"])
def test_a_foreign_state_is_a_clear_error(prepared: VocabularyVector, change: str) -> None:
    state = dict(prepared.state())
    if change == "missing":
        del state["answer.1.weight"]
    elif change == "extra":
        state["surplus"] = np.zeros(3)
    elif change == "shape":
        state["answer.1.weight"] = np.zeros((3, 3), np.float32)
    else:
        del state["anchors"]
    with pytest.raises(ValidationError, match="way out: load it with the config it was saved with"):
        prepared.with_state(state)


def test_a_fresh_policy_says_that_it_must_be_trained(frames: Decisions[Any]) -> None:
    with pytest.raises(PluginError, match="no vocabulary yet"):
        VocabularyVector(CONFIG).act(frames.observation, 0)


def test_a_field_that_is_not_observed_is_named(prepared: VocabularyVector, frames: Decisions[Any]) -> None:
    arrays = {("agentz" if name == "agents" else name): array for name, array in frames.observation.arrays.items()}
    with pytest.raises(UnknownName, match=r"'agents' is not known(.*\n)*.*did you mean 'agentz'"):
        prepared.act(replace(frames.observation, arrays=arrays), 0)


def test_no_demonstrations_is_an_error() -> None:
    with pytest.raises(DataError, match="no demonstration"):
        VocabularyVector(CONFIG).prepare(Memory(decisions(10, 0, source=1)), 0)


def test_prepare_is_seeded_and_scales_what_is_seen(frames: Decisions[Any]) -> None:
    made = [VocabularyVector(CONFIG).prepare(Memory(frames), seed).state() for seed in (0, 0, 1)]
    assert all(np.array_equal(made[0][name], made[1][name]) for name in made[0])
    assert not np.array_equal(made[0]["answer.1.weight"], made[2]["answer.1.weight"])
    arrays = frames.observation.arrays
    speeds = arrays["agents"][:, :, ::-5][:, :, ::-1][arrays["agents.valid"][:, :, ::-5]]
    np.testing.assert_allclose(made[0]["encoders.agents.mean"], speeds.mean(0), rtol=1e-4, atol=1e-6)
    assert made[0]["encoders.ego.scale"][1] == 1.0  # a channel that never changes is left as it is


def test_drawing_follows_the_distribution_and_not_the_batch(prepared: VocabularyVector, frames: Decisions[Any]) -> None:
    warm = VocabularyVector(CONFIG.model_copy(update={"temperature": 1.0})).with_state(prepared.state())
    seen = frames.observation.rows(slice(0, 30))
    plan, log_prob = warm.act(seen, 5), warm.log_prob(seen)
    assert plan.choice is not None and plan.log_prob is not None
    np.testing.assert_allclose(plan.log_prob, log_prob[np.arange(30), plan.choice])
    mixed = warm.act(seen.rows(np.arange(30)[::-1]), 5)
    np.testing.assert_array_equal(mixed.choice, plan.choice[::-1])
    one = seen.rows(np.array([0]))
    drawn = np.array([warm.act(one, seed).choice for seed in range(400)]).ravel()
    share = np.bincount(drawn, minlength=24) / 400
    assert np.abs(share - np.exp(log_prob[0])).max() < 4 * np.sqrt(0.25 / 400)


def test_acting_leaves_torch_as_it_was(prepared: VocabularyVector, frames: Decisions[Any]) -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    prepared.act(frames.observation, 0)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_empty_batches_are_served(prepared: VocabularyVector, frames: Decisions[Any]) -> None:
    plan = prepared.act(frames.observation.rows(slice(0, 0)), 0)
    assert plan.trajectories.shape == (0, 40, 3)


def test_a_width_that_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="no multiple of heads"):
        VocabularyVectorConfig(width=65)


def test_the_papers_vocabulary_size_runs(prepared: VocabularyVector, frames: Decisions[Any]) -> None:
    state = {**prepared.state(), "anchors": np.random.default_rng(0).normal(size=(8192, 40, 3)).astype(np.float32)}
    assert VocabularyVector(CONFIG).with_state(state).log_prob(frames.observation.rows(slice(0, 4))).shape == (4, 8192)
