"""How real generated futures are: distances to what was recorded, collisions, leaving the road, impossible motion. By class.

An agent counts where its whole future is recorded. Errors are the smallest over the samples of the mean (minADE) and of the last
(minFDE) distance; rates are means over the samples. A collision is one that an agent has with anybody of its own sample, and did
not have at the present already. Who begins off the road, or walks, cannot leave it, and nobody is asked about beyond ``KNOWN``
metres from where the ego is at the present: maps are cut round about it, and what is not in the map there is not known to be
no road. That holds for the log, for every generator and for the filter alike. APD is the mean distance, pair by pair of
samples, of where they end; who ``differs`` has two samples that end more than 2 m apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import shapely
from wetoolkit_driving.geometry import box_corners, boxes_touch, compose, ego_center, relative
from wetoolkit_driving.types import AgentClass, AreaKind, Bool, Double, Float, RoadMap, World

from wetoolkit.statistics import Interval, mean_interval
from wetoolkit_diffusion.diversity import ends
from wetoolkit_diffusion.kinematics import violations
from wetoolkit_diffusion.rules import ran_red
from wetoolkit_diffusion.spec import KINDS
from wetoolkit_diffusion.tokens import Tokens

ROAD = (
    AreaKind.LANE, AreaKind.LANE_CONNECTOR, AreaKind.ROADBLOCK, AreaKind.ROADBLOCK_CONNECTOR, AreaKind.INTERSECTION,
    AreaKind.CARPARK, AreaKind.DRIVABLE_AREA,
)  # fmt: skip
NAMES = ("minADE", "minFDE", "collision", "off_road", "violation", "red_light", "APD", "differs")
METRES = ("minADE", "minFDE", "APD")
LEAVE = 0.5  # metres beyond the road's edge that a centre may be
KNOWN = 120.0  # metres: the readers of data sets keep the map at least so far around the ego at the present


@dataclass
class Tally:
    """Numbers of agents by class and name, with the log of each."""

    values: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    logs: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def add(self, kind: str, name: str, values: Sequence[float], log: str) -> None:
        """Note what agents of a class and log came to."""
        self.values.setdefault((kind, name), []).extend(values)
        self.logs.setdefault((kind, name), []).extend([log] * len(values))

    def table(self, seed: int = 0) -> dict[tuple[str, str], Interval]:
        """Mean and interval of each, clustered by log."""
        return {
            key: mean_interval(values, self.logs[key], seed=seed, bounds=None if key[1] in METRES else (0.0, 1.0))
            for key, values in self.values.items()
            if values
        }


def recorded(tokens: Tokens, world: World, now: int, steps: int) -> tuple[Double, Bool]:
    """Local poses [A, steps, 3] after ``now`` as recorded, and who but the ego is there throughout [A]."""
    poses, there = np.zeros((len(tokens), steps, 3)), np.zeros(len(tokens), bool)
    span, others = slice(now + 1, now + 1 + steps), tokens.rows[1:]
    found = world.agents.pose[others, span].astype(np.float64)
    if found.shape[1] == steps:
        poses[0] = relative(tokens.frame[0], ego_center(world.ego.states[span], world.ego.vehicle))
        poses[1:], there[1:] = relative(tokens.frame[1:, None], found), world.agents.valid[others, span].all(1)
    return poses, there


def going_straight(tokens: Tokens, steps: int, dt: float) -> Double:
    """Local poses [1, A, steps, 3] of who keeps velocity and heading: the baseline."""
    seconds = dt * np.arange(1, steps + 1)[:, None]
    place = tokens.velocity[:, None].astype(np.float64) * seconds
    return np.concatenate([place, np.zeros((*place.shape[:2], 1))], -1)[None]


def judge(tokens: Tokens, world: World, now: int, motion: Double, tally: Tally, log: str) -> None:
    """Add what motions [n, A, T, 3] (local poses at the world's pace) come to, agent by agent; the ego moves, but is not judged."""
    truth, there = recorded(tokens, world, now, motion.shape[2])
    away = np.hypot(*np.moveaxis((motion - truth)[..., :2], -1, 0))  # [n, A, T]
    poses = compose(tokens.frame[:, None], motion)  # [n, A, T, 3] in the world
    hits = collisions(poses, tokens.frame, tokens.size)
    area = road(world.map)
    off = off_road(area, poses, tokens.frame, tokens.frame[0, :2])
    bad = np.stack([violations(one, tokens.kind, tokens.velocity.astype(np.float64)).any(-1) for one in motion])
    found = {
        "minADE": away.mean(2).min(0), "minFDE": away[..., -1].min(0), "collision": hits.mean(0), "off_road": off.mean(0),
        "violation": bad.mean(0),
    }  # fmt: skip
    if world.map.lanes:
        found["red_light"] = ran_red(world, now, poses, tokens.frame).mean(0)
    if len(motion) > 1:
        found["APD"], found["differs"] = ends(motion)
    for which in KINDS:
        rows = there & (tokens.kind == which)
        for name, values in found.items():
            if name in ("off_road", "red_light") and which == AgentClass.PEDESTRIAN:
                continue
            on = rows & _inside(area, tokens.frame[:, :2]) if name == "off_road" else rows
            tally.add(which.name.lower(), name, values[on].tolist(), log)


def collisions(poses: Double, frame: Double, size: Float, every: int = 2) -> Bool:
    """Whether each agent's box of ``size`` [A, 2] meets another's [n, A] in poses [n, A, T, 3], but did not in ``frame`` [A, 3].

    Looked at every ``every`` steps.
    """
    length, width = size[:, 0].astype(np.float64), size[:, 1].astype(np.float64)
    i, j = np.triu_indices(len(frame), 1)
    reach = np.hypot(length, width) / 2
    now = box_corners(frame, length, width)
    apart = ~boxes_touch(now[i], now[j])
    i, j = i[apart], j[apart]
    some = poses[:, :, ::every]
    near = np.hypot(*np.moveaxis((some[:, i] - some[:, j])[..., :2], -1, 0)) < (reach[i] + reach[j])[:, None]  # [n, P, T]
    n, p, t = np.nonzero(near)
    a, b = i[p], j[p]
    met = boxes_touch(box_corners(some[n, a, t], length[a], width[a]), box_corners(some[n, b, t], length[b], width[b]))
    hit = np.zeros(poses.shape[:2], bool)
    hit[n[met], a[met]] = hit[n[met], b[met]] = True
    return hit


def road(found: RoadMap) -> shapely.Geometry:
    """All that can be driven on, with ``LEAVE`` to its sides."""
    rings = [found.area(int(i)) for i in np.flatnonzero(np.isin(found.area_kind, ROAD))]
    area = shapely.union_all([shapely.make_valid(shapely.Polygon(ring)) for ring in rings]).buffer(LEAVE)
    shapely.prepare(area)
    return area


def _inside(area: shapely.Geometry, points: Double) -> Bool:
    return np.asarray(shapely.contains_xy(area, points[..., 0], points[..., 1]))


def off_road(area: shapely.Geometry, poses: Double, frame: Double, ego: Double, every: int = 5) -> Bool:
    """Whether agents [n, A] that begin on the road leave it in poses [n, A, T, 3] where the map is known: near the ``ego`` [2]."""
    places = poses[:, :, every - 1 :: every, :2]
    known = np.hypot(*np.moveaxis(places - ego, -1, 0)) <= KNOWN
    return np.asarray((known & ~_inside(area, places)).any(2) & _inside(area, frame[:, :2]))


def rows(tables: Mapping[str, Tally], seed: int = 0) -> list[dict[str, object]]:
    """One row for each generator, class and number, with its interval."""
    out: list[dict[str, object]] = []
    for generator, tally in tables.items():
        for (kind, name), found in sorted(tally.table(seed).items()):
            out.append(
                {"generator": generator, "class": kind, "number": name, "mean": found.estimate, "low": found.low,
                 "high": found.high, "agents": len(tally.values[kind, name])}
            )  # fmt: skip
    return out


__all__ = ["KNOWN", "NAMES", "Tally", "collisions", "going_straight", "judge", "off_road", "recorded", "road", "rows"]
