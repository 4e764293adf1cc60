"""Manners: everybody goes on as briskly, or as slowly, as a given share of what the model holds possible for it.

A number of futures is drawn first; each road user is then given the place that it reaches, half-way and at the end, in that one of
them which has it go as far as ``quantile`` of them do. What it does in between, and how they all get by one another, is generated
with these tokens given: so manners never ask for what the model does not do by itself, and speeds, accelerations and time gaps
change together.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pydantic import Field
from wetoolkit_driving.types import Float

from wetoolkit.config import Config
from wetoolkit_diffusion.checkpoint import Model
from wetoolkit_diffusion.controls import Hold
from wetoolkit_diffusion.generate import Request, generate
from wetoolkit_diffusion.noise import SamplerConfig
from wetoolkit_diffusion.tokens import Tokens


class MannersConfig(Config):
    """How briskly the others go."""

    quantile: float = Field(default=0.9, description="share of its futures in which one gets no farther [1]", ge=0.0, le=1.0)
    samples: int = Field(default=12, description="futures that are drawn to choose from [1]", ge=2, le=64)


def with_manners(
    hold: Hold, model: Model, tokens: Tokens, config: MannersConfig, sampler: SamplerConfig, rng: np.random.Generator
) -> Hold:
    """The hold with two tokens more of everybody of whose future nothing is given."""
    spec = model.spec
    seeds = tuple(int(seed) for seed in rng.integers(2**31, size=config.samples))
    (states,) = generate(model, [Request(tokens, hold.given, hold.held, seeds)], sampler)  # [n, A, K, CHANNELS]
    free = ~hold.given[:, spec.now + 1 :].any(1)
    free[0] = False
    chosen = _at_quantile(travelled(states, spec.now), config.quantile)  # [A]
    given, held = hold.given.copy(), hold.held.copy()
    for token in (spec.now + spec.future // 2, spec.count - 1):
        for row in np.flatnonzero(free):
            given[row, token], held[row, token] = True, states[chosen[row], row, token]
    word = f"manners of {config.quantile:g} for {int(free.sum())}"
    by = {**hold.by, **{(int(row), spec.count - 1): word for row in np.flatnonzero(free)}}
    return replace(hold, given=given, held=held, words=(*hold.words, word), by=by)


def travelled(states: Float, now: int) -> Float:
    """[n, A] metres that everybody goes after the present."""
    steps = np.diff(states[:, :, now:, :2], axis=2)
    return np.asarray(np.hypot(steps[..., 0], steps[..., 1]).sum(-1))


def _at_quantile(far: Float, quantile: float) -> np.ndarray:
    """[A] which of the n samples [n, A] has as many below it as asked."""
    order = np.argsort(far, axis=0, kind="stable")
    return np.asarray(order[round(quantile * (len(far) - 1))])


__all__ = ["MannersConfig", "travelled", "with_manners"]
