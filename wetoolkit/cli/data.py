"""`wetool data ...`: what a data set holds, what is wrong in it, copies in other formats, pictures, and data made from a seed."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wetoolkit.cli import COMMANDS, FAILED_ITEMS
from wetoolkit.cli.output import show
from wetoolkit.errors import ConfigError, DataError, PluginError

if TYPE_CHECKING:
    import polars as pl

    from wetoolkit.progress import Watch
    from wetoolkit.registry import Registry
    from wetoolkit.sources import Source

FOLDER = Path("runs") / "data"  # where tables and pictures go unless a file is named

From = Annotated[str, typer.Argument(metavar="SOURCE", help="A path, NAME:PATH, a data set's name, or an experiment file.")]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting of the data set. Repeatable.")]
Out = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Where it goes; runs/data/ unless given.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def data() -> None:
    """Look at data sets, check, convert, view and make them; each of these commands has its own --help."""
    for name, (_, _, line) in COMMANDS.items():
        if name.startswith("data "):
            typer.echo(f"wetool {name:<14} {line}")


def inspect(source: From, settings: Settings = None, out: Out = None, json: Json = False) -> None:
    """Say what a folder, file or data set is: format, logs, windows, rates, classes, map, sensors, licence.

    Example: wetool data inspect ~/data/logs
    """
    import polars as pl

    from wetoolkit.sources import facts

    found = _open(source, settings)[1]
    table = pl.DataFrame(list(facts(found)), schema={"what": pl.String, "said": pl.String}, orient="row")
    _say(table, out or FOLDER / f"inspect-{_stem(source)}.parquet", json, source)


def check(source: From, settings: Settings = None, out: Out = None, json: Json = False) -> None:
    """List every defect of the data with its file and row, and what the reader makes of it; exit code 3 where it refuses any.

    Example: wetool data check ~/data/logs
    """
    import polars as pl

    from wetoolkit.sources import defects

    found = _open(source, settings)[1]
    with _watched("check") as watch:
        rows = [asdict(defect) for defect in defects(found, watch.step)]
    table = pl.DataFrame(rows, schema=dict.fromkeys(("file", "place", "what", "handling"), pl.String))
    _say(table, out or FOLDER / f"check-{_stem(source)}.parquet", json, f"{len(rows)} defects in {source}")
    if "refused" in table["handling"]:
        raise typer.Exit(FAILED_ITEMS)


def convert(
    source: From,
    target: Annotated[str, typer.Argument(metavar="FORMAT:FOLDER", help="Format to write, and where.")],
    splits: Annotated[list[str] | None, typer.Option("--split", help="Only these splits. Repeatable.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="At most so many recordings; 0: all.")] = 0,
    sensors: Annotated[bool, typer.Option("--sensors", help="Write what the sensors saw as well.")] = False,
    settings: Settings = None,
    json: Json = False,
) -> None:
    """Write whole recordings in another format; `wetool plugins` lists the formats (kind exporter).

    Example: wetool data convert minitown scenarionet:data/town --split val --limit 2
    """
    registry, found = _open(source, settings)
    _convert(registry, found, target, splits or (), limit, sensors, json)


def make(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A data set that makes its recordings itself, such as minitown.")],
    splits: Annotated[list[str] | None, typer.Option("--split", help="Only these splits. Repeatable.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="At most so many recordings; 0: all.")] = 0,
    sensors: Annotated[bool, typer.Option("--sensors", help="Make what the sensors see as well (slow).")] = False,
    target: Annotated[
        str, typer.Option("--out", metavar="FORMAT:FOLDER", help="Also write them in this format; else into its cache.")
    ] = "",
    settings: Settings = None,
    json: Json = False,
) -> None:
    """Make a data set's recordings, with sensors if asked, before they are needed.

    Example: wetool data make minitown --split val --limit 2 --sensors --out scenarionet:data/town
    """
    registry, found = _open(name, settings)
    if target:
        _convert(registry, found, target, splits or (), limit, sensors, json)
        return
    _make(registry, found, splits or (), limit, sensors, json)


def view(
    source: From,
    window: Annotated[str, typer.Argument(metavar="WINDOW", help="The window's id, or SPLIT:NUMBER.")],
    at: Annotated[float, typer.Option("--at", metavar="SECONDS", help="When, counted from the window's present.")] = 0.0,
    video: Annotated[bool, typer.Option("--video", help="A film of the whole window in place of a picture.")] = False,
    sensors: Annotated[
        bool | None, typer.Option("--sensors/--no-sensors", help="Show the cameras; unless said, where they can be had.")
    ] = None,
    settings: Settings = None,
    out: Out = None,
) -> None:
    """Draw a window: the map from above, everybody on it, and the cameras beside it.

    Example: wetool data view minitown val:0
    """
    from wetoolkit.kinds import SupportsSensors, SupportsView
    from wetoolkit.sources import window as find

    registry, found = _open(source, settings)
    domain = registry.domain(found.domain)
    if not isinstance(domain, SupportsView):
        raise PluginError(f"the domain {found.domain!r} draws no scenarios", way_out="give it a method view (wetoolkit.kinds)")
    ref = find(found, window)
    scenario = found.dataset.load(ref)
    seen = _sensors(found.dataset, ref, sensors) if sensors is not False and isinstance(found.dataset, SupportsSensors) else None
    step = scenario.clock.now + round(at / scenario.clock.dt)
    if not 0 <= step < scenario.clock.steps:
        raise DataError(f"the window has no step {at:g} s from its present", file=ref.id, way_out="choose --at within the window")
    path = out or FOLDER / f"view-{_stem(ref.id)}.{'mp4' if video else 'png'}"
    _draw(domain, scenario, seen, step, path, video)
    typer.echo(f"written to {path}")


def _sensors(dataset: Any, ref: Any, asked: bool | None) -> Any:
    """What the sensors saw; where nobody insisted and a package for it is not installed, a note and None."""
    try:
        return dataset.sensors(ref)
    except PluginError as error:
        if asked:
            raise
        typer.echo(f"without cameras: {error.what} ({error.way_out})", err=True)
        return None


def _draw(domain: Any, scenario: Any, sensors: Any, step: int, path: Path, video: bool) -> None:
    from wetoolkit.film import write_film, write_sheet

    if not video:
        write_sheet(path, [domain.view(scenario, step, sensors)])
        return
    steps = scenario.clock.steps
    with _watched("film", steps) as watch:

        def pictures() -> Iterator[Any]:
            for number in range(steps):
                watch.step(number + 1, steps)
                yield domain.view(scenario, number, sensors)

        write_film(path, pictures(), 1 / scenario.clock.dt)


def _convert(registry: Registry, source: Source, target: str, splits: Sequence[str], limit: int, sensors: bool, json: bool) -> None:
    import polars as pl

    from wetoolkit.sources import convert as write
    from wetoolkit.sources import recordings

    format, colon, place = target.partition(":")
    if not colon or not place:
        raise ConfigError(f"{target!r} names no format and folder", way_out="write FORMAT:FOLDER, such as scenarionet:data/town")
    folder, refs = Path(place).expanduser(), recordings(source, splits, limit)
    with _watched(format, len(refs)) as watch:
        paths, lost = write(registry, source, refs, format, folder, sensors, watch.step)
    rows = [(str(path.relative_to(folder)), path.stat().st_size, "") for path in paths] + [(ref.id, 0, why) for ref, why in lost]
    table = pl.DataFrame(rows, schema={"file": pl.String, "bytes": pl.Int64, "error": pl.String}, orient="row")
    table = table if lost else table.drop("error")
    _say(table, folder / "conversion.parquet", json, f"{len(paths)} files of {len(refs)} recordings in {folder}")
    if lost:
        raise typer.Exit(FAILED_ITEMS)


def _make(registry: Registry, source: Source, splits: Sequence[str], limit: int, sensors: bool, json: bool) -> None:
    import polars as pl

    from wetoolkit.kinds import SupportsSensors
    from wetoolkit.sources import recordings

    refs, dataset = recordings(source, splits, limit), source.dataset
    if sensors and not isinstance(dataset, SupportsSensors):
        raise PluginError(f"the data set {source.name!r} has no sensors", way_out="leave --sensors out")
    rows: list[tuple[str, int, str]] = []
    with _watched("make", len(refs)) as watch:
        for done, ref in enumerate(refs, 1):
            try:
                steps = dataset.recording(ref).clock.steps
                _ = dataset.sensors(ref) if sensors else None
                rows.append((ref.id, steps, ""))
            except DataError as error:
                rows.append((ref.id, 0, str(error)))
            watch.step(done, len(refs), ref.id)
    table = pl.DataFrame(rows, schema={"recording": pl.String, "steps": pl.Int64, "error": pl.String}, orient="row")
    failed = table.filter(pl.col("error") != "").height
    _say(table if failed else table.drop("error"), FOLDER / f"make-{source.name}.parquet", json, f"{len(refs)} recordings")
    if failed:
        raise typer.Exit(FAILED_ITEMS)


@contextmanager
def _watched(stage: str, items: int = 0) -> Iterator[Watch]:
    from wetoolkit.progress import watch

    told = watch()
    told.start(stage, items)
    try:
        yield told
    finally:
        told.close()


def _open(text: str, settings: Sequence[str] | None) -> tuple[Registry, Source]:
    from wetoolkit.registry import load_registry
    from wetoolkit.sources import open_source

    registry = load_registry()
    return registry, open_source(registry, text, _settings(settings or ()))


def _settings(pairs: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE pairs, values as in TOML, bare words as text; OUTER.INNER is a key of a config within the config."""
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {pair!r} is no KEY=VALUE", way_out="write --set stride=1.0")
        *outer, inner = key.strip().split(".")
        place = found
        for part in outer:
            place = place.setdefault(part, {})
        try:
            place[inner] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            place[inner] = value
    return found


def _stem(text: str) -> str:
    from wetoolkit.filming import plain

    return plain(text.rstrip("/")).strip("._") or "data"


def _say(table: pl.DataFrame, path: Path, json: bool, title: str) -> None:
    from wetoolkit.store import write_table

    write_table(path, table)
    show(table, json, title, beneath=("what", "error"))
    if not json:
        typer.echo(f"written to {path}")
