"""Places for road users that were not recorded: on the ego's way, beside it, across it, at its kerb, or on any street near it.

Where the map has no lanes the ego's way is straight on, and nothing crosses it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import shapely
from wetoolkit_driving.geometry import along, arc_lengths, compose, ego_center, project, wrap_angle
from wetoolkit_driving.roads import ahead, join, nearest_lane
from wetoolkit_driving.types import VX, AgentClass, AreaKind, Double, RoadMap, World

from wetoolkit_diffusion.realism import road

Where = Literal["ahead", "behind", "adjacent", "oncoming", "crossing", "kerb"]
WHERE: tuple[Where, ...] = ("ahead", "behind", "adjacent", "oncoming", "crossing", "kerb")
BACK, AHEAD = 60.0, 120.0  # metres of a way behind and before its place
WALK, RIDE, DRIVE = 1.3, 4.5, 8.0  # m/s where nothing better is known
WIDEST = 14.0  # metres to the side within which the kerb is looked for
CROSS = np.deg2rad(45.0)  # lanes at less to the ego's way do not cross it


@dataclass(frozen=True)
class Place:
    """Somewhere on a line, with a pace along it."""

    line: Double  # [n, 2] metres
    at: float  # arc length at the present
    speed: float  # m/s
    aside: float = 0.0  # metres to the left of the line
    turned: float = 0.0  # radians: heading seen from the line's; who is turned goes where it looks

    def steady(self, seconds: Double) -> Double:
        """Poses [T, 3] of who goes on steadily, present at 0 s."""
        if self.turned:
            start = compose(along(self.line, self.at), np.array([0.0, self.aside, self.turned]))
            return compose(start, np.stack([self.speed * seconds, 0.0 * seconds, 0.0 * seconds], -1))
        poses = along(self.line, self.at + self.speed * seconds)
        return compose(poses, np.broadcast_to(np.array([0.0, self.aside, 0.0]), poses.shape))


def places(
    world: World, now: int, where: Where, kind: AgentClass, gap: tuple[float, float], speed: float | None, rng: np.random.Generator,
    tries: int,
) -> Iterator[Place]:  # fmt: skip
    """Places of a sort for a class, in drawn order; ``gap``: metres along the ego's way, ``speed``: none for what is usual."""
    way, here = own_way(world, now)
    own = max(float(world.ego.states[now, VX]), 0.0)
    for _ in range(tries):
        away, side, loose = float(rng.uniform(*gap)), float(rng.choice([-1.0, 1.0])), float(rng.uniform(0.85, 1.15))
        pace = speed if speed is not None else loose * _usual(kind, where, own)
        if where in ("ahead", "behind"):
            aside = -0.8 if kind == AgentClass.BICYCLE else 0.0
            yield Place(way, here + (away if where == "ahead" else -away), pace, aside)
        elif where == "kerb":
            yield _kerb(world, way, here + away, side, kind, pace)
        elif where == "crossing" and kind == AgentClass.PEDESTRIAN:
            yield _to_cross(world, way, _crosswalk(world, way, here, gap, rng, here + away), side, pace)
        else:
            found = _crossing(world, way, here, away, rng) if where == "crossing" else _beside(world, way, here, away, where, side)
            if found is not None:
                yield Place(*found, pace)


def own_way(world: World, now: int) -> tuple[Double, float]:
    """The line [n, 2] that the ego is on, along its route, and how far on it is."""
    centre = ego_center(world.ego.states[now], world.ego.vehicle)
    lane, s, _ = nearest_lane(world.map, centre)
    if lane < 0:
        unit = np.array([np.cos(centre[2]), np.sin(centre[2])])
        return centre[:2] + np.array([[-BACK], [AHEAD]]) * unit, BACK
    line, start = street(world.map, lane, [int(one) for one in world.route])
    return line, start + s


def street(roads: RoadMap, lane: int, prefer: list[int] | None = None) -> tuple[Double, float]:
    """The line [n, 2] of a lane with those before and after it, and the arc length at which the lane begins."""
    chain, before = [lane], 0.0
    while before < BACK:
        options = [int(a) for a, b in roads.successors if b == chain[0] and a not in chain]
        if not options:
            break
        chain.insert(0, next((one for one in options if one in (prefer or ())), options[0]))
        before += float(arc_lengths(roads.centre_line(chain[0]))[-1])
    rest = ahead(roads, lane, AHEAD, prefer or ())
    return join(roads, [*chain, *(one for one in rest[1:] if one not in chain)]), before


def _usual(kind: AgentClass, where: Where, own: float) -> float:
    if kind == AgentClass.PEDESTRIAN:
        return WALK
    if kind == AgentClass.BICYCLE:
        return RIDE
    return 0.0 if where == "kerb" else own if where in ("ahead", "behind", "adjacent") else max(own, DRIVE)


def edge(world: World, way: Double, at: float, side: float) -> float:
    """How far to a side (1: left, -1: right) of a way the road ends [m]; 3 m where the map knows no road."""
    if not len(world.map.area_ids):
        return 3.0
    pose, offsets = along(way, at), np.arange(0.5, WIDEST, 0.25)
    points = compose(pose, np.column_stack([0.0 * offsets, side * offsets, 0.0 * offsets]))
    off = ~shapely.contains_xy(road(world.map), points[:, 0], points[:, 1])
    return float(offsets[off.argmax()]) if off.any() else WIDEST


def _kerb(world: World, way: Double, at: float, side: float, kind: AgentClass, pace: float) -> Place:
    """Beside the road for who walks, at its edge for who drives; the way that the lane goes."""
    width = edge(world, way, at, side if kind == AgentClass.PEDESTRIAN else -1.0)
    if kind == AgentClass.PEDESTRIAN:
        return Place(way, at, pace, side * (width + 0.5))
    return Place(way, at, pace, -max(width - (1.8 if kind == AgentClass.VEHICLE else 1.0), 0.0))


def _to_cross(world: World, way: Double, at: float, side: float, pace: float) -> Place:
    """Beside the road, about to step on it."""
    return Place(way, at, pace, side * (edge(world, way, at, side) + 0.5), -side * np.pi / 2)


def _crosswalk(world: World, way: Double, here: float, gap: tuple[float, float], rng: np.random.Generator, other: float) -> float:
    """The arc length of a crosswalk on the way within the gap; ``other`` where there is none."""
    middles = [world.map.area(int(i)).mean(0) for i in np.flatnonzero(world.map.area_kind == AreaKind.CROSSWALK)]
    if not middles:
        return other
    place, offset = project(way, np.stack(middles))
    fits = (np.abs(offset) < 8.0) & (place - here > gap[0]) & (place - here < gap[1])
    return float(rng.choice(place[fits])) if fits.any() else other


def _beside(world: World, way: Double, here: float, away: float, where: Where, side: float) -> tuple[Double, float] | None:
    """A lane next to the ego's (for ``oncoming``: one of the other direction) and the place on it beside ego + ``away``."""
    pose = along(way, here + away)
    turn = np.pi if where == "oncoming" else 0.0
    aside = side * 3.5 if where == "adjacent" else 3.5
    probe = compose(pose, np.array([0.0, aside, turn]))
    lane, s, _ = nearest_lane(world.map, probe, np.pi / 6, 4.0 if where == "oncoming" else 1.5)
    if lane < 0:
        return None
    line, start = street(world.map, lane)
    return line, start + s


def _crossing(world: World, way: Double, here: float, away: float, rng: np.random.Generator) -> tuple[Double, float] | None:
    """A lane that crosses the ego's way within ``AHEAD``, and the place ``away`` before it does."""
    found = []
    mine = along(way, here + np.arange(5.0, 80.0, 1.0))  # [n, 3]
    for lane in range(world.map.lanes):
        line = world.map.centre_line(lane)
        place, offset = project(line, mine[:, :2])
        nearest = int(np.abs(offset).argmin())
        if abs(offset[nearest]) < 1.0:
            turn = abs(wrap_angle(along(line, place[nearest])[2] - mine[nearest, 2]))
            if CROSS < turn < np.pi - CROSS:
                found.append((lane, float(place[nearest])))
    if not found:
        return None
    lane, at = found[int(rng.integers(len(found)))]
    line, start = street(world.map, lane)
    return line, start + at - away


def streets(
    world: World, now: int, kind: AgentClass, reach: float, clear: float, rng: np.random.Generator, tries: int
) -> Iterator[Place]:  # fmt: skip
    """Places on lanes (beside them for who walks) within ``reach`` of the ego, but not within ``clear`` of it."""
    centre = ego_center(world.ego.states[now], world.ego.vehicle)[:2]
    lengths = np.array([arc_lengths(world.map.centre_line(lane))[-1] for lane in range(world.map.lanes)])
    for _ in range(tries if len(lengths) else 0):
        lane = int(rng.choice(len(lengths), p=lengths / lengths.sum()))
        part, side, loose = float(rng.uniform()), float(rng.choice([-1.0, 1.0])), float(rng.uniform(0.7, 1.0))
        line, start = street(world.map, lane)
        at = start + part * lengths[lane]
        limit = float(world.map.lane_speed_limit[lane]) or 1.25 * DRIVE
        if kind == AgentClass.PEDESTRIAN:
            place = _kerb(world, line, at, side, kind, loose * WALK)
        else:
            place = Place(line, at, loose * (RIDE if kind == AgentClass.BICYCLE else limit))
        away = float(np.hypot(*(place.steady(np.zeros(1))[0, :2] - centre)))
        if clear < away < reach:
            yield place


__all__ = ["WHERE", "Place", "Where", "edge", "own_way", "places", "street", "streets"]
