"""A scenario of nuplan-devkit -> our Scenario."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from wetoolkit_driving.types import World

from wetoolkit.errors import DataError
from wetoolkit.types import Clock, Lineage, Scenario, Step
from wetoolkit_logs import __version__
from wetoolkit_logs.nuplan.bridge.maps import MapView
from wetoolkit_logs.nuplan.bridge.worlds import Frame, Span, lights_of, world_of
from wetoolkit_logs.recording import blamed

RADIUS = 120.0  # metres, as the reader's default


def from_scenario(
    scenario: Any,
    iteration: int = 0,
    history: float = 2.0,
    future: float = 8.0,
    rate: float = 10.0,
    view: MapView | None = None,
    split: str = "devkit",
) -> Scenario[World]:
    """A devkit AbstractScenario as our Scenario: what the dataset `nuplan` gives for the frame of its ``iteration``.

    Args:
        iteration: which of the scenario's own steps is the present.
        history, future: recorded time before and after it [s].
        rate: steps a second [Hz].
        view: the map, to be shared by scenarios of one city that lie near each other; made of ``scenario.map_api`` unless given.
        split: what the Scenario says.

    Errors: ``DataError`` where the log has not so much before or after, or frames at other times than asked.
    """
    name = str(scenario.log_name)
    with blamed(name):
        span = span_of(scenario, iteration, round(history * rate), round(future * rate), 1 / rate)
        view = MapView(scenario.map_api, RADIUS) if view is None else view
        world, origin = world_of(span, view, [str(block) for block in scenario.get_route_roadblock_ids()])
        token = token_of(scenario, iteration)
        key = f"nuplan/{name}/{token}"
        lineage = Lineage("nuplan", name, key, (Step("dataset/nuplan-devkit", f"wetoolkit-logs {__version__}", ""),))
        made = Scenario(key, "driving", split, name, Clock(1 / rate, span.now, world.steps), origin, lineage, world)
        made.validate()
    return made


def token_of(scenario: Any, iteration: int) -> str:
    """Token of the frame of an iteration. Errors: ``DataError`` where the scenario only knows that of its first."""
    if iteration == 0:
        return str(scenario.token)
    tokens = getattr(scenario, "get_scenario_tokens", None)
    if tokens is None:
        what = f"{type(scenario).__name__} has no get_scenario_tokens, so the frame of iteration {iteration} has no name"
        raise DataError(what, field="iteration", way_out="take iteration 0")
    return str(tokens()[iteration])


def span_of(scenario: Any, iteration: int, before: int, after: int, dt: float) -> Span:
    """The frames of a scenario around an iteration, the present asked for by itself. Errors: ``DataError``."""
    now = Frame(
        int(scenario.get_time_point(iteration).time_us),
        scenario.get_ego_state_at_iteration(iteration),
        scenario.get_tracked_objects_at_iteration(iteration).tracked_objects.tracked_objects,
        lights_of(list(scenario.get_traffic_light_status_at_iteration(iteration))),
    )
    past = _frames(scenario, iteration, before, dt, "past")
    future = _frames(scenario, iteration, after, dt, "future")
    span = Span((*past, now, *future), len(past), dt)
    for step, frame in enumerate((*past, now, *future)):
        late = (frame.time - now.time) / 1e6 - (step - span.now) * dt
        if abs(late) > dt / 2:
            what = f"the frame of step {step} is {late:+.3f} s from where it is due"
            raise DataError(what, field="timestamps", way_out="choose a `rate` that the log's own is a multiple of")
    return span


def _frames(scenario: Any, iteration: int, count: int, dt: float, side: str) -> list[Frame]:
    """The ``count`` frames on a side of the present, in order of time."""
    if count == 0:
        return []
    asked = (iteration, count * dt, count)
    times = [int(point.time_us) for point in getattr(scenario, f"get_{side}_timestamps")(*asked)]
    egos = list(getattr(scenario, f"get_ego_{side}_trajectory")(*asked))
    tracks = list(getattr(scenario, f"get_{side}_tracked_objects")(*asked))
    lights = list(getattr(scenario, f"get_{side}_traffic_light_status_history")(*asked))
    _require(count, side, {"timestamps": times, "ego states": egos, "tracked objects": tracks, "traffic lights": lights})
    rows: Iterable[tuple[Any, ...]] = zip(times, egos, tracks, lights, strict=True)
    return [
        Frame(time, ego, track.tracked_objects.tracked_objects, lights_of(light.traffic_lights)) for time, ego, track, light in rows
    ]


def _require(count: int, side: str, found: dict[str, Sequence[Any]]) -> None:
    for name, items in found.items():
        if len(items) != count:
            what = f"{len(items)} {name} in the {side} where {count} were asked"
            way_out = "ask for less `history` or `future`, or take a frame farther from the ends of its log"
            raise DataError(what, field=name, way_out=way_out)


__all__ = ["RADIUS", "from_scenario", "span_of", "token_of"]
