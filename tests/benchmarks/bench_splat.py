"""How long the rasterizer takes: implementation x scene x threads, both ways, with memory and error against the float64 twin.

Prints a table and writes build/bench/splat.json. One thread is timed in CPU milliseconds, two in wall-clock ones, whose speed-up
is to wall-clock with one, interleaved; all are medians, with the best beside them in the file. Memory is the peak of a fresh
process, torch and numba included. The garden is gsplat's test scene, in ../shared/data/gsplat_garden or $WETOOL_DATA.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from wetoolkit_splat import cpu, cpu_plain, cpu_simd, twin
from wetoolkit_splat.testing import orbit, random_gaussians
from wetoolkit_splat.types import C0, Cameras, Gaussians, Render, identity_poses

GARDEN = Path(os.environ.get("WETOOL_DATA", "../shared/data")) / "gsplat_garden" / "test_garden.npz"
BLENDING = {"simd": cpu_simd, "plain": cpu_plain}
RUNS = 7
TARGETS = {"forward": 45.0, "backward": 70.0, "megabytes": 600.0, "image": 1e-5, "gradient": 1e-3, "speed-up": 1.7}


def garden(terms: int) -> tuple[Gaussians, Cameras]:
    """The points within 2 m, random scales below 0.02 and opacities, one camera of 648 x 420."""
    data, rng = np.load(GARDEN), np.random.default_rng(0)
    near = (np.abs(data["means3d"]) <= 2).all(1)
    count = int(near.sum())
    quaternions, scales, opacities = rng.normal(size=(count, 4)), rng.uniform(1e-9, 0.02, (count, 3)), rng.uniform(0, 1, count)
    sh = np.concatenate([(data["colors"][near, None] / 255 - 0.5) / C0, 0.1 * rng.normal(size=(count, terms - 1, 3))], 1)
    arrays = (data["means3d"][near], quaternions, np.log(scales), np.log(opacities / (1 - opacities)), sh)
    scene = Gaussians(*(torch.from_numpy(a.astype(np.float32)) for a in arrays), groups=torch.zeros(count, dtype=torch.int32))
    return scene, Cameras(torch.from_numpy(data["viewmats"][:1]), torch.from_numpy(data["Ks"][:1]), 648, 420)


def scenes() -> dict[str, tuple[Gaussians, Cameras]]:
    small = random_gaussians(20_000, 0)
    found = {"random": (replace(small, log_scales=small.log_scales - 2), orbit(1, 320, 180))}
    if GARDEN.exists():
        found |= {"garden": garden(1), "garden, degree 3": garden(16)}
    return found


def run(
    name: str, scene: Gaussians, cameras: Cameras, threads: int = 1
) -> tuple[Render, dict[str, torch.Tensor], dict[str, float]]:
    """Image, gradients of a fixed random weighting of it, and milliseconds of both ways by both clocks."""
    dtype = torch.float64 if name == "twin64" else torch.float32
    leaves = {key: value.to(dtype, copy=True).requires_grad_() for key, value in scene.parameters().items()}
    scene, cameras = replace(scene, **leaves), cameras.to(dtype)
    given: tuple[Any, ...] = (scene, cameras, identity_poses(scene), torch.zeros(1, 3, dtype=dtype))
    start = time.perf_counter(), time.process_time()
    seen = twin.render(*given) if "twin" in name else cpu.render(*given, threads=threads, blending=BLENDING[name])
    middle = time.perf_counter(), time.process_time()
    weights = torch.rand((3, *seen.alpha.shape), generator=torch.Generator().manual_seed(0)).to(dtype)
    parts = [weights[0][..., None].expand(seen.colour.shape).contiguous(), 0.1 * weights[1], weights[2]]
    before = time.perf_counter(), time.process_time()
    torch.autograd.backward([seen.colour, seen.depth, seen.alpha], parts)
    end = time.perf_counter(), time.process_time()
    times = {f"{way} {clock}": 1e3 * (b[k] - a[k]) for way, a, b in (("forward", start, middle), ("backward", before, end))
             for k, clock in enumerate(("wall", "cpu"))}  # fmt: skip
    image = Render(seen.colour.detach(), seen.depth.detach(), seen.alpha.detach())
    return image, {key: leaf.grad for key, leaf in leaves.items() if leaf.grad is not None}, times


def errors(one: tuple[Any, ...], exact: tuple[Any, ...]) -> dict[str, float]:
    """Of the image: the mean of the absolute differences; of gradients: the largest relative L2 norm over the parameters."""
    gradient = {key: float((value - exact[1][key]).norm() / exact[1][key].norm()) for key, value in one[1].items()}
    colour = (one[0].colour - exact[0].colour).abs()
    return {"image": float(colour.mean()), "image worst": float(colour.max()), "gradient": max(gradient.values())}


def peak() -> float:
    """Megabytes this process held at most. The rusage of a child starts from its parent's."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))


def megabytes(name: str, scene: str) -> float:
    """Peak of a fresh process that goes forward and backward once."""
    command = [sys.executable, __file__, "--memory", name, scene]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def interleaved(scene: Gaussians, cameras: Cameras, runs: int) -> dict[tuple[str, int], list[dict[str, float]]]:
    """Times of every implementation and number of threads, one after the other in each round."""
    cases = [(name, threads) for name in BLENDING for threads in (1, 2)]
    times: dict[tuple[str, int], list[dict[str, float]]] = {case: [] for case in cases}
    for turn in range(runs + 1):
        for name, threads in cases:
            spent = run(name, scene, cameras, threads)[2]
            times[name, threads] += [spent] if turn else []  # the first one compiles
    return times


def row(
    name: str, scene: str, threads: int, spent: list[dict[str, float]], one: list[dict[str, float]], slow: dict[str, float]
) -> dict[str, Any]:
    """Medians, bests, the ratio to the twin and, of two threads, the speed-up."""
    clock = "cpu" if threads == 1 else "wall"
    found: dict[str, Any] = {"implementation": name, "scene": scene, "threads": threads}
    for way in ("forward", "backward"):
        values = [each[f"{way} {clock}"] for each in spent]
        found |= {
            way: float(np.median(values)),
            f"{way} best": min(values),
            f"{way} twin/this": slow[f"{way} cpu"] / float(np.median(values)),
        }
    if threads > 1:
        wall = [np.median([sum(each[f"{way} wall"] for way in ("forward", "backward")) for each in many]) for many in (one, spent)]
        found["speed-up"] = float(wall[0] / wall[1])
    return found


def measure(name: str, scene: Gaussians, cameras: Cameras, runs: int) -> list[dict[str, Any]]:
    """All rows of one scene, the twin's first."""
    exact, slow = run("twin64", scene, cameras), run("twin", scene, cameras)
    first = {
        "implementation": "twin float32",
        "scene": name,
        "threads": 1,
        **{way: slow[2][f"{way} cpu"] for way in ("forward", "backward")},
    }
    rows = [first | errors(slow, exact)]
    times = interleaved(scene, cameras, runs)
    for (of, threads), spent in times.items():
        found = row(of, name, threads, spent, times[of, 1], slow[2])
        rows.append(found | errors(run(of, scene, cameras, threads), exact) | {"megabytes": megabytes(of, name)})
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    table = Table(title="3D Gaussians on a CPU")
    columns = ("implementation", "scene", "threads", "forward", "backward", "forward twin/this", "backward twin/this", "speed-up")
    columns += ("megabytes", "image", "gradient")
    for column in columns:
        table.add_column(column, justify="left" if column in columns[:2] else "right")
    for found in rows:
        table.add_row(*(f"{found[c]:.3g}" if isinstance(found.get(c), float) else str(found.get(c, "")) for c in columns))
    Console(width=180).print(table)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--memory", nargs=2, metavar=("IMPLEMENTATION", "SCENE"), help="print the peak of this process")
    options.add_argument("--runs", type=int, default=RUNS, help="rounds that are timed")
    options.add_argument("--out", type=Path, default=Path("build/bench/splat.json"))
    chosen = options.parse_args()
    torch.set_num_threads(1)
    if chosen.memory:
        run(chosen.memory[0], *scenes()[chosen.memory[1]])
        print(peak())
        return
    rows = [found for name, (scene, cameras) in scenes().items() for found in measure(name, scene, cameras, chosen.runs)]
    show(rows)
    machine = {
        "processor": platform.processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
    }
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps({"machine": machine, "targets": TARGETS, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
