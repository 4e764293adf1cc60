"""A pedestrian who steps out from behind a parked car."""

from __future__ import annotations

import numpy as np
from wetoolkit_driving.types import AgentClass

from wetoolkit_minitown.events.base import PERSON, Parameter, Plan, Values, pick
from wetoolkit_minitown.events.crossers import crosser, crossing_plan
from wetoolkit_minitown.place import Place
from wetoolkit_minitown.town import LANE


class Jaywalker:
    """Stands in the parking strip just beyond a parked car's front, where the ego cannot see them, and crosses the road."""

    name = "jaywalker"
    parameters = (
        Parameter("speed", 1.0, 1.8, "m/s", "of the walk"),
        Parameter("inside", 1.2, 2.2, "m", "from the lane's edge into the parking strip, where they stand"),
        Parameter("beyond", 0.35, 0.8, "m", "from the parked car's front"),
        Parameter("early", -0.1, 0.4, "s", "before the ego's arrival that they are in the lane's middle"),
    )
    conflict = "at the ego's speed both are in the lane's middle at once; 2 to 3 s are left to brake in"

    def plan(self, place: Place, rng: np.random.Generator, values: Values) -> Plan | None:
        """Beyond one of the parked cars."""
        spots = [(k, s) for k, s in place.kerbside if k >= 0 and 30.0 < s < place.net.length[k] - 30.0]
        spot = pick(rng, spots)
        if spot is None:
            return None
        k, s = spot[0], spot[1] + 2.25 + PERSON[1] / 2 + values["beyond"]
        who, seconds = crosser(place, k, s, LANE / 2 + values["inside"], values, AgentClass.PEDESTRIAN, PERSON, True)
        return crossing_plan(place, rng, k, s, seconds + values["early"], (who,))
