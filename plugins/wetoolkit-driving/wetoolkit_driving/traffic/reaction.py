"""Agents that a behaviour with ``SupportsReaction`` moves: who asks it, when, and what becomes of its answers.

A driving ``Reaction`` has the channels x, y, heading of the box centre in the world's frame. It is asked for every scene of the
batch at once, whenever the policy is asked (and at the same pace until the record's end), with the world cut at that step, scripts
and manners hidden. Agents appear as recorded; from the next asking on they are where the reaction says; whom it lets go stays away.

A behaviour with ``SupportsReplanning`` is told besides what it meant its agents to do when it was asked last (at first what the
scene holds of them, which is its variant) and where they are bound for. So it can plan on without keeping anything itself: what
stands belongs to the drive, and a record that is driven again brings it back bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np

from wetoolkit.errors import ValidationError, WetoolkitError
from wetoolkit.kinds import SupportsReaction
from wetoolkit.types import Clock, Reaction, Scene, Step, require
from wetoolkit_driving.geometry import wrap_angle
from wetoolkit_driving.types import Agents, Aim, Bool, Control, Double, Int, World

CHANNELS = 3  # x, y, heading


@dataclass(frozen=True)
class Standing:
    """What a behaviour had in mind for its agents in one world."""

    plan: Reaction | None  # its last answer, from the step after now on; None where nothing is left of it
    aims: tuple[Aim, ...]  # those of its agents


@runtime_checkable
class SupportsReplanning(Protocol):
    """A behaviour with SupportsReaction that plans on from what it had in mind."""

    def react(self, worlds: Sequence[Any], clocks: Sequence[Clock], seeds: Sequence[int]) -> Sequence[Reaction]:
        """See ``wetoolkit.kinds.SupportsReaction``: ``replan`` with nothing in mind."""

    def replan(
        self, worlds: Sequence[Any], clocks: Sequence[Clock], seeds: Sequence[int], standing: Sequence[Standing]
    ) -> Sequence[Reaction]:
        """``react`` with what stands in each world; rows that it does not move have no plan. A batch equals its singles."""


@dataclass(frozen=True)
class Planned:
    """What was meant after step ``first``, in the rows of the scene."""

    first: int
    states: Double  # [A, T, 3]
    valid: Bool  # [A, T]

    def left(self, step: int, seen: Bool) -> Reaction | None:
        """What is left of it after ``step``, for the rows ``seen`` [A]."""
        gone = step - self.first
        return None if gone >= self.states.shape[1] else Reaction(self.states[seen, gone:], self.valid[seen, gone:])


@dataclass(frozen=True)
class Guests:
    """Whom a behaviour moves in one scene."""

    scene: str
    reactor: SupportsReaction
    rows: Int  # agents with control EXTERNAL
    logged: Agents  # what the scene holds of them
    now: int  # step from which they are moved
    aims: tuple[Aim, ...] = ()

    def begun(self) -> Planned:
        """Before it is asked first: what the scene holds of its guests."""
        valid = np.zeros_like(self.logged.valid[:, self.now + 1 :])
        valid[self.rows] = self.logged.valid[self.rows, self.now + 1 :]
        return Planned(self.now, self.logged.pose[:, self.now + 1 :].astype(np.float64) * valid[..., None], valid)


@dataclass(frozen=True)
class Call:
    """One scene in which its guests are to be moved from step ``first`` to ``last``; ``agents`` is written."""

    guests: Guests
    world: World  # known up to ``first``
    agents: Agents
    first: int
    last: int
    seed: int
    planned: Planned | None = None  # when it was asked before


def guests_of(scene: Scene[World], reactors: Mapping[Step, SupportsReaction]) -> Guests | None:
    """Who is moved from outside in a scene, and by whom: the last behaviour of its Lineage (a scene made by hand: the only one
    there is). None where nobody is; ``ValidationError`` where nobody can be asked."""
    agents = scene.world.agents
    rows = np.flatnonzero(agents.control == Control.EXTERNAL)
    if not len(rows):
        return None
    links = [step for step in scene.lineage.steps if step.component.startswith("behaviour/")]
    found = reactors.get(replace(links[-1], seed=None)) if links else None
    if not links and len(reactors) == 1:
        (found,) = reactors.values()
    if found is None:
        raise ValidationError(
            f"{len(rows)} agents are to be moved from outside (control EXTERNAL), the first is {agents.ids[rows[0]]}",
            field="agents.control", scene=scene.id, behaviour=links[-1].component if links else "none in the scene's lineage",
            known=", ".join(step.component for step in reactors) or "no behaviour that reacts",
            way_out="name that behaviour in the experiment, or give it by ClosedLoop.with_reactors",
        )  # fmt: skip
    moved = {agents.ids[row] for row in rows}
    aims = tuple(aim for aim in scene.world.aims if aim.agent in moved)
    return Guests(scene.id, found, rows.astype(np.int32), agents, scene.clock.now, aims)


def let_react(calls: Sequence[Call]) -> list[Planned]:
    """Ask every behaviour once for all its scenes, write where the guests are, and answer what is meant of each call. An answer of
    another shape, with NaN, too short, or none at all, is a ``WetoolkitError`` that names the scenes."""
    planned: dict[int, Planned] = {}
    reactors = {id(call.guests.reactor): call.guests.reactor for call in calls}
    for key, reactor in reactors.items():
        own = [call for call in calls if id(call.guests.reactor) == key]
        for call, reaction in zip(own, _ask(reactor, own), strict=True):
            planned[id(call)] = _write(call, reaction)
    return [planned[id(call)] for call in calls]


def _ask(reactor: SupportsReaction, calls: Sequence[Call]) -> Sequence[Reaction]:
    worlds: list[Any] = [call.world.until(call.first) for call in calls]
    clocks = [Clock(world.dt, call.first, call.first + 1) for world, call in zip(worlds, calls, strict=True)]
    seeds = [call.seed for call in calls]
    try:
        if isinstance(reactor, SupportsReplanning):
            found = reactor.replan(worlds, clocks, seeds, [_standing(call) for call in calls])
        else:
            found = reactor.react(worlds, clocks, seeds)
        require(len(found) == len(calls), f"{len(found)} reactions of {len(calls)} worlds", "behaviour.react", "one each")
        for call, world, reaction in zip(calls, worlds, found, strict=True):
            reaction.validate(len(world.agents), CHANNELS)
            steps, due = reaction.states.shape[1], call.last - call.first
            require(
                steps >= due, f"{steps} steps where {due} were due", "reaction.states", "look as far as the policy's replanning"
            )
    except Exception as error:
        what = error.what if isinstance(error, WetoolkitError) else f"{type(error).__name__}: {error}"
        raise WetoolkitError(
            f"the behaviour did not react: {what}", behaviour=type(reactor).__name__,
            scenes=", ".join(call.guests.scene for call in calls),
            way_out="roll the scenes out one by one to see in which of them it fails",
        ) from error  # fmt: skip
    return found


def _seen(call: Call) -> Bool:
    """[A] who has been there until the call's first step: the rows of the world that the behaviour sees."""
    return np.asarray(call.agents.valid[:, : call.first + 1].any(1))


def _standing(call: Call) -> Standing:
    """What the behaviour had in mind for its guests."""
    planned, ahead = call.planned or call.guests.begun(), call.first * call.world.dt + 1e-6
    return Standing(planned.left(call.first, _seen(call)), tuple(aim for aim in call.guests.aims if aim.at > ahead))


def _write(call: Call, reaction: Reaction) -> Planned:
    """Rows of the guests from ``first`` + 1 to ``last``: the reaction's where they are there, else the log's or nothing. The answer
    is all that the reaction means of the guests who are there."""
    agents, t, count = call.agents, call.first, call.last - call.first
    seen = np.cumsum(_seen(call)) - 1  # [A] its row among those that the behaviour saw
    span = slice(t + 1, call.last + 1)
    meant = Planned(t, np.zeros((len(agents), *reaction.states.shape[1:])), np.zeros((len(agents), reaction.states.shape[1]), bool))
    for a in call.guests.rows:
        if agents.valid[a, t]:
            there, states = np.logical_and.accumulate(reaction.valid[seen[a]]), np.asarray(reaction.states[seen[a]], np.float64)
            meant.states[a], meant.valid[a] = states * there[:, None], there
            there, states = there[:count], states[:count]
            before = np.concatenate([agents.pose[a, t : t + 1, :2].astype(np.float64), states[:-1, :2]])
            pose = np.column_stack([states[:, :2], wrap_angle(states[:, 2])])
            agents.valid[a, span], agents.pose[a, span] = there, pose * there[:, None]
            agents.velocity[a, span] = (states[:, :2] - before) / call.world.dt * there[:, None]
        elif not agents.valid[a, call.guests.now : t + 1].any():
            logged = call.guests.logged
            for name in ("valid", "pose", "velocity"):
                getattr(agents, name)[a, span] = getattr(logged, name)[a, span]
    return meant


__all__ = ["CHANNELS", "Call", "Guests", "Planned", "Standing", "SupportsReplanning", "guests_of", "let_react"]
