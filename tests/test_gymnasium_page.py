"""docs/gymnasium.md from top to bottom."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_page_trains_a_policy_that_gets_better(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("stable_baselines3", reason="stable-baselines3 is no dependency; pip install stable-baselines3")
    monkeypatch.chdir(ROOT)
    importlib.import_module("torch").set_num_threads(1)  # small networks: threads that wait for each other cost more than they do
    page = "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "gymnasium.md").read_text(), re.S))
    names: dict[str, object] = {"__name__": "page"}
    exec(compile(page, "gymnasium.md", "exec"), names)
    before, after = re.search(r"success (\S+) -> (\S+)", capsys.readouterr().out).groups()  # type: ignore[union-attr]
    assert float(after) > float(before) + 0.2
    assert names["rewards"].shape == (8,)  # type: ignore[attr-defined]
