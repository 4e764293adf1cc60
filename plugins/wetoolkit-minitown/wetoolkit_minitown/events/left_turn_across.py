"""An oncoming car that turns left across the ego's way without waiting."""

from __future__ import annotations

import numpy as np

from wetoolkit_minitown.events.actors import Pace
from wetoolkit_minitown.events.base import Parameter, Plan, Rehearsal, Values
from wetoolkit_minitown.events.junctions import across, junction_plan, pairs
from wetoolkit_minitown.place import Place
from wetoolkit_minitown.traffic import Stage


class LeftTurnAcross:
    """Has to give way to oncoming traffic, takes a gap that is none and turns left."""

    name = "left-turn-across"
    parameters = (
        Parameter("speed", 4.5, 6.0, "m/s", "in the turn"),
        Parameter("early", -0.1, 0.4, "s", "before the ego that it is where their ways cross"),
        Parameter("lead", 2.4, 3.0, "s", "before the ego's arrival that the event begins"),
    )
    conflict = "at the ego's speed both are where their ways cross at once; the ego has the right of way"

    def plan(self, place: Place, rng: np.random.Generator, values: Values) -> Plan | None:
        """At a junction that the ego crosses straight with the right of way, with or without signals."""
        found = junction_plan(place, rng, pairs(place, self._fits))
        return found[0] if found else None

    def stage(self, place: Place, rng: np.random.Generator, values: Values, plan: Plan, rehearsal: Rehearsal) -> Stage | None:
        """The turner's drive: it comes on faster, slows down for the turn and speeds up out of it."""
        pace = Pace(values["speed"], 2.2, 1.6, 9.5, 0.8)
        return across(place, rng, plan, rehearsal, pace, values["early"], values["lead"])

    def _fits(self, place: Place, mine: int, other: int) -> bool:
        a, b = place.town.tracks[mine], place.town.tracks[other]
        return b.turn > 0.6 and b.arms[0] == a.arms[1]
