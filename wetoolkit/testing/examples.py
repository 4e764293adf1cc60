"""Tiny inputs of a domain, to try parts on: what the contracts and `wetool plugins check` use, derived from a few scenarios.

A domain's author subclasses ``Examples``, gives the methods that raise ``NotImplementedError`` and announces the class as
``Domain(..., examples="package.module:MyExamples")``. Whoever writes a part for that domain then needs one line in a test::

    class TestMine(RewardContract):
        examples = MyExamples()
        def make(self): return Mine(MineConfig())
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic

import numpy as np

from wetoolkit.experience import take
from wetoolkit.kinds import Domain, Policy, Reward, SupportsLogProb
from wetoolkit.testing.imagined import Imagined
from wetoolkit.types import (
    Decisions,
    Float,
    Metric,
    Observation,
    ObservationSpec,
    Plan,
    Ref,
    Role,
    Rollout,
    Scenario,
    Scene,
    Scores,
    Situation,
    Term,
    W,
)


class Examples(Generic[W]):
    """A few scenarios of a domain, and everything else that follows from them. Equal calls give equal values."""

    def domain(self) -> Domain[W]:
        """The domain's glue."""
        raise NotImplementedError("def domain(self): return MyDomain()")

    def scenarios(self) -> Sequence[Scenario[W]]:
        """Three or more tiny scenarios with distinct ids; in some a simple policy should fail."""
        raise NotImplementedError("def scenarios(self): return [...]")

    def spec(self) -> ObservationSpec:
        """All the fields that the domain knows how to make."""
        raise NotImplementedError("def spec(self): return ObservationSpec(fields=...)")

    def members(self, world: W) -> Sequence[Any]:
        """Names of all who are in a world, in any order."""
        raise NotImplementedError("def members(self, world): return world.ids")

    def another_future(self, world: W, step: int) -> W:
        """The world with everything after ``step`` changed as strongly as its type allows."""
        raise NotImplementedError("def another_future(self, world, step): return replace(world, ...)")

    def another_drive(self, world: W, step: int) -> W | None:
        """The world with another logged future of the acting body alone; None leaves that promise of simulators out."""
        return None

    def policy(self) -> Policy[W]:
        """Somebody who acts: does what was demonstrated first, whatever it sees. Nothing learned."""
        return Constant(self.domain().demonstrate(self.situations()[:1])[0][0])

    def learner(self) -> Policy[W]:
        """A policy that an algorithm can train, where the domain has one of its own."""
        raise NotImplementedError("def learner(self): return MyPolicy(...); `wetool plugins check` takes --policy NAME")

    def reward(self) -> Reward[W]:
        """A judge: how near a plan is to what was demonstrated."""
        return Nearness(self.domain())

    def situations(self) -> list[Situation[W]]:
        """Every scenario at its present step, seen through cameras that show noise unless the scenario has better."""
        return [replace(s, sight=s.sight or Imagined(s.id)).situation() for s in self.scenarios()]

    def scenes(self) -> list[Scene[W]]:
        """Every scenario as a scene, its world as logged."""
        return [
            Scene(s.id, s.domain, s.log, Ref(s.id, s.split, s.log), s.clock, s.origin, s.lineage, s.world) for s in self.scenarios()
        ]

    def proposals(self) -> Float:
        """Plans [N, T, D]: what was demonstrated, and the same at none, half and one and a half of its size."""
        plans, known = self.domain().demonstrate(self.situations())
        return np.concatenate([plans[known] * scale for scale in (1.0, 0.0, 0.5, 1.5)])

    def observation(self, spec: ObservationSpec) -> Observation[W]:
        """What a policy with this spec sees of the situations."""
        return self.domain().observe(self.situations(), spec)

    def rollouts(self) -> list[Rollout[W]]:
        """The logs themselves, as if somebody had driven them, for as long as one plan, one decision at each quarter."""
        return [self._rollout(scenario) for scenario in self.scenarios()]

    def _rollout(self, scenario: Scenario[W]) -> Rollout[W]:
        clock, length = scenario.clock, self.domain().plan.steps
        end = min(clock.now + 1 + length, clock.steps)
        steps = np.arange(clock.now, max(end - 1, clock.now + 1), max(length // 4, 1))
        at = [Situation(f"{scenario.id}@{step}", scenario.log, scenario.world, int(step)) for step in steps]
        plans, none = self.domain().demonstrate(at)[0], np.full(len(steps), -1)
        return Rollout(
            f"{scenario.id}/log", scenario.domain, scenario.log, scenario.id, "log", 0, clock, end, scenario.world,
            steps, plans, none, np.zeros(len(steps)), scenario.lineage,
        )  # fmt: skip

    def experience(self, policy: Policy[W]) -> Memory:
        """Decisions to learn from: the situations as the policy sees them, with rewards over its proposals where it has some."""
        proposals = policy.proposals if isinstance(policy, SupportsLogProb) else None
        shown = self.demonstrations(policy)
        if proposals is None:
            return shown
        return Memory(replace(shown.block, rewards=self.reward().score(self.demonstrated(), proposals).total))

    def demonstrated(self) -> list[Situation[W]]:
        """What is learned from. Give more than the situations where a policy of the domain needs more to prepare itself."""
        return self.situations()

    def demonstrations(self, policy: Policy[W]) -> Memory:
        """The situations as the policy sees them and what was done in them, before rewards are given."""
        situations = self.demonstrated()
        expert, known = self.domain().demonstrate(situations)
        zeros = np.zeros(len(situations), np.int64)
        ids, logs = tuple(s.id for s in situations), tuple(s.log for s in situations)
        rewards, seen = np.zeros((len(zeros), 0)), self.domain().observe(situations, policy.spec)
        return Memory(Decisions(seen, zeros, zeros, expert, known, zeros - 1, zeros * 1.0, rewards, {}, ids, logs))


@dataclass(frozen=True)
class Memory:
    """An Experience in one block of memory."""

    block: Decisions[Any]

    def __len__(self) -> int:
        return self.block.size

    def batches(self, size: int, seed: int | None) -> Iterator[Decisions[Any]]:
        """One pass, as ``wetoolkit.types.Experience`` says."""
        order = np.arange(self.block.size)
        if seed is not None:
            np.random.default_rng(seed).shuffle(order)
        yield from (take(self.block, order[start : start + size]) for start in range(0, len(order), size))

    @property
    def shape(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of one row of every observation array."""
        return {name: array.shape[1:] for name, array in self.block.observation.arrays.items()}


class Constant:
    """A policy that always has the same plan [T, D]."""

    spec = ObservationSpec()

    def __init__(self, plan: Float) -> None:
        self.plan = plan

    def act(self, observation: Observation[Any], seed: int) -> Plan:
        """The plan, B times."""
        return Plan(np.repeat(self.plan[None], observation.size, axis=0))


class Nearness:
    """A reward that any domain can have: exp(-d), d the mean distance to the demonstrated plan over its steps (1 where unknown)."""

    metric = Metric("nearness", "1.0")

    def __init__(self, domain: Domain[Any]) -> None:
        self.domain = domain

    def score(self, situations: Sequence[Situation[Any]], proposals: Float) -> Scores:
        """Scores [B, N] of proposals against what was demonstrated."""
        plans = np.broadcast_to(proposals, (len(situations), *proposals.shape[-3:])).astype(np.float64)  # [B, N, T, D]
        return self._scores(self._near(list(situations), plans))

    def judge(self, rollouts: Sequence[Rollout[Any]]) -> Scores:
        """Scores [B]: how near to its first plan each came."""
        firsts = [replace(rollout.situations()[0], id=rollout.id) for rollout in rollouts]
        plans = np.array([rollout.plans[:1] for rollout in rollouts], np.float64).reshape(len(rollouts), 1, *self.domain.plan.shape)
        return self._scores(self._near(firsts, plans)[:, 0])

    def _near(self, situations: list[Situation[Any]], plans: Float) -> Float:
        shown, known = self.domain.demonstrate(situations)
        gap = np.linalg.norm(plans - shown[:, None], axis=-1).mean(-1)  # [B, N] in the plan's units
        return np.exp(-gap * known[:, None])  # type: ignore[no-any-return]

    def _scores(self, near: Float) -> Scores:
        return Scores(self.metric, near, near > 0.5, {"near": Term(near, Role.WEIGHTED, 1.0)})
