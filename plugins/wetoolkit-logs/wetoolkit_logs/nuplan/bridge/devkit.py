"""The classes of nuplan-devkit that we give it. Only this module and ``maps.devkit_layer`` import it, when first used."""

from __future__ import annotations

from typing import Any

from nuplan.common.actor_state.ego_state import EgoState
from nuplan.common.actor_state.state_representation import StateSE2, StateVector2D, TimePoint
from nuplan.planning.simulation.observation.observation_type import DetectionsTracks, Observation
from nuplan.planning.simulation.planner.abstract_planner import AbstractPlanner, PlannerInitialization, PlannerInput
from nuplan.planning.simulation.trajectory.abstract_trajectory import AbstractTrajectory
from nuplan.planning.simulation.trajectory.interpolated_trajectory import InterpolatedTrajectory
from wetoolkit_driving.types import AX, AY, HEADING, STEERING, STEERING_RATE, VX, VY, YAW_ACCELERATION, YAW_RATE, World, X, Y

from wetoolkit.errors import ValidationError
from wetoolkit.kinds import Policy
from wetoolkit_logs.nuplan.bridge.planner import Driver, Settings


class PolicyPlanner(AbstractPlanner):  # type: ignore[misc]  # the devkit has no types for us
    """One of our policies as a planner of nuplan-devkit; picklable where the policy is, and a target of its configurations."""

    requires_scenario = False

    def __init__(self, policy: Policy[World], name: str = "", settings: Settings | None = None) -> None:
        self._policy = policy
        self._name = name or type(policy).__name__
        self._settings = settings or Settings()
        self.driver: Driver | None = None

    def name(self) -> str:
        """What the devkit's reports call it."""
        return self._name

    def observation_type(self) -> type[Observation]:
        """Tracks: what our policies see is made of them."""
        return DetectionsTracks

    def initialize(self, initialization: PlannerInitialization) -> None:
        """A new simulation: nothing of an earlier one is kept."""
        self.driver = Driver(self._policy, self._settings, initialization)

    def compute_planner_trajectory(self, current_input: PlannerInput) -> AbstractTrajectory:
        """The policy's plan from the present on, 4 s in steps of 0.1 s."""
        if self.driver is None:
            raise ValidationError("a planner that was not initialised", field="planner", way_out="call initialize() first")
        times, states = self.driver.plan(current_input)
        now: EgoState = current_input.history.current_state[0]
        body = now.car_footprint.vehicle_parameters
        ahead = [_state(int(time), row, body) for time, row in zip(times[1:], states[1:], strict=True)]
        return InterpolatedTrajectory([now, *ahead])


def _state(time: int, row: Any, body: Any) -> EgoState:
    return EgoState.build_from_rear_axle(
        rear_axle_pose=StateSE2(row[X], row[Y], row[HEADING]),
        rear_axle_velocity_2d=StateVector2D(row[VX], row[VY]),
        rear_axle_acceleration_2d=StateVector2D(row[AX], row[AY]),
        tire_steering_angle=row[STEERING],
        time_point=TimePoint(time),
        vehicle_parameters=body,
        angular_vel=row[YAW_RATE],
        angular_accel=row[YAW_ACCELERATION],
        tire_steering_rate=row[STEERING_RATE],
    )


__all__ = ["PolicyPlanner"]
