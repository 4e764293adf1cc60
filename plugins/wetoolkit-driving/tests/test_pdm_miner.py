"""The miner pdms: what it finds, how severe it is, what it leaves out."""

from dataclasses import replace

import numpy as np
import pytest
from wetoolkit_driving.miners.pdms import PdmsMiner, PdmsMinerConfig
from wetoolkit_driving.pdm.reward import PdmReward, PdmRewardConfig
from wetoolkit_driving.policies import ConstantVelocity, ConstantVelocityConfig
from wetoolkit_driving.testing import actor, scenario, straight_world
from wetoolkit_driving.types import AgentClass

from wetoolkit.errors import PluginError
from wetoolkit.testing.acting import MinerContract
from wetoolkit.types import Failure, Glimpse, Picture, Ref, Term


def mine(*worlds, **settings):
    miner = PdmsMiner(PdmsMinerConfig(**settings))
    scenarios = [scenario(world, name=f"s{i}") for i, world in enumerate(worlds)]
    found = miner.mine(scenarios, ConstantVelocity(ConstantVelocityConfig()), PdmReward(PdmRewardConfig()), 0)
    return list(found), list(miner.settle(found))


def swerved(heading: float):
    world = straight_world(lanes=1, speed=8.0)
    states = world.ego.states.copy()
    states[:, 2] = heading
    return replace(world, ego=replace(world.ego, states=states))


class TestContract(MinerContract):
    def make(self):
        return PdmsMiner(PdmsMinerConfig())

    def scenarios(self):
        worlds = [straight_world([actor(30, 0)]), straight_world(), swerved(0.08), straight_world(speed=4.0)]
        return [scenario(world, name=f"s{i}") for i, world in enumerate(worlds)]

    def policy(self):
        return ConstantVelocity(ConstantVelocityConfig())

    def reward(self):
        return PdmReward(PdmRewardConfig())


def test_a_collision_names_its_object_and_time():
    (failure,) = mine(straight_world([actor(60, 3.5), actor(30, 0)]))[1]
    assert failure.kind == "collision" and failure.step == 20
    assert failure.evidence["object"] == "a1" and failure.evidence["class"] == "vehicle"
    assert failure.evidence["time"] == pytest.approx((30 - 2.3 - 4.049) / 10, abs=0.1)


def test_sooner_is_more_severe_and_somebody_more_than_a_thing():
    severities = [mine(straight_world([actor(x, 0)]))[1][0].severity for x in (15, 25, 35)]
    assert severities == sorted(severities, reverse=True) and len(set(severities)) == 3
    thing = mine(straight_world([actor(15, 0, kind=AgentClass.BARRIER)]))[1][0]
    assert thing.evidence["nc"] == 0.5 and thing.severity < severities[2]


def believed(trust, **settings):
    """A collision that a policy with a camera runs into, its pictures being believed so far."""

    class Seeing(ConstantVelocity):
        spec = replace(ConstantVelocity.spec, cameras=("front",), resolution=(4, 3))

    glimpse = Glimpse(Picture.of(np.zeros((3, 4, 3), np.uint8)), trust)
    given = replace(scenario(straight_world([actor(30, 0)])), sight=lambda world, step, spec: {"front": glimpse})
    miner = PdmsMiner(PdmsMinerConfig(**settings))
    found = miner.mine([given], Seeing(ConstantVelocityConfig()), PdmReward(PdmRewardConfig()), 0)
    return list(found), list(miner.settle(found))


def test_severity_may_be_weighted_by_trust_and_untrusted_frames_left_out():
    (plain,) = believed(0.5)[1]
    (weighted,) = believed(0.5, trust_weighted=True)[1]
    assert weighted.severity == pytest.approx(0.5 * plain.severity) and weighted.evidence["trust"] == 0.5
    found, kept = believed(0.5, least_trust=0.6)
    assert [f.kind for f in found] == ["untrusted"] and kept == []
    assert len(believed(0.5, least_trust=0.5)[1]) == 1
    (unknown,) = believed(None, least_trust=0.9, trust_weighted=True)[1]
    assert unknown.severity == plain.severity


def test_things_can_be_left_out():
    assert mine(straight_world([actor(15, 0, kind=AgentClass.BARRIER)]), things=False)[1] == []


def test_leaving_the_road_is_found():
    (failure,) = mine(swerved(0.08))[1]
    assert failure.kind == "off_road" and 0 < failure.evidence["time"] < 4


def test_frames_that_are_lost_already_are_counted_and_left_out():
    struck = straight_world([actor(2, 0)])
    found, kept = mine(struck)
    assert [f.kind for f in found] == ["initial"] and kept == []
    assert [f.kind for f in mine(struck, exclude_initial=False)[1]] == ["collision"]


def test_low_progress_is_settled_over_all_chunks():
    ref = Ref("s", "train", "log")
    found = [Failure(ref, "low_progress", i, (1 - ep) / 4, {"ep": ep}) for i, ep in enumerate(np.linspace(0.01, 1, 100))]
    kept = PdmsMiner(PdmsMinerConfig(percentile=5)).settle(found)
    assert [f.step for f in kept] == [0, 1, 2, 3, 4]
    assert PdmsMiner(PdmsMinerConfig(percentile=0)).settle(found) == []
    assert [f.severity for f in kept] == sorted((f.severity for f in kept), reverse=True)


def test_equal_progress_is_nobodys_failure():
    assert mine(straight_world(), straight_world())[1] == []


def test_standing_before_a_free_road_is_no_candidate():
    assert mine(straight_world(speed=0.0))[0] == []  # EP is 0: the paper leaves such frames out


def test_a_reward_without_the_terms_is_refused():
    class Bare(PdmReward):
        def score(self, situations, proposals):
            scores = super().score(situations, proposals)
            return replace(scores, terms={"x": Term(scores.total, "reported")})

    with pytest.raises(PluginError, match="nc, dac and ep"):
        PdmsMiner(PdmsMinerConfig()).mine(
            [scenario(straight_world())], ConstantVelocity(ConstantVelocityConfig()), Bare(PdmRewardConfig()), 0
        )


def test_nothing_to_mine_gives_nothing():
    assert mine() == ([], [])
