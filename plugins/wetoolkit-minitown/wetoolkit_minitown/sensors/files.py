"""Files of one drive's sensors. Below a drive's folder lie, for frame 20 (2 s after the drive's start):

    CAM_F0/000020.jpg              one folder a channel, as in nuPlan's sensor_blobs
    MergedPointCloud/000020.pcd    x, y, z in the ego's frame [m], intensity [1]
    truth/CAM_F0/000020.depth.png  z-depth in 1/256 m, 16 bits (as KITTI has it); 0: sky, or farther than 255.99 m
    truth/CAM_F0/000020.class.png  Category of each pixel, 8 bits
    rig.json                       cameras, exposures, sun, seed
    contact-sheet.jpg              cameras at six times, depth and class at one of them
    complete.json                  how many images and sweeps there are; written last

A file is whole or absent, so a killed run goes on where it was.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wetoolkit.errors import DataError
from wetoolkit.store import write_atomic
from wetoolkit_minitown.sensors.extra import pillow

Byte = NDArray[np.uint8]
Float = NDArray[np.float32]

CLOUD = "MergedPointCloud"  # nuPlan's name for the sweeps of all its lidars
TRUTH = "truth"
STEPS_A_METRE = 256.0
DAMAGED = "remove the drive's folder of sensors, or its complete.json, and make them again"


def image_file(folder: Path, camera: str, frame: int) -> Path:
    """Where an image is."""
    return folder / camera / f"{frame:06d}.jpg"


def sweep_file(folder: Path, frame: int) -> Path:
    """Where a sweep is."""
    return folder / CLOUD / f"{frame:06d}.pcd"


def truth_files(image: Path) -> tuple[Path, Path]:
    """Where depth and category of an image are."""
    beside = image.parent.parent / TRUTH / image.parent.name
    return beside / f"{image.stem}.depth.png", beside / f"{image.stem}.class.png"


def write_image(path: Path, rgb: Byte, quality: int) -> None:
    """[H, W, 3] as a JPEG without colour subsampling."""
    write_atomic(path, _coded(rgb, "JPEG", quality=quality, subsampling=0))


def write_truth(image: Path, depth: Float, category: Byte) -> None:
    """Depth [H, W] in metres and category [H, W] beside an image."""
    steps = np.rint(np.minimum(depth, 1e6) * STEPS_A_METRE)
    coded = np.where(steps <= 65535, steps, 0).astype(np.uint16)
    for path, values in zip(truth_files(image), (coded, category), strict=True):
        write_atomic(path, _coded(values, "PNG", compress_level=2))


def read_truth(image: Path) -> tuple[Float, Byte]:
    """(z-depth [H, W] in metres, infinite where there is none; category [H, W]) of an image. ``DataError``: missing or damaged."""
    depth, category = (np.asarray(_decoded(path)) for path in truth_files(image))
    metres = depth.astype(np.float32) / np.float32(STEPS_A_METRE)
    return np.where(depth > 0, metres, np.float32(np.inf)), category.astype(np.uint8)


def read_image(path: Path) -> Byte:
    """[H, W, 3]. ``DataError``: missing or damaged."""
    return np.asarray(_decoded(path, "RGB"), np.uint8)


def _coded(values: NDArray[np.uint8] | NDArray[np.uint16], format: str, **options: object) -> bytes:
    data = io.BytesIO()
    pillow("Image").fromarray(values).save(data, format, **options)
    return data.getvalue()


def _decoded(path: Path, mode: str = "") -> object:
    try:
        with pillow("Image").open(path) as file:
            return file.convert(mode) if mode else file.copy()
    except (OSError, SyntaxError) as error:
        raise DataError(f"cannot be read: {error}", file=path, way_out=DAMAGED) from error
