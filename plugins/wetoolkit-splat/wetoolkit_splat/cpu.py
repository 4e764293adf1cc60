"""The backend ``cpu``: numba kernels behind one autograd function. float32 images; the geometry of each gaussian in float64.

Work is cut into ranges that do not depend on the number of threads, and every range writes its own rows, so one thread and
many give equal bits. Gradients of a gaussian are added up over its tiles from a table with a row for each pair of both. All that
takes long is cut so; what one thread does alone is the radix sort by depth, 1.4 ms of 70,000 gaussians.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numba.core.errors import NumbaError
from numpy.typing import NDArray
from torch import Tensor

from wetoolkit.errors import WetoolkitError
from wetoolkit_splat import cpu_bin, cpu_plain, cpu_project
from wetoolkit_splat.cpu_bin import TILE
from wetoolkit_splat.cpu_project import RECORD
from wetoolkit_splat.types import Cameras, Gaussians, Render

# Bytes: of a gaussian's record, place, box and count; of a pair in its tile's list; of a row of gradients.
A_GAUSSIAN, A_PAIR, A_GRADIENT = 96, 8, 64
# Ranges of work: gaussians to project, gaussians in order of depth to hand to tiles, tiles, rows of pixels.
CHUNK, SORTED, TILES, ROWS = 4096, 8192, 16, 32
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
            f"vectors cannot be compiled here, plain loops are used, 2 to 3 times slower: {error}",
            RuntimeWarning,
            stacklevel=2,
        )
        return cpu_plain
    return cpu_simd


@dataclass(frozen=True)
class Options:
    """How to work; never what comes out, beyond rounding."""

    threads: int = 1
    blending: Any = cpu_plain  # a module with ``blend`` and ``blend_back``
    memory: float = math.inf  # bytes that one camera may take
    back: bool = True  # whether gradients will be asked for


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

    records: Array  # [N, 16]
    first: Array  # [N + 1] where a gaussian's rows begin in the table of gradients
    pairs: Array  # [P] gaussians of each tile, nearest first
    slots: Array  # [P] each pair's row in the table of gradients
    starts: Array  # [tiles + 1] where a tile's pairs begin
    planes: Array  # [5, rows, columns] red, green, blue, depth, alpha


Each = Callable[[Callable[[int, int], None], list[tuple[int, int]]], None]


def ranges(count: int, size: int) -> list[tuple[int, int]]:
    """[begin, end) of the ranges of work."""
    return [(begin, min(begin + size, count)) for begin in range(0, count, size)]


@contextmanager
def team(threads: int) -> Iterator[Each]:
    """A function that does all parts, the next free thread the next part. Kernels hold no lock, so that threads help."""

    def alone(work: Callable[[int, int], None], parts: list[tuple[int, int]]) -> None:
        for begin, end in parts:
            work(begin, end)

    if threads <= 1:
        yield alone
        return
    with ThreadPoolExecutor(threads - 1) as pool:

        def together(work: Callable[[int, int], None], parts: list[tuple[int, int]]) -> None:
            left = iter(parts)  # shared: whoever asks gets the next

            def some() -> None:
                for begin, end in left:
                    work(begin, end)

            others = [pool.submit(some) for _ in range(min(threads, len(parts)) - 1)]
            some()
            for other in others:
                other.result()

        yield together


def heaviest_first(starts: Array, begin: int, end: int) -> list[tuple[int, int]]:
    """Ranges of tiles, those with most pairs first, so that no thread is left with a long one at the end."""
    parts = [(begin + i, begin + j) for i, j in ranges(end - begin, TILES)]
    return sorted(parts, key=lambda part: int(starts[part[0]] - starts[part[1]]))


def strips(view: View, boxes: Array, counts: Array, options: Options) -> list[tuple[int, int]]:
    """Rows of tiles that can be drawn one after the other in the memory given: all at once where it suffices.

    Raises ``WetoolkitError`` where gradients are asked for, which need all of them, or a single row is too much.
    """
    down, total = view.tiles[1], int(counts.sum(dtype=np.int64))
    kept = len(counts) * (A_GAUSSIAN + (A_GRADIENT if options.back else 0))
    most = (options.memory - kept) / (A_PAIR + (A_GRADIENT if options.back else 0))
    if total <= most:
        return [(0, down)]
    left, top, right, bottom = boxes[counts > 0].astype(np.int64).T
    change = np.bincount(top, right - left, down + 1) - np.bincount(bottom, right - left, down + 1)
    rows = np.cumsum(change)[:down]
    if options.back or rows.max() > most:
        needed = kept + (total if options.back else rows.max()) * (A_PAIR + (A_GRADIENT if options.back else 0))
        asked, free = f"{needed / 2**20:.0f} MB are needed", f"{options.memory / 2**20:.0f} MB are free"
        raise WetoolkitError(
            f"{len(counts)} gaussians meet {total} tiles: {asked}, {free}",
            gradients="asked for" if options.back else "not asked for", pictures=f"{view.lens[4]:.0f} x {view.lens[5]:.0f}",
            way_out="fewer or smaller gaussians, a smaller picture, torch.no_grad() where no gradient is needed, more `megabytes`",
        )  # fmt: skip
    found, begin, taken = [], 0, 0.0
    for row in range(down):
        if taken + rows[row] > most:
            found.append((begin, row))
            begin, taken = row, 0.0
        taken += rows[row]
    return [*found, (begin, down)]


def free_memory() -> float:
    """Bytes that can be had without swapping, as Linux estimates; all there are where it does not."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")) if hasattr(os, "sysconf") else math.inf


def aligned(shape: tuple[int, ...]) -> Array:
    """Uninitialised float32 whose rows of 16 are lines of cache."""
    size = int(np.prod(shape))
    raw = np.empty(size + 16, np.float32)
    skip = (-raw.ctypes.data % 64) // 4
    return raw[skip : skip + size].reshape(shape)


def pairs_of(view: View, depths: Array, boxes: Array, first: Array, each: Each) -> dict[str, Array]:
    """Each tile's gaussians, nearest first, and where each pair's gradients go: a counting sort by ranges of the order."""
    across, down = view.tiles
    order = cpu_bin.nearest_first(depths, depths.view(np.uint32))
    parts = ranges(len(order), SORTED)
    counts = np.zeros((len(parts), across * down), np.int32)
    each(lambda i, j: cpu_bin.count(order, boxes, across, i, j, counts[i // SORTED]), parts)
    before = np.cumsum(counts, 0, dtype=np.int32)
    starts = np.concatenate([[0], np.cumsum(counts.sum(0))]).astype(np.int32)
    free = starts[:-1] + before - counts
    pairs, slots = np.empty(starts[-1], np.int32), np.empty(starts[-1], np.int32)
    each(lambda i, j: cpu_bin.fill(order, boxes, first, across, i, j, free[i // SORTED], pairs, slots), parts)
    return {"pairs": pairs, "slots": slots, "starts": starts}


def forward(scene: Any, view: View, background: Array, options: Options, out: Sequence[Array], each: Each) -> Frame:
    """Write the image of one camera to ``out``: colour [H, W, 3], depth and alpha [H, W]."""
    count, (across, down) = len(scene[0]), view.tiles
    records, depths, boxes = aligned((count, RECORD)), np.empty(count, np.float32), np.empty((count, 4), np.int16)
    counts, first = np.empty(count, np.int32), np.zeros(count + 1, np.int64)
    each(
        lambda i, j: cpu_project.project(*scene, view.views, view.lens, i, j, records, depths, boxes, counts),
        ranges(count, CHUNK),
    )
    np.cumsum(counts, out=first[1:])
    planes, rows = aligned((5, down * TILE, across * TILE)), boxes[:, 1::2].copy()
    for top, bottom in strips(view, boxes, counts, options):
        if (top, bottom) != (0, down):
            boxes[:, 1::2] = np.clip(rows, top, bottom)
        found = pairs_of(view, depths, boxes, first, each)
        lists = (records, found["pairs"], found["starts"], across)
        tiles = heaviest_first(found["starts"], top * across, bottom * across)
        each(lambda i, j, lists=lists: options.blending.blend(*lists, i, j, background, planes), tiles)  # type: ignore[misc]
    each(lambda i, j: cpu_bin.publish(planes, i, j, *out), ranges(len(out[0]), ROWS))
    return Frame(records, first, planes=planes, **found)


def backward(
    scene: Any, view: View, frame: Frame, gradients: Sequence[Array], out: Any, options: Options, each: Each
) -> tuple[Array, Array, Array]:
    """Add gradients of the scene to ``out``; return those of the views [G, 3, 4], of the lens [4] and of the background [3]."""
    across, down = view.tiles
    planes, rows = aligned(frame.planes.shape), ranges(down * TILE, ROWS)
    skies = np.zeros((len(rows), 3), np.float32)
    each(lambda i, j: cpu_bin.gathered(*gradients, frame.planes, i, j, planes, skies[i // ROWS]), rows)
    partial = aligned((len(frame.pairs), RECORD))
    lists = (frame.records, frame.pairs, frame.slots, frame.starts, across)
    blend_back = options.blending.blend_back
    each(lambda i, j: blend_back(*lists, i, j, frame.planes, planes, partial), heaviest_first(frame.starts, 0, across * down))
    parts = ranges(len(scene[0]), CHUNK)
    d_views, d_lens = np.zeros((len(parts), len(view.views), 3, 4)), np.zeros((len(parts), 4))

    def work(i: int, j: int) -> None:
        own = d_views[i // CHUNK], d_lens[i // CHUNK]
        cpu_project.project_back(*scene, view.views, view.lens, i, j, frame.first, partial, *out, *own)

    each(work, parts)
    return d_views.sum(0), d_lens.sum(0), skies.sum(0)


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
        width, height = size
        images = [np.empty((len(cameras), height, width, *tail), np.float32) for tail in ((3,), (), ())]
        with team(options.threads) as each:
            frames = [forward(scene, view, skies[c], options, [i[c] for i in images], each) for c, view in enumerate(cameras)]
        ctx.kept = (scene, cameras, frames, options) if options.back else None
        return tuple(torch.from_numpy(image) for image in images)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        scene, cameras, frames, options = ctx.kept
        out = tuple(np.zeros_like(part) for part in scene[:-1])
        d_views, d_intrinsics = np.zeros((len(cameras), len(cameras[0].views), 4, 4)), np.zeros((len(cameras), 3, 3))
        d_skies, images = np.zeros((len(cameras), 3), np.float32), [g.detach().contiguous().numpy() for g in gradients]
        with team(options.threads) as each:
            for c, (view, frame) in enumerate(zip(cameras, frames, strict=True)):
                own = backward(scene, view, frame, [image[c] for image in images], out, options, each)
                d_views[c, :, :3], d_lens, d_skies[c] = own
                d_intrinsics[c, [0, 1, 0, 1], [0, 1, 2, 2]] = d_lens
        given = (*out, d_views.astype(np.float32), d_intrinsics.astype(np.float32), d_skies)
        return (*(torch.from_numpy(array) for array in given), None, None, None)


def render(
    gaussians: Gaussians, cameras: Cameras, poses: Tensor, backgrounds: Tensor, threads: int = 1, blending: Any = None,
    megabytes: float | None = None,
) -> Render:  # fmt: skip
    """As ``wetoolkit_splat.twin.render``, in float32. Without gradients, what is too much for ``megabytes`` (four fifths of what is
    free unless given) is drawn in strips."""
    views = cameras.world_to_camera[:, None] @ poses[None]
    parameters = list(gaussians.parameters().values())
    back = torch.is_grad_enabled() and any(t.requires_grad for t in (*parameters, views, cameras.intrinsics, backgrounds))
    memory = 0.8 * free_memory() if megabytes is None else megabytes * 2**20
    options = Options(threads, blending or fastest(), memory / (len(cameras) if back else 1), back)
    size = (cameras.width, cameras.height)
    return Render(
        *Rasterize.apply(  # type: ignore[no-untyped-call]
            *parameters, views, cameras.intrinsics, backgrounds, gaussians.groups, size, options
        )
    )
