"""Top-down pictures of a drive: map, ego and its plan, the others by class and by what moves them, ghosts of the log, events.

The view follows the ego and keeps its first heading to the right. Filled boxes are what happened, outlines (ghosts) what the log
says where it differs by more than half a metre. Drawn by pillow at twice the size and scaled down, so that edges are smooth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from wetoolkit.events import Event
from wetoolkit.types import Rollout
from wetoolkit_driving.canvas import (
    ALARM,
    EGO,
    HEIGHT,
    INK,
    NOTE,
    PLAN,
    SOFT,
    STRIP,
    WHITE,
    WIDTH,
    Canvas,
    Colour,
    Picture,
    draw_agents,
    draw_legend,
    draw_map,
    shapes_of,
)  # fmt: skip
from wetoolkit_driving.dynamics import to_world
from wetoolkit_driving.geometry import box_corners, ego_center, ego_corners
from wetoolkit_driving.types import HEADING, VX, Double, World

SHOWN = 2.0  # seconds that an event stays marked
GHOST = 0.5  # metres from which a ghost is drawn
TRAIL = 30  # steps of the ego's way behind it


def frames(rollout: Rollout[World], logged: World | None, events: Sequence[Event]) -> Iterator[Picture]:
    """Pictures [720, 960, 3], one a step from the first decision to before ``end``."""
    shapes = shapes_of(rollout.world.map)
    turn = float(rollout.world.ego.states[rollout.clock.now, HEADING])
    for step in range(rollout.clock.now, rollout.end):
        canvas = Canvas(rollout.world.ego.states[step, :2], turn)
        _draw(canvas, rollout, logged, events, shapes, step)
        yield canvas.picture()


def _draw(
    canvas: Canvas, rollout: Rollout[World], logged: World | None, events: Sequence[Event], shapes: list[tuple[Double, Colour]],
    step: int,
) -> None:  # fmt: skip
    draw_map(canvas, rollout.world, shapes, step)
    draw_ghosts(canvas, rollout.world, logged, step)
    draw_agents(canvas, rollout.world, step)
    _ego(canvas, rollout, step)
    _marks(canvas, rollout, events, step)
    _strip(canvas, rollout, events, step)


def draw_ghosts(canvas: Canvas, world: World, logged: World | None, step: int) -> None:
    """Outlines of where the log has the ego and the agents of the same ids, where that is somewhere else."""
    if logged is None or step >= logged.steps:
        return
    there = {name: row for row, name in enumerate(world.agents.ids) if world.agents.valid[row, step]}
    theirs = logged.agents
    for row in np.flatnonzero(theirs.valid[:, step]).tolist():
        own = there.get(theirs.ids[row])
        away = np.inf if own is None else float(np.hypot(*(world.agents.pose[own, step, :2] - theirs.pose[row, step, :2])))
        if away > GHOST:
            corners = box_corners(theirs.pose[row, step].astype(np.float64), *theirs.size[row, :2].astype(np.float64))
            canvas.ring(corners, None, SOFT, 1.2)
    if logged.ego.valid[step] and np.hypot(*(logged.ego.states[step, :2] - world.ego.states[step, :2])) > GHOST:
        canvas.ring(ego_corners(logged.ego.states[step], logged.ego.vehicle), None, EGO, 1.2)


def _ego(canvas: Canvas, rollout: Rollout[World], step: int) -> None:
    world = rollout.world
    states, vehicle = world.ego.states, world.ego.vehicle
    canvas.line(ego_center(states[max(step - TRAIL, 0) : step + 1], vehicle)[:, :2], (150, 180, 235), 2.0)
    last = int(np.searchsorted(rollout.decisions, step, side="right")) - 1
    if last >= 0:
        way = to_world(states[rollout.decisions[last]][None], rollout.plans[last][None].astype(np.float64))[0]
        canvas.line(way[:, :2], PLAN, 1.6)
    corners = ego_corners(states[step], vehicle)
    canvas.ring(corners, EGO, WHITE, 1.0)
    canvas.line(np.stack([corners[[0, 3]].mean(0), corners.mean(0)]), WHITE, 1.4)


def _marks(canvas: Canvas, rollout: Rollout[World], events: Sequence[Event], step: int) -> None:
    """A ring around the place of each recent event."""
    for event in events:
        age = (step - event.step) * rollout.world.dt
        if 0 <= age < SHOWN:
            place = ego_center(rollout.world.ego.states[event.step], rollout.world.ego.vehicle)[:2]
            canvas.disc(place, 34.0, None, _tone(event), 2.5)


def _tone(event: Event) -> Colour:
    return ALARM if event.fails else NOTE


def _strip(canvas: Canvas, rollout: Rollout[World], events: Sequence[Event], step: int) -> None:
    """Names, clock, legend, and the time line with its events."""
    now, dt, top = rollout.clock.now, rollout.clock.dt, HEIGHT - STRIP
    left, right, y = 20.0, WIDTH - 20.0, HEIGHT - 26.0
    canvas.box(0, top, WIDTH, HEIGHT, WHITE)
    whole = max((rollout.end - 1 - now) * dt, dt)

    def x(seconds: float) -> float:
        return left + (right - left) * seconds / whole

    seconds = (step - now) * dt
    speed = float(rollout.world.ego.states[step, VX])
    canvas.text(left, top + 22, f"{seconds:4.1f} s   {speed:4.1f} m/s   {rollout.policy}", INK, 16)
    canvas.text(right, top + 22, rollout.scene[:70], SOFT, 13, "rs")
    canvas.box(left, y, right, y + 6, (226, 228, 232))
    canvas.box(left, y, max(x(seconds), left + 1), y + 6, (150, 180, 235))
    every = next(gap for gap in (1, 2, 5, 10, 30) if whole / gap <= 13 or gap == 30)
    for tick in range(0, int(whole + 1e-9) + 1, every):
        canvas.text(x(tick), y + 20, f"{tick} s", SOFT, 13, "ms")
    _label(canvas, events, x, y, seconds)
    draw_legend(canvas)


def _label(canvas: Canvas, events: Sequence[Event], x: Any, y: float, seconds: float) -> None:
    """Marks of all events on the time line, and the words of the last one that has happened."""
    for event in events:
        canvas.box(x(event.time) - 1.5, y - 6, x(event.time) + 1.5, y + 8, _tone(event))
    past = [event for event in events if event.time <= seconds + 1e-9]
    if past:
        event = max(past, key=lambda event: (event.time, event.fails))
        blame = {"self": ", its own fault", "other": ", the other's fault"}.get(event.fault, "")
        words = f"{event.time:.1f} s: {event.kind.replace('_', ' ')}{f' ({event.who})' if event.who else ''}{blame}"
        canvas.text(WIDTH / 2, y - 16, words, _tone(event), 13, "ms")


__all__ = ["draw_ghosts", "frames"]
