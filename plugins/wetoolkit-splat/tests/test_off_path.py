"""The term off_path: what is carried to a camera beside, what hides, and that it pulls a floater away."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from wetoolkit_splat.clip import Body, Clip, Frame
from wetoolkit_splat.learned import begin
from wetoolkit_splat.off_path import carried, off_path
from wetoolkit_splat.render import Settings
from wetoolkit_splat.terms import Look

CPU = Settings(backend="cpu")


def frame() -> Frame:
    """A wall 8 m away whose colour changes from left to right, and a post 4 m away in the middle."""
    wide, high = 64, 32
    depth = torch.full((high, wide), 8.0)
    depth[:, 31:33] = 4.0
    image = torch.linspace(0, 1, wide).repeat(high, 1)[..., None].repeat(1, 1, 3)
    k = torch.tensor([[40.0, 0, 32], [0, 40, 16], [0, 0, 1]])
    return Frame("front", 0.0, image, torch.eye(4), k, depth)


@pytest.mark.parametrize("aside", [1.0, -2.0])
def test_depths_and_colours_are_carried_to_a_camera_beside(aside: float) -> None:
    virtual, depth, colour = carried(frame(), aside)
    assert depth.shape == (16, 32)
    assert torch.allclose(torch.linalg.inv(virtual.world_to_camera)[:3, 3], torch.tensor([aside, 0, 0]))
    post = 15.9 - 20 * aside / 4  # its column: half the focal length times the shift over the depth
    wall = 20 * aside / 8  # columns that the wall moves by
    assert set(depth[8].tolist()) <= {0.0, 4.0, 8.0}
    assert depth[8, int(post)] == 4
    for column in (9, 22):
        was = 2 * (column + wall)  # in the picture
        if depth[8, column] == 8:
            assert colour[8, column, 0] == pytest.approx(was / 63, abs=0.03)
    width = int(abs(wall))
    gone = depth[8, -width:] if aside > 0 else depth[8, :width]
    assert (gone == 0).all()  # the picture does not show it


def test_what_is_hidden_from_there_is_left_out() -> None:
    given = frame()
    assert given.depth is not None
    sparse = torch.zeros_like(given.depth)
    sparse[::2, 24:40:3] = 8.0  # the wall, as a lidar sees it, with gaps
    sparse[:, 31:33] = 4.0
    _, depth, _ = carried(replace(given, depth=sparse), 0.5)
    row = depth[8]
    post = int(15.9 - 20 * 0.5 / 4)
    assert row[post] == 4
    assert 8.0 not in row[post - 2 : post + 3].tolist()  # between two points of the post nothing shines through


def test_the_term_pulls_a_floater_away_and_is_none_without_depths() -> None:
    given = frame()
    y, x = torch.meshgrid(torch.linspace(-4, 4, 24), torch.linspace(-8, 8, 48), indexing="ij")
    wall = torch.stack([x.flatten(), y.flatten(), torch.full((x.numel(),), 8.0)], 1)
    floater = torch.tensor([[0.0, 0.0, 2.0]])
    points = torch.cat([wall, floater])
    learned = begin(Clip((given,), {"wall": Body(points, torch.full((len(points), 3), 0.5))}), 0, 0)
    opacity = learned.values["opacity_logits"].requires_grad_()
    total = torch.zeros(())
    for seed in range(6):
        seen = learned.render(given, CPU)
        total = total + off_path(Look(learned, given, seen, CPU, torch.Generator().manual_seed(seed)))
    total.backward()
    assert opacity.grad is not None
    assert float(opacity.grad[-1]) > 10 * float(opacity.grad[:-1].abs().max())  # less of it makes the term smaller
    bare = replace(given, depth=None)
    look = Look(learned, bare, learned.render(bare, CPU), CPU, torch.Generator().manual_seed(0))
    assert float(off_path(look).detach()) == 0
