"""The boxes of a log: asked frame by frame, or all of them once as arrays that are mapped into memory from then on."""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wetoolkit_logs.nuplan.arrays import Arrays
from wetoolkit_logs.nuplan.db import opened

ROWS = 1 << 16  # fetched at once
COLUMNS = "track_token, x, y, yaw, vx, vy"
_FRAME = f"SELECT {COLUMNS} FROM lidar_box WHERE lidar_pc_token = ?"


@dataclass(frozen=True)
class Boxes:
    """Boxes of some frames."""

    step: NDArray[np.int64]  # [B] index into the frames asked for
    track: NDArray[np.int32]  # [B] row of the track; none is unknown
    numbers: NDArray[np.float64]  # [B, 5] x, y, yaw, vx, vy on the map; all finite


def ask(base: sqlite3.Connection, tokens: Sequence[bytes], tracks: Mapping[bytes, int]) -> Boxes:
    """The boxes of frames by their tokens, straight from the log; needs the index on lidar_box(lidar_pc_token)."""
    rows: list[Any] = []
    count = []
    for token in tokens:
        found = base.execute(_FRAME, (token,)).fetchall()
        rows += found
        count.append(len(found))
    step = np.repeat(np.arange(len(tokens)), count)
    if not rows:
        return Boxes(step, np.zeros(0, np.int32), np.zeros((0, 5)))
    flat = list(chain.from_iterable(rows))
    names, *columns = (flat[k :: len(rows[0])] for k in range(len(rows[0])))
    return _sound(step, np.array([tracks.get(name, -1) for name in names], np.int32), columns)


def _sound(step: NDArray[np.int64], track: NDArray[np.int32], columns: Sequence[Any]) -> Boxes:
    """Without boxes of unknown tracks, and those whose place is not told."""
    numbers = _floats(columns)
    sound = (track >= 0) & np.isfinite(numbers).all(1)
    return Boxes(step, track, numbers) if sound.all() else Boxes(step[sound], track[sound], numbers[sound])


def _floats(columns: Sequence[Any]) -> NDArray[np.float64]:
    """[n, columns] the numbers of some columns of rows."""
    try:
        return np.stack([np.frombuffer(array("d", column)) for column in columns], 1)
    except TypeError:  # something is NULL or text
        return np.array([[_number(value) for value in column] for column in columns]).T


def _number(value: Any) -> float:
    """A number that a row holds; not one (NaN) where it holds nothing or a text."""
    return float(value) if isinstance(value, int | float) else np.nan


def read_boxes(path: Path, tokens: NDArray[np.uint64], tracks: NDArray[np.uint64]) -> Arrays:
    """All boxes of a log, by frame: ``offset`` [F + 1], ``track`` [B], ``xy`` [B, 2], ``rest`` [B, 3]; what had to be left out."""
    frames = {token: k for k, token in enumerate(_raw(tokens))}
    rows = {token: k for k, token in enumerate(_raw(tracks))}
    with opened(path) as base:
        (count,) = base.execute("SELECT count(*) FROM lidar_box").fetchone()
        frame, track = np.full(count, -1, np.int32), np.full(count, -1, np.int32)
        numbers = np.empty((count, 5))
        cursor, at = base.execute(f"SELECT lidar_pc_token, {COLUMNS} FROM lidar_box"), 0
        while part := cursor.fetchmany(ROWS):
            here = slice(at, at := at + len(part))
            of, name, *columns = zip(*part, strict=True)
            frame[here] = [frames.get(token, -1) for token in of]
            track[here] = [rows.get(token, -1) for token in name]
            numbers[here] = _floats(columns)
    lost = {
        "boxes_of_no_frame": frame < 0, "boxes_of_no_track": track < 0, "boxes_without_a_place": ~np.isfinite(numbers).all(1),
    }  # fmt: skip
    kept = np.flatnonzero(~np.logical_or.reduce(list(lost.values())))
    kept = kept[np.argsort(frame[kept], kind="stable")]
    offset = np.searchsorted(frame[kept], np.arange(len(tokens) + 1))
    arrays = {
        "offset": offset.astype(np.int64),
        "track": track[kept],
        "xy": numbers[kept, :2],
        "rest": numbers[kept, 2:].astype(np.float32),
    }
    alone = np.bincount(track[kept], minlength=len(tracks))
    counts = {name: int(mask.sum()) for name, mask in lost.items()}
    counts |= {"tracks_of_one_box": int((alone == 1).sum()), "tracks_never_seen": int((alone == 0).sum())}
    return Arrays(arrays, {"counts": {name: n for name, n in counts.items() if n}})


def of_frames(arrays: Arrays, frames: NDArray[np.int64]) -> Boxes:
    """The boxes of frames by their numbers, from the arrays of ``read_boxes``."""
    begin, end = arrays["offset"][frames], arrays["offset"][frames + 1]
    count = end - begin
    stop = np.cumsum(count)
    at = np.arange(stop[-1] if len(stop) else 0) + np.repeat(begin - stop + count, count)
    numbers = np.concatenate([arrays["xy"][at], arrays["rest"][at]], 1, dtype=np.float64)
    return Boxes(np.repeat(np.arange(len(frames)), count), arrays["track"][at], numbers)


def _raw(tokens: NDArray[np.uint64]) -> list[bytes]:
    names: list[bytes] = tokens.astype(">u8").view("V8").tolist()
    return [bytes(name) for name in names]
