"""The data set ``plaza``: recordings of a robot among people, some with a rare event, all from one seed.

Recordings are split into train, val and test. Each stem has *ordinary* ones and *staged* ones, which hold one event each; the train
stem has a *field* pool besides: what robots in service send in, half of it with an event. Splits:

- ``train``, ``val``, ``test``: ordinary windows. ``train-field``: ordinary and event windows of the field.
- ``val-rare``, ``test-rare``: the event windows of the staged recordings.

A window's name is a hash and says nothing about what is in it; ``labels`` does, for evaluation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from pydantic import Field

from wetoolkit.config import Config
from wetoolkit.errors import DataError, UnknownName
from wetoolkit.registry import config_hash
from wetoolkit.types import Clock, Lineage, Ref, Scenario, Step
from wetoolkit_crowd import __version__
from wetoolkit_crowd.recording import cut, goal_at, record
from wetoolkit_crowd.staging import BEGINS, EVENTS, Cast, ordinary, turned
from wetoolkit_crowd.types import DT, Body, World

AFTER = (0, 4, 8)  # steps after the beginning of a leg at which ordinary windows have their present; a plan ends with the leg
STEMS, POOLS = ("train", "val", "test"), ("ordinary", "staged", "field")
HISTORY, FUTURE = 8, 46  # steps of a window before and after the present: a horizon of 6 s and a plan of 3.2 s
LONG = int(BEGINS[-1]) + 2 * AFTER[1] + FUTURE  # steps of a recording
SPLITS = {  # split -> its stem and pool
    "train": ("train", "ordinary"), "val": ("val", "ordinary"), "test": ("test", "ordinary"),
    "train-field": ("train", "field"), "val-rare": ("val", "staged"), "test-rare": ("test", "staged"),
}  # fmt: skip


class PlazaConfig(Config):
    """How many recordings there are, and what the robot is."""

    seed: int = Field(default=0, description="everything follows from it [1]", ge=0)
    train: int = Field(default=80, description="ordinary recordings of the train split [1]", ge=1)
    field: int = Field(default=280, description="recordings from the field: split train-field [1]", ge=0)
    val: int = Field(default=10, description="ordinary recordings of the val split [1]", ge=0)
    val_rare: int = Field(default=40, description="recordings with an event: split val-rare [1]", ge=0)
    test: int = Field(default=30, description="ordinary recordings of the test split [1]", ge=0)
    test_rare: int = Field(default=240, description="recordings with an event: split test-rare [1]", ge=0)
    field_rate: float = Field(default=0.5, description="share of the field's recordings that hold an event [1]", ge=0.0, le=1.0)
    events: tuple[str, ...] = Field(default=tuple(EVENTS), description=f"rare events, among {', '.join(EVENTS)}", min_length=1)
    body: Literal["holonomic", "unicycle"] = Field(default="holonomic", description="how the robot can move")
    radius: float = Field(default=0.3, description="of the robot [m]", gt=0.0, le=1.0)
    speed: float = Field(default=1.5, description="of the robot, the greatest [m/s]", ge=1.2, le=3.0)
    acceleration: float = Field(default=2.0, description="of the robot, the greatest [m/s^2]", gt=0.0)
    turn: float = Field(default=2.5, description="of the robot, the greatest rate of turning [rad/s]", gt=0.0)


@dataclass(frozen=True)
class Take:
    """The address of one recording."""

    stem: str
    pool: str
    number: int
    event: str  # "" for an ordinary one

    @property
    def log(self) -> str:
        """Its name."""
        return f"{self.stem}/{_digest((self.stem, self.pool, self.number))}"


class Plaza:
    """Implements ``wetoolkit.kinds.Dataset`` and ``SupportsLabels``."""

    def __init__(self, config: PlazaConfig) -> None:
        unknown = [name for name in config.events if name not in EVENTS]
        if unknown:
            raise UnknownName("rare event", unknown[0], EVENTS, field="events")
        self.config = config

    def splits(self) -> Sequence[str]:
        """Names of the splits."""
        return tuple(SPLITS)

    def index(self, split: str) -> Sequence[Ref]:
        """Every window of a split, recording by recording."""
        return [Ref(name, split, take.log) for name, (take, _) in self._windows(split).items()]

    def labels(self, split: str) -> Mapping[str, str]:
        """Window id -> rare event, "" for ordinary windows."""
        return {name: take.event for name, (take, _) in self._windows(split).items()}

    def load(self, ref: Ref) -> Scenario[World]:
        """One window. ``DataError`` for an address that this configuration does not have."""
        found = self._windows(ref.split).get(ref.id)
        if found is None:
            way_out = "take references from index() of the same configuration"
            raise DataError(f"no window {ref.id!r}", file=f"plaza split {ref.split!r}", field="ref.id", way_out=way_out)
        take, now = found
        whole = _record(self.config, take)
        goal = goal_at(_cast(self.config, take), now)
        world, origin = cut(whole, now - HISTORY, HISTORY + 1 + FUTURE, HISTORY, goal)
        made = Step("dataset/plaza", f"wetoolkit-crowd {__version__}", config_hash(self.config), self.config.seed)
        clock, lineage = Clock(DT, HISTORY, world.steps), Lineage("plaza", ref.log, ref.id, (made,))
        scenario = Scenario(ref.id, "crowd", ref.split, ref.log, clock, origin, lineage, world)
        scenario.validate()
        return scenario

    def _windows(self, split: str) -> Mapping[str, tuple[Take, int]]:
        if split not in SPLITS:
            raise UnknownName("split", split, SPLITS, dataset="plaza")
        return _windows(self.config, split)


@lru_cache(maxsize=16)
def _windows(config: PlazaConfig, split: str) -> Mapping[str, tuple[Take, int]]:
    """Window id -> its recording and present step."""
    found = {}
    for take in _takes(config, *SPLITS[split]):
        for now in [_meeting(config, take)[1]] if take.event else _presents(take):
            found[f"{take.log}/{_digest((take.log, now))}"] = take, now
    return found


def _takes(config: PlazaConfig, stem: str, pool: str) -> list[Take]:
    """The recordings of a pool; staged ones take the events in turn, the field's are drawn."""
    count = getattr(config, {"ordinary": stem, "staged": f"{stem}_rare", "field": "field"}[pool])
    takes = []
    for number in range(count):
        rng, event = _rng(config, stem, pool, number, 0), ""
        if pool == "staged":
            event = config.events[number % len(config.events)]
        elif pool == "field" and rng.random() < config.field_rate:
            event = config.events[int(rng.integers(len(config.events)))]
        takes.append(Take(stem, pool, number, event))
    return takes


def _presents(take: Take) -> list[int]:
    """Present steps of an ordinary recording's windows: all of a plan lies in one leg. The field sends in fewer of each."""
    return [int(begin) + after for begin in BEGINS[1:] for after in (AFTER[:1] if take.pool == "field" else AFTER)]


def _meeting(config: PlazaConfig, take: Take) -> tuple[float, int]:
    """When an event meets the robot [s], and the present step of its window: 1.6 to 3.2 s before, when it can be seen to come."""
    rng = _rng(config, take.stem, take.pool, take.number, 2)
    meet = float(rng.uniform(6.0, 8.0))
    return meet, min(round((meet - rng.uniform(1.6, 3.2)) / DT), LONG - FUTURE - 1)


def _cast(config: PlazaConfig, take: Take) -> Cast:
    rng = _rng(config, take.stem, take.pool, take.number, 3)
    stage = EVENTS[take.event] if take.event else ordinary
    return turned(stage(rng, _meeting(config, take)[0]), float(rng.uniform(-np.pi, np.pi)))


@lru_cache(maxsize=512)
def _record(config: PlazaConfig, take: Take) -> World:
    cast = _cast(config, take)
    body = Body(config.body, config.radius, config.speed, config.acceleration, config.turn)
    radius = _rng(config, take.stem, take.pool, take.number, 1).uniform(0.2, 0.3, len(cast.start))
    return record(cast, body, LONG, radius)


def _rng(config: PlazaConfig, stem: str, pool: str, number: int, use: int) -> np.random.Generator:
    return np.random.default_rng((config.seed, STEMS.index(stem), POOLS.index(pool), number, use))


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:12]


__all__ = ["Plaza", "PlazaConfig"]
