"""The world made longer, with what is assumed past its log's end, or shorter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from wetoolkit_driving.types import Agents, Bool, Control, Ego, World

ROAD_USERS = 2  # the greatest AgentClass that moves by itself: vehicle, pedestrian, bicycle


def extended(world: World, steps: int) -> World:
    """The world with ``steps`` steps in all; itself where it has as many.

    Agents that repeat their log go on at the velocity and heading they have at its last step; those that are not there then stay
    away. Agents that a model moves have no record there, the model goes on. Signals keep their last state. The ego is not known.
    """
    more = steps - world.steps
    if more <= 0:
        return world
    agents, ego = world.agents, world.ego
    goes_on = agents.valid[:, -1] & ~_modelled(agents)  # [A]
    seconds = world.dt * np.arange(1, more + 1, dtype=np.float32)
    pose = np.repeat(agents.pose[:, -1:], more, 1)
    pose[..., :2] += seconds[:, None] * agents.velocity[:, -1:]
    mask = np.repeat(goes_on[:, None], more, 1)
    velocity = np.repeat(agents.velocity[:, -1:], more, 1)
    longer = replace(
        agents,
        pose=np.concatenate([agents.pose, np.where(mask[..., None], pose, 0)], 1).astype(agents.pose.dtype),
        velocity=np.concatenate([agents.velocity, np.where(mask[..., None], velocity, 0)], 1).astype(agents.velocity.dtype),
        valid=np.concatenate([agents.valid, mask], 1),
    )
    states = np.concatenate([ego.states, np.zeros((more, ego.states.shape[1]))])
    known = np.concatenate([ego.valid, np.zeros(more, bool)])
    signals = np.concatenate([world.signals, np.repeat(world.signals[:, -1:], more, 1)], 1)
    return replace(world, ego=Ego(states, known, ego.vehicle), agents=longer, signals=signals)


def _modelled(agents: Agents) -> Bool:
    """[A] those that a model moves: road users that move in the record and do not repeat it."""
    first = agents.valid.argmax(1)
    start = agents.pose[np.arange(len(agents)), first, :2]
    away = np.where(agents.valid[..., None], agents.pose[..., :2] - start[:, None], 0.0)
    moves = np.hypot(away[..., 0], away[..., 1]).max(1, initial=0.0) >= 0.5  # metres, as traffic.engine.RESTS
    return np.asarray((agents.control != Control.REPLAY) & (agents.kind <= ROAD_USERS) & moves)


def first_steps(world: World, count: int) -> World:
    """The world's first ``count`` steps, every agent kept."""
    a, ego = world.agents, world.ego
    agents = replace(
        a, pose=a.pose[:, :count].copy(), velocity=a.velocity[:, :count].copy(), valid=a.valid[:, :count].copy()
    )  # fmt: skip
    ego = replace(ego, states=ego.states[:count].copy(), valid=ego.valid[:count].copy())
    return replace(world, ego=ego, agents=agents, signals=world.signals[:, :count].copy())


__all__ = ["extended", "first_steps"]
