"""How well trust tells where a render can be believed: minitown's towns, their ray-cast images as truth, scenes fitted by `splat`.

`--calibrate` fits the models of trust on the train towns of one seed and writes them (`--to`, the shipped file unless given). Then,
and without it, they are measured on the test towns of another seed: views 0 to 4 m to both sides of the path and turned, several
steps each. Prints tables and writes build/bench/trust.json. Fitted scenes and evidence are kept in build/trust.

A pixel is good if its depth is right within 10 %; what is farther than 60 m, the sky too, counts as at 60 m. A frame is bad if over
5 % of its pixels are not good, or its PSNR is 6 dB below that of the same camera and step on the path. "Path deducted": only pixels
beyond the share on the path count.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
import torch
import wetoolkit_splat
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from wetoolkit_minitown.dataset import Minitown, MinitownConfig
from wetoolkit_splat import trust as trusts
from wetoolkit_splat.calibrate import DROP, ERROR, SHARE, auroc, depth_errors, logistic, reliability
from wetoolkit_splat.features import FRAME, PIXEL, Evidence, evidence
from wetoolkit_splat.reconstruct import ASSET, SplatConfig, SplatScenes, aside, camera_at, driven, opened
from wetoolkit_splat.render import Settings
from wetoolkit_splat.trust import Calibration

from wetoolkit.registry import load_registry
from wetoolkit.statistics import Interval, mean_interval, t_quantile
from wetoolkit.store import key_of

SEEDS = {"train": 101, "test": 202}  # calibration and measurement share neither seed nor split
SCENES = {"train": 4, "test": 6}
SHIFTS = tuple(float(s) for s in range(-4, 5))  # metres to the left
TURNED = ((0.0, 0.35), (0.0, -0.35), (2.0, 0.35), (-2.0, -0.35))  # (metres, radians)
POSES = tuple((shift, 0.0) for shift in SHIFTS) + TURNED
STEPS = (28, 53, 78)  # of a window of 101
SAMPLE = 150  # pixels a view that the pixels' model is fitted to
FOLDER = Path("build/trust")
DEFAULT = SplatConfig().fit


@dataclass(frozen=True)
class Views:
    """V views of one scene."""

    scene: str
    shift: NDArray[np.float64]  # [V] metres
    yaw: NDArray[np.float64]  # [V] radians
    camera: NDArray[np.str_]  # [V]
    step: NDArray[np.int64]  # [V]
    psnr: NDArray[np.float64]  # [V] dB
    drop: NDArray[np.float64]  # [V] dB below the same camera and step on the path
    share: NDArray[np.float64]  # [V] share of pixels that are not good
    away: NDArray[np.float64]  # [V]
    turned: NDArray[np.float64]  # [V]
    values: NDArray[np.float16]  # [V, h, w, PIXEL]
    foreign: NDArray[np.bool_]  # [V, h, w]
    good: NDArray[np.bool_]  # [V, h, w] truth of the pixel in the middle of each
    milliseconds: NDArray[np.float64]  # [V, 2] of CPU: render, trust

    def bad(self, beside: bool = False) -> NDArray[np.bool_]:
        """[V]; ``beside``: only pixels beyond the share on the path (same camera, same step) count, as it is with PSNR."""
        return (self.share - (self.on_path() if beside else 0) > SHARE) | (self.drop > DROP)

    def on_path(self) -> NDArray[np.float64]:
        """[V] share of pixels that are not good with the same camera at the same step on the path."""
        places = list(zip(self.camera.tolist(), self.step.tolist(), strict=True))
        here = {place: self.share[v] for v, place in enumerate(places) if self.shift[v] == 0 and self.yaw[v] == 0}
        return np.array([here[place] for place in places])

    def evidence(self, v: int) -> Evidence:
        """Of one view; its depth is not kept."""
        return Evidence(
            self.values[v].astype(np.float32), self.good[v] * np.float32(0), self.foreign[v], self.away[v], self.turned[v]
        )


def town(split: str) -> tuple[Minitown, dict[str, Any]]:
    """As an experiment has it by default: pictures and sweeps twice a second."""
    logs = {f"{split}_towns": 12, f"{split}_logs": 40}
    settings = {"seed": SEEDS[split], "seconds": 20, "rare_rate": 0, "cache": str(FOLDER / "town"), **logs}
    return Minitown(MinitownConfig(**settings)), settings


def windows(dataset: Minitown, split: str, count: int) -> Sequence[Any]:
    """The first window of each of the first drives, no town twice."""
    found: dict[str, Any] = {}
    for ref in dataset.index(split):
        found.setdefault(ref.log.split("/")[0], ref)
    return list(found.values())[:count]


def views(dataset: Minitown, settings: dict[str, Any], ref: Any, fit: Any) -> Views:
    """Render one scene from everywhere, beside the truth."""
    key = f"{ref.id.replace('/', '-')}-{key_of_views(fit)}"
    path = FOLDER / "views" / f"{key}.npz"
    if not path.exists():
        found = _views(dataset, settings, ref, fit)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path.with_suffix(".part.npz"), **found)
        path.with_suffix(".part.npz").rename(path)
    with np.load(path) as data:
        return Views(ref.id, **{name: data[name] for name in data.files})


def key_of_views(fit: Any) -> str:
    """What the views depend on besides the window."""
    return key_of(fit.model_dump(), POSES, STEPS, PIXEL)[:10]


def _views(dataset: Minitown, settings: dict[str, Any], ref: Any, fit: Any) -> dict[str, Any]:
    scenario, cpu = dataset.load(ref), Settings("cpu")
    config = SplatConfig(settings=settings, folder=str(FOLDER / "scenes"), fit=fit, least_psnr=0, backend="cpu")
    scene = SplatScenes(config, dataset).reconstruct(scenario, None, 0)
    kept = opened(FOLDER / "scenes" / scene.assets[ASSET])
    assert kept.coverage is not None
    truth = load_registry().build("reconstructor", "minitown-cameras", {"settings": settings})
    rows: list[dict[str, Any]] = []
    for step in STEPS:
        first: dict[str, float] = {}  # camera -> PSNR on the path
        for (shift, yaw), name in product(sorted(POSES, key=lambda pose: abs(pose[0]) + abs(pose[1])), kept.rig):
            world, camera, now = aside(scenario.world, shift, yaw), kept.rig[name], step * scenario.world.dt
            cameras = camera_at(world, step, camera, camera.size)
            began = time.process_time()
            shown, poses = driven(kept.scene, world, step)
            with torch.no_grad():
                seen = shown.render(cameras, now, (name,), poses, cpu)
                between = time.process_time()
                known = evidence(shown, kept.coverage, cameras, now, poses, seen, cpu)
            spent = (between - began, time.process_time() - between)
            shot = truth.render(scene, world, step, name, camera.size)
            surface = np.where(seen.alpha[0].numpy() < 0.5, 0, seen.expected_depth()[0].numpy())
            wrong = depth_errors(surface, shot["depth"]) > ERROR
            off = seen.colour[0].clamp(0, 1).numpy() - shot["rgb"] / np.float32(255)
            psnr = float(-10 * np.log10(np.square(off).mean()))
            sizes = zip(known.depth.shape, wrong.shape, strict=True)
            middle = np.ix_(*(((np.arange(n) + 0.5) * size / n).astype(int) for n, size in sizes))
            rows.append({
                "shift": shift, "yaw": yaw, "camera": name, "step": step, "psnr": psnr, "share": float(wrong.mean()),
                "drop": first.setdefault(name, psnr) - psnr, "away": known.away, "turned": known.turned,
                "values": known.values.astype(np.float16), "foreign": known.foreign, "good": ~wrong[middle],
                "milliseconds": 1000 * np.array(spent),
            })  # fmt: skip
    return {name: np.stack([np.asarray(row[name]) for row in rows]) for name in rows[0]}


def collected(split: str, count: int, fit: Any, first: int = 0) -> list[Views]:
    """The scenes of a split from the first so-many-th on."""
    dataset, settings = town(split)
    refs = windows(dataset, split, count)[first:]
    return [views(dataset, settings, ref, fit) for ref in track(refs, f"scenes of {split}")]


def calibrated(scenes: Sequence[Views], fit: Any) -> Calibration:
    """Pixels first, then frames by what they sum up to; every scene weighs the same."""
    rng = np.random.default_rng(0)
    values, good, weights = [], [], []
    for scene in scenes:
        flat, ok = scene.values.reshape(len(scene.shift), -1, len(PIXEL)), scene.good.reshape(len(scene.shift), -1)
        for v in range(len(flat)):
            rows = rng.choice(flat.shape[1], SAMPLE, replace=False)
            values.append(flat[v, rows].astype(np.float64))
            good.append(ok[v, rows])
        weights.append(np.full(SAMPLE * len(flat), 1 / len(flat)))
    pixel = logistic(np.concatenate(values), np.concatenate(good), np.concatenate(weights), PIXEL)
    sums = [summaries(scene, pixel) for scene in scenes]
    sizes = np.concatenate([np.full(len(s), 1 / len(s)) for s in sums])
    frame = logistic(np.concatenate(sums), np.concatenate([~scene.bad() for scene in scenes]), sizes, FRAME)
    about: dict[str, str | float] = {
        "data": f"minitown, train towns of seed {SEEDS['train']}: one window of 10 s of each of {len(scenes)} towns",
        "views": f"{sum(len(s) for s in sums)}: {SHIFTS[0]:g} to {SHIFTS[-1]:g} m aside, and turned by 0.35 rad; steps {STEPS}",
        "good pixel": "depth right within 10 %; what is farther than 60 m, the sky too, counts as at 60 m",
        "bad frame": "over 5 % of the pixels not good, or the PSNR 6 dB below that on the path (same camera and step)",
        "fit": fit.model_dump_json(exclude_defaults=True),
        "made by": f"tests/benchmarks/bench_trust.py --calibrate; numpy {np.__version__}, torch {torch.__version__}",
        "good pixels": float(np.mean([scene.good.mean() for scene in scenes])),
        "good frames": float(np.mean([1 - scene.bad().mean() for scene in scenes])),
    }
    return Calibration(pixel=pixel, frame=frame, provenance=about)


def summaries(scene: Views, pixel: trusts.Logistic) -> NDArray[np.float64]:
    """[V, FRAME]."""
    return np.stack(
        [
            trusts.summary(seen, np.where(seen.foreign, 0, pixel(seen.values)))
            for seen in map(scene.evidence, range(len(scene.shift)))
        ]
    )


def clustered(
    scores: Sequence[NDArray[Any]], truth: Sequence[NDArray[np.bool_]], against: Sequence[NDArray[Any]] | None = None
) -> Interval:
    """AUROC over all views, its interval by a jackknife over scenes (t on pseudo-values); ``against``: of the difference."""

    def value(rows: Sequence[int]) -> float:
        bad = np.concatenate([truth[r] for r in rows])
        first = auroc(np.concatenate([scores[r] for r in rows]), bad)
        return first - auroc(np.concatenate([against[r] for r in rows]), bad) if against is not None else first

    every, n = list(range(len(scores))), len(scores)
    whole = value(every)
    pseudo = np.array([n * whole - (n - 1) * value([r for r in every if r != left]) for left in every])
    half = t_quantile(0.95, n - 1) * float(pseudo.std(ddof=1)) / np.sqrt(n)
    return Interval(whole, whole - half, whole + half, 0.95, "jackknife over scenes", sum(map(len, scores)), n)


def by_shift(
    scenes: Sequence[Views], of: Sequence[NDArray[Any]], bounds: tuple[float, float] | None = (0.0, 1.0)
) -> Iterator[tuple[float, Interval]]:
    """Means at each distance from the path, not turned, of what lies within ``bounds``."""
    for shift in sorted({abs(s) for s in SHIFTS}):
        rows = [(np.abs(s.shift) == shift) & (s.yaw == 0) for s in scenes]
        names = [s.scene for s, r in zip(scenes, rows, strict=True) for _ in range(int(r.sum()))]
        yield shift, mean_interval(np.concatenate([o[r] for o, r in zip(of, rows, strict=True)]), names, seed=0, bounds=bounds)


def measured(scenes: Sequence[Views], calibration: Calibration) -> dict[str, Any]:
    """Everything that is promised of trust, on these scenes."""
    pixel = [np.where(s.foreign, 0.0, calibration.pixel(s.values.astype(np.float32))) for s in scenes]
    frame = [calibration.frame(summaries(s, calibration.pixel)) for s in scenes]
    mean = [p.mean((1, 2)) for p in pixel]
    bad, shift = [s.bad() for s in scenes], [np.abs(s.shift) for s in scenes]
    doubt = [1 - f for f in frame]
    worse = [s.bad(beside=True) for s in scenes]
    rows, ece = reliability(np.concatenate([p.ravel() for p in pixel]), np.concatenate([s.good.ravel() for s in scenes]))
    frame_rows, frame_ece = reliability(np.concatenate(frame), ~np.concatenate(bad))
    wrong = [~s.good.reshape(-1)[::7] for s in scenes]
    spent = np.median(np.concatenate([s.milliseconds for s in scenes]), 0).tolist()
    return {
        "scenes": len(scenes), "views": sum(map(len, bad)), "bad frames": float(np.concatenate(bad).mean()),
        "bad frames, path deducted": float(np.concatenate(worse).mean()),
        "AUROC frame": vars(clustered(doubt, bad)), "AUROC shift": vars(clustered(shift, bad)),
        "AUROC frame - shift": vars(clustered(doubt, bad, shift)),
        "AUROC frame, path deducted": vars(clustered(doubt, worse)),
        "AUROC shift, path deducted": vars(clustered(shift, worse)),
        "AUROC frame - shift, path deducted": vars(clustered(doubt, worse, shift)),
        "AUROC pixel": vars(clustered([1 - p.reshape(-1)[::7] for p in pixel], wrong)),
        "reliability pixel": rows, "ECE pixel": ece, "reliability frame": frame_rows, "ECE frame": frame_ece,
        "by shift": [
            {"shift": m, "trust": vars(t), "frame trust": vars(f), "bad pixels": vars(b), "psnr": vars(p), "bad frames": vars(w)}
            for (m, t), (_, f), (_, b), (_, p), (_, w) in zip(
                by_shift(scenes, mean), by_shift(scenes, frame), by_shift(scenes, [s.share for s in scenes]),
                by_shift(scenes, [s.psnr for s in scenes], None), by_shift(scenes, [b.astype(float) for b in bad]), strict=True,
            )
        ],
        "ms": {"render": spent[0], "trust": spent[1]},
    }  # fmt: skip


def show(found: dict[str, Any], console: Console) -> None:
    """Tables."""

    def said(i: dict[str, Any]) -> str:
        return f"{i['estimate']:.3f} [{i['low']:.3f}, {i['high']:.3f}]"

    first = Table(title=f"{found['views']} views of {found['scenes']} unseen towns, {found['bad frames']:.0%} bad")
    for name in ("what", "95 % interval over scenes"):
        first.add_column(name)
    for name in [n for n in found if n.startswith("AUROC")]:
        first.add_row(name, said(found[name]))
    for name in ("ECE pixel", "ECE frame", "bad frames, path deducted"):
        first.add_row(name, f"{found[name]:.3f}")
    share = found["ms"]["trust"] / found["ms"]["render"]
    first.add_row("CPU ms a picture, render and trust", f"{found['ms']['render']:.1f} + {found['ms']['trust']:.1f} ({share:.0%})")
    second = Table("shift [m]", "trust", "frame trust", "bad pixels", "bad frames", "PSNR [dB]", title="by distance from the path")
    for row in found["by shift"]:
        second.add_row(f"{row['shift']:g}", *(said(row[n]) for n in ("trust", "frame trust", "bad pixels", "bad frames", "psnr")))
    third = Table("trust", "share of pixels", "observed", "frame trust", "share of frames", "observed", title="reliability")
    for k in range(max(len(found["reliability pixel"]), len(found["reliability frame"]))):
        cells: list[str] = []
        for name in ("reliability pixel", "reliability frame"):
            row = found[name][k] if k < len(found[name]) else None
            cells += [f"{row['predicted']:.2f}", f"{row['share']:.3f}", f"{row['observed']:.2f}"] if row else ["", "", ""]
        third.add_row(*cells)
    for table in (first, second, third):
        console.print(table)


def compared(scenes: Sequence[Views], others: Sequence[Views]) -> list[dict[str, Any]]:
    """Differences of two ways to fit at each distance from the path, paired by view, scenes being the units."""
    for one, other in zip(scenes, others, strict=True):
        assert one.scene == other.scene and np.array_equal(one.shift, other.shift)
    pairs = {
        "bad pixels": [one.share - other.share for one, other in zip(scenes, others, strict=True)],
        "PSNR": [one.psnr - other.psnr for one, other in zip(scenes, others, strict=True)],
    }
    rows = {name: dict(by_shift(scenes, values, None)) for name, values in pairs.items()}
    return [{"shift": m, **{name: vars(rows[name][m]) for name in pairs}} for m in rows["PSNR"]]


def show_compared(found: list[dict[str, Any]], console: Console) -> None:
    """A table."""
    table = Table("shift [m]", "bad pixels", "PSNR [dB]", title="first less second fit, 95 % interval over scenes")
    for row in found:
        cells = (f"{row[n]['estimate']:+.3f} [{row[n]['low']:+.3f}, {row[n]['high']:+.3f}]" for n in ("bad pixels", "PSNR"))
        table.add_row(f"{row['shift']:g}", *cells)
    console.print(table)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calibrate", action="store_true", help="fit the models first")
    parser.add_argument("--only", choices=("train", "test"), help="make these scenes' views and stop: to cut the work into pieces")
    parser.add_argument("--first", type=int, default=0, help="with --only and --scenes: from this one on")
    parser.add_argument("--to", type=Path, default=Path(wetoolkit_splat.__file__).with_name(trusts.SHIPPED), help="the calibration")
    parser.add_argument("--scenes", type=int, help="at most so many of each split")
    parser.add_argument("--fit", type=json.loads, default={}, help="settings of each fit instead of the default ones, as JSON")
    parser.add_argument(
        "--against", type=json.loads, help="compare the fits of the train towns with fits of these settings, and stop"
    )
    parser.add_argument("--folder", type=Path, default=Path("build/bench"))
    asked = parser.parse_args()
    fit = DEFAULT.model_copy(update=asked.fit)
    counts = {split: min(count, asked.scenes or count) for split, count in SCENES.items()}
    if asked.only:
        collected(asked.only, counts[asked.only], fit, asked.first)
        return
    if asked.against is not None:
        both = [collected("train", counts["train"], f) for f in (fit, DEFAULT.model_copy(update=asked.against))]
        found = compared(*both)
        show_compared(found, Console(width=140))
        asked.folder.mkdir(parents=True, exist_ok=True)
        (asked.folder / "off_path.json").write_text(
            json.dumps({"fit": asked.fit, "against": asked.against, "by shift": found}, indent=1)
        )
        return
    if asked.calibrate:
        trusts.write(asked.to, calibrated(collected("train", counts["train"], fit), fit))
        sys.stdout.write(f"written to {asked.to}\n")
    found = measured(collected("test", counts["test"], fit), trusts.read(asked.to))
    show(found, Console(width=140))
    asked.folder.mkdir(parents=True, exist_ok=True)
    (asked.folder / "trust.json").write_text(json.dumps(found, indent=1))
    sys.stdout.write(f"written to {asked.folder / 'trust.json'}\n")


if __name__ == "__main__":
    main()
