"""The reconstructor ``splat``: a driving window with a scene of gaussians fitted to what its sensors saw, which can be rendered.

A scene is fitted when it is first asked for and kept in a folder, named by what went into it; the next run finds it there. The
world one acts in is the log's own, as with ``replay``: gaussians only show it, with every agent where the simulator has it.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from wetoolkit_driving.reconstruct import Replay, ReplayConfig
from wetoolkit_driving.sensors import Camera
from wetoolkit_driving.types import HEADING, World, X, Y

from wetoolkit.config import Config
from wetoolkit.errors import ConfigError, DataError
from wetoolkit.exploring import Explorer
from wetoolkit.registry import load_registry
from wetoolkit.store import key_of, write_atomic
from wetoolkit.types import Failure, Ref, Scenario, Scene
from wetoolkit_splat import coverage as coverages
from wetoolkit_splat.around import orbit, recognised
from wetoolkit_splat.coverage import Coverage, survey
from wetoolkit_splat.driving import FEWEST, Amounts, body_name, box_poses, clip_of, on_box
from wetoolkit_splat.files import scene as files
from wetoolkit_splat.graph import Node, SplatScene
from wetoolkit_splat.initial import from_points
from wetoolkit_splat.render import Backend, Settings
from wetoolkit_splat.train import FitConfig, fit
from wetoolkit_splat.trust import Trust, trust
from wetoolkit_splat.types import Cameras

ASSET, RIG, LOOK = "splat", "rig.json", "look.json"
LOOKED_AT, ASIDE = 4, 1.0  # steps of a scene whose trust is looked at when it is fitted; metres beside the path


class SplatConfig(Config):
    """Where sensors come from, how scenes are fitted and which are good enough."""

    dataset: str = Field(default="minitown", description="the data set whose sensors are used: that of the experiment")
    settings: dict[str, Any] = Field(default_factory=dict, description="of this data set: those of the experiment")
    every: int = Field(
        default=1, description="what was recorded at every so-many-th step of a window is used: each, or fewer [steps]", ge=1
    )
    folder: str = Field(default="splat-scenes", description="where fitted scenes are kept")
    fit: FitConfig = Field(default=FitConfig(steps=300, budget=40_000, depth=0.1, flat=0.0), description="how a scene is fitted")
    fit_seed: int = Field(default=0, description="of the fits; scenes do not depend on the seeds of an experiment [1]", ge=0)
    least_psnr: float = Field(default=20.0, description="of held-out pictures; a scene below is refused [dB]", ge=0)
    least_trust: float = Field(
        default=0.0,
        description="mean over pixels, on the path and 1 m beside it; a scene below is refused [1]",
        ge=0,
        le=1,
    )
    trust: bool = Field(
        default=True, description="whether renders come with trust; it costs about half of a picture of 320 x 180 more"
    )
    backend: Backend = Field(default="auto", description="what renders: auto, cpu, cuda, twin")


@dataclass(frozen=True)
class Opened:
    """A fitted scene as its folder holds it."""

    scene: SplatScene
    rig: Mapping[str, Camera]
    coverage: Coverage | None  # None: fitted elsewhere, so that nothing is known


class SplatScenes:
    """Scenes to act in that can be looked at."""

    def __init__(self, config: SplatConfig, dataset: Any = None) -> None:
        self.config, self._dataset = config, dataset

    def reconstruct(self, scenario: Scenario[World], failure: Failure | None, seed: int) -> Scene[World]:
        """The log's world and a fitted scene. ``DataError`` names a scene that is worse than ``least_psnr`` or ``least_trust``.

        The fit is seeded by ``fit_seed``, not by ``seed``, so that rollouts of several seeds share it; of several processes that
        ask for a scene at once, one fits it.
        """
        scene = Replay(ReplayConfig()).reconstruct(scenario, failure, seed)
        kept = self.config.model_dump(include={"dataset", "settings", "fit", "every"})
        name = key_of(scenario.id, scenario.log, kept, self.config.fit_seed)[:24]
        folder = Path(self.config.folder) / name
        if not (folder / LOOK).exists():
            with _alone(folder):
                if not (folder / LOOK).exists():
                    self._fit(scenario, folder, self.config.fit_seed)
        self._admit(scenario, folder)
        return replace(scene, assets={**scene.assets, ASSET: name})

    def cameras(self, scene: Scene[World]) -> Mapping[str, tuple[int, int]]:
        """The rig's cameras with the (width, height) of their pictures, left first."""
        rig = opened(Path(self.config.folder) / scene.assets[ASSET]).rig.values()
        order = sorted(rig, key=lambda camera: -float(np.arctan2(camera.mount[1, 2], camera.mount[0, 2])))
        return {camera.name: camera.size for camera in order}

    def render(
        self, scene: Scene[World], world: World, step: int, camera: str, resolution: tuple[int, int]
    ) -> Mapping[str, NDArray[Any]]:
        """``rgb`` [H, W, 3] uint8, ``depth`` [H, W] metres (0: the sky), ``trust`` [H, W] (P(the depth is right within 10 %)) and
        ``frame_trust`` [] (P(the frame is good)) at a step of a world. Trust is absent where a scene does not say what it was
        fitted to."""
        kept = opened(Path(self.config.folder) / scene.assets[ASSET])
        if camera not in kept.rig:
            raise DataError(f"no camera {camera!r}", scene=scene.id, known=", ".join(kept.rig), way_out="ask for one of these")
        shown, poses = driven(kept.scene, world, step)
        seen_from = camera_at(world, step, kept.rig[camera], resolution)
        time, settings = step * world.dt, Settings(self.config.backend)
        with torch.no_grad():
            seen = shown.render(seen_from, time, (camera,), poses, settings)
            believed = self.config.trust and kept.coverage and trust(shown, kept.coverage, seen_from, time, poses, seen, settings)
        rgb = (seen.colour[0].clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
        depth = torch.where(seen.alpha >= 0.5, seen.expected_depth(), 0.0)[0].cpu().numpy()
        found = {"rgb": rgb, "depth": depth}
        if believed:
            found |= {"trust": believed.pixels, "frame_trust": np.array(believed.frame, np.float32)}
        return found

    def _admit(self, scenario: Scenario[World], folder: Path) -> None:
        """``DataError`` for a scene that is not good enough, with its figures."""
        facts, config = json.loads((folder / LOOK).read_text()), self.config
        if not facts.get("psnr", np.inf) >= config.least_psnr:  # NaN is refused, too
            raise DataError(
                f"held-out pictures of the fitted scene have {facts['psnr']:.1f} dB, at least {config.least_psnr} are asked for",
                file=folder, scenario=scenario.id,
                way_out="raise fit.steps or fit.budget, or lower least_psnr; where all scenes are bad, check intrinsics and clocks",
            )  # fmt: skip
        for where in ("trust on the path", "trust 1 m aside"):
            if not facts.get(where, 1.0) >= config.least_trust:
                raise DataError(
                    f"{where} is {facts[where]:.2f} (mean over pixels), at least {config.least_trust} is asked for",
                    file=folder, scenario=scenario.id, way_out="raise fit.steps, use more pictures, or lower least_trust",
                )  # fmt: skip

    @classmethod
    def recognise(cls, path: Path) -> bool:
        """See ``wetoolkit_splat.around``."""
        return recognised(path)

    def orbit(self, path: Path, count: int, resolution: tuple[int, int]) -> Iterator[Mapping[str, NDArray[Any]]]:
        """See ``wetoolkit_splat.around``."""
        return orbit(path, count, resolution, self.config.backend)

    def explore(self, path: Path, port: int) -> Explorer:
        """See ``wetoolkit_splat.viewer``."""
        from wetoolkit_splat import tours, viewer

        return viewer.Viewer(tours.of_file(path), path.name, port)

    def explore_scene(self, scene: Scene[World], world: World, port: int) -> Explorer:
        """The fitted scene, everybody where ``world`` has them."""
        from wetoolkit_splat import tours, viewer

        kept = opened(Path(self.config.folder) / scene.assets[ASSET])
        return viewer.Viewer(tours.of_world(kept.scene, kept.coverage, world), scene.id, port)

    def _source(self) -> Any:
        if self._dataset is None:
            self._dataset = load_registry().build("dataset", self.config.dataset, self.config.settings)
        return self._dataset

    def _fit(self, scenario: Scenario[World], folder: Path, seed: int) -> None:
        ref = Ref(scenario.id, scenario.split, scenario.log)
        dataset = self._source()
        if dataset.load(ref).lineage != scenario.lineage:
            raise ConfigError(
                "the sensors' data set is not that of the scenario", scenario=scenario.id,
                way_out="give the reconstructor the same `dataset` and `settings` as the experiment's [dataset]",
            )  # fmt: skip
        sensors = dataset.sensors(ref, steps=range(0, scenario.clock.steps, self.config.every))
        whole = (0.0, (scenario.clock.steps - 1) * scenario.clock.dt)
        points, budget = self.config.fit.budget // 2, self.config.fit.budget
        amounts = Amounts(background=points, shell=points // 8, total=budget)  # a crowd of bodies leaves less to the background
        clip = clip_of(scenario.world, sensors, whole, seed, amounts)
        fitted = fit(
            clip, self.config.fit.model_copy(update={"backend": self.config.backend}), seed, None, folder / "fit.safetensors"
        )
        fitted_scene = fitted.learned.scene()
        settings = Settings(self.config.backend)
        seen = survey(fitted_scene, clip.split(self.config.fit.held_out)[0], settings, seed)
        files.write(folder, fitted_scene)
        coverages.write(folder, seen)
        write_atomic(folder / RIG, json.dumps([_facts(camera) for camera in sensors.cameras]).encode())
        trusts = trust_along(Opened(fitted_scene, {c.name: c for c in sensors.cameras}, seen), scenario.world, settings)
        look = {**(fitted.looks[-1] if fitted.looks else {}), **trusts, **clip.repairs, "steps_skipped": fitted.skipped}
        write_atomic(folder / LOOK, json.dumps(look).encode())
        for left in folder.glob("fit.safetensors*"):
            left.unlink()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time is here with a folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _facts(camera: Camera) -> dict[str, Any]:
    return {"name": camera.name, "size": camera.size, "intrinsics": camera.intrinsics.tolist(), "mount": camera.mount.tolist()}


def opened(folder: Path) -> Opened:
    """A scene's folder; the last few are kept in memory until they change on disk."""
    path = folder / files.JSON
    return _kept(folder, path.stat().st_mtime_ns if path.exists() else 0)


@lru_cache(maxsize=32)  # some 7 MB each: a simulator asks for all scenes of its chunk in turn
def _kept(folder: Path, changed: int) -> Opened:
    try:
        facts = json.loads((folder / RIG).read_text())
        cameras = [Camera(f["name"], tuple(f["size"]), np.array(f["intrinsics"]), np.array(f["mount"])) for f in facts]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"holds no rig: {error}", file=folder / RIG, way_out="give the folder in which the scene was fitted"
        ) from error
    return Opened(files.read(folder), {camera.name: camera for camera in cameras}, coverages.read(folder))


def trust_along(kept: Opened, world: World, settings: Settings) -> dict[str, float]:
    """Mean trust of the pixels of all cameras at a few steps, on the path and 1 m to either side."""
    found: dict[str, list[float]] = {"trust on the path": [], "trust 1 m aside": []}
    for step in np.linspace(0, world.steps - 1, LOOKED_AT + 2).astype(int)[1:-1].tolist():
        for shift in (0.0, ASIDE, -ASIDE):
            there = aside(world, shift)
            for camera in kept.rig.values():
                seen = _trusted(kept, there, step, camera_at(there, step, camera, camera.size), settings)
                found["trust 1 m aside" if shift else "trust on the path"].append(float(seen.pixels.mean()))
    return {name: float(np.mean(values)) for name, values in found.items()}


def _trusted(kept: Opened, world: World, step: int, cameras: Cameras, settings: Settings) -> Trust:
    assert kept.coverage is not None
    shown, poses = driven(kept.scene, world, step)
    with torch.no_grad():
        seen = shown.render(cameras, step * world.dt, (), poses, settings)
        return trust(shown, kept.coverage, cameras, step * world.dt, poses, seen, settings)


def aside(world: World, shift: float, yaw: float = 0.0) -> World:
    """The same world, the acting body so many metres to the left of where it was and turned to the left [rad], at all steps."""
    states = world.ego.states.copy()
    states[:, X] -= np.sin(states[:, HEADING]) * shift
    states[:, Y] += np.cos(states[:, HEADING]) * shift
    states[:, HEADING] += yaw
    return replace(world, ego=replace(world.ego, states=states))


def driven(scene: SplatScene, world: World, step: int) -> tuple[SplatScene, dict[str, torch.Tensor]]:
    """The scene of those who are there at a step of a world, and their poses [4, 4]; who was never seen is a grey box."""
    names = {body_name(world, agent): agent for agent in range(len(world.agents)) if world.agents.valid[agent, step]}
    for name, node in scene.nodes.items():
        if node.track is not None and name not in names:
            scene = scene.removed(name)
    for name, agent in names.items():
        if name not in scene.nodes:
            scene = scene.added(name, _boxed(world, agent))
    return scene, {name: torch.from_numpy(box_poses(world, agent)[step]).float() for name, agent in names.items()}


def _boxed(world: World, agent: int) -> Node:
    points = torch.from_numpy(on_box(world.agents.size[agent].astype(np.float64), 4 * FEWEST, np.random.default_rng(0))).float()
    length, width, height = (float(metres) for metres in world.agents.size[agent])
    return Node(from_points(points[:, :3], points[:, 3:], 0), size=(length, width, height))


def camera_at(world: World, step: int, camera: Camera, resolution: tuple[int, int]) -> Cameras:
    """A camera of the rig where the acting body is at a step, its pictures scaled to ``resolution`` (width, height)."""
    state, ego = world.ego.states[step], np.eye(4)
    ego[:2, :2] = [[np.cos(state[HEADING]), -np.sin(state[HEADING])], [np.sin(state[HEADING]), np.cos(state[HEADING])]]
    ego[:2, 3] = state[X], state[Y]
    width, height = resolution
    scaled = np.diag([width / camera.size[0], height / camera.size[1], 1.0]) @ camera.intrinsics
    view = np.linalg.inv(ego @ camera.mount)
    return Cameras(torch.from_numpy(view)[None].float(), torch.from_numpy(scaled)[None].float(), width, height)


def looks(config: SplatConfig) -> dict[str, Any]:
    """What is known of the fitted scenes in the folder, by name."""
    return {path.parent.name: json.loads(path.read_text()) for path in sorted(Path(config.folder).glob(f"*/{LOOK}"))}


__all__ = ["SplatConfig", "SplatScenes", "aside", "camera_at", "driven", "looks", "opened", "trust_along"]
