"""The whole loop on the toy domain: twice the same, killed and resumed the same, broken items counted, damage mended."""

import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from toy_run import DATA, rows, start, tables

from wetoolkit import store as store_module
from wetoolkit.errors import DataError, PluginError, StoreError, UnknownName, ValidationError
from wetoolkit.registry import Registry
from wetoolkit.store import Store, read_block, read_table
from wetoolkit.testing import fakes
from wetoolkit.testing.fakes import ToyBehaviour, ToyDataset, ToyMiner, ToyReconstructor, ToyReward, ToySimulator, ToyWorld
from wetoolkit.types import Ref, Rollout, Scenario, Scene


def test_every_item_has_a_row(done: Path) -> None:
    outcomes = rows(done, "outcomes")
    assert set(outcomes["policy"]) == {"base", "round-1", "post-trained", "imitation", "toy-straight"}
    counts = {key: n for *key, n in outcomes.group_by("policy", "split", "mode").len().iter_rows() for key in [tuple(key)]}
    assert all(n == (16 if key[2] == "closed" else 8) for key, n in counts.items()) and len(counts) == 5 * 3
    assert set(outcomes["error"]) == {""} and set(outcomes["metric"]) == {"toy-1.0[radius=0.6]"}
    assert set(outcomes.filter(pl.col("split") == "rare")["label"]) == {"in the way"}


def test_the_loop_makes_the_policy_safer(done: Path) -> None:
    """The toy is built so that imitation of the common walks into the rare; the loop must cure that."""
    scores = rows(done, "results").filter((pl.col("mode") == "closed") & (pl.col("measure") == "success"))
    by_policy = dict(scores.select("policy", "estimate").iter_rows())
    assert by_policy["post-trained"] > by_policy["base"] + 0.3


def test_a_second_start_finds_everything_done(done: Path, registry: Registry) -> None:
    before, ledger = tables(done), read_table(done / "ledger.parquet")
    finished = start(registry, done)
    assert finished.cached and finished.complete
    assert tables(done) == before and read_table(done / "ledger.parquet").equals(ledger)


def test_another_folder_gives_the_same_bytes(done: Path, registry: Registry, tmp_path: Path) -> None:
    start(registry, tmp_path)
    assert tables(tmp_path) == tables(done)
    digests = [{name: record.digest for name, record in Store(folder).manifest.stages.items()} for folder in (done, tmp_path)]
    assert digests[0] == digests[1]


def test_processes_give_the_same_bytes(done: Path, registry: Registry, tmp_path: Path) -> None:
    start(registry, tmp_path, {"executor": {"use": "process", "workers": 2}})
    assert tables(tmp_path) == tables(done)


CHILD = """
import sys, json
from pathlib import Path
from wetoolkit.experiment import parse_experiment
from wetoolkit.pipeline import run
from wetoolkit.registry import load_registry
run(parse_experiment(json.loads(sys.argv[2])), load_registry(["wetoolkit.testing.plugin"], only=["wetoolkit"]), Path(sys.argv[1]))
"""


def test_killed_at_any_moment_it_resumes_to_the_same_tables(done: Path, tmp_path: Path) -> None:
    """SIGKILL at random moments of one run, again and again; each start goes on, and the end is the same to the byte."""
    import json

    # A kill costs the stage it hits, so six starts of at most an eighth of the work cannot reach the end, however fast the machine.
    whole = read_table(done / "ledger.parquet")["wall"].sum()
    rng, kills, seen = random.Random(5), 0, []
    for attempt in range(40):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path), json.dumps(DATA)], stderr=subprocess.PIPE)
        wait_for_stages(tmp_path, child, len(seen), rng.uniform(0.0, whole / 8) if attempt < 6 else 600.0)
        if child.poll() is None:
            child.send_signal(signal.SIGKILL)
            kills += 1
        _, errors = child.communicate()
        assert child.returncode in (0, -signal.SIGKILL), errors.decode()
        now = list(Store(tmp_path).manifest.stages)
        assert now[: len(seen)] == seen, "a finished stage was forgotten"
        seen = now
        if child.returncode == 0:
            break
    assert kills >= 3
    assert tables(tmp_path) == tables(done)
    ledger = read_table(tmp_path / "ledger.parquet")
    # A kill between a stage's row in the ledger and its record in the manifest costs a second row, never a lost one.
    assert set(ledger["stage"]) == set(seen) and len(ledger) <= len(seen) + kills, "a finished stage was made twice"
    assert not list(tmp_path.rglob("*.tmp"))


def wait_for_stages(folder: Path, child: subprocess.Popen[bytes], before: int, seconds: float) -> None:
    """Until the child has begun to work and so many seconds have passed since, or it has ended."""
    deadline = time.monotonic() + 60
    while child.poll() is None and time.monotonic() < deadline:
        if (folder / ".lock").exists() and (folder / ".lock").read_text() == str(child.pid):
            break
        time.sleep(0.01)
    deadline = time.monotonic() + seconds
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)


def copied(done: Path, to: Path) -> Path:
    import shutil

    shutil.copytree(done, to, dirs_exist_ok=True)
    return to


@pytest.mark.parametrize("folder", ["scenes", "rollouts", "experience", "policies", "tables/parts"])
def test_damaged_artefacts_are_made_again_and_counted(done: Path, registry: Registry, tmp_path: Path, folder: str) -> None:
    copied(done, tmp_path)
    victim = sorted((tmp_path / folder).glob("*.safetensors"))[-1]
    victim.write_bytes(victim.read_bytes()[:-3])
    finished = start(registry, tmp_path)
    assert not finished.cached and tables(tmp_path) == tables(done)
    fresh = read_table(tmp_path / "ledger.parquet")[len(read_table(done / "ledger.parquet")) :]
    assert len(fresh) == 1 and fresh["damaged"].sum() >= 1, "one stage is mended, and its successors stand"
    assert victim.read_bytes() == (done / victim.relative_to(tmp_path)).read_bytes()


def test_a_changed_setting_remakes_only_what_depends_on_it(done: Path, registry: Registry, tmp_path: Path) -> None:
    copied(done, tmp_path)
    start(registry, tmp_path, {"evaluate": {**DATA["evaluate"], "horizon": 4.0}})
    fresh = read_table(tmp_path / "ledger.parquet")[len(read_table(done / "ledger.parquet")) :]
    assert fresh["stage"].to_list() == ["evaluate"]
    assert not rows(tmp_path, "outcomes").equals(rows(done, "outcomes"))
    start(registry, tmp_path)
    assert tables(tmp_path) == tables(done)


def test_another_chunk_makes_everything_again(done: Path, registry: Registry, tmp_path: Path) -> None:
    """Batches may round differently, so results may depend on how the work is cut: nothing of another cut is reused."""
    copied(done, tmp_path)
    start(registry, tmp_path, {"chunk": DATA["chunk"] + 1})
    assert set(rows(tmp_path, "../ledger")["stage"][len(rows(done, "../ledger")) :]) == set(rows(done, "../ledger")["stage"])


def test_labels_are_read_after_everything_else_and_change_nothing(
    done: Path, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With other labels all that is mined, rolled out and learned is the same to the byte; label column and recall differ."""
    plain = ToyDataset.labels

    def turned(self: ToyDataset, split: str) -> dict[str, str]:
        return {id: "" if label else "nothing" for id, label in plain(self, split).items()}

    monkeypatch.setattr(ToyDataset, "labels", turned)
    start(registry, tmp_path)
    ours, theirs = Store(done).manifest.stages, Store(tmp_path).manifest.stages
    assert set(ours) == set(theirs)
    for stage in set(ours) - {"evaluate"}:
        assert ours[stage].artefacts == theirs[stage].artefacts
        for name in ours[stage].artefacts:
            assert (done / name).read_bytes() == (tmp_path / name).read_bytes(), name
    tables = rows(done, "outcomes"), rows(tmp_path, "outcomes")
    assert tables[0].drop("label").equals(tables[1].drop("label")) and not tables[0].equals(tables[1])
    assert set(rows(tmp_path, "recall")["label"]) == {""} and set(rows(done, "recall")["label"]) == {"in the way"}


def test_recall_counts_what_the_miner_was_given(done: Path) -> None:
    table = rows(done, "recall")
    assert table["round"].to_list() == [1, 2] and table["given"].to_list() == [8, 8]
    for number, found in table.select("round", "found").iter_rows():
        mined = set(rows(done, f"failures-{number}")["id"])
        assert found == len(mined)  # every scenario of the split carries a label


def test_lineage_leads_back_to_the_log(done: Path) -> None:
    path = sorted((done / "rollouts").glob("rollout-1-*.safetensors"))[0]
    rollouts = read_block(path, Rollout, ToyWorld)[0]
    logs = {ref.id: ref.log for ref in ToyDataset(fakes.ToyDatasetConfig(logs=4, per_log=2)).index("rare-train")}
    for rollout in rollouts:
        chain = [step.component for step in rollout.lineage.steps]
        varied = ["behaviour/toy"] if "~" in rollout.scene else []
        assert chain == ["dataset/toy", "reconstructor/toy", *varied, "policy/toy-softmax", "simulator/toy"]
        assert logs[rollout.lineage.scenario] == rollout.log == rollout.lineage.log and rollout.lineage.synthetic
        assert all(step.distribution.startswith("wetoolkit") and len(step.config) == 64 for step in rollout.lineage.steps)
    assert len({rollout.id for rollout in rollouts}) == len(rollouts) == 12  # 4 scenes, each as logged and twice varied


def test_experience_holds_hard_and_common_frames_and_rollouts(done: Path) -> None:
    from wetoolkit.experience import Shards

    shards = Shards(*sorted((done / "experience").glob("experience-1-*.safetensors")))
    source, choice = shards.column("source"), shards.column("choice")
    assert (shards.column("rewards").shape[1], (choice[source == 1] >= 0).all(), (choice[source == 0] == -1).all()) == (
        12,
        True,
        True,
    )
    assert shards.column("has_expert")[source == 0].all() and not shards.column("has_expert")[source == 1].any()
    hard = len(rows(done, "failures-1").unique(["id", "step"]))
    assert hard <= (source == 0).sum() <= 2 * hard and len(set(shards.ids)) == len(shards)


# Bad input


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"splits": {**DATA["splits"], "rare": "rare-train"}}, ValidationError, "logs serve for training and for evaluation"),
        ({"splits": {**DATA["splits"], "common": "train"}}, ValidationError, "common"),
        ({"splits": {**DATA["splits"], "mine": "rare-trian"}}, UnknownName, "rare-train"),
        ({"miner": {"use": "toy", "least": 0.0}}, DataError, "nothing to learn from"),
    ],
)
def test_bad_experiments_end_with_a_reason(
    registry: Registry, tmp_path: Path, changes: dict[str, Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        start(registry, tmp_path, changes)


def test_an_empty_split_is_an_error(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = ToyDataset.index
    monkeypatch.setattr(ToyDataset, "index", lambda self, split: [] if split == "test" else plain(self, split))
    with pytest.raises(DataError, match="'test' is empty"):
        start(registry, tmp_path)


def test_a_data_set_that_cannot_be_listed_is_named(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ToyDataset, "index", lambda self, split: {}[split])
    with pytest.raises(PluginError, match="KeyError: 'train'") as caught:
        start(registry, tmp_path)
    assert caught.value.context["component"] == "dataset/toy"


def test_doubled_ids_are_counted_and_used_once(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = ToyDataset.index
    monkeypatch.setattr(ToyDataset, "index", lambda self, split: [*plain(self, split), plain(self, split)[2]])
    finished = start(registry, tmp_path, {"rounds": 1})
    assert len(finished.failed) == 4 and set(finished.failed["stage"]) == {"index"}
    assert finished.failed["reason"].str.contains("2 scenarios of one id").all()
    assert len(rows(tmp_path, "outcomes").filter((pl.col("policy") == "base") & (pl.col("mode") == "open"))) == 16


BROKEN = ("rare-train/001/01", "rare-test/002/00", "train/000/01")


def breaks(plain: Any, id_of: Any) -> Any:
    """A method that raises for the broken scenarios."""

    def method(self: Any, first: Any, *rest: Any, **more: Any) -> Any:
        items = first if isinstance(first, Sequence) else [first]
        for item in items:
            if any(id_of(item).startswith(broken) for broken in BROKEN):
                raise ZeroDivisionError(f"on {id_of(item)}")
        return plain(self, first, *rest, **more)

    return method


@pytest.mark.parametrize(
    ("cls", "method", "component"),
    [
        (ToyDataset, "load", "dataset/toy"),
        (ToyReconstructor, "reconstruct", "reconstructor/toy"),
        (ToyBehaviour, "vary", "behaviour/toy"),
        (ToySimulator, "rollout", "simulator/toy"),
        (ToyMiner, "mine", "miner/toy"),
        (ToyReward, "score", "reward/toy"),
    ],
)
def test_broken_items_are_rows_and_the_run_goes_on(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cls: type, method: str, component: str
) -> None:
    def id_of(item: Ref | Scenario[Any] | Scene[Any]) -> str:
        return item.id

    monkeypatch.setattr(cls, method, breaks(getattr(cls, method), id_of))
    finished = start(registry, tmp_path, {"rounds": 1})
    assert finished.complete and len(finished.failed)
    assert component in set(finished.failed["component"])
    assert finished.failed["distribution"].str.starts_with("wetoolkit").all()
    assert finished.failed["reason"].str.contains("ZeroDivisionError: on ").any()
    outcomes = rows(tmp_path, "outcomes")
    assert len(outcomes) == 4 * (8 + 8 + 16), "every item has its row"
    bad = outcomes.filter(pl.col("error") != "")
    assert (
        bad["total"].is_null().all()
        and bad["success"].is_null().all()
        and outcomes.filter(pl.col("error") == "")["total"].is_not_null().all()
    )
    assert set(bad["id"]) <= set(BROKEN)
    again = start(registry, tmp_path, {"rounds": 1})
    assert again.cached and again.failed.equals(finished.failed)


def test_values_that_do_not_validate_are_failed_items(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = ToyReconstructor.reconstruct

    def wrong_step(self: Any, scenario: Any, failure: Any, seed: int) -> Any:
        scene = plain(self, scenario, failure, seed)
        return replace(scene, clock=scene.clock.at(scene.clock.now + 1)) if scenario.id in BROKEN else scene

    monkeypatch.setattr(ToyReconstructor, "reconstruct", wrong_step)
    finished = start(registry, tmp_path, {"rounds": 1})
    assert {row.rpartition(": ")[2] for row in finished.failed["id"]} == {"rare-train/001/01", "rare-test/002/00"}
    assert finished.failed["reason"].str.contains("scene.clock.now").all()


def test_a_full_disk_ends_the_run_and_it_goes_on_later(
    done: Path, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, count = os.fsync, 0

    def full(handle: int) -> None:
        nonlocal count
        count += 1
        if count > 60:
            raise OSError(errno.ENOSPC, "No space left on device")
        plain(handle)

    monkeypatch.setattr(store_module.os, "fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        start(registry, tmp_path)
    assert not list(tmp_path.rglob("*.tmp"))
    monkeypatch.undo()
    start(registry, tmp_path)
    assert tables(tmp_path) == tables(done)
