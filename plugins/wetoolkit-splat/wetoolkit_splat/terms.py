"""What a fit makes small beside the difference of pictures: terms, each with a weight of the same name in ``FitConfig``.

A term takes a ``Look`` and returns a scalar. Those that need another view than the picture's own render it themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from wetoolkit_splat.clip import Frame
from wetoolkit_splat.learned import Learned
from wetoolkit_splat.losses import inverse_depth
from wetoolkit_splat.render import Settings, render
from wetoolkit_splat.twin import rotations
from wetoolkit_splat.types import C0, Cameras, Render

STEEP = 0.1  # relative step of depth between neighbours at which a surface is taken to end


@dataclass(frozen=True)
class Look:
    """One step's view of what is fitted."""

    learned: Learned
    frame: Frame
    seen: Render  # of the frame's camera, sky and exposure included
    settings: Settings
    generator: torch.Generator  # of the fit's seed and the step


Term = Callable[[Look], Tensor]


def depth(look: Look) -> Tensor:
    """How far inverse depths are from a lidar's, relative to the lidar's [1]."""
    if look.frame.depth is None:
        return look.seen.depth.sum() * 0
    return inverse_depth(look.seen.alpha[0], look.seen.depth[0], look.frame.depth)


def sky(look: Look) -> Tensor:
    """Mean alpha where the frame says that there may be sky [1]: what no lidar returned from is sky unless the picture objects."""
    if look.frame.sky is None:
        return look.seen.alpha.sum() * 0
    return (look.seen.alpha[0] * look.frame.sky).mean()


def opacity(look: Look) -> Tensor:
    """Mean opacity [1]: what is not needed fades."""
    return look.learned.values["opacity_logits"].sigmoid().mean()


def scale(look: Look) -> Tensor:
    """Mean scale [m]."""
    return look.learned.values["log_scales"].exp().mean()


def flat(look: Look) -> Tensor:
    """Mean of the shortest scale [m]: gaussians become discs, as surfaces are (PGSR, Chen et al. 2024)."""
    return look.learned.values["log_scales"].amin(1).exp().mean()


def exposure(look: Look) -> Tensor:
    """How far the mean exposure is from none: else sky, colours and exposures could drift together."""
    return (look.learned.values["exposures"].mean(0) - torch.eye(3, 4)).square().sum()


def halved(cameras: Cameras) -> Cameras:
    """At half the resolution."""
    shrink = cameras.intrinsics.new_tensor([0.5, 0.5, 1.0])
    return Cameras(cameras.world_to_camera, cameras.intrinsics * shrink[:, None], cameras.width // 2, cameras.height // 2)


def surface(depths: Tensor, intrinsics: Tensor) -> tuple[Tensor, Tensor]:
    """(unit normals [H - 2, W - 2, 3] in the camera, towards it; whether the surface goes on there) of depths [H, W]."""
    height, width = depths.shape
    v, u = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    x, y = (u - intrinsics[0, 2]) / intrinsics[0, 0], (v - intrinsics[1, 2]) / intrinsics[1, 1]
    points = torch.stack([x, y, torch.ones_like(u)], -1) * depths[..., None]
    across, down = points[1:-1, 2:] - points[1:-1, :-2], points[2:, 1:-1] - points[:-2, 1:-1]
    middle = depths[1:-1, 1:-1]
    step = torch.maximum((depths[1:-1, 2:] - depths[1:-1, :-2]).abs(), (depths[2:, 1:-1] - depths[:-2, 1:-1]).abs())
    return functional.normalize(torch.linalg.cross(down, across), dim=-1), (step < 2 * STEEP * middle) & (middle > 0)


def shortest_axes(learned: Learned) -> Tensor:
    """[N, 3] unit vectors in the group's frame along each gaussian's shortest axis."""
    turned = rotations(learned.values["quaternions"])
    shortest = learned.values["log_scales"].argmin(1)
    return turned.gather(2, shortest[:, None, None].expand(-1, 3, 1))[..., 0]


def normal(look: Look) -> Tensor:
    """How far gaussians' shortest axes are from the normals of the rendered depth, weighted as they are blended [1].

    Mean over pixels of sum w (1 - n . N) (2D Gaussian Splatting, Huang et al. 2024), at half the picture's resolution.
    """
    cameras, learned = halved(look.frame.cameras()), look.learned
    gaussians, poses = learned.gaussians(look.frame.time), learned.poses(look.frame)
    turn = (cameras.world_to_camera[0] @ poses)[gaussians.groups.long(), :3]  # group to camera
    axes = (turn[:, :, :3] @ shortest_axes(learned)[..., None])[..., 0]
    places = (turn[:, :, :3] @ gaussians.means[..., None])[..., 0] + turn[..., 3]
    axes = torch.where((axes * places).sum(1, keepdim=True) > 0, -axes, axes)
    seen = render(replace(gaussians, sh=0.5 / C0 * axes[:, None]), cameras, poses, settings=look.settings)
    wanted, goes_on = surface(seen.expected_depth()[0], cameras.intrinsics[0])
    alpha = seen.alpha[0, 1:-1, 1:-1]
    blended = 2 * seen.colour[0, 1:-1, 1:-1] - alpha[..., None]
    return torch.where(goes_on, alpha - (blended * wanted).sum(-1), 0.0).mean()


TERMS: dict[str, Term] = {
    "depth": depth,
    "sky": sky,
    "normal": normal,
    "flat": flat,
    "opacity": opacity,
    "scale": scale,
    "exposure": exposure,
}
