"""Training: windows of any data set of the domain -> a checkpoint. Seeded, resumable, and within a budget of time."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from wetoolkit_driving.types import AgentClass, Double, World

from wetoolkit.config import Config
from wetoolkit.errors import DataError, StoreError
from wetoolkit.kinds import Progress
from wetoolkit.store import read_state, write_state
from wetoolkit.types import Scenario
from wetoolkit_diffusion.batch import collate, going_on, spread, units
from wetoolkit_diffusion.checkpoint import SCHEMA, Model
from wetoolkit_diffusion.network import Denoiser, NetworkConfig
from wetoolkit_diffusion.noise import draw, weight
from wetoolkit_diffusion.spec import TokenSpec
from wetoolkit_diffusion.tokens import Tokens, encode

POOL = 64  # scenes of about equal size are looked for among so many
ASIDE = 0.5  # metres from where it would be at constant velocity: who comes to more is lively


class TrainingConfig(Config):
    """How long and how hard the model is trained."""

    steps: int = Field(default=6000, description="steps of the optimiser, at most [1]", ge=1)
    minutes: float = Field(default=25.0, description="time after which the rest of the steps is left out [min]", gt=0.0)
    batch: int = Field(default=8, description="scenes a step [1]", ge=1)
    rate: float = Field(default=1.5e-3, description="learning rate at its highest [1]", gt=0.0)
    warmup: float = Field(default=0.03, description="share of the steps in which the rate rises [1]", ge=0.0, lt=1.0)
    decay: float = Field(default=0.01, description="weight decay of AdamW [1]", ge=0.0)
    average: float = Field(default=0.998, description="decay of the running average of the weights [1]", ge=0.0, lt=1.0)
    pace: float = Field(default=2.0, description="weight of the error in the motion from token to token [1]", ge=0.0)
    save_every: float = Field(default=120.0, description="time between two savings [s]", gt=0.0)
    lively: float = Field(
        default=1.0, description="how much oftener a scene is drawn for each walker in it who turns, stops or sets off [1]", ge=0.0
    )
    walkers: float = Field(default=4.0, description="how many times the error of a walker counts, who are few and slow [1]", gt=0.0)
    threads: int = Field(default=1, description="threads of torch [1]", ge=1)
    init: str = Field(default="", description="file of a trained model to begin from (fine-tuning); its tokens and size are kept")


@dataclass
class State:
    """A training under way."""

    network: Denoiser
    average: dict[str, Tensor]
    optimizer: torch.optim.Optimizer
    step: int = 0
    spent: float = 0.0  # seconds of training so far, over all sittings


def windows(scenarios: Iterable[Scenario[World]], spec: TokenSpec) -> list[Tokens]:
    """The tokens of every scenario at its present; those where the ego is not there are left out."""
    found = (encode(s.world, s.clock.now, spec) for s in scenarios if s.world.ego.valid[s.clock.now])
    return [replace(tokens, rails=tokens.rails[:, :, :0]) for tokens in found]  # guidance is for sampling only


def fit(
    scenes: Sequence[Tokens], spec: TokenSpec, size: NetworkConfig, config: TrainingConfig, seed: int,
    resume: Path | None = None, progress: Progress | None = None, init: Model | None = None,
) -> tuple[Model, dict[str, Any]]:  # fmt: skip
    """A model trained on these scenes and what is to be known of its training. ``resume`` names a file in which the training is
    kept while it lasts; where it exists, it goes on from there. ``init`` is a model of this spec and size to begin from."""
    if not scenes:
        raise DataError("no scene to train on", way_out="name a split that has windows")
    before = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    try:
        state = _begin(scenes, spec, size, config, seed, resume, init)
        last = _train(state, scenes, spec, config, seed, resume, progress, init.digest if init else "")
    finally:
        torch.set_num_threads(before)
    network = Denoiser(size, spec)
    network.load_state_dict(state.average)
    about = {"seed": seed, "steps": state.step, "scenes": len(scenes), "seconds": round(state.spent, 1), "loss": round(last, 5)}
    about |= {"init": init.digest} if init else {}
    return Model(network.eval().requires_grad_(False), spec, size, about=about), about


def _begin(
    scenes: Sequence[Tokens], spec: TokenSpec, size: NetworkConfig, config: TrainingConfig, seed: int, resume: Path | None,
    init: Model | None,
) -> State:  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Denoiser(size, spec)
    if init is None:
        network.scale.copy_(torch.from_numpy(spread(scenes, spec)))
    else:  # its units are part of what it learned
        network.load_state_dict(init.network.state_dict())
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.rate, weight_decay=config.decay, betas=(0.9, 0.98))
    state = State(network, {name: t.clone() for name, t in network.state_dict().items()}, optimizer)
    if resume is not None and resume.exists():
        _restore(state, resume, seed, init.digest if init else "")
    return state


def _train(
    state: State, scenes: Sequence[Tokens], spec: TokenSpec, config: TrainingConfig, seed: int,
    resume: Path | None, progress: Progress | None, init: str,
) -> float:  # fmt: skip
    odds = oftener(scenes, spec, config.lively)
    began, saved, shown = time.monotonic() - state.spent, time.monotonic(), 0.0
    losses: list[float] = []
    while state.step < config.steps:
        done = max(state.step / config.steps, state.spent / (60.0 * config.minutes))
        if done >= 1.0:
            break
        generator = torch.Generator().manual_seed(seed * 1_000_003 + state.step)
        chosen = _chosen(scenes, odds, config.batch, seed, state.step)
        for group in state.optimizer.param_groups:
            group["lr"] = config.rate * _rate(done, config.warmup)
        state.optimizer.zero_grad(set_to_none=True)
        value = loss(state.network, collate(chosen), spec, config.pace, generator, config.walkers)
        value.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(state.network.parameters(), 1.0)
        state.optimizer.step()
        state.step, state.spent = state.step + 1, time.monotonic() - began
        _follow(state, config.average)
        losses = [*losses[-199:], float(value.detach())]
        if progress is not None and time.monotonic() - shown > 1.0:
            shown = time.monotonic()
            progress(state.step, config.steps, f"loss {np.mean(losses):.4f}")
        if resume is not None and time.monotonic() - saved > config.save_every:
            saved = time.monotonic()
            _keep(state, resume, seed, init)
    if resume is not None:
        _keep(state, resume, seed, init)
    return float(np.mean(losses)) if losses else float("nan")


def loss(
    network: Denoiser, scene: Mapping[str, Tensor], spec: TokenSpec, pace: float, generator: torch.Generator, walkers: float = 1.0
) -> Tensor:
    """Weighted squared error of x0 over the tokens that are not given, and of the motion from token to token; a walker's counts
    ``walkers`` times."""
    start = going_on(scene["velocity"], spec)
    scale = network.scale[scene["kind"]]  # [B, A, K, CHANNELS]
    clean = torch.where(scene["known"][..., None], units(scene["state"], scale, start), 0.0)
    sigma = draw(scene["known"].shape, spec.now, scene["present"], generator)
    noise = torch.randn(clean.shape, generator=generator)
    found = network(clean + sigma[..., None] * noise, sigma, network.context(scene))
    wanted = scene["known"] & (sigma > 0)
    counts = torch.where(scene["kind"] == AgentClass.PEDESTRIAN, walkers, 1.0)[..., None].expand_as(sigma)
    error = (found - clean).where(scene["known"][..., None], 0.0)
    first = _mean(weight(sigma) * error.square().mean(-1), counts, wanted)
    metres = (error * scale)[..., :2]
    both = wanted[..., 1:] | wanted[..., :-1]
    both = both & scene["known"][..., 1:] & scene["known"][..., :-1]
    jump = (metres[..., 1:, :] - metres[..., :-1, :]).square().sum(-1) / spec.period**2  # (m/s)^2
    soft = torch.sqrt(jump + 1.0) - 1.0  # far from the truth a metre more matters less
    return first + pace * _mean(soft / (0.2 + sigma[..., 1:]).clamp(max=2.0), counts[..., 1:], both)


def _mean(value: Tensor, counts: Tensor, where: Tensor) -> Tensor:
    """The mean where it is asked for, each counting so much."""
    return (value * counts)[where].sum() / counts[where].sum()


def oftener(scenes: Sequence[Tokens], spec: TokenSpec, lively: float) -> Double:
    """How often [n] each scene is to be drawn, sum 1: more where walkers turn, stop or set off, who are few."""
    counts = []
    for scene in scenes:
        on = going_on(torch.from_numpy(scene.velocity), spec).numpy()
        aside = np.hypot(*np.moveaxis((scene.state - on)[..., :2], -1, 0))  # [A, K] metres from where they would be unchanged
        changes = np.where(scene.valid, aside, 0.0).max(1) > ASIDE
        counts.append(int(((scene.kind == AgentClass.PEDESTRIAN) & changes).sum()))
    odds = 1.0 + lively * np.array(counts, np.float64)
    return np.asarray(odds / odds.sum())


def _chosen(scenes: Sequence[Tokens], odds: Double, batch: int, seed: int, step: int) -> list[Tokens]:
    """Scenes of about equal size: neighbours by size among ``POOL`` drawn for this step."""
    rng = np.random.default_rng((seed, step))
    pool = sorted(rng.choice(len(scenes), POOL, p=odds).tolist(), key=lambda i: len(scenes[i]))
    first = int(rng.integers(max(1, len(pool) - batch + 1)))
    return [scenes[i] for i in pool[first : first + batch]]


def _rate(done: float, warmup: float) -> float:
    """The learning rate's share of its highest: up linearly, down along a cosine."""
    if done < warmup:
        return (done + 1e-3) / (warmup + 1e-3)
    return 0.5 * (1.0 + float(np.cos(np.pi * min(1.0, (done - warmup) / (1.0 - warmup))))) + 1e-3


@torch.no_grad()
def _follow(state: State, average: float) -> None:
    keep = min(average, (1.0 + state.step) / (10.0 + state.step))
    for name, tensor in state.network.state_dict().items():
        state.average[name].lerp_(tensor, 1.0 - keep)


def _keep(state: State, path: Path, seed: int, init: str) -> None:
    """Write all that the training needs to go on."""
    arrays = {f"network.{name}": t.numpy() for name, t in state.network.state_dict().items()}
    arrays |= {f"average.{name}": t.numpy() for name, t in state.average.items()}
    for i, moments in state.optimizer.state_dict()["state"].items():
        arrays |= {f"optimizer.{i}.{name}": t.numpy() for name, t in moments.items()}
    write_state(path, arrays, {"schema": SCHEMA, "seed": seed, "init": init, "step": state.step, "spent": state.spent})


def _restore(state: State, path: Path, seed: int, init: str) -> None:
    arrays, about = read_state(path)
    found, due = (about.get("schema"), about.get("seed"), about.get("init", "")), (SCHEMA, seed, init)
    if found != due:
        words = ["{}, seed {}, from {}".format(schema, drawn, first[:12] or "nothing") for schema, drawn, first in (found, due)]
        raise StoreError(
            "a training of another schema, seed or beginning", file=path, found=words[0], known=words[1],
            way_out="delete the file to begin anew, or give those",
        )  # fmt: skip
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    part = lambda head: {name[len(head) :]: t for name, t in tensors.items() if name.startswith(head)}  # noqa: E731
    try:
        state.network.load_state_dict(part("network."))
    except RuntimeError as error:
        raise StoreError("a training of another size", file=path, way_out="delete the file to begin anew") from error
    state.average.update(part("average."))
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in part("optimizer.").items():
        number, _, key = name.partition(".")
        moments.setdefault(int(number), {})[key] = tensor
    state.optimizer.load_state_dict({**state.optimizer.state_dict(), "state": moments})
    state.step, state.spent = int(about["step"]), float(about["spent"])


__all__ = ["TrainingConfig", "fit", "loss", "oftener", "windows"]
