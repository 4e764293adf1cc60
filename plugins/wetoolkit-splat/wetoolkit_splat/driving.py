"""From a driving window and what its sensors saw to a clip: one body for each agent, whoever it is, and the background.

Lidar points inside an agent's box, whenever it was seen, are its own, in its frame; all others are the background. An agent without
points gets some on its box, so that none is left out; pedestrians and cyclists sway. Points take the colour of the pixel they fall
on in a picture of about their time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from wetoolkit_driving.sensors import Image, Sensors
from wetoolkit_driving.types import AgentClass, World

from wetoolkit.errors import DataError
from wetoolkit.types import require
from wetoolkit_splat.clip import Body, Clip, Frame
from wetoolkit_splat.depths import guessed, seen_by, with_depth
from wetoolkit_splat.graph import Track
from wetoolkit_splat.repairs import in_time, sharp, steady

Double = NDArray[np.float64]
BACKGROUND = "background"
MARGIN = 0.15  # metres that boxes are widened by: lidar and boxes are not exact
GROUND = 0.12  # metres above the ground that belong to it, not to the box over it
LIMBED = {AgentClass.PEDESTRIAN: 1.1, AgentClass.BICYCLE: 1.0}  # seconds of a step, of a turn of the pedals
FEWEST = 150  # points of a body
SHELL = (60.0, 160.0)  # metres away: where points stand for what no lidar reached
GUESSED = (3.0, 80.0)  # metres along the axis: nearest and farthest guess where there is no lidar


@dataclass(frozen=True)
class Amounts:
    """How many points to begin with; what is more is thinned at random, what is less stays as it is."""

    background: int = 25_000
    body: int = 1_500
    shell: int = 4_000
    total: int = 0  # of all; what is more is taken from the background and, of a crowd, from every body. 0: no matter
    depths: int = 400_000  # points of the background, and of each body, whose depths pictures are held to


def box_poses(world: World, agent: int) -> Double:
    """[T, 4, 4] box centre to the window's frame, the box standing on z = 0."""
    x, y, heading = world.agents.pose[agent].astype(np.float64).T
    poses = np.tile(np.eye(4), (len(x), 1, 1))
    poses[:, 0, 0], poses[:, 0, 1], poses[:, 1, 0], poses[:, 1, 1] = (
        np.cos(heading),
        -np.sin(heading),
        np.sin(heading),
        np.cos(heading),
    )
    poses[:, 0, 3], poses[:, 1, 3], poses[:, 2, 3] = x, y, world.agents.size[agent, 2] / 2
    return poses


def body_name(world: World, agent: int) -> str:
    """What an agent is called in clips and scenes."""
    return f"agent-{world.agents.ids[agent]}"


def track_of(world: World, agent: int) -> Track | None:
    """The valid steps of an agent, seconds after the window's step 0; None where it is never seen."""
    valid = np.flatnonzero(world.agents.valid[agent])
    if len(valid) == 0:
        return None
    poses = torch.from_numpy(box_poses(world, agent)[valid]).float()
    return Track(torch.from_numpy(valid * world.dt), poses, torch.zeros(len(valid), 6))


def frames_of(sensors: Sensors, images: Sequence[Image]) -> tuple[Frame, ...]:
    """Pictures with their cameras."""
    from PIL import Image as Picture

    found = []
    for image in images:
        try:
            with Picture.open(image.path) as picture:
                pixels = np.asarray(picture.convert("RGB"), np.float32) / 255
        except OSError as error:
            raise DataError(f"cannot be read: {error}", file=image.path, way_out="make or fetch the picture again") from error
        view = torch.from_numpy(sensors.world_to_camera(image)).float()
        k = torch.from_numpy(sensors.camera(image.camera).intrinsics).float()
        found.append(Frame(image.camera, image.time, torch.from_numpy(pixels), view, k))
    return tuple(found)


def sweeps_of(sensors: Sensors) -> list[tuple[float, Double]]:
    """(time, points [N, 3] in the window's frame) of each sweep."""
    found = []
    for sweep in sensors.sweeps:
        points = sweep.points()[:, :3].astype(np.float64)
        found.append((sweep.time, points @ sweep.ego_to_world[:3, :3].T + sweep.ego_to_world[:3, 3]))
    return found


def colours_of(points: Double, frames: Sequence[Frame]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(colours [N, 3], whether any picture shows it [N]): of the nearest camera. Hidden points take what hides them."""
    colours, nearest = np.full((len(points), 3), 0.5, np.float32), np.full(len(points), np.inf)
    for frame in frames:
        rows, pixels, depths = seen_by(frame, points)
        better = depths < nearest[rows]
        colours[rows[better]] = frame.image.reshape(-1, 3).numpy()[pixels[better]]
        nearest[rows[better]] = depths[better]
    return colours, np.isfinite(nearest)


def _around(frames: Sequence[Frame], time: float, within: float = 0.3) -> list[Frame]:
    return [frame for frame in frames if abs(frame.time - time) <= within]


def _claimed(world: World, sweeps: Sequence[tuple[float, Double]], frames: Sequence[Frame]) -> dict[int, Double]:
    """Agent, or -1 for the rest -> [N, 6]: its points in its own frame and their colours."""
    poses = [np.linalg.inv(box_poses(world, agent)) for agent in range(len(world.agents))]
    found: dict[int, list[Double]] = {}
    for time, points in sweeps:
        step = round(time / world.dt)
        colours, seen = colours_of(points, _around(frames, time))
        owner = np.full(len(points), -1)
        for agent in range(len(world.agents)):
            if not (0 <= step < world.steps and world.agents.valid[agent, step]):
                continue
            own = points @ poses[agent][step, :3, :3].T + poses[agent][step, :3, 3]
            inside = (np.abs(own) <= world.agents.size[agent] / 2 + MARGIN).all(1) & (points[:, 2] > GROUND)
            owner[inside] = agent
            found.setdefault(agent, []).append(np.concatenate([own, colours], 1)[inside & seen])
        found.setdefault(-1, []).append(np.concatenate([points, colours], 1)[(owner < 0) & seen])
    return {agent: np.concatenate(parts) for agent, parts in found.items()}


def _thinned(points: Double, most: int, rng: np.random.Generator) -> Double:
    return points if len(points) <= most else points[rng.choice(len(points), most, replace=False)]


def on_box(size: Double, count: int, rng: np.random.Generator) -> Double:
    """[count, 6]: grey points on the sides of a box."""
    points = rng.uniform(-0.5, 0.5, (count, 3))
    axis = rng.integers(0, 3, count)
    points[np.arange(count), axis] = np.where(rng.random(count) < 0.5, -0.5, 0.5)
    return np.concatenate([points * size, np.full((count, 3), 0.5)], 1)


def shell(frames: Sequence[Frame], count: int, rng: np.random.Generator) -> Double:
    """[n, 6]: points far away, all around and above the horizon, that some picture shows and most do not take for sky."""
    centre = torch.stack([torch.linalg.inv(frame.world_to_camera)[:3, 3] for frame in frames]).mean(0).double().numpy()
    turn, rise = rng.uniform(0, 2 * np.pi, count), rng.uniform(0, 0.35, count)
    distance = rng.uniform(*SHELL, count)
    points = centre + distance[:, None] * np.stack([np.cos(turn) * np.cos(rise), np.sin(turn) * np.cos(rise), np.sin(rise)], -1)
    votes = np.zeros(count)
    for frame in frames:
        rows, pixels, _ = seen_by(frame, points)
        votes[rows] += 0 if frame.sky is None else frame.sky.numpy().ravel()[pixels] - 0.5
    colours, seen = colours_of(points, frames)
    return np.concatenate([points, colours], 1)[seen & (votes <= 0)]


def surroundings(world: World, claimed: Mapping[int, Double], time: float) -> Double:
    """[N, 3] all points as they stand at a time: the background's and those of the agents who are there."""
    parts = [claimed[-1][:, :3]]
    for agent, own in claimed.items():
        track = track_of(world, agent) if agent >= 0 and len(own) else None
        if track is not None and track.present(time):
            pose = track.at(time).double().numpy()
            parts.append(own[:, :3] @ pose[:3, :3].T + pose[:3, 3])
    return np.concatenate(parts)


def clip_of(world: World, sensors: Sensors, seconds: tuple[float, float], seed: int, amounts: Amounts | None = None) -> Clip:
    """Pictures, lidar and bodies between two times [s] after the window's step 0. Where there is no lidar, points are guessed.

    What is wrong and was left out is counted in the clip's ``repairs``: see ``wetoolkit_splat.repairs``. Raises ``ValidationError``
    where no picture lies between the times or all are unfit, ``DataError`` for files that cannot be read.
    """
    amounts, rng = amounts or Amounts(), np.random.default_rng(seed)
    images = [image for image in sensors.images if seconds[0] <= image.time <= seconds[1]]
    require(bool(images), f"no picture between {seconds[0]} and {seconds[1]} s", "sensors.images", "ask for another stretch")
    world, jumps = steady(world)
    images, repairs = in_time(world, images)
    require(bool(images), f"no picture is where the body was at its time: {repairs}", "sensors.images", "synchronise the clocks")
    sweeps = [(time, points) for time, points in sweeps_of(sensors) if seconds[0] <= time <= seconds[1]]
    frames, blurred = sharp(frames_of(sensors, images))
    claimed = _claimed(world, sweeps, frames) if sweeps else {-1: guessed(frames, amounts.background, rng, GUESSED, 0.0)}
    if sweeps:
        known = {agent: _thinned(points, amounts.depths, rng) for agent, points in claimed.items()}
        frames = tuple(with_depth(frame, surroundings(world, known, frame.time)) for frame in frames)
    far = shell(frames, amounts.shell, rng)
    rest = np.concatenate([_thinned(claimed.pop(-1), amounts.background, rng), far])
    bodies = {BACKGROUND: Body(*_tensors(rest))}
    repairs |= {"pictures_blurred": blurred, "steps_of_tracks_that_jump": jumps, "clips_without_lidar": int(not sweeps)}
    repairs |= {"bodies_with_points_on_their_box": 0, "agents_never_seen": 0}
    for agent in range(len(world.agents)):
        track = track_of(world, agent)
        if track is None:
            repairs["agents_never_seen"] += 1
            continue
        own = _thinned(claimed.get(agent, np.zeros((0, 6))), amounts.body, rng)
        if len(own) < FEWEST:
            repairs["bodies_with_points_on_their_box"] += 1
            own = np.concatenate([own, on_box(world.agents.size[agent].astype(np.float64), FEWEST - len(own), rng)])
        bodies[body_name(world, agent)] = _body(own, world, agent, track)
    if amounts.total:
        bodies = _within(bodies, amounts.total, rng)
    return Clip(frames, bodies, repairs)


def _within(bodies: Mapping[str, Body], total: int, rng: np.random.Generator) -> dict[str, Body]:
    """At most ``total`` points: a crowd is thinned to three quarters of them, each body alike, the background gets the rest."""
    others = sum(len(body.points) for name, body in bodies.items() if name != BACKGROUND)
    if others + len(bodies[BACKGROUND].points) <= total:
        return dict(bodies)
    share = min(1.0, 3 * total / 4 / max(others, 1))
    kept = {name: int(share * len(body.points)) for name, body in bodies.items() if name != BACKGROUND}
    kept[BACKGROUND] = total - sum(kept.values())

    def thinned(body: Body, most: int) -> Body:
        rows = _thinned(np.arange(len(body.points)), max(most, 1), rng)
        return replace(body, points=body.points[rows], colours=body.colours[rows])

    return {name: thinned(body, kept[name]) for name, body in bodies.items()}


def _tensors(points: Double) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(points[:, :3]).float(), torch.from_numpy(points[:, 3:]).float()


def _body(points: Double, world: World, agent: int, track: Track) -> Body:
    kind = AgentClass(int(world.agents.kind[agent]))
    length, width, height = (float(value) for value in world.agents.size[agent])
    size, period = (length, width, height), LIMBED.get(kind, 1.0)
    return Body(*_tensors(points), track, kind.name.lower(), size, kind in LIMBED, period)
