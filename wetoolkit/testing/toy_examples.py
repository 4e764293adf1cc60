"""The toy's examples: few of its scenarios, common and rare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from wetoolkit.testing.examples import Examples
from wetoolkit.testing.fake_learning import ToyPolicy, ToyPolicyConfig, ToyStraight, ToyStraightConfig
from wetoolkit.testing.fakes import RADIUS, Toy, ToyDataset, ToyDatasetConfig, ToyReward, ToyRewardConfig, ToyWorld
from wetoolkit.types import ObservationSpec, Scenario


class ToyExamples(Examples[ToyWorld]):
    """Two common and four rare scenarios; a policy that goes straight on; the toy's own reward."""

    def domain(self) -> Toy:
        return Toy()

    def scenarios(self) -> list[Scenario[ToyWorld]]:
        dataset = ToyDataset(ToyDatasetConfig(logs=2, per_log=2, seed=0))
        refs = [*dataset.index("test")[:2], *dataset.index("rare-test")]
        return [dataset.load(ref) for ref in refs]

    def spec(self) -> ObservationSpec:
        return ToyPolicy.spec

    def members(self, world: ToyWorld) -> Sequence[int]:
        return range(len(world.others))

    def another_future(self, world: ToyWorld, step: int) -> ToyWorld:
        body, others, valid = world.body.copy(), world.others.copy(), world.valid.copy()
        body[step + 1 :] += 9.0
        others[:, step + 1 :] -= 9.0
        valid[:, step + 1 :] = False
        return ToyWorld(body, others, valid)

    def another_drive(self, world: ToyWorld, step: int) -> ToyWorld:
        body = world.body.copy()
        body[step + 1 :] += 3.0
        return replace(world, body=body)

    def policy(self) -> ToyStraight:
        return ToyStraight(ToyStraightConfig())

    def learner(self) -> ToyPolicy:
        return ToyPolicy(ToyPolicyConfig(temperature=0.0))

    def reward(self) -> ToyReward:
        return ToyReward(ToyRewardConfig(radius=RADIUS))
