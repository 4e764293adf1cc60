"""What commands print: tables (or JSON), and errors as a panel on stderr."""

from __future__ import annotations

import json as json_
import math
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from wetoolkit.errors import WetoolkitError

if TYPE_CHECKING:
    import polars as pl


def show(table: pl.DataFrame, json: bool, title: str = "", beneath: Sequence[str] = ()) -> None:
    """Print a table for people, or with ``json`` its rows as a JSON list on stdout (NaN and infinities become null).

    Where it is wider than the terminal (or than $COLUMNS, or 200 columns where neither is known), the columns ``beneath`` are
    written under each row as lines of text instead of being squeezed.
    """
    if json:
        show_json(table.to_dicts())
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=title or None, title_justify="left", header_style="bold")
    for name, kind in table.schema.items():
        shown.add_column(Text(name), justify="right" if kind.is_numeric() else "left", overflow="fold")
    for row in table.iter_rows():
        shown.add_row(*(Text(cell(value)) for value in row))
    console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 200)
    if beneath and console.measure(shown, options=console.options.update(width=10_000)).maximum > console.width:
        typer.echo("\n".join(_flowing(table, title, beneath, console.width)))
    else:
        console.print(shown)


def _flowing(table: pl.DataFrame, title: str, beneath: Sequence[str], width: int) -> list[str]:
    """The rows as lines: the short columns side by side, then the others, wrapped and set in."""
    import textwrap

    short = [name for name in table.columns if name not in beneath]
    rows = [[cell(value) for value in row] for row in table.select(short).iter_rows()]
    room = [max(map(len, column)) for column in zip(short, *rows, strict=True)]
    wrap = partial(textwrap.wrap, width=max(width, 20), initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)
    lines = [title] if title else []
    for values, texts in zip([short, *rows], [{}, *table.select(set(table.columns) - set(short)).to_dicts()], strict=True):
        lines.append("  ".join(value.ljust(space) for value, space in zip(values, room, strict=True)).rstrip())
        told = [(name, cell(texts[name])) for name in beneath if name in texts]
        lines += [line for n, (name, text) in enumerate(told) if text for line in wrap(f"{name}: {text}" if n else text)]
    return lines


def cell(value: object) -> str:
    """One value as people read it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else "-"
    return str(value)


def show_json(value: Any) -> None:
    """Print a JSON document on stdout."""
    typer.echo(json_.dumps(plain(value), indent=2, ensure_ascii=False, default=str))


def plain(value: Any) -> Any:
    """A value as JSON can hold it: mappings and lists, null for NaN and infinities."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def complain(error: WetoolkitError) -> None:
    """An error as a panel on stderr: what, where, the way out. Plain lines where stderr is no terminal."""
    if not sys.stderr.isatty():
        typer.echo(f"error: {error}", err=True)
        return
    from rich.console import Console
    from rich.panel import Panel
    from rich.text import Text

    text = Text(error.what, style="bold")
    for key, value in error.context.items():
        text.append(f"\n{key.replace('_', ' ')}: {value}", style="not bold")
    if error.way_out:
        text.append(f"\nway out: {error.way_out}", style="not bold green")
    Console(stderr=True).print(Panel(text, title=type(error).__name__, title_align="left", border_style="red"))
