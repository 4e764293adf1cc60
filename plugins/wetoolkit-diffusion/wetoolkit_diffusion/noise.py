"""Noise levels: one for each token. How they are drawn in training, and the few steps in which they go down when sampling.

Diffusion forcing (Chen et al. 2024, arXiv 2407.01392): since any mixture of levels was seen in training, any token may be held
 without noise - the past, a goal, a whole agent - while the others are generated. Levels and their spacing follow Karras et al.
2022 (arXiv 2206.00364); a step is their Euler step, which is DDIM's.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from pydantic import Field
from torch import Tensor

from wetoolkit.config import Config
from wetoolkit_diffusion.network import Context, Denoiser

Steer = Callable[[Tensor, float], Tensor]  # (x0 [B, A, K, CHANNELS] in units, noise level) -> x0


class SamplerConfig(Config):
    """How noise becomes motion."""

    steps: int = Field(default=8, description="evaluations of the network [1]", ge=1, le=200)
    highest: float = Field(default=8.0, description="noise level to start from, in units of the data's spread [1]", gt=0.0)
    lowest: float = Field(default=0.08, description="noise level of the last step [1]", gt=0.0)
    curve: float = Field(default=5.0, description="rho: larger values spend more steps at low levels [1]", gt=0.0)

    def levels(self, highest: float | None = None) -> list[float]:
        """Falling noise levels, one a step; ``highest`` begins lower (a warm start)."""
        top, rho = min(highest or self.highest, self.highest), 1.0 / self.curve
        if self.steps == 1 or top <= self.lowest:
            return [top]
        part = [i / (self.steps - 1) for i in range(self.steps)]
        return [float((top**rho + p * (self.lowest**rho - top**rho)) ** self.curve) for p in part]


def draw(shape: torch.Size, now: int, present: Tensor, generator: torch.Generator) -> Tensor:
    """Noise levels [B, A, K] for training, 0 where a token is given. In a scene all tokens share a level, or each agent, or each
    token has its own; the past is mostly given, whole agents and some goals now and then."""
    b, a, k = shape
    rand = lambda *size: torch.rand(size, generator=generator)  # noqa: E731
    normal = torch.randn((b, a, k), generator=generator)
    mode = rand(b, 1, 1)
    shared, own = normal[:, :1, :1], normal[:, :, :1]
    chosen = torch.where(mode < 0.5, shared.expand(b, a, k), torch.where(mode < 0.75, own.expand(b, a, k), normal))
    sigma = torch.exp(1.4 * chosen - 0.4).clamp(0.02, 10.0)
    given = torch.zeros(b, a, k, dtype=torch.bool)
    given[..., : now + 1] = (rand(b, 1, 1) < 0.95) | (rand(b, a, now + 1) < 0.5)
    given[..., now] = True  # the present is what the frames are made of
    whole = (rand(b, 1) < 0.3) & (rand(b, a) < 0.2)  # some agents given from first to last
    whole[:, 0] = rand(b) < 0.35  # the ego
    goal = (rand(b, 1) < 0.3) & (rand(b, a) < 0.4)
    at = torch.where(rand(b, a) < 0.6, k - 1, now + 1 + (rand(b, a) * (k - now - 1)).long())
    given |= whole[..., None] | (goal[..., None] & (torch.arange(k) == at[..., None]))
    return torch.where(given & present[..., None], 0.0, sigma)


def weight(sigma: Tensor) -> Tensor:
    """What an error at a level counts: that of Karras et al., softened towards low levels."""
    return (1.0 + sigma**2) / (0.2**2 + sigma**2)


@torch.no_grad()
def sample(
    network: Denoiser,
    context: Context,
    noise: Tensor,
    held: Tensor,
    given: Tensor,
    levels: list[float],
    start: Tensor | None = None,
    steer: Steer | None = None,
) -> Tensor:
    """x0 [B, A, K, CHANNELS] in units: tokens ``given`` [B, A, K] exactly as in ``held``, the others from ``noise`` (unit spread).

    ``start``: x0 to begin from at the first level (a warm start) in place of nothing. ``steer`` may change each estimate of x0.
    """
    fixed = given[..., None]
    x = torch.where(fixed, held, levels[0] * noise + (0.0 if start is None else start))
    for level, lower in zip(levels, [*levels[1:], 0.0], strict=True):
        sigma = torch.where(given, 0.0, torch.full_like(held[..., 0], level))
        clean = network(x, sigma, context)
        clean = torch.where(fixed, held, clean if steer is None else steer(torch.where(fixed, held, clean), level))
        x = torch.where(fixed, held, clean + (lower / level) * (x - clean))
    return x


__all__ = ["SamplerConfig", "Steer", "draw", "sample", "weight"]
