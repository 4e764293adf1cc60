"""The network of ``vocabulary-vector``: rows of vectors -> tokens -> attention -> one logit for each anchor.

Every field of an observation is rows of points (an agent's past, a stretch of road): each row becomes a token by a small PointNet
(Qi et al. 2017: a shared layer on each point, then the maximum), tokens attend to one another (Vaswani et al. 2017, pre-norm), and
the first field's first row - the acting body - asks them all what to do. An anchor's logit is the product of that answer with the
anchor's own embedding, so that 8,192 anchors cost little more than 256.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

Inputs = Mapping[str, tuple[Tensor, Tensor]]  # field -> points [B, R, P, C], valid [B, R, P]


@dataclass(frozen=True)
class Shape:
    """All that fixes the network's parameters, besides its width and depth."""

    fields: Mapping[str, tuple[int, int]]  # name -> (P, C)
    anchors: tuple[int, int, int]  # K, T, D


class RowEncoder(nn.Module):
    """Rows of points -> one token a row; the order of the points is known to it by a learned offset."""

    mean: Tensor
    scale: Tensor

    def __init__(self, points: int, channels: int, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))
        self.lift = nn.Linear(2 * channels, width)
        self.order = nn.Parameter(0.02 * torch.randn(points, width))
        self.mix = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, points: Tensor, valid: Tensor) -> Tensor:
        """[B, R, P, C], [B, R, P] -> [B, R, width]; invalid points and rows are nothing to it."""
        seen = points[valid]  # [n, C]: no work on padding
        near = torch.sign(seen) * torch.log1p(seen.abs())  # fine close by, coarse far away
        features = torch.cat([(seen - self.mean) / self.scale, near], -1)
        place = self.order.expand(*valid.shape, -1)[valid]  # [n, width]
        hidden = functional.relu(self.mix(functional.relu(self.lift(features) + place)))
        spread = hidden.new_zeros(*valid.shape, hidden.shape[-1])  # relu is never below 0, so 0 is nothing to the maximum
        spread[valid] = hidden
        return self.out(spread.amax(2))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Pre-norm attention of ``query`` to ``tokens`` and a feed-forward layer."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_query, self.norm_tokens, self.norm_out = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key_value, self.out = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, tokens: Tensor, valid: Tensor) -> Tensor:
        """query [B, Q, width], tokens [B, S, width], valid [B, S] -> [B, Q, width]."""
        ask = self.split(self.query(self.norm_query(query)))  # [B, heads, Q, width / heads]
        key, value = (self.split(part) for part in self.key_value(self.norm_tokens(tokens)).chunk(2, -1))
        found = functional.scaled_dot_product_attention(ask, key, value, attn_mask=valid[:, None, None])
        query = query + self.dropout(self.out(found.transpose(1, 2).flatten(2)))
        return query + self.dropout(self.down(functional.gelu(self.up(self.norm_out(query)))))  # type: ignore[no-any-return]

    def split(self, tokens: Tensor) -> Tensor:
        """[B, S, width] -> [B, heads, S, width / heads]."""
        return tokens.reshape(*tokens.shape[:2], self.heads, -1).transpose(1, 2)


class VocabularyNetwork(nn.Module):
    """Inputs -> logits [B, K]. The vocabulary and the normalisation of the inputs are buffers, so its state is all there is."""

    anchors: Tensor
    features: Tensor

    def __init__(self, shape: Shape, width: int, layers: int, heads: int, dropout: float, stride: int) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict({name: RowEncoder(*size, width) for name, size in shape.fields.items()})
        self.kinds = nn.ParameterDict({name: nn.Parameter(0.02 * torch.randn(width)) for name in shape.fields})
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.ask = Block(width, heads, dropout)
        self.answer = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.stride = stride
        self.register_buffer("anchors", torch.zeros(shape.anchors))
        self.embed = nn.Sequential(
            nn.Linear(self.anchor_features().shape[1], 2 * width), nn.GELU(), nn.Linear(2 * width, width), nn.LayerNorm(width)
        )  # fmt: skip
        self.bias = nn.Linear(width, 1)

    def anchor_features(self) -> Tensor:
        """Every ``stride``-th pose of each anchor, scaled to unit spread over the vocabulary: [K, F]."""
        poses = self.anchors[:, min(self.stride, self.anchors.shape[1]) - 1 :: self.stride].flatten(1)
        return (poses - poses.mean(0)) / (poses.std(0) + 1e-3)

    def tokens(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """One token a row of each field [B, S, width], the acting body first, and which are there [B, S]."""
        tokens = [self.encoders[name](*inputs[name]) + self.kinds[name] for name in self.encoders]
        valid = torch.cat([inputs[name][1].any(-1) for name in self.encoders], 1)
        return torch.cat(tokens, 1), torch.cat([torch.ones_like(valid[:, :1]), valid[:, 1:]], 1)  # the acting body is always there

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits [B, K]."""
        scene, valid = self.tokens(inputs)
        for block in self.blocks:
            scene = block(scene, scene, valid)
        answer = self.answer(self.ask(scene[:, :1], scene, valid)[:, 0])  # [B, width]
        anchors = self.embed(self.anchor_features())  # [K, width]
        logits: Tensor = answer @ anchors.T / anchors.shape[1] ** 0.5 + self.bias(anchors)[:, 0]
        return logits
