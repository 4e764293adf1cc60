"""Contracts of policy, miner and simulator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from wetoolkit.errors import WetoolkitError
from wetoolkit.kinds import Miner, Policy, Reward, SupportsLogProb, SupportsSeeds, SupportsSettle, SupportsState
from wetoolkit.testing.compare import difference
from wetoolkit.testing.contracts import Contract, promise, skip
from wetoolkit.testing.saved import saved_and_loaded
from wetoolkit.testing.showing import ShowingContract
from wetoolkit.types import Failure, Observation, PlanSpec, Rollout, Scenario, Scene

NORMALISED = 1e-4  # by how much a row of probabilities may miss 1 (float32)


class PolicyContract(Contract):
    """``make`` gives a policy that is ready to act, ``observation`` a batch of several, ``plan`` the domain's PlanSpec."""

    def make(self) -> Policy[Any]:
        raise NotImplementedError("def make(self): return MyPolicy(MyPolicyConfig())")

    def observation(self) -> Observation[Any]:
        given = self.given("def observation(self): return MyDomain().observe(situations, MyPolicy.spec)")
        return given.observation(self.make().spec)

    def plan(self) -> PlanSpec:
        return self.given("def plan(self): return MyDomain.plan").domain().plan

    def inputs(self) -> tuple[Any, ...]:
        return (self.observation(),)

    def call(self, part: Any, *inputs: Any) -> Any:
        return part.act(inputs[0], 7)

    def test_plans_have_the_domains_shape(self) -> None:
        seen = self.observation()
        try:
            self.make().act(seen, 0).validate(self.plan(), seen.size)
        except WetoolkitError as error:
            promise(False, "plans have the domain's shape", str(error))

    def test_a_batch_equals_its_singles(self) -> None:
        policy, seen = self.make(), self.observation()
        plans = policy.act(seen, 7)
        for row in range(seen.size):
            one = policy.act(seen.rows(slice(row, row + 1)), 7)
            found = difference(plans.trajectories[row], one.trajectories[0], self.tolerance)
            promise(not found, "a batch equals its singles", f"item {row}: {found}")

    def test_a_seed_an_item_equals_singles(self) -> None:
        policy, seen = self.make(), self.observation()
        if not isinstance(policy, SupportsSeeds):
            return skip("takes one seed a call")
        seeds = [7 + row for row in range(seen.size)]
        plans = policy.act_each(seen, seeds)
        for row, seed in enumerate(seeds):
            one = self.make().act(seen.rows(slice(row, row + 1)), seed)
            found = difference(plans.trajectories[row], one.trajectories[0], self.tolerance)
            promise(not found, "act_each equals act of each item with its seed", f"item {row}: {found}")
        return None

    def test_order_of_the_batch_does_not_matter(self) -> None:
        policy, seen = self.make(), self.observation()
        back = policy.act(seen.rows(slice(None, None, -1)), 7)
        found = difference(policy.act(seen, 7).trajectories, back.trajectories[::-1], self.tolerance)
        promise(not found, "order of the batch does not matter", found)

    def _speaks(self) -> Any:
        policy = self.make()
        if not isinstance(policy, SupportsLogProb):
            skip("no log-probabilities")
        return policy

    def test_log_probabilities_are_normalised(self) -> None:
        policy, seen = self._speaks(), self.observation()
        rows = policy.log_prob(seen)
        shape = (seen.size, len(policy.proposals))
        promise(rows.shape == shape, "log-probabilities are normalised", f"shape {rows.shape}, due {shape}")
        total = np.exp(rows.astype(np.float64)).sum(1)
        promise(bool((abs(total - 1) < NORMALISED).all()), "log-probabilities are normalised", f"rows sum to {total[:3]}")

    def test_the_choice_is_one_of_the_proposals(self) -> None:
        policy, seen = self._speaks(), self.observation()
        plan, name = policy.act(seen, 7), "the choice is one of the proposals"
        promise(plan.choice is not None and plan.log_prob is not None, name, "choice or log_prob is missing")
        found = difference(plan.trajectories, policy.proposals[plan.choice], 1e-5)
        promise(not found, name, f"trajectories against proposals[choice]: {found}")
        due = policy.log_prob(seen)[np.arange(seen.size), plan.choice]
        found = difference(plan.log_prob, due, max(self.tolerance, 1e-5))
        promise(not found, name, f"log_prob against log_prob(observation)[choice]: {found}")

    def _learned(self) -> Any:
        policy = self.make()
        if not isinstance(policy, SupportsState):
            skip("nothing learned to save")
        return policy

    def test_state_round_trip_gives_the_same_policy(self) -> None:
        policy, seen = self._learned(), self.observation()
        again = policy.with_state(policy.state())
        found = difference(policy.act(seen, 7), again.act(seen, 7)) or difference(policy.state(), again.state())
        promise(not found, "a state round trip gives the same policy", found)
        odd = [
            name for name, array in policy.state().items() if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub"
        ]
        promise(not odd, "a state round trip gives the same policy", f"{odd} are no arrays of numbers")

    def test_a_saved_policy_is_the_same_policy(self) -> None:
        policy, fresh = self._learned(), self._learned()
        seen, name = self.observation(), "a saved policy is the same policy"
        try:
            loaded = load(save({key: np.ascontiguousarray(array) for key, array in policy.state().items()}))
        except Exception as error:  # noqa: BLE001 - whatever cannot be saved is the broken promise
            return promise(False, name, f"{type(error).__name__}: {error}")
        copy = policy.with_state(policy.state())
        found = difference(copy.act(seen, 7), fresh.with_state(loaded).act(seen, 7))
        return promise(not found, name, f"loaded into a fresh one: {found}")

    def test_a_strange_state_is_a_clear_error(self) -> None:
        policy = self._learned()
        state = dict(policy.state())
        first = next(iter(state))
        strange = {
            "another name": {**state, "no such array": np.zeros(1)},
            "a lost name": {k: state[k] for k in state if k != first},
        }
        strange["another shape"] = {**state, first: np.zeros((*state[first].shape, 2), state[first].dtype)}
        for what, wrong in strange.items():
            try:
                policy.with_state(wrong)
            except WetoolkitError:
                continue
            except Exception as error:  # noqa: BLE001 - any other error is the broken promise
                promise(False, "a strange state is a clear error", f"{what}: {type(error).__name__}: {error}")
            promise(False, "a strange state is a clear error", f"{what} was taken")


def _place(failure: Failure) -> tuple[str, int, str]:
    return failure.scenario.id, failure.step, failure.kind


class MinerContract(Contract):
    """``make`` gives the miner; ``scenarios``, ``policy`` and ``reward`` what it is tried on (some should fail)."""

    def scenarios(self) -> Sequence[Scenario[Any]]:
        return self.given("def scenarios(self): return [...]").scenarios()

    def policy(self) -> Policy[Any]:
        return self.given("def policy(self): return MyPolicy(...)").policy()

    def reward(self) -> Reward[Any]:
        return self.given("def reward(self): return MyReward(...)").reward()

    def inputs(self) -> tuple[Any, ...]:
        return self.scenarios(), self.policy(), self.reward()

    def call(self, part: Any, *inputs: Any) -> Any:
        return part.mine(*inputs, 0)

    def _mined(self, scenarios: Sequence[Scenario[Any]] | None = None) -> Sequence[Failure]:
        part: Miner[Any] = self.make()
        return part.mine(self.scenarios() if scenarios is None else scenarios, self.policy(), self.reward(), 0)

    def test_finds_something_here(self) -> None:
        promise(bool(self._mined()), "finds something in these scenarios", "give scenarios of which some fail")

    def test_failures_are_valid(self) -> None:
        scenarios = {scenario.id: scenario for scenario in self.scenarios()}
        for failure in self._mined():
            try:
                failure.validate()
            except WetoolkitError as error:
                promise(False, "failures are valid", str(error))
            known = scenarios.get(failure.scenario.id)
            promise(known is not None, "failures are valid", f"nobody gave it {failure.scenario}")
            inside = known is not None and failure.step < known.clock.steps
            promise(inside, "failures are valid", f"step {failure.step} is past the record of {failure.scenario.id}")

    def test_failures_come_in_scenario_order(self) -> None:
        place = {scenario.id: index for index, scenario in enumerate(self.scenarios())}
        order = [place.get(failure.scenario.id, -1) for failure in self._mined()]
        promise(order == sorted(order), "failures come in scenario order", f"{order}")

    def test_each_scenario_is_judged_by_itself(self) -> None:
        singly = [failure for scenario in self.scenarios() for failure in self._mined([scenario])]
        found = difference(sorted(self._mined(), key=_place), sorted(singly, key=_place), self.tolerance)
        promise(not found, "each scenario is judged by itself", found)

    def test_settling_only_chooses(self) -> None:
        part = self.make()
        if not isinstance(part, SupportsSettle):
            return skip("chooses at once")
        mined = self._mined()
        kept = {(failure.scenario.id, failure.step, failure.kind) for failure in part.settle(mined)}
        strange = kept - {(failure.scenario.id, failure.step, failure.kind) for failure in mined}
        return promise(not strange, "settling only chooses", f"{sorted(strange)[:3]} were not mined")


class SimulatorContract(ShowingContract):
    """``make`` gives the simulator, ``scenes`` some, ``policy`` who acts, ``horizon`` for how long [s]."""

    def perturb(self, scene: Scene[Any]) -> Scene[Any] | None:
        """The scene with another logged future of the acting body alone; None leaves that promise out."""
        world = self.examples and self.examples.another_drive(scene.world, scene.clock.now)
        return replace(scene, world=world) if world else None

    def inputs(self) -> tuple[Any, ...]:
        return self.scenes(), self.policy(), list(range(len(self.scenes())))

    def call(self, part: Any, *inputs: Any) -> Any:
        return part.rollout(*inputs, self.horizon)

    def _rolled(self) -> list[tuple[Scene[Any], int, Rollout[Any]]]:
        scenes, policy, seeds = self.inputs()
        rollouts = self.make().rollout(scenes, policy, seeds, self.horizon)
        promise(len(rollouts) == len(scenes), "one rollout a scene", f"{len(rollouts)} for {len(scenes)}")
        return list(zip(scenes, seeds, rollouts, strict=True))

    def test_one_valid_rollout_a_scene(self) -> None:
        for scene, seed, rollout in self._rolled():
            try:
                rollout.validate()
            except WetoolkitError as error:
                promise(False, "one valid rollout a scene", f"{scene.id}: {error}")
            got, due = (rollout.scene, rollout.log, rollout.seed, rollout.clock.now), (scene.id, scene.log, seed, scene.clock.now)
            promise(got == due, "one valid rollout a scene", f"scene, log, seed, now: {got}, due {due}")

    def test_decisions_lie_within_the_horizon(self) -> None:
        for scene, _, rollout in self._rolled():
            steps, name = rollout.decisions, "decisions lie within the horizon"
            rising = len(steps) > 0 and steps[0] == scene.clock.now and bool((np.diff(steps) > 0).all()) and steps[-1] < rollout.end
            promise(rising, name, f"{scene.id}: {steps[:4]}... of {scene.clock.now}..{rollout.end}")
            longest = scene.clock.now + round(self.horizon / scene.clock.dt) + 1
            promise(rollout.end <= longest, name, f"{scene.id}: ends at {rollout.end}, {self.horizon} s are {longest}")

    def test_a_batch_equals_its_singles(self) -> None:
        policy = self.policy()
        for scene, seed, rollout in self._rolled():
            (one,) = self.make().rollout([scene], policy, [seed], self.horizon)
            found = difference(rollout, one, self.tolerance)
            promise(not found, "a batch equals its singles", f"{scene.id}: {found}")

    def test_order_of_scenes_does_not_matter(self) -> None:
        scenes, policy, seeds = self.inputs()
        back = self.make().rollout(list(scenes)[::-1], policy, seeds[::-1], self.horizon)
        for (scene, _, due), rollout in zip(self._rolled(), list(back)[::-1], strict=True):
            found = difference(due, rollout, self.tolerance)
            promise(not found, "order of scenes does not matter", f"{scene.id}: {found}")

    def test_rollouts_can_be_saved(self) -> None:
        for scene, _, rollout in self._rolled():
            found = saved_and_loaded(rollout)
            promise(not found, "rollouts can be saved", f"{scene.id}: {found}")

    def test_the_logged_future_is_not_followed(self) -> None:
        policy, part = self.policy(), self.make()
        changed = [self.perturb(scene) for scene in self.scenes()]
        if not all(changed):
            return skip("perturb() is not given")
        seeds = list(range(len(changed)))
        forth = part.rollout(self.scenes(), policy, seeds, self.horizon)
        found = difference(list(forth), list(part.rollout(changed, policy, seeds, self.horizon)), self.tolerance)
        return promise(not found, "the logged future of the acting body is not followed", found)
