"""How real the traffic of `behaviour/diffusion` is on real logs: as trained on minitown, and fine-tuned on other real logs.

    make bench-behaviour-real                    # nuScenes and Argoverse 2 logs of $WETOOL_DATA, ../shared/data unless set
    python tests/benchmarks/bench_behaviour_real.py --model FILE --every 2

There are few logs, so they are left out in turns: in each of ``folds`` rounds a model is fine-tuned (``training.init``) on the
other logs and asked about those it has not seen; the table is over all logs. A model that has seen a log it is asked about is
refused. Beside it: the model as it was, constant velocity, IDM (which knows everybody's recorded path) and the log itself. Errors
are the smallest of 8 samples (one future of the baselines); intervals are clustered by log, those of distances by leaving out one
log at a time (jackknife, Student's t over the logs). Written to build/bench/behaviour_real.json.
"""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
from bench_diffusion import EVERY, FILE, SAMPLES, STEPS, show, trained
from wetoolkit_diffusion.behaviour import Diffusion
from wetoolkit_diffusion.checkpoint import Model, load
from wetoolkit_diffusion.distributions import Samples, jackknifed
from wetoolkit_diffusion.generate import Request, generate, motions, past
from wetoolkit_diffusion.guidance import GuidanceConfig
from wetoolkit_diffusion.noise import SamplerConfig
from wetoolkit_diffusion.realism import Tally, going_straight, judge, recorded, rows
from wetoolkit_diffusion.settings import DiffusionConfig
from wetoolkit_diffusion.tokens import Tokens, encode
from wetoolkit_diffusion.verdict import verdicts
from wetoolkit_driving.geometry import relative
from wetoolkit_driving.testing import with_control
from wetoolkit_driving.traffic.engine import start
from wetoolkit_driving.traffic.manners import TrafficConfig
from wetoolkit_driving.types import Control, Double, World

from wetoolkit.errors import DataError, ValidationError
from wetoolkit.registry import load_registry
from wetoolkit.sources import open_source
from wetoolkit.types import Ref, Scenario

FOLDERS = ("scenarionet_nuscenes", "av2_logs", "av2_forecasting")
GENERATORS = ("fine-tuned", "minitown", "constant velocity", "idm", "log")


@dataclass(frozen=True)
class Log:
    """One real log and the windows of it."""

    name: str
    source: str
    dataset: Any
    refs: tuple[Ref, ...]

    def scenarios(self, every: int = 1) -> list[Scenario[World]]:
        """Every so many-th window."""
        return [self.dataset.load(ref) for ref in self.refs[::every]]


def real_logs(root: Path) -> list[Log]:
    """All logs of the folders that are there, in a stable order."""
    registry, found = load_registry(), []
    for folder in FOLDERS:
        if not (root / folder).is_dir():
            continue
        source = open_source(registry, str(root / folder), {"splits": {"all": 1.0}})
        for name in sorted({ref.log for ref in source.dataset.index("all")}):
            refs = tuple(ref for ref in source.dataset.index("all") if ref.log == name)
            found.append(Log(name, folder, source.dataset, refs))
    if not found:
        raise DataError("no real logs", file=root, way_out="set WETOOL_DATA to the folder that holds scenarionet_nuscenes")
    return found


def tuned(model: Path, logs: Sequence[Log], settings: Mapping[str, Any], file: Path, seed: int) -> Model:
    """The model fine-tuned on these logs into a file; read where it is there, of the same beginning and logs."""
    names = sorted(log.name for log in logs)
    if not (file.exists() and is_of(load(file), model, names)):
        part = Diffusion(DiffusionConfig.model_validate({"training": {**settings, "init": str(model)}}))
        scenarios = (scenario for log in logs for scenario in log.scenarios())
        print(file.name, dict(part.fit(scenarios, file, seed)), flush=True)
    return load(file)


def is_of(found: Model, model: Path, names: Sequence[str]) -> bool:
    """Whether a model was tuned from another on these logs."""
    about, before = found.about or {}, load(model)
    return about.get("init") == before.digest and set(about.get("logs", ())) == {*names, *(before.about or {}).get("logs", ())}


def check_unseen(model: Model, logs: Sequence[Log]) -> None:
    """``ValidationError`` unless the model tells the logs it was trained on, and none of these is among them."""
    seen = (model.about or {}).get("logs")
    shared = [log.name for log in logs if seen is None or log.name in seen]
    if shared:
        raise ValidationError(
            f"{len(shared)} logs may have been seen in training, such as {shared[0]!r}", field="training.logs",
            way_out="train on other logs, by a `wetool fit` that tells them",
        )  # fmt: skip


def driven_by_idm(tokens: Tokens, world: World, now: int) -> Double:
    """Local poses [1, A, STEPS, 3] of everybody driven by IDM beside the ego's log."""
    traffic = start(with_control(world, Control.IDM), now, TrafficConfig())
    traffic.run(now, now + STEPS, world.ego.states)
    found, _ = recorded(tokens, world, now, STEPS)
    pose = traffic.agents.pose[tokens.rows[1:], now + 1 : now + 1 + STEPS].astype(np.float64)
    found[1:] = relative(tokens.frame[1:, None], pose)
    return found[None]


def sampled(model: Model, tokens: Tokens) -> Double:
    """Local poses [SAMPLES, A, STEPS, 3] given the past alone."""
    given = past(tokens, model.spec.now)
    (states,) = generate(model, [Request(tokens, given, tokens.state, tuple(range(SAMPLES)))], SamplerConfig(), GuidanceConfig())
    return motions(tokens, states, given, model.spec.now, EVERY)[0]


def asked_about(
    log: Log, models: Mapping[str, Model], every: int, tallies: Mapping[str, Tally], samples: Mapping[str, dict[str, Samples]]
) -> None:
    """Add what every generator makes of a log's windows."""
    for scenario in log.scenarios(every):
        world, now = scenario.world, scenario.clock.now
        if world.steps < now + 1 + STEPS:
            continue
        (spec,) = {model.spec.model_dump_json(): model.spec for model in models.values()}.values()
        tokens = encode(world, now, spec)
        truth, there = recorded(tokens, world, now, STEPS)
        found = {name: sampled(model, tokens) for name, model in models.items()}
        found |= {"constant velocity": going_straight(tokens, STEPS, world.dt), "log": truth[None]}
        found["idm"] = driven_by_idm(tokens, world, now)
        for name, motion in found.items():
            judge(tokens, world, now, motion, tallies[name], log.name)
            samples[name].setdefault(log.name, Samples()).add(tokens, motion, there)


def distances(samples: Mapping[str, Mapping[str, Samples]]) -> list[dict[str, Any]]:
    """Wasserstein distances of every generator to the log, with intervals over the logs."""
    return [
        {"generator": name, "class": kind, "quantity": quantity, "distance": one.estimate, "low": one.low, "high": one.high}
        for name in samples
        if name != "log"
        for (kind, quantity), one in sorted(jackknifed(samples[name], samples["log"]).items())
    ]


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--model", type=Path, default=FILE)
    asked.add_argument("--data", type=Path, default=Path(os.environ.get("WETOOL_DATA") or "../shared/data"))
    asked.add_argument("--folds", type=int, default=3)
    asked.add_argument("--steps", type=int, default=200, help="of fine-tuning")
    asked.add_argument("--rate", type=float, default=5e-4, help="its learning rate")
    asked.add_argument("--minutes", type=float, default=60.0, help="of it, at most")
    asked.add_argument("--every", type=int, default=2, help="ask about every so many-th window")
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--out", type=Path, default=Path("build/bench/behaviour_real.json"))
    options = asked.parse_args()
    trained(options.model, 25.0)
    logs = real_logs(options.data)
    tallies: dict[str, Tally] = {name: Tally() for name in GENERATORS}
    samples: dict[str, dict[str, Samples]] = {name: {} for name in GENERATORS}
    settings = {"steps": options.steps, "rate": options.rate, "minutes": options.minutes}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for fold in range(options.folds):
        held = logs[fold :: options.folds]
        others = [log for log in logs if log not in held]
        file = options.out.parent / f"real-{fold}.safetensors"
        models = {"minitown": load(options.model), "fine-tuned": tuned(options.model, others, settings, file, options.seed)}
        for model in models.values():
            check_unseen(model, held)
        for log in held:
            asked_about(log, models, options.every, tallies, samples)
    numbers = rows(tallies)
    away, asked_for = distances(samples), [row for name in GENERATORS[:2] for row in verdicts(tallies, name)]
    show(f"realism on {len(logs)} real logs, left out in {options.folds} turns", numbers)
    show("Wasserstein distance to the log", away)
    show("what is asked on minitown, here", asked_for)
    facts = {"model": load(options.model).digest, "logs": {log.name: [log.source, len(log.refs)] for log in logs}, **settings}
    options.out.write_text(json.dumps({**facts, "realism": numbers, "verdicts": asked_for, "distances": away}, indent=1))


if __name__ == "__main__":
    main()
