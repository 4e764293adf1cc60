"""Contracts of dataset, domain, reconstructor and behaviour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

from wetoolkit.accounts import SupportsAccount
from wetoolkit.errors import WetoolkitError
from wetoolkit.kinds import (
    Behaviour,
    Dataset,
    Domain,
    Reconstructor,
    SupportsInspect,
    SupportsLabels,
    SupportsRecordings,
    SupportsReport,
)
from wetoolkit.testing.compare import difference, snapshot
from wetoolkit.testing.contracts import Contract, promise, skip
from wetoolkit.testing.examples import Examples
from wetoolkit.testing.reacting import ReactingContract
from wetoolkit.testing.saved import saved_and_loaded
from wetoolkit.testing.showing import RenderingContract
from wetoolkit.types import Failure, ObservationSpec, Ref, Scenario, Scene, Situation

STEMS = ("train", "val", "test")


class DatasetContract(Contract):
    """``make`` gives the data set; ``limit`` scenarios of each split are loaded. It is tried on what it holds itself."""

    limit: int = 3

    def make(self) -> Dataset[Any]:
        raise NotImplementedError("def make(self): return MyDataset(MyDatasetConfig())")

    def splits(self) -> Sequence[str]:
        """The splits to try: all, unless overridden."""
        return self.make().splits()

    def refs(self) -> list[Ref]:
        """The scenarios to load: the first few of each split."""
        dataset = self.make()
        return [ref for split in self.splits() for ref in dataset.index(split)[: self.limit]]

    def inputs(self) -> tuple[Any, ...]:
        return (self.refs(),)

    def call(self, part: Any, *inputs: Any) -> Any:
        return [part.load(ref) for ref in inputs[0]]

    def test_index_is_stable(self) -> None:
        for split in self.splits():
            same = list(self.make().index(split)) == list(self.make().index(split))
            promise(same, "index is stable", f"split {split!r} is listed in another order or with other scenarios")

    def test_ids_are_unique(self) -> None:
        for split in self.splits():
            ids = [ref.id for ref in self.make().index(split)]
            promise(len(set(ids)) == len(ids), "ids are unique", f"{len(ids) - len(set(ids))} of {split!r} come twice")

    def test_train_val_and_test_share_no_log(self) -> None:
        dataset, logs = self.make(), dict[str, set[str]]()
        for split in dataset.splits():
            for stem in set(split.split("-")) & set(STEMS):
                logs.setdefault(stem, set()).update(ref.log for ref in dataset.index(split))
        for one, two in combinations(logs, 2):
            shared = sorted(logs[one] & logs[two])
            promise(not shared, "train, val and test share no log", f"{one} and {two} share {shared[:3]}")

    def test_loads_what_the_index_lists(self) -> None:
        for ref in self.refs():
            scenario = self.make().load(ref)
            got = (scenario.id, scenario.split, scenario.log)
            promise(got == (ref.id, ref.split, ref.log), "loads what the index lists", f"{ref} gave {got}")

    def test_scenarios_are_valid(self) -> None:
        for ref in self.refs():
            try:
                self.make().load(ref).validate()
            except WetoolkitError as error:
                promise(False, "scenarios are valid", f"{ref.id}: {error}")

    def test_scenarios_can_be_saved(self) -> None:
        for ref in self.refs():
            found = saved_and_loaded(self.make().load(ref))
            promise(not found, "scenarios can be saved", f"{ref.id}: {found}")

    def test_lineage_leads_back_to_the_log(self) -> None:
        for ref in self.refs():
            lineage = self.make().load(ref).lineage
            promise(lineage.log == ref.log and bool(lineage.dataset), "lineage leads back to the log", f"{ref} has {lineage}")

    def test_order_of_loading_does_not_matter(self) -> None:
        refs, dataset = self.refs(), self.make()
        forth = {ref: snapshot(self.make().load(ref)) for ref in refs}
        for ref in reversed(refs):
            found = difference(forth[ref], snapshot(dataset.load(ref)))
            promise(not found, "order of loading does not matter", f"{ref.id}: {found}")

    def test_unknown_split_is_a_clear_error(self) -> None:
        try:
            self.make().index("no-such-split")
        except WetoolkitError as error:
            promise("no-such-split" in str(error), "an unknown split is a clear error", "the error does not name it")
        else:
            promise(False, "an unknown split is a clear error", "it was taken")

    def test_labels_belong_to_the_index(self) -> None:
        dataset = self.make()
        if not isinstance(dataset, SupportsLabels):
            return skip("no labels")
        for split in self.splits():
            strange = set(dataset.labels(split)) - {ref.id for ref in dataset.index(split)}
            promise(not strange, "labels belong to the index", f"{split!r}: {sorted(strange)[:3]}")
        return None

    def test_repairs_are_counts(self) -> None:
        dataset = self.make()
        if not isinstance(dataset, SupportsReport):
            return skip("repairs nothing")
        self.call(dataset, *self.inputs())
        bad = {name: count for name, count in dataset.repairs().items() if count < 0}
        return promise(not bad, "repairs are counts", f"{bad}")

    def test_recordings_are_those_of_the_windows(self) -> None:
        dataset = self.make()
        if not isinstance(dataset, SupportsRecordings):
            return skip("hands over no whole recordings")
        what = "recordings are those of the windows"
        for split in self.splits():
            logs = {ref.log for ref in dataset.index(split)}
            named = {ref.id for ref in dataset.recordings(split)}
            promise(logs <= named, what, f"{split!r} has windows of {sorted(logs - named)[:3]}, no recording")
            for ref in list(dataset.recordings(split))[:1]:
                whole = dataset.recording(ref)
                whole.validate()
                promise((whole.id, whole.log) == (ref.id, ref.log), what, f"{ref} gave {whole.id} of {whole.log}")
                promise(whole.clock.now == 0, what, f"the present of {ref.id} is step {whole.clock.now}, not its first")
        return None

    def test_defects_say_where_and_what(self) -> None:
        dataset = self.make()
        if not isinstance(dataset, SupportsInspect):
            return skip("inspects nothing")
        vague = [d for d in dataset.defects() if not (d.file and d.what and d.handling in ("repaired", "skipped", "refused"))]
        promise(not vague, "defects say where and what", f"{vague[:1]}")
        wordless = [name for name, said in dataset.inspect().items() if not isinstance(said, str)]
        return promise(not wordless, "defects say where and what", f"inspect() tells {wordless} in no words")


class DomainContract:
    """``make`` gives the domain, ``situations`` some of them, ``spec`` what to see, ``perturb`` a situation with another future."""

    examples: Examples[Any] | None = None  # what it gives need not be written in the test class

    def given(self, otherwise: str) -> Examples[Any]:
        """The domain's examples; an error that says what to write ``otherwise``."""
        if self.examples is None:
            raise NotImplementedError(f"examples = MyDomainExamples(), or {otherwise}")
        return self.examples

    def make(self) -> Domain[Any]:
        return self.given("def make(self): return MyDomain()").domain()

    def situations(self) -> Sequence[Situation[Any]]:
        return self.given("def situations(self): return [Situation(...), ...]").situations()

    def spec(self) -> ObservationSpec:
        return self.given("def spec(self): return ObservationSpec(fields=...)").spec()

    def perturb(self, situation: Situation[Any]) -> Situation[Any]:
        """The same situation with everything after its step changed as strongly as the types allow."""
        given = self.given("def perturb(self, situation): return replace(situation, world=...)")
        return replace(situation, world=given.another_future(situation.world, situation.step))

    def test_observation_never_depends_on_the_future(self) -> None:
        domain, situations = self.make(), self.situations()
        others = [self.perturb(situation) for situation in situations]
        promise(bool(difference(situations, others)), "observation never depends on the future", "perturb() changes nothing")
        found = difference(domain.observe(situations, self.spec()), domain.observe(others, self.spec()))
        promise(not found, "observation never depends on the future", found)

    def test_only_what_is_asked_is_made(self) -> None:
        spec = self.spec()
        seen = self.make().observe(self.situations(), spec)
        extra = {name.split(".")[0] for name in seen.arrays} - set(spec.fields)
        promise(not extra, "only what is asked is made", f"{sorted(extra)} was not asked for")
        promise(spec.world or not seen.worlds, "only what is asked is made", "worlds were not asked for")
        unasked = sorted(set(seen.images) ^ set(spec.cameras))
        promise(not unasked, "only what is asked is made", f"cameras {unasked}: {sorted(spec.cameras)} were asked for")
        absent = set(spec.fields) - {name.split(".")[0] for name in seen.arrays}
        promise(not absent, "only what is asked is made", f"{sorted(absent)} was asked for and is missing")

    def test_limits_are_kept(self) -> None:
        spec = self.spec()
        seen = self.make().observe(self.situations(), spec)
        over = {name: seen.arrays[name].shape for name, limit in spec.limits.items() if seen.arrays[name].shape[1] > limit}
        promise(not over, "limits are kept", f"{over}, limits {dict(spec.limits)}")

    def test_observation_is_valid(self) -> None:
        situations = self.situations()
        seen = self.make().observe(situations, self.spec())
        try:
            seen.validate()
        except WetoolkitError as error:
            promise(False, "observation is valid", str(error))
        promise(seen.size == len(situations), "observation is valid", f"size {seen.size} for {len(situations)}")

    def test_a_batch_equals_its_singles(self) -> None:
        domain, situations = self.make(), self.situations()
        together = domain.observe(situations, self.spec())
        for row, situation in enumerate(situations):
            found = difference(together.rows(slice(row, row + 1)), domain.observe([situation], self.spec()))
            promise(not found, "a batch equals its singles", f"item {row}: {found}")

    def test_inputs_are_not_changed(self) -> None:
        situations = self.situations()
        before = snapshot(situations)
        self.make().observe(situations, self.spec())
        self.make().demonstrate(situations)
        found = difference(before, snapshot(situations))
        promise(not found, "inputs are not changed", found)

    def test_demonstrations_have_the_plans_shape(self) -> None:
        domain, situations = self.make(), self.situations()
        plans, known = domain.demonstrate(situations)
        promise(plans.shape == (len(situations), *domain.plan.shape), "demonstrations have the plan's shape", f"{plans.shape}")
        promise(
            known.shape == (len(situations),) and known.dtype == bool,
            "demonstrations have the plan's shape",
            f"known {known.shape}",
        )
        promise(bool(np.isfinite(plans).all()), "demonstrations have the plan's shape", "numbers that are not finite")

    def test_an_empty_batch_is_an_empty_observation(self) -> None:
        try:
            size = self.make().observe([], self.spec()).size
        except Exception as error:  # noqa: BLE001 - whatever it raises is the broken promise
            return promise(False, "an empty batch is an empty observation", f"{type(error).__name__}: {error}")
        return promise(size == 0, "an empty batch is an empty observation", f"size {size}")


class ReconstructorContract(RenderingContract):
    """``make`` gives the reconstructor, ``scenarios`` some with distinct ids, ``failures`` one (or None) for each."""

    def failures(self) -> Sequence[Failure | None]:
        """None for the first, a step later than now for the others."""
        scenarios = self.scenarios()
        late = [
            Failure(Ref(s.id, s.split, s.log), "collision", min(s.clock.now + 1, s.clock.steps - 1), 1.0) for s in scenarios[1:]
        ]
        return [None, *late]

    def inputs(self) -> tuple[Any, ...]:
        return self.scenarios(), self.failures()

    def call(self, part: Any, *inputs: Any) -> Any:
        return [part.reconstruct(scenario, failure, 0) for scenario, failure in zip(*inputs, strict=True)]

    def _scenes(self) -> list[tuple[Scenario[Any], Failure | None, Scene[Any]]]:
        part: Reconstructor[Any] = self.make()
        pairs = zip(self.scenarios(), self.failures(), strict=True)
        return [(scenario, failure, part.reconstruct(scenario, failure, 0)) for scenario, failure in pairs]

    def test_scenes_are_valid(self) -> None:
        for scenario, _, scene in self._scenes():
            try:
                scene.validate()
            except WetoolkitError as error:
                promise(False, "scenes are valid", f"{scenario.id}: {error}")

    def test_scenes_can_be_saved(self) -> None:
        for _, _, scene in self._scenes():
            found = saved_and_loaded(scene)
            promise(not found, "scenes can be saved", f"{scene.id}: {found}")

    def test_order_of_scenarios_does_not_matter(self) -> None:
        part: Reconstructor[Any] = self.make()
        pairs = list(zip(self.scenarios(), self.failures(), strict=True))
        back = [part.reconstruct(scenario, failure, 0) for scenario, failure in reversed(pairs)]
        for (_, _, due), scene in zip(self._scenes(), reversed(back), strict=True):
            found = difference(due, scene)
            promise(not found, "order of scenarios does not matter", f"{due.id}: {found}")

    def test_the_clock_stands_at_the_failure(self) -> None:
        for scenario, failure, scene in self._scenes():
            due = failure.step if failure else scenario.clock.now
            promise(scene.clock.now == due, "the clock stands at the failure", f"{scene.id}: now={scene.clock.now}, due {due}")

    def test_scenes_name_their_origin(self) -> None:
        for scenario, failure, scene in self._scenes():
            got, due = (scene.scenario.id, scene.log, scene.domain), (scenario.id, scenario.log, scenario.domain)
            promise(got == due, "scenes name their origin", f"{got}, due {due}")
            promise(scene.lineage.log == scenario.log, "scenes name their origin", f"lineage {scene.lineage}")
            promise(scene.failure == (failure.kind if failure else ""), "scenes name their origin", f"failure {scene.failure!r}")

    def test_ids_are_unique(self) -> None:
        ids = [scene.id for *_, scene in self._scenes()]
        promise(len(set(ids)) == len(ids), "ids are unique", f"{ids}")


class BehaviourContract(ReactingContract):
    """``make`` gives the behaviour, ``scene`` one to vary, ``members`` names everybody in a world."""

    count: int = 3

    def inputs(self) -> tuple[Any, ...]:
        return (self.scene(),)

    def call(self, part: Any, *inputs: Any) -> Any:
        return part.vary(inputs[0], self.count, 0)

    def _varied(self) -> Sequence[Scene[Any]]:
        part: Behaviour[Any] = self.make()
        return part.vary(self.scene(), self.count, 0)

    def test_no_more_than_asked(self) -> None:
        found = len(self._varied())
        promise(found <= self.count, "no more than asked", f"{found} for {self.count}")
        promise(len(self.make().vary(self.scene(), 0, 0)) == 0, "no more than asked", "0 were asked")

    def test_ids_are_new_and_unique(self) -> None:
        ids = [scene.id for scene in self._varied()]
        promise(len({*ids, self.scene().id}) == len(ids) + 1, "ids are new and unique", f"{self.scene().id}: {ids}")

    def test_everybody_is_kept(self) -> None:
        due = sorted(map(str, self.members(self.scene().world)))
        for scene in self._varied():
            kept = sorted(map(str, self.members(scene.world)))
            promise(kept == due, "everybody is kept", f"{scene.id} has {len(kept)} of {len(due)}")

    def test_scenes_are_valid(self) -> None:
        for scene in self._varied():
            try:
                scene.validate()
            except WetoolkitError as error:
                promise(False, "scenes are valid", f"{scene.id}: {error}")

    def test_scenes_can_be_saved(self) -> None:
        for scene in self._varied():
            found = saved_and_loaded(scene)
            promise(not found, "scenes can be saved", f"{scene.id}: {found}")

    def test_origin_is_kept(self) -> None:
        due = self.scene()
        for scene in self._varied():
            found = difference(
                [scene.domain, scene.log, scene.scenario, scene.clock, scene.lineage.log],
                [due.domain, due.log, due.scenario, replace(due.clock, steps=scene.clock.steps), due.lineage.log],
            )
            promise(not found, "origin is kept", f"{scene.id}: {found}")
            promise(bool(scene.variant), "origin is kept", f"{scene.id} does not say what was varied")

    def test_the_account_is_of_what_is_varied(self) -> None:
        part = self.make()
        if not isinstance(part, SupportsAccount):
            skip("it accounts for nothing")
        account = part.account(self.scene(), self.count, 0)
        account.validate()
        found = difference(list(account.scenes), list(self._varied()), self.tolerance)
        promise(not found, "the account is of what is varied", found)
