"""A door that opens into the ego's lane, and the driver who gets out."""

from __future__ import annotations

import numpy as np
from wetoolkit_driving.types import AgentClass

from wetoolkit_minitown.events.base import PERSON, Parameter, Plan, Thing, Values, pick
from wetoolkit_minitown.events.crossers import beside_lane, crossing_plan
from wetoolkit_minitown.place import Place
from wetoolkit_minitown.town import LANE, PARKING

THICK = 0.15  # metres
TALL = 1.3


class OpeningDoor:
    """A parked car's door, drawn as a panel that slides out of it, opens; somebody steps out behind it and stays."""

    name = "opening-door"
    parameters = (
        Parameter("reach", 1.0, 1.2, "m", "the door sticks out from the car"),
        Parameter("step", 1.7, 2.1, "m", "the driver's middle is out of the car's side in the end"),
        Parameter("lead", 2.2, 3.0, "s", "before the ego's arrival that it begins to open"),
    )
    conflict = "who gets out stands more than a metre inside the lane"

    def plan(self, place: Place, rng: np.random.Generator, values: Values) -> Plan | None:
        """At one of the parked cars."""
        spots = [(k, s) for k, s in place.kerbside if k >= 0 and 30.0 < s < place.net.length[k] - 30.0]
        spot = pick(rng, spots)
        if spot is None:
            return None
        k, s = spot
        side = LANE / 2 + PARKING / 2 - 0.9  # the parked car's left side
        door = Thing(
            beside_lane(place, k, s + 0.7, side + values["reach"] / 2, np.pi / 2), AgentClass.GENERIC_OBJECT,
            (values["reach"], THICK, TALL), 1.4, values["reach"],
        )  # fmt: skip
        who = Thing(beside_lane(place, k, s, side + 0.35, np.pi / 2), AgentClass.PEDESTRIAN, PERSON, 0.9, 0.35 + values["step"])
        return crossing_plan(place, rng, k, s - 1.0, values["lead"], (door, who))
