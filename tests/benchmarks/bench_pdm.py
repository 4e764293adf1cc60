"""How long the PDM score takes: N x variant x threads, PDM-Closed, a rollout's dense reward, and the readable text in the same run.

Prints tables and writes build/bench/pdm.json. Times are the best of several runs: CPU milliseconds with one thread, wall-clock ones
with two, whose ratio is to wall-clock with one. With `--peers DIR` (and PEERS_PYTHON, see tests/peers) NAVSIM v1.1's own pdm_score
is timed in the same run, one plan a call as its evaluation calls it, on a random road of tests/peers/scenes.py, and ours beside it.
Where the parity scenes lie, 8,192 plans are timed on each of them too (``pdm_parity``).
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pdm_parity
from rich.console import Console
from rich.table import Table
from wetoolkit_driving import dynamics
from wetoolkit_driving.pdm import kernels
from wetoolkit_driving.pdm.closed import PdmClosedConfig, plan_closed
from wetoolkit_driving.pdm.reward import PdmReward, PdmRewardConfig
from wetoolkit_driving.pdm.scene import PdmScene, from_world, index_map
from wetoolkit_driving.pdm.score import score_readable
from wetoolkit_driving.pdm.variants import NAVSIM_1_1, VARIANTS, Variant
from wetoolkit_driving.testing import actor, crossing_world
from wetoolkit_driving.types import AgentClass, World

from wetoolkit.types import Situation

COUNTS = (1, 64, 1024, 8192, 16384)
READABLE = 64  # plans the readable text is given
PEER_PLANS = 24  # plans NAVSIM is given
TARGETS = {1: 0.5, 64: 4.0, 8192: 150.0}  # milliseconds, one thread


def best(call: Callable[[], object], clock: Callable[[], float] = time.process_time, runs: int = 5) -> float:
    """Milliseconds, best of ``runs``, after one call to compile."""
    call()
    times = []
    for _ in range(runs):
        start = clock()
        call()
        times.append(clock() - start)
    return 1e3 * min(times)


def plans(count: int, seed: int = 0) -> np.ndarray:
    """Plans [count, 40, 3] of many speeds and curvatures."""
    rng = np.random.default_rng(seed)
    speed = np.maximum(8 + np.cumsum(rng.normal(0, 0.2, (count, 40)), 1), 0)  # m/s
    heading = np.cumsum(speed * rng.normal(0, 0.01, (count, 1)) * 0.1, 1)
    xy = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], -1) * speed[..., None] * 0.1, 1)
    return np.concatenate([xy, heading[..., None]], -1)


def busy_world() -> World:
    """A signalled crossing with 18 others."""
    rng = np.random.default_rng(1)
    others = [actor(x, y, 0.0, 6.0) for x, y in rng.uniform([-30, -4], [80, 8], (16, 2))]
    return crossing_world([*others, *(actor(x, -6, np.pi / 2, 1.3, AgentClass.PEDESTRIAN) for x in (25.0, 45.0))])


def world_poses(scene: PdmScene, count: int) -> np.ndarray:
    return dynamics.to_world(np.repeat(scene.ego[None], count, 0), plans(count))


def readable_ms(scene: PdmScene, variant: Variant) -> float:
    """Milliseconds a plan of the readable text, simulation included."""
    poses = world_poses(scene, READABLE)
    ego = np.repeat(scene.ego[None], READABLE, 0)
    return best(lambda: score_readable(scene, dynamics.simulate_readable(ego, poses), variant), runs=1) / READABLE


def time_variant(world: World, variant: Variant) -> list[dict[str, object]]:
    """One row for each N and number of threads."""
    scene = from_world(world, 20, areas=index_map(world), variant=variant)
    slow = readable_ms(scene, variant)
    ready = kernels.prepare(scene, variant, every_state=False)
    rows: list[dict[str, object]] = []
    for count in COUNTS:
        poses = world_poses(scene, count)
        one = best(lambda p=poses: kernels.drive_ready(ready, scene, p, variant))

        def shared(threads: int, p: np.ndarray = poses) -> float:
            return best(lambda: kernels.drive_ready(ready, scene, p, variant, threads), time.perf_counter)

        alone, both = shared(1), shared(2)
        for threads, ms in ((1, one), (2, both)):
            rows.append(
                {
                    "variant": variant.name, "n": count, "threads": threads, "ms": ms, "proposals_per_second": 1e3 * count / ms,
                    "faster_than_readable": slow * count / ms if threads == 1 else None,
                    "speedup_of_threads": alone / both if threads == 2 else None,
                    "target_ms": TARGETS.get(count) if threads == 1 else None,
                }
            )  # fmt: skip
    return rows


def memory_mb(world: World) -> float:
    """Peak MB that numpy and Python allocate beside the plans for 8,192 of them."""
    scene = from_world(world, 20)
    poses = world_poses(scene, 8192)
    kernels.drive(scene, poses)
    tracemalloc.start()
    kernels.drive(scene, poses)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def parts(world: World) -> dict[str, float]:
    """Milliseconds of what surrounds the score, and of a whole rollout's dense reward."""
    areas, reward, anchors = index_map(world), PdmReward(PdmRewardConfig()), plans(8192)
    scene = from_world(world, 20, areas=areas)
    steps = [Situation(f"bench/{step}", "log", world, step) for step in range(20, 60, 5)]

    def dense() -> object:
        return PdmReward(PdmRewardConfig()).score(steps, anchors)

    return {
        "index of the map": best(lambda: index_map(world)),
        "scene": best(lambda: from_world(world, 20, areas=areas)),
        "ready for one variant": best(lambda: kernels.prepare(scene, NAVSIM_1_1)),
        "pdm-closed": best(lambda: plan_closed(world, 20, PdmClosedConfig(), areas)),
        "reward of 1 plan": best(lambda: reward.score(steps[:1], anchors[:1])),
        "dense reward, 8 steps x 8,192": best(dense, runs=2),
    }


def beside_navsim(peers: Path | None, python: str) -> dict[str, float] | None:
    """CPU milliseconds of NAVSIM v1.1's pdm_score and of ours for one plan and its reference; None without its sources."""
    if peers is None or not (peers / "navsim-v1.1").is_dir():
        return None
    sys.path.insert(0, str(Path(__file__).parents[1] / "peers"))
    import compare
    import scenes

    name, case = next(scenes.random_roads(PEER_PLANS, range(1)))
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder) / "given", Path(folder) / "found"
        given.mkdir()
        np.savez(given / f"{name}.npz", **case)
        compare.run_peer("navsim-1.1", peers, python, given, found)
        with np.load(found / f"{name}.npz", allow_pickle=False) as file:
            seconds, reference = float(file["seconds"]), file["reference"][:, :3]
    world, step = scenes.WORLDS[name]
    scene = from_world(world, step)
    poses = np.stack([dynamics.reference_poses(scene.ego[None], case["proposals_10hz"][:1])[0], reference])
    ours = best(lambda: kernels.drive(scene, poses))
    return {
        "navsim v1.1, pdm_score of one plan": 1e3 * seconds / len(case["proposals_10hz"]),
        "ours, the same plan and scene": ours,
    }


def show(console: Console, rows: list[dict[str, object]], around: dict[str, float], memory: float) -> None:
    table = Table("variant", "N", "threads", "ms", "target", "proposals/s", "x readable", "x one thread")
    for row in rows:
        cells = [row["ms"], row["target_ms"], row["proposals_per_second"], row["faster_than_readable"], row["speedup_of_threads"]]
        texts = ["" if cell is None else f"{cell:,.0f}" if float(str(cell)) >= 1000 else f"{cell:.3g}" for cell in cells]
        table.add_row(str(row["variant"]), f"{row['n']:,}", str(row["threads"]), *texts)
    console.print(table)
    extra = Table("what", "ms")
    for name, ms in around.items():
        extra.add_row(name, f"{ms:.2f}")
    extra.add_row("memory beside 8,192 plans", f"{memory:.0f} MB")
    console.print(extra)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/bench/pdm.json"))
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--peers", type=Path, help="folder with navsim-v1.1 and nuplan-devkit")
    parser.add_argument("--python", default=os.environ.get("PEERS_PYTHON", sys.executable), help="the peers' interpreter")
    given = parser.parse_args()
    world = busy_world()
    rows = [row for name in given.variants for row in time_variant(world, VARIANTS[name])]
    around, memory = parts(world), memory_mb(world)
    navsim = beside_navsim(given.peers, given.python)
    console, parity = Console(width=120), pdm_parity.time_all(plans(8192), given.variants)
    show(console, rows, around | (navsim or {}), memory)
    if parity:
        pdm_parity.show(console, parity)
    else:
        print(f"parity scenes: not timed; none in {pdm_parity.FOLDER}")
    if navsim is None:
        print("navsim: not timed; give --peers a folder with its sources")
    given.out.parent.mkdir(parents=True, exist_ok=True)
    machine = {"machine": platform.machine(), "python": platform.python_version(), "numpy": np.__version__}
    found = {"rows": rows, "parity": parity, "around_ms": around, "navsim_ms": navsim, "memory_mb": memory, "machine": machine}
    given.out.write_text(json.dumps(found, indent=1))
    print(f"written: {given.out}")


if __name__ == "__main__":
    main()
