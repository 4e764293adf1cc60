"""What `wetool data inspect` and `wetool data check` say of a folder with every defect a ScenarioNet file may have."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wetoolkit_logs.scenarionet import ScenarioNet, ScenarioNetConfig

from wetoolkit.errors import DataError

Make = Callable[..., dict[str, Any]]
Folder = Callable[..., Path]


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("owned",))


def reader(folder: Path) -> ScenarioNet:
    return ScenarioNet(ScenarioNetConfig(folder=str(folder), splits={"train": ["*"]}, cache=False))


def worn(make: Make) -> dict[str, Any]:
    """Usable, but with a track of one box, a box without extent, NaN, and a lane that nothing joins."""
    raw = make("worn")
    raw["tracks"]["walker"]["state"]["valid"][1:] = 0
    raw["tracks"]["thing"]["state"]["width"][:] = 0
    raw["tracks"]["car"]["state"]["position"][7] = np.nan
    raw["map_features"]["island"] = {"type": "LANE_SURFACE_STREET", "polyline": [[0.0, 60.0], [40.0, 60.0]]}
    return raw


def test_every_defect_is_a_row_and_nothing_runs(make: Make, folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    late, crooked = make("late"), make("crooked")
    late["metadata"]["ts"][50] = late["metadata"]["ts"][60]
    crooked["map_features"]["r1"]["polygon"] = "a road"
    place = folder(
        good=make("good"), worn=worn(make), late=late, crooked=crooked, twin=make("good"), cut=pickle.dumps(make("cut"))[:5000],
        hostile=pickle.dumps({"id": Evil()}), empty=b"", foreign=b"PK\x03\x04", numbers=pickle.dumps([1, 2]),
    )  # fmt: skip
    data = reader(place)
    rows = [(defect.file, defect.place, defect.handling) for defect in data.defects()]
    said = {defect.file: defect.what for defect in data.defects() if defect.handling != "repaired"}
    assert {file for file, _, handling in rows if handling == "skipped"} == {
        f"{name}.pkl" for name in ("twin", "late", "cut", "hostile", "empty", "foreign", "numbers")
    }  # fmt: skip
    assert ("crooked.pkl", "refused") in {(file, handling) for file, _, handling in rows}
    for file, words in (
        ("late.pkl", "do not rise"), ("cut.pkl", "ends early"), ("hostile.pkl", "print, which is not admitted"),
        ("empty.pkl", "ends early"), ("numbers.pkl", "not a ScenarioDescription"), ("twin.pkl", "good.pkl already"),
    ):  # fmt: skip
        assert words in said[file]
    places = {where for file, where, _ in rows if file == "worn.pkl"}
    assert {"track walker", "track thing", "lane island"} <= places
    assert "owned" not in capsys.readouterr().out


def test_facts_count_what_can_be_read(make: Make, folder: Folder) -> None:
    facts = reader(folder(good=make("good"), worn=worn(make), cut=b"\x80\x04")).inspect()
    assert facts["logs"] == "2 readable, 1 not" and facts["windows"] == "14" and facts["sensors"] == "none"
    assert facts["recorded for"] == "nuscenes" and facts["recorded"].startswith("26.2 s")
    assert "vehicle 2" in facts["classes (in 2 scenes)"] and facts["map"] == "13 lanes in these"


def test_a_worn_scene_still_gives_right_windows(make: Make, folder: Folder) -> None:
    data = reader(folder(worn=worn(make)))
    ref = data.index("train")[0]
    world = data.load(ref).world
    world.validate()
    thing, car = world.agents.ids.index("thing"), world.agents.ids.index("car")
    assert (world.agents.size[thing] > 0).all() and not world.agents.valid[car, 7] and world.agents.valid[car].sum() == 100
    assert world.agents.valid[world.agents.ids.index("walker")].sum() == 1
    with pytest.raises(DataError, match="no window"):
        data.load(type(ref)("scenarionet/worn/9999", "train", "worn"))


def test_a_folder_of_zips_is_none_of_ours(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(b"PK\x03\x04")
    assert ScenarioNet.recognise(tmp_path) is None and ScenarioNet.recognise(tmp_path / "a.pkl") is None
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({}))
    assert ScenarioNet.recognise(tmp_path) == {"folder": str(tmp_path)}
