"""Pedestrians: social forces around their own log, and the intent to cross a carriageway.

Sources: Helbing, Molnar, "Social force model for pedestrian dynamics", Phys. Rev. E 51 (1995): relaxation to the desired velocity,
repulsion V0 exp(-b / sigma) with elliptical equipotentials, walls U0 exp(-r / R), halved sight beyond 100 degrees. The ellipse is
stretched along the *relative* velocity, as in Johansson, Helbing, Shukla, "Specification of the social force pedestrian model by
evolutionary adjustment to video tracking data", Adv. Complex Syst. 10 (2007), so that two people push each other equally hard.

A walker follows a carrot that runs along its recorded track at the recorded pace, and on straight beyond the record. What the
log's own walker did among the log's own others already holds their forces; only what differs is added: F(now) - w F(log), where w
fades from 1 as the walker leaves its log in space or time. Somebody near whom nothing has changed therefore repeats the log, and
is gone where its record ends; who is on another way by then walks on.

At the kerb (the last place before its track enters a lane's polygon) a walker looks once, and then at every step until it goes:
it accepts a gap if every vehicle that would meet it at constant velocity comes ``demand`` seconds or more after it has left that
vehicle's strip. What its log shows it to have accepted, it accepts again. Once gone, it does not turn back.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from wetoolkit_driving.jit import inner, kernel
from wetoolkit_driving.traffic.layout import Now, Scene, Steps, clear, put
from wetoolkit_driving.types import AgentClass, Bool, Double

V0, SIGMA = 2.1, 0.3  # m^2/s^2, metres: people (Helbing & Molnar 1995)
U0, RANGE = 10.0, 0.2  # m^2/s^2, metres: walls, and here every box (Helbing & Molnar 1995)
STRETCH = 1.0  # seconds of relative motion between the foci: two that meet at 1.3 m/s have the ellipse of 1995 (2 s of one's own)
RELAXATION = 0.5  # seconds (Helbing & Molnar 1995)
BEHIND, SIGHT = 0.5, float(np.cos(np.deg2rad(100.0)))  # weight of what is out of sight; half the angle of sight
SIDE = 0.15  # radians by which pushes turn, so that two who meet head-on pass on their right; alike for both: momentum stays
STRONGEST = 6.0  # m/s^2: nobody is pushed harder
REACH = 6.0  # metres beyond which people and boxes at rest are not looked at
FASTER = 1.3  # nobody walks faster than this times its own greatest pace (Helbing & Molnar 1995), or than PACE
PACE = 1.34 * FASTER  # m/s
ON_LOG = 0.1  # metres: nearer than this to its log, and in time, a walker is where the log has it
CATCH_UP = 1.0  # seconds in which a distance to the carrot is made good
LEASH, SLACK = 1.0, 0.3  # metres: the carrot slows from SLACK on, and waits at SLACK + LEASH
EASE = 2.0  # 1/s: how fast the carrot's pace changes, as a share of the full
FADE_SPACE, FADE_TIME = 0.5, 1.0  # metres, seconds
LOOK = 5  # steps before the kerb at which a walker decides
KERB = 0.4  # metres kept from the lane while waiting
COMING = 0.5  # m/s: slower vehicles are taken to stand
ASIDE = 0.4  # metres kept from a vehicle's strip
FORESIGHT = 8.0  # seconds
SWEEPS = 4  # times that overlaps are taken apart: what parts two may push a third
WALKING, HELD, GOING = 0, 1, 2  # intent
PEDESTRIAN, VEHICLE, BICYCLE = int(AgentClass.PEDESTRIAN), int(AgentClass.VEHICLE), int(AgentClass.BICYCLE)


MODE = 3  # ``Bodies.mode`` of walkers, before they appear as well


class Walkers(NamedTuple):
    """The W pedestrians of B scenes. The last nine arrays are states and are written by ``walk``."""

    first: Steps  # [B + 1] scene b's walkers are first[b]..first[b + 1]
    agent: Steps  # [W] row among its scene's agents
    entry: Steps  # [W] step of its first sample
    offset: Steps  # [W + 1] into the samples
    track: Double  # [K, 2] metres, one sample a step; beyond the record straight on
    course: Double  # [K] heading of the box, radians
    recorded: Bool  # [K] whether the log shows it there at that step
    explained: Double  # [K, 2] m/s^2: the model's force in the log's own state; zero beyond the record
    stretch_offset: Steps  # [W + 1] into the stretches
    stretch: Steps  # [C, 2] first sample in a lane's polygon, first one out of it again (of the walker's own samples)
    demand: Double  # [C] spare seconds asked of every vehicle
    room_offset: Steps  # [W + 1]
    room: Double  # [A + 1] for each walker, metres: nobody is let nearer to a person's centre, or to a thing's surface
    factor: Double  # [W] pace, as a factor on the log's
    fastest: Double  # [W] m/s
    phase: Double  # [W] sample the carrot has reached
    rate: Double  # [W] samples a step, 1 on the log
    intent: Steps  # [W] WALKING, HELD or GOING, with regard to ...
    next: Steps  # [W] ... this stretch, counted from the walker's first
    xy: Double  # [W, 2] metres
    pull: Double  # [W, 2] m/s: the carrot's velocity in the step before
    v: Double  # [W, 2] m/s
    started: Bool  # [W]


@kernel
def repulsion(dx: float, dy: float, ux: float, uy: float, strength: float, width: float) -> tuple[float, float]:
    """Push [m/s^2] on somebody at d = (dx, dy) from another who moves at u = (ux, uy) relative to it.

    -grad of ``strength`` exp(-b / width), 2 b = sqrt((|d| + |d - y|)^2 - |y|^2), y = STRETCH u: an ellipse with the foci 0 and y.
    Turned by SIDE. Swapping the two (d, u -> -d, -u) turns the push round exactly.
    """
    yx, yy = STRETCH * ux, STRETCH * uy
    a, c = np.hypot(dx, dy), np.hypot(dx - yx, dy - yy)
    square = (a + c) ** 2 - yx * yx - yy * yy
    b = 0.5 * np.sqrt(max(square, 1e-6))
    a, c = max(a, 1e-3), max(c, 1e-3)
    size = strength / width * np.exp(-b / width) * (a + c) / (4.0 * b)
    gx, gy = size * (dx / a + (dx - yx) / c), size * (dy / a + (dy - yy) / c)
    norm = np.hypot(gx, gy)
    cut = min(1.0, STRONGEST / max(norm, 1e-9))
    cos, sin = np.cos(SIDE), np.sin(SIDE)
    return cut * (cos * gx - sin * gy), cut * (sin * gx + cos * gy)


@kernel
def off_box(x: float, y: float, box: Double, length: float, width: float) -> tuple[float, float]:
    """From the nearest point of a box [3] to (x, y), metres; from inside: the way out over the nearest side, negative in length
    (that is, pointing inwards)."""
    c, s = np.cos(box[2]), np.sin(box[2])
    dx, dy = x - box[0], y - box[1]
    along, aside = c * dx + s * dy, c * dy - s * dx
    over, by = abs(along) - 0.5 * length, abs(aside) - 0.5 * width
    if over <= 0.0 and by <= 0.0:
        if over > by:
            along, aside = (over if along > 0 else -over), 0.0
        else:
            along, aside = 0.0, (by if aside > 0 else -by)
    else:
        along = max(over, 0.0) * (1.0 if along > 0 else -1.0)
        aside = max(by, 0.0) * (1.0 if aside > 0 else -1.0)
    return c * along - s * aside, s * along + c * aside


@inner
def force(agent: int, x: float, y: float, vx: float, vy: float, now: Now) -> tuple[float, float]:
    """All pushes [m/s^2] on a walker at (x, y) with velocity v, from people (centres) and from boxes (surfaces)."""
    fx, fy = 0.0, 0.0
    for j in range(len(now.pose)):
        if j == agent or not now.there[j]:
            continue
        dx, dy = x - now.pose[j, 0], y - now.pose[j, 1]
        reach = REACH + 0.5 * (now.size[j, 0] + now.size[j, 1]) + STRETCH * (abs(now.speed[j, 0]) + abs(now.speed[j, 1]))
        if abs(dx) > reach or abs(dy) > reach:
            continue
        fast = np.hypot(now.speed[j, 0], now.speed[j, 1])
        if now.kind[j] == PEDESTRIAN:
            px, py = repulsion(dx, dy, now.speed[j, 0] - vx, now.speed[j, 1] - vy, V0, SIGMA)
        else:
            dx, dy = off_box(x, y, now.pose[j], now.size[j, 0], now.size[j, 1])
            if (x - now.pose[j, 0]) * dx + (y - now.pose[j, 1]) * dy < 0.0:  # inside: out over the nearest side, as hard as may be
                size = max(np.hypot(dx, dy), 1e-9)
                dx, dy = -0.01 * dx / size, -0.01 * dy / size
            ux, uy = (now.speed[j, 0] - vx, now.speed[j, 1] - vy) if fast > COMING else (0.0, 0.0)
            px, py = repulsion(dx, dy, ux, uy, U0, RANGE)
        pace = np.hypot(vx, vy)
        seen = 1.0
        if pace > 0.1 and -(vx * px + vy * py) < SIGHT * pace * np.hypot(px, py):
            seen = BEHIND
        fx, fy = fx + seen * px, fy + seen * py
    size = np.hypot(fx, fy)
    cut = min(1.0, STRONGEST / max(size, 1e-9))
    return cut * fx, cut * fy


@kernel
def spare(
    x: float, y: float, px: float, py: float, qx: float, qy: float, pace: float,
    now: Now,
) -> float:  # fmt: skip
    """Seconds between a walker's leaving the strip of a vehicle and that vehicle's coming, the least of all vehicles; inf for none.

    The walker goes from (x, y) to p and on to q at ``pace``, everybody else on at constant velocity. Negative: they would meet.
    """
    least = np.inf
    before, length = np.hypot(px - x, py - y), max(np.hypot(qx - px, qy - py), 1e-6)
    for j in range(len(now.pose)):
        fast = np.hypot(now.speed[j, 0], now.speed[j, 1])
        if not now.there[j] or not (now.kind[j] == VEHICLE or now.kind[j] == BICYCLE) or fast < COMING:
            continue
        ux, uy = now.speed[j, 0] / fast, now.speed[j, 1] / fast
        half = 0.5 * now.size[j, 1] + ASIDE
        s0, l0 = (px - now.pose[j, 0]) * ux + (py - now.pose[j, 1]) * uy, (py - now.pose[j, 1]) * ux - (px - now.pose[j, 0]) * uy
        s1, l1 = (qx - now.pose[j, 0]) * ux + (qy - now.pose[j, 1]) * uy, (qy - now.pose[j, 1]) * ux - (qx - now.pose[j, 0]) * uy
        a, b = 0.0, 1.0  # the part of p-q that lies in the strip
        if abs(l1 - l0) < 1e-9:
            if abs(l0) > half:
                continue
        else:
            first, second = (-half - l0) / (l1 - l0), (half - l0) / (l1 - l0)
            a, b = max(0.0, min(first, second)), min(1.0, max(first, second))
            if a > b:
                continue
        front = 0.5 * now.size[j, 0]
        near, far = min(s0 + a * (s1 - s0), s0 + b * (s1 - s0)) - front, max(s0 + a * (s1 - s0), s0 + b * (s1 - s0)) + front
        enters, leaves = (before + a * length) / pace, (before + b * length) / pace
        if far / fast < enters or near / fast > leaves + FORESIGHT:
            continue  # past before the walker is there, or far away
        least = min(least, near / fast - leaves)
    return least


@inner
def _carrot(w: Walkers, i: int, phase: float) -> tuple[float, float]:
    begin, count = w.offset[i], w.offset[i + 1] - w.offset[i]
    k = min(max(int(phase), 0), count - 2)
    part = min(phase - k, 1.0)
    a, b = begin + k, begin + k + 1
    x = w.track[a, 0] + part * (w.track[b, 0] - w.track[a, 0])
    y = w.track[a, 1] + part * (w.track[b, 1] - w.track[a, 1])
    return x, y


@inner
def _crossing_pace(w: Walkers, i: int, c: int, dt: float) -> float:
    """The pace at which the log took a stretch, at least 0.5 m/s."""
    p, q = w.offset[i] + w.stretch[c, 0], w.offset[i] + w.stretch[c, 1]
    length = np.hypot(w.track[q, 0] - w.track[p, 0], w.track[q, 1] - w.track[p, 1])
    return float(max(0.5, w.factor[i] * length / (max(q - p, 1) * dt)))


@inner
def spare_of(w: Walkers, i: int, c: int, x: float, y: float, dt: float, now: Now) -> float:
    """``spare`` of walker ``i`` at (x, y) with regard to its stretch ``c`` (counted through)."""
    p, q = w.offset[i] + w.stretch[c, 0], w.offset[i] + w.stretch[c, 1]
    return spare(
        x, y, w.track[p, 0], w.track[p, 1], w.track[q, 0], w.track[q, 1], _crossing_pace(w, i, c, dt), now
    )  # fmt: skip


@inner
def _decide(w: Walkers, i: int, dt: float, now: Now) -> float:
    """Settle the intent of a walker; returns the sample its carrot may not pass."""
    c = w.stretch_offset[i] + w.next[i]
    while c < w.stretch_offset[i + 1] and w.phase[i] >= w.stretch[c, 1]:
        w.next[i], c = w.next[i] + 1, c + 1
        w.intent[i] = WALKING
    if c >= w.stretch_offset[i + 1] or w.intent[i] == GOING or w.phase[i] + LOOK < w.stretch[c, 0]:
        return np.inf
    if spare_of(w, i, c, w.xy[i, 0], w.xy[i, 1], dt, now) >= w.demand[c]:
        w.intent[i] = GOING
        return np.inf
    w.intent[i] = HELD
    p, k = w.offset[i] + w.stretch[c, 0], w.stretch[c, 0]
    while k > 0:
        a = w.offset[i] + k
        if np.hypot(w.track[a, 0] - w.track[p, 0], w.track[a, 1] - w.track[p, 1]) >= KERB:
            break
        k -= 1
    return float(max(k, w.phase[i]))


@inner
def walk(t: int, b: int, scene: Scene, now: Now, w: Walkers) -> None:
    """Move every walker of scene ``b`` from step ``t``, at which ``now`` shows everybody, to ``t + 1``, and write it there."""
    dt = scene.dt
    for i in range(w.first[b], w.first[b + 1]):
        if not w.started[i]:
            continue
        lag = (t - w.entry[i]) - w.phase[i]
        stop = _decide(w, i, dt, now)
        cx, cy = _carrot(w, i, w.phase[i])
        ex, ey = cx - w.xy[i, 0], cy - w.xy[i, 1]
        away = np.hypot(ex, ey)
        want = w.factor[i] * min(max(1.0 - max(away - SLACK, 0.0) / LEASH, 0.0), 1.0)
        rate = min(max(want, w.rate[i] - EASE * dt), w.rate[i] + EASE * dt)
        phase = min(w.phase[i] + rate, max(stop, w.phase[i]))
        w.rate[i] = phase - w.phase[i]
        nx, ny = _carrot(w, i, phase)
        ux, uy = (nx - cx) / dt, (ny - cy) / dt
        fx, fy = force(w.agent[i], w.xy[i, 0], w.xy[i, 1], w.v[i, 0], w.v[i, 1], now)
        known = w.explained[min(w.offset[i] + int(w.phase[i]), w.offset[i + 1] - 1)]
        kept = np.exp(-((away / FADE_SPACE) ** 2) - (lag * dt / FADE_TIME) ** 2)
        fx, fy = fx - kept * known[0], fy - kept * known[1]
        ax = fx + (ex / CATCH_UP - w.v[i, 0] + w.pull[i, 0]) / RELAXATION
        ay = fy + (ey / CATCH_UP - w.v[i, 1] + w.pull[i, 1]) / RELAXATION
        vx, vy = w.v[i, 0] + ux - w.pull[i, 0] + dt * ax, w.v[i, 1] + uy - w.pull[i, 1] + dt * ay
        cut = min(1.0, w.fastest[i] / max(np.hypot(vx, vy), 1e-9))
        w.v[i, 0], w.v[i, 1] = cut * vx, cut * vy
        w.pull[i, 0], w.pull[i, 1], w.phase[i] = ux, uy, phase
    for i in range(w.first[b], w.first[b + 1]):
        if w.started[i]:
            w.xy[i, 0], w.xy[i, 1] = w.xy[i, 0] + dt * w.v[i, 0], w.xy[i, 1] + dt * w.v[i, 1]
    for _ in range(SWEEPS):
        if not _separate(w, b, scene, now):
            break
    for i in range(w.first[b], w.first[b + 1]):
        if w.started[i]:
            _write(w, i, t + 1, scene)
        elif w.entry[i] == t + 1:
            begin(w, i, scene)


@inner
def _separate(w: Walkers, b: int, scene: Scene, now: Now) -> bool:
    """Move walkers apart where they overlap each other (half way each), somebody replayed or a box at rest; whether any did."""
    overlap = False
    for i in range(w.first[b], w.first[b + 1]):
        if not w.started[i]:
            continue
        for k in range(i + 1, w.first[b + 1]):
            if w.started[k]:
                overlap |= _part(w, i, k)
        for j in range(len(now.pose)):
            if j != w.agent[i] and now.there[j] and (j == len(scene.mode) or scene.mode[j] != MODE):
                overlap |= _step_aside(w, i, j, scene.dt, now)
    return overlap


@inner
def _part(w: Walkers, i: int, k: int) -> bool:
    room = w.room[w.room_offset[i] + w.agent[k]]
    dx, dy = w.xy[i, 0] - w.xy[k, 0], w.xy[i, 1] - w.xy[k, 1]
    if abs(dx) > room or abs(dy) > room:
        return False
    apart = np.hypot(dx, dy)
    short = 0.5 * (room - apart)
    if short < 1e-6 or apart < 1e-6:
        return False
    mx, my = short * dx / apart, short * dy / apart
    w.xy[i, 0], w.xy[i, 1] = w.xy[i, 0] + mx, w.xy[i, 1] + my
    w.xy[k, 0], w.xy[k, 1] = w.xy[k, 0] - mx, w.xy[k, 1] - my
    return True


@inner
def _step_aside(w: Walkers, i: int, j: int, dt: float, now: Now) -> bool:
    """Move walker ``i`` out of body ``j``, unless that is a vehicle in motion: it may be hit by those."""
    room = w.room[w.room_offset[i] + j]
    dx, dy = w.xy[i, 0] - now.pose[j, 0], w.xy[i, 1] - now.pose[j, 1]
    reach = room + now.size[j, 0] + now.size[j, 1]
    if room <= 0.0 or abs(dx) > reach or abs(dy) > reach:
        return False
    sense = 1.0
    if now.kind[j] == PEDESTRIAN:
        dx, dy = dx - dt * now.speed[j, 0], dy - dt * now.speed[j, 1]  # where that one will be
    else:
        if np.hypot(now.speed[j, 0], now.speed[j, 1]) > COMING:
            return False
        bx, by = off_box(w.xy[i, 0], w.xy[i, 1], now.pose[j], now.size[j, 0], now.size[j, 1])
        sense = -1.0 if dx * bx + dy * by < 0.0 else 1.0  # from inside the box's surface lies the other way
        dx, dy = bx, by
    apart = np.hypot(dx, dy)
    short = room - sense * apart
    if short < 1e-6 or apart < 1e-6:
        return False
    w.xy[i, 0], w.xy[i, 1] = w.xy[i, 0] + sense * short * dx / apart, w.xy[i, 1] + sense * short * dy / apart
    return True


@inner
def begin(w: Walkers, i: int, scene: Scene) -> None:
    """Let a walker appear at its first sample, at the pace it will have."""
    k = w.offset[i]
    w.started[i] = True
    for n in range(2):
        w.xy[i, n] = w.track[k, n]
        w.pull[i, n] = (w.track[k + 1, n] - w.track[k, n]) / scene.dt
        w.v[i, n] = w.pull[i, n]
    _write(w, i, w.entry[i], scene)


@inner
def _write(w: Walkers, i: int, t: int, scene: Scene) -> None:
    """A walker's box looks as in the log, turned by what its motion is turned against the carrot's. On its log it is there when the
    log shows it; beyond the log's end it goes, unless it is on another way."""
    a, count = w.agent[i], w.offset[i + 1] - w.offset[i]
    k = w.offset[i] + min(int(w.phase[i] + 0.5), count - 1)
    off_time = abs(t - w.entry[i] - w.phase[i]) > 1e-6
    if not w.recorded[k] and not off_time and np.hypot(w.xy[i, 0] - w.track[k, 0], w.xy[i, 1] - w.track[k, 1]) < ON_LOG:
        w.started[i] = w.recorded[k : w.offset[i + 1]].any()
        clear(scene, a, t)
        return
    turn = 0.0
    if np.hypot(w.v[i, 0], w.v[i, 1]) > 0.3 and np.hypot(w.pull[i, 0], w.pull[i, 1]) > 0.3:
        turn = np.arctan2(w.v[i, 1], w.v[i, 0]) - np.arctan2(w.pull[i, 1], w.pull[i, 0])
    put(scene, a, t, w.xy[i, 0], w.xy[i, 1], w.course[k] + turn, w.v[i, 0], w.v[i, 1])


__all__ = ["GOING", "HELD", "MODE", "WALKING", "Walkers", "begin", "force", "off_box", "repulsion", "spare", "spare_of", "walk"]
