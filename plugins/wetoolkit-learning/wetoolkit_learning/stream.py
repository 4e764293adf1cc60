"""Endless batches of exactly so many decisions out of an Experience, and the split by log."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wetoolkit.errors import DataError
from wetoolkit.experience import join, take
from wetoolkit.types import Bool, Decisions, Experience

Keep = Callable[[Decisions[Any]], Bool]  # which rows of a block are wanted, [n]
_BLOCK = 256


def stream(experience: Experience, size: int, seed: int, keep: Keep) -> Iterator[Decisions[Any]]:
    """Batches of exactly ``size`` wanted rows for ever, pass after pass, each pass shuffled anew by the seed."""
    held: list[Decisions[Any]] = []
    have, turn = 0, 0
    while True:
        found = 0
        for block in experience.batches(_BLOCK, seed + turn):
            wanted = np.flatnonzero(keep(block))
            found += len(wanted)
            if not len(wanted):
                continue
            held, have = [*held, take(block, wanted)], have + len(wanted)
            while have >= size:
                whole = join(held)
                yield take(whole, np.arange(size))
                held, have = [take(whole, np.arange(size, have))], have - size
        if not found:
            raise DataError("no decision in the experience is of use here", way_out="look at the counts in the stage before")
        turn += 1


def once(experience: Experience, keep: Keep, size: int = _BLOCK) -> Iterator[Decisions[Any]]:
    """The wanted rows, in stored order, in blocks of at most ``size``."""
    for block in experience.batches(size, None):
        wanted = np.flatnonzero(keep(block))
        if len(wanted):
            yield take(block, wanted)


def weights(block: Decisions[Any], trusted: bool) -> Tensor:
    """What each decision of a block counts for [n]: its trust, or 1."""
    return torch.from_numpy(np.asarray(block.trust, np.float32)) if trusted else torch.ones(block.size)


def held_out(logs: Sequence[str], fraction: float, seed: int) -> frozenset[str]:
    """The logs kept for validation: the ``fraction`` with the smallest seeded hash (none where that is under half a log)."""
    names = sorted(set(logs))
    count = min(round(fraction * len(names)), len(names) - 1)
    return frozenset(sorted(names, key=lambda name: (zlib.crc32(f"{seed}/{name}".encode()), name))[:count])
