"""Decisions on disk, one shard a file, read lazily in shuffled batches within a stated amount of memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from wetoolkit.codec import MENDED
from wetoolkit.errors import StoreError, ValidationError
from wetoolkit.store import read_block, read_facts, write_block
from wetoolkit.types import Array, Bool, Decisions, Int, require

MEMORY_MB = 1024  # decisions held in memory at once, in MiB
_COLUMNS = ("source", "round", "expert", "has_expert", "choice", "log_prob", "rewards", "trust")


def write_shard(path: Path, decisions: Decisions[Any] | None, facts: Mapping[str, Any] | None = None) -> None:
    """One shard: the decisions (None: no rows) and, readable without them, their count, size, ids, logs and shapes."""
    if decisions is None:
        write_block(path, [], {**(facts or {}), "rows": 0, "bytes": 0, "ids": [], "logs": [], "shape": {}})
        return
    decisions.validate()
    about = {
        **(facts or {}),
        "rows": decisions.size,
        "bytes": size_of(decisions),
        "ids": decisions.ids,
        "logs": decisions.logs,
        "shape": {name: list(array.shape[1:]) for name, array in decisions.observation.arrays.items()},
    }
    write_block(path, [decisions], about)


def size_of(decisions: Decisions[Any]) -> int:
    """Bytes of all arrays of a block, and of its pictures as they are compressed."""
    seen = decisions.observation
    columns: list[Array] = [getattr(decisions, name) for name in _COLUMNS]
    numbers = sum(array.nbytes for array in [*columns, *seen.arrays.values(), *decisions.terms.values()])
    return numbers + sum(len(picture.data) for row in seen.images.values() for picture in row)


def take(decisions: Decisions[Any], index: Int | slice) -> Decisions[Any]:
    """Some rows of a block, in the order of ``index``."""
    rows = np.arange(decisions.size)[index]
    return replace(
        decisions,
        observation=decisions.observation.rows(rows),
        **{name: getattr(decisions, name)[rows] for name in _COLUMNS},
        terms={name: values[rows] for name, values in decisions.terms.items()},
        ids=tuple(decisions.ids[i] for i in rows),
        logs=tuple(decisions.logs[i] for i in rows),
    )


def join(blocks: Sequence[Decisions[Any]]) -> Decisions[Any]:
    """Blocks one after the other. ``ValidationError`` where they do not hold the same arrays of the same shapes."""
    first = blocks[0]
    if len(blocks) == 1:
        return first
    for block in blocks[1:]:
        _check_alike(first, block)
    arrays = {name: np.concatenate([b.observation.arrays[name] for b in blocks]) for name in first.observation.arrays}
    images = {name: np.concatenate([b.observation.images[name] for b in blocks]) for name in first.observation.images}
    observation = replace(
        first.observation,
        size=sum(block.size for block in blocks),
        arrays=arrays,
        images=images,
        trust=None,  # a column of the decisions
        trust_known=None,
        worlds=tuple(world for block in blocks for world in block.observation.worlds),
    )
    return replace(
        first,
        observation=observation,
        **{name: np.concatenate([getattr(block, name) for block in blocks]) for name in _COLUMNS},
        terms={name: np.concatenate([block.terms[name] for block in blocks]) for name in first.terms},
        ids=tuple(item for block in blocks for item in block.ids),
        logs=tuple(item for block in blocks for item in block.logs),
    )


def _check_alike(a: Decisions[Any], b: Decisions[Any]) -> None:
    for name, one, other in (("observation", a.observation.arrays, b.observation.arrays), ("terms", a.terms, b.terms)):
        shapes = [{key: values.shape[1:] for key, values in part.items()} for part in (one, other)]
        if shapes[0] != shapes[1]:
            raise ValidationError(
                f"shards hold different arrays: {shapes[0]} and {shapes[1]}", field=name, way_out="use one policy and one reward"
            )
    cameras = [sorted(part.observation.images) for part in (a, b)]
    if cameras[0] != cameras[1]:
        raise ValidationError(f"shards of cameras {cameras[0]} and {cameras[1]}", field="images", way_out="use one policy")
    if a.rewards.shape[1:] != b.rewards.shape[1:]:
        raise ValidationError(
            f"{a.rewards.shape[1]} and {b.rewards.shape[1]} proposals", field="rewards", way_out="score all with one vocabulary"
        )


def _shard_facts(path: Path) -> dict[str, Any]:
    facts = read_facts(path)
    lacking = {"rows", "shape", "bytes", "ids", "logs"} - set(facts)
    if lacking:
        raise StoreError(f"no experience: it does not tell its {', '.join(sorted(lacking))}", file=path, way_out=MENDED)
    return facts


class Shards:
    """An Experience over shard files (``wetoolkit.types.Experience``).

    ``batches`` shuffles the order of the shards, reads as many of them at a time as ``memory_mb`` allows, and shuffles the rows
    within that window: over all rows at once where the whole set fits. The order depends on the seed, the paths' order and
    ``memory_mb`` only.
    """

    def __init__(
        self, *paths: Path, memory_mb: int = MEMORY_MB, world: type | None = None, masks: Sequence[Bool] | None = None
    ) -> None:
        self.paths = tuple(paths)
        self.memory = memory_mb * 2**20
        self._world = world
        self._facts = [_shard_facts(path) for path in paths]
        self._masks = list(masks) if masks is not None else [np.ones(int(f["rows"]), np.bool_) for f in self._facts]
        self._cache: OrderedDict[int, Decisions[Any]] = OrderedDict()
        shapes = {str(sorted(facts["shape"].items())) for facts in self._facts if facts["rows"]}
        require(len(shapes) <= 1, f"shards of {len(shapes)} different shapes", "experience", "use one policy for all of them")

    def __len__(self) -> int:
        return int(sum(mask.sum() for mask in self._masks))

    @property
    def shape(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of one row of every observation array."""
        filled = [facts for facts in self._facts if facts["rows"]]
        require(bool(filled), "there are no decisions", "experience", "check the splits and the failed items")
        return {name: tuple(shape) for name, shape in filled[0]["shape"].items()}

    @property
    def ids(self) -> tuple[str, ...]:
        """Situation id of every row, in stored order."""
        return self._names("ids")

    @property
    def logs(self) -> tuple[str, ...]:
        """Log of every row, in stored order."""
        return self._names("logs")

    def _names(self, which: str) -> tuple[str, ...]:
        rows = zip(self._facts, self._masks, strict=True)
        return tuple(name for facts, mask in rows for name, keep in zip(facts[which], mask, strict=True) if keep)

    def column(self, name: str) -> Array:
        """One column of all rows ("source", "rewards", ...) in stored order, without reading the others."""
        require(name in _COLUMNS, f"no column {name!r}", "experience.column", f"one of {', '.join(_COLUMNS)}")
        parts = [self._tensor(i, name)[mask] for i, mask in enumerate(self._masks) if mask.any()]
        require(bool(parts), "there are no decisions", "experience", "check the splits and the failed items")
        return np.concatenate(parts)

    def _tensor(self, number: int, name: str) -> Array:
        # Equal arrays are stored once under the first one's key, so a column may be absent under its own.
        try:
            with safe_open(self.paths[number], framework="numpy") as file:
                if f"0/{name}" in file.keys():  # noqa: SIM118 - safe_open is no mapping
                    tensor: Array = file.get_tensor(f"0/{name}")
                    return tensor
        except (OSError, SafetensorError) as error:
            raise StoreError(f"cannot be read: {error}", file=self.paths[number], way_out=MENDED) from error
        column: Array = getattr(self._read(number), name)
        return column

    def select(self, mask: Bool) -> Shards:
        """The rows (of ``len(self)``) that ``mask`` keeps, as a lazy view."""
        require(mask.shape == (len(self),), f"shape {mask.shape} for {len(self)} rows", "mask", "one flag a row")
        masks, start = [], 0
        for old in self._masks:
            new, count = old.copy(), int(old.sum())
            new[old] = mask[start : start + count]
            masks.append(new)
            start += count
        return Shards(*self.paths, memory_mb=self.memory // 2**20, world=self._world, masks=masks)

    def concat(self, other: Shards) -> Shards:
        """These rows, then the other's."""
        masks = [*self._masks, *other._masks]
        return Shards(*self.paths, *other.paths, memory_mb=self.memory // 2**20, world=self._world, masks=masks)

    def batches(self, size: int, seed: int | None) -> Iterator[Decisions[Any]]:
        """One pass in blocks of ``size``, shuffled by ``seed`` (None: stored order); the last block may be smaller."""
        require(size > 0, f"size is {size}", "batches.size", "give 1 or more")
        rng = None if seed is None else np.random.default_rng(seed)
        order = [i for i in range(len(self.paths)) if self._masks[i].any()]
        if rng is not None:
            rng.shuffle(order)
        rest: list[Decisions[Any]] = []
        for window in self._windows(order):
            block = join([*rest, *(take(self._read(i), np.flatnonzero(self._masks[i])) for i in window)])
            carried = sum(part.size for part in rest)
            rows = np.arange(block.size)
            if rng is not None:
                rng.shuffle(rows[carried:])
            full = block.size - block.size % size
            for start in range(0, full, size):
                yield take(block, rows[start : start + size])
            rest = [take(block, rows[full:])] if full < block.size else []
        yield from rest

    def _windows(self, order: Sequence[int]) -> Iterator[list[int]]:
        """Shards in runs that fit the memory, one at least."""
        window: list[int] = []
        held = 0
        for number in order:
            need = int(self._facts[number]["bytes"])
            if window and held + need > self.memory:
                yield window
                window, held = [], 0
            window.append(number)
            held += need
        if window:
            yield window

    def _read(self, number: int) -> Decisions[Any]:
        """A shard, from the cache or the disk; the ones used longest ago make room."""
        if number in self._cache:
            self._cache.move_to_end(number)
            return self._cache[number]
        values, _ = read_block(self.paths[number], Decisions, self._world)
        self._cache[number] = values[0]
        while len(self._cache) > 1 and sum(int(self._facts[i]["bytes"]) for i in self._cache) > self.memory:
            self._cache.popitem(last=False)
        return values[0]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cache": OrderedDict()}
