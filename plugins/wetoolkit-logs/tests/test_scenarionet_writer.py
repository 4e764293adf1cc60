"""Ours -> ScenarioNet -> ours on random drives; what others see of such a file; MetaDrive's own check of it."""

from __future__ import annotations

import os
import pickle
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from wetoolkit_driving.geometry import ego_center
from wetoolkit_driving.types import AgentClass, AreaKind, World
from wetoolkit_logs.describe import describe
from wetoolkit_logs.scenarionet import ScenarioNet, ScenarioNetConfig
from wetoolkit_logs.scenarionet_writer import dumps, file_name, write
from wetoolkit_logs.unpickle import load

from wetoolkit.errors import ConfigError, DataError
from wetoolkit.testing import DatasetContract
from wetoolkit.types import Scenario

Drive = Callable[..., Scenario[World]]
DRIVABLE = (AreaKind.ROADBLOCK, AreaKind.INTERSECTION, AreaKind.CARPARK)


def reader(folder: Path, **settings: Any) -> ScenarioNet:
    settings.setdefault("splits", {"train": ["*"]})
    return ScenarioNet(ScenarioNetConfig(folder=str(folder), radius=1000, cache=False, **settings))


def back(folder: Path) -> Scenario[World]:
    """The one recording of a folder."""
    data = reader(folder)
    (ref,) = data.recordings("train")
    return data.recording(ref)


def surface(world: World, place: np.ndarray, kinds: tuple[AreaKind, ...]) -> Any:
    areas = [world.map.area(i) + place for i, kind in enumerate(world.map.area_kind) if kind in kinds]
    return shapely.union_all([shapely.make_valid(shapely.Polygon(area)) for area in areas])


@settings(max_examples=12)
@given(seed=st.integers(0, 10_000), steps=st.integers(30, 120), gaps=st.booleans())
def test_what_is_written_comes_back(drive: Drive, seed: int, steps: int, gaps: bool) -> None:
    given_ = drive(seed, steps=steps, gaps=gaps)
    with tempfile.TemporaryDirectory() as place:
        write([given_], Path(place))
        same(given_, back(Path(place)))


@pytest.mark.parametrize("seed", [1, 2])
def test_towns_come_back(seed: int, tmp_path: Path) -> None:
    minitown = pytest.importorskip("wetoolkit_minitown.dataset", reason="towns are made by wetoolkit-minitown")
    few = {"vehicles": 8, "cyclists": 2, "pedestrians": 4, "val_logs": 1, "val_staged": 0, "rare_rate": 0.0, "seconds": 20.0}
    town = minitown.Minitown(minitown.MinitownConfig(seed=seed, cache="off", **few))
    given_ = town.recording(town.recordings("val")[0])
    write([given_], tmp_path)
    same(given_, back(tmp_path))


def same(given_: Scenario[World], found: Scenario[World]) -> None:
    """Every part of the world, positions to a millimetre (the others' are float32)."""
    one, two = given_.world, found.world
    apart = np.array(given_.origin[:2]) - np.array(found.origin[:2])
    shift = lambda xy: xy + apart  # noqa: E731
    assert (found.log, found.origin[2], two.dt, two.ego.vehicle) == (given_.log, given_.origin[2], one.dt, one.ego.vehicle)
    np.testing.assert_allclose(two.ego.states[:, :2], shift(one.ego.states[:, :2]), atol=1e-9)
    np.testing.assert_allclose(two.ego.states[:, 2:], one.ego.states[:, 2:], atol=1e-9)
    seen = one.agents.valid.any(1)
    assert two.agents.ids == tuple(name for name, there in zip(one.agents.ids, seen, strict=True) if there)
    np.testing.assert_array_equal(two.agents.kind, one.agents.kind[seen])
    np.testing.assert_array_equal(two.agents.valid, one.agents.valid[seen])
    valid = two.agents.valid
    np.testing.assert_allclose(two.agents.pose[valid][:, :2], shift(one.agents.pose[seen][valid][:, :2]), atol=1e-3)
    np.testing.assert_allclose(two.agents.velocity[valid], one.agents.velocity[seen][valid], atol=1e-5)
    np.testing.assert_allclose(two.agents.size, one.agents.size[seen], rtol=1e-6)
    road, again = one.map, two.map
    assert again.lane_ids == road.lane_ids and two.unavailable == one.unavailable
    np.testing.assert_allclose(again.lane_xy, shift(road.lane_xy), atol=1e-9)
    for name in ("lane_offset", "lane_left", "lane_right", "lane_signal"):
        np.testing.assert_array_equal(getattr(again, name) >= 0, getattr(road, name) >= 0)
    np.testing.assert_allclose(again.lane_speed_limit, road.lane_speed_limit, rtol=1e-6)
    assert sorted(map(tuple, again.successors)) == sorted(map(tuple, road.successors))
    for lane in range(road.lanes):
        np.testing.assert_allclose(again.area(again.lane_area[lane]), shift(road.area(road.lane_area[lane])), atol=1e-9)
        if road.lane_signal[lane] >= 0:
            np.testing.assert_array_equal(two.signals[again.lane_signal[lane]], one.signals[road.lane_signal[lane]])
        block = again.area(again.lane_roadblock[lane])
        np.testing.assert_allclose(block, shift(road.area(road.lane_roadblock[lane])), atol=1e-9)
    assert sorted(again.area_kind) == sorted(road.area_kind)
    assert surface(two, np.zeros(2), DRIVABLE).symmetric_difference(surface(one, apart, DRIVABLE)).area < 1e-6
    assert [again.lane_ids[i] for i in two.route] == [road.lane_ids[i] for i in one.route]


def test_others_see_poses_lanes_and_the_road(drive: Drive, tmp_path: Path) -> None:
    """Without what is kept for ourselves: positions are box centres and the drivable outline is that of the areas."""
    given_ = drive(5, agents=30)
    (path, *_) = write([given_], tmp_path)
    raw = pickle.loads(path.read_bytes())
    del raw["metadata"]["wetoolkit"]
    for track in raw["tracks"].values():
        del track["metadata"]["wetoolkit_class"]
    path.write_bytes(dumps(raw))
    found = back(tmp_path)
    one, two = given_.world, found.world
    apart = np.array(given_.origin[:2]) - np.array(found.origin[:2])
    due = ego_center(one.ego.states, one.ego.vehicle)[:, :2] + apart
    np.testing.assert_allclose(ego_center(two.ego.states, two.ego.vehicle)[:, :2], due, atol=1e-3)
    np.testing.assert_allclose(two.agents.pose[..., :2], one.agents.pose[..., :2] + apart, atol=1e-3)
    told = {AgentClass.CZONE_SIGN: AgentClass.GENERIC_OBJECT}
    assert [told.get(AgentClass(k), k) for k in one.agents.kind] == list(two.agents.kind)
    np.testing.assert_allclose(two.map.lane_xy, one.map.lane_xy + apart, atol=1e-9)
    assert (two.map.area_kind[two.map.lane_area] == one.map.area_kind[one.map.lane_area]).all()
    frame = shapely.box(*(two.ego.states[:, :2].min(0) - 900), *(two.ego.states[:, :2].max(0) + 900))
    difference = surface(two, np.zeros(2), DRIVABLE[:1]).symmetric_difference(surface(one, apart, DRIVABLE).intersection(frame))
    assert difference.area < 1.0  # m^2: holes are cut open by 2 cm


def test_files_are_builtins_and_arrays_that_any_numpy_loads(drive: Drive, tmp_path: Path) -> None:
    (path, summary, mapping) = write([drive(7)], tmp_path)
    data = path.read_bytes()
    assert b"numpy._core" not in data and b"numpy.core.multiarray" in data
    raw = pickle.loads(data)
    assert isinstance(raw["tracks"]["ego"]["state"]["position"], np.ndarray)
    kinds: set[str] = set()

    def walk(value: Any) -> None:
        kinds.add(type(value).__name__)
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, (list, set, tuple)) else ():
            walk(item)

    walk(raw)
    assert kinds <= {"dict", "list", "set", "str", "int", "float", "bool", "ndarray"}
    assert load(summary)[path.name]["number_summary"]["num_objects"] == 13 and load(mapping) == {path.name: ""}


def test_a_second_conversion_adds_to_the_database(drive: Drive, tmp_path: Path) -> None:
    write([drive(1, log="a")], tmp_path)
    paths = write([drive(2, log="b"), drive(3, log="c/d")], tmp_path)
    assert [path.name for path in paths[:2]] == ["sd_wetoolkit-random_1_b.pkl", file_name("wetoolkit-random", "c/d")]
    assert len(pickle.loads((tmp_path / "dataset_summary.pkl").read_bytes())) == 3
    assert b"wetoolkit_logs" not in (tmp_path / "dataset_summary.pkl").read_bytes()
    assert [ref.id for ref in reader(tmp_path).recordings("train")] == ["a", "b", "c/d"]
    assert file_name("x", "c/d") != file_name("x", "c_d") != file_name("x", "c d")
    (tmp_path / "dataset_summary.pkl").write_bytes(pickle.dumps([1]))
    with pytest.raises(DataError, match="no summary"):
        write([drive(1)], tmp_path)


def test_what_cannot_be_written_says_why(drive: Drive, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no sensor data"):
        write([drive(1)], tmp_path, sensors=lambda scenario: None)  # type: ignore[arg-type, return-value]
    given_ = drive(1)
    empty = replace(given_.world.ego, valid=np.zeros(120, bool))
    with pytest.raises(DataError, match="the ego known in 0"):
        describe(replace(given_, world=replace(given_.world, ego=empty)))


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("ego", np.zeros((3, 8)), "finite numbers"), ("roadblock", np.full(3, 0), "indices"), ("left", [10**6], "indices"),
        ("route", ["nowhere"], "'nowhere'"), ("vehicle", {"width": -1.0}, "width"), ("areas", [{"id": "x"}], "malformed"),
        ("vehicle", {"wings": 2.0}, "malformed"),
    ],
)  # fmt: skip
def test_wrong_extras_are_named(drive: Drive, tmp_path: Path, name: str, value: Any, says: str) -> None:
    (path, *_) = write([drive(1)], tmp_path)
    raw = pickle.loads(path.read_bytes())
    raw["metadata"]["wetoolkit"][name] = value
    path.write_bytes(dumps(raw))
    data = reader(tmp_path)
    with pytest.raises(DataError, match=says):
        data.recording(data.recordings("train")[0])
    (defect,) = data.defects()
    assert defect.handling == "refused" and defect.file == path.name


def test_the_means_of_a_long_lane_and_its_polygon_are_near(drive: Drive) -> None:
    """MetaDrive refuses lanes whose line and polygon have their points at different ends."""
    given_ = drive(2)
    road = given_.world.map
    near = np.array([[0.0, 0], [1, 0], [2, 0], [3, 0], [400, 0]])
    ring = np.array([[0, -2], [400, -2], [400, 0], [400, 1], [400, 2], [0.0, 2]])
    first, last, area = int(road.lane_offset[0]), int(road.lane_offset[1]), int(road.lane_area[0])
    start, stop = int(road.area_offset[area]), int(road.area_offset[area + 1])
    changed = replace(
        road, lane_xy=np.vstack([road.lane_xy[:first], near, road.lane_xy[last:]]),
        lane_offset=np.append(road.lane_offset[:1], road.lane_offset[1:] + len(near) - (last - first)).astype(np.int32),
        area_xy=np.vstack([road.area_xy[:start], ring, road.area_xy[stop:]]),
        area_offset=np.where(np.arange(len(road.area_offset)) > area, road.area_offset + len(ring) - (stop - start),
                             road.area_offset).astype(np.int32),
    )  # fmt: skip
    feature = describe(replace(given_, world=replace(given_.world, map=changed)))["map_features"][road.lane_ids[0]]
    assert np.linalg.norm(feature["polyline"].mean(0) - feature["polygon"].mean(0)) < 10
    assert shapely.LineString(feature["polyline"]).length == pytest.approx(400)
    assert shapely.Polygon(feature["polygon"]).area == pytest.approx(1600)


CHECK = """
import sys
from metadrive.scenario.scenario_description import ScenarioDescription as Description
from metadrive.scenario.utils import read_dataset_summary, read_scenario_data
summary, names, mapping = read_dataset_summary(sys.argv[1])
for name in names:
    scene = read_scenario_data(f"{sys.argv[1]}/{mapping[name]}/{name}")
    Description.sanity_check(scene, valid_check=True)
    numbers = Description.get_number_summary(scene)
    ours = summary[name]["number_summary"]
    print(name, all(numbers[key] == ours[key] for key in ours if key != "map_height_diff"))
"""


def test_metadrives_own_check_passes(drive: Drive, tmp_path: Path) -> None:
    python = os.environ.get("WETOOL_METADRIVE")
    if not python:
        pytest.skip("set WETOOL_METADRIVE to a python that has metadrive-simulator installed")
    write([drive(seed, gaps=bool(seed % 2), log=f"drive-{seed}") for seed in range(6)], tmp_path)
    done = subprocess.run([python, "-c", CHECK, str(tmp_path)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith("sd_")]
    assert len(lines) == 6 and all(line.endswith("True") for line in lines), done.stdout


class TestContract(DatasetContract):
    """The promises of every data set, on files that we wrote."""

    @pytest.fixture(autouse=True)
    def _files(self, drive: Drive, tmp_path: Path) -> None:
        self.folder = tmp_path
        write([drive(seed, steps=110, log=f"drive-{seed}") for seed in range(3)], tmp_path)

    def make(self) -> ScenarioNet:
        return reader(self.folder, splits={"train": ["drive-0", "drive-1"], "test": ["drive-2"]})
