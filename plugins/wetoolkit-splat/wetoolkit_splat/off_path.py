"""The term ``off_path``: what a picture and its depths say of views beside it, where nobody took any.

A virtual camera stands 1 to 3 m to the left or right of the picture's own, along its x axis, so that depths along its axis stay
what they are. The picture's depths (a lidar's), and the colours there, are carried over; what lies behind others from there is left
out. The scene is rendered by the virtual camera at half the resolution and held to them: a floater that only hides in the recorded
views is an error here.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from wetoolkit_splat.clip import Frame
from wetoolkit_splat.depths import BEHIND, COVER
from wetoolkit_splat.terms import Look, halved

ASIDE = (1.0, 3.0)  # metres, both ways
SHARE = 0.5  # of the steps, drawn at random, with twice the weight
COLOUR = 0.5  # weight of the difference of colours beside that of log depths


def carried(frame: Frame, aside: float) -> tuple[Frame, Tensor, Tensor]:
    """(the virtual camera as a frame of half the size, depths [h, w] as seen from there, colours [h, w, 3]); depth 0: not known.

    ``aside`` metres to the right of the frame's camera; the frame must have depths.
    """
    assert frame.depth is not None
    cameras = halved(frame.cameras())
    view = frame.world_to_camera.clone()
    view[0, 3] -= aside
    k, wide, high = cameras.intrinsics[0], cameras.width, cameras.height
    row, column = torch.nonzero(frame.depth > 0, as_tuple=True)
    z = frame.depth[row, column]
    own = frame.intrinsics
    x = (column + 0.5 - own[0, 2]) / own[0, 0] * z - aside
    y = (row + 0.5 - own[1, 2]) / own[1, 1] * z
    u, v = (k[0, 0] * x / z + k[0, 2]).floor().long(), (k[1, 1] * y / z + k[1, 2]).floor().long()
    inside = (u >= 0) & (u < wide) & (v >= 0) & (v < high)
    pixel, z, colour = (v * wide + u)[inside], z[inside], frame.image[row, column][inside]
    depth = torch.full((high * wide,), torch.inf).scatter_reduce(0, pixel, z, "amin")
    first = torch.zeros(high * wide, 3)
    nearest = z <= depth[pixel]
    first[pixel[nearest]] = colour[nearest]
    depth = depth.reshape(high, wide)
    cover = -functional.max_pool2d(-depth[None, None], COVER, 1, COVER // 2)[0, 0]
    known = torch.isfinite(depth) & (depth <= BEHIND * cover)
    virtual = replace(frame, image=frame.image.new_zeros(high, wide, 3), world_to_camera=view, intrinsics=k, depth=None, sky=None)
    return virtual, torch.where(known, depth, 0.0), first.reshape(high, wide, 3)


def off_path(look: Look) -> Tensor:
    """Mean difference of log depths and of colours from what is carried over to a camera beside the picture's [1]."""
    draw, shift, side = torch.rand(3, generator=look.generator).tolist()
    none = look.seen.depth.sum() * 0
    if look.frame.depth is None or draw > SHARE:
        return none
    aside = (ASIDE[0] + (ASIDE[1] - ASIDE[0]) * shift) * (1 if side < 0.5 else -1)
    virtual, depth, colour = carried(look.frame, aside)
    known = depth > 0
    if not bool(known.any()):
        return none
    seen = look.learned.render(virtual, look.settings)
    there = seen.alpha[0][known].clamp(min=1e-3) * depth[known]
    apart = (seen.depth[0][known].clamp(min=1e-3) / there).log().abs().mean()
    return (apart + COLOUR * (seen.colour[0][known] - colour[known]).abs().mean()) / SHARE
