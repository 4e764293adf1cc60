"""Gaussians on disk: other programs' formats by their suffix. The project's own format is ``wetoolkit_splat.files.scene``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from wetoolkit.errors import DataError, UnknownName
from wetoolkit_splat.files import packed, ply
from wetoolkit_splat.files.table import Columns, whole
from wetoolkit_splat.types import Gaussians

READERS: dict[str, Callable[[Path], Columns]] = {
    ".compressed.ply": packed.read_compressed,
    ".ply": ply.read,
    ".spz": packed.read_spz,
    ".splat": packed.read_splat,
}
WRITERS: dict[str, Callable[[Path, Columns], None]] = {
    ".compressed.ply": packed.write_compressed,
    ".ply": ply.write,
    ".spz": packed.write_spz,
}


def _suffix(path: Path, known: Mapping[str, Callable[..., object]]) -> str:
    for suffix in known:  # the longer ones stand first
        if path.name.lower().endswith(suffix):
            return suffix
    raise UnknownName("the suffix", path.suffix, known, file=path, way_out="rename the file after its format")


def read(path: Path, drop_broken: bool = False) -> tuple[Gaussians, int]:
    """The gaussians of a file and how many rows were left out: 0, or with ``drop_broken`` those with NaN or a rotation of zero.

    Raises ``DataError`` that names the file and the field where it is cut short, has other fields, or holds such rows.
    """
    columns = READERS[_suffix(path, READERS)](path)
    broken = columns.broken()
    if broken.any() and not drop_broken:
        raise DataError(
            f"{int(broken.sum())} of {len(broken)} rows hold NaN, infinity or no rotation, the first is row {int(broken.argmax())}",
            file=path,
            way_out="read(path, drop_broken=True) leaves them out and counts them",
        )
    return columns.select(~broken).gaussians(), int(broken.sum())


def write(path: Path, gaussians: Gaussians) -> None:
    """All gaussians of one frame, whatever their group. Raises ``ValidationError`` for numbers that are none."""
    gaussians.validate()
    WRITERS[_suffix(path, WRITERS)](path, whole(gaussians))
