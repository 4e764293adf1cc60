"""Gaussians to begin with: one for each point, as wide as the way to its neighbours."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from wetoolkit_splat.types import C0, SH_TERMS, Gaussians

NEIGHBOURS = 3
NARROWEST, WIDEST = 0.005, 3.0  # metres
OPACITY = 0.5


def spacing(points: Tensor) -> Tensor:
    """[N] metres: the root mean square distance to the nearest points."""
    count = min(NEIGHBOURS, len(points) - 1)
    if count < 1:
        return torch.full((len(points),), 0.1)
    distances = cKDTree(points.numpy()).query(points.numpy(), k=count + 1)[0][:, 1:]
    return torch.from_numpy(np.sqrt((distances**2).mean(1))).float().clamp(NARROWEST, WIDEST)


def from_points(points: Tensor, colours: Tensor, degree: int, group: int = 0) -> Gaussians:
    """Round gaussians at points [N, 3] of colours [N, 3] in [0, 1]."""
    count = len(points)
    sh = torch.zeros(count, SH_TERMS[degree], 3)
    sh[:, 0] = (colours - 0.5) / C0
    return Gaussians(
        means=points.float().clone(),
        quaternions=torch.tensor([1.0, 0, 0, 0]).repeat(count, 1),
        log_scales=spacing(points).log()[:, None].repeat(1, 3),
        opacity_logits=torch.full((count,), float(np.log(OPACITY / (1 - OPACITY)))),
        sh=sh,
        groups=torch.full((count,), group, dtype=torch.int32),
    )
