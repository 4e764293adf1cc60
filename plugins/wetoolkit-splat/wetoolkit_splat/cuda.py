"""The backend ``cuda``: gsplat's rasterizer. Poses of groups become means and covariances in the world; colours are evaluated
beforehand, since harmonics turn with their group."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from wetoolkit_splat import twin
from wetoolkit_splat.harmonics import colours
from wetoolkit_splat.types import Cameras, Gaussians, Render

DEVICE = "cuda"


def world_covariances(gaussians: Gaussians, turns: Tensor) -> Tensor:
    """[N, 3, 3] square metres, for rotations [N, 3, 3] of each gaussian's group."""
    return turns @ twin.covariances(gaussians.quaternions, gaussians.log_scales) @ turns.transpose(1, 2)


def seen_colours(gaussians: Gaussians, cameras: Cameras, poses: Tensor) -> Tensor:
    """[C, N, 3] along each camera's lines of sight."""
    seen = []
    for view in cameras.world_to_camera[:, None] @ poses[None]:
        view = view[gaussians.groups.long()]
        points = view[:, :3, :3] @ gaussians.means[..., None] + view[:, :3, 3:]
        directions = torch.nn.functional.normalize((view[:, :3, :3].transpose(1, 2) @ points)[..., 0], dim=-1)
        seen.append(colours(gaussians.sh, directions))
    return torch.stack(seen)


def render(gaussians: Gaussians, cameras: Cameras, poses: Tensor, backgrounds: Tensor) -> Render:
    """As ``wetoolkit_splat.twin.render``, on a GPU, float32. What lies elsewhere is brought there, image and gradients back."""
    from gsplat import rasterization  # type: ignore[import-untyped]

    home = gaussians.means.device
    gaussians = gaussians.map(lambda tensor: tensor.to(DEVICE))
    views, intrinsics = cameras.world_to_camera.to(DEVICE), cameras.intrinsics.to(DEVICE)
    cameras, poses = replace(cameras, world_to_camera=views, intrinsics=intrinsics), poses.to(DEVICE)
    pose = poses[gaussians.groups.long()]
    means = (pose[:, :3, :3] @ gaussians.means[..., None])[..., 0] + pose[:, :3, 3]
    image, alpha, _ = rasterization(
        means=means,
        quats=None,
        scales=None,
        covars=world_covariances(gaussians, pose[:, :3, :3]),
        opacities=gaussians.opacity_logits.sigmoid(),
        colors=seen_colours(gaussians, cameras, poses),
        viewmats=cameras.world_to_camera,
        Ks=cameras.intrinsics,
        width=cameras.width,
        height=cameras.height,
        near_plane=twin.NEAR,
        eps2d=twin.BLUR,
        backgrounds=backgrounds.to(DEVICE),  # gsplat appends a depth of 0
        render_mode="RGB+D",
        packed=False,
        rasterize_mode="classic",
    )
    return Render(colour=image[..., :3].to(home), depth=image[..., 3].to(home), alpha=alpha[..., 0].to(home))
