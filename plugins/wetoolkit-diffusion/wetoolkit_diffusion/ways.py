"""The ways that lie before who drives: chains of lanes from where it is, with the next signal on each.

Pieces of the map round about (``roads``) say what is near; a way says where one gets. An agent's ways start on the lanes that it is
on (beside at most ``BESIDE``, turned at most ``TURNED``) and branch with them. Those of walkers lead along walkways and crossings
(``walks``), and guide nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from wetoolkit_driving.geometry import along, project, relative, wrap_angle
from wetoolkit_driving.types import AgentClass, Bool, Byte, Double, Float, RoadMap

from wetoolkit_diffusion.spec import TokenSpec
from wetoolkit_diffusion.walks import FAR, Chain, chains, walks

BESIDE, TURNED = 3.0, np.deg2rad(60.0)
AHEAD = np.array([0.0, 2.0, 4.0, 7.0, 10.0, 14.0, 18.0, 23.0, 28.0, 34.0, 41.0, 49.0, 58.0, 69.0, 82.0, 96.0])  # metres
STRIDES = np.concatenate([np.arange(0.0, 10.0), np.linspace(10.5, FAR, 6)])  # metres: where walkers' ways are known
RAILS = 2.0 * np.arange(65)  # metres: the same ways as guidance takes them
FACTS = 4 + 4  # signal (one-hot), its distance, the way's length, the lateral offset to it, the speed limit
STARTS = 2  # lanes that ways may start on


def ways(road: RoadMap, signals: Byte, frames: Double, kind: Byte, spec: TokenSpec) -> tuple[Float, Float, Bool, Float]:
    """Points [A, R, len(AHEAD), 2] in the frames [A, 3], facts [A, R, FACTS], whether there are so many [A, R], and the same ways
    at ``RAILS`` [A, R, len(RAILS), 2]; these go straight on where the map ends."""
    count = len(frames)
    rails = np.zeros((count, spec.ways, len(RAILS), 2), np.float32)
    points = np.zeros((count, spec.ways, len(AHEAD), 2), np.float32)
    facts, there = np.zeros((count, spec.ways, FACTS), np.float32), np.zeros((count, spec.ways), bool)
    after: dict[int, list[int]] = {}
    for a, b in road.successors:
        after.setdefault(int(a), []).append(int(b))
    drives = np.flatnonzero(kind != AgentClass.PEDESTRIAN)
    for row, starts in zip(drives, _starts(road, frames[drives]), strict=True):
        found = [(lane, place, offset, chain) for lane, place, offset in starts for chain in _chains(road, after, lane, place)]
        for i, (_, place, offset, chain) in enumerate(found[: spec.ways]):
            line = np.concatenate([road.centre_line(lane) for lane in chain])
            length = sum(_length(road, lane) for lane in chain) - place
            poses = along(line, place + np.minimum(AHEAD, max(length, 0.1)))
            points[row, i] = relative(frames[row], np.column_stack([poses[:, :2], np.zeros(len(poses))]))[:, :2]
            rails[row, i] = relative(frames[row], along(line, place + RAILS))[:, :2]
            facts[row, i], there[row, i] = _facts(road, signals, chain, place, offset, length), True
    on_foot = np.flatnonzero(kind == AgentClass.PEDESTRIAN)
    net = walks(road, signals) if len(on_foot) else []
    for row in on_foot:
        for i, walk in enumerate(chains(net, frames[row])[: spec.ways]):
            poses = along(walk.line, walk.place + np.minimum(STRIDES, max(walk.length, 0.1)))
            points[row, i] = relative(frames[row], np.column_stack([poses[:, :2], np.zeros(len(poses))]))[:, :2]
            facts[row, i], there[row, i] = _walk_facts(walk), True
    return points, facts, there, rails


def _length(road: RoadMap, lane: int) -> float:
    return float(np.hypot(*np.diff(road.centre_line(lane), axis=0).T).sum())


def _starts(road: RoadMap, frames: Double) -> list[list[tuple[int, float, float]]]:
    """For each agent at most ``STARTS`` (lane, arc length, offset) that it is on, the best first."""
    options: list[list[tuple[float, int, float, float]]] = [[] for _ in frames]
    for lane in range(road.lanes):
        line = road.centre_line(lane)
        place, offset = project(line, frames[:, :2])
        pose = along(line, place)
        turn = np.abs(wrap_angle(frames[:, 2] - pose[:, 2]))
        away = np.hypot(*(frames[:, :2] - pose[:, :2]).T)
        for i in np.flatnonzero((away < BESIDE) & (turn < TURNED)):
            options[i].append((round(float(away[i] + 3.0 * turn[i]), 2), lane, float(place[i]), float(offset[i])))
    return [[(lane, place, offset) for _, lane, place, offset in sorted(found)[:STARTS]] for found in options]


def _chains(road: RoadMap, after: Mapping[int, list[int]], lane: int, place: float) -> list[list[int]]:
    """Every chain of lanes from one on that reaches as far as ``RAILS``, or ends."""
    done, open_ = [], [([lane], _length(road, lane) - place)]
    while open_ and len(done) < 8:
        chain, length = open_.pop(0)
        following = [lane for lane in after.get(chain[-1], []) if lane not in chain]
        if length >= RAILS[-1] or not following:
            done.append(chain)
        else:
            open_ += [([*chain, lane], length + _length(road, lane)) for lane in following]
    return done


def _facts(road: RoadMap, signals: Byte, chain: list[int], place: float, offset: float, length: float) -> Float:
    """The next signal that governs entering a lane of the chain, and what the way is like."""
    facts = np.zeros(FACTS, np.float32)
    at, state = -place, 0
    distance = AHEAD[-1]
    for before, lane in pairwise(chain):
        at += _length(road, before)
        if road.lane_signal[lane] >= 0:
            distance, state = min(at, AHEAD[-1]), int(signals[road.lane_signal[lane]])
            break
    facts[state] = 1.0
    facts[4:] = distance / 30.0, min(length, AHEAD[-1]) / 50.0, offset, float(road.lane_speed_limit[chain[0]]) / 10.0
    return facts


def _walk_facts(walk: Chain) -> Float:
    """The same of a walker's: the signal of the first crossing, how far it is in coarse and in fine units, and no speed limit."""
    facts = np.zeros(FACTS, np.float32)
    facts[walk.signal] = 1.0
    facts[4:] = walk.crossing / 30.0, min(walk.length, FAR) / 50.0, walk.offset, np.log1p(walk.crossing)
    return facts


__all__ = ["AHEAD", "FACTS", "RAILS", "ways"]
