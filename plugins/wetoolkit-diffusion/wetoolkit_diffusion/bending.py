"""Who is told to be somewhere goes there and on from there: futures bent to their given tokens.

The network sees a given token, but what it makes of the ones round about it is no path through an unlikely place: a walker leaps to
it and back. So at each step of the sampler the estimate of such a road user is replaced by the path that meets the given tokens,
with their velocities as far as may be, and otherwise has the accelerations of the estimate: a linear least squares problem. After
the last given token nothing but ``KEPT`` draws the path back: it goes on as it then moves.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from wetoolkit_diffusion.spec import TokenSpec

MET = 1e4  # 1/s^4: what a metre off a given token counts, against (1 m/s^2)^2 at one token
PACE = 1.0  # 1/s^2: what 1 m/s off a given velocity counts
KEPT = 1e-3  # 1/s^4: what a metre off the estimate counts; what is bent comes back to it in about KEPT^(-1/4) seconds
TURNS = 0.5  # m/s: below, a path has no direction


def bent(state: Tensor, scene: Mapping[str, Tensor], told: Tensor, spec: TokenSpec) -> Tensor:
    """Token states [B, A, K, CHANNELS] in which whoever has ``told`` tokens [B, A, K] in its future goes by them smoothly."""
    b, a = told.any(-1).nonzero(as_tuple=True)
    if not len(b):
        return state
    rows = state[b, a, spec.now :].double()  # [R, 1 + F, CHANNELS], the present first
    place = path(rows, scene["velocity"][b, a].double(), told[b, a, spec.now + 1 :], spec.period)
    whole = torch.cat([rows[:, :1, :2], place], 1)
    pace = _slopes(whole.shape[1], spec.period) @ whole  # [R, 1 + F, 2] m/s
    speed = pace.norm(dim=-1, keepdim=True)
    heading = torch.where(speed > TURNS, pace / speed.clamp(min=1e-6), rows[..., 2:4])
    out = state.clone()
    out[b, a, spec.now + 1 :] = torch.cat([whole, heading, speed], -1)[:, 1:].to(state.dtype)
    return torch.where(told[..., None], state, out)


def path(rows: Tensor, velocity: Tensor, told: Tensor, period: float) -> Tensor:
    """Places [R, F, 2] of token states ``rows`` [R, 1 + F, CHANNELS] (own frame, the present first), those ``told`` [R, F] met;
    ``velocity`` [R, 2] at the present, m/s."""
    count, free = told.shape[1], (~told).double()
    before = -period * velocity[:, None]  # where it was a token ago
    wanted = torch.cat([before, rows[..., :2]], 1)  # [R, 2 + F, 2]
    bend = _bends(count, period)  # [F, 2 + F]
    estimate = torch.cat([torch.ones_like(free[:, :2]), free], 1).unfold(1, 3, 1).amin(-1)[..., None]  # [R, F, 1]
    slope = told.double()[..., None] * _slopes(count + 1, period)[1:]  # [R, F, 1 + F]
    pace = told.double()[..., None] * rows[:, 1:, 4:] * rows[:, 1:, 2:4]  # [R, F, 2]
    weight = torch.where(told, MET, KEPT).sqrt()[..., None]
    left = torch.cat([bend[:, 2:].expand(len(rows), -1, -1), weight * torch.eye(count), PACE**0.5 * slope[..., 1:]], 1)
    right = torch.cat(
        [
            estimate * (bend @ wanted) - bend[:, :2] @ wanted[:, :2],
            weight * rows[:, 1:, :2],
            PACE**0.5 * (pace - slope[..., :1] @ rows[:, :1, :2]),
        ],
        1,
    )
    return torch.linalg.solve(left.mT @ left, left.mT @ right)


def _bends(count: int, period: float) -> Tensor:
    """[F, 2 + F]: accelerations at the present and each token but the last, of places from one token before the present on."""
    return torch.diff(torch.eye(count + 2, dtype=torch.float64), n=2, dim=0) / period**2


def _slopes(count: int, period: float) -> Tensor:
    """[n, n]: velocities at n places, from both neighbours; at either end from the one that there is."""
    step = torch.diff(torch.eye(count, dtype=torch.float64), dim=0) / period  # [n - 1, n]
    return torch.cat([step[:1], 0.5 * (step[1:] + step[:-1]), step[-1:]])


__all__ = ["bent", "path"]
