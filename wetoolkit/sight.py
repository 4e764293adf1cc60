"""Where the pictures of an observation come from: what a log recorded, or a renderer makes. For domains and simulators.

A domain's ``observe`` ends with ``Observation(..., **seen(situations, spec))``. A simulator with SupportsRenderers gives each
Situation ``sight_of(scene, renderers)``, and each Rollout ``**shown([glimpsed(observation, row), ...])``: what the policy saw at
its decisions, so that experience is made of the very same pictures and nothing is rendered twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from wetoolkit.errors import DataError, PluginError
from wetoolkit.kinds import SupportsPictures, SupportsRender, SupportsSensors
from wetoolkit.types import (
    Array,
    Clock,
    Glimpse,
    Observation,
    ObservationSpec,
    Picture,
    Ref,
    Scenario,
    Scene,
    Sight,
    Situation,
    Step,
    require,
)


def seen(situations: Sequence[Situation[Any]], spec: ObservationSpec) -> dict[str, Any]:
    """The fields ``images``, ``trust`` and ``trust_known`` of an Observation; none where the spec asks for no camera."""
    if not spec.cameras:
        return {}
    require(min(spec.resolution) > 0, f"resolution {spec.resolution}", "spec.resolution", "give width and height in pixels")
    glimpses = [_look(situation, spec) for situation in situations]
    known = np.array([all(glimpse.trust is not None for glimpse in row.values()) for row in glimpses], np.bool_)
    trust = np.array([min((g.trust for g in row.values() if g.trust is not None), default=1.0) for row in glimpses], np.float64)
    images = {camera: _column([row[camera].picture for row in glimpses]) for camera in spec.cameras}
    return {"images": images, "trust": trust, "trust_known": known}


def _look(situation: Situation[Any], spec: ObservationSpec) -> Mapping[str, Glimpse]:
    """What one situation's cameras show, checked."""
    if situation.sight is None:
        raise PluginError(
            f"nothing shows what the cameras {', '.join(spec.cameras)} see", situation=situation.id,
            way_out="use a dataset with sensors (log frames), a reconstructor that renders (scenes), or a policy without cameras",
        )  # fmt: skip
    found = situation.sight(situation.world, situation.step, spec)
    for camera in spec.cameras:
        require(camera in found, f"no picture of the camera {camera!r}", f"situation {situation.id!r}", "answer every camera")
        found[camera].validate()
        size = found[camera].picture.size
        asked = f"{spec.resolution[0]}x{spec.resolution[1]} was asked"
        require(size == tuple(spec.resolution), f"{size[0]}x{size[1]} pixels of {camera!r}", f"situation {situation.id!r}", asked)
    return found


def _column(pictures: Sequence[Picture]) -> Array:
    rows = np.empty(len(pictures), object)
    rows[:] = pictures
    return rows


def glimpsed(observation: Observation[Any], row: int) -> Observation[Any]:
    """Only the pictures of one item, for a simulator to keep until it makes the Rollout."""
    return replace(observation, arrays={}, worlds=()).rows(slice(row, row + 1))


def shown(observations: Sequence[Observation[Any]]) -> dict[str, Any]:
    """The fields ``images``, ``trust`` and ``trust_known`` of a Rollout: [K] of what was seen at its decisions, one item each.

    A camera that was not seen at every decision is left out.
    """
    if not observations:
        return {}
    cameras = [name for name in observations[-1].images if all(name in observation.images for observation in observations)]
    ones = [replace(o, trust=np.ones(1), trust_known=np.ones(1, np.bool_)) if o.trust is None else o for o in observations]
    return {
        "images": {name: np.concatenate([observation.images[name] for observation in observations]) for name in cameras},
        **{name: np.concatenate([getattr(one, name) for one in ones]) for name in ("trust", "trust_known")},
    }


@dataclass(frozen=True)
class Recorded:
    """A ``Sight``: what a dataset's cameras recorded of a scenario."""

    dataset: SupportsSensors
    domain: SupportsPictures
    ref: Ref
    clock: Clock

    def __call__(self, world: Any, step: int, spec: ObservationSpec) -> Mapping[str, Glimpse]:
        """Each camera's last picture up to the step that is not older than the spec allows. Recorded ones are fully trusted."""
        back = int(np.ceil(spec.picture_age / self.clock.dt - 1e-6))
        sensors = self.dataset.sensors(self.ref, spec.cameras, range(max(0, step - back), step + 1))
        return {camera: Glimpse(self._picture(sensors, camera, step, spec).fitted(spec.resolution), 1.0) for camera in spec.cameras}

    def _picture(self, sensors: Any, camera: str, step: int, spec: ObservationSpec) -> Picture:
        seconds, age = step * self.clock.dt, spec.picture_age
        picture = self.domain.picture(sensors, camera, seconds, age)
        if picture is None:
            raise DataError(
                f"the camera {camera!r} recorded no picture in the {age:g} s up to {seconds:g} s",
                scenario=self.ref.id, dataset=type(self.dataset).__name__,
                way_out="take a dataset or settings with a higher camera rate, or let the policy's spec allow an older picture_age",
            )  # fmt: skip
        return picture


@dataclass(frozen=True)
class Rendered:
    """A ``Sight``: what a renderer makes of a scene, wherever its bodies are."""

    renderer: SupportsRender
    scene: Scene[Any]

    def __call__(self, world: Any, step: int, spec: ObservationSpec) -> Mapping[str, Glimpse]:
        """Each camera's picture at a step of a world, with the frame's trust where the renderer knows it."""
        return {camera: self._picture(world, step, camera, spec.resolution) for camera in spec.cameras}

    def _picture(self, world: Any, step: int, camera: str, resolution: tuple[int, int]) -> Glimpse:
        made = self.renderer.render(self.scene, world, step, camera, resolution)
        trust = made.get("frame_trust")
        return Glimpse(Picture.of(made["rgb"]), None if trust is None else float(trust))


@dataclass(frozen=True)
class Unrendered:
    """A ``Sight`` of a scene that nobody can show: every look is an error that names who made the scene."""

    scene: Scene[Any]

    def __call__(self, world: Any, step: int, spec: ObservationSpec) -> Mapping[str, Glimpse]:
        """``PluginError``."""
        makers = [link.component for link in self.scene.lineage.steps if link.component.startswith("reconstructor/")]
        raise PluginError(
            f"nothing renders the cameras {', '.join(spec.cameras)} of this scene",
            scene=self.scene.id, made_by=", ".join(makers) or "unknown",
            way_out="use a reconstructor that renders (see `wetool plugins`), named in the experiment, or a policy without cameras",
        )  # fmt: skip


def sight_of(scene: Scene[Any], renderers: Mapping[Step, SupportsRender]) -> Sight:
    """How a scene is seen: by the last of the renderers that stands in its Lineage."""
    links = (replace(link, seed=None) for link in reversed(scene.lineage.steps))
    found = next((renderers[link] for link in links if link in renderers), None)
    return Unrendered(scene) if found is None else Rendered(found, scene)


def sighted(scenario: Scenario[Any], dataset: Any, domain: Any) -> Scenario[Any]:
    """The scenario with what its dataset's cameras recorded, where there are cameras and the domain can read them."""
    if not (isinstance(dataset, SupportsSensors) and isinstance(domain, SupportsPictures)):
        return scenario
    ref = Ref(scenario.id, scenario.split, scenario.log)
    return replace(scenario, sight=Recorded(dataset, domain, ref, scenario.clock))


__all__ = ["Recorded", "Rendered", "Unrendered", "glimpsed", "seen", "shown", "sight_of", "sighted"]
