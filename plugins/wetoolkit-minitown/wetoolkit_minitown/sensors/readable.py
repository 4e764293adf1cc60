"""What the fast path computes, by plain numpy and plain Python: the reference of tests and of the benchmark."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wetoolkit_minitown.sensors.caster import Hits
from wetoolkit_minitown.sensors.shading import shade as kernel

Double = NDArray[np.float64]


def first_hit(corners: Double, origin: Double, ray: Double) -> tuple[float, int]:
    """(distance in lengths of the ray, triangle) of the first of N triangles [N, 3, 3] that a ray meets; (inf, -1) for none.

    Möller and Trumbore, Fast, minimum storage ray/triangle intersection (1997), over all triangles at once.
    """
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    across = np.cross(ray, second)
    volume = (first * across).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        away = origin - corners[:, 0]
        u = (away * across).sum(1) / volume
        turned = np.cross(away, first)
        v, along = (turned @ ray) / volume, (turned * second).sum(1) / volume
        met = (u >= 0) & (v >= 0) & (u + v <= 1) & (along > 0) & (volume != 0)
    along = np.where(met, along, np.inf)
    nearest = int(np.argmin(along)) if len(along) else -1
    return (float(along[nearest]), nearest) if nearest >= 0 and np.isfinite(along[nearest]) else (float("inf"), -1)


def shade(part: NDArray[np.int64], rays: Any, met: Any, hits: Hits, lit: Any, *rest: Any) -> Any:
    """The shading kernel's own source, run by Python, for some pixels of an image; its arguments are the kernel's."""
    some = Hits(*(values[part] for values in hits))
    with np.errstate(over="ignore"):  # integers of kernels wrap around
        return kernel.py_func(rays[part], met[part], some, lit[part], *rest)  # type: ignore[attr-defined]
