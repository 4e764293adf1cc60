"""What the PDM score looks at: the ego now, the map's polygons, the others' boxes in the next seconds, the route's centre line."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wetoolkit.types import require, require_finite
from wetoolkit_driving.geometry import box_corners, boxes_touch, ego_corners
from wetoolkit_driving.pdm.areas import Areas, index_areas
from wetoolkit_driving.pdm.observation import driven_past, observed_tracks, red_areas
from wetoolkit_driving.pdm.variants import NAVSIM_1_1, Variant
from wetoolkit_driving.types import Vehicle, World

Double = NDArray[np.float64]
Bool = NDArray[np.bool_]
Byte = NDArray[np.uint8]

DT = 0.1  # seconds a frame
STATES = 41  # now and 4 s
LOOK = 10  # frames after the last state that the time-to-collision test may ask for


@dataclass(frozen=True)
class PdmScene:
    """One situation as plain float64 arrays, all in one frame. F frames of 0.1 s, K tracks, P polygons, C route points."""

    ego: Double  # [11] state now
    areas: Areas  # P polygons
    boxes: Double  # [F, K, 4, 2] corners FL, RL, RR, FR; zeros where absent
    valid: Bool  # [F, K]
    kind: Byte  # [K] types.AgentClass
    first_speed: Double  # [K] m/s at the track's first frame: at most 0.05 counts as stopped for good
    centerline: Double  # [C, 2] of the route, C = 0 where there is none
    ids: tuple[str, ...] = ()  # [K]
    vehicle: Vehicle = field(default_factory=Vehicle)
    unavailable: tuple[str, ...] = ()  # as World.unavailable
    past: Double = field(default_factory=lambda: np.zeros((0, 11)))  # [H, 11] what the ego drove before, see ``Variant.history``
    red: Bool = field(default_factory=lambda: np.zeros((0, 0), bool))  # [F, P] areas behind red lights of the route; [0, 0]: none

    def validate(self) -> None:
        frames, count = self.valid.shape
        require_finite(self.ego, "scene.ego")
        require(self.boxes.shape == (frames, count, 4, 2), f"shape {self.boxes.shape}", "scene.boxes", "[F, K, 4, 2]")
        require_finite(self.boxes, "scene.boxes")
        require(len(self.kind) == len(self.first_speed) == count, "lengths differ", "scene.kind", "one a track")
        require_finite(self.first_speed, "scene.first_speed")
        require_finite(self.centerline, "scene.centerline")
        require(len(self.centerline) != 1, "one point", "scene.centerline", "give two points or none")
        require(self.past.ndim == 2 and self.past.shape[1] == 11, f"shape {self.past.shape}", "scene.past", "[H, 11]")
        require_finite(self.past, "scene.past")
        require(not len(self.red) or self.red.shape[1] == len(self.areas.kind), f"shape {self.red.shape}", "scene.red", "[F, P]")


def index_map(world: World) -> Areas:
    """The polygons of a world's map, ready for point tests; the same map's index may serve many scenes."""
    return index_areas(world.map.area_xy, world.map.area_offset, world.map.area_kind, world.on_route)


def from_world(
    world: World, step: int, states: int = STATES, areas: Areas | None = None, variant: Variant = NAVSIM_1_1
) -> PdmScene:
    """The scene a proposal made at ``step`` is judged in, with ``states`` - 1 steps of what the others did, as ``variant`` sees it.

    Tracks are those of the record from ``step`` on. Frames beyond the record's end go on at constant velocity for tracks that are
    there at its end. ``areas``: ``index_map(world)`` where it is at hand.
    """
    require(abs(world.dt - DT) < 1e-6, f"dt is {world.dt} s", "world.dt", "resample the world to 0.1 s before scoring")
    require(0 <= step < world.steps, f"step {step} of {world.steps}", "situation.step", "give a step of the record")
    frames = states + variant.sample_beyond
    agents = world.agents
    pose, valid, first = observed_tracks(agents, step, frames, variant)
    at = np.minimum(step + first, world.steps - 1)
    speed = np.hypot(*agents.velocity[np.arange(len(agents)), at].astype(np.float64).T)  # [A] m/s
    size = agents.size.astype(np.float64)
    boxes = np.where(valid[..., None, None], box_corners(pose, size[:, 0], size[:, 1]), 0.0)  # [F, A, 4, 2]
    seen = np.asarray(valid.any(0))  # [A]
    if variant.drop_touching:
        ego = ego_corners(np.asarray(world.ego.states[step], np.float64), world.ego.vehicle)
        seen &= ~(valid[0] & boxes_touch(ego, boxes[0]))
    scene = PdmScene(
        ego=np.asarray(world.ego.states[step], np.float64),
        areas=index_map(world) if areas is None else areas,
        boxes=np.ascontiguousarray(boxes[:, seen]),
        valid=np.ascontiguousarray(valid[:, seen]),
        kind=np.ascontiguousarray(agents.kind[seen], np.uint8),
        first_speed=speed[seen],
        centerline=route_line(world),
        ids=tuple(name for name, keep in zip(agents.ids, seen.tolist(), strict=True) if keep),
        vehicle=world.ego.vehicle,
        unavailable=world.unavailable,
        past=driven_past(world, step, variant),
        red=red_areas(world, step, frames, variant),
    )
    scene.validate()  # a NaN compares false with everything: it would pass as no collision
    return scene


def route_line(world: World) -> Double:
    """Points [C, 2] of the route's lane centre lines, joined in order; [0, 2] where there is no route."""
    if not len(world.route):
        return np.zeros((0, 2))
    known = bool(((world.route >= 0) & (world.route < world.map.lanes)).all())
    require(known, f"lanes {world.route} where there are {world.map.lanes}", "world.route", "give indices into the map's lanes")
    return np.concatenate([world.map.centre_line(int(lane)) for lane in world.route]).astype(np.float64)
