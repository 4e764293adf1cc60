"""The dataset as the loop sees it: splits, windows, ids, counts, bad folders."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError as PydanticError
from wetoolkit_driving.types import AreaKind, Signal
from wetoolkit_logs.scenarionet import ScenarioNet, ScenarioNetConfig

from wetoolkit.errors import ConfigError, DataError, UnknownName
from wetoolkit.testing import DatasetContract
from wetoolkit.types import Ref

Make = Callable[..., dict[str, Any]]
Folder = Callable[..., Path]


def reader(folder: Path, **settings: Any) -> ScenarioNet:
    settings.setdefault("splits", {"train": ["*"]})
    return ScenarioNet(ScenarioNetConfig(folder=str(folder), **{"cache": False, **settings}))


def test_windows_ids_and_clock(make: Make, folder: Folder) -> None:
    data = reader(folder(a=make("scene-a"), b=make("scene-b", steps=102)), stride=1.0)
    refs = data.index("train")
    assert [ref.id for ref in refs] == [f"scenarionet/scene-a/{now}" for now in (20, 30, 40, 50)] + ["scenarionet/scene-b/20"]
    assert [ref.log for ref in refs] == ["scene-a"] * 4 + ["scene-b"]
    scenario = data.load(refs[1])
    assert (scenario.clock.dt, scenario.clock.now, scenario.clock.steps) == (0.1, 20, 101)
    np.testing.assert_allclose(scenario.origin, (24.0, 0.0, 0.0))
    np.testing.assert_allclose(scenario.world.ego.states[20, :2], 0.0, atol=1e-12)
    np.testing.assert_allclose(scenario.world.ego.states[:, 0], 0.8 * np.arange(-20, 81), atol=1e-9)
    assert scenario.world.ego.vehicle.length == pytest.approx(4.084)
    assert not scenario.lineage.synthetic


def test_the_world_holds_everybody_and_the_map(make: Make, folder: Folder) -> None:
    data = reader(folder(a=make()))
    world = data.load(data.index("train")[0]).world
    assert set(world.agents.ids) == {"car", "walker", "rider", "cone", "fence", "thing"}
    road = world.map
    assert [road.lane_ids[i] for i in world.route] == ["r1", "r2", "r3"]
    on_route = {name for name, flag in zip(road.area_ids, world.on_route, strict=True) if flag}
    assert {"r1", "r2", "r3", "l1", "l2", "l3"} <= on_route and not any(name.startswith("surface") for name in on_route)
    assert AreaKind.ROADBLOCK in road.area_kind[[name.startswith("surface") for name in road.area_ids]]
    assert set(world.unavailable) == {"intersections", "speed_limits", "signals"}
    car = world.agents.ids.index("car")
    np.testing.assert_allclose(world.agents.velocity[car, :, 0], 5.0, atol=1e-4)


def test_the_map_is_cropped_around_the_path(make: Make, folder: Folder) -> None:
    features = make()
    features["map_features"]["far"] = {"type": "LANE_SURFACE_STREET", "polyline": [[5000.0, 0.0], [5050.0, 0.0]]}
    data = reader(folder(a=features), radius=30)
    first = data.load(data.index("train")[0]).world
    assert "far" not in first.map.lane_ids and "r3" not in first.map.lane_ids and "r1" in first.map.lane_ids
    surface = [first.map.area(i) for i, name in enumerate(first.map.area_ids) if name.startswith("surface")]
    assert min(ring[:, 0].min() for ring in surface) == pytest.approx(-16 - 30, abs=0.1)


def test_equal_calls_give_equal_worlds_here_and_in_a_worker(make: Make, folder: Folder) -> None:
    place = folder(a=make())
    data, other = reader(place), pickle.loads(pickle.dumps(reader(place)))
    for ref in data.index("train")[::3]:
        one, two = data.load(ref).world, other.load(ref).world
        np.testing.assert_array_equal(one.ego.states, two.ego.states)
        np.testing.assert_array_equal(one.map.area_xy, two.map.area_xy)
        np.testing.assert_array_equal(one.agents.pose, two.agents.pose)
        assert one.map.area_ids == two.map.area_ids


def test_worlds_do_not_share_memory_with_the_scene(make: Make, folder: Folder) -> None:
    data = reader(folder(a=make()))
    ref = data.index("train")[0]
    before = data.load(ref).world.ego.states.copy()
    data.load(ref).world.ego.states[:] = 7
    data.load(ref).world.ego.valid[:] = False
    np.testing.assert_array_equal(data.load(ref).world.ego.states, before)
    assert data.load(ref).world.ego.valid.all()


def test_lights_reach_the_lanes_they_govern(make: Make, folder: Folder) -> None:
    raw = make()
    states = ["TRAFFIC_LIGHT_RED"] * 60 + ["TRAFFIC_LIGHT_GREEN"] * 71
    raw["dynamic_map_states"] = {"x": {"type": "TRAFFIC_LIGHT", "lane": "r2", "state": {"object_state": states}}}
    data = reader(folder(a=raw))
    world = data.load(data.index("train")[0]).world
    row = world.map.lane_signal[world.map.lane_ids.index("r2")]
    assert (world.signals[row, :60] == Signal.RED).all() and (world.signals[row, 60:] == Signal.GREEN).all()
    assert "signals" not in world.unavailable


def test_an_ego_that_stands_still_is_kept_and_counted(make: Make, folder: Folder) -> None:
    raw = make()
    raw["tracks"]["ego"]["state"]["position"][:] = [10.0, 0.0, 0.0]
    data = reader(folder(a=raw))
    refs = data.index("train")
    world = data.load(refs[0]).world
    np.testing.assert_allclose(world.ego.states[:, 3:], 0.0, atol=1e-9)
    assert len(world.route) > 0
    assert data.repairs()["ego_static"] == 1 and data.repairs()["ego_static_windows"] == len(refs)


def test_an_ego_off_every_lane_has_no_route_and_says_so(make: Make, folder: Folder) -> None:
    raw = make()
    raw["tracks"]["ego"]["state"]["position"][:, 1] = 40.0
    data = reader(folder(a=raw))
    world = data.load(data.index("train")[0]).world
    assert len(world.route) == 0 and "route" in world.unavailable
    assert data.repairs()["scenes_without_a_route"] == 1


def test_windows_need_a_known_ego(make: Make, folder: Folder) -> None:
    raw = make(steps=240)
    raw["tracks"]["ego"]["state"]["position"][110] = np.nan
    data = reader(folder(a=raw), stride=0.1)
    nows = [int(ref.id.rsplit("/", 1)[1]) for ref in data.index("train")]
    assert nows == [*range(20, 30), *range(131, 160)]
    assert data.repairs()["nan_poses_marked_invalid"] == 1
    assert all(data.load(ref).world.ego.valid.all() for ref in data.index("train"))


def test_repairs_count_each_scene_once_whoever_loads(make: Make, folder: Folder) -> None:
    place = folder(a=make("scene-a"), b=make("scene-b"))
    data, other = reader(place), reader(place)
    for ref in data.index("train"):
        data.load(ref)
    other.index("train")
    assert data.repairs() == other.repairs()
    assert data.repairs()["ego_length_width_swapped"] == 2 and data.repairs()["lanes_widened_to_an_area"] == 4


def test_repairs_can_be_switched_off(make: Make, folder: Folder) -> None:
    data = reader(folder(a=make()), repairs="none")
    vehicle = data.load(data.index("train")[0]).world.ego.vehicle
    assert vehicle.width == pytest.approx(4.08) and vehicle.length == pytest.approx(1.73)
    assert "ego_length_width_swapped" not in data.repairs() and "velocities_refitted" not in data.repairs()


def test_other_datasets_give_the_centre(make: Make, folder: Folder) -> None:
    data = reader(folder(a=make(dataset="waymo")))
    scenario = data.load(data.index("train")[0])
    vehicle = scenario.world.ego.vehicle
    np.testing.assert_allclose(scenario.origin[0], 16.0 - vehicle.rear_to_center)
    assert data.repairs()["ego_moved_from_centre_to_rear_axle"] == 1


# Splits


def test_fractions_share_out_what_no_list_names(make: Make, folder: Folder) -> None:
    place = folder(**{f"f{i}": make(f"scene-{i}") for i in range(10)})
    data = reader(place, splits={"train": 0.5, "val": 0.25, "test": 0.25, "rare-test": ["scene-3", "f4.pkl"]})
    logs = {split: {ref.log for ref in data.index(split)} for split in data.splits()}
    assert logs["rare-test"] == {"scene-3", "scene-4"}
    assert len(logs["train"]) == 4 and len(logs["val"]) + len(logs["test"]) == 4
    assert sum(map(len, logs.values())) == len(set().union(*logs.values())) == 10
    again = reader(place, splits={"train": 0.5, "val": 0.25, "test": 0.25, "rare-test": ["scene-3", "f4.pkl"]}, seed=1)
    assert {ref.log for ref in again.index("train")} != logs["train"]


def test_no_scene_serves_for_training_and_test(make: Make, folder: Folder) -> None:
    place = folder(a=make("scene-a"), b=make("scene-b"))
    with pytest.raises(ConfigError, match="'scene-a' is in 'train' and in 'test'"):
        reader(place, splits={"train": ["scene-a"], "test": ["*"]}).index("train")
    shared = reader(place, splits={"test": ["scene-a"], "rare-test": ["scene-*"], "train": 1.0})
    assert {ref.log for ref in shared.index("rare-test")} == {"scene-a", "scene-b"}


def test_wrong_names_and_fractions(make: Make, folder: Folder) -> None:
    place = folder(a=make("scene-a"))
    with pytest.raises(UnknownName, match="did you mean 'scene-a'"):
        reader(place, splits={"train": ["scene-x"]}).index("train")
    with pytest.raises(UnknownName, match="did you mean 'train'"):
        reader(place).index("trian")
    with pytest.raises(ConfigError, match="fractions"):
        reader(place, splits={"train": 0.9, "test": 0.9}).index("train")
    with pytest.raises(PydanticError, match="colour"):
        ScenarioNetConfig(folder=str(place), colour="red")  # type: ignore[call-arg]
    with pytest.raises(DataError, match="no window"):
        reader(place).load(Ref("scenarionet/scene-a/21", "train", "scene-a"))
    with pytest.raises(DataError, match="no window"):
        reader(place).load(Ref("minitown/1", "train", "scene-a"))


def test_an_empty_split_says_why(make: Make, folder: Folder) -> None:
    place = folder(a=make("scene-a"), b=make("scene-b", steps=90))
    with pytest.raises(DataError, match="split 'test' is empty: 0 of 2"):
        reader(place, splits={"train": 1.0, "test": 0.0}).index("test")
    with pytest.raises(DataError, match=r"none with a window of 2 \+ 8 s"):
        reader(place, splits={"test": ["scene-b"]}).index("test")
    both = reader(place)
    assert {ref.log for ref in both.index("train")} == {"scene-a"}
    assert both.repairs()["scenes_too_short_for_a_window"] == 1


# Bad files: the good ones go on, the bad ones are rows


def test_bad_files_are_counted_by_name(make: Make, folder: Folder) -> None:
    good = make("scene-a")
    lost = make("scene-m")
    lost["map_features"] = {}
    whole = pickle.dumps(make("scene-t"))
    place = folder(a=good, copy=good, cut=whole[: len(whole) // 2], evil=b"cos\nsystem\n(Vtrue\ntR.", foreign=b"{}", mapless=lost)
    data = reader(place)
    assert {ref.log for ref in data.index("train")} == {"scene-a"}
    rows = [row for row in data.repairs() if row.startswith("file_left_out/")]
    assert [row.split(":")[0].split("/")[1] for row in rows] == ["copy.pkl", "cut.pkl", "evil.pkl", "foreign.pkl", "mapless.pkl"]
    text = "\n".join(rows)
    assert "scene scene-a is in a.pkl already" in text and "ends early" in text and "os.system" in text
    assert "is damaged or no pickle" in text and "a scene without a map" in text
    with pytest.raises(DataError, match="5 of 6 files cannot be used"):
        reader(place, bad_files="error").index("train")


@pytest.mark.parametrize(("key", "value"), [("exit_lanes", 5), ("polygon", [[0, 1], [2]]), ("speed_limit_kmh", "fast")])
def test_a_scene_with_a_malformed_map_costs_itself_only(make: Make, folder: Folder, key: str, value: object) -> None:
    odd = make("scene-odd")
    odd["map_features"]["r1"][key] = value
    data = reader(folder(a=make("scene-a"), odd=odd), repairs="none" if key == "speed_limit_kmh" else "auto")
    loaded, refused = [], []
    for ref in data.index("train"):
        try:
            loaded.append(data.load(ref).log)
        except DataError as error:
            assert "odd.pkl" in str(error)
            refused.append(ref.log)
    assert set(loaded) == {"scene-a"} and set(refused) == {"scene-odd"}
    assert [row for row in data.repairs() if row.startswith("scene_unusable/scene-odd: malformed content")]


def test_a_folder_of_bad_files_only_is_an_error(folder: Folder) -> None:
    with pytest.raises(DataError, match="1 of 1 files"):
        reader(folder(cut=b"\x80\x04")).index("train")


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        reader(tmp_path / "none").index("train")
    with pytest.raises(DataError, match=r"no \*\.pkl"):
        reader(tmp_path).index("train")


def test_summaries_are_no_scenes_and_subfolders_are_read(make: Make, folder: Folder) -> None:
    place = folder(a=make("scene-a"), dataset_summary={"a.pkl": {}}, dataset_mapping={"a.pkl": ""})
    (place / "more").mkdir()
    (place / "more" / "b.pkl").write_bytes(pickle.dumps(make("scene-b")))
    data = reader(place)
    assert {ref.log for ref in data.index("train")} == {"scene-a", "scene-b"}
    assert not [row for row in data.repairs() if row.startswith("file_left_out")]


def test_a_file_that_vanishes_after_the_index_is_a_data_error(make: Make, folder: Folder) -> None:
    place = folder(a=make())
    data = reader(place)
    ref = data.index("train")[0]
    (place / "a.pkl").unlink()
    with pytest.raises(DataError, match=r"a\.pkl"):
        data.load(ref)


# The index cache


def test_the_index_is_remembered_until_a_file_changes(
    make: Make, folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    place = folder(a=make("scene-a"))
    refs = reader(place, cache=True).index("train")
    kept = list((tmp_path / "cache").rglob("*.json"))
    assert len(kept) == 1
    monkeypatch.setattr("wetoolkit_logs.scenarionet.read", lambda *_: pytest.fail("read again"))
    assert reader(place, cache=True).index("train") == refs
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder(a=make("scene-new"))
    assert {ref.log for ref in reader(place, cache=True).index("train")} == {"scene-new"}
    for text in ("not json", '[{"file": 1}]', "[]"):
        kept[0].write_text(text)
        assert {ref.log for ref in reader(place, cache=True).index("train")} == {"scene-new"}


def test_a_cache_that_cannot_be_written_does_no_harm(
    make: Make, folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert reader(folder(a=make()), cache=True).index("train")


def test_variables_in_the_folder(make: Make, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    place = folder(a=make())
    monkeypatch.setenv("LOGS_HERE", str(place.parent))
    assert reader(Path("$LOGS_HERE/scenes")).index("train")


def test_only_so_many_scenes_stay_in_memory(make: Make, folder: Folder) -> None:
    data = reader(folder(**{f"f{i}": make(f"scene-{i}") for i in range(4)}), keep=2)
    for ref in data.index("train"):
        data.load(ref)
    assert len(data._scenes) == 2


class TestContract(DatasetContract):
    """The promises of every data set, on synthetic scenes."""

    @pytest.fixture(autouse=True)
    def _files(self, make: Make, folder: Folder) -> None:
        self.folder = folder(**{f"f{i}": make(f"scene-{i}", dataset="waymo" if i % 2 else "nuscenes") for i in range(6)})

    def make(self) -> ScenarioNet:
        return reader(self.folder, splits={"train": 0.5, "val": 0.2, "test": 0.3})
