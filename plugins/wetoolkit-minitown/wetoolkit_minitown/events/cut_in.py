"""A car from the lane beside changes into the gap before the ego and brakes."""

from __future__ import annotations

import numpy as np

from wetoolkit_minitown.events.base import Clear, Leader, Parameter, Plan, Values, cruise
from wetoolkit_minitown.place import Place
from wetoolkit_minitown.traffic import CUTTER, Stage


class CutIn:
    """It draws level ahead of the ego, changes lane with little room and slows down at once."""

    name = "cut-in"
    parameters = (
        Parameter("gap", 3.0, 8.0, "m", "between the bumpers when it sets off"),
        Parameter("change", 1.6, 2.6, "s", "that the lane change takes"),
        Parameter("deceleration", 2.0, 4.5, "m/s^2", "with which it brakes then"),
        Parameter("slower", 2.5, 6.0, "m/s", "than the ego, to which it brakes"),
        Parameter("ahead", 2.0, 10.0, "m", "of the ego at the start"),
    )
    conflict = "it is slower than the ego and less than a second ahead"

    def plan(self, place: Place, rng: np.random.Generator, values: Values) -> Plan | None:
        """On a road with two lanes each way."""
        if not len(place.broad):
            return None
        k = int(rng.choice(place.broad))
        other, s, v = place.sibling(k), float(rng.uniform(4.0, 6.0)), cruise(place, rng, k)
        side = 1.0 if place.town.tracks[k].lane == 1 else -1.0
        stage = Stage(CUTTER, 28, 0.0, values["change"], values["deceleration"], values["slower"], values["gap"], side)
        leader = Leader(place.way(rng, other), s + values["ahead"], v + 1.0)
        return Plan(place.route(rng, k), s, v, leader, (Clear(k, 0.0, s + 80.0), Clear(other, 0.0, s + 80.0)), stage)
