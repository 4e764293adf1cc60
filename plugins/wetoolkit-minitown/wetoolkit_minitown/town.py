"""A seeded town: roads on a jittered grid, junctions with signals or priority, crossings, cycle tracks, pavements, parked cars.

Everything that moves follows *tracks*: polylines sampled every ``DS`` metres. Right-hand traffic; metres; headings in radians. From
a road's middle outwards lie, on each side: lanes, a parking strip on some roads, a cycle track, the pavement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wetoolkit_minitown.curves import bend, beside, heading, resample, unit
from wetoolkit_minitown.fixtures import Side, Zone, bus_stops, parked_cars, zones
from wetoolkit_minitown.roundabout import CYCLE_RING, FOOT_RING, RING, through

Double = NDArray[np.float64]
Int = NDArray[np.int64]

LANE, PARKING, CYCLE, PAVEMENT = 3.5, 2.4, 1.8, 2.6  # widths, metres
CROSSING_BACK, CROSSING_HALF = 2.2, 1.6  # from the stop line into the junction; half its width, metres
CAR, CAR_LINK, BIKE, BIKE_LINK = range(4)  # kinds of track
NEVER = -1
CORNER = 22.0  # metres from a junction to where its roads begin
BEND = 58.0  # metres from a node where two roads meet to where its bend begins
ROUNDABOUTS = 1  # in a town that has junctions of small roads for them
SIGNALLED = 3  # crossroads that have signals in any town


@dataclass(frozen=True)
class Road:
    """A stretch between two junctions, cut back to their stop lines."""

    nodes: tuple[int, int]
    line: Double  # [n, 2] its middle, from the first node to the second
    lanes: int  # in each direction
    parking: bool
    limit: float  # m/s

    @property
    def parking_width(self) -> float:
        """Metres."""
        return PARKING if self.parking else 0.0

    @property
    def cycle_offset(self) -> float:
        """Middle of the road to the middle of its cycle track, metres."""
        return self.lanes * LANE + self.parking_width + CYCLE / 2

    @property
    def pavement_offset(self) -> float:
        """Middle of the road to the middle of its pavement, metres."""
        return self.lanes * LANE + self.parking_width + CYCLE + PAVEMENT / 2


@dataclass(frozen=True)
class Arm:
    """A road as seen from one of its junctions."""

    road: int
    end: int  # 0: the road begins here, 1: it ends here
    angle: float  # of the way out, radians
    stop: Double  # [2] middle of the road at the stop line


@dataclass(frozen=True)
class Track:
    """One polyline to move along and what the rules say about it."""

    xy: Double  # [n, 2] every DS metres
    kind: int
    road: int = NEVER
    direction: int = NEVER  # 0 along the road's line, 1 against it
    lane: int = NEVER  # 0 is the innermost
    node: int = NEVER  # junction: of a link the one it crosses, of a lane the one it ends at
    arms: tuple[int, int] = (NEVER, NEVER)  # of a link: from, to
    origin: int = NEVER  # of a link: the lane it leaves
    target: int = NEVER  # of a link: the lane it enters
    turn: float = 0.0  # of a link, radians, left positive
    limit: float = 0.0  # m/s
    free: bool = False  # of a link: a mere bend, where only two roads meet
    priority: int = 2  # of a link: 2 has the right of way, 1 gives way to oncoming, 0 gives way to all
    signal: int = NEVER  # row of the signal table


@dataclass(frozen=True)
class Town:
    """The plan of a town."""

    nodes: Double  # [N, 2]
    arms: tuple[tuple[Arm, ...], ...]  # by node, counter-clockwise
    roads: tuple[Road, ...]
    tracks: tuple[Track, ...]
    walks: tuple[Track, ...]  # pavements, corners and crossings; ``node`` is set for crossings only, with arms=(arm, arm)
    walk_ends: Int  # [W, 2] walk nodes
    signals: Int  # [S, 2] node, phase (0 or 1)
    signal_times: Double  # [S, 3] offset, green, period in seconds
    parked: Double  # [Q, 3] box centre x, y, heading
    stops: Double  # [B, 3] bus stops: middle of the bay in a parking strip x, y, heading
    zones: tuple[Zone, ...]  # construction zones


def build_town(rng: np.random.Generator, columns: int = 5, rows: int = 5, spacing: float = 175.0) -> Town:
    """A town of ``columns`` x ``rows`` junctions about ``spacing`` metres apart; equal generators give equal towns."""
    grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).reshape(-1, 2)
    nodes = grid * spacing + rng.uniform(-14, 14, grid.shape)
    edges = _edges(rng, columns, rows)
    wide = (int(rng.integers(rows)), int(rng.integers(columns)))
    roads, arms = _roads(rng, nodes, edges, grid, wide)
    control = _control(rng, arms, roads)
    tracks = _tracks(nodes, roads, arms, control)
    walks, ends = _walks(rng, nodes, roads, arms, control)
    signals = np.array([(n, p) for n in range(len(nodes)) if control[n] == "signal" for p in (0, 1)], np.int64).reshape(-1, 2)
    programs, sides = _programs(rng, signals), _sides(roads, tracks)
    stops = bus_stops(rng, sides)
    return Town(
        nodes, arms, roads, tracks, walks, ends, signals, programs, parked_cars(rng, sides, stops), stops, zones(rng, sides)
    )


def _sides(roads: tuple[Road, ...], tracks: tuple[Track, ...]) -> list[Side]:
    """Every outermost lane with its parking strip, if it has one."""
    outermost = [(k, t) for k, t in enumerate(tracks) if t.kind == CAR and t.lane == roads[t.road].lanes - 1]
    return [Side(k, t.xy, (LANE + PARKING) / 2 if roads[t.road].parking else 0.0) for k, t in outermost]


def _edges(rng: np.random.Generator, columns: int, rows: int) -> list[tuple[int, int]]:
    """The grid's edges but for a few, so that three-arm junctions appear inside; every node keeps two ways out."""
    index = np.arange(columns * rows).reshape(rows, columns)
    edges = [(int(a), int(b)) for a, b in zip(index[:, :-1].flat, index[:, 1:].flat, strict=True)]
    edges += [(int(a), int(b)) for a, b in zip(index[:-1].flat, index[1:].flat, strict=True)]
    for _ in range(3):
        degree = np.bincount(np.ravel(edges), minlength=columns * rows)
        free = [e for e in edges if degree[e[0]] > 2 and degree[e[1]] > 2 and (degree[e[0]] > 3 or degree[e[1]] > 3)]
        if free:
            edges.remove(free[int(rng.integers(len(free)))])
    return edges


def _roads(
    rng: np.random.Generator, nodes: Double, edges: Sequence[tuple[int, int]], grid: Int, wide: tuple[int, int]
) -> tuple[tuple[Road, ...], tuple[tuple[Arm, ...], ...]]:
    """Roads between junctions, bowed a little; those of one row and one column have two lanes each way."""
    degree = np.bincount(np.ravel(edges), minlength=len(nodes))
    roads: list[Road] = []
    arms = [list[Arm]() for _ in nodes]
    for (a, b), broad in zip(edges, _broad(edges, grid, wide), strict=True):
        parking = bool(rng.random() < 0.4)
        side = nodes[b] - nodes[a]
        bow = rng.uniform(-9, 9) * np.array([-side[1], side[0]]) / np.hypot(*side)
        t = np.linspace(0, 1, 200)[:, None]
        line = resample(nodes[a] + t * side + 4 * t * (1 - t) * bow, 0.25)
        at = np.arange(len(line)) * 0.25
        cut = [BEND if degree[n] == 2 else CORNER + (3.0 if wide_near(grid, n, wide) else 0.0) for n in (a, b)]
        line = resample(line[(at >= cut[0]) & (at <= at[-1] - cut[1])])
        limit = 13.9 if broad else float(rng.choice([8.9, 11.1, 13.9], p=[0.25, 0.5, 0.25]))
        h = heading(line)
        arms[a].append(Arm(len(roads), 0, float(h[0]), line[0]))
        arms[b].append(Arm(len(roads), 1, float(h[-1] + np.pi), line[-1]))
        roads.append(Road((a, b), line, 2 if broad else 1, parking, limit))
    ordered = tuple(tuple(sorted(some, key=lambda arm: arm.angle % (2 * np.pi))) for some in arms)
    return tuple(roads), ordered


def _broad(edges: Sequence[tuple[int, int]], grid: Int, wide: tuple[int, int]) -> list[bool]:
    """Which roads have two lanes each way: those of one row and one column, and what goes on from them round a bend."""
    degree = np.bincount(np.ravel(edges), minlength=len(grid))
    broad = [bool((grid[a, 1] == grid[b, 1] == wide[0]) or (grid[a, 0] == grid[b, 0] == wide[1])) for a, b in edges]
    for _ in edges:
        round_bends = {n for edge, yes in zip(edges, broad, strict=True) if yes for n in edge if degree[n] == 2}
        broad = [yes or not round_bends.isdisjoint(edge) for edge, yes in zip(edges, broad, strict=True)]
    return broad


def wide_near(grid: Int, node: int, wide: tuple[int, int]) -> bool:
    """Whether a two-lane road passes a node."""
    return bool(grid[node, 1] == wide[0] or grid[node, 0] == wide[1])


def _control(rng: np.random.Generator, arms: tuple[tuple[Arm, ...], ...], roads: tuple[Road, ...]) -> list[str]:
    """How each junction is ruled: "free" (two arms), "signal", "stop" (all give way), "priority" or "roundabout"."""
    draws = rng.random(len(arms))
    share = {2: (0.0, 0.0), 3: (0.5, 0.6), 4: (0.8, 0.85)}
    rules = []
    for some, u in zip(arms, draws, strict=True):
        signal, stop = share[len(some)]
        rules.append("free" if len(some) == 2 else "signal" if u < signal else "stop" if u < stop else "priority")
    crossroads = [n for n in np.argsort(draws) if len(arms[n]) == 4]
    for n in crossroads[:SIGNALLED]:
        rules[n] = "signal"
    small = [n for n in np.argsort(draws)[::-1] if len(arms[n]) > 2 and all(roads[arm.road].lanes == 1 for arm in arms[n])]
    for n in [n for n in small if n not in crossroads[:SIGNALLED]][:ROUNDABOUTS]:
        rules[n] = "roundabout"
    return rules


def _wrap(angle: float) -> float:
    return (angle + np.pi) % (2 * np.pi) - np.pi


def main_axis(arms: Sequence[Arm]) -> tuple[int, int]:
    """The two arms of a junction that lie most nearly in one line."""
    pairs = [(i, j) for i in range(len(arms)) for j in range(i)]
    return min(pairs, key=lambda p: abs(abs(_wrap(arms[p[0]].angle - arms[p[1]].angle)) - np.pi))


def _tracks(nodes: Double, roads: tuple[Road, ...], arms: tuple[tuple[Arm, ...], ...], control: list[str]) -> tuple[Track, ...]:
    tracks: list[Track] = []
    for r, road in enumerate(roads):
        for direction in (0, 1):
            line = road.line if direction == 0 else road.line[::-1]
            for j in range(road.lanes):
                xy = resample(beside(line, (j + 0.5) * LANE))
                tracks.append(Track(xy, CAR, r, direction, j, road.nodes[1 - direction], limit=road.limit))
            xy = resample(beside(line, road.cycle_offset))
            tracks.append(Track(xy, BIKE, r, direction, 0, road.nodes[1 - direction], limit=road.limit))
    lanes = {(t.road, t.direction, t.lane, t.kind): i for i, t in enumerate(tracks)}
    row = 0
    for n, some in enumerate(arms):
        tracks += _links((n, nodes[n]), some, roads, control[n], row, lanes, tracks)
        row += 2 * (control[n] == "signal")
    return tuple(tracks)


def _links(
    node: tuple[int, Double], arms: Sequence[Arm], roads: tuple[Road, ...], rule: str, row: int,
    lanes: dict[tuple[int, int, int, int], int], tracks: list[Track],
) -> list[Track]:  # fmt: skip
    """Every way across one junction."""
    main = main_axis(arms)
    found = []
    for i, j, lane_in, lane_out, turn, kind in _movements(arms, roads):
        origin = lanes[arms[i].road, 1 - arms[i].end, lane_in, kind]
        target = lanes[arms[j].road, arms[j].end, lane_out, kind]
        a, b = tracks[origin].xy, tracks[target].xy
        h0, h1 = float(heading(a)[-1]), float(heading(b)[0])
        if rule == "roundabout":
            ring = RING if kind == CAR else CYCLE_RING
            xy = through(node[1], a[-1], h0, b[0], h1, (arms[i].angle, arms[j].angle), ring)
        else:
            xy = bend(a[-1], h0, b[0], h1)
        minor = rule == "stop" or (rule == "priority" and i not in main)
        priority = 0 if minor else 1 if rule == "roundabout" or (turn > 0.6 and rule != "free") else 2
        signal = row + (i not in main) if rule == "signal" else NEVER
        limit = min(tracks[origin].limit, tracks[target].limit)
        facts = (arms[j].road, NEVER, lane_in, node[0], (i, j), origin, target, turn, limit, rule == "free", priority, signal)
        found.append(Track(xy, kind + 1, *facts))
    return found


def _movements(arms: Sequence[Arm], roads: tuple[Road, ...]) -> list[tuple[int, int, int, int, float, int]]:
    """(from arm, to arm, lane, lane, turn, kind of lane): the inner lane turns left, the outer right, both go straight."""
    ways = []
    for i, a in enumerate(arms):
        turns = {j: _wrap(b.angle - a.angle - np.pi) for j, b in enumerate(arms) if j != i}
        n = roads[a.road].lanes
        for j, turn in turns.items():
            m = roads[arms[j].road].lanes
            straight = len(arms) == 2 or abs(turn) < 0.6
            for lane in range(n):
                inner, outer = lane == 0, lane == n - 1
                only = all((t > 0.6) == (turn > 0.6) for t in turns.values())
                if straight or only or (turn > 0 and inner) or (turn < 0 and outer):
                    to = min(lane, m - 1) if straight and n > 1 else (0 if turn > 0 else m - 1)
                    ways.append((i, j, lane, to, turn, CAR))
            if straight or turn < 0:
                ways.append((i, j, 0, 0, turn, BIKE))
    return ways


def _walks(
    rng: np.random.Generator, nodes: Double, roads: tuple[Road, ...], arms: tuple[tuple[Arm, ...], ...], control: list[str]
) -> tuple[tuple[Track, ...], Int]:
    """Pavements along both sides of each road, corners that join them, crossings over the arms of junctions.

    Walk node 4 r + 2 e + s: road r, at its end e, side s (0 right of its line, 1 left).
    """
    walks, ends = [], []
    lines = [[_pavement(road, side) for side in (0, 1)] for road in roads]
    for r in range(len(roads)):
        for side in (0, 1):
            walks.append(Track(lines[r][side], CAR, r))
            ends.append((4 * r + side, 4 * r + 2 + side))
    for n, some in enumerate(arms):
        for i, arm in enumerate(some):
            other = some[(i + 1) % len(some)]
            # Looking out along an arm, its left side faces the next arm's right side (arms run counter-clockwise).
            s0, s1 = (1, 0) if arm.end == 0 else (0, 1), (0, 1) if other.end == 0 else (1, 0)
            a = lines[arm.road][s0[0]][0 if arm.end == 0 else -1]
            b = lines[other.road][s1[0]][0 if other.end == 0 else -1]
            gap = (other.angle - arm.angle) % (2 * np.pi)
            if len(some) > 2 and gap > 2.2 and control[n] == "roundabout":  # round the side that has no arm
                corner = through(nodes[n], a, arm.angle + np.pi, b, other.angle, (arm.angle, other.angle), FOOT_RING)
            else:
                corner = bend(a, arm.angle + np.pi, b, other.angle)
            walks.append(Track(corner, CAR, NEVER))
            ends.append((4 * arm.road + 2 * arm.end + s0[0], 4 * other.road + 2 * other.end + s1[0]))
            if len(some) > 2 and rng.random() < 0.85:
                right, left = (lines[arm.road][s][0 if arm.end == 0 else -1] for s in (0, 1))
                walks.append(Track(resample(np.stack([right, left])), CAR, arm.road, node=n, arms=(i, i)))
                ends.append((4 * arm.road + 2 * arm.end, 4 * arm.road + 2 * arm.end + 1))
    return tuple(walks), np.array(ends, np.int64)


def _pavement(road: Road, side: int) -> Double:
    """Its middle, drawn on into both junctions as far as the crossings."""
    line = beside(road.line, road.pavement_offset * (1 - 2 * side))
    h = heading(road.line)
    return resample(np.vstack([line[:1] - CROSSING_BACK * unit(h[0]), line, line[-1:] + CROSSING_BACK * unit(h[-1])]))


def _programs(rng: np.random.Generator, signals: Int) -> Double:
    """Fixed programs: (offset, green, period); the two phases of a junction share a period and exclude each other."""
    times = []
    for _ in range(len(signals) // 2):
        first, second, offset = rng.uniform(9, 15), rng.uniform(8, 13), rng.uniform(0, 40)
        period = first + second + 2 * (YELLOW + CLEARANCE)
        times += [(offset, first, period), (offset + first + YELLOW + CLEARANCE, second, period)]
    return np.array(times, np.float64).reshape(-1, 3)


YELLOW, CLEARANCE = 3.0, 2.0  # seconds


def signal_table(town: Town, steps: int, dt: float, start: float) -> NDArray[np.uint8]:
    """[S, steps] states from ``start`` seconds on: 1 green, 2 yellow, 3 red (types.Signal)."""
    phase = (start + np.arange(steps) * dt - town.signal_times[:, :1]) % town.signal_times[:, 2:]
    green = town.signal_times[:, 1:2]
    return np.where(phase < green, 1, np.where(phase < green + YELLOW, 2, 3)).astype(np.uint8)
