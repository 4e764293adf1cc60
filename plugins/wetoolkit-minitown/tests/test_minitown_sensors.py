"""The rig, the bodies of agents and PCD files, against closed forms."""

from pathlib import Path

import numpy as np
import pytest
from wetoolkit_driving.sensors import Sensors
from wetoolkit_driving.types import AgentClass
from wetoolkit_minitown.sensors.bodies import body
from wetoolkit_minitown.sensors.pcd import read_pcd, write_pcd
from wetoolkit_minitown.sensors.rig import MOUNTS, rig

from wetoolkit.errors import DataError, UnknownName

SIZES = [(4.6, 1.9, 1.5), (4.1, 1.8, 1.5), (5.8, 2.1, 2.6), (11.0, 2.5, 3.2)]
OTHERS = {1: (0.55, 0.6, 1.7), 2: (1.8, 0.65, 1.75), 3: (0.4, 0.4, 0.8), 4: (0.5, 2.0, 1.0), 5: (0.5, 0.5, 1.5), 6: (1.0, 0.7, 0.9)}


@pytest.mark.parametrize("name", MOUNTS)
def test_a_point_ahead_of_a_camera_falls_on_its_middle_and_one_above_higher(name: str) -> None:
    (camera,) = rig([name])
    Sensors((camera,), (), ()).validate()
    x, y, z, yaw = MOUNTS[name]
    ahead = np.array([x + 10 * np.cos(np.radians(yaw)), y + 10 * np.sin(np.radians(yaw)), z, 1])
    left = ahead + np.array([-np.sin(np.radians(yaw)), np.cos(np.radians(yaw)), 1, 0])
    to_camera = np.linalg.inv(camera.mount)
    assert np.linalg.det(camera.mount[:3, :3]) == pytest.approx(1.0)
    for point, pixel in ((ahead, (160, 90)), (left, (160 - 25.76, 90 - 25.76))):
        seen = camera.intrinsics @ (to_camera @ point)[:3]
        assert seen[2] == pytest.approx(10.0)
        np.testing.assert_allclose(seen[:2] / seen[2], pixel, atol=1e-9)


def test_an_unknown_camera_is_named() -> None:
    with pytest.raises(UnknownName, match="CAM_X9"):
        rig(["CAM_X9"])


@pytest.mark.parametrize(("kind", "size"), [*((0, size) for size in SIZES), *OTHERS.items()])
def test_a_body_fills_its_box_and_stays_in_it(kind: int, size: tuple[float, float, float]) -> None:
    for name in ("a", "b", "c", "d", "e", "f"):
        mesh = body(kind, size, name, seed=3)
        points = mesh.corners.reshape(-1, 3)
        low, high = np.array([-size[0] / 2, -size[1] / 2, 0]), np.array([size[0] / 2, size[1] / 2, size[2]])
        assert (points >= low - 0.03).all() and (points <= high + 0.03).all(), (name, points.min(0), points.max(0))
        assert points[:, 2].max() > 0.95 * size[2] and points[:, 2].min() < 0.02
        assert (mesh.category == AgentClass(kind)).all() and np.isfinite(points).all()
        for phase in (0.0, 1.5, 4.0):
            walking = mesh.posed(phase, 1.0).corners.reshape(-1, 3)
            assert (walking >= low - 0.06).all() and (walking <= high + 0.06).all()
        np.testing.assert_allclose(mesh.posed(1.5, 0.0).corners, mesh.corners, atol=1e-6)
        again = body(kind, size, name, seed=3)
        np.testing.assert_array_equal(mesh.corners, again.corners)


def test_points_come_back_from_a_file_bit_for_bit(tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)
    for count in (100, 0):
        write_pcd(tmp_path / "a.pcd", points[:count])
        np.testing.assert_array_equal(read_pcd(tmp_path / "a.pcd"), points[:count])


def test_fields_of_others_are_passed_over(tmp_path: Path) -> None:
    row = np.dtype([("ring", "u1"), ("x", "<f4"), ("y", "<f4"), ("z", "<f8")])
    table = np.array([(7, 1.0, 2.0, 3.0), (9, 4.0, 5.0, 6.0)], row)
    head = "VERSION 0.7\nFIELDS ring x y z\nSIZE 1 4 4 8\nTYPE U F F F\nCOUNT 1 1 1 1\nWIDTH 2\nHEIGHT 1\nPOINTS 2\nDATA binary\n"
    (tmp_path / "a.pcd").write_bytes(head.encode() + table.tobytes())
    np.testing.assert_array_equal(read_pcd(tmp_path / "a.pcd"), [[1, 2, 3, 0], [4, 5, 6, 0]])


@pytest.mark.parametrize("keep", [0, 20, 120, -3])
def test_a_damaged_file_is_named(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.pcd"
    write_pcd(path, np.ones((5, 4), np.float32))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"a\.pcd"):
        read_pcd(path)
    with pytest.raises(DataError, match="absent"):
        read_pcd(tmp_path / "absent.pcd")
