"""Writes whole recordings for other simulators: ``<log>.xosc`` beside ``<log>.xodr``, which it names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from xml.etree.ElementTree import Element, indent, tostring

from wetoolkit_driving.sensors import Sensors
from wetoolkit_driving.types import World

from wetoolkit.errors import ConfigError, DataError
from wetoolkit.kinds import Progress
from wetoolkit.store import write_atomic
from wetoolkit.types import Scenario
from wetoolkit_logs.names import file_stem
from wetoolkit_logs.openscenario.opendrive import opendrive
from wetoolkit_logs.openscenario.storyboard import openscenario


def write(
    recordings: Iterable[Scenario[World]],
    folder: Path,
    sensors: Callable[[Scenario[World]], Sensors] | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """Each recording as a road network and a scenario; the paths written.

    Errors: ``ConfigError`` for sensors, which the formats do not hold; ``DataError`` where there is nothing to drive on.
    """
    if sensors is not None:
        raise ConfigError("OpenSCENARIO holds no sensor data", key="sensors", way_out="leave --sensors out")
    written: list[Path] = []
    for count, recording in enumerate(recordings, 1):
        written += write_one(recording, folder)
        if progress is not None:
            progress(count, 0, recording.log)
    return written


def write_one(recording: Scenario[World], folder: Path) -> list[Path]:
    """One recording: the road network first, so that no scenario names one that is missing."""
    world = recording.world
    if not world.map.lanes or not world.ego.valid.any():
        raise DataError(
            f"{world.map.lanes} lanes, the ego known in {world.ego.valid.sum()} steps", file=recording.id, field="scenario.world",
            way_out="a scenario needs a lane and an ego",
        )  # fmt: skip
    stem = file_stem(recording.log)
    roads, story = folder / f"{stem}.xodr", folder / f"{stem}.xosc"
    write_atomic(roads, _bytes(opendrive(world.map, recording.origin, recording.log)))
    write_atomic(story, _bytes(openscenario(recording, roads.name)))
    return [roads, story]


def _bytes(root: Element) -> bytes:
    indent(root)
    return bytes(tostring(root, "utf-8", xml_declaration=True)) + b"\n"


__all__ = ["write"]
