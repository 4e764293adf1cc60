"""`wetool plugins`: what is installed, what is broken and why; one part with its settings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wetoolkit.cli.output import show, show_json
from wetoolkit.cli.remembered import recall
from wetoolkit.component import KINDS, Component
from wetoolkit.errors import ConfigError, PluginError, UnknownName
from wetoolkit.registry import BROKEN, OK, Entry, Registry, Row, imported, load_registry

if TYPE_CHECKING:
    import polars as pl


LISTED = (*KINDS, "domain", "exporter")
COLUMNS = ("kind", "name", "domain", "distribution", "version", "state", "needs", "summary", "reason", "remedy")


def plugins(
    part: Annotated[str, typer.Argument(metavar="[KIND[/NAME]]", help="Only this kind, or one part with its settings.")] = "",
    domain: Annotated[str, typer.Option(help="Only parts of this domain.")] = "",
    distribution: Annotated[str, typer.Option(help="Only parts of this distribution.")] = "",
    state: Annotated[str, typer.Option(help="Only parts whose state begins so, such as 'needs'.")] = "",
    faulty: Annotated[bool, typer.Option("--faulty", help="Only what cannot be used or broke a promise.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Import every part as well (slow: torch and the like).")] = False,
    probe: Annotated[bool, typer.Option("--probe", help="Probe every plugin again in a child process.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List every part with its distribution and state; what is broken says why and what to do.

    `wetool plugins new KIND NAME` writes a plugin, `wetool plugins check KIND/NAME` tries one (each has its own --help).
    """
    registry = load_registry(probe_again=probe)
    if "/" in part:
        _show_one(registry, *split(part), json)
        return
    if part and part not in LISTED:
        raise UnknownName("kind", part, LISTED)
    rows = [row for row in (checked_rows(registry) if check else known_rows(registry)) if not part or row.kind == part]
    rows = [row for row in rows if domain in ("", row.domain) and distribution in ("", row.distribution)]
    rows = [row for row in rows if row.state.startswith(state) and not (faulty and row.state == OK)]
    if rows or json:
        show(_table(rows, json), json, "plugins", beneath=("summary", "reason", "remedy"))
    else:
        typer.echo("no part is so: `wetool plugins` without options lists all")


def split(part: str) -> tuple[str, str]:
    """("reward", "pdms") of "reward/pdms"; ``UnknownName`` or ``ConfigError`` where it is no part's label."""
    kind, _, name = part.partition("/")
    if kind not in LISTED:
        raise UnknownName("kind", kind, LISTED)
    if not name:
        raise ConfigError(f"{part!r} names no part", way_out=f"write {kind}/NAME; `wetool plugins {kind}` lists them")
    return kind, name


def _table(rows: list[Row], json: bool) -> pl.DataFrame:
    """Every column as JSON; for people, version beside the distribution and no column that is empty throughout."""
    import polars as pl

    table = pl.DataFrame([asdict(row) for row in rows], schema=dict.fromkeys(COLUMNS, pl.String))
    if json or table.is_empty():
        return table
    table = table.with_columns(distribution=pl.concat_str("distribution", "version", separator=" ")).drop("version")
    return table.select(column for column in table if bool((column != "").any()))


def known_rows(registry: Registry) -> list[Row]:
    """The rows, with the promises that parts broke when `wetool plugins check` tried them last."""
    broken = recall(registry.entries)
    return [_reminded(row, broken.get((f"{row.kind}/{row.name}", row.distribution), ())) for row in registry.rows()]


def _reminded(row: Row, broken: Sequence[str]) -> Row:
    if not broken or row.state != OK:
        return row
    state = f"breaks {len(broken)} promise{'s' * (len(broken) > 1)}"
    return replace(row, state=state, reason=broken[0], remedy=f"wetool plugins check {row.kind}/{row.name}")


def checked_rows(registry: Registry) -> list[Row]:
    """The rows after every usable part's target and config were imported as well."""
    faults: dict[tuple[str, str, str], PluginError] = {}
    for entry in registry.entries:
        try:
            _import(entry)
        except PluginError as error:
            faults[entry.label, entry.source.distribution, entry.source.version] = error
    return [_faulted(row, faults.get((f"{row.kind}/{row.name}", row.distribution, row.version))) for row in known_rows(registry)]


def _import(entry: Entry) -> None:
    """Import a usable part's target and config; ``PluginError`` where either is not what it must be."""
    from wetoolkit.config import Config
    from wetoolkit.conformity import problems

    if entry.state != OK:
        return
    target = imported(entry, entry.component.target)
    faults = problems(entry.label.split("/")[0], target) if isinstance(target, type) else []
    if faults:
        raise PluginError("; ".join(faults), way_out="its kind's methods stand in wetoolkit.kinds")
    model = imported(entry, entry.component.config) if isinstance(entry.component, Component) else Config
    if not (isinstance(model, type) and issubclass(model, Config)):
        raise PluginError(f"its config {model!r} is no wetoolkit.config.Config", way_out="subclass wetoolkit.config.Config")
    bare = [name for name, field in model.model_fields.items() if not field.description]
    if bare:
        raise PluginError(f"no description of its settings {', '.join(bare)}", way_out='Field(default, description="... [unit]")')


def _faulted(row: Row, error: PluginError | None) -> Row:
    return row if error is None else replace(row, state=BROKEN, reason=error.what, remedy=error.way_out)


def _show_one(registry: Registry, kind: str, name: str, json: bool) -> None:
    import polars as pl

    lookups = {"domain": registry.domain_entry, "exporter": registry.exporter}
    entry = lookups[kind](name) if kind in lookups else registry.component(kind, name)
    schema = {} if kind in lookups else registry.model(kind, name).model_json_schema()
    about: dict[str, Any] = {**asdict(entry.component), **_origin(entry)}
    settings = list(_settings(schema, schema))
    if json:
        show_json({**about, "settings": settings})
        return
    lines = [f"{key}: {', '.join(value) if isinstance(value, tuple) else value}" for key, value in about.items() if value]
    typer.echo("\n".join(lines))
    if kind in lookups:
        return
    columns = ("setting", "type", "default", "unit", "allowed", "description")
    table = pl.DataFrame([{c: str(s[c]) for c in columns} for s in settings], schema=dict.fromkeys(columns, pl.String))
    show(table, json, f"settings of {entry.label}", beneath=("description", "allowed"))


def _origin(entry: Entry) -> dict[str, Any]:
    """Where a part comes from and what implements it."""
    from wetoolkit.component import CONTRACT
    from wetoolkit.discovery import locate

    module = entry.component.target.split(":")[0]
    spec = locate(module)
    contract = getattr(entry.component, "contract", "") or f"{CONTRACT} (not stamped)"
    return {
        "distribution": entry.distribution,
        "announced by": entry.source.module,
        "implemented in": (spec.origin if spec else "") or "",
        "requires": entry.source.requires,
        "contract": contract,
        "state": entry.state,
    }


def _settings(
    model: Mapping[str, Any], schema: Mapping[str, Any], above: str = "", made: Mapping[str, Any] | None = None
) -> Iterator[dict[str, Any]]:
    """The settings of a config from its JSON Schema; those of a config within it are ``outer.inner``, with the outer's defaults."""
    for key, field in model.get("properties", {}).items():
        field = field if made is None or key not in made else {**field, "default": made[key]}
        within = schema.get("$defs", {}).get(field.get("$ref", "").split("/")[-1], {})
        if "properties" in within:
            yield from _settings(within, schema, f"{above}{key}.", field.get("default"))
        else:
            yield _setting(above + key, field, key in model.get("required", ()) and "default" not in field)


def _setting(key: str, field: Mapping[str, Any], required: bool) -> dict[str, Any]:
    """One setting of a config from its JSON Schema."""
    from wetoolkit.config import allowed

    kinds = [option.get("type", option.get("$ref", "").split("/")[-1]) for option in field.get("anyOf", [field])]
    return {
        "setting": key,
        "type": " or ".join(kind for kind in kinds if kind) or "any",
        "default": "(required)" if required else field.get("default", "(made)"),
        "allowed": allowed(dict(field)),
        "unit": "".join(re.findall(r"\[([^\]]+)\]", field.get("description", ""))[-1:]),
        "description": field.get("description", ""),
    }
