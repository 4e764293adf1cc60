"""A small world to learn in, for tests: a body at a speed, one obstacle ahead or none; brake where there is one, else go on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from wetoolkit.experience import take
from wetoolkit.types import Decisions, Observation, Picture
from wetoolkit_learning.camera import VocabularyCameraConfig
from wetoolkit_learning.policy import VocabularyVector, VocabularyVectorConfig
from wetoolkit_learning.vocabulary import VocabularyConfig

STEPS = 40


class Memory:
    """An Experience held in memory."""

    def __init__(self, decisions: Decisions[Any]) -> None:
        self.decisions = decisions

    def __len__(self) -> int:
        return self.decisions.size

    def batches(self, size: int, seed: int | None) -> Iterator[Decisions[Any]]:
        order = np.arange(len(self)) if seed is None else np.random.default_rng(seed).permutation(len(self))
        for i in range(0, len(self), size):
            yield take(self.decisions, order[i : i + size])

    @property
    def shape(self) -> Mapping[str, tuple[int, ...]]:
        return {name: array.shape[1:] for name, array in self.decisions.observation.arrays.items()}


def futures(speed: np.ndarray, bend: np.ndarray, brake: np.ndarray) -> np.ndarray:
    """Plans [n, 40, 3] at a speed [m/s] along a curvature [1/m] with a deceleration [m/s^2] until standing."""
    time = 0.1 * np.arange(1, STEPS + 1)[None]
    time = np.minimum(time, np.where(brake > 0, speed / np.maximum(brake, 1e-6), np.inf)[:, None])
    way = speed[:, None] * time - brake[:, None] * time**2 / 2
    angle = bend[:, None] * way
    flat = np.abs(bend[:, None]) < 1e-6
    safe = np.where(flat, 1.0, bend[:, None])
    x, y = np.where(flat, way, np.sin(angle) / safe), np.where(flat, 0.0, (1 - np.cos(angle)) / safe)
    return np.stack([x, y, angle], -1).astype(np.float32)


def observation(speed: np.ndarray, bend: np.ndarray, ahead: np.ndarray, rng: np.random.Generator) -> Observation[Any]:
    """ego [n, 16, 4], agents [n, 3, 16, 3] (first: the obstacle, valid where ``ahead`` > 0), lanes [n, 2, 5, 2]."""
    n = len(speed)
    ego = np.zeros((n, 16, 4), np.float32)
    ego[..., 0] = -speed[:, None] * 0.1 * np.arange(15, -1, -1)
    ego[..., 3] = speed[:, None]
    agents = rng.normal(size=(n, 3, 16, 3)).astype(np.float32)
    agents[:, 0, :, 0], agents[:, 0, :, 1] = ahead[:, None], 0.0
    valid = np.zeros((n, 3, 16), np.bool_)
    valid[:, 0] = (ahead > 0)[:, None]
    lanes = np.stack([futures(np.full(n, 10.0), bend, np.zeros(n))[:, 7::8, :2]] * 2, 1)
    arrays = {
        "ego": ego, "ego.valid": np.ones((n, 16), np.bool_), "agents": agents, "agents.valid": valid,
        "lanes": lanes, "lanes.valid": np.ones((n, 2, 5), np.bool_),
    }  # fmt: skip
    return Observation("toy", n, arrays)


def decisions(n: int, seed: int, obstacle: float = 0.3, source: int = 0) -> Decisions[Any]:
    """n frames of 20 logs; the expert brakes at 3 m/s^2 where something is ahead."""
    rng = np.random.default_rng(seed)
    speed, bend = rng.uniform(3, 15, n), rng.choice([0.0, 0.02, -0.02], n) + rng.normal(0, 0.003, n)
    ahead = np.where(rng.random(n) < obstacle, rng.uniform(8, 30, n), 0.0)
    expert = futures(speed, bend, np.where(ahead > 0, 3.0, 0.0) + rng.uniform(0, 0.3, n))
    return Decisions(
        observation(speed, bend, ahead, rng),
        source=np.full(n, source, np.int8), round=np.zeros(n, np.int16), expert=expert, has_expert=np.full(n, source == 0),
        choice=np.full(n, -1), log_prob=np.zeros(n), rewards=np.zeros((n, 0), np.float32),
        ids=tuple(f"{source}/{seed}/{i}" for i in range(n)), logs=tuple(f"log{i % 20}" for i in range(n)),
    )  # fmt: skip


def scored(block: Decisions[Any], policy: VocabularyVector, seed: int = 0) -> Decisions[Any]:
    """The block with a reward for each anchor: 0 where it drives through the obstacle, else its share of the speed kept."""
    anchors = policy.proposals
    way = anchors[None, :, -1, 0] / (4 * block.observation.arrays["ego"][:, -1, 3])[:, None]
    ahead, there = block.observation.arrays["agents"][:, 0, -1, 0], block.observation.arrays["agents.valid"][:, 0, -1]
    hit = there[:, None] & (anchors[None, :, :, 0].max(2) > ahead[:, None])
    rewards = np.where(hit, 0.0, 0.4 + 0.6 * np.clip(way, 0, 1)).astype(np.float32)
    plan = policy.act(block.observation, seed)
    assert plan.choice is not None and plan.log_prob is not None
    return replace(block, rewards=rewards, choice=plan.choice, log_prob=plan.log_prob, terms={"ep": np.clip(way, 0, 1)})


def pictured(
    block: Decisions[Any], cameras: tuple[str, ...] = ("left", "right"), size: tuple[int, int] = (32, 24)
) -> Decisions[Any]:
    """The block as cameras show it: no agents, no lanes; the first camera has a red band, the lower the nearer the obstacle is."""
    seen, (width, height) = block.observation, CAMERA.resolution
    there, ahead = seen.arrays["agents.valid"][:, 0, -1], seen.arrays["agents"][:, 0, -1, 0]
    images = {}
    for number, camera in enumerate(CAMERA.cameras):
        column = np.empty(seen.size, object)
        for row in range(seen.size):
            rng = np.random.default_rng((number, row, round(1000 * float(seen.arrays["ego"][row, -1, 3]))))
            pixels = rng.integers(70, 90, (height, width, 3), np.uint8)
            if there[row] and number == 0:
                band = int(height * (1 - ahead[row] / 31))
                pixels[band : band + 4, width // 4 : -width // 4, 0] = 255
            column[row] = Picture.of(pixels, lossless=True)
        images[camera] = column
    own = {name: array for name, array in seen.arrays.items() if name.startswith("ego")}
    return replace(block, observation=replace(seen, arrays=own, images=images))


CONFIG = VocabularyVectorConfig(
    vocabulary=VocabularyConfig(size=24), fields=("ego", "agents", "lanes"), width=32, layers=1, heads=2, dropout=0.0, batch=16
)
CAMERA = VocabularyCameraConfig(
    vocabulary=VocabularyConfig(size=24), fields=("ego",), cameras=("left", "right"), resolution=(32, 24), channels=(8, 16, 16),
    width=32, layers=1, heads=2, dropout=0.0, batch=16,
)  # fmt: skip
