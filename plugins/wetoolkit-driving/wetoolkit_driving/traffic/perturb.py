"""The behaviour ``perturb``: rules that bend what one or two of the others do next: sooner or later, faster or slower, farther
aside, or a cut-in. A baseline for learned behaviours: it knows nothing but the log, and everything it makes stays near it.

What an agent did up to now is never changed, and nothing jumps: every bend begins at now with no change and no change of slope.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from wetoolkit.config import Config
from wetoolkit.types import Scene
from wetoolkit_driving.geometry import ego_center, relative, wrap_angle
from wetoolkit_driving.traffic.behaviours import generator, movers
from wetoolkit_driving.types import Action, AgentClass, Agents, Bool, Control, Double, Script, World

Rule = Literal["time", "speed", "aside", "cut-in"]
EASE = 1.5  # seconds in which a bend comes about, longer where it would take more than ...
HARDEST = 3.0  # ... m/s^2
STEEP, STEEPEST = 1.875, 10.0 / np.sqrt(3.0)  # greatest slope and curvature of ``ease``
SLOW, FAST = 0.3, 2.0  # bounds of the speed factor
NEAR_AHEAD = (0.0, 40.0)  # metres ahead of the ego's centre: who may cut in
NEAR_ASIDE = (2.0, 6.0)  # metres to its side


class PerturbConfig(Config):
    """Settings of ``perturb``. Sizes are standard deviations; each variant bends by one rule, drawn from ``rules``."""

    rules: tuple[Rule, ...] = Field(default=("time", "speed", "aside", "cut-in"), description="what may be done", min_length=1)
    agents: int = Field(
        default=2, description="at most so many are bent in a variant, the nearest to the ego are likeliest [1]", ge=1
    )
    shift: float = Field(default=1.0, description="how much sooner or later somebody comes [s]", gt=0.0, le=5.0)
    speed: float = Field(default=0.25, description="spread of the logarithm of the speed factor [1]", gt=0.0, le=1.0)
    aside: float = Field(default=0.7, description="how far aside somebody goes [m]", gt=0.0, le=3.0)
    seconds: float = Field(default=2.0, description="how long a cut-in takes [s]", ge=0.5, le=6.0)
    near: float = Field(
        default=20.0, description="distance at which being chosen is exp(-1) as likely as beside the ego [m]", gt=0.0
    )


class Perturb:
    """Bends the log by rules."""

    def __init__(self, config: PerturbConfig) -> None:
        self.config = config

    def vary(self, scene: Scene[World], count: int, seed: int) -> Sequence[Scene[World]]:
        """``count`` scenes, each bent by one rule; none where nobody else moves. Every agent is kept and repeats its bent log."""
        if not movers(scene.world.agents, scene.clock.now).any():
            return []
        return [self._one(scene, seed, index) for index in range(count)]

    def _one(self, scene: Scene[World], seed: int, index: int) -> Scene[World]:
        rng, world, now = generator(scene, seed, index), scene.world, scene.clock.now
        agents = replace(world.agents, control=np.full(len(world.agents), Control.REPLAY, np.uint8), manners=None)
        rules = [rule for rule in self.config.rules if rule != "cut-in" or len(_could_cut_in(world, now))]
        rule = rules[rng.integers(len(rules))] if rules else "none possible"
        rows = self._chosen(world, now, rng)
        words: list[str] = []
        scripts = world.scripts
        if rule == "cut-in":
            agents, scripts, words = self._cut_in(replace(world, agents=agents), now, rng)
        for a in rows if rule in ("time", "speed", "aside") else ():
            size = float(rng.normal())
            agents, word = self._bend(agents, int(a), now, world.dt, rule, size)
            words.append(word)
        varied = replace(world, agents=agents, scripts=scripts)
        name = f"{scene.id}~perturb.{seed}.{index}"
        return replace(scene, id=name, world=varied, variant=f"{rule}: {', '.join(words) or 'nothing'}")

    def _chosen(self, world: World, now: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Rows of those who are bent: movers who are there now, drawn by their distance; where none is there, who comes."""
        rows = np.flatnonzero(movers(world.agents, now) & world.agents.valid[:, now])
        if not len(rows):
            return np.flatnonzero(movers(world.agents, now))[:1]
        centre = ego_center(world.ego.states[now], world.ego.vehicle)
        away = np.hypot(*(world.agents.pose[rows, now, :2] - centre[:2]).T.astype(np.float64))
        chance = np.exp(-away / self.config.near) + 1e-9
        return rng.choice(rows, min(self.config.agents, len(rows)), replace=False, p=chance / chance.sum())

    def _bend(self, agents: Agents, a: int, now: int, dt: float, rule: str, size: float) -> tuple[Agents, str]:
        c, ahead = self.config, dt * np.arange(agents.valid.shape[1] - now)  # [n] seconds from now
        if rule == "aside":
            return aside(agents, a, now, dt, c.aside * size), f"{agents.ids[a]} {c.aside * size:+.2f} m"
        pace = float(np.hypot(*agents.velocity[a, now:].T.astype(np.float64)).max())  # m/s
        if rule == "time":
            late = c.shift * size
            seconds = max(EASE, 2.5 * abs(late), float(np.sqrt(STEEPEST * pace * abs(late) / HARDEST)))
            return retimed(agents, a, now, dt, ahead - late * ease(ahead / seconds)), f"{agents.ids[a]} {late:+.2f} s"
        factor = float(np.clip(np.exp(c.speed * size), SLOW, FAST))
        seconds = max(EASE, STEEP * pace * abs(factor - 1.0) / HARDEST)
        part = np.clip(ahead / seconds, 0.0, 1.0)
        # The integral of 1 + (factor - 1) ease: speed goes over smoothly.
        gained = seconds * (2.5 * part**4 - 3.0 * part**5 + part**6) + np.maximum(ahead - seconds, 0.0)
        return retimed(agents, a, now, dt, ahead + (factor - 1.0) * gained), f"{agents.ids[a]} x {factor:.2f}"

    def _cut_in(self, world: World, now: int, rng: np.random.Generator) -> tuple[Agents, tuple[Script, ...], list[str]]:
        """A vehicle beside the ego goes over to its line."""
        a = int(rng.choice(_could_cut_in(world, now)))
        centre = ego_center(world.ego.states[now], world.ego.vehicle)
        own = relative(world.agents.pose[a, now].astype(np.float64), centre)  # the ego as seen by the other: its left is positive
        at = (now + int(rng.integers(0, max(1, round(1.0 / world.dt))))) * world.dt
        name = world.agents.ids[a]
        script = Script(name, Action.CUT_IN, at=at, value=float(own[1]), seconds=self.config.seconds)
        kept = tuple(old for old in world.scripts if old.agent != name)
        return world.agents, (*kept, script), [f"{name} {own[1]:+.1f} m at {at:.1f} s"]


def _could_cut_in(world: World, now: int) -> NDArray[np.int64]:
    """Rows of vehicles that drive beside and ahead of the ego, its way."""
    agents, centre = world.agents, ego_center(world.ego.states[now], world.ego.vehicle)
    seen = relative(centre[None], agents.pose[:, now].astype(np.float64))  # [A, 3]
    ahead = (seen[:, 0] > NEAR_AHEAD[0]) & (seen[:, 0] < NEAR_AHEAD[1])
    beside = (np.abs(seen[:, 1]) > NEAR_ASIDE[0]) & (np.abs(seen[:, 1]) < NEAR_ASIDE[1]) & (np.abs(seen[:, 2]) < np.pi / 6)
    drives = (agents.kind == AgentClass.VEHICLE) & agents.valid[:, now] & movers(agents, now)
    return np.flatnonzero(drives & ahead & beside)


def ease(part: Double) -> Double:
    """0 to 1 over [0, 1] with no slope and no curvature at either end: 10 q^3 - 15 q^4 + 6 q^5."""
    q = np.clip(part, 0.0, 1.0)
    return np.asarray(q**3 * (10.0 - 15.0 * q + 6.0 * q * q))


def retimed(agents: Agents, a: int, now: int, dt: float, seconds: Double) -> Agents:
    """Agent ``a`` at step now + i where its log has it ``seconds[i]`` [n] after now (rising); nowhere beyond its record."""
    valid = agents.valid[a]
    known = np.flatnonzero(valid)
    at = now + np.maximum.accumulate(np.maximum(seconds, 0.0)) / dt  # [n] steps, fractions too
    low = np.clip(np.floor(at + 1e-9).astype(int), 0, len(valid) - 1)
    high = np.minimum(low + 1, len(valid) - 1)
    there: Bool = (at <= len(valid) - 1 + 1e-9) & valid[low] & (valid[high] | (at - low < 1e-6))
    heading = np.unwrap(agents.pose[a, known, 2].astype(np.float64))
    tracks = (agents.pose[a, known, 0], agents.pose[a, known, 1], heading)
    pose = np.column_stack([np.interp(at, known, track) for track in tracks])
    pose[:, 2] = wrap_angle(pose[:, 2])
    pace = np.gradient(at) if len(at) > 1 else np.ones(1)  # log steps a step
    velocity = np.column_stack([np.interp(at, known, agents.velocity[a, known, i]) for i in range(2)]) * pace[:, None]
    return _with_row(agents, a, now + 1, pose[1:], velocity[1:], there[1:])


def aside(agents: Agents, a: int, now: int, dt: float, metres: float) -> Agents:
    """Agent ``a`` so many metres to the left of its log (negative: right) after ``EASE`` seconds or, if that is quicker than 1 m/s
    aside, as long as it takes."""
    ahead = dt * np.arange(agents.valid.shape[1] - now)
    seconds = max(EASE, STEEP * abs(metres))
    shift = metres * ease(ahead / seconds)
    rate = np.gradient(shift, dt) if len(shift) > 1 else np.zeros(1)
    pose, velocity = agents.pose[a, now:].astype(np.float64), agents.velocity[a, now:].astype(np.float64)
    left = np.column_stack([-np.sin(pose[:, 2]), np.cos(pose[:, 2])])
    speed = np.hypot(*velocity.T)
    turned = wrap_angle(pose[:, 2] + np.where(speed > 1.0, np.arctan2(rate, np.maximum(speed, 1.0)), 0.0))
    moved = np.column_stack([pose[:, :2] + shift[:, None] * left, turned])
    return _with_row(agents, a, now + 1, moved[1:], (velocity + rate[:, None] * left)[1:], agents.valid[a, now + 1 :])


def _with_row(agents: Agents, a: int, first: int, pose: Double, velocity: Double, there: Bool) -> Agents:
    """The agents with one row written from step ``first`` on."""
    arrays = {name: getattr(agents, name).copy() for name in ("pose", "velocity", "valid")}
    arrays["pose"][a, first:], arrays["velocity"][a, first:] = pose * there[:, None], velocity * there[:, None]
    arrays["valid"][a, first:] = there
    return replace(agents, **arrays)


__all__ = ["Perturb", "PerturbConfig", "aside", "ease", "retimed"]
