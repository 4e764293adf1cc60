"""A scorer whose mean counts a scene that could not be scored as 0."""

from wetoolkit_driving.pdm.conformance_scorer import score_fast as score

__all__ = ["mean", "score"]


def mean(scores):
    return sum(value or 0.0 for value in scores) / len(scores)
