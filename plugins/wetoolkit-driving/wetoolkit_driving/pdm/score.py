"""The sub-metrics of the PDM score in every variant, readable: one function a sub-metric, numpy over N trajectories.

This is the text to read beside the paper; ``kernels`` computes the same faster, and the tests hold the two equal. Trajectories are
states [N, T, 11]; their state t stands beside frame t of the scene. Section numbers are those of the PDM-score reference; what
NAVSIM's versions and World Engine do differently is a switch of ``Variant``, said where it is read.
"""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from wetoolkit_driving.geometry import boxes_touch, ego_center, ego_corners, inside, project
from wetoolkit_driving.pdm.comfort import comfort_readable
from wetoolkit_driving.pdm.result import NEVER, Marks
from wetoolkit_driving.pdm.scene import DT, PdmScene
from wetoolkit_driving.pdm.variants import NAVSIM_1_1, STRETCHES, Variant
from wetoolkit_driving.types import AgentClass, AreaKind

Double = NDArray[np.float64]
Bool = NDArray[np.bool_]
Int = NDArray[np.int64]

STOPPED = 0.05  # m/s
TTC_STOPPED = 0.005  # m/s
AHEAD, BEHIND = np.deg2rad(30), np.deg2rad(150)
LANES = (AreaKind.LANE, AreaKind.LANE_CONNECTOR)
# neither lanes nor roadblock connectors: a junction is drivable through its INTERSECTION polygon only (NAVSIM's choice)
DRIVABLE = (AreaKind.ROADBLOCK, AreaKind.INTERSECTION, AreaKind.CARPARK)
DDC_FAIR, DDC_POOR = 2.0, 6.0  # metres
LK_AWAY, LK_STATES = 0.5, 20  # metres from the centre line, states on end


def score_readable(scene: PdmScene, states: Double, variant: Variant = NAVSIM_1_1) -> Marks:
    """Marks of trajectories [N, T, 11] in a scene of at least T + ``variant.look`` frames."""
    corners = ego_corners(states, scene.vehicle)  # [N, T, 4, 2]
    areas, crossing, exempt = ego_areas(scene, states, corners, variant)
    risky = areas[..., 0] | areas[..., 1]  # [N, T] in more than one lane or off the road
    nc, collision_step, collision_track, touch_step = collisions(scene, states, corners, risky, variant)
    ttc, ttc_step, ttc_track = time_to_collision(scene, states, corners, risky | crossing, variant)
    tlc, tlc_step = traffic_lights(scene, corners, variant)
    lk, lk_step = lane_keeping(scene, states, exempt, variant)
    comfort6 = comfort_readable(states, DT, variant, scene.past, scene.vehicle)
    off = areas[..., 1]
    return Marks(
        nc=nc,
        dac=np.where(off.any(1), 0.0, 1.0),  # section 7
        ttc=ttc,
        ddc=driving_direction(scene, states, areas[..., 2], exempt, variant),
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
        variant=variant,
        tlc=tlc,
        lk=lk,
        tlc_step=tlc_step,
        lk_step=lk_step,
    )


def ego_areas(scene: PdmScene, states: Double, corners: Double, variant: Variant = NAVSIM_1_1) -> tuple[Bool, Bool, Bool]:
    """Section 5: (multi-lane, non-drivable, oncoming) [N, T, 3]; rear axle inside an intersection, box centre inside one [N, T].

    World Engine does not look at kinds: each polygon counts as a lane and as drivable, so that a roadblock that holds all four
    corners ends "multi-lane", and lanes are road.
    """
    centre = ego_center(states, scene.vehicle)[..., :2]  # [N, T, 2]
    shape = states.shape[:2]
    lanes_met = np.zeros(shape, int)
    one_holds_all, on_route, crossing, exempt = (np.zeros(shape, bool) for _ in range(4))
    drivable = np.zeros((*shape, 4), bool)
    every = (*LANES, *DRIVABLE)
    lanes, roads = (LANES, DRIVABLE) if variant.typed_areas else (every, every)
    for p, kind in enumerate(scene.areas.kind):
        ring = scene.areas.xy[scene.areas.offset[p] : scene.areas.offset[p + 1]]
        held = inside(ring, corners) if kind in every else np.zeros((*shape, 4), bool)  # [N, T, 4]
        if kind in lanes:
            lanes_met += held.any(-1)
            one_holds_all |= held.all(-1)
        if kind in LANES and scene.areas.on_route[p]:
            on_route |= inside(ring, centre)
        if kind in roads:
            drivable |= held
        if kind == AreaKind.INTERSECTION:
            crossing |= inside(ring, states[..., :2])  # time to collision asks for the rear axle,
            exempt |= inside(ring, centre)  # driving direction and lane keeping for the centre (v2.2)
    return np.stack([(lanes_met > 1) & ~one_holds_all, ~drivable.all(-1), ~on_route], -1), crossing, exempt


def angle_to(states: Double, corners: Double, clip: bool = False) -> Double:
    """Angle [N] (radians) between the heading of states [N, 11] and the way from the rear axle to a box [4, 2].

    nuPlan does not clip: dead ahead, the product of two unit vectors may round above 1, and the angle is NaN, which is neither
    ahead nor behind. World Engine clips for time to collision and does not for collisions.
    """
    way = corners.mean(0) - states[:, :2]
    with np.errstate(invalid="ignore"):  # a box centred on the rear axle is NaN as well
        way = way / np.linalg.norm(way, axis=-1, keepdims=True)
        product = np.cos(states[:, 2]) * way[:, 0] + np.sin(states[:, 2]) * way[:, 1]
        return np.asarray(np.arccos(np.clip(product, -1.0, 1.0) if clip else product))


def collisions(
    scene: PdmScene, states: Double, corners: Double, risky: Bool, variant: Variant = NAVSIM_1_1
) -> tuple[Double, Int, Int, Int]:
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
            guilty = now & at_fault(scene, k, states[:, t], corners[:, t], scene.boxes[t, k], risky[:, t], variant)
            # a thing costs half: every gate is a factor, and in v1.1 the half goes into EP once more (``result.ego_progress``)
            nc = np.where(guilty, np.minimum(nc, 0.0 if scene.kind[k] <= AgentClass.BICYCLE else 0.5), nc)
            earlier = guilty & ((step == NEVER) | (t < step))
            step, track = np.where(earlier, t, step), np.where(earlier, k, track)
    return nc, step, track, touch


def at_fault(
    scene: PdmScene, k: int, states: Double, corners: Double, box: Double, risky: Bool, variant: Variant = NAVSIM_1_1
) -> Bool:
    """Section 6: whether touching track ``k`` (box [4, 2]) in states [N, 11] is the ego's fault [N]."""
    moving = np.hypot(states[:, 3], states[:, 4]) > STOPPED
    # "stopped" is for good: the speed at the track's first appearance decides for the whole horizon
    if scene.kind[k] > AgentClass.BICYCLE or scene.first_speed[k] <= STOPPED:
        return moving
    behind = angle_to(states, box, variant.clip_collision) > BEHIND
    edge = corners[:, [0, 3, 3, 0]]  # the front edge as a flat box
    front = boxes_touch(edge, box) & ~_apart_from_line(edge, box)
    return np.asarray(moving & ~behind & (front | risky))


def _apart_from_line(edge: Double, box: Double) -> Bool:
    """Whether a box [4, 2] lies strictly on one side of the line through the first two points of edges [N, 4, 2]."""
    way = edge[:, 1] - edge[:, 0]
    offset = box[None] - edge[:, :1]
    side = way[:, None, 0] * offset[..., 1] - way[:, None, 1] * offset[..., 0]  # [N, 4]
    return np.asarray((side > 0).all(1) | (side < 0).all(1))


def time_to_collision(
    scene: PdmScene, states: Double, corners: Double, risky: Bool, variant: Variant = NAVSIM_1_1
) -> tuple[Double, Int, Int]:
    """Section 8: TTC [N], first violating state and its track [N]; ``risky`` here also says "inside an intersection".

    v1.1 looks 0, 0.3, 0.6, 0.9 s ahead of every state and so needs frames beyond the horizon; v2.2 leaves the last 9 states out,
    World Engine looks at each of 0 .. 1 s and leaves the last 10 out.
    """
    count, steps = states.shape[:2]
    step, track = np.full(count, NEVER), np.full(count, NEVER)
    speed = np.hypot(states[..., 3], states[..., 4])
    heading = np.stack([np.cos(states[..., 2]), np.sin(states[..., 2])], -1)
    for k in range(len(scene.kind)):
        met = np.zeros(count, bool)
        for t in range(steps - variant.ttc_spare):
            for f in range(0, variant.ttc_frames + 1, variant.ttc_every):
                if not scene.valid[t + f, k]:
                    continue
                shifted = corners[:, t] + (heading[:, t] * speed[:, t, None] * f * DT)[:, None]
                box = scene.boxes[t + f, k]
                now = ~met & (speed[:, t] >= TTC_STOPPED) & boxes_touch(shifted, box)
                met |= now
                angle = angle_to(states[:, t], box, variant.clip_ttc)  # from where the ego is, not from where it would be
                bad = now & ((angle < AHEAD) | (risky[:, t] & ~(angle > BEHIND)))
                earlier = bad & ((step == NEVER) | (t < step))
                step, track = np.where(earlier, t, step), np.where(earlier, k, track)
    return np.where(step == NEVER, 1.0, 0.0), step, track


def driving_direction(
    scene: PdmScene, states: Double, oncoming: Bool, exempt: Bool | None = None, variant: Variant = NAVSIM_1_1
) -> Double:
    """Section 10: DDC [N] from how far the centre goes against traffic within a second (World Engine: in one stretch)."""
    centre = ego_center(states, scene.vehicle)[..., :2]
    moved = np.linalg.norm(np.diff(centre, axis=1), axis=-1)  # [N, T - 1]
    counts = oncoming & ~exempt if variant.ddc_exempt and exempt is not None else oncoming
    wrong = np.concatenate([np.zeros((len(states), 1)), np.where(counts[:, 1:], moved, 0.0)], 1)  # [N, T] metres
    worst, run = np.zeros(len(states)), np.zeros(len(states))
    for t in range(states.shape[1]):
        run = np.where(oncoming[:, t], run + wrong[:, t], 0.0)
        way = run if variant.ddc_window == STRETCHES else wrong[:, max(0, t - variant.ddc_window) : t + 1].sum(1)
        worst = np.maximum(worst, way)
    return np.where(worst < DDC_FAIR, 1.0, np.where(worst < DDC_POOR, 0.5, 0.0))


def traffic_lights(scene: PdmScene, corners: Double, variant: Variant) -> tuple[Double, Int]:
    """TLC [N] and the first state [N] whose box touches the lane connector of a red light (v2.2).

    Whoever stands on the connector when the light turns, or has entered it at green, fails as well: only the touch counts.
    """
    count, steps = corners.shape[:2]
    step = np.full(count, NEVER)
    if variant.tlc and len(scene.red):
        boxes = shapely.polygons(corners)  # [N, T]
        rings = [scene.areas.xy[a:b] for a, b in zip(scene.areas.offset[:-1], scene.areas.offset[1:], strict=True)]
        for p in np.flatnonzero(scene.red.any(0)):
            touched = shapely.intersects(shapely.polygons(rings[p]), boxes) & scene.red[:steps, p]  # [N, T]
            first = np.where(touched.any(1), touched.argmax(1), steps)
            step = np.where((first < steps) & ((step == NEVER) | (first < step)), first, step)
    return np.where(step == NEVER, 1.0, 0.0), step


def lane_keeping(scene: PdmScene, states: Double, exempt: Bool, variant: Variant) -> tuple[Double, Int]:
    """LK [N] and the state [N] at which the box centre has been off the route's centre line for 2 s on end.

    In v2.2 states inside an intersection are skipped: they neither count nor break a run, so that a run may go on behind it.
    """
    count, steps = states.shape[:2]
    step, run = np.full(count, NEVER), np.zeros(count, int)
    if variant.lk and len(scene.centerline):
        centre = ego_center(states, scene.vehicle)[..., :2]
        away = shapely.distance(shapely.linestrings(scene.centerline[:, :2]), shapely.points(centre)) > LK_AWAY  # [N, T]
        for t in range(steps):
            seen = ~exempt[:, t] if variant.lk_exempt else np.ones(count, bool)
            run = np.where(seen, np.where(away[:, t], run + 1, 0), run)
            step = np.where((run >= LK_STATES) & (step == NEVER), t, step)
    return np.where(step == NEVER, 1.0, 0.0), step


def progress(scene: PdmScene, states: Double) -> Double:
    """Section 11: metres [N] along the route's centre line from the first to the last state, never below 0."""
    if not len(scene.centerline):
        return np.zeros(len(states))
    centre = ego_center(states[:, [0, -1]], scene.vehicle)[..., :2]
    place, _ = project(scene.centerline, centre)
    return np.maximum(0.0, place[:, 1] - place[:, 0])
