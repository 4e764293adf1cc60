"""The run folder: a manifest, artefacts that are whole or absent, and a ledger of what each stage cost.

Every file is written to a temporary neighbour, synced and renamed, with its SHA-256 beside it (``name.sha256``, readable by
``sha256sum -c``). An artefact counts as there only if the sum holds; a damaged one is counted in ``damaged`` and made again.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import json
import os
import platform
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import polars as pl
import safetensors
from pydantic import Field
from pydantic import ValidationError as PydanticError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from wetoolkit import __version__
from wetoolkit.codec import MENDED, dump_block, load_block, read_header
from wetoolkit.component import CONTRACT
from wetoolkit.config import Config
from wetoolkit.errors import StoreError
from wetoolkit.types import Array

T = TypeVar("T")
STATE_FORMAT = "wetoolkit-state-1"
FOLDERS = ("policies", "scenes", "rollouts", "experience", "tables", "tables/parts", "report", "branches")


class StageRecord(Config):
    """A finished stage of a run."""

    key: str = Field(description="hash of the stage's inputs, components and settings")
    digest: str = Field(description="hash of what it made; the next stages' inputs")
    artefacts: tuple[str, ...] = Field(description="files relative to the run folder, in order")
    items: int = Field(description="items it was given", ge=0)
    failed: int = Field(description="items that failed", ge=0)


class Manifest(Config):
    """What ran in this folder, with which versions and seeds."""

    toolkit: str = Field(default=__version__, description="version of wetoolkit")
    contract: str = Field(default=CONTRACT, description="version of the contracts")
    python: str = Field(default_factory=platform.python_version, description="version of Python")
    platform: str = Field(default_factory=platform.platform, description="operating system and machine")
    distributions: dict[str, str] = Field(
        default_factory=dict, description="distribution -> version of every plugin that took part"
    )
    experiment: str = Field(default="", description="name of the experiment")
    experiment_hash: str = Field(default="", description="hash of the experiment and of the versions")
    seed: int = Field(default=0, description="the experiment's seed")
    data: str = Field(default="", description="hash of the names, sizes and times of the data's files, where there are any")
    status: Literal["new", "running", "done", "failed items"] = Field(default="new", description="how far the run is")
    stages: dict[str, StageRecord] = Field(
        default_factory=dict, description="stage, with its round where it has one -> what it made"
    )


def canonical(value: Any) -> str:
    """JSON that is equal for equal values: sorted keys, no blanks."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no canonical form")


def key_of(*parts: Any) -> str:
    """SHA-256 of the canonical JSON of ``parts``."""
    return hashlib.sha256(canonical(parts).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StoreError(f"cannot be read: {error.strerror}", file=path, way_out="check the path and its permissions") from error


def write_atomic(path: Path, data: bytes) -> None:
    """Write all of ``data`` or nothing: temporary file in the same folder, fsync, rename, fsync of the folder."""
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        ways = {
            errno.ENOSPC: "make room and start again: what is finished is kept",
            errno.EDQUOT: "make room within your quota and start again: what is finished is kept",
            errno.EFBIG: "raise the limit on file sizes (ulimit -f) and start again: what is finished is kept",
        }
        way_out = ways.get(error.errno or 0, "check that the folder can be written")
        raise StoreError(f"cannot be written: {error.strerror or error}", file=path, way_out=way_out) from error
    except BaseException:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sum_file(path: Path) -> Path:
    """Where an artefact's SHA-256 stands."""
    return path.with_name(path.name + ".sha256")


def write_artefact(path: Path, data: bytes) -> None:
    """An artefact and its sum. The sum goes first, so that a kill in between leaves an artefact that is absent or known."""
    digest = hashlib.sha256(data).hexdigest()
    write_atomic(sum_file(path), f"{digest}  {path.name}\n".encode())
    write_atomic(path, data)


def write_block(path: Path, values: Iterable[object], facts: Mapping[str, Any] | None = None) -> None:
    """Many values of one class and some facts as one safetensors artefact."""
    write_artefact(path, dump_block(values, facts))


def read_block(path: Path, cls: type[T], world: type | None = None) -> tuple[list[T], dict[str, Any]]:
    """The values and facts of ``write_block``."""
    return load_block(read_bytes(path), cls, world, str(path))


def read_facts(path: Path) -> dict[str, Any]:
    """Only the facts of ``write_block``, without reading the arrays."""
    facts: dict[str, Any] = read_header(read_bytes(path, header=True), str(path))["facts"]
    return facts


def read_bytes(path: Path, header: bool = False) -> bytes:
    """A file's bytes, or those of its safetensors header alone."""
    try:
        with path.open("rb") as file:
            if not header:
                return file.read()
            first = file.read(8)
            return first + file.read(min(int.from_bytes(first, "little"), 1 << 30))
    except OSError as error:
        raise StoreError(f"cannot be read: {error.strerror}", file=path, way_out="check the path and its permissions") from error


def write_state(path: Path, state: Mapping[str, Array], about: Mapping[str, Any]) -> None:
    """Learned arrays and, as JSON, what they belong to."""
    solid = {name: np.require(array, requirements=["C"]) for name, array in state.items()}
    write_artefact(path, save_tensors(solid, metadata={"wetoolkit": canonical({"format": STATE_FORMAT, **about})}))


def read_state(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """What ``write_state`` wrote."""
    data = read_bytes(path)
    try:
        length = int.from_bytes(data[:8], "little")
        about = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["wetoolkit"])
        if about["format"] != STATE_FORMAT:
            raise ValueError(about["format"])
        return load_tensors(data), about
    except (ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise StoreError(
            "not a policy of this toolkit, or cut short", file=path, way_out="give a file that `wetool run` or `wetool train` wrote"
        ) from error


def write_table(path: Path, table: pl.DataFrame) -> None:
    """A Parquet artefact. Equal tables, equal bytes."""
    buffer = io.BytesIO()
    table.write_parquet(buffer, statistics=False)
    write_artefact(path, buffer.getvalue())


def read_table(path: Path) -> pl.DataFrame:
    """A Parquet table."""
    try:
        return pl.read_parquet(io.BytesIO(read_bytes(path)))
    except pl.exceptions.PolarsError as error:
        raise StoreError(f"not a Parquet table: {error}", file=path, way_out=MENDED) from error


def fingerprint(files: Iterable[Path]) -> str:
    """SHA-256 of names, sizes and times of change, "" of no files: cheap, so a file that was only touched counts as changed."""
    facts = [(str(path), stat.st_size, stat.st_mtime_ns) for path in sorted(files) for stat in [path.stat()]]
    return key_of(facts) if facts else ""


@dataclass
class Store:
    """One run folder, and the files in it that were found cut short or altered since it was opened."""

    folder: Path
    spoilt: set[Path] = field(default_factory=set)

    def __post_init__(self) -> None:
        try:
            for name in FOLDERS:
                (self.folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"no run folder can be made: {error.strerror}", file=self.folder, way_out="choose another --out"
            ) from error

    @property
    def damaged(self) -> int:
        """How many files were found damaged."""
        return len(self.spoilt)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder: a second run on it is a ``StoreError``. The lock ends with the process, however it ends."""
        try:
            file = (self.folder / ".lock").open("a+")
        except OSError as error:
            raise StoreError(
                f"the run folder cannot be written: {error.strerror}",
                file=self.folder,
                way_out="give another --out, or see `wetool report`",
            ) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                file.seek(0)
                raise StoreError(
                    "another run works in this folder", folder=self.folder, process=file.read().strip(),
                    way_out="wait for it, or give another --out",
                ) from error  # fmt: skip
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            self._sweep()
            yield

    def _sweep(self) -> None:
        """Remove what a killed run left half-written."""
        for path in self.folder.rglob(".*.tmp"):
            with suppress(OSError):
                path.unlink()

    def path(self, folder: str, name: str) -> Path:
        """Where an artefact of this run stands."""
        return self.folder / folder / name

    def digest(self, path: Path) -> str | None:
        """The SHA-256 of a whole artefact, or None where it is absent or damaged (then it is counted)."""
        if not path.exists():
            return None
        try:
            due = sum_file(path).read_text().split()[0]
        except (OSError, IndexError, UnicodeDecodeError):
            due = ""
        found = file_digest(path)
        if found == due:
            return found
        self.spoilt.add(path)
        return None

    @property
    def manifest(self) -> Manifest:
        """The manifest on disk, a new one where there is none; a damaged one is set aside and counted."""
        path = self.folder / "manifest.json"
        if not path.exists():
            return Manifest()
        try:
            return Manifest.model_validate_json(read_bytes(path))
        except PydanticError:
            self.spoilt.add(path)
            path.replace(path.with_suffix(".damaged"))
            return Manifest()

    def update(self, **changes: Any) -> Manifest:
        """Write the manifest with some fields changed."""
        manifest = self.manifest.model_copy(update=changes)
        write_atomic(self.folder / "manifest.json", (manifest.model_dump_json(indent=2) + "\n").encode())
        return manifest

    def record(self, stage: str, record: StageRecord) -> None:
        """Note a finished stage."""
        self.update(stages={**self.manifest.stages, stage: record})

    def finished(self, stage: str, key: str | None = None) -> StageRecord | None:
        """The record of a stage that was made with ``key`` (None: any) and whose artefacts are all whole."""
        record = self.manifest.stages.get(stage)
        if record is None or key not in (None, record.key):
            return None
        sums = [self.digest(self.folder / name) for name in record.artefacts]
        return record if digest_of(sums) == record.digest else None


def digest_of(sums: Sequence[str | None]) -> str:
    """One hash for the artefacts of a stage, in order."""
    return key_of("artefacts", *sums)
