"""A toy domain, complete and tiny: a point walks along x among moving points. The core's own tests run the whole loop on it.

Plans are 4 steps of 0.5 s of (x, y) metres relative to where the body is now. Twelve walks (4 forward speeds x 3 sideways speeds)
are the proposals. In common scenarios nobody is in the way and the log's walker goes straight; in rare ones somebody stands or
steps into the way and the log's walker goes round. A policy that imitates the common alone walks into the rare.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any, Self

import numpy as np
from pydantic import Field

from wetoolkit.accounts import Account
from wetoolkit.config import Config
from wetoolkit.errors import DataError
from wetoolkit.events import Event
from wetoolkit.kinds import Policy, Reward, SupportsRender
from wetoolkit.sight import glimpsed, shown, sight_of
from wetoolkit.testing.fake_world import DT, NEAR, NOW, PLAN, RADIUS, SPEED, STEPS, WALKS, Toy, ToyWorld, velocity_at
from wetoolkit.types import (
    Bool,
    Clock,
    Failure,
    Float,
    Lineage,
    Metric,
    Observation,
    ObservationSpec,
    Plan,
    Reaction,
    Ref,
    Role,
    Rollout,
    Scenario,
    Scene,
    Scores,
    Situation,
    Step,
    Term,
    require_finite,
)

__all__ = [
    "DT",
    "NEAR",
    "NOW",
    "PLAN",
    "RADIUS",
    "SPEED",
    "STEPS",
    "WALKS",
    "Toy",
    "ToyBehaviour",
    "ToyBehaviourConfig",
    "ToyDataset",
    "ToyDatasetConfig",
    "ToyDrive",
    "ToyMiner",
    "ToyMinerConfig",
    "ToyReconstructor",
    "ToyReconstructorConfig",
    "ToyReward",
    "ToyRewardConfig",
    "ToySimulator",
    "ToySimulatorConfig",
    "ToyWorld",
]


class ToyDatasetConfig(Config):
    """How much there is of the toy."""

    logs: int = Field(12, ge=1, description="logs in each of train, val and test [1]")
    per_log: int = Field(4, ge=1, description="scenarios of a log in each split [1]")
    seed: int = Field(0, ge=0, description="seed of the towns [1]")


class ToyDataset:
    """Splits ``train``, ``val``, ``test`` (common) and ``rare-train``, ``rare-val``, ``rare-test``."""

    def __init__(self, config: ToyDatasetConfig) -> None:
        self.config = config

    def splits(self) -> Sequence[str]:
        return tuple(kind + stem for kind in ("", "rare-") for stem in ("train", "val", "test"))

    def index(self, split: str) -> Sequence[Ref]:
        if split not in self.splits():
            raise DataError(f"the toy has no split {split!r}", known=", ".join(self.splits()), way_out="use one of those")
        stem = split.removeprefix("rare-")
        return [
            Ref(f"{split}/{log:03d}/{item:02d}", split, f"{stem}-{log:03d}")
            for log in range(self.config.logs)
            for item in range(self.config.per_log)
        ]

    def load(self, ref: Ref) -> Scenario[ToyWorld]:
        rng = np.random.default_rng([self.config.seed, zlib.crc32(ref.id.encode())])
        world = _walk(rng, rare=ref.split.startswith("rare-"))
        lineage = Lineage("toy", ref.log, ref.id)
        scenario = Scenario(ref.id, "toy", ref.split, ref.log, Clock(DT, NOW, STEPS), (0.0, 0.0, 0.0), lineage, world)
        scenario.validate()
        return scenario

    def labels(self, split: str) -> Mapping[str, str]:
        return {ref.id: "in the way" if split.startswith("rare-") else "" for ref in self.index(split)}


def _walk(rng: np.random.Generator, rare: bool) -> ToyWorld:
    """A straight walk with passers-by 3 m and more away; in rare ones somebody is in the way and the walker goes round."""
    time = (np.arange(STEPS) - NOW) * DT  # [T] s
    body = np.stack([SPEED * time, np.zeros(STEPS)], -1)
    side = rng.choice([-1.0, 1.0], 3)
    start = np.stack([rng.uniform(-2, 12, 3), side * rng.uniform(3, 6, 3)], -1)  # [A, 2]
    others = start[:, None] + (rng.uniform(-0.5, 0.5, 3)[:, None] * time)[..., None] * np.array([1.0, 0.0])
    if rare:
        meeting, drift = rng.uniform(1.2, 1.8), rng.choice([-1.0, 1.0]) * rng.uniform(0.05, 0.2)
        threat = np.stack([np.full(STEPS, SPEED * meeting), drift * (time - meeting)], -1)
        others = np.concatenate([threat[None], others])
        body[:, 1] = np.sign(drift) * np.clip(0.8 * time, 0, 1.6)
    valid = np.ones(others.shape[:2], bool)
    return ToyWorld(body.astype(np.float32), others.astype(np.float32), valid)


class ToyRewardConfig(Config):
    """What counts."""

    radius: float = Field(RADIUS, gt=0, description="nobody may come nearer than this [m]")


class ToyReward:
    """Total = clear x (3 progress + 1 steady) / 4."""

    def __init__(self, config: ToyRewardConfig) -> None:
        self.config = config
        self.metric = Metric("toy", "1.0", {"radius": f"{config.radius:g}"})

    def score(self, situations: Sequence[Situation[ToyWorld]], proposals: Float) -> Scores:
        plans = np.broadcast_to(proposals, (len(situations), *proposals.shape[-3:])).astype(np.float64)  # [B, N, T, D]
        clear = [self._clear(s.world, s.step, s.world.body[s.step] + p) for s, p in zip(situations, plans, strict=True)]
        gate = np.array(clear, bool).reshape(plans.shape[:2])
        return self._scores(gate, plans[..., -1, 0], abs(plans[..., -1, 1]), plans.shape[2] * DT)

    def judge(self, rollouts: Sequence[Rollout[ToyWorld]]) -> Scores:
        paths = [r.world.body[r.clock.now : r.end].astype(np.float64) for r in rollouts]
        clear = [bool(self._clear(r.world, r.clock.now, p[None, 1:])[0]) for r, p in zip(rollouts, paths, strict=True)]
        moved = np.array([p[-1] - p[0] for p in paths]).reshape(-1, 2)
        seconds = np.array([(len(p) - 1) * DT for p in paths])
        return self._scores(np.array(clear, bool), moved[:, 0], abs(moved[:, 1]), seconds)

    def events(self, rollouts: Sequence[Rollout[ToyWorld]]) -> Sequence[Sequence[Event]]:
        """The first step at which each other is too near. Walking too slowly is found out at the end, so it is no event."""
        return [[e for a in range(len(r.world.others)) for e in self._met(r, a)] for r in rollouts]

    def steps(self, rollouts: Sequence[Rollout[ToyWorld]]) -> Sequence[Mapping[str, Float]]:
        """How fast the body is at every step."""
        paths = [r.world.body[r.clock.now : r.end] for r in rollouts]
        return [{"speed [m/s]": np.hypot(*np.diff(p, axis=0, prepend=p[:1]).T) / DT} for p in paths]

    def _met(self, r: Rollout[ToyWorld], other: int) -> list[Event]:
        steps = np.arange(r.clock.now + 1, r.end)
        gap = np.linalg.norm(r.world.body[steps] - r.world.others[other, steps], axis=-1)
        hit = steps[(gap < self.config.radius) & r.world.valid[other, steps]]
        return [Event("collision", int(t), (int(t) - r.clock.now) * DT, True, str(other), "self") for t in hit[:1]]

    def _clear(self, world: ToyWorld, step: int, paths: Float) -> Bool:
        """Whether each of N paths [N, T, 2] in metres, from ``step`` + 1 on, keeps its distance. Steps past the record are free."""
        steps = np.arange(step + 1, min(step + 1 + paths.shape[1], len(world.body)))
        gap = np.linalg.norm(paths[:, None, : len(steps)] - world.others[None][:, :, steps], axis=-1)  # [N, A, T]
        return ~((gap < self.config.radius) & world.valid[None][:, :, steps]).any((1, 2))  # type: ignore[no-any-return]

    def _scores(self, clear: Bool, forward: Float, sideways: Float, seconds: Float | float) -> Scores:
        progress, steady = np.clip(forward / (SPEED * seconds), 0, 1), np.clip(1 - sideways / (2 * seconds), 0, 1)
        terms = {
            "clear": Term(clear.astype(np.float64), Role.GATE),
            "progress": Term(progress, Role.WEIGHTED, 3.0),
            "steady": Term(steady, Role.WEIGHTED, 1.0),
        }
        return Scores(self.metric, clear * (3 * progress + steady) / 4, clear & (progress >= 0.25), terms)


class ToyMinerConfig(Config):
    """What is a failure."""

    least: float = Field(0.5, ge=0, le=1, description="plans that score below this are failures [1]")


class ToyMiner:
    """Judges the policy's plan at each scenario's present step."""

    def __init__(self, config: ToyMinerConfig) -> None:
        self.config = config

    def mine(
        self, scenarios: Sequence[Scenario[ToyWorld]], policy: Policy[ToyWorld], reward: Reward[ToyWorld], seed: int
    ) -> Sequence[Failure]:
        situations = [s.situation() for s in scenarios]
        plans = policy.act(Toy().observe(situations, policy.spec), seed).trajectories
        scores = reward.score(situations, plans[:, None])
        hit = scores.terms["clear"].values[:, 0] == 0 if "clear" in scores.terms else np.zeros(len(scenarios), bool)
        return [
            Failure(
                Ref(s.id, s.split, s.log),
                "collision" if hit[row] else "no_progress",
                s.clock.now,
                float(1 - scores.total[row, 0]),
                {"total": float(scores.total[row, 0])},
            )
            for row, s in enumerate(scenarios)
            if scores.total[row, 0] < self.config.least
        ]


class ToyReconstructorConfig(Config):
    """Nothing to set."""


class ToyReconstructor:
    """The scenario's own world."""

    def __init__(self, config: ToyReconstructorConfig) -> None:
        self.config = config

    def reconstruct(self, scenario: Scenario[ToyWorld], failure: Failure | None, seed: int) -> Scene[ToyWorld]:
        step = scenario.clock.now if failure is None else failure.step
        name = f"{scenario.id}@{step}" + (f"-{failure.kind}" if failure else "")
        ref, kind = Ref(scenario.id, scenario.split, scenario.log), failure.kind if failure else ""
        clock, world = scenario.clock.at(step), scenario.world
        return Scene(name, "toy", scenario.log, ref, clock, scenario.origin, scenario.lineage, world, failure=kind)


class ToyBehaviourConfig(Config):
    """How far the others are moved."""

    spread: float = Field(0.2, ge=0, description="standard deviation of each other's shift sideways [m]")


class ToyBehaviour:
    """Shifts every other by an offset of its own."""

    def __init__(self, config: ToyBehaviourConfig) -> None:
        self.config = config

    def vary(self, scene: Scene[ToyWorld], count: int, seed: int) -> Sequence[Scene[ToyWorld]]:
        """Variants in which nobody is shifted by more than a metre."""
        rng, varied = np.random.default_rng(seed), []
        for index in range(count):
            shift = np.zeros((len(scene.world.others), 1, 2), np.float32)
            shift[:, 0, 1] = rng.normal(0, self.config.spread, len(shift))
            world = replace(scene.world, others=scene.world.others + shift)
            if np.abs(shift).max(initial=0.0) <= 1.0:
                varied.append(replace(scene, id=f"{scene.id}~{seed}.{index}", world=world, variant=f"shifted {index}"))
        return varied

    def account(self, scene: Scene[ToyWorld], count: int, seed: int) -> Account[ToyWorld]:
        """The variants, and how many were too far away."""
        scenes = self.vary(scene, count, seed)
        rows: tuple[Mapping[str, float | str], ...] = tuple({"control": one.variant, "who": "all", "seed": seed} for one in scenes)
        lost = count - len(scenes)
        return Account(tuple(scenes), rows, {"too far": lost} if lost > 0 else {})

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        """Two that contradict each other."""
        return {"near": {"spread": 0.05}, "far": {"spread": 0.7}}

    def react(self, worlds: Sequence[ToyWorld], clocks: Sequence[Clock], seeds: Sequence[int]) -> Sequence[Reaction]:
        """Everybody goes on as at present."""
        found = []
        for world, clock in zip(worlds, clocks, strict=True):
            there = world.valid[:, clock.now]
            ahead = DT * np.arange(1, PLAN.steps + 1)[:, None]  # [T, 1] s
            states = world.others[:, clock.now, None] + ahead * velocity_at(world.others, clock.now)[:, None]
            valid = np.repeat(there[:, None], PLAN.steps, axis=1)
            found.append(Reaction(np.where(valid[..., None], states, 0.0), valid))
        return found


class ToySimulatorConfig(Config):
    """How the walk is done."""

    replan: int = Field(2, ge=1, le=4, description="steps between decisions [1]")
    horizon: float = Field(6.0, ge=1, le=9, description="how long is walked unless the caller says otherwise [s]")


class ToySimulator:
    """Does exactly what the plan says until the next decision."""

    def __init__(self, config: ToySimulatorConfig, renderers: Mapping[Step, SupportsRender] | None = None) -> None:
        self.config, self.renderers = config, dict(renderers or {})

    def with_renderers(self, renderers: Mapping[Step, SupportsRender]) -> Self:
        twin = copy(self)  # a subclass may be built otherwise
        twin.renderers = dict(renderers)
        return twin

    def rollout(
        self, scenes: Sequence[Scene[ToyWorld]], policy: Policy[ToyWorld], seeds: Sequence[int], horizon: float | None = None
    ) -> Sequence[Rollout[ToyWorld]]:
        end = round((horizon or self.config.horizon) / DT)
        return [self._one(scene, policy, seed, end) for scene, seed in zip(scenes, seeds, strict=True)]

    def begin(self, scenes: Sequence[Scene[ToyWorld]], seeds: Sequence[int], horizon: float | None = None) -> ToyDrive:
        """Led from outside."""
        return ToyDrive(self, scenes, seeds, horizon)

    def _one(self, scene: Scene[ToyWorld], policy: Policy[ToyWorld], seed: int, length: int) -> Rollout[ToyWorld]:
        world = replace(scene.world, body=scene.world.body.copy())
        end = min(scene.clock.now + length, scene.clock.steps - PLAN.steps)
        decisions, plans, choices, log_probs = list(range(scene.clock.now, end, self.config.replan)), [], [], []
        sight, looked = sight_of(scene, self.renderers), []
        for step in decisions:
            seen = Toy().observe([Situation(scene.id, scene.log, world, step, sight=sight)], policy.spec)
            plan = policy.act(seen, seed + step)
            looked.append(glimpsed(seen, 0))
            world.body[step + 1 : step + 1 + PLAN.steps] = world.body[step] + plan.trajectories[0]
            plans.append(plan.trajectories[0])
            choices.append(-1 if plan.choice is None else int(plan.choice[0]))
            log_probs.append(0.0 if plan.log_prob is None else float(plan.log_prob[0]))
        world = ToyWorld(world.body[: end + PLAN.steps], world.others[:, : end + PLAN.steps], world.valid[:, : end + PLAN.steps])
        last = decisions[-1] + 1 + PLAN.steps
        world.body[last:] = world.body[last - 1]
        return Rollout(
            id=f"{scene.id}/{type(policy).__name__}/{seed}",
            domain="toy",
            log=scene.log,
            scene=scene.id,
            policy=type(policy).__name__,
            seed=seed,
            clock=Clock(DT, scene.clock.now, end + PLAN.steps),
            end=end,
            world=world,
            decisions=np.array(decisions),
            plans=np.array(plans, np.float32),
            choices=np.array(choices),
            log_probs=np.array(log_probs),
            lineage=scene.lineage,
            settings={"replan": str(self.config.replan)},
            **shown(looked),
        )


class _Again:
    """Gives plans again."""

    spec = ObservationSpec()

    def __init__(self, plans: Sequence[Float]) -> None:
        self.plans = list(plans)

    def act(self, observation: Observation[ToyWorld], seed: int) -> Plan:
        return Plan(self.plans.pop(0)[None])


class ToyDrive:
    """Walks led from outside: what was planned so far is walked again whenever somebody looks."""

    def __init__(
        self, simulator: ToySimulator, scenes: Sequence[Scene[ToyWorld]], seeds: Sequence[int], horizon: float | None
    ) -> None:
        self._simulator, self._scenes, self._seeds = simulator, scenes, seeds
        self._plans: list[list[Float]] = [[] for _ in scenes]
        length = round((horizon or simulator.config.horizon) / DT)
        self._ends = [min(scene.clock.now + length, scene.clock.steps - PLAN.steps) for scene in scenes]

    def _reached(self) -> list[int]:
        replan = self._simulator.config.replan
        return [
            min(scene.clock.now + len(plans) * replan, end)
            for scene, plans, end in zip(self._scenes, self._plans, self._ends, strict=True)
        ]

    @property
    def over(self) -> Sequence[bool]:
        return [step >= end for step, end in zip(self._reached(), self._ends, strict=True)]

    def situations(self) -> Sequence[Situation[ToyWorld]]:
        worlds = [
            rollout.world if plans else scene.world
            for rollout, plans, scene in zip(self.rollouts("toy"), self._plans, self._scenes, strict=True)
        ]
        triples = zip(self._scenes, worlds, self._reached(), strict=True)
        return [Situation(s.id, s.log, world, t, sight=sight_of(s, self._simulator.renderers)) for s, world, t in triples]

    def step(self, plans: Float) -> None:
        require_finite(plans, "plans")
        for row, over in enumerate(self.over):
            if not over:
                self._plans[row].append(plans[row])

    def rollouts(self, name: str) -> Sequence[Rollout[ToyWorld]]:
        found = []
        for scene, plans, seed, step in zip(self._scenes, self._plans, self._seeds, self._reached(), strict=True):
            if not plans:  # nothing was done yet
                plans, step = [WALKS[0]], scene.clock.now + 1
            walked = self._simulator._one(scene, _Again(plans), seed, step - scene.clock.now)
            found.append(replace(walked, policy=name, id=f"{scene.id}/{name}/{seed}"))
        return found
