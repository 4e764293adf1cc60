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

from wetoolkit import store as store_module
from wetoolkit.errors import ConfigError, DataError, PluginError, StoreError, UnknownName, ValidationError
from wetoolkit.experiment import parse_experiment
from wetoolkit.pipeline import Finished, run, stage_given
from wetoolkit.registry import Registry, load_registry
from wetoolkit.store import Store, read_block, read_state, read_table
from wetoolkit.testing import fakes
from wetoolkit.testing.fake_learning import ToyPolicy
from wetoolkit.testing.fakes import ToyBehaviour, ToyDataset, ToyMiner, ToyReconstructor, ToyReward, ToySimulator, ToyWorld
from wetoolkit.types import Ref, Rollout, Scenario, Scene

TOY = {"use": "toy"}
DATA: dict[str, Any] = {
    "name": "toy", "seed": 3, "domain": "toy", "chunk": 4, "rounds": 2, "dataset": {"use": "toy", "logs": 4, "per_log": 2},
    "splits": {"pretrain": "train", "mine": "rare-train", "common": "test", "rare": "rare-test"},
    "policy": {"use": "toy-softmax"}, "pretrain": {"use": "toy-imitation"}, "miner": TOY, "reconstructor": TOY,
    "behaviour": [{"use": "toy", "count": 2}], "simulator": TOY, "reward": TOY,
    "algorithm": {"use": "toy-gradient"}, "evaluate": {"reward": TOY, "policies": ["toy-straight"], "seeds": [0, 1]},
    "controls": {"imitation": {"use": "toy-imitation"}},
}  # fmt: skip
TABLES = ("outcomes", "results", "comparisons", "failed")


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry(["wetoolkit.testing.plugin"], only=["wetoolkit"])


def tables(folder: Path) -> dict[str, bytes]:
    return {name: (folder / "tables" / f"{name}.parquet").read_bytes() for name in TABLES}


def start(registry: Registry, folder: Path, changes: dict[str, Any] | None = None, **more: Any) -> Finished:
    return run(parse_experiment({**DATA, **(changes or {})}), registry, folder, **more)


def rows(folder: Path, name: str) -> pl.DataFrame:
    return read_table(folder / "tables" / f"{name}.parquet")


@pytest.fixture(scope="module")
def done(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two rounds."""
    folder = tmp_path_factory.mktemp("done")
    finished = start(registry, folder)
    assert finished.complete and not finished.cached and not len(finished.failed)
    return folder


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
    assert sorted(ledger["stage"].to_list()) == sorted(seen), "a finished stage was made twice"
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


# Stages one by one


def test_stages_one_by_one_end_at_the_same_tables(done: Path, registry: Registry, tmp_path: Path) -> None:
    order = ["pretrain", *(f"{s}-{r}" for r in (1, 2) for s in ("mine", "reconstruct", "vary", "rollout", "train")), "evaluate"]
    for stage in order:
        finished = start(registry, tmp_path, first=stage, last=stage)
        assert finished.complete == (stage == "evaluate")
    start(registry, tmp_path)
    assert tables(tmp_path) == tables(done)


def test_a_stage_too_early_says_what_is_missing(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="'pretrain' has not been done"):
        start(registry, tmp_path, first="mine")
    with pytest.raises(ConfigError, match="no stage 'mien'"):
        start(registry, tmp_path, first="mien")


def test_the_last_stage_may_not_come_before_the_first(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'mine', comes after the last, 'pretrain'"):
        start(registry, tmp_path, first="mine", last="pretrain")
    assert not (tmp_path / "experiment.toml").exists()  # nothing was begun


@pytest.mark.parametrize(
    ("stage", "files", "policy", "said"),
    [
        ("mine-1", "", "scenes/reconstruct-1-*", "not a policy"),
        ("evaluate", "scenes/vary-1-*", "", "not a policy"),
        ("train-1", "scenes/vary-1-*", "policies/pretrain-*", "no experience"),
        ("vary-1", "policies/pretrain-*", "", "not an artefact"),
        ("rollout-1", "rollouts/*", "policies/pretrain-*", "Scene.choices"),
    ],
)
def test_artefacts_of_another_kind_are_refused(
    done: Path, registry: Registry, tmp_path: Path, stage: str, files: str, policy: str, said: str
) -> None:
    found = [next(done.glob(f"{name}.safetensors")) if name else None for name in (files, policy)]
    given = stage_given(parse_experiment(DATA), stage, [found[0]] if found[0] else [], found[1])
    with pytest.raises(StoreError, match=said):
        start(registry, tmp_path, given=given, first=stage, last=stage)


def test_a_policy_that_does_not_fit_its_state_is_refused(
    done: Path, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ToyPolicy, "with_state", lambda self, state: state["gone"])
    given = stage_given(parse_experiment(DATA), "mine-1", [], next((done / "policies").glob("pretrain-*.safetensors")))
    with pytest.raises(StoreError, match="do not fit the policy 'toy-softmax': KeyError"):
        start(registry, tmp_path, given=given, first="mine-1", last="mine-1")


def test_artefacts_from_elsewhere_bring_no_evaluation_logs(done: Path, registry: Registry, tmp_path: Path) -> None:
    splits = {"pretrain": "test", "mine": "rare-test", "common": "train", "rare": "rare-train"}  # the other way round
    start(registry, tmp_path / "other", {"rounds": 1, "splits": splits})
    policy = next((done / "policies").glob("pretrain-*.safetensors"))
    for stage, files in [
        ("reconstruct-1", "tables/failures-1.parquet"), ("vary-1", "scenes/reconstruct-*.safetensors"),
        ("rollout-1", "scenes/vary-*.safetensors"), ("train-1", "experience/experience-*.safetensors"),
    ]:  # fmt: skip
        given = stage_given(parse_experiment(DATA), stage, sorted((tmp_path / "other").glob(files)), policy)
        with pytest.raises(ValidationError, match="serve for evaluation here"):
            start(registry, tmp_path / "run", given=given, first=stage, last=stage)


def test_artefacts_from_elsewhere_stand_in(done: Path, registry: Registry, tmp_path: Path) -> None:
    experiment = parse_experiment(DATA)
    policy = next((done / "policies").glob("pretrain-*.safetensors"))
    given = stage_given(experiment, "reconstruct-1", [done / "tables" / "failures-1.parquet"], None)
    assert not start(registry, tmp_path / "a", given=given, first="reconstruct-1", last="reconstruct-1").complete
    scenes = sorted((tmp_path / "a" / "scenes").glob("*.safetensors"))
    assert sum(len(read_block(path, Scene, ToyWorld)[0]) for path in scenes) == len(rows(done, "failures-1").unique(["id", "step"]))
    given = stage_given(experiment, "rollout-1", scenes, policy)
    start(registry, tmp_path / "b", given=given, first="rollout-1", last="rollout-1")
    assert list((tmp_path / "b" / "rollouts").glob("*.safetensors"))
    given = stage_given(experiment, "evaluate", [policy], None)
    start(registry, tmp_path / "c", given=given, first="evaluate", last="evaluate")
    assert set(rows(tmp_path / "c", "outcomes")["policy"]) == {"post-trained", "toy-straight"}
    with pytest.raises(StoreError, match="no such artefact"):
        stage_given(experiment, "vary-1", [tmp_path / "none"], None)


def test_policies_carry_their_config(done: Path) -> None:
    state, about = read_state(next((done / "policies").glob("train-2-*.safetensors")))
    assert about["use"] == "toy-softmax" and state and about["lineage"][0]["component"] == "algorithm/toy-gradient"


def test_a_rare_miner_picks_the_rare_scenes(registry: Registry, tmp_path: Path) -> None:
    changes = {
        "rounds": 1, "splits": {**DATA["splits"], "common": "rare-test", "rare": "rare-test"},
        "evaluate": {**DATA["evaluate"], "rare_miner": {"use": "toy", "least": 0.9}},
    }  # fmt: skip
    start(registry, tmp_path, changes)
    outcomes = rows(tmp_path, "outcomes")
    rare, common = (set(outcomes.filter(pl.col("split") == split)["id"]) for split in ("rare", "common"))
    assert rare == set(rows(tmp_path, "rare")["id"]) and not rare & common and len(rare | common) == 8


def test_limits_are_kept(registry: Registry, tmp_path: Path) -> None:
    start(registry, tmp_path, {"rounds": 1, "limits": {"rare": 3, "common": 5, "failures": 2}})
    outcomes = rows(tmp_path, "outcomes").filter(pl.col("policy") == "base")
    assert outcomes.filter(pl.col("mode") == "open").group_by("split").len().sort("split")["len"].to_list() == [5, 3]
    assert len(read_block(next((tmp_path / "scenes").glob("reconstruct-1-*.safetensors")), Scene, ToyWorld)[0]) == 2
