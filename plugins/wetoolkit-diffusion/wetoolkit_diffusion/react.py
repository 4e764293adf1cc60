"""The others in closed loop: at each decision of the ego's policy the model plans again from what happened until then.

It goes on from what it had in mind (the plan that is left of the last time, at first its variant): that plan is noised to the level
``warm`` and denoised in a few steps, so that people do not change their minds twice a second. Nothing is kept here: the simulator
brings the plan along (``wetoolkit_driving.traffic.reaction.Standing``). Whoever was given an intent is held to it (``World.aims``)
until its time has come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydantic import Field
from wetoolkit_driving.geometry import compose, wrap_angle
from wetoolkit_driving.traffic.reaction import Standing
from wetoolkit_driving.types import Aim, Double, Float, World

from wetoolkit.config import Config
from wetoolkit.types import Clock, Reaction
from wetoolkit_diffusion.checkpoint import Model
from wetoolkit_diffusion.controls import Hold, begin
from wetoolkit_diffusion.generate import Request, generate, motions
from wetoolkit_diffusion.guidance import GuidanceConfig
from wetoolkit_diffusion.noise import SamplerConfig
from wetoolkit_diffusion.spec import TokenSpec
from wetoolkit_diffusion.tokens import Tokens, encode, poses, states, stride


class ReplanConfig(Config):
    """How the model plans again in closed loop."""

    steps: int = Field(default=2, description="evaluations of the network, with a plan to go on from [1]", ge=1, le=200)
    cold: int = Field(default=4, description="and without one [1]", ge=1, le=200)
    warm: float = Field(
        default=1.0, description="noise level at which a plan is taken up again; 0: never, each plan is made anew [1]", ge=0.0
    )


@dataclass(frozen=True)
class _Case:
    """One world to react in, as the network sees it."""

    world: World
    now: int
    tokens: Tokens
    request: Request


def react(
    model: Model, worlds: Sequence[World], clocks: Sequence[Clock], seeds: Sequence[int], standing: Sequence[Standing],
    config: ReplanConfig, guidance: GuidanceConfig, shy: bool = True,
) -> list[Reaction]:  # fmt: skip
    """What everybody does in the 8 s after each clock's step; whoever is not modelled goes on as it moves. ``shy``: costs that
    guide keep the others clear of the ego (who attacks must not be)."""
    jobs = zip(worlds, clocks, seeds, standing, strict=True)
    cases = [_case(world, clock.now, seed, mind, model.spec, config) for world, clock, seed, mind in jobs]
    found: list[Reaction | None] = [None] * len(cases)
    for warm in (False, True):
        some = [i for i, case in enumerate(cases) if (case.request.start is not None) == warm]
        sampler = SamplerConfig(steps=config.steps if warm else config.cold)
        made = generate(model, [cases[i].request for i in some], sampler, guidance, shy, config.warm)
        for i, state in zip(some, made, strict=True):
            found[i] = _reaction(cases[i], state, model.spec)
    return [reaction for reaction in found if reaction is not None]


def _case(world: World, now: int, seed: int, standing: Standing, spec: TokenSpec, config: ReplanConfig) -> _Case:
    shown = world.signals[:, np.minimum(np.arange(world.steps), now)]  # nobody knows when a signal will change
    tokens = encode(replace(world, signals=shown), now, spec)
    hold = begin(tokens, world, spec, ego=False)
    given = hold.given.copy()
    given[:, spec.now + 1 :] = False  # nothing of what comes is known here
    hold = with_aims(Hold(given, hold.held), tokens, world, now, standing.aims, spec)
    start = going_on_with(standing.plan, tokens, world, spec) if standing.plan is not None and config.warm else None
    request = Request(tokens, hold.given, hold.held, (seed % 2**31,), start)
    return _Case(world, now, tokens, request)


def with_aims(hold: Hold, tokens: Tokens, world: World, now: int, aims: Sequence[Aim], spec: TokenSpec) -> Hold:
    """The hold with each aim's token given. Between two tokens, the nearer one: where its speed has it then."""
    names = {world.agents.ids[a]: row for row, a in enumerate(tokens.rows) if a >= 0}
    given, held = hold.given.copy(), hold.held.copy()
    for aim in aims:
        row, ahead = names.get(aim.agent), aim.at - now * world.dt
        token = round(ahead / spec.period)
        if row is None or not 1 <= token <= spec.future:
            continue
        late = token * spec.period - ahead
        unit = np.array([np.cos(aim.heading), np.sin(aim.heading), 0.0])
        pose = np.array([aim.x, aim.y, aim.heading]) + late * aim.speed * unit
        held[row, spec.now + token] = states(pose, np.float64(aim.speed), tokens.frame[row])
        given[row, spec.now + token] = True
    return replace(hold, given=given, held=held)


def going_on_with(plan: Reaction, tokens: Tokens, world: World, spec: TokenSpec) -> Float | None:
    """Token states [A, K, CHANNELS] of a plan in the world's rows, from its end on at the velocity it has there; who has none goes
    on as it moves. None where nobody has one."""
    every, rows = stride(world.dt, spec), tokens.rows[1:]
    valid = np.asarray(plan.valid, bool)[rows]
    count = np.logical_and.accumulate(valid, axis=1).sum(1)  # [A - 1] steps that are planned
    if not count.any():
        return None
    steps = every * np.arange(spec.future + 1)
    seconds = world.dt * steps[1:]
    start = np.zeros((len(tokens), spec.count, 5))
    start[:, : spec.now + 1] = np.where(tokens.valid[:, : spec.now + 1, None], tokens.state[:, : spec.now + 1], 0.0)
    start[:, spec.now + 1 :, :2] = tokens.velocity[:, None] * seconds[:, None]
    start[:, spec.now + 1 :, 2] = 1.0
    start[:, spec.now + 1 :, 4] = np.hypot(*tokens.velocity.T)[:, None]
    for row in np.flatnonzero(count > 1) + 1:
        own = np.concatenate([tokens.frame[row, None], np.asarray(plan.states[tokens.rows[row], : count[row - 1]], np.float64)])
        start[row, spec.now + 1 :] = _sampled(own, steps[1:], world.dt, tokens.frame[row])
    return start.astype(np.float32)


def _sampled(track: Double, steps: Double, dt: float, frame: Double) -> Double:
    """Token states [F, CHANNELS] of a track [n + 1, 3] of poses (0 is now) at ``steps`` [F], straight on after its last."""
    last = len(track) - 1
    pace = (track[-1, :2] - track[-2, :2]) / dt
    at, beyond = np.minimum(steps, last), np.maximum(steps - last, 0) * dt
    pose = track[at].copy()
    pose[:, :2] += beyond[:, None] * pace
    pose[:, 2] = wrap_angle(pose[:, 2])
    move = track[at, :2] - track[at - 1, :2]
    return states(pose, np.hypot(move[:, 0], move[:, 1]) / dt, frame)


def _reaction(case: _Case, state: Float, spec: TokenSpec) -> Reaction:
    """One future [1, A, K, CHANNELS] as poses in the world."""
    world, tokens = case.world, case.tokens
    motion = motions(tokens, state, case.request.given, spec.now, stride(world.dt, spec))[0][0]
    agents, steps = world.agents, motion.shape[1]
    there = np.repeat(agents.valid[:, case.now, None], steps, 1)
    ahead = world.dt * np.arange(1, steps + 1)[:, None]
    found = np.repeat(agents.pose[:, case.now, None].astype(np.float64), steps, 1)
    found[..., :2] += ahead * agents.velocity[:, case.now, None]
    found[tokens.rows[1:]] = compose(tokens.frame[1:, None], motion[1:])
    return Reaction(found * there[..., None], there)


def aims_of(hold: Hold, begun: Hold, tokens: Tokens, world: World, now: int, spec: TokenSpec) -> tuple[Aim, ...]:
    """What ``hold`` gives of the future of other than the ego beyond what was given from the beginning: goals and intents."""
    pose, aims = poses(hold.held, tokens.frame), []
    for row, token in np.argwhere(hold.given & ~begun.given):
        if row > 0 and token > spec.now:
            at = float(now * world.dt + (token - spec.now) * spec.period)
            name = world.agents.ids[tokens.rows[row]]
            x, y, heading = (float(value) for value in pose[row, token])
            aims.append(Aim(name, at, x, y, heading, max(float(hold.held[row, token, 4]), 0.0)))
    return tuple(aims)


__all__ = ["ReplanConfig", "aims_of", "going_on_with", "react", "with_aims"]
