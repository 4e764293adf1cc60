"""`wetool report`: a run's results with their intervals and costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wetoolkit.cli.output import show, show_json


def report(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    json: Annotated[bool, typer.Option("--json", help="Print every section as JSON.")] = False,
) -> None:
    """Show what a run came to, and write it to report/report.md. Example: wetool report runs/quickstart"""
    from wetoolkit.registry import load_registry
    from wetoolkit.report import gather, render, sections
    from wetoolkit.store import write_atomic

    found = gather(run)
    parts = sections(found, load_registry().hook.report_sections(str(run)))
    target = run / "report" / "report.md"
    write_atomic(target, render(found.manifest.experiment or run.name, parts).encode())
    if json:
        show_json([{"title": s.title, "text": s.text, "rows": [] if s.table is None else s.table.to_dicts()} for s in parts])
        return
    for section in parts:
        typer.echo(f"\n{section.title}\n" + section.text.replace("**", ""))
        if section.table is not None:
            show(section.table, False)
    typer.echo(f"\nwritten to {target}")
