"""Low-rank adaptation (Hu et al. 2021): the base stays, a product of two thin matrices is learned beside each linear layer."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


class LoraLinear(nn.Module):
    """y = W x + b + (alpha / r) B A x with W, b frozen; B starts at zero, so it starts as the layer it adapts."""

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scale = alpha / rank
        self.down = nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, values: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        return self.base(values) + self.scale * (values @ self.down.T) @ self.up.T  # type: ignore[no-any-return]

    def merged(self) -> nn.Linear:
        """One plain layer that does the same."""
        layer = nn.Linear(self.base.in_features, self.base.out_features, self.base.bias is not None)
        layer.weight.data = (self.base.weight + self.scale * self.up @ self.down).detach()
        if self.base.bias is not None:
            layer.bias.data = self.base.bias.detach().clone()
        return layer


def adapt(network: nn.Module, rank: int, alpha: float) -> None:
    """Freeze the network and put an adapter of ``rank`` on each of its linear layers, in place."""
    network.requires_grad_(False)
    for parent, name, layer in _children(network, nn.Linear):
        setattr(parent, name, LoraLinear(layer, rank, alpha))


def merge(network: nn.Module) -> None:
    """Turn the adapters back into plain layers that do the same, in place; the names of the state are those before ``adapt``."""
    for parent, name, layer in _children(network, LoraLinear):
        setattr(parent, name, layer.merged())
    network.requires_grad_(True)


def _children(network: nn.Module, kind: type[M]) -> list[tuple[nn.Module, str, M]]:
    return [
        (parent, name, child)
        for parent in list(network.modules())
        if not isinstance(parent, LoraLinear)
        for name, child in list(parent.named_children())
        if isinstance(child, kind)
    ]
