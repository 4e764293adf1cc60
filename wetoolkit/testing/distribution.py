"""Contract of a distribution's plugin module: light and silent, and what it announces is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from wetoolkit import hooks
from wetoolkit.component import CONTRACT, Component
from wetoolkit.config import Config
from wetoolkit.conformity import problems
from wetoolkit.errors import PluginError
from wetoolkit.registry import BROKEN, Registry, imported, load_registry
from wetoolkit.testing.contracts import promise

# What no plugin module may import: each takes longer than the whole start of `wetool` may.
HEAVY = frozenset(
    (
        *("PIL", "cv2", "gymnasium", "jax", "matplotlib", "numba", "numpy", "pandas", "polars"),
        *("pyarrow", "pydantic", "ray", "scipy", "shapely", "sklearn", "tensorflow", "torch"),
    )
)
QUIET = 0.05  # seconds that the core's own imports take on an ordinary machine with nothing else to do
_MEASURE = """
import json, sys, time
begun = time.perf_counter()
import wetoolkit.hooks, wetoolkit.component
before, start = set(sys.modules), time.perf_counter()
__import__(sys.argv[1])
seconds = time.perf_counter() - start
print()
print(json.dumps({"seconds": seconds, "core": start - begun, "modules": sorted(set(sys.modules) - before)}))
"""


@dataclass(frozen=True)
class Imported:
    """One import of a module in a fresh interpreter that has imported what the core's announcements need."""

    seconds: float
    core: float  # seconds of the core's own imports, just before: how fast this machine is now
    modules: frozenset[str]  # top-level names that it brought in


def import_afresh(module: str) -> Imported:
    """Import a module in a child; ``PluginError`` with the end of its output where that fails."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", _MEASURE, module]
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        raise PluginError(f"import of {module} did not end within 60 s", way_out="import nothing heavy there") from None
    if done.returncode:
        raise PluginError(f"import of {module} failed: {done.stderr.strip()[-300:]}", way_out="repair it")
    found = json.loads(done.stdout.splitlines()[-1])
    return Imported(found["seconds"], found["core"], frozenset(name.split(".")[0] for name in found["modules"]))


class PluginContract:
    """``module`` is a plugin module by name, such as "wetoolkit_mine.plugin"."""

    module: str = ""
    limit: float = 0.05  # seconds beyond the core's own imports
    tries: int = 3  # the best counts

    def given(self) -> str:
        """The module's name."""
        if not self.module:
            raise NotImplementedError('module = "wetoolkit_mine.plugin"')
        return self.module

    def registry(self) -> Registry:
        """What is installed, and this module if it is not."""
        registry = load_registry()
        known = {entry.source.module for entry in registry.entries} | {item.source.module for item in registry.broken}
        return registry if self.given() in known else load_registry([self.given()])

    def parts(self) -> list[Any]:
        """The entries that this module announces."""
        return [entry for entry in self.registry().entries if entry.source.module == self.given()]

    def test_imports_fast(self) -> None:
        tried = [import_afresh(self.given()) for _ in range(self.tries)]
        best = min(tried, key=lambda one: one.seconds / max(one.core, QUIET))
        allowed = self.limit * max(1.0, best.core / QUIET)  # a machine that is slow or busy is so for the core as well
        how = f"{1000 * best.seconds:.0f} ms beyond the core's, at most {1000 * allowed:.0f}"
        promise(best.seconds <= allowed, "plugin module imports fast", how)

    def test_imports_nothing_heavy(self) -> None:
        heavy = sorted(import_afresh(self.given()).modules & HEAVY)
        promise(not heavy, "plugin module imports nothing heavy", f"{', '.join(heavy)}; name parts by strings instead")

    def test_announces_what_the_core_understands(self) -> None:
        name = "announces what the core understands"
        broken = [item.reason for item in self.registry().broken if item.source.module == self.given()]
        broken += [entry.reason for entry in self.parts() if entry.state == BROKEN]
        promise(not broken, name, "; ".join(broken))
        promise(bool(self.parts()) or _observes(self.given()), name, "it announces no part and has no hook")

    def test_contract_version_is_stamped(self) -> None:
        bare = [e.label for e in self.parts() if isinstance(e.component, Component) and not e.component.contract]
        promise(not bare, "contract version is stamped", f'{", ".join(bare)}: write contract="{CONTRACT}" into the Component')

    def test_targets_have_the_methods_of_their_kind(self) -> None:
        for entry in self.parts():
            name = "targets have the methods of their kind"
            try:
                target = imported(entry, entry.component.target)
                model = imported(entry, entry.component.config) if isinstance(entry.component, Component) else Config
            except PluginError as error:
                promise(False, name, str(error))
            found = problems(entry.label.split("/")[0], target) if isinstance(target, type) else []
            promise(not found, name, f"{entry.label}: {'; '.join(found)}")
            promise(isinstance(model, type) and issubclass(model, Config), name, f"{entry.label}: {model!r} is no Config")


def _observes(module: str) -> bool:
    """Whether a module implements a hook that only watches."""
    found = __import__(module, fromlist=["hooks"])
    return any(hasattr(getattr(found, name, None), f"{hooks.GROUP}_impl") for name in hooks.WATCHING)
