"""The exam of a policy on some scenarios: its plans scored (open loop), or what it does driven and judged (closed loop)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from wetoolkit.errors import ValidationError
from wetoolkit.jobs import Loader, acted, finish, rebuild, varied
from wetoolkit.kinds import SupportsRender
from wetoolkit.latency import Sample, Stopwatch
from wetoolkit.record import Drive, drives, stamped
from wetoolkit.types import Ref, Scenario, Scene, Scores, Step, require
from wetoolkit.work import Chunk, Failed, attempt, derive, together


@dataclass(frozen=True)
class Trial:
    """A policy's exam on some scenarios."""

    policy: str
    split: str
    mode: str  # "open" or "closed"
    refs: tuple[Ref, ...]
    scenes: str = ""  # whose scenes are driven in: one of ``evaluate.reconstructors``; "": the experiment's own

    @property
    def entrant(self) -> str:
        """The name that its results go by."""
        return f"{self.policy} in {self.scenes}" if self.scenes else self.policy

    def item(self, row: int) -> Trial:
        """The exam on one of them."""
        return replace(self, refs=self.refs[row : row + 1])


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
    drive: Drive | None = None  # closed loop only
    scenes: str = ""  # as in its Trial


RECONSTRUCTORS = "evaluate.reconstructors"  # roles of those whose scenes are driven in besides
Judged = tuple[Scores, Sequence[Drive | None]]


def seeds_of(mode: str, seeds: Sequence[int]) -> Sequence[int]:
    """The seeds of a trial: a plan is judged once, a drive once for each seed."""
    return seeds if mode == "closed" else seeds[:1]


@dataclass(frozen=True)
class EvaluateJob:
    """Scores of policies: their plans (open loop) and what they do (closed loop)."""

    loader: Loader
    domain: Any
    policies: Mapping[str, Any]
    reward: Any
    reconstructors: Mapping[str, Any]  # "" is the experiment's own
    simulator: Any
    behaviour: Any
    horizon: float | None
    seeds: Sequence[int]
    seed: int
    steps: Mapping[str, Step]  # role -> its link
    renderers: Mapping[Step, SupportsRender] = field(default_factory=dict)

    def __call__(self, chunk: Chunk) -> list[Sample]:
        """A Trial -> Results. Answers how long policy and renderers took in closed loop."""
        trial: Trial = chunk.payload
        failed: list[Failed] = []
        scenarios = self.loader.all(trial.refs, failed, "evaluate")
        results, samples = [], []
        for seed in seeds_of(trial.mode, self.seeds):
            watch = Stopwatch(trial.entrant)
            judge = partial(self._drive, watch=watch) if trial.mode == "closed" else self._plan
            results += self._judged(trial, seed, scenarios, partial(judge, trial=trial, seed=seed), failed)
            samples += watch.samples()
        finish(chunk, results, [replace(row, id=f"{trial.entrant}: {row.id}") for row in failed])
        return samples

    def _judged(
        self, trial: Trial, seed: int, scenarios: Sequence[Scenario[Any]], judge: Callable[..., Judged], failed: list[Failed]
    ) -> list[Result]:
        """One Result a ref, in order; those that failed with their reason."""

        def all_of(part: Sequence[Scenario[Any]]) -> list[Result]:
            return self._rows(trial, seed, part, *judge(part))

        def alone(scenario: Scenario[Any]) -> list[Result]:
            step = self.steps["simulator" if trial.mode == "closed" else "evaluate.reward"]
            call = partial(all_of, [scenario])
            return [row for rows in attempt(failed, "evaluate", scenario.id, scenario.log, step, call) for row in rows]

        done = together(scenarios, all_of, alone)
        good = {result.id: result for result in done}
        reasons = {row.id: row.reason for row in failed}
        return [good.get(ref.id) or self._broken(trial, ref, seed, reasons.get(ref.id, "no score was given")) for ref in trial.refs]

    def _rows(
        self, trial: Trial, seed: int, scenarios: Sequence[Scenario[Any]], scores: Scores, driven: Sequence[Drive | None]
    ) -> list[Result]:
        scores.validate()
        require(scores.total.shape == (len(scenarios),), f"shape {scores.total.shape}", "scores.total", "one each")
        told = {name: term.values for name, term in scores.terms.items() if term.available}
        return [
            Result(
                trial.entrant, trial.split, trial.mode, s.id, s.log, seed, str(scores.metric), float(scores.total[row]),
                bool(scores.success[row]), {name: float(values[row]) for name, values in told.items()}, drive=driven[row],
                scenes=trial.scenes,
            )
            for row, s in enumerate(scenarios)
        ]  # fmt: skip

    def _broken(self, trial: Trial, ref: Ref, seed: int, reason: str) -> Result:
        metric = str(self.reward.metric)
        return Result(trial.entrant, trial.split, trial.mode, ref.id, ref.log, seed, metric, error=reason, scenes=trial.scenes)

    def _plan(self, scenarios: Sequence[Scenario[Any]], trial: Trial, seed: int) -> Judged:
        policy, situations = self.policies[trial.policy], [s.situation() for s in scenarios]
        plan = policy.act(self.domain.observe(situations, policy.spec), derive(self.seed, "open", seed))
        plan.validate(self.domain.plan, len(situations))
        scores: Scores = self.reward.score(situations, plan.trajectories[:, None])
        if scores.total.shape != (len(situations), 1):
            raise ValidationError(f"shape {scores.total.shape}", field="scores.total", way_out="return [B, N]")
        terms = {key: replace(term, values=term.values[:, 0]) for key, term in scores.terms.items()}
        scores = replace(scores, total=scores.total[:, 0], success=scores.success[:, 0], terms=terms)
        return scores, [None] * len(situations)

    def _drive(self, scenarios: Sequence[Scenario[Any]], trial: Trial, seed: int, watch: Stopwatch) -> Judged:
        scenes = [self._scene(scenario, seed, trial.scenes) for scenario in scenarios]
        seeds = [derive(self.seed, "closed", seed, scene.id) for scene in scenes]
        simulator, policy = watch.simulator(self.simulator, self.renderers), watch.policy(self.policies[trial.policy])
        rollouts = acted(simulator, policy, trial.policy, [self.steps["simulator"]], scenes, seeds, self.horizon)
        scores: Scores = self.reward.judge(rollouts)
        scores.validate()
        require(scores.total.shape == (len(rollouts),), f"shape {scores.total.shape}", "scores.total", "one each")
        metric = stamped(scores.metric, self.simulator, self.horizon)
        return replace(scores, metric=metric), drives(self.reward, rollouts, scores.success)

    def _scene(self, scenario: Scenario[Any], seed: int, by: str) -> Scene[Any]:
        link = self.steps[f"{RECONSTRUCTORS}.{by}" if by else "reconstructor"]
        scene = rebuild(self.reconstructors[by], link, scenario, None, derive(self.seed, "closed", seed))
        if self.behaviour is None:
            return scene
        found = varied(self.behaviour, self.steps["evaluate.behaviour"], scene, 1, derive(self.seed, "closed", seed, scene.id))
        require(bool(found), "no variant was made", "evaluate.behaviour", "choose a behaviour that can vary every scene")
        return found[0]
