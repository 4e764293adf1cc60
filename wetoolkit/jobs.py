"""The work of one chunk, for any executor: built once with its parts, pickled to a worker, called with a Chunk, writes the chunk's file.

A broken item is one row in the file's ``failed``; the rest of the chunk goes on. Everything a part returns is validated here, and whatever
it raises is recorded with the part's name, its distribution and the item's id.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from wetoolkit.errors import ValidationError
from wetoolkit.experience import join, write_shard
from wetoolkit.store import read_block, write_block
from wetoolkit.types import (
    Array,
    Decisions,
    Failure,
    Float,
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


def finish(chunk: Chunk, values: Sequence[Any], failed: Sequence[Failed]) -> None:
    """Write a chunk's values, their ids and logs, and what failed."""
    facts = {
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

    def load(self, ref: Ref) -> Scenario[Any]:
        """One scenario; ``ValidationError`` where it is not the one that was asked for."""
        scenario: Scenario[Any] = self.dataset.load(ref)
        scenario.validate()
        require((scenario.id, scenario.log) == (ref.id, ref.log), f"loaded {scenario.id!r}", "scenario.id", f"return {ref.id!r}")
        if not scenario.lineage.steps:
            scenario = replace(scenario, lineage=scenario.lineage.then(self.step))
        return scenario

    def all(self, refs: Sequence[Ref], failed: list[Failed], stage: str) -> list[Scenario[Any]]:
        """Those that can be loaded."""
        return [s for ref in refs for s in attempt(failed, stage, ref.id, ref.log, self.step, lambda ref=ref: self.load(ref))]


def present(scenario: Scenario[Any], step: int | None = None) -> Situation[Any]:
    """A scenario at its present step, or at another."""
    at = scenario.clock.now if step is None else step
    return Situation(scenario.id, scenario.log, scenario.world, at)


@dataclass(frozen=True)
class Demonstrate:
    """Log frames as decisions to imitate: what was seen and what the log's own driver did."""

    loader: Loader
    domain: Any
    spec: ObservationSpec

    def __call__(self, chunk: Chunk) -> None:
        """Refs -> one shard."""
        failed: list[Failed] = []
        situations = [present(s) for s in self.loader.all(chunk.payload, failed, "demonstrations")]

        def alone(situation: Situation[Any]) -> list[Any]:
            call = lambda: self._decide([situation])  # noqa: E731
            return attempt(failed, "demonstrations", situation.id, situation.log, self.loader.step, call)

        blocks = together(situations, lambda all: [self._decide(all)], alone)
        write_shard(chunk.path, _joined(blocks, self.domain, self.spec, 0), {"failed": [asdict(row) for row in failed]})

    def _decide(self, situations: Sequence[Situation[Any]]) -> Decisions[Any]:
        return decisions(self.domain, self.spec, situations, source=0, number=0)


def decisions(
    domain: Any, spec: ObservationSpec, situations: Sequence[Situation[Any]], *, source: int, number: int, scores: Scores | None = None,
    taken: Mapping[str, Array] | None = None, terms: bool = False,
) -> Decisions[Any]:  # fmt: skip
    """Situations as a validated block. Log frames (source 0) carry the expert; ``taken`` holds choice and log_prob [B] of rollouts."""
    count = len(situations)
    observation = domain.observe(situations, spec)
    expert, known = np.zeros((count, *domain.plan.shape), np.float32), np.zeros(count, np.bool_)
    if source == 0 and count:
        expert, known = domain.demonstrate(situations)
    taken = taken or {"choice": np.full(count, -1, np.int64), "log_prob": np.zeros(count, np.float64)}
    block = Decisions(
        observation=observation,
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
    )
    block.validate()
    return block


def _joined(blocks: Sequence[Decisions[Any]], domain: Any, spec: ObservationSpec, source: int) -> Decisions[Any]:
    """All blocks as one; of no rows where there is none."""
    return join(blocks) if blocks else decisions(domain, spec, [], source=source, number=0)


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
    """Scenes from failures."""

    loader: Loader
    reconstructor: Any
    step: Step
    seed: int

    def __call__(self, chunk: Chunk) -> None:
        """Failures -> Scenes."""
        failed: list[Failed] = []
        scenes = []
        for failure in chunk.payload:
            for scenario in self.loader.all([failure.scenario], failed, "reconstruct"):
                call = lambda s=scenario, f=failure: rebuild(self.reconstructor, self.step, s, f, self.seed)
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
    behaviours: tuple[tuple[Any, int, Step], ...]
    logged: bool
    seed: int

    def __call__(self, chunk: Chunk) -> None:
        """A file of Scenes -> Scenes, each followed by its variants."""
        failed: list[Failed] = []
        scenes, _ = read_block(chunk.payload, Scene, self.world)
        out: list[Scene[Any]] = []
        for scene in scenes:
            out += [scene] if self.logged else []
            for place, (behaviour, count, step) in enumerate(self.behaviours):
                own = derive(self.seed, "vary", place, scene.id)
                call = lambda s=scene, b=behaviour, n=count, t=step, seed=own: varied(b, t, s, n, seed)
                out += [item for found in attempt(failed, "vary", scene.id, scene.log, step, call) for item in found]
        finish(chunk, out, failed)


def varied(behaviour: Any, step: Step, scene: Scene[Any], count: int, seed: int) -> list[Scene[Any]]:
    """Validated variants whose Lineage goes on from the scene's."""
    found = list(behaviour.vary(scene, count, seed))
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

    def __call__(self, chunk: Chunk) -> None:
        """A file of Scenes -> Rollouts."""
        failed: list[Failed] = []
        scenes, _ = read_block(chunk.payload, Scene, self.world)

        def alone(scene: Scene[Any]) -> list[Rollout[Any]]:
            found = attempt(failed, "rollout", scene.id, scene.log, self.steps[1], lambda: self._drive([scene]))
            return [rollout for rollouts in found for rollout in rollouts]

        finish(chunk, together(scenes, self._drive, alone), failed)

    def _drive(self, scenes: Sequence[Scene[Any]]) -> list[Rollout[Any]]:
        seeds = [derive(self.seed, "rollout", scene.id) for scene in scenes]
        return acted(self.simulator, self.policy, self.name, self.steps, scenes, seeds, None)


def acted(
    simulator: Any, policy: Any, name: str, steps: tuple[Step, Step], scenes: Sequence[Scene[Any]], seeds: Sequence[int],
    horizon: float | None,
) -> list[Rollout[Any]]:  # fmt: skip
    """One validated rollout a scene, with the policy's name and a Lineage that goes on from the scene's."""
    rollouts = list(simulator.rollout(scenes, policy, seeds, horizon))
    require(len(rollouts) == len(scenes), f"{len(rollouts)} rollouts of {len(scenes)} scenes", "simulator.rollout", "one each")
    out = []
    for scene, seed, rollout in zip(scenes, seeds, rollouts, strict=True):
        rollout.validate()
        require(rollout.scene == scene.id, f"scene {rollout.scene!r}", "rollout.scene", f"keep the order: {scene.id!r} was due")
        lineage = scene.lineage.then(steps[0]).then(replace(steps[1], seed=seed))
        out.append(replace(rollout, policy=name, lineage=lineage))
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

    def write(self, chunk: Chunk, blocks: Sequence[Decisions[Any]], failed: Sequence[Failed], source: int) -> None:
        """The shard of a chunk."""
        if not blocks:
            blocks = self.block([], source) if self.proposals is None else [self._empty(source)]
        write_shard(chunk.path, join(blocks), {"failed": [asdict(row) for row in failed]})

    def _empty(self, source: int) -> Decisions[Any]:
        count = 0 if self.proposals is None else len(self.proposals)
        block = decisions(self.domain, self.spec, [], source=source, number=self.number)
        return replace(block, rewards=np.zeros((0, count), np.float32))


@dataclass(frozen=True)
class RolloutFrames(Scoring):
    """Decisions of rollouts."""

    stride: int = 1

    def __call__(self, chunk: Chunk) -> None:
        """A file of Rollouts -> one shard."""
        failed: list[Failed] = []
        rollouts, _ = read_block(chunk.payload, Rollout, self.domain.world)
        blocks = []
        for rollout in rollouts:
            call = lambda r=rollout: self._frames(r)
            found = attempt(failed, "experience", rollout.id, rollout.log, self.step, call)
            blocks += [block for part in found for block in part]
        self.write(chunk, blocks, failed, 1)

    def _frames(self, rollout: Rollout[Any]) -> list[Decisions[Any]]:
        rows = slice(None, None, self.stride)
        taken = {"choice": rollout.choices[rows], "log_prob": rollout.log_probs[rows]}
        return self.block(rollout.situations()[rows], 1, taken)


@dataclass(frozen=True)
class LogFrames(Scoring):
    """Frames of the log itself."""

    loader: Loader = field(kw_only=False, default=None)  # type: ignore[assignment]

    def __call__(self, chunk: Chunk) -> None:
        """Frames -> one shard."""
        failed: list[Failed] = []
        situations = []
        for frame in chunk.payload:
            for scenario in self.loader.all([frame.ref], failed, "experience"):
                situation = present(scenario, frame.step)
                situations.append(replace(situation, id=f"{scenario.id}@{situation.step}"))

        def alone(situation: Situation[Any]) -> list[Decisions[Any]]:
            found = attempt(failed, "experience", situation.id, situation.log, self.step, lambda: self.block([situation], 0))
            return [block for part in found for block in part]

        self.write(chunk, together(situations, lambda all: self.block(all, 0), alone), failed, 0)


@dataclass(frozen=True)
class Trial:
    """A policy's exam on some scenarios."""

    policy: str
    split: str
    mode: str  # "open" or "closed"
    refs: tuple[Ref, ...]


@dataclass(frozen=True)
class Result:
    """The outcome of one item: a score, or the reason why there is none."""

    policy: str
    split: str
    mode: str
    id: str
    log: str
    seed: int
    metric: str
    total: float = float("nan")
    success: bool = False
    terms: Mapping[str, float] = field(default_factory=dict)  # those the data can tell
    error: str = ""


@dataclass(frozen=True)
class EvaluateJob:
    """Scores of policies: their plans (open loop) and what they do (closed loop)."""

    loader: Loader
    domain: Any
    policies: Mapping[str, Any]
    reward: Any
    reconstructor: Any
    simulator: Any
    behaviour: Any
    horizon: float | None
    seeds: Sequence[int]
    seed: int
    steps: Mapping[str, Step]  # role -> its link

    def __call__(self, chunk: Chunk) -> None:
        """A Trial -> Results."""
        trial, failed, results = chunk.payload, [], []  # type: Trial, list[Failed], list[Result]
        scenarios = self.loader.all(trial.refs, failed, "evaluate")
        for seed in self.seeds if trial.mode == "closed" else self.seeds[:1]:
            judge: Callable[[Sequence[Scenario[Any]]], Scores] = (
                (lambda part, seed=seed: self._drive(part, trial.policy, seed))
                if trial.mode == "closed"
                else (lambda part, seed=seed: self._plan(part, trial.policy, seed))
            )
            results += self._judged(trial, seed, scenarios, judge, failed)
        failed = [replace(row, id=f"{trial.policy}: {row.id}") for row in failed]
        finish(chunk, results, failed)

    def _judged(
        self, trial: Trial, seed: int, scenarios: Sequence[Scenario[Any]], judge: Callable[..., Scores], failed: list[Failed]
    ) -> list[Result]:
        """One Result a ref, in order; those that failed with their reason."""

        def alone(scenario: Scenario[Any]) -> list[Result]:
            step = self.steps["simulator" if trial.mode == "closed" else "evaluate.reward"]
            found = attempt(failed, "evaluate", scenario.id, scenario.log, step, lambda: judge([scenario]))
            return [result for scores in found for result in self._rows(trial, seed, [scenario], scores)]

        done = together(scenarios, lambda all: self._rows(trial, seed, all, judge(all)), alone)
        good = {result.id: result for result in done}
        reasons = {row.id: row.reason for row in failed}
        return [good.get(ref.id) or self._broken(trial, ref, seed, reasons.get(ref.id, "no score was given")) for ref in trial.refs]

    def _rows(self, trial: Trial, seed: int, scenarios: Sequence[Scenario[Any]], scores: Scores) -> list[Result]:
        scores.validate()
        require(scores.total.shape == (len(scenarios),), f"shape {scores.total.shape}", "scores.total", "one each")
        told = {name: term.values for name, term in scores.terms.items() if term.available}
        return [
            Result(
                trial.policy, trial.split, trial.mode, s.id, s.log, seed, str(scores.metric), float(scores.total[row]),
                bool(scores.success[row]), {name: float(values[row]) for name, values in told.items()},
            )
            for row, s in enumerate(scenarios)
        ]  # fmt: skip

    def _broken(self, trial: Trial, ref: Ref, seed: int, reason: str) -> Result:
        return Result(trial.policy, trial.split, trial.mode, ref.id, ref.log, seed, str(self.reward.metric), error=reason)

    def _plan(self, scenarios: Sequence[Scenario[Any]], name: str, seed: int) -> Scores:
        policy, situations = self.policies[name], [present(s) for s in scenarios]
        plan = policy.act(self.domain.observe(situations, policy.spec), derive(self.seed, "open", seed))
        plan.validate(self.domain.plan, len(situations))
        scores: Scores = self.reward.score(situations, plan.trajectories[:, None])
        if scores.total.shape != (len(situations), 1):
            raise ValidationError(f"shape {scores.total.shape}", field="scores.total", way_out="return [B, N]")
        terms = {key: replace(term, values=term.values[:, 0]) for key, term in scores.terms.items()}
        return replace(scores, total=scores.total[:, 0], success=scores.success[:, 0], terms=terms)

    def _drive(self, scenarios: Sequence[Scenario[Any]], name: str, seed: int) -> Scores:
        scenes = [self._scene(scenario, seed) for scenario in scenarios]
        seeds = [derive(self.seed, "closed", seed, scene.id) for scene in scenes]
        links = (self.steps["simulator"], self.steps["simulator"])
        rollouts = acted(self.simulator, self.policies[name], name, links, scenes, seeds, self.horizon)
        scores: Scores = self.reward.judge(rollouts)
        return scores

    def _scene(self, scenario: Scenario[Any], seed: int) -> Scene[Any]:
        scene = rebuild(self.reconstructor, self.steps["reconstructor"], scenario, None, derive(self.seed, "closed", seed))
        if self.behaviour is None:
            return scene
        found = varied(self.behaviour, self.steps["evaluate.behaviour"], scene, 1, derive(self.seed, "closed", seed, scene.id))
        require(bool(found), "no variant was made", "evaluate.behaviour", "choose a behaviour that can vary every scene")
        return found[0]
