"""Base of every component's config: frozen, no extra keys, every field described (with its unit)."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

import pydantic
from pydantic import BaseModel, ConfigDict

from wetoolkit.errors import ConfigError


class Config(BaseModel):
    """Subclass it with ``name: type = Field(default, description="... [unit]")`` for every setting."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


C = TypeVar("C", bound=BaseModel)


def checked(model: type[C], settings: Mapping[str, Any], **context: object) -> C:
    """``settings`` as a ``model``, or one ``ConfigError`` that names every wrong key, the nearest name and the allowed range."""
    try:
        return model.model_validate(dict(settings))
    except pydantic.ValidationError as error:
        faults = [_fault(model, fault) for fault in error.errors(include_url=False)]
        named = any(key for key, _ in faults)
        way_out = f"settings: {', '.join(model.model_fields) or 'none'}" if named else "change one of these settings"
        raise ConfigError(
            "\n".join(f"{key}: {what}" if key else what for key, what in faults), way_out=way_out, **context
        ) from None


def _fault(model: type[BaseModel], fault: Any) -> tuple[str, str]:
    """(key, sentence) of one of pydantic's errors; no key where settings contradict one another, which a validator says."""
    path, key = fault["loc"], ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "value_error":
        return key, str(fault["ctx"]["error"])
    if fault["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(path[-1]), _owner(model, path).model_fields, n=1)
        return key, "is no setting" + (f"; did you mean {near[0]!r}?" if near else "")
    owner = _owner(model, path)
    schema = owner.model_json_schema().get("properties", {}).get(str(path[-1]), {}) if path else {}
    asked = "" if fault["type"] == "missing" else f", got {fault['input']!r}"
    words = f" (allowed: {allowed(schema)})" if allowed(schema) else ""
    return key, f"{fault['msg']}{asked}{words}" + (f": {schema['description']}" if "description" in schema else "")


def _owner(model: type[BaseModel], path: tuple[int | str, ...]) -> type[BaseModel]:
    """The model that holds the last key of ``path``; ``model`` itself where the way there is no plain nesting."""
    for part in path[:-1]:
        field = model.model_fields.get(str(part))
        kind = field.annotation if field else None
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return model
        model = kind
    return model


def allowed(schema: Mapping[str, Any]) -> str:
    """The values that the JSON Schema of a setting allows, as words; "" where it says nothing."""
    signs = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    found = [f"{sign} {schema[name]}" for name, sign in signs.items() if name in schema]
    found += [f"one of {', '.join(map(str, schema['enum']))}"] if "enum" in schema else []
    return ", ".join(found)
