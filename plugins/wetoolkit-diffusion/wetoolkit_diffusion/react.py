"""The others in closed loop: at each decision of the ego's policy the model plans again from what happened until then."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from wetoolkit_driving.geometry import compose
from wetoolkit_driving.types import Bool, Double, World

from wetoolkit.types import Clock, Reaction
from wetoolkit_diffusion.checkpoint import Model
from wetoolkit_diffusion.controls import begin
from wetoolkit_diffusion.generate import Request, generate, motions
from wetoolkit_diffusion.guidance import GuidanceConfig
from wetoolkit_diffusion.noise import SamplerConfig
from wetoolkit_diffusion.spec import TokenSpec
from wetoolkit_diffusion.tokens import Tokens, encode, stride

REPLANNING = SamplerConfig(steps=4)


def react(
    model: Model, worlds: Sequence[World], clocks: Sequence[Clock], seeds: Sequence[int], guidance: GuidanceConfig
) -> list[Reaction]:
    """What everybody does in the 8 s after each clock's step; whoever is not modelled goes on as it moves."""
    tokens = [encode(world, clock.now, model.spec) for world, clock in zip(worlds, clocks, strict=True)]
    requests = []
    for scene, world, seed in zip(tokens, worlds, seeds, strict=True):
        hold = begin(scene, world, model.spec, ego=False)
        given = hold.given.copy()
        given[:, model.spec.now + 1 :] = False  # nothing of what comes is known here
        requests.append(Request(scene, given, hold.held, (seed % 2**31,)))
    found = generate(model, requests, REPLANNING, guidance)
    return [
        reaction(world, clock.now, scene, state, request.given, model.spec)
        for world, clock, scene, state, request in zip(worlds, clocks, tokens, found, requests, strict=True)
    ]


def reaction(world: World, now: int, tokens: Tokens, state: Double, given: Bool, spec: TokenSpec) -> Reaction:
    """One future [1, A, K, CHANNELS] as poses in the world."""
    motion = motions(tokens, state, given, spec.now, stride(world.dt, spec))[0][0]
    agents, steps = world.agents, motion.shape[1]
    there = np.repeat(agents.valid[:, now, None], steps, 1)
    ahead = world.dt * np.arange(1, steps + 1)[:, None]
    states = np.repeat(agents.pose[:, now, None].astype(np.float64), steps, 1)
    states[..., :2] += ahead * agents.velocity[:, now, None]
    states[tokens.rows[1:]] = compose(tokens.frame[1:, None], motion[1:])
    return Reaction(states * there[..., None], there)


__all__ = ["react"]
