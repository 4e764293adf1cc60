"""The policies that drive the devkit's simulations: two that need no training, and one trained on the logs themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from wetoolkit_driving.domain import Driving
from wetoolkit_driving.pdm.closed import PdmClosed, PdmClosedConfig
from wetoolkit_driving.policies import ConstantVelocity, ConstantVelocityConfig
from wetoolkit_learning.imitation import Imitation, ImitationConfig
from wetoolkit_learning.policy import VocabularyVector, VocabularyVectorConfig
from wetoolkit_learning.testing import Memory
from wetoolkit_learning.vocabulary import VocabularyConfig

from wetoolkit.types import Decisions, Ref, Situation

FRAMES, STEPS = 120, 150  # windows that are imitated, steps of training


def policies(reader: Any, refs: Sequence[Ref]) -> dict[str, Any]:
    """By name."""
    return {
        "constant-velocity": ConstantVelocity(ConstantVelocityConfig()),
        "pdm-closed": PdmClosed(PdmClosedConfig()),
        "vocabulary-vector": _imitator(reader, refs),
    }


def _imitator(reader: Any, refs: Sequence[Ref]) -> VocabularyVector:
    policy = VocabularyVector(VocabularyVectorConfig(vocabulary=VocabularyConfig(size=64), width=32, layers=1, heads=2))
    chosen = [refs[k] for k in np.linspace(0, len(refs) - 1, min(FRAMES, len(refs))).astype(int)]
    windows = [reader.load(ref) for ref in chosen]
    situations = [Situation(one.id, one.log, one.world, one.clock.now) for one in windows]
    plans, known = Driving().demonstrate(situations)
    count = len(situations)
    block = Decisions(
        Driving().observe(situations, policy.spec), source=np.zeros(count, np.int8), round=np.zeros(count, np.int16),
        expert=plans.astype(np.float32), has_expert=known, choice=np.full(count, -1), log_prob=np.zeros(count),
        rewards=np.zeros((count, 0), np.float32), ids=tuple(one.id for one in situations),
        logs=tuple(one.log for one in situations),
    )  # fmt: skip
    memory = Memory(block)
    settings = ImitationConfig(steps=STEPS, batch=32, validation=0.0, smoothing=0.05)
    return Imitation(settings).train(policy.prepare(memory, 0), None, memory, 0).policy
