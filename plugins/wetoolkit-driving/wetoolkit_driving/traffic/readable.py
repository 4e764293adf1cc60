"""One step of IDM traffic in one scene, in numpy: the text to read beside ``idm``, and the reference its tests hold it to.

Nothing is passed over for speed here: every body is compared with every cell of the strip that an agent will sweep. Right of way
(``priority``) is no part of it: there its result is given as ``limit``.
"""

from __future__ import annotations

import numpy as np

from wetoolkit_driving.geometry import box_corners, boxes_touch, ego_center
from wetoolkit_driving.traffic.engine import Traffic, world_velocity
from wetoolkit_driving.traffic.layout import DRIVING
from wetoolkit_driving.traffic.manners import ACCELERATION, DECELERATION, EMERGENCY, GAP, HEADWAY
from wetoolkit_driving.traffic.paths import SPACING
from wetoolkit_driving.types import AgentClass, Double, Signal, World


def step(world: World, traffic: Traffic, t: int, limit: Double | None = None) -> tuple[Double, Double]:
    """Arc lengths and speeds [A] at t + 1 of the agents of ``traffic``, which is that of one scene at step ``t``.

    Those that are not driving keep theirs. ``limit`` [A]: metres that others leave them.
    """
    drivers = traffic.drivers
    s, v = drivers.s.copy(), drivers.v.copy()
    for a in np.flatnonzero(traffic.bodies.mode == DRIVING):
        p, path = drivers.parameters[a], drivers.paths[drivers.offset[a] : drivers.offset[a + 1]]
        wanted = drivers.wanted[drivers.offset[a] + min(int(s[a] / SPACING), len(path) - 1)]
        gap, pace = leader(world, traffic, int(a), t)
        line = min(signal_gap(world, traffic, int(a), t), np.inf if limit is None else float(limit[a]))
        act = min(acceleration(v[a], wanted, gap, v[a] - pace, p), acceleration(v[a], wanted, line, v[a], p))
        after = max(0.0, v[a] + act * world.dt)
        comes_to_rest = after == 0.0 and act < 0.0
        s[a] += v[a] ** 2 / (2 * -act) if comes_to_rest else (v[a] + after) / 2 * world.dt
        s[a], v[a] = min(s[a], (len(path) - 1) * SPACING), after
    return s, v


def acceleration(v: float, wanted: float, gap: float, closing: float, p: Double) -> float:
    """The IDM: Treiber et al. 2000, equation 4, with the free road of Treiber and Kesting 2013, section 11.3.7."""
    a, b, v0 = p[ACCELERATION], p[DECELERATION], max(wanted, 0.01)
    free = a * (1 - (v / v0) ** 4) if v <= v0 else -b * (1 - (v0 / v) ** (4 * a / b))
    desired = p[GAP] + max(0.0, v * p[HEADWAY] + v * closing / (2 * np.sqrt(a * b)))
    return float(max(free - a * (desired / max(gap, 0.1)) ** 2, -p[EMERGENCY]))


def leader(world: World, traffic: Traffic, a: int, t: int) -> tuple[float, float]:
    """(gap [m], its speed along the path [m/s]) of the nearest body in the way of agent ``a``; (inf, 0) for none."""
    agents, drivers, ego = traffic.agents, traffic.drivers, traffic.states(0)[t]
    pose = np.concatenate([agents.pose[:, t], ego_center(ego, world.ego.vehicle)[None]]).astype(np.float64)  # [M, 3]
    speed = np.concatenate([agents.velocity[:, t], world_velocity(ego)[None]]).astype(np.float64)  # [M, 2]
    there = np.append(agents.valid[:, t], True)
    size = np.concatenate([traffic.bodies.size, traffic.bodies.ego_size])  # [M, 2]
    kind = np.append(agents.kind, AgentClass.VEHICLE)
    ignore = traffic.bodies.ignore.reshape(len(agents), len(agents) + 1)[a]
    s, v, p = drivers.s[a], drivers.v[a], drivers.parameters[a]
    path = drivers.paths[drivers.offset[a] : drivers.offset[a + 1]]
    front = size[a, 0] / 2
    far = v * v / (2 * p[DECELERATION]) + v * p[HEADWAY] + p[GAP] + 10
    begin, end = int(s / SPACING) + 1, min(len(path), int((s + front + far) / SPACING) + 2)
    course = _courses(path)
    cells = box_corners(np.column_stack([path[:, :2], course]), SPACING, size[a, 1] + 2 * traffic.rules.margin)[begin:end]
    here = min(begin, len(path) - 1)
    onward = path[here, :2] - path[here - 1, :2]
    best = (np.inf, 0.0)
    for j in range(len(pose)):
        people = kind[a] == kind[j] == AgentClass.PEDESTRIAN
        if j == a or not there[j] or ignore[j] or people:
            continue
        fast, behind = float(np.hypot(*speed[j])), bool((pose[j, :2] - pose[a, :2]) @ onward <= 0)
        for ahead in np.arange(0.0, traffic.rules.anticipation + 0.25, 0.5) if fast > 0.5 else (0.0,):
            if ahead == 0 and behind:
                continue
            box = box_corners(pose[j], size[j, 0], size[j, 1]) + min(ahead, traffic.rules.anticipation) * speed[j]
            hits = np.flatnonzero(boxes_touch(cells, box[None]))
            if not len(hits):
                continue
            k = begin + int(hits[0])
            along = float(speed[j] @ [np.cos(course[k]), np.sin(course[k])])
            if ahead > 0 and (abs(along) > 0.866 * fast or k * SPACING < s + front):
                continue
            gap = k * SPACING - SPACING / 2 - s - front
            best = min(best, (gap, max(along, 0.0)), key=lambda found: found[0])
            break
    return best


def _courses(path: Double) -> Double:
    """The direction [K] in which each cell of a strip lies."""
    n = np.minimum(np.arange(len(path)) + 1, len(path) - 1)
    move = path[n, :2] - path[n - 1, :2]
    return np.arctan2(move[:, 1], move[:, 0])


def signal_gap(world: World, traffic: Traffic, a: int, t: int) -> float:
    """Metres from the agent's front to the next stop line that holds it; inf for none."""
    drivers = traffic.drivers
    s, v, p, front = drivers.s[a], drivers.v[a], drivers.parameters[a], traffic.bodies.size[a, 0] / 2
    for at, row in drivers.stops[drivers.stop_offset[a] : drivers.stop_offset[a + 1]]:
        room, state = at - s - front, world.signals[int(row), t]
        could_stop = v * v <= 2 * p[DECELERATION] * max(room, 0.0)
        if room > -0.5 and (state == Signal.RED or (state == Signal.YELLOW and could_stop)):
            return float(max(room, 0.0))
    return np.inf


__all__ = ["acceleration", "leader", "signal_gap", "step"]
