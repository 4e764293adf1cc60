"""`wetool`: one small module per command group, imported only when one of its commands is used.

A command is a plain function with typer annotations, listed in ``COMMANDS``. It raises ``WetoolkitError`` for bad input (exit code
2) and ``typer.Exit(FAILED_ITEMS)`` where it finished but items failed; tables go through ``wetoolkit.cli.output.show``.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
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
    "vary": ("One stage", "wetoolkit.cli.stages:vary", "Vary what the others do in the scenes."),
    "rollout": ("One stage", "wetoolkit.cli.stages:rollout", "Let the policy act in the scenes."),
    "train": ("One stage", "wetoolkit.cli.stages:train", "Post-train the policy on the rollouts."),
    "evaluate": ("One stage", "wetoolkit.cli.stages:evaluate", "Measure the policies on the test splits."),
    "plugins": ("The house", "wetoolkit.cli.plugins:plugins", "List every part, or show one with its settings."),
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
) -> None:
    """Make a policy safer by post-training it on the failures it has: mine, rebuild, vary, roll out, learn, measure.

    Exit codes: 0 done, 2 bad input, 3 done but some items failed.
    """


def execute(args: Sequence[str]) -> int:
    """Run a command line and return its exit code; errors of ours become a panel on stderr."""
    # Threads of numerical libraries that spin while they wait take the other core's work away: 20 times slower on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    debug = "--debug" in args or bool(os.environ.get("WETOOL_DEBUG"))
    args = [arg for arg in args if arg != "--debug"]
    try:
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
