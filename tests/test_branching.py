"""Branches of recorded rollouts and films of them, on the toy domain, through the command line and beneath it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import polars as pl
import pytest
from hash_jobs import hash_of
from PIL import Image

from wetoolkit import discovery
from wetoolkit.branching import Asked, branch, recorded, step_at
from wetoolkit.cli import BAD_INPUT, OK
from wetoolkit.cli import execute as wetool
from wetoolkit.errors import PluginError, StoreError, UnknownName, ValidationError
from wetoolkit.events import Event
from wetoolkit.executors import Process, ProcessConfig
from wetoolkit.experiment import Parts, load_experiment
from wetoolkit.film import check_film, film, write_film, write_sheet
from wetoolkit.pipeline import run as run_experiment
from wetoolkit.record import state_hash
from wetoolkit.registry import load_registry
from wetoolkit.store import Store, read_block
from wetoolkit.testing.fakes import Toy, ToyWorld
from wetoolkit.types import Rollout
from wetoolkit.work import Session

TOY = Path(__file__).resolve().parents[1] / "docs" / "toy.toml"
SCENE = "rare-train/000/00@4-collision"


def session(folder: Path) -> Session:
    registry = load_registry(extra_modules=["wetoolkit.testing.plugin"], only=["wetoolkit"])
    experiment = load_experiment(folder / "experiment.toml")
    return Session(experiment, Parts(experiment, registry), Store(folder))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the toy experiment."""
    folder = tmp_path_factory.mktemp("runs") / "toy"
    registry = load_registry(extra_modules=["wetoolkit.testing.plugin"], only=["wetoolkit"])
    run_experiment(load_experiment(TOY, ["dataset.logs=4"]), registry, folder)
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to branch in."""
    monkeypatch.setenv(discovery.ONLY, "wetoolkit")
    monkeypatch.setenv(discovery.EXTRA, "wetoolkit.testing.plugin")
    return shutil.copytree(finished, tmp_path / "toy")


def test_every_drive_of_the_evaluation_has_its_state_and_its_time(finished: Path) -> None:
    outcomes = pl.read_parquet(finished / "tables" / "outcomes.parquet")
    driven = outcomes.filter(pl.col("mode") == "closed")
    assert driven["state"].str.len_chars().unique().to_list() == [16]
    assert driven.filter(pl.col("success"))["failed_at"].is_null().all()
    lost = driven.filter(~pl.col("success"))
    assert (lost["failed_at"] <= lost["seconds"]).all() and lost["failed_at"].is_not_null().all()
    assert set(outcomes.filter(pl.col("mode") == "open")["state"]) == {""}
    steps = pl.read_parquet(finished / "tables" / "steps.parquet")
    assert steps.group_by("policy", "id", "seed").len()["len"].unique().to_list() == [12]
    events = pl.read_parquet(finished / "tables" / "events.parquet")
    first = events.filter(pl.col("fails")).group_by("policy", "id", "seed").agg(pl.col("time").min())
    both = lost.join(first, on=["policy", "id", "seed"])
    assert len(both) and (both["time"] == both["failed_at"]).all()


def test_a_branch_stands_beside_its_record(folder: Path) -> None:
    code = wetool(["branch", str(folder), SCENE, "--at", "0.5", "--policy", "base", "--policy", "post-trained", "--n", "2"])
    assert code == OK
    (path,) = (folder / "branches").glob("*.parquet")
    table = pl.read_parquet(path)
    assert table["drive"].to_list() == ["recorded", "branch 1", "branch 2", "branch 3", "branch 4"]
    assert table["policy"].to_list() == ["pretrain", "base", "base", "post-trained", "post-trained"]
    assert not table["success"][0]
    assert table["failed_by"][0] == "collision"
    assert table["success"][3]  # half a second is early enough for the better policy
    scene, record = recorded(session(folder), SCENE)
    made, _ = read_block(path.with_suffix(".safetensors"), Rollout, ToyWorld)
    for one in made:
        one.validate()
        np.testing.assert_array_equal(one.world.body[: record.clock.now + 2], record.world.body[: record.clock.now + 2])
        assert one.clock.now == record.clock.now
        assert one.lineage.steps[: len(record.lineage.steps)] == record.lineage.steps
        assert [step.component for step in one.lineage.steps[-2:]] == ["policy/toy-softmax", "simulator/toy"]
    assert np.array_equal(made[0].plans, record.plans[: len(made[0].plans)])  # the same policy and seed do the same again
    assert scene.id == SCENE


def test_what_was_tried_is_not_tried_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["branch", str(folder), SCENE, "--at", "0.5", "--policy", "toy-straight", "--behaviour", "toy", "--json"]
    rows = []
    for cached in (False, True):
        assert wetool(command) == OK
        found = json.loads(capsys.readouterr().out)
        assert found["cached"] == cached
        rows.append(found["rows"])
    assert rows[0] == rows[1]
    assert rows[0][1]["behaviour"] == "toy"
    assert wetool([*command, "--n", "2"]) == OK
    assert not json.loads(capsys.readouterr().out)["cached"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["nowhere", "--at", "1"], "is not known"),
        ([SCENE, "--at", "0.7"], "between two steps"),
        ([SCENE, "--at", "99"], "outside the record"),
        ([SCENE, "--at", "-1"], "outside the record"),
        ([SCENE, "--at", "1", "--policy", "nobody"], "base"),
        ([SCENE, "--at", "1", "--policy", "gone.safetensors"], "no such artefact"),
        ([SCENE, "--at", "1", "--behaviour", "nothing"], "is not known"),
        ([SCENE, "--at", "2", "--horizon", "1"], "ends before the branch"),
    ],
)
def test_bad_questions_have_clear_answers(folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str) -> None:
    code = wetool(["branch", str(folder), *options])
    printed = capsys.readouterr()
    assert code == BAD_INPUT
    assert said in printed.err


def test_a_folder_that_is_no_run_is_bad_input(tmp_path: Path) -> None:
    assert wetool(["branch", str(tmp_path), SCENE]) == BAD_INPUT


def test_a_policy_that_raises_is_a_row_and_an_exit_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from wetoolkit.testing.fake_learning import ToyStraight

    def act(self: ToyStraight, observation: object, seed: int) -> None:
        raise RuntimeError("no legs")

    monkeypatch.setattr(ToyStraight, "act", act)
    found = branch(session(folder), Asked(SCENE, 1.0, ("toy-straight", "base")))
    assert "no legs" in found.failed[0].reason
    assert len(found.rollouts) == 2
    assert found.table["error"].to_list()[-1].startswith("RuntimeError")
    assert found.table["total"].to_list()[-1] is None
    assert wetool(["branch", str(folder), SCENE, "--at", "1", "--policy", "toy-straight"]) == 3


def test_times_are_steps_of_the_record(finished: Path) -> None:
    _, record = recorded(session(finished), SCENE)
    assert step_at(record, 1.5) == record.clock.now + 3
    with pytest.raises(ValidationError):
        step_at(record, 1e9)
    with pytest.raises(UnknownName, match="rare-train"):
        recorded(session(finished), SCENE + "x")


def test_equal_hashes_by_any_number_of_workers_in_any_order() -> None:
    """Eight drives in this process, by one worker backwards, and by eight at a time."""
    here = [hash_of(index) for index in range(8)]
    one = list(Process(ProcessConfig(workers=1)).map(hash_of, list(range(8))[::-1]))
    many = list(Process(ProcessConfig(workers=8)).map(hash_of, list(range(8))))
    assert [outcome.value for outcome in one][::-1] == [outcome.value for outcome in many] == here
    assert len(set(here)) == 8


def test_films_have_a_picture_a_step_and_the_sheet_a_still_a_film(folder: Path) -> None:
    assert wetool(["rollout", str(folder), "--video", "--films", "3"]) == OK
    films = sorted((folder / "videos").glob("*.mp4"))
    assert len(films) == 3
    _, record = recorded(session(folder), SCENE)
    for path in films:
        assert len(decoded(path, 64, 96)) == record.end - record.clock.now
    with Image.open(folder / "videos" / "rollout-1.png") as sheet:
        assert sheet.size == (2 * 96, 2 * 64)
    assert wetool(["branch", str(folder), SCENE, "--at", "1", "--video"]) == OK
    assert sorted(path.name for path in (folder / "branches").glob("*/*")) == ["00-recorded.mp4", "01-branch.mp4", "sheet.png"]


def decoded(path: Path, height: int, width: int) -> np.ndarray:
    """The pictures [T, H, W, 3] of a film."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)


def test_pictures_come_out_as_they_went_in(tmp_path: Path) -> None:
    """Flat colours survive the codec to a few grey levels, in their order."""
    shades = [20, 120, 220]
    pictures = [np.full((32, 48, 3), shade, np.uint8) for shade in shades]
    assert write_film(tmp_path / "a.mp4", pictures, 10.0) == 3
    np.testing.assert_allclose(decoded(tmp_path / "a.mp4", 32, 48).mean((1, 2, 3)), shades, atol=6)
    write_sheet(tmp_path / "s.png", pictures)
    with Image.open(tmp_path / "s.png") as image:
        sheet = np.asarray(image)
    assert sheet.shape == (64, 96, 3)
    assert [sheet[0, 0, 0], sheet[0, 95, 0], sheet[63, 0, 0], sheet[63, 95, 0]] == [20, 120, 220, 255]


def test_the_still_shows_the_failure(finished: Path, tmp_path: Path) -> None:
    _, record = recorded(session(finished), SCENE)
    events = [Event("collision", record.clock.now + 2, 1.0, True)]
    still = film(Toy(), record, None, events, tmp_path / "a.mp4")
    due = list(Toy().frames(record, None, events))[2]
    np.testing.assert_array_equal(still, due)
    assert state_hash(record) == state_hash(recorded(session(finished), SCENE)[1])


@pytest.mark.parametrize("shapes", [[], [(31, 48, 3)], [(32, 48)], [(32, 48, 3), (32, 50, 3)]])
def test_pictures_that_make_no_film_leave_nothing_behind(tmp_path: Path, shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(ValidationError):
        write_film(tmp_path / "a.mp4", [np.zeros(shape, np.uint8) for shape in shapes], 10.0)
    assert list(tmp_path.iterdir()) == []


def test_a_film_where_nothing_can_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        write_film(tmp_path / "file" / "a.mp4", [np.zeros((32, 48, 3), np.uint8)], 10.0)


def test_without_the_packages_there_is_one_clear_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(PluginError, match=r"wetoolkit\[video\]"):
        check_film(Toy())
    assert wetool(["rollout", str(folder), "--video"]) == BAD_INPUT

    class Blind:
        name = "blind"

    with pytest.raises(PluginError, match="draws no films"):
        check_film(Blind())
