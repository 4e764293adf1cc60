"""Plans from two numbers: a body that holds an acceleration and a steering angle, by the kinematic bicycle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wetoolkit.types import Situation
from wetoolkit_driving.types import VX, Double, World

NAMES = ("acceleration [m/s^2]", "steering angle [rad]")
LOW, HIGH = np.array([-6.0, -0.5], np.float32), np.array([3.0, 0.5], np.float32)


def steered(situations: Sequence[Situation[World]], controls: Double, steps: int, dt: float) -> Double:
    """Plans [B, steps, 3] (ego frame) of egos that hold (acceleration, steering angle) [B, 2]; none goes backwards.

    Rear-axle kinematic bicycle: heading rate v tan(angle) / wheel base. Speeds are averaged over a step and poses advance along
    the chord's heading, so that a constant angle at constant speed is a circle of radius wheel base / tan(angle) up to the chord.
    """
    speed = np.array([max(float(s.world.ego.states[s.step, VX]), 0.0) for s in situations])  # [B] m/s
    base = np.array([s.world.ego.vehicle.wheel_base for s in situations])  # [B] metres
    acceleration, angle = np.asarray(controls, np.float64).T
    times = dt * np.arange(steps + 1)
    speeds = np.maximum(speed[:, None] + acceleration[:, None] * times, 0.0)  # [B, steps + 1]
    mean = 0.5 * (speeds[:, 1:] + speeds[:, :-1])  # [B, steps]
    turn = mean * (np.tan(angle) / base)[:, None] * dt
    heading = np.cumsum(turn, axis=1)
    course = heading - 0.5 * turn
    x, y = np.cumsum(mean * np.cos(course) * dt, axis=1), np.cumsum(mean * np.sin(course) * dt, axis=1)
    return np.stack([x, y, (heading + np.pi) % (2 * np.pi) - np.pi], axis=-1)


__all__ = ["HIGH", "LOW", "NAMES", "steered"]
