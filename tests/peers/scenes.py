"""Scenes of ours for the peers to score: parity cases, random roads, windows of the embedded town; as arrays, at 2 Hz."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from wetoolkit_driving.pdm.closed import PdmClosedConfig, find_path, plan_closed
from wetoolkit_driving.pdm.observation import continued
from wetoolkit_driving.testing import SIZES, actor, crossing_world, straight_world
from wetoolkit_driving.types import AgentClass, AreaKind, Signal, World

Arrays = dict[str, Any]
NOW_US = 1_625_000_000_000_000  # a time as logs have them: sampling truncates it to microseconds
SAMPLES = 11  # of 0.5 s
WORLDS: dict[str, tuple[World, int]] = {}  # what the scenes were made from, and the step; the parity cases have none


def parity(count: int) -> Iterator[tuple[str, Arrays]]:
    """The parity cases, with ``count`` of their proposals; their lights are taken to stay as they are."""
    folder = Path(os.environ.get("WETOOL_DATA", Path(__file__).parents[3] / "shared" / "data")) / "pdm_parity"
    for path in sorted(folder.glob("scene_*.npz")):
        with np.load(path, allow_pickle=False) as file:
            known = {name: file[name] for name in file.files if not name.startswith(("batch_", "pair"))}
        red = np.isin(known["map_token"], known["red_light_connectors"]) & (known["map_type"] == AreaKind.LANE_CONNECTOR)
        back = known["ego_state"].copy()
        back[[4, 5, 6, 8, 10]] = 0.0
        way = np.array([np.cos(back[2]), np.sin(back[2])]) * back[3]
        past = np.repeat(back[None], 4, 0)
        past[:, :2] += np.array([-1.5, -1.0, -0.5, 0.0])[:, None] * way
        past[3] = known["ego_state"]
        plans = known["proposals_10hz"][:: -(-len(known["proposals_10hz"]) // count)]
        more = {"lights_2hz": np.repeat(red[None], SAMPLES, 0), "ego_past_2hz": past, "proposals_10hz": plans}
        yield path.stem, known | more | {"human_10hz": plans[len(plans) // 2]}


def random_roads(count: int, seeds: range) -> Iterator[tuple[str, Arrays]]:
    """Straight roads and crossings with random actors; some are seen once only, some go missing and come back."""
    for seed in seeds:
        rng = np.random.default_rng(seed)
        world = _random_world(rng)
        WORLDS[f"random_{seed:03d}"] = world, 20
        yield f"random_{seed:03d}", of_world(world, 20, _plans(rng, float(world.ego.states[20, 3]), count))


def town(count: int, windows: int) -> Iterator[tuple[str, Arrays]]:
    """Windows of minitown's validation splits."""
    from wetoolkit_minitown.dataset import Minitown, MinitownConfig

    data = Minitown(MinitownConfig())
    refs = data.index("val-rare")
    for i, ref in enumerate(refs[:: max(1, len(refs) // windows)][:windows]):
        scenario = data.load(ref)
        world, now = scenario.world, scenario.clock.now
        WORLDS[f"town_{i:03d}"] = world, now
        yield f"town_{i:03d}", of_world(world, now, _plans(np.random.default_rng(i), float(world.ego.states[now, 3]), count))


def of_world(world: World, step: int, plans: np.ndarray) -> Arrays:
    """The arrays of a world at ``step``, sampled at 2 Hz; plans [N, 40, 3]."""
    agents, road = world.agents, world.map
    pose, valid = continued(agents, step, 5 * SAMPLES - 4)
    last = np.minimum(step + 5 * np.arange(SAMPLES), world.steps - 1)
    raw = np.concatenate([pose[::5], agents.velocity[:, last].transpose(1, 0, 2)], -1)  # [S, K, 5]
    raw[~valid[::5]] = np.nan
    seen = valid[::5].any(0)
    red = np.zeros((SAMPLES, len(road.area_ids)), bool)
    for lane in np.flatnonzero((road.lane_signal >= 0) & (road.lane_area >= 0)):
        if road.area_kind[road.lane_area[lane]] == AreaKind.LANE_CONNECTOR:
            red[:, road.lane_area[lane]] |= world.signals[road.lane_signal[lane], last] == Signal.RED
    path = find_path(world, step, 0.0)
    line = np.concatenate([road.centre_line(int(lane)) for lane in world.route])
    headings = np.arctan2(*np.gradient(line, axis=0).T[::-1])
    closed = np.zeros((41, 11))
    closed[:, :3] = plan_closed(world, step, PdmClosedConfig())
    closed[0] = world.ego.states[step]
    ahead = world.ego.states[step + 1 : step + 41, :3]
    human = _relative(world.ego.states[step, :3], ahead) if len(ahead) == 40 else plans[0]
    return {
        "ego_state": world.ego.states[step].astype(np.float64),
        "ego_time_us": np.array(NOW_US),
        "map_xy": road.area_xy,
        "map_off": road.area_offset,
        "map_type": road.area_kind.astype(np.int8),
        "map_token": np.array([str(1000 + p) for p in range(len(road.area_ids))]),
        "map_on_route": world.on_route,
        "centerline": np.column_stack([line, headings]),
        "obj_token": np.array([f"t{k}" for k in np.flatnonzero(seen)]),
        "obj_type": agents.kind[seen].astype(np.int8),
        "obj_length_width": agents.size[seen, :2].astype(np.float64),
        "obj_raw_2hz": raw[:, seen],
        "lights_2hz": red,
        "ego_past_2hz": world.ego.states[step - 15 : step + 1 : 5].astype(np.float64),
        "path": path.poses,
        "limit": np.array(path.limit),  # 0: not known
        "pdm_closed_states": closed,
        "proposals_10hz": plans,
        "human_10hz": human,
    }


def _relative(frame: np.ndarray, poses: np.ndarray) -> np.ndarray:
    cos, sin = np.cos(frame[2]), np.sin(frame[2])
    moved = (poses[:, :2] - frame[:2]) @ np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([moved, poses[:, 2] - frame[2]])


def _random_world(rng: np.random.Generator) -> World:
    people = []
    for _ in range(int(rng.integers(4, 14))):
        kind = AgentClass(int(rng.choice(7, p=[0.5, 0.15, 0.1, 0.1, 0.05, 0.05, 0.05])))
        where = (float(rng.uniform(-20, 70)), float(rng.uniform(-7, 9)))
        speed = float(rng.uniform(0, 11)) if kind <= AgentClass.BICYCLE and rng.random() < 0.7 else 0.0
        now = 20
        seen = None if rng.random() < 0.6 else tuple(sorted(int(v) for v in rng.integers(15, 75, 2)))
        if rng.random() < 0.15:
            seen = (25, 25)  # one sample only
        people.append(actor(*where, float(rng.uniform(-3.1, 3.1)), speed, kind, now=now, seen=seen, size=SIZES[kind]))
    speed = float(rng.uniform(0.5, 14))
    light = Signal.RED if rng.random() < 0.5 else Signal.GREEN
    if rng.random() < 0.5:
        world = straight_world(people, speed=speed, lanes=int(rng.integers(1, 4)))
    else:
        world = crossing_world(people, speed=speed, distance=float(rng.uniform(8, 40)), signals=(light, Signal.GREEN))
    for k in range(0, len(people), 4):  # some go missing for a while
        gap = slice(22 + 3 * k, 33 + 3 * k)
        world.agents.valid[k, gap] = False
        world.agents.pose[k, gap] = 0.0
        world.agents.velocity[k, gap] = 0.0
    return world


def _plans(rng: np.random.Generator, speed: float, count: int) -> np.ndarray:
    """Plans [N, 40, 3] around going straight on: accelerations, turns and swerves."""
    t = np.arange(1, 41) * 0.1  # [40] s
    speeds = np.maximum(0.0, speed * rng.uniform(0.5, 1.2, (count, 1)) + rng.uniform(-3.5, 2.0, (count, 1)) * t)
    bend = rng.normal(0, 0.012, (count, 1)) * np.cumsum(speeds, 1) * 0.1
    swerve = rng.normal(0, 0.12, (count, 1)) * np.sin(2 * np.pi * t / rng.uniform(2, 6, (count, 1)))
    heading = bend + swerve
    xy = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], -1) * speeds[..., None] * 0.1, 1)
    plans = np.concatenate([xy, heading[..., None]], -1)
    plans[0] = np.stack([speed * t, 0 * t, 0 * t], -1)
    return plans
