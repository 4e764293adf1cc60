"""The checks of ``nuplan_bridge.py``: each yields what it compared, how often it differed and by how much."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import nuplan_devkit as devkit
import nuplan_plain
from nuplan.common.actor_state.state_representation import Point2D
from nuplan.common.maps.maps_datatypes import SemanticMapLayer
from nuplan.planning.simulation.planner.simple_planner import SimplePlanner
from nuplan_bridge import Check, Found
from nuplan_policies import policies
from nuplan_sensors import sensors
from omegaconf import OmegaConf
from wetoolkit_driving.domain import Driving
from wetoolkit_driving.types import RoadMap, World
from wetoolkit_logs.nuplan.bridge import MapView, as_planner, from_scenario
from wetoolkit_logs.nuplan.bridge.planner import Driver, Settings
from wetoolkit_logs.nuplan.dataset import NuPlan, NuPlanConfig

from wetoolkit.store import write_state
from wetoolkit.types import Ref, Scenario, Situation

LAYERS = {
    "LANE": "lanes_polygons", "LANE_CONNECTOR": "lane_connectors", "ROADBLOCK": "lane_groups_polygons",
    "ROADBLOCK_CONNECTOR": "lane_group_connectors", "INTERSECTION": "intersections", "STOP_LINE": "stop_polygons",
    "CROSSWALK": "crosswalks", "WALKWAYS": "walkways", "CARPARK_AREA": "carpark_areas",
}  # fmt: skip
SECONDS = 8.0  # of a simulation
LIMITS = {"ego yaw rate [rad/s]": 0.05, "ego steering [rad]": 0.05}  # the devkit does not tell these: made from headings
EXACT = 1e-6  # metres and radians: float32 places within 200 m differ by less than 2e-5
TOLERANCE = {"boxes [m, rad]": 2e-5, "velocities [m/s]": 1e-5, "sizes [m]": 1e-5}


class Bench:
    """What the checks share; each part is made when first needed."""

    def __init__(self, build: Path, windows: int, degrees: bool = False) -> None:
        self.build, self.town, self.count, self.degrees = build, build / "town", windows, degrees

    @cached_property
    def plain(self) -> Path:
        return nuplan_plain.plain(self.town, self.build / ("degrees" if self.degrees else "plain"), self.degrees)

    @cached_property
    def reader(self) -> NuPlan:
        return NuPlan(NuPlanConfig(folder=str(self.plain), splits={"all": 1.0}))

    @cached_property
    def refs(self) -> dict[str, Ref]:
        """Token -> window of ours, for every frame with 2 s before and 8 s after it."""
        return {ref.id.rpartition("/")[2]: ref for ref in self.reader.find()}

    @cached_property
    def frames(self) -> list[Any]:
        """Every scenario of one frame that the builder finds."""
        return devkit.scenarios(self.plain)

    @cached_property
    def pairs(self) -> list[tuple[Any, Scenario[World]]]:
        """Scenarios of the devkit with the same windows as our reader gives them, all over the logs."""
        both = [scenario for scenario in self.frames if scenario.token in self.refs]
        chosen = [both[k] for k in np.linspace(0, len(both) - 1, self.count).astype(int)]
        return [(scenario, self.reader.load(self.refs[scenario.token])) for scenario in chosen]

    @cached_property
    def drives(self) -> list[Any]:
        """Scenarios of some seconds that lie in the log whole, those of a long way that begin at speed first."""
        found = [one for one in devkit.scenarios(self.plain, SECONDS) if one.token in self.refs]
        few = [found[k] for k in np.linspace(0, len(found) - 1, 40).astype(int)]
        return sorted(few, key=lambda one: min(way(one), 8 * speed(one)), reverse=True)

    @cached_property
    def policies(self) -> dict[str, Any]:
        return policies(self.reader, list(self.refs.values()))


def way(scenario: Any) -> float:
    """Metres between the first and last pose of a scenario's ego."""
    ends = [scenario.get_ego_state_at_iteration(k).rear_axle for k in (0, scenario.get_number_of_iterations() - 1)]
    return float(np.hypot(ends[1].x - ends[0].x, ends[1].y - ends[0].y))


def speed(scenario: Any) -> float:
    """m/s, of the ego at the beginning of a scenario."""
    return float(scenario.initial_ego_state.dynamic_car_state.speed)


def checks(build: Path, windows: int) -> Iterator[tuple[str, Check]]:
    """Name and check, in order."""
    bench = Bench(build, windows)
    yield "builder", lambda: builder(bench)
    yield "map", lambda: city(bench)
    yield "scenario", lambda: scenarios(bench)
    yield "map in degrees", lambda: only(scenarios(Bench(build, windows // 2, degrees=True)), ("map: ", "route", "windows"))
    yield "replay", lambda: replay(bench)
    yield "devkit's IDM", lambda: peer(bench)
    yield "sensors", lambda: sensors(build / "sensed")
    yield "plan", lambda: plans(bench)
    for policy, controller, agents in (
        ("constant-velocity", "perfect", "tracks"), ("constant-velocity", "lqr", "tracks"), ("pdm-closed", "lqr", "tracks"),
        ("pdm-closed", "lqr", "idm"), ("vocabulary-vector", "lqr", "tracks"),
    ):  # fmt: skip
        yield f"drive {policy}", lambda p=policy, c=controller, a=agents: drive(bench, p, c, a)
    yield "docs", lambda: docs(bench)


def builder(bench: Bench) -> Iterator[Found]:
    """Scenarios of written logs: each at a frame of the log, with a goal, a route and 2 s of past."""
    found = devkit.scenarios(bench.town)
    logs = {scenario.log_name for scenario in found}
    lost = [one for one in found if one.token not in {other.token for other in bench.frames}]
    yield Found("scenarios", len(found), len(lost), note=f"of {len(logs)} logs")
    some = found[:: max(len(found) // 20, 1)]
    bad = [one for one in some if one.get_mission_goal() is None or not one.get_route_roadblock_ids()]
    yield Found("goals and routes", len(some), len(bad))
    short = [one for one in some if len(list(one.get_past_tracked_objects(0, 2.0, 20))) != 20]
    yield Found("tracks of the past 2 s", len(some), len(short))


def city(bench: Bench) -> Iterator[Found]:
    """Every layer that we write, object by object."""
    api, counts = bench.frames[0].map_api, nuplan_plain.rows(bench.plain)
    objects = {
        name: api.get_proximal_map_objects(Point2D(0, 0), 1e9, [SemanticMapLayer[name]])[SemanticMapLayer[name]] for name in LAYERS
    }
    for name, layer in LAYERS.items():
        areas = [one.polygon.area if name != "LANE_CONNECTOR" else one.baseline_path.length for one in objects[name]]
        yield Found(layer, counts[layer], abs(len(areas) - counts[layer]) + sum(area <= 0 for area in areas), note=name)
    lanes = [*objects["LANE"], *objects["LANE_CONNECTOR"]]
    odd = [
        one for one in lanes for other in one.outgoing_edges if other is None or one.id not in {e.id for e in other.incoming_edges}
    ]
    yield Found("lane graph", sum(len(one.outgoing_edges) for one in lanes), len(odd), note="outgoing edges lead back")
    lost = [one for one in lanes if one.parent is None or one.id not in {edge.id for edge in one.parent.interior_edges}]
    yield Found("lanes in roadblocks", len(lanes), len(lost))
    ends = [one.left_boundary.linestring.length * one.right_boundary.linestring.length for one in lanes]
    yield Found("boundaries", 2 * len(lanes), sum(not end > 0 for end in ends))
    beside = [pair for one in objects["LANE"] for pair in [one.adjacent_edges] if any(other is one for other in pair)]
    yield Found("lanes beside lanes", len(objects["LANE"]), len(beside))
    said = {light.lane_connector_id for one in bench.frames[::50] for light in one.get_traffic_light_status_at_iteration(0)}
    dark = [fid for fid in said if not api.get_map_object(str(fid), SemanticMapLayer.LANE_CONNECTOR).has_traffic_lights()]
    yield Found("connectors with lights", len(said), len(dark), note="have stop lines, which is how the devkit's agents tell")
    poses = [one.initial_ego_state for one in bench.frames[:: max(len(bench.frames) // 60, 1)]]
    for layer in ("DRIVABLE_AREA", "LANE or CONNECTOR"):
        inside = [on(api, pose.rear_axle.point, layer) for pose in poses]
        yield Found(f"ego in {layer}", len(inside), inside.count(False))


def on(api: Any, place: Any, layer: str) -> bool:
    if layer == "DRIVABLE_AREA":
        return bool(api.is_in_layer(place, SemanticMapLayer.DRIVABLE_AREA))
    return bool(
        api.get_all_map_objects(place, SemanticMapLayer.LANE) or api.get_all_map_objects(place, SemanticMapLayer.LANE_CONNECTOR)
    )


def scenarios(bench: Bench) -> Iterator[Found]:
    """``from_scenario`` against our reader, on logs without what only our reader knows."""
    sums: dict[str, list[float]] = {}
    views: dict[str, MapView] = {}
    for scenario, ours in bench.pairs:
        view = views.setdefault(scenario.log_name, MapView(scenario.map_api, 120.0))
        made = from_scenario(scenario, view=view)
        away = np.abs(np.array(made.origin[:2]) - ours.origin[:2])
        for name, (a, b) in {**fields(made.world, ours.world), "origin [m]": (np.zeros(2), away)}.items():
            a, b = np.asarray(a), np.asarray(b)
            row = sums.setdefault(name, [0, 0, 0.0])
            row[0] += max(a.size, b.size)
            if a.shape != b.shape:
                row[1] += max(a.size, b.size)
            elif a.dtype.kind in "OU":
                row[1] += int((a != b).sum())
            elif a.size:
                apart = np.abs(a.astype(np.float64) - b)
                row[1] += int((apart > LIMITS.get(name, TOLERANCE.get(name, EXACT))).sum())
                row[2] = max(row[2], float(apart.max()))
    asked = sum(view.asked for view in views.values())
    for name, (count, bad, worst) in sums.items():
        note = f"may differ by {LIMITS[name]}: the devkit drops it" if name in LIMITS else ""
        yield Found(name, int(count), int(bad), worst, note)
    yield Found("windows", len(bench.pairs), 0, note=f"the map was asked {asked} times")


def only(found: Iterator[Found], names: tuple[str, ...]) -> Iterator[Found]:
    """Those whose names begin so, and those that do not agree."""
    yield from (one for one in found if one.what.startswith(names) or one.mismatches)


def fields(a: World, b: World) -> dict[str, tuple[Any, Any]]:
    """Arrays of two worlds by name."""
    pairs: dict[str, tuple[Any, Any]] = {
        "ids": (a.agents.ids, b.agents.ids), "classes": (a.agents.kind, b.agents.kind), "sizes [m]": (a.agents.size, b.agents.size),
        "boxes [m, rad]": (a.agents.pose, b.agents.pose), "velocities [m/s]": (a.agents.velocity, b.agents.velocity),
        "seen": (a.agents.valid, b.agents.valid), "ego [m, rad, m/s, m/s^2]": (a.ego.states[:, :7], b.ego.states[:, :7]),
        "ego yaw rate [rad/s]": (a.ego.states[:, 9], b.ego.states[:, 9]),
        "ego steering [rad]": (a.ego.states[:, 7], b.ego.states[:, 7]),
        "signals": (a.signals, b.signals), "route": (a.route, b.route), "on route": (a.on_route, b.on_route),
    }  # fmt: skip
    names = [name for name in RoadMap.__dataclass_fields__]  # noqa: C416
    return pairs | {f"map: {name}": (getattr(a.map, name), getattr(b.map, name)) for name in names}


def replay(bench: Bench) -> Iterator[Found]:
    """The recorded drive judged by the devkit's own metrics."""
    scores: dict[str, list[float]] = {}
    for scenario in bench.drives[:3]:
        report, history = devkit.simulate(scenario, SimplePlanner(4.0, 0.1, np.zeros(2)), "log")
        assert report.succeeded and len(history) == scenario.get_number_of_iterations() - 1
        for name, score in devkit.judge(history, scenario).items():
            scores.setdefault(name, []).append(score)
    for name, found in scores.items():
        yield Found(name, len(found), sum(not score > 0.99 for score in found), note=f"lowest score {min(found):.2f}")


def peer(bench: Bench) -> Iterator[Found]:
    """The devkit's own planner on the devkit's own agents: route, lane graph, lights and speed limits of our map at work."""
    scenario = bench.drives[0]
    report, history = devkit.simulate(scenario, devkit.idm_planner(), "lqr", "idm")
    told = ", ".join(
        f"{metric.replace('_compliance', '')} {score:.2f}" for metric, score in devkit.judge(history, scenario).items()
    )
    yield Found("steps", len(history), int(not report.succeeded), note=told)


def plans(bench: Bench) -> Iterator[Found]:
    """A policy's plan at a frame: by what the devkit's simulation hands to a planner, and by our reader's window."""
    moving = {scenario.token: scenario for scenario in devkit.scenarios(bench.plain, SECONDS)}
    for name, policy in bench.policies.items():
        apart = []
        for scenario, ours in bench.pairs[::2]:
            simulation = devkit.simulation(moving[scenario.token])
            driver = Driver(policy, Settings(), simulation.initialize())
            _, states = driver.plan(simulation.get_planner_input())
            seen = Driving().observe([Situation("ours", "ours", ours.world, ours.clock.now)], policy.spec)
            plan = policy.act(seen, 0).trajectories[0]
            now = ours.world.ego.states[ours.clock.now, :3] + [*ours.origin[:2], 0]
            cosine, sine = np.cos(now[2]), np.sin(now[2])
            apart.append(np.abs(now[:2] + plan[:, :2] @ np.array([[cosine, sine], [-sine, cosine]]) - states[1:, :2]).max())
        bad = sum(error > 0.05 for error in apart)
        yield Found(name, len(apart), bad, max(apart), "metres, over the plan's 4 s; 0.05 may be")


def drive(bench: Bench, name: str, controller: str, agents: str) -> Iterator[Found]:
    """A closed loop of the devkit with a policy of ours."""
    for scenario in bench.drives[:1]:
        report, history = devkit.simulate(scenario, as_planner(bench.policies[name], name), controller, agents)
        states = np.array([[*one.ego_state.rear_axle.serialize(), one.ego_state.dynamic_car_state.speed] for one in history.data])
        due = scenario.get_number_of_iterations() - 1  # none is simulated from the last
        bad = int(not report.succeeded or len(states) != due or not np.isfinite(states).all() or report.planner_name != name)
        took = np.median(report.planner_report.compute_trajectory_runtimes) * 1e3
        went = np.hypot(*np.diff(states[:, :2], axis=0).T).sum()
        note = f"{went:.0f} m where the log's ego went {way(scenario):.0f} m; {took:.0f} ms a plan"
        yield Found(f"{controller}, {agents}: steps", len(states), bad, note=note)
        if (name, controller) == ("constant-velocity", "perfect"):
            first, time = states[0], 0.1 * np.arange(len(states))
            line = first[:2] + first[3] * time[:, None] * [np.cos(first[2]), np.sin(first[2])]
            error = float(np.abs(states[:, :2] - line).max())
            yield Found("straight on [m]", len(states), int((np.abs(states[:, :2] - line) > 1e-3).sum()), error)
        scores = devkit.judge(history, scenario)
        told = ", ".join(f"{metric.replace('_compliance', '')} {score:.2f}" for metric, score in scores.items())
        yield Found(f"{controller}, {agents}: scores", len(scores), int((~np.isfinite(list(scores.values()))).sum()), note=told)


def docs(bench: Bench) -> Iterator[Found]:
    """The code of docs/nuplan-bridge.md, beside the logs written here."""
    page = Path(__file__).resolve().parents[2] / "docs" / "nuplan-bridge.md"
    blocks = [part.partition("\n") for part in page.read_text().split("```")[1::2]]
    code = [text for marker, _, text in blocks if marker.strip() == "python peers"]
    trained = bench.policies["vocabulary-vector"]
    kept = {"use": "vocabulary-vector", "settings": trained.config.model_dump(mode="json")}
    write_state(bench.build / "runs/quickstart/policies/train-1-made.safetensors", trained.state(), kept)
    before = Path.cwd()
    os.chdir(bench.build)
    try:
        space: dict[str, Any] = {}
        for text in code:
            exec(compile(text, str(page), "exec"), space)
    finally:
        os.chdir(before)
    yield Found("blocks of docs/nuplan-bridge.md", len(code), int(not code))
    from nuplan.planning.script.builders.planner_builder import build_planners  # wants pytorch-lightning

    told = OmegaConf.create(next(text for marker, _, text in blocks if marker.strip() == "yaml"))
    named = [planner.name() for planner in build_planners(told, None)]
    yield Found("planners of a configuration", len(named), int(named != ["pdm-closed"]), note="by the devkit's own build_planners")
