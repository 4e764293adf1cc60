"""Contract of reward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from wetoolkit.errors import WetoolkitError
from wetoolkit.kinds import Reward, SupportsEvents
from wetoolkit.record import drives
from wetoolkit.testing.compare import difference
from wetoolkit.testing.contracts import Contract, promise, skip
from wetoolkit.types import Float, Role, Rollout, Scores, Situation


class RewardContract(Contract):
    """``make`` gives the reward, ``situations`` some, ``proposals`` plans [N, T, D]; ``rollouts`` for ``judge`` where at hand."""

    proposals_are_independent: bool = True  # False where a proposal's score is normalised by the others

    def make(self) -> Reward[Any]:
        raise NotImplementedError("def make(self): return MyReward(MyRewardConfig())")

    def situations(self) -> Sequence[Situation[Any]]:
        return self.given("def situations(self): return [Situation(...), ...]").situations()

    def proposals(self) -> Float:
        return self.given("def proposals(self): return plans  # [N, T, D]").proposals()

    def rollouts(self) -> Sequence[Rollout[Any]]:
        return self.examples.rollouts() if self.examples else []

    def inputs(self) -> tuple[Any, ...]:
        return self.situations(), self.proposals()

    def call(self, part: Any, *inputs: Any) -> Any:
        return part.score(*inputs)

    def _check(self, scores: Scores, shape: tuple[int, ...], name: str) -> None:
        try:
            scores.validate()
        except WetoolkitError as error:
            promise(False, name, str(error))
        promise(scores.total.shape == shape, name, f"shape {scores.total.shape}, due {shape}")

    def test_scores_are_valid(self) -> None:
        shape = (len(self.situations()), len(self.proposals()))
        self._check(self.make().score(self.situations(), self.proposals()), shape, "scores are valid")

    def test_scores_carry_the_metric(self) -> None:
        part = self.make()
        stamped = part.score(self.situations(), self.proposals()).metric
        promise(str(stamped) == str(part.metric), "scores carry the metric", f"{stamped}, due {part.metric}")

    def test_terms_are_within_bounds(self) -> None:
        scores = self.make().score(self.situations(), self.proposals())
        for name, term in scores.terms.items():
            inside = term.role == Role.REPORTED or bool(((term.values >= -1e-9) & (term.values <= 1 + 1e-9)).all())
            promise(inside, "terms are within bounds", f"{name!r}, a {term.role} term, leaves [0, 1]")
            promise(term.weight >= 0, "terms are within bounds", f"{name!r} has the weight {term.weight}")

    def test_gates_multiply_the_total(self) -> None:
        scores = self.make().score(self.situations(), self.proposals())
        for name, term in scores.terms.items():
            if term.role == Role.GATE:
                over = bool((scores.total > term.values + 1e-6).any())
                promise(not over, "gates multiply the total", f"a total is above its gate {name!r}")

    def test_a_batch_equals_its_singles(self) -> None:
        part, situations = self.make(), self.situations()
        together = part.score(situations, self.proposals())
        for row, situation in enumerate(situations):
            found = difference(together.rows(slice(row, row + 1)), part.score([situation], self.proposals()), self.tolerance)
            promise(not found, "a batch equals its singles", f"situation {row}: {found}")

    def test_order_of_situations_does_not_matter(self) -> None:
        part, situations = self.make(), list(self.situations())
        back = part.score(situations[::-1], self.proposals()).total[::-1]
        found = difference(part.score(situations, self.proposals()).total, back, self.tolerance)
        promise(not found, "order of situations does not matter", found)

    def test_order_of_proposals_does_not_matter(self) -> None:
        part = self.make()
        back = part.score(self.situations(), self.proposals()[::-1]).total[:, ::-1]
        found = difference(part.score(self.situations(), self.proposals()).total, back, self.tolerance)
        promise(not found, "order of proposals does not matter", found)

    def test_shared_proposals_are_everybodys_own(self) -> None:
        part, situations = self.make(), self.situations()
        own = np.repeat(self.proposals()[None], len(situations), axis=0)
        found = difference(part.score(situations, self.proposals()), part.score(situations, own), self.tolerance)
        promise(not found, "shared proposals [N, T, D] are everybody's own [B, N, T, D]", found)

    def test_a_proposal_is_scored_by_itself(self) -> None:
        if not self.proposals_are_independent:
            return skip("proposals are normalised by each other")
        part = self.make()
        few = part.score(self.situations(), self.proposals()[:1]).total
        found = difference(part.score(self.situations(), self.proposals()).total[:, :1], few, self.tolerance)
        return promise(not found, "a proposal is scored by itself", found)

    def test_rollouts_are_judged_one_by_one(self) -> None:
        part, rollouts = self.make(), self.rollouts()
        if not rollouts:
            return skip("rollouts() is not given")
        scores = part.judge(rollouts)
        self._check(scores, (len(rollouts),), "rollouts are judged one by one")
        for row, rollout in enumerate(rollouts):
            found = difference(scores.rows(slice(row, row + 1)), part.judge([rollout]), self.tolerance)
            promise(not found, "rollouts are judged one by one", f"rollout {row}: {found}")
        return None

    def test_events_agree_with_success(self) -> None:
        part, rollouts, name = self.make(), self.rollouts(), "events agree with success"
        if not (rollouts and isinstance(part, SupportsEvents)):
            return skip("no events, or rollouts() is not given")
        try:
            kept = drives(part, rollouts, part.judge(rollouts).success)
        except WetoolkitError as error:
            return promise(False, name, str(error))
        for rollout, drive in zip(rollouts, kept, strict=True):
            times = [event.time for event in drive.events]
            promise(times == sorted(times), name, f"{rollout.id}: not in order of time: {times}")
            now, dt = rollout.clock.now, rollout.clock.dt
            away = [event for event in drive.events if abs(event.time - (event.step - now) * dt) > 1e-6]
            promise(not away, name, f"{rollout.id}: time and step of {away[:1]} differ")
        return None
