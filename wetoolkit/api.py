"""The names that plugins and scripts may rely on, with their signatures: kept in schemas/api.json, checked like the schemas.

Public is what ``MODULES`` lists: every class, function and constant there whose name has no leading underscore. What else
the core holds may change in any release. docs/api.md says how a public name may change.
"""

from __future__ import annotations

import importlib
import inspect
from types import GenericAlias, ModuleType
from typing import Any

from wetoolkit.component import CONTRACT

MODULES = (
    "wetoolkit.types",
    "wetoolkit.kinds",
    "wetoolkit.abilities",
    "wetoolkit.exploring",
    "wetoolkit.sight",
    "wetoolkit.component",
    "wetoolkit.accounts",
    "wetoolkit.config",
    "wetoolkit.errors",
    "wetoolkit.hooks",
    "wetoolkit.registry",
    "wetoolkit.experiment",
    "wetoolkit.experience",
    "wetoolkit.pipeline",
    "wetoolkit.statistics",
    "wetoolkit.testing",
    "wetoolkit.testing.check",
)


def api() -> dict[str, Any]:
    """Module -> name -> signature (of a class: its fields or constructor, bases and methods)."""
    return {"contract": CONTRACT, "modules": {name: _names(importlib.import_module(name)) for name in MODULES}}


def _names(module: ModuleType) -> dict[str, Any]:
    names = getattr(module, "__all__", None) or [name for name in vars(module) if name[0] != "_" and _own(module, name)]
    return {name: _described(getattr(module, name)) for name in sorted(names)}


def _own(module: ModuleType, name: str) -> bool:
    """Whether a module defines this name itself, as far as can be told: constants count, what it imports does not."""
    value = getattr(module, name)
    home = getattr(value, "__module__", None)
    if inspect.ismodule(value) or name in ("annotations", "TYPE_CHECKING"):
        return False
    return home == module.__name__ if inspect.isclass(value) or inspect.isfunction(value) else name.isupper()


def _described(value: Any) -> Any:
    if inspect.isclass(value):
        members = {name: _described(member) for name, member in vars(value).items() if name[0] != "_" and _callable(member)}
        fields = [f"{name}: {hint}" for name, hint in inspect.get_annotations(value).items() if name[0] != "_"]
        bases = [base.__name__ for base in value.__bases__ if base is not object]
        return {"bases": bases, "fields": fields, "methods": dict(sorted(members.items()))}
    if isinstance(value, property):
        return "property"
    if isinstance(value, GenericAlias):
        return "an array type"  # its text differs between versions of numpy
    if callable(value) or isinstance(value, classmethod | staticmethod):
        return str(inspect.signature(getattr(value, "__func__", value)))
    return type(value).__name__


def _callable(member: object) -> bool:
    return inspect.isfunction(member) or isinstance(member, property | classmethod | staticmethod)


def broken(before: Any, now: Any, path: str = "") -> list[str]:
    """What of a recorded API is not as it was: names that are gone and signatures that changed. Additions are no break."""
    if isinstance(before, dict) and isinstance(now, dict):
        lost = [f"{path}{name} is gone" for name in before if name not in now]
        return lost + [text for name in before if name in now for text in broken(before[name], now[name], f"{path}{name} ")]
    if isinstance(before, list) and isinstance(now, list):
        return [f"{path}: {item} is gone" for item in before if item not in now]
    return [] if before == now else [f"{path}is {now}, was {before}"]
