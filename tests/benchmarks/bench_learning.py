"""Speed of `vocabulary-vector`, against a plain torch.nn.TransformerEncoder forward of equal size in the same run.

Prints processor time: acting on a batch of 32, and samples a second of an imitation step at a batch of 64, on one thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional
from wetoolkit_learning.policy import VocabularyVector, VocabularyVectorConfig

from wetoolkit.types import Decisions, Observation

SHAPES = {"ego": (16, 8), "agents": (24, 16, 15), "lanes": (32, 10, 10), "route": (1, 20, 4)}


class Once:
    """An Experience of one block."""

    def __init__(self, block: Decisions) -> None:
        self.block = block

    def batches(self, size: int, seed: int | None) -> list[Decisions]:
        return [self.block]


def block(count: int) -> Decisions:
    """Full rows of random numbers, the worst case: nothing is padding."""
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=(count, *shape)).astype(np.float32) for name, shape in SHAPES.items()}
    plans = np.cumsum(rng.uniform(0, 1, (count, 40, 3)), 1).astype(np.float32)
    none = np.zeros(count, np.int64)
    names = tuple(str(i) for i in range(count))
    return Decisions(
        Observation("bench", count, arrays), none, none, plans, none == 0, none, none * 0.0, np.zeros((count, 0)), {}, names, names
    )


def milliseconds(work: Callable[[], object], times: int = 15) -> float:
    """Median processor time of one call."""
    work()
    taken = []
    for _ in range(times):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return 1e3 * float(np.median(taken))


def main() -> None:
    torch.set_num_threads(1)
    config = VocabularyVectorConfig()
    policy = VocabularyVector(config).prepare(Once(block(1500)), 0)  # type: ignore[arg-type]
    seen, batch = block(32).observation, block(64)
    act = milliseconds(lambda: policy.act(seen, 0))
    tokens = torch.randn(32, 1 + 24 + 32 + 1, config.width)
    layer = torch.nn.TransformerEncoderLayer(config.width, config.heads, 2 * config.width, batch_first=True, norm_first=True)
    plain = torch.nn.TransformerEncoder(layer, config.layers + 1, enable_nested_tensor=False).eval()
    with torch.inference_mode():
        base = milliseconds(lambda: plain(tokens))
    network = policy.module().train()
    optimiser = torch.optim.AdamW(network.parameters())

    def step() -> None:
        optimiser.zero_grad()
        label = torch.from_numpy(policy.nearest(batch.expert))
        functional.cross_entropy(network(policy.inputs(batch.observation)), label).backward()
        optimiser.step()

    train = milliseconds(step)
    print(f"act, batch of 32: {act:.1f} ms; torch.nn.TransformerEncoder of equal size: {base:.1f} ms; ratio {act / base:.2f}")
    print(f"imitation step, batch of 64: {train:.1f} ms = {64e3 / train:.0f} samples/s; {train / 2 / act:.2f} x the forward pass")


if __name__ == "__main__":
    main()
