"""A scorer that drops every object that is neither vehicle, pedestrian nor bicycle."""

from wetoolkit_driving.pdm.conformance_scorer import fast, mean
from wetoolkit_driving.pdm.variants import NAVSIM_1_1

__all__ = ["mean", "score"]

ours = fast(NAVSIM_1_1).function


def score(case):
    kept = case["obj_type"] <= 2
    fewer = {"obj_type": case["obj_type"][kept], "obj_first_velocity": case["obj_first_velocity"][kept]}
    return ours({**case, **fewer, "obj_token": case["obj_token"][kept], "obj_corners": case["obj_corners"][:, kept]})
