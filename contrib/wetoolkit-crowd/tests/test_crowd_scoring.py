"""Reward, miner, simulator and behaviours in worlds made by hand, where the answer is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wetoolkit_crowd.domain import PLAN, Crowd
from wetoolkit_crowd.examples import CrowdExamples, scenario, scene, walker, world
from wetoolkit_crowd.miner import CrowdMiner, CrowdMinerConfig
from wetoolkit_crowd.plaza import Plaza, PlazaConfig
from wetoolkit_crowd.reward import CrowdReward, CrowdRewardConfig
from wetoolkit_crowd.scenes import SocialForce, SocialForceConfig
from wetoolkit_crowd.simulator import CrowdLoop, CrowdLoopConfig
from wetoolkit_crowd.straight import CrowdStraight, CrowdStraightConfig
from wetoolkit_crowd.types import DT, Body, Control, World

from wetoolkit.errors import DataError, PluginError, UnknownName, ValidationError, WetoolkitError
from wetoolkit.types import Observation, ObservationSpec, Plan, Ref, Situation

REWARD = CrowdReward(CrowdRewardConfig())
STRAIGHT = CrowdStraight(CrowdStraightConfig(speed=1.0))


def plan(speed: float) -> np.ndarray:
    """[1, 16, 3] straight on at a speed."""
    made = np.zeros((1, *PLAN.shape))
    made[0, :, 0] = speed * DT * np.arange(1, PLAN.steps + 1)
    return made


def terms(of: World, plans: np.ndarray, reward: CrowdReward = REWARD) -> dict[str, float]:
    scores = reward.score([Situation("s", "log", of, 0)], plans)
    return {name: float(term.values[0, 0]) for name, term in scores.terms.items()} | {
        "total": float(scores.total[0, 0]), "success": float(scores.success[0, 0]),
    }  # fmt: skip


def test_an_empty_place_is_scored_by_progress_and_smoothness() -> None:
    found = terms(world(), plan(1.0))
    assert found["collision"] == found["space"] == 1
    assert found["progress"] == pytest.approx(1.0 / 1.2)
    assert found["smoothness"] == pytest.approx(1.0)
    assert found["total"] == pytest.approx((5 / 1.2 + 4 + 1) / 10)


def test_somebody_who_stands_in_the_way_is_run_into() -> None:
    found = terms(world(walker((2.0, 0.0), (0.0, 0.0))), plan(1.0))
    assert (found["collision"], found["touch"], found["total"], found["success"]) == (0, 0, 0, 0)


def test_a_robot_that_stands_runs_into_nobody_but_does_not_succeed() -> None:
    found = terms(world(walker((2.0, 0.0), (-1.0, 0.0)), speed=0.0), plan(0.0))
    assert (found["collision"], found["touch"], found["progress"], found["success"]) == (1, 0, 0, 0)


@pytest.mark.parametrize("aside", [0.65, 0.8, 1.2])
def test_space_is_the_least_distance_between_surfaces(aside: float) -> None:
    found = terms(world(walker((1.6, aside), (0.0, 0.0))), plan(1.0))  # it passes x = 1.6 at a step
    assert found["space"] == pytest.approx(min((aside - 0.25 - 0.3) / 0.45, 1.0))


def test_smoothness_is_the_root_mean_square_of_the_acceleration() -> None:
    braking = plan(0.0)
    braking[0, :, 0] = DT * np.cumsum(np.maximum(1.0 - DT * np.arange(1, 17), 0.0))  # 1 m/s^2 for five of sixteen steps
    assert terms(world(speed=1.0), braking)["smoothness"] == pytest.approx(1 - np.sqrt(5 / 16) / 2.0)


def test_walls_are_run_into_as_people_are_but_have_no_personal_space() -> None:
    wall = np.array([[[2.0, -5.0], [2.0, 5.0]]])
    assert terms(world(walls=wall), plan(1.0))["collision"] == 0
    beside = np.array([[[-5.0, 0.35], [9.0, 0.35]]])
    found = terms(world(walls=beside), plan(1.0))
    assert (found["collision"], found["space"]) == (1, 1)


def test_judging_what_was_done_is_scoring_it() -> None:
    examples = CrowdExamples()
    scenes = examples.scenes()
    rollouts = CrowdLoop(CrowdLoopConfig(replan=3.2)).rollout(scenes, STRAIGHT, [0] * len(scenes), 3.2)
    judged = REWARD.judge(rollouts)
    for row, rollout in enumerate(rollouts):
        scored = REWARD.score(rollout.situations()[:1], rollout.plans[:1])
        assert judged.total[row] == pytest.approx(float(scored.total[0, 0]), abs=1e-9)


def test_settings_that_move_numbers_are_stamped() -> None:
    assert str(REWARD.metric) == "crowd-1.0"
    assert str(CrowdReward(CrowdRewardConfig(personal=0.6)).metric) == "crowd-1.0[personal=0.6]"


def test_bad_proposals_are_named() -> None:
    at = [Situation("s", "log", world(), 0)]
    for bad in (np.zeros((2, 8, 3)), np.zeros((3, 2, 16, 3)), np.full((1, 16, 3), np.nan)):
        with pytest.raises(ValidationError, match="proposals"):
            REWARD.score(at, bad)
    with pytest.raises(ValidationError, match="record ends"):
        REWARD.score([Situation("s", "log", world(), 39)], plan(1.0))


def test_the_miner_names_each_way_to_fail() -> None:
    worlds = {
        "collision": world(walker((2.0, 0.0), (0.0, 0.0))),
        "intrusion": world(walker((1.6, 0.6), (0.0, 0.0))),
        "stranded": world(goal=(-20.0, 0.0)),
        "": world(),
        "touching at once": world(walker((0.2, 0.0), (0.0, 0.0))),
    }
    miner, mined = CrowdMiner(CrowdMinerConfig()), {}
    for name, of in worlds.items():
        policy = Fixed(plan(1.0)[0])
        mined[name] = [f.kind for f in miner.mine([scenario(of, name=name)], policy, REWARD, 0)]
    assert mined == {
        "collision": ["collision"],
        "intrusion": ["intrusion"],
        "stranded": ["stranded"],
        "": [],
        "touching at once": [],
    }


def test_the_sooner_the_more_severe() -> None:
    found = [
        CrowdMiner(CrowdMinerConfig()).mine([scenario(world(walker((far, 0.0), (0.0, 0.0))))], Fixed(plan(1.0)[0]), REWARD, 0)[0]
        for far in (1.0, 2.0, 3.0)
    ]
    times = [float(failure.evidence["time"]) for failure in found]
    assert times == pytest.approx([0.6, 1.6, 2.6])  # the first step after the surfaces meet
    assert [failure.severity for failure in found] == pytest.approx([1 - time / 6.4 for time in times])
    assert {failure.evidence["with"] for failure in found} == {"person"}


def test_the_miner_needs_the_crowds_terms() -> None:
    from wetoolkit.testing.examples import Nearness

    with pytest.raises(PluginError, match="collision, space and progress"):
        CrowdMiner(CrowdMinerConfig()).mine([scenario(world())], STRAIGHT, Nearness(Crowd()), 0)


class Fixed:
    """Always one plan [16, 3]."""

    spec = ObservationSpec(fields=("robot",))

    def __init__(self, trajectory: np.ndarray) -> None:
        self.trajectory = trajectory

    def act(self, observation: Observation[Any], seed: int) -> Plan:
        return Plan(np.repeat(self.trajectory[None], observation.size, 0))


def test_people_who_heed_the_robot_make_way_and_others_do_not() -> None:
    def nearest(heed: float) -> float:
        oncoming = world(walker((6.0, 0.3), (-1.0, 0.0), 60), control=Control.SOCIAL, heed=heed)
        people = replace(oncoming.people, goal=np.array([[-30.0, 0.3]]))
        (rollout,) = CrowdLoop(CrowdLoopConfig()).rollout([scene(replace(oncoming, people=people))], STRAIGHT, [0], 6.0)
        gap = rollout.world.people.position[0, :31] - rollout.world.robot.states[:31, :2]
        return float(np.hypot(gap[:, 0], gap[:, 1]).min()) - 0.55

    assert nearest(1.0) > nearest(0.0) + 0.1 and nearest(0.0) < -0.1


def test_people_moved_by_their_record_do_as_recorded() -> None:
    of = world(walker((6.0, 1.0), (-1.0, 0.0)), walker((3.0, -2.0), (0.0, 0.5)))
    (rollout,) = CrowdLoop(CrowdLoopConfig()).rollout([scene(of)], STRAIGHT, [0])
    steps = rollout.clock.steps
    np.testing.assert_array_equal(rollout.world.people.position, of.people.position[:, :steps])


def test_a_unicycle_and_a_holonomic_robot_turn_aside_differently() -> None:
    sideways = np.zeros(PLAN.shape)
    sideways[:, 1] = 0.8 * DT * np.arange(1, 17)
    ends = {}
    for drive in ("holonomic", "unicycle"):
        of = world(speed=0.0, body=Body(drive=drive))  # type: ignore[arg-type]
        (rollout,) = CrowdLoop(CrowdLoopConfig(replan=3.2)).rollout([scene(of)], Fixed(sideways), [0], 3.2)
        assert rollout.settings["body"] == drive
        ends[drive] = rollout.world.robot.states[rollout.end - 1]
    assert ends["holonomic"][2] == 0 and ends["holonomic"][1] > 2.0
    assert ends["unicycle"][2] == pytest.approx(np.pi / 2, abs=0.1)


def test_a_policy_that_cannot_answer_is_named_with_its_scenes() -> None:
    with pytest.raises(WetoolkitError, match="gave no plan") as caught:
        CrowdLoop(CrowdLoopConfig()).rollout([scene(world(), name="here")], Fixed(np.zeros((3, 3))), [0])
    assert "here@0" in str(caught.value)


@pytest.mark.parametrize("now", [39, 40])
def test_a_scene_without_a_future_is_refused(now: int) -> None:
    with pytest.raises(ValidationError, match="leaves nothing"):
        scene(world(), now)


def test_varied_crowds_differ_and_begin_as_they_were() -> None:
    first = CrowdExamples().scenes()[0]
    now = first.clock.now
    variants = SocialForce(SocialForceConfig()).vary(first, 3, 7)
    for variant in variants:
        np.testing.assert_array_equal(variant.world.people.position[:, : now + 1], first.world.people.position[:, : now + 1])
    rolled = CrowdLoop(CrowdLoopConfig()).rollout(variants, STRAIGHT, [0, 0, 0])
    ends = [rollout.world.people.position[:, rollout.end - 1] for rollout in rolled]
    assert not np.allclose(ends[0], ends[1]) and not np.allclose(ends[1], ends[2])


@given(st.floats(-3, 3), st.integers(0, 4))
@settings(max_examples=20, deadline=None)
def test_what_is_seen_does_not_depend_on_where_north_is(angle: float, which: int) -> None:
    examples = CrowdExamples()
    at = examples.situations()[which]
    c, s = np.cos(angle), np.sin(angle)
    m = np.array([[c, s], [-s, c]])
    robot, people = at.world.robot, at.world.people
    states = np.concatenate([
        robot.states[:, :2] @ m, (robot.states[:, 2:3] + angle + np.pi) % (2 * np.pi) - np.pi, robot.states[:, 3:5] @ m,
        robot.states[:, 5:],
    ], 1)  # fmt: skip
    turned = replace(
        at.world, robot=replace(robot, states=states, goal=robot.goal @ m), walls=at.world.walls @ m,
        people=replace(people, position=people.position @ m, velocity=people.velocity @ m, goal=people.goal @ m),
    )  # fmt: skip
    spec = ObservationSpec(history=6, fields=("robot", "people", "walls"))
    seen, again = Crowd().observe([at], spec), Crowd().observe([replace(at, world=turned)], spec)
    for name, array in seen.arrays.items():
        np.testing.assert_allclose(array, again.arrays[name], atol=2e-4, err_msg=name)


def test_unknown_fields_events_and_windows_are_clear_errors() -> None:
    with pytest.raises(UnknownName, match="did you mean 'people'"):
        Crowd().observe([], ObservationSpec(fields=("peeple",)))
    with pytest.raises(UnknownName, match="stampede"):
        Plaza(PlazaConfig(events=("stampede",)))
    with pytest.raises(DataError, match="no window"):
        Plaza(PlazaConfig()).load(Ref("train/nowhere", "train", "log"))


def test_a_world_of_another_rate_is_refused() -> None:
    slow = replace(world(), dt=0.4)
    with pytest.raises(ValidationError, match="resample"):
        Crowd().demonstrate([Situation("s", "log", slow, 0)])
    with pytest.raises(ValidationError, match=r"dt is 0\.4"):
        CrowdLoop(CrowdLoopConfig()).rollout([scene(slow)], STRAIGHT, [0])


def test_worlds_that_do_not_hold_together_are_refused() -> None:
    good = world(walker((2.0, 0.0), (0.0, 0.0)))
    people = good.people
    for name, wrong in {
        "people.position": replace(people, position=people.position[:, 1:]),
        "people.radius": replace(people, radius=-people.radius),
        "people.heed": replace(people, heed=people.heed + 1),
        "people.speed": replace(people, speed=people.speed * np.nan),
    }.items():
        with pytest.raises(ValidationError, match=name):
            replace(good, people=wrong).validate()


def test_rare_windows_are_rare_and_ordinary_ones_are_not() -> None:
    """Straight on, somebody is run into in most event windows of held-out recordings, and in few ordinary ones."""
    dataset = Plaza(PlazaConfig(test=20, test_rare=60))
    failed = {}
    for split in ("test", "test-rare"):
        scenes = [dataset.load(ref) for ref in dataset.index(split)]
        situations = [Situation(s.id, s.log, s.world, s.clock.now) for s in scenes]
        scores = REWARD.score(situations, STRAIGHT.act(Crowd().observe(situations, STRAIGHT.spec), 0).trajectories[:, None])
        failed[split] = float(1 - scores.terms["collision"].values.mean())
    assert failed["test"] < 0.2 < 0.5 < failed["test-rare"]
