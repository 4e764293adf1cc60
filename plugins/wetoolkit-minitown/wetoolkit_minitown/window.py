"""A window of a Log as the driving domain's World: coordinates relative to the ego at the present, the map cut around it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from wetoolkit_driving.types import Agents, Control, Ego, World

from wetoolkit_minitown.cast import EGO
from wetoolkit_minitown.log import SEEN, SEEN_STILL, Log
from wetoolkit_minitown.place import Place
from wetoolkit_minitown.roadmap import Cut, cut_map
from wetoolkit_minitown.traffic import DT

Double = NDArray[np.float64]
Int = NDArray[np.int64]

MAP_RADIUS = 120.0  # metres around the ego at the present
ROUTE_ON = 2  # tracks of the way beyond the ego's last that are still its route


def window(
    place: Place, log: Log, first: int, now: int, steps: int, radius: float = MAP_RADIUS
) -> tuple[World, tuple[float, float, float]]:
    """Steps ``first`` to ``first + steps`` of a log, ``now`` an index within them, and the origin of its coordinates.

    The map reaches ``radius`` metres around the ego at the present (infinity: the whole town).
    """
    span = slice(first, first + steps)
    origin = np.round(log.ego[first + now, :2])
    ego = log.ego[span].copy()
    ego[:, :2] -= origin
    tracks = log.way[log.where[first] : log.where[first + steps - 1] + 1 + ROUTE_ON]
    route = place.map.lane_of[tracks]
    cut = cut_map(place.map, log.ego[first + now, :2], radius, route, origin)
    world = World(
        ego=Ego(ego, np.ones(steps, bool), EGO),
        agents=_agents(log, span, origin),
        map=cut.map,
        signals=log.lights[cut.signals, span],
        route=np.searchsorted(cut.lanes, route).astype(np.int32),
        on_route=_on_route(place, cut, route),
        dt=DT,
    )
    return world, (float(origin[0]), float(origin[1]), 0.0)


def whole(place: Place, log: Log) -> tuple[World, tuple[float, float, float]]:
    """All steps of a log, its present the first, in the map of the whole town, and the origin of its coordinates."""
    return window(place, log, 0, 0, len(log.ego), np.inf)


def _on_route(place: Place, cut: Cut, route: Int) -> NDArray[np.bool_]:
    """[P] the roadblocks of the route and all their lanes."""
    blocks = place.map.map.lane_roadblock[route]
    return np.isin(place.map.block_members[cut.areas], blocks)


def _agents(log: Log, span: slice, origin: Double) -> Agents:
    """Those who come near the ego within the window, for all of it, named and ordered by their places at its first step only."""
    pose = log.pose[:, span]
    near = np.hypot(*np.moveaxis(pose[..., :2] - log.ego[span, :2], -1, 0)).min(1)
    rows = np.flatnonzero(near < np.where(log.still, SEEN_STILL, SEEN))
    rows = rows[np.lexsort((pose[rows, 0, 1], pose[rows, 0, 0]))]
    local = pose[rows].astype(np.float64)
    local[..., :2] -= origin
    return Agents(
        ids=tuple(f"agent-{n}" for n in range(len(rows))),
        kind=log.kind[rows],
        size=log.size[rows],
        pose=local.astype(np.float32),
        velocity=log.velocity[rows, span].astype(np.float32),
        valid=np.ones((len(rows), pose.shape[1]), bool),
        control=np.full(len(rows), Control.REPLAY, np.uint8),
    )
