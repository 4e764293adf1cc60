"""The reconstructor ``replay``: a log's own world as a scene to act in, without sensors."""

from __future__ import annotations

from wetoolkit.config import Config
from wetoolkit.errors import ValidationError
from wetoolkit.types import Failure, Ref, Scenario, Scene
from wetoolkit_driving.types import World


class ReplayConfig(Config):
    """Settings of the reconstructor ``replay``: it has none."""


class Replay:
    """Hands the world over as it is; every agent keeps what controls it (the log, unless the data set says otherwise)."""

    def __init__(self, config: ReplayConfig) -> None:
        self.config = config

    def reconstruct(self, scenario: Scenario[World], failure: Failure | None, seed: int) -> Scene[World]:
        """A Scene whose clock stands at the failure's step, or at the scenario's own ``now``. The seed is not used."""
        now, kind = (scenario.clock.now, "") if failure is None else (failure.step, failure.kind)
        if not 0 <= now < scenario.clock.steps - 1:
            raise ValidationError(
                f"step {now} of {scenario.clock.steps} leaves nothing to act in",
                field="failure.step" if failure else "clock.now",
                scenario=scenario.id,
                way_out="take a step with at least one more behind it; mine and reconstruct with the same data set settings",
            )
        return Scene(
            id=f"{scenario.id}@{now}" + (f"-{kind}" if kind else ""),
            domain="driving",
            log=scenario.log,
            scenario=Ref(scenario.id, scenario.split, scenario.log),
            clock=scenario.clock.at(now),
            origin=scenario.origin,
            lineage=scenario.lineage,
            world=scenario.world,
            failure=kind,
        )


__all__ = ["Replay", "ReplayConfig"]
