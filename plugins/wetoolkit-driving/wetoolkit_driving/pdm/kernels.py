"""The fast path of the PDM score: plans in, marks out. The text to read is ``score``; tests hold the two equal.

One trajectory at a time, in one pass, so that its states stay in the cache: tracker and bicycle, areas, the others, comfort, route.
Trajectories know nothing of each other; threads take turns at blocks of them, and the result has the same bits for any number of
threads and any split into batches. Beyond what is returned, memory does not grow with the number of plans.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wetoolkit.types import require
from wetoolkit_driving.dynamics import speed_fit
from wetoolkit_driving.dynamics_kernels import drive as track_plan
from wetoolkit_driving.geometry import arc_lengths
from wetoolkit_driving.jit import inlined, kernel
from wetoolkit_driving.pdm.areas import Areas, in_several_lanes, search, within
from wetoolkit_driving.pdm.grid import CROSSING, DRIVABLE, ROUTE, cell_at
from wetoolkit_driving.pdm.kernels_comfort import Filters, comfortable, make_filters
from wetoolkit_driving.pdm.kernels_route import Route, advanced, direction, index_line, leaves_line
from wetoolkit_driving.pdm.kernels_tracks import Traffic, angle_to, at_fault, first_meetings, sweep_ahead, touches_area, watch
from wetoolkit_driving.pdm.result import NEVER, Marks
from wetoolkit_driving.pdm.scene import DT, PdmScene
from wetoolkit_driving.pdm.variants import NAVSIM_1_1, Switches, Variant

Double = NDArray[np.float64]
Bool = NDArray[np.bool_]
Byte = NDArray[np.uint8]
Int = NDArray[np.int64]

MULTI_LANE, OFF_ROAD, ONCOMING, CROSSED, EXEMPT, SEEN = (
    1,
    2,
    4,
    8,
    16,
    32,
)  # bits of a state; SEEN: MULTI_LANE and CROSSED are known
NOTHING = 0xF0  # what is known of a place outside the map: it is nothing
NC, DAC, TTC, DDC, PROGRESS, LK, TLC = range(7)  # columns of Found.value
COLLISION, COLLIDER, CLOSE, CLOSER, OFF, TOUCH, LIT, ASIDE = range(8)  # columns of Found.step
BLOCK = 128  # plans a thread takes at a time


class Ready(NamedTuple):
    """A scene made ready for trajectories of T states, as one variant looks at it."""

    ego: Double  # [11]
    half: Double  # [3] half length, half width, rear axle to centre
    areas: Areas
    traffic: Traffic
    route: Route
    past: Double  # [H, 11]
    red: Bool  # [F, P], [0, 0] for no lights
    filters: Filters
    shift: float  # metres ahead of the rear axle at which accelerations are taken
    lane_keeping: bool
    every_state: bool  # areas of all states are wanted, not only of those that decide
    switches: Switches


class Found(NamedTuple):
    """What is found for N trajectories, one row each."""

    value: Double  # [N, 7]
    step: Int  # [N, 8]
    comfort: Bool  # [N, 6]
    flags: Byte  # [N, T]


class Desk(NamedTuple):
    """One thread's scratch for trajectories of T states."""

    trig: Double  # [T, 2] cos and sin of the headings
    corners: Double  # [T, 4, 2]
    centre: Double  # [T, 2]
    outline: Double  # [T, 4] bounds of the box
    sweep: Double  # [T, 4] and of its shifts ahead
    shifted: Double  # [4, 2]
    comfort: Double  # [5, H + T]
    wrong: Double  # [T] ways against traffic
    touched: Int  # [2, P]
    hints: Int  # [2] segments of the route where the last trajectory began and ended


def prepare(scene: PdmScene, variant: Variant = NAVSIM_1_1, steps: int = 41, dt: float = DT, every_state: bool = True) -> Ready:
    """The scene for trajectories of ``steps`` states; it must hold ``steps + variant.look`` frames or be empty of tracks.

    ``every_state``: whether marks say for each state where it was; without, only what the sub-metrics ask for is found.
    """
    frames, need = len(scene.valid), steps + variant.look
    require(frames >= need, f"{frames} frames for {steps} states", "scene.boxes", f"give {need} frames")
    line = np.ascontiguousarray(scene.centerline[:, :2], np.float64)
    switches = variant.switches
    traffic = watch(
        np.ascontiguousarray(scene.boxes, np.float64), np.ascontiguousarray(scene.valid, np.bool_),
        np.ascontiguousarray(scene.kind, np.uint8), np.ascontiguousarray(scene.first_speed, np.float64),
        steps, switches.ttc_every, switches.ttc_frames, switches.ttc_spare,
    )  # fmt: skip
    past = np.ascontiguousarray(scene.past if variant.history else scene.past[:0], np.float64)
    red = np.ascontiguousarray(scene.red, np.bool_) if variant.tlc else np.zeros((0, 0), np.bool_)
    filters = make_filters(len(past) + steps, dt, variant.acceleration_window, variant.jerk_window)
    body = scene.vehicle
    return Ready(
        np.ascontiguousarray(scene.ego, np.float64), np.array([body.length / 2, body.width / 2, body.rear_to_center]), scene.areas,
        traffic, index_line(line, arc_lengths(line) if len(line) else np.zeros(0)), past, red, filters,
        body.rear_to_center if variant.centre_acceleration else 0.0, variant.lk, every_state, switches,
    )  # fmt: skip


def score(
    scene: PdmScene, states: Double, dt: float = DT, variant: Variant = NAVSIM_1_1, threads: int = 1, every_state: bool = True
) -> Marks:
    """``score.score_readable`` fast: marks of trajectories [N, T, 11] in a scene of at least T + ``variant.look`` frames."""
    states = np.ascontiguousarray(states, np.float64)
    ready = prepare(scene, variant, states.shape[1], dt, every_state)
    found = _room(len(states), states.shape[1])
    _share(lambda start, stop: _score_block(ready, states[start:stop], _part(found, start, stop)), len(states), threads)
    return _marks(found, ready, variant)


def drive(scene: PdmScene, poses: Double, variant: Variant = NAVSIM_1_1, threads: int = 1, every_state: bool = False) -> Marks:
    """Marks of cars that start as the scene's ego and track world poses [N, T + 1, 3], 0.1 s apart, by LQR and bicycle.

    Args:
        scene: with at least T + 1 + ``variant.look`` frames.
        threads: how many threads share the plans; the result has the same bits for any number.
        every_state: whether ``Marks.areas`` is wanted (T = 0 without).
    """
    return drive_ready(prepare(scene, variant, poses.shape[1], DT, every_state), scene, poses, variant, threads)


def drive_ready(ready: Ready, scene: PdmScene, poses: Double, variant: Variant, threads: int = 1) -> Marks:
    """``drive`` with the scene ``prepare``d for this variant and length: many calls may share it."""
    poses = np.ascontiguousarray(poses, np.float64)
    fit, base = speed_fit(poses.shape[1] - 1, DT, variant.true_jerk), scene.vehicle.wheel_base
    found = _room(len(poses), poses.shape[1])
    _share(lambda start, stop: _drive_block(ready, poses[start:stop], fit, base, _part(found, start, stop)), len(poses), threads)
    return _marks(found, ready, variant)


def _room(count: int, steps: int) -> Found:
    """Space for the findings of N trajectories."""
    value, step = np.ones((count, 7)), np.full((count, 8), NEVER, np.int64)
    return Found(value, step, np.ones((count, 6), np.bool_), np.zeros((count, steps), np.uint8))


def _part(found: Found, start: int, stop: int) -> Found:
    rows = slice(start, stop)
    return Found(found.value[rows], found.step[rows], found.comfort[rows], found.flags[rows])


def _share(work: Callable[[int, int], None], count: int, threads: int) -> None:
    """Call ``work(start, stop)`` for blocks of ``count`` items on some threads. Kernels hold no interpreter lock."""
    starts = range(0, count, BLOCK)
    if threads <= 1 or len(starts) <= 1:
        work(0, count)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda start: work(start, min(start + BLOCK, count)), starts))


def _marks(found: Found, ready: Ready, variant: Variant) -> Marks:
    value, step, flags = found.value, found.step, found.flags if ready.every_state else found.flags[:, :0]
    if variant.history and not len(ready.past):
        found.comfort[:] = True  # as in NAVSIM v2.2, where a cache may lack the past
    return Marks(
        nc=value[:, NC], dac=value[:, DAC], ttc=value[:, TTC], ddc=value[:, DDC], comfort=np.where(found.comfort.all(1), 1.0, 0.0),
        progress=value[:, PROGRESS], comfort6=found.comfort,
        areas=np.stack([(flags & bit) != 0 for bit in (MULTI_LANE, OFF_ROAD, ONCOMING)], -1),
        collision_step=step[:, COLLISION], collision_track=step[:, COLLIDER], ttc_step=step[:, CLOSE], ttc_track=step[:, CLOSER],
        off_road_step=step[:, OFF], touch_step=step[:, TOUCH],
        variant=variant, tlc=value[:, TLC], lk=value[:, LK], tlc_step=step[:, LIT], lk_step=step[:, ASIDE],
    )  # fmt: skip


@kernel
def _desk(ready: Ready, steps: int) -> Desk:
    return Desk(
        np.empty((steps, 2)), np.empty((steps, 4, 2)), np.empty((steps, 2)), np.empty((steps, 4)), np.empty((steps, 4)),
        np.empty((4, 2)), np.empty((5, ready.past.shape[0] + steps)), np.empty(steps),
        np.empty((2, ready.areas.kind.shape[0]), np.int64),
        np.zeros(2, np.int64),
    )  # fmt: skip


@kernel
def _score_block(ready: Ready, states: Double, found: Found) -> None:
    desk = _desk(ready, states.shape[1])
    for n in range(states.shape[0]):
        for t in range(states.shape[1]):
            desk.trig[t, 0], desk.trig[t, 1] = math.cos(states[n, t, 2]), math.sin(states[n, t, 2])
        judge(ready, states[n], desk, found, n)


@kernel
def _drive_block(ready: Ready, poses: Double, fit: Double, wheel_base: float, found: Found) -> None:
    desk, path, scratch = _desk(ready, poses.shape[1]), np.empty((poses.shape[1], 11)), np.empty((7, fit.shape[0]))
    for n in range(poses.shape[0]):
        track_plan(ready.ego, poses[n], fit, wheel_base, scratch, path, desk.trig)
        judge(ready, path, desk, found, n)


@kernel
def judge(ready: Ready, path: Double, desk: Desk, found: Found, n: int) -> None:
    """Write what is found for one trajectory [T, 11], with cos and sin of its headings on the desk, into row n."""
    value, step, flags = found.value[n], found.step[n], found.flags[n]
    _place(path, ready.half, desk)
    _areas(ready, path, desk, flags)
    for t in range(path.shape[0]):
        if flags[t] & OFF_ROAD:
            value[DAC], step[OFF] = 0.0, t
            break
    _others(ready, path, desk, flags, value, step)
    comfortable(path, ready.past, ready.shift, ready.filters, desk.comfort, found.comfort[n])
    exempt = EXEMPT if ready.switches.ddc_exempt else 0
    value[DDC] = direction(desk.centre, flags, ONCOMING, exempt, ready.switches.ddc_window, desk.wrong)
    value[PROGRESS] = 0.0
    if ready.route.lengths.shape[0] > 0:
        value[PROGRESS] = advanced(ready.route, desk.centre, desk.hints)
        if ready.lane_keeping:
            step[ASIDE] = leaves_line(ready.route, desk.centre, flags, EXEMPT if ready.switches.lk_exempt else 0)
            value[LK] = 1.0 if step[ASIDE] < 0 else 0.0
    _lights(ready, desk, value, step)


@kernel
def _place(path: Double, half: Double, desk: Desk) -> None:
    """Corners FL, RL, RR, FR, centres and bounds of states [T, 11]."""
    trig, corners, centre, outline = desk.trig, desk.corners, desk.centre, desk.outline
    length, width, ahead = half[0], half[1], half[2]
    for t in range(path.shape[0]):
        cos, sin = trig[t, 0], trig[t, 1]
        x, y = path[t, 0] + ahead * cos, path[t, 1] + ahead * sin
        fx, fy, lx, ly = cos * length, sin * length, -sin * width, cos * width
        x0, y0, x1, y1 = x + fx + lx, y + fy + ly, x - fx + lx, y - fy + ly
        x2, y2, x3, y3 = x - fx - lx, y - fy - ly, x + fx - lx, y + fy - ly
        centre[t, 0], centre[t, 1] = x, y
        corners[t, 0, 0], corners[t, 0, 1], corners[t, 1, 0], corners[t, 1, 1] = x0, y0, x1, y1
        corners[t, 2, 0], corners[t, 2, 1], corners[t, 3, 0], corners[t, 3, 1] = x2, y2, x3, y3
        outline[t, 0], outline[t, 1] = min(min(x0, x1), min(x2, x3)), min(min(y0, y1), min(y2, y3))
        outline[t, 2], outline[t, 3] = max(max(x0, x1), max(x2, x3)), max(max(y0, y1), max(y2, y3))


@kernel
def _areas(ready: Ready, path: Double, desk: Desk, flags: Byte) -> None:
    """Write the bits of each state that sub-metrics always need; the others where all are wanted.

    Where not all are wanted, states after the first one off the road are not asked for it: DAC is known by then.
    """
    kinds = 0 if ready.switches.typed_areas else 1
    known, corners, centre = ready.areas.known[kinds], desk.corners, desk.centre
    x0, y0, scale, nx, ny = ready.areas.grid.x, ready.areas.grid.y, ready.areas.grid.scale, ready.areas.grid.nx, ready.areas.grid.ny
    exempt = ready.switches.ddc_exempt or ready.switches.lk_exempt
    corner = 0
    for t in range(path.shape[0]):
        bits = 0
        for q in range(corner, 6 if exempt else 5):  # four corners on the ground? the centre on the route? in an intersection?
            role = DRIVABLE if q < 4 else (ROUTE if q == 4 else CROSSING)
            x, y = (corners[t, q, 0], corners[t, q, 1]) if q < 4 else (centre[t, 0], centre[t, 1])
            cell = cell_at(x0, y0, scale, nx, ny, x, y)
            sure = known[cell] if cell >= 0 else NOTHING
            held = bool(sure & role)
            if not held and not sure & (role << 4):
                held = search(ready.areas, kinds, role, cell, x, y)
            if q < 4 and not held:
                bits |= OFF_ROAD
            elif q == 4 and not held:
                bits |= ONCOMING
            elif q == 5 and held:
                bits |= EXEMPT
        flags[t] = bits
        if bits & OFF_ROAD and not ready.every_state:
            corner = 4
    if ready.every_state:
        _look_closely(ready.areas, kinds, ready.every_state, path, desk, flags, 0, path.shape[0])


@kernel
def _look_closely(areas: Areas, kinds: int, asked: bool, path: Double, desk: Desk, flags: Byte, start: int, stop: int) -> None:
    """Add MULTI_LANE and CROSSED to the flags of states from ``start`` to before ``stop``, where they are not SEEN yet.

    Without ``asked``, OFF_ROAD as well: ``_areas`` may have left it out. Tuples are counted array by array at each call, so that
    states should come many at a time.
    """
    corners, touched = desk.corners, desk.touched
    for t in range(start, stop):
        if flags[t] & SEEN:
            continue
        flags[t] |= SEEN
        if in_several_lanes(areas, kinds, corners[t], touched):
            flags[t] |= MULTI_LANE
        if within(areas, kinds, CROSSING, path[t, 0], path[t, 1]):
            flags[t] |= CROSSED
        for q in range(0 if asked else 4):
            if not within(areas, kinds, DRIVABLE, corners[t, q, 0], corners[t, q, 1]):
                flags[t] |= OFF_ROAD


@inlined
def _bits_of(ready: Ready, path: Double, desk: Desk, flags: Byte, t: int) -> int:
    """All bits of state t."""
    _look_closely(ready.areas, 0 if ready.switches.typed_areas else 1, ready.every_state, path, desk, flags, t, t + 1)
    return int(flags[t])


@kernel
def _others(ready: Ready, path: Double, desk: Desk, flags: Byte, value: Double, step: Int) -> None:
    """NC and TTC against every track that comes near: with each track, its first touch decides."""
    traffic, switches = ready.traffic, ready.switches
    extent = traffic.extent
    x0, y0, x1, y1 = sweep_ahead(path, desk.trig, desk.outline, 0.1 * switches.ttc_frames, desk.sweep)
    for k in range(extent.shape[0]):
        if extent[k, 0] <= x1 and extent[k, 2] >= x0 and extent[k, 1] <= y1 and extent[k, 3] >= y0:
            touch, close, frame = first_meetings(
                path, desk.trig, desk.corners, desk.outline, desk.sweep, desk.shifted, traffic.boxes, traffic.valid,
                traffic.outlines, traffic.windows, k, switches.ttc_every, switches.ttc_frames, switches.ttc_spare,
            )  # fmt: skip
            if touch >= 0:
                _blame(ready, path, desk, flags, k, touch, value, step)
            if close >= 0:
                _warn(ready, path, desk, flags, k, close, frame, value, step)


@inlined
def _blame(ready: Ready, path: Double, desk: Desk, flags: Byte, k: int, t: int, value: Double, step: Int) -> None:
    """Write down that state t touches track k, and whose fault it is."""
    if step[TOUCH] < 0 or t < step[TOUCH]:
        step[TOUCH] = t
    kind, box, clip = ready.traffic.kind[k], ready.traffic.boxes[t, k], ready.switches.clip_collision
    fault = at_fault(path[t], desk.trig[t], desk.corners[t], box, kind, ready.traffic.speed[k], clip)
    if fault == 1 or (fault == 2 and _bits_of(ready, path, desk, flags, t) & (MULTI_LANE | OFF_ROAD)):
        value[NC] = min(value[NC], 0.0 if kind <= 2 else 0.5)
        if step[COLLISION] < 0 or t < step[COLLISION]:
            step[COLLISION], step[COLLIDER] = t, k


@inlined
def _warn(ready: Ready, path: Double, desk: Desk, flags: Byte, k: int, t: int, frame: int, value: Double, step: Int) -> None:
    """Write down whether the box of state t, moved on so that it touches track k at ``frame``, violates TTC."""
    angle = angle_to(path[t], desk.trig[t], ready.traffic.boxes[frame, k], ready.switches.clip_ttc)
    bad = angle < math.radians(30)
    if not bad and not angle > math.radians(150):
        bad = _bits_of(ready, path, desk, flags, t) & (MULTI_LANE | OFF_ROAD | CROSSED) != 0
    if bad:
        value[TTC] = 0.0
        if step[CLOSE] < 0 or t < step[CLOSE]:
            step[CLOSE], step[CLOSER] = t, k


@kernel
def _lights(ready: Ready, desk: Desk, value: Double, step: Int) -> None:
    """TLC: the first state that touches an area behind a red light."""
    red = ready.red
    for p in range(red.shape[1]):
        for t in range(min(red.shape[0], desk.outline.shape[0])):
            if 0 <= step[LIT] <= t:
                break
            if red[t, p] and touches_area(ready.areas, p, desk.corners, desk.outline, t):
                value[TLC], step[LIT] = 0.0, t
                break
