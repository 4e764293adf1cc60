"""Synthetic ScenarioDescription dicts, and where the real files are."""

from __future__ import annotations

import importlib.util
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

STEPS = 131


def straight(y: float, start: float, end: float) -> np.ndarray[Any, Any]:
    """A line along x, every metre."""
    x = np.linspace(start, end, int(abs(end - start)) + 1)
    return np.stack([x, np.full_like(x, y)], axis=1)


def strip(start: float, end: float, low: float, high: float) -> np.ndarray[Any, Any]:
    """A closed rectangular ring."""
    return np.array([[start, low], [end, low], [end, high], [start, high], [start, low]])


def track(
    xy: np.ndarray[Any, Any], heading: float, kind: str, size: tuple[float, float, float], valid: Any = None, dt: float = 0.1
) -> dict[str, Any]:
    """A track in the form that the converters write."""
    steps = len(xy)
    flags = np.ones(steps) if valid is None else np.asarray(valid, float)
    state = {
        "position": np.concatenate([xy, np.zeros((steps, 1))], 1),
        "heading": np.full(steps, heading),
        "velocity": np.gradient(xy, dt, axis=0),
        "valid": flags,
        **{name: np.full((steps, 1), value) for name, value in zip(("length", "width", "height"), size, strict=True)},
    }
    return {"type": kind, "state": state, "metadata": {"track_length": steps, "type": kind, "object_id": "?"}}


def description(scene: str = "scene-a", steps: int = STEPS, dt: float = 0.1, dataset: str = "nuscenes") -> dict[str, Any]:
    """A straight road of two lanes, 300 m with a connector from 100 to 120; the ego drives at 8 m/s behind a slower car."""
    x = 8.0 * dt * np.arange(steps)
    at = lambda values, y: np.stack([values, np.full(steps, y)], 1)  # noqa: E731
    features: dict[str, Any] = {
        "boundary_0": {"type": "ROAD_LINE_SOLID_SINGLE_WHITE", "polyline": strip(-60, 310, -1.75, 5.25)},
        "divider": {"type": "ROAD_LINE_BROKEN_SINGLE_WHITE", "polyline": [[-60.0, 1.75], [310.0, 1.75]]},
    }
    for name, y in (("r", 0.0), ("l", 3.5)):
        for part, start, end in (("1", -50, 100), ("3", 120, 300)):
            features[name + part] = {
                "type": "LANE_SURFACE_STREET",
                "polyline": np.concatenate([straight(y, start, end), np.zeros((end - start + 1, 1))], 1),
                "polygon": strip(start, end, y - 1.75, y + 1.75).tolist(),
            }
        features[name + "2"] = {"type": "LANE_SURFACE_STREET", "polyline": straight(y, 100, 120), "speed_limit_kmh": 100}
    tracks = {
        "ego": track(at(x, 0.0), 0.0, "VEHICLE", (1.73, 4.08, 1.56), dt=dt),
        "car": track(at(30 + 5 * dt * np.arange(steps), 0.0), 0.0, "VEHICLE", (4.5, 1.9, 1.6), dt=dt),
        "walker": track(at(np.full(steps, 60.0), 8.0), 1.0, "PEDESTRIAN", (0.6, 0.6, 1.7), dt=dt),
        "rider": track(at(x + 10, 3.5), 0.0, "CYCLIST", (1.8, 0.6, 1.7), dt=dt),
        "cone": track(at(np.full(steps, 40.0), 6.0), 0.0, "TRAFFIC_CONE", (0.4, 0.4, 0.9), dt=dt),
        "fence": track(at(np.full(steps, 50.0), 6.0), 0.0, "TRAFFIC_BARRIER", (0.5, 2.0, 0.9), dt=dt),
        "thing": track(at(np.full(steps, 55.0), 6.5), 0.0, "OTHER", (0.5, 0.5, 0.5), dt=dt),
    }
    return {
        "id": scene,
        "version": "test",
        "length": steps,
        "metadata": {"dataset": dataset, "sdc_id": "ego", "ts": dt * np.arange(steps), "coordinate": "right-handed"},
        "tracks": tracks,
        "dynamic_map_states": {},
        "map_features": features,
    }


@pytest.fixture
def make() -> Callable[..., dict[str, Any]]:
    """The factory of synthetic scenes."""
    return description


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes scene dicts (or raw bytes) as <name>.pkl files into a new folder."""

    def write(**files: Any) -> Path:
        place = tmp_path / "scenes"
        place.mkdir(exist_ok=True)
        for name, content in files.items():
            data = content if isinstance(content, bytes) else pickle.dumps(content)
            (place / f"{name}.pkl").write_bytes(data)
        return place

    return write


@pytest.fixture(scope="session")
def drive() -> Callable[..., Any]:
    """The factory of random drives that the tests of nuPlan's writer use as well."""
    spec = importlib.util.spec_from_file_location("random_drives", Path(__file__).parent / "nuplan" / "conftest.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.random_drive


@pytest.fixture(scope="session")
def nuscenes() -> Path:
    """The real files; tests that need them skip with a reason where they are not."""
    root = Path(os.environ.get("WETOOL_DATA") or Path(__file__).parents[3] / "../shared/data")
    place = root / "scenarionet_nuscenes"
    if not place.is_dir():
        pytest.skip(f"no real logs at {place}: set WETOOL_DATA to the folder that holds scenarionet_nuscenes")
    return place.resolve()
