"""`wetool report`: a run's results with their intervals and costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wetoolkit.cli.output import show, show_json
from wetoolkit.errors import DataError

if TYPE_CHECKING:
    from wetoolkit.report import Section


def report(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    json: Annotated[bool, typer.Option("--json", help="Print every section as JSON.")] = False,
    into: Annotated[
        Path | None,
        typer.Option("--into", metavar="FILE", help="Also put results and comparisons between the markers of a Markdown file."),
    ] = None,
) -> None:
    """Show what a run came to, and write it to report/report.md. Example: wetool report runs/quickstart"""
    from wetoolkit.registry import load_registry
    from wetoolkit.report import gather, headline, insert, render, sections
    from wetoolkit.store import write_atomic

    found = gather(run)
    parts = sections(found, load_registry().hook.report_sections(str(run)))
    target = run / "report" / "report.md"
    write_atomic(target, render(found.manifest.experiment or run.name, parts).encode())
    if into is not None:
        write_atomic(into, insert(_text(into), headline(found), str(into)).encode())
    if json:
        show_json([{"title": s.title, "text": s.text, "rows": [] if s.table is None else s.table.to_dicts()} for s in parts])
        return
    for section in parts:
        show_section(section)
    typer.echo(f"\nwritten to {target}")


def show_section(section: Section) -> None:
    """Print a section for people."""
    typer.echo("\n".join(["", section.title, *([section.text.replace("**", "")] if section.text else [])]))
    if section.table is not None:
        show(section.table, False)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read: {error}", file=path, way_out="give a Markdown file") from error
