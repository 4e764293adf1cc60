"""A picture is written, and shows the ego where it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wetoolkit_logs.picture import draw
from wetoolkit_logs.scenarionet import ScenarioNet, ScenarioNetConfig

pytest.importorskip("matplotlib", reason="pictures need matplotlib")


def test_the_ego_is_drawn_in_the_middle(make: Callable[..., dict[str, Any]], folder: Callable[..., Path], tmp_path: Path) -> None:
    from matplotlib.image import imread

    data = ScenarioNet(ScenarioNetConfig(folder=str(folder(a=make())), splits={"train": ["*"]}, cache=False))
    draw(data.load(data.index("train")[0]).world, 20, tmp_path / "window.png")
    pixels = imread(tmp_path / "window.png")[..., :3]
    red = (np.abs(pixels - np.array([0.839, 0.153, 0.157])) < 0.02).all(-1)  # matplotlib's "tab:red"
    rows, columns = np.nonzero(red)
    middle = np.array(pixels.shape[:2]) / 2
    assert red.sum() > 100
    assert abs(np.median(rows) - middle[0]) < 30 and columns.min() < middle[1] < columns.max()
