"""What is known of each pixel of a render, without the truth: the evidence that trust is made from. Greater always is worse.

Everything is taken at a quarter of the picture's width and height or less.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wetoolkit_splat.coverage import SHRINK, Coverage, shrunk
from wetoolkit_splat.graph import SplatScene
from wetoolkit_splat.render import Settings, render
from wetoolkit_splat.reprojection import ANGLE, COUNT, DETAIL, FAR, RESIDUAL, SPREAD, THROUGH, mark, reproject
from wetoolkit_splat.types import C0, Cameras, Gaussians, Render

Float = NDArray[np.float32]

# In the order of ``Evidence.values``' last axis; all lie in [0, 1].
PIXEL = (
    "thin",  # neither surface nor sky: 1 where alpha is a half, 0 where it is 0 or 1
    "layered",  # spread of the depths within the pixel, over its depth
    "loose",  # standard error of the gaussians' places along the line of sight, over the depth (Fisher information)
    "coarse",  # pixels of the full picture that the gaussians are wide, over 40
    "unseen",  # 1 / (1 + pictures that saw this surface)
    "oblique",  # least angle between their line of sight and this one, over 30 degrees
    "close",  # log2 of how many times farther that picture was taken, over 2
    "pierced",  # share of pictures that looked through it
    "one-sided",  # no parallax: 1 where the pictures that saw it stood in one line with it, falling over a few degrees
    "residual",  # difference of colours in that picture, over 0.2
    "edge",  # spread of depths among the neighbours, over the depth
    "far",  # depth over 60 m
)
FRAME = (
    "doubt",  # 1 - mean trust of the pixels
    "lost",  # share of pixels with trust below a half
    "away",  # metres from the nearest picture's camera, over 8
    "turned",  # angle from the nearest direction of any picture's camera within 3 m more than the nearest, over 30 degrees
    "blurred",  # mean residual
)
BODY_MARGIN = 0.2  # metres that boxes are widened by


@dataclass(frozen=True)
class Evidence:
    """Of one view, shrunk to h x w."""

    values: Float  # [h, w, len(PIXEL)]
    depth: Float  # [h, w] metres; 0: the sky
    foreign: NDArray[np.bool_]  # [h, w] shows a body that no picture ever showed, or what lies behind it
    away: float  # metres to the nearest camera of a picture
    turned: float  # radians between this view's axis and the nearest of theirs


def evidence(
    scene: SplatScene, coverage: Coverage, cameras: Cameras, time: float, poses: Mapping[str, Tensor], seen: Render,
    settings: Settings,
) -> Evidence:  # fmt: skip
    """Of one camera's view of a scene at a time, ``poses`` [4, 4] placing its bodies; ``seen`` is its render.

    Alpha and depth are those of the pixel in the middle of each four by four; what gaussians carry is rendered at half that size.
    """
    small = shrunk(cameras)
    focal = float(cameras.intrinsics[0, 0, 0])
    middle = _middles((small.height, small.width), (cameras.height, cameras.width))
    alpha, depth = seen.alpha[0].cpu().numpy()[middle], seen.expected_depth()[0].cpu().numpy()[middle]
    marks = _marked(scene, coverage, shrunk(cameras, 2 * SHRINK), time, poses, settings)
    marks = marks[_middles(alpha.shape, marks.shape)]
    sky = alpha < 0.5
    eye, points = _points(small, np.where(sky, 10 * FAR, depth))
    looked, strange = _looked_up(scene, coverage, eye, points.reshape(-1, 3), poses)
    looked = looked.reshape(*depth.shape, -1)
    columns = {
        "thin": 1 - np.abs(2 * alpha - 1),
        "layered": np.where(sky, 0, marks[..., 1]),
        "loose": np.where(sky, 0, marks[..., 0]),
        "coarse": np.where(sky, 0, marks[..., 2] * focal / 40),
        "unseen": 1 / (1 + looked[..., COUNT]),
        "oblique": looked[..., ANGLE] / np.radians(30),
        "close": np.where(looked[..., COUNT] > 0, looked[..., DETAIL] / np.log(2) / 2, 1),
        "pierced": looked[..., THROUGH],
        "one-sided": np.where(sky, 0, np.exp(-np.sqrt(2 * looked[..., SPREAD]) / np.radians(4))),
        "residual": np.where(looked[..., COUNT] > 0, looked[..., RESIDUAL] / 0.2, 1),
        "edge": _edges(np.where(sky, FAR, np.minimum(depth, FAR))),
        "far": np.where(sky, 0, depth / FAR),
    }
    values = np.stack([np.clip(columns[name], 0, 1) for name in PIXEL], -1).astype(np.float32)
    away, turned = _from_pictures(coverage, small)
    return Evidence(values, np.where(sky, 0, depth).astype(np.float32), strange.reshape(depth.shape) & ~sky, away, turned)


def _middles(small: tuple[int, ...], large: tuple[int, ...]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices that take of a picture the pixel in the middle of each of a smaller one's."""
    rows, columns = (((np.arange(n) + 0.5) * size / n).astype(np.intp) for n, size in zip(small[:2], large[:2], strict=True))
    return rows[:, None], columns[None]


def _marked(
    scene: SplatScene, coverage: Coverage, small: Cameras, time: float, poses: Mapping[str, Tensor], settings: Settings
) -> Float:
    """Over each pixel [h, w, 3]: mean relative error of depth, spread of depths over their mean, mean width over depth."""
    gaussians, places = scene.at(time, poses)
    there = [n for n, node in scene.nodes.items() if n in poses or node.track is None or node.track.present(time)]
    own = [coverage.variance.get(name) for name in there]
    sizes = [len(scene.nodes[name].gaussians) for name in there]
    variance = np.concatenate([v if v is not None else _unknown(n) for v, n in zip(own, sizes, strict=True)])
    views = (small.world_to_camera[0] @ places)[:, :3].numpy()
    k = small.intrinsics[0]
    slopes = (float(small.width / k[0, 0]), float(small.height / k[1, 1]))  # of the whole picture; twice what a centred one needs
    found, seen = np.empty((len(gaussians), 3), np.float32), np.empty(len(gaussians), np.bool_)
    mark(gaussians.means.numpy(), gaussians.log_scales.numpy(), variance, gaussians.groups.numpy(), views, slopes, found, seen)
    rows = torch.from_numpy(np.flatnonzero(seen))
    marks = torch.from_numpy(found)[rows]
    shown = render(_of(gaussians, rows, marks), small, places, settings=settings)
    means = (shown.colour[0] / shown.alpha[0].clamp(min=1e-3)[..., None]).cpu().numpy()
    depth = np.minimum(shown.expected_depth()[0].cpu().numpy(), FAR)
    means[..., 1] = np.sqrt(np.maximum(FAR**2 * means[..., 1] - depth**2, 0)) / np.maximum(depth, 1)
    return means


def _of(gaussians: Gaussians, rows: Tensor, marks: Tensor) -> Gaussians:
    """These rows, coloured by marks [K, 3]."""
    parts = {name: tensor[rows] for name, tensor in gaussians.tensors().items() if name != "sh"}
    return Gaussians(**parts, sh=((marks - 0.5) / C0)[:, None])


def _unknown(count: int) -> Float:
    """[N, 6] of gaussians that no picture holds: a metre each way."""
    return np.tile(np.array([1, 0, 0, 1, 0, 1], np.float32), (count, 1))


def _points(small: Cameras, depth: Float) -> tuple[Float, Float]:
    """(the eye [3], points [h, w, 3] in the world) of depths [h, w]."""
    k, view = small.intrinsics[0].double().numpy(), small.world_to_camera[0].double().numpy()
    column, row = np.meshgrid(np.arange(small.width) + 0.5, np.arange(small.height) + 0.5)
    rays = np.stack([column, row, np.ones_like(row)], -1) @ np.linalg.inv(k).T
    eye = -view[:3, :3].T @ view[:3, 3]
    return eye.astype(np.float32), (rays * depth[..., None] @ view[:3, :3] + eye).astype(np.float32)


def _looked_up(
    scene: SplatScene, coverage: Coverage, eye: Float, points: Float, poses: Mapping[str, Tensor]
) -> tuple[Float, NDArray[np.bool_]]:
    """(columns of ``reproject`` [P, 6], whether a body that no picture ever showed stands there or before it [P])."""
    bodies = [name for name in poses if scene.nodes[name].size is not None]
    now = np.stack([np.eye(4), *(poses[name].double().numpy() for name in bodies)])
    halves = np.array([np.asarray(scene.nodes[name].size) / 2 + BODY_MARGIN for name in bodies]).reshape(-1, 3)
    there = np.ones((1 + len(bodies), len(coverage.times)), bool)
    views = np.repeat(coverage.views[None].astype(np.float64), 1 + len(bodies), 0)
    for row, name in enumerate(bodies, 1):
        then = coverage.placed.get(name, np.zeros_like(coverage.views))
        there[row] = then[:, 3, 3] > 0
        views[row] = coverage.views @ then @ np.linalg.inv(now[row])
    centres = -np.einsum("bmij,bmi->bmj", views[..., :3, :3], views[..., :3, 3])
    boxes = np.linalg.inv(now[1:])[:, :3].reshape(-1, 3, 4)
    found = np.empty((len(points), 6), np.float32)
    single = (np.ascontiguousarray(a, np.float32) for a in (points, eye, boxes, halves, views[..., :3, :], centres))
    reproject(*single, there, coverage.lenses, coverage.depth, coverage.residual, found)
    strange = np.zeros(len(points), bool)
    for row in np.flatnonzero(~there.any(1)) - 1:
        strange |= _crosses(eye @ boxes[row, :, :3].T + boxes[row, :, 3], (points - eye) @ boxes[row, :, :3].T, halves[row])
    return found, strange


def _crosses(start: NDArray[np.floating], way: NDArray[np.floating], half: NDArray[np.floating]) -> NDArray[np.bool_]:
    """[P] whether the ways [P, 3] from a point [3] meet the box within ``half`` [3] of the origin."""
    with np.errstate(divide="ignore", invalid="ignore"):
        sides = (np.stack([-half, half])[:, None] - start) / way  # [2, P, 3]
    enters, leaves = np.fmin(*sides).max(1), np.fmax(*sides).min(1)
    return np.asarray((enters <= leaves) & (leaves >= 0) & (enters <= 1))


def _edges(depth: Float) -> Float:
    """[h, w] greatest minus least depth of the 3 x 3 around, over the depth."""
    tensor = torch.from_numpy(np.ascontiguousarray(depth, np.float32))[None, None]
    pool = torch.nn.functional.max_pool2d
    most, least = pool(tensor, 3, 1, 1)[0, 0].numpy(), -pool(-tensor, 3, 1, 1)[0, 0].numpy()
    return np.asarray((most - least) / np.maximum(depth, 1), np.float32)


def _from_pictures(coverage: Coverage, small: Cameras) -> tuple[float, float]:
    """(metres to the nearest camera, radians to the nearest axis of those not much farther)."""
    view = small.world_to_camera[0].double().numpy()
    away = np.linalg.norm(coverage.centres() + view[:3, :3].T @ view[:3, 3], axis=1)
    near = away <= away.min() + 3.0
    cosine = float((coverage.views[near, 2, :3] @ view[2, :3]).max())
    return float(away.min()), float(np.arccos(np.clip(cosine, -1, 1)))
