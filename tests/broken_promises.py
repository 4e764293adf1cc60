"""More parts that break one promise each: of configs, order, saving, and of plugin modules. See ``broken_parts``."""

from dataclasses import dataclass, replace

import toy_contracts as toy
from broken_parts import Learns, Loads, Rebuilds, Scored, Simulates, Softmax, Straight, Varies, breaks
from pydantic import Field, field_validator

from wetoolkit.config import Config
from wetoolkit.testing import PluginContract
from wetoolkit.testing.fake_learning import ToyPolicy
from wetoolkit.testing.fakes import ToyReward, ToyWorld
from wetoolkit.types import Plan, Role, Term

RADIUS = "nobody may come nearer than this [m]"


class Forgiving(Config):
    radius: float = Field(0.6, description=RADIUS)

    @field_validator("radius", mode="before")
    @classmethod
    def or_the_default(cls, value):
        return value if isinstance(value, int | float) else 0.6


class Fragile(Config):
    radius: float = Field(0.6, description=RADIUS)

    @field_validator("radius", mode="before")
    @classmethod
    def looked_up(cls, value):
        return {0.6: 0.6, 1: 1.0}[value]  # KeyError is none of ours


class Unitless(Config):
    radius: float = Field(0.6, description="nobody may come nearer than this")


@breaks(toy.Reward, "test_a_wrong_setting_is_a_clear_error")
class TakesAnyNumber(ToyReward):
    def __init__(self):
        super().__init__(Forgiving())


@breaks(toy.Reward, "test_a_wrong_setting_is_a_clear_error")
class ChokesOnASetting(ToyReward):
    def __init__(self):
        super().__init__(Fragile())


@breaks(toy.Reward, "test_numbers_have_units")
class SaysNoUnit(ToyReward):
    def __init__(self):
        super().__init__(Unitless())


# Saving


@dataclass(frozen=True)
class OddWorld(ToyWorld):
    names: object = frozenset({"a set is no tensor"})


@breaks(toy.Dataset, "test_scenarios_can_be_saved")
class LoadsSets(Loads):
    def load(self, ref):
        scenario = super().load(ref)
        world = scenario.world
        return replace(scenario, world=OddWorld(world.body, world.others, world.valid))


@breaks(toy.Reconstructor, "test_scenes_can_be_saved")
class RebuildsSets(Rebuilds):
    def reconstruct(self, scenario, failure, seed):
        return replace(super().reconstruct(scenario, failure, seed), assets={"map": {1}})


@breaks(toy.Behaviour, "test_scenes_can_be_saved")
class VariesSets(Varies):
    def vary(self, scene, count, seed):
        return [replace(varied, assets={"map": {1}}) for varied in super().vary(scene, count, seed)]


@breaks(toy.Simulator, "test_rollouts_can_be_saved")
class RecordsSets(Simulates):
    def rollout(self, scenes, policy, seeds, horizon=None):
        return [replace(one, settings={"rates": {1}}) for one in super().rollout(scenes, policy, seeds, horizon)]


@breaks(toy.Policy, "test_a_saved_policy_is_the_same_policy")
class RemembersBesidesItsState(Softmax):
    def __init__(self, config=None, weights=None, scale=3.0, asked=False):
        super().__init__(config, weights, scale)
        self.asked = asked

    def state(self):
        self.asked = True
        return super().state()

    def with_state(self, state):
        known = super().with_state(state)
        return Softmax(known.config, known.weights * (1 if self.asked else -1), known.scale)


class Grown(Softmax):
    def state(self):
        return {**super().state(), "moments": self.weights**2}


@breaks(toy.Algorithm, "test_the_trained_policy_can_be_saved")
class GivesAGrownPolicy(Learns):
    def train(self, policy, reference, experience, seed, progress=None):
        trained = super().train(policy, reference, experience, seed, progress)
        return replace(trained, policy=Grown(trained.policy.config, trained.policy.weights, trained.policy.scale))


# Order


def backwards(items):
    """Whether these are in another order than the toy's data set lists them."""
    return len(items) > 1 and items[0].id > items[-1].id


@breaks(toy.Reconstructor, "test_order_of_scenarios_does_not_matter")
class RemembersTheLast(Rebuilds):
    last = ""

    def reconstruct(self, scenario, failure, seed):
        third, second = toy.scenarios()[2].id, toy.scenarios()[1].id
        after, self.last = self.last, scenario.id
        scene = super().reconstruct(scenario, failure, seed)
        return replace(scene, origin=(1.0, 0.0, 0.0)) if (after, scenario.id) == (third, second) else scene


def mark(observation):
    """One number for each row, the same wherever it stands."""
    return observation.arrays["others"].sum((1, 2))


SEEN = mark(toy.Policy().observation())


@breaks(toy.Policy, "test_order_of_the_batch_does_not_matter")
class LooksAtTheFirstRow(Straight):
    spec = ToyPolicy.spec

    def act(self, observation, seed):
        turned = observation.size == len(SEEN) and (mark(observation) == SEEN[::-1]).all()
        return Plan(super().act(observation, seed).trajectories * (2 if turned else 1))


@breaks(toy.Simulator, "test_order_of_scenes_does_not_matter")
class LooksAtTheFirstScene(Simulates):
    def rollout(self, scenes, policy, seeds, horizon=None):
        found = super().rollout(scenes, policy, seeds, horizon)
        return [replace(one, log_probs=one.log_probs - backwards(scenes)) for one in found]


@breaks(toy.Reward, "test_order_of_situations_does_not_matter")
class LooksAtTheFirstSituation(Scored):
    def score(self, situations, proposals):
        scores = super().score(situations, proposals)
        return replace(scores, total=scores.total / (1 + backwards(situations)))


@breaks(toy.Reward, "test_terms_are_within_bounds")
class PraisesTooMuch(Scored):
    def score(self, situations, proposals):
        scores = super().score(situations, proposals)
        return replace(scores, terms={**scores.terms, "praise": Term(scores.total + 1.5, Role.WEIGHTED, 1.0)})


# Plugin modules: tests/broken_plugins/*.py


class Plugin(PluginContract):
    limit = 600.0  # these tests must not depend on how fast the machine is
    tries = 1


for name, promise in {
    "sleeps": "test_imports_fast",
    "heavy": "test_imports_nothing_heavy",
    "chatty": "test_announces_what_the_core_understands",
    "misspelt": "test_announces_what_the_core_understands",
    "unstamped": "test_contract_version_is_stamped",
    "lost": "test_targets_have_the_methods_of_their_kind",
    "another_kind": "test_targets_have_the_methods_of_their_kind",
}.items():
    limit = {"limit": 0.001} if name == "sleeps" else {}  # it sleeps 1 s; 1 ms is allowed
    breaks(Plugin, promise, module=f"broken_plugins.{name}", **limit)(type(name.capitalize(), (), {}))
