"""What fitted scenes look like where nobody drove: minitown by distance off the path, KITTI's pictures by what was held out.

Prints tables and writes build/bench/splat_views.json: PSNR, SSIM and depth error (the median relative one, and the share of pixels
over 10 %, what is farther than 60 m counting as at 60 m, the sky too). Figures of minitown are means over views of several windows
with 95 % intervals over windows; the truth is minitown's own ray caster. No package ships the backbones of LPIPS: `--distance
module:function` names your own (two [H, W, 3] tensors in [0, 1] -> a number), and its mean is added. KITTI is read from
../shared/data or $WETOOL_DATA; `--pictures FOLDER` writes held-out pictures above their renders and depths.
"""

import argparse
import importlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from wetoolkit_driving.reconstruct import Replay, ReplayConfig
from wetoolkit_driving.types import HEADING, World, X, Y
from wetoolkit_minitown.dataset import Minitown, MinitownConfig
from wetoolkit_splat import kitti
from wetoolkit_splat.driving import Amounts, clip_of
from wetoolkit_splat.losses import psnr, ssim
from wetoolkit_splat.reconstruct import camera_at, driven
from wetoolkit_splat.render import Settings
from wetoolkit_splat.train import FitConfig, fit, measure

from wetoolkit.registry import load_registry
from wetoolkit.statistics import mean_interval

CPU = Settings("cpu")
SETTINGS = {
    "seed": 303,
    "seconds": 20,
    "rare_rate": 0,
    "train_towns": 12,
    "train_logs": 40,
}  # no seed that anything was tuned on but this
SHIFTS = (0.0, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0)  # metres to the left
STEPS = (28, 53, 78)  # between the pictures that were fitted
FAR, WRONG = 60.0, 0.1  # metres; share of the true depth
DRIVE = Path(os.environ.get("WETOOL_DATA", "../shared/data")) / "kitti_odom_stereo" / "seq1"
Distance = Callable[[torch.Tensor, torch.Tensor], float]


def aside(world: World, shift: float) -> World:
    """The same world, the acting body so many metres to the left of where it was."""
    states = world.ego.states.copy()
    states[:, X] -= np.sin(states[:, HEADING]) * shift
    states[:, Y] += np.cos(states[:, HEADING]) * shift
    return replace(world, ego=replace(world.ego, states=states))


def likeness(image: torch.Tensor, truth: torch.Tensor, distance: Distance | None) -> dict[str, float]:
    """Of one picture."""
    found = {"psnr": psnr(image, truth), "ssim": float(ssim(image, truth))}
    return found | ({"distance": float(distance(image, truth))} if distance else {})


def depth_error(rendered: NDArray[Any], truth: NDArray[Any]) -> dict[str, float]:
    """The median over what is solid, and the share of all pixels that are wrong."""
    one, other = (np.minimum(np.where(depth <= 0, FAR, depth), FAR) for depth in (rendered, truth))
    error = np.abs(one - other) / other
    return {"depth error": float(np.median(error[truth > 0])), "wrong pixels": float((error > WRONG).mean())}


def window(dataset: Minitown, truth: Any, ref: Any, config: FitConfig, distance: Distance | None) -> dict[float, dict[str, float]]:
    """Metres off the path -> means over the views of one fitted window."""
    scenario = dataset.load(ref)
    points, end = config.budget // 2, (scenario.clock.steps - 1) * scenario.clock.dt
    began = time.process_time()
    clip = clip_of(scenario.world, dataset.sensors(ref), (0.0, end), 0, Amounts(background=points, shell=points // 8))
    fitted = fit(clip, config, 0).learned.scene()
    spent = time.process_time() - began
    scene, rows = Replay(ReplayConfig()).reconstruct(scenario, None, 0), {}
    for shift in SHIFTS:
        world = aside(scenario.world, shift)
        for step in STEPS:
            for camera in dataset.sensors(ref).cameras:
                shot = truth.render(scene, world, step, camera.name, camera.size)
                shown, poses = driven(fitted, world, step)
                with torch.no_grad():
                    seen = shown.render(camera_at(world, step, camera, camera.size), step * world.dt, (camera.name,), poses, CPU)
                image, recorded = seen.colour[0].clamp(0, 1), torch.from_numpy(shot["rgb"] / np.float32(255))
                depth = np.where(seen.alpha[0].numpy() < 0.5, 0, seen.expected_depth()[0].numpy())
                one = likeness(image, recorded, distance) | depth_error(depth, shot["depth"]) | {"CPU s of the fit": spent}
                rows.setdefault(abs(shift), []).append(one)
    return {shift: {name: float(np.mean([one[name] for one in many])) for name in many[0]} for shift, many in rows.items()}


def minitown(count: int, config: FitConfig, distance: Distance | None) -> list[dict[str, Any]]:
    """A row for each distance; of each town the first window."""
    settings = SETTINGS | {"cache": "build/splat-views/town"}
    dataset = Minitown(MinitownConfig(**settings))
    truth = load_registry().build("reconstructor", "minitown-cameras", {"settings": settings})
    refs = list({ref.log.split("/")[0]: ref for ref in reversed(dataset.index("train"))}.values())[::-1][:count]
    windows = [window(dataset, truth, ref, config, distance) for ref in refs]
    rows = []
    for shift in sorted(windows[0]):
        row: dict[str, Any] = {"metres off": shift, "windows": len(windows)}
        for name in windows[0][shift]:
            interval = (
                mean_interval([found[shift][name] for found in windows], range(count), seed=0, bounds=None) if count > 1 else None
            )
            mean = float(np.mean([found[shift][name] for found in windows]))
            row[name] = mean
            row[f"{name} interval"] = None if interval is None else [interval.low, interval.high]
        rows.append(row)
    return rows


def real(config: FitConfig, distance: Distance | None, pictures: Path | None) -> dict[str, Any]:
    """KITTI: 20 pairs fitted, 4 held out; figures of the left camera's held-out pictures, whose depths are those of matching."""
    clip = kitti.clip_of(DRIVE, 24, 0)
    began = time.process_time()
    learned = fit(clip, config, 0).learned
    spent = time.process_time() - began
    held = [frame for frame in clip.split(config.held_out)[1] if frame.camera == "left"]
    with torch.no_grad():
        seen = [learned.render(frame, CPU) for frame in held]
    images = [view.colour[0].clamp(0, 1) for view in seen]
    found = [likeness(image, frame.image, distance) for image, frame in zip(images, held, strict=True)]
    row = {name: float(np.mean([one[name] for one in found])) for name in found[0]}
    if pictures:
        sheets(
            pictures, [torch.cat([f.image, i, _shade(v.expected_depth()[0])]) for f, i, v in zip(held, images, seen, strict=True)]
        )
    return row | {"depth error": measure(learned, held, CPU)["depth error"], "held out": len(held), "CPU s of the fit": spent}


def _shade(depth: torch.Tensor) -> torch.Tensor:
    return (1 - depth / kitti.FARTHEST).clamp(0, 1)[..., None].expand(*depth.shape, 3)


def sheets(folder: Path, images: list[torch.Tensor]) -> None:
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        Image.fromarray((255 * image.numpy()).round().astype(np.uint8)).save(folder / f"kitti-{number}.png")


def show(title: str, rows: list[Mapping[str, Any]]) -> None:
    table = Table(title=title)
    columns = [name for name in rows[0] if not name.endswith(" interval")]
    for name in columns:
        table.add_column(name, justify="right")
    for row in rows:
        intervals = {name: row.get(f"{name} interval") for name in columns}
        table.add_row(*(f"{row[n]:.3g}" + (f" [{i[0]:.3g}, {i[1]:.3g}]" if (i := intervals[n]) else "") for n in columns))
    Console(width=180).print(table)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--windows", type=int, default=4, help="of minitown; 0: none")
    options.add_argument("--fit", type=json.loads, default={}, help="changes of FitConfig, as JSON")
    options.add_argument("--real-fit", type=json.loads, default={"steps": 1000, "budget": 80_000, "held_out": 6}, help="for KITTI")
    options.add_argument("--distance", help="module:function of a further distance of two pictures, as LPIPS")
    options.add_argument("--pictures", type=Path, help="folder for KITTI's held-out pictures and renders")
    options.add_argument("--out", type=Path, default=Path("build/bench/splat_views.json"))
    chosen = options.parse_args()
    torch.set_num_threads(1)
    distance: Distance | None = None
    if chosen.distance:
        module, _, function = chosen.distance.partition(":")
        distance = getattr(importlib.import_module(module), function)
    found: dict[str, Any] = {}
    if chosen.windows:
        config = FitConfig(**{"steps": 300, "budget": 40_000, "backend": "cpu", **chosen.fit})
        found["minitown"] = minitown(chosen.windows, config, distance)
        show("minitown, by metres off the path", found["minitown"])
    if DRIVE.exists():
        found["kitti"] = real(FitConfig(**{"backend": "cpu", **chosen.real_fit}), distance, chosen.pictures)
        show("KITTI, held out", [found["kitti"]])
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(found | {"fit": chosen.fit, "real fit": chosen.real_fit}, indent=1))


if __name__ == "__main__":
    main()
