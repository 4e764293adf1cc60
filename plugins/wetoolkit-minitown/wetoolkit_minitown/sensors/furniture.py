"""What stands on pavements: lamps, traffic lights that show World.signals, speed signs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from wetoolkit_driving.types import AreaKind, RoadMap, Signal

from wetoolkit_minitown.sensors.codes import Category, Material
from wetoolkit_minitown.sensors.lots import Plan, Verge
from wetoolkit_minitown.sensors.mesh import Colour, Look, Mesh, box, cylinder, disc, join

STEEL = Look((0.20, 0.21, 0.21), Material.PLAIN, Category.POLE)
BLACK = Look((0.012, 0.013, 0.013), Material.PLAIN, Category.POLE)
GLOW: tuple[tuple[Signal, Colour], ...] = (
    (Signal.RED, (1.0, 0.03, 0.02)), (Signal.YELLOW, (1.0, 0.55, 0.03)), (Signal.GREEN, (0.03, 0.95, 0.35)),
)  # fmt: skip
EVERY = 27  # metres between lamps
KERBSIDE = 2.25  # metres from the pavement's outer end to where traffic lights stand
HEAD = 2.55  # metres: lower edge of a traffic light


def furniture(road: RoadMap, plan: Plan, rng: np.random.Generator) -> Mesh:
    """All of a map."""
    parts = [*_signals(road, plan)]
    for verge, _ in plan.verges:
        lit = range(int(rng.integers(6, 14)), len(verge.line) - 3, EVERY)
        parts += [_lamp().moved(*verge.point(station, -0.35), heading=float(verge.heading[station])) for station in lit]
        if len(verge.line) > 30 and rng.random() < 0.7:
            parts.append(_sign().moved(*verge.point(10, -KERBSIDE + 0.2), heading=float(verge.heading[10])))
    return join(parts)


def _lamp() -> Mesh:
    """A lantern on a mast; +y is towards the road."""
    return join([
        cylinder(0.085, ((0, 0, 0), (0, 0, 6.4)), STEEL, 8, 0.05), cylinder(0.04, ((0, 0, 6.35), (0, 1.5, 6.6)), STEEL, 6),
        box((0.22, 0.7, 0.1), (0, 1.7, 6.6), STEEL),
    ])  # fmt: skip


def _sign() -> Mesh:
    """A round sign that looks back at those who come (-x)."""
    plate = disc(0.32, (0, 0, 0), Look((0.8, 0.8, 0.78), Material.SIGN, Category.POLE), 16)
    flat = replace(plate, uv=(plate.corners[..., [0, 2]] / 0.32).astype(np.float32))
    return join([
        cylinder(0.03, ((0, 0, 0), (0, 0, 2.5)), STEEL, 6), flat.moved(heading=np.pi / 2).moved(-0.05, 0, 2.15),
        flat.moved(heading=np.pi / 2).moved(-0.035, 0, 2.15),
    ])  # fmt: skip


def _light(row: int) -> Mesh:
    """A traffic light on a pole, its lamps towards -x; they shine as row ``row`` of World.signals says."""
    parts = [cylinder(0.06, ((0, 0, 0), (0, 0, HEAD + 1.0)), STEEL, 8), _head(row).moved(-0.12, 0, HEAD)]
    return join(parts)


def _head(row: int) -> Mesh:
    parts = [box((0.2, 0.34, 1.02), (0, 0, 0.51), BLACK), box((0.02, 0.56, 1.2), (0.06, 0, 0.51), BLACK)]
    for k, (state, colour) in enumerate(GLOW):
        look = Look(colour, Material.SIGNAL, Category.POLE, (float(row), float(state)))
        parts.append(disc(0.125, (0, 0, 0), look, 14).moved(heading=np.pi / 2).moved(-0.115, 0, 0.85 - 0.33 * k))
        parts.append(box((0.16, 0.27, 0.02), (-0.17, 0, 0.85 - 0.33 * k + 0.14), BLACK))  # the visor
    return join(parts)


def _signals(road: RoadMap, plan: Plan) -> Iterator[Mesh]:
    """At the end of each outer lane that leads to signalled ways; a second head on an arm where there are several lanes."""
    rows: dict[int, int] = {}
    for a, b in road.successors.tolist():
        if road.lane_signal[b] >= 0:
            rows.setdefault(a, int(road.lane_signal[b]))
    ends = {tuple(np.round(verge.line[-1], 3).tolist()): verge for verge, _ in plan.verges}
    for lane, row in sorted(rows.items()):
        verge = ends.get(tuple(np.round(road.centre_line(lane)[-1], 3).tolist()))
        if verge is None or road.area_kind[road.lane_area[lane]] != AreaKind.LANE:
            continue
        yield _placed(_light(row), verge)
        if road.lane_left[lane] >= 0:
            yield _placed(_arm(row, float(verge.edge[-1]) - KERBSIDE + 1.75), verge)


def _arm(row: int, reach: float) -> Mesh:
    """A mast with an arm of ``reach`` metres over the road and a head at its end."""
    return join([
        cylinder(0.09, ((0.4, 0, 0), (0.4, 0, 5.6)), STEEL, 8), cylinder(0.06, ((0.4, 0, 5.5), (0.4, reach, 5.6)), STEEL, 6),
        _head(row).moved(0.25, reach - 0.2, 4.9),
    ])  # fmt: skip


def _placed(mesh: Mesh, verge: Verge) -> Mesh:
    last = len(verge.line) - 1
    x, y = verge.point(last, -KERBSIDE)
    return mesh.moved(x, y, 0.0, float(verge.heading[last]))
