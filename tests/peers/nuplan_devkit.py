"""What the bridge's checks need of nuplan-devkit: scenarios, simulations, its own metrics by its own configuration files."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import nuplan
import yaml
from nuplan.common.actor_state.vehicle_parameters import get_pacifica_parameters
from nuplan.planning.scenario_builder.nuplan_db.nuplan_scenario_builder import NuPlanScenarioBuilder
from nuplan.planning.scenario_builder.nuplan_db.nuplan_scenario_utils import ScenarioMapping
from nuplan.planning.scenario_builder.scenario_filter import ScenarioFilter
from nuplan.planning.simulation.controller.log_playback import LogPlaybackController
from nuplan.planning.simulation.controller.motion_model.kinematic_bicycle import KinematicBicycleModel
from nuplan.planning.simulation.controller.perfect_tracking import PerfectTrackingController
from nuplan.planning.simulation.controller.tracker.lqr import LQRTracker
from nuplan.planning.simulation.controller.two_stage_controller import TwoStageController
from nuplan.planning.simulation.observation.idm_agents import IDMAgents
from nuplan.planning.simulation.observation.tracks_observation import TracksObservation
from nuplan.planning.simulation.planner.idm_planner import IDMPlanner
from nuplan.planning.simulation.runner.simulations_runner import SimulationRunner
from nuplan.planning.simulation.simulation import Simulation
from nuplan.planning.simulation.simulation_setup import SimulationSetup
from nuplan.planning.simulation.simulation_time_controller.step_simulation_time_controller import StepSimulationTimeController
from nuplan.planning.utils.multithreading.worker_sequential import Sequential

CONFIG = Path(next(iter(nuplan.__path__))) / "planning" / "script" / "config"
MAP_VERSION = "nuplan-maps-v1.0"


def scenarios(folder: Path, seconds: float = 0.0) -> list[Any]:
    """All that the builder finds: a scenario of ``seconds`` at each frame that may begin one; 0: of one frame."""
    mapping = {"unknown": (seconds, 0.0)} if seconds else {}
    builder = NuPlanScenarioBuilder(
        data_root=str(folder), map_root=str(folder / "maps"), sensor_root=str(folder / "sensor_blobs"), db_files=None,
        map_version=MAP_VERSION, scenario_mapping=ScenarioMapping(mapping, 0.5),
    )  # fmt: skip
    nothing = dict.fromkeys((
        "scenario_types", "scenario_tokens", "log_names", "map_names", "num_scenarios_per_type", "limit_total_scenarios",
        "timestamp_threshold_s", "ego_displacement_minimum_m",
    ))  # fmt: skip
    chosen = ScenarioFilter(**nothing, expand_scenarios=not seconds, remove_invalid_goals=True, shuffle=False)
    return builder.get_scenarios(chosen, Sequential())


def simulation(scenario: Any, controller: str = "log", agents: str = "tracks") -> Simulation:
    """A closed loop of the devkit's own parts, before its first step."""
    observations = {"tracks": TracksObservation, "idm": _idm}[agents](scenario)
    ego = {"lqr": _lqr, "perfect": PerfectTrackingController, "log": LogPlaybackController}[controller](scenario)
    return Simulation(SimulationSetup(StepSimulationTimeController(scenario), observations, ego, scenario))


def simulate(scenario: Any, planner: Any, controller: str = "lqr", agents: str = "tracks") -> tuple[Any, Any]:
    """(report, history) of a closed loop, run to its end."""
    loop = simulation(scenario, controller, agents)
    report = SimulationRunner(loop, planner).run()
    return report, loop.history


class Tracker(LQRTracker):
    """The devkit's, on a numpy that makes no number of an array of one: the devkit pins an older one."""

    def _solve_one_step_lqr(self, *arguments: Any, **named: Any) -> Any:
        return np.squeeze(super()._solve_one_step_lqr(*arguments, **named))


def _lqr(scenario: Any) -> TwoStageController:
    told = yaml.safe_load((CONFIG / "simulation/ego_controller/tracker/lqr_tracker.yaml").read_text())
    settings = {
        name: np.array(value) if isinstance(value, list) else float(value) if isinstance(value, str) else value
        for name, value in told.items()
        if not name.startswith("_")
    }
    body = get_pacifica_parameters()
    return TwoStageController(scenario, Tracker(**settings, vehicle=body), KinematicBicycleModel(body))


def _idm(scenario: Any) -> IDMAgents:
    told = yaml.safe_load((CONFIG / "simulation/observation/idm_agents_observation.yaml").read_text())
    return IDMAgents(**{name: value for name, value in told.items() if not name.startswith("_")}, scenario=scenario)


def idm_planner() -> IDMPlanner:
    """The devkit's own planner, as it configures it."""
    told = next(iter(yaml.safe_load((CONFIG / "simulation/planner/idm_planner.yaml").read_text()).values()))
    return IDMPlanner(**{name: value for name, value in told.items() if not name.startswith("_")})


METRICS = (
    "no_ego_at_fault_collisions", "drivable_area_compliance", "driving_direction_compliance", "ego_is_making_progress",
    "time_to_collision_within_bound", "speed_limit_compliance", "ego_is_comfortable",
)  # fmt: skip


def judge(history: Any, scenario: Any) -> dict[str, float]:
    """The devkit's own scores of a simulation, as its challenge configures them."""
    told: dict[str, dict[str, Any]] = {}
    for path in sorted((CONFIG / "common/simulation_metric").glob("*_level/*.yaml")):
        told |= yaml.safe_load(path.read_text()) or {}
    made: dict[str, Any] = {}
    scores = {}
    for name in METRICS:
        found = _metric(f"{name}_statistics", told, made, history, scenario)
        scores[name] = float(found[0].metric_score if found and found[0].metric_score is not None else np.nan)
    return scores


def _metric(name: str, told: dict[str, dict[str, Any]], made: dict[str, Any], history: Any, scenario: Any) -> Any:
    """The results of a metric, those that it needs computed first; ``made`` holds the metrics by name."""
    settings = dict(told[name])
    path, _, cls = settings.pop("_target_").rpartition(".")
    needed = {}
    for key, other in (settings.pop("required_metrics", None) or {}).items():
        if other not in made:
            _metric(other, told, made, history, scenario)
        needed[key] = made[other]
    settings.pop("_convert_", None)
    made[name] = getattr(importlib.import_module(path), cls)(**settings, **needed)
    return made[name].compute(history, scenario)
