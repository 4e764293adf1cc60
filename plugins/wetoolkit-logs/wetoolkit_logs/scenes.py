"""What every reader of recorded scenes shares: splits, windows, the last scenes in memory, counts, inspection.

A format adds how its folder lists scenes (``sources``) and how one of them becomes a ``Recording`` (``parse``) and a ``SceneData``
(``prepared``); windows and whole recordings are then cut by the same code.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import ClassVar, Generic, Literal, TypeVar

from pydantic import Field
from wetoolkit_driving.types import AgentClass, Ego, World

from wetoolkit.config import Config
from wetoolkit.errors import DataError, UnknownName
from wetoolkit.registry import config_hash
from wetoolkit.types import Clock, Defect, Lineage, Ref, Scenario, Step
from wetoolkit_logs import __version__, motion, roads, route
from wetoolkit_logs.index import Head, Source, assign, present_steps, scan, unique
from wetoolkit_logs.recording import DT, Recording, Track, blamed
from wetoolkit_logs.window import SceneData, cut

LOOKED_AT = 8  # scenes that ``inspect`` opens to tell classes and map


class SceneConfig(Config):
    """Where the scenes are, how they are split and cut."""

    folder: str = Field(description="folder of the recordings; ~ and $VARIABLES are filled in")
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
    bad_files: Literal["count", "error"] = Field("count", description="files that cannot be read are counted by name, or an error")
    file_limit: int = Field(1024, ge=1, description="larger files are not read [MB]")
    keep: int = Field(8, ge=1, description="so many parsed scenes stay in memory [1]")
    cache: bool = Field(True, description="remember what the index needs of each file in the user's cache folder")


C = TypeVar("C", bound=SceneConfig)


class SceneDataset(ABC, Generic[C]):
    """Windows of scenes. Ids are ``<name>/<scene>/<step>``; the log, by which intervals are clustered, is the scene."""

    name: ClassVar[str]  # the dataset's
    format: ClassVar[str]  # for `wetool data inspect`
    licence: ClassVar[str]

    def __init__(self, config: C) -> None:
        self.config = config
        self._folder = Path(os.path.expandvars(config.folder)).expanduser()
        self._history, self._future = round(config.history / DT), round(config.future / DT)
        self._heads: dict[str, Head] = {}
        self._sources: dict[str, Source] = {}
        self._left_out: list[str] = []
        self._scenes: OrderedDict[str, SceneData] = OrderedDict()
        self._asked: dict[str, None] = {}

    def __reduce__(self) -> tuple[object, ...]:
        # Workers get the config and parse what they need.
        return type(self), (self.config,)

    @abstractmethod
    def sources(self) -> list[Source]:
        """The scenes of the folder by path. Errors: ``DataError`` where there is none."""

    @abstractmethod
    def parse(self, source: Source) -> Recording:
        """What the files of a scene say. Errors: ``DataError`` naming file and field."""

    @abstractmethod
    def prepared(self, recording: Recording) -> SceneData:
        """The recording, repaired and with its roads and route."""

    def splits(self) -> Sequence[str]:
        """Names as in the config."""
        return tuple(self.config.splits)

    def index(self, split: str) -> Sequence[Ref]:
        """Every window of the split's scenes. Errors: ``UnknownName``; ``DataError`` where the split is empty."""
        config, scenes = self.config, self._split(split)
        refs = [Ref(f"{self.name}/{scene}/{now}", split, scene) for scene in scenes for now in self._steps(scene)]
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
        return self._scenario(ref, scene, now, self._history, self._future)

    def recordings(self, split: str) -> Sequence[Ref]:
        """One Ref a scene of the split in which the ego is known for two steps at least."""
        return [Ref(scene, split, scene) for scene in self._split(split) if self._span(scene)[1] - self._span(scene)[0] > 1]

    def recording(self, ref: Ref) -> Scenario[World]:
        """The longest stretch of a scene in which the ego is known, its present at the first step; the map within ``radius``."""
        if ref.id not in self._known():
            raise DataError(f"no recording {ref.id!r}", file=str(self._folder), way_out="take Refs from recordings()")
        start, stop = self._span(ref.id)
        return self._scenario(ref, ref.id, start, 0, stop - start - 1)

    def files(self) -> Sequence[Path]:
        """The files of all scenes."""
        return [file for source in self.sources() for file in source.files]

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

    def inspect(self) -> Mapping[str, str]:
        """Facts by name. Classes, map and signals are those of the first eight scenes."""
        heads = self._known()
        seen = [scene for scene in islice(heads, LOOKED_AT) if self._usable(scene)]
        scenes = [self._scene(scene) for scene in seen]
        kinds = Counter(AgentClass(track.kind).name.lower() for data in scenes for track in data.others)
        seconds = sum((stop - start) * DT for head in heads.values() for start, stop in head.runs)
        return {
            "format": self.format,
            "logs": f"{len(heads)} readable, {len(self._left_out)} not",
            "windows": str(sum(len(self._steps(scene)) for scene in heads)),
            "recorded": f"{seconds:.1f} s with the ego known, at 10 Hz",
            f"classes (in {len(scenes)} scenes)": ", ".join(f"{kind} {count}" for kind, count in kinds.most_common()) or "none",
            "map": f"{sum(len(data.roads.lanes) for data in scenes)} lanes in these",
            "signals": f"{sum(len(data.lights) for data in scenes)} in these",
            "recorded for": ", ".join(sorted({data.dataset for data in scenes if data.dataset})) or "not told",
            "sensors": self.sensed(),
            "licence": self.licence,
        }

    def sensed(self) -> str:
        """What sensor files there are, in words."""
        return "none"

    def defects(self) -> Iterator[Defect]:
        """Everything wrong in the data, scene by scene: files left out, repairs by count, tracks and lanes by name."""
        heads = self._known()
        for reason in self._left_out:
            file, _, what = reason.removeprefix("file_left_out/").partition(": ")
            yield Defect(file, "", what, "skipped")
        for scene, head in heads.items():
            try:
                data = self._scene(scene)
            except DataError as error:
                yield Defect(head.file, str(error.context.get("field", "")), error.what, "refused")
                continue
            yield from (Defect(head.file, "", f"{name}: {count}", "repaired") for name, count in sorted(data.counts.items()))
            yield from self._loose(head.file, data)

    def _loose(self, file: str, data: SceneData) -> Iterator[Defect]:
        for track in data.others:
            if track.valid.sum() == 1:
                yield Defect(file, f"track {track.id}", "seen in one step only", "repaired")
            if min(track.size) <= 0:
                yield Defect(file, f"track {track.id}", "a box without extent gets its class's usual size", "repaired")
        reached = {j for lane in data.roads.lanes for j in lane.next}
        for i, lane in enumerate(data.roads.lanes):
            if not lane.next and i not in reached:
                yield Defect(file, f"lane {lane.id}", "joins no other lane", "repaired")

    def _usable(self, scene: str) -> bool:
        try:
            self._scene(scene)
        except DataError:
            return False
        return True

    def _scenario(self, ref: Ref, scene: str, now: int, history: int, future: int) -> Scenario[World]:
        data = self._scene(scene)
        world, origin = cut(data, now, history, future, self.config.radius)
        step = Step(f"dataset/{self.name}", f"wetoolkit-logs {__version__}", config_hash(self.config))
        source = self.name if data.dataset in ("", self.name) else f"{self.name}/{data.dataset}"
        lineage = Lineage(source, scene, ref.id, (step,))
        scenario = Scenario(ref.id, "driving", ref.split, scene, Clock(DT, history, world.steps), origin, lineage, world)
        scenario.validate()
        return scenario

    def _split(self, split: str) -> list[str]:
        if split not in self.config.splits:
            raise UnknownName("split", split, self.config.splits, dataset=self.name)
        return assign(self._known(), self.config.splits, self.config.seed)[split]

    def _known(self) -> Mapping[str, Head]:
        if not self._heads:
            sources = self.sources()
            self._sources = {source.name: source for source in sources}
            found = scan(self._folder, sources, self.parse, self.name if self.config.cache else "")
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

    def _span(self, scene: str) -> tuple[int, int]:
        """The longest stretch [start, stop) in which the ego is known."""
        return max(self._known()[scene].runs, key=lambda run: run[1] - run[0])

    def _stretch(self, ref: Ref) -> tuple[str, int, int, int]:
        """Scene, present step, first step and the one after the last, of a window or of a whole recording."""
        if ref.id in self._known():
            start, stop = self._span(ref.id)
            return ref.id, start, start, stop
        scene, now = self._address(ref)
        return scene, now, now - self._history, now + self._future + 1

    def _address(self, ref: Ref) -> tuple[str, int]:
        """Scene and step of a Ref of this folder."""
        scene, _, step = ref.id.removeprefix(f"{self.name}/").rpartition("/")
        if scene not in self._known() or not step.isdecimal() or int(step) not in self._steps(scene):
            raise DataError(f"no window {ref.id!r}", file=str(self._folder), way_out="take Refs from index()")
        return scene, int(step)

    def _scene(self, scene: str) -> SceneData:
        """The parsed scene, from memory where it is among the last ``keep`` used."""
        if scene not in self._scenes:
            recording = self.parse(self._sources[self._known()[scene].file])
            with blamed(recording.file):
                self._scenes[scene] = self.prepared(recording)
        self._scenes.move_to_end(scene)
        while len(self._scenes) > self.config.keep:
            self._scenes.popitem(last=False)
        return self._scenes[scene]


def prepare(
    recording: Recording, ego: Ego, others: tuple[Track, ...], config: SceneConfig, nuscenes: bool, counts: Counter[str]
) -> SceneData:
    """The repaired bodies of a recording with its roads and its route; ``nuscenes``: its map was made by that converter."""
    counts["ego_static"] += motion.stands_still(ego)
    built = roads.build(recording.features, nuscenes, config.half_width, config.gap, counts)
    driven = route.match(ego.states[ego.valid, :3], built.lanes)
    way = route.extended(route.joined(driven, built.lanes), built.lanes)
    counts["scenes_without_a_route"] += not way
    counts["route_gaps"] += sum(b not in built.lanes[a].next for a, b in pairwise(way))
    seen = {name: count for name, count in counts.items() if count}
    return SceneData(recording.scene, recording.dataset, ego, others, recording.lights, built, tuple(way), seen,
                     recording.begin, recording.height)  # fmt: skip
