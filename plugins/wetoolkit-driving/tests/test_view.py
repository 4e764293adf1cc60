"""Pictures of scenarios: everybody where they are, what the cameras saw beside it, and a clear word where an image is gone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from wetoolkit_driving.canvas import AHEAD, EGO, HEIGHT, KINDS, STRIP, WIDTH
from wetoolkit_driving.domain import Driving
from wetoolkit_driving.sensors import Camera, Image, Sensors
from wetoolkit_driving.testing import actor, scenario, straight_world
from wetoolkit_driving.types import AgentClass
from wetoolkit_driving.view import ACROSS, SCALE

from wetoolkit.errors import DataError
from wetoolkit.kinds import SupportsView

NOW = 20


def pixel(picture: np.ndarray, x: float, y: float) -> tuple[int, ...]:
    row, column = round((HEIGHT - STRIP) / 2 - SCALE * y), round(AHEAD * WIDTH + SCALE * x)
    return tuple(int(value) for value in picture[row, column])


def camera(name: str, yaw: float) -> Camera:
    """A camera that looks ``yaw`` to the left of ahead."""
    forward, left = np.array([np.cos(yaw), np.sin(yaw), 0.0]), np.array([-np.sin(yaw), np.cos(yaw), 0.0])
    mount = np.eye(4)
    mount[:3, :3] = np.column_stack([-left, [0.0, 0.0, -1.0], forward])
    return Camera(name, (64, 36), np.array([[40.0, 0, 32], [0, 40.0, 18], [0, 0, 1]]), mount)


def colour_file(path: Path, colour: tuple[int, int, int]) -> Path:
    Pillow.new("RGB", (64, 36), colour).save(path)
    return path


def test_everybody_is_where_they_are() -> None:
    drawn = scenario(straight_world([actor(15.0, 3.5), actor(-12.0, -3.5, kind=AgentClass.PEDESTRIAN)], speed=0.0))
    assert isinstance(Driving(), SupportsView)
    picture = Driving().view(drawn, NOW, None)
    assert (picture.shape, picture.dtype) == ((HEIGHT, WIDTH, 3), np.uint8)
    assert pixel(picture, 0.5, 0.5) == EGO
    assert pixel(picture, 14.0, 3.5) == KINDS[AgentClass.VEHICLE]
    assert pixel(picture, -12.0, -3.5) == KINDS[AgentClass.PEDESTRIAN]


def test_cameras_stand_beside_it_left_first_each_with_its_last_exposure(tmp_path: Path) -> None:
    cameras = (camera("CAM_R0", -0.9), camera("CAM_L0", 0.9), camera("CAM_F0", 0.0))
    red, green, blue, white = (200, 0, 0), (0, 200, 0), (0, 0, 200), (250, 250, 250)
    taken = [("CAM_L0", 0.0, red), ("CAM_F0", 1.0, green), ("CAM_F0", 2.0, blue), ("CAM_F0", 2.5, white)]
    images = tuple(Image(name, t, np.eye(4), colour_file(tmp_path / f"{name}{t}.png", tone)) for name, t, tone in taken)
    sensors = Sensors(cameras, images, ())
    sensors.validate()
    picture = Driving().view(scenario(straight_world()), NOW, sensors)  # 2.0 s after step 0
    assert picture.shape[0] == HEIGHT and picture.shape[1] == WIDTH + ACROSS * 2  # two rows of 270 pixels a column
    left, front, right = picture[135, WIDTH + 240], picture[405, WIDTH + 240], picture[135, WIDTH + ACROSS + 240]
    assert (tuple(left), tuple(front), tuple(right)) == (red, blue, (255, 255, 255))  # nothing of CAM_R0


def test_a_lost_image_is_named(tmp_path: Path) -> None:
    lost = Image("CAM_F0", 0.0, np.eye(4), tmp_path / "gone.jpg")
    with pytest.raises(DataError, match=r"gone\.jpg"):
        Driving().view(scenario(straight_world()), NOW, Sensors((camera("CAM_F0", 0.0),), (lost,), ()))
