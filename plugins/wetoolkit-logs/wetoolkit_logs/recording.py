"""One ScenarioNet file as plain, checked arrays at 10 Hz: tracks, lights and raw map features.

The format is MetaDrive's ScenarioDescription: a dict with ``id``, ``length``, ``metadata``, ``tracks``, ``dynamic_map_states``
and ``map_features`` (docs of scenarionet.readthedocs.io, "ScenarioDescription"). Everything that had to be mended is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from wetoolkit_driving.types import AgentClass, Signal

from wetoolkit.errors import DataError, WetoolkitError
from wetoolkit_logs.unpickle import load

Double = NDArray[np.float64]
Bool = NDArray[np.bool_]

DT = 0.1  # seconds per step of everything this reader yields
LONGEST = 24 * 3600.0  # seconds a recording may span; time stamps in a wrong unit would fill the memory
LANES = ("LANE_SURFACE_STREET", "LANE_SURFACE_UNSTRUCTURE", "LANE_UNKNOWN", "LANE_FREEWAY")
CLASSES: Mapping[str, AgentClass] = {
    "VEHICLE": AgentClass.VEHICLE,
    "PEDESTRIAN": AgentClass.PEDESTRIAN,
    "CYCLIST": AgentClass.BICYCLE,
    "TRAFFIC_CONE": AgentClass.TRAFFIC_CONE,
    "TRAFFIC_BARRIER": AgentClass.BARRIER,
}  # any other type is a generic object
SIZES: Mapping[AgentClass, tuple[float, float, float]] = {
    AgentClass.VEHICLE: (4.6, 1.9, 1.7),
    AgentClass.PEDESTRIAN: (0.7, 0.7, 1.8),
    AgentClass.BICYCLE: (1.7, 0.6, 1.3),
}  # length, width, height in metres, only for boxes recorded without extent; (0.5, 0.5, 1) for the rest
LIGHTS: Mapping[str, Signal] = {
    **dict.fromkeys(("LANE_STATE_STOP", "LANE_STATE_ARROW_STOP", "TRAFFIC_LIGHT_RED"), Signal.RED),
    **dict.fromkeys(
        ("LANE_STATE_CAUTION", "LANE_STATE_ARROW_CAUTION", "LANE_STATE_FLASHING_CAUTION", "TRAFFIC_LIGHT_YELLOW"), Signal.YELLOW
    ),
    **dict.fromkeys(("LANE_STATE_GO", "LANE_STATE_ARROW_GO", "TRAFFIC_LIGHT_GREEN"), Signal.GREEN),
}  # any other state is unknown (MetaDriveType.simplify_light_status)


@dataclass(frozen=True)
class Track:
    """One body over T steps of 0.1 s. What is not valid holds zeros."""

    id: str
    kind: AgentClass
    pose: Double  # [T, 3] x, y metres in the file's frame, heading [-pi, pi)
    velocity: Double  # [T, 2] m/s in the file's axes
    valid: Bool  # [T]
    size: tuple[float, float, float]  # length, width, height in metres; zeros where the file has none


@dataclass(frozen=True)
class Recording:
    """A whole scene: what a file says, resampled to 10 Hz, before any repair of its content."""

    file: str
    scene: str
    dataset: str  # "nuscenes", "waymo", "nuplan", ..., "" where not told
    steps: int  # T
    ego: Track
    others: tuple[Track, ...]
    lights: Mapping[str, NDArray[np.uint8]]  # lane feature id -> [T] Signal
    features: Mapping[str, Mapping[str, Any]]  # map features as in the file
    counts: Mapping[str, int]  # what was mended while reading
    begin: int = 0  # nanoseconds of the first step on the recording's own clock, where sensor files are named by it
    height: Double | None = None  # [T] of the ground under the ego, metres in the file's frame, where known
    extras: Mapping[str, Any] = field(default_factory=dict)  # what our own writer kept (``wetoolkit_logs.kept``)


def read(path: Path, limit: int = 1 << 30) -> Recording:
    """The recording in a file. Errors: ``DataError`` naming file and field where it cannot be used at all."""
    return parse(load(path, limit), path.name)


def parse(raw: Any, file: str) -> Recording:
    """The recording in a ScenarioDescription dict."""
    with blamed(file):
        return _parse(raw, file)


@contextmanager
def blamed(file: str) -> Iterator[None]:
    """Whatever malformed content makes numpy, shapely or this code raise becomes a ``DataError`` that names the file."""
    try:
        yield
    except WetoolkitError:
        raise
    except Exception as error:
        what = f"malformed content ({type(error).__name__}: {error!s:.160})"
        raise DataError(what, file=file, way_out="convert the scene again, or leave the file out of the splits") from error


def _parse(raw: Any, file: str) -> Recording:
    metadata = _entry(raw, "metadata", Mapping, file)
    scene = str(raw.get("id") or metadata.get("scenario_id") or "")
    _check(bool(scene), "no scenario id", "id", file)
    tracks = _entry(raw, "tracks", Mapping, file)
    times = _times(raw, metadata, tracks, file)
    grid = _grid(times)
    counts: Counter[str] = Counter()
    if grid is not times:
        counts["resampled_to_10_hz"] += 1
    features = _entry(raw, "map_features", Mapping, file)
    _check(_has_lanes(features), "a scene without a map: no lane with a centre line", "map_features", file)
    read_tracks = [_track(str(name), track, times, grid, file, counts) for name, track in tracks.items()]
    ego_name = str(metadata.get("sdc_id", ""))
    ego = next((track for track in read_tracks if track.id == ego_name), None)
    if ego is None:
        raise DataError(f"the ego {ego_name!r} is not among the {len(tracks)} tracks", file=file, field="metadata.sdc_id",
                        way_out="name the track of the recording car")  # fmt: skip
    _check(bool(ego.valid.any()), "the ego is known at no step", f"tracks.{ego_name}.state", file)
    others = tuple(track for track in read_tracks if track is not ego and track.valid.any())
    counts["tracks_never_seen"] += len(read_tracks) - len(others) - 1
    counts["one_step_tracks"] += sum(int(track.valid.sum()) == 1 for track in others)
    lights = _lights(raw.get("dynamic_map_states") or {}, times, grid, counts, file)
    dataset = str(metadata.get("dataset", "")).lower()
    extras = metadata.get("wetoolkit", {})
    _check(isinstance(extras, Mapping), f"a {type(extras).__name__}", "metadata.wetoolkit", file)
    seen = {name: count for name, count in counts.items() if count}
    return Recording(file, scene, dataset, len(grid), ego, others, lights, features, seen, extras=extras)


def _check(condition: bool, what: str, field: str, file: str) -> None:
    if not condition:
        raise DataError(what, file=file, field=field, way_out="convert the scene again, or leave the file out of the splits")


def _entry(raw: Any, key: str, kind: type[Any] | tuple[type[Any], ...], file: str) -> Any:
    _check(isinstance(raw, Mapping), f"a {type(raw).__name__}, not a ScenarioDescription dict", key, file)
    _check(key in raw, f"{key!r} is missing", key, file)
    _check(isinstance(raw[key], kind), f"a {type(raw[key]).__name__} where a mapping or array was due", key, file)
    return raw[key]


def _has_lanes(features: Mapping[str, Any]) -> bool:
    return any(isinstance(f, Mapping) and f.get("type") in LANES and len(f.get("polyline", ())) > 1 for f in features.values())


def _array(state: Mapping[str, Any], key: str, steps: int, columns: int, name: str, file: str) -> Double:
    """A state's column(s) as [T, columns] float64."""
    field = f"tracks.{name}.state.{key}"
    _check(key in state, f"{key!r} is missing", field, file)
    try:
        array = np.asarray(state[key], np.float64)
    except (TypeError, ValueError):
        array = np.empty((0, 0))
    array = array[:, None] if array.ndim == 1 else array
    fits = array.ndim == 2 and array.shape[0] == steps and array.shape[1] >= columns
    _check(fits, f"shape {np.shape(state[key])} where [{steps}, {columns}] was due", field, file)
    return array[:, :columns]


def _times(raw: Any, metadata: Mapping[str, Any], tracks: Mapping[str, Any], file: str) -> Double:
    """Seconds [n] of the file's own steps: ``ts`` where given, else by ``sample_rate`` (seconds, or Hz where above 1)."""
    length = int(raw.get("length") or 0)
    stamps = metadata.get("ts")
    if stamps is not None and np.size(stamps):
        times: Double = np.asarray(stamps, np.float64).reshape(-1)
        _check(bool(np.isfinite(times).all() and (np.diff(times) > 0).all()), "time stamps do not rise", "metadata.ts", file)
    else:
        rate = float(metadata.get("sample_rate") or DT)
        _check(np.isfinite(rate) and rate > 0, f"sample rate {rate}", "metadata.sample_rate", file)
        times = np.arange(length, dtype=np.float64) * (rate if rate <= 1 else 1 / rate)
    length = length or len(times)
    _check(length >= 2, f"{length} steps", "length", file)
    _check(len(times) >= length, f"{len(times)} time stamps for {length} steps", "metadata.ts", file)
    span = float(times[length - 1] - times[0])
    _check(span <= LONGEST, f"{span:g} s long: time stamps are seconds", "metadata.ts", file)
    return times[:length]


def _grid(times: Double) -> Double:
    """The 10 Hz times to sample at; ``times`` itself where it is 10 Hz to within 5 ms a step and 50 ms in all."""
    even: Double = times[0] + DT * np.arange(len(times))
    if np.abs(np.diff(times) - DT).max() <= 0.005 and np.abs(times - even).max() <= 0.05:
        return times
    grid: Double = times[0] + DT * np.arange(int(np.floor((times[-1] - times[0]) / DT + 1e-6)) + 1)
    return grid


def _track(name: str, raw: Any, times: Double, grid: Double, file: str, counts: Counter[str]) -> Track:
    _check(isinstance(raw, Mapping) and isinstance(raw.get("state"), Mapping), "no state", f"tracks.{name}", file)
    state, steps = raw["state"], len(times)
    position = _array(state, "position", steps, 2, name, file)
    heading = _array(state, "heading", steps, 1, name, file)
    velocity = _array(state, "velocity", steps, 2, name, file)
    said = _array(state, "valid", steps, 1, name, file)[:, 0] > 0.5
    numbers = np.concatenate([position, heading, velocity], 1)  # [n, 5]
    valid = said & np.isfinite(numbers).all(1)
    counts["nan_poses_marked_invalid"] += int((said & ~valid).sum())
    size = _size(state, valid, name, file)
    if valid.any() and min(size) <= 0:
        counts["boxes_without_extent"] += 1
    numbers = np.where(valid[:, None], numbers, 0.0)
    if grid is not times:
        numbers, valid = _resampled(numbers, valid, times, grid)
    numbers[:, 2] = (numbers[:, 2] + np.pi) % (2 * np.pi) - np.pi
    numbers[~valid] = 0
    return Track(name, _class(raw), numbers[:, :3], numbers[:, 3:], valid, size)


def _class(raw: Mapping[str, Any]) -> AgentClass:
    """By the type, unless our own writer names a class that the format has no type for."""
    kept = raw.get("metadata")
    named = str(kept.get("wetoolkit_class")) if isinstance(kept, Mapping) else ""
    return AgentClass[named] if named in AgentClass.__members__ else CLASSES.get(str(raw.get("type")), AgentClass.GENERIC_OBJECT)


def _size(state: Mapping[str, Any], valid: Bool, name: str, file: str) -> tuple[float, float, float]:
    """Median length, width and height over the valid steps (boxes keep one size here); 0 where the file has none."""
    found = []
    for key in ("length", "width", "height"):
        values = _array(state, key, len(valid), 1, name, file)[valid, 0] if key in state else np.zeros(0)
        values = values[np.isfinite(values) & (values > 0)]
        found.append(float(np.median(values)) if len(values) else 0.0)
    return found[0], found[1], found[2]


def _resampled(numbers: Double, valid: Bool, times: Double, grid: Double) -> tuple[Double, Bool]:
    """Linear in time between two valid neighbours (headings the short way round); elsewhere invalid."""
    after = np.clip(np.searchsorted(times, grid - 1e-6), 1, len(times) - 1)
    before = after - 1
    weight = np.clip((grid - times[before]) / (times[after] - times[before]), 0, 1)[:, None]  # [m, 1]
    weight[weight < 1e-6] = 0
    weight[weight > 1 - 1e-6] = 1
    step = numbers[after] - numbers[before]
    step[:, 2] = (step[:, 2] + np.pi) % (2 * np.pi) - np.pi
    known = (valid[before] | (weight[:, 0] == 1)) & (valid[after] | (weight[:, 0] == 0))
    mixed = np.where(weight == 1, numbers[after], numbers[before] + weight * step)
    return np.where(known[:, None], mixed, 0.0), known


def _lights(states: Any, times: Double, grid: Double, counts: Counter[str], file: str) -> dict[str, NDArray[np.uint8]]:
    """Lane feature id -> [T] Signal; the last state before each grid time holds."""
    _check(isinstance(states, Mapping), f"a {type(states).__name__}", "dynamic_map_states", file)
    last = np.clip(np.searchsorted(times, grid + 1e-6, side="right") - 1, 0, len(times) - 1)
    found: dict[str, NDArray[np.uint8]] = {}
    for name, light in states.items():
        _check(isinstance(light, Mapping), f"a {type(light).__name__}", f"dynamic_map_states.{name}", file)
        said: Sequence[Any] = light.get("state", {}).get("object_state", ())
        if len(said) < len(times):
            counts["lights_of_wrong_length"] += 1
            said = [*said, *[None] * (len(times) - len(said))]
        codes = np.array([LIGHTS.get(str(text), Signal.UNKNOWN) for text in said], np.uint8)
        found[str(light.get("lane", name))] = codes[last]
    return found
