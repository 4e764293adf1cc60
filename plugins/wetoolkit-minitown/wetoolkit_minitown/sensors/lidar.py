"""A spinning lidar on the ego's roof. Every turn is taken at one instant, as sweeps are after their motion was taken out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wetoolkit_minitown.sensors import surfaces
from wetoolkit_minitown.sensors.codes import Category, Material
from wetoolkit_minitown.sensors.renderer import Moment, Renderer, Traced
from wetoolkit_minitown.sensors.shading import FLOOR, MOVING, NOTHING, STILL

Float = NDArray[np.float32]
Double = NDArray[np.float64]

MOUNT = (1.1, 0.0, 1.95)  # metres in the ego's frame
NEAREST = 2.8  # metres within which the ego's own body would be hit
BRIGHT = 0.9  # reflectance of markings, plates and signs, which throw light back to where it comes from


@dataclass(frozen=True)
class Lidar:
    """Beams between two elevations, so many columns a turn."""

    beams: int = 32
    columns: int = 900
    low: float = -25.0  # degrees
    high: float = 12.0
    reach: float = 100.0  # metres
    noise: float = 0.02  # metres: standard deviation along the ray

    def directions(self) -> Double:
        """[beams x columns, 3] of length 1 in the ego's frame, column by column, anticlockwise from ahead."""
        up = np.radians(np.linspace(self.low, self.high, self.beams))
        around = np.arange(self.columns) * 2 * np.pi / self.columns
        azimuth, elevation = (part.ravel() for part in np.meshgrid(around, up, indexing="ij"))
        return np.column_stack([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])


def sweep(renderer: Renderer, step: int, lidar: Lidar | None = None) -> Float:
    """[N, 4] x, y, z in the ego's frame at ``step`` [m], intensity in [0, 1]: what came back, in the order of the directions."""
    device, moment = lidar or Lidar(), renderer.moment(step)
    local = device.directions()
    rays = np.ascontiguousarray(local @ moment.ego[:3, :3].T, np.float32)
    start = (moment.ego @ [*MOUNT, 1.0])[:3]
    origin = np.tile(start.astype(np.float32), (len(rays), 1))
    traced = renderer.trace(origin, rays, np.flatnonzero(_towards(local, moment)), moment, sun=False)
    back = _intensity(traced, rays, renderer, moment, start)
    rng = np.random.default_rng((renderer.seed, 14, step))
    far, weak = traced.hits.along.astype(np.float64), rng.random(len(rays))
    measured = far + device.noise * rng.standard_normal(len(rays))
    kept = (far > NEAREST) & (far < device.reach) & (weak < 40.0 * back * (30.0 / np.maximum(far, 1.0)) ** 2)
    points = np.asarray(MOUNT) + local[kept] * measured[kept, None]
    return np.column_stack([points, back[kept]]).astype(np.float32)


def _towards(local: Double, moment: Moment) -> NDArray[np.bool_]:
    """[P] whether anybody stands in a ray's azimuth."""
    azimuth = np.arctan2(local[:, 1], local[:, 0])
    seen = np.zeros(len(local), bool)
    to_ego = np.linalg.inv(moment.ego)
    for x, y, _, half_length, half_width, _ in moment.boxes[: moment.others].tolist():
        a, b = (to_ego @ [x, y, 0, 1])[:2] - MOUNT[:2]
        away, radius = np.hypot(a, b), np.hypot(half_length, half_width) + 0.1
        half = np.arcsin(min(1.0, radius / away)) if away > radius else np.pi
        seen |= np.abs((azimuth - np.arctan2(b, a) + np.pi) % (2 * np.pi) - np.pi) <= half
    return seen


def _intensity(traced: Traced, rays: Float, renderer: Renderer, moment: Moment, start: Double) -> Double:
    """[P] share of the light that comes back: the surface's albedo, less where it is met at a slant."""
    hits, met = traced.hits, traced.met
    albedo = np.zeros(len(rays))
    for what, table in ((STILL, renderer.still.table), (MOVING, moment.caster.table)):
        rows = np.flatnonzero(met == what)
        triangle = hits.triangle[rows]
        albedo[rows] = np.minimum(table.colour[triangle].mean(1), BRIGHT)
        albedo[rows] *= np.where(table.material[triangle] == Material.GLASS, 0.15, 1.0)
        albedo[rows] = np.where(np.isin(table.material[triangle], (Material.SIGN, Material.STRIPES)), BRIGHT, albedo[rows])
    rows = np.flatnonzero(met == FLOOR)
    codes = renderer.stage.ground.at(start[:2] + hits.along[rows, None] * rays[rows, :2])
    albedo[rows] = np.where(surfaces.SHOWN[codes] == Category.MARKING, BRIGHT, surfaces.GROUND[codes].mean(1))
    normal = hits.normal / np.maximum(np.linalg.norm(hits.normal, axis=1, keepdims=True), 1e-12)
    slant = np.abs((normal * rays).sum(1))
    return np.where(met == NOTHING, 0.0, np.clip(albedo * (0.35 + 0.65 * slant), 0.004, 1.0))
