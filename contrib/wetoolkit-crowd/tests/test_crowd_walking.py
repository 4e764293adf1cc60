"""Bodies and social forces: against a second implementation, closed forms and symmetries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wetoolkit_crowd import forces
from wetoolkit_crowd.bodies import follow, to_robot, to_world
from wetoolkit_crowd.forces import Walkers, nearest_points, step
from wetoolkit_crowd.types import DT, NO_WALLS, VX, VY, Body

seeds = st.integers(0, 2**32 - 1)


def crowd(seed: int, count: int = 6) -> tuple[Walkers, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    walkers = Walkers(
        rng.uniform(-3, 3, (count, 2)), rng.uniform(-1.5, 1.5, (count, 2)), rng.uniform(0.2, 0.3, count),
        rng.uniform(-9, 9, (count, 2)), rng.choice([0.0, 1.2], count),
    )  # fmt: skip
    return walkers, rng.uniform(0, 1, (count, count)), rng.uniform(-4, 4, (2, 2, 2))


def twin(walkers: Walkers, weight: np.ndarray, walls: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The formulas of the module's text over whole arrays, without loops over pairs."""
    x, v, h = walkers.position, walkers.velocity, DT / forces.SUBSTEPS
    norm = lambda a: np.maximum(np.linalg.norm(a, axis=-1), forces.TINY)  # noqa: E731
    for _ in range(forces.SUBSTEPS):
        away = walkers.goal - x
        near = norm(away) <= forces.THERE
        force = (np.where(near, 0, walkers.speed)[:, None] * away / norm(away)[:, None] - v) / forces.RELAX
        d, y = x[:, None] - x[None], forces.AHEAD * (v[None] - v[:, None])
        far, then = norm(d), norm(d - y)
        b = np.maximum(np.sqrt(np.maximum((far + then) ** 2 - (y**2).sum(-1), 0)) / 2, forces.TINY)
        touch, speed = walkers.radius[:, None] + walkers.radius, norm(v)[:, None]
        cosine = -(d * v[:, None]).sum(-1) / (speed * far)
        sight = np.where(speed > 0.05, forces.BEHIND + (1 - forces.BEHIND) * (1 + cosine) / 2, 1)
        size = forces.PUSH * np.exp(-np.maximum(b - touch / 2, 0) / forces.REACH) * np.minimum((far + then) / (2 * b), 4) * sight
        push = (size * weight)[..., None] * (d / far[..., None] + (d - y) / then[..., None]) / 2
        push = push + (forces.CONTACT * np.maximum(touch - far, 0) / far)[..., None] * d
        force = force + (push * (1 - np.eye(len(x)))[..., None]).sum(1)
        if len(walls):
            off = x[:, None] - nearest_points(x, walls)
            gap = norm(off) - walkers.radius[:, None]
            strength = forces.WALL_PUSH * np.exp(-np.maximum(gap, 0) / forces.WALL_REACH) + forces.CONTACT * np.maximum(-gap, 0)
            force = force + ((strength / norm(off))[..., None] * off).sum(1)
        v = v + h * force
        v = v * np.minimum(1, np.maximum(forces.HURRY * walkers.speed, forces.SHOVED) / norm(v))[:, None]
        x = x + h * v
    return x, v


@given(seeds)
@settings(max_examples=50, deadline=None)
def test_the_kernel_does_what_the_formulas_say(seed: int) -> None:
    for made, due in zip(step(*crowd(seed)), twin(*crowd(seed)), strict=True):
        np.testing.assert_allclose(made, due, rtol=1e-9, atol=1e-9)


@given(seeds, st.floats(-3, 3))
@settings(max_examples=25, deadline=None)
def test_walking_turns_with_the_world(seed: int, angle: float) -> None:
    walkers, weight, walls = crowd(seed)
    c, s = np.cos(angle), np.sin(angle)
    m = np.array([[c, s], [-s, c]])
    turned = Walkers(walkers.position @ m, walkers.velocity @ m, walkers.radius, walkers.goal @ m, walkers.speed)
    np.testing.assert_allclose(step(turned, weight, walls @ m)[0], step(walkers, weight, walls)[0] @ m, atol=1e-9)


def test_alone_one_reaches_the_wanted_speed_as_the_relaxation_says() -> None:
    one = Walkers(np.zeros((1, 2)), np.zeros((1, 2)), np.array([0.3]), np.array([[99.0, 0.0]]), np.array([1.2]))
    for _ in range(20):
        position, velocity = step(one, np.ones((1, 1)), NO_WALLS)
        one = Walkers(position, velocity, one.radius, one.goal, one.speed)
    h = DT / forces.SUBSTEPS
    assert one.velocity[0, 0] == pytest.approx(1.2 * (1 - (1 - h / forces.RELAX) ** (20 * forces.SUBSTEPS)))


def test_who_heeds_nobody_is_pushed_by_contact_only() -> None:
    two = Walkers(
        np.array([[0.0, 0.0], [0.7, 0.0]]), np.zeros((2, 2)), np.full(2, 0.3), np.array([[0.0, 0.0], [0.7, 0.0]]), np.zeros(2)
    )
    assert step(two, np.zeros((2, 2)), NO_WALLS)[1].tolist() == [[0, 0], [0, 0]]
    assert step(two, np.ones((2, 2)), NO_WALLS)[1][0, 0] < 0
    close = Walkers(two.position * 0.5, two.velocity, two.radius, two.goal * 0.5, two.speed)
    assert step(close, np.zeros((2, 2)), NO_WALLS)[1][0, 0] < 0


@given(seeds, st.sampled_from(["holonomic", "unicycle"]))
@settings(max_examples=50, deadline=None)
def test_bodies_keep_their_limits(seed: int, drive: str) -> None:
    rng = np.random.default_rng(seed)
    body = Body(drive=drive)  # type: ignore[arg-type]
    state = np.array([*rng.normal(size=2), rng.uniform(-3, 3), 0, 0, 0])
    state[VX : VY + 1] = rng.uniform(0, body.speed) * np.array([np.cos(state[2]), np.sin(state[2])])
    states = follow(body, state, np.cumsum(rng.normal(size=(5, 16, 3)), axis=1))
    speed = np.hypot(states[..., VX], states[..., VY])
    assert (speed <= body.speed + 1e-9).all()
    assert (np.abs(states[..., 5]) <= body.turn + 1e-9).all()
    assert ((states[..., 2] >= -np.pi) & (states[..., 2] < np.pi)).all()
    whole = np.concatenate([np.repeat(state[None, None], 5, 0), states], 1)
    np.testing.assert_allclose(np.diff(whole[..., :2], axis=1), states[..., VX : VY + 1] * DT, atol=1e-9)
    if drive == "holonomic":
        change = np.diff(whole[..., VX : VY + 1], axis=1)
        assert (np.hypot(change[..., 0], change[..., 1]) <= body.acceleration * DT + 1e-9).all()
    else:
        side = np.cos(states[..., 2]) * states[..., VY] - np.sin(states[..., 2]) * states[..., VX]
        assert np.abs(side).max() < 1e-9  # it never slides
        assert (np.abs(np.diff(np.hypot(whole[..., VX], whole[..., VY]), axis=1)) <= body.acceleration * DT + 1e-9).all()


@pytest.mark.parametrize("drive", ["holonomic", "unicycle"])
def test_a_plan_that_can_be_driven_is_driven(drive: str) -> None:
    state = np.array([1.0, 2.0, 0.5, np.cos(0.5), np.sin(0.5), 0.0])
    plan = np.zeros((1, 16, 3))
    plan[0, :, 0] = DT * np.arange(1, 17)  # straight on at 1 m/s
    poses = to_world(state[:3], plan)
    np.testing.assert_allclose(follow(Body(drive=drive), state, poses)[..., :3], poses, atol=1e-9)  # type: ignore[arg-type]


@given(seeds)
def test_frames_are_inverse(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pose, plans = rng.uniform(-3, 3, 3), rng.uniform(-3, 3, (4, 16, 3))
    np.testing.assert_allclose(to_robot(pose, to_world(pose, plans)), plans, atol=1e-9)
