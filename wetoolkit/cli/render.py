"""`wetool render`: a rollout through the cameras of its scene, as a film and as sheets; a file of a scene from around."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wetoolkit.errors import ConfigError, DataError

if TYPE_CHECKING:
    from wetoolkit.work import Session

ABOUT = "Run folder; or a scene's folder or a file of one (such as .ply), which is seen from around."
SCENE = "A scene that was rolled out there; a wrong name lists them."
DRIVER = "Who drives: as recorded unless given; else base, post-trained, a file, a component."


def render(
    run: Annotated[Path, typer.Argument(metavar="RUN_OR_FILE", help=ABOUT)],
    scene: Annotated[str, typer.Argument(help=SCENE)] = "",
    video: Annotated[bool, typer.Option("--video", help="Write a film, all cameras side by side.")] = False,
    sheet: Annotated[bool, typer.Option("--sheet", help="Write sheets: logged, rendered, depth, trust. The default.")] = False,
    cameras: Annotated[list[str] | None, typer.Option("--camera", help="Only this camera. Repeatable.")] = None,
    resolution: Annotated[
        str, typer.Option("--resolution", metavar="WxH", help="Of each picture; that of the logged ones unless given.")
    ] = "",
    policy: Annotated[str, typer.Option("--policy", help=DRIVER)] = "",
    count: Annotated[int, typer.Option("--steps", min=1, help="Rows of a sheet, evenly spread in time.")] = 6,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="RUN/renders, or runs/renders, unless given.")] = None,
) -> None:
    """Show a rollout as the cameras of its scene see it. Example: wetool render runs/camera SCENE --sheet --video"""
    from wetoolkit.film import check_packages

    check_packages()
    size, flat = _size(resolution), sheet or not video
    if (run / "experiment.toml").is_file():
        paths = _of_run(run, scene, policy, cameras or [], size, count if flat else 0, video, out or run / "renders")
    else:
        paths = _around(run, scene, size or (480, 360), flat, video, out or Path("runs") / "renders")
    for path in paths:
        typer.echo(f"written to {path}")


def _size(text: str) -> tuple[int, int] | None:
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if text and (found is None or not 16 <= min(int(found[1]), int(found[2])) <= max(int(found[1]), int(found[2])) <= 4096):
        raise ConfigError(
            f"--resolution {text!r} is no size", way_out="write WIDTHxHEIGHT in pixels of 16 to 4096, such as 640x360"
        )
    return (int(found[1]), int(found[2])) if found else None


@contextmanager
def opened(run: Path) -> Iterator[Session]:
    """A run folder at work, watched and locked."""
    from wetoolkit.experiment import Parts, load_experiment
    from wetoolkit.progress import watch
    from wetoolkit.registry import load_registry
    from wetoolkit.report import gather
    from wetoolkit.store import Store
    from wetoolkit.work import Session

    gather(run)  # a clear error where it is no run folder
    experiment, store = load_experiment(run / "experiment.toml"), Store(run)
    session = Session(experiment, Parts(experiment, load_registry()), store, watch())
    try:
        with store.lock():
            yield session
    finally:
        session.watch.close()


def _of_run(
    run: Path, scene: str, policy: str, cameras: list[str], size: tuple[int, int] | None, rows: int, video: bool, folder: Path
) -> list[Path]:
    """The sheets where ``rows`` are asked for, and the film."""
    from wetoolkit.rendering import shown, write_render, write_sheets

    with opened(run) as session:
        what = shown(session, scene, policy, cameras, size)
        paths = write_sheets(session, what, folder, rows) if rows else []
        return [*paths, write_render(session, what, folder)] if video else paths


def _around(path: Path, scene: str, size: tuple[int, int], sheet: bool, video: bool, folder: Path) -> list[Path]:
    from wetoolkit.progress import watch
    from wetoolkit.registry import load_registry
    from wetoolkit.rendering import explorer, write_orbit

    if scene:
        raise DataError("this is no run folder", file=path, way_out=f"give the run that drove {scene}, or leave the scene out")
    part, watched = explorer(load_registry(), path), watch()
    try:
        wanted = [flat for flat, asked in ((True, sheet), (False, video)) if asked]
        return [write_orbit(part, path, folder, size, flat, watched) for flat in wanted]
    finally:
        watched.close()


__all__ = ["opened", "render"]
