"""The PDM score against NAVSIM v1.1 itself: 16 scenes x 72 proposals, by the rule of their README."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from wetoolkit_driving.dynamics import reference_poses, simulate
from wetoolkit_driving.pdm import kernels
from wetoolkit_driving.pdm import score as readable
from wetoolkit_driving.pdm.areas import index_areas
from wetoolkit_driving.pdm.closed import Path as DrivePath
from wetoolkit_driving.pdm.closed import PdmClosedConfig, choose, propose
from wetoolkit_driving.pdm.closed_forecast import apart as without_touching
from wetoolkit_driving.pdm.closed_forecast import velocity_of
from wetoolkit_driving.pdm.result import NEVER, Marks, ego_progress, total
from wetoolkit_driving.pdm.reward import drive
from wetoolkit_driving.pdm.scene import PdmScene

DATA = Path(os.environ.get("WETOOL_DATA", Path(__file__).parents[4] / "shared" / "data")) / "pdm_parity"
CASES = sorted(DATA.glob("scene_*.npz")) or [DATA]
KNIFE_EDGE = ("scene_008", "scene_036", "scene_017", "scene_026", "scene_044")  # the last ulp decides their ttc_idx

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no parity cases in {DATA}"),
    pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem),
]


def scene_of(case) -> PdmScene:
    corners = case["obj_corners"]
    return PdmScene(
        ego=case["ego_state"],
        areas=index_areas(case["map_xy"], case["map_off"], case["map_type"], case["map_on_route"]),
        boxes=np.nan_to_num(corners),
        valid=~np.isnan(corners).any((2, 3)),
        kind=case["obj_type"].astype(np.uint8),
        first_speed=np.hypot(*case["obj_first_velocity"].T),
        centerline=case["centerline"][:, :2],
        ids=tuple(case["obj_token"]),
    )


def check(case, marks: Marks, name: str) -> None:
    for term in ("nc", "dac", "ttc", "comfort", "ddc", "comfort6"):
        assert (getattr(marks, term) == case[f"batch_{term}"]).all(), term
    assert (marks.areas == case["batch_ego_areas"]).all()
    assert np.abs(marks.progress - case["batch_progress_raw"]).max() < 1e-6
    ep = ego_progress(marks, marks.masked_progress.max())
    assert np.abs(ep - case["batch_ep"]).max() < 1e-9
    assert np.abs(total(marks, ep) - case["batch_score"]).max() < 1e-9
    assert (np.where(marks.collision_step == NEVER, np.inf, marks.collision_step) == case["batch_collision_idx"]).all()
    if name not in KNIFE_EDGE:
        assert (np.where(marks.ttc_step == NEVER, np.inf, marks.ttc_step) == case["batch_ttc_idx"]).all()


@pytest.mark.parametrize("score", [readable.score_readable, kernels.score], ids=["readable", "kernels"])
@pytest.mark.parametrize("whose", ["navsim's states", "our states"])
def test_batch_of_proposals(path, score, whose):
    case = np.load(path)
    scene = scene_of(case)
    states = case["batch_simulated_states"]
    if whose == "our states":
        reference = np.ascontiguousarray(case["batch_reference_states"][..., :3])
        states = simulate(np.repeat(case["ego_state"][None], len(reference), 0), reference)
    check(case, score(scene, states), path.stem)


@pytest.mark.parametrize("poses", [40, 8])
def test_pairs_of_a_proposal_and_the_reference(path, poses):
    case = np.load(path)
    scene = scene_of(case)
    plans = case["proposals_10hz"] if poses == 40 else case["proposals_10hz"][:, 4::5]
    expected = case["pair10_results" if poses == 40 else "pair2_results"]  # nc, dac, ep, ttc, comfort, ddc, score
    ego = np.repeat(scene.ego[None], len(plans), 0)
    marks = drive(scene, reference_poses(ego, plans, 4.0 / poses, time_us=int(case["ego_time_us"])))
    reference = drive(scene, case["pdm_closed_states"][None, :, :3]).masked_progress.max()
    ep = ego_progress(marks, np.maximum(reference, marks.masked_progress))
    for column, values in ((0, marks.nc), (1, marks.dac), (3, marks.ttc), (4, marks.comfort), (5, marks.ddc)):
        assert (values == expected[:, column]).all(), column
    assert np.abs(ep - expected[:, 2]).max() < 1e-9
    assert np.abs(total(marks, ep) - expected[:, 6]).max() < 1e-9


LIMITS = (15.0, 8.9, 11.2, 13.4, 15.6, 17.9)  # m/s: the cases do not say; the fallback, and 20 to 40 mph as maps round them


def test_the_reference_plan_is_navsims(path):
    """PDM-Closed along the case's centre line: for one of the limits, its choice among 15 is NAVSIM's plan, to 1e-6 m."""
    case = np.load(path)
    times = (case["ego_time_us"] * 1e-6 + 0.1 * np.arange(41)) * 1e6  # NAVSIM sampled its plan at whole microseconds
    times = (np.maximum(times.astype(np.int64), case["ego_time_us"]) - case["ego_time_us"]) * 1e-5  # frames
    red = [int(np.flatnonzero(case["map_token"] == token)[0]) for token in case["red_light_connectors"]]
    rings = tuple(case["map_xy"][case["map_off"][p] : case["map_off"][p + 1] - 1] for p in red)  # closed in the cases
    scene, apart = expected_of(case), []
    for limit in LIMITS:
        proposals = propose(DrivePath(case["centerline"], limit, rings), scene, PdmClosedConfig(), recorded=False)
        plan = choose(proposals, without_touching(scene))
        sampled = np.stack([np.interp(times, np.arange(41), plan[:, axis]) for axis in range(2)], -1)
        apart.append(np.abs(sampled - case["pdm_closed_states"][:, :2]).max())
    assert min(apart) < 1e-6


def expected_of(case) -> PdmScene:
    """The forecast from the first sample: the cases hold no world to make it from."""
    there = np.flatnonzero(~np.isnan(case["obj_raw_2hz"][0, :, 0]))
    heading, velocity = case["obj_raw_2hz"][0, there, 2], case["obj_raw_2hz"][0, there, 3:]
    speed = np.where(case["obj_type"][there] <= 2, np.hypot(*velocity.T), 0.0)
    moved = velocity_of(velocity, heading, speed) * (0.1 * (np.arange(51) // 2 * 2))[:, None, None]
    boxes = np.ascontiguousarray(case["obj_corners"][0, there] + moved[:, :, None])
    kept = {"valid": np.ones((51, len(there)), bool), "kind": case["obj_type"][there].astype(np.uint8), "ids": ()}
    return replace(scene_of(case), boxes=boxes, first_speed=speed, **kept)
