"""Stages one by one, on artefacts of the run or from elsewhere; what comes from elsewhere is checked."""

from pathlib import Path

import polars as pl
import pytest
from toy_run import DATA, rows, start, tables

from wetoolkit.errors import ConfigError, DataError, StoreError, ValidationError
from wetoolkit.experiment import parse_experiment
from wetoolkit.pipeline import stage_given
from wetoolkit.policies import trained_on
from wetoolkit.progress import Silent
from wetoolkit.registry import Registry
from wetoolkit.store import read_block, read_state, read_table, write_state
from wetoolkit.testing.fake_learning import ToyPolicy
from wetoolkit.testing.fakes import ToyBehaviour, ToyDataset, ToyDatasetConfig, ToyWorld
from wetoolkit.types import Scene


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


def test_policies_trained_on_evaluation_logs_are_refused(done: Path, registry: Registry, tmp_path: Path) -> None:
    splits = {"pretrain": "test", "mine": "rare-test", "common": "train", "rare": "rare-train"}  # the other way round
    start(registry, tmp_path / "other", {"rounds": 1, "splits": splits})
    for name in ("pretrain-*", "train-1-*"):
        policy = next((tmp_path / "other" / "policies").glob(f"{name}.safetensors"))
        for stage in ("mine-1", "evaluate"):
            given = stage_given(parse_experiment(DATA), stage, [], policy)
            with pytest.raises(ValidationError, match="serve for evaluation here"):
                start(registry, tmp_path / "run", given=given, first=stage, last=stage)
    logs = [set(trained_on(next((done / "policies").glob(f"{name}-*.safetensors"))) or ()) for name in ("pretrain", "train-2")]
    assert logs[0] and logs[0] <= logs[1]  # what the base saw, its post-trained heir saw too


def test_a_policy_that_does_not_tell_its_logs_is_noted(done: Path, registry: Registry, tmp_path: Path) -> None:
    state, about = read_state(next((done / "policies").glob("pretrain-*.safetensors")))
    write_state(tmp_path / "foreign.safetensors", state, {key: value for key, value in about.items() if key != "logs"})
    said: list[str] = []

    class Listening(Silent):
        def note(self, text: str) -> None:
            said.append(text)

    given = stage_given(parse_experiment(DATA), "mine-1", [], tmp_path / "foreign.safetensors")
    start(registry, tmp_path / "run", given=given, first="mine-1", last="mine-1", watch=Listening())
    assert any("foreign.safetensors does not tell the logs" in text for text in said)


def test_data_files_that_change_are_noticed(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "log.bin"
    file.write_bytes(b"one")
    monkeypatch.setattr(ToyDataset, "files", lambda self: [file], raising=False)
    start(registry, tmp_path / "run", {"rounds": 1})
    assert start(registry, tmp_path / "run", {"rounds": 1}).cached
    file.write_bytes(b"other")
    again = start(registry, tmp_path / "run", {"rounds": 1})
    assert not again.cached and again.complete
    assert set(read_table(tmp_path / "run" / "ledger.parquet")["stage"].to_list()[-20:]) >= {"index", "demonstrations", "mine-1"}
    file.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        start(registry, tmp_path / "run", {"rounds": 1})


def test_a_behaviour_that_learned_from_evaluation_logs_is_refused(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = {ref.log for ref in ToyDataset(ToyDatasetConfig(logs=4, per_log=2)).index("test")}
    train = {ref.log for ref in ToyDataset(ToyDatasetConfig(logs=4, per_log=2)).index("train")}
    short = {"rounds": 1, "controls": {}}
    monkeypatch.setattr(ToyBehaviour, "trained_on", lambda self: train | {min(test)}, raising=False)
    with pytest.raises(ValidationError, match="1 logs that it was trained on serve for evaluation here"):
        start(registry, tmp_path / "seen", short, last="mine-1")
    monkeypatch.setattr(ToyBehaviour, "trained_on", lambda self: train)
    start(registry, tmp_path / "held-out", short, last="mine-1")
    said: list[str] = []

    class Listener(Silent):
        def note(self, text: str) -> None:
            said.append(text)

    monkeypatch.setattr(ToyBehaviour, "trained_on", lambda self: None)
    start(registry, tmp_path / "unknown", short, last="mine-1", watch=Listener())
    assert ["toy" in text and "not known" in text for text in said] == [True]
