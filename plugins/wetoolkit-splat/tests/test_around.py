"""Scenes and files from around, through the command as well, and what is said of what cannot be shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("wetoolkit_driving", reason="driving is not installed")
pytest.importorskip("imageio_ffmpeg", reason="imageio-ffmpeg is not installed")
pytest.importorskip("PIL", reason="pillow is not installed")

import imageio_ffmpeg
from PIL import Image
from wetoolkit_splat.around import extent, facing, load, orbit, recognised, times_of, turn_of
from wetoolkit_splat.files import scene as scenes
from wetoolkit_splat.files import write
from wetoolkit_splat.graph import Node, SplatScene, Track
from wetoolkit_splat.reconstruct import SplatConfig, SplatScenes
from wetoolkit_splat.testing import random_gaussians

from wetoolkit.cli import BAD_INPUT, OK
from wetoolkit.cli import execute as wetool
from wetoolkit.exploring import SupportsExplore
from wetoolkit.sheets import HEAD, LINE


def moving() -> SplatScene:
    """A still ball and one that drives from x = 0 to x = 2 m within a second."""
    poses = torch.eye(4).repeat(2, 1, 1)
    poses[1, 0, 3] = 2.0
    track = Track(torch.tensor([0.0, 1.0], dtype=torch.float64), poses, torch.zeros(2, 6))
    return SplatScene(
        {"ground": Node(random_gaussians(60, 0)), "car": Node(random_gaussians(40, 1), track, "vehicle", (2.0, 1.0, 1.0))}
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("around")
    scenes.write(found / "scene", moving())
    write(found / "ball.ply", random_gaussians(80, 0))
    (found / "notes.txt").write_text("no scene")
    return found


def test_scenes_and_files_are_recognised_by_their_names(folder: Path) -> None:
    assert isinstance(SplatScenes(SplatConfig()), SupportsExplore)
    known = {path.name: recognised(path) for path in folder.iterdir()}
    assert known == {"scene": True, "ball.ply": True, "notes.txt": False}
    assert not recognised(folder / "gone.ply")
    assert times_of(load(folder / "scene")[0]) == pytest.approx(np.arange(11) / 10)
    assert times_of(load(folder / "ball.ply")[0]) == [0.0]


def test_every_camera_of_a_turn_has_the_middle_in_its_middle_and_up_upwards() -> None:
    middle, up = torch.tensor([3.0, -1.0, 2.0]), torch.tensor([0.0, -1.0, 0.0])
    for cameras in turn_of(middle, 2.0, up, 5, (40, 30)):
        view = cameras.world_to_camera[0]
        assert torch.allclose(view[:3, :3] @ view[:3, :3].T, torch.eye(3), atol=1e-5) and torch.det(view[:3, :3]) > 0
        seen = cameras.intrinsics[0] @ (view[:3, :3] @ middle + view[:3, 3])
        assert torch.allclose(seen[:2] / seen[2], torch.tensor([20.0, 15.0]), atol=1e-4)
        assert (view[:3, :3] @ up)[1] < -0.8  # OpenCV's y is down
        edge = middle + 2.0 * torch.linalg.inv(view)[:3, 1]  # the ball's lowest point, seen from here, is still in the picture
        low = cameras.intrinsics[0] @ (view[:3, :3] @ edge + view[:3, 3])
        assert 15 < low[1] / low[2] < 30
    assert torch.allclose(facing(torch.tensor([0.0, 0, 0]), torch.tensor([0.0, 0, 1]), -torch.eye(3)[1]), torch.eye(4), atol=1e-6)


def test_extent_looks_past_strays() -> None:
    ball = random_gaussians(1000, 0)
    ball.means[0] = 1e6
    middle, reach = extent(ball)
    assert middle.norm() < 0.3
    assert 1.0 < reach < 4.0


def test_time_goes_by_during_a_turn(folder: Path) -> None:
    seen = list(orbit(folder / "scene", 3, (40, 30), "twin"))
    assert [(one["rgb"].shape, one["depth"].shape) for one in seen] == [((30, 40, 3), (30, 40))] * 3
    assert all((one["depth"] > 0).any() for one in seen)
    still = list(orbit(folder / "ball.ply", 3, (40, 30), "twin"))
    assert len({one["rgb"].tobytes() for one in still}) == 3


def test_the_command_draws_a_turn_and_says_what_it_cannot(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wetoolkit.rendering.ORBIT", 6)
    out = ["--resolution", "48x32", "--out", str(tmp_path)]
    assert wetool(["render", str(folder / "scene"), "--sheet", "--video", *out]) == OK
    with Image.open(tmp_path / "scene.png") as sheet:
        assert sheet.height > HEAD + 4 * 36 and (sheet.height - HEAD - 4 * 36) % LINE == 0  # four rows under a heading of lines
    film = imageio_ffmpeg.count_frames_and_secs(str(tmp_path / "scene.mp4"))
    assert film[0] == 6
    capsys.readouterr()
    for args, words in (
        (["render", str(folder / "notes.txt")], "nothing installed shows it"),
        (["render", str(folder / "gone.ply")], "does not exist"),
        (["render", str(folder / "scene"), "scene-1"], "this is no run folder"),
        (["render", str(folder / "scene"), "--resolution", "8x9"], "16 to 4096"),
        (["view", str(folder / "notes.txt"), "--no-browser"], "nothing installed shows it"),
    ):
        assert wetool(args) == BAD_INPUT
        assert words in capsys.readouterr().err
