"""Dataset `scenarionet`: windows of ScenarioNet/MetaDrive scenario files, repaired and counted.

A folder of ``*.pkl`` files (subfolders included), each one scene in MetaDrive's ScenarioDescription; ``dataset_summary.pkl`` and
``dataset_mapping.pkl`` are neither needed nor trusted, since they may name fewer or other scenes than there are. docs/data.md
tells what is done to the data.
"""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from wetoolkit.errors import DataError
from wetoolkit_logs import kept, motion, scenes
from wetoolkit_logs.index import Source
from wetoolkit_logs.recording import LANES, Recording, read
from wetoolkit_logs.scenes import SceneConfig, SceneDataset
from wetoolkit_logs.window import SceneData

MERGED = "all_scenarios.pkl"  # World Engine's
NOT_SCENES = ("dataset_summary.pkl", "dataset_mapping.pkl")


class ScenarioNetConfig(SceneConfig):
    """Where the files are, how they are split and cut, and what is repaired."""

    repairs: Literal["auto", "nuscenes", "none"] = Field(
        "auto", description="repairs of nuScenes conversions: `auto` by the dataset that each file names"
    )
    reference: Literal["auto", "rear-axle", "centre"] = Field(
        "auto",
        description="what the ego's positions are in the files: `auto` is the rear axle for nuScenes and the centre elsewhere",
    )


class ScenarioNet(SceneDataset[ScenarioNetConfig]):
    """Windows of scenes, one file a scene."""

    name = "scenarionet"
    format = "ScenarioNet/MetaDrive pickles"
    licence = "that of the data set that was converted (nuScenes: CC BY-NC-SA 4.0 and its terms of use)"

    @classmethod
    def recognise(cls, path: Path) -> Mapping[str, Any] | None:
        """A folder of pickles, a scene each; one that holds World Engine's file of many scenes is none."""
        files = sorted(path.rglob("*.pkl")) if path.is_dir() else []
        if not files or any(file.name == MERGED for file in files):
            return None
        with files[0].open("rb") as file:
            return {"folder": str(path)} if file.read(1) == pickle.PROTO else None

    def sources(self) -> list[Source]:
        """The pickles of the folder."""
        if not self._folder.is_dir():
            raise DataError("no such folder", file=str(self._folder), field="folder",
                            way_out="set `folder` to where the *.pkl files are")  # fmt: skip
        paths = sorted(path for path in self._folder.rglob("*.pkl") if path.name not in NOT_SCENES)
        if not paths:
            raise DataError("no *.pkl file in it", file=str(self._folder), field="folder",
                            way_out="set `folder` to where the *.pkl files are")  # fmt: skip
        return [Source(path.relative_to(self._folder).as_posix(), (path,)) for path in paths]

    def parse(self, source: Source) -> Recording:
        """The scene of a file."""
        return read(source.files[0], self.config.file_limit << 20)

    def prepared(self, recording: Recording) -> SceneData:
        """Repaired by what the converters are known to do."""
        return prepare(recording, self.config)


def prepare(recording: Recording, config: ScenarioNetConfig) -> SceneData:
    """A recording, repaired and with its roads and route; what our own writer wrote is taken as it is."""
    if recording.extras:
        return own(recording)
    counts = Counter(recording.counts)
    nuscenes = config.repairs == "nuscenes" or (config.repairs == "auto" and "nuscenes" in recording.dataset)
    rear_axle = config.reference == "rear-axle" or (config.reference == "auto" and "nuscenes" in recording.dataset)
    mend = config.repairs != "none"
    vehicle = motion.vehicle_of(recording, nuscenes, mend, counts)
    ego = motion.ego_of(recording, vehicle, rear_axle, mend, counts)
    others = tuple(motion.refit_velocity(track) for track in recording.others) if nuscenes else recording.others
    counts["velocities_refitted"] += len(others) if nuscenes else 0
    return scenes.prepare(recording, ego, others, config, nuscenes, counts)


def own(recording: Recording) -> SceneData:
    """A recording of our own writer: nothing is repaired, roads and route are those it was written with."""
    counts = Counter(recording.counts)
    vehicle = kept.vehicle_of(recording)
    ego = kept.ego_of(recording, vehicle) or motion.ego_of(recording, vehicle, False, False, counts)
    lanes = {str(name): f for name, f in recording.features.items() if isinstance(f, Mapping) and f.get("type") in LANES}
    roads = kept.roads_of(recording, lanes)
    seen = {name: count for name, count in counts.items() if count}
    route = kept.route_of(recording, roads)
    height = np.full(recording.steps, float(recording.extras["height"]))
    return SceneData(recording.scene, recording.dataset, ego, recording.others, recording.lights, roads, route, seen, height=height)
