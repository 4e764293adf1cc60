"""The few attributes of nuplan-devkit's objects that the bridge looks at, filled from a written log and its map."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace as Bag
from typing import Any

import numpy as np
import shapely
from wetoolkit_driving.types import AgentClass, Signal, Vehicle
from wetoolkit_logs.nuplan.bridge.maps import LAYERS
from wetoolkit_logs.nuplan.citymap import map_file
from wetoolkit_logs.nuplan.frames import UNSAID
from wetoolkit_logs.nuplan.logfile import Log
from wetoolkit_logs.nuplan.mapindex import OVER, read_layers
from wetoolkit_logs.nuplan.schema import AREA_LAYERS, LOCATION


class FakeMap:
    """An AbstractMap whose layers are called by their names."""

    map_name = LOCATION

    def __init__(self, folder: Path) -> None:
        layers = read_layers(map_file(folder / "maps", LOCATION))
        base = layers["baseline_paths"]
        owners = np.nansum([base["lane_fid"], base["lane_connector_fid"]], axis=0).astype(int).tolist()
        lines = dict(zip(owners, base["geometry"], strict=True))
        self.objects: dict[str, dict[str, Any]] = {name: _areas(layers[AREA_LAYERS[kind]]) for kind, name in LAYERS.items()}
        flat, over, bodies = layers["lanes_polygons"], layers["lane_connectors"], layers[OVER]
        self.objects["LANE"] = {
            str(fid): Bag(id=str(fid), polygon=shape, baseline_path=Bag(linestring=lines[fid]), index=index, block=str(block),
                          speed_limit_mps=limit if np.isfinite(limit) else None)
            for fid, shape, index, block, limit in zip(flat["fid"].tolist(), flat["geometry"], flat["lane_index"],
                                                       flat["lane_group_fid"], flat["speed_limit_mps"], strict=True)
        }  # fmt: skip
        body = dict(zip(bodies["lane_connector_fid"].tolist(), bodies["geometry"], strict=True))
        lane = self.objects["LANE"].get
        self.objects["LANE_CONNECTOR"] = {
            str(fid): Bag(id=str(fid), polygon=body[fid], baseline_path=Bag(linestring=lines[fid]), block=str(block),
                          incoming_edges=[lane(str(before))], outgoing_edges=[lane(str(after))],
                          speed_limit_mps=limit if np.isfinite(limit) else None)
            for fid, before, after, block, limit in zip(over["fid"].tolist(), over["exit_lane_fid"], over["entry_lane_fid"],
                                                        over["lane_group_connector_fid"], over["speed_limit_mps"], strict=True)
        }  # fmt: skip
        for blocks, edges in (("ROADBLOCK", "LANE"), ("ROADBLOCK_CONNECTOR", "LANE_CONNECTOR")):
            for block in self.objects[blocks].values():
                block.interior_edges = [edge for edge in self.objects[edges].values() if edge.block == block.id]
            for edge in self.objects[edges].values():
                edge.get_roadblock_id = lambda of=edge: of.block
        drivable = layers["generic_drivable_areas"]
        self.drivable = {"fid": drivable["fid"].astype(str).astype(object), "geometry": drivable["geometry"]}

    def get_available_map_objects(self) -> list[str]:
        return list(self.objects)

    def get_proximal_map_objects(self, place: Any, radius: float, layers: list[str]) -> dict[str, list[Any]]:
        box = shapely.box(place.x - radius, place.y - radius, place.x + radius, place.y + radius)
        shape = lambda one: one.baseline_path.linestring if hasattr(one, "incoming_edges") else one.polygon  # noqa: E731
        return {name: [one for one in self.objects[name].values() if shape(one).intersects(box)] for name in layers}

    def get_map_object(self, name: str, layer: str) -> Any:
        return self.objects[layer].get(name)

    def _load_vector_map_layer(self, name: str) -> dict[str, Any]:
        assert name == "generic_drivable_areas"
        return self.drivable


def _areas(columns: Any) -> dict[str, Any]:
    return {str(fid): Bag(id=str(fid), polygon=shape) for fid, shape in zip(columns["fid"], columns["geometry"], strict=True)}


def ego_state(time: int, row: np.ndarray, vehicle: Vehicle = Vehicle(), told: bool = False) -> Any:  # noqa: B008 - frozen
    """An EgoState; those of logs do not tell of turning."""
    turning = row[7:] if told else np.zeros(4)
    pair = lambda a, b: Bag(x=a, y=b)  # noqa: E731
    body = Bag(width=vehicle.width, front_length=vehicle.front, rear_length=vehicle.rear, wheel_base=vehicle.wheel_base,
               height=vehicle.height)  # fmt: skip
    return Bag(
        time_us=time, rear_axle=Bag(x=row[0], y=row[1], heading=row[2]), tire_steering_angle=turning[0],
        car_footprint=Bag(vehicle_parameters=body),
        dynamic_car_state=Bag(rear_axle_velocity_2d=pair(row[3], row[4]), rear_axle_acceleration_2d=pair(row[5], row[6]),
                              tire_steering_rate=turning[1], angular_velocity=turning[2], angular_acceleration=turning[3]),
    )  # fmt: skip


def tracked(name: str, kind: str, pose: Any, size: Any, velocity: Any = None) -> Any:
    """A TrackedObject; a static one has no velocity."""
    made = Bag(track_token=name, tracked_object_type=Bag(name=kind), center=Bag(x=pose[0], y=pose[1], heading=pose[2]),
               box=Bag(length=size[0], width=size[1], height=size[2]))  # fmt: skip
    if velocity is not None:
        made.velocity = Bag(x=velocity[0], y=velocity[1])
    return made


def tracks(objects: list[Any]) -> Any:
    """DetectionsTracks."""
    return Bag(tracked_objects=Bag(tracked_objects=objects))


def light(fid: int, state: str) -> Any:
    """TrafficLightStatusData."""
    return Bag(lane_connector_id=fid, status=Bag(name=state))


@dataclass
class FakeScenario:
    """An AbstractScenario of one frame of a written log; ``start`` is that frame."""

    log: Log
    start: int
    map_api: FakeMap
    lost: dict[str, int] = field(default_factory=dict)  # what is asked for -> how many of them are not there

    @property
    def log_name(self) -> str:
        return self.log.path.stem

    @property
    def token(self) -> str:
        return f"{int(self.log.index['token'][self.start]):016x}"

    def get_scenario_tokens(self) -> list[str]:
        return [f"{int(token):016x}" for token in self.log.index["token"][self.start :]]

    def get_route_roadblock_ids(self) -> list[str]:
        return [str(fid) for fid in self.log.facts["routes"][int(self.log.index["scene"][self.start])]]

    def get_time_point(self, iteration: int) -> Any:
        return Bag(time_us=int(self.log.time[self.start + iteration]))

    def get_ego_state_at_iteration(self, iteration: int) -> Any:
        return self._ego(self.start + iteration)

    def get_tracked_objects_at_iteration(self, iteration: int) -> Any:
        return self._objects(self.start + iteration)

    def get_traffic_light_status_at_iteration(self, iteration: int) -> list[Any]:
        return self._lights(self.start + iteration)

    def __getattr__(self, name: str) -> Any:
        makers = {
            "timestamps": lambda k: Bag(time_us=int(self.log.time[k])), "ego_trajectory": self._ego,
            "tracked_objects": self._objects, "traffic_light_status_history": lambda k: Bag(traffic_lights=self._lights(k)),
        }  # fmt: skip
        for side, sign in (("past", -1), ("future", 1)):
            for what, maker in makers.items():
                if name == (f"get_ego_{side}_trajectory" if what == "ego_trajectory" else f"get_{side}_{what}"):
                    return lambda now, span, count, sign=sign, maker=maker: self._sampled(name, now, span, count, sign, maker)
        raise AttributeError(name)

    def _sampled(self, name: str, now: int, span: float, count: int, sign: int, maker: Any) -> list[Any]:
        """As the devkit: those that are in the log, in order of time."""
        every = round(span / count / self.log.dt)
        at = sorted(self.start + now + sign * every * k for k in range(1, count + 1 - self.lost.get(name, 0)))
        return [maker(k) for k in at if 0 <= k < len(self.log.time)]

    def _ego(self, k: int) -> Any:
        return ego_state(int(self.log.time[k]), self.log.index["states"][k], self.log.vehicle)

    def _objects(self, k: int) -> Any:
        boxes = self.log.boxes
        rows = range(int(boxes["offset"][k]), int(boxes["offset"][k + 1]))
        return tracks([self._object(boxes, row) for row in reversed(rows)])  # in no order of ours

    def _object(self, boxes: Any, row: int) -> Any:
        track, rest = int(boxes["track"][row]), boxes["rest"][row]
        kind = AgentClass(int(self.log.index["kind"][track]))
        pose = [*boxes["xy"][row], float(rest[0])]
        moves = kind <= AgentClass.BICYCLE
        name = f"{int(self.log.index['track'][track]):016x}"
        return tracked(name, kind.name, pose, self.log.index["size"][track].tolist(), rest[1:].tolist() if moves else None)

    def _lights(self, k: int) -> list[Any]:
        fids, states = self.log.index["light"], self.log.index["lights"][:, k]
        return [light(int(fid), Signal(int(state)).name) for fid, state in zip(fids, states, strict=True) if state != UNSAID]


def planner_input(egos: list[Any], views: list[Any], lights: list[Any], now: int | None = None) -> Any:
    """PlannerInput."""
    time = egos[-1].time_us if now is None else now
    history = Bag(ego_states=list(deque(egos)), observations=list(views))
    return Bag(iteration=Bag(time_point=Bag(time_us=time), index=0), history=history, traffic_light_data=lights)
