"""What is wrong with a recording and can be left out of a clip; everything that is left out is counted.

Steps of a track that nobody of its class can drive or walk; pictures whose pose is not where the body was at their time, that came
twice, or that are blurred by the measure of their neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from wetoolkit_driving.sensors import Image
from wetoolkit_driving.types import HEADING, AgentClass, World, X, Y

from wetoolkit_splat.clip import Frame

Double = NDArray[np.float64]
FASTEST = {AgentClass.VEHICLE: 70.0, AgentClass.PEDESTRIAN: 12.0, AgentClass.BICYCLE: 25.0}  # m/s; anything else: STILL
STILL = 40.0  # m/s of things that have no class of their own: a barrier that is carried, at most
SLACK = 0.5  # metres that boxes jitter between two steps
GAP = 1.0  # seconds: after a longer one a track is not taken up again
APART, TURNED = 1.0, 0.1  # metres, radians: how far a picture's pose may be from where the body was at its time
NEIGHBOURS = 3  # pictures before and after of the same camera
BLUR = 0.25  # of the neighbours' median sharpness: below, a picture is blurred


def _runs(places: Double, steps: NDArray[np.int64], dt: float, fastest: float) -> list[NDArray[np.int64]]:
    """The steps [n] of places [n, 2], cut where the way between two is too far for the time."""
    far = np.linalg.norm(np.diff(places, axis=0), axis=1) > fastest * dt * np.diff(steps) + SLACK
    return [run for run in np.split(np.arange(len(steps)), np.flatnonzero(far) + 1) if len(run)]


def _kept(places: Double, steps: NDArray[np.int64], dt: float, fastest: float) -> NDArray[np.int64]:
    """Rows of the longest run, and before and after it of those that it can be reached from or reach within ``GAP``."""
    runs = _runs(places, steps, dt, fastest)
    longest = max(range(len(runs)), key=lambda number: len(runs[number]))
    kept = list(runs[longest])

    def joins(one: int, other: int) -> bool:
        seconds = abs(int(steps[other]) - int(steps[one])) * dt
        return seconds <= GAP and float(np.linalg.norm(places[other] - places[one])) <= fastest * seconds + SLACK

    for run in runs[longest + 1 :]:
        kept += list(run) if joins(kept[-1], run[0]) else []
    for run in runs[longest - 1 :: -1] if longest else []:
        kept = [*run, *kept] if joins(kept[0], run[-1]) else kept
    return np.array(kept, np.int64)


def steady(world: World) -> tuple[World, int]:
    """The world without the steps of agents that jump, and how many these are."""
    valid, left = world.agents.valid.copy(), 0
    for agent in range(len(world.agents)):
        steps = np.flatnonzero(valid[agent])
        if len(steps) < 2:
            continue
        fastest = FASTEST.get(AgentClass(int(world.agents.kind[agent])), STILL)
        places = world.agents.pose[agent, steps, :2].astype(np.float64)
        kept = _kept(places, steps, world.dt, fastest)
        if len(kept) < len(steps):
            left += len(steps) - len(kept)
            valid[agent] = False
            valid[agent, steps[kept]] = True
    return (replace(world, agents=replace(world.agents, valid=valid)), left) if left else (world, 0)


def in_time(world: World, images: Sequence[Image]) -> tuple[list[Image], dict[str, int]]:
    """The pictures that come once and whose pose is where the body was at their time; how many are not."""
    times, states = np.arange(world.steps) * world.dt, world.ego.states.astype(np.float64)
    heading = np.unwrap(states[:, HEADING])
    kept: dict[tuple[str, float], Image] = {}
    counts = {"pictures_twice": 0, "pictures_off_the_path": 0}
    for image in images:
        pose = image.ego_to_world
        place = np.array([np.interp(image.time, times, states[:, column]) for column in (X, Y)])
        turn = np.arctan2(pose[1, 0], pose[0, 0]) - np.interp(image.time, times, heading)
        off = np.linalg.norm(pose[:2, 3] - place) > APART or abs((turn + np.pi) % (2 * np.pi) - np.pi) > TURNED
        if off and times[0] <= image.time <= times[-1]:
            counts["pictures_off_the_path"] += 1
        elif (image.camera, image.time) in kept:
            counts["pictures_twice"] += 1
        else:
            kept[image.camera, image.time] = image
    return list(kept.values()), counts


def sharpness(frame: Frame) -> float:
    """Mean square of the Laplacian of the brightness: motion and focus blur take it away, nothing adds to it."""
    grey = frame.image.mean(-1).double().numpy()
    edges = 4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    return float(np.square(edges).mean())


def sharp(frames: Sequence[Frame]) -> tuple[tuple[Frame, ...], int]:
    """Those that are not blurred beside their neighbours, and how many are; a camera of less than three pictures keeps all."""
    blurred: set[int] = set()
    for camera in {frame.camera for frame in frames}:
        own = sorted((n for n, frame in enumerate(frames) if frame.camera == camera), key=lambda n: frames[n].time)
        values = np.array([sharpness(frames[n]) for n in own])
        for place in range(len(own) if len(own) > 2 else 0):
            around = np.delete(values, place)[max(0, place - NEIGHBOURS) : place + NEIGHBOURS]
            if values[place] < BLUR * np.median(around):
                blurred.add(own[place])
    return tuple(frame for n, frame in enumerate(frames) if n not in blurred), len(blurred)
