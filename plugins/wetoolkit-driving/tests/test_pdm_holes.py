"""Polygons with holes. Maps hold rings only: a hole is cut open into one ring, or what is round it is cut into pieces."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from wetoolkit_driving import dynamics
from wetoolkit_driving.geometry import box_corners
from wetoolkit_driving.pdm import kernels
from wetoolkit_driving.pdm.areas import Areas, index_areas, within
from wetoolkit_driving.pdm.grid import DRIVABLE, LANE
from wetoolkit_driving.pdm.scene import PdmScene
from wetoolkit_driving.pdm.score import score_readable
from wetoolkit_driving.pdm.variants import NAVSIM_1_1, VARIANTS
from wetoolkit_driving.types import AreaKind

OUTER = np.array([[-30.0, -20.0], [70.0, -20.0], [70.0, 20.0], [-30.0, 20.0]])
HOLE = np.array([[12.0, -3.0], [20.0, -1.5], [18.0, 4.5], [11.0, 3.0]])  # counter-clockwise, as OUTER
SOLID = shapely.Polygon(OUTER, [HOLE])


def cut_open() -> list[np.ndarray]:
    """One ring: round the outside, along a cut to the hole, round it the other way, and back along the cut."""
    return [np.concatenate([OUTER, OUTER[:1], HOLE[:1], HOLE[:0:-1], HOLE[:1]])]


def in_pieces() -> list[np.ndarray]:
    """Four rings, each from a side of the outside to the side of the hole that it faces; neighbours share a whole edge."""
    return [np.array([OUTER[i], OUTER[(i + 1) % 4], HOLE[(i + 1) % 4], HOLE[i]]) for i in range(4)]


def areas_of(rings: list[np.ndarray], kinds: tuple[AreaKind, ...]) -> Areas:
    """Each ring once as every one of the kinds."""
    every = [ring for _ in kinds for ring in rings]
    kind, offset = np.repeat(np.array(kinds, np.uint8), len(rings)), np.cumsum([0, *(len(ring) for ring in every)])
    return index_areas(np.concatenate(every), offset, kind, np.ones(len(kind), bool))


def scene_on(areas: Areas, *others: tuple[float, float, float]) -> PdmScene:
    """An ego at the origin with 8 m/s, standing cars at poses, a straight route along x."""
    poses, ego = np.array(others, np.float64).reshape(-1, 3), np.zeros(11)
    ego[3] = 8.0
    boxes, count = np.tile(box_corners(poses, 4.5, 2.0), (51, 1, 1, 1)), len(poses)
    line = np.stack([np.linspace(-5, 60, 40), np.zeros(40)], -1)
    return PdmScene(ego, areas, boxes, np.ones((51, count), bool), np.zeros(count, np.uint8), np.zeros(count), line)


def swerves(rng: np.random.Generator, scene: PdmScene, count: int) -> np.ndarray:
    """States [N, 41, 11] of plans that bend to both sides."""
    heading = np.cumsum(rng.normal(0, 0.012, (count, 1)) * np.ones(40), 1) + rng.normal(0, 0.05, (count, 1))
    xy = 0.1 * scene.ego[3] * np.cumsum(np.stack([np.cos(heading), np.sin(heading)], -1), 1)
    return dynamics.track_and_simulate(scene.ego, np.concatenate([xy, heading[..., None]], -1))


@pytest.mark.parametrize("rings", [cut_open(), in_pieces()], ids=["cut open", "in pieces"])
def test_what_is_in_the_hole_is_not_in_the_polygon(rings):
    areas = areas_of(rings, (AreaKind.ROADBLOCK,))
    assert sum(shapely.Polygon(ring).area for ring in in_pieces()) == pytest.approx(SOLID.area)
    points = np.random.default_rng(0).uniform([-35, -25], [75, 25], (4000, 2))
    points = points[shapely.distance(shapely.boundary(SOLID), shapely.points(points)) > 1e-9]
    expected = shapely.contains_xy(SOLID, points)
    assert [within(areas, 0, DRIVABLE, x, y) for x, y in points] == expected.tolist()
    assert not within(areas, 0, DRIVABLE, *HOLE[0]) and not within(areas, 0, LANE, 0.0, 0.0)


def test_on_the_cut_nothing_is_inside():
    """Seams are edges: a corner exactly on one counts as off the road, in NAVSIM's rings as in ours."""
    middle = (OUTER[0] + HOLE[0]) / 2
    for rings in (cut_open(), in_pieces()):
        areas = areas_of(rings, (AreaKind.ROADBLOCK,))
        assert not within(areas, 0, DRIVABLE, *middle) and within(areas, 0, DRIVABLE, *(middle + 1e-6))


@settings(deadline=None, max_examples=6)
@given(st.integers(0, 2**31), st.sampled_from([cut_open(), in_pieces()]), st.sampled_from(list(VARIANTS.values())))
def test_the_fast_path_equals_the_readable_text_round_a_hole(seed, rings, variant):
    rng = np.random.default_rng(seed)
    areas = areas_of(rings, (AreaKind.ROADBLOCK, AreaKind.LANE, AreaKind.INTERSECTION))
    scene = scene_on(areas, *rng.uniform([8, -8, -3], [40, 8, 3], (4, 3)).tolist())
    states = swerves(rng, scene, 24)
    fast, text = kernels.score(scene, states, variant=variant), score_readable(scene, states, variant)
    for name in ("nc", "dac", "ttc", "ddc", "lk", "areas", "off_road_step", "collision_step", "ttc_step", "lk_step"):
        assert np.array_equal(getattr(fast, name), getattr(text, name)), name


@pytest.mark.parametrize("rings", [cut_open(), in_pieces()], ids=["cut open", "in pieces"])
def test_who_drives_through_a_hole_leaves_the_road(rings):
    scene = scene_on(areas_of(rings, (AreaKind.ROADBLOCK,)))
    poses = np.zeros((2, 41, 3))
    poses[..., 0] = np.linspace(0.01, 30.0, 41)
    poses[1, :, 1] = 12.0 * np.minimum(1.0, np.arange(41) / 10)  # beside it
    states = np.zeros((2, 41, 11))
    states[..., :3] = poses
    for score in (kernels.score, score_readable):
        assert score(scene, states, variant=NAVSIM_1_1).dac.tolist() == [0.0, 1.0]
