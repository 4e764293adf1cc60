"""Images and lidar sweeps a second of CPU time of minitown's sensors, one core, and how much plain numpy takes for the same rays.

    python bench_sensors.py [--folder build/bench] [--drives 2]

Writes a table and ``sensors.json``. Images: what moves is placed, rays are cast, shadows too, pixels shaded, rough ones again;
with files: JPEG, depth and class go to the disk as well. The readable path: Möller-Trumbore over every triangle of the town in
numpy, which has no index of them, and the shading kernel's own source run by Python; both for a part of the image's rays and scaled
up to all of them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table
from wetoolkit_minitown.dataset import Minitown, MinitownConfig
from wetoolkit_minitown.sensors import readable, renderer, shading
from wetoolkit_minitown.sensors.files import image_file, write_image, write_truth
from wetoolkit_minitown.sensors.lidar import sweep
from wetoolkit_minitown.sensors.renderer import Renderer
from wetoolkit_minitown.sensors.rig import DEFAULT, MOUNTS, rig
from wetoolkit_minitown.sensors.studio import made

TARGET = 15.0  # images a second of 320 x 180 pixels on one core (issue 5)
RAYS, PIXELS = 6, 1500  # of the readable path
SEED = 0


def renderers(drives: int) -> Iterator[tuple[Renderer, float]]:
    """(renderer, CPU seconds that its surroundings took) of some drives of the val split."""
    data = Minitown(MinitownConfig())
    for ref in data.recordings("val")[:drives]:
        world = data.recording(ref).world
        begun = time.process_time()
        stage, still = made(world.map, SEED)
        yield Renderer(stage, still, world, np.zeros(2), SEED), time.process_time() - begun


def rate(work: Callable[[int], int], steps: range) -> float:
    """The median over the steps of what ``work`` makes a second of CPU time, after one call that compiles."""
    work(steps[0])
    rates = []
    for step in steps:
        begun = time.process_time()
        count = work(step)
        rates.append(count / (time.process_time() - begun))
    return float(np.median(rates))


def measured(made_of: Renderer, folder: Path) -> dict[str, float]:
    """Everything about one drive."""
    steps = range(10, made_of.world.steps, max(1, made_of.world.steps // 12))

    def images(names: tuple[str, ...], size: tuple[int, int], files: bool = False) -> Callable[[int], int]:
        def work(step: int) -> int:
            for camera in rig(names, size):
                shot = made_of.image(camera, step)
                if files:
                    path = image_file(folder, camera.name, step)
                    write_truth(path, shot.depth, shot.category)
                    write_image(path, shot.rgb, 92)
            made_of.forget()
            return len(names)

        return work

    def sweeps(step: int) -> int:
        sweep(made_of, step)
        made_of.forget()
        return 1

    found = {
        "images/s, 3 cameras, 320x180": rate(images(DEFAULT, (320, 180)), steps),
        "the same with files": rate(images(DEFAULT, (320, 180), True), steps),
        "images/s, 8 cameras, 320x180": rate(images(tuple(MOUNTS), (320, 180)), steps),
        "images/s, 3 cameras, 960x540": rate(images(DEFAULT, (960, 540)), steps[:4]),
        "sweeps/s, 32 x 900": rate(sweeps, steps),
    }
    return {**found, **_against(made_of, steps[len(steps) // 2])}


def _against(made_of: Renderer, step: int) -> dict[str, float]:
    """Seconds an image of the two halves of the work, fast and readable."""
    kept: list[tuple[object, ...]] = []

    def noted(*arguments: object) -> object:
        kept.append(arguments)
        return shading.shade(*arguments)

    renderer.shade = noted  # type: ignore[assignment]
    made_of.image(rig(["CAM_F0"])[0], step)
    renderer.shade = shading.shade
    arguments = kept[0]
    rays, origin = np.asarray(arguments[0]), np.array(arguments[9].origin)  # type: ignore[attr-defined]
    some = np.linspace(0, len(rays) - 1, RAYS).astype(int)
    corners = made_of.stage.mesh.corners.astype(np.float64)
    begun = time.process_time()
    for ray in rays[some]:
        readable.first_hit(corners, origin, ray.astype(np.float64))
    slow_cast = (time.process_time() - begun) * len(rays) / RAYS
    starts = np.tile(origin.astype(np.float32), (len(rays), 1))
    begun = time.process_time()
    for _ in range(5):
        made_of.still.hits(starts, rays)
    fast_cast = (time.process_time() - begun) / 5
    begun = time.process_time()
    for _ in range(5):
        shading.shade(*arguments)
    fast_shade = (time.process_time() - begun) / 5
    part = np.linspace(0, len(rays) - 1, PIXELS).astype(int)
    begun = time.process_time()
    readable.shade(part, *arguments)
    slow_shade = (time.process_time() - begun) * len(rays) / PIXELS
    return {
        "casting, s an image": fast_cast, "casting, readable": slow_cast, "casting, ratio": slow_cast / fast_cast,
        "shading, s an image": fast_shade, "shading, readable": slow_shade, "shading, ratio": slow_shade / fast_shade,
    }  # fmt: skip


def main() -> None:
    """Print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("build") / "bench")
    parser.add_argument("--drives", type=int, default=2)
    asked = parser.parse_args()
    rows: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        for made_of, seconds in renderers(asked.drives):
            sizes = {"surroundings, s": seconds, "triangles": float(len(made_of.stage.mesh))}
            rows.append({**sizes, **measured(made_of, Path(folder))})
    table = Table("measured", *(f"drive {n}" for n in range(len(rows))))
    for name in rows[0]:
        table.add_row(name, *(f"{row[name]:,.3g}" for row in rows))
    console = Console()
    console.print(table)
    worst = min(row["images/s, 3 cameras, 320x180"] for row in rows)
    console.print(f"at least {worst:.1f} images/s on one core (target {TARGET:g}); load {psutil.getloadavg()[0]:.1f}")
    asked.folder.mkdir(parents=True, exist_ok=True)
    about = {"drives": rows, "target": TARGET, "load": psutil.getloadavg(), "memory, MB": psutil.Process().memory_info().rss / 1e6}
    (asked.folder / "sensors.json").write_text(json.dumps(about, indent=1))
    sys.stdout.write(f"written to {asked.folder / 'sensors.json'}\n")


if __name__ == "__main__":
    main()
