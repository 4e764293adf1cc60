"""The world of a robot among people: plain arrays over T uniform steps.

Coordinates are metres in a local frame (a Scenario's ``origin`` added gives the recording's), headings radians in [-pi, pi).
Arrays are [person, time, channel]; ``valid`` masks missing steps, which hold zeros.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wetoolkit.types import require, require_finite

Double = NDArray[np.float64]
Bool = NDArray[np.bool_]
Int = NDArray[np.int64]
Byte = NDArray[np.uint8]

DT = 0.2  # seconds per step: twice the rate of the ETH/UCY annotations
X, Y, HEADING, VX, VY, TURN = range(6)  # channels of the robot's states


class Control(IntEnum):
    """What moves a person in simulation."""

    REPLAY = 0  # as recorded
    SOCIAL = 1  # social forces


@dataclass(frozen=True)
class Body:
    """The robot: a disc that can move any way (holonomic) or only along its heading (unicycle)."""

    drive: Literal["holonomic", "unicycle"] = "holonomic"
    radius: float = 0.3  # metres
    speed: float = 1.5  # m/s, the greatest
    acceleration: float = 2.0  # m/s^2, the greatest change of the velocity
    turn: float = 2.5  # rad/s, the greatest rate of turning

    def validate(self) -> None:
        require(self.drive in ("holonomic", "unicycle"), f"drive {self.drive!r}", "body.drive", "holonomic or unicycle")
        for name in ("radius", "speed", "acceleration", "turn"):
            require(getattr(self, name) > 0, f"{name} is {getattr(self, name)}", f"body.{name}", "give a number above 0")


@dataclass(frozen=True)
class Robot:
    """The acting body over time."""

    states: Double  # [T, 6] x, y, heading, vx, vy (world's axes, m/s), rate of turning (rad/s)
    valid: Bool  # [T]
    goal: Double  # [2] metres: where it is bound
    body: Body = field(default_factory=Body)


@dataclass(frozen=True)
class People:
    """Everybody else: A tracks over T steps, and what moves each in simulation."""

    ids: tuple[str, ...]  # [A] unique
    position: Double  # [A, T, 2] metres
    velocity: Double  # [A, T, 2] m/s
    valid: Bool  # [A, T]
    radius: Double  # [A] metres
    control: Byte  # [A] Control
    goal: Double  # [A, 2] metres
    speed: Double  # [A] m/s at which each would like to walk
    heed: Double  # [A] in [0, 1]: how much of the robot each takes notice of; 0 for somebody who looks at a telephone
    wait: Int  # [A] step before which each stands still

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class World:
    """A place with people and the robot over T steps, history and future alike."""

    robot: Robot
    people: People
    walls: Double  # [S, 2, 2] segments, metres
    dt: float = DT

    @property
    def steps(self) -> int:
        """T."""
        return len(self.robot.states)

    def validate(self) -> None:
        """Shapes, finite numbers, unique ids, headings and heed in range."""
        steps, count = self.steps, len(self.people)
        require(self.dt > 0, f"dt is {self.dt}", "world.dt", "give seconds above 0")
        self.robot.body.validate()
        _shapes(self.robot, "robot", {"states": (steps, 6), "valid": (steps,), "goal": (2,)})
        track, one = (count, steps), (count,)
        shapes = {"position": (*track, 2), "velocity": (*track, 2), "valid": track, "goal": (count, 2)}
        shapes |= dict.fromkeys(("radius", "control", "speed", "heed", "wait"), one)
        _shapes(self.people, "people", shapes)
        require(len(set(self.people.ids)) == count, "two tracks of one id", "people.ids", "make ids unique")
        require(bool((self.people.radius > 0).all()), "a person without extent", "people.radius", "give metres above 0")
        heed = self.people.heed
        require(bool(((heed >= 0) & (heed <= 1)).all()), "heed outside [0, 1]", "people.heed", "give a share")
        require(self.walls.shape[1:] == (2, 2), f"shape {self.walls.shape}", "world.walls", "[S, 2, 2]")
        require_finite(self.walls, "world.walls")

    def until(self, step: int) -> World:
        """The world cut after ``step``: who appears only later is not in it, nor what anybody is about to do."""
        end, people = step + 1, self.people
        seen = np.asarray(people.valid[:, :end].any(1))
        past = People(
            ids=tuple(name for name, keep in zip(people.ids, seen, strict=True) if keep),
            position=people.position[seen, :end], velocity=people.velocity[seen, :end], valid=people.valid[seen, :end],
            radius=people.radius[seen], control=people.control[seen],
            goal=np.zeros((int(seen.sum()), 2)), speed=np.zeros(int(seen.sum())), heed=np.zeros(int(seen.sum())),
            wait=np.zeros(int(seen.sum()), np.int64),
        )  # fmt: skip
        robot = replace(self.robot, states=self.robot.states[:end], valid=self.robot.valid[:end])
        return replace(self, robot=robot, people=past)


def _shapes(owner: object, prefix: str, due: dict[str, tuple[int, ...]]) -> None:
    for name, shape in due.items():
        array = getattr(owner, name)
        require(array.shape == shape, f"shape {array.shape} where {shape} was due", f"{prefix}.{name}", "[person, time, channel]")
        if array.dtype.kind == "f":
            require_finite(array, f"{prefix}.{name}")


def wrap(angle: Double) -> Double:
    """Angles [...] in radians, brought into [-pi, pi)."""
    return np.asarray((angle + np.pi) % (2 * np.pi) - np.pi)


def nobody(steps: int) -> People:
    """People of an empty place."""
    return People(
        (), np.zeros((0, steps, 2)), np.zeros((0, steps, 2)), np.zeros((0, steps), np.bool_), np.zeros(0),
        np.zeros(0, np.uint8), np.zeros((0, 2)), np.zeros(0), np.zeros(0), np.zeros(0, np.int64),
    )  # fmt: skip


NO_WALLS: Double = np.zeros((0, 2, 2))
NO_WALLS.flags.writeable = False
