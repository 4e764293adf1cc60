"""Who is there: road users put in, and traffic made denser or thinner, before anybody's future is generated.

Whoever is put in has come along its lane (or the kerb) at a steady pace until the present and is clear of everybody all that time;
what it does next is generated like everybody's. Whoever is taken out was not about to meet the ego.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator
from wetoolkit_driving.geometry import box_corners, boxes_touch, ego_center, ego_corners, wrap_angle
from wetoolkit_driving.types import AgentClass, Bool, Control, Double, World

from wetoolkit.config import Config
from wetoolkit.types import require
from wetoolkit_diffusion.places import Place, Where, places, streets
from wetoolkit_diffusion.spec import KINDS

Kind = Literal["vehicle", "bicycle", "pedestrian"]
CLASSES = {"vehicle": AgentClass.VEHICLE, "bicycle": AgentClass.BICYCLE, "pedestrian": AgentClass.PEDESTRIAN}
SIZES = {  # metres: length, width, height of who is put in
    AgentClass.VEHICLE: (4.6, 1.9, 1.6), AgentClass.BICYCLE: (1.8, 0.7, 1.7), AgentClass.PEDESTRIAN: (0.6, 0.7, 1.7),
}  # fmt: skip
TRIES = 24  # places that are tried for one
APART = 0.5  # metres between bodies at least
CLEAR = 12.0  # metres from the ego within which density puts nobody in
PREFIX = "inserted-"  # ids of who was put in begin so


class PoseConfig(Config):
    """Where somebody is at a time."""

    at: float = Field(description="time after the present, negative before [s]")
    x: float = Field(description="in the scene's coordinates [m]")
    y: float = Field(description="in the scene's coordinates [m]")
    heading: float = Field(description="there [rad]")


class InsertConfig(Config):
    """Road users to be put in."""

    kind: Kind = Field(default="vehicle", description="class")
    where: Where = Field(default="ahead", description="place, as seen from the ego; not looked at with a ``track``")
    count: int = Field(default=1, description="so many [1]", ge=1, le=16)
    gap: tuple[float, float] = Field(default=(8.0, 30.0), description="along the way from the ego, drawn between these [m]")
    speed: float | None = Field(default=None, description="none: of its class there, of who drives the ego's own [m/s]", ge=0.0)
    size: tuple[float, float] | None = Field(default=None, description="length and width; none: usual for its class [m]")
    track: tuple[PoseConfig, ...] = Field(default=(), description="all that it does, kept exactly; none: generated")

    @model_validator(mode="after")
    def _walkers_keep_off_lanes(self) -> Self:
        """Who walks is put on no lane beside the ego's."""
        if self.kind == "pedestrian" and self.where in ("adjacent", "oncoming") and not self.track:
            raise ValueError(f"kind and where contradict each other: no pedestrian is {self.where}; say kerb or crossing")
        return self


class DensityConfig(Config):
    """How many road users there are within ``reach`` of the ego, at the present."""

    factor: float | None = Field(default=None, description="times as many as recorded [1]", ge=0.0, le=4.0)
    target: int | None = Field(default=None, description="so many [1]", ge=0, le=200)
    reach: float = Field(default=60.0, description="distance from the ego [m]", gt=0.0)
    keep: float = Field(default=15.0, description="nobody who comes so near the ego's recorded future is taken out [m]", ge=0.0)

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        """How many there are is said once."""
        if (self.factor is None) == (self.target is None):
            raise ValueError("density.factor and density.target contradict each other: give one of the two")
        return self


@dataclass(frozen=True)
class Populated:
    """A world with others in it than were recorded, and what was done to it."""

    world: World
    words: tuple[str, ...] = ()
    given: tuple[str, ...] = ()  # ids of those whose whole future is given


def insert(before: Populated, now: int, config: InsertConfig, rng: np.random.Generator) -> Populated | None:
    """The same with ``config.count`` road users more; None where there is no room for them."""
    for _ in range(config.count):
        world = before.world
        name = _free_name(world)
        placed = _tracked(world, now, config) if config.track else _placed(world, now, config, rng)
        if placed is None:
            return None
        poses, there = placed
        require(bool(there[now]), "a track that is not there at the present", "insert.track", "begin at or before 0 s")
        word = f"{name} put in, a {config.kind} {'as given' if config.track else config.where}"
        given = (*before.given, name) if config.track else before.given
        before = Populated(with_agent(world, name, CLASSES[config.kind], _size(config), poses, there), (*before.words, word), given)
    return before


def _free_name(world: World) -> str:
    taken = set(world.agents.ids)
    return next(name for i in range(len(taken) + 1) if (name := f"{PREFIX}{i}") not in taken)


def _size(config: InsertConfig) -> tuple[float, float, float]:
    usual = SIZES[CLASSES[config.kind]]
    return usual if config.size is None else (*config.size, usual[2])


def _tracked(world: World, now: int, config: InsertConfig) -> tuple[Double, Bool]:
    """Poses [T, 3] of a track that is given, straight between its points, and when it is there [T]."""
    at = np.array([pose.at for pose in config.track])
    require(len(at) > 1 and bool((np.diff(at) > 0).all()), "no two rising times", "insert.track", "give two or more")
    require(at[0] <= 0 <= at[-1], "a track that is not there at the present", "insert.track", "begin at or before 0 s")
    seconds = world.dt * (np.arange(world.steps) - now)
    turns = np.unwrap([pose.heading for pose in config.track])
    columns = [[pose.x for pose in config.track], [pose.y for pose in config.track], turns]
    poses = np.column_stack([np.interp(seconds, at, column) for column in columns])
    poses[:, 2] = wrap_angle(poses[:, 2])
    return poses, (seconds >= at[0] - 1e-6) & (seconds <= at[-1] + 1e-6)


def _placed(world: World, now: int, config: InsertConfig, rng: np.random.Generator) -> tuple[Double, Bool] | None:
    kind, size = CLASSES[config.kind], _size(config)
    require(config.gap[0] <= config.gap[1], f"gap {config.gap}", "insert.gap", "give the lesser first")
    found = places(world, now, config.where, kind, config.gap, config.speed, rng, TRIES)
    return _first_free(world, now, found, size)


def _first_free(
    world: World, now: int, found: Iterable[Place], size: tuple[float, float, float]
) -> tuple[Double, Bool] | None:  # fmt: skip
    """The steady motion [T, 3] over the first place where it is clear of everybody until the present."""
    seconds = world.dt * (np.arange(world.steps) - now)
    for place in found:
        poses = place.steady(seconds)
        if is_free(world, now, poses, size):
            return poses, np.ones(world.steps, bool)
    return None


def is_free(world: World, now: int, poses: Double, size: tuple[float, float, float]) -> bool:
    """Whether a body that moves through poses [T, 3] is apart from everybody at each step up to ``now``."""
    agents, span = world.agents, slice(0, now + 1)
    length, width = size[0] + 2 * APART, size[1] + 2 * APART
    own = box_corners(poses[span], length, width)  # [n, 4, 2]
    if (boxes_touch(own, ego_corners(world.ego.states[span], world.ego.vehicle)) & world.ego.valid[span]).any():
        return False
    theirs = box_corners(agents.pose[:, span].astype(np.float64), agents.size[:, None, 0], agents.size[:, None, 1])
    return not (boxes_touch(own[None], theirs) & agents.valid[:, span]).any()


def with_agent(world: World, name: str, kind: AgentClass, size: tuple[float, float, float], poses: Double, there: Bool) -> World:
    """The world with one road user more, at poses [T, 3] where it is ``there`` [T]."""
    agents = world.agents
    velocity = np.gradient(poses[:, :2], world.dt, axis=0)
    joined = {
        "kind": np.append(agents.kind, np.uint8(kind)), "size": np.vstack([agents.size, np.array(size, np.float32)]),
        "pose": np.concatenate([agents.pose, (poses * there[:, None])[None].astype(np.float32)]),
        "velocity": np.concatenate([agents.velocity, (velocity * there[:, None])[None].astype(np.float32)]),
        "valid": np.concatenate([agents.valid, there[None]]), "control": np.append(agents.control, np.uint8(Control.REPLAY)),
    }  # fmt: skip
    return replace(world, agents=replace(agents, ids=(*agents.ids, name), manners=None, **joined))


def without(world: World, rows: Sequence[int]) -> World:
    """The world without some of its agents, and without their scripts and aims."""
    agents = world.agents
    kept = np.setdiff1d(np.arange(len(agents)), rows)
    names = tuple(agents.ids[row] for row in kept)
    arrays = {name: getattr(agents, name)[kept] for name in ("kind", "size", "pose", "velocity", "valid", "control")}
    manners = None if agents.manners is None else agents.manners[kept]
    scripts = tuple(script for script in world.scripts if script.agent in names)
    aims = tuple(aim for aim in world.aims if aim.agent in names)
    return replace(world, agents=replace(agents, ids=names, manners=manners, **arrays), scripts=scripts, aims=aims)


def thicken(
    before: Populated, now: int, config: DensityConfig, held: Sequence[str], rng: np.random.Generator
) -> Populated:  # fmt: skip
    """The same with as many road users near the ego as asked, as far as that goes; ``held``: ids that stay in any case."""
    world = before.world
    near = _near(world, now, config.reach)
    wanted = config.target if config.target is not None else round((config.factor or 0.0) * len(near))
    if wanted < len(near):
        free = [row for row in near if world.agents.ids[row] not in held and _away(world, now, row) > config.keep]
        gone = rng.permutation(free)[: len(near) - wanted]
        word = f"{len(gone)} of {len(near)} taken out" + (f", {len(near) - wanted} asked" if len(gone) < len(near) - wanted else "")
        return replace(before, world=without(world, gone.tolist()), words=(*before.words, word))
    added = 0
    for _ in range(wanted - len(near)):
        kind = AgentClass(int(rng.choice(world.agents.kind[near]))) if near else AgentClass.VEHICLE
        placed = _first_free(world, now, streets(world, now, kind, config.reach, CLEAR, rng, TRIES), SIZES[kind])
        if placed is not None:
            world, added = with_agent(world, _free_name(world), kind, SIZES[kind], *placed), added + 1
    word = f"{added} put in beside {len(near)}" + (f", {wanted - len(near)} asked" if added < wanted - len(near) else "")
    return replace(before, world=world, words=(*before.words, word))


def _near(world: World, now: int, reach: float) -> list[int]:
    """Rows of road users within ``reach`` of the ego."""
    agents, centre = world.agents, ego_center(world.ego.states[now], world.ego.vehicle)
    away = np.hypot(*(agents.pose[:, now, :2] - centre[:2]).T)
    return np.flatnonzero(agents.valid[:, now] & np.isin(agents.kind, KINDS) & (away < reach)).tolist()


def _away(world: World, now: int, row: int) -> float:
    """How near somebody comes to the ego from ``now`` on, as recorded [m]; to where the ego is now at least."""
    agents, known = world.agents, world.ego.valid[now:] & world.agents.valid[row, now:]
    ego = ego_center(world.ego.states[now:], world.ego.vehicle)
    return float(np.hypot(*(agents.pose[row, now:, :2] - ego[:, :2])[known].T).min(initial=np.inf))


__all__ = [
    "PREFIX", "SIZES", "DensityConfig", "InsertConfig", "Populated", "PoseConfig", "insert", "is_free", "thicken",
    "with_agent", "without",
]  # fmt: skip
