"""A scorer that adds up the way against traffic over the proposals in place of the last second."""

import numpy as np
from wetoolkit_driving.pdm.conformance_scorer import fast, mean
from wetoolkit_driving.pdm.variants import NAVSIM_1_1

__all__ = ["mean", "score"]

ours = fast(NAVSIM_1_1).function


def score(case):
    found = dict(ours(case))
    states = found["simulated_states"]
    centre = states[..., :2] + 1.461 * np.stack([np.cos(states[..., 2]), np.sin(states[..., 2])], -1)
    moved = np.linalg.norm(np.diff(centre, axis=1, prepend=centre[:, :1]), axis=-1)  # [N, 41]
    wrong = np.where(found["ego_areas"][..., 2], moved, 0.0)
    wrong[:, 0] = 0.0
    worst = np.zeros(len(wrong))
    for t in range(41):
        worst = np.maximum(worst, wrong[:, max(0, t - 10) : t + 1].sum(axis=0).max())  # the fault: axis=1 is time
    found["ddc"] = np.where(worst < 2.0, 1.0, np.where(worst < 6.0, 0.5, 0.0))
    return found
