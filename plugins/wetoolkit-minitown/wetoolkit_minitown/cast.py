"""Who is on the road when a log begins, and what is staged in it: all draws of a log, from one generator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from wetoolkit_driving.types import AgentClass, Vehicle

from wetoolkit_minitown.curves import DS, beside, heading
from wetoolkit_minitown.events import EVENTS
from wetoolkit_minitown.events.base import CYCLIST, PERSON, REST, Clear, Leader, Plan, Thing, cruise, draw
from wetoolkit_minitown.events.construction_stop import zone
from wetoolkit_minitown.place import Place
from wetoolkit_minitown.town import CAR, CYCLE, LANE, NEVER, PARKING
from wetoolkit_minitown.traffic import Drivers, Stage, Standers, Walkers

Double = NDArray[np.float64]
Int = NDArray[np.int64]
Spot = tuple[int, float, float]  # track, metres, m/s

WALKS = 24  # walks of a walker's way
EGO = Vehicle()
EGO_MANNER = (0.98, 30.0, 1.2, 1.9, 2.8, 2.8)
AROUND = 280.0  # metres around the ego's start within which there is traffic
BUS = (10.5, 2.35, 3.0)  # length, width, height, metres
CLOSE = 5.5  # metres between centres at which others are in the way of an actor


@dataclass(frozen=True)
class Density:
    """How many of each are in the town."""

    vehicles: int
    cyclists: int
    pedestrians: int


@dataclass(frozen=True)
class Temper:
    """How busy and how hasty the traffic of one log is."""

    busy: float  # share of the density's numbers that are there
    speed: float  # factor of everybody's speed but the ego's
    headway: float  # factor of everybody's headway
    patience: float  # seconds to those with the right of way that drivers who give way find enough

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Temper:
        """Evenly from quiet to busy and from calm to hasty."""
        hasty = rng.random()
        return cls(rng.uniform(0.35, 1.0), 0.92 + 0.13 * hasty, 1.2 - 0.3 * hasty, 5.2 - 1.6 * hasty)

    def thinned(self, density: Density) -> Density:
        """The numbers of this log."""
        counts = (round(self.busy * n) for n in (density.vehicles, density.cyclists, density.pedestrians))
        return Density(*counts)


@dataclass(frozen=True)
class Cast:
    """Everybody at the start of a log."""

    temper: Temper
    density: Density
    plan: Plan
    drivers: Drivers
    walkers: Walkers
    standers: Standers
    kind: NDArray[np.uint8]  # [N + P + R] AgentClass of drivers, walkers, standers
    size: NDArray[np.float32]  # [N + P + R, 3]
    things: tuple[Thing, ...]  # that never move
    delay: float  # seconds from the event to the window's present
    values: Mapping[str, float] = field(default_factory=dict)  # of the event's parameters


def draw_cast(place: Place, rng: np.random.Generator, density: Density, event: str) -> Cast | None:
    """Everybody, with ``event`` (a key of EVENTS, or "") planned around the ego; None where the town has no place for it."""
    temper = Temper.draw(rng)
    density = temper.thinned(density)
    values = draw(EVENTS[event], rng) if event else {}
    plan = EVENTS[event].plan(place, rng, values) if event else _ordinary(place, rng)
    if plan is None:
        return None
    spots, ways = [(int(plan.way[0]), plan.s, plan.v)], [plan.way]
    if plan.leader is not None:
        spots.append((int(plan.leader.way[0]), plan.leader.s, plan.leader.v))
        ways.append(plan.leader.way)
    others = _spots(place, rng, plan.clear, density.vehicles, _near_start(place, plan, place.lanes), 15.0, 14.0)
    bikes = _spots(place, rng, (), density.cyclists, _near_start(place, plan, place.bike_lanes), 8.0, 5.0)
    cars = len(spots) - 1 + len(others)
    spots += others + bikes
    ways += [place.way(rng, k) for k, _, _ in (*others, *bikes)]
    body, manner, size = _bodies(rng, temper, cars, len(bikes))
    if plan.leader is not None:
        manner[1, 0] = manner[1, 0] if plan.leader.factor is None else plan.leader.factor
        manner[1, 1] = manner[1, 1] if plan.leader.top is None else plan.leader.top
    speed = np.array([v for *_, v in spots])
    drivers = Drivers(np.array(ways), np.array([s for _, s, _ in spots]), np.minimum(speed, manner[:, 1]), body, manner)
    walkers = _walkers(place, rng, density.pedestrians)
    people = (*(t for t in plan.things if t.speed > 0), *_bystanders(place, rng, plan.way), *_waiting(place, rng))
    kind = np.concatenate([
        np.full(1 + cars, AgentClass.VEHICLE), np.full(len(bikes), AgentClass.BICYCLE),
        np.full(density.pedestrians, AgentClass.PEDESTRIAN), np.array([t.kind for t in people], np.uint8),
    ]).astype(np.uint8)  # fmt: skip
    person = np.column_stack([rng.uniform(0.45, 0.65, (density.pedestrians, 2)), rng.uniform(1.5, 1.95, density.pedestrians)])
    sizes = np.vstack([size, person, np.array([t.size for t in people]).reshape(-1, 3)]).astype(np.float32)
    things = (*(t for t in plan.things if t.speed == 0), *_fixtures(place, rng))
    return Cast(
        temper, density, plan, drivers, walkers, _standers(people), kind, sizes, things, float(rng.uniform(-0.6, 0.5)), values
    )


def _ordinary(place: Place, rng: np.random.Generator) -> Plan:
    """Anywhere, with a car ahead or without."""
    k = int(rng.choice(place.lanes))
    s = float(rng.uniform(4.0, max(place.net.length[k] - 55.0, 5.0)))
    way, v, gap = place.route(rng, k), cruise(place, rng, k), rng.uniform(16.0, 26.0)
    leader = Leader(way.copy(), float(s + gap), v) if rng.random() < 0.5 else None
    return Plan(way, s, v, leader, (Clear(k, s - 22.0, s + (gap if leader else 0.0) + 22.0),))


def staged(cast: Cast, stage: Stage) -> Cast:
    """The cast with another stage."""
    return replace(cast, plan=replace(cast.plan, stage=stage))


def at_rest(cast: Cast) -> Cast:
    """The cast with nothing staged."""
    return staged(cast, REST)


def make_way(cast: Cast, stage: Stage, drivers: Double, walkers: Double) -> Cast:
    """The cast with an actor, without those who were in its way in the rehearsal: drivers [N, T, 4] and walkers [P, T, 4]."""
    n, p = len(drivers), len(walkers)
    stays = ~_in_the_way(stage, drivers)
    stays[0] = True
    walks = ~_near(stage, walkers, CLOSE - 2.0)
    rows = np.concatenate([stays, walks, np.ones(len(cast.kind) - n - p, bool)])
    d, w = cast.drivers, cast.walkers
    kept = Drivers(d.path[stays], d.s[stays], d.v[stays], d.body[stays], d.manner[stays])
    people = Walkers(w.path[walks], w.s[walks], w.v[walks], w.aside[walks])
    return staged(replace(cast, drivers=kept, walkers=people, kind=cast.kind[rows], size=cast.size[rows]), stage)


def _near(stage: Stage, moved: Double, metres: float) -> NDArray[np.bool_]:
    """[N] whether they come near the actor within a second of its being there."""
    script, found = stage.script, np.zeros(len(moved), bool)
    for late in (-10, 0, 10):
        at = np.clip(np.arange(len(script)) + late, 0, len(script) - 1)
        found |= np.hypot(*np.moveaxis(moved[:, at, :2] - script[:, :2], -1, 0)).min(1) < metres
    return found


def _in_the_way(stage: Stage, drivers: Double) -> NDArray[np.bool_]:
    """[N] whether they come near the actor, or stand or drive in its direction where it is yet to pass before the event is over."""
    script, over = stage.script[: stage.at + 45], min(stage.at + 45, len(stage.script))
    some = drivers[:, :over:5]
    away, index = cKDTree(script[:, :2]).query(some[..., :2].reshape(-1, 2))
    index = index.reshape(some.shape[:2])
    along = np.cos(some[..., 2] - script[index, 2]) > 0.7
    ahead = (away.reshape(some.shape[:2]) < 2.0) & along & (index > np.arange(0, over, 5) - 15)
    return np.asarray(ahead.any(1)) | _near(stage, drivers, CLOSE)


def _near_start(place: Place, plan: Plan, lanes: Int) -> Int:
    """Those of some lanes that lie near the ego's start: who is further off is not met."""
    here = place.town.tracks[int(plan.way[0])].xy[int(plan.s / DS)]
    away = [np.hypot(*(place.town.tracks[k].xy[[0, -1]] - here).T).min() for k in lanes.tolist()]
    return lanes[np.array(away) < AROUND]


def _spots(
    place: Place, rng: np.random.Generator, clear: tuple[Clear, ...], count: int, lanes: Int, apart: float, top: float
) -> list[Spot]:
    """Up to ``count`` places, ``apart`` metres from each other, off the stretches that are to be clear, no faster than ``top``."""
    slots = [(int(k), s) for k in lanes for s in np.arange(4.0, place.net.length[k] - 32.0, apart)]
    slots = [slot for slot in slots if not any(slot[0] == c.track and c.low < slot[1] < c.high for c in clear)]
    picked = rng.permutation(len(slots))[:count]
    return [(*slots[i], float(min(place.net.cap[slots[i][0]], top) * rng.uniform(0.6, 0.95))) for i in picked]


def _bodies(rng: np.random.Generator, temper: Temper, cars: int, bikes: int) -> tuple[Double, Double, Double]:
    """Bodies [N, 3], manners [N, 6] and sizes [N, 3] of the ego, the cars and the cyclists."""
    long = rng.random(cars) < 0.15
    length = np.where(long, rng.uniform(5.4, 6.8, cars), rng.uniform(4.0, 4.9, cars))
    width = np.where(long, rng.uniform(2.0, 2.25, cars), rng.uniform(1.75, 1.95, cars))
    height = np.where(long, 2.6, 1.5)
    size = np.vstack([
        [[EGO.length, EGO.width, EGO.height]], np.column_stack([length, width, height]),
        np.tile(CYCLIST, (bikes, 1)),
    ])  # fmt: skip
    rear = 0.22 * size[:, 0]
    body = np.column_stack([size[:, 1], size[:, 0] - rear, rear])
    body[0] = EGO.width, EGO.front, EGO.rear
    n = cars + bikes
    manner = np.column_stack([
        rng.uniform(0.8, 1.05, n), np.where(np.arange(n) < cars, 30.0, rng.uniform(3.6, 5.6, n)),
        rng.uniform(1.0, 1.7, n), np.where(np.arange(n) < cars, rng.uniform(1.1, 1.9, n), 0.8), rng.uniform(1.6, 2.4, n),
        temper.patience * rng.uniform(0.9, 1.1, n),
    ])  # fmt: skip
    manner[:, 0] *= temper.speed
    manner[:, 2] *= temper.headway
    return body, np.vstack([[EGO_MANNER], manner]), size


def _walkers(place: Place, rng: np.random.Generator, count: int) -> Walkers:
    """Walkers on pavements, bound for random corners and crossings."""
    pavements = [w for w, walk in enumerate(place.town.walks) if walk.node == NEVER]
    draws = rng.random((count, WALKS + 1))
    paths = np.zeros((count, WALKS), np.int64)
    for p in range(count):
        code = int(draws[p, 0] * 2 * len(pavements))
        code = 2 * pavements[code // 2] + code % 2
        for e in range(WALKS):
            paths[p, e] = code
            ways = place.onward[code]
            code = ways[int(draws[p, e + 1] * len(ways))]
    s = rng.uniform(0, 0.9, count) * place.paths.length[paths[:, 0] // 2]
    return Walkers(paths, s, rng.uniform(1.0, 1.6, count), rng.uniform(0.0, 0.7, count))


def _bystanders(place: Place, rng: np.random.Generator, way: Int) -> list[Thing]:
    """People who merely stand at the kerbs of the ego's way."""
    found = []
    for r in (place.town.tracks[int(k)].road for k in way[:9] if place.net.kind[k] == CAR):
        road = place.town.roads[r]
        for side in (-1.0, 1.0):
            if rng.random() < 0.6:
                line = beside(road.line, side * (road.lanes * LANE + road.parking_width + CYCLE + 0.5))
                i = int(rng.uniform(0.15, 0.85) * len(line))
                turned = float(heading(line)[i] + side * np.pi / 2 + rng.uniform(-0.7, 0.7))
                found.append(Thing((float(line[i, 0]), float(line[i, 1]), turned), AgentClass.PEDESTRIAN, PERSON))
    return found


def _waiting(place: Place, rng: np.random.Generator) -> list[Thing]:
    """People at bus stops, on the pavement beside the bay."""
    found = []
    for x, y, h in place.town.stops.tolist():
        right = PARKING / 2 + CYCLE + 0.6
        for along in rng.uniform(-4.0, 4.0, rng.integers(0, 4)).tolist():
            at = (x + along * np.cos(h) + right * np.sin(h), y + along * np.sin(h) - right * np.cos(h))
            found.append(Thing((*at, h + np.pi / 2 + float(rng.uniform(-0.5, 0.5))), AgentClass.PEDESTRIAN, PERSON))
    return found


def _fixtures(place: Place, rng: np.random.Generator) -> list[Thing]:
    """Construction zones, and buses at some of the stops."""
    found = [thing for k, *where in place.town.zones for thing in zone(place, k, *where)]
    at_stop = place.town.stops[rng.random(len(place.town.stops)) < 0.5].tolist()
    return found + [Thing((x, y, h), AgentClass.VEHICLE, BUS) for x, y, h in at_stop]


def _standers(people: tuple[Thing, ...]) -> Standers:
    """Those who stand, as the kernel takes them."""
    start = np.array([t.pose for t in people], np.float64).reshape(-1, 3)
    return Standers(start, np.array([t.speed for t in people], np.float64), np.array([t.length for t in people], np.float64))
