"""Every part of this distribution keeps the promises of its kind."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from wetoolkit_crowd.domain import PLAN, Crowd
from wetoolkit_crowd.eth_ucy import EthUcy, EthUcyConfig
from wetoolkit_crowd.examples import SMALL, CrowdExamples, Windows, write_recordings
from wetoolkit_crowd.miner import CrowdMiner, CrowdMinerConfig
from wetoolkit_crowd.plaza import Plaza, PlazaConfig
from wetoolkit_crowd.reward import CrowdReward, CrowdRewardConfig
from wetoolkit_crowd.scenes import CrowdReplay, CrowdReplayConfig, SocialForce, SocialForceConfig
from wetoolkit_crowd.simulator import CrowdLoop, CrowdLoopConfig
from wetoolkit_crowd.straight import CrowdStraight, CrowdStraightConfig
from wetoolkit_crowd.vocabulary import CrowdVocabulary
from wetoolkit_learning.imitation import Imitation, ImitationConfig
from wetoolkit_learning.world_engine import WorldEngine, WorldEngineConfig

from wetoolkit.testing import (
    AlgorithmContract,
    BehaviourContract,
    DatasetContract,
    DomainContract,
    MinerContract,
    PluginContract,
    PolicyContract,
    ReconstructorContract,
    RewardContract,
    SimulatorContract,
)
from wetoolkit.types import Experience


class TestThePlugin(PluginContract):
    module = "wetoolkit_crowd.plugin"


class TestCrowd(DomainContract):
    examples = CrowdExamples()

    def make(self) -> Crowd:
        return Crowd()


class TestPlaza(DatasetContract):
    examples = CrowdExamples()

    def make(self) -> Plaza:
        return Plaza(SMALL)


class TestPlazaWithAUnicycle(TestPlaza):
    def make(self) -> Plaza:
        return Plaza(PlazaConfig(**{**SMALL.model_dump(), "body": "unicycle"}))


class TestCrowdStraight(PolicyContract):
    examples = CrowdExamples()

    def make(self) -> CrowdStraight:
        return CrowdStraight(CrowdStraightConfig())


@cache
def prepared() -> CrowdVocabulary:
    return CrowdExamples().learner()


@cache
def experienced() -> Experience:
    return Windows("train").experience(prepared())


class TestCrowdVocabulary(PolicyContract):
    examples = CrowdExamples()
    tolerance = 1e-5

    def make(self) -> CrowdVocabulary:
        return CrowdVocabulary(prepared().config).with_state(prepared().state())


class TestCrowdMiner(MinerContract):
    examples = CrowdExamples()

    def make(self) -> CrowdMiner:
        return CrowdMiner(CrowdMinerConfig())


class TestCrowdReplay(ReconstructorContract):
    examples = CrowdExamples()

    def make(self) -> CrowdReplay:
        return CrowdReplay(CrowdReplayConfig())


class TestSocialForce(BehaviourContract):
    examples = CrowdExamples()

    def make(self) -> SocialForce:
        return SocialForce(SocialForceConfig())


class TestCrowdLoop(SimulatorContract):
    examples = CrowdExamples()

    def make(self) -> CrowdLoop:
        return CrowdLoop(CrowdLoopConfig())


class TestCrowdReward(RewardContract):
    examples = CrowdExamples()

    def make(self) -> CrowdReward:
        return CrowdReward(CrowdRewardConfig())


class Trains(AlgorithmContract):
    """The algorithms of wetoolkit-learning, as they are, on the crowd."""

    examples = Windows("train")

    def policy(self) -> CrowdVocabulary:
        return TestCrowdVocabulary().make()

    def experience(self) -> Experience:
        return experienced()


class TestImitationInACrowd(Trains):
    def make(self) -> Imitation:
        return Imitation(ImitationConfig(steps=3, validation=0.0))


class TestWorldEngineInACrowd(Trains):
    def make(self) -> WorldEngine:
        return WorldEngine(WorldEngineConfig(steps=3, batch=8, validation=0.0, progress_term="progress"))


class TestEthUcy(DatasetContract):
    examples = CrowdExamples()

    def make(self) -> EthUcy:
        return EthUcy(EthUcyConfig(folder=str(written()), splits={"train": ["zara*"], "test": ["eth"]}))


@cache
def written() -> Path:
    """A folder of small recordings in both layouts, made once."""
    return write_recordings(Path(tempfile.mkdtemp(prefix="eth-ucy-")))


def test_the_examples_plans_fit() -> None:
    assert CrowdExamples().proposals().shape[1:] == PLAN.shape
