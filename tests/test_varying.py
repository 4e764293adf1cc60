"""`wetool vary` of one scene: where the scene comes from, who varies it, what is written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from wetoolkit import discovery
from wetoolkit.cli import BAD_INPUT, OK
from wetoolkit.cli import execute as wetool
from wetoolkit.errors import ConfigError
from wetoolkit.experiment import load_experiment
from wetoolkit.pipeline import run as run_experiment
from wetoolkit.registry import load_registry
from wetoolkit.store import read_block, read_facts
from wetoolkit.testing.fakes import ToyWorld
from wetoolkit.types import Scene
from wetoolkit.varying import merged

TOY = Path(__file__).resolve().parents[1] / "docs" / "toy.toml"
SCENE = "rare-train/000/00@4-collision"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy run up to its scenes."""
    folder = tmp_path_factory.mktemp("runs") / "toy"
    registry = load_registry(extra_modules=["wetoolkit.testing.plugin"], only=["wetoolkit"])
    run_experiment(load_experiment(TOY, ["dataset.logs=4"]), registry, folder, last="vary-1")
    return folder


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(discovery.ONLY, "wetoolkit")
    monkeypatch.setenv(discovery.EXTRA, "wetoolkit.testing.plugin")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)


def test_a_scene_of_a_run_is_varied_and_can_be_driven(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "made"
    command = ["vary", str(run), SCENE, "--control", "near", "--n", "3", "--seed", "5", "--out", str(out)]
    assert wetool(command) == OK
    assert "3 of 3 variants" in capsys.readouterr().out
    table = pl.read_parquet(out / "variants.parquet")
    assert table.columns == ["variant", "control", "who", "seed"]
    scenes, facts = read_block(out / "variants.safetensors", Scene, ToyWorld)
    assert [scene.id for scene in scenes] == table["variant"].to_list()
    assert scenes[0].lineage.steps[-1].component == "behaviour/toy"
    assert scenes[0].lineage.steps[-1].seed == 5
    assert facts["rejected"] == {}
    assert len(pl.read_parquet(out / "rejected.parquet")) == 0
    given = ["--input", str(out / "variants.safetensors"), "--policy", *map(str, (run / "policies").glob("pretrain*.safetensors"))]
    assert wetool(["rollout", str(run / "experiment.toml"), "--out", "driven", *given]) == OK
    (block,) = (tmp_path / "driven" / "rollouts").glob("*.safetensors")
    assert len(read_facts(block)["ids"]) == 3
    # The same question, the same bytes; and a scene of the file that was made.
    first = (out / "variants.safetensors").read_bytes()
    assert wetool(command) == OK
    assert (out / "variants.safetensors").read_bytes() == first
    assert wetool(["vary", str(out / "variants.safetensors"), scenes[1].id, "--behaviour", "toy", "--n", "1", "--json"]) == OK


def test_what_is_rejected_is_counted(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert wetool(["vary", str(run), SCENE, "--control", "far", "--n", "8", "--json"]) == OK
    said = json.loads(capsys.readouterr().out)
    assert said["rejected"] == [{"reason": "too far", "times": 8 - len(said["rows"])}]
    assert 0 < len(said["rows"]) < 8
    assert Path(said["scenes"]).parent.parent == run / "variants"


def test_a_window_of_a_data_set_is_varied(tmp_path: Path) -> None:
    command = ["vary", "toy", "test:0", "--reconstructor", "toy", "--behaviour", "toy", "--set", "spread=0.0", "--n", "1"]
    assert wetool([*command, "--out", "one"]) == OK
    (scene,), _ = read_block(tmp_path / "one" / "variants.safetensors", Scene, ToyWorld)
    assert [step.component for step in scene.lineage.steps] == ["dataset/toy", "reconstructor/toy", "behaviour/toy"]
    assert wetool(["vary", "one/variants.safetensors", "--behaviour", "toy", "--n", "1"]) == OK  # its only scene


def test_variants_can_be_made_of_what_a_policy_does(run: Path, tmp_path: Path) -> None:
    command = ["vary", str(run), SCENE, "--behaviour", "toy", "--set", "spread=0.0", "--n", "1", "--policy", "toy-straight"]
    assert wetool([*command, "--out", "seen"]) == OK
    (scene,), _ = read_block(tmp_path / "seen" / "variants.safetensors", Scene, ToyWorld)
    assert [step.component.partition("/")[0] for step in scene.lineage.steps[-3:]] == ["policy", "simulator", "behaviour"]
    going = np.diff(scene.world.body[scene.clock.now :], axis=0)
    assert np.abs(going[:4, 1]).max() < 1e-6 and going[:4, 0].min() > 0  # straight on, where the record goes round
    assert wetool(["vary", str(tmp_path / "seen" / "variants.safetensors"), "--behaviour", "toy", "--policy", "base"]) == BAD_INPUT


def test_the_loop_can_foresee(run: Path, tmp_path: Path) -> None:
    registry = load_registry(extra_modules=["wetoolkit.testing.plugin"], only=["wetoolkit"])
    folder = Path(shutil.copytree(run, tmp_path / "toy"))
    experiment = load_experiment(TOY, ["dataset.logs=4", "vary.foresee=true"])
    before = {path.name for path in (folder / "scenes").glob("vary-*")}
    finished = run_experiment(experiment, registry, folder, last="vary-1")
    assert not len(finished.failed)
    (block,) = [path for path in (folder / "scenes").glob("vary-*.safetensors") if path.name not in before]
    scenes, _ = read_block(block, Scene, ToyWorld)
    steps = [[step.component.partition("/")[0] for step in scene.lineage.steps] for scene in scenes[:2]]
    assert steps == [["dataset", "reconstructor"], ["dataset", "reconstructor", "policy", "simulator", "behaviour"]]


def test_futures_are_filmed(run: Path) -> None:
    assert wetool(["vary", str(run), SCENE, "--behaviour", "toy", "--n", "2", "--video", "--out", "films"]) == OK
    assert Path("films/sheet.png").stat().st_size > 100


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["nowhere", "--control", "near"], "nowhere"),
        ([SCENE, "--control", "nearer"], "near"),
        ([SCENE, "--control", "near", "--control", "far"], "contradict each other in spread"),
        ([SCENE, "--behaviour", "tpy"], "toy"),
        ([SCENE, "--control", "near", "--set", "spred=1"], "spread"),
        ([SCENE], "--control: far, near"),
    ],
)
def test_bad_questions_are_answered(run: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert wetool(["vary", str(run), *options]) == BAD_INPUT
    assert any(word in capsys.readouterr().err for word in said.split("|"))


def test_controls_are_merged_and_contradictions_named() -> None:
    both = merged({"a": {"x": {"names": ["p"]}}, "b": {"x": {"names": ["q", "p"], "size": 1}}})
    assert both == {"x": {"names": ["p", "q"], "size": 1}}
    with pytest.raises(ConfigError, match=r"'a' and 'b' contradict each other in x.size"):
        merged({"a": {"x": {"size": 2}}, "b": {"x": {"size": 1}}})
