"""JSON Schemas of every component's config, the experiment and the manifest: generated, kept in schemas/, checked to be current."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from wetoolkit.api import api
from wetoolkit.component import Component
from wetoolkit.errors import StoreError, UnknownName
from wetoolkit.registry import DUPLICATE, OK, Entry, Registry, imported

DIALECT = "https://json-schema.org/draft/2020-12/schema"
OWNER = "x-distribution"  # which distribution a schema file belongs to
CURRENT, STALE, MISSING, REMOVED, ABSENT = "current", "stale", "missing", "removed", "not installed"


@dataclass(frozen=True)
class SchemaFile:
    """One file of the schemas folder and how it stands to what is installed."""

    file: str
    state: str  # "current"; "stale", "missing", "removed" (no such part any more); "not installed" (its plugin is not here)
    distribution: str

    @property
    def wrong(self) -> bool:
        """Whether `wetool schemas --write` would change it."""
        return self.state in (STALE, MISSING, REMOVED)


def schemas(registry: Registry, only: str = "") -> dict[str, dict[str, Any]]:
    """File name -> schema, of the experiment, the manifest and every usable component of an installed distribution, or ``only`` of
    this file. Raises UnknownName where there is none such."""
    from wetoolkit.experiment import Experiment
    from wetoolkit.store import Manifest

    makers: dict[str, Callable[[], dict[str, Any]]] = {
        "experiment.json": lambda: _schema(Experiment, "wetoolkit"),
        "manifest.json": lambda: _schema(Manifest, "wetoolkit"),
        "api.json": lambda: {"title": "public names of the core", OWNER: "wetoolkit", **api()},
    }
    for entry in registry.entries:
        if isinstance(entry.component, Component) and entry.state in (OK, DUPLICATE) and entry.source.version:
            makers[file_of(entry)] = partial(component_schema, entry)
    if only and only not in makers:
        raise UnknownName("schema", only.removesuffix(".json"), (known.removesuffix(".json") for known in makers))
    return {file: make() for file, make in sorted(makers.items()) if only in ("", file)}


def file_of(entry: Entry) -> str:
    """ "kind/name.json"; the distribution is part of it where two offer the same name."""
    prefix = f"{entry.source.distribution}." if entry.state == DUPLICATE else ""
    kind, name = entry.label.split("/")
    return f"{kind}/{prefix}{name}.json"


def component_schema(entry: Entry) -> dict[str, Any]:
    """The JSON Schema of a component's config, with what the component is."""
    assert isinstance(entry.component, Component)
    model = imported(entry, entry.component.config)
    about = {"title": f"{entry.label}: {entry.component.summary}", "x-domain": entry.component.domain}
    return {**_schema(model, entry.source.distribution), **about}


def _schema(model: type[BaseModel], distribution: str) -> dict[str, Any]:
    return {"$schema": DIALECT, **model.model_json_schema(), OWNER: distribution}


def compare(folder: Path, wanted: Mapping[str, Mapping[str, Any]], registry: Registry) -> list[SchemaFile]:
    """How each file in ``folder`` stands to the schemas that are wanted; files of plugins that are not here are left in peace."""
    here = {entry.source.distribution for entry in registry.entries} | {"wetoolkit"}
    rows = [SchemaFile(name, _state(folder / name, schema), str(schema[OWNER])) for name, schema in wanted.items()]
    for path in sorted(folder.rglob("*.json")):
        name = path.relative_to(folder).as_posix()
        if name not in wanted:
            owner = str(_read(path).get(OWNER, ""))
            rows.append(SchemaFile(name, REMOVED if owner in here else ABSENT, owner))
    return sorted(rows, key=lambda row: row.file)


def write(folder: Path, wanted: Mapping[str, Mapping[str, Any]], rows: list[SchemaFile]) -> None:
    """Make ``folder`` current: write what is missing or stale, remove what no installed plugin offers any more."""
    for row in rows:
        path = folder / row.file
        if row.state == REMOVED:
            path.unlink()
        elif row.wrong:
            _write(path, text(wanted[row.file]))


def text(schema: Mapping[str, Any]) -> str:
    """A schema as it stands in its file."""
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _state(path: Path, schema: Mapping[str, Any]) -> str:
    if not path.exists():
        return MISSING
    return CURRENT if path.read_text(encoding="utf-8") == text(schema) else STALE


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError("not a schema file", file=path, reason=error, way_out="remove it") from error
    return content if isinstance(content, dict) else {}


def _write(path: Path, content: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(content, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise StoreError("the schema cannot be written", file=path, reason=error, way_out="choose another --folder") from error
