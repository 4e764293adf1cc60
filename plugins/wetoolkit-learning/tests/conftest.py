"""Fixtures over the small world of wetoolkit_learning.testing."""

from __future__ import annotations

from typing import Any

import pytest
from wetoolkit_learning.policy import VocabularyVector
from wetoolkit_learning.testing import CONFIG, Memory, decisions

from wetoolkit.types import Decisions


@pytest.fixture(scope="session")
def frames() -> Decisions[Any]:
    return decisions(400, seed=1)


@pytest.fixture(scope="session")
def prepared(frames: Decisions[Any]) -> VocabularyVector:
    return VocabularyVector(CONFIG).prepare(Memory(frames), 3)
