"""A recording's movements as OpenSCENARIO 1.1: every body follows its recorded trajectory at the recorded times.

Positions are in the coordinates of the road network. A vehicle's reference point is the middle of its rear axle, as the standard
asks; of the others' vehicles only the box is known, so their rear axle is put where cars usually have it, and box and pose fit it.
Pedestrians and things are placed by their centres. Who is there for a while only is added and deleted; signals are controllers
with phases.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray
from wetoolkit_driving.types import AgentClass, Signal, World

from wetoolkit.types import Scenario
from wetoolkit_logs import __version__
from wetoolkit_logs.motion import runs
from wetoolkit_logs.openscenario.opendrive import EPOCH, put

Double = NDArray[np.float64]
Bool = NDArray[np.bool_]
LAMPS = {
    Signal.RED: "on;off;off", Signal.YELLOW: "off;on;off", Signal.GREEN: "off;off;on", Signal.UNKNOWN: "off;off;off",
}  # fmt: skip
THINGS = {AgentClass.BARRIER: "barrier", AgentClass.CZONE_SIGN: "pole"}  # cones and the rest are obstacles
REAR, BASE = 0.22, 0.6  # share of a vehicle's length from its rear to its rear axle, and between its axles
STILL = 1e-6  # metres and radians by which poses of a body that stands still differ at most


@dataclass(frozen=True)
class Body:
    """Who moves: reference poses in the road network's frame."""

    name: str
    kind: AgentClass
    size: tuple[float, float, float]  # length, width, height, metres
    ahead: float  # metres from the reference point to the box centre
    pose: Double  # [T, 3]
    valid: Bool  # [T]
    axle: float  # metres between the axles, 0 for what has none


def bodies(world: World) -> Iterator[Body]:
    """The ego first, then everybody who is seen at some step."""
    car = world.ego.vehicle
    size = (car.length, car.width, car.height)
    taken = {"Ego"}
    yield Body("Ego", AgentClass.VEHICLE, size, car.rear_to_center, world.ego.states[:, :3], world.ego.valid, car.wheel_base)
    agents = world.agents
    for row in np.flatnonzero(agents.valid.any(1)).tolist():
        kind, (length, width, height) = AgentClass(agents.kind[row]), agents.size[row].astype(float).tolist()
        wheels = kind in (AgentClass.VEHICLE, AgentClass.BICYCLE)
        ahead = length * (0.5 - REAR) if wheels else 0.0
        pose = agents.pose[row].astype(np.float64)
        pose[:, 0] -= ahead * np.cos(pose[:, 2])
        pose[:, 1] -= ahead * np.sin(pose[:, 2])
        name = agents.ids[row]
        while name in taken:
            name += "_"
        taken.add(name)
        yield Body(name, kind, (length, width, height), ahead, pose, agents.valid[row], length * BASE if wheels else 0.0)


def openscenario(scenario: Scenario[World], roads: str) -> Element:
    """The document's root; ``roads`` is the road network's file name."""
    world = scenario.world
    every = list(bodies(world))
    root = Element("OpenSCENARIO")
    put(
        root, "FileHeader", revMajor=1, revMinor=1, date=EPOCH.strftime("%Y-%m-%dT%H:%M:%S"), description=scenario.id,
        author=f"wetoolkit-logs {__version__}",
    )  # fmt: skip
    put(root, "CatalogLocations")
    network = put(root, "RoadNetwork")
    put(network, "LogicFile", filepath=roads)
    _signals(network, world)
    entities = put(root, "Entities")
    for body in every:
        _entity(entities, body)
    _storyboard(root, every, world.dt, world.steps)
    return root


def _signals(network: Element, world: World) -> None:
    lanes = np.flatnonzero(world.map.lane_signal >= 0).tolist()
    signals = put(network, "TrafficSignals") if lanes else network
    for lane in lanes:
        controller = put(signals, "TrafficSignalController", name=f"control-{lane}")
        state = world.signals[world.map.lane_signal[lane]]
        edges = [0, *(np.flatnonzero(np.diff(state)) + 1).tolist(), len(state)]
        for number, (start, stop) in enumerate(itertools.pairwise(edges)):
            signal = Signal(state[start])
            phase = put(controller, "Phase", name=f"{number}-{signal.name.lower()}", duration=(stop - start) * world.dt)
            put(phase, "TrafficSignalState", trafficSignalId=f"light-{lane}", state=LAMPS[signal])


def _entity(entities: Element, body: Body) -> None:
    one = put(entities, "ScenarioObject", name=body.name)
    if body.axle:
        _vehicle(one, body)
        return
    if body.kind == AgentClass.PEDESTRIAN:
        node = put(one, "Pedestrian", name=body.name, model="pedestrian", mass=75.0, pedestrianCategory="pedestrian")
    else:
        node = put(one, "MiscObject", name=body.name, mass=10.0, miscObjectCategory=THINGS.get(body.kind, "obstacle"))
    _box(node, body)
    _class(node, body)


def _vehicle(one: Element, body: Body) -> None:
    category = "bicycle" if body.kind == AgentClass.BICYCLE else "car"
    node = put(one, "Vehicle", name=body.name, vehicleCategory=category)
    _box(node, body)
    put(node, "Performance", maxSpeed=70.0, maxAcceleration=10.0, maxDeceleration=10.0)
    axles = put(node, "Axles")
    wheel = min(0.7, body.size[2])
    for tag, steering, x in (("FrontAxle", 0.6, body.axle), ("RearAxle", 0.0, 0.0)):
        put(axles, tag, maxSteering=steering, wheelDiameter=wheel, trackWidth=0.85 * body.size[1], positionX=x, positionZ=wheel / 2)
    _class(node, body)


def _box(node: Element, body: Body) -> None:
    box = put(node, "BoundingBox")
    length, width, height = body.size
    put(box, "Center", x=body.ahead, y=0.0, z=height / 2)
    put(box, "Dimensions", width=width, length=length, height=height)


def _class(node: Element, body: Body) -> None:
    put(put(node, "Properties"), "Property", name="wetoolkit_class", value=body.kind.name.lower())


def _storyboard(root: Element, every: list[Body], dt: float, steps: int) -> None:
    board = put(root, "Storyboard")
    actions = put(put(board, "Init"), "Actions")
    for body in every:
        if body.valid[0]:
            private = put(actions, "Private", entityRef=body.name)
            _position(put(put(private, "PrivateAction"), "TeleportAction"), body.pose[0])
    act = put(put(board, "Story", name="recording"), "Act", name="replay")
    for body in every:
        _group(act, body, dt, steps)
    _at(put(act, "StartTrigger"), "begin", 0.0)
    _at(put(board, "StopTrigger"), "end", (steps - 1) * dt)


def _group(act: Element, body: Body, dt: float, steps: int) -> None:
    """For each stretch in which a body is there: it is added unless it is there from the start, goes its way, and is deleted."""
    group = put(act, "ManeuverGroup", name=f"group {body.name}", maximumExecutionCount=1)
    put(put(group, "Actors", selectTriggeringEntities="false"), "EntityRef", entityRef=body.name)
    maneuver = put(group, "Maneuver", name=f"way {body.name}")
    for number, (start, stop) in enumerate(runs(body.valid)):
        name = f"{body.name} {number}"
        if start > 0:
            entity = _global(_event(maneuver, f"appear {name}", start * dt), body)
            _position(put(entity, "AddEntityAction"), body.pose[start])
        _follow(_event(maneuver, f"go {name}", start * dt), name, body.pose[start:stop], start, dt)
        if stop < steps:
            put(_global(_event(maneuver, f"vanish {name}", stop * dt), body), "DeleteEntityAction")


def _event(maneuver: Element, name: str, time: float) -> Element:
    """An event's action, to be filled in."""
    event = put(maneuver, "Event", name=name, priority="parallel", maximumExecutionCount=1)
    action = put(event, "Action", name=name)
    _at(put(event, "StartTrigger"), f"when {name}", time)
    return action


def _global(action: Element, body: Body) -> Element:
    return put(put(action, "GlobalAction"), "EntityAction", entityRef=body.name)


def _follow(action: Element, name: str, pose: Double, start: int, dt: float) -> None:
    follow = put(put(put(action, "PrivateAction"), "RoutingAction"), "FollowTrajectoryAction")
    trajectory = put(put(follow, "TrajectoryRef"), "Trajectory", name=name, closed="false")
    line = put(put(trajectory, "Shape"), "Polyline")
    for step in vertices(pose):
        _position(put(line, "Vertex", time=(start + step) * dt), pose[min(step, len(pose) - 1)])
    put(put(follow, "TimeReference"), "Timing", domainAbsoluteRelative="absolute", scale=1.0, offset=0.0)
    put(follow, "TrajectoryFollowingMode", followingMode="position")


def vertices(pose: Double) -> list[int]:
    """The steps of poses [n, 3] that a polyline needs: of a stretch without movement only its ends, two at least."""
    if len(pose) == 1:
        return [0, 1]  # the second at the same place, a step later
    still = np.abs(np.diff(pose, axis=0)).max(1) < STILL
    keep = np.concatenate([[True], ~(still[:-1] & still[1:]), [True]])
    return [int(step) for step in np.flatnonzero(keep)]


def _position(node: Element, pose: Double) -> None:
    x, y, heading = map(float, pose)
    put(put(node, "Position"), "WorldPosition", x=x, y=y, z=0.0, h=heading, p=0.0, r=0.0)


def _at(trigger: Element, name: str, time: float) -> None:
    condition = put(put(trigger, "ConditionGroup"), "Condition", name=name, delay=0.0, conditionEdge="none")
    put(put(condition, "ByValueCondition"), "SimulationTimeCondition", value=time, rule="greaterOrEqual")
