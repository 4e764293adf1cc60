"""Whether a part has what its kind asks: every method, callable as the core calls it, and every attribute."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from wetoolkit import kinds
from wetoolkit.component import KINDS

PROTOCOLS: dict[str, type] = {kind: getattr(kinds, kind.capitalize()) for kind in (*KINDS, "domain")}


def problems(kind: str, part: object) -> list[str]:
    """What a part (a class, or an object, whose attributes are looked at as well) lacks of its kind; empty where nothing."""
    protocol = PROTOCOLS[kind]
    found = [fault for name, method in methods(protocol) if (fault := _method_fault(part, name, method))]
    if isinstance(part, type):
        return found
    return found + [f"it has no attribute {name!r}" for name in attributes(protocol) if not hasattr(part, name)]


def methods(protocol: type) -> Iterator[tuple[str, Any]]:
    """(name, function) of every method that a kind asks for."""
    yield from ((name, value) for name, value in vars(protocol).items() if inspect.isfunction(value) and name[0] != "_")


def attributes(protocol: type) -> list[str]:
    """The attributes that a kind asks for."""
    return [name for name in inspect.get_annotations(protocol) if name[0] != "_"]


def _method_fault(part: object, name: str, asked: Any) -> str:
    method = getattr(part, name, None)
    if not callable(method):
        return f"it has no method {name}{inspect.signature(asked)}"
    try:
        signature = inspect.signature(method)
    except ValueError:
        return ""  # a builtin: nothing can be told before it is called
    wanted = list(inspect.signature(asked).parameters.values())[1:]
    unbound = isinstance(part, type) and inspect.isfunction(inspect.getattr_static(part, name))
    needed = [parameter for parameter in wanted if parameter.default is inspect.Parameter.empty]
    fits = all(_binds(signature, len(some) + unbound) for some in (needed, wanted))
    return "" if fits else f"its {name}{signature} does not take {name}({', '.join(parameter.name for parameter in wanted)})"


def _binds(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True
