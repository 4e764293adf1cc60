"""The simulator as a Gymnasium environment, on the toy domain."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from toy_run import DATA

from wetoolkit.environments import EnvConfig, SceneEnv, SceneVectorEnv, Stage, stage_of
from wetoolkit.errors import ConfigError, ValidationError
from wetoolkit.experiment import parse_experiment
from wetoolkit.registry import Registry
from wetoolkit.testing.fakes import WALKS, Toy, ToySimulator, ToySimulatorConfig
from wetoolkit.types import ObservationSpec, Plan


def stage(registry: Registry, **config: object) -> Stage:
    made = stage_of(parse_experiment(DATA), "mine", registry=registry, config=EnvConfig(**config))
    return Stage(made.domain, made.simulator, made.reward, made.scenes, made.spec, WALKS, made.config)


@pytest.mark.parametrize("action", ["choice", "plan"])
@pytest.mark.parametrize("reward", ["plan", "drive"])
def test_gymnasiums_own_checker_is_content(registry: Registry, action: str, reward: str) -> None:
    check_env(SceneEnv(stage(registry, action=action, reward=reward)), skip_render_check=True)


def play(env: SceneEnv, choices: list[int], **options: object) -> list[tuple]:
    env.reset(**options)
    turns = []
    for choice in choices:
        turns.append(env.step(choice))
        if turns[-1][2] or turns[-1][3]:
            break
    return turns


def test_an_episode_is_the_rollout_of_its_plans(registry: Registry) -> None:
    """Closed loop from outside or by a policy: the same drive, the same score."""
    made = stage(registry, stop=False)
    scene = made.scenes[2]

    class Chosen:
        spec = ObservationSpec()

        def __init__(self) -> None:
            self.left = [7, 4, 1, 10, 7, 7]

        def act(self, observation, seed):
            return Plan(WALKS[[self.left.pop(0)]])

    turns = play(SceneEnv(made), [7, 4, 1, 10, 7, 7, 0], seed=0, options={"scene": 2})
    (rollout,) = made.simulator.rollout([scene], Chosen(), [0])
    scores = made.reward.judge([rollout])
    assert len(turns) == 6 and turns[-1][3] and not turns[-1][2]
    assert turns[-1][4]["outcome"]["total"] == pytest.approx(float(scores.total[0]))
    assert turns[-1][4]["outcome"]["success"] == bool(scores.success[0]) and turns[-1][4]["scene"] == scene.id


def test_the_dense_reward_is_the_score_of_each_plan(registry: Registry) -> None:
    made = stage(registry, stop=False)
    drive = made.simulator.begin([made.scenes[1]], [0])
    for turn in play(SceneEnv(made), [3, 9, 6], seed=0, options={"scene": 1}):
        choice = [3, 9, 6][len(drive._plans[0])]
        due = made.reward.score(drive.situations(), WALKS[[choice]][None]).total[0, 0]
        assert turn[1] == pytest.approx(float(due))
        drive.step(WALKS[[choice]])


def test_a_lost_episode_is_terminated_and_says_why(registry: Registry) -> None:
    env = SceneEnv(stage(registry))
    straight = [play(env, [7] * 9, seed=0, options={"scene": i})[-1] for i in range(4)]  # straight into who stands there
    lost = [turn for turn in straight if turn[2]]
    assert lost and all(not turn[3] and not turn[4]["outcome"]["success"] and turn[4]["events"] for turn in lost)


def test_equal_seeds_give_equal_episodes(registry: Registry) -> None:
    one, two = (play(SceneEnv(stage(registry)), [3, 9, 6], seed=11) for _ in range(2))
    assert [turn[4]["scene"] for turn in one] == [turn[4]["scene"] for turn in two]
    for a, b in zip(one, two, strict=True):
        assert a[1:4] == b[1:4] and all(np.array_equal(a[0][name], b[0][name]) for name in a[0])


def test_the_batch_is_gymnasiums_own_batch_of_singles(registry: Registry) -> None:
    """Against an independent reference: ``gymnasium.vector.SyncVectorEnv`` over ``SceneEnv``."""
    ours = SceneVectorEnv(stage(registry), 3)
    theirs = gymnasium.vector.SyncVectorEnv([lambda: SceneEnv(stage(registry))] * 3)
    rng = np.random.default_rng(0)
    seen, due = ours.reset(seed=5)[0], theirs.reset(seed=5)[0]
    ends = 0
    for _ in range(12):
        assert all(np.array_equal(seen[name], due[name]) for name in due)
        assert ours.observation_space.contains(seen)
        actions = rng.integers(0, len(WALKS), 3)
        (seen, *ours_told, infos), (due, *due_told, _) = ours.step(actions), theirs.step(actions)
        for a, b in zip(ours_told, due_told, strict=True):
            np.testing.assert_allclose(a, b)
        ends += int((ours_told[1] | ours_told[2]).sum())
        assert len(infos["scene"]) == 3
    assert ends >= 3
    with pytest.raises(ValidationError, match="call reset"):
        SceneVectorEnv(stage(registry), 2).step([0, 0])


def test_bad_settings_and_actions_are_said(registry: Registry) -> None:
    renamed = parse_experiment({**DATA, "splits": {**DATA["splits"], "common": "rare-test"}})  # "test" holds the same logs
    for experiment, split in ((parse_experiment(DATA), "rare-test"), (renamed, "test")):
        with pytest.raises(ConfigError, match="serves for evaluation"):
            stage_of(experiment, split, registry=registry)
    made = stage(registry)
    with pytest.raises(ConfigError, match="needs proposals"):
        SceneEnv(Stage(made.domain, made.simulator, made.reward, made.scenes, made.spec))
    with pytest.raises(ConfigError, match="has no controls"):
        SceneEnv(Stage(Toy(), made.simulator, made.reward, made.scenes, made.spec, config=EnvConfig(action="controls")))

    class Whole:
        """A simulator that only knows whole rollouts."""

    with pytest.raises(ConfigError, match="cannot be led from outside"):
        SceneEnv(Stage(made.domain, Whole(), made.reward, made.scenes, made.spec, WALKS))
    env = SceneEnv(stage(registry, action="plan"))
    with pytest.raises(ValidationError, match="call reset"):
        env.step(WALKS[0])
    env.reset(seed=0)
    for bad in (WALKS[0] * np.nan, WALKS[0][:2]):
        with pytest.raises(ValidationError, match="is not in Box"):
            env.step(bad)
    assert ToySimulator(ToySimulatorConfig()).begin([made.scenes[0]], [0]).over == [False]
