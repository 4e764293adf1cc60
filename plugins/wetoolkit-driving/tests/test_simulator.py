"""The closed loop: exact bookkeeping, dynamics that are those of the tracker, nothing of the future, clear errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from wetoolkit_driving.domain import PLAN
from wetoolkit_driving.dynamics import track_and_simulate
from wetoolkit_driving.geometry import compose
from wetoolkit_driving.plans import as_planned
from wetoolkit_driving.policies import ConstantVelocity, ConstantVelocityConfig
from wetoolkit_driving.reconstruct import Replay, ReplayConfig
from wetoolkit_driving.simulator import ClosedLoop, ClosedLoopConfig
from wetoolkit_driving.testing import actor, crossing_world, scenario, scene, straight_world, with_control
from wetoolkit_driving.types import AgentClass, Control, Vehicle, World

from wetoolkit.errors import ValidationError, WetoolkitError
from wetoolkit.testing.compare import difference, snapshot
from wetoolkit.types import Failure, Observation, ObservationSpec, Plan, Ref, Rollout

NOW = 20
STEADY = ConstantVelocity(ConstantVelocityConfig())


class Fixed:
    """Always the same plan; remembers nothing, sees the world."""

    spec = ObservationSpec(history=2, fields=("ego", "agents"), world=True)

    def __init__(self, plan: np.ndarray) -> None:
        self.plan = plan

    def act(self, observation: Observation[World], seed: int) -> Plan:
        return Plan(np.repeat(self.plan[None], observation.size, 0), np.full(observation.size, 7), np.full(observation.size, -0.5))


class Noisy:
    """A plan drawn from the seed alone."""

    spec = ObservationSpec(history=1, fields=("ego",))

    def act(self, observation: Observation[World], seed: int) -> Plan:
        speed = np.random.default_rng(seed).uniform(2, 12)
        return Plan(np.repeat(along(speed)[None], observation.size, 0))


class Spy:
    """Notes the worlds it is shown."""

    spec = ObservationSpec(history=1, fields=("ego",), world=True)

    def __init__(self) -> None:
        self.steps: list[int] = []

    def act(self, observation: Observation[World], seed: int) -> Plan:
        self.steps += [world.steps for world in observation.worlds]
        return STEADY.act(observation, seed)


def along(speed: float, curvature: float = 0.0) -> np.ndarray:
    s = speed * 0.1 * np.arange(1, 41)
    if not curvature:
        return np.column_stack([s, np.zeros((40, 2))])
    return np.column_stack([np.sin(curvature * s) / curvature, (1 - np.cos(curvature * s)) / curvature, curvature * s])


def drive(world: World, policy: object = STEADY, horizon: float | None = None, seed: int = 0, **settings: object) -> Rollout[World]:
    rollout = ClosedLoop(ClosedLoopConfig(**settings)).rollout([scene(world)], policy, [seed], horizon)[0]  # type: ignore[arg-type]
    rollout.validate()
    return rollout


def test_bookkeeping_of_four_seconds() -> None:
    rollout = drive(straight_world(steps=131))
    assert rollout.decisions.tolist() == list(range(20, 60, 5))
    assert rollout.end == NOW + 41
    assert rollout.clock.steps == NOW + 40 + 40 + 10 + 1
    assert rollout.plans.shape == (8, *PLAN.shape)
    assert rollout.choices.tolist() == [-1] * 8
    assert rollout.settings["dynamics"] == "lqr-bicycle"
    assert len(rollout.situations()) == 8
    fixed = drive(straight_world(), Fixed(along(5.0)))
    assert fixed.choices.tolist() == [7] * 8
    assert fixed.log_probs.tolist() == [-0.5] * 8


def test_the_horizon_reaches_to_the_logs_end_and_no_further() -> None:
    rollout = drive(straight_world(), horizon=0.0)
    assert rollout.end == rollout.clock.steps == 101
    assert rollout.decisions.tolist() == list(range(20, 100, 5))
    assert drive(straight_world(steps=41), horizon=4.0).end == 41
    assert drive(straight_world(), horizon=2.0, replan=1.0).decisions.tolist() == [20, 30]


def test_the_history_is_the_logs() -> None:
    world = straight_world([actor(30, 0, 0, 7.0)], speed=np.linspace(3, 9, 101))
    rollout = drive(world, Fixed(along(2.0)))
    np.testing.assert_array_equal(rollout.world.ego.states[: NOW + 1], world.ego.states[: NOW + 1])
    assert rollout.world.ego.valid.all()


def test_between_decisions_the_tracker_drives_the_plan() -> None:
    world, plan = straight_world(speed=6.0), along(8.0, 0.03)
    rollout = drive(world, Fixed(plan))
    state = world.ego.states[NOW]
    for step in range(NOW, 60, 5):
        expected = track_and_simulate(state, plan[None], world.ego.vehicle)[0]
        until = 5 if step < 55 else PLAN.steps  # the last plan is driven to its end
        np.testing.assert_array_equal(rollout.world.ego.states[step : step + until + 1], expected[: until + 1])
        state = expected[5]


def test_perfect_dynamics_drive_exactly_the_plan() -> None:
    world, plan = straight_world(speed=8.0), along(8.0, 0.05)
    states = drive(world, Fixed(plan), dynamics="perfect").world.ego.states
    np.testing.assert_allclose(states[NOW + 1 : NOW + 6, :3], plan[:5], atol=1e-12)
    again = compose(states[NOW + 5, :3], plan[:5])
    np.testing.assert_allclose(states[NOW + 6 : NOW + 11, :3], again, atol=1e-12)
    np.testing.assert_allclose(states[NOW + 2 : NOW + 30, 3], 8.0, atol=1e-3)
    np.testing.assert_allclose(states[NOW + 2 : NOW + 30, 9], 8.0 * 0.05, atol=1e-6)
    wheel_base = Vehicle().wheel_base
    np.testing.assert_allclose(np.tan(states[NOW + 2 : NOW + 30, 7]) / wheel_base, 0.05, atol=1e-4)


def test_states_as_planned_of_a_standstill() -> None:
    states = as_planned(np.zeros(11), np.zeros((40, 3)), Vehicle())
    assert not states.any()


def test_replayed_agents_repeat_the_log_exactly() -> None:
    actors = [
        actor(25, 0, 0, 6.0, steps=121),
        actor(40, 3.5, kind=AgentClass.BARRIER, steps=121),
        actor(60, 0, 0, 4.0, seen=(30, 50), steps=121),
    ]
    world = straight_world(actors, steps=121)
    after = drive(world).world.agents
    steps = after.valid.shape[1]
    for name in ("pose", "velocity", "valid"):
        np.testing.assert_array_equal(getattr(after, name), getattr(world.agents, name)[:, :steps])
    assert after.ids == world.agents.ids


def test_reacting_traffic_sees_what_the_ego_does_not_what_it_did() -> None:
    world = with_control(straight_world([actor(-15, 0, 0, 10.0)], speed=10.0), Control.IDM)
    stopping = np.zeros((40, 3))
    stopping[:, 0] = np.cumsum(np.maximum(10.0 - 0.6 * np.arange(1, 41), 0.0)) * 0.1
    rollout = drive(world, Fixed(stopping), horizon=0.0)
    body = rollout.world.agents
    rear = rollout.world.ego.states[NOW:, 0] - world.ego.vehicle.rear
    assert (rear - body.pose[0, NOW:, 0] - body.size[0, 0] / 2).min() > 0.2
    assert rollout.settings["idm_agents"] == "1"


def test_equal_seeds_equal_results_and_seeds_are_per_scene() -> None:
    world = straight_world([actor(30, 3.5, 0, 5.0)])
    assert not difference(snapshot(drive(world, Noisy(), seed=3)), snapshot(drive(world, Noisy(), seed=3)))
    assert not np.array_equal(drive(world, Noisy(), seed=3).plans, drive(world, Noisy(), seed=4).plans)
    scenes = [scene(world, name=f"s{i}") for i in range(3)]
    together = ClosedLoop(ClosedLoopConfig()).rollout(scenes, Noisy(), [3, 4, 3])
    np.testing.assert_array_equal(together[0].plans, together[2].plans)
    np.testing.assert_array_equal(together[1].plans, drive(world, Noisy(), seed=4).plans)
    decisions = together[0].plans[:, 0, 0]
    assert len(np.unique(decisions)) == len(decisions)  # each decision has a seed of its own


def test_scenes_of_different_length_and_clock_share_a_batch() -> None:
    worlds = [straight_world(steps=41), straight_world([actor(30, 0, 0, 5.0)]), crossing_world()]
    scenes = [scene(worlds[0], 10, "a"), scene(worlds[1], 20, "b"), scene(worlds[2], 5, "c")]
    simulator = ClosedLoop(ClosedLoopConfig(horizon=6.0))
    together = simulator.rollout(scenes, STEADY, [0, 0, 0])
    for one, rollout in zip(scenes, together, strict=True):
        assert not difference(snapshot(rollout), snapshot(simulator.rollout([one], STEADY, [0])[0]))
    assert [rollout.end for rollout in together] == [41, 81, 66]
    assert simulator.rollout([], STEADY, []) == []


def test_policies_see_worlds_that_end_now() -> None:
    spy = Spy()
    drive(with_control(straight_world([actor(30, 0, 0, 5.0)]), Control.IDM), spy)
    assert spy.steps == [step + 1 for step in range(20, 60, 5)]


def test_nan_plans_and_failing_policies_name_their_scenes() -> None:
    bad = along(5.0)
    bad[3, 1] = np.nan
    with pytest.raises(WetoolkitError, match="test/0@20") as caught:
        drive(straight_world(), Fixed(bad))
    assert "NaN" in str(caught.value)
    with pytest.raises(WetoolkitError, match=r"\(40, 3\)|40, 3"):
        drive(straight_world(), Fixed(along(5.0)[:8]))

    class Broken(Fixed):
        def act(self, observation: Observation[World], seed: int) -> Plan:
            raise RuntimeError("no weights")

    with pytest.raises(WetoolkitError, match="no weights"):
        drive(straight_world(), Broken(along(5.0)))


def test_scenes_one_cannot_act_in_are_clear_errors() -> None:
    world = straight_world()
    simulator = ClosedLoop(ClosedLoopConfig())
    with pytest.raises(ValidationError, match="now=100"):
        simulator.rollout([scene(world, 100)], STEADY, [0])
    with pytest.raises(ValidationError, match=r"0\.2"):
        simulator.rollout([scene(replace(world, dt=0.2))], STEADY, [0])
    unknown = replace(world, ego=replace(world.ego, valid=np.zeros(101, bool)))
    with pytest.raises(ValidationError, match="not known"):
        simulator.rollout([scene(unknown)], STEADY, [0])


def test_constant_velocity_never_goes_backwards() -> None:
    for speed, expected in ((7.0, 28.0), (0.0, 0.0), (-2.0, 0.0)):
        plan = drive(straight_world(speed=speed)).plans[0]
        np.testing.assert_allclose(plan[-1], [expected, 0, 0], atol=1e-5)


def test_replay_scenes_stand_at_the_failure() -> None:
    source = scenario(straight_world([actor(20, 0)]))
    replay = Replay(ReplayConfig())
    failure = Failure(Ref(source.id, source.split, source.log), "collision", 33, 0.5)
    built = replay.reconstruct(source, failure, 0)
    assert (built.clock.now, built.failure, built.id) == (33, "collision", "test/0@33-collision")
    assert replay.reconstruct(source, None, 0).clock == source.clock
    for step in (100, 400):
        with pytest.raises(ValidationError, match=str(step)):
            replay.reconstruct(source, replace(failure, step=step), 0)
