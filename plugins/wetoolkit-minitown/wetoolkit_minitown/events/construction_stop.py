"""A sudden stop for a construction zone: somebody steps onto the lane and holds the traffic up."""

from __future__ import annotations

import numpy as np
from wetoolkit_driving.types import AgentClass

from wetoolkit_minitown.events.base import PERSON, Parameter, Plan, Thing, Values, pick
from wetoolkit_minitown.events.crossers import beside_lane, crossing_plan
from wetoolkit_minitown.place import Place
from wetoolkit_minitown.town import LANE

CONE, BARRIER, SIGN = (0.3, 0.3, 0.75), (1.8, 0.3, 1.0), (0.3, 0.7, 1.6)  # length, width, height, metres
EDGE = LANE / 2 + 0.15  # metres from the lane's middle: cyclists still pass beside the zone, and cars on the lane


class ConstructionStop:
    """Cones and a barrier stand along the lane's edge; a worker beside them walks into the lane and stays there."""

    name = "construction-stop"
    parameters = (
        Parameter("speed", 1.2, 1.9, "m/s", "of the worker"),
        Parameter("length", 14.0, 26.0, "m", "of the zone"),
        Parameter("spacing", 3.0, 4.5, "m", "from cone to cone"),
        Parameter("lead", 2.2, 3.2, "s", "before the ego's arrival that the worker sets off"),
    )
    conflict = "the worker stands in the ego's lane until the log ends"

    def plan(self, place: Place, rng: np.random.Generator, values: Values) -> Plan | None:
        """On the outermost lane of a road without parked cars, where no zone stands already."""
        free = [int(k) for k in place.lanes if self._fits(place, int(k), values["length"])]
        spot = pick(rng, [(k, float(rng.uniform(0.35, 0.6) * place.net.length[k])) for k in free])
        if spot is None:
            return None
        k, s = spot
        who = Thing(beside_lane(place, k, s, EDGE + 0.8, np.pi / 2), AgentClass.PEDESTRIAN, PERSON, values["speed"], EDGE + 0.6)
        return crossing_plan(place, rng, k, s, values["lead"], (who, *zone(place, k, s + 1.2, values["length"], values["spacing"])))

    def _fits(self, place: Place, k: int, length: float) -> bool:
        outermost = place.town.tracks[k].lane == place.road(k).lanes - 1
        taken = any(k == zone.track for zone in place.town.zones)
        return outermost and not taken and not place.road(k).parking and place.net.length[k] * 0.4 > length + 4.0


def zone(place: Place, k: int, s: float, length: float, spacing: float) -> tuple[Thing, ...]:
    """A sign, a barrier, cones along the edge of lane ``k`` from ``s`` on, a barrier at the end."""
    at = np.arange(s + 1.0, s + length, spacing)
    cones = [Thing(beside_lane(place, k, float(u), EDGE, 0.0), AgentClass.TRAFFIC_CONE, CONE) for u in at]
    ends = [Thing(beside_lane(place, k, u, EDGE, 0.0), AgentClass.BARRIER, BARRIER) for u in (s, s + length + 1.0)]
    sign = Thing(beside_lane(place, k, s - 6.0, LANE / 2 + 2.6, 0.0), AgentClass.CZONE_SIGN, SIGN)
    return (sign, *ends, *cones)
