"""Pictures of the variants of one scene: what everybody would do, over outlines of what the log says, side by side.

A domain that ``SupportsFutures`` draws each variant around its conflict; of one that only draws rollouts, the record is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from wetoolkit import sheets
from wetoolkit.film import check_film, check_packages, write_film, write_sheet
from wetoolkit.progress import Silent, Watch
from wetoolkit.types import Array, Rollout, Scene, Situation

COLUMNS, TALL = 4, 64  # panels in a row; pixels of the strip above a panel
SAID = ("variant", "control", "who")  # of a row: what a title has apart from the numbers


@dataclass(frozen=True)
class Future:
    """One variant from its present on."""

    pictures: Iterable[Array]  # [H, W, 3] uint8, one a step
    still: int  # number of the picture that tells most
    words: str = ""  # what happens there, such as who comes how near


@runtime_checkable
class SupportsFutures(Protocol):
    """A domain that draws a variant for itself, around what happens in it."""

    def future(self, variant: Scene[Any], logged: Any, who: Sequence[str]) -> Future:
        """The variant with the acting body as recorded and ``logged``, its scene's own world, as ghosts.

        ``who``: those whose future was asked for; none: whoever differs from the log. Pictures are of one size for all variants.
        """


def futures(
    domain: Any, scene: Scene[Any], variants: Sequence[Scene[Any]], rows: Sequence[Mapping[str, Any]], folder: Path,
    watch: Watch | None = None,
) -> list[Path]:  # fmt: skip
    """``futures.mp4`` of all variants side by side, and ``sheet.png``, each at its still; ``rows`` say what was done in each."""
    if not variants:
        return []
    if isinstance(domain, SupportsFutures):
        check_packages()
        found = [domain.future(variant, scene.world, _who(row)) for variant, row in zip(variants, rows, strict=True)]
    else:
        check_film(domain)
        found = [_filmed(domain, variant, scene.world) for variant in variants]
    titles = [_title(number, variant, row) for number, (variant, row) in enumerate(zip(variants, rows, strict=True))]
    told, stills = watch or Silent(), {}
    told.start("futures", scene.clock.steps - scene.clock.now)
    paths = [folder / "futures.mp4", folder / "sheet.png"]

    def tiled() -> Iterator[Array]:
        last: list[Array] = []
        for number, pictures in enumerate(zip_longest(*(future.pictures for future in found))):
            told.step(number + 1, scene.clock.steps - scene.clock.now)
            last = [picture if picture is not None else before for picture, before in zip_longest(pictures, last)]
            seconds = number * scene.clock.dt
            panels = [_panel(*item, number, seconds) for item in zip(last, titles, found, strict=True)]
            stills.update({k: panel for k, panel in enumerate(panels) if k not in stills or number <= found[k].still})
            yield _tiles(panels)

    write_film(paths[0], tiled(), 1.0 / scene.clock.dt)
    write_sheet(paths[1], [stills[k] for k in range(len(variants))], COLUMNS)
    told.stop("futures", f"{len(variants)} in {folder}")
    return paths


def _who(row: Mapping[str, Any]) -> tuple[str, ...]:
    names = str(row.get("who", ""))
    return () if names in ("", "all") else tuple(names.split(", "))


def _title(number: int, variant: Scene[Any], row: Mapping[str, Any]) -> str:
    """What was asked of whom, then every number there is to say about it."""
    rest = {key: value for key, value in row.items() if key not in SAID and value == value}  # NaN: not judged
    numbers = [f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in rest.items()]
    who = f"by {row['who']}   " if row.get("who") else ""
    return f"{number}: {str(row.get('control') or variant.variant)[:110]}\n{who}{'   '.join(numbers)}"[:240]


def _panel(picture: Array, title: str, future: Future, number: int, seconds: float) -> Array:
    strip = np.full((TALL, picture.shape[1], 3), 255, np.uint8)
    words = f"{seconds:.1f} s" + (f"   {future.words}" if future.words and number >= future.still else "")
    framed = picture.copy()
    framed[:, -2:] = framed[-2:] = 255
    return np.concatenate([sheets.captioned(strip, title, (5, 3), "la", sheets.INK), sheets.captioned(framed, words, (6, 5))])


def _tiles(panels: Sequence[Array]) -> Array:
    """Panels in rows, a white one where the last row is not full."""
    white = np.full_like(panels[0], 255)
    columns = min(COLUMNS, len(panels))
    full = [*panels, *[white] * (-len(panels) % columns)]
    lines = [np.concatenate(full[first : first + columns], 1) for first in range(0, len(full), columns)]
    return sheets.even(np.concatenate(lines))


def _filmed(domain: Any, variant: Scene[Any], logged: Any) -> Future:
    shown = as_recorded(domain, variant, variant.id)
    return Future(domain.frames(shown, logged, ()), (shown.end - shown.clock.now) // 2)


def as_recorded(domain: Any, scene: Scene[Any], title: str) -> Rollout[Any]:
    """A scene as it would go if the acting body did what its record says: something to look at, not a drive."""
    situation = Situation(scene.id, scene.log, scene.world, scene.clock.now)
    plan = np.asarray(domain.demonstrate([situation])[0], np.float32)  # [1, T, D] zeros where not known
    return Rollout(
        id=title, domain=scene.domain, log=scene.log, scene=title, policy="as recorded", seed=0, clock=scene.clock,
        end=scene.clock.steps, world=scene.world, decisions=np.array([scene.clock.now]), plans=plan, choices=np.array([-1]),
        log_probs=np.zeros(1), lineage=scene.lineage,
    )  # fmt: skip


__all__ = ["Future", "SupportsFutures", "as_recorded", "futures"]
