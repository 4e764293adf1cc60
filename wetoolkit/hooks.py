"""The hooks a distribution may implement. Its entry point (group ``wetoolkit``) names a light module that does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pluggy

from wetoolkit.component import Component, Domain, Exporter

GROUP = "wetoolkit"
ANNOUNCING, WATCHING = ("components", "domains", "exporters"), ("stage_started", "stage_finished", "report_sections")
hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@hookspec
def components() -> Iterable[Component]:
    """Every swappable part this distribution offers."""
    return ()


@hookspec
def domains() -> Iterable[Domain]:
    """Every domain this distribution defines."""
    return ()


@hookspec
def exporters() -> Iterable[Exporter]:
    """Every format this distribution can write recordings in."""
    return ()


@hookspec
def stage_started(stage: str, run: str, items: int) -> None:
    """A stage of a run begins with so many items."""


@hookspec
def stage_finished(stage: str, run: str, cost: Mapping[str, Any]) -> None:
    """A stage of a run ended; ``cost`` is its row in the ledger."""


@hookspec
def report_sections(run: str) -> Iterable[tuple[str, str]]:
    """(title, Markdown) sections to add to the report of a run folder."""
    return ()
