"""The registry: what is found, what is broken and why; errors that name the way out."""

import json
import os
import subprocess
import sys
import time

import pytest

from wetoolkit import discovery
from wetoolkit.component import KINDS
from wetoolkit.errors import ConfigError, PluginError, UnknownName, WetoolkitError
from wetoolkit.registry import BROKEN, DUPLICATE, OK, config_hash, load_registry
from wetoolkit.testing.fakes import Toy, ToyReward, ToyRewardConfig

TOY = "wetoolkit.testing.plugin"
HEAD = """
from wetoolkit.component import Component, Domain
from wetoolkit.hooks import hookimpl

def reward(name="good", **changes):
    parts = {"kind": "reward", "name": name, "domain": "any", "summary": "a reward",
             "target": "wetoolkit.testing.fakes:ToyReward", "config": "wetoolkit.testing.fakes:ToyRewardConfig"}
    return Component(**{**parts, **changes})
"""
GOOD = HEAD + "\n@hookimpl\ndef components():\n    return [reward()]\n"


@pytest.fixture
def install(tmp_path, monkeypatch):
    """install(name, source of plugin.py, requires=()) puts a distribution on sys.path, as pip would."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(discovery.ONLY, raising=False)

    def put(name, source, requires=(), version="1.0", point=None):
        site, package = tmp_path / name, name.replace("-", "_")
        (site / package).mkdir(parents=True, exist_ok=True)
        (site / package / "__init__.py").write_text("")
        (site / package / "plugin.py").write_text(source)
        info = site / f"{package}-{version}.dist-info"
        info.mkdir(exist_ok=True)
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {r}" for r in requires)]
        (info / "METADATA").write_text("\n".join(lines) + "\n")
        (info / "entry_points.txt").write_text(f"[wetoolkit]\nx = {point or package + '.plugin'}\n")
        monkeypatch.syspath_prepend(str(site))
        return site / package

    yield put
    for module in [module for module in sys.modules if module.startswith(("bad_", "good_"))]:
        del sys.modules[module]


def load(*names, **options):
    return load_registry(only=["wetoolkit", "good-one", *names], **options)


def assert_the_rest_works(registry):
    assert registry.component("executor", "serial").state == OK
    assert isinstance(registry.build("reward", "good-one:good", {}), ToyReward)


HOOKED = HEAD + "@hookimpl\ndef "
FAULTS = {
    "import error": ("raise RuntimeError('no luck')", "RuntimeError: no luck", "pip install -U bad-one"),
    "syntax error": ("def (", "SyntaxError", "pip install -U bad-one"),
    "ends the host": ("raise SystemExit(0)", "SystemExit", "pip install -U bad-one"),
    "missing package": ("import no_such_package_at_all", "no_such_package_at_all", "pip install 'no_such_package_at_all'"),
    "missing requirement": ("import numba_x.sub", "numba_x", "pip install 'numba-x>=2'"),
    "prints": ("print('hello')", "prints on import: 'hello'", "remove the print"),
    "wrong argument": (HOOKED + "components(config):\n    return []\n", "config", "the hook is components() ->"),
    "unknown hook": (
        HEAD + "@hookimpl\ndef component():\n    return []\n",
        "unknown hook 'component'",
        "the hooks are components()",
    ),
    "no hook": ("def components():\n    return []\n", "implements no hook", "hookimpl"),
    "raises": (HOOKED + "components():\n    return 1 / 0\n", "ZeroDivisionError", "components() returns a list"),
    "garbage": (HOOKED + "components():\n    return ['pdms']\n", "'pdms'", "components() returns a list"),
    "number": (HOOKED + "components():\n    return 7\n", "not iterable", "components() returns a list"),
    "no text": (
        HEAD + "@hookimpl\ndef components():\n    return [reward(name=7)]\n",
        "no Component of strings",
        "components() returns",
    ),
    "domain garbage": (HOOKED + "domains():\n    return [reward()]\n", "no Domain of strings", "domains() returns"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_plugin_is_a_row_and_the_rest_works(install, fault, capsys):
    source, reason, remedy = FAULTS[fault]
    install("good-one", GOOD)
    install("bad-one", source, requires=["numba-x>=2"] if fault == "missing requirement" else ())
    registry = load("bad-one")
    (row,) = [row for row in registry.rows() if row.state == BROKEN]
    assert (row.distribution, row.version) == ("bad-one", "1.0")
    assert reason in row.reason and remedy in row.remedy
    assert capsys.readouterr().out == ""
    assert_the_rest_works(registry)


PARTS = {
    "kind": ({"kind": "rewards"}, BROKEN, "none of dataset", "correct the announcement"),
    "name": ({"name": "Has Blanks"}, BROKEN, "lower case", "correct the announcement"),
    "target": ({"target": "nowhere"}, BROKEN, "package.module:Class", "correct the announcement"),
    "lost target": ({"target": "bad_one.nowhere:X"}, BROKEN, "no module that can be found", "correct the announcement"),
    "contract": ({"contract": "9.0"}, BROKEN, "contract 9.0", "of the same contract"),
    "package": ({"needs": ("no-such-package>=3",)}, "needs no-such-package", "not installed", "pip install 'no-such-package>=3'"),
    "domain": ({"domain": "sailing"}, "needs domain sailing", "defines its domain 'sailing'", "install the plugin"),
}


@pytest.mark.parametrize("fault", PARTS)
def test_a_broken_part_is_a_row_and_its_neighbours_work(install, fault):
    changes, state, reason, remedy = PARTS[fault]
    install("good-one", GOOD)
    install(
        "bad-one", HEAD + f"@hookimpl\ndef components():\n    return [reward('fine'), reward(**{{'name': 'bad', **{changes!r}}})]\n"
    )
    registry = load("bad-one")
    (row,) = [row for row in registry.rows() if row.state != OK]
    assert row.state == state and reason in row.reason and remedy in row.remedy
    assert (row.distribution, row.version) == ("bad-one", "1.0")
    assert registry.build("reward", "fine", {}).metric.name == "toy"
    assert_the_rest_works(registry)
    if row.kind in KINDS:
        with pytest.raises(PluginError) as error:
            registry.build(row.kind, row.name, {})
        assert reason in str(error.value) and remedy in str(error.value) and "bad-one 1.0" in str(error.value)


def test_a_missing_requirement_of_the_distribution_is_told_before_use(install):
    install("good-one", GOOD)
    install("bad-one", GOOD.replace("reward()", "reward('heavy')"), requires=["no-such-thing>=2", "other; extra == 'dev'"])
    row = next(row for row in load("bad-one").rows() if row.name == "heavy")
    assert (row.state, row.remedy) == ("needs no-such-thing", "pip install 'no-such-thing>=2'")


@pytest.mark.parametrize("source", ["import time; time.sleep(60)", "import os; os._exit(1)", "import os; os.kill(os.getpid(), 11)"])
def test_one_that_hangs_or_dies_is_a_row_and_is_remembered(install, monkeypatch, source):
    monkeypatch.setattr(discovery, "PROBE_SECONDS", 3.0)
    install("good-one", GOOD)
    package = install("bad-one", source)
    for _ in range(2):
        began = time.monotonic()
        registry = load("bad-one")
        (row,) = [row for row in registry.rows() if row.state == BROKEN]
        assert "did not end within 3 s" in row.reason or "ended the interpreter" in row.reason
        assert "--probe" in row.remedy
        assert_the_rest_works(registry)
    assert time.monotonic() - began < 2, "the second time it was probed again"
    (package / "plugin.py").write_text(GOOD.replace("reward()", "reward('repaired')"))
    assert load("bad-one").component("reward", "repaired").state == OK


def test_a_verdict_is_forgotten_after_a_day(install, tmp_path):
    flag = tmp_path / "flag"
    flag.write_text("")
    install("bad-one", f"import os\nif os.path.exists({str(flag)!r}):\n    os._exit(1)\n" + GOOD)
    assert [row.state for row in load("bad-one").rows() if row.distribution == "bad-one"] == [BROKEN]
    flag.unlink()
    assert [row.state for row in load("bad-one").rows() if row.distribution == "bad-one"] == [BROKEN]
    for note in (tmp_path / "cache" / "wetoolkit" / "probes").glob("*.json"):
        os.utime(note, (0, time.time() - discovery.FORGET_SECONDS - 60))
    assert [row.state for row in load("bad-one").rows() if row.distribution == "bad-one"] == [OK]


def test_an_import_error_is_not_remembered(install, tmp_path, monkeypatch):
    install("good-one", GOOD)
    install("bad-one", "import good_late\n" + GOOD.replace("reward()", "reward('late')"))
    assert any(row.state == BROKEN for row in load("bad-one").rows())
    (tmp_path / "late").mkdir()
    (tmp_path / "late" / "good_late.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path / "late"))
    assert load("bad-one").component("reward", "late").state == OK


@pytest.mark.parametrize("point", ["no_such_module_here", "bad_one.plugin:hooks", "bad_one.nothing.at.all"])
def test_an_entry_point_to_nowhere_is_a_row(install, point):
    install("good-one", GOOD)
    install("bad-one", GOOD, point=point)
    registry = load("bad-one")
    (row,) = [row for row in registry.rows() if row.state == BROKEN]
    assert point in row.reason and "entry point" in row.remedy
    assert_the_rest_works(registry)


def test_a_name_offered_twice_is_an_error_on_use_and_the_distribution_decides(install):
    install("good-one", GOOD)
    install("good-two", GOOD)
    registry = load("good-two")
    assert [row.state for row in registry.rows() if row.name == "good"] == [DUPLICATE, DUPLICATE]
    with pytest.raises(PluginError) as error:
        registry.build("reward", "good", {})
    for text in ("good-one 1.0", "good-two 1.0", "good-one:good", "good-two:good"):
        assert text in str(error.value)
    assert registry.component("reward", "good-two:good").source.distribution == "good-two"
    assert registry.component("reward", "Good_Two:good").source.distribution == "good-two"


def test_a_distribution_that_is_asked_for_and_absent_is_a_row():
    registry = load_registry(only=["wetoolkit", "wetoolkit-sailing"])
    (row,) = [row for row in registry.rows() if row.state == BROKEN]
    assert row.distribution == "wetoolkit-sailing" and row.remedy == "pip install wetoolkit-sailing"


def test_the_environment_limits_and_extends(monkeypatch):
    monkeypatch.setenv(discovery.ONLY, "wetoolkit")
    monkeypatch.setenv(discovery.EXTRA, TOY)
    registry = load_registry()
    assert {row.distribution for row in registry.rows()} == {"wetoolkit", TOY}
    assert isinstance(registry.domain("toy"), Toy)


def test_the_core_is_found_with_no_plugin():
    assert [row.name for row in load_registry(only=["wetoolkit"]).rows()] == ["process", "serial"]


@pytest.fixture(scope="module")
def registry():
    return load_registry([TOY], only=["wetoolkit"])


def test_names_have_near_ones(registry):
    with pytest.raises(UnknownName, match="did you mean 'toy-gradient'"):
        registry.component("algorithm", "toy-gradiant")
    with pytest.raises(UnknownName, match="simulator"):
        registry.component("simulatr", "toy")
    with pytest.raises(UnknownName, match="policy/toy-softmax"):
        registry.component("reward", "toy-softmax")
    with pytest.raises(UnknownName, match="toy"):
        registry.domain("toi")


def test_build_gives_a_part_with_its_config(registry):
    part = registry.build("reward", "toy", {"radius": 0.25})
    assert isinstance(part, ToyReward) and part.config == ToyRewardConfig(radius=0.25)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"raduis": 1.0}, ["raduis: is no setting; did you mean 'radius'?"]),
        ({"radius": -1.0}, ["radius", "got -1.0", "allowed: above 0", "[m]"]),
        ({"radius": "wide"}, ["radius", "'wide'"]),
        ({"radius": float("nan")}, ["radius", "finite"]),
        ({"radius": 0, "what": 1, "way_out": 2}, ["radius", "what: is no setting", "way_out: is no setting"]),
    ],
)
def test_a_wrong_setting_names_key_range_and_nearest(registry, settings, said):
    with pytest.raises(ConfigError) as error:
        registry.config("reward", "toy", settings)
    for text in [*said, "reward/toy", TOY]:
        assert text in str(error.value)


def test_a_step_says_who_with_what(registry):
    step = registry.step("reward", "toy", ToyRewardConfig(radius=0.5), 3)
    assert (step.component, step.distribution, step.seed) == ("reward/toy", TOY, 3)
    assert step.config == config_hash(ToyRewardConfig(radius=0.5)) != config_hash(ToyRewardConfig())
    assert registry.step("executor", "serial", registry.config("executor", "serial", {})).distribution.startswith("wetoolkit 0")


def test_errors_while_building_name_the_plugin(install):
    install("good-one", GOOD)
    package = install("bad-one", HEAD + "@hookimpl\ndef components():\n    return [reward('lazy', target='bad_one.part:Part')]\n")
    for source, kind, said in [
        ("import no_such_package_at_all", PluginError, "pip install 'no_such_package_at_all'"),
        ("x = 1", PluginError, "no attribute 'Part'"),
        ("def Part(config): raise KeyError('oops')", PluginError, "could not be built: KeyError"),
        (
            "from wetoolkit.errors import DataError\ndef Part(config): raise DataError('no such folder')",
            WetoolkitError,
            "no such folder",
        ),
    ]:
        (package / "part.py").write_text(source)
        sys.modules.pop("bad_one.part", None)
        with pytest.raises(kind, match=said.replace("(", r"\(")):
            load("bad-one").build("reward", "lazy", {})


def test_observers_hear_and_a_raising_one_is_a_warning(install):
    source = "\n@hookimpl\ndef stage_finished(stage, run, cost):\n    raise RuntimeError('deaf')\n"
    install("bad-one", HEAD + source + "\n@hookimpl\ndef report_sections(run):\n    raise OSError('no')\n")
    install("good-one", GOOD + "\n@hookimpl\ndef report_sections(run):\n    return [('Title', run)]\n")
    hook = load("bad-one").hook
    hook.stage_started("mine", "r", 3)
    with pytest.warns(RuntimeWarning, match="bad-one 1.0: its hook stage_finished failed: RuntimeError: deaf"):
        hook.stage_finished("mine", "r", {"seconds": 1.0})
    with pytest.warns(RuntimeWarning, match="bad-one"):
        assert hook.report_sections("r") == [("Title", "r")]


def test_a_damaged_or_unwritable_cache_only_costs_time(install, tmp_path, monkeypatch):
    install("good-one", GOOD)
    assert load().component("reward", "good").state == OK
    (note,) = (tmp_path / "cache" / "wetoolkit" / "probes").glob("*.json")
    assert json.loads(note.read_text()) == {"module": "good_one.plugin", "reason": ""}
    note.write_text("{")
    assert load().component("reward", "good").state == OK
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert load().component("reward", "good").state == OK


def test_loading_imports_nothing_heavy(tmp_path):
    code = f"import sys; from wetoolkit.registry import load_registry; load_registry([{TOY!r}]).rows(); print(*sys.modules)"
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment).stdout
    assert {"torch", "numba", "scipy", "shapely"}.isdisjoint(out.split())
