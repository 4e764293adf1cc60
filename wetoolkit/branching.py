"""What if another had been at the wheel from here on: branches of a recorded rollout, judged beside the record itself.

A record's prefix is brought back by the simulator itself (``SupportsBranch``: state for state, models of the others included).
Where the simulator cannot, or where another behaviour shall move the others from there on, the record's own world is the scene:
what is known of it up to the step is history, and what the others did in it later is what they are logged to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from wetoolkit.codec import read_header
from wetoolkit.errors import StoreError, UnknownName, ValidationError
from wetoolkit.jobs import acted, varied
from wetoolkit.kinds import Policy, SupportsBranch
from wetoolkit.pipeline import BASE, POST
from wetoolkit.policies import load_policy
from wetoolkit.record import Drive, drives, stamped, state_hash
from wetoolkit.sight import shown
from wetoolkit.store import canonical, file_digest, key_of, read_block, read_bytes, read_facts, write_block, write_table
from wetoolkit.types import Array, Rollout, Scene, Step, require
from wetoolkit.work import Failed, Made, Session, attempt, derive, file_made, is_block

RECORD, AS_RECORDED = "recorded", "as recorded"


@dataclass(frozen=True)
class Asked:
    """What to try: every policy with every behaviour, ``count`` times each with seeds of their own."""

    scene: str
    at: float  # seconds after the record's first decision
    policies: tuple[str, ...] = ()  # of the run, files or components; none: the record's own
    behaviours: tuple[str, ...] = ()  # components that move the others from there on; none: as in the record
    count: int = 1
    horizon: float | None = None  # seconds after the record's first decision; None: the record's


@dataclass(frozen=True)
class Actor:
    """A policy by the name it was asked for."""

    name: str
    policy: Policy[Any]
    step: Step


@dataclass(frozen=True)
class Branched:
    """What became of it: one row a drive, the record's first."""

    table: pl.DataFrame
    rollouts: tuple[Rollout[Any], ...]  # the record, then the branches that went well
    scene: Scene[Any]
    drives: tuple[Drive, ...]
    failed: tuple[Failed, ...]
    path: Path  # of the table; the rollouts stand beside it
    cached: bool


def recorded(session: Session, scene: str) -> tuple[Scene[Any], Rollout[Any]]:
    """A scene of the run and the rollout of it, of the latest round that has one; ``UnknownName`` says which there are."""
    stages = [name for name in session.store.manifest.stages if name.startswith("rollout-")]
    known: list[str] = []
    for stage in sorted(stages, key=lambda name: -int(name.partition("-")[2])):
        for path in _blocks(session, stage):
            scenes = [str(value["scene"]) for value in read_header(read_bytes(path, header=True), str(path))["values"]]
            known += scenes
            if scene not in scenes:
                continue
            for rollout in read_block(path, Rollout, session.parts.domain.world)[0]:
                if rollout.scene != scene:
                    continue
                return _scene(session, stage, scene), rollout
    raise UnknownName("recorded scene", scene, known, way_out="run `wetool rollout` first", run=str(session.store.folder))


def _blocks(session: Session, stage: str) -> Iterator[Path]:
    record = session.store.manifest.stages.get(stage)
    paths = (session.store.folder / name for name in (record.artefacts if record else ()))
    return (path for path in paths if is_block(path) and path.is_file())


def _scene(session: Session, stage: str, name: str) -> Scene[Any]:
    """The scene that a rollout of a stage started from."""
    for path in _blocks(session, stage.replace("rollout", "vary")):
        if name in read_facts(path)["ids"]:
            return next(scene for scene in read_block(path, Scene, session.parts.domain.world)[0] if scene.id == name)
    raise StoreError(
        f"the scene {name!r} was not made in this run, only driven", folder=session.store.folder,
        way_out="branch in the run that made it (its rollouts came of --input)",
    )  # fmt: skip


def branch(session: Session, asked: Asked) -> Branched:
    """Try what is asked, or read it where the very same was tried before."""
    scene, record = recorded(session, asked.scene)
    step = step_at(record, asked.at)
    if asked.horizon is not None and asked.horizon <= asked.at:
        raise ValidationError(
            f"a horizon of {asked.horizon:g} s ends before the branch", field="horizon", way_out="give a longer one"
        )
    names = asked.policies or (record.policy,)
    actors = [actor(session, name) for name in names]
    reward = session.parts.build("evaluate.reward")
    identity = [[a.name, asdict(a.step)] for a in actors]
    parts = [asdict(session.parts.step(role)) for role in ("simulator", "evaluate.reward")]
    key = key_of(state_hash(record), step, identity, [asdict(_behaviour(session, name)[1]) for name in asked.behaviours], parts,
                 asked.count, asked.horizon, session.experiment.seed)[:16]  # fmt: skip
    path = session.store.path("branches", f"{key}.parquet")
    block = path.with_suffix(".safetensors")
    cached = session.store.digest(path) is not None and session.store.digest(block) is not None
    failed: list[Failed] = []
    if cached:
        made, facts = read_block(block, Rollout, session.parts.domain.world)
        failed = [Failed(**row) for row in facts["failed"]]
    else:
        made = _try(session, scene, record, step, actors, asked, failed)
        facts = {"ids": [r.id for r in made], "logs": [r.log for r in made], "failed": [asdict(row) for row in failed], "key": key}
        write_block(block, made, facts)
    rollouts = [record, *made]
    scores = reward.judge(rollouts)
    scores.validate()
    kept = drives(reward, rollouts, scores.success)
    simulator = session.parts.build("simulator")
    terms = {name: term.values for name, term in scores.terms.items() if term.available}
    rows = [
        {
            **_named(rollout, number), "at": None if number == 0 else asked.at, "seed": rollout.seed,
            "total": float(scores.total[number]), "success": bool(scores.success[number]), **_told(kept[number]),
            **{f"term.{name}": float(values[number]) for name, values in terms.items()}, "state": kept[number].state,
            "metric": str(stamped(scores.metric, simulator, seconds_of(rollout))), "error": "",
        }
        for number, rollout in enumerate(rollouts)
    ]  # fmt: skip
    table = pl.DataFrame([*rows, *({"policy": row.id, "error": row.reason} for row in failed)], infer_schema_length=None)
    if not cached:
        write_table(path, table)
    return Branched(table, tuple(rollouts), scene, tuple(kept), tuple(failed), path, cached)


def step_at(record: Rollout[Any], at: float) -> int:
    """The record's step ``at`` seconds after its first decision; ``ValidationError`` unless one falls there, before the end."""
    first, dt = record.clock.now, record.clock.dt
    step = first + round(at / dt)
    last = record.end - 2 - first
    require(
        abs(at / dt - round(at / dt)) < 1e-6, f"{at:g} s falls between two steps of {dt:g} s", "at", f"give a multiple of {dt:g}"
    )
    inside = 0 <= step - first <= last
    require(inside, f"{at:g} s is outside the record", "at", f"give 0 to {last * dt:g} s")
    return step


def seconds_of(record: Rollout[Any]) -> float:
    """How long a record's horizon is."""
    return (record.end - 1 - record.clock.now) * record.clock.dt


def actor(session: Session, name: str) -> Actor:
    """A policy of the run by its name ("base", "post-trained", "round-1", a control, a stage), a file, or a component."""
    e, registry = session.experiment, session.parts.registry
    if Path(name).suffix == ".safetensors":
        return _trained(session, name, file_made("pretrain", [Path(name)]))
    stages = {BASE: "pretrain", POST: f"train-{e.rounds}", **{f"round-{n}": f"train-{n}" for n in range(1, e.rounds + 1)}}
    stages |= {control: f"controls.{control}-{e.rounds}" for control in e.controls}
    record = session.store.manifest.stages.get(stages.get(name, name))
    if record is not None:
        paths = tuple(session.store.folder / path for path in record.artefacts)
        return _trained(session, name, Made(name, record.digest, paths))
    known = {entry.component.name for entry in registry.entries if getattr(entry.component, "kind", "") == "policy"}
    if name.rpartition(":")[2] not in known:
        there = [own for own, stage in stages.items() if stage in session.store.manifest.stages]
        raise UnknownName("policy", name, [*there, *known], way_out="or give a file of a run's policies/")
    config = registry.config("policy", name, {})
    return Actor(name, registry.build("policy", name, {}), registry.step("policy", name, config))


def _trained(session: Session, name: str, made: Made) -> Actor:
    step = replace(session.parts.step("policy"), config=file_digest(made.paths[0]))
    return Actor(name, load_policy(session, made), step)


def _behaviour(session: Session, name: str) -> tuple[Any, Step]:
    """A behaviour with its settings in the experiment, where it has some there."""
    settings = next((part.settings for part in session.experiment.behaviour if part.use == name), {})
    registry = session.parts.registry
    config = registry.config("behaviour", name, settings)
    return registry.build("behaviour", name, settings), registry.step("behaviour", name, config)


def _try(
    session: Session, scene: Scene[Any], record: Rollout[Any], step: int, actors: Sequence[Actor], asked: Asked,
    failed: list[Failed],
) -> list[Rollout[Any]]:  # fmt: skip
    """Every branch; one that fails is a row in ``failed``."""
    link, found = session.parts.step("simulator"), []
    simulator = session.parts.build("simulator")
    behaviours: list[tuple[str, Any, Step | None]] = [(name, *_behaviour(session, name)) for name in asked.behaviours]
    behaviours = behaviours or [("", None, None)]
    for one in actors:
        for name, behaviour, of in behaviours:
            for index in range(asked.count):
                seed = record.seed if index == 0 else derive(session.experiment.seed, "branch", scene.id, step, index)
                call = partial(_one, simulator, link, scene, record, step, one, behaviour, of, seed, asked.horizon)
                title = f"{one.name}, {name or AS_RECORDED}, {index}"
                for rollout in attempt(failed, "branch", title, scene.log, link, call):
                    settings = {**rollout.settings, "branch.policy": one.name, "branch.behaviour": name or AS_RECORDED}
                    identity = f"{scene.id}/{one.name}/{name or AS_RECORDED}/{index}@{asked.at:g}"
                    found.append(replace(rollout, id=identity, settings=settings))
    return found


def _one(
    simulator: Any, link: Step, scene: Scene[Any], record: Rollout[Any], step: int, one: Actor, behaviour: Any, of: Step | None,
    seed: int, horizon: float | None,
) -> Rollout[Any]:  # fmt: skip
    links = [one.step, replace(link, seed=seed)]
    if behaviour is None and isinstance(simulator, SupportsBranch):
        (rollout,) = simulator.branch([scene], [record], [step], one.policy, [seed], horizon)
        rollout.validate()
    else:
        rollout = _in_its_world(simulator, link, scene, record, step, one, behaviour, of, seed, horizon)
        links = [*([replace(of, seed=seed)] if of else []), *links]
    lineage = replace(record.lineage, steps=(*record.lineage.steps, *links))
    return replace(rollout, scene=scene.id, policy=one.name, lineage=lineage)


def _in_its_world(
    simulator: Any, link: Step, scene: Scene[Any], record: Rollout[Any], step: int, one: Actor, behaviour: Any, of: Step | None,
    seed: int, horizon: float | None,
) -> Rollout[Any]:  # fmt: skip
    """A branch in the record's own world: the rollout from the step on, joined to what came before it."""
    here = replace(scene, id=f"{scene.id}@{step}", world=record.world, clock=record.clock.at(step))
    if behaviour is not None and of is not None:
        variants = varied(behaviour, of, here, 1, seed)
        require(bool(variants), "no variant was made", "behaviour", "choose one that can vary this scene")
        here = variants[0]
    left = (horizon or seconds_of(record)) - (step - record.clock.now) * record.clock.dt
    (rollout,) = acted(simulator, one.policy, one.name, [link], [here], [seed], left)
    count = int((record.decisions < step).sum())

    def joined(name: str) -> Array:
        return np.concatenate([getattr(record, name)[:count], getattr(rollout, name)])

    return replace(
        rollout, clock=rollout.clock.at(record.clock.now), settings={**rollout.settings, "branch": "in its world"},
        decisions=joined("decisions"), plans=joined("plans"), choices=joined("choices"), log_probs=joined("log_probs"),
        **shown([*map(record.glimpsed, range(count)), *map(rollout.glimpsed, range(len(rollout.decisions)))]),
    )  # fmt: skip


def _named(rollout: Rollout[Any], number: int) -> dict[str, Any]:
    if number == 0:
        return {"drive": RECORD, "policy": rollout.policy, "behaviour": AS_RECORDED}
    return {
        "drive": f"branch {number}", "policy": rollout.settings["branch.policy"], "behaviour": rollout.settings["branch.behaviour"],
    }  # fmt: skip


def _told(drive: Drive) -> dict[str, Any]:
    """Seconds watched, when it failed and by what."""
    first = next((event for event in drive.events if event.fails), None)
    failed_at = None if np.isnan(drive.failed_at) else drive.failed_at
    kind = first.kind if first else "" if failed_at is None else "unsaid"
    return {
        "seconds": drive.seconds, "failed_at": failed_at, "failed_by": kind,
        "events": canonical([[event.kind, event.time, event.who] for event in drive.events]),
    }  # fmt: skip


__all__ = ["Asked", "Branched", "actor", "branch", "recorded", "step_at"]
