"""Gaussians to begin with: one for each point, as wide as the way to its neighbours; where these lie in a plane, a disc in it."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from wetoolkit_splat.types import C0, SH_TERMS, Gaussians

NEIGHBOURS = 3
NARROWEST, WIDEST = 0.005, 3.0  # metres
OPACITY = 0.5
AROUND = 12  # neighbours whose plane a point takes
EVEN, ROUND = 0.05, 0.1  # of variances: the least of the middle one in a plane; the middle of the greatest, else they are a line
THIN = 0.2  # of its width is a disc's thickness


def spacing(points: Tensor) -> Tensor:
    """[N] metres: the root mean square distance to the nearest points."""
    count = min(NEIGHBOURS, len(points) - 1)
    if count < 1:
        return torch.full((len(points),), 0.1)
    distances = cKDTree(points.numpy()).query(points.numpy(), k=count + 1)[0][:, 1:]
    return torch.from_numpy(np.sqrt((distances**2).mean(1))).float().clamp(NARROWEST, WIDEST)


def planes(points: Tensor) -> tuple[Tensor, Tensor]:
    """(unit normals [N, 3] that point up, whether the neighbours lie in a plane [N])."""
    if len(points) <= AROUND:
        return torch.tensor([0.0, 0, 1]).repeat(len(points), 1), torch.zeros(len(points), dtype=torch.bool)
    rows = cKDTree(points.numpy()).query(points.numpy(), k=AROUND)[1]
    near = points.double()[torch.from_numpy(rows)]
    near = near - near.mean(1, keepdim=True)
    variances, axes = torch.linalg.eigh(near.transpose(1, 2) @ near)  # ascending
    normals = axes[:, :, 0]
    even = (variances[:, 0] < EVEN * variances[:, 1]) & (variances[:, 1] > ROUND * variances[:, 2])
    return torch.where(normals[:, 2:] < 0, -normals, normals).float(), even


def facing(normals: Tensor) -> Tensor:
    """[N, 4] wxyz: the shortest turn of the third axis to unit vectors [N, 3] that point up."""
    x, y, z = normals.unbind(1)
    return torch.nn.functional.normalize(torch.stack([1 + z, -y, x, torch.zeros_like(z)], 1), dim=1)


def from_points(points: Tensor, colours: Tensor, degree: int, group: int = 0) -> Gaussians:
    """Discs in planes, balls elsewhere, at points [N, 3] of colours [N, 3] in [0, 1]."""
    count = len(points)
    normals, even = planes(points)
    log_scales = spacing(points).log()[:, None].repeat(1, 3)
    log_scales[even, 2] += float(np.log(THIN))
    sh = torch.zeros(count, SH_TERMS[degree], 3)
    sh[:, 0] = (colours - 0.5) / C0
    return Gaussians(
        means=points.float().clone(),
        quaternions=torch.where(even[:, None], facing(normals), torch.tensor([1.0, 0, 0, 0])),
        log_scales=log_scales,
        opacity_logits=torch.full((count,), float(np.log(OPACITY / (1 - OPACITY)))),
        sh=sh,
        groups=torch.full((count,), group, dtype=torch.int32),
    )
