"""`wetool schemas`: the JSON Schemas, listed, written or checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wetoolkit import schema
from wetoolkit.cli import BAD_INPUT
from wetoolkit.cli.output import show, show_json
from wetoolkit.registry import load_registry


def schemas(
    name: Annotated[str, typer.Argument(metavar="[FILE]", help="Print this one, such as experiment or reward/pdms.")] = "",
    write: Annotated[bool, typer.Option("--write", help="Bring the folder up to date.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Exit with 2 unless every file is current.")] = False,
    folder: Annotated[Path, typer.Option(help="Where they are kept.")] = Path("schemas"),
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write or check the JSON Schemas of configs, experiments and manifests."""
    import polars as pl

    registry = load_registry()
    if name:
        file = f"{name.removesuffix('.json')}.json"
        show_json(schema.schemas(registry, file)[file])
        return
    wanted = schema.schemas(registry)
    rows = schema.compare(folder, wanted, registry)
    if write:
        schema.write(folder, wanted, rows)
        rows = schema.compare(folder, wanted, registry)
    columns = {"file": [r.file for r in rows], "state": [r.state for r in rows], "distribution": [r.distribution for r in rows]}
    show(pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String)), json, f"schemas in {folder}")
    if check and any(row.wrong for row in rows):
        typer.echo("error: the schemas are not current; way out: wetool schemas --write", err=True)
        raise typer.Exit(BAD_INPUT)
