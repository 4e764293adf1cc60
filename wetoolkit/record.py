"""The record of a rollout: a hash of its state, what happened in it and when, and the drive again, bit for bit, from its plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from wetoolkit.codec import digest
from wetoolkit.errors import ValidationError
from wetoolkit.events import Event
from wetoolkit.kinds import Reward, Simulator, SupportsBranch, SupportsConditions, SupportsEvents
from wetoolkit.types import Bool, Float, Metric, Observation, ObservationSpec, Plan, Rollout, Scene, require, require_finite

HASH = 16  # hexadecimal digits of a state hash: 64 bits


def state_hash(rollout: Rollout[Any]) -> str:
    """16 hexadecimal digits of all that was simulated: world, clock, decisions, plans, choices. Names and lineage are left out."""
    r = rollout
    return digest(r.world, r.clock, r.end, r.decisions, r.plans, r.choices, r.log_probs)[:HASH]


@dataclass(frozen=True)
class Drive:
    """What is kept of a rollout beside its score."""

    state: str  # state_hash
    seconds: float  # watched: from the first decision to the end of the horizon, or of the log
    failed_at: float  # seconds; NaN for a success
    dt: float  # seconds a step
    events: tuple[Event, ...] = ()
    steps: Mapping[str, Float] = field(default_factory=dict)  # name -> [T]
    trust: Float = field(default_factory=lambda: np.ones(0))  # [K] of its pictures, 1 where not known; [0] where it saw none
    trust_known: Bool = field(default_factory=lambda: np.ones(0, np.bool_))  # [K] or [0]


def drives(reward: Reward[Any], rollouts: Sequence[Rollout[Any]], success: Bool) -> list[Drive]:
    """What happened in each rollout, given its ``success`` [B]; checked where the reward tells events.

    A failure is placed at its first event that ``fails``, at the end of the drive where the reward tells of none.
    """
    told: Sequence[Sequence[Event]] = [()] * len(rollouts)
    steps: Sequence[Mapping[str, Float]] = [{}] * len(rollouts)
    if isinstance(reward, SupportsEvents) and len(rollouts):
        told, steps = reward.events(rollouts), reward.steps(rollouts)
        require(len(told) == len(steps) == len(rollouts), f"{len(told)} and {len(steps)}", "reward.events", "one each")
    rows = zip(rollouts, told, steps, success.tolist(), strict=True)
    return [_drive(rollout, tuple(events), numbers, bool(good)) for rollout, events, numbers, good in rows]


def _drive(rollout: Rollout[Any], events: tuple[Event, ...], steps: Mapping[str, Float], success: bool) -> Drive:
    clock, watched = rollout.clock, rollout.end - rollout.clock.now
    seconds = (watched - 1) * clock.dt
    for event in events:
        event.validate()
        require(clock.now <= event.step < rollout.end, f"step {event.step}", "event.step", f"{clock.now} <= step < {rollout.end}")
        require(not (success and event.fails), f"{event.kind!r} fails in a success", "event.fails", "let events agree with success")
    for name, values in steps.items():
        require(values.shape == (watched,), f"shape {values.shape}", f"steps.{name}", f"one number a step: {watched}")
        require_finite(values, f"steps.{name}")
    failing = [event.time for event in events if event.fails]
    failed_at = float("nan") if success else min(failing, default=seconds)
    looks = slice(None if rollout.images else 0)
    return Drive(state_hash(rollout), seconds, failed_at, clock.dt, events, steps, rollout.trust[looks], rollout.trust_known[looks])


def stamped(metric: Metric, simulator: Simulator[Any], horizon: float | None) -> Metric:
    """The metric of what was driven: its stamp holds the simulator's settings as well, so that other dynamics do not compare."""
    if not isinstance(simulator, SupportsConditions):
        return metric
    return replace(metric, settings={**metric.settings, **simulator.conditions(horizon)})


class Recorded:
    """A policy that says again what was said in a rollout from decision ``first`` on. For one scene, and one drive of it."""

    def __init__(self, rollout: Rollout[Any], first: int = 0) -> None:
        self.rollout = rollout
        self.name = rollout.policy
        self.spec = ObservationSpec()
        self._told = first

    def act(self, observation: Observation[Any], seed: int) -> Plan:
        """The next plan of the record."""
        r, k = self.rollout, self._told
        if observation.size != 1 or k >= len(r.decisions):
            raise ValidationError(
                f"decision {k + 1} of {observation.size} scenes is asked, the record has {len(r.decisions)} of one",
                rollout=r.id, way_out="replay one scene with the simulator's settings of the record",
            )  # fmt: skip
        self._told += 1
        chosen = r.choices[k : k + 1] if (r.choices >= 0).any() else None
        return Plan(r.plans[k : k + 1], chosen, r.log_probs[k : k + 1] if chosen is not None else None)


def replay(simulator: Simulator[Any], scene: Scene[Any], record: Rollout[Any]) -> Rollout[Any]:
    """The rollout again from its scene, its plans and its seed; ``ValidationError`` where any bit of its state differs."""
    require(record.scene == scene.id, f"a record of {record.scene!r}", "scene.id", f"give that scene, not {scene.id!r}")
    horizon = (record.end - 1 - record.clock.now) * record.clock.dt
    if "branch" in record.settings and isinstance(simulator, SupportsBranch):  # its decisions are on no grid
        last = len(record.decisions) - 1
        at = [int(record.decisions[last])]
        (again,) = simulator.branch([scene], [record], at, Recorded(record, last), [record.seed], horizon)
    else:
        (again,) = simulator.rollout([scene], Recorded(record), [record.seed], horizon)
    again = replace(again, policy=record.policy, lineage=record.lineage)
    if state_hash(again) != state_hash(record):
        raise ValidationError(
            f"replaying gives another state: {difference(record, again)}", rollout=record.id,
            way_out="use the simulator's settings and the versions that made the record (see the run's manifest)",
        )  # fmt: skip
    return again


def difference(a: Rollout[Any], b: Rollout[Any]) -> str:
    """The first of the hashed fields in which two rollouts differ, and since which decision where it is the plans."""
    for name in ("decisions", "plans", "choices", "log_probs"):
        x, y = np.asarray(getattr(a, name)), np.asarray(getattr(b, name))
        if x.shape != y.shape or x.tobytes() != y.tobytes():
            return f"{name} ({x.shape} and {y.shape})"
    return "world" if digest(a.world) != digest(b.world) else "clock or end"


__all__ = ["Drive", "Recorded", "difference", "drives", "replay", "stamped", "state_hash"]
