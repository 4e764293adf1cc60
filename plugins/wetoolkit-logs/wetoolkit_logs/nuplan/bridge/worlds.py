"""Frames as the devkit hands them out (an ego state, tracked objects, lights) -> our world, as the reader makes it of the same log.

Ids are track tokens and rows are in their order; lanes and areas are those of ``MapView``. What the devkit does not tell is made
up from what it does: of recorded egos it drops steering and yaw rate (these follow from the headings), of static objects the
velocity (0).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from wetoolkit_driving.geometry import wrap_angle
from wetoolkit_driving.types import AgentClass, Agents, Control, Ego, RoadMap, Signal, Vehicle, World

from wetoolkit.errors import DataError
from wetoolkit_logs.motion import SLOWEST, STEERING_LIMIT
from wetoolkit_logs.nuplan.bridge.maps import MapView
from wetoolkit_logs.nuplan.logfile import on_route
from wetoolkit_logs.nuplan.way import Way
from wetoolkit_logs.recording import SIZES

Double = NDArray[np.float64]
EGO = "EGO"  # the devkit's class of the ego itself, which is not one of the others


@dataclass(frozen=True)
class Frame:
    """What was there at one time."""

    time: int  # microseconds
    ego: Any  # EgoState
    objects: Sequence[Any]  # of TrackedObject
    lights: Mapping[int, Signal]  # fid of a lane connector -> state, for all that are told


@dataclass(frozen=True)
class Span:
    """Frames on our clock; where nothing is known of a step there is None."""

    frames: tuple[Frame | None, ...]
    now: int  # index of the present
    dt: float  # seconds

    @property
    def present(self) -> Frame:
        """Errors: ``DataError`` where the present is not known."""
        frame = self.frames[self.now]
        if frame is None:
            raise DataError("nothing is known of the present", field="frames", way_out="give the frame at `now`")
        return frame


def lights_of(told: Sequence[Any] | None) -> dict[int, Signal]:
    """States by lane connector of the devkit's TrafficLightStatusData."""
    return {int(light.lane_connector_id): Signal[light.status.name] for light in told or ()}


def world_of(span: Span, view: MapView, route: Sequence[str]) -> tuple[World, tuple[float, float, float]]:
    """The world of a span with the map around its present, and its origin.

    ``route``: roadblocks by name; the lanes on it end 150 m beyond that of the last frame, as the reader's. Errors: ``DataError``.
    """
    vehicle = vehicle_of(span.present.ego)
    states, valid = ego_states(span, vehicle)
    centre = states[span.now, :2].copy()
    city = view.around(centre, route)
    lanes = Way(cast(Any, _drive(span, states, valid, route)), city).along(np.flatnonzero(valid), int(valid[: span.now].sum()))
    part = city.cut(centre, centre, view.radius, lanes, centre)
    states[:, :2] = np.where(valid[:, None], states[:, :2] - centre, 0.0)
    road, signals = _signals(span, part.map, city.arrays["lane_fid"][part.lanes])
    missing = {"signals": not any(frame.lights for frame in span.frames if frame), "route": not len(lanes)}
    world = World(
        ego=Ego(states, valid, vehicle),
        agents=agents_of(span, centre),
        map=road,
        signals=signals,
        route=np.searchsorted(part.lanes, lanes).astype(np.int32),
        on_route=on_route(part, city.block, lanes),
        dt=span.dt,
        unavailable=tuple(name for name, is_so in missing.items() if is_so),
    )
    return world, (float(centre[0]), float(centre[1]), 0.0)


def vehicle_of(ego: Any) -> Vehicle:
    """The body of an EgoState."""
    told = ego.car_footprint.vehicle_parameters
    return Vehicle(float(told.width), float(told.front_length), float(told.rear_length), float(told.wheel_base), float(told.height))


def ego_states(span: Span, vehicle: Vehicle) -> tuple[Double, NDArray[np.bool_]]:
    """States [T, 11] on the map and which of them [T] are known.

    A state whose steering, yaw rate and their rates are all 0 is one that does not tell them; they are then taken from the
    headings around it, as the reader takes steering from the yaw rate.
    """
    valid = np.array([frame is not None for frame in span.frames])
    rows = np.array([_ego_row(frame.ego) for frame in span.frames if frame is not None])
    seconds = np.flatnonzero(valid) * span.dt
    silent = ~rows[:, 7:].any(1)
    if silent.any() and len(rows) > 1:
        made = _turning(rows, seconds, vehicle)
        rows[silent, 7:] = made[silent]
    states = np.zeros((len(valid), 11))
    states[valid] = rows
    if not np.isfinite(states).all():
        raise DataError("an ego state that is not finite", field="ego", way_out="leave the scenario out")
    return states, valid


def _ego_row(ego: Any) -> list[float]:
    pose, moving = ego.rear_axle, ego.dynamic_car_state
    speed, push = moving.rear_axle_velocity_2d, moving.rear_axle_acceleration_2d
    return [
        float(pose.x), float(pose.y), float(wrap_angle(pose.heading)), float(speed.x), float(speed.y), float(push.x), float(push.y),
        float(ego.tire_steering_angle), float(moving.tire_steering_rate), float(moving.angular_velocity),
        float(moving.angular_acceleration),
    ]  # fmt: skip


def _turning(rows: Double, seconds: Double, vehicle: Vehicle) -> Double:
    """[n, 4] steering, steering rate, yaw rate, yaw acceleration from headings and speeds."""
    rate = np.gradient(np.unwrap(rows[:, 2]), seconds)
    rolling = np.abs(rows[:, 3]) > SLOWEST
    ratio = np.divide(vehicle.wheel_base * rate, rows[:, 3], out=np.zeros_like(rate), where=rolling)
    steering = np.clip(np.arctan(ratio), -STEERING_LIMIT, STEERING_LIMIT)
    return np.stack([steering, np.gradient(steering, seconds), rate, np.gradient(rate, seconds)], 1)


def agents_of(span: Span, centre: Double) -> Agents:
    """Everybody seen in a span, in the order of their tokens; places relative to ``centre`` [2]."""
    seen = [
        (k, item) for k, frame in enumerate(span.frames) if frame for item in frame.objects if item.tracked_object_type.name != EGO
    ]
    numbers = np.array([_box_row(item) for _, item in seen], np.float64).reshape(-1, 5)
    sound = np.isfinite(numbers).all(1)
    seen = [entry for entry, keep in zip(seen, sound, strict=True) if keep]
    first: dict[str, Any] = {}
    for _, item in seen:
        first.setdefault(str(item.track_token), item)
    ids = tuple(sorted(first))
    row = {name: k for k, name in enumerate(ids)}
    at = np.array([row[str(item.track_token)] for _, item in seen], np.intp), np.array([k for k, _ in seen], np.intp)
    shape = len(ids), len(span.frames)
    pose, velocity = np.zeros((*shape, 3), np.float32), np.zeros((*shape, 2), np.float32)
    valid = np.zeros(shape, bool)
    numbers = numbers[sound]
    numbers[:, :2] -= centre
    numbers[:, 2] = wrap_angle(numbers[:, 2])
    pose[at], velocity[at], valid[at] = numbers[:, :3], numbers[:, 3:], True
    kind = [AgentClass[first[name].tracked_object_type.name] for name in ids]
    size = np.array([_size(first[name], of) for name, of in zip(ids, kind, strict=True)], np.float32).reshape(-1, 3)
    control = np.full(len(ids), Control.REPLAY, np.uint8)
    return Agents(ids, np.array(kind, np.uint8), size, pose, velocity, valid, control)


def _box_row(item: Any) -> list[float]:
    speed = getattr(item, "velocity", None)
    moving = (0.0, 0.0) if speed is None else (float(speed.x), float(speed.y))
    return [float(item.center.x), float(item.center.y), float(item.center.heading), *moving]


def _size(item: Any, kind: AgentClass) -> list[float]:
    """Length, width, height, the usual of its class where there is none."""
    told = item.box.length, item.box.width, item.box.height
    return [float(value) if value > 0 else other for value, other in zip(told, SIZES.get(kind, (0.5, 0.5, 1.0)), strict=True)]


def _signals(span: Span, road: RoadMap, fids: NDArray[np.int64]) -> tuple[RoadMap, NDArray[np.uint8]]:
    """The map with its signals, and their states [S, T] step by step; UNKNOWN where nothing was told of one at a time."""
    told = {fid for frame in span.frames if frame for fid in frame.lights}
    lit = [k for k, fid in enumerate(fids.tolist()) if fid in told]
    states = np.full((len(lit), len(span.frames)), Signal.UNKNOWN, np.uint8)
    for step, frame in enumerate(span.frames):
        for row, lane in enumerate(lit) if frame else ():
            states[row, step] = frame.lights.get(int(fids[lane]), Signal.UNKNOWN)
    signal = np.full(len(fids), -1, np.int32)
    signal[lit] = np.arange(len(lit))
    return replace(road, lane_signal=signal), states


def _drive(span: Span, states: Double, valid: NDArray[np.bool_], route: Sequence[str]) -> SimpleNamespace:
    """What ``Way`` asks of a log: one scene, its route, the ego's path."""
    known = states[valid]
    index = {"light": np.zeros(0, np.int64), "scene": np.zeros(len(valid), np.int32), "good": valid, "states": states.copy()}
    assert len(known)
    return SimpleNamespace(index=index, facts={"own": {}, "routes": [[int(name) for name in route]]}, dt=span.dt)


__all__ = ["Frame", "Span", "agents_of", "ego_states", "lights_of", "vehicle_of", "world_of"]
