"""The closed loop led from outside: the same drive as ``rollout`` makes, what Gymnasium accepts, steering that is a circle."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import SyncVectorEnv
from wetoolkit_driving.domain import Driving
from wetoolkit_driving.pdm.reward import PdmReward, PdmRewardConfig
from wetoolkit_driving.policies import ConstantVelocity, ConstantVelocityConfig
from wetoolkit_driving.simulator import ClosedLoop, ClosedLoopConfig
from wetoolkit_driving.testing import crossing_world, pedestrian_world, scene, straight_world, with_control
from wetoolkit_driving.types import Control

from wetoolkit.environments import EnvConfig, SceneEnv, SceneVectorEnv, Stage
from wetoolkit.errors import ValidationError
from wetoolkit.testing.compare import difference
from wetoolkit.types import ObservationSpec, Situation

POLICY = ConstantVelocity(ConstantVelocityConfig())
SPEC = ObservationSpec(history=2, fields=("ego", "agents"), limits={"agents": 8})


def scenes():
    worlds = [straight_world(), with_control(crossing_world(), Control.IDM), pedestrian_world(start=-3.0)]
    return [scene(world, name=f"s{i}") for i, world in enumerate(worlds)]


def led(loop, given, seeds, horizon):
    """The drive that results where somebody asks the policy and hands its plans in."""
    drive = loop.begin(given, seeds, horizon)
    while not all(drive.over):
        drive.step(POLICY.act(Driving().observe(drive.situations(), POLICY.spec), 0).trajectories)
    return drive


@pytest.mark.parametrize("dynamics", ["lqr-bicycle", "perfect", "unicycle"])
def test_led_from_outside_it_is_the_same_drive(dynamics):
    loop = ClosedLoop(ClosedLoopConfig(dynamics=dynamics))
    given = scenes()
    due = loop.rollout(given, POLICY, [1, 2, 3], 3.0)
    found = led(loop, given, [1, 2, 3], 3.0).rollouts(type(POLICY).__name__)
    for a, b in zip(found, due, strict=True):
        assert not difference(a.world, b.world) and np.array_equal(a.plans, b.plans)
        assert (a.id, a.end, a.clock, a.settings) == (b.id, b.end, b.clock, b.settings)


def test_what_was_driven_so_far_is_the_beginning_of_the_whole():
    loop, given = ClosedLoop(ClosedLoopConfig()), scenes()
    whole = loop.rollout(given, POLICY, [0, 0, 0], 3.0)
    drive = loop.begin(given, [0, 0, 0], 3.0)
    for k in range(3):
        drive.step(POLICY.act(Driving().observe(drive.situations(), POLICY.spec), 0).trajectories)
        for part, full in zip(drive.rollouts("x"), whole, strict=True):
            part.validate()
            assert part.end == part.clock.steps == full.clock.now + 5 * (k + 1) + 1
            assert np.array_equal(part.world.ego.states, full.world.ego.states[: part.end])
            assert np.array_equal(part.world.agents.pose, full.world.agents.pose[:, : part.end])


def test_plans_that_are_no_numbers_are_refused_and_nothing_moves():
    drive = ClosedLoop(ClosedLoopConfig()).begin(scenes(), [0, 0, 0])
    with pytest.raises(ValidationError, match="NaN or infinite"):
        drive.step(np.full((3, 40, 3), np.nan))
    assert [s.step for s in drive.situations()] == [s.clock.now for s in scenes()]


@pytest.mark.parametrize("angle", [-0.3, 0.05, 0.4])
def test_a_held_angle_is_a_circle(angle):
    world = straight_world()
    situation = Situation("s", "log", world, 20)
    (plan,) = Driving().steered([situation], np.array([[0.0, angle]]))
    radius = world.ego.vehicle.wheel_base / np.tan(angle)
    away = np.hypot(plan[:, 0], plan[:, 1] - radius)
    np.testing.assert_allclose(away, abs(radius), rtol=2e-2)  # chords of 1 m in a circle of 7 m
    speed = world.ego.states[20, 3]
    np.testing.assert_allclose(np.unwrap(plan[:, 2]), speed * 0.1 * np.arange(1, 41) / radius, atol=1e-4)


def test_braking_stops_and_stays():
    situation = Situation("s", "log", straight_world(), 20)
    speed = situation.world.ego.states[20, 3]
    (plan,) = Driving().steered([situation], np.array([[-5.0, 0.0]]))
    assert plan[-1, 0] == pytest.approx(speed**2 / 10.0, rel=0.02) and (np.diff(plan[:, 0]) >= 0).all()
    assert not plan[:, 1:].any()


def stage(action="controls", **config):
    domain, proposals = Driving(), None
    if action == "choice":
        here = Situation("s", "log", straight_world(), 20)
        grid = np.array([(a, d) for a in (-5.0, 0.0, 2.0) for d in (-0.1, 0.0, 0.1)])
        proposals = domain.steered([here] * len(grid), grid)
    settings = EnvConfig(action=action, **config)
    return Stage(domain, ClosedLoop(ClosedLoopConfig()), PdmReward(PdmRewardConfig()), scenes(), SPEC, proposals, settings)


@pytest.mark.parametrize("action", ["controls", "choice", "plan"])
def test_gymnasiums_own_checker_is_content(action):
    check_env(SceneEnv(stage(action)), skip_render_check=True)


def test_the_batch_is_gymnasiums_own_batch_of_singles():
    ours, theirs = SceneVectorEnv(stage(), 3), SyncVectorEnv([lambda: SceneEnv(stage())] * 3)
    rng = np.random.default_rng(0)
    seen, due = ours.reset(seed=5)[0], theirs.reset(seed=5)[0]
    for _ in range(10):
        assert all(np.array_equal(seen[name], due[name]) for name in due)
        actions = rng.uniform(-0.2, 0.2, (3, 2)).astype(np.float32)
        (seen, *told, _), (due, *due_told, _) = ours.step(actions), theirs.step(actions)
        for a, b in zip(told, due_told, strict=True):
            np.testing.assert_allclose(a, b)


def test_driving_into_somebody_ends_the_episode_as_a_failure():
    env = SceneEnv(stage())
    env.reset(seed=0, options={"scene": 2})  # somebody walks into the way
    for _ in range(20):
        *_, terminated, truncated, info = env.step(np.array([1 / 3, 0.0], np.float32))  # keeps its speed
        if terminated or truncated:
            break
    assert terminated and not truncated and "collision" in info["events"]
    assert info["outcome"]["nc"] == 0 and not info["outcome"]["success"] and "pdms" in info["metric"]
