"""The reconstructor ``crowd-replay`` and the behaviour ``social-force``: scenes from recordings, and crowds varied from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from pydantic import Field

from wetoolkit.config import Config
from wetoolkit.errors import ValidationError
from wetoolkit.types import Failure, Ref, Scenario, Scene
from wetoolkit_crowd.types import Control, World


class CrowdReplayConfig(Config):
    """Settings of ``crowd-replay``: it has none."""


class CrowdReplay:
    """Hands the world over as it is; everybody keeps what moves them."""

    def __init__(self, config: CrowdReplayConfig) -> None:
        self.config = config

    def reconstruct(self, scenario: Scenario[World], failure: Failure | None, seed: int) -> Scene[World]:
        """A Scene whose clock stands at the failure's step, or at the scenario's own ``now``. The seed is not used."""
        now, kind = (scenario.clock.now, "") if failure is None else (failure.step, failure.kind)
        if not 0 <= now < scenario.clock.steps - 1:
            raise ValidationError(
                f"step {now} of {scenario.clock.steps} leaves nothing to act in", scenario=scenario.id,
                field="failure.step" if failure else "clock.now", way_out="take a step with at least one more behind it",
            )  # fmt: skip
        return Scene(
            id=f"{scenario.id}@{now}" + (f"-{kind}" if kind else ""), domain="crowd", log=scenario.log,
            scenario=Ref(scenario.id, scenario.split, scenario.log), clock=scenario.clock.at(now), origin=scenario.origin,
            lineage=scenario.lineage, world=scenario.world, failure=kind,
        )  # fmt: skip


class SocialForceConfig(Config):
    """How people differ from those in the record."""

    hurry: float = Field(
        default=0.15, description="standard deviation of the logarithm of each one's wanted speed over the record's [1]", ge=0.0
    )
    inattentive: float = Field(
        default=0.3, description="share of people who take no notice of the robot any more [1]", ge=0.0, le=1.0
    )
    aside: float = Field(default=0.4, description="standard deviation of where each is bound to, to each side [m]", ge=0.0)
    delay: float = Field(default=0.3, description="standard deviation of when those who wait set off [s]", ge=0.0)


class SocialForce:
    """From now on everybody walks by social forces, with speeds, goals, delays and attention drawn for each variant."""

    def __init__(self, config: SocialForceConfig) -> None:
        self.config = config

    def vary(self, scene: Scene[World], count: int, seed: int) -> Sequence[Scene[World]]:
        """``count`` scenes with the same people in the same places now, who go on otherwise."""
        return [self._variant(scene, number, np.random.default_rng((seed, number))) for number in range(count)]

    def _variant(self, scene: Scene[World], number: int, rng: np.random.Generator) -> Scene[World]:
        config, people, now, dt = self.config, scene.world.people, scene.clock.now, scene.clock.dt
        one = len(people)
        speed = people.speed * np.exp(config.hurry * rng.standard_normal(one))
        goal = people.goal + config.aside * rng.standard_normal((one, 2)) * (people.speed > 0)[:, None]
        heed = np.where(rng.random(one) < config.inattentive, 0.0, people.heed)
        later = np.rint(config.delay / dt * rng.standard_normal(one)).astype(np.int64)
        wait = np.where(people.wait > now, np.maximum(people.wait + later, now), people.wait)
        control = np.where(people.valid[:, now], np.uint8(Control.SOCIAL), people.control)
        varied = replace(people, speed=speed, goal=goal, heed=heed, wait=wait, control=control)
        return replace(
            scene,
            id=f"{scene.id}/social-force-{number}",
            variant=f"social-force {number}",
            world=replace(scene.world, people=varied),
        )


__all__ = ["CrowdReplay", "CrowdReplayConfig", "SocialForce", "SocialForceConfig"]
