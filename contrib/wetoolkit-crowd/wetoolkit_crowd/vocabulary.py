"""The policy ``crowd-vocabulary``: the network and the vocabulary of wetoolkit-learning, over what is seen in a crowd.

Nothing is added but defaults: the fields of this domain, plans of 0.2 s, and the gentle decelerations of a walking robot.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field
from wetoolkit_learning.policy import VocabularyVector, VocabularyVectorConfig
from wetoolkit_learning.vocabulary import VocabularyConfig

from wetoolkit_crowd.types import DT


class CrowdVocabularyConfig(VocabularyVectorConfig):
    """The settings of ``vocabulary-vector`` with this domain's defaults."""

    vocabulary: VocabularyConfig = Field(
        default=VocabularyConfig(size=96, spread=0.3, brake=0.25, decelerations=(0.5, 1.0, 2.0), dt=DT, stride=4),
        description="how the trajectories it chooses from are made",
    )
    fields: tuple[str, ...] = Field(default=("robot", "people", "walls"), description="observed arrays, the acting body first")
    timed: tuple[str, ...] = Field(default=("robot", "people"), description="fields whose points are the steps of the history")
    history: int = Field(default=3, description="past states seen of the timed fields, the present one included [1]", ge=1)
    history_stride: int = Field(default=2, description="between two of them [steps]", ge=1)
    limits: Mapping[str, int] = Field(
        default={"people": 12, "walls": 4}, description="at most so many rows of a field, the nearest first [1]"
    )
    width: int = Field(default=48, description="of a token; a multiple of heads [1]", ge=8)
    layers: int = Field(default=1, description="of self-attention among tokens, before the last that asks [1]", ge=0)


class CrowdVocabulary(VocabularyVector):
    """``wetoolkit_learning.policy:VocabularyVector`` with this domain's defaults."""


__all__ = ["CrowdVocabulary", "CrowdVocabularyConfig"]
