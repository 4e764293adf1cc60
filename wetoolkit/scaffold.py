"""A new plugin's distribution from the templates: what `wetool plugins new` writes."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from string import Template

from wetoolkit.component import ANY, CONTRACT, Domain
from wetoolkit.errors import ConfigError, StoreError
from wetoolkit.registry import Registry

ALONE = ("domain", "executor")  # kinds that serve no domain of others
OWN_INPUTS = ("dataset", "executor")  # kinds whose contract needs no examples
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def choose_domain(registry: Registry, kind: str, asked: str) -> Domain | None:
    """The domain that a new part serves: the one asked for, or the only one there is; None for kinds that serve none."""
    if kind in ALONE:
        if asked:
            raise ConfigError(f"a new {kind} serves no domain of others", asked=asked, way_out="leave out --domain")
        return None
    known = [entry.component for entry in registry.entries if isinstance(entry.component, Domain)]
    if asked:
        found = registry.domain_entry(asked).component
        assert isinstance(found, Domain)
        return found
    if len(known) != 1:
        names = ", ".join(domain.name for domain in known) or "none"
        raise ConfigError(f"which domain is the new {kind} for?", domains=names, way_out="--domain NAME")
    return known[0]


def check_name(registry: Registry, kind: str, name: str) -> None:
    """Raise ``ConfigError`` for a name that is no good, or that somebody offers already."""
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is no name for a plugin", way_out="lower case letters and digits, with single dashes between")
    offered = [e.distribution for e in registry.entries if e.label == f"{kind}/{name}"]
    if offered:
        raise ConfigError(f"{kind}/{name} is offered already", distribution=", ".join(offered), way_out="choose another name")


def scaffold(registry: Registry, kind: str, name: str, domain: Domain | None) -> dict[str, str]:
    """File (relative to the distribution's folder) -> text."""
    words = _words(registry, kind, name, domain)
    package, announcement = words["package"], "plugin.domain.py" if kind == "domain" else "plugin.py"
    templates = {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        f"{package}/plugin.py": announcement,
        f"{package}/{kind}.py": f"{kind}.py",
        f"tests/test_{kind}.py": "test.py",
    }
    if kind == "domain":
        templates[f"{package}/examples.py"] = "examples.py"
    made = {file: _filled(template, words) for file, template in templates.items()}
    return {
        **made,
        f"{package}/__init__.py": f'"""{words["distribution"]}: see {package}/{kind}.py."""\n',
        f"{package}/py.typed": "",
    }


def write(folder: Path, made: Mapping[str, str]) -> None:
    """Put the files into a folder that does not exist yet."""
    if folder.exists():
        raise StoreError("there is such a folder already", folder=folder, way_out="choose another name or --into")
    try:
        for name, text in made.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError("the plugin cannot be written", folder=folder, reason=error, way_out="choose another --into") from error


def _filled(template: str, words: Mapping[str, str]) -> str:
    text = (files("wetoolkit") / "templates" / f"{template}.tmpl").read_text(encoding="utf-8")
    return Template(text).substitute(words)


def _words(registry: Registry, kind: str, name: str, domain: Domain | None) -> dict[str, str]:
    """What stands for each $word of the templates."""
    title = "".join(part.capitalize() for part in name.split("-"))
    title += "Part" if keyword.iskeyword(title) else ""
    package = f"wetoolkit_{name.replace('-', '_')}"
    served = domain.name if domain else ANY
    words = {
        "kind": kind, "name": name, "short": name, "Class": title, "package": package, "module": kind,
        "distribution": f"wetoolkit-{name}", "domain": served, "contract": CONTRACT,
        "article": "An" if kind[0] in "aeiou" else "A", "Contract": f"{kind.capitalize()}Contract",
        "config": "" if kind == "domain" else f"{title}Config()", "serves": f" (domain: {served})" if domain else "",
        "requires": _requires(registry, domain),
    }  # fmt: skip
    return {**words, **_given(words, domain)}


def _given(words: Mapping[str, str], domain: Domain | None) -> dict[str, str]:
    """The test's imports, and the line that says what the part is tried on."""
    kind, package, title = words["kind"], words["package"], words["Class"]
    examples = f"{package}.examples:{title}Examples" if kind == "domain" else domain.examples if domain else ""
    needed = bool(examples) and kind not in OWN_INPUTS
    names = title if kind == "domain" else f"{title}, {title}Config"
    contracts = ", ".join(sorted([words["Contract"], "PluginContract"]))
    theirs, own = [f"from wetoolkit.testing import {contracts}"], [f"from {package}.{kind} import {names}"]
    if needed:
        module, examples_class = examples.split(":")
        (own if kind == "domain" else theirs).append(f"from {module} import {examples_class}")
    given = f"    examples = {examples.split(':')[1]}()\n\n" if needed else ""
    if not examples and kind not in OWN_INPUTS:
        assert domain is not None
        given = f"    # the domain {domain.name!r} has no examples: write the methods that the failing tests name\n\n"
    return {"imports": "\n".join([*theirs, "", *own]) + "\n", "given": given}


def _requires(registry: Registry, domain: Domain | None) -> str:
    """The distributions that a part needs, as TOML strings: the core, and the one that defines its domain."""
    needed = ["wetoolkit>=0.1,<1"]
    if domain is not None:
        source = registry.domain_entry(domain.name).source
        needed += [source.distribution] if source.version and source.distribution != "wetoolkit" else []
    return ", ".join(f'"{text}"' for text in needed)
