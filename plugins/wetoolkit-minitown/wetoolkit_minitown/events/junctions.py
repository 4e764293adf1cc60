"""Events at junctions: the ego goes straight across with the right of way, an actor comes across its path."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from wetoolkit_minitown.curves import DS
from wetoolkit_minitown.events.actors import CAR_SIZE, Pace, arrival, drive, meeting, path
from wetoolkit_minitown.events.base import Plan, Rehearsal, cruise, open_road
from wetoolkit_minitown.place import Place
from wetoolkit_minitown.town import NEVER
from wetoolkit_minitown.traffic import ACTOR, Stage

APPROACH = (58.0, 82.0)  # metres from the ego's start to the junction

Pairs = list[tuple[int, int]]


def pairs(place: Place, fits: Callable[[Place, int, int], bool]) -> Pairs:
    """(the ego's link, the actor's) of all conflicting links that fit, the ego's straight and with the right of way."""
    net, found = place.net, []
    for mine in place.links.tolist():
        if net.priority[mine] == 2 and abs(place.town.tracks[mine].turn) < 0.6 and net.length[net.origin[mine]] > 66.0:
            conflicts = net.conflict[net.conflict_offset[mine] : net.conflict_offset[mine + 1]].tolist()
            found += [(mine, other) for other in conflicts if other in place.links and fits(place, mine, other)]
    return found


def junction_plan(place: Place, rng: np.random.Generator, choices: Pairs) -> tuple[Plan, int] | None:
    """(the ego on its way to one of the junctions, which it reaches on green; the actor's link)."""
    if not choices:
        return None
    mine, other = choices[int(rng.integers(len(choices)))]
    lane = int(place.net.origin[mine])
    metres = min(rng.uniform(*APPROACH), place.net.length[lane] - 5.0)
    s, v = float(place.net.length[lane] - metres), cruise(place, rng, lane)
    plan = Plan(
        place.route(rng, lane, mine), s, v, clear=open_road(place, [lane, mine, int(place.net.target[mine])], s, 40.0),
        stage=Stage(ACTOR, other, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0), lights=_green(place, rng, mine, metres / v),
    )  # fmt: skip
    return plan, other


def _green(place: Place, rng: np.random.Generator, link: int, when: float) -> float | None:
    """Where in the signals' programs the log must begin for a link to be green around ``when`` seconds."""
    row = place.net.signal[link]
    if row == NEVER:
        return None
    offset, green, period = place.town.signal_times[row]
    return float((offset + rng.uniform(2.5, green - 2.5) - when) % period + period)


def across(
    place: Place, rng: np.random.Generator, plan: Plan, rehearsal: Rehearsal, pace: Pace, early: float, lead: float
) -> Stage | None:
    """The plan's stage with the actor's drive, which meets the ego where their links cross."""
    mine, other = int(plan.way[1]), plan.stage.at
    i, j = meeting(place.town.tracks[mine].xy, place.town.tracks[other].xy)
    when = arrival(rehearsal, 1, max(i * DS - 3.0, 0.0))
    if when is None:
        return None
    lane = int(place.net.origin[other])
    before = place.before(rng, lane)
    on = place.way(rng, int(place.net.target[other])).tolist()[:3]
    line, starts = path(place, [*before, lane, other, *on])
    script = drive(line, starts[len(before) + 1] + j * DS + 1.0, when - early, pace, len(rehearsal.where))
    if script is None:
        return None
    return plan.stage._replace(at=max(1, round((when - lead) / 0.1)), script=script, extent=np.array(CAR_SIZE[:2]))
