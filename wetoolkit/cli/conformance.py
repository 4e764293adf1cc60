"""`wetool conformance`: hold a part, or anybody's module, to cases whose results are known and to what must always be true."""

from __future__ import annotations

import importlib
import importlib.util
import json as json_
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wetoolkit.cli import FAILED_ITEMS
from wetoolkit.cli.output import plain, show, show_json
from wetoolkit.errors import DataError, PluginError, WetoolkitError

if TYPE_CHECKING:
    import polars as pl

    from wetoolkit.registry import Registry
    from wetoolkit.types import Check

DEFAULT_KIND = "reward"
PACKAGES = ("wetoolkit", "numpy", "scipy", "numba", "shapely")  # their versions are stamped: results were known to depend on them


def conformance(
    part: Annotated[str, typer.Argument(metavar="[KIND/]NAME", help="The part, such as pdms (a reward unless a kind is given).")],
    cases: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of cases; made on the spot unless given.")] = None,
    variant: Annotated[str, typer.Option(help="Variant of the part, where it has several.")] = "",
    against: Annotated[
        str, typer.Option(metavar="MODULE", help="Check this module instead: a name that can be imported, or a .py file.")
    ] = "",
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where the table goes; runs/conformance/ unless given.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Hold a part, or a scorer of yours, to known results and to what must always be true; exit code 3 where it fails.

    Example: wetool conformance pdms --against my_scorer.py
    """
    from wetoolkit.registry import load_registry
    from wetoolkit.store import write_atomic

    label, tested = build(load_registry(), part, variant)
    if cases is not None and not cases.is_dir():
        raise DataError("is no folder", file=cases, way_out="give a folder of cases, or none to have them made")
    rows = list(_watched(tested.conform(cases, load_module(against) if against else None), json))
    document: dict[str, Any] = {
        "part": label,
        "metric": str(getattr(tested, "metric", "")),
        "cases": str(cases or "made"),
        "against": against,
    }
    document |= {"versions": versions(), "checks": [asdict(row) for row in rows]}
    target = out or Path("runs") / "conformance" / f"{_stem(label, variant, against)}.json"
    write_atomic(target, (json_.dumps(plain(document), indent=2, ensure_ascii=False) + "\n").encode())
    if json:
        show_json(document)
    else:
        show(table(rows), False, f"conformance of {against or label}: {document['metric']}", beneath=("check", "note"))
        typer.echo(verdict(rows))
        typer.echo(f"written to {target}")
    if any(row.passed is False for row in rows):
        raise typer.Exit(FAILED_ITEMS)


def build(registry: Registry, part: str, variant: str) -> tuple[str, Any]:
    """("kind/name", the part itself), built with its defaults; ``PluginError`` where it cannot be held to anything."""
    from wetoolkit.kinds import SupportsConformance

    kind, _, name = part.rpartition("/")
    kind = kind or DEFAULT_KIND
    made = registry.build(kind, name, {"variant": variant} if variant else {})
    entry = registry.component(kind, name)
    if not isinstance(made, SupportsConformance):
        what, way_out = f"{entry.label} has no conformance kit", "its author implements wetoolkit.kinds.SupportsConformance"
        raise PluginError(what, distribution=entry.distribution, way_out=way_out)
    return entry.label, made


def load_module(name: str) -> ModuleType:
    """A module by its name (this folder is looked in as well) or by its file; ``PluginError`` says why it cannot be imported."""
    path = Path(name)
    try:
        if path.suffix == ".py":
            return _load_file(path)
        if str(Path.cwd()) not in sys.path:
            sys.path.insert(0, str(Path.cwd()))
        return importlib.import_module(name)
    except WetoolkitError:
        raise
    except (Exception, SystemExit) as error:
        what = f"the module {name!r} cannot be imported: {type(error).__name__}: {error}"
        way_out = "give a module that Python can import from here, or the path of a .py file"
        raise PluginError(what, way_out=way_out) from error


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise PluginError("there is no such file", file=path, way_out="give the path of a .py file, or a module's name")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None  # both exist for every .py file
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _watched(checks: Iterator[Check], quiet: bool) -> Iterator[Check]:
    """The checks, each named on stderr while it is being made, where somebody watches."""
    if quiet or not sys.stderr.isatty():
        yield from checks
        return
    from rich.console import Console

    with Console(stderr=True).status("preparing cases") as status:
        for check in checks:
            status.update(f"done: {check.name}")
            yield check


def table(rows: list[Check]) -> pl.DataFrame:
    """One row a check, as people read it."""
    import polars as pl

    words = {True: "yes", False: "NO", None: "not checked"}
    return pl.DataFrame(
        {
            "check": [row.name for row in rows],
            "of": [row.subject for row in rows],
            "cases": [row.cases for row in rows],
            "mismatches": [row.mismatches for row in rows],
            "largest error": [row.error for row in rows],
            "ms a case": [row.milliseconds for row in rows],
            "passed": [words[row.passed] for row in rows],
            "note": [row.note for row in rows],
        },
        schema_overrides={"largest error": pl.Float64, "ms a case": pl.Float64},
    )


def verdict(rows: list[Check]) -> str:
    """One line on all of them."""
    failed, open_ = (sum(row.passed is state for row in rows) for state in (False, None))
    return f"{len(rows) - failed - open_} checks passed, {failed} failed, {open_} could not be made"


def versions() -> dict[str, str]:
    """Python's and the packages' versions."""
    import importlib.metadata as metadata
    import platform

    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _stem(label: str, variant: str, against: str) -> str:
    parts = [label.replace("/", "-"), variant, Path(against).stem if against else ""]
    return "-".join(part for part in parts if part)
