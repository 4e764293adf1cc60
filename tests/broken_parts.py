"""Parts that break one promise each, by the name of the test that must fail. Top level, so that they can be pickled."""

from dataclasses import replace

import numpy as np
import toy_contracts as toy
from pydantic import Field

from wetoolkit.config import Config
from wetoolkit.events import Event
from wetoolkit.executors import Serial, SerialConfig
from wetoolkit.testing import ExecutorContract
from wetoolkit.testing.fake_learning import ToyImitation, ToyImitationConfig, ToyPolicy, ToyStraight, ToyStraightConfig
from wetoolkit.testing.fakes import (
    DT,
    Toy,
    ToyBehaviour,
    ToyBehaviourConfig,
    ToyDataset,
    ToyMiner,
    ToyMinerConfig,
    ToyReconstructor,
    ToyReconstructorConfig,
    ToyReward,
    ToyRewardConfig,
    ToySimulator,
    ToySimulatorConfig,
)
from wetoolkit.types import Defect, Outcome, Plan

BROKEN = []  # (contract with the broken part, the one test that must fail)


def breaks(contract, promise, **settings):
    """Register a broken part (a class that can be called without arguments) under the promise it breaks."""

    def note(part):
        BROKEN.append((type(part.__name__, (contract,), {"make": lambda self: part(), **settings}), promise))
        return part

    return note


class Executor(ExecutorContract):
    pass


# What every part promises


class Loose(ToyRewardConfig, extra="ignore"):
    pass


class Bare(Config):
    radius: float = 0.6


class Open(Config, frozen=False):
    radius: float = Field(0.6, description="nobody may come nearer than this [m]")


@breaks(toy.Reward, "test_config_refuses_unknown_settings")
class TakesAnySetting(ToyReward):
    def __init__(self):
        super().__init__(Loose())


@breaks(toy.Reward, "test_config_is_frozen_and_described")
class DescribesNothing(ToyReward):
    def __init__(self):
        super().__init__(Bare())


@breaks(toy.Reward, "test_config_is_frozen_and_described")
class CanBeChanged(ToyReward):
    def __init__(self):
        super().__init__(Open())


class Varies(ToyBehaviour):
    def __init__(self):
        super().__init__(ToyBehaviourConfig())


@breaks(toy.Behaviour, "test_equal_arguments_give_equal_results")
class CountsItsCalls(Varies):
    calls = 0

    def vary(self, scene, count, seed):
        self.calls += 1
        return super().vary(scene, count, seed + self.calls)


class Remembered:
    calls = 0


@breaks(toy.Behaviour, "test_inputs_are_not_changed")
class WritesIntoTheScene(Varies):
    def vary(self, scene, count, seed):
        varied = super().vary(scene, count, seed)
        scene.world.others[:] += 1
        return varied


@breaks(toy.Behaviour, "test_survives_pickling")
class HoldsALambda(Varies):
    def __init__(self):
        super().__init__()
        self.shift = lambda: 0.1


@breaks(toy.Behaviour, "test_survives_pickling")
class ForgetsWhenPickled(Varies):
    def __setstate__(self, state):
        self.config = ToyBehaviourConfig(spread=3.0)


# Dataset


class Loads(ToyDataset):
    def __init__(self):
        super().__init__(toy.SMALL)


@breaks(toy.Dataset, "test_index_is_stable", limit=2)
class ListsInAnotherOrder(Loads):
    def index(self, split):
        Remembered.calls += 1
        first, second, *rest = super().index(split)
        return [first, second, *rest[:: (-1) ** Remembered.calls]]


@breaks(toy.Dataset, "test_ids_are_unique")
class ListsTwice(Loads):
    def index(self, split):
        refs = super().index(split)
        return [*refs, refs[-1]]


@breaks(toy.Dataset, "test_train_val_and_test_share_no_log")
class SharesALog(Loads):
    def index(self, split):
        return [replace(ref, log="the only log") for ref in super().index(split)]


@breaks(toy.Dataset, "test_loads_what_the_index_lists")
class LoadsAnother(Loads):
    def load(self, ref):
        return replace(super().load(ref), split="elsewhere")


@breaks(toy.Dataset, "test_scenarios_are_valid")
class LoadsRubbish(Loads):
    def load(self, ref):
        scenario = super().load(ref)
        return replace(scenario, clock=replace(scenario.clock, dt=0.0))


@breaks(toy.Dataset, "test_lineage_leads_back_to_the_log")
class ForgetsItsName(Loads):
    def load(self, ref):
        scenario = super().load(ref)
        return replace(scenario, lineage=replace(scenario.lineage, dataset=""))


@breaks(toy.Dataset, "test_order_of_loading_does_not_matter")
class LooksAtTheFirst(Loads):
    first = None

    def load(self, ref):
        self.first = self.first or ref.id
        scenario = super().load(ref)
        return replace(scenario, origin=(float(len(self.first) + int(self.first[-1])), 0.0, 0.0))


@breaks(toy.Dataset, "test_unknown_split_is_a_clear_error")
class TakesAnySplit(Loads):
    def index(self, split):
        return super().index(split) if split in self.splits() else []


@breaks(toy.Dataset, "test_labels_belong_to_the_index")
class LabelsStrangers(Loads):
    def labels(self, split):
        return {**super().labels(split), "stranger": "?"}


@breaks(toy.Dataset, "test_recordings_are_those_of_the_windows")
class BeginsInTheMiddle(Loads):
    def recordings(self, split):
        return [replace(ref, id=ref.log) for ref in {ref.log: ref for ref in self.index(split)}.values()]

    def recording(self, ref):
        return replace(self.load(ref), id=ref.id)  # a window, its present in the middle


@breaks(toy.Dataset, "test_defects_say_where_and_what")
class ComplainsVaguely(Loads):
    @classmethod
    def recognise(cls, path):
        return None

    def inspect(self):
        return {"logs": "12"}

    def defects(self):
        yield Defect("", "", "something is wrong", "repaired")


@breaks(toy.Dataset, "test_repairs_are_counts")
class CountsBackwards(Loads):
    def repairs(self):
        return {"widened": -1}


# Domain


@breaks(toy.Domain, "test_observation_never_depends_on_the_future")
class Peeks(Toy):
    def observe(self, situations, spec):
        seen = super().observe(situations, spec)
        ahead = [(s.world.body[s.step + 1] - s.world.body[s.step]) / DT for s in situations]
        return replace(seen, arrays={**seen.arrays, "body": np.array(ahead, np.float32).reshape(-1, 2)})


@breaks(toy.Domain, "test_only_what_is_asked_is_made")
class MakesMore(Toy):
    def observe(self, situations, spec):
        seen = super().observe(situations, spec)
        return replace(seen, arrays={**seen.arrays, "extra": np.zeros((seen.size, 1))})


@breaks(toy.Domain, "test_limits_are_kept")
class GivesOneMore(Toy):
    def observe(self, situations, spec):
        seen = super().observe(situations, spec)
        return replace(seen, arrays={**seen.arrays, "others": np.pad(seen.arrays["others"], ((0, 0), (0, 1), (0, 0)))})


@breaks(toy.Domain, "test_observation_is_valid")
class SeesNoNumbers(Toy):
    def observe(self, situations, spec):
        seen = super().observe(situations, spec)
        return replace(seen, arrays={**seen.arrays, "body": seen.arrays["body"] * np.nan})


@breaks(toy.Domain, "test_a_batch_equals_its_singles")
class CentresTheBatch(Toy):
    def observe(self, situations, spec):
        seen = super().observe(situations, spec)
        return replace(seen, arrays={**seen.arrays, "others": seen.arrays["others"] + seen.size})


@breaks(toy.Domain, "test_inputs_are_not_changed")
class WritesIntoTheWorld(Toy):
    def observe(self, situations, spec):
        for situation in situations:
            situation.world.body[0] -= 1
        return super().observe(situations, spec)


@breaks(toy.Domain, "test_demonstrations_have_the_plans_shape")
class DemonstratesLess(Toy):
    def demonstrate(self, situations):
        plans, known = super().demonstrate(situations)
        return plans[:, 1:], known


@breaks(toy.Domain, "test_an_empty_batch_is_an_empty_observation")
class NeedsOne(Toy):
    def observe(self, situations, spec):
        assert situations
        return super().observe(situations, spec)


# Reconstructor


class Rebuilds(ToyReconstructor):
    def __init__(self):
        super().__init__(ToyReconstructorConfig())


@breaks(toy.Reconstructor, "test_scenes_are_valid")
class RebuildsNoNumbers(Rebuilds):
    def reconstruct(self, scenario, failure, seed):
        scene = super().reconstruct(scenario, failure, seed)
        return replace(scene, world=replace(scene.world, body=scene.world.body * np.nan))


@breaks(toy.Reconstructor, "test_the_clock_stands_at_the_failure")
class StaysAtNow(Rebuilds):
    def reconstruct(self, scenario, failure, seed):
        return replace(super().reconstruct(scenario, failure, seed), clock=scenario.clock)


@breaks(toy.Reconstructor, "test_scenes_name_their_origin")
class LosesTheLog(Rebuilds):
    def reconstruct(self, scenario, failure, seed):
        return replace(super().reconstruct(scenario, failure, seed), log="")


@breaks(toy.Reconstructor, "test_ids_are_unique")
class NamesAllTheSame(Rebuilds):
    def reconstruct(self, scenario, failure, seed):
        return replace(super().reconstruct(scenario, failure, seed), id="scene")


# Behaviour


@breaks(toy.Behaviour, "test_no_more_than_asked")
class GivesMore(Varies):
    def vary(self, scene, count, seed):
        return super().vary(scene, count + 1, seed)


@breaks(toy.Behaviour, "test_ids_are_new_and_unique")
class KeepsTheId(Varies):
    def vary(self, scene, count, seed):
        return [replace(varied, id=scene.id) for varied in super().vary(scene, count, seed)]


@breaks(toy.Behaviour, "test_everybody_is_kept")
class DropsOne(Varies):
    def vary(self, scene, count, seed):
        def without(world):
            return replace(world, others=world.others[1:], valid=world.valid[1:])

        return [replace(varied, world=without(varied.world)) for varied in super().vary(scene, count, seed)]


@breaks(toy.Behaviour, "test_scenes_are_valid")
class VariesIntoNothing(Varies):
    def vary(self, scene, count, seed):
        varied = super().vary(scene, count, seed)
        return [replace(one, world=replace(one.world, others=one.world.others * np.nan)) for one in varied]


@breaks(toy.Behaviour, "test_origin_is_kept")
class ForgetsTheLog(Varies):
    def vary(self, scene, count, seed):
        return [replace(varied, log="another") for varied in super().vary(scene, count, seed)]


@breaks(toy.Behaviour, "test_reactions_are_valid")
class ReactsWithNaN(Varies):
    def react(self, worlds, clocks, seeds):
        return [replace(one, states=one.states * np.nan) for one in super().react(worlds, clocks, seeds)]


@breaks(toy.Behaviour, "test_a_batch_of_reactions_equals_its_singles")
class ReactsByPlaceInTheBatch(Varies):
    def react(self, worlds, clocks, seeds):
        return [replace(one, states=one.states + i) for i, one in enumerate(super().react(worlds, clocks, seeds))]


@breaks(toy.Behaviour, "test_reactions_do_not_see_the_future")
class KnowsWhereTheyGo(Varies):
    def react(self, worlds, clocks, seeds):
        found = super().react(worlds, clocks, seeds)
        return [replace(one, states=one.states + world.others[:, -1:]) for one, world in zip(found, worlds, strict=True)]


# Policy


class Straight(ToyStraight):
    def __init__(self):
        super().__init__(ToyStraightConfig())


class Softmax(ToyPolicy):
    def __init__(self, config=None, weights=None, scale=3.0):
        base = toy.policy()
        super().__init__(config or base.config, base.weights if weights is None else weights, scale)

    def with_state(self, state):
        known = super().with_state(state)
        return type(self)(known.config, known.weights, known.scale)


@breaks(toy.Policy, "test_plans_have_the_domains_shape")
class PlansTooLittle(Straight):
    def act(self, observation, seed):
        return Plan(super().act(observation, seed).trajectories[:, 1:])


@breaks(toy.Policy, "test_a_batch_equals_its_singles")
class LooksAtTheBatch(Straight):
    def act(self, observation, seed):
        return Plan(super().act(observation, seed).trajectories * observation.size)


class SampledPolicy(toy.Policy):
    temperature = 1.0


@breaks(SampledPolicy, "test_a_seed_an_item_equals_singles")
class TakesTheFirstSeed(Softmax):
    def __init__(self, config=None, weights=None, scale=3.0):
        super().__init__(config or toy.policy(1.0).config, weights, scale)

    def act_each(self, observation, seeds):
        return super().act_each(observation, seeds[:1] * len(seeds))


@breaks(toy.Policy, "test_log_probabilities_are_normalised")
class SumsToMore(Softmax):
    def log_prob(self, observation):
        return super().log_prob(observation) + 0.5


@breaks(toy.Policy, "test_the_choice_is_one_of_the_proposals")
class SaysAnotherChoice(Softmax):
    def act(self, observation, seed):
        plan = super().act(observation, seed)
        return replace(plan, choice=(plan.choice + 1) % len(self.proposals))


@breaks(toy.Policy, "test_state_round_trip_gives_the_same_policy")
class ForgetsItsScale(Softmax):
    def with_state(self, state):
        return Softmax(self.config, super().with_state(state).weights, 1.0)


@breaks(toy.Policy, "test_a_strange_state_is_a_clear_error")
class TakesAnyState(Softmax):
    def with_state(self, state):
        return Softmax(self.config, state.get("weights", self.weights), float(np.ravel(state.get("scale", 3.0))[0]))


# Miner


class Mines(ToyMiner):
    def __init__(self):
        super().__init__(ToyMinerConfig())


@breaks(toy.Miner, "test_finds_something_here")
class FindsNothing(Mines):
    def mine(self, scenarios, policy, reward, seed):
        return []


@breaks(toy.Miner, "test_failures_are_valid")
class Exaggerates(Mines):
    def mine(self, scenarios, policy, reward, seed):
        return [replace(found, severity=2.0) for found in super().mine(scenarios, policy, reward, seed)]


@breaks(toy.Miner, "test_failures_come_in_scenario_order")
class MinesBackwards(Mines):
    def mine(self, scenarios, policy, reward, seed):
        return super().mine(scenarios, policy, reward, seed)[::-1]


@breaks(toy.Miner, "test_each_scenario_is_judged_by_itself")
class ComparesScenarios(Mines):
    def mine(self, scenarios, policy, reward, seed):
        found = super().mine(scenarios, policy, reward, seed)
        return [replace(one, severity=one.severity / len(scenarios)) for one in found]


@breaks(toy.Miner, "test_settling_only_chooses")
class SettlesForMore(Mines):
    def settle(self, failures):
        return [replace(failures[0], kind="invented")]


# Simulator


class Simulates(ToySimulator):
    def __init__(self):
        super().__init__(ToySimulatorConfig())


@breaks(toy.Simulator, "test_one_valid_rollout_a_scene")
class RecordsAnotherSeed(Simulates):
    def rollout(self, scenes, policy, seeds, horizon=None):
        return [replace(one, seed=one.seed + 1) for one in super().rollout(scenes, policy, seeds, horizon)]


@breaks(toy.Simulator, "test_decisions_lie_within_the_horizon")
class IgnoresTheHorizon(Simulates):
    def rollout(self, scenes, policy, seeds, horizon=None):
        return super().rollout(scenes, policy, seeds, None)


@breaks(toy.Simulator, "test_a_batch_equals_its_singles")
class MixesScenes(Simulates):
    def rollout(self, scenes, policy, seeds, horizon=None):
        found = super().rollout(scenes, policy, seeds, horizon)
        return [replace(one, log_probs=one.log_probs - len(scenes)) for one in found]


def another_future(self, scene):
    body = scene.world.body.copy()
    body[scene.clock.now + 1 :] += 3.0
    return replace(scene, world=replace(scene.world, body=body))


@breaks(toy.Simulator, "test_the_logged_future_is_not_followed", perturb=another_future)
class FollowsTheLog(Simulates):
    def rollout(self, scenes, policy, seeds, horizon=None):
        found = super().rollout(scenes, policy, seeds, horizon)
        return [replace(one, plans=one.plans + scene.world.body[-1]) for one, scene in zip(found, scenes, strict=True)]


# Reward


class Scored(ToyReward):
    def __init__(self):
        super().__init__(ToyRewardConfig())


@breaks(toy.Reward, "test_scores_are_valid")
class ScoresNoNumbers(Scored):
    def score(self, situations, proposals):
        scores = super().score(situations, proposals)
        return replace(scores, total=scores.total * np.nan)


@breaks(toy.Reward, "test_scores_carry_the_metric")
class StampsAnother(Scored):
    def score(self, situations, proposals):
        scores = super().score(situations, proposals)
        return replace(scores, metric=replace(scores.metric, version="2.0"))


@breaks(toy.Reward, "test_events_agree_with_success")
class FailsSuccesses(Scored):
    def events(self, rollouts):
        return [[Event("collision", one.clock.now, 0.0, True)] for one in rollouts]


@breaks(toy.Reward, "test_gates_multiply_the_total")
class LeavesTheGateOpen(Scored):
    def score(self, situations, proposals):
        scores = super().score(situations, proposals)
        return replace(scores, total=np.maximum(scores.total, 0.1))


@breaks(toy.Reward, "test_a_batch_equals_its_singles")
class SharesTheScore(Scored):
    def score(self, situations, proposals):
        scores = super().score(situations, proposals)
        return replace(scores, total=scores.total / len(situations))


@breaks(toy.Reward, "test_order_of_proposals_does_not_matter")
class LikesTheFirst(Scored):
    def score(self, situations, proposals):
        scores = super().score(situations, proposals)
        return replace(scores, total=scores.total * 0.99 ** np.arange(scores.total.shape[1]))


@breaks(toy.Reward, "test_shared_proposals_are_everybodys_own")
class HalvesTheirOwn(Scored):
    def score(self, situations, proposals):
        scores = super().score(situations, proposals)
        return replace(scores, total=scores.total / (proposals.ndim - 2))


@breaks(toy.Reward, "test_a_proposal_is_scored_by_itself")
class ComparesProposals(Scored):
    def score(self, situations, proposals):
        scores = super().score(situations, proposals)
        return replace(scores, total=scores.total / scores.total.shape[1])


@breaks(toy.Reward, "test_rollouts_are_judged_one_by_one")
class ComparesRollouts(Scored):
    def judge(self, rollouts):
        scores = super().judge(rollouts)
        return replace(scores, total=scores.total / len(rollouts))


# Algorithm


class Learns(ToyImitation):
    def __init__(self):
        super().__init__(ToyImitationConfig(passes=2))


@breaks(toy.Algorithm, "test_inputs_are_not_changed")
class TrainsInPlace(Learns):
    def train(self, policy, reference, experience, seed, progress=None):
        trained = super().train(policy, reference, experience, seed, progress)
        policy.weights[:] = trained.policy.weights
        return trained


@breaks(toy.Algorithm, "test_training_changes_the_policy")
class LearnsNothing(Learns):
    def train(self, policy, reference, experience, seed, progress=None):
        return replace(super().train(policy, reference, experience, seed, progress), policy=policy)


class Backwards(Softmax):
    def act(self, observation, seed):
        return Plan(super().act(observation, seed).trajectories[:, 1:])


@breaks(toy.Algorithm, "test_the_trained_policy_acts")
class TrainsAnother(Learns):
    def train(self, policy, reference, experience, seed, progress=None):
        trained = super().train(policy, reference, experience, seed, progress)
        return replace(trained, policy=Backwards(None, trained.policy.weights))


@breaks(toy.Algorithm, "test_metrics_are_a_table_of_numbers")
class TellsColumnsOfTwoLengths(Learns):
    def train(self, policy, reference, experience, seed, progress=None):
        trained = super().train(policy, reference, experience, seed, progress)
        return replace(trained, metrics={**trained.metrics, "loss": [1.0]})


@breaks(toy.Algorithm, "test_progress_is_told_to_the_end")
class TellsNothing(Learns):
    def train(self, policy, reference, experience, seed, progress=None):
        return super().train(policy, reference, experience, seed)


# Executor


class Works(Serial):
    def __init__(self):
        super().__init__(SerialConfig())


@breaks(Executor, "test_order_is_kept")
class GivesTheLastFirst(Works):
    def map(self, function, items):
        return list(super().map(function, items))[::-1]


@breaks(Executor, "test_an_error_is_one_outcome")
class HidesTheReason(Works):
    def map(self, function, items):
        for outcome in super().map(function, items):
            yield outcome if outcome.ok else replace(outcome, error="failed", detail="")


@breaks(Executor, "test_costs_are_told")
class TellsNoCost(Works):
    def map(self, function, items):
        for outcome in super().map(function, items):
            yield replace(outcome, peak_rss=0)


@breaks(Executor, "test_nothing_is_mapped_to_nothing")
class InventsAnItem(Works):
    def map(self, function, items):
        yield from super().map(function, items) if items else [Outcome(0)]
