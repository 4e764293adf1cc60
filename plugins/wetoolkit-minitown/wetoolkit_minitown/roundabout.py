"""Ways through a roundabout: in beside the arm, round the island counter-clockwise, out beside another arm."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wetoolkit_minitown.curves import bend, joined, resample

Double = NDArray[np.float64]

RING, CYCLE_RING, FOOT_RING = 11.0, 15.0, 18.0  # metres from the middle to that of the carriageway, the cycle track, the pavement
ENTRY = 0.62  # radians from an arm to where its ways join and leave the ring


def through(
    middle: Double, start: Double, inward: float, end: Double, outward: float, arms: tuple[float, float], radius: float
) -> Double:
    """[n, 2] from ``start`` with heading ``inward`` to ``end`` with heading ``outward``; ``arms``: both ways out, radians."""
    first = arms[0] + ENTRY
    turn = (arms[1] - ENTRY - first) % (2 * np.pi)
    turn = turn - 2 * np.pi if turn > 2 * np.pi - 2 * ENTRY else turn  # arms so near that the way in is past the way out
    if turn < 0.15:
        return bend(start, inward, end, outward)
    angles = first + np.linspace(0.0, turn, max(3, round(turn * radius / 0.5)))
    arc = middle + radius * np.column_stack([np.cos(angles), np.sin(angles)])
    tangent = angles[[0, -1]] + np.pi / 2
    parts = [bend(start, inward, arc[0], float(tangent[0])), arc, bend(arc[-1], float(tangent[1]), end, outward)]
    return resample(joined(parts))
