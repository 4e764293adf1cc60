"""What pictures cost on their way to a policy, on minitown's images, CPU time of one core.

    python bench_pictures.py [--folder build/bench] [--seconds 8]

Writes a table and ``pictures.json``: bytes and milliseconds of each way to compress (PSNR to the original beside), how much of a
shard's reading pictures make, compressed and decoded, and how much memory they would take had they been decoded.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table
from wetoolkit_minitown.dataset import Minitown, MinitownConfig

from wetoolkit.experience import Shards, write_shard
from wetoolkit.pictures import QUALITY
from wetoolkit.types import Array, Decisions, Observation, Picture

SIZES = ((160, 90), (320, 180))
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "JPEG 95 4:4:4 (ours)": ("JPEG", {"quality": QUALITY, "subsampling": 0}),
    "JPEG 90 4:2:0": ("JPEG", {"quality": 90}),
    "WebP 90": ("WEBP", {"quality": 90, "method": 0}),
    "PNG, level 1": ("PNG", {"compress_level": 1}),
    "PNG": ("PNG", {}),
}


def images(seconds: int) -> list[Array]:
    """Images [180, 320, 3] of a window, three cameras, twice a second."""
    town = Minitown(MinitownConfig(seconds=20, val_logs=1, rare_rate=0, sensors={"truth": False, "lidar_rate": 0}))
    sensors = town.sensors(town.index("val")[2], steps=range(10 * seconds))
    return [Picture(image.path.read_bytes()).decode() for image in sensors.images]


def took(work: Callable[[], Any]) -> float:
    """CPU seconds, the best of three."""
    best = np.inf
    for _ in range(3):
        begun = time.process_time()
        work()
        best = min(best, time.process_time() - begun)
    return float(best)


def ways(pixels: list[Array]) -> dict[str, dict[str, float]]:
    """Bytes, milliseconds and PSNR of each way to compress."""
    found = {}
    for name, (kind, options) in WAYS.items():

        def pack(picture: Array, kind: str = kind, options: dict[str, Any] = options) -> Picture:
            out = io.BytesIO()
            Image.fromarray(picture).save(out, kind, **options)
            return Picture(out.getvalue())

        packed = [pack(picture) for picture in pixels]
        error = np.mean([((picture.decode().astype(float) - due) ** 2).mean() for picture, due in zip(packed, pixels, strict=True)])
        found[name] = {
            "kB": float(np.mean([len(picture.data) for picture in packed])) / 1e3,
            "compress [ms]": 1e3 * took(lambda pack=pack: [pack(picture) for picture in pixels]) / len(pixels),
            "decode [ms]": 1e3 * took(lambda packed=packed: [picture.decode() for picture in packed]) / len(pixels),
            "PSNR [dB]": float(10 * np.log10(255**2 / error)) if error else float("inf"),
        }
    return found


def shards(pixels: list[Array], folder: Path) -> dict[str, float]:
    """Reading decisions with three cameras from a shard, against the same decisions without; and decoding what was read."""
    count = 256
    rows = [Picture.of(picture) for picture in pixels]
    numbers, none = np.zeros((count, 512), np.float32), np.zeros(count, int)
    names = tuple(str(i) for i in range(count))
    images = {}
    for camera in ("a", "b", "c"):
        images[camera] = np.empty(count, object)
        images[camera][:] = [rows[i % len(rows)] for i in range(count)]
    plain = Decisions(
        Observation("toy", count, {"x": numbers}), none, none, np.zeros((count, 40, 3), np.float32), none > 0, none, none * 1.0,
        np.zeros((count, 256), np.float32), {}, names, names,
    )  # fmt: skip
    seen = Decisions(**{**vars(plain), "observation": Observation("toy", count, {"x": numbers}, images=images)})
    for name, block in (("plain", plain), ("seen", seen)):
        write_shard(folder / name, block)

    def read(name: str) -> list[Decisions[Any]]:
        return list(Shards(folder / name).batches(32, 0))

    def decoded() -> None:
        for block in read("seen"):
            for handles in block.observation.images.values():
                _ = [picture.decode() for picture in handles]

    raw = 3 * count * rows[0].decode().nbytes
    stored = sum(len(picture.data) for row in images.values() for picture in row)
    return {
        "read without pictures [ms a decision]": 1e3 * took(lambda: read("plain")) / count,
        "read with three [ms a decision]": 1e3 * took(lambda: read("seen")) / count,
        "read and decode [ms a decision]": 1e3 * took(decoded) / count,
        "pixels over stored bytes": raw / stored,
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("build/bench"))
    parser.add_argument("--seconds", type=int, default=8)
    given = parser.parse_args()
    whole = images(given.seconds)
    found: dict[str, Any] = {}
    for size in SIZES:
        pixels = [np.array(Image.fromarray(picture).resize(size, Image.Resampling.BOX)) for picture in whole]
        with tempfile.TemporaryDirectory() as folder:
            found["x".join(map(str, size))] = {"ways": ways(pixels), "shards": shards(pixels, Path(folder))}
    for size, table in found.items():
        shown = Table(title=f"{len(whole)} images of {size}", box=None)
        for column in ("", *next(iter(table["ways"].values()))):
            shown.add_column(column, justify="right" if column else "left")
        for name, row in table["ways"].items():
            shown.add_row(name, *(f"{value:.2f}" for value in row.values()))
        Console().print(shown)
        Console().print({name: round(value, 3) for name, value in table["shards"].items()})
    given.folder.mkdir(parents=True, exist_ok=True)
    (given.folder / "pictures.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
