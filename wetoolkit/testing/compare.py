"""Comparing what parts return: any tree of dataclasses, mappings, sequences, arrays and policies, leaf by leaf."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

Leaf = tuple[str, Any]


def leaves(value: Any, path: str = "") -> Iterator[Leaf]:
    """(path, leaf) of a tree, arrays copied. An experience gives its decisions, a part with learned numbers its state."""
    if isinstance(value, np.ndarray):
        yield path, value.copy()
    elif is_dataclass(value) and not isinstance(value, type):
        for item in (item for item in fields(value) if item.metadata.get("stored", True)):
            yield from leaves(getattr(value, item.name), f"{path}.{item.name}")
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            yield from leaves(value[key], f"{path}[{key!r}]")
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        yield f"{path}.length", len(value)
        for index, item in enumerate(value):
            yield from leaves(item, f"{path}[{index}]")
    elif hasattr(value, "batches"):
        yield from leaves(list(value.batches(64, None)), f"{path}.batches")
    elif hasattr(value, "state") and hasattr(value, "with_state"):
        yield from leaves(value.state(), f"{path}.state")
    elif value is None or isinstance(value, str | bytes | int | float | bool | np.generic):
        yield path, value
    else:
        yield path, pickle.dumps(value)


class Snapshot(list[Leaf]):
    """Every leaf of a tree as it was."""


def snapshot(value: Any) -> Snapshot:
    """Every leaf of a tree as it is now."""
    return Snapshot(leaves(value))


def difference(first: Any, second: Any, tolerance: float = 0.0) -> str:
    """Where two trees (or snapshots) differ first, in words; "" where they are equal to ``tolerance`` (absolute and relative)."""
    ours, theirs = (value if isinstance(value, Snapshot) else snapshot(value) for value in (first, second))
    for (path, one), (other_path, two) in zip(ours, theirs, strict=False):
        if path != other_path:
            return f"{path or 'the value'} stands where {other_path} does"
        if not _equal(one, two, tolerance):
            return f"{path.lstrip('.') or 'the value'} is {_short(one)} and {_short(two)}"
    return "" if len(ours) == len(theirs) else f"{len(ours)} leaves and {len(theirs)}"


def _equal(one: Any, two: Any, tolerance: float) -> bool:
    if isinstance(one, str | bytes | None) or isinstance(two, str | bytes | None):
        return bool(one == two)
    a, b = np.asarray(one), np.asarray(two)
    if a.shape != b.shape or a.dtype.kind != b.dtype.kind:
        return False
    if tolerance and a.dtype.kind == "f":
        return bool(np.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True))
    return bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)} {np.array2string(value.ravel()[:4], threshold=4, precision=9)}"
    return f"{value!r:.80}"
