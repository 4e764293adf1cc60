"""What happened in a drive: collisions, leaving the road, wrong way, low time to collision, red lights; and numbers of every step.

The evidence is the score's own (``pdm.result.Marks`` of the executed states), so that events and success cannot disagree. Kinds:

- ``collision``: first touch of a track. ``fault`` is "self" where the score puts it at the ego's door, else "other".
- ``off_road``: a corner leaves the drivable area; one event a stretch, evidence ``seconds``.
- ``wrong_way``: the centre has gone more than ``WRONG_WAY`` metres against traffic within a second (where the score sees it).
- ``low_ttc``: first violation of the score's time to collision; the other is the one it would have hit.
- ``red_light``: the front bumper enters a lane whose signal is red, on the way the ego then takes. The score need not count it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from wetoolkit.events import Event
from wetoolkit.types import Rollout
from wetoolkit_driving.geometry import boxes_touch, ego_center, ego_corners, project
from wetoolkit_driving.pdm.result import NEVER, Marks
from wetoolkit_driving.pdm.scene import PdmScene
from wetoolkit_driving.types import AX, HEADING, STEERING, VX, VY, YAW_RATE, AgentClass, Signal, World

Double = NDArray[np.float64]
Bool = NDArray[np.bool_]
Int = NDArray[np.int64]

NOBODY = 100.0  # metres: gaps are cut there, and that far is nobody
WRONG_WAY = 2.0  # metres within a second
FAILING = frozenset({"collision", "off_road"})  # what costs success; of collisions only the ego's own
ALONG = 40  # steps after entering a lane that tell which way the ego takes


def events_of(
    rollout: Rollout[World], scene: PdmScene, marks: Marks, rescore: Callable[[PdmScene], Marks], failing: frozenset[str] = FAILING
) -> list[Event]:
    """Events of one drive in order of time. ``marks`` are those of its states (N = 1) in ``scene``; ``rescore`` marks them again in
    a scene with fewer tracks."""
    found = [
        *_collisions(rollout, scene, marks, rescore),
        *_off_road(rollout, marks),
        *_wrong_way(rollout, marks),
        *_low_ttc(rollout, scene, marks),
        *_red_lights(rollout),
    ]
    found = [replace(event, fails=event.kind in failing and event.fault != "other") for event in found]
    return sorted(found, key=lambda event: (event.step, event.kind, event.who))


def steps_of(rollout: Rollout[World], scene: PdmScene, marks: Marks) -> Mapping[str, Double]:
    """Numbers of every state [T] from the first decision to before ``end``."""
    states = _states(rollout)
    areas = marks.areas[0].astype(np.float64)  # [T, 3]
    return {
        "speed [m/s]": states[:, VX],
        "acceleration [m/s^2]": states[:, AX],
        "lateral acceleration [m/s^2]": states[:, VX] * states[:, YAW_RATE],
        "yaw rate [rad/s]": states[:, YAW_RATE],
        "steering [rad]": states[:, STEERING],
        "gap [m]": gaps(scene, states),
        "in several lanes": areas[:, 0],
        "off the road": areas[:, 1],
        "against traffic": areas[:, 2],
    }


def gaps(scene: PdmScene, states: Double) -> Double:
    """Distance [T] in metres from the ego's box to the nearest other box; 0 where they touch, ``NOBODY`` where none is near."""
    corners, out = ego_corners(states, scene.vehicle), np.full(len(states), NOBODY)
    centre, radius, valid = _circles(scene, len(states))
    own = np.hypot(scene.vehicle.length, scene.vehicle.width) / 2
    between = np.hypot(*(centre - ego_center(states, scene.vehicle)[:, None, :2]).transpose(2, 0, 1))  # [T, K] metres
    # A box is at least d - r - r' away and at most d: only those that may be the nearest are measured.
    nearest = np.where(valid, between, np.inf).min(1, initial=np.inf)[:, None]
    t, k = np.nonzero(valid & (between - radius - own <= np.minimum(nearest, NOBODY)))
    np.minimum.at(out, t, box_distance(corners[t], scene.boxes[t, k]))
    return out


def box_distance(a: Double, b: Double) -> Double:
    """Distance [P] in metres between convex quads a and b [P, 4, 2]; 0 where they touch."""
    apart = np.minimum(_to_edges(a, b), _to_edges(b, a))
    return np.asarray(np.where(boxes_touch(a, b), 0.0, apart))


def _to_edges(points: Double, quad: Double) -> Double:
    """The least distance [P] of points [P, 4, 2] from the edges of quads [P, 4, 2]."""
    edge = np.roll(quad, -1, 1) - quad  # [P, 4, 2]
    offset = points[:, :, None] - quad[:, None]  # [P, point, edge, 2]
    part = np.clip((offset * edge[:, None]).sum(-1) / np.maximum((edge**2).sum(-1), 1e-12)[:, None], 0.0, 1.0)
    return np.asarray(np.linalg.norm(offset - part[..., None] * edge[:, None], axis=-1).min((1, 2)))


def _circles(scene: PdmScene, count: int) -> tuple[Double, Double, Bool]:
    """Centres [T, K, 2], radii [T, K] and presence [T, K] of the tracks in the first ``count`` frames."""
    boxes = scene.boxes[:count]
    centre = boxes.mean(2)
    return centre, np.hypot(*(boxes[:, :, 0] - centre).transpose(2, 0, 1)), scene.valid[:count].astype(bool)


def _states(rollout: Rollout[World]) -> Double:
    return np.asarray(rollout.world.ego.states[rollout.clock.now : rollout.end], np.float64)


def _event(rollout: Rollout[World], kind: str, after: int, who: str = "", **more: object) -> Event:
    """An event ``after`` steps of the first decision, with the speeds of both."""
    world, step = rollout.world, rollout.clock.now + int(after)
    other = 0.0
    if who:
        row = world.agents.ids.index(who)
        other = float(np.hypot(*world.agents.velocity[row, step])) if world.agents.valid[row, step] else 0.0
    speed = float(np.hypot(world.ego.states[step, VX], world.ego.states[step, VY]))
    return Event(kind, step, round(int(after) * world.dt, 9), who=who, speed=speed, other_speed=other, **more)  # type: ignore[arg-type]


def touched(scene: PdmScene, states: Double) -> dict[int, int]:
    """Track -> the first state whose box touches it."""
    corners = ego_corners(states, scene.vehicle)
    centre, radius, valid = _circles(scene, len(states))
    own = np.hypot(scene.vehicle.length, scene.vehicle.width) / 2
    between = np.hypot(*(centre - ego_center(states, scene.vehicle)[:, None, :2]).transpose(2, 0, 1))
    t, k = np.nonzero(valid & (between <= radius + own))
    hit = boxes_touch(corners[t], scene.boxes[t, k])
    first: dict[int, int] = {}
    for step, track in zip(t[hit].tolist(), k[hit].tolist(), strict=True):  # in order of time
        first.setdefault(track, step)
    return first


def _collisions(rollout: Rollout[World], scene: PdmScene, marks: Marks, rescore: Callable[[PdmScene], Marks]) -> list[Event]:
    if marks.touch_step[0] == NEVER:
        return []
    found = []
    for track, step in touched(scene, _states(rollout)).items():
        alone = np.zeros_like(scene.valid)
        alone[:, track] = scene.valid[:, track]
        own = int(rescore(replace(scene, valid=alone)).collision_step[0])  # fault does not depend on the other tracks
        evidence = {"class": AgentClass(int(scene.kind[track])).name.lower()}
        fault = "other" if own == NEVER else "self"
        found.append(_event(rollout, "collision", step if own == NEVER else own, scene.ids[track], fault=fault, evidence=evidence))
    return found


def stretches(mask: Bool) -> list[tuple[int, int]]:
    """(first, last) of every run of True in a mask [T]."""
    edge = np.diff(np.concatenate([[0], mask.astype(np.int8), [0]]))
    return list(zip(np.flatnonzero(edge == 1).tolist(), (np.flatnonzero(edge == -1) - 1).tolist(), strict=True))


def _off_road(rollout: Rollout[World], marks: Marks) -> list[Event]:
    dt = rollout.world.dt
    return [
        _event(rollout, "off_road", first, fault="self", evidence={"seconds": round((last - first + 1) * dt, 9)})
        for first, last in stretches(marks.areas[0, :, 1])
    ]


def _wrong_way(rollout: Rollout[World], marks: Marks) -> list[Event]:
    """Where the way against traffic within a second first exceeds ``WRONG_WAY``; nothing where the score found no fault."""
    if marks.ddc[0] == 1.0:
        return []
    states, window = _states(rollout), round(1.0 / rollout.world.dt)
    centre = ego_center(states, rollout.world.ego.vehicle)[:, :2]
    moved = np.concatenate([[0.0], np.where(marks.areas[0, 1:, 2], np.hypot(*np.diff(centre, axis=0).T), 0.0)])
    way = np.cumsum(moved)
    within = way - np.concatenate([np.zeros(window + 1), way])[: len(way)]  # metres of the last ``window`` + 1 steps
    return [
        _event(
            rollout, "wrong_way", first, fault="self", evidence={"metres": round(float(way[last] - way[first] + within[first]), 3)}
        )
        for first, last in stretches(within > WRONG_WAY)
    ]


def _low_ttc(rollout: Rollout[World], scene: PdmScene, marks: Marks) -> list[Event]:
    step, track = int(marks.ttc_step[0]), int(marks.ttc_track[0])
    return [] if step == NEVER else [_event(rollout, "low_ttc", step, scene.ids[track] if track != NEVER else "")]


def _red_lights(rollout: Rollout[World]) -> list[Event]:
    """Entries into lanes under a red signal. Lanes that begin at one place are told apart by the way the ego then takes."""
    world, now = rollout.world, rollout.clock.now
    lanes = np.flatnonzero(world.map.lane_signal >= 0)
    states = _states(rollout)
    if not len(lanes) or not len(world.signals):
        return []
    front = states[:, :2] + world.ego.vehicle.front * np.stack([np.cos(states[:, HEADING]), np.sin(states[:, HEADING])], -1)
    entries = [(t, lane) for lane in lanes.tolist() if (t := _entry(world.map.centre_line(lane), front, states[:, HEADING])) > 0]
    found: dict[int, Event] = {}
    for t, _ in entries:
        rivals = [lane for other, lane in entries if abs(other - t) <= 1]
        taken = min(rivals, key=lambda lane: (_astray(world.map.centre_line(lane), front[t : t + ALONG]), lane))
        signal = int(world.map.lane_signal[taken])
        if world.signals[signal, now + t] == Signal.RED and not any(abs(t - other) <= 1 for other in found):
            found[t] = _event(rollout, "red_light", t, fault="self", evidence={"lane": world.map.lane_ids[taken]})
    return list(found.values())


def _entry(line: Double, front: Double, heading: Double) -> int:
    """The state [T] in which the front bumper crosses a lane's beginning in its direction, within half a lane; 0 for none."""
    way = line[1] - line[0]
    way = way / max(float(np.hypot(*way)), 1e-9)
    offset = front - line[0]
    along, across = offset @ way, offset @ np.array([-way[1], way[0]])
    facing = np.cos(heading) * way[0] + np.sin(heading) * way[1] > np.cos(np.pi / 4)
    crossed = (along[:-1] < 0) & (along[1:] >= 0) & (np.abs(across[1:]) < 2.0) & facing[1:]
    return int(crossed.argmax()) + 1 if crossed.any() else 0


def _astray(line: Double, way: Double) -> float:
    """How far, on average, the way [n, 2] taken lies from a lane, in metres."""
    return float(np.abs(project(line, way)[1]).mean())


__all__ = ["FAILING", "NOBODY", "box_distance", "events_of", "gaps", "steps_of", "stretches", "touched"]
