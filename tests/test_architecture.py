"""What must not drift: words, layers, lengths, and what is imported when."""

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import wetoolkit

ROOT = Path(wetoolkit.__file__).parent
HOME = ROOT.parent
BANNED = re.compile(r"\b(lane|ego|vehicle|nuplan)s?\b", re.IGNORECASE)
LONGEST = 420  # lines of a module
HEAVY = {"torch", "numpy", "numba", "scipy", "shapely", "polars", "pydantic", "pandas", "pyogrio", "matplotlib"}
CORE = sorted(ROOT.rglob("*.py"))
SOURCES = sorted([*CORE, *(path for where in ("plugins", "contrib") for path in (HOME / where).glob("*/wetoolkit_*/**/*.py"))])
PLUGINS = sorted(path for where in ("plugins", "contrib") for path in (HOME / where).glob("*/wetoolkit_*/plugin.py"))


def name(path):
    return path.relative_to(HOME).as_posix()


@pytest.mark.parametrize("path", CORE, ids=name)
def test_the_core_speaks_of_no_domain(path):
    found = [f"{number}: {line.strip()}" for number, line in enumerate(path.read_text().splitlines(), 1) if BANNED.search(line)]
    assert not found, "words of a domain in the core"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_modules_stay_readable(path):
    lines = path.read_text().splitlines()
    assert len(lines) <= LONGEST, f"{len(lines)} lines; split it"
    assert ast.get_docstring(ast.parse("\n".join(lines))) or not lines, "no docstring"


@pytest.mark.parametrize("path", CORE, ids=name)
def test_public_names_of_the_core_are_documented(path):
    tree = ast.parse(path.read_text())
    kinds = (ast.FunctionDef, ast.ClassDef)
    public = [node for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]
    assert not [node.name for node in public if not ast.get_docstring(node)]


@pytest.mark.skipif(shutil.which("lint-imports", path=Path(sys.executable).parent) is None, reason="import-linter is not installed")
@pytest.mark.skipif(not all(path.exists() for path in PLUGINS) or not PLUGINS, reason="no checkout with plugins")
def test_imports_run_downwards_only():
    if os.environ.get("WETOOLKIT_PLUGINS"):
        pytest.skip("plugins are hidden")
    absent = [path.parent.name for path in PLUGINS if importlib.util.find_spec(path.parent.name) is None]
    if absent:
        pytest.skip(f"not installed: {', '.join(absent)}")
    done = subprocess.run([Path(sys.executable).parent / "lint-imports"], cwd=HOME, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


def imported(code):
    """Top-level modules in a fresh interpreter after some code."""
    code = f"{code}\nimport sys, json; print(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_help_imports_nothing_heavy():
    code = "from wetoolkit.cli import execute\nassert execute(['--help']) == 0"
    assert imported(code) & {*HEAVY, "pluggy", "psutil", "pebble", "rich"} == set()


@pytest.mark.parametrize("module", ["wetoolkit.plugin", "wetoolkit.registry", "wetoolkit.workers"])
def test_light_modules_of_the_core_import_nothing_heavy(module):
    assert imported(f"import {module}") & HEAVY == set()


@pytest.mark.parametrize("path", PLUGINS, ids=name)
def test_plugin_modules_import_nothing_heavy(path):
    package = path.parent.name
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    assert imported(f"import {package}.plugin") & HEAVY == set()
