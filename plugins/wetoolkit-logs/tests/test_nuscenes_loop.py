"""The loop on real logs, shortened: the experiment of docs/nuscenes.toml with fewer frames and steps."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from wetoolkit_driving.domain import Driving
from wetoolkit_driving.pdm.reward import PdmReward, PdmRewardConfig
from wetoolkit_logs.scenarionet import ScenarioNet, ScenarioNetConfig

from wetoolkit.types import Situation

EXPERIMENT = Path(__file__).parents[3] / "docs" / "nuscenes.toml"
TRAIN, TEST = {"scene-0553", "scene-0655", "scene-0757", "scene-0796"}, {"scene-0061", "scene-0103"}
SHORT = {
    "pretrain.steps": 60, "algorithm.steps": 20, "policy.vocabulary.size": 32, "limits.mine": 24, "limits.failures": 4,
    "limits.common": 6, "limits.rare": 12, "behaviour.0.count": 1, "executor.use": "serial", "dataset.cache": "false",
}  # fmt: skip


def wetool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from wetoolkit.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False)


@pytest.mark.realdata
def test_the_human_scores_as_a_human_should(nuscenes: Path) -> None:
    """The log's own drive, judged by the PDM score: no crash at fault, never off the road, no short TTC, comfortable - everywhere.

    A wrong size, axle, heading, surface or velocity shows here, before any failure is mined.
    """
    data = ScenarioNet(ScenarioNetConfig(folder=str(nuscenes), splits={"train": ["scene-*"]}, stride=1.0, cache=False))
    scenarios = [data.load(ref) for ref in data.index("train")]
    situations = [Situation(s.id, s.log, s.world, s.clock.now) for s in scenarios]
    plans, known = Driving().demonstrate(situations)
    assert known.all()
    scores = PdmReward(PdmRewardConfig()).score(situations, np.asarray(plans, float)[:, None])
    assert scores.success.all()
    for term in ("nc", "dac", "ttc", "comfort"):
        assert (scores.terms[term].values == 1).all(), term
    assert not scores.terms["ttc"].available  # there are no intersections in the data, and it is said


@pytest.mark.realdata
def test_the_human_scores_no_less_than_a_car_that_goes_straight_on(nuscenes: Path) -> None:
    """A property of `wetool conformance pdms` on drives that were really made: on average over all frames."""
    data = ScenarioNet(ScenarioNetConfig(folder=str(nuscenes), splits={"train": ["scene-*"]}, stride=2.0, cache=False))
    scenarios = [data.load(ref) for ref in data.index("train")]
    situations = [Situation(s.id, s.log, s.world, s.clock.now) for s in scenarios]
    plans, _ = Driving().demonstrate(situations)
    straight = np.zeros((len(situations), 40, 3))
    straight[..., 0] = np.array([[s.world.ego.states[s.step, 3]] for s in situations]) * 0.1 * np.arange(1, 41)
    scores = PdmReward(PdmRewardConfig()).score(situations, np.stack([np.asarray(plans, float), straight], 1))
    human, onward = scores.total.mean(0)
    assert human > onward, f"{human:.3f} against {onward:.3f} over {len(situations)} frames"
    print(f"human {human:.3f}, constant velocity {onward:.3f} over {len(situations)} frames")


@pytest.mark.realdata
@pytest.mark.slow
def test_the_loop_on_real_logs(nuscenes: Path, tmp_path: Path) -> None:
    settings = [f"--set={key}={value}" for key, value in SHORT.items()]
    done = wetool("run", EXPERIMENT, "--out", tmp_path / "run", f"--set=dataset.folder={nuscenes}", *settings)
    assert done.returncode == 0, done.stdout + done.stderr
    tables = {
        name: pl.read_parquet(tmp_path / "run" / "tables" / f"{name}.parquet") for name in ("outcomes", "results", "failures-1")
    }
    assert set(tables["failures-1"]["log"]) and set(tables["failures-1"]["log"]) <= TRAIN
    outcomes = tables["outcomes"]
    assert set(outcomes["log"]) <= TEST
    assert set(outcomes["policy"]) == {"base", "post-trained", "constant-velocity"}
    assert outcomes["total"].is_between(0, 1).all()
    shown = wetool("report", tmp_path / "run")
    assert shown.returncode == 0
    text = (tmp_path / "run" / "report" / "report.md").read_text()
    assert "logs are few" in text and "not significant" in text
    assert "ego_length_width_swapped" in text and "ego_static_windows" in text
    again = wetool("run", tmp_path / "run")
    assert again.returncode == 0, again.stdout + again.stderr
    assert pl.read_parquet(tmp_path / "run" / "tables" / "results.parquet").equals(tables["results"])
