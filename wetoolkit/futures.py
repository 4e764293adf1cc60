"""Pictures of the variants of one scene: what everybody would do, over outlines of what the log says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wetoolkit.film import check_film, film, write_sheet
from wetoolkit.progress import Silent, Watch
from wetoolkit.types import Rollout, Scene, Situation


def futures(
    domain: Any, scene: Scene[Any], variants: Sequence[Scene[Any]], rows: Sequence[Mapping[str, Any]], folder: Path,
    watch: Watch | None = None,
) -> list[Path]:  # fmt: skip
    """A film of each variant with ``scene`` as its ghosts, and ``sheet.png`` of stills; ``rows`` say what was done in each."""
    check_film(domain)
    told, paths, stills = watch or Silent(), [], []
    told.start("films", len(variants))
    for number, (variant, row) in enumerate(zip(variants, rows, strict=True)):
        shown = as_recorded(domain, variant, f"{number}: {row.get('control', variant.variant)}")
        paths.append(folder / f"{number:02d}.mp4")
        stills.append(film(domain, shown, scene.world, (), paths[-1]))
        told.step(number + 1, len(variants))
    if stills:
        write_sheet(folder / "sheet.png", stills)
        paths.append(folder / "sheet.png")
    told.stop("films", f"{len(paths)} files in {folder}")
    return paths


def as_recorded(domain: Any, scene: Scene[Any], title: str) -> Rollout[Any]:
    """A scene as it would go if the acting body did what its record says: something to look at, not a drive."""
    situation = Situation(scene.id, scene.log, scene.world, scene.clock.now)
    plan = np.asarray(domain.demonstrate([situation])[0], np.float32)  # [1, T, D] zeros where not known
    return Rollout(
        id=title, domain=scene.domain, log=scene.log, scene=title, policy="as recorded", seed=0, clock=scene.clock,
        end=scene.clock.steps, world=scene.world, decisions=np.array([scene.clock.now]), plans=plan, choices=np.array([-1]),
        log_probs=np.zeros(1), lineage=scene.lineage,
    )  # fmt: skip


__all__ = ["as_recorded", "futures"]
