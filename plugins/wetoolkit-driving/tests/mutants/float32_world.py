"""A scorer that keeps world coordinates in single precision."""

import numpy as np
from wetoolkit_driving.pdm.conformance_scorer import fast, mean
from wetoolkit_driving.pdm.variants import NAVSIM_1_1

__all__ = ["mean", "score"]

ours = fast(NAVSIM_1_1).function


def score(case):
    coarse = {name: case[name].astype(np.float32).astype(np.float64) for name in ("ego_state", "obj_corners", "map_xy")}
    return ours({**case, **coarse})
