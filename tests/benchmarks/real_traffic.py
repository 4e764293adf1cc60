"""Reactive traffic on real logs, run to their ends: agents that collide or leave the road, against the log's own.

``python real_traffic.py [FOLDER]`` reads ScenarioNet files (of $WETOOL_DATA/scenarionet_nuscenes by default). The ego drives
``pdm-closed`` or repeats its log. Counted from the first second on, per log: pairs of agents whose boxes ever touch (at least one
of them moving; ``drivers``: both vehicles or cyclists), and moving vehicles and cyclists whose centre is ever off the road.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import shapely
from wetoolkit_driving.geometry import box_corners, boxes_touch
from wetoolkit_driving.pdm.areas import GROUND
from wetoolkit_driving.pdm.closed import PdmClosed, PdmClosedConfig
from wetoolkit_driving.reconstruct import Replay, ReplayConfig
from wetoolkit_driving.simulator import ClosedLoop, ClosedLoopConfig
from wetoolkit_driving.testing import with_control
from wetoolkit_driving.traffic.behaviours import movers
from wetoolkit_driving.traffic.engine import start
from wetoolkit_driving.traffic.manners import TrafficConfig
from wetoolkit_driving.types import AgentClass, AreaKind, Control, World
from wetoolkit_logs.scenarionet import ScenarioNet, ScenarioNetConfig

from wetoolkit.types import Scene

MODES = {"log": Control.REPLAY, "reactive": Control.REACTIVE, "idm": Control.IDM}


def counts(world: World, now: int) -> Counter[str]:
    """Pairs that touch and movers off the road from ``now`` on, and how many movers there are."""
    agents = world.agents
    pose, size = agents.pose[:, now:].astype(float), agents.size.astype(float)
    boxes, valid, moves = box_corners(pose, size[:, :1], size[:, 1:2]), agents.valid[:, now:], movers(agents, now)
    found = Counter(movers=int(moves.sum()), touching=0, drivers=0, off_road=0)
    for i in range(len(pose)):
        for j in range(i):
            near = np.hypot(*(pose[i] - pose[j])[:, :2].T) < np.hypot(*size[i, :2]) + np.hypot(*size[j, :2])
            both = np.flatnonzero(near & valid[i] & valid[j])
            if (moves[i] or moves[j]) and len(both) and boxes_touch(boxes[i, both], boxes[j, both]).any():
                found["touching"] += 1
                drives = np.isin(agents.kind[[i, j]], (AgentClass.VEHICLE, AgentClass.BICYCLE)).all()
                found["drivers"] += int(drives)
    kinds = (*GROUND, AreaKind.LANE, AreaKind.LANE_CONNECTOR, AreaKind.DRIVABLE_AREA)
    rings = [world.map.area(int(p)) for p in np.flatnonzero(np.isin(world.map.area_kind, kinds))]
    road = shapely.union_all(shapely.make_valid([shapely.Polygon(ring) for ring in rings])).buffer(0.1)
    shapely.prepare(road)
    for a in np.flatnonzero(moves & np.isin(agents.kind, (AgentClass.VEHICLE, AgentClass.BICYCLE))):
        there = pose[a, valid[a], :2]
        found["off_road"] += int(len(there) > 0 and not shapely.contains_xy(road, there).all())
    return found


def run(scene: Scene[World], mode: str, ego: str) -> tuple[World, int]:
    """The world after the run, and how many agents left their log."""
    world, now = with_control(scene.world, MODES[mode]), scene.clock.now
    if ego == "log":
        traffic = start(world, now, TrafficConfig())
        traffic.run(now, world.steps - 1, world.ego.states)
        made, left = type(world)(**{**world.__dict__, "agents": traffic.agents}), traffic.counts()["idm_agents"]
    else:
        scene = type(scene)(**{**scene.__dict__, "world": world})
        rollout = ClosedLoop(ClosedLoopConfig(horizon=0.0)).rollout([scene], PdmClosed(PdmClosedConfig()), [0])[0]
        made, left = rollout.world, int(rollout.settings["idm_agents"])
    return made, left


def main() -> None:
    default = Path(os.environ.get("WETOOL_DATA", Path(__file__).parents[3] / "shared/data")) / "scenarionet_nuscenes"
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    dataset = ScenarioNet(
        ScenarioNetConfig(folder=str(folder), splits={"test": 1.0}, history=1.0, future=18.0, stride=600.0)
    )  # fmt: skip
    refs = {ref.log: ref for ref in reversed(dataset.index("test"))}
    rows: dict[tuple[str, str], Counter[str]] = {}
    for ref in refs.values():
        scene = Replay(ReplayConfig()).reconstruct(dataset.load(ref), None, 0)
        for ego in ("log", "pdm-closed"):
            for mode in MODES:
                world, left = run(scene, mode, ego)
                rows.setdefault((ego, mode), Counter()).update(counts(world, scene.clock.now) + Counter(left_log=left))
                rows[ego, mode]["seconds"] += round((world.steps - scene.clock.now) * world.dt)
    sys.stdout.write(f"{len(refs)} logs\n{'ego':12s} {'others':10s} {'seconds':>8s} movers left_log touching  drivers off_road\n")
    for (ego, mode), row in rows.items():
        cells = "".join(f"{row[name]:9d}" for name in ("seconds", "movers", "left_log", "touching", "drivers", "off_road"))
        sys.stdout.write(f"{ego:12s} {mode:10s}{cells}\n")


if __name__ == "__main__":
    main()
