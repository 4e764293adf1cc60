"""The shell: exit codes, JSON, panels; plugins, schemas and doctor."""

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import typer

from wetoolkit import __version__, cli, discovery, schema
from wetoolkit.cli import BAD_INPUT, COMMANDS, FAILED_ITEMS, OK, output
from wetoolkit.errors import ConfigError
from wetoolkit.registry import load_registry

TOY = "wetoolkit.testing.plugin"
HIDDEN = os.environ.get(discovery.ONLY)  # as `make test-core` sets it


@pytest.fixture(autouse=True)
def core_and_toy(monkeypatch):
    monkeypatch.setenv(discovery.ONLY, "wetoolkit")
    monkeypatch.setenv(discovery.EXTRA, TOY)


@pytest.fixture
def wetool(capsys):
    """wetool("plugins", "--json") -> (exit code, stdout, stderr)."""

    def run(*args):
        code = cli.execute(args)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_help_lists_every_command(wetool):
    code, out, _ = wetool("--help")
    assert code == OK
    assert all(name in out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_exists_and_explains_itself(wetool, name):
    code, out, _ = wetool(name, "--help")
    assert code == OK
    assert f"wetool {name}" in out
    assert cli.load(name).__doc__


def test_version(wetool):
    assert wetool("--version") == (OK, f"wetool {__version__}\n", "")


@pytest.mark.parametrize("args", [["nonsense"], ["plugins", "--nonsense"], []])
def test_wrong_usage_is_bad_input(wetool, args):
    assert wetool(*args)[0] == BAD_INPUT


def stand_in(monkeypatch, function):
    monkeypatch.setattr(cli, "load", lambda command: function)


def test_our_errors_are_exit_code_2_without_a_traceback(wetool, monkeypatch):
    def bad():
        raise ConfigError("raduis: is no setting", way_out="settings: radius", file="a.toml")

    stand_in(monkeypatch, bad)
    code, out, err = wetool("doctor")
    assert (code, out) == (BAD_INPUT, "")
    assert err == "error: raduis: is no setting\n  file: a.toml\n  way out: settings: radius\n"
    for args in (["--debug", "doctor"], ["doctor", "--debug"]):
        with pytest.raises(ConfigError):
            cli.execute(args)


def test_failed_items_and_interruption_have_their_codes(wetool, monkeypatch):
    def some_failed():
        raise typer.Exit(FAILED_ITEMS)

    def stopped():
        raise KeyboardInterrupt

    stand_in(monkeypatch, some_failed)
    assert wetool("doctor")[0] == FAILED_ITEMS
    stand_in(monkeypatch, stopped)
    assert wetool("doctor")[0] == 130


def test_other_errors_are_not_hidden(monkeypatch):
    def bug():
        raise ZeroDivisionError

    stand_in(monkeypatch, bug)
    with pytest.raises(ZeroDivisionError):
        cli.execute(["doctor"])


def test_plugins_lists_all_and_filters(wetool):
    _, out, _ = wetool("plugins", "--json")
    rows = json.loads(out)
    assert len(rows) == 16 and {row["state"] for row in rows} == {"ok"}
    columns = ("kind", "name", "domain", "distribution", "version", "state", "needs", "summary", "reason", "remedy")
    assert tuple(rows[0]) == columns
    _, out, _ = wetool("plugins", "executor", "--json")
    assert [row["name"] for row in json.loads(out)] == ["process", "serial"]
    _, out, _ = wetool("plugins", "--domain", "toy", "--distribution", TOY, "--json")
    assert len(json.loads(out)) == 14
    _, out, _ = wetool("plugins", "--faulty", "--json")
    assert json.loads(out) == []
    code, out, _ = wetool("plugins")
    assert code == OK and "toy-gradient" in out
    code, out, _ = wetool("plugins", "--faulty")
    assert code == OK and out.startswith("no part is so")


def test_plugins_shows_one_with_its_settings(wetool):
    _, out, _ = wetool("plugins", "reward/toy", "--json")
    (setting,) = json.loads(out)["settings"]
    assert setting == {
        "setting": "radius",
        "type": "number",
        "default": 0.6,
        "unit": "m",
        "allowed": "above 0",
        "description": "nobody may come nearer than this [m]",
    }
    code, out, _ = wetool("plugins", "reward/toy")
    assert code == OK and "above 0" in out
    assert wetool("plugins", "reward/tow")[0] == BAD_INPUT
    assert wetool("plugins", "rewards")[0] == BAD_INPUT


@pytest.mark.parametrize("columns", [60, 90, 400])
def test_tables_fit_the_terminal_and_lose_nothing(wetool, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    for part in ("", "reward/toy"):
        _, out, _ = wetool("plugins", part)
        words = " ".join(out.split())
        _, rows, _ = wetool("plugins", part, "--json")
        rows = json.loads(rows) if not part else json.loads(rows)["settings"]
        assert all(row["summary" if not part else "description"].split()[-1] in words for row in rows)
        if not part:
            assert max(map(len, out.splitlines())) <= max(columns, 73)  # 73: the short columns side by side
            assert ("━" in out) == (columns == 400)


def test_settings_of_configs_within_a_config_are_rows_of_their_own(wetool):
    pytest.importorskip("wetoolkit_learning")
    _, out, _ = wetool("plugins", "policy/vocabulary-vector", "--json", "--plugin", "wetoolkit_learning.plugin")
    settings = {setting["setting"]: setting for setting in json.loads(out)["settings"]}
    assert "vocabulary" not in settings
    assert settings["vocabulary.dt"]["unit"] == "s" and settings["vocabulary.dt"]["default"] == 0.1
    _, out, _ = wetool("plugins", "executor/process", "--json")
    assert all("." not in setting["setting"] for setting in json.loads(out)["settings"])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["reward/toy", "--set", "radios=1"], "did you mean 'radius'"),
        (["reward/toy", "--set", "radius=-1"], "above 0"),
        (["miner/toy", "--policy", "nobody"], "policy 'nobody' is not known"),
        (["miner/toy", "--reward", "nobody"], "reward 'nobody' is not known"),
        (["miner/toy", "--domain", "nowhere"], "domain 'nowhere' is not known"),
        (["domain/toy", "--set", "radius=1"], "a domain has no settings"),
    ],
)
def test_what_the_caller_got_wrong_breaks_no_promise(wetool, asked, said):
    code, out, err = wetool("plugins", "check", *asked)
    assert code == BAD_INPUT and said in err and not out


def test_plugins_check_imports_every_part(wetool, monkeypatch, tmp_path):
    source = (
        "from wetoolkit.component import Component\nfrom wetoolkit.hooks import hookimpl\n"
        "@hookimpl\ndef components():\n"
        "    fakes = 'wetoolkit.testing.fakes:'\n"
        "    return [Component('reward', 'lost', fakes + 'Nobody', fakes + 'ToyRewardConfig', 'x'),\n"
        "            Component('reward', 'odd', fakes + 'ToyReward', fakes + 'ToyReward', 'x')]\n"
    )
    (tmp_path / "lost_plugin.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv(discovery.EXTRA, f"{TOY},lost_plugin")
    assert json.loads(wetool("plugins", "--faulty", "--json")[1]) == []
    lost, odd = json.loads(wetool("plugins", "--faulty", "--check", "--json")[1])
    assert (lost["name"], lost["state"]) == ("lost", "broken") and "Nobody" in lost["reason"]
    assert (odd["name"], odd["state"]) == ("odd", "broken") and "subclass" in odd["remedy"]


def test_doctor_tells_of_machine_and_plugins(wetool):
    code, out, _ = wetool("doctor", "--json")
    found = {row["what"]: row for row in json.loads(out)}
    assert code == OK
    assert {"python", "cores", "memory", "disk", "package numpy", "plugin wetoolkit"} <= set(found)
    assert any(what.startswith("gpu") for what in found)
    assert found["plugin wetoolkit"]["value"] == f"{__version__}, 2 parts"


def test_doctor_tells_what_a_plugin_lacks(wetool, monkeypatch):
    monkeypatch.setenv(discovery.ONLY, "wetoolkit,wetoolkit-sailing")
    rows = json.loads(wetool("doctor", "--json")[1])
    (row,) = [row for row in rows if row["what"] == "plugin wetoolkit-sailing"]
    assert row["state"] == "broken" and row["remedy"] == "pip install wetoolkit-sailing"


def test_schemas_are_written_checked_and_mended(wetool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = wetool("schemas", "--check")
    assert code == BAD_INPUT and "missing" in out and "wetool schemas --write" in err
    assert wetool("schemas", "--write")[0] == OK
    assert wetool("schemas", "--check")[0] == OK
    names = sorted(path.relative_to(tmp_path / "schemas").as_posix() for path in (tmp_path / "schemas").rglob("*.json"))
    assert names == ["api.json", "executor/process.json", "executor/serial.json", "experiment.json", "manifest.json"]
    (tmp_path / "schemas" / "experiment.json").write_text("{}")
    (tmp_path / "schemas" / "old.json").write_text('{"x-distribution": "wetoolkit"}')
    (tmp_path / "schemas" / "other.json").write_text('{"x-distribution": "wetoolkit-sailing"}')
    _, out, _ = wetool("schemas", "--json")
    states = {row["file"]: row["state"] for row in json.loads(out)}
    assert (states["experiment.json"], states["old.json"], states["other.json"]) == ("stale", "removed", "not installed")
    assert wetool("schemas", "--check")[0] == BAD_INPUT
    assert wetool("schemas", "--write")[0] == OK and wetool("schemas", "--check")[0] == OK
    assert not (tmp_path / "schemas" / "old.json").exists() and (tmp_path / "schemas" / "other.json").exists()


def test_a_schema_can_be_printed(wetool):
    printed = json.loads(wetool("schemas", "executor/process")[1])
    assert printed["properties"]["timeout"]["minimum"] == 0
    assert printed["additionalProperties"] is False and printed["x-distribution"] == "wetoolkit"
    assert wetool("schemas", "executor/proces")[0] == BAD_INPUT


def test_schemas_hold_every_setting_with_its_description():
    for name, document in schema.schemas(load_registry()).items():
        bare = [key for key, field in document.get("properties", {}).items() if "description" not in field and "$ref" not in field]
        assert not bare, f"{name}: {bare}"


def test_tables_are_json_or_text(capsys):
    table = pl.DataFrame({"name": ["a [bold]", None], "value": [float("nan"), 0.123456], "ok": [True, False]})
    output.show(table, json=True)
    assert json.loads(capsys.readouterr().out) == [
        {"name": "a [bold]", "value": None, "ok": True},
        {"name": None, "value": 0.123456, "ok": False},
    ]
    output.show(table, json=False, title="a title")
    text = capsys.readouterr().out
    assert "a title" in text and "a [bold]" in text and "0.1235" in text and "yes" in text


def test_the_command_is_installed():
    done = subprocess.run(
        [sys.executable, "-c", "from wetoolkit.cli import main; main()", "--version"], capture_output=True, check=True
    )
    assert done.stdout.decode() == f"wetool {__version__}\n"


def test_the_schemas_in_the_repository_are_current(monkeypatch):
    folder = Path(cli.__file__).parents[2] / "schemas"
    if not folder.exists():
        pytest.skip("no checkout")
    for variable in (discovery.ONLY, discovery.EXTRA):
        monkeypatch.delenv(variable)
    if HIDDEN is not None:
        monkeypatch.setenv(discovery.ONLY, HIDDEN)
    registry = load_registry()
    wrong = [f"{row.file}: {row.state}" for row in schema.compare(folder, schema.schemas(registry), registry) if row.wrong]
    assert not wrong, "run `wetool schemas --write`"


def test_parts_without_a_conformance_kit_are_named(wetool):
    code, _, err = wetool("conformance", "toy")
    assert code == BAD_INPUT and "has no conformance kit" in err and "SupportsConformance" in err
