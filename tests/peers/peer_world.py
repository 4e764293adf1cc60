"""Objects of the peers made from arrays: what NAVSIM and World Engine are handed. Runs in the peers' environment only."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import shapely
from nuplan.common.actor_state.agent import Agent
from nuplan.common.actor_state.ego_state import EgoState
from nuplan.common.actor_state.oriented_box import OrientedBox
from nuplan.common.actor_state.scene_object import SceneObjectMetadata
from nuplan.common.actor_state.state_representation import StateSE2, StateVector2D, TimePoint
from nuplan.common.actor_state.static_object import StaticObject
from nuplan.common.actor_state.tracked_objects import TrackedObjects
from nuplan.common.actor_state.tracked_objects_types import TrackedObjectType
from nuplan.common.actor_state.vehicle_parameters import get_pacifica_parameters
from nuplan.common.maps.maps_datatypes import SemanticMapLayer, TrafficLightStatusData, TrafficLightStatusType
from nuplan.planning.simulation.observation.observation_type import DetectionsTracks
from nuplan.planning.simulation.trajectory.interpolated_trajectory import InterpolatedTrajectory

TYPES = [
    TrackedObjectType.VEHICLE,
    TrackedObjectType.PEDESTRIAN,
    TrackedObjectType.BICYCLE,
    TrackedObjectType.TRAFFIC_CONE,
    TrackedObjectType.BARRIER,
    TrackedObjectType.CZONE_SIGN,
    TrackedObjectType.GENERIC_OBJECT,
]
LAYERS = [
    SemanticMapLayer.LANE,
    SemanticMapLayer.LANE_CONNECTOR,
    SemanticMapLayer.ROADBLOCK,
    SemanticMapLayer.ROADBLOCK_CONNECTOR,
    SemanticMapLayer.INTERSECTION,
    SemanticMapLayer.CARPARK_AREA,
    SemanticMapLayer.DRIVABLE_AREA,
]
SCENE_LAYERS = (0, 1, 2, 4, 5)  # the polygons that ``PDMDrivableMap.from_simulation`` collects


def ego_state(state: np.ndarray, time_us: int) -> EgoState:
    """A state [11] of the rear axle."""
    return EgoState.build_from_rear_axle(
        StateSE2(*state[:3]), StateVector2D(*state[3:5]), StateVector2D(*state[5:7]), state[7], TimePoint(time_us),
        get_pacifica_parameters(), True, state[9], state[10], state[8],
    )  # fmt: skip


def trajectory(states: np.ndarray, time_us: int, interval_us: int) -> InterpolatedTrajectory:
    """States [T, 11], the first at ``time_us``."""
    return InterpolatedTrajectory([ego_state(s, time_us + i * interval_us) for i, s in enumerate(states)])


def tracks_of(case: dict[str, Any], sample: int) -> DetectionsTracks:
    """The objects seen in one sample of 0.5 s, in the order of the arrays."""
    found = []
    for k, token in enumerate(case["obj_token"]):
        x, y, heading, vx, vy = case["obj_raw_2hz"][sample, k]
        if np.isnan(x):
            continue
        kind = TYPES[int(case["obj_type"][k])]
        box = OrientedBox(StateSE2(x, y, heading), *case["obj_length_width"][k], 1.5)
        named = SceneObjectMetadata(0, str(token), k, str(token))
        if case["obj_type"][k] <= 2:
            found.append(Agent(kind, box, StateVector2D(vx, vy), named))
        else:
            found.append(StaticObject(kind, box, named))
    return DetectionsTracks(TrackedObjects(found))


def polygons(case: dict[str, Any]) -> tuple[list[str], list[Any], np.ndarray]:
    """Tokens, layers and polygons of the layers a peer's map collects."""
    keep = [p for p, kind in enumerate(case["map_type"]) if kind in SCENE_LAYERS]
    rings = [shapely.Polygon(case["map_xy"][case["map_off"][p] : case["map_off"][p + 1]]) for p in keep]
    return [str(case["map_token"][p]) for p in keep], [LAYERS[case["map_type"][p]] for p in keep], np.array(rings, object)


def lights_of(case: dict[str, Any], sample: int) -> list[TrafficLightStatusData]:
    """The lights of one sample; what is not red is green."""
    found = []
    for p in np.flatnonzero(case["map_type"] == 1):
        status = TrafficLightStatusType.RED if case["lights_2hz"][sample, p] else TrafficLightStatusType.GREEN
        found.append(TrafficLightStatusData(status, int(case["map_token"][p]), 0))
    return found


def route_lanes(case: dict[str, Any]) -> dict[str, Any]:
    """token -> something with the polygon, of the route's lanes and connectors."""
    tokens, layers, rings = polygons(case)
    on_route = set(map(str, case["map_token"][case["map_on_route"]]))
    lanes = (SemanticMapLayer.LANE, SemanticMapLayer.LANE_CONNECTOR)
    return {
        t: SimpleNamespace(polygon=r, id=t) for t, m, r in zip(tokens, layers, rings, strict=True) if t in on_route and m in lanes
    }


def scenario_of(case: dict[str, Any]) -> SimpleNamespace:
    """What the metric caches ask a scenario for, at 2 Hz."""
    return SimpleNamespace(
        database_interval=0.5,
        get_tracked_objects_at_iteration=lambda iteration: tracks_of(case, iteration),
        get_traffic_light_status_at_iteration=lambda iteration: lights_of(case, iteration),
    )


def seen(case: dict[str, Any], observation: Any, frames: int) -> dict[str, np.ndarray]:
    """Corners [51, K, 4, 2] that an observation holds (NaN: absent), velocities at first appearance, red polygons [51, P]."""
    tokens = {str(token): k for k, token in enumerate(case["obj_token"])}
    red = {f"red_light_{token}": p for p, token in enumerate(case["map_token"])}
    corners = np.full((51, len(tokens), 4, 2), np.nan)
    lit = np.zeros((51, len(case["map_token"])), bool)
    for f in range(frames):
        held = observation[f]
        for token in held.tokens:
            if token in tokens:
                corners[f, tokens[token]] = np.array(held[token].exterior.coords)[:4]
            elif token in red:
                lit[f, red[token]] = True
    velocity = np.zeros((len(tokens), 2))
    for token, first in observation.unique_objects.items():
        if token in tokens and hasattr(first, "velocity"):
            velocity[tokens[token]] = first.velocity.array
    return {"obj_corners": corners, "obj_first_velocity": velocity, "map_red": lit}
