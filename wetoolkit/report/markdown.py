"""Sections as Markdown."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from wetoolkit.report.sections import Section


def render(title: str, sections: Iterable[Section]) -> str:
    """The whole report as one Markdown document."""
    parts = [f"# {title}"]
    for section in sections:
        parts += [f"## {section.title}", *([section.text] if section.text else [])]
        parts += [table(section.table)] if section.table is not None else []
    return "\n\n".join(parts) + "\n"


def table(frame: pl.DataFrame) -> str:
    """A table in the pipe notation; numbers to the right."""
    heads = [" | ".join(frame.columns), " | ".join("---:" if kind.is_numeric() else "---" for kind in frame.dtypes)]
    rows = [" | ".join(map(_cell, row)) for row in frame.iter_rows()]
    return "\n".join(f"| {row} |" for row in [*heads, *rows])


def _cell(value: object) -> str:
    text = "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
