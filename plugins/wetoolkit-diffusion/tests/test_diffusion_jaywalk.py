"""A jaywalker of an attack is seen by policies, in films and in the score."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from wetoolkit_diffusion.attacks import AttackConfig
from wetoolkit_diffusion.testing import NOW, behaviour
from wetoolkit_driving.canvas import FINE, KINDS, Canvas
from wetoolkit_driving.domain import Driving
from wetoolkit_driving.geometry import relative
from wetoolkit_driving.pdm.reward import PdmReward, PdmRewardConfig
from wetoolkit_driving.policies import ConstantVelocity, ConstantVelocityConfig
from wetoolkit_driving.simulator import ClosedLoop, ClosedLoopConfig
from wetoolkit_driving.testing import pedestrian_world, scene
from wetoolkit_driving.types import AgentClass, World

from wetoolkit.types import ObservationSpec, Rollout, Scene, Situation

SPEC = ObservationSpec(fields=("agents",))


@pytest.fixture(scope="module")
def varied(checkpoint: Path) -> Scene[World]:
    """Somebody who stands at the kerb in the log steps in the ego's way."""
    part = behaviour(checkpoint, attack=AttackConfig(intents=("jaywalk",)))
    (found,) = part.vary(scene(pedestrian_world(start=-6.0, pace=0.0, x=40.0)), 1, 0)
    assert "jaywalk by a0" in found.variant
    return found


@pytest.fixture(scope="module")
def driven(varied: Scene[World]) -> Rollout[World]:
    """What somebody does in it who does not look."""
    policy = ConstantVelocity(ConstantVelocityConfig())
    (rollout,) = ClosedLoop(ClosedLoopConfig(horizon=6.0)).rollout([varied], policy, [0])
    return rollout


def meeting(rollout: Rollout[World]) -> int:
    """The step at which the pedestrian is nearest to the ego."""
    ego, walker = rollout.world.ego.states[:, :2], rollout.world.agents.pose[0, :, :2]
    return NOW + int(np.hypot(*(ego - walker)[NOW : rollout.end].T).argmin())


def test_the_policy_sees_the_pedestrian_step_out(driven: Rollout[World]) -> None:
    now, then = (Driving().observe([Situation("a", "log", driven.world, step)], SPEC) for step in (NOW, meeting(driven) - 10))
    for seen, step in ((now, NOW), (then, meeting(driven) - 10)):
        row = seen.arrays["agents"][0, 0, -1]
        assert seen.arrays["agents.valid"][0, 0, -1]
        assert row[8 + AgentClass.PEDESTRIAN] == 1.0
        due = relative(driven.world.ego.states[step, :3], driven.world.agents.pose[0, step].astype(np.float64))
        np.testing.assert_allclose(row[:2], due[:2], atol=1e-3)
    assert abs(now.arrays["agents"][0, 0, -1, 1]) > 5.0 > abs(then.arrays["agents"][0, 0, -1, 1])


def test_the_film_shows_the_pedestrian_in_the_egos_way(driven: Rollout[World]) -> None:
    step = meeting(driven) - 5
    picture = next(Driving().frames(replace(driven, clock=driven.clock.at(step)), None, ()))
    canvas = Canvas(driven.world.ego.states[step, :2], float(driven.world.ego.states[step, 2]))
    ((x, y),) = canvas.at(driven.world.agents.pose[0, step, None, :2].astype(np.float64))
    spot = picture[round(y / FINE) - 3 : round(y / FINE) + 4, round(x / FINE) - 3 : round(x / FINE) + 4]
    colour = np.array(KINDS[AgentClass.PEDESTRIAN])
    assert (np.abs(spot.astype(int) - colour).max(-1) <= 2).sum() >= 12  # of 49 pixels


def test_a_policy_that_does_not_look_fails_by_the_score(driven: Rollout[World]) -> None:
    reward = PdmReward(PdmRewardConfig())
    scores = reward.judge([driven])
    assert not scores.success[0]
    assert scores.terms["nc"].values[0] == 0.0
    assert scores.total[0] == 0.0
    hits = [event for event in reward.events([driven])[0] if event.kind == "collision"]
    assert [event.who for event in hits] == ["a0"] and hits[0].fails
    logged = scene(pedestrian_world(start=-6.0, pace=0.0, x=40.0))
    (unharmed,) = ClosedLoop(ClosedLoopConfig(horizon=6.0)).rollout([logged], ConstantVelocity(ConstantVelocityConfig()), [0])
    assert reward.judge([unharmed]).success[0]
