"""A recording as a ScenarioDescription: what ScenarioNet and MetaDrive read, in builtins and numpy arrays.

The format's conventions: right-handed metres in the log's frame, positions are box centres (the recording car's too), arrays have
one row a step, zeros where a track is not valid. What the format cannot say is added beside it (``wetoolkit_logs.kept``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from wetoolkit_driving.geometry import ego_center
from wetoolkit_driving.types import AgentClass, AreaKind, RoadMap, Signal, World

from wetoolkit.errors import DataError
from wetoolkit.types import Scenario
from wetoolkit_logs import __version__, kept
from wetoolkit_logs.motion import runs

Double = NDArray[np.float64]
Bool = NDArray[np.bool_]
Described = dict[str, Any]

TYPES: Mapping[AgentClass, str] = {
    AgentClass.VEHICLE: "VEHICLE",
    AgentClass.PEDESTRIAN: "PEDESTRIAN",
    AgentClass.BICYCLE: "CYCLIST",
    AgentClass.TRAFFIC_CONE: "TRAFFIC_CONE",
    AgentClass.BARRIER: "TRAFFIC_BARRIER",
    AgentClass.CZONE_SIGN: "TRAFFIC_OBJECT",
    AgentClass.GENERIC_OBJECT: "TRAFFIC_OBJECT",
}  # the class itself is kept in the track's metadata
LIGHTS: Mapping[Signal, str] = {
    Signal.UNKNOWN: "LANE_STATE_UNKNOWN",
    Signal.GREEN: "LANE_STATE_GO",
    Signal.YELLOW: "LANE_STATE_CAUTION",
    Signal.RED: "LANE_STATE_STOP",
}
AREAS: Mapping[AreaKind, str] = {
    AreaKind.CROSSWALK: "CROSSWALK",
    AreaKind.WALKWAY: "ROAD_EDGE_SIDEWALK",
    AreaKind.CARPARK: "DRIVEWAY",
}  # other kinds of area have no type in the format
DRIVABLE = (AreaKind.ROADBLOCK, AreaKind.INTERSECTION, AreaKind.CARPARK)
APART = 50.0  # metres between the means of a lane's line and of its polygon above which points are added (100 are refused)
SPACING = 5.0  # metres between such points
MOVED = 1.0  # metres from which a track counts as moving in the summaries


def describe(scenario: Scenario[World]) -> Described:
    """The scenario as a ScenarioDescription dict. Errors: ``DataError`` where it has no lane or fewer than two steps."""
    world, place = scenario.world, np.array(scenario.origin[:2])
    if world.steps < 2 or not world.map.lanes or not world.ego.valid.any():
        raise DataError(
            f"{world.steps} steps, {world.map.lanes} lanes, the ego known in {world.ego.valid.sum()} of them", file=scenario.id,
            field="scenario.world", way_out="a scenario description needs two steps, a lane and an ego",
        )  # fmt: skip
    sdc = _free_name("ego", world.agents.ids)
    tracks = {sdc: _ego(scenario, sdc), **dict(_agents(scenario))}
    lights = dict(_lights(world, place))
    features, name = dict(_features(world, place)), scenario.log
    first = scenario.lineage.dataset.rpartition("/")[2].removeprefix("wetoolkit-")  # the same however often it was converted
    metadata = {
        "id": name, "scenario_id": name, "dataset": f"wetoolkit-{first}", "version": f"wetoolkit-logs {__version__}",
        "ts": world.dt * np.arange(world.steps), "sample_rate": world.dt, "metadrive_processed": False, "coordinate": "metadrive",
        "sdc_id": sdc, "track_length": world.steps, **_summary(tracks, lights, len(features)),
        kept.KEY: kept.kept(world, scenario.origin),
    }  # fmt: skip
    return {
        "id": name,
        "version": f"wetoolkit-logs {__version__}",
        "length": world.steps,
        "metadata": metadata,
        "tracks": tracks,
        "dynamic_map_states": lights,
        "map_features": features,
    }


def _free_name(name: str, taken: Sequence[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _ego(scenario: Scenario[World], name: str) -> Described:
    ego, body = scenario.world.ego, scenario.world.ego.vehicle
    centre = ego_center(ego.states, body)  # [T, 3]
    cosine, sine = np.cos(ego.states[:, 2]), np.sin(ego.states[:, 2])
    forward, side = ego.states[:, 3], ego.states[:, 4]
    velocity = np.stack([cosine * forward - sine * side, sine * forward + cosine * side], 1)
    size = np.array([body.length, body.width, body.height])
    return _track(name, AgentClass.VEHICLE, centre, velocity, ego.valid, size, scenario.origin)


def _agents(scenario: Scenario[World]) -> Iterator[tuple[str, Described]]:
    """Tracks that are seen at some step: a track without one is refused by the format's own check."""
    agents = scenario.world.agents
    for row in np.flatnonzero(agents.valid.any(1)).tolist():
        pose, velocity = agents.pose[row].astype(np.float64), agents.velocity[row].astype(np.float64)
        size = agents.size[row].astype(np.float64)
        kind, name = AgentClass(agents.kind[row]), agents.ids[row]
        yield name, _track(name, kind, pose, velocity, agents.valid[row], size, scenario.origin)


def _track(
    name: str, kind: AgentClass, pose: Double, velocity: Double, valid: Bool, size: Double, origin: Sequence[float]
) -> Described:
    steps, mask = len(pose), valid[:, None]
    z = np.full((steps, 1), origin[2] + size[2] / 2)  # boxes stand on the ground
    position = np.hstack([pose[:, :2] + np.array(origin[:2]), z])
    lengths = {key: np.where(valid, value, 0.0) for key, value in zip(("length", "width", "height"), size.tolist(), strict=True)}
    state = {
        "position": np.where(mask, position, 0.0),
        "heading": np.where(valid, pose[:, 2], 0.0),
        "velocity": np.where(mask, velocity, 0.0),
        "valid": valid.astype(np.float64),
        **lengths,
    }
    metadata = {"type": TYPES[kind], "track_length": steps, "object_id": name, "wetoolkit_class": kind.name}
    return {"type": TYPES[kind], "state": state, "metadata": metadata}


def _lights(world: World, place: Double) -> Iterator[tuple[str, Described]]:
    """One light for each lane that a signal governs, standing where the lane begins."""
    road = world.map
    for lane in np.flatnonzero(road.lane_signal >= 0).tolist():
        name = road.lane_ids[lane]
        said = [LIGHTS[Signal(code)] for code in world.signals[road.lane_signal[lane]].tolist()]
        metadata = {"type": "TRAFFIC_LIGHT", "track_length": world.steps, "object_id": name, "lane_id": name}
        stop = np.append(road.centre_line(lane)[0] + place, 0.0)
        state = {"object_state": said}
        yield name, {"type": "TRAFFIC_LIGHT", "state": state, "lane": name, "stop_point": stop, "metadata": metadata}


def _features(world: World, place: Double) -> Iterator[tuple[str, Described]]:
    road = world.map
    onto: list[list[str]] = [[] for _ in range(road.lanes)]
    before: list[list[str]] = [[] for _ in range(road.lanes)]
    for start, end in road.successors.tolist():
        onto[start].append(road.lane_ids[end])
        before[end].append(road.lane_ids[start])
    for lane, name in enumerate(road.lane_ids):
        yield name, {**_lane(road, lane, place), "entry_lanes": before[lane], "exit_lanes": onto[lane]}
    for area in range(len(road.area_ids)):
        kind = AREAS.get(AreaKind(road.area_kind[area]))
        if kind is not None:
            yield f"area/{area}", {"type": kind, "polygon": road.area(area) + place}
    for number, ring in enumerate(outline(road)):
        yield f"boundary_{number}", {"type": "ROAD_EDGE_BOUNDARY", "polyline": ring + place}


def _lane(road: RoadMap, lane: int, place: Double) -> Described:
    area = int(road.lane_area[lane])
    line, ring = road.centre_line(lane) + place, road.area(area) + place
    if np.linalg.norm(line.mean(0) - ring.mean(0)) > APART:
        line, ring = _denser(line), _denser(np.vstack([ring, ring[:1]]))[:-1]
    limit = float(road.lane_speed_limit[lane]) * 3.6
    connector = AreaKind(road.area_kind[area]) == AreaKind.LANE_CONNECTOR
    beside = {
        key: [road.lane_ids[index[lane]]] if index[lane] >= 0 else []
        for key, index in (("left_neighbor", road.lane_left), ("right_neighbor", road.lane_right))
    }
    return {
        "type": "LANE_SURFACE_UNSTRUCTURE" if connector else "LANE_SURFACE_STREET",
        "polyline": line,
        "polygon": ring,
        **beside,
        **({"speed_limit_kmh": limit} if limit > 0 else {}),
    }


def _denser(line: Double) -> Double:
    """The same line with points between its own, so that their mean is near its middle."""
    return np.asarray(shapely.get_coordinates(shapely.segmentize(shapely.LineString(line), SPACING)), np.float64)


def outline(road: RoadMap) -> list[Double]:
    """Closed rings [n, 2] of the surface one may drive on, outer ones and holes alike, as converters write them."""
    areas = [shapely.Polygon(road.area(i)) for i, kind in enumerate(road.area_kind) if kind in DRIVABLE]
    united = shapely.union_all([area if area.is_valid else shapely.make_valid(area) for area in areas])
    polygons = [part for part in shapely.get_parts(united) if part.geom_type == "Polygon"]
    return [shapely.get_coordinates(ring) for polygon in polygons for ring in (polygon.exterior, *polygon.interiors)]


def _summary(tracks: Mapping[str, Described], lights: Mapping[str, Described], features: int) -> Described:
    """What ScenarioNet's filters ask of a scenario without opening it."""
    objects = {name: _object(name, track) for name, track in tracks.items()}
    kinds = Counter(track["type"] for track in tracks.values())
    moving = Counter(one["type"] for one in objects.values() if one["moving_distance"] > MOVED)
    said = Counter(text for light in lights.values() for text in light["state"]["object_state"])
    numbers = {
        "num_objects": len(tracks),
        "object_types": set(kinds),
        "num_objects_each_type": dict(kinds),
        "num_moving_objects": sum(moving.values()),
        "num_moving_objects_each_type": dict(moving),
        "num_traffic_lights": len(lights),
        "num_traffic_light_types": set(said),
        "num_traffic_light_each_step": dict(said),
        "num_map_features": features,
        "map_height_diff": 0.0,
    }
    return {"object_summary": objects, "number_summary": numbers}


def _object(name: str, track: Described) -> Described:
    valid = track["state"]["valid"] > 0
    way = np.diff(track["state"]["position"][valid, :2], axis=0)
    start, stop = runs(valid)[0]
    return {
        "type": track["type"],
        "object_id": name,
        "track_length": len(valid),
        "moving_distance": float(np.hypot(*way.T).sum()),
        "valid_length": int(valid.sum()),
        "continuous_valid_length": stop - start,
    }
