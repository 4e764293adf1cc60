"""A scorer that keeps NC as a truth value: hitting a thing, 0.5, becomes no collision at all."""

from wetoolkit_driving.pdm.conformance_scorer import mean, score_fast

__all__ = ["mean", "score"]


def score(case):
    found = dict(score_fast(case))
    return {**found, "nc": found["nc"].astype(bool)}
