"""Agents moved by a behaviour in closed loop: asked in batches, mixed with everything else, and never a score where it fails."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from wetoolkit_driving.policies import ConstantVelocity, ConstantVelocityConfig
from wetoolkit_driving.simulator import ClosedLoop, ClosedLoopConfig
from wetoolkit_driving.testing import Actor, actor, scene, straight_world
from wetoolkit_driving.traffic.constant import ConstantTraffic, ConstantTrafficConfig
from wetoolkit_driving.types import AgentClass, Control, World

from wetoolkit.errors import ValidationError, WetoolkitError
from wetoolkit.experiment import Parts, parse_experiment
from wetoolkit.jobs import varied
from wetoolkit.registry import load_registry
from wetoolkit.testing.compare import difference
from wetoolkit.types import Clock, Lineage, Reaction, Rollout, Scene, Step

NOW = 20
LINK = Step("behaviour/drift", "somebody 1.0", "abc")
POLICY = ConstantVelocity(ConstantVelocityConfig())


@dataclass
class Drift:
    """Everybody goes on to +x at a speed drawn from the seed, and leaves at x = 80 m. ``asked`` keeps who called."""

    speed: float = 5.0
    steps: int = 40
    wrong: str = ""
    asked: list[list[tuple[int, int]]] = field(default_factory=list)

    def react(self, worlds: Sequence[World], clocks: Sequence[Clock], seeds: Sequence[int]) -> Sequence[Reaction]:
        self.asked.append([(clock.now, len(world.agents)) for world, clock in zip(worlds, clocks, strict=True)])
        found = []
        for world, clock, seed in zip(worlds, clocks, seeds, strict=True):
            assert world.steps == clock.steps == clock.now + 1, "a world that knows more than the present"
            assert not world.scripts
            assert world.agents.manners is None
            pace = self.speed + np.random.default_rng(seed).uniform(0, 1)
            states = np.repeat(world.agents.pose[:, clock.now, None].astype(float), self.steps, 1)
            states[..., 0] += pace * world.dt * np.arange(1, self.steps + 1)
            valid = states[..., 0] < 80.0
            if self.wrong == "raises":
                raise RuntimeError("no idea")
            found.append(Reaction(states * valid[..., None], valid))
        if self.wrong == "nan":
            found[0].states[0, 3] = np.nan
        if self.wrong == "shape":
            found[0] = Reaction(found[0].states[..., :2], found[0].valid)
        if self.wrong == "few":
            found = found[:-1]
        return found


def mixed_world(shift: float = 0.0) -> World:
    actors: list[Actor] = [
        actor(60 + shift, 3.5, 0, 8.0, control=Control.EXTERNAL),
        actor(20, 3.5, 0, 8.0, control=Control.IDM),
        actor(40, -5, 0, 1.2, AgentClass.PEDESTRIAN, control=Control.SOCIAL),
        actor(50, 7, 0, 3.0, control=Control.REPLAY),
        actor(30, 10.5, 0, 4.0, seen=(42, 100), control=Control.EXTERNAL),
    ]
    return straight_world(actors, speed=5.0)


def made(world: World, name: str = "test/0") -> Scene[World]:
    return replace(scene(world, name=name), lineage=Lineage("testing", "log0", name, (replace(LINK, seed=7),)))


def rolled(
    reactor: object, scenes: Sequence[Scene[World]], seeds: Sequence[int], link: Step = LINK, **config: float
) -> Sequence[Rollout[World]]:
    simulator = ClosedLoop(ClosedLoopConfig(**config)).with_reactors({link: reactor})  # type: ignore[dict-item, arg-type]
    return simulator.rollout(scenes, POLICY, seeds)


def test_four_kinds_of_traffic_move_in_one_scene() -> None:
    source = mixed_world()
    (rollout,) = rolled(Drift(), [made(source)], [3])
    a, log = rollout.world.agents, source.agents
    steps = rollout.world.steps
    np.testing.assert_array_equal(a.pose[3], log.pose[3, :steps])  # replayed
    assert not np.allclose(a.pose[1, NOW + 20 :], log.pose[1, NOW + 20 : steps])  # follows its leader
    np.testing.assert_allclose(a.pose[2], log.pose[2, :steps], atol=2e-3)  # walks on
    moved = np.diff(a.pose[0, NOW:, 0].astype(float))[a.valid[0, NOW + 1 :]]
    assert (moved > 0.49).all()
    assert (moved < 0.61).all()
    np.testing.assert_allclose(a.velocity[0, NOW + 1 :, 0][a.valid[0, NOW + 1 :]], moved / 0.1, atol=1e-2)
    left = int(np.argmin(a.valid[0, NOW:])) + NOW  # who is let go stays away
    assert not a.valid[0, left:].any()
    assert not a.pose[0, left:].any()


def test_who_appears_is_as_recorded_until_it_is_asked_for() -> None:
    source = mixed_world()
    (rollout,) = rolled(Drift(speed=1.0), [made(source)], [3])
    a = rollout.world.agents
    assert not a.valid[4, :42].any()
    np.testing.assert_array_equal(a.pose[4, 42:46], source.agents.pose[4, 42:46])
    moved = np.diff(a.pose[4, 45:, 0].astype(float))
    assert (moved < 0.21).all()  # 1 to 2 m/s from step 45 on, in place of 4


def test_scenes_are_asked_together_and_a_batch_equals_its_singles() -> None:
    reactor = Drift()
    scenes = [made(mixed_world(shift), f"test/{i}") for i, shift in enumerate((0.0, 4.0, 8.0))]
    together = rolled(reactor, scenes, [1, 2, 3])
    assert [row[0][0] for row in reactor.asked] == list(range(20, 20 + 5 * len(reactor.asked), 5))
    assert all(len(row) == 3 for row in reactor.asked[:8])
    assert reactor.asked[0][0][1] == 4  # the fifth is not yet there
    for i in range(3):
        (alone,) = rolled(Drift(), scenes[i : i + 1], [i + 1])
        assert not difference(together[i], alone)
    other = rolled(Drift(), scenes[:1], [9])[0]
    assert difference(together[0].world.agents, other.world.agents)  # another seed, another drive


@pytest.mark.parametrize(
    ("wrong", "said"),
    [("raises", "no idea"), ("nan", "NaN"), ("shape", "channels"), ("few", "2 worlds")],
)
def test_a_behaviour_that_fails_is_an_error_that_names_its_scenes(wrong: str, said: str) -> None:
    scenes = [made(mixed_world(), f"test/{i}") for i in range(2)]
    with pytest.raises(WetoolkitError, match="did not react") as caught:
        rolled(Drift(wrong=wrong), scenes, [0, 0])
    for word in (said, "Drift", "test/0", "test/1"):
        assert word in str(caught.value)


def test_one_that_does_not_look_far_enough_is_an_error() -> None:
    with pytest.raises(WetoolkitError, match="3 steps where 5 were due"):
        rolled(Drift(steps=3), [made(mixed_world())], [0])


def test_nobody_to_ask_is_an_error_that_says_whom() -> None:
    with pytest.raises(ValidationError, match="2 agents are to be moved from outside") as caught:
        ClosedLoop(ClosedLoopConfig()).rollout([made(mixed_world())], POLICY, [0])
    assert "behaviour/drift" in str(caught.value)
    with pytest.raises(ValidationError, match="behaviour/another"):
        rolled(Drift(), [made(mixed_world())], [0], replace(LINK, component="behaviour/another"))
    by_hand = scene(mixed_world())  # no lineage: the only behaviour there is
    (rollout,) = rolled(Drift(), [by_hand], [3])
    assert not difference(rollout.world.agents, rolled(Drift(), [made(mixed_world())], [3])[0].world.agents)


def test_constant_velocity_repeats_a_log_that_keeps_its_velocity() -> None:
    source = straight_world([actor(10.0 * i, 3.5, 0, 4.0 + i) for i in range(5)], speed=5.0)
    behaviour = ConstantTraffic(ConstantTrafficConfig())
    (varied,) = behaviour.vary(scene(source), 1, 0)
    (rollout,) = rolled(behaviour, [varied], [0], replan=1.0)
    np.testing.assert_allclose(rollout.world.agents.pose, source.agents.pose[:, : rollout.world.steps], atol=1e-3)


def test_a_record_is_taken_up_again_with_its_own_seed() -> None:
    source = made(mixed_world())
    simulator = ClosedLoop(ClosedLoopConfig()).with_reactors({LINK: Drift()})
    (record,) = simulator.rollout([source], POLICY, [5])
    for step in (NOW + 10, NOW + 12):
        (branch,) = simulator.branch([source], [record], [step], POLICY, [6])
        np.testing.assert_array_equal(branch.world.agents.pose[:, : step + 1], record.world.agents.pose[:, : step + 1])
    (same,) = simulator.branch([source], [record], [NOW + 10], POLICY, [5])
    assert not difference(same.world.agents, record.world.agents)


def test_an_experiment_hands_its_behaviours_to_the_simulator() -> None:
    data = {"behaviour": [{"use": "constant-velocity", "fraction": 0.5}, {"use": "idm"}]}
    text = (Path(__file__).resolve().parents[3] / "docs" / "quickstart.toml").read_text()
    parts = Parts(parse_experiment(tomllib.loads(text) | data), load_registry())
    simulator = parts.build("simulator")
    assert list(simulator.reactors) == [parts.step("behaviour.0")]  # idm needs nobody to ask
    source = replace(scene(mixed_world()), lineage=Lineage("testing", "log0", "test/0"))
    (made_by_it,) = varied(parts.build("behaviour.0"), parts.step("behaviour.0"), source, 1, 4)
    assert (made_by_it.world.agents.control == Control.EXTERNAL).any()
    assert len(simulator.rollout([made_by_it], POLICY, [0])) == 1
