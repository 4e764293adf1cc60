"""How the robot follows a plan: what its body can do of it, step by step.

A plan's poses are where the robot should be at the end of each step. The holonomic body takes the velocity that leads there and
turns its heading towards the planned one. The unicycle turns towards the next pose (or, where that is too near to tell a
direction, towards the planned heading) and drives along its heading: speed is the distance times the cosine of what is left to
turn. Both are cut to the body's greatest speed, acceleration and rate of turning, so that a plan no body could drive is driven
as well as can be.
"""

from __future__ import annotations

import numpy as np

from wetoolkit_crowd.types import DT, HEADING, TURN, VX, VY, Body, Double, wrap

NEAR = 0.02  # metres: nearer than this a pose gives no direction


def to_world(pose: Double, plans: Double) -> Double:
    """Plans [..., T, 3] in the frame of a pose [3] (x, y, heading), as poses in the world's."""
    c, s = np.cos(pose[2]), np.sin(pose[2])
    x, y = plans[..., 0], plans[..., 1]
    return np.stack([pose[0] + c * x - s * y, pose[1] + s * x + c * y, wrap(pose[2] + plans[..., 2])], -1)


def to_robot(pose: Double, poses: Double) -> Double:
    """World poses [..., T, 3] in the frame of a pose [3]; the inverse of ``to_world``."""
    c, s = np.cos(pose[2]), np.sin(pose[2])
    x, y = poses[..., 0] - pose[0], poses[..., 1] - pose[1]
    return np.stack([c * x + s * y, c * y - s * x, wrap(poses[..., 2] - pose[2])], -1)


def follow(body: Body, state: Double, poses: Double) -> Double:
    """States [N, T, 6] of a body that starts in ``state`` [6] and follows world poses [N, T, 3], one a step of ``DT``."""
    now = np.repeat(state[None], len(poses), 0)  # [N, 6]
    out = np.zeros((*poses.shape[:2], 6))
    move = _holonomic if body.drive == "holonomic" else _unicycle
    for step in range(poses.shape[1]):
        now = move(body, now, poses[:, step])
        out[:, step] = now
    return out


def _holonomic(body: Body, now: Double, aim: Double) -> Double:
    wanted = (aim[:, :2] - now[:, :2]) / DT  # [N, 2] m/s
    velocity = now[:, VX : VY + 1] + _shortened(_shortened(wanted, body.speed) - now[:, VX : VY + 1], body.acceleration * DT)
    turn = np.clip(wrap(aim[:, 2] - now[:, HEADING]) / DT, -body.turn, body.turn)
    return _moved(now, velocity, turn)


def _unicycle(body: Body, now: Double, aim: Double) -> Double:
    away = aim[:, :2] - now[:, :2]  # [N, 2] metres
    distance = np.sqrt(np.square(away).sum(1))
    bearing = wrap(np.arctan2(away[:, 1], away[:, 0]) - now[:, HEADING])
    left = np.where(distance > NEAR, bearing, wrap(aim[:, 2] - now[:, HEADING]))
    turn = np.clip(left / DT, -body.turn, body.turn)
    speed = np.cos(now[:, HEADING]) * now[:, VX] + np.sin(now[:, HEADING]) * now[:, VY]
    wanted = np.clip(distance * np.maximum(np.cos(bearing), 0.0) / DT, 0.0, body.speed)
    speed = speed + np.clip(wanted - speed, -body.acceleration * DT, body.acceleration * DT)
    heading = now[:, HEADING] + turn * DT
    return _moved(now, np.stack([speed * np.cos(heading), speed * np.sin(heading)], 1), turn)


def _moved(now: Double, velocity: Double, turn: Double) -> Double:
    heading = wrap(now[:, HEADING] + turn * DT)
    return np.concatenate([now[:, :2] + velocity * DT, heading[:, None], velocity, turn[:, None]], 1)


def _shortened(vectors: Double, longest: float) -> Double:
    """Vectors [N, 2], none longer than ``longest``."""
    length = np.sqrt(np.square(vectors).sum(1, keepdims=True))
    return np.asarray(vectors * np.minimum(1.0, longest / np.maximum(length, 1e-12)))


__all__ = ["NEAR", "TURN", "follow", "to_robot", "to_world"]
