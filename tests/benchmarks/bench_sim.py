"""Scene-steps per second of CPU time of the closed loop: against agents, scenes in a batch and workers, its peers, and its growth.

    python bench_sim.py [--scenes 10000] [--folder build/bench]

Writes a table and ``sim.json``. A scene-step is one scene moved by 0.1 s with all its agents, the steps recorded past the horizon
among them, hand-over from the log included. No policy network: the ego keeps its velocity; one row has `vocabulary-vector` in the
loop, in batches and one by one. Peers: the readable numpy step in the
same run on the same world, and the IDM agents of nuplan-devkit where ``$NUPLAN_PYTHON`` names an interpreter that can import it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table
from wetoolkit_driving.domain import Driving
from wetoolkit_driving.policies import ConstantVelocity, ConstantVelocityConfig
from wetoolkit_driving.simulator import ClosedLoop, ClosedLoopConfig
from wetoolkit_driving.testing import actor, crossing_world, scene, with_control
from wetoolkit_driving.traffic import readable
from wetoolkit_driving.traffic.engine import start
from wetoolkit_driving.traffic.manners import TrafficConfig
from wetoolkit_driving.types import AgentClass, Control, Signal, World
from wetoolkit_learning.policy import VocabularyVector, VocabularyVectorConfig

from wetoolkit.types import Decisions, ObservationSpec, Scene, Situation

STEPS, NOW = 111, 20
KINDS = (AgentClass.VEHICLE, AgentClass.VEHICLE, AgentClass.BICYCLE, AgentClass.PEDESTRIAN)


def world(seed: int, agents: int = 20) -> World:
    """A crossing with moving road users on its roads; more than 20 stand in further rows."""
    rng = np.random.default_rng(seed)
    actors = [
        actor(
            12.0 * (i % 20 - 6), 3.5 * (i % 2) + 7.0 * (i // 20), np.pi * (i % 2), rng.uniform(1, 10), KINDS[i % 4], steps=STEPS
        )
        for i in range(agents)
    ]  # fmt: skip
    return crossing_world(actors, steps=STEPS, signals=(Signal.GREEN, Signal.GREEN))


def scenes_of(agents: int, count: int, control: Control) -> list[Scene[World]]:
    """``count`` scenes with ids of their own over at most 64 worlds."""
    worlds = [with_control(world(i, agents), control) for i in range(min(count, 64))]
    return [scene(worlds[i % len(worlds)], name=str(i)) for i in range(count)]


def cpu(function: Callable[[], object], repeats: int = 3) -> float:
    """The least CPU seconds of a few runs, after one that compiles."""
    function()
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        function()
        times.append(time.process_time() - begin)
    return min(times)


def rollouts(scenes: list[Scene[World]], policy: Any = None) -> int:
    """Roll the scenes out in one batch, each with a seed of its own; how many scene-steps that were."""
    policy = policy or ConstantVelocity(ConstantVelocityConfig())
    done = ClosedLoop(ClosedLoopConfig()).rollout(scenes, policy, range(len(scenes)))
    return sum(rollout.clock.steps - 1 - rollout.clock.now for rollout in done)


def rate(agents: int, batch: int, control: Control = Control.IDM) -> float:
    scenes = scenes_of(agents, batch, control)
    copies = max(1, 32 // batch)  # small batches are repeated, so that what is timed is long enough
    return rollouts(scenes) * copies / cpu(lambda: [rollouts(scenes) for _ in range(copies)])


class Frames:
    """An Experience of one block: what the worlds show, and plans drawn at random."""

    def __init__(self, policy: VocabularyVector, count: int = 1500) -> None:
        worlds, rng = [world(i) for i in range(32)], np.random.default_rng(0)
        seen = Driving().observe([Situation(str(i), "log", worlds[i % 32], NOW) for i in range(count)], policy.spec)
        plans = np.cumsum(rng.uniform(0, 1, (count, 40, 3)), 1).astype(np.float32)
        none, names = np.zeros(count, np.int64), tuple(map(str, range(count)))
        self.block = Decisions(
            seen, none, none, plans, none == 0, none, none * 0.0, np.zeros((count, 0)), {}, names, names
        )  # fmt: skip

    def batches(self, size: int, seed: int | None) -> list[Decisions[Any]]:
        return [self.block]


def learned(batch: int = 32) -> dict[str, float]:
    """Scene-steps per second with `vocabulary-vector` deciding, all scenes in one call of it and each by itself."""
    fresh = VocabularyVector(VocabularyVectorConfig())
    policy, scenes = fresh.prepare(Frames(fresh), 0), scenes_of(20, batch, Control.IDM)
    steps = rollouts(scenes, policy)
    together = steps / cpu(lambda: rollouts(scenes, policy))
    singly = steps / cpu(lambda: [rollouts([one], policy) for one in scenes])
    return {"batched": together, "scene by scene": singly, "ratio": together / singly}


def _worker(barrier: Any, results: Any, rounds: int) -> None:
    scenes = scenes_of(20, 32, Control.IDM)
    rollouts(scenes)
    barrier.wait()
    begin, used, done = time.perf_counter(), time.process_time(), 0
    for _ in range(rounds):
        done += rollouts(scenes)
    results.put((done, time.perf_counter() - begin, time.process_time() - used))


def workers(count: int, rounds: int = 15) -> tuple[float, float]:
    """Scene-steps per second of ``count`` processes that begin together: by the wall clock, and by their own CPU time (what they
    would do on cores of their own: the two differ where others use the machine)."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(count), context.Queue()
    processes = [context.Process(target=_worker, args=(barrier, results, rounds)) for _ in range(count)]
    for process in processes:
        process.start()
    found = [results.get(timeout=600) for _ in processes]
    for process in processes:
        process.join()
    wall = sum(done for done, _, _ in found) / max(seconds for _, seconds, _ in found)
    return float(wall), float(sum(done / used for done, _, used in found))


def twin(agents: int, steps: int = 10) -> tuple[float, float]:
    """(kernels, readable) in steps per second of CPU time: IDM traffic of one scene; the readable one knows no right of way."""
    one = with_control(world(0, agents), Control.IDM)

    def fast() -> None:
        start(one, NOW, TrafficConfig()).run(NOW, STEPS - 1, one.ego.states)

    traffic = start(one, NOW, TrafficConfig())
    begin = time.process_time()
    for t in range(NOW, NOW + steps):
        readable.step(one, traffic, t)
        traffic.run(t, t + 1, one.ego.states)
    return (STEPS - 1 - NOW) / cpu(fast), steps / (time.process_time() - begin)


def nuplan(agents: int, steps: int = 50) -> float | None:
    """Steps per second of nuplan-devkit's IDM agents, None where it is not importable."""
    python = os.environ.get("NUPLAN_PYTHON")
    if not python:
        return None
    command = [python, str(Path(__file__).with_name("nuplan_agents.py")), str(agents), str(steps)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        sys.stderr.write(answer.stderr[-500:])
        return None
    return steps / float(json.loads(answer.stdout)["seconds"])


def growth(most: int) -> Iterator[dict[str, float]]:
    """CPU seconds and resident memory after 10, 100, ... scenes, streamed in batches of 64, nothing kept."""
    base, process = scenes_of(20, 64, Control.IDM), psutil.Process()
    rollouts(base)
    begin, done, mark = time.process_time(), 0, 10
    while done < most:
        count = min(64, mark - done)
        rollouts(base[:count])
        done += count
        if done == mark:
            yield {"scenes": done, "cpu_seconds": time.process_time() - begin, "memory_mb": process.memory_info().rss / 2**20}
            mark *= 10


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--scenes", type=int, default=10_000, help="to how many streamed scenes time and memory are followed")
    parser.add_argument("--folder", type=Path, default=Path("build/bench"))
    options = parser.parse_args()
    found: dict[str, Any] = {"machine": {"cores": os.cpu_count(), "load": os.getloadavg()[0]}}
    found["agents x batch"] = {f"{a} x {b}": rate(a, b) for a in (5, 20, 60) for b in (1, 8, 32, 128)}
    found["replayed, 20 x 32"] = rate(20, 32, Control.REPLAY)
    found["reactive, 20 x 32"] = rate(20, 32, Control.REACTIVE)
    found["vocabulary-vector in the loop, 20 x 32"] = learned()
    one, two = workers(1), workers(2)
    found["workers"] = {"1": one[0], "2": two[0], "ratio": two[0] / one[0], "ratio by CPU time": two[1] / one[1]}
    fast, slow = twin(20)
    found["traffic alone, one scene of 20"] = {"kernels": fast, "readable twin": slow, "ratio": fast / slow}
    peer = nuplan(20)
    found["nuplan-devkit IDM agents, one scene of 20"] = peer or "not importable: set NUPLAN_PYTHON"
    if peer:
        found["traffic alone against nuplan-devkit"] = fast / peer
        found["whole closed loop (20 x 32) against nuplan-devkit's agents alone"] = found["agents x batch"]["20 x 32"] / peer
    situations = [Situation(str(i), "log", world(i), NOW) for i in range(32)]
    spec = ObservationSpec(history=20, fields=("ego", "agents", "lanes", "route"))
    found["observe, batch of 32 [ms]"] = 1e3 * cpu(lambda: Driving().observe(situations, spec))
    found["growth"] = list(growth(options.scenes))
    options.folder.mkdir(parents=True, exist_ok=True)
    (options.folder / "sim.json").write_text(json.dumps(found, indent=1) + "\n")
    show(found)


def show(found: dict[str, Any]) -> None:
    table = Table("closed loop, IDM agents a scene", *(f"batch of {b}" for b in (1, 8, 32, 128)), title="scene-steps/s")
    for a in (5, 20, 60):
        table.add_row(str(a), *(f"{found['agents x batch'][f'{a} x {b}']:,.0f}" for b in (1, 8, 32, 128)))
    rest = Table("what", "figure")
    for name, value in found.items():
        if name in ("agents x batch", "growth"):
            continue
        parts = value.items() if isinstance(value, dict) else [("", value)]
        for key, figure in parts:
            rest.add_row(f"{name} {key}".strip(), f"{figure:,.2f}" if isinstance(figure, float) else str(figure))
    for row in found["growth"]:
        rest.add_row(f"{row['scenes']:,} scenes streamed", f"{row['cpu_seconds']:.1f} s, {row['memory_mb']:.0f} MB")
    console = Console(width=120)
    console.print(table)
    console.print(rest)


if __name__ == "__main__":
    main()
