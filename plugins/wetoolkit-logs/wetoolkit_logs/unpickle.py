"""Reads foreign pickles without running them: numbers, texts, containers and plain numpy arrays come through, nothing else.

A pickle is a program. This reader lists what such a program may name (``ADMITTED``) and refuses the rest before anything is
called. numpy's own ``dtype`` and ``ndarray`` are not handed out either: a crafted dtype state can pass raw bytes off as object
pointers, so stand-ins take their place that know simple numeric and text types only.
"""

from __future__ import annotations

import copyreg
import io
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wetoolkit.errors import DataError

_PLAIN = re.compile(r"[<>=|]?(\?|[biufc]\d{1,2}|[SU]\d{1,6})")  # no objects ("O"), no records ("V")


class _Refused(pickle.UnpicklingError):
    """The pickle asks for something that is not admitted."""


class _Dtype:
    """Stands in for numpy.dtype: a code and a byte order, nothing that could carry fields or objects."""

    def __init__(self, code: object, align: object = False, copy: object = False) -> None:
        if not isinstance(code, str) or not _PLAIN.fullmatch(code):
            raise _Refused(f"arrays of dtype {code!r}")
        self.plain = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        order, subarray, names, fields = state[1:5]
        if order not in ("<", ">", "|", "=") or subarray is not None or names or fields:
            raise _Refused("a structured numpy dtype")
        self.plain = self.plain.newbyteorder(order)


def _plain(dtype: object) -> np.dtype[Any]:
    if not isinstance(dtype, _Dtype):
        raise _Refused(f"an array with dtype {dtype!r}")
    return dtype.plain


class _Array(np.ndarray[Any, Any]):
    """Stands in for numpy.ndarray while its state is filled in; callers see a plain array through ``numpy.asarray``."""

    def __new__(cls, *_: object, **__: object) -> _Array:
        raise _Refused("numpy.ndarray called as a constructor")

    def __setstate__(self, state: Any) -> None:
        version, shape, dtype, fortran, raw = state
        plain = _plain(dtype)
        if not isinstance(raw, bytes) or not all(isinstance(n, int) and n >= 0 for n in shape):
            raise _Refused("an array that is not raw bytes of a plain shape")
        if int(np.prod(shape, dtype=object)) * plain.itemsize != len(raw):
            raise _Refused(f"an array of shape {shape} in {len(raw)} bytes")
        super().__setstate__((version, shape, plain, bool(fortran), raw))  # type: ignore[arg-type]


def _reconstruct(kind: object, shape: object, code: object) -> np.ndarray[Any, Any]:
    if kind is not _Array or shape != (0,):
        raise _Refused("numpy._reconstruct of anything but an empty ndarray")
    return np.ndarray.__new__(_Array, (0,), np.int8)


def _scalar(dtype: object, raw: object = b"") -> Any:
    plain = _plain(dtype)
    if not isinstance(raw, bytes) or len(raw) != plain.itemsize:
        raise _Refused("a numpy scalar of the wrong size")
    return np.frombuffer(raw, plain)[0] if plain.itemsize else plain.type()


def _frombuffer(raw: object, dtype: object, shape: object, order: object) -> np.ndarray[Any, Any]:
    if not isinstance(raw, (bytes, bytearray)) or not isinstance(shape, tuple) or order not in ("C", "F"):
        raise _Refused("numpy._frombuffer of anything but bytes")
    return np.frombuffer(bytes(raw), _plain(dtype)).reshape(shape, order=order)


def _encode(text: object, encoding: object = "") -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise _Refused("_codecs.encode of anything but latin1 text")  # protocol 2 writes bytes so
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""  # protocol 2 writes empty bytes as a call


class _Call:
    """A function that a pickle can call but not change (BUILD would set attributes, such as defaults, on a bare function)."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: object) -> None:
        raise _Refused("state for a function")


_NUMPY = ("numpy.core", "numpy._core")  # before and after numpy 2
ADMITTED: Mapping[tuple[str, str], Any] = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Array,
    **{(f"{core}.multiarray", "_reconstruct"): _Call(_reconstruct) for core in _NUMPY},
    **{(f"{core}.multiarray", "scalar"): _Call(_scalar) for core in _NUMPY},
    **{(f"{core}.numeric", "_frombuffer"): _Call(_frombuffer) for core in _NUMPY},
    ("_codecs", "encode"): _Call(_encode),
    **{(module, "bytes"): _Call(_no_bytes) for module in ("builtins", "__builtin__")},
    ("collections", "OrderedDict"): OrderedDict,
    **{(module, kind.__name__): kind for module in ("builtins", "__builtin__") for kind in (set, frozenset, complex)},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return ADMITTED[module, name]
        except KeyError:
            raise _Refused(f"{module}.{name}") from None

    def persistent_load(self, pid: object) -> Any:
        raise _Refused(f"a persistent id ({pid!r:.40})")


_BROKEN = (
    EOFError, pickle.UnpicklingError, AttributeError, ImportError, IndexError, KeyError, TypeError, ValueError,
    OverflowError, MemoryError, RecursionError,
)  # fmt: skip


def loads(data: bytes, name: str) -> Any:
    """The object in ``data``; ``DataError`` naming ``name`` where it is cut short or asks for more than is admitted."""
    copyreg.clear_extension_cache()  # a cached extension code would bypass find_class
    stream = io.BytesIO(data)
    try:
        return _Unpickler(stream).load()
    except _Refused as refused:
        raise DataError(
            f"the pickle asks for {refused}, which is not admitted",
            file=name,
            admitted="numbers, text, containers, plain numpy arrays",
            way_out="if you trust the file, load it in its own toolkit and save it again with numpy arrays and builtins only",
        ) from refused
    except _BROKEN as error:
        short = isinstance(error, EOFError) or "truncated" in str(error) or "exhausted" in str(error)
        raise DataError(
            f"the pickle {'ends early' if short else 'is damaged or no pickle'} ({type(error).__name__}: {error!s:.120})",
            file=name,
            size=f"{len(data)} bytes",
            way_out="fetch or convert the file again",
        ) from error


def load(path: Path, limit: int = 1 << 30) -> Any:
    """The object in a pickle file of at most ``limit`` bytes. Errors: ``DataError`` (missing, too large, cut short, refused)."""
    try:
        size = path.stat().st_size
        if size > limit:
            raise DataError(
                f"{size} bytes, at most {limit} are read", file=str(path), way_out="raise `file_limit` if that is meant"
            )
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"cannot be read ({error.strerror})", file=str(path), way_out="check the path and its permissions"
        ) from error
    return loads(data, str(path))
