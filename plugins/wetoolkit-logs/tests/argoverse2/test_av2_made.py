"""A log made by the tests: where everybody is, what the sensors saw and when, and what is said where files are broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from wetoolkit_driving.types import AgentClass
from wetoolkit_logs.argoverse2.dataset import Argoverse2
from wetoolkit_logs.argoverse2.sensors import AXLE

from wetoolkit.errors import DataError, UnknownName
from wetoolkit.testing import DatasetContract

Reader = Callable[..., Argoverse2]


def test_bodies_are_where_the_log_has_them(log: Path, reader: Reader) -> None:
    data = reader(log.parent)
    scenario = data.recording(data.recordings("train")[0])
    world = scenario.world
    assert scenario.origin == pytest.approx((1000.0, 2000.0, 50.0 - AXLE))
    np.testing.assert_allclose(world.ego.states[:, 0], 0.5 * np.arange(31), atol=1e-9)
    np.testing.assert_allclose(world.ego.states[:, 3], 5.0, atol=1e-6)
    assert dict(zip(world.agents.ids, world.agents.kind, strict=True)) == {
        "car": AgentClass.VEHICLE, "walker": AgentClass.PEDESTRIAN, "cone": AgentClass.TRAFFIC_CONE,
    }  # fmt: skip
    car, walker, cone = (world.agents.ids.index(name) for name in ("car", "walker", "cone"))
    np.testing.assert_allclose(world.agents.pose[car, :, 0], 10 + 0.5 * np.arange(31), atol=1e-4)
    np.testing.assert_allclose(world.agents.pose[walker, :, :2], np.tile([20.0, 5.0], (31, 1)), atol=1e-4)
    assert np.flatnonzero(world.agents.valid[cone]).tolist() == [4]
    assert [world.map.lane_ids[i] for i in world.route] == ["lane/1", "lane/2"]


def test_a_window_has_the_files_of_its_time(log: Path, reader: Reader) -> None:
    data = reader(log.parent)
    ref = next(ref for ref in data.index("train") if ref.id.endswith("/10"))  # steps 5 to 20
    seen = data.sensors(ref)
    assert [camera.name for camera in seen.cameras] == ["ring_front_center", "ring_side_left"]
    np.testing.assert_allclose([sweep.time for sweep in seen.sweeps], 0.1 + 0.2 * np.arange(8), atol=1e-9)  # steps 6, 8, ..., 20
    assert len(seen.images) == 2 * 32 and seen.images[0].time == pytest.approx(-0.049) and seen.images[-1].time <= 1.55
    assert seen.images[0].camera == "ring_front_center" and seen.images[0].path.suffix == ".jpg"
    now = next(sweep for sweep in seen.sweeps if sweep.time == pytest.approx(0.5))  # the window's present
    np.testing.assert_allclose(now.ego_to_world, np.eye(4), atol=1e-9)
    np.testing.assert_allclose(seen.sweeps[-1].ego_to_world[:3, 3], [5.0, 0, 0], atol=1e-9)
    np.testing.assert_allclose(now.points(), [[10, 0, 0.5 + AXLE, 1], [12, 0.5, 0, 0.2]], atol=1e-6)
    assert [camera.name for camera in data.sensors(ref, ["ring_side_left"]).cameras] == ["ring_side_left"]
    whole = data.sensors(data.recordings("train")[0])
    assert len(whole.sweeps) == 16 and len(whole.images) == 120
    assert data.inspect()["sensors"] == "lidar, ring_front_center, ring_side_left in 1 logs"


def test_cameras_look_ahead_and_are_on_the_car(log: Path, reader: Reader) -> None:
    data = reader(log.parent)
    seen = data.sensors(data.recordings("train")[0])
    camera = seen.camera("ring_front_center")
    assert camera.size == (160, 90) and camera.distortion.tolist() == [-0.1, 0.0, 0.0, 0.0, 0.01]
    image = next(image for image in seen.images if image.camera == camera.name)
    x = 5.0 * image.time + 1.6 + 8.0  # 8 m before the camera, 1 m to its left and 0.4 m below it
    point = seen.world_to_camera(image) @ [x, 1.0, 1.4 + AXLE - 0.4, 1.0]
    np.testing.assert_allclose(point[:3], [-1.0, 0.4, 8.0], atol=1e-6)


def test_a_log_without_sensors_has_none(tmp_path: Path, log: Path, reader: Reader) -> None:
    for path in sorted((log / "sensors").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    data = reader(tmp_path)
    seen = data.sensors(data.index("train")[0])
    assert (seen.cameras, seen.images, seen.sweeps) == ((), (), ()) and data.inspect()["sensors"] == "none"


def test_wrong_sensor_files_are_named(log: Path, reader: Reader) -> None:
    data = reader(log.parent)
    ref = data.recordings("train")[0]
    with pytest.raises(UnknownName, match="ring_front_center"):
        data.sensors(ref, ["ring_front_centre"])
    sweep = data.sensors(ref).sweeps[3]
    content = sweep.path.read_bytes()
    sweep.path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=sweep.path.name):
        sweep.points()
    sweep.path.unlink()
    with pytest.raises(DataError, match=sweep.path.name):
        sweep.points()
    mounts = log / "calibration" / "egovehicle_SE3_sensor.feather"
    pl.read_ipc(mounts.read_bytes()).filter(pl.col("sensor_name") != "ring_side_left").write_ipc(mounts)
    with pytest.raises(DataError, match="without calibration") as caught:
        data.sensors(ref)
    assert caught.value.context["field"] == "sensor_name ring_side_left"
    mounts.unlink()
    with pytest.raises(DataError, match="egovehicle_SE3_sensor"):
        data.sensors(ref)
    assert data.sensors(ref, []).sweeps  # the lidar needs no calibration
    (log / "sensors" / "lidar" / "latest.feather").write_bytes(content)
    with pytest.raises(DataError, match="no time stamp in its name"):
        data.sensors(ref, [])


def change(path: Path, how: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    how(pl.read_ipc(path.read_bytes())).write_ipc(path)


def at(row: int, column: str, value: Any) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda frame: frame.with_columns(
        pl.when(pl.int_range(pl.len()) == row).then(pl.lit(value)).otherwise(pl.col(column)).alias(column)
    )


@pytest.mark.parametrize(
    ("file", "how", "says"),
    [
        ("annotations.feather", lambda frame: frame.drop("category"), "columns are missing.*category"),
        ("annotations.feather", at(7, "tx_m", None), "a value is missing.*tx_m, row 7"),
        ("annotations.feather", at(3, "qw", 5.0), "no rigid motion.*row 3"),
        ("annotations.feather", at(5, "timestamp_ns", 315_966_253_700_000_000), "not 10 Hz|no pose"),
        ("annotations.feather", lambda frame: frame.head(1), "1 annotated times"),
        ("city_SE3_egovehicle.feather", lambda frame: frame.tail(200), "no pose at 11 of 31 annotated times"),
        ("city_SE3_egovehicle.feather", at(9, "ty_m", float("nan")), "no rigid motion.*row 9"),
        ("city_SE3_egovehicle.feather", lambda frame: frame.drop("qz"), "columns are missing.*qz"),
    ],
)
def test_a_broken_table_is_named_with_its_row(log: Path, reader: Reader, file: str, how: Any, says: str) -> None:
    change(log / file, how)
    with pytest.raises(DataError, match=f"(?s){says}"):
        reader(log.parent).index("train")


def test_what_can_be_mended_is_counted(log: Path, reader: Reader) -> None:
    """Rows in any order, a pose twice, a box twice, a box without extent, a track of one box."""
    change(log / "annotations.feather", lambda frame: pl.concat([at(0, "width_m", 0.0)(frame), frame.head(1)]).reverse())
    change(log / "annotations.feather", lambda frame: frame.with_columns(width_m=pl.when(pl.col("track_uuid") == "walker")
                                                                         .then(0.0).otherwise("width_m")))  # fmt: skip
    change(log / "city_SE3_egovehicle.feather", lambda frame: pl.concat([frame, frame.head(2)]).reverse())
    data = reader(log.parent)
    data.index("train")
    counts = data.repairs()
    assert counts["poses_of_one_time_left_out"] == 2 and counts["boxes_of_one_time_left_out"] == 1
    assert counts["boxes_without_extent"] == 1 and counts["one_step_tracks"] == 1
    said = {(defect.place, defect.what) for defect in data.defects()}
    assert ("track cone", "seen in one step only") in said
    assert ("track walker", "a box without extent gets its class's usual size") in said
    world = data.load(data.index("train")[0]).world
    assert world.agents.size[world.agents.ids.index("walker"), 1] == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        (lambda raw: raw.pop("lane_segments"), "no map of Argoverse 2"),
        (lambda raw: raw["lane_segments"]["1"]["left_lane_boundary"][0].update(x=float("nan")), "not finite"),
        (lambda raw: raw["lane_segments"]["1"].pop("successors"), "no map of Argoverse 2"),
        (lambda raw: raw.update(lane_segments={}), "a scene without a map|no lane|malformed"),
    ],
)
def test_a_broken_map_is_named(log: Path, reader: Reader, how: Any, says: str) -> None:
    (path,) = (log / "map").glob("*.json")
    raw = json.loads(path.read_text())
    how(raw)
    path.write_text(json.dumps(raw))
    with pytest.raises(DataError, match=says):
        data = reader(log.parent)
        data.recording(data.recordings("train")[0])


def test_lanes_that_do_not_connect_are_told(log: Path, reader: Reader) -> None:
    (path,) = (log / "map").glob("*.json")
    raw = json.loads(path.read_text())
    raw["lane_segments"]["1"]["successors"], raw["lane_segments"]["2"]["predecessors"] = [77], []
    path.write_text(json.dumps(raw))
    data = reader(log.parent)
    said = [defect.place for defect in data.defects() if defect.what == "joins no other lane"]
    assert said == ["lane lane/1", "lane lane/2"]
    assert data.load(data.index("train")[0]).world.map.lanes == 2


class TestContract(DatasetContract):
    """The promises of every data set, on logs made here."""

    @pytest.fixture(autouse=True)
    def _files(self, log: Path, reader: Reader) -> None:
        self.folder, self.reader = log.parent, reader

    def make(self) -> Argoverse2:
        return self.reader(self.folder)
