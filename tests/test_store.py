"""The run folder: whole or absent, never twice, never two at once."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from wetoolkit.errors import StoreError
from wetoolkit.ledger import Ledger
from wetoolkit.store import (
    StageRecord,
    Store,
    digest_of,
    key_of,
    read_block,
    read_state,
    read_table,
    sum_file,
    write_atomic,
    write_block,
    write_state,
    write_table,
)
from wetoolkit.types import Ref

REFS = [Ref("a", "train", "l1"), Ref("b", "train", "l2")]


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_artefacts_come_back(tmp_path: Path) -> None:
    write_block(tmp_path / "refs.safetensors", REFS, {"n": 2})
    assert read_block(tmp_path / "refs.safetensors", Ref) == (REFS, {"n": 2})
    table = pl.DataFrame({"x": [1.5, None], "y": ["a", "b"]})
    write_table(tmp_path / "t.parquet", table)
    assert read_table(tmp_path / "t.parquet").equals(table)
    state = {"w": np.arange(6.0).reshape(2, 3).T, "b": np.zeros(0, np.float32)}
    write_state(tmp_path / "p.safetensors", state, {"use": "x", "settings": {"k": 1}})
    back, about = read_state(tmp_path / "p.safetensors")
    assert about["use"] == "x" and about["settings"] == {"k": 1}
    assert all(np.array_equal(back[name], state[name]) and back[name].dtype == state[name].dtype for name in state)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "no sum", "another sum"])
def test_damage_is_seen_and_counted(tmp_path: Path, damage: str) -> None:
    store = Store(tmp_path)
    path = store.path("scenes", "a.safetensors")
    write_block(path, REFS)
    assert store.digest(path) is not None and store.damaged == 0
    data = path.read_bytes()
    if damage == "cut":
        path.write_bytes(data[:-1])
    elif damage == "flipped":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "no sum":
        sum_file(path).unlink()
    else:
        sum_file(path).write_text("0" * 64)
    assert store.digest(path) is None and store.damaged == 1


def test_a_sum_can_be_checked_with_coreutils(tmp_path: Path) -> None:
    write_block(tmp_path / "a.safetensors", REFS)
    assert os.system(f"cd {tmp_path} && sha256sum --status -c a.safetensors.sha256") == 0


@pytest.mark.parametrize("broken", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    path = tmp_path / "a.safetensors"
    write_atomic(path, b"old")

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    if broken == "replace":
        monkeypatch.setattr(Path, "replace", full)
    elif broken == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr(os, "fdopen", _full_file)
    with pytest.raises(StoreError, match="No space left") as error:
        write_atomic(path, b"new" * 1000)
    assert "make room" in error.value.way_out
    monkeypatch.undo()
    assert path.read_bytes() == b"old" and files(tmp_path) == ["a.safetensors"]


class _full_file:
    """A file on a disk with no room."""

    def __init__(self, handle: int, mode: str) -> None:
        self.handle = handle

    def __enter__(self) -> "_full_file":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.handle)

    def write(self, data: bytes) -> None:
        os.write(self.handle, data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_real_full_disk_is_a_store_error() -> None:
    """/dev/full refuses every byte; it cannot be renamed over, so the write itself is what is tested."""
    with pytest.raises(OSError) as error, Path("/dev/full").open("wb", buffering=0) as file:
        file.write(b"x")
    assert error.value.errno == errno.ENOSPC


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.lock():
        with pytest.raises(StoreError, match="another run") as error, Store(tmp_path).lock():
            raise AssertionError("two runs in one folder")
        assert error.value.context["process"] == str(os.getpid())
    with Store(tmp_path).lock():
        pass


def test_a_folder_that_cannot_be_locked_is_a_store_error(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (tmp_path / ".lock").mkdir()  # as on a disk that is mounted read-only; root may write anywhere else
    with pytest.raises(StoreError, match="cannot be written"), store.lock():
        pass


def test_the_lock_sweeps_what_a_killed_run_left(tmp_path: Path) -> None:
    store = Store(tmp_path)
    left = store.path("scenes", ".a.safetensors.x7.tmp")
    left.write_bytes(b"half")
    with store.lock():
        assert not left.exists()


def test_keys_do_not_depend_on_the_order_of_mappings() -> None:
    assert key_of({"a": 1, "b": [2.0, "x"]}) == key_of({"b": [2.0, "x"], "a": 1})
    assert len({key_of(1), key_of(1.5), key_of("1"), key_of([1]), key_of(1, 1), key_of(None)}) == 6


def test_finished_stages_are_known_by_key_and_whole_artefacts(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = store.path("scenes", "a.safetensors")
    write_block(path, REFS)
    record = StageRecord(key="k", digest=digest_of([store.digest(path)]), artefacts=("scenes/a.safetensors",), items=2, failed=0)
    store.record("mine-1", record)
    assert Store(tmp_path).finished("mine-1", "k") == record
    assert store.finished("mine-1", "other") is None and store.finished("mine-2", "k") is None
    path.write_bytes(b"")
    assert store.finished("mine-1", "k") is None


def test_a_damaged_manifest_is_set_aside(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.update(experiment="x")
    (tmp_path / "manifest.json").write_text('{"toolkit": 3')
    assert store.manifest.experiment == "" and store.damaged == 1
    assert (tmp_path / "manifest.damaged").exists()


def test_the_ledger_appends_and_survives_damage(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    with ledger.stage("mine-1") as cost:
        cost.items = 3
        sum(i * i for i in range(200_000))
    with pytest.raises(RuntimeError), ledger.stage("rollout-1"):
        raise RuntimeError("stopped")
    table = read_table(ledger.path)
    assert table["stage"].to_list() == ["mine-1", "rollout-1"] and table["items"].to_list() == [3, 0]
    assert table["wall"][0] > 0 and table["cpu_seconds"][0] > 0 and table["peak_rss"][0] > 2**20
    ledger.path.write_bytes(b"nothing")
    with ledger.stage("evaluate"):
        pass
    assert read_table(ledger.path)["stage"].to_list() == ["evaluate"]
    assert (tmp_path / "ledger.damaged").exists()
