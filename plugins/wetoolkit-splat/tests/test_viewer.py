"""The viewer: on this machine alone, everything in it, the time line moves bodies, trust colours, and it ends."""

from __future__ import annotations

import socket
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("wetoolkit_driving", reason="driving is not installed")
pytest.importorskip("viser", reason="viser is not installed: pip install 'wetoolkit-splat[view]'")

from wetoolkit_splat.clip import Frame
from wetoolkit_splat.coverage import Coverage, survey
from wetoolkit_splat.files import write
from wetoolkit_splat.graph import Node, SplatScene, Track
from wetoolkit_splat.reconstruct import SplatConfig, SplatScenes
from wetoolkit_splat.render import Settings
from wetoolkit_splat.testing import random_gaussians
from wetoolkit_splat.testing_driving import world
from wetoolkit_splat.tours import of_world
from wetoolkit_splat.twin import covariances
from wetoolkit_splat.types import Cameras
from wetoolkit_splat.viewer import HOST, Viewer, wxyz

from wetoolkit.cli import OK
from wetoolkit.cli import execute as wetool
from wetoolkit.errors import PluginError
from wetoolkit.sheets import TRUST, coloured

NODES = ("background", "agent-a0")


def scene() -> SplatScene:
    """A background, the first agent with a track, and nobody for the others."""
    poses = torch.eye(4).repeat(3, 1, 1)
    poses[:, 0, 3] = torch.arange(3.0)
    track = Track(torch.arange(3, dtype=torch.float64) / 10, poses, torch.zeros(3, 6))
    car = Node(random_gaussians(30, 1), track, "vehicle", (4.0, 2.0, 1.5))
    return SplatScene({"background": Node(random_gaussians(50, 0)), "agent-a0": car})


def coverage() -> Coverage:
    """Two pictures of it, 3 m before its middle and 2 m aside."""
    found = []
    for number in range(2):
        pose = torch.eye(4)
        pose[:3, 3] = torch.tensor([0.0, 2.0 * number, -3.0])
        k = torch.tensor([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]])
        cameras = Cameras(torch.linalg.inv(pose)[None], k[None], 64, 48)
        with torch.no_grad():
            seen = scene().render(cameras, number / 10, settings=Settings("twin"))
        found.append(Frame("CAM_F0", number / 10, seen.colour[0], cameras.world_to_camera[0], k))
    return survey(scene(), found, Settings("twin"))


@pytest.fixture(scope="module")
def viewer() -> Iterator[Viewer]:
    found = Viewer(of_world(scene(), coverage(), world()), "test")
    yield found
    found.close()


def test_it_serves_this_machine_alone(viewer: Viewer) -> None:
    with urllib.request.urlopen(viewer.url, timeout=10) as page:
        assert page.status == 200 and b"<html" in page.read().lower()
    port = viewer.server.get_port()
    assert viewer.url == f"http://{HOST}:{port}" and viewer.server.get_host() == HOST
    with socket.create_server(("127.0.0.2", port)):  # were it bound to every address, this one would be taken
        pass
    assert viewer.server.request_share_url() is None  # no tunnel to the outside either
    other = Viewer(viewer.tour, "second")
    assert other.url != viewer.url
    other.close()


def test_everything_is_there(viewer: Viewer) -> None:
    for name in ("/splats/background", "/splats/agent-a0", "/boxes/agent-a0", "/boxes/agent-a1", "/boxes/agent-a2", "/boxes/ego"):
        assert viewer.server.scene.get_handle_by_name(name) is not None, name
    splats = viewer.server.scene.get_handle_by_name("/splats/background")
    own = viewer.tour.scene.node("background").gaussians
    spread = covariances(own.quaternions, own.log_scales).numpy()
    assert np.abs(splats.covariances - spread).max() < 1e-3 * np.abs(spread).max()  # sent as float16
    assert splats.opacities[:, 0] == pytest.approx(255 * torch.sigmoid(own.opacity_logits).numpy(), abs=1)
    assert splats.centers == pytest.approx(viewer.tour.scene.node("background").gaussians.means.numpy())
    assert [eye.pose[:3, 3] for eye in viewer.tour.eyes] == [pytest.approx([0, 2 * n, -3], abs=1e-5) for n in range(2)]
    assert viewer.server.scene.get_handle_by_name("/cameras/0001-0.1 s") is not None
    for eye in viewer.tour.eyes:
        assert eye.trust is not None and 0 <= eye.trust <= 1
        assert (eye.aspect, eye.angle) == (pytest.approx(4 / 3), pytest.approx(2 * np.arctan(24 / 60)))


def test_the_time_line_moves_bodies_and_hides_who_is_gone(viewer: Viewer) -> None:
    car, box = (viewer.server.scene.get_handle_by_name(f"/{group}/agent-a0") for group in ("splats", "boxes"))
    given = viewer.tour
    for step in (0, 20):
        viewer.time.value = step
        pose = given.poses(step)["agent-a0"].numpy()
        for handle in (car, box):
            assert handle.visible
            assert handle.position == pytest.approx(pose[:3, 3], abs=1e-5)
        assert viewer.clock.value == f"{given.times[step]:.1f}"
    gone = replace(given, poses=lambda step: {})
    viewer._parts.tour = gone
    viewer.show(0)
    assert not car.visible and not box.visible
    viewer._parts.tour = given
    viewer.show(0)
    assert car.visible


def test_colours_follow_trust_and_come_back(viewer: Viewer) -> None:
    handle = viewer.server.scene.get_handle_by_name("/splats/background")
    before, known = handle.rgbs.copy(), viewer.tour.trust["background"]
    viewer.by_trust.value = True
    assert np.unique(known).size > 10
    assert (handle.rgbs == coloured(known, TRUST)).all()
    viewer.by_trust.value = False
    assert (handle.rgbs == before).all()


def test_it_plays(viewer: Viewer) -> None:
    viewer.time.value = 0
    viewer.playing.value = True
    for _ in range(100):
        if viewer.time.value >= 2:
            break
        viewer._stop.wait(0.05)
    viewer.playing.value = False
    assert viewer.time.value >= 2


def test_quaternions_are_the_rotations() -> None:
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    assert wxyz(quarter) == pytest.approx([np.sqrt(0.5), 0, 0, np.sqrt(0.5)])


def test_the_command_opens_a_file_and_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "ball.ply", random_gaussians(20, 0))
    assert wetool(["view", str(tmp_path / "ball.ply"), "--no-browser", "--seconds", "0.1"]) == OK
    url = capsys.readouterr().out.split()[0]
    assert url.startswith("http://127.0.0.1:")
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url, timeout=2)


def test_without_viser_there_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "ball.ply", random_gaussians(20, 0))
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(PluginError, match=r"pip install 'wetoolkit-splat\[view\]'"):
        SplatScenes(SplatConfig()).explore(tmp_path / "ball.ply", 0)
