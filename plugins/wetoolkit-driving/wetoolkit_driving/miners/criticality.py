"""The miner ``criticality``: near-misses in the log itself, whatever the policy, by three measures of traffic conflict research.

- ``ttc``: time to collision, were both to keep their speed and yaw rate, people on foot their velocity (Hayward 1972). Below 1.5 s
  a situation counts as critical (van der Horst, Hogema, "Time-to-collision and collision avoidance systems", 1993).
- ``pet``: post-encroachment time, from the first body's leaving a place to the other's arriving there, on crossing ways (Allen,
  Shin, Cooper 1978); serious below 1.5 s (Peesapati, Hunter, Rodgers, "Evaluation of postencroachment time as surrogate for
  opposing left-turn crashes", 2013).
- ``drac``: the deceleration that would just avoid the crash, dv^2 / (2 gap) = dv / (2 TTC), with dv the ego's
  speed over the other's along its course (over 0 where that comes towards it); critical above 3.35 m/s^2 (Archer,
  "Indicators for traffic safety assessment and prediction", 2005).

All are computed between boxes, so a body's extent counts, on the record's own 0.1 s grid, against every class of agent.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from wetoolkit.config import Config
from wetoolkit.kinds import Policy, Reward
from wetoolkit.types import Failure, Ref, Scenario
from wetoolkit_driving.geometry import ego_center, quads_touch, wrap_angle
from wetoolkit_driving.jit import kernel
from wetoolkit_driving.traffic.engine import world_velocity
from wetoolkit_driving.traffic.layout import corners
from wetoolkit_driving.types import YAW_RATE, AgentClass, Bool, Double, World

FORESIGHT = 4.0  # seconds: collisions further ahead than this never need a critical deceleration in traffic
LATERAL = 4.0  # m/s^2: tracks that seem to turn harder do so by noise
NONE = 1e9  # where there is no conflict


class CriticalityMinerConfig(Config):
    """Settings of ``criticality``."""

    window: float = Field(default=4.0, description="how long after now the log is judged [s]", gt=0.0)
    ttc: float = Field(default=1.5, description="time to collision below which it is a near-miss [s]", gt=0.0, le=FORESIGHT)
    pet: float = Field(default=1.5, description="post-encroachment time below which it is a near-miss [s]", gt=0.0, le=5.0)
    drac: float = Field(default=3.35, description="deceleration needed above which it is a near-miss [m/s^2]", gt=0.0)
    brakes: float = Field(default=8.0, description="deceleration needed at which severity is 1: what tyres give [m/s^2]", gt=0.0)
    comfort: float = Field(default=2.0, description="a TTC counts only where avoiding takes this deceleration [m/s^2]", ge=0.0)
    moving: float = Field(
        default=0.5, description="slower than this the ego causes no near-miss by TTC or deceleration [m/s]", ge=0.0
    )


class CriticalityMiner:
    """At most one Failure a scenario, the most severe, at the scenario's own ``now``: it comes within ``window`` after it.

    Severity is linear: TTC and PET from 0 at their threshold to 1 at 0 s, the deceleration from 0 at its threshold to 1 at
    ``brakes``. A short TTC counts only where avoiding takes ``comfort`` at least, since every ordinary stop behind a standing car
    ends with one. Bodies that come from behind (more than 150 degrees off the ego's heading) are no near-miss of the ego by TTC
    or deceleration. Neither policy nor reward nor seed is used.
    """

    def __init__(self, config: CriticalityMinerConfig) -> None:
        self.config = config

    def mine(
        self, scenarios: Sequence[Scenario[World]], policy: Policy[World], reward: Reward[World], seed: int
    ) -> Sequence[Failure]:  # fmt: skip
        """Failures in scenario order."""
        found = [self.judge(scenario) for scenario in scenarios]
        return [failure for failure in found if failure is not None]

    def judge(self, scenario: Scenario[World]) -> Failure | None:
        """The worst near-miss of one scenario, if it has any."""
        c, world, now = self.config, scenario.world, scenario.clock.now
        if not len(world.agents) or not world.ego.valid[now]:
            return None
        ttc, drac, pet = conflicts(world, now, c.window, c.pet, c.moving, c.comfort)  # each [A, 2]: value, seconds after now
        severity = np.stack([1 - ttc[:, 0] / c.ttc, 1 - pet[:, 0] / c.pet, (drac[:, 0] - c.drac) / max(c.brakes - c.drac, 1e-9)])
        severity = np.minimum(severity, 1.0)  # [3, A]; of equal ones the first measure counts
        which, agent = np.unravel_index(int(severity.argmax()), severity.shape)
        worst = float(severity[which, agent])
        if worst <= 0.0:
            return None
        value, after = (ttc, pet, drac)[which][agent]
        kind = ("ttc", "pet", "drac")[which]
        evidence: dict[str, float | str] = {
            kind: round(float(value), 4),
            "after": round(float(after), 4),
            "agent": world.agents.ids[agent],
            "class": AgentClass(int(world.agents.kind[agent])).name.lower(),
            "ego_speed": round(float(np.hypot(*world.ego.states[now, 3:5])), 4),
        }
        return Failure(Ref(scenario.id, scenario.split, scenario.log), kind, now, worst, evidence)


def conflicts(
    world: World, now: int, window: float, pet: float, moving: float, comfort: float = 0.0
) -> tuple[Double, Double, Double]:
    """Each agent's worst over the window: (smallest TTC, greatest deceleration needed, smallest PET), each [A, 2] with the
    seconds after ``now`` at which it was; TTC and PET are ``NONE`` and the deceleration 0 where there is no conflict."""
    last = min(world.steps - 1, now + round(window / world.dt))
    a, vehicle = world.agents, world.ego.vehicle
    sizes = np.concatenate([a.size[:, :2], [[vehicle.length, vehicle.width]]]).astype(np.float64)
    ego, ego_velocity = ego_center(world.ego.states, vehicle), world_velocity(world.ego.states)
    rate = np.ascontiguousarray(world.ego.states[:, YAW_RATE])
    others = (a.pose.astype(np.float64), a.velocity.astype(np.float64), a.valid, sizes, now, last, world.dt)
    rates = turn_rates(world)
    ttc, drac = _collisions(ego, ego_velocity, rate, world.ego.valid, rates, *others, moving, comfort)
    crossed = _encroachments(ego, ego_velocity, world.ego.valid, *others, pet, moving)
    return ttc, drac, crossed


def turn_rates(world: World) -> Double:
    """Yaw rates [A, T] of vehicles and cyclists from their headings 0.2 s before and after; 0 for others, at a track's ends, and
    below 1 m/s, where headings are noise. No more than ``LATERAL`` m/s^2 allow."""
    a, span = world.agents, round(0.2 / world.dt)
    rates = np.zeros(a.valid.shape)
    if a.valid.shape[1] <= 2 * span:
        return rates
    known = a.valid[:, 2 * span :] & a.valid[:, : -2 * span]
    rate = wrap_angle(a.pose[:, 2 * span :, 2].astype(np.float64) - a.pose[:, : -2 * span, 2]) / (2 * span * world.dt)
    pace = np.hypot(a.velocity[..., 0], a.velocity[..., 1])[:, span:-span]
    wheels = np.isin(a.kind, (AgentClass.VEHICLE, AgentClass.BICYCLE))[:, None]
    most = LATERAL / np.maximum(pace, 1.0)
    rates[:, span:-span] = np.where(known & wheels & (pace >= 1.0), np.clip(rate, -most, most), 0.0)
    return rates


@kernel
def _collisions(
    ego: Double, ego_velocity: Double, yaw_rate: Double, ego_there: Bool, rates: Double, pose: Double, velocity: Double,
    there: Bool, sizes: Double, first: int, last: int, dt: float, moving: float, comfort: float,
) -> tuple[Double, Double]:  # fmt: skip
    """TTC and deceleration needed [A, 2] over steps first..last."""
    count = len(pose)
    ttc, drac = np.full((count, 2), NONE), np.zeros((count, 2))
    mine, other = np.zeros((4, 2)), np.zeros((4, 2))
    length, width = sizes[count]
    looks = round(FORESIGHT / dt)
    for t in range(first, last + 1):
        speed = np.hypot(ego_velocity[t, 0], ego_velocity[t, 1])
        if not ego_there[t] or speed < moving:
            continue
        course = np.arctan2(ego_velocity[t, 1], ego_velocity[t, 0])
        for a in range(count):
            if not there[a, t]:
                continue
            dx, dy = pose[a, t, 0] - ego[t, 0], pose[a, t, 1] - ego[t, 1]
            distance = np.hypot(dx, dy)
            touch = 0.5 * (np.hypot(length, width) + np.hypot(sizes[a, 0], sizes[a, 1]))
            pace = np.hypot(velocity[a, t, 0], velocity[a, t, 1])
            behind = dx * np.cos(ego[t, 2]) + dy * np.sin(ego[t, 2]) < -0.8660254 * distance
            if behind or distance > touch + FORESIGHT * (speed + pace):
                continue
            x, y, turn = ego[t, 0], ego[t, 1], 0.0
            ax, ay, other_turn = pose[a, t, 0], pose[a, t, 1], 0.0
            other_course = np.arctan2(velocity[a, t, 1], velocity[a, t, 0])
            for look in range(looks + 1):
                if np.hypot(ax - x, ay - y) <= touch:
                    corners(x, y, ego[t, 2] + turn, length, width, mine)
                    corners(ax, ay, pose[a, t, 2] + other_turn, sizes[a, 0], sizes[a, 1], other)
                    if quads_touch(mine, other):
                        along = pace * np.cos(other_course + other_turn - course - turn)
                        needed = max(speed - max(along, 0.0), 0.0) / (2.0 * max(look * dt, 0.5 * dt))
                        if needed > drac[a, 0]:
                            drac[a, 0], drac[a, 1] = needed, (t - first) * dt
                        if needed >= comfort and look * dt < ttc[a, 0]:
                            ttc[a, 0], ttc[a, 1] = look * dt, (t - first) * dt
                        break
                # half the turn before, half after the move: the chord of an arc
                turn += 0.5 * yaw_rate[t] * dt
                x += speed * np.cos(course + turn) * dt
                y += speed * np.sin(course + turn) * dt
                turn += 0.5 * yaw_rate[t] * dt
                other_turn += 0.5 * rates[a, t] * dt
                ax += pace * np.cos(other_course + other_turn) * dt
                ay += pace * np.sin(other_course + other_turn) * dt
                other_turn += 0.5 * rates[a, t] * dt
    return ttc, drac


@kernel
def _encroachments(
    ego: Double, ego_velocity: Double, ego_there: Bool, pose: Double, velocity: Double, there: Bool, sizes: Double,
    first: int, last: int, dt: float, longest: float, moving: float,
) -> Double:  # fmt: skip
    """PET [A, 2]: the smallest |i - j| dt of an ego step i and an agent step j whose boxes share a place, on ways that cross
    at 30 to 150 degrees. That minimum is the time from the one's last to the other's first presence there."""
    count = len(pose)
    out = np.full((count, 2), NONE)
    mine, other = np.zeros((4, 2)), np.zeros((4, 2))
    length, width = sizes[count]
    reach = round(longest / dt)
    for a in range(count):
        touch = 0.5 * (np.hypot(length, width) + np.hypot(sizes[a, 0], sizes[a, 1]))
        for i in range(first, last + 1):
            vx, vy = ego_velocity[i]
            speed = np.hypot(vx, vy)
            if not ego_there[i] or speed < moving:
                continue
            for j in range(max(first, i - reach), min(last, i + reach) + 1):
                if not there[a, j] or abs(i - j) * dt >= out[a, 0]:
                    continue
                if np.hypot(pose[a, j, 0] - ego[i, 0], pose[a, j, 1] - ego[i, 1]) > touch:
                    continue
                wx, wy = velocity[a, j]
                pace = np.hypot(wx, wy)
                if pace < 0.3 or abs(vx * wx + vy * wy) > 0.8660254 * speed * pace:
                    continue
                corners(ego[i, 0], ego[i, 1], ego[i, 2], length, width, mine)
                corners(pose[a, j, 0], pose[a, j, 1], pose[a, j, 2], sizes[a, 0], sizes[a, 1], other)
                if quads_touch(mine, other):
                    out[a, 0], out[a, 1] = abs(i - j) * dt, (i - first) * dt
    return out


__all__ = ["NONE", "CriticalityMiner", "CriticalityMinerConfig", "conflicts"]
