"""A scene that raises, lies, hangs, eats memory or kills its worker costs itself: a row, never a score, never the others."""

import polars as pl
import pytest
from toy_run import TOY, rows, start

from wetoolkit.registry import load_registry
from wetoolkit.report import gather, sections
from wetoolkit.testing.plugin import __name__ as TOYS

EXECUTORS = {"serial": {"use": "serial"}, "process": {"use": "process", "workers": 2, "retries": 0, "timeout": 5.0}}
BAD = "rare-test/001/00"  # one of the scenes of the rare split, in a chunk with three others


@pytest.fixture(scope="module")
def unruly():
    return load_registry([TOYS, "unruly"], only=["wetoolkit"])


def changes(fault, executor):
    return {
        "rounds": 1,
        "controls": {},
        "evaluate": {"reward": TOY},
        "simulator": {"use": "unruly", fault: BAD},
        "executor": EXECUTORS[executor],
    }


@pytest.mark.parametrize(
    ("fault", "executor", "said"),
    [
        ("raises", "serial", "RuntimeError: not this one"),
        ("lies", "serial", "NaN"),
        ("eats", "serial", "MemoryError"),
        ("dies", "process", "signal 9"),
        ("hangs", "process", "took longer than 5 s"),
    ],
)
def test_a_bad_scene_is_a_row_and_every_other_scene_is_done(unruly, tmp_path, fault, executor, said):
    finished = start(unruly, tmp_path, changes(fault, executor))
    outcomes = rows(tmp_path, "outcomes").filter(pl.col("mode") == "closed")
    bad, good = outcomes.filter(pl.col("id") == BAD), outcomes.filter(pl.col("id") != BAD)
    assert len(bad) and bad["total"].null_count() == len(bad) and bad["success"].null_count() == len(bad)
    assert (bad["error"] != "").all() and (good["error"] == "").all() and good["total"].null_count() == 0
    failed = finished.failed.filter(pl.col("stage") == "evaluate")
    assert len(failed) and all(BAD in id for id in failed["id"]) and any(said in reason for reason in failed["reason"])
    results = rows(tmp_path, "results").filter((pl.col("mode") == "closed") & (pl.col("measure") == "success"))
    per_seed = len(good) // results["policy"].n_unique()
    assert set(results["n"]) == {per_seed}  # the rate says how many scenes it is over
    (table,) = [section.table for section in sections(gather(tmp_path)) if section.title == "Failed items"]
    assert all("wetool run" in command for command in table["to repeat it"])


def test_the_next_start_does_only_what_is_missing(unruly, tmp_path):
    """The scene that killed its worker is tried again; what was saved is kept as it is."""
    start(unruly, tmp_path, changes("dies", "process"))
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "tables" / "parts").glob("evaluate-*.safetensors")}
    assert any(path.name.count("-") == 3 for path in kept)  # items done alone
    start(unruly, tmp_path, changes("dies", "process"))
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_a_piece_of_data_that_no_worker_can_make_is_a_row(unruly, tmp_path, monkeypatch):
    from wetoolkit.testing.fakes import ToyDataset

    def make(self, piece):
        if piece == "log 2":
            raise RuntimeError("no room for it")

    monkeypatch.setattr(ToyDataset, "pending", lambda self, splits: ["log 1", "log 2"], raising=False)
    monkeypatch.setattr(ToyDataset, "make", make, raising=False)
    failed = start(unruly, tmp_path, changes("raises", "serial"), last="pretrain").failed
    assert failed.filter(pl.col("stage") == "index").select("id", "reason").rows() == [("log 2", "RuntimeError: no room for it")]
