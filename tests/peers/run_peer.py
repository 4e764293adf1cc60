"""Score cases with a peer's own code: python run_peer.py PEER IN OUT, in the peers' environment; PEER is a key of ``PEERS``.

Reads IN/*.npz (``compare.py`` writes them), runs the peer as its own scripts do, and writes OUT/*.npz of numbers. Nothing of the
peers is replaced but what reads logs and maps from disk.
"""

from __future__ import annotations

import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import closed
import numpy as np
import peer_world as made
import shapely
from nuplan.common.actor_state.state_representation import StateSE2
from nuplan.planning.simulation.trajectory.trajectory_sampling import TrajectorySampling

SAMPLING = TrajectorySampling(num_poses=40, interval_length=0.1)
Case = dict[str, Any]


def evidence(scorer: Any, row: int) -> dict[str, np.ndarray]:
    """What a scorer keeps of one proposal."""
    return {
        "ego_areas": scorer._ego_areas[row],
        "progress_raw": scorer._progress_raw[row],
        "collision_idx": scorer._collision_time_idcs[row],
        "ttc_idx": scorer._ttc_time_idcs[row],
    }


def navsim_11(case: Case) -> dict[str, Any]:
    """NAVSIM v1.1: ``pdm_score`` for each proposal."""
    from navsim.common.dataclasses import Trajectory
    from navsim.evaluate.pdm_score import pdm_score
    from navsim.planning.metric_caching.metric_cache_processor import MetricCacheProcessor
    from navsim.planning.simulation.planner.pdm_planner.observation.pdm_occupancy_map import PDMDrivableMap
    from navsim.planning.simulation.planner.pdm_planner.scoring.pdm_comfort_metrics import ego_is_comfortable
    from navsim.planning.simulation.planner.pdm_planner.scoring.pdm_scorer import PDMScorer
    from navsim.planning.simulation.planner.pdm_planner.simulation.pdm_simulator import PDMSimulator
    from navsim.planning.simulation.planner.pdm_planner.utils.pdm_path import PDMPath

    start, now = made.ego_state(case["ego_state"], int(case["ego_time_us"])), int(case["ego_time_us"])
    future = TrajectorySampling(num_poses=50, interval_length=0.1)
    maker = SimpleNamespace(_future_sampling=future, _proposal_sampling=SAMPLING, _map_radius=100)
    cache = SimpleNamespace(
        ego_state=start,
        trajectory=made.trajectory(case["pdm_closed_states"], now, 100_000),
        observation=MetricCacheProcessor._interpolate_gt_observation(maker, made.scenario_of(case)),
        centerline=PDMPath([StateSE2(*p) for p in case["centerline"]]),
        route_lane_ids=list(made.route_lanes(case)),
        drivable_area_map=PDMDrivableMap(*made.polygons(case)),
    )
    scorer, simulator, rows = PDMScorer(SAMPLING), PDMSimulator(SAMPLING), []
    begun = time.process_time()
    for plan in case["proposals_10hz"]:
        result = pdm_score(cache, Trajectory(plan, SAMPLING), SAMPLING, simulator, scorer)
        states = scorer._states[1]
        rows.append(
            {
                "nc": result.no_at_fault_collisions,
                "dac": result.drivable_area_compliance,
                "ddc": result.driving_direction_compliance,
                "ep": result.ego_progress,
                "ttc": result.time_to_collision_within_bound,
                "comfort": result.comfort,
                "score": result.score,
                "simulated_states": states,
                "comfort6": ego_is_comfortable(states[None], np.arange(41) * 0.1)[0],
            }
            | evidence(scorer, 1)
        )
    spent = time.process_time() - begun
    return stacked(rows) | made.seen(case, cache.observation, 51) | {"reference": reference_of(cache), "seconds": np.array(spent)}


def reference_of(cache: Any) -> np.ndarray:
    """The states [41, 11] of PDM-Closed as the peer samples them."""
    from navsim.evaluate.pdm_score import get_trajectory_as_array

    return get_trajectory_as_array(cache.trajectory, SAMPLING, cache.ego_state.time_point)


def epdms_22(case: Case) -> dict[str, Any]:
    """NAVSIM v2.2: ``pdm_score`` for each proposal, without and with the human filter, log-replay traffic."""
    from navsim.common.dataclasses import Trajectory
    from navsim.common.enums import SceneFrameType
    from navsim.evaluate.pdm_score import pdm_score
    from navsim.planning.metric_caching.metric_cache_processor import MetricCacheProcessor
    from navsim.planning.simulation.planner.pdm_planner.observation.pdm_occupancy_map import PDMDrivableMap
    from navsim.planning.simulation.planner.pdm_planner.scoring.pdm_comfort_metrics import ego_is_comfortable
    from navsim.planning.simulation.planner.pdm_planner.scoring.pdm_scorer import PDMScorer, PDMScorerConfig
    from navsim.planning.simulation.planner.pdm_planner.simulation.pdm_simulator import PDMSimulator
    from navsim.planning.simulation.planner.pdm_planner.utils.pdm_array_representation import ego_states_to_state_array
    from navsim.planning.simulation.planner.pdm_planner.utils.pdm_path import PDMPath
    from navsim.traffic_agents_policies.log_replay_traffic_agents import LogReplayTrafficAgents
    from nuplan.common.actor_state.state_representation import TimePoint

    start, now, scenario = (
        made.ego_state(case["ego_state"], int(case["ego_time_us"])),
        int(case["ego_time_us"]),
        made.scenario_of(case),
    )
    maker = SimpleNamespace(_proposal_sampling=SAMPLING, _map_radius=100)
    tracks = MetricCacheProcessor._interpolate_gt_observation(maker, scenario)
    lights = MetricCacheProcessor._interpolate_traffic_light_status(maker, scenario)
    past = made.trajectory(case["ego_past_2hz"], now - 1_500_000, 500_000)
    cache = SimpleNamespace(
        ego_state=start,
        trajectory=made.trajectory(case["pdm_closed_states"], now, 100_000),
        human_trajectory=Trajectory(case["human_10hz"], SAMPLING),
        past_human_trajectory=past,
        observation=MetricCacheProcessor._build_pdm_observation(maker, tracks, lights, made.route_lanes(case)),
        centerline=PDMPath([StateSE2(*p) for p in case["centerline"]]),
        route_lane_ids=list(made.route_lanes(case)),
        drivable_area_map=PDMDrivableMap(*made.polygons(case)),
        map_parameters=None,
        scene_type=SceneFrameType.ORIGINAL,
    )
    names = {
        "nc": "no_at_fault_collisions", "dac": "drivable_area_compliance", "ddc": "driving_direction_compliance",
        "tlc": "traffic_light_compliance", "ep": "ego_progress", "ttc": "time_to_collision_within_bound", "lk": "lane_keeping",
        "comfort": "history_comfort",
    }  # fmt: skip
    plain, filtering = PDMScorer(SAMPLING), PDMScorer(SAMPLING, PDMScorerConfig(human_penalty_filter=True))
    simulator, traffic, rows = PDMSimulator(SAMPLING), LogReplayTrafficAgents(SAMPLING), []
    ticks = np.arange(past.start_time.time_us, past.end_time.time_us, 100_000)[:-1]
    history = ego_states_to_state_array(past.get_state_at_times([TimePoint(int(t)) for t in ticks]))
    spent = 0.0
    for plan in case["proposals_10hz"]:
        begun = time.process_time()
        result, states = pdm_score(cache, Trajectory(plan, SAMPLING), SAMPLING, simulator, plain, traffic)
        spent += time.process_time() - begun
        found = evidence(plain, 1)
        whole = np.concatenate([history, states])
        found["comfort6"] = ego_is_comfortable(whole[None], np.arange(len(whole)) * 0.1)[0]
        after, _ = pdm_score(cache, Trajectory(plan, SAMPLING), SAMPLING, simulator, filtering, traffic)
        found |= {name: result[column].iloc[0] for name, column in names.items()}
        found |= {f"filtered_{name}": after[column].iloc[0] for name, column in names.items()}
        found |= {"filtered_gate": after["multiplicative_metrics_prod"].iloc[0], "score": result["pdm_score"].iloc[0]}
        rows.append(found | {"simulated_states": states})
    seen = made.seen(case, plain._observation, 41)
    return stacked(rows) | seen | {"reference": reference_of(cache), "ego_past": history, "seconds": np.array(spent)}


def world_engine(case: Case) -> dict[str, Any]:
    """World Engine's dense reward: all proposals at once, PDM-Closed in row 0."""
    from nuplan.common.maps.maps_datatypes import SemanticMapLayer
    from worldengine.components.agents.policy.pdm_planner.observation.pdm_observation import PDMObservation
    from worldengine.components.agents.policy.pdm_planner.observation.pdm_occupancy_map import PDMDrivableMap
    from worldengine.components.agents.policy.pdm_planner.scoring.pdm_comfort_metrics import ego_is_comfortable
    from worldengine.components.agents.policy.pdm_planner.scoring.pdm_scorer import PDMScorer
    from worldengine.components.agents.policy.pdm_planner.simulation.pdm_simulator import PDMSimulator
    from worldengine.components.agents.policy.pdm_planner.utils.pdm_enums import MultiMetricIndex, WeightedMetricIndex
    from worldengine.components.agents.policy.pdm_planner.utils.pdm_path import PDMPath
    from worldengine.manager.dense_reward_manager import DenseRewardManager

    start = made.ego_state(case["ego_state"], int(case["ego_time_us"]))
    maker = SimpleNamespace(_interpolate_single_observation=lambda *a: DenseRewardManager._interpolate_single_observation(None, *a))
    tracks = DenseRewardManager._interpolate_observations(maker, [made.tracks_of(case, s) for s in range(9)])
    observation = PDMObservation(SAMPLING, SAMPLING, 100)
    route = made.route_lanes(case)
    observation.update_detections_tracks(tracks, [[] for _ in tracks], route, compute_traffic_light_data=True)
    area = PDMDrivableMap(*made.polygons(case))
    crossings = [
        ring for ring, layer in zip(area._geometries, area.map_types, strict=True) if layer == SemanticMapLayer.INTERSECTION
    ]
    in_crossing = SimpleNamespace(is_in_layer=lambda point, layer: any(shapely.contains_xy(c, point.x, point.y) for c in crossings))
    simulator, scorer = PDMSimulator(SAMPLING), PDMScorer(SAMPLING)
    pose = case["ego_state"][:3]
    plans = DenseRewardManager.batched_global_transform(None, case["proposals_10hz"], pose[:2], pose[2])
    plans = np.concatenate([np.broadcast_to(pose, (len(plans), 1, 3)), plans], 1)
    reference = simulator.simulate_proposals(case["pdm_closed_states"][None], start)
    begun = time.process_time()
    states = np.concatenate([reference, simulator.simulate_proposals(plans, start, batch_sim=True)])
    centre = PDMPath([StateSE2(*p) for p in case["centerline"]])
    scores = scorer.score_proposals(states, start, observation, centre, route, area, in_crossing, batch=True)
    spent = time.process_time() - begun
    gates, terms = scorer._multi_metrics, scorer._weighted_metrics
    found = {
        "nc": gates[MultiMetricIndex.NO_COLLISION],
        "dac": gates[MultiMetricIndex.DRIVABLE_AREA],
        "ep": terms[WeightedMetricIndex.PROGRESS],
        "ttc": terms[WeightedMetricIndex.TTC],
        "comfort": terms[WeightedMetricIndex.COMFORTABLE],
        "lk": terms[WeightedMetricIndex.LANE_KEEPING],
        "ddc": terms[WeightedMetricIndex.DRIVING_DIRECTION],
        "score": scores,
        "simulated_states": states,
        "comfort6": ego_is_comfortable(states, np.arange(41) * 0.1),
    } | evidence(scorer, slice(None))
    kept = {name: np.asarray(values)[1:] for name, values in found.items()}
    return kept | made.seen(case, observation, 41) | {"reference": case["pdm_closed_states"], "seconds": np.array(spent)}


def aggregation(tables: Case) -> dict[str, Any]:
    """NAVSIM v2.2's extended comfort, weights and two-stage aggregation over tables of frames."""
    import pandas as pd
    from navsim.planning.script import run_pdm_score as script
    from navsim.planning.simulation.planner.pdm_planner.scoring.pdm_scorer import PDMScorerConfig

    weights, groups = PDMScorerConfig().weighted_metrics_array, tables["groups"]  # [G, 1 + M, 2] rows: now, before
    columns = {name: i for i, name in enumerate(tables["names"].tolist())}
    rows = []
    for r, terms in enumerate(tables["terms"]):
        mean = [terms[columns[name]] for name in ("ep", "ttc", "lk", "comfort")] + [np.nan]
        rows.append(
            {
                "token": f"f{r}",
                "start_time": tables["time"][r],
                "endpoint_x": tables["end"][r, 0],
                "endpoint_y": tables["end"][r, 1],
                "start_point_x": tables["start"][r, 0],
                "start_point_y": tables["start"][r, 1],
                "ego_simulated_states": tables["states"][r],
                "weighted_metrics": np.array(mean),
                "weighted_metrics_array": weights,
                "multiplicative_metrics_prod": np.prod([terms[columns[name]] for name in ("nc", "dac", "ddc", "tlc")]),
            }
        )
    mapping = {tuple(f"f{r}" for r in g[0]): [tuple(f"f{r}" for r in pair) for pair in g[1:]] for g in groups}
    frame = script.compute_final_scores(script.create_scene_aggregators(mapping, pd.DataFrame(rows), SAMPLING))
    whole, first, second = script.calculate_individual_mapping_scores(frame[["score", "token", "weight"]], mapping)
    ordered = frame.set_index("token").loc[[row["token"] for row in rows]]
    return {
        "ec": ordered["two_frame_extended_comfort"].to_numpy(np.float64),
        "weight": ordered["weight"].to_numpy(np.float64),
        "score": ordered["score"].to_numpy(np.float64),
        "two_stage": np.array([whole["score"], first["score"], second["score"]], np.float64),
        "seconds": np.array(0.0),
    }


def stacked(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """One array [N, ...] a result."""
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


PEERS = {"navsim-1.1": navsim_11, "epdms-2.2": epdms_22, "world-engine": world_engine, "aggregation": aggregation}


def main(peer: str, source: Path, target: Path) -> None:
    """Score every case of a folder."""
    warnings.simplefilter("ignore")
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.glob("*.npz")):
        with np.load(path, allow_pickle=False) as file:
            case = {name: file[name] for name in file.files}
        found = PEERS[peer](case)
        if "path" in case:
            found |= closed.plan(peer, case)
        np.savez_compressed(target / path.name, allow_pickle=False, **found)
        print(f"{peer} {path.stem}: {len(found['score'])} proposals in {float(found['seconds']):.2f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
