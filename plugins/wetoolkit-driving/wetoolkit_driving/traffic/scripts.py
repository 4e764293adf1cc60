"""Scripted events: somebody brakes, cuts in, steps onto the road, opens a door, when it is time or when the ego is near.

What will happen is part of a world (``World.scripts``), whatever moves the agent else. A script is looked at once a step; it fires
once. From then on the agent follows the script along a path in place (its model's own path, or its log's), shifted by what it was
beside it, so that nobody jumps; after a braking of so many seconds, and after a cut-in, it goes on by the intelligent driver model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from wetoolkit_driving.jit import inner
from wetoolkit_driving.traffic.idm import Drivers, advance, place
from wetoolkit_driving.traffic.layout import DRIVING, Now, Scene, Steps
from wetoolkit_driving.traffic.paths import SPACING, nearest_sample
from wetoolkit_driving.traffic.social import MODE as WALKING
from wetoolkit_driving.traffic.social import Walkers
from wetoolkit_driving.types import Action, Bool, Double, Float, World

MODE = 4  # ``Bodies.mode`` of agents that follow a script
BRAKE, CUT_IN, CROSS, APPEAR = (int(action) for action in Action)
LEAST = 4.0  # metres: no cut-in is shorter along its path
NEVER = -1


class Events(NamedTuple):
    """The E scripts of B scenes. ``fired`` is a state, written by ``fire``."""

    first: Steps  # [B + 1] scene b's events are first[b]..first[b + 1]
    agent: Steps  # [E] row among its scene's agents
    action: Steps  # [E]
    at: Steps  # [E] step from which it may fire
    within: Double  # [E] metres from the ego, 0: at once
    value: Double  # [E]
    seconds: Double  # [E]
    goal: Double  # [E, 2] metres
    shown_offset: Steps  # [E + 1] into the hidden records of those that appear
    pose: Float  # [n, 3] one a step of the world
    velocity: Float  # [n, 2]
    there: Bool  # [n]
    fired: Steps  # [E] step, -1 before


def events_of(world: World, now: int) -> Events:
    """The scripts of one scene that starts at step ``now``; ``Script.at`` is seconds of the world's own clock."""
    agents, scripts = world.agents, world.scripts
    rows = np.array([agents.ids.index(script.agent) for script in scripts], np.int64)
    hidden = [row if script.action == Action.APPEAR else None for row, script in zip(rows, scripts, strict=True)]
    shown = [row for row in hidden if row is not None]
    return Events(
        first=np.array([0, len(scripts)], np.int64),
        agent=rows,
        action=np.array([int(script.action) for script in scripts], np.int64),
        at=np.array([max(now, int(np.ceil(script.at / world.dt - 1e-6))) for script in scripts], np.int64),
        within=np.array([script.within for script in scripts], np.float64),
        value=np.array([script.value for script in scripts], np.float64),
        seconds=np.array([script.seconds for script in scripts], np.float64),
        goal=np.array([(script.x, script.y) for script in scripts], np.float64).reshape(-1, 2),
        shown_offset=np.cumsum([0, *(0 if row is None else world.steps for row in hidden)], dtype=np.int64),
        pose=np.concatenate([np.zeros((0, 3), np.float32), *(agents.pose[row] for row in shown)]),
        velocity=np.concatenate([np.zeros((0, 2), np.float32), *(agents.velocity[row] for row in shown)]),
        there=np.concatenate([np.zeros(0, bool), *(agents.valid[row] for row in shown)]),
        fired=np.full(len(scripts), NEVER, np.int64),
    )


def hidden(world: World, now: int) -> World:
    """The world without what is to appear after ``now``: nobody's log, nobody's obstacle before it does."""
    rows = [world.agents.ids.index(script.agent) for script in world.scripts if script.action == Action.APPEAR]
    if not rows:
        return world
    arrays = {name: getattr(world.agents, name).copy() for name in ("pose", "velocity", "valid")}
    for array in arrays.values():
        array[rows, now + 1 :] = 0
    return replace(world, agents=replace(world.agents, **arrays))


def join(parts: Sequence[Events]) -> Events:
    """The events of many scenes, in order."""
    none, numbers = np.zeros(0, np.int64), np.zeros(0)
    pose, velocity = np.zeros((0, 3), np.float32), np.zeros((0, 2), np.float32)
    start, seen = np.zeros(1, np.int64), np.zeros(0, bool)
    empty = Events(start, none, none, none, numbers, numbers, numbers, np.zeros((0, 2)), start, pose, velocity, seen, none)
    parts = [empty, *parts]
    flat = Events(*(np.concatenate([getattr(part, name) for part in parts]) for name in Events._fields))
    counts = np.cumsum([0, *(len(part.agent) for part in parts[1:])], dtype=np.int64)
    sizes = np.cumsum([0, *(len(part.there) for part in parts)], dtype=np.int64)
    shown = [part.shown_offset[:-1] + start for part, start in zip(parts, sizes, strict=False)]
    return flat._replace(first=counts, shown_offset=np.concatenate([*shown, sizes[-1:]]))


@inner
def fire(t: int, b: int, scene: Scene, now: Now, events: Events, drivers: Drivers, walkers: Walkers) -> None:
    """Let the scripts of scene ``b`` that are due at step ``t``, as ``now`` shows it, take their agents over."""
    ego = len(scene.mode)
    for e in range(events.first[b], events.first[b + 1]):
        a = events.agent[e]
        if events.fired[e] != NEVER or t < events.at[e]:
            continue
        appears = events.action[e] == APPEAR
        shown = events.shown_offset[e] + t
        if not (events.there[shown] if appears else now.there[a]) and not (appears and events.within[e] == 0.0):
            continue
        x, y = (events.pose[shown, 0], events.pose[shown, 1]) if appears else (now.pose[a, 0], now.pose[a, 1])
        if events.within[e] > 0.0 and np.hypot(x - now.pose[ego, 0], y - now.pose[ego, 1]) > events.within[e]:
            continue
        events.fired[e] = t
        if appears:
            _show(t, e, a, scene, events)
        else:
            _take(b, e, a, scene, now, events, drivers, walkers)


@inner
def _show(t: int, e: int, a: int, scene: Scene, events: Events) -> None:
    """From step t + 1 on the agent is where its record says."""
    for u in range(t + 1, scene.valid.shape[1]):
        k = events.shown_offset[e] + u
        scene.valid[a, u] = events.there[k]
        for i in range(3):
            scene.pose[a, u, i] = events.pose[k, i]
        scene.velocity[a, u, 0], scene.velocity[a, u, 1] = events.velocity[k, 0], events.velocity[k, 1]


@inner
def _take(b: int, e: int, a: int, scene: Scene, now: Now, events: Events, drivers: Drivers, walkers: Walkers) -> None:
    """Stop whatever moved the agent, and lay the path that it will follow."""
    row = scene.first + a
    path = drivers.paths[drivers.offset[row] : drivers.offset[row + 1]]
    x, y = now.pose[a, 0], now.pose[a, 1]
    if scene.mode[a] != DRIVING:
        drivers.v[row] = np.hypot(now.speed[a, 0], now.speed[a, 1])
        drivers.s[row] = _along(path, x, y)
    if scene.mode[a] == WALKING:
        for i in range(walkers.first[b], walkers.first[b + 1]):
            walkers.started[i] = walkers.started[i] and walkers.agent[i] != a
    scene.mode[a] = MODE
    if events.action[e] == CROSS:
        _straight(path, x, y, events.goal[e], now.pose[a, 2])
        drivers.s[row], drivers.v[row] = 0.0, events.value[e]
        for k in range(drivers.offset[row], drivers.offset[row + 1]):
            drivers.wanted[k] = events.value[e]
        return
    _shift(path, drivers.s[row], x, y)
    if events.action[e] == CUT_IN:
        _swing(path, drivers.s[row], events.value[e], max(drivers.v[row] * events.seconds[e], LEAST))


@inner
def _along(path: Double, x: float, y: float) -> float:
    """Arc length of the place on a path nearest to (x, y), metres."""
    k, _ = nearest_sample(path, x, y)
    k = min(k, len(path) - 2)
    dx, dy = path[k + 1, 0] - path[k, 0], path[k + 1, 1] - path[k, 1]
    part = ((x - path[k, 0]) * dx + (y - path[k, 1]) * dy) / max(dx * dx + dy * dy, 1e-9)
    return float(max((k + min(max(part, -0.5), 1.0)) * SPACING, 0.0))


@inner
def _shift(path: Double, s: float, x: float, y: float) -> None:
    """Move a path so that it passes through (x, y) at arc length ``s``."""
    k = min(int(s / SPACING), len(path) - 2)
    part = s / SPACING - k
    dx = x - path[k, 0] - part * (path[k + 1, 0] - path[k, 0])
    dy = y - path[k, 1] - part * (path[k + 1, 1] - path[k, 1])
    for i in range(len(path)):
        path[i, 0], path[i, 1] = path[i, 0] + dx, path[i, 1] + dy


@inner
def _straight(path: Double, x: float, y: float, goal: Double, heading: float) -> None:
    """Make a path straight from (x, y) towards ``goal``."""
    length = np.hypot(goal[0] - x, goal[1] - y)
    ux, uy = ((goal[0] - x) / length, (goal[1] - y) / length) if length > 1e-6 else (np.cos(heading), np.sin(heading))
    for i in range(len(path)):
        path[i, 0], path[i, 1], path[i, 2] = x + i * SPACING * ux, y + i * SPACING * uy, np.arctan2(uy, ux)


@inner
def _swing(path: Double, s: float, aside: float, length: float) -> None:
    """Move a path ``aside`` metres to its left between arc lengths ``s`` and s + ``length``, along the quintic
    10 q^3 - 15 q^4 + 6 q^5, whose first and second derivatives vanish at both ends."""
    for i in range(len(path)):
        q = min(max((i * SPACING - s) / length, 0.0), 1.0)
        shift = aside * q**3 * (10.0 - 15.0 * q + 6.0 * q * q)
        slope = aside / length * 30.0 * q * q * (1.0 - q) ** 2
        c, si = np.cos(path[i, 2]), np.sin(path[i, 2])
        path[i, 0], path[i, 1], path[i, 2] = path[i, 0] - shift * si, path[i, 1] + shift * c, path[i, 2] + np.arctan(slope)


@inner
def follow(t: int, b: int, scene: Scene, events: Events, drivers: Drivers) -> None:
    """Move the scripted agents of scene ``b`` from step ``t`` to t + 1."""
    for e in range(events.first[b], events.first[b + 1]):
        a = events.agent[e]
        if events.fired[e] == NEVER or scene.mode[a] != MODE:
            continue
        row, act = scene.first + a, 0.0
        path = drivers.paths[drivers.offset[row] : drivers.offset[row + 1]]
        if events.action[e] == BRAKE:
            act = -events.value[e]
        elif events.action[e] == CROSS:
            left = np.hypot(events.goal[e, 0] - path[0, 0], events.goal[e, 1] - path[0, 1]) - drivers.s[row]
            act = -np.inf if left <= 0.0 else 0.0
        if act == -np.inf:
            moved, drivers.v[row] = 0.0, 0.0
        else:
            moved, drivers.v[row] = advance(drivers.v[row], act, scene.dt)
        drivers.s[row] = min(drivers.s[row] + moved, (len(path) - 1) * SPACING)
        place(a, t + 1, path, drivers.s[row], drivers.v[row], scene)
        over = (t + 1 - events.fired[e]) * scene.dt >= events.seconds[e] - 1e-9
        if events.seconds[e] > 0.0 and over and events.action[e] != CROSS:
            scene.mode[a] = DRIVING


__all__ = ["MODE", "Events", "events_of", "fire", "follow", "hidden", "join"]
