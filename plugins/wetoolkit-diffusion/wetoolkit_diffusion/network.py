"""The network: noisy tokens of all agents, each with its own noise level -> the tokens without noise.

Attention is factorised: over an agent's own tokens, over the agents at one time, and to the map pieces that the agent sees. Tokens
are in the agents' own frames; what two agents are to one another enters the keys and the values of the second (relative pose at
the present), so that the answer does not depend on where the scene lies. The output is x0 itself: what is smooth in the data comes
out smooth, whatever noise went in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from wetoolkit.config import Config
from wetoolkit_diffusion.roads import FACTS
from wetoolkit_diffusion.spec import CHANNELS, KINDS, TokenSpec
from wetoolkit_diffusion.ways import AHEAD
from wetoolkit_diffusion.ways import FACTS as WAY_FACTS

ABOUT = len(KINDS) + 1 + 2 + 2 + 1  # class, is ego, size, velocity, its logarithm
PAIR = 8  # what one agent is to another


class NetworkConfig(Config):
    """Size of the network."""

    width: int = Field(default=96, description="channels of a token [1]", ge=8)
    layers: int = Field(default=4, description="blocks of attention over time, agents and map [1]", ge=1)
    heads: int = Field(default=4, description="heads of each attention [1]", ge=1)


@dataclass(frozen=True)
class Context:
    """What does not change while tokens are denoised; batches of B scenes, padded to A agents."""

    about: Tensor  # [B, A, width]
    present: Tensor  # [B, A] bool: rows that are agents
    known: Tensor  # [B, A, K] bool: tokens that may be attended to
    map_keys: tuple[tuple[Tensor, Tensor], ...]  # a layer: keys and values [B * A, heads, 1 + L + R, width / heads]
    pair_keys: tuple[tuple[Tensor, Tensor], ...]  # a layer: [B, heads, A, A, width / heads]

    def repeated(self, times: Tensor) -> Context:
        """The same for ``times`` [B] variants of each scene, scene by scene."""
        again = lambda tensor: tensor.repeat_interleave(times, 0)  # noqa: E731
        count = self.about.shape[1]
        lines = [[again(t.unflatten(0, (-1, count))).flatten(0, 1) for t in pair] for pair in self.map_keys]
        pairs = [[again(t) for t in pair] for pair in self.pair_keys]
        return Context(
            again(self.about), again(self.present), again(self.known),
            tuple((key, value) for key, value in lines), tuple((key, value) for key, value in pairs),
        )  # fmt: skip


class Denoiser(nn.Module):
    """See the module. ``scale`` [3, K, CHANNELS] makes the data of each class and token of unit spread."""

    scale: Tensor

    def __init__(self, config: NetworkConfig, spec: TokenSpec) -> None:
        super().__init__()
        width = config.width
        self.register_buffer("scale", torch.ones(len(KINDS), spec.count, CHANNELS))
        self.lift = nn.Linear(CHANNELS + 3, width)
        self.time = nn.Parameter(0.02 * torch.randn(spec.count, width))
        self.about = nn.Sequential(nn.Linear(ABOUT, width), nn.GELU(), nn.Linear(width, width))
        self.line = nn.Sequential(nn.Linear(4 * spec.points + FACTS, width), nn.GELU(), nn.Linear(width, width))
        self.way = nn.Sequential(nn.Linear(4 * len(AHEAD) + WAY_FACTS, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.nowhere = nn.Parameter(0.02 * torch.randn(width))  # a piece that is always there
        self.pair = nn.Sequential(nn.Linear(PAIR, width), nn.GELU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(Block(width, config.heads) for _ in range(config.layers))
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, CHANNELS))

    def context(self, scene: Mapping[str, Tensor]) -> Context:
        """Read what is known of B scenes (``batch.collate``) once."""
        about = self.about(scene["about"])
        lines = self.line(torch.cat([_squashed(scene["points"]), scene["facts"]], -1))  # [B, A, L, width]
        chains = self.way(torch.cat([_squashed(scene["ways"]), scene["way_facts"]], -1))  # [B, A, R, width]
        lines = torch.cat([self.nowhere.expand(*lines.shape[:2], 1, -1), lines, chains], 2)
        hidden = functional.pad(torch.cat([scene["there"], scene["open"]], 2), (1, 0), value=True)  # [B, A, 1 + L + R]
        pair = self.pair(pairs(scene["frame"], scene["speed"]))  # [B, A, A, width]
        map_keys = tuple(block.map.keys(lines.flatten(0, 1), hidden.flatten(0, 1)) for block in self.blocks)
        pair_keys = tuple(block.pair_keys(pair) for block in self.blocks)
        return Context(about, scene["present"], scene["known"], map_keys, pair_keys)

    def forward(self, noisy: Tensor, sigma: Tensor, context: Context) -> Tensor:
        """noisy [B, A, K, CHANNELS] in units of ``scale``, sigma [B, A, K] (0: given) -> x0 in the same units."""
        level = torch.log(sigma.clamp(min=1e-3)) / 4.0
        given = (sigma == 0).to(noisy.dtype)
        scaled = noisy / torch.sqrt(1.0 + sigma[..., None] ** 2)
        known = context.known.to(noisy.dtype)
        inputs = torch.cat([scaled, torch.stack([level, given, known], -1)], -1) * known[..., None]
        x = self.lift(inputs) + self.time + context.about[:, :, None]
        for block, lines, pair in zip(self.blocks, context.map_keys, context.pair_keys, strict=True):
            x = block(x, context, lines, pair)
        return self.out(x)  # type: ignore[no-any-return]


class Block(nn.Module):
    """Attention over an agent's tokens, over the agents at each time, to the map; then a feed-forward layer. Pre-norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.own, self.others, self.map = Attention(width, heads), Attention(width, heads), Attention(width, heads)
        self.pair = nn.Linear(width, 2 * width)
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(3 * width, width)

    def pair_keys(self, pair: Tensor) -> tuple[Tensor, Tensor]:
        """What relative poses [B, A, A, width] add to keys and values."""
        key, value = self.pair(pair).unflatten(-1, (2, self.heads, -1)).permute(3, 0, 4, 1, 2, 5)
        return key, value

    def forward(self, x: Tensor, context: Context, lines: tuple[Tensor, Tensor], pair: tuple[Tensor, Tensor]) -> Tensor:
        """x [B, A, K, width] -> the same shape."""
        b, a = x.shape[:2]
        flat = x.flatten(0, 1)
        known = context.known.flatten(0, 1)
        flat = flat + self.own.over(flat, flat, known | ~known.any(-1, keepdim=True))
        flat = flat + self.map.to_keys(flat, *lines)
        x = flat.unflatten(0, (b, a))
        x = x + self._others(x, context, *pair)
        return x + self.down(functional.gelu(self.up(self.norm(x))))  # type: ignore[no-any-return]

    def _others(self, x: Tensor, context: Context, pair_key: Tensor, pair_value: Tensor) -> Tensor:
        """Attention over agents at each time, relative poses included."""
        q, k, v = self.others.split(x.transpose(1, 2).flatten(0, 1))  # [B * K, heads, A, d]
        b, count = len(x), x.shape[2]
        q, k, v = (t.unflatten(0, (b, count)).transpose(1, 2) for t in (q, k, v))  # [B, heads, K, A, d]
        logits = q @ k.transpose(-1, -2) + (q.transpose(2, 3) @ pair_key.transpose(-1, -2)).transpose(2, 3)
        seen = (context.present[:, None, :] & context.known.transpose(1, 2)) | ~context.present[:, None, :1]  # [B, K, A]
        seen = seen | ~seen.any(-1, keepdim=True)
        weight = (logits * q.shape[-1] ** -0.5).masked_fill(~seen[:, None, :, None], -1e9).softmax(-1)  # [B, heads, K, A, A]
        found = weight @ v + (weight.transpose(2, 3) @ pair_value).transpose(2, 3)
        return self.others.out(found.permute(0, 3, 2, 1, 4).flatten(3))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Pre-norm multi-head attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query, self.key_value, self.out = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values [N, heads, S, d] of tokens [N, S, width]."""
        x = self.norm(x)
        key, value = self.key_value(x).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.query(x).unflatten(-1, (self.heads, -1)).transpose(1, 2), key, value

    def over(self, x: Tensor, tokens: Tensor, valid: Tensor) -> Tensor:
        """Self-attention of x [N, S, width]."""
        q, k, v = self.split(x)
        found = functional.scaled_dot_product_attention(q, k, v, attn_mask=valid[:, None, None])
        return self.out(found.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def keys(self, tokens: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [N, heads, S, d] of tokens to be asked again and again; those not valid answer nothing."""
        key, value = self.key_value(tokens).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mask = torch.where(valid, 0.0, -1e4)[:, None, :, None].expand(-1, self.heads, -1, 1)
        return torch.cat([key, mask], -1), value

    def to_keys(self, x: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attention of x [N, S, width] to what ``keys`` gave."""
        q = self.query(self.norm(x)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        q = functional.pad(q, (0, 1), value=1.0)  # times the mask in the keys' last channel
        found = functional.scaled_dot_product_attention(q, key, functional.pad(value, (0, 1)))[..., :-1]
        return self.out(found.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def _squashed(points: Tensor) -> Tensor:
    """Points [B, A, L, P, 2] as features [B, A, L, 4 P]: fine close by, coarse far away, and as they are."""
    flat = points.flatten(3)
    return torch.cat([flat / 30.0, torch.sign(flat) * torch.log1p(flat.abs())], -1)


def pairs(frame: Tensor, speed: Tensor) -> Tensor:
    """[B, A, A, PAIR]: pose and speed of the second as seen by the first, frames [B, A, 3] and speeds [B, A]."""
    offset = frame[:, None, :, :2] - frame[:, :, None, :2]
    turn = frame[:, None, :, 2] - frame[:, :, None, 2]
    cos, sin = torch.cos(frame[:, :, None, 2]), torch.sin(frame[:, :, None, 2])
    x, y = cos * offset[..., 0] + sin * offset[..., 1], cos * offset[..., 1] - sin * offset[..., 0]
    away = torch.log1p(torch.hypot(x, y))
    squashed = [torch.sign(t) * torch.log1p(t.abs()) for t in (x, y)]
    other = (speed[:, None, :] / 10.0).expand_as(x)
    return torch.stack([x / 50.0, y / 50.0, *squashed, away / 3.0, torch.cos(turn), torch.sin(turn), other], -1)


__all__ = ["ABOUT", "Context", "Denoiser", "NetworkConfig"]
