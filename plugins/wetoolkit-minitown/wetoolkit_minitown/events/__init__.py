"""The catalogue of rare events: one file and one class each, registered here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from wetoolkit_minitown.events.base import Event
from wetoolkit_minitown.events.construction_stop import ConstructionStop
from wetoolkit_minitown.events.crossing_cyclist import CrossingCyclist
from wetoolkit_minitown.events.cut_in import CutIn
from wetoolkit_minitown.events.encroachment import Encroachment
from wetoolkit_minitown.events.hard_braking_leader import HardBrakingLeader
from wetoolkit_minitown.events.jaywalker import Jaywalker
from wetoolkit_minitown.events.left_turn_across import LeftTurnAcross
from wetoolkit_minitown.events.opening_door import OpeningDoor
from wetoolkit_minitown.events.red_light_runner import RedLightRunner

EVENTS: Mapping[str, Event] = MappingProxyType({
    event.name: event
    for event in (
        CutIn(), HardBrakingLeader(), Jaywalker(), CrossingCyclist(), RedLightRunner(), LeftTurnAcross(), OpeningDoor(),
        Encroachment(), ConstructionStop(),
    )
})  # fmt: skip
