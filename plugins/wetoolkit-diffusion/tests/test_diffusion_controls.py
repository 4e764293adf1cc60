"""Controls: who is put in or taken out, how briskly everybody goes, and what happens to contradictions and to bad scenes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError as PydanticError
from wetoolkit_diffusion.attacks import AttackConfig, choices
from wetoolkit_diffusion.behaviour import DiffusionConfig
from wetoolkit_diffusion.controls import GoalConfig, begin
from wetoolkit_diffusion.manners import MannersConfig, travelled, with_manners
from wetoolkit_diffusion.noise import SamplerConfig
from wetoolkit_diffusion.places import WHERE, Where
from wetoolkit_diffusion.populate import DensityConfig, InsertConfig, Kind, Populated, PoseConfig, insert, is_free, thicken, without
from wetoolkit_diffusion.realism import road
from wetoolkit_diffusion.settings import PRESETS
from wetoolkit_diffusion.testing import NOW, SPEC, behaviour, busy, model, without_lanes
from wetoolkit_diffusion.tokens import encode
from wetoolkit_driving.geometry import compose, relative
from wetoolkit_driving.testing import SIZES, actor, crossing_world, scene, straight_world
from wetoolkit_driving.types import AgentClass, Control, Signal, World

from wetoolkit.config import checked
from wetoolkit.errors import ConfigError, ValidationError
from wetoolkit.types import Scene

ROAD = crossing_world([actor(-30, 0, 0, 8.0), actor(60, 3.5, np.pi, 8.0)], signals=(Signal.GREEN, Signal.RED))


def put_in(world: World, config: InsertConfig, seed: int = 0) -> Populated:
    found = insert(Populated(world), NOW, config, np.random.default_rng(seed))
    assert found is not None
    return found


def seen_from_ego(world: World, row: int = -1) -> np.ndarray:
    return relative(world.ego.states[NOW, :3], world.agents.pose[row, NOW].astype(np.float64))


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("kind", ["vehicle", "bicycle", "pedestrian"])
def test_whoever_is_put_in_is_where_it_was_asked(kind: Kind, where: Where) -> None:
    if kind == "pedestrian" and where in ("adjacent", "oncoming"):
        with pytest.raises(PydanticError, match="kind and where contradict"):
            InsertConfig(kind=kind, where=where)
        return
    world = straight_world([], speed=8.0) if where == "adjacent" else ROAD
    for seed in range(3):
        found = put_in(world, InsertConfig(kind=kind, where=where), seed)
        found.world.validate()
        agents = found.world.agents
        assert len(agents) == len(world.agents) + 1
        assert agents.ids[-1] == "inserted-0"
        assert "inserted-0 put in" in found.words[0]
        np.testing.assert_allclose(agents.size[-1], SIZES[AgentClass(agents.kind[-1])], atol=1e-6)
        assert is_free(world, NOW, agents.pose[-1].astype(np.float64), tuple(agents.size[-1].tolist()))
        x, y, turn = seen_from_ego(found.world)
        if where in ("ahead", "behind"):
            assert (8.0 <= x - 1.46 <= 30.1) if where == "ahead" else (-30.1 <= x - 1.46 <= -8.0)
            assert abs(y) < 1.0 and abs(turn) < 0.1
        elif where == "adjacent":
            assert 2.5 < abs(y) < 4.5 and abs(turn) < 0.1
        elif where == "oncoming":
            assert y > 2.0 and abs(abs(turn) - np.pi) < 0.1
        elif where == "crossing":
            assert abs(abs(turn) - np.pi / 2) < 0.2
        if kind == "pedestrian" and where in ("crossing", "kerb"):
            assert road(world.map).boundary.distance(_point(agents.pose[-1, NOW])) < 1.5
        step = np.diff(agents.pose[-1, :, :2].astype(np.float64), axis=0) / 0.1
        np.testing.assert_allclose(step, agents.velocity[-1, 1:], atol=1.5)  # nothing jumps (lines have corners)


def _point(pose: np.ndarray) -> Any:
    import shapely

    return shapely.Point(pose[:2].astype(np.float64))


def test_where_there_is_no_room_nobody_is_put_in(checkpoint: Path) -> None:
    full = straight_world([actor(x, 0, 0, 5.0) for x in range(5, 45, 5)], speed=5.0)
    assert insert(Populated(full), NOW, InsertConfig(), np.random.default_rng(0)) is None
    made, rejected = behaviour(checkpoint, insert=(InsertConfig(),)).variants(scene(full), 2, 0)
    assert made == []
    assert rejected == {"impossible": 8}
    assert insert(Populated(straight_world([])), NOW, InsertConfig(where="crossing"), np.random.default_rng(0)) is None


def test_a_variant_says_who_was_put_in_and_moves_it(checkpoint: Path) -> None:
    part = behaviour(checkpoint, insert=(InsertConfig(count=2),), ego=False)
    account = part.account(scene(busy()), 2, 0)
    for varied, row in zip(account.scenes, account.rows, strict=True):
        varied.validate()
        assert varied.world.agents.ids[-2:] == ("inserted-0", "inserted-1")
        assert "inserted-1 put in, a vehicle ahead" in varied.variant
        assert "inserted-0 put in" in str(row["control"])
    again = part.account(scene(busy()), 1, 0).scenes[0].world.agents.pose
    np.testing.assert_allclose(again, account.scenes[0].world.agents.pose, atol=1e-3)


def test_a_whole_road_user_can_be_given(checkpoint: Path) -> None:
    track = tuple(PoseConfig(at=at, x=20.0 + 3.0 * at, y=0.0, heading=0.0) for at in (-2.0, 0.0, 8.0))
    source = scene(straight_world([actor(0, 3.5, 0, 8.0)]))
    (varied,) = behaviour(checkpoint, insert=(InsertConfig(track=track),)).vary(source, 1, 0)
    seconds = 0.1 * (np.arange(101) - NOW)
    np.testing.assert_allclose(varied.world.agents.pose[-1, :, 0], 20.0 + 3.0 * seconds, atol=1e-4)
    assert "as given" in varied.variant
    late = (PoseConfig(at=1.0, x=0, y=0, heading=0), PoseConfig(at=2.0, x=1, y=0, heading=0))
    with pytest.raises(ValidationError, match="not there at the present"):
        behaviour(checkpoint, insert=(InsertConfig(track=late),)).vary(scene(busy()), 1, 0)


def test_thinner_traffic_leaves_whoever_meets_the_ego() -> None:
    near, far = [actor(15, 3.5, 0, 8.0)], [actor(-50, 3.5 * (k % 2), np.pi, 5.0 + k) for k in range(5)]
    world = straight_world([*near, *far], speed=8.0)
    found = thicken(Populated(world), NOW, DensityConfig(factor=0.0, reach=80.0), (), np.random.default_rng(0))
    assert found.world.agents.ids == ("a0",)
    assert found.words == ("5 of 6 taken out, 6 asked",)
    kept = thicken(Populated(world), NOW, DensityConfig(target=3, reach=80.0), ("a5",), np.random.default_rng(0)).world
    assert len(kept.agents) == 3 and {"a0", "a5"} <= set(kept.agents.ids)
    kept.validate()


def test_denser_traffic_is_clear_of_everybody() -> None:
    found = thicken(Populated(ROAD), NOW, DensityConfig(target=8, reach=60.0), (), np.random.default_rng(1))
    found.world.validate()
    agents = found.world.agents
    assert len(agents) > 4
    for row in range(2, len(agents)):
        size = tuple((agents.size[row] - 0.9).tolist())  # without the room that was left when it came
        assert is_free(without(found.world, [row]), NOW, agents.pose[row].astype(np.float64), size)
        assert np.hypot(*seen_from_ego(found.world, row)[:2]) > 10.0


def test_manners_order_how_far_everybody_goes() -> None:
    world, part = straight_world([actor(15, 3.5, 0, 6.0), actor(40, 0, 0, 5.0)]), model()
    tokens = encode(world, NOW, SPEC)
    far = {}
    for quantile in (0.0, 0.5, 1.0):
        start, rng = begin(tokens, world, SPEC, True), np.random.default_rng(0)
        hold = with_manners(start, part, tokens, MannersConfig(quantile=quantile), SamplerConfig(), rng)
        assert hold.given[1:, -1].all() and not hold.given[1:, SPEC.now + 1].any()
        far[quantile] = np.hypot(*hold.held[1:, -1, :2].T).sum()
        assert hold.words == (f"manners of {quantile:g} for 2",)
    assert far[0.0] < far[0.5] < far[1.0]
    states = np.zeros((2, 1, 4, 5))
    states[1, 0, :, 0] = [0.0, 1.0, 3.0, 2.0]
    np.testing.assert_allclose(travelled(states, 1), [[0.0], [3.0]])


def test_who_fails_to_yield_comes_along_its_lane() -> None:
    asked = AttackConfig(intents=("fail-to-yield",))
    for x, found in ((41.75, True), (-60.0, False)):  # on the lane that crosses the ego's, and on no lane that does
        heading, y = (np.pi / 2, -26.0) if found else (0.0, 0.0)
        world = crossing_world([actor(x, y, heading, 6.0)], signals=(Signal.GREEN, Signal.RED))
        tokens = encode(world, NOW, SPEC)
        options = choices(begin(tokens, world, SPEC, True), tokens, SPEC, asked)
        assert bool(options) == found
        for option in options:
            place = compose(tokens.frame[option.row], np.array([*option.state[:2], 0.0]))
            assert abs(place[0] - 41.75) < 0.5
            assert abs(place[1]) < 3.0


def test_who_attacks_can_be_named_and_replays_where_the_others_react(checkpoint: Path) -> None:
    world = straight_world([actor(25, 0, 0, 10.0), actor(25, 3.5, 0, 10.0)])
    for how, due in (("replays", Control.REPLAY), ("reacts", Control.EXTERNAL)):
        attack = AttackConfig(agent="a0", intents=("hard-brake",), closed_loop=how)
        account = behaviour(checkpoint, attack=attack, closed_loop=True).account(scene(world), 1, 0)
        assert account.rows[0]["who"] == "a0"
        assert account.scenes[0].world.agents.control.tolist() == [due, Control.EXTERNAL]


def test_the_others_can_do_as_recorded(checkpoint: Path) -> None:
    world = straight_world([actor(25, 0, 0, 10.0), actor(45, 3.5, 0, 10.0), actor(30, 0, 0, 3.0, seen=(40, 100))])
    attack = AttackConfig(agent="a0", intents=("hard-brake",))
    part = behaviour(checkpoint, attack=attack, others="recorded", insert=(InsertConfig(where="behind"),))
    (varied,) = part.vary(scene(world), 1, 0)
    moved = np.abs(varied.world.agents.pose[:3] - world.agents.pose).max((1, 2)) > 1e-6
    assert moved.tolist() == [True, False, False]
    assert "1 others as recorded" in varied.variant and "2 moved" in varied.variant  # who attacks and who was put in


@pytest.mark.parametrize(
    ("settings", "one", "other"),
    [
        ({"manners": {}, "copy_goals": {}}, "manners", "copy_goals"),
        ({"manners": {}, "others": "recorded"}, "manners", 'others = "recorded"'),
        ({"attack": {}, "ego": False}, "attack", "ego = false"),
        ({"density": {"factor": 1.0, "target": 3}}, "density.factor", "density.target"),
        ({"density": {}}, "density.factor", "density.target"),
    ],
)
def test_contradictory_settings_name_both(settings: dict[str, Any], one: str, other: str) -> None:
    with pytest.raises(PydanticError, match=f"{one} and {other} contradict"):
        DiffusionConfig.model_validate(settings)


def test_a_contradiction_is_told_in_its_own_words() -> None:
    with pytest.raises(ConfigError) as caught:
        checked(DiffusionConfig, {"manners": {}, "copy_goals": {}})
    assert str(caught.value).startswith("manners and copy_goals contradict each other: leave one of them out\n")
    assert "Value error" not in str(caught.value) and "quantile" not in str(caught.value)


def test_contradictions_in_a_scene_name_both(checkpoint: Path) -> None:
    goals = (GoalConfig(agent="a0", x=10, y=0), GoalConfig(agent="a0", x=20, y=0))
    with pytest.raises(ValidationError) as caught:
        behaviour(checkpoint, goals=goals).vary(scene(busy()), 1, 0)
    assert "a0 at (10.0, 0.0)" in str(caught.value) and "a0 at (20.0, 0.0)" in str(caught.value)
    both = {"goals": goals[:1], "attack": AttackConfig(agent="a0")}
    with pytest.raises(ValidationError) as caught:
        behaviour(checkpoint, **both).vary(scene(busy()), 1, 0)
    assert "a0 at (10.0, 0.0)" in str(caught.value) and "the attack" in str(caught.value)
    with pytest.raises(ValidationError, match="no road user 'nobody'"):
        behaviour(checkpoint, attack=AttackConfig(agent="nobody")).vary(scene(busy()), 1, 0)


def test_every_named_control_is_a_setting() -> None:
    assert {"intent-attack", "jaywalk", "dense", "timid", "copy"} <= set(PRESETS)
    for settings in PRESETS.values():
        DiffusionConfig.model_validate(settings)


def _crowd(count: int) -> World:
    return straight_world([actor(3.0 * i - 300, 3.5 * (i % 2), 0, 2.0) for i in range(count)])


BAD: dict[str, tuple[World, Sequence[str]]] = {
    "without lanes": (without_lanes(straight_world([actor(20, 0, 0, 3.0)])), ("1 moved",)),
    "without anybody": (straight_world([]), ("0 moved",)),
    "with one": (straight_world([actor(20, 0, 0, 3.0)]), ("1 moved", "0 beyond the model")),
    "with 200": (_crowd(200), ("31 moved", "169 beyond the model")),
    "who come late": (straight_world([actor(20, 0, 0, 3.0), actor(30, 0, 0, 3.0, seen=(40, 100))]), ("1 moved",)),
}


CASES = [(name, control) for name in BAD for control in ("resampled", "intent-attack", "put-in", "dense", "sparse", "aggressive")]


@pytest.mark.parametrize(("name", "control"), [case for case in CASES if case != ("with 200", "dense")])  # that one is slow
def test_bad_scenes_have_a_defined_outcome(checkpoint: Path, name: str, control: str) -> None:
    world, said = BAD[name]
    source: Scene[World] = scene(world)
    account = behaviour(
        checkpoint, **DiffusionConfig.model_validate(PRESETS[control]).model_dump(include=set(PRESETS[control]))
    ).account(source, 1, 0)
    assert len(account.scenes) + account.rejected.get("impossible", 0) // 4 == 1
    for varied in account.scenes:
        varied.validate()
        assert np.isfinite(varied.world.agents.pose).all()
    if control == "resampled":
        assert all(words in account.scenes[0].variant for words in said)
