"""The traffic of one scene: hands agents over from the log to the model and steps them together with the ego."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from wetoolkit.errors import ValidationError
from wetoolkit_driving.geometry import ego_center, quads_touch
from wetoolkit_driving.jit import kernel
from wetoolkit_driving.traffic import idm
from wetoolkit_driving.traffic.idm import Steps
from wetoolkit_driving.traffic.manners import MOVERS, TrafficConfig, parameters
from wetoolkit_driving.traffic.paths import Path, path_of
from wetoolkit_driving.types import HEADING, VX, VY, AgentClass, Agents, Bool, Byte, Control, Double, Vehicle, World

RESTS = 0.5  # metres: an agent whose whole record stays within this stands still and is never moved


@dataclass(frozen=True)
class Traffic:
    """One scene's others. The arrays of ``agents`` are this object's own and are written up to the step reached by ``run``."""

    agents: Agents  # [A, T]
    mode: Byte  # [A] idm.REPLAYED, DRIVING or WAITING
    entry: Steps  # [A] step at which it is handed over
    s: Double  # [A] metres along its path
    v: Double  # [A] m/s
    delayed: Steps  # [A] steps it had to wait because its place was taken
    paths: Double  # [K, 3] ragged, by offset
    wanted: Double  # [K] m/s
    offset: Steps  # [A + 1]
    stops: Double  # [S, 2] ragged, by stop_offset
    stop_offset: Steps  # [A + 1]
    parameters: Double  # [A, 7]
    sizes: Double  # [A + 1, 2] length, width; the ego's last
    kinds: Byte  # [A + 1]
    ignore: Bool  # [A, A + 1] pairs that overlap in the log itself
    signals: Byte  # [S, T]
    dt: float
    config: TrafficConfig

    def run(self, first: int, last: int, ego_states: Double, vehicle: Vehicle) -> None:
        """Move the others from step ``first`` to ``last`` <= T - 1; ego_states [T, 11] must be known from first to last."""
        if not (self.mode != idm.REPLAYED).any():
            return
        centre, velocity = np.zeros((len(ego_states), 3)), np.zeros((len(ego_states), 2))
        span = slice(first, last + 1)
        centre[span], velocity[span] = ego_center(ego_states[span], vehicle), world_velocity(ego_states[span])
        a = self.agents
        idm.run(
            first, last, self.dt, self.mode, self.entry, self.s, self.v, self.delayed, self.paths, self.wanted, self.offset,
            self.stops, self.stop_offset, self.parameters, self.config.margin, self.config.anticipation, self.kinds, self.sizes,
            self.ignore, self.signals, a.pose, a.velocity, a.valid, centre, velocity,
        )  # fmt: skip

    def counts(self) -> dict[str, int]:
        """What is worth stamping: agents the model moves, those that had to wait for their place, pairs that overlap in the log."""
        moved = int((self.mode != idm.REPLAYED).sum())
        return {"idm_agents": moved, "idm_delayed": int((self.delayed > 0).sum()), "idm_overlapping_pairs": int(self.ignore.sum())}


def world_velocity(states: Double) -> Double:
    """Velocities [..., 2] in the world's axes of ego states [..., 11]."""
    c, s = np.cos(states[..., HEADING]), np.sin(states[..., HEADING])
    return np.stack([c * states[..., VX] - s * states[..., VY], s * states[..., VX] + c * states[..., VY]], -1)


def start(world: World, now: int, config: TrafficConfig) -> Traffic:
    """The traffic of a world from step ``now`` on. Agents with control IDM leave their log at ``now``, or where they
    first appear after it; standing ones and things never leave it."""
    external = np.flatnonzero(world.agents.control == Control.EXTERNAL)
    if len(external):
        raise ValidationError(
            f"{len(external)} agents are to be moved from outside (control EXTERNAL), the first is {world.agents.ids[external[0]]}",
            field="agents.control",
            way_out="simulate scenes of the behaviours replay or idm",
        )
    own = world.agents
    agents = replace(own, pose=own.pose.copy(), velocity=own.velocity.copy(), valid=own.valid.copy())
    count, table = len(agents), parameters(agents, config)
    mode, entry = np.zeros(count, np.uint8), np.zeros(count, np.int64)
    ways: list[Path | None] = [None] * count
    for a in np.flatnonzero(agents.control == Control.IDM):
        later = np.flatnonzero(agents.valid[a, now:])
        if not len(later) or AgentClass(int(agents.kind[a])) not in MOVERS or rests(agents, int(a)):
            continue
        entry[a] = now + later[0]
        ways[a] = path_of(world, int(a), int(entry[a]), table[a])
        mode[a] = idm.DRIVING if later[0] == 0 else idm.WAITING
        agents.valid[a, entry[a] + 1 :] = False  # from here on the model says where it is
        agents.pose[a, entry[a] + 1 :], agents.velocity[a, entry[a] + 1 :] = 0.0, 0.0
        if mode[a] == idm.WAITING:
            agents.valid[a, entry[a]] = False
            agents.pose[a, entry[a]], agents.velocity[a, entry[a]] = 0.0, 0.0
    vehicle = world.ego.vehicle
    pose = np.concatenate([own.pose, ego_center(world.ego.states, vehicle)[None]]).astype(np.float64)
    valid = np.concatenate([own.valid, world.ego.valid[None]])
    sizes = np.concatenate([own.size[:, :2], [[vehicle.length, vehicle.width]]]).astype(np.float64)
    valid[-1, now + 1 :] = False  # what the ego did later in the log is no part of this scene
    ignore = _overlaps(pose, valid, sizes, mode, entry, _resting(pose, valid), config.margin)
    return Traffic(
        agents, mode, entry, np.zeros(count), _speeds(own, entry, mode), np.zeros(count, np.int64),
        *_ragged([way.poses if way else np.zeros((0, 3)) for way in ways], [way.speed if way else np.zeros(0) for way in ways]),
        *_ragged_stops([way.stops if way else np.zeros((0, 2)) for way in ways]),
        table, sizes, np.append(own.kind, AgentClass.VEHICLE).astype(np.uint8), ignore,
        np.ascontiguousarray(world.signals), world.dt, config,
    )  # fmt: skip


def rests(agents: Agents, a: int) -> bool:
    """Whether an agent's whole record stays within ``RESTS`` metres."""
    xy = agents.pose[a, agents.valid[a], :2]
    return len(xy) == 0 or bool(np.hypot(*(xy - xy[0]).T).max() < RESTS)


def _speeds(agents: Agents, entry: Steps, mode: Byte) -> Double:
    rows = np.arange(len(agents))
    return np.where(mode != idm.REPLAYED, np.hypot(*agents.velocity[rows, entry].T), 0.0).astype(np.float64)


def _ragged(poses: list[Double], speeds: list[Double]) -> tuple[Double, Double, Steps]:
    offset = np.cumsum([0, *(len(pose) for pose in poses)], dtype=np.int64)
    return np.concatenate([np.zeros((0, 3)), *poses]), np.concatenate([np.zeros(0), *speeds]), offset


def _ragged_stops(stops: list[Double]) -> tuple[Double, Steps]:
    return np.concatenate([np.zeros((0, 2)), *stops]), np.cumsum([0, *(len(stop) for stop in stops)], dtype=np.int64)


@kernel
def _resting(pose: Double, valid: Bool) -> Bool:
    out = np.ones(len(pose), np.bool_)
    for a in range(len(pose)):
        first = -1
        for t in range(pose.shape[1]):
            if valid[a, t]:
                if first < 0:
                    first = t
                elif np.hypot(pose[a, t, 0] - pose[a, first, 0], pose[a, t, 1] - pose[a, first, 1]) >= RESTS:
                    out[a] = False
                    break
    return out


@kernel
def _overlaps(pose: Double, valid: Bool, sizes: Double, mode: Byte, entry: Steps, resting: Bool, margin: float) -> Bool:
    """[A, A + 1] pairs that the log itself shows overlapping: a moved agent with another where it is handed over, or with a
    resting one anywhere on its way. Such boxes are measurement noise; a model that took them for obstacles would never start."""
    count = len(mode)
    out, scratch = np.zeros((count, count + 1), np.bool_), np.zeros((2, 4, 2))
    for a in range(count):
        if mode[a] == idm.REPLAYED:
            continue
        for j in range(count + 1):
            if j == a:
                continue
            near = 0.5 * (np.hypot(sizes[a, 0], sizes[a, 1]) + np.hypot(sizes[j, 0], sizes[j, 1])) + margin
            for t in range(entry[a], pose.shape[1]):
                both = valid[a, t] and valid[j, t]
                if both and np.hypot(pose[a, t, 0] - pose[j, t, 0], pose[a, t, 1] - pose[j, t, 1]) <= near:
                    idm.corners(pose[a, t, 0], pose[a, t, 1], pose[a, t, 2], sizes[a, 0], sizes[a, 1] + 2 * margin, scratch[0])
                    idm.corners(pose[j, t, 0], pose[j, t, 1], pose[j, t, 2], sizes[j, 0], sizes[j, 1], scratch[1])
                    if quads_touch(scratch[0], scratch[1]):
                        out[a, j] = True
                        if j < count and mode[j] != idm.REPLAYED:
                            out[j, a] = True
                        break
                if not resting[j]:
                    break
    return out


__all__ = ["Traffic", "rests", "start", "world_velocity"]
