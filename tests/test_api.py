"""What plugins rely on stays: the public names are recorded, documented, and none goes without a new major contract."""

import copy
import json
import re
import tomllib
from pathlib import Path

import jsonschema
import pytest

from wetoolkit import cli
from wetoolkit.api import MODULES, api, broken
from wetoolkit.component import CONTRACT, Component

ROOT = Path(cli.__file__).parents[2]
RECORDED = ROOT / "schemas" / "api.json"
TOMLS = sorted([*(ROOT / "docs").rglob("*.toml"), *(ROOT / "contrib").glob("*/*.toml")])
EXPERIMENTS = [path for path in TOMLS if path.name != "pyproject.toml"]


@pytest.fixture(scope="module")
def now():
    return json.loads(json.dumps(api()))


def test_no_public_name_is_gone_or_has_changed(now):
    if not RECORDED.exists():
        pytest.skip("no checkout")
    assert broken(json.loads(RECORDED.read_text())["modules"], now["modules"]) == [], "see docs/api.md before you record it anew"


def test_what_counts_as_a_break(now):
    assert broken(now, now) == []
    more = copy.deepcopy(now)
    more["modules"]["wetoolkit.types"]["New"] = "()"
    assert broken(now, more) == []
    assert broken(more, now) == ["modules wetoolkit.types New is gone"]
    changed = copy.deepcopy(now)
    changed["modules"]["wetoolkit.kinds"]["Reward"]["methods"]["score"] = "(self)"
    (fault,) = broken(now, changed)
    assert fault.startswith("modules wetoolkit.kinds Reward methods score is (self), was (self, situations")
    changed["modules"]["wetoolkit.types"]["Clock"]["fields"].remove("dt: float")
    assert "modules wetoolkit.types Clock fields : dt: float is gone" in broken(now, changed)


def test_the_kinds_and_values_are_public(now):
    modules = now["modules"]
    assert {"Dataset", "Policy", "Reward", "SupportsState"} <= set(modules["wetoolkit.kinds"])
    assert {"Scenario", "Scores", "Plan", "Float"} - {"Float"} <= set(modules["wetoolkit.types"])
    assert {"RewardContract", "Examples"} <= set(modules["wetoolkit.testing"])
    assert modules["wetoolkit.kinds"]["Reward"]["fields"] == ["metric: Metric"]


def test_the_page_names_every_public_module_and_the_contract():
    text = (ROOT / "docs" / "api.md").read_text()
    assert [name for name in MODULES if f"`{name}`" not in text] == []
    assert f"`{CONTRACT}`" in text


@pytest.mark.parametrize(
    ("stamp", "usable"), [("", True), (CONTRACT, True), ("1.0", True), ("1.99", True), ("2.0", False), ("x", False)]
)
def test_another_major_contract_is_a_reason(stamp, usable):
    part = Component("reward", "mine", "a.b:C", "a.b:D", "a reward", contract=stamp)
    assert (part.problems() == []) == usable
    assert usable or part.problems() == [f"built for contract {stamp}, this toolkit has {CONTRACT}"]


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.name)
def test_every_experiment_names_its_schema_and_keeps_it(path):
    """The first line is what editors read; the schema it names is the one in the repository."""
    found = re.fullmatch(r"#:schema (\S+)", path.read_text().splitlines()[0])
    assert found, "begin it with: #:schema ../schemas/experiment.json"
    schema = json.loads((path.parent / found[1]).read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(tomllib.loads(path.read_text()), schema)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "schemas").rglob("*.json")), ids=lambda path: path.relative_to(ROOT / "schemas").as_posix()
)
def test_every_schema_is_one(path):
    document = json.loads(path.read_text())
    if path != RECORDED:
        jsonschema.Draft202012Validator.check_schema(document)
    assert document["x-distribution"]
