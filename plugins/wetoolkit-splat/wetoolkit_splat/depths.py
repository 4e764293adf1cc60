"""From points to what a picture should see of them: depth at pixels, and where there may be sky.

Sweeps of a whole clip stand together, so that a picture has many more depths than from its own sweep alone; what lies behind others
must then be left out, although points have gaps between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from wetoolkit_splat.clip import Frame

Double = NDArray[np.float64]
Float = NDArray[np.float32]
NEAREST = 0.5  # metres
COVER = 5  # pixels: a point hides what is behind it in a square of so many
BEHIND = 1.15  # times as far as what hides it
BESIDE = 9  # pixels: a return of the lidar in a square of so many says that it is no sky
SMOOTH = 0.03  # steps of brightness between neighbours that sky does not exceed
HORIZON = 0.02  # radians above the horizon where sky begins


def seen_by(frame: Frame, points: Double) -> tuple[NDArray[np.int64], NDArray[np.int64], Double]:
    """(rows of the points in the picture, their pixels as flat indices, depths [m])."""
    height, width = frame.image.shape[:2]
    view, k = frame.world_to_camera.double().numpy(), frame.intrinsics.double().numpy()
    camera = points @ view[:3, :3].T + view[:3, 3]
    depth = camera[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        column, row = (camera @ k.T)[:, :2].T / depth
    inside = (depth > NEAREST) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    rows = np.flatnonzero(inside)
    return rows, np.floor(row[rows]).astype(np.int64) * width + np.floor(column[rows]).astype(np.int64), depth[rows]


def nearest(frame: Frame, points: Double) -> Float:
    """[H, W] metres along the axis: the nearest point of each pixel, 0 where there is none, and none behind others."""
    height, width = frame.image.shape[:2]
    _, pixels, depths = seen_by(frame, points)
    flat = np.full(height * width, np.inf, np.float32)
    np.minimum.at(flat, pixels, depths.astype(np.float32))
    found = flat.reshape(height, width)
    hidden = found > BEHIND * ndimage.minimum_filter(found, COVER, mode="nearest")
    return np.where(np.isfinite(found) & ~hidden, found, np.float32(0))


def maybe_sky(frame: Frame, depth: Float) -> Float:
    """[H, W] 1 where a ray rises, no lidar returned from near it and the picture is smooth, else 0."""
    height, width = depth.shape
    view, k = frame.world_to_camera.double().numpy(), frame.intrinsics.double().numpy()
    row, column = np.mgrid[:height, :width] + 0.5
    rays = np.stack([column, row, np.ones_like(row)], -1) @ np.linalg.inv(k).T @ view[:3, :3]
    rises = rays[..., 2] > HORIZON * np.linalg.norm(rays, axis=-1)
    grey = frame.image.mean(-1).numpy()
    steps = np.maximum(np.abs(np.diff(grey, axis=0, append=grey[-1:])), np.abs(np.diff(grey, axis=1, append=grey[:, -1:])))
    rough = ndimage.maximum_filter(steps, 3, mode="nearest") > SMOOTH
    returned = ndimage.maximum_filter(depth, BESIDE, mode="nearest") > 0
    return (rises & ~rough & ~returned).astype(np.float32)


def with_depth(frame: Frame, points: Double) -> Frame:
    """The frame with the depths of points [N, 3] and where there may be sky."""
    depth = nearest(frame, points)
    return replace(frame, depth=torch.from_numpy(depth), sky=torch.from_numpy(maybe_sky(frame, depth)))


def guessed(
    frames: Sequence[Frame], count: int, rng: np.random.Generator, span: tuple[float, float], ground: float | None = None
) -> Double:
    """[count, 6]: where nothing was measured, points on random rays of the pictures, evenly in inverse depth over ``span`` [m].

    Where there is a ``ground`` [m], no ray goes on below it, and half of those that meet it stop there.
    """
    found = []
    shares = np.bincount(rng.integers(0, len(frames), count), minlength=len(frames))
    for frame, own in zip(frames, shares, strict=True):
        height, width = frame.image.shape[:2]
        pixels = np.stack([rng.uniform(0, width, own), rng.uniform(0, height, own), np.ones(own)], 1)
        pose = torch.linalg.inv(frame.world_to_camera.double()).numpy()
        rays = pixels @ np.linalg.inv(frame.intrinsics.double().numpy()).T @ pose[:3, :3].T  # 1 m along the axis
        meets = np.full(own, np.inf)
        if ground is not None:
            falls = rays[:, 2] < 0
            meets[falls] = (ground - pose[2, 3]) / rays[falls, 2]
        last = np.clip(meets, *span)
        depth = 1 / rng.uniform(1 / last, 1 / span[0])
        depth = np.where((meets < span[1]) & (rng.random(own) < 0.5), last, depth)
        colours = frame.image.numpy()[pixels[:, 1].astype(int), pixels[:, 0].astype(int)]
        found.append(np.concatenate([pose[:3, 3] + depth[:, None] * rays, colours], 1))
    return np.concatenate(found)
