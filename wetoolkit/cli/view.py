"""`wetool view`: a scene in the browser, served on this machine alone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wetoolkit.cli.render import ABOUT, DRIVER, SCENE, opened
from wetoolkit.errors import DataError

if TYPE_CHECKING:
    from wetoolkit.exploring import Explorer


def view(
    run: Annotated[Path, typer.Argument(metavar="RUN_OR_FILE", help=ABOUT)],
    scene: Annotated[str, typer.Argument(help=SCENE)] = "",
    policy: Annotated[str, typer.Option("--policy", help=DRIVER)] = "",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="On 127.0.0.1; 0: any that is free.")] = 0,
    seconds: Annotated[float, typer.Option("--seconds", min=0, help="End after so long; 0: at Ctrl-C.")] = 0.0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser of this machine.")] = True,
) -> None:
    """Walk through a scene in the browser: splats, boxes, time, trust. Example: wetool view runs/camera SCENE"""
    explorer = _explore(run, scene, policy, port)
    try:
        typer.echo(f"{explorer.url}  (Ctrl-C ends it)")
        if browser:
            import webbrowser

            webbrowser.open(explorer.url)
        end = time.monotonic() + seconds if seconds else float("inf")
        while time.monotonic() < end:
            time.sleep(min(0.5, max(end - time.monotonic(), 0)))
    except KeyboardInterrupt:
        pass
    finally:
        explorer.close()


def _explore(run: Path, scene: str, policy: str, port: int) -> Explorer:
    from wetoolkit.registry import load_registry
    from wetoolkit.rendering import explored, explorer

    if (run / "experiment.toml").is_file():
        with opened(run) as session:  # the lock is given back before anybody looks
            return explored(session, scene, policy, port)
    if scene:
        raise DataError("this is no run folder", file=run, way_out=f"give the run that drove {scene}, or leave the scene out")
    found: Explorer = explorer(load_registry(), run).explore(run, port)
    return found
