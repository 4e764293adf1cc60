"""The catalogue of rare events in Markdown: ``python -m wetoolkit_minitown.catalogue``; docs/minitown.md holds it, tested."""

from __future__ import annotations

import sys

from wetoolkit_minitown.events import EVENTS


def catalogue() -> str:
    """One row an event: what happens, the ranges its parameters are drawn from evenly, why it is a conflict."""
    rows = ["| kind | what happens | drawn evenly from | the conflict |", "|---|---|---|---|"]
    for event in EVENTS.values():
        ranges = "; ".join(f"{p.name} {p.low:g} to {p.high:g}{' ' * bool(p.unit)}{p.unit} ({p.text})" for p in event.parameters)
        rows.append(f"| {event.name} | {type(event).__doc__} | {ranges} | {event.conflict} |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.stdout.write(catalogue() + "\n")
