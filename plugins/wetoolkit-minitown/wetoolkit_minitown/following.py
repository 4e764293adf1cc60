"""Where a driver is, whom it follows and what stands in its way: the compiled parts of traffic that look at one driver."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def at_track(pose, offset, step, k, s):  # type: ignore[no-untyped-def]
    """Pose (x, y, heading) at ``s`` metres along track ``k``, by linear interpolation, held at its ends."""
    n = offset[k + 1] - offset[k]
    u = min(max(s / step[k], 0.0), n - 1.0)
    i = min(int(u), n - 2)
    f = u - i
    a, b = pose[offset[k] + i], pose[offset[k] + i + 1]
    return a[0] + f * (b[0] - a[0]), a[1] + f * (b[1] - a[1]), a[2] + f * (b[2] - a[2])


@njit(cache=True)
def nearest(net, k, s, x, y):  # type: ignore[no-untyped-def]
    """Metres along track ``k`` that are nearest to a point, to a centimetre, looked for within 10 m of ``s``."""
    best, found = 1e18, s
    for n in range(-1000, 1001):
        px, py, _ = at_track(net.pose, net.offset, net.step, k, s + 0.01 * n)
        d = (px - x) ** 2 + (py - y) ** 2
        if d < best:
            best, found = d, s + 0.01 * n
    return found


@njit(cache=True)
def idm(v, want, gap, lead, lead_acc, headway, a, b, still):  # type: ignore[no-untyped-def]
    """Acceleration m/s^2 towards ``want`` behind a leader at ``gap`` metres with speed ``lead`` (gap above 1e8: none).

    The enhanced model of Kesting, Treiber, Helbing (2010): where the gap is far too small but nothing is urgent, as behind one who
    has just cut in, brake as the constant-acceleration heuristic asks and no more than ``b`` beyond it. Coolness 0.99.
    """
    free = a * (1.0 - (v / want) ** 4) if v <= want else max(-b, 1.2 * (want - v))
    if gap > 1e8:
        return free
    gap = max(gap, 0.1)
    wish = still + max(0.0, v * headway + v * (v - lead) / (2.0 * np.sqrt(a * b)))
    follow = a * (1.0 - (v / want) ** 4 - (wish / gap) ** 2) if v <= want else -a * (wish / gap) ** 2
    theirs = min(lead_acc, a)
    if lead * (v - lead) <= -2.0 * gap * theirs and lead * lead - 2.0 * gap * theirs > 1e-6:
        cool = v * v * theirs / (lead * lead - 2.0 * gap * theirs)
    else:
        cool = theirs - max(v - lead, 0.0) ** 2 / (2.0 * gap)
    if follow < cool:
        follow = 0.01 * follow + 0.99 * (cool + b * np.tanh((follow - cool) / b))
    return min(free, follow)


@njit(cache=True)
def ahead(i, net, path, k, s, lane, body, hidden):  # type: ignore[no-untyped-def]
    """(gap, speed index) to the next road user on i's way within 70 m; those who left i's lane by another way count until clear."""
    gap, who = 1e9, -1
    reach = -s[i] - body[i, 1]
    for q in range(k[i], path.shape[1]):
        t = path[i, q]
        for j in range(len(s)):
            if j == i or (hidden[j] and i == 0):
                continue
            same = lane[j] == t
            if not same and net.origin[t] >= 0 and net.origin[lane[j]] == net.origin[t]:
                same = s[j] < 13.0
            if same and (q > k[i] or s[j] > s[i]):
                g = reach + s[j] - body[j, 2]
                if g < gap:
                    gap, who = g, j
        reach += net.length[t]
        if who >= 0 or reach > 70.0:
            break
    return gap, who


@njit(cache=True)
def blocked(i, net, path, k, s, body, rogue):  # type: ignore[no-untyped-def]
    """Metres before i's front at which somebody off the tracks is or soon will be on i's way; 1e9 where nobody is.

    ``rogue`` [R, 7]: x, y, where it will have gone in the time foreseen (dx, dy), radius, 1 where the ego sees it as such, 1 where
    the others do.
    """
    best = 1e9
    for r in range(len(rogue)):
        if rogue[r, 5 if i == 0 else 6] == 0.0:
            continue
        x, y, _ = at_track(net.pose, net.offset, net.step, path[i, k[i]], s[i])
        if (rogue[r, 0] - x) ** 2 + (rogue[r, 1] - y) ** 2 > 60.0**2:
            continue
        dx, dy = rogue[r, 2], rogue[r, 3]
        norm = dx * dx + dy * dy
        q, at, d = k[i], s[i] + body[i, 1], 0.0
        while d < 45.0 and d < best and q < path.shape[1]:
            if at > net.length[path[i, q]]:
                at -= net.length[path[i, q]]
                q += 1
                continue
            x, y, _ = at_track(net.pose, net.offset, net.step, path[i, q], at)
            ex, ey = x - rogue[r, 0], y - rogue[r, 1]
            f = min(max((ex * dx + ey * dy) / norm, 0.0), 1.0) if norm > 1e-6 else 0.0
            if (ex - f * dx) ** 2 + (ey - f * dy) ** 2 < (body[i, 0] / 2 + rogue[r, 4]) ** 2:
                best = d
            at += 1.0
            d += 1.0
    return best
