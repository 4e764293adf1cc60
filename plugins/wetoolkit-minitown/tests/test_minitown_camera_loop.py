"""The loop by pictures, shortened: the experiment of docs/camera.toml with one town a stem, few frames and hardly any training."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

pytest.importorskip("embreex")
pytest.importorskip("wetoolkit_learning", reason="the experiment trains a policy of wetoolkit-learning")
pytest.importorskip("wetoolkit_splat", reason="the experiment fits scenes with wetoolkit-splat")

from wetoolkit.experiment import load_experiment

EXPERIMENT = Path(__file__).parents[3] / "docs" / "camera.toml"
TOWN = {"train_towns": 1, "test_towns": 1, "train_logs": 8, "fleet_logs": 4, "test_logs": 3, "test_staged": 4}
SHORT = {
    "limits.pretrain": 48, "limits.mine": 16, "limits.common": 6, "limits.rare": 3, "limits.failures": 2,
    "policy.vocabulary.size": 32, "pretrain.epochs": 2, "algorithm.steps": 20, "executor.use": "serial",
    "reconstructor.fit.steps": 40, "reconstructor.fit.budget": 9000, "reconstructor.least_psnr": 5.0,
}  # fmt: skip
SETTINGS = ("dataset", "reconstructor.settings", "evaluate.reconstructors.town.settings")


def test_all_three_name_the_same_town() -> None:
    """Whoever renders must know the experiment's town; a number changed in one place only would be a failure at every scene."""
    experiment = load_experiment(EXPERIMENT)
    towns = [
        experiment.dataset.settings, experiment.reconstructor.settings["settings"],
        experiment.evaluate.reconstructors["town"].settings["settings"],
    ]  # fmt: skip
    sensors = [town.pop("sensors") for town in towns]  # may differ: how often they record
    assert towns[0] == towns[1] == towns[2]
    camera: Any = experiment.policy.settings.get("resolution", (160, 90))
    assert all((there["width"], there["height"]) == tuple(camera) for there in sensors)


@pytest.mark.slow
def test_the_loop_by_pictures(tmp_path: Path) -> None:
    changed = dict(SHORT) | {f"{place}.{key}": value for place in SETTINGS for key, value in TOWN.items()}
    changed |= {f"{place}.cache": str(tmp_path / "town") for place in SETTINGS}
    changed["reconstructor.folder"] = str(tmp_path / "splats")
    done = wetool("run", EXPERIMENT, "--out", tmp_path / "run", *(f"--set={key}={value}" for key, value in changed.items()))
    assert done.returncode == 0, done.stdout + done.stderr
    outcomes, comparisons = (
        pl.read_parquet(tmp_path / "run" / "tables" / f"{name}.parquet") for name in ("outcomes", "comparisons")
    )
    closed = outcomes.filter(pl.col("mode") == "closed")
    assert set(closed["policy"]) == {"base", "post-trained", "constant-velocity", "base in town", "post-trained in town"}
    assert (closed["error"] == "").all(), closed["error"].to_list()
    there = closed.filter(pl.col("policy").str.ends_with("in town"))
    assert (there["trust"] == 1).all() and (there["trust_unknown"] == 0).all()
    assert (closed.filter(pl.col("policy") == "post-trained")["trust"] < 1).all()  # a fitted scene is not sure of itself
    gap = comparisons.filter((pl.col("a") == "post-trained in town") & (pl.col("b") == "post-trained"))
    assert set(gap["measure"]) >= {"success", "score"} and (gap["n"] == 3).all()
    latency = pl.read_parquet(tmp_path / "run" / "latency.parquet")
    assert set(latency["part"]) == {"policy", "render"} and (latency["median"] > 0).all()


def wetool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from wetoolkit.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False)
