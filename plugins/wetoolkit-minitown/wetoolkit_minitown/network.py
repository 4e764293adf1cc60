"""A town's tracks as flat tables for the traffic kernel: samples, caps of speed, who follows whom, who conflicts with whom."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from wetoolkit_minitown.curves import DS, heading
from wetoolkit_minitown.town import BIKE_LINK, CAR_LINK, NEVER, Town, Track

Double = NDArray[np.float64]
Int = NDArray[np.int64]

LATERAL = 2.8  # m/s^2 in bends: comfortable (PDM's limit is 4.89)
ASIDE, ASIDE_IN_BENDS = 2.6, 1.5  # metres to the left; oncoming traffic is sure to be met in bends
FRONT, SLOWEST = 4.0, 4.5  # rear axle to front, metres; m/s in the tightest bend
CLEAR = {(CAR_LINK, CAR_LINK): 2.9, (BIKE_LINK, BIKE_LINK): 1.4}  # metres between paths below which two links conflict
CLEAR_MIXED, AFTER = 2.5, 5.0  # metres; metres that a rear is to be past such a place


class Net(NamedTuple):
    """Tables over K tracks. Ragged lists: item i is ``values[offset[i]:offset[i + 1]]``."""

    pose: Double  # [M, 3] samples x, y, heading (unwrapped within a track)
    offset: Int  # [K + 1]
    length: Double  # [K] metres
    step: Double  # [K] metres between samples
    cap: Double  # [K] m/s: limit and bends
    kind: Int  # [K]
    origin: Int  # [K] lane that a link leaves, -1
    target: Int  # [K]
    priority: Int  # [K]
    signal: Int  # [K] row, -1
    follow: Int  # next tracks, ragged
    follow_offset: Int  # [K + 1]
    conflict: Int  # links that must not be used at once, ragged
    conflict_offset: Int  # [K + 1]
    until: Double  # [K, K] metres along the first link from which on it is no longer in the second's way, -1 where it never is
    crossing: Int  # [K, 2] walks crossed by a link, -1


class Paths(NamedTuple):
    """Tables over W walks."""

    pose: Double  # [M, 3]
    offset: Int  # [W + 1]
    length: Double  # [W]
    step: Double  # [W]
    signal: Int  # [W] row that must be red for walkers to cross; -1: no signal; -2: no crossing
    ends: Int  # [W, 2]


def build_net(town: Town) -> Net:
    """The tables of a town's road traffic."""
    tracks = town.tracks
    pose, offset, length, step = _samples(tracks)
    leaving: list[list[int]] = [[] for _ in tracks]
    for i, t in enumerate(tracks):
        if t.origin != NEVER:
            leaving[t.origin].append(i)
    follow = [leaving[k] if t.origin == NEVER else [t.target] for k, t in enumerate(tracks)]
    conflict = [[] if t.origin == NEVER else _conflicts(k, tracks) for k, t in enumerate(tracks)]
    crossings = {(w.node, w.arms[0]): i for i, w in enumerate(town.walks) if w.node != NEVER}
    crossing = [[crossings.get((t.node, a), NEVER) if t.origin != NEVER else NEVER for a in t.arms] for t in tracks]
    return Net(
        pose, offset, length, step, np.array([cap(t) for t in tracks]),
        _column([t.kind for t in tracks]), _column([t.origin for t in tracks]), _column([t.target for t in tracks]),
        _column([t.priority for t in tracks]), _column([t.signal for t in tracks]),
        *_ragged(follow), *_ragged(conflict), _until(tracks, conflict), _column(crossing),
    )  # fmt: skip


def build_paths(town: Town) -> Paths:
    """The tables of a town's walkers."""
    rows = {(t.node, t.arms[0]): t.signal for t in town.tracks if t.origin != NEVER}
    signal = [-2 if w.node == NEVER else rows[w.node, w.arms[0]] for w in town.walks]
    return Paths(*_samples(town.walks), np.array(signal, np.int64), town.walk_ends)


def _samples(tracks: tuple[Track, ...]) -> tuple[Double, Int, Double, Double]:
    pose = np.vstack([np.column_stack([t.xy, heading(t.xy)]) for t in tracks])
    count = np.array([len(t.xy) for t in tracks])
    length = np.array([np.hypot(*np.diff(t.xy, axis=0).T).sum() for t in tracks])
    return pose, np.concatenate([[0], np.cumsum(count)]).astype(np.int64), length, length / (count - 1)


def cap(track: Track) -> float:
    """m/s that a track allows: its limit, a lateral acceleration that is comfortable, and in bends to the right a second's way
    straight on that ends at the oncoming traffic."""
    curvature = np.gradient(heading(track.xy), DS)
    smooth = np.convolve(curvature, np.ones(5) / 5, "valid") if len(curvature) > 5 else curvature
    comfortable = float(np.sqrt(LATERAL / max(np.abs(smooth).max(), 1e-4)))
    right = max(-float(smooth.min()), 1e-4)
    aside = ASIDE if not track.free else ASIDE_IN_BENDS
    inside = max(float(np.sqrt(2 * aside / right)) - FRONT, SLOWEST)
    return min(track.limit, comfortable, inside)


def _conflicts(k: int, tracks: tuple[Track, ...]) -> list[int]:
    """Links of the same junction that come too near, but for those that leave the same lane."""
    mine = tracks[k]
    found = []
    for i, other in enumerate(tracks):
        if i != k and other.origin != NEVER and other.node == mine.node and other.origin != mine.origin:
            clear = CLEAR.get((mine.kind, other.kind), CLEAR_MIXED)
            if cdist(mine.xy[::2], other.xy[::2]).min() < clear:
                found.append(i)
    return found


def _until(tracks: tuple[Track, ...], conflict: list[list[int]]) -> Double:
    """See ``Net.until``."""
    found = np.full((len(tracks), len(tracks)), -1.0)
    for k, others in enumerate(conflict):
        for i in others:
            clear = CLEAR.get((tracks[k].kind, tracks[i].kind), CLEAR_MIXED)
            near = np.flatnonzero(cdist(tracks[k].xy[::2], tracks[i].xy[::2]).min(1) < clear)
            found[k, i] = (near[-1] + 1) * 2 * DS + AFTER
    return found


def _column(values: list[int] | list[list[int]]) -> Int:
    return np.array(values, np.int64)


def _ragged(rows: list[list[int]]) -> tuple[Int, Int]:
    flat = np.array([x for row in rows for x in row], np.int64)
    return flat, np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
