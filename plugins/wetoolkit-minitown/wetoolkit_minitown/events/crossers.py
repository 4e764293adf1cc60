"""What the events share in which somebody sets off across the ego's lane: the spot, the way there, when they set off."""

from __future__ import annotations

import numpy as np
from wetoolkit_driving.types import AgentClass

from wetoolkit_minitown.curves import heading
from wetoolkit_minitown.events.base import Plan, Thing, Values, cruise, open_road
from wetoolkit_minitown.place import Place
from wetoolkit_minitown.town import CYCLE, LANE
from wetoolkit_minitown.traffic import CROSSER, Stage

APPROACH = (64.0, 105.0)  # metres that the ego has to go


def beside_lane(place: Place, k: int, s: float, right: float, turn: float) -> tuple[float, float, float]:
    """The pose ``right`` metres to the right of a lane's middle, turned by so much from its direction."""
    track = place.town.tracks[k]
    i = int(s / place.net.step[k])
    h = float(heading(track.xy)[i])
    return float(track.xy[i, 0] + right * np.sin(h)), float(track.xy[i, 1] - right * np.cos(h)), h + turn


def kerb(place: Place, k: int) -> tuple[float, float]:
    """Metres from the middle of lane ``k`` to the kerbs on its right and on its left."""
    road, inner = place.road(k), (place.town.tracks[k].lane + 0.5) * LANE
    edge = road.lanes * LANE + road.parking_width + CYCLE + 0.4
    return edge - inner, edge + inner


def crossing_plan(place: Place, rng: np.random.Generator, k: int, s: float, lead: float, things: tuple[Thing, ...]) -> Plan:
    """The ego on its way to ``s`` on lane ``k``; who has a speed sets off ``lead`` seconds before it is there."""
    tracks, start = place.approach(rng, k, s, rng.uniform(*APPROACH))
    stage = Stage(CROSSER, len(tracks) - 1, s, lead, 0.0, 0.0, 0.0, 0.0)
    return Plan(
        place.route(rng, *tracks), start, cruise(place, rng, tracks[0]),
        clear=open_road(place, tracks, start, s + 8.0), stage=stage, things=things,
    )  # fmt: skip


def crosser(
    place: Place, k: int, s: float, way: float, values: Values, kind: AgentClass, size: tuple[float, float, float], from_right: bool
) -> tuple[Thing, float]:
    """Somebody ``way`` metres from the middle of lane ``k``, and how many seconds they need to get there."""
    side = 1.0 if from_right else -1.0
    pose = beside_lane(place, k, s, side * way, side * np.pi / 2)
    right, left = kerb(place, k)
    length = way + (left if from_right else right) + 0.5
    return Thing(pose, kind, size, values["speed"], length), way / values["speed"] + 0.25
