"""What stands still in a map's surroundings: its ground, houses, trees, lamps. Made from a RoadMap and a seed alone, so any data
set's map gets a street; maps say nothing about what stands beside the road, so that part is invented."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from wetoolkit_driving.types import RoadMap

from wetoolkit_minitown.sensors.furniture import furniture
from wetoolkit_minitown.sensors.greenery import hills, trees
from wetoolkit_minitown.sensors.ground import Ground, paint, paved
from wetoolkit_minitown.sensors.houses import house
from wetoolkit_minitown.sensors.lots import plan
from wetoolkit_minitown.sensors.mesh import Mesh, join

YARD = {"terrace": 2.0, "houses": 0.5, "blocks": 3.0}  # metres around a house that are no lawn


@dataclass(frozen=True)
class Stage:
    """The still surroundings, in the map's coordinates; the ground is the plane z = 0."""

    ground: Ground
    mesh: Mesh


def build_stage(road: RoadMap, seed: int) -> Stage:
    """The surroundings of a map; equal maps and seeds give equal ones."""
    rng = np.random.default_rng((seed, 11))
    whole = paved(road)
    layout = plan(road, whole, rng)
    low, high = road.area_xy.min(0), road.area_xy.max(0)
    houses = [house(lot, number, rng) for number, lot in enumerate(layout.lots)]
    green = [trees(layout, whole, low, high, rng), hills((low + high) / 2, rng)]
    yards = [lot.ring(lot.setback + 0.3 if lot.style != "houses" else 0.0, YARD[lot.style]) for lot in layout.lots]
    return Stage(paint(road, yards), join([*houses, *green, furniture(road, layout, rng)]))
