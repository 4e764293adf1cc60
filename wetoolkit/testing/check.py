"""A kind's contract on an installed part, without pytest: each promise kept, broken or left out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from wetoolkit import testing
from wetoolkit.component import ANY, Component, Domain
from wetoolkit.errors import ConfigError, PluginError, WetoolkitError
from wetoolkit.kinds import SupportsPrepare
from wetoolkit.registry import Entry, Registry, imported
from wetoolkit.testing.contracts import Contract, skipped
from wetoolkit.testing.examples import Examples

KEPT, BROKEN, LEFT_OUT = "kept", "broken", "left out"
TORCH = 1e-5  # what a batch may differ from its singles by where a part computes in float32


@dataclass(frozen=True)
class Verdict:
    """What became of one promise."""

    promise: str
    state: str  # "kept", "broken", "left out"
    how: str
    seconds: float


@dataclass(frozen=True)
class Wanted:
    """What is to be checked, and with what."""

    kind: str
    name: str
    settings: Mapping[str, Any]
    domain: str = ""  # whose examples; "" is the part's own, or the only one
    policy: str = ""  # instead of the examples' own
    reward: str = ""


class Given:
    """A part of the registry and the examples of its domain: what a contract is filled in with.

    Raises ``ConfigError`` or ``UnknownName`` for settings, a policy or a reward that cannot be.
    """

    def __init__(self, registry: Registry, wanted: Wanted) -> None:
        self.registry, self.wanted = registry, wanted
        is_domain = wanted.kind == "domain"
        self.entry: Entry = registry.domain_entry(wanted.name) if is_domain else registry.component(wanted.kind, wanted.name)
        if wanted.settings and is_domain:
            raise ConfigError("a domain has no settings", part=self.entry.label, way_out="leave out --set")
        if wanted.settings:  # what the caller got wrong is no promise that the part broke
            registry.config(wanted.kind, wanted.name, wanted.settings)
        for kind, name in (("policy", wanted.policy), ("reward", wanted.reward)):
            if name:
                registry.component(kind, name)

    @cached_property
    def examples(self) -> Examples[Any] | None:
        """The domain's examples; None for kinds that need none (dataset, executor)."""
        if self.wanted.kind in ("dataset", "executor"):
            return None
        return examples_of(self.registry, self._domain())

    def _domain(self) -> str:
        part = self.entry.component
        own = part.domain if isinstance(part, Component) else part.name
        if self.wanted.domain or own != ANY:
            return self.wanted.domain or own
        offered = sorted(
            e.component.name for e in self.registry.entries if isinstance(e.component, Domain) and e.component.examples
        )
        if len(offered) != 1:
            what = f"{self.entry.label} serves any domain: on the examples of which is it to be tried?"
            raise PluginError(what, domains_with_examples=", ".join(offered) or "none", way_out="--domain NAME")
        return offered[0]

    def part(self) -> Any:
        """A fresh part, prepared where it must see demonstrations first."""
        if isinstance(self.entry.component, Domain):
            return imported(self.entry, self.entry.component.target)()
        return self._prepared(self.registry.build(self.wanted.kind, self.wanted.name, self.wanted.settings))

    def policy(self) -> Any:
        """Who acts or is trained: the policy that was asked for, or one of the examples."""
        if self.wanted.policy:
            return self._prepared(self.registry.build("policy", self.wanted.policy, {}))
        assert self.examples is not None
        return self.examples.learner() if self.wanted.kind == "algorithm" else self.examples.policy()

    def reward(self) -> Any:
        """Who judges."""
        assert self.examples is not None
        return self.registry.build("reward", self.wanted.reward, {}) if self.wanted.reward else self.examples.reward()

    def _prepared(self, part: Any) -> Any:
        return part.prepare(self._demonstrations(part), 0) if isinstance(part, SupportsPrepare) else part

    def _demonstrations(self, policy: Any) -> Any:
        assert self.examples is not None
        return self.examples.demonstrations(policy)


def examples_of(registry: Registry, domain: str) -> Examples[Any]:
    """A domain's examples; ``PluginError`` with the way out where it has none."""
    entry = registry.domain_entry(domain)
    assert isinstance(entry.component, Domain)
    if not entry.component.examples:
        way_out = "its author announces Domain(..., examples=...), or use --domain"
        raise PluginError(
            f"the domain {domain!r} has no examples to try parts on", distribution=entry.distribution, way_out=way_out
        )
    found = imported(entry, entry.component.examples)()
    if not isinstance(found, Examples):
        what = f"{entry.component.examples} of the domain {domain!r} is no wetoolkit.testing.Examples"
        raise PluginError(what, distribution=entry.distribution, way_out="subclass wetoolkit.testing.Examples")
    return found


def check(given: Given) -> Iterator[Verdict]:
    """Every promise of the plugin module that announces a part, then those of the part's kind, each as soon as it is tried."""
    module = type("Check", (testing.PluginContract,), {"module": given.entry.source.module})
    yield from promises(module())
    yield from promises(_contract(given))


def _contract(given: Given) -> Any:
    """The contract of the kind, filled in."""
    contract = getattr(testing, f"{given.wanted.kind.capitalize()}Contract")
    methods: dict[str, Any] = {"make": lambda self: given.part(), "examples": given.examples}
    if given.wanted.kind in ("miner", "simulator", "algorithm"):
        methods["policy"] = lambda self: given.policy()
    if given.wanted.kind == "miner":
        methods["reward"] = lambda self: given.reward()
    if issubclass(contract, Contract) and "torch" in _packages(given):
        methods["tolerance"] = TORCH
    return type("Check", (contract,), methods)()


def _packages(given: Given) -> set[str]:
    """The names of the packages that the part's distribution asks for."""
    from wetoolkit.discovery import requirement_name

    return {requirement_name(text) for text in given.entry.source.requires}


def promises(contract: Any) -> Iterator[Verdict]:
    """Every ``test_`` of a contract, in the order it is written."""
    order = [name for cls in reversed(type(contract).__mro__) for name in vars(cls) if name.startswith("test_")]
    for name in dict.fromkeys(order):
        began = time.perf_counter()
        state, how = _outcome(getattr(contract, name))
        yield Verdict(name.removeprefix("test_").replace("_", " "), state, how, time.perf_counter() - began)


def _outcome(test: Any) -> tuple[str, str]:
    try:
        test()
    except skipped() as reason:
        return LEFT_OUT, str(reason)
    except AssertionError as error:
        return BROKEN, str(error)
    except NotImplementedError as error:
        return BROKEN, f"not written yet: {error}"
    except WetoolkitError as error:
        return BROKEN, str(error)
    except Exception as error:  # noqa: BLE001 - a stranger's code may raise anything
        return BROKEN, f"{type(error).__name__}: {error}"
    return KEPT, ""
