"""What a planner of nuplan-devkit does with one of our policies, free of the devkit: its inputs -> a plan on the map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from wetoolkit_driving.domain import PLAN, Driving
from wetoolkit_driving.geometry import compose
from wetoolkit_driving.types import Signal, World

from wetoolkit.errors import DataError
from wetoolkit.kinds import Policy
from wetoolkit.types import Situation
from wetoolkit_logs.motion import rear_axle_states
from wetoolkit_logs.nuplan.bridge.maps import MapView, devkit_layer
from wetoolkit_logs.nuplan.bridge.worlds import Frame, Span, lights_of, world_of

Double = NDArray[np.float64]
LATE = 60_000  # microseconds between a frame and its ego state: nuPlan's poses have times of their own


@dataclass(frozen=True)
class Settings:
    """How a policy is asked."""

    seed: int = 0
    history: float = 2.0  # seconds of the simulation's past that a world holds; more where the policy wants more steps
    radius: float = 120.0  # metres around the ego that the map reaches


class Driver:
    """A policy in one simulation: what it has seen, and its plan at each step."""

    def __init__(self, policy: Policy[World], settings: Settings, start: Any, layer: Callable[[str], Any] = devkit_layer) -> None:
        """``start``: the devkit's PlannerInitialization."""
        self.policy = policy
        self.settings = settings
        self.view = MapView(start.map_api, settings.radius, layer)
        self._route = [str(name) for name in start.route_roadblock_ids or ()]
        self._lights: dict[int, dict[int, Signal]] = {}  # by time: the devkit tells of those of the present only
        self._steps = max(policy.spec.history, round(settings.history / PLAN.dt) + 1)

    def plan(self, told: Any) -> tuple[NDArray[np.int64], Double]:
        """Times [41, microseconds] and rear-axle states [41, 11] on the map, the first of each those of now.

        ``told``: the devkit's PlannerInput. Errors: ``DataError`` where its history does not end at its own present.
        """
        span = self._span(told)
        world, origin = world_of(span, self.view, self._route)
        world.validate()
        situation = Situation("devkit", "devkit", world, span.now)
        observation = Driving().observe([situation], self.policy.spec)
        plan = self.policy.act(observation, self.settings.seed)
        plan.validate(PLAN, 1)
        frame = world.ego.states[span.now, :3] + [*origin[:2], 0.0]
        poses = np.concatenate([frame[None], compose(frame, np.asarray(plan.trajectories[0], np.float64))])
        states = rear_axle_states(poses, world.ego.vehicle)
        states[0, 3:] = world.ego.states[span.now, 3:]
        times = span.present.time + np.rint(np.arange(PLAN.steps + 1) * PLAN.dt * 1e6).astype(np.int64)
        return times, states

    def _span(self, told: Any) -> Span:
        """The frames of the buffer nearest to our clock's steps up to now."""
        egos, views = told.history.ego_states, told.history.observations
        if len(egos) != len(views):
            what = f"{len(egos)} ego states and {len(views)} observations"
            raise DataError(what, field="history", way_out="give one observation for each ego state")
        now, times = int(told.iteration.time_point.time_us), np.array([int(ego.time_us) for ego in egos], np.int64)
        present = len(times) - 1
        if abs(int(times[present]) - now) > LATE or not (np.diff(times) > 0).all():
            what = f"the history ends {(int(times[present]) - now) / 1e6:+.3f} s from the present, or its times do not rise"
            raise DataError(what, field="history", way_out="append the present state to the buffer before planning")
        here = int(times[present])
        self._lights[here] = lights_of(told.traffic_light_data)
        due = here - np.rint(np.arange(self._steps - 1, -1, -1) * PLAN.dt * 1e6).astype(np.int64)
        self._lights = {time: lights for time, lights in self._lights.items() if due[0] - LATE <= time <= here}
        at = np.abs(times[None] - due[:, None]).argmin(1)
        fits = np.abs(times[at] - due) <= PLAN.dt * 1e6 / 2
        frames = [self._frame(egos[k], views[k]) if fit else None for k, fit in zip(at.tolist(), fits.tolist(), strict=True)]
        return Span(tuple(frames), len(frames) - 1, PLAN.dt)

    def _frame(self, ego: Any, view: Any) -> Frame:
        tracks = getattr(view, "tracked_objects", None)
        if tracks is None:
            what = f"an observation of type {type(view).__name__}"
            raise DataError(what, field="history.observations", way_out="simulate with an observation that gives DetectionsTracks")
        time = int(ego.time_us)
        objects: Sequence[Any] = tracks.tracked_objects
        return Frame(time, ego, objects, self._lights.get(time, {}))


__all__ = ["Driver", "Settings"]
