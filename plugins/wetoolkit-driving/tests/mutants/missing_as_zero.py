"""A scorer whose mean counts a scene that could not be scored as 0."""

from wetoolkit_driving.pdm.conformance_scorer import fast
from wetoolkit_driving.pdm.variants import NAVSIM_1_1

__all__ = ["mean", "score"]

score = fast(NAVSIM_1_1).function


def mean(scores):
    return sum(value or 0.0 for value in scores) / len(scores)
