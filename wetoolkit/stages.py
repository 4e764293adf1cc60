"""From failures to rollouts: mine, reconstruct, vary, roll out. The work of a chunk is in ``wetoolkit.jobs``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import polars as pl

from wetoolkit.errors import ConfigError, PluginError, StoreError, ValidationError
from wetoolkit.foresight import Foresight
from wetoolkit.jobs import (
    MineJob,
    ReconstructJob,
    RolloutJob,
    VaryJob,
)
from wetoolkit.kinds import SupportsPictures, SupportsRender, SupportsRenderers, SupportsSensors, SupportsSettle
from wetoolkit.listing import TRAINING, USES, block_payloads, loader, ref_chunks, refs_of
from wetoolkit.policies import load_policy, trained_on
from wetoolkit.store import read_block, read_facts, read_table, write_table
from wetoolkit.types import Failure, Ref
from wetoolkit.work import Made, Payload, Session, Work, derive, is_block, pieces


def check_sight(session: Session) -> None:
    """``ConfigError`` where the policy has cameras and a part of the experiment cannot show what they see."""
    parts = session.parts
    cameras = parts.build("policy").spec.cameras
    if not cameras:
        return
    asked: list[tuple[str, Any, str]] = [("dataset", SupportsSensors, "has no sensors")]
    if not session.last or session.place(session.last, last=True) >= session.place("rollout"):
        asked += [(role, SupportsRender, "renders no pictures") for role, kind, _ in parts.named() if kind == "reconstructor"]
        asked += [("simulator", SupportsRenderers, "shows policies no pictures")]
    for role, ability, what in asked:
        if not isinstance(parts.build(role), ability):
            step = parts.step(role)
            raise ConfigError(
                f"the policy sees by cameras, but the {role.partition('.')[0]} {what}", policy=parts.step("policy").component,
                cameras=", ".join(cameras), component=step.component, distribution=step.distribution,
                way_out=f"choose a part with {ability.__name__} (wetoolkit.kinds) for [{role}], or a policy without cameras",
            )  # fmt: skip
    if not isinstance(parts.domain, SupportsPictures):
        raise ConfigError(
            f"the domain {parts.domain.name!r} reads no recorded pictures", policy=parts.step("policy").component,
            way_out="give it a method picture (wetoolkit.kinds.SupportsPictures), or use a policy without cameras",
        )  # fmt: skip


def mine(session: Session, number: int, listed: Made, policy: Made) -> Made:
    """Failures of the policy in the mining split: the chunks and, settled, one table."""
    parts, name = session.parts, f"mine-{number}"

    def make(work: Work) -> list[Path]:
        def job() -> MineJob:
            seed = derive(session.experiment.seed, name)
            miner, step = parts.build("miner"), parts.step("miner", seed)
            return MineJob(loader(session), miner, load_policy(session, policy), parts.build("reward"), step, seed)

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


@runtime_checkable
class SupportsTrainedOn(Protocol):
    """A behaviour that learned from scenarios before the loop and tells which."""

    def trained_on(self) -> Collection[str] | None:
        """The logs that were learned from; None where that is not known."""


def check_given(session: Session, listed: Made) -> None:
    """``ValidationError`` where an artefact from elsewhere, or what a behaviour has learned, comes of logs that serve for
    evaluation here."""
    held = {ref.log for use in USES if use not in TRAINING for ref in refs_of(listed, use)}
    for made in session.given.values():
        for path in made.paths:
            logs = _logs(made.stage, path)
            if logs is None:
                session.watch.note(
                    f"{path.name} does not tell the logs it was trained on: whether it saw evaluation logs is not known"
                )
            shared = sorted((logs or set()) & held)
            if shared:
                raise ValidationError(
                    f"{len(shared)} logs in it serve for evaluation here, such as {shared[0]!r}", file=path,
                    way_out="give artefacts of other logs: scores on training logs say nothing",
                )  # fmt: skip
    for role, kind, part in session.parts.named():
        if kind == "behaviour":
            _check_learned(session, role, part.use, held)


def _check_learned(session: Session, role: str, name: str, held: set[str]) -> None:
    """``ValidationError`` where a behaviour learned from logs that serve for evaluation here."""
    built = session.parts.build(role)
    if not isinstance(built, SupportsTrainedOn):
        return
    logs = built.trained_on()
    if logs is None:
        session.watch.note(
            f"behaviour {name} does not tell the logs it was trained on: whether it saw evaluation logs is not known"
        )
    shared = sorted(set(logs or ()) & held)
    if shared:
        step = session.parts.step(role)
        raise ValidationError(
            f"{len(shared)} logs that it was trained on serve for evaluation here, such as {shared[0]!r}", field=role,
            component=step.component, distribution=step.distribution,
            way_out="train its model on other logs, or name other splits for the evaluation",
        )  # fmt: skip


def _logs(stage: str, path: Path) -> set[str] | None:
    """The logs an artefact came of; None where it does not tell."""
    kind = stage.partition("-")[0]
    if kind == "mine":
        return {failure.scenario.log for failure in failures_of(path)}
    if kind in ("pretrain", "train"):
        return trained_on(path)
    return set(read_facts(path).get("logs", ()))


def chosen(session: Session, mined: Made) -> list[Failure]:
    """One failure for each scenario and step, the most severe; the most severe ``limits.failures`` of them; in mined order."""
    best: dict[tuple[str, int], Failure] = {}
    for failure in failures_of(mined.paths[-1]):
        key = (failure.scenario.id, failure.step)
        if key not in best or failure.severity > best[key].severity:
            best[key] = failure
    limit = session.experiment.limits.failures or len(best)
    kept = set(sorted(best, key=lambda key: (-best[key].severity, key))[:limit])
    return [failure for key, failure in best.items() if key in kept]


def unfailing(session: Session, refs: Sequence[Ref], mined: Made) -> list[Ref]:
    """The scenarios that were mined and in which nothing was found; one that could not be mined is not known to be one."""
    failing = {failure.scenario.id for failure in failures_of(mined.paths[-1])}
    failing |= {row["id"] for path in filter(is_block, mined.paths) for row in read_facts(path).get("failed", ())}
    failing |= {row.id for row in session.lost if row.stage.startswith("mine")}
    return [ref for ref in refs if ref.id not in failing]


def ordinary(session: Session, number: int, listed: Made, mined: Made) -> list[Ref]:
    """``vary.ordinary`` scenarios in which nothing was mined, drawn by the seed; fewer, and a note, where there are not so many."""
    wanted = session.experiment.vary.ordinary
    others = unfailing(session, refs_of(listed, "mine"), mined) if wanted else []
    if len(others) < wanted:
        session.watch.note(f"vary.ordinary: {wanted} are asked for, and in {len(others)} scenarios only nothing was mined")
    return sorted(others, key=lambda ref: derive(session.experiment.seed, "ordinary", number, ref.id))[:wanted]


def reconstruct(session: Session, number: int, listed: Made, mined: Made) -> Made:
    """A scene for every failure, and for as many ordinary scenarios as ``vary.ordinary`` says."""
    parts, name = session.parts, f"reconstruct-{number}"

    def make(work: Work) -> list[Path]:
        def job() -> ReconstructJob:
            return ReconstructJob(
                loader(session), parts.build("reconstructor"), parts.step("reconstructor"), session.experiment.seed
            )

        items: list[Failure | Ref] = [*chosen(session, mined), *ordinary(session, number, listed, mined)]
        payloads = []
        for part in pieces(items, session.experiment.chunk):
            refs = [item.scenario if isinstance(item, Failure) else item for item in part]
            content = [asdict(item) for item in part]
            payloads.append(Payload(content, tuple(part), tuple(ref.id for ref in refs), tuple(ref.log for ref in refs)))
        paths = work.chunks("scenes", payloads, job)
        _check_unique(session, paths, "reconstructor")
        return paths

    e, roles = session.experiment, ["dataset", "reconstructor"]
    if e.vary.ordinary:
        settings = [e.limits.failures, e.vary.ordinary]
        return session.stage(name, make, of=name, roles=roles, inputs=[mined, listed], settings=settings)
    return session.stage(name, make, of=name, roles=roles, inputs=[mined], settings=e.limits.failures)


def _check_unique(session: Session, paths: Sequence[Path], role: str) -> None:
    counts = Counter(id for path in paths for id in read_facts(path)["ids"])
    twice = [id for id, count in counts.items() if count > 1]
    if twice:
        step = session.parts.step(role)
        raise PluginError(
            f"{len(twice)} ids are given to two scenes, such as {twice[0]!r}", component=step.component,
            distribution=step.distribution, way_out="derive the id from what it was made of",
        )  # fmt: skip


def vary(session: Session, number: int, scenes: Made, policy: Made) -> Made:
    """The scenes as logged and their variants, made of what the policy does in them where ``vary.foresee`` says so."""
    parts, e, name = session.parts, session.experiment, f"vary-{number}"
    roles = [f"behaviour.{i}" for i in range(len(e.behaviour))]

    def make(work: Work) -> list[Path]:
        def job() -> VaryJob:
            each = zip(roles, e.behaviour, strict=True)
            behaviours = [(parts.build(role), part.count, parts.step(role), part.of) for role, part in each]
            return VaryJob(parts.domain.world, tuple(behaviours), e.vary.logged, e.seed, _foresight(session, policy))

        paths = work.chunks("scenes", block_payloads(scenes.paths), job)
        _check_unique(session, paths, "behaviour.0" if roles else "reconstructor")
        return paths

    settings = [e.vary.logged, [part.count if part.of == "all" else [part.count, part.of] for part in e.behaviour]]
    if e.vary.foresee:
        return session.stage(
            name, make, of=name, roles=[*roles, "simulator"], inputs=[scenes], shared=[policy], settings=[*settings, "foresee"]
        )
    return session.stage(name, make, of=name, roles=roles, inputs=[scenes], settings=settings)


def _foresight(session: Session, policy: Made) -> Foresight | None:
    if not session.experiment.vary.foresee:
        return None
    parts = session.parts
    links = (parts.step("policy"), parts.step("simulator"))
    return Foresight(parts.build("simulator"), load_policy(session, policy), policy.stage, links, session.experiment.seed)


def rollout(session: Session, number: int, variants: Made, policy: Made) -> Made:
    """What the policy does in every scene, in closed loop."""
    parts, name = session.parts, f"rollout-{number}"

    def make(work: Work) -> list[Path]:
        def job() -> RolloutJob:
            steps = (parts.step("policy"), parts.step("simulator"))
            actor = load_policy(session, policy)
            return RolloutJob(
                parts.domain.world, parts.build("simulator"), actor, policy.stage, steps, session.experiment.seed, parts.renderers()
            )

        return work.chunks("rollouts", block_payloads(variants.paths), job)

    return session.stage(name, make, of=name, roles=["simulator"], inputs=[variants], shared=[policy])
