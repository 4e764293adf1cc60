"""The algorithm ``world-engine``: behaviour-regularised policy gradient over the whole vocabulary, with dense rewards.

World Engine (arXiv 2606.19836), post-training: maximise E_pi[r] - lambda KL(pi || pi_ref) on a mixture of log frames and rollout
frames, in which every anchor's reward is known, with an imitation term on log frames and an entropy bonus. Its terms, and ours:

- ``E_pi[r]``. Theirs is a policy gradient (weight 0.01) on a policy composed of imitation logits and reward heads. As every
  anchor's reward is known, ours is the exact expectation ``sum_k pi_k r_k``: nothing is sampled, no baseline is needed.
- ``lambda KL(pi || pi_ref)``. Exact as well. For one state the optimum of the two together is ``pi_ref exp(r / lambda) / Z``.
  ``objective = "projection"`` descends ``lambda KL(that optimum || pi)`` instead: the same optimum wherever the network can
  reach it, with a gradient that does not vanish for anchors that pi hardly knows.
- Imitation: cross-entropy to the nearest anchor on log frames, only where that anchor's reward is above 0.8, as theirs.
- Entropy bonus: theirs has weight 1.0 against a policy gradient of 0.01; ours is 0 by default, since the KL term keeps pi spread.
- Importance weights: theirs clip pi / pi_old of the imitated action to [0.01, 10]. An exact expectation over actions needs none;
  with ``importance`` on, a rollout frame is weighted by that clipped ratio for the choice it was made by.
- Trust: with ``trust_weighted`` on, all terms of a frame are weighted by how far its pictures can be believed. Theirs has no such.
- Reward heads: none. The reward is a teacher here, never a part of what drives.
- LoRA: rank 16 in theirs; ``lora_rank`` here, 0 trains every weight.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from wetoolkit.config import Config
from wetoolkit.errors import DataError, ValidationError
from wetoolkit.experience import join
from wetoolkit.kinds import Policy, Progress
from wetoolkit.types import Bool, Decisions, Experience, Float, Trained
from wetoolkit_learning.imitation import descend, pace
from wetoolkit_learning.lora import adapt, merge
from wetoolkit_learning.stream import held_out, once, stream, weights
from wetoolkit_learning.trainable import Trainable, torch_seed, torch_threads, trainable


class WorldEngineConfig(Config):
    """The weights of the terms, the mixture, and how long it trains."""

    steps: int = Field(default=300, description="gradient steps; exactly so many are made [1]", ge=1)
    batch: int = Field(default=64, description="frames a step [1]", ge=2)
    synthetic: float = Field(
        default=0.75, description="share of a batch that are rollout frames (0.5: one log frame for each) [1]", ge=0.0, le=1.0
    )
    learning_rate: float = Field(default=1e-3, description="of AdamW at its peak; falls to 0 by a cosine [1]", gt=0.0)
    warmup: float = Field(
        default=0.05, description="share of the steps in which the learning rate rises from 0 [1]", ge=0.0, le=1.0
    )
    weight_decay: float = Field(default=0.0, description="of AdamW [1]", ge=0.0)
    clip: float = Field(default=1.0, description="largest norm of the gradient [1]", gt=0.0)
    objective: Literal["expectation", "projection"] = Field(
        default="expectation", description="what is descended; see the module's text"
    )
    reward_weight: float = Field(default=1.0, description="of the expected reward [1]", ge=0.0)
    kl_weight: float = Field(default=0.03, description="lambda, of KL(pi || pi_ref) [reward / nat]", gt=0.0)
    imitation_weight: float = Field(default=0.1, description="of the cross-entropy on log frames [1]", ge=0.0)
    imitation_floor: float = Field(
        default=0.8, description="a log frame is imitated where its nearest anchor's reward is above [1]", ge=0.0, le=1.0
    )
    smoothing: float = Field(default=0.2, description="of the imitated label [1]", ge=0.0, lt=1.0)
    entropy_weight: float = Field(default=0.0, description="of the entropy bonus [reward / nat]", ge=0.0)
    standardise: Literal["none", "frame"] = Field(
        default="none", description="frame: rewards of each frame are shifted and scaled to mean 0 and deviation 1 over the anchors"
    )
    importance: bool = Field(default=False, description="weight rollout frames by the clipped ratio of pi to the policy that drove")
    importance_clip: tuple[float, float] = Field(default=(0.01, 10.0), description="of that ratio")
    trust_weighted: bool = Field(
        default=False, description="weight each frame by how far its pictures can be believed (`Decisions.trust`; 1 without any)"
    )
    filter: bool = Field(default=False, description="keep only rollout frames with something to learn, as World Engine does")
    filter_best: float = Field(default=0.9, description="kept where the best anchor scores at least this [1] ...", ge=0.0, le=1.0)
    filter_chosen: float = Field(default=2 / 3, description="... and the chosen one at most this [1]", ge=0.0, le=1.0)
    filter_progress: float = Field(
        default=0.2, description="or where the chosen one is safe (total above 0) with less progress [1]", ge=0.0, le=1.0
    )
    progress_term: str = Field(default="ep", description="name of the progress term in the rewards' terms")
    lora_rank: int = Field(default=0, description="of the adapters; 0 trains all weights [1]", ge=0)
    lora_alpha: float = Field(default=16.0, description="their scale is alpha / rank [1]", gt=0.0)
    shuffle_rewards: bool = Field(default=False, description="control: permute each frame's rewards over the anchors")
    validation: float = Field(default=0.1, description="share of the logs held out to watch the terms on [1]", ge=0.0, lt=1.0)
    look_every: int = Field(default=100, description="steps between two looks at the held-out frames [1]", ge=1)
    threads: int = Field(default=1, description="of torch in training; on a busy machine more are slower, not faster [1]", ge=1)


@dataclass(frozen=True)
class _Terms:
    """The terms of the objective, means over a batch."""

    reward: Tensor  # E_pi[r]
    kl: Tensor  # KL(pi || pi_ref), nats
    entropy: Tensor  # nats
    imitation: Tensor  # cross-entropy, nats; 0 where nothing is imitated
    objective: Tensor  # what is descended


class WorldEngine:
    """Policy + reference + decisions with dense rewards -> policy that prefers what is rewarded and stays near the reference."""

    def __init__(self, config: WorldEngineConfig) -> None:
        self.config = config

    def train(
        self,
        policy: Policy[Any],
        reference: Policy[Any] | None,
        experience: Experience,
        seed: int,
        progress: Progress | None = None,
    ) -> Trained:
        """A policy post-trained for ``steps`` steps; ``reference`` (None: the policy itself) is frozen.

        Metrics, one row a look: step, then reward, kl, entropy, imitation and objective as means since the last look, and each with
        ``val_`` on the held-out logs. The first row is step 0, before anything is learned.
        """
        config, learner = self.config, trainable(policy, "world-engine")
        anchor = trainable(reference, "world-engine") if reference is not None else learner
        counts, held = _survey(experience, config, len(learner.proposals), seed)
        with torch_threads(config.threads), torch_seed(seed):
            frozen = anchor.module().eval().requires_grad_(False)
            network = learner.module().eval()  # without dropout: KL(pi || pi_ref) starts at 0
            if config.lora_rank:
                adapt(network, config.lora_rank, config.lora_alpha)
            rows = self._fit(network, frozen, learner, experience, counts, held, seed, progress)
            if config.lora_rank:
                merge(network)
        metrics = {name: [row[name] for row in rows] for name in rows[0]}
        return Trained(learner.with_module(network), metrics, {"steps": config.steps, **counts})

    def _fit(
        self, network: nn.Module, frozen: nn.Module, learner: Trainable, experience: Experience,
        counts: dict[str, int], held: frozenset[str], seed: int, progress: Progress | None,
    ) -> list[dict[str, float]]:  # fmt: skip
        config = self.config
        wanted = [parameter for parameter in network.parameters() if parameter.requires_grad]
        optimiser = torch.optim.AdamW(wanted, config.learning_rate, weight_decay=config.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: pace(step, config.steps, config.warmup))
        batches = self._batches(experience, counts, held, seed)
        rows = [self._row(0, [], network, frozen, learner, experience, held, seed)]
        seen: list[_Terms] = []
        for step in range(1, config.steps + 1):
            terms = self.terms(network, frozen, learner, next(batches), seed)
            descend(terms.objective, network, optimiser, config.clip, step, "world-engine")
            schedule.step()
            seen.append(terms)
            if progress and (step % 10 == 0 or step == config.steps):
                progress(step, config.steps, f"reward {float(terms.reward):.3f} kl {float(terms.kl):.3f}")
            if step % config.look_every == 0 or step == config.steps:
                rows.append(self._row(step, seen, network, frozen, learner, experience, held, seed))
                seen = []
        rows[0] = {**rows[1], **rows[0]}  # before the first step there are no training means; those of the first stretch stand in
        return rows

    def terms(self, network: nn.Module, frozen: nn.Module, learner: Trainable, block: Decisions[Any], seed: int) -> _Terms:
        """The objective on one block of decisions, and its parts."""
        config = self.config
        rewards = torch.from_numpy(self.rewards(block, seed))  # [B, K] in [0, 1], or standardised
        inputs = learner.inputs(block.observation)
        log_pi = network(inputs).log_softmax(-1)  # [B, K]
        with torch.no_grad():
            log_ref = frozen(inputs).log_softmax(-1)
            weight = self._importance(log_pi, block) * weights(block, config.trust_weighted)
        pi = log_pi.exp()
        reward = (pi * rewards).sum(1)
        kl = (pi * (log_pi - log_ref)).sum(1)
        entropy = -(pi * log_pi).sum(1)
        imitation = self._imitation(log_pi, learner, block, seed)
        if config.objective == "expectation":
            loss = config.kl_weight * kl - config.reward_weight * reward
        else:
            best = (log_ref + config.reward_weight / config.kl_weight * rewards).log_softmax(-1)
            loss = config.kl_weight * (best.exp() * (best - log_pi)).sum(1)
        objective = (weight * (loss - config.entropy_weight * entropy)).mean() + config.imitation_weight * imitation
        return _Terms(reward.mean().detach(), kl.mean().detach(), entropy.mean().detach(), imitation.detach(), objective)

    def rewards(self, block: Decisions[Any], seed: int) -> Float:
        """What each anchor is worth [B, K]; the control permutes each frame's rewards, always the same way for the same frame."""
        rewards = np.array(block.rewards, np.float32)
        if self.config.shuffle_rewards:
            for row, name in enumerate(block.ids):
                rewards[row] = np.random.default_rng((seed, zlib.crc32(name.encode()))).permutation(rewards[row])
        if self.config.standardise == "frame":
            rewards = (rewards - rewards.mean(1, keepdims=True)) / (rewards.std(1, keepdims=True) + 1e-3)
        return rewards

    def _imitation(self, log_pi: Tensor, learner: Trainable, block: Decisions[Any], seed: int) -> Tensor:
        """Smoothed cross-entropy on log frames whose nearest anchor is good, as a mean over the whole block."""
        label = np.asarray(learner.nearest(block.expert))
        worth = WorldEngine(self.config.model_copy(update={"standardise": "none"})).rewards(block, seed)
        good = worth[np.arange(block.size), label] > self.config.imitation_floor
        use = torch.from_numpy((block.source == 0) & block.has_expert & good)
        loss = functional.cross_entropy(log_pi, torch.from_numpy(label), label_smoothing=self.config.smoothing, reduction="none")
        return (loss * use * weights(block, self.config.trust_weighted)).mean()

    def _importance(self, log_pi: Tensor, block: Decisions[Any]) -> Tensor:
        """Clipped pi / pi_old of what was chosen [B]; 1 for log frames and where it is off."""
        known = (block.source == 1) & (block.choice >= 0)
        if not self.config.importance or not known.any():
            return torch.ones(block.size)
        chosen = log_pi[torch.arange(block.size), torch.from_numpy(np.maximum(block.choice, 0).astype(np.int64))]
        ratio = (chosen - torch.from_numpy(block.log_prob.astype(np.float32))).exp().clamp(*self.config.importance_clip)
        return torch.where(torch.from_numpy(known), ratio, 1.0)

    def _batches(self, experience: Experience, counts: dict[str, int], held: frozenset[str], seed: int) -> Iterator[Decisions[Any]]:
        """Blocks of ``batch`` frames, the set share of them from rollouts; all of one kind where the other is missing."""
        made = round(self.config.batch * self.config.synthetic)
        made = made if counts["rollout_frames"] else 0
        made = made if counts["log_frames"] else self.config.batch
        streams = [
            stream(experience, size, seed, partial(_use, config=self.config, source=source, held=held, validate=False))
            for source, size in ((0, self.config.batch - made), (1, made))
            if size
        ]
        while True:
            yield join([next(blocks) for blocks in streams])

    def _row(
        self, step: int, seen: list[_Terms], network: nn.Module, frozen: nn.Module, learner: Trainable,
        experience: Experience, held: frozenset[str], seed: int,
    ) -> dict[str, float]:  # fmt: skip
        row = {"step": float(step)}
        if seen:
            row |= {name: float(np.mean([float(getattr(terms, name).detach()) for terms in seen])) for name in _NAMES}
        if held:
            with torch.no_grad():
                blocks = once(experience, lambda d: _use(d, self.config, None, held, True))
                parts = [(block.size, self.terms(network, frozen, learner, block, seed)) for block in blocks]
            frames = sum(size for size, _ in parts)
            row |= {f"val_{name}": sum(n * float(getattr(terms, name)) for n, terms in parts) / max(frames, 1) for name in _NAMES}
        return row


_NAMES = ("reward", "kl", "entropy", "imitation", "objective")


def _use(block: Decisions[Any], config: WorldEngineConfig, source: int | None, held: frozenset[str], validate: bool) -> Bool:
    """Which frames of the block are learned from (or watched)."""
    inside = np.fromiter((log in held for log in block.logs), np.bool_, block.size) == validate
    mine = np.ones(block.size, np.bool_) if source is None else np.asarray(block.source == source)
    return np.asarray(inside & mine & ((block.source == 0) | worth_learning(block, config)), np.bool_)


def worth_learning(block: Decisions[Any], config: WorldEngineConfig) -> Bool:
    """World Engine's choice of rollout frames [n]: a good anchor was there and a bad one taken, or it was safe but slow."""
    if not config.filter:
        return np.ones(block.size, np.bool_)
    rows, choice = np.arange(block.size), np.maximum(block.choice, 0)
    if config.progress_term not in block.terms:
        raise ValidationError(
            f"the rewards have no term {config.progress_term!r}", field="progress_term",
            terms=", ".join(sorted(block.terms)) or "none",
            way_out="name the reward's progress term, or set filter = false",
        )  # fmt: skip
    chosen = block.rewards[rows, choice]
    missed = (block.rewards.max(1) >= config.filter_best) & (chosen <= config.filter_chosen)
    slow = (chosen > 0) & (block.terms[config.progress_term][rows, choice] < config.filter_progress)
    return np.asarray((block.choice >= 0) & (missed | slow))


def _survey(experience: Experience, config: WorldEngineConfig, anchors: int, seed: int) -> tuple[dict[str, int], frozenset[str]]:
    """How many frames there are of each kind, and the logs held out."""
    logs: list[str] = []
    for block in experience.batches(512, None):
        if block.rewards.shape[1] != anchors:
            raise ValidationError(
                f"{block.rewards.shape[1]} rewards a frame, the policy has {anchors} anchors", field="experience.rewards",
                way_out="score the proposals of the policy that is trained",
            )  # fmt: skip
        logs += block.logs
    held = held_out(logs, config.validation, seed)
    counts = dict.fromkeys(("log_frames", "rollout_frames", "held_out_frames", "filtered_frames"), 0)
    for block in experience.batches(512, None):
        counts["held_out_frames"] += int(_use(block, config, None, held, True).sum())
        counts["log_frames"] += int(_use(block, config, 0, held, False).sum())
        counts["rollout_frames"] += int(_use(block, config, 1, held, False).sum())
        counts["filtered_frames"] += int(((block.source == 1) & ~worth_learning(block, config)).sum())
    if not counts["log_frames"] + counts["rollout_frames"]:
        raise DataError("no frame to learn from", way_out="relax the frame filter, or roll out more scenes", **counts)
    return counts, held
