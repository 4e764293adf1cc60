"""Guidance: it goes no farther than it may, keeps who drives on the road, and lets nobody run into somebody."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from wetoolkit_diffusion.batch import collate
from wetoolkit_diffusion.guidance import GuidanceConfig, cost, guided, rerouted
from wetoolkit_diffusion.realism import collisions, off_road, road
from wetoolkit_diffusion.rules import ran_red
from wetoolkit_diffusion.spec import TokenSpec
from wetoolkit_diffusion.testing import NOW
from wetoolkit_diffusion.tokens import Tokens, encode, poses
from wetoolkit_diffusion.yielding import Lights, retimed, spread
from wetoolkit_driving.testing import actor, crossing_world, straight_world
from wetoolkit_driving.types import AgentClass, Signal, World

SPEC = TokenSpec()
DESCENT = GuidanceConfig(smooth=0.0, steps=6, back=0.0, wait=False)


def _state(world: World) -> tuple[Tokens, dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
    tokens = encode(world, NOW, SPEC)
    free = torch.zeros(1, len(tokens), SPEC.count, dtype=torch.bool)
    free[:, 1:, SPEC.now + 1 :] = True
    return tokens, collate([tokens]), torch.from_numpy(tokens.state)[None], free


def test_descent_lowers_costs_within_its_trust_region() -> None:
    _, batch, state, free = _state(straight_world([actor(12, 0.5, 0, 9.0), actor(20, 3.5, 0, 4.0), actor(28, 3.2, 0, 2.0)]))
    found = guided(state, batch, free, DESCENT, SPEC, ego=True)
    before, after = (float(cost(s[..., :2], s, batch, free, DESCENT, 0.5, True)[0]) for s in (state, found))
    assert after < 0.85 * before
    moved = (found - state)[..., :2].norm(dim=-1)
    assert moved.max() <= DESCENT.trust + 1e-4
    assert not moved[~free].any()
    assert torch.equal(found[..., 2:], state[..., 2:])


def test_who_drives_is_put_back_to_the_nearest_way_and_who_walks_is_not() -> None:
    world = crossing_world([actor(5, 0, 0, 5.0), actor(20, -9, np.pi / 2, 1.0, AgentClass.PEDESTRIAN)])
    tokens, batch, state, _ = _state(world)
    wide = state.clone()
    wide[..., 1] += 0.02 * wide[..., 0].clamp(min=0.0) ** 2  # a turn to the left that misses the lane
    found = rerouted(wide[..., :2], batch, GuidanceConfig(back=99.0))
    pose = np.concatenate([found[0].numpy(), np.zeros((*found.shape[1:3], 1))], -1)
    in_world = poses(
        np.concatenate(
            [
                pose[..., :2],
                np.ones_like(pose),
            ],
            -1,
        )[..., :5],
        tokens.frame,
    )[:, SPEC.now + 1 :]
    row = tokens.rows.tolist().index(0)
    assert off_road(road(world.map), poses(wide[0].numpy(), tokens.frame)[None, :, 3:], tokens.frame, tokens.frame[0, :2], 1)[
        0, row
    ]
    assert not off_road(road(world.map), in_world[None], tokens.frame, tokens.frame[0, :2], 1)[0, row]
    walker = tokens.kind == AgentClass.PEDESTRIAN
    assert torch.equal(found[0, walker], wide[0, walker, :, :2])
    near = rerouted(wide[..., :2], batch, GuidanceConfig(back=0.5))
    assert (near - wide[..., :2]).norm(dim=-1).max() <= 0.5 + 1e-4


def _paths(*tracks: tuple[float, float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Straight paths [1, A, 17, 2] of bodies (x, y, heading, speed) at tokens of 0.5 s, and their headings [1, A]."""
    x, y, heading, speed = np.array(tracks).T
    way = speed[:, None] * 0.5 * np.arange(17)
    path = np.stack([x[:, None] + way * np.cos(heading)[:, None], y[:, None] + way * np.sin(heading)[:, None]], -1)
    return path[None], heading[None]


def _cars(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.tile([4.6, 1.9], (1, count, 1)).astype(np.float32), np.zeros((1, count), bool), np.ones((1, count), bool)


SCENES = {
    "a queue": ((0, 0, 0, 9.0), (20, 0, 0, 5.0), (40, 0, 0, 0.0)),
    "a crossing": ((-40, 0, 0, 10.0), (0, -30, np.pi / 2, 7.0)),
    "a merge": ((0, 0, 0, 9.0), (2, -12, 0.35, 8.0)),
}


@pytest.mark.parametrize("name", SCENES)
def test_nobody_runs_into_whoever_is_there_first(name: str) -> None:
    path, heading = _paths(*SCENES[name])
    count = path.shape[1]
    size, none, all_ = _cars(count)
    found = retimed(path, heading, size, none, all_, 0.5)

    def hits(places: np.ndarray) -> np.ndarray:
        pose = np.concatenate([places, np.broadcast_to(heading[..., None, None], (*places.shape[:3], 1))], -1)
        return collisions(pose, pose[0, :, 0], size[0], 1)

    assert hits(path).any()
    assert not hits(np.concatenate([path[:, :, :1], found], 2)).any()
    gone = np.hypot(*np.moveaxis(found - path[:, :, :1], -1, 0))  # [1, A, 16]
    assert (np.diff(gone, axis=2) > -1e-9).all()  # nobody goes back
    assert (gone <= np.hypot(*np.moveaxis(path[:, :, 1:] - path[:, :, :1], -1, 0)) + 1e-9).all()  # nobody hurries
    side = found - path[:, :, :1]
    np.testing.assert_allclose(side[..., 0] * np.sin(heading[..., None]), side[..., 1] * np.cos(heading[..., None]), atol=1e-6)
    kept = retimed(path, heading, size, none, none, 0.5)
    np.testing.assert_array_equal(kept, path[:, :, 1:])  # who may not be delayed is not


def test_who_meets_nobody_is_left_alone() -> None:
    path, heading = _paths((0, 0, 0, 9.0), (0, 3.5, 0, 5.0), (30, 7.0, np.pi, 6.0))
    np.testing.assert_array_equal(retimed(path, heading, *_cars(3), 0.5), path[:, :, 1:])


def test_who_drives_waits_for_who_walks() -> None:
    path, heading = _paths((-40, 0, 0, 10.0), (0, -6, np.pi / 2, 1.4))
    size, walks, moves = _cars(2)
    size[0, 1], walks[0, 1] = 0.6, True
    found = retimed(path, heading, size, walks, moves, 0.5)
    np.testing.assert_array_equal(found[0, 1], path[0, 1, 1:])
    assert found[0, 0, 8, 0] < -2.5  # 4 s: the walker is in its way


def test_delays_are_spread_without_a_jolt_and_are_as_long_as_needed() -> None:
    arc = 10.0 * 0.125 * np.arange(65)[None]
    room = np.minimum(arc, 40.0)  # a wall after 4 s
    found = spread(arc, room, 0.125)
    assert (found <= room + 1e-9).all()
    assert found[0, -1] > 36.0
    late = arc - found
    braking = np.diff(late, 2, axis=1) / 0.125**2
    assert np.abs(braking).max() < 9.0
    assert late[0, 16] > 0.3  # it brakes before it must


RED, GREEN = Signal.RED, Signal.GREEN


@pytest.mark.parametrize(("signal", "waits"), [(RED, True), (GREEN, False)])
def test_who_is_free_waits_at_a_red_light(signal: Signal, waits: bool) -> None:
    world = crossing_world([actor(5, 0, 0, 8.0)], signals=(signal, signal))
    tokens, batch, state, free = _state(world)
    row = tokens.rows.tolist().index(0)
    found = guided(state, batch, free, GuidanceConfig(), SPEC, ego=False)
    pose = poses(found[0].numpy(), tokens.frame)[None, :, SPEC.now + 1 :]
    before = poses(state[0].numpy(), tokens.frame)[None, :, SPEC.now + 1 :]
    assert ran(world, before, tokens.frame)[0, row] == waits
    assert not ran(world, pose, tokens.frame)[0, row]
    assert waits == (not np.allclose(pose[0, row, :, :2], before[0, row, :, :2], atol=0.1))
    told = free.clone()
    told[0, row, SPEC.now + 9] = False  # a control tells it where to be then: no light binds it
    kept = guided(state, batch, told, GuidanceConfig(), SPEC, ego=False)
    torch.testing.assert_close(kept[0, row, :, :2], state[0, row, :, :2], atol=0.1, rtol=0.0)


def ran(world: World, pose: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Who runs a light in poses [1, A, F, 3] of tokens: what lies between them is filled in straight."""
    track = np.concatenate([frame[None, :, None], pose], 2)
    at = np.arange(1, 81) / 5.0
    fine = np.stack([np.stack([np.interp(at, np.arange(17), line[:, c]) for c in range(3)], -1) for line in track[0]])
    return ran_red(world, NOW, fine[None], frame)


def test_who_waits_at_a_light_that_turns_green_goes_on_then_and_queues_till_then() -> None:
    path, heading = _paths((-30, 0, 0, 8.0), (-42, 0, 0, 8.0))
    size, none, all_ = _cars(2)
    times = np.arange(65)
    lights = Lights(np.array([[[0.0, 0.0, 1.0, 0.0]]]), (times < 48)[None, None], all_)  # 6 s
    for _ in range(3):  # as each step of the sampler does: the queue follows the leader's way off as it has become
        found = retimed(path, heading, size, none, all_, 0.5, lights)
        path = np.concatenate([path[:, :, :1], found], 2)
    assert found[0, 0, 10, 0] <= -2.3 - 0.3  # the front before the line
    assert found[0, 0, 15, 0] > 1.0
    assert (found[0, 0, :, 0] - found[0, 1, :, 0] > 4.6).all()
    assert (np.diff(found[0, :, :, 0]) > -1e-9).all()
