"""Windows per second of CPU time of the log readers, what indexing costs, and memory against the size of a folder.

    python bench_data.py [--windows 300] [--folder build/bench]

Writes a table and ``data.json``. The nuPlan logs are a drive through minitown with exactly 40 boxes in every frame, written by our
writer at 20 Hz; windows hold 2 s of history, 8 s of future and the map within 120 m. The readable path (``naive_nuplan``) reads the
same windows in the same run, in turns; ratios are medians of five. Peak memory is that of a process of its own that reads every
window of a folder. ScenarioNet: the same drive by our writer. Argoverse 2 and nuScenes: the real logs in ``$WETOOL_DATA``
(``../shared/data`` unless set), "no data" where there are none. Images are found by the reader and decoded by Pillow.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from naive_nuplan import NaiveReader
from PIL import Image as Picture
from rich.console import Console
from rich.table import Table
from wetoolkit_driving.sensors import Camera, Image, Sensors
from wetoolkit_driving.types import Agents, World
from wetoolkit_logs.argoverse2.dataset import Argoverse2, Argoverse2Config
from wetoolkit_logs.nuplan.citymap import map_file
from wetoolkit_logs.nuplan.dataset import NuPlan, NuPlanConfig
from wetoolkit_logs.nuplan.logfile import Log
from wetoolkit_logs.nuplan.mapindex import read_map
from wetoolkit_logs.nuplan.writer import write
from wetoolkit_logs.scenarionet import ScenarioNet, ScenarioNetConfig
from wetoolkit_minitown.dataset import Minitown, MinitownConfig

from wetoolkit.registry import load_registry
from wetoolkit.types import Scenario

BOXES, TURNS, COPIES = 40, 5, 8
MEMORY = """
import re, sys
from pathlib import Path
from wetoolkit_logs.nuplan.dataset import NuPlan, NuPlanConfig
data = NuPlan(NuPlanConfig(folder=sys.argv[1], splits={"all": 1.0}, rate=float(sys.argv[2]), keep=2))
count = sum(data.load(ref).world.steps > 0 for ref in data.index("all"))
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())  # getrusage would tell the parent's
print(count, int(peak[1]) / 1024)
"""


def drive() -> Scenario[World]:
    """A drive of 30 s in which 40 others are there all the time: those of the town, again beside themselves."""
    town = Minitown(MinitownConfig(val_towns=1, val_logs=2, val_staged=0))
    source = max((town.recording(ref) for ref in town.recordings("val")), key=lambda one: len(one.world.agents))
    there = source.world.agents
    row = np.resize(np.flatnonzero(there.valid.all(1)), BOXES)
    pose = there.pose[row] + np.arange(BOXES)[:, None, None] // max(len(there), 1) * np.array([3.0, 3.0, 0.0], np.float32)
    agents = Agents(tuple(f"agent-{k}" for k in range(BOXES)), there.kind[row], there.size[row], pose, there.velocity[row],
                    there.valid[row], there.control[row])  # fmt: skip
    return replace(source, world=replace(source.world, agents=agents))


def seconds(call: Callable[[], object]) -> float:
    """CPU seconds of a call."""
    begun = time.process_time()
    call()
    return time.process_time() - begun


def turns(ours: Callable[[], object], other: Callable[[], object], count: int, fewer: int) -> dict[str, float]:
    """Windows a second of both, taken in turns, and the median of their ratios; ``other`` reads ``fewer`` windows."""
    pairs = [(count / seconds(ours), fewer / seconds(other)) for _ in range(TURNS)]
    return {
        "windows/s": statistics.median(a for a, _ in pairs),
        "readable windows/s": statistics.median(b for _, b in pairs),
        "ratio": statistics.median(a / b for a, b in pairs),
    }


def nuplan(folder: Path, count: int) -> dict[str, Any]:
    """Rates of the nuPlan reader and what its indexes cost."""
    path, gpkg = next(folder.glob("*.db")), map_file(folder / "maps", "us-nv-las-vegas-strip")
    found: dict[str, Any] = {"log MB": path.stat().st_size / 1e6, "map index s": seconds(lambda: read_map(gpkg))}
    log = Log(path, cache=False)
    found["log index s"] = seconds(lambda: Log(path, cache=False))
    found["box arrays s"] = seconds(lambda: log.boxes)
    naive = NaiveReader(path, gpkg)
    for name, rate, boxes in (("asked, 2 Hz", 2.0, "ask"), ("arrays, 10 Hz", 10.0, "arrays")):
        data = NuPlan(NuPlanConfig(folder=str(folder), splits={"all": 1.0}, rate=rate, boxes=boxes, stride=0.05))
        refs = [ref for ref in data.index("all") if ref.log == log.name]
        refs = [refs[k % len(refs)] for k in range(count)]
        times = [int(log.time[log.frame_of[int(ref.id.rpartition("/")[2], 16)]]) for ref in refs[:12]]
        world = data.load(refs[0]).world
        assert world.agents.valid.sum() == BOXES * world.steps
        ours = lambda data=data, refs=refs: [data.load(ref) for ref in refs]  # noqa: E731
        other = lambda rate=rate, times=times: [naive.window(time, 2, 8, rate, 120) for time in times]  # noqa: E731
        found[name] = turns(ours, other, count, len(times)) | {"lanes": world.map.lanes, "areas": len(world.map.area_ids)}
    return found


def memory(folder: Path, source: Scenario[World], place: Path) -> dict[str, Any]:
    """Peak memory [MB] of reading all windows of 1 log and of 8 copies of it."""
    rows: dict[str, Any] = {}
    for copies in (1, COPIES):
        many = place / f"{copies}-logs"
        if not many.exists():
            write((replace(source, id=f"copy {k}", log=f"copy {k}") for k in range(copies)), many)
        for rate in (2, 10):
            done = subprocess.run([sys.executable, "-c", MEMORY, str(many), str(rate)], capture_output=True, text=True, check=True)
            windows, peak = done.stdout.split()
            size = sum(path.stat().st_size for path in many.glob("*.db")) / 1e6
            rows[f"{copies} logs, {rate} Hz"] = {"log MB": size, "windows": int(windows), "peak MB": float(peak)}
    return rows


def images(source: Scenario[World], place: Path) -> dict[str, float]:
    """Images a second: found with their poses, and found and decoded (320 x 180)."""
    noise = np.random.default_rng(0).integers(0, 255, (18, 32, 3)).astype(np.uint8)
    jpeg = io.BytesIO()
    Picture.fromarray(noise).resize((320, 180)).save(jpeg, "JPEG")
    (place / "one.jpg").write_bytes(jpeg.getvalue())
    rig = tuple(Camera(f"CAM_{k}", (320, 180), np.diag([200.0, 200, 1]), np.eye(4)) for k in range(3))
    seen = tuple(Image(camera.name, 0.1 * k, np.eye(4), place / "one.jpg") for k in range(source.world.steps) for camera in rig)
    write([source], place / "seen", sensors=lambda _: Sensors(rig, seen, ()))
    data = NuPlan(NuPlanConfig(folder=str(place / "seen"), splits={"all": 1.0}, stride=1))
    refs = data.index("all")
    found = [image for ref in refs for image in data.sensors(ref).images]
    return {
        "found/s": len(found) / seconds(lambda: [data.sensors(ref) for ref in refs]),
        "decoded/s": 300 / seconds(lambda: [Picture.open(image.path).convert("RGB").load() for image in found[:300]]),
    }


def other(data: Any, split: str, count: int) -> dict[str, float]:
    """Windows a second of another reader: the first time, parsing included, and again from memory."""
    refs = data.index(split)[:count]
    first = seconds(lambda: [data.load(ref) for ref in refs])
    again = statistics.median(seconds(lambda: [data.load(ref) for ref in refs]) for _ in range(3))
    return {"windows": len(refs), "windows/s": len(refs) / again, "windows/s with parsing": len(refs) / first}


def others(source: Scenario[World], place: Path, count: int) -> dict[str, Any]:
    """ScenarioNet and Argoverse 2."""
    registry = load_registry()
    registry.load(registry.exporter("scenarionet"))([source], place / "scenarionet")
    rows: dict[str, Any] = {}
    config = {"splits": {"all": 1.0}, "cache": False, "stride": 0.1}
    rows["scenarionet, the same drive"] = other(
        ScenarioNet(ScenarioNetConfig(folder=str(place / "scenarionet"), **config)), "all", count
    )
    root = Path(os.environ.get("WETOOL_DATA") or Path(__file__).parents[2] / "../shared/data").resolve()
    real = (
        ("scenarionet, nuScenes", root / "scenarionet_nuscenes", ScenarioNet, ScenarioNetConfig),
        ("argoverse2, sensor logs", root / "av2_logs", Argoverse2, Argoverse2Config),
    )
    for name, folder, kind, settings in real:
        rows[name] = (
            other(kind(settings(folder=str(folder), **config)), "all", count) if folder.is_dir() else {"no data": str(folder)}
        )
    return rows


def show(found: dict[str, Any]) -> None:
    """One table."""
    table = Table("what", "figure", "value", title="bench-data")
    for part, rows in found.items():
        for name, value in rows.items():
            for figure, number in value.items() if isinstance(value, dict) else [("", value)]:
                text = (
                    f"{number:,.3g}"
                    if isinstance(number, float) and number < 100
                    else f"{number:,.0f}"
                    if isinstance(number, float)
                    else str(number)
                )
                table.add_row(f"{part}: {name}", figure, text)
    Console(width=120).print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=300)
    parser.add_argument("--folder", type=Path, default=Path("build/bench"))
    given = parser.parse_args(arguments)
    place = Path(tempfile.mkdtemp(prefix="bench-data-"))
    os.environ["XDG_CACHE_HOME"] = str(place / "cache")
    try:
        source = drive()
        write([source], place / "log")
        found = {"nuplan": nuplan(place / "log", given.windows), "memory": memory(place / "log", source, place),
                 "images": images(source, place), "others": others(source, place, given.windows)}  # fmt: skip
    finally:
        shutil.rmtree(place, ignore_errors=True)
    found["machine"] = {"cores": os.cpu_count(), "load": os.getloadavg()[0]}
    given.folder.mkdir(parents=True, exist_ok=True)
    (given.folder / "data.json").write_text(json.dumps(found, indent=1) + "\n")
    show(found)


if __name__ == "__main__":
    main()
