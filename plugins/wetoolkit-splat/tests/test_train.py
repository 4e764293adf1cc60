"""Fitting: the losses, densification, a small scene from noise, bodies, resuming, bad numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from wetoolkit_splat import mcmc
from wetoolkit_splat.clip import Body, Clip, Frame
from wetoolkit_splat.graph import Node, SplatScene, Track, motion
from wetoolkit_splat.harmonics import colours
from wetoolkit_splat.initial import from_points
from wetoolkit_splat.learned import begin
from wetoolkit_splat.losses import psnr, ssim
from wetoolkit_splat.render import Settings
from wetoolkit_splat.terms import TERMS, Look, normal, surface
from wetoolkit_splat.testing import orbit, random_gaussians
from wetoolkit_splat.train import FitConfig, Fitted, fit, measure
from wetoolkit_splat.twin import rotations

from wetoolkit.errors import StoreError, ValidationError, WetoolkitError

CPU = Settings(backend="cpu")
CONFIG = FitConfig(
    steps=160, budget=400, means_rate=1e-2, track_rate=2e-3, densify_every=20, look_every=80, held_out=4, backend="cpu"
)


def moving() -> Track:
    poses = torch.stack([motion(torch.tensor([0.4 * k - 0.4, 0, 0, 0, 0, 0.3 * k])) for k in range(3)])
    return Track(torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64), poses, torch.zeros(3, 6))


def clip(shift: float = 0.0) -> Clip:
    """Eight pictures of a background and a body; where they begin is off, and the body's track by ``shift`` metres."""
    still, body = random_gaussians(120, 1, terms=1), random_gaussians(40, 2, terms=1)
    body = replace(body, means=0.3 * body.means)
    scene = SplatScene({"ground": Node(still), "body": Node(body, moving())}, sky=torch.tensor([[0.5, 1.0, 1.5]]))
    cameras, frames = orbit(8), []
    for k in range(8):
        one = replace(cameras, world_to_camera=cameras.world_to_camera[k : k + 1], intrinsics=cameras.intrinsics[:1])
        seen = scene.render(one, 0.25 * k, settings=CPU)
        frames.append(
            Frame(
                "front", 0.25 * k, seen.colour[0].clamp(0, 1), one.world_to_camera[0], one.intrinsics[0], seen.expected_depth()[0]
            )
        )
    parts = {}
    for name, node in scene.nodes.items():
        points = node.gaussians.means + 0.03 * torch.randn(len(node.gaussians), 3, generator=torch.Generator().manual_seed(3))
        track = node.track and replace(node.track, poses=node.track.poses @ motion(torch.tensor([shift, 0, 0, 0, 0, 0])))
        parts[name] = Body(points, colours(node.gaussians.sh, torch.zeros(len(points), 3)).clamp(0, 1), track, sways=name == "body")
    return Clip(tuple(frames), parts)


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    return fit(clip(), CONFIG, 0)


def test_a_scene_is_found_again_and_held_out_pictures_show_it(fitted: Fitted) -> None:
    before = measure(fit(clip(), CONFIG.model_copy(update={"steps": 1}), 0).learned, clip().split(4)[1], CPU)
    after = fitted.looks[-1]
    assert after["psnr"] > before["psnr"] + 3
    assert after["ssim"] > before["ssim"]
    assert after["depth error"] < before["depth error"]


def test_the_budget_is_reached_and_kept(fitted: Fitted) -> None:
    assert len(fitted.learned.groups) == sum(len(node.gaussians) for node in fitted.learned.scene().nodes.values())
    assert 160 < len(fitted.learned.groups) <= 400
    assert fit(clip(), CONFIG.model_copy(update={"steps": 41, "growth": 1.0, "budget": 200}), 0).learned.groups.shape == (200,)


def test_a_fitted_scene_renders_what_was_fitted(fitted: Fitted) -> None:
    frame = clip().frames[3]
    with torch.no_grad():
        wanted = fitted.learned.render(frame, CPU)
        seen = fitted.learned.scene().render(frame.cameras(), frame.time, ("front",), settings=CPU)
    assert torch.allclose(seen.colour, wanted.colour, atol=1e-5)


def test_a_track_that_is_off_is_corrected() -> None:
    shift = 0.08
    learned = fit(clip(shift), CONFIG.model_copy(update={"track_rate": 1e-2, "means_rate": 1e-4, "growth": 0.0}), 0).learned
    assert -1.7 * shift < float(learned.values["twists.body"][:, 0].mean()) < -0.3 * shift


def test_equal_seeds_give_equal_scenes_also_after_a_kill(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"steps": 45, "checkpoint_every": 15})
    whole = fit(clip(), config, 7)

    def killed(done: int, of: int, message: str) -> None:
        if done == 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(clip(), config, 7, killed, tmp_path / "a.safetensors")
    again = fit(clip(), config, 7, None, tmp_path / "a.safetensors")
    assert all(torch.equal(value, again.learned.values[name]) for name, value in whole.learned.values.items())
    assert whole.looks == again.looks
    with pytest.raises(StoreError, match="another clip, config or seed"):
        fit(clip(), config, 8, None, tmp_path / "a.safetensors")


def test_it_stops_when_held_out_pictures_get_no_better() -> None:
    config = CONFIG.model_copy(update={"look_every": 5, "patience": 2, "means_rate": 1e-9, "sh_rate": 1e-9, "opacity_rate": 3.0})
    assert fit(clip(), config, 0).steps < 160


def test_steps_without_finite_gradients_are_counted_and_then_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def broken(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return ssim(one, other) * (float("nan") if len(calls) % 12 in (2, 3) or len(calls) > 30 else 1.0)

    monkeypatch.setattr("wetoolkit_splat.train.ssim", broken)
    config = CONFIG.model_copy(update={"held_out": 0, "densify_every": 1000})
    assert fit(clip(), config.model_copy(update={"steps": 20}), 0).skipped == 4
    with pytest.raises(WetoolkitError, match="10 steps in a row had no finite gradient"):
        fit(clip(), config, 0)


def test_ssim_is_1_for_equal_pictures_and_as_written_in_the_paper_elsewhere() -> None:
    a, b = torch.rand(2, 24, 30, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert float(ssim(a, a)) == pytest.approx(1)
    x = np.arange(11) - 5.0
    window = np.exp(-(x[:, None] ** 2 + x**2) / 4.5)
    window /= window.sum()
    values = []
    padded = [np.pad(image.numpy(), ((5, 5), (5, 5), (0, 0))) for image in (a, b)]
    for row, column in np.ndindex(24, 30):
        p, q = (image[row : row + 11, column : column + 11] for image in padded)
        mean = [(window[..., None] * image).sum((0, 1)) for image in (p, q, p * p, q * q, p * q)]
        top = (2 * mean[0] * mean[1] + 1e-4) * (2 * (mean[4] - mean[0] * mean[1]) + 9e-4)
        bottom = (mean[0] ** 2 + mean[1] ** 2 + 1e-4) * (mean[2] - mean[0] ** 2 + mean[3] - mean[1] ** 2 + 9e-4)
        values.append(top / bottom)
    assert float(ssim(a, b)) == pytest.approx(float(np.mean(values)), rel=1e-9)
    assert psnr(a, a + 0.1) == pytest.approx(20)


@pytest.mark.parametrize("copies", [1, 2, 5])
def test_a_gaussian_and_its_copies_let_as_much_light_through(copies: int) -> None:
    opacity, x = 0.8, np.linspace(-8, 8, 4001)
    each, factor = mcmc.shares(torch.tensor([opacity], dtype=torch.float64), torch.tensor([copies]))
    narrow = float(each) * np.exp(-((x / float(factor)) ** 2) / 2)
    assert np.trapezoid(1 - (1 - narrow) ** copies, x) == pytest.approx(np.trapezoid(opacity * np.exp(-(x**2) / 2), x), rel=1e-6)


def test_noise_spares_what_is_opaque() -> None:
    scene = random_gaussians(2, 0)
    parameters = {**scene.parameters(), "opacity_logits": torch.tensor([-9.0, 4.0])}
    steps = mcmc.noise(parameters, 1.0, torch.Generator().manual_seed(0)).norm(dim=1)
    assert float(steps[0]) > 1e-4
    assert float(steps[1]) < 1e-20


def test_points_of_a_plane_become_discs_in_it_and_others_balls() -> None:
    g = torch.Generator().manual_seed(0)
    normal = torch.nn.functional.normalize(torch.tensor([0.3, -0.5, 0.8]), dim=0)
    flat = torch.rand(300, 3, generator=g)
    flat = flat - (flat @ normal)[:, None] * normal
    found = from_points(flat, torch.rand(300, 3, generator=g), 0)
    shortest = rotations(found.quaternions)[torch.arange(300), :, found.log_scales.argmin(1)]
    disc = found.log_scales.amin(1) < found.log_scales.amax(1)
    assert int(disc.sum()) > 280
    assert float((shortest[disc] @ normal).abs().min()) > 0.999
    cloud = from_points(torch.rand(300, 3, generator=g), torch.rand(300, 3, generator=g), 0)
    assert int((cloud.log_scales.amin(1) < cloud.log_scales.amax(1)).sum()) < 60


def test_normals_of_a_rendered_plane_are_its_own_and_discs_in_it_cost_nothing() -> None:
    row, column = torch.meshgrid(torch.arange(20) + 0.5, torch.arange(30) + 0.5, indexing="ij")
    k = torch.tensor([[25.0, 0, 15], [0, 25.0, 10], [0, 0, 1]])
    slope = torch.tensor([0.2, -0.6, -1.0])
    rays = torch.stack([(column - 15) / 25, (row - 10) / 25, torch.ones(20, 30)], -1)
    normals, goes_on = surface(-4 / (rays @ slope), k)
    assert bool(goes_on.all())
    assert torch.allclose(normals, torch.nn.functional.normalize(slope, dim=0).expand_as(normals), atol=1e-4)
    costs = {}
    for name, thin in (("in it", 2), ("across", 0)):
        points = torch.rand(2000, 3, generator=torch.Generator().manual_seed(1)) * torch.tensor([6.0, 6, 0]) - torch.tensor(
            [3.0, 3, -5]
        )
        log_scales = torch.full((2000, 3), -2.0)
        log_scales[:, thin] = -5
        body = Body(points, torch.full((2000, 3), 0.5))
        frame = Frame("front", 0.0, torch.zeros(40, 60, 3), torch.eye(4), torch.tensor([[50.0, 0, 30], [0, 50, 20], [0, 0, 1]]))
        learned = begin(Clip((frame,), {"wall": body}), 0, 0)
        learned.values["log_scales"] = log_scales.requires_grad_()
        learned.values["quaternions"] = torch.tensor([1.0, 0, 0, 0]).repeat(2000, 1).requires_grad_()
        costs[name] = normal(Look(learned, frame, learned.render(frame, CPU), CPU, torch.Generator()))
    assert float(costs["in it"].detach()) < 0.05
    assert float(costs["across"].detach()) > 0.5
    costs["across"].backward()  # type: ignore[no-untyped-call]
    assert float(learned.values["quaternions"].grad.abs().sum()) > 0  # type: ignore[union-attr]


def test_alpha_leaves_what_may_be_sky_and_every_term_has_a_weight() -> None:
    given = clip()
    skies = tuple(replace(frame, sky=torch.ones(frame.image.shape[:2])) for frame in given.frames)
    config = CONFIG.model_copy(update={"steps": 40, "held_out": 0, "sky": 1.0})
    both = [fit(one, config, 0).learned for one in (given, replace(given, frames=skies))]
    with torch.no_grad():
        kept, left = (learned.render(given.frames[0], CPU).alpha.mean() for learned in both)
    assert float(left) < 0.9 * float(kept)
    assert set(TERMS) <= set(FitConfig.model_fields)


def test_bad_clips_are_refused() -> None:
    good = clip()
    for bad, said in (
        (replace(good, frames=()), "no pictures"),
        (replace(good, frames=(good.frames[0], replace(good.frames[1], image=torch.zeros(3, 4, 3)))), "2 sizes|shape"),
        (replace(good, frames=(replace(good.frames[0], image=good.frames[0].image * float("nan")),)), "NaN"),
        (replace(good, bodies={"a": replace(good.bodies["body"], points=torch.zeros(0, 3))}), "0, 3"),
    ):
        with pytest.raises(ValidationError, match=said):
            fit(bad, CONFIG, 0)
    with pytest.raises(WetoolkitError, match="160 points for 100"):
        fit(good, CONFIG.model_copy(update={"budget": 100}), 0)
