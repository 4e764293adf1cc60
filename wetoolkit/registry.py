"""From plugin modules to one read-only registry. Broken plugins stay in it as rows that say why and what to do."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pluggy

from wetoolkit import discovery, hooks
from wetoolkit.component import ANY, KINDS, Component, Domain, Exporter
from wetoolkit.discovery import Loaded, Source
from wetoolkit.errors import PluginError, UnknownName

if TYPE_CHECKING:
    from wetoolkit import kinds
    from wetoolkit.config import Config
    from wetoolkit.types import Step

_HOOKS = (*hooks.ANNOUNCING, *hooks.WATCHING)
OK, BROKEN, DUPLICATE = "ok", "broken", "duplicate"


@dataclass(frozen=True)
class Entry:
    """A component, domain or exporter with the distribution it came from, and whether it can be used."""

    component: Component | Domain | Exporter
    source: Source
    state: str = OK
    reason: str = ""
    remedy: str = ""

    @property
    def distribution(self) -> str:
        """Name and version, as they stand in a Lineage."""
        return f"{self.source.distribution} {self.source.version}".strip()

    @property
    def label(self) -> str:
        """ "kind/name"."""
        return f"{_kind(self.component)}/{self.component.name}"


@dataclass(frozen=True)
class Row:
    """One line of `wetool plugins`: a component, a domain, or a distribution that is broken as a whole."""

    kind: str
    name: str
    domain: str
    distribution: str
    version: str
    state: str  # "ok", "broken", "duplicate", "needs X"
    summary: str
    reason: str
    remedy: str
    needs: str = ""  # packages beyond its distribution's own requirements


@dataclass(frozen=True)
class Observers:
    """The hooks that tell everyone. An observer that raises is warned about and passed over."""

    managers: tuple[tuple[Source, pluggy.PluginManager], ...]

    def stage_started(self, stage: str, run: str, items: int) -> None:
        """A stage begins."""
        self._tell("stage_started", stage=stage, run=run, items=items)

    def stage_finished(self, stage: str, run: str, cost: Mapping[str, Any]) -> None:
        """A stage ended."""
        self._tell("stage_finished", stage=stage, run=run, cost=cost)

    def report_sections(self, run: str) -> list[tuple[str, str]]:
        """Every distribution's (title, Markdown) sections."""
        return [section for sections in self._tell("report_sections", run=run) for section in sections]

    def _tell(self, hook: str, **arguments: Any) -> list[Any]:
        answers: list[Any] = []
        for source, manager in self.managers:
            try:
                answers += [list(a) if a is not None else [] for a in getattr(manager.hook, hook)(**arguments)]
            except Exception as error:  # noqa: BLE001 - an observer must not end a run
                text = f"{source.distribution} {source.version}: its hook {hook} failed: {type(error).__name__}: {error}"
                warnings.warn(text, RuntimeWarning, stacklevel=3)
        return answers


@dataclass(frozen=True)
class Registry:
    """Everything that was found, read-only. Parts are imported when they are built."""

    entries: tuple[Entry, ...]
    broken: tuple[Loaded, ...] = ()
    hook: Observers = field(default_factory=lambda: Observers(()))

    def component(self, kind: str, name: str) -> Entry:
        """The entry of "name" or "distribution:name".

        Raises ``UnknownName`` with the nearest name, ``PluginError`` where two distributions offer it or it cannot be used.
        """
        if kind not in KINDS:
            raise UnknownName("kind", kind, KINDS)
        return self._entry(kind, name, [e for e in self.entries if isinstance(e.component, Component) and e.component.kind == kind])

    def _entry(self, kind: str, name: str, offered: Sequence[Entry]) -> Entry:
        distribution, _, short = name.rpartition(":")
        found = [e for e in offered if e.component.name == short and _same(distribution, e.source.distribution)]
        if not found:
            raise UnknownName(kind, name, {e.component.name for e in offered}, way_out="install its plugin", **self._hints(short))
        if len(found) > 1:
            ways = " or ".join(f"use = {e.source.distribution + ':' + short!r}" for e in found)
            both = ", ".join(e.distribution for e in found)
            raise PluginError(f"{kind} {short!r} is offered more than once", distributions=both, way_out=ways)
        entry = found[0]
        if entry.state not in (OK, DUPLICATE):
            what = f"{entry.label} cannot be used: {entry.reason}"
            raise PluginError(what, distribution=entry.distribution, way_out=entry.remedy)
        return entry

    def _hints(self, name: str) -> dict[str, object]:
        others = sorted({e.label for e in self.entries if e.component.name == name})
        broken = sorted({item.source.distribution for item in self.broken})
        return {
            "that_name_is": ", ".join(others),
            "broken_plugins": ", ".join(broken) and f"{', '.join(broken)} (see `wetool plugins`)",
        }

    def model(self, kind: str, name: str) -> type[Config]:
        """The config class of a component."""
        entry = self.component(kind, name)
        return imported(entry, _component(entry).config)  # type: ignore[no-any-return]

    def config(self, kind: str, name: str, settings: Mapping[str, Any]) -> Config:
        """The component's config from ``settings``; ``ConfigError`` names each wrong key, the nearest key, the allowed range."""
        from wetoolkit.config import checked

        entry = self.component(kind, name)
        return checked(self.model(kind, name), settings, component=entry.label, distribution=entry.distribution)

    def build(self, kind: str, name: str, settings: Mapping[str, Any]) -> Any:
        """A part: its target, called with its config."""
        from wetoolkit.errors import WetoolkitError

        config, entry = self.config(kind, name, settings), self.component(kind, name)
        target = imported(entry, _component(entry).target)
        try:
            part = target(config)
        except WetoolkitError:
            raise
        except ModuleNotFoundError as error:
            raise _absent(entry, error) from error
        except Exception as error:
            what = f"{entry.label} could not be built: {type(error).__name__}: {error}"
            raise PluginError(what, distribution=entry.distribution, config=repr(config), way_out="change its settings") from error
        _require_kind(entry, kind, part)
        return part

    def check(self, kind: str, name: str, settings: Mapping[str, Any]) -> None:
        """Raise what ``build`` would raise, as far as that can be told without building: the name, the settings, the methods."""
        self.config(kind, name, settings)
        entry = self.component(kind, name)
        target = imported(entry, entry.component.target)
        if isinstance(target, type):
            _require_kind(entry, kind, target)

    def target(self, kind: str, name: str) -> Any:
        """What a component's ``target`` names, imported but not called."""
        return self.load(self.component(kind, name))

    def load(self, entry: Entry) -> Any:
        """The same of any entry."""
        return imported(entry, entry.component.target)

    def domain(self, name: str) -> kinds.Domain[Any]:
        """The glue of a domain, an instance."""
        entry = self.domain_entry(name)
        return imported(entry, entry.component.target)()  # type: ignore[no-any-return]

    def domain_entry(self, name: str) -> Entry:
        """The announcement of a domain, nothing imported."""
        return self._entry("domain", name, [e for e in self.entries if isinstance(e.component, Domain)])

    def exporter(self, name: str) -> Entry:
        """The announcement of a format that recordings can be written in, nothing imported; errors as of ``component``."""
        return self._entry("exporter", name, [e for e in self.entries if isinstance(e.component, Exporter)])

    def step(self, kind: str, name: str, config: Config, seed: int | None = None) -> Step:
        """The link that a component adds to a Lineage."""
        from wetoolkit.types import Step

        entry = self.component(kind, name)
        return Step(entry.label, entry.distribution, config_hash(config), seed)

    def rows(self) -> list[Row]:
        """One row a component, a domain and a broken distribution, in a stable order."""
        found = [_row(entry) for entry in self.entries]
        found += [_broken_row(item) for item in self.broken]
        order = {kind: index for index, kind in enumerate(("domain", *KINDS, "exporter"))}
        return sorted(found, key=lambda row: (order.get(row.kind, len(order)), row.name, row.distribution))


def load_registry(extra_modules: Sequence[str] = (), only: Iterable[str] | None = None, *, probe_again: bool = False) -> Registry:
    """The registry of what is installed and of ``extra_modules`` (plugin modules by name, not installed).

    ``only`` (or ``WETOOLKIT_PLUGINS``) limits it to these distributions. Never raises for a plugin's sake.
    """
    found = list(discovery.find(extra_modules, only))
    sources = [item for item in found if isinstance(item, Source)]
    absent = [item for item in found if isinstance(item, Loaded)]
    entries: list[Entry] = []
    broken: list[Loaded] = absent
    managers = []
    for loaded in discovery.load(sources, again=probe_again):
        manager, fault = _hooked(loaded) if loaded.module else (None, loaded)
        announced, faults = _announced(loaded.source, manager) if manager else ([], [])
        entries += announced
        broken += [item for item in (fault, *faults) if item]
        managers += [(loaded.source, manager)] if manager else []
    return Registry(tuple(_judged(entries)), tuple(broken), Observers(tuple(managers)))


def _hooked(loaded: Loaded) -> tuple[pluggy.PluginManager | None, Loaded | None]:
    """A manager of its own for each plugin, so that a wrong hook spoils nobody else's."""
    manager = pluggy.PluginManager(hooks.GROUP)
    manager.add_hookspecs(hooks)
    try:
        manager.register(loaded.module)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        specs = [name for name in _HOOKS if name in str(error)]
        wanted = ", ".join(f"{name}{inspect.signature(getattr(hooks, name))}" for name in specs or _HOOKS)
        reason = " ".join(str(error).split())
        return None, Loaded(loaded.source, None, reason, f"the hooks are {wanted}" if not specs else f"the hook is {wanted}")
    if not manager.get_hookcallers(loaded.module):
        return None, Loaded(loaded.source, None, "it implements no hook", "mark its components() with @wetoolkit.hooks.hookimpl")
    return manager, None


def _announced(source: Source, manager: pluggy.PluginManager) -> tuple[list[Entry], list[Loaded]]:
    """What a plugin's hooks return, sorted into entries and garbage."""
    entries: list[Entry] = []
    faults: list[Loaded] = []
    hooked: tuple[tuple[str, type[Component | Domain | Exporter]], ...]
    hooked = (("components", Component), ("domains", Domain), ("exporters", Exporter))
    for hook, kind in hooked:
        remedy = f"{hook}() returns a list of wetoolkit.component.{kind.__name__}"
        try:
            items = [item for answer in getattr(manager.hook, hook)() for item in answer]
        except Exception as error:  # noqa: BLE001 - a stranger's code
            faults.append(Loaded(source, None, f"{hook}() failed: {type(error).__name__}: {error}", remedy))
            continue
        strange = [item for item in items if not _well_formed(item, kind)]
        if strange:
            faults.append(
                Loaded(source, None, f"{hook}() returned {str(strange[0])[:60]!r}, no {kind.__name__} of strings", remedy)
            )
        entries += [Entry(item, source) for item in items if _well_formed(item, kind)]
    return entries, faults


def _well_formed(item: object, kind: type[Component | Domain | Exporter]) -> bool:
    """Whether an announcement is of its class and holds text where text is due."""
    if not isinstance(item, kind):
        return False
    values = [getattr(item, name) for name in item.__dataclass_fields__ if name != "needs"]
    return all(isinstance(value, str) for value in (*values, *getattr(item, "needs", ())))


def _judged(entries: Sequence[Entry]) -> list[Entry]:
    """Each entry with its state: what can be told without importing anything heavy."""
    domains = {entry.component.name for entry in entries if isinstance(entry.component, Domain)} | {ANY}
    sharing: dict[str, list[Entry]] = {}
    for entry in entries:
        sharing.setdefault(entry.label, []).append(entry)
    return [_judge(entry, domains, [o for o in sharing[entry.label] if o is not entry]) for entry in entries]


def _judge(entry: Entry, domains: set[str], twins: Sequence[Entry]) -> Entry:
    part, source = entry.component, entry.source
    problems = part.problems() if isinstance(part, Component) else []
    if problems:
        remedy = f"correct the announcement in {source.module}"
        if len(problems) == 1 and problems[0].startswith("built for contract "):
            remedy = f"install a release of {source.distribution} and one of wetoolkit of the same contract (docs/api.md)"
        return replace(entry, state=BROKEN, reason="; ".join(problems), remedy=remedy)
    needs = [text for text in (*source.requires, *getattr(part, "needs", ())) if ";" not in text and discovery.missing(text)]
    if needs:
        names = ", ".join(discovery.requirement_name(text) for text in needs)
        command = " ".join(f"'{text}'" if set(text) & set("<>=!~ ") else text for text in needs)
        return replace(entry, state=f"needs {names}", reason=f"{names} not installed", remedy=f"pip install {command}")
    if not isinstance(part, Domain) and part.domain not in domains:
        reason = f"no distribution defines its domain {part.domain!r}"
        remedy = f"install the plugin that defines {part.domain!r}"
        return replace(entry, state=f"needs domain {part.domain}", reason=reason, remedy=remedy)
    if discovery.locate(part.target.split(":")[0]) is None:
        reason = f"its target {part.target!r} is in no module that can be found"
        return replace(entry, state=BROKEN, reason=reason, remedy=f"correct the announcement in {source.module}")
    if twins:
        both = ", ".join(twin.distribution for twin in twins)
        return replace(
            entry, state=DUPLICATE, reason=f"also offered by {both}", remedy=f"use = '{source.distribution}:{part.name}'"
        )
    return entry


def imported(entry: Entry, target: str) -> Any:
    """The object behind "package.module:Class" of an entry; ``PluginError`` with the way out where there is none."""
    module, name = target.split(":")
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise _absent(entry, error) from error
    except Exception as error:
        what = f"{entry.label}: {target} could not be imported: {type(error).__name__}: {error}"
        raise PluginError(what, distribution=entry.distribution, way_out=f"pip install -U {entry.source.distribution}") from error


def _require_kind(entry: Entry, kind: str, part: object) -> None:
    """Raise a ``PluginError`` that names every method or attribute of its kind that a part lacks."""
    from wetoolkit.conformity import problems

    faults = problems(kind, part)
    if faults:
        what = f"{entry.label} is no {kind}: {'; '.join(faults)}"
        way_out = f"`wetool plugins check {entry.label}`; the methods of each kind stand in wetoolkit.kinds"
        raise PluginError(what, distribution=entry.distribution, way_out=way_out)


def _absent(entry: Entry, error: ModuleNotFoundError) -> PluginError:
    package = discovery.install_name(error.name or str(error), (*entry.source.requires, *getattr(entry.component, "needs", ())))
    what = f"{entry.label} needs {error.name}, which is not installed"
    return PluginError(what, distribution=entry.distribution, way_out=f"pip install '{package}'")


def config_hash(config: Config) -> str:
    """Content hash of a config: sha256 of its canonical JSON."""
    text = json.dumps(config.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _kind(part: Component | Domain | Exporter) -> str:
    return part.kind if isinstance(part, Component) else type(part).__name__.lower()


def _component(entry: Entry) -> Component:
    assert isinstance(entry.component, Component)
    return entry.component


def _same(asked: str, distribution: str) -> bool:
    return not asked or discovery.canonical(asked) == discovery.canonical(distribution)


def _row(entry: Entry) -> Row:
    part, source = entry.component, entry.source
    kind, domain = _kind(part), getattr(part, "domain", part.name)
    name, version = source.distribution, source.version
    needs = ", ".join(getattr(part, "needs", ()))
    return Row(kind, part.name, domain, name, version, entry.state, part.summary, entry.reason, entry.remedy, needs)


def _broken_row(item: Loaded) -> Row:
    source = item.source
    return Row("", "", "", source.distribution, source.version, BROKEN, source.module, item.reason, item.remedy)
