"""`wetool render` and `wetool view` on runs of the toy with a camera: what is in a sheet and a film, and what is said otherwise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from wetoolkit import discovery, sheets
from wetoolkit.cli import BAD_INPUT, OK
from wetoolkit.cli import execute as wetool
from wetoolkit.codec import read_header
from wetoolkit.errors import DataError, PluginError, ValidationError
from wetoolkit.experiment import Part, Parts, load_experiment
from wetoolkit.exploring import SupportsExplore
from wetoolkit.pipeline import run as run_experiment
from wetoolkit.registry import load_registry
from wetoolkit.rendering import explored, explorer, shown
from wetoolkit.sheets import HEAD, SIDE
from wetoolkit.store import Store, read_bytes
from wetoolkit.testing.fake_sight import CAMERA, SIZE, ToyStudio, draw
from wetoolkit.work import Session

TOY = Path(__file__).resolve().parents[1] / "docs" / "toy.toml"
FILMED = ["dataset.use=toy-filmed", "dataset.every=4", "reconstructor.use=toy-studio", "reconstructor.tint=9", "dataset.logs=2"]
W, H = SIZE


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose scenes can be rendered."""
    folder = tmp_path_factory.mktemp("runs") / "filmed"
    registry = load_registry(extra_modules=["wetoolkit.testing.plugin"], only=["wetoolkit"])
    run_experiment(load_experiment(TOY, FILMED), registry, folder, last="rollout-1")
    return folder


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(discovery.ONLY, "wetoolkit")
    monkeypatch.setenv(discovery.EXTRA, "wetoolkit.testing.plugin")


@pytest.fixture(scope="module")
def scene(run: Path) -> str:
    (path, *_) = sorted((run / "rollouts").glob("rollout-1-*.safetensors"))
    return str(read_header(read_bytes(path, header=True), str(path))["values"][0]["scene"])


def session(folder: Path) -> Session:
    registry = load_registry(extra_modules=["wetoolkit.testing.plugin"], only=["wetoolkit"])
    experiment = load_experiment(folder / "experiment.toml")
    return Session(experiment, Parts(experiment, registry), Store(folder))


def cell(sheet: Image.Image, row: int, column: int) -> np.ndarray:
    """[H, W, 3] of one picture in a sheet of four rows."""
    left, top = SIDE + column * (W + 4), sheet.height - (4 - row) * (H + 4)  # below a heading of as many lines as it needs
    return np.asarray(sheet.convert("RGB"))[top : top + H, left : left + W]


def test_a_sheet_holds_what_was_logged_and_what_is_rendered(run: Path, scene: str, tmp_path: Path) -> None:
    assert wetool(["render", str(run), scene, "--steps", "4", "--out", str(tmp_path)]) == OK
    what = shown(session(run), scene)
    clock, rollout = what.rollout.clock, what.rollout
    steps = np.linspace(clock.now, rollout.end - 1, 4).round().astype(int)
    (path,) = tmp_path.glob("*.png")
    assert path.name.endswith(f"-{rollout.policy}-{CAMERA}.png")
    logged = session(run).parts.build("dataset").load(what.scene.scenario).world
    with Image.open(path) as sheet:
        assert sheet.width == SIDE + 4 * (W + 4)
        for row, step in enumerate(steps.tolist()):
            assert np.array_equal(cell(sheet, row, 1), draw(rollout.world, step, SIZE, 9))
            recorded = draw(logged, step - step % 4)  # every fourth step was filmed
            labelled = (cell(sheet, row, 0) == sheets.INK).all(-1).any()
            assert labelled if step % 4 else np.array_equal(cell(sheet, row, 0), recorded)  # an old one tells its age
            for column in (2, 3):  # neither depth nor a map of trust is known
                assert (cell(sheet, row, column)[0, 0] == sheets.EMPTY).all()


def test_a_film_has_every_step_and_another_policy_drives_first(run: Path, scene: str, tmp_path: Path) -> None:
    out = ["--video", "--out", str(tmp_path), "--resolution", "64x33"]
    assert wetool(["render", str(run), scene, *out]) == OK
    assert wetool(["render", str(run), scene, *out, "--policy", "toy-straight"]) == OK
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 2 and names[1].endswith("-toy-straight.mp4")
    for path, policy in zip(sorted(tmp_path.iterdir()), ("", "toy-straight"), strict=True):
        rollout = shown(session(run), scene, policy).rollout
        assert imageio_ffmpeg.count_frames_and_secs(str(path))[0] == rollout.end - rollout.clock.now
    assert shown(session(run), scene, "toy-straight", [CAMERA], (20, 10)).sizes == {CAMERA: (20, 10)}


def test_what_cannot_be_shown_is_said(run: Path, scene: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blind = tmp_path / "blind"
    registry = load_registry(extra_modules=["wetoolkit.testing.plugin"], only=["wetoolkit"])
    run_experiment(load_experiment(TOY, ["dataset.logs=2"]), registry, blind, last="rollout-1")
    for args, words in (
        (["render", str(run), scene[:-1]], f"did you mean {scene!r}?"),
        (["render", str(run), scene, "--camera", "rear"], "camera 'rear' is not known"),
        (["render", str(run), scene, "--policy", "toy-strait"], "toy-straight"),
        (["render", str(run), scene, "--resolution", "big"], "WIDTHxHEIGHT"),
        (["render", str(blind), scene], "reconstructor/toy renders no pictures"),
        (["view", str(run), scene, "--no-browser"], "reconstructor/toy-studio has no viewer"),
        (["view", str(tmp_path / "gone"), "--no-browser"], "does not exist"),
        (["view", str(tmp_path), scene, "--no-browser"], "this is no run folder"),
    ):
        assert wetool(args) == BAD_INPUT, args
        assert words in capsys.readouterr().err, args
    other = session(run)
    experiment = other.experiment.model_copy(update={"reconstructor": Part(use="toy")})
    with pytest.raises(PluginError, match="made by reconstructor/toy-studio, the run has reconstructor/toy"):
        shown(replace(other, experiment=experiment, parts=Parts(experiment, other.parts.registry)), scene)


class Walkable(ToyStudio):
    """A studio with a viewer, which tells what it was given."""

    url = "http://127.0.0.1:1"

    @classmethod
    def recognise(cls, path: Path) -> bool:
        return path.suffix == ".toy"

    def orbit(self, path: Path, count: int, resolution: tuple[int, int]) -> list[dict[str, np.ndarray]]:
        return []

    def explore(self, path: Path, port: int) -> Walkable:
        return self

    def explore_scene(self, scene: object, world: object, port: int) -> Walkable:
        self.given = scene, world
        return self

    def close(self) -> None:
        return None


def test_a_viewer_gets_the_drive_it_was_asked_for(run: Path, scene: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert issubclass(Walkable, SupportsExplore)
    monkeypatch.setattr("wetoolkit.testing.fake_sight.ToyStudio", Walkable)
    found = explored(session(run), scene, "", 0)
    assert isinstance(found, Walkable)
    rollout = shown(session(run), scene).rollout
    assert found.given[0].id == scene and np.array_equal(found.given[1].body, rollout.world.body)
    (tmp_path / "a.toy").touch()
    registry = session(run).parts.registry
    assert isinstance(explorer(registry, tmp_path / "a.toy"), Walkable)
    with pytest.raises(DataError, match="nothing installed shows it"):
        explorer(registry, tmp_path)
    assert wetool(["view", str(tmp_path / "a.toy"), "--no-browser", "--seconds", "0.01"]) == OK


def test_depth_and_trust_have_their_colours() -> None:
    depth = np.array([[0.0, 2.0, 8.0, 32.0, 99.0]])
    picture = sheets.depth_picture(depth, 2.0, 32.0)
    assert picture[0, 0].tolist() == list(sheets.SKY)
    assert [picture[0, k].tolist() for k in (1, 2, 3, 4)] == [sheets.DEPTH[k].tolist() for k in (0, 2, 4, 4)]
    assert sheets.trust_picture(np.array([[0.0, 0.25, 1.0]]))[0].tolist() == [sheets.TRUST[k].tolist() for k in (0, 1, 4)]
    assert sheets.depth_range([np.zeros((2, 2))]) == (1.0, 2.0)
    near, far = sheets.depth_range([np.full((2, 2), 5.0), np.zeros((3, 3))])
    assert near == 5.0 < far
    with pytest.raises(ValidationError, match="0 < near < far"):
        sheets.depth_picture(depth, 2.0, 2.0)
    grey = sheets.said((40, 60), "nothing")
    assert grey.shape == (40, 60, 3) and (grey[0, 0] == sheets.EMPTY).all() and (grey != sheets.EMPTY).any()
    assert sheets.even(np.zeros((3, 5, 3), np.uint8)).shape == (4, 6, 3)


def test_a_long_heading_is_not_cut_off() -> None:
    picture = np.full((20, 60, 3), 7, np.uint8)
    short, long = (sheets.rows([head], ["0 s"], [[picture]]) for head in ("one", "one two three four five six seven"))
    assert long.shape[0] > short.shape[0] == HEAD + 24
    assert (long[-24:-4, SIDE:-4] == 7).all()
    dark = (long[:-24, SIDE:] < 100).all(-1).any(1)  # rows with letters
    assert not dark[0] and not dark[-1] and dark.sum() > 3 * 8
