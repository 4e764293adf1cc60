"""Real Argoverse 2 logs: who is on the road; and logs that are broken."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import shapely
from scipy.spatial.transform import Rotation
from wetoolkit_driving.geometry import ego_corners
from wetoolkit_driving.types import AgentClass, AreaKind
from wetoolkit_logs.argoverse2.dataset import Argoverse2, Argoverse2Config
from wetoolkit_logs.argoverse2.maps import between

from wetoolkit.errors import DataError
from wetoolkit.testing import DatasetContract

LOG = "3b3570b4-7b0b-3268-a571-b0889dbf40b6"
DRIVABLE = (AreaKind.ROADBLOCK, AreaKind.INTERSECTION, AreaKind.CARPARK)


@pytest.fixture(scope="module")
def logs() -> Path:
    place = Path(os.environ.get("WETOOL_DATA") or Path(__file__).parents[3] / "../shared/data") / "av2_logs"
    if not place.is_dir():
        pytest.skip(f"no real logs at {place}: set WETOOL_DATA to the folder that holds av2_logs")
    return place.resolve()


def reader(folder: Path, **settings: object) -> Argoverse2:
    return Argoverse2(
        Argoverse2Config.model_validate({"folder": str(folder), "splits": {"train": ["*"]}, "cache": False, **settings})
    )


def test_the_middle_of_two_arcs_is_the_arc_between() -> None:
    angle = np.linspace(0, np.pi / 2, 200)
    circle = np.stack([np.cos(angle), np.sin(angle)], 1)
    assert np.abs(np.linalg.norm(between(8 * circle, 12 * circle), axis=1) - 10).max() < 1e-3


@pytest.mark.realdata
def test_the_ego_is_on_the_road_always_and_vehicles_mostly(logs: Path) -> None:
    data = reader(logs, radius=1000)  # the whole map: vehicles are seen from farther than 120 m
    world = data.recording(next(ref for ref in data.recordings("train") if ref.id == LOG)).world
    areas = [shapely.Polygon(world.map.area(i)) for i, kind in enumerate(world.map.area_kind) if kind in DRIVABLE]
    surface = shapely.union_all(areas)
    corners = ego_corners(world.ego.states, world.ego.vehicle).reshape(-1, 2)
    assert shapely.contains_xy(surface, *corners.T).all()
    vehicles = world.agents.kind == AgentClass.VEHICLE
    centres = world.agents.pose[vehicles][world.agents.valid[vehicles]][:, :2].astype(float)
    share = shapely.contains_xy(surface, *centres.T).mean()
    print(f"vehicle centres on the road: {share:.4f}")
    assert share > 0.9


@pytest.mark.realdata
def test_boxes_are_where_the_ego_saw_them(logs: Path) -> None:
    """Placed by hand, row by row, with another order of operations than the reader's."""
    data = reader(logs)
    scenario = data.recording(next(ref for ref in data.recordings("train") if ref.id == LOG))
    rows = pl.read_ipc(logs / LOG / "annotations_with_ego.feather")
    stamps = np.unique(rows["timestamp_ns"].to_numpy())
    poses = pl.read_ipc(logs / LOG / "city_SE3_egovehicle.feather")
    agents = scenario.world.agents
    assert set(agents.ids) == set(rows.filter(pl.col("category") != "EGO_VEHICLE")["track_uuid"])
    for row in rows.filter(pl.col("category") != "EGO_VEHICLE").sample(200, seed=0).to_dicts():
        pose = poses.filter(pl.col("timestamp_ns") == row["timestamp_ns"]).to_dicts()[0]
        turn = Rotation.from_quat([pose[k] for k in ("qx", "qy", "qz", "qw")])
        place = turn.apply([row[k] for k in ("tx_m", "ty_m", "tz_m")]) + [pose[k] for k in ("tx_m", "ty_m", "tz_m")]
        k, step = agents.ids.index(row["track_uuid"]), int(np.searchsorted(stamps, row["timestamp_ns"]))
        np.testing.assert_allclose(agents.pose[k, step, :2] + np.array(scenario.origin[:2]), place[:2], atol=1e-3)


@pytest.mark.realdata
def test_forecasting_scenarios_are_read(logs: Path) -> None:
    data = reader(logs.parent / "av2_forecasting")
    refs = data.index("train")
    assert len(refs) == 2 and all(data.load(ref).world.steps == 101 for ref in refs)
    world = data.recording(data.recordings("train")[0]).world
    assert world.steps == 110 and len(world.agents) == 57
    assert data.inspect()["logs"] == "1 readable, 0 not"


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "keep", "says"),
    [
        ("annotations_with_ego.feather", 0.5, "cannot be read"),
        ("city_SE3_egovehicle.feather", 0.5, "cannot be read"),
        (f"map/log_map_archive_{LOG}____MIA_city_47894.json", 0.5, "no map of Argoverse 2"),
        (f"map/log_map_archive_{LOG}____MIA_city_47894.json", None, "no map"),
    ],
)
def test_broken_logs_are_named(logs: Path, tmp_path: Path, name: str, keep: float | None, says: str) -> None:
    shutil.copytree(logs / LOG, tmp_path / LOG, copy_function=shutil.copyfile)
    for place in (tmp_path / LOG, tmp_path / LOG / "map"):
        place.chmod(0o755)
    file = tmp_path / LOG / name
    data = file.read_bytes()
    file.unlink()
    if keep is not None:
        file.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(DataError, match=says):
        reader(tmp_path).index("train")


@pytest.mark.realdata
class TestContract(DatasetContract):
    """The promises of every data set, on the real logs."""

    @pytest.fixture(autouse=True)
    def _files(self, logs: Path) -> None:
        self.folder = logs

    def make(self) -> Argoverse2:
        return reader(self.folder, splits={"train": [LOG], "test": ["7fab2350*"]}, stride=2.0)


@pytest.mark.realdata
def test_sweeps_hit_the_boxes_as_often_as_their_annotators_counted(logs: Path) -> None:
    """The lidar points inside of vehicles' boxes against the data set's own ``num_interior_pts``."""
    name = "7fab2350-7eaf-3b7e-a39d-6937a4c1bede"
    data = reader(logs)
    ref = next(ref for ref in data.recordings("train") if ref.id == name)
    world, rows = data.recording(ref).world, pl.read_ipc(logs / name / "annotations.feather")
    agents, stamps = world.agents, np.unique(rows["timestamp_ns"].to_numpy())
    ratios = []
    for sweep in data.sensors(ref).sweeps:
        step = round(sweep.time / 0.1)
        points = sweep.points()[:, :3] @ sweep.ego_to_world[:3, :3].T + sweep.ego_to_world[:3, 3]
        told = rows.filter((pl.col("timestamp_ns") == stamps[step]) & (pl.col("num_interior_pts") >= 50))
        for row in told.filter(pl.col("category") == "REGULAR_VEHICLE").iter_rows(named=True):
            k = agents.ids.index(row["track_uuid"])
            x, y, heading = agents.pose[k, step].astype(float)
            c, s = np.cos(heading), np.sin(heading)
            local = (points[:, :2] - [x, y]) @ np.array([[c, -s], [s, c]])
            inside = (np.abs(local) <= agents.size[k, :2] / 2 + 0.05).all(1)
            ratios.append(inside.sum() / row["num_interior_pts"])
    print(f"{len(ratios)} boxes, points inside / annotated: median {np.median(ratios):.3f}, least {min(ratios):.2f}")
    assert len(ratios) > 20 and 0.95 < np.median(ratios) < 1.2 and min(ratios) > 0.8
