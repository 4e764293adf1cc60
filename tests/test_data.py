"""`wetool data`: sources by path and by name, facts, defects, copies in another format, and what is said where it cannot be."""

import json
from pathlib import Path

import polars as pl
import pytest

from wetoolkit import cli, discovery
from wetoolkit.cli import BAD_INPUT, FAILED_ITEMS, OK
from wetoolkit.cli.data import _sensors, _settings
from wetoolkit.errors import ConfigError, DataError, PluginError, UnknownName
from wetoolkit.registry import load_registry
from wetoolkit.sources import convert, defects, facts, open_source, recordings, window


@pytest.fixture(autouse=True)
def toys_only(monkeypatch, tmp_path):
    monkeypatch.setenv(discovery.ONLY, "wetoolkit")
    monkeypatch.setenv(discovery.EXTRA, "wetoolkit.testing.plugin,toy_files")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "some-toys"
    made.mkdir()
    for name, text in (("a", "[3, 4]"), ("b", "[-1]"), ("c", "{")):
        (made / f"{name}.toy").write_text(text)
    return made


@pytest.fixture
def registry():
    return load_registry()


@pytest.fixture
def wetool(capsys):
    def run(*args):
        code = cli.execute(["data", *map(str, args)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_a_folder_is_recognised_and_a_name_can_be_given(registry, folder):
    for text in (str(folder), f"toy-files:{folder}"):
        found = open_source(registry, text, {"strict": True})
        assert (found.name, found.domain, found.settings) == ("toy-files", "toy", {"folder": str(folder), "strict": True})
    assert open_source(registry, "toy", {"logs": 2}).dataset.config.logs == 2


def test_an_experiment_names_its_data_set(registry):
    toy = Path(__file__).parents[1] / "docs" / "toy.toml"
    found = open_source(registry, str(toy), {"logs": 3})
    assert (found.name, found.settings["logs"]) == ("toy", 3)


def test_what_cannot_be_opened_says_why(registry, folder, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    for text, words in (
        (str(empty), "no installed data set recognises it"), (f"toy-files:{empty}", "does not recognise"),
        (str(tmp_path / "nowhere"), "no such path"), ("tox", "toy-files"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=words):
            open_source(registry, text, {})
    with pytest.raises(ConfigError, match="foldr"):
        open_source(registry, str(folder), {"foldr": "x"})


def test_facts_come_from_the_data_set_and_its_splits(registry, folder):
    said = dict(facts(open_source(registry, str(folder), {})))
    assert said == {"data set": "toy-files", "format": "toy files", "files": "3", "split all": "3 windows of 3 logs"}


def test_defects_are_the_data_sets_own_or_those_of_loading(registry, folder):
    found = list(defects(open_source(registry, str(folder), {"strict": True})))
    assert [(d.file, d.what, d.handling) for d in found] == [
        ("b.toy", "a negative number", "refused"), ("c.toy", "is no JSON", "refused"),
    ]  # fmt: skip
    source, told = open_source(registry, "toy", {"logs": 1, "per_log": 1}), []
    good = source.dataset.load

    def fails_once(ref):
        if ref.split == "val":
            raise DataError("cut short", file="x.bin", row=7)
        return good(ref)

    source.dataset.load = fails_once
    (defect,) = defects(source, lambda *done: told.append(done))
    assert (defect.file, defect.place, defect.what) == ("x.bin", "row=7", "cut short")
    assert len(told) == 6


def test_windows_by_id_and_by_number(registry):
    source = open_source(registry, "toy", {})
    assert window(source, "val:3") == source.dataset.index("val")[3]
    assert window(source, "rare-test/000/01").split == "rare-test"
    with pytest.raises(UnknownName, match="48 windows"):
        window(source, "val:900")
    with pytest.raises(UnknownName, match="rare-test/000/01"):
        window(source, "rare-tesd/000/01")


def test_of_many_names_the_nearest_few_are_told():
    told = str(UnknownName("window", "town-500x", [f"town-{i}" for i in range(1000)]))
    assert "did you mean 'town-500'" in told and "and 995 more" in told and len(told) < 300


def test_recordings_are_written_and_a_lost_one_is_a_row(registry, folder, tmp_path):
    source = open_source(registry, str(folder), {})
    refs = recordings(source, (), 0)
    assert [ref.id for ref in refs] == ["a", "b", "c"]
    assert len(recordings(source, ["all"], 2)) == 2
    paths, lost = convert(registry, source, refs, "toy-files", tmp_path / "out", False, None)
    assert [path.name for path in paths] == ["a.toy", "b.toy"]
    assert [(ref.id, "is no JSON" in why) for ref, why in lost] == [("c", True)]
    assert json.loads(paths[0].read_text()) == [28]
    paths, _ = convert(registry, source, refs[:1], "toy-files", tmp_path / "seen", True, None)
    assert json.loads(paths[0].read_text()) == {"seen": "a"}


def test_what_cannot_be_converted_says_why(registry, folder, tmp_path):
    source, toy = open_source(registry, str(folder), {}), open_source(registry, "toy", {})
    for error, words, call in (
        (PluginError, "no whole recordings", lambda: recordings(toy, (), 0)),
        (UnknownName, "al", lambda: recordings(source, ["al"], 0)),
        (UnknownName, "toy-file", lambda: convert(registry, source, [], "toy-file", tmp_path, False, None)),
        (PluginError, "of the domain 'sea'", lambda: convert(registry, source, [], "elsewhere", tmp_path, False, None)),
        (PluginError, "has no sensors", lambda: convert(registry, toy, [], "toy-files", tmp_path, True, None)),
    ):
        with pytest.raises(error, match=words):
            call()


def test_inspect_and_check_print_and_write_their_table(wetool, folder, tmp_path):
    code, out, _ = wetool("inspect", folder)
    assert code == OK and "3 windows of 3 logs" in out
    assert pl.read_parquet(next((tmp_path / "runs" / "data").glob("inspect-*.parquet"))).height == 4
    code, out, _ = wetool("check", folder, "--set", "strict=true", "--json")
    assert code == FAILED_ITEMS and [row["file"] for row in json.loads(out)] == ["b.toy", "c.toy"]
    (folder / "c.toy").unlink()
    assert wetool("check", folder, "--out", tmp_path / "t.parquet")[0] == OK
    assert pl.read_parquet(tmp_path / "t.parquet").columns == ["file", "place", "what", "handling"]


def test_convert_and_make_say_what_was_lost(wetool, folder, tmp_path):
    code, out, _ = wetool("convert", folder, f"toy-files:{tmp_path / 'copy'}", "--json")
    assert code == FAILED_ITEMS
    assert [(row["file"], bool(row["error"])) for row in json.loads(out)] == [("a.toy", False), ("b.toy", False), ("c", True)]
    (folder / "c.toy").unlink()
    assert wetool("make", f"toy-files:{folder}", "--sensors", "--limit", "1")[0] == OK
    assert wetool("make", f"toy-files:{folder}", "--out", f"toy-files:{tmp_path / 'again'}")[0] == OK
    assert sorted(path.name for path in (tmp_path / "again").glob("*.toy")) == ["a.toy", "b.toy"]
    code, _, err = wetool("convert", folder, "copy")
    assert code == BAD_INPUT and "FORMAT:FOLDER" in err


def test_a_domain_that_draws_nothing_says_so(wetool):
    code, _, err = wetool("view", "toy", "val:0")
    assert code == BAD_INPUT and "draws no scenarios" in err
    assert "wetool data inspect" in wetool()[1]


def test_exporters_are_listed_among_the_plugins(registry, capsys):
    rows = {row.name: row for row in registry.rows() if row.kind == "exporter"}
    assert rows["toy-files"].state == "ok"
    assert rows["ashore"].state == "needs domain land"
    assert cli.execute(["plugins", "exporter"]) == OK
    assert cli.execute(["plugins", "exporter/toy-files"]) == OK
    assert "toy_files:write" in capsys.readouterr().out


def test_settings_of_a_config_within_the_config_are_nested():
    assert _settings(["rate=2", "rig.cameras=['a']", "rig.place=attic"]) == {"rate": 2, "rig": {"cameras": ["a"], "place": "attic"}}


def test_a_view_goes_without_cameras_where_a_package_is_missing_and_nobody_insists(capsys):
    class Blind:
        def sensors(self, ref, cameras=None):
            raise PluginError("needs eyes", way_out="buy some")

    assert _sensors(Blind(), None, None) is None
    assert "needs eyes" in capsys.readouterr().err
    with pytest.raises(PluginError, match="eyes"):
        _sensors(Blind(), None, True)
