"""Formats that round: PlayCanvas's compressed PLY and Niantic's SPZ by the library gsply, and ``.splat``, 32 bytes a gaussian."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from wetoolkit.errors import DataError
from wetoolkit.store import write_atomic
from wetoolkit_splat.files.table import Columns
from wetoolkit_splat.types import C0

SPLAT = np.dtype([("means", "<f4", 3), ("scales", "<f4", 3), ("colour", "u1", 4), ("rotation", "u1", 4)])


def _columns(data: Any) -> Columns:
    """gsply's container, whose ``shN`` is [N, K - 1, 3]."""
    count = len(data.means)
    rest = (
        np.asarray(data.shN, np.float32).reshape(count, -1, 3)
        if data.shN is not None and np.size(data.shN)
        else np.zeros((count, 0, 3))
    )
    sh = np.concatenate([np.asarray(data.sh0, np.float32)[:, None], rest], 1)
    return Columns(
        np.asarray(data.means), np.asarray(data.quats), np.asarray(data.scales), np.asarray(data.opacities).reshape(-1), sh
    )


def _container(columns: Columns) -> Any:
    from gsply import GSData
    from gsply.gsdata import create_ply_format

    lengths = np.linalg.norm(columns.quaternions, axis=1, keepdims=True)
    degree = {1: 0, 4: 1, 9: 2, 16: 3}[columns.sh.shape[1]]
    parts = (
        columns.means,
        columns.log_scales,
        columns.quaternions / lengths,
        columns.opacity_logits,
        columns.sh[:, 0],
        columns.sh[:, 1:],
    )
    means, scales, quats, opacities, sh0, higher = (np.ascontiguousarray(part, np.float32) for part in parts)
    return GSData(means, scales, quats, opacities, sh0, higher, create_ply_format(degree))


def _read(path: Path, reader: Callable[[str], Any], what: str) -> Columns:
    if not path.is_file():
        raise DataError("cannot be read: no such file", file=path, way_out="check the path")
    try:
        data = reader(str(path))
    except Exception as error:  # a library's parser of foreign bytes: whatever it raises, the file is at fault
        raise DataError(f"is no {what}, or is cut short: {error}", file=path, way_out="fetch or export it again") from error
    if data is None:
        raise DataError(f"is no {what}, or is cut short", file=path, way_out="fetch or export it again")
    return _columns(data)


def _written(path: Path, write: Callable[[str], None]) -> None:
    """Let a library write beside, then move what it wrote."""
    with tempfile.TemporaryDirectory() as folder:
        beside = Path(folder) / path.name
        write(str(beside))
        write_atomic(path, beside.read_bytes())


def read_compressed(path: Path) -> Columns:
    """PlayCanvas's compressed PLY: chunks of 256."""
    from gsply.reader import read_compressed as reader

    return _read(path, reader, "compressed PLY")


def write_compressed(path: Path, columns: Columns) -> None:
    """Rounded to 11 bits of each chunk's box for positions and scales, 8 for colours and opacity."""
    from gsply import plywrite

    _written(path, lambda name: plywrite(name, _container(columns), compressed=True))


def read_spz(path: Path) -> Columns:
    """Niantic's SPZ, versions 1 to 4."""
    from gsply.spz import read_spz as reader

    return _read(path, reader, "SPZ")


def write_spz(path: Path, columns: Columns) -> None:
    """SPZ version 3: positions to 1/4096, everything else to 8 bits."""
    from gsply.spz import write_spz as writer

    _written(path, lambda name: writer(name, _container(columns)))


def read_splat(path: Path) -> Columns:
    """Positions, scales, RGBA and a rotation in 32 bytes; no header, so only the length can be checked."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", file=path, way_out="check the path") from error
    if not data or len(data) % SPLAT.itemsize:
        raise DataError(f"{len(data)} bytes are not whole rows of 32", file=path, way_out="it is cut short or no .splat file")
    rows = np.frombuffer(data, SPLAT)
    rgba = rows["colour"].astype(np.float32) / 255
    opacity = rgba[:, 3].clip(0.5 / 255, 1 - 0.5 / 255)  # the half step that rounding lost, so that logits are finite
    return Columns(
        means=rows["means"],
        quaternions=(rows["rotation"].astype(np.float32) - 128) / 128,
        log_scales=np.log(np.maximum(rows["scales"], 1e-9)),
        opacity_logits=np.log(opacity / (1 - opacity)),
        sh=((rgba[:, :3] - 0.5) / C0)[:, None],
    )
