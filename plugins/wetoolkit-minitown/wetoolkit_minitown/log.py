"""One recorded drive: the traffic of a town run for some seconds, checked, and the ego's states along its smoothed way."""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d
from wetoolkit_driving.geometry import ego_center, quads_touch, wrap_angle
from wetoolkit_driving.types import HEADING, VX, AgentClass

from wetoolkit.errors import DataError
from wetoolkit_minitown.cast import EGO, Cast, Density, at_rest, draw_cast, make_way
from wetoolkit_minitown.curves import joined
from wetoolkit_minitown.events import EVENTS
from wetoolkit_minitown.events.actors import CAR_SIZE
from wetoolkit_minitown.events.base import Rehearsal, Rehearsed
from wetoolkit_minitown.place import Place
from wetoolkit_minitown.town import signal_table
from wetoolkit_minitown.traffic import DT, run

Double = NDArray[np.float64]
Int = NDArray[np.int64]
Float = NDArray[np.float32]

BEFORE_EVENT = 28  # steps of a log before what is staged in it may set off
AFTER_EVENT = 8.7  # seconds recorded after it did
TRIES = 60
NEAR = 9  # steps: the expert keeps so long a time to collision through an event, as the PDM score asks
BLIND = 51  # steps within which an ego that does not react collides, or it was no event
REHEARSED = 240  # steps of a drive that times an actor
WHEELS = (AgentClass.VEHICLE, AgentClass.BICYCLE)
SEEN = 70.0  # metres: those who come so near to the ego are recorded
SEEN_STILL = 50.0  # the same for parked cars
MARGIN = (1.4, 0.5)  # metres added to the ego's length and width in checks
PARKED = (4.5, 1.8, 1.5)  # length, width, height of a parked car, metres


@dataclass(frozen=True)
class Log:
    """What happened on one drive. Coordinates are the town's."""

    ego: Double  # [T, 11] as types.Ego.states
    way: Int  # [P] the ego's tracks
    where: Int  # [T] index in ``way``
    pose: Float  # [A, T, 3] box centres of all who ever come near the ego, parked cars last
    velocity: Float  # [A, T, 2]
    kind: NDArray[np.uint8]  # [A]
    size: Float  # [A, 3]
    still: NDArray[np.bool_]  # [A] parked
    lights: NDArray[np.uint8]  # [S, T]
    temper: Double  # [7] vehicles, cyclists, pedestrians in the town; cast.Temper: busy, speed, headway, patience
    event: Int  # [3] step at which what was staged set off (-1: nothing), the present of its window, drives thrown away


def record(place: Place, seed: tuple[int, ...], density: Density, event: str, seconds: float) -> Log:
    """The first drive of the seed's draws that is free of collisions and, where an event is asked for, has it in time.

    ``DataError`` where none of ``TRIES`` does.
    """
    for attempt in range(TRIES):
        log = attempted(place, seed, density, event, seconds, attempt)
        if log is not None:
            return log
    raise DataError(
        f"no drive without a collision among {TRIES}", file=f"{place.name}, seed {seed}", field=event or "ordinary traffic",
        way_out="lower the density of traffic, or give another seed",
    )  # fmt: skip


def attempted(place: Place, seed: tuple[int, ...], density: Density, event: str, seconds: float, attempt: int) -> Log | None:
    """One draw; None where somebody collides, or the event does not come about in time or is no conflict."""
    rng, steps = np.random.default_rng((*seed, attempt)), round(seconds / DT)
    cast = draw_cast(place, rng, density, event)
    if cast is None:
        return None
    start = rng.uniform(0.0, 60.0) if cast.plan.lights is None else cast.plan.lights
    lights = signal_table(place.town, steps, DT, start)
    if event and isinstance(EVENTS[event], Rehearsed):
        cast = _rehearsed(place, rng, cast, lights, EVENTS[event])
        if cast is None:
            return None
    after = round(AFTER_EVENT / DT)
    *moved, where, began = _run(place, cast, lights, steps)
    end = began + after if event else steps
    if event and not BEFORE_EVENT <= began <= steps - after:
        return None
    drivers, walkers, standers = (part[:, :end] for part in moved)
    way = cast.drivers.path[0]
    ego = ego_states(place, way, where[:end], drivers[0, :, 3])
    pose, kind, size, still = _bodies(place, cast, drivers, walkers, standers)
    near = np.hypot(pose[..., 0] - ego[:, 0], pose[..., 1] - ego[:, 1]).min(1) < np.where(still, SEEN_STILL, SEEN)
    pose, kind, size, still = pose[near], kind[near], size[near], still[near]
    if collides(ego, pose, size, np.isin(kind, WHEELS) & ~still):
        return None
    if event and _close(ego[began - 6 :], pose[:, began - 6 :], size):
        return None
    if event and not _conflict(blind(place, way, where[began], ego[began, VX]), pose[:, began:], size):
        return None
    velocity = np.where(still[:, None, None], 0.0, np.gradient(pose[..., :2], DT, axis=1))
    marks = np.array([began, began + round(cast.delay / DT), attempt], np.int64)
    return Log(
        ego, way, where[:end, 0].astype(np.int64), pose.astype(np.float32), velocity.astype(np.float32), kind, size, still,
        lights[:, :end].copy(), np.array([*astuple(cast.density), *astuple(cast.temper)]), marks,
    )  # fmt: skip


def _run(place: Place, cast: Cast, lights: NDArray[np.uint8], steps: int) -> tuple[Double, Double, Double, Double, int]:
    """The traffic of a cast (see ``traffic.run``)."""
    after, stage = round(AFTER_EVENT / DT), cast.plan.stage
    moved: tuple[Double, Double, Double, Double, int] = run(
        place.net, place.paths, cast.drivers, cast.walkers, cast.standers, stage, lights, steps, after
    )
    return moved


def _rehearsed(place: Place, rng: np.random.Generator, cast: Cast, lights: NDArray[np.uint8], event: Rehearsed) -> Cast | None:
    """The cast with the event's actor, timed by a drive without it; None where that does not lead the ego by as it must."""
    steps = min(lights.shape[1], REHEARSED)
    drivers, walkers, _, where, _ = _run(place, at_rest(cast), lights, steps)
    stage = event.stage(place, rng, cast.values, cast.plan, Rehearsal(where, drivers[0, :, 3], drivers[0, :, :2], lights))
    return None if stage is None else make_way(cast, stage, drivers, walkers)


def _bodies(
    place: Place, cast: Cast, drivers: Double, walkers: Double, standers: Double
) -> tuple[Double, NDArray[np.uint8], Float, NDArray[np.bool_]]:
    """Box centres [A, T, 3], classes, sizes and who never moves: drivers but the ego, walkers, standers, actor, things, parked."""
    steps, script = drivers.shape[1], cast.plan.stage.script
    others = drivers[1:].copy()
    shift = (cast.drivers.body[1:, 1, None] - cast.drivers.body[1:, 2, None]) / 2
    others[..., 0] += shift * np.cos(others[..., 2])
    others[..., 1] += shift * np.sin(others[..., 2])
    actor = script[None, np.minimum(np.arange(steps), len(script) - 1)] if len(script) else np.zeros((0, steps, 4))
    parked = place.town.parked
    placed = np.vstack([np.array([t.pose for t in cast.things]).reshape(-1, 3), parked])
    pose = np.concatenate([*(part[..., :3] for part in (others, walkers, standers, actor)), np.repeat(placed[:, None], steps, 1)])
    pose[..., 2] = wrap_angle(pose[..., 2])
    things = [AgentClass(t.kind) for t in cast.things]
    kind = np.array([*cast.kind[1:], *[AgentClass.VEHICLE] * len(actor), *things, *[AgentClass.VEHICLE] * len(parked)], np.uint8)
    extents = [[CAR_SIZE] * len(actor), [t.size for t in cast.things], [PARKED] * len(parked)]
    size = np.vstack([cast.size[1:], *(np.array(some, np.float32).reshape(-1, 3) for some in extents)])
    return pose, kind, size, np.arange(len(pose)) >= len(pose) - len(placed)


def blind(place: Place, way: Int, where: Double, speed: float) -> Double:
    """[BLIND, 11] states of an ego that goes on from ``where`` (index in the way, metres) at ``speed`` m/s, whatever is ahead."""
    starts = np.concatenate([[0.0], np.cumsum([place.net.length[int(k)] for k in way])])
    u = starts[int(where[0])] + where[1] + speed * DT * np.arange(BLIND)
    index = np.clip(np.searchsorted(starts, u, "right") - 1, 0, len(way) - 1)
    return ego_states(place, way, np.column_stack([index, u - starts[index]]), np.full(BLIND, speed))


def ego_states(place: Place, way: Int, where: Double, speed: Double) -> Double:
    """[T, 11] states of a kinematic bicycle whose rear axle follows the way, its corners rounded by a Gaussian of 2 m.

    Heading, curvature and speed come from one spline, so steering = atan(wheel base x curvature), yaw rate = speed x curvature.
    """
    tracks = [place.town.tracks[int(k)].xy for k in way[: int(where[-1, 0]) + 2]]
    lengths = np.concatenate([[0.0], np.cumsum([place.net.length[int(k)] for k in way])])
    line = joined(tracks)
    head, tail = line[0] - line[1], line[-1] - line[-2]
    pad = np.arange(1, 25)[:, None]
    line = np.vstack([line[0] + pad[::-1] * head, line, line[-1] + pad * tail])
    smooth = gaussian_filter1d(line, 4.0, axis=0, mode="nearest")
    knots = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    knots -= knots[24]
    u = lengths[where[:, 0].astype(np.int64)] + where[:, 1]
    near = slice(max(0, int(np.searchsorted(knots, u[0])) - 12), int(np.searchsorted(knots, u[-1])) + 12)
    spline = CubicSpline(knots[near], smooth[near])
    place_xy, d, dd = spline(u), spline(u, 1), spline(u, 2)
    rate = np.hypot(d[:, 0], d[:, 1])
    curvature = (d[:, 0] * dd[:, 1] - d[:, 1] * dd[:, 0]) / rate**3
    v = speed * rate
    yaw_rate = v * curvature
    steering = np.arctan(EGO.wheel_base * curvature)
    return np.column_stack([
        place_xy, wrap_angle(np.arctan2(d[:, 1], d[:, 0])), v, np.zeros_like(v), np.gradient(v, DT), v * yaw_rate,
        steering, np.gradient(steering, DT), yaw_rate, np.gradient(yaw_rate, DT),
    ])  # fmt: skip


def _close(ego: Double, pose: Double, size: Float) -> bool:
    """Whether the ego, driven straight on at its speed, would touch somebody ``NEAR`` steps later, while it still moves."""
    moves = ego[:-NEAR, VX] > 0.3
    later = ego[:-NEAR].copy()
    for k, way in ((0, np.cos(later[:, HEADING])), (1, np.sin(later[:, HEADING]))):
        later[:, k] += NEAR * DT * later[:, VX] * way
    return collides(later[moves], pose[:, NEAR:][:, moves], size, np.zeros(len(pose), bool), (0.6, 0.0))


def _conflict(ego: Double, pose: Double, size: Float) -> bool:
    """Whether an ego [BLIND, 11] that does not react hits somebody."""
    return collides(ego, pose[:, : len(ego)], size, np.zeros(len(pose), bool), (0.0, 0.0))


def collides(ego: Double, pose: Double, size: Float, wheels: NDArray[np.bool_], margin: tuple[float, float] = MARGIN) -> bool:
    """Whether any two boxes touch, of which at least one is on wheels and moves (walkers may brush against each other).

    The ego's box is grown by ``margin`` metres in length and width: it must not merely just miss the others.
    """
    boxes = np.concatenate([ego_center(ego, EGO)[None], pose])
    extent = np.vstack([[[EGO.length + margin[0], EGO.width + margin[1]]], size[:, :2].astype(np.float64)])
    return bool(touching(boxes[:, ::2], extent, np.concatenate([[True], wheels])) > 0)


@njit(cache=True)
def touching(pose, size, wheels):  # type: ignore[no-untyped-def]
    """Number of (pair, step) with touching boxes, of pairs with at least one on ``wheels``. pose [A, T, 3], size [A, 2]."""
    found = 0
    radius = np.hypot(size[:, 0], size[:, 1]) / 2
    for i in range(len(pose)):
        if not wheels[i]:
            continue
        for j in range(len(pose)):
            if j == i or (j < i and wheels[j]):
                continue
            reach = (radius[i] + radius[j]) ** 2
            for t in range(pose.shape[1]):
                dx, dy = pose[i, t, 0] - pose[j, t, 0], pose[i, t, 1] - pose[j, t, 1]
                if dx * dx + dy * dy < reach and quads_touch(_box(pose[i, t], size[i]), _box(pose[j, t], size[j])):
                    found += 1
    return found


@njit(cache=True)
def _box(pose, size):  # type: ignore[no-untyped-def]
    c, s = np.cos(pose[2]), np.sin(pose[2])
    a, b = size[0] / 2, size[1] / 2
    out = np.empty((4, 2))
    for n, (u, w) in enumerate(((a, b), (-a, b), (-a, -b), (a, -b))):
        out[n, 0], out[n, 1] = pose[0] + c * u - s * w, pose[1] + s * u + c * w
    return out
