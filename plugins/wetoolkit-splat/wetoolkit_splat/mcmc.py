"""Where gaussians are needed: faint ones move to where others already work, and their number grows to a budget.

3D Gaussian Splatting as Markov Chain Monte Carlo (Kheradmand et al. 2024). A gaussian that becomes n keeps its image: each gets
the opacity 1 - (1 - o)^(1 / n) and scales that preserve the rendered mass (their equation 9). Noise moves faint ones across their
own extent.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from wetoolkit_splat.twin import covariances

DEAD = 0.005  # opacity
MOST_COPIES = 16


def shares(opacities: Tensor, copies: Tensor) -> tuple[Tensor, Tensor]:
    """(opacity of each copy [N], factor of the scales [N]) for gaussians of opacity [N] that become ``copies`` [N]."""
    copies = copies.clamp(max=MOST_COPIES)
    each = 1 - (1 - opacities).pow(1 / copies)
    mass = torch.zeros_like(opacities)
    for i in range(1, MOST_COPIES + 1):
        terms = sum(math.comb(i - 1, k) * (-1) ** k / math.sqrt(k + 1) * each ** (k + 1) for k in range(i))
        mass = mass + torch.where(copies >= i, terms, 0.0)
    return each, opacities / mass


def drawn(opacities: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Rows [count], with replacement, as often as they are opaque."""
    return torch.multinomial(opacities, count, replacement=True, generator=generator)


def divided(parameters: dict[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
    """What each of ``rows`` [K] becomes, itself and every copy: all parameters at those rows, opacities and scales changed."""
    copies = torch.bincount(rows, minlength=len(parameters["means"]))[rows] + 1
    opacities = parameters["opacity_logits"][rows].sigmoid()
    each, factor = shares(opacities, copies.to(opacities))
    new = {name: tensor[rows].clone() for name, tensor in parameters.items()}
    new["opacity_logits"] = torch.logit(each.clamp(DEAD, 1 - 1e-6))
    new["log_scales"] = new["log_scales"] + factor.clamp(min=1e-6).log()[:, None]
    return new


def noise(parameters: dict[str, Tensor], rate: float, generator: torch.Generator) -> Tensor:
    """[N, 3] metres: along each gaussian's own extent, none for those that are opaque. ``rate`` is the means' learning rate."""
    opacities = parameters["opacity_logits"].sigmoid()
    gate = 1 / (1 + torch.exp(-100 * ((1 - opacities) - 0.995)))
    step = torch.randn(parameters["means"].shape, generator=generator) * (gate * rate)[:, None]
    return (covariances(parameters["quaternions"], parameters["log_scales"]) @ step[..., None])[..., 0]
