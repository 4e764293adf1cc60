"""A small experiment on the toy domain, and how the tests start it and read its tables."""

from pathlib import Path
from typing import Any

import polars as pl

from wetoolkit.experiment import parse_experiment
from wetoolkit.pipeline import Finished, run
from wetoolkit.registry import Registry
from wetoolkit.store import read_table

TOY = {"use": "toy"}
DATA: dict[str, Any] = {
    "name": "toy", "seed": 3, "domain": "toy", "chunk": 4, "rounds": 2, "dataset": {"use": "toy", "logs": 4, "per_log": 2},
    "splits": {"pretrain": "train", "mine": "rare-train", "common": "test", "rare": "rare-test"},
    "policy": {"use": "toy-softmax"}, "pretrain": {"use": "toy-imitation"}, "miner": TOY, "reconstructor": TOY,
    "behaviour": [{"use": "toy", "count": 2}], "simulator": TOY, "reward": TOY,
    "algorithm": {"use": "toy-gradient"}, "evaluate": {"reward": TOY, "policies": ["toy-straight"], "seeds": [0, 1]},
    "controls": {"imitation": {"use": "toy-imitation"}},
}  # fmt: skip
TABLES = ("outcomes", "results", "comparisons", "survival", "events", "steps", "failed")


def tables(folder: Path) -> dict[str, bytes]:
    return {name: (folder / "tables" / f"{name}.parquet").read_bytes() for name in TABLES}


def start(registry: Registry, folder: Path, changes: dict[str, Any] | None = None, **more: Any) -> Finished:
    return run(parse_experiment({**DATA, **(changes or {})}), registry, folder, **more)


def rows(folder: Path, name: str) -> pl.DataFrame:
    return read_table(folder / "tables" / f"{name}.parquet")
