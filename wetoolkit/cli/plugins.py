"""`wetool plugins`: what is installed, what is broken and why; one part with its settings."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wetoolkit.cli.output import show, show_json
from wetoolkit.component import KINDS, Component
from wetoolkit.errors import PluginError, UnknownName
from wetoolkit.registry import BROKEN, OK, Entry, Registry, Row, imported, load_registry

if TYPE_CHECKING:
    import polars as pl


def plugins(
    part: Annotated[str, typer.Argument(metavar="[KIND[/NAME]]", help="Only this kind, or one part with its settings.")] = "",
    domain: Annotated[str, typer.Option(help="Only parts of this domain.")] = "",
    distribution: Annotated[str, typer.Option(help="Only parts of this distribution.")] = "",
    faulty: Annotated[bool, typer.Option("--faulty", help="Only what cannot be used.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Import every part as well (slow: torch and the like).")] = False,
    probe: Annotated[bool, typer.Option("--probe", help="Probe every plugin again in a child process.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List every part with its distribution and state; what is broken says why and what to do."""
    registry = load_registry(probe_again=probe)
    kind, _, name = part.partition("/")
    if kind and kind not in (*KINDS, "domain"):
        raise UnknownName("kind", kind, (*KINDS, "domain"))
    if name:
        _show_one(registry, kind, name, json)
        return
    rows = [row for row in (checked_rows(registry) if check else registry.rows()) if not kind or row.kind == kind]
    rows = [row for row in rows if domain in ("", row.domain) and distribution in ("", row.distribution)]
    rows = [row for row in rows if not faulty or row.state != OK]
    show(_table(rows, json), json, "plugins")


def _table(rows: list[Row], json: bool) -> pl.DataFrame:
    """Every column as JSON; for people, version beside the distribution and no column that is empty throughout."""
    import polars as pl

    names = tuple(Row.__dataclass_fields__)
    table = pl.DataFrame([asdict(row) for row in rows], schema=dict.fromkeys(names, pl.String))
    if json or table.is_empty():
        return table
    table = table.with_columns(distribution=pl.concat_str("distribution", "version", separator=" ")).drop("version")
    return table.select(column for column in table if bool((column != "").any()))


def checked_rows(registry: Registry) -> list[Row]:
    """The rows after every usable part's target and config were imported as well."""
    faults: dict[tuple[str, str, str], PluginError] = {}
    for entry in registry.entries:
        try:
            _import(entry)
        except PluginError as error:
            faults[entry.label, entry.source.distribution, entry.source.version] = error
    return [_faulted(row, faults.get((f"{row.kind}/{row.name}", row.distribution, row.version))) for row in registry.rows()]


def _import(entry: Entry) -> None:
    from wetoolkit.config import Config

    if entry.state != OK:
        return
    imported(entry, entry.component.target)
    model = imported(entry, entry.component.config) if isinstance(entry.component, Component) else Config
    if not (isinstance(model, type) and issubclass(model, Config)):
        raise PluginError(f"its config {model!r} is no wetoolkit.config.Config", way_out="subclass wetoolkit.config.Config")


def _faulted(row: Row, error: PluginError | None) -> Row:
    return row if error is None else replace(row, state=BROKEN, reason=error.what, remedy=error.way_out)


def _show_one(registry: Registry, kind: str, name: str, json: bool) -> None:
    import polars as pl

    entry = registry.component(kind, name)
    model = registry.model(kind, name)
    schema = model.model_json_schema()
    about: dict[str, Any] = {**asdict(entry.component), "distribution": entry.distribution, "state": entry.state}
    settings = [_setting(key, field, schema) for key, field in schema.get("properties", {}).items()]
    if json:
        show_json({**about, "settings": settings})
        return
    lines = [f"{key}: {', '.join(value) if isinstance(value, tuple) else value}" for key, value in about.items() if value]
    typer.echo("\n".join(lines))
    columns = ("setting", "type", "default", "allowed", "description")
    table = pl.DataFrame([{c: str(s[c]) for c in columns} for s in settings], schema=dict.fromkeys(columns, pl.String))
    show(table, json, f"settings of {entry.label}")


def _setting(key: str, field: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """One setting of a config from its JSON Schema."""
    from wetoolkit.config import allowed

    kinds = [option.get("type", option.get("$ref", "").split("/")[-1]) for option in field.get("anyOf", [field])]
    return {
        "setting": key,
        "type": " or ".join(kind for kind in kinds if kind) or "any",
        "default": "(required)" if key in schema.get("required", ()) else field.get("default", "(made)"),
        "allowed": allowed(field),
        "description": field.get("description", ""),
    }
