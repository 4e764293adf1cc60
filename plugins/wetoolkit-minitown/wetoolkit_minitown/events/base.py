"""What a rare event is: parameters with ranges, and a plan of who stands and drives where, drawn from them for a place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from wetoolkit_driving.types import AgentClass

from wetoolkit_minitown.place import Place
from wetoolkit_minitown.traffic import NONE, Stage

Double = NDArray[np.float64]
Int = NDArray[np.int64]
Values = Mapping[str, float]  # a draw of an event's parameters by their names

REST = Stage(NONE, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
PERSON = (0.55, 0.6, 1.7)  # length, width, height, metres
CYCLIST = (1.8, 0.65, 1.75)


@dataclass(frozen=True)
class Parameter:
    """A number that an event draws evenly between two bounds."""

    name: str
    low: float
    high: float
    unit: str
    text: str


class Thing(NamedTuple):
    """Somebody or something beside the road; with a speed it sets off straight ahead when the event does."""

    pose: tuple[float, float, float]  # box centre x, y, heading
    kind: AgentClass
    size: tuple[float, float, float]  # length, width, height, metres
    speed: float = 0.0  # m/s
    length: float = 0.0  # metres to go


class Leader(NamedTuple):
    """A car that is given its place relative to the ego: row 1 of the drivers."""

    way: Int
    s: float  # metres along its first track
    v: float  # m/s
    factor: float | None = None  # of the limit, else drawn
    top: float | None = None  # m/s, else drawn


class Clear(NamedTuple):
    """A stretch of a track where nobody else is put."""

    track: int
    low: float  # metres
    high: float


@dataclass(frozen=True)
class Plan:
    """Where the ego starts and what is there for it to meet."""

    way: Int  # [WAYS] the ego's tracks
    s: float  # metres along the first
    v: float  # m/s
    leader: Leader | None = None
    clear: tuple[Clear, ...] = ()
    stage: Stage = REST
    things: tuple[Thing, ...] = ()
    lights: float | None = None  # seconds into the programs of the signals at the start, else drawn


class Rehearsal(NamedTuple):
    """The same drive without the event."""

    where: Double  # [T, 2] the ego's index in its way and metres along that track
    speed: Double  # [T] the ego's, m/s
    ego: Double  # [T, 2] its rear axle
    lights: NDArray[np.uint8]  # [S, T]


class Event(Protocol):
    """One kind of rare event."""

    name: str
    parameters: tuple[Parameter, ...]
    conflict: str  # one sentence: why the ego must react

    def plan(self, place: Place, rng: np.random.Generator, values: Values) -> Plan | None:
        """Where it happens; None where the town has no such place."""


@runtime_checkable
class Rehearsed(Event, Protocol):
    """An event whose actor is timed by the ego's arrival, which a drive without it tells."""

    def stage(self, place: Place, rng: np.random.Generator, values: Values, plan: Plan, rehearsal: Rehearsal) -> Stage | None:
        """The plan's stage with the actor's script; None where the ego does not come by as it must."""


def draw(event: Event, rng: np.random.Generator) -> dict[str, float]:
    """A value for each parameter."""
    return {p.name: float(rng.uniform(p.low, p.high)) for p in event.parameters}


def pick(rng: np.random.Generator, choices: list[tuple[int, float]]) -> tuple[int, float] | None:
    """One of some (track, metres); None where there is none."""
    return choices[int(rng.integers(len(choices)))] if choices else None


def cruise(place: Place, rng: np.random.Generator, k: int) -> float:
    """A speed to start with on a track, m/s."""
    return float(min(place.net.cap[k], 13.0) * rng.uniform(0.75, 0.95))


def open_road(place: Place, tracks: list[int], s: float, end: float) -> tuple[Clear, ...]:
    """The way from ``s`` on the first track to ``end`` on the last, and a little on both ends."""
    lows = [s - 12.0, *[-1.0] * (len(tracks) - 1)]
    highs = [*(float(place.net.length[k]) for k in tracks[:-1]), end]
    return tuple(Clear(k, low, high + 12.0) for k, low, high in zip(tracks, lows, highs, strict=True))
