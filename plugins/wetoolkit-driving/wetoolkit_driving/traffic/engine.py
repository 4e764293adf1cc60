"""The traffic of many scenes: hands agents over from the log to the model and steps all scenes together with their egos.

``start_all`` lays the scenes side by side (see ``layout``), ``Traffic.run`` steps any of them in one kernel call. Scenes share
nothing: a batch equals its singles bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wetoolkit.errors import ValidationError
from wetoolkit_driving.geometry import ego_center, quads_touch
from wetoolkit_driving.jit import kernel
from wetoolkit_driving.traffic import crowd, idm, scripts, social
from wetoolkit_driving.traffic.cyclists import cyclist_path
from wetoolkit_driving.traffic.idm import Drivers, Rules
from wetoolkit_driving.traffic.junctions import Junctions, Meetings, join, meetings
from wetoolkit_driving.traffic.layout import (
    DRIVING,
    LOGGED,
    REPLAYED,
    WAITING,
    Bodies,
    Layout,
    Steps,
    corners,
    look,
    scene_of,
    scratch_of,
)
from wetoolkit_driving.traffic.manners import MOVERS, TrafficConfig, parameters
from wetoolkit_driving.traffic.paths import Path, Roads, path_of, roads_of
from wetoolkit_driving.traffic.priority import wait, ways_of
from wetoolkit_driving.traffic.release import Log, keep_up, logged_scene, release
from wetoolkit_driving.types import HEADING, VX, VY, Action, AgentClass, Agents, Bool, Byte, Control, Double, World

RESTS = 0.5  # metres: an agent whose whole record stays within this stands still and is never moved
UNTIL_TOUCHED = (Control.REACTIVE, Control.PATH)  # who repeats the log as long as nothing changed for them
NOWHERE = Path(np.zeros((0, 3)), np.zeros(0), np.zeros((0, 2)))


@dataclass(frozen=True)
class Traffic:
    """The others of B scenes, and the egos among them. Every array of it is its own; ``run`` writes up to the step reached."""

    layout: Layout
    bodies: Bodies
    drivers: Drivers
    rules: Rules
    junctions: Junctions
    log: Log
    walkers: social.Walkers
    events: scripts.Events
    tables: tuple[Agents, ...]  # [B] the scenes' agents, as views into ``bodies``

    @property
    def agents(self) -> Agents:
        """The others of the only scene."""
        (agents,) = self.tables
        return agents

    def states(self, b: int) -> Double:
        """The ego's states [T, 11] in scene ``b``: to be written up to the step that ``run`` shall reach."""
        return self.bodies.ego[self.layout.clock[b] : self.layout.clock[b + 1]]

    def run_all(self, live: Sequence[int], first: Sequence[int], last: Sequence[int]) -> None:
        """Move the others of the scenes ``live`` [n], each from step ``first`` [n] to ``last`` [n] <= T - 1. The egos' states must
        be known from first to last."""
        now, begin, end = np.asarray(live, np.int64), np.asarray(first, np.int64), np.asarray(last, np.int64)
        _run(
            now, begin, end, self.layout, self.bodies, self.drivers, self.rules, self.junctions, self.log, self.walkers, self.events
        )  # fmt: skip

    def run(self, first: int, last: int, ego_states: Double) -> None:
        """``run_all`` for the only scene, with the ego's states [T, 11]."""
        self.states(0)[first : last + 1] = ego_states[first : last + 1]
        self.run_all([0], [first], [last])

    def counts(self, b: int = 0) -> dict[str, int]:
        """What is worth stamping: agents the model moves, those that still repeat their log because nothing touched them, those
        that had to wait for their place, pairs that overlap in the log."""
        rows, pairs = (slice(at[b], at[b + 1]) for at in (self.layout.agent, self.layout.pair))
        walking = self.walkers.first[b + 1] - self.walkers.first[b]
        fired = self.events.fired[self.events.first[b] : self.events.first[b + 1]]
        return {
            "idm_agents": int((~np.isin(self.bodies.mode[rows], (REPLAYED, social.MODE, LOGGED))).sum()),
            "untouched_agents": int((self.bodies.mode[rows] == LOGGED).sum()),
            "social_agents": int(walking),
            "scripts_fired": int((fired != scripts.NEVER).sum()),
            "idm_delayed": int((self.drivers.delayed[rows] > 0).sum()),
            "idm_overlapping_pairs": int(self.bodies.ignore[pairs].sum()),
        }


@kernel
def _run(
    live: Steps, first: Steps, last: Steps, layout: Layout, bodies: Bodies, drivers: Drivers, rules: Rules,
    junctions: Junctions, log: Log, walkers: social.Walkers, events: scripts.Events,
) -> None:  # fmt: skip
    """Step each scene by itself: all look at step t, then all are moved to t + 1, then those that are due appear."""
    work = np.zeros((2, 4, 2))
    for i in range(len(live)):
        scene, now = scene_of(live[i], layout, bodies), scratch_of(live[i], layout, bodies)
        b = live[i]
        if not (scene.mode != REPLAYED).any() and events.first[b] == events.first[b + 1]:
            continue
        past, was, ways = logged_scene(b, scene, layout, log), scratch_of(b, layout, bodies), ways_of(scene, drivers)
        room = junctions.room[scene.first + b : scene.first + b + len(now.there)]
        look(first[i], scene, now)
        for t in range(first[i], last[i]):
            scripts.fire(t, b, scene, now, events, drivers, walkers)
            keep_up(scene, now, drivers)
            wait(b, t, scene, now, drivers, junctions, ways)
            release(t, scene, now, past, was, drivers, rules, log, ways, work)
            idm.step(t, scene, now, drivers, rules, ways.limit, room, work)
            social.walk(t, b, scene, now, walkers)
            scripts.follow(t, b, scene, events, drivers)
            look(t + 1, scene, now)
            idm.appear(t + 1, scene, now, drivers, work)


def world_velocity(states: Double) -> Double:
    """Velocities [..., 2] in the world's axes of ego states [..., 11]."""
    c, s = np.cos(states[..., HEADING]), np.sin(states[..., HEADING])
    return np.stack([c * states[..., VX] - s * states[..., VY], s * states[..., VX] + c * states[..., VY]], -1)


def start(world: World, now: int, config: TrafficConfig) -> Traffic:
    """The traffic of one world from step ``now`` on; see ``start_all``."""
    return start_all([world], [now], config)


def start_all(worlds: Sequence[World], nows: Sequence[int], config: TrafficConfig) -> Traffic:
    """The traffic of worlds [B] from steps ``nows`` [B] on. Agents with control IDM or SOCIAL leave their log at that step, or
    where they first appear after it, those with REACTIVE or PATH when something touches them (see ``release``); standing ones and
    things never leave it. Those with control EXTERNAL are not moved here: whoever moves them writes their rows (see ``reaction``).
    Scripts take over whom they name."""
    events = scripts.join([scripts.events_of(world, now) for world, now in zip(worlds, nows, strict=True)])
    worlds = [scripts.hidden(world, now) for world, now in zip(worlds, nows, strict=True)]
    roads = {id(world.map): roads_of(world.map) for world in worlds}  # variants of a scene share their map
    drafts = [_draft(world, now, config, roads[id(world.map)]) for world, now in zip(worlds, nows, strict=True)]
    layout, bodies = _side_by_side(worlds, nows, drafts)
    ways = [way for draft in drafts for way in draft.ways]
    drivers = Drivers(
        entry=_joined([draft.entry for draft in drafts], np.zeros(0, np.int64)),
        s=np.zeros(len(ways)),
        v=_joined([draft.speed for draft in drafts], np.zeros(0)),
        delayed=np.zeros(len(ways), np.int64),
        parameters=_joined([draft.parameters for draft in drafts], np.zeros((0, 7))),
        offset=_offsets(len(way.poses) for way in ways),
        paths=_joined([way.poses for way in ways], np.zeros((0, 3))),
        wanted=_joined([way.speed for way in ways], np.zeros(0)),
        stop_offset=_offsets(len(way.stops) for way in ways),
        stops=_joined([way.stops for way in ways], np.zeros((0, 2))),
        shift=np.zeros((len(ways), 3)),
        since=np.zeros(len(ways)),
    )
    log = _log_of(worlds, bodies)
    walkers = crowd.join([draft.walkers for draft in drafts])
    tables = tuple(_table(world.agents, b, layout, bodies) for b, world in enumerate(worlds))
    rules, junctions = Rules(config.margin, config.anticipation), join([draft.meetings for draft in drafts])
    traffic = Traffic(layout, bodies, drivers, rules, junctions, log, walkers, events, tables)
    for b in range(len(worlds)):
        _leave_the_log(traffic, b, nows)
    return traffic


@dataclass(frozen=True)
class _Draft:
    """One scene before it is laid beside the others."""

    mode: Byte  # [A]
    entry: Steps  # [A]
    speed: Double  # [A] m/s where it is handed over
    parameters: Double  # [A, 7]
    ways: list[Path]  # [A]
    size: Double  # [A + 1, 2]
    ignore: Bool  # [A, A + 1]
    meetings: Meetings
    walkers: social.Walkers


def _draft(world: World, now: int, config: TrafficConfig, roads: Roads) -> _Draft:
    agents = world.agents
    count, table = len(agents), parameters(agents, config)
    mode, entry, ways = np.zeros(count, np.uint8), np.zeros(count, np.int64), [NOWHERE] * count
    for a in np.flatnonzero(np.isin(agents.control, (Control.IDM, *UNTIL_TOUCHED))):
        later = np.flatnonzero(agents.valid[a, now:])
        if not len(later) or AgentClass(int(agents.kind[a])) not in MOVERS or rests(agents, int(a)):
            continue
        entry[a], mode[a] = now + later[0], DRIVING if later[0] == 0 else WAITING
        mode[a] = LOGGED if agents.control[a] in UNTIL_TOUCHED else mode[a]
        way = cyclist_path if agents.control[a] == Control.PATH else path_of
        ways[a] = way(world, int(a), int(entry[a]), table[a], roads)
    walks = _who_walk(agents, now)
    mode[walks], entry[walks] = social.MODE, [now + int(np.argmax(agents.valid[a, now:])) for a in walks]
    for script in world.scripts:
        named = agents.ids.index(script.agent)
        there = np.flatnonzero(agents.valid[named, now:])
        if script.action != Action.APPEAR and len(there) and not len(ways[named].poses):
            ways[named] = path_of(world, named, now + int(there[0]), table[named], roads)
    vehicle = world.ego.vehicle
    size = np.concatenate([agents.size[:, :2], [[vehicle.length, vehicle.width]]]).astype(np.float64)
    pose = np.concatenate([agents.pose, ego_center(world.ego.states, vehicle)[None]]).astype(np.float64)
    valid = np.concatenate([agents.valid, world.ego.valid[None]])
    valid[-1, now + 1 :] = False  # what the ego did later in the log is no part of this scene
    ignore = _overlaps(pose, valid, size, mode, entry, _resting(pose, valid), config.margin)
    speed = np.hypot(*agents.velocity[np.arange(count), entry].T.astype(np.float64))
    walkers = crowd.walkers_of(world, now, walks, table)
    met = meetings(world, now, ways, size, config.margin)
    return _Draft(mode, entry, np.where(mode != REPLAYED, speed, 0.0), table, ways, size, ignore, met, walkers)


def _log_of(worlds: Sequence[World], bodies: Bodies) -> Log:
    """The log to be compared with; where nobody repeats it until touched, it is never read, and not copied."""
    released = np.full(len(bodies.mode), -1, np.int64)
    if not (bodies.mode == LOGGED).any():
        return Log(bodies.pose, bodies.velocity, bodies.valid, bodies.ego, released)
    ego = _joined([world.ego.states for world in worlds], np.zeros((0, 11)))
    return Log(bodies.pose.copy(), bodies.velocity.copy(), bodies.valid.copy(), ego, released)


def _who_walk(agents: Agents, now: int) -> Steps:
    """Rows of the agents with control SOCIAL that are there at ``now`` or later; ``ValidationError`` where one is no pedestrian."""
    rows = np.flatnonzero((agents.control == Control.SOCIAL) & agents.valid[:, now:].any(1))
    for a in rows[agents.kind[rows] != AgentClass.PEDESTRIAN]:
        raise ValidationError(
            f"agent {agents.ids[a]} with control SOCIAL is a {AgentClass(int(agents.kind[a])).name.lower()}",
            field="agents.control", way_out="social forces move pedestrians only: take IDM or PATH",
        )  # fmt: skip
    return rows


def _side_by_side(worlds: Sequence[World], nows: Sequence[int], drafts: Sequence[_Draft]) -> tuple[Layout, Bodies]:
    counts, steps = [len(world.agents) for world in worlds], [world.steps for world in worlds]
    layout = Layout(
        agent=_offsets(counts),
        cell=_offsets(a * t for a, t in zip(counts, steps, strict=True)),
        pair=_offsets(a * (a + 1) for a in counts),
        clock=_offsets(steps),
        signal=_offsets(world.signals.size for world in worlds),
    )
    ego = _joined([world.ego.states for world in worlds], np.zeros((0, 11)))
    for b, now in enumerate(nows):
        ego[layout.clock[b] + now + 1 : layout.clock[b + 1]] = 0.0
    agents = [world.agents for world in worlds]
    bodies = Bodies(
        mode=_joined([draft.mode for draft in drafts], np.zeros(0, np.uint8)),
        kind=_joined([a.kind for a in agents], np.zeros(0, np.uint8)),
        size=_joined([draft.size[:-1] for draft in drafts], np.zeros((0, 2))),
        ego_size=np.array([draft.size[-1] for draft in drafts]).reshape(-1, 2),
        ego_shift=np.array([world.ego.vehicle.rear_to_center for world in worlds], np.float64),
        ignore=_joined([draft.ignore.ravel() for draft in drafts], np.zeros(0, bool)),
        pose=_joined([a.pose.reshape(-1, 3) for a in agents], np.zeros((0, 3), np.float32)),
        velocity=_joined([a.velocity.reshape(-1, 2) for a in agents], np.zeros((0, 2), np.float32)),
        valid=_joined([a.valid.ravel() for a in agents], np.zeros(0, bool)),
        ego=ego,
        signals=_joined([world.signals.ravel() for world in worlds], np.zeros(0, np.uint8)),
        dt=np.array([world.dt for world in worlds], np.float64),
    )
    return layout, bodies


def _joined(parts: Sequence[NDArray[Any]], like: NDArray[Any]) -> NDArray[Any]:
    """The parts one after the other, in the type and shape of ``like``, which is empty."""
    return np.concatenate([like, *parts]).astype(like.dtype, copy=False)


def _offsets(lengths: Iterable[int]) -> Steps:
    return np.cumsum([0, *lengths], dtype=np.int64)


def _table(agents: Agents, b: int, layout: Layout, bodies: Bodies) -> Agents:
    """Scene ``b``'s agents as views into the flat arrays."""
    cells, shape = slice(layout.cell[b], layout.cell[b + 1]), agents.valid.shape
    return replace(
        agents,
        pose=bodies.pose[cells].reshape(*shape, 3),
        velocity=bodies.velocity[cells].reshape(*shape, 2),
        valid=bodies.valid[cells].reshape(shape),
    )


def _leave_the_log(traffic: Traffic, b: int, nows: Sequence[int]) -> None:
    """From its hand-over on the model says where an agent is: what the log says is forgotten."""
    agents, first = traffic.tables[b], traffic.layout.agent[b]
    for a in range(len(agents)):
        mode, entry = traffic.bodies.mode[first + a], traffic.drivers.entry[first + a]
        if mode not in (REPLAYED, LOGGED):
            forget(agents, a, entry + (mode == DRIVING or (mode == social.MODE and agents.valid[a, nows[b]])))


def forget(agents: Agents, a: int, begin: int) -> None:
    """Clear the rows of an agent from step ``begin`` on."""
    agents.valid[a, begin:] = False
    agents.pose[a, begin:], agents.velocity[a, begin:] = 0.0, 0.0


def rests(agents: Agents, a: int) -> bool:
    """Whether an agent's whole record stays within ``RESTS`` metres."""
    xy = agents.pose[a, agents.valid[a], :2]
    return len(xy) == 0 or bool(np.hypot(*(xy - xy[0]).T).max() < RESTS)


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
        if mode[a] == REPLAYED:
            continue
        for j in range(count + 1):
            if j == a:
                continue
            near = 0.5 * (np.hypot(sizes[a, 0], sizes[a, 1]) + np.hypot(sizes[j, 0], sizes[j, 1])) + margin
            for t in range(entry[a], pose.shape[1]):
                both = valid[a, t] and valid[j, t]
                if both and np.hypot(pose[a, t, 0] - pose[j, t, 0], pose[a, t, 1] - pose[j, t, 1]) <= near:
                    corners(pose[a, t, 0], pose[a, t, 1], pose[a, t, 2], sizes[a, 0], sizes[a, 1] + 2 * margin, scratch[0])
                    corners(pose[j, t, 0], pose[j, t, 1], pose[j, t, 2], sizes[j, 0], sizes[j, 1], scratch[1])
                    if quads_touch(scratch[0], scratch[1]):
                        out[a, j] = True
                        if j < count and mode[j] != REPLAYED:
                            out[j, a] = True
                        break
                if not resting[j] and mode[a] != LOGGED:
                    break
    return out


__all__ = ["Traffic", "rests", "start", "start_all", "world_velocity"]
