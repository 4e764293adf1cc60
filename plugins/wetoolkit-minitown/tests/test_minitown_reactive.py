"""The intelligent driver model on windows of minitown: nobody with wheels collides, enters on red or brakes beyond the bounds."""

from __future__ import annotations

import numpy as np
import pytest
from wetoolkit_driving.geometry import box_corners, boxes_touch
from wetoolkit_driving.reconstruct import Replay, ReplayConfig
from wetoolkit_driving.testing import with_control
from wetoolkit_driving.traffic.engine import Traffic, start
from wetoolkit_driving.traffic.layout import DRIVING
from wetoolkit_driving.traffic.manners import ACCELERATION, EMERGENCY, TrafficConfig
from wetoolkit_driving.types import AgentClass, Control, Signal, World
from wetoolkit_minitown.dataset import Minitown

WINDOWS = 12


@pytest.fixture(scope="module")
def driven(town_data: Minitown) -> list[tuple[World, int, Traffic]]:
    """(world, first step, traffic moved to the end) of a dozen windows, everybody by the model, the ego as in the log."""
    refs = town_data.index("train")
    found = []
    for ref in refs[:: max(1, len(refs) // WINDOWS)][:WINDOWS]:
        scene = Replay(ReplayConfig()).reconstruct(town_data.load(ref), None, 0)
        world, now = with_control(scene.world, Control.IDM), scene.clock.now
        traffic = start(world, now, TrafficConfig())
        traffic.run(now, world.steps - 1, world.ego.states)
        found.append((world, now, traffic))
    assert len(found) == WINDOWS and sum(traffic.counts()["idm_agents"] for *_, traffic in found) > WINDOWS
    return found


def test_the_model_s_drivers_do_not_collide(driven: list[tuple[World, int, Traffic]]) -> None:
    """Pairs that overlap in the log are left out, as the model leaves them out."""
    for world, now, traffic in driven:
        agents = traffic.agents
        wheels = (traffic.bodies.mode == DRIVING) & (agents.kind != AgentClass.PEDESTRIAN)
        ignored = traffic.bodies.ignore.reshape(len(agents), -1)
        pose, size = agents.pose.astype(np.float64), agents.size.astype(np.float64)
        boxes = box_corners(pose, size[:, :1], size[:, 1:2])  # [A, T, 4, 2]
        for i in np.flatnonzero(wheels):
            for j in np.flatnonzero(wheels[:i] & ~ignored[i, :i]):
                both = np.flatnonzero(agents.valid[i] & agents.valid[j] & (np.arange(world.steps) >= now))
                assert not boxes_touch(boxes[i, both], boxes[j, both]).any(), (world.agents.ids[i], world.agents.ids[j])


def test_nobody_passes_a_stop_line_on_red(driven: list[tuple[World, int, Traffic]]) -> None:
    """Unless it could not have stopped when the light turned: red has been shown for as long as a hard stop takes (3 s)."""
    lines = 0
    for world, now, traffic in driven:
        drivers, agents = traffic.drivers, traffic.agents
        for a in np.flatnonzero((traffic.bodies.mode == DRIVING) & (agents.kind != AgentClass.PEDESTRIAN)):
            path = drivers.paths[drivers.offset[a] : drivers.offset[a + 1], :2]
            for at, row in drivers.stops[drivers.stop_offset[a] : drivers.stop_offset[a + 1]]:
                there = np.flatnonzero(agents.valid[a] & (np.arange(world.steps) >= now))
                away = np.hypot(*(agents.pose[a, there, None, :2].astype(np.float64) - path).transpose(2, 0, 1))  # [n, K]
                front = 0.5 * away.argmin(1) + 0.5 * float(agents.size[a, 0])
                passes = there[1:][(front[:-1] < at - 1.0) & (front[1:] >= at + 1.0)]
                over = np.flatnonzero((front[:-1] < at + 1.0) & (front[1:] >= at + 1.0))
                lines += 1
                for t in {int(there[k + 1]) for k in over} | set(passes.tolist()):
                    red = world.signals[int(row), max(t - 30, 0) : t + 1] == Signal.RED
                    assert not red.all(), (agents.ids[a], t)
    assert lines > 0


def test_speeds_change_within_the_bounds(driven: list[tuple[World, int, Traffic]]) -> None:
    """From step to step, along the path: at most the driver's acceleration, at least its emergency braking."""
    for world, now, traffic in driven:
        agents, drivers = traffic.agents, traffic.drivers
        for a in np.flatnonzero(traffic.bodies.mode == DRIVING):
            begin = max(now, int(drivers.entry[a]))
            speed = np.hypot(*agents.velocity[a, begin:].astype(np.float64).T)
            change = np.diff(speed)[1:] / world.dt
            assert change.max(initial=0.0) <= drivers.parameters[a, ACCELERATION] + 1e-3
            assert change.min(initial=0.0) >= -drivers.parameters[a, EMERGENCY] - 1e-3
