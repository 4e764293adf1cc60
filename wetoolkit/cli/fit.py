"""`wetool fit`: train a part that learns from scenarios by itself into a file that its settings then name."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wetoolkit.cli.check import settings_of
from wetoolkit.cli.output import show
from wetoolkit.cli.plugins import split
from wetoolkit.cli.run import SET
from wetoolkit.errors import DataError, PluginError, UnknownName

if TYPE_CHECKING:
    from wetoolkit.sources import Source
    from wetoolkit.types import Ref, Scenario

FOLDER = Path("runs") / "models"  # where models go unless a file is named


def fit(
    part: Annotated[str, typer.Argument(metavar="KIND/NAME", help="The part, such as behaviour/diffusion.")],
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A path, NAME:PATH, a data set's name, or an experiment file.")],
    splits: Annotated[list[str] | None, typer.Option("--split", help="Splits to learn from; train unless given.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="At most so many scenarios, evenly spread; 0: all.")] = 0,
    settings: SET = None,
    data: Annotated[list[str] | None, typer.Option("--data", metavar="KEY=VALUE", help="A setting of the data set.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where the model goes; runs/models/NAME.safetensors unless given.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Everything drawn follows from it.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train a part on the scenarios of a data set. Cut short, the same command goes on where it was.

    Example: wetool fit behaviour/diffusion minitown
    """
    import polars as pl

    from wetoolkit.kinds import SupportsFit
    from wetoolkit.progress import watch
    from wetoolkit.registry import load_registry
    from wetoolkit.sources import open_source

    kind, name = split(part)
    registry = load_registry()
    made = registry.build(kind, name, settings_of(settings or []))
    if not isinstance(made, SupportsFit):
        raise PluginError(f"{part} learns from no scenarios by itself", way_out="its author implements wetoolkit.kinds.SupportsFit")
    found = open_source(registry, source, settings_of(data or []))
    refs = _refs(found, splits or ["train"], limit)
    file = out or FOLDER / f"{name}.safetensors"
    told, began = watch(), time.monotonic()
    try:
        told.start("fit", len(refs))
        facts = made.fit(_loaded(found, refs, told.step), file, seed, told.step)
    finally:
        told.close()
    rows = [*facts.items(), ("scenarios", len(refs)), ("with loading", f"{time.monotonic() - began:.0f} s"), ("file", str(file))]
    table = pl.DataFrame([(key, str(value)) for key, value in rows], schema={"what": pl.String, "said": pl.String}, orient="row")
    show(table, json, f"{part} from {source}", beneath=())


def _refs(source: Source, splits: Sequence[str], limit: int) -> list[Ref]:
    offered = source.dataset.splits()
    strange = [name for name in splits if name not in offered]
    if strange:
        raise UnknownName("split", strange[0], offered, dataset=source.name)
    refs = [ref for name in splits for ref in source.dataset.index(name)]
    if not refs:
        raise DataError("there is nothing to learn from", file=source.name, way_out="name other splits")
    return refs if not 0 < limit < len(refs) else [refs[i * len(refs) // limit] for i in range(limit)]


def _loaded(source: Source, refs: Sequence[Ref], step: Callable[[int, int, str], None]) -> Iterator[Scenario[Any]]:
    for done, ref in enumerate(refs, 1):
        yield source.dataset.load(ref)
        step(done, len(refs), ref.log)
