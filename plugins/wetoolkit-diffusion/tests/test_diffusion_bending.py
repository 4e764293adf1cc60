"""Who is told to be somewhere goes there, and on from there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from wetoolkit_diffusion.batch import collate
from wetoolkit_diffusion.bending import bent, path
from wetoolkit_diffusion.generate import _steered
from wetoolkit_diffusion.guidance import GuidanceConfig
from wetoolkit_diffusion.spec import TokenSpec
from wetoolkit_diffusion.testing import NOW
from wetoolkit_diffusion.tokens import encode
from wetoolkit_driving.testing import actor, straight_world

SPEC = TokenSpec()
COUNT = SPEC.future


def _straight(speed: float) -> Tensor:
    """Token states [1, 1 + F, CHANNELS] of somebody who goes on, the present first."""
    way = speed * SPEC.period * torch.arange(COUNT + 1, dtype=torch.float64)
    one = torch.ones_like(way)
    return torch.stack([way, 0 * way, one, 0 * way, speed * one], -1)[None]


def _told(*tokens: int) -> Tensor:
    told = torch.zeros(1, COUNT, dtype=torch.bool)
    told[0, list(tokens)] = True
    return told


def test_what_agrees_is_left_as_it_is() -> None:
    rows = _straight(7.0)
    found = path(rows, torch.tensor([[7.0, 0.0]]).double(), _told(6, 15), SPEC.period)
    torch.testing.assert_close(found, rows[:, 1:, :2], atol=1e-8, rtol=0.0)


def test_who_stands_gets_there_by_the_least_acceleration_and_goes_on() -> None:
    """Of all ways from standing to ``d`` in ``T`` the cubic d (3 T t^2 - t^3) / (2 T^3) has the least squared acceleration."""
    rows, token, metres = _straight(0.0), 9, 6.0
    seconds = (token + 1) * SPEC.period
    rows[0, token + 1] = torch.tensor([0.0, metres, 0.0, 1.0, 1.5 * metres / seconds])
    found = path(rows, torch.zeros(1, 2).double(), _told(token), SPEC.period)[0].numpy()
    t = SPEC.period * np.arange(1, COUNT + 1)
    due = metres * (3 * seconds * t**2 - t**3) / (2 * seconds**3)
    np.testing.assert_allclose(found[: token + 1, 1], due[: token + 1], atol=0.25)
    assert abs(found[token, 1] - metres) < 0.01
    assert np.abs(found[:, 0]).max() < 1e-9
    speeds = np.diff(found[token:, 1]) / SPEC.period
    assert (speeds > 0.9).all()  # it does not turn about


@pytest.mark.parametrize("angle", [0.7, -2.0])
def test_a_path_turns_with_its_frame(angle: float) -> None:
    turn = torch.tensor([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    rows, velocity = _straight(5.0), torch.tensor([[5.0, 0.0]]).double()
    rows[0, 8, :2] += torch.tensor([1.0, 3.0])
    turned = torch.cat([rows[..., :2] @ turn.mT, rows[..., 2:4] @ turn.mT, rows[..., 4:]], -1)
    found = path(turned, velocity @ turn.mT, _told(7), SPEC.period)
    torch.testing.assert_close(found, path(rows, velocity, _told(7), SPEC.period) @ turn.mT, atol=1e-6, rtol=0.0)


def test_who_is_told_to_leave_its_lane_is_not_put_back_and_others_are() -> None:
    tokens = encode(straight_world([actor(20, 3.5, 0, 8.0), actor(40, 3.5, 0, 8.0)]), NOW, SPEC)
    given = torch.from_numpy(tokens.valid)[None].clone()
    given[:, 1:, SPEC.now + 1 :] = False
    state, at = torch.from_numpy(tokens.state)[None].clone(), SPEC.now + 8
    state[:, 1:, SPEC.now + 1 :, 1] += 5.0  # both are off the road
    given[:, 1, at] = True
    scene = collate([tokens])
    found = _steered(state, scene, given, GuidanceConfig(), SPEC, True)
    assert (found[0, 1, at:, 1] - 5.0).abs().max() < 0.5
    assert found[0, 2, SPEC.now + 2 :, 1].abs().max() < 1.5
    one = bent(state, scene, given & (torch.arange(SPEC.count) > SPEC.now) & (torch.arange(3) == 1)[:, None], SPEC)
    assert torch.equal(one[:, 2], state[:, 2]) and torch.equal(one[:, :, : SPEC.now + 1], state[:, :, : SPEC.now + 1])
