"""Agent steps of nuplan-devkit's own IDM agents on four lanes; run by ``bench_sim`` in the interpreter that has the devkit.

``python nuplan_agents.py AGENTS STEPS`` prints JSON: seconds of CPU time for STEPS steps of 0.1 s of one scene. The devkit's
classes are used as they are (IDMAgent, IDMAgentManager, STRTreeOccupancyMap); only the map is replaced by four lanes of 600 m
without signals, so that what is measured is its agents' propagation, without its map queries, its planner and its tracker.
"""

import json
import sys
import time
from types import SimpleNamespace

import numpy as np
from nuplan.common.actor_state.ego_state import EgoState
from nuplan.common.actor_state.oriented_box import OrientedBox
from nuplan.common.actor_state.scene_object import SceneObjectMetadata
from nuplan.common.actor_state.state_representation import StateSE2, StateVector2D, TimePoint
from nuplan.common.actor_state.tracked_objects_types import TrackedObjectType
from nuplan.common.actor_state.vehicle_parameters import get_pacifica_parameters
from nuplan.common.maps.maps_datatypes import TrafficLightStatusType
from nuplan.planning.simulation.observation.idm.idm_agent import IDMAgent, IDMInitialState
from nuplan.planning.simulation.observation.idm.idm_agent_manager import IDMAgentManager
from nuplan.planning.simulation.observation.idm.idm_policy import IDMPolicy
from nuplan.planning.simulation.occupancy_map.strtree_occupancy_map import STRTreeOccupancyMap


def lane(row: int) -> SimpleNamespace:
    points = [StateSE2(float(x), 3.5 * row, 0.0) for x in np.arange(0.0, 600.0, 1.0)]
    return SimpleNamespace(
        id=str(row), speed_limit_mps=13.9, outgoing_edges=[], has_traffic_lights=lambda: False, stop_lines=[],
        baseline_path=SimpleNamespace(discrete_path=points, get_curvature_at_arc_length=lambda _: 0.0),
    )  # fmt: skip


def agent(number: int) -> IDMAgent:
    row, place = number % 4, number // 4
    x = 30.0 + 15.0 * place
    state = IDMInitialState(
        SceneObjectMetadata(0, f"a{number}", number, f"a{number}"),
        TrackedObjectType.VEHICLE,
        OrientedBox(StateSE2(x, 3.5 * row, 0.0), 4.6, 1.9, 1.6),
        StateVector2D(5.0 + row, 0.0),
        x,
        None,
    )
    policy = IDMPolicy(target_velocity=10, min_gap_to_lead_agent=1.0, headway_time=1.5, accel_max=1.0, decel_max=2.0)
    return IDMAgent(0, state, [lane(row)], policy, minimum_path_length=20)


def main() -> None:
    count, steps = int(sys.argv[1]), int(sys.argv[2])
    agents = {f"a{i}": agent(i) for i in range(count)}
    occupancy = STRTreeOccupancyMap({name: one.agent.box.geometry for name, one in agents.items()})
    manager = IDMAgentManager(agents, occupancy, SimpleNamespace(get_proximal_map_objects=lambda *_: {}))
    manager._get_relevant_stop_lines = lambda *_: []  # this map has none
    lights = {kind: [] for kind in TrafficLightStatusType}
    begin = time.process_time()
    for t in range(steps):
        ego = EgoState.build_from_rear_axle(
            StateSE2(10.0 + 0.5 * t, 0.0, 0.0), StateVector2D(5.0, 0.0), StateVector2D(0.0, 0.0), 0.0, TimePoint(t * 100_000),
            get_pacifica_parameters(),
        )  # fmt: skip
        manager.propagate_agents(ego, 0.1, t, lights, [], 500.0)
    sys.stdout.write(json.dumps({"seconds": time.process_time() - begin}))


if __name__ == "__main__":
    main()
