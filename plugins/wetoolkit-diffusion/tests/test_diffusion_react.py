"""In closed loop: what a plan that stands is to the network, how aims are held, and everybody in one scene."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wetoolkit_diffusion import react as module
from wetoolkit_diffusion import variants
from wetoolkit_diffusion.behaviour import Diffusion
from wetoolkit_diffusion.controls import GoalConfig, begin
from wetoolkit_diffusion.generate import Request
from wetoolkit_diffusion.guidance import GuidanceConfig
from wetoolkit_diffusion.react import ReplanConfig, aims_of, going_on_with, react, with_aims
from wetoolkit_diffusion.rewriting import record_on
from wetoolkit_diffusion.testing import NOW, SPEC, behaviour, busy, model
from wetoolkit_diffusion.tokens import encode, poses
from wetoolkit_driving.policies import ConstantVelocity, ConstantVelocityConfig
from wetoolkit_driving.simulator import ClosedLoop, ClosedLoopConfig
from wetoolkit_driving.testing import actor, scene, straight_world
from wetoolkit_driving.traffic.reaction import Standing, SupportsReplanning
from wetoolkit_driving.types import AgentClass, Control, World

from wetoolkit.store import read_block, write_block
from wetoolkit.testing.compare import difference
from wetoolkit.types import Clock, Reaction, Rollout, Scene, Step

LINK = Step("behaviour/diffusion", "wetoolkit-diffusion 0.1.0", "config", None)
POLICY = ConstantVelocity(ConstantVelocityConfig())
FREE = GuidanceConfig(steps=0)


def reacting(file: Path, **settings: Any) -> Diffusion:
    return behaviour(file, **{"closed_loop": True, "ego": False, "guidance": FREE, **settings})


def street() -> World:
    """A driver, a walker and a cyclist near the ego, and one more driver."""
    walker = actor(25, -6, np.pi / 2, 1.2, AgentClass.PEDESTRIAN)
    return straight_world([actor(15, 3.5, 0, 6.0), walker, actor(35, -3.0, 0, 4.0, AgentClass.BICYCLE), actor(-15, 3.5, 0, 7.0)])


def varied(part: Diffusion, world: World, name: str = "test/0", seed: int = 1) -> Scene[World]:
    (found,) = part.vary(scene(world, name=name), 1, seed)
    return replace(found, lineage=replace(found.lineage, steps=(replace(LINK, seed=seed),)))


def rolled(part: Diffusion, scenes: list[Scene[World]], seeds: list[int], horizon: float = 2.0) -> list[Rollout[World]]:
    return list(ClosedLoop(ClosedLoopConfig()).with_reactors({LINK: part}).rollout(scenes, POLICY, seeds, horizon=horizon))


def standing_of(world: World, now: int, steps: int) -> Reaction:
    """The record itself as a plan."""
    span = slice(now + 1, now + 1 + steps)
    return Reaction(world.agents.pose[:, span].astype(float), world.agents.valid[:, span].copy())


def test_a_plan_that_stands_is_the_tokens_of_the_world_that_it_leads_to() -> None:
    world = busy()
    due = encode(world, NOW, SPEC)  # of the whole record
    cut = world.until(NOW)
    tokens = encode(cut, NOW, SPEC)
    seen = world.agents.valid[:, : NOW + 1].any(1)
    plan = standing_of(world, NOW, 80)
    start = going_on_with(Reaction(plan.states[seen], plan.valid[seen]), tokens, cut, SPEC)
    assert start is not None
    np.testing.assert_array_equal(tokens.names, due.names)
    known = due.valid[1:, SPEC.now + 1 :]
    np.testing.assert_allclose(start[1:, SPEC.now + 1 :][known], due.state[1:, SPEC.now + 1 :][known], atol=2e-3)
    ego = start[0, SPEC.now + 1 :]  # nobody planned for it: it goes on as it moves
    np.testing.assert_allclose(np.diff(ego[:, 0]), tokens.velocity[0, 0] * SPEC.period, rtol=1e-5)


def test_where_a_plan_ends_its_velocity_goes_on_and_without_any_there_is_none() -> None:
    world = straight_world([actor(15, 3.5, 0.0, 6.0)])
    tokens, plan = encode(world.until(NOW), NOW, SPEC), standing_of(world, NOW, 30)
    start = going_on_with(plan, tokens, world, SPEC)
    assert start is not None
    np.testing.assert_allclose(start[1, SPEC.now + 1 :, 0], 3.0 * np.arange(1, 17), atol=1e-3)
    np.testing.assert_allclose(start[1, SPEC.now + 1 :, 4], 6.0, atol=1e-3)
    nobody = Reaction(plan.states * 0, np.zeros_like(plan.valid))
    assert going_on_with(nobody, tokens, world, SPEC) is None


def test_an_aim_is_what_was_given_and_is_given_again_at_its_time() -> None:
    world = busy()
    tokens = encode(world, NOW, SPEC)
    begun = begin(tokens, world, SPEC, ego=False)
    state = np.array([9.0, 1.0, 0.8, 0.6, 5.0])
    hold = begun.with_token(2, SPEC.now + 6, state, "a goal", "somebody")
    (aim,) = aims_of(hold, begun, tokens, world, NOW, SPEC)
    assert aim.agent == world.agents.ids[tokens.rows[2]]
    assert aim.at == pytest.approx(NOW * world.dt + 3.0)
    now = NOW + 10  # a second later: four tokens are left
    later = encode(world.until(now), now, SPEC)
    given = replace(begun, given=later.valid.copy(), held=later.state.copy())
    again = with_aims(given, later, world, now, (aim,), SPEC)
    row = int(np.flatnonzero(later.names == tokens.names[2])[0])
    ((found, token),) = np.argwhere(again.given & ~given.given)
    assert (found, token) == (row, SPEC.now + 4)
    due = poses(state[None, None], tokens.frame[2:3])[0, 0]
    np.testing.assert_allclose(poses(again.held, later.frame)[row, token], due, atol=1e-4)
    between = with_aims(given, later, world, now, (replace(aim, at=aim.at + 0.2),), SPEC)  # 0.2 s before it is due
    unit = np.array([np.cos(aim.heading), np.sin(aim.heading)])
    np.testing.assert_allclose(poses(between.held, later.frame)[row, token, :2], due[:2] - 0.2 * 5.0 * unit, atol=1e-4)
    gone = with_aims(given, later, world, now, (replace(aim, at=now * world.dt - 1.0), replace(aim, agent="nobody")), SPEC)
    np.testing.assert_array_equal(gone.given, given.given)


def test_plans_that_stand_begin_the_denoising_and_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    world, asked = busy().until(NOW), []

    def generate(_model: object, requests: list[Request], sampler: Any, *more: Any) -> list[np.ndarray]:
        asked.append((len(requests), sampler.steps, [request.start is not None for request in requests]))
        return [request.held[None] for request in requests]

    monkeypatch.setattr(module, "generate", generate)
    plan = Reaction(np.zeros((8, 30, 3)), np.ones((8, 30), bool))
    minds, clocks = [Standing(None, ()), Standing(plan, ()), Standing(None, ())], [Clock(0.1, NOW, NOW + 1)] * 3
    react(model(), [world] * 3, clocks, [0, 1, 2], minds, ReplanConfig(steps=2, cold=5), FREE)
    assert asked == [(2, 5, [False, False]), (1, 2, [True])]
    asked.clear()
    react(model(), [world] * 3, clocks, [0, 1, 2], minds, ReplanConfig(warm=0.0, cold=5), FREE)
    assert asked == [(3, 5, [False] * 3), (0, 2, [])]


def test_a_batch_of_plans_that_stand_equals_its_singles() -> None:
    worlds = [busy().until(NOW), street().until(NOW), busy().until(NOW + 5)]
    clocks = [Clock(0.1, NOW, NOW + 1), Clock(0.1, NOW, NOW + 1), Clock(0.1, NOW + 5, NOW + 6)]
    full = [busy(), street(), busy()]
    seen = [w.agents.valid[:, : c.now + 1].any(1) for w, c in zip(full, clocks, strict=True)]
    plans = [standing_of(w, c.now, 40) for w, c in zip(full, clocks, strict=True)]
    minds = [Standing(Reaction(p.states[s], p.valid[s]), ()) for p, s in zip(plans, seen, strict=True)]
    minds[1] = Standing(None, ())
    ask = lambda i: react(model(), worlds[i], clocks[i], [3, 4, 5][i], minds[i], ReplanConfig(), FREE)  # noqa: E731
    together = ask(slice(None))
    for i in range(3):
        assert not difference(together[i], ask(slice(i, i + 1))[0], 1e-3)


def test_who_has_an_aim_is_there_in_time_as_the_ego_acts(checkpoint: Path) -> None:
    goals = (GoalConfig(agent="a0", x=36.0, y=0.5, at=3.5), GoalConfig(agent="a1", x=27.0, y=-2.5, at=3.0))  # drives in; walks on
    part = reacting(checkpoint, goals=goals)
    assert isinstance(part, SupportsReplanning)
    source = varied(part, street())
    assert {(aim.agent, round(aim.at - 0.1 * NOW, 3)) for aim in source.world.aims} == {("a0", 3.5), ("a1", 3.0)}
    (rollout,) = rolled(part, [source], [3], horizon=4.0)
    for goal, row in zip(goals, (0, 1), strict=True):
        there = rollout.world.agents.pose[row, NOW + round(10 * goal.at), :2]
        assert np.hypot(*(there - [goal.x, goal.y])) < 0.5
    without = replace(source, world=replace(source.world, aims=()))
    (lost,) = rolled(part, [without], [3], horizon=4.0)
    away = [np.hypot(*(lost.world.agents.pose[row, NOW + round(10 * g.at), :2] - [g.x, g.y])) for row, g in enumerate(goals)]
    assert max(away) > 1.0  # a model that learned nothing comes there by no chance


def test_replay_idm_and_the_model_move_drivers_and_walkers_in_one_scene_again_and_again(checkpoint: Path) -> None:
    part = reacting(checkpoint)
    source = varied(part, street())
    control = np.array([Control.EXTERNAL, Control.EXTERNAL, Control.REPLAY, Control.IDM], np.uint8)
    mixed = replace(source, id="mixed", world=replace(source.world, agents=replace(source.world.agents, control=control)))
    moved, other = rolled(part, [source, mixed], [3, 4])
    span, agents = slice(NOW + 1, NOW + 21), mixed.world.agents
    np.testing.assert_array_equal(other.world.agents.pose[2, span], agents.pose[2, span])
    assert np.abs(other.world.agents.pose[:2, span] - agents.pose[:2, span]).max(axis=(1, 2)).min() > 1e-3
    assert np.abs(other.world.agents.pose[3, span] - agents.pose[3, span]).max() > 1e-3
    assert (np.hypot(*np.diff(other.world.agents.pose[:, NOW : NOW + 21, :2], axis=1).T) < 2.0).all()  # nobody jumps
    (alone,) = rolled(part, [source], [3])
    assert not difference(alone.world.agents.pose, moved.world.agents.pose, 1e-3)
    simulator = ClosedLoop(ClosedLoopConfig()).with_reactors({LINK: part})
    (record,) = rolled(part, [mixed], [4])
    (again,) = simulator.branch([mixed], [record], [NOW + 10], POLICY, [4])
    np.testing.assert_array_equal(again.world.agents.pose, record.world.agents.pose)  # bit for bit


def test_intents_are_aims_in_closed_loop_alone_and_are_kept_on_disk(checkpoint: Path, tmp_path: Path) -> None:
    for closed in (True, False):
        part = reacting(checkpoint, closed_loop=closed, ego=True, attack={"intents": ["jaywalk"]})
        source = varied(part, street())
        assert ("a1" in {aim.agent for aim in source.world.aims}) == closed
        source.world.validate()
        write_block(tmp_path / "scene.safetensors", [source], {})
        assert read_block(tmp_path / "scene.safetensors", Scene, World)[0][0].world.aims == source.world.aims


def test_near_begins_from_the_record_and_goes_on_where_it_ends() -> None:
    world = busy()
    tokens = encode(world, NOW, SPEC)
    tokens.valid[2, SPEC.now + 4 :] = False  # its record ends after a second and a half
    found = record_on(tokens, SPEC)
    np.testing.assert_array_equal(found[tokens.valid], tokens.state[tokens.valid])
    last = tokens.state[2, SPEC.now + 3].astype(float)
    on = np.arange(1, SPEC.count - SPEC.now - 3)[:, None] * SPEC.period * last[4] * last[2:4]
    np.testing.assert_allclose(found[2, SPEC.now + 4 :, :2], last[:2] + on, atol=1e-3)


def test_a_variant_near_the_record_starts_the_denoising_from_it(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[list[bool], bool, float]] = []

    def generate(_model: object, requests: list[Request], _s: object, _g: object, shy: bool, warm: float) -> list[np.ndarray]:
        asked.append(([request.start is not None for request in requests], shy, warm))
        return [request.held[None] for request in requests]

    monkeypatch.setattr(variants, "generate", generate)
    reacting(checkpoint, near=0.3).vary(scene(street()), 1, 0)
    reacting(checkpoint).vary(scene(street()), 1, 0)
    assert (asked[0], asked[-1]) == (([True], False, 0.3), ([False], True, 0.0))  # what is rejected is tried again
