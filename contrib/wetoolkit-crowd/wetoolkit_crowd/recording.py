"""Synthetic recordings: a cast walks by social forces, the robot among them is led by the same forces as a careful person."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from wetoolkit_crowd.bodies import follow
from wetoolkit_crowd.forces import Walkers, notice, step, waiting
from wetoolkit_crowd.staging import PACE, Cast
from wetoolkit_crowd.types import DT, HEADING, VX, VY, Body, Control, Double, People, Robot, World


def record(cast: Cast, body: Body, steps: int, radius: Double) -> World:
    """The world of ``steps`` steps that a cast and its robot walk through; people have ``radius`` [A] metres.

    The robot starts at the origin at its pace along its first leg. What the forces want of it, its body follows as well as it can.
    The world's goal is that of the last leg; ``cut`` puts in the one of its present.
    """
    count = len(cast.start)
    position, velocity = np.zeros((count, steps, 2)), np.zeros((count, steps, 2))
    states = np.zeros((steps, 6))
    first = goal_at(cast, 0)
    states[0, HEADING], states[0, VX : VY + 1] = np.arctan2(first[1], first[0]), PACE * first / np.hypot(*first)
    position[:, 0], velocity[:, 0] = cast.start, _setting_off(cast)
    weight = notice(count, cast.heed)
    for t in range(steps - 1):
        walkers = Walkers(
            np.concatenate([position[:, t], states[t, None, :2]]), np.concatenate([velocity[:, t], states[t, None, VX : VY + 1]]),
            np.append(radius, body.radius), np.concatenate([cast.goal, goal_at(cast, t)[None]]),
            np.append(waiting(cast.speed, cast.wait, t), PACE),
        )  # fmt: skip
        to, speed = step(walkers, weight, cast.walls)
        position[:, t + 1], velocity[:, t + 1] = to[:-1], speed[:-1]
        heading = np.arctan2(speed[-1, 1], speed[-1, 0]) if np.hypot(*speed[-1]) > 0.1 else states[t, HEADING]
        states[t + 1] = follow(body, states[t], np.array([[[*to[-1], heading]]]))[0, 0]
    people = People(
        tuple(f"person-{i}" for i in range(count)), position, velocity, np.ones((count, steps), np.bool_), radius,
        np.full(count, Control.SOCIAL, np.uint8), cast.goal, cast.speed, cast.heed, cast.wait,
    )  # fmt: skip
    return World(Robot(states, np.ones(steps, np.bool_), goal_at(cast, steps), body), people, cast.walls, DT)


def goal_at(cast: Cast, step: int) -> Double:
    """Where the robot of a cast is bound at a step [2]."""
    return np.asarray(cast.legs[np.searchsorted(cast.begins, step, side="right") - 1])


def cut(world: World, first: int, steps: int, now: int, goal: Double) -> tuple[World, tuple[float, float, float]]:
    """``steps`` steps of a world from ``first`` on, with the robot bound for ``goal`` [2], and their origin.

    The origin is where the robot is at step ``now`` of them, to the metre. People who are not there in them are left out.
    """
    span, people, robot = slice(first, first + steps), world.people, world.robot
    origin = np.rint(robot.states[first + now, :2])
    states, known = robot.states[span].copy(), robot.valid[span].copy()
    states[:, :2] -= origin
    states[~known] = 0.0
    there = np.asarray(people.valid[:, span].any(1))
    valid = people.valid[there, span]
    kept = replace(
        people, ids=tuple(name for name, keep in zip(people.ids, there, strict=True) if keep),
        position=np.where(valid[..., None], people.position[there, span] - origin, 0.0),
        velocity=people.velocity[there, span].copy(), valid=valid.copy(), radius=people.radius[there],
        control=people.control[there], goal=people.goal[there] - origin,
        speed=people.speed[there], heed=people.heed[there], wait=np.maximum(people.wait[there] - first, 0),
    )  # fmt: skip
    moved = replace(robot, states=states, valid=known, goal=goal - origin)
    return replace(world, robot=moved, people=kept, walls=world.walls - origin), (float(origin[0]), float(origin[1]), 0.0)


def _setting_off(cast: Cast) -> Double:
    """Velocities [A, 2] at step 0: those who walk are under way."""
    away = cast.goal - cast.start
    length = np.maximum(np.hypot(away[:, 0], away[:, 1]), 1e-9)
    return np.asarray(away * (np.where(cast.wait > 0, 0.0, cast.speed) / length)[:, None])


__all__ = ["cut", "goal_at", "record"]
