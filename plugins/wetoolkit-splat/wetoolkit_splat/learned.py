"""What is optimised, flat: the gaussians of all bodies in one table, tracks' twists, the sky, exposures. And Adam over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from wetoolkit_splat.clip import Body, Clip, Frame
from wetoolkit_splat.graph import Node, SplatScene, expose, sky_of
from wetoolkit_splat.initial import from_points
from wetoolkit_splat.render import Settings, render
from wetoolkit_splat.types import Gaussians, Render, merged

ROWS = ("means", "quaternions", "log_scales", "opacity_logits", "sh", "sway")  # one row a gaussian
SKY_TERMS = 16
BETAS, EPSILON = (0.9, 0.999), 1e-15  # of Adam


@dataclass(frozen=True)
class Learned:
    """The tensors change in place while it is fitted; everything else stays."""

    values: dict[str, Tensor]  # ROWS, "sky" [16, 3], "exposures" [cameras, 3, 4], "twists.<body>" [T, 6]
    groups: Tensor  # [N] int32 which body a gaussian belongs to
    bodies: Mapping[str, Body]
    cameras: tuple[str, ...]

    def gaussians(self, time: float) -> Gaussians:
        """As they are at a time."""
        plain = Gaussians(**{name: self.values[name] for name in ROWS[:-1]}, groups=self.groups)
        sway = self.values["sway"]
        if sway.shape[1] == 0:
            return plain
        steps = 1 + torch.arange(sway.shape[1] // 2)
        sways = torch.tensor([float(body.sways) for body in self.bodies.values()])
        phase = 2 * torch.pi * time / torch.tensor([body.period for body in self.bodies.values()])[:, None] * steps
        waves = torch.stack([phase.sin(), phase.cos()], -1).reshape(len(sways), -1) * sways[:, None]
        return replace(plain, means=plain.means + (sway * waves[self.groups.long()][..., None]).sum(1))

    def poses(self, frame: Frame) -> Tensor:
        """[G, 4, 4]; a body that is absent lies in the camera's centre, where nothing is drawn."""
        nowhere = torch.zeros(4, 4)
        nowhere[:, 3] = torch.linalg.inv(frame.world_to_camera)[:, 3]
        found = []
        for name, body in self.bodies.items():
            track = body.track
            if track is None:
                found.append(torch.eye(4))
            elif track.present(frame.time):
                found.append(replace(track, twists=self.values[f"twists.{name}"]).at(frame.time).float())
            else:
                found.append(nowhere)
        return torch.stack(found)

    def render(self, frame: Frame, settings: Settings) -> Render:
        """What the frame's camera sees: sky and exposure included."""
        cameras = frame.cameras()
        seen = render(self.gaussians(frame.time), cameras, self.poses(frame), settings=settings)
        colour = seen.colour + (1 - seen.alpha)[..., None] * sky_of(self.values["sky"], cameras)
        exposure = self.values["exposures"][self.cameras.index(frame.camera)] if frame.camera in self.cameras else None
        return replace(seen, colour=expose(colour, exposure))

    def scene(self) -> SplatScene:
        """As a graph of nodes; a body without gaussians left is none."""
        nodes = {}
        for index, (name, body) in enumerate(self.bodies.items()):
            rows = self.groups == index
            if not bool(rows.any()):
                continue
            parameters = {key: self.values[key].detach()[rows].clone() for key in ROWS}
            sway = parameters.pop("sway")
            track = replace(body.track, twists=self.values[f"twists.{name}"].detach().clone()) if body.track else None
            gaussians = Gaussians(**parameters, groups=torch.zeros(int(rows.sum()), dtype=torch.int32))
            nodes[name] = Node(gaussians, track, body.category, body.size, sway if body.sways else None, body.period)
        exposures = {name: self.values["exposures"][k].detach().clone() for k, name in enumerate(self.cameras)}
        return SplatScene(nodes, self.values["sky"].detach().clone(), exposures)


def begin(clip: Clip, degree: int, harmonics: int) -> Learned:
    """One gaussian for each point of each body."""
    parts = merged({name: from_points(body.points, body.colours, degree) for name, body in clip.bodies.items()})
    sways = any(body.sways for body in clip.bodies.values())
    cameras = tuple(sorted({frame.camera for frame in clip.frames}))
    values = {**parts.parameters(), "sway": torch.zeros(len(parts), 2 * harmonics if sways else 0, 3)}
    values |= {"sky": torch.zeros(SKY_TERMS, 3), "exposures": torch.eye(3, 4).repeat(len(cameras), 1, 1)}
    values |= {f"twists.{name}": body.track.twists.float().clone() for name, body in clip.bodies.items() if body.track}
    return Learned(values, parts.groups, clip.bodies, cameras)


@dataclass(frozen=True)
class Adam:
    """Kingma and Ba (2015), over named tensors whose rows come and go."""

    first: dict[str, Tensor]
    second: dict[str, Tensor]

    def step(self, values: dict[str, Tensor], gradients: Mapping[str, Tensor], rates: Mapping[str, float], step: int) -> None:
        """One step in place; ``step`` counts from 1."""
        fade, fade_second = (1 - beta**step for beta in BETAS)
        for name, gradient in gradients.items():
            first, second = self.first[name], self.second[name]
            first.lerp_(gradient, 1 - BETAS[0])
            second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
            values[name].addcdiv_(first, (second / fade_second).sqrt_().add_(EPSILON), value=-rates[name] / fade)

    def forget(self, rows: Tensor) -> None:
        """Start again for these gaussians."""
        for name in ROWS:
            self.first[name][rows], self.second[name][rows] = 0, 0

    def grow(self, count: int) -> None:
        """Room for so many more."""
        for moments in (self.first, self.second):
            for name in ROWS:
                moments[name] = torch.cat([moments[name], moments[name].new_zeros(count, *moments[name].shape[1:])])


def adam(values: Mapping[str, Tensor]) -> Adam:
    """At rest."""
    return Adam(
        {name: torch.zeros_like(value) for name, value in values.items()}, {name: torch.zeros_like(v) for name, v in values.items()}
    )


def rows_of(values: Mapping[str, Tensor], names: Sequence[str] = ROWS) -> dict[str, Tensor]:
    """Only the gaussians' own."""
    return {name: values[name] for name in names}
