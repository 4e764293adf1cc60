"""Logs as SQLite files: written whole or not at all, opened read-only, and every failure a ``DataError`` that names the file."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wetoolkit.errors import DataError
from wetoolkit_logs.nuplan.schema import COLUMNS, INDEXES, OWN_TABLES, TABLES

Rows = Iterable[Sequence[Any]]
REQUIRED = tuple(table for table in TABLES if table not in ("camera", "image", "scenario_tag"))  # the rest only adds


def write_database(path: Path, tables: Mapping[str, Rows]) -> None:
    """All tables and indexes in a temporary file that takes the path's place when it is on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        _fill(part, tables)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.chmod(0o644)
        part.replace(path)
    except (OSError, sqlite3.OperationalError) as error:
        raise DataError(f"cannot be written ({error})", file=str(path), way_out="make room, or choose another folder") from error
    finally:
        part.unlink(missing_ok=True)


def _fill(part: Path, tables: Mapping[str, Rows]) -> None:
    base = sqlite3.connect(part, isolation_level=None)
    try:
        base.execute("PRAGMA journal_mode = OFF")
        base.execute("PRAGMA synchronous = OFF")  # one fsync at the end is enough: until then the file has no name
        base.execute("BEGIN")
        for table, columns in {**TABLES, **OWN_TABLES}.items():
            base.execute(f"CREATE TABLE {table} ({columns})")
            marks = ", ".join("?" * len(columns.split(", ")))
            base.executemany(f"INSERT INTO {table} VALUES ({marks})", tables.get(table, ()))
        for table, column in INDEXES:
            base.execute(f"CREATE INDEX {table}_{column} ON {table} ({column})")
        base.execute("COMMIT")
    finally:
        base.close()


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A log, read-only and closed at the end; what sqlite cannot do with it is a ``DataError``."""
    with blamed(path):
        base = connect(path)
        try:
            yield base
        finally:
            base.close()


def connect(path: Path) -> sqlite3.Connection:
    """A read-only connection. ``DataError`` where there is no such file."""
    if not path.is_file():
        raise DataError("no such log", file=str(path), way_out="check the folder, or make the index again")
    _check_length(path)
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None)


def _check_length(path: Path) -> None:
    """``DataError`` where the file is shorter than its header says: sqlite would notice only at the pages that are missing."""
    with path.open("rb") as file:
        head = file.read(100)
    page, pages = int.from_bytes(head[16:18], "big"), int.from_bytes(head[28:32], "big")
    page = 65536 if page == 1 else page
    told = len(head) == 100 and head[24:28] == head[92:96]  # else the count is not kept up to date
    if not head.startswith(b"SQLite format 3\0") or (told and path.stat().st_size < page * pages):
        what = "the database is cut short" if head.startswith(b"SQLite format 3\0") else "no SQLite database"
        size = f"{path.stat().st_size} of {page * pages} bytes" if told else f"{path.stat().st_size} bytes"
        raise DataError(what, file=str(path), size=size, way_out="fetch or convert the log again")


@contextmanager
def blamed(path: Path) -> Iterator[None]:
    """Turns sqlite's errors into ``DataError``."""
    try:
        yield
    except sqlite3.Error as error:
        text = str(error)
        cut = "malformed" in text or "not a database" in text or "disk I/O" in text
        what = f"the database is cut short or damaged ({text})" if cut else f"the database cannot be read ({text})"
        raise DataError(
            what, file=str(path), way_out="fetch or convert the log again; `wetool data check` lists defects"
        ) from error


def require_tables(path: Path, base: sqlite3.Connection) -> None:
    """``DataError`` that names a missing table or its missing columns."""
    there = columns_of(base)
    for table in REQUIRED:
        lost = [name for name in COLUMNS[table] if name not in there.get(table, ())]
        if lost:
            what = f"no column {', '.join(lost)}" if table in there else "the table is missing"
            raise DataError(
                what, file=str(path), table=table, way_out="fetch or convert the log again; it is no nuPlan log as it is"
            )


def columns_of(base: sqlite3.Connection) -> dict[str, tuple[str, ...]]:
    """Table -> columns, as they are in the file."""
    tables = [name for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {name: tuple(row[1] for row in base.execute(f"PRAGMA table_info({quoted(name)})")) for name in tables}


def indexed_columns(base: sqlite3.Connection) -> set[tuple[str, str]]:
    """(table, first column) of every index."""
    found = set()
    for name, table in base.execute("SELECT name, tbl_name FROM sqlite_master WHERE type = 'index'"):
        first = base.execute(f"PRAGMA index_info({quoted(name)})").fetchone()
        found.add((table, first[2]))
    return found


def quoted(name: str) -> str:
    """A name as SQL takes it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'
