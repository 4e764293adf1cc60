"""PDM-Closed (Dauner et al., CoRL 2023, "Parting with misconceptions"): rule-based planner and the normaliser of the PDM score.

15 proposals - IDM along the route's centre line at lateral offsets 0, -1 and 1 m and at 20 to 100 % of the speed limit, against
constant-velocity forecasts of the others - are simulated and judged by the PDM score in that forecast; the best one is the plan.
Red lights stop every proposal at the lane they govern. Where there is no route, the straightest way along the lane graph serves,
where there is no lane, the straight line ahead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from wetoolkit.config import Config
from wetoolkit.types import Observation, ObservationSpec, Plan
from wetoolkit_driving.dynamics import DT
from wetoolkit_driving.geometry import along, arc_lengths, project, relative, resample
from wetoolkit_driving.pdm import idm, kernels
from wetoolkit_driving.pdm.areas import Areas
from wetoolkit_driving.pdm.kernels_route import index_line
from wetoolkit_driving.pdm.result import ego_progress, total
from wetoolkit_driving.pdm.scene import LOOK, PdmScene, from_world
from wetoolkit_driving.pdm.variants import NAVSIM_1_1, Variant
from wetoolkit_driving.roads import ahead, join, nearest_lane
from wetoolkit_driving.types import Signal, World

Double = NDArray[np.float64]

STEPS = 40  # of a plan
EVERY = 2  # frames between two looks at the others
BEYOND = 150.0  # metres of path made beyond the route's end


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

    def driver(self) -> Double:
        """The five numbers of ``idm.follow``."""
        return np.array([self.gap, self.headway, self.acceleration, self.deceleration, self.exponent])


# World Engine's settings; its reference is the same plan, simulated
WORLD_ENGINE_CLOSED = PdmClosedConfig(
    offsets=(0.0, -3.5, 3.5), fractions=(0.15, 0.25, 0.5, 0.75, 1.0), fallback_speed=30.0, gap=10.0, acceleration=4.5
)


@dataclass(frozen=True)
class Path:
    """What the ego may drive along."""

    line: Double  # [n, 2] about every metre
    lengths: Double  # [n] metres
    limit: float  # m/s
    stop: float  # arc length at which a red light's lane begins, inf for none


def find_path(world: World, step: int, fallback_speed: float) -> Path:
    """The route's centre line and what follows it, the speed limit here and the nearest red light ahead."""
    state, road = world.ego.states[step], world.map
    lanes = [int(lane) for lane in world.route]
    if not lanes and road.lanes:
        start, _, _ = nearest_lane(road, state[:3])
        lanes = [start] if start >= 0 else []
    if not lanes:
        line = state[:2] + np.array([[0.0], [BEYOND]]) * np.array([np.cos(state[2]), np.sin(state[2])])
        return Path(line, arc_lengths(line), fallback_speed, np.inf)
    tail = float(arc_lengths(road.centre_line(lanes[-1]))[-1])
    lanes += ahead(road, lanes[-1], tail + BEYOND)[1:]
    line = np.ascontiguousarray(resample(join(road, lanes), 1.0)[:, :2])
    lengths = arc_lengths(line)
    ends = np.cumsum([float(arc_lengths(road.centre_line(lane))[-1]) for lane in lanes])  # arc length at the end of each lane
    here = float(project(line, state[:2])[0])
    at = min(int(np.searchsorted(ends, here)), len(lanes) - 1)
    limit = float(road.lane_speed_limit[lanes[at]])
    return Path(line, lengths, limit if limit > 0 else fallback_speed, _stop_line(world, step, lanes, ends, here))


def _stop_line(world: World, step: int, lanes: list[int], ends: Double, here: float) -> float:
    """Arc length at which the first lane with a red light begins that the ego's front has not yet entered."""
    for i, lane in enumerate(lanes):
        row, begin = int(world.map.lane_signal[lane]), float(ends[i - 1]) if i else 0.0
        red = row >= 0 and world.signals[row, min(step, world.signals.shape[1] - 1)] == Signal.RED
        if red and begin > here + world.ego.vehicle.front:
            return begin
    return np.inf


def propose(path: Path, scene: PdmScene, config: PdmClosedConfig, steps: int = STEPS) -> Double:
    """World poses [15, steps + 1, 3] of the IDM proposals against the others as ``scene`` has them; the first pose is the ego's."""
    state, vehicle = scene.ego, scene.vehicle
    half = vehicle.width / 2
    reach = half + max(abs(offset) for offset in config.offsets)
    places = idm.corridor(index_line(path.line, path.lengths), scene.boxes, scene.valid, reach, EVERY)
    start = float(project(path.line, state[:2])[0])
    driver, ways = config.driver(), []
    for offset in config.offsets:
        for fraction in config.fractions:
            wanted = fraction * path.limit
            ways.append(idm.follow(start, state[3], offset, wanted, places, EVERY, path.stop, vehicle.front, half, driver, steps))
    poses = along(path.line, np.stack(ways))  # [15, steps + 1, 3]
    aside = np.repeat(config.offsets, len(config.fractions))[:, None]  # metres to the left
    poses[..., 0] -= aside * np.sin(poses[..., 2])
    poses[..., 1] += aside * np.cos(poses[..., 2])
    poses[:, 0] = state[:3]
    return poses


def plan_closed(
    world: World, step: int, config: PdmClosedConfig, areas: Areas | None = None, variant: Variant = NAVSIM_1_1
) -> Double:
    """World poses [41, 3] of PDM-Closed at ``step``; nothing after that step is looked at.

    ``areas``: ``index_map(world)`` where it is at hand. ``variant``: whose score chooses among the proposals; in the forecast, the
    others are where they are seen now, those that touch the ego included, and comfort begins now.
    """
    known = world.until(step) if world.steps > step + 1 else world
    path = find_path(known, step, config.fallback_speed)
    forecast = replace(variant.driven, drop_touching=False)
    scene = from_world(known, step, STEPS + 1, areas, forecast)  # the record ends now: the others go on at constant velocity
    scene = replace(scene, centerline=path.line, past=np.zeros((0, 11)))
    return choose(propose(path, scene, config), scene, variant)


def choose(poses: Double, scene: PdmScene, variant: Variant = NAVSIM_1_1) -> Double:
    """The one [T + 1, 3] of world poses [N, T + 1, 3] that scores best in the scene, simulated; the first of equals."""
    marks = kernels.drive(scene, poses, variant)
    return np.asarray(poses[int(total(marks, ego_progress(marks, marks.masked_progress.max())).argmax())])


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
        poses = plan_closed(world, world.steps - 1, self.config)
        return relative(poses[0], poses[1:])


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
]
