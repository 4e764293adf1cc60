"""The fast path of the PDM score against its readable text, in every variant, and what is promised of it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import savgol_filter
from wetoolkit_driving import dynamics
from wetoolkit_driving.geometry import box_corners, inside, project
from wetoolkit_driving.pdm import kernels
from wetoolkit_driving.pdm.areas import Areas, in_several_lanes, index_areas, within
from wetoolkit_driving.pdm.grid import CROSSING, DRIVABLE, LANE, ROUTE
from wetoolkit_driving.pdm.kernels_comfort import _apply, make_filters
from wetoolkit_driving.pdm.kernels_route import index_line, nearest
from wetoolkit_driving.pdm.result import Marks
from wetoolkit_driving.pdm.scene import PdmScene
from wetoolkit_driving.pdm.score import score_readable
from wetoolkit_driving.pdm.variants import EPDMS_2_2, VARIANTS, Variant
from wetoolkit_driving.types import AreaKind

from wetoolkit.errors import ValidationError

seeds = st.integers(0, 2**31)
lightly = settings(deadline=None, max_examples=12)
STEPS, FRAMES = 40, 51


def ring(rng: np.random.Generator, shape: str) -> np.ndarray:
    """A polygon near the way ahead: a box, a bent lane (concave), or a ring that crosses itself."""
    pose = np.array([rng.uniform(-10, 50), rng.uniform(-8, 8), rng.normal(0, 0.3)])
    length, width = rng.uniform(10, 60), rng.uniform(2, 9)
    if shape == "box":
        return box_corners(pose, length, width)
    if shape == "crossed":
        return box_corners(pose, length, width)[[0, 2, 1, 3]]
    s, bend = np.linspace(-length / 2, length / 2, 30), rng.normal(0, 0.02)
    across = np.array([-np.sin(pose[2]), np.cos(pose[2])])
    spine = pose[:2] + s[:, None] * np.array([np.cos(pose[2]), np.sin(pose[2])]) + (bend * s**2)[:, None] * across
    return np.concatenate([spine + width / 2 * across, (spine - width / 2 * across)[::-1]])


def random_areas(rng: np.random.Generator, count: int = 16) -> Areas:
    """Polygons of all kinds; the second touches the first along a whole edge."""
    rings = [ring(rng, str(rng.choice(["box", "bent", "crossed"], p=[0.5, 0.4, 0.1]))) for _ in range(count)]
    first = box_corners(np.array([20.0, 0.0, 0.0]), 60.0, 4.0)
    rings[:2] = first, first + np.array([0.0, 4.0])
    kinds = rng.integers(0, 7, count).astype(np.uint8)
    kinds[:2] = AreaKind.LANE
    offsets = np.concatenate([[0], np.cumsum([len(r) for r in rings])])
    return index_areas(np.concatenate(rings), offsets, kinds, rng.random(count) < 0.5)


def random_scene(rng: np.random.Generator, tracks: int = 6, spread: float = 1.0) -> PdmScene:
    """Others that come and go, some on top of the ego at the start, lights that change, a past and a route."""
    start = np.stack([rng.uniform(-15, 50, tracks), spread * rng.uniform(-8, 8, tracks), rng.uniform(-3, 3, tracks)], -1)
    if tracks and rng.random() < 0.3:
        start[0, :2] = rng.uniform(-1, 2, 2)
    speed = np.where(rng.random(tracks) < 0.4, 0.0, rng.uniform(0, 8, tracks))
    way = 0.1 * np.arange(FRAMES)[:, None] * speed
    pose = np.stack(
        [start[:, 0] + way * np.cos(start[:, 2]), start[:, 1] + way * np.sin(start[:, 2]), np.tile(start[:, 2], (FRAMES, 1))], -1
    )
    first, last = rng.integers(0, 10, tracks), rng.integers(30, FRAMES, tracks)
    valid = (np.arange(FRAMES)[:, None] >= first) & (np.arange(FRAMES)[:, None] <= last)
    boxes = np.where(valid[..., None, None], box_corners(pose, rng.uniform(0.5, 6, tracks), rng.uniform(0.5, 2.5, tracks)), 0.0)
    areas, ego = random_areas(rng), np.zeros(11)
    ego[3], ego[4], ego[5] = rng.uniform(0, 12), rng.normal(0, 0.1), rng.normal(0, 1)
    past = np.zeros((16, 11))
    past[:, 0], past[:, 2], past[:, 5] = np.linspace(-1.6, -0.1, 16) * ego[3], rng.normal(0, 0.01, 16), rng.normal(0, 1, 16)
    red = (rng.random((FRAMES, len(areas.kind))) < 0.5) & (areas.kind == AreaKind.LANE_CONNECTOR)
    line = np.cumsum(rng.uniform([1, -0.5], [4, 0.5], (40, 2)), 0) - 5
    if rng.random() < 0.5:
        line = np.stack([np.linspace(-5, 90, 40), rng.normal(0, 0.2) + np.zeros(40)], -1)
    kind = rng.integers(0, 7, tracks).astype(np.uint8)
    return PdmScene(ego, areas, boxes, valid, kind, speed, line, tuple(map(str, range(tracks))), past=past, red=red)


def random_poses(rng: np.random.Generator, scene: PdmScene, count: int) -> np.ndarray:
    """World poses [N, 41, 3]: some stand, some swerve."""
    speed = np.maximum(scene.ego[3] + np.cumsum(rng.normal(0, 0.4, (count, STEPS)), 1), 0)
    speed[rng.random(count) < 0.2] = 0.0
    heading = np.cumsum(speed * rng.normal(0, 0.015, (count, 1)), 1) * 0.1
    xy = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], -1) * speed[..., None] * 0.1, 1)
    plans = np.concatenate([xy, heading[..., None]], -1)
    return dynamics.to_world(np.repeat(scene.ego[None], count, 0), plans)


def assert_equal(a: Marks, b: Marks, but: tuple[str, ...] = ()) -> None:
    for name in a.__dataclass_fields__:
        x, y = getattr(a, name), getattr(b, name)
        if name == "progress":
            assert x == pytest.approx(y, abs=1e-9)
        elif name not in but:
            assert np.array_equal(x, y) if isinstance(x, np.ndarray) else x == y, name


variants = pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)


@variants
@lightly
@given(seeds, st.sampled_from([0, 3, 8]))
def test_every_variant_equals_its_readable_text(variant: Variant, seed: int, tracks: int):
    rng = np.random.default_rng(seed)
    scene = random_scene(rng, tracks)
    scene.validate()
    poses = random_poses(rng, scene, 12)
    states = dynamics.simulate(np.repeat(scene.ego[None], 12, 0), poses)
    assert_equal(kernels.score(scene, states, variant=variant), score_readable(scene, states, variant))


@settings(deadline=None, max_examples=8)
@given(seeds)
def test_boxes_that_are_no_rectangles_are_met_as_they_are(seed: int):
    """The filters along rectangles' axes must leave them to the exact test."""
    rng = np.random.default_rng(seed)
    scene = random_scene(rng, 8)
    bent = scene.boxes + rng.normal(0, 0.2, (1, 8, 4, 2))
    scene = replace(scene, boxes=np.where(scene.valid[..., None, None], bent, 0.0))
    states = dynamics.simulate(np.repeat(scene.ego[None], 12, 0), random_poses(rng, scene, 12))
    assert_equal(kernels.score(scene, states), score_readable(scene, states))


@variants
def test_random_scenes_meet_every_outcome(variant: Variant):
    """Otherwise the equality above would say little."""
    seen: dict[str, set[float]] = {name: set() for name in ("nc", "dac", "ttc", "ddc", "comfort", "lk", "tlc")}
    for seed in range(40):
        rng = np.random.default_rng(seed)
        scene = random_scene(rng)
        marks = kernels.drive(scene, random_poses(rng, scene, 16), variant)
        for name, values in seen.items():
            values.update(getattr(marks, name).tolist())
    assert seen["nc"] == {0.0, 0.5, 1.0} and seen["ddc"] == {0.0, 0.5, 1.0}
    assert seen["dac"] == seen["ttc"] == seen["comfort"] == {0.0, 1.0}
    assert seen["lk"] == ({0.0, 1.0} if variant.lk else {1.0}) and seen["tlc"] == ({0.0, 1.0} if variant.tlc else {1.0})


@variants
def test_driving_is_simulating_and_scoring(variant: Variant):
    rng = np.random.default_rng(3)
    scene = random_scene(rng)
    poses = random_poses(rng, scene, 40)
    states = dynamics.simulate(np.repeat(scene.ego[None], 40, 0), poses, scene.vehicle, true_jerk=variant.true_jerk)
    assert_equal(kernels.drive(scene, poses, variant, every_state=True), kernels.score(scene, states, variant=variant))
    assert kernels.drive(scene, poses, variant).areas.shape == (40, 0, 3)
    assert_equal(kernels.drive(scene, poses, variant), kernels.drive(scene, poses, variant, every_state=True), but=("areas",))


@pytest.mark.parametrize("past", [0, 14])
def test_without_a_past_history_comfort_is_not_judged(past: int):
    """NAVSIM v2.2 gives 1 where its cache lacks the past; the fast path must not judge the plan alone in its place."""
    rng = np.random.default_rng(3)
    scene = replace(random_scene(rng), past=np.repeat(random_scene(rng).ego[None], past, 0))
    states = dynamics.simulate(np.repeat(scene.ego[None], 64, 0), random_poses(rng, scene, 64), scene.vehicle)
    fast, readable = (score(scene, states, variant=EPDMS_2_2) for score in (kernels.score, score_readable))
    assert_equal(fast, readable)
    assert fast.comfort.all() == (past == 0)


def test_threads_and_batches_change_no_bit():
    rng = np.random.default_rng(5)
    scene = random_scene(rng)
    poses = random_poses(rng, scene, 3 * kernels.LEAST + 7)
    whole = kernels.drive(scene, poses)
    for threads in (2, 5):
        shared = kernels.drive(scene, poses, threads=threads)
        assert all(np.array_equal(getattr(whole, name), getattr(shared, name)) for name in ("progress", "nc", "ttc", "ttc_step"))
        assert_equal(whole, shared)
    for n in (0, 1, 200, 390):
        one = kernels.drive(scene, poses[n : n + 1])
        assert one.progress[0] == whole.progress[n] and one.ttc_track[0] == whole.ttc_track[n] and one.nc[0] == whole.nc[n]


def test_no_plans_no_tracks_and_no_route_are_fine():
    rng = np.random.default_rng(6)
    scene = replace(random_scene(rng, 0), centerline=np.zeros((0, 2)))
    assert len(kernels.drive(scene, np.zeros((0, 41, 3)))) == 0
    marks = kernels.drive(scene, random_poses(rng, scene, 3))
    assert (marks.nc == 1).all() and (marks.ttc == 1).all() and (marks.progress == 0).all()


def test_five_hundred_tracks_are_judged_as_ten_times_fifty():
    rng = np.random.default_rng(8)
    scene = random_scene(rng, 500, spread=60.0)
    poses = random_poses(rng, scene, 24)
    whole, parts = kernels.drive(scene, poses), []
    for some in np.arange(500).reshape(10, 50):
        fewer = replace(
            scene,
            boxes=scene.boxes[:, some],
            valid=scene.valid[:, some],
            kind=scene.kind[some],
            first_speed=scene.first_speed[some],
        )
        parts.append(kernels.drive(fewer, poses))
    assert (whole.nc == np.min([part.nc for part in parts], 0)).all()
    assert (whole.ttc == np.min([part.ttc for part in parts], 0)).all()
    first = np.min([np.where(part.ttc_step < 0, 99, part.ttc_step) for part in parts], 0)
    assert (np.where(whole.ttc_step < 0, 99, whole.ttc_step) == first).all()
    assert len(set(whole.nc)) > 1


def test_too_few_frames_are_refused():
    scene = random_scene(np.random.default_rng(9))
    with pytest.raises(ValidationError, match="51 frames"):
        kernels.score(scene, np.zeros((1, 43, 11)))


def test_a_map_without_polygons_is_off_road_everywhere():
    nothing = index_areas(np.zeros((0, 2)), np.array([0]), np.zeros(0, np.uint8), np.zeros(0, bool))
    scene = replace(random_scene(np.random.default_rng(10)), areas=nothing, red=np.zeros((0, 0), bool))
    assert (kernels.drive(scene, random_poses(np.random.default_rng(1), scene, 4)).dac == 0).all()


@settings(deadline=None, max_examples=20)
@given(seeds, st.floats(-1e6, 1e6))
def test_the_raster_answers_as_the_rings_do(seed: int, far: float):
    """Points anywhere, on vertices and on edges; maps near the origin and far from it."""
    rng = np.random.default_rng(seed)
    made = random_areas(rng)
    shift = np.array([far, -far])
    areas = index_areas(made.xy + shift, made.offset, made.kind, made.on_route)
    rings = [areas.xy[a:b] for a, b in zip(areas.offset[:-1], areas.offset[1:], strict=True)]
    corners = rng.choice(areas.xy, 40)
    anywhere = rng.uniform([-60, -60], [110, 60], (200, 2)) + shift
    points = np.concatenate([anywhere, corners, (corners + rng.choice(areas.xy, 40)) / 2])
    held = np.array([inside(r, points) for r in rings])  # [P, M]
    for kinds in (0, 1):
        for role in (LANE, DRIVABLE, ROUTE, CROSSING):
            expected = held[(areas.roles[kinds] & role) > 0].any(0)
            assert [within(areas, kinds, role, x, y) for x, y in points] == expected.tolist()
    quads = points[:200].reshape(50, 4, 2)
    lanes = held[:, :200].reshape(len(rings), 50, 4)[(areas.roles[0] & LANE) > 0].sum(-1)  # corners in each lane [L, 50]
    several = ((lanes > 0).sum(0) > 1) & ~(lanes == 4).any(0)
    scratch = np.empty((2, len(rings)), np.int64)
    assert [in_several_lanes(areas, 0, quad, scratch) for quad in quads] == several.tolist()


def test_a_map_as_wide_as_a_country_is_indexed_in_bounded_memory():
    square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    areas = index_areas(np.concatenate([1e6 * square, 10 * square]), np.array([0, 4, 8]), np.array([2, 0]), np.array([False, True]))
    assert len(areas.known[0]) <= 1 << 20
    assert within(areas, 0, DRIVABLE, 5e5, 5e5) and within(areas, 0, LANE, 5.0, 5.0) and not within(areas, 0, LANE, 11.0, 5.0)


@pytest.mark.parametrize("states", [9, 20, 41, 42, 57])
@pytest.mark.parametrize(("value", "rate"), [(41, 41), (8, 15)])
def test_filters_are_scipys(states: int, value: int, rate: int):
    values, out = np.random.default_rng(states).normal(size=(states, 16)), np.empty((states, 16))
    filters = make_filters(states, 0.1, value, rate)
    for kind, (window, order, derivative) in enumerate(((value, 2, 0), (8, 2, 0), (rate, 2, 1), (5, 3, 2), (5, 2, 1))):
        _apply(filters, kind, values, out, np.empty((4, 16)))
        expected = savgol_filter(values, min(window, states), order, deriv=derivative, delta=0.1, axis=0)
        assert out == pytest.approx(expected, rel=1e-11, abs=1e-11)


@lightly
@given(seeds)
def test_the_nearest_place_does_not_depend_on_where_the_search_begins(seed: int):
    rng = np.random.default_rng(seed)
    line = np.cumsum(rng.uniform([-1, -2], [3, 2], (70, 2)), 0)
    line[30:33] = line[30]  # points that repeat, as lane joints do
    lengths = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    points = rng.uniform(line.min(0) - 5, line.max(0) + 5, (20, 2))
    place, offset = project(line, points)
    for hint in (0, 31, 68):
        found = [nearest(index_line(line, lengths), x, y, hint)[:2] for x, y in points]
        assert np.array(found) == pytest.approx(np.stack([place, np.abs(offset)], -1), abs=1e-9)
