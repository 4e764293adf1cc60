"""From recorded poses to the ego's eleven states and the others' tracks; what was repaired is counted.

Logs hold poses at 2 to 10 Hz, often interpolated, so plain differences give steps in speed and spikes in acceleration. Derivatives
come from local quadratic fits instead (Savitzky and Golay 1964) over one second of each unbroken stretch.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from wetoolkit_driving.types import AgentClass, Agents, Control, Ego, Vehicle

from wetoolkit_logs.recording import DT, SIZES, Recording, Track

Double = NDArray[np.float64]
Bool = NDArray[np.bool_]

# Renault ZOE (2012-2019), the car of nuScenes (its paper names it): length 4.084, width 1.730, height 1.562 and wheel base 2.588 m
# are widely quoted figures. The overhangs, 0.839 m in front and 0.657 m behind, are estimated so that they add up to the length.
ZOE = Vehicle(width=1.730, front=3.427, rear=0.657, wheel_base=2.588, height=1.562)
FIT = 11  # steps of one fit, 1.1 s
JUMP = 1.0  # m/s by which one step's speed may differ from the median of its second before it is a jump (0.1 m)
SPREAD = 10  # steps before and after a jump over which it is spread
STATIC = 0.5  # metres: an ego that keeps within so much of its first place stands still
SLOWEST = 0.5  # m/s below which curvature tells nothing of the steering
STEERING_LIMIT = np.pi / 3  # radians, as in the kinematic bicycle of the PDM score


def runs(valid: Bool) -> list[tuple[int, int]]:
    """Unbroken stretches [start, stop) of a mask."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], valid.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def derivative(values: Double, order: int = 1) -> Double:
    """Time derivative [n, ...] along the first axis of samples every 0.1 s, by local quadratics (by the exact fit where n < 11)."""
    count = len(values)
    if count < order + 1:
        return np.zeros_like(values)
    window = min(FIT, count if count % 2 else count - 1)
    if window < 3:
        return np.gradient(values, DT, axis=0) if order == 1 else np.zeros_like(values)
    from scipy.signal import savgol_filter  # takes a second to import

    fitted: Double = savgol_filter(values, window, 2, deriv=order, delta=DT, axis=0, mode="interp")
    return fitted


def vehicle_of(recording: Recording, zoe: bool, mend: bool, counts: Counter[str]) -> Vehicle:
    """The ego's body. nuScenes files have length and width swapped (the converter takes sizes as width, length)."""
    length, width, height = recording.ego.size
    if mend and width > length:
        counts["ego_length_width_swapped"] += 1
        length, width = width, length
    if zoe:
        return ZOE
    if min(length, width) <= 0:
        counts["ego_without_extent"] += 1
        return Vehicle()
    base = Vehicle()  # where the axles are is not told: placed as on the default car, scaled by length
    scale = length / base.length
    return Vehicle(width, base.front * scale, base.rear * scale, base.wheel_base * scale, height if height > 0 else base.height)


def mend_jumps(pose: Double, counts: Counter[str]) -> Double:
    """Poses [n, 3] whose position jumps (single steps that differ from the median step around them) are spread over two seconds.

    Half of a jump is taken up before and half after it, fading out linearly, so that no pose moves by more than half a jump and
    those a second away stay as they are. nuScenes conversions jump by 0.1 to 1 m where CAN-bus poses end and key frames go on.
    """
    if len(pose) < 4:
        return pose
    from scipy.ndimage import median_filter

    step = np.diff(pose[:, :2], axis=0)  # [n - 1, 2] metres
    excess = step - median_filter(step, size=(FIT, 1), mode="nearest")
    mended = pose.copy()
    fade = (1 - np.arange(SPREAD) / SPREAD)[:, None] / 2
    for k in np.flatnonzero(np.linalg.norm(excess, axis=1) > JUMP * DT):
        before, after = mended[max(k + 1 - SPREAD, 0) : k + 1, :2], mended[k + 1 : k + 1 + SPREAD, :2]
        before += excess[k] * fade[: len(before)][::-1]
        after -= excess[k] * fade[: len(after)]
        counts["ego_position_jumps_spread"] += 1
    return mended


def ego_of(recording: Recording, vehicle: Vehicle, rear_axle: bool, mend: bool, counts: Counter[str]) -> Ego:
    """States [T, 11] of the rear axle; ``rear_axle`` says that the file's positions are that already (else box centres)."""
    track = recording.ego
    pose = track.pose.copy()
    for start, stop in runs(track.valid) if mend else ():
        pose[start:stop] = mend_jumps(pose[start:stop], counts)
    if not rear_axle:
        counts["ego_moved_from_centre_to_rear_axle"] += 1
        pose[:, 0] -= vehicle.rear_to_center * np.cos(pose[:, 2])
        pose[:, 1] -= vehicle.rear_to_center * np.sin(pose[:, 2])
        pose[~track.valid] = 0
    states = np.zeros((recording.steps, 11))
    for start, stop in runs(track.valid):
        states[start:stop] = rear_axle_states(pose[start:stop], vehicle)
    return Ego(states, track.valid, vehicle)


def rear_axle_states(pose: Double, vehicle: Vehicle) -> Double:
    """States [n, 11] along unbroken rear axle poses [n, 3]: poses as they are, the rest from local fits.

    Speeds and accelerations are along and across the heading; steering = atan(wheel base * yaw rate / speed), within 60 degrees,
    and 0 below 0.5 m/s; rates are derivatives of those.
    """
    cosine, sine = np.cos(pose[:, 2]), np.sin(pose[:, 2])
    velocity, acceleration = derivative(pose[:, :2]), derivative(pose[:, :2], 2)  # [n, 2] in the world's axes
    turned = np.unwrap(pose[:, 2])
    yaw_rate = derivative(turned)
    forward = cosine * velocity[:, 0] + sine * velocity[:, 1]
    rolling = np.abs(forward) > SLOWEST
    ratio = np.divide(vehicle.wheel_base * yaw_rate, forward, out=np.zeros_like(forward), where=rolling)
    steering = np.clip(np.arctan(ratio), -STEERING_LIMIT, STEERING_LIMIT)
    return np.stack(
        [
            *pose.T, forward, -sine * velocity[:, 0] + cosine * velocity[:, 1],
            cosine * acceleration[:, 0] + sine * acceleration[:, 1], -sine * acceleration[:, 0] + cosine * acceleration[:, 1],
            steering, derivative(steering), yaw_rate, derivative(turned, 2),
        ],
        axis=1,
    )  # fmt: skip


def stands_still(ego: Ego) -> bool:
    """Whether the ego never leaves the place where it is first seen."""
    places = ego.states[ego.valid, :2]
    return bool(len(places) == 0 or np.linalg.norm(places - places[0], axis=1).max() < STATIC)


def refit_velocity(track: Track) -> Track:
    """The track with velocities from its positions: central differences within each unbroken stretch, 0 for a single step.

    ScenarioNet's nuScenes converter takes forward differences and zeroes the last step of every stretch.
    """
    velocity = np.zeros_like(track.velocity)
    for start, stop in runs(track.valid):
        if stop - start > 1:
            velocity[start:stop] = np.gradient(track.pose[start:stop, :2], DT, axis=0)
    return replace(track, velocity=velocity)


def agents_of(tracks: tuple[Track, ...], start: int, stop: int, origin: Double) -> Agents:
    """The tracks that are seen in [start, stop), relative to ``origin`` [2]."""
    seen = [track for track in tracks if track.valid[start:stop].any()]
    count, steps = len(seen), stop - start
    pose = np.zeros((count, steps, 3), np.float32)  # [A, T, 3] metres, radians
    velocity = np.zeros((count, steps, 2), np.float32)  # [A, T, 2] m/s
    valid = np.zeros((count, steps), bool)
    for row, track in enumerate(seen):
        mask = valid[row] = track.valid[start:stop]
        pose[row, mask] = (track.pose[start:stop] - [*origin, 0.0])[mask]
        velocity[row] = track.velocity[start:stop]
    size = np.array([_extent(track) for track in seen], np.float32).reshape(count, 3)
    kinds = np.array([track.kind for track in seen], np.uint8)
    control = np.full(count, Control.REPLAY, np.uint8)
    return Agents(tuple(track.id for track in seen), kinds, size, pose, velocity, valid, control)


def _extent(track: Track) -> tuple[float, ...]:
    """The track's size, with its class's usual size where the file has none."""
    usual = SIZES.get(AgentClass(track.kind), (0.5, 0.5, 1.0))
    return tuple(told if told > 0 else other for told, other in zip(track.size, usual, strict=True))
