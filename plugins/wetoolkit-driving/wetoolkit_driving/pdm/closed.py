"""PDM-Closed (Dauner et al., CoRL 2023, "Parting with misconceptions"): rule-based planner and the normaliser of the PDM score.

15 proposals - IDM along the route's centre line and lines 1 m beside it, at 20 to 100 % of the speed limit, against forecasts of
the others at constant velocity (``closed_forecast``) - are simulated and judged by the PDM score in that forecast; the best one is
the plan. Red lights of the route stand in the way like objects. Along the same line the proposals are NAVSIM's to 1e-6 m (`make
test-peers`); the line is the world's route (``closed_path``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from pydantic import Field
from shapely.ops import substring

from wetoolkit.config import Config
from wetoolkit.types import Observation, ObservationSpec, Plan
from wetoolkit_driving.dynamics import DT
from wetoolkit_driving.geometry import arc_lengths, ego_corners, project, relative
from wetoolkit_driving.pdm import idm, kernels
from wetoolkit_driving.pdm.areas import Areas
from wetoolkit_driving.pdm.closed_forecast import apart, expect, touching
from wetoolkit_driving.pdm.closed_path import Path, find_path
from wetoolkit_driving.pdm.kernels_route import index_line
from wetoolkit_driving.pdm.result import ego_progress, total
from wetoolkit_driving.pdm.scene import LOOK, PdmScene
from wetoolkit_driving.pdm.variants import NAVSIM_1_1, Variant
from wetoolkit_driving.types import World

Double = NDArray[np.float64]
Bool = NDArray[np.bool_]

STEPS = 40  # of a plan


class PdmClosedConfig(Config):
    """Settings of ``pdm-closed``; the defaults are NAVSIM's."""

    offsets: tuple[float, ...] = Field(
        default=(0.0, -1.0, 1.0), description="lateral offsets of the proposals, left positive [m]", min_length=1
    )
    fractions: tuple[float, ...] = Field(
        default=(0.2, 0.4, 0.6, 0.8, 1.0), description="desired speeds as parts of the speed limit [1]", min_length=1
    )
    fallback_speed: float = Field(default=15.0, description="speed limit where the map gives none [m/s]", gt=0)
    gap: float = Field(default=1.0, description="IDM: least distance to the leader [m]", gt=0)
    headway: float = Field(default=1.5, description="IDM: time headway [s]", ge=0)
    acceleration: float = Field(default=1.5, description="IDM: greatest acceleration [m/s^2]", gt=0)
    deceleration: float = Field(default=3.0, description="IDM: comfortable deceleration [m/s^2]", gt=0)
    exponent: float = Field(default=10.0, description="IDM: exponent of the free road [1]", gt=0)
    still: float = Field(default=0.0, description="IDM: accelerations smaller than this are none [m/s^2]", ge=0)
    hold: int = Field(default=2, description="frames of 0.1 s for which a forecast of the others stands [1]", ge=1)
    spare: int = Field(default=10, description="steps of 0.1 s after the plan that the corridor at full speed reaches [1]", ge=0)

    def driver(self) -> Double:
        """The six numbers of ``idm.unroll``."""
        return np.array([self.gap, self.headway, self.acceleration, self.deceleration, self.exponent, self.still])


# World Engine's settings; its reference is the same plan, simulated
WORLD_ENGINE_CLOSED = PdmClosedConfig(
    offsets=(0.0, -3.5, 3.5), fractions=(0.15, 0.25, 0.5, 0.75, 1.0), fallback_speed=30.0, gap=10.0, acceleration=4.5,
    still=0.02, hold=1, spare=1,
)  # fmt: skip


def propose(path: Path, scene: PdmScene, config: PdmClosedConfig, steps: int = STEPS, recorded: bool = True) -> Double:
    """World poses [15, steps + 1, 3] of the IDM proposals against the others as ``scene`` has them; the first pose is on the path.

    ``recorded``: the others' speeds are what their boxes do from frame to frame; else, in a forecast, those at the scene's first
    frame, along their boxes.
    """
    vehicle, wanted = scene.vehicle, np.array(config.fractions) * path.limit
    body, driver = np.array([vehicle.front, vehicle.rear, vehicle.width / 2]), config.driver()
    others = _obstacles(path, scene, steps, recorded)
    ahead = float(wanted.max()) * (steps + config.spare) * DT  # metres
    lines = [path.beside(offset) for offset in config.offsets]
    lengths = [arc_lengths(line) for line in lines]
    starts = [float(project(line, scene.ego[:2])[0]) for line in lines]
    corridors = [_corridor(*found, ahead, vehicle.width / 2) for found in zip(lines, lengths, starts, strict=True)]
    ways = []
    for line, length, start, order in zip(lines, lengths, starts, others.within(corridors), strict=True):
        place = idm.places(index_line(np.ascontiguousarray(line[:, :2]), length), others.centres, order)
        around = idm.Obstacles(order, place, others.velocity, others.boxes, others.light_xy, others.light_offset)
        ways.append(idm.unroll(line, length, start, float(scene.ego[3]), wanted, around, body, driver, steps))
    return np.concatenate(ways)


@dataclass(frozen=True)
class _Obstacles:
    """K others and L red lights at the R steps at which drivers look; M = K + L."""

    trees: list[shapely.STRtree]  # R of M polygons
    ignored: Bool  # [M]
    centres: Double  # [R, M, 2]
    boxes: Double  # [R, K, 4, 2]
    velocity: Double  # [R, K, 2] m/s
    light_xy: Double  # [n, 2] rings of the lights
    light_offset: NDArray[np.int64]  # [L + 1]

    def within(self, corridors: list[shapely.Polygon]) -> NDArray[np.int64]:
        """[C, R, M] who touches each corridor at each step, -1 after the last, in the order in which NAVSIM finds them."""
        found = [tree.query(corridors, predicate="intersects") for tree in self.trees]  # R of [2, n] corridor, obstacle
        row = np.repeat(np.arange(len(found)), [pairs.shape[1] for pairs in found])
        corridor, who = np.concatenate([np.zeros((2, 0), np.int64), *found], 1)
        kept = ~self.ignored[who]
        row, corridor, who = row[kept], corridor[kept], who[kept]
        group = row * len(corridors) + corridor  # never falls
        place = np.arange(len(group)) - np.searchsorted(group, group)
        order = np.full((len(corridors), len(self.trees), len(self.ignored)), -1, np.int64)
        order[corridor, row, place] = who
        return order


def _obstacles(path: Path, scene: PdmScene, steps: int, recorded: bool) -> _Obstacles:
    """Who may lead in ``steps`` steps. Who touches the ego now may not, nor a light whose lane the ego is wholly in."""
    rows = np.arange(idm.EVERY, steps + 1, idm.EVERY)  # [R] frames
    ego = ego_corners(scene.ego, scene.vehicle)
    boxes, lights = np.ascontiguousarray(scene.boxes[rows]), [shapely.Polygon(ring) for ring in path.red]
    velocity = _moved(scene.boxes, scene.valid) if recorded else _along(scene.boxes, scene.first_speed)
    shapes = np.empty((len(rows), boxes.shape[1] + len(lights)), object)
    shapes[:, : boxes.shape[1]] = np.where(scene.valid[rows], shapely.polygons(boxes), None)
    shapes[:, boxes.shape[1] :] = lights
    middles = shapely.get_coordinates(shapely.centroid(lights)).reshape(1, -1, 2)
    return _Obstacles(
        trees=[shapely.STRtree(row) for row in shapes],
        ignored=np.concatenate([touching(scene), [shapely.Polygon(ego).within(light) for light in lights]]).astype(bool),
        centres=np.concatenate([(boxes[:, :, 0] + boxes[:, :, 2]) / 2, np.repeat(middles, len(rows), 0)], 1),
        boxes=boxes,
        velocity=np.ascontiguousarray(velocity[rows]),
        light_xy=np.concatenate([np.zeros((0, 2)), *path.red]),
        light_offset=np.cumsum([0, *map(len, path.red)]),
    )


def _moved(boxes: Double, valid: Bool) -> Double:
    """Velocities [F, K, 2] of box centres from each frame to the next, 0 where one of the two is missing."""
    centre = (boxes[:, :, 0] + boxes[:, :, 2]) / 2
    velocity = np.zeros_like(centre)
    velocity[:-1] = np.where((valid[:-1] & valid[1:])[..., None], np.diff(centre, axis=0), 0.0) / DT
    return velocity


def _along(boxes: Double, speed: Double) -> Double:
    """Velocities [F, K, 2] of speeds [K] along the boxes: to NAVSIM leaders drive forwards, even where its forecast reverses."""
    way = boxes[:, :, 0] - boxes[:, :, 1]  # [F, K, 2] rear left to front left
    return np.asarray(way / np.linalg.norm(way, axis=-1, keepdims=True) * speed[:, None])


def _corridor(poses: Double, lengths: Double, start: float, ahead: float, half_width: float) -> shapely.Polygon:
    """What the ego sweeps from ``start`` [m] on for ``ahead`` metres: the line's points in between, widened, with square ends."""
    begin, end = np.clip([start, start + ahead], 0.0, lengths[-1])
    points = poses[(begin <= lengths) & (lengths <= end), :2]
    line = shapely.LineString(points) if len(points) > 1 else substring(shapely.LineString(poses[:, :2]), begin, end)
    return shapely.buffer(line, half_width, cap_style="square")


def propose_now(
    world: World, step: int, config: PdmClosedConfig, areas: Areas | None = None, variant: Variant = NAVSIM_1_1
) -> tuple[Double, PdmScene]:
    """World poses [15, 41, 3] of the proposals at ``step`` and the forecast they are judged in."""
    path = find_path(world, step, config.fallback_speed)
    scene = expect(world, step, STEPS + 1, config.hold, path.line, variant, areas)
    return propose(path, scene, config, recorded=False), apart(scene)


def plan_closed(
    world: World, step: int, config: PdmClosedConfig, areas: Areas | None = None, variant: Variant = NAVSIM_1_1
) -> Double:
    """World poses [41, 3] of PDM-Closed at ``step``, the first on the path; nothing after that step is looked at.

    ``areas``: ``index_map(world)`` where it is at hand. ``variant``: whose score chooses among the proposals, in the forecast;
    comfort begins now.
    """
    return choose(*propose_now(world, step, config, areas, variant), variant)


def scores_of(poses: Double, scene: PdmScene, variant: Variant = NAVSIM_1_1) -> Double:
    """[N] PDM scores of simulated world poses [N, T + 1, 3], progress measured by the best of them; without a past, HC is 1."""
    marks = kernels.drive(scene, poses, variant)
    return total(marks, ego_progress(marks, marks.masked_progress.max()))


def choose(poses: Double, scene: PdmScene, variant: Variant = NAVSIM_1_1) -> Double:
    """The one [T + 1, 3] of world poses [N, T + 1, 3] that scores best in the scene, simulated; the first of equals."""
    return np.asarray(poses[int(scores_of(poses, scene, variant).argmax())])


class PdmClosed:
    """The planner as a policy: reads the world cut at now."""

    spec = ObservationSpec(history=1, world=True)

    def __init__(self, config: PdmClosedConfig) -> None:
        self.config = config

    def act(self, observation: Observation[World], seed: int) -> Plan:
        """Plans [B, 40, 3]; every world stands for itself. The seed is not used."""
        plans = [self._plan(world) for world in observation.worlds]
        return Plan(np.array(plans, np.float64).reshape(observation.size, STEPS, 3))

    def act_each(self, observation: Observation[World], seeds: Sequence[int]) -> Plan:
        """``act``: no seed changes it."""
        return self.act(observation, 0)

    def _plan(self, world: World) -> Double:
        now = world.steps - 1
        return relative(np.asarray(world.ego.states[now, :3], np.float64), plan_closed(world, now, self.config)[1:])


__all__ = [
    "DT",
    "LOOK",
    "WORLD_ENGINE_CLOSED",
    "Path",
    "PdmClosed",
    "PdmClosedConfig",
    "choose",
    "find_path",
    "plan_closed",
    "propose",
    "propose_now",
    "scores_of",
]
