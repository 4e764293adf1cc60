"""One picture of a drive's images: cameras side by side, times below each other, then depth and classes of one of them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from wetoolkit_driving.sensors import Camera

from wetoolkit.store import write_atomic
from wetoolkit_minitown.sensors.codes import Category
from wetoolkit_minitown.sensors.extra import pillow
from wetoolkit_minitown.sensors.files import image_file, read_image, read_truth

Byte = NDArray[np.uint8]
Float = NDArray[np.float32]

TIMES, GAP, HEAD = 6, 4, 18  # rows of images; pixels between pictures, of captions
FAR = 80.0  # metres: darkest in the depth rows
COLOURS = {
    Category.VEHICLE: (20, 60, 170), Category.PEDESTRIAN: (220, 20, 60), Category.BICYCLE: (250, 120, 20),
    Category.TRAFFIC_CONE: (255, 90, 0), Category.BARRIER: (190, 120, 60), Category.CZONE_SIGN: (240, 200, 0),
    Category.GENERIC_OBJECT: (120, 120, 60), Category.ROAD: (128, 64, 128), Category.MARKING: (240, 240, 240),
    Category.PAVEMENT: (244, 35, 232), Category.TERRAIN: (152, 251, 152), Category.BUILDING: (90, 90, 90),
    Category.VEGETATION: (107, 142, 35), Category.POLE: (220, 220, 0), Category.SKY: (70, 130, 180),
}  # fmt: skip


def depth_picture(depth: Float) -> Byte:
    """[H, W, 3]: near is bright, from red over green to blue; the sky is black."""
    near = np.clip(1 - np.log1p(np.minimum(depth, FAR)) / np.log1p(FAR), 0, 1)
    colour = np.stack([np.clip(1.5 - np.abs(4 * near - peak), 0, 1) for peak in (3.0, 2.0, 1.0)], -1)
    return np.where(np.isfinite(depth)[..., None], 255 * colour, 0).astype(np.uint8)


def category_picture(category: Byte) -> Byte:
    """[H, W, 3] in Cityscapes' manner."""
    table = np.zeros((256, 3), np.uint8)
    for code, colour in COLOURS.items():
        table[code] = colour
    return table[category]


def write_contact_sheet(folder: Path, cameras: Sequence[Camera], frames: Sequence[int], truth: bool = True) -> Path:
    """``contact-sheet.jpg`` of a drive's folder; ``DataError`` where an image that it shows is missing."""
    order = sorted(cameras, key=lambda camera: -float(np.arctan2(camera.mount[1, 2], camera.mount[0, 2])))
    chosen = [frames[int(k)] for k in np.linspace(0, len(frames) - 1, min(TIMES, len(frames)))]
    rows = [[(f"{c.name}  frame {f}", read_image(image_file(folder, c.name, f))) for c in order] for f in chosen]
    if truth:
        at = chosen[len(chosen) // 2]
        seen = [(c.name, *read_truth(image_file(folder, c.name, at))) for c in order]
        rows.append([(f"{name}  depth, frame {at}", depth_picture(depth)) for name, depth, _ in seen])
        rows.append([(f"{name}  class, frame {at}", category_picture(category)) for name, _, category in seen])
    path = folder / "contact-sheet.jpg"
    data = io.BytesIO()
    _laid_out(rows).save(data, "JPEG", quality=90, subsampling=0)
    write_atomic(path, data.getvalue())
    return path


def _laid_out(rows: Sequence[Sequence[tuple[str, Byte]]]) -> object:
    height, width = rows[0][0][1].shape[:2]
    size = (len(rows[0]) * (width + GAP) + GAP, len(rows) * (height + HEAD) + GAP)
    sheet = pillow("Image").new("RGB", size, (24, 24, 26))
    pen = pillow("ImageDraw").Draw(sheet)
    for i, row in enumerate(rows):
        for j, (caption, picture) in enumerate(row):
            corner = (GAP + j * (width + GAP), i * (height + HEAD) + HEAD)
            sheet.paste(pillow("Image").fromarray(picture), corner)
            pen.text((corner[0] + 2, corner[1] - HEAD + 3), caption, fill=(220, 220, 220))
    return sheet
