"""The experiment file: what it says is what runs, and what is wrong in it is named with its line and the nearest key."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wetoolkit.errors import ConfigError, UnknownName, WetoolkitError
from wetoolkit.experiment import Parts, apply_override, dump_toml, load_experiment, parse_experiment
from wetoolkit.registry import load_registry

TOY = Path(__file__).parents[1] / "docs" / "toy.toml"


def test_the_example_is_read_and_written_back(tmp_path: Path) -> None:
    experiment = load_experiment(
        TOY, ["controls.more.use=toy-imitation", "dataset.logs=30", "evaluate.horizon=4", "limits={rare=3}"]
    )
    (tmp_path / "e.toml").write_text(dump_toml(experiment))
    assert load_experiment(tmp_path / "e.toml") == experiment
    assert experiment.dataset.settings == {"logs": 30} and experiment.evaluate.horizon == 4.0 and experiment.limits.rare == 3


plain = st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1), inner, max_size=3), max_leaves=8
)


@given(st.dictionaries(st.text(min_size=1).filter(lambda key: key != "use"), values, max_size=4))
def test_any_settings_survive_toml(settings: dict[str, object]) -> None:
    base = load_experiment(TOY)
    experiment = parse_experiment({**base.model_dump(mode="json", exclude_none=True), "miner": {**settings, "use": "toy"}})
    import tomllib

    back = parse_experiment(tomllib.loads(dump_toml(experiment)))
    assert back.miner.settings == settings and back == experiment


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("seed=3", ("seed",), 3), ("evaluate.horizon=4.0", ("evaluate", "horizon"), 4.0), ("name=some-run", ("name",), "some-run"),
        ("a.b.c=[1, 2]", ("a", "b", "c"), [1, 2]), ('miner={use="x"}', ("miner",), {"use": "x"}), ("flag=true", ("flag",), True),
        ("text=a=b", ("text",), "a=b"),
    ],
)  # fmt: skip
def test_overrides_are_toml_values(override: str, path: tuple[str, ...], value: object) -> None:
    before = {"seed": 0, "evaluate": {"seeds": [0]}}
    node: object = apply_override(before, override)
    for key in path:
        node = node[key]  # type: ignore[index]
    assert node == value and type(node) is type(value)
    assert before == {"seed": 0, "evaluate": {"seeds": [0]}}


def test_overrides_reach_into_lists_and_say_where_they_cannot() -> None:
    data = {"behaviour": [{"use": "a"}, {"use": "b"}], "seed": 0}
    assert apply_override(data, "behaviour.1.count=3")["behaviour"] == [{"use": "a"}, {"use": "b", "count": 3}]
    for wrong in ("behaviour.2.count=3", "behaviour.x=1", "seed.a=1", "seed", "=1", "a..b=1"):
        with pytest.raises(ConfigError):
            apply_override(data, wrong)


@pytest.mark.parametrize(
    ("old", "new", "words", "line_of"),
    [
        ("seed = 0", "sed = 0", ["unknown key 'sed'", "did you mean 'seed'"], "sed = 0"),
        ('rare = "rare-test"', 'rar = "rare-test"', ["'splits.rar"], "[splits]"),
        ("seed = 0", "seed = -1", ["seed", "greater than or equal"], "seed = -1"),
        ("policies = [", "policys = [", ["unknown key 'evaluate.policys'", "did you mean 'policies'"], "policys"),
        ("seed = 0", "seed = ", ["not a TOML file", "line"], None),
        ('name = "toy"', "", ["missing key 'name'"], None),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, words: list[str], line_of: str | None) -> None:
    text = TOY.read_text()
    assert old in text
    file = tmp_path / "wrong.toml"
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError) as error:
        load_experiment(file)
    assert all(word in str(error.value) for word in [*words, str(file)])
    if line_of:
        lines = file.read_text().splitlines()
        assert line_of in lines[int(str(error.value.context["line"])) - 1]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_experiment(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("override", "kind", "words"),
    [
        ("miner.use=toi", UnknownName, "did you mean 'toy'"),
        ("miner.leest=0.5", ConfigError, "leest"),
        ("evaluate.policies=['toy-strait']", UnknownName, "toy-straight"),
        ("domain=any", WetoolkitError, "domain"),
        ("controls.x.use=toy-imitatoin", UnknownName, "toy-imitation"),
    ],
)
def test_every_part_is_checked_before_anything_runs(override: str, kind: type[Exception], words: str) -> None:
    registry = load_registry(["wetoolkit.testing.plugin"], only=["wetoolkit"])
    with pytest.raises(kind, match=words):
        Parts(load_experiment(TOY, [override]), registry).check()
