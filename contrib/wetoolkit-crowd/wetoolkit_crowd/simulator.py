"""The simulator ``crowd-loop``: the policy is asked again and again, the robot's body follows its plan, people walk around it.

At a decision every live scene of the call is observed in one batch; then each is driven alone, so that a batch equals its singles.
The world of a Rollout goes on past the horizon: the last plan is followed to its end and the robot then stands, while the people
walk on, so that proposals at the last decisions can be judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from pydantic import Field

from wetoolkit.config import Config
from wetoolkit.errors import ValidationError, WetoolkitError
from wetoolkit.kinds import Policy, SupportsSeeds
from wetoolkit.types import Clock, Plan, Rollout, Scene, Situation
from wetoolkit_crowd.bodies import follow, to_world
from wetoolkit_crowd.domain import PLAN, Crowd
from wetoolkit_crowd.types import DT, HEADING, TURN, VX, Double, Robot, World
from wetoolkit_crowd.walking import Walk, begin


class CrowdLoopConfig(Config):
    """Settings of ``crowd-loop``."""

    horizon: float = Field(default=6.0, description="how long the policy acts; 0: to the record's end [s]", ge=0.0)
    replan: float = Field(default=0.4, description="time between decisions, a multiple of 0.2 [s]", ge=DT, le=3.2, multiple_of=DT)


@dataclass
class _Drive:
    """One scene while it is driven. ``world`` sees the arrays that are being written, known up to the step reached."""

    scene: Scene[World]
    seed: int
    end: int  # step after the last of the horizon
    record: int  # steps recorded in all
    world: World
    walk: Walk
    decisions: list[int] = field(default_factory=list)
    plans: list[Double] = field(default_factory=list)
    choices: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)


class CrowdLoop:
    """Implements ``wetoolkit.kinds.Simulator`` for the crowd."""

    def __init__(self, config: CrowdLoopConfig) -> None:
        self.config = config

    def rollout(
        self, scenes: Sequence[Scene[World]], policy: Policy[World], seeds: Sequence[int], horizon: float | None = None
    ) -> Sequence[Rollout[World]]:
        """One Rollout a scene, in order. A policy that raises or answers out of shape or with NaN is an error naming its scenes."""
        drives = [self._begin(scene, seed, horizon) for scene, seed in zip(scenes, seeds, strict=True)]
        every = round(self.config.replan / DT)
        for ahead in range(0, max((drive.record for drive in drives), default=0), every):
            live = [drive for drive in drives if drive.scene.clock.now + ahead < drive.end - 1]
            if not live:
                break
            _decide(live, policy, ahead)
            for drive in live:
                _go(drive, every)
        return [self._finish(drive, policy) for drive in drives]

    def _begin(self, scene: Scene[World], seed: int, horizon: float | None) -> _Drive:
        _check(scene)
        world, now = scene.world, scene.clock.now
        wanted = self.config.horizon if horizon is None else horizon
        steps = round(wanted / DT) if wanted > 0 else world.steps
        end = min(now + steps + 1, world.steps)
        states, valid = world.robot.states.copy(), world.robot.valid.copy()
        states[now + 1 :], valid[now + 1 :] = 0.0, False
        walk = begin(world, now)
        view = replace(world, robot=Robot(states, valid, world.robot.goal, world.robot.body), people=walk.people)
        return _Drive(scene, seed, end, min(end + PLAN.steps, world.steps), view, walk)

    def _finish(self, drive: _Drive, policy: Policy[World]) -> Rollout[World]:
        scene, name = drive.scene, str(getattr(policy, "name", type(policy).__name__))
        seconds = (drive.end - 1 - scene.clock.now) * DT
        return Rollout(
            id=f"{scene.id}/{name}/{drive.seed}", domain="crowd", log=scene.log, scene=scene.id, policy=name, seed=drive.seed,
            clock=Clock(scene.clock.dt, scene.clock.now, drive.record), end=drive.end, world=first_steps(drive.world, drive.record),
            decisions=np.array(drive.decisions, np.int64), plans=np.array(drive.plans).reshape(-1, *PLAN.shape),
            choices=np.array(drive.choices, np.int64), log_probs=np.array(drive.log_probs), lineage=scene.lineage,
            settings={"body": scene.world.robot.body.drive, "replan": f"{self.config.replan:g}", "horizon": f"{seconds:g}"},
        )  # fmt: skip


def _decide(live: Sequence[_Drive], policy: Policy[World], ahead: int) -> None:
    """Ask the policy for all at once or, where it takes one seed a call, for those of equal seeds together."""
    seeds = [int(np.random.SeedSequence([drive.seed % 2**63, ahead]).generate_state(1)[0]) for drive in live]
    now = [drive.scene.clock.now + ahead for drive in live]
    seen = [Situation(f"{d.scene.id}@{t}", d.scene.log, d.world, t) for d, t in zip(live, now, strict=True)]
    equal = [[i for i, of in enumerate(seeds) if of == seed] for seed in dict.fromkeys(seeds)]
    for rows in [list(range(len(live)))] if isinstance(policy, SupportsSeeds) else equal:
        plan = _ask(policy, [seen[i] for i in rows], [seeds[i] for i in rows])
        for b, i in enumerate(rows):
            live[i].decisions.append(now[i])
            live[i].plans.append(np.asarray(plan.trajectories[b], np.float64))
            live[i].choices.append(-1 if plan.choice is None else int(plan.choice[b]))
            live[i].log_probs.append(0.0 if plan.log_prob is None else float(plan.log_prob[b]))


def _ask(policy: Policy[World], seen: Sequence[Situation[World]], seeds: Sequence[int]) -> Plan:
    try:
        observation = Crowd().observe(seen, policy.spec)
        plan = policy.act_each(observation, seeds) if isinstance(policy, SupportsSeeds) else policy.act(observation, seeds[0])
        plan.validate(PLAN, len(seen))
    except Exception as error:
        what = error.what if isinstance(error, WetoolkitError) else f"{type(error).__name__}: {error}"
        raise WetoolkitError(
            f"the policy gave no plan: {what}", policy=type(policy).__name__, scenes=", ".join(s.id for s in seen),
            way_out="roll the scenes out one by one to see which of them it cannot act in",
        ) from error  # fmt: skip
    return plan


def _go(drive: _Drive, every: int) -> None:
    """Follow the last plan until the next decision, or through to the end of the record where there is none."""
    t, robot = drive.decisions[-1], drive.world.robot
    until = drive.record - 1 if t + every >= drive.end - 1 else t + every
    count = min(PLAN.steps, until - t)
    poses = to_world(robot.states[t, : HEADING + 1], drive.plans[-1][:count])
    robot.states[t + 1 : t + 1 + count] = follow(robot.body, robot.states[t], poses[None])[0]
    robot.states[t + 1 + count : until + 1] = robot.states[t + count]
    robot.states[t + 1 + count : until + 1, VX : TURN + 1] = 0.0
    robot.valid[t + 1 : until + 1] = True
    for step in range(t, until):
        drive.walk.advance(step, robot.states[step])


def first_steps(world: World, count: int) -> World:
    """The world's first ``count`` steps, everybody kept."""
    people = world.people
    kept = replace(
        people, position=people.position[:, :count].copy(), velocity=people.velocity[:, :count].copy(),
        valid=people.valid[:, :count].copy(),
    )  # fmt: skip
    robot = replace(world.robot, states=world.robot.states[:count].copy(), valid=world.robot.valid[:count].copy())
    return replace(world, robot=robot, people=kept)


def _check(scene: Scene[World]) -> None:
    now, world = scene.clock.now, scene.world
    if abs(world.dt - DT) > 1e-6:
        raise ValidationError(f"dt is {world.dt} s", field="world.dt", scene=scene.id, way_out=f"resample it to {DT} s")
    if not 0 <= now < world.steps - 1:
        way_out = "rebuild it at an earlier step"
        raise ValidationError(f"now={now} of {world.steps} steps", field="clock.now", scene=scene.id, way_out=way_out)
    if not world.robot.valid[now]:
        way_out = "take a step at which it is known"
        raise ValidationError("the robot is not known now", field="robot.valid", scene=scene.id, way_out=way_out)


__all__ = ["CrowdLoop", "CrowdLoopConfig", "first_steps"]
