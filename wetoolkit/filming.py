"""Films of a run: which rollouts, with which ghosts and events, and where they go."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wetoolkit.events import Event
from wetoolkit.film import film, write_sheet
from wetoolkit.kinds import SupportsEvents
from wetoolkit.store import read_block
from wetoolkit.types import Array, Rollout, Scene
from wetoolkit.work import Session, is_block


def film_stage(session: Session, stage: str, scenes: Sequence[Path], limit: int) -> list[Path]:
    """Films of a rollout stage in ``videos/``, ``limit`` of them spread evenly (0: all), and ``videos/<stage>.png`` of stills.

    ``scenes`` are the blocks the rollouts started from: their worlds are shown as ghosts.
    """
    record, world = session.store.manifest.stages[stage], session.parts.domain.world
    blocks = [path for name in record.artefacts if is_block(path := session.store.folder / name)]
    counts = [len(read_block(path, Rollout, world)[0]) for path in blocks] if limit else []
    wanted = _spread(sum(counts), limit) if limit else None
    logged = {scene.id: scene.world for path in scenes for scene in read_block(path, Scene, world)[0]}
    picked: list[Rollout[Any]] = []
    start = 0
    for path in blocks:
        rollouts = read_block(path, Rollout, world)[0]
        picked += [rollout for number, rollout in enumerate(rollouts, start) if wanted is None or number in wanted]
        start += len(rollouts)
    names = [f"{stage}-{number:03d}-{plain(rollout.scene)}" for number, rollout in enumerate(picked)]
    return film_all(session, picked, [logged.get(r.scene) for r in picked], names, session.store.folder / "videos", stage)


def _spread(count: int, limit: int) -> set[int]:
    """``limit`` numbers below ``count``, evenly spread."""
    return set(range(count)) if limit >= count else {round(k * (count - 1) / max(limit - 1, 1)) for k in range(limit)}


def plain(name: str) -> str:
    """A name that any file system takes."""
    return re.sub(r"[^\w.@-]+", "_", name)[-80:]


def film_all(
    session: Session, rollouts: Sequence[Rollout[Any]], logged: Sequence[Any], names: Sequence[str], folder: Path, title: str
) -> list[Path]:
    """A film of each rollout, its events marked, and ``<title>.png``: stills side by side."""
    reward, domain, paths = session.parts.build("evaluate.reward"), session.parts.domain, []
    stills: list[Array] = []
    session.watch.start(f"films of {title}", len(rollouts))
    for number, (rollout, ghosts, name) in enumerate(zip(rollouts, logged, names, strict=True)):
        events: Sequence[Event] = reward.events([rollout])[0] if isinstance(reward, SupportsEvents) else ()
        paths.append(folder / f"{name}.mp4")
        stills.append(film(domain, rollout, ghosts, events, paths[-1]))
        session.watch.step(number + 1, len(rollouts))
    if stills:
        write_sheet(folder / f"{title}.png", stills)
    session.watch.stop(f"films of {title}", f"{len(paths)} films in {folder}")
    return paths


__all__ = ["film_all", "film_stage", "plain"]
