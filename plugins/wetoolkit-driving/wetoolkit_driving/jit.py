"""One decorator for every numba kernel: compiled once, cached on disk, numpy's rules for division by zero, no threads.

A kernel's cache follows its own file only: after a change in a kernel that others call (``inner`` ones among them), remove the
``__pycache__`` folders.

The first use of a version compiles, which takes seconds of silence a kernel; the first compilation in a process says so on stderr,
once (``Notice``). Kernels of other packages are none of its business.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from numba import njit
from numba.core import event
from numba.extending import register_jitable
from rich.console import Console

F = TypeVar("F", bound=Callable[..., object])

PACKAGE = "wetoolkit"
SECONDS = 120  # what it takes one core to compile all kernels: the score's 45, the traffic's 60, the rest (docs/log.md)


class Notice(event.Listener):
    """Says on stderr, before the first kernel of ours is compiled, that this takes a while and happens once."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self.given = False

    def on_start(self, happening: event.Event) -> None:
        module = getattr(getattr(happening.data["dispatcher"], "py_func", None), "__module__", "") or ""
        if not self.given and module.startswith(PACKAGE):
            self.given = True
            self.console.print(f"wetoolkit: compiling kernels, once per version: up to {SECONDS} s on one core ...", style="dim")

    def on_end(self, happening: event.Event) -> None:
        """Nothing: what comes next is a result or another kernel."""


event.register("numba:compile", Notice())  # type: ignore[no-untyped-call]  # kernels found on disk are not compiled and raise no event


def kernel(function: F) -> F:
    """Compile ``function`` on first use. float64 stays float64: no fast-math, so equal inputs give equal bits."""
    options = {"no_cfunc_wrapper": True}  # the code for pointers to it, which nobody takes; numba knows it, its types do not
    return cast(F, njit(cache=True, error_model="numpy", nogil=True, **options)(function))  # type: ignore[call-overload]


def inner(function: F) -> F:
    """A kernel that only kernels call: compiled with them, without the code that takes arguments from Python, which for tuples of
    many arrays takes longer to compile than the kernel itself. Called from Python it is a plain Python function."""
    return register_jitable(error_model="numpy", nogil=True, no_cfunc_wrapper=True)(function)


def inlined(function: F) -> F:
    """A kernel that is written into the kernels that call it: no call, and no counting of the arrays it is given."""
    return cast(F, njit(inline="always", error_model="numpy", nogil=True)(function))
