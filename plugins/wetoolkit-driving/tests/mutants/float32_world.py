"""A scorer that keeps world coordinates in single precision."""

import numpy as np
from wetoolkit_driving.pdm.conformance_scorer import mean, score_fast

__all__ = ["mean", "score"]


def score(case):
    coarse = {name: case[name].astype(np.float32).astype(np.float64) for name in ("ego_state", "obj_corners", "map_xy")}
    return score_fast({**case, **coarse})
