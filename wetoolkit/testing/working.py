"""Contracts of algorithm and executor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from wetoolkit.kinds import Algorithm, Executor, SupportsState
from wetoolkit.testing.compare import difference
from wetoolkit.testing.contracts import Contract, promise
from wetoolkit.types import Decisions, Experience, Trained


class AlgorithmContract(Contract):
    """``make`` gives the algorithm (few steps), ``policy`` and ``reference`` what is trained, ``experience`` on what."""

    def policy(self) -> Any:
        return self.given("def policy(self): return MyPolicy(...)").learner()

    def reference(self) -> Any:
        """The policy to stay near to; the base itself unless overridden."""
        return self.policy()

    def experience(self) -> Experience:
        return self.given("def experience(self): return Shards(...)").experience(self.policy())

    def inputs(self) -> tuple[Any, ...]:
        return self.policy(), self.reference(), self.experience()

    def call(self, part: Any, *inputs: Any) -> Any:
        return part.train(*inputs, 0)

    def _trained(self) -> Trained:
        part: Algorithm[Any] = self.make()
        return part.train(self.policy(), self.reference(), self.experience(), 0)

    def test_training_changes_the_policy(self) -> None:
        found = difference(self.policy(), self._trained().policy)
        promise(bool(found), "training changes the policy", "every learned number is as before")

    def test_the_trained_policy_acts(self) -> None:
        block: Decisions[Any] = next(iter(self.experience().batches(4, None)))
        plan, name = self._trained().policy.act(block.observation, 0), "the trained policy acts"
        promise(plan.trajectories.shape == block.expert.shape, name, f"{plan.trajectories.shape}, due {block.expert.shape}")
        promise(bool(np.isfinite(plan.trajectories).all()), name, "numbers that are not finite")

    def test_the_trained_policy_can_be_saved(self) -> None:
        trained, name = self._trained().policy, "the trained policy can be saved"
        promise(isinstance(trained, SupportsState), name, "it has no state() and with_state()")
        try:
            loaded = load(save({key: np.ascontiguousarray(array) for key, array in trained.state().items()}))
            again = self.policy().with_state(loaded)
        except Exception as error:  # noqa: BLE001 - whatever cannot be saved is the broken promise
            return promise(False, name, f"{type(error).__name__}: {error}")
        found = difference(trained.state(), again.state())
        return promise(not found, name, f"loaded into the policy it came from: {found}")

    def test_metrics_are_a_table_of_numbers(self) -> None:
        metrics, name = self._trained().metrics, "metrics are a table of numbers"
        promise(bool(metrics), name, "there are none")
        lengths = {column: len(values) for column, values in metrics.items()}
        promise(len(set(lengths.values())) == 1, name, f"columns of different lengths: {lengths}")
        odd = [column for column, values in metrics.items() if not np.isfinite(np.asarray(values, float)).all()]
        promise(not odd, name, f"{odd} hold numbers that are not finite")

    def test_progress_is_told_to_the_end(self) -> None:
        told: list[tuple[int, int]] = []
        self.make().train(*self.inputs(), 0, lambda done, of, message: told.append((done, of)))
        done = [done for done, _ in told]
        promise(bool(told) and told[-1][0] == told[-1][1], "progress is told to the end", f"last told: {told[-1:]}")
        promise(done == sorted(done), "progress is told to the end", f"it goes back: {done[:5]}")


def tenfold(item: int) -> int:
    """What the executor's contract maps; 3 is an error."""
    if item == 3:
        raise ValueError("three")
    return 10 * item


class ExecutorContract(Contract):
    """``make`` gives the executor; ``items`` whole numbers with a 3 among them."""

    function: Callable[[int], int] = staticmethod(tenfold)

    def make(self) -> Executor:
        raise NotImplementedError("def make(self): return MyExecutor(MyExecutorConfig())")

    def items(self) -> list[int]:
        return [5, 3, 1]

    def inputs(self) -> tuple[Any, ...]:
        return (self.items(),)

    def call(self, part: Any, *inputs: Any) -> Any:
        outcomes = part.map(self.function, inputs[0])
        return [replace(o, seconds=0.0, cpu_seconds=0.0, peak_rss=0, detail="") for o in outcomes]

    def test_order_is_kept(self) -> None:
        outcomes = list(self.make().map(self.function, self.items()))
        got = [(o.index, o.value) for o in outcomes if o.ok]
        due = [(index, 10 * item) for index, item in enumerate(self.items()) if item != 3]
        promise(got == due, "order is kept", f"{got}, due {due}")

    def test_an_error_is_one_outcome(self) -> None:
        outcomes = list(self.make().map(self.function, self.items()))
        wrong = [item for item, o in zip(self.items(), outcomes, strict=False) if not o.ok]
        promise(len(outcomes) == len(self.items()) and wrong == [3], "an error is one outcome", f"errors at {wrong}")
        told = next(o for o in outcomes if not o.ok)
        promise("three" in told.error and "tenfold" in told.detail, "an error is one outcome", f"it says {told.error!r}")

    def test_costs_are_told(self) -> None:
        for outcome in self.make().map(self.function, self.items()):
            promise(outcome.seconds >= 0 and outcome.attempts >= 1, "costs are told", f"{outcome}")
            promise(outcome.peak_rss > 0, "costs are told", "peak_rss is 0")

    def test_nothing_is_mapped_to_nothing(self) -> None:
        promise(list(self.make().map(self.function, [])) == [], "nothing is mapped to nothing")
