"""Pictures of drives: size and number, everybody in their colour where they are, ghosts, events, and no package no film."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from wetoolkit_driving.canvas import AHEAD, ALARM, EGO, HEIGHT, KINDS, MOVED, SCALE, STRIP, WIDTH
from wetoolkit_driving.domain import Driving
from wetoolkit_driving.film import frames
from wetoolkit_driving.policies import ConstantVelocity, ConstantVelocityConfig
from wetoolkit_driving.simulator import ClosedLoop, ClosedLoopConfig
from wetoolkit_driving.testing import actor, scene, straight_world
from wetoolkit_driving.types import AgentClass, Control, World

from wetoolkit.errors import PluginError
from wetoolkit.events import Event
from wetoolkit.kinds import SupportsFilm
from wetoolkit.types import Rollout

NOW = 20


def drive(world: World) -> Rollout[World]:
    return ClosedLoop(ClosedLoopConfig(horizon=1.0)).rollout([scene(world)], ConstantVelocity(ConstantVelocityConfig()), [0])[0]


def pixel(picture: np.ndarray, x: float, y: float) -> tuple[int, ...]:
    """The colour ``x`` metres ahead of the ego's rear axle and ``y`` to its left."""
    row, column = round((HEIGHT - STRIP) / 2 - SCALE * y), round(AHEAD * WIDTH + SCALE * x)
    return tuple(int(value) for value in picture[row, column])


def test_everybody_is_where_they_are_in_their_colour() -> None:
    actors = [actor(15.0, 3.5), actor(-12.0, -3.5, kind=AgentClass.PEDESTRIAN), actor(25.0, 0.0)]
    world = straight_world(actors, speed=0.0)
    control = np.array([Control.REPLAY, Control.REPLAY, Control.IDM], np.uint8)
    rollout = drive(replace(world, agents=replace(world.agents, control=control)))
    pictures = list(frames(rollout, None, ()))
    assert isinstance(Driving(), SupportsFilm)
    assert len(pictures) == rollout.end - rollout.clock.now == 11
    assert {(picture.shape, picture.dtype) for picture in pictures} == {((HEIGHT, WIDTH, 3), np.dtype(np.uint8))}
    assert pixel(pictures[0], 0.5, 0.5) == EGO
    assert pixel(pictures[0], 14.0, 3.5) == KINDS[AgentClass.VEHICLE]
    assert pixel(pictures[0], -12.0, -3.5) == KINDS[AgentClass.PEDESTRIAN]
    assert pixel(pictures[0], 24.0, 0.4) == MOVED


def test_failures_and_ghosts_are_seen() -> None:
    rollout = drive(straight_world([actor(15.0, 3.5)], speed=0.0))
    event = Event("collision", NOW + 5, 0.5, True, "a0", "self")
    plain, marked = (list(frames(rollout, None, events)) for events in ((), (event,)))
    assert np.array_equal(plain[2][: HEIGHT - STRIP], marked[2][: HEIGHT - STRIP])  # not before it happens
    assert (marked[6][: HEIGHT - STRIP] == ALARM).all(-1).any()
    assert not (plain[6] == ALARM).all(-1).any()
    logged = rollout.world.agents.pose.copy()
    logged[..., 0] += 6.0
    ghost = replace(rollout.world, agents=replace(rollout.world.agents, pose=logged))
    assert not np.array_equal(next(frames(rollout, ghost, ())), plain[0])
    assert np.array_equal(next(frames(rollout, rollout.world, ())), plain[0])  # the log itself has no ghosts


def test_without_pillow_there_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(PluginError, match=r"wetoolkit\[video\]"):
        next(frames(drive(straight_world()), None, ()))
