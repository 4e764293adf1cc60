"""A window seen from above, to check by eye that lanes, road, ego and agents line up. Needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from wetoolkit_driving.geometry import box_corners, ego_corners
from wetoolkit_driving.types import AgentClass, AreaKind, World

from wetoolkit.errors import PluginError

DRIVABLE = (AreaKind.ROADBLOCK, AreaKind.INTERSECTION, AreaKind.CARPARK)  # as in the PDM score
COLOURS = {AgentClass.VEHICLE: "tab:blue", AgentClass.PEDESTRIAN: "tab:orange", AgentClass.BICYCLE: "tab:purple"}


def draw(world: World, step: int, file: Path, reach: float = 60.0) -> None:
    """Writes a PNG of the world at a step: road grey, lanes outlined, route green, ego red with its path, agents as boxes."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PluginError("pictures need matplotlib", plugin="wetoolkit-logs", way_out="pip install matplotlib") from error
    figure = Figure(figsize=(9, 9), dpi=100)
    axes: Any = figure.add_subplot()
    _draw_map(axes, world)
    _draw_bodies(axes, world, step)
    x, y = world.ego.states[step, :2]
    axes.set(xlim=(x - reach, x + reach), ylim=(y - reach, y + reach), aspect="equal", xlabel="x [m]", ylabel="y [m]")
    FigureCanvasAgg(figure)  # no display is needed
    figure.savefig(file, format="png")


def _draw_map(axes: Any, world: World) -> None:
    road = world.map
    for index, kind in enumerate(road.area_kind):
        ring = road.area(index)
        if kind in DRIVABLE:
            axes.fill(*ring.T, color="0.88", zorder=0)
        elif kind in (AreaKind.LANE, AreaKind.LANE_CONNECTOR):
            colour = "tab:green" if world.on_route[index] else "0.6"
            axes.plot(*np.vstack([ring, ring[:1]]).T, color=colour, linewidth=0.5, linestyle="-" if kind == AreaKind.LANE else ":")
        elif kind != AreaKind.ROADBLOCK_CONNECTOR:  # crosswalks, walkways
            axes.fill(*ring.T, color="gold", alpha=0.3, zorder=1)
    for lane in range(road.lanes):
        axes.plot(*road.centre_line(lane).T, color="0.5", linewidth=0.4)
    for lane in world.route:
        axes.plot(*road.centre_line(int(lane)).T, color="tab:green", linewidth=1.5)


def _draw_bodies(axes: Any, world: World, step: int) -> None:
    agents = world.agents
    for row in np.flatnonzero(agents.valid[:, step]):
        corners = box_corners(agents.pose[row, step].astype(float), agents.size[row, 0], agents.size[row, 1])
        axes.fill(*corners.T, color=COLOURS.get(AgentClass(agents.kind[row]), "0.3"), alpha=0.7, zorder=3)
        axes.plot(*agents.pose[row, agents.valid[row], :2].T, color="0.3", linewidth=0.5, zorder=3)
    ego = world.ego
    axes.plot(*ego.states[ego.valid, :2].T, color="tab:red", linewidth=1, zorder=4)
    axes.fill(*ego_corners(ego.states[step], ego.vehicle).T, color="tab:red", zorder=4)
