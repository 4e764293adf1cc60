"""The kinematic bicycle and the LQR tracker that turn a plan into what the car does, as the PDM score of NAVSIM v1.1 has them.

Read top to bottom: plan -> reference poses -> speed and curvature profiles -> tracker -> bicycle. This is the readable version,
vectorised over N plans; ``track_and_simulate`` runs its twin in ``dynamics_lanes``, ``step`` that in ``dynamics_kernels`` (equal to
1e-9 in the tests).
States are [.., 11] as in ``types``: rear axle x, y, heading, then velocities and accelerations in the car's own frame, steering,
steering rate, yaw rate, yaw acceleration. Source: NAVSIM v1.1 / nuplan-devkit 1.2 as described in the PDM-score reference,
sections 1-3; its regularisation matrix is kept as NAVSIM has it (see ``speed_regulariser``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from wetoolkit.types import require, require_finite
from wetoolkit_driving import dynamics_kernels as kernels
from wetoolkit_driving import dynamics_lanes as lanes
from wetoolkit_driving.geometry import wrap_angle
from wetoolkit_driving.types import Vehicle

Double = NDArray[np.float64]

DT = 0.1  # seconds a step
LOOKAHEAD = 10  # steps the tracker looks ahead
SPEED_PENALTY = 1e-4  # on R u (NAVSIM's jerk penalty)
CURVATURE_PENALTY = 1e-2  # on curvature rates
FIRST_CURVATURE_PENALTY = 1e-10
STOPPING_SPEED = 0.2  # m/s: below it, in plan and motion, a proportional brake replaces the tracker
STOPPING_GAIN = 0.5
SPEED_WEIGHT, HEADING_WEIGHT, INPUT_WEIGHT = 10.0, 10.0, 1.0
ACCELERATION_LAG, STEERING_LAG = 0.2, 0.05  # seconds, first order
MAX_STEERING = np.pi / 3


@dataclass(frozen=True)
class Reference:
    """What the tracker follows: a plan's poses in the world and the speeds and curvatures that fit them."""

    poses: Double  # [T + 1, 3] x, y, heading; the first is where the car was when it planned
    speed: Double  # [T] m/s
    curvature: Double  # [T] 1/m


def check_plans(plans: Double, name: str = "proposals") -> None:
    """Raise ``ValidationError`` unless plans are finite [..., T, 3] with T > 1."""
    require(plans.ndim >= 2 and plans.shape[-1] == 3, f"shape {plans.shape}", name, "give x, y, heading: [..., T, 3]")
    require(plans.shape[-2] > 2, f"{plans.shape[-2]} poses", name, "give at least three poses of 0.1 s")
    require_finite(plans, name)


def interpolate(values: Double, known: Double, wanted: Double) -> Double:
    """Linear interpolation of values [..., P, C] at times ``known`` [P] to ``wanted`` [T]: [..., T, C]."""
    right = np.clip(np.searchsorted(known, wanted), 1, len(known) - 1)
    part = ((wanted - known[right - 1]) / (known[right] - known[right - 1]))[:, None]  # [T, 1]
    return np.asarray(values[..., right - 1, :] + part * (values[..., right, :] - values[..., right - 1, :]))


def to_world(initial: Double, plans: Double) -> Double:
    """World poses [N, T + 1, 3] of plans [N, T, 3] in the frames of rear axle states [N, >= 3]; the first is the car's own."""
    cos, sin = np.cos(initial[:, None, 2]), np.sin(initial[:, None, 2])
    x = initial[:, None, 0] + cos * plans[..., 0] - sin * plans[..., 1]
    y = initial[:, None, 1] + sin * plans[..., 0] + cos * plans[..., 1]
    # the heading of the product of the two rotation matrices
    heading = np.arctan2(
        sin * np.cos(plans[..., 2]) + cos * np.sin(plans[..., 2]), cos * np.cos(plans[..., 2]) - sin * np.sin(plans[..., 2])
    )
    later = np.stack([x, y, wrap_angle(heading)], -1)
    return np.concatenate([initial[:, None, :3], later], 1)


def reference_poses(initial: Double, plans: Double, interval: float = DT, steps: int = 40, time_us: int | None = None) -> Double:
    """Poses [N, steps + 1, 3] in the world, every 0.1 s, of plans [N, P, 3] with a pose every ``interval`` seconds.

    Plans at 10 Hz are taken as they are (as by ``to_world``). Others are interpolated linearly (headings the short way), the car's
    own pose counting as time 0. ``time_us`` repeats NAVSIM's truncation of absolute times to microseconds, which moves a sample by
    up to 1 us; None stands for exact times. A plan that ends too early is a ``ValidationError``: nothing is known of what comes
    after its end.
    """
    count = plans.shape[1]
    way_out = f"give {round(steps * DT / interval)} poses or more"
    require(
        count * interval >= steps * DT - 1e-9,
        f"a plan of {count * interval:g} s where {steps * DT:g} s are due",
        "proposals",
        way_out,
    )
    initial, plans = np.array(initial, np.float64, order="C"), np.array(plans, np.float64, order="C")
    return kernels.sample_plans(initial, plans, *_places(count, interval, steps, time_us))


@lru_cache(maxsize=64)
def _places(count: int, interval: float, steps: int, time_us: int | None) -> tuple[NDArray[np.int64], Double]:
    """For each of ``steps + 1`` samples of 0.1 s, the pose that comes after it and its part of the way there, both [steps + 1].

    Pose 0 is the car's own, the plan's follow.
    """
    if interval == DT and time_us is None:
        return np.maximum(np.arange(steps + 1), 1), np.minimum(np.arange(steps + 1.0), 1.0)
    start = 0.0 if time_us is None else time_us * 1e-6  # seconds
    exact = 0.5 if time_us is None else 0.0  # truncation becomes rounding
    known = ((np.arange(0, count * interval, interval)[:count] + interval + start) * 1e6 + exact).astype(np.int64)
    known = np.concatenate([[time_us or 0], known])
    wanted = ((np.arange(0, (steps + 1) * DT, DT)[: steps + 1] + start) * 1e6 + exact).astype(np.int64)
    wanted = np.clip(wanted, known[0], known[-1])
    right = np.clip(np.searchsorted(known, wanted), 1, len(known) - 1)
    return right, (wanted - known[right - 1]) / (known[right] - known[right - 1])


def integrator(steps: int, dt: float = DT) -> Double:
    """[T, T]: speeds (curvatures) v_i from u = [v_0, a_0 .. a_{T-2}]."""
    return np.concatenate([np.ones((steps, 1)), dt * np.tri(steps, steps - 1, -1)], 1)


def speed_regulariser(steps: int, true_jerk: bool = False) -> Double:
    """R [T - 2, T] over u = [v_0, a_0 .. a_{T-2}]: the differences of accelerations, -1 and +1 side by side (nuplan-devkit).

    NAVSIM (and World Engine after it) writes the -1 over the +1 in all but the last row: accelerations are penalised, not jerk.
    """
    rows = np.arange(steps - 2)
    matrix = np.zeros((steps - 2, steps))
    matrix[rows, rows + 1] = -1.0
    kept = rows if true_jerk else rows[-1:]
    matrix[kept, kept + 2] = 1.0
    return matrix


@lru_cache(maxsize=8)
def speed_fit(steps: int, dt: float = DT, true_jerk: bool = False) -> Double:
    """[T, T]: the matrix that turns displacements along the poses' headings into fitted speeds.

    Least squares of dt v_i = displacement_i + 1e-4 |R u|^2. The two rows (x, y) of a step are cos and sin of the heading times the
    same coefficients, so that the normal matrix does not depend on the plan and is inverted once.
    """
    integrate, penalty = integrator(steps, dt), speed_regulariser(steps, true_jerk)
    rows = dt * integrate
    fit = integrate @ np.linalg.pinv(rows.T @ rows + SPEED_PENALTY * penalty.T @ penalty) @ rows.T
    fit.setflags(write=False)
    return fit


@lru_cache(maxsize=8)
def speed_factors(steps: int, dt: float = DT, true_jerk: bool = False) -> Double:
    """[T, 3]: the problem of ``speed_fit`` factored, for T steps in place of T^2.

    In the speeds themselves its normal matrix has five diagonals, L D L^T: row t is L[t + 1, t], L[t + 2, t] and 1 / D[t], and
    (dt displacement) is the right side.
    """
    penalty = speed_regulariser(steps, true_jerk) @ np.linalg.inv(integrator(steps, dt))
    root = np.linalg.cholesky(dt**2 * np.eye(steps) + SPEED_PENALTY * penalty.T @ penalty)
    diagonal = np.diag(root)
    factors = np.zeros((steps, 3))
    for below in (1, 2):
        factors[: steps - below, below - 1] = np.diag(root, -below) / diagonal[: steps - below]
    factors[:, 2] = 1.0 / diagonal**2
    return factors


def profiles(poses: Double, dt: float = DT, true_jerk: bool = False) -> tuple[Double, Double, Double]:
    """Displacements along the heading, heading changes and fitted speeds, each [N, T], of poses [N, T + 1, 3]."""
    move = np.diff(poses[..., :2], axis=1)  # [N, T, 2]
    heading = poses[:, :-1, 2]  # [N, T]
    turn = np.diff(poses[..., 2], axis=1)
    turn = np.arctan2(np.sin(turn), np.cos(turn))  # [N, T]
    along = move[..., 0] * np.cos(heading) + move[..., 1] * np.sin(heading)  # [N, T]
    return along, turn, along @ speed_fit(poses.shape[1] - 1, dt, true_jerk).T


def fit_curvature(speed: Double, turn: Double, dt: float = DT) -> Double:
    """Curvatures [N, T] that explain heading changes [N, T] at speeds [N, T].

    Least squares of dt v_i k_i = turn_i with penalties on k_0 (1e-10) and on the curvature rates (1e-2).
    """
    steps = speed.shape[1]
    integrate = integrator(steps, dt)
    penalty = CURVATURE_PENALTY * np.eye(steps)
    penalty[0, 0] = FIRST_CURVATURE_PENALTY
    rows = dt * speed[:, :, None] * integrate  # [N, T, T]
    normal = rows.transpose(0, 2, 1) @ rows + penalty
    right = (rows.transpose(0, 2, 1) @ turn[..., None])[..., 0]
    return np.asarray(np.linalg.solve(normal, right[..., None])[..., 0] @ integrate.T)


def track(
    states: Double, references: Double, speed: Double, curvature: Double, index: int, wheel_base: float
) -> tuple[Double, Double]:
    """(acceleration, steering rate) commands [N] at step ``index`` for states [N, 11] that follow poses [N, T + 1, 3]."""
    last = min(index + LOOKAHEAD, speed.shape[1] - 1)
    target = speed[:, last]  # m/s
    ahead = curvature[:, np.minimum(index + np.arange(LOOKAHEAD), last)]  # [N, 10] 1/m
    now = states[:, 3]
    acceleration = -SPEED_WEIGHT / (SPEED_WEIGHT + 1.0) * (now - target)  # LQR of one step of a second
    error = states[:, :3] - references[:, index]
    turned = references[:, index, 2]
    lateral = -error[:, 0] * np.sin(turned) + error[:, 1] * np.cos(turned)
    head = np.arctan2(np.sin(error[:, 2]), np.cos(error[:, 2]))
    steering = states[:, 7]
    by_lateral, by_head, by_steering = (np.zeros_like(lateral) for _ in range(3))  # what one unit of steering rate adds
    for j in range(LOOKAHEAD):
        v = now + j * DT * acceleration
        lateral, by_lateral = lateral + v * DT * head, by_lateral + v * DT * by_head
        head = head + v * DT / wheel_base * steering - v * DT * ahead[:, j]
        by_head = by_head + v * DT / wheel_base * by_steering
        by_steering = by_steering + DT
    head = np.arctan2(np.sin(head), np.cos(head))
    rate = -(by_lateral * lateral + HEADING_WEIGHT * by_head * head) / (by_lateral**2 + HEADING_WEIGHT * by_head**2 + INPUT_WEIGHT)
    stopping = (target <= STOPPING_SPEED) & (now <= STOPPING_SPEED)
    return np.where(stopping, -STOPPING_GAIN * (now - target), acceleration), np.where(stopping, 0.0, rate)


def bicycle(states: Double, acceleration: Double, steering_rate: Double, wheel_base: float) -> Double:
    """States [N, 11] one step later: Euler with the rates of the old state; both commands act through first-order lags."""
    x, y, heading, v, steering = (states[:, i] for i in (0, 1, 2, 3, 7))
    lagged = states[:, 5] + DT / (DT + ACCELERATION_LAG) * (acceleration - states[:, 5])
    ideal = steering + DT / (DT + STEERING_LAG) * (DT * steering_rate)
    rate = (ideal - steering) / DT
    after = np.zeros_like(states)
    after[:, 0], after[:, 1] = x + v * np.cos(heading) * DT, y + v * np.sin(heading) * DT
    after[:, 2] = wrap_angle(heading + v * np.tan(steering) / wheel_base * DT)
    after[:, 3] = v + lagged * DT  # never clamped: it may go below 0
    after[:, 5], after[:, 8] = lagged, rate
    after[:, 7] = np.clip(steering + rate * DT, -MAX_STEERING, MAX_STEERING)
    after[:, 9] = after[:, 3] * np.tan(after[:, 7]) / wheel_base
    after[:, 10] = (after[:, 9] - states[:, 9]) / DT
    return after


def simulate_readable(initial: Double, poses: Double, vehicle: Vehicle | None = None, true_jerk: bool = False) -> Double:
    """States [N, T + 1, 11] of cars that start at ``initial`` [N, 11] and track world poses [N, T + 1, 3]."""
    wheel_base = (vehicle or Vehicle()).wheel_base
    _, turn, speed = profiles(poses, DT, true_jerk)
    curvature = fit_curvature(speed, turn)
    states = [initial]
    for index in range(poses.shape[1] - 1):
        acceleration, rate = track(states[-1], poses, speed, curvature, index, wheel_base)
        states.append(bicycle(states[-1], acceleration, rate, wheel_base))
    return np.stack(states, 1)


def simulate(
    initial: Double, poses: Double, vehicle: Vehicle | None = None, steps: int | None = None, true_jerk: bool = False
) -> Double:
    """``simulate_readable`` by kernels; ``steps`` < T drives only the first part of the plan: [N, steps + 1, 11]."""
    length = poses.shape[1] - 1
    # copies: arrays that may not be written to would be compiled for once more
    initial, poses = np.array(initial, np.float64, order="C"), np.ascontiguousarray(poses, np.float64)
    count = length if steps is None else min(steps, length)
    return lanes.simulate(initial, poses, speed_factors(length, DT, true_jerk), (vehicle or Vehicle()).wheel_base, count)


def track_and_simulate(
    initial: Double,
    proposals: Double,
    vehicle: Vehicle | None = None,
    steps: int | None = None,
    interval: float = DT,
    time_us: int | None = None,
) -> Double:
    """What the car does that starts in state ``initial`` and is told to drive proposals, by LQR and bicycle.

    Args:
        initial: [11] or [N, 11] states; index 0 of the result is this state as it is.
        proposals: [N, P, 3] rear axle poses every ``interval`` seconds in the frame of ``initial``; time 0 is one step after now.
        vehicle: whose wheel base counts; None: the Pacifica's.
        steps: drive only so many steps of the plan (the tracker still looks ahead along all of it).
        interval: seconds between the poses; others than 0.1 are interpolated to 10 Hz (see ``reference_poses``).
        time_us: absolute time of ``initial``, only to repeat NAVSIM's rounding of times.

    Returns: [N, T + 1, 11] with T = P interval / 0.1, or [N, steps + 1, 11].
    Raises ``ValidationError`` for plans that are not finite or of less than three steps.
    """
    proposals = np.asarray(proposals, np.float64)
    check_plans(proposals)
    initial = np.array(np.broadcast_to(np.asarray(initial, np.float64), (len(proposals), 11)))
    require_finite(initial, "initial state")
    length = round(proposals.shape[1] * interval / DT)
    return simulate(initial, reference_poses(initial, proposals, interval, length, time_us), vehicle, steps)


def plan_reference(state: Double, plan: Double) -> Reference:
    """The reference of one plan [T, 3] made in ``state`` [11]; follow it with ``step``."""
    plan = np.asarray(plan, np.float64)
    check_plans(plan, "plan")
    poses = np.ascontiguousarray(to_world(np.asarray(state, np.float64)[None], plan[None])[0])
    speed, curvature = lanes.profiles(poses, speed_factors(len(plan)))
    return Reference(poses, speed, curvature)


def step(state: Double, reference: Reference, index: int, vehicle: Vehicle | None = None) -> Double:
    """The state [11] one step later, ``index`` steps after the plan was made (0 <= index < T)."""
    state, after, base = np.ascontiguousarray(state, np.float64), np.empty(11), (vehicle or Vehicle()).wheel_base
    kernels.advance(state, reference.poses, reference.speed, reference.curvature, index, base, after)
    return after
