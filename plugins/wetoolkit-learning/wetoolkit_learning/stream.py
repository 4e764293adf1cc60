"""Endless batches of exactly so many decisions out of an Experience, and the split by log."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from wetoolkit.errors import DataError
from wetoolkit.types import Bool, Decisions, Experience, Int, Observation

Keep = Callable[[Decisions[Any]], Bool]  # which rows of a block are wanted, [n]
_BLOCK = 256


def rows(block: Decisions[Any], index: Int) -> Decisions[Any]:
    """Some rows of a block, in the order of ``index``."""
    return replace(
        block,
        observation=block.observation.rows(index),
        source=block.source[index],
        round=block.round[index],
        expert=block.expert[index],
        has_expert=block.has_expert[index],
        choice=block.choice[index],
        log_prob=block.log_prob[index],
        rewards=block.rewards[index],
        terms={name: values[index] for name, values in block.terms.items()},
        ids=tuple(block.ids[i] for i in index),
        logs=tuple(block.logs[i] for i in index),
    )


def join(blocks: Sequence[Decisions[Any]]) -> Decisions[Any]:
    """Blocks one after another; terms that not all of them have are left out, as are worlds and images."""
    if len(blocks) == 1:
        return blocks[0]
    first = blocks[0]
    arrays = {n: np.concatenate([b.observation.arrays[n] for b in blocks]) for n in first.observation.arrays}
    observation: Observation[Any] = Observation(first.observation.domain, sum(b.size for b in blocks), arrays)
    shared = [name for name in first.terms if all(name in b.terms for b in blocks)]
    columns = {
        name: np.concatenate([getattr(b, name) for b in blocks])
        for name in ("source", "round", "expert", "has_expert", "choice", "log_prob", "rewards")
    }
    return Decisions(
        observation,
        **columns,
        terms={name: np.concatenate([b.terms[name] for b in blocks]) for name in shared},
        ids=tuple(name for b in blocks for name in b.ids),
        logs=tuple(name for b in blocks for name in b.logs),
    )


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
            held, have = [*held, rows(block, wanted)], have + len(wanted)
            while have >= size:
                whole = join(held)
                yield rows(whole, np.arange(size))
                held, have = [rows(whole, np.arange(size, have))], have - size
        if not found:
            raise DataError("no decision in the experience is of use here", way_out="look at the counts in the stage before")
        turn += 1


def once(experience: Experience, keep: Keep, size: int = _BLOCK) -> Iterator[Decisions[Any]]:
    """The wanted rows, in stored order, in blocks of at most ``size``."""
    for block in experience.batches(size, None):
        wanted = np.flatnonzero(keep(block))
        if len(wanted):
            yield rows(block, wanted)


def held_out(logs: Sequence[str], fraction: float, seed: int) -> frozenset[str]:
    """The logs that are kept for validation: the ``fraction`` with the smallest seeded hash (none where that is less than half a log)."""
    names = sorted(set(logs))
    count = min(round(fraction * len(names)), len(names) - 1)
    return frozenset(sorted(names, key=lambda name: (zlib.crc32(f"{seed}/{name}".encode()), name))[:count])
