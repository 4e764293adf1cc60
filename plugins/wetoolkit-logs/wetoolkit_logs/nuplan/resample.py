"""A world at another rate: what was sampled at both rates stays as it is, what lies between is interpolated."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from wetoolkit_driving.geometry import wrap_angle
from wetoolkit_driving.types import HEADING, World

from wetoolkit.errors import DataError

Double = NDArray[np.float64]


def resampled(world: World, rate: float) -> World:
    """The world at ``rate`` Hz: poses and velocities linear, headings the short way round, signals held.

    Errors: ``DataError`` where neither rate is a multiple of the other.
    """
    factor, thin = _ratio(rate * world.dt, rate, world.dt)
    if factor == thin:
        return world
    at = np.arange((world.steps - 1) * factor + 1)[::thin]
    low, high, part = at // factor, -(-at // factor), (at % factor) / factor  # [T'] steps before and after, and how far between
    ego, agents = world.ego, world.agents
    states = _between(ego.states[low], ego.states[high], part[:, None])
    states[:, HEADING] = _turned(ego.states[low, HEADING], ego.states[high, HEADING], part)
    pose = _between(agents.pose[:, low], agents.pose[:, high], part[:, None])
    pose[..., 2] = _turned(agents.pose[:, low, 2], agents.pose[:, high, 2], part)
    velocity = _between(agents.velocity[:, low], agents.velocity[:, high], part[:, None])
    others = replace(agents, pose=pose, velocity=velocity, valid=agents.valid[:, low] & agents.valid[:, high])
    body = replace(ego, states=states, valid=ego.valid[low] & ego.valid[high])
    return replace(world, ego=body, agents=others, signals=world.signals[:, low], dt=world.dt / factor * thin)


def _ratio(up: float, rate: float, dt: float) -> tuple[int, int]:
    """(samples per step, samples of which one is kept)."""
    for factor, thin in ((round(up), 1), (1, round(1 / up))):
        if min(factor, thin) >= 1 and abs(up - factor / thin) < 1e-6:
            return factor, thin
    raise DataError(f"{rate:g} Hz from steps of {dt:g} s", field="rate", way_out="give a multiple or a whole fraction")


def _between(a: NDArray[Any], b: NDArray[Any], part: Double) -> Double:
    """Exact where ``part`` is 0."""
    low = np.asarray(a, np.float64)
    return low + part * (b - low)


def _turned(a: NDArray[Any], b: NDArray[Any], part: Double) -> Double:
    low = np.asarray(a, np.float64)
    return np.where(part > 0, wrap_angle(low + part * wrap_angle(b - low)), low)
