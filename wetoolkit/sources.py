"""Data sets by what a user has in hand: a folder, a file, a data set's name, an experiment. What is in them, what is wrong, copies.

A *source* is written as a path, whose format the installed data sets recognise; as ``NAME:PATH``, which names the data set that
shall read it; as a data set's ``NAME``, for those that make their recordings themselves; or as an experiment file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wetoolkit.errors import DataError, PluginError, UnknownName, WetoolkitError
from wetoolkit.kinds import Progress, SupportsInspect, SupportsRecordings, SupportsReport, SupportsSensors
from wetoolkit.types import Defect, Ref, Scenario

if TYPE_CHECKING:
    from wetoolkit.registry import Registry


@dataclass(frozen=True)
class Source:
    """A data set that was opened, and how an experiment would name it."""

    name: str  # of the component
    domain: str
    settings: Mapping[str, Any]
    dataset: Any


def open_source(registry: Registry, text: str, settings: Mapping[str, Any]) -> Source:
    """The data set behind what a user wrote; ``settings`` go before what its path says.

    Raises ``DataError`` where nobody recognises the path, ``UnknownName`` where there is no such data set.
    """
    name, colon, rest = text.partition(":")
    path = Path(text).expanduser()
    if colon and name in _names(registry) and not path.exists():
        return _opened(registry, name, {**_asked(registry, name, Path(rest).expanduser()), **settings})
    if path.suffix == ".toml" and path.is_file():
        return _of_experiment(registry, path, settings)
    if not path.exists():
        if text in _names(registry):
            return _opened(registry, text, settings)
        names = ", ".join(_names(registry))
        raise DataError("no such path, and no data set of this name", file=text, way_out=f"give a path, or one of: {names}")
    looks = {name: _recognised(_class(registry, name), path) for name in _names(registry)}
    found = {name: known for name, known in looks.items() if known is not None}
    if len(found) != 1:
        read = ", ".join(found) or ", ".join(_readers(registry))
        what = "several data sets read this" if found else "no installed data set recognises it"
        raise DataError(what, file=path, way_out=f"write NAME:{path} with one of these names: {read}")
    (name,) = found
    return _opened(registry, name, {**found[name], **settings})


def _names(registry: Registry) -> list[str]:
    return sorted({entry.component.name for entry in registry.entries if getattr(entry.component, "kind", "") == "dataset"})


def _readers(registry: Registry) -> list[str]:
    return [name for name in _names(registry) if issubclass(_class(registry, name) or object, SupportsInspect)]


def _class(registry: Registry, name: str) -> type | None:
    """The class of a data set; None where its plugin cannot be used."""
    try:
        entry = registry.component("dataset", name)
        found = registry.target("dataset", entry.component.name)
    except WetoolkitError:
        return None
    return found if isinstance(found, type) else None


def _recognised(kind: type | None, path: Path) -> Mapping[str, Any] | None:
    """The settings with which a data set's class reads ``path``; None where it does not, or recognises nothing."""
    return kind.recognise(path) if kind is not None and issubclass(kind, SupportsInspect) else None


def _asked(registry: Registry, name: str, path: Path) -> Mapping[str, Any]:
    """The same of a data set that was asked for by name; ``DataError`` where it does not read this."""
    known = _recognised(registry.target("dataset", name), path)
    if known is None:
        way_out = "look whether it is the right folder, or leave the name out and let every data set look"
        raise DataError(f"the data set {name!r} does not recognise this", file=path, way_out=way_out)
    return known


def _of_experiment(registry: Registry, path: Path, settings: Mapping[str, Any]) -> Source:
    from wetoolkit.experiment import load_experiment

    part = load_experiment(path).dataset
    return _opened(registry, part.use, {**part.settings, **settings})


def _opened(registry: Registry, name: str, settings: Mapping[str, Any]) -> Source:
    dataset = registry.build("dataset", name, settings)
    domain = str(getattr(registry.component("dataset", name).component, "domain", ""))
    return Source(name, domain, settings, dataset)


def facts(source: Source) -> Iterator[tuple[str, str]]:
    """(what, said) about a data set: its own words first, then what every data set can be asked."""
    dataset = source.dataset
    yield "data set", source.name
    if isinstance(dataset, SupportsInspect):
        yield from dataset.inspect().items()
    for split in dataset.splits():
        try:
            refs = dataset.index(split)
            yield f"split {split}", f"{len(refs)} windows of {len({ref.log for ref in refs})} logs"
        except DataError as error:
            yield f"split {split}", error.what
    if isinstance(dataset, SupportsReport):
        yield from ((f"repaired: {name}", str(count)) for name, count in dataset.repairs().items() if count)


def defects(source: Source, progress: Progress | None = None) -> Iterator[Defect]:
    """Everything wrong in a source: by its own account, or, where it keeps none, every window that cannot be loaded."""
    dataset = source.dataset
    if isinstance(dataset, SupportsInspect):
        yield from dataset.defects()
        return
    refs = [ref for split in dataset.splits() for ref in dataset.index(split)]
    for done, ref in enumerate(refs, 1):
        try:
            dataset.load(ref)
        except WetoolkitError as error:
            place = " ".join(f"{key}={value}" for key, value in error.context.items() if key != "file")
            yield Defect(str(error.context.get("file", ref.log)), place or ref.id, error.what, "refused")
        if progress is not None:
            progress(done, len(refs), ref.log)


def window(source: Source, text: str) -> Ref:
    """The window of an id, or of ``SPLIT:NUMBER``; ``UnknownName`` with the nearest id where there is none."""
    dataset = source.dataset
    split, colon, number = text.rpartition(":")
    if colon and split in dataset.splits() and number.isdecimal():
        refs: Sequence[Ref] = dataset.index(split)
        if int(number) >= len(refs):
            raise UnknownName("window", text, (), way_out=f"{split!r} holds {len(refs)} windows, counted from 0")
        return refs[int(number)]
    listed: dict[str, Ref] = {}
    for name in dataset.splits():
        try:
            listed.update({ref.id: ref for ref in dataset.index(name)})
        except DataError:
            continue  # an empty split holds no window
    if text not in listed:
        raise UnknownName("window", text, listed, way_out=f"give an id, or SPLIT:NUMBER such as {dataset.splits()[0]}:0")
    return listed[text]


def recordings(source: Source, splits: Sequence[str], limit: int) -> list[Ref]:
    """Whole recordings of some splits (none named: of all), each once, at most ``limit`` (0: all)."""
    dataset = source.dataset
    if not isinstance(dataset, SupportsRecordings):
        what = f"the data set {source.name!r} hands over no whole recordings"
        raise PluginError(what, way_out="its author implements wetoolkit.kinds.SupportsRecordings")
    offered = source.dataset.splits()
    strange = [split for split in splits if split not in offered]
    if strange:
        raise UnknownName("split", strange[0], offered, dataset=source.name)
    found: dict[str, Ref] = {}
    for split in splits or offered:
        for ref in dataset.recordings(split):
            found.setdefault(ref.id, ref)
    refs = list(found.values())
    if not refs:
        raise DataError("there is no recording to write", file=source.name, way_out="name other splits")
    return refs[:limit] if limit else refs


def convert(
    registry: Registry, source: Source, refs: Sequence[Ref], format: str, folder: Path, sensors: bool, progress: Progress | None
) -> tuple[list[Path], list[tuple[Ref, str]]]:
    """Write recordings in another format: what was written, and each recording that could not be read with its reason."""
    entry, dataset = registry.exporter(format), source.dataset
    serves = getattr(entry.component, "domain", "")
    if serves not in ("any", source.domain):
        what = f"the format {format!r} holds recordings of the domain {serves!r}, {source.name!r} has {source.domain!r}"
        raise PluginError(what, distribution=entry.distribution, way_out="choose a format of the domain, see `wetool plugins`")
    if sensors and not isinstance(dataset, SupportsSensors):
        raise PluginError(f"the data set {source.name!r} has no sensors", way_out="leave --sensors out")
    lost: list[tuple[Ref, str]] = []
    asked: dict[str, Ref] = {}

    def read() -> Iterator[Scenario[Any]]:
        for ref in refs:
            try:
                scenario = dataset.recording(ref)
            except WetoolkitError as error:
                lost.append((ref, str(error)))
                continue
            asked[scenario.id] = ref
            yield scenario

    seen: Callable[[Scenario[Any]], Any] = lambda scenario: dataset.sensors(asked[scenario.id])  # noqa: E731
    write = registry.load(entry)
    paths = write(read(), folder, seen if sensors else None, progress)
    return list(paths), lost


__all__ = ["Source", "convert", "defects", "facts", "open_source", "recordings", "window"]
