"""`wetool vary`: the stage of a run or, of one scene, variants under named controls."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wetoolkit.cli import FAILED_ITEMS
from wetoolkit.cli.output import show, show_json
from wetoolkit.cli.run import JSON, OUT
from wetoolkit.cli.stages import INPUT, ROUND, stage
from wetoolkit.errors import ConfigError

if TYPE_CHECKING:
    from wetoolkit.varying import Varied


def vary(
    target: Annotated[
        str,
        typer.Argument(metavar="EXPERIMENT", help="Experiment or run; with SCENE also a file of scenes or a SOURCE."),
    ],
    scene: Annotated[str, typer.Argument(metavar="[SCENE]", help="One scene of it, or a window (id, SPLIT:NUMBER).")] = "",
    asked: Annotated[
        list[str] | None, typer.Option("--control", metavar="NAME", help="What is asked of the variants. Repeatable.")
    ] = None,
    count: Annotated[int, typer.Option("--n", min=1, help="So many variants of SCENE.")] = 8,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Everything drawn follows from it.")] = 0,
    behaviour: Annotated[str, typer.Option("--behaviour", help="Who makes them; whoever offers the controls unless given.")] = "",
    policy: Annotated[
        str, typer.Option("--policy", help="Vary against what this policy of the run does in SCENE, not against the record.")
    ] = "",
    reconstructor: Annotated[str, typer.Option("--reconstructor", help="Who makes a scene of a window.")] = "",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting: of the behaviour for SCENE, else of the experiment."),
    ] = None,
    video: Annotated[bool, typer.Option("--video", help="Also draw them: a film of each, and a sheet.")] = False,
    out: OUT = None,
    files: INPUT = None,
    number: ROUND = 1,
    json: JSON = False,
) -> None:
    """Vary what the others do: in all scenes of a run (the stage), or in one SCENE as asked.

    Example: wetool vary runs/quickstart SCENE --control intent-attack --n 8 --video
    """
    if not scene and not (asked or behaviour):
        stage(f"vary-{number}", Path(target), settings, out, files, None, json)
        return
    from wetoolkit.experiment import apply_override
    from wetoolkit.film import check_film
    from wetoolkit.futures import futures
    from wetoolkit.progress import watch
    from wetoolkit.registry import load_registry
    from wetoolkit.varying import choose, find, foresee
    from wetoolkit.varying import vary as vary_one

    if files:
        raise ConfigError("--input belongs to the stage", way_out="name the file in place of the run: wetool vary FILE SCENE")
    registry = load_registry()
    found = find(registry, target, scene, reconstructor)
    if video:
        check_film(found.domain)
    name, preset = choose(registry, found.domain.name, behaviour, asked or [])
    chosen = {**found.settings.get(name, {}), **preset}
    for override in settings or []:
        chosen = apply_override(chosen, override)
    found = foresee(found, policy) if policy else found
    told = watch()
    try:
        told.start(f"behaviour/{name}", count)
        made = vary_one(registry, found, name, chosen, count, seed, out)
        told.stop(f"behaviour/{name}", f"{len(made.scenes)} of {count} variants")
        films = futures(found.domain, found.scene, made.scenes, made.table.to_dicts(), made.folder, told) if video else []
    finally:
        told.close()
    _say(made, films, count, json)
    if not made.scenes:
        raise typer.Exit(FAILED_ITEMS)


def _say(made: Varied, films: list[Path], count: int, json: bool) -> None:
    block = made.folder / "variants.safetensors"
    if json:
        document = {"scenes": str(block), "films": [str(film) for film in films], "rejected": made.rejected.to_dicts()}
        show_json({**document, "rows": made.table.to_dicts()})
        return
    show(made.table, False, f"{len(made.scenes)} of {count} variants", beneath=("control",))
    if len(made.rejected):
        show(made.rejected, False, "rejected tries")
    typer.echo(f"written to {made.folder}: variants.parquet, rejected.parquet, variants.safetensors")
    if films:
        typer.echo(f"films: {made.folder}")
