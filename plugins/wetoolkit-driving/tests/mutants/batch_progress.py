"""A scorer that measures progress against the best of the batch where the pair is asked for."""

from wetoolkit_driving.pdm.conformance_scorer import mean, score_fast

__all__ = ["mean", "score"]


def score(case):
    found = dict(score_fast(case))
    return {**found, "ep": found["ep_batch"], "score": found["score_batch"]}
