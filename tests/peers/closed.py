"""PDM-Closed by the peers' own code: its 15 proposals, their scores and the chosen plan. Runs in the peers' environment only.

What is left out is the search of the route on a map: the centre line and the speed limit are given, as ours has them.
"""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np
import peer_world as made
import shapely
from nuplan.common.actor_state.state_representation import StateSE2
from nuplan.common.maps.maps_datatypes import SemanticMapLayer
from nuplan.planning.simulation.trajectory.trajectory_sampling import TrajectorySampling

PLACES = {
    "navsim-1.1": "navsim.planning.simulation.planner.pdm_planner",
    "epdms-2.2": "navsim.planning.simulation.planner.pdm_planner",
    "world-engine": "worldengine.components.agents.policy.pdm_planner",
}
SETTINGS = {  # offsets besides the centre line, and IDM, as metric caches and the dense reward set them
    "navsim": ([-1.0, 1.0], {"speed_limit_fraction": [0.2, 0.4, 0.6, 0.8, 1.0], "fallback_target_velocity": 15.0,
               "min_gap_to_lead_agent": 1.0, "headway_time": 1.5, "accel_max": 1.5, "decel_max": 3.0}),
    "worldengine": ([-3.5, 3.5], {"speed_limit_fraction": [0.15, 0.25, 0.5, 0.75, 1.0], "fallback_target_velocity": 30.0,
                    "min_gap_to_lead_agent": 10.0, "headway_time": 1.5, "accel_max": 4.5, "decel_max": 3.0}),
}  # fmt: skip


def plan(peer: str, case: dict[str, Any]) -> dict[str, np.ndarray]:
    """proposals [15, 41, 3], scores [15] and the index of the chosen one."""
    place = PLACES[peer]
    find = {
        name: getattr(import_module(f"{place}.{module}"), name)
        for module, name in (
            ("observation.pdm_observation", "PDMObservation"),
            ("observation.pdm_occupancy_map", "PDMDrivableMap"),
            ("proposal.batch_idm_policy", "BatchIDMPolicy"),
            ("proposal.pdm_generator", "PDMGenerator"),
            ("proposal.pdm_proposal", "PDMProposalManager"),
            ("scoring.pdm_scorer", "PDMScorer"),
            ("simulation.pdm_simulator", "PDMSimulator"),
            ("utils.pdm_geometry_utils", "parallel_discrete_path"),
            ("utils.pdm_path", "PDMPath"),
        )
    }
    short = TrajectorySampling(num_poses=40, interval_length=0.1)
    long = TrajectorySampling(num_poses=41 if peer == "world-engine" else 50, interval_length=0.1)
    start, route = made.ego_state(case["ego_state"], int(case["ego_time_us"])), made.route_lanes(case)
    observation = find["PDMObservation"](long, short, 100)
    observation.update(start, made.tracks_of(case, 0), made.lights_of(case, 0), route)
    offsets, driver = SETTINGS[place.split(".")[0]]
    line = [StateSE2(*p) for p in case["path"]]
    paths = [find["PDMPath"](line), *(find["PDMPath"](find["parallel_discrete_path"](line, offset)) for offset in offsets)]
    manager = find["PDMProposalManager"](paths, find["BatchIDMPolicy"](**driver))
    manager.update(float(case["limit"]) or None)
    states = find["PDMGenerator"](long, short).generate_proposals(start, observation, manager)
    driven = find["PDMSimulator"](short).simulate_proposals(states, start)
    scorer, area = find["PDMScorer"](short), find["PDMDrivableMap"](*made.polygons(case))
    if peer == "world-engine":
        crossings = [r for r, m in zip(area._geometries, area.map_types, strict=True) if m == SemanticMapLayer.INTERSECTION]
        asked = SimpleNamespace(is_in_layer=lambda point, layer: any(shapely.contains_xy(c, point.x, point.y) for c in crossings))
        scores = scorer.score_proposals(driven, start, observation, paths[0], route, area, asked)
    else:
        scores = scorer.score_proposals(driven, observation, paths[0], list(route), area)
    if peer == "epdms-2.2":
        scores = np.array([float(row["pdm_score"].iloc[0]) for row in scores])
    return {
        "closed_proposals": states[..., :3],
        "closed_scores": np.asarray(scores),
        "closed_index": np.array(int(np.argmax(scores))),
    }
