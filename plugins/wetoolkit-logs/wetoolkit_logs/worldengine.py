"""Dataset `worldengine`: scenes of World Engine's ``all_scenarios.pkl``, or of the single files that it is merged from.

A file is a dict of scenes by name. A scene is of ScenarioDescription's family with other names for some keys and more of them:
tracks under ``object_track``, 20 Hz frames counted by ``log_length`` and ``sample_rate``, the recording car under ``sdc_id``,
lights under ``traffic_light_state``. It is brought into ScenarioDescription's words and read by the same code. The ego's path,
usually recorded at 2 Hz, is filled in by cubic splines, everybody else's by straight lines.
"""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.interpolate import CubicSpline

from wetoolkit.errors import DataError
from wetoolkit_logs import motion, scenes
from wetoolkit_logs.index import Source
from wetoolkit_logs.recording import DT, Recording, blamed, parse
from wetoolkit_logs.scenes import SceneConfig, SceneDataset
from wetoolkit_logs.unpickle import load
from wetoolkit_logs.window import SceneData

Double = NDArray[np.float64]
MERGED = "all_scenarios.pkl"
FRAME = 0.05  # seconds, of which ``sample_rate`` make a step
SPLINE = 4  # positions that a spline needs at least
SAID: Mapping[str, str] = {
    "tracks": "object_track",
    "length": "log_length",
    "metadata.ts": "sample_rate",
    "metadata.sdc_id": "sdc_id",
}


class WorldEngineConfig(SceneConfig):
    """Where the scenes are, how they are split and cut."""

    folder: str = Field(description=f"folder of {MERGED} (or of single scenes), or the file; ~ and $VARIABLES are filled in")


class WorldEngine(SceneDataset[WorldEngineConfig]):
    """Windows of scenes, many of them a file. The last file opened stays in memory."""

    name = "worldengine"
    format = "World Engine scenario pickles"
    licence = "that of the logs that were converted (nuPlan: CC BY-NC-SA 4.0 and its terms of use, not for commercial use)"

    def __init__(self, config: WorldEngineConfig) -> None:
        super().__init__(config)
        self._opened: tuple[Path, Mapping[str, Any]] | None = None

    @classmethod
    def recognise(cls, path: Path) -> Mapping[str, Any] | None:
        """A folder with ``all_scenarios.pkl`` in it or in its subfolders, or such a file."""
        found = path if path.is_file() else next(path.rglob(MERGED), None)
        if found is None or found.name != MERGED:
            return None
        with found.open("rb") as file:
            return {"folder": str(path)} if file.read(1) == pickle.PROTO else None

    def sources(self) -> list[Source]:
        """The scenes of all files; single files are read only where there is no merged one."""
        paths = (
            [self._folder] if self._folder.is_file() else sorted(self._folder.rglob(MERGED)) or sorted(self._folder.rglob("*.pkl"))
        )
        if not paths:
            raise DataError(f"no {MERGED} in it", file=str(self._folder), field="folder",
                            way_out=f"set `folder` to where {MERGED} is")  # fmt: skip
        return [source for path in paths for source in self._listed(path)]

    def _listed(self, path: Path) -> list[Source]:
        try:
            names = list(self._scenes_of(path))
        except DataError:
            return [Source(self._label(path), (path,))]  # ``parse`` tells why
        return [Source(f"{self._label(path)}/{name}", (path,)) for name in names]

    def _label(self, path: Path) -> str:
        return path.name if self._folder.is_file() else path.relative_to(self._folder).as_posix()

    def _scenes_of(self, path: Path) -> Mapping[str, Any]:
        if self._opened is None or self._opened[0] != path:
            self._opened = None  # so that two never are in memory
            self._opened = path, _scenes(load(path, self.config.file_limit << 20), path)
        return self._opened[1]

    def parse(self, source: Source) -> Recording:
        """One scene of a file."""
        path = source.files[0]
        return read(self._scenes_of(path)[source.name.removeprefix(f"{self._label(path)}/")], source.name)

    def prepared(self, recording: Recording) -> SceneData:
        """With the ego's rear axle from its box centre; nothing in these files is known to need repair."""
        counts = Counter(recording.counts)
        vehicle = motion.vehicle_of(recording, False, False, counts)
        ego = motion.ego_of(recording, vehicle, False, False, counts)
        return scenes.prepare(recording, ego, recording.others, self.config, False, counts)

    def sensed(self) -> str:
        """The files hold calibrations only."""
        return "calibrations, which are not read: images and sweeps are in the folders of the logs that were converted"


def _scenes(raw: Any, path: Path) -> Mapping[str, Any]:
    """Errors: ``DataError`` where the file is no dict of scenes by name."""
    if isinstance(raw, Mapping) and raw and all(isinstance(name, str) and isinstance(one, Mapping) for name, one in raw.items()):
        return raw
    what = "no scene" if isinstance(raw, Mapping) and not raw else f"a {type(raw).__name__} where a dict of scenes by name was due"
    raise DataError(what, file=str(path), way_out="convert the scenes again, or leave the file out")


def read(raw: Mapping[str, Any], file: str) -> Recording:
    """The recording in a scene. Errors: ``DataError`` naming the scene and the field by its own name."""
    try:
        with blamed(file):
            recording = parse(_translated(raw), file)
            return replace(recording, ego=_smooth(recording, raw))
    except DataError as error:
        field = str(error.context.get("field", ""))
        said = next((ours for ours in SAID if field == ours or field.startswith(f"{ours}.")), "")
        context = {**error.context, "field": SAID.get(said, "") + field.removeprefix(said)}
        raise DataError(error.what, way_out=error.way_out, **context) from error


def _translated(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The scene in ScenarioDescription's words; what is missing stays missing."""
    length, rate = int(raw.get("log_length") or 0), float(raw.get("sample_rate") or 0)
    lights = {name: _light(light) for name, light in (raw.get("dynamic_map_states") or {}).items()}
    metadata = {"sdc_id": raw.get("sdc_id", "ego"), "ts": FRAME * rate * np.arange(length), "dataset": raw.get("dataset", "")}
    same = {key: raw[key] for key in ("id", "map_features") if key in raw}
    tracks = {"tracks": raw["object_track"]} if "object_track" in raw else {}
    return {**same, **tracks, "length": length, "metadata": metadata, "dynamic_map_states": lights}


def _light(raw: Any) -> Any:
    if not isinstance(raw, Mapping) or not isinstance(raw.get("state"), Mapping):
        return raw
    said = raw["state"].get("traffic_light_state", ())
    lane = raw.get("traffic_light_lane")
    return {"state": {"object_state": said}, **({} if lane is None else {"lane": lane})}


def _smooth(recording: Recording, raw: Mapping[str, Any]) -> Any:
    """The ego's track with its poses between the file's own steps on cubic splines through each unbroken stretch."""
    ego, step = recording.ego, FRAME * float(raw["sample_rate"])
    if "resampled_to_10_hz" not in recording.counts or step <= DT:
        return ego
    state = raw["object_track"][ego.id]["state"]
    valid = np.asarray(state["valid"], np.float64).reshape(-1) > 0.5
    told = np.hstack([np.asarray(state["position"], np.float64)[:, :2], np.asarray(state["heading"], np.float64).reshape(-1, 1)])
    valid &= np.isfinite(told).all(1)
    times, pose = DT * np.arange(recording.steps), ego.pose.copy()
    for start, stop in motion.runs(valid):
        if stop - start < SPLINE:
            continue
        own = step * np.arange(start, stop)
        inside = (times >= own[0] - 1e-9) & (times <= own[-1] + 1e-9)
        turned = told[start:stop] * [1, 1, 0] + np.unwrap(told[start:stop, 2])[:, None] * [0, 0, 1]
        pose[inside] = CubicSpline(own, turned)(times[inside])
    pose[:, 2] = (pose[:, 2] + np.pi) % (2 * np.pi) - np.pi
    return replace(ego, pose=np.where(ego.valid[:, None], pose, 0.0))
