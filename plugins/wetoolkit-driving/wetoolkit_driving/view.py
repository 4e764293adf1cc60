"""A picture of a scenario as it was recorded: the map with everybody on it, and what each camera saw last beside it."""

from __future__ import annotations

import numpy as np

from wetoolkit.errors import DataError
from wetoolkit.types import Scenario
from wetoolkit_driving.canvas import (
    EGO,
    FINE,
    HEIGHT,
    INK,
    PLAN,
    SOFT,
    STRIP,
    WHITE,
    WIDTH,
    Canvas,
    Picture,
    draw_agents,
    draw_legend,
    draw_map,
    pillow,
    shapes_of,
)  # fmt: skip
from wetoolkit_driving.geometry import ego_center, ego_corners
from wetoolkit_driving.sensors import Image, Sensors
from wetoolkit_driving.types import HEADING, VX, World

SCALE = 7.0  # pixels a metre
ACROSS = 480  # pixels: width of a camera's picture beside the map


def view(scenario: Scenario[World], step: int, sensors: Sensors | None) -> Picture:
    """The map [720, 960, 3], or with cameras [720, 960 + 480 k, 3]: their pictures stand in columns, left to right as they look."""
    world, now = scenario.world, scenario.clock.now
    canvas = Canvas(world.ego.states[step, :2], float(world.ego.states[now, HEADING]), SCALE)
    draw_map(canvas, world, shapes_of(world.map), step)
    _ways(canvas, world, now)
    draw_agents(canvas, world, step)
    canvas.ring(ego_corners(world.ego.states[step], world.ego.vehicle), EGO, WHITE, 1.0)
    draw_legend(canvas)
    _foot(canvas, scenario, step)
    if sensors is None or not sensors.cameras:
        return canvas.picture()
    return np.concatenate([canvas.picture(), _cameras(sensors, step * world.dt)], 1)


def _ways(canvas: Canvas, world: World, now: int) -> None:
    """Where the ego was before the present, and where it drove after it."""
    centres = ego_center(world.ego.states, world.ego.vehicle)[:, :2]
    for part, colour in ((slice(None, now + 1), SOFT), (slice(now, None), PLAN)):
        canvas.line(centres[part][world.ego.valid[part]], colour, 1.6)


def _foot(canvas: Canvas, scenario: Scenario[World], step: int) -> None:
    world, top = scenario.world, HEIGHT - STRIP
    canvas.box(0, top, WIDTH, HEIGHT, WHITE)
    seconds, speed = (step - scenario.clock.now) * world.dt, float(world.ego.states[step, VX])
    there = int(world.agents.valid[:, step].sum())
    canvas.text(20, top + 28, f"{seconds:+5.1f} s   {speed:4.1f} m/s   {there} of {len(world.agents)} others", INK, 16)
    canvas.text(20, top + 56, f"{scenario.id}   split {scenario.split}"[:110], SOFT)


def _cameras(sensors: Sensors, seconds: float) -> Picture:
    """Each camera's last exposure before ``seconds`` (black before its first), in columns of 480 pixels that fit the height."""
    order = sorted(sensors.cameras, key=lambda camera: -float(np.arctan2(camera.mount[1, 2], camera.mount[0, 2])))  # left first
    down = max(1, HEIGHT // round(ACROSS * order[0].size[1] / order[0].size[0]))
    sheet = np.full((HEIGHT, ACROSS * -(-len(order) // down), 3), 255, np.uint8)
    for number, camera in enumerate(order):
        column, row = divmod(number, down)
        tall = min(round(ACROSS * camera.size[1] / camera.size[0]), HEIGHT)
        seen = [image for image in sensors.images if image.camera == camera.name and image.time <= seconds + 1e-6]
        if seen and (row + 1) * tall <= HEIGHT:
            sheet[row * tall : (row + 1) * tall, column * ACROSS : (column + 1) * ACROSS] = _captioned(seen[-1], (ACROSS, tall))
    return sheet


def _captioned(image: Image, size: tuple[int, int]) -> Picture:
    try:
        with pillow("Image").open(image.path) as file:
            picture = file.convert("RGB").resize(size)
    except OSError as error:
        raise DataError(f"the image cannot be read: {error}", file=image.path, way_out="restore it, or use --no-sensors") from error
    text = f"{image.camera}  {image.time:.1f} s"
    pillow("ImageDraw").Draw(picture).text((6, 4), text, fill=WHITE, font=pillow("ImageFont").load_default(8 * FINE))
    return np.asarray(picture)


__all__ = ["view"]
