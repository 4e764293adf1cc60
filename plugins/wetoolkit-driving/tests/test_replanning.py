"""A behaviour that plans on from what it had in mind: what it is told, and that a record brings it back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from wetoolkit_driving.policies import ConstantVelocity, ConstantVelocityConfig
from wetoolkit_driving.simulator import ClosedLoop, ClosedLoopConfig
from wetoolkit_driving.testing import actor, scene, straight_world
from wetoolkit_driving.traffic.reaction import Standing, SupportsReplanning
from wetoolkit_driving.types import Aim, Control, World

from wetoolkit.errors import ValidationError
from wetoolkit.kinds import SupportsReaction
from wetoolkit.testing.compare import difference
from wetoolkit.types import Clock, Lineage, Reaction, Scene, Step

NOW = 20
LINK = Step("behaviour/wander", "somebody 1.0", "abc")
POLICY = ConstantVelocity(ConstantVelocityConfig())


@dataclass
class Wander:
    """Everybody keeps the plan that stands, moved aside by a draw at each asking; without one it stands still."""

    steps: int = 40
    told: list[tuple[int, list[str], Standing]] = field(default_factory=list)

    def react(self, worlds: Sequence[World], clocks: Sequence[Clock], seeds: Sequence[int]) -> Sequence[Reaction]:
        return self.replan(worlds, clocks, seeds, [Standing(None, ())] * len(worlds))

    def replan(
        self, worlds: Sequence[World], clocks: Sequence[Clock], seeds: Sequence[int], standing: Sequence[Standing]
    ) -> Sequence[Reaction]:
        assert not any(world.aims for world in worlds)  # they are told apart from the world
        found = []
        for world, clock, seed, mind in zip(worlds, clocks, seeds, standing, strict=True):
            self.told.append((clock.now, list(world.agents.ids), mind))
            states = np.repeat(world.agents.pose[:, clock.now, None].astype(float), self.steps, 1)
            if mind.plan is not None:
                assert len(mind.plan.states) == len(world.agents)
                count = min(self.steps, mind.plan.states.shape[1])
                known = mind.plan.valid[:, :count, None]
                states[:, :count] = np.where(known, mind.plan.states[:, :count], states[:, :count])
            states[..., 1] += 0.01 * np.random.default_rng(seed).normal()
            found.append(Reaction(states, np.ones(states.shape[:2], bool)))
        return found


def world() -> World:
    guests = [actor(60, 3.5, 0, 8.0, control=Control.EXTERNAL), actor(40, -3.5, 0, 6.0, control=Control.EXTERNAL)]
    others = [actor(20, 3.5, 0, 8.0, control=Control.IDM), actor(30, 10.5, 0, 4.0, seen=(42, 100), control=Control.EXTERNAL)]
    found = straight_world([others[1], guests[0], others[0], guests[1]], speed=5.0)  # the late one first: rows shift when it comes
    near, far = (Aim(found.agents.ids[1], at, 100.0, 3.5, 0.0, 8.0) for at in (NOW * 0.1 + 1.0, NOW * 0.1 + 30.0))
    return replace(found, aims=(near, far, Aim(found.agents.ids[2], 9.0, 0.0, 0.0, 0.0, 1.0)))


def made(name: str = "test/0") -> Scene[World]:
    return replace(scene(world(), name=name), lineage=Lineage("testing", "log0", name, (replace(LINK, seed=7),)))


def loop(reactor: Wander) -> ClosedLoop:
    return ClosedLoop(ClosedLoopConfig(horizon=3.0)).with_reactors({LINK: reactor})


def test_at_first_the_plan_is_what_the_scene_holds_of_its_guests_and_of_nobody_else() -> None:
    reactor, source = Wander(), made()
    assert isinstance(reactor, SupportsReplanning)
    assert isinstance(reactor, SupportsReaction)
    loop(reactor).rollout([source], POLICY, [3])
    now, ids, mind = reactor.told[0]
    assert now == NOW
    assert mind.plan is not None
    agents = source.world.agents
    for row, name in enumerate(ids):
        a = agents.ids.index(name)
        guest = agents.control[a] == Control.EXTERNAL
        assert mind.plan.valid[row].all() == guest
        if guest:
            np.testing.assert_allclose(mind.plan.states[row], agents.pose[a, NOW + 1 :], atol=1e-6)
        else:
            assert not mind.plan.states[row].any()


def test_then_it_is_the_last_answer_cut_to_what_is_left_whoever_came_between() -> None:
    reactor = Wander()
    (rollout,) = loop(reactor).rollout([made()], POLICY, [3])
    assert len(reactor.told[0][1]) == 3
    assert len(reactor.told[-1][1]) == 4
    for (before, _, _), (now, ids, mind) in zip(reactor.told, reactor.told[1:], strict=False):
        assert mind.plan is not None
        assert now == before + 5
        assert mind.plan.states.shape[1] == reactor.steps - 5
        late = ids.index("a0") if "a0" in ids else None
        if late is not None and not rollout.world.agents.valid[0, before]:
            assert not mind.plan.valid[late].any()  # it was not there to be planned for
    gone = rollout.world.agents.pose[1, NOW:].astype(float)
    assert np.abs(np.diff(gone[:, 1])).max() < 0.1  # the plans of an asking go on from those of the last
    np.testing.assert_allclose(np.diff(gone[:30, 0]), 0.8, atol=1e-4)


def test_aims_are_told_until_their_time_has_come_and_those_of_guests_alone() -> None:
    reactor = Wander()
    loop(reactor).rollout([made()], POLICY, [3])
    counts = {now: [aim.at for aim in mind.aims] for now, _, mind in reactor.told}
    assert counts[NOW] == [NOW * 0.1 + 1.0, NOW * 0.1 + 30.0]
    assert counts[NOW + 5] == counts[NOW]
    assert counts[NOW + 10] == [NOW * 0.1 + 30.0]


def test_a_batch_equals_its_singles_and_a_record_is_taken_up_bit_for_bit() -> None:
    scenes = [made(f"test/{i}") for i in range(3)]
    together = loop(Wander()).rollout(scenes, POLICY, [1, 2, 3])
    for i, one in enumerate(scenes):
        (alone,) = loop(Wander()).rollout([one], POLICY, [i + 1])
        assert not difference(alone, together[i])
    for step in (NOW + 10, NOW + 12):
        (same,) = loop(Wander()).branch(scenes[:1], together[:1], [step], POLICY, [1])
        span = slice(0, step + 1)
        np.testing.assert_array_equal(same.world.agents.pose[:, span], together[0].world.agents.pose[:, span])
    (again,) = loop(Wander()).branch(scenes[:1], together[:1], [NOW + 10], POLICY, [1])
    assert not difference(again.world.agents, together[0].world.agents)


@pytest.mark.parametrize(
    ("aim", "said"),
    [(Aim("nobody", 3.0, 0.0, 0.0, 0.0, 1.0), "no agent 'nobody'"), (Aim("a0", -1.0, 0.0, 0.0, 0.0, 1.0), "a negative time"),
     (Aim("a0", 3.0, np.nan, 0.0, 0.0, 1.0), "aims")],
)  # fmt: skip
def test_an_aim_that_cannot_be_meant_is_refused(aim: Aim, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        replace(world(), aims=(aim,)).validate()
