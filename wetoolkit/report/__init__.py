"""What a run came to, as sections of text and tables: on screen, as Markdown, as JSON."""

from wetoolkit.report.gather import Run, gather
from wetoolkit.report.markdown import insert, render
from wetoolkit.report.sections import Section, headline, sections

__all__ = ["Run", "Section", "gather", "headline", "insert", "render", "sections"]
