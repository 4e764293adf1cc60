"""What PDM-Closed expects of the others: each goes on straight, at the speed it has now, along its own heading.

Source: NAVSIM, pdm_observation and pdm_object_manager. Who touches
the ego now (``touching``) is neither leader nor collision.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from wetoolkit.types import require
from wetoolkit_driving.geometry import box_corners, ego_center, ego_corners, quads_touch, wrap_angle
from wetoolkit_driving.jit import kernel
from wetoolkit_driving.pdm.areas import Areas
from wetoolkit_driving.pdm.observation import red_areas
from wetoolkit_driving.pdm.scene import DT, PdmScene, index_map
from wetoolkit_driving.pdm.variants import Variant
from wetoolkit_driving.types import AgentClass, World

Double = NDArray[np.float64]
Bool = NDArray[np.bool_]
Int = NDArray[np.int64]

RADIUS = 100.0  # metres between the box centres within which somebody is seen
MOST = {AgentClass.VEHICLE: 50, AgentClass.PEDESTRIAN: 25, AgentClass.BICYCLE: 10}  # the nearest of each; of what stands:
MOST_STANDING = 50


def expect(
    world: World, step: int, states: int, hold: int, centerline: Double, variant: Variant, areas: Areas | None = None
) -> PdmScene:
    """The scene of the ``states`` + ``variant.look`` frames from ``step`` on as PDM-Closed expects it; only ``step`` is looked at.

    ``hold``: frames for which a forecast stands before the next one is made. Comfort begins now: the scene has no past.
    """
    require(abs(world.dt - DT) < 1e-6, f"dt is {world.dt} s", "world.dt", "resample the world to 0.1 s before planning")
    agents, ego, vehicle = world.agents, np.asarray(world.ego.states[step], np.float64), world.ego.vehicle
    rows = nearest_tracks(world, step)
    size, pose = agents.size[rows].astype(np.float64), agents.pose[rows, step].astype(np.float64)
    now = box_corners(pose, size[:, 0], size[:, 1])  # [K, 4, 2]
    speed = np.where(agents.kind[rows] <= AgentClass.BICYCLE, np.hypot(*agents.velocity[rows, step].astype(np.float64).T), 0.0)
    frames = states + variant.look
    times = DT * (np.arange(frames) // hold * hold)  # [F] seconds
    moved = velocity_of(agents.velocity[rows, step], pose[:, 2], speed) * times[:, None, None]  # [F, K, 2]
    known = world.until(step)
    red = red_areas(known, step, frames, variant)
    scene = PdmScene(
        ego=ego, areas=index_map(world) if areas is None else areas, boxes=np.ascontiguousarray(now + moved[:, :, None]),
        valid=np.ones((frames, len(rows)), bool), kind=np.ascontiguousarray(agents.kind[rows], np.uint8), first_speed=speed,
        centerline=centerline, ids=tuple(agents.ids[row] for row in rows), vehicle=vehicle, unavailable=world.unavailable, red=red,
    )  # fmt: skip
    scene.validate()
    return scene


def touching(scene: PdmScene) -> Bool:
    """[K] who touches the ego in the first frame."""
    return _touched(ego_corners(scene.ego, scene.vehicle), np.ascontiguousarray(scene.boxes[0]), scene.valid[0])


@kernel
def _touched(ego: Double, boxes: Double, valid: Bool) -> Bool:
    found = np.zeros(boxes.shape[0], np.bool_)
    for k in range(boxes.shape[0]):
        found[k] = valid[k] and quads_touch(ego, boxes[k])
    return found


def apart(scene: PdmScene) -> PdmScene:
    """The scene without those."""
    keep = ~touching(scene)
    return replace(
        scene, boxes=np.ascontiguousarray(scene.boxes[:, keep]), valid=np.ascontiguousarray(scene.valid[:, keep]),
        kind=scene.kind[keep], first_speed=scene.first_speed[keep],
        ids=tuple(name for name, kept in zip(scene.ids, keep.tolist(), strict=True) if kept) if scene.ids else (),
    )  # fmt: skip


def velocity_of(velocity: NDArray[np.float32], heading: Double, speed: Double) -> Double:
    """[K, 2] m/s along the box: whoever moves against its heading goes backwards along it."""
    course = np.arctan2(velocity[:, 1].astype(np.float64), velocity[:, 0].astype(np.float64))
    forward = np.abs(wrap_angle(heading - course)) < np.pi / 2
    way = np.where(forward, heading, heading + np.pi)
    return np.stack([np.cos(way) * speed, np.sin(way) * speed], -1)


def nearest_tracks(world: World, step: int) -> Int:
    """Rows of the tracks that are seen: within RADIUS, of each kind the nearest so many; first what stands, each by distance."""
    agents = world.agents
    centre = ego_center(np.asarray(world.ego.states[step], np.float64), world.ego.vehicle)[:2]
    away = np.hypot(*(agents.pose[:, step, :2].astype(np.float64) - centre).T)  # [A] metres
    there = agents.valid[:, step] & (away <= RADIUS)
    groups = [(agents.kind > AgentClass.BICYCLE, MOST_STANDING), *((agents.kind == kind, most) for kind, most in MOST.items())]
    chosen = []
    for group, most in groups:
        rows = np.flatnonzero(there & group)
        chosen.append(rows[np.argsort(away[rows], kind="stable")][:most])
    return np.concatenate(chosen).astype(np.int64)
