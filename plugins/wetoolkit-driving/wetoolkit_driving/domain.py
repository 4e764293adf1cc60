"""The driving domain: its worlds, its plans, what its policies see and what its drivers did."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from wetoolkit.errors import ValidationError
from wetoolkit.events import Event
from wetoolkit.futures import Future
from wetoolkit.types import Bool, Float, Observation, ObservationSpec, Picture, PlanSpec, Rollout, Scenario, Scene, Situation
from wetoolkit_driving import steering
from wetoolkit_driving.geometry import relative
from wetoolkit_driving.observe import observe
from wetoolkit_driving.sensors import Sensors
from wetoolkit_driving.types import Byte, World

PLAN = PlanSpec(40, 0.1, ("x [m]", "y [m]", "heading [rad]"))


class Driving:
    """Implements ``wetoolkit.kinds.Domain``: plans are 40 rear-axle poses in the ego's frame now, the first 0.1 s ahead."""

    name = "driving"
    plan = PLAN
    world = World

    def observe(self, situations: Sequence[Situation[World]], spec: ObservationSpec) -> Observation[World]:
        """See ``wetoolkit_driving.observe``."""
        return observe(situations, spec)

    def demonstrate(self, situations: Sequence[Situation[World]]) -> tuple[Float, Bool]:
        """Plans [B, 40, 3] that the ego of each record drove (zeros where not 40 steps of it are known), and that mask [B]."""
        plans = np.zeros((len(situations), *PLAN.shape))
        known = np.zeros(len(situations), bool)
        for b, situation in enumerate(situations):
            world, first = situation.world, situation.step + 1
            if abs(world.dt - PLAN.dt) > 1e-6:
                raise ValidationError(
                    f"the world's dt is {world.dt} s, plans have {PLAN.dt} s",
                    field="world.dt",
                    situation=situation.id,
                    way_out="resample the log to 10 Hz when it is read",
                )
            if first + PLAN.steps <= world.steps and world.ego.valid[first - 1 : first + PLAN.steps].all():
                states = world.ego.states[first - 1 : first + PLAN.steps, :3]
                plans[b], known[b] = relative(states[0], states[1:]), True
        return plans, known

    def controls(self) -> tuple[tuple[str, ...], Float, Float]:
        """Acceleration and steering angle."""
        return steering.NAMES, steering.LOW, steering.HIGH

    def steered(self, situations: Sequence[Situation[World]], controls: Float) -> Float:
        """Plans [B, 40, 3] of egos that hold (acceleration, steering angle) [B, 2]; see ``wetoolkit_driving.steering``."""
        return steering.steered(situations, np.asarray(controls, np.float64), PLAN.steps, PLAN.dt).astype(np.float32)

    def frames(self, rollout: Rollout[World], logged: World | None, events: Sequence[Event]) -> Iterator[Byte]:
        """Top-down pictures; see ``wetoolkit_driving.film``."""
        from wetoolkit_driving.film import frames  # pillow is not needed elsewhere

        return frames(rollout, logged, events)

    def future(self, variant: Scene[World], logged: World, who: Sequence[str]) -> Future:
        """A variant from above around its conflict; see ``wetoolkit_driving.futures``."""
        from wetoolkit_driving.futures import future

        return future(variant, logged, who)

    def picture(self, sensors: Sensors, camera: str, seconds: float, oldest: float) -> Picture | None:
        """The camera's last exposure up to ``seconds``, at most ``oldest`` seconds old; None where there is none."""
        return sensors.picture(camera, seconds, oldest)

    def view(self, scenario: Scenario[World], step: int, sensors: Sensors | None) -> Byte:
        """A picture from above with the cameras beside it; see ``wetoolkit_driving.view``."""
        from wetoolkit_driving.view import view

        return view(scenario, step, sensors)


__all__ = ["PLAN", "Driving"]
