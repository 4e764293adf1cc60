"""Plans that need no tracker: going on as one goes, and being exactly where the plan says."""

from __future__ import annotations

import numpy as np

from wetoolkit_driving.domain import PLAN
from wetoolkit_driving.dynamics import to_world
from wetoolkit_driving.geometry import wrap_angle
from wetoolkit_driving.types import AX, HEADING, STEERING, VX, YAW_ACCELERATION, YAW_RATE, Double, Vehicle


def straight_on(state: Double) -> Double:
    """The plan [40, 3] of a body that keeps its speed and heading; a body that rolls backwards stops."""
    plan = np.zeros(PLAN.shape)
    plan[:, 0] = max(float(state[VX]), 0.0) * PLAN.dt * np.arange(1, PLAN.steps + 1)
    return plan


def as_planned(state: Double, plan: Double, vehicle: Vehicle) -> Double:
    """States [T, 11] of a body that is exactly where its plan [T, 3] says; rates by backward differences."""
    poses = to_world(state[None], plan[None])[0]  # [T + 1, 3]
    states = np.zeros((len(plan) + 1, 11))
    states[0] = state
    states[:, :3] = poses
    states[0, HEADING] = state[HEADING]
    move = np.diff(poses[:, :2], axis=0)
    turn = wrap_angle(np.diff(poses[:, 2]))
    course = poses[:-1, 2] + 0.5 * turn
    speed = (move[:, 0] * np.cos(course) + move[:, 1] * np.sin(course)) / PLAN.dt  # signed: plans may go backwards
    states[1:, VX], states[1:, YAW_RATE] = speed, turn / PLAN.dt
    states[1:, AX] = np.diff(states[:, VX]) / PLAN.dt
    states[1:, YAW_ACCELERATION] = np.diff(states[:, YAW_RATE]) / PLAN.dt
    moving = np.abs(speed) > 0.1  # m/s: below it a heading change says nothing about the wheels
    states[1:, STEERING] = np.where(
        moving, np.arctan(vehicle.wheel_base * states[1:, YAW_RATE] / np.where(moving, speed, 1.0)), 0.0
    )
    states[1:, STEERING + 1] = np.diff(states[:, STEERING]) / PLAN.dt
    return states[1:]


__all__ = ["as_planned", "straight_on"]
