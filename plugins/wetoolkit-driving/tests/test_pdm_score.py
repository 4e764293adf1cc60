"""Sub-metrics: kernels equal the readable text, and both keep the properties a score must have."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wetoolkit_driving import dynamics
from wetoolkit_driving.geometry import box_corners, inside
from wetoolkit_driving.pdm import kernels
from wetoolkit_driving.pdm.areas import index_areas, inside_area
from wetoolkit_driving.pdm.comfort import comfort_readable
from wetoolkit_driving.pdm.result import NEVER, Marks, ego_progress, total
from wetoolkit_driving.pdm.scene import PdmScene, from_world
from wetoolkit_driving.pdm.score import score_readable
from wetoolkit_driving.testing import actor, straight_world
from wetoolkit_driving.types import AgentClass

seeds = st.integers(0, 2**31)
lightly = settings(deadline=None, max_examples=25)


def random_scene(rng: np.random.Generator, tracks: int = 12) -> PdmScene:
    """Overlapping strips of all kinds around the ego, and tracks of all classes that come and go."""
    rings, kinds = [], []
    for _ in range(14):
        pose = np.array([rng.uniform(-10, 50), rng.uniform(-8, 8), rng.normal(0, 0.3)])
        rings.append(box_corners(pose, rng.uniform(10, 60), rng.uniform(2, 9)))
        kinds.append(rng.integers(0, 7))
    offsets = np.arange(0, 4 * len(rings) + 1, 4)
    start = np.stack([rng.uniform(-15, 50, tracks), rng.uniform(-8, 8, tracks), rng.uniform(-3, 3, tracks)], -1)
    speed = np.where(rng.random(tracks) < 0.4, 0.0, rng.uniform(0, 8, tracks))
    pose = np.repeat(start[None], 51, 0)
    pose[..., 0] += 0.1 * np.arange(51)[:, None] * speed * np.cos(start[:, 2])
    pose[..., 1] += 0.1 * np.arange(51)[:, None] * speed * np.sin(start[:, 2])
    first, last = rng.integers(0, 10, tracks), rng.integers(30, 51, tracks)
    valid = (np.arange(51)[:, None] >= first) & (np.arange(51)[:, None] <= last)
    boxes = box_corners(pose, rng.uniform(0.5, 6, tracks), rng.uniform(0.5, 2.5, tracks))
    ego = np.zeros(11)
    ego[3] = rng.uniform(0, 12)
    areas = index_areas(np.concatenate(rings), offsets, np.array(kinds), rng.random(len(rings)) < 0.5)
    line = np.cumsum(rng.uniform([1, -0.5], [4, 0.5], (20, 2)), 0) - 5
    kind = rng.integers(0, 7, tracks).astype(np.uint8)
    return PdmScene(
        ego, areas, np.where(valid[..., None, None], boxes, 0), valid, kind, speed, line, tuple(map(str, range(tracks)))
    )


def random_states(rng: np.random.Generator, scene: PdmScene, count: int = 16) -> np.ndarray:
    speed = np.maximum(scene.ego[3] + np.cumsum(rng.normal(0, 0.4, (count, 40)), 1), 0)
    speed[rng.random(count) < 0.2] = 0.0
    heading = np.cumsum(speed * rng.normal(0, 0.01, (count, 1)), 1) * 0.1
    xy = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], -1) * speed[..., None] * 0.1, 1)
    return dynamics.track_and_simulate(scene.ego, np.concatenate([xy, heading[..., None]], -1))


def assert_equal(a: Marks, b: Marks) -> None:
    for name in a.__dataclass_fields__:
        if name == "variant":
            assert a.variant == b.variant
        elif name == "progress":
            assert a.progress == pytest.approx(b.progress, abs=1e-9)
        else:
            assert (getattr(a, name) == getattr(b, name)).all(), name


@pytest.mark.parametrize("seed", range(12))
def test_kernels_equal_the_readable_text(seed):
    rng = np.random.default_rng(seed)
    scene = random_scene(rng, tracks=5)
    scene.validate()
    states = random_states(rng, scene, 48)
    assert_equal(kernels.score(scene, states), score_readable(scene, states))


def test_random_scenes_meet_every_outcome():
    """Otherwise the equality above would say little."""
    seen = {name: set() for name in ("nc", "dac", "ttc", "ddc", "comfort")}
    for seed in range(40):
        rng = np.random.default_rng(seed)
        scene = random_scene(rng)
        marks = kernels.score(scene, random_states(rng, scene))
        for name, values in seen.items():
            values.update(getattr(marks, name).tolist())
    assert seen["nc"] == {0.0, 0.5, 1.0} and seen["ddc"] == {0.0, 0.5, 1.0}
    assert seen["dac"] == seen["ttc"] == seen["comfort"] == {0.0, 1.0}


@lightly
@given(seeds)
def test_batch_equals_singles_exactly(seed):
    rng = np.random.default_rng(seed)
    scene = random_scene(rng)
    states = random_states(rng, scene, 5)
    whole = kernels.score(scene, states)
    for n in range(5):
        one = kernels.score(scene, states[n : n + 1])
        for name in one.__dataclass_fields__.keys() - {"variant"}:
            assert (getattr(one, name)[0] == getattr(whole, name)[n]).all(), name


def moved(scene: PdmScene, states: np.ndarray, angle: float, shift: np.ndarray) -> tuple[PdmScene, np.ndarray]:
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    states = states.copy()
    states[..., :2] = states[..., :2] @ turn.T + shift
    states[..., 2] = (states[..., 2] + angle + np.pi) % (2 * np.pi) - np.pi
    areas = index_areas(scene.areas.xy @ turn.T + shift, scene.areas.offset, scene.areas.kind, scene.areas.on_route)
    boxes = np.where(scene.valid[..., None, None], scene.boxes @ turn.T + shift, 0)
    return replace(scene, areas=areas, boxes=boxes, centerline=scene.centerline @ turn.T + shift), states


@lightly
@given(seeds, st.floats(-3, 3), st.floats(-500, 500))
def test_nothing_depends_on_the_frame(seed, angle, far):
    rng = np.random.default_rng(seed)
    scene = random_scene(rng)
    states = random_states(rng, scene)
    assert_equal(kernels.score(*moved(scene, states, angle, np.array([far, -2 * far]))), kernels.score(scene, states))


def pick(scene: PdmScene, tracks: np.ndarray) -> PdmScene:
    return replace(
        scene, boxes=scene.boxes[:, tracks], valid=scene.valid[:, tracks], kind=scene.kind[tracks],
        first_speed=scene.first_speed[tracks], ids=tuple(scene.ids[i] for i in tracks),
    )  # fmt: skip


@lightly
@given(seeds)
def test_the_order_of_the_tracks_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    scene = random_scene(rng)
    states = random_states(rng, scene)
    order = rng.permutation(len(scene.kind))
    before, after = kernels.score(scene, states), kernels.score(pick(scene, order), states)
    for name in ("nc", "ttc", "collision_step", "ttc_step", "touch_step"):
        assert (getattr(before, name) == getattr(after, name)).all()


@lightly
@given(seeds)
def test_fewer_tracks_never_make_it_worse(seed):
    rng = np.random.default_rng(seed)
    scene = random_scene(rng)
    states = random_states(rng, scene)
    fewer = pick(scene, np.flatnonzero(rng.random(len(scene.kind)) < 0.6))
    before, after = kernels.score(scene, states), kernels.score(fewer, states)
    assert (after.nc >= before.nc).all() and (after.ttc >= before.ttc).all()
    assert (after.dac == before.dac).all() and (after.comfort == before.comfort).all()


@lightly
@given(seeds)
def test_score_is_a_share_and_gates_close_it(seed):
    rng = np.random.default_rng(seed)
    scene = random_scene(rng)
    marks = kernels.score(scene, random_states(rng, scene))
    ep = ego_progress(marks, marks.masked_progress.max())
    score = total(marks, ep)
    assert ((score >= 0) & (score <= 1) & (ep >= 0) & (ep <= 1)).all()
    assert (score[marks.gate == 0] == 0).all()


@lightly
@given(seeds)
def test_slabs_find_the_same_as_the_whole_ring(seed):
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 60)))
    ring = np.stack([np.cos(angles), np.sin(angles)], 1) * rng.uniform(0.3, 1, len(angles))[:, None]
    ring = np.round(ring, 1) if seed % 2 else ring  # many level edges and repeated points
    areas = index_areas(ring, np.array([0, len(ring)]), np.zeros(1), np.ones(1))
    points = np.concatenate([rng.uniform(-1.2, 1.2, (300, 2)), np.round(rng.uniform(-1, 1, (300, 2)), 1), ring])
    expected = inside(ring, points)
    assert [inside_area(areas, 0, x, y) for x, y in points] == expected.tolist()


@lightly
@given(seeds, st.sampled_from([9, 20, 41, 81]))
def test_comfort_kernel_equals_scipy(seed, steps):
    rng = np.random.default_rng(seed)
    states = np.zeros((8, steps, 11))
    states[..., 5:7] = np.cumsum(rng.normal(0, 0.5, (8, steps, 2)), 1)
    states[..., 2] = (3 + np.cumsum(rng.normal(0, 0.05, (8, steps)), 1) + np.pi) % (2 * np.pi) - np.pi
    scene = from_world(straight_world(), 20, steps)
    assert (kernels.score(scene, states).comfort6 == comfort_readable(states)).all()


def straight_states(speed: float, steps: int = 41, y: float = 0.0) -> np.ndarray:
    states = np.zeros((1, steps, 11))
    states[0, :, 0], states[0, :, 1], states[0, :, 3] = speed * 0.1 * np.arange(steps), y, speed
    return states


@pytest.mark.parametrize(
    ("who", "nc", "fault"),
    [
        (actor(20, 0, 0, 0.0), 0.0, True),  # a standing car ahead
        (actor(20, 0, 0, 0.0, AgentClass.TRAFFIC_CONE), 0.5, True),
        (actor(20, 0, 0, 0.0, AgentClass.PEDESTRIAN), 0.0, True),
        (actor(20, 0, 0, 0.0, AgentClass.BICYCLE), 0.0, True),
        (actor(20, 0, 0, 4.0), 0.0, True),  # a slower one ahead
        (actor(-12, 0, 0, 16.0), 1.0, False),  # rear-ended
        (actor(20, 6, 0, 0.0), 1.0, False),  # beside the way
    ],
)
def test_who_is_at_fault(who, nc, fault):
    scene = from_world(straight_world([who]), 20)
    marks = kernels.score(scene, straight_states(10.0))
    assert marks.nc[0] == nc
    assert (marks.collision_step[0] != NEVER) == fault


def test_a_standing_ego_is_never_at_fault():
    scene = from_world(straight_world([actor(15, 0, np.pi, 8.0)], speed=0.0), 20)
    marks = kernels.score(scene, straight_states(0.0))
    assert marks.nc[0] == 1 and marks.ttc[0] == 1
    assert marks.touch_step[0] != NEVER  # yet it was touched


def test_collision_time_is_when_the_bumpers_meet():
    scene = from_world(straight_world([actor(20, 0, 0, 0.0)]), 20)
    marks = kernels.score(scene, straight_states(10.0))
    gap = 20 - 4.6 / 2 - scene.vehicle.front  # metres
    assert marks.collision_step[0] == int(np.ceil(gap / 1.0))
    assert marks.ttc_step[0] == int(np.ceil(gap / 1.0 - 9))
    assert scene.ids[marks.collision_track[0]] == "a0"


def test_leaving_the_road_is_seen_when_the_corner_leaves():
    scene = from_world(straight_world(lanes=1), 20)
    edge = 3.5 / 2 - scene.vehicle.width / 2
    assert kernels.score(scene, straight_states(10.0, y=edge - 0.01)).dac[0] == 1
    off = kernels.score(scene, straight_states(10.0, y=edge + 0.01))
    assert off.dac[0] == 0 and off.off_road_step[0] == 0


def test_against_traffic_for_two_and_six_metres():
    world = straight_world(lanes=2)
    off_route = replace(world, on_route=np.zeros_like(world.on_route))
    scene = from_world(off_route, 20)
    for speed, ddc in ((1.5, 1.0), (3.0, 0.5), (9.0, 0.0)):  # at most 11 steps of movement count
        assert kernels.score(scene, straight_states(speed)).ddc[0] == ddc


def test_progress_is_the_way_along_the_route():
    scene = from_world(straight_world(), 20)
    assert kernels.score(scene, straight_states(7.0)).progress[0] == pytest.approx(28.0)


def test_low_progress_everywhere_is_no_measure():
    scene = from_world(straight_world(speed=1.0), 20)
    marks = kernels.score(scene, np.concatenate([straight_states(1.0), straight_states(0.0)]))
    assert ego_progress(marks, marks.masked_progress.max()).tolist() == [1.0, 1.0]
    assert ego_progress(marks, 8.0).tolist() == pytest.approx([0.5, 0.0])


def test_tracks_beyond_the_record_go_on_and_gaps_are_bridged():
    world = straight_world([actor(30, 0, 0, 5.0, steps=41)], steps=41)
    scene = from_world(world, 20)
    assert scene.valid.all() and len(scene.valid) == 51
    assert scene.boxes[50, 0, :, 0].mean() == pytest.approx(30 + 5 * 5.0, abs=1e-4)
    holes = world.agents.valid.copy()
    holes[0, 25:30] = False
    pose = np.where(holes[..., None], world.agents.pose, 0)
    gappy = replace(world, agents=replace(world.agents, valid=holes, pose=pose))
    assert from_world(gappy, 20).boxes == pytest.approx(scene.boxes, abs=1e-5)


def test_what_came_before_the_step_or_never_is_not_there():
    world = straight_world([actor(30, 0, seen=(0, 10)), actor(60, 0, 0, 3.0, seen=(40, 60))])
    scene = from_world(world, 20)
    assert scene.ids == ("a1",)
    assert scene.valid[:, 0].nonzero()[0].tolist() == list(range(20, 41))
    assert scene.first_speed[0] == pytest.approx(3.0)
