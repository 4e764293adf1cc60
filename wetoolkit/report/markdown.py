"""Sections as Markdown."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from wetoolkit.errors import DataError
from wetoolkit.report.sections import Section

BEGIN, END = "<!-- wetool report: begin -->", "<!-- wetool report: end -->"


def render(title: str, sections: Iterable[Section]) -> str:
    """The whole report as one Markdown document."""
    return "\n\n".join([f"# {title}", *(f"## {section.title}\n\n{body(section)}" for section in sections)]) + "\n"


def body(section: Section) -> str:
    """A section without its title."""
    return "\n\n".join([*([section.text] if section.text else []), *([table(section.table)] if section.table is not None else [])])


def insert(document: str, sections: Iterable[Section], file: str) -> str:
    """``document`` with the sections in place of what stands between its two markers; ``DataError`` where it has not both."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise DataError("the markers are missing", file=file, way_out=f"write {BEGIN} and {END} on lines of their own")
    text = "\n\n".join(body(section) for section in sections)
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def table(frame: pl.DataFrame) -> str:
    """A table in the pipe notation; numbers to the right."""
    heads = [" | ".join(frame.columns), " | ".join("---:" if kind.is_numeric() else "---" for kind in frame.dtypes)]
    rows = [" | ".join(map(_cell, row)) for row in frame.iter_rows()]
    return "\n".join(f"| {row} |" for row in [*heads, *rows])


def _cell(value: object) -> str:
    text = "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
