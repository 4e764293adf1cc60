"""What was written comes back: poses, boxes, signals, routes, maps; windows by token, tag, log, time; filters as splits."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyogrio.raw
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from wetoolkit_driving.types import AreaKind
from wetoolkit_logs.nuplan import utm
from wetoolkit_logs.nuplan.arrays import Arrays, read, write
from wetoolkit_logs.nuplan.dataset import NuPlan, NuPlanConfig
from wetoolkit_logs.nuplan.writer import Options
from wetoolkit_logs.nuplan.writer import write as write_logs

from wetoolkit.errors import ConfigError, DataError, UnknownName
from wetoolkit.testing import DatasetContract
from wetoolkit.types import Ref

MARKS = [(30, "turning", "who 2"), (31, "turning", "who 2"), (40, "near_miss", "")]


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def folder(drive, tmp_path_factory):
    """Three logs of 13 s with gaps in their tracks, tags on the first."""
    place = tmp_path_factory.mktemp("logs")
    tags = lambda recording: MARKS if recording.log == "random/drive 0" else ()  # noqa: E731
    write_logs([drive(seed, steps=131, gaps=True) for seed in (0, 1, 2)], place, options=Options(tags=tags))
    return place


def reader(folder, **settings):
    return NuPlan(NuPlanConfig(**{"folder": str(folder), "splits": {"train": 1.0}, "radius": 5000, **settings}))


def by_name(names, rows):
    return dict(zip(names, rows, strict=True))


def same_drive(source, found):
    """Poses to 1 mm, ids, classes, sizes, signals, route and the map to 1 cm."""
    a, b = source.world, found.world
    shift = np.subtract(found.origin[:2], source.origin[:2])
    assert np.abs(a.ego.states[:, :2] - b.ego.states[:, :2] - shift).max() < 1e-3
    assert np.abs(a.ego.states[:, 3:] - b.ego.states[:, 3:]).max() < 1e-6
    turned = a.ego.states[:, 2] - b.ego.states[:, 2]
    assert np.abs((turned + np.pi) % (2 * np.pi) - np.pi).max() < 1e-9
    assert b.ego.vehicle == a.ego.vehicle and b.unavailable == a.unavailable
    seen = a.agents.valid.any(1)
    assert set(b.agents.ids) == {name for name, there in zip(a.agents.ids, seen, strict=True) if there}
    row = by_name(a.agents.ids, range(len(a.agents)))
    order = [row[name] for name in b.agents.ids]
    for name in ("kind", "size", "valid", "velocity"):
        assert np.array_equal(getattr(a.agents, name)[order], getattr(b.agents, name)), name
    valid = b.agents.valid
    assert np.abs((a.agents.pose[order][..., :2] - b.agents.pose[..., :2] - shift)[valid]).max() < 1e-3
    assert np.abs((a.agents.pose[order][..., 2] - b.agents.pose[..., 2] + np.pi) % (2 * np.pi) - np.pi)[valid].max() < 1e-6
    same_roads(a, b, shift)


def same_roads(a, b, shift):
    assert set(a.map.lane_ids) == set(b.map.lane_ids) and set(a.map.area_ids) == set(b.map.area_ids)
    lane, area = by_name(a.map.lane_ids, range(a.map.lanes)), by_name(a.map.area_ids, range(len(a.map.area_ids)))
    order = [lane[name] for name in b.map.lane_ids]
    for k, name in enumerate(b.map.lane_ids):
        assert np.abs(a.map.centre_line(lane[name]) - b.map.centre_line(k) - shift).max() < 1e-2
        signal, other = a.map.lane_signal[lane[name]], b.map.lane_signal[k]
        assert (signal < 0) == (other < 0)
        assert signal < 0 or np.array_equal(a.signals[signal], b.signals[other])
    for k, name in enumerate(b.map.area_ids):
        assert np.abs(a.map.area(area[name]) - b.map.area(k) - shift).max() < 1e-2
        assert a.map.area_kind[area[name]] == b.map.area_kind[k]
    assert np.array_equal(a.map.lane_speed_limit[order], b.map.lane_speed_limit)
    ids = lambda world, name, names: [None if k < 0 else names[k] for k in getattr(world.map, name)]  # noqa: E731
    for name, of in (
        ("lane_left", "lane_ids"),
        ("lane_right", "lane_ids"),
        ("lane_area", "area_ids"),
        ("lane_roadblock", "area_ids"),
    ):
        told = ids(a, name, getattr(a.map, of))
        assert [told[k] for k in order] == ids(b, name, getattr(b.map, of)), name
    pairs = [{(world.map.lane_ids[i], world.map.lane_ids[j]) for i, j in world.map.successors.tolist()} for world in (a, b)]
    assert pairs[0] == pairs[1]


def test_whole_drives_come_back(drive, folder):
    data = reader(folder)
    for seed, ref in enumerate(data.recordings("train")):
        source, found = drive(seed, steps=131, gaps=True), data.recording(ref)
        assert found.log == ref.id == source.log
        same_drive(source, found)
        names = [[world.map.lane_ids[k] for k in world.route] for world in (source.world, found.world)]
        assert names[0] == names[1]
        assert found.world.on_route[[found.world.map.lane_area[k] for k in found.world.route]].all()


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(10, 10_000), agents=st.integers(0, 30), steps=st.integers(101, 160), gaps=st.booleans())
def test_random_towns_come_back(drive, tmp_path_factory, seed, agents, steps, gaps):

    source = drive(seed, steps, max(agents, 1), gaps=gaps)
    place = tmp_path_factory.mktemp("random")
    write_logs([source], place)
    (ref,) = (data := reader(place)).recordings("train")
    same_drive(source, data.recording(ref))


def test_windows_are_cut_out_of_the_drive(drive, folder):
    data, source = reader(folder, radius=60), drive(0, steps=131, gaps=True)
    refs = [ref for ref in data.index("train") if ref.log == source.log]
    assert len(refs) == 7  # every half second from 2 s to 5 s
    for k, ref in enumerate(refs):
        found, first = data.load(ref), 5 * k
        assert (found.clock.now, found.clock.steps, found.clock.dt) == (20, 101, 0.1)
        assert np.allclose(found.world.ego.states[20, :2], 0)
        place = found.world.ego.states[:, :2] + np.array(found.origin[:2])
        assert np.abs(place - source.world.ego.states[first : first + 101, :2] - np.array(source.origin[:2])).max() < 1e-3
        agents = source.world.agents
        row = by_name(agents.ids, range(len(agents)))
        for name, pose, valid in zip(found.world.agents.ids, found.world.agents.pose, found.world.agents.valid, strict=True):
            assert np.array_equal(agents.valid[row[name], first : first + 101], valid)
            there = agents.pose[row[name], first : first + 101, :2] - pose[:, :2] - np.subtract(found.origin, source.origin)[:2]
            assert np.abs(there[valid]).max() < 1e-3


def test_the_map_is_cut_by_its_radius(folder):
    data, whole = reader(folder, radius=40), reader(folder)
    ref = data.index("train")[3]
    near, far = data.load(ref).world, whole.load(ref).world
    away = {
        far.map.area_ids[k]: shapely.Polygon(far.map.area(k)).envelope.distance(shapely.Point(0, 0))
        for k in range(len(far.map.area_ids))
    }
    kept = {far.map.area_ids[far.map.lane_area[far.map.lane_ids.index(name)]] for name in near.map.lane_ids}
    kept |= {far.map.area_ids[far.map.lane_roadblock[far.map.lane_ids.index(name)]] for name in near.map.lane_ids}
    assert {name for name, metres in away.items() if metres <= 40} | kept == set(near.map.area_ids)
    assert set(near.map.area_ids) < set(far.map.area_ids)


def test_boxes_asked_and_boxes_of_arrays_are_the_same(folder):
    for rate in (2, 5, 10, 20):
        asked, kept = (reader(folder, rate=rate, boxes=how) for how in ("ask", "arrays"))
        for ref in asked.index("train")[::5]:
            a, b = asked.load(ref).world, kept.load(ref).world
            assert a.steps == 10 * rate + 1 and a.dt == 1 / rate
            assert a.agents.ids == b.agents.ids
            assert np.array_equal(a.agents.valid, b.agents.valid) and np.allclose(a.agents.pose, b.agents.pose, atol=1e-6)


def test_windows_by_token_tag_log_and_time(folder):
    data = reader(folder)
    tagged = data.find(tag="turning")
    assert len(tagged) == 2 and {ref.log for ref in tagged} == {"random/drive 0"}
    token = tagged[0].id.rpartition("/")[2]
    assert data.find(token=token) == tagged[:1]
    world = data.load(tagged[0]).world
    assert np.allclose(world.ego.states[20, :2], 0)
    every = data.find(log="random/drive 1")
    assert len(every) == 61  # 20 Hz from 2 s to 5 s
    time = lambda ref: data._folder.log(ref.log).time[data._frames(ref)[1][20]]  # noqa: E731
    middle = data.find(log="random/drive 1", between=(time(every[10]), time(every[20])))
    assert middle == every[10:21]
    assert data.find(log="nobody") == data.find(tag="parking") == data.find(token="00" * 8) == []
    assert reader(folder, tags=["near_miss"]).index("train") == data.find(tag="near_miss")
    with pytest.raises(DataError, match="no window"):
        data.load(Ref("nuplan/random/drive 0/0000000000000000", "train", "random/drive 0"))


def test_navsim_filters_select_splits(folder, tmp_path):
    every = reader(folder).find(log="random/drive 0")
    tokens = [ref.id.rpartition("/")[2] for ref in every]
    (tmp_path / "by_token.yaml").write_text(
        "_target_: navsim.common.dataclasses.SceneFilter\n_convert_: 'all'\nnum_history_frames: 4\nnum_future_frames: 10\n"
        "frame_interval: 1\nhas_route: true\nmax_scenes: null\nlog_names: null\ntokens:\n"
        + "".join(f"- {token}\n" for token in tokens[:3])
    )
    (tmp_path / "by_log.yaml").write_text(
        "num_history_frames: 4\nnum_future_frames: 10\nframe_interval: 2\nhas_route: true\nlog_names: [random_drive_1, elsewhere]\n"
    )
    splits = {"navtrain": str(tmp_path / "by_token.yaml"), "navtest": str(tmp_path / "by_log.yaml")}
    data = reader(folder, splits=splits, rate=2)
    assert [ref.id for ref in data.index("navtrain")] == [ref.id for ref in every[:3]]
    found = data.index("navtest")
    assert {ref.log for ref in found} == {"random/drive 1"}
    assert len(found) == 7  # 1 s apart from 1.5 s to 13 - 5 s
    clock = data.load(found[0]).clock
    assert (clock.now, clock.steps) == (3, 14)  # 4 frames of history, the present among them, and 10 of the future
    (tmp_path / "strange.yaml").write_text("num_frames: 14\n")
    with pytest.raises(ConfigError, match="num_frames"):
        reader(folder, splits={"train": str(tmp_path / "strange.yaml")}).index("train")
    with pytest.raises(ConfigError, match="random/drive 0"):
        reader(folder, splits={"a-train": splits["navtrain"], "test": ["random/drive 0"]}).index("test")
    with pytest.raises(UnknownName):
        data.index("val")


def test_a_rate_that_the_log_has_not_is_refused(folder):
    with pytest.raises(DataError, match=r"20\.0 Hz, 3 Hz were asked"):
        reader(folder, rate=3).index("train")


def test_one_log_is_a_folder_of_its_own(folder):
    path = folder / "random_drive_2.db"
    assert NuPlan.recognise(path) == {"folder": str(path)} and NuPlan.recognise(folder) == {"folder": str(folder)}
    assert NuPlan.recognise(folder / "maps") is None
    data = reader(path)
    assert {ref.log for ref in data.index("train")} == {"random/drive 2"}
    assert data.load(data.index("train")[0]).world.map.lanes


def test_workers_index_logs_ahead(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data = reader(folder)
    assert len(data.pending(["train"])) == 3
    data.make(data.pending(["train"])[0])
    assert len(data.pending(["train"])) == 2
    again = pickle.loads(pickle.dumps(data))
    assert again.index("train") == data.index("train")


def test_a_cache_that_is_damaged_is_made_again(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = reader(folder).load(reader(folder).index("train")[0])
    for path in (tmp_path / "wetoolkit" / "nuplan").iterdir():
        data = bytearray(path.read_bytes())
        data[-9] ^= 1
        path.write_bytes(data)
        assert read(path) is None
    after = reader(folder).load(reader(folder).index("train")[0])
    assert np.array_equal(before.world.agents.pose, after.world.agents.pose)
    path.write_bytes(path.read_bytes()[:100])
    assert read(path) is None
    write(path, Arrays({"a": np.arange(3)}, {"b": 1}))
    assert read(path).facts == {"b": 1} and read(path)["a"].tolist() == [0, 1, 2]


def test_a_plain_log_gets_its_route_from_roadblocks(drive, folder, tmp_path):
    """Without the tables that only our writer has: the lanes are found among those of the scene's roadblocks."""
    plain = bare(folder, tmp_path)
    data = reader(plain, maps=str(folder / "maps"))
    found = data.recording(data.recordings("train")[0])
    source = drive(0, steps=131, gaps=True)
    names = [[world.map.lane_ids[k] for k in world.route] for world in (source.world, found.world)]
    assert names[0] == names[1]
    assert found.origin[0] > 1e5  # the map's own coordinates
    assert found.log == "random_drive_0" and found.world.ego.vehicle.wheel_base == 3.089


def bare(folder: Path, place: Path) -> Path:
    """A copy of the logs without our own tables."""
    import shutil
    import sqlite3
    from contextlib import closing

    for path in folder.glob("*.db"):
        shutil.copy(path, place)
        with closing(sqlite3.connect(place / path.name)) as base, base:
            for table in ("wetoolkit", "wetoolkit_track", "wetoolkit_ego", "wetoolkit_signal"):
                base.execute(f"DROP TABLE {table}")
    return place


def test_degrees_become_the_metres_of_proj(tmp_path):
    rng = np.random.default_rng(0)
    degrees = np.stack([rng.uniform(-120, -114, 50), rng.uniform(1, 60, 50)], 1)
    source = tmp_path / "degrees.gpkg"
    points = shapely.to_wkb(shapely.points(degrees))
    pyogrio.raw.write(str(source), points, [], [], layer="a", driver="GPKG", geometry_type="Point", crs="EPSG:4326")
    vrt = tmp_path / "metres.vrt"
    vrt.write_text(
        f"<OGRVRTDataSource><OGRVRTWarpedLayer><OGRVRTLayer name='a'><SrcDataSource>{source}</SrcDataSource></OGRVRTLayer>"
        "<TargetSRS>EPSG:32611</TargetSRS></OGRVRTWarpedLayer></OGRVRTDataSource>"
    )
    due = shapely.get_coordinates(shapely.from_wkb(pyogrio.raw.read(str(vrt))[2]))
    assert np.abs(utm.project(degrees, utm.zone_of(32611)) - due).max() < 1e-4


def test_a_map_in_degrees_is_that_in_metres(folder, tmp_path):
    """As real maps are: the layers in degrees, the zone in the layer meta."""
    from wetoolkit_logs.nuplan.citymap import map_file
    from wetoolkit_logs.nuplan.mapindex import read_map

    source = map_file(folder / "maps", "us-nv-las-vegas-strip")
    degrees = tmp_path / "map.gpkg"
    for layer, _ in pyogrio.list_layers(source):
        facts, fids, shapes, values = pyogrio.raw.read(str(source), layer=layer, return_fids=True)
        if shapes is None:
            pyogrio.raw.write(str(degrees), None, values, facts["fields"], layer=layer, driver="GPKG", append=degrees.exists())
            continue
        turned = shapely.transform(shapely.from_wkb(shapes), lambda points: inverse(points))
        columns = [*values, fids]
        pyogrio.raw.write(str(degrees), shapely.to_wkb(turned), columns, [*facts["fields"], "fid"], layer=layer, driver="GPKG",
                          geometry_type="Unknown", crs="EPSG:4326", append=degrees.exists())  # fmt: skip
    there, found = read_map(source), read_map(degrees)
    assert found.facts["lanes"] == there.facts["lanes"] and found.facts["areas"] == there.facts["areas"]
    assert np.abs(found["lane_xy"] - there["lane_xy"]).max() < 1e-3 and np.abs(found["area_xy"] - there["area_xy"]).max() < 1e-3


def inverse(metres, zone=11):
    """Degrees of UTM metres by Newton's method on the projection."""
    degrees = np.stack([np.full(len(metres), 6.0 * zone - 183), metres[:, 1] / 111_000], 1)
    for _ in range(8):
        there = utm.project(degrees, zone)
        east, north = ((utm.project(degrees + step, zone) - there) / 1e-6 for step in ([1e-6, 0], [0, 1e-6]))
        degrees = degrees + np.linalg.solve(np.stack([east, north], 2), (metres - there)[..., None])[..., 0]
    return degrees


class TestContract(DatasetContract):
    """All that is promised of data sets."""

    @pytest.fixture(autouse=True)
    def _given(self, folder):
        self.folder = folder

    def make(self):
        return reader(self.folder, splits={"train": 0.7, "test": 0.3}, radius=60)


def test_what_comes_back_can_be_written_again(drive, folder, tmp_path):
    data = reader(folder)
    ref = data.recordings("train")[1]
    write_logs([replace(data.recording(ref))], tmp_path)
    again = reader(tmp_path)
    same_drive(drive(1, steps=131, gaps=True), again.recording(again.recordings("train")[0]))


def test_areas_of_every_kind_are_there(folder):
    data = reader(folder)
    kinds = {int(kind) for kind in data.load(data.index("train")[0]).world.map.area_kind}
    assert kinds == {int(kind) for kind in AreaKind}


@pytest.mark.realdata
def test_real_logs_stand_on_their_map():
    """Real logs below $WETOOL_DATA/nuplan (with its maps): the ego on the road, boxes of several classes, a route."""
    root = Path(os.environ.get("WETOOL_DATA") or Path(__file__).parents[4] / "../shared/data") / "nuplan"
    if not root.is_dir():
        pytest.skip(f"no nuPlan logs at {root}: set WETOOL_DATA to a folder that holds nuplan/ with logs and maps")
    data = reader(root, radius=120, stride=10, rate=2)
    worlds = [data.load(ref).world for ref in data.index("train")[:20]]
    for world in worlds:
        drivable = np.isin(
            world.map.area_kind, (AreaKind.ROADBLOCK, AreaKind.INTERSECTION, AreaKind.CARPARK, AreaKind.ROADBLOCK_CONNECTOR)
        )
        shapes = [shapely.Polygon(world.map.area(k)) for k in np.flatnonzero(drivable)]
        now = shapely.Point(*world.ego.states[round(2 / world.dt), :2])
        assert min(shape.distance(now) for shape in shapes) < 1.0
    assert len({int(kind) for world in worlds for kind in world.agents.kind}) > 1
    assert any(len(world.route) for world in worlds)
