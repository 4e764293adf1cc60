"""What was generated, written into the world; and what is kept of the record."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from wetoolkit_driving.geometry import compose, ego_center, relative, wrap_angle
from wetoolkit_driving.traffic.behaviours import movers
from wetoolkit_driving.types import Bool, Control, Double, Float, World

from wetoolkit_diffusion.controls import Hold
from wetoolkit_diffusion.realism import off_road, road
from wetoolkit_diffusion.spec import TokenSpec
from wetoolkit_diffusion.tokens import Tokens


def made_rows(tokens: Tokens, hold: Hold, spec: TokenSpec) -> Bool:
    """[A] rows whose future is generated, in part at least; the ego's never is."""
    made = ~hold.given[:, spec.now + 1 :].all(1) & ~(hold.given == tokens.valid).all(1)
    free = ~hold.given[:, spec.now + 1 :].any(1)
    return np.asarray((made | free) & (tokens.rows >= 0))


def keep_record(motion: Double, tokens: Tokens, hold: Hold, world: World, now: int) -> None:
    """Write the record over the motion [A, T, 3] of rows that were given as recorded, as far as it goes."""
    span = slice(now + 1, now + 1 + motion.shape[1])
    own = relative(tokens.frame[0], ego_center(world.ego.states[span], world.ego.vehicle))
    known = world.ego.valid[span]
    motion[0, : len(own)][known] = own[known]
    rest = (hold.given == tokens.valid).all(1)
    for row in np.flatnonzero(rest & (tokens.rows >= 0)):
        a = tokens.rows[row]
        there = world.agents.valid[a, span]
        found = relative(tokens.frame[row], world.agents.pose[a, span].astype(np.float64))
        motion[row, : len(found)][there] = found[there]


def record_on(tokens: Tokens, spec: TokenSpec) -> Float:
    """Token states [A, K, CHANNELS] as recorded; where the record of somebody ends, on from there at its heading and speed."""
    state, valid = tokens.state.copy(), tokens.valid.copy()
    for token in range(spec.now + 1, spec.count):
        before = state[:, token - 1]
        on = before.copy()
        on[:, :2] += spec.period * before[:, 4:] * before[:, 2:4]
        state[:, token] = np.where(valid[:, token, None], state[:, token], on)
    return state


def leaves_in_record(tokens: Tokens, world: World, now: int, steps: int) -> Bool:
    """[A] vehicles that leave the road, or the record, in the log itself."""
    span = slice(now + 1, now + 1 + steps)
    pose = world.agents.pose[tokens.rows[1:], span].astype(np.float64)
    there = world.agents.valid[tokens.rows[1:], span]
    pose = np.where(there[..., None], pose, tokens.frame[1:, None])
    if pose.shape[1] == 0 or not world.map.lanes:
        return np.zeros(len(tokens), bool)
    return np.concatenate([[False], off_road(road(world.map), pose[None], tokens.frame[1:], tokens.frame[0, :2])[0]])


def rewritten(world: World, now: int, tokens: Tokens, motion: Double, made: Bool, closed_loop: bool) -> World:
    """The world with the ``made`` rows [A] as generated after ``now``, from the last of their poses on at their velocity then."""
    agents, rows = world.agents, tokens.rows[made]
    pose, velocity, valid = agents.pose.copy(), agents.velocity.copy(), agents.valid.copy()
    full = compose(tokens.frame[made][:, None], motion[made])  # [m, T, 3]
    steps = world.steps - now - 1
    if steps > full.shape[1]:
        pace = full[:, -1, :2] - full[:, -2, :2]
        on = np.arange(1, steps - full.shape[1] + 1)[None, :, None] * pace[:, None]
        after = np.concatenate([full[:, -1:, :2] + on, np.repeat(full[:, -1:, 2:], on.shape[1], 1)], -1)
        full = np.concatenate([full, after], 1)
    full = full[:, :steps]
    before = np.concatenate([pose[rows, now : now + 1, :2].astype(np.float64), full[:, :-1, :2]], 1)
    pose[rows, now + 1 :] = np.concatenate([full[..., :2], wrap_angle(full[..., 2:])], -1)
    velocity[rows, now + 1 :] = (full[..., :2] - before) / world.dt
    valid[rows, now + 1 :] = True
    control = np.full(len(agents), Control.REPLAY, np.uint8)
    if closed_loop:
        moving = rows[movers(agents, now)[rows]]
        control[moving] = Control.EXTERNAL
    moved = {agents.ids[row] for row in rows}
    scripts = tuple(script for script in world.scripts if script.agent not in moved)
    others = replace(agents, pose=pose, velocity=velocity, valid=valid, control=control, manners=None)
    return replace(world, agents=others, scripts=scripts)


__all__ = ["keep_record", "leaves_in_record", "made_rows", "record_on", "rewritten"]
