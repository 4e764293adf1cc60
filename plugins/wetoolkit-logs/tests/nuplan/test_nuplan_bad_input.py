"""Broken logs, maps, images and calibrations: an error or a defect that names file, table and row; never a wrong window."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pyogrio.raw
import pytest
import shapely
from wetoolkit_driving.sensors import Camera, Image, Sensors, Sweep
from wetoolkit_driving.types import AgentClass
from wetoolkit_logs.nuplan import db
from wetoolkit_logs.nuplan.citymap import CityMap, map_file
from wetoolkit_logs.nuplan.dataset import NuPlan, NuPlanConfig
from wetoolkit_logs.nuplan.writer import write
from wetoolkit_logs.recording import SIZES

from wetoolkit.errors import DataError

STEPS, LOG = 131, "random_drive_0.db"


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def whole(drive, tmp_path_factory):
    """One log as it should be, with a camera and a lidar."""
    place = tmp_path_factory.mktemp("whole")
    mount = np.eye(4)
    mount[:3, 3] = 1.5, 0, 1.6
    camera = Camera("CAM_F0", (64, 36), np.array([[50.0, 0, 32], [0, 50, 18], [0, 0, 1]]), mount)
    images = []
    for k in range(10):
        path = tmp_path_factory.mktemp("seen") / f"{k}.jpg"
        path.write_bytes(b"\xff\xd8\xff" + bytes([k]))
        images.append(Image("CAM_F0", 0.5 * k, np.eye(4), path))
    points = np.array([[1.0, 2, 0.5, 0.2], [30, -4, 1, 1]], np.float32)
    sweeps = tuple(Sweep(0.1 * k, np.eye(4), Path("-"), lambda _: points) for k in range(STEPS))
    write([drive(0, steps=STEPS)], place, sensors=lambda _: Sensors((camera,), tuple(images), sweeps))
    return place


@pytest.fixture
def folder(whole, tmp_path):
    """A copy to break."""
    place = tmp_path / "broken"
    shutil.copytree(whole, place, symlinks=True)
    return place


def reader(folder, **settings):
    return NuPlan(NuPlanConfig(**{"folder": str(folder), "splits": {"train": 1.0}, "stride": 0.1, **settings}))


def change(folder, *orders, log=LOG):
    with closing(sqlite3.connect(folder / log)) as base, base:
        for sql, *values in orders:
            base.execute(sql, values)
    return folder


def rows(folder, sql):
    with closing(sqlite3.connect(folder / LOG)) as base:
        return base.execute(sql).fetchall()


def windows(folder, **settings):
    """Token -> world."""
    data = reader(folder, **settings)
    return {ref.id.rpartition("/")[2]: data.load(ref).world for ref in data.index("train")}


def defects(folder, **settings):
    return list(reader(folder, **settings).defects())


def said(found, *words):
    """The first defect with all these words."""
    text = [" ".join((d.file, d.place, d.what, d.handling)) for d in found]
    hits = [d for d, line in zip(found, text, strict=True) if all(word in line for word in words)]
    assert hits, "\n".join(text)
    return hits[0]


def refused(folder, *words):
    """The log is left out by the reader and refused by the check, with these words."""
    with pytest.raises(DataError) as caught:
        reader(folder).index("train")
    assert all(word in str(caught.value) for word in words), str(caught.value)
    said(defects(folder), "refused", *words)


def test_nothing_is_wrong_with_a_whole_log(whole):
    assert [d for d in defects(whole) if "joins no other lane" not in d.what] == []
    assert len(windows(whole)) == 31


@pytest.mark.parametrize("table", ["lidar_box", "ego_pose", "track", "category", "scene", "lidar_pc", "traffic_light_status"])
def test_a_missing_table(folder, table):
    refused(change(folder, (f"DROP TABLE {table}",)), LOG, table, "the table is missing")


@pytest.mark.parametrize(("table", "column"), [("lidar_box", "yaw"), ("ego_pose", "qw"), ("track", "category_token")])
def test_a_missing_column(folder, table, column):
    refused(change(folder, (f"ALTER TABLE {table} DROP COLUMN {column}",)), LOG, table, f"no column {column}")


def test_a_missing_index_costs_time_only(whole, folder):
    change(folder, ("DROP INDEX lidar_box_lidar_pc_token",), ("DROP INDEX traffic_light_status_lidar_pc_token",))
    said(defects(folder), LOG, "lidar_box.lidar_pc_token", "no index", "repaired")
    same(windows(folder, boxes="ask"), windows(whole))


def same(found, due):
    assert found.keys() == due.keys()
    for token, world in found.items():
        close(world, due[token])


def close(world, other):
    assert np.array_equal(world.ego.states, other.ego.states)
    assert world.agents.ids == other.agents.ids and np.array_equal(world.agents.valid, other.agents.valid)
    assert np.allclose(world.agents.pose, other.agents.pose, atol=1e-5)
    assert np.array_equal(world.signals, other.signals) and world.map.lane_ids == other.map.lane_ids


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_a_truncated_log(folder, share):
    path = folder / LOG
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    refused(folder, LOG, "cut short" if share > 0.01 else "")


def test_pages_that_were_overwritten(folder):
    path = folder / LOG
    data = bytearray(path.read_bytes())
    data[8192 : len(data) - 4096] = bytes(len(data) - 12288)
    path.write_bytes(data)
    refused(folder, LOG, "damaged")


def test_something_else_called_db(folder):
    (folder / "notes.db").write_text("nothing of the kind")
    assert "no SQLite database" in said(defects(folder), "notes.db").what
    data = reader(folder)
    data.index("train")
    assert [name for name in data.repairs() if "notes.db" in name]
    with pytest.raises(DataError, match=r"notes\.db"):
        reader(folder, bad_files="error").index("train")


@pytest.mark.parametrize("boxes", ["ask", "arrays"])
@pytest.mark.parametrize("later", [3_000_000, -1_000_000, 40_000, -50_000])
def test_time_stamps_out_of_order(whole, folder, later, boxes):
    token, time = rows(folder, "SELECT token, timestamp FROM lidar_pc ORDER BY timestamp LIMIT 1 OFFSET 225")[0]
    change(folder, ("UPDATE lidar_pc SET timestamp = ? WHERE token = ?", time + later, token))
    found, due = windows(folder, boxes=boxes), windows(whole)
    assert 0 < len(found) < len(due)
    for name, world in found.items():
        close(world, due[name])
    data = reader(folder)
    data.index("train")
    assert sum(count for name, count in data.repairs().items() if name.startswith(("frames", "poses"))) > 0
    said(defects(folder), LOG, "lidar_pc", "skipped")


def test_all_time_stamps_reversed(folder):
    change(folder, ("UPDATE lidar_pc SET timestamp = 3200000000000000 - timestamp",))
    with pytest.raises(DataError, match="none with a window"):
        reader(folder).index("train")


def test_a_time_stamp_that_is_no_number(folder):
    change(folder, ("UPDATE lidar_pc SET timestamp = 'noon' WHERE rowid = 20",))
    refused(folder, LOG, "lidar_pc", "no integer", "token")


@pytest.mark.parametrize(
    ("order", "count"),
    [
        ("DELETE FROM ego_pose WHERE rowid = 211", "frames_without_a_pose"),
        ("UPDATE ego_pose SET x = NULL WHERE rowid = 211", "frames_without_a_pose"),
        ("UPDATE ego_pose SET qw = 0, qz = 0 WHERE rowid = 211", "poses_without_a_heading"),
        ("UPDATE ego_pose SET timestamp = timestamp + 1000000 WHERE rowid = 211", "poses_of_another_time"),
        ("UPDATE ego_pose SET x = x + 500 WHERE rowid = 211", "ego_jumps"),
        ("DELETE FROM lidar_pc WHERE rowid = 211", ""),
    ],
)
def test_windows_never_span_a_frame_without_a_true_pose(whole, folder, order, count):
    found, due = windows(change(folder, (order,))), windows(whole)
    assert 0 < len(found) < len(due)
    for name, world in found.items():
        close(world, due[name])
    data = reader(folder)
    data.index("train")
    assert not count or data.repairs()[count] > 0


def test_tracks_with_one_box_and_boxes_without_extent(folder):
    (one,), (flat,) = rows(folder, "SELECT token FROM track LIMIT 2")
    frame = rows(folder, "SELECT token FROM lidar_pc ORDER BY timestamp LIMIT 1 OFFSET 100")[0][0]
    change(
        folder, ("DELETE FROM lidar_box WHERE track_token = ? AND lidar_pc_token != ?", one, frame),
        ("UPDATE track SET width = 0, height = NULL WHERE token = ?", flat),
    )  # fmt: skip
    world = reader(folder).load(reader(folder).find(token=frame.hex())[0]).world
    ids = dict(rows(folder, "SELECT token, name FROM wetoolkit_track"))
    a, b = world.agents.ids.index(ids[one]), world.agents.ids.index(ids[flat])
    assert world.agents.valid[a].sum() == 1 and world.agents.valid[a, 20]
    usual = SIZES.get(AgentClass(world.agents.kind[b]), (0.5, 0.5, 1.0))
    assert world.agents.size[b, 1:].tolist() == np.array(usual[1:], np.float32).tolist() and world.agents.size[b, 0] > 0
    found = defects(folder)
    assert said(found, one.hex(), "one box only").handling == "repaired"
    assert said(found, flat.hex(), "no extent").handling == "repaired"


def test_boxes_and_lights_that_lead_nowhere(whole, folder):
    box, light = (
        rows(folder, "SELECT max(token) FROM lidar_box")[0][0],
        rows(folder, "SELECT max(token) FROM traffic_light_status")[0][0],
    )
    change(
        folder, ("UPDATE lidar_box SET track_token = x'00' WHERE token = ?", box),
        ("UPDATE lidar_box SET yaw = NULL WHERE rowid = 7",), ("UPDATE lidar_box SET lidar_pc_token = x'01' WHERE rowid = 8",),
        ("UPDATE traffic_light_status SET status = 'blue' WHERE token = ?", light), 
        ("UPDATE category SET name = 'tank' WHERE rowid = 1",),
    )  # fmt: skip
    found = defects(folder)
    for words in ((box.hex(), "no track"), ("lidar_box", "no place"), ("lidar_box", "no frame"), (light.hex(), "green, red")):
        assert said(found, *words).handling == "skipped"
    for boxes in ("ask", "arrays"):
        broken, due = windows(folder, boxes=boxes), windows(whole)
        assert broken.keys() == due.keys()
        lost = sum(due[name].agents.valid.sum() - world.agents.valid.sum() for name, world in broken.items())
        assert 0 < lost <= 3 * len(due)


def test_two_files_of_one_log(folder):
    shutil.copy(folder / LOG, folder / "again.db")
    data = reader(folder)
    assert len(data.recordings("train")) == 1
    assert any("is in again.db already" in name for name in data.repairs())


def test_a_map_of_another_city(drive, folder, tmp_path):
    write([drive(5)], tmp_path / "elsewhere")
    data = reader(folder, maps=str(tmp_path / "elsewhere" / "maps"))
    with pytest.raises(DataError, match="another city") as caught:
        data.load(data.index("train")[0])
    assert LOG in str(caught.value)
    said(defects(folder, maps=str(tmp_path / "elsewhere" / "maps")), LOG, "another city", "refused")


def test_no_map(folder, tmp_path):
    shutil.rmtree(folder / "maps")
    data = reader(folder)
    with pytest.raises(DataError, match="no map 'us-nv-las-vegas-strip'"):
        data.load(data.index("train")[0])
    said(defects(folder), "no map", "refused")


def remade(folder, tmp_path, layer, edit):
    """The map with a layer's columns and shapes edited, or without the layer."""
    source = map_file(folder / "maps", "us-nv-las-vegas-strip")
    made = tmp_path / "map.gpkg"
    for name, _ in pyogrio.list_layers(source):
        facts, fids, shapes, values = pyogrio.raw.read(str(source), layer=name, return_fids=True)
        columns = dict(zip(facts["fields"], values, strict=True)) | {"fid": fids, "geometry": shapes}
        columns = edit(columns) if name == layer else columns
        if columns is None:
            continue
        shapes = columns.pop("geometry")
        more = {"geometry_type": "Unknown", "crs": facts["crs"]} if shapes is not None else {}
        if shapes is None:
            columns.pop("fid")
        pyogrio.raw.write(str(made), shapes, list(columns.values()), list(columns), layer=name, driver="GPKG",
                          append=made.exists(), **more)  # fmt: skip
    source.unlink()
    shutil.copy(made, source)
    return folder, source


def test_lanes_that_do_not_connect(folder, tmp_path):
    def edit(columns):
        columns["entry_lane_fid"][0] = 7
        return columns

    _, path = remade(folder, tmp_path, "lane_connectors", edit)
    assert CityMap(path).counts == {"links_to_no_lane": 1}
    said(defects(folder), "map.gpkg", "links_to_no_lane", "1 left out")
    data = reader(folder)
    assert data.load(data.index("train")[0]).world.map.lanes


def test_lanes_whose_ends_lie_apart_are_not_joined(whole, folder, tmp_path):
    def edit(columns):
        moved = shapely.transform(shapely.from_wkb(columns["geometry"][:1]), lambda xy: xy + 50)
        columns["geometry"][:1] = shapely.to_wkb(moved)
        return columns

    _, path = remade(folder, tmp_path, "baseline_paths", edit)
    lost = CityMap(path).counts["links_between_lanes_apart"]
    there = CityMap(map_file(whole / "maps", "us-nv-las-vegas-strip")).arrays["successors"]
    assert lost > 0 and len(CityMap(path).arrays["successors"]) == len(there) - lost


@pytest.mark.parametrize("layer", ["baseline_paths", "lane_groups_polygons", "intersections", "meta"])
def test_a_map_without_a_layer(folder, tmp_path, layer):
    remade(folder, tmp_path, layer, lambda columns: None)
    data = reader(folder)
    with pytest.raises(DataError, match=f"no layer {layer}") as caught:
        data.load(data.index("train")[0])
    assert "map.gpkg" in str(caught.value)
    said(defects(folder), "map.gpkg", layer, "refused")


def test_a_map_without_a_column_and_a_truncated_one(folder, tmp_path):
    _, path = remade(
        folder, tmp_path, "lane_connectors", lambda columns: {k: v for k, v in columns.items() if k != "exit_lane_fid"}
    )
    with pytest.raises(DataError, match="no column exit_lane_fid"):
        CityMap(path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match="no map that can be read"):
        CityMap(path)


def test_images_and_sweeps_come_with_their_window(whole):
    data = reader(whole)
    ref = data.index("train")[0]
    seen, world = data.sensors(ref), data.load(ref).world
    assert [image.time for image in seen.images] == pytest.approx([0.5 * k for k in range(10)])
    assert [image.path.read_bytes()[-1] for image in seen.images] == list(range(10))
    assert len(seen.sweeps) == 101
    for image in seen.images:
        step = round(image.time / world.dt)
        assert np.abs(image.ego_to_world[:2, 3] - world.ego.states[step, :2]).max() < 1e-6
        turned = np.arctan2(image.ego_to_world[1, 0], image.ego_to_world[0, 0])
        assert turned == pytest.approx(world.ego.states[step, 2], abs=1e-9)
    assert np.allclose(seen.sweeps[0].points(), [[1, 2, 0.5, 0.2], [30, -4, 1, 1]], atol=1e-6)
    assert len(data.sensors(data.recordings("train")[0]).sweeps) == STEPS
    assert data.sensors(ref, []).images == () and data.inspect()["sensors"] == "10 images"
    with pytest.raises(DataError, match="CAM_X"):
        data.sensors(ref, ["CAM_X"])


def test_a_missing_image(folder):
    image = sorted((folder / "sensor_blobs").rglob("*.jpg"))[0]
    image.unlink()
    with pytest.raises(DataError, match="the image is missing") as caught:
        reader(folder).sensors(reader(folder).recordings("train")[0])
    assert image.name in str(caught.value) and "token" in str(caught.value)
    said(defects(folder), LOG, "image token", image.name, "refused")


def test_a_damaged_sweep(folder):
    sweep = sorted((folder / "sensor_blobs").rglob("*.pcd"))[0]
    sweep.write_bytes(sweep.read_bytes()[:-3])
    seen = reader(folder).sensors(reader(folder).recordings("train")[0])
    with pytest.raises(DataError, match=sweep.name):
        next(s for s in seen.sweeps if s.path == sweep).points()


class Evil:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize(("table", "column"), [("camera", "rotation"), ("camera", "intrinsic"), ("lidar", "translation")])
def test_a_hostile_pickle_is_refused_and_not_run(folder, tmp_path, table, column):
    mark = tmp_path / "it ran"
    for data, words in ((pickle.dumps(Evil(mark)), "not admitted"), (b"\x80\x04", "ends early"), (pickle.dumps([1.0]), "numbers")):
        change(folder, (f"UPDATE {table} SET {column} = ?", data))
        with pytest.raises(DataError, match=words) as caught:
            reader(folder).sensors(reader(folder).recordings("train")[0])
        assert all(word in str(caught.value) for word in (LOG, table, "token", column))
        said(defects(folder), LOG, f"{table} token", column, words, "refused")
        assert not mark.exists()
    assert windows(folder)  # what needs no calibration is read


def test_wrong_sums(folder):
    digest = hashlib.sha256((folder / LOG).read_bytes()).hexdigest()
    (folder / "SHA256SUMS").write_text(f"{digest}  {LOG}\n")
    assert not [d for d in defects(folder) if "sha256" in d.what]
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  {LOG}\n{digest} *lost.db\n")
    assert said(defects(folder), LOG, "sha256 is not as told").handling == "refused"
    said(defects(folder), "lost.db", "the file is missing")


def test_a_folder_without_logs(tmp_path):
    with pytest.raises(DataError, match="no log"):
        reader(tmp_path).index("train")


def test_a_file_that_went_away_is_named(folder):
    with pytest.raises(DataError, match=r"gone\.db"), db.opened(folder / "gone.db"):
        pass
