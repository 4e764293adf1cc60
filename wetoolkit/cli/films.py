"""Films for `wetool rollout --video`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wetoolkit.cli.run import locate
from wetoolkit.film import check_film
from wetoolkit.progress import watch
from wetoolkit.work import Session


def _session(experiment: Path, settings: Sequence[str], out: Path | None) -> Session:
    from wetoolkit.experiment import Parts
    from wetoolkit.registry import load_registry
    from wetoolkit.store import Store

    found, folder = locate(experiment, settings, out)
    return Session(found, Parts(found, load_registry()), Store(folder))


def check(experiment: Path, settings: Sequence[str], out: Path | None) -> None:
    """``PluginError`` where no film could be made: before anything is driven."""
    check_film(_session(experiment, settings, out).parts.domain)


def write(experiment: Path, settings: Sequence[str], out: Path | None, number: int, files: Sequence[Path], limit: int) -> None:
    """Films of a finished rollout stage; ``files`` are the scenes where they came from elsewhere."""
    from wetoolkit.filming import film_stage

    session = _session(experiment, settings, out)
    session.watch = watch()
    made = session.store.manifest.stages.get(f"vary-{number}")
    scenes = files or [session.store.folder / name for name in (made.artefacts if made else ())]
    try:
        with session.store.lock():
            film_stage(session, f"rollout-{number}", scenes, limit)
    finally:
        session.watch.close()
