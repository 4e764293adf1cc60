"""Small worlds and a small untrained model, for tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from wetoolkit_driving.geometry import compose
from wetoolkit_driving.testing import actor, crossing_world, straight_world
from wetoolkit_driving.types import AgentClass, Double, RoadMap, Signal, World

from wetoolkit_diffusion.behaviour import Diffusion, DiffusionConfig
from wetoolkit_diffusion.checkpoint import Model
from wetoolkit_diffusion.network import Denoiser, NetworkConfig
from wetoolkit_diffusion.plausible import PlausibilityConfig
from wetoolkit_diffusion.spec import TokenSpec
from wetoolkit_diffusion.tokens import Tokens, encode

NOW = 20
SPEC, SIZE = TokenSpec(lines=4, ways=3), NetworkConfig(width=32, layers=2, heads=2)
ANYTHING = PlausibilityConfig(
    kinematics=False, collision=False, off_road=False, solvable=0.0, apart=0.0
)  # keeps what ``model`` makes


def busy() -> World:
    """A crossing with seven road users of all classes, one who comes late, and a cone."""
    kinds = (AgentClass.VEHICLE, AgentClass.BICYCLE, AgentClass.PEDESTRIAN)
    actors = [actor(12.0 * i - 20, 4.0 * (i % 3) - 2, 0.4 * i, 1.0 + i, kinds[i % 3]) for i in range(7)]
    late, cone = actor(30, 0, seen=(40, 100)), actor(9, 9, kind=AgentClass.TRAFFIC_CONE)
    return crossing_world([*actors, late, cone], signals=(Signal.RED, Signal.GREEN))


def carried(world: World, by: tuple[float, float, float]) -> World:
    """The same world elsewhere, turned by ``by[2]`` about the origin, then moved."""
    move = np.array(by)

    def line(xy: Double) -> Double:
        return compose(move, np.column_stack([xy, np.zeros(len(xy))]))[:, :2]

    states_ = world.ego.states.copy()
    states_[:, :3] = compose(move, states_[:, :3])
    agents = world.agents
    pose = compose(move, agents.pose.astype(np.float64)) * agents.valid[..., None]
    turn = np.array([[np.cos(by[2]), np.sin(by[2])], [-np.sin(by[2]), np.cos(by[2])]])
    road: RoadMap = replace(world.map, lane_xy=line(world.map.lane_xy), area_xy=line(world.map.area_xy))
    others = replace(agents, pose=pose.astype(np.float32), velocity=(agents.velocity @ turn).astype(np.float32))
    return replace(world, ego=replace(world.ego, states=states_), agents=others, map=road)


def without_lanes(world: World) -> World:
    """The same world on a map that knows no lane."""
    nowhere = np.zeros(0, np.int32)
    bare = replace(
        world.map, lane_ids=(), lane_xy=np.zeros((0, 2)), lane_offset=np.zeros(1, np.int32), lane_area=nowhere,
        lane_roadblock=nowhere, lane_signal=nowhere, lane_left=nowhere, lane_right=nowhere,
        lane_speed_limit=np.zeros(0, np.float32), successors=np.zeros((0, 2), np.int32),
    )  # fmt: skip
    return replace(world, map=bare, route=nowhere)


def model(seed: int = 0, spec: TokenSpec = SPEC) -> Model:
    """A model that learned nothing."""
    torch.manual_seed(seed)
    return Model(Denoiser(SIZE, spec).eval().requires_grad_(False), spec, SIZE)


def behaviour(file: Path, **settings: Any) -> Diffusion:
    """The behaviour of a checkpoint, which keeps whatever it makes unless ``settings`` say otherwise."""
    return Diffusion(DiffusionConfig(checkpoint=str(file), **{"plausibility": ANYTHING, **settings}))


def drives(count: int = 24) -> list[Tokens]:
    """Scenes in which everybody drives straight on with a speed of its own, some braking since 1.5 s."""
    rng, scenes = np.random.default_rng(0), []
    for _ in range(count):
        late = 0.1 * np.maximum(np.arange(101) - NOW + 15, 0)
        speeds = [np.maximum(rng.uniform(4, 12) - rng.choice([0.0, 1.5]) * late, 0) for _ in range(3)]
        world = straight_world([actor(15.0 * i + 10, 3.5 * (i % 2), 0.0, speed.tolist()) for i, speed in enumerate(speeds)])
        scenes.append(encode(world, NOW, SPEC))
    return scenes


__all__ = ["ANYTHING", "NOW", "SIZE", "SPEC", "behaviour", "busy", "carried", "drives", "model", "without_lanes"]
