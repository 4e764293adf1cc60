"""The contracts of wetoolkit.testing, kept by the policy and both algorithms."""

from __future__ import annotations

from functools import cache
from typing import Any

from wetoolkit_learning.camera import VocabularyCamera
from wetoolkit_learning.imitation import Imitation, ImitationConfig
from wetoolkit_learning.policy import VocabularyVector
from wetoolkit_learning.testing import CAMERA, CONFIG, Memory, decisions, pictured, scored
from wetoolkit_learning.world_engine import WorldEngine, WorldEngineConfig

from wetoolkit.experience import join
from wetoolkit.testing.acting import PolicyContract
from wetoolkit.testing.working import AlgorithmContract
from wetoolkit.types import Experience, Observation, PlanSpec


@cache
def numbers() -> dict[str, Any]:
    return dict(VocabularyVector(CONFIG).prepare(Memory(decisions(120, 0)), 0).state())


def policy() -> VocabularyVector:
    return VocabularyVector(CONFIG).with_state(numbers())


class TestVocabularyVector(PolicyContract):
    tolerance = 1e-5

    def make(self) -> VocabularyVector:
        return policy()

    def observation(self) -> Observation[Any]:
        return decisions(9, 1).observation

    def plan(self) -> PlanSpec:
        return PlanSpec(40, 0.1, ("x [m]", "y [m]", "heading [rad]"))


class TestVocabularyVectorThatDraws(TestVocabularyVector):
    def make(self) -> VocabularyVector:
        return VocabularyVector(CONFIG.model_copy(update={"temperature": 1.0})).with_state(numbers())


@cache
def camera_numbers() -> dict[str, Any]:
    return dict(VocabularyCamera(CAMERA).prepare(Memory(pictured(decisions(120, 0))), 0).state())


class TestVocabularyCamera(TestVocabularyVector):
    def make(self) -> VocabularyCamera:
        return VocabularyCamera(CAMERA).with_state(camera_numbers())

    def observation(self) -> Observation[Any]:
        return pictured(decisions(9, 1)).observation


class TestImitation(AlgorithmContract):
    def make(self) -> Imitation:
        return Imitation(ImitationConfig(epochs=30, patience=1, look_every=1, learning_rate=0.05, threads=1))  # stops early

    def policy(self) -> VocabularyVector:
        return policy()

    def experience(self) -> Experience:
        return Memory(decisions(120, 0))


class TestWorldEngine(AlgorithmContract):
    def make(self) -> WorldEngine:
        return WorldEngine(WorldEngineConfig(steps=3, threads=1))

    def policy(self) -> VocabularyVector:
        return policy()

    def experience(self) -> Experience:
        start = policy()
        return Memory(join([scored(decisions(60, 0), start), scored(decisions(60, 1, source=1), start)]))


class TestWorldEngineWithAdapters(TestWorldEngine):
    def make(self) -> WorldEngine:
        return WorldEngine(WorldEngineConfig(steps=3, threads=1, lora_rank=2, objective="projection", importance=True))


class TestImitationOfPictures(TestImitation):
    def policy(self) -> VocabularyVector:
        return TestVocabularyCamera().make()

    def experience(self) -> Experience:
        return Memory(pictured(decisions(120, 0)))


class TestWorldEngineOnPictures(TestWorldEngine):
    def policy(self) -> VocabularyVector:
        return TestVocabularyCamera().make()

    def experience(self) -> Experience:
        start = policy()
        return Memory(pictured(join([scored(decisions(60, 0), start), scored(decisions(60, 1, source=1), start)])))
