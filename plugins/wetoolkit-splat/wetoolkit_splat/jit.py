"""How kernels are compiled: once, cached on disk, without the GIL, so that plain threads run them side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit
from numba.extending import register_jitable

F = TypeVar("F", bound=Callable[..., Any])
# Fused multiply-adds and reciprocals may be used; sums keep their order, so that equal inputs give equal bits.
FAST = {"contract", "arcp", "nsz"}


def kernel(function: F) -> Callable[..., Any]:
    """Compile on first use."""
    options = {"no_cfunc_wrapper": True}  # numba knows it, its types do not
    return cast(Callable[..., Any], njit(cache=True, error_model="numpy", nogil=True, fastmath=FAST, **options)(function))  # type: ignore[call-overload]


def inner(function: F) -> F:
    """What kernels call: compiled with them."""
    return register_jitable(error_model="numpy", nogil=True, fastmath=FAST, no_cfunc_wrapper=True)(function)
