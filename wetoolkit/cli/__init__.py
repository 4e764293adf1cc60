"""`wetool`: one small module per command group, imported only when one of its commands is used.

A command is a plain function with typer annotations, listed in ``COMMANDS``. It raises ``WetoolkitError`` for bad input (exit code
2) and ``typer.Exit(FAILED_ITEMS)`` where it finished but items failed; tables go through ``wetoolkit.cli.output.show``.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from wetoolkit import __version__
from wetoolkit.errors import WetoolkitError

OK, BUG, BAD_INPUT, FAILED_ITEMS, INTERRUPTED = 0, 1, 2, 3, 130

# command -> (panel of --help, "module:function", one line). Only the line is needed for --help, so nothing is imported for it.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "run": ("The loop", "wetoolkit.cli.run:run", "Run an experiment file from its first stage to its last, or go on with it."),
    "report": ("The loop", "wetoolkit.cli.report:report", "Show a run's results with their intervals and costs."),
    "pretrain": ("One stage", "wetoolkit.cli.stages:pretrain", "Train the base policy on the demonstrations."),
    "mine": ("One stage", "wetoolkit.cli.stages:mine", "Find the steps at which the policy fails."),
    "reconstruct": ("One stage", "wetoolkit.cli.stages:reconstruct", "Turn the failures into scenes one can act in."),
    "vary": ("One stage", "wetoolkit.cli.vary:vary", "Vary what the others do: in all scenes, or in one."),
    "rollout": ("One stage", "wetoolkit.cli.stages:rollout", "Let the policy act in the scenes."),
    "branch": ("One stage", "wetoolkit.cli.branch:branch", "Take up a rollout at any step: what if another acted?"),
    "train": ("One stage", "wetoolkit.cli.stages:train", "Post-train the policy on the rollouts."),
    "evaluate": ("One stage", "wetoolkit.cli.stages:evaluate", "Measure the policies on the test splits."),
    "render": ("To look at", "wetoolkit.cli.render:render", "Show a rollout as the cameras of its scene see it."),
    "view": ("To look at", "wetoolkit.cli.view:view", "Walk through a scene in the browser."),
    "fit": ("One stage", "wetoolkit.cli.fit:fit", "Train a part that learns from scenarios by itself."),
    "data": ("The data", "wetoolkit.cli.data:data", "List the commands below: what to do with data sets."),
    "data inspect": ("The data", "wetoolkit.cli.data:inspect", "Say what a folder, file or data set holds."),
    "data check": ("The data", "wetoolkit.cli.data:check", "List every defect with its file and row."),
    "data convert": ("The data", "wetoolkit.cli.data:convert", "Write whole recordings in another format."),
    "data view": ("The data", "wetoolkit.cli.data:view", "Draw a window: map, road users, cameras."),
    "data make": ("The data", "wetoolkit.cli.data:make", "Make recordings from a seed, with sensors if asked."),
    "plugins": ("The house", "wetoolkit.cli.plugins:plugins", "List every part, or show one with its settings."),
    "plugins new": ("The house", "wetoolkit.cli.new:new", "Write a plugin of your own to fill in, with its tests."),
    "plugins check": ("The house", "wetoolkit.cli.check:check", "Hold one part to the promises of its kind."),
    "conformance": ("The house", "wetoolkit.cli.conformance:conformance", "Hold a part, or a module of yours, to known results."),
    "schemas": ("The house", "wetoolkit.cli.schemas:schemas", "Write or check the JSON Schemas of configs and files."),
    "doctor": ("The house", "wetoolkit.cli.doctor:doctor", "Say what this machine has and what each plugin lacks."),
}


def load(command: str) -> Callable[..., Any]:
    """The function behind a command."""
    module, function = COMMANDS[command][1].split(":")
    return getattr(importlib.import_module(module), function)  # type: ignore[no-any-return]


def build_app(args: Sequence[str]) -> typer.Typer:
    """The application for these arguments: every command by its one line, only the one that is asked for imported."""
    asked = next((arg for arg in args if not arg.startswith("-")), None)
    style: Literal["rich"] | None = "rich" if asked in COMMANDS else None  # rich doubles the time of a plain --help
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=style, no_args_is_help=True)
    app.callback()(_options)
    for name, (panel, _, line) in COMMANDS.items():
        function = load(name) if name == asked else _listed
        app.command(name, help=None if name == asked else line, short_help=line, rich_help_panel=panel)(function)
    return app


def _listed() -> None:
    """Stand in for a command that is only listed."""


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"wetool {__version__}")
        raise typer.Exit(OK)


def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error (also WETOOL_DEBUG=1).")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
    plugin: Annotated[
        list[str] | None, typer.Option("--plugin", metavar="MODULE", help="Also load this plugin module, or FILE.py, this once.")
    ] = None,
) -> None:
    """Make a policy safer by post-training it on the failures it has: mine, rebuild, vary, roll out, learn, measure.

    --debug and --plugin may stand anywhere in the line. Exit codes: 0 done, 2 bad input, 3 done but some items failed.
    """


def _named(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """The values of every --plugin, wherever it stands, and the arguments without them."""
    modules, rest, left = [], [], iter(args)
    for arg in left:
        name, equals, value = arg.partition("=")
        if name != "--plugin":
            rest.append(arg)
        elif (module := value if equals else next(left, "")) and not module.startswith("-"):
            modules.append(module)
        else:
            rest.append(name)  # click says what is missing
    return modules, rest


def _joined(args: Sequence[str]) -> list[str]:
    """The arguments with a command of two words, such as `plugins new`, as one."""
    place = next((i for i, arg in enumerate(args) if not arg.startswith("-")), len(args))
    command = " ".join(args[place : place + 2])
    return [*args[:place], command, *args[place + 2 :]] if command in COMMANDS else list(args)


@contextmanager
def _also_loaded(modules: Sequence[str]) -> Iterator[None]:
    """Let these plugin modules (or files) be found and loaded, also by the processes that are started inside."""
    if not modules:
        yield
        return
    from wetoolkit.discovery import EXTRA, locate
    from wetoolkit.errors import PluginError

    files = [Path(module).resolve() for module in modules if module.endswith(".py")]
    names = [Path(module).stem if module.endswith(".py") else module for module in modules]
    before, path = {name: os.environ.get(name) for name in (EXTRA, "PYTHONPATH")}, list(sys.path)
    folders = list(dict.fromkeys(str(file.parent) for file in files))
    sys.path[:0] = folders
    try:
        absent = [name for name in names if locate(name) is None]
        if absent:
            way_out = "give a module that can be imported from here, or the path of a FILE.py"
            raise PluginError(f"--plugin {absent[0]}: there is no such module", way_out=way_out)
        os.environ[EXTRA] = ",".join(filter(None, [before[EXTRA], *names]))
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [*folders, before["PYTHONPATH"]]))
        yield
    finally:
        sys.path[:] = path
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def execute(args: Sequence[str]) -> int:
    """Run a command line and return its exit code; errors of ours become a panel on stderr."""
    # Threads of numerical libraries that spin while they wait take the other core's work away: 20 times slower on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    debug = "--debug" in args or bool(os.environ.get("WETOOL_DEBUG"))
    modules, args = _named([arg for arg in args if arg != "--debug"])
    args = _joined(args)
    try:
        with _also_loaded(modules):
            build_app(args)(args=args, prog_name="wetool")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else OK if end.code is None else BUG
    except WetoolkitError as error:
        if debug:
            raise
        from wetoolkit.cli.output import complain

        complain(error)
        return BAD_INPUT
    except KeyboardInterrupt:
        return INTERRUPTED
    return OK


def main() -> None:
    """Entry point of the `wetool` command."""
    sys.exit(execute(sys.argv[1:]))
