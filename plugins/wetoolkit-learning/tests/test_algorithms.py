"""Imitation and world-engine: closed forms, controls, determinism, and what must not happen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from wetoolkit_learning import lora
from wetoolkit_learning.imitation import Imitation, ImitationConfig
from wetoolkit_learning.policy import VocabularyVector
from wetoolkit_learning.stream import held_out, stream
from wetoolkit_learning.testing import CONFIG, Memory, decisions, scored
from wetoolkit_learning.world_engine import WorldEngine, WorldEngineConfig, worth_learning

from wetoolkit.errors import DataError, PluginError, ValidationError, WetoolkitError
from wetoolkit.experience import join
from wetoolkit.types import Decisions, Observation

IMITATION = ImitationConfig(epochs=12, threads=1, learning_rate=3e-3)
ENGINE = WorldEngineConfig(steps=60, learning_rate=1e-3, kl_weight=0.1)


class Table(nn.Module):
    """Logits [S, K], one row a state: nothing stands between the objective and its optimum."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits.clone())

    def forward(self, inputs: Mapping[str, tuple[Tensor, Tensor]]) -> Tensor:
        return self.logits[inputs["state"][0]]


class Bandit:
    """A tabular policy that the algorithms can train."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits

    @property
    def proposals(self) -> np.ndarray:
        return np.arange(self.logits.shape[1], dtype=np.float32)[:, None, None] * np.ones((1, 5, 2), np.float32)

    def module(self) -> nn.Module:
        return Table(self.logits)

    def with_module(self, module: nn.Module) -> Self:
        return type(self)(module.state_dict()["logits"].clone())

    def inputs(self, observation: Observation[Any]) -> Mapping[str, tuple[Tensor, Tensor]]:
        state = torch.from_numpy(observation.arrays["state"])
        return {"state": (state, torch.ones(len(state), dtype=torch.bool))}

    def nearest(self, plans: np.ndarray) -> np.ndarray:
        return np.clip(np.rint(plans[:, 0, 0]), 0, self.logits.shape[1] - 1).astype(np.int64)


def bandit(states: int, actions: int, seed: int, source: int = 1) -> tuple[Bandit, Decisions[Any]]:
    """A reference that likes some actions, and a reward for each of them in each state."""
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(size=(states, actions)).astype(np.float32))
    block = Decisions(
        Observation("toy", states, {"state": np.arange(states)}),
        source=np.full(states, source), round=np.zeros(states, np.int16), expert=np.zeros((states, 5, 2), np.float32),
        has_expert=np.full(states, source == 0), choice=rng.integers(0, actions, states), log_prob=np.full(states, -1.0),
        rewards=rng.random((states, actions)).astype(np.float32), terms={"ep": rng.random((states, actions))},
        ids=tuple(f"s{i}" for i in range(states)), logs=tuple(f"log{i}" for i in range(states)),
    )  # fmt: skip
    return Bandit(logits), block


def tabular(**settings: Any) -> WorldEngineConfig:
    defaults = {"steps": 1500, "batch": 6, "learning_rate": 0.02, "kl_weight": 0.3, "validation": 0.0, "threads": 1, "clip": 1e6}
    return WorldEngineConfig.model_validate({**defaults, **settings})


@pytest.mark.parametrize("objective", ["expectation", "projection"])
def test_the_optimum_is_the_reference_tilted_by_the_reward(objective: str) -> None:
    policy, block = bandit(6, 5, 0)
    trained = WorldEngine(tabular(objective=objective)).train(policy, policy, Memory(block), 0)
    tilted = policy.logits.double() + torch.from_numpy(block.rewards).double() / 0.3  # pi_ref exp(r / lambda) / Z
    np.testing.assert_allclose(trained.policy.logits.softmax(-1), tilted.softmax(-1), atol=5e-3)


@pytest.mark.parametrize("objective", ["expectation", "projection"])
def test_the_gradient_is_the_closed_form(objective: str) -> None:
    reference, block = bandit(4, 5, 1)
    policy, _ = bandit(4, 5, 2)
    network = policy.module()
    terms = WorldEngine(tabular(objective=objective)).terms(network, reference.module(), policy, block, 0)
    terms.objective.backward()
    pi, ref = policy.logits.double().softmax(-1).numpy(), reference.logits.double().softmax(-1).numpy()
    value = block.rewards - 0.3 * np.log(pi / ref)
    want = -pi * (value - (pi * value).sum(1, keepdims=True)) / 4  # minus the gradient of E[r] - lambda KL, a mean over 4 states
    if objective == "projection":
        best = ref * np.exp(block.rewards / 0.3)
        want = 0.3 * (pi - best / best.sum(1, keepdims=True)) / 4
    (logits,) = network.parameters()
    np.testing.assert_allclose(logits.grad, want, atol=1e-6)


@pytest.mark.parametrize("objective", ["expectation", "projection"])
def test_trust_weighs_the_frames_of_the_gradient(objective: str) -> None:
    reference, block = bandit(4, 5, 1)
    policy, _ = bandit(4, 5, 2)
    trust = np.array([1.0, 0.5, 0.25, 0.0])
    found = {}
    for weighted in (False, True):
        network = policy.module()
        engine = WorldEngine(tabular(objective=objective, trust_weighted=weighted))
        engine.terms(network, reference.module(), policy, replace(block, trust=trust), 0).objective.backward()
        (logits,) = network.parameters()
        found[weighted] = logits.grad.numpy()
    np.testing.assert_allclose(found[True], trust[:, None] * found[False], atol=1e-7)


def test_trust_weighs_the_frames_that_are_imitated() -> None:
    policy, block = bandit(4, 5, 3, source=0)
    trust, network = np.array([1.0, 0.5, 0.25, 0.0]), policy.module()
    imitation = Imitation(ImitationConfig(smoothing=0.2, trust_weighted=True))
    imitation.loss(network, policy, replace(block, trust=trust)).backward()
    label = 0.8 * np.eye(5)[0] + 0.2 / 5  # the demonstration is anchor 0
    want = trust[:, None] * (policy.logits.double().softmax(-1).numpy() - label) / 4
    (logits,) = network.parameters()
    np.testing.assert_allclose(logits.grad, want, atol=1e-6)
    plain = Imitation(ImitationConfig(smoothing=0.2)).loss(network, policy, replace(block, trust=trust))
    assert float(plain.detach()) == pytest.approx(float(imitation.loss(network, policy, block).detach()))  # trust is 1 there


def test_terms_are_what_they_are_called() -> None:
    reference, block = bandit(4, 5, 1)
    policy, _ = bandit(4, 5, 2)
    terms = WorldEngine(tabular()).terms(policy.module(), reference.module(), policy, block, 0)
    pi, ref = policy.logits.double().softmax(-1).numpy(), reference.logits.double().softmax(-1).numpy()
    assert float(terms.reward) == pytest.approx((pi * block.rewards).sum(1).mean(), abs=1e-6)
    assert float(terms.kl) == pytest.approx((pi * np.log(pi / ref)).sum(1).mean(), abs=1e-6)
    assert float(terms.entropy) == pytest.approx(-(pi * np.log(pi)).sum(1).mean(), abs=1e-6)


def test_imitation_counts_only_log_frames_whose_label_is_good() -> None:
    policy, block = bandit(4, 5, 3, source=0)
    rewards = block.rewards.copy()
    rewards[:, 0] = (0.9, 0.7, 0.9, 0.9)  # the demonstration is anchor 0
    block = replace(block, rewards=rewards, source=np.array([0, 0, 1, 0]), has_expert=np.array([True, True, True, False]))
    terms = WorldEngine(tabular(smoothing=0.0)).terms(policy.module(), policy.module(), policy, block, 0)
    want = -float(policy.logits.log_softmax(-1)[0, 0]) / 4
    assert float(terms.imitation) == pytest.approx(want, abs=1e-6)


def test_importance_weights_are_clipped_ratios_of_rollout_frames() -> None:
    policy, block = bandit(3, 4, 4)
    block = replace(block, source=np.array([1, 1, 0]), choice=np.array([2, 1, 1]), log_prob=np.array([-20.0, -1.0, -1.0]))
    log_pi = policy.logits.log_softmax(-1)
    weight = WorldEngine(tabular(importance=True))._importance(log_pi, block)
    np.testing.assert_allclose(weight, [10.0, float((log_pi[1, 1] + 1).exp()), 1.0], rtol=1e-5)


def test_shuffled_rewards_are_the_same_rewards_elsewhere_and_stay_put() -> None:
    _, block = bandit(50, 30, 5)
    control = WorldEngine(tabular(shuffle_rewards=True))
    shuffled = control.rewards(block, 7)
    np.testing.assert_array_equal(np.sort(shuffled, 1), np.sort(block.rewards, 1))
    assert (shuffled != block.rewards).mean() > 0.9
    np.testing.assert_array_equal(control.rewards(block, 7), shuffled)
    assert abs(np.corrcoef(shuffled.ravel(), block.rewards.ravel())[0, 1]) < 0.1
    assert not np.array_equal(control.rewards(block, 8), shuffled)


def test_the_frame_filter_is_the_papers() -> None:
    rewards = np.array([[0.95, 0.5], [0.95, 0.9], [0.8, 0.1], [0.8, 0.4], [0.95, 0.0]])
    _, block = bandit(5, 2, 0)
    progress = np.array([[1.0, 0.9], [1.0, 0.9], [1.0, 0.9], [1.0, 0.1], [1.0, 0.0]])
    block = replace(block, rewards=rewards, choice=np.ones(5, np.int64), terms={"ep": progress})
    kept = worth_learning(block, tabular(filter=True))
    np.testing.assert_array_equal(kept, [True, False, False, True, True])
    with pytest.raises(ValidationError, match="no term 'ep'"):
        worth_learning(replace(block, terms={}), tabular(filter=True))


# On the network.


@pytest.fixture(scope="module")
def base(prepared: VocabularyVector, frames: Decisions[Any]) -> VocabularyVector:
    return Imitation(IMITATION).train(prepared, None, Memory(frames), 0).policy


@pytest.fixture(scope="module")
def experience(base: VocabularyVector, frames: Decisions[Any]) -> Memory:
    hard = decisions(200, 2, obstacle=1.0, source=1)
    return Memory(join([scored(frames, base), scored(hard, base)]))


def same(one: VocabularyVector, two: VocabularyVector) -> bool:
    return all(np.array_equal(array, two.state()[name]) for name, array in one.state().items())


def worth(policy: VocabularyVector, block: Decisions[Any]) -> float:
    return float(block.rewards[np.arange(block.size), policy.act(block.observation, 0).choice].mean())


def test_imitation_learns_and_leaves_its_input_alone(prepared: VocabularyVector, frames: Decisions[Any]) -> None:
    before = {name: array.copy() for name, array in prepared.state().items()}
    seen: list[tuple[int, int]] = []
    trained = Imitation(IMITATION).train(prepared, None, Memory(frames), 0, lambda done, of, _: seen.append((done, of)))
    assert all(np.array_equal(before[name], array) for name, array in prepared.state().items())
    test = decisions(300, 77)
    label = prepared.nearest(test.expert)
    accuracy = [float((p.act(test.observation, 0).choice == label).mean()) for p in (prepared, trained.policy)]
    common = np.bincount(label).max() / 300
    assert accuracy[1] > max(0.5, 2 * common, accuracy[0])
    lengths = {len(column) for column in trained.metrics.values()}
    assert len(lengths) == 1 and {"step", "loss", "val_loss", "val_accuracy", "val_ade", "val_ade_best"} <= set(trained.metrics)
    assert min(trained.metrics["val_ade"]) >= min(trained.metrics["val_ade_best"]) > 0
    assert seen and all(done <= of for done, of in seen)
    assert trained.summary["frames"] + trained.summary["held_out_frames"] == 400


def test_training_is_deterministic_and_seeded(prepared: VocabularyVector, frames: Decisions[Any]) -> None:
    config = ImitationConfig(steps=15, threads=1)
    one, two, other = (Imitation(config).train(prepared, None, Memory(frames), seed).policy for seed in (0, 0, 1))
    assert same(one, two) and not same(one, other)


def test_steps_are_exact_and_nothing_stops_them(prepared: VocabularyVector, frames: Decisions[Any]) -> None:
    trained = Imitation(ImitationConfig(steps=23, look_every=2, patience=1, threads=1)).train(prepared, None, Memory(frames), 0)
    assert trained.summary["steps"] == 23 == trained.metrics["step"][-1]


def test_it_stops_on_a_plateau_and_keeps_the_best(prepared: VocabularyVector, frames: Decisions[Any]) -> None:
    config = ImitationConfig(epochs=400, look_every=2, patience=3, learning_rate=0.02, threads=1, validation=0.3)
    trained = Imitation(config).train(prepared, None, Memory(frames), 0)
    losses = trained.metrics["val_loss"]
    assert len(losses) < 400 and np.argmin(losses) == len(losses) - 4


def test_imitation_passes_over_frames_without_a_demonstration(prepared: VocabularyVector, frames: Decisions[Any]) -> None:
    both = Memory(join([frames, decisions(60, 3, source=1)]))
    trained = Imitation(ImitationConfig(steps=2, threads=1)).train(prepared, None, both, 0)
    assert trained.summary["passed_over"] == 60
    with pytest.raises(DataError, match="no demonstration to imitate"):
        Imitation(IMITATION).train(prepared, None, Memory(decisions(60, 3, source=1)), 0)


def test_world_engine_gains_and_the_shuffled_control_does_not(base: VocabularyVector, experience: Memory) -> None:
    test = scored(decisions(300, 9, obstacle=1.0, source=1), base)
    trained = WorldEngine(ENGINE).train(base, base, experience, 0)
    control = WorldEngine(ENGINE.model_copy(update={"shuffle_rewards": True})).train(base, base, experience, 0)
    before, after, shuffled = (worth(policy, test) for policy in (base, trained.policy, control.policy))
    best = float(test.rewards.max(1).mean())
    assert after - before > 0.3 * (best - before)
    assert shuffled - before < 0.2 * (after - before)
    assert trained.metrics["step"][0] == 0 and trained.metrics["val_kl"][0] == pytest.approx(0, abs=1e-6)
    assert trained.metrics["val_reward"][-1] > trained.metrics["val_reward"][0]
    assert trained.metrics["kl"][-1] > 0


def test_more_kl_stays_nearer(base: VocabularyVector, experience: Memory) -> None:
    kl = [
        WorldEngine(ENGINE.model_copy(update={"kl_weight": weight})).train(base, base, experience, 0).metrics["val_kl"][-1]
        for weight in (0.03, 0.3, 3.0)
    ]
    assert kl[0] > kl[1] > kl[2]


def test_post_training_is_deterministic_and_changes_no_input(base: VocabularyVector, experience: Memory) -> None:
    before = {name: array.copy() for name, array in base.state().items()}
    config = ENGINE.model_copy(update={"steps": 8})
    one, two = (WorldEngine(config).train(base, base, experience, 3).policy for _ in range(2))
    assert same(one, two) and not same(one, base)
    assert all(np.array_equal(before[name], array) for name, array in base.state().items())


def test_batches_hold_the_set_mixture(base: VocabularyVector, experience: Memory) -> None:
    engine = WorldEngine(ENGINE.model_copy(update={"synthetic": 0.25}))
    batches = engine._batches(experience, {"log_frames": 1, "rollout_frames": 1}, frozenset({"log3"}), 0)
    for _ in range(12):
        block = next(batches)
        assert (block.source == 1).sum() == 16 and block.size == 64 and "log3" not in block.logs
    only = engine._batches(experience, {"log_frames": 1, "rollout_frames": 0}, frozenset(), 0)
    assert (next(only).source == 0).all()


def test_lora_starts_as_the_base_and_merges_into_the_same(base: VocabularyVector, frames: Decisions[Any]) -> None:
    network, inputs = base.module().eval(), base.inputs(frames.observation)
    names = set(network.state_dict())
    plain = network(inputs)
    lora.adapt(network, 4, 16.0)
    torch.testing.assert_close(network(inputs), plain)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    assert 0 < sum(p.numel() for p in trained) < 0.6 * sum(p.numel() for p in network.parameters())
    for parameter in trained:
        parameter.data += 0.05 * torch.randn_like(parameter)
    adapted = network(inputs)
    assert (adapted - plain).abs().max() > 1e-2
    lora.merge(network)
    assert set(network.state_dict()) == names
    torch.testing.assert_close(network(inputs), adapted, atol=1e-5, rtol=1e-5)


def test_world_engine_with_adapters_learns_and_saves_plain_weights(base: VocabularyVector, experience: Memory) -> None:
    test = scored(decisions(200, 9, obstacle=1.0, source=1), base)
    trained = WorldEngine(ENGINE.model_copy(update={"lora_rank": 4})).train(base, base, experience, 0).policy
    assert worth(trained, test) > worth(base, test)
    VocabularyVector(CONFIG).with_state(trained.state())
    changed = [n for n, array in base.state().items() if not np.array_equal(array, trained.state()[n])]
    assert changed and all(name.endswith("weight") for name in changed), "adapters move weight matrices only"


def test_rewards_of_another_vocabulary_are_refused(base: VocabularyVector, frames: Decisions[Any]) -> None:
    with pytest.raises(ValidationError, match="0 rewards a frame, the policy has 24 anchors"):
        WorldEngine(ENGINE).train(base, base, Memory(frames), 0)


def test_a_policy_that_cannot_be_trained_is_refused(experience: Memory) -> None:
    with pytest.raises(PluginError, match="'world-engine' cannot train a object"):
        WorldEngine(ENGINE).train(object(), None, experience, 0)  # type: ignore[arg-type]


def test_divergence_is_a_clear_error(prepared: VocabularyVector, frames: Decisions[Any]) -> None:
    state = dict(prepared.state())
    state["answer.3.bias"] = np.full_like(state["answer.3.bias"], np.inf)
    with pytest.raises(WetoolkitError, match="imitation diverged at step 1"):
        Imitation(ImitationConfig(steps=3, threads=1)).train(prepared.with_state(state), None, Memory(frames), 0)


def test_training_leaves_torch_as_it_was(prepared: VocabularyVector, frames: Decisions[Any]) -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    Imitation(ImitationConfig(steps=2, threads=1)).train(prepared, None, Memory(frames), 0)
    assert torch.get_num_threads() == threads and torch.equal(torch.get_rng_state(), state)


def test_streams_give_every_row_once_a_pass() -> None:
    block = decisions(130, 0)
    batches = stream(Memory(block), 26, 4, lambda d: np.ones(d.size, np.bool_))
    for _ in range(3):
        assert sorted(name for _ in range(5) for name in next(batches).ids) == sorted(block.ids)
    none = stream(Memory(block), 26, 4, lambda d: np.zeros(d.size, np.bool_))
    with pytest.raises(DataError, match="no decision"):
        next(none)


def test_the_split_is_by_log_seeded_and_stable() -> None:
    logs = [f"log{i % 50}" for i in range(1000)]
    held = held_out(logs, 0.2, 0)
    assert len(held) == 10 and held == held_out(logs[::-1], 0.2, 0) and held != held_out(logs, 0.2, 1)
    assert held_out(["a", "b"], 0.1, 0) == held_out(["a"], 0.9, 0) == held_out(logs, 0.0, 0) == frozenset()
