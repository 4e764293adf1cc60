"""How real the traffic of `behaviour/diffusion` is on held-out minitown, what its controls reach, and how long it takes.

    make bench-diffusion                       # trains a model first where build/bench/diffusion.safetensors is absent (25 minutes)
    python tests/benchmarks/bench_diffusion.py --model FILE --scenes 60 --variants 40

Prints tables with 95 % intervals (clustered by log), what was asked beside what was found, and writes build/bench/diffusion.json.
Errors are the smallest of 8 samples; the reference is constant velocity, the yardstick of the rates the log's own.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
from rich.console import Console
from rich.table import Table
from wetoolkit_diffusion.attacks import AttackConfig, choices
from wetoolkit_diffusion.behaviour import Diffusion, DiffusionConfig
from wetoolkit_diffusion.checkpoint import Model, load
from wetoolkit_diffusion.controls import CopyConfig, begin
from wetoolkit_diffusion.distributions import Samples, jackknifed, quantities
from wetoolkit_diffusion.generate import Request, generate, motions, past
from wetoolkit_diffusion.guidance import GuidanceConfig
from wetoolkit_diffusion.noise import SamplerConfig
from wetoolkit_diffusion.plausible import PlausibilityConfig, best_scores
from wetoolkit_diffusion.plausible import judge as reasons
from wetoolkit_diffusion.realism import Tally, collisions, going_straight, judge, recorded, rows
from wetoolkit_diffusion.tokens import Tokens, encode
from wetoolkit_diffusion.verdict import verdicts
from wetoolkit_driving.geometry import compose
from wetoolkit_driving.pdm.closed import PdmClosed, PdmClosedConfig
from wetoolkit_driving.reconstruct import Replay, ReplayConfig
from wetoolkit_driving.simulator import ClosedLoop, ClosedLoopConfig
from wetoolkit_driving.traffic.behaviours import IdmTraffic, IdmTrafficConfig
from wetoolkit_driving.traffic.perturb import Perturb, PerturbConfig
from wetoolkit_driving.types import World
from wetoolkit_minitown.dataset import Minitown, MinitownConfig

from wetoolkit.statistics import wilson
from wetoolkit.types import Scene, Situation

FILE = Path("build/bench/diffusion.safetensors")
SAMPLES, STEPS, EVERY = 8, 80, 5
GENERATORS = ("diffusion", "diffusion, unguided", "constant velocity", "idm", "perturb", "log")
DELIVERED = "diffusion, delivered"  # variants as a user gets them: the ego as recorded, judged, made again where something is wrong


def trained(file: Path, minutes: float) -> Model:
    """The model of this file, trained where there is none."""
    if not file.exists():
        command = [str(Path(sys.executable).with_name("wetool")), "fit", "behaviour/diffusion", "minitown", "--out", str(file)]
        subprocess.run([*command, "--set", f"training.minutes={minutes}"], check=True)
    return load(file)


def spread(items: Any, count: int) -> list[Any]:
    """``count`` items, evenly."""
    return [items[i * len(items) // count] for i in range(min(count, len(items)))]


def realism(
    model: Model, file: Path, refs: list[Any], dataset: Minitown, kept_of: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]], dict[str, Any]]:
    """Tables of errors, rates and spreads, of distances between distributions and of what was asked; and how many were delivered of
    the first ``kept_of`` scenes. The ego of `idm` is driven by pdm-closed, that of `perturb` as recorded."""
    names = [*GENERATORS, *([DELIVERED] if kept_of else [])]
    tallies: dict[str, Tally] = {name: Tally() for name in names}
    samples: dict[str, dict[str, Samples]] = {name: {} for name in names}  # by log
    part, asked, kept, rejected = Diffusion(DiffusionConfig(checkpoint=str(file))), 0, 0, Counter[str]()
    for i, ref in enumerate(refs):
        scenario = dataset.load(ref)
        world, now = scenario.world, scenario.clock.now
        tokens = encode(world, now, model.spec)
        scene = Replay(ReplayConfig()).reconstruct(scenario, None, 0)
        truth, there = recorded(tokens, world, now, STEPS)
        found = {**drawn(model, tokens), **reference(scene, tokens), "log": truth[None]}
        if i < kept_of:
            variants, why = part.variants(scene, SAMPLES // 2, 0)
            asked, kept = asked + SAMPLES // 2, kept + len(variants)
            rejected.update(why)
            found |= {DELIVERED: np.stack([variant.motion for variant in variants])} if variants else {}
        for name, motion in found.items():
            judge(tokens, world, now, motion, tallies[name], scenario.log)
            samples[name].setdefault(scenario.log, Samples()).add(tokens, motion, there)
    away = [
        {"generator": name, "class": kind, "quantity": quantity, "distance": one.estimate, "low": one.low, "high": one.high}
        for name in names
        if name != "log"
        for (kind, quantity), one in sorted(jackknifed(samples[name], samples["log"]).items())
    ]
    return rows(tallies), away, verdicts(tallies), {"asked": asked, "kept": kept, "rejected": dict(rejected)}


def drawn(model: Model, tokens: Tokens) -> dict[str, Any]:
    """The model's futures [8, A, T, 3], as it makes them and unguided."""
    given = past(tokens, model.spec.now)
    request, found = Request(tokens, given, tokens.state, tuple(range(SAMPLES))), {}
    for name, guidance in (("diffusion", GuidanceConfig()), ("diffusion, unguided", None)):
        (states,) = generate(model, [request], SamplerConfig(), guidance)
        found[name] = motions(tokens, states, given, model.spec.now, EVERY)[0]
    return found


def reference(scene: Scene[World], tokens: Tokens) -> dict[str, Any]:
    """The same of the baselines: `idm` once, `perturb` in as many variants."""
    now = scene.clock.now
    (driven,) = IdmTraffic(IdmTrafficConfig()).vary(scene, 1, 0)
    horizon = STEPS * scene.world.dt
    (rollout,) = ClosedLoop(ClosedLoopConfig()).rollout([driven], PdmClosed(PdmClosedConfig()), [0], horizon=horizon)
    bent_ = Perturb(PerturbConfig(rules=("time", "speed", "aside"))).vary(scene, SAMPLES, 0)
    return {
        "constant velocity": going_straight(tokens, STEPS, scene.world.dt),
        "idm": recorded(tokens, rollout.world, now, STEPS)[0][None],
        "perturb": np.stack([recorded(tokens, one.world, now, STEPS)[0] for one in bent_]),
    }


def controls(file: Path, refs: list[Any], dataset: Minitown, each: int) -> list[dict[str, Any]]:
    """For each control: variants asked and kept, why the others were rejected, how many goals were reached within 2 m.

    Conflicts are the share of the kept in which the ego's recorded drive comes to less than 1.5 s or into a collision. Beside them
    the log's and `perturb`'s, whose cut-ins are scripts of the simulator and left out.
    """
    out = []
    scenes = [Replay(ReplayConfig()).reconstruct(dataset.load(ref), None, 0) for ref in refs]
    for name, settings in (("resampled", {}), ("copy", {"copy_goals": CopyConfig()}), ("attack", {"attack": AttackConfig()})):
        out.append({"control": name, **controlled(Diffusion(DiffusionConfig(checkpoint=str(file), **settings)), scenes, each)})
    model = load(file)
    for name, count in (("perturb", each), ("log", 1)):
        out.append({"control": name, **bent(model, scenes, count, name == "perturb")})
    return out


def controlled(part: Diffusion, scenes: list[Scene[World]], each: int) -> dict[str, Any]:
    """Counts over all scenes; of attacks, over those in which one is possible."""
    spec, rejected = part.model.spec, Counter[str]()
    asked = kept = goals = reached = met = 0
    for scene in scenes:
        tokens = encode(scene.world, scene.clock.now, spec)
        hold = begin(tokens, scene.world, spec, True)
        if part.config.attack is not None and not choices(hold, tokens, spec, part.config.attack):
            continue
        variants, why = part.variants(scene, each, 0)
        asked, kept = asked + each, kept + len(variants)
        rejected.update(why)
        for variant in variants:
            met += conflict(tokens, variant.motion)
            for row, token in np.argwhere(variant.hold.given & ~hold.given):
                away = variant.motion[row, (token - spec.now) * EVERY - 1, :2] - variant.hold.held[row, token, :2]
                goals, reached = goals + 1, reached + int(np.hypot(*away) < 2.0)
    return summary(asked, kept, met, rejected, goals, reached)


def bent(model: Model, scenes: list[Scene[World]], each: int, perturbed: bool) -> dict[str, Any]:
    """The same of `perturb`, judged by the same filter, or of the log."""
    part, config, rejected = Perturb(PerturbConfig(rules=("time", "speed", "aside"))), PlausibilityConfig(), Counter[str]()
    asked = kept = met = 0
    for scene in scenes:
        now = scene.clock.now
        tokens = encode(scene.world, now, model.spec)
        variants = part.vary(scene, each, 0) if perturbed else [scene]
        asked += len(variants)
        for variant in variants:
            motion, there = recorded(tokens, variant.world, now, STEPS)
            (why,) = reasons(tokens, scene.world, motion[None], there, config, there & False)
            if not why and best_scores([Situation(variant.id, variant.log, variant.world, now)])[0] <= config.solvable:
                why = ("unsolvable",)
            rejected.update(why if perturbed else ())
            kept, met = kept + (not why or not perturbed), met + ((not why or not perturbed) and conflict(tokens, motion))
    return summary(asked, kept, met, rejected, 0, 0)


def conflict(tokens: Tokens, motion: Any) -> bool:
    """Whether the ego, as it moves in [A, T, 3], comes to less than 1.5 s or into a collision."""
    hit = collisions(compose(tokens.frame[:, None], motion)[None], tokens.frame, tokens.size)[0, 0]
    return bool(hit or quantities(tokens, motion[None])["ttc"][0, 0].min() < 1.5)


def summary(asked: int, kept: int, met: int, rejected: Counter[str], goals: int, reached: int) -> dict[str, Any]:
    """One row, the share of conflicts with its interval (Wilson; variants of a scene are not independent, so it is too narrow)."""
    share = wilson(met, kept) if kept else None
    words = f"{share.estimate:.3f} [{share.low:.3f}, {share.high:.3f}]" if share else "none kept"
    return {
        "asked": asked, "kept": kept, "conflicts": words, "rejected": dict(rejected), "goals": goals, "reached": reached,
    }  # fmt: skip


def held(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is asked of controls beside what was found (Wilson; variants of a scene are not independent, so it is too narrow)."""
    out = []
    for row in found:
        counts = {"kept": (row["kept"], row["asked"], 0.7), "goals within 2 m": (row["reached"], row["goals"], 0.9)}
        for name, (some, of, least) in counts.items():
            if of and row["control"] != "log":
                share = wilson(some, of)
                words = "yes" if share.estimate >= least else "no"
                sure = share.low >= least or share.high < least
                numbers = {"asked": least, "found": share.estimate, "low": share.low, "high": share.high, "of": of}
                out.append(
                    {"control": row["control"], "number": name, **numbers, "holds": words if sure else f"{words}, not surely"}
                )
    return out


def speed(model: Model, dataset: Minitown) -> dict[str, float]:
    """Seconds (CPU, one thread, median of 7) for 8 variants of a scene of 24 road users, with and without guidance and decoding."""
    worlds = (dataset.load(ref).world for ref in dataset.index("test-common"))
    spec = model.spec.model_copy(update={"agents": 24})
    tokens = next(tokens for world in worlds if len(tokens := encode(world, 20, spec)) == 24)
    given = past(tokens, model.spec.now)
    request = Request(tokens, given, tokens.state, tuple(range(8)))
    out: dict[str, float] = {}
    for name, guidance in (("guided", GuidanceConfig()), ("unguided", None)):
        took, wall = [], []
        for _ in range(7):
            began, clock = time.process_time(), time.perf_counter()
            (states,) = generate(model, [request], SamplerConfig(), guidance)
            motions(tokens, states, given, model.spec.now, EVERY)
            took, wall = [*took, time.process_time() - began], [*wall, time.perf_counter() - clock]
        out |= {f"{name}, CPU s": float(np.median(took)), f"{name}, wall-clock s": float(np.median(wall))}
    return out


def show(title: str, found: list[dict[str, Any]]) -> None:
    """Print rows as a table."""
    table = Table(*found[0], title=title)
    for row in found:
        table.add_row(*(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()))
    Console(width=None if sys.stdout.isatty() else 180).print(table)  # to a file: every column whole


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--model", type=Path, default=FILE)
    asked.add_argument("--minutes", type=float, default=25.0, help="of training, where there is no model yet")
    asked.add_argument("--split", default="test-common")
    asked.add_argument("--scenes", type=int, default=120, help="for realism")
    asked.add_argument("--variants", type=int, default=40, help="scenes for each control")
    asked.add_argument("--delivered", type=int, default=30, help="scenes of which variants are made as a user gets them")
    asked.add_argument("--out", type=Path, default=Path("build/bench/diffusion.json"))
    options = asked.parse_args()
    model, dataset = trained(options.model, options.minutes), Minitown(MinitownConfig())
    refs = dataset.index(options.split)
    numbers, away, asked_for, delivered = realism(model, options.model, spread(refs, options.scenes), dataset, options.delivered)
    kept = controls(options.model, spread(refs, options.variants), dataset, 4) if options.variants else []
    took = speed(model, dataset)
    show(f"realism on {options.split}, {options.scenes} scenes", numbers)
    show("Wasserstein distance to the log", away)
    show("what is asked of the model as it draws", asked_for)
    if delivered["asked"]:
        show("delivered", [delivered])
    if kept:
        show("controls", kept)
        show("what is asked of controls", held(kept))
    show("8 variants of 24 road users", [took])
    options.out.parent.mkdir(parents=True, exist_ok=True)
    facts = {"model": model.digest, "training": dict(model.about or {}), "split": options.split, "scenes": options.scenes}
    found = {
        "realism": numbers,
        "verdicts": asked_for,
        "delivered": delivered,
        "distances": away,
        "controls": kept,
        "seconds": took,
    }
    options.out.write_text(json.dumps({**facts, **found}, indent=1))


if __name__ == "__main__":
    main()
