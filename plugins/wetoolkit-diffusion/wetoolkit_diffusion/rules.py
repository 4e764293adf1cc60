"""Red lights: where one may not go on, when, and who did."""

from __future__ import annotations

import numpy as np
from wetoolkit_driving.types import Bool, Double, RoadMap, Signal, World

GRACE = 1.0  # seconds after it turned red in which who is on its way in may go on
BESIDE, ALIGNED = 1.75, 0.5  # metres beside the entry and cosine of the angle to it at which one counts as entering


def stop_lines(road: RoadMap) -> Double:
    """[S, 4] where each lane with a signal begins and the unit vector along it there, in the world."""
    found = np.empty((0, 4))
    for lane in np.flatnonzero(road.lane_signal >= 0):
        line = road.centre_line(int(lane))
        unit = (line[1] - line[0]) / np.hypot(*(line[1] - line[0]))
        found = np.concatenate([found, [[*line[0], *unit]]])
    return found


def shut(world: World) -> Bool:
    """[S, T] when nobody may pass each stop line: its signal is red and has been for ``GRACE``."""
    red = world.signals[world.map.lane_signal[world.map.lane_signal >= 0]] == Signal.RED
    late = min(round(GRACE / world.dt), world.steps)
    before = np.concatenate([np.repeat(red[:, :1], late, 1), red], 1)[:, : world.steps]  # of what came before nothing is known
    return np.asarray(red & before)


def entered(lines: Double, place: Double, course: Double) -> Bool:
    """[S, ..., T] whether a centre passes each stop line [S, 4] from one of the places [..., T + 1, 2] to the next, on a course
    [..., T] along it."""
    offset = place - lines[:, :2].reshape(-1, *[1] * (place.ndim - 1), 2)
    unit = lines[:, 2:].reshape(-1, *[1] * (place.ndim - 1), 2)
    ahead, side = (offset * unit).sum(-1), offset[..., 1] * unit[..., 0] - offset[..., 0] * unit[..., 1]
    along = np.cos(course) * unit[..., 0] + np.sin(course) * unit[..., 1] > ALIGNED
    return np.asarray((ahead[..., :-1] < 0) & (ahead[..., 1:] >= 0) & (np.abs(side[..., 1:]) < BESIDE) & along)


def ran_red(world: World, now: int, poses: Double, frame: Double) -> Bool:
    """[n, A] whose centre, in poses [n, A, T, 3] of the world from ``frame`` [A, 3] on, passes a stop line that is shut then.
    Signals that the record does not reach are not known, and nobody runs them."""
    steps = min(poses.shape[2], world.steps - now - 1)
    track = np.concatenate([np.broadcast_to(frame, (len(poses), 1, *frame.shape)).swapaxes(1, 2), poses[:, :, :steps]], 2)
    passes = entered(stop_lines(world.map), track[..., :2], track[..., 1:, 2])  # [S, n, A, T]
    return np.asarray((passes & shut(world)[:, None, None, now + 1 : now + 1 + steps]).any((0, 3)))


__all__ = ["entered", "ran_red", "shut", "stop_lines"]
