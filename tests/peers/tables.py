"""Frames of EPDMS for the two-stage aggregation: made from what NAVSIM v2.2 found, compared with its own aggregation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from wetoolkit_driving.pdm.aggregate import Frame, Group, Pair, extended_comfort, frame_scores, start_weights, two_stage

Arrays = Mapping[str, Any]
NAMES = ("nc", "dac", "ddc", "tlc", "ep", "ttc", "lk", "comfort")
SECOND = 4  # second-stage scenes of a group


def make(found: list[Arrays], seed: int = 0) -> dict[str, Any]:
    """Groups of frames from what was found in scenes: the plans of one scene stand for a scene's frames at several times."""
    rng, rows, groups = np.random.default_rng(seed), [], []
    for scene in found:
        good = np.flatnonzero(scene["nc"] * scene["dac"] > 0)
        if len(good) < 2:
            continue
        end = rng.uniform(-50, 50, 2)
        group = []
        for stage in range(1 + SECOND):
            now, before = rng.choice(good, 2) if rng.random() < 0.7 else np.repeat(rng.choice(good), 2)
            spread = 0.0 if stage == 0 else (0.3 if rng.random() < 0.7 else 40.0)
            for plan, time in ((now, 100.5), (before, 100.0)):
                states = scene["simulated_states"][plan]
                start = end + rng.normal(0, spread, 2) if stage else rng.uniform(-50, 50, 2)
                rows.append((states, [scene[f"filtered_{name}"][plan] for name in NAMES], start, end, time + 10 * stage))
            group.append((len(rows) - 2, len(rows) - 1))
        groups.append(group)
    states, terms, start, end, time = (np.array(column) for column in zip(*rows, strict=True))
    named = {"states": states, "terms": terms, "start": start, "end": end, "time": time}
    return named | {"groups": np.array(groups), "names": np.array(NAMES)}


def ours(tables: Arrays) -> dict[str, np.ndarray]:
    """Our extended comfort, weights, frame scores and totals for the same tables."""
    frames = [
        Frame(dict(zip(NAMES, terms.tolist(), strict=True)), states, start, end)
        for terms, states, start, end in zip(tables["terms"], tables["states"], tables["start"], tables["end"], strict=True)
    ]
    count = len(frames)
    ec, weight, score, groups = np.zeros(count), np.ones(count), np.zeros(count), []
    for rows in tables["groups"]:
        pairs = [Pair(frames[now], frames[before]) for now, before in rows]
        for pair, (now, before) in zip(pairs, rows, strict=True):
            ec[[now, before]] = extended_comfort(pair.now.states[None], pair.before.states[None])[0]
            score[now], score[before] = frame_scores(pair)
        for column in range(2):
            weight[rows[1:, column]] = start_weights(tables["end"][rows[0, column]], tables["start"][rows[1:, column]])
        groups.append(Group(pairs[0], pairs[1:]))
    total = two_stage(groups)
    return {"ec": ec, "weight": weight, "score": score, "two_stage": np.array([total.score, total.first, total.second])}
