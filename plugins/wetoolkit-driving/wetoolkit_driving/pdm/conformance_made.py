"""Cases made on the spot, so that a scorer can be checked where there are no recorded ones.

A winding road of three lanes (the ego in the middle one, the third against traffic) with a crossing, among 8 to 30 objects of all
classes that drive, stand and cross; a driver who keeps its lane and its distance; proposals around what it does, good and bad.
Nothing is aligned by construction: a decision that hangs on the last bit would say nothing about a scorer.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from wetoolkit_driving.geometry import along, arc_lengths, box_corners, boxes_touch, ego_corners, relative
from wetoolkit_driving.pdm.conformance_cases import VEHICLE, Array, Case, Inputs
from wetoolkit_driving.types import AgentClass, AreaKind, Vehicle

Double = NDArray[np.float64]

DT, FRAMES, STEPS = 0.1, 51, 40
WIDTH = 3.5  # metres of a lane
PIECES, PIECE = 13, 16.0  # of road, metres each
SIZE = {0: (4.6, 1.9), 1: (0.6, 0.7), 2: (1.8, 0.7), 3: (0.4, 0.4), 4: (0.5, 2.0), 5: (0.5, 0.5), 6: (1.0, 1.0)}  # metres
PROPOSALS = 24


def make_cases(count: int, seed: int) -> Iterator[Case]:
    """``count`` cases of 24 proposals; equal seeds give equal cases, whatever their number."""
    for index in range(count):
        yield make_case(np.random.default_rng([seed, index]), f"made {index}")


def make_case(rng: np.random.Generator, name: str) -> Case:
    """One case; ``expected`` is empty."""
    line = _road(rng)  # [n, 2] centre of the ego's lane
    start, speed = 40.0 + rng.uniform(0, 8), rng.uniform(3, 13)
    ego = np.zeros(11)
    ego[:3] = along(line, start) + np.array([0.0, 0.0, rng.normal(0, 0.01)])
    ego[3], ego[5] = speed, rng.normal(0, 0.3)
    objects, leader = _objects(rng, line, start, speed)
    drive = _drive(line, start, speed, leader)  # [41, 3] world poses
    objects = _without_hits(objects, drive)
    human = relative(ego[:3], drive[1:])
    areas = _areas(rng, line)
    reference = np.zeros((STEPS + 1, 11))
    reference[:, :3] = drive
    inputs = {
        "ego_state": ego,
        "ego_past": _past(ego),
        VEHICLE: _vehicle(Vehicle()),
        **areas,
        "map_red": _lights(rng, areas),
        "centerline": along(line, np.arange(0.0, arc_lengths(line)[-1], 1.0)),
        **objects,
        "pdm_closed_states": reference,
        "proposals": _proposals(rng, human, speed),
        "plan_interval": np.array(DT),
    }
    for array in inputs.values():
        array.setflags(write=False)
    return Case(name, inputs, {}, human)


def constant_velocity(inputs: Inputs) -> Double:
    """Poses [40, 3] of a car that goes straight on at its present speed."""
    plan = np.zeros((STEPS, 3))
    plan[:, 0] = float(inputs["ego_state"][3]) * DT * np.arange(1, STEPS + 1)
    return plan


def _past(ego: Double) -> Double:
    """States [14, 11] from 1.5 to 0.2 s ago, as ``observation.driven_past`` has them: straight, at the present acceleration."""
    ago = DT * np.arange(15, 1, -1)  # seconds
    past = np.zeros((len(ago), 11))
    way = ego[3] * ago - 0.5 * ego[5] * ago**2
    past[:, 0], past[:, 1] = ego[0] - way * np.cos(ego[2]), ego[1] - way * np.sin(ego[2])
    past[:, 2], past[:, 3], past[:, 5] = ego[2], ego[3] - ego[5] * ago, ego[5]
    return past


def _lights(rng: np.random.Generator, areas: dict[str, Array]) -> NDArray[np.bool_]:
    """[51, P] which connectors of the route are behind a red light: in most scenes, from or until some frame."""
    behind = areas["map_on_route"] & (areas["map_type"] == AreaKind.LANE_CONNECTOR)
    change, begins = rng.integers(0, FRAMES), rng.random() < 0.5
    frames = (np.arange(FRAMES) >= change) == begins
    return frames[:, None] & behind & (rng.random() < 0.75)


def _vehicle(car: Vehicle) -> Double:
    return np.array([car.width / 2, car.length / 2, car.rear_to_center, car.wheel_base])


def _road(rng: np.random.Generator) -> Double:
    """Points [n, 2] every metre of a road whose curvature wanders, at coordinates as logs have them (UTM)."""
    metres = np.arange(PIECES * PIECE + 1)
    bend = rng.uniform(-0.02, 0.02) + rng.uniform(0, 0.012) * np.sin(metres / rng.uniform(15, 40) + rng.uniform(0, 6))  # 1/m
    heading = rng.uniform(-np.pi, np.pi) + np.cumsum(bend)
    return rng.uniform([3e5, 1e6], [7e5, 5e6]) + np.cumsum(np.stack([np.cos(heading), np.sin(heading)], -1), 0)


def _strip(line: Double, first: float, last: float, right: float, left: float) -> Double:
    """Ring between two arc lengths and two lateral offsets (left positive) of a line."""
    poses = along(line, np.linspace(first, last, 9))
    normal = np.stack([-np.sin(poses[:, 2]), np.cos(poses[:, 2])], -1)
    return np.concatenate([poses[:, :2] + right * normal, (poses[:, :2] + left * normal)[::-1]])


def _areas(rng: np.random.Generator, line: Double) -> dict[str, Array]:
    """13 pieces of road: a lane of the route, a lane beside it, one against traffic, and the roadblock of all; then extras."""
    rings, kinds, on_route = [], [], []
    crossing = int(rng.integers(3, 6))  # the piece that is an intersection
    for piece in range(PIECES):
        first, last = piece * PIECE, (piece + 1) * PIECE
        lane = AreaKind.LANE_CONNECTOR if piece == crossing else AreaKind.LANE
        for side, mine in ((0.0, True), (-WIDTH, True), (WIDTH, False)):
            rings.append(_strip(line, first, last, side - WIDTH / 2, side + WIDTH / 2))
            kinds.append(lane)
            on_route.append(mine)
        block = AreaKind.INTERSECTION if piece == crossing else AreaKind.ROADBLOCK
        rings.append(_strip(line, first - 1e-6, last + 1e-6, -1.5 * WIDTH, 1.5 * WIDTH))
        kinds.append(block)
        on_route.append(False)
    rings.append(_strip(line, 60.0, 75.0, -1.5 * WIDTH - 6.0, -1.5 * WIDTH + 0.5))
    rings.append(_strip(line, 0.0, PIECES * PIECE, -12.0, 12.0))
    kinds += [AreaKind.CARPARK, AreaKind.DRIVABLE_AREA]
    on_route += [False, False]
    return {
        "map_xy": np.concatenate(rings),
        "map_off": np.cumsum([0, *map(len, rings)]),
        "map_type": np.array(kinds, np.int8),
        "map_token": np.array([f"m{i}" for i in range(len(rings))]),
        "map_on_route": np.array(on_route),
    }


def _objects(rng: np.random.Generator, line: Double, start: float, speed: float) -> tuple[dict[str, Array], Double]:
    """Tracks of all classes (somebody ahead in the ego's lane, others in the lanes, things beside the road, walkers who cross it),
    and the arc length [51] of the rear of whoever drives ahead."""
    count = int(rng.integers(8, 31))
    kind = rng.choice(7, count, p=(0.4, 0.15, 0.1, 0.1, 0.1, 0.05, 0.1))
    kind[0] = AgentClass.VEHICLE
    place = start + rng.uniform(-30, 70, count)
    aside = rng.choice([-WIDTH, WIDTH, 1.6 * WIDTH, -1.6 * WIDTH, 0.8 * WIDTH], count) + rng.normal(0, 0.3, count)
    pace = np.where(kind <= 2, rng.uniform(0, 1, count) * np.where(kind == 0, 12.0, 3.0), 0.0)
    pace[rng.random(count) < 0.25] = 0.0
    place[0], aside[0], pace[0] = start + 9.0 + rng.uniform(1, 3) * speed, rng.normal(0, 0.1), speed * rng.uniform(0.4, 1.0)
    place[1], aside[1], pace[1] = start - rng.uniform(10, 25), rng.normal(0, 0.1), speed  # and one behind
    time = DT * np.arange(FRAMES)[:, None]  # [51, 1]
    crossing = (kind == AgentClass.PEDESTRIAN)[None]
    way = np.where(aside > 0.5 * WIDTH, -1.0, 1.0)  # towards the other side, or against traffic where it is driven on the left
    poses = along(line, place + np.where(crossing, 0.0, time * pace * way * np.sign(WIDTH - np.abs(aside) + 1)))  # [51, K, 3]
    lateral = aside + np.where(crossing, time * pace * way, 0.0)
    poses[..., 0] -= lateral * np.sin(poses[..., 2])
    poses[..., 1] += lateral * np.cos(poses[..., 2])
    poses[..., 2] += rng.normal(0, 0.02, count) + np.where(crossing, np.pi / 2, 0.0)
    size = np.array([SIZE[k] for k in kind]) * rng.uniform(0.9, 1.2, (count, 1))  # [K, 2]
    first = np.where(rng.random(count) < 0.8, 0, rng.integers(0, 20, count))
    last = np.where(rng.random(count) < 0.8, FRAMES - 1, rng.integers(25, FRAMES, count))
    first[:2], last[:2] = 0, FRAMES - 1
    there = (np.arange(FRAMES)[:, None] >= first) & (np.arange(FRAMES)[:, None] <= last)  # [51, K]
    corners = np.where(there[..., None, None], box_corners(poses, size[:, 0], size[:, 1]), np.nan)
    velocity = np.diff(poses[..., :2], axis=0)[np.minimum(first, FRAMES - 2), np.arange(count)] / DT
    objects = {
        "obj_token": np.array([f"o{k}" for k in range(count)]),
        "obj_type": kind.astype(np.int8),
        "obj_is_agent": kind <= AgentClass.BICYCLE,
        "obj_first_heading": poses[first, np.arange(count), 2],
        "obj_first_velocity": np.where(pace[:, None] > 0, velocity, 0.0),
        "obj_length_width": size,
        "obj_corners": corners,
    }
    return objects, place[0] + time[:, 0] * pace[0] - size[0, 0] / 2


def _without_hits(objects: dict[str, Array], drive: Double) -> dict[str, Array]:
    """Without those whom the driver would hit: it looks at its leader only, a human would have gone round or waited."""
    own = ego_corners(drive, Vehicle())  # [41, 4, 2]
    hit = boxes_touch(own[:, None], np.nan_to_num(objects["obj_corners"][: len(drive)])).any(0)  # [K]; absent ones are far away
    hit[:2] = False
    return {key: value[:, ~hit] if key == "obj_corners" else value[~hit] for key, value in objects.items()}


def _drive(line: Double, start: float, speed: float, leader: Double) -> Double:
    """World poses [41, 3] of a driver on the lane's centre line who follows the leader by the intelligent driver model."""
    at, v, places = start, speed, [start]
    for t in range(STEPS):
        gap = max(leader[t] - at - Vehicle().front, 0.5)
        closing = v - (leader[t + 1] - leader[t]) / DT
        wanted = 1.5 + max(0.0, v * 1.2 + v * closing / (2 * np.sqrt(1.2 * 2.0)))
        v = max(0.0, v + DT * max(-3.5, 1.2 * (1 - (v / 13.0) ** 4 - (wanted / gap) ** 2)))
        at += DT * v
        places.append(at)
    return along(line, np.array(places))


def _proposals(rng: np.random.Generator, human: Double, speed: float) -> Double:
    """[24, 40, 3]: the driver's own, straight on, and others that drift, hurry, brake and swerve."""
    t = np.arange(1, STEPS + 1) * DT  # seconds
    stretch = rng.uniform(0.1, 1.9, PROPOSALS)[:, None]  # how much of the driver's way
    stretch[rng.random(PROPOSALS) < 0.4] = 1.0
    way = np.concatenate([[[0.0, 0.0, 0.0]], human])  # [41, 3]
    length = arc_lengths(way[:, :2])
    plans = along(way[:, :2], np.clip(np.interp(t, np.arange(STEPS + 1) * DT, length) * stretch, 0, None))  # [24, 40, 3]
    drift = rng.normal(0, 2.0, PROPOSALS)[:, None] * (rng.random(PROPOSALS) < 0.6)[:, None]  # metres to the left in the end
    ease = (1 - np.cos(np.pi * np.clip(t / rng.uniform(1.5, 5, PROPOSALS)[:, None], 0, 1))) / 2
    plans[..., 0] -= drift * ease * np.sin(plans[..., 2])
    plans[..., 1] += drift * ease * np.cos(plans[..., 2])
    plans[0] = human
    plans[1] = 0.0
    plans[1, :, 0] = speed * t
    return plans
