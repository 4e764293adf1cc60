"""A scorer that puts the car on its plan, in place of the LQR tracker and the bicycle."""

import numpy as np
from wetoolkit_driving.dynamics import reference_poses
from wetoolkit_driving.pdm import kernels
from wetoolkit_driving.pdm.conformance_cases import scene_of
from wetoolkit_driving.pdm.conformance_scorer import mean
from wetoolkit_driving.pdm.result import ego_progress, total

__all__ = ["mean", "score"]


def follow(ego, poses):
    states = np.repeat(ego[None, None], len(poses), 0).repeat(41, 1)
    states[:, 1:] = 0.0
    states[..., :3] = poses
    speed = np.linalg.norm(np.diff(poses[..., :2], axis=1), axis=-1) / 0.1
    states[:, 1:, 3] = speed
    states[:, 1:, 5] = np.diff(states[..., 3], axis=1) / 0.1
    return states


def score(case):
    scene = scene_of(case)
    plans = case["proposals"]
    ego = np.repeat(scene.ego[None], len(plans), 0)
    states = follow(scene.ego, reference_poses(ego, plans, float(case["plan_interval"])))
    marks = kernels.score(scene, states)
    reference = kernels.score(scene, follow(scene.ego, case["pdm_closed_states"][None, :, :3])).masked_progress[0]
    ep = ego_progress(marks, np.maximum(reference, marks.masked_progress))
    results = {name: getattr(marks, name) for name in ("nc", "dac", "ttc", "comfort", "ddc")}
    return {**results, "ep": ep, "score": total(marks, ep), "simulated_states": states}
