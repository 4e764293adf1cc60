"""Which frames of a log are the presents of windows, and which logs a filter lets pass."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wetoolkit_logs.nuplan.filters import Filter
from wetoolkit_logs.nuplan.folder import Folder
from wetoolkit_logs.nuplan.logfile import Log

Int = NDArray[np.int64]


def presents(log: Log, chosen: Filter, history: float, future: float, stride: float) -> Int:
    """Frames, in order of time, with so many seconds of the log around them, one a ``stride`` [s]; 0 or tokens: every one."""
    stretches = log.presents(history, future)
    every = [np.arange(low, high + 1) for low, high in stretches]
    if chosen.tokens is None and chosen.tags is None and stride > 0:
        every = [_strided(log, low, high, stride) for low, high in stretches]
    found: Int = np.concatenate([np.zeros(0, np.int64), *every])
    if chosen.tokens is not None:
        found = found[np.isin(log.index["token"][found], np.array([int(token, 16) for token in chosen.tokens], np.uint64))]
    if chosen.tags is not None:
        found = _apart(log, found[np.isin(found, tagged(log, chosen.tags))], stride)
    if chosen.has_route:
        routed = np.array([*(bool(route) for route in log.facts["routes"]), False])
        found = found[routed[log.index["scene"][found]]]
    return found


def tagged(log: Log, tags: Sequence[str]) -> Int:
    """Frames with one of these scenario tags."""
    mask = np.array([kind in tags for kind in log.facts["tags"]], bool)
    return log.index["tag_frame"][mask].astype(np.int64)


def _strided(log: Log, low: int, high: int, stride: float) -> Int:
    """Frames from ``low`` to ``high``, the nearest to one time a stride [s]."""
    due = np.arange(log.time[low], log.time[high] + 1, round(stride * 1e6))
    return np.unique(np.clip(log.nearest(due), low, high))


def _apart(log: Log, frames: Int, stride: float) -> Int:
    """Frames in order without those that come sooner than a stride [s] after the one kept before."""
    kept: list[int] = []
    for frame in frames.tolist():
        if not kept or log.time[frame] - log.time[kept[-1]] >= stride * 1e6 - 1:
            kept.append(frame)
    return np.array(kept, np.int64)


def logs_of(chosen: Filter, folder: Folder) -> list[str]:
    """The logs of a folder that a filter lets pass; those that it names besides are elsewhere."""
    named = set(chosen.logs) if chosen.logs is not None else None
    found = [name for name, head in folder.known().items() if named is None or {name, Path(head.file).stem} & named]
    if chosen.maps is not None:
        found = [name for name in found if {folder.log(name).facts[key] for key in ("map", "location")} & set(chosen.maps)]
    if chosen.tokens is not None and named is None:
        tokens = np.array([int(token, 16) for token in chosen.tokens], np.uint64)
        found = [name for name in found if np.isin(tokens, folder.log(name).index["token"]).any()]
    return found
