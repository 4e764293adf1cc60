"""The six nuScenes scenes: what the repairs must achieve on them."""

from __future__ import annotations

import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import shapely
from wetoolkit_driving.geometry import box_corners, ego_center, ego_corners, relative
from wetoolkit_driving.types import AreaKind, World
from wetoolkit_logs.recording import read
from wetoolkit_logs.scenarionet import ScenarioNet, ScenarioNetConfig
from wetoolkit_logs.unpickle import load

from wetoolkit.testing import DatasetContract

pytestmark = pytest.mark.realdata
SCENES = ("scene-0061", "scene-0103", "scene-0553", "scene-0655", "scene-0757", "scene-0796")
DRIVABLE = (AreaKind.ROADBLOCK, AreaKind.INTERSECTION, AreaKind.CARPARK)  # of the PDM score


@pytest.fixture(scope="module")
def data(nuscenes: Path) -> ScenarioNet:
    return ScenarioNet(ScenarioNetConfig(folder=str(nuscenes), splits={"train": ["scene-*"]}, cache=False))


def off_road(world: World) -> np.ndarray:
    """[T] whether some corner of the ego is strictly inside no drivable polygon."""
    corners = ego_corners(world.ego.states, world.ego.vehicle)  # [T, 4, 2]
    points = corners.reshape(-1, 2)
    inside = np.zeros(len(points), bool)
    for index, kind in enumerate(world.map.area_kind):
        ring = world.map.area(index)
        near = ((points >= ring.min(0)) & (points <= ring.max(0))).all(1) & ~inside
        if kind in DRIVABLE and near.any():
            inside[near] = shapely.contains_xy(shapely.Polygon(ring), *points[near].T)  # strictly, as the score asks
    return ~inside.reshape(corners.shape[:2]).all(1)


def test_the_human_is_on_the_road_in_every_step_of_every_scene(data: ScenarioNet) -> None:
    """Also in the steps that no ten-second window begins or ends with: windows of 2 s reach every step."""
    config = data.config.model_copy(update={"history": 0.0, "future": 1.0, "stride": 1.0})
    steps: Counter[str] = Counter()
    for reader in (data, ScenarioNet(config)):
        for ref in reader.index("train"):
            world = reader.load(ref).world
            steps[ref.log] += world.steps
            assert not off_road(world).any(), ref.id
    assert set(steps) == set(SCENES)


def test_without_the_repair_of_its_size_the_human_leaves_the_road(nuscenes: Path) -> None:
    """So that the test above can fail: the file's own 4.08 m wide car does not stay on the road."""
    raw = ScenarioNet(ScenarioNetConfig(folder=str(nuscenes), splits={"train": ["scene-*"]}, cache=False, repairs="none"))
    assert any(off_road(raw.load(ref).world).any() for ref in raw.index("train")[::5])


def test_counts_of_the_repairs(data: ScenarioNet) -> None:
    data.index("train")
    counts = data.repairs()
    assert counts["ego_length_width_swapped"] == 6
    assert counts["ego_static"] == 1 and counts["ego_static_windows"] == 21
    assert counts["surface_from_boundary_rings"] == 6
    assert counts["lanes_widened_to_an_area"] == counts["speed_limits_made_up"] == 92 + 150 + 247 + 200 + 237 + 179
    assert counts["one_step_tracks"] == 28
    assert "route_gaps" not in counts and "scenes_without_a_route" not in counts


def test_the_recorded_position_is_the_rear_axle(nuscenes: Path) -> None:
    """The point of a car that does not slip sideways is the rear axle; in the one scene with a real turn it is the file's own."""
    ego = read(nuscenes / "sd_nuscenes_v1.0-mini_scene-0061.pkl").ego
    velocity = np.gradient(ego.pose[:, :2], 0.1, axis=0)
    yaw_rate = np.gradient(np.unwrap(ego.pose[:, 2]), 0.1)
    across = -velocity[:, 0] * np.sin(ego.pose[:, 2]) + velocity[:, 1] * np.cos(ego.pose[:, 2])
    moving = np.hypot(*velocity.T) > 2
    ahead = (across * yaw_rate)[moving].sum() / (yaw_rate**2)[moving].sum()  # metres from the rear axle to the recorded point
    assert abs(ahead) < 0.3  # the box centre would be at 1.385


def test_everybody_is_there_and_apart(data: ScenarioNet, nuscenes: Path) -> None:
    for path in sorted(nuscenes.glob("*.pkl")):
        if path.name != "dataset_summary.pkl":
            recording, raw = read(path), load(path)
            seen = {name for name, track in raw["tracks"].items() if name != "ego" and np.asarray(track["state"]["valid"]).any()}
            assert {track.id for track in recording.others} == seen
    for ref in data.index("train")[::7]:
        world = data.load(ref).world
        ego = shapely.Polygon(ego_corners(world.ego.states[20], world.ego.vehicle))
        for row in np.flatnonzero(world.agents.valid[:, 20]):
            box = box_corners(world.agents.pose[row, 20].astype(float), *map(float, world.agents.size[row, :2]))
            assert ego.intersection(shapely.Polygon(box)).area < 0.05, (ref.id, world.agents.ids[row])


def test_states_are_drivable(data: ScenarioNet) -> None:
    for ref in data.index("train")[::4]:
        states = data.load(ref).world.ego.states
        assert np.abs(states[:, 5]).max() < 5 and np.abs(states[:, 6]).max() < 4  # m/s^2
        assert np.abs(states[:, 9]).max() < 0.5 and np.abs(states[:, 7]).max() < 0.3  # rad/s, rad
        steps = np.linalg.norm(np.diff(states[:, :2], axis=0), axis=1) / 0.1
        np.testing.assert_allclose(steps, np.hypot(*states[:-1, 3:5].T), atol=1.2)


def test_the_route_runs_under_the_car(data: ScenarioNet) -> None:
    for ref in data.index("train")[::3]:
        world = data.load(ref).world
        lines = [world.map.centre_line(int(lane)) for lane in world.route]
        centre = shapely.LineString(np.concatenate(lines))
        gaps = [np.linalg.norm(a[-1] - b[0]) for a, b in pairwise(lines)]
        assert max(gaps, default=0) < 0.6
        distance = shapely.distance(centre, shapely.points(ego_center(world.ego.states, world.ego.vehicle)[:, :2]))
        assert distance.max() < 4.5  # a lane change is the farthest
        ahead = relative(world.ego.states[20, :3], np.array([*centre.coords[-1], 0.0]))
        assert world.ego.states[-1, 3] < 0.5 or ahead[0] > -100


class TestContract(DatasetContract):
    """The promises of every data set, on the real files."""

    @pytest.fixture(autouse=True)
    def _files(self, nuscenes: Path) -> None:
        self.folder = nuscenes

    def make(self) -> ScenarioNet:
        splits = {"train": [*SCENES[:3]], "test": [*SCENES[3:]]}
        return ScenarioNet(ScenarioNetConfig(folder=str(self.folder), splits=splits, stride=2.0, cache=False))


def test_the_index_is_quick(nuscenes: Path) -> None:
    before = time.process_time()
    fresh = ScenarioNet(ScenarioNetConfig(folder=str(nuscenes), splits={"train": ["scene-*"]}, cache=False))
    assert len(fresh.index("train")) == 122
    assert time.process_time() - before < 2.0
