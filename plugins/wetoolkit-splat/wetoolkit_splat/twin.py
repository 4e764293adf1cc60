"""The reference: the same image in plain torch, any precision, gradients by autograd. Slow; both backends are compared with it.

What is computed (Zwicker et al. 2002, EWA splatting; Kerbl et al. 2023), with gsplat's constants:

- a gaussian in camera coordinates, its covariance projected by the Jacobian at its centre, which is clamped to 0.15 of the field of
  view beside the image; 0.3 pixels squared are added to the variances;
- alpha = min(0.999, opacity exp(-d^2 / 2)), nothing below 1/255; front to back by z; a pixel is finished before the gaussian
  that would take its transmittance to 1e-4 or less;
- colour by spherical harmonics along the line of sight, in the frame of the gaussian's group.

It works through tiles of the image, each with the gaussians whose bounds meet it. The bounds hold every pixel with alpha >= 1/255,
so that they change nothing but the time.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from wetoolkit_splat.harmonics import colours
from wetoolkit_splat.types import Cameras, Gaussians, Render

NEAR = 0.01  # metres; what is nearer than this is not drawn
BLUR = 0.3  # pixels squared, added to both variances
LEAST_ALPHA = 1 / 255
MOST_ALPHA = 0.999
FINISHED = 1e-4  # transmittance at which a pixel is finished
MARGIN = 0.3  # of half the image: how far beside it the Jacobian still follows
TILE = 16  # pixels


@dataclass(frozen=True)
class Projected:
    """The M gaussians one camera may see, nearest first."""

    index: Tensor  # [M] rows of the gaussians
    centres: Tensor  # [M, 2] pixels
    conics: Tensor  # [M, 3] a, b, c of (a dx^2 + 2 b dx dy + c dy^2) / 2
    depths: Tensor  # [M] metres
    opacities: Tensor  # [M]
    colours: Tensor  # [M, 3]
    extents: Tensor  # [M, 2] half sides of the box in which alpha >= 1/255 [pixels]


def rotations(quaternions: Tensor) -> Tensor:
    """[N, 3, 3] of quaternions [N, 4] wxyz of any length."""
    w, x, y, z = torch.nn.functional.normalize(quaternions, dim=-1).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, -1).reshape(-1, 3, 3)


def covariances(quaternions: Tensor, log_scales: Tensor) -> Tensor:
    """[N, 3, 3] square metres."""
    axes = rotations(quaternions) * log_scales.exp()[:, None, :]
    return axes @ axes.transpose(1, 2)


def jacobians(points: Tensor, intrinsics: Tensor, width: int, height: int) -> Tensor:
    """[N, 2, 3] pixels a metre at points [N, 3] of the camera, which are clamped to the image and a margin."""
    fx, fy, cx, cy = intrinsics[0, 0], intrinsics[1, 1], intrinsics[0, 2], intrinsics[1, 2]
    z = points[:, 2]
    beside_x, beside_y = MARGIN * width / 2 / fx, MARGIN * height / 2 / fy
    x = z * torch.clamp(points[:, 0] / z, -cx / fx - beside_x, (width - cx) / fx + beside_x)
    y = z * torch.clamp(points[:, 1] / z, -cy / fy - beside_y, (height - cy) / fy + beside_y)
    none = torch.zeros_like(z)
    return torch.stack([fx / z, none, -fx * x / z**2, none, fy / z, -fy * y / z**2], -1).reshape(-1, 2, 3)


def project(gaussians: Gaussians, views: Tensor, intrinsics: Tensor, width: int, height: int) -> Projected:
    """Camera coordinates, bounds and order for views [G, 4, 4] (group to camera)."""
    view = views[gaussians.groups.long()]  # [N, 4, 4]
    points = (view[:, :3, :3] @ gaussians.means[..., None])[..., 0] + view[:, :3, 3]
    index = torch.nonzero(points[:, 2].detach() >= NEAR)[:, 0]
    gaussians, points, turn = gaussians.select(index), points[index], view[index, :3, :3]
    spread = jacobians(points, intrinsics, width, height) @ turn
    cov = spread @ covariances(gaussians.quaternions, gaussians.log_scales) @ spread.transpose(1, 2)
    a, b, c = cov[:, 0, 0] + BLUR, cov[:, 0, 1], cov[:, 1, 1] + BLUR
    determinant = a * c - b * b
    focal, middle = torch.stack([intrinsics[0, 0], intrinsics[1, 1]]), intrinsics[:2, 2]
    directions = torch.nn.functional.normalize((turn.transpose(1, 2) @ points[..., None])[..., 0], dim=-1)
    opacities = gaussians.opacity_logits.sigmoid()
    reach = (2 * (opacities.detach() / LEAST_ALPHA).clamp(min=1).log()).sqrt()
    seen = Projected(
        index=index,
        centres=points[:, :2] / points[:, 2:] * focal + middle,
        conics=torch.stack([c, -b, a], -1) / determinant[:, None],
        depths=points[:, 2],
        opacities=opacities,
        colours=colours(gaussians.sh, directions),
        extents=torch.stack([a, c], -1).detach().sqrt() * reach[:, None],
    )
    size = seen.centres.new_tensor([width, height])
    inside = ((seen.centres + seen.extents > 0) & (seen.centres - seen.extents < size)).all(-1) & (reach > 0)
    rows = torch.nonzero(inside)[:, 0]
    return _take(seen, rows[torch.argsort(seen.depths[rows].detach(), stable=True)])


def _take(seen: Projected, rows: Tensor) -> Projected:
    return Projected(**{name: getattr(seen, name)[rows] for name in Projected.__dataclass_fields__})


def blend(seen: Projected, pixels: Tensor, background: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Colour [P, 3], depth [P] and alpha [P] at pixel centres [P, 2] of gaussians in order."""
    offset = pixels[None] - seen.centres[:, None]  # [M, P, 2]
    a, b, c = (seen.conics[:, k, None] for k in range(3))
    dx, dy = offset.unbind(-1)
    falloff = torch.exp(-0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy)
    alpha = (seen.opacities[:, None] * falloff).clamp(max=MOST_ALPHA)
    alpha = torch.where(alpha >= LEAST_ALPHA, alpha, 0.0)
    after = torch.cumprod(1 - alpha, 0)
    before = torch.cat([torch.ones_like(after[:1]), after[:-1]])
    weights = torch.where(after > FINISHED, alpha * before, 0.0)
    total = weights.sum(0)
    colour = weights.T @ seen.colours + (1 - total)[:, None] * background
    return colour, weights.T @ seen.depths, total


def render_one(gaussians: Gaussians, views: Tensor, intrinsics: Tensor, size: tuple[int, int], background: Tensor) -> Tensor:
    """[H, W, 5]: red, green, blue, depth, alpha for one camera of ``size`` (width, height)."""
    width, height = size
    seen = project(gaussians, views, intrinsics, width, height)
    low, high = (seen.centres - seen.extents).detach(), (seen.centres + seen.extents).detach()
    bands = []
    for top in range(0, height, TILE):
        row = []
        bottom = min(top + TILE, height)
        for left in range(0, width, TILE):
            right = min(left + TILE, width)
            met = (low[:, 0] < right) & (high[:, 0] > left) & (low[:, 1] < bottom) & (high[:, 1] > top)
            y, x = torch.meshgrid(torch.arange(top, bottom), torch.arange(left, right), indexing="ij")
            pixels = torch.stack([x, y], -1).reshape(-1, 2).to(views) + 0.5
            colour, depth, alpha = blend(_take(seen, torch.nonzero(met)[:, 0]), pixels, background)
            row.append(torch.cat([colour, depth[:, None], alpha[:, None]], -1).reshape(bottom - top, right - left, 5))
        bands.append(torch.cat(row, 1))
    return torch.cat(bands, 0)


def render(gaussians: Gaussians, cameras: Cameras, poses: Tensor, backgrounds: Tensor) -> Render:
    """The image of every camera for poses [G, 4, 4] (group to world) and backgrounds [C, 3]."""
    views = cameras.world_to_camera[:, None] @ poses[None]
    size = (cameras.width, cameras.height)
    images = [render_one(gaussians, v, k, size, b) for v, k, b in zip(views, cameras.intrinsics, backgrounds, strict=True)]
    image = torch.stack(images)
    return Render(colour=image[..., :3], depth=image[..., 3], alpha=image[..., 4])
