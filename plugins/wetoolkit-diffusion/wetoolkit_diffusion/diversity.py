"""How different futures of one scene are.

Two futures are apart by the mean distance, over time and over those who go anywhere in either, of the same road user's places. How
far one road user's futures spread is told by the places where they end: their mean distance pair by pair, and whether any two are
more than ``DIFFER`` apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from wetoolkit_driving.types import Bool, Double, Int

DIFFER = 2.0  # metres
STAYS = 1.0  # metres: who goes no farther than this in either future tells nothing


def apart(one: Double, other: Double, moved: Bool) -> float:
    """Metres between two futures, poses [A, T, 3] of the same rows; ``moved`` [A]: rows to look at. 0 where none goes anywhere."""
    gone = np.maximum(*(np.hypot(*(motion[:, -1, :2] - motion[:, 0, :2]).T) for motion in (one, other)))
    rows = moved & (gone > STAYS)
    return float(np.hypot(*np.moveaxis((one - other)[rows, :, :2], -1, 0)).mean()) if rows.any() else 0.0


def shared(one: Int, other: Int, moved: Bool, moves: Bool) -> tuple[Int, Int]:
    """Rows of those of the same name [A] in two worlds, where both were moved [A]."""
    rows = {int(name): row for row, name in enumerate(one) if moved[row]}
    pairs = [(rows[int(name)], row) for row, name in enumerate(other) if moves[row] and int(name) in rows]
    a, b = np.array(pairs, np.int32).reshape(-1, 2).T
    return a, b


def ends(motion: Double) -> tuple[Double, Double]:
    """Of n futures [n, A, T, 3] the mean distance [A] of where they end, pair by pair, and whether any two differ [A] (0 or 1)."""
    last = motion[:, :, -1, :2]
    between = [np.hypot(*(last[i] - last[j]).T) for i, j in combinations(range(len(last)), 2)]
    return np.mean(between, axis=0), (np.max(between, axis=0) > DIFFER).astype(np.float64)


def nearest(distances: Sequence[float]) -> float:
    """The least of some distances, NaN of none."""
    return min(distances, default=float("nan"))


__all__ = ["DIFFER", "apart", "ends", "nearest", "shared"]
