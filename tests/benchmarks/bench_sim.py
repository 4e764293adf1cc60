"""Scene-steps per second of CPU time: closed loop among 20 IDM agents, the traffic alone, and observation, on one core.

Printed beside them: the same traffic replayed, so that the model's share shows whatever the machine.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
from wetoolkit_driving.domain import Driving
from wetoolkit_driving.policies import ConstantVelocity, ConstantVelocityConfig
from wetoolkit_driving.simulator import ClosedLoop, ClosedLoopConfig
from wetoolkit_driving.testing import actor, crossing_world, scene, with_control
from wetoolkit_driving.traffic.engine import start
from wetoolkit_driving.traffic.manners import TrafficConfig
from wetoolkit_driving.types import AgentClass, Control, Signal, World

from wetoolkit.types import ObservationSpec, Situation

SCENES, AGENTS, STEPS, NOW = 32, 20, 111, 20
KINDS = (AgentClass.VEHICLE, AgentClass.VEHICLE, AgentClass.BICYCLE, AgentClass.PEDESTRIAN)


def world(seed: int) -> World:
    """A crossing with 20 moving road users on its roads."""
    rng = np.random.default_rng(seed)
    actors = [
        actor(12.0 * (i - 6), 3.5 * (i % 2), np.pi * (i % 2), rng.uniform(1, 10), KINDS[i % 4], steps=STEPS) for i in range(AGENTS)
    ]
    return crossing_world(actors, steps=STEPS, signals=(Signal.GREEN, Signal.GREEN))


def cpu(function: Callable[[], object], repeats: int = 3) -> float:
    """The least CPU seconds of a few runs, after one that compiles."""
    function()
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        function()
        times.append(time.process_time() - begin)
    return min(times)


def main() -> None:
    worlds = [world(i) for i in range(SCENES)]
    simulator, policy = ClosedLoop(ClosedLoopConfig()), ConstantVelocity(ConstantVelocityConfig())
    steps = SCENES * (STEPS - 1 - NOW)
    rows = []
    for name, control in (("closed loop, 20 IDM agents", Control.IDM), ("closed loop, 20 replayed", Control.REPLAY)):
        scenes = [scene(with_control(w, control), name=str(i)) for i, w in enumerate(worlds)]
        rows.append((name, steps / cpu(lambda scenes=scenes: simulator.rollout(scenes, policy, [0] * SCENES)), "scene-steps/s"))

    def traffic() -> None:
        for w in worlds:
            start(with_control(w, Control.IDM), NOW, TrafficConfig()).run(NOW, STEPS - 1, w.ego.states)

    rows.append(("traffic alone, hand-over included", steps / cpu(traffic), "scene-steps/s"))
    spec = ObservationSpec(history=20, fields=("ego", "agents", "lanes", "route"))
    situations = [Situation(str(i), "log", w, NOW) for i, w in enumerate(worlds)]
    rows.append((f"observe, batch of {SCENES}", 1e3 * cpu(lambda: Driving().observe(situations, spec)), "ms"))
    for name, figure, unit in rows:
        sys.stdout.write(f"{name:36s} {figure:10,.1f} {unit}\n")


if __name__ == "__main__":
    main()
