"""The kernels that judge: what lies in a slab of cars side by side (``dynamics_lanes``), against a scene made ready.

Each kernel serves all cars of the slab, one after another: to hand a scene to a kernel means to count each of its arrays, which
would take longer than judging one car.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wetoolkit_driving import dynamics_lanes as lanes
from wetoolkit_driving.dynamics_lanes import LANES, ROW, drive_lanes, load_states, new_slab
from wetoolkit_driving.jit import inlined, kernel
from wetoolkit_driving.pdm.areas import Areas, in_several_lanes, search, within
from wetoolkit_driving.pdm.grid import CROSSING, DRIVABLE, ROUTE, cell_at
from wetoolkit_driving.pdm.kernels_comfort import Filters, comfortable
from wetoolkit_driving.pdm.kernels_route import Route, advanced, direction, leaves_line
from wetoolkit_driving.pdm.kernels_tracks import (
    BESIDE,
    IN_FRONT,
    at_fault,
    first_meetings,
    gaps,
    sector_of,
    sweep_ahead,
    touches_area,
)
from wetoolkit_driving.pdm.kernels_watch import CHUNK, Traffic, chunks
from wetoolkit_driving.pdm.variants import Switches

Double = NDArray[np.float64]
Bool = NDArray[np.bool_]
Byte = NDArray[np.uint8]
Int = NDArray[np.int64]

# bits of a state; SEEN: MULTI_LANE and CROSSED are known
MULTI_LANE, OFF_ROAD, ONCOMING, CROSSED, EXEMPT, SEEN = 1, 2, 4, 8, 16, 32
NOTHING = 0xF0  # what is known of a place outside the map: it is nothing
NC, DAC, TTC, DDC, PROGRESS, LK, TLC = range(7)  # columns of Found.value
COLLISION, COLLIDER, CLOSE, CLOSER, OFF, TOUCH, LIT, ASIDE = range(8)  # columns of Found.step


class Ready(NamedTuple):
    """A scene made ready for trajectories of T states, as one variant looks at it."""

    ego: Double  # [1, 11]
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
    comfort: Bool  # [6, N]
    flags: Byte  # [N, T]


class Desk(NamedTuple):
    """One thread's scratch for M = LANES trajectories of T states."""

    slab: Double  # see dynamics_lanes
    path: Double  # [M, T, 5] x, y, heading and speeds along and across
    trig: Double  # [M, T, 2] cos and sin of the headings
    corners: Double  # [M, T, 4, 2]
    centre: Double  # [M, T, 2]
    outline: Double  # [M, T, 4] bounds of the box
    sweep: Double  # [ceil(T / LANES) CHUNK] a trajectory's boxes with their ways ahead, see kernels_tracks
    shifted: Double  # [4, 2]
    comfort: Double  # [6, H + T, M]
    sums: Double  # [4, M]
    wrong: Double  # [T] ways against traffic
    touched: Int  # [2, P]
    hints: Int  # [2] segments of the route where the last trajectory began and ended


@kernel
def _desk(ready: Ready, steps: int) -> Desk:
    return Desk(
        new_slab(steps - 1), np.empty((LANES, steps, 5)), np.empty((LANES, steps, 2)), np.empty((LANES, steps, 4, 2)),
        np.empty((LANES, steps, 2)), np.empty((LANES, steps, 4)), np.zeros(chunks(steps) * CHUNK), np.empty((4, 2)),
        np.empty((6, ready.past.shape[0] + steps, LANES)), np.empty((4, LANES)), np.empty(steps),
        np.empty((2, ready.areas.kind.shape[0]), np.int64), np.zeros(2, np.int64),
    )  # fmt: skip


@kernel
def score_block(ready: Ready, states: Double, found: Found) -> None:
    """Write what is found for trajectories [N, T, 11] into ``found`` (N rows)."""
    desk = _desk(ready, states.shape[1])
    for first in range(0, states.shape[0], LANES):
        load_states(states, first, desk.slab)
        _judge(ready, desk, found, first, min(LANES, states.shape[0] - first))


@kernel
def drive_block(ready: Ready, poses: Double, factors: Double, wheel_base: float, found: Found) -> None:
    """Write what is found for cars that track world poses [N, T, 3] into ``found`` (N rows)."""
    desk = _desk(ready, poses.shape[1])
    for first in range(0, poses.shape[0], LANES):
        drive_lanes(ready.ego, poses, first, factors, wheel_base, poses.shape[1] - 1, desk.slab)
        _judge(ready, desk, found, first, min(LANES, poses.shape[0] - first))


@kernel
def _judge(ready: Ready, desk: Desk, found: Found, first: int, count: int) -> None:
    """Write what is found for the first ``count`` cars of the slab into the rows from ``first`` on."""
    rows = Found(
        found.value[first : first + count], found.step[first : first + count], found.comfort[:, first : first + count],
        found.flags[first : first + count],
    )  # fmt: skip
    _place(ready.half, desk, count)
    _areas(ready, desk, rows)
    _others(ready, desk, rows)
    comfortable(desk.slab, ready.past, ready.shift, ready.filters, desk.comfort, desk.sums, rows.comfort)
    _along_the_route(ready, desk, rows)
    if ready.red.shape[0] > 0:
        _lights(ready, desk, rows)


@kernel
def _place(half: Double, desk: Desk, count: int) -> None:
    """Corners FL, RL, RR, FR, centres and bounds of all states of ``count`` cars."""
    slab, length, width, ahead = desk.slab, half[0], half[1], half[2]
    for n in range(count):
        path, trig, corners, centre, outline = desk.path[n], desk.trig[n], desk.corners[n], desk.centre[n], desk.outline[n]
        for t in range(path.shape[0]):
            at = t * ROW + n
            cos, sin = slab[at + lanes.COS], slab[at + lanes.SIN]
            path[t, 0], path[t, 1], path[t, 2] = slab[at + lanes.X], slab[at + lanes.Y], slab[at + lanes.HEADING]
            path[t, 3], path[t, 4] = slab[at + lanes.SPEED], slab[at + lanes.SIDEWAYS]
            trig[t, 0], trig[t, 1] = cos, sin
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
def _areas(ready: Ready, desk: Desk, rows: Found) -> None:
    """Write the bits of each state that sub-metrics always need, the others where all are wanted, and DAC.

    Where not all are wanted, states after the first one off the road are not asked for it: DAC is known by then.
    """
    kinds = 0 if ready.switches.typed_areas else 1
    known = ready.areas.known[kinds]
    x0, y0, scale, nx, ny = ready.areas.grid.x, ready.areas.grid.y, ready.areas.grid.scale, ready.areas.grid.nx, ready.areas.grid.ny
    exempt = ready.switches.ddc_exempt or ready.switches.lk_exempt
    for n in range(rows.flags.shape[0]):
        corners, centre, flags, corner = desk.corners[n], desk.centre[n], rows.flags[n], 0
        for t in range(flags.shape[0]):
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
            if bits & OFF_ROAD and rows.step[n, OFF] < 0:
                rows.value[n, DAC], rows.step[n, OFF] = 0.0, t
            if bits & OFF_ROAD and not ready.every_state:
                corner = 4
        if ready.every_state:
            _look_closely(ready.areas, kinds, ready.every_state, desk.path[n], corners, desk.touched, flags, 0, flags.shape[0])


@kernel
def _look_closely(
    areas: Areas, kinds: int, asked: bool, path: Double, corners: Double, touched: Int, flags: Byte, start: int, stop: int
) -> None:
    """Add MULTI_LANE and CROSSED to the flags of states from ``start`` to before ``stop``, where they are not SEEN yet.

    Without ``asked``, OFF_ROAD as well: ``_areas`` may have left it out. Tuples are counted array by array at each call, so that
    states should come many at a time.
    """
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
def _bits_of(ready: Ready, desk: Desk, n: int, flags: Byte, t: int) -> int:
    """All bits of state t of car n."""
    kinds = 0 if ready.switches.typed_areas else 1
    _look_closely(ready.areas, kinds, ready.every_state, desk.path[n], desk.corners[n], desk.touched, flags, t, t + 1)
    return int(flags[t])


@kernel
def _others(ready: Ready, desk: Desk, rows: Found) -> None:
    """NC and TTC against every track that comes near: with each track, its first touch decides."""
    traffic, switches, extent = ready.traffic, ready.switches, ready.traffic.extent
    seconds, spare = 0.1 * switches.ttc_frames, switches.ttc_spare
    for n in range(rows.flags.shape[0]):
        path, trig, corners, centre, outline = desk.path[n], desk.trig[n], desk.corners[n], desk.centre[n], desk.outline[n]
        flags, value, step, steps = rows.flags[n], rows.value[n], rows.step[n], rows.flags.shape[1]
        x0, y0, x1, y1 = sweep_ahead(path, trig, centre, outline, ready.half, seconds, spare, desk.sweep)
        for k in range(extent.shape[0]):
            if extent[k, 0] <= x1 and extent[k, 2] >= x0 and extent[k, 1] <= y1 and extent[k, 3] >= y0:
                worst = 0.0 if traffic.kind[k] <= 2 else 0.5  # of NC; a later touch than those known cannot make it worse
                known = max(step[TOUCH], step[COLLISION]) if step[COLLISION] >= 0 and value[NC] <= worst else steps
                close_end = step[CLOSE] if step[CLOSE] >= 0 else max(steps - spare, 0)
                gaps(desk.sweep, ready.half[1], traffic.windows[k])
                touch, close, frame = first_meetings(
                    path, trig, corners, centre, outline, desk.sweep, desk.shifted, ready.half, traffic.boxes, traffic.shape,
                    traffic.valid, traffic.outlines, k, switches.ttc_every, switches.ttc_frames, known, close_end,
                )  # fmt: skip
                if touch >= 0:
                    _blame(ready, desk, n, flags, k, touch, value, step)
                if close >= 0:
                    _warn(ready, desk, n, flags, k, close, frame, value, step)


@inlined
def _blame(ready: Ready, desk: Desk, n: int, flags: Byte, k: int, t: int, value: Double, step: Int) -> None:
    """Write down that state t of car n touches track k, and whose fault it is."""
    if step[TOUCH] < 0 or t < step[TOUCH]:
        step[TOUCH] = t
    kind, box, clip = ready.traffic.kind[k], ready.traffic.boxes[t, k], ready.switches.clip_collision
    fault = at_fault(desk.path[n, t], desk.trig[n, t], desk.corners[n, t], box, kind, ready.traffic.speed[k], clip)
    if fault == 1 or (fault == 2 and _bits_of(ready, desk, n, flags, t) & (MULTI_LANE | OFF_ROAD)):
        value[NC] = min(value[NC], 0.0 if kind <= 2 else 0.5)
        if step[COLLISION] < 0 or t < step[COLLISION]:
            step[COLLISION], step[COLLIDER] = t, k


@inlined
def _warn(ready: Ready, desk: Desk, n: int, flags: Byte, k: int, t: int, frame: int, value: Double, step: Int) -> None:
    """Write down whether the box of state t of car n, moved on so that it touches track k at ``frame``, violates TTC."""
    sector = sector_of(desk.path[n, t], desk.trig[n, t], ready.traffic.boxes[frame, k], ready.switches.clip_ttc)
    bad = sector == IN_FRONT
    if sector == BESIDE:
        bad = _bits_of(ready, desk, n, flags, t) & (MULTI_LANE | OFF_ROAD | CROSSED) != 0
    if bad:  # earlier than any other: nothing later was looked for
        value[TTC], step[CLOSE], step[CLOSER] = 0.0, t, k


@kernel
def _along_the_route(ready: Ready, desk: Desk, rows: Found) -> None:
    """DDC, progress and, where it is asked for, LK."""
    route, switches = ready.route, ready.switches
    for n in range(rows.flags.shape[0]):
        value, step, flags, centre = rows.value[n], rows.step[n], rows.flags[n], desk.centre[n]
        value[DDC] = direction(centre, flags, ONCOMING, EXEMPT if switches.ddc_exempt else 0, switches.ddc_window, desk.wrong)
        value[PROGRESS] = 0.0
        if route.lengths.shape[0] > 0:
            value[PROGRESS] = advanced(route, centre, desk.hints)
            if ready.lane_keeping:
                step[ASIDE] = leaves_line(route, centre, flags, EXEMPT if switches.lk_exempt else 0)
                value[LK] = 1.0 if step[ASIDE] < 0 else 0.0


@kernel
def _lights(ready: Ready, desk: Desk, rows: Found) -> None:
    """TLC: the first state that touches an area behind a red light."""
    red = ready.red
    for n in range(rows.flags.shape[0]):
        value, step = rows.value[n], rows.step[n]
        for p in range(red.shape[1]):
            for t in range(min(red.shape[0], rows.flags.shape[1])):
                if 0 <= step[LIT] <= t:
                    break
                if red[t, p] and touches_area(ready.areas, p, desk.corners[n], desk.outline[n], t):
                    value[TLC], step[LIT] = 0.0, t
                    break
