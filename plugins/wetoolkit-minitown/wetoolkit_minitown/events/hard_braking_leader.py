"""The car ahead brakes hard for no reason that can be seen."""

from __future__ import annotations

import numpy as np

from wetoolkit_minitown.events.base import Clear, Leader, Parameter, Plan, Values, cruise
from wetoolkit_minitown.place import Place
from wetoolkit_minitown.traffic import BRAKER, Stage


class HardBrakingLeader:
    """The leader, whom the ego follows at a moderate distance, brakes to a near stop, waits and drives on."""

    name = "hard-braking-leader"
    parameters = (
        Parameter("deceleration", 4.5, 7.0, "m/s^2", "of the leader"),
        Parameter("low", 0.0, 2.0, "m/s", "to which it brakes"),
        Parameter("hold", 1.0, 3.0, "s", "that it stays so slow"),
        Parameter("gap", 16.0, 26.0, "m", "from axle to axle at the start"),
        Parameter("top", 8.0, 12.0, "m/s", "of the leader"),
        Parameter("after", 2.8, 8.0, "s", "from the start, before which it does not brake"),
    )
    conflict = "the ego closes the gap within 3 to 4 s unless it brakes, too"

    def plan(self, place: Place, rng: np.random.Generator, values: Values) -> Plan | None:
        """On any lane: it brakes once the ego has come near on a straight."""
        k = int(rng.choice(place.lanes))
        s = float(rng.uniform(4.0, max(place.net.length[k] - 55.0, 5.0)))
        way, v = place.route(rng, k), cruise(place, rng, k)
        stage = Stage(BRAKER, round(values["after"] / 0.1), 0.0, 0.0, values["deceleration"], values["low"], values["hold"], 0.0)
        leader = Leader(way.copy(), s + values["gap"], v, 1.0, values["top"])
        return Plan(way, s, v, leader, (Clear(k, s - 22.0, s + values["gap"] + 22.0),), stage)
