"""The forecast: the record where the plan was driven, a reaction where it was not; and the reward that is scored among it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from wetoolkit_driving.dynamics import reference_poses
from wetoolkit_driving.pdm.others import best, foreseen
from wetoolkit_driving.pdm.result import NEVER
from wetoolkit_driving.pdm.reward import PdmReward, PdmRewardConfig, drive
from wetoolkit_driving.pdm.scene import from_world
from wetoolkit_driving.plans import straight_on
from wetoolkit_driving.policies import ConstantVelocity, ConstantVelocityConfig
from wetoolkit_driving.simulator import ClosedLoop, ClosedLoopConfig
from wetoolkit_driving.testing import actor, scene, straight_world
from wetoolkit_driving.traffic.forecast import BEYOND, forecast, reacts
from wetoolkit_driving.traffic.manners import TrafficConfig
from wetoolkit_driving.types import Action, AgentClass, Agents, Control, Script, World

from wetoolkit.config import checked
from wetoolkit.errors import ConfigError
from wetoolkit.testing import RewardContract
from wetoolkit.types import Rollout, Situation

CONFIG, NOW = TrafficConfig(), 20


def busy(speed: float = 8.0) -> World:
    return straight_world(
        [
            actor(-15, 0, 0, 8.0, control=Control.IDM),
            actor(-20, 3.5, 0, 7.0, control=Control.REACTIVE),
            actor(25, -1.3, 0, 4.0, AgentClass.BICYCLE, control=Control.PATH),
            actor(45, -4, np.pi / 2, 1.3, AgentClass.PEDESTRIAN, control=Control.SOCIAL),
            actor(60, 3.5, 0, 6.0),
        ],
        speed=speed,
    )


def driven(world: World) -> Rollout[World]:
    """A record in which one plan is driven for 4 s."""
    (rollout,) = ClosedLoop(ClosedLoopConfig(replan=4.0)).rollout([scene(world)], ConstantVelocity(ConstantVelocityConfig()), [0])
    return rollout


def braking(speed: float, rate: float) -> np.ndarray:
    t = 0.1 * np.arange(1, 41)
    x = np.where(t < speed / rate, speed * t - 0.5 * rate * t * t, 0.5 * speed**2 / rate)
    return np.column_stack([x, np.zeros((40, 2))])


def test_the_forecast_for_the_plan_that_was_driven_is_the_record() -> None:
    rollout = driven(busy())
    seen = forecast(rollout.world, NOW, rollout.plans[0], CONFIG)
    steps = seen.steps
    assert steps == min(NOW + 40 + BEYOND + 1, rollout.world.steps)
    np.testing.assert_allclose(seen.ego.states[:61], rollout.world.ego.states[:61], atol=1e-9)
    for name in ("pose", "velocity", "valid"):
        was = getattr(rollout.world.agents, name)[:, :steps]
        np.testing.assert_allclose(getattr(seen.agents, name), was, atol=2e-3, err_msg=name)
    later = forecast(rollout.world, NOW + 10, straight_on(rollout.world.ego.states[NOW + 10]), CONFIG)
    np.testing.assert_allclose(later.agents.pose, rollout.world.agents.pose[:, : later.steps], atol=0.02)


def test_who_follows_brakes_if_the_plan_does_and_the_past_stays() -> None:
    rollout = driven(busy())
    seen = forecast(rollout.world, NOW, braking(8.0, 3.0), CONFIG)
    was = rollout.world.agents
    np.testing.assert_array_equal(seen.agents.pose[:, : NOW + 1], was.pose[:, : NOW + 1])
    assert seen.agents.pose[0, 60, 0] < was.pose[0, 60, 0] - 5.0
    front = seen.agents.pose[0, NOW:, 0] + seen.agents.size[0, 0] / 2
    assert (front < seen.ego.states[NOW:, 0] - seen.ego.vehicle.rear).all()  # it is not hit from behind
    np.testing.assert_array_equal(seen.agents.pose[4], was.pose[4, : seen.steps])  # replayed
    np.testing.assert_array_equal(seen.agents.control, was.control)
    seen.validate()


def test_equal_arguments_give_equal_forecasts_and_nothing_is_changed() -> None:
    record = driven(busy()).world
    before = record.agents.pose.copy()
    one, two = (forecast(record, NOW + 3, braking(8.0, 2.0), CONFIG) for _ in range(2))
    np.testing.assert_array_equal(one.agents.pose, two.agents.pose)
    np.testing.assert_array_equal(record.agents.pose, before)
    eight = forecast(record, NOW + 3, braking(8.0, 2.0)[4::5], CONFIG, 0.5)  # the same plan at 2 Hz
    np.testing.assert_allclose(eight.agents.pose, one.agents.pose, atol=0.3)


def test_a_world_without_reaction_is_its_own_forecast() -> None:
    world = busy()
    still = replace(world, agents=replace(world.agents, control=np.zeros(5, np.uint8)))
    assert forecast(still, NOW, braking(8.0, 3.0), CONFIG) is still
    external = replace(world, agents=replace(world.agents, control=np.full(5, Control.EXTERNAL, np.uint8)))
    assert not reacts(external).any()
    scripted = replace(world, scripts=(Script("a0", Action.BRAKE, at=3.0, value=2.0),))
    assert reacts(scripted).tolist() == [False, True, True, True, False]


def test_what_a_script_did_is_done_again_in_the_forecast() -> None:
    world = replace(busy(), scripts=(Script("a4", Action.BRAKE, at=2.5, value=3.0),))
    rollout = driven(world)
    assert rollout.settings["scripts_fired"] == "1"
    seen = forecast(rollout.world, NOW + 10, braking(8.0, 3.0), CONFIG)
    np.testing.assert_array_equal(seen.agents.pose[4], rollout.world.agents.pose[4, : seen.steps])
    assert seen.agents.pose[4, -1, 0] < world.agents.pose[4, 60, 0] - 5.0


@pytest.mark.parametrize("step", [98, 99])
def test_at_the_end_of_the_record_there_is_little_to_forecast(step: int) -> None:
    seen = forecast(busy(), step, braking(8.0, 3.0), CONFIG)
    assert seen.steps == 101
    seen.validate()


# The reward among the forecast

PLANS = np.stack([braking(8.0, rate) for rate in (0.5, 2.0, 4.0)] + [straight_on(busy().ego.states[NOW])])


def reward(others: str, **settings: object) -> PdmReward:
    return PdmReward(checked(PdmRewardConfig, {"others": others, **settings}))


def tail() -> World:
    """Somebody follows closely and fast: whether it hits the ego from behind depends on whether it reacts."""
    return straight_world([actor(-9.5, 0, 0, 8.0, control=Control.IDM), actor(40, 0, 0, 7.0, control=Control.REACTIVE)], speed=8.0)


def test_in_a_record_the_three_modes_differ_where_the_others_react() -> None:
    (situation,) = driven(tail()).situations()
    assert situation.plan is not None
    scores = {mode: reward(mode).score([situation], PLANS) for mode in ("log", "forecast", "per-proposal")}
    for found in scores.values():
        found.validate()
    # The plan that was driven: the forecast is the record, and the proposal's own forecast as well.
    for mode in ("forecast", "per-proposal"):
        assert scores[mode].total[0, 3] == pytest.approx(scores["log"].total[0, 3], abs=1e-6)
    # As recorded the follower drives into whoever brakes hard; the one that reacts to that plan does not.
    hit = {mode: _hit(situation, PLANS[2], mode) for mode in scores}
    assert hit == {"log": True, "forecast": True, "per-proposal": False}


def _hit(situation: Situation[World], plan: np.ndarray, mode: str) -> bool:
    """Whether a plan's car is touched by anybody among the others that the mode gives."""
    seen = {
        "log": situation,
        "forecast": foreseen(situation, situation.plan, CONFIG),
        "per-proposal": foreseen(situation, plan, CONFIG),
    }[mode]
    scene_ = from_world(seen.world, seen.step)
    marks = drive(scene_, reference_poses(scene_.ego[None], plan[None]))
    return bool(marks.touch_step[0] != NEVER)


def test_only_the_best_are_scored_in_a_forecast_of_their_own() -> None:
    (situation,) = driven(tail()).situations()
    shared, all_of = reward("forecast").score([situation], PLANS), reward("per-proposal", top_k=4).score([situation], PLANS)
    one = reward("per-proposal", top_k=1).score([situation], PLANS)
    first = int(np.argmax(shared.total[0]))
    rest = np.arange(4) != first
    np.testing.assert_array_equal(one.total[0, rest], shared.total[0, rest])
    assert one.total[0, first] == all_of.total[0, first]
    for row in range(4):  # each as if it alone had been asked about, with its own forecast
        own = replace(situation, plan=PLANS[row])
        assert all_of.total[0, row] == pytest.approx(reward("forecast").score([own], PLANS[row : row + 1]).total[0, 0], abs=1e-12)


def test_a_frame_without_a_plan_and_a_world_without_reaction_are_scored_as_recorded() -> None:
    (situation,) = driven(tail()).situations()
    for at in (replace(situation, plan=None), replace(situation, world=replace(situation.world, agents=_still(situation.world)))):
        plain, seen = (reward(mode).score([at], PLANS).total for mode in ("log", "forecast"))
        np.testing.assert_array_equal(plain, seen)


def _still(world: World) -> Agents:
    return replace(world.agents, control=np.zeros(len(world.agents), np.uint8))


def test_the_stamp_says_among_whom_and_scores_of_different_ones_are_not_compared() -> None:
    assert "others" not in reward("log").metric.settings
    assert reward("forecast").metric.settings["others"] == "forecast"
    stamp = reward("per-proposal", top_k=3, traffic={"margin": 0.2}).metric.settings
    assert (stamp["others"], stamp["top_k"], stamp["traffic"]) == ("per-proposal", "3", '{"margin":0.2}')
    assert len({str(reward(mode).metric) for mode in ("log", "forecast", "per-proposal")}) == 3
    with pytest.raises(ConfigError, match="normaliser pair or scene"):
        reward("per-proposal", normaliser="batch")


def test_ties_among_the_best_are_broken_by_the_plans_and_not_by_their_order() -> None:
    rng = np.random.default_rng(0)
    plans, totals = rng.normal(size=(20, 40, 3)), np.repeat([0.5, 1.0], 10)
    order = rng.permutation(20)
    chosen = {plans[row].tobytes() for row in best(totals, plans, 4)}
    again = {plans[order][row].tobytes() for row in best(totals[order], plans[order], 4)}
    assert chosen == again
    assert all(totals[row] == 1.0 for row in best(totals, plans, 4))


class TestForecastContract(RewardContract):
    proposals_are_independent = True

    def make(self) -> PdmReward:
        return reward("forecast")

    def situations(self) -> list[Situation[World]]:
        return driven(tail()).situations() + driven(busy()).situations()

    def proposals(self) -> np.ndarray:
        return PLANS


class TestPerProposalContract(TestForecastContract):
    proposals_are_independent = False  # only the best have a forecast of their own

    def make(self) -> PdmReward:
        return reward("per-proposal", top_k=2)
