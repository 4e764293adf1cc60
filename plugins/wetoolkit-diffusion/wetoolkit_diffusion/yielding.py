"""Who would run into somebody or through a red light waits: futures re-timed along their own paths, so that nobody meets whoever
is there first or passes a stop line that is shut.

All go along their paths as wanted, an eighth of a second at a time (``held_up``). Where two would meet, the one that has the other
more ahead of itself gives way - the follower, the one that comes from the side; who drives to who walks - and goes no farther than
there is room; it does not catch up later. Walkers pass one another as they like. The delays that this takes are then spread over
the time before with the least change of speed (``spread``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from wetoolkit_driving.geometry import quads_touch
from wetoolkit_driving.jit import kernel
from wetoolkit_driving.types import Bool, Double, Float

from wetoolkit_diffusion.rules import entered
from wetoolkit_diffusion.spec import PARTS

LONG, WIDE = 0.7, 0.1  # metres by which bodies with wheels are taken to be longer and wider
ROUND = 0.1  # metres by which walkers are
BEFORE = 0.3  # metres before a stop line at which one stands
STANDS = 0.05  # metres
KEPT = 1e-3  # 1/s^4: how little a delay that lasts counts, against changes of speed
ROUNDS = 12  # of Newton's method, at most
PASSES = 3  # times that all are re-timed, at most
HARD = 1e3  # 1/s^4: and how much one that is too short


@dataclass(frozen=True)
class Lights:
    """Stop lines of B scenes, and whom they bind."""

    lines: Double  # [B, S, 4] as ``rules.stops`` has them
    shut: Bool  # [B, S, F * PARTS + 1] from the present on
    bound: Bool  # [B, A]


def retimed(
    path: Double, heading: Double, size: Float, walks: Bool, moves: Bool, period: float, lights: Lights | None = None
) -> Double:
    """Places [B, A, F, 2] along the same paths [B, A, 1 + F, 2] (the present first, world's frame), later where others or red
    lights are in the way. ``heading`` [B, A] at the present, ``size`` [B, A, 2], ``walks`` [B, A], ``moves`` [B, A]: who may be
    delayed."""
    found = path
    for _ in range(PASSES):  # who brakes for a light brakes before it must, so whoever follows has to look again
        later = _later(found, heading, size, walks, moves, period, lights)
        if later is None:
            break
        found = np.concatenate([path[:, :, :1], later], 2)
    return found[:, :, 1:].copy()


def _later(
    path: Double, heading: Double, size: Float, walks: Bool, moves: Bool, period: float, lights: Lights | None
) -> Double | None:
    """``retimed`` once; None where nobody is late."""
    track = _finer(path)
    step = np.diff(track, axis=2)
    arc = np.concatenate([np.zeros_like(track[:, :, :1, 0]), np.hypot(step[..., 0], step[..., 1]).cumsum(2)], 2)  # [B, A, T + 1]
    turn = _headings(step, heading)
    bodies = size.astype(np.float64) + np.where(walks[..., None], ROUND, np.array([LONG, WIDE]))
    lines, closed = _crossed(track, turn, arc, lights)
    jobs = zip(track, turn, arc, bodies, walks, moves, lines, closed, strict=True)
    room = np.stack([held_up(*one) for one in jobs])
    late = (arc - room).max(2) > STANDS
    if not late.any():
        return None
    out = path[:, :, 1:].copy()
    gone = spread(arc[late], room[late], period / PARTS)[:, PARTS::PARTS]  # [n, F]
    for place, line, length, at in zip(np.argwhere(late), track[late], arc[late], gone, strict=True):
        there = np.concatenate([[True], np.diff(length) > 1e-9])
        out[tuple(place)] = np.stack([np.interp(at, length[there], line[there, c]) for c in range(2)], -1)
    return out


def _crossed(track: Double, turn: Double, arc: Double, lights: Lights | None) -> tuple[Double, Bool]:
    """Metres [B, A, S] along each path at which it passes each stop line, infinite where it does not or is not bound, and when
    that is shut [B, S, T + 1]."""
    if lights is None or not lights.shut.any():
        return np.empty((*arc.shape[:2], 0)), np.empty((len(arc), 0, arc.shape[2]), np.bool_)
    at = np.full((*arc.shape[:2], lights.lines.shape[1]), np.inf)
    for scene, lines in enumerate(lights.lines):
        passes = entered(lines, track[scene], turn[scene, :, 1:])  # [S, A, T]
        s, a, t = np.nonzero(passes & lights.bound[scene, None, :, None])
        before = ((track[scene, a, t] - lines[s, :2]) * lines[s, 2:]).sum(-1)
        after = ((track[scene, a, t + 1] - lines[s, :2]) * lines[s, 2:]).sum(-1)
        np.minimum.at(at[scene], (a, s), arc[scene, a, t] + (arc[scene, a, t + 1] - arc[scene, a, t]) * before / (before - after))
    return at, lights.shut


def _finer(path: Double) -> Double:
    """``PARTS`` places for each but the first, straight in between."""
    part = np.arange(1, PARTS + 1)[:, None] / PARTS
    between = path[:, :, :-1, None] + part * np.diff(path, axis=2)[:, :, :, None]
    return np.ascontiguousarray(np.concatenate([path[:, :, :1], between.reshape(*path.shape[:2], -1, 2)], 2))


def _headings(step: Double, heading: Double) -> Double:
    """Directions [B, A, T + 1] along a path; who stands keeps its own."""
    course = np.arctan2(step[..., 1], step[..., 0])
    out = np.empty((*course.shape[:2], course.shape[2] + 1))
    out[..., 0] = heading
    for t in range(course.shape[2]):
        out[..., t + 1] = np.where(np.hypot(step[:, :, t, 0], step[:, :, t, 1]) > 0.02, course[..., t], out[..., t])
    return out


def spread(arc: Double, room: Double, dt: float) -> Double:
    """Ways [n, T + 1] that stay behind ``room`` [n, T + 1] and otherwise change the speed of ``arc`` as little as may be."""
    due = np.maximum(arc - room, 0.0)[:, 1:]  # delays [n, T] that are needed at least
    steps = due.shape[1]
    bend = np.diff(np.eye(steps + 2), 2, axis=0)[:, 2:] / dt**2  # the two before the first are no delay
    plain = bend.T @ bend + KEPT * np.eye(steps)
    delay, short = np.zeros_like(due), due > STANDS
    for _ in range(ROUNDS):  # Newton's method: the penalty is quadratic where a delay is too short, and none where it is not
        matrix = plain + HARD * short[:, :, None] * np.eye(steps)
        delay = np.linalg.solve(matrix, (HARD * short * due)[..., None])[..., 0]
        before, short = short, delay < due
        if (short == before).all():
            break
    late = np.maximum(delay, due)
    gone = np.concatenate([arc[:, :1], arc[:, 1:] - late], 1)
    return np.maximum.accumulate(np.maximum(gone, 0.0), axis=1)


@kernel
def held_up(
    track: Double, heading: Double, arc: Double, body: Double, walks: Bool, moves: Bool, lines: Double, shut: Bool
) -> Double:
    """[A, T + 1] metres along each path [A, T + 1, 2] that are free of others, and of lines [A, S] metres on it while those are
    shut [S, T + 1]."""
    count, steps = arc.shape
    gone = arc.copy()
    pose, quad = np.zeros((count, 3)), np.zeros((count, 4, 2))
    reach = np.sqrt(body[:, 0] ** 2 + body[:, 1] ** 2) / 2
    close = np.zeros((count, count), np.bool_)
    for a in range(count):
        place(track[a], heading[a], arc[a], 0.0, body[a], pose[a], quad[a])
    for a in range(count):
        for b in range(a):
            close[a, b] = quads_touch(quad[a], quad[b])  # already: there is nothing to wait for
    for t in range(1, steps):
        for a in range(count):
            if moves[a]:
                gone[a, t] = min(gone[a, t - 1] + arc[a, t] - arc[a, t - 1], arc[a, t])
                for s in range(len(shut)):
                    if shut[s, t] and gone[a, t - 1] < lines[a, s]:
                        stand = lines[a, s] - body[a, 0] / 2 - BEFORE
                        gone[a, t] = min(gone[a, t], max(gone[a, t - 1], stand))
            place(track[a], heading[a], arc[a], gone[a, t], body[a], pose[a], quad[a])
        for _ in range(5):
            changed = False
            for a in range(count):
                for b in range(a):
                    if close[a, b] or not (moves[a] or moves[b]) or (walks[a] and walks[b]):
                        continue
                    dx, dy = pose[b, 0] - pose[a, 0], pose[b, 1] - pose[a, 1]
                    if dx * dx + dy * dy > (reach[a] + reach[b]) ** 2 or not quads_touch(quad[a], quad[b]):
                        continue
                    ahead_a = (np.cos(pose[a, 2]) * dx + np.sin(pose[a, 2]) * dy) / body[a, 0]
                    ahead_b = -(np.cos(pose[b, 2]) * dx + np.sin(pose[b, 2]) * dy) / body[b, 0]
                    yields = ahead_a >= ahead_b if walks[a] == walks[b] else walks[b]
                    first, second = (a, b) if yields else (b, a)
                    for who, other in ((first, second), (second, first)):
                        if not moves[who] or gone[who, t] <= gone[who, t - 1]:
                            continue
                        way = gone[who, t] - gone[who, t - 1]
                        for part in range(3, -1, -1):
                            gone[who, t] = gone[who, t - 1] + way * part / 4
                            place(track[who], heading[who], arc[who], gone[who, t], body[who], pose[who], quad[who])
                            if not quads_touch(quad[who], quad[other]):
                                break
                        changed = True
                        if not quads_touch(quad[who], quad[other]):
                            break
            if not changed:
                break
    return gone


@kernel
def place(track: Double, heading: Double, arc: Double, at: float, body: Double, pose: Double, quad: Double) -> None:
    """Write the pose [3] and the corners [4, 2] of a body that is ``at`` metres along its path."""
    k = 0
    while k < len(arc) - 2 and arc[k + 1] < at:
        k += 1
    part = (at - arc[k]) / max(arc[k + 1] - arc[k], 1e-9)
    part = min(max(part, 0.0), 1.0)
    pose[0] = track[k, 0] + part * (track[k + 1, 0] - track[k, 0])
    pose[1] = track[k, 1] + part * (track[k + 1, 1] - track[k, 1])
    pose[2] = heading[k + 1] if part > 0.0 else heading[k]
    cos, sin = np.cos(pose[2]), np.sin(pose[2])
    length, width = body[0] / 2, body[1] / 2
    for c in range(4):
        dx = length if c == 0 or c == 3 else -length
        dy = width if c < 2 else -width
        quad[c, 0] = pose[0] + cos * dx - sin * dy
        quad[c, 1] = pose[1] + sin * dx + cos * dy


__all__ = ["Lights", "held_up", "retimed", "spread"]
