"""What a run says while it works: bars on a terminal, plain lines elsewhere, nothing where nobody asks."""

from __future__ import annotations

import sys
import time
from typing import Protocol, TextIO


class Watch(Protocol):
    """Told by the pipeline how far it is."""

    def start(self, stage: str, items: int) -> None:
        """A stage begins."""

    def step(self, done: int, of: int, message: str = "") -> None:
        """So much of the stage is done."""

    def stop(self, stage: str, summary: str) -> None:
        """The stage ended."""

    def note(self, text: str) -> None:
        """A line worth reading."""

    def close(self) -> None:
        """Nothing more will be said."""


class Silent:
    """Says nothing."""

    def start(self, stage: str, items: int) -> None:
        """Say nothing."""

    def step(self, done: int, of: int, message: str = "") -> None:
        """Say nothing."""

    def stop(self, stage: str, summary: str) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def close(self) -> None:
        """Say nothing."""


class Lines(Silent):
    """A line when a stage ends, and every ``every`` seconds in between."""

    def __init__(self, out: TextIO | None = None, every: float = 15.0) -> None:
        self._out = out or sys.stderr
        self._every = every
        self._stage = ""
        self._said = 0.0

    def start(self, stage: str, items: int) -> None:
        """Remember the stage."""
        self._stage, self._said = stage, time.monotonic()

    def step(self, done: int, of: int, message: str = "") -> None:
        """Say so now and then."""
        if time.monotonic() - self._said >= self._every:
            self._said = time.monotonic()
            self.note(f"{self._stage:<18} {done}/{of} {message}".rstrip())

    def stop(self, stage: str, summary: str) -> None:
        """Say what became of it."""
        self.note(f"{stage:<18} {summary}")

    def note(self, text: str) -> None:
        """Print it."""
        print(text, file=self._out, flush=True)


class Bars(Silent):
    """A rich progress bar for each stage."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description:<18}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
            TextColumn("{task.fields[message]}", style="dim"),
        )  # fmt: skip
        self._bars = Progress(*columns, console=Console(stderr=True))
        self._bars.start()
        self._task = self._bars.add_task("", total=None, message="", visible=False)

    def start(self, stage: str, items: int) -> None:
        """A new bar."""
        self._task = self._bars.add_task(stage, total=items or None, message="")

    def step(self, done: int, of: int, message: str = "") -> None:
        """Move the bar."""
        self._bars.update(self._task, completed=done, total=of or None, message=message)

    def stop(self, stage: str, summary: str) -> None:
        """Complete the bar."""
        task = next(task for task in self._bars.tasks if task.id == self._task)
        total = task.total or 1
        self._bars.update(self._task, completed=total, total=total, message=summary)
        self._bars.stop_task(self._task)

    def note(self, text: str) -> None:
        """A line above the bars."""
        self._bars.console.print(text, highlight=False, markup=False)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._bars.stop()


def watch() -> Watch:
    """Bars on a terminal, lines elsewhere."""
    return Bars() if sys.stderr.isatty() else Lines()
