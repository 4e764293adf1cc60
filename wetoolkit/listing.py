"""Which scenarios serve for what: listed once, checked for doubles and leaks, cut into the experiment's chunks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wetoolkit.errors import DataError, UnknownName, ValidationError
from wetoolkit.jobs import Loader
from wetoolkit.kinds import SupportsMake, SupportsReport
from wetoolkit.store import file_digest, read_block, read_facts, write_block
from wetoolkit.types import Ref
from wetoolkit.work import Block, Failed, Made, Payload, Session, Work, named, pieces

USES = ("pretrain", "mine", "common", "rare")  # what the splits serve for, in the order of the index artefact
TRAINING = ("pretrain", "mine")


def index(session: Session) -> Made:
    """List the scenarios of every use once; later stages read this list. Leaks between training and evaluation end the run."""
    e = session.experiment

    def make(work: Work) -> list[Path]:
        dataset = session.parts.build("dataset")
        splits = [getattr(e.splits, use) for use in USES]
        pieces_due = list(dataset.pending(splits)) if isinstance(dataset, SupportsMake) else []
        work.begin(len(pieces_due) + len(USES))
        unmade = _make_data(session, work, dataset, pieces_due)
        paths, refs = [], {}
        for use in USES:
            refs[use], failed = _listed(session, dataset, getattr(e.splits, use), getattr(e.limits, use))
            failed += unmade if use == USES[0] else []
            path = session.store.path("tables/parts", f"index-{use}.safetensors")
            write_block(path, refs[use], {"failed": [asdict(row) for row in failed], "repairs": _repairs(dataset)})
            paths.append(path)
        check_leaks(refs)
        return paths

    return session.stage("index", make, roles=["dataset"], settings=[e.splits.model_dump(), e.limits.model_dump()])


def _make_data(session: Session, work: Work, dataset: Any, due: Sequence[Any]) -> list[Failed]:
    """Let the workers make what the data set lacks. A piece that fails is a row; listing its split tries it again, or ends."""
    failed: list[Failed] = []
    if not due:
        return failed
    step = session.parts.step("dataset")
    for done, outcome in enumerate(session.parts.build("executor").map(dataset.make, due), 1):
        work.cost.peak_rss = max(work.cost.peak_rss, outcome.peak_rss)
        work.progress(done, work.cost.items, "making data")
        if not outcome.ok:
            piece = str(due[outcome.index])[:80]
            failed.append(Failed("index", piece, "", step.component, step.distribution, outcome.error, outcome.detail))
    return failed


def _listed(session: Session, dataset: Any, split: str, limit: int) -> tuple[list[Ref], list[Failed]]:
    """The refs of a split, spread evenly over it where there is a limit, and a row for every id that came twice."""
    step = session.parts.step("dataset")
    if split not in dataset.splits():
        raise UnknownName("split", split, dataset.splits(), component=step.component, distribution=step.distribution)
    try:
        found = list(dataset.index(split))
    except Exception as error:
        raise named(error, step) from error
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


def block_payloads(paths: Sequence[Path]) -> list[Payload]:
    """One payload a file of the stage before."""
    found = [(path, read_facts(path)) for path in paths]
    return [Payload(file_digest(path), Block(path), tuple(facts["ids"]), tuple(facts["logs"])) for path, facts in found]


def loader(session: Session) -> Loader:
    """The experiment's data set, ready to load scenarios with their Lineage."""
    return Loader(session.parts.build("dataset"), session.parts.step("dataset"), session.parts.domain)
