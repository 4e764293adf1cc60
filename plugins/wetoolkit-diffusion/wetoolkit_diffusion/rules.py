"""Whether somebody on wheels enters a junction on red."""

from __future__ import annotations

import numpy as np
from wetoolkit_driving.types import Bool, Double, Signal, World

GRACE = 10  # steps of 0.1 s after it turned red in which who is on its way in may go on
BESIDE, ALIGNED = 1.75, 0.5  # metres beside the entry and cosine of the angle to it at which one counts as entering


def ran_red(world: World, now: int, poses: Double, frame: Double) -> Bool:
    """[n, A] whose centre, in poses [n, A, T, 3] of the world from ``frame`` [A, 3] on, passes the start of a lane whose signal is
    red then and has been for a second. Signals that the record does not reach are not known, and nobody runs them."""
    steps = min(poses.shape[2], world.steps - now - 1)
    track = np.concatenate([np.broadcast_to(frame, (len(poses), 1, *frame.shape)).swapaxes(1, 2), poses[:, :, :steps]], 2)
    found = np.zeros(poses.shape[:2], bool)
    for lane in np.flatnonzero(world.map.lane_signal >= 0):
        red = world.signals[world.map.lane_signal[lane]] == Signal.RED
        long = red & np.concatenate([np.zeros(GRACE, bool), red[:-GRACE]])
        line = world.map.centre_line(int(lane))
        unit = (line[1] - line[0]) / np.hypot(*(line[1] - line[0]))
        offset = track[..., :2] - line[0]
        ahead, side = offset @ unit, offset @ np.array([-unit[1], unit[0]])
        along = np.cos(track[..., 1:, 2] - np.arctan2(unit[1], unit[0])) > ALIGNED
        passes = (ahead[..., :-1] < 0) & (ahead[..., 1:] >= 0) & (np.abs(side[..., 1:]) < BESIDE) & along
        found |= (passes & long[now + 1 : now + 1 + steps]).any(2)
    return found


__all__ = ["ran_red"]
