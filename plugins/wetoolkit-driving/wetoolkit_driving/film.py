"""Top-down pictures of a drive: map, ego and its plan, the others by class and by what moves them, ghosts of the log, events.

The view follows the ego and keeps its first heading to the right. Filled boxes are what happened, outlines (ghosts) what the log
says where it differs by more than half a metre. Drawn by pillow at twice the size and scaled down, so that edges are smooth.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wetoolkit.errors import PluginError
from wetoolkit.events import Event
from wetoolkit.types import Rollout
from wetoolkit_driving.dynamics import to_world
from wetoolkit_driving.geometry import box_corners, ego_center, ego_corners
from wetoolkit_driving.types import HEADING, VX, AgentClass, AreaKind, Control, Double, RoadMap, Signal, World

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]

WIDTH, HEIGHT, STRIP = 960, 720, 84  # pixels: the whole picture, and the strip with the time line at its foot
SCALE = 10.0  # pixels a metre
FINE = 2  # drawn at so many times the size
AHEAD = 0.38  # where the ego stands, as a part of the width
SHOWN = 2.0  # seconds that an event stays marked
GHOST = 0.5  # metres from which a ghost is drawn
TRAIL = 30  # steps of the ego's way behind it

PAPER, INK, SOFT, WHITE = (241, 243, 238), (38, 40, 44), (128, 132, 138), (255, 255, 255)
EGO, PLAN, ALARM, NOTE = (28, 99, 214), (66, 140, 255), (214, 40, 40), (222, 142, 20)
AREAS = {  # in the order in which they are laid
    AreaKind.WALKWAY: (228, 226, 218), AreaKind.CARPARK: (222, 224, 230), AreaKind.DRIVABLE_AREA: (214, 217, 222),
    AreaKind.ROADBLOCK: (205, 208, 214), AreaKind.ROADBLOCK_CONNECTOR: (205, 208, 214), AreaKind.INTERSECTION: (196, 199, 206),
    AreaKind.LANE: (205, 208, 214), AreaKind.LANE_CONNECTOR: (196, 199, 206), AreaKind.CROSSWALK: (236, 236, 228),
    AreaKind.STOP_LINE: (190, 150, 150),
}  # fmt: skip
KINDS = {
    AgentClass.VEHICLE: (92, 98, 108), AgentClass.PEDESTRIAN: (226, 110, 30), AgentClass.BICYCLE: (142, 68, 173),
    AgentClass.TRAFFIC_CONE: (200, 60, 20), AgentClass.BARRIER: (130, 100, 70), AgentClass.CZONE_SIGN: (200, 140, 0),
    AgentClass.GENERIC_OBJECT: (120, 120, 90),
}  # fmt: skip
MOVED = (22, 140, 118)  # vehicles that a model moves
SIGNALS = {Signal.RED: (214, 40, 40), Signal.YELLOW: (235, 170, 0), Signal.GREEN: (40, 160, 70)}
LEGEND = (
    ("ego", EGO), ("vehicle, by a model", MOVED), ("vehicle, as logged", KINDS[AgentClass.VEHICLE]),
    ("pedestrian", KINDS[AgentClass.PEDESTRIAN]), ("bicycle", KINDS[AgentClass.BICYCLE]), ("outline: the log", SOFT),
)  # fmt: skip


def frames(rollout: Rollout[World], logged: World | None, events: Sequence[Event]) -> Iterator[Picture]:
    """Pictures [720, 960, 3], one a step from the first decision to before ``end``."""
    tools = {name: _pillow(name) for name in ("Image", "ImageDraw", "ImageFont")}
    fonts = {size: tools["ImageFont"].load_default(size * FINE) for size in (13, 16)}
    shapes = _shapes(rollout.world.map)
    turn = float(rollout.world.ego.states[rollout.clock.now, HEADING])
    for step in range(rollout.clock.now, rollout.end):
        image = tools["Image"].new("RGB", (WIDTH * FINE, HEIGHT * FINE), PAPER)
        canvas = _Canvas(tools["ImageDraw"].Draw(image), fonts, rollout.world.ego.states[step, :2].astype(np.float64), turn)
        _draw(canvas, rollout, logged, events, shapes, step)
        yield np.asarray(image.resize((WIDTH, HEIGHT), tools["Image"].Resampling.BOX))


def _pillow(name: str) -> Any:
    try:
        return importlib.import_module(f"PIL.{name}")
    except ImportError as error:
        raise PluginError(f"films need pillow: {error}", way_out="pip install 'wetoolkit[video]'") from error


class _Canvas:
    """Draws in metres of the world."""

    def __init__(self, draw: Any, fonts: dict[int, Any], eye: Double, turn: float) -> None:
        self.draw, self.fonts, self.eye = draw, fonts, eye
        self.axes = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])  # columns: right, up on the picture
        self.reach = np.hypot(WIDTH, HEIGHT) / SCALE  # metres: farther away nothing is seen

    def at(self, points: Double) -> list[tuple[float, float]]:
        """Pixels of points [n, 2]."""
        local = (np.asarray(points, np.float64) - self.eye) @ self.axes * SCALE  # [n, 2]
        middle = (HEIGHT - STRIP) / 2
        return [(FINE * (AHEAD * WIDTH + x), FINE * (middle - y)) for x, y in local.tolist()]

    def near(self, points: Double) -> bool:
        """Whether any of the points [n, 2], or the ground between them, may be in the picture."""
        low, high = points.min(0) - self.reach, points.max(0) + self.reach
        return bool((self.eye >= low).all() and (self.eye <= high).all())

    def ring(self, points: Double, fill: Colour | None, line: Colour | None = None, width: float = 1.0) -> None:
        """A polygon."""
        if self.near(points):
            self.draw.polygon(self.at(points), fill=fill, outline=line, width=round(width * FINE))

    def line(self, points: Double, colour: Colour, width: float = 1.0) -> None:
        """A line through points."""
        if len(points) > 1 and self.near(points):
            self.draw.line(self.at(points), fill=colour, width=round(width * FINE), joint="curve")

    def disc(self, point: Double, radius: float, fill: Colour | None, line: Colour | None = None, width: float = 1.0) -> None:
        """A disc of ``radius`` pixels."""
        ((x, y),) = self.at(point[None])
        r = radius * FINE
        self.draw.ellipse((x - r, y - r, x + r, y + r), fill=fill, outline=line, width=round(width * FINE))

    def text(self, x: float, y: float, words: str, colour: Colour = INK, size: int = 13, anchor: str = "ls") -> None:
        """Words at a pixel of the picture."""
        self.draw.text((x * FINE, y * FINE), words, fill=colour, font=self.fonts[size], anchor=anchor)

    def box(self, x: float, y: float, right: float, low: float, fill: Colour) -> None:
        """A rectangle in pixels of the picture."""
        self.draw.rectangle((x * FINE, y * FINE, right * FINE, low * FINE), fill=fill)


def _shapes(roads: RoadMap) -> list[tuple[Double, Colour]]:
    """The map's rings with their colours, in the order in which they are laid."""
    order = {kind: place for place, kind in enumerate(AREAS)}
    kinds = [AreaKind(int(kind)) for kind in roads.area_kind]
    rows = sorted(range(len(kinds)), key=lambda i: order[kinds[i]])
    return [(roads.area(i), AREAS[kinds[i]]) for i in rows]


def _draw(
    canvas: _Canvas, rollout: Rollout[World], logged: World | None, events: Sequence[Event], shapes: list[tuple[Double, Colour]],
    step: int,
) -> None:  # fmt: skip
    _map(canvas, rollout.world, shapes, step)
    _ghosts(canvas, rollout.world, logged, step)
    _agents(canvas, rollout.world, step)
    _ego(canvas, rollout, step)
    _marks(canvas, rollout, events, step)
    _strip(canvas, rollout, events, step)


def _map(canvas: _Canvas, world: World, shapes: list[tuple[Double, Colour]], step: int) -> None:
    for ring, colour in shapes:
        canvas.ring(ring, colour)
    for lane in range(world.map.lanes):
        canvas.line(world.map.centre_line(lane), (182, 186, 193), 0.8)
    for lane in world.route.tolist():
        canvas.line(world.map.centre_line(lane), (160, 188, 232), 2.0)
    for lane in np.flatnonzero(world.map.lane_signal >= 0).tolist():
        colour = SIGNALS.get(Signal(int(world.signals[world.map.lane_signal[lane], step])))
        line = world.map.centre_line(lane)
        if colour:
            way = (line[1] - line[0]) / max(float(np.hypot(*(line[1] - line[0]))), 1e-9)
            side = 1.4 * np.array([-way[1], way[0]])
            canvas.line(np.stack([line[0] - side, line[0] + side]), colour, 4.0)


def _ghosts(canvas: _Canvas, world: World, logged: World | None, step: int) -> None:
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


def _agents(canvas: _Canvas, world: World, step: int) -> None:
    agents = world.agents
    for row in np.flatnonzero(agents.valid[:, step]).tolist():
        kind, pose = AgentClass(int(agents.kind[row])), agents.pose[row, step].astype(np.float64)
        modelled = agents.control[row] != Control.REPLAY
        colour = MOVED if kind == AgentClass.VEHICLE and modelled else KINDS[kind]
        corners = box_corners(pose, *agents.size[row, :2].astype(np.float64))
        if not canvas.near(corners):
            continue
        canvas.ring(corners, colour, WHITE, 0.8)
        if kind == AgentClass.PEDESTRIAN:
            canvas.disc(pose[:2], 4.0, colour, WHITE, 0.8)
        elif kind == AgentClass.VEHICLE:
            canvas.line(np.stack([corners[[0, 3]].mean(0), pose[:2]]), WHITE, 1.2)  # which way it looks


def _ego(canvas: _Canvas, rollout: Rollout[World], step: int) -> None:
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


def _marks(canvas: _Canvas, rollout: Rollout[World], events: Sequence[Event], step: int) -> None:
    """A ring around the place of each recent event."""
    for event in events:
        age = (step - event.step) * rollout.world.dt
        if 0 <= age < SHOWN:
            place = ego_center(rollout.world.ego.states[event.step], rollout.world.ego.vehicle)[:2]
            canvas.disc(place, 34.0, None, _tone(event), 2.5)


def _tone(event: Event) -> Colour:
    return ALARM if event.fails else NOTE


def _strip(canvas: _Canvas, rollout: Rollout[World], events: Sequence[Event], step: int) -> None:
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
    for place, (words, colour) in enumerate(LEGEND):
        canvas.box(12, 12 + 18 * place, 24, 24 + 18 * place, colour)
        canvas.text(30, 23 + 18 * place, words)


def _label(canvas: _Canvas, events: Sequence[Event], x: Any, y: float, seconds: float) -> None:
    """Marks of all events on the time line, and the words of the last one that has happened."""
    for event in events:
        canvas.box(x(event.time) - 1.5, y - 6, x(event.time) + 1.5, y + 8, _tone(event))
    past = [event for event in events if event.time <= seconds + 1e-9]
    if past:
        event = max(past, key=lambda event: (event.time, event.fails))
        blame = {"self": ", its own fault", "other": ", the other's fault"}.get(event.fault, "")
        words = f"{event.time:.1f} s: {event.kind.replace('_', ' ')}{f' ({event.who})' if event.who else ''}{blame}"
        canvas.text(WIDTH / 2, y - 16, words, _tone(event), 13, "ms")


__all__ = ["frames"]
