"""Top-down pictures of a driving World (needs matplotlib, which nothing else here does)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from wetoolkit_driving.geometry import box_corners, ego_corners
from wetoolkit_driving.types import AgentClass, AreaKind, World

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GROUND = {
    AreaKind.WALKWAY: "#e8e0d0", AreaKind.ROADBLOCK: "#b8bcc2", AreaKind.INTERSECTION: "#a9adb5", AreaKind.CROSSWALK: "#f5f5f5",
}  # fmt: skip
BODY = {AgentClass.VEHICLE: "#2f6fb0", AgentClass.BICYCLE: "#2e9a58", AgentClass.PEDESTRIAN: "#d0602a"}
LIGHT = {1: "#2fae4d", 2: "#e0a800", 3: "#d2322d"}


def draw(world: World, step: int, axes: Axes, reach: float = 50.0) -> None:
    """The world at one step, the next 4 s of everybody as lines, ``reach`` metres around the ego."""
    from matplotlib.patches import Polygon

    road = world.map
    for kind, colour in GROUND.items():
        for i in np.flatnonzero(road.area_kind == kind).tolist():
            face = "#c9d8c5" if world.on_route[i] else colour
            axes.add_patch(Polygon(road.area(i), facecolor=face, edgecolor="white", linewidth=0.6))
    for lane in range(road.lanes):
        line = road.centre_line(lane)
        axes.plot(*line.T, color="white", linewidth=0.5)
        if road.lane_signal[lane] >= 0:
            axes.plot(*line[:2].T, color=LIGHT.get(int(world.signals[road.lane_signal[lane], step]), "grey"), linewidth=3)
    agents = world.agents
    for a in np.flatnonzero(agents.valid[:, step]).tolist():
        colour = BODY.get(AgentClass(int(agents.kind[a])), "black")
        axes.add_patch(Polygon(_box(agents, a, step), facecolor=colour, edgecolor="black", linewidth=0.4))
        ahead = agents.valid[a, step : step + 41]
        axes.plot(*agents.pose[a, step : step + 41][ahead, :2].T, color=colour, linewidth=0.8)
    axes.add_patch(Polygon(ego_corners(world.ego.states[step], world.ego.vehicle), facecolor="#b3262e", edgecolor="black"))
    axes.plot(*world.ego.states[step : step + 41, :2].T, color="#b3262e", linewidth=1.2)
    x, y = world.ego.states[step, :2]
    axes.set(xlim=(x - reach, x + reach), ylim=(y - reach, y + reach), aspect="equal", xticks=[], yticks=[])


def _box(agents: Any, a: int, step: int) -> Any:
    return box_corners(agents.pose[a, step].astype(np.float64), agents.size[a, 0], agents.size[a, 1])
