"""The backend ``cpu``: numba kernels behind one autograd function. float32 images; the geometry of each gaussian in float64.

Work is cut into ranges that do not depend on the number of threads, and every range writes its own rows, so one thread and
many give equal bits. Gradients of a gaussian are collected over its tiles from a table with a row for each pair of both.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numba.core.errors import NumbaError
from numpy.typing import NDArray
from torch import Tensor

from wetoolkit_splat import cpu_bin, cpu_plain, cpu_project
from wetoolkit_splat.cpu_bin import TILE
from wetoolkit_splat.cpu_project import RECORD
from wetoolkit_splat.types import Cameras, Gaussians, Render

CHUNK = 4096  # gaussians in a range of work
Array = NDArray[Any]


@cache
def fastest() -> ModuleType:
    """``cpu_simd``, or ``cpu_plain`` where numba or LLVM refuse vectors: then a warning says why."""
    try:
        from wetoolkit_splat import cpu_simd

        nothing, planes = np.zeros(2, np.int32), np.zeros((5, TILE, TILE), np.float32)
        cpu_simd.blend(aligned((1, RECORD)), nothing, nothing, 1, 0, 1, np.zeros(3, np.float32), planes)
    except (ImportError, NotImplementedError, AttributeError, TypeError, NumbaError) as error:
        warnings.warn(
            f"vectors cannot be compiled here, plain loops are used, 4 times slower: {error}", RuntimeWarning, stacklevel=2
        )
        return cpu_plain
    return cpu_simd


@dataclass(frozen=True)
class Options:
    """How to work; never what comes out, beyond rounding."""

    threads: int = 1
    blending: Any = cpu_plain  # a module with ``blend`` and ``blend_back``


@dataclass(frozen=True)
class View:
    """One camera, as the kernels take it."""

    views: Array  # [G, 4, 4] float64, group to camera
    lens: tuple[float, ...]  # fx, fy, cx, cy, width, height [pixels]

    @property
    def tiles(self) -> tuple[int, int]:
        """Across and down."""
        return -(-int(self.lens[4]) // TILE), -(-int(self.lens[5]) // TILE)


@dataclass(frozen=True)
class Frame:
    """What one camera's forward pass leaves for its backward pass."""

    records: Array  # [M, 16] nearest first
    rank: Array  # [N] place in that order, -1: not seen
    first: Array  # [M + 1] where a gaussian's pairs begin in ``slots``
    slots: Array  # [P] places in ``pairs``
    pairs: Array  # [P] gaussians of each tile, nearest first
    starts: Array  # [tiles + 1] where a tile's pairs begin
    planes: Array  # [5, rows, columns] red, green, blue, depth, alpha


def ranges(count: int, size: int) -> list[tuple[int, int]]:
    """[begin, end) of the ranges of work."""
    return [(begin, min(begin + size, count)) for begin in range(0, count, size)]


def each(work: Callable[[int, int], None], parts: list[tuple[int, int]], threads: int) -> None:
    """Do all parts; kernels hold no lock, so that threads help."""
    if threads <= 1 or len(parts) <= 1:
        for begin, end in parts:
            work(begin, end)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda part: work(*part), parts))


def aligned(shape: tuple[int, ...]) -> Array:
    """Uninitialised float32 whose rows of 16 are lines of cache."""
    size = int(np.prod(shape))
    raw = np.empty(size + 16, np.float32)
    skip = (-raw.ctypes.data % 64) // 4
    return raw[skip : skip + size].reshape(shape)


def sort(view: View, records: Array, depths: Array, threads: int) -> dict[str, Array]:
    """Order, tiles and pairs."""
    across, down = view.tiles
    order = cpu_bin.nearest_first(depths, depths.view(np.uint32))
    ordered, rank = aligned((len(order), RECORD)), np.full(len(depths), -1, np.int32)
    boxes, first = np.empty((len(order), 4), np.int32), np.empty(len(order) + 1, np.int32)
    cpu_bin.gather(records, order, across, down, ordered, boxes, first, rank)
    counts, stripes = np.zeros(across * down, np.int32), ranges(down, max(1, -(-down // max(threads, 1))))
    each(lambda top, bottom: cpu_bin.count(boxes, across, top, bottom, counts), stripes, threads)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    pairs, slots, free = np.empty(starts[-1], np.int32), np.empty(starts[-1], np.int32), starts[:-1].copy()
    each(lambda top, bottom: cpu_bin.fill(boxes, first, across, top, bottom, free, pairs, slots), stripes, threads)
    return {"records": ordered, "rank": rank, "first": first, "slots": slots, "pairs": pairs, "starts": starts}


def forward(scene: Any, view: View, background: Array, options: Options) -> Frame:
    """The image of one camera."""
    records, depths = aligned((len(scene[0]), RECORD)), np.empty(len(scene[0]), np.float32)
    parts = ranges(len(depths), CHUNK)
    each(lambda i, j: cpu_project.project(*scene, view.views, view.lens, i, j, records, depths), parts, options.threads)
    sorted_ = sort(view, records, depths, options.threads)
    across, down = view.tiles
    planes = aligned((5, down * TILE, across * TILE))
    lists = (sorted_["records"], sorted_["pairs"], sorted_["starts"], across)
    tiles = ranges(across * down, across)
    each(lambda i, j: options.blending.blend(*lists, i, j, background, planes), tiles, options.threads)
    return Frame(planes=planes, **sorted_)


def backward(scene: Any, view: View, frame: Frame, gradients: Array, out: Any, options: Options) -> Any:
    """Add gradients of the scene to ``out``; return those of the views [G, 3, 4] and of the lens [4]."""
    across, down = view.tiles
    partial, sums = aligned((len(frame.pairs), RECORD)), np.zeros((len(frame.records), RECORD), np.float32)
    lists = (frame.records, frame.pairs, frame.starts, across)
    blend_back, threads = options.blending.blend_back, options.threads
    each(lambda i, j: blend_back(*lists, i, j, frame.planes, gradients, partial), ranges(across * down, across), threads)
    each(lambda i, j: cpu_bin.collect(partial, frame.first, frame.slots, i, j, sums), ranges(len(sums), CHUNK), threads)
    parts = ranges(len(scene[0]), CHUNK)
    d_views, d_lens = np.zeros((len(parts), len(view.views), 3, 4)), np.zeros((len(parts), 4))

    def work(i: int, j: int) -> None:
        own = d_views[i // CHUNK], d_lens[i // CHUNK]
        cpu_project.project_back(*scene, view.views, view.lens, i, j, frame.rank, sums, *out, *own)

    each(work, parts, threads)
    return d_views.sum(0), d_lens.sum(0)


def _planes(view: View, colour: Tensor, depth: Tensor, alpha: Tensor) -> Array:
    """Gradients [5, rows, columns] of one camera, zero beside the image."""
    across, down = view.tiles
    planes = aligned((5, down * TILE, across * TILE))
    height, width = alpha.shape
    planes[:, height:], planes[:, :, width:] = 0, 0
    planes[:3, :height, :width] = colour.detach().numpy().transpose(2, 0, 1)
    planes[3, :height, :width], planes[4, :height, :width] = depth.detach().numpy(), alpha.detach().numpy()
    return planes


class Rasterize(torch.autograd.Function):
    """Five parameters, views [C, G, 4, 4], intrinsics [C, 3, 3], backgrounds [C, 3] -> colour, depth, alpha."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Any:
        *tensors, views, intrinsics, backgrounds, groups, size, options = given
        scene = (*(np.ascontiguousarray(t.detach().numpy(), np.float32) for t in tensors), groups.numpy().astype(np.int32))
        cameras = [
            View(
                v.detach().numpy().astype(np.float64),
                (*(float(k[at]) for at in ((0, 0), (1, 1), (0, 2), (1, 2))), *map(float, size)),
            )
            for v, k in zip(views, intrinsics.detach().double(), strict=True)
        ]
        skies = backgrounds.detach().numpy().astype(np.float32)
        frames = [forward(scene, view, sky, options) for view, sky in zip(cameras, skies, strict=True)]
        width, height = size
        image = torch.stack([torch.from_numpy(frame.planes[:, :height, :width]) for frame in frames])
        ctx.kept = scene, cameras, frames, options
        ctx.save_for_backward(image[:, 4])
        return image[:, :3].permute(0, 2, 3, 1), image[:, 3], image[:, 4]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        scene, cameras, frames, options = ctx.kept
        (alpha,) = ctx.saved_tensors
        out = tuple(np.zeros_like(part) for part in scene[:-1])
        d_views, d_intrinsics = np.zeros((len(cameras), len(cameras[0].views), 4, 4)), np.zeros((len(cameras), 3, 3))
        for c, (view, frame) in enumerate(zip(cameras, frames, strict=True)):
            planes = _planes(view, *(g[c] for g in gradients))
            d_views[c, :, :3], d_lens = backward(scene, view, frame, planes, out, options)
            d_intrinsics[c, [0, 1, 0, 1], [0, 1, 2, 2]] = d_lens
        d_backgrounds = torch.einsum("chw,chwk->ck", 1 - alpha, gradients[0])
        given = (*out, d_views.astype(np.float32), d_intrinsics.astype(np.float32))
        return (*(torch.from_numpy(array) for array in given), d_backgrounds, None, None, None)


def render(
    gaussians: Gaussians, cameras: Cameras, poses: Tensor, backgrounds: Tensor, threads: int = 1, blending: Any = None
) -> Render:
    """As ``wetoolkit_splat.twin.render``, in float32."""
    views = cameras.world_to_camera[:, None] @ poses[None]
    options = Options(threads, blending or fastest())
    size = (cameras.width, cameras.height)
    parameters = gaussians.parameters().values()
    return Render(
        *Rasterize.apply(  # type: ignore[no-untyped-call]
            *parameters, views, cameras.intrinsics, backgrounds, gaussians.groups, size, options
        )
    )
