"""Everybody but the ego as triangles at one step: bodies placed as the World says, limbs swung by the way that was gone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from wetoolkit_driving.types import AgentClass, World

from wetoolkit_minitown.sensors.bodies import body
from wetoolkit_minitown.sensors.mesh import Mesh, join

Double = NDArray[np.float64]

REACH = 130.0  # metres around the ego: who is farther away is not drawn
STRIDE = {AgentClass.PEDESTRIAN: 1.4, AgentClass.BICYCLE: 5.0}  # metres a full cycle of the limbs
BRISK = {AgentClass.PEDESTRIAN: 1.2, AgentClass.BICYCLE: 0.5}  # m/s from which limbs swing fully


@dataclass(frozen=True)
class Actors:
    """The agents of a World, ``shift`` [2] being added to its coordinates."""

    world: World
    shift: Double
    seed: int
    before: Double | None = None  # [A] metres gone before the World's first step; None: none

    @cached_property
    def gone(self) -> Double:
        """[A, T] metres gone, those before the first step included."""
        step = np.diff(self.world.agents.pose[..., :2].astype(np.float64), axis=1, prepend=self.world.agents.pose[:, :1, :2])
        both = self.world.agents.valid & np.roll(self.world.agents.valid, 1, axis=1)
        since = np.cumsum(np.where(both, np.hypot(step[..., 0], step[..., 1]), 0.0), axis=1)
        return since if self.before is None else since + self.before[:, None]

    def near(self, step: int) -> NDArray[np.int64]:
        """Those who are there and not too far away."""
        agents, ego = self.world.agents, self.world.ego.states[step, :2]
        away = np.hypot(*(agents.pose[:, step, :2] - ego).T)
        return np.flatnonzero(agents.valid[:, step] & (away < REACH))

    def mesh(self, step: int) -> Mesh:
        """All who are near, in the stage's coordinates."""
        return join([self._placed(int(a), step) for a in self.near(step)])

    def boxes(self, step: int) -> Double:
        """[A, 6] x, y, heading, half length, half width, height of those who are near."""
        agents, rows = self.world.agents, self.near(step)
        pose, size = agents.pose[rows, step].astype(np.float64), agents.size[rows].astype(np.float64)
        return np.column_stack([pose[:, :2] + self.shift, pose[:, 2], size[:, :2] / 2, size[:, 2]])

    def _placed(self, a: int, step: int) -> Mesh:
        agents, kind = self.world.agents, AgentClass(int(self.world.agents.kind[a]))
        mesh = _body(int(kind), tuple(agents.size[a].tolist()), agents.ids[a], self.seed)
        if kind in STRIDE:
            speed = float(np.hypot(*agents.velocity[a, step]))
            mesh = mesh.posed(2 * np.pi * float(self.gone[a, step]) / STRIDE[kind], min(1.0, speed / BRISK[kind]))
        x, y, heading = agents.pose[a, step].astype(np.float64).tolist()
        return mesh.moved(x + self.shift[0], y + self.shift[1], 0.0, heading)


@lru_cache(maxsize=512)
def _body(kind: int, size: tuple[float, float, float], name: str, seed: int) -> Mesh:
    """Kept: whoever renders one step of many Worlds, as a simulator does, meets the same bodies again."""
    return body(kind, size, name, seed)
