"""Drawing from above in metres: a canvas over pillow, the map with its signals, everybody by class and by what moves them."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wetoolkit.errors import PluginError
from wetoolkit_driving.geometry import box_corners
from wetoolkit_driving.types import AgentClass, AreaKind, Control, Double, RoadMap, Signal, World

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]

WIDTH, HEIGHT, STRIP = 960, 720, 84  # pixels: the whole picture, and the strip at its foot
SCALE = 10.0  # pixels a metre
FINE = 2  # drawn at so many times the size
AHEAD = 0.38  # where the ego stands, as a part of the width

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


def pillow(name: str) -> Any:
    """A module of pillow; ``PluginError`` where it is not installed."""
    try:
        return importlib.import_module(f"PIL.{name}")
    except ImportError as error:
        raise PluginError(f"films need pillow: {error}", way_out="pip install 'wetoolkit[video]'") from error


class Canvas:
    """Draws in metres of the world, the direction ``turn`` to the right, the ``eye`` at a place of the picture."""

    def __init__(
        self, eye: Double, turn: float, scale: float = SCALE, size: tuple[int, int] = (WIDTH, HEIGHT),
        place: tuple[float, float] = (AHEAD * WIDTH, (HEIGHT - STRIP) / 2),
    ) -> None:  # fmt: skip
        self.size, self.place = size, place  # (width, height) of the picture and (column, row) of the eye, pixels
        self.image = pillow("Image").new("RGB", (size[0] * FINE, size[1] * FINE), PAPER)
        self.draw = pillow("ImageDraw").Draw(self.image)
        self.fonts = {size: pillow("ImageFont").load_default(size * FINE) for size in (13, 16)}
        self.eye, self.scale = np.asarray(eye, np.float64), scale  # pixels a metre
        self.axes = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])  # columns: right, up on the picture
        self.reach = np.hypot(*size) / scale  # metres: farther away nothing is seen

    def picture(self) -> Picture:
        """[height, width, 3], scaled down from the fine drawing."""
        return np.asarray(self.image.resize(self.size, pillow("Image").Resampling.BOX))

    def over(self, background: Canvas) -> Canvas:
        """This canvas with all that another of the same view shows."""
        self.image.paste(background.image)
        return self

    def at(self, points: Double) -> list[tuple[float, float]]:
        """Pixels of points [n, 2]."""
        local = (np.asarray(points, np.float64) - self.eye) @ self.axes * self.scale  # [n, 2]
        column, row = self.place
        return [(FINE * (column + x), FINE * (row - y)) for x, y in local.tolist()]

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


def shapes_of(roads: RoadMap) -> list[tuple[Double, Colour]]:
    """The map's rings with their colours, in the order in which they are laid."""
    order = {kind: place for place, kind in enumerate(AREAS)}
    kinds = [AreaKind(int(kind)) for kind in roads.area_kind]
    rows = sorted(range(len(kinds)), key=lambda i: order[kinds[i]])
    return [(roads.area(i), AREAS[kinds[i]]) for i in rows]


def draw_map(canvas: Canvas, world: World, shapes: list[tuple[Double, Colour]], step: int) -> None:
    """Areas, centre lines, the route, and the signals as they are at ``step``."""
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


def draw_agents(canvas: Canvas, world: World, step: int) -> None:
    """Everybody who is there at ``step``."""
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


def draw_legend(canvas: Canvas) -> None:
    """What the colours mean, in the upper left corner."""
    for place, (words, colour) in enumerate(LEGEND):
        canvas.box(12, 12 + 18 * place, 24, 24 + 18 * place, colour)
        canvas.text(30, 23 + 18 * place, words)
