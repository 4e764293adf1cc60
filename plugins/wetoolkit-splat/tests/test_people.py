"""People who walk and ride: drawn where they are at each time, limbs and all, not masked away."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from wetoolkit_splat.clip import Body, Clip, Frame
from wetoolkit_splat.graph import Node, SplatScene, Track, motion
from wetoolkit_splat.learned import Learned
from wetoolkit_splat.losses import psnr
from wetoolkit_splat.render import Settings
from wetoolkit_splat.testing import orbit, random_gaussians
from wetoolkit_splat.train import FitConfig, fit
from wetoolkit_splat.types import Cameras, Render

CPU = Settings("cpu")
PERIOD, STEP = 1.0, 0.15  # seconds, metres of a limb's swing
TIMES = tuple(0.15 * k for k in range(16))


def walker() -> Node:
    """A body 1 m wide that crosses the picture; every second gaussian is a limb and swings."""
    body = random_gaussians(60, 2, terms=1)
    body = replace(body, means=0.35 * body.means, opacity_logits=body.opacity_logits.abs() + 1)
    sway = torch.zeros(60, 2, 3)
    sway[::2, 0, 1] = STEP
    poses = torch.stack([motion(torch.tensor([0.25 * k - 0.3, 0.1, 0, 0, 0, 0])) for k in range(4)])
    return Node(body, Track(torch.arange(4).double(), poses, torch.zeros(4, 6)), "pedestrian", (1.0, 1.0, 1.0), sway, PERIOD)


def seen(scene: SplatScene, time: float) -> tuple[Cameras, Render]:
    camera = orbit(1, 64, 48)
    return camera, scene.render(camera, time, settings=CPU)


def inside(scene: SplatScene, time: float) -> torch.Tensor:
    """[H, W] where the walker is: its alpha alone."""
    return seen(SplatScene({"walker": scene.node("walker")}), time)[1].alpha[0] > 0.5


@pytest.fixture(scope="module")
def town() -> SplatScene:
    return SplatScene({"ground": Node(random_gaussians(150, 1, terms=1)), "walker": walker()})


@pytest.fixture(scope="module")
def fits(town: SplatScene) -> dict[str, Learned]:
    """With limbs that sway, and with the people masked away."""
    frames = []
    for time in TIMES:
        camera, image = seen(town, time)
        colour, depth = image.colour[0].clamp(0, 1), image.expected_depth()[0]
        frames.append(Frame("front", time, colour, camera.world_to_camera[0], camera.intrinsics[0], depth))
    config = FitConfig(steps=60, budget=260, means_rate=8e-3, densify_every=400, held_out=4, look_every=60, backend="cpu")
    found = {}
    for name in ("limbs", "masked"):
        bodies = {}
        for part, node in town.nodes.items():
            points, colours = node.gaussians.means.clone(), (0.282 * node.gaussians.sh[:, 0] + 0.5).clamp(0, 1)
            bodies[part] = Body(points, colours, node.track, node.category, node.size, part == "walker" and name == "limbs", PERIOD)
        if name == "masked":
            bodies.pop("walker")
        found[name] = fit(Clip(tuple(frames), bodies), config, 0).learned
    return found


def test_who_walks_is_seen_where_they_are_at_times_that_were_held_out(town: SplatScene, fits: dict[str, Learned]) -> None:
    scenes = {name: learned.scene() for name, learned in fits.items()}
    within: dict[str, list[float]] = {name: [] for name in scenes}
    for time in TIMES[2::4]:
        truth, where = seen(town, time)[1].colour[0].clamp(0, 1), inside(town, time)
        assert 0.02 < float(where.float().mean()) < 0.6
        for name, scene in scenes.items():
            within[name].append(psnr(seen(scene, time)[1].colour[0].clamp(0, 1)[where], truth[where]))
    mean = {name: sum(values) / len(values) for name, values in within.items()}
    assert mean["limbs"] > mean["masked"] + 0.5  # decibels where the person is: 24.4 against 23.4 after these 60 steps
