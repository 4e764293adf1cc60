"""Variants from above: the conflict is found and marked, pedestrians are seen, the log is a ghost, titles say what was asked."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import shapely

pytest.importorskip("imageio_ffmpeg", reason="imageio-ffmpeg is not installed")
pytest.importorskip("PIL", reason="pillow is not installed")

import imageio_ffmpeg
from PIL import Image
from wetoolkit_driving.canvas import ALARM, EGO, KINDS
from wetoolkit_driving.domain import Driving
from wetoolkit_driving.futures import SCALE, SIZE, future, meeting
from wetoolkit_driving.geometry import box_corners, ego_corners
from wetoolkit_driving.testing import actor, pedestrian_world, scene, straight_world
from wetoolkit_driving.types import AgentClass, World

from wetoolkit.futures import SupportsFutures, _title, futures

NOW = 20


def variants() -> tuple[World, World]:
    """The log, in which somebody waits on foot beside the road 25 m ahead, and a variant in which they cross before the ego."""
    varied = pedestrian_world()
    agents = varied.agents
    waiting = np.repeat(agents.pose[:, NOW : NOW + 1], varied.steps, 1)
    return replace(varied, agents=replace(agents, pose=waiting, velocity=0 * agents.velocity)), varied


def pixel(picture: np.ndarray, world: World, still: int, x: float, y: float) -> tuple[int, ...]:
    """The colour at a place of the world, in a view about the ego's box of a step and to the right."""
    middle = world.ego.states[NOW + still, :2] + [world.ego.vehicle.rear_to_center, 0]
    row, column = SIZE[1] / 2 - SCALE * (y - middle[1]), SIZE[0] / 2 + SCALE * (x - middle[0])
    return tuple(int(value) for value in picture[round(row), round(column)])


def test_the_first_touch_is_found_as_shapely_finds_it() -> None:
    _, world = variants()
    found = meeting(world, NOW, [0])
    own = shapely.polygons(ego_corners(world.ego.states, world.ego.vehicle))
    walker = shapely.polygons(box_corners(world.agents.pose[0].astype(float), *world.agents.size[0, :2].astype(float)))
    gaps = shapely.distance(own, walker)[NOW:]
    assert found is not None and gaps.min() == 0
    assert (found.step, found.gap) == (NOW + int(np.flatnonzero(gaps == 0)[0]), 0.0)
    log, _ = variants()
    far = meeting(log, NOW, [0])
    expected = shapely.distance(own, shapely.box(*shapely.bounds(walker[NOW])))[NOW:]
    assert far is not None and far.gap == pytest.approx(expected.min(), abs=1e-5)
    assert meeting(log, NOW, []) is None


def test_who_was_asked_is_seen_and_the_conflict_marked() -> None:
    log, world = variants()
    assert isinstance(Driving(), SupportsFutures)
    for who in (("a0",), ()):  # named, or the one that leaves the log
        told = future(scene(world), log, who)
        pictures = list(islice(told.pictures, told.still + 1))
        assert pictures[0].shape == (SIZE[1], SIZE[0], 3)
        x, y = world.agents.pose[0, NOW + told.still, :2]
        assert told.words == f"pedestrian a0 touches the ego at {told.still / 10:.1f} s"
        assert pixel(pictures[told.still], world, told.still, x, y) == KINDS[AgentClass.PEDESTRIAN]
        assert pixel(pictures[told.still], world, told.still, x + 1.5, 0.5) in (EGO, (255, 255, 255))
        ring = [pixel(pictures[k], world, told.still, x, y - 21 / SCALE) for k in (told.still - 1, told.still)]
        assert ring[0] != ALARM and ring[1] == ALARM
        assert not np.array_equal(pictures[5], next(islice(future(scene(world), world, who).pictures, 5, None)))  # ghosts


def test_nobody_near_is_no_conflict() -> None:
    world = straight_world([actor(60.0, 30.0, seen=(0, 30))], speed=0.0)
    told = future(scene(world), world, ("a0",))
    assert told.words.startswith("vehicle a0 ") and "m from the ego" in told.words
    assert not any((picture == ALARM).all(-1).any() for picture in islice(told.pictures, told.still, None, 20))
    alone = future(scene(straight_world([])), straight_world([]), ())
    assert (alone.words, alone.still) == ("", 40)


def test_eight_futures_are_one_film_and_one_sheet(tmp_path: Path) -> None:
    log, world = variants()
    short = replace(scene(world), clock=replace(scene(world).clock, now=95))
    rows = [{"control": f"jaywalk {n}", "who": "a0", "best score": 0.5, "surprise": float("nan")} for n in range(5)]
    paths = futures(Driving(), replace(short, world=log), [short] * 5, rows, tmp_path)
    assert [path.name for path in paths] == ["futures.mp4", "sheet.png"]
    assert imageio_ffmpeg.count_frames_and_secs(str(paths[0]))[0] == 6
    with Image.open(paths[1]) as sheet:
        assert sheet.size == (4 * SIZE[0], 2 * (SIZE[1] + 64))
    assert futures(Driving(), short, [], [], tmp_path) == []
    assert _title(3, short, rows[0]) == "3: jaywalk 0\nby a0   best score 0.5"
