"""The loop, top to bottom: pre-train, then round by round mine, rebuild, vary, roll out, learn; at last measure.

Each line of ``rounds`` is a stage; a stage that is done in the run folder is read, not repeated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

from wetoolkit import listing, measure, stages, training
from wetoolkit.errors import ConfigError, DataError
from wetoolkit.evaluation import compare, summarise
from wetoolkit.exam import Trial
from wetoolkit.experiment import Experiment, Parts, dump_toml
from wetoolkit.measure import Entrant
from wetoolkit.progress import Silent, Watch
from wetoolkit.registry import Registry
from wetoolkit.store import Manifest, Store, key_of, read_facts, read_table, write_atomic, write_table
from wetoolkit.survival import curves
from wetoolkit.trust import trust_table
from wetoolkit.work import Done, Failed, Made, Session, data_of, file_made, is_block

FINAL = ("outcomes", "results", "comparisons", "survival", "failed")  # tables of a finished run
BASE, POST = "base", "post-trained"


@dataclass(frozen=True)
class Finished:
    """What a run came to."""

    folder: Path
    complete: bool  # False: it stopped where it was asked to
    failed: pl.DataFrame  # one row a failed item
    cached: bool = False  # nothing had to be done


def run(
    experiment: Experiment, registry: Registry, folder: Path, *, watch: Watch | None = None, first: str = "", last: str = "",
    given: Mapping[str, Made] | None = None,
) -> Finished:  # fmt: skip
    """Run an experiment in its folder, from stage ``first`` to stage ``last``; ``given`` artefacts stand in for stages."""
    store, parts = Store(folder), Parts(experiment, registry)
    with store.lock():
        stamp = key_of(experiment.model_dump(mode="json"), parts.distributions())
        if not (first or last or given) and _all_there(store, stamp, parts):
            return Finished(folder, True, read_table(store.path("tables", "failed.parquet")), cached=True)
        parts.check()
        session = Session(experiment, parts, store, watch or Silent(), given or {}, first, last)
        session.check_range()
        _begin(session, stamp)
        try:
            rounds(session)
            complete = True
        except Done:
            complete = False
        finally:
            session.watch.close()
        return _end(session, complete)


def rounds(session: Session) -> None:
    """The loop."""
    e = session.experiment
    stages.check_sight(session)
    listed = listing.index(session)
    stages.check_given(session, listed)
    base = policy = training.pretrain(session, listed)
    controls = dict.fromkeys(e.controls, base)
    frames: list[Made] = []
    entrants = [Entrant(BASE, base)]

    for number in range(1, e.rounds + 1):
        mined = stages.mine(session, number, listed, policy)
        scenes = stages.reconstruct(session, number, listed, mined)
        variants = stages.vary(session, number, scenes, policy)
        rollouts = stages.rollout(session, number, variants, policy)
        frames.append(training.experience(session, number, listed, mined, rollouts, policy))
        policy = training.train(session, number, "algorithm", frames, policy, base)
        controls = {
            name: training.train(session, number, f"controls.{name}", frames, control, base) for name, control in controls.items()
        }
        entrants.append(Entrant(POST if number == e.rounds else f"round-{number}", policy))

    for name in e.evaluate.reconstructors:
        entrants += [Entrant(BASE, base, scenes=name), Entrant(POST, policy, scenes=name)]
    entrants += [Entrant(name, control) for name, control in controls.items()]
    entrants += [Entrant(name, role=f"evaluate.policies.{name}") for name in e.evaluate.policies]
    outcomes = measure.evaluate(session, listed, entrants)
    write_tables(session, outcomes)
    seen = trust_table(session.store.folder, session.store.manifest, read_table(outcomes.paths[-1]))
    write_table(session.store.path("tables", "trust.parquet"), seen)
    write_table(session.store.path("tables", "recall.parquet"), measure.recall_table(session, listed))


def write_tables(session: Session, outcomes: Made) -> None:
    """Estimates with intervals, and every policy against the base (and the post-trained one against the controls)."""
    table = read_table(outcomes.paths[-1])
    scored = table.filter(pl.col("error") == "")
    if not len(scored):
        reasons = table["error"].value_counts(sort=True)["error"].to_list()
        raise DataError(f"none of {len(table)} evaluation items has a score: {reasons[:1]}", way_out="see tables/outcomes.parquet")
    seed, store = session.experiment.seed, session.store
    e = session.experiment
    pairs = [(POST, name) for name in e.controls]
    for scenes in e.evaluate.reconstructors:  # what it makes of a policy, and of what was learned
        base, post = (Trial(name, "", "", (), scenes).entrant for name in (BASE, POST))
        pairs += [(base, BASE), (post, POST), (post, base)]
    write_table(store.path("tables", "results.parquet"), summarise(table, seed))
    write_table(store.path("tables", "survival.parquet"), curves(table))
    there = set(table["policy"])
    apart = set(table.filter(pl.col("scenes") != "")["policy"])
    if BASE in there:
        pairs = [pair for pair in pairs if there.issuperset(pair)]
        write_table(store.path("tables", "comparisons.parquet"), compare(table, BASE, pairs, seed=seed, apart=apart))


def failed_items(session: Session) -> pl.DataFrame:
    """Every failed item of the stages that are done, and those lost with a whole chunk."""
    store = session.store
    files = [store.folder / name for record in store.manifest.stages.values() for name in record.artefacts]
    rows = [row for path in filter(is_block, files) if path.exists() for row in read_facts(path).get("failed", ())]
    rows += [asdict(row) for row in session.lost]
    return pl.DataFrame(rows, schema=dict.fromkeys(Failed.__dataclass_fields__, pl.String)).unique(maintain_order=True)


def _begin(session: Session, stamp: str) -> None:
    e, store = session.experiment, session.store
    write_atomic(store.folder / "experiment.toml", dump_toml(e).encode())
    versions = Manifest().model_dump(include={"toolkit", "contract", "python", "platform"})
    store.update(
        **versions,
        experiment=e.name,
        experiment_hash=stamp,
        seed=e.seed,
        data=session.data,
        status="running",
        distributions=session.parts.distributions(),
    )


def _end(session: Session, complete: bool) -> Finished:
    failed = failed_items(session)
    write_table(session.store.path("tables", "failed.parquet"), failed)
    if complete:
        # A lost chunk is tried again by the next start, so such a run is not done.
        session.store.update(status="running" if session.lost else "failed items" if len(failed) else "done")
    return Finished(session.store.folder, complete, failed)


def _all_there(store: Store, stamp: str, parts: Parts) -> bool:
    """Whether this experiment was finished here, of these data, and all is whole. Imports no plugin where data have no files."""
    manifest = store.manifest
    if manifest.experiment_hash != stamp or manifest.status not in ("done", "failed items"):
        return False
    if manifest.data and manifest.data != data_of(parts):
        return False
    tables = [store.digest(store.path("tables", f"{name}.parquet")) for name in FINAL]
    return None not in tables and all(store.finished(stage) for stage in manifest.stages)


def stage_given(experiment: Experiment, stage: str, paths: Sequence[Path], policy: Path | None) -> dict[str, Made]:
    """Artefacts from elsewhere for a single stage: ``paths`` in the place of the stage before it, ``policy`` of the base policy."""
    name, _, number = stage.partition("-")
    before = {
        "reconstruct": f"mine-{number}", "vary": f"reconstruct-{number}", "rollout": f"vary-{number}",
        "train": f"experience-{number}", "evaluate": f"train-{experiment.rounds}",
    }  # fmt: skip
    given = {"pretrain": file_made("pretrain", [policy])} if policy else {}
    if paths and name not in before:
        raise ConfigError(f"the stage {name!r} takes no --input", way_out="it reads its split from the data set; see --policy")
    return {**given, **({before[name]: file_made(before[name], paths)} if paths else {})}
