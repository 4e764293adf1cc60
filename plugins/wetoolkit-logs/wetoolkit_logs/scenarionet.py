"""Dataset `scenarionet`: windows of ScenarioNet/MetaDrive scenario files, repaired and counted.

A folder of ``*.pkl`` files (subfolders included), each one scene in MetaDrive's ScenarioDescription; ``dataset_summary.pkl`` and
``dataset_mapping.pkl`` are neither needed nor trusted, since they may name fewer or other scenes than there are. docs/data.md
tells what is done to the data.
"""

from __future__ import annotations

import os
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal

from pydantic import Field
from wetoolkit_driving.types import World

from wetoolkit.config import Config
from wetoolkit.errors import DataError, UnknownName
from wetoolkit.registry import config_hash
from wetoolkit.types import Clock, Lineage, Ref, Scenario, Step
from wetoolkit_logs import __version__, motion, roads, route
from wetoolkit_logs.index import Head, assign, present_steps, scan, scene_files, unique
from wetoolkit_logs.recording import DT, Recording, blamed, read
from wetoolkit_logs.window import SceneData, cut


class ScenarioNetConfig(Config):
    """Where the files are, how they are split and cut, and what is repaired."""

    folder: str = Field(description="folder of ScenarioNet pickles; ~ and $VARIABLES are filled in")
    splits: dict[str, list[str] | float] = Field(
        default={"train": 0.7, "val": 0.1, "test": 0.2},
        min_length=1,
        description="split -> scene ids or file names (wildcards allowed), or the fraction of the scenes that no list names",
    )
    seed: int = Field(0, ge=0, description="seed by which scenes fall into splits given as fractions [1]")
    history: float = Field(2.0, ge=0, le=60, description="recorded time before now in a window [s]")
    future: float = Field(8.0, gt=0, le=600, description="recorded time after now in a window [s]")
    stride: float = Field(0.5, ge=0.1, le=600, description="time between the windows of a scene [s]")
    radius: float = Field(120.0, ge=30, le=1000, description="the map reaches so far beyond the box around the ego's path [m]")
    half_width: float = Field(1.75, gt=0.5, le=5, description="centre lines without polygon are widened by this to each side [m]")
    gap: float = Field(0.5, ge=0, le=2, description="where no outline of the road is given, gaps up to twice this are closed [m]")
    repairs: Literal["auto", "nuscenes", "none"] = Field(
        "auto", description="repairs of nuScenes conversions: `auto` by the dataset that each file names"
    )
    reference: Literal["auto", "rear-axle", "centre"] = Field(
        "auto",
        description="what the ego's positions are in the files: `auto` is the rear axle for nuScenes and the centre elsewhere",
    )
    bad_files: Literal["count", "error"] = Field("count", description="files that cannot be read are counted by name, or an error")
    file_limit: int = Field(1024, ge=1, description="larger files are not read [MB]")
    keep: int = Field(8, ge=1, description="so many parsed scenes stay in memory [1]")
    cache: bool = Field(True, description="remember what the index needs of each file in the user's cache folder")


class ScenarioNet:
    """Windows of scenes. Ids are ``scenarionet/<scene>/<step>``; the log, by which intervals are clustered, is the scene."""

    def __init__(self, config: ScenarioNetConfig) -> None:
        self.config = config
        self._folder = Path(os.path.expandvars(config.folder)).expanduser()
        self._history, self._future = round(config.history / DT), round(config.future / DT)
        self._heads: dict[str, Head] = {}
        self._left_out: list[str] = []
        self._scenes: OrderedDict[str, SceneData] = OrderedDict()
        self._asked: dict[str, None] = {}

    def __reduce__(self) -> tuple[object, ...]:
        # Workers get the config and parse what they need.
        return ScenarioNet, (self.config,)

    def splits(self) -> Sequence[str]:
        """Names as in the config."""
        return tuple(self.config.splits)

    def index(self, split: str) -> Sequence[Ref]:
        """Every window of the split's scenes. Errors: ``UnknownName``; ``DataError`` where the split is empty."""
        config = self.config
        if split not in config.splits:
            raise UnknownName("split", split, config.splits, dataset="scenarionet")
        scenes = assign(self._known(), config.splits, config.seed)[split]
        refs = [Ref(f"scenarionet/{scene}/{now}", split, scene) for scene in scenes for now in self._steps(scene)]
        if not refs:
            raise DataError(
                f"split {split!r} is empty: {len(scenes)} of {len(self._heads)} scenes fall into it, none with a window of "
                f"{config.history:g} + {config.future:g} s",
                file=str(self._folder),
                left_out="; ".join(self._left_out),
                way_out="name scenes in `splits`, or shorten `history` and `future`",
            )
        self._asked.update(dict.fromkeys(scenes))
        return refs

    def load(self, ref: Ref) -> Scenario[World]:
        """One window, validated. Errors: ``DataError`` where its file cannot be read or the id is none of this folder's."""
        scene, now = self._address(ref)
        data = self._scene(scene)
        world, origin = cut(data, now, self._history, self._future, self.config.radius)
        step = Step("dataset/scenarionet", f"wetoolkit-logs {__version__}", config_hash(self.config))
        lineage = Lineage(f"scenarionet/{data.dataset}" if data.dataset else "scenarionet", scene, ref.id, (step,))
        clock = Clock(DT, self._history, world.steps)
        scenario = Scenario(ref.id, "driving", ref.split, scene, clock, origin, lineage, world)
        scenario.validate()
        return scenario

    def files(self) -> Sequence[Path]:
        """The scene files."""
        return scene_files(self._folder)

    def repairs(self) -> Mapping[str, int]:
        """What was mended or left out -> how often, over the scenes of the splits indexed so far (each scene once).

        A scene whose content cannot be used is named; its windows fail one by one when they are loaded.
        """
        total: Counter[str] = Counter(dict.fromkeys(self._left_out, 1))
        for scene in self._asked:
            total["scenes_too_short_for_a_window"] += not self._steps(scene)
            try:
                counts = self._scene(scene).counts
            except DataError as error:
                total[f"scene_unusable/{scene}: {error.what}"] = 1
                continue
            total.update(counts)
            total["ego_static_windows"] += "ego_static" in counts and len(self._steps(scene))
        return {name: count for name, count in sorted(total.items()) if count}

    def _known(self) -> Mapping[str, Head]:
        if not self._heads:
            found = scan(self._folder, self.config.file_limit << 20, self.config.cache)
            self._heads, self._left_out = unique(found)
        if self._left_out and (self.config.bad_files == "error" or not self._heads):
            raise DataError(
                f"{len(self._left_out)} of {len(self._left_out) + len(self._heads)} files cannot be used",
                file=str(self._folder),
                left_out="; ".join(self._left_out),
                way_out="repair or remove them" + (', or set bad_files = "count"' if self._heads else ""),
            )
        return self._heads

    def _steps(self, scene: str) -> list[int]:
        return present_steps(self._known()[scene], self._history, self._future, max(round(self.config.stride / DT), 1))

    def _address(self, ref: Ref) -> tuple[str, int]:
        """Scene and step of a Ref of this folder."""
        scene, _, step = ref.id.removeprefix("scenarionet/").rpartition("/")
        if scene not in self._known() or not step.isdecimal() or int(step) not in self._steps(scene):
            raise DataError(f"no window {ref.id!r}", file=str(self._folder), way_out="take Refs from index()")
        return scene, int(step)

    def _scene(self, scene: str) -> SceneData:
        """The parsed scene, from memory where it is among the last ``keep`` used."""
        if scene not in self._scenes:
            recording = read(self._folder / self._known()[scene].file, self.config.file_limit << 20)
            with blamed(recording.file):
                self._scenes[scene] = prepare(recording, self.config)
        self._scenes.move_to_end(scene)
        while len(self._scenes) > self.config.keep:
            self._scenes.popitem(last=False)
        return self._scenes[scene]


def prepare(recording: Recording, config: ScenarioNetConfig) -> SceneData:
    """A recording, repaired and with its roads and route."""
    counts = Counter(recording.counts)
    nuscenes = config.repairs == "nuscenes" or (config.repairs == "auto" and "nuscenes" in recording.dataset)
    rear_axle = config.reference == "rear-axle" or (config.reference == "auto" and "nuscenes" in recording.dataset)
    mend = config.repairs != "none"
    vehicle = motion.vehicle_of(recording, nuscenes, mend, counts)
    ego = motion.ego_of(recording, vehicle, rear_axle, mend, counts)
    others = tuple(motion.refit_velocity(track) for track in recording.others) if nuscenes else recording.others
    counts["velocities_refitted"] += len(others) if nuscenes else 0
    counts["ego_static"] += motion.stands_still(ego)
    built = roads.build(recording.features, nuscenes, config.half_width, config.gap, counts)
    driven = route.match(ego.states[ego.valid, :3], built.lanes)
    way = route.extended(route.joined(driven, built.lanes), built.lanes)
    counts["scenes_without_a_route"] += not way
    counts["route_gaps"] += sum(b not in built.lanes[a].next for a, b in pairwise(way))
    seen = {name: count for name, count in counts.items() if count}
    return SceneData(recording.scene, recording.dataset, ego, others, recording.lights, built, tuple(way), seen)
