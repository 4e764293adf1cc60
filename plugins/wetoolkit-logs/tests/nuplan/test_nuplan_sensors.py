"""Images and sweeps of a written log: files where nuPlan has them, rows that lead to them, calibration that comes back."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from wetoolkit_driving.sensors import Camera, Image, Sensors, Sweep
from wetoolkit_logs import unpickle
from wetoolkit_logs.nuplan.writer import write

from wetoolkit.errors import DataError

JPEG = b"\xff\xd8\xff\xe0 no picture, but nobody looks \xff\xd9"


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    """Two cameras at 5 Hz and a lidar at 10 Hz, over the first two seconds."""
    folder, rng = tmp_path_factory.mktemp("seen"), np.random.default_rng(3)
    cameras, images = [], []
    for name in ("CAM_F0", "CAM_L0"):
        mount = np.eye(4)
        mount[:3, :3], mount[:3, 3] = Rotation.random(rng=rng).as_matrix(), rng.uniform(-2, 2, 3)
        cameras.append(Camera(name, (64, 36), np.array([[50.0, 0, 32], [0, 51, 18], [0, 0, 1]]), mount, rng.normal(0, 0.1, 5)))
    for k in range(10):
        for camera in cameras:
            path = folder / f"{camera.name}-{k}.jpg"
            path.write_bytes(JPEG + bytes([k]))
            images.append(Image(camera.name, 0.2 * k + 0.03, np.eye(4), path))
    clouds = rng.uniform(0, 1, (20, 100, 4)).astype(np.float32)
    sweeps = [Sweep(0.1 * k, np.eye(4), folder / str(k), lambda path: clouds[int(path.name)]) for k in range(20)]
    return Sensors(tuple(cameras), tuple(images), tuple(sweeps)), clouds


@pytest.fixture(scope="module")
def seen(drive, rig, tmp_path_factory):
    """A folder with one log and its sensors."""
    folder = tmp_path_factory.mktemp("with sensors")
    paths = write([drive(0)], folder, sensors=lambda recording: rig[0])
    return folder, paths


@pytest.fixture(scope="module")
def rows(seen):
    with closing(sqlite3.connect(seen[0] / "random_drive_0.db")) as base:
        yield lambda sql: base.execute(sql).fetchall()


def test_every_image_row_leads_to_its_bytes(seen, rig, rows):
    found = rows(
        "SELECT i.filename_jpg, c.channel, i.timestamp - p.timestamp FROM image i JOIN camera c ON i.camera_token = c.token "
        "JOIN ego_pose p ON i.ego_pose_token = p.token ORDER BY i.rowid"
    )
    assert len(found) == len(rig[0].images)
    for (name, channel, late), image in zip(found, rig[0].images, strict=True):
        assert channel == image.camera == name.split("/")[1]
        assert (seen[0] / "sensor_blobs" / name).read_bytes() == image.path.read_bytes()
        assert abs(late) <= 25_000  # the nearest frame of 20 Hz


def test_images_of_a_camera_are_chained(rows):
    chained = rows("SELECT b.timestamp - a.timestamp, a.camera_token = b.camera_token, b.prev_token = a.token FROM image a "
                   "JOIN image b ON a.next_token = b.token")  # fmt: skip
    assert chained == [(200_000, 1, 1)] * 18


def test_calibration_comes_back(rig, rows):
    found = rows("SELECT channel, translation, rotation, intrinsic, distortion, width, height FROM camera")
    for channel, *pickles, width, height in found:
        camera = rig[0].camera(channel)
        where, turned, inner, bent = (unpickle.loads(data, channel) for data in pickles)
        w, x, y, z = turned
        assert np.allclose(Rotation.from_quat([x, y, z, w]).as_matrix(), camera.mount[:3, :3], atol=1e-12)
        assert np.allclose(where, camera.mount[:3, 3], atol=0) and np.allclose(inner, camera.intrinsics, atol=0)
        assert np.allclose(bent, camera.distortion, atol=0) and (width, height) == camera.size


def test_sweeps_are_pcd_files_with_nuplans_fields(seen, rig, rows):
    names = [name for (name,) in rows("SELECT filename FROM lidar_pc ORDER BY timestamp")][: 2 * 20 : 2]
    for name, cloud in zip(names, rig[1], strict=True):
        header, _, data = (seen[0] / "sensor_blobs" / name).read_bytes().partition(b"DATA binary\n")
        assert b"FIELDS x y z intensity ring lidar_info" in header and b"POINTS 100\n" in header
        rows_ = np.frombuffer(data, [("xyz", "<f4", 3), ("intensity", "u1"), ("ring", "u1"), ("lidar_info", "u1")])
        assert np.array_equal(rows_["xyz"], cloud[:, :3])
        assert np.abs(rows_["intensity"] / 255 - cloud[:, 3]).max() <= 0.5 / 255 + 1e-6


def test_a_missing_image_is_named_and_no_log_is_left(drive, rig, tmp_path):
    lost = Image("CAM_F0", 0.0, np.eye(4), tmp_path / "gone.jpg")
    with pytest.raises(DataError, match=r"gone\.jpg"):
        write([drive(0)], tmp_path / "out", sensors=lambda recording: Sensors(rig[0].cameras, (lost,), ()))
    assert not list((tmp_path / "out").glob("*.db"))
