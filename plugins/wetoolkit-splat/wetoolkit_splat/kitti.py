"""From a drive of KITTI's odometry benchmark (Geiger et al. 2012) to a clip: rectified stereo pairs and poses; depth by matching.

Poses are those of the left camera; points come from matching blocks between left and right: the census transform (Zabih and
Woodfill 1994) makes it blind to exposure; what the right picture does not find back in the left one, or stands alone, is left out.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from wetoolkit.errors import DataError
from wetoolkit.types import require
from wetoolkit_splat.clip import Body, Clip, Frame
from wetoolkit_splat.depths import maybe_sky
from wetoolkit_splat.driving import shell

Double = NDArray[np.float64]
Float = NDArray[np.float32]
HERTZ = 10.0  # nominal; the benchmark's files have no times
UPRIGHT = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])  # the camera's axes to z up
REACH, BLOCK, CENSUS = 64, 7, 3  # disparities tried, side of a block, half side of the census window [pixels]
SAME = 1.0  # pixels that left and right, or neighbours, may disagree by
CERTAIN = 0.75  # of the mean cost over all disparities: what fits no better is a chance
FARTHEST = 40.0  # metres; farther, a quarter of a pixel is more than 5 % of the distance


def census(grey: Float) -> NDArray[np.uint64]:
    """[H, W] 48 bits: which neighbours are brighter than the pixel."""
    bits, padded = np.zeros(grey.shape, np.uint64), np.pad(grey, CENSUS, mode="edge")
    height, width = grey.shape
    for row in range(2 * CENSUS + 1):
        for column in range(2 * CENSUS + 1):
            if (row, column) != (CENSUS, CENSUS):
                bits = (bits << np.uint64(1)) | (padded[row : row + height, column : column + width] > grey)
    return bits


def disparity(left: Float, right: Float) -> Float:
    """[H, W] pixels between rectified grey pictures, 0 where there is no answer or left and right disagree."""
    height, width = left.shape
    one, other = census(left), census(right)
    costs = np.full((REACH, height, width), 48.0, np.float32)
    for d in range(REACH):
        differ = np.bitwise_count(one[:, d:] ^ other[:, : width - d]).astype(np.float32)
        costs[d, :, d:] = ndimage.uniform_filter(differ, BLOCK, mode="nearest")
    best = costs[1:-1].argmin(0) + 1
    rows, columns = np.mgrid[:height, :width]
    below, at, above = (costs[best + step, rows, columns] for step in (-1, 0, 1))
    found = best + 0.5 * (below - above) / np.maximum(below - 2 * at + above, 1e-3)  # the parabola's lowest point
    tried = np.minimum(columns + 1, REACH)
    chance = (costs.sum(0) - 48 * (REACH - tried)) / tried  # the mean cost of those that were tried
    # The right picture's own answer: its pixel x matches the left's x + d.
    back = np.full((REACH, height, width), 48.0, np.float32)
    for d in range(REACH):
        back[d, :, : width - d] = costs[d, :, d:]
    answer = back[1:-1].argmin(0) + 1
    there = np.clip(columns - best, 0, width - 1)
    agrees = (np.abs(answer[rows, there] - best) <= SAME) & (columns >= best) & (at < CERTAIN * chance)
    kept = np.where(agrees, found, 0)
    alone = np.abs(kept - ndimage.median_filter(kept, BLOCK)) > SAME  # a speck, in the sky as a rule
    return np.where(alone, 0, kept).astype(np.float32)


def _grey(path: Path, shrink: int) -> Float:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("L"), np.float32) / 255
    except OSError as error:
        raise DataError(f"cannot be read: {error}", file=path, way_out="fetch the drive again") from error
    height, width = (size // shrink * shrink for size in pixels.shape)
    return pixels[:height, :width].reshape(height // shrink, shrink, width // shrink, shrink).mean((1, 3))


def _numbers(path: Path, rows: int) -> Double:
    try:
        table = np.loadtxt(path).reshape(-1, 3, 4)
    except (OSError, ValueError) as error:
        raise DataError(f"is no table of 3 x 4 matrices: {error}", file=path, way_out="fetch the drive again") from error
    if len(table) < rows:
        raise DataError(f"{len(table)} matrices, {rows} are needed", file=path, way_out="fetch the drive again")
    return table


def clip_of(folder: Path, count: int, seed: int, shrink: int = 2, points: int = 30_000, held_out: int = 6) -> Clip:
    """The first ``count`` pairs of a drive at 1 / ``shrink`` of their size; those held out give no points.

    The folder has ``image_l``, ``image_r``, ``calib.txt`` (P0, P1) and ``poses.txt``. ``DataError`` names the file at fault.
    """
    lens, poses = _numbers(folder / "calib.txt", 2), _numbers(folder / "poses.txt", count)
    k = np.diag([1 / shrink, 1 / shrink, 1.0]) @ lens[0, :, :3]
    baseline = -lens[1, 0, 3] / lens[1, 0, 0]  # metres
    require(baseline > 0, f"baseline {baseline:.3f} m", "calib.txt", "P1 must be the right camera's")
    rng, frames, found = np.random.default_rng(seed), [], []
    for n in range(count):
        pair = [_grey(folder / f"image_{side}" / f"{n:06d}.png", shrink) for side in "lr"]
        place = UPRIGHT @ np.concatenate([poses[n], [[0, 0, 0, 1]]])
        shift = disparity(*pair)
        depth = np.where(shift > 0, k[0, 0] * baseline / np.maximum(shift, 1e-3), 0)
        depth = np.where(depth < FARTHEST, depth, 0).astype(np.float32)
        for side, picture in enumerate(pair):
            moved = np.eye(4)
            moved[0, 3] = side * baseline
            view = torch.from_numpy(np.linalg.inv(place @ moved)).float()
            image = torch.from_numpy(picture)[..., None].repeat(1, 1, 3)
            frame = Frame("left" if side == 0 else "right", n / HERTZ, image, view, torch.from_numpy(k).float())
            if side == 0:
                frame = replace(frame, depth=torch.from_numpy(depth), sky=torch.from_numpy(maybe_sky(frame, depth)))
            frames.append(frame)
        if n % held_out == held_out // 2:
            continue
        rows, columns = np.nonzero(depth)
        some = rng.choice(len(rows), min(len(rows), 2 * points // count), replace=False)
        rays = np.stack([columns[some] + 0.5, rows[some] + 0.5, np.ones(len(some))], 1) @ np.linalg.inv(k).T
        own = rays * depth[rows[some], columns[some], None] @ place[:3, :3].T + place[:3, 3]
        found.append(np.concatenate([own, np.repeat(pair[0][rows[some], columns[some], None], 3, 1)], 1))
    table = np.concatenate(found)
    table = table[rng.choice(len(table), min(len(table), points), replace=False)]
    table = np.concatenate([table, shell(frames, points // 10, rng)])
    return Clip(tuple(frames), {"scene": Body(torch.from_numpy(table[:, :3]).float(), torch.from_numpy(table[:, 3:]).float())})
