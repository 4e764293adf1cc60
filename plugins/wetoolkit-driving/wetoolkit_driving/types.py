"""The driving world: ego, agents, road map and signals of one stretch of road, as plain arrays.

Coordinates are metres in a local frame (a Scenario's ``origin`` added gives the log's), headings radians in [-pi, pi). The
ego's pose is its rear axle; every other pose is a box centre. Arrays are [agent, time, channel]; ``valid`` masks missing steps,
which hold zeros.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from wetoolkit.types import require, require_finite

Float = NDArray[np.float32]
Double = NDArray[np.float64]
Bool = NDArray[np.bool_]
Int = NDArray[np.int32]
Byte = NDArray[np.uint8]


class AgentClass(IntEnum):
    """nuPlan's classes; the numbers are those of the PDM parity cases. None is dropped, anywhere."""

    VEHICLE = 0
    PEDESTRIAN = 1
    BICYCLE = 2
    TRAFFIC_CONE = 3
    BARRIER = 4
    CZONE_SIGN = 5
    GENERIC_OBJECT = 6


class AreaKind(IntEnum):
    """Kinds of map polygon; the first seven are those of the PDM parity cases."""

    LANE = 0
    LANE_CONNECTOR = 1
    ROADBLOCK = 2
    ROADBLOCK_CONNECTOR = 3
    INTERSECTION = 4
    CARPARK = 5
    DRIVABLE_AREA = 6
    CROSSWALK = 7
    WALKWAY = 8
    STOP_LINE = 9


class Signal(IntEnum):
    """Traffic light states."""

    UNKNOWN = 0
    GREEN = 1
    YELLOW = 2
    RED = 3


class Control(IntEnum):
    """What moves an agent in simulation."""

    REPLAY = 0  # as recorded
    IDM = 1  # along its lane path or recorded path with the intelligent driver model
    EXTERNAL = 2  # by a behaviour plugin with SupportsReaction
    SOCIAL = 3  # a pedestrian by social forces, with the intent to cross
    PATH = 4  # a cyclist along its recorded path, keeping its offset from the lane, with the intelligent driver model
    REACTIVE = 5  # as recorded until something it meets is not as it was in the record, then as IDM


class Action(IntEnum):
    """What a Script makes an agent do."""

    BRAKE = 0  # slow down by ``value`` [m/s^2] for ``seconds``; 0 s: to a standstill, and stay
    CUT_IN = 1  # go over to ``value`` [m] left of its path within ``seconds``, blind to others until it is there
    CROSS = 2  # leave its path and walk straight to (``x``, ``y``) at ``value`` [m/s], whoever comes
    APPEAR = 3  # hidden until then although recorded, there from then on (a door that opens: its box beside the car)


@dataclass(frozen=True)
class Vehicle:
    """The ego's body and its kinematic bicycle. Defaults: nuPlan's Chrysler Pacifica (nuplan-devkit get_pacifica_parameters)."""

    width: float = 2.297  # metres
    front: float = 4.049  # rear axle to front bumper, metres
    rear: float = 1.127  # rear axle to rear bumper, metres
    wheel_base: float = 3.089  # metres
    height: float = 1.777  # metres

    @property
    def length(self) -> float:
        """Bumper to bumper, metres."""
        return self.front + self.rear

    @property
    def rear_to_center(self) -> float:
        """Rear axle to box centre along the heading, metres."""
        return (self.front - self.rear) / 2

    def validate(self) -> None:
        for name in ("width", "front", "wheel_base", "height"):
            require(getattr(self, name) > 0, f"{name} is {getattr(self, name)}", f"vehicle.{name}", "give metres above 0")


# Channels of the ego state, in this order (rear axle; velocities and accelerations in the ego's own frame).
X, Y, HEADING, VX, VY, AX, AY, STEERING, STEERING_RATE, YAW_RATE, YAW_ACCELERATION = range(11)


@dataclass(frozen=True)
class Ego:
    """The acting vehicle's states over time."""

    states: Double  # [T, 11] x, y, heading, vx, vy, ax, ay, steering, steering rate, yaw rate, yaw acceleration
    valid: Bool  # [T]
    vehicle: Vehicle = field(default_factory=Vehicle)


@dataclass(frozen=True)
class Agents:
    """Everybody and everything else: A tracks over T steps. Static objects are tracks too."""

    ids: tuple[str, ...]  # [A] unique
    kind: Byte  # [A] AgentClass
    size: Float  # [A, 3] length, width, height in metres
    pose: Float  # [A, T, 3] box centre x, y, heading
    velocity: Float  # [A, T, 2] m/s in the world's axes
    valid: Bool  # [A, T]
    control: Byte  # [A] Control: what moves it in simulation
    manners: Float | None = None  # [A, 5] desired speed factor, gap [m], headway [s], acceleration, deceleration [m/s^2]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Script:
    """One scripted event: from ``at`` on, as soon as the ego is within ``within`` metres, ``agent`` does ``action``, once."""

    agent: str  # id of the agent
    action: Action
    at: float = 0.0  # seconds on the world's own clock (step x dt)
    within: float = 0.0  # metres between the ego's box centre and the agent's; 0: at once
    value: float = 0.0  # see Action
    seconds: float = 0.0  # see Action
    x: float = 0.0  # metres, CROSS only
    y: float = 0.0

    def validate(self, field_name: str) -> None:
        """Raise ``ValidationError`` where a number is out of its range."""
        numbers = np.array([self.at, self.within, self.value, self.seconds, self.x, self.y])
        require_finite(numbers, field_name)
        require(min(self.at, self.within, self.seconds) >= 0, "a negative time or distance", field_name, "give 0 or more")
        signed = self.action == Action.CUT_IN
        require(signed or self.value >= 0, f"value is {self.value}", field_name, "give 0 or more: BRAKE slows, CROSS walks")
        require(not signed or self.seconds > 0, "a cut-in that takes no time", field_name, "give `seconds` above 0")
        require(self.action != Action.CROSS or self.value > 0, "a crossing at no speed", field_name, "give `value` above 0 m/s")


@dataclass(frozen=True)
class Aim:
    """Where somebody that a behaviour moves from outside is bound for, and when: what it was given to do. Nobody can see it."""

    agent: str  # id of the agent
    at: float  # seconds on the world's own clock (step x dt)
    x: float  # metres
    y: float
    heading: float
    speed: float  # m/s, there

    def validate(self, field_name: str) -> None:
        """Raise ``ValidationError`` where a number is out of its range."""
        require_finite(np.array([self.at, self.x, self.y, self.heading, self.speed]), field_name)
        require(min(self.at, self.speed) >= 0, "a negative time or speed", field_name, "give 0 or more")


@dataclass(frozen=True)
class RoadMap:
    """Polygons (areas) and the lane graph. Ragged arrays: item i is ``xy[offset[i]:offset[i + 1]]``.

    Lanes and lane connectors are both "lanes" here; each has a centre line in driving direction and an area that is its polygon.
    """

    area_ids: tuple[str, ...]  # [P]
    area_kind: Byte  # [P] AreaKind
    area_xy: Double  # [V, 2] rings, not closed, no holes
    area_offset: Int  # [P + 1]
    lane_ids: tuple[str, ...]  # [L]
    lane_xy: Double  # [U, 2] centre lines, at least two points each
    lane_offset: Int  # [L + 1]
    lane_area: Int  # [L] index of its polygon among the areas
    lane_roadblock: Int  # [L] index of the ROADBLOCK(_CONNECTOR) area it belongs to, -1 for none
    lane_left: Int  # [L] index of the neighbour in the same direction, -1 for none
    lane_right: Int  # [L]
    lane_speed_limit: Float  # [L] m/s, 0 where not known
    lane_signal: Int  # [L] row in World.signals that governs entering it, -1 for none
    successors: Int  # [E, 2] lane index -> lane index

    @property
    def lanes(self) -> int:
        """L."""
        return len(self.lane_ids)

    def centre_line(self, lane: int) -> Double:
        """Points [n, 2] of a lane's centre line in driving direction."""
        return self.lane_xy[self.lane_offset[lane] : self.lane_offset[lane + 1]]

    def area(self, index: int) -> Double:
        """Ring [n, 2] of a polygon, not closed."""
        return self.area_xy[self.area_offset[index] : self.area_offset[index + 1]]

    def validate(self) -> None:
        for name, count in (("area", len(self.area_ids)), ("lane", len(self.lane_ids))):
            offset, points = getattr(self, f"{name}_offset"), getattr(self, f"{name}_xy")
            require(len(offset) == count + 1, f"{len(offset)} offsets for {count}", f"map.{name}_offset", "give count + 1")
            require(offset[0] == 0 and offset[-1] == len(points), "offsets do not span the points", f"map.{name}_offset", "0..len")
            least = 3 if name == "area" else 2
            require(bool((np.diff(offset) >= least).all()), f"fewer than {least} points", f"map.{name}_xy", "drop or repair it")
            require_finite(points, f"map.{name}_xy")
        for name, bound in (("lane_area", len(self.area_ids)), ("lane_roadblock", len(self.area_ids))):
            index = getattr(self, name)
            require(len(index) == self.lanes and bool((index < bound).all()), "index out of range", f"map.{name}", f"< {bound}")
        for name in ("lane_left", "lane_right", "successors"):
            index = getattr(self, name)
            require(bool((index < self.lanes).all()), "lane index out of range", f"map.{name}", f"below {self.lanes}")


@dataclass(frozen=True)
class World:
    """One stretch of road over T steps, history and future alike."""

    ego: Ego
    agents: Agents
    map: RoadMap
    signals: Byte  # [S, T] Signal
    route: Int  # [R] lane indices the ego means to drive, in order; its centre lines joined are the route's centre line
    on_route: Bool  # [P] areas that belong to the route (lanes of the route's roadblocks, and those roadblocks)
    dt: float  # seconds per step
    unavailable: tuple[str, ...] = ()  # what the data cannot tell: "intersections", "signals", "speed_limits", "lane_areas", ...
    scripts: tuple[Script, ...] = ()  # events that will happen, at most one of each agent
    aims: tuple[Aim, ...] = ()  # where agents with control EXTERNAL are bound for

    @property
    def steps(self) -> int:
        """T."""
        return len(self.ego.states)

    def validate(self) -> None:
        steps, agents, count = self.steps, self.agents, len(self.agents)
        require(self.dt > 0, f"dt is {self.dt}", "world.dt", "give seconds above 0")
        require(self.ego.states.shape == (steps, 11), f"shape {self.ego.states.shape}", "ego.states", "[T, 11]")
        require_finite(self.ego.states, "ego.states")
        self.ego.vehicle.validate()
        for name, shape in (
            ("pose", (count, steps, 3)),
            ("velocity", (count, steps, 2)),
            ("valid", (count, steps)),
            ("size", (count, 3)),
            ("kind", (count,)),
            ("control", (count,)),
        ):
            array = getattr(agents, name)
            require(array.shape == shape, f"shape {array.shape} where {shape} was due", f"agents.{name}", "[agent, time, channel]")
        require_finite(agents.pose, "agents.pose")
        require_finite(agents.velocity, "agents.velocity")
        require(bool((agents.size > 0).all()), "a box without extent", "agents.size", "give metres above 0")
        require(len(set(agents.ids)) == count, "two tracks of one id", "agents.ids", "make ids unique")
        self.map.validate()
        require(self.signals.ndim == 2 and self.signals.shape[1] == steps, f"shape {self.signals.shape}", "signals", "[S, T]")
        require(bool((self.map.lane_signal < len(self.signals)).all()), "row out of range", "map.lane_signal", "below S")
        require(len(self.on_route) == len(self.map.area_ids), "one flag an area is due", "world.on_route", "[P]")
        require(bool(((self.route >= 0) & (self.route < self.map.lanes)).all()), "lane out of range", "world.route", "[0, L)")
        names = [script.agent for script in self.scripts]
        require(len(set(names)) == len(names), "two scripts of one agent", "world.scripts", "give each agent one at most")
        known = set(agents.ids)
        for i, script in enumerate(self.scripts):
            require(script.agent in known, f"no agent {script.agent!r}", f"world.scripts[{i}]", "name an id of world.agents")
            script.validate(f"world.scripts[{i}]")
        for i, aim in enumerate(self.aims):
            require(aim.agent in known, f"no agent {aim.agent!r}", f"world.aims[{i}]", "name an id of world.agents")
            aim.validate(f"world.aims[{i}]")

    def until(self, step: int) -> World:
        """The world cut after ``step``: all that may be known then. Agents that appear only later are not in it,
        nor are manners, scripts and aims, which nobody can see."""
        end = step + 1
        seen = self.agents.valid[:, :end].any(1)
        agents = self.agents
        past = Agents(
            tuple(name for name, keep in zip(agents.ids, seen, strict=True) if keep), agents.kind[seen], agents.size[seen],
            agents.pose[seen, :end], agents.velocity[seen, :end], agents.valid[seen, :end], agents.control[seen],
        )  # fmt: skip
        ego = replace(self.ego, states=self.ego.states[:end], valid=self.ego.valid[:end])
        return replace(self, ego=ego, agents=past, signals=self.signals[:, :end], scripts=(), aims=())
