"""How far a render is from a picture."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

WINDOW, SIGMA = 11, 1.5  # of SSIM (Wang et al. 2004)
C1, C2 = 0.01**2, 0.03**2


def _blur(image: Tensor) -> Tensor:
    """[C, H, W] by a Gaussian, the edges padded with zeros."""
    x = torch.arange(WINDOW, dtype=image.dtype) - WINDOW // 2
    kernel = torch.exp(-x * x / (2 * SIGMA**2))
    kernel, count = kernel / kernel.sum(), image.shape[0]
    across = functional.conv2d(image[None], kernel.expand(count, 1, 1, WINDOW), padding=(0, WINDOW // 2), groups=count)
    return functional.conv2d(across, kernel[:, None].expand(count, 1, WINDOW, 1), padding=(WINDOW // 2, 0), groups=count)[0]


def ssim(one: Tensor, other: Tensor) -> Tensor:
    """Mean structural similarity of two pictures [H, W, 3] in [0, 1]."""
    a, b = one.permute(2, 0, 1), other.permute(2, 0, 1)
    mean_a, mean_b, square_a, square_b, both = _blur(torch.cat([a, b, a * a, b * b, a * b])).reshape(5, 3, *a.shape[1:]).unbind()
    spread_a, spread_b, shared = square_a - mean_a**2, square_b - mean_b**2, both - mean_a * mean_b
    likeness = (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
    value: Tensor = (likeness * (2 * shared + C2) / (spread_a + spread_b + C2)).mean()
    return value


def psnr(one: Tensor, other: Tensor) -> float:
    """Decibels, for pictures in [0, 1]."""
    return float(-10 * torch.log10((one - other).square().mean().clamp(min=1e-10)))


def inverse_depth(alpha: Tensor, depth: Tensor, truth: Tensor) -> Tensor:
    """Mean relative error of inverse depths where the truth is above 0; ``depth`` is the weights' sum as rendered [H, W].

    1 / depth would weigh what is near by its nearness: at 40 m, 10 % of error is a tenth of what it is at 4 m.
    """
    seen = truth > 0
    if not bool(seen.any()):
        return depth.sum() * 0
    rendered = alpha[seen] / depth[seen].clamp(min=1e-3)
    return (rendered * truth[seen] - 1).abs().clamp(max=1).mean()
