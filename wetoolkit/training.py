"""Learning: the base policy from demonstrations, then experience with dense rewards and what is trained on it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from wetoolkit.errors import DataError
from wetoolkit.experience import Shards
from wetoolkit.jobs import (
    Demonstrate,
    Frame,
    LogFrames,
    RolloutFrames,
)
from wetoolkit.kinds import SupportsLogProb, SupportsPrepare
from wetoolkit.listing import block_payloads, loader, ref_chunks, refs_of
from wetoolkit.policies import load_policy, save_policy, timeless, trained_on
from wetoolkit.stages import chosen, unfailing
from wetoolkit.store import write_table
from wetoolkit.types import Ref
from wetoolkit.work import Made, Payload, Session, Work, derive, named, pieces


def fit(
    session: Session, work: Work, role: str, start: Any, reference: Any, shards: Shards, name: str, before: Made | None = None
) -> list[Path]:
    """Run an algorithm; the policy and its metrics are the artefacts. ``before``: the file of the trained policy it starts from."""
    step = session.parts.step(role, derive(session.experiment.seed, name))
    if not len(shards):
        raise DataError("there is nothing to learn from", stage=name, way_out="see `wetool report` for the items that failed")
    try:
        trained = session.parts.build(role).train(start, reference, shards, derive(session.experiment.seed, name), work.progress)
    except Exception as error:
        raise named(error, step) from error
    path, table = work.path("policies"), work.path("tables/parts", "parquet")
    seen = trained_on(before.paths[0]) if before else set()
    logs = None if seen is None else sorted(seen | set(shards.logs))  # unknown stays unknown
    save_policy(session, path, trained, {"lineage": [asdict(step)], "decisions": len(shards), "logs": logs})
    metrics = pl.DataFrame({key: list(values) for key, values in timeless(trained.metrics).items()})
    write_table(table, metrics)
    if "gpu_seconds" in trained.summary:
        work.cost.gpu_seconds = float(trained.summary["gpu_seconds"])
    return [path, table]


def pretrain(session: Session, listed: Made) -> Made:
    """The base policy: demonstrations of the pre-training split, and the algorithm that imitates them."""
    parts = session.parts

    def demonstrate(work: Work) -> list[Path]:
        payloads = ref_chunks(session, refs_of(listed, "pretrain"))
        return work.chunks("experience", payloads, lambda: Demonstrate(loader(session), parts.domain, parts.build("policy").spec))

    shown = session.stage("demonstrations", demonstrate, of="pretrain", roles=["dataset", "policy"], inputs=[listed])

    def make(work: Work) -> list[Path]:
        shards = Shards(*shown.paths, memory_mb=session.experiment.frames.memory, world=parts.domain.world)
        work.begin(len(shards))
        policy = parts.build("policy")
        if isinstance(policy, SupportsPrepare):
            try:
                policy = policy.prepare(shards, derive(session.experiment.seed, "prepare"))
            except Exception as error:
                raise named(error, parts.step("policy")) from error
        return fit(session, work, "pretrain", policy, None, shards, "pretrain")

    return session.stage("pretrain", make, of="pretrain", roles=["policy", "pretrain"], inputs=[shown])


def experience(session: Session, number: int, listed: Made, mined: Made, rollouts: Made, policy: Made) -> Made:
    """Decisions with dense rewards: of the rollouts, of the failing log frames and of common frames of the same logs."""
    parts, e, name = session.parts, session.experiment, f"experience-{number}"

    def make(work: Work) -> list[Path]:
        actor = load_policy(session, policy)
        proposals = actor.proposals if isinstance(actor, SupportsLogProb) else None
        scoring = (parts.domain, actor.spec, parts.build("reward"), parts.step("reward"), proposals, number, e.frames.terms)
        frames = _frames(session, number, refs_of(listed, "mine"), mined)
        logged = [
            Payload([asdict(f) for f in part], tuple(part), tuple(f.ref.id for f in part), tuple(f.ref.log for f in part))
            for part in pieces(frames, e.chunk)
        ]
        limits = (e.frames.rollout_stride, e.frames.least_trust, e.frames.reject == "rest")
        driven = work.chunks("experience", block_payloads(rollouts.paths), lambda: RolloutFrames(*scoring, *limits))
        return [*driven, *work.chunks("experience", logged, lambda: LogFrames(*scoring, loader(session)))]

    settings = [e.frames.model_dump(exclude={"memory"}), e.limits.failures, number]
    inputs = [listed, mined, rollouts]
    return session.stage(
        name, make, of=f"train-{number}", roles=["dataset", "reward"], inputs=inputs, shared=[policy], settings=settings
    )


def _frames(session: Session, number: int, refs: Sequence[Ref], mined: Made) -> list[Frame]:
    """The failing log frames, then ordinary ones: so many of the same log, and where it has too few, of any other."""
    failures = chosen(session, mined)
    hard = [Frame(failure.scenario, failure.step) for failure in failures]
    queue = sorted(unfailing(session, refs, mined), key=lambda ref: derive(session.experiment.seed, number, ref.id))
    by_log = defaultdict(list)
    for ref in queue:
        by_log[ref.log].append(ref)
    wanted = Counter(frame.ref.log for frame in hard)
    ratio = session.experiment.frames.common_per_hard
    taken = [ref for log, count in wanted.items() for ref in by_log[log][: round(count * ratio)]]
    have = {ref.id for ref in taken}
    short = round(len(hard) * ratio) - len(taken)
    taken += [ref for ref in queue if ref.id not in have][: max(short, 0)]
    return [*hard, *(Frame(ref, None) for ref in taken)]


def train(session: Session, number: int, role: str, frames: Sequence[Made], policy: Made, base: Made) -> Made:
    """Post-train ``policy`` by the algorithm of a role on the experience of all rounds so far."""
    e, parts = session.experiment, session.parts
    name = f"train-{number}" if role == "algorithm" else f"{role}-{number}"

    def make(work: Work) -> list[Path]:
        paths = [path for made in frames for path in made.paths]
        shards = Shards(*paths, memory_mb=e.frames.memory, world=parts.domain.world)
        work.begin(len(shards))
        reference = load_policy(session, base if e.reference == "base" else policy)
        return fit(session, work, role, load_policy(session, policy), reference, shards, f"train-{number}", policy)

    settings = [e.reference, e.frames.memory]
    return session.stage(
        name, make, of=f"train-{number}", roles=[role], inputs=list(frames), shared=[policy, base], settings=settings
    )
