"""Agents that repeat their log until something they meet is not as it was in the log: then the model takes over, without a jump.

A body has *changed* when it is not within ``CHANGED`` metres of where the log has it at that step (or is there and was not, or the
other way round). While nothing has changed nobody is released, and the log is repeated exactly. A logged agent is released when

- it would, by its log of the next ``FORESIGHT`` seconds, run into a changed body that keeps its velocity;
- the model's answer to the changed scene asks for braking that is harder by ``ANSWER`` than both its answer to the scene as it was
  and what the log then does; or the log stands or brakes for somebody who is not there any more;
- a changed body has the right of way over it (see ``priority``).

So an agent that the change does not touch repeats its log to the bit, and what was rare in the log stays so until it is touched.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from wetoolkit_driving.geometry import quads_touch
from wetoolkit_driving.jit import inner
from wetoolkit_driving.traffic.idm import MOVING, Drivers, Rules, acceleration, leader
from wetoolkit_driving.traffic.layout import DRIVING, LOGGED, WAITING, Layout, Now, Scene, Steps, clear, corners, look
from wetoolkit_driving.traffic.paths import SPACING, nearest_sample
from wetoolkit_driving.traffic.priority import Ways
from wetoolkit_driving.types import Bool, Double, Float

CHANGED = 0.5  # metres
FORESIGHT, EVERY = 20, 2  # steps looked ahead, and every how many of them
ANSWER = 0.5  # m/s^2
SIDE = 0.2  # metres kept on each side of the boxes that must not meet
QUEUE, FREED = 12.0, 5.0  # metres: who stood behind somebody so near has stood for it; how much further that one is now
SOON = 5  # steps over which the log's own acceleration is measured


class Log(NamedTuple):
    """What the log says of all bodies, laid out as ``Bodies`` is; empty where no agent of the batch repeats it until touched."""

    pose: Float
    velocity: Float
    valid: Bool
    ego: Double
    released: Steps  # [N] step at which an agent left it, -1 for never


@inner
def logged_scene(b: int, scene: Scene, layout: Layout, log: Log) -> Scene:
    """The scene ``b`` as it was in the log; its agents' modes are the scene's own."""
    shape, cells = scene.valid.shape, slice(layout.cell[b], layout.cell[b + 1])
    return Scene(
        scene.first, scene.mode, log.pose[cells].reshape((shape[0], shape[1], 3)),
        log.velocity[cells].reshape((shape[0], shape[1], 2)), log.valid[cells].reshape(shape),
        log.ego[layout.clock[b] : layout.clock[b + 1]], scene.ego_shift, scene.ignore, scene.signals, scene.dt,
    )  # fmt: skip


@inner
def release(
    t: int, scene: Scene, now: Now, past: Scene, was: Now, drivers: Drivers, rules: Rules, log: Log, ways: Ways, work: Double
) -> None:  # fmt: skip
    """Hand over those logged agents of a scene that are touched at step ``t``; ``past`` and ``was`` are the scene as logged."""
    if not (scene.mode == LOGGED).any():
        return
    look(t, past, was)
    changed = _changed(now, was)
    for a in range(len(scene.mode)):
        if scene.mode[a] != LOGGED:
            continue
        if now.there[a]:
            if changed.any() and _touched(a, t, scene, now, past, was, changed, drivers, rules, ways, work):
                _let_go(a, t, scene, now, drivers, log)
        elif t + 1 < scene.valid.shape[1] and scene.valid[a, t + 1] and _taken(a, t, scene, now, changed, work):
            scene.mode[a], drivers.entry[scene.first + a] = WAITING, t + 1
            log.released[scene.first + a] = t + 1
            for later in range(t + 1, scene.valid.shape[1]):
                clear(scene, a, later)


@inner
def _changed(now: Now, was: Now) -> Bool:
    """[M] which bodies are not where the log has them."""
    out = np.zeros(len(now.there), np.bool_)
    for j in range(len(out)):
        apart = np.hypot(now.pose[j, 0] - was.pose[j, 0], now.pose[j, 1] - was.pose[j, 1])
        out[j] = now.there[j] != was.there[j] or (now.there[j] and apart > CHANGED)
    return out


@inner
def keep_up(scene: Scene, now: Now, drivers: Drivers) -> None:
    """Keep arc length and speed of the logged agents of a scene up to date."""
    for a in range(len(scene.mode)):
        if scene.mode[a] != LOGGED or not now.there[a]:
            continue
        row = scene.first + a
        path = drivers.paths[drivers.offset[row] : drivers.offset[row + 1]]
        k, _ = nearest_sample(path, now.pose[a, 0], now.pose[a, 1])
        n = min(k, len(path) - 2)
        dx, dy = path[n + 1, 0] - path[n, 0], path[n + 1, 1] - path[n, 1]
        beyond = ((now.pose[a, 0] - path[n, 0]) * dx + (now.pose[a, 1] - path[n, 1]) * dy) / max(np.hypot(dx, dy), 1e-9)
        drivers.s[row] = min(max(n * SPACING + beyond, 0.0), (len(path) - 1) * SPACING)
        drivers.v[row] = np.hypot(now.speed[a, 0], now.speed[a, 1])


@inner
def _touched(
    a: int, t: int, scene: Scene, now: Now, past: Scene, was: Now, changed: Bool, drivers: Drivers, rules: Rules, ways: Ways,
    work: Double,
) -> bool:  # fmt: skip
    if _runs_into(a, t, scene, now, changed, work):
        return True
    row = scene.first + a
    s, v, p = drivers.s[row], drivers.v[row], drivers.parameters[row]
    path = drivers.paths[drivers.offset[row] : drivers.offset[row + 1]]
    wanted = max(drivers.wanted[drivers.offset[row] + min(int(s / SPACING), len(path) - 1)], v)
    gap, pace = leader(a, path, s, v, p, scene, now, rules, work)
    answer = acceleration(v, wanted, gap, v - pace, p)
    gap_was, pace = leader(a, path, s, v, p, past, was, rules, work)
    before = acceleration(v, wanted, gap_was, v - pace, p)
    does = _logged_acceleration(a, t, scene, v)
    if answer < min(before, does) - ANSWER:
        return True
    if before < -ANSWER and answer > max(before, does) + ANSWER:
        return True
    if v < MOVING and does < ANSWER and gap_was < QUEUE and gap > gap_was + FREED:
        return True
    holder = ways.holder[a]
    yields = acceleration(v, wanted, ways.limit[a], v, p) < does - ANSWER
    return bool(holder >= 0 and changed[holder] and yields)


@inner
def _logged_acceleration(a: int, t: int, scene: Scene, v: float) -> float:
    """What the log does next, m/s^2, as far as it is known."""
    last = t
    while last < min(t + SOON, scene.valid.shape[1] - 1) and scene.valid[a, last + 1]:
        last += 1
    if last == t:
        return 0.0
    later = np.hypot(np.float64(scene.velocity[a, last, 0]), np.float64(scene.velocity[a, last, 1]))
    return float((later - v) / ((last - t) * scene.dt))


@inner
def _runs_into(a: int, t: int, scene: Scene, now: Now, changed: Bool, work: Double) -> bool:
    """Whether the log of the next seconds meets the box of a changed body that keeps its velocity."""
    reach = np.hypot(now.size[a, 0], now.size[a, 1]) + FORESIGHT * scene.dt * np.hypot(now.speed[a, 0], now.speed[a, 1])
    for j in range(len(changed)):
        if not changed[j] or not now.there[j] or j == a or scene.ignore[a, j]:
            continue
        vx, vy = now.speed[j, 0], now.speed[j, 1]
        apart = np.hypot(now.pose[j, 0] - now.pose[a, 0], now.pose[j, 1] - now.pose[a, 1])
        if apart > reach + now.size[j, 0] + FORESIGHT * scene.dt * np.hypot(vx, vy) + 20.0:
            continue
        for ahead in range(EVERY, FORESIGHT + 1, EVERY):
            if t + ahead >= scene.valid.shape[1] or not scene.valid[a, t + ahead]:
                break
            pose = scene.pose[a, t + ahead]
            corners(pose[0], pose[1], pose[2], now.size[a, 0] + 2 * SIDE, now.size[a, 1] + 2 * SIDE, work[0])
            for i in range(4):
                work[1, i, 0] = now.corner[j, i, 0] + ahead * scene.dt * vx
                work[1, i, 1] = now.corner[j, i, 1] + ahead * scene.dt * vy
            if quads_touch(work[0], work[1]):
                return True
    return False


@inner
def _taken(a: int, t: int, scene: Scene, now: Now, changed: Bool, work: Double) -> bool:
    """Whether a changed body stands where an agent is about to appear."""
    pose = scene.pose[a, t + 1]
    corners(pose[0], pose[1], pose[2], now.size[a, 0], now.size[a, 1], work[0])
    for j in range(len(changed)):
        if changed[j] and now.there[j] and not scene.ignore[a, j] and quads_touch(work[0], now.corner[j]):
            return True
    return False


@inner
def _let_go(a: int, t: int, scene: Scene, now: Now, drivers: Drivers, log: Log) -> None:
    """From the logged pose at ``t`` on the model moves it; how far that is beside its path fades while it drives."""
    row = scene.first + a
    path = drivers.paths[drivers.offset[row] : drivers.offset[row + 1]]
    s = drivers.s[row]
    k = min(int(s / SPACING), len(path) - 2)
    part = s / SPACING - k
    for i in range(3):
        drivers.shift[row, i] = now.pose[a, i] - (path[k, i] + part * (path[k + 1, i] - path[k, i]))
    drivers.shift[row, 2] = np.arctan2(np.sin(drivers.shift[row, 2]), np.cos(drivers.shift[row, 2]))
    drivers.since[row] = s
    scene.mode[a], log.released[row] = DRIVING, t
    for later in range(t + 1, scene.valid.shape[1]):
        clear(scene, a, later)


__all__ = ["Log", "keep_up", "logged_scene", "release"]
