"""Where the ways of a scene's bodies cross or merge, and the crosswalks on them: found once, when a scene is started.

The ways are the agents' paths, which follow their log and then the lane graph, and for the ego its route. A zone is the stretch in
which the strips of two bodies overlap at an angle, or from which on they are one (a merge). Zones of one body less than ``CHAIN``
apart form a junction, which it enters as a whole or not at all. Who goes first is said in ``priority``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from wetoolkit_driving.geometry import along, arc_lengths, ego_center, inside_ring, project_point
from wetoolkit_driving.jit import inner, kernel
from wetoolkit_driving.roads import route_line
from wetoolkit_driving.traffic.layout import Steps
from wetoolkit_driving.traffic.paths import SPACING, SPARE, Path, nearest_sample
from wetoolkit_driving.types import VX, AgentClass, AreaKind, Double, World

CHAIN = 8.0  # metres
ALONG, AGAINST = 0.866, -0.866  # cosines: within 30 degrees ways run together, or head on
TURNS = 0.7  # radians of turn within a junction, from which on one is said to turn
FASTEST = 15.0  # m/s: the ego's route is known at least so far as it goes at this speed
LONGEST = 60  # samples: an overlap that goes on is a merge

# Columns of a side of a zone, metres along that body's path; the body's front counts on entering, its rear on leaving.
BODY, IN, OUT, HOLD, CLEAR, CLASS = range(6)
MERGE = 12  # column of a zone: from it on the two ways are one


class Junctions(NamedTuple):
    """What bodies have to look out for, flat over all scenes."""

    offset: Steps  # [B + 1] of a scene's zones
    zones: Double  # [Z, 13] side of one body (6), side of the other (6), merge
    came: Steps  # [bodies] step at which a body came to the junction before it; agents of a scene, then its ego
    came_to: Double  # [bodies] metres along its path at which that junction begins
    room: Double  # [bodies] metres a body can go before a standing leader or a red signal
    ego_offset: Steps  # [B + 1] of the ego's path
    ego_paths: Double  # [K, 3] its route from where it is, every SPACING metres
    walk_offset: Steps  # [N + 1] of the crosswalks on an agent's path
    walks: Double  # [W, 3] metres along the path at which one begins and ends, index of its ring among the scene's
    ring_offset: Steps  # [R + 1]
    rings: Double  # [V, 2] crosswalks
    ring_first: Steps  # [B + 1] the scene's first ring


@dataclass(frozen=True)
class Meetings:
    """``Junctions`` of one scene, before it is laid beside the others."""

    zones: Double  # [Z, 13]
    ego_path: Double  # [K, 3]
    walks: list[Double]  # [A] of [W, 3]
    rings: list[Double]  # [R] of [n, 2]


def meetings(world: World, now: int, ways: Sequence[Path], size: Double, margin: float) -> Meetings:
    """Where those meet who have ways [A] (no samples: none) and sizes [A + 1, 2], and the ego on its route from step ``now`` on.

    People walk round each other and are waited for at crosswalks: only the ways of vehicles and cyclists cross.
    """
    drives = np.isin(world.agents.kind, (AgentClass.VEHICLE, AgentClass.BICYCLE))
    own = [way.poses if goes else way.poses[:0] for way, goes in zip(ways, drives, strict=True)]
    rings = [world.map.area(int(i)) for i in np.flatnonzero(world.map.area_kind == AreaKind.CROSSWALK)]
    if not any(len(path) for path in own):
        return Meetings(np.zeros((0, 13)), np.zeros((0, 3)), [np.zeros((0, 3))] * len(own), rings)
    ego = ego_path(world, now)
    offset = offsets(len(path) for path in [*own, ego])
    corners, ring_offset = np.concatenate([np.zeros((0, 2)), *rings]), offsets(len(ring) for ring in rings)
    walks = [find_walks(path, corners, ring_offset) for path in own]
    return Meetings(find_zones(np.concatenate([*own, ego]), offset, size, margin), ego, walks, rings)


def ego_path(world: World, now: int) -> Double:
    """[K, 3]: the route's centre line from beside the ego's box at ``now`` on, every SPACING metres; none without a route."""
    reach = max(float(world.ego.states[now, VX]), FASTEST) * (world.steps - now) * world.dt + SPARE
    if not len(world.route):
        return np.zeros((0, 3))
    line = route_line(world, reach)
    lengths, centre = arc_lengths(line), ego_center(world.ego.states[now], world.ego.vehicle)
    begin, _ = project_point(line, lengths, float(centre[0]), float(centre[1]))
    return along(line, np.arange(begin, min(begin + reach, float(lengths[-1])), SPACING))


def join(scenes: Sequence[Meetings]) -> Junctions:
    """Scenes side by side."""
    walks = [walk for scene in scenes for walk in scene.walks]
    rings = [ring for scene in scenes for ring in scene.rings]
    bodies = len(walks) + len(scenes)
    return Junctions(
        offset=offsets(len(scene.zones) for scene in scenes),
        zones=np.concatenate([np.zeros((0, 13)), *(scene.zones for scene in scenes)]),
        came=np.zeros(bodies, np.int64),
        came_to=np.full(bodies, -1.0),
        room=np.full(bodies, np.inf),
        ego_offset=offsets(len(scene.ego_path) for scene in scenes),
        ego_paths=np.concatenate([np.zeros((0, 3)), *(scene.ego_path for scene in scenes)]),
        walk_offset=offsets(len(walk) for walk in walks),
        walks=np.concatenate([np.zeros((0, 3)), *walks]),
        ring_offset=offsets(len(ring) for ring in rings),
        rings=np.concatenate([np.zeros((0, 2)), *rings]),
        ring_first=offsets(len(scene.rings) for scene in scenes),
    )


def offsets(lengths: Iterable[int]) -> Steps:
    """[n + 1]: where each of n ragged items begins."""
    return np.cumsum([0, *lengths], dtype=np.int64)


@kernel
def find_zones(paths: Double, offset: Steps, size: Double, margin: float) -> Double:
    """Zones [Z, 13] of bodies with paths ``paths[offset[i] : offset[i + 1]]`` (empty: none) and sizes [M, 2]."""
    count = len(offset) - 1
    low, high = np.full((count, 2), np.inf), np.full((count, 2), -np.inf)
    for i in range(count):
        for k in range(offset[i], offset[i + 1]):
            for c in range(2):
                low[i, c], high[i, c] = min(low[i, c], paths[k, c]), max(high[i, c], paths[k, c])
    zones, found = np.zeros((max(count * (count - 1) // 2, 1), 13)), 0
    for i in range(count):
        for j in range(i + 1, count):
            reach = 0.5 * (size[i, 1] + size[j, 1]) + margin
            apart = (low[i] > high[j] + reach).any() or (low[j] > high[i] + reach).any()
            if apart or offset[i + 1] - offset[i] < 2 or offset[j + 1] - offset[j] < 2:
                continue
            if _zone(paths[offset[i] : offset[i + 1]], paths[offset[j] : offset[j + 1]], reach, zones[found]):
                zones[found, BODY], zones[found, 6 + BODY] = i, j
                found += 1
    zones = zones[:found].copy()
    _chain(zones, count)
    for z in range(found):
        for side in (0, 6):
            i = int(zones[z, side + BODY])
            zones[z, side + CLASS] = _turns(paths[offset[i] : offset[i + 1]], zones[z, side + HOLD], zones[z, side + CLEAR])
    return zones


@inner
def _zone(one: Double, other: Double, reach: float, out: Double) -> bool:
    """Fill IN and OUT of both sides and MERGE with the first stretch where two ways come within ``reach`` at an angle."""
    k, first, last, low, high = 0, -1, -1, len(other), -1
    while k < len(one):
        n, square = nearest_sample(other, one[k, 0], one[k, 1])
        distance = np.sqrt(square)
        if distance > reach:
            if first >= 0:
                break
            k += max(1, int((distance - reach) / SPACING))
            continue
        cosine = _cosine(one, k, other, n)
        if first < 0:
            if cosine > ALONG and (k == 0 or n == 0):
                return False  # one follows the other already
            if cosine < AGAINST:
                return False  # head on: no rule helps
            first = k
        last, low, high = k, min(low, n), max(high, n)
        if cosine > ALONG or last - first > LONGEST:
            out[MERGE] = 1.0
            break
        k += 1
    if first < 0:
        return False
    while low > 0 and nearest_sample(one[first : last + 1], other[low - 1, 0], other[low - 1, 1])[1] <= reach * reach:
        low -= 1
    while (
        high < len(other) - 1 and nearest_sample(one[first : last + 1], other[high + 1, 0], other[high + 1, 1])[1] <= reach * reach
    ):
        high += 1
    out[IN], out[OUT] = first * SPACING, last * SPACING
    out[6 + IN], out[6 + OUT] = low * SPACING, high * SPACING
    return True


@inner
def _cosine(one: Double, k: int, other: Double, n: int) -> float:
    """Of the angle between two ways at samples k and n."""
    i, j = min(k, len(one) - 2), min(n, len(other) - 2)
    ax, ay = one[i + 1, 0] - one[i, 0], one[i + 1, 1] - one[i, 1]
    bx, by = other[j + 1, 0] - other[j, 0], other[j + 1, 1] - other[j, 1]
    return float((ax * bx + ay * by) / max(np.hypot(ax, ay) * np.hypot(bx, by), 1e-9))


@inner
def _chain(zones: Double, bodies: int) -> None:
    """Fill HOLD and CLEAR: begin and end of the junction, the chain of a body's zones less than CHAIN apart."""
    own = np.empty((2 * len(zones), 2), np.int64)
    for body in range(bodies):
        count = _sides_of(zones, body, own)
        begin = 0
        while begin < count:
            z, side = own[begin, 0], own[begin, 1]
            hold, clear, end = zones[z, side + IN], zones[z, side + OUT], begin + 1
            while end < count and zones[own[end, 0], own[end, 1] + IN] - clear < CHAIN:
                clear = max(clear, zones[own[end, 0], own[end, 1] + OUT])
                end += 1
            for i in range(begin, end):
                z, side = own[i, 0], own[i, 1]
                zones[z, side + HOLD], zones[z, side + CLEAR] = hold, clear
            begin = end


@inner
def _sides_of(zones: Double, body: int, own: Steps) -> int:
    """Fill ``own`` [2 Z, 2] with the (zone, side) of a body, sorted by where the zone begins; how many there are."""
    count = 0
    for z in range(len(zones)):
        for side in (0, 6):
            if zones[z, side + BODY] != body:
                continue
            i = count  # sorted in, which compiles in a tenth of the time of a sort
            while i > 0 and zones[own[i - 1, 0], own[i - 1, 1] + IN] > zones[z, side + IN]:
                own[i, 0], own[i, 1] = own[i - 1, 0], own[i - 1, 1]
                i -= 1
            own[i, 0], own[i, 1] = z, side
            count += 1
    return count


@inner
def _turns(path: Double, begin: float, end: float) -> float:
    """1 where a way turns between two arc lengths (with half a CHAIN before and after), else 0."""
    first = min(max(int((begin - 0.5 * CHAIN) / SPACING), 0), len(path) - 2)
    last = min(int((end + 0.5 * CHAIN) / SPACING), len(path) - 2)
    return 1.0 if _cosine(path, first, path, last) < np.cos(TURNS) else 0.0


@kernel
def find_walks(path: Double, rings: Double, ring_offset: Steps) -> Double:
    """[W, 3] (begin, end, ring) of the crosswalks [R] that a path passes."""
    out, found = np.zeros((len(ring_offset) - 1, 3)), 0
    for r in range(len(ring_offset) - 1):
        ring = rings[ring_offset[r] : ring_offset[r + 1]]
        x, y, far = 0.0, 0.0, 0.0
        for i in range(len(ring)):
            x, y = x + ring[i, 0] / len(ring), y + ring[i, 1] / len(ring)
        for i in range(len(ring)):
            far = max(far, np.hypot(ring[i, 0] - x, ring[i, 1] - y))
        first, last, k = -1, -1, 0
        while k < len(path):
            distance = np.hypot(path[k, 0] - x, path[k, 1] - y)
            if distance > far:
                k += max(1, int((distance - far) / SPACING))
                continue
            if inside_ring(ring, path[k, 0], path[k, 1]):
                first, last = k if first < 0 else first, k
            elif first >= 0:
                break
            k += 1
        if first >= 0:
            out[found, 0], out[found, 1], out[found, 2] = first * SPACING, last * SPACING, r
            found += 1
    return out[:found]


__all__ = [
    "BODY", "CLASS", "CLEAR", "HOLD", "IN", "MERGE", "OUT", "Junctions", "Meetings", "ego_path", "find_walks", "find_zones", "join",
    "meetings", "offsets",
]  # fmt: skip
