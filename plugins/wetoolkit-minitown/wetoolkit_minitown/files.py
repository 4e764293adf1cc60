"""Drives through files: each is written once as a nuPlan log into the cache folder, and its windows are read back from there.

So an experiment on the town runs the path of recorded logs. Writer and reader belong to another distribution and are found by name.
Others are written from a window's length before they come near the ego to as long after, so that windows are as without files.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from wetoolkit_driving.types import Agents, World

from wetoolkit.registry import Registry, load_registry
from wetoolkit.types import Clock, Lineage, Scenario
from wetoolkit_minitown.log import SEEN, SEEN_STILL, Log
from wetoolkit_minitown.traffic import DT

FORMAT = "nuplan"
LIGHTS = 145.0  # metres from the ego within which lights are written: all that are on the map of a window at its present
STILL = "still-"  # what the names of those begin with that never move


@lru_cache(maxsize=1)
def _registry() -> Registry:
    return load_registry()


def folder_of(cache: Path) -> Path:
    """Where the files are: below the cache, by what writes them."""
    writer = _registry().exporter(FORMAT).distribution
    return cache / f"{FORMAT}-{writer.replace(' ', '-')}"


def path_of(cache: Path, name: str) -> Path:
    """The log of a drive."""
    return folder_of(cache) / f"{name}.db"


def write_drive(cache: Path, name: str, log: Log, recording: Scenario[World], around: int) -> None:
    """A whole drive as a file; ``around`` are the steps of a window. ``recording`` is ``window.whole`` of the log."""
    world = recording.world
    agents = world.agents
    order = np.lexsort((log.pose[:, 0, 1], log.pose[:, 0, 0]))  # as the recording's
    still = log.still[order]
    away = np.hypot(*np.moveaxis(agents.pose[..., :2] - world.ego.states[:, :2], -1, 0))
    valid = _spread(away < np.where(still, SEEN_STILL, SEEN)[:, None], around)
    names = tuple(f"{STILL if fixed else 'agent-'}{k}" for k, fixed in enumerate(still))
    kept = replace(agents, ids=names, valid=valid)
    drive = replace(recording, id=name, log=f"{name}-part", world=replace(world, agents=kept))
    registry = _registry()
    registry.load(registry.exporter(FORMAT))([drive], folder_of(cache), options={"rate": 1 / DT, "lights": LIGHTS})
    with suppress(FileNotFoundError):  # another worker was faster
        path_of(cache, f"{name}-part").replace(path_of(cache, name))  # only now that its town is on the map


def _spread(near: NDArray[np.bool_], around: int) -> NDArray[np.bool_]:
    """[A, T] from ``around`` steps before the first near one to as many after the last."""
    steps = np.arange(near.shape[1])
    first, last = near.argmax(1), near.shape[1] - 1 - near[:, ::-1].argmax(1)
    return near.any(1)[:, None] & (steps >= first[:, None] - around) & (steps <= last[:, None] + around)


@lru_cache(maxsize=8)
def _opened(path: Path, history: float, future: float, radius: float) -> Any:
    settings = {
        "folder": str(path),
        "splits": {"all": 1.0},
        "history": history,
        "future": future,
        "radius": radius,
        "rate": 1 / DT,
        "boxes": "memory",
    }
    return _registry().build("dataset", FORMAT, settings)


def read_window(cache: Path, name: str, now: int, clock: Clock, radius: float) -> tuple[World, tuple[float, float, float], Lineage]:
    """The window of a drive whose present is step ``now`` of it, its origin, and how it was read."""
    data = _opened(path_of(cache, name), clock.now * DT, (clock.steps - 1 - clock.now) * DT, radius)
    at = round(now * DT * 1e6)
    scenario = data.load(data.find(between=(at, at))[0])
    return replace(scenario.world, agents=_near(scenario.world)), scenario.origin, scenario.lineage


def _near(world: World) -> Agents:
    """Those who come near the ego within the window, named and ordered by their places at its first step."""
    agents = world.agents
    away = np.hypot(*np.moveaxis(agents.pose[..., :2] - world.ego.states[:, :2], -1, 0)).min(1)
    limit = np.where([name.startswith(STILL) for name in agents.ids], SEEN_STILL, SEEN)
    rows = np.flatnonzero((away < limit) & agents.valid.all(1))
    rows = rows[np.lexsort((agents.pose[rows, 0, 1], agents.pose[rows, 0, 0]))]
    picked: Mapping[str, Any] = {
        name: getattr(agents, name)[rows] for name in ("kind", "size", "pose", "velocity", "valid", "control")
    }
    return Agents(tuple(f"agent-{n}" for n in range(len(rows))), **picked)
