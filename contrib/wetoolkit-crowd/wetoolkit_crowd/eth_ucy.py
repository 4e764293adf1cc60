"""The data set ``eth-ucy``: tracks of people in metres, in the text formats in which ETH and UCY are handed around.

One line is one position, the numbers apart by spaces, tabs or commas; empty lines and lines that begin with ``#`` are passed over:

- 4 columns: frame, person, x, y (as in the ``*.txt`` files of most works on trajectory prediction);
- 8 columns: frame, person, x, z, y, vx, vz, vy (``obsmat.txt`` of the original ETH files; z is the height and is not used).

Frames are annotated every ``interval`` seconds; the frame numbers may count by any step, which is found in the file. A track that
misses frames in between is split there, unless ``fill`` bridges them. Positions are resampled to 0.2 s by straight lines.

There is no robot in such a recording: in each window one of the people stands in for it, its body as configured, bound for the end
of its own track. A recording is cut into stretches of ``stretch`` seconds, each of which counts as a log of its own for intervals;
no window reaches across two. People are moved as recorded.
"""

from __future__ import annotations

import fnmatch
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from wetoolkit.config import Config
from wetoolkit.errors import ConfigError, DataError, UnknownName
from wetoolkit.registry import config_hash
from wetoolkit.types import Clock, Lineage, Ref, Scenario, Step
from wetoolkit_crowd import __version__
from wetoolkit_crowd.recording import cut
from wetoolkit_crowd.types import DT, HEADING, NO_WALLS, TURN, VX, VY, Body, Control, Double, Int, People, Robot, World, wrap

COLUMNS = {4: (0, 1, 2, 3), 8: (0, 1, 2, 4)}  # number of columns -> those of frame, person, x, y
FRAME, PERSON, XY, LINE = 0, 1, slice(2, 4), 4  # columns of a table read
FASTEST = 10.0  # m/s: faster than any of the people recorded; what is above is pixels, not metres
STANDING = 0.15  # m/s: slower than this a direction of walking is not told by the track


class EthUcyConfig(Config):
    """Where the files are, how they are split and cut, and what body the robot has."""

    folder: str = Field(description="folder of the text files; ~ and $VARIABLES are filled in")
    splits: dict[str, list[str]] = Field(
        default={"train": ["*"]}, min_length=1, description="split -> file names without ending (wildcards allowed); no file in two"
    )
    interval: float = Field(default=0.4, description="time between two annotated frames [s]", gt=0.0, le=2.0)
    fill: int = Field(default=1, description="frames that a track may miss in between and still be one track [1]", ge=0)
    history: float = Field(default=1.6, description="recorded time before now in a window [s]", ge=0.0, le=60.0)
    future: float = Field(default=4.8, description="recorded time after now in a window [s]", ge=DT, le=600.0)
    stride: float = Field(default=1.6, description="time between the windows of a track [s]", ge=DT)
    stretch: float = Field(default=60.0, description="length of what counts as one log; 0: the whole file [s]", ge=0.0)
    least: float = Field(
        default=1.0, description="a track is followed as the robot where it gets at least so far in its window [m]", ge=0.0
    )
    body: Literal["holonomic", "unicycle"] = Field(default="holonomic", description="how the robot can move")
    radius: float = Field(default=0.25, description="of the robot and of the people [m]", gt=0.0, le=1.0)


@dataclass(frozen=True)
class Recording:
    """One file: N tracks over T steps of 0.2 s."""

    name: str
    ids: tuple[str, ...]  # [N]
    position: Double  # [N, T, 2] metres
    velocity: Double  # [N, T, 2] m/s
    valid: NDArray[np.bool_]  # [N, T]
    split: int  # tracks that were split where frames are missing
    filled: int  # frames that were filled in


class EthUcy:
    """Implements ``wetoolkit.kinds.Dataset`` and ``SupportsReport``. Window ids are ``file/track/step``."""

    def __init__(self, config: EthUcyConfig) -> None:
        self.config = config
        self._folder = Path(os.path.expandvars(config.folder)).expanduser()
        self._asked: dict[str, None] = {}

    def __reduce__(self) -> tuple[object, ...]:
        return EthUcy, (self.config,)  # workers get the config and read what they need

    def splits(self) -> Sequence[str]:
        """Names as in the config."""
        return tuple(self.config.splits)

    def index(self, split: str) -> Sequence[Ref]:
        """Every window of the split's files. ``UnknownName``; ``DataError`` where a file cannot be read or no window is left."""
        names = self._files_of(split)
        self._asked.update(dict.fromkeys(names))
        refs = [
            Ref(f"{name}/{self._recordings[name].ids[row]}/{now}", split, self._log(name, now))
            for name in names for row, now in self._windows[name]
        ]  # fmt: skip
        if not refs:
            raise DataError(
                f"split {split!r} is empty: {len(names)} files, no track of {self.config.history + self.config.future:g} s in one "
                f"stretch that gets {self.config.least:g} m",
                file=str(self._folder), way_out="shorten `history` and `future`, lower `least`, or name other files in `splits`",
            )  # fmt: skip
        return refs

    def load(self, ref: Ref) -> Scenario[World]:
        """One window, validated. ``DataError`` where the id is none of this folder's."""
        name, _, rest = ref.id.partition("/")
        track, _, step = rest.rpartition("/")
        recording = self._recordings.get(name)
        row = recording.ids.index(track) if recording is not None and track in recording.ids else -1
        if recording is None or not step.isdecimal() or (row, int(step)) not in self._windows[name]:
            raise DataError(f"no window {ref.id!r}", file=str(self._folder), field="ref.id", way_out="take Refs from index()")
        now, back, ahead = int(step), *self._reach()
        world, origin = cut(self._world(recording, row), now - back, back + 1 + ahead, back, _end(recording, row))
        made = Step("dataset/eth-ucy", f"wetoolkit-crowd {__version__}", config_hash(self.config))
        clock, lineage = Clock(DT, back, world.steps), Lineage("eth-ucy", ref.log, ref.id, (made,))
        scenario = Scenario(ref.id, "crowd", ref.split, ref.log, clock, origin, lineage, world)
        scenario.validate()
        return scenario

    def repairs(self) -> Mapping[str, int]:
        """Tracks that were split and frames that were filled in, over the files of the splits indexed so far."""
        total: Counter[str] = Counter()
        for name in self._asked:
            total.update({"tracks_split": self._recordings[name].split, "frames_filled": self._recordings[name].filled})
        return {name: count for name, count in total.items() if count}

    @cached_property
    def _recordings(self) -> Mapping[str, Recording]:
        """Every file of the folder by its name without ending."""
        files = sorted(path for path in self._folder.glob("*.txt") if path.is_file())
        if not files:
            raise DataError("no *.txt file", file=str(self._folder), way_out="give the folder that holds the tracks")
        return {path.stem: read(path, self.config.interval, self.config.fill) for path in files}

    def _files_of(self, split: str) -> list[str]:
        if split not in self.config.splits:
            raise UnknownName("split", split, self.config.splits, dataset="eth-ucy")
        for name in self._recordings:
            homes = [of for of, patterns in self.config.splits.items() if any(fnmatch.fnmatch(name, p) for p in patterns)]
            if len(homes) > 1:
                raise ConfigError(f"{name!r} is in the splits {', '.join(homes)}", field="splits", way_out="name each file in one")
        return [name for name in self._recordings if any(fnmatch.fnmatch(name, p) for p in self.config.splits[split])]

    def _reach(self) -> tuple[int, int]:
        return round(self.config.history / DT), round(self.config.future / DT)

    def _log(self, name: str, now: int) -> str:
        return f"{name}/{int(now * DT // self.config.stretch)}" if self.config.stretch else name

    @cached_property
    def _windows(self) -> Mapping[str, Mapping[tuple[int, int], None]]:
        """File -> (track, present step) of its windows."""
        return {name: dict.fromkeys(self._windows_of(name)) for name in self._recordings}

    def _windows_of(self, name: str) -> list[tuple[int, int]]:
        """The track is there all the time, gets somewhere, and stays in one stretch."""
        recording, (back, ahead) = self._recordings[name], self._reach()
        every, found = max(round(self.config.stride / DT), 1), []
        for row, valid in enumerate(recording.valid):
            there = np.flatnonzero(valid)
            for now in range(int(there[0]) + back, int(there[-1]) + 1 - ahead, every):
                way = recording.position[row, now + ahead] - recording.position[row, now]
                together = self._log(name, now - back) == self._log(name, now + ahead)
                if together and np.hypot(*way) >= self.config.least:
                    found.append((row, now))
        return found

    def _world(self, recording: Recording, row: int) -> World:
        """The whole file with one of its people as the robot."""
        config, rows = self.config, [r for r in range(len(recording.ids)) if r != row]
        count, valid = len(rows), recording.valid[row]
        people = People(
            ids=tuple(recording.ids[r] for r in rows), position=recording.position[rows], velocity=recording.velocity[rows],
            valid=recording.valid[rows], radius=np.full(count, config.radius), control=np.full(count, Control.REPLAY, np.uint8),
            goal=np.array([_end(recording, r) for r in rows]).reshape(-1, 2),
            speed=np.array([_pace(recording, r) for r in rows]), heed=np.ones(count), wait=np.zeros(count, np.int64),
        )  # fmt: skip
        states = led(recording.position[row], recording.velocity[row], valid)
        return World(Robot(states, valid.copy(), _end(recording, row), Body(config.body, config.radius)), people, NO_WALLS, DT)


def led(position: Double, velocity: Double, valid: NDArray[np.bool_]) -> Double:
    """States [T, 6] of a body that goes where a person went: it faces where it walks and keeps its heading while it stands."""
    there = np.flatnonzero(valid)
    moving = there[np.hypot(velocity[there, 0], velocity[there, 1]) > STANDING]
    states = np.zeros((len(valid), 6))
    if len(moving):
        last = moving[np.maximum(np.searchsorted(moving, there, side="right") - 1, 0)]  # of a step before it moves: the first
        states[there, HEADING] = np.arctan2(velocity[last, 1], velocity[last, 0])
    states[there, :2], states[there, VX : VY + 1] = position[there], velocity[there]
    states[there[1:], TURN] = wrap(np.diff(states[there, HEADING])) / DT
    return states


def read(path: Path, interval: float, fill: int) -> Recording:
    """A file's tracks at 0.2 s. ``DataError`` names file and line."""
    rows = _numbers(path)
    table = rows[np.lexsort((rows[:, FRAME], rows[:, PERSON]))]  # [M, 5] person by person, in time
    every = _every(path, table)
    time = (table[:, FRAME] - table[:, FRAME].min()) / every * interval  # [M] seconds
    same = np.diff(table[:, PERSON]) == 0  # [M - 1] whether the next line is of the same person
    missing = np.rint(np.diff(table[:, FRAME]) / every).astype(np.int64) - 1  # [M - 1] frames left out in between
    bridged = same & (missing <= fill)
    _check_once(path, table, same)
    _check_pace(path, table, time, bridged)
    pieces = [piece for piece in np.split(np.arange(len(table)), np.flatnonzero(~bridged) + 1) if len(piece) > 1]
    if not pieces:
        raise DataError("no track of two frames or more", file=path, way_out="give whole recordings")
    return _resampled(path.stem, table, time, pieces, int((same & ~bridged).sum()), int(missing[bridged].sum()))


def _check_once(path: Path, table: Double, same: NDArray[np.bool_]) -> None:
    twice = np.flatnonzero(same & (np.diff(table[:, FRAME]) == 0))
    if len(twice):
        row = table[twice[0]]
        first, second = sorted(int(line) for line in table[twice[0] : twice[0] + 2, LINE])
        what = f"person {row[PERSON]:g} is twice in frame {row[FRAME]:g}"
        raise DataError(what, file=path, line=second, first=first, way_out="remove one of the two lines")


def _check_pace(path: Path, table: Double, time: Double, bridged: NDArray[np.bool_]) -> None:
    way = np.diff(table[:, XY], axis=0)
    pace = np.hypot(way[:, 0], way[:, 1]) / np.where(bridged, np.diff(time), 1.0)
    wrong = np.flatnonzero(bridged & (pace > FASTEST))
    if len(wrong):
        row = table[wrong[0] + 1]
        what = f"person {row[PERSON]:g} moves at {pace[wrong[0]]:.1f} m/s"
        raise DataError(what, file=path, line=int(row[LINE]), way_out="give positions in metres, and the right `interval`")


def _resampled(name: str, table: Double, time: Double, pieces: Sequence[Int], split: int, filled: int) -> Recording:
    """Tracks from pieces of the table (rows of one person without a gap), by straight lines between annotations."""
    steps = int(np.floor(time.max() / DT + 1e-6)) + 1
    grid = DT * np.arange(steps)
    position, velocity = np.zeros((len(pieces), steps, 2)), np.zeros((len(pieces), steps, 2))
    valid, ids, seen = np.zeros((len(pieces), steps), np.bool_), [], Counter[str]()
    for row, piece in enumerate(pieces):
        there = (grid >= time[piece[0]] - 1e-6) & (grid <= time[piece[-1]] + 1e-6)
        valid[row] = there
        for axis in (0, 1):
            position[row, there, axis] = np.interp(grid[there], time[piece], table[piece, XY][:, axis])
            if there.sum() > 1:
                velocity[row, there, axis] = np.gradient(position[row, there, axis], DT)
        person = f"{table[piece[0], PERSON]:g}"
        ids.append(f"{person}.{seen[person]}" if seen[person] else person)
        seen[person] += 1
    return Recording(name, tuple(ids), position, velocity, valid, split, filled)


def _numbers(path: Path) -> Double:
    """[M, 5]: frame, person, x, y and the line on which they stand."""
    rows: list[tuple[float, ...]] = []
    columns = 0
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("the file cannot be read as text", file=path, reason=error, way_out="give UTF-8 text") from error
    for number, line in enumerate(text.splitlines(), 1):
        words = line.replace(",", " ").split()
        if not words or words[0].startswith("#"):
            continue
        columns = columns or len(words)
        rows.append(_row(path, number, words, columns))
    if not rows:
        raise DataError("no positions", file=path, way_out="remove the file, or give lines of: frame person x y")
    return np.array(rows)


def _row(path: Path, number: int, words: Sequence[str], columns: int) -> tuple[float, ...]:
    if columns not in COLUMNS or len(words) != columns:
        due = columns if columns in COLUMNS else "4 (frame person x y) or 8 (obsmat)"
        raise DataError(f"{len(words)} columns where {due} are due", file=path, line=number, way_out="mend the line")
    try:
        values = [float(words[column]) for column in COLUMNS[columns]]
    except ValueError as error:
        raise DataError(f"not a number: {error}", file=path, line=number, way_out="mend the line") from error
    if not np.isfinite(values).all():
        raise DataError("a number that is not finite", file=path, line=number, way_out="leave out what is not known")
    return (*values, float(number))


def _every(path: Path, table: Double) -> float:
    """By how much frame numbers count: the most frequent difference between neighbouring ones."""
    frames = table[:, FRAME]
    gaps = np.diff(np.unique(frames))
    if not len(gaps):
        raise DataError("only one frame", file=path, way_out="give a recording over time")
    sizes, counts = np.unique(gaps, return_counts=True)
    every = float(sizes[counts.argmax()])
    off = np.flatnonzero(np.abs((frames - frames.min()) / every - np.rint((frames - frames.min()) / every)) > 0.01)
    if len(off):
        what = f"frame {frames[off[0]]:g} does not lie on the steps of {every:g} in which the others count"
        line = int(table[off[0], LINE])
        raise DataError(what, file=path, line=line, way_out="resample the annotations to one interval")
    return every


def _end(recording: Recording, row: int) -> Double:
    return np.asarray(recording.position[row, np.flatnonzero(recording.valid[row])[-1]])


def _pace(recording: Recording, row: int) -> float:
    speed = np.hypot(*recording.velocity[row, recording.valid[row]].T)
    return float(speed.mean())


__all__ = ["EthUcy", "EthUcyConfig", "Recording", "led", "read"]
