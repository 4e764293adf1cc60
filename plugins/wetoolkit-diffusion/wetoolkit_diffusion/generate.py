"""Futures of scenes: tokens that are given and a seed -> what everybody does, several times over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from wetoolkit_driving.types import Bool, Double, Float

from wetoolkit_diffusion.batch import collate, going_on, real, units
from wetoolkit_diffusion.bending import bent
from wetoolkit_diffusion.checkpoint import Model
from wetoolkit_diffusion.guidance import GuidanceConfig, guided
from wetoolkit_diffusion.kinematics import decode
from wetoolkit_diffusion.noise import SamplerConfig, sample
from wetoolkit_diffusion.spec import CHANNELS, TokenSpec
from wetoolkit_diffusion.tokens import Tokens

WARM = 1.0  # noise level at which an earlier plan is taken up again
AGAINST = 0.5  # metres: who is told to be somewhere is not steered where that would move the place by more


@dataclass(frozen=True)
class Request:
    """One scene to be generated ``len(seeds)`` times."""

    tokens: Tokens
    given: Bool  # [A, K] tokens that are held
    held: Float  # [A, K, CHANNELS] their states, in the agents' frames
    seeds: tuple[int, ...]
    start: Float | None = None  # [A, K, CHANNELS] an earlier plan to begin from (a warm start)


def past(tokens: Tokens, now: int) -> Bool:
    """[A, K] what is known of the present and the past."""
    given = tokens.valid.copy()
    given[:, now + 1 :] = False
    return given


def generate(
    model: Model, requests: Sequence[Request], sampler: SamplerConfig, guidance: GuidanceConfig | None = None, shy: bool = True,
    warm: float = WARM,
) -> list[Float]:  # fmt: skip
    """For each request token states [len(seeds), A, K, CHANNELS], the given ones exactly as given.

    Requests either all have a ``start`` or none has. Every variant has its own seed; a batch equals its singles to 1e-5. ``shy``:
    where costs guide, the others keep clear of the ego too. ``warm``: the noise level from which a ``start`` is taken up.
    """
    if not requests:
        return []
    counts = [len(request.seeds) for request in requests]
    with one_thread():
        states = _sampled(model, requests, torch.tensor(counts), sampler, guidance, shy, warm).numpy()
    found, first = [], 0
    for request, count in zip(requests, counts, strict=True):
        some = states[first : first + count, : len(request.tokens)]
        found.append(np.where(request.given[..., None], request.held, some).astype(np.float32))
        first += count
    return found


def _sampled(
    model: Model, requests: Sequence[Request], times: Tensor, sampler: SamplerConfig, guidance: GuidanceConfig | None, shy: bool,
    level: float,
) -> Tensor:  # fmt: skip
    """Token states [times.sum(), A, K, CHANNELS]."""
    spec = model.spec
    scene = collate([request.tokens for request in requests])
    size = scene["known"].shape[1]
    scene["known"] = torch.stack([_padded(r.given, size) for r in requests]).bool()
    scene["known"][..., spec.now + 1 :] = True  # the future is there for all, as noise at least
    with torch.no_grad():
        context = model.network.context(scene).repeated(times)
    each = {name: tensor.repeat_interleave(times, 0) for name, tensor in scene.items()}
    start, scale = going_on(each["velocity"], spec), model.network.scale[each["kind"]]
    given = torch.stack([_padded(r.given, size) for r in requests]).repeat_interleave(times, 0)
    held = torch.stack([_padded(r.held, size) for r in requests]).float().repeat_interleave(times, 0)
    held = torch.where(given[..., None], units(held, scale, start), 0.0)
    noise = torch.cat([_noise(r, size) for r in requests])
    warm, levels = None, sampler.levels()
    if requests[0].start is not None:
        starts = torch.stack([_padded(r.start, size) for r in requests if r.start is not None]).float()
        warm, levels = units(starts.repeat_interleave(times, 0), scale, start), sampler.levels(level)
    steer = None
    if guidance is not None:

        def steer(x: Tensor, level: float) -> Tensor:
            if level > guidance.below:
                return x
            return units(_steered(real(x, scale, start), each, given & each["known"], guidance, spec, shy), scale, start)

    return real(sample(model.network, context, noise, held, given, levels, warm, steer), scale, start)


def _steered(
    state: Tensor, scene: Mapping[str, Tensor], given: Tensor, guidance: GuidanceConfig, spec: TokenSpec, shy: bool
) -> Tensor:
    """Token states [B, A, K, CHANNELS] ``bent`` to what is ``given`` [B, A, K] and ``guided``. Who is told to be where the lanes
    or the others would not have it is left alone, and the others wait for it: steered, it would leap to that token."""
    free = scene["known"] & ~given
    told = given & free.any(-1, keepdim=True)
    told[..., : spec.now + 1] = False
    state, movable = bent(state, scene, told, spec), free | told  # the sampler puts given tokens back
    wanted = guided(state, scene, movable, guidance, spec, shy)
    against = (told & ((wanted - state)[..., :2].norm(dim=-1) > AGAINST)).any(-1, keepdim=True)  # [B, A, 1]
    return guided(state, scene, movable & ~against, guidance, spec, shy) if against.any() else wanted


def _padded(array: Float | Bool | None, size: int) -> Tensor:
    assert array is not None
    out = np.zeros((size, *array.shape[1:]), array.dtype)
    out[: len(array)] = array
    return torch.from_numpy(out)


def _noise(request: Request, size: int) -> Tensor:
    """[n, A, K, CHANNELS] of unit spread: an agent's is made of the variant's seed and the agent's name, whoever else is there."""
    shape = (request.given.shape[1], CHANNELS)
    drawn = [
        np.stack([np.random.default_rng([seed, int(name)]).standard_normal(shape, np.float32) for name in request.tokens.names])
        for seed in request.seeds
    ]
    return torch.stack([_padded(one, size) for one in drawn])


def motions(tokens: Tokens, states: Float, given: Bool, now: int, every: int) -> tuple[Double, Bool]:
    """Local poses [n, A, F * every, 3] at 10 Hz of token states [n, A, K, CHANNELS], and who had to be driven after [n, A]."""
    n, a = states.shape[:2]
    future = states[:, :, now + 1 :].reshape(n * a, -1, CHANNELS).astype(np.float64)
    held = np.tile(given[:, now + 1 :], (n, 1))
    kind, velocity = np.tile(tokens.kind, n), np.tile(tokens.velocity.astype(np.float64), (n, 1))
    poses, driven = decode(future, held, kind, velocity, every)
    return poses.reshape(n, a, -1, 3), driven.reshape(n, a)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread inside, so that workers do not take one another's cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


__all__ = ["Request", "generate", "motions", "past"]
