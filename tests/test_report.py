"""The report says what the run folder holds: all of it, rightly counted, on screen, as Markdown and as JSON."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import polars as pl
import pytest

from wetoolkit.cli import execute as wetool
from wetoolkit.errors import DataError, StoreError
from wetoolkit.experiment import load_experiment
from wetoolkit.pipeline import run as run_experiment
from wetoolkit.registry import load_registry
from wetoolkit.report import Section, gather, insert, render, sections
from wetoolkit.report.markdown import table
from wetoolkit.report.sections import percent
from wetoolkit.store import StageRecord, Store, digest_of, file_digest, read_table, write_block, write_table
from wetoolkit.work import Failed

TOY = Path(__file__).resolve().parents[1] / "docs" / "toy.toml"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the toy experiment."""
    folder = tmp_path_factory.mktemp("runs") / "toy"
    experiment = load_experiment(TOY, ["dataset.logs=6"])
    run_experiment(experiment, load_registry(extra_modules=["wetoolkit.testing.plugin"], only=["wetoolkit"]), folder)
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of it to change."""
    return shutil.copytree(finished, tmp_path / "toy")


def by_title(folder: Path) -> dict[str, Section]:
    return {section.title: section for section in sections(gather(folder))}


def test_the_results_are_those_of_the_tables(finished: Path) -> None:
    shown = by_title(finished)["Results"].table
    assert shown is not None
    assert shown.columns == ["policy", "open common score", "open rare score", "closed rare success", "closed rare score"]
    results = read_table(finished / "tables" / "results.parquet")
    for policy in ("base", "post-trained", "toy-straight"):
        due = results.filter(policy=policy, mode="closed", split="rare", measure="success").row(0, named=True)
        cell = shown.filter(policy=policy)["closed rare success"][0]
        assert cell == percent(due["estimate"], due["low"], due["high"])


def test_what_was_mined_is_counted_by_label(finished: Path) -> None:
    section = by_title(finished)["Mined, by kind of scene"]
    table = read_table(finished / "tables" / "recall.parquet")
    given = int(table.filter(pl.col("round") == 1)["given"].sum())
    assert section.table is not None and section.table.height == table.height
    assert f"{given} of the {given} scenarios given to the miner (100.0 %)" in section.text
    assert section.table["recall"][0] == percent(*table.select("recall", "low", "high").row(0))


def test_what_each_column_rests_on_is_said(finished: Path) -> None:
    text = by_title(finished)["Results"].text
    assert "closed rare: 24 items from 6 logs by `toy-1.0[radius=0.6]`" in text
    assert "6 logs are few" in text
    assert "95 % intervals" in text


def test_comparisons_hold_both_p_values_and_a_verdict(finished: Path) -> None:
    shown = by_title(finished)["Comparisons"].table
    assert shown is not None
    comparisons = read_table(finished / "tables" / "comparisons.parquet")
    asked = comparisons.filter(pl.col("measure").eq("score") | pl.col("mode").eq("closed") & pl.col("measure").eq("success"))
    assert sorted(shown["verdict"]) == sorted(asked["verdict"])
    row = shown.filter(measure="closed rare success", policies="post-trained against base").row(0, named=True)
    due = comparisons.filter(mode="closed", measure="success", a="post-trained").row(0, named=True)
    assert row["p"] == f"{due['p']:.4f}"
    assert row["pairs"] == "24"


def test_mined_failures_are_counted_by_kind(finished: Path) -> None:
    shown = by_title(finished)["Mined failures"].table
    assert shown is not None
    mined = read_table(finished / "tables" / "failures-1.parquet")
    assert shown["failures"].sum() == len(mined)
    assert set(shown["kind"]) == set(mined["kind"])


def test_costs_cover_every_stage(finished: Path) -> None:
    shown = by_title(finished)["Cost"].table
    assert shown is not None
    assert set(gather(finished).manifest.stages) <= set(shown["stage"])
    assert shown["peak [MiB]"].min() > 1


def test_every_rollout_is_traced_back(finished: Path) -> None:
    shown = by_title(finished)["Where the rollouts come from"].table
    assert shown is not None
    assert shown["rollouts"].sum() == gather(finished).manifest.stages["rollout-1"].items
    assert all(chain.startswith("dataset/toy") and "simulator/toy" in chain for chain in shown["made by"])


def add_failed(folder: Path, row: Failed) -> Path:
    """A stage whose one artefact notes a failed item."""
    store = Store(folder)
    path = store.path("tables/parts", "broken-0000.safetensors")
    write_block(path, [], {"ids": [], "logs": [], "failed": [asdict(row)], "repairs": {}})
    name = str(path.relative_to(folder))
    store.record("broken", StageRecord(key="k", digest=digest_of([file_digest(path)]), artefacts=(name,), items=1, failed=1))
    return path


def test_failed_items_have_a_reason_and_the_command_that_repeats_them(folder: Path) -> None:
    noted = Failed("broken", "s1", "log1", "miner/toy", "toy 0.1", "it broke\n  way out: mend it", "")
    lost = replace(noted, stage="rollout-1", id="s2", reason="its chunk was lost")
    path = add_failed(folder, noted)
    write_table(folder / "tables" / "failed.parquet", pl.DataFrame([asdict(noted), asdict(lost)]))
    section = by_title(folder)["Failed items"]
    assert section.text.startswith("2 items failed")
    assert section.table is not None
    first, second = section.table.rows(named=True)
    assert first["part"] == "miner/toy (toy 0.1)"
    assert first["reason"] == "it broke;   way out: mend it"
    assert first["to repeat it"] == f"rm {path}; wetool run {folder}"
    assert second["to repeat it"] == f"wetool run {folder}"


def test_repairs_of_the_data_set_are_counted(folder: Path) -> None:
    store = Store(folder)
    record = store.manifest.stages["index"]
    path = folder / record.artefacts[0]
    write_block(path, [], {"ids": [], "logs": [], "failed": [], "repairs": {"swapped": 4}})
    shown = by_title(folder)["What the data set mended or counted"].table
    assert shown is not None
    assert shown.rows() == [("swapped", 4)]


def test_a_run_without_evaluation_says_how_far_it_is(folder: Path) -> None:
    for name in ("results", "comparisons", "outcomes"):
        (folder / "tables" / f"{name}.parquet").unlink()
    found = by_title(folder)
    assert "no evaluation yet" in found["Results"].text
    assert "mine-1" in found["Results"].text
    assert "Comparisons" not in found
    assert "Cost" in found


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no run folder"):
        gather(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(StoreError, match="manifest"):
        gather(tmp_path)


def test_sections_of_plugins_come_in(finished: Path) -> None:
    text = render("run", sections(gather(finished), [("Weather", "It rained.")]))
    assert "## Weather\n\nIt rained.\n" in text


def test_markdown_tables_keep_their_shape() -> None:
    frame = pl.DataFrame({"name": ["a|b", "two\nlines"], "value": [0.123456, None]})
    assert table(frame).splitlines() == ["| name | value |", "| --- | ---: |", "| a\\|b | 0.1235 |", "| two lines |  |"]


def test_the_command_writes_shows_and_inserts(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WETOOLKIT_PLUGINS", "wetoolkit")
    page = folder / "page.md"
    page.write_text("before\n<!-- wetool report: begin -->\nold\n<!-- wetool report: end -->\nafter\n")
    assert wetool(["report", str(folder), "--json", "--into", str(page)]) == 0
    found = {section["title"]: section for section in json.loads(capsys.readouterr().out)}
    assert {row["policy"] for row in found["Results"]["rows"]} == {"base", "post-trained", "toy-straight"}
    text = page.read_text()
    assert "old" not in text
    assert text.startswith("before\n") and text.endswith("after\n")
    assert "post-trained against base" in text
    assert (folder / "report" / "report.md").read_text().startswith("# toy\n")
    assert wetool(["report", str(folder)]) == 0
    assert "Versions and seeds" in capsys.readouterr().out


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(DataError, match="markers"):
        insert("text", [], "page.md")


def test_a_wrong_folder_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert wetool(["report", str(tmp_path / "nowhere")]) == 2
    assert "way out" in capsys.readouterr().err


def test_survival_and_events_are_shown(finished: Path) -> None:
    run, titles = gather(finished), by_title(finished)
    curve, happened = titles["How long they drive without a failure"], titles["What happens"]
    assert run.survival is not None and run.events is not None and run.outcomes is not None
    assert curve.table is not None and happened.table is not None
    assert set(curve.table["policy"]) == set(run.survival["policy"])
    closed = run.outcomes.filter(pl.col("mode") == "closed", pl.col("policy") == "toy-straight")
    last = run.survival.filter(policy="toy-straight").sort("time").row(-1, named=True)
    assert last["survival"] == pytest.approx(closed["success"].cast(pl.Float64).mean())  # all are watched equally long here
    assert percent(last["survival"], last["low"], last["high"]) in curve.table.filter(policy="toy-straight").row(0)
    assert "█" in curve.text
    assert happened.table["that fail"].sum() == run.events["fails"].sum() > 0
