"""Evaluation: which policies sit which exams, and one row an item, policy and seed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from wetoolkit.errors import DataError
from wetoolkit.exam import RECONSTRUCTORS, EvaluateJob, Result, Trial, seeds_of
from wetoolkit.jobs import (
    MineJob,
)
from wetoolkit.kinds import SupportsLabels
from wetoolkit.listing import USES, loader, ref_chunks, refs_of
from wetoolkit.policies import load_policy
from wetoolkit.stages import failure_table, settled
from wetoolkit.statistics import wilson
from wetoolkit.store import read_block, read_table, write_block, write_table
from wetoolkit.types import Ref
from wetoolkit.work import Made, Payload, Session, Work, derive


@dataclass(frozen=True)
class Entrant:
    """A policy in the evaluation: trained (an artefact) or ready as it is (a role of the experiment)."""

    name: str
    made: Made | None = None
    role: str = ""
    scenes: str = ""  # whose scenes it is driven in, closed loop only; "": those of the experiment's reconstructor


def pick_rare(session: Session, listed: Made) -> Made:
    """The evaluation scenarios: as the splits say or, with a rare miner, those it finds; they are then no common ones."""
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
            return MineJob(loader(session), parts.build("evaluate.rare_miner"), policy, reward, step, seed)

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
    entrants = _present(session, entrants)
    others = [f"{RECONSTRUCTORS}.{name}" for name in e.evaluate.reconstructors]
    roles = ["dataset", "reconstructor", "simulator", "evaluate.reward", *others]
    roles += ["evaluate.behaviour"] if parts.has("evaluate.behaviour") else []

    def make(work: Work) -> list[Path]:
        def job() -> EvaluateJob:
            behaviour = parts.build("evaluate.behaviour") if parts.has("evaluate.behaviour") else None
            policies = {entrant.name: _entrant(session, entrant) for entrant in entrants if not entrant.scenes}
            builders = {name.removeprefix(f"{RECONSTRUCTORS}."): parts.build(name) for name in others}
            return EvaluateJob(
                loader(session), parts.domain, policies, parts.build("evaluate.reward"),
                {"": parts.build("reconstructor"), **builders}, parts.build("simulator"), behaviour, e.evaluate.horizon,
                e.evaluate.seeds, e.seed, {role: parts.step(role) for role in roles}, parts.renderers(),
            )  # fmt: skip

        trials = _trials(session, picked, entrants)
        paths = work.chunks("tables/parts", trials, job)
        found = [result for path in paths for result in read_block(path, Result)[0]]
        made = {
            "events": event_table(found), "steps": step_table(found),
            "outcomes": outcome_table(session, [payload.content for payload in trials], found),
        }  # fmt: skip
        for name, table in made.items():
            write_table(session.store.path("tables", f"{name}.parquet"), table)
        return [*paths, *(session.store.path("tables", f"{name}.parquet") for name in made)]

    settings = [e.evaluate.model_dump(mode="json"), [(entrant.name, entrant.role, entrant.scenes) for entrant in entrants]]
    inputs = [picked, *(entrant.made for entrant in entrants if entrant.made and not entrant.scenes)]
    return session.stage("evaluate", make, of="evaluate", roles=roles, inputs=inputs, settings=settings)


def _present(session: Session, entrants: Sequence[Entrant]) -> list[Entrant]:
    """The policies there are; a single `wetool evaluate` may come before some of them, and says so."""
    for entrant in entrants:
        if entrant.made and entrant.made.missing and not entrant.scenes:
            session.watch.note(f"evaluate: without {entrant.name!r}: {entrant.made.missing}")
    return [entrant for entrant in entrants if not (entrant.made and entrant.made.missing)]


def _entrant(session: Session, entrant: Entrant) -> Any:
    return load_policy(session, entrant.made) if entrant.made else session.parts.build(entrant.role)


def _trials(session: Session, picked: Made, entrants: Sequence[Entrant]) -> list[Payload]:
    """Every split, mode and policy in the experiment's chunks. A policy's chunks follow each other, so that workers do not rebuild
    the same scenes at the same time."""
    found = []
    for split in ("common", "rare"):
        parts = ref_chunks(session, refs_of(picked, split))
        for mode in ["open", *(["closed"] if split in session.experiment.evaluate.closed else [])]:
            for entrant in (entrant for entrant in entrants if mode == "closed" or not entrant.scenes):
                identity = [entrant.name, entrant.made.digest if entrant.made else session.parts.step(entrant.role).config]
                identity += [entrant.scenes] if entrant.scenes else []
                for part in parts:
                    trial = Trial(entrant.name, split, mode, part.content, entrant.scenes)
                    found.append(Payload([*identity, split, mode, part.key], trial, part.ids, part.logs))
    return found


def outcome_table(session: Session, trials: Sequence[Trial], results: Sequence[Result]) -> pl.DataFrame:
    """One row an item and seed of every trial, in order, with a column for every term; without a score it has an error.

    For what was driven ``state`` is the hash of the simulated state, ``seconds`` how long it was watched and ``failed_at`` when it
    failed (null for a success); ``looks`` are the decisions with pictures, ``trust`` is the least of theirs (null where none is
    known), ``trust_unknown`` counts those that nobody vouched for, ``distrusted`` those below [frames] least_trust. ``scenes``
    names one of [evaluate.reconstructors]; "" is the experiment's own.
    """
    found = {key_of_result(result): result for result in results}
    seeds = session.experiment.evaluate.seeds
    asked = [
        Result(
            t.entrant,
            t.split,
            t.mode,
            ref.id,
            ref.log,
            seed,
            "",
            error="its worker was lost, see tables/failed.parquet",
            scenes=t.scenes,
        )
        for t in trials
        for seed in seeds_of(t.mode, seeds)
        for ref in t.refs
    ]
    all_ = [found.get(key_of_result(result), result) for result in asked]
    terms = sorted({name for result in all_ for name in result.terms})
    labels = _labels(session)
    least = session.experiment.frames.least_trust
    rows = [{**_row(result, terms, least), "label": labels.get(result.id, "")} for result in all_]
    kinds = dict.fromkeys(["policy", "split", "mode", "id", "log"], pl.String) | {"seed": pl.Int64, "metric": pl.String}
    kinds |= {"total": pl.Float64, "success": pl.Boolean, "seconds": pl.Float64, "failed_at": pl.Float64, "state": pl.String}
    kinds |= {"scenes": pl.String, "looks": pl.Int64, "trust": pl.Float64, "trust_unknown": pl.Int64, "distrusted": pl.Int64}
    kinds |= dict.fromkeys([f"term.{name}" for name in terms], pl.Float64)
    return pl.DataFrame(rows, schema={**kinds, "error": pl.String, "label": pl.String}, orient="row")


def key_of_result(result: Result) -> tuple[str, str, str, str, int]:
    """What makes a row of the outcomes unique."""
    return result.policy, result.split, result.mode, result.id, result.seed


def _row(result: Result, terms: Sequence[str], least: float) -> dict[str, Any]:
    names = ("policy", "split", "mode", "id", "log", "seed", "metric", "scenes", "error")
    scored, drive = not result.error, result.drive
    return {
        **{name: getattr(result, name) for name in names},
        "total": result.total if scored else None,
        "success": result.success if scored else None,
        "seconds": drive.seconds if drive else None,
        "failed_at": drive.failed_at if drive and not math.isnan(drive.failed_at) else None,
        "state": drive.state if drive else "",
        "looks": len(drive.trust) if drive else None,
        "trust": float(drive.trust[drive.trust_known].min()) if drive and drive.trust_known.any() else None,
        "trust_unknown": int((~drive.trust_known).sum()) if drive else None,
        "distrusted": int((drive.trust < least).sum()) if drive else None,
        **{f"term.{name}": result.terms.get(name) if scored else None for name in terms},
    }


def recall_table(session: Session, listed: Made) -> pl.DataFrame:
    """How many scenarios of each label the miner was given and in how many it found a failure: one row a round and label.

    The labels are read here, when all is done; empty where the data set has none.
    """
    found = {"round": pl.Int64, "label": pl.String, "given": pl.Int64, "found": pl.Int64, "recall": pl.Float64}
    schema = {**found, "low": pl.Float64, "high": pl.Float64}
    labels = _labels(session, ("mine",))
    refs = refs_of(listed, "mine") if labels else []
    rows = [
        (number, *row)
        for number in range(1, session.experiment.rounds + 1)
        for row in _recalled(refs, labels, session.store.path("tables", f"failures-{number}.parquet"))
    ]
    return pl.DataFrame(rows, schema=schema, orient="row")


def _recalled(refs: Sequence[Ref], labels: Mapping[str, str], failures: Path) -> list[tuple[str, int, int, float, float, float]]:
    """(label, given, found, recall and its ends) of one round; nothing where it has not mined."""
    if not failures.exists():
        return []
    mined, rows = set(read_table(failures)["id"]), []
    for label in sorted({labels.get(ref.id, "") for ref in refs}):
        some = [ref for ref in refs if labels.get(ref.id, "") == label]
        hit = sum(ref.id in mined for ref in some)
        interval = wilson(hit, len(some), clusters=len({ref.log for ref in some}))
        rows.append((label, len(some), hit, hit / len(some), interval.low, interval.high))
    return rows


ITEM = ("policy", "split", "id", "log", "seed")  # what a drive is named by in the tables of events and steps


def event_table(results: Sequence[Result]) -> pl.DataFrame:
    """One row an event of every drive; the evidence is JSON."""
    kinds = dict.fromkeys(ITEM, pl.String) | {"seed": pl.Int64, "kind": pl.String, "step": pl.Int64, "time": pl.Float64}
    kinds |= {"fails": pl.Boolean, "who": pl.String, "fault": pl.String, "speed": pl.Float64, "other_speed": pl.Float64}
    rows = [
        {**_item(result), **vars(event), "evidence": json.dumps(dict(event.evidence), sort_keys=True)}
        for result in results
        for event in (result.drive.events if result.drive else ())
    ]
    return pl.DataFrame(rows, schema={**kinds, "evidence": pl.String})


def _item(result: Result) -> dict[str, Any]:
    return {name: getattr(result, name) for name in ITEM}


def step_table(results: Sequence[Result]) -> pl.DataFrame:
    """One row a step of every drive from its first decision on: ``time`` in seconds, then what the reward tells of each step."""
    driven = [(result, result.drive) for result in results if result.drive and result.drive.steps]
    names = sorted({name for _, drive in driven for name in drive.steps})
    kinds = dict.fromkeys(ITEM, pl.String) | {"seed": pl.Int64, "time": pl.Float64} | dict.fromkeys(names, pl.Float32)
    parts = []
    for result, drive in driven:
        count = len(next(iter(drive.steps.values())))
        named = {name: [getattr(result, name)] * count for name in ITEM}
        numbers = {name: drive.steps[name] if name in drive.steps else [None] * count for name in names}
        parts.append(pl.DataFrame({**named, "time": drive.dt * np.arange(count), **numbers}, schema=kinds, strict=False))
    return pl.concat([pl.DataFrame(schema=kinds), *parts])


def _labels(session: Session, uses: Sequence[str] = ("common", "rare")) -> dict[str, str]:
    """What the data set says its scenarios of these uses are about, for the report only."""
    dataset, splits = session.parts.build("dataset"), session.experiment.splits
    if not isinstance(dataset, SupportsLabels):
        return {}
    return {id: label for use in uses for id, label in dataset.labels(getattr(splits, use)).items()}
