"""The torch twin against closed forms, a loop over pixels and gsplat's own torch functions."""

from __future__ import annotations

import math
import sys
import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from wetoolkit_splat import cuda, twin
from wetoolkit_splat.harmonics import basis
from wetoolkit_splat.render import Settings, render
from wetoolkit_splat.testing import orbit, random_gaussians, random_poses
from wetoolkit_splat.types import C0, Cameras, Gaussians, merged

from wetoolkit.errors import PluginError, ValidationError

TWIN = Settings(backend="twin")


def single(opacity: float = 0.6, scale: float = 0.05, z: float = 2.0) -> Gaussians:
    """One red ball on the axis of ``straight``."""
    sh = (torch.tensor([[[1.0, 0.25, 0.0]]], dtype=torch.float64) - 0.5) / C0
    logit = math.log(opacity / (1 - opacity))
    return Gaussians(
        means=torch.tensor([[0.0, 0.0, z]], dtype=torch.float64),
        quaternions=torch.tensor([[1.0, 0, 0, 0]], dtype=torch.float64),
        log_scales=torch.full((1, 3), math.log(scale), dtype=torch.float64),
        opacity_logits=torch.tensor([logit], dtype=torch.float64),
        sh=sh,
        groups=torch.zeros(1, dtype=torch.int32),
    )


def straight() -> Cameras:
    k = torch.tensor([[[100.0, 0, 16.5], [0, 100.0, 8.5], [0, 0, 1]]], dtype=torch.float64)
    return Cameras(torch.eye(4, dtype=torch.float64)[None], k, 33, 17)


def test_a_ball_on_the_axis_has_its_closed_form() -> None:
    seen = render(single(), straight(), settings=TWIN)
    variance = (100 * 0.05 / 2) ** 2 + twin.BLUR
    dx, dy = np.arange(33)[None] - 16.0, np.arange(17)[:, None] - 8.0
    alpha = 0.6 * np.exp(-(dx**2 + dy**2) / 2 / variance)
    alpha[alpha < 1 / 255] = 0
    assert np.allclose(seen.alpha[0], alpha, atol=1e-12)
    assert np.allclose(seen.colour[0, ..., 0], alpha, atol=1e-12)
    assert np.allclose(seen.colour[0, ..., 1], 0.25 * alpha, atol=1e-12)
    assert np.allclose(seen.expected_depth()[0][alpha > 0], 2.0)


def test_the_nearer_covers_the_farther_whatever_their_order() -> None:
    near, far = single(0.8, z=1.5), single(0.9, z=3.0)
    both = render(merged({"far": far, "near": near}), straight(), settings=TWIN)
    a, b = (render(part, straight(), settings=TWIN) for part in (near, far))
    assert torch.allclose(both.depth, a.depth + (1 - a.alpha) * b.depth, atol=1e-12)


def test_the_background_shows_through() -> None:
    sky = torch.tensor([0.2, 0.4, 0.8], dtype=torch.float64)
    black, seen = (render(single(), straight(), background=b, settings=TWIN) for b in (None, sky))
    assert torch.allclose(seen.colour, black.colour + (1 - black.alpha)[..., None] * sky, atol=1e-12)


def by_loop(seen: twin.Projected, x: float, y: float) -> tuple[np.ndarray, float]:
    """Colour and alpha of one pixel, one gaussian after the other."""
    colour, through = np.zeros(3), 1.0
    for row in range(len(seen.index)):
        a, b, c = seen.conics[row].tolist()
        dx, dy = x - float(seen.centres[row, 0]), y - float(seen.centres[row, 1])
        alpha = min(0.999, float(seen.opacities[row]) * math.exp(-0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy))
        if alpha < 1 / 255:
            continue
        if through * (1 - alpha) <= 1e-4:
            break
        colour += alpha * through * seen.colours[row].numpy()
        through *= 1 - alpha
    return colour, 1 - through


def test_tiles_bounds_and_early_stop_equal_a_loop_over_everything() -> None:
    scene, cameras = random_gaussians(300, 1, dtype=torch.float64), orbit(1, dtype=torch.float64)
    scene = replace(scene, opacity_logits=scene.opacity_logits + 3)
    seen = twin.project(scene, cameras.world_to_camera[:1], cameras.intrinsics[0], 40, 24)
    image = render(scene, cameras, settings=TWIN)
    finished = 0
    for y, x in [(0, 0), (12, 20), (5, 31), (23, 39), (15, 16), (16, 15), (10, 10)]:
        colour, alpha = by_loop(seen, x + 0.5, y + 0.5)
        assert np.allclose(image.colour[0, y, x], colour, atol=1e-12)
        assert float(image.alpha[0, y, x]) == pytest.approx(alpha, abs=1e-12)
        finished += alpha > 0.99
    assert finished, "no pixel stops early"


def test_harmonics_are_orthonormal() -> None:
    z, weights = np.polynomial.legendre.leggauss(8)
    turn = 2 * np.pi * np.arange(16) / 16
    z, turn = (a.ravel() for a in np.meshgrid(z, turn, indexing="ij"))
    flat = np.sqrt(1 - z**2)
    values = basis(torch.tensor(np.stack([flat * np.cos(turn), flat * np.sin(turn), z], -1)), 16).numpy()
    gram = (values * (np.repeat(weights, 16) * 2 * np.pi / 16)[:, None]).T @ values
    assert np.allclose(gram, np.eye(16), atol=1e-12)


def test_moving_a_group_equals_moving_the_camera_the_other_way() -> None:
    scene, cameras = random_gaussians(60, 3, terms=16, dtype=torch.float64), orbit(2, dtype=torch.float64)
    pose = random_poses(1, 5, torch.float64)
    moved = render(scene, cameras, pose, settings=TWIN)
    other = render(scene, replace(cameras, world_to_camera=cameras.world_to_camera @ pose), settings=TWIN)
    assert torch.allclose(moved.colour, other.colour, atol=1e-12)


def test_gradients_of_everything_equal_finite_differences() -> None:
    scene = random_gaussians(5, 8, terms=9, groups=2, dtype=torch.float64)
    cameras, poses = orbit(1, 10, 6, dtype=torch.float64), random_poses(2, 2, torch.float64)
    background = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    given = (*scene.parameters().values(), cameras.world_to_camera, cameras.intrinsics, poses, background)

    def image(*values: torch.Tensor) -> torch.Tensor:
        names = scene.parameters()
        changed = replace(scene, **dict(zip(names, values, strict=False)))
        view, k, pose, sky = values[len(names) :]
        seen = render(changed, replace(cameras, world_to_camera=view, intrinsics=k), pose, sky, TWIN)
        return torch.cat([seen.colour.ravel(), seen.depth.ravel(), seen.alpha.ravel()])

    leaves = [value.clone().requires_grad_() for value in given]
    assert torch.autograd.gradcheck(image, leaves, fast_mode=True, atol=1e-6)


@pytest.fixture
def gsplat() -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("gsplat.cuda._torch_impl", reason="gsplat is not installed")


def test_projection_covariance_and_harmonics_agree_with_gsplat(gsplat) -> None:  # type: ignore[no-untyped-def]
    scene, cameras = random_gaussians(400, 4, terms=16), orbit(1)
    seen = twin.project(scene, cameras.world_to_camera, cameras.intrinsics[0], 40, 24)
    cov, _ = gsplat._quat_scale_to_covar_preci(scene.quaternions, scene.log_scales.exp(), compute_preci=False)
    assert torch.allclose(cov, twin.covariances(scene.quaternions, scene.log_scales), atol=1e-5)
    _, centres, depths, conics, _ = gsplat._fully_fused_projection(
        scene.means, cov, cameras.world_to_camera, cameras.intrinsics, 40, 24
    )
    assert len(seen.index) > 200
    assert torch.allclose(centres[0, seen.index], seen.centres, rtol=1e-5, atol=1e-4)
    assert torch.allclose(depths[0, seen.index], seen.depths, atol=1e-5)
    assert torch.allclose(conics[0, seen.index], seen.conics, rtol=1e-4, atol=1e-5)
    eye = torch.linalg.inv(cameras.world_to_camera)[0, :3, 3]
    lit = gsplat._spherical_harmonics(3, scene.means[seen.index] - eye, scene.sh[seen.index])
    assert torch.allclose((lit + 0.5).clamp(min=0), seen.colours, atol=1e-5)


def test_wrong_input_says_what_and_where() -> None:
    scene = random_gaussians(4, 0)
    with pytest.raises(ValidationError, match="1 of 12 numbers are NaN"):
        replace(
            scene,
            means=scene.means.index_fill(0, torch.tensor(0), 0.0).index_put(
                (torch.tensor(1), torch.tensor(2)), torch.tensor(float("nan"))
            ),
        ).validate()
    with pytest.raises(ValidationError, match="3 coefficients"):
        replace(scene, sh=scene.sh[:, :3]).validate()
    with pytest.raises(ValidationError, match="group 1 of 1 poses"):
        render(replace(scene, groups=torch.ones(4, dtype=torch.int32)), orbit(1), torch.eye(4)[None], settings=TWIN)
    with pytest.raises(ValidationError, match="rotations are zero"):
        replace(scene, quaternions=torch.zeros(4, 4)).validate()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_asking_for_cuda_without_a_device_says_so() -> None:
    with pytest.raises(PluginError, match="no CUDA device"):
        render(random_gaussians(2, 0), orbit(1), settings=Settings(backend="cuda"))


def test_what_gsplat_is_given_and_gives_back_is_the_twins_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU: gsplat's signature, answered by the twin from the covariances, colours and means that it is given."""

    def rasterization(*, means, quats, scales, covars, opacities, colors, viewmats, Ks, width, height, backgrounds, **rest):  # type: ignore[no-untyped-def]
        assert quats is None and scales is None
        assert rest == {"near_plane": 0.01, "eps2d": 0.3, "render_mode": "RGB+D", "packed": False, "rasterize_mode": "classic"}
        images = []
        for c in range(len(viewmats)):
            variances, axes = torch.linalg.eigh(covars.double())
            axes = axes * torch.linalg.det(axes)[:, None, None]
            turns = torch.from_numpy(Rotation.from_matrix(axes.numpy()).as_quat(scalar_first=True))
            sh, logits = (colors[c, :, None].double() - 0.5) / C0, torch.logit(opacities.double())
            given = Gaussians(means.double(), turns, variances.log() / 2, logits, sh, torch.zeros(len(means), dtype=torch.int32))
            one = Cameras(viewmats[c : c + 1].double(), Ks[c : c + 1].double(), width, height)
            images.append(render(given, one, background=backgrounds[c].double(), settings=TWIN))
        image = torch.cat([torch.cat([seen.colour, seen.depth[..., None]], -1) for seen in images])
        return image, torch.cat([seen.alpha for seen in images])[..., None], {}

    monkeypatch.setitem(sys.modules, "gsplat", SimpleNamespace(rasterization=rasterization))
    monkeypatch.setattr(cuda, "DEVICE", "cpu")
    scene, cameras, poses = random_gaussians(60, 1, terms=16, groups=3), orbit(2), random_poses(3, 1)
    skies = torch.tensor([[0.1, 0.2, 0.3], [0.5, 0.4, 0.3]])
    seen, wanted = (way(scene, cameras, poses, skies) for way in (cuda.render, twin.render))
    for image in ("colour", "depth", "alpha"):
        assert torch.allclose(getattr(seen, image).float(), getattr(wanted, image), atol=2e-4), image


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_equals_the_twin() -> None:
    scene, cameras = random_gaussians(300, 1, terms=16, groups=3), orbit(2)
    poses = random_poses(3, 1)
    wanted = render(scene.to(torch.float64), cameras.to(torch.float64), poses.double(), settings=TWIN)
    seen = render(
        scene.map(lambda t: t.cuda()),
        replace(cameras, world_to_camera=cameras.world_to_camera.cuda(), intrinsics=cameras.intrinsics.cuda()),
        poses.cuda(),
        settings=Settings(backend="cuda"),
    )
    assert float((seen.colour.cpu().double() - wanted.colour).abs().mean()) < 1e-5
    assert float((seen.depth.cpu().double() - wanted.depth).abs().mean()) < 1e-4
