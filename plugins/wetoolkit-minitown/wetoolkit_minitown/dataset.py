"""The data set ``minitown``: towns, drives through them, and windows of 10 s, all from one seed.

Towns are split into train, val and test. Each stem has a *natural* pool of drives, of which a share holds one rare event, and
a *staged* pool, in which every drive holds one, kind after kind; the train towns have a third pool, the *fleet*: further drives,
with a rate of their own. Splits:

- ``train``, ``val``, ``test``: the natural pool. ``train-fleet``: the fleet.
- ``*-common``: the ordinary windows of the natural pool. ``*-rare``: the event windows of the natural and the staged pool.

A window's name is a hash and says nothing about what is in it; ``labels`` does, for evaluation.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from wetoolkit_driving.sensors import Sensors
from wetoolkit_driving.types import World

from wetoolkit.config import Config
from wetoolkit.errors import ConfigError, DataError, UnknownName
from wetoolkit.types import Clock, Lineage, Ref, Scenario, Step
from wetoolkit_minitown import files
from wetoolkit_minitown.cache import code_version, default_folder, read_log, write_log
from wetoolkit_minitown.cast import Density, Temper
from wetoolkit_minitown.events import EVENTS
from wetoolkit_minitown.log import Log, record
from wetoolkit_minitown.place import Place
from wetoolkit_minitown.sensors.config import SensorConfig
from wetoolkit_minitown.sensors.studio import Stands, Studio, made
from wetoolkit_minitown.traffic import DT
from wetoolkit_minitown.window import MAP_RADIUS, whole, window

STEMS = ("train", "val", "test")
POOLS = ("natural", "staged", "fleet")
HISTORY, FUTURE = 20, 80  # steps before and after the present
STEPS = HISTORY + 1 + FUTURE
SETTLED = 6  # first steps of a drive that are in no window


class MinitownConfig(Config):
    """Towns, drives and traffic of the embedded data set."""

    seed: int = Field(0, description="everything follows from it [1]", ge=0)
    train_towns: int = Field(6, description="towns of the train splits [count]", ge=1)
    val_towns: int = Field(2, description="towns of the val splits [count]", ge=1)
    test_towns: int = Field(4, description="towns of the test splits [count]", ge=1)
    train_logs: int = Field(180, description="drives of the natural train pool [count]", ge=0)
    fleet_logs: int = Field(300, description="further drives in the train towns: split train-fleet [count]", ge=0)
    val_logs: int = Field(40, description="drives of the natural val pool [count]", ge=0)
    test_logs: int = Field(60, description="drives of the natural test pool [count]", ge=0)
    train_staged: int = Field(0, description="drives with an event besides, in train-rare only [count]", ge=0)
    val_staged: int = Field(40, description="drives with an event besides, in val-rare only [count]", ge=0)
    test_staged: int = Field(324, description="drives with an event besides, in test-rare only [count]", ge=0)
    rare_rate: float = Field(
        0.1,
        description="share of natural drives that hold one rare event: of about ten windows one, so 1 % of windows [1]",
        ge=0,
        le=1,
    )
    fleet_rare_rate: float = Field(
        0.1, description="the same for the fleet's; more where vehicles send in what happened to them [1]", ge=0, le=1
    )
    events: tuple[str, ...] = Field(tuple(EVENTS), description=f"rare events, among {', '.join(EVENTS)}", min_length=1)
    fleet_without: tuple[str, ...] = Field((), description="events that the fleet never meets: drives that would are ordinary")
    seconds: float = Field(30.0, description="length of an ordinary drive; one with an event may end earlier [s]", ge=20, le=120)
    stride: float = Field(2.0, description="mean time between ordinary windows of a drive [s]", ge=0.1)
    vehicles: int = Field(55, description="vehicles in a town [count]", ge=0, le=150)
    cyclists: int = Field(12, description="cyclists in a town [count]", ge=0, le=60)
    pedestrians: int = Field(30, description="pedestrians under way in a town [count]", ge=0, le=200)
    cache: str = Field("", description="folder for recorded drives; empty: the user's cache folder; off: none")
    files: Literal["", "nuplan"] = Field(
        "",
        description="nuplan: drives are written as nuPlan logs into the cache and windows are read from there; empty: no files",
    )
    sensors: SensorConfig = Field(SensorConfig(), description="cameras and lidar, made when they are asked for")


@dataclass(frozen=True)
class Drive:
    """The address of one log."""

    stem: str
    pool: str
    number: int
    town: int
    event: str  # "" for an ordinary one


@dataclass(frozen=True)
class Row:
    """One window."""

    log: str
    drive: Drive
    now: int  # step of the drive
    label: str


@dataclass(frozen=True)
class Listing:
    """The windows and drives of a split by their names, and what became of its drives with events."""

    windows: Mapping[str, Row]
    drives: Mapping[str, Drive]  # by the log's name
    redrawn: int
    given_up: int


class Minitown:
    """kinds.Dataset, with SupportsLabels, SupportsRecordings, SupportsSensors, SupportsMake and SupportsReport."""

    def __init__(self, config: MinitownConfig) -> None:
        unknown = [name for name in (*config.events, *config.fleet_without) if name not in EVENTS]
        if unknown:
            raise UnknownName("rare event", unknown[0], EVENTS)
        if config.files and config.cache == "off":
            raise ConfigError("files without a folder for them", key="files", way_out='set `cache` to a folder, or `files` to ""')
        self.config = config
        self._redrawn: dict[str, int] = {}
        self._given_up: dict[str, int] = {}

    def splits(self) -> Sequence[str]:
        """Names of the splits."""
        return [*(stem + part for stem in STEMS for part in ("", "-common", "-rare")), "train-fleet"]

    def index(self, split: str) -> Sequence[Ref]:
        """Every window of a split, drive by drive."""
        return [Ref(name, split, row.log) for name, row in self._listing(split).windows.items()]

    def labels(self, split: str) -> Mapping[str, str]:
        """Window id -> rare event, "" for ordinary windows."""
        return {name: row.label for name, row in self._listing(split).windows.items()}

    def load(self, ref: Ref) -> Scenario[World]:
        """One window. ``DataError`` for an address that this configuration does not have."""
        row = self._listing(ref.split).windows.get(ref.id)
        if row is None:
            raise DataError(
                f"no window {ref.id!r}", file=f"minitown split {ref.split!r}", field="ref.id",
                way_out="take references from index() of the same configuration",
            )  # fmt: skip
        if self.config.files:
            return self._read(ref, row)
        world, origin = window(self._place(row.drive), _log(self.config, row.drive), row.now - HISTORY, HISTORY, STEPS)
        return self._scenario(ref, Clock(DT, HISTORY, STEPS), origin, world)

    def _read(self, ref: Ref, row: Row) -> Scenario[World]:
        """A window by way of its drive's file."""
        cache, name = _cache(self.config), _file(self.config, row.drive).stem
        if not files.path_of(cache, name).exists():  # written here, not by make(): a limit on a split leaves some out
            self._write(row.drive)
        clock = Clock(DT, HISTORY, STEPS)
        world, origin, read = files.read_window(cache, name, row.now, clock, MAP_RADIUS)
        scenario = self._scenario(ref, clock, origin, world)
        return replace(scenario, lineage=replace(scenario.lineage, steps=(*scenario.lineage.steps, *read.steps)))

    def _write(self, drive: Drive) -> None:
        log, name = _log(self.config, drive), _file(self.config, drive).stem
        world, origin = whole(self._place(drive), log)
        recording = self._scenario(Ref(name, drive.stem, name), Clock(DT, 0, world.steps), origin, world)
        files.write_drive(_cache(self.config), name, log, recording, STEPS)

    def recordings(self, split: str) -> Sequence[Ref]:
        """The drives that the windows of a split come from; those that could not be made are left out."""
        return [Ref(name, split, name) for name in self._listing(split).drives]

    def recording(self, ref: Ref) -> Scenario[World]:
        """A whole drive in the map of the whole town. ``DataError`` for a name that this configuration does not have."""
        drive = self._listing(ref.split).drives.get(ref.id)
        if drive is None:
            raise DataError(
                f"no drive {ref.id!r}", file=f"minitown split {ref.split!r}", field="ref.id",
                way_out="take references from recordings() of the same configuration",
            )  # fmt: skip
        world, origin = whole(self._place(drive), _log(self.config, drive))
        return self._scenario(ref, Clock(DT, 0, world.steps), origin, world)

    def manners(self, ref: Ref) -> Mapping[str, float]:
        """How many are in a drive's town, and how busy and hasty they are (``cast.Temper``); ``ref`` as in ``recordings``."""
        drive = self._listing(ref.split).drives[ref.log]
        names = [field.name for kind in (Density, Temper) for field in fields(kind)]
        return dict(zip(names, _log(self.config, drive).temper.tolist(), strict=True))

    def sensors(self, ref: Ref, cameras: Sequence[str] | None = None, steps: Collection[int] | None = None) -> Sensors:
        """What cameras and lidar saw in a window or on a whole drive, or at these ``steps`` of it; what is not there is made now.

        ``PluginError`` without the extra ``sensors``; ``DataError`` where a finished drive lacks a file.
        """
        window = ref.id in self._listing(ref.split).windows
        scenario = self.load(ref) if window else self.recording(ref)
        studio, first = self.studio(ref)
        span = range(STEPS) if steps is None and window else steps
        studio.make(None if span is None else {first + step for step in span}, cameras)
        return studio.sensors(scenario.world.ego.states, first, cameras, steps)

    def studio(self, ref: Ref) -> tuple[Studio, int]:
        """What renders the drive that a window or recording comes from, and the step of the drive at which it begins."""
        listing = self._listing(ref.split)
        row = listing.windows.get(ref.id)
        drive, first = (row.drive, row.now - HISTORY) if row else (listing.drives[ref.id], 0)
        return _studio(self.config, drive, ref.log), first

    def _place(self, drive: Drive) -> Place:
        return _place(self.config.seed, STEMS.index(drive.stem), drive.town)

    def _scenario(self, ref: Ref, clock: Clock, origin: tuple[float, float, float], world: World) -> Scenario[World]:
        config = _digest(self.config.model_dump_json(exclude={"cache", "sensors"}))
        made = Step("dataset/minitown", "wetoolkit-minitown 0.1.0", config, self.config.seed)
        lineage = Lineage("minitown", ref.log, ref.id, (made,))
        scenario = Scenario(ref.id, "driving", ref.split, ref.log, clock, origin, lineage, world)
        scenario.validate()
        return scenario

    def pending(self, splits: Sequence[str]) -> Sequence[Drive]:
        """Drives of these splits that are not in the cache folder yet; none where there is no cache to share."""
        if self.config.cache == "off":
            return []
        due = {drive: None for split in splits for drive in _drives_of(self.config, split)}
        return [drive for drive in due if not _file(self.config, drive).exists()]

    def make(self, piece: Drive) -> None:
        """Record a drive into the cache folder; one that must be given up is counted by ``index``."""
        with suppress(DataError):
            _log(self.config, piece)

    def repairs(self) -> Mapping[str, int]:
        """Of the drives with an event in the splits read so far: how often one was drawn again, how many were given up."""
        return {"drives_redrawn": sum(self._redrawn.values()), "drives_given_up": sum(self._given_up.values())}

    def _listing(self, split: str) -> Listing:
        if split not in self.splits():
            raise UnknownName("split", split, self.splits())
        listing = _list(self.config, split)
        self._redrawn[split], self._given_up[split] = listing.redrawn, listing.given_up
        return listing


def _drives(config: MinitownConfig, stem: str, pool: str) -> list[Drive]:
    """The drives of a pool; staged ones take the events in turn."""
    count = getattr(config, {"natural": f"{stem}_logs", "staged": f"{stem}_staged", "fleet": "fleet_logs"}[pool])
    drives = []
    for number in range(count):
        rng = np.random.default_rng((config.seed, STEMS.index(stem), POOLS.index(pool), number, 1))
        event, rate = config.events[number % len(config.events)], config.fleet_rare_rate if pool == "fleet" else config.rare_rate
        if pool != "staged":
            event = config.events[int(rng.integers(len(config.events)))] if rng.random() < rate else ""
        if pool == "fleet" and event in config.fleet_without:
            event = ""
        drives.append(Drive(stem, pool, number, int(rng.integers(getattr(config, f"{stem}_towns"))), event))
    return drives


def _drives_of(config: MinitownConfig, split: str) -> list[Drive]:
    """The drives whose windows a split holds."""
    stem, _, part = split.partition("-")
    pools = {"fleet": ("fleet",), "rare": ("natural", "staged")}.get(part, ("natural",))
    drives = [drive for pool in pools for drive in _drives(config, stem, pool)]
    return [drive for drive in drives if not (part == "common" and drive.event) and not (part == "rare" and not drive.event)]


@lru_cache(maxsize=32)
def _list(config: MinitownConfig, split: str) -> Listing:
    """Every window of a split. Drives with an event are recorded to know when it is; ordinary ones need not be."""
    stem, _, part = split.partition("-")
    windows: dict[str, Row] = {}
    drives: dict[str, Drive] = {}
    redrawn = given_up = 0
    for drive in _drives_of(config, split):
        try:
            marks = _log(config, drive).event if drive.event else None
        except DataError:
            given_up += 1
            continue
        redrawn += int(marks[2]) if marks is not None else 0
        log = f"{stem}-town{drive.town}/{_digest((config.seed, drive.stem, drive.pool, drive.number))}"
        drives[log] = drive
        for now, label in _presents(config, drive, marks):
            if part != "rare" or label:
                windows[f"{log}/{_digest((log, now))}"] = Row(log, drive, now, label)
    return Listing(windows, drives, redrawn, given_up)


def _presents(config: MinitownConfig, drive: Drive, marks: NDArray[np.int64] | None) -> list[tuple[int, str]]:
    """(present step, label) of a drive's windows: ordinary ones, at irregular steps, that see no event, and the event's."""
    last = round(config.seconds / DT) - 1 if marks is None else int(marks[0]) - 6
    first, stride = HISTORY + SETTLED, config.stride / DT
    rng = np.random.default_rng((config.seed, STEMS.index(drive.stem), POOLS.index(drive.pool), drive.number, 2))
    count = max(0, int((last - FUTURE - first) / stride))
    steps = first + ((np.arange(count) + rng.uniform(0.0, 0.99, count)) * stride).astype(int)
    found = [(int(step), "") for step in np.unique(steps)]
    return found if marks is None else [*found, (int(marks[1]), drive.event)]


@lru_cache(maxsize=16)
def _place(seed: int, stem: int, town: int) -> Place:
    return Place.build(f"{STEMS[stem]}-town{town}", (seed, stem, town))


@lru_cache(maxsize=4)
def _log(config: MinitownConfig, drive: Drive) -> Log:
    """A drive from the cache folder, or recorded now and put there."""
    path = None if config.cache == "off" else _file(config, drive)
    log = read_log(path) if path is not None else None
    if log is None:
        density = Density(config.vehicles, config.cyclists, config.pedestrians)
        seed = (config.seed, STEMS.index(drive.stem), POOLS.index(drive.pool), drive.number, 3)
        log = record(_place(config.seed, STEMS.index(drive.stem), drive.town), seed, density, drive.event, config.seconds)
        if path is not None:
            write_log(path, log)
    return log


@lru_cache(maxsize=2)
def _studio(config: MinitownConfig, drive: Drive, log: str) -> Studio:
    """Where the sensors of a drive are made."""
    facts = (code_version("sensors"), config.seed, config.sensors.model_dump_json(exclude={"folder"}))
    folder = Path(config.sensors.folder or Path(config.cache or default_folder()) / "sensors")
    if config.cache == "off" and not config.sensors.folder:
        raise ConfigError("sensors need a folder", way_out="set sensors.folder, or a cache", field="cache")
    stem = STEMS.index(drive.stem)
    world, origin = whole(_place(config.seed, stem, drive.town), _log(config, drive))
    return Studio(
        folder / _digest((_file(config, drive).stem, code_version(), *facts)) / log.replace("/", "-"), config.sensors, world,
        partial(_stands, config.seed, stem, drive.town), (origin[0], origin[1]), zlib.crc32(repr((config.seed, log)).encode()),
    )  # fmt: skip


@lru_cache(maxsize=4)
def _stands(seed: int, stem: int, town: int) -> Stands:
    """What stands in a town: seconds to build, some 400 MB."""
    return made(_place(seed, stem, town).map.map, zlib.crc32(repr((seed, stem, town)).encode()))


def _file(config: MinitownConfig, drive: Drive) -> Path:
    """Where the cache keeps a drive: named by all that it depends on."""
    facts = (config.seed, config.seconds, config.vehicles, config.cyclists, config.pedestrians, drive)
    return _cache(config) / f"{_digest(facts)}.safetensors"


def _cache(config: MinitownConfig) -> Path:
    return Path(config.cache or default_folder()) / code_version()


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:12]
