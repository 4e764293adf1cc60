"""Images, depth, categories and lidar sweeps of a World on its stage.

Poses: camera to world and ego to world as 4x4 matrices in the World's own coordinates, OpenCV axes for cameras. Depth is z-depth in
metres: the distance along the camera's axis, not along the ray; infinite where there is only sky. A pixel's ray goes through its
middle, (column + 0.5, row + 0.5) in the coordinates of the intrinsics.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from wetoolkit_driving.sensors import Camera
from wetoolkit_driving.types import HEADING, World

from wetoolkit_minitown.sensors.actors import Actors
from wetoolkit_minitown.sensors.caster import Caster, Hits
from wetoolkit_minitown.sensors.codes import Material
from wetoolkit_minitown.sensors.light import Light, draw_light, triple
from wetoolkit_minitown.sensors.meeting import inside, meet, shadowed, sunward
from wetoolkit_minitown.sensors.shading import CELL, CELLS, MOVING, NOTHING, STILL, Eye, Floor, contrasts, shade
from wetoolkit_minitown.sensors.stage import Stage

Double = NDArray[np.float64]
Float = NDArray[np.float32]
Byte = NDArray[np.uint8]

SHIFTS = np.array([(-0.35, -0.15), (0.15, -0.35), (0.35, 0.15), (-0.15, 0.35)])[:3]  # pixels: further rays of a rough one
ROUGH, MOST = 14, 0.22  # difference from a neighbour (of 255) that makes a pixel rough; at most this share of an image is
NEAR = 0.1  # metres before the camera within which a box's corners are not projected


@dataclass(frozen=True)
class Shot:
    """One exposure with its truth."""

    rgb: Byte  # [H, W, 3] sRGB
    depth: Float  # [H, W] z-depth [m], infinite for the sky
    category: Byte  # [H, W] Category


@dataclass(frozen=True)
class Moment:
    """All that moves, at one step."""

    caster: Caster
    boxes: Double  # [A + 1, 6] as Actors.boxes, the ego's last: it darkens the ground as well, but no ray meets it
    others: int  # A
    ego: Double  # [4, 4] ego to stage
    cells: NDArray[np.bool_]  # where somebody's shadow may fall
    corner: Double  # [2] of those cells


@dataclass(frozen=True)
class Traced:
    """What rays met, and whether the sun shines there."""

    met: Byte  # [P]
    hits: Hits
    lit: Float  # [P] 0 or 1


class Renderer:
    """Renders any step of one World. ``still``: the stage's Caster, which several renderers may share.

    ``shift`` [2] moves the World's coordinates to the stage's. Equal seeds give equal light, bodies and exposures. ``before`` [A]:
    metres that agents had gone before the World's first step (limbs swing by the way that was gone).
    """

    def __init__(self, stage: Stage, still: Caster, world: World, shift: Double, seed: int, before: Double | None = None) -> None:
        self.stage, self.still, self.world, self.seed = stage, still, world, seed
        self.shift = np.asarray(shift, np.float64)[:2]
        self.light: Light = draw_light(seed)
        self.actors = Actors(world, self.shift, seed, before)
        self._moment: tuple[int, Moment] | None = None

    def ego_to_world(self, step: int) -> Double:
        """[4, 4] in the World's coordinates: x ahead, y left, z up, at the rear axle on the ground."""
        return flat_pose(*self.world.ego.states[step, [0, 1, HEADING]].tolist())

    def image(self, camera: Camera, step: int) -> Shot:
        """What a camera sees."""
        width, height = camera.size
        moment = self.moment(step)
        pose = moment.ego @ camera.mount
        rays, some = _rays(camera) @ pose[:3, :3].T, _screen(moment.boxes[: moment.others], pose, camera)
        rgb, depth, category = self._seen(rays, some, moment, camera, pose, step)
        rough = _rough(rgb, width)
        shifts = (SHIFTS / camera.intrinsics[[0, 1], [0, 1]]) @ pose[:3, :2].T
        again = (rays[rough] + shifts[:, None]).reshape(-1, 3)
        finer = self._seen(again, np.tile(some[rough], len(shifts)), moment, camera, pose, step)[0].reshape(len(shifts), -1, 3)
        rgb[rough] = ((finer.sum(0, np.uint16) + rgb[rough] + 2) // (len(shifts) + 1)).astype(np.uint8)
        return Shot(rgb.reshape(height, width, 3), depth.reshape(height, width), category.reshape(height, width))

    def _seen(
        self, rays: Double, some: NDArray[np.bool_], moment: Moment, camera: Camera, pose: Double, step: int
    ) -> tuple[Byte, Float, Byte]:
        """Colours [P, 3], z-depth [P], categories [P] along rays [P, 3], of which ``some`` may meet what moves."""
        cast = np.ascontiguousarray(rays, np.float32)
        traced = self.trace(np.broadcast_to(pose[:3, 3].astype(np.float32), cast.shape).copy(), cast, np.flatnonzero(some), moment)
        rgb, category = self._shaded(cast, traced, moment, camera, pose, step)
        return rgb, traced.hits.along, category

    def moment(self, step: int) -> Moment:
        """What moves at a step; the last one is kept, since several cameras see it."""
        if self._moment is None or self._moment[0] != step:
            others, ego = self.actors.boxes(step), self.ego_to_world(step)
            ego[:2, 3] += self.shift
            boxes = np.vstack([others, self._own_box(ego)])
            corner = ego[:2, 3] - CELL * CELLS / 2
            cells = shadowed(boxes, self.light.sun, corner)
            made = Moment(Caster(self.actors.mesh(step)), boxes, len(others), ego, cells, corner)
            self._moment = (step, made)
        return self._moment[1]

    def forget(self) -> None:
        """Drop the step that is kept."""
        self._moment = None

    def _own_box(self, ego: Double) -> Double:
        car = self.world.ego.vehicle
        x, y = ego[:2, 3] + car.rear_to_center * ego[:2, 0]
        return np.array([x, y, np.arctan2(ego[1, 0], ego[0, 0]), car.length / 2, car.width / 2, car.height])

    def trace(self, origin: Float, rays: Float, rows: NDArray[np.int64], moment: Moment, sun: bool = True) -> Traced:
        """First hits of rays [P, 3] and where the sun shines; only the rays ``rows`` may meet what moves."""
        moving = moment.caster.hits(origin[rows], rays[rows])
        met, *merged = meet(origin, rays, self.still.hits(origin, rays), moving, rows)
        hits = Hits(*merged)
        lit = np.zeros(len(rays), np.float32)
        if sun:
            facing, dark = self._shadows(origin, rays, met, hits, moment)
            lit[facing] = ~dark
        return Traced(met, hits, lit)

    def _shadows(
        self, origin: Float, rays: Float, met: Byte, hits: Hits, moment: Moment
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """(rows [S] whose places face the sun, [S] whether something stands between)."""
        soft = np.zeros(len(rays), bool)
        solid = met == STILL
        soft[solid] = self.still.table.material[hits.triangle[solid]] == Material.FOLIAGE
        facing, starts = sunward(origin, rays, met, hits.along, hits.normal, self.light.sun, soft)
        sun = np.array(self.light.sun, np.float32)
        dark = self.still.blocked(starts, np.broadcast_to(sun, starts.shape).copy())
        near = inside(starts, moment.cells, moment.corner)
        dark[near] |= moment.caster.blocked(starts[near], np.broadcast_to(sun, (len(near), 3)).copy())
        return facing, dark

    def _shaded(self, rays: Float, traced: Traced, moment: Moment, camera: Camera, pose: Double, step: int) -> tuple[Byte, Byte]:
        ground, matrix = self.stage.ground, camera.intrinsics
        gain, lift = exposure(camera.name, self.seed, self.light)
        half = pose[:3, :2] * (0.5 / matrix[0, 0], 0.5 / matrix[1, 1])
        eye = Eye(triple(pose[:3, 3]), triple(half[:, 1]), triple(half[:, 0]), triple(gain), lift)
        corner, edge = ((float(xy[0]), float(xy[1])) for xy in (ground.corner, moment.corner))
        floor = Floor(ground.code, corner, ground.cell, moment.boxes, moment.cells, edge)
        signals = np.ascontiguousarray(self.world.signals[:, step]).astype(np.uint8)
        return shade(
            rays,
            traced.met,
            traced.hits,
            traced.lit,
            self.still.table,
            moment.caster.table,
            floor,
            signals,
            self.light,
            eye,
            _curve(),
        )


def flat_pose(x: float, y: float, heading: float) -> Double:
    """[4, 4] of a body on the plane."""
    c, s = np.cos(heading), np.sin(heading)
    return np.array([[c, -s, 0, x], [s, c, 0, y], [0, 0, 1, 0], [0, 0, 0, 1.0]])


def exposure(camera: str, seed: int, light: Light) -> tuple[Double, float]:
    """Gain [3] and lift of a camera's linear light: constant over a drive, another for each camera, more under clouds."""
    rng = np.random.default_rng((seed, 13, *camera.encode()))
    bright = light.beam[1] * light.sun[2] + light.shade[1]  # what falls on the ground
    return 0.62 * (2.1 / bright) ** 0.75 * rng.uniform(0.82, 1.2) * rng.uniform(0.96, 1.04, 3), float(rng.uniform(0.0, 0.012))


def _rough(rgb: Byte, width: int) -> NDArray[np.int64]:
    """Rows of the pixels that differ most from a neighbour: edges, where one ray a pixel shows stairs."""
    apart = contrasts(rgb, width)
    most = int(MOST * len(rgb))
    least = max(ROUGH, int(np.partition(apart, -most)[-most]))
    return np.flatnonzero(apart > least)


def _rays(camera: Camera) -> Double:
    """[H W, 3] through the pixels' middles, in the camera's frame, z = 1."""
    width, height = camera.size
    rows, columns = np.mgrid[0:height, 0:width] + 0.5
    pixels = np.column_stack([columns.ravel(), rows.ravel(), np.ones(width * height)])
    return np.asarray(pixels @ np.linalg.inv(camera.intrinsics).T)


def _screen(boxes: Double, pose: Double, camera: Camera) -> NDArray[np.bool_]:
    """[H W] pixels that any box may cover."""
    width, height = camera.size
    mask = np.zeros((height, width), bool)
    corners = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (0, 1)], float)
    to_camera = np.linalg.inv(pose)
    for x, y, heading, half_length, half_width, tall in boxes.tolist():
        world = flat_pose(x, y, heading) @ np.vstack([(corners * (half_length + 0.1, half_width + 0.1, tall + 0.1)).T, np.ones(8)])
        seen = (to_camera @ world)[:3]
        if seen[2].max() < NEAR:
            continue
        if seen[2].min() < NEAR:
            mask[:] = True
            break
        pixel = (camera.intrinsics @ seen)[:2] / seen[2]
        (left, top), (right, bottom) = np.floor(pixel.min(1)).astype(int), np.ceil(pixel.max(1)).astype(int)
        mask[max(top - 1, 0) : max(bottom + 1, 0), max(left - 1, 0) : max(right + 1, 0)] = True
    return mask.ravel()


@lru_cache(maxsize=1)
def _curve() -> Byte:
    """[4096] sRGB codes of light between 0 and 4, spaced by its square root: a filmic shoulder, then sRGB's transfer curve."""
    light = 4.0 * np.linspace(0, 1, 4096) ** 2
    shown = np.clip(light * (2.51 * light + 0.03) / (light * (2.43 * light + 0.59) + 0.14), 0, 1)
    coded = np.where(shown <= 0.0031308, 12.92 * shown, 1.055 * shown ** (1 / 2.4) - 0.055)
    return np.rint(255 * coded).astype(np.uint8)


__all__ = ["MOVING", "NOTHING", "STILL", "Moment", "Renderer", "Shot", "Traced", "exposure", "flat_pose"]
