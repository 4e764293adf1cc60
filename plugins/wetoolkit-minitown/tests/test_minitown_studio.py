"""Sensor files of a drive: where they lie, that they come back, that a killed run goes on, what is refused."""

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wetoolkit_minitown import dataset
from wetoolkit_minitown.dataset import Minitown, MinitownConfig
from wetoolkit_minitown.sensors.files import read_image, read_truth, truth_files
from wetoolkit_minitown.sensors.sheet import write_contact_sheet

from wetoolkit.errors import ConfigError, DataError, PluginError, UnknownName
from wetoolkit.kinds import SupportsSensors

pytest.importorskip("embreex")
SMALL = {"width": 96, "height": 54, "camera_rate": 0.5, "lidar_rate": 0.5, "beams": 8, "columns": 180}
LATE = 1e-6  # seconds


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sensors")


def town(config: MinitownConfig, folder: Path, **changed: Any) -> Minitown:
    dataset._studio.cache_clear()
    return Minitown(
        config.model_copy(update={"sensors": config.sensors.model_copy(update={**SMALL, "folder": str(folder), **changed})})
    )


@pytest.fixture(scope="module")
def seen(config: MinitownConfig, folder: Path) -> Minitown:
    return town(config, folder)


@pytest.fixture(scope="module")
def whole(seen: Minitown) -> Any:
    """All of one drive's sensors."""
    assert isinstance(seen, SupportsSensors)
    return seen.sensors(seen.recordings("val")[0])


def test_a_drive_has_an_image_of_each_camera_at_every_time(seen: Minitown, whole: Any) -> None:
    steps = seen.recording(seen.recordings("val")[0]).world.steps
    expected = [round(0.1 * k, 6) for k in range(0, steps, 20)]
    assert [camera.name for camera in whole.cameras] == ["CAM_L0", "CAM_F0", "CAM_R0"]
    for camera in whole.cameras:
        assert [image.time for image in whole.images if image.camera == camera.name] == expected
    assert [sweep.time for sweep in whole.sweeps] == expected
    for image in whole.images:
        assert image.path.parent.name == image.camera and read_image(image.path).shape == (54, 96, 3)
        depth, category = read_truth(image.path)
        assert depth.shape == category.shape == (54, 96) and len(np.unique(category)) > 2
    for sweep in whole.sweeps:
        points = sweep.points()
        assert len(points) > 200 and (points[:, 3] >= 0).all() and (points[:, 3] <= 1).all()
    (place,) = {image.path.parents[1] for image in whole.images}
    assert (place / "contact-sheet.jpg").stat().st_size > 5000
    about = json.loads((place / "rig.json").read_text())
    gains = [camera["gain"] for camera in about["cameras"]]
    assert np.ptp(gains, axis=0).min() > 0.005 and np.allclose(np.linalg.norm(about["sun"]), 1)


def test_points_of_a_sweep_lie_on_what_the_cameras_see(whole: Any) -> None:
    """Two sensors, two kernels: lidar points projected into an image have the depth that its pixel has."""
    off: list[float] = []
    for sweep in whole.sweeps[:4]:
        for image in (image for image in whole.images if image.time == sweep.time):
            camera = whole.camera(image.camera)
            local = np.linalg.inv(camera.mount) @ np.column_stack([sweep.points()[:, :3], np.ones(len(sweep.points()))]).T
            local = local[:, local[2] > 1]
            pixel = np.floor((camera.intrinsics @ local[:3])[:2] / local[2]).astype(int)
            inside = ((pixel >= 0) & (pixel < [[96], [54]])).all(0)
            depth = read_truth(image.path)[0][pixel[1, inside], pixel[0, inside]]
            off.extend(np.abs(local[2, inside] / depth - 1))
    assert len(off) > 300 and np.median(off) < 0.02 and np.mean(np.array(off) < 0.1) > 0.8


def test_a_window_shows_its_part_of_the_drive(seen: Minitown, whole: Any) -> None:
    log = seen.recordings("val")[0].id
    ref = next(ref for ref in seen.index("val") if ref.log == log)
    scenario, part = seen.load(ref), seen.sensors(ref, ["CAM_F0"])
    assert [camera.name for camera in part.cameras] == ["CAM_F0"] and part.images
    origin, drive = np.array(scenario.origin), np.array(seen.recording(seen.recordings("val")[0]).origin)
    for image in part.images:
        same = next(other for other in whole.images if other.path == image.path)
        step = round(image.time / scenario.clock.dt)
        np.testing.assert_allclose(image.ego_to_world[:2, 3], scenario.world.ego.states[step, :2], atol=1e-9)
        moved = image.ego_to_world[:3, 3] + origin
        np.testing.assert_allclose(moved, same.ego_to_world[:3, 3] + drive, atol=1e-6)
        np.testing.assert_allclose(image.ego_to_world[:3, :3], same.ego_to_world[:3, :3], atol=1e-9)


@pytest.fixture
def damaged(whole: Any) -> Iterator[Path]:
    """The folder of the drive, put right afterwards."""
    place = whole.images[0].path.parents[1]
    kept = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    yield place
    for path, data in kept.items():
        path.write_bytes(data)


def test_a_killed_run_goes_on_and_makes_the_same_bytes(seen: Minitown, whole: Any, damaged: Path) -> None:
    lost = [
        whole.images[4].path,
        truth_files(whole.images[7].path)[0],
        whole.images[7].path,
        whole.sweeps[2].path,
        damaged / "complete.json",
    ]
    before = [path.read_bytes() for path in lost]
    others = whole.images[0].path.stat().st_mtime_ns
    for path in lost:
        path.unlink()
    seen.sensors(seen.recordings("val")[0])
    assert [path.read_bytes() for path in lost] == before
    assert whole.images[0].path.stat().st_mtime_ns == others, "what was there was made again"


def test_a_missing_file_of_a_finished_drive_is_named(seen: Minitown, whole: Any, damaged: Path) -> None:
    whole.images[5].path.unlink()
    with pytest.raises(DataError, match=whole.images[5].path.name):
        seen.sensors(seen.recordings("val")[0])
    whole.images[6].path.write_bytes(b"no image")
    with pytest.raises(DataError, match=whole.images[6].path.name):
        read_image(whole.images[6].path)
    with pytest.raises(DataError, match="cannot be read"):
        write_contact_sheet(damaged, whole.cameras, [round(image.time * 10) for image in whole.images[::3]])


def test_what_cannot_be_is_refused(config: MinitownConfig, seen: Minitown, empty_folder: Path) -> None:
    ref = seen.recordings("val")[0]
    with pytest.raises(UnknownName, match="CAM_B0"):
        seen.sensors(ref, ["CAM_B0"])
    with pytest.raises(ConfigError, match="does not divide"):
        town(config, empty_folder, camera_rate=3.0).sensors(ref)
    with pytest.raises(UnknownName, match="CAM_X"):
        town(config, empty_folder, cameras=("CAM_X",)).sensors(ref)
    homeless = Minitown(config.model_copy(update={"cache": "off"}))
    with pytest.raises(ConfigError, match="folder"):
        homeless.sensors(homeless.recordings("val")[0])


def test_without_the_extra_the_way_out_is_named(
    config: MinitownConfig, empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = importlib.import_module

    def missing(name: str, *rest: Any) -> Any:
        if name.startswith("embreex"):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return load(name, *rest)

    monkeypatch.setattr(importlib, "import_module", missing)
    dataset._stands.cache_clear()
    with pytest.raises(PluginError, match=r"wetoolkit-minitown\[sensors\]"):
        town(config, empty_folder).sensors(Minitown(config).recordings("val")[0])
