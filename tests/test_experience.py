"""Experience on disk: every row once, in an order that the seed fixes, in bounded memory."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wetoolkit.errors import StoreError, ValidationError
from wetoolkit.experience import Shards, size_of, write_shard
from wetoolkit.types import Decisions, Observation

SIZES = (7, 1, 12, 5)


def block(start: int, count: int, width: int = 3) -> Decisions[Any]:
    """Rows that carry their own number everywhere."""
    rows = np.arange(start, start + count)
    seen = np.repeat(rows[:, None], width, 1).astype(np.float32)
    return Decisions(
        Observation("toy", count, {"x": seen, "x.valid": np.ones((count, width), bool)}), rows % 2, np.zeros(count, int),
        np.repeat(rows[:, None, None], 2, 2).astype(np.float32), rows % 3 == 0, rows % 5, rows / 10,
        np.repeat(rows[:, None], 4, 1) / 100,
        {"term": np.repeat(rows[:, None], 4, 1) / 7}, tuple(f"id{i}" for i in rows), tuple(f"log{i // 4}" for i in rows),
    )  # fmt: skip


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    out, start = [], 0
    for number, count in enumerate(SIZES):
        out.append(tmp_path / f"{number}.safetensors")
        write_shard(out[-1], block(start, count))
        start += count
    return out


def rows_of(shards: Shards, size: int, seed: int | None) -> list[int]:
    """The row numbers in the order they come, after a check that every column agrees."""
    seen: list[int] = []
    for part in shards.batches(size, seed):
        part.validate()
        rows = part.observation.arrays["x"][:, 0].astype(int)
        np.testing.assert_array_equal(part.source, rows % 2)
        np.testing.assert_allclose(part.terms["term"][:, 0], rows / 7)
        np.testing.assert_array_equal(part.expert[:, 0, 0], rows)
        assert part.ids == tuple(f"id{i}" for i in rows) and part.logs == tuple(f"log{i // 4}" for i in rows)
        seen += rows.tolist()
    return seen


@pytest.mark.parametrize("size", [1, 4, 6, 25, 100])
@pytest.mark.parametrize("memory", [0, 1])
def test_every_row_comes_once(paths: list[Path], size: int, memory: int) -> None:
    shards = Shards(*paths, memory_mb=memory)
    assert len(shards) == sum(SIZES)
    assert rows_of(shards, size, None) == list(range(sum(SIZES)))
    shuffled = rows_of(shards, size, 3)
    assert sorted(shuffled) == list(range(sum(SIZES))) and shuffled != sorted(shuffled)
    sizes = [part.size for part in shards.batches(size, 3)]
    assert all(count == size for count in sizes[:-1]) and 0 < sizes[-1] <= size


def test_the_seed_fixes_the_order(paths: list[Path]) -> None:
    one, two = Shards(*paths), pickle.loads(pickle.dumps(Shards(*paths)))
    assert rows_of(one, 4, 7) == rows_of(two, 4, 7) == rows_of(one, 9, 7) != rows_of(one, 4, 8)


def test_all_rows_are_mixed_where_they_fit(paths: list[Path]) -> None:
    """The first row of a pass is any of the 25, about equally often: no shard is favoured."""
    firsts = [rows_of(Shards(*paths), 25, seed)[0] for seed in range(300)]
    counts = np.bincount(firsts, minlength=25)
    assert (counts > 0).all() and counts.max() < 35


def test_memory_is_bounded(paths: list[Path]) -> None:
    shards = Shards(*paths, memory_mb=0)
    rows_of(shards, 4, 1)
    assert len(shards._cache) == 1
    shards = Shards(*paths, memory_mb=1)
    rows_of(shards, 4, 1)
    assert len(shards._cache) == len(SIZES)


def test_selection_and_joining_keep_rows(paths: list[Path]) -> None:
    shards = Shards(*paths)
    odd = shards.select(shards.column("source") == 1)
    assert rows_of(odd, 4, None) == list(range(1, 25, 2)) and len(odd) == 12
    third = odd.select(odd.column("has_expert"))
    assert rows_of(third, 4, None) == [3, 9, 15, 21] and third.ids == ("id3", "id9", "id15", "id21")
    both = third.concat(shards.select(shards.column("choice") == 0))
    assert rows_of(both, 4, None) == [3, 9, 15, 21, 0, 5, 10, 15, 20]
    np.testing.assert_allclose(both.column("rewards")[:, 0], np.array([3, 9, 15, 21, 0, 5, 10, 15, 20]) / 100)


def test_columns_that_equal_another_are_found(tmp_path: Path) -> None:
    """Equal arrays are stored once; both columns can be read."""
    write_shard(tmp_path / "a.safetensors", block(0, 1))
    shards = Shards(tmp_path / "a.safetensors")
    assert all(shards.column(name).shape[0] == 1 for name in ("source", "round", "choice", "log_prob", "rewards"))


def test_empty_shards_are_passed_over(tmp_path: Path, paths: list[Path]) -> None:
    write_shard(tmp_path / "none.safetensors", None, {"failed": []})
    shards = Shards(tmp_path / "none.safetensors", *paths)
    assert shards.shape == {"x": (3,), "x.valid": (3,)} and rows_of(shards, 4, None) == list(range(25))
    assert len(Shards(tmp_path / "none.safetensors")) == 0


def test_sizes_count_every_array() -> None:
    assert size_of(block(0, 10)) == 10 * (3 * 4 + 3 + 8 + 8 + 2 * 4 + 1 + 8 + 8 + 4 * 8 + 4 * 8 + 8)


def test_shards_that_do_not_fit_together_are_refused(tmp_path: Path, paths: list[Path]) -> None:
    write_shard(tmp_path / "wide.safetensors", block(0, 3, width=4))
    with pytest.raises(ValidationError, match="different shapes"):
        Shards(*paths, tmp_path / "wide.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(paths[0].read_bytes()[:100])
    with pytest.raises(StoreError, match="cut short"):
        Shards(tmp_path / "cut.safetensors")
