"""The fast path of the PDM score: plans in, marks out. The text to read is ``score``; tests hold the two equal.

A few trajectories side by side (``dynamics_lanes``), in one pass, so that their states stay in the cache: tracker and bicycle,
areas, the others, comfort, route (``kernels_judge``). Trajectories know nothing of each other; threads take turns at blocks of
them, and the result has the same bits for any number of threads and any split into batches. Beyond what is returned, memory does
not grow with the number of plans.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from wetoolkit.types import require
from wetoolkit_driving.dynamics import speed_factors
from wetoolkit_driving.dynamics_lanes import LANES
from wetoolkit_driving.geometry import arc_lengths
from wetoolkit_driving.pdm import kernels_judge as judge
from wetoolkit_driving.pdm.kernels_comfort import make_filters
from wetoolkit_driving.pdm.kernels_judge import Found, Ready
from wetoolkit_driving.pdm.kernels_route import index_line
from wetoolkit_driving.pdm.kernels_watch import watch
from wetoolkit_driving.pdm.result import NEVER, Marks
from wetoolkit_driving.pdm.scene import DT, PdmScene
from wetoolkit_driving.pdm.variants import NAVSIM_1_1, Variant

Double = NDArray[np.float64]
Bool = NDArray[np.bool_]

SHARES = 4  # blocks of plans for each thread
LEAST = 256  # plans of a block: to hand a scene to a kernel takes as long as judging a few plans


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
    body, route = scene.vehicle, index_line(line, arc_lengths(line) if len(line) else np.zeros(0))
    half = np.array([body.length / 2, body.width / 2, body.rear_to_center])
    return Ready(
        np.array(scene.ego, np.float64).reshape(1, -1), half, scene.areas, traffic, route, past, red, filters,
        body.rear_to_center if variant.centre_acceleration else 0.0, variant.lk, every_state, switches,
    )  # fmt: skip


def score(
    scene: PdmScene, states: Double, dt: float = DT, variant: Variant = NAVSIM_1_1, threads: int = 1, every_state: bool = True
) -> Marks:
    """``score.score_readable`` fast: marks of trajectories [N, T, 11] in a scene of at least T + ``variant.look`` frames."""
    states = np.ascontiguousarray(states, np.float64)
    ready = prepare(scene, variant, states.shape[1], dt, every_state)
    found = _room(len(states), states.shape[1])
    _share(lambda start, stop: judge.score_block(ready, states[start:stop], _part(found, start, stop)), len(states), threads)
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
    factors, base = speed_factors(poses.shape[1] - 1, DT, variant.true_jerk), scene.vehicle.wheel_base
    found = _room(len(poses), poses.shape[1])

    def work(start: int, stop: int) -> None:
        judge.drive_block(ready, poses[start:stop], factors, base, _part(found, start, stop))

    _share(work, len(poses), threads)
    return _marks(found, ready, variant)


def _room(count: int, steps: int) -> Found:
    """Space for the findings of N trajectories."""
    value, step = np.ones((count, 7)), np.full((count, 8), NEVER, np.int64)
    return Found(value, step, np.ones((6, count), np.bool_), np.zeros((count, steps), np.uint8))


def _part(found: Found, start: int, stop: int) -> Found:
    rows = slice(start, stop)
    return Found(found.value[rows], found.step[rows], found.comfort[:, rows], found.flags[rows])


def _share(work: Callable[[int, int], None], count: int, threads: int) -> None:
    """Call ``work(start, stop)`` for blocks of ``count`` items on some threads. Kernels hold no interpreter lock."""
    size = max(LEAST, math.ceil(count / (SHARES * threads) / LANES) * LANES)
    if threads <= 1 or size >= count:
        work(0, count)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda start: work(start, min(start + size, count)), range(0, count, size)))


def _marks(found: Found, ready: Ready, variant: Variant) -> Marks:
    value, step, flags = found.value, found.step, found.flags if ready.every_state else found.flags[:, :0]
    if variant.history and not len(ready.past):
        found.comfort[:] = True  # as in NAVSIM v2.2, where a cache may lack the past
    areas = np.stack([(flags & bit) != 0 for bit in (judge.MULTI_LANE, judge.OFF_ROAD, judge.ONCOMING)], -1)
    return Marks(
        nc=value[:, judge.NC], dac=value[:, judge.DAC], ttc=value[:, judge.TTC], ddc=value[:, judge.DDC],
        comfort=np.where(found.comfort.all(0), 1.0, 0.0), progress=value[:, judge.PROGRESS],
        comfort6=np.ascontiguousarray(found.comfort.T), areas=areas,
        collision_step=step[:, judge.COLLISION], collision_track=step[:, judge.COLLIDER],
        ttc_step=step[:, judge.CLOSE], ttc_track=step[:, judge.CLOSER],
        off_road_step=step[:, judge.OFF], touch_step=step[:, judge.TOUCH], variant=variant,
        tlc=value[:, judge.TLC], lk=value[:, judge.LK], tlc_step=step[:, judge.LIT], lk_step=step[:, judge.ASIDE],
    )  # fmt: skip
