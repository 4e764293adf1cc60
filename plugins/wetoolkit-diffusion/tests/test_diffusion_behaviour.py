"""The behaviour: its promises, its controls, its guidance and what it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wetoolkit_diffusion.attacks import AttackConfig, Intent, attack, choices
from wetoolkit_diffusion.behaviour import Diffusion, DiffusionConfig
from wetoolkit_diffusion.controls import CopyConfig, GoalConfig, begin
from wetoolkit_diffusion.guidance import GuidanceConfig
from wetoolkit_diffusion.plausible import best_scores, judge
from wetoolkit_diffusion.realism import collisions
from wetoolkit_diffusion.testing import ANYTHING, NOW, SPEC, behaviour, busy, without_lanes
from wetoolkit_diffusion.tokens import encode
from wetoolkit_driving.geometry import compose
from wetoolkit_driving.policies import ConstantVelocity, ConstantVelocityConfig
from wetoolkit_driving.simulator import ClosedLoop, ClosedLoopConfig
from wetoolkit_driving.testing import actor, pedestrian_world, scenario, scene, straight_world
from wetoolkit_driving.types import AgentClass, Control, Signal, World

from wetoolkit.errors import ConfigError, ValidationError
from wetoolkit.kinds import SupportsFit
from wetoolkit.store import file_digest
from wetoolkit.testing.data import BehaviourContract
from wetoolkit.types import Scene, Situation, Step

FREE = GuidanceConfig(steps=0, back=0.0, wait=False)


class TestDiffusion(BehaviourContract):
    @pytest.fixture(autouse=True)
    def _file(self, checkpoint: Path) -> None:
        self.file = checkpoint

    tolerance = 1e-3
    count = 2

    def make(self) -> Diffusion:
        return behaviour(self.file, closed_loop=True, ego=False)

    def scene(self) -> Scene[World]:
        return scene(busy())

    def members(self, world: World) -> Sequence[Any]:
        return world.agents.ids

    def another_future(self, world: World, step: int) -> World:
        agents, ego = world.agents, world.ego
        pose, velocity, valid = agents.pose.copy(), agents.velocity.copy(), agents.valid.copy()
        seen = agents.valid[:, : step + 1].any(1)
        pose[:, step + 1 :], velocity[:, step + 1 :] = 1.0, 2.0
        valid[seen, step + 1 :] = ~valid[seen, step + 1 :]
        states, signals = ego.states.copy(), world.signals.copy()
        states[step + 1 :], signals[:, step + 1 :] = 9.0, Signal.UNKNOWN
        others = replace(agents, pose=pose, velocity=velocity, valid=valid)
        return replace(world, ego=replace(ego, states=states), agents=others, signals=signals)


def test_a_variant_keeps_the_past_and_whoever_is_not_modelled(checkpoint: Path) -> None:
    source = scene(busy())
    (varied,) = behaviour(checkpoint).vary(source, 1, 3)
    was, is_ = source.world.agents, varied.world.agents
    np.testing.assert_array_equal(was.pose[:, : NOW + 1], is_.pose[:, : NOW + 1])
    np.testing.assert_array_equal(was.pose[7:], is_.pose[7:])  # who comes late, and the cone
    assert np.abs(was.pose[:7, NOW + 1 :] - is_.pose[:7, NOW + 1 :]).max(axis=(1, 2)).min() > 0.01
    assert (is_.control == Control.REPLAY).all()
    assert varied.assets["behaviour model"]
    steps = np.diff(is_.pose[:7, NOW:, :2], axis=1) / 0.1
    np.testing.assert_allclose(steps, is_.velocity[:7, NOW + 1 :], atol=0.02)
    (reacting,) = behaviour(checkpoint, closed_loop=True).vary(source, 1, 3)
    assert (reacting.world.agents.control[:7] == Control.EXTERNAL).all()


def test_a_variant_does_not_depend_on_how_many_are_asked(checkpoint: Path) -> None:
    few, many = (behaviour(checkpoint).vary(scene(busy()), count, 5) for count in (1, 3))
    np.testing.assert_allclose(few[0].world.agents.pose, many[0].world.agents.pose, atol=1e-3)
    assert np.abs(many[0].world.agents.pose - many[1].world.agents.pose).max() > 0.1


def test_goals_are_reached(checkpoint: Path) -> None:
    goals = (GoalConfig(agent="a0", x=10.0, y=-1.5, at=6.0, heading=0.0, speed=4.0), GoalConfig(agent="a2", x=6.0, y=14.0))
    (varied,) = behaviour(checkpoint, goals=goals, guidance=FREE).vary(scene(busy()), 1, 0)
    for goal in goals:
        row = varied.world.agents.ids.index(goal.agent)
        found = varied.world.agents.pose[row, NOW + round(goal.at * 10), :2]
        assert np.hypot(*(found - (goal.x, goal.y))) < 2.0
    assert "a0 at (10.0, -1.5)" in varied.variant


@pytest.mark.parametrize(
    ("goals", "said"),
    [
        ((GoalConfig(agent="a0", x=90, y=60),), "off the road"),
        ((GoalConfig(agent="nobody", x=0, y=0),), "no road user"),
        ((GoalConfig(agent="a7", x=0, y=0),), "not modelled"),
        ((GoalConfig(agent="a0", x=10, y=0, at=20.0),), "later than the model looks"),
        ((GoalConfig(agent="a0", x=10, y=0), GoalConfig(agent="a0", x=20, y=0)), "two controls"),
    ],
)
def test_goals_that_cannot_be_meant_are_refused(checkpoint: Path, goals: tuple[GoalConfig, ...], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        behaviour(checkpoint, goals=goals).vary(scene(busy()), 1, 0)


def test_a_copy_ends_near_the_goals_of_the_log(checkpoint: Path) -> None:
    source = scene(straight_world([actor(15, 3.5, 0, 6.0), actor(40, 0, 0, 5.0)]))
    bare = behaviour(checkpoint, copy_goals=CopyConfig(spread=0.5), guidance=FREE)
    for varied in bare.vary(source, 3, 0):
        away = varied.world.agents.pose[:, -1, :2] - source.world.agents.pose[:, -1, :2]
        assert np.hypot(*away.T).max() < 3.0


def test_no_model_is_an_error_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="wetool fit"):
        Diffusion(DiffusionConfig(checkpoint=str(tmp_path / "none"))).vary(scene(busy()), 1, 0)


def _attacked(world: World, intent: Intent) -> tuple[Any, Any]:
    tokens = encode(world, NOW, SPEC)
    hold = attack(begin(tokens, world, SPEC, True), tokens, world, SPEC, AttackConfig(intents=(intent,)), np.random.default_rng(0))
    return tokens, hold


ATTACKS: dict[Intent, World] = {
    "cut-in": straight_world([actor(8, 3.5, 0, 9.0), actor(60, 3.5, 0, 9.0)]),
    "hard-brake": straight_world([actor(25, 0, 0, 10.0), actor(25, 3.5, 0, 10.0)]),
    "jaywalk": pedestrian_world(start=-6.0, pace=0.0, x=40.0),
    "fail-to-yield": straight_world([actor(30, -22.0, np.pi / 2, 6.0)]),
    "crossing-cyclist": straight_world([actor(35, -18.0, np.pi / 2, 4.0, AgentClass.BICYCLE)]),
}


@pytest.mark.parametrize("intent", ATTACKS)
def test_an_attack_puts_somebody_in_the_egos_way(intent: Intent) -> None:
    world = ATTACKS[intent]
    tokens, hold = _attacked(world, intent)
    assert hold is not None
    assert hold.words[0].startswith(f"{intent} by a0")
    (token,) = np.flatnonzero(hold.given[hold.attacked, 3:])[:1] + 3
    place = compose(tokens.frame[hold.attacked], np.array([*hold.held[hold.attacked, token, :2], 0.0]))[:2]
    ego = compose(tokens.frame[0], np.array([*tokens.state[0, token, :2], 0.0]))[:2]
    away = np.hypot(*(place - ego))
    if intent == "hard-brake":  # it stands where the ego, going on, would be soon
        assert hold.held[hold.attacked, token, 4] == 0.0
        assert abs(place[1] - ego[1]) < 0.5
    else:
        assert away < (8.0 if intent == "cut-in" else 1.0)


def test_nobody_attacks_who_cannot() -> None:
    far = straight_world([actor(80, 0, 0, 10.0), actor(-60, 3.5, np.pi, 10.0)])
    tokens = encode(far, NOW, SPEC)
    assert choices(begin(tokens, far, SPEC, True), tokens, SPEC, AttackConfig()) == []
    assert _attacked(far, "jaywalk")[1] is None


def test_nobody_attacks_through_somebody_else() -> None:
    lead, between = actor(35, 0, 0, 10.0), actor(20, 0, 0, 10.0)
    for actors, braking in (([lead], {0}), ([lead, between], {1})):  # who follows would run into it, not the ego
        world = straight_world(actors)
        tokens = encode(world, NOW, SPEC)
        found = choices(begin(tokens, world, SPEC, True), tokens, SPEC, AttackConfig(intents=("hard-brake",)))
        assert {int(tokens.rows[choice.row]) for choice in found} == braking


def test_each_reason_is_found_and_counted() -> None:
    world = straight_world([actor(20, 0, 0, 5.0), actor(40, 3.5, 0, 5.0), actor(60, 0, 0, 5.0)])
    tokens = encode(world, NOW, SPEC)
    t = 0.1 * np.arange(1, 81)
    rows = [tokens.rows.tolist().index(row) for row in range(3)]
    base = np.zeros((4, len(tokens), 80, 3))
    base[..., 0] = 5.0 * t
    base[1, rows[0], :, 0] = 5.0 * t + 4.5 * t**2  # too quick, and through a2
    base[2, rows[1], :, 1] = -np.minimum(0.5 * t, 3.5)
    base[2, rows[1], :, 0] = 5.0 * t + np.minimum(2.0 * t, 20.0)  # beside a2, then into it
    base[3, rows[1], :, 1] = 0.4 * t**1.5  # off to the left
    made = tokens.rows >= 0
    found = judge(tokens, world, base, made, ANYTHING.model_copy(update={"kinematics": True, "collision": True, "off_road": True}),
                  np.zeros(len(tokens), bool))  # fmt: skip
    assert found[0] == ()
    assert "kinematics" in found[1]
    assert "collision" in found[1]
    assert "collision" in found[2]
    assert "off_road" in found[3]
    assert judge(tokens, world, base, made, ANYTHING, made) == [()] * 4
    hits = collisions(compose(tokens.frame[:, None], base), tokens.frame, tokens.size)
    assert hits[2, rows[1]] and hits[2, rows[2]] and not hits[2, rows[0]]


def test_solvable_is_what_the_ego_can_live_through() -> None:
    free = straight_world([actor(60, 3.5, 0, 8.0)], speed=8.0)
    wall = straight_world([actor(9.5, 3.5 * k, 0, 0.0) for k in (-1, 0, 1)], speed=13.0)
    good, bad = best_scores([Situation("a", "log", free, NOW), Situation("b", "log", wall, NOW)])
    assert good > 0.8
    assert bad < 0.5


def test_a_model_is_fitted_into_a_file_and_moves_traffic(tmp_path: Path) -> None:
    file = tmp_path / "small.safetensors"
    settings = {"tokens": {"lines": 8}, "network": {"width": 16, "layers": 1, "heads": 2}, "training": {"steps": 3, "batch": 2}}
    part = Diffusion(DiffusionConfig.model_validate(settings))
    assert isinstance(part, SupportsFit)
    worlds = [busy(), straight_world([actor(15, 3.5, 0, 6.0)])]
    facts = part.fit([scenario(world, name=f"s{i}") for i, world in enumerate(worlds)], file, 1)
    assert facts["scenes"] == 2
    assert facts["steps"] == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.safetensors", "small.safetensors.sha256"]
    (varied,) = behaviour(file).vary(scene(busy()), 1, 0)
    assert varied.assets["behaviour model"] == file_digest(file)


def test_many_road_users_are_modelled_up_to_the_limit_and_the_rest_is_named(checkpoint: Path) -> None:
    crowd = straight_world([actor(3.0 * i - 150, 3.5 * (i % 2), 0, 2.0) for i in range(60)])
    (varied,) = behaviour(checkpoint).vary(scene(crowd), 1, 0)
    changed = np.abs(varied.world.agents.pose - crowd.agents.pose).max(axis=(1, 2)) > 1e-6
    assert changed.sum() == 31
    assert "29 beyond the model" in varied.variant


def test_an_empty_road_and_a_road_without_lanes_have_variants(checkpoint: Path) -> None:
    (alone,) = behaviour(checkpoint).vary(scene(straight_world([])), 1, 0)
    assert "0 moved" in alone.variant
    (one,) = behaviour(checkpoint).vary(scene(without_lanes(straight_world([actor(20, 0, 0, 3.0)]))), 1, 0)
    assert "1 moved" in one.variant


def test_a_budget_rejects_what_is_unlikely_and_says_so(checkpoint: Path) -> None:
    bare = ANYTHING.model_copy(update={"unlikely": 1e-6, "tries": 2})
    goals = (GoalConfig(agent="a0", x=30.0, y=-1.5, at=2.0),)  # 50 m in 2 s
    made, rejected = behaviour(checkpoint, plausibility=bare, goals=goals).variants(scene(busy()), 2, 0)
    assert made == []
    assert rejected == {"unlikely": 4}
    (one,), none = behaviour(checkpoint, plausibility=bare.model_copy(update={"unlikely": 1e9})).variants(scene(busy()), 1, 0)
    assert none == {}
    assert np.isfinite(one.verdict.excess)


def test_the_model_moves_the_others_as_the_ego_acts(checkpoint: Path) -> None:
    part = behaviour(checkpoint, closed_loop=True, ego=False)
    source = scene(straight_world([actor(15, 3.5, 0, 6.0), actor(25, -4, np.pi / 2, 1.2, AgentClass.PEDESTRIAN)]))
    (varied,) = part.vary(source, 1, 0)
    link = Step("behaviour/diffusion", "wetoolkit-diffusion 0.1.0", "config", None)
    drawn = replace(varied, lineage=replace(varied.lineage, steps=(replace(link, seed=0),)))
    mixed = replace(drawn.world.agents, control=np.array([Control.EXTERNAL, Control.REPLAY], np.uint8))  # one of each in one scene
    simulator = ClosedLoop(ClosedLoopConfig()).with_reactors({link: part})
    both = [drawn, replace(drawn, id="mixed", world=replace(drawn.world, agents=mixed))]
    policy = ConstantVelocity(ConstantVelocityConfig())
    moved, other = simulator.rollout(both, policy, [3, 3], horizon=2.0)
    span = slice(NOW + 1, NOW + 21)
    assert moved.world.agents.valid[:, span].all()
    assert (np.hypot(*np.diff(moved.world.agents.pose[:, NOW : NOW + 21, :2], axis=1).T) < 2.0).all()  # nobody jumps
    assert np.abs(moved.world.agents.pose[:, span] - drawn.world.agents.pose[:, span]).max(axis=(1, 2)).min() > 1e-3
    np.testing.assert_array_equal(other.world.agents.pose[1, span], drawn.world.agents.pose[1, span])
    (again,) = simulator.rollout(both[:1], policy, [3], horizon=2.0)
    np.testing.assert_allclose(again.world.agents.pose[:, span], moved.world.agents.pose[:, span], atol=1e-3)


def test_kept_variants_are_apart_or_counted_as_alike(checkpoint: Path) -> None:
    few = ANYTHING.model_copy(update={"tries": 2})
    part = behaviour(checkpoint, plausibility=few.model_copy(update={"apart": 1e3}))
    made, rejected = part.variants(scene(busy()), 3, 0)
    assert len(made) == 1
    assert rejected == {"alike": 4}
    loose, none = behaviour(checkpoint, plausibility=few).variants(scene(busy()), 3, 0)
    assert len(loose) == 3
    assert none == {}
