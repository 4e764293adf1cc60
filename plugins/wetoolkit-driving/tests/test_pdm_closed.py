"""PDM-Closed against NAVSIM v1.1, v2.2 and World Engine (cases/closed, written by `make test-peers`), and its parts by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from wetoolkit_driving.geometry import arc_lengths, box_corners
from wetoolkit_driving.pdm import idm
from wetoolkit_driving.pdm.areas import index_areas
from wetoolkit_driving.pdm.closed import WORLD_ENGINE_CLOSED, PdmClosedConfig, choose, plan_closed, propose, propose_now, scores_of
from wetoolkit_driving.pdm.closed_forecast import apart, expect, nearest_tracks, touching
from wetoolkit_driving.pdm.closed_path import Path as DrivePath
from wetoolkit_driving.pdm.closed_path import find_path, with_headings
from wetoolkit_driving.pdm.scene import PdmScene
from wetoolkit_driving.pdm.variants import NAVSIM_1_1, VARIANTS
from wetoolkit_driving.testing import actor, straight_world
from wetoolkit_driving.types import AgentClass, Signal

CASES = sorted((Path(__file__).parent / "cases" / "closed").glob("*.npz"))
NOW = 20
LINE = np.zeros((0, 2))


def scene_of(case, config: PdmClosedConfig, variant) -> PdmScene:
    """The forecast of a case as this planner makes it: held for ``config.hold`` frames."""
    frames = 41 + variant.look
    times = 0.1 * (np.arange(frames) // config.hold * config.hold)
    boxes = case["obj_corners"] + (case["obj_velocity"] * times[:, None, None])[:, :, None]
    return PdmScene(
        ego=case["ego_state"],
        areas=index_areas(case["map_xy"], case["map_off"], case["map_type"], case["map_on_route"]),
        boxes=boxes,
        valid=np.ones(boxes.shape[:2], bool),
        kind=case["obj_type"],
        first_speed=case["obj_speed"],
        centerline=np.ascontiguousarray(case["path"][:, :2]),
        red=np.repeat(case["map_red"][None], frames, 0),
    )


@pytest.mark.parametrize("peer", ["navsim-1.1", "epdms-2.2", "world-engine"])
@pytest.mark.parametrize("file", CASES, ids=lambda path: path.stem)
def test_proposals_scores_and_choice_are_the_peers(file, peer):
    case, variant = np.load(file, allow_pickle=False), VARIANTS[peer]
    config = WORLD_ENGINE_CLOSED if peer == "world-engine" else PdmClosedConfig()
    red = tuple(np.split(case["red_xy"], case["red_off"][1:-1])) if len(case["red_off"]) > 1 else ()
    path = DrivePath(case["path"], float(case["limit"]) or config.fallback_speed, red)
    scene = scene_of(case, config, variant)
    mine, theirs = propose(path, scene, config, recorded=False), case[f"{peer}_proposals"]
    assert np.abs(mine[..., :2] - theirs[..., :2]).max() < 1e-6
    assert np.abs(np.sin(mine[..., 2] - theirs[..., 2])).max() < 1e-6
    assert np.abs(scores_of(mine, apart(scene), variant) - case[f"{peer}_scores"]).max() < 1e-9
    assert (choose(mine, apart(scene), variant) == mine[int(case[f"{peer}_index"])]).all()


def test_there_are_cases():
    assert len(CASES) >= 5


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(3, 12))
def test_the_distance_to_a_ring_is_shapelys(seed, corners):
    rng = np.random.default_rng(seed)
    quad = box_corners(np.array([*rng.uniform(-6, 6, 2), rng.uniform(-3, 3)]), 5.2, 2.3)
    angle = np.sort(rng.uniform(0, 2 * np.pi, corners))
    radius = rng.uniform(0.5, 5, corners)
    ring = np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1)
    shape = shapely.Polygon(ring)
    if shape.is_valid:
        assert idm.distance_to(quad, ring) == pytest.approx(shapely.distance(shapely.Polygon(quad), shape), abs=1e-9)


def test_a_box_inside_a_ring_is_at_no_distance():
    ring = np.array([[-10.0, -10], [10, -10], [10, 10], [-10, 10]])
    assert idm.distance_to(box_corners(np.zeros(3), 5.0, 2.0), ring) == 0


def test_a_free_drive_is_idm_by_hand():
    """Two steps of the formula: the first brakes as hard as it may, for NAVSIM's leader then stands at the line's start."""
    world = straight_world(speed=8.0, limit=10.0)
    way = propose_now(world, NOW, PdmClosedConfig(offsets=(0.0,), fractions=(1.0,)))[0][0]
    x = way[:, 0] - way[0, 0]
    assert x[1] == pytest.approx(0.8)
    assert x[2] == pytest.approx(0.8 + 0.1 * (8.0 - 0.3))
    length = arc_lengths(find_path(world, NOW, 15.0).poses)[-1]
    speed, here = 7.7, world.ego.states[NOW, 0] - find_path(world, NOW, 15.0).poses[0, 0] + 0.8
    wish = 1.0 + 1.5 * speed + speed * speed / (2 * np.sqrt(4.5))
    room = length - here - 5.176 / 2
    speed += 0.1 * 1.5 * (1 - (speed / 10.0) ** 10 - (wish / room) ** 2)
    assert x[3] - x[2] == pytest.approx(0.1 * speed, abs=1e-9)


def test_the_forecast_goes_along_the_box_and_stands_for_two_frames():
    world = straight_world([actor(30.0, 0.0, speed=5.0), actor(40.0, 3.0, 0.0, 0.0, AgentClass.TRAFFIC_CONE)])
    scene = expect(world, NOW, 41, 2, LINE, NAVSIM_1_1)
    car, cone = scene.ids.index(world.agents.ids[0]), scene.ids.index(world.agents.ids[1])
    x = scene.boxes[:, car, 0, 0]
    assert (x[1::2] == x[:-1:2]).all() and x[10] - x[0] == pytest.approx(5.0, abs=1e-5)
    assert (scene.boxes[:, cone] == scene.boxes[0, cone]).all() and scene.first_speed[cone] == 0


def test_who_is_far_away_or_one_too_many_is_not_seen():
    people = [actor(10.0 + 0.5 * i, 30.0, 0.0, 0.0, AgentClass.BICYCLE) for i in range(14)] + [actor(150.0, 0.0)]
    rows = nearest_tracks(straight_world(people), NOW)
    assert len(rows) == 10 and set(rows) < set(range(14))


def test_who_touches_the_ego_now_neither_leads_nor_collides():
    world = straight_world([actor(3.0, 0.0, speed=0.0)], speed=5.0)
    free = straight_world(speed=5.0)
    scene = expect(world, NOW, 41, 2, LINE, NAVSIM_1_1)
    assert touching(scene).tolist() == [True] and not len(apart(scene).ids)
    assert (plan_closed(world, NOW, PdmClosedConfig()) == plan_closed(free, NOW, PdmClosedConfig())).all()


def test_headings_are_those_of_the_segments_and_long_ones_are_split():
    poses = with_headings(np.array([[0.0, 0], [5, 0], [5, 1]]))
    assert len(poses) == 5 and np.hypot(*np.diff(poses[:, :2], axis=0).T).max() <= 2.0
    assert poses[:, 2].tolist() == pytest.approx([0, 0, 0, np.pi / 2, np.pi / 2])


def test_a_line_beside_is_parallel():
    path = DrivePath(np.array([[0.0, 0, 0], [4, 0, 0]]), 10.0)
    assert path.beside(1.5) == pytest.approx(np.array([[0.0, 1.5, 0], [4, 1.5, 0]]))


def test_a_light_the_ego_is_wholly_in_does_not_stop_it():
    world = straight_world(speed=8.0)
    path = find_path(world, NOW, 15.0)
    ego = world.ego.states[NOW, :2]
    around = ego + np.array([[-20.0, -5], [30, -5], [30, 5], [-20, 5]])
    scene = expect(world, NOW, 41, 2, path.line, NAVSIM_1_1)
    free = propose(path, scene, PdmClosedConfig(), recorded=False)
    assert (propose(replace(path, red=(around,)), scene, PdmClosedConfig(), recorded=False) == free).all()
    before = propose(replace(path, red=(around + np.array([36.0, 0]),)), scene, PdmClosedConfig(), recorded=False)
    assert before[4, -1, 0] + 4.049 < ego[0] + 16.0 < free[4, -1, 0]


def test_red_lanes_of_the_route_stand_in_the_way():
    assert len(find_path(straight_world(signal=Signal.RED), NOW, 15.0).red) >= 1
    assert find_path(straight_world(signal=Signal.GREEN), NOW, 15.0).red == ()


def test_no_step_and_no_other_is_fine():
    world = straight_world()
    path = find_path(world, NOW, 15.0)
    assert propose(path, expect(world, NOW, 41, 2, LINE, NAVSIM_1_1), PdmClosedConfig(), 1).shape == (15, 2, 3)
