"""`wetool branch`: a recorded rollout taken up at any of its steps, with other policies, behaviours and seeds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wetoolkit.cli import FAILED_ITEMS
from wetoolkit.cli.output import show, show_json

if TYPE_CHECKING:
    from wetoolkit.branching import Branched
    from wetoolkit.work import Session


def branch(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    scene: Annotated[str, typer.Argument(help="A scene that was rolled out there; a wrong name lists them.")],
    at: Annotated[float, typer.Option("--at", metavar="SECONDS", help="When, counted from the rollout's first decision.")] = 0.0,
    policies: Annotated[
        list[str] | None,
        typer.Option("--policy", help="Who drives from there on: base, post-trained, a file, a component. Repeatable."),
    ] = None,
    behaviours: Annotated[
        list[str] | None,
        typer.Option("--behaviour", help="What moves the others from there on; as recorded unless given. Repeatable."),
    ] = None,
    count: Annotated[
        int, typer.Option("--n", min=1, help="What-ifs of each policy and behaviour, each with a seed of its own.")
    ] = 1,
    horizon: Annotated[
        float | None, typer.Option("--horizon", metavar="SECONDS", help="End, from the first decision; the record's unless given.")
    ] = None,
    video: Annotated[bool, typer.Option("--video", help="Write a film of the record and of every branch.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Ask what if another had acted from here on. Example: wetool branch runs/quickstart SCENE --at 2.5 --policy post-trained"""
    from wetoolkit.branching import Asked
    from wetoolkit.branching import branch as try_branches
    from wetoolkit.experiment import Parts, load_experiment
    from wetoolkit.film import check_film
    from wetoolkit.progress import watch
    from wetoolkit.registry import load_registry
    from wetoolkit.report import gather
    from wetoolkit.store import Store
    from wetoolkit.work import Session

    gather(run)  # a clear error where it is no run folder
    experiment, store = load_experiment(run / "experiment.toml"), Store(run)
    session = Session(experiment, Parts(experiment, load_registry()), store, watch())
    asked = Asked(scene, at, tuple(policies or ()), tuple(behaviours or ()), count, horizon)
    try:
        with store.lock():
            if video:
                check_film(session.parts.domain)
            found = try_branches(session, asked)
            films = _films(session, found) if video else []
    finally:
        session.watch.close()
    _say(found, films, json)
    if found.failed:
        raise typer.Exit(FAILED_ITEMS)


def _films(session: Session, found: Branched) -> list[Path]:
    """One film of the record and one of each branch, with the scene's own world as ghosts."""
    from wetoolkit.filming import film_all

    names = [f"{number:02d}-{'recorded' if number == 0 else 'branch'}" for number in range(len(found.rollouts))]
    folder = found.path.with_suffix("")
    return film_all(session, found.rollouts, [found.scene.world] * len(names), names, folder, "sheet")


def _say(found: Branched, films: list[Path], json: bool) -> None:
    if json:
        made = {"table": str(found.path), "rollouts": str(found.path.with_suffix(".safetensors")), "films": [str(f) for f in films]}
        show_json({**made, "cached": found.cached, "rows": found.table.to_dicts()})
        return
    hidden = [name for name in ("events", "state", "metric", *(() if found.failed else ("error",))) if name in found.table.columns]
    show(found.table.drop(hidden), False, f"{found.scene.id}: the record and its branches")
    if found.cached:
        typer.echo("everything was done already")
    typer.echo(f"table: {found.path}; rollouts: {found.path.with_suffix('.safetensors')}")
    if films:
        typer.echo(f"films: {films[0].parent}")
