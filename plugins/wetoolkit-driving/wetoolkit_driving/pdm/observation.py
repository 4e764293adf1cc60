"""What a variant of the PDM score sees of a record: the others in the frames ahead, the red lights, and what the ego drove before.

NAVSIM looks at its logs at 2 Hz and interpolates to 10 Hz, with quirks that are switches of ``Variant`` (section 4 of the PDM-score
reference). Beyond the record's end the others go on at constant velocity, and lights stay as they are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wetoolkit_driving.geometry import wrap_angle
from wetoolkit_driving.pdm.variants import Variant
from wetoolkit_driving.types import Agents, AreaKind, Signal, World

Double = NDArray[np.float64]
Bool = NDArray[np.bool_]
Int = NDArray[np.int64]

DT = 0.1  # seconds a frame
PAST = 15  # steps of the driven past that NAVSIM v2.2 asks for: 1.5 s
FORGOTTEN = [8, 9, 10]  # steering rate, yaw rate and yaw acceleration: lost where nuPlan interpolates ego states


def observed_tracks(agents: Agents, step: int, frames: int, variant: Variant) -> tuple[Double, Bool, Int]:
    """Box centre poses [F, A, 3] and presence [F, A] from ``step`` on, and the frame [A] of each track's first sample (0: none)."""
    every = variant.sample_every
    whole = -(-(frames - 1) // every) * every + 1  # up to a sample that is not before the last frame
    pose, valid = continued(agents, step, whole)
    samples, there = pose[::every], valid[::every]  # [S, A, 3], [S, A]
    once = there.sum(0) == 1
    first = there.argmax(0) * every
    if variant.bridge:
        samples, there = samples.copy(), there.copy()
        for track in np.flatnonzero(_broken(there)):
            _bridge(samples[:, track], there[:, track])
    pose, valid = _between(samples, there, every, hold=not variant.bridge)
    if variant.single_everywhere:
        pose[:, once] = samples[first[once] // every, np.flatnonzero(once)]
        valid[:, once] = True
    return pose[:frames], valid[:frames], first


def continued(agents: Agents, step: int, frames: int) -> tuple[Double, Bool]:
    """Poses [F, A, 3] and presence [F, A] as recorded from ``step`` on; after the record's end at constant velocity."""
    known = min(frames, agents.valid.shape[1] - step)
    pose = np.zeros((frames, len(agents), 3))
    valid = np.zeros((frames, len(agents)), bool)
    pose[:known] = agents.pose[:, step : step + known].transpose(1, 0, 2)
    valid[:known] = agents.valid[:, step : step + known].T
    if known < frames:
        last = step + known - 1
        ahead = DT * np.arange(1, frames - known + 1)[:, None, None]  # [F - known, 1, 1] seconds
        moved = pose[known - 1, :, :2] + ahead * agents.velocity[:, last].astype(np.float64)
        pose[known:, :, :2], pose[known:, :, 2] = moved, pose[known - 1, :, 2]
        valid[known:] = valid[known - 1]
    return pose, valid


def _between(samples: Double, there: Bool, every: int, hold: bool) -> tuple[Double, Bool]:
    """Poses and presence of every frame from samples [S, A, 3], [S, A]: linear, headings the short way.

    Between two samples a track is there if it is in both; with ``hold`` also if it is in the first only, and stands still.
    """
    if every == 1:
        return samples.copy(), there.copy()
    both = there[:-1] & there[1:]  # [S - 1, A]
    change = np.where(both[..., None], np.diff(samples, axis=0), 0.0)  # [S - 1, A, 3] of metres, metres, radians
    change[..., 2] = wrap_angle(change[..., 2])
    part = (np.arange(every) / every)[:, None, None]  # [every, 1, 1]
    pose = samples[:-1, None] + part * change[:, None]  # [S - 1, every, A, 3]
    pose[..., 2] = wrap_angle(pose[..., 2])
    valid = np.repeat((there[:-1] if hold else both)[:, None], every, 1)  # [S - 1, every, A]
    valid[:, 0] = there[:-1]
    frames, count = (len(samples) - 1) * every, samples.shape[1]
    pose, valid = pose.reshape(frames, count, 3), valid.reshape(frames, count)
    return np.concatenate([pose, samples[-1:]]), np.concatenate([valid, there[-1:]])


def _broken(valid: Bool) -> Bool:
    """[A] whether a track [F, A] is away between two frames in which it is there."""
    changes = np.abs(np.diff(valid.astype(np.int8), axis=0)).sum(0) + valid[0] + valid[-1]
    return np.asarray(changes > 2)


def _bridge(pose: Double, valid: Bool) -> None:
    """Fill, in place, the frames between the first and the last valid one of a track [F, 3], [F]."""
    known = np.flatnonzero(valid)
    missing = np.arange(known[0], known[-1] + 1)
    for channel in range(3):
        values = np.unwrap(pose[known, channel]) if channel == 2 else pose[known, channel]
        pose[missing, channel] = np.interp(missing, known, values)
    valid[missing] = True


def driven_past(world: World, step: int, variant: Variant) -> Double:
    """[H, 11] states of the ego before ``step`` as NAVSIM v2.2 puts them before a plan; H = 14 where there are 1.5 s of past.

    Sampled like the tracks and interpolated, so that yaw rates are lost. The state 0.1 s before ``step`` is not among them:
    NAVSIM's times end before now, and the last is then dropped as well.
    """
    every = variant.sample_every
    steps = min(step, PAST) // every * every
    samples = world.ego.states[step - steps : step + 1 : every].astype(np.float64)  # [S, 11]
    if not variant.history or steps == 0 or not world.ego.valid[step - steps : step + 1 : every].all():
        return np.zeros((0, 11))
    samples[:, 2] = np.unwrap(samples[:, 2])
    times = np.arange(steps - 1)
    past = np.stack([np.interp(times, np.arange(0, steps + 1, every), samples[:, c]) for c in range(11)], -1)
    past[:, 2] = wrap_angle(past[:, 2])
    past[:, FORGOTTEN] = 0.0
    return past


def red_areas(world: World, step: int, frames: int, variant: Variant) -> Bool:
    """[F, P] lane connectors of the route whose light is red, [0, 0] without any; a sample of a light holds until the next."""
    road = world.map
    lanes = np.flatnonzero((road.lane_signal >= 0) & (road.lane_area >= 0))
    lanes = lanes[world.on_route[road.lane_area[lanes]] & (road.area_kind[road.lane_area[lanes]] == AreaKind.LANE_CONNECTOR)]
    if not variant.tlc or not len(lanes):
        return np.zeros((0, 0), bool)
    times = np.minimum(step + np.arange(frames) // variant.sample_every * variant.sample_every, world.signals.shape[1] - 1)
    red = np.zeros((frames, len(road.area_ids)), bool)
    for lane in lanes:
        red[:, road.lane_area[lane]] |= world.signals[road.lane_signal[lane], times] == Signal.RED
    return red
