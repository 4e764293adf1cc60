"""Parts that break one promise each: data sets, domains, reconstructors and behaviours. See ``broken_parts``."""

from dataclasses import replace

import numpy as np
import toy_contracts as toy
from broken_parts import Loads, Rebuilds, Remembered, Shows, Varies, breaks

from wetoolkit.testing.fakes import (
    DT,
    Toy,
)
from wetoolkit.types import Defect

# Dataset


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


@breaks(toy.Studio, "test_pictures_are_as_asked")
class ShowsItsOwnSize(Shows):
    def render(self, scene, world, step, camera, resolution):
        return super().render(scene, world, step, camera, (48, 32))


@breaks(toy.Studio, "test_pictures_are_as_asked")
class TrustsTooMuch(Shows):
    def render(self, scene, world, step, camera, resolution):
        return {**super().render(scene, world, step, camera, resolution), "frame_trust": np.array(1.5)}


@breaks(toy.Studio, "test_equal_looks_give_equal_pictures")
class ShowsEachItsOwn(Shows):
    made = 0

    def __init__(self):
        super().__init__()
        type(self).made = self.number = self.made + 1

    def render(self, scene, world, step, camera, resolution):
        found = super().render(scene, world, step, camera, resolution)
        return {**found, "frame_trust": found["frame_trust"] / self.number}


@breaks(toy.Studio, "test_pictures_do_not_show_the_future")
class ShowsWhatComes(Shows):
    def render(self, scene, world, step, camera, resolution):
        found = super().render(scene, world, step, camera, resolution)
        return {**found, "depth": np.full(found["rgb"].shape[:2], abs(world.others[:, step + 1 :]).mean())}


@breaks(toy.Studio, "test_an_unknown_camera_is_a_clear_error")
class TakesAnyCamera(Shows):
    def render(self, scene, world, step, camera, resolution):
        return super().render(scene, world, step, "front", resolution)


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


@breaks(toy.Behaviour, "test_the_account_is_of_what_is_varied")
class AccountsForAnother(Varies):
    def account(self, scene, count, seed):
        return super().account(scene, count, seed + 1)


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
