"""How unlikely a future is to the model when nothing but the past is given: the budget that an attack may spend.

For noise of variance sigma^2 the negative log-likelihood is at most, up to a constant, half the integral over ln sigma of the
expected squared error of denoising over sigma^2 (Kingma, Salimans, Poole and Ho 2021, arXiv 2107.00630, in these terms). It is
estimated at a few levels with noise that is the same for all futures, so that differences between futures are less noisy than each.
"""

from __future__ import annotations

import numpy as np
import torch
from wetoolkit_driving.types import Bool, Double, Float

from wetoolkit_diffusion.batch import collate, going_on, units
from wetoolkit_diffusion.checkpoint import Model
from wetoolkit_diffusion.generate import one_thread, past
from wetoolkit_diffusion.tokens import Tokens

LEVELS = (0.15, 0.4, 1.0, 2.5)  # evenly spaced in ln sigma


def surprise(model: Model, tokens: Tokens, states: Float, seed: int = 0) -> Double:
    """[n, A] nats a token of the futures in token states [n, A, K, CHANNELS], up to a constant."""
    spec, n, scene = model.spec, len(states), collate([tokens])
    given = past(tokens, spec.now)
    scene["known"] = torch.from_numpy(given)[None].clone()
    scene["known"][..., spec.now + 1 :] = True
    start, scale = going_on(scene["velocity"], spec), model.network.scale[scene["kind"]]
    clean = torch.where(scene["known"][..., None], units(torch.from_numpy(np.array(states, np.float32)), scale, start), 0.0)
    held = torch.from_numpy(given)[None].expand(n, -1, -1)
    rng, total = np.random.default_rng(seed), torch.zeros(n, len(tokens))
    with one_thread(), torch.no_grad():
        context = model.network.context(scene).repeated(torch.tensor([n]))
        for level in LEVELS:
            noise = torch.from_numpy(rng.standard_normal(states.shape[1:], np.float32))
            sigma = torch.where(held, 0.0, torch.full(held.shape, level))
            found = model.network(clean + sigma[..., None] * noise, sigma, context)
            error = ((found - clean).square().sum(-1) / level**2)[..., spec.now + 1 :]
            total += error.mean(-1)
    span = float(np.log(LEVELS[-1] / LEVELS[0]))
    return (0.5 * span * total / len(LEVELS)).numpy().astype(np.float64)


def excess(model: Model, tokens: Tokens, states: Float, rows: Bool) -> Double:
    """[n] how much more surprising the most surprising of some rows [A] is than recorded futures are on the mean, nats a token.

    Where no road user has a whole future on record, there is nothing to compare with: the surprise itself.
    """
    if not rows.any():
        return np.zeros(len(states))
    whole = tokens.valid[:, model.spec.now + 1 :].all(1)
    usual = float(surprise(model, tokens, tokens.state[None])[0, whole].mean()) if whole.any() else 0.0
    return np.asarray(surprise(model, tokens, states)[:, rows].max(1) - usual)


__all__ = ["LEVELS", "excess", "surprise"]
