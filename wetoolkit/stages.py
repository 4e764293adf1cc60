"""The stages of a round, one function each: values in, artefacts out. Chunk work is in ``wetoolkit.jobs``."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from wetoolkit.errors import DataError, PluginError, StoreError, UnknownName, ValidationError
from wetoolkit.experience import Shards
from wetoolkit.jobs import (
    Demonstrate,
    EvaluateJob,
    Frame,
    LogFrames,
    MineJob,
    ReconstructJob,
    Result,
    RolloutFrames,
    RolloutJob,
    Trial,
    VaryJob,
)
from wetoolkit.kinds import SupportsLabels, SupportsLogProb, SupportsPrepare, SupportsReport, SupportsSettle, SupportsState
from wetoolkit.store import file_digest, read_block, read_facts, read_state, read_table, write_block, write_state, write_table
from wetoolkit.types import Failure, Ref, Trained
from wetoolkit.work import Failed, Made, Payload, Session, Work, derive, named, pieces

USES = ("pretrain", "mine", "common", "rare")  # what the splits serve for, in the order of the index artefact
TRAINING = ("pretrain", "mine")


@dataclass(frozen=True)
class Entrant:
    """A policy in the evaluation: trained (an artefact) or ready as it is (a role of the experiment)."""

    name: str
    made: Made | None = None
    role: str = ""


# Index: which scenarios serve for what


def index(session: Session) -> Made:
    """List the scenarios of every use once; later stages read this list. Leaks between training and evaluation end the run."""
    e = session.experiment

    def make(work: Work) -> list[Path]:
        work.begin(len(USES))
        dataset = session.parts.build("dataset")
        paths, refs = [], {}
        for use in USES:
            refs[use], failed = _listed(session, dataset, getattr(e.splits, use), getattr(e.limits, use))
            path = session.store.path("tables/parts", f"index-{use}.safetensors")
            write_block(path, refs[use], {"failed": [asdict(row) for row in failed], "repairs": _repairs(dataset)})
            paths.append(path)
        check_leaks(refs)
        return paths

    return session.stage("index", make, roles=["dataset"], settings=[e.splits.model_dump(), e.limits.model_dump()])


def _listed(session: Session, dataset: Any, split: str, limit: int) -> tuple[list[Ref], list[Failed]]:
    """The refs of a split, spread evenly over it where there is a limit, and a row for every id that came twice."""
    step = session.parts.step("dataset")
    if split not in dataset.splits():
        raise UnknownName("split", split, dataset.splits(), component=step.component, distribution=step.distribution)
    found = list(dataset.index(split))
    if not found:
        raise DataError(
            f"the split {split!r} is empty", component=step.component, distribution=step.distribution,
            way_out="name another split under [splits], or give the data set more data",
        )  # fmt: skip
    unique = list({ref.id: ref for ref in reversed(found)}.values())[::-1]
    twice = Counter(ref.id for ref in found)
    failed = [
        Failed(
            "index", ref.id, ref.log, step.component, step.distribution, f"{twice[ref.id]} scenarios of one id; the first is used"
        )
        for ref in unique
        if twice[ref.id] > 1
    ]
    if 0 < limit < len(unique):
        unique = [unique[i * len(unique) // limit] for i in range(limit)]
    return unique, failed


def _repairs(dataset: Any) -> dict[str, int]:
    return {name: int(count) for name, count in dataset.repairs().items()} if isinstance(dataset, SupportsReport) else {}


def check_leaks(refs: Mapping[str, Sequence[Ref]]) -> None:
    """``ValidationError`` where a log serves both for training and for evaluation."""
    training = {ref.log for use in TRAINING for ref in refs[use]}
    for use in USES:
        shared = sorted({ref.log for ref in refs[use]} & training) if use not in TRAINING else []
        if shared:
            raise ValidationError(
                f"{len(shared)} logs serve for training and for evaluation ({use}), such as {shared[0]!r}", field=f"splits.{use}",
                way_out="choose splits that share no log: scores on training logs say nothing",
            )  # fmt: skip


def refs_of(listed: Made, use: str) -> list[Ref]:
    """The scenarios of a use."""
    return read_block(listed.paths[USES.index(use)], Ref)[0]


def ref_chunks(session: Session, refs: Sequence[Ref]) -> list[Payload]:
    """Refs in the experiment's chunks."""
    return [
        Payload([[r.id, r.split, r.log] for r in part], tuple(part), tuple(r.id for r in part), tuple(r.log for r in part))
        for part in pieces(refs, session.experiment.chunk)
    ]


# Policies


def save_policy(session: Session, path: Path, trained: Trained, about: Mapping[str, Any]) -> None:
    """A trained policy as safetensors, with its config and its training's summary; its history as a table beside it."""
    part = session.experiment.policy
    if not isinstance(trained.policy, SupportsState):
        step = session.parts.step("policy")
        raise PluginError(
            "the trained policy has no state()", component=step.component, distribution=step.distribution,
            way_out="implement wetoolkit.kinds.SupportsState so that it can be saved",
        )  # fmt: skip
    config = {"use": part.use, "settings": part.settings, "summary": {k: _plain(v) for k, v in trained.summary.items()}, **about}
    write_state(path, trained.policy.state(), config)


def _plain(value: Any) -> float | str:
    return value if isinstance(value, str) else float(value)


def load_policy(session: Session, made: Made) -> Any:
    """The policy of an artefact, built with the config that stands in it."""
    state, about = read_state(made.paths[0])
    return session.parts.registry.build("policy", about["use"], about["settings"]).with_state(state)


def _train(session: Session, work: Work, role: str, start: Any, reference: Any, shards: Shards, name: str) -> list[Path]:
    """Run an algorithm; the policy and its metrics are the artefacts."""
    step = session.parts.step(role, derive(session.experiment.seed, name))
    if not len(shards):
        raise DataError("there is nothing to learn from", stage=name, way_out="see `wetool report` for the items that failed")
    try:
        trained = session.parts.build(role).train(start, reference, shards, derive(session.experiment.seed, name), work.progress)
    except Exception as error:
        raise named(error, step) from error
    path, table = work.path("policies"), work.path("tables/parts", "parquet")
    save_policy(session, path, trained, {"lineage": [asdict(step)], "decisions": len(shards)})
    metrics = pl.DataFrame({key: list(values) for key, values in trained.metrics.items()})
    write_table(table, metrics)
    if "gpu_seconds" in trained.summary:
        work.cost.gpu_seconds = float(trained.summary["gpu_seconds"])
    return [path, table]


def pretrain(session: Session, listed: Made) -> Made:
    """The base policy: demonstrations of the pre-training split, and the algorithm that imitates them."""
    parts = session.parts

    def demonstrate(work: Work) -> list[Path]:
        payloads = ref_chunks(session, refs_of(listed, "pretrain"))
        return work.chunks("experience", payloads, lambda: Demonstrate(_loader(session), parts.domain, parts.build("policy").spec))

    shown = session.stage("demonstrations", demonstrate, of="pretrain", roles=["dataset", "policy"], inputs=[listed])

    def make(work: Work) -> list[Path]:
        shards = Shards(*shown.paths, memory_mb=session.experiment.frames.memory, world=parts.domain.world)
        work.begin(len(shards))
        policy = parts.build("policy")
        if isinstance(policy, SupportsPrepare):
            try:
                policy = policy.prepare(shards, derive(session.experiment.seed, "prepare"))
            except Exception as error:
                raise named(error, parts.step("policy")) from error
        return _train(session, work, "pretrain", policy, None, shards, "pretrain")

    return session.stage("pretrain", make, of="pretrain", roles=["policy", "pretrain"], inputs=[shown])


def _loader(session: Session) -> Any:
    from wetoolkit.jobs import Loader

    return Loader(session.parts.build("dataset"), session.parts.step("dataset"))


# Failures -> scenes -> variants -> rollouts


def mine(session: Session, number: int, listed: Made, policy: Made) -> Made:
    """Failures of the policy in the mining split: the chunks and, settled, one table."""
    parts, name = session.parts, f"mine-{number}"

    def make(work: Work) -> list[Path]:
        def job() -> MineJob:
            seed = derive(session.experiment.seed, name)
            miner, step = parts.build("miner"), parts.step("miner", seed)
            return MineJob(_loader(session), miner, load_policy(session, policy), parts.build("reward"), step, seed)

        paths = work.chunks("tables/parts", ref_chunks(session, refs_of(listed, "mine")), job)
        table = session.store.path("tables", f"failures-{number}.parquet")
        write_table(table, failure_table(settled(parts.build("miner"), paths)))
        return [*paths, table]

    return session.stage(name, make, of=name, roles=["dataset", "miner", "reward"], inputs=[listed], shared=[policy])


def settled(miner: Any, paths: Sequence[Path]) -> list[Failure]:
    """The failures of all chunks, after the miner has seen them together."""
    found = [failure for path in paths for failure in read_block(path, Failure)[0]]
    return list(miner.settle(found)) if isinstance(miner, SupportsSettle) else found


def failure_table(failures: Sequence[Failure]) -> pl.DataFrame:
    """One row a failure; the evidence is JSON."""
    schema = {"id": pl.String, "split": pl.String, "log": pl.String, "kind": pl.String, "step": pl.Int64, "severity": pl.Float64}
    rows = [
        (f.scenario.id, f.scenario.split, f.scenario.log, f.kind, f.step, f.severity, json.dumps(dict(f.evidence), sort_keys=True))
        for f in failures
    ]
    return pl.DataFrame(rows, schema={**schema, "evidence": pl.String}, orient="row")


def failures_of(path: Path) -> list[Failure]:
    """What ``failure_table`` wrote."""
    table = read_table(path)
    lacking = {"id", "split", "log", "kind", "step", "severity", "evidence"} - set(table.columns)
    if lacking:
        raise StoreError(
            f"no table of failures: it lacks {', '.join(sorted(lacking))}", file=path, way_out="give tables/failures-1.parquet"
        )
    return [
        Failure(Ref(r["id"], r["split"], r["log"]), r["kind"], r["step"], r["severity"], json.loads(r["evidence"]))
        for r in table.iter_rows(named=True)
    ]


def chosen(session: Session, mined: Made) -> list[Failure]:
    """One failure for each scenario and step, the most severe; at most ``limits.failures``, the most severe first; in mined order."""
    best: dict[tuple[str, int], Failure] = {}
    for failure in failures_of(mined.paths[-1]):
        key = (failure.scenario.id, failure.step)
        if key not in best or failure.severity > best[key].severity:
            best[key] = failure
    limit = session.experiment.limits.failures or len(best)
    kept = set(sorted(best, key=lambda key: (-best[key].severity, key))[:limit])
    return [failure for key, failure in best.items() if key in kept]


def reconstruct(session: Session, number: int, mined: Made) -> Made:
    """A scene for every failure."""
    parts, name = session.parts, f"reconstruct-{number}"

    def make(work: Work) -> list[Path]:
        def job() -> ReconstructJob:
            return ReconstructJob(
                _loader(session), parts.build("reconstructor"), parts.step("reconstructor"), session.experiment.seed
            )

        failures = chosen(session, mined)
        payloads = [
            Payload([asdict(f) for f in part], tuple(part), tuple(f.scenario.id for f in part), tuple(f.scenario.log for f in part))
            for part in pieces(failures, session.experiment.chunk)
        ]
        paths = work.chunks("scenes", payloads, job)
        _check_unique(session, paths, "reconstructor")
        return paths

    settings = session.experiment.limits.failures
    return session.stage(name, make, of=name, roles=["dataset", "reconstructor"], inputs=[mined], settings=settings)


def _check_unique(session: Session, paths: Sequence[Path], role: str) -> None:
    counts = Counter(id for path in paths for id in read_facts(path)["ids"])
    twice = [id for id, count in counts.items() if count > 1]
    if twice:
        step = session.parts.step(role)
        raise PluginError(
            f"{len(twice)} ids are given to two scenes, such as {twice[0]!r}", component=step.component, distribution=step.distribution,
            way_out="derive the id from the scenario, the step and the failure's kind",
        )  # fmt: skip


def _block_payloads(paths: Sequence[Path]) -> list[Payload]:
    """One payload a file of the stage before."""
    found = [(path, read_facts(path)) for path in paths]
    return [Payload(file_digest(path), path, tuple(facts["ids"]), tuple(facts["logs"])) for path, facts in found]


def vary(session: Session, number: int, scenes: Made) -> Made:
    """The scenes as logged and their variants."""
    parts, e, name = session.parts, session.experiment, f"vary-{number}"
    roles = [f"behaviour.{i}" for i in range(len(e.behaviour))]

    def make(work: Work) -> list[Path]:
        def job() -> VaryJob:
            behaviours = [(parts.build(role), part.count, parts.step(role)) for role, part in zip(roles, e.behaviour, strict=True)]
            return VaryJob(parts.domain.world, tuple(behaviours), e.vary.logged, e.seed)

        paths = work.chunks("scenes", _block_payloads(scenes.paths), job)
        _check_unique(session, paths, "behaviour.0" if roles else "reconstructor")
        return paths

    settings = [e.vary.logged, [part.count for part in e.behaviour]]
    return session.stage(name, make, of=name, roles=roles, inputs=[scenes], settings=settings)


def rollout(session: Session, number: int, variants: Made, policy: Made) -> Made:
    """What the policy does in every scene, in closed loop."""
    parts, name = session.parts, f"rollout-{number}"

    def make(work: Work) -> list[Path]:
        def job() -> RolloutJob:
            steps = (parts.step("policy"), parts.step("simulator"))
            actor = load_policy(session, policy)
            return RolloutJob(parts.domain.world, parts.build("simulator"), actor, policy.stage, steps, session.experiment.seed)

        return work.chunks("rollouts", _block_payloads(variants.paths), job)

    return session.stage(name, make, of=name, roles=["simulator"], inputs=[variants], shared=[policy])


# Experience -> training


def experience(session: Session, number: int, listed: Made, mined: Made, rollouts: Made, policy: Made) -> Made:
    """Decisions with dense rewards: of the rollouts, of the failing log frames and of common frames of the same logs."""
    parts, e, name = session.parts, session.experiment, f"experience-{number}"

    def make(work: Work) -> list[Path]:
        actor = load_policy(session, policy)
        proposals = actor.proposals if isinstance(actor, SupportsLogProb) else None
        scoring = (parts.domain, actor.spec, parts.build("reward"), parts.step("reward"), proposals, number, e.frames.terms)
        frames = _frames(session, number, refs_of(listed, "mine"), mined)
        logged = [
            Payload([asdict(f) for f in part], tuple(part), tuple(f.ref.id for f in part), tuple(f.ref.log for f in part))
            for part in pieces(frames, e.chunk)
        ]
        driven = work.chunks(
            "experience", _block_payloads(rollouts.paths), lambda: RolloutFrames(*scoring, e.frames.rollout_stride)
        )
        return [*driven, *work.chunks("experience", logged, lambda: LogFrames(*scoring, _loader(session)))]

    settings = [e.frames.model_dump(exclude={"memory"}), e.limits.failures, number]
    inputs = [listed, mined, rollouts]
    return session.stage(
        name, make, of=f"train-{number}", roles=["dataset", "reward"], inputs=inputs, shared=[policy], settings=settings
    )


def _frames(session: Session, number: int, refs: Sequence[Ref], mined: Made) -> list[Frame]:
    """The failing log frames, then ordinary ones: so many of the same log, and where it has too few, of any other."""
    failures = chosen(session, mined)
    hard = [Frame(failure.scenario, failure.step) for failure in failures]
    failing = {failure.scenario.id for failure in failures_of(mined.paths[-1])}
    queue = sorted((ref for ref in refs if ref.id not in failing), key=lambda ref: derive(session.experiment.seed, number, ref.id))
    by_log = defaultdict(list)
    for ref in queue:
        by_log[ref.log].append(ref)
    wanted = Counter(frame.ref.log for frame in hard)
    ratio = session.experiment.frames.common_per_hard
    taken = [ref for log, count in wanted.items() for ref in by_log[log][: round(count * ratio)]]
    have = {ref.id for ref in taken}
    short = round(len(hard) * ratio) - len(taken)
    taken += [ref for ref in queue if ref.id not in have][: max(short, 0)]
    return [*hard, *(Frame(ref, None) for ref in taken)]


def train(session: Session, number: int, role: str, frames: Sequence[Made], policy: Made, base: Made) -> Made:
    """Post-train ``policy`` by the algorithm of a role on the experience of all rounds so far."""
    e, parts = session.experiment, session.parts
    name = f"train-{number}" if role == "algorithm" else f"{role}-{number}"

    def make(work: Work) -> list[Path]:
        paths = [path for made in frames for path in made.paths]
        shards = Shards(*paths, memory_mb=e.frames.memory, world=parts.domain.world)
        work.begin(len(shards))
        reference = load_policy(session, base if e.reference == "base" else policy)
        return _train(session, work, role, load_policy(session, policy), reference, shards, f"train-{number}")

    settings = [e.reference, e.frames.memory]
    return session.stage(
        name, make, of=f"train-{number}", roles=[role], inputs=list(frames), shared=[policy, base], settings=settings
    )


# Evaluation


def pick_rare(session: Session, listed: Made) -> Made:
    """The evaluation scenarios: as the splits say or, with a rare miner, what it finds in the rare split (and the rest is common)."""
    parts, e = session.parts, session.experiment
    if not parts.has("evaluate.rare_miner"):
        return listed
    refs = refs_of(listed, "rare")

    def make(work: Work) -> list[Path]:
        def job() -> MineJob:
            seed = derive(e.seed, "rare")
            step = parts.step("evaluate.rare_miner", seed)
            # A miner of this role must not depend on a policy, so it is given none but an untrained one.
            policy, reward = parts.build("policy"), parts.build("evaluate.reward")
            return MineJob(_loader(session), parts.build("evaluate.rare_miner"), policy, reward, step, seed)

        paths = work.chunks("tables/parts", ref_chunks(session, refs), job)
        found = settled(parts.build("evaluate.rare_miner"), paths)
        rare = {failure.scenario.id for failure in found}
        if not rare:
            raise DataError(
                f"the rare miner found nothing in {len(refs)} scenarios", split=e.splits.rare,
                way_out="loosen [evaluate.rare_miner], or name a split with labelled rare scenarios",
            )  # fmt: skip
        uses = {use: refs_of(listed, use) for use in USES}
        uses["rare"] = [ref for ref in refs if ref.id in rare]
        uses["common"] = [ref for ref in uses["common"] if ref.id not in rare]
        out = []
        for use in USES:
            out.append(session.store.path("tables/parts", f"picked-{use}.safetensors"))
            write_block(out[-1], uses[use], {})
        write_table(session.store.path("tables", "rare.parquet"), failure_table(found))
        return [*out, *paths, session.store.path("tables", "rare.parquet")]

    roles = ["dataset", "evaluate.rare_miner", "evaluate.reward"]
    return session.stage("rare", make, of="evaluate", roles=roles, inputs=[listed])


def evaluate(session: Session, listed: Made, entrants: Sequence[Entrant]) -> Made:
    """Open loop on common and rare, closed loop on rare: one row an item, policy and seed, failed ones with their reason."""
    parts, e = session.parts, session.experiment
    picked = pick_rare(session, listed)
    roles = ["dataset", "reconstructor", "simulator", "evaluate.reward"]
    roles += ["evaluate.behaviour"] if parts.has("evaluate.behaviour") else []

    def make(work: Work) -> list[Path]:
        def job() -> EvaluateJob:
            behaviour = parts.build("evaluate.behaviour") if parts.has("evaluate.behaviour") else None
            policies = {entrant.name: _entrant(session, entrant) for entrant in entrants}
            return EvaluateJob(
                _loader(session), parts.domain, policies, parts.build("evaluate.reward"), parts.build("reconstructor"),
                parts.build("simulator"), behaviour, e.evaluate.horizon, e.evaluate.seeds, e.seed,
                {role: parts.step(role) for role in roles},
            )  # fmt: skip

        paths = work.chunks("tables/parts", _trials(session, picked, entrants), job)
        table = session.store.path("tables", "outcomes.parquet")
        write_table(table, outcome_table(session, paths))
        return [*paths, table]

    settings = [e.evaluate.model_dump(mode="json"), [(entrant.name, entrant.role) for entrant in entrants]]
    inputs = [picked, *(entrant.made for entrant in entrants if entrant.made)]
    return session.stage("evaluate", make, of="evaluate", roles=roles, inputs=inputs, settings=settings)


def _entrant(session: Session, entrant: Entrant) -> Any:
    return load_policy(session, entrant.made) if entrant.made else session.parts.build(entrant.role)


def _trials(session: Session, picked: Made, entrants: Sequence[Entrant]) -> list[Payload]:
    """Every policy, split and mode in the experiment's chunks."""
    found = []
    for split in ("common", "rare"):
        modes = ["open", *(["closed"] if split in session.experiment.evaluate.closed else [])]
        for part in ref_chunks(session, refs_of(picked, split)):
            for mode in modes:
                for entrant in entrants:
                    identity = [entrant.name, entrant.made.digest if entrant.made else session.parts.step(entrant.role).config]
                    trial = Trial(entrant.name, split, mode, part.content)
                    found.append(Payload([*identity, split, mode, part.key], trial, part.ids, part.logs))
    return found


def outcome_table(session: Session, paths: Sequence[Path]) -> pl.DataFrame:
    """The rows of all trials, in a fixed order, with a column for every term that any of them has."""
    results = [result for path in paths for result in read_block(path, Result)[0]]
    lost = {(row.id, row.stage) for row in session.lost}
    terms = sorted({name for result in results for name in result.terms})
    labels = _labels(session) if results or lost else {}
    rows = [
        {
            **{name: getattr(r, name) for name in ("policy", "split", "mode", "id", "log", "seed", "metric")},
            "total": None if r.error else r.total,
            "success": None if r.error else r.success,
            **{f"term.{name}": None if r.error else r.terms.get(name) for name in terms},
            "error": r.error,
            "label": labels.get(r.id, ""),
        }
        for r in results
    ]
    kinds = dict.fromkeys(["policy", "split", "mode", "id", "log"], pl.String) | {"seed": pl.Int64, "metric": pl.String}
    kinds |= {"total": pl.Float64, "success": pl.Boolean} | dict.fromkeys([f"term.{name}" for name in terms], pl.Float64)
    return pl.DataFrame(rows, schema={**kinds, "error": pl.String, "label": pl.String}, orient="row")


def _labels(session: Session) -> dict[str, str]:
    """What the data set says its evaluation scenarios are about, for the report only."""
    dataset, splits = session.parts.build("dataset"), session.experiment.splits
    if not isinstance(dataset, SupportsLabels):
        return {}
    return {id: label for split in (splits.common, splits.rare) for id, label in dataset.labels(split).items()}
