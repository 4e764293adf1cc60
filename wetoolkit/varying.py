"""Variants of one scene, apart from the loop: a scene of a run, a window of a data set, or a scene of a file of scenes.

What is made is a file of Scenes that `wetool rollout --input` takes, a table of what was done in each and how it was judged, and
what was rejected, by reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from wetoolkit.accounts import Account, SupportsAccount, SupportsPresets
from wetoolkit.branching import actor
from wetoolkit.codec import read_header
from wetoolkit.errors import ConfigError, UnknownName, WetoolkitError
from wetoolkit.filming import plain
from wetoolkit.foresight import Foresight
from wetoolkit.jobs import Loader, rebuild, traced
from wetoolkit.store import key_of, read_block, read_bytes, read_facts, write_block, write_table
from wetoolkit.types import Scene, Step
from wetoolkit.work import is_block

if TYPE_CHECKING:
    from wetoolkit.registry import Registry
    from wetoolkit.work import Session

REPLAY = "replay"  # the reconstructor of windows where several could be meant: a record as it is


@dataclass(frozen=True)
class Found:
    """A scene to vary, and what its run says of behaviours."""

    scene: Scene[Any]
    domain: Any
    folder: Path  # where variants go unless another one is named
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # behaviour -> its settings in the experiment
    session: Session | None = None  # of the run that it is from


@dataclass(frozen=True)
class Varied:
    """The variants of a scene, what there is to say about each, and the files."""

    table: pl.DataFrame  # one row a variant
    rejected: pl.DataFrame  # reason, times
    scenes: tuple[Scene[Any], ...]
    folder: Path


def find(registry: Registry, target: str, name: str, reconstructor: str = "") -> Found:
    """The scene ``name`` of a run folder or of a file of scenes ("": its only one), or the window of a source as a scene."""
    path = Path(target).expanduser()
    if (path / "experiment.toml").is_file():
        return _of_run(registry, path, name)
    if path.suffix == ".safetensors":
        return _of_file(registry, path, name)
    return _of_source(registry, target, name, reconstructor)


def session_of(registry: Registry, run: Path) -> Session:
    """A run folder, opened."""
    from wetoolkit.experiment import Parts, load_experiment
    from wetoolkit.store import Store
    from wetoolkit.work import Session

    experiment = load_experiment(run / "experiment.toml")
    return Session(experiment, Parts(experiment, registry), Store(run))


def _of_run(registry: Registry, run: Path, name: str) -> Found:
    session, known = session_of(registry, run), []
    for path in _scene_blocks(session):
        ids = read_facts(path)["ids"]
        known += ids
        if name in ids:
            parts, domain = session.experiment.behaviour, session.parts.domain
            scene = next(scene for scene in read_block(path, Scene, domain.world)[0] if scene.id == name)
            return Found(scene, domain, run / "variants", {part.use: part.settings for part in reversed(parts)}, session)
    way_out = "name a scene that the run made" if known else "run `wetool reconstruct` first"
    raise UnknownName("scene", name, known, way_out=way_out, run=str(run))


def foresee(found: Found, policy: str) -> Found:
    """The same with what a policy of the run (its name, a file, a component) does in the scene in place of the record."""
    session = found.session
    if session is None:
        raise ConfigError("--policy drives scenes of a run", way_out="name a run folder: its simulator drives")
    one, parts = actor(session, policy), session.parts
    links = (one.step, parts.step("simulator"))
    drive = Foresight(parts.build("simulator"), one.policy, one.name, links, session.experiment.seed)
    return replace(found, scene=drive(found.scene))


def _scene_blocks(session: Session) -> Iterator[Path]:
    """The files of scenes of a run, the rebuilt scenes first."""
    stages = session.store.manifest.stages
    for prefix in ("reconstruct-", "vary-"):
        for stage in stages:
            if stage.startswith(prefix):
                paths = (session.store.folder / path for path in stages[stage].artefacts)
                yield from (path for path in paths if is_block(path) and path.is_file())


def _of_file(registry: Registry, path: Path, name: str) -> Found:
    values = read_header(read_bytes(path, header=True), str(path))["values"]
    known = {str(value.get("id", "")): str(value.get("domain", "")) for value in values}
    if not name and len(known) == 1:
        (name,) = known
    if name not in known:
        raise UnknownName("scene", name, known, way_out="name a scene of the file", file=str(path))
    domain = registry.domain(known[name])
    scene = next(scene for scene in read_block(path, Scene, domain.world)[0] if scene.id == name)
    return Found(scene, domain, Path("runs") / "variants")


def _of_source(registry: Registry, target: str, name: str, reconstructor: str) -> Found:
    from wetoolkit.sources import open_source, window

    source = open_source(registry, target, {})
    ref = window(source, name)
    config = registry.config("dataset", source.name, source.settings)
    scenario = Loader(source.dataset, registry.step("dataset", source.name, config)).load(ref)
    use = reconstructor or _reconstructor(registry, source.domain)
    step = registry.step("reconstructor", use, registry.config("reconstructor", use, {}))
    scene = rebuild(registry.build("reconstructor", use, {}), step, scenario, None, 0)
    return Found(scene, registry.domain(source.domain), Path("runs") / "variants")


def _reconstructor(registry: Registry, domain: str) -> str:
    names = _names(registry, "reconstructor", domain)
    if REPLAY in names or len(names) == 1:
        return REPLAY if REPLAY in names else names[0]
    raise ConfigError(f"{len(names)} reconstructors serve {domain!r}", way_out=f"--reconstructor: {', '.join(names)}")


def _names(registry: Registry, kind: str, domain: str) -> list[str]:
    """Names of the parts of a kind that serve a domain."""
    offered = [entry.component for entry in registry.entries if getattr(entry.component, "kind", "") == kind]
    return sorted({part.name for part in offered if getattr(part, "domain", "") in (domain, "any")})


def controls(registry: Registry, domain: str, behaviours: Sequence[str] = ()) -> dict[str, Mapping[str, Mapping[str, Any]]]:
    """Behaviour -> its named settings, of those that have some; parts that cannot be imported have none."""
    found = {}
    for name in behaviours or _names(registry, "behaviour", domain):
        try:
            target = registry.target("behaviour", name)
        except WetoolkitError:
            if behaviours:
                raise
            continue
        if issubclass(target, SupportsPresets):
            found[name] = target.presets()
    return found


def choose(registry: Registry, domain: str, behaviour: str, asked: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """The behaviour that makes the asked controls, and their settings merged; errors name what there is."""
    if not behaviour and not asked:
        known = sorted({name for presets in controls(registry, domain).values() for name in presets})
        raise ConfigError(
            "neither a behaviour nor a control is named", way_out=f"--behaviour NAME, or --control: {', '.join(known)}"
        )
    if not asked:
        return behaviour, {}
    offered = controls(registry, domain, [behaviour] if behaviour else ())
    able = [name for name, presets in offered.items() if set(asked) <= set(presets)]
    if len(able) > 1:
        raise ConfigError(f"several behaviours offer {', '.join(asked)}", way_out=f"--behaviour: {', '.join(able)}")
    if not able:
        known = sorted({name for presets in offered.values() for name in presets})
        strange = next((name for name in asked if name not in known), asked[0])
        raise UnknownName("control", strange, known, behaviour=behaviour)
    return able[0], merged({name: offered[able[0]][name] for name in asked})


def merged(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Settings of several names as one: tables are merged, lists joined; ``ConfigError`` names two that set one key differently."""
    out: dict[str, Any] = {}
    origin: dict[tuple[str, ...], str] = {}
    for name, table in tables.items():
        _merge(out, table, name, (), origin)
    return out


def _merge(
    out: dict[str, Any], table: Mapping[str, Any], name: str, path: tuple[str, ...], origin: dict[tuple[str, ...], str]
) -> None:
    for key, value in table.items():
        here, old = (*path, key), out.get(key)
        if isinstance(value, Mapping) and isinstance(old, dict | None):
            _merge(out.setdefault(key, {}), value, name, here, origin)
        elif isinstance(value, list | tuple) and isinstance(old, list):
            out[key] = [*old, *(item for item in value if item not in old)]
        elif key in out and old != value:
            what = f"the controls {origin[here]!r} and {name!r} contradict each other in {'.'.join(here)}"
            raise ConfigError(what, **{origin[here]: old, name: value}, way_out="leave one of them out")
        else:
            out[key] = list(value) if isinstance(value, tuple) else value
        origin.setdefault(here, name)


def vary(
    registry: Registry, found: Found, behaviour: str, settings: Mapping[str, Any], count: int, seed: int, folder: Path | None = None
) -> Varied:
    """Make up to ``count`` variants, and write them with their tables."""
    part, scene = registry.build("behaviour", behaviour, settings), found.scene
    step = registry.step("behaviour", behaviour, registry.config("behaviour", behaviour, settings))
    made = part.account(scene, count, seed) if isinstance(part, SupportsAccount) else Account(tuple(part.vary(scene, count, seed)))
    made.validate()
    scenes = traced(made.scenes, step, scene, count, seed)
    rows: Sequence[Mapping[str, Any]] = made.rows or [
        {"control": one.variant, "valid": "not judged", "seed": seed} for one in scenes
    ]
    table = pl.DataFrame([{"variant": one.id, **row} for one, row in zip(scenes, rows, strict=True)], infer_schema_length=None)
    order = sorted(made.rejected.items(), key=lambda item: (-item[1], item[0]))
    rejected = pl.DataFrame(order, schema={"reason": pl.String, "times": pl.Int64}, orient="row")
    place = folder or found.folder / f"{plain(scene.id)}-{_key(scene, step, count, seed)}"
    facts = {"ids": [one.id for one in scenes], "logs": [one.log for one in scenes], "failed": [], "rejected": dict(made.rejected)}
    write_block(place / "variants.safetensors", scenes, facts)
    write_table(place / "variants.parquet", table)
    write_table(place / "rejected.parquet", rejected)
    return Varied(table, rejected, tuple(scenes), place)


def _key(scene: Scene[Any], step: Step, count: int, seed: int) -> str:
    return key_of(scene.id, [asdict(link) for link in scene.lineage.steps], asdict(step), count, seed)[:8]


__all__ = ["Found", "Varied", "choose", "controls", "find", "foresee", "merged", "vary"]
