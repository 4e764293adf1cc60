"""Guidance: at every step of the sampler the estimate of x0 is moved down the slope of costs, within a trust region.

The estimate is anchored anew by a few steps of gradient descent that go no farther than ``trust`` from what the network said, so
that costs can shape a future but not invent one (optimisation-guided re-anchoring of World Engine, arXiv 2606.19836).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor
from wetoolkit_driving.types import AgentClass

from wetoolkit.config import Config


class GuidanceConfig(Config):
    """Weights of the costs; 0 leaves one out."""

    collision: float = Field(default=1.0, description="of overlaps between road users [1]", ge=0.0)
    road: float = Field(default=0.3, description="of distance from the lanes beyond their half width, for who drives [1]", ge=0.0)
    smooth: float = Field(default=0.02, description="of accelerations from token to token [1]", ge=0.0)
    steps: int = Field(default=3, description="of gradient descent at each step of the sampler; 0: no guidance [1]", ge=0)
    rate: float = Field(default=0.5, description="length of a step for a slope of one [m]", gt=0.0)
    trust: float = Field(default=1.5, description="farthest that a token is moved at a step of the sampler [m]", gt=0.0)
    below: float = Field(default=2.0, description="noise level from which on it guides: before, there is little to see [1]", gt=0.0)


def guided(state: Tensor, scene: Mapping[str, Tensor], free: Tensor, config: GuidanceConfig, period: float, ego: bool) -> Tensor:
    """Token states [B, A, K, CHANNELS] with the positions of ``free`` tokens [B, A, K] moved; ``scene`` as ``batch.collate`` gives
    it for the same B. ``ego``: whether the others keep clear of the ego too."""
    place = state[..., :2].detach().clone()
    anchor, mask = place.clone(), free[..., None]
    for _ in range(config.steps):
        with torch.enable_grad():
            moving = place.requires_grad_(True)
            (slope,) = torch.autograd.grad(cost(moving, state, scene, config, period, ego).sum(), moving)
        length = slope.norm(dim=-1, keepdim=True)
        step = config.rate * slope / length.clamp(min=1.0)
        moved = place.detach() - torch.where(mask, step, 0.0) - anchor
        far = moved.norm(dim=-1, keepdim=True).clamp(min=1e-9)
        place = (anchor + moved * (config.trust / far).clamp(max=1.0)).detach()
    return torch.cat([torch.where(mask, place, state[..., :2]), state[..., 2:]], -1)


def cost(place: Tensor, state: Tensor, scene: Mapping[str, Tensor], config: GuidanceConfig, period: float, ego: bool) -> Tensor:
    """[B] costs of positions [B, A, K, 2] in the agents' own frames."""
    total = place.new_zeros(len(place))
    if config.collision:
        total = total + config.collision * overlap(place, state, scene, ego)
    if config.road:
        total = total + config.road * astray(place, scene)
    if config.smooth:
        jolt = torch.diff(place, n=2, dim=2) / period**2
        total = total + config.smooth * (jolt.square().sum(-1) * scene["present"][..., None]).sum((1, 2))
    return total


def overlap(place: Tensor, state: Tensor, scene: Mapping[str, Tensor], ego: bool) -> Tensor:
    """[B] squared depths to which two discs along each body, half its length apart, meet those of others."""
    frame, size = scene["frame"][:, :, None], scene["size"]
    cos, sin = torch.cos(frame[..., 2]), torch.sin(frame[..., 2])
    x = frame[..., 0] + cos * place[..., 0] - sin * place[..., 1]
    y = frame[..., 1] + sin * place[..., 0] + cos * place[..., 1]  # [B, A, K]
    unit = state[..., 2:4] / state[..., 2:4].norm(dim=-1, keepdim=True).clamp(min=1e-3)
    ahead = torch.stack([cos * unit[..., 0] - sin * unit[..., 1], sin * unit[..., 0] + cos * unit[..., 1]], -1)
    half = (size[..., 0] / 4)[..., None, None] * ahead  # [B, A, K, 2]
    centre = torch.stack([x, y], -1)
    discs = torch.stack([centre + half, centre - half], 3).transpose(1, 2).flatten(2, 3)  # [B, K, 2 A, 2]
    radius = torch.hypot(size[..., 0] / 4, size[..., 1] / 2).repeat_interleave(2, 1)  # [B, 2 A]
    gap = torch.cdist(discs, discs, compute_mode="donot_use_mm_for_euclid_dist")
    count = place.shape[1]
    owner = torch.arange(count).repeat_interleave(2)
    present = scene["present"].repeat_interleave(2, 1)
    pair = (owner[:, None] != owner[None]) & present[:, None] & present[:, :, None]  # [B, 2 A, 2 A]
    if not ego:
        pair = pair & (owner[:, None] != 0) & (owner[None] != 0)
    deep = (radius[:, None] + radius[:, :, None])[:, None] + 0.3 - gap
    return (deep.clamp(min=0.0).square() * pair[:, None]).sum((1, 2, 3))


def astray(place: Tensor, scene: Mapping[str, Tensor]) -> Tensor:
    """[B] squared metres beyond 1.5 m from the points of lanes that an agent sees, of those who drive and begin on a lane."""
    points = scene["points"].flatten(2, 3)  # [B, A, L * P, 2]
    there = scene["there"][..., None].expand(scene["points"].shape[:-1]).flatten(2)
    far = torch.where(there, 0.0, 1e6)[:, :, None]
    away = torch.cdist(place, points, compute_mode="donot_use_mm_for_euclid_dist") + far  # [B, A, K, L * P]
    nearest = away.amin(-1)
    begins = (points.norm(dim=-1) + far[:, :, 0]).amin(-1) < 2.5
    drives = (scene["kind"] == AgentClass.VEHICLE) & scene["present"] & begins
    return ((nearest - 2.0).clamp(min=0.0, max=10.0).square() * drives[..., None]).sum((1, 2))


__all__ = ["GuidanceConfig", "cost", "guided"]
