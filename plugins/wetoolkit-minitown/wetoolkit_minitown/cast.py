"""Who is on the road when a log begins, and what is staged in it: all draws of a log, from one generator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from wetoolkit_driving.types import AgentClass, Vehicle

from wetoolkit_minitown.network import Net, Paths, build_net, build_paths
from wetoolkit_minitown.roadmap import TownMap, build_map
from wetoolkit_minitown.town import BIKE, CAR, CYCLE, DS, LANE, NEVER, Town, beside, build_town, heading
from wetoolkit_minitown.traffic import BRAKER, CROSSER, CUTTER, NONE, Drivers, Stage, Standers, Walkers

Double = NDArray[np.float64]
Int = NDArray[np.int64]

STAGED: Mapping[str, int] = MappingProxyType(
    {"jaywalker": CROSSER, "crossing-cyclist": CROSSER, "hard-braking-leader": BRAKER, "cut-in": CUTTER}
)
WAYS, WALKS = 16, 24  # tracks of a driver's way, walks of a walker's
EGO = Vehicle()
EGO_MANNER = (0.95, 30.0, 1.25, 1.5, 2.2)
REST = Stage(NONE, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Place:
    """A town with its tables, made once and used by all its logs."""

    name: str
    town: Town
    net: Net
    paths: Paths
    map: TownMap

    @classmethod
    def build(cls, name: str, seed: tuple[int, ...]) -> Place:
        """The town of a seed."""
        town = build_town(np.random.default_rng(seed))
        return cls(name, town, build_net(town), build_paths(town), build_map(town))

    @cached_property
    def lanes(self) -> Int:
        """Tracks that are lanes for cars."""
        return np.flatnonzero(np.asarray(self.net.kind == CAR))

    @cached_property
    def bike_lanes(self) -> Int:
        """Tracks that are cycle tracks along roads."""
        return np.flatnonzero(np.asarray(self.net.kind == BIKE))

    @cached_property
    def onward(self) -> list[list[int]]:
        """For each walk in each direction (2 x index + 1 if backwards) those that lead on from its end."""
        touching: dict[int, list[int]] = {}
        for w, (a, b) in enumerate(self.paths.ends.tolist()):
            touching.setdefault(a, []).append(2 * w)
            touching.setdefault(b, []).append(2 * w + 1)
        ends = [end for a, b in self.paths.ends.tolist() for end in (b, a)]
        return [[c for c in touching[end] if c // 2 != code // 2] for code, end in enumerate(ends)]

    @cached_property
    def broad(self) -> Int:
        """Lanes of roads with two lanes each way that are long enough to be cut in on."""
        wide = [self.town.roads[self.town.tracks[k].road].lanes > 1 and self.net.length[k] > 100 for k in self.lanes]
        picked: Int = self.lanes[np.array(wide, bool)]
        return picked


@dataclass(frozen=True)
class Density:
    """How many of each are in the town."""

    vehicles: int
    cyclists: int
    pedestrians: int


@dataclass(frozen=True)
class Cast:
    """Everybody at the start of a log."""

    drivers: Drivers
    walkers: Walkers
    standers: Standers
    stage: Stage
    kind: NDArray[np.uint8]  # [N + P + R] AgentClass of drivers, walkers, standers
    size: NDArray[np.float32]  # [N + P + R, 3]
    delay: float  # seconds from the event to the window's present


def draw_cast(place: Place, rng: np.random.Generator, density: Density, event: str) -> Cast:
    """Everybody, with ``event`` (a key of STAGED, or "") staged around the ego."""
    start = _ego_start(place, rng, event)
    ways = [_way(place, rng, start[0])]
    spots = [start]
    if event == "cut-in":
        beside_lane = _sibling(place, start[0])
        ways.append(_way(place, rng, beside_lane))
        spots.append((beside_lane, start[1] + rng.uniform(2.0, 10.0), start[2] + 1.0))
    elif event == "hard-braking-leader" or rng.random() < 0.5:
        ways.append(ways[0].copy())
        spots.append((start[0], start[1] + rng.uniform(16.0, 26.0), start[2]))
    others = _spots(place, rng, spots, density.vehicles, place.lanes, 15.0, 70.0 if event == "cut-in" else 22.0)
    bikes = _spots(place, rng, [], density.cyclists, place.bike_lanes, 8.0, 0.0)
    cars = len(spots) - 1 + len(others)
    spots += others + bikes
    ways += [_way(place, rng, k) for k, _, _ in (*others, *bikes)]
    body, manner, size = _bodies(rng, cars, len(bikes))
    if event == "hard-braking-leader":
        manner[1, :2] = 1.0, rng.uniform(8.0, 12.0)
    speed = np.array([v for *_, v in spots])
    drivers = Drivers(np.array(ways), np.array([s for _, s, _ in spots]), np.minimum(speed, manner[:, 1]), body, manner)
    walkers = _walkers(place, rng, density.pedestrians)
    stage, crosser = _stage(place, rng, event, ways[0], start[1])
    standers, stand_kind, stand_size = _standers(place, rng, ways[0], crosser, event)
    kind = np.concatenate([
        np.full(1 + cars, AgentClass.VEHICLE), np.full(len(bikes), AgentClass.BICYCLE),
        np.full(density.pedestrians, AgentClass.PEDESTRIAN), stand_kind,
    ]).astype(np.uint8)  # fmt: skip
    person = np.column_stack([rng.uniform(0.45, 0.65, (density.pedestrians, 2)), rng.uniform(1.5, 1.95, density.pedestrians)])
    sizes = np.vstack([size, person, stand_size]).astype(np.float32)
    return Cast(drivers, walkers, standers, stage, kind, sizes, float(rng.uniform(-0.6, 0.5)))


def _ego_start(place: Place, rng: np.random.Generator, event: str) -> tuple[int, float, float]:
    """(track, metres, m/s)."""
    lanes = place.broad if event == "cut-in" and len(place.broad) else place.lanes
    k = int(rng.choice(lanes))
    top = place.net.length[k] - 55.0
    s = rng.uniform(4.0, 6.0) if event == "cut-in" else rng.uniform(4.0, max(top, 5.0))
    return k, float(s), float(min(place.net.cap[k], 13.0) * rng.uniform(0.7, 0.95))


def _sibling(place: Place, k: int) -> int:
    """The other lane of the same carriageway."""
    t = place.town.tracks[k]
    carriageway = (t.road, t.direction)
    return next(
        int(i) for i in place.lanes if i != k and (place.town.tracks[i].road, place.town.tracks[i].direction) == carriageway
    )


def _way(place: Place, rng: np.random.Generator, start: int) -> Int:
    """[WAYS] a random way through town."""
    net, way = place.net, [start]
    for u in rng.random(WAYS - 1):
        first, last = net.follow_offset[way[-1]], net.follow_offset[way[-1] + 1]
        way.append(int(net.follow[first + int(u * (last - first))]))
    return np.array(way, np.int64)


def _spots(
    place: Place, rng: np.random.Generator, taken: list[tuple[int, float, float]], count: int, lanes: Int, apart: float, free: float
) -> list[tuple[int, float, float]]:
    """Up to ``count`` places (track, metres, m/s), ``apart`` metres from each other and ``free`` from those that are ``taken``."""
    slots = [(int(k), s) for k in lanes for s in np.arange(4.0, place.net.length[k] - 32.0, apart)]
    slots = [slot for slot in slots if all(slot[0] != k or abs(slot[1] - s) > free for k, s, _ in taken)]
    picked = rng.permutation(len(slots))[:count]
    top = 5.0 if free == 0 else 14.0
    return [(*slots[i], float(min(place.net.cap[slots[i][0]], top) * rng.uniform(0.6, 0.95))) for i in picked]


def _bodies(rng: np.random.Generator, cars: int, bikes: int) -> tuple[Double, Double, Double]:
    """Bodies [N, 3], manners [N, 5] and sizes [N, 3] of the ego, the cars and the cyclists."""
    long = rng.random(cars) < 0.15
    length = np.where(long, rng.uniform(5.4, 6.8, cars), rng.uniform(4.0, 4.9, cars))
    width = np.where(long, rng.uniform(2.0, 2.25, cars), rng.uniform(1.75, 1.95, cars))
    height = np.where(long, 2.6, 1.5)
    size = np.vstack([
        [[EGO.length, EGO.width, EGO.height]], np.column_stack([length, width, height]),
        np.tile([1.8, 0.65, 1.75], (bikes, 1)),
    ])  # fmt: skip
    rear = 0.22 * size[:, 0]
    body = np.column_stack([size[:, 1], size[:, 0] - rear, rear])
    body[0] = EGO.width, EGO.front, EGO.rear
    n = cars + bikes
    manner = np.column_stack([
        rng.uniform(0.8, 1.05, n), np.where(np.arange(n) < cars, 30.0, rng.uniform(3.6, 5.6, n)),
        rng.uniform(1.0, 1.7, n), np.where(np.arange(n) < cars, rng.uniform(1.1, 1.9, n), 0.8), rng.uniform(1.6, 2.4, n),
    ])  # fmt: skip
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


def _stage(place: Place, rng: np.random.Generator, event: str, way: Int, s: float) -> tuple[Stage, tuple[Double, float, float]]:
    """The stage, and for those who cross: start [3], speed, metres to go."""
    nobody = (np.zeros(3), 0.0, 0.0)
    if event in ("jaywalker", "crossing-cyclist"):
        return _crosser(place, rng, event == "crossing-cyclist", way, s)
    if event == "hard-braking-leader":
        after = int(rng.integers(28, 80))
        return Stage(BRAKER, after, 0.0, 0.0, rng.uniform(4.5, 7.0), rng.uniform(0.0, 2.0), rng.uniform(1.0, 3.0), 0.0), nobody
    if event == "cut-in":
        side = 1.0 if place.town.tracks[int(way[0])].lane == 1 else -1.0
        change, gap = rng.uniform(1.6, 2.6), rng.uniform(3.0, 8.0)
        return Stage(CUTTER, 28, 0.0, change, rng.uniform(2.0, 4.5), rng.uniform(2.5, 6.0), gap, side), nobody
    return REST, nobody


def _crosser(
    place: Place, rng: np.random.Generator, cyclist: bool, way: Int, s: float
) -> tuple[Stage, tuple[Double, float, float]]:
    """Somebody who sets off across the ego's lane so as to be in its middle about when the ego would get there."""
    at, along = _ahead(place, way, s, rng.uniform(62.0, 160.0))
    track = place.town.tracks[int(way[at])]
    road = place.town.roads[track.road]
    from_right = rng.random() < (0.5 if cyclist else 0.65)
    kerb = road.lanes * LANE + road.parking_width + CYCLE + 0.4 + (rng.uniform(0.5, 5.0) if cyclist else 0.0)
    inner = (track.lane + 0.5) * LANE
    way_to_go = kerb - inner if from_right else kerb + inner
    time = rng.uniform(2.2, 3.6)
    speed = float(np.clip(way_to_go / time, *((2.5, 5.0) if cyclist else (1.2, 3.0))))
    h = float(heading(track.xy)[int(along / DS)])
    side = 1.0 if from_right else -1.0
    x, y = track.xy[int(along / DS)] + side * way_to_go * np.array([np.sin(h), -np.cos(h)])
    start = np.array([x, y, h + side * np.pi / 2])
    meet = way_to_go / speed + 0.25 + rng.uniform(-0.3, 0.2)
    return Stage(CROSSER, at, along, meet, 0.0, 0.0, 0.0, 0.0), (start, speed, 2 * kerb)


def _ahead(place: Place, way: Int, s: float, distance: float) -> tuple[int, float]:
    """(index in the way, metres along it) of a place in the middle part of a road, about so far ahead."""
    left = s + distance
    for at, k in enumerate(way):
        length = float(place.net.length[k])
        if place.net.kind[k] == CAR and (left < 0.85 * length or left < length + 20.0):
            low = max(0.3 * length, s + 62.0 if at == 0 else 0.0)
            if low < 0.85 * length:
                return at, float(np.clip(left, low, 0.85 * length))
        left -= length
    return 2, 0.5 * float(place.net.length[way[2]])


def _standers(
    place: Place, rng: np.random.Generator, way: Int, crosser: tuple[Double, float, float], event: str
) -> tuple[Standers, NDArray[np.uint8], Double]:
    """Who crosses (or nobody: then far fewer than one row), and people who merely stand at the kerbs of the ego's way."""
    roads = [place.town.tracks[int(k)].road for k in way[:9] if place.net.kind[k] == CAR]
    rows, kinds, sizes = [], [], []
    if event in ("jaywalker", "crossing-cyclist"):
        bike = event == "crossing-cyclist"
        rows.append(crosser[0])
        kinds.append(AgentClass.BICYCLE if bike else AgentClass.PEDESTRIAN)
        sizes.append((1.8, 0.65, 1.75) if bike else (0.55, 0.6, 1.7))
    for r in roads:
        road = place.town.roads[r]
        for side in (-1.0, 1.0):
            if rng.random() < 0.6:
                line = beside(road.line, side * (road.lanes * LANE + road.parking_width + CYCLE + 0.5))
                i = int(rng.uniform(0.15, 0.85) * len(line))
                rows.append(np.array([*line[i], heading(line)[i] + side * np.pi / 2 + rng.uniform(-0.7, 0.7)]))
                kinds.append(AgentClass.PEDESTRIAN)
                sizes.append((0.55, 0.6, 1.7))
    speed, length = np.zeros(len(rows)), np.zeros(len(rows))
    if event in ("jaywalker", "crossing-cyclist"):
        speed[0], length[0] = crosser[1:]
    start = np.array(rows, np.float64).reshape(-1, 3)
    return Standers(start, speed, length), np.array(kinds, np.uint8), np.array(sizes, np.float64).reshape(-1, 3)
