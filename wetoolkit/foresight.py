"""What a policy would do in a scene, written into it, so that behaviours can vary the scene against that and not the record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from wetoolkit.jobs import acted
from wetoolkit.types import Scene, Step
from wetoolkit.work import derive


@dataclass(frozen=True)
class Foresight:
    """Drives scenes and gives them back with the drive as their record."""

    simulator: Any
    policy: Any
    name: str
    links: Sequence[Step]  # of the policy, of the simulator
    seed: int

    def __call__(self, scene: Scene[Any]) -> Scene[Any]:
        """The scene, its world and clock those of the drive, its Lineage saying so."""
        seed = derive(self.seed, "foresee", scene.id)
        (rollout,) = acted(self.simulator, self.policy, self.name, self.links, [scene], [seed], None)
        return replace(scene, world=rollout.world, clock=rollout.clock, lineage=rollout.lineage)


__all__ = ["Foresight"]
