"""CPU milliseconds a picture of ``vocabulary-camera``, forward and with gradients, against a matrix product of equal work.

    python bench_camera.py [--folder build/bench]

One thread. Writes a table and ``camera.json``. The work of a network is counted in multiply-adds of its convolutions and linear
layers; the ratio says how many times longer it takes than one product of float32 matrices (512 columns) with as many, measured in
turn with it. Decoding is that of JPEG, what pictures are stored as.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from wetoolkit_learning.camera import VocabularyCamera, VocabularyCameraConfig
from wetoolkit_learning.testing import Memory, decisions

from wetoolkit.types import Observation, Picture

BATCH, ANCHORS, TURNS, SIDE = 32, 192, 5, 512
SIZES = ((320, 180), (160, 90), (128, 72), (96, 54))


def policy(size: tuple[int, int]) -> VocabularyCamera:
    """With random weights and an ego that is known by 16 states."""
    config = VocabularyCameraConfig(resolution=size, fields=("ego",), vocabulary={"size": ANCHORS})
    return VocabularyCamera(config).prepare(Memory(decisions(400, 0)), 0)


def seen(given: VocabularyCamera, count: int) -> Observation[Any]:
    """Pictures of smooth noise: they decode about as fast as streets."""
    rng, (width, height) = np.random.default_rng(0), given.config.resolution
    images = {}
    for camera in given.config.cameras:
        column = np.empty(count, object)
        for row in range(count):
            coarse = rng.integers(0, 255, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
            column[row] = Picture.of(np.kron(coarse, np.ones((8, 8, 1), np.uint8))[:height, :width])
        images[camera] = column
    own = decisions(count, 1).observation
    return Observation("toy", count, {name: own.arrays[name] for name in ("ego", "ego.valid")}, images=images)


def multiply_adds(network: nn.Module, inputs: Any) -> int:
    """Of all convolutions and linear layers in one pass."""
    total = 0

    def count(layer: nn.Module, _: Any, out: Tensor) -> None:
        nonlocal total
        total += out.numel() * int(np.prod(layer.weight.shape[1:]))  # type: ignore[operator, union-attr]

    hooks = [layer.register_forward_hook(count) for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        network(inputs)
    for hook in hooks:
        hook.remove()
    return total


def timed(work: Callable[[], Any]) -> float:
    """CPU seconds of one call."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def measured(size: tuple[int, int]) -> dict[str, float]:
    """Milliseconds a picture, medians over turns."""
    given = policy(size)
    frames = seen(given, BATCH)
    inputs, network, pictures = given.inputs(frames), given.module(), BATCH * len(given.config.cameras)
    work = multiply_adds(network, inputs)
    a, b = torch.randn(max(1, work // SIDE**2), SIDE), torch.randn(SIDE, SIDE)
    rows: dict[str, list[float]] = {name: [] for name in ("decode", "forward", "both", "product")}
    for _ in range(TURNS):
        rows["decode"].append(timed(lambda: [p.decode() for column in frames.images.values() for p in column]))
        with torch.no_grad():
            rows["forward"].append(timed(lambda: network(inputs)))
            rows["product"].append(timed(lambda: a @ b))
        rows["both"].append(timed(lambda: network(inputs).square().mean().backward()))
    alone = frames.rows(slice(0, 1))
    given.act(alone, 0)
    found = {name: 1e3 * float(np.median(values)) / pictures for name, values in rows.items()}
    return {
        **found, "ratio": found["forward"] / found["product"], "multiply-adds": work / pictures,
        "act alone": 1e3 * float(np.median([timed(lambda: given.act(alone, 0)) for _ in range(20)])),
    }  # fmt: skip


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("build/bench"))
    folder = parser.parse_args().folder
    torch.set_num_threads(1)
    table = Table(
        "pictures",
        "decode [ms]",
        "forward [ms]",
        "and gradients [ms]",
        "million multiply-adds",
        "x a product",
        "act, one frame [ms]",
    )
    found = {}
    for size in SIZES:
        row = found[f"{size[0]}x{size[1]}"] = measured(size)
        numbers = (row["decode"], row["forward"], row["both"], row["multiply-adds"] / 1e6, row["ratio"], row["act alone"])
        table.add_row(f"{size[0]}x{size[1]}", *(f"{number:.2f}" for number in numbers))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "camera.json").write_text(json.dumps(found, indent=1))
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
