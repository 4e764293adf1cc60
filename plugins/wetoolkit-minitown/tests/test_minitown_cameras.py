"""The reconstructor that shows a town as it is: the kind's promises, and pictures of worlds that were changed."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wetoolkit_driving.domain import Driving
from wetoolkit_driving.extend import extended
from wetoolkit_driving.simulator import ClosedLoop, ClosedLoopConfig
from wetoolkit_driving.types import World
from wetoolkit_minitown.cameras import Cameras, CamerasConfig
from wetoolkit_minitown.dataset import Minitown, MinitownConfig
from wetoolkit_minitown.sensors.codes import Category
from wetoolkit_minitown.sensors.files import read_image, read_truth

from wetoolkit.errors import ConfigError, UnknownName
from wetoolkit.jobs import decisions
from wetoolkit.kinds import SupportsRender
from wetoolkit.sight import sighted
from wetoolkit.testing import ReconstructorContract
from wetoolkit.types import Scenario, Scene, Step

pytest.importorskip("embreex")
SIZE = (96, 54)


@pytest.fixture(scope="module")
def settings(config: MinitownConfig, tmp_path_factory: pytest.TempPathFactory) -> MinitownConfig:
    folder = str(tmp_path_factory.mktemp("sensors"))
    sensors = {"width": SIZE[0], "height": SIZE[1], "camera_rate": 10, "lidar_rate": 0, "folder": folder}
    return MinitownConfig(**{**config.model_dump(), "sensors": sensors})


@pytest.fixture(scope="module")
def part(settings: MinitownConfig) -> Cameras:
    return Cameras(CamerasConfig(settings=settings))


@pytest.fixture(scope="module")
def given(settings: MinitownConfig) -> Scenario[World]:
    town = Minitown(settings)
    return town.load(town.index("val")[-1])


@pytest.fixture(scope="module")
def scene(part: Cameras, given: Scenario[World]) -> Scene[World]:
    return part.reconstruct(given, None, 0)


def shown(part: Cameras, scene: Scene[World], world: World, step: int = 30, camera: str = "CAM_F0", size: Any = SIZE) -> Any:
    return part.render(scene, world, step, camera, size)


class TestCameras(ReconstructorContract):
    @pytest.fixture(autouse=True)
    def _town(self, settings: MinitownConfig) -> None:
        self.settings, self.town = settings, Minitown(settings)

    def make(self) -> Cameras:
        return Cameras(CamerasConfig(settings=self.settings))

    def scenarios(self) -> Sequence[Scenario[World]]:
        return [self.town.load(ref) for ref in self.town.index("val")[:2]]


def test_a_world_that_was_not_changed_looks_as_it_was_recorded(
    part: Cameras, scene: Scene[World], given: Scenario[World], settings: MinitownConfig
) -> None:
    assert isinstance(part, SupportsRender)
    assert list(part.cameras(scene).items()) == [(name, SIZE) for name in ("CAM_L0", "CAM_F0", "CAM_R0")]
    seen = Minitown(settings).sensors(scene.scenario, ["CAM_F0", "CAM_L0"], steps=[0, 47])
    assert [(image.camera, image.time) for image in seen.images] == [(c, t) for t in (0.0, 4.7) for c in ("CAM_L0", "CAM_F0")]
    for image in seen.images:
        made = shown(part, scene, given.world, round(image.time / given.world.dt), image.camera)
        depth, _ = read_truth(image.path)
        assert np.abs(read_image(image.path).astype(float) - made["rgb"]).mean() < 4  # JPEG
        off = np.abs(np.where(np.isfinite(depth), depth, 0) - made["depth"]) > 0.05
        assert off.mean() < 0.01  # outlines: a window's float32 coordinates have another origin
        assert (made["trust"] == 1).all() and made["trust"].shape == SIZE[::-1] and float(made["frame_trust"]) == 1.0
    everything = list(Path(settings.sensors.folder).rglob("*.jpg"))
    assert len(everything) == 4  # what was not asked for is not made


def test_agents_and_the_ego_are_seen_where_the_world_has_them(part: Cameras, scene: Scene[World]) -> None:
    world = scene.world
    ego = world.ego.states[30]
    ahead = ego[:2] + 12 * np.array([np.cos(ego[2]), np.sin(ego[2])])
    agents = world.agents
    pose = agents.pose.copy()
    pose[0, 30:, :2], pose[0, 30:, 2] = ahead, ego[2]
    there = replace(world, agents=replace(agents, pose=pose))
    gone = replace(world, agents=replace(agents, valid=agents.valid & (np.arange(len(agents)) != 0)[:, None]))
    far = shown(part, scene, gone)["depth"][28, 48]
    near = shown(part, scene, there)["depth"][28, 48]
    assert 0 < near < 12.5 and near < far - 0.5
    states = world.ego.states.copy()
    states[30, :2] += 3 * np.array([np.cos(ego[2]), np.sin(ego[2])])
    closer = shown(part, scene, replace(there, ego=replace(world.ego, states=states)))["depth"][28, 48]
    assert abs(near - closer - 3) < 0.3


def test_a_world_whose_arrays_were_written_since_is_seen_anew(part: Cameras, scene: Scene[World]) -> None:
    """A simulator writes its worlds on: the same object is another world at the next step."""
    world = replace(scene.world, agents=replace(scene.world.agents, valid=scene.world.agents.valid.copy()))
    before = shown(part, scene, world)["rgb"]
    world.agents.valid[:] = False
    assert (shown(part, scene, world)["rgb"] != before).any()


def test_strangers_and_steps_past_the_log_are_seen(part: Cameras, scene: Scene[World]) -> None:
    world = extended(scene.world, scene.world.steps + 20)
    world.ego.states[-1] = scene.world.ego.states[-1]
    ego, agents = world.ego.states[-1], world.agents
    pose = agents.pose.copy()
    pose[0, -1] = *(ego[:2] + 8 * np.array([np.cos(ego[2]), np.sin(ego[2])])), ego[2]
    valid = agents.valid.copy()
    valid[0, -1] = True
    ids = ("new/0", *agents.ids[1:])
    there = replace(world, agents=replace(agents, pose=pose, valid=valid, ids=ids))
    assert 0 < shown(part, scene, there, -1 % world.steps)["depth"][28, 48] < 8.5


def test_a_picture_of_another_size_shows_the_same(part: Cameras, scene: Scene[World]) -> None:
    small, large = (shown(part, scene, scene.world, size=size)["depth"] for size in (SIZE, (288, 162)))
    assert large.shape == (162, 288)
    middle = large[1::3, 1::3]  # of each three by three pixels, the one in the middle has the small one's ray
    assert (np.abs(middle - small) < 1e-3 * np.maximum(small, 1)).mean() > 0.995
    assert int(Category.SKY) == 20 and (small[:10] == 0).any()


def test_another_town_and_an_unknown_camera_are_refused(
    part: Cameras, scene: Scene[World], given: Scenario[World], settings: MinitownConfig
) -> None:
    other = replace(given, lineage=replace(given.lineage, steps=(replace(given.lineage.steps[0], config="else"),)))
    with pytest.raises(ConfigError, match="not of this town"):
        part.reconstruct(other, None, 0)
    with pytest.raises(UnknownName, match="CAM_X0"):
        shown(part, scene, given.world, camera="CAM_X0")


def test_a_policy_drives_on_these_pictures(settings: MinitownConfig, part: Cameras, scene: Scene[World]) -> None:
    """Trained on recorded pictures, shown rendered ones: what it is shown first is what was recorded there."""
    camera = pytest.importorskip("wetoolkit_learning.camera", reason="wetoolkit-learning is not installed")
    testing = pytest.importorskip("wetoolkit_learning.testing")
    domain, town, config = Driving(), Minitown(settings), ClosedLoopConfig(horizon=1.0)
    policy = camera.VocabularyCamera(
        camera.VocabularyCameraConfig(
            vocabulary={"size": 3},
            cameras=("CAM_F0",),
            resolution=SIZE,
            channels=(8, 8, 8, 8, 8),
            width=16,
            layers=0,
            picture_age=0.0,
        )
    )
    logged = [sighted(town.load(ref), town, domain).situation() for ref in town.index("val")[-5:]]
    frames = decisions(domain, policy.spec, logged, source=0, number=0)
    ready = policy.prepare(testing.Memory(frames), 0)
    link = Step("reconstructor/minitown-cameras", "wetoolkit-minitown 0.1.0", "")
    placed = replace(scene, lineage=scene.lineage.then(link))
    (done,) = ClosedLoop(config).with_renderers({link: part}).rollout([placed], ready, [0])
    assert len(done.images["CAM_F0"]) == len(done.decisions) == 2
    assert (done.trust == 1).all() and done.trust_known.all()
    row = [situation.id for situation in logged].index(scene.scenario.id)
    recorded, shown_first = (pictures[at].decode().astype(float) for pictures, at in (
        (frames.observation.images["CAM_F0"], row), (done.images["CAM_F0"], 0),
    ))  # fmt: skip
    assert np.abs(recorded - shown_first).mean() < 4
