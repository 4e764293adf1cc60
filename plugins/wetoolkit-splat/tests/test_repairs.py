"""Recordings in which something is wrong: a defined fallback, a counted rejection or a clear error."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("wetoolkit_driving", reason="driving is not installed")
pytest.importorskip("PIL", reason="pillow is not installed")

from wetoolkit_driving.sensors import Sensors
from wetoolkit_driving.types import World
from wetoolkit_splat.clip import Body, Clip, Frame
from wetoolkit_splat.depths import guessed
from wetoolkit_splat.driving import BACKGROUND, GUESSED, Amounts, body_name, clip_of
from wetoolkit_splat.harmonics import colours
from wetoolkit_splat.render import Settings, render
from wetoolkit_splat.repairs import in_time, sharp, steady
from wetoolkit_splat.testing import orbit, random_gaussians
from wetoolkit_splat.testing_driving import sensors, world
from wetoolkit_splat.train import FitConfig, fit

from wetoolkit.errors import ValidationError

FEW = Amounts(background=200, body=60, shell=50)
SHORT = FitConfig(steps=4, budget=1500, backend="cpu", held_out=0)


@pytest.fixture(scope="module")
def given() -> World:
    return world()


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, given: World) -> Sensors:
    return sensors(tmp_path_factory.mktemp("sensors"), given, (0.0, 0.5, 1.0, 1.5, 2.0))


def with_pose(given: World, agent: int, step: int, x: float) -> World:
    pose = given.agents.pose.copy()
    pose[agent, step:, 0] += x
    return replace(given, agents=replace(given.agents, pose=pose))


def test_without_lidar_points_are_guessed_on_the_ground_and_in_the_air_and_it_is_counted(given: World, seen: Sensors) -> None:
    clip = clip_of(given, Sensors(seen.cameras, seen.images, ()), (0, 2), 0, FEW)
    assert clip.repairs["clips_without_lidar"] == 1
    assert clip.repairs["bodies_with_points_on_their_box"] == 3
    assert all(frame.depth is None and frame.sky is None for frame in clip.frames)
    found = guessed(clip.frames, 4000, np.random.default_rng(0), GUESSED, 0.0)
    depth = found[:, 0] - 1.0  # the camera stands 1 m ahead of the ego, who does not move
    assert depth.min() > 2.9 and depth.max() < 81
    assert found[:, 2].min() > -1e-6  # none below the ground
    assert 0.1 < (np.abs(found[:, 2]) < 1e-6).mean() < 0.4  # half of the rays that meet it before 80 m
    assert fit(clip, SHORT, 0).steps == 4


def test_one_camera_and_one_picture_are_enough(given: World, seen: Sensors) -> None:
    clip = clip_of(given, Sensors(seen.cameras, seen.images[:1], seen.sweeps), (0, 2), 0, FEW)
    assert len(clip.frames) == 1
    fitted = fit(clip, SHORT, 0)
    assert (fitted.steps, fitted.skipped) == (4, 0)


def test_a_track_that_jumps_keeps_what_can_be_driven(given: World) -> None:
    steps = given.steps
    assert steady(given) == (given, 0)
    moved, left = steady(with_pose(given, 0, 30, 500.0))  # an id that goes over to somebody else
    assert left == min(30, steps - 30)
    assert moved.agents.valid[0].sum() == steps - left
    once = with_pose(with_pose(given, 0, 10, 80.0), 0, 11, -80.0)
    held, left = steady(once)  # one box beside its track: the steps around it hold
    assert left == 1
    assert not held.agents.valid[0, 10]
    assert held.agents.valid[0].sum() == steps - 1
    _walker, left = steady(with_pose(given, 1, 30, 3.0))  # 3 m in 0.1 s: a car may, a pedestrian may not
    assert left > 0
    assert steady(with_pose(given, 0, 30, 3.0))[1] == 0


def test_a_track_is_taken_up_again_within_a_second_if_one_can_have_come_so_far(given: World) -> None:
    gone = with_pose(given, 1, 20, 5.0)  # a pedestrian 5 m on
    valid = gone.agents.valid.copy()
    valid[1, 20:26] = False
    assert steady(replace(gone, agents=replace(gone.agents, valid=valid)))[1] == 0  # in 0.7 s, unseen between


def test_jumps_reach_the_clip_as_counts_and_shorter_tracks(given: World, seen: Sensors) -> None:
    clip = clip_of(with_pose(given, 0, 10, 500.0), seen, (0, 2), 0, FEW)
    assert clip.repairs["steps_of_tracks_that_jump"] == 10
    track = clip.bodies[body_name(given, 0)].track
    assert track is not None
    assert float(track.times[0]) == pytest.approx(1.0)


def test_an_object_that_is_seen_once_is_there_for_that_moment(given: World, seen: Sensors) -> None:
    valid = given.agents.valid.copy()
    valid[1] = False
    valid[1, 5] = True
    clip = clip_of(replace(given, agents=replace(given.agents, valid=valid)), seen, (0, 2), 0, FEW)
    track = clip.bodies[body_name(given, 1)].track
    assert track is not None
    assert [track.present(time) for time in (0.4, 0.5, 0.6)] == [False, True, False]
    learned = fit(clip, SHORT.model_copy(update={"steps": 6}), 0).learned
    assert torch.isfinite(learned.poses(clip.frames[1])).all()


def test_pictures_of_another_clock_and_those_that_come_twice_are_left_out(given: World, seen: Sensors) -> None:
    pose = np.eye(4)
    pose[0, 3] = 30.0
    images = [*seen.images, seen.images[0], replace(seen.images[1], ego_to_world=pose)]
    kept, counts = in_time(given, images)
    assert kept == list(seen.images)
    assert counts == {"pictures_twice": 1, "pictures_off_the_path": 1}
    with pytest.raises(ValidationError, match="no picture is where the body was"):
        clip_of(given, Sensors(seen.cameras, tuple(replace(i, ego_to_world=pose) for i in seen.images), ()), (0, 2), 0)


def test_a_blurred_picture_is_found_beside_its_neighbours_and_a_plain_scene_is_not_blurred() -> None:
    g = torch.Generator().manual_seed(0)
    texture = torch.rand(60, 400, 3, generator=g)
    frames = [Frame("front", 0.1 * n, texture[:, 5 * n : 5 * n + 80], torch.eye(4), torch.eye(3)) for n in range(8)]
    smeared = torch.stack([texture[:, 20 + n : 100 + n] for n in range(9)]).mean(0)
    frames[4] = replace(frames[4], image=smeared)
    plain = [Frame("left", 0.1 * n, torch.full((60, 80, 3), 0.5), torch.eye(4), torch.eye(3)) for n in range(4)]
    kept, blurred = sharp([*frames, *plain])
    assert blurred == 1
    assert [frame.time for frame in kept if frame.camera == "front"] == [0.1 * n for n in range(8) if n != 4]
    assert sum(frame.camera == "left" for frame in kept) == 4
    assert sharp(frames[3:5])[1] == 0  # too few to tell


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda k: k * torch.tensor([[-1.0], [1], [1]]), "focal length of 0 or less"),
        (lambda k: k + torch.tensor([[0.0, 3, 0], [0, 0, 0], [0, 0, 0]]), "a skew"),
        (lambda k: k + torch.tensor([[0.0, 0, 9000], [0, 0, 0], [0, 0, 0]]), "far beside the image"),
        (lambda k: k * float("nan"), "NaN"),
    ],
)
def test_intrinsics_that_cannot_be_are_refused(change, said: str, given: World, seen: Sensors) -> None:  # type: ignore[no-untyped-def]
    clip = clip_of(given, seen, (0, 1), 0, FEW)
    frames = tuple(replace(frame, intrinsics=change(frame.intrinsics)) for frame in clip.frames)
    with pytest.raises(ValidationError, match=said):
        fit(replace(clip, frames=frames), SHORT, 0)


def test_the_background_stays_when_all_else_is_wrong(given: World, seen: Sensors) -> None:
    none = replace(given, agents=replace(given.agents, valid=np.zeros_like(given.agents.valid)))
    clip = clip_of(none, seen, (0, 2), 0, FEW)
    assert list(clip.bodies) == [BACKGROUND]
    assert clip.repairs["agents_never_seen"] == 3


def test_wrong_focal_lengths_show_in_held_out_pictures_and_the_gate_says_what_to_check() -> None:
    """Of a made scene, whose true focal lengths give 3 dB more than those 40 % off."""
    truth, cameras = random_gaussians(150, 1, terms=1), orbit(8, 48, 32)
    seen = render(truth, cameras, settings=Settings("cpu")).colour.clamp(0, 1)
    body = Body(truth.means, colours(truth.sh, torch.zeros(150, 3)).clamp(0, 1))
    found = {}
    for factor in (1.0, 1.4):
        wrong = cameras.intrinsics * torch.tensor([[factor, factor, 1.0], [factor, factor, 1.0], [1, 1, 1]])
        frames = [Frame("front", float(n), seen[n], cameras.world_to_camera[n], wrong[n]) for n in range(8)]
        config = FitConfig(steps=60, budget=200, backend="cpu", held_out=4, look_every=60)
        found[factor] = fit(Clip(tuple(frames), {"all": body}), config, 0).looks[-1]["psnr"]
    assert found[1.0] > found[1.4] + 3
