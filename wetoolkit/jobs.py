"""The work of one chunk, for any executor: built once with its parts, sent to the workers, called with a Chunk, writes its file.

A broken item is one row in the file's ``failed``; the rest of the chunk goes on. Everything a part returns is validated here, and
whatever it raises is recorded with the part's name, its distribution and the item's id.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from wetoolkit.experience import join, write_shard
from wetoolkit.kinds import SupportsRender
from wetoolkit.latency import Sample, Stopwatch
from wetoolkit.sight import sighted
from wetoolkit.store import write_block
from wetoolkit.types import (
    Array,
    Decisions,
    Failure,
    Float,
    Int,
    ObservationSpec,
    Ref,
    Rollout,
    Scenario,
    Scene,
    Scores,
    Situation,
    Step,
    require,
)
from wetoolkit.work import Chunk, Failed, attempt, derive, together


def finish(chunk: Chunk, values: Sequence[Any], failed: Sequence[Failed], more: Mapping[str, Any] | None = None) -> None:
    """Write a chunk's values, their ids and logs, what failed, and ``more`` facts."""
    facts = {
        **(more or {}),
        "ids": [getattr(value, "id", "") for value in values],
        "logs": [getattr(value, "log", "") for value in values],
        "failed": [asdict(row) for row in failed],
    }
    write_block(chunk.path, values, facts)


@dataclass(frozen=True)
class Loader:
    """Loads scenarios of a data set, checked and with their Lineage begun."""

    dataset: Any
    step: Step
    domain: Any = None  # reads recorded pictures, where it can

    def load(self, ref: Ref) -> Scenario[Any]:
        """One scenario; ``ValidationError`` where it is not the one that was asked for."""
        scenario: Scenario[Any] = self.dataset.load(ref)
        scenario.validate()
        require((scenario.id, scenario.log) == (ref.id, ref.log), f"loaded {scenario.id!r}", "scenario.id", f"return {ref.id!r}")
        if not scenario.lineage.steps:
            scenario = replace(scenario, lineage=scenario.lineage.then(self.step))
        return sighted(scenario, self.dataset, self.domain)

    def all(self, refs: Sequence[Ref], failed: list[Failed], stage: str) -> list[Scenario[Any]]:
        """Those that can be loaded."""
        return [s for ref in refs for s in attempt(failed, stage, ref.id, ref.log, self.step, partial(self.load, ref))]


@dataclass(frozen=True)
class Demonstrate:
    """Log frames as decisions to imitate: what was seen and what the log's own driver did."""

    loader: Loader
    domain: Any
    spec: ObservationSpec

    def __call__(self, chunk: Chunk) -> None:
        """Refs -> one shard."""
        failed: list[Failed] = []
        situations = [s.situation() for s in self.loader.all(chunk.payload, failed, "demonstrations")]

        def alone(situation: Situation[Any]) -> list[Any]:
            return attempt(
                failed, "demonstrations", situation.id, situation.log, self.loader.step, lambda: self._decide([situation])
            )

        keep(chunk, together(situations, lambda all: [self._decide(all)], alone), failed)

    def _decide(self, situations: Sequence[Situation[Any]]) -> Decisions[Any]:
        return decisions(self.domain, self.spec, situations, source=0, number=0)


def decisions(
    domain: Any,
    spec: ObservationSpec,
    situations: Sequence[Situation[Any]],
    *,
    source: int,
    number: int,
    scores: Scores | None = None,
    taken: Mapping[str, Array] | None = None,
    terms: bool = False,
) -> Decisions[Any]:
    """A validated block of situations. Log frames (source 0) carry the expert; ``taken``: choice, log_prob, trust [B] of others."""
    count = len(situations)
    observation = domain.observe(situations, spec)
    expert, known = np.zeros((count, *domain.plan.shape), np.float32), np.zeros(count, np.bool_)
    if source == 0 and count:
        expert, known = domain.demonstrate(situations)
    taken = {"choice": np.full(count, -1, np.int64), "log_prob": np.zeros(count), "trust": np.ones(count), **(taken or {})}
    block = Decisions(
        observation=replace(observation, trust=None, trust_known=None),
        source=np.full(count, source, np.int64),
        round=np.full(count, number, np.int64),
        expert=np.where(known[:, None, None], expert, 0).astype(np.float32),
        has_expert=np.asarray(known, np.bool_),
        choice=np.asarray(taken["choice"], np.int64),
        log_prob=np.asarray(taken["log_prob"], np.float64),
        rewards=np.zeros((count, 0), np.float32) if scores is None else scores.total.astype(np.float32),
        terms={name: term.values.astype(np.float32) for name, term in scores.terms.items()} if scores and terms else {},
        ids=tuple(s.id for s in situations),
        logs=tuple(s.log for s in situations),
        trust=np.asarray(taken["trust"], np.float64),
    )
    block.validate()
    return block


def keep(chunk: Chunk, blocks: Sequence[Decisions[Any]], failed: Sequence[Failed], more: Mapping[str, Any] | None = None) -> None:
    """Write blocks as one shard, of no rows where there is none, and ``more`` facts."""
    write_shard(chunk.path, join(blocks) if blocks else None, {**(more or {}), "failed": [asdict(row) for row in failed]})


@dataclass(frozen=True)
class MineJob:
    """Failures of the policy."""

    loader: Loader
    miner: Any
    policy: Any
    reward: Any
    step: Step
    seed: int

    def __call__(self, chunk: Chunk) -> None:
        """Refs -> Failures."""
        failed: list[Failed] = []
        scenarios = self.loader.all(chunk.payload, failed, "mine")

        def alone(scenario: Scenario[Any]) -> list[Failure]:
            found = attempt(failed, "mine", scenario.id, scenario.log, self.step, lambda: self._mine([scenario]))
            return [failure for failures in found for failure in failures]

        finish(chunk, together(scenarios, self._mine, alone), failed)

    def _mine(self, scenarios: Sequence[Scenario[Any]]) -> list[Failure]:
        found = list(self.miner.mine(scenarios, self.policy, self.reward, self.seed))
        steps = {scenario.id: scenario.clock.steps for scenario in scenarios}
        for failure in found:
            failure.validate()
            require(
                failure.scenario.id in steps, f"scenario {failure.scenario.id!r} was not given", "failure.scenario", "keep its Ref"
            )
            inside = failure.step < steps[failure.scenario.id]
            require(inside, f"step {failure.step} of {steps[failure.scenario.id]}", "failure.step", "give an index into the clock")
        return found


@dataclass(frozen=True)
class ReconstructJob:
    """Scenes from failures, and from scenarios without one."""

    loader: Loader
    reconstructor: Any
    step: Step
    seed: int

    def __call__(self, chunk: Chunk) -> None:
        """Failures or Refs -> Scenes."""
        failed: list[Failed] = []
        scenes = []
        for item in chunk.payload:
            failure = item if isinstance(item, Failure) else None
            for scenario in self.loader.all([failure.scenario if failure else item], failed, "reconstruct"):
                call = partial(rebuild, self.reconstructor, self.step, scenario, failure, self.seed)
                scenes += attempt(failed, "reconstruct", scenario.id, scenario.log, self.step, call)
        finish(chunk, scenes, failed)


def rebuild(reconstructor: Any, step: Step, scenario: Scenario[Any], failure: Failure | None, seed: int) -> Scene[Any]:
    """One validated scene whose Lineage goes on from the scenario's."""
    own = derive(seed, "reconstruct", scenario.id, failure.step if failure else -1)
    scene: Scene[Any] = reconstructor.reconstruct(scenario, failure, own)
    scene.validate()
    due = failure.step if failure else scenario.clock.now
    require(scene.clock.now == due, f"now is {scene.clock.now}", "scene.clock.now", f"the failure's step is {due}")
    return replace(scene, lineage=scenario.lineage.then(replace(step, seed=own)))


@dataclass(frozen=True)
class VaryJob:
    """Variants of scenes."""

    world: type
    behaviours: tuple[tuple[Any, int, Step, str], ...]  # each with its ``count`` and ``of``, as in BehaviourPart
    logged: bool
    seed: int
    foresee: Callable[[Scene[Any]], Scene[Any]] | None = None  # gives a scene with what the policy did in it as its record

    def __call__(self, chunk: Chunk) -> None:
        """A file of Scenes -> Scenes, each followed by its variants."""
        failed: list[Failed] = []
        scenes = chunk.payload.read(Scene, self.world)
        out: list[Scene[Any]] = []
        for scene in scenes:
            out += [scene] if self.logged else []
            seen, sort = [scene], "failures" if scene.failure else "ordinary"
            mine = [(place, *part) for place, (*part, of) in enumerate(self.behaviours) if of in ("all", sort)]
            if self.foresee is not None and mine:
                seen = attempt(failed, "vary", scene.id, scene.log, mine[0][3], partial(self.foresee, scene))
            for place, behaviour, count, step in mine if seen else ():
                own = derive(self.seed, "vary", place, scene.id)
                call = partial(varied, behaviour, step, seen[0], count, own)
                out += [item for found in attempt(failed, "vary", scene.id, scene.log, step, call) for item in found]
        finish(chunk, out, failed)


def varied(behaviour: Any, step: Step, scene: Scene[Any], count: int, seed: int) -> list[Scene[Any]]:
    """Validated variants whose Lineage goes on from the scene's."""
    return traced(behaviour.vary(scene, count, seed), step, scene, count, seed)


def traced(found: Sequence[Scene[Any]], step: Step, scene: Scene[Any], count: int, seed: int) -> list[Scene[Any]]:
    """What a behaviour made of a scene, validated, its Lineage going on from the scene's."""
    require(len(found) <= count, f"{len(found)} variants", "behaviour.count", f"at most {count} were asked")
    for variant in found:
        variant.validate()
        require(variant.id != scene.id, "a variant has its scene's id", "scene.id", "give every variant an id of its own")
    return [replace(variant, lineage=scene.lineage.then(replace(step, seed=seed))) for variant in found]


@dataclass(frozen=True)
class RolloutJob:
    """Rollouts of a policy in scenes."""

    world: type
    simulator: Any
    policy: Any
    name: str
    steps: tuple[Step, Step]  # of the policy, of the simulator
    seed: int
    renderers: Mapping[Step, SupportsRender] = field(default_factory=dict)

    def __call__(self, chunk: Chunk) -> list[Sample]:
        """A file of Scenes -> Rollouts. Answers how long policy and renderers took."""
        failed: list[Failed] = []
        scenes = chunk.payload.read(Scene, self.world)
        watch = Stopwatch(self.name)
        simulator, policy = watch.simulator(self.simulator, self.renderers), watch.policy(self.policy)

        def drive(scenes: Sequence[Scene[Any]]) -> list[Rollout[Any]]:
            seeds = [derive(self.seed, "rollout", scene.id) for scene in scenes]
            return acted(simulator, policy, self.name, self.steps, scenes, seeds, None)

        def alone(scene: Scene[Any]) -> list[Rollout[Any]]:
            found = attempt(failed, "rollout", scene.id, scene.log, self.steps[1], lambda: drive([scene]))
            return [rollout for rollouts in found for rollout in rollouts]

        rollouts = together(scenes, drive, alone)
        finish(chunk, rollouts, failed, {"trust": trust_of(rollouts)})
        return watch.samples()


def trust_of(rollouts: Sequence[Rollout[Any]]) -> list[float | None]:
    """Trust of every decision at which pictures were seen; None where it is not known."""
    pairs = [pair for r in rollouts if r.images for pair in zip(r.trust.tolist(), r.trust_known.tolist(), strict=True)]
    return [round(trust, 6) if known else None for trust, known in pairs]


def acted(
    simulator: Any,
    policy: Any,
    name: str,
    links: Sequence[Step],
    scenes: Sequence[Scene[Any]],
    seeds: Sequence[int],
    horizon: float | None,
) -> list[Rollout[Any]]:
    """One validated rollout a scene, with the policy's name and a Lineage that goes on from the scene's."""
    rollouts = list(simulator.rollout(scenes, policy, seeds, horizon))
    require(len(rollouts) == len(scenes), f"{len(rollouts)} rollouts of {len(scenes)} scenes", "simulator.rollout", "one each")
    out = []
    for scene, seed, rollout in zip(scenes, seeds, rollouts, strict=True):
        rollout.validate()
        require(rollout.scene == scene.id, f"scene {rollout.scene!r}", "rollout.scene", f"keep the order: {scene.id!r} was due")
        steps = (*scene.lineage.steps, *links[:-1], replace(links[-1], seed=seed))
        out.append(replace(rollout, policy=name, lineage=replace(scene.lineage, steps=steps)))
    return out


@dataclass(frozen=True)
class Frame:
    """A log frame to learn from; the scenario's own present step where ``step`` is None."""

    ref: Ref
    step: int | None


@dataclass(frozen=True)
class Scoring:
    """What turns situations into decisions with dense rewards."""

    domain: Any
    spec: ObservationSpec
    reward: Any
    step: Step
    proposals: Float | None  # [K, T, D]; None: the policy has none, so there is nothing to score
    number: int
    terms: bool

    def block(
        self, situations: Sequence[Situation[Any]], source: int, taken: Mapping[str, Array] | None = None
    ) -> list[Decisions[Any]]:
        """One validated block."""
        scores = None
        if self.proposals is not None:
            scores = self.reward.score(situations, self.proposals)
            scores.validate()
            asked = (len(situations), len(self.proposals))
            require(scores.total.shape == asked, f"shape {scores.total.shape}", "scores.total", f"{asked} was asked")
        return [
            decisions(
                self.domain, self.spec, situations, source=source, number=self.number, scores=scores, taken=taken, terms=self.terms
            )
        ]


@dataclass(frozen=True)
class RolloutFrames(Scoring):
    """Decisions of rollouts, those left out whose pictures are not trusted."""

    stride: int
    least_trust: float = 0.0
    rest: bool = False  # what comes after such a decision is left out as well

    def __call__(self, chunk: Chunk) -> None:
        """A file of Rollouts -> one shard."""
        failed: list[Failed] = []
        rollouts = chunk.payload.read(Rollout, self.domain.world)
        blocks = []
        asked = sum(len(range(0, len(rollout.decisions), self.stride)) for rollout in rollouts)
        rejected = sum(len(self.rows(rollout, kept=False)) for rollout in rollouts)
        for rollout in rollouts:
            found = attempt(failed, "experience", rollout.id, rollout.log, self.step, partial(self._frames, rollout))
            blocks += [block for part in found for block in part if block.size]
        keep(chunk, blocks, failed, {"asked": asked, "rejected": rejected})

    def rows(self, rollout: Rollout[Any], kept: bool = True) -> Int:
        """Which decisions of a rollout are learned from, or are left out because they are not trusted."""
        good = rollout.trust >= self.least_trust
        good = np.logical_and.accumulate(good) if self.rest else good
        rows = np.arange(0, len(good), self.stride)
        picked: Int = rows[good[rows] == kept]
        return picked

    def _frames(self, rollout: Rollout[Any]) -> list[Decisions[Any]]:
        rows, situations = self.rows(rollout), rollout.situations()
        taken = {"choice": rollout.choices[rows], "log_prob": rollout.log_probs[rows], "trust": rollout.trust[rows]}
        return self.block([situations[row] for row in rows], 1, taken) if len(rows) else []


@dataclass(frozen=True)
class LogFrames(Scoring):
    """Frames of the log itself."""

    loader: Loader

    def __call__(self, chunk: Chunk) -> None:
        """Frames -> one shard."""
        failed: list[Failed] = []
        situations = []
        for frame in chunk.payload:
            for scenario in self.loader.all([frame.ref], failed, "experience"):
                situation = scenario.situation(frame.step)
                situations.append(replace(situation, id=f"{scenario.id}@{situation.step}"))

        def alone(situation: Situation[Any]) -> list[Decisions[Any]]:
            found = attempt(failed, "experience", situation.id, situation.log, self.step, lambda: self.block([situation], 0))
            return [block for part in found for block in part]

        keep(chunk, together(situations, lambda all: self.block(all, 0), alone), failed)
