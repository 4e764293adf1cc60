"""Dataset `argoverse2`: windows of Argoverse 2 sensor logs and motion-forecasting scenarios. docs/formats.md tells what is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wetoolkit_driving.sensors import Sensors

from wetoolkit.errors import DataError
from wetoolkit.types import Ref
from wetoolkit_logs import motion, scenes
from wetoolkit_logs.argoverse2 import sensors, tracks
from wetoolkit_logs.index import Source
from wetoolkit_logs.recording import DT, Recording, blamed
from wetoolkit_logs.scenes import SceneConfig, SceneDataset
from wetoolkit_logs.window import SceneData

POSES = "city_SE3_egovehicle.feather"


class Argoverse2Config(SceneConfig):
    """Where the logs or scenarios are, how they are split and cut."""


class Argoverse2(SceneDataset[Argoverse2Config]):
    """Windows of logs and scenarios, a folder each."""

    name = "argoverse2"
    format = "Argoverse 2 sensor logs and motion-forecasting scenarios"
    licence = "CC BY-NC-SA 4.0 (Argo AI): not for commercial use"

    @classmethod
    def recognise(cls, path: Path) -> Mapping[str, Any] | None:
        """A folder with a log's poses or a scenario's table in it or in its subfolders."""
        if not path.is_dir():
            return None
        found = next(path.rglob(POSES), None) or next(path.rglob("scenario_*.parquet"), None)
        return None if found is None else {"folder": str(path)}

    def sources(self) -> list[Source]:
        """Logs and scenarios by path."""
        if not self._folder.is_dir():
            raise DataError("no such folder", file=str(self._folder), field="folder", way_out="set `folder` to where the logs are")
        heads = [*self._folder.rglob(POSES), *self._folder.rglob("scenario_*.parquet")]
        if not heads:
            raise DataError("neither a log nor a scenario in it", file=str(self._folder), field="folder",
                            way_out=f"set `folder` to where {POSES} or scenario_*.parquet are")  # fmt: skip
        return [self._listed(head) for head in sorted(heads)]

    def _listed(self, head: Path) -> Source:
        place = head.parent
        maps = sorted([*place.glob("log_map_archive_*.json"), *place.glob("map/log_map_archive_*.json")])[:1]
        boxes = sorted(place.glob("annotations*.feather"))[:1] if head.name == POSES else []
        return Source(place.relative_to(self._folder).as_posix(), (head, *boxes, *maps))

    def parse(self, source: Source) -> Recording:
        """A log or a scenario."""
        files, limit = source.files, self.config.file_limit << 20
        archive = next((file for file in files if file.suffix == ".json"), None)
        boxes = next((file for file in files if file.name.startswith("annotations")), None)
        if archive is None:
            raise DataError("no map", file=source.name, field="log_map_archive_*.json", way_out="fetch the log again")
        with blamed(source.name):
            if files[0].name != POSES:
                return tracks.scenario(files[0], archive, limit)
            if boxes is None:
                raise DataError("no boxes", file=source.name, field="annotations.feather", way_out="fetch the log again")
            return tracks.log(boxes, files[0], archive, limit)

    def sensors(self, ref: Ref, cameras: Sequence[str] | None = None, steps: Sequence[int] | None = None) -> Sensors:
        """Images and sweeps of a window or of a whole recording; none for scenarios. Errors: ``DataError``, ``UnknownName``."""
        scene, now, start, stop = self._stretch(ref)
        head, data = self._sources[self._known()[scene].file].files[0], self._scene(scene)
        if head.name != POSES or data.height is None:
            return Sensors((), (), ())
        x, y = data.ego.states[now, :2].tolist()
        begin = data.begin + round(start * DT * 1e9)
        span = sensors.Span(begin, (stop - 1 - start) * DT, (x, y, float(data.height[now])))
        return sensors.sensors(head.parent, head, span, cameras, self.config.file_limit << 20).during(steps)

    def sensed(self) -> str:
        """Cameras and lidar, by the logs that have any."""
        logs = [names for source in self.sources() if (names := sensors.names(source.files[0].parent))]
        kinds = sorted({name for found in logs for name in found})
        return f"{', '.join(kinds)} in {len(logs)} logs" if logs else "none"

    def prepared(self, recording: Recording) -> SceneData:
        """The ego's states from its rear axle, which is the origin of its frame; the map as it is."""
        counts = Counter(recording.counts)
        ego = motion.ego_of(recording, tracks.FUSION, True, False, counts)
        return scenes.prepare(recording, ego, recording.others, self.config, False, counts)
