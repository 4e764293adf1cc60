"""Finding plugins safely: entry points -> plugin modules, each in a loop of our own that loads, catches and records.

A plugin module that this machine has not seen before (by the hash of its source) is first imported in a child process with a
time-out, so one that hangs or kills its interpreter is a row with a reason and not the end of every command.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.metadata as metadata
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from wetoolkit.hooks import GROUP

CORE = "wetoolkit"
ONLY, EXTRA = "WETOOLKIT_PLUGINS", "WETOOLKIT_EXTRA_MODULES"
PROBE_SECONDS = 20.0
FORGET_SECONDS = 24 * 3600.0  # what was not safe is tried again after a day: the machine may have been busy
_SURVIVED = 77  # the child's exit code when it came to its end, whatever the plugin raised
_PROBE = f"""
import importlib, os, sys
try:
    module = importlib.import_module(sys.argv[1])
    for name in ("components", "domains"):
        list(getattr(module, name, tuple)())
except BaseException:
    pass
os._exit({_SURVIVED})
"""


@dataclass(frozen=True)
class Source:
    """One plugin module and the distribution it came with ("" version for a module that was named by hand)."""

    distribution: str
    version: str
    module: str
    requires: tuple[str, ...] = ()  # requirement strings of the distribution


@dataclass(frozen=True)
class Loaded:
    """A plugin module, or why there is none and what to do."""

    source: Source
    module: ModuleType | None = None
    reason: str = ""
    remedy: str = ""


def canonical(name: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def names_of(text: str | None) -> tuple[str, ...] | None:
    """A comma-separated environment variable as names; None where it is not set."""
    return None if text is None else tuple(canonical(name) for name in text.split(",") if name.strip())


def find(extra_modules: Sequence[str], only: Iterable[str] | None) -> Iterator[Loaded | Source]:
    """Every plugin module to load, the core first; a distribution asked for and absent is Loaded with a reason."""
    wanted = names_of(os.environ.get(ONLY)) if only is None else tuple(map(canonical, only))
    found: dict[tuple[str, str], Source] = {}
    for point in metadata.entry_points(group=GROUP):
        dist = point.dist
        name = dist.metadata["Name"] if dist else point.name
        source = Source(name, dist.version if dist else "", point.value, tuple(dist.requires or ()) if dist else ())
        if wanted is None or canonical(name) in wanted:
            found[canonical(name), point.value] = source
    yield from (found[key] for key in sorted(found, key=lambda key: (key[0] != CORE, key)))
    for name in sorted(set(wanted or ()) - {name for name, _ in found}):
        reason = "not installed, or it has no entry point in the group 'wetoolkit'"
        yield Loaded(Source(name, "", ""), reason=f"{reason} ({ONLY} asks for it)", remedy=f"pip install {name}")
    named = [name.strip() for name in os.environ.get(EXTRA, "").split(",") if name.strip()]
    yield from (Source(name, "", name) for name in dict.fromkeys([*extra_modules, *named]))


def locate(module: str) -> ModuleSpec | None:
    """The spec of a module without importing it or its packages."""
    first, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(first)
        for index in range(len(rest)):
            if spec is None or spec.submodule_search_locations is None:
                return None
            spec = PathFinder.find_spec(".".join([first, *rest[: index + 1]]), list(spec.submodule_search_locations))
    except (ImportError, ValueError, AttributeError):
        return None
    return spec


def load(sources: Sequence[Source], probe_seconds: float | None = None, again: bool = False) -> Iterator[Loaded]:
    """Import each module after it was probed; whatever goes wrong is recorded with its remedy."""
    unsafe = _probe([source for source in sources if source.distribution != CORE], probe_seconds or PROBE_SECONDS, again)
    for source in sources:
        reason = unsafe.get(source.module, "")
        remedy = "repair or uninstall it; `wetool plugins --probe` tries again"
        yield Loaded(source, reason=reason, remedy=remedy) if reason else _import(source)


def _import(source: Source) -> Loaded:
    if ":" in source.module or locate(source.module) is None:
        where = f"its entry point names {source.module!r}, which is no module that can be found"
        return Loaded(source, reason=where, remedy="correct the entry point or the name, then install it again")
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            module = importlib.import_module(source.module)
    except ModuleNotFoundError as error:
        package = install_name(error.name or str(error), source.requires)
        return Loaded(source, reason=f"import of {source.module} failed: {error}", remedy=f"pip install {package!r}")
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - also SystemExit: a plugin must not end the host
        reason = f"import of {source.module} failed: {type(error).__name__}: {error}"
        return Loaded(source, reason=reason, remedy=f"pip install -U {source.distribution}, or tell its author")
    if printed.getvalue():
        sys.modules.pop(source.module, None)  # or it would be silent, and well, the next time
        reason = f"it prints on import: {printed.getvalue().strip()[:80]!r}"
        return Loaded(source, reason=reason, remedy=f"remove the print from {source.module}; it would spoil --json")
    return Loaded(source, module)


def install_name(module: str, requires: Sequence[str]) -> str:
    """What to `pip install` for a missing module: the distribution's own requirement where one fits."""
    top = canonical(module.split(".")[0])
    fits = (text.split(";")[0].strip() for text in requires if canonical(requirement_name(text)) == top)
    return next(fits, module.split(".")[0])


def requirement_name(requirement: str) -> str:
    """The distribution's name in a requirement string such as "numba>=0.60; extra == 'x'"."""
    found = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", requirement.strip())
    return found.group() if found else requirement


def missing(requirement: str) -> bool:
    """Whether a required distribution (or, failing that, a module of its name) is absent; nothing is imported."""
    name = requirement_name(requirement)
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return locate(name.replace("-", "_")) is None
    return False


def cache_folder() -> Path:
    """The user's cache folder of this toolkit."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wetoolkit"


def _fingerprint(source: Source) -> str:
    """Hash of the plugin module, the packages it lies in, and the interpreter; "" where there is no such file."""
    parts, digest = source.module.split("."), hashlib.sha256(f"{sys.version}|{source.distribution}|{source.version}".encode())
    for end in range(1, len(parts) + 1):
        spec = locate(".".join(parts[:end]))
        if spec is None:
            return ""
        if spec.origin and Path(spec.origin).is_file():
            digest.update(spec.origin.encode() + Path(spec.origin).read_bytes())
    return digest.hexdigest()


def _probe(sources: Sequence[Source], seconds: float, again: bool) -> dict[str, str]:
    """Module -> why it is not safe to import. Children run side by side; what they found is remembered by fingerprint."""
    folder, prints = cache_folder() / "probes", {source.module: _fingerprint(source) for source in sources}
    known = {} if again else {module: _remembered(folder / f"{key}.json") for module, key in prints.items() if key}
    fresh = [module for module, key in prints.items() if key and known.get(module) is None]
    with tempfile.TemporaryDirectory() as scratch:
        children = [(module, *_start(module, Path(scratch) / str(index))) for index, module in enumerate(fresh)]
        deadline = time.monotonic() + seconds
        for module, child, output in children:
            known[module] = _verdict(child, output, max(deadline - time.monotonic(), 0.01), seconds)
            _remember(folder / f"{prints[module]}.json", module, known[module] or "")
    return {module: reason for module, reason in known.items() if reason}


def _start(module: str, output: Path) -> tuple[subprocess.Popen[bytes], Path]:
    """A child of its own session (so that all it starts can be ended) whose output goes to a file, not a pipe that could fill."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with output.open("wb") as stream:
        return subprocess.Popen(
            [sys.executable, "-c", _PROBE, module],
            stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=environment, start_new_session=True,
        ), output  # fmt: skip


def _verdict(child: subprocess.Popen[bytes], output: Path, left: float, seconds: float) -> str:
    """Why the module is not safe, "" where it is. An ordinary exception is safe: the import here will record it."""
    try:
        code = child.wait(left)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, 9)
        child.wait()
        return f"its import did not end within {seconds:g} s" + _tail(output)
    return "" if code == _SURVIVED else f"its import ended the interpreter with code {code}" + _tail(output)


def _tail(output: Path) -> str:
    text = output.read_text(errors="replace").strip().splitlines()
    return f" (last line: {text[-1][:120]!r})" if text else ""


def _remembered(path: Path) -> str | None:
    try:
        reason = str(json.loads(path.read_text())["reason"])
        return None if reason and time.time() - path.stat().st_mtime > FORGET_SECONDS else reason
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not seen before, or the cache is damaged: probe again


def _remember(path: Path, module: str, reason: str) -> None:
    with contextlib.suppress(OSError):  # a cache that cannot be written costs a probe each time, nothing else
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps({"module": module, "reason": reason}))
        temporary.replace(path)
