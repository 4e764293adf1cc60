"""The docs are true: marked blocks run, named functions exist, links lead somewhere, experiments parse."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from wetoolkit.experiment import load_experiment

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAME = re.compile(r"`((?:wetoolkit)[\w.]*):([A-Za-z_][\w.]*)`")


def blocks(page: Path, marker: str) -> list[tuple[str, str, str]]:
    """(language, what follows it, text) of the fenced blocks whose first line has the marker."""
    return [found for found in FENCE.findall(page.read_text()) if marker in found[1]]


def execute(script: str, folder: Path, language: str = "bash", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a block in a folder, with this Python first on the path."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = ["bash", "-euo", "pipefail", "-c", script] if language == "bash" else [sys.executable, "-c", script]
    settings = {**os.environ, "PATH": path, **environment}
    done = subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, f"{script}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder that sees the docs as the repository's root does."""
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    return tmp_path


RUN = [
    "behaviour.md",
    "camera.md",
    "cli.md",
    "formats.md",
    "minitown.md",
    "nuplan.md",
    "pdm.md",
    "quickstart.md",
    "simulator.md",
    "splat.md",
    "statistics.md",
    "traffic.md",
]
BLIND = pytest.mark.skipif(importlib.util.find_spec("embreex") is None, reason="embreex is not installed")


@pytest.mark.parametrize("name", [*RUN, pytest.param("sensors.md", marks=BLIND)])
def test_marked_blocks_run(name: str, folder: Path) -> None:
    """One script a page, so that later blocks see what earlier ones exported and made."""
    found = blocks(ROOT / "docs" / name, "run")
    assert found
    for language in ("bash", "python"):
        script = "\n".join(text for of, _, text in found if of == language)
        if script:
            execute(script, folder, language)


def test_another_domain_is_gone_through_from_top_to_bottom(folder: Path) -> None:
    pytest.importorskip("wetoolkit_crowd", reason="the page goes through contrib/wetoolkit-crowd")
    for language in ("python", "bash"):
        script = "\n".join(text for of, _, text in blocks(ROOT / "docs" / "another-domain.md", "run") if of == language)
        done = execute(script, folder, language, WETOOLKIT_PLUGINS="wetoolkit,wetoolkit-learning,wetoolkit-crowd")
    assert "personal" in done.stdout


def test_the_plugin_of_the_docs_works_as_installed(tmp_path: Path) -> None:
    pytest.importorskip("wetoolkit_driving", reason="the page writes a policy for driving")
    page = ROOT / "docs" / "write-a-plugin.md"
    files = blocks(page, "file=")
    for _, name, text in files:
        target = tmp_path / name.split("file=")[1].strip()
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    install(tmp_path)
    script = "\n".join(text for language, _, text in blocks(page, "run") if language == "bash")
    for language, _, text in blocks(page, "run"):
        if language == "python":
            execute(text, tmp_path, language)
    plugins = ",".join(["wetoolkit", "wetoolkit-driving", "wetoolkit-cautious"])
    done = execute(script, tmp_path, PYTHONPATH=str(tmp_path), WETOOLKIT_PLUGINS=plugins)
    assert "deceleration" in done.stdout
    assert "passed" in done.stdout


def test_the_scorer_of_the_docs_conforms(tmp_path: Path) -> None:
    pytest.importorskip("wetoolkit_driving", reason="the page scores driving")
    page = ROOT / "docs" / "conformance.md"
    for _, name, text in blocks(page, "file="):
        (tmp_path / name.split("file=")[1].strip()).write_text(text)
    script = "\n".join(text for _, _, text in blocks(page, "run"))
    done = execute(script, tmp_path, WETOOLKIT_PLUGINS="wetoolkit,wetoolkit-driving")
    assert "0 failed" in done.stdout and (tmp_path / "runs" / "conformance" / "reward-pdms-my_scorer.json").is_file()


def install(folder: Path) -> None:
    """What `pip install -e .` leaves behind: the metadata by which the entry point is found."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    stem = f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    (folder / stem).mkdir()
    (folder / stem / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    (entry,) = project["entry-points"]["wetoolkit"].items()
    (folder / stem / "entry_points.txt").write_text(f"[wetoolkit]\n{entry[0]} = {entry[1]}\n")
    (folder / "__init__.py").unlink(missing_ok=True)


def names() -> list[str]:
    """Every `module:name` in the docs."""
    return sorted({f"{module}:{name}" for page in PAGES for module, name in NAME.findall(page.read_text())})


@pytest.mark.parametrize("name", names())
def test_named_functions_exist(name: str) -> None:
    module, _, path = name.partition(":")
    distribution = module.split(".")[0]
    if distribution != "wetoolkit":
        pytest.importorskip(distribution, reason="its plugin is not installed")
    value = importlib.import_module(module)
    for part in path.split("."):
        value = getattr(value, part)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("file", sorted((ROOT / "docs").glob("*.toml")), ids=lambda file: file.name)
def test_experiments_parse(file: Path) -> None:
    assert load_experiment(file).name


def test_every_command_has_an_example() -> None:
    from wetoolkit.cli import COMMANDS

    text = (ROOT / "docs" / "cli.md").read_text()
    assert [name for name in COMMANDS if not re.search(rf"wetool {name}\b", text)] == []


def test_every_key_of_an_experiment_is_explained() -> None:
    from wetoolkit.experiment import Experiment

    text = (ROOT / "docs" / "experiments.md").read_text()
    assert [name for name in Experiment.model_fields if not re.search(rf"[`\[]{name}[`\].]", text)] == []
