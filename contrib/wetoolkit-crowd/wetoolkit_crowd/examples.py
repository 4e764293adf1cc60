"""The crowd's examples: four small worlds for `wetool plugins check` and for tests, and worlds made by hand for both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from wetoolkit.testing.examples import Examples
from wetoolkit.types import Clock, Lineage, ObservationSpec, Scenario, Scene
from wetoolkit_crowd.domain import Crowd
from wetoolkit_crowd.plaza import Plaza, PlazaConfig
from wetoolkit_crowd.reward import CrowdReward, CrowdRewardConfig
from wetoolkit_crowd.straight import CrowdStraight, CrowdStraightConfig
from wetoolkit_crowd.types import DT, NO_WALLS, VX, Body, Control, Double, People, Robot, World, nobody
from wetoolkit_crowd.vocabulary import CrowdVocabulary, CrowdVocabularyConfig

HOLONOMIC = Body()
SMALL = PlazaConfig(train=3, field=6, val=1, val_rare=2, test=2, test_rare=4)


class CrowdExamples(Examples[World]):
    """One ordinary window of the plaza and one of each event; a policy that goes straight on; the crowd's own reward."""

    def domain(self) -> Crowd:
        return Crowd()

    def scenarios(self) -> list[Scenario[World]]:
        dataset = Plaza(SMALL)
        return [dataset.load(ref) for ref in [*dataset.index("test")[:1], *dataset.index("test-rare")]]

    def spec(self) -> ObservationSpec:
        return ObservationSpec(history=6, fields=("robot", "people", "walls"), limits={"people": 5, "walls": 3}, world=True)

    def members(self, world: World) -> Sequence[str]:
        return world.people.ids

    def another_future(self, world: World, step: int) -> World:
        people, robot, after = world.people, world.robot, slice(step + 1, None)
        position, velocity, valid = people.position.copy(), people.velocity.copy(), people.valid.copy()
        position[:, after], velocity[:, after], valid[:, after] = 9.0, -3.0, ~valid[:, after]
        states, known = robot.states.copy(), robot.valid.copy()
        states[after], known[after] = 7.0, False
        others = replace(people, position=position, velocity=velocity, valid=valid, goal=-people.goal, heed=1 - people.heed)
        return replace(world, robot=replace(robot, states=states, valid=known), people=others)

    def another_drive(self, world: World, step: int) -> World:
        states = world.robot.states.copy()
        states[step + 1 :, :2] += 2.0
        return replace(world, robot=replace(world.robot, states=states))

    def policy(self) -> CrowdStraight:
        return CrowdStraight(CrowdStraightConfig())

    def learner(self) -> CrowdVocabulary:
        """A small policy that was prepared on a few ordinary windows; nothing is learned yet."""
        first = CrowdVocabularyConfig()
        sizes = first.vocabulary.model_copy(update={"size": 12})
        policy = CrowdVocabulary(first.model_copy(update={"vocabulary": sizes, "width": 16, "heads": 2, "dropout": 0.0}))
        return policy.prepare(Windows("train").demonstrations(policy), seed=0)

    def reward(self) -> CrowdReward:
        return CrowdReward(CrowdRewardConfig())


class Windows(CrowdExamples):
    """All windows of a split of the small plaza."""

    def __init__(self, split: str) -> None:
        self.split = split

    def scenarios(self) -> list[Scenario[World]]:
        dataset = Plaza(SMALL)
        return [dataset.load(ref) for ref in dataset.index(self.split)]


def walker(start: Sequence[float], velocity: Sequence[float], steps: int = 40) -> Double:
    """Positions [T, 2] of somebody who walks at one velocity, at ``start`` at step 0."""
    return np.asarray(start, np.float64) + DT * np.arange(steps)[:, None] * np.asarray(velocity, np.float64)


def world(
    *tracks: Double, speed: float = 1.0, goal: Sequence[float] = (20.0, 0.0), walls: Double = NO_WALLS,
    control: Control = Control.REPLAY, body: Body = HOLONOMIC, radius: float = 0.25, heed: float = 1.0,
) -> World:  # fmt: skip
    """A robot that was driven along x at one speed, among people who went along ``tracks`` [T, 2] each."""
    steps, count = len(tracks[0]) if tracks else 40, len(tracks)
    states = np.zeros((steps, 6))
    states[:, 0], states[:, VX] = speed * DT * np.arange(steps), speed
    people = nobody(steps)
    if tracks:
        position = np.array(tracks, np.float64)
        velocity = np.gradient(position, DT, axis=1)
        people = People(
            tuple(f"p{i}" for i in range(count)), position, velocity, np.ones((count, steps), np.bool_), np.full(count, radius),
            np.full(count, control, np.uint8), position[:, -1], np.hypot(velocity[..., 0], velocity[..., 1]).mean(1),
            np.full(count, heed), np.zeros(count, np.int64),
        )  # fmt: skip
    return World(Robot(states, np.ones(steps, np.bool_), np.asarray(goal, np.float64), body), people, walls)


def scenario(of: World, now: int = 0, name: str = "made") -> Scenario[World]:
    """A Scenario of a world."""
    return Scenario(name, "crowd", "test", "log", Clock(DT, now, of.steps), (0.0, 0.0, 0.0), Lineage("made", "log", name), of)


def scene(of: World, now: int = 0, name: str = "made") -> Scene[World]:
    """A Scene of a world, its clock at ``now``."""
    from wetoolkit_crowd.scenes import CrowdReplay, CrowdReplayConfig

    return CrowdReplay(CrowdReplayConfig()).reconstruct(scenario(of, now, name), None, 0)


def write_recordings(folder: Path) -> Path:
    """Three small recordings in the text format of ETH and UCY, zara01 and zara02 with 4 columns, eth with 8; the folder."""
    rng = np.random.default_rng(0)
    for name in ("zara01", "zara02", "eth"):
        rows = []
        for person in range(6):
            first, at, velocity = int(rng.integers(20)), rng.uniform(0, 10, 2), rng.uniform(-1.4, 1.4, 2)
            rows += [(first + k, person, *(at + 0.4 * k * velocity)) for k in range(30)]
        wide = name == "eth"
        lines = [
            f"{6 * f + 780}e0 {p}.0 {x} 0 {y} 0 0 0" if wide else f"{10 * f}\t{p}\t{x:.3f}\t{y:.3f}" for f, p, x, y in sorted(rows)
        ]
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return folder


__all__ = ["SMALL", "CrowdExamples", "Windows", "scenario", "scene", "walker", "world", "write_recordings"]
