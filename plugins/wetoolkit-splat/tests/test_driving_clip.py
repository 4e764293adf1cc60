"""From a driving window to a clip: who owns a point, what colour it has, where bodies are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("wetoolkit_driving", reason="driving is not installed")
pytest.importorskip("PIL", reason="pillow is not installed")

from wetoolkit_splat.driving import BACKGROUND, Amounts, box_poses, clip_of
from wetoolkit_splat.testing_driving import sensors, world

from wetoolkit.errors import DataError, ValidationError


def test_every_agent_is_a_body_and_owns_the_points_in_its_box(tmp_path: Path) -> None:
    given = world()
    clip = clip_of(given, sensors(tmp_path, given), (0, 1), 0)
    clip.validate()
    assert [body.category for body in clip.bodies.values()] == ["", "vehicle", "pedestrian", "bicycle"]
    assert [body.sways for body in clip.bodies.values()] == [False, False, True, True]
    assert {name: count for name, count in clip.repairs.items() if count} == {"bodies_with_points_on_their_box": 1}
    names = list(clip.bodies)
    for agent, name in enumerate(names[1:]):
        body = clip.bodies[name]
        half = torch.from_numpy(given.agents.size[agent]) / 2
        assert bool((body.points.abs() <= half + 0.16).all())
        assert len(body.points) >= 150
        assert body.track is not None
        assert torch.allclose(body.track.at(0.5), torch.from_numpy(box_poses(given, agent)[5]).float(), atol=1e-5)
    ground = clip.bodies[BACKGROUND].points
    near = ground[ground[:, :2].norm(dim=1) < 30]
    assert 450 < len(near) <= 600  # those that no picture shows are left out
    assert float(near[:, 2].abs().max()) < 1e-6


def test_points_take_the_colour_of_their_pixel_and_frames_their_depth(tmp_path: Path) -> None:
    given = world()
    clip = clip_of(given, sensors(tmp_path, given), (0, 1), 0)
    ground = clip.bodies[BACKGROUND]
    left = ground.points[:, 1] > 0.1  # y is to the left, where the picture is red
    right = ground.points[:, 1] < -0.1
    assert torch.equal(ground.colours[left], torch.tensor([1.0, 0, 0]).expand(int(left.sum()), 3))
    assert torch.equal(ground.colours[right], torch.tensor([0.0, 0, 1]).expand(int(right.sum()), 3))
    depth = clip.frames[0].depth
    assert depth is not None
    row, column = np.argwhere(depth.numpy() > 0)[-1]  # the lowest is on the ground
    assert row > 55
    assert float(depth[row, column]) == pytest.approx(1.5 * 100 / (row + 0.5 - 45), rel=0.05)


def test_points_are_thinned_to_the_amounts(tmp_path: Path) -> None:
    given = world()
    clip = clip_of(given, sensors(tmp_path, given), (0, 1), 0, Amounts(background=50, body=160, shell=0))
    assert [len(body.points) for body in clip.bodies.values()] == [50, 160, 160, 150]
    within = clip_of(given, sensors(tmp_path, given), (0, 1), 0, Amounts(background=500, body=160, shell=0, total=800))
    assert [len(body.points) for body in within.bodies.values()] == [800 - 470, 160, 160, 150]  # a crowd fits into the budget
    crowd = clip_of(given, sensors(tmp_path, given), (0, 1), 0, Amounts(background=500, body=160, shell=0, total=400))
    assert [len(body.points) for body in crowd.bodies.values()] == [400 - 299, 102, 102, 95]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    given = world()
    seen = sensors(tmp_path, given)
    with pytest.raises(ValidationError, match="no picture between 5 and 6 s"):
        clip_of(given, seen, (5, 6), 0)
    (tmp_path / "0.5.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match=r"cannot be read"):
        clip_of(given, seen, (0, 1), 0)
