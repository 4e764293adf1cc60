"""Right of way: who waits where the ways of two bodies cross or merge, and for pedestrians at crosswalks.

At every step, of two bodies that would be in a zone (see ``junctions``) together, these go first, in this order:

1. one that is in the junction or can no longer stop before it comfortably;
2. one that goes straight, before one that turns (so an unprotected turn waits for those who come);
3. the one that came first (within ``SIGHT`` metres of the junction).

The other waits before the junction, unless it is through ``GAP_BEFORE`` seconds before the first one comes, or comes
``GAP_BEHIND`` seconds after that one is through (gap acceptance). Whom a red signal or a standing leader holds before the zone
claims nothing. The order is total in a scene, so that nobody waits in a circle. Signals rule by holding those who have red. The
ego's way is its route; it is expected to yield as the others do, but nobody drives into a zone that it cannot leave free.
Drivers wait for a pedestrian who is on a crosswalk, or will be within ``STEP_OUT`` seconds, and not yet past their way.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from wetoolkit_driving.geometry import inside_ring
from wetoolkit_driving.jit import inner, kernel
from wetoolkit_driving.traffic.idm import Drivers
from wetoolkit_driving.traffic.junctions import BODY, CLASS, CLEAR, HOLD, IN, MERGE, OUT, Junctions
from wetoolkit_driving.traffic.layout import DRIVING, LOGGED, SCRIPTED, Now, Scene, Steps
from wetoolkit_driving.traffic.manners import ACCELERATION, DECELERATION, EMERGENCY, HEADWAY
from wetoolkit_driving.traffic.paths import SPACING, nearest_sample
from wetoolkit_driving.types import Double

SIGHT = 30.0  # metres before a junction at which one has come to it
AWAITED = 8.0  # seconds: who comes later than that is not waited for
GAP_BEFORE, GAP_BEHIND = 1.5, 0.5  # seconds
STEP_OUT = 1.5  # seconds
HARD = 0.6  # share of the emergency deceleration that a driver is ready to use for those who go first
EGO = np.array([1.0, 2.0, 1.5, 1.5, 2.0, 7.0, 3.0])  # manners the ego is thought to have: those of a vehicle
BESIDE = 3.0  # metres the ego may be from its route and still be thought to follow it
CLASS_PEDESTRIAN = 1


@kernel
def travel_time(distance: float, v: float, wanted: float, a: float) -> float:
    """Seconds to go ``distance`` from speed v, speeding up at ``a`` to ``wanted``; 0 for no distance."""
    if distance <= 0.0:
        return 0.0
    top = max(wanted, v, 0.1)
    rise = (top * top - v * v) / (2.0 * a)  # metres until it has that speed
    if rise >= distance:
        return float((np.sqrt(v * v + 2.0 * a * distance) - v) / a)
    return float((top - v) / a + (distance - rise) / top)


class Ways(NamedTuple):
    """Scratch: how far each of a scene's M bodies is on its way, the ego last."""

    s: Double  # [M] metres along its path, NaN where it has none or is not on it
    v: Double  # [M] m/s
    wanted: Double  # [M] m/s
    p: Double  # [M, 7] manners
    limit: Double  # [M] result: metres its front may go, inf where nothing holds it
    holder: Steps  # [M] result: the body it waits for, -1 for none


@inner
def ways_of(scene: Scene, drivers: Drivers) -> Ways:
    """Room for a scene's bodies; manners are filled in, the ego's being those of a vehicle as the defaults have them."""
    count = len(scene.mode)
    p = np.empty((count + 1, 7))
    for i in range(7):
        for a in range(count):
            p[a, i] = drivers.parameters[scene.first + a, i]
        p[count, i] = EGO[i]
    return Ways(
        np.full(count + 1, np.nan), np.zeros(count + 1), np.zeros(count + 1), p, np.full(count + 1, np.inf),
        np.full(count + 1, -1),
    )  # fmt: skip


@inner
def wait(b: int, t: int, scene: Scene, now: Now, drivers: Drivers, junctions: Junctions, ways: Ways) -> None:
    """Fill ``limit`` and ``holder`` of ``ways`` for scene ``b`` at step ``t``: for other bodies first, then for pedestrians."""
    _where(b, scene, now, drivers, junctions, ways)
    for i in range(len(ways.limit)):
        ways.limit[i], ways.holder[i] = np.inf, -1
    first = scene.first + b  # of its bodies in the arrays of one row a body
    zones = junctions.zones[junctions.offset[b] : junctions.offset[b + 1]]
    for z in range(len(zones)):
        for side in (0, 6):
            i = int(zones[z, side + BODY])
            hold = zones[z, side + HOLD]
            near = hold - ways.s[i] - 0.5 * now.size[i, 0] < SIGHT and ways.s[i] < zones[z, side + CLEAR]
            if near and junctions.came_to[first + i] != hold:
                junctions.came[first + i], junctions.came_to[first + i] = t, hold
    for z in range(len(zones)):
        i, j = int(zones[z, BODY]), int(zones[z, 6 + BODY])
        if now.there[i] and now.there[j] and np.isfinite(ways.s[i]) and np.isfinite(ways.s[j]):
            side = _who_waits(zones[z], first, now, junctions, ways)
            if side >= 0:
                loser = i if side == 0 else j
                left = max(zones[z, side + HOLD] - ways.s[loser] - 0.5 * now.size[loser, 0], 0.0)
                if left < ways.limit[loser]:
                    ways.limit[loser], ways.holder[loser] = left, j if side == 0 else i
    for a in range(len(scene.mode)):
        row = scene.first + a
        if np.isfinite(ways.s[a]) and junctions.walk_offset[row] < junctions.walk_offset[row + 1]:
            path = drivers.paths[drivers.offset[row] : drivers.offset[row + 1]]
            left, walker = crosswalk_gap(a, b, ways.s[a], ways.v[a], path, ways.p[a], scene, now, junctions)
            if left < ways.limit[a]:
                ways.limit[a], ways.holder[a] = left, walker


@inner
def _where(b: int, scene: Scene, now: Now, drivers: Drivers, junctions: Junctions, ways: Ways) -> None:
    for a in range(len(scene.mode)):
        row, mode = scene.first + a, scene.mode[a]
        known = mode in (DRIVING, LOGGED, SCRIPTED)
        ways.s[a] = np.nan
        if known and now.there[a] and drivers.offset[row] < drivers.offset[row + 1]:
            ways.s[a], ways.v[a] = drivers.s[row], drivers.v[row]
            ahead = min(drivers.offset[row] + int(drivers.s[row] / SPACING), drivers.offset[row + 1] - 1)
            ways.wanted[a] = max(drivers.wanted[ahead], ways.v[a])
    ego = len(scene.mode)
    path = junctions.ego_paths[junctions.ego_offset[b] : junctions.ego_offset[b + 1]]
    ways.s[ego] = np.nan
    if len(path):
        k, square = nearest_sample(path, now.pose[ego, 0], now.pose[ego, 1])
        if square < BESIDE * BESIDE:
            ways.s[ego] = k * SPACING
        ways.v[ego] = np.hypot(now.speed[ego, 0], now.speed[ego, 1])
        ways.wanted[ego] = ways.v[ego]  # nobody knows what it wants: it is thought to keep its speed


@inner
def _who_waits(zone: Double, first: int, now: Now, junctions: Junctions, ways: Ways) -> int:
    """The side (0 or 6) that waits before a zone now; -1 for nobody."""
    one, other = _claim(zone, 0, first, now, junctions, ways), _claim(zone, 6, first, now, junctions, ways)
    if not (one.claims and other.claims) or (one.inside and other.inside):
        return -1
    one_first = _goes_first(zone, first, junctions, one, other)
    wins, loses, side = (one, other, 6) if one_first else (other, one, 0)
    if loses.inside or loses.excused or wins.begins > AWAITED or not loses.near:
        return -1
    before, behind = loses.ends + GAP_BEFORE < wins.begins, wins.ends + GAP_BEHIND < loses.begins
    return -1 if before or behind else side


class Claim(NamedTuple):
    """One side of a zone at one step."""

    claims: bool  # it will be in the zone, as far as can be seen
    inside: bool  # it is in the junction
    bound: bool  # it can no longer stop before it comfortably
    excused: bool  # nor by braking hard
    near: bool  # it is time to brake for it
    begins: float  # seconds until its front is in the zone
    ends: float  # seconds until its rear has left it


@inner
def _claim(zone: Double, side: int, first: int, now: Now, junctions: Junctions, ways: Ways) -> Claim:
    i = int(zone[side + BODY])
    v, p = ways.v[i], ways.p[i]
    front, rear = ways.s[i] + 0.5 * now.size[i, 0], ways.s[i] - 0.5 * now.size[i, 0]
    merged = zone[MERGE] > 0.0
    gone = front > zone[side + IN] + SPACING if merged else rear > zone[side + OUT] + SPACING  # merged, it is a leader
    left = zone[side + HOLD] - front  # metres to the junction
    inside = left < -SPACING
    held = not inside and junctions.room[first + i] < zone[side + IN] - front
    stopping = v * v / (2.0 * p[DECELERATION])
    return Claim(
        not gone and not held,
        inside,
        stopping > left,
        v * v / (2.0 * HARD * p[EMERGENCY]) > left,
        left < stopping + v * p[HEADWAY] + 10.0,
        travel_time(zone[side + IN] - front, v, ways.wanted[i], p[ACCELERATION]),
        travel_time(zone[side + OUT] - rear, v, ways.wanted[i], p[ACCELERATION]),
    )


@inner
def _goes_first(zone: Double, first: int, junctions: Junctions, one: Claim, other: Claim) -> bool:
    """Whether the zone's first side goes before its other one."""
    if one.inside != other.inside:
        return one.inside
    if one.bound != other.bound:
        return one.bound
    if zone[CLASS] != zone[6 + CLASS]:
        return bool(zone[CLASS] < zone[6 + CLASS])
    return bool(junctions.came[first + int(zone[BODY])] <= junctions.came[first + int(zone[6 + BODY])])


@inner
def crosswalk_gap(
    a: int, b: int, s: float, v: float, path: Double, p: Double, scene: Scene, now: Now, junctions: Junctions
) -> tuple[float, int]:  # fmt: skip
    """(metres from an agent's front to the next crosswalk at which it waits, pedestrian it waits for); (inf, -1) for none, or
    where it is too late to stop."""
    row = scene.first + a
    front = s + 0.5 * now.size[a, 0]
    for w in range(junctions.walk_offset[row], junctions.walk_offset[row + 1]):
        left = junctions.walks[w, 0] - front
        stopping = v * v / (2.0 * p[DECELERATION])
        if left < 0.0 or stopping > left or left > stopping + v * p[HEADWAY] + 10.0:
            continue
        r = junctions.ring_first[b] + int(junctions.walks[w, 2])
        ring = junctions.rings[junctions.ring_offset[r] : junctions.ring_offset[r + 1]]
        k = min(int(0.5 * (junctions.walks[w, 0] + junctions.walks[w, 1]) / SPACING), len(path) - 2)
        half = 0.5 * now.size[a, 1] + 1.0
        for j in range(len(now.there)):
            if now.there[j] and now.kind[j] == CLASS_PEDESTRIAN and _crosses(ring, path, k, half, now, j):
                return float(left), j
    return np.inf, -1


@inner
def _crosses(ring: Double, path: Double, k: int, half: float, now: Now, j: int) -> bool:
    """Whether pedestrian ``j`` is on the crosswalk or about to be, and before or on the way at sample k."""
    x, y, vx, vy = now.pose[j, 0], now.pose[j, 1], now.speed[j, 0], now.speed[j, 1]
    if not inside_ring(ring, x, y) and not inside_ring(ring, x + STEP_OUT * vx, y + STEP_OUT * vy):
        return False
    dx, dy = path[k + 1, 0] - path[k, 0], path[k + 1, 1] - path[k, 1]
    norm = max(np.hypot(dx, dy), 1e-9)
    aside = (dx * (y - path[k, 1]) - dy * (x - path[k, 0])) / norm
    drift = (dx * vy - dy * vx) / norm
    return bool(abs(drift) > 0.3 and (abs(aside) < half or aside * drift < 0.0))


__all__ = ["Ways", "travel_time", "wait", "ways_of"]
