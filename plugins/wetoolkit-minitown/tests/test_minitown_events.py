"""The catalogue of rare events: each finds a place, is a conflict for who does not react, and is passed by the expert."""

from pathlib import Path

import numpy as np
import pytest
import shapely
from wetoolkit_driving.geometry import box_corners, ego_corners
from wetoolkit_driving.types import HEADING, VX, AgentClass, Vehicle
from wetoolkit_minitown.cast import Density, draw_cast
from wetoolkit_minitown.catalogue import catalogue
from wetoolkit_minitown.events import EVENTS
from wetoolkit_minitown.events.actors import Pace, drive, shifted
from wetoolkit_minitown.events.base import Rehearsed, draw
from wetoolkit_minitown.log import AFTER_EVENT, BEFORE_EVENT, Log, attempted, record
from wetoolkit_minitown.place import Place

DENSITY = Density(55, 12, 30)
TRIED = 12  # first draws of an event, over three towns


@pytest.fixture(scope="module")
def places() -> list[Place]:
    return [Place.build(f"town{n}", (5, n)) for n in range(3)]


@pytest.fixture(scope="module")
def drives(places: list[Place]) -> dict[str, list[Log]]:
    """The first draws that come about, by event."""
    tries = {event: [attempted(places[n % 3], (6, n), DENSITY, event, 30.0, 0) for n in range(TRIED)] for event in EVENTS}
    return {event: [log for log in logs if log is not None] for event, logs in tries.items()}


def _without_reaction(log: Log) -> np.ndarray:
    """[51, 11] the ego from the event on: the expert's own path, straight on beyond its end, at the speed it had."""
    began = int(log.event[0])
    end = log.ego[-1, :2] + np.arange(1, 80)[:, None] * np.array([np.cos(log.ego[-1, HEADING]), np.sin(log.ego[-1, HEADING])])
    moving = np.concatenate([[True], np.hypot(*np.diff(log.ego[:, :2], axis=0).T) > 1e-3])
    line = np.vstack([log.ego[moving, :2], end])
    turned = np.concatenate([np.unwrap(log.ego[moving, HEADING]), np.full(len(end), np.unwrap(log.ego[moving, HEADING])[-1])])
    at = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    here = at[np.flatnonzero(moving).searchsorted(began)]
    want = here + log.ego[began, VX] * 0.1 * np.arange(51)
    states = np.zeros((51, 11))
    for k, values in ((0, line[:, 0]), (1, line[:, 1]), (2, turned)):
        states[:, k] = np.interp(want, at, values)
    return states


def _met(states: np.ndarray, log: Log, first: int, rows: np.ndarray) -> set[int]:
    """Those of some rows whose boxes the ego's touches, by shapely."""
    ego = shapely.polygons(ego_corners(states, Vehicle()))
    found = set()
    for a in rows:
        pose = log.pose[a, first : first + len(states)].astype(np.float64)
        size = np.broadcast_to(log.size[a].astype(np.float64), (len(pose), 3))
        if shapely.intersects(shapely.polygons(box_corners(pose, size[:, 0], size[:, 1])), ego[: len(pose)]).any():
            found.add(int(a))
    return found


@pytest.mark.parametrize("event", list(EVENTS))
def test_an_event_comes_about_in_most_first_draws(event: str, drives: dict[str, list[Log]]) -> None:
    assert len(drives[event]) >= TRIED / 3
    assert all(BEFORE_EVENT <= log.event[0] == len(log.ego) - round(AFTER_EVENT / 0.1) for log in drives[event])


@pytest.mark.parametrize("event", list(EVENTS))
def test_who_does_not_react_collides_and_the_expert_does_not(event: str, drives: dict[str, list[Log]]) -> None:
    for log in drives[event]:
        moves = np.flatnonzero(~log.still)
        blind = _met(_without_reaction(log), log, int(log.event[0]), moves)
        assert len(blind) >= 1
        assert not _met(log.ego, log, 0, np.arange(len(log.kind)))


@pytest.mark.parametrize("event", list(EVENTS))
def test_parameters_are_drawn_within_their_ranges_and_evenly(event: str) -> None:
    parameters = EVENTS[event].parameters
    draws = [draw(EVENTS[event], np.random.default_rng(n)) for n in range(200)]
    assert draws[3] == draw(EVENTS[event], np.random.default_rng(3))
    for p in parameters:
        values = np.array([d[p.name] for d in draws])
        assert p.low <= values.min() < values.max() <= p.high
        assert values.mean() == pytest.approx((p.low + p.high) / 2, abs=0.12 * (p.high - p.low))  # about five standard errors


def test_each_kind_shows_who_it_is_about(places: list[Place], drives: dict[str, list[Log]]) -> None:
    """The class of what the ego would hit."""
    person = {AgentClass.PEDESTRIAN}
    about = {
        "jaywalker": person, "crossing-cyclist": {AgentClass.BICYCLE}, "construction-stop": person,
        "opening-door": {AgentClass.GENERIC_OBJECT, *person},
    }  # fmt: skip
    for event, logs in drives.items():
        right = 0
        for log in logs:
            hit = _met(_without_reaction(log), log, int(log.event[0]), np.flatnonzero(~log.still))
            right += bool({AgentClass(int(log.kind[a])) for a in hit} & about.get(event, {AgentClass.VEHICLE}))
        assert right >= 0.8 * len(logs), event


def test_a_runner_passes_on_red_while_the_ego_has_green(places: list[Place]) -> None:
    """The plan's own facts: signals of different phases, the ego's green around its arrival."""
    event, place = EVENTS["red-light-runner"], places[0]
    assert isinstance(event, Rehearsed)
    for n in range(8):
        rng = np.random.default_rng((8, n))
        cast = draw_cast(place, rng, DENSITY, event.name)
        assert cast is not None and cast.plan.lights is not None
        mine, other = int(cast.plan.way[1]), cast.plan.stage.at
        assert place.net.signal[mine] != place.net.signal[other]
        offset, green, period = place.town.signal_times[place.net.signal[mine]]
        arrives = (place.net.length[cast.plan.way[0]] - cast.plan.s) / cast.plan.v
        assert 2.4 < (cast.plan.lights + arrives - offset) % period < green - 2.4


def test_a_script_is_where_it_shall_be_when_it_shall_be() -> None:
    line = np.column_stack([np.arange(0.0, 200.0, 0.5), np.zeros(400)])
    pace = Pace(5.0, 1.0, 1.5, 9.0, 0.8)
    script = drive(line, 100.0, 8.0, pace, 150)
    assert script is not None
    assert script[80] == pytest.approx([100.0, 0.0, 0.0, 5.0], abs=1e-6)
    assert script[70, 3] == pytest.approx(5.0)
    assert script[50, 3] == pytest.approx(5.0 + 1.5 * 2.0)
    assert np.allclose(np.diff(script[:, 0]) / 0.1, (script[1:, 3] + script[:-1, 3]) / 2)
    late = drive(line, 30.0, 8.0, pace, 150)  # too short a run-up for 9 m/s: it sets out more slowly, or waits
    assert late is not None and late[0, 0] > 3.0 and late[80, 0] == pytest.approx(30.0)
    assert drive(line, 190.0, 8.0, pace, 150) is None
    aside = shifted(script, np.full(150, 2.0))
    assert np.allclose(aside[:, 1], 2.0) and np.allclose(aside[:, 2], 0.0)


def test_equal_seeds_give_equal_events(places: list[Place]) -> None:
    one, two = (record(places[1], (3,), DENSITY, "red-light-runner", 30.0) for _ in range(2))
    assert np.array_equal(one.pose, two.pose) and np.array_equal(one.ego, two.ego)


def test_the_page_holds_the_catalogue() -> None:
    page = Path(__file__).parents[3] / "docs" / "minitown.md"
    assert catalogue() in page.read_text()
