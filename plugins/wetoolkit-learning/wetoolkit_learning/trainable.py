"""What the algorithms here ask of a policy: a torch module they may train, and the way from observations to its inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from wetoolkit.errors import PluginError
from wetoolkit.types import Float, Int, Observation


@runtime_checkable
class Trainable(Protocol):
    """A policy over a vocabulary whose log-probabilities are ``log_softmax(module(inputs))``."""

    @property
    def proposals(self) -> Float:
        """[K, T, D] anchors."""

    def module(self) -> nn.Module:
        """A copy of the network: ``module(inputs) -> logits [B, K]``. Training it does not change the policy."""

    def with_module(self, module: nn.Module) -> Self:
        """A copy of the policy that holds this network."""

    def inputs(self, observation: Observation[Any]) -> Mapping[str, tuple[Tensor, Tensor]]:
        """What the network reads of an observation."""

    def nearest(self, plans: Float) -> Int:
        """Index [B] of the anchor nearest to each plan [B, T, D]."""


def trainable(policy: object, algorithm: str) -> Trainable:
    """The policy, if the algorithm can train it; otherwise an error with the way out."""
    if not isinstance(policy, Trainable):
        raise PluginError(
            f"algorithm {algorithm!r} cannot train a {type(policy).__name__}",
            plugin="wetoolkit-learning",
            asked="a policy with proposals, module, with_module, inputs and nearest (wetoolkit_learning.trainable.Trainable)",
            way_out="use the policy vocabulary-vector or vocabulary-camera, or give yours these methods",
        )
    return policy


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Run torch's operators on ``count`` threads inside, on as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def torch_seed(seed: int) -> Iterator[None]:
    """Seed torch's global generator inside (initial weights, dropout), and leave it as it was afterwards."""
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(state)
