"""The reconstructor ``minitown-cameras``: a window's own world, looked at by minitown's ray caster, wherever its agents have gone.

What ``splat`` and others only fit is here as it is: the town's stage, light and bodies are those of the recorded drive, agents
stand where the world has them and the cameras where the ego drove. So its pictures are the truth that renders are compared with,
and its trust is 1 everywhere. A world that was not changed looks as it was recorded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from wetoolkit_driving.reconstruct import Replay, ReplayConfig
from wetoolkit_driving.sensors import Camera
from wetoolkit_driving.types import World

from wetoolkit.config import Config
from wetoolkit.errors import ConfigError
from wetoolkit.types import Failure, Ref, Scenario, Scene
from wetoolkit_minitown.dataset import STEPS, Minitown, MinitownConfig
from wetoolkit_minitown.sensors.actors import Actors
from wetoolkit_minitown.sensors.extra import embree
from wetoolkit_minitown.sensors.renderer import Renderer
from wetoolkit_minitown.sensors.rig import MOUNTS, rig
from wetoolkit_minitown.sensors.studio import Studio

Double = NDArray[np.float64]
SAME = 0.05  # metres: an agent of a window is that of the drive who stands so near to it at the window's first step


class CamerasConfig(Config):
    """Which town it is."""

    settings: MinitownConfig = Field(MinitownConfig(), description="of the data set: those of the experiment's [dataset]")


@dataclass(frozen=True)
class _Cast:
    """Who of a window is who on the drive it was cut from."""

    names: Mapping[str, str]  # id in the window -> id on the drive, by which bodies look
    gone: Mapping[str, float]  # id in the window -> metres gone before its first step


class Cameras:
    """Scenes to act in that look as they would. Implements kinds.Reconstructor, with SupportsRender."""

    def __init__(self, config: CamerasConfig) -> None:
        self.config, self._town = config, Minitown(config.settings)
        self._kept: tuple[str, Renderer] | None = None  # of the last moment: a rig's cameras ask for it one after the other

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None}

    def reconstruct(self, scenario: Scenario[World], failure: Failure | None, seed: int) -> Scene[World]:
        """The log's world, as ``replay`` gives it. ``ConfigError`` where the scenario is not of this town."""
        embree("rtcore_scene")  # what is missing is said here, not at the first picture
        ref = Ref(scenario.id, scenario.split, scenario.log)
        if scenario.lineage.dataset != "minitown" or self._town.load(ref).lineage != scenario.lineage:
            raise ConfigError(
                "the scenario is not of this town", scenario=scenario.id,
                way_out="give the reconstructor the same `settings` as the experiment's [dataset], which must be minitown",
            )  # fmt: skip
        return Replay(ReplayConfig()).reconstruct(scenario, failure, seed)

    def cameras(self, scene: Scene[World]) -> Mapping[str, tuple[int, int]]:
        """The rig that records, left first. ``render`` takes any other of ``rig.MOUNTS`` too."""
        asked = self.config.settings.sensors
        left_first = sorted(asked.cameras, key=lambda name: -MOUNTS[name][3])
        return dict.fromkeys(left_first, (asked.width, asked.height))

    def render(
        self, scene: Scene[World], world: World, step: int, camera: str, resolution: tuple[int, int]
    ) -> Mapping[str, NDArray[Any]]:
        """``rgb`` [H, W, 3] uint8, ``depth`` [H, W] metres (0: the sky), ``trust`` [H, W] and ``frame_trust`` [], which are 1.

        ``resolution`` is (width, height). ``UnknownName`` for a camera that the rig lacks.
        """
        studio, first = self._town.studio(scene.scenario)
        shot = self._renderer(studio, first, scene, world, step).image(_scaled(camera, studio, resolution), step)
        depth = np.where(np.isfinite(shot.depth), shot.depth, np.float32(0))
        return {"rgb": shot.rgb, "depth": depth, "trust": np.ones_like(depth), "frame_trust": np.array(1.0, np.float32)}

    def _renderer(self, studio: Studio, first: int, scene: Scene[World], world: World, step: int) -> Renderer:
        name = _moment(scene, world, step)
        if self._kept is None or self._kept[0] != name:
            cast = _matched(self.config.settings, scene.scenario)
            self._kept = name, _renderer(studio, first, cast, scene, world)
        return self._kept[1]


def _moment(scene: Scene[World], world: World, step: int) -> str:
    """A hash of all that a picture shows, so that a world whose arrays were written since is another one."""
    agents, known = world.agents, slice(0, step + 1)
    seen = (agents.pose[:, known], agents.valid[:, known], agents.velocity[:, step], agents.size, world.ego.states[step])
    facts = repr((scene.scenario, scene.origin, step, agents.ids, agents.kind.tolist())).encode()
    return hashlib.blake2b(facts + b"".join(np.ascontiguousarray(array).tobytes() for array in seen)).hexdigest()


@lru_cache(maxsize=64)
def _matched(config: MinitownConfig, ref: Ref) -> _Cast:
    """By place and class at the window's first step: a window numbers its agents anew."""
    town = Minitown(config)
    studio, first = town.studio(ref)
    scenario, drive = town.load(ref), studio.world.agents
    own = scenario.world.agents
    here = own.pose[:, 0, :2] + np.asarray(scenario.origin[:2])
    there = drive.pose[:, first, :2] + np.asarray(studio.shift)
    apart = np.hypot(*np.moveaxis(here[:, None] - there, -1, 0))  # [A, drive's A]
    apart[own.kind[:, None] != drive.kind] = np.inf
    nearest = apart.argmin(1)
    gone = Actors(studio.world, np.zeros(2), studio.seed).gone[:, first]
    known = [(name, int(row)) for a, (name, row) in enumerate(zip(own.ids, nearest, strict=True)) if apart[a, row] < SAME]
    return _Cast({name: drive.ids[row] for name, row in known}, {name: float(gone[row]) for name, row in known})


def _renderer(studio: Studio, first: int, cast: _Cast, scene: Scene[World], world: World) -> Renderer:
    """A renderer of this world on the drive's stage, its light, bodies and signals being the drive's."""
    stage, still = studio.stands()
    agents = world.agents
    named = replace(agents, ids=tuple(cast.names.get(name, f"guest/{name}") for name in agents.ids))
    lights = (
        studio.world.signals
    )  # rows as on the stage; a window's own are fewer. They do as recorded, and at last stay as they were
    steps = np.minimum(first + np.minimum(np.arange(world.steps), STEPS - 1), lights.shape[1] - 1)
    before = np.array([cast.gone.get(name, 0.0) for name in agents.ids])
    return Renderer(
        stage, still, replace(world, agents=named, signals=lights[:, steps]), np.asarray(scene.origin[:2]), studio.seed, before
    )


def _scaled(name: str, studio: Studio, resolution: tuple[int, int]) -> Camera:
    """A camera of the rig as it records, its pictures scaled to ``resolution``."""
    (camera,) = rig([name], (studio.config.width, studio.config.height))
    scale = np.diag([resolution[0] / camera.size[0], resolution[1] / camera.size[1], 1.0])
    return replace(camera, size=resolution, intrinsics=scale @ camera.intrinsics)
