"""`wetool plugins new`: a distribution to fill in, in the shape of plugins/*, with tests that say what to write next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wetoolkit.component import KINDS
from wetoolkit.errors import UnknownName
from wetoolkit.registry import load_registry
from wetoolkit.scaffold import check_name, choose_domain, scaffold, write


def new(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="One of the nine kinds, or domain.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name: lower case, with dashes.")],
    domain: Annotated[str, typer.Option(help="Domain that it serves; needed where several are installed.")] = "",
    into: Annotated[Path, typer.Option(metavar="DIR", help="Where the folder wetoolkit-NAME is made.")] = Path(),
) -> None:
    """Write a plugin: pyproject.toml, plugin.py, the part, README and a test that inherits the contract of its kind.

    Example: wetool plugins new reward smoothness --domain driving
    """
    if kind not in (*KINDS, "domain"):
        raise UnknownName("kind", kind, (*KINDS, "domain"))
    registry = load_registry()
    check_name(registry, kind, name)
    made = scaffold(registry, kind, name, choose_domain(registry, kind, domain))
    folder = into / f"wetoolkit-{name}"
    write(folder, made)
    part = next(file for file in made if file.endswith(f"/{kind}.py"))
    typer.echo("\n".join([f"wrote {folder}:", *(f"  {file}" for file in sorted(made))]))
    typer.echo("next:")
    typer.echo(f"  pip install -e {folder}              # then `wetool plugins {kind}/{name}` shows it")
    typer.echo(f"  python -m pytest {folder}            # each failure says what to write next in {folder / part}")
    typer.echo(f"  wetool plugins check {kind}/{name}   # the promises of its kind, without pytest")
