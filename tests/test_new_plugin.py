"""`wetool plugins new` for every kind; and one written out, built as a wheel, installed, run in a loop, and removed again."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from fresh_venv import FreshVenv

from wetoolkit import cli, conformity, discovery
from wetoolkit.component import CONTRACT, KINDS
from wetoolkit.scaffold import scaffold

ROOT = Path(cli.__file__).parents[2]
TOY = "wetoolkit.testing.plugin"
SCORE = """        plans = np.broadcast_to(proposals, (len(situations), *proposals.shape[-3:]))
        return self._scores(plans[..., -1, 0] / 4)
"""
JUDGE = """        moved = [r.world.body[r.end - 1, 0] - r.world.body[r.clock.now, 0] for r in rollouts]
        return self._scores(np.array(moved, float) / 40)

    def _scores(self, forward: Float) -> Scores:
        total = np.clip(self.config.strength * forward, 0, 1)
        return Scores(self.metric, total, total > 0.1, {"forward": Term(total, Role.WEIGHTED, 1.0)})
"""


@pytest.fixture(autouse=True)
def core_and_toy(monkeypatch, tmp_path):
    monkeypatch.setenv(discovery.ONLY, "wetoolkit,wetoolkit-haste")
    monkeypatch.setenv(discovery.EXTRA, TOY)
    monkeypatch.chdir(tmp_path)


def new(kind, name, *options):
    served = () if kind in ("domain", "executor") else ("--domain", "toy")
    return cli.execute(["plugins", "new", kind, name, *served, *options])


def pytest_in(folder, **environment):
    """What pytest says about a plugin's own tests."""
    settings = {**os.environ, "PYTHONPATH": os.pathsep.join([".", *filter(None, sys.path)]), **environment}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    return subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, timeout=300).stdout


@pytest.mark.parametrize("kind", [*KINDS, "domain"])
def test_a_new_part_of_each_kind_has_the_shape_of_ours(kind, tmp_path, monkeypatch, capsys):
    assert new(kind, "my-own") == cli.OK
    assert f"wetool plugins check {kind}/my-own" in capsys.readouterr().out
    folder = tmp_path / "wetoolkit-my-own"
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["wetoolkit"] == {"my-own": "wetoolkit_my_own.plugin"}
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    due = {"pyproject.toml", "README.md", "wetoolkit_my_own/__init__.py", "wetoolkit_my_own/plugin.py", "wetoolkit_my_own/py.typed"}
    assert due | {f"wetoolkit_my_own/{kind}.py", f"tests/test_{kind}.py"} <= files
    assert not re.search(r"\$\w", "".join(path.read_text() for path in folder.rglob("*.*")))
    monkeypatch.syspath_prepend(str(folder))
    try:
        module = __import__(f"wetoolkit_my_own.{kind}", fromlist=["MyOwn"])
        assert conformity.problems(kind, module.MyOwn) == []
        assert cli.execute(["plugins", f"{kind}/my-own", "--json", "--plugin", "wetoolkit_my_own.plugin"]) == cli.OK
        shown = json.loads(capsys.readouterr().out)
        assert shown["state"] == "ok" and shown["implemented in"] == module.__file__
        assert kind == "domain" or (shown["contract"] == CONTRACT and shown["settings"][0]["unit"] == "1")
    finally:
        for name in [name for name in sys.modules if name.startswith("wetoolkit_my_own")]:
            del sys.modules[name]


@pytest.mark.parametrize("kind", ["reward", "domain"])
def test_its_tests_fail_and_say_what_to_write_next(kind, tmp_path, capsys):
    assert new(kind, "my-own") == cli.OK
    said = pytest_in(tmp_path / "wetoolkit-my-own")
    assert re.search(r"\d+ failed", said) and "error" not in said.splitlines()[-1]
    part = {
        "reward": "MyOwn.score in wetoolkit_my_own/reward.py",
        "domain": "MyOwnExamples.scenarios in wetoolkit_my_own/examples.py",
    }
    assert f"write next: {part[kind]}" in said
    assert "write next: a test of what only MyOwn promises" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rewards", "mine"], "did you mean 'reward'"),
        (["reward", "Mine"], "lower case"),
        (["reward", "toy"], "offered already"),
        (["reward", "mine", "--domain", "toi"], "did you mean 'toy'"),
        (["executor", "mine", "--domain", "toy"], "leave out --domain"),
    ],
)
def test_bad_input_says_the_way_out(arguments, said, capsys):
    assert cli.execute(["plugins", "new", *arguments]) == cli.BAD_INPUT
    assert said in capsys.readouterr().err


def test_nothing_is_overwritten(capsys, tmp_path):
    assert new("reward", "mine") == cli.OK
    assert new("reward", "mine") == cli.BAD_INPUT
    assert "already" in capsys.readouterr().err


def test_a_name_that_is_a_word_of_python_gets_another_class():
    from wetoolkit.registry import load_registry

    registry = load_registry()
    made = scaffold(registry, "reward", "none", registry.domain_entry("toy").component)
    assert "class NonePart:" in made["wetoolkit_none/reward.py"]


def write_out(folder):
    """Fill in the new reward as its failing tests ask."""
    path = folder / "wetoolkit_haste" / "reward.py"
    pattern = r" +raise NotImplementedError\([^)]*\.{}[^)]*\)\n"
    text = re.sub(pattern.format("score"), lambda _: SCORE, path.read_text())
    text = re.sub(pattern.format("judge"), lambda _: JUDGE, text)
    text = text.replace("from pydantic", "import numpy as np\nfrom pydantic").replace(
        "import Float, Metric,", "import Float, Metric, Role, Term,"
    )
    path.write_text(text)
    test = folder / "tests" / "test_reward.py"
    own = "    assert (TestHaste().make().score(TestHaste.examples.situations(), TestHaste.examples.proposals()).total <= 1).all()"
    test.write_text(re.sub(r" +raise NotImplementedError\([^)]*\)", own, test.read_text()))


def test_a_wheel_of_a_new_plugin_runs_a_loop_in_a_fresh_environment(tmp_path, capsys):
    assert new("reward", "haste") == cli.OK
    folder = tmp_path / "wetoolkit-haste"
    write_out(folder)
    said = pytest_in(folder)
    assert "failed" not in said and "passed" in said, said[-3000:]

    fresh = FreshVenv(tmp_path / "fresh")
    listed = {row["name"] for row in json.loads(fresh.wetool("plugins", "reward", "--json"))}
    assert "haste" not in listed
    fresh.install(folder)
    (row,) = [row for row in json.loads(fresh.wetool("plugins", "reward", "--json")) if row["name"] == "haste"]
    assert (row["state"], row["distribution"], row["version"], row["domain"]) == ("ok", "wetoolkit-haste", "0.1.0", "toy")
    verdicts = json.loads(fresh.wetool("plugins", "check", "reward/haste", "--json"))
    broken = [verdict for verdict in verdicts if verdict["state"] == "broken"]
    assert len(verdicts) > 20 and not broken, broken
    settings = ["--set", "reward.use=haste", "--set", "evaluate.reward.use=haste", "--set", "dataset.logs=4"]
    settings += ["--set", "miner.least=0.9"]
    done = json.loads(fresh.wetool("run", str(ROOT / "docs" / "toy.toml"), "--out", str(tmp_path / "run"), *settings, "--json"))
    assert done["complete"] and not done["failed"] and "haste-0.1" in json.dumps(done["results"])
    manifest = (tmp_path / "run" / "manifest.json").read_text()
    assert "wetoolkit-haste" in manifest
    fresh.uninstall("wetoolkit-haste")
    assert "haste" not in {row["name"] for row in json.loads(fresh.wetool("plugins", "reward", "--json"))}
    code, _, err = fresh.attempt("-c", "from wetoolkit.cli import main; main()", "run", str(tmp_path / "run"))
    assert code == cli.BAD_INPUT and "'haste'" in err
