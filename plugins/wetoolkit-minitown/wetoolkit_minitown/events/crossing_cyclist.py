"""A cyclist who rides across the road where there is no crossing."""

from __future__ import annotations

import numpy as np
from wetoolkit_driving.types import AgentClass

from wetoolkit_minitown.events.base import CYCLIST, Parameter, Plan, Values, pick
from wetoolkit_minitown.events.crossers import crosser, crossing_plan, kerb
from wetoolkit_minitown.place import Place


class CrossingCyclist:
    """Comes out of a side path, from the right or from the left, straight across all lanes."""

    name = "crossing-cyclist"
    parameters = (
        Parameter("speed", 2.4, 4.2, "m/s", "of the ride"),
        Parameter("back", 1.5, 4.0, "m", "behind the kerb, where they wait"),
        Parameter("early", -0.1, 0.4, "s", "before the ego's arrival that they are in the lane's middle"),
        Parameter("side", 0.0, 1.0, "", "below 0.5 from the right, else from the left"),
    )
    conflict = "at the ego's speed both are in the lane's middle at once"

    def plan(self, place: Place, rng: np.random.Generator, values: Values) -> Plan | None:
        """In the middle part of any road."""
        spots = [(int(k), float(rng.uniform(0.35, 0.75) * place.net.length[k])) for k in place.lanes if place.net.length[k] > 70]
        spot = pick(rng, spots)
        if spot is None:
            return None
        from_right = values["side"] < 0.5
        way = kerb(place, spot[0])[0 if from_right else 1] + values["back"]
        who, seconds = crosser(place, *spot, way, values, AgentClass.BICYCLE, CYCLIST, from_right)
        return crossing_plan(place, rng, *spot, seconds + values["early"], (who,))
