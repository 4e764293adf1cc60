"""The memory of the traffic: B scenes of different sizes side by side in flat arrays, so that one kernel call steps them all.

A scene's part of a flat array is a contiguous slice that is seen as its own table: ``flat[layout.cell[b] : layout.cell[b + 1]]``
is its [A, T] table. Scenes share nothing, so a batch equals its singles bit for bit. At time t everybody looks at ``Now``, the
scene's bodies as they are at t (its agents, then its ego), and writes its own row at t + 1: the order of agents changes nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wetoolkit_driving.jit import inner
from wetoolkit_driving.types import HEADING, VX, VY, Bool, Byte, Double, Float

Steps = NDArray[np.int64]

# What an agent does at present. Its Control says what it was meant for; the mode changes while the scene runs.
REPLAYED = 0  # repeats its log
DRIVING = 1  # is moved along its path by the intelligent driver model
WAITING = 2  # will appear later, as recorded, and then be moved
SCRIPTED = 4  # follows a script along its path (3 and 5: see ``social`` and ``reaction``)
LOGGED = 6  # repeats its log until something it meets is not as it was in the log, then is moved


class Layout(NamedTuple):
    """Where each scene lies in the flat arrays; A, T, S are that scene's own counts of agents, steps and signals."""

    agent: Steps  # [B + 1] in arrays of one row an agent, N rows in all
    cell: Steps  # [B + 1] in arrays of one row an agent and step, its [A, T] table
    pair: Steps  # [B + 1] in arrays of one entry a pair, its [A, A + 1] table (the last column is the ego)
    clock: Steps  # [B + 1] in arrays of one row a step, its [T]
    signal: Steps  # [B + 1] in ``Bodies.signals``, its [S, T] table


class Bodies(NamedTuple):
    """Everybody of every scene over all steps, flat."""

    mode: Byte  # [N] see above
    kind: Byte  # [N] AgentClass
    size: Double  # [N, 2] length, width
    ego_size: Double  # [B, 2]
    ego_shift: Double  # [B] rear axle to box centre, metres
    ignore: Bool  # [A, A + 1] of each scene: pairs that overlap in the log itself
    pose: Float  # [A, T, 3] of each scene as [cells, 3]
    velocity: Float  # [A, T, 2]
    valid: Bool  # [A, T]
    ego: Double  # [T, 11] of each scene: rear axle states, known up to the step that is reached
    signals: Byte  # [S, T] of each scene
    dt: Double  # [B] seconds a step


class Now(NamedTuple):
    """One scene's M = A + 1 bodies at one step, the ego last; scratch that ``look`` fills."""

    pose: Double  # [M, 3] box centres
    speed: Double  # [M, 2] m/s, world axes
    there: Bool  # [M]
    corner: Double  # [M, 4, 2] FL, RL, RR, FR
    size: Double  # [M, 2] length, width
    kind: Byte  # [M]


class Scene(NamedTuple):
    """One scene's own tables: slices of the flat arrays, so that writing here writes there."""

    first: int  # row of its first agent in arrays [N, ...]
    mode: Byte  # [A]
    pose: Float  # [A, T, 3]
    velocity: Float  # [A, T, 2]
    valid: Bool  # [A, T]
    ego: Double  # [T, 11]
    ego_shift: float
    ignore: Bool  # [A, A + 1]
    signals: Byte  # [S, T]
    dt: float


@inner
def scene_of(b: int, layout: Layout, bodies: Bodies) -> Scene:
    """The tables of scene ``b``."""
    a0, a1, c0, c1 = layout.agent[b], layout.agent[b + 1], layout.cell[b], layout.cell[b + 1]
    t0, t1, s0, s1 = layout.clock[b], layout.clock[b + 1], layout.signal[b], layout.signal[b + 1]
    count, steps = a1 - a0, t1 - t0
    return Scene(
        a0,
        bodies.mode[a0:a1],
        bodies.pose[c0:c1].reshape((count, steps, 3)),
        bodies.velocity[c0:c1].reshape((count, steps, 2)),
        bodies.valid[c0:c1].reshape((count, steps)),
        bodies.ego[t0:t1],
        bodies.ego_shift[b],
        bodies.ignore[layout.pair[b] : layout.pair[b + 1]].reshape((count, count + 1)),
        bodies.signals[s0:s1].reshape(((s1 - s0) // steps, steps)),
        bodies.dt[b],
    )


@inner
def scratch_of(b: int, layout: Layout, bodies: Bodies) -> Now:
    """Room for the bodies of scene ``b`` at a step; sizes and kinds are filled in."""
    a0, count = layout.agent[b], layout.agent[b + 1] - layout.agent[b]
    size, kind = np.empty((count + 1, 2)), np.zeros(count + 1, np.uint8)
    for a in range(count):
        size[a, 0], size[a, 1], kind[a] = bodies.size[a0 + a, 0], bodies.size[a0 + a, 1], bodies.kind[a0 + a]
    size[count, 0], size[count, 1] = bodies.ego_size[b, 0], bodies.ego_size[b, 1]  # its kind is AgentClass.VEHICLE, 0
    return Now(
        np.zeros((count + 1, 3)), np.zeros((count + 1, 2)), np.zeros(count + 1, np.bool_), np.zeros((count + 1, 4, 2)), size, kind
    )


@inner
def corners(x: float, y: float, heading: float, length: float, width: float, out: Double) -> None:
    """Corners [4, 2] (FL, RL, RR, FR) of a box."""
    c, s = np.cos(heading), np.sin(heading)
    for k in range(4):
        dx = 0.5 * length if k == 0 or k == 3 else -0.5 * length
        dy = 0.5 * width if k < 2 else -0.5 * width
        out[k, 0], out[k, 1] = x + c * dx - s * dy, y + s * dx + c * dy


@inner
def look(t: int, scene: Scene, now: Now) -> None:
    """Fill ``now`` with the scene's bodies as they are at step ``t``."""
    count = len(scene.mode)
    for a in range(count):
        now.there[a] = scene.valid[a, t]
        if now.there[a]:
            for i in range(3):
                now.pose[a, i] = scene.pose[a, t, i]
            now.speed[a, 0], now.speed[a, 1] = scene.velocity[a, t, 0], scene.velocity[a, t, 1]
            corners(now.pose[a, 0], now.pose[a, 1], now.pose[a, 2], now.size[a, 0], now.size[a, 1], now.corner[a])
    state = scene.ego[t]
    c, s = np.cos(state[HEADING]), np.sin(state[HEADING])
    now.there[count] = True
    now.pose[count, 0], now.pose[count, 1] = state[0] + scene.ego_shift * c, state[1] + scene.ego_shift * s
    now.pose[count, 2] = state[HEADING]
    now.speed[count, 0], now.speed[count, 1] = c * state[VX] - s * state[VY], s * state[VX] + c * state[VY]
    corners(
        now.pose[count, 0], now.pose[count, 1], now.pose[count, 2], now.size[count, 0], now.size[count, 1], now.corner[count]
    )  # fmt: skip


@inner
def put(scene: Scene, a: int, t: int, x: float, y: float, heading: float, vx: float, vy: float) -> None:
    """Write agent ``a`` at step ``t``: box centre, heading (wrapped to [-pi, pi)), velocity in the world's axes."""
    scene.pose[a, t, 0], scene.pose[a, t, 1] = x, y
    scene.pose[a, t, 2] = np.mod(heading + np.pi, 2.0 * np.pi) - np.pi
    scene.velocity[a, t, 0], scene.velocity[a, t, 1] = vx, vy
    scene.valid[a, t] = True


@inner
def clear(scene: Scene, a: int, t: int) -> None:
    """Agent ``a`` is not there at step ``t``."""
    scene.valid[a, t] = False
    for i in range(3):
        scene.pose[a, t, i] = 0.0
    scene.velocity[a, t, 0], scene.velocity[a, t, 1] = 0.0, 0.0


__all__ = [
    "DRIVING", "LOGGED", "REPLAYED", "SCRIPTED", "WAITING", "Bodies", "Layout", "Now", "Scene", "Steps", "clear", "corners",
    "look", "put", "scene_of", "scratch_of",
]  # fmt: skip
