"""Closed loop: a policy is asked twice a second, a body tracks its plan at 10 Hz, the others repeat their log or react.

Time runs on the scene's own clock. At a decision step every live scene of the call is observed in one batch and the policy answers
for all of them; then they are driven to their next decision in one call, each by itself, so that a batch equals its singles. The
world of a Rollout goes on past the horizon: the last plan is driven to its end (then straight on at the speed reached) while the
others go on, so that proposals at the last decisions can be judged.

``branch`` takes up a record at any step: its plans are driven again from the scene, which brings every state back bit for bit (that
of the traffic's models included, which no record holds), and from there on another policy decides.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field

from wetoolkit.config import Config
from wetoolkit.errors import ValidationError, WetoolkitError
from wetoolkit.kinds import Policy, SupportsReaction, SupportsRender, SupportsSeeds
from wetoolkit.sight import glimpsed, shown, sight_of
from wetoolkit.types import Clock, Observation, Plan, Rollout, Scene, Sight, Situation, Step
from wetoolkit_driving.domain import PLAN
from wetoolkit_driving.dynamics import track_and_simulate
from wetoolkit_driving.extend import extended, first_steps
from wetoolkit_driving.observe import observe
from wetoolkit_driving.plans import as_planned, straight_on
from wetoolkit_driving.stepping import SteppedDrive
from wetoolkit_driving.traffic.engine import Traffic, forget, start_all
from wetoolkit_driving.traffic.manners import TrafficConfig
from wetoolkit_driving.traffic.reaction import Call, Guests, Planned, guests_of, let_react
from wetoolkit_driving.types import Double, Ego, Vehicle, World
from wetoolkit_driving.unicycle import UnicycleConfig, drive_unicycle
from wetoolkit_driving.vehicle import VehicleConfig

AFTER = 10  # steps recorded past the last plan's end: scores look a second further than their plan


class ClosedLoopConfig(Config):
    """Settings of ``closed-loop``."""

    horizon: float = Field(
        default=4.0, description="how long the policy drives, at most to the log's end (see past_log); 0: to it [s]", ge=0.0
    )
    replan: float = Field(default=0.5, description="time between decisions, a multiple of 0.1 [s]", ge=0.1, le=4.0, multiple_of=0.1)
    past_log: Literal["stop", "constant-velocity"] = Field(
        default="stop",
        description="at the log's end: the drive ends (its time is censored), or it goes on to the horizon, agents of the log at "
        "the velocity they had and signals as they were",
    )
    dynamics: Literal["lqr-bicycle", "perfect", "unicycle"] = Field(
        default="lqr-bicycle", description="how plans are driven: by a tracked bicycle or unicycle, or exactly as planned"
    )
    vehicle: VehicleConfig | None = Field(default=None, description="the ego's body; none: the record's own")
    unicycle: UnicycleConfig = Field(default=UnicycleConfig(), description="limits and gains of the unicycle")
    traffic: TrafficConfig = Field(default=TrafficConfig(), description="how IDM agents move")


@dataclass
class _Drive:
    """One scene while it is driven. ``world`` sees the arrays that are being written, known up to the step reached."""

    scene: Scene[World]
    seed: int
    end: int  # step after the last of the horizon
    record: int  # steps recorded in all
    place: int  # its number in the traffic's batch
    world: World
    guests: Guests | None  # whom a behaviour moves from outside
    reaction_seed: int  # of that behaviour; the record's while a record is repeated
    planned: Planned | None = None  # what that behaviour meant when it was asked last
    decisions: list[int] = field(default_factory=list)
    plans: list[Double] = field(default_factory=list)
    choices: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    seen: list[Observation[World]] = field(default_factory=list)  # the pictures of each decision


class ClosedLoop:
    """Implements ``wetoolkit.kinds.Simulator`` for driving."""

    def __init__(
        self, config: ClosedLoopConfig, reactors: Mapping[Step, SupportsReaction] | None = None,
        renderers: Mapping[Step, SupportsRender] | None = None,
    ) -> None:  # fmt: skip
        self.config = config
        self.reactors = dict(reactors or {})
        self.renderers = dict(renderers or {})

    def with_reactors(self, reactors: Mapping[Step, SupportsReaction]) -> Self:
        """A copy that lets these behaviours move the agents with control EXTERNAL of the scenes they made."""
        return type(self)(self.config, reactors, self.renderers)

    def with_renderers(self, renderers: Mapping[Step, SupportsRender]) -> Self:
        """A copy that shows policies with cameras what these make of the scenes that they rebuilt."""
        return type(self)(self.config, self.reactors, renderers)

    def sight(self, scene: Scene[World]) -> Sight:
        """How a scene is seen."""
        return sight_of(scene, self.renderers)

    def conditions(self, horizon: float | None = None) -> dict[str, str]:
        """What joins the metric's stamp: dynamics, rate, horizon, and whatever else is not as by default."""
        c = self.config
        wanted = c.horizon if horizon is None else horizon
        found = {"dynamics": c.dynamics, "replan": f"{c.replan:g}", "horizon": f"{wanted:g}" if wanted > 0 else "log"}
        if c.past_log != "stop":
            found["past_log"] = c.past_log
        parts = {"vehicle": c.vehicle, "traffic": c.traffic} | ({"unicycle": c.unicycle} if c.dynamics == "unicycle" else {})
        defaults = ClosedLoopConfig()
        for name, part in parts.items():
            if part is not None and part != getattr(defaults, name):
                found[name] = part.model_dump_json(exclude_defaults=True)
        return found

    def rollout(
        self, scenes: Sequence[Scene[World]], policy: Policy[World], seeds: Sequence[int], horizon: float | None = None
    ) -> Sequence[Rollout[World]]:
        """One Rollout a scene, in order. A policy that raises or answers out of shape or with NaN is an error naming its scenes."""
        scenes, traffic = self._start(scenes, [horizon] * len(scenes))
        drives = [self._begin(*job, traffic, horizon) for job in zip(range(len(scenes)), scenes, seeds, strict=True)]
        self._run(drives, [scene.clock.now for scene in scenes], policy, traffic)
        return [self._finish(drive, policy, traffic) for drive in drives]

    def begin(self, scenes: Sequence[Scene[World]], seeds: Sequence[int], horizon: float | None = None) -> SteppedDrive:
        """The scenes before their first decision, to be led from outside."""
        return SteppedDrive(self, scenes, seeds, horizon)

    def branch(
        self, scenes: Sequence[Scene[World]], records: Sequence[Rollout[World]], steps: Sequence[int], policy: Policy[World],
        seeds: Sequence[int], horizon: float | None = None,
    ) -> Sequence[Rollout[World]]:  # fmt: skip
        """Each scene's record again until its step, from there on as ``policy`` and seed decide; ``horizon`` None: the record's.

        ``ValidationError`` for a step outside the record's horizon, and where the record cannot be repeated bit for bit.
        """
        jobs = list(zip(scenes, records, steps, strict=True))
        for scene, record, step in jobs:
            _check_branch(scene, record, step)
        horizons = [_horizon_of(record) if horizon is None else horizon for record in records]
        scenes, traffic = self._start(scenes, horizons)
        drives = [self._begin(b, scenes[b], seeds[b], traffic, horizons[b]) for b in range(len(jobs))]
        for drive, record, step in zip(drives, records, steps, strict=True):
            drive.reaction_seed = record.seed
            self._repeat(drive, record, step, traffic)
            drive.reaction_seed = drive.seed
        self._run(drives, steps, policy, traffic)
        made = [self._finish(drive, policy, traffic) for drive in drives]
        return [
            replace(
                r, id=f"{r.id}@{step}", settings={**r.settings, "branch": f"{(step - r.clock.now) * PLAN.dt:g} s of {record.id}"}
            )
            for r, (_, record, step) in zip(made, jobs, strict=True)
        ]

    def _start(self, scenes: Sequence[Scene[World]], horizons: Sequence[float | None]) -> tuple[list[Scene[World]], Traffic]:
        """The scenes with the body that drives and, where asked, as long as their horizons; and their traffic."""
        for scene in scenes:
            _check(scene)
        ready = [self._prepared(scene, horizon) for scene, horizon in zip(scenes, horizons, strict=True)]
        return ready, start_all([scene.world for scene in ready], [scene.clock.now for scene in ready], self.config.traffic)

    def _prepared(self, scene: Scene[World], horizon: float | None) -> Scene[World]:
        world, wanted = scene.world, self.config.horizon if horizon is None else horizon
        if self.config.vehicle is not None:
            world = replace(world, ego=replace(world.ego, vehicle=self.config.vehicle.build()))
        if self.config.past_log != "stop" and wanted > 0:
            world = extended(world, scene.clock.now + round(wanted / PLAN.dt) + 1 + PLAN.steps + AFTER)
        return scene if world is scene.world else replace(scene, world=world, clock=replace(scene.clock, steps=world.steps))

    def _run(self, drives: Sequence[_Drive], first: Sequence[int], policy: Policy[World], traffic: Traffic) -> None:
        """Decide and drive in turn, each scene from its step ``first`` on until its horizon is reached."""
        every = round(self.config.replan / PLAN.dt)
        for ahead in range(0, max((drive.end for drive in drives), default=0), every):
            due = [(drive, t + ahead) for drive, t in zip(drives, first, strict=True) if t + ahead < drive.end - 1]
            if not due:
                break
            live, steps = [drive for drive, _ in due], [t for _, t in due]
            self._decide(live, steps, policy)
            ends = [drive.record - 1 if t + every >= drive.end - 1 else t + every for drive, t in due]
            self._go(live, steps, ends, traffic)

    def _repeat(self, drive: _Drive, record: Rollout[World], until: int, traffic: Traffic) -> None:
        """Drive the record's plans again from its first decision to step ``until``."""
        count = int((record.decisions < until).sum())
        for k, t in enumerate(record.decisions[:count].tolist()):
            drive.decisions.append(t)
            drive.plans.append(np.asarray(record.plans[k], np.float64))
            drive.choices.append(int(record.choices[k]))
            drive.log_probs.append(float(record.log_probs[k]))
            drive.seen.append(record.glimpsed(k))
            self._go([drive], [t], [int(record.decisions[k + 1]) if k + 1 < count else until], traffic)
        known, agents = slice(0, until + 1), drive.world.agents
        same = np.array_equal(drive.world.ego.states[known], record.world.ego.states[known]) and all(
            np.array_equal(getattr(agents, name)[:, known], getattr(record.world.agents, name)[:, known])
            for name in ("pose", "velocity", "valid")
        )
        if not same:
            raise ValidationError(
                "the record cannot be repeated bit for bit", rollout=record.id,
                way_out="branch with the simulator's settings and the versions that made it (see the run's manifest)",
            )  # fmt: skip

    def _begin(self, place: int, scene: Scene[World], seed: int, traffic: Traffic, horizon: float | None) -> _Drive:
        world, now = scene.world, scene.clock.now
        wanted = self.config.horizon if horizon is None else horizon
        steps = round(wanted / PLAN.dt) if wanted > 0 else world.steps
        end = min(now + steps + 1, world.steps)
        record = min(end - 1 + PLAN.steps + AFTER + 1, world.steps)
        known = world.ego.valid.copy()
        known[now + 1 :] = False
        ego = Ego(traffic.states(place), known, world.ego.vehicle)
        guests = guests_of(scene, self.reactors)
        for a in guests.rows if guests else ():
            forget(traffic.tables[place], int(a), now + 1)
        return _Drive(scene, seed, end, record, place, replace(world, ego=ego, agents=traffic.tables[place]), guests, seed)

    def _decide(self, live: Sequence[_Drive], steps: Sequence[int], policy: Policy[World]) -> None:
        """Ask the policy at step ``steps`` of each scene: in one batch if it takes a seed an item, else one batch a seed."""
        seen = [
            Situation(f"{d.scene.id}@{t}", d.scene.log, d.world, t, sight=self.sight(d.scene))
            for d, t in zip(live, steps, strict=True)
        ]
        seeds = [_seed_at(drive.seed, t - drive.scene.clock.now) for drive, t in zip(live, steps, strict=True)]
        groups = [range(len(live))] if isinstance(policy, SupportsSeeds) else _equal(list(zip(seeds, strict=True)))
        for rows in groups:
            plan, observation = _ask(policy, [seen[i] for i in rows], [seeds[i] for i in rows])
            for b, i in enumerate(rows):
                live[i].decisions.append(steps[i])
                live[i].plans.append(np.asarray(plan.trajectories[b], np.float64))
                live[i].choices.append(-1 if plan.choice is None else int(plan.choice[b]))
                live[i].log_probs.append(0.0 if plan.log_prob is None else float(plan.log_prob[b]))
                live[i].seen.append(glimpsed(observation, b))

    def _go(self, live: Sequence[_Drive], steps: Sequence[int], ends: Sequence[int], traffic: Traffic) -> None:
        """Drive each scene's last plan from its step to its end, straight on where the plan ends first; then move the others."""
        reached = list(steps)
        plans = [drive.plans[-1] for drive in live]
        while any(t < end for t, end in zip(reached, ends, strict=True)):
            counts = [min(PLAN.steps, end - t) for t, end in zip(reached, ends, strict=True)]
            keys = [(drive.world.ego.vehicle, count) for drive, count in zip(live, counts, strict=True)]
            for rows in _equal(keys):
                vehicle, count = keys[rows[0]]
                if count < 1:
                    continue
                states = np.array([live[i].world.ego.states[reached[i]] for i in rows])  # [n, 11]
                driven = self._track(states, np.array([plans[i] for i in rows]), vehicle, count)  # [n, count, 11]
                for i, part in zip(rows, driven, strict=True):
                    live[i].world.ego.states[reached[i] + 1 : reached[i] + 1 + count] = part
                    reached[i] += count
                    plans[i] = straight_on(part[-1])
        for drive, t, end in zip(live, steps, ends, strict=True):
            drive.world.ego.valid[t + 1 : end + 1] = True
        self._move_others(live, steps, ends, traffic)

    def _move_others(self, live: Sequence[_Drive], steps: Sequence[int], ends: Sequence[int], traffic: Traffic) -> None:
        """Move the others from ``steps`` to ``ends``: at once or, where a behaviour must be asked in between, as it is asked."""
        every = round(self.config.replan / PLAN.dt)
        spans = list(zip(live, steps, ends, strict=True))
        while spans:
            part = [(drive, t, min(t + every, end) if drive.guests else end) for drive, t, end in spans]
            asked = [(d, t, to) for d, t, to in part if d.guests]
            calls = [
                Call(d.guests, d.world, traffic.tables[d.place], t, to, _seed_at(d.reaction_seed, t - d.scene.clock.now), d.planned)
                for d, t, to in asked
                if d.guests
            ]
            for (drive, _, _), planned in zip(asked, let_react(calls), strict=True):
                drive.planned = planned
            traffic.run_all([drive.place for drive, _, _ in part], [t for _, t, _ in part], [to for _, _, to in part])
            spans = [(drive, to, end) for (drive, _, to), (_, _, end) in zip(part, spans, strict=True) if to < end]

    def _track(self, states: Double, plans: Double, vehicle: Vehicle, count: int) -> Double:
        """States [n, count, 11] of bodies that drive plans [n, T, 3] from states [n, 11]."""
        if self.config.dynamics == "perfect":
            return np.stack([as_planned(state, plan, vehicle)[:count] for state, plan in zip(states, plans, strict=True)])
        if self.config.dynamics == "unicycle":
            return drive_unicycle(states, plans, count, self.config.unicycle)
        return track_and_simulate(states, plans, vehicle, count)[:, 1:]

    def _finish(self, drive: _Drive, policy: Policy[World], traffic: Traffic) -> Rollout[World]:
        scene, record = drive.scene, drive.record
        name = str(getattr(policy, "name", type(policy).__name__))
        horizon = (drive.end - 1 - scene.clock.now) * PLAN.dt
        settings = self.conditions() | {"horizon": f"{horizon:g}"}  # the one that was reached
        settings |= {key: str(count) for key, count in traffic.counts(drive.place).items()}
        return Rollout(
            id=f"{scene.id}/{name}/{drive.seed}",
            domain="driving",
            log=scene.log,
            scene=scene.id,
            policy=name,
            seed=drive.seed,
            clock=Clock(scene.clock.dt, scene.clock.now, record),
            end=drive.end,
            world=first_steps(drive.world, record),
            decisions=np.array(drive.decisions, np.int64),
            plans=np.array(drive.plans).reshape(-1, *PLAN.shape),
            choices=np.array(drive.choices, np.int64),
            log_probs=np.array(drive.log_probs),
            lineage=scene.lineage,
            settings=settings,
            **shown(drive.seen),
        )


def _check(scene: Scene[World]) -> None:
    now, world = scene.clock.now, scene.world
    if abs(world.dt - PLAN.dt) > 1e-6:
        raise ValidationError(f"dt is {world.dt} s", field="world.dt", scene=scene.id, way_out="resample the log to 0.1 s")
    if not 0 <= now < world.steps - 1:
        way_out = "rebuild it at an earlier step"
        raise ValidationError(f"now={now} of {world.steps} steps", field="clock.now", scene=scene.id, way_out=way_out)
    if not world.ego.valid[now]:
        way_out = "take a step at which it is known"
        raise ValidationError("the ego is not known now", field="ego.valid", scene=scene.id, way_out=way_out)


def _check_branch(scene: Scene[World], record: Rollout[World], step: int) -> None:
    """``ValidationError`` unless the record is of this scene and the step within its horizon."""
    first, last, dt = record.clock.now, record.end - 2, record.clock.dt
    if record.scene != scene.id:
        raise ValidationError(f"a record of {record.scene!r}", field="record.scene", scene=scene.id, way_out="give its own record")
    if not first <= step <= last:
        raise ValidationError(
            f"step {step} is {(step - first) * dt:g} s after the first decision", field="step", rollout=record.id,
            way_out=f"branch between 0 and {(last - first) * dt:g} s",
        )  # fmt: skip


def _horizon_of(record: Rollout[World]) -> float:
    return (record.end - 1 - record.clock.now) * record.clock.dt


def _seed_at(seed: int, ahead: int) -> int:
    """The policy's seed of a decision ``ahead`` steps after the first one."""
    return int(np.random.SeedSequence([seed % 2**63, ahead]).generate_state(1)[0])


def _equal(keys: Sequence[Hashable]) -> list[list[int]]:
    """Indices of equal keys together, in order of appearance."""
    groups: dict[Hashable, list[int]] = {}
    for i, key in enumerate(keys):
        groups.setdefault(key, []).append(i)
    return list(groups.values())


def _ask(policy: Policy[World], seen: Sequence[Situation[World]], seeds: Sequence[int]) -> tuple[Plan, Observation[World]]:
    """The policy's plan for all items and what it saw; ``seeds`` [B] are equal unless it takes one an item."""
    try:
        observation = observe(seen, policy.spec)
        plan = policy.act_each(observation, seeds) if isinstance(policy, SupportsSeeds) else policy.act(observation, seeds[0])
        plan.validate(PLAN, len(seen))
    except Exception as error:
        what = error.what if isinstance(error, WetoolkitError) else f"{type(error).__name__}: {error}"
        raise WetoolkitError(
            f"the policy gave no plan: {what}",
            policy=type(policy).__name__,
            scenes=", ".join(situation.id for situation in seen),
            **_context(error, "roll the scenes out one by one to see which of them it cannot drive"),
        ) from error
    return plan, observation


def _context(error: Exception, way_out: str) -> dict[str, Any]:
    """What an error of ours says besides, its own way out before another."""
    if not isinstance(error, WetoolkitError):
        return {"way_out": way_out}
    return {
        **{key: value for key, value in error.context.items() if key not in ("policy", "scenes")},
        "way_out": error.way_out or way_out,
    }


__all__ = ["ClosedLoop", "ClosedLoopConfig"]
