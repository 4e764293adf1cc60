"""The model of traffic in closed loop: how few steps are enough when it goes on from the plan that stands, and when it does not.

    python tests/benchmarks/bench_react.py --model FILE --scenes 40

Everybody who moves in held-out windows of minitown is moved by the model for 8 s, asked twice a second, while the ego repeats its
log (nothing of the log's future is known to the model; the first plan is made of nothing). Told for each way of planning: errors of
the one future to the log, rates of collisions, of leaving the road and of impossible motion, Wasserstein distances of acceleration
and yaw rate to the log, how far a plan is from the one of half a second before at the same moment (2 s ahead, metres: how much
people change their minds), and CPU seconds a simulated second of a scene. Intervals are clustered by log. Ways are interleaved.
"""

import argparse
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
from bench_diffusion import FILE, show, spread, trained
from wetoolkit_diffusion.behaviour import Diffusion
from wetoolkit_diffusion.distributions import Samples
from wetoolkit_diffusion.react import ReplanConfig
from wetoolkit_diffusion.realism import Tally, judge, recorded
from wetoolkit_diffusion.settings import DiffusionConfig
from wetoolkit_diffusion.tokens import Tokens, encode
from wetoolkit_driving.geometry import relative
from wetoolkit_driving.traffic.behaviours import movers
from wetoolkit_driving.traffic.reaction import Call, Guests, Planned, let_react
from wetoolkit_driving.types import World
from wetoolkit_minitown.dataset import Minitown, MinitownConfig

from wetoolkit.statistics import mean_interval

STEPS, EVERY, AHEAD = 80, 5, 20  # of the drive, between two askings, at which plans are compared


@dataclass
class Way:
    """One way of planning and what it came to."""

    part: Diffusion | None  # none: the log
    tally: Tally = field(default_factory=Tally)
    samples: Samples = field(default_factory=Samples)
    changes: list[float] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def drive(part: Diffusion, world: World, now: int, seed: int) -> tuple[World, list[float], float]:
    """The world as the model moves it beside the ego's log, changes of mind [m], and CPU seconds a simulated second."""
    agents = replace(world.agents, **{name: getattr(world.agents, name).copy() for name in ("pose", "velocity", "valid")})
    rows = np.flatnonzero(movers(agents, now) & agents.valid[:, now]).astype(np.int32)
    for name in ("pose", "velocity", "valid"):
        getattr(agents, name)[rows, now + 1 :] = 0
    moved, changes = replace(world, agents=agents), []
    guests = Guests("bench", part, rows, world.agents, now)
    count = world.steps - now - 1
    planned = Planned(now, np.zeros((len(agents), count, 3)), np.zeros((len(agents), count), bool))  # nothing in mind
    began = time.process_time()
    for first in range(now, now + STEPS, EVERY):
        before = planned
        call = Call(guests, moved, agents, first, min(first + EVERY, world.steps - 1), seed * 1000 + first, planned)
        (planned,) = let_react([call])
        both = before.valid[rows, EVERY + AHEAD] & planned.valid[rows, AHEAD]
        away = (before.states[rows, EVERY + AHEAD] - planned.states[rows, AHEAD])[both, :2]
        changes += np.hypot(*away.T).tolist()
    return moved, changes, (time.process_time() - began) / (STEPS * world.dt)


def motion_of(tokens: Tokens, moved: World, world: World, now: int) -> np.ndarray:
    """Local poses [1, A, STEPS, 3] of the rows of ``tokens`` in a moved world; the ego's are those of its log."""
    found, _ = recorded(tokens, world, now, STEPS)
    span = slice(now + 1, now + 1 + STEPS)
    found[1:] = relative(tokens.frame[1:, None], moved.agents.pose[tokens.rows[1:], span].astype(np.float64))
    return found[None]


def measured(ways: Mapping[str, Way], refs: list[Any], dataset: Minitown) -> Way:
    """Drive every scene in every way, in turn; what the log itself comes to."""
    log = Way(None)
    for ref in refs:
        scenario = dataset.load(ref)
        world, now = scenario.world, scenario.clock.now
        for way in ways.values():
            assert way.part is not None
            tokens = encode(world, now, way.part.model.spec)
            moved, changes, seconds = drive(way.part, world, now, 1)
            motion, (truth, there) = motion_of(tokens, moved, world, now), recorded(tokens, world, now, STEPS)
            judge(tokens, world, now, motion, way.tally, scenario.log)
            way.samples.add(tokens, motion, there)
            way.changes += changes
            way.logs += [scenario.log] * len(changes)
            way.seconds.append(seconds)
        judge(tokens, world, now, truth[None], log.tally, scenario.log)
        log.samples.add(tokens, truth[None], there)
    return log


def rows(ways: Mapping[str, Way], log: Way) -> list[dict[str, Any]]:
    """A table: classes pooled for rates, by way; the log last."""
    out = []
    for name, way in {**ways, "log": log}.items():
        row: dict[str, Any] = {"way": name}
        for number in ("minADE", "minFDE", "collision", "off_road", "violation"):
            values = [value for key, found in way.tally.values.items() if key[1] == number for value in found]
            logs = [name for key, found in way.tally.logs.items() if key[1] == number for name in found]
            interval = mean_interval(values, logs, seed=0, bounds=None if number.startswith("min") else (0.0, 1.0))
            row[number.replace("min", "")] = f"{interval.estimate:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
        away = way.samples.distances(log.samples)
        row |= {f"{q}, {kind}": away[kind, q] for q in ("acceleration", "yaw rate") for kind in ("vehicle", "pedestrian")}
        if way.part is not None:
            change = mean_interval(way.changes, way.logs, seed=0, bounds=None)
            row["change of mind"] = f"{change.estimate:.2f} [{change.low:.2f}, {change.high:.2f}]"
        row.setdefault("change of mind", "")
        row["CPU s"] = float(np.median(way.seconds or [0.0]))
        out.append(row)
    return out


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--model", type=Path, default=FILE)
    asked.add_argument("--split", default="test-common")
    asked.add_argument("--scenes", type=int, default=40)
    asked.add_argument("--ways", nargs="+", default=["cold-1", "cold-2", "cold-4", "cold-8", "warm-1", "warm-2", "warm-4"])
    asked.add_argument("--warm", type=float, nargs="+", default=[1.0], help="noise levels of the warm starts")
    asked.add_argument("--out", type=Path, default=Path("build/bench/react.json"))
    options = asked.parse_args()
    trained(options.model, 25.0)
    ways = {}
    for way in options.ways:
        kind, _, steps = way.partition("-")
        for level in options.warm if kind == "warm" else [0.0]:
            replan = ReplanConfig(steps=int(steps), cold=4 if kind == "warm" else int(steps), warm=level)
            config = DiffusionConfig(checkpoint=str(options.model), closed_loop=True, replan=replan)
            ways[f"{way} at {level:g}" if level else way] = Way(Diffusion(config))
    dataset = Minitown(MinitownConfig())
    log = measured(ways, spread(dataset.index(options.split), options.scenes), dataset)
    found = rows(ways, log)
    show(f"closed loop on {options.split}, {options.scenes} scenes", found)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"ways": found}, indent=1))


if __name__ == "__main__":
    main()
