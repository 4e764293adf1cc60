"""What attacks of `behaviour/diffusion` do to policies that drive, beside the log and the rules of `perturb`, in the same scenes.

    make bench-attacks                          # needs build/bench/diffusion.safetensors (make bench-diffusion) and a base policy
    python tests/benchmarks/bench_attacks.py --model FILE --policy runs/quickstart/policies/pretrain-*.safetensors --scenes 40

Every scene is driven as logged, in variants by rules and under attack, each by the ego as recorded, by `pdm-closed` and by the
learned base policy in closed loop; "on its plan" attacks what that policy did in the scene as logged in place of what is recorded.
Critical is a frame in which the ego touches somebody or is less than 1.5 s from it, where avoiding that takes 2 m/s^2 at least
(`miners/criticality`); a drive fails by the PDM score: a collision that is the ego's fault, or off the road. A variant is valid
where nobody else exceeds the limits of its class, collides or leaves the road, and some plan of the ego has a PDM score above 0.8:
of attacks as of rules, of what happened, with one try; that two are alike is not counted. Rates have 95 % intervals clustered by
log; differences of the share of variants that are valid and critical are paired by scene.
"""

import argparse
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
from rich.console import Console
from rich.table import Table
from wetoolkit_diffusion.attacks import AttackConfig, choices
from wetoolkit_diffusion.behaviour import Diffusion, DiffusionConfig
from wetoolkit_diffusion.controls import begin
from wetoolkit_diffusion.plausible import PlausibilityConfig, best_scores, judge
from wetoolkit_diffusion.realism import recorded
from wetoolkit_diffusion.tokens import encode
from wetoolkit_driving.geometry import box_corners, boxes_touch, ego_corners
from wetoolkit_driving.miners.criticality import conflicts
from wetoolkit_driving.pdm.closed import PdmClosed, PdmClosedConfig
from wetoolkit_driving.pdm.reward import PdmReward, PdmRewardConfig
from wetoolkit_driving.reconstruct import Replay, ReplayConfig
from wetoolkit_driving.simulator import ClosedLoop, ClosedLoopConfig
from wetoolkit_driving.traffic.perturb import Perturb, PerturbConfig
from wetoolkit_driving.types import World
from wetoolkit_minitown.dataset import Minitown, MinitownConfig

from wetoolkit.registry import load_registry
from wetoolkit.statistics import mean_interval, paired
from wetoolkit.store import read_state
from wetoolkit.types import Rollout, Scene, Situation, Step

SECONDS = 6.0  # that are driven and looked at
TTC, MOVING, COMFORT = 1.5, 0.5, 2.0  # seconds, m/s, m/s^2
STEPS = 80  # steps of a generated future
LINK = Step("behaviour/diffusion", "wetoolkit-diffusion", "bench")
RECORDED, LOG, RULES, ATTACK, PLANNED = "as recorded", "log", "perturb", "attack", "attack on its plan"


@dataclass
class Drives:
    """What became of the variants of one sort under one policy: one row a variant."""

    scenes: list[str] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)
    valid: list[bool] = field(default_factory=list)
    frames: list[float] = field(default_factory=list)  # share of critical frames
    met: list[bool] = field(default_factory=list)  # any
    hit: list[bool] = field(default_factory=list)  # a touch
    failed: list[bool] = field(default_factory=list)  # no success by the PDM score: at fault in a collision, or off the road
    reasons: Counter[str] = field(default_factory=Counter)


def spread(items: Any, count: int) -> list[Any]:
    """``count`` items, evenly."""
    return [items[i * len(items) // count] for i in range(min(count, len(items)))]


def learned(file: Path) -> Any:
    """The policy of a run's file."""
    state, about = read_state(file)
    return load_registry().build("policy", about["use"], about["settings"]).with_state(state)


def driven(policy: Any, scenes: Sequence[Scene[World]], part: Diffusion) -> list[Rollout[World]]:
    """What a policy does in the scenes, ``part`` moving the others where they react; None: the ego as recorded."""
    if policy is not None:
        simulator = ClosedLoop(ClosedLoopConfig()).with_reactors({LINK: part})
        return list(simulator.rollout(scenes, policy, [0] * len(scenes), SECONDS))
    found = []
    for scene in scenes:
        end = min(scene.clock.now + round(SECONDS / scene.clock.dt) + 1, scene.clock.steps)
        found.append(
            Rollout(
                id=scene.id, domain=scene.domain, log=scene.log, scene=scene.id, policy=RECORDED, seed=0, clock=scene.clock,
                end=end, world=scene.world, decisions=np.array([scene.clock.now]), plans=np.zeros((1, 40, 3), np.float32),
                choices=np.array([-1]), log_probs=np.zeros(1), lineage=scene.lineage,
            )
        )  # fmt: skip
    return found


def critical(world: World, now: int) -> tuple[float, bool]:
    """Share of critical frames, and whether there was a touch."""
    steps = range(now, min(world.steps, now + round(SECONDS / world.dt)))
    agents, span = world.agents, slice(steps.start, steps.stop)
    if not len(agents):
        return 0.0, False
    corners = box_corners(agents.pose[:, span].astype(np.float64), agents.size[:, None, 0], agents.size[:, None, 1])
    touch = (boxes_touch(ego_corners(world.ego.states[span], world.ego.vehicle)[None], corners) & agents.valid[:, span]).any(0)
    soon = [conflicts(world, step, 0.0, TTC, MOVING, COMFORT)[0][:, 0].min() < TTC for step in steps]
    return float((touch | np.array(soon)).mean()), bool(touch.any())


def faults(model: Any, scene: Scene[World], world: World) -> tuple[str, ...]:
    """What is wrong with what the others did in ``world``, which began as ``scene``."""
    now, config = scene.clock.now, PlausibilityConfig()
    tokens = encode(scene.world, now, model.spec)
    motion, there = recorded(tokens, world, now, min(STEPS, world.steps - now - 1))
    (why,) = judge(tokens, scene.world, motion[None], there, config, there & False)
    low = best_scores([Situation(scene.id, scene.log, world, now)])[0] <= config.solvable
    return why or (("unsolvable",) if low else ())


def variants(
    part: Diffusion, rules: Perturb, scene: Scene[World], seen: World, count: int
) -> Iterator[tuple[str, Scene[World] | None]]:
    """(sort, variant) of a scene; ``seen``: its world as the policy drove in it. None: one that was asked and is not valid."""
    yield LOG, scene
    for varied in rules.vary(scene, count, 0):
        yield RULES, varied
    sources = [(ATTACK, scene)] if seen is scene.world else [(ATTACK, scene), (PLANNED, drive_of(scene, seen))]
    for sort, source in sources:
        made = part.vary(source, count, 0)
        yield from ((sort, replace(one, id=f"{one.id}/{sort}", lineage=scene.lineage.then(replace(LINK, seed=0)))) for one in made)
        yield from ((sort, None) for _ in range(count - len(made)))


def drive_of(scene: Scene[World], world: World) -> Scene[World]:
    """The scene with what was driven in it as its record."""
    return replace(scene, world=world, clock=replace(scene.clock, steps=world.steps))


def log_rate(dataset: Minitown, refs: Sequence[Any]) -> str:
    """Share of critical frames in many windows of the log as recorded."""
    scenarios = [dataset.load(ref) for ref in refs]
    return interval([critical(one.world, one.clock.now)[0] for one in scenarios], [one.log for one in scenarios])


def attackable(part: Diffusion, scene: Scene[World]) -> bool:
    """Whether somebody can be in the ego's way."""
    tokens = encode(scene.world, scene.clock.now, part.model.spec)
    return bool(choices(begin(tokens, scene.world, part.model.spec, True), tokens, part.model.spec, part.config.attack))


def measure(part: Diffusion, name: str, policy: Any, scenes: Sequence[Scene[World]], count: int) -> dict[str, Drives]:
    """Every sort of variants under one policy."""
    rules, found = Perturb(PerturbConfig()), {sort: Drives() for sort in (LOG, RULES, ATTACK, PLANNED)}
    reward = PdmReward(PdmRewardConfig())
    for number, (scene, seen) in enumerate(zip(scenes, driven(policy, scenes, part), strict=True), 1):
        made = list(variants(part, rules, scene, seen.world, count))
        there = [one for _, one in made if one is not None]
        rollouts = driven(policy, there, part)
        fails = iter(~reward.judge(rollouts).success)
        worlds = iter([rollout.world for rollout in rollouts])
        for sort, one in made:
            drives, world = found[sort], None if one is None else next(worlds)
            why = ("rejected",) if world is None else faults(part.model, scene, world) if sort == RULES else ()
            share, hit = (0.0, False) if world is None else critical(world, scene.clock.now)
            drives.reasons.update(why)
            failed = world is not None and bool(next(fails))
            for values, value in (
                (drives.scenes, scene.id), (drives.logs, scene.log), (drives.valid, not why), (drives.frames, share),
                (drives.met, share > 0), (drives.hit, hit), (drives.failed, failed),
            ):  # fmt: skip
                values.append(value)  # type: ignore[arg-type]
        print(f"{name}: {number} of {len(scenes)}", flush=True)
    return found


def table(name: str, found: dict[str, Drives]) -> list[dict[str, Any]]:
    """One row a sort: of all asked the valid, of these the critical; what is both, against the log's and the rules'."""
    rows = []
    for sort, drives in found.items():
        if not drives.scenes:
            continue
        valid = np.array(drives.valid)
        logs = np.array(drives.logs)
        row: dict[str, Any] = {"policy": name, "variants": sort, "asked": len(valid), "valid": interval(valid, logs)}
        columns = {"critical": drives.met, "touch": drives.hit, "fails": drives.failed, "critical frames": drives.frames}
        row |= {title: interval(np.array(values, float)[valid], logs[valid]) for title, values in columns.items()}
        row["x log"] = ratio(drives, found[LOG])
        for other in (LOG, RULES):
            row[f"more than {other}"] = gain(drives, found[other]) if sort != other else ""
        rows.append({**row, "rejected": dict(drives.reasons)})
    return rows


def ratio(drives: Drives, log: Drives) -> str:
    """Critical frames of valid variants over the log's; where the log has none, over the upper end of its interval."""
    mine = np.array(drives.frames)[np.array(drives.valid)]
    base = mean_interval(np.array(log.frames), log.logs, seed=0, bounds=(0.0, 1.0))
    if not len(mine):
        return "none"
    return f"{mine.mean() / base.estimate:.1f}" if base.estimate > 0 else f"more than {mine.mean() / base.high:.1f}"


def interval(values: Any, logs: Any) -> str:
    """Mean and interval, clustered by log."""
    if not len(values):
        return "none"
    one = mean_interval(np.asarray(values, float), list(logs), seed=0, bounds=(0.0, 1.0))
    return f"{one.estimate:.3f} [{one.low:.3f}, {one.high:.3f}]"


def gain(drives: Drives, other: Drives) -> str:
    """Paired difference of the share of variants that are valid and critical, by scene."""
    mine, theirs = (by_scene(one) for one in (drives, other))
    both = sorted(set(mine) & set(theirs))
    logs = dict(zip(drives.scenes, drives.logs, strict=True))
    one = paired([mine[s] for s in both], [theirs[s] for s in both], [logs[s] for s in both], seed=0)
    return f"{one.difference.estimate:+.3f} [{one.difference.low:+.3f}, {one.difference.high:+.3f}] p {one.p:.2g}"


def by_scene(drives: Drives) -> dict[str, float]:
    """Scene -> share of its variants that are valid and critical."""
    both: dict[str, list[float]] = {}
    for scene, valid, met in zip(drives.scenes, drives.valid, drives.met, strict=True):
        both.setdefault(scene, []).append(float(valid and met))
    return {scene: float(np.mean(values)) for scene, values in both.items()}


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--model", type=Path, default=Path("build/bench/diffusion.safetensors"))
    asked.add_argument("--policy", type=Path, default=None, help="file of the learned base policy, from a run's policies/")
    asked.add_argument("--split", default="test-common")
    asked.add_argument("--scenes", type=int, default=40)
    asked.add_argument("--each", type=int, default=3, help="variants of a scene and sort")
    asked.add_argument("--tries", type=int, default=1, help="how often an attack is made before it is given up")
    asked.add_argument("--reacts", action="store_true", help="the others, who attacks included, react in closed loop")
    asked.add_argument("--others", default="recorded", choices=["generated", "recorded"], help="what those do who do not attack")
    asked.add_argument("--windows", type=int, default=300, help="of the split, for the rate of critical frames in the log itself")
    asked.add_argument("--policies", nargs="*", default=[RECORDED, "pdm-closed", "learned"])
    asked.add_argument("--out", type=Path, default=Path("build/bench/attacks.json"))
    options = asked.parse_args()
    config = DiffusionConfig(
        checkpoint=str(options.model),
        attack=AttackConfig(),
        plausibility=PlausibilityConfig(tries=options.tries, apart=0.0),
        closed_loop=options.reacts,
        others=options.others,
    )
    part, dataset = Diffusion(config), Minitown(MinitownConfig())
    scenes = [
        Replay(ReplayConfig()).reconstruct(dataset.load(ref), None, 0)
        for ref in spread(dataset.index(options.split), options.scenes)
    ]
    able = [scene for scene in scenes if attackable(part, scene)]
    usual = log_rate(dataset, spread(dataset.index(options.split), options.windows))
    policies: dict[str, Any] = {RECORDED: None, "pdm-closed": PdmClosed(PdmClosedConfig())}
    if options.policy is not None:
        policies["learned"] = learned(options.policy)
    rows: list[dict[str, Any]] = []
    for name in [name for name in options.policies if name in policies]:
        rows += table(name, measure(part, name, policies[name], able, options.each))
        facts = {"model": part.model.digest, "split": options.split, "scenes": len(scenes), "attackable": len(able)}
        facts |= {
            "log": usual,
            "windows": options.windows,
            "reacts": options.reacts,
            "others": options.others,
            "tries": options.tries,
            "rows": rows,
        }
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(facts, indent=1))
    shown = Table(*rows[0], title=f"{len(able)} of {len(scenes)} scenes of {options.split} in which an attack is possible")
    for row in rows:
        shown.add_row(*map(str, row.values()))
    Console(width=220).print(shown)
    Console(width=220).print(f"critical frames of the log itself, {options.windows} windows, as recorded: {usual}")


if __name__ == "__main__":
    main()
