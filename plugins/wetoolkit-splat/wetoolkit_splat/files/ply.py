"""The PLY layout of the first 3D Gaussian code (Kerbl et al. 2023), which most programs read: x y z, normals that nobody uses,
f_dc_*, f_rest_* by channel, opacity (logit), scale_* (log), rot_* (wxyz)."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from plyfile import PlyData, PlyElement, PlyParseError  # type: ignore[import-untyped]

from wetoolkit.errors import DataError
from wetoolkit.store import write_atomic
from wetoolkit_splat.files.table import Columns
from wetoolkit_splat.types import SH_TERMS

Array = NDArray[Any]
MEANS, NORMALS = ("x", "y", "z"), ("nx", "ny", "nz")
CONSTANT, SCALES = tuple(f"f_dc_{k}" for k in range(3)), tuple(f"scale_{k}" for k in range(3))
ROTATION = tuple(f"rot_{k}" for k in range(4))
NEEDED = (*MEANS, *CONSTANT, "opacity", *SCALES, *ROTATION)


def _vertices(path: Path) -> Array:
    try:
        ply = PlyData.read(str(path))
        return np.asarray(ply["vertex"].data)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", file=path, way_out="check the path") from error
    except KeyError as error:
        raise DataError("has no element 'vertex'", file=path, field="vertex", way_out="give a PLY of gaussians") from error
    except (PlyParseError, ValueError, UnicodeDecodeError) as error:
        raise DataError(f"is no PLY, or is cut short: {error}", file=path, way_out="fetch or export it again") from error


def _rest(names: set[str], path: Path) -> int:
    """How many coefficients above the constant each channel has."""
    count = sum(name.startswith("f_rest_") for name in names)
    complete = {f"f_rest_{k}" for k in range(count)} <= names
    if not complete or count % 3 or count // 3 + 1 not in SH_TERMS:
        wanted = ", ".join(str(3 * (terms - 1)) for terms in SH_TERMS)
        raise DataError(f"has {count} fields f_rest_*, not one of {wanted}", file=path, field="f_rest_*", way_out="export it again")
    return count // 3


def _check(names: set[str], path: Path) -> None:
    missing = [name for name in NEEDED if name not in names]
    if missing:
        raise DataError(
            f"has no field {', '.join(missing)}; there are: {', '.join(sorted(names)) or 'none'}",
            file=path,
            field=missing[0],
            way_out="give a PLY of trained gaussians, not of points or a mesh",
        )
    unknown = sorted(name for name in names if name not in (*NEEDED, *NORMALS) and not name.startswith("f_rest_"))
    if unknown:
        raise DataError(
            f"has fields that no gaussian has: {', '.join(unknown)}",
            file=path,
            field=unknown[0],
            way_out="remove them from the file",
        )


def _stacked(data: Array, names: tuple[str, ...]) -> Array:
    return np.stack([np.asarray(data[name], np.float32) for name in names], -1).reshape(len(data), len(names))


def read(path: Path) -> Columns:
    """ASCII or binary, either byte order. ``DataError`` names what is missing or unknown."""
    data = _vertices(path)
    names = set(data.dtype.names or ())
    _check(names, path)
    rest = _rest(names, path)
    higher = _stacked(data, tuple(f"f_rest_{k}" for k in range(3 * rest))) if rest else np.zeros((len(data), 0), np.float32)
    return Columns(
        means=_stacked(data, MEANS),
        quaternions=_stacked(data, ROTATION),
        log_scales=_stacked(data, SCALES),
        opacity_logits=np.asarray(data["opacity"], np.float32),
        sh=np.concatenate([_stacked(data, CONSTANT)[:, None], higher.reshape(len(data), 3, rest).transpose(0, 2, 1)], 1),
    )


def write(path: Path, columns: Columns) -> None:
    """Binary, little-endian, atomically."""
    count, rest = len(columns.means), columns.sh.shape[1] - 1
    names = (*MEANS, *NORMALS, *CONSTANT, *(f"f_rest_{k}" for k in range(3 * rest)), "opacity", *SCALES, *ROTATION)
    parts = [columns.means, np.zeros((count, 3)), columns.sh[:, 0], columns.sh[:, 1:].transpose(0, 2, 1).reshape(count, -1)]
    parts += [columns.opacity_logits[:, None], columns.log_scales, columns.quaternions]
    table = np.ascontiguousarray(np.concatenate(parts, 1, dtype=np.float32)).view([(name, "<f4") for name in names])[:, 0]
    buffer = io.BytesIO()
    PlyData([PlyElement.describe(table, "vertex")], byte_order="<").write(buffer)
    write_atomic(path, buffer.getvalue())
