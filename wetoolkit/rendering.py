"""A recorded rollout through the cameras of its scene: as a film, and as sheets of what was logged, rendered, and is known of it.

The scene's reconstructor makes the pictures (``SupportsRender``); what the log's own cameras saw comes from the data set
(``SupportsSensors``) through the domain (``SupportsPictures``), where both can.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wetoolkit import sheets
from wetoolkit.branching import Asked, branch, recorded
from wetoolkit.errors import DataError, PluginError, UnknownName, WetoolkitError
from wetoolkit.exploring import Explorer, SupportsExplore
from wetoolkit.film import write_film, write_sheet
from wetoolkit.filming import plain
from wetoolkit.kinds import SupportsPictures, SupportsRender, SupportsSensors
from wetoolkit.progress import Watch
from wetoolkit.registry import Registry
from wetoolkit.types import Array, Rollout, Scene
from wetoolkit.work import Session

STALE = 5  # steps: how old a logged picture may be beside a rendered one


@dataclass(frozen=True)
class Shown:
    """A rollout to be looked at, and what shows it."""

    scene: Scene[Any]
    rollout: Rollout[Any]
    renderer: SupportsRender
    sizes: Mapping[str, tuple[int, int]]  # camera -> (width, height) of its pictures

    def render(self, step: int, camera: str) -> Mapping[str, Array]:
        """One picture: what ``SupportsRender`` says."""
        return self.renderer.render(self.scene, self.rollout.world, step, camera, self.sizes[camera])

    def seconds(self, step: int) -> float:
        """Seconds after the first decision."""
        return (step - self.rollout.clock.now) * self.rollout.clock.dt


@dataclass(frozen=True)
class LoggedPictures:
    """What the log's own cameras saw, or why nobody can say."""

    missing: str = ""
    domain: Any = None
    sensors: Any = field(default=None, repr=False)

    def at(self, camera: str, step: int, dt: float) -> tuple[Array | None, str]:
        """A camera's picture [H, W, 3] of a step, or of up to ``STALE`` steps before, and words about it."""
        if self.missing:
            return None, self.missing
        try:
            for age in range(STALE + 1):
                found = self.domain.picture(self.sensors, camera, (step - age) * dt, 0.5 * dt)
                if found is not None:
                    return found.decode(), f"{age * dt:.1f} s before" if age else ""
        except WetoolkitError as error:
            return None, error.what
        return None, "the log has no picture of this camera at this time"


def shown(
    session: Session, scene: str, policy: str = "", cameras: Sequence[str] = (), size: tuple[int, int] | None = None
) -> Shown:
    """A scene's rollout in a run: the record, or, where a policy is named that did not drive it, that policy's drive.

    ``UnknownName`` tells the nearest scene, policy or camera; ``PluginError`` says that the reconstructor renders nothing.
    """
    found, rollout = _drive(session, scene, policy)
    renderer = _renderer(session, found)
    sizes = dict(renderer.cameras(found))
    for camera in cameras:
        if camera not in sizes:
            raise UnknownName("camera", camera, sizes, scene=scene)
    asked = {camera: size or sizes[camera] for camera in sizes if camera in cameras or not cameras}
    return Shown(found, rollout, renderer, asked)


def explored(session: Session, scene: str, policy: str, port: int) -> Explorer:
    """A viewer of a scene's rollout in a run, chosen as in ``shown``."""
    found, rollout = _drive(session, scene, policy)
    part = _renderer(session, found)
    if not isinstance(part, SupportsExplore):
        own = session.parts.step("reconstructor")
        raise PluginError(f"{own.component} has no viewer", distribution=own.distribution, way_out="see `wetool render`")
    return part.explore_scene(found, rollout.world, port)


def _drive(session: Session, scene: str, policy: str) -> tuple[Scene[Any], Rollout[Any]]:
    found, rollout = recorded(session, scene)
    if policy and policy != rollout.policy:
        branched = branch(session, Asked(scene, 0.0, (policy,)))
        if branched.failed:
            raise PluginError(f"{policy} did not drive {scene}: {branched.failed[0].reason}", way_out="name another policy")
        rollout = branched.rollouts[1]
    return found, rollout


def _renderer(session: Session, scene: Scene[Any]) -> SupportsRender:
    """The run's reconstructor; by its name alone, so that a newer version still shows what an older one made."""
    own = session.parts.step("reconstructor")
    made = [step.component for step in scene.lineage.steps if step.component.startswith("reconstructor/")]
    if made and made[-1] != own.component:
        raise PluginError(
            f"the scene was made by {made[-1]}, the run has {own.component}", scene=scene.id, run=str(session.store.folder),
            way_out="look at it in the run that made it",
        )  # fmt: skip
    part = session.parts.build("reconstructor")
    if not isinstance(part, SupportsRender):
        raise PluginError(
            f"{own.component} renders no pictures", distribution=own.distribution, scene=scene.id,
            way_out="choose one that does (wetoolkit.kinds.SupportsRender), or draw the map: `wetool rollout --video`",
        )  # fmt: skip
    return part


def _logged(session: Session, what: Shown, steps: Sequence[int]) -> LoggedPictures:
    """What was recorded at these steps and just before."""
    dataset, domain = session.parts.build("dataset"), session.parts.domain
    if not isinstance(dataset, SupportsSensors):
        return LoggedPictures("the data set has no pictures")
    if not isinstance(domain, SupportsPictures):
        return LoggedPictures(f"the domain {domain.name!r} shows no pictures")
    near = sorted({step - age for step in steps for age in range(STALE + 1) if step >= age})
    try:
        return LoggedPictures("", domain, dataset.sensors(what.scene.scenario, tuple(what.sizes), near))
    except WetoolkitError as error:
        return LoggedPictures(error.what)


def write_render(session: Session, what: Shown, folder: Path) -> Path:
    """A film of every step, the cameras side by side, in real time."""
    steps = range(what.rollout.clock.now, what.rollout.end)
    path = folder / f"{plain(what.rollout.scene)}-{plain(what.rollout.policy)}.mp4"
    session.watch.start("render", len(steps))

    def frames() -> Iterator[Array]:
        for number, step in enumerate(steps):
            session.watch.step(number, len(steps))
            yield _frame(what, step)

    write_film(path, frames(), 1.0 / what.rollout.clock.dt)
    session.watch.stop("render", str(path))
    return path


def _frame(what: Shown, step: int) -> Array:
    """The cameras of one step beside each other, each with its name and how far its frame can be trusted."""
    tiles = []
    for camera in what.sizes:
        seen = what.render(step, camera)
        tiles.append(sheets.captioned(seen["rgb"], camera + _frame_trust(seen)))
    height = max(tile.shape[0] for tile in tiles)
    level = [np.pad(tile, ((0, height - tile.shape[0]), (0, 0), (0, 0)), constant_values=255) for tile in tiles]
    picture = np.concatenate(level, 1)
    foot = np.full((sheets.HEAD, picture.shape[1], 3), 255, np.uint8)
    words = f"{what.seconds(step):4.1f} s   {what.rollout.policy}   {what.rollout.scene[:60]}"
    return sheets.even(np.concatenate([picture, sheets.captioned(foot, words, (6, 5), "la", sheets.INK)]))


def _frame_trust(seen: Mapping[str, Array]) -> str:
    return f"   trust {float(seen['frame_trust']):.2f}" if "frame_trust" in seen else ""


def write_sheets(session: Session, what: Shown, folder: Path, count: int = 6) -> list[Path]:
    """A sheet a camera: ``count`` steps, evenly spread, as rows of logged, rendered, depth and trust."""
    steps = np.unique(np.linspace(what.rollout.clock.now, what.rollout.end - 1, count).round().astype(int)).tolist()
    stem = f"{plain(what.rollout.scene)}-{plain(what.rollout.policy)}"
    log, paths = _logged(session, what, steps), []
    session.watch.start("sheets", len(what.sizes))
    for number, camera in enumerate(what.sizes):
        paths.append(folder / f"{stem}-{plain(camera)}.png")
        write_sheet(paths[-1], [_sheet(what, log, camera, steps)])
        session.watch.step(number + 1, len(what.sizes))
    session.watch.stop("sheets", f"{len(paths)} in {folder}")
    return paths


def _sheet(what: Shown, log: LoggedPictures, camera: str, steps: Sequence[int]) -> Array:
    seen = [what.render(step, camera) for step in steps]
    near, far = sheets.depth_range([one["depth"] for one in seen if "depth" in one])
    heads = [f"logged: {camera}", "rendered", f"depth: {near:.3g} m light, {far:.3g} m dark, grey sky", "trust: 0 red, 1 teal"]
    labels = [
        f"{what.seconds(step):+.1f} s" + _frame_trust(one).replace("   ", "\n") for step, one in zip(steps, seen, strict=True)
    ]
    lines = [_row(one, log.at(camera, step, what.rollout.clock.dt), near, far) for step, one in zip(steps, seen, strict=True)]
    return sheets.rows(heads, labels, lines)


def _row(seen: Mapping[str, Array], recorded_: tuple[Array | None, str], near: float, far: float) -> list[Array]:
    shape, (logged, words) = seen["rgb"].shape[:2], recorded_
    if logged is None:
        first = sheets.said(shape, words)
    else:
        first = sheets.scaled(logged, shape)
        first = sheets.captioned(first, words) if words else first
    depth = sheets.depth_picture(seen["depth"], near, far) if "depth" in seen else sheets.said(shape, "no depth is known")
    trust = sheets.trust_picture(seen["trust"]) if "trust" in seen else sheets.said(shape, "trust is not known")
    return [first, seen["rgb"], depth, trust]


def explorer(registry: Registry, path: Path) -> Any:
    """The installed reconstructor that shows a file or a folder (``SupportsExplore``), with its default settings.

    ``DataError`` where none recognises it.
    """
    names = sorted({entry.component.name for entry in registry.entries if getattr(entry.component, "kind", "") == "reconstructor"})
    able = []
    for name in names:
        with suppress(WetoolkitError):  # a plugin that cannot be used shows nothing
            target = registry.target("reconstructor", name)
            if isinstance(target, type) and issubclass(target, SupportsExplore):
                able.append(name)
                if path.exists() and target.recognise(path):
                    return registry.build("reconstructor", name, {})
    what = "is no run folder, and nothing installed shows it" if path.exists() else "does not exist"
    raise DataError(
        what, file=path, shown_by=", ".join(able) or "no reconstructor", way_out="give a run, a scene's folder or its file"
    )


ORBIT = 48  # pictures of one turn


def write_orbit(part: SupportsExplore, path: Path, folder: Path, size: tuple[int, int], sheet: bool, watch: Watch) -> Path:
    """A file from around: a film of one turn, or a sheet of eight of its pictures with their depths."""
    count = 8 if sheet else ORBIT
    target = folder / f"{plain(path.name)}.{'png' if sheet else 'mp4'}"
    watch.start("orbit", count)

    def seen() -> Iterator[Mapping[str, Array]]:
        for number, one in enumerate(part.orbit(path, count, size)):
            watch.step(number + 1, count)
            yield one

    if sheet:
        write_sheet(target, [_orbit_sheet(list(seen()))])
    else:
        write_film(target, (sheets.even(one["rgb"]) for one in seen()), 12.0)
    watch.stop("orbit", str(target))
    return target


def _orbit_sheet(seen: Sequence[Mapping[str, Array]]) -> Array:
    """Two pictures a row, each with its depth; metres only where the file is in metres."""
    near, far = sheets.depth_range([one["depth"] for one in seen if "depth" in one])
    shape, half = seen[0]["rgb"].shape[:2], (len(seen) + 1) // 2
    cells = [
        [one["rgb"], sheets.depth_picture(one["depth"], near, far) if "depth" in one else sheets.said(shape, "no depth is known")]
        for one in seen
    ]
    lines = [[*cells[row], *cells[(row + half) % len(seen)]] for row in range(half)]
    degrees = [f"{360 * row // len(seen)} and\n{360 * (row + half) // len(seen)} deg" for row in range(half)]
    return sheets.rows(["rendered", f"depth: {near:.3g} light, {far:.3g} dark"] * 2, degrees, lines)


__all__ = ["LoggedPictures", "Shown", "explored", "explorer", "shown", "write_orbit", "write_render", "write_sheets"]
