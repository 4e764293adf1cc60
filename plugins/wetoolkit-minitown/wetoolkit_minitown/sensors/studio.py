"""Makes a drive's sensor files where they are missing, and says where they are (``wetoolkit_driving.sensors.Sensors``)."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from wetoolkit_driving.sensors import Camera, Image, Sensors, Sweep
from wetoolkit_driving.types import HEADING, RoadMap, World

from wetoolkit.errors import ConfigError, DataError, UnknownName
from wetoolkit.store import write_atomic
from wetoolkit_minitown.sensors.caster import Caster
from wetoolkit_minitown.sensors.config import SensorConfig
from wetoolkit_minitown.sensors.extra import embree
from wetoolkit_minitown.sensors.files import DAMAGED, image_file, sweep_file, truth_files, write_image, write_truth
from wetoolkit_minitown.sensors.lidar import Lidar, sweep
from wetoolkit_minitown.sensors.pcd import read_pcd, write_pcd
from wetoolkit_minitown.sensors.renderer import Renderer, exposure, flat_pose
from wetoolkit_minitown.sensors.rig import rig
from wetoolkit_minitown.sensors.stage import Stage, build_stage

Double = NDArray[np.float64]

DONE = "complete.json"
Stands = tuple[Stage, Caster]


def made(road: RoadMap, seed: int) -> Stands:
    """What stands around the roads of a whole map. Rows of its signals are renumbered as in the worlds that are cut from it."""
    embree("rtcore_scene")  # what is missing is said before the seconds of work
    rows = np.unique(road.lane_signal[road.lane_signal >= 0])
    signal = np.where(road.lane_signal >= 0, np.searchsorted(rows, road.lane_signal), -1).astype(np.int32)
    stage = build_stage(replace(road, lane_signal=signal), seed)
    return stage, Caster(stage.mesh)


@dataclass(frozen=True)
class Studio:
    """One drive: its World (all steps), the stage around it, and the folder its files go to."""

    folder: Path
    config: SensorConfig
    world: World
    stands: Callable[[], Stands]  # asked for only where something is to be made
    shift: tuple[float, float]  # the World's coordinates to the stage's, metres
    seed: int

    @cached_property
    def cameras(self) -> tuple[Camera, ...]:
        """The rig."""
        return rig(self.config.cameras, (self.config.width, self.config.height))

    @cached_property
    def renderer(self) -> Renderer:
        """Builds the stage: seconds."""
        stage, still = self.stands()
        return Renderer(stage, still, self.world, np.asarray(self.shift), self.seed)

    def image_frames(self) -> range:
        """Steps of the drive at which every camera takes an image."""
        return range(0, self.world.steps, stride(self.config.camera_rate, self.world.dt))

    def sweep_frames(self) -> range:
        """Steps of the drive at which the lidar's sweeps are taken."""
        rate = self.config.lidar_rate
        return range(0, self.world.steps if rate else 0, stride(rate, self.world.dt) if rate else 1)

    def make(self, span: Collection[int] | None = None, names: Collection[str] | None = None) -> None:
        """Every file of the drive that is not there, or those of the frames in ``span`` (and, of the images, those of the cameras
        ``names``) only. A file that was there when the drive
        was complete and is gone is an error (``DataError``), not made again in silence."""
        if (self.folder / DONE).is_file():
            self._check(span)
            return
        for frame in self.image_frames():
            if span is None or frame in span:
                self._shoot(frame, names)
        for frame in self.sweep_frames():
            path = sweep_file(self.folder, frame)
            if (span is None or frame in span) and not path.is_file():
                lidar = Lidar(self.config.beams, self.config.columns, noise=self.config.noise)
                write_pcd(path, sweep(self.renderer, frame, lidar))
        if span is None and names is None:
            self._finish()

    def _shoot(self, frame: int, names: Collection[str] | None) -> None:
        """The frame's images that are not there; the truth goes first, so that an image's is never missing."""
        for camera in self.cameras:
            path = image_file(self.folder, camera.name, frame)
            if path.is_file() or (names is not None and camera.name not in names):
                continue
            shot = self.renderer.image(camera, frame)
            if self.config.truth:
                write_truth(path, shot.depth, shot.category)
            write_image(path, shot.rgb, self.config.quality)

    def _finish(self) -> None:
        from wetoolkit_minitown.sensors.sheet import write_contact_sheet

        light = self.renderer.light
        exposures = {camera.name: exposure(camera.name, self.seed, light) for camera in self.cameras}
        about = {
            "cameras": [
                {
                    "name": camera.name, "size": camera.size, "intrinsics": camera.intrinsics.tolist(),
                    "camera_to_ego": camera.mount.tolist(), "gain": exposures[camera.name][0].tolist(),
                    "lift": exposures[camera.name][1],
                }
                for camera in self.cameras
            ],
            "sun": light.sun, "clouds": light.cloud, "seed": self.seed, "seconds_a_step": self.world.dt,
        }  # fmt: skip
        write_atomic(self.folder / "rig.json", json.dumps(about, indent=1).encode())
        write_contact_sheet(self.folder, self.cameras, self.image_frames(), truth=self.config.truth)
        count = {"images": len(self.image_frames()) * len(self.cameras), "sweeps": len(self.sweep_frames())}
        write_atomic(self.folder / DONE, json.dumps(count).encode())

    def _check(self, span: Collection[int] | None) -> None:
        for path in self._files(span):
            if not path.is_file():
                raise DataError("a file of a finished drive is missing", file=path, way_out=DAMAGED)

    def _files(self, span: Collection[int] | None) -> Iterable[Path]:
        for frame in self.image_frames():
            if span is None or frame in span:
                for camera in self.cameras:
                    path = image_file(self.folder, camera.name, frame)
                    yield from (path, *(truth_files(path) if self.config.truth else ()))
        yield from (sweep_file(self.folder, frame) for frame in self.sweep_frames() if span is None or frame in span)

    def sensors(
        self, states: Double, first: int, names: Sequence[str] | None = None, steps: Collection[int] | None = None
    ) -> Sensors:
        """What was seen in steps ``first`` to ``first`` + T of the drive, or in those of ``steps`` (counted from ``first``) only;
        states [T, 11] of the ego in a window's coordinates."""
        asked_for = range(len(states)) if steps is None else steps
        asked = [camera for camera in self.cameras if names is None or camera.name in names]
        lost = [name for name in names or () if name not in self.config.cameras]
        if lost:
            raise UnknownName("camera", lost[0], self.config.cameras, way_out="name it in the data set's sensors.cameras")
        pose = [flat_pose(*row) for row in states[:, [0, 1, HEADING]].tolist()]
        time = partial(_seconds, first, self.world.dt)
        frames = [frame for frame in self.image_frames() if 0 <= frame - first < len(states) and frame - first in asked_for]
        sweeps = [frame for frame in self.sweep_frames() if 0 <= frame - first < len(states) and frame - first in asked_for]
        found = Sensors(
            tuple(asked),
            tuple(
                Image(camera.name, time(frame), pose[frame - first], image_file(self.folder, camera.name, frame))
                for frame in frames
                for camera in asked
            ),
            tuple(Sweep(time(frame), pose[frame - first], sweep_file(self.folder, frame), read_pcd) for frame in sweeps),
        )
        found.validate()
        return found


def reimagined(world: World, seed: int) -> Renderer:
    """A renderer of any driving World, recorded elsewhere too: everybody and the roads as they are, made-up surroundings."""
    stage, still = made(world.map, seed)
    return Renderer(stage, still, world, np.zeros(2), seed)


def _seconds(first: int, dt: float, frame: int) -> float:
    return round((frame - first) * dt, 6)


def stride(rate: float, dt: float) -> int:
    """Steps between exposures. ``ConfigError`` where the rate does not divide the drive's."""
    steps = 1.0 / (rate * dt)
    if abs(steps - round(steps)) > 1e-6:
        raise ConfigError(
            f"{rate:g} Hz does not divide {1 / dt:g} Hz", way_out="set a rate of 10 / n: 10, 5, 2.5, 2, 1", field="rate"
        )
    return round(steps)
