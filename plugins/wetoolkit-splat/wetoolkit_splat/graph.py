"""A scene as a graph: what stands still, things that move as one body each, a sky, and how each camera exposes.

A node's gaussians are in its own frame; its track says where that frame is at which time. Limbs that do not follow the body
sway: each gaussian may move on a few harmonics of a period. Twists correct a track and are what training adjusts. Nodes can be
moved, removed and copied between scenes; nothing is changed in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from wetoolkit.errors import UnknownName
from wetoolkit.types import require
from wetoolkit_splat.harmonics import basis
from wetoolkit_splat.render import Settings, render
from wetoolkit_splat.types import C0, Cameras, Gaussians, Render, merged


@dataclass(frozen=True)
class Track:
    """Where a node is at T times. It is absent beyond half a step before the first and after the last."""

    times: Tensor  # [T] float64 seconds, rising
    poses: Tensor  # [T, 4, 4] node to world, metres
    twists: Tensor  # [T, 6] corrections in the node's own frame: metres along, radians about x, y, z

    def validate(self) -> None:
        """Shapes and order."""
        steps = len(self.times)
        require(steps > 0, "no time", "track.times", "leave the track out of a node that stands still")
        require(
            tuple(self.poses.shape) == (steps, 4, 4), f"shape {tuple(self.poses.shape)}", "track.poses", f"give ({steps}, 4, 4)"
        )
        require(tuple(self.twists.shape) == (steps, 6), f"shape {tuple(self.twists.shape)}", "track.twists", f"give ({steps}, 6)")
        for name in ("times", "poses", "twists"):
            require(bool(torch.isfinite(getattr(self, name)).all()), "NaN or infinity", f"track.{name}", "leave those steps out")
        require(bool((self.times.diff() > 0).all()), "times do not rise", "track.times", "sort the steps, one a time")

    def present(self, time: float) -> bool:
        """Whether the node is there."""
        margin = 0.5 * float(self.times.diff().median()) if len(self.times) > 1 else 0.05
        return float(self.times[0]) - margin <= time <= float(self.times[-1]) + margin

    def at(self, time: float) -> Tensor:
        """[4, 4] node to world: on the shortest way between two steps, then corrected. Differentiable by the twists."""
        after = int(
            torch.searchsorted(self.times, torch.tensor(time, dtype=self.times.dtype)).clamp(1, max(1, len(self.times) - 1))
        )
        if len(self.times) == 1:
            return self.poses[0] @ motion(self.twists[0])
        first, last = self.times[after - 1], self.times[after]
        share = float(((time - first) / (last - first)).clamp(0, 1))
        pose = between(self.poses[after - 1], self.poses[after], share)
        return pose @ motion(torch.lerp(self.twists[after - 1], self.twists[after], share))


@dataclass(frozen=True)
class Node:
    """One body."""

    gaussians: Gaussians  # in the node's frame; their groups are not used
    track: Track | None = None  # None: it stands in the world's frame
    category: str = ""  # what it is, in the words of the domain
    size: tuple[float, float, float] | None = None  # length, width, height of its box in metres, centred
    sway: Tensor | None = None  # [N, 2 F, 3] metres: sine and cosine of F harmonics
    period: float = 1.0  # seconds of the first harmonic

    def validate(self) -> None:
        """Everything in it."""
        self.gaussians.validate()
        if self.track is not None:
            self.track.validate()
        if self.sway is not None:
            count = len(self.gaussians)
            good = self.sway.ndim == 3 and self.sway.shape[0] == count and self.sway.shape[1] % 2 == 0 and self.sway.shape[2] == 3
            require(good, f"shape {tuple(self.sway.shape)}", "node.sway", f"give ({count}, 2 F, 3)")
        require(self.period > 0, f"period {self.period}", "node.period", "give seconds above 0")

    def swayed(self, time: float) -> Gaussians:
        """The gaussians as they are at a time, in the node's frame."""
        if self.sway is None:
            return self.gaussians
        phase = 2 * torch.pi * time / self.period * (1 + torch.arange(self.sway.shape[1] // 2, dtype=self.sway.dtype))
        waves = torch.stack([phase.sin(), phase.cos()], -1).reshape(-1)
        return replace(self.gaussians, means=self.gaussians.means + (self.sway * waves[:, None]).sum(1))


@dataclass(frozen=True)
class SplatScene:
    """Everything that can be rendered."""

    nodes: Mapping[str, Node]
    sky: Tensor = field(default_factory=lambda: torch.full((1, 3), -0.5 / C0))  # [K, 3] harmonics of the direction: black
    exposures: Mapping[str, Tensor] = field(default_factory=dict)  # camera -> [3, 4]: colour = first three columns @ colour + last

    def validate(self) -> None:
        """Everything in it."""
        require(bool(self.nodes), "no nodes", "scene.nodes", "give at least the background")
        for node in self.nodes.values():
            node.validate()
        for name, exposure in self.exposures.items():
            require(tuple(exposure.shape) == (3, 4), f"shape {tuple(exposure.shape)}", f"exposures.{name}", "give (3, 4)")

    def node(self, name: str) -> Node:
        """The node of this name; ``UnknownName`` lists those there are."""
        if name not in self.nodes:
            raise UnknownName("the node", name, self.nodes)
        return self.nodes[name]

    def added(self, name: str, node: Node) -> SplatScene:
        """With one node more, such as one of another scene; ``ValidationError`` where the name is taken."""
        require(name not in self.nodes, f"there is a node {name!r}", "scene.nodes", "remove it first or take another name")
        return replace(self, nodes={**self.nodes, name: node})

    def removed(self, name: str) -> SplatScene:
        """Without a node."""
        self.node(name)
        return replace(self, nodes={of: node for of, node in self.nodes.items() if of != name})

    def moved(self, name: str, motion_: Tensor) -> SplatScene:
        """With a node carried along by a motion [4, 4] of the world, at all times."""
        node = self.node(name)
        if node.track is None:
            track = Track(torch.tensor([-1e9, 1e9], dtype=torch.float64), motion_.repeat(2, 1, 1), motion_.new_zeros(2, 6))
        else:
            track = replace(node.track, poses=motion_ @ node.track.poses)
        return replace(self, nodes={**self.nodes, name: replace(node, track=track)})

    def at(self, time: float, poses: Mapping[str, Tensor] | None = None) -> tuple[Gaussians, Tensor]:
        """Gaussians and poses [G, 4, 4] of the nodes that are there. ``poses`` [4, 4] by name stand above tracks."""
        given = poses or {}
        for name in given:
            self.node(name)
        there = {name: node for name, node in self.nodes.items() if name in given or node.track is None or node.track.present(time)}
        require(bool(there), f"no node at {time} s", "time", "ask for a time of the scene")
        still = torch.eye(4)
        places = [given[n] if n in given else still if node.track is None else node.track.at(time) for n, node in there.items()]
        return merged({name: node.swayed(time) for name, node in there.items()}), torch.stack([place.float() for place in places])

    def render(
        self,
        cameras: Cameras,
        time: float,
        names: tuple[str, ...] = (),
        poses: Mapping[str, Tensor] | None = None,
        settings: Settings | None = None,
    ) -> Render:
        """What cameras see at a time, the sky behind; ``names`` choose their exposures, a camera without one has none."""
        gaussians, places = self.at(time, poses)
        seen = render(gaussians, cameras, places, settings=settings)
        colour = seen.colour + (1 - seen.alpha)[..., None] * sky_of(self.sky, cameras)
        exposed = [expose(colour[c], self.exposures.get(name)) for c, name in enumerate(names or ("",) * len(cameras))]
        return replace(seen, colour=torch.stack(exposed))


def sky_of(sky: Tensor, cameras: Cameras) -> Tensor:
    """[C, H, W, 3] of harmonics [K, 3]."""
    x, y = torch.meshgrid(torch.arange(cameras.width) + 0.5, torch.arange(cameras.height) + 0.5, indexing="xy")
    pixels = torch.stack([x, y, torch.ones_like(x)], -1).to(cameras.intrinsics)  # [H, W, 3]
    seen = []
    for view, k in zip(cameras.world_to_camera, cameras.intrinsics, strict=True):
        rays = torch.nn.functional.normalize(pixels @ torch.linalg.inv(k).T @ view[:3, :3], dim=-1).reshape(-1, 3)
        seen.append((basis(rays, len(sky)) @ sky + 0.5).clamp(min=0).reshape(cameras.height, cameras.width, 3))
    return torch.stack(seen)


def expose(colour: Tensor, exposure: Tensor | None) -> Tensor:
    """An affine change of colours [..., 3]."""
    return colour if exposure is None else colour @ exposure[:, :3].T + exposure[:, 3]


def motion(twist: Tensor) -> Tensor:
    """[4, 4] of a twist [6]: the exponential."""
    v, w = twist[:3], twist[3:]
    none = torch.zeros((), dtype=twist.dtype)
    rows = [none, -w[2], w[1], v[0], w[2], none, -w[0], v[1], -w[1], w[0], none, v[2], none, none, none, none]
    moved: Tensor = torch.linalg.matrix_exp(torch.stack(rows).reshape(4, 4))
    return moved


def turn_of(rotation: Tensor) -> Tensor:
    """[3] axis times angle of a rotation [3, 3] by less than half a turn."""
    axis = torch.stack([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    sine, cosine = axis.norm() / 2, (rotation.trace() - 1) / 2
    return axis / 2 if float(sine) < 1e-8 else axis / (2 * sine) * torch.atan2(sine, cosine)


def between(first: Tensor, last: Tensor, share: float) -> Tensor:
    """[4, 4] on the straight way of two poses, turning evenly."""
    turn = turn_of(first[:3, :3].T @ last[:3, :3])
    step = motion(torch.cat([torch.zeros_like(turn), share * turn]))
    pose = first @ step
    return torch.cat([torch.cat([pose[:3, :3], torch.lerp(first[:3, 3:], last[:3, 3:], share)], 1), first[3:]])
