"""A sheet of rare events from above: ``python -m wetoolkit_minitown.gallery [file] [split] [which of its kind]``, one row a kind.

Each row shows the event's beginning and what has come of it 1.5, 3 and 5 s later: the recorded traffic, the ego by the expert.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from wetoolkit_driving.canvas import HEIGHT, STRIP, WIDTH, Canvas, draw_agents, draw_map, pillow, shapes_of
from wetoolkit_driving.geometry import ego_corners
from wetoolkit_driving.types import World

from wetoolkit_minitown.dataset import HISTORY, Minitown, MinitownConfig
from wetoolkit_minitown.events import EVENTS

Byte = NDArray[np.uint8]

MOMENTS = (0.0, 1.5, 3.0, 5.0)  # seconds after the window's present
SHRUNK = 2  # pixels of a canvas to one of the sheet
RED = (214, 40, 40)


def panel(world: World, step: int, words: str, scale: float = 12.0) -> Byte:
    """[H, W, 3] one moment, turned so that the ego drives to the right as it does at the present."""
    here = world.ego.states[HISTORY]
    canvas = Canvas(here[:2] + 8.0 * np.array([np.cos(here[2]), np.sin(here[2])]), float(here[2]), scale)
    draw_map(canvas, world, shapes_of(world.map), step)
    draw_agents(canvas, world, step)
    canvas.line(world.ego.states[step : step + 41, :2], RED, 2.0)
    canvas.ring(ego_corners(world.ego.states[step], world.ego.vehicle), RED, (255, 255, 255), 1.0)
    canvas.text(10, 24, words, size=16)
    picture = canvas.picture()[: HEIGHT - STRIP]
    return np.asarray(pillow("Image").fromarray(picture).resize((WIDTH // SHRUNK, (HEIGHT - STRIP) // SHRUNK)))


def row(world: World, name: str) -> Byte:
    """[H, 4 W, 3] the moments of one event side by side."""
    steps = [min(HISTORY + round(t / world.dt), world.steps - 1) for t in MOMENTS]
    words = [f"{name}  {t:.1f} s  {world.ego.states[s, 3]:.1f} m/s" for t, s in zip(MOMENTS, steps, strict=True)]
    return np.hstack([panel(world, step, text) for step, text in zip(steps, words, strict=True)])


def sheet(data: Minitown, split: str, which: int = 0) -> Byte:
    """[9 H, 4 W, 3] one window of each kind: the first of the split, or the ``which``-th."""
    labels = data.labels(split)
    rows = []
    for name in EVENTS:
        refs = [ref for ref in data.index(split) if labels[ref.id] == name]
        if refs:
            rows.append(row(data.load(refs[which % len(refs)]).world, name))
    return np.vstack(rows)


def main() -> None:
    """Write the sheet."""
    asked = argparse.ArgumentParser(description="Each kind of rare event at four moments, from above.")
    asked.add_argument("file", nargs="?", type=Path, default=Path("build/gallery/minitown.png"), help="the picture to write")
    asked.add_argument("split", nargs="?", default="test-rare", help="whose windows are drawn")
    asked.add_argument("which", nargs="?", type=int, default=0, help="which window of each kind, from 0")
    given = asked.parse_args()
    given.file.parent.mkdir(parents=True, exist_ok=True)
    pillow("Image").fromarray(sheet(Minitown(MinitownConfig()), given.split, given.which)).save(given.file)
    sys.stdout.write(f"{given.file}\n")


if __name__ == "__main__":
    main()
