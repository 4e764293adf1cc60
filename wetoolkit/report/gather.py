"""Read a run folder: every table that is there, without importing a plugin."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from wetoolkit.codec import read_header
from wetoolkit.errors import StoreError
from wetoolkit.store import Manifest, read_bytes, read_facts, read_table
from wetoolkit.trust import trust_table
from wetoolkit.work import Failed, is_block


@dataclass(frozen=True)
class Run:
    """A run folder's content, as far as the run has come."""

    folder: Path
    manifest: Manifest
    results: pl.DataFrame | None  # wetoolkit.evaluation.summarise
    comparisons: pl.DataFrame | None  # wetoolkit.evaluation.compare
    outcomes: pl.DataFrame | None
    failed: pl.DataFrame  # one row a failed item, with the artefact that its chunk is in ("" where the whole chunk was lost)
    ledger: pl.DataFrame | None
    failures: Mapping[int, pl.DataFrame] = field(default_factory=dict)  # round -> what was mined
    repairs: Mapping[str, int] = field(default_factory=dict)  # what the data set mended or counted
    survival: pl.DataFrame | None = None  # wetoolkit.survival.curves
    events: pl.DataFrame | None = None  # wetoolkit.measure.event_table
    recall: pl.DataFrame | None = None  # wetoolkit.measure.recall_table
    lineages: pl.DataFrame | None = None  # round, chain of components, rollouts, logs
    trust: pl.DataFrame | None = None  # wetoolkit.trust.trust_table
    latency: pl.DataFrame | None = None  # wetoolkit.latency.latency_table


def gather(folder: Path) -> Run:
    """What stands in a run folder; ``StoreError`` where it is none."""
    path = folder / "manifest.json"
    if not path.is_file():
        raise StoreError(
            "no run folder: there is no manifest.json in it", folder=folder, way_out="give a folder that `wetool run` made"
        )
    try:
        manifest = Manifest.model_validate_json(read_bytes(path))
    except ValueError as error:
        raise StoreError(f"the manifest cannot be read: {error}", file=path, way_out="start the run again: it mends it") from error
    tables = {
        name: _table(folder / "tables" / f"{name}.parquet")
        for name in ("results", "comparisons", "outcomes", "survival", "events", "recall")
    }
    return Run(
        folder, manifest, **tables, failed=_failed(folder, manifest), ledger=_table(folder / "ledger.parquet"),
        failures=_failures(folder, manifest), repairs=_repairs(folder, manifest), lineages=_lineages(folder, manifest),
        trust=trust_table(folder, manifest, tables["outcomes"]), latency=_table(folder / "latency.parquet"),
    )  # fmt: skip


def _table(path: Path) -> pl.DataFrame | None:
    return read_table(path) if path.is_file() else None


def _failed(folder: Path, manifest: Manifest) -> pl.DataFrame:
    """Failed items by the artefacts that note them, then those of the run's table that no artefact notes."""
    columns = [*Failed.__dataclass_fields__, "artefact"]
    files = [path for stage in manifest.stages for path in _blocks(folder, manifest, stage)]
    rows = [{**row, "artefact": str(path.relative_to(folder))} for path in files for row in read_facts(path).get("failed", ())]
    noted = pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String)).unique(columns[:-1], keep="first", maintain_order=True)
    table = _table(folder / "tables" / "failed.parquet")
    if table is None:
        return noted
    lost = table.join(noted, on=["stage", "id", "reason"], how="anti").with_columns(artefact=pl.lit(""))
    return pl.concat([noted, lost.select(columns)])


def _failures(folder: Path, manifest: Manifest) -> dict[int, pl.DataFrame]:
    """The mined failures of each round that is done."""
    rounds = (int(name.removeprefix("mine-")) for name in manifest.stages if name.startswith("mine-"))
    found = {number: _table(folder / "tables" / f"failures-{number}.parquet") for number in rounds}
    return {number: table for number, table in sorted(found.items()) if table is not None}


def _blocks(folder: Path, manifest: Manifest, stage: str) -> Iterator[Path]:
    """The block files of a stage that are there."""
    record = manifest.stages.get(stage)
    paths = (folder / name for name in (record.artefacts if record else ()))
    return (path for path in paths if is_block(path) and path.is_file())


def _repairs(folder: Path, manifest: Manifest) -> dict[str, int]:
    """The last count of each repair: a data set reports totals so far, use by use."""
    found: dict[str, int] = {}
    for path in _blocks(folder, manifest, "index"):
        found.update(read_facts(path).get("repairs", {}))
    return found


def _lineages(folder: Path, manifest: Manifest) -> pl.DataFrame | None:
    """How many rollouts came by which chain of components, and from how many logs. Headers alone are read."""
    rows = [
        (stage, chain, log)
        for stage in manifest.stages
        if stage.startswith("rollout-")
        for path in _blocks(folder, manifest, stage)
        for chain, log in _chains(read_header(read_bytes(path, header=True), str(path))["values"])
    ]
    if not rows:
        return None
    table = pl.DataFrame(rows, schema=["stage", "made by", "log"], orient="row")
    found = table.group_by("stage", "made by", maintain_order=True).agg(
        pl.len().alias("rollouts"), pl.col("log").n_unique().alias("logs")
    )
    return found.sort("stage", "made by")


def _chains(values: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """(components from first to last, log) of every encoded rollout."""
    for value in values:
        lineage = value["lineage"]
        yield " > ".join(_link(step) for step in lineage["steps"]), str(lineage["log"])


def _link(step: Mapping[str, Any]) -> str:
    return f"{step['component']} ({step['distribution']})"
