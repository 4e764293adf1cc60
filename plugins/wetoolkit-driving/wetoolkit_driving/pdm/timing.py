"""Plans whose poses do not lie 0.1 s apart, made into plans that do.

The score takes 40 poses of 0.1 s or 8 of 0.5 s and has no place for other times; a plan of other times has to pass here first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wetoolkit.types import require, require_finite
from wetoolkit_driving.dynamics import DT, check_plans, interpolate
from wetoolkit_driving.geometry import wrap_angle

Double = NDArray[np.float64]


def uniform_plans(plans: Double, times: Double, steps: int = 40) -> Double:
    """Plans [..., steps, 3] every 0.1 s from plans [..., P, 3] at ``times`` [P], seconds after now, in the ego's frame.

    Positions are interpolated linearly, headings the short way; the ego's own pose, zero, counts as time 0. What lies beyond
    ``steps`` is left out. Raises ``ValidationError`` for numbers that are not finite, for times that do not rise from above 0, and
    where the last time is before the horizon: nothing is known of what comes after a plan's end.
    """
    plans, times = np.asarray(plans, np.float64), np.asarray(times, np.float64)
    check_plans(plans)
    require_finite(times, "times")
    require(times.shape == plans.shape[-2:-1], f"{times.shape} times for {plans.shape[-2]} poses", "times", "give one a pose")
    known = np.concatenate([[0.0], times])
    rises = np.diff(known)
    worst = int(rises.argmin())
    where = f"time {worst} is {known[worst + 1]:g} s after {known[worst]:g} s"
    require(bool(rises[worst] > 0), where, "times", "give times that rise, the first above 0")
    horizon = steps * DT
    require(times[-1] >= horizon - 1e-9, f"the last time is {times[-1]:g} s", "times", f"give poses up to {horizon:g} s or beyond")
    own = np.zeros_like(plans[..., :1, :])
    poses = np.concatenate([own, plans], -2)  # [..., P + 1, 3]
    poses[..., 2] = np.unwrap(poses[..., 2], axis=-1)
    wanted = np.minimum(DT * np.arange(1, steps + 1), known[-1])
    found = interpolate(poses, known, wanted)
    found[..., 2] = wrap_angle(found[..., 2])
    return found
