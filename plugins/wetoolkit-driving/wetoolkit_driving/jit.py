"""One decorator for every numba kernel: compiled once, cached on disk, numpy's rules for division by zero, no threads.

A kernel's cache follows its own file only: after a change in a kernel that others call, remove the ``__pycache__`` folders.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., object])


def kernel(function: F) -> F:
    """Compile ``function`` on first use. float64 stays float64: no fast-math, so equal inputs give equal bits."""
    return cast(F, njit(cache=True, error_model="numpy", nogil=True)(function))


def inlined(function: F) -> F:
    """A kernel that is written into the kernels that call it: no call, and no counting of the arrays it is given."""
    return cast(F, njit(inline="always", error_model="numpy", nogil=True)(function))
