"""The toy's policies and algorithms: a linear softmax over the twelve walks, trained by imitation or by policy gradient."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from wetoolkit.config import Config
from wetoolkit.errors import ConfigError
from wetoolkit.kinds import Progress
from wetoolkit.testing.fakes import NEAR, WALKS
from wetoolkit.types import Array, Decisions, Experience, Float, Observation, ObservationSpec, Plan, Trained


class ToyPolicyConfig(Config):
    """A linear softmax."""

    temperature: float = Field(0.0, ge=0, description="0 takes the likeliest walk, above it walks are drawn [1]")


class ToyPolicy:
    """Log-probabilities over the twelve walks, linear in six features of the nearest who is ahead."""

    spec = ObservationSpec(fields=("body", "others"), limits={"others": NEAR})

    def __init__(self, config: ToyPolicyConfig, weights: Float | None = None, scale: float = 2.0) -> None:
        self.config = config
        self.weights = np.zeros((6, len(WALKS))) if weights is None else weights  # [F, K]
        self.scale = scale  # metres over which somebody ahead matters

    @property
    def proposals(self) -> Float:
        return WALKS

    def features(self, observation: Observation[Any]) -> Float:
        """[B, 6]: one, and the closeness of the nearest ahead, by where it is and where it goes."""
        others, valid = observation.arrays["others"].astype(np.float64), observation.arrays["others.valid"]
        ahead = valid & (others[..., 0] > 0) & (abs(others[..., 1]) < 2)  # [B, NEAR]
        distance = np.where(ahead, np.hypot(others[..., 0], others[..., 1]), np.inf)
        row = others[np.arange(len(others)), distance.argmin(1)]  # [B, 4]
        close = np.exp(-((distance.min(1) / self.scale) ** 2))  # [B]
        side, drift = np.tanh(4 * row[:, 1]), np.tanh(8 * row[:, 3])
        return np.stack([np.ones(len(row)), close, close * side, close * drift, close * abs(side), close * row[:, 0]], -1)

    def log_prob(self, observation: Observation[Any]) -> Float:
        logits = np.einsum("bf,fk->bk", self.features(observation), self.weights)
        logits -= logits.max(1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(1, keepdims=True))  # type: ignore[no-any-return]

    def act(self, observation: Observation[Any], seed: int) -> Plan:
        return self.act_each(observation, [seed] * observation.size)

    def act_each(self, observation: Observation[Any], seeds: Sequence[int]) -> Plan:
        log_prob = self.log_prob(observation)
        score = log_prob
        if self.config.temperature > 0:  # Gumbel noise drawn for each row from its own content: a batch equals its singles
            rows = zip(seeds, log_prob, strict=True)
            noise = [np.random.default_rng([seed, zlib.crc32(row.tobytes())]).gumbel(size=len(row)) for seed, row in rows]
            score = log_prob / self.config.temperature + np.array(noise).reshape(log_prob.shape)
        choice = score.argmax(1)
        return Plan(WALKS[choice], choice, log_prob[np.arange(len(choice)), choice])

    def prepare(self, experience: Experience, seed: int) -> ToyPolicy:
        """Sets the scale to the demonstrated speed times two seconds."""
        lengths = [abs(block.expert[:, -1, 0]).mean() for block in experience.batches(256, None) if block.size]
        return type(self)(self.config, self.weights, float(np.mean(lengths)) or 2.0)

    def state(self) -> Mapping[str, Array]:
        return {"weights": self.weights, "scale": np.array([self.scale])}

    def with_state(self, state: Mapping[str, Array]) -> ToyPolicy:
        if set(state) != {"weights", "scale"} or state["weights"].shape != self.weights.shape:
            raise ConfigError("not the state of a toy policy", found=", ".join(state), way_out="give weights [6, 12] and scale [1]")
        return type(self)(self.config, np.array(state["weights"]), float(state["scale"][0]))


class ToyStraightConfig(Config):
    """Nothing to set."""


class ToyStraight:
    """Walks straight on at 1 m/s, whoever is in the way."""

    spec = ObservationSpec(fields=("body",))

    def __init__(self, config: ToyStraightConfig) -> None:
        self.config = config

    def act(self, observation: Observation[Any], seed: int) -> Plan:
        return Plan(np.repeat(WALKS[7:8], observation.size, axis=0))


class ToyImitationConfig(Config):
    """Gradient descent."""

    passes: int = Field(30, ge=1, description="passes over the experience [1]")
    rate: float = Field(0.5, gt=0, description="step size [1]")
    smoothing: float = Field(0.1, ge=0, lt=1, description="weight of the uniform distribution in the target [1]")


class ToyImitation:
    """Cross-entropy to the walk nearest to what the log's walker did."""

    def __init__(self, config: ToyImitationConfig) -> None:
        self.config = config

    def train(
        self,
        policy: ToyPolicy,
        reference: ToyPolicy | None,
        experience: Experience,
        seed: int,
        progress: Progress | None = None,
    ) -> Trained:
        def push(block: Decisions[Any], probability: Float) -> Float:
            return (_imitate(block, self.config.smoothing) - probability) * block.has_expert[:, None]

        return _ascend(policy, experience, seed, self.config.passes, self.config.rate, push, progress)


class ToyGradientConfig(Config):
    """Gradient ascent."""

    passes: int = Field(60, ge=1, description="passes over the experience [1]")
    rate: float = Field(20.0, gt=0, description="step size [1]")
    kl: float = Field(0.02, ge=0, description="weight of the KL to the reference [1]")
    imitation: float = Field(0.1, ge=0, description="weight of the imitation of real frames [1]")


class ToyGradient:
    """Ascends sum_k p_k r_k - kl KL(p | reference) + imitation on real frames, all exact."""

    def __init__(self, config: ToyGradientConfig) -> None:
        self.config = config

    def train(
        self,
        policy: ToyPolicy,
        reference: ToyPolicy | None,
        experience: Experience,
        seed: int,
        progress: Progress | None = None,
    ) -> Trained:
        def push(block: Decisions[Any], probability: Float) -> Float:
            value = block.rewards.astype(np.float64)
            if reference is not None:
                value = value - self.config.kl * (np.log(probability + 1e-12) - reference.log_prob(block.observation))
            gain = probability * (value - (probability * value).sum(1, keepdims=True))  # d E[value] / d logits
            real = (block.has_expert & (block.source == 0))[:, None]
            return gain + self.config.imitation * real * (_imitate(block, 0.1) - probability)  # type: ignore[no-any-return]

        return _ascend(policy, experience, seed, self.config.passes, self.config.rate, push, progress)


def _imitate(block: Decisions[Any], smoothing: float) -> Float:
    """Target distributions [n, K] for the walks nearest to the experts'."""
    distance = np.linalg.norm(block.expert[:, None] - WALKS[None], axis=-1).sum(-1)  # [n, K] metres
    nearest: Float = np.eye(len(WALKS))[distance.argmin(1)]
    return (1 - smoothing) * nearest + smoothing / len(WALKS)


def _ascend(
    policy: ToyPolicy,
    experience: Experience,
    seed: int,
    passes: int,
    rate: float,
    push: Callable[[Decisions[Any], Float], Float],
    progress: Progress | None,
) -> Trained:
    """Add ``rate`` times the mean gradient, block by block; ``push`` gives d objective / d logits [n, K]."""
    weights, history = policy.weights.copy(), []
    for index in range(passes):
        moved = 0.0
        for block in experience.batches(128, seed + index):
            current = type(policy)(policy.config, weights, policy.scale)
            gradient = push(block, np.exp(current.log_prob(block.observation)))
            step = policy.features(block.observation).T @ gradient / max(block.size, 1)
            weights, moved = weights + rate * step, moved + float(abs(step).sum())
        history.append(moved)
        if progress is not None:
            progress(index + 1, passes, f"moved {moved:.3g}")
    trained = type(policy)(policy.config, weights, policy.scale)
    return Trained(trained, {"pass": list(range(passes)), "moved": history}, {"passes": float(passes)})
