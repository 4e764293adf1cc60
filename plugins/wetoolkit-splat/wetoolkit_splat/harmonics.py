"""Real spherical harmonics of degrees 0 to 3 in the order and signs that 3D Gaussian files use (Kerbl et al. 2023; Sloan 2013)."""

from __future__ import annotations

import torch
from torch import Tensor

# Factors of the sixteen polynomials below, signs included.
FACTORS = (
    0.28209479177387814,
    -0.4886025119029199, 0.4886025119029199, -0.4886025119029199,
    1.0925484305920792, -1.0925484305920792, 0.31539156525252005, -1.0925484305920792, 0.5462742152960396,
    -0.5900435899266435, 2.890611442640554, -0.4570457994644658, 0.3731763325901154,
    -0.4570457994644658, 1.445305721320277, -0.5900435899266435,
)  # fmt: skip


def basis(directions: Tensor, terms: int) -> Tensor:
    """[N, terms] values for unit vectors [N, 3]."""
    x, y, z = directions.unbind(-1)
    polynomials = [torch.ones_like(x)]
    if terms > 1:
        polynomials += [y, z, x]
    if terms > 4:
        polynomials += [x * y, y * z, 2 * z * z - x * x - y * y, x * z, x * x - y * y]
    if terms > 9:
        ring = 4 * z * z - x * x - y * y
        polynomials += [y * (3 * x * x - y * y), x * y * z, y * ring, z * (2 * z * z - 3 * x * x - 3 * y * y)]
        polynomials += [x * ring, z * (x * x - y * y), x * (x * x - 3 * y * y)]
    return torch.stack(polynomials, -1) * directions.new_tensor(FACTORS[:terms])


def colours(sh: Tensor, directions: Tensor) -> Tensor:
    """[N, 3] of coefficients [N, K, 3] seen along unit vectors [N, 3]: 0.5 added, 0 at least."""
    return ((basis(directions, int(sh.shape[1]))[..., None] * sh).sum(1) + 0.5).clamp(min=0)
