"""Fit a scene to a clip: L1, SSIM and the terms of ``wetoolkit_splat.terms``, MCMC with a budget; it can be resumed.

Every step draws its own generator from the seed and its number, so a run that was killed and resumed equals one that was not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from wetoolkit.config import Config
from wetoolkit.errors import StoreError, WetoolkitError
from wetoolkit.kinds import Progress
from wetoolkit.store import key_of, read_state, write_state
from wetoolkit_splat import mcmc
from wetoolkit_splat.clip import Clip, Frame
from wetoolkit_splat.learned import ROWS, Adam, Learned, adam, begin, rows_of
from wetoolkit_splat.losses import psnr, ssim
from wetoolkit_splat.off_path import off_path
from wetoolkit_splat.render import Backend, Settings
from wetoolkit_splat.terms import TERMS, Look

PATIENCE_FOR_NAN = 10  # steps without a finite gradient in a row


class FitConfig(Config):
    """How a scene is fitted."""

    steps: int = Field(default=2000, description="pictures that are looked at, one a step [1]", ge=1)
    budget: int = Field(default=60_000, description="most gaussians [1]", ge=1)
    degree: int = Field(default=1, description="of the spherical harmonics [1]", ge=0, le=3)
    harmonics: int = Field(default=2, description="of the sway of bodies that have limbs [1]", ge=0, le=8)
    ssim: float = Field(default=0.2, description="share of 1 - SSIM in the loss; the rest is L1 [1]", ge=0, le=1)
    depth: float = Field(default=0.3, description="weight of the relative error of inverse depth, where a lidar saw it [1]", ge=0)
    sky: float = Field(default=0.05, description="weight of alpha where there may be sky [1]", ge=0)
    normal: float = Field(default=0.0, description="weight of shortest axes against the normals of the rendered depth [1]", ge=0)
    off_path: float = Field(
        default=0.0, description="weight of depths and colours seen from beside the pictures, where a lidar saw something [1]", ge=0
    )
    flat: float = Field(default=1.0, description="weight of the mean shortest scale [1 / m]", ge=0)
    opacity: float = Field(default=0.003, description="weight of the mean opacity: what is not needed fades [1]", ge=0)
    scale: float = Field(default=0.003, description="weight of the mean scale [1 / m]", ge=0)
    exposure: float = Field(default=0.1, description="weight of the squared distance of the mean exposure from none [1]", ge=0)
    means_rate: float = Field(default=4e-3, description="learning rate of means at first; falls to a hundredth [m]", gt=0)
    sh_rate: float = Field(default=2.5e-3, description="of harmonics [1]", gt=0)
    opacity_rate: float = Field(default=0.05, description="of opacities' logits [1]", gt=0)
    scale_rate: float = Field(default=7e-3, description="of log scales [1]", gt=0)
    turn_rate: float = Field(default=1e-3, description="of quaternions [1]", gt=0)
    track_rate: float = Field(default=2e-4, description="of tracks' twists; 0: tracks are believed [m, rad]", ge=0)
    exposure_rate: float = Field(default=1e-3, description="of exposures and sky [1]", ge=0)
    noise: float = Field(default=2e4, description="of means, times their learning rate, times the covariance [1 / m^2]", ge=0)
    densify_every: int = Field(default=100, description="steps between two moves of faint gaussians [1]", ge=1)
    growth: float = Field(default=0.08, description="share of gaussians added then, up to the budget [1]", ge=0, le=1)
    settle: float = Field(default=0.25, description="share of the steps at the end without moves and noise [1]", ge=0, le=1)
    look_every: int = Field(default=500, description="steps between two looks at held-out pictures [1]", ge=1)
    patience: int = Field(default=0, description="looks without a better PSNR before it stops; 0: never [1]", ge=0)
    held_out: int = Field(default=8, description="every so-many-th time is held out; 0: none [1]", ge=0)
    checkpoint_every: int = Field(
        default=250, description="steps between two checkpoints, where there is a file for them [1]", ge=1
    )
    backend: Backend = Field(default="auto", description="what renders: auto, cpu, cuda, twin")
    threads: int = Field(default=1, description="of the cpu backend [1]", ge=1)


@dataclass(frozen=True)
class Fitted:
    """What came out."""

    learned: Learned
    steps: int
    looks: tuple[Mapping[str, float], ...]  # each: step, psnr [dB], ssim [1], gaussians [1]
    skipped: int  # steps whose gradients were not finite


@dataclass(frozen=True)
class _State:
    learned: Learned
    optimiser: Adam
    step: int = 0
    looks: tuple[Mapping[str, float], ...] = ()
    skipped: int = 0


def measure(learned: Learned, frames: Sequence[Frame], settings: Settings) -> dict[str, float]:
    """Means over pictures: PSNR [dB], SSIM [1] and, where depth is known, the median relative depth error [1]."""
    with torch.no_grad():
        seen = [learned.render(frame, settings) for frame in frames]
    images = [view.colour[0].clamp(0, 1) for view in seen]
    found = {
        "psnr": float(np.mean([psnr(image, frame.image) for image, frame in zip(images, frames, strict=True)])),
        "ssim": float(np.mean([float(ssim(image, frame.image)) for image, frame in zip(images, frames, strict=True)])),
    }
    errors = [
        ((view.expected_depth()[0] - frame.depth).abs() / frame.depth)[frame.depth > 0]
        for view, frame in zip(seen, frames, strict=True)
        if frame.depth is not None and bool((frame.depth > 0).any())
    ]
    return found | ({"depth error": float(torch.cat(errors).median())} if errors else {})


def fit(clip: Clip, config: FitConfig, seed: int, progress: Progress | None = None, checkpoint: Path | None = None) -> Fitted:
    """The scene of a clip. With a ``checkpoint`` file it goes on where a run of the same clip, config and seed was killed."""
    clip.validate()
    settings = Settings(config.backend, config.threads)
    train, held = clip.split(config.held_out)
    stamp = key_of(config.model_dump(exclude={"threads", "checkpoint_every"}), seed, len(clip.frames), list(clip.bodies))
    state = _resumed(checkpoint, stamp, clip, config) or _start(clip, config)
    broken = 0
    while state.step < config.steps and not _settled(state.looks, config.patience):
        before = state.skipped
        state = _step(state, train, config, seed, settings)
        broken = broken + 1 if state.skipped > before else 0
        if broken >= PATIENCE_FOR_NAN:
            raise WetoolkitError(
                f"{broken} steps in a row had no finite gradient", step=state.step, way_out="lower the learning rates"
            )
        if held and (state.step % config.look_every == 0 or state.step == config.steps):
            count = float(len(state.learned.groups))
            state = replace(
                state,
                looks=(*state.looks, {"step": float(state.step), "gaussians": count, **measure(state.learned, held, settings)}),
            )
        if progress and (state.step % 10 == 0 or state.step == config.steps):
            said = f"{len(state.learned.groups)} gaussians" + (
                f", held out {state.looks[-1]['psnr']:.1f} dB" if state.looks else ""
            )
            progress(state.step, config.steps, said)
        if checkpoint and (state.step % config.checkpoint_every == 0 or state.step == config.steps):
            _save(checkpoint, stamp, state)
    return Fitted(state.learned, state.step, state.looks, state.skipped)


def _generator(*numbers: int) -> torch.Generator:
    return torch.Generator().manual_seed(int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1))


def _start(clip: Clip, config: FitConfig) -> _State:
    learned = begin(clip, config.degree, config.harmonics)
    if len(learned.groups) > config.budget:
        raise WetoolkitError(
            f"{len(learned.groups)} points for {config.budget} gaussians", way_out="raise `budget` or give fewer points"
        )
    return _State(learned, adam(learned.values))


def _settled(looks: Sequence[Mapping[str, float]], patience: int) -> bool:
    """Whether the best look is so many looks ago."""
    if patience == 0 or len(looks) <= patience:
        return False
    best = int(np.argmax([look["psnr"] for look in looks]))
    return len(looks) - 1 - best >= patience


def _rates(config: FitConfig, step: int, values: Mapping[str, Tensor]) -> dict[str, float]:
    fall = 0.01 ** (step / config.steps)
    rates = {name: config.track_rate * fall for name in values if name.startswith("twists.")}
    rates |= {"means": config.means_rate * fall, "sh": config.sh_rate, "opacity_logits": config.opacity_rate}
    rates |= {"log_scales": config.scale_rate, "quaternions": config.turn_rate, "sway": config.means_rate * fall}
    return rates | {"sky": 5 * config.exposure_rate, "exposures": config.exposure_rate * fall}


def loss_of(learned: Learned, frame: Frame, config: FitConfig, settings: Settings, generator: torch.Generator) -> Tensor:
    """What is made small."""
    seen = learned.render(frame, settings)
    image = seen.colour[0]
    loss = (1 - config.ssim) * (image - frame.image).abs().mean()
    if config.ssim > 0:
        loss = loss + config.ssim * (1 - ssim(image, frame.image))
    look = Look(learned, frame, seen, settings, generator)
    terms = TERMS | {"off_path": off_path}
    weights = {name: float(getattr(config, name)) for name in terms}
    return loss + sum(weight * terms[name](look) for name, weight in weights.items() if weight > 0)


def _step(state: _State, frames: Sequence[Frame], config: FitConfig, seed: int, settings: Settings) -> _State:
    step, generator = state.step + 1, _generator(seed, state.step, 0)
    # Every picture once in each pass, in an order of the pass's own.
    order = torch.randperm(
        len(frames), generator=torch.Generator().manual_seed(hash((seed, -1, state.step // len(frames))) % 2**62)
    )
    frame, learned = frames[int(order[state.step % len(frames)])], state.learned
    leaves = {name: value.detach().requires_grad_() for name, value in learned.values.items() if value.numel()}
    loss = loss_of(replace(learned, values={**learned.values, **leaves}), frame, config, settings, generator)
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}
    if not all(bool(torch.isfinite(gradient.sum())) for gradient in gradients.values()):
        return replace(state, step=step, skipped=state.skipped + 1)
    rates = _rates(config, state.step, learned.values)
    with torch.no_grad():
        state.optimiser.step(learned.values, gradients, rates, step)
        if step <= (1 - config.settle) * config.steps:
            learned.values["means"] += mcmc.noise(learned.values, config.noise * rates["means"], generator)
            if step % config.densify_every == 0:
                learned = _densified(learned, state.optimiser, config, generator)
    return replace(state, learned=learned, step=step)


def _densified(learned: Learned, optimiser: Adam, config: FitConfig, generator: torch.Generator) -> Learned:
    """Faint gaussians become copies of opaque ones, then as many more are added as growth and budget allow."""
    values = learned.values
    opacities = values["opacity_logits"].sigmoid()
    dead = torch.nonzero(opacities <= mcmc.DEAD)[:, 0]
    groups = learned.groups.clone()
    if 0 < len(dead) < len(opacities):
        rows = mcmc.drawn(torch.where(opacities > mcmc.DEAD, opacities, 0.0), len(dead), generator)
        for name, new in mcmc.divided(rows_of(values), rows).items():
            values[name][rows], values[name][dead] = new, new
        groups[dead] = groups[rows]
        optimiser.forget(torch.cat([rows, dead]))
    room = min(int(config.growth * len(groups)), config.budget - len(groups))
    if room <= 0:
        return replace(learned, groups=groups)
    rows = mcmc.drawn(values["opacity_logits"].sigmoid(), room, generator)
    copies = mcmc.divided(rows_of(values), rows)
    for name in ROWS:
        values[name][rows] = copies[name]
        values[name] = torch.cat([values[name], copies[name]])
    optimiser.forget(rows)
    optimiser.grow(room)
    return replace(learned, groups=torch.cat([groups, groups[rows]]))


def _save(path: Path, stamp: str, state: _State) -> None:
    arrays = {f"value.{name}": value for name, value in state.learned.values.items()}
    arrays |= {f"first.{name}": value for name, value in state.optimiser.first.items()}
    arrays |= {f"second.{name}": value for name, value in state.optimiser.second.items()}
    about: dict[str, Any] = {
        "stamp": stamp,
        "step": state.step,
        "looks": [dict(look) for look in state.looks],
        "skipped": state.skipped,
    }
    write_state(path, {name: value.detach().numpy() for name, value in (arrays | {"groups": state.learned.groups}).items()}, about)


def _resumed(path: Path | None, stamp: str, clip: Clip, config: FitConfig) -> _State | None:
    if path is None or not path.exists():
        return None
    arrays, about = read_state(path)
    if about.get("stamp") != stamp:
        raise StoreError("belongs to another clip, config or seed", file=path, way_out="remove it or give another file")
    learned = begin(clip, config.degree, config.harmonics)
    parts = {
        kind: {n[len(kind) + 1 :]: torch.from_numpy(a.copy()) for n, a in arrays.items() if n.startswith(f"{kind}.")}
        for kind in ("value", "first", "second")
    }
    learned = replace(learned, values=parts["value"], groups=torch.from_numpy(arrays["groups"].copy()))
    return _State(learned, Adam(parts["first"], parts["second"]), about["step"], tuple(about["looks"]), about["skipped"])
