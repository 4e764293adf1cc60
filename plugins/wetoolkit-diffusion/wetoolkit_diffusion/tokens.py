"""A driving world as tokens: what everybody near the ego does, every half second, each in a frame of its own.

An agent's frame is its pose at the present, so nothing depends on where the scene lies; what the agents are to one another is in
the frames alone. Row 0 is the ego (its box centre, as of everybody else).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from wetoolkit_driving.geometry import compose, ego_center, relative
from wetoolkit_driving.types import VX, AgentClass, Bool, Byte, Double, Float, Int, World

from wetoolkit.types import require
from wetoolkit_diffusion.roads import near, pieces
from wetoolkit_diffusion.rules import stops
from wetoolkit_diffusion.spec import CHANNELS, KINDS, PARTS, TokenSpec
from wetoolkit_diffusion.ways import ways


@dataclass(frozen=True)
class Tokens:
    """One scene: A rows of K tokens."""

    rows: Int  # [A] row among the world's agents; the ego's is -1
    names: Int  # [A] hash of the agent's id; the ego's is 0
    frame: Double  # [A, 3] pose at the present, in the world
    velocity: Float  # [A, 2] at the present, in the own frame, m/s
    kind: Byte  # [A] AgentClass, one of KINDS
    size: Float  # [A, 2] length and width, metres
    state: Float  # [A, K, CHANNELS] zeros where not valid
    valid: Bool  # [A, K]
    points: Float  # [A, L, P, 2] pieces of the map in the own frame, metres
    facts: Float  # [A, L, FACTS]
    there: Bool  # [A, L]
    ways: Float  # [A, R, len(AHEAD), 2] chains of lanes ahead, in the own frame, metres
    way_facts: Float  # [A, R, ways.FACTS]
    open: Bool  # [A, R]
    rails: Float  # [A, R, len(RAILS), 2] the same chains in steps of 2 m, for guidance; no points in training
    stops: Double  # [S, 4] stop lines with a signal (``rules.stops``), in the world, for guidance
    shut: Bool  # [S, F * PARTS + 1] when nobody may pass them, from the present on ``PARTS`` a token
    left_out: int  # road users at the present beyond ``TokenSpec.agents``: they are not modelled

    def __len__(self) -> int:
        return len(self.rows)


def stride(dt: float, spec: TokenSpec) -> int:
    """Steps of a world between two tokens; an error where that is no whole number."""
    steps = round(spec.period / dt)
    fits = steps > 0 and abs(steps * dt - spec.period) < 1e-6
    require(fits, f"steps of {dt:g} s make no token of {spec.period:g} s", "world.dt", "resample the world to 0.1 s")
    return steps


def encode(world: World, now: int, spec: TokenSpec) -> Tokens:
    """The tokens of a world at step ``now``; it may end there (then no future token is valid). The ego must be there at ``now``."""
    require(0 <= now < world.steps, f"step {now} of {world.steps}", "now", "give a step of the world")
    rows, left_out = choose(world, now, spec)
    steps = now + stride(world.dt, spec) * np.arange(-spec.now, spec.future + 1)
    known = (steps >= 0) & (steps < world.steps)
    at = np.clip(steps, 0, world.steps - 1)
    pose, velocity, valid = _tracks(world, rows, at)
    valid = valid & known
    frame = pose[:, spec.now]
    local = relative(frame[:, None], pose)
    state = np.stack(
        [local[..., 0], local[..., 1], np.cos(local[..., 2]), np.sin(local[..., 2]), np.hypot(*np.moveaxis(velocity, -1, 0))], -1
    )  # [A, K, CHANNELS]
    kind, size = _bodies(world, rows)
    found = pieces(world.map, world.signals[:, now], spec)
    points, facts, there = near(found, frame, kind == AgentClass.PEDESTRIAN, spec)
    chains = ways(world.map, world.signals[:, now], frame, kind, spec)
    names = np.array([0, *(zlib.crc32(world.agents.ids[row].encode()) for row in rows[1:])], np.int64)
    return Tokens(
        rows, names, frame, _turned(velocity[:, spec.now], -frame[:, 2]).astype(np.float32), kind, size,
        np.where(valid[..., None], state, 0.0).astype(np.float32), valid, points, facts, there, *chains,
        *_lights(world, now, spec), left_out,
    )  # fmt: skip


def choose(world: World, now: int, spec: TokenSpec) -> tuple[Int, int]:
    """Rows of the ego (-1) and of the road users nearest to it that are there at ``now``, and how many are left out."""
    agents, centre = world.agents, ego_center(world.ego.states[now], world.ego.vehicle)
    who = np.flatnonzero(agents.valid[:, now] & np.isin(agents.kind, KINDS))
    away = np.hypot(*(agents.pose[who, now, :2].astype(np.float64) - centre[:2]).T)
    nearest = who[np.argsort(np.round(away, 3), kind="stable")][: spec.agents - 1]
    return np.concatenate([[-1], nearest]).astype(np.int32), len(who) - len(nearest)


def _tracks(world: World, rows: Int, at: Int) -> tuple[Double, Double, Bool]:
    """Poses [A, K, 3], velocities [A, K, 2] in the world and whether they are known [A, K]."""
    agents, ego = world.agents, world.ego
    others = rows[1:]
    states = ego.states[at]
    own = ego_center(states, ego.vehicle)
    heading = np.stack([np.cos(own[:, 2]), np.sin(own[:, 2])], -1)
    pose = np.concatenate([own[None], agents.pose[others][:, at].astype(np.float64)])
    velocity = np.concatenate([(states[:, VX, None] * heading)[None], agents.velocity[others][:, at].astype(np.float64)])
    return pose, velocity, np.concatenate([ego.valid[None, at], agents.valid[others][:, at]])


def _bodies(world: World, rows: Int) -> tuple[Byte, Float]:
    vehicle, others = world.ego.vehicle, rows[1:]
    kind = np.concatenate([[AgentClass.VEHICLE], world.agents.kind[others]]).astype(np.uint8)
    size = np.concatenate([[[vehicle.length, vehicle.width]], world.agents.size[others, :2]]).astype(np.float32)
    return kind, size


def _lights(world: World, now: int, spec: TokenSpec) -> tuple[Double, Bool]:
    """Stop lines [S, 4] and when they are shut [S, F * PARTS + 1]; a signal stays as it is at the record's end."""
    lines, shut = stops(world)
    every = stride(world.dt, spec) / PARTS
    at = now + np.round(every * np.arange(spec.future * PARTS + 1)).astype(np.int32)
    return lines, shut[:, np.minimum(at, world.steps - 1)]


def _turned(vectors: Double, angle: Double) -> Double:
    """Vectors [A, 2] turned by angles [A] to the left."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([cos * vectors[:, 0] - sin * vectors[:, 1], sin * vectors[:, 0] + cos * vectors[:, 1]], -1)


def poses(state: Float | Double, frame: Double) -> Double:
    """Poses [..., A, K, 3] in the world of token states [..., A, K, CHANNELS] in their frames [A, 3]."""
    state = np.asarray(state, np.float64)
    local = np.stack([state[..., 0], state[..., 1], np.arctan2(state[..., 3], state[..., 2])], -1)
    return compose(frame[:, None], local)


def states(pose: Double, speed: Double, frame: Double) -> Double:
    """Token states [..., CHANNELS] of a pose [..., 3] in the world, its speed [...] and its agent's frame [..., 3]."""
    local = relative(frame, pose)
    return np.stack([local[..., 0], local[..., 1], np.cos(local[..., 2]), np.sin(local[..., 2]), speed], -1)


__all__ = ["CHANNELS", "KINDS", "Tokens", "choose", "encode", "poses", "states", "stride"]
