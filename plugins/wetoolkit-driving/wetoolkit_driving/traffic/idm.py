"""The intelligent driver model along paths, as kernels: who is in the way, how hard to brake, one step for all agents of a scene.

At time t everybody looks at everybody (the ego included) as they are at t, then all move to t + 1 at once: the order of agents
changes nothing. An agent's leader is the first body ahead that reaches into the strip its own box will sweep along its path, so
that a parked car beside the strip is none; crossing traffic counts a little before it is there (``anticipation``); a red signal
is a standing leader at its stop line, and so is a yellow one where a comfortable stop is possible.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from wetoolkit_driving.geometry import quads_touch
from wetoolkit_driving.jit import inner, kernel
from wetoolkit_driving.traffic.layout import DRIVING, WAITING, Now, Scene, Steps, clear, corners, put
from wetoolkit_driving.traffic.manners import ACCELERATION, DECELERATION, EMERGENCY, GAP, HEADWAY
from wetoolkit_driving.traffic.paths import SPACING
from wetoolkit_driving.types import Byte, Double, Signal

EXPONENT = 4.0  # of the free road
NEAREST = 0.1  # metres: gaps are not taken smaller, so that nothing is divided by zero
FADE = 10.0  # metres after which an agent that left its log is on its path
MOVING = 0.5  # m/s: slower bodies cross nothing soon
RED, YELLOW = int(Signal.RED), int(Signal.YELLOW)
CLASS_PEDESTRIAN = 1


@kernel
def acceleration(v: float, wanted: float, gap: float, closing: float, p: Double) -> float:
    """IDM acceleration [m/s^2] at speed v behind a leader ``gap`` metres ahead, approached at ``closing`` m/s (no leader: inf).

    Free road: a (1 - (v / v0)^4) below the wanted speed v0, above it -b (1 - (v0 / v)^(4 a / b)), the improved model's term. With a
    leader: minus a (s* / gap)^2, s* = gap0 + max(0, v T + v dv / (2 sqrt(a b))). Never below -emergency.
    """
    a, b = p[ACCELERATION], p[DECELERATION]
    v0 = max(wanted, 0.01)
    free = a * (1.0 - (v / v0) ** EXPONENT) if v <= v0 else -b * (1.0 - (v0 / v) ** (EXPONENT * a / b))
    if gap < np.inf:
        desired = p[GAP] + max(0.0, v * p[HEADWAY] + v * closing / (2.0 * np.sqrt(a * b)))
        free -= a * (desired / max(gap, NEAREST)) ** 2
    return float(max(free, -p[EMERGENCY]))


@inner
def first_contact(path: Double, first: int, last: int, half_width: float, body: Double, radius: float, cell: Double) -> int:
    """The first sample of ``path`` [K, 3] in [first, last) whose cell of the swept strip touches the body's corners; -1 for none.

    ``radius`` is that of the body's circle around its centre, which is the mean of its corners.
    """
    x, y = 0.5 * (body[0, 0] + body[2, 0]), 0.5 * (body[0, 1] + body[2, 1])
    reach = radius + half_width + SPACING
    k = first
    while k < last:
        dx, dy = path[k, 0] - x, path[k, 1] - y
        square = dx * dx + dy * dy
        if square > reach * reach:
            k += max(1, int((np.sqrt(square) - reach) / SPACING))  # samples are SPACING apart: nearer ones cannot come sooner
            continue
        n = min(k + 1, len(path) - 1)
        dx, dy = path[n, 0] - path[n - 1, 0], path[n, 1] - path[n - 1, 1]
        norm = max(np.sqrt(dx * dx + dy * dy), 1e-9)
        ux, uy = 0.5 * SPACING * dx / norm, 0.5 * SPACING * dy / norm  # half a cell forward
        wx, wy = -half_width * dy / norm, half_width * dx / norm  # to its left edge
        cell[0, 0], cell[0, 1] = path[k, 0] + ux + wx, path[k, 1] + uy + wy
        cell[1, 0], cell[1, 1] = path[k, 0] - ux + wx, path[k, 1] - uy + wy
        cell[2, 0], cell[2, 1] = path[k, 0] - ux - wx, path[k, 1] - uy - wy
        cell[3, 0], cell[3, 1] = path[k, 0] + ux - wx, path[k, 1] + uy - wy
        if quads_touch(cell, body):
            return k
        k += 1
    return -1


class Drivers(NamedTuple):
    """What the model knows of the agents it moves or may move, flat over all scenes; rows of others are empty."""

    entry: Steps  # [N] step at which it is handed over
    s: Double  # [N] metres along its path
    v: Double  # [N] m/s
    delayed: Steps  # [N] steps it had to wait because its place was taken
    parameters: Double  # [N, 7] see manners
    offset: Steps  # [N + 1] of its path
    paths: Double  # [K, 3] box centre and heading every SPACING metres
    wanted: Double  # [K] m/s its driver wants there
    stop_offset: Steps  # [N + 1] of its stop lines
    stops: Double  # [S, 2] arc length [m], row of the signal
    shift: Double  # [N, 3] how far beside its path (x, y, heading) it was when it left its log
    since: Double  # [N] metres along its path at which it did


class Rules(NamedTuple):
    """What holds for everybody."""

    margin: float  # metres kept on each side of the path a body sweeps
    anticipation: float  # seconds for which crossing traffic is seen coming


@kernel
def leader(
    a: int, path: Double, s: float, v: float, p: Double, scene: Scene, now: Now, rules: Rules, work: Double
) -> tuple[float, float]:
    """(gap [m], speed along the path [m/s]) of the nearest of all bodies in the way of agent ``a``; (inf, 0) for none."""
    stop = v * v / (2.0 * p[DECELERATION]) + v * p[HEADWAY] + p[GAP] + 10.0
    front = 0.5 * now.size[a, 0]
    begin = int(s / SPACING) + 1
    end = min(len(path), int((s + front + stop) / SPACING) + 2)
    half = 0.5 * now.size[a, 1] + rules.margin
    here = min(begin, len(path) - 1)
    cx, cy = path[here, 0] - path[here - 1, 0], path[here, 1] - path[here - 1, 1]
    body, cell = work[0], work[1]
    gap, pace = np.inf, 0.0
    for j in range(len(now.there)):
        if j == a or not now.there[j] or scene.ignore[a, j]:
            continue
        if now.kind[a] == CLASS_PEDESTRIAN and now.kind[j] == CLASS_PEDESTRIAN:
            continue  # people walk round each other
        dx, dy = now.pose[j, 0] - now.pose[a, 0], now.pose[j, 1] - now.pose[a, 1]
        vx, vy = now.speed[j, 0], now.speed[j, 1]
        fast = np.sqrt(vx * vx + vy * vy)
        behind = dx * cx + dy * cy <= 0.0
        if behind and fast < MOVING:
            continue
        radius = 0.5 * np.sqrt(now.size[j, 0] ** 2 + now.size[j, 1] ** 2)
        reach = front + stop + radius + half + fast * rules.anticipation
        if dx * dx + dy * dy > reach * reach:
            continue
        looks = 1 + (int(np.ceil(rules.anticipation / 0.5)) if fast > MOVING else 0)
        for step in range(looks):
            ahead = min(0.5 * step, rules.anticipation)
            if step == 0 and behind:
                continue  # beside or behind: that one yields
            for i in range(4):
                body[i, 0], body[i, 1] = now.corner[j, i, 0] + ahead * vx, now.corner[j, i, 1] + ahead * vy
            k = first_contact(path, begin, end, half, body, radius, cell)
            if k < 0:
                continue
            n = min(k + 1, len(path) - 1)
            ux, uy = path[n, 0] - path[n - 1, 0], path[n, 1] - path[n - 1, 1]
            along = (vx * ux + vy * uy) / max(np.hypot(ux, uy), 1e-9)
            if step > 0 and (abs(along) > 0.866 * fast or k * SPACING < s + front):
                continue  # only what crosses (30 to 150 degrees), and not what will pass under the agent's own box
            room = k * SPACING - SPACING / 2 - s - front
            if room < gap:
                gap, pace = room, max(along, 0.0)
            break
    return gap, pace


@kernel
def signal_gap(s: float, v: float, front: float, p: Double, stops: Double, signals: Byte, t: int) -> float:
    """Metres from the agent's front to the next stop line that holds it; inf for none. A line already passed holds nobody."""
    for i in range(len(stops)):
        room = stops[i, 0] - s - front
        state = signals[int(stops[i, 1]), t]
        if room > -0.5 and (state == RED or (state == YELLOW and v * v <= 2.0 * p[DECELERATION] * max(room, 0.0))):
            return float(max(room, 0.0))
    return np.inf


@inner
def advance(v: float, act: float, dt: float) -> tuple[float, float]:
    """(metres moved, speed after) in a step: where it comes to rest within it, it has gone v^2 / (2 |act|)."""
    after = max(0.0, v + act * dt)
    return (0.5 * v * v / -act if after == 0.0 and act < 0.0 else 0.5 * (v + after) * dt), after


@inner
def step(
    t: int, scene: Scene, now: Now, drivers: Drivers, rules: Rules, limit: Double, room: Double, work: Double
) -> None:  # fmt: skip
    """Move a scene's driving agents from step ``t``, as ``now`` has it, to t + 1.

    ``limit`` [M]: metres each may go for those who have the right of way. Filled in: ``room`` [M], metres to a standing leader or
    a line that holds it. ``work`` is [2, 4, 2] of scratch.
    """
    for a in range(len(scene.mode)):
        if scene.mode[a] != DRIVING:
            continue
        row = scene.first + a
        path = drivers.paths[drivers.offset[row] : drivers.offset[row + 1]]
        s, v, p = drivers.s[row], drivers.v[row], drivers.parameters[row]
        wanted = drivers.wanted[drivers.offset[row] + min(int(s / SPACING), len(path) - 1)]
        gap, pace = leader(a, path, s, v, p, scene, now, rules, work)
        stops = drivers.stops[drivers.stop_offset[row] : drivers.stop_offset[row + 1]]
        line = signal_gap(s, v, 0.5 * now.size[a, 0], p, stops, scene.signals, t)
        room[a] = min(gap if pace < MOVING else np.inf, line)
        act = min(acceleration(v, wanted, gap, v - pace, p), acceleration(v, wanted, min(line, limit[a]), v, p))
        moved, drivers.v[row] = advance(v, act, scene.dt)
        drivers.s[row] = min(s + moved, (len(path) - 1) * SPACING)
        place(a, t + 1, path, drivers.s[row], drivers.v[row], scene)
        fade = max(0.0, 1.0 - (drivers.s[row] - drivers.since[row]) / FADE) ** 2
        for i in range(3):  # in float32 as the rest; the heading's sum is at most a little beyond [-pi, pi)
            scene.pose[a, t + 1, i] += fade * drivers.shift[row, i]


@inner
def place(a: int, t: int, path: Double, s: float, v: float, scene: Scene) -> None:
    """Put agent ``a`` at arc length ``s`` of its path at step ``t``."""
    k = min(int(s / SPACING), len(path) - 2)
    part = s / SPACING - k
    dx, dy = path[k + 1, 0] - path[k, 0], path[k + 1, 1] - path[k, 1]
    norm = max(np.hypot(dx, dy), 1e-9)
    heading = path[k, 2] + part * (path[k + 1, 2] - path[k, 2])
    put(scene, a, t, path[k, 0] + part * dx, path[k, 1] + part * dy, heading, v * dx / norm, v * dy / norm)


@inner
def appear(t: int, scene: Scene, now: Now, drivers: Drivers, work: Double) -> None:
    """Let those in that are due at step ``t`` and whose place is free in ``now``, the scene at ``t``; the others wait on."""
    for a in range(len(scene.mode)):
        row = scene.first + a
        if scene.mode[a] != WAITING or drivers.entry[row] > t:
            continue
        path = drivers.paths[drivers.offset[row] : drivers.offset[row + 1]]
        corners(path[0, 0], path[0, 1], path[0, 2], now.size[a, 0], now.size[a, 1], work[0])
        if _free(a, work[0], scene, now):
            scene.mode[a] = DRIVING
            place(a, t, path, drivers.s[row], drivers.v[row], scene)
            now.there[a] = True
            for i in range(3):
                now.pose[a, i] = path[0, i]
            for i in range(4):
                now.corner[a, i, 0], now.corner[a, i, 1] = work[0, i, 0], work[0, i, 1]
        else:
            drivers.delayed[row] += 1
            clear(scene, a, t)


@inner
def _free(a: int, box: Double, scene: Scene, now: Now) -> bool:
    for j in range(len(now.there)):
        if j != a and now.there[j] and not scene.ignore[a, j] and quads_touch(box, now.corner[j]):
            return False
    return True


__all__ = ["Drivers", "Rules", "acceleration", "advance", "appear", "first_contact", "leader", "place", "signal_gap", "step"]
