"""Scenes of nodes: time, edits, sky and exposure, and their files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from wetoolkit_splat.files import scene as files
from wetoolkit_splat.graph import Node, SplatScene, Track, between, motion
from wetoolkit_splat.render import Settings, render
from wetoolkit_splat.testing import orbit, random_gaussians, random_poses

from wetoolkit.errors import DataError, UnknownName, ValidationError

CPU = Settings(backend="cpu")


def track(shift: float = 1.0) -> Track:
    """Half a turn about z less a bit, and ``shift`` metres along x, in one second."""
    turns = torch.stack([motion(torch.tensor([0.0, 0, 0, 0, 0, angle])) for angle in (0.0, 1.5, 3.0)])
    turns[:, 0, 3] = torch.tensor([0.0, 0.5, 1.0]) * shift
    return Track(torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64), turns, torch.zeros(3, 6))


def town() -> SplatScene:
    still, moving = random_gaussians(60, 1), random_gaussians(20, 2, terms=9)
    walker = Node(random_gaussians(20, 3, terms=1), track(0.2), "pedestrian", (0.6, 0.6, 1.8), 0.05 * torch.ones(20, 4, 3), 0.8)
    nodes = {"ground": Node(still), "car": Node(moving, track(), "vehicle", (4.0, 2.0, 1.5)), "walker": walker}
    return SplatScene(
        nodes, sky=torch.tensor([[1.0, 2.0, 3.0], [0.1, 0.2, 0.3], [0, 0, 0], [0.5, 0, 0]]), exposures={"front": exposure()}
    )


def exposure() -> torch.Tensor:
    return torch.cat([torch.diag(torch.tensor([0.9, 1.0, 1.1])), torch.tensor([[0.01], [0.0], [-0.02]])], 1)


def test_between_two_steps_a_body_is_half_way_and_has_turned_by_half() -> None:
    pose = track().at(0.25)
    assert torch.allclose(
        pose, torch.cat([motion(torch.tensor([0, 0, 0, 0, 0, 0.75]))[:, :3], torch.tensor([[0.25], [0], [0], [1]])], 1), atol=1e-6
    )
    one, other = random_poses(2, 0)
    assert torch.allclose(between(one, other, 0.0), one, atol=1e-6)
    assert torch.allclose(between(one, other, 1.0), other, atol=1e-5)


def test_a_body_is_absent_before_and_after_its_track() -> None:
    scene = town()
    assert len(scene.at(0.5)[0]) == 100
    assert len(scene.at(1.2)[0]) == 100
    assert len(scene.at(1.3)[0]) == 60
    assert len(scene.at(1.3, {"car": torch.eye(4)})[0]) == 80


def test_a_simulator_places_bodies_by_name() -> None:
    scene, cameras = town(), orbit(1)
    place = random_poses(1, 4)[0]
    seen = scene.render(cameras, 0.5, poses={"car": place}, settings=CPU)
    moved = scene.moved("car", place @ torch.linalg.inv(track().at(0.5))).render(cameras, 0.5, settings=CPU)
    assert torch.allclose(seen.colour, moved.colour, atol=1e-4)
    assert not torch.allclose(seen.colour, scene.render(cameras, 0.5, settings=CPU).colour, atol=1e-2)


def test_bodies_are_removed_and_copied_between_scenes() -> None:
    scene, cameras = town(), orbit(1)
    other = SplatScene({"ground": Node(random_gaussians(10, 9))})
    copied = other.added("copy", scene.node("car"))
    assert len(copied.at(0.5)[0]) == 30
    assert torch.equal(
        copied.removed("copy").render(cameras, 0, settings=CPU).colour, other.render(cameras, 0, settings=CPU).colour
    )
    with pytest.raises(UnknownName, match="car"):
        scene.removed("cat")
    with pytest.raises(ValidationError, match="there is a node 'car'"):
        scene.added("car", scene.node("walker"))


def test_sky_shows_where_nothing_is_and_cameras_expose() -> None:
    scene, cameras = town(), orbit(1)
    plain = scene.render(cameras, 0.5, settings=CPU)
    gaussians, places = scene.at(0.5)
    bare = render(gaussians, cameras, places, settings=CPU)
    empty = bare.alpha[0] == 0
    assert bool(empty.any())
    rays = torch.linalg.inv(cameras.intrinsics[0]) @ torch.tensor([39.5, 0.5, 1.0])
    ray = torch.nn.functional.normalize(cameras.world_to_camera[0, :3, :3].T @ rays, dim=0)
    wanted = 0.5 + 0.28209479 * scene.sky[0] + 0.48860251 * (-ray[1] * scene.sky[1] - ray[0] * scene.sky[3])
    assert torch.allclose(plain.colour[0, 0, 39] - bare.colour[0, 0, 39], (1 - bare.alpha[0, 0, 39]) * wanted, atol=1e-5)
    front = scene.render(cameras, 0.5, ("front",), settings=CPU)
    assert torch.allclose(front.colour, plain.colour @ exposure()[:, :3].T + exposure()[:, 3], atol=1e-6)


def test_gradients_reach_twists_sway_sky_and_exposure() -> None:
    scene, cameras = town(), orbit(1)
    twists, sway, sky, tone = torch.zeros(3, 6), 0.05 * torch.ones(20, 4, 3), scene.sky.clone(), exposure()
    leaves = [leaf.requires_grad_() for leaf in (twists, sway, sky, tone)]
    node = scene.node("walker")
    assert node.track is not None
    nodes = {**scene.nodes, "walker": replace(node, track=replace(node.track, twists=twists), sway=sway)}
    seen = replace(scene, nodes=nodes, sky=sky, exposures={"front": tone}).render(cameras, 0.3, ("front",), settings=CPU)
    seen.colour.square().sum().backward()
    for leaf in leaves:
        assert leaf.grad is not None
        assert float(leaf.grad.abs().max()) > 0
    assert float(twists.grad[2].abs().max()) == 0  # type: ignore[index]  # 0.3 s lies between the first two


def test_a_scene_comes_back_as_it_was_written(tmp_path: Path) -> None:
    scene, cameras = town(), orbit(1)
    files.write(tmp_path, scene)
    again = files.read(tmp_path)
    assert torch.equal(
        again.render(cameras, 0.3, ("front",), settings=CPU).colour, scene.render(cameras, 0.3, ("front",), settings=CPU).colour
    )
    assert (again.node("car").category, again.node("walker").size) == ("vehicle", (0.6, 0.6, 1.8))
    files.write(tmp_path, scene.removed("car"))
    assert list(files.read(tmp_path).nodes) == ["ground", "walker"]
    assert len(list(tmp_path.iterdir())) == 2


def edited(folder: Path, **changes: object) -> None:
    facts = json.loads((folder / "scene.json").read_text())
    (folder / "scene.json").write_text(json.dumps(facts | changes))


def test_bad_scenes_are_refused_with_file_and_field(tmp_path: Path) -> None:
    files.write(tmp_path, town())
    good = json.loads((tmp_path / "scene.json").read_text())
    nodes = good["nodes"]
    tensors = next(tmp_path.glob("*.safetensors"))
    for changes, said in (
        ({"colour": 1}, "colour"),
        ({"format": "wetoolkit-splat-2"}, "format"),
        ({"nodes": [nodes[0] | {"gaussians": 61}, *nodes[1:]]}, r"0\.log_scales"),
        ({"nodes": nodes[:2]}, r"2\.log_scales"),
        ({"nodes": [nodes[0], nodes[1] | {"name": "ground"}, nodes[2]]}, "one name"),
        ({"tensors": "../elsewhere.safetensors"}, "elsewhere"),
    ):
        edited(tmp_path, **{**good, **changes})
        with pytest.raises(DataError, match=said):
            files.read(tmp_path)
        (tmp_path / "scene.json").write_text(json.dumps(good))
    tensors.write_bytes(tensors.read_bytes()[:-10])
    with pytest.raises(DataError, match="cut short"):
        files.read(tmp_path)
    (tmp_path / "scene.json").unlink()
    with pytest.raises(DataError, match="cannot be read"):
        files.read(tmp_path)


def test_a_track_that_jumps_back_in_time_is_refused() -> None:
    bad = replace(track(), times=torch.tensor([0.0, 0.5, 0.4], dtype=torch.float64))
    with pytest.raises(ValidationError, match="times do not rise"):
        SplatScene({"car": Node(random_gaussians(3, 0), bad)}).validate()
