"""What attacks of `behaviour/diffusion` do to policies that drive, beside the log and the rules of `perturb`, in the same scenes.

    make bench-attacks                          # needs build/bench/diffusion.safetensors (make bench-diffusion) and a base policy
    python tests/benchmarks/bench_attacks.py --model FILE --policy runs/quickstart/policies/{pretrain,train-1}-*.safetensors

Every scene is driven as logged, in variants by rules and under attack, each by the ego as recorded, by `pdm-closed` and by
learned policies in closed loop; "on its plan" attacks what that policy did in the scene as logged in place of what is recorded.
Critical is a frame in which the ego touches somebody or is less than 1.5 s from it, where avoiding that takes 2 m/s^2 at least
(`miners/criticality`); a drive fails by the PDM score: a collision that is the ego's fault, or off the road. A variant is valid
where nobody else exceeds the limits of its class, collides or leaves the road (of attacks: nor runs a red light, but who attacks),
and some plan of the ego has a PDM score above 0.8: of attacks as of rules, of what happened, with one try; that two are alike is
not counted. Three tables (`attack_tables`): by policy, by intent with what rejected it, and what issue 7 asks beside what was
found. The log's rate is that of many windows of the split as recorded. Intervals are of 95 %, clustered by log.
"""

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
from attack_tables import ATTACK, LOG, PLANNED, RULES, SHOWN, Drive, intent_rows, policy_rows, rate, said, verdict_rows
from rich.console import Console
from rich.table import Table
from wetoolkit_diffusion.attacks import AttackConfig, choices
from wetoolkit_diffusion.behaviour import Diffusion, DiffusionConfig
from wetoolkit_diffusion.controls import begin
from wetoolkit_diffusion.plausible import PlausibilityConfig, best_scores, judge
from wetoolkit_diffusion.realism import recorded
from wetoolkit_diffusion.tokens import encode
from wetoolkit_diffusion.variants import IMPOSSIBLE, Maker
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
from wetoolkit.store import read_state
from wetoolkit.types import Rollout, Scene, Situation, Step

SECONDS = 6.0  # that are driven and looked at
TTC, MOVING, COMFORT = 1.5, 0.5, 2.0  # seconds, m/s, m/s^2
STEPS = 80  # steps of a generated future
LINK = Step("behaviour/diffusion", "wetoolkit-diffusion", "bench")
RECORDED, PDM = "as recorded", "pdm-closed"


@dataclass(frozen=True)
class Asked:
    """One variant that was asked for; what is not valid has no scene to be driven."""

    sort: str
    how: str  # the intent or the rule
    scene: Scene[World] | None
    reasons: tuple[str, ...] = ()


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


def bent(part: Diffusion, scene: Scene[World], count: int) -> Iterator[Asked]:
    """The scene as logged, and varied by rules."""
    yield Asked(LOG, "", scene)
    for varied in Perturb(PerturbConfig()).vary(scene, count, 0):
        why = faults(part.model, scene, varied.world)
        yield Asked(RULES, varied.variant.split(":")[0], None if why else varied, why)


def attacked(part: Diffusion, sort: str, source: Scene[World], count: int) -> Iterator[Asked]:
    """One try each at ``count`` attacks."""
    maker = Maker(part.model, part.config, source, 0)
    made = maker.attempt(range(count), 0)
    for variant in made:
        why = variant.verdict.reasons
        scene = None if why else maker.named(variant, {})
        if scene is not None:
            scene = replace(scene, id=f"{scene.id}/{sort}", lineage=source.lineage.then(replace(LINK, seed=0)))
        yield Asked(sort, variant.hold.intent, scene, why)
    yield from (Asked(sort, IMPOSSIBLE, None, (IMPOSSIBLE,)) for _ in range(count - len(made)))


def drive_of(scene: Scene[World], world: World) -> Scene[World]:
    """The scene with what was driven in it as its record."""
    return replace(scene, world=world, clock=replace(scene.clock, steps=world.steps))


def log_drives(dataset: Minitown, refs: Sequence[Any]) -> list[Drive]:
    """Many windows of the log as recorded."""
    found = []
    for ref in refs:
        one = dataset.load(ref)
        share, touch = critical(one.world, one.clock.now)
        found.append(Drive(RECORDED, LOG, "", one.id, one.log, (), share, touch))
    return found


def attackable(part: Diffusion, scene: Scene[World]) -> bool:
    """Whether somebody can be in the ego's way."""
    tokens = encode(scene.world, scene.clock.now, part.model.spec)
    return bool(choices(begin(tokens, scene.world, part.model.spec, True), tokens, part.model.spec, part.config.attack))


def measure(
    part: Diffusion, name: str, policy: Any, scenes: Sequence[Scene[World]], asked: dict[str, list[Asked]], count: int
) -> list[Drive]:
    """What one policy does in every sort of variants; ``asked``: those that are the same for all policies, by scene."""
    found, reward = [], PdmReward(PdmRewardConfig())
    for number, (scene, seen) in enumerate(zip(scenes, driven(policy, scenes, part), strict=True), 1):
        own = [] if policy is None else attacked(part, PLANNED, drive_of(scene, seen.world), count)
        every = [*asked[scene.id], *own]
        rollouts = driven(policy, [one.scene for one in every if one.scene is not None], part)
        done = iter(zip(rollouts, reward.judge(rollouts).success, strict=True))
        for one in every:
            drive = Drive(name, one.sort, one.how, scene.id, scene.log, one.reasons)
            if one.scene is not None:
                rollout, success = next(done)
                share, touch = critical(rollout.world, scene.clock.now)
                drive = replace(drive, frames=share, touch=touch, failed=not success)
            found.append(drive)
        print(f"{name}: {number} of {len(scenes)}", flush=True)
    return found


def named(files: Sequence[Path]) -> dict[str, Any]:
    """Policies of runs' files by their stage, numbered where several have one."""
    found: dict[str, Any] = {}
    for file in files:
        stage = file.stem.rsplit("-", 1)[0]
        number = 1 + sum(name.split(" ")[0] == stage for name in found)
        found[stage if number == 1 else f"{stage} {number}"] = learned(file)
    return found


def show(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Print a table."""
    table = Table(*rows[0], title=title)
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console(width=240).print(table)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--model", type=Path, default=Path("build/bench/diffusion.safetensors"))
    asked.add_argument("--policy", type=Path, nargs="*", default=[], help="files of learned policies, from runs' policies/")
    asked.add_argument("--split", default="test-common")
    asked.add_argument("--scenes", type=int, default=40)
    asked.add_argument("--each", type=int, default=3, help="variants of a scene and sort")
    asked.add_argument("--reacts", action="store_true", help="the others, who attacks included, react in closed loop")
    asked.add_argument("--others", default="recorded", choices=["generated", "recorded"], help="what those do who do not attack")
    asked.add_argument("--windows", type=int, default=300, help="of the split, for the rate of critical frames in the log itself")
    asked.add_argument("--out", type=Path, default=Path("build/bench/attacks.json"))
    options = asked.parse_args()
    config = DiffusionConfig(
        checkpoint=str(options.model),
        attack=AttackConfig(),
        plausibility=PlausibilityConfig(tries=1, apart=0.0),
        closed_loop=options.reacts,
        others=options.others,
    )
    part, dataset = Diffusion(config), Minitown(MinitownConfig())
    refs = dataset.index(options.split)
    scenes = [Replay(ReplayConfig()).reconstruct(dataset.load(ref), None, 0) for ref in spread(refs, options.scenes)]
    able = [scene for scene in scenes if attackable(part, scene)]
    usual = log_drives(dataset, spread(refs, options.windows))
    both = {scene.id: [*bent(part, scene, options.each), *attacked(part, ATTACK, scene, options.each)] for scene in able}
    policies = {RECORDED: None, PDM: PdmClosed(PdmClosedConfig()), **named(options.policy)}
    drives: list[Drive] = []
    for name, policy in policies.items():
        drives += measure(part, name, policy, able, both, options.each)
        tables = {"policies": policy_rows(drives, usual), "intents": intent_rows(drives), "verdicts": verdict_rows(drives, usual)}
        facts = {"model": part.model.digest, "scenes": len(scenes), "attackable": len(able)}
        facts |= {key: str(value) for key, value in vars(options).items()}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps({**facts, **tables, "drives": [asdict(drive) for drive in drives]}, indent=1))
    print(f"{len(able)} of {len(scenes)} scenes of {options.split} in which an attack is possible")
    for title, rows in tables.items():
        show(title, rows)
    print(f"critical frames of the log itself, {len(usual)} windows: {said(rate(usual, SHOWN['critical frames']), 4)}")


if __name__ == "__main__":
    main()
