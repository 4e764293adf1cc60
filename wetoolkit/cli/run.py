"""`wetool run`: an experiment from its first stage to its last, or on from where it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wetoolkit.cli import FAILED_ITEMS
from wetoolkit.cli.output import show_json
from wetoolkit.cli.report import show_section

if TYPE_CHECKING:
    from wetoolkit.experiment import Experiment
    from wetoolkit.pipeline import Finished
    from wetoolkit.work import Made

EXPERIMENT = Annotated[Path, typer.Argument(help="Experiment file (TOML), or a run folder that holds one.")]
SET = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, such as evaluate.horizon=4.0.")
]
OUT = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Run folder; runs/<name> unless given.")]
JSON = Annotated[bool, typer.Option("--json", help="Print the tables as JSON.")]


def run(
    experiment: EXPERIMENT,
    settings: SET = None,
    out: OUT = None,
    first: Annotated[
        str, typer.Option("--from", metavar="STAGE", help="First stage that may run; earlier ones must be done.")
    ] = "",
    last: Annotated[str, typer.Option("--to", metavar="STAGE", help="Last stage to run.")] = "",
    json: JSON = False,
) -> None:
    """Run an experiment, or go on with it: what is finished is never made twice.

    Example: wetool run docs/quickstart.toml --set seed=1 --out runs/seed-1
    """
    start(experiment, settings or [], out, first, last, {}, json)


def start(
    path: Path, settings: Sequence[str], out: Path | None, first: str, last: str, given: Mapping[str, Made], json: bool
) -> None:  # fmt: skip
    """Run some stages and show what came of them; exit code 3 where items failed."""
    from wetoolkit.pipeline import run as run_experiment
    from wetoolkit.progress import watch
    from wetoolkit.registry import load_registry

    experiment, folder = locate(path, settings, out)
    finished = run_experiment(experiment, load_registry(), folder, watch=watch(), first=first, last=last, given=given)
    conclude(finished, json)
    if len(finished.failed):
        raise typer.Exit(FAILED_ITEMS)


def locate(path: Path, settings: Sequence[str], out: Path | None) -> tuple[Experiment, Path]:
    """The experiment and its run folder, from a file or from a run folder."""
    from wetoolkit.experiment import load_experiment

    folder = path if path.is_dir() else None
    experiment = load_experiment(path / "experiment.toml" if folder else path, settings)
    return experiment, out or folder or Path("runs") / experiment.name


def conclude(finished: Finished, json: bool) -> None:
    """The tables of a finished run, and a line on what failed."""
    from wetoolkit.report import gather, headline

    found = gather(finished.folder)
    if json:
        made = {"results": found.results, "comparisons": found.comparisons} if finished.complete else {}
        document: dict[str, Any] = {name: table.to_dicts() for name, table in made.items() if table is not None}
        show_json({"run": str(finished.folder), "complete": finished.complete, **document, "failed": finished.failed.to_dicts()})
        return
    for section in headline(found) if finished.complete else []:
        show_section(section)
    if finished.cached:
        typer.echo("everything was done already")
    if len(finished.failed):
        first = finished.failed.row(0, named=True)
        where = f"{first['stage']} {first['id']} in {first['component']} ({first['distribution']})"
        typer.echo(f"{len(finished.failed)} items failed, the first: {where}: {first['reason'].splitlines()[0]}")
        typer.echo(f"all of them: {finished.folder / 'tables' / 'failed.parquet'}")
    typer.echo(f"{'done' if finished.complete else 'stopped where asked'}: {finished.folder} (wetool report {finished.folder})")
