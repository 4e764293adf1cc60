"""What a scenario description has no place for, kept under ``metadata["wetoolkit"]`` so that our own files come back as they were.

Other programs ignore it. It holds: the ego's body and its states beyond pose and velocity, roadblocks and all areas that are no
lane's, who is whose neighbour, the route, and what the data could not tell. Where it is missing, the reader derives all of that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from wetoolkit_driving.types import AreaKind, Ego, Vehicle, World

from wetoolkit.errors import DataError, ValidationError
from wetoolkit_logs import __version__
from wetoolkit_logs.recording import Recording
from wetoolkit_logs.roads import Lane, Roads, points_of

Double = NDArray[np.float64]
KEY = "wetoolkit"
BLOCKS = (AreaKind.ROADBLOCK, AreaKind.ROADBLOCK_CONNECTOR)


def kept(world: World, origin: Sequence[float]) -> dict[str, Any]:
    """Builtins and numpy arrays; ``origin`` [3] is what turns the world's coordinates into the file's, metres."""
    road, place = world.map, np.array(origin[:2])
    free = np.setdiff1d(np.arange(len(road.area_ids)), road.lane_area)  # areas that are no lane's polygon
    row = np.full(len(road.area_ids) + 1, -1)  # the last for "none"
    row[free] = np.arange(len(free))
    return {
        "version": f"wetoolkit-logs {__version__}",
        "vehicle": asdict(world.ego.vehicle),
        "ego": world.ego.states[:, 3:].astype(np.float64),  # [T, 8] from the speed on
        "areas": [
            {"id": road.area_ids[i], "kind": AreaKind(road.area_kind[i]).name, "polygon": road.area(i) + place}
            for i in free.tolist()
        ],
        "roadblock": row[road.lane_roadblock],  # [L] row of ``areas``, -1 for none
        "left": road.lane_left.astype(np.int64),  # [L] lane, -1 for none
        "right": road.lane_right.astype(np.int64),
        "route": [road.lane_ids[lane] for lane in world.route.tolist()],
        "height": float(origin[2]),  # of the ground
        "unavailable": list(world.unavailable),
    }  # fmt: skip


def vehicle_of(recording: Recording) -> Vehicle:
    """The ego's body."""
    found = Vehicle(**{str(name): float(value) for name, value in recording.extras["vehicle"].items()})
    try:
        found.validate()
    except ValidationError as error:
        raise _wrong(recording, "vehicle", error.what) from error
    return found


def ego_of(recording: Recording, vehicle: Vehicle) -> Ego | None:
    """The ego as it was; None where the file was resampled, so that its states must be derived again."""
    more = np.asarray(recording.extras["ego"], np.float64)
    if "resampled_to_10_hz" in recording.counts:
        return None
    if more.shape != (recording.steps, 8) or not np.isfinite(more).all():
        raise _wrong(recording, "ego", f"shape {more.shape} where [{recording.steps}, 8] finite numbers were due")
    track = recording.ego
    pose = track.pose.copy()
    pose[:, 0] -= vehicle.rear_to_center * np.cos(pose[:, 2])
    pose[:, 1] -= vehicle.rear_to_center * np.sin(pose[:, 2])
    states = np.where(track.valid[:, None], np.hstack([pose, more]), 0.0)
    return Ego(states, track.valid, vehicle)


def roads_of(recording: Recording, lanes: Mapping[str, Mapping[str, Any]]) -> Roads:
    """The roads as they were; ``lanes`` are the lane features of the file, in order."""
    extras, count = recording.extras, len(lanes)
    areas = [(str(a["id"]), AreaKind[str(a["kind"])], shapely.Polygon(points_of(a["polygon"]))) for a in extras["areas"]]
    block = _index(recording, "roadblock", count, len(areas))
    left, right = _index(recording, "left", count, count), _index(recording, "right", count, count)
    used = np.unique(block[block >= 0])
    number = {int(row): k for k, row in enumerate(used)}
    at = {name: i for i, name in enumerate(lanes)}
    found = tuple(
        Lane(
            name, points_of(f["polyline"]), shapely.Polygon(points_of(f["polygon"])), lane_kind(f),
            float(f.get("speed_limit_kmh") or 0) / 3.6, tuple(at[str(onto)] for onto in f["exit_lanes"] if str(onto) in at),
            int(left[i]), int(right[i]), number.get(int(block[i]), -1),
        )
        for i, (name, f) in enumerate(lanes.items())
    )  # fmt: skip
    others = tuple(area for row, area in enumerate(areas) if row not in number)
    missing = tuple(str(name) for name in extras["unavailable"])
    return Roads(found, tuple(areas[row][1:] for row in used.tolist()), shapely.Polygon(), others, missing)


def route_of(recording: Recording, roads: Roads) -> tuple[int, ...]:
    """The route as lane indices."""
    at = {lane.id: i for i, lane in enumerate(roads.lanes)}
    unknown = [name for name in map(str, recording.extras["route"]) if name not in at]
    if unknown:
        raise _wrong(recording, "route", f"a lane {unknown[0]!r} that the map does not hold")
    return tuple(at[str(name)] for name in recording.extras["route"])


def lane_kind(feature: Mapping[str, Any]) -> AreaKind:
    """Lane or connector, by the type that nuPlan conversions use for connectors."""
    return AreaKind.LANE_CONNECTOR if feature["type"] == "LANE_SURFACE_UNSTRUCTURE" else AreaKind.LANE


def _index(recording: Recording, name: str, count: int, bound: int) -> NDArray[np.int64]:
    found = np.asarray(recording.extras[name], np.int64)
    if found.shape != (count,) or (count and (found.min() < -1 or found.max() >= bound)):
        raise _wrong(recording, name, f"{found.shape} indices where {count} below {bound} were due")
    return found


def _wrong(recording: Recording, name: str, what: str) -> DataError:
    return DataError(what, file=recording.file, field=f"metadata.{KEY}.{name}",
                     way_out=f"convert the scene again, or remove metadata.{KEY} from the file")  # fmt: skip
