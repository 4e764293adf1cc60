"""A scorer that keeps NC as a truth value: hitting a thing, 0.5, becomes no collision at all."""

from wetoolkit_driving.pdm.conformance_scorer import fast, mean
from wetoolkit_driving.pdm.variants import NAVSIM_1_1

__all__ = ["mean", "score"]

ours = fast(NAVSIM_1_1).function


def score(case):
    found = dict(ours(case))
    return {**found, "nc": found["nc"].astype(bool)}
