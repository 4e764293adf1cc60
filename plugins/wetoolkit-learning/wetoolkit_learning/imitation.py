"""The algorithm ``imitation``: cross-entropy to the anchor nearest to what was demonstrated.

World Engine (arXiv 2606.19836), pre-training: the label is the anchor with the smallest sum of L2 distances at 2 Hz, smoothed by
0.2. Ours besides: a share of the logs is held out, training stops when its loss has not fallen for ``patience`` looks, and the
weights of the best look are kept. With ``steps`` set, exactly so many are made and the last weights kept: the fair control.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from wetoolkit.config import Config
from wetoolkit.errors import DataError, WetoolkitError
from wetoolkit.kinds import Policy, Progress
from wetoolkit.types import Bool, Decisions, Experience, Trained
from wetoolkit_learning.stream import held_out, once, stream, weights
from wetoolkit_learning.trainable import Trainable, torch_seed, torch_threads, trainable


class ImitationConfig(Config):
    """How long and how hard it imitates."""

    epochs: int = Field(default=40, description="at most so many passes over the training frames [1]", ge=1)
    steps: int = Field(default=0, description="above 0: exactly so many steps instead, without early stop [1]", ge=0)
    batch: int = Field(default=64, description="frames a step [1]", ge=1)
    learning_rate: float = Field(default=1e-3, description="of AdamW at its peak; falls to 0 by a cosine [1]", gt=0.0)
    warmup: float = Field(
        default=0.05, description="share of the steps in which the learning rate rises from 0 [1]", ge=0.0, le=1.0
    )
    weight_decay: float = Field(default=0.01, description="of AdamW [1]", ge=0.0)
    smoothing: float = Field(default=0.2, description="of the label: this share is spread over all anchors [1]", ge=0.0, lt=1.0)
    clip: float = Field(default=1.0, description="largest norm of the gradient [1]", gt=0.0)
    validation: float = Field(default=0.1, description="share of the logs held out to see when to stop [1]", ge=0.0, lt=1.0)
    look_every: int = Field(default=0, description="steps between two looks at the held-out frames; 0: once a pass [1]", ge=0)
    patience: int = Field(default=8, description="looks without improvement before it stops; 0: never [1]", ge=0)
    trust_weighted: bool = Field(
        default=False, description="weight each frame by how far its pictures can be believed (`Decisions.trust`; 1 without any)"
    )
    threads: int = Field(default=1, description="of torch in training; on a busy machine more are slower, not faster [1]", ge=1)


@dataclass(frozen=True)
class _Count:
    """What the experience holds for imitation."""

    train: int
    validation: int
    unknown: int  # frames without a demonstration, passed over
    held: frozenset[str]  # logs


class Imitation:
    """Policy + demonstrations -> policy that copies them."""

    def __init__(self, config: ImitationConfig) -> None:
        self.config = config

    def train(
        self,
        policy: Policy[Any],
        reference: Policy[Any] | None,
        experience: Experience,
        seed: int,
        progress: Progress | None = None,
    ) -> Trained:
        """A policy trained on every frame with ``has_expert``; ``reference`` is not used.

        Metrics, one row a look: step, loss (mean since the last look), and on the held-out frames val_loss, val_accuracy (share
        whose likeliest anchor is the label), val_ade [m] of the likeliest anchor to the demonstration, val_ade_best of the label.
        """
        config, learner = self.config, trainable(policy, "imitation")
        count = _survey(experience, config, seed)
        per_pass = max(1, count.train // config.batch)
        total = config.steps or config.epochs * per_pass
        look = config.look_every or per_pass
        with torch_threads(config.threads), torch_seed(seed):
            network = learner.module().train()
            batches = stream(experience, config.batch, seed, lambda d: _use(d, count.held, False))
            best, rows = self._fit(network, learner, batches, experience, count, total, look, progress)
        network.load_state_dict(best)
        metrics = {name: [row[name] for row in rows] for name in rows[0]} if rows else {}
        summary: dict[str, float | str] = {
            "steps": rows[-1]["step"], "frames": count.train, "held_out_frames": count.validation, "passed_over": count.unknown,
        }  # fmt: skip
        return Trained(learner.with_module(network), metrics, summary)

    def _fit(
        self, network: nn.Module, learner: Trainable, batches: Iterator[Decisions[Any]], experience: Experience,
        count: _Count, total: int, look: int, progress: Progress | None,
    ) -> tuple[dict[str, Tensor], list[dict[str, float]]]:  # fmt: skip
        config = self.config
        optimiser = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: pace(step, total, config.warmup))
        rows: list[dict[str, float]] = []
        losses: list[float] = []
        best, best_loss, waited = copy.deepcopy(network.state_dict()), np.inf, 0
        for step in range(1, total + 1):
            losses.append(self._step(network, learner, next(batches), optimiser, step))
            schedule.step()
            if progress and (step % 10 == 0 or step == total):
                progress(step, total, f"loss {np.mean(losses[-50:]):.3f}")
            if step % look and step != total:
                continue
            row = {"step": float(step), "loss": float(np.mean(losses)), **self.look(network, learner, experience, count.held)}
            rows, losses, waited = [*rows, row], [], waited + 1
            judged = row.get("val_loss", row["loss"])
            if config.steps or judged < best_loss:
                best, best_loss, waited = copy.deepcopy(network.state_dict()), judged, 0
            if config.patience and waited >= config.patience:
                if progress:
                    progress(total, total, f"stopped at step {step}: the held-out loss falls no more")
                break
        return best, rows

    def _step(
        self, network: nn.Module, learner: Trainable, block: Decisions[Any], optimiser: torch.optim.Optimizer, step: int
    ) -> float:
        loss = self.loss(network, learner, block)
        descend(loss, network, optimiser, self.config.clip, step, "imitation")
        return float(loss.detach())

    def loss(self, network: nn.Module, learner: Trainable, block: Decisions[Any]) -> Tensor:
        """Mean smoothed cross-entropy to the nearest anchors, each frame weighted by its trust if that is asked for."""
        label = torch.from_numpy(learner.nearest(block.expert))
        logits, smoothing = network(learner.inputs(block.observation)), self.config.smoothing
        losses = functional.cross_entropy(logits, label, label_smoothing=smoothing, reduction="none")  # [B]
        return (weights(block, self.config.trust_weighted) * losses).mean()

    def look(self, network: nn.Module, learner: Trainable, experience: Experience, held: frozenset[str]) -> dict[str, float]:
        """The held-out frames seen by the network as it is: mean of each val_ metric; empty where nothing is held out."""
        sums: dict[str, float] = {}
        frames = 0
        network.eval()
        with torch.inference_mode():
            for block in once(experience, lambda d: _use(d, held, True)) if held else ():
                label, logits = learner.nearest(block.expert), network(learner.inputs(block.observation))
                loss = functional.cross_entropy(logits, torch.from_numpy(label), label_smoothing=self.config.smoothing)
                choice, anchors = logits.argmax(1).numpy(), learner.proposals
                found = {
                    "val_loss": float(loss),
                    "val_accuracy": float((choice == label).mean()),
                    "val_ade": _ade(anchors[choice], block.expert),
                    "val_ade_best": _ade(anchors[label], block.expert),
                }
                sums = {name: sums.get(name, 0.0) + block.size * value for name, value in found.items()}
                frames += block.size
        network.train()
        return {name: value / frames for name, value in sums.items()}


def descend(loss: Tensor, network: nn.Module, optimiser: torch.optim.Optimizer, clip: float, step: int, algorithm: str) -> None:
    """One step down the gradient of ``loss``, clipped; ``WetoolkitError`` where it is not finite any more."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    wanted = [parameter for parameter in network.parameters() if parameter.requires_grad]
    norm = nn.utils.clip_grad_norm_(wanted, clip)
    if not (torch.isfinite(loss) and torch.isfinite(norm)):
        raise WetoolkitError(
            f"{algorithm} diverged at step {step}: loss {float(loss.detach())}, gradient {float(norm)}",
            plugin="wetoolkit-learning",
            way_out="lower learning_rate or clip, and look for extreme numbers in the observations",
        )
    optimiser.step()


def pace(step: int, total: int, warmup: float) -> float:
    """Share of the peak learning rate: a linear rise, then half a cosine down to 0."""
    rise = max(1, round(total * warmup))
    return (step + 1) / rise if step < rise else 0.5 * (1 + float(np.cos(np.pi * (step - rise) / max(1, total - rise))))


def _use(block: Decisions[Any], held: frozenset[str], validate: bool) -> Bool:
    inside = np.fromiter((log in held for log in block.logs), np.bool_, block.size)
    return np.asarray(block.has_expert & (inside == validate), np.bool_)


def _survey(experience: Experience, config: ImitationConfig, seed: int) -> _Count:
    known: list[str] = []
    unknown = 0
    for block in experience.batches(512, None):
        known += [log for log, has in zip(block.logs, block.has_expert, strict=True) if has]
        unknown += int((~np.asarray(block.has_expert, np.bool_)).sum())
    held = held_out(known, config.validation, seed)
    kept = sum(log in held for log in known)
    if len(known) == kept:
        raise DataError("no demonstration to imitate", frames_without_one=unknown, way_out="give log frames with a known future")
    return _Count(len(known) - kept, kept, unknown, held)


def _ade(plans: Any, expert: Any) -> float:
    return float(np.hypot(*np.moveaxis(plans[..., :2] - expert[..., :2], -1, 0)).mean())
