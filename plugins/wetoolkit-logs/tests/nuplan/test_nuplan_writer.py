"""A written log and map obey every rule of the format: tables, columns, indexes, tokens, times, layers and their keys."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np
import pyogrio.raw
import pytest
import shapely
from wetoolkit_driving.types import AgentClass, AreaKind, Signal
from wetoolkit_logs import unpickle
from wetoolkit_logs.nuplan import db
from wetoolkit_logs.nuplan.gpkg import read_layer
from wetoolkit_logs.nuplan.schema import CATEGORIES, COLUMNS, LAYERS, LOCATION, LOCATIONS, MAP_INDEX, NEEDED_INDEXES
from wetoolkit_logs.nuplan.writer import Options, write

from wetoolkit.errors import DataError

LOG = "random_drive_0.db"
MAP = Path("maps") / LOCATION / "wetoolkit-1" / "map.gpkg"


@pytest.fixture(scope="module")
def folder(drive, written):
    return written([drive(0), drive(1)])


@pytest.fixture(scope="module")
def rows(folder):
    """SQL -> rows of the first log."""
    with closing(sqlite3.connect(folder / LOG)) as base:
        yield lambda sql, *values: base.execute(sql, values).fetchall()


@pytest.fixture(scope="module")
def layer(folder):
    """Layer -> columns."""
    return lambda name: read_layer(folder / MAP, name)[0]


def test_every_table_column_and_index_is_there(folder, rows):
    for table, columns in COLUMNS.items():
        assert tuple(row[1] for row in rows(f"PRAGMA table_info({table})")) == columns
    with db.opened(folder / LOG) as base:
        assert set(NEEDED_INDEXES) <= db.indexed_columns(base)
    assert rows("PRAGMA integrity_check") == [("ok",)]


def test_tokens_are_8_bytes_that_name_one_row_of_all_logs(folder):
    names: Counter[bytes] = Counter()
    for path in folder.glob("*.db"):
        with closing(sqlite3.connect(path)) as base:
            for table in COLUMNS:
                names.update(token for (token,) in base.execute(f"SELECT token FROM {table}"))
    assert {len(name) for name in names} == {8}
    assert set(names.values()) == {1}


def test_every_key_leads_to_a_row(rows):
    for table, column, target in (
        ("lidar_pc", "ego_pose_token", "ego_pose"), ("lidar_pc", "scene_token", "scene"), ("lidar_pc", "lidar_token", "lidar"),
        ("lidar_box", "lidar_pc_token", "lidar_pc"), ("lidar_box", "track_token", "track"), ("track", "category_token", "category"),
        ("lidar_box", "next_token", "lidar_box"), ("lidar_box", "prev_token", "lidar_box"), ("lidar", "log_token", "log"),
        ("scene", "goal_ego_pose_token", "ego_pose"), ("scene", "log_token", "log"), ("ego_pose", "log_token", "log"),
        ("traffic_light_status", "lidar_pc_token", "lidar_pc"), ("lidar_pc", "next_token", "lidar_pc"),
    ):  # fmt: skip
        lost = f"SELECT count(*) FROM {table} WHERE {column} != x'' AND {column} NOT IN (SELECT token FROM {target})"
        assert rows(lost) == [(0,)], (table, column)
    # the devkit takes hex digits of both whenever it samples a frame, so that NULL at the ends of a log breaks it there
    assert rows("SELECT sum(next_token = x''), sum(prev_token = x''), count(next_token) + count(prev_token) - 2 * count(*) "
                "FROM lidar_pc") == [(1, 1, 0)]  # fmt: skip


def test_boxes_are_chained_along_their_track(rows):
    chained = rows(
        "SELECT a.track_token = b.track_token, b.prev_token = a.token, pb.timestamp - pa.timestamp FROM lidar_box a "
        "JOIN lidar_box b ON a.next_token = b.token JOIN lidar_pc pa ON a.lidar_pc_token = pa.token "
        "JOIN lidar_pc pb ON b.lidar_pc_token = pb.token"
    )
    assert len(chained) > 1000
    assert set(chained) == {(1, 1, 50_000)}


def test_frames_come_at_20_hz_in_whole_microseconds(rows):
    times = np.array([time for (time,) in rows("SELECT timestamp FROM lidar_pc ORDER BY rowid")])
    assert set(np.diff(times)) == {50_000}
    assert rows("SELECT DISTINCT typeof(timestamp) FROM lidar_pc") == [("integer",)]
    same = "SELECT count(*) FROM lidar_pc p JOIN ego_pose e ON p.ego_pose_token = e.token WHERE p.timestamp = e.timestamp"
    assert rows(same) == [(len(times),)]


def test_poses_are_in_utm_and_the_original_samples_are_exact(drive, rows):
    source = drive(0)
    found = np.array(rows("SELECT x, y, qw, qz, qx, qy, vx, vy, acceleration_x, angular_rate_z FROM ego_pose ORDER BY timestamp"))
    facts = {key: json.loads(value) for key, value in rows("SELECT key, value FROM wetoolkit")}
    assert found[:, 0].min() > 1e5 and found[:, 1].min() > 1e5
    local = found[::2, :2] - np.add(facts["offset"], facts["origin"][:2])
    assert np.abs(local - source.world.ego.states[:, :2]).max() < 1e-9
    turned = 2 * np.arctan2(found[::2, 3], found[::2, 2]) - source.world.ego.states[:, 2]
    assert np.abs((turned + np.pi) % (2 * np.pi) - np.pi).max() < 1e-12
    assert np.abs(found[:, 4:6]).max() == 0
    assert np.array_equal(found[::2, 6:], source.world.ego.states[:, [3, 4, 5, 9]])


def test_samples_between_lie_half_way(drive, rows):
    states = drive(0).world.ego.states
    found = np.array(rows("SELECT x, vx FROM ego_pose ORDER BY timestamp"))
    assert np.allclose(found[1::2, 0] - found[:-1:2, 0], np.diff(states[:, 0]) / 2, atol=1e-9)
    assert np.allclose(found[1::2, 1], (states[1:, 3] + states[:-1, 3]) / 2)


def test_every_class_keeps_its_name_and_boxes_their_size(drive, rows):
    agents = drive(0).world.agents
    assert {name for (name,) in rows("SELECT name FROM category")} == set(CATEGORIES) == {kind.name.lower() for kind in AgentClass}
    found = rows(
        "SELECT n.name, c.name, t.length, t.width, t.height FROM track t JOIN category c ON t.category_token = c.token "
        "JOIN wetoolkit_track n ON n.token = t.token ORDER BY t.rowid"
    )
    assert [row[0] for row in found] == list(agents.ids)
    assert [CATEGORIES[row[1]] for row in found] == agents.kind.tolist()
    assert np.array_equal(np.array([row[2:] for row in found], np.float32), agents.size)


def test_there_are_at_least_five_scenes_with_a_route_of_roadblocks(rows, layer):
    scenes = rows("SELECT s.roadblock_ids, count(*) FROM scene s JOIN lidar_pc p ON p.scene_token = s.token GROUP BY s.token")
    assert len(scenes) >= 5
    assert min(count for _, count in scenes) > 1
    blocks = {*layer("lane_groups_polygons")["fid"], *layer("lane_group_connectors")["fid"]}
    for words, _ in scenes:
        assert set(map(int, words.split(" "))) <= blocks


def test_calibration_is_a_pickle_that_the_restricted_reader_admits(rows):
    ((translation, rotation),) = rows("SELECT translation, rotation FROM lidar")
    assert unpickle.loads(translation, "lidar") == [0.0, 0.0, 0.0]
    assert unpickle.loads(rotation, "lidar") == [1.0, 0.0, 0.0, 0.0]


def test_lights_stand_at_their_lane_connectors(drive, rows, layer):
    world = drive(0).world
    names = dict(zip(layer("lane_connectors")["fid"], layer("lane_connectors")["name"], strict=True))
    found = rows(
        "SELECT s.lane_connector_id, s.status, p.timestamp FROM traffic_light_status s "
        "JOIN lidar_pc p ON p.token = s.lidar_pc_token"
    )
    start = min(row[2] for row in found)
    lane = {name: k for k, name in enumerate(world.map.lane_ids)}
    words = {Signal.GREEN: "green", Signal.RED: "red", Signal.YELLOW: "unknown", Signal.UNKNOWN: "unknown"}
    governed = int((world.map.lane_signal >= 0).sum())
    assert governed > 0 and len(found) == governed * len({row[2] for row in found})
    for fid, status, time in found:
        step = (time - start) // 100_000  # held between samples
        assert status == words[Signal(world.signals[world.map.lane_signal[lane[names[fid]]], step])]


def test_all_four_places_have_the_map(folder):
    index = json.loads((folder / "maps" / MAP_INDEX).read_text())
    assert tuple(index) == LOCATIONS
    for place, facts in index.items():
        path = folder / "maps" / place / facts["version"] / "map.gpkg"
        assert path.samefile(folder / MAP)


def test_the_map_has_every_layer_and_says_where_on_earth_it_is(folder, layer):
    assert set(LAYERS) <= {name for name, _ in pyogrio.list_layers(folder / MAP)}
    meta = dict(zip(*(layer("meta")[name] for name in ("key", "value")), strict=True))
    assert meta["projectedCoordSystem"] == "EPSG:32611"
    assert pyogrio.read_info(folder / MAP, layer="lanes_polygons")["crs"] == "EPSG:32611"


def test_fids_are_unique_across_all_layers(layer):
    fids = np.concatenate([layer(name)["fid"] for name in LAYERS if name != "meta"])
    assert len(np.unique(fids)) == len(fids)
    assert fids.max() < 2**31


def test_baseline_keys_are_floats_one_of_them_nan_and_boundary_keys_integers(layer):
    base = layer("baseline_paths")
    assert base["lane_fid"].dtype == base["lane_connector_fid"].dtype == np.float64
    assert (np.isnan(base["lane_fid"]) ^ np.isnan(base["lane_connector_fid"])).all()
    for name in ("lanes_polygons", "gen_lane_connectors_scaled_width_polygons"):
        for column in ("left_boundary_fid", "right_boundary_fid"):
            assert layer(name)[column].dtype.kind == "i"
            assert np.isin(layer(name)[column], layer("boundaries")["fid"]).all()
    lanes, over = layer("lanes_polygons"), layer("lane_connectors")
    assert sorted(base["lane_fid"][~np.isnan(base["lane_fid"])]) == sorted(lanes["fid"]) == sorted(lanes["lane_fid"])
    assert sorted(base["lane_connector_fid"][~np.isnan(base["lane_connector_fid"])]) == sorted(over["fid"])


def test_connectors_join_lanes_and_their_roadblocks(drive, layer):
    over, joints, lanes = layer("lane_connectors"), layer("lane_group_connectors"), layer("lanes_polygons")
    block = dict(zip(lanes["fid"], lanes["lane_group_fid"], strict=True))
    joint = {fid: k for k, fid in enumerate(joints["fid"])}
    for k in range(len(over["fid"])):
        row = joint[over["lane_group_connector_fid"][k]]
        assert block[over["exit_lane_fid"][k]] == joints["from_lane_group_fid"][row]
        assert block[over["entry_lane_fid"][k]] == joints["to_lane_group_fid"][row]
        assert over["intersection_fid"][k] in layer("intersections")["fid"]
    world = drive(0).world
    names = dict(zip((*over["fid"], *lanes["fid"]), (*over["name"], *lanes["name"]), strict=True))
    said = {(names[a], names[b]) for a, b in zip(over["exit_lane_fid"], over["fid"], strict=True)}
    said |= {(names[a], names[b]) for a, b in zip(over["fid"], over["entry_lane_fid"], strict=True)}
    assert {(world.map.lane_ids[a], world.map.lane_ids[b]) for a, b in world.map.successors.tolist()} <= said


def test_neighbours_share_a_boundary_and_count_from_the_left(layer):
    lanes = layer("lanes_polygons")
    row = {(group, index): k for k, (group, index) in enumerate(zip(lanes["lane_group_fid"], lanes["lane_index"], strict=True))}
    assert len(row) == len(lanes["fid"])
    pairs = [(row[group, index - 1], k) for (group, index), k in row.items() if index > 0]
    lines = dict(zip(layer("boundaries")["fid"], layer("boundaries")["geometry"], strict=True))
    assert pairs
    for left, right in pairs:
        assert lanes["right_boundary_fid"][left] == lanes["left_boundary_fid"][right]
        between = lines[lanes["left_boundary_fid"][right]]
        for lane in (left, right):  # it runs along both lanes
            assert shapely.hausdorff_distance(between, between.intersection(lanes["geometry"][lane].exterior.buffer(0.5))) < 1.0


def test_signals_name_their_stop_lines(drive, layer):
    over = layer("lane_connectors")
    with_line = np.array([bool(words) for words in over["traffic_light_stop_line_fids"]])
    assert with_line.any()
    stops = set(layer("stop_polygons")["fid"])
    for words in over["traffic_light_stop_line_fids"][with_line]:
        assert set(map(int, words.split(","))) <= stops
    assert {"intersection_type_fid", "is_mini"} <= set(layer("intersections"))
    assert set(layer("stop_polygons")["stop_polygon_type_fid"]) == {2}  # the devkit's TRAFFIC_LIGHT


def test_every_connector_with_a_signal_has_a_stop_line_across_its_beginning(drive, layer):
    road, over, stops = drive(0).world.map, layer("lane_connectors"), layer("stop_polygons")
    shapes, made = (dict(zip(stops["fid"].tolist(), stops[name], strict=True)) for name in ("geometry", "derived"))
    lit = [k for k in np.flatnonzero(road.lane_signal >= 0) if road.lane_ids[k] in set(over["name"])]
    row = {name: k for k, name in enumerate(over["name"])}
    assert lit and made
    for lane in lit:
        here = row[road.lane_ids[lane]]
        first = int(over["traffic_light_stop_line_fids"][here].split(",")[0])
        start = shapely.Point(over["geometry"][here].coords[0])
        assert shapes[first].distance(start) < (1e-6 if made[first] else 3.0)
    bare = [shapes[fid] for fid, is_so in made.items() if is_so]
    assert all(0.3 < shape.area / 0.4 < 10.1 and shape.is_valid for shape in bare)


def test_every_area_is_in_its_layer(drive, layer):
    road = drive(0).world.map
    for kind, name in ((AreaKind.CROSSWALK, "crosswalks"), (AreaKind.WALKWAY, "walkways"), (AreaKind.CARPARK, "carpark_areas")):
        due = {road.area_ids[k] for k in np.flatnonzero(road.area_kind == kind)}
        assert due and due <= set(layer(name)["name"])


def test_logs_of_one_town_share_its_map(drive, written):
    one = drive(0)
    folder = written([drive(0, log="a"), drive(0, steps=90, log="b")])
    assert len(list((folder / "maps" / ".towns").glob("*.safetensors"))) == 1
    assert len(read_layer(folder / MAP, "baseline_paths")[0]["fid"]) == one.world.map.lanes


def test_the_order_of_writing_does_not_change_the_map(drive, tmp_path):
    for name, drives in (("forth", [drive(0), drive(1)]), ("back", [drive(1), drive(0)])):
        write(drives, tmp_path / name)
    assert (tmp_path / "forth" / MAP).read_bytes() == (tmp_path / "back" / MAP).read_bytes()
    assert (tmp_path / "forth" / LOG).read_bytes() == (tmp_path / "back" / LOG).read_bytes()


def test_a_map_that_a_kill_left_out_is_made_the_next_time(drive, tmp_path):
    write([drive(0)], tmp_path)
    write([drive(1)], tmp_path)
    whole = (tmp_path / MAP).read_bytes()
    (tmp_path / "maps" / MAP_INDEX).unlink()
    (tmp_path / MAP).write_bytes(b"")
    write([drive(1)], tmp_path)
    assert (tmp_path / MAP).read_bytes() == whole


def test_nothing_is_left_of_a_log_that_cannot_be_written(drive, tmp_path, monkeypatch):
    monkeypatch.setattr(db, "INDEXES", (("lidar_box", "no_such_column"),))
    with pytest.raises(DataError, match="cannot be written"):
        write([drive(0)], tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


def test_tags_and_reach(drive, tmp_path):
    source = drive(3)
    marks = [(7, "near_miss", "who 2"), (9, "turning", "")]
    write([source], tmp_path, options=Options(rate=10, reach=30, tags=lambda recording: marks))
    with closing(sqlite3.connect(tmp_path / "random_drive_3.db")) as base:
        start = base.execute("SELECT min(timestamp) FROM lidar_pc").fetchone()[0]
        tags = base.execute(
            "SELECT p.timestamp, g.type, n.name FROM scenario_tag g JOIN lidar_pc p ON g.lidar_pc_token = p.token "
            "LEFT JOIN wetoolkit_track n ON n.token = g.agent_track_token ORDER BY 1"
        ).fetchall()
        boxes = base.execute(
            "SELECT n.name, p.timestamp FROM lidar_box b JOIN wetoolkit_track n ON n.token = b.track_token "
            "JOIN lidar_pc p ON p.token = b.lidar_pc_token"
        ).fetchall()
    assert tags == [(start + 700_000, "near_miss", "who 2"), (start + 900_000, "turning", None)]
    agents, ego = source.world.agents, source.world.ego.states
    near = np.hypot(*np.moveaxis(agents.pose[..., :2] - ego[:, :2], -1, 0)) < 30
    got = {(name, (time - start) // 100_000) for name, time in boxes}
    assert {(agents.ids[a], t) for a, t in np.argwhere(near)} <= got
    assert {name for name, _ in got} == {agents.ids[a] for a in np.flatnonzero(near.any(1))}


def test_a_rate_that_does_not_fit_is_refused(drive, tmp_path):
    with pytest.raises(DataError, match="15 Hz"):
        write([drive(0)], tmp_path, options=Options(rate=15))
