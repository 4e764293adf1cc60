"""The model of traffic on real logs: nuScenes by ScenarioNet and Argoverse 2."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wetoolkit_diffusion.behaviour import Diffusion, DiffusionConfig
from wetoolkit_diffusion.checkpoint import load, save
from wetoolkit_diffusion.plausible import PlausibilityConfig
from wetoolkit_diffusion.realism import Tally, going_straight, judge, recorded
from wetoolkit_diffusion.testing import SPEC, model
from wetoolkit_diffusion.tokens import encode
from wetoolkit_driving.reconstruct import Replay, ReplayConfig
from wetoolkit_driving.types import World

from wetoolkit.registry import load_registry
from wetoolkit.sources import open_source
from wetoolkit.types import Scenario

pytestmark = pytest.mark.realdata
FOLDERS = {"scenarionet_nuscenes": 40, "av2_logs": 8}  # folder -> every so many-th window


@pytest.fixture(scope="module", params=FOLDERS)
def windows(request: pytest.FixtureRequest) -> list[Scenario[World]]:
    root = Path(os.environ.get("WETOOL_DATA") or Path(__file__).parents[3] / "../shared/data")
    folder = root / request.param
    if not folder.is_dir():
        pytest.skip(f"no real logs at {folder}: set WETOOL_DATA to the folder that holds {request.param}")
    dataset: Any = open_source(load_registry(), str(folder), {"splits": {"all": 1.0}, "cache": False}).dataset
    return [dataset.load(ref) for ref in dataset.index("all")[:: FOLDERS[request.param]]]


def test_a_model_is_tuned_on_real_logs_tells_them_and_varies_others(windows: list[Scenario[World]], tmp_path: Path) -> None:
    first, held = tmp_path / "first.safetensors", windows[-1]
    save(first, model(), {"seed": 0, "logs": ["town"]})
    seen = [window for window in windows if window.log != held.log]
    training = {"init": str(first), "steps": 2, "batch": 2}
    Diffusion(DiffusionConfig.model_validate({"training": training})).fit(seen, tmp_path / "tuned.safetensors", 0)
    logs = (load(tmp_path / "tuned.safetensors").about or {})["logs"]
    assert logs == sorted({"town", *(window.log for window in seen)})
    assert held.log not in logs
    anything = PlausibilityConfig(kinematics=False, collision=False, off_road=False, solvable=0.0)
    part = Diffusion(DiffusionConfig(checkpoint=str(tmp_path / "tuned.safetensors"), plausibility=anything))
    (varied,) = part.vary(Replay(ReplayConfig()).reconstruct(held, None, 0), 1, 0)
    varied.world.validate()
    assert "moved" in varied.variant


def test_the_log_itself_has_no_error_and_going_straight_has_some(windows: list[Scenario[World]]) -> None:
    log, straight = Tally(), Tally()
    for window in windows:
        world, now = window.world, window.clock.now
        tokens = encode(world, now, SPEC)
        truth, there = recorded(tokens, world, now, 80)
        assert there.sum() > 1
        assert np.isfinite(tokens.state).all()
        judge(tokens, world, now, truth[None], log, window.log)
        judge(tokens, world, now, going_straight(tokens, 80, world.dt), straight, window.log)
    assert max(log.values["vehicle", "minADE"]) == 0.0
    assert np.mean(straight.values["vehicle", "minADE"]) > 0.2
    assert np.mean(log.values["vehicle", "off_road"]) < 0.2
