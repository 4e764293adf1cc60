"""What the PDM score makes of input that is wrong, empty or strange: each a defined result or an error that names it."""

from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from wetoolkit_driving.geometry import box_corners, inside
from wetoolkit_driving.pdm import kernels
from wetoolkit_driving.pdm.areas import index_areas, inside_area
from wetoolkit_driving.pdm.reward import PdmReward, PdmRewardConfig
from wetoolkit_driving.pdm.scene import PdmScene, from_world
from wetoolkit_driving.pdm.score import score_readable
from wetoolkit_driving.pdm.timing import uniform_plans
from wetoolkit_driving.testing import Actor, actor, straight_world
from wetoolkit_driving.types import AgentClass, AreaKind, RoadMap, World

from wetoolkit.errors import ValidationError
from wetoolkit.types import Scores, Situation

NORMALISERS = ("pair", "batch", "scene")


def plans(*speeds: float) -> np.ndarray:
    made = np.zeros((len(speeds), 40, 3))
    made[..., 0] = np.array(speeds)[:, None] * 0.1 * np.arange(1, 41)
    return made


def score(world: World, proposals: np.ndarray | None = None, **config) -> Scores:
    found = PdmReward(PdmRewardConfig(**config)).score(
        [Situation("s", "log", world, 20)], plans(10.0, 5.0, 0.0) if proposals is None else proposals
    )
    found.validate()
    return found


def terms(scores: Scores) -> dict[str, list[float]]:
    return {name: term.values[0].tolist() for name, term in scores.terms.items()}


def states(speed: float, y: float = 0.0) -> np.ndarray:
    made = np.zeros((1, 41, 11))
    made[0, :, 0], made[0, :, 1], made[0, :, 3] = speed * 0.1 * np.arange(41), y, speed
    return made


# Proposals.


@pytest.mark.parametrize("poses", [40, 8])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("channel", [0, 1, 2])
def test_a_pose_that_is_not_finite_is_named(poses, value, channel):
    bad = plans(9.0, 8.0)[:, 40 // poses - 1 :: 40 // poses].copy()
    bad[1, 5, channel] = value
    with pytest.raises(
        ValidationError, match=rf"1 of {bad.size} numbers are NaN or infinite, the first at index \(1, 5, {channel}\)"
    ):
        score(straight_world(), bad)


@pytest.mark.parametrize("shape", [(2, 1, 3), (2, 0, 3), (2, 40, 2), (2, 40, 11), (40, 3), (3,), (2, 2, 40, 3)])
def test_proposals_of_another_shape_are_refused(shape):
    with pytest.raises(ValidationError):
        score(straight_world(), np.zeros(shape))


def test_no_proposals_have_no_scores():
    assert score(straight_world(), np.zeros((0, 40, 3))).total.shape == (1, 0)


@pytest.mark.parametrize("normaliser", NORMALISERS)
def test_a_plan_out_of_this_world_has_a_score(normaliser):
    """Kilometres a step, all over the place: the tracker cannot follow, the numbers stay numbers."""
    wild = np.random.default_rng(0).uniform(-1e6, 1e6, (4, 40, 3))
    assert np.isfinite(score(straight_world(), wild, normaliser=normaliser).total).all()


# Time steps that are not uniform.


def test_a_plan_of_uneven_times_is_what_it_was_sampled_from():
    """A steady turn, sampled at uneven times: linear in time, so interpolation is exact."""
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.05, 0.6, 20))
    rate = np.array([7.0, -0.4, 1.1])  # m/s, m/s, rad/s: the heading passes pi
    sampled = times[:, None] * rate
    sampled[:, 2] = (sampled[:, 2] + np.pi) % (2 * np.pi) - np.pi
    due = 0.1 * np.arange(1, 41)[:, None] * rate
    due[:, 2] = (due[:, 2] + np.pi) % (2 * np.pi) - np.pi
    assert uniform_plans(np.stack([sampled, sampled]), times) == pytest.approx(np.stack([due, due]), abs=1e-12)


def test_uniform_plans_stay_as_they_are():
    made = np.random.default_rng(0).normal(size=(3, 40, 3))
    assert uniform_plans(made, 0.1 * np.arange(1, 41)) == pytest.approx(made, abs=1e-9)


def test_two_hertz_by_times_or_by_count_is_the_same():
    slow = plans(9.0, 4.0)[:, 4::5]
    one = score(straight_world(speed=9.0), uniform_plans(slow, 0.5 * np.arange(1, 9))).total
    assert one == pytest.approx(score(straight_world(speed=9.0), slow).total, abs=1e-9)


@pytest.mark.parametrize(
    ("times", "what"),
    [
        ([1, 2, 3, 3, 5], "time 3 is 3 s after 3 s"),
        ([1, 2, 4, 3, 5], "time 3 is 3 s after 4 s"),
        ([0, 1, 2, 3, 4], "time 0 is 0 s after 0 s"),
        ([1, 2, 3, 3.5, 3.9], "the last time is 3.9 s"),
        ([1, 2, np.nan, 4, 5], "NaN or infinite"),
        ([1, 2, 3, 4], "times for 5 poses"),
    ],
)
def test_times_that_cannot_be_are_refused(times, what):
    with pytest.raises(ValidationError, match=what):
        uniform_plans(np.zeros((2, 5, 3)), np.array(times, float))


@pytest.mark.parametrize("dt", [0.05, 0.2, 0.5])
def test_worlds_of_another_rate_are_refused(dt):
    with pytest.raises(ValidationError, match="resample the world"):
        score(replace(straight_world(), dt=dt))


# The route.


@pytest.mark.parametrize("normaliser", NORMALISERS)
def test_an_empty_route_leaves_progress_out_and_says_so(normaliser):
    world = straight_world([actor(12, 0)])
    found = score(replace(world, route=np.zeros(0, np.int32), on_route=np.zeros_like(world.on_route)), normaliser=normaliser)
    assert terms(found)["ep"] == [0.0 if gate == 0 else 1.0 for gate in terms(found)["nc"]]
    assert not found.terms["ep"].available and not found.terms["ddc"].available


@pytest.mark.parametrize("normaliser", NORMALISERS)
def test_a_route_that_is_elsewhere_is_no_measure_of_progress(normaliser):
    """Nobody gets 5 m along it: EP is 1 behind open gates, as NAVSIM has it."""
    world = straight_world()
    away = replace(world, map=replace(world.map, lane_xy=world.map.lane_xy + 5000.0))
    assert terms(score(away, normaliser=normaliser))["ep"] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("lane", [-1, 8, 99])
def test_a_route_over_lanes_that_are_not_there_is_refused(lane):
    with pytest.raises(ValidationError, match="indices into the map's lanes"):
        score(replace(straight_world(), route=np.array([0, lane], np.int32)))


# The map.

NO_MAP = RoadMap(
    (), np.zeros(0, np.uint8), np.zeros((0, 2)), np.zeros(1, np.int32), (), np.zeros((0, 2)), np.zeros(1, np.int32),
    *(np.zeros(0, np.int32) for _ in range(4)), np.zeros(0, np.float32), np.zeros(0, np.int32), np.zeros((0, 2), np.int32),
)  # fmt: skip


def test_without_drivable_area_everybody_is_off_the_road():
    world = straight_world()
    bare = replace(world, map=replace(world.map, area_kind=np.full_like(world.map.area_kind, AreaKind.CROSSWALK)))
    for empty in (bare, replace(world, map=NO_MAP, route=np.zeros(0, np.int32), on_route=np.zeros(0, bool))):
        found = terms(score(empty))
        assert found["dac"] == found["ep"] == found["ddc"][:1] * 3 == [0.0, 0.0, 0.0]
        assert score(empty).total.tolist() == [[0.0, 0.0, 0.0]]


def test_a_map_with_a_nan_is_refused():
    world = straight_world()
    torn = world.map.area_xy.copy()
    torn[3, 1] = np.nan
    with pytest.raises(ValidationError, match="NaN"):
        score(replace(world, map=replace(world.map, area_xy=torn)))


def test_rings_without_points_are_refused():
    with pytest.raises(ValidationError, match="three points"):
        index_areas(np.zeros((3, 2)), np.array([0, 0, 3]), np.zeros(2), np.zeros(2))


DEGENERATE = {
    "a point": [[1, 1], [1, 1], [1, 1]],
    "a segment": [[0, 0], [4, 4], [0, 0]],
    "flat": [[0, 0], [2, 0], [5, 0], [9, 0]],
    "upright": [[3, 0], [3, 2], [3, 9]],
}


@pytest.mark.parametrize("ring", DEGENERATE.values(), ids=DEGENERATE)
def test_rings_without_an_inside_hold_nobody(ring):
    ring = np.array(ring, float)
    areas = index_areas(ring, np.array([0, len(ring)]), np.zeros(1), np.ones(1))
    near = np.concatenate([ring, ring + 1e-9, ring - 1e-9, np.random.default_rng(0).uniform(-1, 10, (200, 2))])
    assert not inside(ring, near).any()
    assert not any(inside_area(areas, 0, x, y) for x, y in near)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31), st.integers(4, 14))
def test_rings_that_cross_themselves_hold_what_is_wound_round_an_odd_number_of_times(seed, count):
    """The even-odd rule, which GEOS follows as well: shapely's answer for the same ring, invalid as it is."""
    rng = np.random.default_rng(seed)
    ring = rng.uniform(-10, 10, (count, 2))
    points = rng.uniform(-11, 11, (100, 2))
    areas = index_areas(ring, np.array([0, count]), np.zeros(1), np.ones(1))
    due = shapely.contains_xy(shapely.Polygon(ring), points)
    assert inside(ring, points).tolist() == due.tolist()
    assert [inside_area(areas, 0, x, y) for x, y in points] == due.tolist()


@pytest.mark.parametrize("ring", [*DEGENERATE.values(), [[-30, -8], [60, 8], [60, -8], [-30, 8]]], ids=[*DEGENERATE, "a bow tie"])
@pytest.mark.parametrize("kind", list(AreaKind))
def test_strange_polygons_of_every_kind_are_scored_alike_by_kernels_and_text(ring, kind):
    world = straight_world([actor(25, 0, 0.3, 2.0), actor(30, 3, 0, 0.0)])
    ring = np.array(ring, float)
    areas = world.map
    strange = replace(
        areas, area_ids=(*areas.area_ids, "strange"), area_kind=np.append(areas.area_kind, np.uint8(kind)),
        area_xy=np.concatenate([areas.area_xy, ring]), area_offset=np.append(areas.area_offset, len(areas.area_xy) + len(ring)),
    )  # fmt: skip
    scene = from_world(replace(world, map=strange, on_route=np.append(world.on_route, True)), 20)
    driven = np.concatenate([states(8.0), states(12.0, 1.2), states(3.0, -3.0), states(0.0, 5.2)])
    fast, text = kernels.score(scene, driven), score_readable(scene, driven)
    for name in ("nc", "dac", "ttc", "ddc", "areas", "collision_step", "ttc_step", "off_road_step"):
        assert (getattr(fast, name) == getattr(text, name)).all(), name


# How it begins.


def test_an_ego_that_starts_off_the_road_is_off_the_road_whatever_it_plans():
    world = straight_world()
    moved = world.ego.states.copy()
    moved[:, 1] += 50.0
    aside = replace(world, ego=replace(world.ego, states=moved))
    back = plans(10.0, 5.0)
    back[..., 1] = np.linspace(0, -50, 40)  # even the way back
    assert terms(score(aside, back))["dac"] == [0.0, 0.0] and score(aside, back).total.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize(
    ("who", "nc"),
    [
        (actor(2, 0), 0.0),  # a parked car: at fault
        (actor(2, 0.4, 0, 0.0, AgentClass.TRAFFIC_CONE), 0.5),
        (actor(-3.2, 0, 0, 12.0), 1.0),  # who drives into the back is at fault itself, and is left out from then on
    ],
)
def test_an_ego_that_starts_in_a_collision_is_judged_by_the_rule_of_any_other_collision(who, nc):
    marks = kernels.score(from_world(straight_world([who]), 20), states(10.0))
    assert marks.nc.tolist() == [nc] and marks.touch_step.tolist() == [0]


def test_an_ego_that_stands_in_a_collision_is_not_at_fault():
    marks = kernels.score(from_world(straight_world([actor(2, 0)], speed=0.0), 20), states(0.0))
    assert marks.nc.tolist() == [1.0] and marks.ttc.tolist() == [1.0] and marks.touch_step.tolist() == [0]


# The others.


@pytest.mark.parametrize("normaliser", NORMALISERS)
def test_nobody_there_is_nobody_to_hit(normaliser):
    found = terms(score(straight_world([]), normaliser=normaliser))
    assert found["nc"] == found["ttc"] == [1.0, 1.0, 1.0]


def crowd(count: int, seed: int) -> list[Actor]:
    rng = np.random.default_rng(seed)
    return [
        actor(rng.uniform(-40, 90), rng.uniform(-9, 9), rng.uniform(-3, 3), rng.uniform(0, 9) * (rng.random() < 0.6), AgentClass(k))
        for k in rng.integers(0, 7, count)
    ]


def pick(scene: PdmScene, tracks: np.ndarray) -> PdmScene:
    return replace(
        scene, boxes=np.ascontiguousarray(scene.boxes[:, tracks]), valid=np.ascontiguousarray(scene.valid[:, tracks]),
        kind=scene.kind[tracks], first_speed=scene.first_speed[tracks], ids=tuple(scene.ids[i] for i in tracks),
    )  # fmt: skip


def test_five_hundred_objects_are_the_worst_of_their_parts():
    """Tracks do not interact: the mark of all is the least of the marks of any parts of them."""
    scene = from_world(straight_world(crowd(500, 0), lanes=3), 20)
    assert len(scene.kind) == 500
    driven = np.concatenate([states(v, y) for v in (0.0, 2.0, 6.0, 12.0) for y in (0.0, 3.5)])
    whole = kernels.score(scene, driven)
    parts = [kernels.score(pick(scene, part), driven) for part in np.array_split(np.random.default_rng(1).permutation(500), 7)]
    for name in ("nc", "ttc"):
        assert (getattr(whole, name) == np.min([getattr(part, name) for part in parts], 0)).all()
    assert set(whole.nc) >= {0.0, 1.0}
    assert np.isfinite(score(straight_world(crowd(500, 0), lanes=3)).total).all()


@pytest.mark.parametrize("field", ["pose", "velocity"])
def test_an_agent_with_a_nan_is_refused_not_overlooked(field):
    """A NaN compares false with everything: without a check it would be no collision."""
    world = straight_world([actor(15, 0, 0, 3.0)])
    torn = getattr(world.agents, field).copy()
    torn[0, 20] = np.nan
    with pytest.raises(ValidationError, match="NaN"):
        score(replace(world, agents=replace(world.agents, **{field: torn})))


def test_an_ego_with_a_nan_is_refused():
    world = straight_world()
    torn = world.ego.states.copy()
    torn[20, 3] = np.nan
    with pytest.raises(ValidationError, match="scene"):
        score(replace(world, ego=replace(world.ego, states=torn)))


def test_boxes_that_touch_exactly_are_a_collision():
    """Standing bumper to bumper at a distance of exactly 0: touching counts, a hair more does not."""
    world = straight_world([actor(30, 0)])
    scene = from_world(world, 20)
    front = scene.vehicle.front
    for gap, due in ((0.0, 0.0), (1e-6, 1.0)):
        box = box_corners(np.array([front + 10.0 * 4.0 + 1.0 + gap, 0.0, 0.0]), 2.0, 2.0)
        boxes = np.broadcast_to(box, scene.boxes.shape).copy()
        driven = np.zeros((1, 41, 11))
        driven[0, :, 0], driven[0, :, 3] = np.linspace(0.0, 40.0, 41), 10.0
        marks = kernels.score(replace(scene, boxes=boxes), driven)
        assert marks.nc.tolist() == [due] == score_readable(replace(scene, boxes=boxes), driven).nc.tolist()
