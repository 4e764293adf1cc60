"""The experiment: one TOML file that names the parts of a run, and the parts it builds.

In a part's table ``use`` is the component's name ("pdms", or "distribution:pdms" to choose between two of that name); all other
keys are that component's config.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic import ValidationError as PydanticError

from wetoolkit.component import ANY, Kind
from wetoolkit.config import Config
from wetoolkit.errors import ConfigError, UnknownName
from wetoolkit.kinds import SupportsReaction, SupportsReactors, SupportsRender, SupportsRenderers
from wetoolkit.types import Step

if TYPE_CHECKING:
    from wetoolkit.registry import Registry


class Part(BaseModel):
    """A component by name, with its config as the remaining keys."""

    model_config = ConfigDict(frozen=True, extra="allow")
    use: str = Field(description="name of the component, or distribution:name")

    @property
    def settings(self) -> dict[str, Any]:
        """The component's config as it stands in the file."""
        return dict(self.model_extra or {})


class BehaviourPart(Part):
    """A behaviour and how many variants it makes of each scene."""

    count: int = Field(default=1, ge=1, description="variants of each scene")
    of: Literal["all", "failures", "ordinary"] = Field(
        default="all", description="the scenes that it varies: those rebuilt for a failure, those of ordinary scenarios, or both"
    )


class Splits(Config):
    """Which splits of the data set serve for what."""

    pretrain: str = Field(description="demonstrations for the base policy")
    mine: str = Field(description="where failures are mined")
    common: str = Field(description="evaluation: ordinary scenarios")
    rare: str = Field(description="evaluation: rare scenarios")


class Limits(Config):
    """At most so many scenarios, spread evenly over the split; 0 takes all."""

    pretrain: int = Field(default=0, ge=0, description="demonstrations")
    mine: int = Field(default=0, ge=0, description="scenarios to mine in")
    common: int = Field(default=0, ge=0, description="common evaluation scenarios")
    rare: int = Field(default=0, ge=0, description="rare evaluation scenarios")
    failures: int = Field(default=0, ge=0, description="failures rebuilt in a round, the most severe first")


class Vary(Config):
    """What is varied besides the failures, and what becomes of a rebuilt scene itself."""

    logged: bool = Field(default=True, description="keep the scene as logged beside its variants")
    ordinary: int = Field(
        default=0,
        ge=0,
        description="scenarios in which nothing was mined that are rebuilt and varied too, drawn by the seed [count]",
    )
    foresee: bool = Field(
        default=False,
        description="the round's policy first drives each scene, and behaviours vary it with that drive in place of the record",
    )


class Frames(Config):
    """Which decisions become experience."""

    common_per_hard: float = Field(default=1.0, ge=0, description="common log frames for each hard one, from the same logs")
    rollout_stride: int = Field(default=1, ge=1, description="use every n-th decision of a rollout")
    terms: bool = Field(default=True, description="keep the reward's terms beside its total")
    least_trust: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="decisions of rollouts whose pictures are trusted less are left out (not known: 1)",
    )
    reject: Literal["decision", "rest"] = Field(
        default="decision", description="what is left out with such a decision: it alone, or the rest of its rollout as well"
    )
    memory: int = Field(default=1024, ge=1, description="experience held in memory while training [MiB]")


class Evaluate(Config):
    """How policies are compared. Its reward stands apart, so that another training reward cannot move the metric."""

    reward: Part = Field(description="reward that judges, as a table of its own")
    horizon: float | None = Field(default=None, gt=0, description="closed loop [s]; none: the simulator's")
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1, description="closed-loop seeds of each scene")
    closed: tuple[Literal["common", "rare"], ...] = Field(
        default=("rare",), description="splits that are also driven in closed loop"
    )
    behaviour: Part | None = Field(default=None, description="what the others do in closed loop; none: as logged")
    rare_miner: Part | None = Field(
        default=None, description="policy-independent miner that picks the rare scenes of the rare split"
    )
    policies: tuple[str, ...] = Field(default=(), description="further policies by name, with their default configs")
    reconstructors: dict[str, Part] = Field(
        default_factory=dict,
        description="further reconstructors: the base and the last policy are driven in their scenes too, and compared by pairs",
    )


class Experiment(Config):
    """The whole run, as in the file."""

    name: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*$", description="name of the run")
    seed: int = Field(default=0, ge=0, description="seed of everything")
    rounds: int = Field(default=1, ge=1, description="times from mining to post-training")
    domain: str = Field(description="domain that all parts must serve")
    chunk: int = Field(default=32, ge=1, description="items of a unit of work; results may depend on it, never on the workers")
    reference: Literal["base", "previous"] = Field(
        default="base", description="policy that post-training is held to in later rounds"
    )
    dataset: Part = Field(description="data set")
    splits: Splits = Field(description="splits of the data set")
    limits: Limits = Field(default_factory=Limits, description="sizes")
    policy: Part = Field(description="policy to train")
    pretrain: Part = Field(description="algorithm of the base policy")
    miner: Part = Field(description="miner of failures")
    reconstructor: Part = Field(description="reconstructor")
    behaviour: tuple[BehaviourPart, ...] = Field(default=(), description="behaviours that vary the traffic")
    vary: Vary = Field(default_factory=Vary, description="scene variants")
    simulator: Part = Field(description="simulator")
    reward: Part = Field(description="dense training reward")
    algorithm: Part = Field(description="algorithm of post-training")
    executor: Part = Field(default=Part(use="serial"), description="how work is spread")
    frames: Frames = Field(default_factory=Frames, description="experience")
    evaluate: Evaluate = Field(description="evaluation")
    controls: dict[str, Part] = Field(default_factory=dict, description="algorithms trained on the same experience, for comparison")


def load_experiment(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read a TOML file and apply ``key.path=value`` overrides. ``ConfigError`` names the file, the line and the nearest key."""
    try:
        text = path.read_text()
        data = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(
            f"the experiment cannot be read: {error.strerror}", file=path, way_out="give a TOML file such as docs/quickstart.toml"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"not a TOML file: {error}", file=path, way_out="correct the line it names") from error
    for override in overrides:
        data = apply_override(data, override)
    return parse_experiment(data, str(path), text)


def parse_experiment(data: Mapping[str, Any], file: str = "", text: str = "") -> Experiment:
    """Check the tables of an experiment."""
    try:
        found = Experiment.model_validate(data)
    except PydanticError as error:
        first = error.errors()[0]
        keys = [str(key) for key in first["loc"]]
        way_out = _nearest(keys) if first["type"] == "extra_forbidden" else "see docs/experiments.md and `wetool schemas`"
        raise ConfigError(
            _sentence(first, ".".join(keys)), file=file, line=_line_of(text, keys), problems=error.error_count(), way_out=way_out
        ) from error
    for number, part in enumerate(found.behaviour):
        if part.of == "ordinary" and not found.vary.ordinary:
            raise ConfigError(
                f"behaviour.{number} ({part.use}) varies ordinary scenes, of which there are none", file=file,
                line=_line_of(text, ["behaviour", "of"]), way_out='set vary.ordinary to their number, or of = "all"',
            )  # fmt: skip
    return found


def _sentence(problem: Any, key: str) -> str:
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key!r}"
    return f"missing key {key!r}" if problem["type"] == "missing" else f"{key} = {problem['input']!r}: {problem['msg']}"


def _nearest(keys: Sequence[str]) -> str:
    """The way out of a misspelt key: the keys that its table knows."""
    model: Any = Experiment
    for key in keys[:-1]:
        field = model.model_fields.get(key) if hasattr(model, "model_fields") else None
        model = field.annotation if field is not None else None
    known = list(model.model_fields) if hasattr(model, "model_fields") else list(Experiment.model_fields)
    hint = UnknownName("key", keys[-1], known)
    return f"{hint.way_out} (known: {hint.context['known']})"


def _line_of(text: str, keys: Sequence[str]) -> int | None:
    """The line of a key (or of its table) in a TOML text; None where it cannot be told."""
    table: list[str] = []
    best, depth = None, 0
    wanted = [key for key in keys if not key.isdigit()]
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[+\s*([\w.\-\"]+)\s*\]+", line)
        entry = re.match(r"\s*([\w\-\"]+)\s*=", line)
        if header:
            table = header[1].replace('"', "").split(".")
        here = table if header else [*table, entry[1].strip('"')] if entry else []
        if here and here == wanted[: len(here)] and len(here) > depth:
            best, depth = number, len(here)
    return best


def apply_override(data: Mapping[str, Any], override: str) -> dict[str, Any]:
    """``data`` with ``a.b=value`` set; the value is TOML, or a string where it is none. Numbers index into lists."""
    path, equals, text = override.partition("=")
    keys = [key.strip() for key in path.split(".")]
    if not equals or not all(keys):
        raise ConfigError(f"--set {override!r} is not key=value", way_out="write for example --set evaluate.horizon=4.0")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    changed: dict[str, Any] = _set(data, keys, value, override)
    return changed


def _set(node: Any, keys: Sequence[str], value: Any, override: str) -> Any:
    if not keys:
        return value
    if isinstance(node, list):
        if not keys[0].isdigit() or int(keys[0]) >= len(node):
            raise ConfigError(f"--set {override!r}: {keys[0]!r} is no place in a list of {len(node)}", way_out="count from 0")
        place = int(keys[0])
        return [_set(item, keys[1:], value, override) if i == place else item for i, item in enumerate(node)]
    if not isinstance(node, Mapping):
        raise ConfigError(f"--set {override!r}: there is a value, not a table, above {keys[0]!r}", way_out="shorten the key")
    return {**node, keys[0]: _set(node.get(keys[0], {}), keys[1:], value, override)}


def dump_toml(experiment: Experiment) -> str:
    """The experiment as TOML that ``load_experiment`` reads back to an equal one."""
    lines: list[str] = []
    _dump_table(experiment.model_dump(mode="json", exclude_none=True), (), lines)
    return "\n".join(lines).strip() + "\n"


def _dump_table(table: Mapping[str, Any], path: tuple[str, ...], lines: list[str]) -> None:
    nested = {key: value for key, value in table.items() if isinstance(value, Mapping) or _is_tables(value)}
    lines.extend(f"{_key(key)} = {_value(value)}" for key, value in table.items() if key not in nested)
    for key, value in nested.items():
        here = (*path, key)
        name = ".".join(_key(part) for part in here)
        for item, header in [(value, f"[{name}]")] if isinstance(value, Mapping) else [(v, f"[[{name}]]") for v in value]:
            lines.extend(["", header])
            _dump_table(item, here, lines)


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda match: f"\\u{ord(match[0]):04x}", escaped) + '"'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items()) + "}"
    return "[" + ", ".join(_value(item) for item in value) + "]" if isinstance(value, list) else repr(value)


class Parts:
    """The parts of an experiment, each imported and built when it is first asked for."""

    def __init__(self, experiment: Experiment, registry: Registry) -> None:
        self.experiment = experiment
        self.registry = registry

    def check(self) -> None:
        """Raise the first ``ConfigError``, ``UnknownName`` or ``PluginError`` that any part would raise, before anything runs."""
        for _, kind, part in self.named():
            entry = self.registry.component(kind, part.use)
            serves = getattr(entry.component, "domain", ANY)
            if serves not in (ANY, self.experiment.domain):
                raise ConfigError(
                    f"{kind} {part.use!r} serves the domain {serves!r}", experiment=self.experiment.domain,
                    distribution=entry.distribution, way_out=f"choose a {kind} of the domain, see `wetool plugins`",
                )  # fmt: skip
        _ = self.domain
        for _, kind, part in self.named():
            self.registry.check(kind, part.use, part.settings)

    def named(self) -> list[tuple[str, Kind, Part]]:
        """(role, kind, part) of every part of the experiment."""
        e = self.experiment
        found: list[tuple[str, Kind, Part | None]] = [
            ("dataset", "dataset", e.dataset), ("policy", "policy", e.policy), ("pretrain", "algorithm", e.pretrain),
            ("miner", "miner", e.miner), ("reconstructor", "reconstructor", e.reconstructor),
            ("simulator", "simulator", e.simulator), ("reward", "reward", e.reward),
            ("algorithm", "algorithm", e.algorithm), ("executor", "executor", e.executor),
            ("evaluate.reward", "reward", e.evaluate.reward), ("evaluate.behaviour", "behaviour", e.evaluate.behaviour),
            ("evaluate.rare_miner", "miner", e.evaluate.rare_miner),
        ]  # fmt: skip
        found += [(f"behaviour.{i}", "behaviour", part) for i, part in enumerate(e.behaviour)]
        found += [(f"controls.{name}", "algorithm", part) for name, part in e.controls.items()]
        found += [(f"evaluate.reconstructors.{name}", "reconstructor", part) for name, part in e.evaluate.reconstructors.items()]
        found += [(f"evaluate.policies.{name}", "policy", Part(use=name)) for name in e.evaluate.policies]
        return [(role, kind, part) for role, kind, part in found if part is not None]

    @cached_property
    def _roles(self) -> dict[str, tuple[Kind, Part]]:
        return {role: (kind, part) for role, kind, part in self.named()}

    def has(self, role: str) -> bool:
        """Whether the experiment names this part."""
        return role in self._roles

    def build(self, role: str) -> Any:
        """A fresh instance of the part of a role."""
        kind, part = self._roles[role]
        built = self.registry.build(kind, part.use, part.settings)
        built = built.with_reactors(self._reactors()) if isinstance(built, SupportsReactors) else built
        return built.with_renderers(self.renderers()) if isinstance(built, SupportsRenderers) else built

    def _reactors(self) -> dict[Step, SupportsReaction]:
        """The experiment's behaviours that can move others in closed loop, by their Lineage links."""
        found = {self.step(role): self.build(role) for role, kind, _ in self.named() if kind == "behaviour"}
        return {step: part for step, part in found.items() if isinstance(part, SupportsReaction)}

    def renderers(self) -> dict[Step, SupportsRender]:
        """The experiment's reconstructors that can show their scenes, by their Lineage links."""
        found = {self.step(role): self.build(role) for role, kind, _ in self.named() if kind == "reconstructor"}
        return {step: part for step, part in found.items() if isinstance(part, SupportsRender)}

    def step(self, role: str, seed: int | None = None) -> Step:
        """The Lineage link of a role: component, distribution, hash of its whole config, seed."""
        kind, part = self._roles[role]
        return self.registry.step(kind, part.use, self.registry.config(kind, part.use, part.settings), seed)

    def lazy(self, role: str) -> Callable[[], Any]:
        """A function that builds the part."""
        return lambda: self.build(role)

    @cached_property
    def domain(self) -> Any:
        """The domain's glue."""
        return self.registry.domain(self.experiment.domain)

    def distributions(self) -> dict[str, str]:
        """Distribution -> version of every part and of the domain, without importing any."""
        entries = [self.registry.component(kind, part.use) for _, kind, part in self.named()]
        entries.append(self.registry.domain_entry(self.experiment.domain))
        return {entry.source.distribution: entry.source.version for entry in entries}
