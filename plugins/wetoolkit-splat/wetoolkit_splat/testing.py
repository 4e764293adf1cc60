"""Small scenes to test with."""

from __future__ import annotations

import torch

from wetoolkit_splat.types import Cameras, Gaussians


def random_gaussians(count: int, seed: int, terms: int = 4, groups: int = 1, dtype: torch.dtype = torch.float32) -> Gaussians:
    """``count`` gaussians within 1 m of the origin, some of them faint, some opaque."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    return Gaussians(
        means=0.5 * normal(count, 3),
        quaternions=normal(count, 4),
        log_scales=-2.2 + 0.5 * normal(count, 3),
        opacity_logits=1.5 * normal(count),
        sh=torch.cat([normal(count, 1, 3), 0.3 * normal(count, terms - 1, 3)], 1),
        groups=torch.arange(count, dtype=torch.int32) % groups,
    ).to(dtype)


def orbit(count: int, width: int = 40, height: int = 24, distance: float = 2.5, dtype: torch.dtype = torch.float32) -> Cameras:
    """``count`` cameras around the origin that look at it, 60 degrees wide."""
    poses = []
    for angle in torch.arange(count, dtype=torch.float64) * (2 * torch.pi / count) + 0.3:
        c, s = torch.cos(angle), torch.sin(angle)
        pose = torch.eye(4, dtype=torch.float64)
        pose[:3, :3] = torch.tensor([[c, 0, -s], [0.2 * s, 0.98, 0.2 * c], [s, -0.2, c]])
        q, r = torch.linalg.qr(pose[:3, :3])
        pose[:3, :3] = q * r.diagonal().sign()
        pose[2, 3] = distance
        poses.append(pose)
    focal = width / 2 / 0.577
    k = torch.tensor([[focal, 0, width / 2], [0, 1.02 * focal, height / 2 + 0.7], [0, 0, 1]], dtype=torch.float64)
    return Cameras(torch.stack(poses), k.repeat(count, 1, 1), width, height).to(dtype)


def random_poses(count: int, seed: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """[count, 4, 4] rigid, near the identity."""
    g = torch.Generator().manual_seed(seed)
    poses = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    twist = 0.4 * torch.randn(count, 3, 3, generator=g, dtype=torch.float64)
    poses[:, :3, :3] = torch.linalg.matrix_exp(twist - twist.transpose(1, 2))
    poses[:, :3, 3] = 0.2 * torch.randn(count, 3, generator=g, dtype=torch.float64)
    return poses.to(dtype)
