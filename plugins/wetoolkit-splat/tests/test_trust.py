"""Trust: which pictures saw what, how firmly they hold a gaussian, what a view is worth, and the calibration's file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from wetoolkit_splat import coverage as coverages
from wetoolkit_splat import trust as trusts
from wetoolkit_splat.calibrate import auroc, depth_errors, logistic, reliability
from wetoolkit_splat.clip import Frame
from wetoolkit_splat.coverage import Coverage, survey
from wetoolkit_splat.features import FRAME, PIXEL, _crosses, evidence
from wetoolkit_splat.graph import Node, SplatScene, Track
from wetoolkit_splat.initial import from_points
from wetoolkit_splat.render import Settings, render
from wetoolkit_splat.reprojection import ANGLE, COUNT, DETAIL, SPREAD, THROUGH, reproject
from wetoolkit_splat.trust import Logistic, trust
from wetoolkit_splat.types import Cameras

from wetoolkit.errors import DataError, ValidationError

CPU = Settings(backend="cpu")
SIZE = (96, 64)


def camera(x: float = 0.0, z: float = 0.0, yaw: float = 0.0) -> Cameras:
    """At (x, 0, z), looking along z, turned to the right by ``yaw``."""
    c, s = np.cos(yaw), np.sin(yaw)
    pose = np.array([[c, 0, s, x], [0, 1, 0, 0], [-s, 0, c, z], [0, 0, 0, 1.0]])
    k = torch.tensor([[80.0, 0, 48], [0, 80, 32], [0, 0, 1]])
    return Cameras(torch.from_numpy(np.linalg.inv(pose))[None].float(), k[None], *SIZE)


def opaque(points: torch.Tensor, seed: int) -> Node:
    gaussians = from_points(points, torch.rand(len(points), 3, generator=torch.Generator().manual_seed(seed)), 0)
    return Node(replace(gaussians, opacity_logits=torch.full((len(points),), 4.0)))


def room() -> SplatScene:
    """A wall 6 m ahead, 16 x 8 m, and a box that stands 3 m ahead."""
    x, y = torch.meshgrid(torch.linspace(-8, 8, 80), torch.linspace(-4, 4, 40), indexing="xy")
    wall = torch.stack([x.flatten(), y.flatten(), torch.full((x.numel(),), 6.0)], 1)
    face = torch.stack([0.05 * x.flatten()[::9], 0.1 * y.flatten()[::9], torch.full((len(x.flatten()[::9]),), -0.4)], 1)
    pose = torch.eye(4)
    pose[2, 3] = 3.4
    track = Track(torch.tensor([0.0, 9.0], dtype=torch.float64), pose.repeat(2, 1, 1), torch.zeros(2, 6))
    return SplatScene({"wall": opaque(wall, 0), "car": replace(opaque(face, 1), track=track, size=(0.9, 0.9, 0.9))})


def frames(scene: SplatScene) -> list[Frame]:
    """Pictures of the scene itself, from -1 to 1 m: it explains them perfectly."""
    found = []
    for k in range(7):
        cameras = camera((k - 3) / 3)
        with torch.no_grad():
            seen = scene.render(cameras, float(k), settings=CPU)
        found.append(Frame("front", float(k), seen.colour[0].clamp(0, 1), cameras.world_to_camera[0], cameras.intrinsics[0]))
    return found


@pytest.fixture(scope="module")
def scene() -> SplatScene:
    return room()


@pytest.fixture(scope="module")
def coverage(scene: SplatScene) -> Coverage:
    return survey(scene, frames(scene), CPU)


def seen_from(scene: SplatScene, coverage: Coverage, cameras: Cameras, car: torch.Tensor | None = None) -> trusts.Trust:
    track = scene.nodes["car"].track
    assert track is not None
    poses = {"car": track.poses[0] if car is None else car}
    with torch.no_grad():
        return trust(scene, coverage, cameras, 3.0, poses, scene.render(cameras, 3.0, (), poses, CPU), CPU)


def test_what_was_photographed_is_trusted_and_what_was_not_is_not(scene: SplatScene, coverage: Coverage) -> None:
    there = seen_from(scene, coverage, camera())
    assert there.pixels.shape == (64, 96)
    assert there.pixels.dtype == np.float32
    assert there.pixels.mean() > 0.9
    means = [float(seen_from(scene, coverage, camera(x)).pixels.mean()) for x in (0.0, 2.0, 4.0, 6.0)]
    assert means == sorted(means, reverse=True)
    assert 1 - means[-1] > 2 * (1 - means[0])
    away = seen_from(scene, coverage, camera(3.0, yaw=0.8))
    assert away.frame < there.frame
    again = seen_from(scene, coverage, camera(3.0, yaw=0.8))
    assert np.array_equal(away.pixels, again.pixels)
    assert away.frame == again.frame


def test_evidence_against_a_pixel_never_raises_its_trust() -> None:
    model, rng = trusts.shipped().pixel, np.random.default_rng(0)
    values = rng.random((50, len(PIXEL)))
    for column in range(len(PIXEL)):
        more = values.copy()
        more[:, column] = np.minimum(1, values[:, column] + rng.random(50))
        assert (model(more) <= model(values) + 1e-12).all()


def test_a_body_is_looked_up_where_it_was_when_a_picture_was_taken(scene: SplatScene, coverage: Coverage) -> None:
    """The box moves a metre to the right: what is known of its face goes along; a box that no picture showed is not trusted."""
    track = scene.nodes["car"].track
    assert track is not None
    moved = track.poses[0].clone()
    moved[0, 3] += 1.0
    with torch.no_grad():
        seen = scene.render(camera(1.0), 3.0, (), {"car": moved}, CPU)
        known = evidence(scene, coverage, camera(1.0), 3.0, {"car": moved}, seen, CPU)
        strange = replace(coverage, placed={})
        unknown = trust(scene, strange, camera(1.0), 3.0, {"car": moved}, seen, CPU)
    face = known.depth[8, 12]  # the middle
    assert face == pytest.approx(3.0, abs=0.1)
    assert known.values[8, 12, PIXEL.index("unseen")] < 0.2
    assert not known.foreign.any()
    assert unknown.pixels[32, 48] == 0
    assert unknown.pixels[4, 4] > 0.5


def looked(points: list[list[float]], depth: float = 6.0) -> np.ndarray:
    """Two pictures from (0, 0, 0) and (2, 0, 0) that show a wall; seen from (0, 0, 2)."""
    views = np.stack([np.eye(4), np.eye(4)]).astype(np.float32)
    views[1, 0, 3] = -2
    centres, maps = np.array([[[0, 0, 0], [2, 0, 0]]], np.float32), np.full((2, 10, 20), depth, np.float32)
    lenses, out = np.array([[10, 10, 10, 5]] * 2, np.float32), np.empty((len(points), 6), np.float32)
    boxes, halves = np.zeros((0, 3, 4), np.float32), np.zeros((0, 3), np.float32)
    given = np.array(points, np.float32), np.array([0, 0, 2], np.float32), boxes, halves, views[None, :, :3].copy(), centres
    reproject(*given, np.ones((1, 2), bool), lenses, maps, np.zeros_like(maps), out)
    return out


def test_points_are_looked_up_in_pictures() -> None:
    on_wall, before, behind, outside = looked([[0, 0, 6], [0, 0, 4], [0, 0, 9], [40, 0, 6]])
    assert on_wall[COUNT] == 2
    assert on_wall[ANGLE] == pytest.approx(0, abs=1e-3)  # the first stood in line with the eye
    assert on_wall[DETAIL] == pytest.approx(np.log(6 / 4), abs=1e-4)
    angle = np.arctan2(2, 6)
    assert on_wall[SPREAD] == pytest.approx(1 - np.cos(angle / 2), abs=1e-5)
    assert before[COUNT] == 0
    assert before[THROUGH] == 1
    assert behind[COUNT] == 0
    assert behind[THROUGH] == 0
    assert outside[COUNT] == 0
    assert looked([[0, 0, 500]], depth=0)[0, COUNT] == 2  # the sky is the sky


def test_information_is_that_of_the_derivatives() -> None:
    """The mean over many signs is J^T J, J by columns from the backend itself."""
    points = torch.tensor([[0.0, 0, 3], [0.4, 0.2, 3.2]])
    small = SplatScene({"two": opaque(points, 3)})
    picture = Cameras(camera().world_to_camera, torch.tensor([[[27.0, 0, 16], [0, 27, 16], [0, 0, 1]]]), 32, 32)
    cameras = coverages.shrunk(picture)
    means = small.nodes["two"].gaussians.means.double()

    def colours(at: torch.Tensor) -> torch.Tensor:
        given = replace(small.nodes["two"].gaussians.to(torch.float64), means=at)
        return render(given, cameras.to(torch.float64), settings=Settings(backend="twin")).colour

    steps = 1e-4 * torch.eye(6, dtype=torch.float64).reshape(6, 2, 3)
    columns = [(colours(means + step) - colours(means - step)) / 2e-4 for step in steps]
    jacobian = torch.stack(columns, -1).reshape(-1, 2, 3).float()
    exact = torch.einsum("pni,pnj->nij", jacobian, jacobian)
    with torch.no_grad():
        image = small.render(picture, 0.0, settings=CPU).colour[0].clamp(0, 1)
    frame = Frame("front", 0.0, image, picture.world_to_camera[0], picture.intrinsics[0])
    total, generator = {"two": torch.zeros(2, 3, 3)}, torch.Generator().manual_seed(0)
    for _ in range(200):
        coverages._look(small, frame, CPU, generator, total)
    assert torch.allclose(total["two"] / 200, exact, rtol=0.25, atol=0.2 * float(exact.abs().max()))
    depths = coverages._variance(exact)
    assert (depths[:, 5] > depths[:, 0]).all()  # one picture says less of the way along than across


def test_coverage_goes_through_a_file(coverage: Coverage, tmp_path: Path) -> None:
    assert coverages.read(tmp_path) is None
    coverages.write(tmp_path, coverage)
    again = coverages.read(tmp_path)
    assert again is not None
    assert np.array_equal(again.views, coverage.views)
    assert np.allclose(again.depth, coverage.depth, rtol=1e-3)
    assert np.allclose(again.variance["car"], coverage.variance["car"], rtol=1e-3, atol=1e-6)
    assert set(trusts.of_gaussians(again)) == {"wall", "car"}
    path = tmp_path / coverages.FILE
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match="no coverage"):
        coverages.read(tmp_path)
    with pytest.raises(ValidationError, match="instead of"):
        replace(coverage, views=coverage.views[:2]).validate()


def test_a_calibration_goes_through_a_file_and_bad_ones_are_refused(tmp_path: Path) -> None:
    path, good = tmp_path / "trust.json", trusts.shipped()
    trusts.write(path, good)
    assert trusts.read(path) == good
    assert good.pixel.columns == PIXEL
    assert good.frame.columns == FRAME
    text = path.read_text()
    short = good.frame.model_copy(update={"bends": ()})
    falling = good.pixel.model_copy(update={"below": (-1.0,) * len(PIXEL)})
    for bad, said in (
        (text[:100], "no calibration"),
        (text.replace('"thin"', '"thick"'), "columns"),
        (text.replace("wetoolkit-trust-1", "other"), "format"),
        (good.model_copy(update={"pixel": falling}).model_dump_json(), "0 or more"),
        (good.model_copy(update={"frame": short}).model_dump_json(), "numbers are needed"),
    ):
        path.write_text(bad)
        with pytest.raises(DataError, match=said):
            trusts.read(path)
    with pytest.raises(DataError, match="calibrate-trust"):
        trusts.read(tmp_path / "missing.json")


def test_the_model_is_found_again_and_stays_monotone() -> None:
    rng = np.random.default_rng(0)
    truth = Logistic(columns=("a", "b", "c"), bias=3.0, bends=(0.5, 0.5, 0.5), below=(2.0, 0.0, 0.0), above=(8.0, 1.0, 0.0))
    values = rng.random((40_000, 3))
    good = rng.random(len(values)) < truth(values)
    found = logistic(values, good, np.ones(len(values)), truth.columns)
    assert np.abs(found(values) - truth(values)).mean() < 0.02
    assert min(*found.below, *found.above) >= 0
    backwards = logistic(values[:, :1], rng.random(len(values)) < values[:, 0], np.ones(len(values)), ("a",))
    assert max(*backwards.below, *backwards.above) < 1e-3  # more evidence must not raise trust, so none of it is used
    rows, error = reliability(truth(values), good)
    assert error < 0.02
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    with pytest.raises(ValidationError, match="alike"):
        logistic(values, np.ones(len(values), bool), np.ones(len(values)), truth.columns)


def test_auroc_is_the_share_of_pairs_in_order() -> None:
    rng = np.random.default_rng(1)
    scores, positive = rng.integers(0, 6, 60).astype(float), rng.random(60) < 0.4
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[positive] for b in scores[~positive]]
    assert auroc(scores, positive) == pytest.approx(np.mean(pairs))
    assert np.isnan(auroc(scores, np.zeros(60, bool)))


def test_rays_meet_boxes() -> None:
    ways = np.array([[4.0, 0, 0], [1.5, 0, 0], [4, 3, 0], [4, 1, 0], [-4, 0, 0]])
    assert _crosses(np.array([-3.0, 0, 0]), ways, np.ones(3)).tolist() == [True, False, False, True, False]


def test_depths_beyond_sixty_metres_are_alike() -> None:
    errors = depth_errors(np.array([0.0, 70.0, 0.0, 9.5, 30.0]), np.array([np.inf, np.inf, 30.0, 10.0, 90.0]))
    assert errors == pytest.approx([0, 0, 1, 0.05, 0.5])
