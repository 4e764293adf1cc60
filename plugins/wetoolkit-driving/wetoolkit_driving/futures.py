"""A variant from above, around its conflict: who was asked, the ego as recorded, everybody else, the log as outlines.

The view stands still, the ego's present heading to the right, about the conflict: where somebody of those asked first touches the
recorded ego or, where nobody does, comes nearest to it. Pedestrians and cyclists have discs of a fixed size, so that no scale hides
them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from wetoolkit.futures import Future
from wetoolkit.types import Scene
from wetoolkit_driving.canvas import ALARM, EGO, KINDS, NOTE, SOFT, WHITE, Canvas, Picture, draw_agents, draw_map, shapes_of
from wetoolkit_driving.events import box_distance
from wetoolkit_driving.film import draw_ghosts
from wetoolkit_driving.geometry import box_corners, ego_center, ego_corners
from wetoolkit_driving.types import HEADING, AgentClass, Double, World

SIZE, SCALE = (480, 320), 10.0  # pixels; pixels a metre
CLOSE = 2.0  # metres: nearer than this is a conflict
SMALL = (AgentClass.PEDESTRIAN, AgentClass.BICYCLE)
APART = 1.0  # metres from the log at which somebody is taken to be asked, where nobody is named


@dataclass(frozen=True)
class Meeting:
    """Who comes how near to the recorded ego."""

    row: int  # among the agents
    step: int
    gap: float  # metres between the boxes; 0: they touch


def future(variant: Scene[World], logged: World, who: Sequence[str]) -> Future:
    """See ``wetoolkit.futures.SupportsFutures``: pictures [320, 480, 3]."""
    world, now = variant.world, variant.clock.now
    asked = _asked(world, logged, now, who)
    found = meeting(world, now, asked) or meeting(world, now, range(len(world.agents)))
    middle = found.step if found else (now + world.steps - 1) // 2
    still = min(middle, world.steps - 1)
    return Future(_pictures(variant, logged, asked, found, middle), still - now, _words(world, now, found))


def _asked(world: World, logged: World, now: int, who: Sequence[str]) -> list[int]:
    """Rows of those named, or of those who leave the log's way."""
    if who:
        return [row for row, name in enumerate(world.agents.ids) if name in who]
    there = {name: row for row, name in enumerate(logged.agents.ids)}
    steps = min(world.steps, logged.steps)
    rows = []
    for row, name in enumerate(world.agents.ids):
        before = there.get(name)
        if before is None:
            rows.append(row)
            continue
        both = world.agents.valid[row, now:steps] & logged.agents.valid[before, now:steps]
        apart = world.agents.pose[row, now:steps, :2] - logged.agents.pose[before, now:steps, :2]
        if (np.hypot(*apart.T)[both] > APART).any():
            rows.append(row)
    return rows


def meeting(world: World, now: int, rows: Sequence[int]) -> Meeting | None:
    """The first touch of one of these with the recorded ego after ``now``, else the nearest approach; None without any."""
    steps = now + np.flatnonzero(world.ego.valid[now:])
    own = ego_corners(world.ego.states[steps], world.ego.vehicle)  # [T, 4, 2]
    best: Meeting | None = None
    for row in rows:
        there = world.agents.valid[row, steps]
        if not there.any():
            continue
        size = world.agents.size[row].astype(np.float64)
        boxes = box_corners(world.agents.pose[row, steps].astype(np.float64), size[0], size[1])
        gap = np.where(there, box_distance(own, boxes), np.inf)
        at = int(gap.argmin())  # the first of equal ones: the first touch
        one = Meeting(row, int(steps[at]), float(gap[at]))
        if best is None or (one.gap, one.step) < (best.gap, best.step):
            best = one
    return best


def _words(world: World, now: int, found: Meeting | None) -> str:
    if found is None:
        return ""
    kind, at = AgentClass(int(world.agents.kind[found.row])).name.lower(), (found.step - now) * world.dt
    name = f"{kind} {world.agents.ids[found.row][:12]}"
    return f"{name} touches the ego at {at:.1f} s" if found.gap <= 0 else f"{name} {found.gap:.1f} m from the ego at {at:.1f} s"


def _pictures(variant: Scene[World], logged: World, asked: Sequence[int], found: Meeting | None, middle: int) -> Iterator[Picture]:
    world, now = variant.world, variant.clock.now
    turn = float(world.ego.states[now, HEADING])
    eye = ego_center(world.ego.states[middle], world.ego.vehicle)[:2]
    shapes, ground = shapes_of(world.map), None
    for step in range(now, world.steps):
        if ground is None or (world.signals[:, step] != world.signals[:, step - 1]).any():
            ground = _canvas(eye, turn)
            draw_map(ground, world, shapes, step)
            _ways(ground, world, logged, asked, now)
        canvas = _canvas(eye, turn).over(ground)
        draw_ghosts(canvas, world, logged, step)
        draw_agents(canvas, world, step)
        canvas.ring(ego_corners(world.ego.states[step], world.ego.vehicle), EGO, WHITE, 1.0)
        _people(canvas, world, asked, step)
        if found and found.gap < CLOSE and step >= found.step:
            place = world.agents.pose[found.row, found.step, :2].astype(np.float64)
            canvas.disc(place, 22.0, None, ALARM if found.gap <= 0 else NOTE, 2.5)
        yield canvas.picture()


def _canvas(eye: Double, turn: float) -> Canvas:
    return Canvas(eye, turn, SCALE, SIZE, (SIZE[0] / 2, SIZE[1] / 2))


def _ways(canvas: Canvas, world: World, logged: World, asked: Sequence[int], now: int) -> None:
    """The ego's way, and those of who was asked: as in the log, and now."""
    canvas.line(ego_center(world.ego.states[now:], world.ego.vehicle)[:, :2][world.ego.valid[now:]], (150, 180, 235), 2.0)
    names = {name: row for row, name in enumerate(logged.agents.ids)}
    for row in asked:
        before = names.get(world.agents.ids[row])
        for agents, of, colour, width in (
            *([(logged.agents, before, SOFT, 1.2)] if before is not None else []),
            (world.agents, row, KINDS[AgentClass(int(world.agents.kind[row]))], 2.4),
        ):
            canvas.line(agents.pose[of, now:, :2].astype(np.float64)[agents.valid[of, now:]], colour, width)


def _people(canvas: Canvas, world: World, asked: Sequence[int], step: int) -> None:
    """Discs for who is small, and a dark rim around who was asked."""
    agents = world.agents
    for row in np.flatnonzero(agents.valid[:, step]).tolist():
        kind, pose = AgentClass(int(agents.kind[row])), agents.pose[row, step].astype(np.float64)
        if kind in SMALL and canvas.near(pose[None, :2]):
            canvas.disc(pose[:2], 6.0, KINDS[kind], ALARM if row in asked else WHITE, 2.0 if row in asked else 1.0)
        elif row in asked:
            canvas.ring(box_corners(pose, *agents.size[row, :2].astype(np.float64)), None, ALARM, 2.0)


__all__ = ["Meeting", "future", "meeting"]
