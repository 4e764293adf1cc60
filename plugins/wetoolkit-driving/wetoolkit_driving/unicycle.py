"""The unicycle and its tracker: a body that turns on the spot, for robots and people rather than cars.

Plan -> poses in the world -> at each step the tracker's wish (speed, yaw rate) -> limits -> exact motion along an arc. The tracker
is that of Kanayama, Kimura, Miyazaki and Noguchi, "A stable tracking control method for an autonomous mobile robot", ICRA 1990:
with the error (ex, ey, eh) of the planned pose as seen from the body, and the plan's own speed v' and yaw rate w',

    v = v' cos eh + kx ex,    w = w' + v' (ky ey + kh sin eh),

which is stable for v' > 0 (their proposition 1) and critically damped for kh^2 = 4 ky. States are [.., 11] as in ``types``;
steering and its rate stay 0.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from wetoolkit.config import Config
from wetoolkit_driving.dynamics import DT, check_plans, to_world
from wetoolkit_driving.jit import kernel

Double = NDArray[np.float64]


class UnicycleConfig(Config):
    """Limits of the unicycle and gains of its tracker."""

    acceleration: float = Field(default=3.0, description="greatest acceleration [m/s^2]", gt=0)
    deceleration: float = Field(default=6.0, description="greatest deceleration [m/s^2]", gt=0)
    yaw_rate: float = Field(default=1.5, description="greatest yaw rate [rad/s]", gt=0)
    yaw_acceleration: float = Field(default=6.0, description="greatest yaw acceleration [rad/s^2]", gt=0)
    lateral_acceleration: float = Field(default=6.0, description="greatest speed times yaw rate [m/s^2]", gt=0)
    along_gain: float = Field(default=1.0, description="kx: speed for an error ahead [1/s]", gt=0)
    across_gain: float = Field(default=0.25, description="ky: curvature for an error to the side [1/m^2]", gt=0)
    heading_gain: float = Field(default=1.0, description="kh: curvature for an error of the heading [1/m]", gt=0)


def drive_unicycle(states: Double, plans: Double, count: int, config: UnicycleConfig | None = None) -> Double:
    """States [N, count, 11] of bodies that start in states [N, 11] and track plans [N, T, 3] in their own frames, T >= count."""
    check_plans(plans)
    c = config or UnicycleConfig()
    limits = np.array([c.acceleration, c.deceleration, c.yaw_rate, c.yaw_acceleration, c.lateral_acceleration])
    gains = np.array([c.along_gain, c.across_gain, c.heading_gain])
    states = np.ascontiguousarray(states, np.float64)
    poses = np.ascontiguousarray(to_world(states, np.asarray(plans, np.float64)))  # [N, T + 1, 3]
    return np.asarray(_drive(states, poses, count, limits, gains))


@kernel
def _clip(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


@kernel
def wish(state: Double, here: Double, ahead: Double, gains: Double) -> tuple[float, float]:
    """(speed, yaw rate) wanted in a state [11] whose planned pose is ``here`` [3] now and ``ahead`` [3] a step later."""
    turn = ahead[2] - here[2]
    turn = math.atan2(math.sin(turn), math.cos(turn))
    course = here[2] + 0.5 * turn
    speed = ((ahead[0] - here[0]) * math.cos(course) + (ahead[1] - here[1]) * math.sin(course)) / DT
    c, s = math.cos(state[2]), math.sin(state[2])
    dx, dy, dh = here[0] - state[0], here[1] - state[1], here[2] - state[2]
    side = c * dy - s * dx
    return speed * math.cos(dh) + gains[0] * (c * dx + s * dy), turn / DT + speed * (gains[1] * side + gains[2] * math.sin(dh))


@kernel
def move(state: Double, speed: float, yaw_rate: float, after: Double) -> None:
    """Write into ``after`` [11] where a body is a step later that has this speed and yaw rate meanwhile: on an arc, exactly."""
    half = 0.5 * yaw_rate * DT
    chord = speed * DT * (math.sin(half) / half if abs(half) > 1e-9 else 1.0)
    after[0] = state[0] + chord * math.cos(state[2] + half)
    after[1] = state[1] + chord * math.sin(state[2] + half)
    after[2] = (state[2] + 2 * half + math.pi) % (2 * math.pi) - math.pi
    after[3], after[4], after[5], after[6] = speed, 0.0, (speed - state[3]) / DT, 0.0
    after[7], after[8] = 0.0, 0.0
    after[9], after[10] = yaw_rate, (yaw_rate - state[9]) / DT


@kernel
def _drive(states: Double, poses: Double, count: int, limits: Double, gains: Double) -> Double:
    out = np.empty((states.shape[0], count + 1, 11))
    for n in range(states.shape[0]):
        out[n, 0] = states[n]
        for i in range(count):
            now = out[n, i]
            speed, turn = wish(now, poses[n, i], poses[n, i + 1], gains)
            speed = _clip(speed, now[3] - limits[1] * DT, now[3] + limits[0] * DT)
            turn = _clip(turn, now[9] - limits[3] * DT, now[9] + limits[3] * DT)
            most = min(limits[2], limits[4] / max(abs(speed), 1e-9))
            move(now, speed, _clip(turn, -most, most), out[n, i + 1])
    return out[:, 1:]


__all__ = ["UnicycleConfig", "drive_unicycle"]
