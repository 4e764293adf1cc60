"""The numba backend against the float64 twin: images and every gradient, hard cases, threads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from wetoolkit_splat import cpu, cpu_plain, cpu_simd, twin
from wetoolkit_splat.render import Settings, render
from wetoolkit_splat.testing import orbit, random_gaussians, random_poses
from wetoolkit_splat.types import Cameras, Gaussians, Render

from wetoolkit.errors import WetoolkitError

BLENDING = [cpu_plain, cpu_simd]
GIVEN = ("world_to_camera", "intrinsics", "poses", "backgrounds")


def with_gradients(
    renderer: Any, scene: Gaussians, cameras: Cameras, dtype: torch.dtype, **settings: Any
) -> tuple[Render, dict[str, Tensor]]:
    """The render and the gradients by everything of one random weighting of the image."""
    groups = int(scene.groups.max()) + 1
    backgrounds = torch.linspace(0.1, 0.9, 3 * len(cameras)).reshape(-1, 3)
    inputs = {**scene.parameters(), "world_to_camera": cameras.world_to_camera, "intrinsics": cameras.intrinsics}
    inputs |= {"poses": random_poses(groups, 2), "backgrounds": backgrounds}
    leaves = {name: value.to(dtype).clone().requires_grad_() for name, value in inputs.items()}
    changed = replace(scene, **{name: leaves[name] for name in scene.parameters()})
    view = replace(cameras, **{name: leaves[name] for name in GIVEN[:2]})
    seen = renderer(changed, view, leaves["poses"], leaves["backgrounds"], **settings)
    g = torch.Generator().manual_seed(0)
    for image in (seen.colour, seen.depth, seen.alpha):
        (image * torch.rand(image.shape, generator=g, dtype=torch.float64)).sum().backward(retain_graph=True)
    seen = Render(seen.colour.detach(), seen.depth.detach(), seen.alpha.detach())
    return seen, {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}


def scenes() -> dict[str, tuple[Gaussians, Cameras]]:
    """Each hard in its own way."""
    plain = random_gaussians(200, 1, terms=4, groups=3)
    opaque = replace(plain, opacity_logits=plain.opacity_logits + 6)
    needles = replace(plain, log_scales=plain.log_scales * torch.tensor([0.3, 2.5, 2.5]))
    return {
        "colours only": (random_gaussians(80, 5, terms=1), orbit(2, 33, 17)),
        "third degree": (random_gaussians(80, 6, terms=16, groups=2), orbit(1)),
        "opaque, pixels finish early": (opaque, orbit(1, 70, 50)),
        "needles": (needles, orbit(1)),
        "camera inside": (plain, orbit(1, distance=0.3)),
        "wide and small": (plain, orbit(1, 100, 5, distance=1.0)),
    }


@pytest.mark.parametrize("blending", BLENDING, ids=lambda module: module.__name__)
@pytest.mark.parametrize("name", scenes())
def test_images_and_gradients_equal_the_twin_in_float64(name: str, blending: Any) -> None:
    scene, cameras = scenes()[name]
    wanted, exact = with_gradients(twin.render, scene, cameras, torch.float64)
    seen, gradients = with_gradients(cpu.render, scene, cameras, torch.float32, blending=blending)
    assert float(wanted.alpha.max()) > 0.3
    for image in ("colour", "depth", "alpha"):
        assert float((getattr(seen, image) - getattr(wanted, image)).abs().mean()) < 1e-5, image
    assert set(gradients) == set(exact) == {*scene.parameters(), *GIVEN}
    for of, gradient in gradients.items():
        assert float((gradient - exact[of]).norm() / exact[of].norm().clamp(min=1e-3)) < 1e-3, of


def test_vectors_are_used_where_they_compile_and_loops_where_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cpu.fastest() is cpu_simd

    def refuse(*_: Any) -> None:
        raise NotImplementedError("no vectors")

    cpu.fastest.cache_clear()
    monkeypatch.setattr(cpu_simd, "blend", refuse)
    with pytest.warns(RuntimeWarning, match="no vectors"):
        assert cpu.fastest() is cpu_plain
    cpu.fastest.cache_clear()


def test_threads_change_no_bit() -> None:
    scene, cameras = random_gaussians(9000, 1, groups=3), orbit(1, 100, 80)
    one, of_one = with_gradients(cpu.render, scene, cameras, torch.float32)
    two, of_two = with_gradients(cpu.render, scene, cameras, torch.float32, threads=2)
    assert torch.equal(one.colour, two.colour)
    assert all(torch.equal(of_one[name], of_two[name]) for name in of_one)


def test_a_scene_that_is_not_seen_is_background() -> None:
    scene, cameras = random_gaussians(5, 1), orbit(1)
    behind = replace(scene, means=scene.means + 100 * cameras.world_to_camera[0, 2, :3] * -1)
    for given in (behind, scene.select(torch.zeros(5, dtype=torch.bool))):
        leaf = replace(given, means=given.means.clone().requires_grad_())
        seen = render(leaf, cameras, background=torch.tensor([0.1, 0.2, 0.3]), settings=Settings("cpu"))
        assert torch.allclose(seen.colour.detach(), torch.tensor([0.1, 0.2, 0.3]).expand_as(seen.colour))
        assert float(seen.alpha.detach().max()) == 0
        seen.colour.sum().backward()
        assert leaf.means.grad is not None
        assert float(leaf.means.grad.abs().sum()) == 0


def test_gradients_of_two_cameras_add_up() -> None:
    scene, both = random_gaussians(50, 1), orbit(2)
    one, two = (replace(both, world_to_camera=both.world_to_camera[c : c + 1], intrinsics=both.intrinsics[:1]) for c in range(2))

    def gradient(cameras: Cameras) -> Tensor:
        leaf = scene.sh.clone().requires_grad_()
        render(replace(scene, sh=leaf), cameras, settings=Settings("cpu")).colour.sum().backward()
        assert leaf.grad is not None
        return leaf.grad

    assert torch.allclose(gradient(both), gradient(one) + gradient(two), atol=1e-4)


def test_what_is_too_much_for_the_memory_is_drawn_in_strips_or_refused_before_it_is_taken() -> None:
    scene, cameras = random_gaussians(3000, 1), orbit(2, 200, 150)
    wanted = render(scene, cameras, settings=Settings("cpu"))
    base = 3000 * cpu.A_GAUSSIAN / 2**20
    strips = render(scene, cameras, settings=Settings("cpu", megabytes=base + 0.1))
    assert torch.equal(strips.colour, wanted.colour)
    assert torch.equal(strips.depth, wanted.depth)
    with pytest.raises(WetoolkitError, match=r"3000 gaussians meet \d+ tiles: \d+ MB are needed, 2 MB are free"):
        render(replace(scene, means=scene.means.clone().requires_grad_()), cameras, settings=Settings("cpu", megabytes=4))
    with pytest.raises(WetoolkitError, match="gradients: not asked for"):
        render(scene, cameras, settings=Settings("cpu", megabytes=base + 0.001))


def test_a_camera_inside_a_huge_gaussian_sees_it_and_its_gradients_are_finite() -> None:
    cameras = orbit(1)
    eye = torch.linalg.inv(cameras.world_to_camera)[0, :3, 3]
    scene = random_gaussians(20, 3)
    around = replace(scene, means=eye + 0.02 * scene.means, log_scales=torch.full((20, 3), 4.0))
    leaves = {name: value.clone().requires_grad_() for name, value in around.parameters().items()}
    seen = render(replace(around, **leaves), cameras, settings=Settings("cpu"))
    assert float(seen.alpha.detach().min()) > 0.9
    seen.colour.sum().backward()
    assert all(bool(torch.isfinite(leaf.grad).all()) for leaf in leaves.values() if leaf.grad is not None)
