"""Guidance: at every step of the sampler the estimate of x0 is anchored anew, so that costs shape a future but do not invent one
(optimisation-guided re-anchoring of World Engine, arXiv 2606.19836). Three moves, in this order; each has its bound:

*Descent* on overlaps and accelerations (``cost``), within ``trust``. Who has wheels moves along its heading only - it brakes rather
than swerves - and whoever is held up at one token stays behind at the later ones: the slope is summed over time twice. It is off
unless ``steps`` says otherwise: on minitown the other two leave it nothing to do (docs/log.md).
*The road*: who drives is put back to within ``beside`` of the chain of lanes nearest to its whole path (``rerouted``).
*Waiting*: who would run into somebody, or through a red light, is delayed on its path (``yielding``). Who is not free at
some token of its future is bound by no light.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from wetoolkit_driving.types import AgentClass

from wetoolkit.config import Config
from wetoolkit_diffusion.spec import TokenSpec
from wetoolkit_diffusion.yielding import Lights, retimed

DISCS = 5  # along each body
MARGIN = 0.3  # metres kept between bodies
PUSH = 0.3  # how much of a push forward is followed; a push back is followed whole
FAR = 6.0  # metres: a token farther from a chain of lanes than this says nothing more about which one is taken


class GuidanceConfig(Config):
    """How generated futures are steered."""

    collision: float = Field(default=1.0, description="weight of overlaps between road users; 0: none [1]", ge=0.0)
    smooth: float = Field(default=0.0, description="weight of accelerations from token to token [1]", ge=0.0)
    steps: int = Field(default=0, description="of gradient descent at each step of the sampler; 0: none [1]", ge=0)
    rate: float = Field(default=0.5, description="length of a step for a slope of one [m]", gt=0.0)
    trust: float = Field(default=1.5, description="farthest that descent moves a token at a step of the sampler [m]", gt=0.0)
    beside: float = Field(
        default=0.8, description="distance from the lanes ahead that who drives may keep; it may keep its own [m]", ge=0.0
    )
    back: float = Field(default=30.0, description="farthest that a token is put back to the lanes at a step; 0: never [m]", ge=0.0)
    wait: bool = Field(default=True, description="who would run into somebody, or a red light, is delayed on its path")
    below: float = Field(default=2.0, description="noise level from which on it guides: before, there is little to see [1]", gt=0.0)


def guided(state: Tensor, scene: Mapping[str, Tensor], free: Tensor, config: GuidanceConfig, spec: TokenSpec, ego: bool) -> Tensor:
    """Token states [B, A, K, CHANNELS] with the positions of ``free`` tokens [B, A, K] moved; ``scene`` as ``batch.collate`` gives
    it for the same B. ``ego``: whether the others keep clear of the ego too."""
    place = state[..., :2].detach().clone()
    anchor, mask = place.clone(), free[..., None]
    for _ in range(config.steps if config.collision or config.smooth else 0):
        with torch.enable_grad():
            moving = place.requires_grad_(True)
            (slope,) = torch.autograd.grad(cost(moving, state, scene, free, config, spec.period, ego).sum(), moving)
        step = config.rate * _feasible(torch.where(mask, slope, 0.0), state, scene)
        moved = place.detach() - torch.where(mask, step, 0.0) - anchor
        place = (anchor + _within(moved, config.trust)).detach()
    if config.back:
        place = torch.where(mask, rerouted(place, scene, config), place)
    if config.wait:
        place = torch.where(mask, _waiting(place, state, scene, free, spec, ego), place)
    return torch.cat([torch.where(mask, place, state[..., :2]), state[..., 2:]], -1)


def _waiting(place: Tensor, state: Tensor, scene: Mapping[str, Tensor], free: Tensor, spec: TokenSpec, ego: bool) -> Tensor:
    """Positions [B, A, K, 2] of who is free at some token later along their paths, where others or red lights are in
    the way (``yielding``)."""
    frame, now = scene["frame"], spec.now
    world = _in_world(place, state, scene)[0][:, :, now:].numpy().astype(np.float64)
    there = scene["present"].numpy()
    apart = ~there if ego else ~there | (np.arange(there.shape[1]) == 0)
    world[apart] += 1e4 * (1.0 + np.arange(apart.sum()))[:, None, None]  # nobody meets who is not there
    walks, moves = (scene["kind"] == AgentClass.PEDESTRIAN).numpy(), free.any(-1).numpy() & ~apart
    bound = moves & ~walks & free[..., now + 1 :].all(-1).numpy()
    lights = Lights(scene["stops"].numpy().astype(np.float64), scene["shut"].numpy(), bound)
    moved = retimed(world, frame[..., 2].numpy().astype(np.float64), scene["size"].numpy(), walks, moves, spec.period, lights)
    offset = torch.from_numpy(moved).float() - frame[:, :, None, :2]
    cos, sin = torch.cos(frame[..., 2])[:, :, None], torch.sin(frame[..., 2])[:, :, None]
    own = torch.stack([cos * offset[..., 0] + sin * offset[..., 1], cos * offset[..., 1] - sin * offset[..., 0]], -1)
    out = place.clone()
    out[:, :, now + 1 :] = torch.where(torch.from_numpy(apart)[..., None, None], place[:, :, now + 1 :], own)
    return out


def _within(moved: Tensor, most: float) -> Tensor:
    return moved * (most / moved.norm(dim=-1, keepdim=True).clamp(min=1e-9)).clamp(max=1.0)


def _feasible(slope: Tensor, state: Tensor, scene: Mapping[str, Tensor]) -> Tensor:
    """Slopes [B, A, K, 2] as moves that a body can make, the longest of an agent at most one metre."""
    wheels = (scene["kind"] != AgentClass.PEDESTRIAN)[..., None, None]
    unit = state[..., 2:4] / state[..., 2:4].norm(dim=-1, keepdim=True).clamp(min=1e-3)
    along = (slope * unit).sum(-1, keepdim=True)
    along = torch.where(along < 0, PUSH * along, along)  # descent goes against the slope: a negative one pushes forward
    total = along.flip(2).cumsum(2).flip(2).cumsum(2)  # [B, A, K, 1]
    long = along.abs().amax(2, keepdim=True) / total.abs().amax(2, keepdim=True).clamp(min=1e-9)
    move = torch.where(wheels, (total * long) * unit, slope)
    return move / move.norm(dim=-1, keepdim=True).amax(2, keepdim=True).clamp(min=1.0)


def cost(
    place: Tensor, state: Tensor, scene: Mapping[str, Tensor], free: Tensor, config: GuidanceConfig, period: float, ego: bool
) -> Tensor:
    """[B] costs of positions [B, A, K, 2] in the agents' own frames."""
    total = place.new_zeros(len(place))
    if config.collision:
        total = total + config.collision * overlap(place, state, scene, free, ego)
    if config.smooth:
        jolt = torch.diff(place, n=2, dim=2) / period**2
        total = total + config.smooth * (jolt.square().sum(-1) * scene["present"][..., None]).sum((1, 2))
    return total


def overlap(place: Tensor, state: Tensor, scene: Mapping[str, Tensor], free: Tensor, ego: bool) -> Tensor:
    """[B] squared depths to which the discs along each body meet those of others, at the tokens and half-way between them."""
    centre, ahead = _in_world(place, state, scene)
    centre, ahead, free = _halved(centre), _halved(ahead), free[..., 1:].repeat_interleave(2, 2)
    reach = scene["size"].norm(dim=-1) / 2  # [B, A]
    with torch.no_grad():
        b, k, i, j = _near(centre.detach(), reach, scene["present"], free, ego)
    length, width = scene["size"][..., 0], scene["size"][..., 1]
    radius = torch.hypot(length / (2 * DISCS), width / 2)
    at = (torch.arange(DISCS) - (DISCS - 1) / 2) / DISCS  # in lengths, from the centre
    one, other = (
        centre[b, a, k, None] + (at[:, None] * length[b, a, None, None]) * ahead[b, a, k, None] for a in (i, j)
    )  # [P, DISCS, 2]
    gap = (one[:, :, None] - other[:, None]).square().sum(-1).flatten(1).amin(1).clamp(min=1e-6).sqrt()
    deep = (radius[b, i] + radius[b, j] + MARGIN - gap).clamp(min=0.0)
    return place.new_zeros(len(place)).index_add(0, b, deep.square())


def _in_world(place: Tensor, state: Tensor, scene: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Centres and unit headings [B, A, K, 2] in the scene's frame."""
    frame = scene["frame"][:, :, None]
    cos, sin = torch.cos(frame[..., 2]), torch.sin(frame[..., 2])
    turned = lambda xy: torch.stack([cos * xy[..., 0] - sin * xy[..., 1], sin * xy[..., 0] + cos * xy[..., 1]], -1)  # noqa: E731
    unit = state[..., 2:4] / state[..., 2:4].norm(dim=-1, keepdim=True).clamp(min=1e-3)
    return frame[..., :2] + turned(place), turned(unit)


def _halved(track: Tensor) -> Tensor:
    """[B, A, 2 (K - 1), C] what lies half-way before each token but the first, and at it."""
    middle = 0.5 * (track[:, :, 1:] + track[:, :, :-1])
    return torch.stack([middle, track[:, :, 1:]], 3).flatten(2, 3)


def _near(centre: Tensor, reach: Tensor, present: Tensor, free: Tensor, ego: bool) -> tuple[Tensor, ...]:
    """Scene, time and both rows of pairs that may touch and of which somebody may move, each once."""
    track = centre.transpose(1, 2)  # [B, T, A, 2]
    away = torch.cdist(track, track, compute_mode="donot_use_mm_for_euclid_dist")
    pair = present[:, :, None] & present[:, None] & torch.ones(present.shape[1], present.shape[1], dtype=torch.bool).triu(1)
    if not ego:
        pair[:, 0] = False
    moves = free.transpose(1, 2)
    near = (
        (away < (reach[:, :, None] + reach[:, None])[:, None] + MARGIN) & pair[:, None] & (moves[..., None] | moves[..., None, :])
    )
    found = near.nonzero(as_tuple=True)
    return found[0], found[1], found[2], found[3]


@torch.no_grad()
def rerouted(place: Tensor, scene: Mapping[str, Tensor], config: GuidanceConfig) -> Tensor:
    """Positions [B, A, K, 2] of who drives within ``beside`` of the nearest of the chains of lanes ahead (``ways.rails``)."""
    rails, there = scene["rails"], scene["open"] & (scene["kind"] == AgentClass.VEHICLE)[..., None]  # [B, A, R, N, 2], [B, A, R]
    b, a = (there.any(-1)).nonzero(as_tuple=True)
    if not len(b) or not rails.shape[3]:
        return place
    path, lines = place[b, a], rails[b, a]  # [M, K, 2], [M, R, N, 2]
    count = lines.shape[2]
    away = torch.cdist(path, lines.flatten(1, 2)).unflatten(2, (-1, count))  # [M, K, R, N]
    closest = away.amin(-1)
    taken = (closest.clamp(max=FAR).square().sum(1) + 1e9 * ~there[b, a]).argmin(1)  # [M]
    rows = torch.arange(len(b))
    foot, offset, normal = _foot(path, lines[rows, taken], away[rows, :, taken].argmin(-1))
    start = lines[rows, taken, 0].norm(dim=-1, keepdim=True).clamp(min=config.beside)  # how far off it is now
    home = foot + offset.clamp(-start, start)[..., None] * normal
    ahead = (path[..., 0] > 0.0)[..., None]  # the past is not on them
    out = place.clone()
    out[b, a] = path + torch.where(ahead, _within(home - path, config.back), 0.0)
    return out


def _foot(path: Tensor, line: Tensor, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Nearest places [M, K, 2] on polylines [M, N, 2] of equal steps, whose point ``index`` [M, K] is nearest, the signed offsets
    from them (left positive) and the unit normals. Beyond its end a line goes straight on."""
    rows, last = torch.arange(len(path))[:, None], line.shape[1] - 1
    before, after = (index - 1).clamp(min=0), (index + 1).clamp(max=last)
    here = line[rows, index]
    tangent = line[rows, after] - line[rows, before]
    tangent = tangent / tangent.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    along = ((path - here) * tangent).sum(-1, keepdim=True)
    free = index == last
    # A parabola through the three points: exact enough for the steps of 2 m that rails have.
    chord = (line[rows, after] - 2 * here + line[rows, before]) / 2
    reach = (line[rows, after] - here).norm(dim=-1, keepdim=True).clamp(min=1e-6)
    bend = torch.where((free | (index == 0))[..., None], 0.0, chord * (along / reach).clamp(-1.0, 1.0).square())
    foot = here + along * tangent + bend
    normal = torch.stack([-tangent[..., 1], tangent[..., 0]], -1)
    return foot, ((path - foot) * normal).sum(-1), normal


__all__ = ["GuidanceConfig", "cost", "guided", "overlap", "rerouted"]
