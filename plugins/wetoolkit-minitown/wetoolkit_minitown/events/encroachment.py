"""An oncoming car that comes over the middle line into the ego's lane."""

from __future__ import annotations

import numpy as np

from wetoolkit_minitown.events.actors import CAR_SIZE, Pace, arrival, drive, path, shifted
from wetoolkit_minitown.events.base import Parameter, Plan, Rehearsal, Values, cruise, open_road, pick
from wetoolkit_minitown.place import Place
from wetoolkit_minitown.traffic import ACTOR, DT, Stage

SWERVE = 1.6  # seconds from lane to lane


class Encroachment:
    """Drifts over, stays in the ego's lane, brakes and swerves back at the last moment."""

    name = "encroachment"
    parameters = (
        Parameter("speed", 6.5, 9.5, "m/s", "of the oncoming car"),
        Parameter("over", 1.9, 3.0, "m", "to its left of its lane's middle"),
        Parameter("stay", -0.3, 0.1, "s", "after the ego's planned arrival that it begins to swerve back"),
        Parameter("brake", 2.0, 3.0, "m/s^2", "of the oncoming car from half a second before that arrival on"),
        Parameter("lead", 3.2, 3.8, "s", "before that arrival that the event begins"),
    )
    conflict = "at the ego's speed the two meet head-on in its lane"

    def plan(self, place: Place, rng: np.random.Generator, values: Values) -> Plan | None:
        """On the innermost lane of a road, past its middle."""
        inner = [int(k) for k in place.lanes if place.town.tracks[k].lane == 0 and place.net.length[k] > 96.0]
        spot = pick(rng, [(k, float(rng.uniform(0.62, 0.75) * place.net.length[k])) for k in inner])
        if spot is None:
            return None
        k, s = spot
        start = float(rng.uniform(4.0, max(5.0, s - 60.0)))
        stage = Stage(ACTOR, 0, s, 0.0, 0.0, 0.0, 0.0, 0.0)
        return Plan(place.route(rng, k), start, cruise(place, rng, k), clear=open_road(place, [k], start, s + 20.0), stage=stage)

    def stage(self, place: Place, rng: np.random.Generator, values: Values, plan: Plan, rehearsal: Rehearsal) -> Stage | None:
        """The oncoming car's drive: along its lane, and aside of it for a while."""
        k, s = int(plan.way[0]), plan.stage.s
        when = arrival(rehearsal, 0, s)
        if when is None:
            return None
        t = self._opposite(place, k)
        before = place.before(rng, t)
        line, starts = path(place, [*before, *place.way(rng, t).tolist()[:3]])
        v = values["speed"]
        at = starts[len(before)] + place.net.length[t] - s - v * 0.5
        script = drive(line, at, when - 0.5, Pace(v, 60.0, 0.0, v, -values["brake"]), len(rehearsal.where))
        if script is None:
            return None
        time = np.arange(len(script)) * DT - when
        left = values["over"] * (_smooth((time + values["lead"]) / SWERVE) - _smooth((time - values["stay"]) / SWERVE))
        onset = max(1, round((when - values["lead"]) / DT))
        return plan.stage._replace(at=onset, script=shifted(script, left), extent=np.array(CAR_SIZE[:2]))

    def _opposite(self, place: Place, k: int) -> int:
        mine = place.town.tracks[k]
        tracks = ((int(i), place.town.tracks[int(i)]) for i in place.lanes)
        return next(i for i, t in tracks if (t.road, t.lane) == (mine.road, 0) and t.direction != mine.direction)


def _smooth(f: np.ndarray[tuple[int], np.dtype[np.float64]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """0 to 1 with no speed at both ends."""
    g = np.clip(f, 0.0, 1.0)
    return g * g * (3.0 - 2.0 * g)
