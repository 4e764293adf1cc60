"""The way of a cyclist: where its log went, and on beside the lane at the offset it had, at its own speed.

Cyclists of control PATH are moved by the intelligent driver model with the manners of their class. They differ from cars in their
path: a car without a record goes over to the lane's centre, a cyclist keeps to the edge (or the cycle lane) where it was; and in
their limit, which is not the lane's.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from wetoolkit_driving.geometry import along, compose, project
from wetoolkit_driving.roads import ahead, join, nearest_lane
from wetoolkit_driving.traffic.manners import FACTOR
from wetoolkit_driving.traffic.paths import Path, Roads, path_of
from wetoolkit_driving.types import Double, RoadMap, World

CRUISE = 3.0  # m/s: somebody who is not recorded faster means to ride at least so fast
BLEND = 4.0  # metres after the record's end before the lane's direction counts
BESIDE = 4.0  # metres: lanes farther off are not ridden along
SPARE = 40.0  # metres a path is longer than anybody can go


def cyclist_path(world: World, agent: int, start: int, parameters: Double, roads: Roads) -> Path:
    """The path of a cyclist from its logged pose at ``start`` on; see ``paths.path_of``."""
    agents = world.agents
    there = agents.valid[agent, start:]
    track = agents.pose[agent, start:][there].astype(np.float64)  # [n, 3]
    pace = np.hypot(*agents.velocity[agent][agents.valid[agent]].T.astype(np.float64))
    cruise = max(CRUISE, float(pace.max()))
    tail = _beside(world.map, _end(track), parameters[FACTOR] * cruise * (world.steps - start) * world.dt + SPARE)
    course = np.column_stack([np.cos(tail[:, 2]), np.sin(tail[:, 2])])
    row = slice(agent, agent + 1)
    # As if recorded: a path follows what is recorded as it is, and its driver wants the greatest speed that is.
    extended = replace(
        agents,
        ids=agents.ids[row],
        kind=agents.kind[row],
        size=agents.size[row],
        pose=np.concatenate([agents.pose[row], tail[None].astype(np.float32)], 1),
        velocity=np.concatenate([agents.velocity[row], (cruise * course)[None].astype(np.float32)], 1),
        valid=np.concatenate([agents.valid[row], np.ones((1, len(tail)), bool)], 1),
        control=agents.control[row],
        manners=None,
    )
    return path_of(replace(world, agents=extended, scripts=()), 0, start, parameters, roads)


def _end(track: Double) -> Double:
    """The last pose [3], its heading the way it moved over the last metre, where it did."""
    away = np.hypot(*(track[:, :2] - track[-1, :2]).T)
    far = np.flatnonzero(away >= 1.0)
    if not len(far):
        return np.array(track[-1], np.float64)
    move = track[-1, :2] - track[far[-1], :2]
    return np.array([*track[-1, :2], np.arctan2(move[1], move[0])])


def _beside(road: RoadMap, end: Double, reach: float) -> Double:
    """Poses [m, 3], a metre apart, beside the lane that runs the way of ``end``, at its offset from it; straight on without one."""
    lane, s, _ = nearest_lane(road, end, np.pi / 4, BESIDE)
    metres = np.arange(1.0, max(reach, 2.0))
    if lane < 0:
        return compose(end[None], np.column_stack([metres, np.zeros((len(metres), 2))]))
    line = join(road, ahead(road, lane, s + reach))
    place, offset = (float(value) for value in project(line, end[:2]))
    ways = along(line, place + metres[metres >= BLEND])
    # Inside a sharp curve an offset line folds back on itself: points that would go backwards are left out.
    poses = compose(ways, np.column_stack([np.zeros(len(ways)), np.full(len(ways), offset), np.zeros(len(ways))]))
    unit = np.column_stack([np.cos(ways[1:, 2]), np.sin(ways[1:, 2])])
    onward = np.concatenate([[True], (np.diff(poses[:, :2], axis=0) * unit).sum(1) > 0.1])
    return poses[onward] if onward.sum() > 1 else compose(end[None], np.column_stack([metres, np.zeros((len(metres), 2))]))


__all__ = ["cyclist_path"]
