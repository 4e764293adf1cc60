"""What the others would do if the ego did this: the simulator's own traffic, started again at any step of a record.

A record (a log, or what was done in a rollout) shows what the others did while the ego did what it did. In the forecast, agents
that react repeat it as long as nothing they meet has changed, and react from there on; so the forecast for the plan that was driven
is the record itself, and nothing but the world, the step, the plan and the manners is needed to repeat a forecast bit for bit.

- IDM and PATH become REACTIVE (see ``release``), SOCIAL stays: its walkers know the record as their log, and cross where it shows
  it (those who do not look still do not; those who hesitate are taken as ordinary otherwise).
- Whom a script or a behaviour from outside moved does what it did in the record: neither is asked about what did not happen.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from wetoolkit_driving.dynamics import reference_poses, simulate
from wetoolkit_driving.traffic.engine import start
from wetoolkit_driving.traffic.manners import HEADWAY, TrafficConfig
from wetoolkit_driving.types import HEADING, VX, VY, YAW_RATE, Bool, Control, Double, Ego, World

BEYOND = 11  # steps forecast past the plan's end: scores look a second further
LEAVES = (Control.IDM, Control.PATH, Control.REACTIVE)


def forecast(world: World, step: int, plan: Double, config: TrafficConfig, interval: float = 0.1) -> World:
    """The world with the ego on ``plan`` [T, 3] and the others as they react to it; the world itself where nobody reacts.

    Poses are every ``interval`` seconds in the frame of the rear axle at ``step``, 4 s of them, tracked by the LQR bicycle. After
    them the ego goes straight on. The record is cut ``BEYOND`` steps after the plan.
    """
    if not reacts(world).any():
        return world
    ego = np.asarray(world.ego.states[step], np.float64)[None]  # [1, 11]
    driven = simulate(ego, reference_poses(ego, plan[None], interval), world.ego.vehicle)[0, 1:]  # [T, 11] every 0.1 s
    last = min(step + len(driven) + BEYOND, world.steps - 1)
    states = world.ego.states.copy()
    states[step + 1 : last + 1] = _onward(driven, last - step, world.dt)
    traffic = start(_asked(world, last + 1), step, config)
    traffic.run(step, last, states)
    valid = world.ego.valid[: last + 1].copy()
    valid[step:] = True
    return replace(
        world,
        ego=Ego(states[: last + 1], valid, world.ego.vehicle),
        agents=replace(traffic.agents, control=world.agents.control),
        signals=world.signals[:, : last + 1],
        scripts=(),
    )


def reacts(world: World) -> Bool:
    """[A] agents whose future is another if the ego's is."""
    named = {script.agent for script in world.scripts}
    free = np.array([name not in named for name in world.agents.ids], bool)
    return free & np.isin(world.agents.control, (*LEAVES, Control.SOCIAL))


def _asked(world: World, steps: int) -> World:
    """The record's first ``steps`` steps, each agent with the control it has in a forecast."""
    agents = world.agents
    control = np.where(np.isin(agents.control, LEAVES), Control.REACTIVE, agents.control)
    control = np.where(reacts(world), control, Control.REPLAY).astype(np.uint8)
    pose, velocity = np.ascontiguousarray(agents.pose[:, :steps]), np.ascontiguousarray(agents.velocity[:, :steps])
    valid = np.ascontiguousarray(agents.valid[:, :steps])
    manners = agents.manners
    if manners is not None:
        keeps = (control != Control.SOCIAL) | (manners[:, HEADWAY] < 0.0)
        manners = manners * keeps[:, None].astype(np.float32)
    agents = replace(agents, pose=pose, velocity=velocity, valid=valid, control=control, manners=manners)
    ego = Ego(world.ego.states[:steps], world.ego.valid[:steps], world.ego.vehicle)
    return replace(world, ego=ego, agents=agents, signals=np.ascontiguousarray(world.signals[:, :steps]), scripts=())


def _onward(driven: Double, steps: int, dt: float) -> Double:
    """The first ``steps`` of ``driven`` [T, 11]; beyond its end at its last velocity, straight on."""
    if steps <= len(driven):
        return driven[:steps]
    more = np.repeat(driven[-1:], steps - len(driven), axis=0)
    c, s = np.cos(driven[-1, HEADING]), np.sin(driven[-1, HEADING])
    ahead = dt * np.arange(1, len(more) + 1)
    more[:, 0] += ahead * (c * driven[-1, VX] - s * driven[-1, VY])
    more[:, 1] += ahead * (s * driven[-1, VX] + c * driven[-1, VY])
    more[:, YAW_RATE] = 0.0
    return np.concatenate([driven, more])


__all__ = ["forecast", "reacts"]
