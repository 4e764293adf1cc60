"""Named arrays in one file each, memory-mapped: what was indexed of a log or a map, kept in the user's cache folder.

A file's name follows from what it was made of (path, size, time of change), so that a changed source is indexed again; its CRC
tells whether it is whole. The format is safetensors.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

FORMAT = 1  # of everything kept: a change of what the arrays mean counts it up
_KINDS = {"F64": "<f8", "F32": "<f4", "I64": "<i8", "I32": "<i4", "U64": "<u8", "U32": "<u4", "U8": "u1", "BOOL": "?", "I16": "<i2"}


@dataclass(frozen=True)
class Arrays:
    """Arrays by name, and facts about them that JSON can say."""

    arrays: Mapping[str, NDArray[Any]]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.arrays[name]


def cache_folder() -> Path:
    """Where indexes of nuPlan files are kept: below $XDG_CACHE_HOME, else ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wetoolkit" / "nuplan"


def identity(*files: Path) -> str:
    """24 hex digits that change where a file is another, or another size, or was changed."""
    stats = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(json.dumps([FORMAT, stats]).encode()).hexdigest()[:24]


def kept(files: Sequence[Path], kind: str, build: Callable[[], Arrays], cache: bool) -> Arrays:
    """What ``build`` makes of ``files``: from the cache where it is there and whole, else made now and kept there.

    A disk that takes no cache costs time, not results.
    """
    if not cache:
        return build()
    path = cache_folder() / f"{identity(*files)}.{kind}.safetensors"
    found = read(path)
    if found is not None:
        return found
    made = build()
    try:
        write(path, made)
    except OSError:
        return made
    return read(path) or made


def write(path: Path, arrays: Arrays) -> None:
    """All or nothing; not synced, since a file that a power cut leaves in pieces is noticed by its CRC and made again."""
    solid = {name: np.require(array, requirements=["C"]) for name, array in arrays.arrays.items()}
    crc = 0
    for name in sorted(solid):
        crc = zlib.crc32(solid[name].tobytes(), crc)
    data = save(solid, metadata={"facts": json.dumps(arrays.facts), "crc": str(crc)})
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
        file.write(data)
    Path(file.name).replace(path)


def read(path: Path) -> Arrays | None:
    """The arrays of a file, mapped into memory; None where there is no such file, or not a whole one."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, 1 << 26)))
        about = header.pop("__metadata__")
        raw = np.memmap(path, np.uint8, "r", 8 + length)
        found = {name: _view(raw, facts) for name, facts in header.items()}
        crc = 0
        for name in sorted(found):
            crc = zlib.crc32(found[name].view(np.ndarray).reshape(-1).view(np.uint8), crc)
        return Arrays(found, json.loads(about["facts"])) if crc == int(about["crc"]) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _view(raw: NDArray[np.uint8], facts: Mapping[str, Any]) -> NDArray[Any]:
    begin, end = facts["data_offsets"]
    if not 0 <= begin <= end <= len(raw):
        raise ValueError("cut short")
    return np.frombuffer(raw, np.dtype(_KINDS[facts["dtype"]]), int(np.prod(facts["shape"])), begin).reshape(facts["shape"])
