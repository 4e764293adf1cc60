"""A shelf of bad plugins is installed: each is a row with its reason, and what is good goes on working."""

import json
import sys

import pytest

from wetoolkit import cli, discovery

TOY = "wetoolkit.testing.plugin"
HEAD = """
from wetoolkit.component import Component
from wetoolkit.hooks import hookimpl

def reward(name, target="parts:Part", config="parts:PartConfig", **changes):
    here = __name__.rsplit(".", 1)[0] + "."
    values = dict(kind="reward", name=name, domain="toy", summary="a reward", contract="1.1")
    target, config = (text if text.startswith("wetoolkit.") else here + text for text in (target, config))
    return Component(**{**values, "target": target, "config": config, **changes})

@hookimpl
def components():
    return [%s]
"""
PARTS = """
from dataclasses import replace
import numpy as np
from pydantic import Field
from wetoolkit.config import Config
from wetoolkit.testing.fakes import ToyReward, ToyRewardConfig

class PartConfig(ToyRewardConfig):
    pass

class Part(ToyReward):
    pass
"""
# distribution -> (plugin.py, parts.py, where it is told, the reason that must be given)
LISTED, IMPORTED, CHECKED = "wetool plugins", "wetool plugins --check", "wetool plugins check"
SHELF = {
    "bad-raises": ("raise RuntimeError('no luck')", "", LISTED, "RuntimeError: no luck"),
    "bad-hangs": ("import time; time.sleep(600)", "", LISTED, "did not end within"),
    "bad-prints": ("print('hello')\n" + HEAD % "reward('prints')", PARTS, LISTED, "prints on import: 'hello'"),
    "bad-hook": (HEAD.replace("components()", "components(config)") % "", "", LISTED, "components"),
    "bad-kind": (HEAD % "reward('kind', kind='rewards')", PARTS, LISTED, "none of dataset"),
    "bad-contract": (HEAD % "reward('contract', contract='2.0')", PARTS, LISTED, "built for contract 2.0"),
    "bad-twin": (HEAD % "reward('good')", PARTS, LISTED, "also offered by good-one 1.0"),
    "bad-signature": (
        HEAD % "reward('signature')",
        PARTS + "    def score(self, situations):\n        return None\n",
        IMPORTED,
        "does not take score(situations, proposals)",
    ),
    "bad-part": (
        HEAD % "reward('part', target='wetoolkit.testing.fake_learning:ToyStraight')",
        PARTS,
        IMPORTED,
        "it has no method score",
    ),
    "bad-silent": (
        HEAD % "reward('silent')",
        PARTS.replace("(ToyRewardConfig):\n    pass", "(Config):\n    radius: float = 0.6"),
        IMPORTED,
        "no description of its settings radius",
    ),
    "bad-shapes": (
        HEAD % "reward('shapes')",
        PARTS
        + "    def score(self, situations, proposals):\n"
        + "        scores = super().score(situations, proposals)\n"
        + "        return replace(scores, total=scores.total[:, :1])\n",
        CHECKED,
        "broken promise: scores are valid",
    ),
    "bad-manners": (
        HEAD % "reward('manners')",
        PARTS
        + "    def score(self, situations, proposals):\n"
        + "        proposals[:] = 0\n        return super().score(situations, proposals)\n",
        CHECKED,
        "broken promise: inputs are not changed",
    ),
}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """Every bad plugin and a good one, as pip would leave them on the path."""
    site = tmp_path_factory.mktemp("site")
    good = HEAD % "reward('good')"
    for name, (plugin, parts, *_) in {
        "good-one": (good, PARTS),
        "good-two": (good.replace("'good'", "'fine'"), PARTS),
        **SHELF,
    }.items():
        package = name.replace("-", "_")
        (site / package).mkdir()
        for file, text in {"__init__.py": "", "plugin.py": plugin, "parts.py": parts}.items():
            (site / package / file).write_text(text)
        info = site / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[wetoolkit]\nx = {package}.plugin\n")
    return site, tmp_path_factory.mktemp("cache")


@pytest.fixture
def wetool(shelf, monkeypatch, capsys):
    """wetool("plugins", "--json") -> (exit code, JSON) with the whole shelf installed; the one that hangs is given 3 s."""
    site, cache = shelf
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(discovery, "PROBE_SECONDS", 3.0 if not (cache / "wetoolkit").exists() else 300.0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setenv(discovery.EXTRA, TOY)
    monkeypatch.setenv(discovery.ONLY, ",".join(["wetoolkit", "good-one", "good-two", *SHELF]))

    def run(*args):
        code = cli.execute([*args, "--json"])
        out = capsys.readouterr().out
        return code, json.loads(out) if out else None

    yield run
    for module in [module for module in sys.modules if module.startswith(("bad_", "good_"))]:
        del sys.modules[module]


def reasons(rows):
    return {row["distribution"]: (row["state"], row["reason"], row["remedy"]) for row in rows if row["state"] != "ok"}


def test_each_is_listed_with_its_reason(wetool):
    """The one that hangs is waited for once: the later calls here would take 300 s each."""
    code, rows = wetool("plugins")
    assert code == cli.OK
    found = reasons(rows)
    for name, (*_, where, reason) in SHELF.items():
        if where == LISTED:
            assert reason in found[name][1] and found[name][2], name
    assert set(found) == {"good-one", *(name for name, (*_, where, _) in SHELF.items() if where == LISTED)}
    assert found["good-one"][0] == "duplicate"

    _, rows = wetool("plugins", "--check")
    found = reasons(rows)
    for name, (*_, where, reason) in SHELF.items():
        if where == IMPORTED:
            assert reason in found[name][1] and found[name][0] == "broken" and found[name][2], name

    for name, (*_, where, reason) in SHELF.items():
        if where == CHECKED:
            part = f"reward/{name.removeprefix('bad-')}"
            code, verdicts = wetool("plugins", "check", part)
            broken = [verdict["how"] for verdict in verdicts if verdict["state"] == "broken"]
            assert code == cli.FAILED_ITEMS and any(how.startswith(reason) for how in broken), broken
            (row,) = [row for row in wetool("plugins", "reward")[1] if row["distribution"] == name]
            assert row["state"].startswith("breaks") and row["reason"] == broken[0] and part in row["remedy"]
    assert len(reasons(wetool("plugins", "--faulty", "--check")[1])) == len(SHELF) + 1


def test_what_broke_promises_is_told_until_it_changes(wetool, shelf):
    wetool("plugins", "check", "reward/manners")
    assert "bad-manners" in reasons(wetool("plugins")[1])
    parts = shelf[0] / "bad_manners" / "parts.py"
    text = parts.read_text()
    try:
        parts.write_text(text + "# another try\n")
        assert "bad-manners" not in reasons(wetool("plugins")[1])
    finally:
        parts.write_text(text)


def test_a_run_with_the_good_ones_is_unaffected(wetool, tmp_path, monkeypatch, capsys):
    docs = cli.__file__.replace("wetoolkit/cli/__init__.py", "docs/toy.toml")
    settings = ["--set", "reward.use='fine'", "--set", "dataset.logs=4"]
    code, among = wetool("run", docs, "--out", str(tmp_path / "among"), *settings)
    assert code == cli.OK and among["complete"] and not among["failed"]
    monkeypatch.setenv(discovery.ONLY, "wetoolkit,good-two")
    code, alone = wetool("run", docs, "--out", str(tmp_path / "alone"), *settings)
    assert code == cli.OK and among["results"] == alone["results"] and among["comparisons"] == alone["comparisons"]


@pytest.mark.parametrize(
    ("use", "said"),
    [
        ("signature", "does not take score(situations, proposals)"),
        ("part", "it has no method score"),
        ("contract", "built for contract 2.0"),
        ("good", "good-one:good"),
    ],
)
def test_a_run_with_a_bad_one_ends_before_it_begins(wetool, tmp_path, capsys, use, said):
    docs = cli.__file__.replace("wetoolkit/cli/__init__.py", "docs/toy.toml")
    code = cli.execute(["run", docs, "--out", str(tmp_path / "run"), "--set", f"reward.use='{use}'"])
    assert code == cli.BAD_INPUT
    assert said in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.safetensors")), "a stage has run"
