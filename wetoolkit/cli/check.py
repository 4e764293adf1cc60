"""`wetool plugins check`: the promises of a part's kind, tried on the examples of its domain; a row each."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from wetoolkit.cli import FAILED_ITEMS
from wetoolkit.cli.output import show, show_json
from wetoolkit.cli.plugins import split
from wetoolkit.cli.remembered import remember
from wetoolkit.cli.run import SET
from wetoolkit.registry import load_registry


def check(
    part: Annotated[str, typer.Argument(metavar="KIND/NAME", help="The part, such as reward/mine, or domain/NAME.")],
    settings: SET = None,
    domain: Annotated[str, typer.Option(help="Try it on the examples of this domain.")] = "",
    policy: Annotated[str, typer.Option(help="Policy for miners, simulators and algorithms; the examples' own unless given.")] = "",
    reward: Annotated[str, typer.Option(help="Reward for miners; the examples' own unless given.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Hold a part to the promises of its kind (see wetoolkit.testing), without a test file. Exit code 3 where one is broken.

    Example: wetool plugins check reward/pdms --set variant=corrected
    """
    import polars as pl

    from wetoolkit.testing.check import BROKEN, Given, Wanted
    from wetoolkit.testing.check import check as verdicts

    kind, name = split(part)
    given = Given(load_registry(), Wanted(kind, name, settings_of(settings or []), domain, policy, reward))
    found = list(verdicts(given))
    broken = [verdict.how for verdict in found if verdict.state == BROKEN]
    if not (settings or domain or policy or reward):  # `wetool plugins` tells of a part as it comes
        remember(given.entry, broken)
    rows = [asdict(verdict) for verdict in found]
    if json:
        show_json(rows)
    else:
        table = pl.DataFrame(rows).select("promise", "state", pl.col("seconds").round(2), "how")
        show(table, False, f"{kind}/{name}: {len(broken)} of {len(found)} promises broken", beneath=("how",))
    if broken:
        raise typer.Exit(FAILED_ITEMS)


def settings_of(overrides: list[str]) -> dict[str, Any]:
    """Settings from KEY=VALUE pairs, as --set gives them."""
    from wetoolkit.experiment import apply_override

    settings: dict[str, Any] = {}
    for override in overrides:
        settings = apply_override(settings, override)
    return settings
