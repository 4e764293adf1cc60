"""The intelligent driver model along paths, as kernels: who is in the way, how hard to brake, one step for all agents of a scene.

At time t everybody looks at everybody (the ego included) as they are at t, then all move to t + 1 at once: the order of agents
changes nothing. An agent's leader is the first body ahead that reaches into the strip its own box will sweep along its path, so
that a parked car beside the strip is none; crossing traffic counts a little before it is there (``anticipation``); a red signal
is a standing leader at its stop line, and so is a yellow one where a comfortable stop is possible.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wetoolkit_driving.geometry import quads_touch
from wetoolkit_driving.jit import kernel
from wetoolkit_driving.traffic.manners import ACCELERATION, DECELERATION, EMERGENCY, GAP, HEADWAY
from wetoolkit_driving.traffic.paths import SPACING
from wetoolkit_driving.types import Bool, Byte, Double, Float, Signal

Steps = NDArray[np.int64]

EXPONENT = 4.0  # of the free road
NEAREST = 0.1  # metres: gaps are not taken smaller, so that nothing is divided by zero
MOVING = 0.5  # m/s: slower bodies cross nothing soon
RED, YELLOW = int(Signal.RED), int(Signal.YELLOW)
REPLAYED, DRIVING, WAITING = 0, 1, 2  # what an agent does; WAITING: to appear later, as recorded
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


@kernel
def corners(x: float, y: float, heading: float, length: float, width: float, out: Double) -> None:
    """Corners [4, 2] (FL, RL, RR, FR) of a box."""
    c, s = np.cos(heading), np.sin(heading)
    for k in range(4):
        dx = 0.5 * length if k == 0 or k == 3 else -0.5 * length
        dy = 0.5 * width if k < 2 else -0.5 * width
        out[k, 0], out[k, 1] = x + c * dx - s * dy, y + s * dx + c * dy


@kernel
def first_contact(path: Double, first: int, last: int, half_width: float, body: Double, radius: float, cell: Double) -> int:
    """The first sample of ``path`` [K, 3] in [first, last) whose cell of the swept strip touches the body's corners; -1 for none.

    ``radius`` is that of the body's circle around its centre, which is the mean of its corners.
    """
    x, y = 0.5 * (body[0, 0] + body[2, 0]), 0.5 * (body[0, 1] + body[2, 1])
    reach = radius + half_width + SPACING
    k = first
    while k < last:
        distance = np.hypot(path[k, 0] - x, path[k, 1] - y)
        if distance > reach:
            k += max(1, int((distance - reach) / SPACING))  # samples are SPACING apart: nearer ones cannot come sooner
            continue
        n = min(k + 1, len(path) - 1)
        course = np.arctan2(path[n, 1] - path[n - 1, 1], path[n, 0] - path[n - 1, 0])
        corners(path[k, 0], path[k, 1], course, SPACING, 2.0 * half_width, cell)
        if quads_touch(cell, body):
            return k
        k += 1
    return -1


@kernel
def leader(
    agent: int, t: int, path: Double, s: float, v: float, p: Double, margin: float, anticipation: float,
    bodies: Double, speeds: Double, sizes: Double, there: Bool, kind: Byte, ignore: Bool, scratch: Double,
) -> tuple[float, float]:  # fmt: skip
    """(gap [m], speed along the path [m/s]) of the nearest of all bodies [M, 3] in the agent's way; (inf, 0) for none."""
    stop = v * v / (2.0 * p[DECELERATION]) + v * p[HEADWAY] + p[GAP] + 10.0
    front = 0.5 * sizes[agent, 0]
    begin = int(s / SPACING) + 1
    end = min(len(path), int((s + front + stop) / SPACING) + 2)
    half = 0.5 * sizes[agent, 1] + margin
    here = min(begin, len(path) - 1)
    cx, cy = path[here, 0] - path[here - 1, 0], path[here, 1] - path[here - 1, 1]
    body, cell = scratch[0], scratch[1]
    gap, pace = np.inf, 0.0
    for j in range(len(bodies)):
        if j == agent or not there[j] or ignore[agent, j] or (kind[agent] == CLASS_PEDESTRIAN and kind[j] == CLASS_PEDESTRIAN):
            continue  # people walk round each other
        dx, dy = bodies[j, 0] - bodies[agent, 0], bodies[j, 1] - bodies[agent, 1]
        radius = 0.5 * np.hypot(sizes[j, 0], sizes[j, 1])
        fast = np.hypot(speeds[j, 0], speeds[j, 1])
        if dx * cx + dy * cy <= 0.0 and fast < MOVING:
            continue
        if np.hypot(dx, dy) > front + stop + radius + half + fast * anticipation:
            continue
        looks = 1 + (int(np.ceil(anticipation / 0.5)) if fast > MOVING else 0)
        for look in range(looks):
            ahead = min(0.5 * look, anticipation)
            x, y = bodies[j, 0] + ahead * speeds[j, 0], bodies[j, 1] + ahead * speeds[j, 1]
            if look == 0 and dx * cx + dy * cy <= 0.0:
                continue  # beside or behind: that one yields
            corners(x, y, bodies[j, 2], sizes[j, 0], sizes[j, 1], body)
            k = first_contact(path, begin, end, half, body, radius, cell)
            if k < 0:
                continue
            n = min(k + 1, len(path) - 1)
            ux, uy = path[n, 0] - path[n - 1, 0], path[n, 1] - path[n - 1, 1]
            norm = max(np.hypot(ux, uy), 1e-9)
            along = (speeds[j, 0] * ux + speeds[j, 1] * uy) / norm
            if look > 0 and (abs(along) > 0.866 * fast or k * SPACING < s + front):
                continue  # only what crosses (30 to 150 degrees), and not what will pass under the agent's own box
            room = k * SPACING - SPACING / 2 - s - front
            if room < gap:
                gap, pace = room, max(along, 0.0)
            break
    return gap, pace


@kernel
def signal_gap(s: float, v: float, front: float, p: Double, stops: Double, signals: Byte, t: int) -> float:
    """Metres from the agent's front to the next stop line that holds it; inf for none. A line already passed holds nobody."""
    now = min(t, signals.shape[1] - 1)
    for i in range(len(stops)):
        room = stops[i, 0] - s - front
        state = signals[int(stops[i, 1]), now]
        if room > -0.5 and (state == RED or (state == YELLOW and v * v <= 2.0 * p[DECELERATION] * max(room, 0.0))):
            return float(max(room, 0.0))
    return np.inf


@kernel
def run(
    first: int, last: int, dt: float, mode: Byte, entry: Steps, s: Double, v: Double, delayed: Steps,
    paths: Double, wanted: Double, offset: Steps, stops: Double, stop_offset: Steps, p: Double, margin: float, anticipation: float,
    kind: Byte, sizes: Double, ignore: Bool, signals: Byte, pose: Float, velocity: Float, valid: Bool,
    ego: Double, ego_velocity: Double,
) -> None:  # fmt: skip
    """Move every IDM agent from step ``first`` to ``last``, writing pose, velocity and valid [A, T]. Row A of
    ``sizes`` and ``kind`` and column A of ``ignore`` are the ego, whose box centre poses [T, 3] and velocities [T, 2] are given for
    these steps."""
    count = len(mode)
    bodies, speeds = np.zeros((count + 1, 3)), np.zeros((count + 1, 2))
    there, scratch = np.zeros(count + 1, np.bool_), np.zeros((2, 4, 2))
    for t in range(first, last):
        _gather(t, pose, velocity, valid, ego, ego_velocity, bodies, speeds, there)
        for a in range(count):
            if mode[a] != DRIVING:
                continue
            path = paths[offset[a] : offset[a + 1]]
            gap, pace = leader(
                a, t, path, s[a], v[a], p[a], margin, anticipation, bodies, speeds, sizes, there, kind, ignore, scratch
            )  # fmt: skip
            desired = wanted[offset[a] + min(int(s[a] / SPACING), len(path) - 1)]
            act = acceleration(v[a], desired, gap, v[a] - pace, p[a])
            line = signal_gap(s[a], v[a], 0.5 * sizes[a, 0], p[a], stops[stop_offset[a] : stop_offset[a + 1]], signals, t)
            act = min(act, acceleration(v[a], desired, line, v[a], p[a]))
            before = v[a]
            v[a] = max(0.0, before + act * dt)
            # When it comes to rest within the step it has gone v^2 / (2 |a|), else the mean of both speeds.
            moved = 0.5 * before * before / -act if v[a] == 0.0 and act < 0.0 else 0.5 * (before + v[a]) * dt
            s[a] = min(s[a] + moved, (len(path) - 1) * SPACING)
        for a in range(count):
            if mode[a] == DRIVING:
                _place(a, t + 1, paths[offset[a] : offset[a + 1]], s[a], v[a], pose, velocity, valid)
        _gather(t + 1, pose, velocity, valid, ego, ego_velocity, bodies, speeds, there)
        for a in range(count):
            if mode[a] == WAITING and entry[a] <= t + 1:
                x = paths[offset[a]]
                if _free(a, x, sizes, bodies, there, ignore, scratch):
                    mode[a] = DRIVING
                    _place(a, t + 1, paths[offset[a] : offset[a + 1]], s[a], v[a], pose, velocity, valid)
                    bodies[a], there[a] = x, True
                else:
                    delayed[a] += 1
                    valid[a, t + 1] = False
                    pose[a, t + 1], velocity[a, t + 1] = 0.0, 0.0


@kernel
def _gather(
    t: int,
    pose: Float,
    velocity: Float,
    valid: Bool,
    ego: Double,
    ego_velocity: Double,
    bodies: Double,
    speeds: Double,
    there: Bool,
) -> None:
    count = len(pose)
    for a in range(count):
        there[a] = valid[a, t]
        bodies[a, 0], bodies[a, 1], bodies[a, 2] = pose[a, t, 0], pose[a, t, 1], pose[a, t, 2]
        speeds[a, 0], speeds[a, 1] = velocity[a, t, 0], velocity[a, t, 1]
    there[count], bodies[count], speeds[count] = True, ego[t], ego_velocity[t]


@kernel
def _place(a: int, t: int, path: Double, s: float, v: float, pose: Float, velocity: Float, valid: Bool) -> None:
    k = min(int(s / SPACING), len(path) - 2)
    part = s / SPACING - k
    dx, dy = path[k + 1, 0] - path[k, 0], path[k + 1, 1] - path[k, 1]
    norm = max(np.hypot(dx, dy), 1e-9)
    heading = path[k, 2] + part * (path[k + 1, 2] - path[k, 2])
    pose[a, t, 0], pose[a, t, 1] = path[k, 0] + part * dx, path[k, 1] + part * dy
    pose[a, t, 2] = np.mod(heading + np.pi, 2.0 * np.pi) - np.pi
    velocity[a, t, 0], velocity[a, t, 1] = v * dx / norm, v * dy / norm
    valid[a, t] = True


@kernel
def _free(a: int, x: Double, sizes: Double, bodies: Double, there: Bool, ignore: Bool, scratch: NDArray[np.float64]) -> bool:
    corners(x[0], x[1], x[2], sizes[a, 0], sizes[a, 1], scratch[0])
    for j in range(len(bodies)):
        if j == a or not there[j] or ignore[a, j]:
            continue
        corners(bodies[j, 0], bodies[j, 1], bodies[j, 2], sizes[j, 0], sizes[j, 1], scratch[1])
        if quads_touch(scratch[0], scratch[1]):
            return False
    return True


__all__ = ["DRIVING", "REPLAYED", "WAITING", "acceleration", "corners", "first_contact", "run"]
