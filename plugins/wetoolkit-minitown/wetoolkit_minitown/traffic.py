"""The town's traffic, 10 steps a second, compiled: who goes when at junctions, who follows whom, who walks.

Road traffic keeps to its track and follows the intelligent driver model (Treiber et al. 2000). A junction is entered only with
leave: signals, the right of way, gaps to those who have it, crossings free of walkers, and room beyond are looked at, and
conflicting ways are never lent out at once. So nobody collides in ordinary traffic; what is staged breaks these rules on purpose.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wetoolkit_minitown.following import ahead, at_track, blocked, idm, nearest

Double = NDArray[np.float64]
Int = NDArray[np.int64]

DT = 0.1
NONE, CROSSER, BRAKER, CUTTER, ACTOR = range(5)  # what is staged
FORESEEN = 3.0  # seconds ahead that drivers reckon with those who are off the tracks
STAND = 7.5  # metres before the line at which one waits for leave
HARDEST, JERK = 3.8, 8.0  # m/s^2 and m/s^3 with which the expert brakes: a drive in which this does not suffice is drawn again
NOTICED = 3  # steps after an event set off from which the ego reckons with it


class Drivers(NamedTuple):
    """N road users on tracks; row 0 is the expert ego, row 1 the one that cuts in where that is staged."""

    path: Int  # [N, P] tracks in order
    s: Double  # [N] rear axle along the first track, metres
    v: Double  # [N] m/s
    body: Double  # [N, 3] width, rear axle to front, rear axle to rear, metres
    manner: Double  # [N, 6] speed factor, top speed [m/s], headway [s], acceleration, deceleration [m/s^2], gap accepted [s]


class Walkers(NamedTuple):
    """P pedestrians on pavements and crossings."""

    path: Int  # [P, E] walks as 2 * index + (1 if walked backwards)
    s: Double  # [P]
    v: Double  # [P] m/s
    aside: Double  # [P] metres to the right of the walk's middle


class Standers(NamedTuple):
    """R who stand at the kerb; those with a speed set off when what is staged does."""

    start: Double  # [R, 3] x, y, heading
    speed: Double  # [R] m/s once under way
    length: Double  # [R] metres to go


class Stage(NamedTuple):
    """What is staged and when."""

    kind: int
    at: int  # CROSSER: index in the ego's path; ACTOR: the step at which it sets off; others: first step it may happen
    s: float  # CROSSER: metres along that track
    time: float  # CROSSER: seconds before the ego's front gets there; CUTTER: seconds the lane change takes
    hard: float  # BRAKER, CUTTER: deceleration m/s^2
    low: float  # BRAKER: speed braked to; CUTTER: speed difference, m/s
    gap: float  # BRAKER: seconds it stays slow; CUTTER: metres it leaves
    side: float  # CUTTER: +1 comes from the left, -1 from the right
    script: Double = np.zeros((0, 4))  # [T, 4] ACTOR: box centre x, y, heading, speed; what it does whatever the others do
    extent: Double = np.zeros(2)  # [2] ACTOR: length, width, metres


@njit(cache=True)
def leave(i, t, net, link, path, k, s, v, lane, held, body, accepts, walked, waiting, lights):  # type: ignore[no-untyped-def]
    """Whether i may enter ``link`` now."""
    row = net.signal[link]
    if row >= 0 and lights[row, t] != 1:
        return False
    for c in range(2):
        w = net.crossing[link, c]
        if w >= 0 and (walked[w] > 0 or (row < 0 and waiting[w] > 15)):
            return False
    room = body[i, 1] + body[i, 2] + 3.0
    for j in range(len(s)):
        if j == i:
            continue
        until = net.until[held[j], link] if held[j] >= 0 else -1.0
        if until >= 0.0 and (lane[j] != held[j] or s[j] - body[j, 2] <= until):
            return False  # has leave for a way that crosses this one, and is not past it yet
        if lane[j] == lane[i] and s[j] > s[i] and held[j] < 0:
            return False  # whoever is ahead goes first: leave lent to one who cannot use it would hold up all others
        if lane[j] == net.target[link] and s[j] - body[j, 2] < room and v[j] < 3.0:
            return False
        if k[j] + 1 >= path.shape[1]:
            continue
        other = path[j, k[j] + 1]
        if net.origin[other] < 0 or net.priority[other] <= net.priority[link] or net.origin[other] == net.origin[link]:
            continue
        if net.signal[other] >= 0 and lights[net.signal[other], t] == 3:
            continue
        left = net.length[lane[j]] - s[j] - body[j, 1]
        if left / max(v[j], 1.0) > accepts or (v[j] < 0.3 and left < STAND + 2.0):
            continue
        for e in range(net.conflict_offset[link], net.conflict_offset[link + 1]):
            if net.conflict[e] == other:
                return False
    return True


@njit(cache=True)
def request(net, link, v):  # type: ignore[no-untyped-def]
    """Metres before the line at which leave is asked for: early with the right of way, at the line without."""
    priority = net.priority[link]
    return 12.0 + 2.8 * v if priority == 2 else (20.0 if priority == 1 else 17.0)


@njit(cache=True)
def give(held, i, net, vehicles, change):  # type: ignore[no-untyped-def]
    """Lend (+1) or take back (-1) the crossings that the link which i holds runs over."""
    for c in range(2):
        if net.crossing[held[i], c] >= 0:
            vehicles[net.crossing[held[i], c]] += change


@njit(cache=True)
def walk(t, paths, walkers, wk, ws, pace, over, walked, vehicles, waiting, lights, shown, dt):  # type: ignore[no-untyped-def]
    """One step of every walker; crossings are entered with the signal, or when no road user has leave to run over them."""
    waiting[:] = np.maximum(waiting - 1, 0)
    for p in range(len(ws)):
        code = walkers.path[p, wk[p]]
        w = code // 2
        go = True
        if ws[p] >= paths.length[w] and paths.signal[w] >= -1 and not over[p]:  # across, though it may have to wait there
            walked[w] -= 1
            over[p] = True
        if ws[p] >= paths.length[w] and wk[p] + 1 < walkers.path.shape[1]:
            nxt = walkers.path[p, wk[p] + 1] // 2
            if paths.signal[nxt] >= -1:
                need = int(paths.length[nxt] / walkers.v[p] / dt) + 10
                row = paths.signal[nxt]
                go = vehicles[nxt] == 0
                if row >= 0:
                    go = go and np.all(lights[row, t : t + need] == 3)
                elif not go:
                    waiting[nxt] = min(waiting[nxt] + 2, 60)
            if go:
                if paths.signal[nxt] >= -1:
                    walked[nxt] += 1
                over[p] = False
                ws[p] -= paths.length[w]
                wk[p] += 1
                code = walkers.path[p, wk[p]]
                w = nxt
        pace[p] += min(max((walkers.v[p] if go else 0.0) - pace[p], -2.0 * dt), 1.5 * dt)
        if go:
            ws[p] += pace[p] * dt
        s = ws[p] if code % 2 == 0 else paths.length[w] - ws[p]
        x, y, h = at_track(paths.pose, paths.offset, paths.step, w, s)
        if code % 2 == 1:
            h += np.pi
        x += walkers.aside[p] * np.sin(h)
        y -= walkers.aside[p] * np.cos(h)
        if t == 0:
            shown[p, 0], shown[p, 1], shown[p, 2] = x, y, h
            shown[p, 3] = pace[p]
            continue
        dx, dy = (x - shown[p, 0]) * dt / 0.5, (y - shown[p, 1]) * dt / 0.5  # rounds corners, half a second behind
        speed = np.hypot(dx, dy) / dt
        shown[p, 0] += dx
        shown[p, 1] += dy
        if speed > 0.25:
            shown[p, 2] = np.arctan2(dy, dx)
        shown[p, 3] = speed


@njit(cache=True)
def foresee(t, stage, trigger, rogue):  # type: ignore[no-untyped-def]
    """Where the actor is and will be, second by second, into three rows of ``rogue``: from its rear now to its front then."""
    if len(stage.script) == 0:
        return
    last, third = len(stage.script) - 1, int(FORESEEN / DT / 3)
    for r in range(3):
        a, b = stage.script[min(t + third * r, last)], stage.script[min(t + third * (r + 1), last)]
        back, front = (stage.extent[0] / 2 if r == 0 else 0.0), stage.extent[0] / 2
        rogue[r, 0], rogue[r, 1] = a[0] - back * np.cos(a[2]), a[1] - back * np.sin(a[2])
        rogue[r, 2] = b[0] + front * np.cos(b[2]) - rogue[r, 0]
        rogue[r, 3] = b[1] + front * np.sin(b[2]) - rogue[r, 1]
        rogue[r, 4] = stage.extent[1] / 2 + 0.5
        rogue[r, 5] = 1.0 if trigger >= 0 and t - trigger >= NOTICED else 0.0
        rogue[r, 6] = 1.0


@njit(cache=True)
def run(net, paths, drivers, walkers, standers, stage, lights, steps, after):  # type: ignore[no-untyped-def]
    """Traffic for ``steps``; where something is staged, until ``after`` steps from when it set off (what comes later is zeros).

    Drivers [N, T, 4] (rear axle x, y, heading, speed), walkers and standers [P, T, 4] (centre), the ego's (index in its path,
    metres) [T, 2], and the step at which the staged event set off (-1: it never did).
    """
    dt = 0.1
    count, n_walk, n_stand = len(drivers.s), len(walkers.s), len(standers.speed)
    path, body, manner = drivers.path.copy(), drivers.body, drivers.manner
    k, s, v = np.zeros(count, np.int64), drivers.s.copy(), drivers.v.copy()
    acc, held, lane = np.zeros(count), np.full(count, -1), path[:, 0].copy()
    lateral, slant = np.zeros(count), np.zeros(count)
    hidden = np.zeros(count, np.bool_)
    walks = len(paths.length)
    walked, vehicles, waiting = np.zeros(walks, np.int64), np.zeros(walks, np.int64), np.zeros(walks, np.int64)
    wk, ws, pace = np.zeros(n_walk, np.int64), walkers.s.copy(), walkers.v.copy()
    over = np.zeros(n_walk, np.bool_)
    shown, gone = np.zeros((n_walk, 4)), np.zeros(n_stand)
    rogue = np.zeros((n_stand + 3, 7))
    out_d, out_w, out_s = np.zeros((count, steps, 4)), np.zeros((n_walk, steps, 4)), np.zeros((n_stand, steps, 4))
    where = np.zeros((steps, 2))
    trigger, target, began = -1, -1, 0.0
    for p in range(n_walk):
        if paths.signal[walkers.path[p, 0] // 2] >= -1:
            walked[walkers.path[p, 0] // 2] += 1
    for t in range(steps):
        if stage.kind > 0 and t >= (steps - after if trigger < 0 else trigger + after):
            break
        # -- what is staged sets off
        if trigger < 0 and stage.kind == 1:
            d = stage.s - s[0] - body[0, 1]
            for q in range(k[0], stage.at):
                d += net.length[path[0, q]]
            gap, who = ahead(0, net, path, k, s, lane, body, hidden)
            if k[0] <= stage.at and d > 0.0 and d <= v[0] * stage.time and v[0] > 4.5 and gap > d + 12.0:
                trigger = t
            elif k[0] > stage.at or (k[0] == stage.at and d <= 0.0):
                break  # passed without having been crossed
        elif trigger < 0 and stage.kind == 4 and t == stage.at:
            if v[0] < 4.5:
                break  # the ego is held up by something else
            trigger = t
        elif trigger < 0 and stage.kind == 2 and t >= stage.at and net.origin[lane[0]] < 0 and v[0] > 6.0:
            gap, who = ahead(0, net, path, k, s, lane, body, hidden)
            if who >= 0 and gap < 8.0 + 1.3 * v[0] and v[who] > 6.0 and lane[who] == lane[0] and s[0] < net.length[lane[0]] - 35.0:
                trigger, target = t, who
        elif trigger < 0 and stage.kind == 3 and t >= stage.at and v[0] > 6.0 and k[0] == 0 and k[1] == 0:
            clear = s[1] - body[1, 2] - s[0] - body[0, 1]
            if abs(clear - stage.gap) < 1.5 and abs(v[1] - v[0]) < 1.5 and s[1] < net.length[lane[1]] - 45.0:
                trigger, target, began = t, 1, v[0]
                x, y, _ = at_track(net.pose, net.offset, net.step, lane[1], s[1])
                path[1], lane[1] = path[0], lane[0]
                s[1] = nearest(net, lane[0], s[1], x, y)
                hidden[1] = True
        for r in range(n_stand):
            going = trigger >= 0 and gone[r] < standers.length[r]
            speed = standers.speed[r] * min(1.0, (t - trigger + 1) * dt / 0.5) if going else 0.0
            gone[r] += speed * dt
            h = standers.start[r, 2]
            rogue[r, 0], rogue[r, 1] = standers.start[r, 0] + gone[r] * np.cos(h), standers.start[r, 1] + gone[r] * np.sin(h)
            on = min(FORESEEN * speed, max(standers.length[r] - gone[r], 0.0))
            rogue[r, 2], rogue[r, 3], rogue[r, 4] = on * np.cos(h), on * np.sin(h), 0.9
            rogue[r, 5] = 1.0 if standers.speed[r] > 0.0 and trigger >= 0 and t - trigger >= NOTICED else 0.0
            rogue[r, 6] = rogue[r, 5]
            out_s[r, t, 0], out_s[r, t, 1], out_s[r, t, 2], out_s[r, t, 3] = rogue[r, 0], rogue[r, 1], h, speed
        foresee(t, stage, trigger, rogue[n_stand:])
        walk(t, paths, walkers, wk, ws, pace, over, walked, vehicles, waiting, lights, shown, dt)
        out_w[:, t] = shown
        if hidden[1 % count] and t - trigger >= 5:
            hidden[1] = False
        # -- leave to enter junctions
        for i in range(count):
            if net.origin[lane[i]] >= 0 or k[i] + 1 >= path.shape[1]:
                continue
            link = path[i, k[i] + 1]
            left = net.length[lane[i]] - s[i] - body[i, 1]
            if held[i] >= 0 and held[i] == link:
                row = net.signal[link]
                if row >= 0 and lights[row, t] != 1 and left > v[i] * v[i] / 4.5 + STAND - 1.0:
                    give(held, i, net, vehicles, -1)
                    held[i] = -1
            elif (
                held[i] < 0
                and left < request(net, link, v[i])
                and leave(i, t, net, link, path, k, s, v, lane, held, body, manner[i, 5], walked, waiting, lights)
            ):
                held[i] = link
                give(held, i, net, vehicles, 1)
        # -- accelerations
        for i in range(count):
            want = min(net.cap[lane[i]] * manner[i, 0], manner[i, 1])
            reach = net.length[lane[i]] - s[i]
            for q in range(k[i] + 1, min(k[i] + 3, path.shape[1])):
                soon = min(net.cap[path[i, q]] * manner[i, 0], manner[i, 1])
                want = min(want, np.sqrt(soon * soon + (4.8 if i == 0 else 2.8) * max(reach - 2.0, 0.0)))
                reach += net.length[path[i, q]]
            gap, who = ahead(i, net, path, k, s, lane, body, hidden)
            lead = v[who] if who >= 0 else 0.0
            a = idm(v[i], want, gap, lead, acc[who] if who >= 0 else 0.0, manner[i, 2], manner[i, 3], manner[i, 4], 2.2)
            if net.origin[lane[i]] < 0 and k[i] + 1 < path.shape[1] and held[i] != path[i, k[i] + 1]:
                headway, still = (0.2, 1.0) if i == 0 else (0.6, STAND)
                left = net.length[lane[i]] - s[i] - body[i, 1]
                a = min(a, idm(v[i], want, left, 0.0, 0.0, headway, manner[i, 3], manner[i, 4], still))
            near = blocked(i, net, path, k, s, body, rogue)
            if near < 1e8:
                stop = idm(
                    v[i],
                    want,
                    max(near - (1.8 if i == 0 else 1.0), 0.1),
                    0.0,
                    0.0,
                    0.5,
                    manner[i, 3],
                    (2.6 if i == 0 else manner[i, 4] + 1.0),
                    1.0,
                )
                a = min(a, stop)
            if i == target and stage.kind == 2 and trigger >= 0:
                slow = (t - trigger) * dt
                if v[i] > stage.low and slow < 6.0 and began == 0.0:
                    a = min(a, -stage.hard)
                elif began == 0.0:
                    began = slow
                if began > 0.0 and slow < began + stage.gap:
                    a = min(a, 2.0 * (stage.low - v[i]))
            if i == 1 and stage.kind == 3:
                if trigger < 0:
                    a = min(a + 1.5, 0.8 * (s[0] + body[0, 1] + stage.gap + body[1, 2] - s[1]) + 1.6 * (v[0] - v[1]))
                elif t - trigger < 40:
                    a = min(a, max(-stage.hard, 2.0 * (began - stage.low - v[1])))
            acc[i] = max(a, -HARDEST, acc[i] - JERK * dt) if i == 0 else max(a, -7.5)
        # -- move
        for i in range(count):
            new = min(max(v[i] + min(acc[i], 2.5) * dt, 0.0), 25.0)
            s[i] += 0.5 * (v[i] + new) * dt
            v[i] = new
            if s[i] >= net.length[lane[i]] and k[i] + 1 < path.shape[1]:
                s[i] -= net.length[lane[i]]
                k[i] += 1
                lane[i] = path[i, k[i]]
            if held[i] >= 0 and lane[i] != held[i] and k[i] > 0 and path[i, k[i] - 1] == held[i] and s[i] > body[i, 2] + 0.5:
                give(held, i, net, vehicles, -1)
                held[i] = -1
            if i == 1 and stage.kind == 3 and trigger >= 0:
                f = min((t - trigger) * dt / stage.time, 1.0)
                aside = stage.side * 3.5 * (1.0 - f * f * (3.0 - 2.0 * f))
                slant[1] = np.arctan2(-stage.side * 3.5 * 6.0 * f * (1.0 - f) / stage.time, max(v[1], 1.0))
                lateral[1] = aside
            x, y, h = at_track(net.pose, net.offset, net.step, lane[i], s[i])
            out_d[i, t, 0], out_d[i, t, 1] = x - lateral[i] * np.sin(h), y + lateral[i] * np.cos(h)
            out_d[i, t, 2], out_d[i, t, 3] = h + slant[i], v[i]
        where[t, 0], where[t, 1] = k[0], s[0]
    return out_d, out_w, out_s, where, trigger
