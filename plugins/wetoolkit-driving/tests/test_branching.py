"""Repeat and branch: equal hashes, replays and branches bit for bit; other bodies, dynamics and lengths of record."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from wetoolkit_driving.extend import extended
from wetoolkit_driving.pdm.reward import PdmReward, PdmRewardConfig
from wetoolkit_driving.policies import ConstantVelocity, ConstantVelocityConfig
from wetoolkit_driving.simulator import ClosedLoop, ClosedLoopConfig
from wetoolkit_driving.testing import actor, crossing_world, scene, straight_world, with_control
from wetoolkit_driving.types import Control, World

from wetoolkit.errors import MetricMismatch, ValidationError, WetoolkitError
from wetoolkit.evaluation import compare
from wetoolkit.kinds import SupportsBranch, SupportsConditions
from wetoolkit.record import replay, stamped, state_hash
from wetoolkit.types import Observation, ObservationSpec, Plan, Scene

NOW = 20
STEADY = ConstantVelocity(ConstantVelocityConfig())


class Wander:
    """A plan drawn from the seed alone."""

    spec = ObservationSpec(history=1, fields=("ego",))
    name = "wander"

    def act(self, observation: Observation[World], seed: int) -> Plan:
        speed, bend = np.random.default_rng(seed).uniform([2, -0.02], [9, 0.02])
        s = 0.1 * speed * np.arange(1, 41)
        return Plan(np.repeat(np.column_stack([s, bend * s**2 / 2, bend * s])[None], observation.size, 0))


def town() -> list[Scene[World]]:
    """Three scenes with traffic that reacts."""
    worlds = [
        straight_world([actor(-15, 0, 0, 9.0), actor(30, 0, 0, 4.0), actor(40, 3.5, np.pi, 6.0)], speed=7.0),
        straight_world([actor(12, 0, 0, 5.0), actor(-20, 3.5, 0, 8.0)], speed=6.0),
        crossing_world(),
    ]
    return [scene(with_control(world, Control.IDM), name=f"s{i}") for i, world in enumerate(worlds)]


def test_the_hash_does_not_depend_on_order_or_batch() -> None:
    simulator, scenes = ClosedLoop(ClosedLoopConfig()), town()
    hashes = {r.scene: state_hash(r) for r in simulator.rollout(scenes, Wander(), [1, 2, 3])}
    back = simulator.rollout(scenes[::-1], Wander(), [3, 2, 1])
    assert {r.scene: state_hash(r) for r in back} == hashes
    assert {s.id: state_hash(simulator.rollout([s], Wander(), [i + 1])[0]) for i, s in enumerate(scenes)} == hashes
    assert len(set(hashes.values())) == 3


def test_the_hash_sees_every_bit_that_was_simulated() -> None:
    (rollout,) = ClosedLoop(ClosedLoopConfig()).rollout(town()[:1], Wander(), [1])
    due = state_hash(rollout)
    states = rollout.world.ego.states.copy()
    states[40, 0] = np.nextafter(states[40, 0], np.inf)
    other = replace(rollout, world=replace(rollout.world, ego=replace(rollout.world.ego, states=states)))
    assert state_hash(other) != due
    assert state_hash(replace(rollout, plans=rollout.plans + 1e-12)) != due
    assert state_hash(replace(rollout, id="another name", policy="x")) == due


@pytest.mark.parametrize("dynamics", ["lqr-bicycle", "perfect", "unicycle"])
def test_a_rollout_is_replayed_bit_for_bit_from_its_record(dynamics: str) -> None:
    simulator = ClosedLoop(ClosedLoopConfig(dynamics=dynamics))  # type: ignore[arg-type]
    for one, record in zip(town(), simulator.rollout(town(), Wander(), [1, 2, 3]), strict=True):
        assert state_hash(replay(simulator, one, record)) == state_hash(record)


def test_a_replay_by_another_simulator_says_so() -> None:
    one, simulator = town()[0], ClosedLoop(ClosedLoopConfig())
    (record,) = simulator.rollout([one], Wander(), [1])
    with pytest.raises(ValidationError, match="another state"):
        replay(ClosedLoop(ClosedLoopConfig(dynamics="perfect")), one, record)
    with pytest.raises(WetoolkitError, match="decision 9"):
        replay(ClosedLoop(ClosedLoopConfig(replan=0.2)), one, record)
    with pytest.raises(ValidationError, match="s0"):
        replay(simulator, town()[1], record)


@pytest.mark.parametrize("step", [NOW, NOW + 5, NOW + 25, NOW + 35])
def test_a_branch_by_the_same_policy_is_the_record(step: int) -> None:
    simulator, scenes = ClosedLoop(ClosedLoopConfig()), town()
    assert isinstance(simulator, SupportsBranch)
    records = simulator.rollout(scenes, Wander(), [1, 2, 3])
    again = simulator.branch(scenes, records, [step] * 3, Wander(), [1, 2, 3])
    assert [r.decisions.tolist() for r in again] == [r.decisions.tolist() for r in records]
    assert [state_hash(r) for r in again] == [state_hash(r) for r in records]


@pytest.mark.parametrize("step", [NOW + 1, NOW + 23, NOW + 39])
def test_any_step_can_be_branched_at(step: int) -> None:
    """Until then every bit is the record's, the traffic's as well; from then on the other policy decides."""
    simulator, (one, *_) = ClosedLoop(ClosedLoopConfig()), town()
    (record,) = simulator.rollout([one], Wander(), [1])
    (other,) = simulator.branch([one], [record], [step], STEADY, [0])
    other.validate()
    for name in ("pose", "velocity", "valid"):
        due = getattr(record.world.agents, name)[:, : step + 1]
        np.testing.assert_array_equal(getattr(other.world.agents, name)[:, : step + 1], due)
    np.testing.assert_array_equal(other.world.ego.states[: step + 1], record.world.ego.states[: step + 1])
    assert step in other.decisions
    assert other.end == record.end
    later = other.decisions >= step
    np.testing.assert_array_equal(np.diff(other.decisions[later]), 5)
    assert not np.array_equal(other.plans[later][0], record.plans[(record.decisions <= step).sum() - 1])
    assert state_hash(replay(simulator, one, other)) == state_hash(other)  # a branch is a record as well
    assert other.settings["branch"].startswith(f"{(step - NOW) / 10:g} s of s0/wander/1")


def test_branches_that_cannot_be_are_clear_errors() -> None:
    simulator, scenes = ClosedLoop(ClosedLoopConfig()), town()
    (record,) = simulator.rollout(scenes[:1], Wander(), [1])
    for step in (NOW - 1, record.end - 1, 10_000):
        with pytest.raises(ValidationError, match=r"between 0 and 3\.9 s"):
            simulator.branch(scenes[:1], [record], [step], STEADY, [0])
    with pytest.raises(ValidationError, match="its own record"):
        simulator.branch(scenes[1:2], [record], [NOW + 5], STEADY, [0])
    with pytest.raises(ValidationError, match="bit for bit"):
        ClosedLoop(ClosedLoopConfig(dynamics="perfect")).branch(scenes[:1], [record], [NOW + 5], STEADY, [0])


def test_a_branch_may_go_on_for_longer_than_its_record() -> None:
    simulator, (one, *_) = ClosedLoop(ClosedLoopConfig()), town()
    (record,) = simulator.rollout([one], Wander(), [1])
    (longer,) = simulator.branch([one], [record], [NOW + 20], Wander(), [1], 6.0)
    assert longer.end == NOW + 61
    np.testing.assert_array_equal(longer.world.ego.states[: record.end], record.world.ego.states[: record.end])


def outcome_rows(metric: str, policy: str) -> pl.DataFrame:
    names = [str(i) for i in range(4)]
    row = {
        "policy": policy,
        "split": "rare",
        "mode": "closed",
        "seed": 0,
        "metric": metric,
        "total": 0.5,
        "success": True,
        "error": "",
    }
    return pl.DataFrame({**row, "id": names, "log": names})


def test_drives_of_different_dynamics_refuse_to_be_compared() -> None:
    metric = PdmReward(PdmRewardConfig()).metric
    configs = [
        {}, {"dynamics": "perfect"}, {"dynamics": "unicycle"}, {"replan": 0.2}, {"vehicle": {"width": 1.8}}, {"horizon": 8.0},
        {"past_log": "constant-velocity"}, {"dynamics": "unicycle", "unicycle": {"yaw_rate": 0.5}},
    ]  # fmt: skip
    simulators = [ClosedLoop(ClosedLoopConfig.model_validate(config)) for config in configs]
    assert all(isinstance(simulator, SupportsConditions) for simulator in simulators)
    stamps = [str(stamped(metric, simulator, None)) for simulator in simulators]
    assert len(set(stamps)) == len(stamps)
    with pytest.raises(MetricMismatch, match="dynamics=perfect"):
        compare(pl.concat([outcome_rows(stamps[0], "a"), outcome_rows(stamps[1], "b")]), "a", seed=0)
    assert len(compare(pl.concat([outcome_rows(stamps[0], "a"), outcome_rows(stamps[0], "b")]), "a", seed=0))


def test_the_body_is_a_setting_and_the_score_sees_it() -> None:
    """A gap of 1.35 m to the side is enough for a narrow body and not for a wide one."""
    one = scene(straight_world([actor(25.0, 2.3)], speed=8.0))
    for width, clear in ((1.8, True), (3.2, False)):
        (rollout,) = ClosedLoop(ClosedLoopConfig.model_validate({"vehicle": {"width": width}})).rollout([one], STEADY, [0])
        assert rollout.world.ego.vehicle.width == width
        assert bool(PdmReward(PdmRewardConfig()).judge([rollout]).terms["collision_any"].values[0] == 0.0) == clear


def test_at_the_logs_end_a_drive_stops_or_goes_on_as_it_is_told() -> None:
    world = straight_world([actor(30, 3.5, 0, 5.0), actor(50, 0, seen=(0, 60)), actor(60, 7.0)], speed=5.0)  # 8 s of future
    stops, goes = ClosedLoopConfig(horizon=12.0), ClosedLoopConfig(horizon=12.0, past_log="constant-velocity")
    (short,), (full,) = (ClosedLoop(config).rollout([scene(world)], STEADY, [0]) for config in (stops, goes))
    assert (short.end, full.end) == (101, NOW + 121)
    assert (short.settings["horizon"], full.settings["horizon"]) == ("8", "12")
    full.validate()
    agents = full.world.agents
    assert agents.valid[:, 130].tolist() == [True, False, True]  # gone ones stay away
    np.testing.assert_allclose(agents.pose[0, 130], agents.pose[0, 100] + [5.0 * 3.0, 0, 0], atol=1e-4)
    np.testing.assert_array_equal(agents.pose[2, 130], agents.pose[2, 100])
    np.testing.assert_array_equal(full.world.ego.states[:101], short.world.ego.states)


def test_agents_of_a_model_are_left_to_it_past_the_log() -> None:
    world = with_control(straight_world([actor(30, 0, 0, 5.0), actor(60, 7.0)], speed=5.0), Control.IDM)
    longer = extended(world, 150)
    longer.validate()
    assert longer.agents.valid[:, 120].tolist() == [False, True]  # the standing one is no model's
    assert extended(world, 101) is world
    config = ClosedLoopConfig(horizon=12.0, past_log="constant-velocity")
    (rollout,) = ClosedLoop(config).rollout([scene(world)], STEADY, [0])
    moved = np.diff(rollout.world.agents.pose[0, NOW : rollout.end, 0])
    assert rollout.world.agents.valid[0, NOW : rollout.end].all()
    assert moved.min() >= 0 and moved[100:].max() > 0.1  # it drives on, without a jump
    assert moved.max() < 2.0
