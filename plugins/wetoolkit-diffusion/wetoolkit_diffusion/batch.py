"""Scenes of different sizes as one batch of tensors, and token states in units of the network's scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from wetoolkit_driving.types import Float

from wetoolkit_diffusion.spec import CHANNELS, KINDS, TokenSpec
from wetoolkit_diffusion.tokens import Tokens

LEAST = np.array([0.3, 0.15, 0.1, 0.1, 0.3])  # the scale of a channel is never below: metres, metres, 1, 1, m/s


def collate(scenes: Sequence[Tokens]) -> dict[str, Tensor]:
    """Tensors of B scenes padded to the A agents of the largest; ``state`` [B, A, K, CHANNELS], ``known`` [B, A, K] as recorded;
    ``stops`` [B, S, 4] and ``shut`` [B, S, T], never shut where a scene has fewer."""
    count = max(len(scene) for scene in scenes)
    first = scenes[0]
    same = ("points", "facts", "there", "ways", "way_facts", "open", "rails", "state")
    shapes: dict[str, tuple[int, ...]] = {name: getattr(first, name).shape[1:] for name in same}
    shapes |= {"known": first.valid.shape[1:], "frame": (3,), "velocity": (2,), "kind": (), "size": (2,), "ego": ()}
    flags = {"known", "there", "open"}
    arrays = {name: np.zeros((len(scenes), count, *shape), bool if name in flags else np.float32) for name, shape in shapes.items()}
    for i, scene in enumerate(scenes):
        n = len(scene)
        for name in shapes:
            arrays[name][i, :n] = _column(scene, name)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    sizes = torch.tensor([len(scene) for scene in scenes])
    tensors["present"] = torch.arange(count) < sizes[:, None]
    tensors["kind"] = tensors["kind"].long()
    return {**tensors, **_features(tensors), **_signals(scenes)}


def _signals(scenes: Sequence[Tokens]) -> dict[str, Tensor]:
    most = max(len(scene.stops) for scene in scenes)
    stops = np.zeros((len(scenes), most, 4), np.float32)
    shut = np.zeros((len(scenes), most, scenes[0].shut.shape[1]), bool)
    for i, scene in enumerate(scenes):
        n = len(scene.stops)
        stops[i, :n] = scene.stops - np.concatenate([scene.frame[0, :2], [0.0, 0.0]])
        shut[i, :n] = scene.shut
    return {"stops": torch.from_numpy(stops), "shut": torch.from_numpy(shut)}


def _column(scene: Tokens, name: str) -> Float:
    if name == "frame":  # float32 holds metres near the ego only
        return np.column_stack([scene.frame[:, :2] - scene.frame[0, :2], scene.frame[:, 2]]).astype(np.float32)
    if name == "ego":
        return (scene.rows < 0).astype(np.float32)
    return np.asarray(scene.valid if name == "known" else getattr(scene, name))


def _features(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    velocity = tensors["velocity"]
    speed = torch.hypot(velocity[..., 0], velocity[..., 1])
    kinds = torch.nn.functional.one_hot(tensors["kind"], len(KINDS)).float()
    about = [kinds, tensors["ego"][..., None], tensors["size"] / 5.0, velocity / 10.0, torch.log1p(speed)[..., None]]
    return {"speed": speed, "about": torch.cat(about, -1)}


def going_on(velocity: Tensor, spec: TokenSpec) -> Tensor:
    """Token states [..., K, CHANNELS] of who keeps velocity [..., 2] (own frame) and heading: where the network's units start."""
    seconds = spec.period * torch.arange(-spec.now, spec.future + 1)
    place = velocity[..., None, :] * seconds[:, None]  # [..., K, 2]
    ones = torch.ones_like(place[..., :1])
    speed = torch.hypot(velocity[..., :1], velocity[..., 1:])[..., None, :].expand_as(ones)
    return torch.cat([place, ones, torch.zeros_like(ones), speed], -1)


def units(state: Tensor, scale: Tensor, start: Tensor) -> Tensor:
    """Token states as deviations from ``start`` in units of ``scale`` (all [..., K, CHANNELS])."""
    return (state - start) / scale


def real(x: Tensor, scale: Tensor, start: Tensor) -> Tensor:
    """The inverse of ``units``."""
    return x * scale + start


def spread(scenes: Sequence[Tokens], spec: TokenSpec) -> Float:
    """[3, K, CHANNELS]: root mean square of the deviations from going on, by class and token, never below ``LEAST``."""
    total, seen = np.zeros((len(KINDS), spec.count, CHANNELS)), np.zeros((len(KINDS), spec.count, 1))
    for scene in scenes:
        start = going_on(torch.from_numpy(scene.velocity), spec).numpy()
        square = np.where(scene.valid[..., None], (scene.state - start) ** 2, 0.0)
        for which in range(len(KINDS)):
            rows = scene.kind == which
            total[which] += square[rows].sum(0)
            seen[which] += scene.valid[rows].sum(0)[:, None]
    return np.maximum(np.sqrt(total / np.maximum(seen, 1.0)), LEAST).astype(np.float32)


__all__ = ["collate", "going_on", "real", "spread", "units"]
