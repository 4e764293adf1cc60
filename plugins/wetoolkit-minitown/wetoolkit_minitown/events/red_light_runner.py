"""A car that drives through red, from the side, while the ego has green."""

from __future__ import annotations

import numpy as np

from wetoolkit_minitown.events.actors import Pace
from wetoolkit_minitown.events.base import Parameter, Plan, Rehearsal, Values
from wetoolkit_minitown.events.junctions import across, junction_plan, pairs
from wetoolkit_minitown.place import Place
from wetoolkit_minitown.traffic import Stage


class RedLightRunner:
    """Comes straight from a side road at a junction with signals and does not slow down."""

    name = "red-light-runner"
    parameters = (
        Parameter("speed", 7.5, 11.0, "m/s", "over the junction"),
        Parameter("early", -0.2, 0.4, "s", "before the ego that it is where their ways cross"),
        Parameter("lead", 2.5, 3.1, "s", "before the ego's arrival that the event begins"),
    )
    conflict = "at the ego's speed both are where their ways cross at once; its light has been red for the whole approach"

    def plan(self, place: Place, rng: np.random.Generator, values: Values) -> Plan | None:
        """At a junction with signals that the ego crosses straight on green."""
        found = junction_plan(place, rng, pairs(place, self._fits))
        return found[0] if found else None

    def stage(self, place: Place, rng: np.random.Generator, values: Values, plan: Plan, rehearsal: Rehearsal) -> Stage | None:
        """The runner's drive."""
        v = values["speed"]
        return across(place, rng, plan, rehearsal, Pace(v, 60.0, 0.0, v, 0.0), values["early"], values["lead"])

    def _fits(self, place: Place, mine: int, other: int) -> bool:
        a, b = place.net.signal[mine], place.net.signal[other]
        return bool(a >= 0 and b >= 0 and a != b and abs(place.town.tracks[other].turn) < 0.6)
