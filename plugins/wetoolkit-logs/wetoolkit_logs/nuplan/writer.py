"""Writes whole recordings as nuPlan logs: one SQLite file each, beside one map of all their towns.

At 20 Hz, nuPlan's own rate, samples in between are interpolated (``resample``). Tables named ``wetoolkit`` keep what nuPlan has no
column for: names of agents, the vehicle, the route's lanes, the offset on the map, yellow lights.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from wetoolkit_driving.sensors import Sensors
from wetoolkit_driving.types import AX, AY, HEADING, STEERING, STEERING_RATE, VX, VY, YAW_ACCELERATION, YAW_RATE, Signal, World, X

from wetoolkit.errors import DataError
from wetoolkit.kinds import Progress
from wetoolkit.types import Scenario
from wetoolkit_logs import __version__
from wetoolkit_logs.nuplan import sensorfiles
from wetoolkit_logs.nuplan.db import write_database
from wetoolkit_logs.nuplan.gpkg import write_map
from wetoolkit_logs.nuplan.resample import resampled
from wetoolkit_logs.nuplan.schema import CATEGORIES, EPSG, LIDAR, LOCATION, token, tokens
from wetoolkit_logs.nuplan.towns import Town, register

Tags = Callable[[Scenario[World]], Iterable[tuple[int, str, str]]]  # (step, type, agent id or "")
Row = tuple[Any, ...]
RATE = 20.0  # Hz, nuPlan's own
SCENES, SCENE_SECONDS = 5, 3.0  # at least so many, each at most so long: the devkit leaves out the first and last two
FIRST_TIME = 1_600_000_000_000_000  # microseconds, 2020-09-13: logs begin within a year after it, as their names decide
STATUS = {Signal.UNKNOWN: "unknown", Signal.GREEN: "green", Signal.YELLOW: "unknown", Signal.RED: "red"}
EGO_EXTRA = (STEERING, STEERING_RATE, YAW_ACCELERATION)  # channels of the ego's state that nuPlan has no column for


@dataclass(frozen=True)
class Options:
    """How a log is written."""

    rate: float = RATE  # Hz
    reach: float = np.inf  # metres: who never is so near to the ego at a time is left out then
    lights: float = np.inf  # metres: lights of lanes that begin so far from the ego at a time are left out then
    tags: Tags | None = None


def write(
    recordings: Iterable[Scenario[World]],
    folder: Path,
    sensors: Callable[[Scenario[World]], Sensors] | None = None,
    progress: Progress | None = None,
    options: Options | Mapping[str, Any] = Options(),
) -> list[Path]:
    """Each recording as ``<folder>/<log>.db``, all their maps in ``<folder>/maps``; the paths written. Errors: ``DataError``."""
    options = options if isinstance(options, Options) else Options(**options)
    written: list[Path] = []
    for count, recording in enumerate(recordings, 1):
        town = register(folder / "maps", recording.world.map, recording.origin)
        written += write_log(recording, town, folder, sensors(recording) if sensors else None, options)
        if progress is not None:
            progress(count, 0, recording.log)
    return [*written, *(write_map(folder / "maps") if written else ())]


def log_name(log: str) -> str:
    """The file stem of a log: its name with anything but letters, digits, dots and dashes made an underscore."""
    return "".join(c if c.isalnum() or c in ".-_" else "_" for c in log).lstrip(".")


def write_log(
    recording: Scenario[World],
    town: Town,
    folder: Path,
    sensors: Sensors | None = None,
    options: Options = Options(),
) -> list[Path]:
    """One recording as a log, whole or not at all."""
    name = log_name(recording.log)
    if not name:
        raise DataError(f"log name {recording.log!r}", field="scenario.log", way_out="give a name with letters or digits")
    world = resampled(recording.world, options.rate)
    every = np.flatnonzero(world.ego.valid)
    if len(every) < SCENES:
        raise DataError(
            f"log {recording.log!r} has {len(every)} steps with an ego", way_out=f"at least {SCENES} are due", field="ego"
        )
    log = _Log(recording, world, town, name, every, options.reach, min(options.reach, options.lights))
    tables = {**log.tables(), "scenario_tag": log.tags(options.tags(recording) if options.tags else ())}
    kept: list[Path] = []
    if sensors is not None:
        files, kept = sensorfiles.write(folder, name, sensors)
        tables |= sensorfiles.rows(sensors, files, name, log.times, every * world.dt, tables)
    write_database(folder / f"{name}.db", tables)
    return [folder / f"{name}.db", *kept]


@dataclass(frozen=True)
class _Log:
    """The rows of a recording; ``every`` [F] are the steps with an ego, each a lidar_pc."""

    recording: Scenario[World]
    world: World  # at the rate written
    town: Town
    name: str
    every: NDArray[np.intp]
    reach: float
    light_reach: float

    @cached_property
    def times(self) -> list[int]:
        """[F] microseconds."""
        start = FIRST_TIME + int.from_bytes(token("start", self.name)[:4], "big") % 31_536_000 * 1_000_000
        return [start + round(k * self.world.dt * 1e6) for k in self.every.tolist()]

    @cached_property
    def frames(self) -> list[bytes]:
        return tokens(self.name, "lidar_pc", len(self.every))

    @cached_property
    def poses(self) -> list[bytes]:
        return tokens(self.name, "ego_pose", len(self.every))

    @cached_property
    def tracks(self) -> list[bytes]:
        return tokens(self.name, "track", len(self.world.agents))

    @cached_property
    def place(self) -> NDArray[np.float64]:
        """[2] what is added to the world's coordinates."""
        return np.array(self.recording.origin[:2]) + np.array(self.town.offset)

    def tables(self) -> dict[str, Iterable[Row]]:
        """Table -> rows, but for tags, cameras and images."""
        (log,), (lidar,) = tokens(self.name, "log", 1), tokens(self.name, "lidar", 1)
        date = datetime.fromtimestamp(self.times[0] / 1e6, UTC).strftime("%Y-%m-%d")
        mount = pickle.dumps([0.0, 0.0, 0.0]), pickle.dumps([1.0, 0.0, 0.0, 0.0])
        agents = self.world.agents
        kinds = dict(zip(CATEGORIES, tokens(self.name, "category", len(CATEGORIES)), strict=True))
        by_number = {int(number): kinds[name] for name, number in CATEGORIES.items()}
        category = [by_number[number] for number in agents.kind.tolist()]
        length, width, height = agents.size.astype(np.float64).T.tolist() if len(agents) else ([], [], [])
        lights, rest = self.lights()
        return {
            "log": [(log, "wetoolkit", date, self.times[0], self.name, LOCATION, LOCATION)],
            "lidar": [(lidar, log, LIDAR, "made", *mount)],
            "ego_pose": self.ego(log),
            "scene": self.scenes(log),
            "lidar_pc": self.sweeps(lidar),
            "category": [(name, kind, kind.replace("_", " ")) for kind, name in kinds.items()],
            "track": zip(self.tracks, category, width, length, height, strict=True),
            "lidar_box": self.boxes(),
            "traffic_light_status": lights,
            "wetoolkit": [(key, json.dumps(value)) for key, value in self.facts().items()],
            "wetoolkit_ego": zip(self.poses, *self.world.ego.states[self.every][:, EGO_EXTRA].T.tolist(), strict=True),
            "wetoolkit_track": zip(self.tracks, agents.ids, strict=True),
            "wetoolkit_signal": rest,
        }

    def facts(self) -> dict[str, Any]:
        """What a reader needs to give the recording back as it was."""
        source = self.recording
        return {
            "version": f"wetoolkit-logs {__version__}",
            "log": source.log,
            "dataset": source.lineage.dataset,
            "dt": source.clock.dt,
            "origin": source.origin,
            "offset": self.town.offset,
            "vehicle": asdict(source.world.ego.vehicle),
            "route": self.town.lane_fid(source.world.route).tolist(),
            "unavailable": source.world.unavailable,
        }

    def ego(self, log: bytes) -> Iterable[Row]:
        states = self.world.ego.states[self.every]
        xy, half = states[:, X : X + 2] + self.place, states[:, HEADING] / 2
        zero = np.zeros(len(states))
        columns = (
            *xy.T, zero + self.recording.origin[2], np.cos(half), zero, zero, np.sin(half), states[:, VX], states[:, VY], zero,
            states[:, AX], states[:, AY], zero, zero, zero, states[:, YAW_RATE],
        )  # fmt: skip
        rows = zip(self.poses, self.times, *(column.tolist() for column in columns), strict=True)
        return ((*row, EPSG, log) for row in rows)

    @cached_property
    def scene_of(self) -> NDArray[np.int64]:
        """[F] number of the scene of each frame."""
        count = max(SCENES, int(np.ceil(len(self.every) * self.world.dt / SCENE_SECONDS)))
        return np.arange(len(self.every)) * count // len(self.every)

    @cached_property
    def scene_tokens(self) -> list[bytes]:
        return tokens(self.name, "scene", int(self.scene_of[-1]) + 1)

    def scenes(self, log: bytes) -> list[Row]:
        """All have the whole route and the recording's last pose as their goal."""
        blocks = self.town.block_fid[self.world.route].tolist()
        route = " ".join(str(block) for i, block in enumerate(blocks) if i == 0 or block != blocks[i - 1])
        return [(name, log, f"{self.name}-{n:03}", self.poses[-1], route) for n, name in enumerate(self.scene_tokens)]

    def sweeps(self, lidar: bytes) -> list[Row]:
        scenes, none = [self.scene_tokens[n] for n in self.scene_of.tolist()], b""  # NULL here breaks the devkit at a log's ends
        linked = zip(self.frames, [*self.frames[1:], none], [none, *self.frames[:-1]], self.poses, scenes, self.times, strict=True)
        return [
            (frame, after, before, pose, lidar, scene, f"{self.name}/{LIDAR}/{frame.hex()}.pcd", time)
            for frame, after, before, pose, scene, time in linked
        ]

    def boxes(self) -> Iterable[Row]:
        """Frame by frame, so that those of one lie side by side in the file; confidence 1: nothing was estimated."""
        agents = self.world.agents
        frame, agent = np.nonzero(self.seen().T)
        count = len(frame)
        number = np.full((len(agents), len(self.every) + 2), count)  # the row of an agent's box in a frame; count: none
        number[agent, frame + 1] = np.arange(count)
        names: list[bytes | None] = [*tokens(self.name, "lidar_box", count), None]
        step = self.every[frame]
        pose = agents.pose[agent, step].astype(np.float64)
        length, width, height = agents.size[agent].astype(np.float64).T
        velocity = agents.velocity[agent, step].astype(np.float64)
        numbers = (
            pose[:, 0] + self.place[0], pose[:, 1] + self.place[1], height / 2 + self.recording.origin[2],
            width, length, height, *velocity.T, np.zeros(count), pose[:, 2], np.ones(count),
        )  # fmt: skip
        return zip(
            names[:-1], map(self.frames.__getitem__, frame.tolist()), map(self.tracks.__getitem__, agent.tolist()),
            map(names.__getitem__, number[agent, frame + 2].tolist()), map(names.__getitem__, number[agent, frame].tolist()),
            *(column.tolist() for column in numbers), strict=True,
        )  # fmt: skip

    def seen(self) -> NDArray[np.bool_]:
        """[A, F] who is there and, from the first time within reach to the last, near."""
        agents = self.world.agents
        valid = agents.valid[:, self.every]
        if not np.isfinite(self.reach):
            return valid
        away = agents.pose[:, self.every, :2] - self.world.ego.states[self.every, :2]
        near = valid & (np.hypot(away[..., 0], away[..., 1]) < self.reach)
        return valid & np.maximum.accumulate(near, 1) & np.maximum.accumulate(near[:, ::-1], 1)[:, ::-1]

    def lights(self) -> tuple[Iterable[Row], list[Row]]:
        """Rows of traffic_light_status, and of what it cannot say: yellow, and the lights of lanes that are no connectors."""
        road, signals = self.world.map, self.world.signals
        lanes = np.flatnonzero(road.lane_signal >= 0)
        frame, at = (index.ravel() for index in np.meshgrid(np.arange(len(self.every)), np.arange(len(lanes)), indexing="ij"))
        if np.isfinite(self.light_reach) and len(lanes):
            start = road.lane_xy[road.lane_offset[lanes]]
            near = np.hypot(*(start[at] - self.world.ego.states[self.every[frame], :2]).T) < self.light_reach
            frame, at = frame[near], at[near]
        lane = lanes[at]
        state, fid = signals[road.lane_signal[lane], self.every[frame]], self.town.lane_fid(lane)
        told = self.town.connector[lane]
        names = tokens(self.name, "traffic_light_status", int(told.sum()))
        words = [STATUS[Signal(code)] for code in range(len(Signal))]
        rows = zip(
            names, map(self.frames.__getitem__, frame[told].tolist()), fid[told].tolist(),
            map(words.__getitem__, state[told].tolist()), strict=True,
        )  # fmt: skip
        rest = np.flatnonzero(~told | (state == Signal.YELLOW))
        return rows, [(self.frames[f], i, s) for f, i, s in np.stack([frame, fid, state], 1)[rest].tolist()]

    def tags(self, marks: Iterable[tuple[int, str, str]]) -> list[Row]:
        """Rows of scenario_tag; marks at steps without an ego have no frame to stand at."""
        row = {int(k): n for n, k in enumerate(self.every)}
        track = dict(zip(self.world.agents.ids, self.tracks, strict=True))
        up = self.recording.clock.dt / self.world.dt
        placed = [(row[round(k * up)], kind, track.get(agent)) for k, kind, agent in marks if round(k * up) in row]
        names = tokens(self.name, "scenario_tag", len(placed))
        return [(name, self.frames[n], kind, agent) for name, (n, kind, agent) in zip(names, placed, strict=True)]


__all__ = ["Options", "write", "write_log"]
