"""The sub-metrics of the PDM score (NAVSIM v1.1), readable: one function a sub-metric, numpy over N trajectories.

This is the text to read beside the paper; ``kernels`` computes the same faster, and the tests hold the two equal. Trajectories are
states [N, T, 11]; their state t stands beside frame t of the scene. Section numbers are those of the PDM-score reference.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wetoolkit_driving.geometry import boxes_touch, ego_center, ego_corners, inside, project
from wetoolkit_driving.pdm.comfort import comfort_readable
from wetoolkit_driving.pdm.result import NEVER, Marks
from wetoolkit_driving.pdm.scene import DT, PdmScene
from wetoolkit_driving.types import AgentClass, AreaKind

Double = NDArray[np.float64]
Bool = NDArray[np.bool_]
Int = NDArray[np.int64]

STOPPED = 0.05  # m/s
TTC_STOPPED = 0.005  # m/s
TTC_FRAMES = (0, 3, 6, 9)  # frames ahead
LANES = (AreaKind.LANE, AreaKind.LANE_CONNECTOR)
DRIVABLE = (AreaKind.ROADBLOCK, AreaKind.INTERSECTION, AreaKind.CARPARK)
DDC_WINDOW, DDC_FAIR, DDC_POOR = 10, 2.0, 6.0  # states, metres, metres


def score_readable(scene: PdmScene, states: Double) -> Marks:
    """Marks of trajectories [N, T, 11] in a scene of at least T + 9 frames."""
    corners = ego_corners(states, scene.vehicle)  # [N, T, 4, 2]
    areas, crossing = ego_areas(scene, states, corners)
    risky = areas[..., 0] | areas[..., 1]  # [N, T] in more than one lane or off the road
    nc, collision_step, collision_track, touch_step = collisions(scene, states, corners, risky)
    ttc, ttc_step, ttc_track = time_to_collision(scene, states, corners, risky | crossing)
    comfort6 = comfort_readable(states)
    off = areas[..., 1]
    return Marks(
        nc=nc,
        dac=np.where(off.any(1), 0.0, 1.0),
        ttc=ttc,
        ddc=driving_direction(scene, states, areas[..., 2]),
        comfort=np.where(comfort6.all(1), 1.0, 0.0),
        progress=progress(scene, states),
        comfort6=comfort6,
        areas=areas,
        collision_step=collision_step,
        collision_track=collision_track,
        ttc_step=ttc_step,
        ttc_track=ttc_track,
        off_road_step=np.where(off.any(1), off.argmax(1), NEVER),
        touch_step=touch_step,
    )


def ego_areas(scene: PdmScene, states: Double, corners: Double) -> tuple[Bool, Bool]:
    """Section 5: (multi-lane, non-drivable, oncoming) [N, T, 3], and the rear axle inside an intersection [N, T]."""
    centre = ego_center(states, scene.vehicle)[..., :2]  # [N, T, 2]
    shape = states.shape[:2]
    lanes_met, one_holds_all, on_route, crossing = (np.zeros(shape, int if i == 0 else bool) for i in range(4))
    drivable = np.zeros((*shape, 4), bool)
    kinds = scene.areas.kind
    for p in range(len(kinds)):
        ring = scene.areas.xy[scene.areas.offset[p] : scene.areas.offset[p + 1]]
        if kinds[p] in LANES:
            held = inside(ring, corners)  # [N, T, 4]
            lanes_met += held.any(-1)
            one_holds_all |= held.all(-1)
            if scene.areas.on_route[p]:
                on_route |= inside(ring, centre)
        if kinds[p] in DRIVABLE:
            drivable |= inside(ring, corners)
        if kinds[p] == AreaKind.INTERSECTION:
            crossing |= inside(ring, states[..., :2])
    return np.stack([(lanes_met > 1) & ~one_holds_all, ~drivable.all(-1), ~on_route], -1), crossing


def angle_to(states: Double, corners: Double) -> Double:
    """Angle [N] (radians) between the heading of states [N, 11] and the way from the rear axle to a box [4, 2]."""
    way = corners.mean(0) - states[:, :2]
    way = way / np.linalg.norm(way, axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):  # dead ahead may round above 1: NaN, which is neither ahead nor behind, as in NAVSIM
        return np.asarray(np.arccos(np.cos(states[:, 2]) * way[:, 0] + np.sin(states[:, 2]) * way[:, 1]))


def collisions(scene: PdmScene, states: Double, corners: Double, risky: Bool) -> tuple[Double, Int, Int, Int]:
    """Section 6: NC [N], first at-fault state and its track [N], first touch of any kind [N].

    A track's first touch decides: at fault, NC falls (by the same amount however often); not at fault, the track is ignored.
    """
    count, steps = states.shape[:2]
    nc, step, track, touch = np.ones(count), np.full(count, NEVER), np.full(count, NEVER), np.full(count, NEVER)
    for k in range(len(scene.kind)):
        met = np.zeros(count, bool)
        for t in range(steps):
            if not scene.valid[t, k]:
                continue
            now = ~met & boxes_touch(corners[:, t], scene.boxes[t, k])
            met |= now
            touch = np.where(now & ((touch == NEVER) | (t < touch)), t, touch)
            guilty = now & at_fault(scene, k, states[:, t], corners[:, t], scene.boxes[t, k], risky[:, t])
            nc = np.where(guilty, np.minimum(nc, 0.0 if scene.kind[k] <= AgentClass.BICYCLE else 0.5), nc)
            earlier = guilty & ((step == NEVER) | (t < step))
            step, track = np.where(earlier, t, step), np.where(earlier, k, track)
    return nc, step, track, touch


def at_fault(scene: PdmScene, k: int, states: Double, corners: Double, box: Double, risky: Bool) -> Bool:
    """Section 6: whether touching track ``k`` (box [4, 2]) in states [N, 11] is the ego's fault [N]."""
    moving = np.hypot(states[:, 3], states[:, 4]) > STOPPED
    if scene.kind[k] > AgentClass.BICYCLE or scene.first_speed[k] <= STOPPED:
        return moving
    behind = angle_to(states, box) > np.deg2rad(150)
    edge = corners[:, [0, 3, 3, 0]]  # the front edge as a flat box
    front = boxes_touch(edge, box) & ~_apart_from_line(edge, box)
    return np.asarray(moving & ~behind & (front | risky))


def _apart_from_line(edge: Double, box: Double) -> Bool:
    """Whether a box [4, 2] lies strictly on one side of the line through the first two points of edges [N, 4, 2]."""
    way = edge[:, 1] - edge[:, 0]
    offset = box[None] - edge[:, :1]
    side = way[:, None, 0] * offset[..., 1] - way[:, None, 1] * offset[..., 0]  # [N, 4]
    return np.asarray((side > 0).all(1) | (side < 0).all(1))


def time_to_collision(scene: PdmScene, states: Double, corners: Double, risky: Bool) -> tuple[Double, Int, Int]:
    """Section 8: TTC [N], first violating state and its track [N]; ``risky`` here also says "inside an intersection"."""
    count, steps = states.shape[:2]
    step, track = np.full(count, NEVER), np.full(count, NEVER)
    speed = np.hypot(states[..., 3], states[..., 4])
    heading = np.stack([np.cos(states[..., 2]), np.sin(states[..., 2])], -1)
    for k in range(len(scene.kind)):
        met = np.zeros(count, bool)
        for t in range(steps):
            for f in TTC_FRAMES:
                if not scene.valid[t + f, k]:
                    continue
                shifted = corners[:, t] + (heading[:, t] * speed[:, t, None] * f * DT)[:, None]
                box = scene.boxes[t + f, k]
                now = ~met & (speed[:, t] >= TTC_STOPPED) & boxes_touch(shifted, box)
                met |= now
                angle = angle_to(states[:, t], box)
                bad = now & ((angle < np.deg2rad(30)) | (risky[:, t] & ~(angle > np.deg2rad(150))))
                earlier = bad & ((step == NEVER) | (t < step))
                step, track = np.where(earlier, t, step), np.where(earlier, k, track)
    return np.where(step == NEVER, 1.0, 0.0), step, track


def driving_direction(scene: PdmScene, states: Double, oncoming: Bool) -> Double:
    """Section 10: DDC [N] from how far the centre goes against traffic within a second."""
    centre = ego_center(states, scene.vehicle)[..., :2]
    moved = np.linalg.norm(np.diff(centre, axis=1), axis=-1)  # [N, T - 1]
    wrong = np.concatenate([np.zeros((len(states), 1)), np.where(oncoming[:, 1:], moved, 0.0)], 1)  # [N, T] metres
    worst = np.zeros(len(states))
    for t in range(states.shape[1]):
        worst = np.maximum(worst, wrong[:, max(0, t - DDC_WINDOW) : t + 1].sum(1))
    return np.where(worst < DDC_FAIR, 1.0, np.where(worst < DDC_POOR, 0.5, 0.0))


def progress(scene: PdmScene, states: Double) -> Double:
    """Section 11: metres [N] along the route's centre line from the first to the last state, never below 0."""
    if not len(scene.centerline):
        return np.zeros(len(states))
    centre = ego_center(states[:, [0, -1]], scene.vehicle)[..., :2]
    place, _ = project(scene.centerline, centre)
    return np.maximum(0.0, place[:, 1] - place[:, 0])
