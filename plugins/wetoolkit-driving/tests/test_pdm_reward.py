"""The reward pdms and the planner pdm-closed: contracts, normalisers, what is missing, bad input."""

from dataclasses import replace

import numpy as np
import pytest
from wetoolkit_driving.domain import PLAN, Driving
from wetoolkit_driving.pdm.closed import PdmClosed, PdmClosedConfig, plan_closed
from wetoolkit_driving.pdm.reward import PdmReward, PdmRewardConfig
from wetoolkit_driving.testing import actor, crossing_world, pedestrian_world, straight_world
from wetoolkit_driving.types import AgentClass, Signal, World

from wetoolkit.errors import ValidationError
from wetoolkit.testing import PolicyContract, RewardContract
from wetoolkit.types import Clock, Lineage, Role, Rollout, Situation


def situations() -> list[Situation[World]]:
    worlds = [
        straight_world([actor(40, 0, 0, 4.0), actor(20, 3.5, 0, 9.0)]),
        crossing_world([actor(30, -5, np.pi / 2, 1.3, AgentClass.PEDESTRIAN)]),
        pedestrian_world(x=30.0),
    ]
    return [Situation(f"s{i}", f"log{i}", world, 20) for i, world in enumerate(worlds)]


def straight_plans(*speeds: float) -> np.ndarray:
    plans = np.zeros((len(speeds), 40, 3))
    plans[..., 0] = np.array(speeds)[:, None] * 0.1 * np.arange(1, 41)
    return plans


def rollout(world: World, name: str = "r", end: int = 61) -> Rollout[World]:
    clock = Clock(0.1, 20, world.steps)
    one = np.zeros(1)
    return Rollout(
        name, "driving", "log", "scene", "policy", 0, clock, end, world, np.array([20]), np.zeros((1, 40, 3)), np.array([-1]), one,
        Lineage("testing", "log", name),
    )  # fmt: skip


class TestPair(RewardContract):
    normaliser = "pair"

    def make(self):
        return PdmReward(PdmRewardConfig(normaliser=self.normaliser))

    def situations(self):
        return situations()

    def proposals(self):
        return straight_plans(10.0, 7.0, 3.0, 0.0)

    def rollouts(self):
        return [rollout(s.world, s.id) for s in situations()]


class TestScene(TestPair):
    normaliser = "scene"


class TestBatch(TestPair):
    normaliser = "batch"
    proposals_are_independent = False


class TestPlanner(PolicyContract):
    def make(self):
        return PdmClosed(PdmClosedConfig())

    def observation(self):
        return Driving().observe(situations(), PdmClosed.spec)

    def plan(self):
        return PLAN


def score(world: World, plans: np.ndarray, **settings):
    return PdmReward(PdmRewardConfig(**settings)).score([Situation("s", "log", world, 20)], plans)


def test_total_is_the_formula():
    scores = PdmReward(PdmRewardConfig()).score(situations(), straight_plans(10.0, 6.0, 2.0, 0.0))
    t = {name: term.values for name, term in scores.terms.items()}
    assert scores.total == pytest.approx(t["nc"] * t["dac"] * (5 * t["ep"] + 5 * t["ttc"] + 2 * t["comfort"]) / 12)
    assert (scores.success == ((t["nc"] == 1) & (t["dac"] == 1))).all()
    assert scores.terms["ddc"].role == Role.REPORTED and scores.terms["ep"].weight == 5.0


def test_standing_still_before_a_free_road_makes_no_progress():
    scores = score(straight_world(limit=9.0), straight_plans(10.0, 5.0, 0.0))
    assert scores.terms["ep"].values[0, 0] == 1.0
    assert scores.terms["ep"].values[0, 2] < 0.4 < scores.terms["ep"].values[0, 1] < 0.8


def test_normalisers_are_stamped_and_ordered():
    """The more there is to compare with, the lower the share: batch and scene never above pair."""
    plans = straight_plans(14.0, 10.0, 5.0)
    ep = {name: score(straight_world(speed=8.0), plans, normaliser=name) for name in ("pair", "batch", "scene")}
    for name, scores in ep.items():
        assert f"normaliser={name}" in str(scores.metric) and "tail=constant-velocity" in str(scores.metric)
        assert (scores.terms["ep"].values <= ep["pair"].terms["ep"].values + 1e-12).all()
    assert ep["batch"].terms["ep"].values.max() == 1.0


def test_a_faster_neighbour_lowers_the_batch_but_not_the_pair():
    alone, both = straight_plans(9.0), straight_plans(9.0, 14.0)
    world = straight_world(limit=9.0, speed=9.0)
    for normaliser, same in (("pair", True), ("scene", True), ("batch", False)):
        one = score(world, alone, normaliser=normaliser).terms["ep"].values[0, 0]
        two = score(world, both, normaliser=normaliser).terms["ep"].values[0, 0]
        assert bool(one == two) is same


def test_what_the_data_lack_is_stamped():
    world = straight_world()
    assert all(term.available for term in score(world, straight_plans(9.0)).terms.values())
    poor = replace(world, unavailable=("intersections", "signals"))
    available = {name: term.available for name, term in score(poor, straight_plans(9.0)).terms.items()}
    assert available == {"nc": True, "dac": True, "ep": False, "ttc": False, "comfort": True, "ddc": True}


def test_without_a_route_progress_is_neutral_and_said():
    world = straight_world()
    lost = replace(world, route=np.zeros(0, np.int32), on_route=np.zeros_like(world.on_route))
    scores = score(lost, straight_plans(9.0, 0.0))
    assert scores.terms["ep"].values.tolist() == [[1.0, 1.0]] and not scores.terms["ep"].available
    judged = PdmReward(PdmRewardConfig()).judge([rollout(lost)])
    assert judged.terms["ep"].values.tolist() == [1.0] and not judged.terms["ep"].available


def test_plans_of_two_hertz_are_interpolated():
    plans = straight_plans(9.0, 4.0)
    world = straight_world(speed=9.0)
    assert score(world, plans[:, 4::5]).total == pytest.approx(score(world, plans).total, abs=1e-9)


@pytest.mark.parametrize(
    ("plans", "what"),
    [
        (np.full((2, 40, 3), np.nan), "NaN"),
        (np.zeros((2, 30, 3)), "4 s"),
        (np.zeros((2, 40, 2)), "heading"),
        (np.zeros((5, 2, 40, 3)), "situations"),
    ],
)
def test_bad_proposals_are_refused(plans, what):
    with pytest.raises(ValidationError, match=what):
        score(straight_world(), plans)


def test_worlds_of_another_rate_are_refused():
    with pytest.raises(ValidationError, match="resample"):
        score(replace(straight_world(), dt=0.5), straight_plans(9.0))


def test_nothing_to_score_gives_empty_scores():
    scores = PdmReward(PdmRewardConfig()).score([], straight_plans(9.0))
    assert scores.total.shape == (0, 1)
    assert PdmReward(PdmRewardConfig()).judge([]).total.shape == (0,)


@pytest.mark.parametrize("end", [30, 61, 95])
def test_driving_well_is_judged_well_at_any_horizon(end):
    scores = PdmReward(PdmRewardConfig()).judge([rollout(straight_world(speed=13.9), end=end)])
    assert scores.success.all() and scores.total[0] > 0.95
    assert scores.terms["collision_any"].values[0] == 0


def test_a_rollout_that_stands_is_safe_but_does_not_score():
    scores = PdmReward(PdmRewardConfig()).judge([rollout(straight_world(speed=0.0), end=95)])
    assert scores.success.all() and scores.terms["ep"].values[0] == 0 and scores.total[0] < 0.6


def test_being_hit_is_reported_without_fault():
    scores = PdmReward(PdmRewardConfig()).judge([rollout(straight_world([actor(-14, 0, 0, 16.0)]))])
    assert scores.terms["nc"].values[0] == 1 and scores.terms["collision_any"].values[0] == 1


def test_running_somebody_over_is_a_failure():
    world = straight_world([actor(25, 0, np.pi / 2, 0.1, AgentClass.PEDESTRIAN)])
    scores = PdmReward(PdmRewardConfig()).judge([rollout(world)])
    assert not scores.success[0] and scores.total[0] == 0


def test_a_rollout_of_moments_is_refused():
    with pytest.raises(ValidationError, match="8 s"):
        PdmReward(PdmRewardConfig()).judge([rollout(straight_world(), end=25)])


def test_progress_needs_a_gate():
    scores = score(straight_world([actor(15, 0, 0, 0.0)]), straight_plans(10.0))
    assert scores.terms["ep"].values[0, 0] == 0 and scores.total[0, 0] == 0


def closed(world: World) -> np.ndarray:
    return plan_closed(world, 20, PdmClosedConfig())


def test_the_planner_does_not_look_ahead():
    world = straight_world([actor(30, 0, 0, [5.0] * 20 + [0.0] * 81)])
    other = replace(world, agents=replace(world.agents, pose=world.agents.pose.copy(), velocity=world.agents.velocity.copy()))
    other.agents.pose[:, 21:] += 7.0
    other.agents.velocity[:, 21:] = 0.0
    assert (closed(world) == closed(other)).all()


def test_the_planner_keeps_the_limit_on_a_free_road():
    poses = closed(straight_world(speed=8.0, limit=8.0))
    assert poses[-1, 0] == pytest.approx(32.0, abs=1.0) and abs(poses[-1, 1]) <= 1.0


def test_the_planner_stops_at_red_and_goes_at_green():
    stop = 50.0
    red = closed(straight_world(speed=10.0, signal=Signal.RED))
    assert red[-1, 0] + 4.049 < stop
    assert closed(straight_world(speed=10.0, signal=Signal.GREEN))[-1, 0] > red[-1, 0] + 5


def test_the_planner_stops_behind_a_standing_car():
    world = straight_world([actor(35, 0)], lanes=1)
    poses = closed(world)
    assert poses[-1, 0] + 4.049 < 35 - 2.3
    assert score(world, poses[None, 1:]).success.all()  # the ego's frame is the world's here


@pytest.mark.parametrize("lanes", [True, False])
def test_the_planner_works_without_a_route_and_without_lanes(lanes):
    world = straight_world()
    world = replace(world, route=np.zeros(0, np.int32))
    if not lanes:
        states = world.ego.states.copy()
        states[:, 1] += 100.0  # far from every lane
        world = replace(world, ego=replace(world.ego, states=states))
    poses = closed(world)
    assert np.isfinite(poses).all()
    assert poses[-1, 0] > (30 if lanes else 10)  # off the road all proposals are alike, the first is the slowest
