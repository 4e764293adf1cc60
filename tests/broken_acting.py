"""Parts that break one promise each: policies, miners, simulators, rewards, algorithms and executors. See ``broken_parts``."""

from dataclasses import replace

import numpy as np
import toy_contracts as toy
from broken_parts import Executor, Learns, Mines, Scored, Simulates, Softmax, Straight, Works, breaks

from wetoolkit.events import Event
from wetoolkit.testing.fakes import ToySimulator
from wetoolkit.types import Outcome, Plan

# Policy


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


class Forgetful(ToySimulator):
    def rollout(self, scenes, policy, seeds, horizon=None):
        return [replace(one, images={}) for one in super().rollout(scenes, policy, seeds, horizon)]


@breaks(toy.Simulator, "test_policies_see_what_is_rendered")
class ForgetsThePictures(Simulates):
    def with_renderers(self, renderers):
        return Forgetful(self.config, renderers)


class Trusting(ToySimulator):
    def rollout(self, scenes, policy, seeds, horizon=None):
        return [replace(one, trust=np.ones(len(one.trust))) for one in super().rollout(scenes, policy, seeds, horizon)]


@breaks(toy.Simulator, "test_policies_see_what_is_rendered")
class TrustsEverything(Simulates):
    def with_renderers(self, renderers):
        return Trusting(self.config, renderers)


# Reward


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
