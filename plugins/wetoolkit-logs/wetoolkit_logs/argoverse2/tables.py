"""Feather and Parquet tables with the columns that are asked for, and rigid motions from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from wetoolkit.errors import DataError

Double = NDArray[np.float64]
QUATERNION, PLACE = ("qx", "qy", "qz", "qw"), ("tx_m", "ty_m", "tz_m")
POSE = ("timestamp_ns", *QUATERNION, *PLACE)


def table(path: Path, columns: Sequence[str], limit: int = 1 << 30) -> pl.DataFrame:
    """The columns of a .feather or .parquet file of at most ``limit`` bytes. Errors: ``DataError`` naming file and column."""
    try:
        if path.stat().st_size > limit:
            raise DataError("the file is larger than the limit", file=str(path), field="file_limit", way_out="raise `file_limit`")
        frame = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_ipc(path.read_bytes())
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"cannot be read ({error!s:.120})", file=str(path), way_out="fetch the file again") from error
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise DataError("columns are missing", file=str(path), field=", ".join(missing), way_out="fetch the file again")
    empty = [name for name in columns if frame[name].null_count()]
    if empty:
        row = int(frame[empty[0]].is_null().arg_true()[0])
        raise DataError("a value is missing", file=str(path), field=f"{empty[0]}, row {row}", way_out="fetch the file again")
    return frame.select(columns)


def transforms(frame: pl.DataFrame, path: Path) -> Double:
    """Rigid motions [n, 4, 4] of the rows. Errors: ``DataError`` naming the row that is none."""
    turn, place = frame.select(QUATERNION).to_numpy(), frame.select(PLACE).to_numpy()
    bad = ~np.isfinite(np.hstack([turn, place])).all(1) | (np.abs(np.linalg.norm(turn, axis=1) - 1) > 0.01)
    if bad.any():
        raise DataError("no rigid motion", file=str(path), field=f"qw..tz_m, row {np.flatnonzero(bad)[0]}",
                        way_out="fetch the file again")  # fmt: skip
    found = np.tile(np.eye(4), (len(turn), 1, 1))
    found[:, :3, :3] = Rotation.from_quat(turn).as_matrix()
    found[:, :3, 3] = place
    return found


def flat(matrices: Double) -> Double:
    """x, y and heading [n, 3] of rigid motions [n, 4, 4]."""
    heading = np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0])
    return np.stack([matrices[:, 0, 3], matrices[:, 1, 3], (heading + np.pi) % (2 * np.pi) - np.pi], 1)
