"""Lidar sweeps as binary PCD files (Point Cloud Library, version 0.7), with the fields x, y, z, intensity in float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wetoolkit.errors import DataError
from wetoolkit.store import write_atomic

Float = NDArray[np.float32]
HEADER = (
    "# .PCD v0.7 - Point Cloud Data file format\nVERSION 0.7\nFIELDS x y z intensity\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT 1 1 1 1\n"
    "WIDTH {n}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {n}\nDATA binary\n"
)
TYPES = {
    ("F", 4): "<f4", ("F", 8): "<f8", ("U", 1): "u1", ("U", 2): "<u2", ("U", 4): "<u4", ("I", 1): "i1", ("I", 2): "<i2",
    ("I", 4): "<i4",
}  # fmt: skip
MOST = 64  # lines of a header


def write_pcd(path: Path, points: Float) -> None:
    """Points [N, 4] x, y, z [m], intensity into a file, all or nothing."""
    write_atomic(path, HEADER.format(n=len(points)).encode() + np.ascontiguousarray(points, "<f4").tobytes())


def read_pcd(path: Path) -> Float:
    """[N, 4] x, y, z, intensity (0 where the file has none); other fields are passed over. ``DataError``: it is no such file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", file=path, way_out="check the path") from error
    head, body = _header(path, data)
    try:
        sizes, kinds, counts = (head[key].split() for key in ("SIZE", "TYPE", "COUNT"))
        row = np.dtype([
            (name, TYPES[kind, int(size)], int(count))
            for name, size, kind, count in zip(head["FIELDS"].split(), sizes, kinds, counts, strict=True)
        ])  # fmt: skip
        number = int(head["POINTS"])
    except (KeyError, ValueError) as error:
        raise DataError(f"not a PCD header: {error}", file=path, field="header", way_out="write it again") from error
    if head.get("DATA") != "binary" or not {"x", "y", "z"} <= set(row.names or ()):
        raise DataError("not a binary PCD file with x, y, z", file=path, field="DATA, FIELDS", way_out="convert it to binary")
    if number < 0 or len(body) < number * row.itemsize:
        raise DataError(
            f"{len(body)} bytes for {number} points", file=path, field="POINTS", way_out="the file is cut short: write it again"
        )
    table = np.frombuffer(body, row, number)
    found = [table[name].reshape(number) if name in row.names else np.zeros(number) for name in ("x", "y", "z", "intensity")]
    return np.column_stack(found).astype(np.float32)


def _header(path: Path, data: bytes) -> tuple[dict[str, str], bytes]:
    """Keys and values down to DATA, and what comes after."""
    head: dict[str, str] = {}
    rest = data
    for _ in range(MOST):
        line, end, rest = rest.partition(b"\n")
        key, _, value = line.decode("ascii", "replace").strip().partition(" ")
        head[key] = value
        if key == "DATA":
            return head, rest
        if not end:
            break
    raise DataError("no PCD header", file=path, field="header", way_out="give a PCD file")
