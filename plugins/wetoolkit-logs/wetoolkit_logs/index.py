"""What is known of each file of a folder without loading it, which split it falls into, and which windows it holds."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from wetoolkit.errors import ConfigError, DataError, UnknownName
from wetoolkit_logs import __version__
from wetoolkit_logs.motion import runs
from wetoolkit_logs.recording import Recording

Splits = Mapping[str, list[str] | float]


@dataclass(frozen=True)
class Head:
    """One file in short. ``error`` says why it cannot be used, "" where it can."""

    file: str  # relative to the folder
    size: int  # bytes
    changed: int  # nanoseconds
    scene: str = ""
    runs: tuple[tuple[int, int], ...] = ()  # stretches [start, stop) of 0.1 s steps in which the ego is known
    error: str = ""


@dataclass(frozen=True)
class Source:
    """The files of one scene: the first names it."""

    name: str  # relative to the folder
    files: tuple[Path, ...]

    def stamp(self) -> tuple[int, int]:
        """Bytes and the latest change (nanoseconds) of all of them."""
        stats = [file.stat() for file in self.files]
        return sum(stat.st_size for stat in stats), max(stat.st_mtime_ns for stat in stats)


def scan(folder: Path, sources: Sequence[Source], parse: Callable[[Source], Recording], store: str) -> list[Head]:
    """A Head for each scene of the folder, in order. What did not change since the last scan is not read again.

    ``store`` names the format, under which the heads are kept in the user's cache folder; "" keeps none.
    """
    place = _store(folder, store) if store else None
    known = {head.file: head for head in _remembered(place)}
    found = [_head(source, parse, known.get(source.name)) for source in sources]
    if place is not None and found != list(known.values()):
        _remember(place, found)
    return found


def _head(source: Source, parse: Callable[[Source], Recording], known: Head | None) -> Head:
    size, changed = source.stamp()
    if known is not None and (known.size, known.changed) == (size, changed):
        return known
    try:
        recording = parse(source)
    except DataError as error:
        return Head(source.name, size, changed, error=" ".join([error.what, *map(str, error.context.values())]))
    return Head(source.name, size, changed, recording.scene, tuple(runs(recording.ego.valid)))


def _store(folder: Path, kind: str) -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = hashlib.sha256(f"{folder.resolve()}|{__version__}".encode()).hexdigest()[:24]
    return base / "wetoolkit" / kind / f"{name}.json"


def _remembered(store: Path | None) -> list[Head]:
    """What the last scan found; nothing where there was none or its file is damaged (then all is read again)."""
    try:
        rows = json.loads(store.read_text()) if store is not None else []
        return [Head(**{**row, "runs": tuple((int(a), int(b)) for a, b in row["runs"])}) for row in rows]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def _remember(store: Path, found: Sequence[Head]) -> None:
    """Best effort: an index that cannot be kept is made again next time."""
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=store.parent, delete=False) as file:
            json.dump([asdict(head) for head in found], file)
        Path(file.name).replace(store)
    except OSError:
        return


def unique(found: Sequence[Head]) -> tuple[dict[str, Head], list[str]]:
    """(scene -> its file, what was left out by name and reason). Of two files of one scene the first by path is kept."""
    scenes: dict[str, Head] = {}
    left_out: list[str] = []
    for head in found:
        if head.error:
            left_out.append(f"file_left_out/{head.file}: {head.error}")
        elif head.scene in scenes:
            left_out.append(f"file_left_out/{head.file}: scene {head.scene} is in {scenes[head.scene].file} already")
        else:
            scenes[head.scene] = head
    return scenes, left_out


def stem(split: str) -> str:
    """train, val or test: what a split's name ends in, so that "rare-test" belongs to "test"."""
    return split.rsplit("-", 1)[-1]


def assign(scenes: Mapping[str, Head], splits: Splits, seed: int) -> dict[str, list[str]]:
    """Split -> scenes in order. Lists come first; fractions share out the scenes that no list names, by a seeded hash.

    Errors: ``ConfigError`` where fractions exceed 1 or a scene falls into splits of different stems; ``UnknownName`` where a name
    matches no scene.
    """
    chosen = {split: _named(scenes, names, split) for split, names in splits.items() if isinstance(names, list)}
    owner: dict[str, str] = {}
    for split, names in chosen.items():
        for scene in names:
            other = owner.setdefault(scene, split)
            if stem(other) != stem(split):
                raise ConfigError(f"scene {scene!r} is in {other!r} and in {split!r}", key="splits",
                                  way_out="give each scene to one of train, val and test")  # fmt: skip
    shares = {split: share for split, share in splits.items() if not isinstance(share, list)}
    if sum(shares.values()) > 1 + 1e-9 or min(shares.values(), default=0) < 0:
        raise ConfigError(f"fractions {shares}", key="splits", way_out="give fractions of at least 0 that sum to at most 1")
    free = sorted((scene for scene in scenes if scene not in owner), key=lambda scene: _lot(scene, seed))
    edges = np.rint(np.cumsum([0.0, *shares.values()]) * len(free)).astype(int)
    dealt = {split: sorted(free[a:b]) for split, a, b in zip(shares, edges, edges[1:], strict=False)}
    return {split: chosen.get(split) or dealt.get(split, []) for split in splits}


def _named(scenes: Mapping[str, Head], names: Sequence[str], split: str) -> list[str]:
    """The scenes that the names (scene ids, file names or stems, wildcards) stand for, each once, in the order of the names."""
    found: dict[str, None] = {}
    for name in names:
        hits = [scene for scene, head in sorted(scenes.items()) if _matches(scene, head, name)]
        if not hits:
            raise UnknownName("scene", name, scenes, key=f"splits.{split}")
        found.update(dict.fromkeys(hits))
    return list(found)


def _matches(scene: str, head: Head, name: str) -> bool:
    path = Path(head.file)
    return any(fnmatch.fnmatchcase(text, name) for text in (scene, head.file, path.name, path.stem))


def _lot(scene: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}|{scene}".encode()).hexdigest()


def present_steps(head: Head, history: int, future: int, stride: int) -> list[int]:
    """Steps that can be "now": the ego is known from ``history`` steps before to ``future`` steps after."""
    return [
        now
        for start, stop in head.runs
        for now in range(start + history, stop - future)
        if (now - start - history) % stride == 0
    ]  # fmt: skip
