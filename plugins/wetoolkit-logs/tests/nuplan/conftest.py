"""Random drives: crooked roads of one to three lanes, crossings with signals between them, everybody of every class."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wetoolkit_driving.types import AgentClass, Agents, AreaKind, Control, Ego, RoadMap, Vehicle, World

from wetoolkit.types import Clock, Lineage, Scenario, Step

WIDTH = 3.5


def _strip(line: np.ndarray, left: float, right: float) -> np.ndarray:
    normal = np.stack([-np.gradient(line[:, 1]), np.gradient(line[:, 0])], 1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    return np.concatenate([line + left * normal, (line - right * normal)[::-1]])


def _lane(
    name: str, line: np.ndarray, block: int, kind: AreaKind, limit: float = 0.0, left: int = -1, right: int = -1, signal: int = -1
) -> dict[str, Any]:
    return {"id": name, "line": line, "block": block, "kind": kind, "limit": limit, "left": left, "right": right, "signal": signal}


def random_road(rng: np.random.Generator) -> tuple[RoadMap, np.ndarray, int]:
    """The map, the lanes [R] along it that the ego drives, and the number of signals."""
    areas: list[tuple[str, AreaKind, np.ndarray]] = []
    lanes: list[dict[str, Any]] = []
    middle, heading, before, route, signals = np.zeros(2), rng.uniform(-3, 3), [], [], 0
    for number in range(int(rng.integers(2, 5))):
        count, length = int(rng.integers(1, 4)), rng.uniform(40, 90)
        turn = heading + np.linspace(0, rng.uniform(-0.5, 0.5), 20)
        line = middle + np.cumsum(np.stack([np.cos(turn), np.sin(turn)], 1) * length / 20, 0)
        joined = []
        if before:  # connectors from each lane of the road before to a lane of this one
            block = len(areas)
            areas.append((f"turn {number}", AreaKind.ROADBLOCK_CONNECTOR, _strip(np.stack([middle, line[0]]), 6, 6)))
            signal = -1
            if number == 1 or rng.random() < 0.7:
                signal, signals = signals, signals + 1
            for k, (lane, end) in enumerate(before):
                to = min(k, count - 1)
                start = _strip(line, -WIDTH * to, WIDTH * to)[0] if to else line[0]
                joined.append((lane, len(lanes), to))
                over = np.stack([end, (end + start) / 2 + 0.01, start])
                lanes.append(_lane(f"turn {number}.{k}", over, block, AreaKind.LANE_CONNECTOR, signal=signal))
            route.append(joined[0][1])
            areas.append((f"crossing {number}", AreaKind.INTERSECTION, _strip(np.stack([middle, line[0]]), 9, 9)))
            areas.append((f"stop {number}", AreaKind.STOP_LINE, _strip(np.stack([before[0][1], before[0][1] + 0.3]), 2, 2)))
        block, first = len(areas), len(lanes)
        areas.append((f"road {number}", AreaKind.ROADBLOCK, _strip(line, WIDTH / 2, WIDTH * count)))
        for k in range(count):
            side = line if k == 0 else _strip(line, -WIDTH * k, WIDTH * k)[: len(line)]
            beside = (first + k - 1 if k else -1, first + k + 1 if k + 1 < count else -1)
            lanes.append(_lane(f"road {number}.{k}", side, block, AreaKind.LANE, float(rng.choice([0.0, 8.3, 13.9])), *beside))
        route.append(first)
        lanes_here = [(first + k, lanes[first + k]["line"][-1]) for k in range(count)]
        links = [pair for lane, link, to in joined for pair in ((lane, link), (link, first + to))]
        lanes[first]["links"] = links
        before, middle, heading = lanes_here, line[-1] + 14 * np.array([np.cos(turn[-1]), np.sin(turn[-1])]), turn[-1]
    box = np.array([[0, 0], [4, 0], [4, 3], [0, 3]])
    others = (AreaKind.CROSSWALK, AreaKind.WALKWAY, AreaKind.CARPARK, AreaKind.DRIVABLE_AREA)
    areas += [(f"{kind.name} {rng.integers(99)}", kind, rng.uniform(0, 50, 2) + box) for kind in others]
    owners = len(areas)
    areas += [(lane["id"], lane["kind"], _strip(lane["line"], WIDTH / 2, WIDTH / 2)) for lane in lanes]
    offsets = lambda parts: np.cumsum([0, *map(len, parts)]).astype(np.int32)  # noqa: E731
    of = lambda name, kind: np.array([lane[name] for lane in lanes], kind)  # noqa: E731
    return (
        RoadMap(
            tuple(name for name, _, _ in areas), np.array([kind for _, kind, _ in areas], np.uint8),
            np.concatenate([ring for _, _, ring in areas]), offsets([ring for _, _, ring in areas]),
            tuple(lane["id"] for lane in lanes), np.concatenate([lane["line"] for lane in lanes]),
            offsets([lane["line"] for lane in lanes]), owners + np.arange(len(lanes), dtype=np.int32), of("block", np.int32),
            of("left", np.int32), of("right", np.int32), of("limit", np.float32), of("signal", np.int32),
            np.array([pair for lane in lanes for pair in lane.get("links", ())], np.int32).reshape(-1, 2),
        ),
        np.array(route, np.int32), signals,
    )  # fmt: skip


def random_drive(seed: int = 0, steps: int = 120, agents: int = 12, log: str = "", gaps: bool = False) -> Scenario[World]:
    """A drive along the random road of a seed."""
    rng = np.random.default_rng(seed)
    road, route, signals = random_road(rng)
    way = np.concatenate([road.centre_line(int(lane)) for lane in route])
    length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(way, axis=0).T))])
    speed = min(10.0, (length[-1] - 5) / (steps * 0.1))
    at = speed * 0.1 * np.arange(steps)
    states = np.zeros((steps, 11))
    states[:, 0], states[:, 1] = np.interp(at, length, way[:, 0]), np.interp(at, length, way[:, 1])
    states[:, 2] = (np.arctan2(np.gradient(states[:, 1]), np.gradient(states[:, 0])) + np.pi) % (2 * np.pi) - np.pi
    states[:, 3], states[:, 4:] = speed, rng.normal(0, 0.1, (steps, 7))
    start, pace = rng.uniform(-40, 60, (agents, 1, 2)), rng.normal(0, 3, (agents, 1, 2))
    pose = np.zeros((agents, steps, 3), np.float32)
    pose[..., :2] = start + pace * 0.1 * np.arange(steps)[:, None]
    pose[..., 2] = rng.uniform(-np.pi, np.pi, (agents, 1))
    valid = np.ones((agents, steps), bool)
    if gaps:
        valid[:, :] = rng.random((agents, steps)) < 0.8
        valid[0] = False  # never there
        valid[0, steps // 2] = True  # but once
    pose[~valid] = 0
    world = World(
        Ego(states, np.ones(steps, bool), Vehicle(width=2.0)),
        Agents(
            tuple(f"who {k}" for k in range(agents)), rng.integers(0, len(AgentClass), agents).astype(np.uint8),
            rng.uniform(0.3, 5, (agents, 3)).astype(np.float32), pose,
            np.where(valid[..., None], np.broadcast_to(pace, pose[..., :2].shape), 0).astype(np.float32), valid,
            np.full(agents, Control.REPLAY, np.uint8),
        ),
        road, rng.integers(0, 4, (signals, steps)).astype(np.uint8), route,
        np.isin(np.arange(len(road.area_ids)), np.concatenate([road.lane_area[route], road.lane_roadblock[route]])), 0.1,
    )  # fmt: skip
    east, north = np.random.default_rng((seed, 1)).integers(-500, 500, 2)
    name = log or f"random/drive {seed}"
    made = Lineage(
        "random",
        name,
        name,
        (Step("dataset/random", "tests 1", "")),
    )
    scenario = Scenario(name, "driving", "train", name, Clock(0.1, 0, steps), (float(east), float(north), 0.0), made, world)
    scenario.validate()
    return scenario


@pytest.fixture(scope="session")
def drive() -> Callable[..., Scenario[World]]:
    """The factory of random drives."""
    return random_drive


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes drives into a new folder."""
    from wetoolkit_logs.nuplan.writer import Options, write

    def into(drives: Iterable[Scenario[World]], **options: Any) -> Path:
        folder = tmp_path_factory.mktemp("nuplan")
        write(drives, folder, options=Options(**options))
        return folder

    return into
