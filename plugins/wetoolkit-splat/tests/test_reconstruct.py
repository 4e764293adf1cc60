"""The reconstructor: its kind's promises, what it renders while somebody drives, and which scenes it refuses."""

from __future__ import annotations

import tempfile
import time
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("wetoolkit_driving", reason="driving is not installed")
pytest.importorskip("PIL", reason="pillow is not installed")

from wetoolkit_driving.sensors import Sensors
from wetoolkit_driving.testing import scenario
from wetoolkit_driving.types import World
from wetoolkit_splat.reconstruct import SplatConfig, SplatScenes, looks
from wetoolkit_splat.render import chosen
from wetoolkit_splat.testing_driving import sensors, world
from wetoolkit_splat.train import FitConfig

from wetoolkit.errors import ConfigError, DataError, PluginError
from wetoolkit.kinds import SupportsRender
from wetoolkit.testing.data import ReconstructorContract
from wetoolkit.types import Ref, Scenario

FOLDER = Path(tempfile.mkdtemp(prefix="wetoolkit-splat-"))
FIT = FitConfig(steps=40, budget=4000, degree=0, look_every=40, held_out=2, backend="cpu")


def scenarios() -> list[Scenario[World]]:
    return [scenario(world(), name=f"test/{k}") for k in range(2)]


class Windows:
    """A data set of these scenarios; what it saw is made up."""

    def load(self, ref: Ref) -> Scenario[World]:
        return next(given for given in scenarios() if given.id == ref.id)

    def sensors(self, ref: Ref, cameras: Sequence[str] | None = None, steps: Sequence[int] | None = None) -> Sensors:
        return sensors(FOLDER, self.load(ref).world)


def made(**changes: Any) -> SplatScenes:
    settings = {"fit": FIT, "folder": str(FOLDER / "scenes"), "backend": "cpu", "least_psnr": 5.0}
    return SplatScenes(SplatConfig(**{**settings, **changes}), Windows())


class TestSplat(ReconstructorContract):
    def make(self) -> SplatScenes:
        return made()

    def scenarios(self) -> Sequence[Scenario[World]]:
        return scenarios()


def test_pictures_show_each_agent_where_the_world_has_it() -> None:
    part, given = made(), scenarios()[0]
    assert isinstance(part, SupportsRender)
    scene = part.reconstruct(given, None, 0)
    assert all(size == (160, 90) for size in part.cameras(scene).values())
    here = given.world
    agents = here.agents
    pose = agents.pose.copy()
    pose[0, :, 1] += 3.0  # the car stands on the left
    away = replace(agents, valid=agents.valid & (np.arange(len(agents)) != 0)[:, None])
    seen = {
        name: part.render(scene, replace(here, agents=changed), 20, "CAM_F0", (160, 90))
        for name, changed in {"logged": agents, "moved": replace(agents, pose=pose), "gone": away}.items()
    }
    assert seen["logged"]["rgb"].shape == (90, 160, 3)
    assert seen["logged"]["rgb"].dtype == np.uint8
    assert seen["logged"]["depth"].shape == seen["logged"]["trust"].shape == (90, 160)
    assert seen["logged"]["frame_trust"].shape == ()
    assert 0 <= float(seen["logged"]["trust"].min()) <= float(seen["logged"]["trust"].max()) <= 1
    car = {name: np.abs(view["depth"] - seen["gone"]["depth"]) > 0.5 for name, view in seen.items()}
    columns = {name: np.argwhere(car[name])[:, 1] for name in ("logged", "moved")}
    assert len(columns["logged"]) > 30
    assert columns["moved"].mean() < columns["logged"].mean() - 10


def test_who_was_never_seen_is_drawn_as_a_box() -> None:
    part, given = made(), scenarios()[0]
    scene = part.reconstruct(given, None, 0)
    strange = replace(given.world.agents, ids=("stranger", *given.world.agents.ids[1:]))
    seen = part.render(scene, replace(given.world, agents=strange), 20, "CAM_F0", (160, 90))
    gone = replace(strange, valid=strange.valid & (np.arange(len(strange)) != 0)[:, None])
    empty = part.render(scene, replace(given.world, agents=gone), 20, "CAM_F0", (160, 90))
    box = np.abs(seen["depth"] - empty["depth"]) > 0.5
    assert box.sum() > 30
    assert (seen["trust"][box] < 0.05).mean() > 0.3  # nobody photographed it; it is blurred beyond its edges
    assert seen["trust"][box].mean() < 0.7 * empty["trust"][box].mean()


def test_a_scene_that_does_not_say_what_it_was_fitted_to_has_no_trust(tmp_path: Path) -> None:
    part, given = made(folder=str(tmp_path)), scenarios()[0]
    scene = part.reconstruct(given, None, 0)
    (tmp_path / scene.assets["splat"] / "coverage.safetensors").unlink()
    seen = part.render(scene, given.world, 20, "CAM_F0", (160, 90))
    assert set(seen) == {"rgb", "depth"}


def test_of_several_who_ask_at_once_one_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fits: list[Path] = []

    def fitted(self: SplatScenes, given: Scenario[World], folder: Path, seed: int) -> None:
        fits.append(folder)
        time.sleep(0.2)
        folder.mkdir()
        (folder / "look.json").write_text("{}")

    monkeypatch.setattr(SplatScenes, "_fit", fitted)
    with ThreadPoolExecutor(3) as pool:
        scenes = list(pool.map(lambda seed: made(folder=str(tmp_path)).reconstruct(scenarios()[0], None, seed), range(3)))
    assert len(fits) == 1  # whatever the seed of the rollouts
    assert len({scene.assets["splat"] for scene in scenes}) == 1


def test_scenes_are_fitted_once_and_bad_ones_are_refused() -> None:
    given = scenarios()[0]
    name = made().reconstruct(given, None, 0).assets["splat"]
    stamp = (FOLDER / "scenes" / name / "scene.json").stat().st_mtime_ns
    assert made().reconstruct(given, None, 0).assets["splat"] == name
    assert (FOLDER / "scenes" / name / "scene.json").stat().st_mtime_ns == stamp
    assert looks(made().config)[name]["psnr"] > 5
    with pytest.raises(DataError, match="at least 99"):
        made(least_psnr=99.0).reconstruct(given, None, 0)
    assert 0 < looks(made().config)[name]["trust 1 m aside"] <= 1
    with pytest.raises(DataError, match=r"trust on the path is 0\.\d\d .* at least 1"):
        made(least_trust=1.0).reconstruct(given, None, 0)
    look = FOLDER / "scenes" / name / "look.json"
    good = look.read_text()
    try:
        look.write_text('{"psnr": NaN}')
        with pytest.raises(DataError, match="nan dB"):
            made().reconstruct(given, None, 0)
    finally:
        look.write_text(good)
    with pytest.raises(ConfigError, match="not that of the scenario"):
        other = replace(given, lineage=replace(given.lineage, dataset="another"))
        made(folder=str(FOLDER / "elsewhere")).reconstruct(other, None, 0)
    with pytest.raises(DataError, match="no camera 'CAM_B0'"):
        made().render(made().reconstruct(given, None, 0), given.world, 0, "CAM_B0", (32, 16))
    with pytest.raises(DataError, match="holds no rig"):
        made(folder=str(FOLDER)).render(made().reconstruct(given, None, 0), given.world, 0, "CAM_F0", (32, 16))


def test_a_scene_is_walked_through_as_it_was_driven() -> None:
    pytest.importorskip("viser", reason="viser is not installed: pip install 'wetoolkit-splat[view]'")
    part, given = made(), scenarios()[0]
    scene = part.reconstruct(given, None, 0)
    moved = replace(given.world, agents=replace(given.world.agents, pose=given.world.agents.pose + np.float32([0, 1.5, 0])))
    viewer = part.explore_scene(scene, moved, 0)
    try:
        assert viewer.url.startswith("http://127.0.0.1:")
        tour = viewer.tour
        assert set(tour.boxes) == {f"agent-{name}" for name in moved.agents.ids} | {"ego"}
        assert tour.poses(20)["agent-a0"][1, 3] == pytest.approx(float(moved.agents.pose[0, 20, 1]))
        assert {len(tour.trust[name]) == len(node.gaussians) for name, node in tour.scene.nodes.items()} == {True}
        assert len(tour.eyes) > 0 and all(0 <= eye.trust <= 1 for eye in tour.eyes)
    finally:
        viewer.close()


def test_the_experiment_for_a_gpu_is_a_config_that_asks_for_one() -> None:
    table = tomllib.loads((Path(__file__).parents[3] / "docs" / "splat-gpu.toml").read_text())
    asked = table["reconstructor"]
    assert asked.pop("use") == "splat"
    config = SplatConfig(**asked)
    assert (config.backend, config.fit.degree, config.fit.steps) == ("cuda", 3, 30_000)
    assert {key: table["dataset"][key] for key in config.settings} == config.settings  # the same town is fitted
    if not torch.cuda.is_available():
        with pytest.raises(PluginError, match="no CUDA device"):
            chosen(config.backend)
