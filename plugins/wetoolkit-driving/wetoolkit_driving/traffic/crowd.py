"""Who walks in a scene: the walkers of ``social`` from a world's log, with what the log already explains."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wetoolkit_driving.geometry import inside_ring, wrap_angle
from wetoolkit_driving.jit import inner, kernel
from wetoolkit_driving.traffic.layout import Now, Scene, Steps, look
from wetoolkit_driving.traffic.manners import FACTOR, HEADWAY
from wetoolkit_driving.traffic.social import FASTER, LOOK, MODE, PACE, PEDESTRIAN, Walkers, force, off_box, spare_of
from wetoolkit_driving.types import AgentClass, AreaKind, Bool, Double, Int, RoadMap, World

ONWARD = 10  # steps of the record's end whose mean velocity a walker keeps beyond it
ORDINARY = 1.5  # seconds between leaving a vehicle's strip and its coming
SEAM = 1.0  # metres: lanes nearer than this to each other are crossed in one go


def _nobody() -> Walkers:
    counts, pairs, numbers = np.zeros(0, np.int64), np.zeros((0, 2)), np.zeros(0)
    return Walkers(
        first=np.zeros(1, np.int64), agent=counts, entry=counts, offset=np.zeros(1, np.int64), track=pairs,
        course=numbers, recorded=np.zeros(0, bool),
        explained=pairs, stretch_offset=np.zeros(1, np.int64), stretch=np.zeros((0, 2), np.int64), demand=numbers,
        room_offset=np.zeros(1, np.int64), room=numbers, factor=numbers, fastest=numbers, phase=numbers, rate=numbers,
        intent=counts, next=counts, xy=pairs, pull=pairs, v=pairs, started=np.zeros(0, bool),
    )  # fmt: skip


NOBODY = _nobody()  # the walkers of no scenes at all


def walkers_of(world: World, now: int, rows: Steps, table: Double) -> Walkers:
    """The walkers of one scene: agents ``rows`` [W] from step ``now`` or their first appearance on; ``table`` [A, 7] manners.

    The spare time asked of vehicles at the kerb is ``ORDINARY``, or what the log's own walker accepted if that is less. Who has
    manners of its own asks for its ``HEADWAY``, whatever the log shows; negative: whoever comes.
    """
    agents, count = world.agents, len(rows)
    entry = np.array([now + int(np.argmax(agents.valid[a, now:])) for a in rows], np.int64)
    tracks = [_track(world, int(a), int(e)) for a, e in zip(rows, entry, strict=True)]
    offset = np.cumsum([0, *(len(track) for track in tracks)], dtype=np.int64)
    whole = np.concatenate([np.zeros((0, 3)), *tracks])
    stretches = [_stretches(world.map, track[:, :2]) for track in tracks]
    pull = np.array([(track[1, :2] - track[0, :2]) / world.dt for track in tracks]).reshape(count, 2)
    pace = [float(np.hypot(*np.diff(track[:, :2], axis=0).T).max()) / world.dt for track in tracks]
    stretch_offset = np.cumsum([0, *(len(s) for s in stretches)], dtype=np.int64)
    w = Walkers(
        first=np.array([0, count], np.int64),
        agent=np.asarray(rows, np.int64),
        entry=entry,
        offset=offset,
        track=np.ascontiguousarray(whole[:, :2]),
        course=np.ascontiguousarray(whole[:, 2]),
        recorded=np.concatenate(
            [np.zeros(0, bool), *(np.append(agents.valid[a, e:], False) for a, e in zip(rows, entry, strict=True))]
        ),
        explained=np.zeros((len(whole), 2)),
        stretch_offset=stretch_offset,
        stretch=np.concatenate([np.zeros((0, 2), np.int64), *stretches]),
        demand=np.zeros(stretch_offset[-1]),
        room_offset=np.arange(count + 1, dtype=np.int64) * (len(agents) + 1),
        room=np.zeros(count * (len(agents) + 1)),
        factor=table[rows, FACTOR].copy(),
        fastest=np.maximum(FASTER * np.array(pace) * np.maximum(table[rows, FACTOR], 1.0), PACE).reshape(count),
        phase=np.zeros(count),
        rate=np.ones(count),
        intent=np.zeros(count, np.int64),
        next=np.zeros(count, np.int64),
        xy=np.array([track[0, :2] for track in tracks]).reshape(count, 2),
        pull=pull,
        v=pull.copy(),
        started=entry == now,
    )
    own: Bool = np.zeros(len(agents), bool) if agents.manners is None else np.asarray(agents.manners.any(1))
    margin = np.where(own[rows], table[rows, HEADWAY], ORDINARY)
    _know(now, w, *_logged(world, now, w), world.ego.valid, agents.valid, margin, own[rows])
    return w


def join(parts: Sequence[Walkers]) -> Walkers:
    """The walkers of many scenes, in order."""
    parts = [NOBODY, *parts]
    flat = Walkers(*(np.concatenate([getattr(part, name) for part in parts]) for name in Walkers._fields))

    def shifted(name: str, size: str) -> Steps:
        starts = np.cumsum([0, *(len(getattr(part, size)) for part in parts)])
        pieces = [getattr(part, name)[:-1] + start for part, start in zip(parts, starts, strict=False)]
        return np.concatenate([*pieces, starts[-1:]]).astype(np.int64)

    return flat._replace(
        first=shifted("first", "agent"),
        offset=shifted("offset", "track"),
        stretch_offset=shifted("stretch_offset", "stretch"),
        room_offset=shifted("room_offset", "room"),
    )


def _track(world: World, a: int, entry: int) -> Double:
    """Poses [K, 3], one a step from ``entry`` to a step past the world's end: as recorded, gaps filled, then straight on."""
    valid = np.flatnonzero(world.agents.valid[a, entry:])
    pose = world.agents.pose[a, entry:][valid].astype(np.float64)
    pose[:, 2] = np.unwrap(pose[:, 2])
    steps = np.arange(world.steps - entry + 1)
    track = np.column_stack([np.interp(steps, valid, pose[:, i]) for i in range(3)])
    if len(valid) > 1:
        back = max(0, len(valid) - 1 - ONWARD)
        onward = (pose[-1, :2] - pose[back, :2]) / (valid[-1] - valid[back])  # metres a step
    else:
        onward = world.agents.velocity[a, entry + valid[0]].astype(np.float64) * world.dt
    beyond = np.maximum(steps - valid[-1], 0)[:, None]
    track[:, :2] += beyond * onward
    track[:, 2] = wrap_angle(track[:, 2])
    return track


def _stretches(road: RoadMap, track: Double) -> Steps:
    """[C, 2] samples at which a track [K, 2] enters the lanes' polygons and leaves them again."""
    on = _on_lanes(np.ascontiguousarray(track), road.area_xy, road.area_offset, np.isin(road.area_kind, LANES))
    edges = np.diff(np.concatenate([[False], on, [False]]).astype(np.int8))
    begin, end = np.flatnonzero(edges == 1), np.minimum(np.flatnonzero(edges == -1), len(track) - 1)
    kept: list[list[int]] = []
    for first, last in zip(begin, end, strict=True):
        if kept and np.hypot(*(track[first] - track[kept[-1][1]])) < SEAM:
            kept[-1][1] = int(last)
        else:
            kept.append([int(first), int(last)])
    return np.array([piece for piece in kept if piece[1] > piece[0]], np.int64).reshape(-1, 2)


LANES = (int(AreaKind.LANE), int(AreaKind.LANE_CONNECTOR))


@kernel
def _on_lanes(track: Double, xy: Double, offset: Int, lane: Bool) -> Bool:
    on = np.zeros(len(track), np.bool_)
    low, high = np.array([np.inf, np.inf]), np.array([-np.inf, -np.inf])
    for k in range(len(track)):
        for i in range(2):
            low[i], high[i] = min(low[i], track[k, i]), max(high[i], track[k, i])
    for p in range(len(lane)):
        if not lane[p]:
            continue
        ring = xy[offset[p] : offset[p + 1]]
        if (
            ring[:, 0].min() > high[0] or ring[:, 0].max() < low[0] or ring[:, 1].min() > high[1] or ring[:, 1].max() < low[1]
        ):  # nobody's samples are near
            continue
        for k in range(len(track)):
            on[k] = on[k] or inside_ring(ring, track[k, 0], track[k, 1])
    return on


def _logged(world: World, now: int, w: Walkers) -> tuple[Scene, Now]:
    """The scene as the log has it, walkers at the velocities ``walk`` would write, and room to look at it."""
    agents, vehicle, count = world.agents, world.ego.vehicle, len(world.agents)
    velocity = np.array(agents.velocity)
    for i, a in enumerate(w.agent):
        moved = np.diff(w.track[w.offset[i] : w.offset[i + 1]], axis=0) / world.dt  # [K - 1, 2] into sample k + 1
        steps = np.arange(max(w.entry[i], now + 1), world.steps)
        velocity[a, steps] = np.where(agents.valid[a, steps, None], moved[np.maximum(steps - w.entry[i] - 1, 0)], 0.0)
    mode = np.zeros(count, np.uint8)
    mode[w.agent] = MODE
    scene = Scene(
        0, mode, np.array(agents.pose), velocity, np.array(agents.valid), np.array(world.ego.states), vehicle.rear_to_center,
        np.zeros((count, count + 1), bool), np.ascontiguousarray(world.signals), world.dt,
    )  # fmt: skip
    size = np.concatenate([agents.size[:, :2], [[vehicle.length, vehicle.width]]]).astype(np.float64)
    kind = np.append(agents.kind, AgentClass.VEHICLE).astype(np.uint8)
    m = count + 1
    return scene, Now(np.zeros((m, 3)), np.zeros((m, 2)), np.zeros(m, bool), np.zeros((m, 4, 2)), size, kind)


@kernel
def _know(
    start: int, w: Walkers, scene: Scene, now: Now, ego_valid: Bool, valid: Bool, margin: Double, own: Bool
) -> None:  # fmt: skip
    """Fill ``explained``, ``demand`` and ``room`` from the log."""
    count = len(scene.mode)
    for i in range(len(w.agent)):
        radius = 0.5 * max(now.size[w.agent[i], 0], now.size[w.agent[i], 1])
        for j in range(count + 1):
            person = now.kind[j] == PEDESTRIAN
            w.room[w.room_offset[i] + j] = radius + (0.5 * max(now.size[j, 0], now.size[j, 1]) if person else 0.0)
        for c in range(w.stretch_offset[i], w.stretch_offset[i + 1]):
            w.demand[c] = margin[i] if w.stretch[c, 0] > 0 and margin[i] >= 0.0 else -np.inf
    for t in range(start, valid.shape[1]):
        look(t, scene, now)
        now.there[count] = ego_valid[t]
        for i in range(len(w.agent)):
            a, k = w.agent[i], t - w.entry[i]
            if k < 0 or not valid[a, t]:
                continue
            n = w.offset[i] + k
            x, y = w.track[n, 0], w.track[n, 1]
            before, after = (n - 1, n) if k > 0 else (n, n + 1)
            vx, vy = (w.track[after, 0] - w.track[before, 0]) / scene.dt, (w.track[after, 1] - w.track[before, 1]) / scene.dt
            w.explained[n, 0], w.explained[n, 1] = force(a, x, y, vx, vy, now)
            _accept(w, i, k, x, y, scene.dt, now, own[i])
            for j in range(count):
                if j != a and now.there[j]:
                    dx, dy = x - now.pose[j, 0], y - now.pose[j, 1]
                    if now.kind[j] != PEDESTRIAN:
                        bx, by = off_box(x, y, now.pose[j], now.size[j, 0], now.size[j, 1])
                        within = dx * bx + dy * by < 0.0
                        dx, dy = (0.0, 0.0) if within else (bx, by)
                    w.room[w.room_offset[i] + j] = min(w.room[w.room_offset[i] + j], np.hypot(dx, dy))


@inner
def _accept(w: Walkers, i: int, k: int, x: float, y: float, dt: float, now: Now, own: bool) -> None:
    """Lower the demands of the stretches that the walker's log looks at in sample ``k`` to what it found there."""
    for c in range(w.stretch_offset[i], w.stretch_offset[i + 1]):
        if not own and k == max(w.stretch[c, 0] - LOOK, 0):
            found = spare_of(w, i, c, x, y, dt, now)
            w.demand[c] = min(w.demand[c], found - 0.01)


__all__ = ["join", "walkers_of"]
